"""Parts of batches: systems and neighbour lists of some structures only, and lists put together of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from calczoo.core.pairs import Pairs
from calczoo.core.system import System


def subsystem(system: System, which: Sequence[int]) -> System:
    """The structures `which`, in that order."""
    if list(which) == list(range(system.n_systems)):
        return system
    device = system.positions.device
    sizes = [system.first[s + 1] - system.first[s] for s in which]
    atoms = [np.arange(system.first[s], system.first[s + 1]) for s in which]
    rows = torch.from_numpy(np.concatenate(atoms) if atoms else np.zeros(0, dtype=np.int64)).to(device)
    chosen = torch.tensor(list(which), dtype=torch.int64, device=device)
    return System(
        numbers=system.numbers[rows],
        positions=system.positions[rows],
        cell=system.cell[chosen],
        pbc=system.pbc[chosen],
        system_index=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device),
        first=(0, *np.cumsum(sizes, dtype=np.int64).tolist()),
        charge=None if system.charge is None else system.charge[chosen],
        initial_charges=None if system.initial_charges is None else system.initial_charges[rows],
    )


class Cut:
    """A list with the places where its structures begin: pairs `pair[s]:pair[s+1]`, shifts `shift[s]:shift[s+1]`."""

    def __init__(self, pairs: Pairs, first: Sequence[int]):
        self.pairs, self.first = pairs, first
        self.pair: list[int] = pairs.first[torch.tensor(first, device=pairs.first.device)].tolist()
        counts = torch.bincount(pairs.shift_system, minlength=len(first) - 1)
        self.shift = [0, *counts.cumsum(0).tolist()]


def join_pairs(first: Sequence[int], blocks: Sequence[tuple[Cut, int]]) -> Pairs:
    """The list of a batch with layout `first` whose structure s has the pairs of structure k in another list,
    (cut, k) = blocks[s]."""
    columns: dict[str, list[torch.Tensor]] = {k: [] for k in ("i", "j", "shift_index", "shifts", "first", "incoming")}
    n_pairs, n_shifts, rows = 0, 0, []
    for s, (cut, k) in enumerate(blocks):
        p, q = slice(cut.pair[k], cut.pair[k + 1]), slice(cut.shift[k], cut.shift[k + 1])
        atoms, pairs = first[s] - cut.first[k], cut.pairs
        columns["i"].append(pairs.i[p] + atoms)
        columns["j"].append(pairs.j[p] + atoms)
        columns["shift_index"].append(pairs.shift_index[p] + (n_shifts - q.start))
        columns["incoming"].append(pairs.incoming[p] + (n_pairs - p.start))
        columns["first"].append(pairs.first[cut.first[k] : cut.first[k + 1]] + (n_pairs - p.start))
        columns["shifts"].append(pairs.shifts[q])
        n_pairs, n_shifts = n_pairs + p.stop - p.start, n_shifts + q.stop - q.start
        rows.append(q.stop - q.start)
    one = blocks[0][0].pairs
    columns["first"].append(one.first.new_tensor([n_pairs]))
    joined = {name: torch.cat(parts) for name, parts in columns.items()}
    systems = torch.from_numpy(np.repeat(np.arange(len(rows)), rows)).to(one.i.device)
    return Pairs(**joined, shift_system=systems, cutoff=one.cutoff, skin=one.skin)
