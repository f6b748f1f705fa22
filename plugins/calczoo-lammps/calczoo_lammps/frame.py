"""A structure in the frame that LAMMPS wants: cell vectors a = (lx, 0, 0), b = (xy, ly, 0), c = (xz, yz, lz).

The lattice is the same, described by its reduced and right-handed vectors (Minkowski reduction; -a, -b, -c for a
left-handed set, which spans the same lattice), then rotated. With Q the rotation, rows x' = x Q:

    cell Q = lower triangular        f = f' Q^T        stress = Q stress' Q^T

Directions without periodicity get vectors at right angles to all others, so that their faces never tilt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.geometry.minkowski_reduction import minkowski_reduce

MARGIN = 4.0
"""A, between the atoms and a face of the box that is not periodic, when the box is made."""
CLOSEST = 0.5
"""A, that must be left of it when the box is used again."""


@dataclass(frozen=True)
class Frame:
    """rotation Q (3, 3); box (3, 3) lower triangular with a positive diagonal, whose rows of directions without
    periodicity have length 1; pbc of its three directions."""

    rotation: np.ndarray
    box: np.ndarray
    pbc: tuple[bool, bool, bool]

    @property
    def tilted(self) -> bool:
        return bool(self.box[1, 0] or self.box[2, 0] or self.box[2, 1])

    def inside(self, positions: np.ndarray) -> np.ndarray:
        """Positions (N, 3) in this frame, wrapped by whole cell vectors into the box along periodic directions."""
        x = positions @ self.rotation
        cells = np.floor(x @ np.linalg.inv(self.box))
        cells[:, [k for k in range(3) if not self.pbc[k]]] = 0.0
        return x - cells @ self.box

    def bounds(self, x: np.ndarray, old: np.ndarray | None = None) -> np.ndarray:
        """(3, 2) lower and upper faces of the box; along directions without periodicity around the atoms, and those of
        `old` where they still fit."""
        out = np.stack([np.zeros(3), np.diag(self.box)], axis=1)
        for k in range(3):
            if self.pbc[k]:
                continue
            low, high = x[:, k].min(), x[:, k].max()
            room = np.inf if old is None else old[k, 1] - old[k, 0] - (high - low)
            if old is not None and low - old[k, 0] > CLOSEST and old[k, 1] - high > CLOSEST and room < 100.0:
                out[k] = old[k]
            else:
                out[k] = low - MARGIN, high + MARGIN
        return out

    def vectors_back(self, f: np.ndarray) -> np.ndarray:
        """Rows of vectors in the frame of the structure."""
        return f @ self.rotation.T

    def tensor_back(self, t: np.ndarray) -> np.ndarray:
        """(3, 3) tensor in the frame of the structure."""
        return self.rotation @ t @ self.rotation.T


def frame_of(cell: np.ndarray, pbc: Sequence[bool]) -> Frame:
    """The frame of a cell (3, 3) and its periodic directions, whose vectors are independent."""
    periodic = [k for k in range(3) if pbc[k]]
    vectors = np.eye(3)
    if periodic:
        reduced = minkowski_reduce(np.asarray(cell, dtype=float), pbc=np.asarray(pbc, dtype=bool))[0]
        vectors[periodic] = reduced[periodic]
        if len(periodic) < 3:
            free = [k for k in range(3) if not pbc[k]]
            vectors[free] = np.linalg.svd(reduced[periodic])[2][len(periodic) :]
    if np.linalg.det(vectors) < 0.0:
        vectors = -vectors
    if _is_restricted(vectors):
        rotation = np.eye(3)
    else:
        q, r = np.linalg.qr(vectors.T)
        rotation = q * np.sign(np.diag(r))
    box = np.tril(vectors @ rotation)
    box[np.abs(box) < 1e-13 * np.abs(box).max()] = 0.0  # what the rotation leaves of a right angle
    return Frame(rotation, box, (bool(pbc[0]), bool(pbc[1]), bool(pbc[2])))


def _is_restricted(vectors: np.ndarray) -> bool:
    upper = vectors[0, 1] == vectors[0, 2] == vectors[1, 2] == 0.0
    return bool(upper and (np.diag(vectors) > 0.0).all())
