"""Re-tabulation in r^2, step by step as LAMMPS does it, so that numbers agree to rounding.

The values of the file are joined by clamped cubic splines in r, one through the energies (end slopes: minus the end
forces) and one through the forces (end slopes: FPRIME, or the secant of the last two values). n points evenly spaced in
g = r^2 from r_inner^2 to r_cut^2 are then read off, and interpolated again:

    linear   e and f/r linear between points
    lookup   e and f/r constant, the value at the middle of the bin
    spline   clamped cubic splines in g through e and through f/r

Energy and force are interpolated separately. Source: A. P. Thompson et al., Comput. Phys. Commun. 271, 108171 (2022),
doi:10.1016/j.cpc.2021.108171, documentation of `pair_style table`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_banded

from .params import TableEntry

_SECANT = 0.1
"""Fraction of a bin over which the end slope of f/r is taken."""


@dataclass(frozen=True)
class Grid:
    """Values of one table over n points in r^2: columns e, f/r, e_next, f_next in `rows` (n, 4); for "spline" the last
    two are second derivatives, for "linear" differences to the next point, for "lookup" zero."""

    rows: np.ndarray
    inner_squared: float
    spacing: float
    cutoff: float


def clamped_spline(x: np.ndarray, y: np.ndarray, slope_low: float, slope_high: float) -> np.ndarray:
    """Second derivatives of the cubic spline through (x, y) with given slopes at both ends."""
    h = np.diff(x)
    secant = np.diff(y) / h
    band = np.zeros((3, len(x)))
    band[0, 1:] = h
    band[1, 0], band[1, -1] = 2.0 * h[0], 2.0 * h[-1]
    band[1, 1:-1] = 2.0 * (h[:-1] + h[1:])
    band[2, :-1] = h
    right = np.empty(len(x))
    right[0], right[-1] = 6.0 * (secant[0] - slope_low), 6.0 * (slope_high - secant[-1])
    right[1:-1] = 6.0 * np.diff(secant)
    return solve_banded((1, 1), band, right)


def spline_value(x: np.ndarray, y: np.ndarray, y2: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The spline of `clamped_spline` at the points `at`."""
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    h = x[k + 1] - x[k]
    a, b = (x[k + 1] - at) / h, (at - x[k]) / h
    return a * y[k] + b * y[k + 1] + ((a**3 - a) * y2[k] + (b**3 - b) * y2[k + 1]) * h * h / 6.0


def make_grid(entry: TableEntry, style: str, n: int) -> Grid:
    """The inner table of one entry."""
    r, e, f = entry.radii(), entry.energy, entry.force
    e2 = clamped_spline(r, e, -f[0], -f[-1])
    slopes = entry.end_slopes or ((f[1] - f[0]) / (r[1] - r[0]), (f[-1] - f[-2]) / (r[-1] - r[-2]))
    f2 = clamped_spline(r, f, *slopes)
    inner, cut = entry.inner, entry.outer
    spacing = (cut * cut - inner * inner) / (n - 1)
    if style == "lookup":
        middle = np.sqrt(inner * inner + (np.arange(n) + 0.5) * spacing)
        rows = np.stack([spline_value(r, e, e2, middle), spline_value(r, f, f2, middle) / middle], axis=1)
        return Grid(np.hstack([rows, np.zeros((n, 2))]), inner * inner, spacing, cut)
    g = inner * inner + np.arange(n) * spacing
    radii = np.sqrt(g)
    if style == "linear" and entry.grid == "rsq" and len(r) == n and entry.r_hi == cut:
        values, forces = e, f  # the file is already what is needed
    else:
        values, forces = spline_value(r, e, e2, radii), spline_value(r, f, f2, radii)
    scaled = forces / radii
    if style == "linear":
        rest = np.stack([np.diff(values, append=values[-1]), np.diff(scaled, append=scaled[-1])], axis=1)
    else:
        e_slopes = -forces[0] / (2.0 * inner), -forces[-1] / (2.0 * cut)
        f_slopes = _scaled_slopes(entry, forces, (r, f, f2), spacing)
        rest = np.stack([clamped_spline(g, values, *e_slopes), clamped_spline(g, scaled, *f_slopes)], axis=1)
    return Grid(np.hstack([values[:, None], scaled[:, None], rest]), inner * inner, spacing, cut)


def _scaled_slopes(entry: TableEntry, forces: np.ndarray, spline: tuple, spacing: float) -> tuple[float, float]:
    """d(f/r)/d(r^2) at both ends: from FPRIME where the file gives it, else a secant over a tenth of a bin."""
    inner, cut = entry.inner, entry.outer
    step = _SECANT * spacing

    def scaled(g: float) -> float:
        radius = np.sqrt(g)
        return float(spline_value(*spline, np.array([radius]))[0] / radius)

    if entry.end_slopes is not None:
        low = (entry.end_slopes[0] / inner - forces[0] / inner**2) / (2.0 * inner)
    else:
        low = (scaled(inner * inner + step) - forces[0] / inner) / step
    if entry.end_slopes is not None and cut == entry.radii()[-1]:
        high = (entry.end_slopes[1] / cut - forces[-1] / cut**2) / (2.0 * cut)
    else:
        high = (forces[-1] / cut - scaled(cut * cut - step)) / step
    return low, high
