"""Structures for TorchSim's one bool of periodicity. Imports nothing of calczoo."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

MARGIN = 1.0
"""A, by which images across an added vacuum are further apart than the cutoff."""
_OPEN = 10.0
"""A, around a structure without periodicity, whose box means nothing."""


def boxed(atoms: Atoms, cutoff: float | None) -> tuple[np.ndarray, np.ndarray, bool]:
    """(positions, cell, pbc): the same structure with all directions periodic, or none.

    Directions without periodicity beside periodic ones get a vacuum wider than the cutoff, across which nothing
    interacts; PropertyNotImplementedError where no cutoff is known. The cell is right-handed (models divide by the
    signed volume), with vectors of the same lattice, and periodic positions are inside it.
    """
    pbc, cell = np.asarray(atoms.pbc), np.array(atoms.cell.array)
    periodic, free = np.flatnonzero(pbc), np.flatnonzero(~pbc)
    if len(periodic) == 3:
        along = atoms.positions @ np.linalg.inv(cell)
        return _right_handed((along - np.floor(along)) @ cell, cell, True)
    if len(periodic) and cutoff is None:
        raise PropertyNotImplementedError(
            f"pbc is {pbc.tolist()}, but TorchSim knows all directions periodic or none; add a vacuum and set "
            "pbc=True, or tell the range of the interactions with reach=..."
        )
    cell[free] = (np.linalg.svd(cell[periodic])[2] if len(periodic) else np.eye(3))[len(periodic) :]
    along = atoms.positions @ np.linalg.inv(cell)  # lengths in A along free directions, whose vectors are orthonormal
    along[:, periodic] -= np.floor(along[:, periodic])
    along[:, free] -= along[:, free].min(axis=0) - MARGIN / 2
    wide = along[:, free].max(axis=0) + MARGIN / 2 + (cutoff or _OPEN)
    positions = along @ cell
    cell[free] *= wide[:, None]
    return _right_handed(positions, cell, bool(len(periodic)))


def _right_handed(positions: np.ndarray, cell: np.ndarray, pbc: bool) -> tuple[np.ndarray, np.ndarray, bool]:
    return positions, cell if np.linalg.det(cell) > 0.0 else cell[[1, 0, 2]], pbc
