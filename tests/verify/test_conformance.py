"""The public conformance kit: a correct calculator passes, faults and exceptions are handled as declared."""

from __future__ import annotations

import pytest

from calczoo.core.errors import OptionError
from calczoo.testing import CalculatorConformance, assert_passes
from calczoo.verify import CHECKS, CheckResult, Context, run_check
from verify import toys


class TestGood(CalculatorConformance):
    elements = ["Cu"]
    worst_force_grade = "A"
    not_applicable = {"batch": "has no evaluate"}

    def make_calculator(self):
        return toys.Good()

    def make_float32_calculator(self):
        return toys.Single()


def test_one_test_per_check():
    marks = [m for m in CalculatorConformance.test_check.pytestmark if m.name == "parametrize"]
    assert marks[0].args[1] == list(CHECKS)


def _wrong_forces() -> CheckResult:
    return run_check("forces", Context(toys.WrongForces, ["Cu"], quick=True))


def test_a_tolerated_grade_passes():
    result = _wrong_forces()
    assert (result.status, result.grade) == ("fail", "C")
    assert_passes(result, "C")
    for limit in ("B", None):
        with pytest.raises(pytest.fail.Exception, match="grade C"):
            assert_passes(result, limit)


def test_not_applicable_is_skipped():
    with pytest.raises(pytest.skip.Exception, match="because"):
        assert_passes(CheckResult("batch", "n/a", reason="because"))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "lacks make_calculator"),
        ({"make_calculator": lambda self: None, "not_applicable": {"fores": "typo"}}, "fores"),
        ({"make_calculator": lambda self: None, "worst_force_grade": "E"}, "worst_force_grade is 'E'"),
    ],
)
def test_wrong_settings(attributes, message):
    kit = type("Wrong", (CalculatorConformance,), {"elements": ["Cu"], **attributes})
    with pytest.raises(OptionError, match=message):
        kit.verification()
