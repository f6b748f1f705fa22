"""Pairs: the directed neighbour list that all terms of a sum share.

Index letters: n atom, p directed pair, k distinct periodic shift (of one structure), s structure.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from vesin import NeighborList

from .errors import AtomsOverlap, InvalidStructure, TooLarge
from .pair_kernels import place_pairs
from .system import System

MIN_DISTANCE = 1e-3
"""Atoms closer than this (A) are reported as AtomsOverlap."""

_MAX_WRAP = 10**6
"""Atoms of one structure may be this many cells apart: more would not fit the integers of the table of shifts."""

_BYTES_PER_PAIR = 160
"""Neighbour search, list and per-pair scratch of the kernels together, rounded up."""


@dataclass(frozen=True)
class Pairs:
    """All directed pairs i -> j with |r_ij| < cutoff + skin, sorted by i.

    i, j (P,) int32; shift_index (P,) int32 into the table of distinct shifts; shifts (K, 3) int32 lattice
    translations and shift_system (K,) int64 the structure each row belongs to; first (N + 1,) int32: the pairs of atom
    n are first[n]:first[n+1]; incoming (P,) int32: the pairs that end at atom n, as many as start there, so
    incoming[first[n]:first[n+1]] lists them. `cutoff` is what the model asked for; kernels skip pairs beyond it.
    """

    i: torch.Tensor
    j: torch.Tensor
    shift_index: torch.Tensor
    shifts: torch.Tensor
    shift_system: torch.Tensor
    first: torch.Tensor
    incoming: torch.Tensor
    cutoff: float
    skin: float = 0.0

    @property
    def n_pairs(self) -> int:
        return self.j.shape[0]

    def shift_vectors(self, system: System) -> torch.Tensor:
        """(K, 3) A: the distinct shifts in Cartesian coordinates, for the system's present cell."""
        if self.shifts.shape[0] == 0:
            return system.cell.new_zeros((0, 3))
        cells = system.cell[self.shift_system]
        return torch.einsum("ka,kab->kb", self.shifts.to(cells.dtype), cells)

    def vectors(self, system: System) -> torch.Tensor:
        """(P, 3) A: r_ij = r_j + shift - r_i; differentiable with respect to positions and cell."""
        i, j, k = self.i.long(), self.j.long(), self.shift_index.long()
        return system.positions[j] - system.positions[i] + self.shift_vectors(system)[k]


def find_pairs(system: System, cutoff: float, skin: float = 0.0, max_memory_gib: float | None = None) -> Pairs:
    """Neighbour search for every structure of the system.

    Raises AtomsOverlap for two atoms closer than 0.001 A and TooLarge when the list would not fit.
    """
    if cutoff + skin <= 0.0:
        return no_pairs(system)
    positions = system.positions.detach().cpu().double().numpy()
    cells = system.cell.detach().cpu().double().numpy()
    pbcs = system.pbc.cpu().numpy()
    check_memory(system, cutoff + skin, max_memory_gib)
    parts, shift_parts, shift_system, n_shifts, n_pairs = [], [], [], 0, 0
    for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True)):
        if a == b:
            continue
        i, j, shift, d = _search(positions[a:b], cells[s], pbcs[s], cutoff + skin)
        if d.size and (k := int(np.argmin(d))) is not None and d[k] < MIN_DISTANCE:
            where = f" of structure {s}" if system.n_systems > 1 else ""
            raise AtomsOverlap(int(i[k]), int(j[k]), float(d[k]), where)
        table, one = _directed(i, j, shift, b - a)
        parts.append([one[0] + a, one[1] + a, one[2] + n_shifts, one[3] + n_pairs])
        shift_parts.append(table)
        shift_system += [s] * len(table)
        n_shifts += len(table)
        n_pairs += len(one[0])

    def put(arrays: list[np.ndarray], kind: type) -> torch.Tensor:
        array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays) if arrays else np.zeros(0)
        return torch.from_numpy(np.ascontiguousarray(array, dtype=kind)).to(system.positions.device)

    i, j, index, incoming = (put([p[c] for p in parts], np.int32) for c in range(4))
    counts = torch.bincount(i, minlength=system.n_atoms)
    first = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32)
    shifts = put(shift_parts or [np.zeros((0, 3))], np.int32)
    systems = put([np.array(shift_system)], np.int64)
    return Pairs(i, j, index, shifts, systems, first, incoming, cutoff, skin)


def no_pairs(system: System) -> Pairs:
    """The empty list, for models that search for neighbours themselves."""
    none = system.numbers.new_zeros(0, dtype=torch.int32)
    first = system.numbers.new_zeros(system.n_atoms + 1, dtype=torch.int32)
    return Pairs(none, none, none, none.view(0, 1).expand(0, 3), none.long(), first, none, 0.0)


def check_memory(system: System, cutoff: float, max_memory_gib: float | None) -> None:
    """Estimate the size of the list from densities and raise TooLarge before anything is allocated."""
    volumes = system.volumes().detach().cpu().double().numpy()
    sizes = np.diff(system.first)
    sphere = 4.0 / 3.0 * np.pi * cutoff**3
    full = system.pbc.all(dim=1).cpu().numpy() & (volumes > 0)
    per_atom = np.where(full, sizes / np.where(full, volumes, 1.0) * sphere, np.minimum(sizes, 0.25 * sphere))
    needed = float((sizes * (per_atom * _BYTES_PER_PAIR + 1024)).sum()) / 2**30
    limit = max_memory_gib if max_memory_gib is not None else 0.8 * available_memory_gib()
    if needed > limit:
        raise TooLarge(needed, limit)


def available_memory_gib() -> float:
    """Memory that can still be taken, in GiB; where the system does not tell (not Linux), a cautious 8."""
    info = Path("/proc/meminfo")
    lines = info.read_text().splitlines() if info.exists() else []
    kib = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 8 << 20)
    return kib / 2**20


def _search(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float):
    """i, j, shift, distance of one structure's pairs, each pair in one direction only."""
    box = complete_cell(cell, pbc)
    # wrapped positions, with the wrap put back into the shift, keep the search fast and exact for any origin
    wrap = np.where(pbc, np.floor(positions @ np.linalg.inv(box)), 0.0)
    if len(wrap) and (spread := np.ptp(wrap, axis=0).max()) > _MAX_WRAP:
        raise InvalidStructure(
            f"atoms are {spread:.3g} cells apart along a periodic direction; allowed is {_MAX_WRAP}: "
            "call atoms.wrap(), or look for the step at which the dynamics went wrong"
        )
    inside = _without_gaps(positions - wrap @ box, box, pbc, cutoff)
    search = NeighborList(cutoff=cutoff, full_list=False, sorted=False, n_threads=1)
    i, j, shift, d = search.compute(inside, box, [bool(x) for x in pbc], "ijSd")
    i, j, shift = i.astype(np.int32), j.astype(np.int32), shift.astype(np.int32)
    if wrap.any():
        shift -= (wrap[j] - wrap[i]).astype(np.int32)
    return i, j, shift, d


def _without_gaps(positions: np.ndarray, box: np.ndarray, pbc: np.ndarray, cutoff: float) -> np.ndarray:
    """Positions with empty stretches along directions without pbc shortened to two cutoffs.

    No pair reaches across them, and the search, whose grid spans all atoms, neither slows down nor overflows because of
    one atom that has flown away.
    """
    free = [k for k in range(3) if not pbc[k]]
    if not free or len(positions) < 2:
        return positions
    along = positions @ np.linalg.inv(box)  # lengths in A along free directions, whose vectors are orthonormal
    moved = False
    for k in free:
        order = np.argsort(along[:, k], kind="stable")
        x = along[order, k]
        wide = np.flatnonzero(np.diff(x) > 4.0 * cutoff) + 1
        if not len(wide):
            continue
        begin, end = x[[0, *wide]], x[[*(wide - 1), len(x) - 1]]
        offset = np.concatenate([[0.0], np.cumsum(end - begin + 2.0 * cutoff)[:-1]])
        group = np.zeros(len(x), dtype=int)
        group[wide] = 1
        group = np.cumsum(group)
        along[order, k] = x - begin[group] + offset[group]
        moved = True
    return along @ box if moved else positions


def _directed(i: np.ndarray, j: np.ndarray, shift: np.ndarray, n_atoms: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Half list -> table of distinct shifts (K, 3), and i, j, shift index, incoming of all directed pairs sorted by i.

    Both directions of a pair are placed together, so the reverse of each is known: a counting sort, no comparison.
    """
    counts = np.bincount(i, minlength=n_atoms) + np.bincount(j, minlength=n_atoms)
    cursor = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
    bound = np.abs(shift).max(axis=0, initial=0).astype(np.int64)
    span = 2 * bound + 1
    code = ((shift[:, 0] + bound[0]) * span[1] + shift[:, 1] + bound[1]) * span[2] + shift[:, 2] + bound[2]
    last = int(span.prod()) - 1  # the code of -shift is last - code
    used, code = _ranks(code, last)
    both = 2 * len(i)
    out = [np.empty(both, np.int32) for _ in range(4)]
    place_pairs(i, j, code[0], code[1], cursor, out)
    table = np.stack([used // (span[1] * span[2]), used // span[2] % span[1], used % span[2]], axis=1) - bound
    return table, out


def _ranks(code: np.ndarray, last: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The distinct codes, those of reversed pairs included, and the rank of each code and of its reverse."""
    if last < 4 * len(code) + 4096:  # a dense table beats sorting
        seen = np.zeros(last + 1, dtype=bool)
        seen[code] = True
        used = np.flatnonzero(seen | seen[::-1])
        rank = np.zeros(last + 1, dtype=np.int32)
        rank[used] = np.arange(len(used), dtype=np.int32)
        return used, (rank[code], rank[last - code])
    used = np.unique(np.concatenate([code, last - code]))
    return used, tuple(np.searchsorted(used, c).astype(np.int32) for c in (code, last - code))


def complete_cell(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """A regular matrix with the periodic vectors of `cell` and orthonormal vectors in the directions without pbc."""
    box = np.array(cell, dtype=float)
    periodic = [k for k in range(3) if pbc[k]]
    if len(periodic) == 3:
        return box
    free = [k for k in range(3) if not pbc[k]]
    basis = np.linalg.svd(box[periodic])[2] if periodic else np.eye(3)
    box[free] = basis[len(periodic) :]
    return box


def brute_force_pairs(positions: np.ndarray, cell: np.ndarray, pbc, cutoff: float):
    """The oracle of the tests: (i, j, shift) of all directed pairs by trying every image that could be in range."""
    box, pbc = complete_cell(np.asarray(cell, float), np.asarray(pbc)), np.asarray(pbc)
    frac = positions @ np.linalg.inv(box)
    spread = frac.max(axis=0) - frac.min(axis=0) if len(frac) else np.zeros(3)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
    reach = [int(np.ceil(cutoff / h + w)) if p else 0 for h, w, p in zip(heights, spread, pbc, strict=True)]
    found = []
    for shift in itertools.product(*(range(-m, m + 1) for m in reach)):
        r = positions[None, :, :] + np.array(shift) @ box - positions[:, None, :]
        d = np.linalg.norm(r, axis=2)
        inside = d < cutoff
        if shift == (0, 0, 0):
            np.fill_diagonal(inside, False)
        found += [(int(i), int(j), shift) for i, j in np.argwhere(inside)]
    return sorted(found)
