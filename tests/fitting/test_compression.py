"""Guessed energies of compressed structures: the equation of state, and fits that do not collapse."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from calczoo.core.errors import OptionError
from calczoo.families.snap.fit import fit
from calczoo.families.snap.load import build
from calczoo.fitting.compression import Compression
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import evaluate
from calczoo.registry import ModelRequest

MO = Compression(15.8, 260.0, 4.2)


def test_equation_of_state_has_its_own_volume_bulk_modulus_and_derivative():
    v, h = MO.volume, 0.02
    e = {k: float(MO.energy(v + k * h)) for k in (-2, -1, 0, 1, 2)}
    assert e[0] == 0.0
    assert (e[1] - e[-1]) / (2 * h) == pytest.approx(0.0, abs=1e-4)
    second = (e[1] - 2 * e[0] + e[-1]) / h**2
    assert v * second / GPa == pytest.approx(MO.bulk_modulus, rel=1e-3)
    third = (e[2] - 2 * e[1] + 2 * e[-1] - e[-2]) / (2 * h**3)  # B' = -1 - V E''' / E''
    assert -1.0 - v * third / second == pytest.approx(MO.derivative, rel=1e-3)
    assert (np.diff(MO.energy(v * np.linspace(0.05, 1.0, 50))) < 0).all()


def structures(n):
    rng = np.random.default_rng(0)
    out = []
    for k in range(n):
        atoms = bulk("Mo", "bcc", 3.16 * (1 + 0.02 * rng.normal()), cubic=True)
        atoms.rattle(0.05, seed=k)
        energy = 2 * float(MO.energy(atoms.get_volume() / 2)) - 20.0 + 0.05 * rng.normal()
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        out.append(atoms)
    return out


def test_guesses_follow_the_equation_of_state():
    data = Dataset.from_atoms(structures(8))
    guesses = Compression(15.8, 260.0, 4.2, scales=(0.8, 0.5), structures=3).guesses(data)
    assert len(guesses) == 6
    copy, energy, tolerance = guesses[1]
    (source,) = [a for a in data.structures if np.allclose(a.cell.array * 0.5, copy.cell.array)]
    growth = float(MO.energy(copy.get_volume() / 2) - MO.energy(source.get_volume() / 2))
    assert energy == pytest.approx(source.get_potential_energy() + 2 * growth)
    assert tolerance == pytest.approx(0.2 * growth + 0.05)
    surface = structures(1)[0]
    surface.cell = surface.cell.array * [1, 1, 9]
    assert MO.guesses(Dataset.from_structures([surface])) == []


def test_a_fit_with_guesses_does_not_collapse():
    data = structures(30)
    scaled = []
    for s in (0.9, 0.8, 0.7, 0.6, 0.5):
        atoms = bulk("Mo", "bcc", 3.16 * s, cubic=True)
        scaled.append(atoms)
    common = {"rcut": 4.6, "twojmax": 4, "energy_weight": 100.0, "stress_weight": 1.0, "ridge": 1e-9}
    guess = {"volume": 15.8, "bulk_modulus": 260.0, "derivative": 4.2}
    energies = []
    for options in ({}, {"compression": guess}):
        params = fit(data, None, None, True, **common, **options).params
        model = build(params, ModelRequest("snap", device="cpu", threads=1))
        energies.append([r["energy"] for r in evaluate(model, Dataset.from_structures(scaled))])
    assert (np.diff(energies[1]) > 0).all()
    assert not (np.diff(energies[0]) > 0).all()


def test_invalid_guesses():
    with pytest.raises(OptionError, match="volume > 0"):
        Compression(-1.0, 260.0, 4.2)
    with pytest.raises(OptionError, match="scales"):
        Compression(15.8, 260.0, 4.2, scales=(1.2,))
    with pytest.raises(OptionError, match="compression"):
        fit(structures(3), rcut=4.6, twojmax=0, ridge=0.0, energy_weight=1.0, stress_weight=1.0,
            compression={"colour": 1})  # fmt: skip
