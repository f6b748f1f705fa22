"""Where an extra atom may sit: named places in fcc, bcc, diamond and hcp, Voronoi holes and dumbbells in any crystal.

A place is either a hole, given by its vector from an atom, or a dumbbell: the atom and the extra one share the site of
the atom, at +-d/2 along a direction. The holes of a crystal without a list of its own are the vertices of its Voronoi
cells, the points farthest from all atoms around, one of each orbit of the space group, largest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list
from scipy.spatial import Voronoi

from .defects import Site, distinct_sites, locate, nearest_distance
from .structures import Crystal, repeats
from .symmetry import Symmetry

SPLIT = 0.8  # length of a dumbbell at the start, of the nearest-neighbour distance
SAME = 0.05  # A, two Voronoi vertices nearer than this are one


@dataclass(frozen=True)
class Place:
    """One place for an extra atom. vector: from the atom to the hole (A), or the unit direction of a dumbbell."""

    name: str
    label: str
    atom: int
    vector: tuple[float, float, float]
    dumbbell: bool = False

    def occupy(self, host: Atoms, centre: np.ndarray, element: str, split: float) -> Atoms:
        """The supercell with the extra atom as its last one; `centre` is where the crystal's atom is."""
        out, vector = host.copy(), np.asarray(self.vector)
        if self.dumbbell:
            site = locate(host, centre)
            home = out.positions[site].copy()
            out.positions[site] = home - vector * split / 2
            extra = home + vector * split / 2
        else:
            extra = centre + vector
        return out + Atoms([element], [extra])


def structure_type(crystal: Crystal) -> str:
    """fcc, bcc, diamond or hcp for an elemental crystal of that structure, else ""."""
    if len(crystal.elements) > 1:
        return ""
    data, _ = _standard(crystal)
    kinds = {(225, 4): "fcc", (229, 2): "bcc", (227, 8): "diamond", (194, 2): "hcp"}
    return kinds.get((int(data.number), len(data.std_types)), "") if data is not None else ""


def conventional_axes(crystal: Crystal) -> np.ndarray:
    """(3, 3) rows: the axes of the standardised conventional cell in the crystal's own orientation (A)."""
    return _standard(crystal)[1]


def _standard(crystal: Crystal):
    atoms = crystal.atoms
    data = spglib.get_symmetry_dataset(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-4
    )  # fmt: skip
    if data is None:
        return None, atoms.cell.array
    return data, np.linalg.inv(data.transformation_matrix.T) @ atoms.cell.array


def places(crystal: Crystal, holes: int) -> list[Place]:
    """Named places of the known structures; else the largest Voronoi holes and dumbbells on every distinct site."""
    kind, axes = structure_type(crystal), conventional_axes(crystal)
    if kind in ("fcc", "bcc"):
        return _cubic(kind, axes)
    if kind == "diamond":
        return _diamond(crystal, axes)
    if kind == "hcp":
        return _hexagonal(crystal, axes)
    return voronoi_holes(crystal, holes) + dumbbells(crystal, distinct_sites(crystal), axes)


def _hole(name: str, label: str, vector, atom: int = 0) -> Place:
    return Place(name, label, atom, tuple(float(x) for x in vector))


def _dumbbell(name: str, label: str, vector, atom: int = 0) -> Place:
    unit = np.asarray(vector) / np.linalg.norm(vector)
    return Place(name, label, atom, tuple(float(x) for x in unit), dumbbell=True)


def _cubic(kind: str, axes: np.ndarray) -> list[Place]:
    split = [
        _dumbbell("dumbbell_" + "".join(map(str, uvw)), f"<{''.join(map(str, uvw))}> dumbbell", np.array(uvw) @ axes)
        for uvw in ((1, 0, 0), (1, 1, 0), (1, 1, 1))
    ]
    holes = {
        "fcc": (("octahedral", "", (0.5, 0, 0)), ("tetrahedral", "", (0.25, 0.25, 0.25)),
                ("crowdion", "<110> ", (0.25, 0.25, 0))),
        "bcc": (("octahedral", "", (0.5, 0, 0)), ("tetrahedral", "", (0.5, 0.25, 0)),
                ("crowdion", "<111> ", (0.25, 0.25, 0.25))),
    }[kind]  # fmt: skip
    return split + [_hole(name, text + name, np.array(at) @ axes) for name, text, at in holes]


def _bond(crystal: Crystal, atom: int = 0) -> np.ndarray:
    """Vector to one nearest neighbour, the same on every machine."""
    i, vector, d = neighbor_list("iDd", crystal.atoms, 1.05 * nearest_distance(crystal.atoms))
    mine = vector[i == atom]
    return mine[np.lexsort(np.round(mine, 5).T)[0]]


def _diamond(crystal: Crystal, axes: np.ndarray) -> list[Place]:
    bond = _bond(crystal)
    return [
        _hole("tetrahedral", "tetrahedral", -bond),
        _hole("hexagonal", "hexagonal", 2.5 * bond),
        _dumbbell("split_110", "<110> split", axes[0] + axes[1]),
        _dumbbell("split_100", "<100> split", axes[0]),
        _hole("bond_centred", "bond-centred", 0.5 * bond),
    ]


def _hexagonal(crystal: Crystal, axes: np.ndarray) -> list[Place]:
    """The eight usual places. A at the origin, B neighbours above at b + c/2, empty columns of the stacking at -b."""
    a, c = axes[0], axes[2]
    i, vector = neighbor_list("iD", crystal.atoms, 1.2 * np.linalg.norm(a))
    mine = vector[i == 0]
    up = c / np.linalg.norm(c)
    above = mine[mine @ up > 0.1 * np.linalg.norm(c)]
    nearest = above[np.lexsort(np.round(above, 5).T)[0]]
    b = nearest - (nearest @ up) * up
    return [
        _hole("octahedral", "octahedral (O)", c / 4 - b),
        _hole("tetrahedral", "tetrahedral (T)", 3 * c / 8),
        _hole("basal_octahedral", "basal octahedral (BO)", -b),
        _hole("basal_tetrahedral", "basal tetrahedral (BT)", c / 2),
        _hole("crowdion", "crowdion (C)", nearest / 2),
        _hole("basal_crowdion", "basal crowdion (BC)", a / 2),
        _dumbbell("split_c", "<0001> split (S)", c),
        _dumbbell("basal_split", "basal split (BS)", a),
    ]


# -- any crystal -------------------------------------------------------------------------------------------------------


def voronoi_holes(crystal: Crystal, number: int) -> list[Place]:
    """The largest distinct Voronoi vertices, named hole1, hole2 ..., with radius and coordination in the label."""
    atoms, symmetry = crystal.atoms, Symmetry(crystal.atoms)
    reach = 3.0 * (atoms.get_volume() / len(atoms)) ** (1 / 3) + np.linalg.norm(atoms.cell.array, axis=1).max()
    counts = 2 * np.array(repeats(atoms, reach)) + 1
    block = atoms.repeat(tuple(int(n) for n in counts))
    points = block.positions - (counts // 2) @ atoms.cell.array
    inverse = np.linalg.inv(atoms.cell.array)
    found: list[tuple[float, np.ndarray, int]] = []
    vertices = Voronoi(points).vertices
    scaled = vertices @ inverse
    inside = vertices[((scaled > -1e-6) & (scaled < 1 - 1e-6)).all(axis=1)]
    for vertex in inside[np.lexsort(np.round(inside @ inverse, 5).T)]:
        d = np.linalg.norm(points - vertex, axis=1)
        if any(abs(r - d.min()) < SAME and _equivalent(symmetry, atoms, vertex, w) for r, w, _ in found):
            continue
        found.append((float(d.min()), vertex, int((d < d.min() + 0.1).sum())))
    found.sort(key=lambda f: -round(f[0], 4))
    out = []
    for k, (radius, vertex, around) in enumerate(found[:number]):
        nearest = locate(atoms, vertex)
        vector = find_mic(vertex - atoms.positions[nearest], atoms.cell, pbc=True)[0]
        out.append(_hole(f"hole{k + 1}", f"hole {k + 1} ({around} atoms at {radius:.2f} A)", vector, nearest))
    return out


def _equivalent(symmetry: Symmetry, atoms: Atoms, one: np.ndarray, other: np.ndarray) -> bool:
    for rotation, images in zip(symmetry.rotations, symmetry.permutations, strict=True):
        moved = atoms.positions[images[0]] + rotation @ (one - atoms.positions[0])
        if find_mic(moved - other, atoms.cell, pbc=True)[1] < SAME:
            return True
    return False


def dumbbells(crystal: Crystal, sites: list[Site], axes: np.ndarray) -> list[Place]:
    """Dumbbells along short lattice directions and towards the nearest neighbour, distinct by the site's symmetry."""
    symmetry, out = Symmetry(crystal.atoms), []
    indices = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    if symmetry.number >= 195:
        indices = [(1, 0, 0), (1, 1, 0), (1, 1, 1)]
    for site in sites:
        own = symmetry.rotations[symmetry.permutations[:, site.atom] == site.atom]
        kept: list[np.ndarray] = []
        i, vector, d = neighbor_list("iDd", crystal.atoms, 3.0 * nearest_distance(crystal.atoms))
        here = i == site.atom
        mine = vector[here][np.lexsort((*np.round(vector[here], 5).T, np.round(d[here], 5)))]
        candidates = [("".join(map(str, n)), np.array(n) @ axes) for n in indices]
        candidates += [("neighbour", mine[0])] if len(mine) else []
        for name, direction in candidates:
            unit = direction / np.linalg.norm(direction)
            if any(np.abs(np.abs(own @ unit @ k) - 1).min() < 1e-4 for k in kept):
                continue
            kept.append(unit)
            text = "towards a neighbour" if name == "neighbour" else f"[{name}]"
            where = site.tag.replace("_", " ")
            out.append(_dumbbell(f"dumbbell{site.tag}_{name}", f"dumbbell{where} {text}", unit, site.atom))
    return out
