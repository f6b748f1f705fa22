"""A neighbour list that is kept while atoms and cell move, and the bounds that say for how long it holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from .errors import AtomsOverlap
from .pairs import MIN_DISTANCE, Pairs
from .system import System


@dataclass
class Kept:
    """A neighbour list with the state it was made for."""

    pairs: Pairs
    numbers: np.ndarray
    pbc: np.ndarray
    cell: np.ndarray
    positions: np.ndarray
    close: np.ndarray  # pairs that could become an overlap while the list is reused


def largest_change(old: Kept, atoms: Atoms) -> float:
    """Upper bound (A) of the change of any pair vector since the list was made: |dx_i| + |dx_j| + |shift . dcell|."""
    if len(atoms) == 0:
        return 0.0
    moves = atoms.positions - old.positions
    moved = 2.0 * float(np.sqrt(np.einsum("na,na->n", moves, moves).max()))
    cell = atoms.cell.array
    change = (cell - old.cell)[old.pbc]
    if change.any():
        # A pair inside the cutoff now has shift . cell = r - (x_j - x_i), no longer than cutoff + extent of the
        # positions; its shift . dcell is that vector times pinv(cell) dcell.
        extent = float(np.linalg.norm(np.ptp(atoms.positions, axis=0)))
        strain = float(np.linalg.norm(np.linalg.pinv(cell[old.pbc]) @ change, 2))
        moved += strain * (old.pairs.cutoff + extent)
        if old.pbc.all():
            moved = min(moved, _affine_change(old, atoms))
    return moved


def _affine_change(old: Kept, atoms: Atoms) -> float:
    """Such a bound for atoms that follow their cell, as under a barostat: with new cell = cell F, a pair is now at
    r' = r F + d_j - d_i, d = x' - x F; |r'| < cutoff was |r| <= |F^-1| (cutoff + 2 max|d|)."""
    inverse = np.linalg.solve(atoms.cell.array, old.cell)
    away = atoms.positions - old.positions @ np.linalg.solve(old.cell, atoms.cell.array)
    moved = 2.0 * float(np.sqrt(np.einsum("na,na->n", away, away).max()))
    return max(1.0, float(np.linalg.norm(inverse, 2))) * (old.pairs.cutoff + moved) - old.pairs.cutoff


def close_pairs(pairs: Pairs, system: System) -> np.ndarray:
    """Pairs so close that they could overlap before the list is made anew."""
    if pairs.skin == 0.0:
        return np.zeros(0, dtype=np.int64)
    d = pairs.vectors(system).norm(dim=1)
    return torch.nonzero(d < pairs.skin + MIN_DISTANCE).flatten().cpu().numpy()


def keep(pairs: Pairs, atoms: Atoms, close: np.ndarray) -> Kept:
    """The list beside a copy of the structure it was made for."""
    return Kept(
        pairs=pairs,
        numbers=atoms.numbers.copy(),
        pbc=atoms.pbc.copy(),
        cell=atoms.cell.array.copy(),
        positions=atoms.positions.copy(),
        close=close,
    )


def check_close(pairs: Pairs, close: np.ndarray, system: System) -> None:
    """Raise AtomsOverlap where one of the pairs `close` is too short by now."""
    if not len(close):
        return
    d = pairs.vectors(system)[torch.from_numpy(close)].norm(dim=1)
    k = int(torch.argmin(d))
    if float(d[k]) < MIN_DISTANCE:
        p = int(close[k])
        i, j = int(pairs.i[p]), int(pairs.j[p])
        s = int(np.searchsorted(system.first, i, side="right")) - 1
        where = f" of structure {s}" if system.n_systems > 1 else ""
        raise AtomsOverlap(i - system.first[s], j - system.first[s], float(d[k]), where)
