"""Configurations of the checks: all from a random generator that is given, so that a seed fixes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
DIAMOND = np.concatenate([FCC, FCC + 0.25])


def choose_species(species: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """n symbols in random order in which every species occurs as evenly as n allows."""
    order = [species[k] for k in rng.permutation(len(species))]
    symbols = [order[k % len(order)] for k in range(n)]
    return [symbols[k] for k in rng.permutation(n)]


def primitive_fcc(symbol: str, d: float) -> Atoms:
    """One atom per cell, nearest-neighbour distance d."""
    cell = d / 2**0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Atoms([symbol], positions=[[0, 0, 0]], cell=cell, pbc=True)


def fcc(
    species: Sequence[str],
    d: float,
    rng: np.random.Generator,
    repeat: tuple[int, int, int] = (1, 1, 1),
    shake: float = 0.06,
    strain: float = 0.0,
) -> Atoms:
    """Conventional fcc cells at nearest-neighbour distance d, species at random, distorted.

    Positions move by up to `shake` times d along each axis, the cell by up to `strain` in each component.
    """
    grid = np.array([(i, j, k) for i in range(repeat[0]) for j in range(repeat[1]) for k in range(repeat[2])])
    a = d * 2**0.5
    positions = a * (grid[:, None, :] + FCC[None, :, :]).reshape(-1, 3)
    symbols = choose_species(species, len(positions), rng)
    atoms = Atoms(symbols, positions=positions, cell=a * np.diag(repeat), pbc=True)
    atoms.positions += shake * d * rng.uniform(-1, 1, positions.shape)
    if strain:
        deform = np.eye(3) + strain * rng.uniform(-1, 1, (3, 3))
        atoms.set_cell(atoms.cell.array @ deform, scale_atoms=True)
    return atoms


def diamond(species: Sequence[str], d: float, rng: np.random.Generator, shake: float = 0.0) -> Atoms:
    """The conventional diamond cell at nearest-neighbour distance d, species at random, distorted as `fcc`."""
    a = d * 4 / 3**0.5
    atoms = Atoms(choose_species(species, 8, rng), positions=a * DIAMOND, cell=a * np.eye(3), pbc=True)
    atoms.positions += shake * d * rng.uniform(-1, 1, (8, 3))
    return atoms


def diamond_cluster(species: Sequence[str], d: float, rng: np.random.Generator, shake: float = 0.06) -> Atoms:
    """The eight atoms of one diamond cell as a free cluster, distorted."""
    positions = d * 4 / 3**0.5 * DIAMOND
    positions = positions + shake * d * rng.uniform(-1, 1, positions.shape)
    return Atoms(choose_species(species, len(positions), rng), positions=positions)


def random_cluster(symbols: Sequence[str], d: float, rng: np.random.Generator) -> Atoms:
    """A compact free cluster: atoms dropped at random, none closer than 0.85 d to another."""
    positions = [np.zeros(3)]
    radius = d
    while len(positions) < len(symbols):
        x = rng.uniform(-radius, radius, 3)
        if np.linalg.norm(np.array(positions) - x, axis=1).min() > 0.85 * d:
            positions.append(x)
        else:
            radius *= 1.01  # never gets stuck: the ball grows until there is room
    return Atoms(symbols, positions=positions)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A proper rotation matrix, uniform over all rotations."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def write_configurations(path: Path, frames: Sequence[tuple[str, Atoms]]) -> None:
    """Write extended XYZ with every digit (ASE's own writer keeps eight decimals); empty structures are left out."""
    lines = []
    for label, atoms in frames:
        if not len(atoms):
            continue
        lattice = " ".join(repr(float(x)) for x in atoms.cell.array.ravel())
        pbc = " ".join("FT"[int(p)] for p in atoms.pbc)
        lines.append(str(len(atoms)))
        lines.append(f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{pbc}" label="{label}"')
        for symbol, x in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True):
            lines.append(f"{symbol} " + " ".join(repr(float(v)) for v in x))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
