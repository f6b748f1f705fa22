"""Numerical first derivatives with an estimate of their own error.

Central differences at h, h/2, h/4, ... are extrapolated to h = 0 in even powers of h (Richardson's deferred approach in
Ridders' form, doi:10.1016/S0141-1195(82)80057-0). Each entry of the tableau is judged by its distance to its two
parents, and never trusted beyond the rounding of the energy. Halving goes on for one component until rounding at the
next smaller step would exceed the error reached: smooth potentials stop after a few steps, tabulated ones with knots go
on until the step fits between two knots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .report import EPS

_ORDER = 5
"""Columns of the tableau: beyond h^10 nothing is gained in float64."""


def differentiate(
    energies: Callable[[Sequence[tuple[int, float]]], np.ndarray],
    n: int,
    step: float,
    scale: float,
    levels: int = 13,
) -> tuple[np.ndarray, np.ndarray]:
    """dE/dx_k for k < n, and the estimated error of each.

    `energies([(k, s), ...])` gives E with x_k displaced by s (all of one level in one call, so that it can be batched);
    `step` is the largest displacement, `scale` the size of the energy that sets the rounding error.
    """
    best = np.zeros(n)
    error = np.full(n, np.inf)
    rows: list[list[float]] = [[] for _ in range(n)]
    active = list(range(n))
    for level in range(levels):
        if not active:
            break
        h = step / 2**level
        e = np.asarray(energies([(k, s) for k in active for s in (h, -h)]), dtype=float).reshape(-1, 2)
        noise = EPS * scale / h
        still = []
        for k, (plus, minus) in zip(active, e, strict=True):
            rows[k], value, err = _next_row(rows[k], (plus - minus) / (2 * h), noise)
            if err < error[k]:
                best[k], error[k] = value, err
            if level < 2 or error[k] > 2 * noise:  # the next step doubles the noise
                still.append(k)
        active = still
    return best, error


def _next_row(above: list[float], central: float, noise: float) -> tuple[list[float], float, float]:
    """Extend the tableau by the row of a new central difference; also its best entry and that entry's error."""
    row = [central]
    value, error = central, np.inf
    for m in range(1, min(len(above), _ORDER) + 1):
        factor = 4.0**m
        row.append((factor * row[m - 1] - above[m - 1]) / (factor - 1.0))
        err = max(abs(row[m] - row[m - 1]), abs(row[m] - above[m - 1]), noise)
        if err < error:
            value, error = row[m], err
    return row, value, error


def weighted_error(exact: np.ndarray, numerical: np.ndarray, error: np.ndarray) -> float:
    """alpha = 1/n sqrt(sum w (f - f_num)^2 / sum w), n the number of components (3N for forces).

    w = 1/eps_hat with eps_hat = max(err, eps) / max(|f_num|, eps): components whose numerical derivative is itself
    uncertain (a kink close by) count less.
    """
    exact, numerical, error = (np.ravel(x) for x in (exact, numerical, error))
    w = np.maximum(np.abs(numerical), EPS) / np.maximum(error, EPS)
    return float(np.sqrt(np.sum(w * (exact - numerical) ** 2) / np.sum(w)) / len(exact))
