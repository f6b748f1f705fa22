"""Coincidence-site lattices of cubic crystals in exact integer arithmetic, and the names of grain boundaries.

Two lattices L and R L share the coincidence-site lattice (CSL) L n R L; the finest lattice that holds both is the
displacement-shift-complete one (DSC) L + R L. With L* the reciprocal lattice,

    CSL(L) = [DSC(L*)]*,   V(CSL) / V(L) = Sigma = V(L) / V(DSC),

so one Hermite reduction of integer vectors gives both. A rotation by theta about [uvw] is rational for the integer
quaternion (m, nu, nv, nw): tan(theta/2) = n sqrt(u^2 + v^2 + w^2) / m, and Sigma is the odd part of
m^2 + n^2 (u^2 + v^2 + w^2) (Ranganathan, doi:10.1107/S0365110X66002615; Grimmer, Bollmann and Warrington,
doi:10.1107/S056773947400043X).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import spglib

from calczoo.core.errors import OptionError

from .structures import Crystal
from .symmetry import Symmetry

# columns: primitive vectors in units of a/2
LATTICES = {
    "sc": ((2, 0, 0), (0, 2, 0), (0, 0, 2)),
    "fcc": ((0, 1, 1), (1, 0, 1), (1, 1, 0)),
    "bcc": ((-1, 1, 1), (1, -1, 1), (1, 1, -1)),
}
STRUCTURES = {"fcc": ("fcc", 4), "bcc": ("bcc", 2), "diamond": ("fcc", 8), "sc": ("sc", 1)}
NEAREST = {"fcc": 0.5**0.5, "bcc": 0.75**0.5, "diamond": 0.1875**0.5, "sc": 1.0}  # in units of a
SPACE_GROUPS = {(225, 1): "fcc", (229, 1): "bcc", (227, 2): "diamond", (221, 1): "sc"}  # (number, primitive atoms)
LARGEST_SIGMA = 999


# -- which crystal -----------------------------------------------------------------------------------------------------


def cubic_structure(crystal: Crystal) -> str:
    """Name in STRUCTURES of a cubic element, an empty string for anything else."""
    if len(crystal.elements) != 1:
        return ""
    atoms = crystal.atoms
    found = spglib.find_primitive((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-4)
    return SPACE_GROUPS.get((Symmetry(atoms).number, len(found[1])), "") if found else ""


def cubic_constant(crystal: Crystal) -> float:
    """Lattice constant (A) of the cubic cell, from the volume per atom."""
    atoms = STRUCTURES[cubic_structure(crystal)][1]
    return float((atoms * crystal.atoms.get_volume() / len(crystal.atoms)) ** (1 / 3))


def why_not(crystal: Crystal, what: str, allowed: tuple[str, ...] = ("fcc", "bcc", "diamond")) -> str:
    """Why a property of cubic elements makes no sense for this crystal; "" where it does."""
    if len(crystal.elements) > 1:
        return f"{what} of compounds are not defined here: they need a stoichiometry and chemical potentials"
    if cubic_structure(crystal) in allowed:
        return ""
    number = Symmetry(crystal.atoms).number
    if 75 <= number <= 194:
        return (
            f"{what} need a cubic lattice: in a tetragonal or hexagonal one sites coincide only for a rational "
            f"(c/a)^2, which a relaxed cell (space group {number}) does not have"
        )
    return f"{what} are made for the cubic elements {', '.join(allowed)}; this crystal has space group {number}"


# -- integer algebra ---------------------------------------------------------------------------------------------------


def hermite(vectors: list[tuple[int, ...]]) -> list[list[int]]:
    """Basis (rows, echelon form) of the lattice that integer vectors span."""
    rows = [list(v) for v in vectors if any(v)]
    basis: list[list[int]] = []
    for column in range(len(vectors[0])):
        live = [r for r in rows if r[column]]
        rest = [r for r in rows if not r[column]]
        while len(live) > 1:
            live.sort(key=lambda r: abs(r[column]))
            pivot = live[0]
            reduced = [[x - (r[column] // pivot[column]) * p for x, p in zip(r, pivot, strict=True)] for r in live[1:]]
            live = [pivot] + [r for r in reduced if r[column]]
            rest += [r for r in reduced if not r[column] and any(r)]
        if live:
            basis.append(live[0])
        rows = rest
    return basis


def inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Exact inverse of a 3 x 3 matrix by cofactors."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    rows = [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    return [[Fraction(x) / det for x in row] for row in rows]


def dual(basis: list[list[Fraction]]) -> list[list[Fraction]]:
    """Rows of the reciprocal basis (without 2 pi) of a basis given as rows."""
    inv = inverse(basis)
    return [[inv[k][j] for k in range(3)] for j in range(3)]


def union(first: list[list[Fraction]], second: list[list[Fraction]]) -> list[list[Fraction]]:
    """Basis of the lattice that two rational lattices (rows) span together."""
    common = math.lcm(*(Fraction(x).denominator for row in (*first, *second) for x in row))
    vectors = [tuple(int(x * common) for x in row) for row in (*first, *second)]
    return [[Fraction(x, common) for x in row] for row in hermite(vectors)]


def determinant(basis: list[list[Fraction]]) -> Fraction:
    (a, b, c), (d, e, f), (g, h, i) = basis
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def gauss_reduced(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shortest basis of the plane lattice of two integer vectors, the shorter first."""
    u, v = u.astype(object), v.astype(object)
    while True:
        if u @ u > v @ v:
            u, v = v, u
        k = round(Fraction(int(u @ v), int(u @ u)))
        if not k:
            return u.astype(int), v.astype(int)
        v = v - k * u


def plane_basis(basis: np.ndarray, plane: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two shortest vectors of the integer lattice (rows of `basis`) in the plane, and one that leads one plane up."""
    heights = [int(row @ np.array(plane)) for row in basis]
    rows = [(h, *(int(x) for x in row)) for h, row in zip(heights, basis, strict=True)]
    first, *others = hermite(rows)  # echelon form: only the first row leaves the plane
    u, v = gauss_reduced(*(np.array(r[1:]) for r in others))
    up = np.array(first[1:]) * (1 if first[0] > 0 else -1)
    for _ in range(4):  # shortest representative
        for w in (u, v):
            up = up - int(np.rint(up @ w / (w @ w))) * w
    return u, v, up


# -- coincidence of two orientations -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coincidence:
    """A rotation of a cubic lattice with its CSL and DSC bases, rows in units of the lattice constant."""

    sigma: int
    angle: float  # degrees
    axis: tuple[int, int, int]
    rotation: tuple[tuple[Fraction, ...], ...]
    csl: tuple[tuple[Fraction, ...], ...]
    dsc: tuple[tuple[Fraction, ...], ...]

    @property
    def matrix(self) -> np.ndarray:
        return np.array([[float(x) for x in row] for row in self.rotation])


def rational_rotation(quaternion: tuple[int, int, int, int]) -> list[list[Fraction]]:
    """Rotation matrix of an integer quaternion (m, x, y, z), exact."""
    m, x, y, z = quaternion
    n = m * m + x * x + y * y + z * z
    rows = [
        [m * m + x * x - y * y - z * z, 2 * (x * y - m * z), 2 * (x * z + m * y)],
        [2 * (x * y + m * z), m * m - x * x + y * y - z * z, 2 * (y * z - m * x)],
        [2 * (x * z - m * y), 2 * (y * z + m * x), m * m - x * x - y * y + z * z],
    ]
    return [[Fraction(v, n) for v in row] for row in rows]


def odd_part(n: int) -> int:
    while n and n % 2 == 0:
        n //= 2
    return n


def quaternion_of(axis: tuple[int, int, int], sigma: int) -> tuple[int, int, int, int]:
    """Integer quaternion of the smallest rotation about `axis` with this Sigma. Errors: OptionError."""
    axis = primitive(axis)
    square = sum(x * x for x in axis)
    found = []
    for total in (sigma, 2 * sigma, 4 * sigma):
        for n in range(1, math.isqrt(total // square) + 1):
            m = math.isqrt(total - square * n * n)
            if m * m + square * n * n == total and math.gcd(m, n) == 1:
                angle = 2 * math.atan2(n * square**0.5, m)
                found.append((angle, (m, *(n * x for x in axis))))
    if not found:
        direction = "".join(map(str, axis))
        raise OptionError(f"no rotation about [{direction}] has Sigma {sigma}; possible: {_possible(axis)}")
    return min(found)[1]


def _possible(axis: tuple[int, int, int]) -> str:
    square = sum(x * x for x in axis)
    pairs = [(m, n) for n in range(1, 8) for m in range(0, 16) if math.gcd(m, n) == 1]
    values = sorted({odd_part(m * m + square * n * n) for m, n in pairs} - {1})
    return ", ".join(map(str, values[:10])) + " ..."


def primitive(v: tuple[int, ...]) -> tuple[int, ...]:
    g = math.gcd(*v)
    if not g:
        raise OptionError("a direction or plane 000 does not exist")
    return tuple(x // g for x in v)


def coincidence(lattice: str, axis: tuple[int, int, int], sigma: int) -> Coincidence:
    """CSL and DSC of the smallest rotation about `axis` with this Sigma, for "sc", "fcc" or "bcc".

    Errors: OptionError for a lattice that is not cubic, an even or too large Sigma, or one that the axis does not
    have.
    """
    if lattice not in LATTICES:
        raise OptionError(f"no coincidence lattice of {lattice!r}: only {', '.join(LATTICES)} have rational rotations")
    if sigma < 1 or sigma % 2 == 0 or sigma > LARGEST_SIGMA:
        raise OptionError(f"Sigma {sigma} of a cubic lattice is odd and between 1 and {LARGEST_SIGMA}")
    quaternion = quaternion_of(axis, sigma) if sigma > 1 else (1, 0, 0, 0)
    m, *xyz = quaternion
    angle = math.degrees(2 * math.atan2(math.sqrt(sum(x * x for x in xyz)), m))
    rotation = rational_rotation(quaternion)
    basis = [[Fraction(x, 2) for x in row] for row in LATTICES[lattice]]
    csl, dsc = csl_dsc(basis, rotation)
    frozen = [tuple(tuple(row) for row in rows) for rows in (rotation, csl, dsc)]
    return Coincidence(sigma, angle, primitive(axis), *frozen)


def csl_dsc(basis: list[list[Fraction]], rotation: list[list[Fraction]]) -> tuple[list, list]:
    """CSL and DSC (rows) of the lattice with this basis (rows) and the rotated one."""

    def turned(rows):
        return [[sum(rotation[i][j] * row[j] for j in range(3)) for i in range(3)] for row in rows]

    star = dual(basis)
    return dual(union(star, turned(star))), union(basis, turned(basis))


# -- boundaries --------------------------------------------------------------------------------------------------------

LABEL = re.compile(r"\s*S(\d+)\s*\[([^\]]+)\]\s*(?:\(([^)]+)\)|(twist))\s*$")


@dataclass(frozen=True)
class Boundary:
    """A symmetric tilt boundary "S5 [001] (210)" or a twist boundary "S5 [001] twist"."""

    label: str
    sigma: int
    axis: tuple[int, int, int]
    plane: tuple[int, int, int]
    twist: bool

    @property
    def name(self) -> str:
        """The label as part of a value's name: S5_001_210."""
        axis, plane = ("".join(map(str, v)) for v in (self.axis, self.plane))
        return f"S{self.sigma}_{axis}_{'twist' if self.twist else plane}"


def parse_boundary(text: str) -> Boundary:
    """Boundary of a label; Sigma, axis and plane are checked against each other. Errors: OptionError."""
    match = LABEL.match(text)
    if not match:
        raise OptionError(f"{text!r} is no boundary; expected 'S5 [001] (210)' (symmetric tilt) or 'S5 [001] twist'")
    sigma, axis = int(match[1]), _indices(match[2], text)
    if match[4]:
        quaternion_of(axis, sigma)
        return Boundary(text.strip(), sigma, axis, axis, True)
    plane = _indices(match[3], text)
    if sum(x * y for x, y in zip(axis, plane, strict=True)):
        raise OptionError(f"{text!r}: the axis of a tilt boundary lies in its plane")
    own = odd_part(sum(x * x for x in plane))
    if own != sigma:
        raise OptionError(f"{text!r}: the symmetric tilt boundary on this plane has Sigma {own}")
    return Boundary(text.strip(), sigma, axis, plane, False)


def _indices(text: str, label: str) -> tuple[int, int, int]:
    found = re.findall(r"-?\d+", text) if re.search(r"[\s,]", text.strip()) else re.findall(r"-?\d", text)
    if len(found) != 3:
        raise OptionError(f"{label!r}: {text!r} is no triple of indices; write '112', '1-10' or '10 1 0'")
    return primitive(tuple(int(x) for x in found))
