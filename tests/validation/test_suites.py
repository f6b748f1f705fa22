"""Every property on calculators of every kind: ASE's own one by one, without stress, and the zoo's in batches.

Numbers are checked elsewhere; here each property must end with numbers of the declared units, or with a reason that is
no programming error.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from calczoo import get_calculator
from calczoo_validation import Status, registry, validate
from calczoo_validation.html import render

PROPERTIES = sorted(registry.built_in().values(), key=lambda p: p.order)
CRASHES = ("TypeError", "KeyError", "IndexError", "AttributeError", "NameError", "ZeroDivisionError", "ValueError",
           "AssertionError", "LinAlgError", "RuntimeError")  # fmt: skip
# Without a number a property has still ended well when it says why: only `failed` is for errors.
ENDED = (Status.UNSUPPORTED, Status.UNSTABLE, Status.UNCONVERGED)


def argon():
    """Lennard-Jones argon with a smooth cutoff, from ASE."""
    return LennardJones(sigma=3.40, epsilon=0.01034, rc=7.5, smooth=True)


def check(report, name):
    """The property ended well, its numbers are declared, and the report can be drawn."""
    result = report.models[0].results[name]
    assert not any(word in result.reason for word in CRASHES), f"{name}: {result.reason}"
    outputs = registry.built_in()[name].outputs
    for value in result.values:
        declared = [o for o in outputs if fnmatchcase(value.name, o.name) and o.unit == value.unit]
        assert declared, f"{name} gives {value.name} in {value.unit!r}, which it does not declare"
        assert value.status is not Status.OK or value.value is not None
    assert result.title in render(report)
    return result


SMALL = {"melting": {"atoms": 150, "steps": 150, "temperatures": 3}}  # of a calculator in Python


def run(calculator, proto, name, settings=None):
    return validate(calculator, proto=proto, properties=[name], mode="smoke", progress=False, settings=settings)


SLOW = ("conductivity", "diffusion", "liquid", "md", "melting")  # also in the mode smoke


def crystal_properties():
    """Every property of a crystal; those that take long are marked."""
    names = [p.name for p in PROPERTIES if p.input == "crystal"]
    return [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in names]


@pytest.mark.parametrize("name", crystal_properties())
def test_a_model_of_the_zoo_in_batches(name):
    result = check(run(get_calculator("snap:Mo"), "Mo:bcc", name), name)
    assert result.values or result.status in ENDED


@pytest.mark.parametrize("name", [p.name for p in PROPERTIES if p.input == "crystal" and p.order < 80])
def test_a_calculator_of_ase_one_structure_at_a_time(name):
    result = check(run(EMT(), "Cu:fcc", name), name)
    assert result.values or result.status in ENDED


@pytest.mark.slow
@pytest.mark.parametrize("name", [p.name for p in PROPERTIES if p.input == "crystal"])
def test_a_foreign_calculator(name):
    result = check(run(argon(), "Ar:fcc", name, SMALL), name)
    assert result.values or result.status in ENDED


@pytest.mark.slow
@pytest.mark.parametrize("name", [p.name for p in PROPERTIES if p.input == "crystal" and p.order >= 80])
def test_dynamics_of_a_calculator_of_ase(name):
    result = check(run(EMT(), "Cu:fcc", name, SMALL), name)
    assert result.values or result.status in ENDED


@pytest.mark.slow
@pytest.mark.parametrize("name", [p.name for p in PROPERTIES if p.input == "crystal"])
def test_a_compound(name):
    result = check(run(EMT(), "CuAu:cesiumchloride", name, SMALL), name)
    assert result.values or result.status in ENDED


@pytest.mark.slow
@pytest.mark.parametrize("name", [p.name for p in PROPERTIES if p.input == "crystal"])
def test_a_diamond_crystal(name):
    result = check(run(get_calculator("snap:Si"), "Si:diamond", name), name)
    assert result.values or result.status in ENDED
