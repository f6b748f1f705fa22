"""Open structures: every pair once, without cutoff and without a list, in Warp kernels.

    A_ij = erf(r / sqrt(2) gamma_ij) / r   (points: 1 / r),   gamma_ij^2 = sigma_i^2 + sigma_j^2
    A_ii = 1 / (sqrt(pi) sigma_i)          (points: 0)

Index letters: n m atoms.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import warp as wp

from ..core.pairs import MIN_DISTANCE
from ..core.warp_base import make_kernel
from ..core.warp_model import as_warp
from .real_space import F64, MAT, VEC, launch

_PAIR_US = 0.02


def potential(x: torch.Tensor, squares: torch.Tensor, q: torch.Tensor, threads: int = 1) -> torch.Tensor:
    """(n,) sum_{m != n} a_nm q_m."""
    n, out = x.shape[0], torch.empty_like(q)
    args = [as_warp(x, VEC), as_warp(squares), as_warp(q), as_warp(out)]
    launch(_potential_kernel(), n, args, x.device, threads, _PAIR_US * n)
    return out


def matrix(x: torch.Tensor, squares: torch.Tensor, threads: int = 1) -> torch.Tensor:
    """(n, n) a_nm with a zero diagonal."""
    n = x.shape[0]
    out = x.new_zeros((n, n))
    launch(_matrix_kernel(), n, [as_warp(x, VEC), as_warp(squares), as_warp(out)], x.device, threads, _PAIR_US * n)
    return out


def gradients(
    x: torch.Tensor, squares: torch.Tensor, p: torch.Tensor, q: torch.Tensor, threads: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forces (n, 3) and virial (3, 3) of sum_nm p_n a_nm q_m."""
    n = x.shape[0]
    forces, virials = x.new_empty((n, 3)), x.new_empty((n, 3, 3))
    args = [as_warp(x, VEC), as_warp(squares), as_warp(p), as_warp(q), as_warp(forces, VEC), as_warp(virials, MAT)]
    launch(_gradient_kernel(), n, args, x.device, threads, _PAIR_US * n)
    return forces, virials.sum(dim=0)


def overlap(x: torch.Tensor, threads: int = 1) -> tuple[int, int, float] | None:
    """(i, j, distance) of two atoms closer than MIN_DISTANCE, if there are any."""
    n = x.shape[0]
    close = torch.empty(n, dtype=torch.int32, device=x.device)
    args = [as_warp(x, VEC), F64(MIN_DISTANCE**2), as_warp(close)]
    launch(_overlap_kernel(), n, args, x.device, threads, 0.002 * n)
    marked = torch.nonzero(close >= 0).flatten()
    if not len(marked):
        return None
    i = int(marked[0])
    j = int(close[i])
    return i, j, float((x[j] - x[i]).norm())


_SQRT_HALF, _T = math.sqrt(0.5), 2.0 / math.sqrt(math.pi)
# erf(w) / w = _T sum_n (-w^2)^n / (n! (2n + 1)); made here, because Warp folds quotients of literals in float32
_V = tuple(_T * (-1.0) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(6))
_V0, _V1, _V2, _V3, _V4, _V5 = _V
_S0, _S1, _S2, _S3, _S4 = (2.0 * n * _V[n] for n in range(1, 6))


# Warp evaluates an expression inside a kernel in single precision, so every constant is a float64 before it gets there
_ROOT_HALF = F64(math.sqrt(0.5))
_TWO_OVER_ROOT_PI = F64(2.0 / math.sqrt(math.pi))
_V1, _V2, _V3, _V4 = F64(-1.0 / 3.0), F64(1.0 / 10.0), F64(-1.0 / 42.0), F64(1.0 / 216.0)
_S0, _S1, _S2, _S3, _S4 = F64(-2.0 / 3.0), F64(2.0 / 5.0), F64(-1.0 / 7.0), F64(1.0 / 27.0), F64(-1.0 / 132.0)
"""Series of sqrt(pi)/2 erf(w) / w, in powers of w^2, and of its derivative over w."""
_SMALL, _LARGE = F64(0.05), F64(6.0)


@wp.func
def _near(w2: F64) -> wp.vec2d:
    """erf(w) / w and its derivative over w, by the series at w = 0."""
    value = F64(1.0) + w2 * (_V1 + w2 * (_V2 + w2 * (_V3 + w2 * _V4)))
    slope = _S0 + w2 * (_S1 + w2 * (_S2 + w2 * (_S3 + w2 * _S4)))
    return wp.vec2d(_TWO_OVER_ROOT_PI * value, _TWO_OVER_ROOT_PI * slope)


@wp.func
def _pair(r2: F64, gamma2: F64) -> wp.vec2d:
    """a(r) and a'(r) / r."""
    r = wp.sqrt(r2)
    out = wp.vec2d(F64(1.0) / r, F64(-1.0) / (r2 * r))
    if gamma2 > F64(0.0):
        beta = _ROOT_HALF / wp.sqrt(gamma2)
        w = beta * r
        if w < _SMALL:
            near = _near(w * w)
            out = wp.vec2d(beta * near[0], beta * beta * beta * near[1])
        elif w < _LARGE:
            value = wp.erf(w) / r
            slope = _TWO_OVER_ROOT_PI * beta * wp.exp(-w * w)
            out = wp.vec2d(value, (slope - value) / r2)
    return out


@cache
def _potential_kernel() -> wp.Kernel:
    def open_potential(
        start: int,
        x: wp.array(dtype=VEC),
        squares: wp.array(dtype=F64),
        q: wp.array(dtype=F64),
        out: wp.array(dtype=F64),
    ):
        n = start + wp.tid()
        total = F64(0.0)
        for m in range(x.shape[0]):
            if m != n:
                total += _pair(wp.length_sq(x[m] - x[n]), squares[n] + squares[m])[0] * q[m]
        out[n] = total

    return make_kernel(open_potential, "open_potential")


@cache
def _matrix_kernel() -> wp.Kernel:
    def open_matrix(start: int, x: wp.array(dtype=VEC), squares: wp.array(dtype=F64), matrix: wp.array2d(dtype=F64)):
        n = start + wp.tid()
        for m in range(n):
            value = _pair(wp.length_sq(x[m] - x[n]), squares[n] + squares[m])[0]
            matrix[n, m] = value
            matrix[m, n] = value

    return make_kernel(open_matrix, "open_matrix")


@cache
def _gradient_kernel() -> wp.Kernel:
    def open_gradient(
        start: int,
        x: wp.array(dtype=VEC),
        squares: wp.array(dtype=F64),
        p: wp.array(dtype=F64),
        q: wp.array(dtype=F64),
        forces: wp.array(dtype=VEC),
        virials: wp.array(dtype=MAT),
    ):
        n = start + wp.tid()
        force = VEC()
        virial = MAT()
        for m in range(x.shape[0]):
            if m != n:
                r_vec = x[m] - x[n]
                slope = _pair(wp.length_sq(r_vec), squares[n] + squares[m])[1]
                g = (slope * (p[n] * q[m] + p[m] * q[n])) * r_vec
                force += g
                virial += wp.outer(r_vec, g)
        forces[n] = force
        virials[n] = F64(0.5) * virial

    return make_kernel(open_gradient, "open_gradient")


@cache
def _overlap_kernel() -> wp.Kernel:
    def open_overlap(start: int, x: wp.array(dtype=VEC), least: F64, close: wp.array(dtype=wp.int32)):
        n = start + wp.tid()
        marked = wp.int32(-1)
        for m in range(x.shape[0]):
            if m != n and wp.length_sq(x[m] - x[n]) < least:
                marked = m
        close[n] = marked

    return make_kernel(open_overlap, "open_overlap")
