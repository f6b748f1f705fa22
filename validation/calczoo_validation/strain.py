"""Strained copies of a cell, Voigt notation."""

from __future__ import annotations

import numpy as np
from ase import Atoms

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def strain_matrix(j: int, amount: float) -> np.ndarray:
    """(3, 3) symmetric strain with Voigt component j equal to `amount` (engineering shear: eps_4 = 2 eps_yz)."""
    eps = np.zeros((3, 3))
    k, m = VOIGT[j]
    if k == m:
        eps[k, k] = amount
    else:
        eps[k, m] = eps[m, k] = amount / 2
    return eps


def strained(atoms: Atoms, eps: np.ndarray) -> Atoms:
    """A copy with cell and positions multiplied by F = 1 + eps (clamped ions: scaled positions unchanged)."""
    out = atoms.copy()
    out.calc = None
    out.set_cell(atoms.cell.array @ (np.eye(3) + eps).T, scale_atoms=True)
    return out


def scaled(atoms: Atoms, factor: float) -> Atoms:
    """A copy with all lengths multiplied by `factor`."""
    return strained(atoms, (factor - 1.0) * np.eye(3))


def to_voigt(tensor: np.ndarray) -> np.ndarray:
    """(3, 3) symmetric to (6,), order xx yy zz yz xz xy."""
    return np.array([(tensor[k, m] + tensor[m, k]) / 2 for k, m in VOIGT])


def from_voigt(v: np.ndarray) -> np.ndarray:
    """(6,) stress-like vector to (3, 3)."""
    return np.array([[v[0], v[5], v[4]], [v[5], v[1], v[3]], [v[4], v[3], v[2]]])
