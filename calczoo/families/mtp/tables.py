"""Tables of the fast algorithm: basic moments in the order of a nested polynomial, and the tree of products in CSR.

Basic moments are numbered anew, by powers p, then q, then t, then mu = 0 ... n(p, q, t) - 1, so that a loop over p, q, t
multiplies one running monomial by x, y or z at a time and the moments of one monomial are neighbours in memory. A mu
that the file leaves out below the largest one of its monomial gets a moment of its own, which nothing reads.

The other moments fall into two classes. Inner moments are read by products; each is a row of (i, j, mult). Outer ones
are basis functions and read by nothing: with c_ij = sum of weight times mult over their products, their part of the
energy is a sparse quadratic form, so their values are never formed for energies and forces:

    V = e + sum_k w_k m_k + sum_ij c_ij m_i m_j            k, i, j basic or inner
    dV/dm_i = w_i + sum_j s_ij m_j                         s = c + c^T, before inner moments pass theirs on

Moments that lead to no basis function are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .params import Moments


@dataclass(frozen=True)
class Polynomial:
    """Basic moments in nested order.

    depth_q (P,): number of powers of y for each p; depth_t: number of powers of z for each (p, q), row by row; n_mu:
    radial functions of each (p, q, t). place (nb,): the number of the file's basic moment here; count: all of them.
    """

    depth_q: np.ndarray
    depth_t: np.ndarray
    n_mu: np.ndarray
    place: np.ndarray
    count: int


@dataclass(frozen=True)
class Products:
    """The products. The number of a moment counts the polynomial's first, then the inner moments in order of completion.

    inner, inner_ij, inner_mult: CSR over inner moments; form, form_j, form_s: CSR over all moments of the symmetric
    form s; weights (all moments,): w_k of those that are basis functions themselves.
    outer, outer_ij, outer_mult: CSR over basis functions s: their products; own (S,): the moment that is B_s, or -1
    where it is the sum of the products.
    """

    count: int
    n_inner: int
    inner: np.ndarray
    inner_ij: np.ndarray
    inner_mult: np.ndarray
    form: np.ndarray
    form_j: np.ndarray
    form_s: np.ndarray
    weights: np.ndarray
    outer: np.ndarray
    outer_ij: np.ndarray
    outer_mult: np.ndarray
    own: np.ndarray


def polynomial(basic: np.ndarray) -> Polynomial:
    """basic (nb, 4): {mu, p, q, t}, in any order and with gaps."""
    mu, p, q, t = basic.T
    n_mu: dict[tuple[int, int, int], int] = {}
    for m, *power in basic.tolist():
        n_mu[tuple(power)] = max(n_mu.get(tuple(power), 0), m + 1)
    depth_q, depth_t, counts, first, at = [], [], [], {}, 0
    for a in range(int(p.max()) + 1):
        depth_q.append(int(q[p == a].max(initial=-1)) + 1)
        for b in range(depth_q[-1]):
            depth_t.append(int(t[(p == a) & (q == b)].max(initial=-1)) + 1)
            for c in range(depth_t[-1]):
                first[a, b, c] = at
                counts.append(n_mu.get((a, b, c), 0))
                at += counts[-1]
    place = np.array([first[a, b, c] + m for m, a, b, c in basic.tolist()])
    return Polynomial(np.array(depth_q), np.array(depth_t, dtype=int), np.array(counts, dtype=int), place, at)


def products(moments: Moments, poly: Polynomial, weights: np.ndarray) -> Products:
    """The products of `moments`, for weights (S,) of the basis functions."""
    nb, times, m = len(moments.basic), moments.times, moments.count
    live = _live(moments)
    times = times[live[times[:, 3]]]
    read = np.zeros(m, dtype=bool)
    read[times[:, :2]] = True
    read[:nb] = True  # basic moments have numbers of their own
    last = np.full(m, -1)
    np.maximum.at(last, times[:, 3], np.arange(len(times)))
    inner = np.flatnonzero(read[nb:]) + nb
    inner = inner[np.argsort(last[inner], kind="stable")]
    number = np.full(m, -1)
    number[:nb] = poly.place
    number[inner] = poly.count + np.arange(len(inner))
    count = poly.count + len(inner)

    goes_in = read[times[:, 3]]
    rows, inside, outside = number[times[goes_in, 3]] - poly.count, times[goes_in], times[~goes_in]
    order = np.argsort(rows, kind="stable")
    per_moment = np.zeros(m)
    np.add.at(per_moment, moments.scalars, weights)
    own_weights = np.zeros(count)
    own_weights[number[read]] = per_moment[read]
    form = _form(number[outside[:, :2]], outside[:, 2] * per_moment[outside[:, 3]], count)
    outer, picks = _outer(moments.scalars, outside, read)
    return Products(
        count=count,
        n_inner=len(inner),
        inner=_starts(rows, len(inner)),
        inner_ij=number[inside[order, :2]],
        inner_mult=inside[order, 2].astype(float),
        form=form[0],
        form_j=form[1],
        form_s=form[2],
        weights=own_weights,
        outer=outer,
        outer_ij=number[outside[picks, :2]],
        outer_mult=outside[picks, 2].astype(float),
        own=np.where(read[moments.scalars], number[moments.scalars], -1),
    )


def _live(moments: Moments) -> np.ndarray:
    """(M,) bool: moments that lead to a basis function."""
    live = np.zeros(moments.count, dtype=bool)
    live[moments.scalars] = True
    flags = live.tolist()
    for i, j, _, k in moments.times[::-1].tolist():
        if flags[k]:
            flags[i] = flags[j] = True
    return np.array(flags)


def _starts(rows: np.ndarray, n: int) -> np.ndarray:
    """(n + 1,): where each row begins, for entries sorted by row."""
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])


def _form(ij: np.ndarray, c: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR of c + c^T, entries of one place added up."""
    i, j = np.concatenate([ij[:, 0], ij[:, 1]]), np.concatenate([ij[:, 1], ij[:, 0]])
    code, inverse = np.unique(i * count + j, return_inverse=True)
    value = np.zeros(len(code))
    np.add.at(value, inverse, np.concatenate([c, c]))
    return _starts(code // count, count), code % count, value


def _outer(scalars: np.ndarray, outside: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products of each basis function that is an outer moment: starts (S + 1,) and rows of `outside`."""
    order = np.argsort(outside[:, 3], kind="stable")
    keys = outside[order, 3]
    a, b = np.searchsorted(keys, scalars, "left"), np.searchsorted(keys, scalars, "right")
    counts = np.where(read[scalars], 0, b - a)
    starts = np.concatenate([[0], np.cumsum(counts)])
    picks = np.arange(starts[-1]) - np.repeat(starts[:-1], counts) + np.repeat(a, counts)
    return starts, order[picks] if len(order) else np.zeros(0, dtype=int)
