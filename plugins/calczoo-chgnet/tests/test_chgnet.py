"""Cards, refusals, numbers and manners of the CHGNet adapter, on the published weights."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet
from calczoo import describe, get_calculator
from calczoo.core.errors import (
    BackendUnavailable,
    OptionError,
    PotentialFileError,
    UnknownCalculator,
    UnsupportedElement,
)

from calczoo_chgnet import FAMILY, adapter
from calczoo_chgnet.models import BUNDLED, find

LIGHT = """
import json, sys
from calczoo import get_family
family = get_family("chgnet")
print(json.dumps([sorted(family.bundled), [m for m in ("torch", "chgnet", "pymatgen") if m in sys.modules]]))
"""


def salt(seed: int = 1) -> Atoms:
    """NaCl in a triclinic cell, away from equilibrium, so that no force or stress is zero by symmetry."""
    atoms = bulk("NaCl", "rocksalt", 5.6)
    strain = np.array([[0.01, 0.03, -0.02], [0.0, -0.02, 0.015], [0.0, 0.0, 0.025]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def wheel_file(name: str) -> Path:
    model = find(name)
    root = importlib.util.find_spec("chgnet").submodule_search_locations[0]
    return Path(root) / model.folder / model.file


@pytest.fixture(scope="module")
def double():
    return get_calculator("chgnet:0.3.0", device="cpu", threads=1)


@pytest.fixture(scope="module")
def single():
    return get_calculator("chgnet:0.3.0", device="cpu", dtype="float32", threads=1)


# -- cards and refusals -----------------------------------------------------------------------------------------


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    names, heavy = json.loads(done.stdout)
    assert names == sorted(m.name for m in BUNDLED)
    assert not {"chgnet", "pymatgen", "torch"} & set(heavy)


@pytest.mark.parametrize("model", BUNDLED, ids=lambda m: m.name)
def test_card_and_file(model):
    card = describe(f"chgnet:{model.name}")
    assert len(card.elements) == 89 and "Po" not in card.elements and "Pu" in card.elements
    assert card.dispersion_included is False and card.cutoff == (5.0 if model.name == "0.2.0" else 6.0)
    assert "float32" in card.extra["precision"] and card.doi and "BSD" in card.licence
    assert ("r2SCAN" in card.level_of_theory) is (model.name == "r2scan")
    assert card.files == {model.file: hashlib.sha256(wheel_file(model.name).read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("spec", "options", "error", "text"),
    [
        ("chgnet:0.9", {}, UnknownCalculator, "0.3.0, 0.2.0, r2scan"),
        ("chgnet", {}, OptionError, "takes one model"),
        ("chgnet:0.3.0", {"batch_atoms": True}, OptionError, "at least 1"),
        ("chgnet:0.3.0", {"batch": 3}, OptionError, "has no option 'batch'"),
        ("chgnet:0.3.0", {"elements": ["Po"]}, OptionError, "does not know Po"),
    ],
)
def test_wrong_requests(spec, options, error, text):
    with pytest.raises(error, match=text):
        get_calculator(spec, device="cpu", **options)


def test_a_file_with_another_checksum_is_refused(monkeypatch):
    from calczoo_chgnet import worker

    other = replace(BUNDLED[0], sha256="0" * 64)
    for module in (adapter, worker):
        monkeypatch.setattr(module, "find", lambda name: other)
    with pytest.raises(PotentialFileError, match="sha256 .*pip install chgnet"):
        get_calculator("chgnet:0.3.0", device="cpu")
    with pytest.raises(ValueError, match="sha256 .*pip install chgnet"):
        worker.make("0.3.0")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    """Cards of another environment's calculators are told all the same."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    with pytest.raises(BackendUnavailable, match=r"pip install chgnet==[\d.]+, or calczoo env create chgnet"):
        get_calculator("chgnet:0.3.0", device="cpu")
    assert len(describe("chgnet:0.3.0", isolated=True).elements) == 89


def test_a_process_of_its_own_gives_the_same_numbers(single):
    apart = get_calculator("chgnet:0.3.0", device="cpu", dtype="float32", threads=1, isolated=sys.executable)
    many = [salt(), molecule("H2O")]
    for mine, theirs in zip(apart.evaluate(many), single.evaluate(many), strict=True):
        for name, value in theirs.items():
            np.testing.assert_array_equal(mine[name], value)


def test_elements_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("calczoo_chgnet.worker.make", lambda *a, **k: pytest.fail("work was begun"))
    with pytest.raises(UnsupportedElement, match="Po"):
        get_calculator("chgnet:0.3.0", device="cpu").get_potential_energy(bulk("Po", "sc", 3.3))


def test_own_models_are_read_as_data(tmp_path, single):
    copy = tmp_path / "mine.pth.tar"
    shutil.copy(wheel_file("0.3.0"), copy)
    calc = get_calculator("chgnet", model=copy, device="cpu", dtype="float32", threads=1)
    assert calc.card.name == "mine.pth.tar" and len(calc.card.elements) == 89 and calc.card.cutoff == 6.0
    assert calc.get_potential_energy(salt()) == single.get_potential_energy(salt())
    shutil.copy(wheel_file("0.2.0"), copy)
    assert describe("chgnet", model=copy).cutoff == 5.0
    torch.save({"model": Harm()}, copy)
    with pytest.raises(PotentialFileError, match="a file of chgnet"):
        get_calculator("chgnet", model=copy, device="cpu")


class Harm:
    """What unpickling would run."""

    def __reduce__(self):
        return pytest.fail, ("code of a file was run",)


# -- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [m.name for m in BUNDLED])
def test_numbers_of_the_package(model):
    """Float32: rounding of the network: energies 3e-6 eV/atom, forces 3e-5 eV/A, stress 5e-6 eV/A^3 (0.0008 GPa)."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from chgnet.model import CHGNet, CHGNetCalculator

        network = CHGNet.load(model_name=model, verbose=False, use_device="cpu")
        theirs = CHGNetCalculator(network, use_device="cpu", return_site_energies=True)
        calc = get_calculator(f"chgnet:{model}", device="cpu", dtype="float32", threads=1)
        many = [salt(), bulk("Si"), bulk("Fe", cubic=True)]
        names = ("energy", "energies", "forces", "stress", "magmoms")
        for atoms, mine in zip(many, calc.evaluate(many, names), strict=True):
            theirs.calculate(atoms.copy())
            assert mine["energy"] == pytest.approx(float(theirs.results["energy"]), abs=3e-6 * len(atoms))
            full = mine["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
            np.testing.assert_allclose(mine["forces"], theirs.results["forces"], atol=3e-5)
            np.testing.assert_allclose(full, theirs.results["stress"], atol=5e-6)
            np.testing.assert_allclose(mine["magmoms"], theirs.results["magmoms"], atol=1e-5)
            np.testing.assert_allclose(mine["energies"], theirs.results["energies"], atol=1e-5)


def test_magnetic_moments(double):
    """Iron has about 2.2 Bohr magnetons per atom, rock salt none; they are there only where they are asked for."""
    iron, nothing = double.evaluate([bulk("Fe", cubic=True), salt()], ("energy", "magmoms"))
    assert iron["magmoms"] == pytest.approx([2.3, 2.3], abs=0.3) and np.abs(nothing["magmoms"]).max() < 0.05
    assert "magmoms" not in double.evaluate([salt()])[0]
    atoms = bulk("Fe")
    atoms.calc = double
    assert atoms.get_magnetic_moments().shape == (1,)


def test_left_handed_cells(double):
    """The package divides by the signed volume, and so turns the sign of the stress."""
    atoms = salt()
    other = atoms.copy()
    other.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.linalg.det(other.cell.array) * np.linalg.det(atoms.cell.array) < 0
    np.testing.assert_allclose(double.get_stress(other), double.get_stress(atoms), atol=1e-12)


def test_forces_and_stress_are_derivatives(double):
    """Differences of the energy, with the error of order h^2 taken out, for every force and all six components of the
    stress: sign, order and units."""
    atoms, h = salt(), 5e-5
    moved = []
    for n, k in np.ndindex(len(atoms), 3):
        for step in (h, -h, 2 * h, -2 * h):
            moved.append(atoms.copy())
            moved[-1].positions[n, k] += step
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        for step in (h, -h, 2 * h, -2 * h):
            strain = np.zeros((3, 3))
            strain[a, b] += step / 2
            strain[b, a] += step / 2
            moved.append(atoms.copy())
            moved[-1].set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    up, down, up2, down2 = np.array([r["energy"] for r in double.evaluate(moved, ("energy",))]).reshape(-1, 4).T
    slopes = (8 * (up - down) - (up2 - down2)) / (12 * h)
    forces, stress = double.get_forces(atoms), double.get_stress(atoms)
    np.testing.assert_allclose(forces.reshape(-1), -slopes[: forces.size], atol=1e-8)
    np.testing.assert_allclose(stress, slopes[forces.size :] / atoms.get_volume(), atol=1e-9)
    assert np.abs(stress).min() > 1e-5


@pytest.mark.slow
def test_dynamics_conserves_the_energy(double):
    """Velocity Verlet in silicon: fluctuations of the total energy fall with the square of the step, or faster where
    terms of higher order are large, as they are in this network. Forces that are no gradient leave a drift instead."""
    spread = []
    for dt, steps in ((0.9, 160), (0.45, 320)):
        atoms = bulk("Si", cubic=True)
        MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=np.random.default_rng(4))
        Stationary(atoms)
        atoms.calc = double
        total = []
        dynamics = VelocityVerlet(atoms, dt * units.fs)
        dynamics.attach(lambda atoms=atoms, total=total: total.append(atoms.get_total_energy()))
        dynamics.run(steps)
        spread.append(np.std(total))
    assert spread[0] / spread[1] > 3.6 and spread[1] < 1e-4


def test_single_and_double_precision(single, double):
    for atoms in (salt(), molecule("CH4")):
        assert single.get_potential_energy(atoms) == pytest.approx(double.get_potential_energy(atoms), abs=1e-5)
        np.testing.assert_allclose(single.get_forces(atoms), double.get_forces(atoms), atol=2e-5)


def test_batches_of_any_size(double):
    many = [salt(1), molecule("H2O"), bulk("Fe"), Atoms("Ar"), salt(2), bulk("Si")]
    small = get_calculator("chgnet:0.3.0", device="cpu", threads=1, batch_atoms=3)
    for atoms, a, b in zip(many, double.evaluate(many), small.evaluate(many), strict=True):
        alone = double.evaluate([atoms])[0]
        for name, value in alone.items():
            np.testing.assert_allclose(a[name], value, rtol=1e-12, atol=1e-11)
            np.testing.assert_allclose(b[name], value, rtol=1e-12, atol=1e-11)


def test_directions_without_periodicity(double):
    """The cell there is of no importance; atoms far apart cost nothing and do not interact."""
    water = molecule("H2O")
    energy = double.get_potential_energy(water)
    boxed = water.copy()
    boxed.set_cell([30, 31, 32])
    boxed.center()
    boxed.pbc = True
    assert double.get_potential_energy(boxed) == pytest.approx(energy, abs=1e-10)
    pair = water + water
    pair.positions[3:] += [1e6, 0.0, -3e5]
    assert double.get_potential_energy(pair) == pytest.approx(2 * energy, abs=1e-10)
    np.testing.assert_allclose(double.get_forces(pair)[3:], double.get_forces(water), atol=1e-9)
    assert np.array_equal(double.get_forces(Atoms("Ar")), np.zeros((1, 3)))


def test_sums_with_other_terms(double):
    atoms = salt()
    both = get_calculator("chgnet:0.3.0 + zbl(2.0, 3.0)", device="cpu", threads=1)
    other = get_calculator("zbl(2.0, 3.0)", elements=["Na", "Cl"], device="cpu")
    assert abs(other.get_potential_energy(atoms)) > 1e-3
    assert both.get_potential_energy(atoms) == pytest.approx(
        double.get_potential_energy(atoms) + other.get_potential_energy(atoms), abs=1e-10
    )
    np.testing.assert_allclose(both.get_forces(atoms), double.get_forces(atoms) + other.get_forces(atoms), atol=1e-9)
    np.testing.assert_allclose(both.get_stress(atoms), double.get_stress(atoms) + other.get_stress(atoms), atol=1e-10)


# -- manners ----------------------------------------------------------------------------------------------------


def test_settings_of_the_process_stay():
    def state():
        return (
            torch.get_default_dtype(), torch.get_num_threads(), torch.get_float32_matmul_precision(),
            list(warnings.filters), dict(os.environ), torch.is_grad_enabled(), torch.get_rng_state().tolist(),
        )  # fmt: skip

    before = state()
    for dtype in ("float64", "float32"):
        calc = get_calculator("chgnet:0.3.0", device="cpu", dtype=dtype, threads=1)
        calc.get_potential_energy(bulk("Si"))
        assert state() == before


def test_record():
    assert FAMILY.backends == () and "magmoms" in FAMILY.outputs
    assert find("R2SCAN") is BUNDLED[2] and find("other") is None
