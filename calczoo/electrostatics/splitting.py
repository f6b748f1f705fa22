"""How the Coulomb sum of a periodic structure is split into real and reciprocal space, and where both are cut off.

With a splitting width eta (A) the real-space part is erfc(r / sqrt(2) eta) / r and the reciprocal one decays as
exp(-eta^2 K^2 / 2) / K^2. Bounds of what the cutoffs r_c = sqrt(2) eta x and K_c = sqrt(2) y / eta leave out of the
potential (1/A per unit charge), rho being the number density:

    real:        4 pi rho int_{r_c} r erfc(r / sqrt(2) eta) dr   <  4 sqrt(pi) rho eta^2 exp(-x^2) / x
    reciprocal:  2/pi int_{K_c} exp(-eta^2 K^2 / 2) dK           <  sqrt(2) / (pi eta) exp(-y^2) / y
                 for one partner, of which as many as lie within the reach of eta may add up

Gaussians wider than eta, sqrt(sigma_i^2 + sigma_j^2) = gamma > eta, leave a real-space part of width gamma, so that the
cutoff follows the larger of the two. No result depends on eta beyond the accuracy asked for; only the time does.

Source of the method: P. P. Ewald, Ann. Phys. 369, 253 (1921), doi:10.1002/andp.19213690304; of error bounds of this
kind: J. Kolafa and J. W. Perram, Mol. Simul. 9, 351 (1992), doi:10.1080/08927029208049126.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

PAIR_NS, PAIR_AGAIN_NS = 60.0, 4.0
"""Time (ns, one core) to find one directed pair and evaluate its functions, and of the pair in each sum."""
PRODUCT_NS, WAVE_NS, TABLE_NS = 0.016, 0.08, 3.5
"""Time of one multiplication with addition in the matrix, of one in a sum over waves, and of one wave at one atom in
the table that the matrix is made of."""

_GRID = 0.2 * 1.06 ** np.arange(110)
"""Widths (A) to choose from; fixed, so that a strained cell keeps its splitting."""


@dataclass(frozen=True)
class Splitting:
    """eta: width of the splitting (A); real_cutoff (A); reciprocal_cutoff (1/A)."""

    eta: float
    real_cutoff: float
    reciprocal_cutoff: float


def _root(factor: float, accuracy: float) -> float:
    """x with factor exp(-x^2) / x = accuracy, at least 1."""
    x = 1.0
    for _ in range(50):
        new = math.sqrt(max(1.0, math.log(max(factor / (accuracy * x), math.e))))
        if abs(new - x) < 1e-9:
            break
        x = new
    return x


def cutoffs(eta: float, gamma: float, density: float, accuracy: float) -> Splitting:
    """The splitting of width `eta` for Gaussians of pair widths up to `gamma`, see the module docstring."""
    widest = max(eta, gamma)
    each = accuracy / 3.0  # two parts, and sums that miss their integrals
    x = _root(4.0 * math.sqrt(math.pi) * density * widest**2 + 1.0, each)
    coherent = max(1.0, 4.0 * math.pi * density * eta**3)
    y = _root(math.sqrt(2.0) / (math.pi * eta) * coherent, each)
    return Splitting(eta, math.sqrt(2.0) * widest * x, math.sqrt(2.0) * y / eta)


def choose(n: int, volume: float, gamma: float, accuracy: float, dense: bool, sums: int) -> Splitting:
    """The splitting that takes the least time for n atoms in `volume` (A^3).

    dense: the whole matrix will be made (its reciprocal part is a product of matrices of n rows); sums: how many sums
    over all waves or pairs are expected.
    """
    rounded = math.exp(round(20.0 * math.log(volume)) / 20.0), math.ceil(20.0 * gamma) / 20.0
    return cutoffs(_best_eta(n, *rounded, accuracy, dense, sums), gamma, n / volume, accuracy)


@lru_cache(maxsize=4096)
def _best_eta(n: int, volume: float, gamma: float, accuracy: float, dense: bool, sums: int) -> float:
    best, least = 0.0, math.inf
    for eta in _GRID:
        time = _time(n, volume, cutoffs(float(eta), gamma, n / volume, accuracy), dense, sums)
        if time < least:
            best, least = float(eta), time
        elif time > 3.0 * least:  # past the minimum
            break
    return best


def _time(n: int, volume: float, s: Splitting, dense: bool, sums: int) -> float:
    """Rough nanoseconds."""
    pairs = n * max(n / volume * 4.0 / 3.0 * math.pi * s.real_cutoff**3, 1.0)
    vectors = volume / (2.0 * math.pi) ** 3 * 4.0 / 3.0 * math.pi * s.reciprocal_cutoff**3 / 2.0
    box = 6.0 / math.pi * vectors  # sums run over the box around the sphere, with four real products each
    time = pairs * (PAIR_NS + sums * PAIR_AGAIN_NS) + sums * 4.0 * n * box * WAVE_NS
    if dense:
        time += n * vectors * (TABLE_NS + 1.3 * n * PRODUCT_NS)
    return time
