"""Tables of the fast algorithm: basic moments in the order of a nested polynomial, and the tree of products in CSR.

Basic moments are numbered anew, by powers p, then q, then t, then mu = 0 ... n(p, q, t) - 1, so that a loop over p, q,
t multiplies one running monomial by x, y or z at a time, and the moments of one monomial are neighbours in memory. A mu
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
    """The products. The number of a moment counts the polynomial's first, then the inner moments by depth, those of
    equally many products side by side; where moments are read (inner_ij, back, form, form_j, outer_ij) the number is
    times the lanes.

    inner, inner_ij, inner_mult: CSR over inner moments. back, back_mult: the same products for the adjoint, as one
    stream of integers and one of factors, in n_runs runs: see `_back`. form (F, 2), form_j, form_s: rows of the
    symmetric form s, see `_form`; weights (all moments,): w_k of those that are basis functions themselves.
    outer, outer_ij, outer_mult: CSR over basis functions s: their products; own (S,): the moment that is B_s, or -1
    where it is the sum of the products.
    """

    count: int
    n_inner: int
    inner: np.ndarray
    inner_ij: np.ndarray
    inner_mult: np.ndarray
    back: np.ndarray
    back_mult: np.ndarray
    n_runs: int
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


def products(moments: Moments, poly: Polynomial, weights: np.ndarray, lanes: int = 1) -> Products:
    """The products of `moments`, for weights (S,) of the basis functions and that many atoms side by side in memory."""
    nb, times, m = len(moments.basic), moments.times, moments.count
    live = _live(moments)
    times = times[live[times[:, 3]]]
    read = np.zeros(m, dtype=bool)
    read[times[:, :2]] = True
    read[:nb] = True  # basic moments have numbers of their own
    depth, n_products = _depths(times, m), np.bincount(times[:, 3], minlength=m)
    inner = np.flatnonzero(read[nb:]) + nb
    inner = inner[np.lexsort((n_products[inner], depth[inner]))]
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
    sorted_inside = inside[order]
    depth = np.concatenate([np.zeros(poly.count, dtype=np.int64), depth[inner]])
    back, back_mult, n_runs = _back(
        number[sorted_inside[:, [0, 1, 3]]], sorted_inside[:, 2].astype(float), depth, lanes
    )
    return Products(
        count=count,
        n_inner=len(inner),
        inner=_starts(rows, len(inner)),
        inner_ij=number[sorted_inside[:, :2]] * lanes,
        inner_mult=sorted_inside[:, 2].astype(float),
        back=back,
        back_mult=back_mult,
        n_runs=n_runs,
        form=form[0] * [lanes, 1],
        form_j=form[1] * lanes,
        form_s=form[2],
        weights=own_weights,
        outer=outer,
        outer_ij=number[outside[picks, :2]] * lanes,
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


def _depths(times: np.ndarray, count: int) -> np.ndarray:
    """(M,): 0 for moments without products, else one more than the deepest factor."""
    depth = [0] * count
    for i, j, _, k in times.tolist():
        depth[k] = max(depth[k], depth[i] + 1, depth[j] + 1)
    return np.array(depth)


def _starts(rows: np.ndarray, n: int) -> np.ndarray:
    """(n + 1,): where each row begins, for entries sorted by row."""
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])


def _back(ijk: np.ndarray, mult: np.ndarray, depth: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Stream of the adjoint: deepest targets first, and each pair of factors once for all its targets.

    Runs (i, n, m), each followed by n pairs j, each followed by its m targets k. With t the sum of mult beta_k over the
    targets, beta_i += t m_j and beta_j += t m_i. All that adds to beta_k comes before. Loops of equal length stand side
    by side, because a processor foresees the end of such loops only.
    """
    if not len(ijk):
        return np.zeros(0, dtype=np.int64), np.zeros(0), 0
    count, high, low, k = len(depth), ijk[:, :2].max(axis=1), ijk[:, :2].min(axis=1), ijk[:, 2]
    shallow = depth.max() - depth[k]
    _, pair, size = np.unique((shallow * count + high) * count + low, return_inverse=True, return_counts=True)
    targets = size[pair]
    _, run, size = np.unique((shallow * count + targets) * count + high, return_inverse=True, return_counts=True)
    pairs = size[run] // targets
    order = np.lexsort((k, low, run, pairs, targets, shallow))
    run, pair = run[order], pair[order]
    new_pair = np.concatenate([[True], (pair[1:] != pair[:-1]) | (run[1:] != run[:-1])])
    new_run = np.concatenate([[True], run[1:] != run[:-1]])
    place = np.arange(len(k)) + np.cumsum(new_pair) + 3 * np.cumsum(new_run)  # a head goes before its first target
    stream = np.empty(len(k) + int(new_pair.sum()) + 3 * int(new_run.sum()), dtype=np.int64)
    stream[place] = k[order] * lanes
    stream[place[new_pair] - 1] = low[order][new_pair] * lanes
    for offset, values in ((4, high * lanes), (3, pairs), (2, targets)):
        stream[place[new_run] - offset] = values[order][new_run]
    return stream, mult[order], int(new_run.sum())


def _form(ij: np.ndarray, c: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c + c^T, entries of one place added up: rows (F, 2) of moment and length, shortest first, columns and values."""
    i, j = np.concatenate([ij[:, 0], ij[:, 1]]), np.concatenate([ij[:, 1], ij[:, 0]])
    code, inverse = np.unique(i * count + j, return_inverse=True)
    value = np.bincount(inverse, weights=np.concatenate([c, c]), minlength=len(code))
    row, length = np.unique(code // count, return_counts=True)
    order = np.argsort(np.repeat(length, length), kind="stable")
    first = np.argsort(length, kind="stable")
    return np.stack([row[first], length[first]], axis=1), (code % count)[order], value[order]


def _outer(scalars: np.ndarray, outside: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products of each basis function that is an outer moment: starts (S + 1,) and rows of `outside`."""
    order = np.argsort(outside[:, 3], kind="stable")
    keys = outside[order, 3]
    a, b = np.searchsorted(keys, scalars, "left"), np.searchsorted(keys, scalars, "right")
    counts = np.where(read[scalars], 0, b - a)
    starts = np.concatenate([[0], np.cumsum(counts)])
    picks = np.arange(starts[-1]) - np.repeat(starts[:-1], counts) + np.repeat(a, counts)
    return starts, order[picks] if len(order) else np.zeros(0, dtype=int)
