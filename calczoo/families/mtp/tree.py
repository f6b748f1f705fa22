"""The contraction tree of a moment tensor potential, walked in waves.

m_k += mult m_i m_j for the entries {i, j, mult, k} of a list, in its order. A moment's depth is 0 if it is basic, else
one more than that of the deepest moment it is made of. All entries that write moments of one depth read shallower ones
only, so they are one operation on long vectors: a wave. The order of the list does not matter beyond that.

Moments are rows and atoms are columns: m is (M, n). Index letters: k moment, n atom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .params import Moments


@dataclass(frozen=True)
class Wave:
    """Entries whose targets have the same depth. left, right (E,): rows read, in the tree's own order of rows;
    factor (E, 1); target (E,): row written, counted from `start`; size: rows of the wave."""

    left: torch.Tensor
    right: torch.Tensor
    factor: torch.Tensor
    target: torch.Tensor
    start: int
    size: int


class Tree:
    """Forward and adjoint of the list of products, with rows ordered by depth.

    order (M,): the moment in each row; scalars (S,): rows of the basis functions. Basic moments are rows 0..nb-1.
    """

    def __init__(self, moments: Moments, device: torch.device | str, dtype: torch.dtype):
        depth = _depths(moments)
        self.order = np.argsort(depth, kind="stable")
        row = np.empty_like(self.order)
        row[self.order] = np.arange(len(row))

        def put(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.n_rows, self.n_basic, self.n_times = len(row), len(moments.basic), len(moments.times)
        self.scalars = put(row[moments.scalars])
        self.waves: list[Wave] = []
        level = depth[moments.times[:, 3]]
        for d in range(1, int(depth.max()) + 1):
            i, j, mult, k = moments.times[level == d].T
            start, size = int((depth < d).sum()), int((depth == d).sum())
            factor = put(mult.astype(np.float64)).to(dtype)[:, None]
            self.waves.append(Wave(put(row[i]), put(row[j]), factor, put(row[k] - start), start, size))
        never = np.setdiff1d(np.flatnonzero(depth == 0), np.arange(self.n_basic))
        self.n_zero = len(never)  # moments outside all lists stay zero; they are the rows after the basic ones

    def forward(self, basic: torch.Tensor) -> torch.Tensor:
        """(nb, n) basic moments -> (M, n) all moments; differentiable."""
        m = torch.cat([basic, basic.new_zeros((self.n_zero, basic.shape[1]))]) if self.n_zero else basic
        for w in self.waves:
            products = m[w.left] * m[w.right] * w.factor
            m = torch.cat([m, m.new_zeros((w.size, m.shape[1])).index_add(0, w.target, products)])
        return m

    def adjoint(self, m: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(nb, n): derivatives of sum_s weights_s m[scalars_s] with respect to the basic moments.

        m (M, n) as `forward` returns it; weights (S,) or, where they differ from atom to atom, (S, n).
        """
        columns = weights[:, None].expand(-1, m.shape[1]) if weights.dim() == 1 else weights
        bar = torch.zeros_like(m).index_add_(0, self.scalars, columns)
        for w in reversed(self.waves):
            product = bar[w.start : w.start + w.size][w.target] * w.factor
            bar.index_add_(0, w.left, product * m[w.right])
            bar.index_add_(0, w.right, product * m[w.left])
        return bar[: self.n_basic]


def _depths(moments: Moments) -> np.ndarray:
    """(M,) depth of each moment: the list is such that the moments an entry reads are complete at its place."""
    depth = np.zeros(moments.count, dtype=np.int64)
    for i, j, _, k in moments.times.tolist():
        depth[k] = max(depth[k], depth[i] + 1, depth[j] + 1)
    return depth
