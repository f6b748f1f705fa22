"""A compact basis of a lattice, so that neither images nor reciprocal vectors are wasted on a skewed cell."""

from __future__ import annotations

import numpy as np


def reduced_cell(cell: np.ndarray) -> np.ndarray:
    """(3, 3) rows of the same lattice, each as short as adding multiples of the others to it makes it."""
    rows = np.array(cell, dtype=float)
    for _ in range(1000):
        moved = False
        for k in np.argsort(-np.einsum("ka,ka->k", rows, rows)):
            best = _shortened(rows, int(k))
            if best is not None:
                rows[k], moved = best, True
                break
        if not moved:
            break
    return rows


def _shortened(rows: np.ndarray, k: int) -> np.ndarray | None:
    """Row k with multiples of the other two taken off, or None where that does not make it shorter."""
    i, j = (m for m in range(3) if m != k)
    pair = rows[[i, j]]
    gram = pair @ pair.T
    nearest = np.round(np.linalg.solve(gram, pair @ rows[k]))
    length = rows[k] @ rows[k]
    best, shortest = None, length * (1.0 - 1e-9)
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            tried = rows[k] - (nearest + (a, b)) @ pair
            if (new := tried @ tried) < shortest:
                best, shortest = tried, new
    return best
