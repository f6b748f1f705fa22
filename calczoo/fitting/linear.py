"""Weighted linear least squares from compressed rows.

Rows A x = b of one group and one kind (energy, forces, stress) are reduced to the triangular factor R of a QR
decomposition of [A | b]: ||A x - b|| = ||R [x; -1]|| for every x. So weights, ridge parameters and held-out errors are
scanned without the rows, and without the loss of digits of normal equations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr, svd

from ..core.errors import FitError

_CHUNK = 4
"""Rows are collected up to this multiple of the number of columns before they are reduced."""


class Block:
    """The rows of one group and kind, compressed.

    `add` rows (m, n) and targets (m,); `n_rows` counts them; `factor` is R, (<= n + 1, n + 1).
    """

    def __init__(self, n_columns: int):
        self.n_columns, self.n_rows = n_columns, 0
        self._factor = np.zeros((0, n_columns + 1))
        self._pending: list[np.ndarray] = []

    def add(self, rows: np.ndarray, targets: np.ndarray) -> None:
        rows = np.asarray(rows, dtype=float).reshape(-1, self.n_columns)
        both = np.hstack([rows, np.asarray(targets, dtype=float).reshape(-1, 1)])
        if not np.isfinite(both).all():
            raise FitError("a row of the design matrix or a target is not finite")
        self.n_rows += len(rows)
        self._pending.append(both)
        if sum(map(len, self._pending)) > _CHUNK * (self.n_columns + 1):
            self._reduce()

    def _reduce(self) -> None:
        stacked = np.vstack([self._factor, *self._pending])
        if len(stacked) > stacked.shape[1]:
            stacked = qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0][: stacked.shape[1]]
        self._factor, self._pending = stacked, []

    @property
    def factor(self) -> np.ndarray:
        """(m, n + 1): rows with the same residual norms as all rows added so far."""
        if self._pending:
            self._reduce()
        return self._factor

    def reduced(self) -> np.ndarray:
        """`factor` with at most n + 1 rows."""
        self._reduce()
        return self._factor

    @classmethod
    def merged(cls, blocks: Iterable[tuple[float, Block]]) -> Block:
        """One block with the rows of all, each times its weight; blocks of weight zero are left out."""
        many = [(weight, block) for weight, block in blocks if weight != 0.0 and block.n_rows]
        if not many:
            raise FitError("no rows with a weight above zero")
        out = cls(many[0][1].n_columns)
        for weight, block in many:
            factor = weight * block.factor
            out.add(factor[:, :-1], factor[:, -1])
            out.n_rows += block.n_rows - len(factor)
        return out

    def rms(self, x: np.ndarray) -> float:
        """Root mean square of A x - b; NaN without rows."""
        if self.n_rows == 0:
            return float("nan")
        residual = self.factor[:, :-1] @ x - self.factor[:, -1]
        return float(np.sqrt(residual @ residual / self.n_rows))


@dataclass(frozen=True)
class Solver:
    """min ||W (A x - b)||^2 + ridge sum_k (s_k x_k)^2 for any ridge; s_k is the norm of column k.

    Columns are scaled to norm one before the singular value decomposition, so `ridge` has no unit.
    """

    u_b: np.ndarray
    values: np.ndarray
    v_t: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, blocks: Iterable[tuple[float, Block]]) -> Solver:
        """Weighted blocks: (w, block) counts its rows with weight w (their squares with w^2)."""
        stacked = Block.merged(blocks).reduced()
        n = stacked.shape[1] - 1
        scale = np.linalg.norm(stacked[:, :n], axis=0)
        scale[scale == 0.0] = 1.0  # a column without data gets the coefficient zero
        u, values, v_t = svd(stacked[:, :n] / scale, full_matrices=False, check_finite=False)
        return cls(u.T @ stacked[:, n], values, v_t, scale)

    def solve(self, ridge: float) -> np.ndarray:
        """(n,) coefficients. ridge 0 is least squares with singular values below 1e-13 of the largest left out."""
        if not ridge >= 0.0:
            raise FitError(f"ridge is {ridge}; it must be zero or positive")
        if ridge == 0.0:
            keep = self.values > 1e-13 * self.values.max()
            gain = np.where(keep, 1.0 / np.where(keep, self.values, 1.0), 0.0)
        else:
            gain = self.values / (self.values**2 + ridge)
        return self.v_t.T @ (gain * self.u_b) / self.scale


def solve(blocks: Sequence[tuple[float, Block]], ridge: float = 0.0) -> np.ndarray:
    """Coefficients of weighted blocks; see Solver."""
    return Solver.of(blocks).solve(ridge)
