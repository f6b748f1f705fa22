"""The real-space part of periodic structures and all of open ones, in Warp kernels (one source for CPU and CUDA).

Functions of a pair, with alpha = 1 / (sqrt(2) eta), beta = 1 / (sqrt(2) gamma), gamma^2 = sigma_i^2 + sigma_j^2:

    periodic   a(r) = (erfc(alpha r) - erfc(beta r)) / r          points: erfc(alpha r) / r
    open       a(r) = erf(beta r) / r                             points: 1 / r
    b(r) = a'(r) / r

Index letters: n atom of the structure, p directed pair, m atom in the order of bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import warp as wp

from ..core.errors import TooLarge
from ..core.pairs import MIN_DISTANCE, available_memory_gib
from ..core.threads import split
from ..core.warp_base import make_kernel
from ..core.warp_model import as_warp
from .complement import value_kernel

BYTES_PER_PAIR = 44
_PER_BIN = 3.0
"""Atoms per bin, at least."""

F64, VEC, MAT = wp.float64, wp.vec3d, wp.mat33d


def launch(kernel: wp.Kernel, n: int, args: Sequence[Any], device: torch.device, threads: int, us: float) -> None:
    """`kernel` over n items, its first argument `start` left out; us: rough microseconds of one item."""
    if device.type == "cuda":
        wp.launch(kernel, dim=n, inputs=[0, *args], device=str(device))
        return

    def work(start: int, stop: int) -> None:
        wp.launch(kernel, dim=stop - start, inputs=[start, *args], device="cpu")

    split(work, n, threads, us)


@dataclass(frozen=True)
class RealSpace:
    """Directed pairs within the cutoff: those of atom n are first[n]:first[n+1]. j (P,), vectors (P, 3) A, a (P,) 1/A,
    b (P,) 1/A^3."""

    first: torch.Tensor
    j: torch.Tensor
    vectors: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor

    def potential(self, q: torch.Tensor, threads: int = 1) -> torch.Tensor:
        """(n,) sum_j a_ij q_j."""
        out, n = torch.empty_like(q), q.shape[0]
        args = [as_warp(self.first), as_warp(self.j), as_warp(self.a), as_warp(q), as_warp(out)]
        launch(_sum_kernel(), n, args, q.device, threads, 0.002 * self.j.shape[0] / max(n, 1))
        return out

    def add_to(self, matrix: torch.Tensor, threads: int = 1) -> None:
        """matrix (n, n) += a; an atom writes its own row."""
        n = matrix.shape[0]
        args = [as_warp(self.first), as_warp(self.j), as_warp(self.a), as_warp(matrix)]
        launch(_matrix_kernel(), n, args, matrix.device, threads, 0.003 * self.j.shape[0] / max(n, 1))

    def gradients(self, p: torch.Tensor, q: torch.Tensor, threads: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Forces (n, 3) and virial (3, 3) of sum_ij p_i a_ij q_j."""
        n = q.shape[0]
        forces, virials = q.new_empty((n, 3)), q.new_empty((n, 3, 3))
        args = [
            as_warp(self.first),
            as_warp(self.j),
            as_warp(self.vectors, VEC),
            as_warp(self.b),
            as_warp(p),
            as_warp(q),
            as_warp(forces, VEC),
            as_warp(virials, MAT),
        ]
        launch(_gradient_kernel(), n, args, q.device, threads, 0.004 * self.j.shape[0] / max(n, 1))
        return forces, virials.sum(dim=0)


def find(
    fractional: torch.Tensor,
    cell: np.ndarray,
    cutoff: float,
    eta: float,
    squares: torch.Tensor,
    threads: int = 1,
    max_memory_gib: float | None = None,
) -> tuple[RealSpace, tuple[int, int, float] | None]:
    """All directed pairs of a periodic structure, own images included, and a pair that overlaps, if there is one.

    fractional (n, 3) in [0, 1); cell (3, 3); squares (n,) squared Gaussian widths. Atoms are put into bins along the
    cell vectors; bins as far apart as the cutoff can reach are searched, through as many images as that takes.
    """
    device, n = fractional.device, fractional.shape[0]
    volume = abs(float(np.linalg.det(cell)))
    _check_memory(n * n / volume * 4.0 / 3.0 * math.pi * cutoff**3 * BYTES_PER_PAIR, max_memory_gib)
    bins, reach = _bins(n, cell, cutoff)
    counts = torch.tensor(bins, device=device)
    place = torch.minimum((fractional * counts).long(), counts - 1)
    index = (place[:, 0] * bins[1] + place[:, 1]) * bins[2] + place[:, 2]
    order = torch.argsort(index, stable=True)
    edges = torch.zeros(math.prod(bins) + 1, dtype=torch.int32, device=device)
    edges[1:] = torch.bincount(index, minlength=math.prod(bins)).cumsum(0)
    box = torch.from_numpy(cell).to(device)
    x = fractional @ box
    count = torch.empty(n, dtype=torch.int32, device=device)
    close = torch.empty(n, dtype=torch.int32, device=device)
    first = torch.zeros(n + 1, dtype=torch.int32, device=device)
    where = [
        as_warp(x, VEC),
        as_warp(place.int()),
        as_warp(x[order], VEC),
        as_warp(order.int()),
        as_warp(edges),
        wp.vec3i(*bins),
        wp.vec3i(*reach),
        wp.mat33d(*cell.ravel().tolist()),
        F64(cutoff * cutoff),
        F64(MIN_DISTANCE**2),
        as_warp(count),
        as_warp(close),
        as_warp(first),
        as_warp(squares),
    ]
    density = n / volume * 4.0 / 3.0 * math.pi * cutoff**3

    def search(fill: bool, j: torch.Tensor, vectors: torch.Tensor, r2: torch.Tensor, gamma2: torch.Tensor) -> None:
        args = [*where, fill, as_warp(j), as_warp(vectors, VEC), as_warp(r2), as_warp(gamma2)]
        launch(_search_kernel(), n, args, device, threads, 0.01 * density)

    search(False, order.int()[:0], x[:0], squares[:0], squares[:0])
    first[1:] = count.cumsum(0)
    total = int(first[-1])
    j = torch.empty(total, dtype=torch.int32, device=device)
    vectors, a, b = x.new_empty((total, 3)), x.new_empty(total), x.new_empty(total)
    search(True, j, vectors, a, b)
    args = [as_warp(first), F64(math.sqrt(0.5) / eta), as_warp(a), as_warp(b)]
    launch(value_kernel(bool((squares > 0).any())), n, args, device, threads, 0.015 * density)
    return RealSpace(first, j, vectors, a, b), _overlap(close, x, box)


def _overlap(close: torch.Tensor, x: torch.Tensor, box: torch.Tensor) -> tuple[int, int, float] | None:
    """(i, j, distance) of a pair that the search has marked."""
    marked = torch.nonzero(close >= 0).flatten()
    if not len(marked):
        return None
    i = int(marked[0])
    j = int(close[i])
    d = torch.linalg.solve(box.T, x[j] - x[i])
    return i, j, float(((d - d.round()) @ box).norm())


def _bins(n: int, cell: np.ndarray, cutoff: float) -> tuple[list[int], list[int]]:
    """Bins along each cell vector and how many of them the cutoff reaches across."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    size = max(cutoff / 3.0, (np.prod(heights) * _PER_BIN / max(n, 1)) ** (1.0 / 3.0))
    bins = [max(1, min(int(h / size), 200)) for h in heights]
    return bins, [int(cutoff * b / h) + 1 for b, h in zip(bins, heights, strict=True)]


def _check_memory(needed: float, max_memory_gib: float | None) -> None:
    if max_memory_gib is None and needed < 2**26:
        return
    limit = max_memory_gib if max_memory_gib is not None else 0.8 * available_memory_gib()
    if needed / 2**30 > limit:
        raise TooLarge(needed / 2**30, limit)


@cache
def _search_kernel() -> wp.Kernel:
    """Counts the pairs of each atom, or (fill) writes neighbours, vectors, r^2 and gamma^2."""

    def ewald_search(
        start: int,
        x: wp.array(dtype=VEC),
        place: wp.array2d(dtype=wp.int32),
        x_binned: wp.array(dtype=VEC),
        atom: wp.array(dtype=wp.int32),
        edges: wp.array(dtype=wp.int32),
        bins: wp.vec3i,
        reach: wp.vec3i,
        cell: MAT,
        cutoff_squared: F64,
        overlap_squared: F64,
        count: wp.array(dtype=wp.int32),
        close: wp.array(dtype=wp.int32),
        first: wp.array(dtype=wp.int32),
        squares: wp.array(dtype=F64),
        fill: bool,
        j: wp.array(dtype=wp.int32),
        vectors: wp.array(dtype=VEC),
        squared: wp.array(dtype=F64),
        gamma_squared: wp.array(dtype=F64),
    ):
        n = start + wp.tid()
        found = wp.int32(0)
        marked = wp.int32(-1)
        p = first[n]
        c0 = wp.transpose(cell) * VEC(F64(1.0), F64(0.0), F64(0.0))
        c1 = wp.transpose(cell) * VEC(F64(0.0), F64(1.0), F64(0.0))
        c2 = wp.transpose(cell) * VEC(F64(0.0), F64(0.0), F64(1.0))
        low = place[n, 2] - reach[2] + reach[2] * bins[2]  # never negative, so that divisions round down
        high = place[n, 2] + reach[2] + reach[2] * bins[2]
        for da in range(-reach[0], reach[0] + 1):
            ta = place[n, 0] + da + reach[0] * bins[0]
            sa = ta / bins[0] - reach[0]
            for db in range(-reach[1], reach[1] + 1):
                tb = place[n, 1] + db + reach[1] * bins[1]
                sb = tb / bins[1] - reach[1]
                row = ((ta % bins[0]) * bins[1] + tb % bins[1]) * bins[2]
                for tc in range(low / bins[2], high / bins[2] + 1):  # bins of one image are neighbours in memory
                    sc = tc - reach[2]
                    image = sa != 0 or sb != 0 or sc != 0
                    from_n = F64(sa) * c0 + F64(sb) * c1 + F64(sc) * c2 - x[n]
                    begin = edges[row + wp.max(low - tc * bins[2], 0)]
                    end = edges[row + wp.min(high - tc * bins[2], bins[2] - 1) + 1]
                    for m in range(begin, end):
                        r_vec = x_binned[m] + from_n
                        r2 = wp.dot(r_vec, r_vec)
                        if r2 < cutoff_squared and (image or atom[m] != n):
                            found += 1
                            if r2 < overlap_squared:
                                marked = atom[m]
                                r2 = overlap_squared
                            if fill:
                                j[p] = atom[m]
                                vectors[p] = r_vec
                                squared[p] = r2
                                gamma_squared[p] = squares[n] + squares[atom[m]]
                                p += 1
        count[n] = found
        close[n] = marked

    return make_kernel(ewald_search, "ewald_search")


@cache
def _sum_kernel() -> wp.Kernel:
    def ewald_sum(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        a: wp.array(dtype=F64),
        q: wp.array(dtype=F64),
        out: wp.array(dtype=F64),
    ):
        n = start + wp.tid()
        total = F64(0.0)
        for p in range(first[n], first[n + 1]):
            total += a[p] * q[j[p]]
        out[n] = total

    return make_kernel(ewald_sum, "ewald_sum")


@cache
def _matrix_kernel() -> wp.Kernel:
    def ewald_matrix(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        a: wp.array(dtype=F64),
        matrix: wp.array2d(dtype=F64),
    ):
        n = start + wp.tid()
        for p in range(first[n], first[n + 1]):
            matrix[n, j[p]] = matrix[n, j[p]] + a[p]

    return make_kernel(ewald_matrix, "ewald_matrix")


@cache
def _gradient_kernel() -> wp.Kernel:
    def ewald_gradient(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        vectors: wp.array(dtype=VEC),
        b: wp.array(dtype=F64),
        left: wp.array(dtype=F64),
        right: wp.array(dtype=F64),
        forces: wp.array(dtype=VEC),
        virials: wp.array(dtype=MAT),
    ):
        n = start + wp.tid()
        force = VEC()
        virial = MAT()
        for p in range(first[n], first[n + 1]):
            weight = (left[n] * right[j[p]] + left[j[p]] * right[n]) * b[p]
            g = weight * vectors[p]
            force += g
            virial += wp.outer(vectors[p], g)
        forces[n] = force
        virials[n] = F64(0.5) * virial

    return make_kernel(ewald_gradient, "ewald_gradient")
