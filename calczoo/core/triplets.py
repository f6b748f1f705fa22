"""Triplets of a pair list: ordered pairs of neighbours of one atom, for the reference backends of three-body models."""

from __future__ import annotations

import torch


def ordered_triplets(i: torch.Tensor, n_atoms: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices p, q (T,) of all ordered pairs p != q of directed pairs with the same first atom.

    i: (P,) first atoms, sorted ascending. T = sum over atoms of m (m - 1) for m neighbours.
    """
    count = torch.bincount(i, minlength=n_atoms)
    first = torch.cumsum(count, 0) - count
    per_pair = count[i]
    p = torch.repeat_interleave(torch.arange(i.shape[0], device=i.device), per_pair)
    offset = torch.arange(p.shape[0], device=i.device) - (torch.cumsum(per_pair, 0) - per_pair)[p]
    q = first[i[p]] + offset
    different = p != q
    return p[different], q[different]
