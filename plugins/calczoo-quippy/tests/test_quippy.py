"""Cards, refusals, numbers and manners of the QUIP adapter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from calczoo import describe, get_calculator
from calczoo.core.errors import (
    BackendUnavailable,
    ForeignError,
    OptionError,
    PotentialFileError,
    PropertyNotImplementedError,
    UnsupportedElement,
    WorkerError,
)
from calczoo.testing import Context, Tolerances, assert_passes, run_check

from .support import atoms_of, cases, gap, need_quippy

SI = "gap_Si_2b3bSOAP.xml"
LIGHT = """
import json, sys
from calczoo import get_family
family = get_family("quippy")
print(json.dumps([family.package, [m for m in ("torch", "quippy", "calczoo_quippy.worker") if m in sys.modules]]))
"""
LJ = """<LJ_params n_types="1" label="default">
<per_type_data type="1" atomic_num="18" />
<per_pair_data type1="1" type2="1" sigma="3.4" eps6="0.0104" eps12="0.0104" cutoff="8.5" energy_shift="F"
linear_force_shift="F" />
</LJ_params>
"""


def quippy(name: str = SI, **options):
    return get_calculator("quippy", model=gap(name), device="cpu", threads=1, **options)


@pytest.mark.parametrize("case", cases(), ids=lambda c: c["name"])
def test_reference_values(case):
    """1e-9 eV and eV/A, and the variance to 1e-10; soap_turbo sums in an order that the compiler chooses: 1e-6."""
    calc, atoms = quippy(case["potential"].rsplit("/", 1)[1]), atoms_of(case)
    tolerance = 1e-6 if "turbo" in case["name"] else 1e-9
    found = calc.evaluate([atoms], ("energy", "forces", "local_gap_variance"))[0]
    for name in ("energy", "energies", "forces"):
        np.testing.assert_allclose(found[name], case[name], atol=tolerance, rtol=0)
    if atoms.pbc.all():
        np.testing.assert_allclose(found["stress"], case["stress"], atol=tolerance, rtol=0)
    else:
        assert "stress" not in found
    np.testing.assert_allclose(found["local_gap_variance"], case["local_gap_variance"], atol=1e-10, rtol=0)


@pytest.fixture(scope="module")
def kit():
    tolerances = replace(Tolerances(), energy=1e-9, forces=1e-7, stress=1e-8)
    return Context(lambda: quippy("gap_Si_2bSOAP88.xml"), ["Si"], quick=True, tolerances=tolerances)


@pytest.mark.parametrize("check", ["permutation", "batch", "odd_cells", "outside_cell"])
def test_some_checks_of_the_kit(kit, check):
    """With the tolerances of test_conformance.py, which runs all of them and is slow."""
    need_quippy()
    assert_passes(run_check(check, kit))


def test_forces_and_stress_are_derivatives():
    calc, atoms, h = quippy(), bulk("Si").repeat((2, 1, 1)), 1e-4
    atoms.rattle(0.1, seed=1)
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, 1] += sign * h
        strain = np.zeros((3, 3))
        strain[0, 2] = strain[2, 0] = sign * h / 2
        sheared = atoms.copy()
        sheared.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        energies.append([calc.get_potential_energy(moved), calc.get_potential_energy(sheared)])
    slopes = (np.array(energies[0]) - energies[1]) / (2 * h)
    assert calc.get_forces(atoms)[0, 1] == pytest.approx(-slopes[0], abs=1e-6)
    assert calc.get_stress(atoms)[4] == pytest.approx(slopes[1] / atoms.get_volume(), abs=1e-6)


def test_card():
    card = describe("quippy", gap("gap_CuAu_2b2SOAP.xml"))
    assert card.elements == ("Cu", "Au") and card.cutoff == 6.0 and "Academic" in card.licence
    assert len(card.files) == 8 and card.extra["gap_version"] == "1769700636"
    assert "local_gap_variance" in card.outputs


def test_the_variance_comes_only_when_asked_for():
    calc, atoms = quippy(), bulk("Si")
    assert "local_gap_variance" not in calc.evaluate([atoms])[0]
    small = calc.get_property("local_gap_variance", atoms)
    large = quippy(variance=1e-1).get_property("local_gap_variance", atoms)
    assert small.shape == (2,) and (small > 0.0).all() and (small != large).all()


def test_structures_of_all_kinds():
    """Left-handed and rotated cells, directions without periodicity and without a cell, atoms far apart."""
    calc, atoms = quippy(), bulk("Si").repeat((2, 1, 1))
    atoms.rattle(0.1, seed=1)
    energy, forces = calc.get_potential_energy(atoms), calc.get_forces(atoms)
    left = atoms.copy()
    left.set_cell(atoms.cell.array[[1, 0, 2]])
    assert calc.get_potential_energy(left) == pytest.approx(energy, abs=1e-9)
    turned = atoms.copy()
    turned.rotate(40.0, (1, 2, 3), rotate_cell=True)
    assert calc.get_potential_energy(turned) == pytest.approx(energy, abs=1e-9)
    assert np.linalg.norm(calc.get_forces(turned)) == pytest.approx(np.linalg.norm(forces), abs=1e-8)
    free = Atoms(atoms.numbers, positions=atoms.positions)
    alone = calc.get_potential_energy(free)
    assert calc.get_potential_energy(Atoms(atoms.numbers, atoms.positions, cell=[3, 3, 3])) == pytest.approx(alone)
    boxed = Atoms(atoms.numbers, positions=atoms.positions, cell=[30, 31, 32], pbc=True)
    assert calc.get_potential_energy(boxed) == pytest.approx(alone, abs=1e-9)
    far = free + free
    far.positions[len(free) :] += [1e5, 0.0, -2e4]
    assert calc.get_potential_energy(far) == pytest.approx(2 * alone, abs=1e-9)


def test_other_potentials_of_quip(tmp_path):
    """Lennard-Jones: elements from its own kind of entries, and no variance."""
    need_quippy()
    path = tmp_path / "lj.xml"
    path.write_text(LJ)
    calc = get_calculator("quippy", model=path, init_args="IP LJ", device="cpu")
    pair = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3.7]])
    x = (3.4 / 3.7) ** 6
    assert calc.get_potential_energy(pair) == pytest.approx(0.0104 * (x**2 - x), abs=1e-12)
    with pytest.raises(PropertyNotImplementedError, match="local_gap_variance"):
        calc.get_property("local_gap_variance", pair)


def test_files_that_are_none(tmp_path):
    cut = tmp_path / "cut.xml"
    cut.write_text("<GAP_params><descriptor>soap")
    with pytest.raises(PotentialFileError, match="is no XML"):
        get_calculator("quippy", model=cut, device="cpu")
    cut.write_text("<a/>")
    with pytest.raises(PotentialFileError, match="no parameters of QUIP"):
        get_calculator("quippy", model=cut, device="cpu")
    with pytest.raises(PotentialFileError, match="does not exist"):
        get_calculator("quippy", model=tmp_path / "no.xml", device="cpu")
    shutil.copy(gap(SI), tmp_path / SI)
    with pytest.raises(PotentialFileError, match="sparse points"):
        get_calculator("quippy", model=tmp_path / SI, device="cpu")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"variance": -1.0}, "positive number"),
        ({"calc_args": 3}, "QUIP's form"),
        ({"elements": ["Ge"]}, "has no Ge"),
        ({"init": "IP GAP"}, "did you mean 'init_args'"),
    ],
)
def test_wrong_requests(options, text):
    with pytest.raises(OptionError, match=text):
        quippy(**options)
    with pytest.raises(OptionError, match="takes a parameter file"):
        get_calculator("quippy", device="cpu")


def test_what_quip_refuses_is_an_error_here(tmp_path):
    """QUIP keeps the file open then, which is told; other files are not touched by that."""
    need_quippy()
    path = tmp_path / "lj.xml"
    path.write_text(LJ)
    for text in ("QuipError", "start Python anew"):
        with pytest.raises(ForeignError, match=text):
            calc = get_calculator("quippy", model=path, init_args="IP NoSuchPotential", device="cpu")
            calc.get_potential_energy(bulk("Ar", "fcc", 5.3))
    assert np.isfinite(quippy().get_potential_energy(bulk("Si")))
    with pytest.raises(UnsupportedElement, match="Ge"):
        quippy().get_potential_energy(bulk("Ge"))


def test_in_a_process_of_its_own():
    apart, here, atoms = quippy(isolated=sys.executable), quippy(), bulk("Si")
    asked = ("energy", "forces", "stress", "local_gap_variance")
    mine, theirs = here.evaluate([atoms], asked)[0], apart.evaluate([atoms], asked)[0]
    for name, value in mine.items():
        np.testing.assert_allclose(theirs[name], value, atol=1e-10)
    with pytest.raises(WorkerError, match="QuipError"):
        quippy(init_args="IP NoSuchPotential", isolated=sys.executable).get_potential_energy(atoms)


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == ["quippy", []]


def test_nothing_is_printed_on_stdout(capfd):
    quippy().get_potential_energy(bulk("Si"))
    assert capfd.readouterr().out == ""


def test_no_quippy_is_told(monkeypatch):
    path = gap(SI)
    monkeypatch.setitem(sys.modules, "quippy", None)
    monkeypatch.delitem(sys.modules, "quippy.potential", raising=False)
    with pytest.raises(BackendUnavailable, match="quippy"):
        get_calculator("quippy", model=path, device="cpu").get_potential_energy(bulk("Si"))
