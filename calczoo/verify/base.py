"""What a check is, what it returns, and how the checks are found by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .report import FAIL, PASS, grade, largest_error, worse

if TYPE_CHECKING:
    from .context import Context


class NotApplicable(Exception):
    """The check cannot run on this calculator; the message is the reason."""


class CheckFailed(Exception):
    """The calculator did something that no check can accept; the message says what."""


@dataclass(frozen=True)
class Outcome:
    """What a check's `run` returns; the runner adds the name and the time."""

    status: str
    value: float | None = None
    unit: str = ""
    threshold: float | None = None
    reason: str = ""
    grade: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One verification check.

    `order` sorts the table, `needs` names the properties without which the check is n/a, `run` does the work: it
    returns an Outcome, or raises NotApplicable.
    """

    name: str
    title: str
    run: Callable[[Context], Outcome]
    order: int
    needs: tuple[str, ...] = ()
    graded: bool = False


@cache
def find_checks() -> dict[str, Check]:
    """Every module of `calczoo.verify.checks` defines one `CHECK`; adding a check is adding a file."""
    from . import checks

    modules = (f"{checks.__name__}.{m.name}" for m in pkgutil.iter_modules(checks.__path__))
    found = [importlib.import_module(name).CHECK for name in modules]
    return {c.name: c for c in sorted(found, key=lambda c: (c.order, c.name))}


def graded(
    errors: dict[str, float], tolerances: Tolerances, unit: str, reason: str = "", details: dict | None = None
) -> Outcome:
    """Outcome of a graded check: the worst of the errors of all species decides.

    Any grade but F is a number worth knowing; the check passes with `tolerances.worst_grade` or better.
    """
    worst = max(errors, key=errors.__getitem__)
    letter = grade(errors[worst])
    if len(errors) > 1:
        reason = f"worst: {worst}" + (f"; {reason}" if reason else "")
    return Outcome(
        status=FAIL if worse(letter, tolerances.worst_grade) else PASS,
        value=errors[worst],
        unit=unit,
        threshold=largest_error(tolerances.worst_grade),
        reason=reason,
        grade=letter,
        details={"errors": errors, "grades": {k: grade(v) for k, v in errors.items()}, **(details or {})},
    )


def judged(value: float, threshold: float, unit: str, reason: str = "", details: dict | None = None) -> Outcome:
    """Outcome of a check that passes when value <= threshold."""
    return Outcome(PASS if value <= threshold else FAIL, float(value), unit, threshold, reason, None, details or {})


@dataclass(frozen=True)
class Tolerances:
    """How far two evaluations that should agree may be apart.

    `energy` eV/atom, relative to max(1, |E|/N); `forces` eV/A, relative to max(1, max |F|); `stress` eV/A^3, relative
    to max(1, max |s|). `repeat` bounds the same three (as one number) where the same input is evaluated twice: 0 means
    bitwise. `jump_energy` (eV) and `jump_slope` (eV/A) are the steps of a dimer curve that still count as continuous.
    `worst_grade` is the worst grade with which graded checks pass.
    """

    energy: float = 1e-10
    forces: float = 1e-8
    stress: float = 1e-9
    repeat: float = 0.0
    jump_energy: float = 1e-7
    jump_slope: float = 1e-6
    worst_grade: str = "B"


PROFILES: dict[str, Tolerances] = {
    "float64": Tolerances(),
    "float32": Tolerances(energy=2e-5, forces=1e-3, stress=1e-4, jump_energy=1e-4, jump_slope=1e-3, worst_grade="D"),
}


class Comparison:
    """Collects differences between evaluations that should agree, in units of their tolerance."""

    def __init__(self, tolerances: Tolerances):
        self.tolerances = tolerances
        self.worst: dict[str, float] = {}
        self.ratio, self.where = 0.0, ""

    def add(self, label: str, got: dict[str, Any], want: dict[str, Any]) -> None:
        """Compare the properties that both results have; `label` names the case in the report."""
        n = max(len(want["forces"]) if "forces" in want else int(want.get("n", 1)), 1)
        if "energy" in got and "energy" in want:
            e = want["energy"] / n
            self._note(label, "energy", abs(got["energy"] - want["energy"]) / n, abs(e), "eV/atom")
        for name, unit in (("forces", "eV/A"), ("stress", "eV/A^3")):
            if name in got and name in want:
                a, b = np.asarray(got[name]), np.asarray(want[name])
                if a.shape != b.shape:
                    raise CheckFailed(f"{label}: {name} of shape {a.shape} instead of {b.shape}")
                self._note(label, name, np.abs(a - b).max(initial=0.0), np.abs(b).max(initial=0.0), unit)

    def _note(self, label: str, name: str, difference: float, size: float, unit: str) -> None:
        ratio = float(difference) / (getattr(self.tolerances, name) * max(1.0, float(size)))
        self.worst[name] = max(self.worst.get(name, 0.0), float(difference))
        if ratio > self.ratio:
            self.ratio, self.where = ratio, f"{label}: {name} differ by {difference:.3g} {unit}"

    def outcome(self, reason: str = "", details: dict | None = None) -> Outcome:
        """Passes when every difference is within its tolerance."""
        bad = self.ratio > 1.0
        text = "; ".join(x for x in (self.where if bad else "", reason) if x)
        found = {"largest": self.worst, "where": self.where, **(details or {})}
        return judged(self.ratio, 1.0, "x tolerance", text, found)
