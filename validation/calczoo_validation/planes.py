"""Lattice planes of any crystal by integer algebra: primitive cell, Miller indices, equivalent planes.

A plane (hkl) of the conventional cell is the coprime integer covector h of the primitive cell. Integer vectors

    h.u = h.v = 0,   h.w = 1,   det(u, v, w) = 1

span a cell with the volume of the primitive one: u, v in the plane, w to the next plane.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Any

import numpy as np
import spglib
from ase import Atoms

from calczoo.core.errors import OptionError

from .structures import Crystal

SYMPREC = 1e-4  # A


# -- integers ---------------------------------------------------------------------------------------------------------


def bezout(a: int, b: int) -> tuple[int, int, int]:
    """(g, p, q) with p a + q b = g = gcd(a, b) >= 0."""
    p, q, r, s = 1, 0, 0, 1
    while b:
        k = a // b
        a, b = b, a - k * b
        p, r = r, p - k * r
        q, s = s, q - k * s
    return (a, p, q) if a >= 0 else (-a, -p, -q)


def coprime(h: Any) -> tuple[int, int, int]:
    """The three integers divided by their common divisor."""
    values = [int(x) for x in h]
    g = gcd(*values)
    if g == 0:
        raise OptionError("the plane (000) does not exist")
    return tuple(x // g for x in values)


def plane_basis(h: tuple[int, int, int]) -> np.ndarray:
    """(3, 3) integer rows u, v, w with h.u = h.v = 0, h.w = 1 and determinant 1; h must be coprime."""
    a, b, c = h
    if a == b == 0:
        return np.array([[1, 0, 0], [0, c, 0], [0, 0, c]])
    g, p, q = bezout(a, b)
    _, r, s = bezout(g, c)
    return np.array([[b // g, -a // g, 0], [p * c, q * c, -g], [r * p, r * q, s]])


def adjugate(m: np.ndarray) -> np.ndarray:
    """det(m) m^-1 of a (3, 3) integer matrix, exactly."""
    m = np.asarray(m, dtype=int)
    return np.array([np.cross(m[1], m[2]), np.cross(m[2], m[0]), np.cross(m[0], m[1])]).T


def determinant(m: np.ndarray) -> int:
    return int(np.dot(m[0], np.cross(m[1], m[2])))


def integer_rows(rows: np.ndarray) -> np.ndarray:
    """(3, 3) basis of the lattice that integer rows (n, 3) of rank 3 span (Hermite normal form)."""
    work = [list(map(int, r)) for r in rows]
    basis = []
    for column in range(3):
        while sum(1 for r in work if r[column]) > 1:
            pivot = min((r for r in work if r[column]), key=lambda r: abs(r[column]))
            for r in work:
                if r is not pivot and r[column]:
                    k = r[column] // pivot[column]
                    r[:] = [x - k * y for x, y in zip(r, pivot, strict=True)]
        pivot = next(r for r in work if r[column])
        basis.append(pivot)
        work = [r for r in work if r is not pivot]
    return np.array(basis)


# -- the crystal ------------------------------------------------------------------------------------------------------


@dataclass
class Bulk:
    """A primitive cell, the conventional cell that Miller indices refer to, and the space group.

    conventional  (3, 3) integers: conventional vectors = conventional @ primitive vectors
    hexagonal     four indices (hkil) may be used
    rotations, translations  operations x -> W x + t on fractional coordinates of the primitive cell
    """

    atoms: Atoms
    conventional: np.ndarray
    hexagonal: bool
    number: int
    rotations: np.ndarray
    translations: np.ndarray

    @property
    def normals(self) -> np.ndarray:
        """(3, 3): rows are the reciprocal vectors of the primitive cell without 2 pi."""
        return np.linalg.inv(self.atoms.cell.array).T

    def covector(self, hkl: tuple[int, int, int]) -> tuple[int, int, int]:
        """Coprime integers of the plane (hkl) of the conventional cell, in the primitive cell."""
        sign = 1 if determinant(self.conventional) > 0 else -1
        return coprime(sign * (adjugate(self.conventional) @ np.array(hkl, dtype=int)))

    def direction(self, uvw: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shortest primitive lattice vector along [uvw] of the conventional cell."""
        return coprime(np.array(uvw, dtype=int) @ self.conventional)

    def cartesian_rotations(self) -> np.ndarray:
        cell = self.atoms.cell.array.T
        return np.array([cell @ w @ np.linalg.inv(cell) for w in self.rotations])

    def kind(self) -> str:
        """fcc, bcc, hcp, diamond, sc, rocksalt, zincblende, cesiumchloride, wurtzite, or "" for anything else."""
        elements, atoms = len(set(self.atoms.numbers)), len(self.atoms)
        return {
            (225, 1, 1): "fcc", (229, 1, 1): "bcc", (194, 1, 2): "hcp", (227, 1, 2): "diamond", (221, 1, 1): "sc",
            (225, 2, 2): "rocksalt", (216, 2, 2): "zincblende", (221, 2, 2): "cesiumchloride", (186, 2, 4): "wurtzite",
        }.get((self.number, elements, atoms), "")  # fmt: skip

    def nearest(self) -> float:
        """Smallest distance of two atoms (A)."""
        big = self.atoms.repeat(3)
        middle = big.positions[13 * len(self.atoms) : 14 * len(self.atoms)]
        d = np.linalg.norm(big.positions[:, None] - middle[None], axis=2)
        return float(d[d > 1e-6].min())


def prepare(crystal: Crystal) -> Bulk:
    """Primitive cell and conventional axes of a crystal.

    The conventional cell is the crystal's own where it has the volume and the angles of the standard one of its space
    group, else the standard one (spglib), so that (111) of a primitive fcc cell read from a file means what it says.
    """
    atoms = _primitive(crystal.atoms)
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    data = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    if data is None:
        one = np.eye(3, dtype=int)
        return Bulk(atoms, one, False, 1, one[None], np.zeros((1, 3)))
    number = int(data.number)
    hexagonal = 143 <= number <= 194
    own = np.asarray(crystal.conventional) @ crystal.atoms.cell.array
    standard = (atoms.cell.array.T @ np.linalg.inv(data.transformation_matrix)).T
    chosen = own if _is_standard(own, standard, number) else standard
    matrix = chosen @ np.linalg.inv(atoms.cell.array)
    conventional = np.rint(matrix).astype(int)
    if np.abs(matrix - conventional).max() > 1e-3:
        raise OptionError("the conventional cell is no supercell of the primitive one")
    return Bulk(atoms, conventional, hexagonal, number, np.array(data.rotations), np.array(data.translations))


def _is_standard(own: np.ndarray, standard: np.ndarray, number: int) -> bool:
    """Whether a cell has the volume and the right angles of the standard cell of its space group."""
    if abs(abs(np.linalg.det(own)) / abs(np.linalg.det(standard)) - 1) > 1e-3:
        return False
    lengths = np.linalg.norm(own, axis=1)
    cosines = [own[i] @ own[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    expected = (0.0, 0.0, -0.5) if 143 <= number <= 194 else (0.0, 0.0, 0.0)
    if number >= 195 and np.ptp(lengths) > 1e-3 * lengths[0]:
        return False
    return number < 16 or bool(np.allclose(cosines, expected, atol=1e-3))


def _primitive(atoms: Atoms) -> Atoms:
    """The cell reduced by the pure translations of the crystal; the same orientation and origin."""
    atoms = Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=True)
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    data = spglib.get_symmetry(cell, symprec=SYMPREC)
    if data is None:
        return atoms
    one = np.eye(3, dtype=int)
    pure = [t for w, t in zip(data["rotations"], data["translations"], strict=True) if (w == one).all()]
    n = len(pure)
    if n == 1:
        return atoms
    rows = np.vstack([n * one, np.rint(n * np.array(pure)).astype(int)])
    lattice = integer_rows(rows) @ atoms.cell.array / n
    if np.linalg.det(lattice) * np.linalg.det(atoms.cell.array) < 0:
        lattice[0] *= -1
    inverse, kept = np.linalg.inv(lattice), []
    for k, r in enumerate(atoms.positions):
        delta = (r - atoms.positions[kept]) @ inverse if kept else np.zeros((0, 3))
        distance = np.linalg.norm((delta - np.round(delta)) @ lattice, axis=1)
        if not (distance[atoms.numbers[kept] == atoms.numbers[k]] < 10 * SYMPREC).any():
            kept.append(k)
    return Atoms(atoms.numbers[kept], atoms.positions[kept], cell=lattice, pbc=True)


# -- Miller indices ---------------------------------------------------------------------------------------------------


def parse_miller(text: str, hexagonal: bool = False, direction: bool = False) -> tuple[int, int, int]:
    """(h, k, l) of "111", "1-10", "10,0,1"; of "11-20" in hexagonal crystals (h + k + i = 0).

    With `direction`, a four-index [uvtw] becomes [u - t, v - t, w]. OptionError says what is wrong.
    """
    text = text.strip().strip("()[]{}<>")
    parts = re.split(r"[,\s]+", text) if re.search(r"[,\s]", text) else re.findall(r"-?\d", text)
    if not re.fullmatch(r"[-\d,\s]+", text) or not all(re.fullmatch(r"-?\d+", p) for p in parts):
        raise OptionError(f"{text!r} are no Miller indices; expected such as '111', '1-10', '10,0,1'")
    indices = [int(p) for p in parts]
    if len(indices) == 4:
        if not hexagonal:
            raise OptionError(f"four indices {text!r} are for hexagonal crystals only")
        if indices[0] + indices[1] + indices[2] != 0:
            raise OptionError(f"the first three indices of {text!r} must add up to 0")
        h, k, i, last = indices
        indices = [h - i, k - i, last] if direction else [h, k, last]
    if len(indices) != 3 or not any(indices):
        raise OptionError(f"{text!r} are no Miller indices; expected three (four in hexagonal crystals), not all zero")
    return coprime(indices)


def miller_label(hkl: tuple[int, int, int], hexagonal: bool = False) -> str:
    """ "1-10"; four indices in hexagonal crystals; commas where an index has two digits."""
    indices = (hkl[0], hkl[1], -hkl[0] - hkl[1], hkl[2]) if hexagonal else hkl
    return ("," if any(abs(i) > 9 for i in indices) else "").join(str(i) for i in indices)


def equivalent(bulk: Bulk, hkl: tuple[int, int, int]) -> set[tuple[int, int, int]]:
    """Primitive covectors of all planes parallel to, or symmetry-equivalent with (hkl), both sides."""
    h = np.array(bulk.covector(hkl))
    images = {tuple(int(x) for x in h @ w) for w in bulk.rotations}
    return images | {tuple(-x for x in i) for i in images}


def distinct_planes(bulk: Bulk, max_index: int) -> list[tuple[int, int, int]]:
    """One (hkl) of every class of symmetry-equivalent planes with indices up to `max_index`."""
    every = [h for h in product(range(-max_index, max_index + 1), repeat=3) if any(h) and gcd(*h) == 1]
    every.sort(key=lambda h: (max(map(abs, h)), sum(map(abs, h)), sum(x < 0 for x in h), [-x for x in h]))
    seen: set[tuple[int, int, int]] = set()
    chosen = []
    for hkl in every:
        if bulk.covector(hkl) not in seen:
            chosen.append(hkl)
            seen |= equivalent(bulk, hkl)
    return chosen
