"""The bundled SNAP models: no worse than the published fits on the same test sets, and fit for dynamics."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from calczoo import describe, get_calculator, list_calculators
from calczoo.families.snap import DEFAULTS, FAMILY
from calczoo.families.snap.bundle import SETTINGS
from calczoo.families.snap.load import MODELS
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import compare, evaluate
from calczoo.fitting.mlearn import ZBL
from data import mlearn

# energy MAE (meV/atom) and force component RMSE (eV/A) of the published coefficient files, doi:10.1021/acs.jpca.9b08723
PUBLISHED = {
    "Li-linear": (1.03, 0.038),
    "Mo-linear": (5.48, 0.376),
    "Cu-linear": (0.53, 0.083),
    "Ni-linear": (0.78, 0.085),
    "Si-linear": (6.44, 0.205),
    "Ge-linear": (6.59, 0.295),
    "Li-quadratic": (0.73, 0.044),
    "Mo-quadratic": (2.77, 0.333),
    "Cu-quadratic": (0.56, 0.055),
    "Ni-quadratic": (0.78, 0.075),
    "Si-quadratic": (3.81, 0.177),
    "Ge-quadratic": (6.45, 0.201),
}
CRYSTALS = {  # structure and lattice constant (A) that DFT (PBE) gives within 1 %
    "Li": ("bcc", 3.44),
    "Mo": ("bcc", 3.17),
    "Cu": ("fcc", 3.63),
    "Ni": ("fcc", 3.52),
    "Si": ("diamond", 5.47),
    "Ge": ("diamond", 5.77),
}


def calculator(name):
    return get_calculator(f"snap:{name}", device="cpu", threads=1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_errors_are_no_worse_than_the_published_fit(name):
    test = Dataset.from_atoms(mlearn(name.split("-")[0], "test"))
    table = compare(test, evaluate(calculator(name).model, test))
    energy, force = PUBLISHED[name]
    assert table.get("energy", "mae") <= energy
    assert table.get("forces", "rmse") <= force
    told = describe(f"snap:{name}").errors["test"]["groups"]["all"]
    assert told["energy"]["mae"] == pytest.approx(table.get("energy", "mae"), abs=1e-6)
    assert told["forces"]["rmse"] == pytest.approx(table.get("forces", "rmse"), abs=1e-8)


def test_every_setting_has_its_files_and_name():
    assert set(SETTINGS) == set(PUBLISHED) and set(DEFAULTS) == set(ZBL) == set(CRYSTALS)
    assert set(FAMILY.bundled) == {*SETTINGS, *DEFAULTS} == set(FAMILY.bundled_elements)
    for name in SETTINGS:
        assert all((MODELS / f"{name}{s}").is_file() for s in (".snapcoeff", ".snapparam", ".snap", ".json"))
        assert FAMILY.bundled_elements[name] == (name.split("-")[0],)
    assert "snap:Mo" in list_calculators("snap:*", elements="Mo")


@pytest.mark.parametrize("element", CRYSTALS)
def test_card_tells_where_the_model_comes_from(element):
    card = describe(f"snap:{element}")
    assert card.elements == (element,) and card.level_of_theory.startswith("PBE")
    assert "sha256" in card.training_data and "10.1021/acs.jpca.9b08723" in card.training_data
    assert card.licence and card.errors["train"] and card.extra["fit"]["rcut"] > 0
    stored = json.loads((MODELS / f"{DEFAULTS[element]}.json").read_text())
    assert {n: h for n, h in card.files.items() if n in stored["files"]} == stored["files"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_crystal_has_its_lattice_constant_and_resists_compression(name):
    element = name.split("-")[0]
    kind, a = CRYSTALS[element]
    calc = calculator(name)
    fine = a * np.linspace(0.97, 1.03, 25)
    scan = a * np.arange(0.95, 0.4, -0.05)
    results = calc.evaluate([bulk(element, kind, x, cubic=True) for x in (*fine, *scan)], ["energy"])
    energies = np.array([r["energy"] for r in results])
    assert abs(fine[np.argmin(energies[:25])] / a - 1) < 0.0101
    # the energy rises without a dent to more than 5 eV per atom, which no run reaches
    rise = (energies[25:] - energies[:25].min()) / len(bulk(element, kind, a, cubic=True))
    high = int(np.argmax(rise > 5.0))
    assert rise.max() > 5.0 and (np.diff(rise[: high + 1]) > 0).all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_short_distances_repel(name):
    element = name.split("-")[0]
    calc = calculator(name)
    distances = np.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4])
    pairs = [Atoms(f"{element}2", positions=[[0, 0, 0], [0, 0, d]]) for d in distances]
    energies = np.array([r["energy"] for r in calc.evaluate(pairs, ["energy"])])
    assert (np.diff(energies) < 0).all()
    # one atom of a crystal pushed towards its neighbour
    kind, a = CRYSTALS[element]
    crystal = bulk(element, kind, a, cubic=True).repeat(3)
    away = crystal.get_distances(0, range(1, len(crystal)), mic=True, vector=True)
    step = away[np.argmin(np.linalg.norm(away, axis=1))]
    pushed = []
    for d in distances:
        moved = crystal.copy()
        moved.positions[0] += step * (1 - d / np.linalg.norm(step))
        pushed.append(moved)
    energies = np.array([r["energy"] for r in calc.evaluate([crystal, *pushed], ["energy"])])
    assert (np.diff(energies[1:]) < 0).all() and energies[-1] > energies[0]
