"""Structures and comparisons that the tests of the dispersion corrections share."""

from __future__ import annotations

import os

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from calczoo.core.pairs import no_pairs
from calczoo.core.system import System
from data import max_abs

SHORT = "disp2=15, disp3=8, cn=12, width2=3, width3=2"
"""Cutoffs (A) that keep a test quick, with smooth ends that keep forces continuous."""


def package(name: str):
    """The interface of dftd3 or dftd4; skips the module where it is absent, or fails it if it must be there."""
    if os.environ.get("CALCZOO_REQUIRE_PLUGINS") == "1":
        __import__(f"{name}.interface")
    return pytest.importorskip(f"{name}.interface", reason=f"{name} is not installed (extra 'dispersion')")


def salt(repeat=1, rattle: float = 0.1, seed: int = 0) -> Atoms:
    """NaCl, sheared and rattled."""
    atoms = bulk("NaCl", "rocksalt", a=5.64).repeat(repeat)
    rng = np.random.default_rng(seed)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, rattle, atoms.positions.shape)
    return atoms


def close(got, want, rel: float = 1e-9) -> None:
    """Equal within rel of the largest entry."""
    got, want = np.asarray(got, dtype=float), np.asarray(want, dtype=float)
    assert got.shape == want.shape and max_abs(got, want) <= rel * np.abs(want).max()


def compute(calc, atoms: Atoms):
    """Results of the model itself, which has the virial of molecules too."""
    system = System.from_atoms(atoms)
    return calc.model.compute(system, no_pairs(system), frozenset({"energy", "energies", "forces", "virial"}))
