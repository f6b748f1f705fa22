"""Symmetry-distinct displacements of a supercell, and force constants from the forces on its atoms.

The operations are those of the space group of the primitive cell that map the supercell's lattice on itself; one
lattice translation is chosen for each, so that the work grows with the number of atoms times the order of the point
group, not with the number of atoms squared. Method: K. Parlinski, Z. Q. Li, Y. Kawazoe, Phys. Rev. Lett. 78, 4063
(1997), doi:10.1103/PhysRevLett.78.4063: all images of the displacements under the site symmetry enter one least-squares
problem per pair of atoms.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

TOLERANCE = 1e-6  # singular values and directions of unit vectors


class Displacements:
    """What has to be displaced in a phonopy supercell, and the force constants that the forces give.

    moves   list of (atom of the supercell, unit vector (3,)): one structure each
    """

    def __init__(self, phonon: Any):
        self.phonon = phonon
        primitive, supercell = phonon.primitive, phonon.supercell
        lattice = primitive.cell.T
        self._points = supercell.positions @ np.linalg.inv(primitive.cell)  # fractions of the primitive vectors
        self._rows = np.array(primitive.p2s_map)  # the supercell's atom of each primitive one
        self._owner = np.array([primitive.p2p_map[a] for a in primitive.s2p_map])
        matrix = np.rint(supercell.cell @ np.linalg.inv(primitive.cell)).astype(int)
        self._rotations, self._shifts, self._images = self._operations(matrix)
        self._cartesian = lattice @ self._rotations @ np.linalg.inv(lattice)
        self._index = _Lookup(self._points - self._points[self._rows][self._owner], self._owner, matrix)
        orbits = self._images.min(axis=0)
        self.moves: list[tuple[int, np.ndarray]] = []
        self._sites: dict[int, tuple[np.ndarray, slice]] = {}
        for atom in sorted(set(orbits.tolist())):
            site = np.flatnonzero(self._images[:, atom] == atom)
            chosen = distinct_directions(self._cartesian[site], phonon.unitcell.cell)
            self._sites[atom] = site, slice(len(self.moves), len(self.moves) + len(chosen))
            self.moves += [(int(self._rows[atom]), u) for u in chosen]
        self._orbits = orbits

    def _operations(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotations (g, 3, 3), translations (g, 3), images (g, n): the primitive atom on which each is put."""
        operations = self.phonon.primitive_symmetry.symmetry_operations
        rotations, shifts = np.array(operations["rotations"]), np.array(operations["translations"])
        turned = matrix @ rotations.transpose(0, 2, 1) @ np.linalg.inv(matrix)
        kept = np.abs(turned - np.rint(turned)).max(axis=(1, 2)) < 1e-6
        rotations, shifts = rotations[kept], shifts[kept]
        base = self._points[self._rows]
        gap = (base @ rotations.transpose(0, 2, 1) + shifts[:, None])[:, :, None] - base
        gap -= np.rint(gap)
        distance = np.linalg.norm(gap @ self.phonon.primitive.cell, axis=-1)
        numbers = np.array(self.phonon.primitive.numbers)
        distance[:, numbers[:, None] != numbers] = np.inf
        return rotations, shifts, distance.argmin(axis=2)

    def _permutations(self, operations: np.ndarray, atom: int) -> np.ndarray:
        """(g, N): the atom on which each atom of the supercell is put, when `atom` of the primitive cell is put on
        its image's representative."""
        base = self._points[self._rows]
        moved = self._points @ self._rotations[operations].transpose(0, 2, 1) + self._shifts[operations][:, None]
        targets = base[self._images[operations, atom]]
        moved += np.rint(targets - moved[:, self._rows[atom]])[:, None]
        owner = self._images[operations][:, self._owner]
        return self._index.find(np.rint(moved - base[owner]).astype(int), owner)

    def solve(self, forces: Sequence[np.ndarray], distance: float) -> np.ndarray:
        """Force constants (n, N, 3, 3) in eV/A^2 of the n atoms of the primitive cell with the N of the supercell.

        forces   (N, 3) of each of `moves`, eV/A, without those of the undisplaced supercell; distance in A
        """
        n, total = len(self._rows), len(self._points)
        out = np.empty((n, total, 3, 3))
        for atom, (site, part) in self._sites.items():
            turn, images = self._cartesian[site], self._permutations(site, atom)
            u = distance * np.array([direction for _, direction in self.moves[part]])
            f = np.array(forces[part])
            moved = np.empty((len(site), len(u), total, 3))
            rows = np.arange(len(site))[:, None]
            moved.transpose(0, 2, 1, 3)[rows, images] = (f @ turn[:, None].swapaxes(-1, -2)).transpose(0, 2, 1, 3)
            inverse = np.linalg.pinv((u @ turn.swapaxes(-1, -2)).reshape(-1, 3))
            own = -(inverse @ moved.reshape(inverse.shape[1], -1)).reshape(3, total, 3).transpose(1, 0, 2)
            for other in np.flatnonzero(self._orbits == atom):
                g = np.flatnonzero(self._images[:, atom] == other)[:1]
                r = self._cartesian[g[0]]
                out[other, self._permutations(g, atom)[0]] = r @ own @ r.T
        return out


class _Lookup:
    """Atoms of a supercell by their primitive atom and lattice point, both modulo the supercell's lattice."""

    def __init__(self, offsets: np.ndarray, owner: np.ndarray, matrix: np.ndarray):
        self.size = abs(round(float(np.linalg.det(matrix))))
        self.adjugate = np.rint(np.linalg.inv(matrix) * self.size).astype(int)
        keys = self._keys(np.rint(offsets).astype(int), owner)
        self.order = np.argsort(keys)
        self.keys = keys[self.order]
        if (np.diff(self.keys) == 0).any():
            raise RuntimeError("two atoms of the supercell lie on the same site")

    def _keys(self, offsets: np.ndarray, owner: np.ndarray) -> np.ndarray:
        c = (offsets @ self.adjugate) % self.size
        return ((owner * self.size + c[..., 0]) * self.size + c[..., 1]) * self.size + c[..., 2]

    def find(self, offsets: np.ndarray, owner: np.ndarray) -> np.ndarray:
        keys = self._keys(offsets, owner)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        if (self.keys[at] != keys).any():
            raise RuntimeError("the supercell does not have the symmetry of its primitive cell")
        return self.order[at]


def distinct_directions(rotations: np.ndarray, cell: np.ndarray) -> list[np.ndarray]:
    """The fewest unit vectors whose images under the site symmetry (g, 3, 3) span space, negatives added where the
    symmetry does not give them; among equally many the best conditioned, then along the simplest vectors of `cell`."""
    steps = sorted(itertools.product((1, 0, -1), repeat=3), key=lambda s: (sum(map(abs, s)), [-x for x in s]))
    steps = [s for s in steps if any(s) and next(x for x in s if x) > 0]
    candidates = np.array(steps) @ (cell / np.linalg.norm(cell, axis=1)[:, None])
    candidates /= np.linalg.norm(candidates, axis=1)[:, None]
    orbits = np.einsum("gij,cj->cgi", rotations, candidates)
    single = np.abs(orbits + candidates[:, None]).max(axis=2).min(axis=1) > TOLERANCE  # minus is not an image
    best: tuple | None = None
    for many in (1, 2, 3):
        for chosen in itertools.combinations(range(len(candidates)), many):
            images = orbits[list(chosen)].reshape(-1, 3)
            singular = np.sqrt(max(0.0, np.linalg.eigvalsh(images.T @ images)[0]) / len(images))
            rank = (many + int(single[list(chosen)].sum()), -round(float(singular), 6))
            if singular > 1e-3 and (best is None or rank < best[0]):
                best = rank, chosen
        if best is not None and best[0][0] <= many + 1:
            break
    if best is None:
        raise RuntimeError("no displacements span space: is the cell three-dimensional?")
    return [s * candidates[c] for c in best[1] for s in ((1, -1) if single[c] else (1,))]
