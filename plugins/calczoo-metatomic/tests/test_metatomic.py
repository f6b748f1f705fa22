"""Cards, refusals, numbers and manners of the metatomic adapter, on models made by hand (pair_models.py)."""

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
from ase.build import bulk, molecule
from calczoo import describe, get_calculator
from calczoo.core.errors import (
    BackendUnavailable,
    OptionError,
    PotentialFileError,
    PropertyNotImplementedError,
    UnknownCalculator,
    UnsupportedElement,
)

from calczoo_metatomic import FAMILY, worker
from calczoo_metatomic.facts import read_facts

EVERYTHING = (
    "energy", "energy/double", "energy_uncertainty", "non_conservative_force", "non_conservative_stress", "charge",
)  # fmt: skip
LIGHT = """
import json, sys
from calczoo import get_family
heavy = [m for m in ("torch", "metatomic", "metatensor", "numpy") if m in sys.modules]
print(json.dumps(heavy), get_family("metatomic").name)
"""
AFTER = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
def other(*arguments): raise SystemExit("the other function was called")
torch.index_select = other                # as torch_geometric does it, whose import takes longer
from calczoo import get_calculator
from ase.build import bulk
print(get_calculator("metatomic", model=sys.argv[1], device="cpu").get_potential_energy(bulk("Cu")))
assert torch.index_select is other
"""
BROKEN = """
import sys, warnings
warnings.simplefilter("error")
try:
    import metatensor.torch
except DeprecationWarning:
    print("import broke off")
from calczoo import get_calculator
from ase.build import bulk
print(get_calculator("metatomic", model=sys.argv[1], device="cpu").get_potential_energy(bulk("Cu")))
"""


def alloy(seed: int = 1) -> Atoms:
    """Cu and Ar in a triclinic cell, away from equilibrium, so that no force or stress is zero by symmetry."""
    atoms = bulk("CuAr", "rocksalt", 5.0)
    strain = np.array([[0.01, 0.03, -0.02], [0.0, -0.02, 0.015], [0.0, 0.0, 0.025]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def slab() -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=3)
    atoms.pbc = (True, True, False)
    return atoms


def zoo(model: Path, dtype: str = "float64", **options):
    return get_calculator("metatomic", model=model, device="cpu", dtype=dtype, threads=1, **options)


@pytest.fixture(scope="module")
def calc(export):
    return zoo(export())


# -- cards and refusals -----------------------------------------------------------------------------------------


def test_the_record_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    heavy, name = done.stdout.rsplit(" ", 1)
    assert not {"torch", "metatomic", "metatensor"} & set(json.loads(heavy)) and name.strip() == "metatomic"


def test_card(export):
    model = export(outputs=EVERYTHING, length_unit="nm", energy_unit="kcal/mol")
    card = describe("metatomic", model=model)
    assert card.elements == ("Si", "Ar", "Cu") and card.cutoff == pytest.approx(5.0)
    assert card.name == "pairs" and card.summary == "Lennard-Jones pairs" and "A paper about pairs" in card.citation
    assert card.outputs == ("energy", "energies", "forces", "stress", "charges", "uncertainty")
    assert card.extra["variants"] == "double" and card.extra["unit of length"] == "nm"
    assert "energies" not in describe("metatomic", model=export(atomic=False)).outputs
    assert describe("metatomic", model=model, variant="double").name == "pairs[double]"
    assert describe("metatomic", model=model, elements=["Cu"]).elements == ("Cu",)


def test_facts_are_what_metatomic_reads(export):
    """Picked out of the archive as text, and told by the loaded model."""
    for options in ({"outputs": EVERYTHING, "length_unit": "bohr"}, {"dtype": "float32", "full": False}):
        model = export(**options)
        facts, loaded = read_facts(model), worker.load(str(model))
        told = loaded.capabilities()
        assert facts.types == tuple(told.atomic_types) and facts.dtype == told.dtype
        assert facts.devices == tuple(told.supported_devices) and facts.length_unit == told.length_unit
        assert facts.range == pytest.approx(told.engine_interaction_range("angstrom"), rel=1e-9)
        assert set(facts.outputs) <= set(told.outputs)
        for name, output in facts.outputs.items():
            assert (output["unit"], output["sample_kind"]) == (told.outputs[name].unit, told.outputs[name].sample_kind)
        lists = loaded.requested_neighbor_lists()
        assert facts.neighbours == tuple(
            (pytest.approx(n.engine_cutoff("angstrom"), rel=1e-9), n.full_list, n.strict) for n in lists
        )


@pytest.mark.parametrize(
    ("made", "options", "error", "text"),
    [
        ({}, {"dtype": "float32"}, OptionError, "float64 only"),
        ({"dtype": "float32"}, {}, OptionError, "dtype='float32'"),
        ({}, {"device": "cuda"}, BackendUnavailable, "it does: cpu"),
        ({}, {"elements": ["H"]}, OptionError, "does not know H"),
        ({}, {"variant": "pbe"}, OptionError, "one energy only"),
        ({"outputs": EVERYTHING}, {"variant": "pbe"}, OptionError, "'double'"),
        ({}, {"non_conservative": True}, OptionError, "does not predict forces directly"),
        ({}, {"non_conservative": "stress"}, OptionError, "non_conservative_stress"),
        ({}, {"non_conservative": "energy"}, OptionError, "true, false, 'forces' or 'stress'"),
        ({}, {"non_conservative": 1}, OptionError, "true, false"),
        ({}, {"extensions": "/no/such/folder"}, OptionError, "no folder"),
        ({}, {"batch_atoms": 0}, OptionError, "at least 1"),
        ({}, {"check_consistency": 1}, OptionError, "true or false"),
        ({}, {"spin": 1}, OptionError, "has no option 'spin'"),
        ({"outputs": ("charge",)}, {}, OptionError, "predicts no energy"),
        ({"energy_unit": ""}, {}, PotentialFileError, "has no unit"),
    ],
)
def test_wrong_requests(export, made, options, error, text):
    with pytest.raises(error, match=text):
        get_calculator("metatomic", model=export(**made), **{"device": "cpu", **options})


def test_files_of_other_kinds(tmp_path, export):
    with pytest.raises(UnknownCalculator, match="no file"):
        zoo(tmp_path / "none.pt")
    with pytest.raises(OptionError, match="takes one model"):
        get_calculator("metatomic")
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"no archive")
    with pytest.raises(PotentialFileError, match="no TorchScript archive"):
        zoo(bad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(1, 1)).save(bad)
    with pytest.raises(PotentialFileError, match="not one of metatomic"):
        zoo(bad)
    checkpoint = tmp_path / "model.ckpt"
    checkpoint.write_bytes(b"")
    with pytest.raises(PotentialFileError, match="mtt export"):
        zoo(checkpoint)
    whole = export()
    bad.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(PotentialFileError, match="no TorchScript archive"):
        zoo(bad)


def test_a_model_that_asks_for_something_else(export):
    with pytest.raises(Exception, match="asks for 'momentum'"):
        zoo(export(ask=("momentum",))).get_potential_energy(alloy())


def test_a_model_of_an_extension_that_is_not_there(export, tmp_path):
    """The archive says which compiled extensions were loaded when it was written; one that nobody has is told in the
    card, and does no harm where the model does not need it."""
    model = tmp_path / "model.pt"
    with zipfile.ZipFile(export()) as source, zipfile.ZipFile(model, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("extra/extensions"):
                data = json.dumps([{"name": "nobodys", "path": "nobodys/lib.so", "sha256": "0" * 64}]).encode()
            target.writestr(entry.filename, data)
    assert describe("metatomic", model=model).extra["extensions"] == "nobodys"
    zoo(model, extensions=str(tmp_path)).get_potential_energy(alloy())


def test_elements_are_refused_before_any_work(monkeypatch, export):
    monkeypatch.setattr("calczoo_metatomic.worker.make", lambda *a, **k: pytest.fail("work was begun"))
    with pytest.raises(UnsupportedElement, match="Po"):
        zoo(export()).get_potential_energy(bulk("Po", "sc", 3.3))


# -- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [{}, {"atomic": False, "full": False}], ids=["atoms", "structures"])
def test_numbers_of_the_package(export, dtype, options):
    """metatomic's own ASE calculator: rounding."""
    ase = pytest.importorskip("metatomic_ase", reason="needs metatomic-ase")
    model, small = export(dtype=dtype, **options), 1e-11 if dtype == "float64" else 1e-5
    theirs, mine = ase.MetatomicCalculator(model, device="cpu", do_gradients_with_energy=False), zoo(model, dtype)
    many = [alloy(), bulk("Ar"), slab(), Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]])]
    for atoms, row in zip(many, mine.evaluate(many), strict=True):
        other = atoms.copy()
        other.calc = theirs
        assert row["energy"] == pytest.approx(other.get_potential_energy(), abs=small * len(atoms))
        np.testing.assert_allclose(row["forces"], other.get_forces(), atol=small)
        if atoms.pbc.all():
            np.testing.assert_allclose(row["stress"], other.get_stress(), atol=small)
        if "energies" in row:
            np.testing.assert_allclose(row["energies"], theirs.get_property("energies", other), atol=small)


def test_non_conservative_numbers_of_the_package(export):
    ase = pytest.importorskip("metatomic_ase", reason="needs metatomic-ase")
    model, atoms = export(outputs=EVERYTHING), slab()
    atoms.pbc = True
    for asked in (True, "forces", "stress"):
        other = atoms.copy()
        other.calc = ase.MetatomicCalculator(
            model, device="cpu", non_conservative=asked, uncertainty_threshold=None, do_gradients_with_energy=False
        )
        mine = zoo(model, non_conservative=asked)
        np.testing.assert_allclose(mine.get_forces(atoms), other.get_forces(), atol=1e-11)
        np.testing.assert_allclose(mine.get_stress(atoms), other.get_stress(), atol=1e-11)
        assert "no derivatives" in mine.card.extra["non-conservative"]


def test_forces_and_stress_are_derivatives(calc):
    """Central differences of the energy, every force and all six components of the stress: sign, order and units."""
    atoms, h = alloy(), 2e-5
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
    assert np.abs(stress).min() > 1e-6 and np.abs(forces).max() > 1e-2


def test_units(calc, export):
    """The same model in other units, from constants with seven digits and more."""
    for options in ({"length_unit": "nm", "energy_unit": "meV"}, {"length_unit": "bohr", "energy_unit": "kcal/mol"}):
        for atoms, a, b in zip(
            [alloy(), slab()], calc.evaluate([alloy(), slab()]), zoo(export(**options)).evaluate([alloy(), slab()]),
            strict=True,
        ):  # fmt: skip
            for name, value in a.items():
                np.testing.assert_allclose(b[name], value, rtol=2e-6, atol=2e-6, err_msg=f"{name} of {atoms}")


def test_batches_of_any_size(calc, export):
    many = [alloy(1), molecule("H2"), bulk("Cu"), Atoms("Ar"), alloy(2), slab(), bulk("Si")]
    many[1].numbers[:] = 29
    small = zoo(export(), batch_atoms=3)
    for atoms, a, b in zip(many, calc.evaluate(many), small.evaluate(many), strict=True):
        alone = calc.evaluate([atoms])[0]
        assert a["energy"] == pytest.approx(a["energies"].sum(), abs=1e-12)
        for name, value in alone.items():
            np.testing.assert_allclose(a[name], value, rtol=1e-12, atol=1e-11)
            np.testing.assert_allclose(b[name], value, rtol=1e-12, atol=1e-11)
    assert np.array_equal(calc.get_forces(Atoms("Ar")), np.zeros((1, 3)))


def test_further_outputs(export):
    calc = zoo(export(outputs=EVERYTHING))
    row = calc.evaluate([alloy()], ("energy", "energies", "charges", "uncertainty"))[0]
    assert row["uncertainty"] == pytest.approx(0.1, abs=1e-12)
    np.testing.assert_allclose(row["charges"], row["energies"])  # what the model of the test says
    assert set(calc.evaluate([alloy()], ("energy",))[0]) & {"charges", "uncertainty"} == set()
    double = zoo(export(outputs=EVERYTHING), variant="double")
    assert double.get_potential_energy(alloy()) == pytest.approx(2 * row["energy"], abs=1e-12)
    only = zoo(export(outputs=("energy/double",)))
    assert only.get_potential_energy(alloy()) == pytest.approx(2 * row["energy"], abs=1e-12)
    with pytest.raises(PropertyNotImplementedError, match="energies"):
        zoo(export(atomic=False)).get_potential_energies(alloy())


def test_inputs_beside_the_structure(calc, export):
    """The test's model adds the total charge and the multiplicity to the energy."""
    model, atoms = export(ask=("charge", "spin_multiplicity")), alloy()
    atoms.info["charge"] = 2
    energy = calc.get_potential_energy(alloy())
    assert zoo(model).get_potential_energy(atoms) == pytest.approx(energy + 3.0, abs=1e-10)
    assert zoo(model, spin_multiplicity=3).get_potential_energy(alloy()) == pytest.approx(energy + 3.0, abs=1e-10)


def test_checks_of_the_package(calc, export):
    checked = zoo(export(), check_consistency=True)
    assert checked.get_potential_energy(alloy()) == pytest.approx(calc.get_potential_energy(alloy()), abs=1e-12)


def test_sums_with_other_terms(calc, export):
    atoms = alloy()
    both = get_calculator(f"metatomic:{export()} + zbl(2.0, 3.0)", device="cpu", threads=1)
    other = get_calculator("zbl(2.0, 3.0)", elements=["Cu", "Ar"], device="cpu")
    want = calc.get_potential_energy(atoms) + other.get_potential_energy(atoms)
    assert both.get_potential_energy(atoms) == pytest.approx(want, abs=1e-10)
    np.testing.assert_allclose(both.get_stress(atoms), calc.get_stress(atoms) + other.get_stress(atoms), atol=1e-10)


@pytest.mark.slow
def test_a_trained_pet():
    """A model of metatrain, where CALCZOO_PET names one: numbers of the package, forces against differences."""
    path = os.environ.get("CALCZOO_PET")
    if not path:
        pytest.skip("CALCZOO_PET names no model")
    ase = pytest.importorskip("metatomic_ase", reason="needs metatomic-ase")
    facts = read_facts(Path(path))
    calc = zoo(Path(path), facts.dtype)
    symbols = [e for e in calc.card.elements if e in ("Cu", "Al", "Si", "Na", "Fe")] or [calc.card.elements[0]]
    atoms = bulk(symbols[0], "fcc", 3.8, cubic=True)
    atoms.symbols[0] = symbols[-1]
    atoms.rattle(0.1, seed=1)
    forces = calc.get_forces(atoms)
    with warnings.catch_warnings():  # old names of outputs
        warnings.simplefilter("ignore")
        theirs = ase.MetatomicCalculator(path, device="cpu")
        theirs.calculate(atoms.copy(), ["energy", "forces", "stress"], [])
    assert calc.get_potential_energy(atoms) == pytest.approx(theirs.results["energy"], abs=1e-5)
    np.testing.assert_allclose(forces, theirs.results["forces"], atol=1e-5)
    np.testing.assert_allclose(calc.get_stress(atoms), theirs.results["stress"], atol=1e-6)
    ends = [atoms.copy(), atoms.copy()]
    for end, sign in zip(ends, (1, -1), strict=True):
        end.positions[1, 0] += sign * 0.01
    high, low = (row["energy"] for row in calc.evaluate(ends, ("energy",)))
    assert (low - high) / 0.02 == pytest.approx(forces[1, 0], abs=5e-3)


# -- manners ----------------------------------------------------------------------------------------------------


def test_settings_of_the_process_stay(export):
    def state():
        return (
            torch.get_default_dtype(), torch.get_num_threads(), list(warnings.filters), dict(os.environ),
            torch.is_grad_enabled(), torch.get_rng_state().tolist(), torch.index_select,
        )  # fmt: skip

    before = state()
    zoo(export(dtype="float32"), "float32").get_potential_energy(alloy())
    assert state() == before


@pytest.mark.parametrize("script", [AFTER, BROKEN], ids=["torch_geometric", "broken import"])
def test_what_came_before_in_the_process(export, calc, script):
    done = subprocess.run([sys.executable, "-c", script, str(export())], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("\n")[-2]) == pytest.approx(calc.get_potential_energy(bulk("Cu")), abs=1e-10)


def test_a_file_that_is_replaced(export, tmp_path):
    """The card belongs to the file that was read; a calculator keeps the model that it has."""
    model = tmp_path / "model.pt"
    shutil.copy(export(), model)
    calc = zoo(model)
    energy = calc.get_potential_energy(alloy())
    shutil.copy(export(outputs=("energy/double",)), model)
    assert calc.get_potential_energy(alloy(2)) != 2 * energy
    assert zoo(model).get_potential_energy(alloy()) == pytest.approx(2 * energy, abs=1e-12)


def test_record():
    assert FAMILY.backends == () and set(FAMILY.outputs) >= {"energy", "forces", "stress", "uncertainty"}
