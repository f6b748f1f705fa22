"""Conformance kit for authors of calculators: all verification checks as pytest tests, in ten lines.

    from calczoo.testing import CalculatorConformance

    class TestMine(CalculatorConformance):
        elements = ["Cu"]

        def make_calculator(self):
            return MyCalculator()

Every check of `calczoo.verify` becomes one test. Checks that cannot run are skipped with their reason. Needs pytest.
`skip_without` is for the conftest.py of a plug-in whose package may not be installed.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from .core.errors import OptionError
from .verify import CHECKS, DEFAULT_SEED, CheckResult, Context, Tolerances, run_check, worse
from .verify.report import GRADES, NA, PASS

__all__ = ["CalculatorConformance", "Context", "Tolerances", "assert_passes", "run_check", "skip_without"]

_GRADES = tuple(letter for letter, _ in GRADES)


def assert_passes(result: CheckResult, worst_grade: str | None = None) -> None:
    """Fail the running test unless the check passed, and skip it where the check is n/a.

    Graded checks pass with `worst_grade` or better, where it is given.
    """
    if result.status == NA:
        pytest.skip(result.reason)
    if worst_grade is not None and result.grade is not None:
        good = not worse(result.grade, worst_grade)
    else:
        good = result.status == PASS
    if not good:
        asked = f"\ngrade {worst_grade} or better is asked for" if worst_grade and result.grade else ""
        pytest.fail(f"{result}{asked}\n{result.details.get('traceback', '')}", pytrace=False)


def skip_without(items: Iterable[pytest.Item], *packages: str) -> None:
    """For pytest_collection_modifyitems of a conftest.py: where one of these packages cannot be imported, skip the
    collected tests with that as the reason; with CALCZOO_REQUIRE_PLUGINS=1 in the environment it is an error."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)}"
    if os.environ.get("CALCZOO_REQUIRE_PLUGINS") == "1":
        raise pytest.UsageError(f"{reason}, and CALCZOO_REQUIRE_PLUGINS=1 asks for these tests")
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))


class CalculatorConformance:
    """Derive from this class, set `elements` and define `make_calculator`.

    elements                what the calculator is meant for; mixtures of them are tested too
    worst_force_grade       worst grade tolerated for forces against the numerical derivative of the energy; None: that
                            of the tolerances, B for float64 and D for float32
    worst_stress_grade      the same for stress
    dtype                   "float64" or "float32": precision of the calculator, chooses the tolerances
    tolerances              own `Tolerances` instead of those of `dtype`
    not_applicable          {check: reason}: checks that are skipped, with the reason
    quick, seed             as in `calczoo.verify.run_checks`
    make_float32_calculator optional method: the same model in single precision, for the check `float32_gap`
    """

    elements: ClassVar[Sequence[str] | str] = ()
    worst_force_grade: ClassVar[str | None] = None
    worst_stress_grade: ClassVar[str | None] = None
    dtype: ClassVar[str] = "float64"
    tolerances: ClassVar[Tolerances | None] = None
    not_applicable: ClassVar[Mapping[str, str]] = {}
    quick: ClassVar[bool] = True
    seed: ClassVar[int] = DEFAULT_SEED
    make_float32_calculator: ClassVar[Callable[..., Any] | None] = None
    _verification: ClassVar[Context]

    def make_calculator(self) -> Any:
        """A fresh ASE calculator. To be defined in the derived class."""
        raise OptionError(f"{type(self).__name__} lacks make_calculator(self), which returns a fresh ASE calculator")

    @classmethod
    def verification(cls) -> Context:
        """What the tests of one class share: the calculator and its lattice constants."""
        if "_verification" not in vars(cls):  # not inherited: a derived class may have another calculator
            cls._check_settings()
            maker = cls()
            cls._verification = Context(
                maker.make_calculator,
                cls.elements,
                quick=cls.quick,
                seed=cls.seed,
                dtype=cls.dtype,
                tolerances=cls.tolerances,
                float32=maker.make_float32_calculator,
            )
        return cls._verification

    @pytest.mark.parametrize("check", list(CHECKS))
    def test_check(self, check: str) -> None:
        context = self.verification()
        if check in self.not_applicable:
            pytest.skip(f"declared not applicable: {self.not_applicable[check]}")
        limits = {"forces": self.worst_force_grade, "stress": self.worst_stress_grade}
        assert_passes(run_check(check, context), limits.get(check))

    @classmethod
    def _check_settings(cls) -> None:
        if cls.make_calculator is CalculatorConformance.make_calculator:
            raise OptionError(f"{cls.__name__} lacks make_calculator(self), which returns a fresh ASE calculator")
        if unknown := sorted(set(cls.not_applicable) - set(CHECKS)):
            raise OptionError(f"not_applicable names unknown checks: {', '.join(unknown)} (has: {', '.join(CHECKS)})")
        for name in ("worst_force_grade", "worst_stress_grade"):
            if getattr(cls, name) not in (None, *_GRADES):
                raise OptionError(f"{name} is {getattr(cls, name)!r}; allowed: {', '.join(_GRADES)}")
