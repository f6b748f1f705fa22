"""The rows of largest volume among many, for active sets and for D-optimal selection.

Of all rows b (one per neighbourhood, or one per structure) n are kept in A (n, n). A row with |(b A^-1)_k| > threshold
replaces row k, which multiplies |det A| by that number; when no row is left that does, every row's grade is at most the
threshold, and no single exchange enlarges the volume further. Replacing row k is a rank-1 update,

    A^-1 <- A^-1 - A^-1 e_k (c - e_k) / c_k,   c = b A^-1

A starts as 1e-5 times the identity. Directions that no structure has, such as the scale of a radial function (which the
moment coefficients can undo), keep their initial row: it makes grades huge for whatever has a part along them.

Rows are given in blocks. Each block first meets A in an LU factorisation with row pivoting, which picks good rows at
once; swaps then finish, among the rows with the largest grades, until a pass over all blocks changes nothing.

Source: Goreinov, Oseledets, Savostyanov, Tyrtyshnikov, Zamarashkin, in Matrix Methods (2010), 247,
doi:10.1142/9789812836021_0015; Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017),
doi:10.1016/j.commatsci.2017.08.031.
"""

from __future__ import annotations

import torch

from ...core.errors import ConvergenceError, OptionError
from .grade import CHUNK_BYTES
from .params import ActiveSet

INITIAL = 1.0e-5
"""Size of the rows that A starts with."""

MAX_ROUNDS = 1000
"""Rounds of swaps that a block may need; every swap multiplies the volume by more than the threshold, so they end."""


class MaxVol:
    """The rows kept so far. a (n, n); inverse (n, n) = A^-1; tags (n, 2): two integers that came with each row, -1 for
    an initial one; swaps: rows exchanged so far."""

    def __init__(self, n: int, threshold: float = 1.001, device: torch.device | str = "cpu"):
        if not threshold > 1.0:
            raise OptionError(f"the threshold is {threshold:g}; it must be above 1, or swaps would never end")
        self.threshold, self.swaps = float(threshold), 0
        self.a = INITIAL * torch.eye(n, dtype=torch.float64, device=device)
        self.inverse = torch.eye(n, dtype=torch.float64, device=device) / INITIAL
        self.tags = torch.full((n, 2), -1, dtype=torch.long, device=device)

    @classmethod
    def of(cls, active: ActiveSet, threshold: float, device: torch.device | str = "cpu") -> MaxVol:
        """To go on from an active set; tags are its equations."""
        out = cls(len(active.a), threshold, device)
        out.a = torch.tensor(active.a, device=device)
        out.inverse = torch.tensor(active.inv_t.T, device=device).contiguous()
        out.tags = torch.tensor(active.equations, device=device)
        return out

    @property
    def n(self) -> int:
        return self.a.shape[0]

    def log_volume(self) -> float:
        """log |det A|."""
        return float(torch.linalg.slogdet(self.a)[1])

    def grades(self, rows: torch.Tensor) -> torch.Tensor:
        """(m,): max_k |(b A^-1)_k| of rows (m, n)."""
        step = max(1, CHUNK_BYTES // (8 * self.n))
        parts = [(rows[a : a + step] @ self.inverse).abs().amax(dim=1) for a in range(0, len(rows), step)]
        return torch.cat(parts) if parts else rows.new_zeros(0)

    def pivot(self, rows: torch.Tensor, tags: torch.Tensor) -> None:
        """Of A and the rows (m, n) together, keep those that an LU factorisation picks as pivots."""
        both, labels = torch.cat([self.a, rows]), torch.cat([self.tags, tags])
        _, pivots = torch.linalg.lu_factor(both)
        order = torch.arange(len(both)).tolist()
        for k, p in enumerate(pivots.tolist()):
            order[k], order[p - 1] = order[p - 1], order[k]
        chosen = torch.tensor(order[: self.n], device=rows.device)
        self.swaps += int((chosen >= self.n).sum())
        self.a, self.tags = both[chosen].contiguous(), labels[chosen].contiguous()
        self.inverse = accurate_inverse(self.a)

    def offer(self, rows: torch.Tensor, tags: torch.Tensor) -> int:
        """Swap until no row of (m, n) has a grade above the threshold; tags (m, 2). Returns the number of swaps."""
        before, limit = self.swaps, max(256, 2 * self.n)
        for _ in range(MAX_ROUNDS):
            grades = self.grades(rows)
            if not (grades > self.threshold).any():
                return self.swaps - before
            # rows below the threshold too: one that is close to it is often above it after the next exchange
            high = torch.sort(grades, descending=True, stable=True).indices[:limit]
            self._exchange(rows[high], tags[high])
            self.inverse = accurate_inverse(self.a)
        raise ConvergenceError(
            f"the selection of rows did not end within {MAX_ROUNDS} rounds; raise the threshold ({self.threshold:g})"
        )

    def _exchange(self, rows: torch.Tensor, tags: torch.Tensor) -> None:
        """Swaps with rank-1 updates among a few rows, at most n of them before the inverse is made anew."""
        c = rows @ self.inverse
        for _ in range(self.n):
            best = int(c.abs().argmax())
            r, k = divmod(best, self.n)
            pivot = float(c[r, k])
            if not abs(pivot) > self.threshold:
                return
            step = c[r].clone()
            step[k] -= 1.0
            step /= pivot
            self.inverse.addr_(self.inverse[:, k].clone(), step, alpha=-1.0)
            c.addr_(c[:, k].clone(), step, alpha=-1.0)
            self.a[k], self.tags[k] = rows[r], tags[r]
            self.swaps += 1


def accurate_inverse(a: torch.Tensor) -> torch.Tensor:
    """A^-1 of a matrix with rows and columns of very different sizes: those are balanced first, and one step of
    refinement follows."""
    balanced = a.clone()
    rows, columns = torch.ones_like(a[:, :1]), torch.ones_like(a[:1])
    for _ in range(3):
        r = balanced.abs().amax(dim=1, keepdim=True).sqrt()
        balanced, rows = balanced / r, rows / r
        q = balanced.abs().amax(dim=0, keepdim=True).sqrt()
        balanced, columns = balanced / q, columns / q
    x = torch.linalg.inv(balanced)
    x = x + x @ (torch.eye(len(a), dtype=a.dtype, device=a.device) - balanced @ x)
    return columns.T * x * rows.T
