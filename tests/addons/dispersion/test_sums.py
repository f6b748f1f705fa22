"""Potentials with dispersion: sums, their derivatives, and dispersion that is there already."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase.build import bulk

from addons.dispersion.structures import SHORT, package
from calczoo import get_calculator
from calczoo.compose import Sum
from calczoo.core.errors import SpecError
from calczoo.verify import run_checks
from data import lammps_potential

dftd3 = package("dftd3")
package("dftd4")

SUMS = {
    "mtp + d3": ("mtp:Cu + d3(pbe)", "", "Cu"),
    "mtp + d3 with three bodies": (f"mtp:Cu + d3(pbe, atm=true, {SHORT})", "", "Cu"),
    "eam + d3": ("eam:{} + d3(pbe, damping=zero, disp2=15, cn=15, width2=3)", "Cu_mishin1.eam.alloy", "Cu"),
    "sw + d3": ("sw:{} + d3(pbe, damping=bjm, disp2=15, cn=15, width2=3)", "Si.sw", "Si"),
    "mtp + d4": (f"mtp:Cu + d4(pbe, {SHORT})", "", "Cu"),
    "three terms": ("sw:{} + zbl(0.5, 1.5) + 0.5*d3(pbe, disp2=15, cn=15, width2=3)", "Si.sw", "Si"),
}


def maker(name: str):
    spec, file, element = SUMS[name]
    spec = spec.format(f'"{lammps_potential(file)}"') if file else spec
    return partial(get_calculator, spec, elements=[element], device="cpu", threads=1), element


@pytest.mark.parametrize("name", SUMS)
def test_sums_are_graded_a(name):
    """Forces and stress are derivatives of the energy, to the limit of the checks' best grade."""
    make, element = maker(name)
    report = run_checks(make, [element], quick=True, names=["forces", "stress"])
    assert [(r.name, r.status, r.grade) for r in report.results] == [
        ("forces", "pass", "A"),
        ("stress", "pass", "A"),
    ], str(report)


def test_a_sum_is_the_sum():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    names = ("energy", "energies", "forces", "stress")
    specs = (f"mtp:Cu + d3(pbe, {SHORT})", "mtp:Cu", f"d3(pbe, {SHORT})")
    both, mtp, d3 = (get_calculator(s, device="cpu").evaluate([atoms], names)[0] for s in specs)
    for name in names:
        np.testing.assert_allclose(both[name], mtp[name] + d3[name], rtol=0, atol=1e-12)


def test_dispersion_twice_is_refused():
    for spec in ("d3(pbe) + d3(pbe0)", "mtp:Cu + d3(pbe) + d4(pbe)", "d3(pbe) + 0.5*d3(pbe, damping=zero)"):
        with pytest.raises(SpecError, match=r"d3\(pbe, bj\)' and '.*both hold dispersion"):
            get_calculator(spec, elements=["Cu"])
    forced = get_calculator(f"d3(pbe, {SHORT}) + d3(pbe0, {SHORT}, force=true)", elements=["Cu"], device="cpu")
    one, two = (get_calculator(f"d3({name}, {SHORT})", device="cpu") for name in ("pbe", "pbe0"))
    atoms = bulk("Cu")
    assert forced.get_potential_energy(atoms) == pytest.approx(
        one.get_potential_energy(atoms) + two.get_potential_energy(atoms), rel=1e-12
    )


def test_halves_and_differences_are_one():
    """Half of one and half of another is once; a difference of two functionals is no dispersion at all."""
    for spec in ("0.5*d3(pbe) + 0.5*d3(pbe0)", "d3(pbe) + -1*d3(pbe0)"):
        assert get_calculator(spec, elements=["Cu"], device="cpu").model.compute


def test_potential_that_holds_dispersion_already():
    potential = copy.copy(get_calculator("mtp:Cu", device="cpu").model)
    d3, forced = (get_calculator(s, elements=["Cu"], device="cpu").model for s in ("d3(pbe)", "d3(pbe, force=true)"))
    assert potential.card.dispersion_included is None and Sum([potential, d3])  # unknown: the user's to judge
    assert Sum([potential, d3]).card.dispersion_included is True
    potential.card = replace(potential.card, dispersion_included=True)
    with pytest.raises(SpecError, match=r"'mtp:Cu' and 'd3\(pbe, bj\)' both hold dispersion"):
        Sum([potential, d3])
    assert Sum([potential, forced]).compute
