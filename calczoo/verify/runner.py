"""Runs checks one by one. The only place where an error of the calculator under test becomes a result."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import OptionError
from .base import Check, CheckFailed, NotApplicable, Outcome, Tolerances, find_checks
from .context import Context
from .report import FAIL, NA, CheckResult, VerificationReport, plain

DEFAULT_SEED = 20240229

Progress = Callable[[str, int, int], None]


def select(names: Sequence[str] | str | None) -> list[Check]:
    """The checks of these names in the order of the table; all if None. OptionError for unknown names."""
    checks = find_checks()
    if names is None:
        return list(checks.values())
    asked = names.replace(",", " ").split() if isinstance(names, str) else list(names)
    if unknown := [n for n in asked if n not in checks]:
        raise OptionError(f"no verification check named {', '.join(unknown)} (has: {', '.join(checks)})")
    return [c for name, c in checks.items() if name in asked]


def run_check(check: Check | str, context: Context) -> CheckResult:
    """Run one check; whatever the calculator under test raises becomes a failure with its message."""
    check = find_checks()[check] if isinstance(check, str) else check
    start = time.perf_counter()
    try:
        outcome = _run(check, context)
    except NotApplicable as error:
        outcome = Outcome(NA, reason=str(error))
    except CheckFailed as error:
        outcome = Outcome(FAIL, reason=str(error))
        context.forget()
    except NotImplementedError as error:
        # ASE's way to say that something does not exist for this structure (PropertyNotImplementedError)
        outcome = Outcome(NA, reason=f"the calculator says {type(error).__name__}: {error}")
        context.forget()
    except Exception as error:  # hides: any error inside the calculator under test, shown as the reason of the failure
        trace = traceback.format_exception(error)[-4:]
        outcome = Outcome(FAIL, reason=f"{type(error).__name__}: {error}", details={"traceback": "".join(trace)})
        context.forget()
    finally:
        context.flush(check.name)
    grade = "F" if check.graded and outcome.status == FAIL and outcome.grade is None else outcome.grade
    return CheckResult(
        name=check.name,
        status=outcome.status,
        grade=grade,
        value=None if outcome.value is None else float(outcome.value),
        unit=outcome.unit,
        threshold=outcome.threshold,
        reason=outcome.reason,
        seconds=time.perf_counter() - start,
        details=plain(outcome.details),
    )


def _run(check: Check, context: Context) -> Outcome:
    missing = [p for p in check.needs if p not in context.properties]
    if missing:
        raise NotApplicable(f"the calculator does not compute {', '.join(missing)}")
    return check.run(context)


def run_checks(
    make_calculator: Callable[[], Any] | Any,
    elements: Sequence[str] | str,
    *,
    names: Sequence[str] | str | None = None,
    quick: bool = False,
    seed: int = DEFAULT_SEED,
    progress: Progress | None = None,
    save_to: str | Path | None = None,
    float32: Callable[[], Any] | Any | None = None,
    dtype: str = "float64",
    tolerances: Tolerances | None = None,
) -> VerificationReport:
    """Verify any ASE calculator.

    `make_calculator` makes a fresh calculator (an instance is accepted; checks that need several are then n/a).
    `elements` are those it is meant for; `names` restricts the checks; `quick` takes fewer elements and evaluations, as
    the results then say; `progress(name, number, total)` is called before each check; `save_to` is a folder for the
    configurations (`<check>.extxyz`); `float32` makes the same model in single precision; `dtype` is the precision of
    `make_calculator` and chooses the tolerances, which `tolerances` overrides.
    Raises OptionError for unknown names, elements or dtype; errors of the calculator become failed checks.
    """
    context = Context(
        make_calculator,
        elements,
        quick=quick,
        seed=seed,
        save_to=save_to,
        float32=float32,
        dtype=dtype,
        tolerances=tolerances,
    )
    checks = select(names)
    results = []
    for k, check in enumerate(checks):
        if progress is not None:
            progress(check.name, k, len(checks))
        results.append(run_check(check, context))
    return VerificationReport(context.elements, seed, quick, dtype, tuple(results))
