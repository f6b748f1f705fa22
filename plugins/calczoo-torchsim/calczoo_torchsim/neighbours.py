"""The neighbour list of a batch while its structures move: kept with a skin, each structure searched anew on its own.

With x0, C0 (rows) the positions and cell that a structure's list was made for, a pair vector is now

    r' = r F + d_j - d_i,     F = C0^-1 C,  d = x - x0 F,     so |r'| < cutoff was |r| < |F^-1| (cutoff + 2 max |d|)

and a list made up to cutoff + skin holds while the right side is no larger than that. TorchSim wraps atoms into the
cell at every step of dynamics and takes structures out of a batch, or puts them in, during a relaxation: atoms are put
back to the image next to x0, so that a wrap is no move, and structures are found again wherever they are in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from calczoo.core.errors import StructureError
from calczoo.core.kept import check_close
from calczoo.core.pairs import MIN_DISTANCE, Pairs, find_pairs, no_pairs
from calczoo.core.system import System

from .joined import Cut, join_pairs, subsystem
from .state import check_geometry

_PROBES = 8
"""Atoms of a structure that tell which one of an earlier batch it was."""


@dataclass(frozen=True)
class Start:
    """Positions and cells that the lists were made for; rows of `fractional` are x0 C0^-1 where `full`, periodic in all
    directions, else zero."""

    first: tuple[int, ...]
    pbc: torch.Tensor
    full: torch.Tensor
    positions: torch.Tensor
    fractional: torch.Tensor
    cell: torch.Tensor

    @classmethod
    def of(cls, system: System) -> Start:
        """A copy: TorchSim changes some of its tensors in place."""
        full = system.pbc.all(dim=1)
        fractional = _times(system.positions, _inverse(system.cell, full), system.system_index)
        fractional = fractional * full[system.system_index, None]
        return cls(system.first, system.pbc, full, system.positions.clone(), fractional, system.cell.clone())

    def take(self, order: Sequence[int], first: tuple[int, ...]) -> Start:
        """The structures `order` as a batch of layout `first`; those of number -1 are NaN, which nothing is near to."""
        device, n = self.positions.device, len(self.positions)
        atoms = [
            np.arange(self.first[k], self.first[k + 1]) if k >= 0 else np.full(b - a, n)
            for k, a, b in zip(order, first[:-1], first[1:], strict=True)
        ]
        rows = torch.from_numpy(np.concatenate(atoms)).to(device)
        systems = torch.tensor([max(k, 0) for k in order], dtype=torch.int64, device=device)
        blank = self.positions.new_full((1, 3), torch.nan)
        return Start(
            first, self.pbc[systems], self.full[systems], torch.cat([self.positions, blank])[rows],
            torch.cat([self.fractional, blank])[rows], self.cell[systems],
        )  # fmt: skip


class Neighbours:
    """`update(system)` gives the pairs within `cutoff`, and some more, with the system that they belong to.

    searches: number of structures whose neighbours were searched for, over all calls.
    """

    def __init__(self, cutoff: float, skin: float, max_memory_gib: float | None = None):
        self.cutoff, self.skin, self.max_memory_gib = cutoff, skin, max_memory_gib
        self.searches = 0
        self._kept: tuple[Start, Pairs] | None = None
        self._close = torch.zeros(0, dtype=torch.int64)

    def update(self, system: System) -> tuple[System, Pairs]:
        """The system, with its atoms next to where they were, and its pairs.

        Raises InvalidStructure, InvalidCell, AtomsOverlap, TooLarge, each naming the structure.
        """
        if self.cutoff <= 0.0:  # a foreign code, which has its own list
            check_geometry(system)
            return system, no_pairs(system)
        n = system.n_systems
        if self._kept is None or self._kept[0].first == (0,):
            return self._renew(system, system, None, [-1] * n, np.zeros(n, dtype=bool))
        start, pairs = self._kept
        same = start.first == system.first and torch.equal(start.pbc, system.pbc)
        order = range(n) if same else nearest(start, system)
        if not same:
            start = start.take(order, system.first)
        moved, bound = moves(start, system, self.cutoff)
        good = bound <= self.skin  # NaN is not
        if same and bool(good.all()):
            self._check_overlap(moved, pairs)
            return moved, pairs
        return self._renew(system, moved, start, order, good.cpu().numpy() & (np.asarray(order) >= 0))

    def _renew(
        self, system: System, moved: System, start: Start | None, order: Sequence[int], good: np.ndarray
    ) -> tuple[System, Pairs]:
        """New lists for the structures that are not `good`, the old ones (numbers `order` there) for the others."""
        old, self._kept = self._kept, None  # nothing stale is left behind should the search raise
        bad = np.flatnonzero(~good).tolist()
        check_geometry(system, bad)
        fresh = self._search(system, bad) if bad else None
        self.searches += len(bad)
        if good.any() and old is not None and start is not None:
            kept, rank = Cut(old[1], old[0].first), {s: k for k, s in enumerate(bad)}
            new = None if fresh is None else Cut(fresh, subsystem(system, bad).first)
            blocks = [(kept, order[s]) if good[s] or new is None else (new, rank[s]) for s in range(len(good))]
            pairs = join_pairs(system.first, blocks)
            system, begin = _mixed(system, moved, start, torch.from_numpy(good).to(system.positions.device))
        else:
            pairs, begin = fresh if fresh is not None else no_pairs(system), Start.of(system)
        # since its list was made, a pair may have become longer by a skin, and it may still become shorter by one
        near = pairs.vectors(system).norm(dim=1) < 2.0 * pairs.skin + MIN_DISTANCE
        self._close = torch.nonzero(near).flatten() if pairs.skin else near.new_zeros(0, dtype=torch.int64)
        self._check_overlap(system, pairs)
        self._kept = begin, pairs
        return system, pairs

    def _check_overlap(self, system: System, pairs: Pairs) -> None:
        """Raise AtomsOverlap where one of the pairs that could meet before the next search has."""
        if not len(self._close):
            return
        i, j, k = (t[self._close].long() for t in (pairs.i, pairs.j, pairs.shift_index))
        d = (system.positions[j] - system.positions[i] + pairs.shift_vectors(system)[k]).norm(dim=1)
        if bool((d < MIN_DISTANCE).any()):
            check_close(pairs, self._close.cpu().numpy(), system)

    def _search(self, system: System, which: Sequence[int]) -> Pairs:
        """Pairs of the structures `which`, as a batch of their own."""
        try:
            return find_pairs(subsystem(system, which), self.cutoff, self.skin, self.max_memory_gib)
        except StructureError:
            if 0 < len(which) < system.n_systems:  # the same error, with the structure's number in the whole batch
                find_pairs(system, self.cutoff, self.skin, self.max_memory_gib)
            raise


def moves(start: Start, system: System, cutoff: float) -> tuple[System, torch.Tensor]:
    """The system with its atoms in the images next to `start`, and (S,) the bound by which any of its pairs within the
    cutoff may have changed its length since then: the module docstring's right side less the cutoff."""
    index, cell = system.system_index, system.cell
    full = start.full & system.pbc.all(dim=1)
    inverse = _inverse(cell, full)
    images = (_times(system.positions, inverse, index) - start.fractional).round() * full[index, None]
    positions = system.positions - _times(images, cell, index)
    moved = replace(system, positions=positions)
    if torch.equal(cell, start.cell):
        return moved, 2.0 * _largest(positions - start.positions, system)
    eye = torch.eye(3, dtype=cell.dtype, device=cell.device)
    forward = torch.where(full[:, None, None], torch.linalg.inv_ex(start.cell)[0] @ cell, eye)
    back = torch.where(full[:, None, None], inverse @ start.cell, eye).abs()
    norm = (back.sum(dim=1).amax(dim=1) * back.sum(dim=2).amax(dim=1)).sqrt().clamp(min=1.0)  # of the 2-norm, a bound
    away = _largest(positions - _times(start.positions, forward, index), system)
    bound = norm * (cutoff + 2.0 * away) - cutoff
    other = ((cell != start.cell) & system.pbc[:, :, None]).any(dim=2).any(dim=1) & ~full
    return moved, torch.where(other, torch.inf, bound)


def nearest(start: Start, system: System) -> list[int]:
    """For each structure the one of `start`, of the same size and periodicity, whose first atoms are closest to its
    own; -1 where there is none."""
    old, new = _Host(start), _Host(Start.of(system))
    out = []
    for s in range(system.n_systems):
        alike = np.flatnonzero((old.sizes == new.sizes[s]) & (old.pbc == new.pbc[s]).all(axis=1))
        if not len(alike) or not new.sizes[s]:
            out.append(-1)
            continue
        step = old.fractional[alike] - new.fractional[s]
        wrapped = (step - np.round(step)) @ new.cell[s]
        free = old.positions[alike] - new.positions[s]
        away = np.where(new.pbc[s].all(), wrapped, free)
        out.append(int(alike[np.argmin((away**2).sum(axis=(1, 2)))]))
    return out


class _Host:
    """The first few atoms of each structure, in numpy."""

    def __init__(self, start: Start):
        first = np.array(start.first)
        self.sizes = np.diff(first)
        self.pbc = start.pbc.cpu().numpy()
        self.cell = start.cell.double().cpu().numpy()
        probes = np.minimum(first[:-1, None] + np.arange(_PROBES), np.maximum(first[1:, None] - 1, 0))
        rows = torch.from_numpy(probes).to(start.positions.device)
        self.positions = start.positions[rows].double().cpu().numpy()
        self.fractional = start.fractional[rows].double().cpu().numpy()


def _mixed(system: System, moved: System, start: Start, good: torch.Tensor) -> tuple[System, Start]:
    """`moved` and `start` for the good structures, the new system for the others."""
    fresh, atoms = Start.of(system), good[system.system_index, None]
    system = replace(system, positions=torch.where(atoms, moved.positions, system.positions))
    begin = Start(
        system.first, system.pbc, fresh.full, torch.where(atoms, start.positions, fresh.positions),
        torch.where(atoms, start.fractional, fresh.fractional),
        torch.where(good[:, None, None], start.cell, fresh.cell),
    )  # fmt: skip
    return system, begin


def _inverse(cell: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
    """(S, 3, 3), zero where not `full`; infinite or NaN for a cell without volume, whatever the device."""
    return torch.where(full[:, None, None], torch.linalg.inv_ex(cell)[0], torch.zeros_like(cell))


def _times(vectors: torch.Tensor, matrices: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """(N, 3): each row times the matrix of its structure."""
    return torch.bmm(vectors.unsqueeze(1), matrices[index]).squeeze(1)


def _largest(vectors: torch.Tensor, system: System) -> torch.Tensor:
    """(S,) length of the longest vector of each structure; NaN where one is NaN."""
    lengths = vectors.norm(dim=1)
    out = lengths.new_zeros(system.n_systems)
    return out.scatter_reduce(0, system.system_index, lengths, "amax")
