"""Structures of the tests."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk


def crystal(symbol: str = "Mo", seed: int = 1, size: tuple[int, int, int] = (1, 1, 1), strain: float = 0.02) -> Atoms:
    """A cubic crystal in a triclinic cell, away from equilibrium, so that no force or stress is zero by symmetry."""
    rng = np.random.default_rng(seed)
    atoms = bulk(symbol, cubic=True).repeat(size)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += 0.08 * rng.normal(size=atoms.positions.shape)
    return atoms


def crystals(n: int, symbol: str = "Mo") -> list[Atoms]:
    """n crystals of several sizes."""
    return [crystal(symbol, k, ((1, 1, 1), (2, 1, 1), (2, 2, 1))[k % 3]) for k in range(n)]
