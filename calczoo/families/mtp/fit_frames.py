"""Training structures as flat arrays: what never changes while a potential is trained.

Rows of a structure with n atoms: 3 n forces (atom by atom, x y z), the energy, and the six sums of r (x) dU/dr, which
are stress times volume (xx yy zz yz xz xy): n_rows = 3 n + 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...core.elements import number
from ...core.pairs import find_pairs
from ...core.system import System
from ...fitting.data import Dataset

LANES = 8
BATCH = 64
"""Structures whose neighbours are searched at a time."""


@dataclass(frozen=True)
class Frames:
    """S structures, N atoms, neighbours in groups of eight.

    atoms (S + 1,): atoms of structure s are atoms[s]:atoms[s+1]; species (N,); groups (N + 1,): groups of each atom;
    vectors (3, 8 groups) A; neighbour (8 groups,): index within the structure; kind (8 groups,): species, -1 for the
    dummies that fill a group. targets: per structure (n_rows,), NaN where unknown; sizes: atoms per structure;
    volumes (S,) A^3; shortest: distance in A; names: groups of the data set.
    """

    atoms: torch.Tensor
    species: torch.Tensor
    groups: torch.Tensor
    vectors: torch.Tensor
    neighbour: torch.Tensor
    kind: torch.Tensor
    targets: tuple[np.ndarray, ...]
    volumes: np.ndarray
    names: tuple[str, ...]
    shortest: float

    @property
    def sizes(self) -> np.ndarray:
        return np.diff(self.atoms.numpy())

    @property
    def n_rows(self) -> np.ndarray:
        """(S,)"""
        return 3 * self.sizes + 7

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def of(cls, data: Dataset, elements: Sequence[str], cutoff: float) -> Frames:
        """Neighbours within `cutoff` (A) of every atom. Raises the errors of structures and of the neighbour search."""
        index = np.full(120, -1)
        index[[number(e) for e in elements]] = np.arange(len(elements))
        parts: list[tuple] = []
        for start in range(0, len(data), BATCH):
            parts.append(_batch(data.subset(range(start, min(len(data), start + BATCH))), index, cutoff))
        counts, vectors, neighbour, kind, shortest = zip(*parts, strict=True)
        groups = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cat(counts).cumsum(0)])
        sizes = [len(a) for a in data.structures]
        return cls(
            atoms=torch.tensor([0, *np.cumsum(sizes).tolist()], dtype=torch.int32),
            species=torch.from_numpy(np.concatenate([index[a.numbers] for a in data.structures]).astype(np.int32)),
            groups=groups.to(torch.int32),
            vectors=torch.cat(vectors, dim=1).contiguous(),
            neighbour=torch.cat(neighbour),
            kind=torch.cat(kind),
            targets=tuple(_targets(data, k) for k in range(len(data))),
            volumes=np.array([abs(np.linalg.det(a.cell.array)) for a in data.structures]),
            names=data.groups,
            shortest=min(shortest),
        )


def _batch(data: Dataset, index: np.ndarray, cutoff: float) -> tuple:
    """Groups per atom, and the padded arrays of all pairs of some structures."""
    system = System.from_atoms(data.structures)
    pairs = find_pairs(system, cutoff)
    vectors = pairs.vectors(system)
    counts = (pairs.first[1:] - pairs.first[:-1]).long()
    groups = (counts + LANES - 1) // LANES
    begin = torch.cat([torch.zeros(1, dtype=torch.int64), groups.cumsum(0)])
    i = pairs.i.long()
    place = LANES * begin[i] + torch.arange(pairs.n_pairs) - pairs.first.long()[i]
    own = torch.arange(system.n_atoms) - torch.tensor(system.first)[system.system_index]
    size = int(LANES * begin[-1])
    flat = torch.zeros(3, size, dtype=torch.float64)
    flat[2] = cutoff
    flat[:, place] = vectors.T
    neighbour = own.repeat_interleave(LANES * groups).to(torch.int32)
    neighbour[place] = own[pairs.j.long()].to(torch.int32)
    kind = torch.full((size,), -1, dtype=torch.int32)
    kind[place] = torch.from_numpy(index.astype(np.int32))[system.numbers[pairs.j.long()]]
    shortest = float(vectors.norm(dim=1).min()) if pairs.n_pairs else float("inf")
    return groups, flat, neighbour, kind, shortest


def _targets(data: Dataset, k: int) -> np.ndarray:
    atoms, forces, stress = data.structures[k], data.forces[k], data.stresses[k]
    n = len(atoms)
    out = np.full(3 * n + 7, np.nan)
    out[3 * n] = data.energies[k]
    if forces is not None:
        out[: 3 * n] = np.ravel(forces)
    if stress is not None:
        out[3 * n + 1 :] = stress * atoms.get_volume()
    return out
