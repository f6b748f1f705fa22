"""Structures for a code that knows fully periodic ones: directions without periodicity get a wide enough cell."""

from __future__ import annotations

import numpy as np
from ase import Atoms

MARGIN = 1.0
"""A, by which images are further apart than the cutoff."""


def boxed(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """(positions, cell) whose images along directions without periodicity are out of reach of the atoms.

    Positions are wrapped into the cell along periodic directions. Along the others, empty stretches wider than two
    cutoffs are shortened to that: no interaction reaches across them, and a grid of cells stays small. Vectors between
    atoms closer than the cutoff are those of the structure itself.
    """
    pbc = np.asarray(atoms.pbc)
    cell = np.array(atoms.cell.array)
    periodic, free = np.flatnonzero(pbc), np.flatnonzero(~pbc)
    if len(free):
        basis = np.linalg.svd(cell[periodic])[2] if len(periodic) else np.eye(3)
        cell[free] = basis[len(periodic) :]  # orthonormal: coordinates along them are lengths
    along = atoms.positions @ np.linalg.inv(cell)
    along[:, periodic] -= np.floor(along[:, periodic])
    for k in free:
        order = np.argsort(along[:, k], kind="stable")
        x = along[order, k]
        gaps = np.diff(x, prepend=x[:1])
        x = x - x[:1] - np.cumsum(np.where(gaps > 2.0 * cutoff, gaps - 2.0 * cutoff, 0.0))
        along[order, k] = x + MARGIN / 2
    positions = along @ cell
    for k in free:
        cell[k] *= along[:, k].max(initial=0.0) + cutoff + MARGIN
    return positions, cell
