"""Cards, refusals, numbers and manners of the adapter of NequIP and Allegro."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from calczoo import describe, get_calculator
from calczoo.core.errors import (
    OptionError,
    PotentialFileError,
    UnknownCalculator,
    UnsupportedElement,
    WeightsMissing,
)

from calczoo_nequip import ALLEGRO, FAMILIES, NEQUIP, adapter
from calczoo_nequip.files import _value, facts_of
from calczoo_nequip.models import ELEMENTS, PUBLISHED, find

LIGHT = """
import json, sys
from calczoo import get_family
names = [sorted(get_family(f).bundled) for f in ("nequip", "allegro")]
heavy = [m for m in ("torch", "nequip", "allegro", "e3nn", "lightning") if m in sys.modules]
print(json.dumps([names, heavy]))
"""
SMALL = {"elements": ["Cu", "O"], "cutoff": 4.5, "features": 4, "layers": 1, "device": "cpu", "threads": 1}


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


@pytest.fixture(scope="module", params=["nequip", "allegro"])
def random(request):
    return get_calculator(f"{request.param}:random", **SMALL)


# -- cards and refusals -----------------------------------------------------------------------------------------


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    names, heavy = json.loads(done.stdout)
    assert heavy == []
    for family, listed in zip(("nequip", "allegro"), names, strict=True):
        assert listed == sorted(["random", *(m.name for m in PUBLISHED if m.family == family)])


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda m: m.name)
def test_published_without_the_file(model, tmp_path):
    card = describe(f"{model.family}:{model.name}")
    assert len(card.elements) == 89 and "Po" not in card.elements and card.dispersion_included is False
    assert "2607.28461" in card.citation and "CC-BY-4.0" in card.licence
    assert "not on this machine" in card.extra["weights"]
    with pytest.raises(WeightsMissing) as told:
        get_calculator(f"{model.family}:{model.name}", device="cpu")
    for text in (model.url, model.file, str(tmp_path), model.sha256 or "no checksum"):
        assert text in str(told.value)


def test_published_file(monkeypatch, scripted, tmp_path):
    """The sha256 stands for trust where it is known; another file of that name is refused."""
    model = find("Allegro-OAM-L", "allegro")
    (tmp_path / model.file).write_bytes(b"something else")
    with pytest.raises(PotentialFileError, match="sha256"):
        get_calculator("allegro:Allegro-OAM-L", device="cpu")
    other = find("NequIP-OAM-S", "nequip")
    (tmp_path / other.file).write_bytes(b"something")
    with pytest.raises(OptionError, match=r"no checksum of NequIP-OAM-S is known.*trust=True"):
        get_calculator("nequip:NequIP-OAM-S", device="cpu")
    with pytest.raises(PotentialFileError, match="no zip archive"):
        get_calculator("nequip:NequIP-OAM-S", device="cpu", trust=True)


def test_names():
    assert find("nequip.net:mir-group/NequIP-OAM-L:0.1", "nequip") is find("nequip-oam-l", "nequip")
    assert find("NequIP-OAM-L-0.1", "nequip") and find("NequIP-OAM-L", "allegro") is None
    assert adapter.weights_of(find("NequIP-MP-L", "nequip")).file == "NequIP-MP-L-0.1.nequip.zip"
    assert (NEQUIP.backends, ALLEGRO.backends) == ((), ()) and set(FAMILIES) == {"nequip", "allegro"}


@pytest.mark.parametrize(
    ("spec", "options", "error", "text"),
    [
        ("nequip:NequIP-OAM-XXL", {}, UnknownCalculator, "random, NequIP-OAM-S"),
        ("nequip", {}, OptionError, "takes one model"),
        ("nequip:random", {"sed": 1}, OptionError, "did you mean 'seed'"),
        ("nequip:random", {"layers": 0}, OptionError, "from 1 to 8"),
        ("nequip:random", {"cutoff": True}, OptionError, "a number from 0.5"),
        ("nequip:random", {"l_max": 1.5}, OptionError, "whole number"),
        ("nequip:random", {"trust": True}, OptionError, "reads none"),
        ("nequip:random", {"batch_atoms": 0}, OptionError, "at least 1"),
        ("nequip:NequIP-OAM-L", {"seed": 1}, OptionError, "nequip:random only"),
        ("nequip:NequIP-OAM-L", {"species": {"Xx": "Cu"}}, OptionError, "no chemical symbol"),
        ("allegro:Allegro-OAM-L", {"elements": ["Po"]}, OptionError, "does not know Po"),
    ],
)
def test_wrong_requests(spec, options, error, text):
    with pytest.raises(error, match=text):
        get_calculator(spec, device="cpu", **options)


def test_elements_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("calczoo_nequip.worker.make", lambda *a, **k: pytest.fail("work was begun"))
    with pytest.raises(UnsupportedElement, match="Ni"):
        get_calculator("nequip:random", elements=["Cu"], device="cpu").get_potential_energy(bulk("Ni"))


@pytest.mark.parametrize("kind", [".nequip.zip", ".nequip.pt2", ".ckpt"])
def test_files_with_code_need_trust(kind, tmp_path):
    path = tmp_path / f"mine{kind}"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(OptionError, match="trust=True"):
        get_calculator("nequip", model=path, device="cpu")
    if kind != ".ckpt":  # a checkpoint is read when it is used
        with pytest.raises(PotentialFileError, match="zip archive"):
            get_calculator("nequip", model=path, device="cpu", trust=True)
    with pytest.raises(PotentialFileError, match=r"\.nequip\.zip or"):
        (tmp_path / "mine.pth").write_bytes(b"")
        get_calculator("nequip", model=tmp_path / "mine.pth", device="cpu")


def test_descriptions_are_read_without_running_anything(tmp_path):
    config = "cut: 6.0  # A\na:\n  r_max: ${cut}\nmodel:\n  - r_max: ${a.r_max}\n  model_dtype: 'float32'\n"
    path = tmp_path / "mine.nequip.zip"
    with zipfile.ZipFile(path, "w") as archive:
        head = "atom_types:\n  1: O\n  0: Cu\n  10: N\n  2: 'H'\navailable_models:\n- eager\n"
        archive.writestr("mine/model/package_metadata.txt", head)
        archive.writestr("mine/model/config.yaml", config)
    facts = facts_of(path)
    assert (facts.types, facts.cutoff, facts.precision) == (("Cu", "O", "H", "N"), 0.0, "float32")
    assert _value(config, "cut") == "6.0" and _value("r_max: ${x}\nx: 5", "r_max") == "5" and _value("", "r_max") == ""
    compiled = tmp_path / "lammps.nequip.pt2"
    with zipfile.ZipFile(compiled, "w") as archive:
        data = {"type_names": "Cu", "r_max": "5.0", "AOTI_DEVICE_KEY": "cuda", "model_dtype": "float32"}
        told = {"nequip_aoti_inputs": "pos edge_index", "nequip_aoti_outputs": "forces virial"}
        archive.writestr("x/data/a.wrapper_metadata.json", json.dumps(data | told))
    with pytest.raises(PotentialFileError, match="--target ase"):
        get_calculator("nequip", model=compiled, trust=True, device="cpu")
    with zipfile.ZipFile(compiled, "w") as archive:
        archive.writestr("x/data/a.wrapper_metadata.json", json.dumps(data))
    with pytest.raises(OptionError, match="compiled for cuda and cannot run on cpu"):
        get_calculator("nequip", model=compiled, trust=True, device="cpu")


# -- numbers ----------------------------------------------------------------------------------------------------


def package_calculator(family: str, dtype: str = "float64"):
    """nequip's own calculator around the package's own network, as its documentation makes it."""
    from calczoo_nequip.worker import make

    sizes = {"elements": ["Cu", "O"], "cutoff": 4.5, "seed": 0, "layers": 1, "l_max": 1, "features": 4}
    return make(family, dtype=dtype, random=sizes).inner


def same_bits(mine: dict, theirs: dict, atoms: Atoms) -> None:
    for name in ("energy", "energies", "forces", *(["stress"] if atoms.pbc.all() else [])):
        assert np.array_equal(mine[name], np.array(theirs[name], dtype=np.float64)), name


@pytest.mark.parametrize("family", ["nequip", "allegro"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_of_the_package_to_the_last_bit(family, dtype):
    """Stress by way of calczoo's virial is rounded once more; in float32, calczoo's structures are rounded too."""
    calc = get_calculator(f"{family}:random", dtype=dtype, **SMALL)
    theirs = package_calculator(family, dtype)
    slab = bulk("Cu", cubic=True)
    slab.rattle(0.05, seed=3)
    slab.pbc = (True, True, False)
    before = torch.get_default_dtype()
    for atoms in (oxide(), bulk("Cu"), Atoms("CuO", positions=[[0, 0, 0], [0.1, 0.2, 1.8]]), slab):
        calc.model.calculator.calculate(atoms)
        torch.set_default_dtype(torch.float64)  # what set_global_state leaves behind
        try:
            theirs.calculate(atoms.copy())
        finally:
            torch.set_default_dtype(before)
        same_bits(calc.model.calculator.results, theirs.results, atoms)
        limit = 1e-14 if dtype == "float64" else 2e-6
        mine = calc.evaluate([atoms])[0]
        for name in mine.keys() & theirs.results.keys():
            np.testing.assert_allclose(mine[name], theirs.results[name], rtol=limit, atol=limit, err_msg=name)


@pytest.mark.parametrize("family", ["nequip", "allegro"])
def test_torchscript_files(family, scripted, tmp_path):
    """Elements, cutoff and precision stand in the file; numbers are those of the network that it was made of."""
    path = scripted[family]
    calc = get_calculator(family, model=path, device="cpu", threads=1)
    assert calc.card.elements == ("Cu", "O") and calc.card.cutoff == 4.5
    assert "float64" in calc.card.extra["precision"] and list(calc.card.files) == [path.name]
    direct = get_calculator(f"{family}:random", **SMALL, seed=3)
    many = [oxide(1), bulk("Cu"), Atoms("O")]
    for atoms, a, b in zip(many, calc.evaluate(many), direct.evaluate(many), strict=True):
        for name, value in b.items():
            np.testing.assert_allclose(a[name], value, rtol=1e-10, atol=1e-11, err_msg=f"{atoms}: {name}")
    swapped = get_calculator(family, model=path, device="cpu", species={"Ni": "Cu"})
    assert swapped.card.elements == ("Ni",)
    assert swapped.get_potential_energy(bulk("Ni", a=3.6)) == calc.get_potential_energy(bulk("Cu", a=3.6))
    with pytest.raises(OptionError, match="has: Cu, O"):
        get_calculator(family, model=path, device="cpu", species={"Ni": "Nix"})


def test_random_weights():
    def energy(**options):
        return get_calculator("nequip:random", **{**SMALL, **options}).get_potential_energy(oxide())

    assert energy() == energy(seed=0) != energy(seed=1)
    assert energy(dtype="float32") == pytest.approx(energy(), abs=1e-5)
    assert describe("nequip:random").elements == ELEMENTS


def test_forces_and_stress_are_derivatives(random):
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
    energies = np.array([r["energy"] for r in random.evaluate(moved, ("energy",))])
    slopes = (energies[::2] - energies[1::2]) / (2 * h)
    np.testing.assert_allclose(random.get_forces(atoms).reshape(-1), -slopes[: len(labels)], atol=1e-7)
    np.testing.assert_allclose(random.get_stress(atoms), slopes[len(labels) :] / atoms.get_volume(), atol=1e-8)
    assert np.abs(random.get_stress(atoms)).min() > 1e-6


def test_batches_of_any_size(random):
    slab = oxide(5)
    slab.pbc = (True, True, False)
    many = [oxide(1), Atoms("CuO", positions=[[0, 0, 0], [0, 0, 1.8]]), bulk("Cu"), Atoms("O"), slab, oxide(2)]
    small = get_calculator(f"{random.card.family}:random", **SMALL, batch_atoms=3)
    for atoms, a, b in zip(many, random.evaluate(many), small.evaluate(many), strict=True):
        for name, value in random.evaluate([atoms])[0].items():
            np.testing.assert_allclose(a[name], value, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(b[name], value, rtol=1e-12, atol=1e-13)


def test_directions_without_periodicity(random):
    """The cell there is of no importance, and no stress is invented."""
    pair = Atoms("CuO", positions=[[0, 0, 0], [0.3, 0.2, 1.8]])
    energy = random.get_potential_energy(pair)
    boxed = pair.copy()
    boxed.set_cell([30, 31, 32])
    assert random.get_potential_energy(boxed) == pytest.approx(energy, abs=1e-12)
    boxed.pbc = True
    assert random.get_potential_energy(boxed) == pytest.approx(energy, abs=1e-12)
    assert "stress" not in random.evaluate([pair], ("energy", "forces"))[0]
    far = pair + pair
    far.positions[2:] += [1e4, 0.0, -3e3]
    assert random.get_potential_energy(far) == pytest.approx(2 * energy, abs=1e-9)


def test_sums_with_other_terms():
    atoms = oxide()
    spec, common = "nequip:random(cutoff=4.5, features=4, layers=1)", {"elements": ["Cu", "O"], "device": "cpu"}
    one = get_calculator(spec, threads=1, **common)
    both = get_calculator(f"{spec} + zbl(2.0, 3.0)", threads=1, **common)
    other = get_calculator("zbl(2.0, 3.0)", elements=["Cu", "O"], device="cpu")
    assert both.get_potential_energy(atoms) == pytest.approx(
        one.get_potential_energy(atoms) + other.get_potential_energy(atoms), abs=1e-10
    )
    np.testing.assert_allclose(both.get_forces(atoms), one.get_forces(atoms) + other.get_forces(atoms), atol=1e-10)


# -- manners ----------------------------------------------------------------------------------------------------


def test_settings_of_the_process_stay():
    import e3nn
    import torch._dynamo

    def state():
        dynamo = torch._dynamo.config
        fusion = torch.jit.set_fusion_strategy([("STATIC", 1)])
        torch.jit.set_fusion_strategy(fusion)
        return (
            torch.get_default_dtype(), torch.get_num_threads(), torch.get_float32_matmul_precision(),
            list(warnings.filters), dict(os.environ), torch.is_grad_enabled(), torch.get_rng_state().tolist(),
            e3nn.get_optimization_defaults(), dynamo.capture_scalar_outputs, dynamo.capture_dynamic_output_shape_ops,
            torch.multiprocessing.get_sharing_strategy(), fusion,
        )  # fmt: skip

    e3nn_before = dict(e3nn.get_optimization_defaults())
    e3nn.set_optimization_defaults(specialized_code=False)
    try:
        before = state()
        for spec in ("nequip:random", "allegro:random"):
            for dtype in ("float64", "float32"):
                get_calculator(spec, dtype=dtype, **SMALL).get_potential_energy(oxide())
                assert state() == before
    finally:
        e3nn.set_optimization_defaults(**e3nn_before)


def test_the_second_model_of_a_process_gets_the_settings_too(random):
    """The package sets them once per process; a user's default type in between must not reach a later model."""
    atoms = oxide()
    energy = random.get_potential_energy(atoms)
    torch.set_default_dtype(torch.float32)
    again = get_calculator(f"{random.card.family}:random", **SMALL)
    assert again.get_potential_energy(atoms) == energy
    assert again.get_forces(atoms).dtype == np.float64


@pytest.mark.slow
def test_isolated(random):
    """In a process of its own, here of the same environment."""
    calc = get_calculator(f"{random.card.family}:random", **SMALL, isolated=sys.executable)
    many = [oxide(1), bulk("Cu")]
    for a, b in zip(calc.evaluate(many), random.evaluate(many), strict=True):
        for name, value in b.items():
            np.testing.assert_allclose(a[name], value, rtol=1e-12, atol=1e-13)


# -- files of the package's own commands ------------------------------------------------------------------------


@pytest.mark.slow
def test_checkpoint_and_package(trained):
    """Facts, and numbers to the last bit of nequip's own loader."""
    from nequip.integrations.ase import NequIPCalculator

    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=9)
    for name in ("last.ckpt", "small.nequip.zip"):
        calc = get_calculator("nequip", model=trained / name, trust=True, device="cpu", threads=1)
        assert calc.card.elements == ("Cu",) and calc.card.cutoff == 4.0
        before = torch.get_default_dtype()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = NequIPCalculator._from_saved_model(
                str(trained / name), "cpu", chemical_species_to_atom_type_map=True
            )
        torch.set_default_dtype(torch.float64)
        theirs.calculate(atoms.copy())
        torch.set_default_dtype(before)
        calc.model.calculator.calculate(atoms)
        same_bits(calc.model.calculator.results, theirs.results, atoms)


@pytest.mark.slow
def test_compiled_code(trained, tmp_path):
    """A model compiled by AOTInductor has the numbers of the package that it was made of; one atom is enough."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    out = tmp_path / "small.nequip.pt2"
    command = [str(Path(sys.executable).parent / "nequip-compile"), "small.nequip.zip", str(out), "--target", "ase"]
    command += ["--mode", "aotinductor", "--device", "cpu"]
    subprocess.run(command, check=True, timeout=900, cwd=trained, capture_output=True)
    calc = get_calculator("nequip", model=out, trust=True, device="cpu", threads=1)
    eager = get_calculator("nequip", model=trained / "small.nequip.zip", trust=True, device="cpu", threads=1)
    assert calc.card.elements == ("Cu",) and calc.card.cutoff == 4.0
    many = [bulk("Cu"), bulk("Cu", cubic=True), Atoms("Cu"), Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.2]])]
    for a, b in zip(calc.evaluate(many), eager.evaluate(many), strict=True):
        for name, value in b.items():
            np.testing.assert_allclose(a[name], value, rtol=1e-10, atol=1e-11)
    with pytest.raises(OptionError, match="cannot run on cuda"):
        get_calculator("nequip", model=out, trust=True, device="cuda")
