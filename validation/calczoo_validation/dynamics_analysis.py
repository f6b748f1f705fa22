"""What trajectories tell: averages with errors of correlated series, pair and angle distributions, diffusion, order.

Index letters: f frame, n atom, k neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.special import sph_harm_y
from vesin import NeighborList

LONGEST_TAIL = 5.0  # window of the autocorrelation sum, in units of the correlation time (Sokal's rule)


def neighbours(positions: np.ndarray, cell: np.ndarray, cutoff: float, what: str = "ijSDd"):
    """All directed pairs within `cutoff` (A) of a fully periodic structure, sorted by i; vesin's i, j, shift, D, d."""
    inside = positions - np.floor(positions @ np.linalg.inv(cell)) @ cell
    return NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1).compute(inside, cell, True, what)


def correlation_time(series: np.ndarray) -> float:
    """Integrated autocorrelation time 1/2 + sum rho(t), in samples; at least 1/2 (uncorrelated samples)."""
    x = np.asarray(series, dtype=float) - np.mean(series)
    n = len(x)
    if n < 4 or np.ptp(x) <= 1e-10 * max(1e-6, abs(float(np.mean(series)))):  # constant up to round-off
        return 0.5
    spectrum = np.abs(np.fft.rfft(x, 2 * n)) ** 2
    rho = np.fft.irfft(spectrum)[:n]
    rho = rho / rho[0]
    tau = 0.5
    for t in range(1, n):
        tau += rho[t]
        if t >= LONGEST_TAIL * tau:
            break
    return max(0.5, float(tau))


def mean_error(series: Sequence[np.ndarray] | np.ndarray) -> tuple[float, float, bool]:
    """Mean over one or several series of equal weight, its standard error, and whether the series are long enough.

    The error is the larger of sigma sqrt(2 tau / n), with the autocorrelation time tau, and the scatter of the series'
    means. Long enough: at least ten correlation times (2 tau) in all series together.
    """
    many = [np.asarray(s, dtype=float) for s in ([series] if np.ndim(series[0]) == 0 else series)]
    means = np.array([s.mean() for s in many])
    taus = [correlation_time(s) for s in many]
    squares = [s.var() * 2 * t / len(s) for s, t in zip(many, taus, strict=True)]
    within = float(np.sqrt(sum(squares))) / len(many)
    between = float(means.std(ddof=1) / np.sqrt(len(many))) if len(many) > 2 else 0.0
    enough = sum(len(s) / (2 * t) for s, t in zip(many, taus, strict=True)) >= 10
    return float(means.mean()), max(within, between), bool(enough)


def slope_error(time: np.ndarray, series: np.ndarray) -> tuple[float, float]:
    """Slope of a straight line and its standard error; correlated residuals raise sigma^2 of white noise by 2 tau."""
    t = np.asarray(time) - np.mean(time)
    y = np.asarray(series, dtype=float)
    slope = float((t * y).sum() / (t**2).sum())
    rest = y - y.mean() - slope * t
    white = (rest**2).sum() / max(len(t) - 2, 1) / (t**2).sum()
    return slope, float(np.sqrt(white * 2 * correlation_time(rest)))


# -- pairs and angles --------------------------------------------------------------------------------------------------


def pair_distribution(frames, rmax: float, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """r (bins,) and g(r) per frame (f, bins) of frames [(cell, positions), ...]."""
    edges = np.linspace(0.0, rmax, bins + 1)
    shells = 4 / 3 * np.pi * (edges[1:] ** 3 - edges[:-1] ** 3)
    g = []
    for cell, positions in frames:
        (d,) = neighbours(positions, cell, rmax, "d")
        n, volume = len(positions), abs(np.linalg.det(cell))
        g.append(np.histogram(d, edges)[0] / (n * n / volume * shells))
    return (edges[1:] + edges[:-1]) / 2, np.array(g)


def partial_distributions(frames, numbers: np.ndarray, rmax: float, bins: int) -> dict[tuple[int, int], np.ndarray]:
    """Mean partial g_ab(r) (bins,) for each pair a <= b of atomic numbers."""
    edges = np.linspace(0.0, rmax, bins + 1)
    shells = 4 / 3 * np.pi * (edges[1:] ** 3 - edges[:-1] ** 3)
    kinds = sorted(set(numbers.tolist()))
    out = {(a, b): np.zeros(bins) for k, a in enumerate(kinds) for b in kinds[k:]}
    for cell, positions in frames:
        i, j, d = neighbours(positions, cell, rmax, "ijd")
        volume = abs(np.linalg.det(cell))
        for a, b in out:
            na, nb = (numbers == a).sum(), (numbers == b).sum()
            chosen = d[(numbers[i] == a) & (numbers[j] == b)]
            out[a, b] += np.histogram(chosen, edges)[0] / (na * nb / volume * shells) / len(frames)
    return out


def first_peak(r: np.ndarray, g: np.ndarray) -> tuple[float, float]:
    """Position and height of the first peak that reaches two thirds of the highest, by a parabola through its top."""
    smooth = np.convolve(g, np.ones(5) / 5, mode="same")
    high = (smooth[1:-1] >= smooth[:-2]) & (smooth[1:-1] > smooth[2:]) & (smooth[1:-1] > 2 / 3 * smooth.max())
    if not high.any():
        return float("nan"), float("nan")
    k = int(np.flatnonzero(high)[0]) + 1
    near = slice(max(k - 3, 0), k + 4)
    a, b, c = np.polyfit(r[near] - r[k], g[near], 2)
    if a >= 0:
        return float(r[k]), float(g[k])
    shift = float(np.clip(-b / (2 * a), r[near][0] - r[k], r[near][-1] - r[k]))
    return float(r[k] + shift), float(np.polyval((a, b, c), shift))


def first_minimum(r: np.ndarray, g: np.ndarray) -> float:
    """Lowest g(r) between the first peak and 1.9 times its distance (smoothed over five bins)."""
    peak = first_peak(r, g)[0]
    smooth = np.convolve(g, np.ones(5) / 5, mode="same")
    window = np.flatnonzero((r > 1.05 * peak) & (r < 1.9 * peak) & (r < r[-4]))
    if not len(window):
        return float("nan")
    for k in window[1:-1]:  # the first valley, not a deeper one behind the second peak
        if smooth[k] < smooth[k - 1] and smooth[k] <= smooth[window[window >= k]][:8].min() and smooth[k] < 1.0:
            return float(r[k])
    return float(r[window[np.argmin(smooth[window])]])


def angle_distribution(frames, cutoff: float, bins: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles (degree, bins), density per degree (bins,) of the angles between neighbours within `cutoff`, and the mean
    number of neighbours of each frame (f,)."""
    edges = np.linspace(0.0, 180.0, bins + 1)
    total, coordination = np.zeros(bins), []
    for cell, positions in frames:
        i, vectors = neighbours(positions, cell, cutoff, "iD")
        n = len(positions)
        counts = np.bincount(i, minlength=n)
        coordination.append(len(i) / n)
        unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        for m in np.unique(counts):  # all atoms with the same number of neighbours at once
            atoms = np.flatnonzero(counts == m)
            if m < 2:
                continue
            u = unit[first[atoms][:, None] + np.arange(m)]
            a, b = np.triu_indices(m, 1)
            cosines = np.einsum("nkc,nkc->nk", u[:, a], u[:, b])
            total += np.histogram(np.degrees(np.arccos(np.clip(cosines, -1, 1))), edges)[0]
    norm = total.sum() * (edges[1] - edges[0])
    return (edges[1:] + edges[:-1]) / 2, total / max(norm, 1e-300), np.array(coordination)


def structure_factor(frames, qmax: float, most: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """|q| (1/A) and S(q) = |sum exp(i q.r)|^2 / N averaged over frames, for the cell's own wave vectors up to qmax."""
    reciprocal = 2 * np.pi * np.linalg.inv(frames[0][0]).T
    reach = np.ceil(qmax * np.linalg.norm(frames[0][0], axis=1) / (2 * np.pi)).astype(int)
    grid = np.stack(np.meshgrid(*[np.arange(-m, m + 1) for m in reach], indexing="ij"), -1).reshape(-1, 3)
    grid = grid[len(grid) // 2 + 1 :]  # half: S(-q) = S(q)
    q = np.linalg.norm(grid @ reciprocal, axis=1)
    grid, q = grid[q <= qmax], q[q <= qmax]
    order = np.argsort(q, kind="stable")[:: max(1, len(q) // most)]
    grid, q = grid[order], q[order]
    total = np.zeros(len(q))
    for cell, positions in frames:
        phase = 2 * np.pi * (positions @ np.linalg.inv(cell)) @ grid.T
        total += (np.cos(phase).sum(axis=0) ** 2 + np.sin(phase).sum(axis=0) ** 2) / len(positions) / len(frames)
    return q, total


# -- motion ------------------------------------------------------------------------------------------------------------


def square_displacements(frames, masses: np.ndarray, lags: Sequence[int], chosen=None) -> np.ndarray:
    """(lags,) mean-square displacement (A^2) over atoms and all time origins, without the centre of mass's motion.

    frames: [(cell, unwrapped positions), ...] of a fixed cell; chosen: indices of the atoms to average over.
    """
    x = np.array([p for _, p in frames])
    x = x - (masses[:, None] * x).sum(axis=1, keepdims=True) / masses.sum()
    if chosen is not None:
        x = x[:, chosen]
    return np.array([float(((x[lag:] - x[: len(x) - lag]) ** 2).sum(axis=2).mean()) if lag else 0.0 for lag in lags])


# -- order -------------------------------------------------------------------------------------------------------------


def shell_cutoff(atoms: Atoms, least: int = 12) -> tuple[float, float]:
    """Nearest-neighbour distance of a crystal and a radius in the gap behind the shell with `least` neighbours (A)."""
    reach = 1.2 * (abs(atoms.get_volume()) / len(atoms)) ** (1 / 3)
    while True:
        i, d = neighbours(atoms.positions, atoms.cell.array, reach, "id")
        mine = np.sort(d[i == 0])
        if len(mine) > least:
            gaps = np.flatnonzero(np.diff(mine) > 0.08 * mine[0]) + 1
            full = [k for k in gaps if k >= least]
            if full:
                return float(mine[0]), float((mine[full[0] - 1] + mine[full[0]]) / 2)
        reach *= 1.3


def averaged_q6(positions: np.ndarray, cell: np.ndarray, cutoff: float, degree: int = 6) -> np.ndarray:
    """(n,) averaged bond-order parameter of Lechner and Dellago (doi:10.1063/1.2977970): q_lm of an atom averaged over
    itself and its neighbours within `cutoff`; large in any crystal, small in the liquid."""
    n = len(positions)
    i, j, vectors, d = neighbours(positions, cell, cutoff, "ijDd")
    counts = np.maximum(np.bincount(i, minlength=n), 1)
    theta = np.arccos(np.clip(vectors[:, 2] / d, -1, 1))
    phi = np.arctan2(vectors[:, 1], vectors[:, 0])
    total = np.zeros(n)
    for m in range(degree + 1):  # q_l,-m follows from q_lm
        y = sph_harm_y(degree, m, theta, phi)
        own = (np.bincount(i, y.real, n) + 1j * np.bincount(i, y.imag, n)) / counts
        around = np.bincount(i, own[j].real, n) + 1j * np.bincount(i, own[j].imag, n)
        mean = (own + around) / (counts + 1)
        total += (1 if m == 0 else 2) * np.abs(mean) ** 2
    return np.sqrt(4 * np.pi / (2 * degree + 1) * total)


def displacement_from_sites(positions: np.ndarray, cell: np.ndarray, start: np.ndarray, start_cell: np.ndarray):
    """(n,) distances of the atoms (unwrapped positions) from the sites of the strained lattice, less a common shift."""
    away = positions - start @ np.linalg.inv(start_cell) @ cell
    return np.linalg.norm(away - away.mean(axis=0), axis=1)
