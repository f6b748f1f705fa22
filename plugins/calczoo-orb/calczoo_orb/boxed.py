"""Structures as the package's graphs can take them, without a change of any distance within reach.

The package searches neighbours in images of the cell with multiples up to 4 around one corner, which misses some in
cells whose vectors are much longer than they need be; it knows structures that are periodic in all directions or in
none; and it divides by the signed volume. So a periodic structure gets the shortest vectors of its lattice,
right-handed; directions without periodicity get an empty stretch wider than the cutoff.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

MARGIN = 1.0
"""A, by which images are further apart than the cutoff."""


def prepared(atoms: Atoms, cutoff: float) -> Atoms:
    """Numbers, positions, cell and periodicity, and nothing else: the package reads more from info."""
    pbc = np.asarray(atoms.pbc)
    positions, cell = np.array(atoms.positions), np.array(atoms.cell.array)
    if not pbc.any():
        return Atoms(numbers=atoms.numbers, positions=positions)
    if not pbc.all():
        positions, cell = boxed(positions, cell, pbc, cutoff)
    short = np.asarray(minkowski_reduce(cell)[0])
    if np.linalg.norm(short, axis=1).sum() < np.linalg.norm(cell, axis=1).sum() * (1.0 - 1e-9):
        cell = short
    if np.linalg.det(cell) < 0.0:
        cell = -cell
    return Atoms(numbers=atoms.numbers, positions=positions, cell=cell, pbc=True)


def boxed(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """(positions, cell) whose images along directions without periodicity are out of reach of the atoms.

    Empty stretches wider than two cutoffs are shortened to that, so that the box stays small.
    """
    periodic, free = np.flatnonzero(pbc), np.flatnonzero(~pbc)
    cell = cell.copy()
    cell[free] = np.linalg.svd(cell[periodic])[2][len(periodic) :]  # orthonormal: coordinates along them are lengths
    along = positions @ np.linalg.inv(cell)
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


def least_height(atoms: Atoms) -> float:
    """A; smallest distance of opposite faces of the cell."""
    return float(1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0).max())
