"""The ewald add-on through the calculator: charges, options, sums, derivatives, verification."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from calczoo import describe, get_calculator
from calczoo.addons.ewald.params import METHODS
from calczoo.core.errors import AtomsOverlap, InvalidStructure, OptionError, SpecError, UnsupportedElement
from calczoo.core.system import System
from calczoo.electrostatics import COULOMB, mesh, methods, nvalchemi_mesh
from calczoo.electrostatics.moments import dipole
from calczoo.verify import run_checks
from data import lammps_potential, shared

SALT = "ewald(Na=1, Cl=-1)"
MADELUNG = 1.7475645946331822


def salt(repeat: int = 2, rattle: float = 0.1) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64).repeat(repeat)
    rng = np.random.default_rng(0)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, rattle, atoms.positions.shape)
    return atoms


def test_rock_salt():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.calc = get_calculator(SALT)
    assert atoms.get_potential_energy() == pytest.approx(-MADELUNG * COULOMB / 2.82, rel=1e-12)
    assert np.abs(atoms.get_forces()).max() < 1e-12
    stress = atoms.get_potential_energy() / (3 * atoms.get_volume())  # E ~ 1/a: the trace of dE/dstrain is -E
    np.testing.assert_allclose(atoms.get_stress(), [-stress] * 3 + [0] * 3, atol=1e-12)
    assert atoms.get_charges().tolist() == [1.0, -1.0]
    np.testing.assert_allclose(atoms.get_potential_energies(), atoms.get_potential_energy() / 2, rtol=1e-12)


@pytest.mark.parametrize("pbc", [True, False])
def test_backends_agree(pbc):
    atoms = salt()
    atoms.pbc = pbc
    names = ("energy", "energies", "forces", "charges") + (("stress",) if pbc else ("dipole",))
    one, two = (get_calculator(SALT, backend=b).evaluate([atoms], names)[0] for b in ("torch", "warp"))
    for name in names:
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-11, err_msg=name)


def test_initial_charges_or_charges_of_elements():
    atoms = salt()
    by_element = get_calculator(SALT).evaluate([atoms])[0]
    with pytest.raises(InvalidStructure, match=r"set_initial_charges|ewald\(Na=1, Cl=-1\)"):
        get_calculator("ewald()").get_potential_energy(atoms)
    atoms.set_initial_charges(np.where(atoms.numbers == 11, 1.0, -1.0))
    other = atoms.copy()
    other.set_initial_charges(0.5 * atoms.get_initial_charges())
    bare = Atoms("Ar2", [[0, 0, 0], [0, 0, 3]])
    got = get_calculator("ewald").evaluate([atoms, other, bare])
    assert got[0]["energy"] == pytest.approx(by_element["energy"], rel=1e-13)
    assert got[1]["energy"] == pytest.approx(0.25 * by_element["energy"], rel=1e-13)
    assert got[2]["energy"] == 0.0  # no initial charges beside structures that have some: zero
    atoms.info["charge"] = 0.0
    get_calculator("ewald").get_potential_energy(atoms)
    atoms.info["charge"] = 1.0
    with pytest.raises(InvalidStructure, match=r"add up to 0 e, but info\['charge'\] is 1"):
        get_calculator("ewald").get_potential_energy(atoms)


def test_total_charge_of_a_system():
    """info['charge'] wins, then initial charges, then zero."""
    many = [Atoms("H2", [[0, 0, 0], [0, 0, 1]]) for _ in range(4)]
    assert System.from_atoms(many[:1]).initial_charges is None
    many[1].set_initial_charges([0.5, 0.25])
    many[2].set_initial_charges([0.5, 0.25])
    many[2].info["charge"] = -1
    many[3].info["charge"] = 2.0
    system = System.from_atoms(many)
    assert system.charge.tolist() == [0.0, 0.75, -1.0, 2.0]
    assert system.initial_charges.tolist() == [0, 0, 0.5, 0.25, 0.5, 0.25, 0, 0]


def test_dipoles():
    atoms = Atoms("LiF", [[0, 0, 0], [0, 0, 1.6]])
    calc = get_calculator("ewald(Li=1, F=-1)")
    np.testing.assert_allclose(calc.get_dipole_moment(atoms), [0, 0, -1.6], atol=1e-14)
    moved = Atoms("LiF", [[5, 5, 5], [5, 5, 6.6]])
    np.testing.assert_allclose(calc.get_dipole_moment(moved), [0, 0, -1.6], atol=1e-14)
    ion = Atoms("LiF", [[1, 0, 0], [1, 0, 1.6]])
    d = dipole(System.from_atoms([ion, salt(1)]), torch.tensor([1.0, 0.0, 1.0, -1.0]))
    masses = ion.get_masses()
    np.testing.assert_allclose(d[0], [0, 0, -1.6 * masses[1] / masses.sum()], atol=1e-12)
    assert torch.isnan(d[1]).all()


def test_in_a_sum():
    """Terms share a list, which this one does not need; a factor scales the energy."""
    atoms = salt()
    alone, repulsion = get_calculator(SALT), get_calculator("zbl(1.5, 3.5)", elements=["Na", "Cl"])
    both = get_calculator(f"zbl(1.5, 3.5) + 0.5*{SALT}")
    assert both.card.cutoff == 3.5 and both.model.cutoff == 3.5
    one, two, got = (c.evaluate([atoms])[0] for c in (alone, repulsion, both))
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(got[name], 0.5 * one[name] + two[name], rtol=0, atol=1e-11)
    atoms.calc = both
    assert atoms.get_charges()[0] == 1.0


SHORT = {
    "eam": ("eam", "CuNi.eam.alloy", "Cu Ni", "rocksalt", 5.2),
    "sw": ("sw", "CdTe.sw", "Cd Te", "zincblende", 6.48),
    "tersoff": ("tersoff", "SiC.tersoff", "Si C", "zincblende", 4.36),
    "snap": ("snap", "InP_JCPA2020.snap", "In P", "zincblende", 5.83),
    "mtp": ("mtp", "data/mtp/maml/MoNbTaW/mtp.2021.08/quaternary.mtp", "Mo Nb Ta W", "cesiumchloride", 3.2),
    "hdnnp": ("hdnnp", "data/hdnnp/n2p2/potentials/Cu2S_PBE", "Cu S", "zincblende", 5.5),
    "zbl": ("zbl(2.0, 3.5)", "", "Na Cl", "rocksalt", 5.64),
}
MORE = {"hdnnp": "(length_unit=A, energy_unit=eV, extrapolation=ignore)"}


@pytest.mark.parametrize("family", SHORT)
def test_sums_with_short_range_families_are_graded_a(family):
    """Forces and stress are derivatives of the energy, to the grade's limit, whatever it is added to."""
    name, file, symbols, lattice, length = SHORT[family]
    known = symbols.split()
    path = shared(file) if "/" in file else lammps_potential(file) if file else ""
    charges = f"ewald({', '.join(f'{e}={0.6 * (-1) ** k:g}' for k, e in enumerate(known))})"
    short = f"{name}:{path}{MORE.get(family, '')}" if file else name
    common = {"elements": known, "device": "cpu", "threads": 1}
    make = partial(get_calculator, f"{short} + {charges}", **common)
    atoms = bulk("".join(known[:2]), lattice, a=length).repeat(2)
    atoms.rattle(0.05, seed=1)
    one, two = (get_calculator(s, **common).evaluate([atoms])[0] for s in (short, charges))
    got = make().evaluate([atoms])[0]
    for key in ("energy", "forces", "stress"):
        np.testing.assert_allclose(got[key], one[key] + two[key], rtol=0, atol=1e-10)
    report = run_checks(make, known[:2], quick=True, names=["forces", "stress"])
    assert [(r.status, r.grade) for r in report.results] == [("pass", "A")] * 2, str(report)


@pytest.mark.parametrize("options", [{"accuracy": 1e-6}, {"accuracy": 1e-10}, {"method": "ewald"}])
def test_options(options):
    atoms = salt()
    want = get_calculator(SALT).evaluate([atoms])[0]
    got = get_calculator(SALT, **options).evaluate([atoms])[0]
    tolerance = 20 * len(atoms) * options.get("accuracy", 1e-12)
    assert got["energy"] == pytest.approx(want["energy"], abs=tolerance)
    np.testing.assert_allclose(got["forces"], want["forces"], atol=100 * tolerance)


MESHES = {
    "mesh": pytest.param("mesh", marks=pytest.mark.skipif(not mesh.available(), reason="torch-pme is not installed")),
    "nvalchemi": pytest.param(
        "nvalchemi",
        marks=pytest.mark.skipif(not nvalchemi_mesh.available(), reason="nvalchemi-toolkit-ops is not installed"),
    ),
}


@pytest.mark.parametrize("method", MESHES.values())
def test_particle_mesh(method):
    atoms = salt()
    want = get_calculator(SALT).evaluate([atoms])[0]
    got = get_calculator(SALT, method=method, accuracy=1e-6).evaluate([atoms])[0]
    assert got["energy"] == pytest.approx(want["energy"], abs=1e-4)
    np.testing.assert_allclose(got["forces"], want["forces"], atol=1e-4)
    np.testing.assert_allclose(got["stress"], want["stress"], atol=1e-6)


@pytest.mark.parametrize("method", MESHES.values())
def test_madelung_constant_on_a_mesh(method):
    """To the accuracy that is asked for; exact sums have 1e-12 (test_rock_salt)."""
    accuracy = {"mesh": 1e-9, "nvalchemi": 1e-6}[method]
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2)
    energy = get_calculator(SALT, method=method, accuracy=accuracy).get_potential_energy(atoms)
    assert energy / 32 * 2.82 / COULOMB == pytest.approx(-MADELUNG, abs=3 * accuracy)


def test_methods_are_those_of_electrostatics():
    assert METHODS == methods.METHODS


def test_wrong_requests():
    with pytest.raises(OptionError, match="no option 'cutoff'.*accuracy, method, and charges of elements"):
        get_calculator("ewald(Na=1, cutoff=5)")
    with pytest.raises(OptionError, match="by name only"):
        get_calculator("ewald(1, -1)")
    with pytest.raises(OptionError, match="charge of Na is 25"):
        get_calculator("ewald(Na=25)")
    with pytest.raises(OptionError, match="no charge for K"):
        get_calculator(SALT, elements=["Na", "K"])
    with pytest.raises(OptionError, match="accuracy is 2"):
        get_calculator("ewald(Na=1, accuracy=2)")
    with pytest.raises(OptionError, match="method is 'pppm'"):
        get_calculator("ewald(Na=1, method=pppm)")
    with pytest.raises(OptionError, match="belongs to the fast backend"):
        get_calculator("ewald(Na=1, method=mesh, accuracy=1e-6)", backend="torch")
    with pytest.raises((OptionError, SpecError)):
        get_calculator("ewald(Na=1, Na=2)")
    with pytest.raises(UnsupportedElement):
        get_calculator(SALT).get_potential_energy(Atoms("K"))
    with pytest.raises(AtomsOverlap):
        get_calculator(SALT).get_potential_energy(Atoms("NaCl", [[0, 0, 0], [0, 0, 1e-5]]))
    with pytest.raises(InvalidStructure, match="along x only"):
        get_calculator(SALT).get_potential_energy(Atoms("NaCl", [[0, 0, 0], [0, 0, 2]], cell=[4, 4, 4], pbc=[1, 0, 0]))


def test_card():
    card = describe(SALT)
    assert card.elements == ("Na", "Cl") and card.cutoff == 0.0 and card.extra["range"] == "infinite"
    assert "Na=1, Cl=-1" in card.name and "initial charges" in describe("ewald").extra["charges"]


def modes() -> dict[str, dict]:
    out = {"warp": {}, "torch": {"backend": "torch"}, "rough": {"accuracy": 1e-6}}
    out |= {"mesh": {"method": "mesh", "accuracy": 1e-7}} if mesh.available() else {}
    return out | ({"nvalchemi": {"method": "nvalchemi", "accuracy": 1e-6}} if nvalchemi_mesh.available() else {})


@pytest.mark.parametrize("mode", modes())
def test_forces_and_stress_are_graded_a_or_b(mode):
    """The verification checks' own grades, for every way to sum."""
    report = run_checks(
        lambda: get_calculator(SALT, **modes()[mode]), ["Na", "Cl"], quick=True, names=["forces", "stress"]
    )
    assert {r.name: r.grade for r in report.results}.keys() == {"forces", "stress"}
    assert all(r.grade in ("A", "B") for r in report.results), report


def test_other_verification_checks():
    names = "species permutation dimer objectivity inversion threads determinism small_cell nan_input overlap empty"
    report = run_checks(lambda: get_calculator(SALT), ["Na", "Cl"], quick=True, names=names)
    assert not report.failed, report
