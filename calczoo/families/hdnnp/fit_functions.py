"""Sets of symmetry functions made from data: a documented pool, then the part of it that tells structures apart.

The pool of each element, for a cutoff rc, a shortest distance r0 in the data and n radial functions (lengths in A):

    radial, centred   kind 2, rs = 0, eta_m = (n^(m/n) / rc)^2, m = 0 .. n - 1 (Imbalzano 2018), eta <= 4 / r0^2
    radial, shifted   kind 2, rs_m evenly from r0 to rc - d/2, d their distance, eta = 1 / (2 d^2) (Gastegger 2018)
    angular, centred  kind 3, lambda +-1, zeta of `zetas`, eta_m as above for `etas` values of m
    angular, shifted  kind 9, the same angles, rs at `shifts` distances evenly from r0 to 0.8 rc

for each neighbouring element or pair of elements. Functions without variance, or nearly the same as another, are
dropped, and CUR selection (Imbalzano 2018) takes those that span the variance of the rest best: leverage scores of
the leading singular vectors, one function at a time, with its component removed from all others.

Source: Gastegger et al., J. Chem. Phys. 148, 241709 (2018), doi:10.1063/1.5019667; Imbalzano et al., J. Chem. Phys.
148, 241730 (2018), doi:10.1063/1.5024611.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .order import sort_functions
from .params import SymmetryFunction

SMALLEST = 1e-8
"""A function whose standard deviation is below this is a constant."""
DUPLICATE = 0.9999
"""Correlation above which the second of two functions is dropped."""


@dataclass(frozen=True)
class Pool:
    """What is generated before anything is dropped; see the module."""

    radial: int = 10
    etas: int = 4
    shifts: int = 4
    zetas: tuple[float, ...] = (1.0, 2.0, 4.0, 16.0)

    def of(self, elements: Sequence[str], cutoff: float, shortest: float) -> tuple[SymmetryFunction, ...]:
        """The functions of one element; all lengths in A."""
        low = min(shortest, 0.6 * cutoff)
        n = max(self.radial, 1)
        etas = [e for m in range(n) if (e := (n ** (m / n) / cutoff) ** 2) <= 4.0 / low**2]
        step = (cutoff - low) / n
        shifted = [(round(1.0 / (2.0 * step**2), 6), round(low + m * step, 4)) for m in range(n)]
        some = sorted({etas[int(k)] for k in np.linspace(0, len(etas) - 1, min(self.etas, len(etas)))})
        wide = (0.8 * cutoff - low) / max(self.shifts - 1, 1)
        rings = [(round(0.5 / wide**2, 6), round(low + m * wide, 4)) for m in range(self.shifts)]
        out = []
        for e in elements:
            out += [SymmetryFunction(2, (e,), eta=round(eta, 6), rc=cutoff) for eta in etas]
            out += [SymmetryFunction(2, (e,), eta=eta, rs=rs, rc=cutoff) for eta, rs in shifted]
        for pair in itertools.combinations_with_replacement(elements, 2):
            for zeta, lam in itertools.product(self.zetas, (-1.0, 1.0)):
                angle = {"lam": lam, "zeta": zeta, "rc": cutoff}
                out += [SymmetryFunction(3, pair, eta=round(eta, 6), **angle) for eta in some]
                out += [SymmetryFunction(9, pair, eta=eta, rs=rs, **angle) for eta, rs in rings]
        return sort_functions(out, elements)


def select(values: np.ndarray, count: int, keep: float = 1e-6) -> list[int]:
    """Positions, ascending, of at most `count` columns of values (n, K) that span the others best; count 0: of all that
    vary and differ. keep: stop when less than this part of the variance is left."""
    sigma = values.std(axis=0) if len(values) else np.zeros(values.shape[1])
    alive = np.flatnonzero(sigma > SMALLEST)
    if not len(alive):
        return [0]  # a network needs an input; its value is the same everywhere
    x = (values[:, alive] - values[:, alive].mean(axis=0)) / sigma[alive]
    different = _distinct(x)
    alive, rest = alive[different], x[:, different]
    if not count:
        return alive.tolist()
    total, chosen = float((rest**2).sum()), []
    # only inner products matter, so the rows may be as few as the columns
    rest = np.linalg.qr(rest, mode="r") if len(rest) > rest.shape[1] else rest
    while len(chosen) < min(count, len(alive)) and float((rest**2).sum()) > keep * total:
        scores = np.linalg.svd(rest, full_matrices=False)[2][0] ** 2
        scores[chosen] = -1.0
        best = int(np.argmax(scores))
        chosen.append(best)
        direction = rest[:, best] / np.linalg.norm(rest[:, best])
        rest = rest - np.outer(direction, direction @ rest)
    return sorted(int(alive[k]) for k in chosen)


def _distinct(x: np.ndarray) -> list[int]:
    """Columns (of mean 0 and variance 1) that are no near-duplicates of earlier ones."""
    corr = np.abs(x.T @ x / len(x))
    out: list[int] = []
    for k in range(x.shape[1]):
        if not out or corr[k, out].max() < DUPLICATE:
            out.append(k)
    return out
