"""Elementary functions for lanes: polynomials that vectorise where the library's scalar functions do not.

Coefficients come from interpolation at Chebyshev nodes in rational arithmetic, so that the polynomial is within about
its smallest possible error and its coefficients are correct to the last bit:

    exp(x) = 2^n p(x - n ln 2)                                   |x - n ln 2| <= (ln 2) / 2
    sin(pi t / 2) = t p(t^2),  cos(pi t / 2) = p(t^2)            |t| <= 1
    tanh(t) = t p(t^2)                                           |t| <= 1
    arcsin(t) = t p(t^2)                                         t^2 <= 1/2
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from math import cos, pi

PRECISION = 50
_LN2 = Fraction("0.69314718055994530941723212145817656807550013436026")
_HALF_PI2 = Fraction("1.57079632679489661923132169163975144209858469968755") ** 2


def _cut(value: Fraction) -> Fraction:
    """The value with PRECISION decimals, so that fractions stay short."""
    return Fraction(round(value * 10**PRECISION), 10**PRECISION)


def _series(ratio: Callable[[int], Fraction], first: Fraction = Fraction(1)) -> Fraction:
    """Sum of a series from the ratios of its terms, n = 1, 2, ..."""
    term, total, n = first, first, 0
    while abs(term) > Fraction(1, 10**PRECISION):
        n += 1
        term = _cut(term * ratio(n))
        total += term
    return total


def _exp(x: Fraction) -> Fraction:
    return _series(lambda n: x / n)


def _sine(z: Fraction) -> Fraction:
    """sin(pi t / 2) / t with z = t^2."""
    half = Fraction("1.57079632679489661923132169163975144209858469968755")
    return _series(lambda n: -z * _HALF_PI2 / (2 * n * (2 * n + 1)), half)


def _cosine(z: Fraction) -> Fraction:
    return _series(lambda n: -z * _HALF_PI2 / (2 * n * (2 * n - 1)))


def _tanh(z: Fraction) -> Fraction:
    """tanh(t) / t = (sinh(t) / t) / cosh(t) with z = t^2."""
    return _cut(_series(lambda n: z / (2 * n * (2 * n + 1))) / _series(lambda n: z / (2 * n * (2 * n - 1))))


def _arcsin(z: Fraction) -> Fraction:
    """arcsin(t) / t with z = t^2."""
    return _series(lambda n: z * (2 * n - 1) ** 2 / (2 * n * (2 * n + 1)))


def _interpolate(f: Callable[[Fraction], Fraction], low: Fraction, high: Fraction, degree: int) -> list[float]:
    """Coefficients, lowest first, of the polynomial through f at the Chebyshev nodes of an interval."""
    count = degree + 1
    places = [Fraction(round(1e6 * cos(pi * (k + 0.5) / count)), 10**6) for k in range(count)]
    nodes = [_cut((low + high) / 2 + (high - low) / 2 * place) for place in places]
    newton = [_cut(f(x)) for x in nodes]
    for order in range(1, count):
        for k in range(count - 1, order - 1, -1):
            newton[k] = _cut((newton[k] - newton[k - 1]) / (nodes[k] - nodes[k - order]))
    out = [newton[-1]]
    for k in range(count - 2, -1, -1):
        shifted = [Fraction(0), *out]
        out = [_cut(a - nodes[k] * b) for a, b in zip(shifted, [*out, Fraction(0)], strict=True)]
        out[0] += newton[k]
    with localcontext() as context:
        context.prec = PRECISION
        return [float(Decimal(c.numerator) / Decimal(c.denominator)) for c in out]


_FUNCTIONS = {  # function, interval, degree in double and single precision
    "exp": (_exp, -_LN2 / 2, _LN2 / 2, (11, 6)),
    "sine": (_sine, Fraction(0), Fraction(1), (9, 5)),
    "cosine": (_cosine, Fraction(0), Fraction(1), (10, 5)),
    "tanh": (_tanh, Fraction(0), Fraction(1), (14, 7)),
    "arcsin": (_arcsin, Fraction(0), Fraction(1, 2), (20, 9)),
}


@cache
def coefficients(name: str, single: bool) -> tuple[float, ...]:
    """Coefficients, lowest first, of one of the functions above."""
    function, low, high, degrees = _FUNCTIONS[name]
    return tuple(_interpolate(function, low, high, degrees[single]))


def _chain(coefficients: Sequence[float], x: str) -> str:
    *low, high = coefficients
    text = f"(lane_zero + REAL({high!r}))"
    for c in reversed(low):
        text = f"({text} * {x} + REAL({c!r}))"
    return text


def polynomial(name: str, x: str, single: bool) -> str:
    """C expression of a polynomial in the lane x: even and odd powers apart, two chains that run side by side."""
    c = coefficients(name, single)
    return f"({_chain(c[::2], f'({x} * {x})')} + {x} * {_chain(c[1::2], f'({x} * {x})')})"


def functions(single: bool) -> str:
    """C++ lambdas on lanes: exponential (of arguments <= 0), inverse_root, sine and cosine of pi t / 2, tangent
    (hyperbolic), angle."""
    return f"""
#ifdef __CUDA_ARCH__
auto exponential = [&](lane x) {{ return exp(x); }};
auto inverse_root = [&](lane x) {{ return REAL(1) / sqrt(x); }};
#else
auto exponential = [&](lane x) {{
    x = __builtin_elementwise_max(x, lane_zero - REAL({"80" if single else "700"}));
    const lane n = __builtin_elementwise_roundeven(x * REAL({float(1 / _LN2)!r}));
    const lane d = x - n * REAL({float(_LN2)!r});
    const lane p = {polynomial("exp", "d", single)};
    typedef int narrow __attribute__((vector_size(LANES * 4)));
    typedef {"int" if single else "long long"} wide __attribute__((vector_size(LANES * sizeof(REAL))));
    const wide e = __builtin_convertvector(__builtin_convertvector(n, narrow), wide);
    return p * (lane)((e + {127 if single else 1023}) << {23 if single else 52});
}};
auto inverse_root = [&](lane x) {{
#if defined(__AVX512F__) && {0 if single else 1} && LANES == 8
    lane y = (lane)__builtin_ia32_rsqrt14pd512_mask(x, lane_zero, (unsigned char)-1);
    for (int k = 0; k < 2; ++k) y = y * (REAL(1.5) - (REAL(0.5) * x) * (y * y));
    return y;
#else
    return REAL(1) / __builtin_elementwise_sqrt(x);
#endif
}};
#endif
auto sine = [&](lane t) {{ const lane z = t * t; return t * {polynomial("sine", "z", single)}; }};
auto cosine = [&](lane t) {{ const lane z = t * t; return {polynomial("cosine", "z", single)}; }};
auto tangent = [&](lane t) {{ const lane z = t * t; return t * {polynomial("tanh", "z", single)}; }};
auto angle = [&](lane c, lane s) {{   // of cosine and sine, the smaller of which resolves it
    const lane size = MAGNITUDE(c);
    const auto steep = size < s;
    const lane h = steep ? size : s, z = h * h, small = h * {polynomial("arcsin", "z", single)};
    const lane first = steep ? REAL({pi / 2!r}) - small : small;
    return c < lane_zero ? REAL({pi!r}) - first : first;
}};
"""
