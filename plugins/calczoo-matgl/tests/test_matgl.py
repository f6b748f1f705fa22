"""Cards, refusals, numbers and manners of the MatGL adapter, on random networks that matgl itself has written."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
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
    UnknownCalculator,
    UnsupportedElement,
    WeightsMissing,
)

from calczoo_matgl import FAMILY, loader, worker
from calczoo_matgl.models import FILES, PUBLISHED, RANDOM, find

needs_warp = pytest.mark.skipif(importlib.util.find_spec("warp") is None, reason="needs warp-lang: matgl's kernels")
SYMBOLS = ["H", "O", "Na", "Cl", "Fe", "Si", "Ar"]
LIGHT = """
import json, sys
from calczoo import get_family
family = get_family("matgl")
heavy = [m for m in ("torch", "matgl", "torch_geometric", "numpy") if m in sys.modules]
print(json.dumps([sorted(family.bundled), heavy]))
"""
BESIDE = """
import torch, warnings
warnings.simplefilter("ignore")
from calczoo import get_calculator
from ase.build import bulk
get_calculator("matgl:tensornet-random", device="cpu").get_potential_energy(bulk("Si"))
@torch.jit.script
def pick(x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    return torch.index_select(x, 0, i)
print(float(pick(torch.arange(3.0), torch.tensor([2]))))
"""


def salt(seed: int = 1) -> Atoms:
    """NaCl in a triclinic cell, away from equilibrium, so that no force or stress is zero by symmetry."""
    atoms = bulk("NaCl", "rocksalt", 5.6)
    strain = np.array([[0.01, 0.03, -0.02], [0.0, -0.02, 0.015], [0.0, 0.0, 0.025]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def random(name: str, dtype: str = "float64", **options):
    return get_calculator(f"matgl:{name}-random", device="cpu", dtype=dtype, threads=1, elements=SYMBOLS, **options)


def written(folder: Path, name: str = "tensornet-random", warp: bool = False, **options) -> Path:
    """A folder of matgl, with reference energies of elements."""
    with loader.plain():
        made = loader.random(name, SYMBOLS, 5.0, 3, warp)
        from matgl.apps.pes import Potential

        refs = torch.linspace(-3.0, -9.0, len(SYMBOLS))
        given = {"data_std": 2.5, "element_refs": refs, "calc_stresses": False, **RANDOM[name].options, **options}
        potential = Potential(model=made.model, **given)
    potential.save(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("matgl") / "mine")


# -- cards and refusals -----------------------------------------------------------------------------------------


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    names, heavy = json.loads(done.stdout)
    assert names == sorted([*(m.name for m in PUBLISHED), *RANDOM])
    assert not {"matgl", "torch_geometric", "torch"} & set(heavy)


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda m: m.name)
def test_cards_without_weights(model, monkeypatch, tmp_path):
    monkeypatch.setenv("CALCZOO_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    card = describe(f"matgl:{model.name}")
    assert card.elements == model.elements and card.doi and model.url in card.extra["url"]
    assert "not on this machine" in card.extra["weights"] and "BSD" in card.licence
    with pytest.raises(WeightsMissing) as told:
        get_calculator(f"matgl:{model.name}", device="cpu")
    for text in (f"{model.url}/resolve/main/state.pt", str(tmp_path / model.name), "CALCZOO_WEIGHTS"):
        assert text in str(told.value)


def test_weights_are_found(monkeypatch, tmp_path, folder):
    """In a folder of weights, and where matgl itself puts what it fetches."""
    name = "TensorNet-PES-MatPES-PBE-2025.2"
    hub = tmp_path / ".cache" / "matgl" / f"models--materialyze--{name}" / "snapshots" / "abc"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    for home in (hub, tmp_path / "weights" / name):
        shutil.copytree(folder, home)
        monkeypatch.setenv("CALCZOO_WEIGHTS", str(tmp_path / "weights"))
        card = describe("matgl:tensornet-pes-matpes-pbe-2025.2")
        assert str(home) in card.extra["weights"] and set(card.files) == set(FILES)
        assert card.elements == tuple(SYMBOLS) and card.name == name
    assert np.isfinite(get_calculator(f"matgl:{name}", device="cpu").get_potential_energy(salt()))


@pytest.mark.parametrize(
    ("spec", "options", "error", "text"),
    [
        ("matgl:M3GNet-9", {}, UnknownCalculator, "TensorNet-PES-MatPES-PBE-2025.2"),
        ("matgl:M3GNet-MatPES-PBE-v2025.1-PES", {}, UnknownCalculator, "matgl:M3GNet-PES-MatPES-PBE-2025.2"),
        ("matgl:M3GNet-MP-2021.2.8-PES", {}, UnknownCalculator, "direction of messages"),
        ("matgl", {}, OptionError, "takes one model"),
        ("matgl:TensorNet-PES-MatPES-PBE-2025.2", {"seed": 1}, OptionError, "for random weights"),
        ("matgl:m3gnet-random", {"cutoff": 0.1}, OptionError, "between 1 and 20"),
        ("matgl:m3gnet-random", {"batch_atoms": 0}, OptionError, "at least 1"),
        ("matgl:m3gnet-random", {"warp": 1}, OptionError, "true or false"),
        ("matgl:m3gnet-random", {"sed": 1}, OptionError, "did you mean 'seed'"),
        ("matgl:m3gnet-random", {"elements": ["Po"]}, OptionError, "Po is not one"),
    ],
)
def test_wrong_requests(spec, options, error, text):
    with pytest.raises(error, match=text):
        get_calculator(spec, device="cpu", **options)


def test_elements_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("calczoo_matgl.worker.make", lambda *a, **k: pytest.fail("work was begun"))
    with pytest.raises(UnsupportedElement, match="Po"):
        get_calculator("matgl:m3gnet-random", device="cpu").get_potential_energy(bulk("Po", "sc", 3.3))


def edited(folder: Path, target: Path, **changes) -> Path:
    """A copy of a folder with changes in both files that describe the network."""
    data = json.loads((shutil.copytree(folder, target) / "model.json").read_text())
    arguments = torch.load(target / "model.pt", weights_only=True)
    for held in (data["kwargs"]["model"], arguments["model"]):
        for key, value in changes.items():
            (held if key.startswith("@") else held["init_args"])[key] = value
    (target / "model.json").write_text(json.dumps(data))
    torch.save(arguments, target / "model.pt")
    return target


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"@model_version": 1}, "from before matgl 3"),
        ({"@class": "MEGNet"}, "class MEGNet"),
        ({"is_intensive": True}, "is intensive"),
        ({"include_state": True}, "attributes of the state"),
        ({"ntargets": 2}, "several targets"),
    ],
)
def test_folders_that_cannot_be_used(folder, tmp_path, changes, text):
    with pytest.raises(PotentialFileError, match=text):
        get_calculator("matgl", model=edited(folder, tmp_path / "other", **changes), device="cpu")


def test_incomplete_folders(folder, tmp_path):
    (shutil.copytree(folder, tmp_path / "part") / "state.pt").unlink()
    with pytest.raises(PotentialFileError, match="has no state.pt"):
        get_calculator("matgl", model=tmp_path / "part", device="cpu")
    with pytest.raises(UnknownCalculator, match="give the folder"):
        get_calculator("matgl", model=folder / "state.pt", device="cpu")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_nothing_of_a_file_is_run(folder, tmp_path, monkeypatch):
    """Neither pickled code, nor a module and class that the files name."""
    monkeypatch.chdir(tmp_path)
    for name in ("state.pt", "model.pt"):
        bad = shutil.copytree(folder, tmp_path / f"bad-{name}")
        torch.save({"x": Evil()}, bad / name)
        calc = get_calculator("matgl", model=bad, device="cpu")
        with pytest.raises(Exception, match="cannot be read as data"):
            calc.get_potential_energy(salt())
    told = edited(folder, tmp_path / "told", **{"@module": "os", "@class": "mkdir"})
    with pytest.raises(PotentialFileError, match="class mkdir"):
        get_calculator("matgl", model=told, device="cpu")
    assert not (tmp_path / "evil").exists()


def test_weights_of_another_network(folder, tmp_path):
    other = written(tmp_path / "other", "so3net-random")
    shutil.copy(other / "state.pt", shutil.copytree(folder, tmp_path / "mixed") / "state.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception, match="lacks .* weights"):
            get_calculator("matgl", model=tmp_path / "mixed", device="cpu").get_potential_energy(salt())


# -- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*RANDOM])
def test_numbers_of_the_package(name, tmp_path, monkeypatch):
    """matgl's own calculator, with pymatgen's search for neighbours, on a folder that matgl wrote: rounding of
    float32. Its stress is in GPa where nothing else is asked for."""
    path = written(tmp_path / "model", name, calc_stresses=True)
    mine = get_calculator("matgl", model=path, device="cpu", dtype="float32", threads=1)
    big = salt().repeat((2, 1, 1))
    big.rattle(0.05, seed=4)
    many = [salt(), big, bulk("Fe"), bulk("Si")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matgl.ext.ase as theirs

        monkeypatch.setattr(theirs, "_alchmtk_available", False)
        potential = theirs.matgl.load_model(path)
        calc = theirs.PESCalculator(potential, stress_unit="eV/A3", use_voigt=True)
        wanted = []
        for atoms in many:
            calc.calculate(atoms.copy())
            wanted.append(dict(calc.results))
        in_gpa = theirs.PESCalculator(potential, use_voigt=True)
        in_gpa.calculate(salt())
    rows = mine.evaluate(many, (*mine.card.outputs,))
    for row, want in zip(rows, wanted, strict=True):
        assert row["energy"] == pytest.approx(want["energy"], rel=2e-6)
        for key in {"forces", "stress", "magmoms", "charges"} & set(row):
            scale = max(1.0, np.abs(want[key]).max())
            np.testing.assert_allclose(row[key], np.reshape(want[key], row[key].shape), atol=2e-5 * scale)
    np.testing.assert_allclose(rows[0]["stress"] * 160.21766208, in_gpa.results["stress"], rtol=1e-3, atol=1e-3)
    assert {"chgnet-random": "magmoms", "qet-random": "charges"}.get(name, "energy") in mine.card.outputs


@pytest.mark.parametrize("name", ["m3gnet", "tensornet", "chgnet", "so3net", "qet"])
def test_forces_and_stress_are_derivatives(name):
    """Central differences of the energy, every force and all six components of the stress: sign, order and units."""
    calc, atoms, h = random(name), salt(), 1e-4
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
    energies = np.array([r["energy"] for r in calc.evaluate(moved, ("energy",))])
    slopes = (energies[::2] - energies[1::2]) / (2 * h)
    forces, stress = calc.get_forces(atoms), calc.get_stress(atoms)
    np.testing.assert_allclose(forces.reshape(-1), -slopes[: len(labels)], atol=1e-7)
    np.testing.assert_allclose(stress, slopes[len(labels) :] / atoms.get_volume(), atol=1e-8)
    assert np.abs(stress).min() > 1e-5 and np.abs(forces).max() > 1e-2


def test_single_and_double_precision():
    for name in ("m3gnet", "tensornet"):
        single, double = random(name, "float32"), random(name)
        for atoms in (salt(), molecule("H2O")):
            assert single.get_potential_energy(atoms) == pytest.approx(double.get_potential_energy(atoms), rel=3e-6)
            np.testing.assert_allclose(single.get_forces(atoms), double.get_forces(atoms), atol=1e-4)


@pytest.mark.parametrize("name", ["m3gnet", "tensornet", "qet"])
def test_batches_of_any_size(name):
    far = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 4.5]])  # one pair, no triples
    many = [salt(1), molecule("H2O"), bulk("Fe"), Atoms("Ar"), far, salt(2), bulk("Si")]
    large, small = random(name), random(name, batch_atoms=3)
    for atoms, a, b in zip(many, large.evaluate(many), small.evaluate(many), strict=True):
        alone = large.evaluate([atoms])[0]
        assert a["energy"] == pytest.approx(a["energies"].sum(), abs=1e-12)
        for key, value in alone.items():
            np.testing.assert_allclose(a[key], value, rtol=1e-12, atol=1e-11)
            np.testing.assert_allclose(b[key], value, rtol=1e-12, atol=1e-11)


def test_directions_without_periodicity():
    """The cell there is of no importance; atoms far apart cost nothing and do not interact."""
    calc, water = random("m3gnet"), molecule("H2O")
    energy = calc.get_potential_energy(water)
    boxed = water.copy()
    boxed.set_cell([30, 31, 32])
    boxed.center()
    boxed.pbc = True
    assert calc.get_potential_energy(boxed) == pytest.approx(energy, abs=1e-10)
    pair = water + water
    pair.positions[3:] += [1e6, 0.0, -3e5]
    assert calc.get_potential_energy(pair) == pytest.approx(2 * energy, abs=1e-9)
    assert np.array_equal(calc.get_forces(Atoms("Ar")), np.zeros((1, 3)))


def test_seeds_cutoffs_and_elements():
    energy = random("tensornet").get_potential_energy(salt())
    assert random("tensornet", seed=0).get_potential_energy(salt()) == energy
    assert random("tensornet", seed=1).get_potential_energy(salt()) != energy
    assert random("tensornet", cutoff=4.0).get_potential_energy(salt()) != energy
    assert describe("matgl:tensornet-random", cutoff=4.0).cutoff == 4.0
    assert describe("matgl:tensornet-random(seed=3)").name == "tensornet-random[3]"


def test_charges_add_up_to_the_total():
    calc = random("qet")
    for total in (0.0, 1.0, -2.0):
        atoms = salt()
        atoms.info["charge"] = total
        assert calc.get_charges(atoms).sum() == pytest.approx(total, abs=1e-10)
    assert random("chgnet").get_magnetic_moments(salt()).shape == (2,)


@needs_warp
def test_layouts_of_warp(tmp_path):
    """Where Warp is installed, matgl writes weights in a layout that it cannot read without Warp."""
    plain = get_calculator("matgl", model=written(tmp_path / "a"), device="cpu", threads=1)
    other = get_calculator("matgl", model=written(tmp_path / "b", warp=True), device="cpu", threads=1)
    assert other.get_potential_energy(salt()) == plain.get_potential_energy(salt())


@needs_warp
@pytest.mark.slow
def test_kernels_of_warp():
    """The same numbers, but for what the kernels round to single precision; they are compiled first."""
    atoms, plain, kernels = salt(), random("tensornet"), random("tensornet", warp=True)
    assert kernels.get_potential_energy(atoms) == pytest.approx(plain.get_potential_energy(atoms), abs=1e-7)
    np.testing.assert_allclose(kernels.get_forces(atoms), plain.get_forces(atoms), atol=1e-6)
    with pytest.raises(Exception, match="no Warp kernels for M3GNet"):
        random("m3gnet", warp=True).get_potential_energy(atoms)


def test_sums_with_other_terms():
    atoms, alone = salt(), random("tensornet")
    both = get_calculator("matgl:tensornet-random + zbl(2.0, 3.0)", device="cpu", threads=1, elements=SYMBOLS)
    other = get_calculator("zbl(2.0, 3.0)", elements=["Na", "Cl"], device="cpu")
    want = alone.get_potential_energy(atoms) + other.get_potential_energy(atoms)
    assert both.get_potential_energy(atoms) == pytest.approx(want, abs=1e-10)
    np.testing.assert_allclose(both.get_stress(atoms), alone.get_stress(atoms) + other.get_stress(atoms), atol=1e-10)


# -- manners ----------------------------------------------------------------------------------------------------


def test_settings_of_the_process_stay():
    import matgl

    def state():
        return (
            torch.get_default_dtype(), torch.get_num_threads(), list(warnings.filters), dict(os.environ),
            torch.is_grad_enabled(), torch.get_rng_state().tolist(), torch.index_select,
            np.ndarray in torch.serialization.get_safe_globals(),
            matgl.float_th, matgl.float_np, matgl.int_th, matgl.int_np,
        )  # fmt: skip

    before = state()
    for dtype in ("float64", "float32"):
        random("m3gnet", dtype).get_potential_energy(salt())
        assert state() == before


def test_settings_of_the_user_change_nothing():
    """matgl's own default type, as its users set it."""
    import matgl

    want = random("tensornet").get_potential_energy(salt())
    try:
        matgl.set_default_dtype("float", 64)
        assert random("tensornet").get_potential_energy(salt()) == want
        assert matgl.float_th == torch.get_default_dtype() == torch.float64
    finally:
        matgl.set_default_dtype("float", 32)


def test_torchscript_of_others_still_compiles(tmp_path):
    script = tmp_path / "beside.py"  # TorchScript reads its source
    script.write_text(BESIDE)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("2.0")


def test_record():
    assert FAMILY.backends == () and "charges" in FAMILY.outputs
    assert find("materialyze/QET-PES-MatQ").name == "QET-PES-MatQ" and find("other") is None
    assert worker.make("tensornet-random", "cpu", "float32", elements=["Si"]).facts["elements"] == ["Si"]
