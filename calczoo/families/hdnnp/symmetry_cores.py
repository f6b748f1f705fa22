"""Cutoff functions and cores of compact functions, in torch; twice differentiable, without NaN at any point.

    core(u), 0 <= u < 1, zero beyond:
        c   (cos(pi u) + 1) / 2
        p1  (2 u - 3) u^2 + 1                               p2  ((15 - 6 u) u - 10) u^3 + 1
        p3  (u (u (20 u - 70) + 84) - 35) u^4 + 1           p4  (u (u ((315 - 70 u) u - 540) + 420) - 126) u^5 + 1
        e   exp(1 + 1 / (u^2 - 1))
    cutoff functions, r < rc: type 0: 1; 1: core c; 2: tanh^3(1 - r/rc); 3: type 2 / tanh^3(1); 4: core e; 5 to 8: p1 to
    p4; with cores u = max(0, r - alpha rc) / (rc - alpha rc)
    compact functions between l and h: core(u), u = |x - (l + h)/2| / ((h - l)/2); asymmetric: core((2 - u) u)

Every core is written in s = u^2, in which it is smooth, and odd powers of u as s^k u, so that derivatives at the middle
of an interval, where u = |x - ...| has a kink, come out right. Beyond u = 1/2 the polynomials are evaluated as
p_k = (1 - u)^(k+1) sum_{n<=k} binomial(n + k, n) u^n, whose terms do not cancel at the end.

Source: Singraber, Behler, Dellago, J. Chem. Theory Comput. 15, 1827 (2019), doi:10.1021/acs.jctc.8b00770; Bircher,
Singraber, Dellago, Mach. Learn.: Sci. Technol. 2, 035026 (2021), doi:10.1088/2632-2153/abf817.
"""

from __future__ import annotations

import math

import torch

CUTOFF_CORES = {1: "c", 4: "e", 5: "p1", 6: "p2", 7: "p3", 8: "p4"}
"""Cutoff types that are cores."""

_COS = [(-1) ** n / math.factorial(2 * n) for n in range(9)]
_ARCSIN2 = [4.0**n / (2 * n * n * math.comb(2 * n, n)) for n in range(1, 10)]
"""arcsin(sqrt(x))^2 = sum_n c_n x^n."""
_SERIES_BELOW = 0.01


def _polynomial(coefficients: list[float], x: torch.Tensor) -> torch.Tensor:
    out = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        out = out * x + c
    return out


def core(name: str, s: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """core(u) for s = u^2 and u >= 0, without the letter for asymmetric ones."""
    inside = s < 1.0
    s, u = torch.where(inside, s, 0.0), torch.where(inside, u, 0.0)
    if name == "c":
        series = s < _SERIES_BELOW
        near = _polynomial(_COS, torch.where(series, s, 0.0) * math.pi**2)
        value = 0.5 * (torch.where(series, near, torch.cos(math.pi * u)) + 1.0)
    elif name == "e":
        value = torch.exp(1.0 + 1.0 / (s - 1.0))
    else:
        order = int(name[1])
        tail = [float(math.comb(n + order, n)) for n in range(order + 1)]
        value = torch.where(u < 0.5, _from_middle(order, s, u), (1.0 - u) ** (order + 1) * _polynomial(tail, u))
    return torch.where(inside, value, 0.0)


def _from_middle(order: int, s: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """The polynomial p1 to p4 in s = u^2 and odd powers of u."""
    if order == 1:
        return 1.0 + s * (2.0 * u - 3.0)
    if order == 2:
        return 1.0 + s * (15.0 * s - u * (10.0 + 6.0 * s))
    if order == 3:
        return 1.0 + s * s * (u * (84.0 + 20.0 * s) - 35.0 - 70.0 * s)
    return 1.0 + s * s * (s * (420.0 + 315.0 * s) - u * (126.0 + s * (540.0 + 70.0 * s)))


def cutoff(kind: int, alpha: float, r: torch.Tensor, rc: float) -> torch.Tensor:
    """f_c(r) of cutoff type `kind`."""
    inside = r < rc
    if kind == 0:
        return inside.to(r.dtype)
    if kind in (2, 3):
        value = torch.tanh(1.0 - torch.where(inside, r, rc) / rc) ** 3
        return value if kind == 2 else value / math.tanh(1.0) ** 3
    inner = alpha * rc
    u = (torch.where(inside, r, rc) - inner).clamp(min=0.0) / (rc - inner)
    return torch.where(inside, core(CUTOFF_CORES[kind], u * u, u), 0.0)


def compact(name: str, r: torch.Tensor, middle: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    """(..., K): compact functions of distances r (...), intervals given by middle and half width (K,)."""
    d = (r.unsqueeze(-1) - middle) / half
    s, u = d * d, d.abs()
    if name.endswith("a"):
        return torch.where(u < 1.0, core(name[:-1], s * (4.0 - 4.0 * u + s), (2.0 - u) * u), 0.0)
    return core(name, s, u)


def compact_angle(name: str, a: torch.Tensor, b: torch.Tensor, dot: torch.Tensor, middle: float, half: float):
    """(T,): symmetric core of the angle between vectors a and b (T, 3), whose product is dot; radians.

    An angle has a kink at 0 and pi, but its square (from there) has none: where the interval is centred on one of the
    two, the square comes from a series in sin^2 close to it. Elsewhere the function of the positions itself has a kink,
    and the derivative given for exactly collinear vectors is zero, the mean over all directions.
    """
    name = name.removesuffix("a")
    cross = torch.linalg.cross(a, b)
    cross2 = (cross * cross).sum(dim=1)
    sin2 = cross2 / (cross2 + dot * dot)
    regular = sin2 > torch.finfo(sin2.dtype).eps ** 2
    safe = torch.atan2(torch.where(regular, cross2, 1.0).sqrt(), dot)
    theta = torch.where(regular, safe, (dot <= 0).to(dot.dtype) * math.pi)  # where() of two numbers is float32
    d = (theta - middle) / half
    s, u = d * d, d.abs()
    straight = abs(middle - math.pi) < 1e-12
    if straight or abs(middle) < 1e-12:
        close = (sin2 < _SERIES_BELOW) & ((dot < 0) if straight else (dot > 0))
        x = torch.where(close, sin2, 0.0)
        series = x * _polynomial(_ARCSIN2, x) / half**2
        s = torch.where(close, series, s)
        nonzero = s > 0
        u = torch.where(nonzero, torch.where(nonzero, s, 1.0).sqrt(), 0.0)
    return core(name, s, u)


def power(base: torch.Tensor, zeta: float, bounded: bool) -> torch.Tensor:
    """base^zeta for base = 1 + lambda cos; bounded: |lambda| <= 1, so that base < 0 is round-off only.

    Positive whole exponents are exact there. Otherwise it is zero for base <= 4 eps, where the power is not defined
    (base < 0), or its value would be round-off (negative exponents, which diverge for a straight triplet).
    """
    if bounded and zeta > 0 and zeta == int(zeta):
        return base if zeta == 1 else base ** int(zeta)
    positive = base > 4.0 * torch.finfo(base.dtype).eps
    return torch.where(positive, torch.where(positive, base, 1.0) ** zeta, 0.0)
