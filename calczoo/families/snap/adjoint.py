"""Tables of the fast algorithm: U by three-term recurrences, forces by rotation generators.

Doubled angular momenta throughout (j stands for 2j). An element of U_j sits at row p and column q (doubled m' and m,
both of the parity of j); mb = (j - p) / 2, ma = (j - q) / 2. Only rows p >= 0 are kept, since
u(-p, -q) = (-1)^((p-q)/2) conj u(p, q).

Chains. For fixed (p, q) the elements of all j = j0, j0 + 2, ... (j0 = max(p, |q|)) are one complex number times real
polynomials of x = |a|^2 - |b|^2:

    u_j(p, q) = S f_j(x),   S = a*^mu (-b*)^nu,  mu = (p + q) / 2, nu = (p - q) / 2 (negative powers: see `Chains`)
    f_{j0} = sqrt(C(j0, |nu|)),   f_{j+2} = (alpha_j x + beta_j) f_j - gamma_j f_{j-2}

the recurrence of Wigner's d functions. So a pair costs five multiply-adds an element, in registers, instead of the
twelve of the recursion over j.

Generators. For g -> g exp(-i eps sigma_k) the columns of u mix tridiagonally, so the derivative of Re sum conj(Y) u
with respect to the orientation is Re sum conj(V_k) u, with V_k made from Y once per atom; no derivative of u is ever
formed.

Source: Thompson et al., doi:10.1016/j.jcp.2014.12.018; Varshalovich et al., Quantum Theory of Angular Momentum, ch. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import comb, sqrt

import numpy as np

from .indices import coupling_tensor, indices


@dataclass(frozen=True)
class Chains:
    """Elements in chain order: chain (p, q), then j.

    index (C, 4) int: first element, length, |mu|, |nu|; start (C, 3): f_{j0} with its sign, and the signs that turn the
    stored powers a*^|mu| and (-b*)^|nu| into those of S (imaginary part times +-1).
    step (E, 3): alpha, beta, gamma. j, p, q (E,). find: (j, p, q) -> element.
    """

    index: np.ndarray
    start: np.ndarray
    step: np.ndarray
    j: np.ndarray
    p: np.ndarray
    q: np.ndarray
    find: dict[tuple[int, int, int], int]


@cache
def chains(twojmax: int) -> Chains:
    """All elements with p >= 0 of U_0 ... U_2J."""
    index, start, step, places = [], [], [], []
    for p in range(twojmax + 1):
        for q in range(-twojmax, twojmax + 1):
            if (p - q) % 2:
                continue
            mu, nu, j0 = (p + q) // 2, (p - q) // 2, max(p, abs(q))
            length = (twojmax - j0) // 2 + 1
            index.append((len(places), length, abs(mu), abs(nu)))
            # b^|nu| = (-1)^nu conj((-b*)^|nu|) for nu < 0
            sign = (-1.0) ** nu if nu < 0 else 1.0
            start.append((sign * sqrt(comb(j0, abs(nu))), -1.0 if mu < 0 else 1.0, -1.0 if nu < 0 else 1.0))
            for j in range(j0, twojmax + 1, 2):
                places.append((j, p, q))
                step.append(_recurrence(j / 2, p / 2, q / 2))
    j, p, q = np.array(places).T
    find = {place: e for e, place in enumerate(places)}
    return Chains(np.array(index), np.array(start), np.array(step), j, p, q, find)


def _recurrence(s: float, m: float, n: float) -> tuple[float, float, float]:
    """alpha, beta, gamma of d^{s+1} = (alpha x + beta) d^s - gamma d^{s-1}."""
    up = sqrt(((s + 1) ** 2 - m * m) * ((s + 1) ** 2 - n * n)) / ((s + 1) * (2 * s + 1))
    down = sqrt(max(0.0, (s * s - m * m) * (s * s - n * n))) / (s * (2 * s + 1)) if s > 0 else 0.0
    middle = m * n / (s * (s + 1)) if s > 0 else 0.0
    return 1.0 / up, -middle / up, down / up


@cache
def full_map(twojmax: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The whole U_j, row by row: block (2J+1,) first place of each j; (F,) element to copy; (F, 2) signs of re, im."""
    c = chains(twojmax)
    block, source, signs = [], [], []
    for j in range(twojmax + 1):
        block.append(len(source))
        for mb in range(j + 1):
            for ma in range(j + 1):
                p, q = j - 2 * mb, j - 2 * ma
                if p >= 0:
                    source.append(c.find[j, p, q])
                    signs.append((1.0, 1.0))
                else:
                    sign = (-1.0) ** ((p - q) // 2)
                    source.append(c.find[j, -p, -q])
                    signs.append((sign, -sign))
    return np.array(block), np.array(source), np.array(signs)


@cache
def generators(twojmax: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (E, 2) int: elements at ma + 1 and ma - 1 of the same row (itself at the edge), and numbers (E, 5):
    c(ma), c(ma - 1) with c(ma) = sqrt((ma + 1)(j - ma)), q, row weight (2 for p > 0, else 1), 1 on U's diagonal."""
    c = chains(twojmax)
    neighbours, numbers = [], []
    for e, (j, p, q) in enumerate(zip(c.j.tolist(), c.p.tolist(), c.q.tolist(), strict=True)):
        ma = (j - q) // 2
        neighbours.append((c.find.get((j, p, q - 2), e), c.find.get((j, p, q + 2), e)))
        numbers.append((sqrt((ma + 1) * (j - ma)), sqrt(ma * (j - ma + 1)), q, 2.0 if p > 0 else 1.0, float(p == q)))
    return np.array(neighbours), np.array(numbers, dtype=float)


@dataclass(frozen=True)
class Couplings:
    """The products z_{j1 j2}: blocks (M, 7) int: j1, j2, largest j, place in cg, number of j's, first z entry, first
    bispectrum component (-1: none); cg: [ma1, ma2, t] of each block, t counting j = j1 - j2, j1 - j2 + 2, ..."""

    blocks: np.ndarray
    cg: np.ndarray
    n_entries: int


@cache
def couplings_of(twojmax: int) -> Couplings:
    """Blocks of all (j1, j2) with j2 <= j1."""
    b_block = indices(twojmax).b_block
    blocks, parts, n_cg, n_entries = [], [], 0, 0
    for j1 in range(twojmax + 1):
        for j2 in range(j1 + 1):
            tops = list(range(j1 - j2, min(twojmax, j1 + j2) + 1, 2))
            dense = np.stack([coupling_tensor(j1, j2, j).sum(axis=2) for j in tops], axis=2)
            first_b = next((int(b_block[j1, j2, j]) for j in tops if j >= j1), -1)
            blocks.append((j1, j2, tops[-1], n_cg, len(tops), n_entries, first_b))
            parts.append(dense.ravel())
            n_cg += dense.size
            n_entries += len(tops)
    return Couplings(np.array(blocks), np.concatenate(parts), n_entries)


@cache
def adjoint_map(twojmax: int, n_densities: int, bnorm: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How the derivative with respect to B becomes the weights of z in Y.

    Y_{d3} += y z_{d1 d2}, entry ((d1 D + d2) D + d3) n_entries + entry(j1, j2, j); y = sum_t weight_t dE/dB_t.
    Returns CSR (start, t, weight). From B_{j1 j2 j} / (2j + 1) being symmetric in its three (density, j) pairs.
    """
    d, table, c = n_densities, indices(twojmax), couplings_of(twojmax)
    entry = {}
    for j1, j2, top, _, count, first, _ in c.blocks.tolist():
        entry |= {(j1, j2, j): first + k for k, j in enumerate(range(top - 2 * (count - 1), top + 1, 2))}
    terms: list[list[tuple[int, float]]] = [[] for _ in range(d**3 * c.n_entries)]
    kb = len(table.b)
    for d1, d2, d3 in np.ndindex(d, d, d):
        for k, (j1, j2, j) in enumerate(table.b.tolist()):
            t = ((d1 * d + d2) * d + d3) * kb + k
            norm = 1.0 / (j + 1) if bnorm else 1.0

            def put(a, b, target, jt, t=t, norm=norm, j=j):
                (da, ja), (db, jb) = a, b
                row = ((da * d + db) * d + target) * c.n_entries + entry[ja, jb, jt]
                terms[row].append((t, norm * (j + 1) / (jt + 1)))

            put((d1, j1), (d2, j2), d3, j)
            put((d3, j), (d2, j2), d1, j1)
            put((d3, j), (d1, j1), d2, j2)
    start = np.concatenate([[0], np.cumsum([len(row) for row in terms])])
    flat = [term for row in terms for term in row]
    return start, np.array([t for t, _ in flat]), np.array([w for _, w in flat])
