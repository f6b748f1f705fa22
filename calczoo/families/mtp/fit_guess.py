"""Guessed energies at distances below those of the training data, so that atoms repel each other there.

Radial functions below the shortest distance of the data are not fixed by them. Two kinds of structures are made from
the training set: some scaled down as a whole (`Compression`, shared with SNAP fits), and some in which one atom is
pushed along the line to its nearest neighbour, from distance d0 to d:

    E(pushed) = E(structure) + phi(d) - phi(d0),   phi(r) = k Z1 Z2 / r sum_m c_m exp(-b_m r / a)

with the universal repulsion phi of Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter (1985). It
enters with a tolerance of a third of the growth plus 1 eV: it decides the sign and rough size, and little within the
data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from ...core.errors import OptionError
from ...core.pairs import find_pairs
from ...core.system import System
from ...core.universal import universal_repulsion
from ...fitting.data import Dataset

GROUP = "guess"
FRACTIONS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
"""Distances of contacts, in units of the shortest distance of the data."""
TOLERANCE, FLOOR = 0.33, 1.0
"""Of the energy of a contact: relative to its growth, and in eV."""

Guess = tuple[Atoms, float, float]
"""Structure, energy in eV, tolerance in eV."""


def guesses(
    data: Dataset, compression: Mapping[str, Any] | None, contact_count: int, low: float, seed: int
) -> list[Guess]:
    """All guesses; none for distances below `low` (A). Raises OptionError for an unknown field of `compression`."""
    out: list[Guess] = []
    if compression is not None:
        from ...fitting.compression import Compression

        try:
            made = Compression(**compression).guesses(data, seed)
        except TypeError as error:
            raise OptionError(f"compression: {error}") from error
        out += [(a, e, t * len(a)) for a, e, t in made if _shortest(a, 4.0 * low)[2] >= low]
    return out + contacts(data, contact_count, low, seed)


def contacts(data: Dataset, count: int, low: float, seed: int) -> list[Guess]:
    """`count` structures, drawn evenly from all groups, with an atom pushed at its nearest neighbour."""
    rng = np.random.default_rng([seed, 1])
    known = [k for k in range(len(data)) if np.isfinite(data.energies[k]) and len(data.structures[k]) > 1]
    order = sorted(rng.permutation(known).tolist(), key=lambda k: _turn(data, k, known))
    found = [(k, _shortest(data.structures[k], 6.0)) for k in order[:count]]
    if not found:
        return []
    least = min(nearest[2] for _, nearest in found)
    out = []
    for n, (k, (i, step, d0)) in enumerate(found):
        if not np.isfinite(d0):
            continue
        atoms, partner = data.structures[k], step[3:]
        z1, z2 = atoms.numbers[i], atoms.numbers[int(partner[0])]
        for fraction in FRACTIONS[n % 2 :: 2]:
            d = fraction * least
            if d < low:
                continue
            copy = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            copy.positions[i] += step[:3] * (1.0 - d / d0)
            if _shortest(copy, 2.0 * low)[2] < low:  # of another pair
                continue
            growth = float(universal_repulsion(z1, z2, d) - universal_repulsion(z1, z2, d0))
            out.append((copy, float(data.energies[k]) + growth, TOLERANCE * growth + FLOOR))
    return out


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
        (*data.structures, *(a for a, _, _ in extra)),
        np.concatenate([data.energies, [e for _, e, _ in extra]]),
        (*data.forces, *none),
        (*data.stresses, *none),
        (*data.groups, *(GROUP,) * len(extra)),
        data.name,
        data.sha256,
    )
