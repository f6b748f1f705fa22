"""The d3 add-on against dftd3's own interface, on molecules, crystals and slabs, and in every periodic direction."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111, molecule
from ase.units import Bohr, Hartree

from addons.dispersion.structures import SHORT, close, compute, package, salt
from calczoo import get_calculator
from calczoo.addons.d3.params import DAMPINGS
from calczoo.testing import CalculatorConformance

dftd3 = package("dftd3")


@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize("atm", [False, True])
def test_equal_to_dftd3(damping, atm):
    """Molecule, crystal, and a slab in the orientation in which dftd3 sums it well."""
    calc = get_calculator(f"d3(pbe, damping={damping}, atm={atm}, disp2=20, disp3=8, cn=15)", device="cpu")
    param = getattr(dftd3, DAMPINGS[damping].cls)(method="pbe", atm=atm)
    slab = fcc111("Cu", (1, 1, 2), a=3.6, vacuum=3.0)
    slab.rattle(0.1, seed=1)
    slab.pbc = (True, True, False)
    for atoms in (molecule("CH3CH2OH"), salt(), slab):
        periodic = {"lattice": atoms.cell.array / Bohr, "periodic": atoms.pbc} if atoms.pbc.any() else {}
        model = dftd3.DispersionModel(atoms.numbers, atoms.positions / Bohr, **periodic)
        model.set_realspace_cutoff(20.0 / Bohr, 8.0 / Bohr, 15.0 / Bohr)
        want, got = model.get_dispersion(param, grad=True), compute(calc, atoms)
        close(got.energy[0] / Hartree, want["energy"], 1e-12)
        close(got.forces * (Bohr / Hartree), -want["gradient"], 1e-10)
        close(got.virial[0] / Hartree, want["virial"], 1e-10)
        assert float(got.energies.sum()) == pytest.approx(float(got.energy[0]), rel=1e-12)


@pytest.mark.parametrize("cutoffs", [{}, {"disp2": 15.0, "cn": 12.0, "width2": 2.0}], ids=["default", "smooth"])
def test_equal_to_the_calculator_of_dftd3(cutoffs):
    """Energy, forces and stress, in the units and with the sign that ase wants."""
    from dftd3.ase import DFTD3

    atoms = salt()
    text = "".join(f", {k}={v}" for k, v in cutoffs.items())
    full = {"disp2": 60 * Bohr, "disp3": 40 * Bohr, "cn": 40 * Bohr, **cutoffs} if cutoffs else {}
    theirs = DFTD3(method="pbe", damping="d3bj", realspace_cutoff=full)
    ours = get_calculator(f"d3(pbe{text})", device="cpu")
    for name in ("energy", "forces", "stress"):
        close(ours.get_property(name, atoms), theirs.get_property(name, atoms.copy()))


def test_default_cutoffs_are_those_of_dftd3():
    atoms = salt()
    model = dftd3.DispersionModel(atoms.numbers, atoms.positions / Bohr, atoms.cell.array / Bohr, atoms.pbc)
    want = float(model.get_dispersion(dftd3.RationalDampingParam(method="pbe", atm=True), grad=False)["energy"])
    got = get_calculator("d3(pbe, atm=true)", device="cpu").get_potential_energy(atoms)
    assert got == pytest.approx(want * Hartree, rel=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_layout(order):
    """Cells and positions that lie in memory by columns, or are views."""
    atoms = salt()
    want = get_calculator(f"d3(pbe, {SHORT})", device="cpu").evaluate([atoms], ("energy", "forces", "stress"))[0]
    atoms.cell.array = np.asarray(atoms.cell.array, order=order)
    atoms.arrays["positions"] = np.array(np.repeat(atoms.positions, 2, axis=0), order=order)[::2]
    got = get_calculator(f"d3(pbe, {SHORT})", device="cpu").evaluate([atoms], ("energy", "forces", "stress"))[0]
    for name in got:
        np.testing.assert_array_equal(got[name], want[name])


@pytest.mark.parametrize("pbc", [(1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0)])
def test_any_directions_may_be_periodic(pbc):
    """Against the structure repeated in space with a gap beyond all cutoffs; skewed cells, atoms that stick out."""
    calc = get_calculator("d3(pbe, disp2=12, disp3=7, cn=9, atm=true)", device="cpu")
    atoms = salt((1, 2, 1), seed=3)
    atoms.pbc = pbc
    far = atoms.copy()
    box = far.cell.array.copy()
    periodic = [k for k in range(3) if pbc[k]]
    normals = np.linalg.svd(box[periodic])[2][len(periodic) :]
    for k, normal in zip([k for k in range(3) if not pbc[k]], normals, strict=True):
        box[k] = 40.0 * normal
    far.set_cell(box)
    far.pbc = True
    want = calc.evaluate([far], ("energy", "forces"))[0]
    skewed = atoms.copy()
    if len(periodic) == 2:
        cell = atoms.cell.array.copy()
        cell[periodic[1]] += 3 * cell[periodic[0]]
        skewed.set_cell(cell)
    away = atoms.copy()
    away.positions += [300.0, -70.0, 11.0]
    for other in (atoms, skewed, away):
        got = calc.evaluate([other], ("energy", "forces", "energies"))[0]
        assert got["energy"] == pytest.approx(want["energy"], rel=1e-10)
        close(got["forces"], want["forces"], 1e-8)


def test_batch_of_all_kinds():
    calc = get_calculator(f"d3(pbe, {SHORT})", device="cpu")
    slab = fcc111("Cu", (1, 1, 2), a=3.6)
    many = [molecule("H2O"), salt(), Atoms(), slab, Atoms("Ar"), salt(seed=5)]
    got = calc.evaluate(many, ("energy", "energies", "forces"))
    for atoms, one in zip(many, got, strict=True):
        alone = calc.evaluate([atoms], ("energy", "energies", "forces"))[0]
        assert one["energy"] == alone["energy"] and np.array_equal(one["forces"], alone["forces"])
        assert one["energies"].sum() == pytest.approx(one["energy"], abs=1e-12)
    assert got[2]["energy"] == 0.0 and got[4]["energy"] == 0.0


def test_per_atom_energies_only_for_those_who_ask():
    atoms = salt()
    atoms.calc = get_calculator(f"d3(pbe, {SHORT}) + zbl(1.0, 2.0)", elements=["Na", "Cl"], device="cpu")
    atoms.get_forces()
    assert "energies" not in atoms.calc.results and "stress" in atoms.calc.results
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), rel=1e-12)


class TestConformance(CalculatorConformance):
    """All checks, with three bodies, added to a potential that keeps atoms apart: dispersion alone would let a crystal
    fall into itself. float32: the dispersion is the same numbers rounded. Smooth short cutoffs keep it quick."""

    elements = ("Cu",)
    worst_force_grade = "A"
    worst_stress_grade = "A"

    def make_calculator(self, dtype="float64"):
        return get_calculator(f"mtp:Cu + d3(pbe, atm=true, {SHORT})", device="cpu", threads=1, dtype=dtype)

    def make_float32_calculator(self):
        return self.make_calculator("float32")
