"""Atomic cells for dislocations in cubic elements: which kinds there are, cylinders around a line, faulted crystals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from .cores import Field, Stroh
from .csl import LATTICES, STRUCTURES, plane_basis

KICK = 0.05  # A, breaks the symmetry of unreconstructed diamond cores


@dataclass(frozen=True)
class Geometry:
    """One kind of dislocation in units of the lattice constant.

    axes: rows x (glide), y (plane normal), z (line);  burgers: 2 b;  partials: 6 times the two Shockley vectors;
    height: of the glide plane above an atom, along y
    """

    structure: str
    name: str
    title: str
    axes: tuple[tuple[int, int, int], ...]
    burgers: tuple[int, int, int]
    heights: tuple[float, ...]
    partials: tuple[tuple[int, int, int], ...] = ()
    periods: int = 1

    @property
    def frame(self) -> np.ndarray:
        rows = np.array(self.axes, float)
        return rows / np.linalg.norm(rows, axis=1)[:, None]

    def vector(self, a: float) -> np.ndarray:
        """Burgers vector in A in the dislocation's frame."""
        return self.frame @ np.array(self.burgers) * a / 2

    def shockley(self, a: float) -> list[np.ndarray]:
        return [self.frame @ np.array(p) * a / 6 for p in self.partials]

    def period(self, a: float) -> float:
        """Length of the cell along the line (A)."""
        basis = np.array(LATTICES[STRUCTURES[self.structure][0]])
        direction = np.array(self.axes[2])
        for k in (1, 2):  # half a lattice vector of the cubic cell may be a vector of the centred lattice
            vector = k * direction
            if np.allclose(np.linalg.solve(basis.T, vector) % 1, 0):
                return float(np.linalg.norm(vector)) * a / 2 * self.periods
        raise ValueError(f"no lattice vector along {self.axes[2]}")


# heights of the glide plane: half way between two planes, in the narrow (glide) or wide (shuffle) gap of diamond
_FCC = (3**-0.5 / 2,)
_GLIDE, _SHUFFLE = (3**0.5 / 4 + 3**-0.5) / 2, 3**0.5 / 8
_SPLIT = ((2, -1, -1), (1, -2, 1))
GEOMETRIES = (
    Geometry("bcc", "screw", "1/2<111> screw", ((1, 1, -2), (-1, 1, 0), (1, 1, 1)), (1, 1, 1), (0.0,)),
    Geometry("bcc", "edge110", "1/2<111>{110} edge", ((1, 1, 1), (1, -1, 0), (1, 1, -2)), (1, 1, 1), (8**-0.5,)),
    Geometry("bcc", "edge112", "1/2<111>{112} edge", ((1, 1, -1), (1, 1, 2), (1, -1, 0)), (1, 1, -1), (24**-0.5,)),
    Geometry("fcc", "screw", "1/2<110> screw", ((1, 1, -2), (1, 1, 1), (1, -1, 0)), (1, -1, 0), _FCC, _SPLIT),
    Geometry("fcc", "edge", "1/2<110>{111} edge", ((1, -1, 0), (1, 1, 1), (-1, -1, 2)), (1, -1, 0), _FCC, _SPLIT),
    Geometry(
        "diamond", "screw", "1/2<110> screw", ((1, 1, -2), (1, 1, 1), (1, -1, 0)), (1, -1, 0), (_GLIDE, _SHUFFLE),
        _SPLIT, 2,
    ),
    Geometry(
        "diamond", "glide60", "1/2<110>{111} 60 degree, glide set", ((1, 1, -2), (1, 1, 1), (1, -1, 0)), (1, 0, -1),
        (_GLIDE,), ((2, -1, -1), (1, 1, -2)), 2,
    ),
)  # fmt: skip


def cylinder(geometry: Geometry, a: float, symbol: str, origin: np.ndarray, radius: float, gap: float) -> Atoms:
    """Perfect crystal within `radius` (A) of the line x = y = 0, periodic along z, `gap` (A) of vacuum around it.

    origin (2,): the point (x, y) of the crystal, relative to an atom, that lies on the line. Positions are relative
    to the line; the cell is centred on it. Tags number the sublattices.
    """
    frame, period = geometry.frame, geometry.period(a)
    basis = np.array(LATTICES[STRUCTURES[geometry.structure][0]]) @ frame.T * a / 2
    inner = np.zeros((1, 3))
    if geometry.structure == "diamond":
        inner = np.array([(0, 0, 0), (1, 1, 1)]) @ frame.T * a / 4
    # Bounds of the integer coordinates of a box around the cylinder.
    reach = np.array([radius + abs(origin[0]) + a, radius + abs(origin[1]) + a, period + a])
    bound = np.ceil(np.abs(np.linalg.inv(basis)).T @ reach).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-k, k + 1) for k in bound), indexing="ij"), -1).reshape(-1, 3)
    points = ((grid @ basis)[:, None, :] + inner).reshape(-1, 3)
    tags = np.tile(np.arange(len(inner)), len(grid))
    points[:, :2] -= origin
    inside = (points[:, 2] > -1e-6) & (points[:, 2] < period - 1e-6) & (np.hypot(*points[:, :2].T) < radius)
    points, tags = points[inside], tags[inside]
    order = np.lexsort(np.round(points, 6).T)
    width = 2 * (radius + gap)
    return Atoms([symbol] * len(points), points[order], cell=[width, width, period], pbc=True, tags=tags[order])


def centred(atoms: Atoms) -> Atoms:
    """A copy whose line runs through the middle of its cell."""
    out = atoms.copy()
    out.positions[:, :2] += atoms.cell.lengths()[:2] / 2
    return out


def strained_probe(perfect: Atoms) -> Atoms:
    """A cylinder under a small uniform strain without symmetry, in which every pair of atoms exerts a force."""
    out = centred(perfect)
    strain = np.array([[0.010, 0.004, 0.003], [0.004, -0.006, 0.002], [0.003, 0.002, -0.008]])
    out.set_cell(out.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return out


def interaction_range(forces: np.ndarray, perfect: Atoms, radius: float, limit: float) -> float:
    """Depth (A) below the free surface of the innermost atom whose force differs by `limit` from those on the axis.

    In a uniformly strained crystal all atoms of a sublattice feel the same force, so what differs comes from the
    surface.
    """
    r = np.hypot(*perfect.positions[:, :2].T)
    off = forces.copy()
    for tag in set(perfect.get_tags().tolist()):
        same = perfect.get_tags() == tag
        off[same] -= forces[same & (r <= r[same].min() + 1e-3)].mean(axis=0)
    felt = np.linalg.norm(off, axis=1) > limit
    return float((radius - r[felt]).max(initial=0.0))


def fault_cell(geometry: Geometry, a: float, symbol: str, slip: tuple[int, ...] | None, planes: int) -> Atoms:
    """`planes` planes parallel to the glide plane, the periodic image slipped by `slip` / 6: one fault per cell."""
    basis = np.array(LATTICES[STRUCTURES[geometry.structure][0]])
    normal = geometry.axes[1]
    u, v, up = plane_basis(basis, normal)
    x = u / np.linalg.norm(u)
    z = np.array(normal) / np.linalg.norm(normal)
    frame = np.array([x, np.cross(z, x), z])
    u, v, up = (w @ frame.T * a / 2 for w in (u, v, up))
    points = np.arange(planes)[:, None] * up
    if (
        geometry.structure == "diamond"
    ):  # the bond across the wide gap stays within a layer: the fault is of the glide set
        bond = frame @ np.array([1, 1, 1]) * a / 4
        points = np.concatenate([points, points + bond])
    last = planes * up + (0.0 if slip is None else frame @ np.array(slip) * a / 6)
    last = last - np.array([*_nearest_plane_vector(last[:2], u, v), 0.0])
    if np.linalg.det([u, v, last]) < 0:
        v = -v
    return Atoms([symbol] * len(points), points, cell=[u, v, last], pbc=True)


def _nearest_plane_vector(xy: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Vector of the plane lattice next to a point: keeps the cell compact."""
    plane = np.array([u[:2], v[:2]])
    return np.rint(xy @ np.linalg.inv(plane)) @ plane


# -- starts ------------------------------------------------------------------------------------------------------------


@dataclass
class Start:
    """One starting core: field that holds the ring, field of the inner atoms, point of the crystal on the line."""

    name: str
    origin: np.ndarray
    ring: Field
    inner: Field
    kick: int = 0


def pair_of_partials(parts: list[Stroh], distance: float) -> Field:
    return Field([(parts[0], -distance / 2), (parts[1], distance / 2)])


def starting_cores(
    geometry: Geometry, a: float, c: np.ndarray, parts: list[Stroh], apart: float, n: int
) -> list[Start]:
    """Cores to start from: `n` positions along x, or `n` splittings in the ring of partials `apart` (A) away.

    The bcc screw starts on the three kinds of places its line may have; diamond on its glide and shuffle planes, with
    random kicks so that bonds along the line may pair up.
    """
    whole, heights = Field([(Stroh(c, geometry.vector(a)), 0.0)]), [h * a for h in geometry.heights]
    if geometry.structure == "bcc" and geometry.name == "screw":
        x, y = a * 6**0.5 / 6, a * 2**0.5 / 6
        places = {"easy": (x, y), "hard": (x, -y), "split": (0.04 * a, 0.02 * a)}
        return [Start(k, np.array(v), whole, whole) for k, v in places.items()][: max(2, n)]
    if geometry.structure == "bcc":
        b = float(np.linalg.norm(geometry.vector(a)))
        return [Start(f"x{k}", np.array([(k + 0.5) * b / n / 2, heights[0]]), whole, whole) for k in range(n)]
    kicks = range(1, max(2, n)) if geometry.structure == "diamond" else (0,)
    origins, out = [np.array([0.1 * a, h]) for h in heights], []
    if parts:
        ring = pair_of_partials(parts, apart)
        for f in [1.0, 0.5, 0.0, 0.75, 0.25, 1.25][:n]:
            inner = pair_of_partials(parts, f * apart) if f else whole
            out += [Start(f"split {f:g}", origins[0], ring, inner, k) for k in kicks]
        origins = origins[1:]
    return out + [Start("compact", o, whole, whole, k) for o in origins for k in kicks]


def displaced(perfect: Atoms, start: Start, radius: float, seed: int) -> Atoms:
    """The cylinder with the start's displacements; atoms beyond `radius` are marked in the array "frozen"."""
    atoms = centred(perfect)
    xy = perfect.positions[:, :2]
    frozen = np.hypot(*xy.T) > radius
    atoms.positions += np.where(frozen[:, None], start.ring.displacement(xy), start.inner.displacement(xy))
    if start.kick:
        rng = np.random.default_rng(seed + start.kick)
        near = (np.hypot(*xy.T) < 8.0) & ~frozen
        atoms.positions += rng.normal(scale=KICK, size=(len(atoms), 3)) * near[:, None]
    atoms.new_array("frozen", frozen)
    return atoms
