"""Cards, refusals, numbers and manners of the Orb adapter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from calczoo import describe, get_calculator
from calczoo.core.errors import (
    OptionError,
    PotentialFileError,
    SpecError,
    UnknownCalculator,
    UnsupportedElement,
    WeightsMissing,
)

from calczoo_orb import FAMILY
from calczoo_orb.boxed import prepared
from calczoo_orb.models import EMBEDDED, PUBLISHED, find
from calczoo_orb.worker import arithmetic, make

LIGHT = """
import json, sys
from calczoo import get_family
names = sorted(get_family("orb").bundled)
print(json.dumps([names, [m for m in ("torch", "orb_models", "cached_path", "scipy") if m in sys.modules]]))
"""
CPU = {"device": "cpu", "threads": 1}


def oxide(seed: int = 1) -> Atoms:
    """CuO in a triclinic cell, away from equilibrium, so that no force or stress is zero by symmetry."""
    atoms = bulk("CuO", "rocksalt", 4.2)
    strain = np.array([[0.01, 0.03, -0.02], [0.0, -0.02, 0.015], [0.0, 0.0, 0.025]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    """Weights that are on this machine do not change what is tested."""
    monkeypatch.setenv("CALCZOO_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def double():
    return get_calculator("orb:random", **CPU)


# -- cards and refusals -----------------------------------------------------------------------------------------


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    names, heavy = json.loads(done.stdout)
    assert names == sorted(["random", "random-direct", *(m.name for m in PUBLISHED)]) and heavy == []


def test_models_and_addresses_are_those_of_the_package():
    import inspect

    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    theirs = {
        name: inspect.signature(build).parameters["weights_path"].default
        for name, build in ORB_PRETRAINED_MODELS.items()
        if not name.startswith("separate-") and not name.endswith("-v1") and "v1" not in name
    }
    assert {m.name: m.url for m in PUBLISHED} == theirs


def test_repulsion_is_not_added_to_that_of_the_network():
    with pytest.raises(SpecError, match="nuclear repulsion"):
        describe("orb:random + zbl(1.0, 2.0)", elements=["Cu"])


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda m: m.name)
def test_published_without_the_file(model, tmp_path):
    card = describe(f"orb:{model.name}")
    assert card.cutoff == 6.0 and "Apache" in card.licence and "not on this machine" in card.extra["weights"]
    assert card.dispersion_included is ("d3" in model.name or "omol" in model.name)
    assert ("predicted" in card.extra["forces"]) is not model.conservative
    assert len(card.elements) == (83 if "omol" in model.name else 89)
    assert ("2504.06231" if "v3" in model.name else "2410.22570") in card.citation
    with pytest.raises(WeightsMissing) as told:
        get_calculator(f"orb:{model.name}", device="cpu")
    for text in (model.url, str(tmp_path), model.sha256 or "no checksum"):
        assert text in str(told.value)


def test_a_file_with_another_checksum_is_refused(tmp_path):
    (tmp_path / "orb-v3-conservative-inf-omat-20250404.ckpt").write_bytes(b"something else")
    with pytest.raises(PotentialFileError, match="sha256"):
        get_calculator("orb:orb-v3-conservative-inf-omat", device="cpu")


@pytest.mark.parametrize(
    ("spec", "options", "error", "text"),
    [
        ("orb:orb-v9", {}, UnknownCalculator, "random, random-direct, orb-v3"),
        ("orb", {}, OptionError, "takes one model"),
        ("orb:random", {"precison": "float64"}, OptionError, "did you mean 'precision'"),
        ("orb:random", {"precision": "float32-high"}, OptionError, "with dtype=float64 it may be float64"),
        ("orb:random", {"neighbours": 0}, OptionError, "at least 1"),
        ("orb:random", {"compile": "yes"}, OptionError, "true or false"),
        ("orb:random", {"spin": 1}, OptionError, "knows no spin"),
        ("orb:random", {"architecture": "orb-v2"}, OptionError, "belongs to own files"),
        ("orb:random", {"repulsion": "none"}, OptionError, "sum or mean"),
        ("orb:random-direct", {"repulsion": "mean"}, OptionError, "for conservative models"),
        ("orb:orb-v2", {"seed": 1}, OptionError, "random weights only"),
        ("orb:orb-v2", {"elements": ["Po"]}, OptionError, "does not know Po"),
    ],
)
def test_wrong_requests(spec, options, error, text):
    with pytest.raises(error, match=text):
        get_calculator(spec, device="cpu", **options)


def test_elements_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("calczoo_orb.worker.make", lambda *a, **k: pytest.fail("work was begun"))
    with pytest.raises(UnsupportedElement, match="Og"):
        get_calculator("orb:random", device="cpu").get_potential_energy(Atoms("Og"))
    assert len(EMBEDDED) == 117 and FAMILY.bundled_elements["orb-v2"][-1] == "Pu"


def test_names():
    assert find("ORB_v3_conservative_inf_omat") is find("orb-v3-conservative-inf-omat-20250404") is not None
    assert find("separate-d3-3layer") is None and FAMILY.backends == ()


# -- numbers ----------------------------------------------------------------------------------------------------


def package_calculator(model: str, dtype: str):
    """The package's own calculator around the same network, with the repulsion of the installed version."""
    return make(model, dtype=dtype, repulsion="mean").inner


def check_against_the_package(calc, theirs, dtype: str, structures) -> None:
    """The adapter's numbers are the package's up to what that gives from call to call, the last bit of a force; those
    of calczoo in float32 up to its rounding of structures."""
    last, all_of_it = (2e-15, 1e-14) if dtype == "float64" else (2e-7, 5e-6)
    for atoms in structures:
        calc.model.calculator.calculate(atoms)
        mine = calc.model.calculator.results
        with arithmetic("float64" if dtype == "float64" else "float32-high"):
            theirs.calculate(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
        for name in mine.keys() - {"free_energy"}:
            np.testing.assert_allclose(mine[name], theirs.results[name], rtol=last, atol=last, err_msg=name)
        for name, value in calc.evaluate([atoms])[0].items():
            if name in theirs.results:
                np.testing.assert_allclose(value, theirs.results[name], rtol=all_of_it, atol=all_of_it, err_msg=name)


@pytest.mark.parametrize("model", ["random", "random-direct"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_of_the_package(model, dtype):
    options = {"repulsion": "mean"} if model == "random" else {}
    calc = get_calculator(f"orb:{model}", dtype=dtype, **options, **CPU)
    short = molecule("H2O")
    short.positions *= 0.7  # within the reach of the repulsion
    structures = [prepared(oxide(), 6.0), bulk("Cu", cubic=True), molecule("CH4"), short, Atoms("Cu")]
    check_against_the_package(calc, package_calculator(model, dtype), dtype, structures)


def as_published(folder: Path, name: str, **sizes) -> Path:
    """A file of random weights with the name and architecture of a published model."""
    from orb_models.forcefield import pretrained

    model = find(name)
    build = pretrained.orb_v2_architecture if "v2" in name else pretrained.orb_v3_conservative_architecture
    torch.manual_seed(3)
    network = build(device="cpu", num_message_passing_steps=model.layers, **sizes)
    path = folder / Path(model.file).name
    torch.save(network.state_dict(), path)
    return path


def check_published(name: str, tmp_path: Path, structures, **sizes) -> None:
    from orb_models.forcefield.calculator import ORBCalculator
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    path = as_published(tmp_path, name, **sizes)
    with warnings.catch_warnings(), arithmetic("float32-high"):
        warnings.simplefilter("ignore")
        network = ORB_PRETRAINED_MODELS[name](str(path), device="cpu", compile=False)
        theirs = ORBCalculator(network, device="cpu")
    options = {"repulsion": "mean"} if find(name).conservative else {}
    calc = get_calculator(f"orb:{name}", dtype="float32", **options, **CPU)
    check_against_the_package(calc, theirs, "float32", structures)
    assert list(calc.card.files) == [path.name]
    own = tmp_path / "mine.ckpt"
    path.rename(own)
    with pytest.raises(OptionError, match="mine.ckpt needs the name"):
        get_calculator("orb", model=own, **CPU)
    tuned = get_calculator("orb", model=own, architecture=name, dtype="float32", **options, **CPU)
    assert tuned.card.name == "mine.ckpt" and tuned.card.dispersion_included is None
    assert tuned.get_potential_energy(structures[0]) == calc.get_potential_energy(structures[0])


def test_files_of_published_architectures(tmp_path):
    check_published("orb-d3-xs-v2", tmp_path, [prepared(oxide(), 6.0), molecule("CH4")])


@pytest.mark.slow
def test_files_of_conservative_architectures(tmp_path):
    check_published("orb-v3-conservative-20-omat", tmp_path, [prepared(oxide(), 6.0), molecule("CH4")])


@pytest.mark.slow
def test_charge_and_spin(tmp_path):
    as_published(tmp_path, "orb-v3-conservative-omol", has_charge_spin_cond=True, has_stress=False)
    water = molecule("H2O")

    def energy(charge=0, **options):
        water.info["charge"] = charge
        calc = get_calculator("orb:orb-v3-conservative-omol", dtype="float32", **options, **CPU)
        assert "stress" not in calc.card.outputs
        return calc.get_potential_energy(water)

    assert energy() == energy(spin=1) != energy(spin=3)
    assert energy(1) != energy()


def test_forces_and_stress_are_derivatives(double):
    """Central differences of the energy, every force and all six components of the stress: sign, order and units."""
    atoms, h = oxide(), 1e-4
    moved, labels = [], []
    for n in range(len(atoms)):
        for k in range(3):
            for sign in (1, -1):
                moved.append(atoms.copy())
                moved[-1].positions[n, k] += sign * h
            labels.append((n, k))
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            moved.append(atoms.copy())
            moved[-1].set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    energies = np.array([r["energy"] for r in double.evaluate(moved, ("energy",))])
    slopes = (energies[::2] - energies[1::2]) / (2 * h)
    np.testing.assert_allclose(double.get_forces(atoms).reshape(-1), -slopes[: len(labels)], atol=1e-7)
    np.testing.assert_allclose(double.get_stress(atoms), slopes[len(labels) :] / atoms.get_volume(), atol=1e-8)
    assert np.abs(double.get_stress(atoms)).min() > 1e-6


@pytest.mark.parametrize("model", ["random", "random-direct"])
def test_cells_of_one_crystal(model):
    """Long vectors, left-handed ones and larger cells; the package itself loses neighbours in the first, divides by a
    negative volume in the second, and adds the mean of the repulsion in the third."""
    calc = get_calculator(f"orb:{model}", neighbours=300, **CPU)
    atoms = bulk("Cu", a=3.2)
    energy, stress = calc.get_potential_energy(atoms), calc.get_stress(atoms)
    for change in ([[1, 0, 0], [2, 1, 0], [3, -2, 1]], -np.eye(3), [[0, 1, 0], [1, 0, 0], [0, 0, 1]]):
        other = atoms.copy()
        other.set_cell(np.array(change) @ atoms.cell.array)
        assert calc.get_potential_energy(other) == pytest.approx(energy, abs=1e-10)
        np.testing.assert_allclose(calc.get_stress(other), stress, atol=1e-11)
    large = atoms.repeat((2, 1, 3))
    assert calc.get_potential_energy(large) == pytest.approx(6 * energy, abs=1e-9)
    np.testing.assert_allclose(calc.get_stress(large), stress, atol=1e-11)


def test_directions_without_periodicity(double):
    """A slab is one, wherever the next image would be, and a molecule has no cell."""
    slab = bulk("Cu", cubic=True)
    slab.rattle(0.05, seed=3)
    slab.pbc = (True, True, False)
    energy, forces = double.get_potential_energy(slab), double.get_forces(slab)
    wide = slab.copy()
    wide.set_cell([*slab.cell.lengths()[:2], 30.0])
    wide.pbc = True
    assert double.get_potential_energy(wide) == pytest.approx(energy, abs=1e-11)
    np.testing.assert_allclose(double.get_forces(wide), forces, atol=1e-12)
    assert "stress" not in double.evaluate([slab], ("energy", "forces"))[0]
    water = molecule("H2O")
    energy = double.get_potential_energy(water)
    water.set_cell([3.0, 3.0, 3.0])
    assert double.get_potential_energy(water) == energy


@pytest.mark.parametrize("model", ["random", "random-direct"])
def test_batches_of_any_size(model):
    calc = get_calculator(f"orb:{model}", **CPU)
    small = get_calculator(f"orb:{model}", batch_atoms=3, **CPU)
    slab = oxide(5)
    slab.pbc = (True, True, False)
    many = [oxide(1), molecule("H2O"), bulk("Fe"), Atoms("Ar"), slab, oxide(2), bulk("Si")]
    for atoms, a, b in zip(many, calc.evaluate(many), small.evaluate(many), strict=True):
        for name, value in calc.evaluate([atoms])[0].items():
            np.testing.assert_allclose(a[name], value, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(b[name], value, rtol=1e-12, atol=1e-12)


def test_precisions_and_weights(double):
    atoms = oxide()
    for precision in ("float32-high", "float32-highest"):
        calc = get_calculator("orb:random", dtype="float32", precision=precision, **CPU)
        assert calc.get_potential_energy(atoms) == pytest.approx(double.get_potential_energy(atoms), abs=1e-4)
        np.testing.assert_allclose(calc.get_forces(atoms), double.get_forces(atoms), atol=1e-4)
        assert calc.card.extra["precision"] == precision
    other = get_calculator("orb:random", seed=1, **CPU)
    assert other.get_potential_energy(atoms) != double.get_potential_energy(atoms)
    few = get_calculator("orb:random", neighbours=5, **CPU)
    assert few.get_potential_energy(atoms) != double.get_potential_energy(atoms)


# -- manners ----------------------------------------------------------------------------------------------------


def test_settings_of_the_process_stay():
    def state():
        return (
            torch.get_default_dtype(), torch.get_num_threads(), torch.get_float32_matmul_precision(),
            list(warnings.filters), dict(os.environ), torch.is_grad_enabled(), torch.get_rng_state().tolist(),
        )  # fmt: skip

    before = state()
    for dtype in ("float64", "float32"):
        get_calculator("orb:random", dtype=dtype, **CPU).get_potential_energy(bulk("Si"))
        assert state() == before


@pytest.mark.slow
def test_isolated(double):
    """In a process of its own, here of the same environment."""
    calc = get_calculator("orb:random", isolated=sys.executable, **CPU)
    many = [oxide(1), molecule("H2O")]
    for a, b in zip(calc.evaluate(many), double.evaluate(many), strict=True):
        for name, value in b.items():
            np.testing.assert_allclose(a[name], value, rtol=1e-12, atol=1e-12)
