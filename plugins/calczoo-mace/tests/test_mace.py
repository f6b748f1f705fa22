"""Cards, refusals, numbers and manners of the MACE adapter, on untrained networks: no weights are fetched in tests."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
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
    ForeignError,
    OptionError,
    PotentialFileError,
    SpecError,
    UnknownCalculator,
    UnsupportedElement,
    WeightsMissing,
)

import calczoo_mace
from calczoo_mace import FAMILY, adapter
from calczoo_mace.models import PUBLISHED, find

LIGHT = """
import json, sys
from calczoo import get_family
family = get_family("mace")
print(json.dumps([sorted(family.bundled), [m for m in ("torch", "mace", "e3nn") if m in sys.modules]]))
"""
THERE = """
import json, os, sys, types, warnings
sys.modules["calczoo_mace"] = types.ModuleType("calczoo_mace")     # without its __init__, which needs calczoo
sys.modules["calczoo_mace"].__path__ = [{folder!r}]
from calczoo_mace import worker
"""


def salt(seed: int = 1) -> Atoms:
    """NaCl in a triclinic cell, away from equilibrium, so that no force or stress is zero by symmetry."""
    atoms = bulk("NaCl", "rocksalt", 5.6)
    strain = np.array([[0.01, 0.03, -0.02], [0.0, -0.02, 0.015], [0.0, 0.0, 0.025]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def run_there(where, code: str, *arguments: str) -> str:
    """Last line that a program prints, run by the interpreter that has mace, without calczoo."""
    text = THERE.format(folder=str(Path(calczoo_mace.__file__).parent)) + textwrap.dedent(code)
    python = sys.executable if where is False else str(where)
    done = subprocess.run([python, "-I", "-c", text, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def own_file(where, tmp_path_factory) -> Path:
    """A model file as mace-torch writes it: an untrained network of seed 3."""
    path = tmp_path_factory.mktemp("models") / "mine.model"
    run_there(
        where,
        """
        with worker._quiet():
            import mace, torch
            torch.save(worker.random_network(3), sys.argv[1])
        print("written")
        """,
        str(path),
    )
    return path


@pytest.fixture
def no_weights(monkeypatch, tmp_path) -> Path:
    """A machine without any weights; the folder that CALCZOO_WEIGHTS names."""
    monkeypatch.setenv("CALCZOO_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


# -- cards and refusals, for which mace need not be there ---------------------------------------------------------


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    names, heavy = json.loads(done.stdout)
    assert names == sorted([*(m.name for m in PUBLISHED), "random"]) and heavy == []


def test_record():
    assert FAMILY.backends == () and FAMILY.isolated and FAMILY.package == "mace"
    assert all("==" in pin for pin in FAMILY.environment)
    assert find("MACE-MP-0-small") is PUBLISHED[0] and find("mace_off23_small").name == "off23-small"
    assert find("mpa-0").name == "mpa-0-medium" and find("other") is None


def test_repulsion_is_not_added_to_that_of_the_network():
    with pytest.raises(SpecError, match="nuclear repulsion"):
        describe("mace:random + zbl(1.0, 2.0)", elements=["Cu"])


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda m: m.name)
def test_cards(model, no_weights):
    card = describe(f"mace:{model.name}")
    organic = model.name.startswith("off23")
    assert len(card.elements) == (10 if organic else 89) and "Po" not in card.elements
    assert card.dispersion_included is organic and ("ASL" in card.licence) is organic
    assert card.doi == model.doi and card.citation and model.version in card.extra["version"]
    assert list(card.files.values()) == [model.sha256] and len(model.sha256) == 64
    assert "not on this machine" in card.extra["weights"] and model.url in card.extra["weights"]


@pytest.mark.parametrize(
    ("spec", "options", "error", "text"),
    [
        ("mace:mp-9", {}, UnknownCalculator, "mp-0-small, mp-0-medium"),
        ("mace", {}, OptionError, "takes one model"),
        ("mace:mp-0-small", {"seed": 1}, OptionError, "of the model 'random' only"),
        ("mace:mp-0-small", {"download": "yes"}, OptionError, "must be true or false"),
        ("mace:random", {"seed": -1}, OptionError, "at least 0"),
        ("mace:random", {"batch_atoms": 0}, OptionError, "at least 1"),
        ("mace:random", {"sed": 1}, OptionError, "did you mean 'seed'"),
        ("mace:random", {"elements": ["Po"]}, OptionError, "does not know Po"),
        ("mace:off23-small", {"elements": ["Si"]}, OptionError, "does not know Si"),
    ],
)
def test_wrong_requests(spec, options, error, text):
    with pytest.raises(error, match=text):
        get_calculator(spec, device="cpu", **options)


def test_without_weights_it_says_what_to_fetch_and_where_to_put_it(no_weights):
    model = PUBLISHED[0]
    with pytest.raises(WeightsMissing) as caught:
        get_calculator("mace:mp-0-small", device="cpu")
    for part in (model.url, model.sha256, "32.6 MB", str(no_weights), "CALCZOO_WEIGHTS"):
        assert part in str(caught.value)


def test_a_file_with_another_checksum_is_refused(no_weights):
    (no_weights / "MACE-OFF23_small.model").write_bytes(b"something else")
    with pytest.raises(PotentialFileError, match="sha256"):
        get_calculator("mace:off23-small", device="cpu")


def test_files_that_the_package_has_fetched_itself_are_found(no_weights, tmp_path):
    folder = tmp_path / "cache" / "mace"
    folder.mkdir(parents=True)
    text = b"as if fetched"
    model = replace(PUBLISHED[0], sha256=hashlib.sha256(text).hexdigest())
    for name in ("20231210mace128L0_energy_epoch249model", "2023-12-10-mace-128-L0_energy_epoch-249.model"):
        (folder / name).write_bytes(text)
        assert adapter.located(adapter.weights_of(model)) == folder / name
        assert "sha256 checked" in adapter.card_of(model).extra["weights"]
        (folder / name).unlink()


def test_own_files_need_trust(tmp_path):
    path = tmp_path / "some.model"
    path.write_bytes(b"no model")
    with pytest.raises(OptionError, match="trust=True"):
        get_calculator("mace", model=path, device="cpu")
    with pytest.raises(UnknownCalculator, match="no such file"):
        get_calculator("mace", model=tmp_path / "other.model", device="cpu", trust=True)


def test_elements_are_refused_before_any_work(tmp_path):
    calc = get_calculator("mace:random", device="cpu", elements=["Si"], isolated=sys.executable)
    with pytest.raises(UnsupportedElement, match="Ge"):
        calc.get_potential_energy(bulk("Ge"))
    assert getattr(calc.model, "_worker", None) is None


def test_without_its_environment_it_says_how_to_make_one(own, monkeypatch, tmp_path):
    monkeypatch.setenv("CALCZOO_ENVS", str(tmp_path))
    with pytest.raises(BackendUnavailable, match="calczoo env create mace"):
        get_calculator("mace:random", device="cpu")


# -- own files ----------------------------------------------------------------------------------------------------


def test_own_model_file(own_file, where, double):
    same = get_calculator("mace:random(seed=3)", device="cpu", threads=1, isolated=where)
    assert same.card.name == "random[3]" and "seed 3" in same.card.extra["weights"]
    calc = get_calculator("mace", own_file, ["Na", "Cl"], trust=True, device="cpu", threads=1, isolated=where)
    assert calc.card.elements == ("Na", "Cl")
    assert calc.card.files == {"mine.model": hashlib.sha256(own_file.read_bytes()).hexdigest()}
    assert calc.get_potential_energy(salt()) == same.get_potential_energy(salt())
    assert abs(same.get_potential_energy(salt()) - double.get_potential_energy(salt())) > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "pbe"}, "head is 'pbe'; this model has: Default"),
        ({"model": "bad.model"}, "is no model file that mace-torch 0.3.16 can read"),
        pytest.param({"model": "state.model"}, "which is no MACE energy model", marks=pytest.mark.slow),
        pytest.param({"elements": ["Po"]}, "does not know Po", marks=pytest.mark.slow),
    ],
)
def test_own_files_that_do_not_fit(own_file, where, change, message):
    folder = own_file.parent
    (folder / "bad.model").write_bytes(b"no model")
    torch.save({"weight": torch.zeros(3)}, folder / "state.model")
    path = folder / change.pop("model", own_file.name)
    with pytest.raises(ForeignError, match=message):
        calc = get_calculator("mace", model=path, trust=True, device="cpu", threads=1, isolated=where, **change)
        calc.get_potential_energy(Atoms("Po", cell=[4, 4, 4], pbc=True) if "elements" in change else salt())


# -- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "limit"), [("float64", 1e-11), pytest.param("float32", 1e-3, marks=pytest.mark.slow)]
)
def test_numbers_of_the_package(own_file, where, dtype, limit):
    """Its own calculator on the same file: energies (eV), forces (eV/A) and stress (eV/A^3) relative to the larger of 1
    and the value. In float32 the package's own numbers change by 2e-5 eV and 2e-4 eV/A when a molecule is shifted; here
    it always lies at the same place of its box."""
    theirs = json.loads(
        run_there(
            where,
            """
            from ase import Atoms
            warnings.simplefilter("ignore")
            from mace.calculators import MACECalculator
            calc = MACECalculator(model_paths=sys.argv[1], device="cpu", default_dtype=sys.argv[2])
            rows = []
            for one in json.loads(sys.argv[3]):
                calc.calculate(Atoms(**one))
                rows.append({k: v.tolist() if hasattr(v, "tolist") else v for k, v in calc.results.items()})
            print(json.dumps(rows))
            """,
            str(own_file),
            dtype,
            json.dumps([
                {"numbers": a.numbers.tolist(), "positions": a.positions.tolist(), "cell": a.cell.array.tolist(),
                 "pbc": a.pbc.tolist()} for a in _several()
            ]),
        )  # fmt: skip
    )
    calc = get_calculator("mace", model=own_file, trust=True, device="cpu", dtype=dtype, threads=1, isolated=where)
    assert len(calc.card.elements) == 89 and calc.card.cutoff == 5.0
    for atoms, their, mine in zip(_several(), theirs, calc.evaluate(_several()), strict=True):
        for name in ("energy", "forces", "energies", *(["stress"] if atoms.pbc.all() else [])):
            np.testing.assert_allclose(mine[name], their[name], rtol=limit, atol=limit)


def _several() -> list[Atoms]:
    slab = bulk("Cu", cubic=True)
    slab.rattle(0.05, seed=3)
    slab.pbc = (True, True, False)
    return [salt(), bulk("Si"), molecule("H2O"), slab]


def test_single_and_double_precision(single, double):
    for atoms in (salt(), molecule("CH4")):
        assert single.get_potential_energy(atoms) == pytest.approx(double.get_potential_energy(atoms), abs=2e-5)
        np.testing.assert_allclose(single.get_forces(atoms), double.get_forces(atoms), atol=1e-4)


def test_batches_of_any_size(double, where):
    many = [salt(1), molecule("H2O"), bulk("Fe"), Atoms("Ar"), salt(2), bulk("Si")]
    small = get_calculator("mace:random", device="cpu", threads=1, batch_atoms=3, isolated=where)
    for atoms, a, b in zip(many, double.evaluate(many), small.evaluate(many), strict=True):
        alone = double.evaluate([atoms])[0]
        assert ("stress" in alone) == bool(atoms.pbc.all())
        for name, value in alone.items():
            np.testing.assert_allclose(a[name], value, rtol=1e-11, atol=1e-11)
            np.testing.assert_allclose(b[name], value, rtol=1e-11, atol=1e-11)


def test_directions_without_periodicity(double):
    """The cell there is of no importance, wherever the others point; atoms far apart do not interact."""
    water = molecule("H2O")
    energy = double.get_potential_energy(water)
    boxed = water.copy()
    boxed.set_cell([30, 31, 32])
    boxed.center()
    boxed.pbc = True
    assert double.get_potential_energy(boxed) == pytest.approx(energy, abs=1e-10)
    pair = water + water
    pair.positions[3:] += [1e6, 0.0, -3e5]
    assert double.get_potential_energy(pair) == pytest.approx(2 * energy, abs=1e-9)
    chain = Atoms("Si2", [[0, 0, 0], [0.1, 0, 2.4]], cell=[[0, 0, 5.0], [0, 7, 0], [7, 0, 0]], pbc=[True, False, False])
    turned = chain.copy()
    turned.rotate(37, "y", rotate_cell=True)
    assert double.get_potential_energy(turned) == pytest.approx(double.get_potential_energy(chain), abs=1e-10)


def test_sums_with_other_terms(double, where):
    atoms = salt()
    part = f"(isolated='{where}')" if where else ""
    twice = {"allow": "nuclear repulsion"}  # the network holds it already
    both = get_calculator(f"mace:random{part} + zbl(2.0, 3.0)", device="cpu", threads=1, **twice)
    other = get_calculator("zbl(2.0, 3.0)", elements=["Na", "Cl"], device="cpu")
    assert abs(other.get_potential_energy(atoms)) > 1e-3
    for name in ("get_potential_energy", "get_forces", "get_stress"):
        total = getattr(double, name)(atoms) + getattr(other, name)(atoms)
        np.testing.assert_allclose(getattr(both, name)(atoms), total, rtol=1e-10, atol=1e-10)


# -- manners ------------------------------------------------------------------------------------------------------


def test_settings_of_this_process_stay(where, double, single):
    def state():
        return torch.get_default_dtype(), torch.get_num_threads(), dict(os.environ), torch.get_rng_state().tolist()

    before = state()
    double.get_forces(salt(4))
    single.get_forces(salt(4))
    assert state() == before and "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
    if where is not False:
        assert not {"mace", "e3nn"} & set(sys.modules)


def test_settings_of_the_process_that_imports_mace_stay(where):
    """There the variable that lets every torch.load run code is put back, a file of pickled code is refused as before,
    and ASE's other calculators do not learn of MACE's properties."""
    state = json.loads(
        run_there(
            where,
            """
            import pickle, tempfile
            import torch
            from ase.calculators.calculator import Calculator
            warnings.simplefilter("ignore")
            before = torch.get_default_dtype(), torch.get_rng_state().tolist(), dict(os.environ)
            for seed in (0, 1):
                worker.make("random", dtype="float32", seed=seed)
            same = before == (torch.get_default_dtype(), torch.get_rng_state().tolist(), dict(os.environ))
            with tempfile.NamedTemporaryFile() as f:
                torch.save(os.getcwd, f.name)
                try:
                    refused = torch.load(f.name) is None
                except pickle.UnpicklingError:
                    refused = True
            print(json.dumps([same, refused, Calculator.implemented_properties]))
            """,
        )
    )
    assert state == [True, True, []]
