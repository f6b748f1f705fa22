"""Periodic bicrystals with a coincidence-site boundary, in the smallest common cell of the boundary plane.

A symmetric tilt boundary with plane (hkl) joins a crystal to its mirror image in (hkl). For the centrosymmetric
cubic crystals that equals a rotation by 180 degrees about [hkl], and the same rotation carries the boundary "B on
A" of a periodic bicrystal into its second boundary "A on B", whatever the translation between the grains: both are
equivalent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from calczoo.core.errors import OptionError

from .csl import LATTICES, NEAREST, STRUCTURES, Boundary, coincidence, plane_basis


@dataclass(frozen=True)
class Bicrystal:
    """Geometry of one boundary in one crystal: everything that `build` needs, in A, plane normal along z.

    cell (2, 2) common plane lattice;  unit (2, 2) cell of the distinct translations;  grains: per grain (points (n,
    2) of one plane, up (3,) to the next plane, basis (k, 3));  spacing of the planes.
    """

    boundary: Boundary
    a: float
    structure: str
    cell: np.ndarray
    unit: np.ndarray
    grains: tuple
    spacing: float

    @property
    def area(self) -> float:
        return float(abs(np.linalg.det(self.cell)))

    @property
    def nearest(self) -> float:
        return NEAREST[self.structure] * self.a

    def layers(self, thickness: float) -> int:
        """Planes of one grain that is at least this thick (A)."""
        return int(math.ceil(thickness / self.spacing - 1e-9)) + 1

    def translations(self, step: float) -> list[tuple[float, float]]:
        """Grid over the distinct translations, in fractions of `unit`, with steps of at most `step` (A).

        The mirror of a tilt boundary turns the translation t into -t: one of the two is enough.
        """
        n, k = (max(1, int(math.ceil(np.linalg.norm(v) / step))) for v in self.unit)
        pairs = [(i, j) for i in range(n) for j in range(k)]
        if not self.boundary.twist:
            pairs = [(i, j) for i, j in pairs if (i, j) <= (-i % n, -j % k)]
        return [(i / n, j / k) for i, j in pairs]

    def heights(self, atoms: Atoms) -> np.ndarray:
        """z of the atoms, continuous within each grain: A may reach below the cell's lower face, B beyond its upper."""
        z, height, tags = atoms.positions[:, 2] % atoms.cell[2, 2], atoms.cell[2, 2], atoms.get_tags()
        return z + height * ((tags == 1) & (z < height / 4)) - height * ((tags == 0) & (z > 3 * height / 4))

    def distortion(self, atoms: Atoms) -> float:
        """How far neighbours in the middle of the grains are from crystal sites, in nearest-neighbour distances."""
        z, worst = self.heights(atoms), 0.0
        i, vectors = neighbor_list("iD", atoms, 1.25 * self.nearest)
        for tag, (points, up, basis) in enumerate(self.grains):
            inner = np.abs(z - np.median(z[atoms.get_tags() == tag])) < self.spacing
            grid = np.array([(p, q, r) for p in range(-2, 3) for q in range(-2, 3) for r in range(-9, 10)])
            plane = np.column_stack([points - points[0], np.zeros(len(points))])
            steps = np.vstack([np.column_stack([self.cell, [0.0, 0.0]]), up])
            sites = ((grid @ steps)[:, None, None, None] + plane[:, None, None] + basis[:, None] - basis).reshape(-1, 3)
            sites = sites[np.linalg.norm(sites, axis=1) < 2 * self.nearest]
            for v in vectors[inner[i]]:
                worst = max(worst, float(np.linalg.norm(sites - v, axis=1).min()))
        return worst / self.nearest

    def build(
        self, symbol: str, layers: int, shift=(0.0, 0.0), gap: float = 0.0, closest: float = 0.0, vacuum: float = 0.0
    ) -> Atoms:
        """Grain A (tag 0) below grain B (tag 1), each of `layers` planes.

        shift: of B, in fractions of `unit`;  gap: distance (A) between the last plane of A and the first of B;
        closest: the upper of two atoms of different grains that are closer than this (A) is left out;  vacuum: 0
        makes the cell periodic with two equivalent boundaries, else it ends in free surfaces this far apart.
        """
        offset = np.array([*(np.asarray(shift) @ self.unit), gap])
        positions, tags = [], []
        for tag, (points, up, basis) in enumerate(self.grains):
            steps = np.arange(layers) if tag else np.arange(1 - layers, 1)
            plane = np.column_stack([points, np.zeros(len(points))])
            grid = steps[:, None, None, None] * up + plane[:, None, :] + basis + tag * offset
            positions.append(grid.reshape(-1, 3))
            tags += [tag] * positions[-1].shape[0]
        height = 2 * (layers - 1) * self.spacing + 2 * gap if not vacuum else 2 * layers * self.spacing + gap + vacuum
        cell = np.zeros((3, 3))
        cell[:2, :2], cell[2, 2] = self.cell, height
        atoms = Atoms([symbol] * len(tags), np.concatenate(positions), cell=cell, pbc=True, tags=tags)
        # The cell starts at the lowest plane of A: what lies above any other grain's atom keeps its order.
        atoms.positions[:, 2] += (layers - 1) * self.spacing
        if closest > 0:
            atoms = atoms[~_upper_of_close_pairs(atoms, closest)]
        atoms.wrap()
        return atoms


def _upper_of_close_pairs(atoms: Atoms, closest: float) -> np.ndarray:
    """Mask of the atoms that have an atom of the other grain below them (or at their height) within `closest`.

    At the first boundary B is the upper grain, at the second one A: the rotation that exchanges them keeps up and
    down.
    """
    drop = np.zeros(len(atoms), dtype=bool)
    i, j, d = neighbor_list("ijD", atoms, closest)
    tags, z = atoms.get_tags(), atoms.positions[:, 2]
    height = atoms.cell[2, 2]
    for p, q, step in zip(i, j, d, strict=True):
        if tags[p] == 1 and tags[q] == 0:  # p in B, q in A: which boundary they meet at tells who is the upper one
            middle = (z[p] + step[2] / 2) / height % 1.0
            drop[p if 0.25 < middle < 0.75 else q] = True
    return drop


def bicrystal(boundary: Boundary, structure: str, a: float, multiples: tuple[int, int] = (1, 1)) -> Bicrystal:
    """Geometry of a boundary with the smallest common plane cell (times `multiples`).

    Errors: OptionError for a crystal structure that has none.
    """
    if structure not in STRUCTURES:
        raise OptionError(f"no bicrystal of {structure!r}; known: {', '.join(STRUCTURES)}")
    lattice = STRUCTURES[structure][0]
    basis = np.array(LATTICES[lattice])
    u, v, up = plane_basis(basis, boundary.plane)
    common, shifts, angle = (u, v), (u, v), 0.0
    if boundary.twist:
        shared = coincidence(lattice, boundary.axis, boundary.sigma)
        rows = np.array([[int(2 * x) for x in row] for row in shared.csl])
        common, angle = plane_basis(rows, boundary.plane)[:2], math.radians(shared.angle)
        finer = math.lcm(*(x.denominator for row in shared.dsc for x in row))
        rows = np.array([[int(finer * x) for x in row] for row in shared.dsc])
        shifts = tuple(2 * w / finer for w in plane_basis(rows, boundary.plane)[:2])
    frame = _frame(common[0], boundary.plane)
    scale = a / 2
    cell = np.array([m * (w @ frame.T)[:2] * scale for m, w in zip(multiples, common, strict=True)])
    if np.linalg.det(cell) < 0:
        cell[1] *= -1
    own, unit = (np.array([(w @ frame.T)[:2] * scale for w in pair]) for pair in ((u, v), shifts))
    step = up @ frame.T * scale
    # Diamond: the middle of a bond is the centre of inversion, on which the equivalence of the boundaries rests.
    half = np.array([1, 1, 1]) @ frame.T * a / 8
    inner = np.array([half, -half]) if structure == "diamond" else np.zeros((1, 3))
    lower = (_points(own, cell), step, inner)
    if boundary.twist:
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        full = np.eye(3)
        full[:2, :2] = turn
        upper = (_points(own @ turn.T, cell), full @ step, inner @ full.T)
    else:
        upper = (_points(own, cell), step * [-1, -1, 1], inner * [1, 1, -1])
    return Bicrystal(boundary, a, structure, cell, unit, (lower, upper), float(step[2]))


def _frame(first: np.ndarray, plane: tuple[int, ...]) -> np.ndarray:
    """Rows: unit vectors along an in-plane vector, across it, and along the plane normal."""
    x, z = first / np.linalg.norm(first), np.array(plane) / np.linalg.norm(plane)
    return np.array([x, np.cross(z, x), z])


def _points(own: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Points of the plane lattice `own` (rows) inside the coarser plane cell."""
    count = int(round(abs(np.linalg.det(cell) / np.linalg.det(own))))
    reach = count + 1
    grid = np.array([(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)])
    inside = grid @ own @ np.linalg.inv(cell)
    inside = np.round(inside - np.floor(inside + 1e-7), 7)
    found = np.unique(inside, axis=0)
    if len(found) != count:
        raise OptionError(f"the plane cell holds {len(found)} lattice points instead of {count}: it is no common cell")
    return found @ cell


def thicker(atoms: Atoms, cell: Bicrystal, extra: int) -> Atoms:
    """The relaxed bicrystal with `extra` planes more in the middle of each grain, its boundaries left as they are.

    Errors: ValueError where the grains are too thin, or too far from a crystal, to be continued.
    """
    out = atoms.copy()
    while extra > 0:
        planes = min(np.ptp(cell.heights(out)[out.get_tags() == tag]) for tag in (0, 1)) / cell.spacing
        now = min(extra, max(1, int(planes / 3)))  # away from the boundaries
        for tag in (0, 1):
            out = _inserted(out, cell, tag, now)
        extra -= now
    out.wrap()
    return out


def _inserted(atoms: Atoms, cell: Bicrystal, tag: int, planes: int) -> Atoms:
    """More planes in the middle of one grain: above it everything moves up by that many steps from plane to plane, and
    the gap is filled with the same steps of the planes below it."""
    points, up, basis = cell.grains[tag]
    out, move, own = atoms.copy(), planes * up, atoms.get_tags() == tag
    out.positions[:, 2] = z = cell.heights(atoms)
    middle = _gap_near_middle(np.sort(z[own]), cell.spacing)
    new = out[own & (z < middle) & (z > middle - move[2])]
    if len(new) != planes * len(points) * len(basis):
        raise ValueError(
            f"{len(new)} atoms in {planes} planes of {len(points) * len(basis)}: no crystal inside the grain"
        )
    new.positions += move
    out.positions[z > middle] += move
    out += new
    vectors = out.cell.array.copy()
    vectors[2] += move
    out.set_cell(vectors, scale_atoms=False)
    return out


def _gap_near_middle(z: np.ndarray, spacing: float) -> float:
    """Height of the widest gap between atoms within one spacing of planes around the median."""
    near = z[np.abs(z - np.median(z)) < 1.2 * spacing]
    at = int(np.diff(near).argmax())
    return float((near[at] + near[at + 1]) / 2)
