"""Guessed energies at distances below those of the training data, so that atoms repel each other there.

Radial functions below the shortest distance of the data are not fixed by them. Three kinds of structures are made: some
of the training set scaled down as a whole (`Compression`, shared with SNAP fits); some with an atom pushed along the
line to its nearest neighbour, from distance d0 to d; and two atoms alone at distance d:

    E(pushed) = E(structure) + phi(d) - phi(d0),   E(two) = e_1 + e_2 + phi(d)

with the universal repulsion phi of Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter (1985). It
enters with a tolerance of a third of the growth plus 1 eV, and all guesses with a small weight: they decide sign and
rough size of what the data leave open, and little within the data.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from ..core.errors import OptionError
from ..core.pairs import find_pairs
from ..core.system import System
from ..core.universal import universal_repulsion
from .data import Dataset

GROUP = "guess"
STEPS = 12
"""Distances of contacts, evenly from just above min_dist to just below the shortest distance of the structures."""
TOLERANCE, FLOOR = 0.33, 1.0
"""Of the energy of a contact: relative to its growth, and in eV."""


@dataclass(frozen=True)
class Guess:
    """energy and tolerance in eV; bare: the energy is that beyond the lone atoms' energies e."""

    atoms: Atoms
    energy: float
    tolerance: float
    bare: bool = False


def guesses(
    data: Dataset, compression: Mapping[str, Any] | None, contact_count: int, low: float, seed: int
) -> list[Guess]:
    """All guesses; none for distances below `low` (A). Raises OptionError for an unknown field of `compression`."""
    out: list[Guess] = []
    if compression is not None:
        from .compression import Compression

        try:
            made = Compression(**compression).guesses(data, seed)
        except TypeError as error:
            raise OptionError(f"compression: {error}") from error
        out += [Guess(a, e, t * len(a)) for a, e, t in made if _shortest(a, 4.0 * low)[2] >= low]
    if contact_count:
        out += [*contacts(data, contact_count, low, seed), *lone_pairs(data, low)]
    return out


def contacts(data: Dataset, count: int, low: float, seed: int) -> list[Guess]:
    """`count` structures, drawn evenly from all groups, with an atom pushed at its nearest neighbour: a third of the
    distances for each."""
    rng = np.random.default_rng([seed, 1])
    known = [k for k in range(len(data)) if np.isfinite(data.energies[k]) and len(data.structures[k]) > 1]
    order = sorted(rng.permutation(known).tolist(), key=lambda k: _turn(data, k, known))
    closest = [(k, *_shortest(data.structures[k], 6.0)) for k in order[:count]]
    found = [c for c in closest if np.isfinite(c[3])]
    if not found:
        return []
    distances = _distances(low, min(c[3] for c in found))
    out = []
    for n, (k, i, step, d0) in enumerate(found):
        atoms = data.structures[k]
        z1, z2 = atoms.numbers[i], atoms.numbers[int(step[3])]
        for d in distances[n % 3 :: 3]:
            copy = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            copy.positions[i] += step[:3] * (1.0 - d / d0)
            if _shortest(copy, 2.0 * low)[2] < low:  # of another pair
                continue
            growth = float(universal_repulsion(z1, z2, d) - universal_repulsion(z1, z2, d0))
            out.append(Guess(copy, float(data.energies[k]) + growth, TOLERANCE * growth + FLOOR))
    return out


def lone_pairs(data: Dataset, low: float) -> list[Guess]:
    """Two atoms alone, of every two elements, at the same distances."""
    shortest = min((_shortest(a, 6.0)[2] for a in data.structures[:: max(1, len(data) // 50)]), default=np.inf)
    out: list[Guess] = []
    if not np.isfinite(shortest):
        return out
    for first, second in itertools.combinations_with_replacement(data.elements, 2):
        for d in _distances(low, 0.9 * shortest):
            pair = Atoms([first, second], positions=[[0.0, 0.0, 0.0], [0.0, 0.0, d]])
            energy = float(universal_repulsion(*pair.numbers, d))
            out.append(Guess(pair, energy, TOLERANCE * energy + FLOOR, True))
    return out


def _distances(low: float, high: float) -> np.ndarray:
    return np.linspace(1.001 * low, 0.97 * high, STEPS) if 0.97 * high > 1.001 * low > 0 else np.zeros(0)


def _turn(data: Dataset, k: int, known: list[int]) -> int:
    """How many structures of the same group come before k: sorting by it takes the groups in turn."""
    return sum(1 for other in known if other < k and data.groups[other] == data.groups[k])


def _shortest(atoms: Atoms, reach: float) -> tuple[int, np.ndarray, float]:
    """Atom i of the closest pair, (x, y, z, j): the vector to its neighbour j and its index, and the distance."""
    system = System.from_atoms(atoms)
    pairs = find_pairs(system, reach)
    if pairs.n_pairs == 0:
        return 0, np.zeros(4), np.inf
    vectors = pairs.vectors(system)
    d = vectors.norm(dim=1)
    k = int(d.argmin())
    return int(pairs.i[k]), np.array([*vectors[k].tolist(), float(pairs.j[k])]), float(d[k])


def joined(data: Dataset, extra: list[Guess]) -> Dataset:
    """The data with the guessed structures behind them, in the group GROUP, with energies only."""
    if not extra:
        return data
    none = (None,) * len(extra)
    return Dataset(
        (*data.structures, *(g.atoms for g in extra)),
        np.concatenate([data.energies, [g.energy for g in extra]]),
        (*data.forces, *none),
        (*data.stresses, *none),
        (*data.groups, *(GROUP,) * len(extra)),
        data.name,
        data.sha256,
    )
