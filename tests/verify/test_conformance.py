"""The public conformance kit: a correct calculator passes, faults and exceptions are handled as declared."""

from __future__ import annotations

import pytest

from calczoo.core.errors import OptionError
from calczoo.testing import CalculatorConformance, assert_passes, skip_without
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


class _Item:
    def __init__(self):
        self.marks = []

    def add_marker(self, mark):
        self.marks.append(mark)


def test_without_its_package_a_plugin_is_skipped_or_fails(monkeypatch):
    monkeypatch.delenv("CALCZOO_REQUIRE_PLUGINS", raising=False)
    item = _Item()
    skip_without([item], "pytest")
    assert item.marks == []
    skip_without([item], "pytest", "no_such_package_anywhere")
    assert [m.name for m in item.marks] == ["skip"] and "no_such_package" in item.marks[0].kwargs["reason"]
    monkeypatch.setenv("CALCZOO_REQUIRE_PLUGINS", "1")
    with pytest.raises(pytest.UsageError, match="no_such_package_anywhere"):
        skip_without([item], "no_such_package_anywhere")
