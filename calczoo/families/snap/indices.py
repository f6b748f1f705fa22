"""Index tables of the bispectrum: U matrices, couplings (j1, j2, j), Clebsch-Gordan coefficients.

All angular momenta are doubled, so that half-integers are integers: j stands for 2j, and row/column mb, ma run from 0
to j (m = mb - j/2). The layout is that of LAMMPS, so that coefficient files mean what they mean there:

    u     flat list of all U_j, j = 0..2J: element [mb, ma] of U_j sits at u_block[j] + (j + 1) mb + ma
    z     the couplings z_{j1 j2}^{j}[mb, ma] with j2 <= j1, |j1 - j2| <= j <= min(2J, j1 + j2), lower half 2 mb <= j
    b     the bispectrum components (j1, j2, j) with j2 <= j1 <= j
    cg    <j1 m1 j2 m2 | j m> at cg_block[j1, j2, j] + (j2 + 1) ma1 + ma2, zero where m1 + m2 is no m

Source: Thompson et al., J. Comput. Phys. 285, 316 (2015), doi:10.1016/j.jcp.2014.12.018; Varshalovich, Moskalev,
Khersonskii, Quantum Theory of Angular Momentum (1988), ch. 4 and 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import comb, sqrt

import numpy as np

from ...core.errors import OptionError

MAX_TWOJMAX = 20
"""Largest 2J; the tables of 2J = 20 take a few tens of MB."""


def couplings(twojmax: int) -> Iterator[tuple[int, int, int]]:
    """(j1, j2, j) with j2 <= j1, in the order of all tables."""
    for j1 in range(twojmax + 1):
        for j2 in range(j1 + 1):
            for j in range(j1 - j2, min(twojmax, j1 + j2) + 1, 2):
                yield j1, j2, j


@cache
def component_count(twojmax: int) -> int:
    """Number K of bispectrum components of one block: 30 for 2J = 6, 55 for 2J = 8."""
    return sum(j >= j1 for j1, _, j in couplings(twojmax))


def clebsch_gordan(j1: int, ma1: int, j2: int, ma2: int, j: int) -> float:
    """<j1 m1 j2 m2 | j m> (doubled j, m_k = ma_k - j_k / 2, m = m1 + m2), exact up to one rounding.

    With n = (j1 + j2 - j) / 2 the sum over z is one of integers:
    sqrt(C(j1,n) C(j2,n) / (C((j1+j2+j)/2+1, n) C(j1,ma1) C(j2,ma2) C(j,ma)))
      * sum_z (-1)^z C(n, z) C(j1-n, j1-ma1-z) C(j2-n, ma2-z)
    """
    n = (j1 + j2 - j) // 2
    ma = ma1 + ma2 - n
    if not 0 <= ma <= j:
        return 0.0
    total = 0
    for z in range(max(0, n - ma1, ma2 - (j2 - n)), min(n, j1 - ma1, ma2) + 1):
        total += (-1) ** z * comb(n, z) * comb(j1 - n, j1 - ma1 - z) * comb(j2 - n, ma2 - z)
    above = comb(j1, n) * comb(j2, n)
    below = comb((j1 + j2 + j) // 2 + 1, n) * comb(j1, ma1) * comb(j2, ma2) * comb(j, ma)
    return total * sqrt(above / below)


@cache
def coupling_tensor(j1: int, j2: int, j: int) -> np.ndarray:
    """(j1 + 1, j2 + 1, j + 1): <j1 m1 j2 m2 | j m>, dense; read-only."""
    n = (j1 + j2 - j) // 2
    out = np.zeros((j1 + 1, j2 + 1, j + 1))
    for ma1 in range(j1 + 1):
        for ma2 in range(j2 + 1):
            if 0 <= ma1 + ma2 - n <= j:
                out[ma1, ma2, ma1 + ma2 - n] = clebsch_gordan(j1, ma1, j2, ma2, j)
    out.setflags(write=False)
    return out


@dataclass(frozen=True)
class SnapIndices:
    """The tables of one 2J; arrays are read-only.

    u_block (2J + 1,) and u_size; cg_block (2J + 1, 2J + 1, 2J + 1), -1 where there is no coupling, and cg (flat);
    z (M, 10): j1, j2, j, ma1min, ma2max, mb1min, mb2max, na, nb, jju: element [mb, ma] of the coupling is the sum over
        ib < nb, ia < na of cg[mb1, mb2] cg[ma1, ma2] u_{j1}[mb1, ma1] u_{j2}[mb2, ma2] with mb1 = mb1min + ib,
        mb2 = mb2max - ib and so for ma; jju is the place of [mb, ma] in u. z_block: first row of each coupling;
    b (K, 3): (j1, j2, j) of each component; b_block (2J + 1, 2J + 1, 2J + 1): its number, -1 where there is none;
    rootpq (2J + 2, 2J + 2): sqrt(p / q), zero for q = 0.
    """

    twojmax: int
    u_size: int
    u_block: np.ndarray
    cg_block: np.ndarray
    cg: np.ndarray
    z: np.ndarray
    z_block: np.ndarray
    b: np.ndarray
    b_block: np.ndarray
    rootpq: np.ndarray

    @property
    def n_components(self) -> int:
        return len(self.b)


@cache
def indices(twojmax: int) -> SnapIndices:
    """Tables for 2J = twojmax, computed once."""
    if not 0 <= twojmax <= MAX_TWOJMAX:
        raise OptionError(f"twojmax is {twojmax}; allowed are 0 to {MAX_TWOJMAX}")
    edge = twojmax + 1
    sizes = np.arange(1, edge + 1) ** 2
    u_block = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    blocks = {name: np.full((edge, edge, edge), -1, dtype=np.int32) for name in ("cg", "z", "b")}
    cg_parts: list[np.ndarray] = []
    z_rows: list[tuple[int, ...]] = []
    b_rows: list[tuple[int, int, int]] = []
    n_cg = 0
    for j1, j2, j in couplings(twojmax):
        dense = coupling_tensor(j1, j2, j)
        blocks["cg"][j1, j2, j] = n_cg
        cg_parts.append(dense.sum(axis=2).ravel())  # one m per (m1, m2)
        n_cg += (j1 + 1) * (j2 + 1)
        blocks["z"][j1, j2, j] = len(z_rows)
        z_rows += _coupling_rows(j1, j2, j, int(u_block[j]))
        if j >= j1:
            blocks["b"][j1, j2, j] = len(b_rows)
            b_rows.append((j1, j2, j))
    p = np.arange(twojmax + 2)
    rootpq = np.sqrt(p[:, None] / np.maximum(p, 1)[None, :]) * (p > 0)[None, :]
    arrays = {
        "u_block": u_block.astype(np.int32),
        "cg_block": blocks["cg"],
        "cg": np.concatenate(cg_parts),
        "z": np.array(z_rows, dtype=np.int32),
        "z_block": blocks["z"],
        "b": np.array(b_rows, dtype=np.int32),
        "b_block": blocks["b"],
        "rootpq": rootpq,
    }
    for array in arrays.values():
        array.setflags(write=False)
    return SnapIndices(twojmax=twojmax, u_size=int(sizes.sum()), **arrays)


def _coupling_rows(j1: int, j2: int, j: int, u_start: int) -> list[tuple[int, ...]]:
    """Rows of SnapIndices.z for one coupling: lower half in mb, all ma."""

    def sums(m: int) -> tuple[int, int, int]:
        """First index into U_{j1}, last into U_{j2}, number of terms with m1 + m2 = m."""
        n = (j1 + j2 - j) // 2
        low = max(0, m + n - j2)
        return low, m + n - low, min(j1, m + n) - low + 1

    rows = []
    for mb in range(j // 2 + 1):
        mb1, mb2, nb = sums(mb)
        for ma in range(j + 1):
            ma1, ma2, na = sums(ma)
            rows.append((j1, j2, j, ma1, ma2, mb1, mb2, na, nb, u_start + (j + 1) * mb + ma))
    return rows
