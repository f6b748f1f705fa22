"""erfc(alpha r) / r and its slope for all pairs of a list, in a kernel that compilers vectorise.

    erfc(u) = exp(-u^2) g(t) / (1 + 2 u),   t = (u - MIDDLE) / (u + MIDDLE)
    exp(-y) = e^(-1 b_0) e^(-2 b_1) ... e^(-32 b_5) p(2 f - 1),   y = f + the whole number of bits b

g and p are polynomials fitted when the module is loaded; the result is good to 3e-15 relative. Arguments with y > 63.5,
where erfc is below 1e-28, are taken at 63.5.

Source of the form of g: M. M. Shepherd and J. G. Laframboise, Math. Comp. 36, 249 (1981),
doi:10.1090/S0025-5718-1981-0595058-X. Index letters: n atom, p directed pair.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import warp as wp
from numpy.polynomial import chebyshev
from scipy.special import erfcx

from ..core.warp_base import FAST, make_kernel

F64 = wp.float64
MIDDLE = 3.75


def _scaled(t: np.ndarray) -> np.ndarray:
    u = MIDDLE * (1.0 + t) / (1.0 - np.minimum(t, 1.0 - 1e-9))
    return (1.0 + 2.0 * u) * erfcx(u)


def _coefficients(function, degree: int) -> tuple[int, wp.constant]:
    """Number of coefficients and these, highest first, of the polynomial on [-1, 1]."""
    values = chebyshev.cheb2poly(chebyshev.chebinterpolate(function, degree))[::-1]
    kind = wp.types.vector(length=len(values), dtype=F64)
    return len(values), wp.constant(kind(*values.tolist()))


_N_G, _G = _coefficients(_scaled, 20)
_N_P, _P = _coefficients(lambda s: np.exp(-0.5 * (s + 1.0)), 13)
_E0, _E1, _E2, _E3, _E4, _E5 = (F64(math.exp(-float(2**k))) for k in range(6))
_MIDDLE, _ROOT_HALF, _TWO_OVER_ROOT_PI = F64(MIDDLE), F64(math.sqrt(0.5)), F64(2.0 / math.sqrt(math.pi))


@wp.func
def complement(u: F64) -> wp.vec2d:
    """erfc(u) and exp(-u^2)."""
    y = wp.min(u * u, F64(63.5))
    t = (u - _MIDDLE) / (u + _MIDDLE)
    g = _G[0]
    for k in range(1, wp.static(_N_G)):
        g = g * t + _G[k]
    whole = wp.int32(y)
    s = F64(2.0) * (y - F64(whole)) - F64(1.0)
    e = _P[0]
    for k in range(1, wp.static(_N_P)):
        e = e * s + _P[k]
    e *= wp.where((whole & 1) != 0, _E0, F64(1.0))
    e *= wp.where((whole & 2) != 0, _E1, F64(1.0))
    e *= wp.where((whole & 4) != 0, _E2, F64(1.0))
    e *= wp.where((whole & 8) != 0, _E3, F64(1.0))
    e *= wp.where((whole & 16) != 0, _E4, F64(1.0))
    e *= wp.where((whole & 32) != 0, _E5, F64(1.0))
    return wp.vec2d(g * e / (F64(1.0) + F64(2.0) * u), e)


@cache
def value_kernel(gaussians: bool) -> wp.Kernel:
    """Turns a[p] = r^2 into a(r), and b[p] = gamma^2 into a'(r) / r; item: atom. See real_space.py.

    Nothing is gathered here, which would keep the loop from being vectorised."""

    def point_values(
        start: int, first: wp.array(dtype=wp.int32), alpha: F64, a: wp.array(dtype=F64), b: wp.array(dtype=F64)
    ):
        n = start + wp.tid()
        p = first[n]
        end = first[n + 1]
        while p < end:
            q = p & 2147483647
            r2 = a[q]
            r = wp.sqrt(r2)
            near = complement(alpha * r)
            value = near[0] / r
            a[q] = value
            b[q] = -(value + _TWO_OVER_ROOT_PI * alpha * near[1]) / r2
            p += 1

    def gaussian_values(
        start: int, first: wp.array(dtype=wp.int32), alpha: F64, a: wp.array(dtype=F64), b: wp.array(dtype=F64)
    ):
        n = start + wp.tid()
        p = first[n]
        end = first[n + 1]
        while p < end:
            q = p & 2147483647
            r2 = a[q]
            r = wp.sqrt(r2)
            near = complement(alpha * r)
            # points among Gaussians: an enormous beta, whose erfc is nothing
            beta = _ROOT_HALF / wp.sqrt(wp.max(b[q], F64(1e-20)))
            far = complement(beta * r)
            value = (near[0] - far[0]) / r
            a[q] = value
            b[q] = -(value + _TWO_OVER_ROOT_PI * (alpha * near[1] - beta * far[1])) / r2
            p += 1

    if gaussians:
        return make_kernel(gaussian_values, "ewald_gaussian_values", FAST)
    return make_kernel(point_values, "ewald_point_values", FAST)
