"""The reference cases of s-dftd3, energies, gradients, virials and pair energies: 1e-9 relative.

Version 0.4.2, which made most of them, had a bohr of its own (`cases.OLD_AA`), in which it counted the radii of atoms
and geometries in A. So that the case is the case, it is computed here in that unit: lengths are multiplied by the ratio
of both bohrs, parameters of the damping by its powers. As it is written, a case agrees to the 2e-6 of that ratio.
"""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import Bohr, Hartree

from addons.dispersion.cases import AA, CASES, COUNTERPOISE, FOLDER, NOT_HERE, OLD_AA, expected, geometry, in_units
from addons.dispersion.structures import close, compute, package
from calczoo import get_calculator
from data import shared

dftd3 = package("dftd3")


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    case, want = CASES[name], expected(name)
    assert want["version"] == ("0.4.2" if case.old else "1.2.1")
    k = OLD_AA / AA if case.old else 1.0
    cutoffs = {key: value * k * Bohr for key, value in (("disp2", 60.0), ("disp3", 40.0), ("cn", 40.0))}
    own = case.parameters()
    calc = get_calculator("d3", damping=case.damping, device="cpu", **cutoffs, **in_units(own, k))
    atoms = geometry(case.file, OLD_AA if case.old else AA)
    atoms.positions *= k
    atoms.calc = calc
    close(atoms.get_potential_energy() / Hartree, want["energy"])
    for key, value in want.get("damping parameters", {}).items():
        assert key == "damping" or {"alp": 14.0, **own}[key] == pytest.approx(value, rel=1e-12)
    if "gradient" in want:
        out = compute(calc, atoms)
        close(-out.forces.numpy().ravel() * (k * Bohr / Hartree), want["gradient"])
        close(out.virial[0].numpy().ravel() / Hartree, want["virial"])
    if "additive pairwise energy" in want:
        kinds = (f"{kind} pairwise energy" for kind in ("additive", "non-additive"))
        pairs = np.add(*(np.reshape(want[kind], (len(atoms), -1)) for kind in kinds))
        close(atoms.get_potential_energies() / Hartree, pairs.sum(axis=1))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.functional])
def test_case_by_the_name_of_the_functional(name):
    """As a user writes it; exact where dftd3 has the same bohr."""
    case = CASES[name]
    got = get_calculator(case.spec, device="cpu").get_potential_energy(geometry(case.file)) / Hartree
    close(got, expected(name)["energy"], 2e-6 if case.old else 1e-9)


@pytest.mark.parametrize("name", COUNTERPOISE)
def test_case_with_counterpoise_correction(name):
    file, spec, (method, basis) = COUNTERPOISE[name]
    atoms = geometry(file)
    gcp = dftd3.GeometricCounterpoise(atoms.numbers, atoms.positions / Bohr, method=method, basis=basis)
    rest = float(gcp.get_counterpoise(grad=False)["energy"])
    close(get_calculator(spec, device="cpu").get_potential_energy(atoms) / Hartree + rest, expected(name)["energy"])


def test_every_case_is_here():
    names = {p.name.removesuffix(".resp") for p in shared(FOLDER).glob("*.resp")}
    assert names == {*CASES, *COUNTERPOISE, *NOT_HERE}
