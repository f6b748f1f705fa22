"""Structures to compare engines on, where the user gives none: perturbed prototypes of the potential's elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms

from ..verify.lattice import find_lattice
from ..verify.structures import diamond, fcc, primitive_fcc, random_cluster, random_rotation

MOST = 4
"""Elements of a model that knows many: its first ones."""
SHORTEST, FELT = 0.6, 1e-2
"""A and eV/atom: how far atoms are brought together until a purely repulsive potential has an energy."""


def default_structures(
    energies: Callable[[Sequence[Atoms]], Sequence[float]], elements: Sequence[str], seed: int = 0
) -> list[Atoms]:
    """Of each element, and of their mixture: distorted fcc crystals (a small cell, a strained one of 108 atoms, a dense
    one, one in a rotated left-handed cell), diamond, a slab and a free cluster; at the potential's own distances.

    energies: (structures) -> eV each, of the potential. Fixed by the seed.
    """
    rng = np.random.default_rng(seed)
    chosen = list(elements)[:MOST]
    groups = [[e] for e in chosen] + ([chosen] if len(chosen) > 1 else [])
    out = []
    for species in groups:
        d = _distance(energies, species, rng)
        out += [
            _named(fcc(species, d, rng), "fcc"),
            _named(fcc(species, d, rng, (3, 3, 3), strain=0.03), "fcc, strained"),
            _named(fcc(species, 0.88 * d, rng), "fcc, dense"),
            _named(_left_handed(fcc(species, d, rng, (2, 1, 1), strain=0.05), rng), "fcc, left-handed cell"),
            _named(diamond(species, 0.95 * d, rng, 0.05), "diamond"),
            _named(_slab(fcc(species, d, rng, (2, 2, 2)), d), "slab"),
            _named(random_cluster((species * 13)[:13], d, rng), "cluster"),
        ]
    return out


def _distance(
    energies: Callable[[Sequence[Atoms]], Sequence[float]], species: Sequence[str], rng: np.random.Generator
) -> float:
    """Nearest-neighbour distance (A) with the lowest energy of fcc; where there is none, as in a repulsion of nuclei,
    one that is near enough for an energy."""
    seed = int(rng.integers(1 << 30)) if len(species) > 1 else 0

    def energy(d: float) -> float:
        if len(species) == 1:
            return float(energies([primitive_fcc(species[0], d)])[0])
        return float(energies([fcc(species, d, np.random.default_rng(seed), shake=0.0)])[0]) / 4.0

    lattice = find_lattice(energy, species)
    d = lattice.d
    while not lattice.found and d > SHORTEST and abs(energy(d)) < FELT:
        d *= 0.9
    return d


def _named(atoms: Atoms, name: str) -> Atoms:
    atoms.info["name"] = f"{atoms.get_chemical_formula()} {name}"
    return atoms


def _left_handed(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Rotated at random, with two cell vectors exchanged."""
    turn = random_rotation(rng)
    return Atoms(atoms.numbers, positions=atoms.positions @ turn, cell=(atoms.cell.array @ turn)[[1, 0, 2]], pbc=True)


def _slab(atoms: Atoms, d: float) -> Atoms:
    """Two directions stay periodic."""
    cell = atoms.cell.array.copy()
    cell[2] *= 1.0 + 4.0 * d / np.linalg.norm(cell[2])
    return Atoms(atoms.numbers, positions=atoms.positions, cell=cell, pbc=(True, True, False))
