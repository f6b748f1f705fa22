"""Oriented cells, terminations and slabs of any crystal plane.

The cell of lattice vectors u, v (Gauss-reduced, in the plane) and w (to the next plane, closest to the normal) is
turned so that u lies along x and the normal along +z. A space-group operation x -> W x + t with h W = s h (s = +1, -1)
acts on heights in units of the spacing d as

    phi = h.x -> s phi + h.t   (mod 1).

Cuts between atomic planes that these operations map on each other are the same termination; one that an operation of
s = -1 maps on itself has two equal faces, and half its cleavage energy is the surface energy. Otherwise only the mean
of the two faces is defined without chemical potentials.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from ase import Atoms

from calczoo.core.errors import OptionError

from .engine import Evaluator
from .planes import Bulk, adjugate, determinant, plane_basis

SAME_PLANE = 0.02  # A, atoms whose heights differ by less lie in one plane
TIE = 1e-6  # relative: lengths and roundings that differ by less count as equal


# -- oriented cells ---------------------------------------------------------------------------------------------------


@dataclass
class Termination:
    """A cut between atomic planes `cut` and `cut` + 1; `gap` (A) is their distance, `phase` the middle of it."""

    cut: int
    phase: float
    gap: float
    symmetric: bool
    name: str = ""
    same: list[int] = field(default_factory=list)


@dataclass
class Oriented:
    """One period of the crystal along the normal of (hkl): `atoms` with cell rows u, v (in the plane) and w.

    matrix    (3, 3) integers: rows u, v, w in the primitive cell
    normal    unit normal in the frame of the crystal; rotation (3, 3) turns that frame into the one of `atoms`
    spacing   distance of lattice planes (A)
    planes    indices of the atoms in each atomic plane, from the bottom up; heights (A) of these planes
    actions   (s, tau, R): the operations with h W = s h; R (2, 2) integers act on in-plane coordinates (rows)
    """

    hkl: tuple[int, int, int]
    atoms: Atoms
    matrix: np.ndarray
    normal: np.ndarray
    rotation: np.ndarray
    spacing: float
    planes: list[np.ndarray]
    heights: np.ndarray
    actions: list[tuple[int, float, np.ndarray]]

    @property
    def area(self) -> float:
        return float(np.linalg.norm(np.cross(self.atoms.cell[0], self.atoms.cell[1])))

    def gap(self, cut: int) -> float:
        """Distance (A) between atomic planes `cut` and `cut` + 1."""
        above = self.heights[cut + 1] if cut + 1 < len(self.planes) else self.heights[0] + self.spacing
        return float(above - self.heights[cut])

    def cut_phase(self, cut: int) -> float:
        return (float(self.heights[cut]) + self.gap(cut) / 2) / self.spacing

    def stabiliser(self, cut: int) -> list[tuple[int, np.ndarray]]:
        """(s, R) of the operations that map the cut on itself."""
        c = self.cut_phase(cut)
        return [(s, r) for s, tau, r in self.actions if self._near(s * c + tau - c)]

    def _near(self, phase: float) -> bool:
        return abs(phase - round(phase)) * self.spacing < 2 * SAME_PLANE

    def terminations(self) -> list[Termination]:
        """Symmetry-distinct cuts, widest gap first; named A, B, ... where there are several."""
        left, found = list(range(len(self.planes))), []
        while left:
            cut, c = left[0], self.cut_phase(left[0])
            images = [s * c + tau for s, tau, _ in self.actions]
            same = [k for k in left if any(self._near(i - self.cut_phase(k)) for i in images)] or [cut]
            symmetric = any(s < 0 for s, _ in self.stabiliser(cut))
            found.append(Termination(cut, c, self.gap(cut), symmetric, same=same))
            left = [k for k in left if k not in same]
        found.sort(key=lambda t: (-round(t.gap, 3), t.cut))
        for k, termination in enumerate(found):
            termination.name = chr(ord("A") + k) if len(found) <= 26 else str(k + 1)
        return found


def orient(bulk: Bulk, hkl: tuple[int, int, int]) -> Oriented:
    """The oriented cell of the plane (hkl) of the conventional cell."""
    h, cell = bulk.covector(hkl), bulk.atoms.cell.array
    reciprocal = np.array(h) @ bulk.normals
    spacing = 1.0 / float(np.linalg.norm(reciprocal))
    normal = reciprocal * spacing
    matrix = _reduced(plane_basis(h), cell, normal)
    vectors = matrix @ cell
    x = vectors[0] / np.linalg.norm(vectors[0])
    rotation = np.array([x, np.cross(normal, x), normal])
    inverse = adjugate(matrix) * determinant(matrix)
    scaled = bulk.atoms.get_scaled_positions(wrap=False) @ inverse
    scaled -= np.floor(scaled + SAME_PLANE / (2 * spacing))
    atoms = Atoms(bulk.atoms.numbers, cell=vectors @ rotation.T, pbc=True)
    atoms.cell[0, 1:] = atoms.cell[1, 2] = 0.0
    atoms.cell[2, 2] = spacing
    atoms.set_scaled_positions(scaled)
    planes = _planes(scaled[:, 2] * spacing, spacing)
    heights = np.array([np.mean(scaled[p, 2]) * spacing for p in planes])
    actions = []
    for w, t in zip(bulk.rotations, bulk.translations, strict=True):
        image = np.array(h) @ w
        for s in (1, -1):
            if (image == s * np.array(h)).all():
                actions.append((s, float(np.array(h) @ t), ((matrix @ w.T) @ inverse)[:2, :2]))
    return Oriented(tuple(hkl), atoms, matrix, normal, rotation, spacing, planes, heights, actions)


def _reduced(basis: np.ndarray, cell: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Gauss-reduced u, v and the w of least in-plane component; u, v, w right-handed."""
    u, v, w = basis
    length = lambda a: float(np.linalg.norm(a @ cell))  # noqa: E731 - one expression, used in this function only
    while True:
        a, b = u @ cell, v @ cell
        v = v - int(np.floor((a @ b) / (a @ a) + 0.5 - TIE)) * u
        if length(v) >= length(u) * (1 - TIE):
            break
        u, v = v, u
    if np.cross(u @ cell, v @ cell) @ normal < 0:
        v = -v
    plane = np.array([u @ cell, v @ cell])
    flat = w @ cell - (w @ cell @ normal) * normal
    start = np.floor(np.linalg.lstsq(plane.T, flat, rcond=None)[0] + TIE).astype(int)
    options = [w - (start[0] + i) * u - (start[1] + j) * v for i, j in product((0, 1, -1, 2), repeat=2)]
    return np.array([u, v, min(options, key=lambda o: round(length(o), 6))])


def _planes(heights: np.ndarray, period: float) -> list[np.ndarray]:
    """Atoms grouped by height."""
    order = np.argsort(heights, kind="stable")
    groups: list[list[int]] = [[int(order[0])]]
    for k in order[1:]:
        if heights[k] - heights[groups[-1][-1]] > SAME_PLANE:
            groups.append([])
        groups[-1].append(int(k))
    return [np.array(g) for g in groups]


# -- slabs ------------------------------------------------------------------------------------------------------------


@dataclass
class Slab:
    """A slab of `periods` oriented cells, both faces made by the same cut; `layers` numbers the atomic planes."""

    atoms: Atoms
    layers: np.ndarray
    cut: int
    periods: int
    area: float
    thickness: float
    normal_height: float

    @property
    def count(self) -> int:
        return int(self.layers.max()) + 1

    def spacings(self, positions: np.ndarray) -> np.ndarray:
        """Distances of successive atomic planes (A), from the bottom up, for positions of this slab's atoms."""
        return np.diff([positions[self.layers == k, 2].mean() for k in range(self.count)])

    def boundary(self, cut: int, planes: int) -> int:
        """The layer just above the cut of this kind that is closest to the middle of the slab."""
        kinds = [(self.cut + k) % planes for k in range(1, self.count)]  # below layer k lies plane cut + k
        found = [k for k, c in enumerate(kinds, start=1) if c == cut]
        if not found:
            raise OptionError("the slab has too few layers for a cut of this kind")
        return min(found, key=lambda k: (abs(2 * k - self.count), k))


def periods_for(oriented: Oriented, thickness: float) -> int:
    """Oriented cells that make a slab of at least this thickness (A)."""
    return max(1, int(np.ceil(thickness / oriented.spacing - 1e-9)))


def make_slab(oriented: Oriented, cut: int, periods: int, vacuum: float) -> Slab:
    """A slab with the formula of the crystal: `periods` times the atoms of the primitive cell, then `vacuum` (A)."""
    cell, count = oriented.atoms.cell.array, len(oriented.planes)
    order = [(p % count, p // count) for p in range(cut + 1, cut + 1 + count * periods)]
    positions = np.vstack([oriented.atoms.positions[oriented.planes[p]] + turn * cell[2] for p, turn in order])
    numbers = np.concatenate([oriented.atoms.numbers[oriented.planes[p]] for p, _ in order])
    layers = np.concatenate([[k] * len(oriented.planes[p]) for k, (p, _) in enumerate(order)])
    thickness = periods * oriented.spacing
    box = np.array([cell[0], cell[1], [0.0, 0.0, thickness + vacuum]])
    bottom = oriented.cut_phase(cut) * oriented.spacing
    positions[:, 2] += vacuum / 2 - bottom
    flat = positions @ np.linalg.inv(box)
    flat[:, :2] -= np.floor(flat[:, :2] + 1e-9)
    atoms = Atoms(numbers, flat @ box, cell=box, pbc=True)
    return Slab(atoms, layers.astype(int), cut, periods, oriented.area, thickness, thickness + vacuum)


def opened(oriented: Oriented, cut: int, periods: int, opening: float) -> Atoms:
    """The periodic crystal of `periods` oriented cells with one cut opened by `opening` (A) along the normal."""
    slab = make_slab(oriented, cut, periods, 0.0)
    cell = oriented.atoms.cell.array.copy()
    cell[2] = periods * cell[2] + np.array([0.0, 0.0, opening])
    return Atoms(slab.atoms.numbers, slab.atoms.positions, cell=cell, pbc=True)


class AlongNormal:
    """An evaluator whose forces have only their z component, for relaxation normal to the plane."""

    def __init__(self, evaluator: Evaluator):
        self.evaluator = evaluator

    def evaluate(self, structures, properties=("energy", "forces"), errors: str = "raise"):
        results = self.evaluator.evaluate(structures, properties, errors)
        for result in results:
            if isinstance(result, dict) and "forces" in result:
                result["forces"] = result["forces"] * np.array([0.0, 0.0, 1.0])
        return results
