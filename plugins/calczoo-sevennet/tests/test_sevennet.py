"""Cards, refusals, numbers and manners of the SevenNet adapter, on the published weights."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from calczoo import describe, get_calculator
from calczoo.core.errors import (
    BackendUnavailable,
    OptionError,
    PotentialFileError,
    UnknownCalculator,
    UnsupportedElement,
)

from calczoo_sevennet import FAMILY, adapter
from calczoo_sevennet.models import BUNDLED, find

LIGHT = """
import json, sys
from calczoo import get_family
family = get_family("sevennet")
print(json.dumps([sorted(family.bundled), [m for m in ("torch", "sevenn", "e3nn", "numpy") if m in sys.modules]]))
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
    root = importlib.util.find_spec("sevenn").submodule_search_locations[0]
    return Path(root) / model.folder / model.file


@pytest.fixture(scope="module")
def double():
    return get_calculator("sevennet:7net-0", device="cpu", threads=1)


@pytest.fixture(scope="module")
def single():
    return get_calculator("sevennet:7net-0", device="cpu", dtype="float32", threads=1)


# -- cards and refusals -----------------------------------------------------------------------------------------


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    names, heavy = json.loads(done.stdout)
    assert names == sorted(m.name for m in BUNDLED)
    assert not {"sevenn", "e3nn", "torch"} & set(heavy)


@pytest.mark.parametrize("model", BUNDLED, ids=lambda m: m.name)
def test_card_and_file(model):
    card = describe(f"sevennet:{model.name}")
    assert len(card.elements) == 89 and "Po" not in card.elements and "Pu" in card.elements
    assert card.dispersion_included is False and card.cutoff == 5.0
    assert "float32" in card.extra["precision"] and card.doi and "MIT" in card.licence
    assert card.files == {model.file: hashlib.sha256(wheel_file(model.name).read_bytes()).hexdigest()}


def test_levels_of_theory():
    assert "r2SCAN" in describe("sevennet:7net-mf-0", modal="r2scan").level_of_theory
    assert "PBE" in describe("sevennet:7net-mf-0").level_of_theory
    assert describe("sevennet:7net-mf-0", modal="R2SCAN").name == "7net-mf-0[R2SCAN]"


@pytest.mark.parametrize(
    ("spec", "options", "error", "text"),
    [
        ("sevennet:7net-9", {}, UnknownCalculator, "7net-0, 7net-0_22May2024"),
        ("sevennet", {}, OptionError, "takes one model"),
        ("sevennet:7net-0", {"modal": "R2SCAN"}, OptionError, "one level of theory only"),
        ("sevennet:7net-mf-0", {"modal": "LDA"}, OptionError, "PBE, R2SCAN"),
        ("sevennet:7net-0", {"batch_atoms": 0}, OptionError, "at least 1"),
        ("sevennet:7net-0", {"modl": "PBE"}, OptionError, "did you mean 'modal'"),
        ("sevennet:7net-0", {"elements": ["Po"]}, OptionError, "does not know Po"),
    ],
)
def test_wrong_requests(spec, options, error, text):
    with pytest.raises(error, match=text):
        get_calculator(spec, device="cpu", **options)


def test_a_file_with_another_checksum_is_refused(monkeypatch):
    from calczoo_sevennet import worker

    other = replace(BUNDLED[0], sha256="0" * 64)
    for module in (adapter, worker):
        monkeypatch.setattr(module, "find", lambda name: other)
    with pytest.raises(PotentialFileError, match="sha256 .*pip install sevenn"):
        get_calculator("sevennet:7net-0", device="cpu")
    with pytest.raises(ValueError, match="sha256 .*pip install sevenn"):
        worker.make("7net-0")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    """Cards of another environment's calculators are told all the same."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    with pytest.raises(BackendUnavailable, match=r"pip install sevenn==[\d.]+, or calczoo env create sevennet"):
        get_calculator("sevennet:7net-0", device="cpu")
    assert len(describe("sevennet:7net-0", isolated=True).elements) == 89


def test_a_process_of_its_own_gives_the_same_numbers(single):
    apart = get_calculator("sevennet:7net-0", device="cpu", dtype="float32", threads=1, isolated=sys.executable)
    many = [salt(), molecule("H2O")]
    for mine, theirs in zip(apart.evaluate(many), single.evaluate(many), strict=True):
        for name, value in theirs.items():
            np.testing.assert_array_equal(mine[name], value)


def test_elements_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("calczoo_sevennet.worker.make", lambda *a, **k: pytest.fail("work was begun"))
    with pytest.raises(UnsupportedElement, match="Po"):
        get_calculator("sevennet:7net-0", device="cpu").get_potential_energy(bulk("Po", "sc", 3.3))


def test_own_checkpoint_needs_trust(tmp_path, single):
    path = wheel_file("7net-0")
    with pytest.raises(OptionError, match="trust=True"):
        get_calculator("sevennet", model=path, device="cpu")
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"no checkpoint")
    with pytest.raises(PotentialFileError, match="checkpoint of sevenn"):
        get_calculator("sevennet", model=bad, trust=True, device="cpu")
    calc = get_calculator("sevennet", model=path, trust=True, device="cpu", dtype="float32", threads=1)
    assert len(calc.card.elements) == 89 and calc.card.cutoff == 5.0
    assert calc.get_potential_energy(salt()) == single.get_potential_energy(salt())


# -- numbers ----------------------------------------------------------------------------------------------------


def check_against_the_package(model: str, modal: str | None, calc) -> None:
    """Float32: rounding of the network: energies 3e-6 eV/atom, forces 1e-5 eV/A, stress 1e-6 eV/A^3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sevenn.calculator import SevenNetCalculator

        theirs = SevenNetCalculator(model, device="cpu", modal=modal)
        slab = bulk("Cu", cubic=True)
        slab.rattle(0.05, seed=3)
        slab.pbc = (True, True, False)
        mirrored = salt()
        mirrored.positions *= -1.0
        many = [salt(), mirrored, bulk("Si"), molecule("H2O"), slab]
        for atoms, mine in zip(many, calc.evaluate(many), strict=True):
            theirs.calculate(atoms.copy())
            n = len(atoms)
            assert mine["energy"] == pytest.approx(theirs.results["energy"], abs=3e-6 * n)
            np.testing.assert_allclose(mine["forces"], theirs.results["forces"], atol=1e-5)
            np.testing.assert_allclose(mine["energies"], theirs.results["energies"], atol=1e-5)
            if atoms.pbc.all():
                np.testing.assert_allclose(mine["stress"], theirs.results["stress"], atol=1e-6)


def test_numbers_of_the_package(single):
    check_against_the_package("7net-0", None, single)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "modal"), [("7net-0_22May2024", None), ("7net-l3i5", None), ("7net-mf-0", "PBE"), ("7net-mf-0", "R2SCAN")]
)
def test_numbers_of_the_package_other_models(model, modal):
    options = {"modal": modal} if modal else {}
    calc = get_calculator(f"sevennet:{model}", device="cpu", dtype="float32", threads=1, **options)
    check_against_the_package(model, modal, calc)


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


def test_single_and_double_precision(single, double):
    for atoms in (salt(), molecule("CH4")):
        assert single.get_potential_energy(atoms) == pytest.approx(double.get_potential_energy(atoms), abs=1e-5)
        np.testing.assert_allclose(single.get_forces(atoms), double.get_forces(atoms), atol=2e-5)


def test_batches_of_any_size(double):
    many = [salt(1), molecule("H2O"), bulk("Fe"), Atoms("Ar"), salt(2), bulk("Si")]
    small = get_calculator("sevennet:7net-0", device="cpu", threads=1, batch_atoms=3)
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


def test_mirror_images_differ(double):
    """The published networks were made without parity: rotated structures are the same to them, mirror images are not.
    The package's own calculator gives the same (test_numbers_of_the_package); here it must stand in the card."""
    assert "not mirror images" in double.card.extra["symmetry"]
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.2, seed=2)
    turned, mirrored = atoms.copy(), atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    mirrored.positions *= -1.0
    energy = double.get_potential_energy(atoms)
    assert double.get_potential_energy(turned) == pytest.approx(energy, abs=1e-8)
    assert 1e-4 < abs(double.get_potential_energy(mirrored) - energy) < 1e-2


def test_sums_with_other_terms(double):
    atoms = salt()
    both = get_calculator("sevennet:7net-0 + zbl(2.0, 3.0)", device="cpu", threads=1)
    other = get_calculator("zbl(2.0, 3.0)", elements=["Na", "Cl"], device="cpu")
    assert abs(other.get_potential_energy(atoms)) > 1e-3
    assert both.get_potential_energy(atoms) == pytest.approx(
        double.get_potential_energy(atoms) + other.get_potential_energy(atoms), abs=1e-10
    )
    np.testing.assert_allclose(both.get_forces(atoms), double.get_forces(atoms) + other.get_forces(atoms), atol=1e-9)
    np.testing.assert_allclose(both.get_stress(atoms), double.get_stress(atoms) + other.get_stress(atoms), atol=1e-10)


def test_the_level_of_theory_changes_the_numbers():
    pbe, r2scan = (
        get_calculator("sevennet:7net-mf-0", device="cpu", threads=1, modal=m) for m in ("PBE", "R2SCAN")
    )
    assert abs(pbe.get_potential_energy(salt()) - r2scan.get_potential_energy(salt())) > 1.0


# -- manners ----------------------------------------------------------------------------------------------------


def test_settings_of_the_process_stay():
    def state():
        return (
            torch.get_default_dtype(), torch.get_num_threads(), torch.get_float32_matmul_precision(),
            list(warnings.filters), dict(os.environ), torch.is_grad_enabled(), torch.get_rng_state().tolist(),
        )  # fmt: skip

    import e3nn

    defaults = e3nn.get_optimization_defaults()
    before = state()
    for dtype in ("float64", "float32"):
        calc = get_calculator("sevennet:7net-0", device="cpu", dtype=dtype, threads=1)
        calc.get_potential_energy(bulk("Si"))
        assert state() == before
    assert e3nn.get_optimization_defaults() == defaults


def test_record():
    assert FAMILY.backends == () and set(FAMILY.outputs) == {"energy", "energies", "forces", "stress"}
    assert find("SevenNet-0") is BUNDLED[0] and find("7NET-0_11Jul2024") is BUNDLED[0] and find("other") is None
