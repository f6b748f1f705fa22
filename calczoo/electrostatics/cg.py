"""Charge equilibration of large structures by conjugate gradients, preconditioned in real and in reciprocal space.

Solved is M x + mu 1 = r with sum x fixed, M = A + diag(J). The splitting of A that the sums use splits M too, into a
short-ranged matrix S and waves: M = S + B B^T, B the waves exp(i K.r) times the root of their coefficients. The
preconditioner is

    P = G^T G - G^T G B (1 + B^T G^T G B)^-1 B^T G^T G,       G^T G ~ S^-1,

Woodbury's inverse with the longest waves only, at most WAVES of them. G is a factorised sparse approximate inverse: row
i solves S on atom i and the neighbours before it within REACH, so that G^T G is positive definite whatever S is like.
The constraint is kept by the multiplier that makes sum(P (r - mu 1)) zero in every step.

Source: G by L. Yu. Kolotilina and A. Yu. Yeremin, SIAM J. Matrix Anal. Appl. 14, 45 (1993), doi:10.1137/0614004; sparse
approximate inverses for charge equilibration by K. A. O'Hearn, A. Alperen and H. M. Aktulga, SIAM J. Sci. Comput. 42,
C1 (2020), doi:10.1137/18M1224684. Index letters: i atom, m site of a cluster (its last is atom i), w wave.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ..core.errors import ConvergenceError
from .real_space import RealSpace

if TYPE_CHECKING:
    from .geometry import OpenPart, PeriodicPart

STEPS = 300
REACH = 3.0
"""Radius (A) of the clusters of the approximate inverse."""
SITES = 40
"""Sites per cluster, at most: the nearest ones."""
WAVES = 700
_BLOCK = 1 << 22
"""Numbers of a batch of clusters."""
OPEN_ETA = 2.5
"""Width (A) at which the interaction of an open structure is cut for its clusters; there are no waves then."""


class Iterative:
    """Solver for one structure; the same interface as `qeq.Direct`."""

    def __init__(self, part: OpenPart | PeriodicPart, hardness: torch.Tensor, where: str, accuracy: float):
        self.part, self.hardness, self.where, self.accuracy = part, hardness, where, accuracy
        self.steps = 0
        self.inverse = ApproximateInverse(part, hardness, where)
        self.ones = self.inverse.apply(torch.ones_like(hardness))
        self.weight = self.ones.sum()

    def _precondition(self, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """z = P (r - mu 1) with sum z = 0, and mu."""
        z = self.inverse.apply(r)
        mu = z.sum() / self.weight
        z = z - mu * self.ones
        return z - z.mean(), mu

    def solve(self, rhs: torch.Tensor, total: float) -> tuple[torch.Tensor, float]:
        """x and mu of M x + mu 1 = rhs, sum x = total; iterated until no charge changes by more than the accuracy.

        Raises ConvergenceError."""
        x = self.ones * (total / self.weight)
        r = rhs - self._times(x) if total else rhs.clone()
        z, mu = self._precondition(r)
        r -= mu
        multiplier, p, rz = float(mu), z.clone(), r @ z
        for self.steps in range(STEPS + 1):
            size = float(z.abs().max())
            if not math.isfinite(size):
                break
            if size <= self.accuracy * max(1.0, float(x.abs().max())):
                return x, multiplier
            mp = self._times(p)
            curvature = p @ mp
            if float(curvature) <= 0.0:
                from .qeq import indefinite

                raise ConvergenceError(indefinite(self.hardness, self.where))
            step = rz / curvature
            x += step * p
            r -= step * mp
            z, mu = self._precondition(r)
            r -= mu
            multiplier += float(mu)
            old, rz = rz, r @ z
            p = z + (rz / old) * p
        raise ConvergenceError(
            f"charge equilibration{self.where} did not converge in {STEPS} steps (charges still change by {size:.3g} e,"
            f" wanted {self.accuracy:.3g}); ask for less accuracy, or use method='direct'"
        )

    def _times(self, x: torch.Tensor) -> torch.Tensor:
        return self.part.potential(x) + self.hardness * x


class ApproximateInverse:
    """P of the module docstring."""

    def __init__(self, part: OpenPart | PeriodicPart, hardness: torch.Tensor, where: str):
        self.threads = part.threads
        eta, pairs, own = part.short_range(OPEN_ETA, REACH)
        self.rows, self.columns = _factor(pairs, part.squares, part.k, eta, own + hardness, where)
        self.waves = self.sent = None
        waves = part.long_waves(min(WAVES, part.n) // 2 + 1)
        if waves is not None and waves.shape[1]:
            self.waves = waves * math.sqrt(part.k)
            self.sent = torch.stack([self._short(w) for w in self.waves.T.contiguous()], dim=1)
            inner = torch.eye(self.waves.shape[1], dtype=hardness.dtype, device=hardness.device)
            inner = inner + self.waves.T @ self.sent
            self.inner = torch.linalg.cholesky(0.5 * (inner + inner.T))

    def _short(self, r: torch.Tensor) -> torch.Tensor:
        return self.columns.potential(self.rows.potential(r, self.threads), self.threads)

    def apply(self, r: torch.Tensor) -> torch.Tensor:
        t = self._short(r)
        if self.waves is None or self.sent is None:
            return t
        return t - self.sent @ torch.cholesky_solve((self.waves.T @ t)[:, None], self.inner)[:, 0]


def _factor(
    pairs: RealSpace, squares: torch.Tensor, k: float, eta: float, diagonal: torch.Tensor, where: str
) -> tuple[RealSpace, RealSpace]:
    """G and its transpose, as lists of entries.

    pairs: neighbours within REACH; squares (n,) squared Gaussian widths; diagonal (n,) of S."""
    n, device = len(diagonal), diagonal.device
    i = torch.repeat_interleave(torch.arange(n, device=device), pairs.first.diff().long())
    j, r2 = pairs.j.long(), (pairs.vectors * pairs.vectors).sum(dim=1)
    before = torch.nonzero(j < i).flatten()
    before = before[torch.sort(r2[before], stable=True).indices]
    before = before[torch.sort(i[before], stable=True).indices]  # by atom, nearest first
    counts = torch.bincount(i[before], minlength=n)
    start = torch.cat([counts.new_zeros(1), counts.cumsum(0)[:-1]])
    rank = torch.arange(len(before), device=device) - start[i[before]]
    before, rank = before[rank < SITES - 1], rank[rank < SITES - 1]
    width = int(rank.max()) + 2 if len(rank) else 1
    sites = torch.arange(n, device=device)[:, None].repeat(1, width)
    offsets = pairs.vectors.new_zeros((n, width, 3))
    used = torch.zeros((n, width), dtype=torch.bool, device=device)
    used[:, width - 1] = True
    sites[i[before], rank], offsets[i[before], rank], used[i[before], rank] = j[before], pairs.vectors[before], True
    values = torch.empty((n, width), dtype=diagonal.dtype, device=device)
    step = max(1, _BLOCK // width**2)
    for a in range(0, n, step):
        part = slice(a, min(a + step, n))
        values[part] = _rows(sites[part], offsets[part], used[part], squares, k, eta, diagonal)
    if not bool(torch.isfinite(values).all()):
        from .qeq import indefinite

        raise ConvergenceError(indefinite(diagonal, where))
    row, column = torch.nonzero(used, as_tuple=True)[0], sites[used]
    entries, back = values[used], torch.sort(column := sites[used], stable=True).indices
    return _entries(n, row, column, entries), _entries(n, column[back], row[back], entries[back])


def _rows(
    sites: torch.Tensor,
    offsets: torch.Tensor,
    used: torch.Tensor,
    squares: torch.Tensor,
    k: float,
    eta: float,
    diagonal: torch.Tensor,
) -> torch.Tensor:
    """(rows, m): y / sqrt(y_i) with S y = e_i on each cluster; NaN where S is not positive definite there."""
    r = (offsets[:, :, None] - offsets[:, None, :]).norm(dim=-1)
    gamma = (squares[sites][:, :, None] + squares[sites][:, None, :]).sqrt()
    same = torch.eye(sites.shape[1], dtype=torch.bool, device=sites.device)
    r = torch.where(same, 1.0, r.clamp(min=1e-3))
    spread = torch.where(gamma > 0, torch.erfc(r / (math.sqrt(2.0) * gamma.clamp(min=1e-12))), 0.0)
    block = k * (torch.erfc(r / (math.sqrt(2.0) * eta)) - spread) / r
    both = used[:, :, None] & used[:, None, :]
    block = torch.where(both & ~same, block, 0.0) + torch.diag_embed(torch.where(used, diagonal[sites], 1.0))
    factor, info = torch.linalg.cholesky_ex(block)
    last = 1.0 / factor[:, -1, -1]  # S = L L^T: y_i = last^2, and y / last solves L^T z = e_i
    end = torch.zeros_like(block[:, :, :1])
    end[:, -1] = 1.0
    z = torch.linalg.solve_triangular(factor.transpose(1, 2), end, upper=True)[:, :, 0]
    return torch.where((info == 0)[:, None] & torch.isfinite(last)[:, None], z, math.nan)


def _entries(n: int, row: torch.Tensor, column: torch.Tensor, values: torch.Tensor) -> RealSpace:
    """A sparse matrix, sorted by row, as the list that the kernel of sums takes."""
    first = torch.zeros(n + 1, dtype=torch.int32, device=row.device)
    first[1:] = torch.bincount(row, minlength=n).cumsum(0)
    return RealSpace(first, column.int().contiguous(), values.new_zeros((0, 3)), values.contiguous(), values[:0])
