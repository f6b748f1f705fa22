"""The bundled neural network potentials: better than the published fits on the same test sets, fit for dynamics."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from calczoo import describe, get_calculator
from calczoo.families.hdnnp import FAMILY
from calczoo.families.hdnnp.bundle import SETTINGS
from calczoo.families.hdnnp.load import MODELS
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import compare, evaluate
from calczoo.fitting.mlearn import EQUATION_OF_STATE, ZBL
from data import mlearn

# energy RMSE (meV/atom) and force component RMSE (eV/A) of the published networks, doi:10.1021/acs.jpca.9b08723
PUBLISHED = {
    "Ni": (2.3, 0.0673),
    "Cu": (1.7, 0.0630),
    "Li": (1.0, 0.0634),
    "Mo": (5.7, 0.1987),
    "Si": (9.9, 0.1742),
    "Ge": (11.0, 0.1243),
}
CRYSTALS = {  # structure, lattice constant (A) that DFT (PBE) gives within 1 %, melting point (K)
    "Li": ("bcc", 3.44, 454),
    "Mo": ("bcc", 3.17, 2896),
    "Cu": ("fcc", 3.63, 1358),
    "Ni": ("fcc", 3.52, 1728),
    "Si": ("diamond", 5.47, 1687),
    "Ge": ("diamond", 5.77, 1211),
}
ELEMENTS = [name for name in FAMILY.bundled if name in PUBLISHED]


def calculator(element):
    return get_calculator(f"hdnnp:{element}", device="cpu", threads=1, extrapolation="ignore")


def crystal(element, scale=1.0):
    kind, a, _ = CRYSTALS[element]
    return bulk(element, kind, scale * a, cubic=True)


def test_every_bundled_fit_has_its_settings_and_files():
    assert set(SETTINGS) == set(EQUATION_OF_STATE) == set(ZBL) == set(PUBLISHED) == set(ELEMENTS)
    for element in ELEMENTS:
        card = json.loads((MODELS / element / "card.json").read_text())
        assert {"input.nn", "scaling.data"} < set(card["files"])
        assert sum(p.stat().st_size for p in (MODELS / element).iterdir()) < 80_000


@pytest.mark.parametrize("kind, nearest", [("fcc", 2**-0.5), ("bcc", 0.75**0.5)])
def test_lithium_does_not_collapse_when_compressed(kind, nearest):
    """A hole at nearest neighbours 2.2 A apart lay below the crystal; dynamics of fcc lithium fell into it."""
    distances = np.arange(1.4, 3.0, 0.1)
    energies = [r["energy"] for r in calculator("Li").evaluate([bulk("Li", kind, d / nearest) for d in distances])]
    assert (np.diff(energies) < 0.01).all()


@pytest.mark.parametrize("element", ELEMENTS)
def test_errors_are_below_those_of_the_published_fit(element):
    test = Dataset.from_atoms(mlearn(element, "test"))
    table = compare(test, evaluate(calculator(element).model, test))
    energy, force = PUBLISHED[element]
    assert table.get("energy", "rmse") < energy
    assert table.get("forces", "rmse") < force
    told = describe(f"hdnnp:{element}").errors["test"]["groups"]["all"]
    assert told["energy"]["mae"] == pytest.approx(table.get("energy", "mae"), abs=1e-6)
    assert told["forces"]["rmse"] == pytest.approx(table.get("forces", "rmse"), abs=1e-8)


@pytest.mark.parametrize("element", ELEMENTS)
def test_card_tells_where_the_model_comes_from(element):
    card = describe(f"hdnnp:{element}")
    assert card.elements == (element,) and card.level_of_theory.startswith("PBE")
    assert "sha256" in card.training_data and "10.1021/acs.jpca.9b08723" in card.training_data
    assert card.licence and card.errors["train"] and card.extra["fit"]["cutoff"] == card.cutoff
    assert card.extra["zbl"] == list(ZBL[element]) and "zbl" in card.extra["terms"]


@pytest.mark.parametrize("element", ELEMENTS)
def test_crystal_has_its_lattice_constant_and_resists_compression(element):
    fine, scan = np.linspace(0.97, 1.03, 25), np.arange(0.95, 0.4, -0.05)
    many = [crystal(element, s) for s in (*fine, *scan)]
    energies = np.array([r["energy"] for r in calculator(element).evaluate(many, ["energy"])])
    assert abs(fine[np.argmin(energies[:25])] - 1) < 0.0101
    rise = (energies[25:] - energies[:25].min()) / len(many[0])
    high = int(np.argmax(rise > 5.0))
    assert rise.max() > 5.0 and (np.diff(rise[: high + 1]) > 0).all()


@pytest.mark.parametrize("element", ELEMENTS)
def test_short_distances_repel(element):
    calc = calculator(element)
    distances = np.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4])
    pairs = [Atoms(f"{element}2", positions=[[0, 0, 0], [0, 0, d]]) for d in distances]
    energies = np.array([r["energy"] for r in calc.evaluate(pairs, ["energy"])])
    assert (np.diff(energies) < 0).all()
    # one atom of a crystal pushed towards its neighbour
    many = crystal(element).repeat(3)
    away = many.get_distances(0, range(1, len(many)), mic=True, vector=True)
    step = away[np.argmin(np.linalg.norm(away, axis=1))]
    pushed = []
    for d in distances:
        moved = many.copy()
        moved.positions[0] += step * (1 - d / np.linalg.norm(step))
        pushed.append(moved)
    energies = np.array([r["energy"] for r in calc.evaluate([many, *pushed], ["energy"])])
    assert (np.diff(energies[1:]) < 0).all() and energies[-1] > energies[0]


@pytest.mark.parametrize("element", ELEMENTS)
def test_a_hot_run_keeps_its_energy(element):
    """One picosecond at twice the melting point, from a crystal of twice that kinetic energy."""
    atoms = crystal(element).repeat(2)
    atoms.calc = calculator(element)
    spread = np.sqrt(units.kB * 4 * CRYSTALS[element][2] * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    before = atoms.get_total_energy()
    run = VelocityVerlet(atoms, timestep=0.5 * units.fs)
    worst = 0.0
    for _ in range(20):
        run.run(100)
        worst = max(worst, abs(atoms.get_total_energy() - before) / len(atoms))
        apart = atoms.get_all_distances(mic=True)[np.triu_indices(len(atoms), 1)]
        assert apart.min() > 0.5 * CRYSTALS[element][1] * 0.6
    assert worst < 2e-3
