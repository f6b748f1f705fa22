"""Error bars and comparisons by resampling, always with the same random numbers.

Bootstrap (Efron 1979, doi:10.1214/aos/1176344552): the n members of a sample are drawn n times with replacement, and
the statistic of interest is computed for each of SAMPLES such draws. Everything here is a function of sums over the
members, so that one matrix product gives all draws. Paired: both calculators see the same draws. Interval of a
proportion: Wilson 1927, doi:10.1080/01621459.1927.10502953.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLES = 2000
SEED = 20200131
LEVEL = 0.95
FEWEST = 5  # members below which a bootstrap interval says little: no difference is then claimed
_CHUNK = 2_000_000  # multiplicities held at once


def bootstrap_sums(columns: np.ndarray, samples: int = SAMPLES, seed: int = SEED) -> np.ndarray:
    """Sums over resampled members, (samples, k), of the columns (n, k)."""
    columns = np.asarray(columns, dtype=float)
    columns = columns[:, None] if columns.ndim == 1 else columns
    n = len(columns)
    rng = np.random.default_rng(seed)
    rows = max(1, min(samples, _CHUNK // max(n, 1)))
    out, even = [], np.full(n, 1.0 / n)
    for start in range(0, samples, rows):
        counts = rng.multinomial(n, even, size=min(rows, samples - start))
        out.append(counts @ columns)
    return np.concatenate(out)


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Quantiles that leave (1 - level) / 2 outside on each side."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % bootstrap interval; no interval (None) below FEWEST members."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_estimate(values: np.ndarray) -> Estimate:
    """Mean of a sample with its bootstrap interval."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < FEWEST:
        return Estimate(float(values.mean()) if n else float("nan"), None, None, n)
    low, high = interval(bootstrap_sums(values)[:, 0] / n)
    return Estimate(float(values.mean()), low, high, n)


def paired_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Mean of first - second over the same members, with its interval; 0 within it is a tie."""
    return mean_estimate(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))


def paired_ratio_difference(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> Estimate:
    """Difference of two weighted means, sum(first)/sum(weight) - sum(second)/sum(weight), members resampled together.

    For errors whose members are structures of different size: first and second are sums within a structure (of |dF|
    over its components), weight the number of terms.
    """
    columns = np.column_stack([np.asarray(first) - np.asarray(second), weight]).astype(float)
    n, total = len(columns), columns.sum(axis=0)
    if n == 0 or total[1] == 0:
        return Estimate(float("nan"), None, None, n)
    mean = float(total[0] / total[1])
    if n < FEWEST:
        return Estimate(mean, None, None, n)
    sums = bootstrap_sums(columns)
    low, high = interval(sums[:, 0] / np.where(sums[:, 1] > 0, sums[:, 1], np.nan))
    return Estimate(mean, low, high, n)


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a proportion; (0, 1) where nothing was tried."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def shared_ranks(better: np.ndarray) -> list[int]:
    """Rank of each of m members from better[i, j] (i beats j): one more than the number of members that beat it."""
    return [1 + int(np.sum(better[:, j])) for j in range(len(better))]
