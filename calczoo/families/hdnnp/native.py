"""Source of the symmetry function kernels, for Warp's native functions: one text for CPU lanes and for CUDA.

A block is one atom. On the CPU `lane` is a vector of L numbers (8 in double, 16 in single precision); on CUDA a lane is
one number. The neighbours of an atom are collected in slots, element by element, each element padded to whole lanes.
Triplets are found lane by lane of k for each j; those within reach are packed together, up to Q lanes of them, and go
through the stages of the computation as one batch, whatever j and k they have. Gradients are unpacked the same way.

Scratch memory holds lanes; on CUDA neighbouring threads hold neighbouring numbers. Rows, one number per slot:

    0 to 2  r_ij          4  1 / r_ij                      6 to 8  sum of b r_k
    3       r_ij          5  sum of a: dU/dr_j = a r_j + sum b r_k
    9 ...   R_c of each channel (see groups), then (dW/dr) / W of each window

Operations per atom, with T pairs of neighbours of which T' are within reach of each other, and per group C channels, E
fresh exponentials, P angular parts, F entries and W operations of the window of r_jk (32 for the common cutoffs):

    functions T (15 + C) + T' (14 + W + 28 E + 5 P + 3 C + 2 F)
    gradients T (15 + C) + T' (60 + W + 28 E + 6 P + 9 C + 4 F)
"""

from __future__ import annotations

FIRST_CHANNEL = 9
"""Row of the first channel."""
OCTANTS = 8
"""Neighbours of one element are sorted by octant: those in a lane are then close, or far from j, together."""
BATCH = 8
"""Lanes of triplets in a batch."""
HEADER = 8
"""Integers at the head of a centre: functions, channels, entries, where in integers and reals entries are, groups."""

PREAMBLE = """
#ifdef __CUDA_ARCH__
typedef REAL lane;
#define SQRT(v) sqrt(v)
#define MAGNITUDE(v) abs(v)
#define LARGER(a, b) max(a, b)
#define SMALLER(a, b) min(a, b)
#define PART(v, l) (v)
#define LANE(k) S[(size_t)(k) * copies]
#define NUMBER(k) S[(size_t)(k) * copies]
#define FROM(k) S[(size_t)(k) * copies]
#define NOTE(k) slots.data[(size_t)(k) * copies + copy]
#else
typedef REAL lane __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL))));
#define SQRT(v) __builtin_elementwise_sqrt(v)
#define MAGNITUDE(v) __builtin_elementwise_abs(v)
#define LARGER(a, b) __builtin_elementwise_max(a, b)
#define SMALLER(a, b) __builtin_elementwise_min(a, b)
#define PART(v, l) ((v)[l])
#define LANE(k) (*(lane *)(S + (size_t)(k) * L))
#define NUMBER(k) S[k]
#define FROM(k) (*(lane *)(S + (k)))
#define NOTE(k) slots.data[k]
#endif
#define ROW(row, kb) LANE(s_rows + (row) * blocks + (kb))
#define SLOT(row, k) NUMBER((s_rows + (row) * blocks) * L + (k))
#define EACH for (int v = 0; v < lanes; ++v)
const int L = LANES;
"""
"""LANE(k): k-th lane; NUMBER(k): k-th number; FROM(k): L numbers from the k-th on; ROW, SLOT: lane kb, number k of a
row; NOTE(k): k-th integer; EACH: over the lanes of a batch."""

# Positions of tables and scratch regions in their arrays: one table of offsets, filled by kernels.py from these names.
OFFSETS = (
    "n_species", "width", "capacity",
    "i_centre", "i_radial", "i_channels", "r_reach", "r_offset", "r_factor", "r_base",
    "s_rows", "s_sums", "s_weights", "s_pair", "s_batch", "s_parts", "s_packed", "s_class",
)  # fmt: skip

LOCALS = """
const int *O = offsets.data;
const int *I = itable.data;
const REAL *T = rtable.data;
#ifdef __CUDA_ARCH__
REAL *S = scratch.data + copy;
#else
REAL *S = scratch.data;
#endif
const lane lane_zero = {};
const lane lane_one = lane_zero + REAL(1);
#ifdef __CUDA_ARCH__
auto sum = [&](lane v) { return v; };
#else
auto sum = [&](lane v) { HALVES };
#endif
"""

# integers of the collected neighbours: number of lanes of a row, of which the last is empty; first lane and number of
# slots of each element; where octants begin; octant and pair of each neighbour found; pair of each slot; records of a
# batch: j, lane of k, mask
PLACES = f"""
const int n_start = 1, n_count = 2 + n_species, n_bin = n_count + n_species, n_of = n_bin + {OCTANTS} * n_species + 1;
const int n_found = n_of + capacity, n_record = n_found + capacity, n_pair = n_record + 3 * {BATCH + 1} * LANES;
const int z = species.data[n];
const int *head = I + i_centre + {HEADER} * z;
"""
FOUND = "const int blocks = NOTE(0);\n"


def note_size(n_species: int, capacity: int, lanes: int) -> int:
    """Integers that one block needs: see PLACES; pairs are kept for padded slots."""
    return 5 + (2 + OCTANTS) * n_species + 3 * capacity + (3 * (BATCH + 1) + n_species + 1) * lanes


def offsets() -> str:
    """Local constants named as in OFFSETS."""
    return "".join(f"const int {name} = O[{k}];\n" for k, name in enumerate(OFFSETS))


def phase(*bodies: str) -> str:
    """A whole native function."""
    return PREAMBLE + LOCALS + offsets() + PLACES + "".join(bodies)


def _halves(lanes: int) -> str:
    """The sum over a lane by halves; left to itself, the compiler adds one number after the other."""
    if lanes == 1:
        return "return v;"
    out, name = "", "v"
    while lanes > 2:
        lanes //= 2
        low, high = (", ".join(map(str, range(k * lanes, (k + 1) * lanes))) for k in (0, 1))
        take = "__builtin_shufflevector({0}, {0}, {1})"
        out += f"const auto h{lanes} = {take.format(name, low)} + {take.format(name, high)}; "
        name = f"h{lanes}"
    return out + f"return {name}[0] + {name}[1];"


def text(source: str, real: str, lanes: int) -> str:
    """Fill in the number type and the lane count."""
    single = "32" in real
    constants = {
        "HALVES": _halves(lanes),
        "LANES": str(lanes),
        "TINY": "4.8e-7" if single else "8.9e-16",  # of 1 + lambda cos, below which it is round-off
        "EDGE": "0.012" if single else "0.00142",  # of 1 - u^2; exp(1 - 1 / EDGE) is zero for all purposes
        "COLLINEAR": "4e-6" if single else "7e-15",  # sines below are round-off of vectors
        "WIDE": str(int(lanes == (16 if single else 8))),
        "LETTER": "d" if single else "q",
        "KIND": "sf" if single else "df",
    }
    for name, value in constants.items():
        source = source.replace(name, value)
    return source.replace("REAL", real)


# value and derivative in u of each core, of u and t = 1 - u; factors of t: no digits are lost close to the end
_CORES = (
    "f = lane_one; df = lane_zero;",
    "const lane h = tangent(t), h2 = h * h; f = h2 * h; df = REAL(-3) * h2 * (REAL(1) - h2);",
    "const lane s = sine(t); f = s * s; df = REAL(-3.14159265358979323846) * s * cosine(t);",
    """const lane e = REAL(1) / LARGER(REAL(1) - u * u, lane_zero + REAL(EDGE));
        f = exponential(REAL(1) - e);
        df = REAL(-2) * u * e * e * f;""",
    "f = t * t * (REAL(1) + REAL(2) * u); df = REAL(-6) * u * t;",
    """const lane s = u * t;
        f = t * t * t * (REAL(1) + u * (REAL(3) + u * REAL(6)));
        df = REAL(-30) * s * s;""",
    """const lane t2 = t * t, s = u * t;
        f = t2 * t2 * (REAL(1) + u * (REAL(4) + u * (REAL(10) + u * REAL(20))));
        df = REAL(-140) * s * s * s;""",
    """const lane t2 = t * t, s = u * t, s2 = s * s;
        f = t2 * t2 * t * (REAL(1) + u * (REAL(5) + u * (REAL(15) + u * (REAL(35) + u * REAL(70)))));
        df = REAL(-630) * s2 * s2;""",
)

_SIDES = """EACH {
        const lane r = LANE(from + v), x = (r - w[0]) * w[1];
        lane u = one_sided ? LARGER(x, lane_zero) : MAGNITUDE(x);
        lane du = x < lane_zero ? lane_zero - (one_sided ? REAL(0) : w[1]) : lane_zero + w[1];
        const lane edge = one_sided ? lane_zero : u;       // of one-sided windows `end` alone decides
        if (shape & 32) { du = REAL(2) * du * (REAL(1) - u); u = (REAL(2) - u) * u; }
        const lane t = REAL(1) - u;
        const auto inside = (r < lane_zero + w[2]) & (edge < lane_one);
        lane f, df;
        CORE
        LANE(to + v) = inside ? w[3] * f : lane_zero;
        SLOPE
    }"""


def window(derivative: bool) -> str:
    """C++ lambda: a window of some lanes of distances or angles, and maybe its derivative.

    w: centre, 1 / half width, end, scale; from, to, by: first lanes of arguments, values and derivatives."""
    slope = "LANE(by + v) = inside ? w[3] * du * df : lane_zero;" if derivative else ""
    cases = ""
    for k, core in enumerate(_CORES):
        loop = _SIDES.replace("CORE", core).replace("SLOPE", slope)
        cases += f"case {k}: {{ {loop} break; }}\n"
    by = ", int by" if derivative else ""
    return f"""
auto window = [&](int shape, const REAL *w, int lanes, int from, int to{by}) {{
    const bool one_sided = shape & 16;
    switch (shape & 15) {{
    {cases}
    }}
}};
"""


POWERS = """
auto whole_power = [&](int n, lane x) {
    lane p = n & 1 ? x : lane_one;
    for (n >>= 1; n > 0; n >>= 1) {
        x *= x;
        if (n & 1) p *= x;
    }
    return p;
};
auto real_power = [&](REAL exponent, const lane x) {
    lane p = lane_zero;
    for (int l = 0; l < L; ++l)
        if (PART(x, l) > REAL(TINY)) PART(p, l) = pow(PART(x, l), exponent);
    return p;
};
"""

PACKING = """
#ifdef __CUDA_ARCH__
auto bits = [&](bool mask) { return mask ? 1 : 0; };
auto count = [&](int m) { return m; };
auto pack = [&](int m, lane v) { return v; };
auto unpack = [&](int m, lane v) { return m ? v : REAL(0); };
#else
auto count = [&](int m) { return __builtin_popcount(m); };
#if defined(__AVX512F__) && defined(__AVX512DQ__) && WIDE
auto bits = [&](auto mask) { return (int)__builtin_ia32_cvtLETTER2mask512(mask); };
auto pack = [&](int m, lane v) { return (lane)__builtin_ia32_compressKIND512_mask(v, lane_zero, m); };
auto unpack = [&](int m, lane v) { return (lane)__builtin_ia32_expandKIND512_mask(v, lane_zero, m); };
#else
auto bits = [&](auto mask) { int m = 0; for (int l = 0; l < L; ++l) m |= (mask[l] ? 1 : 0) << l; return m; };
auto pack = [&](int m, lane v) {
    lane p = lane_zero;
    for (int l = 0, at = 0; l < L; ++l) { p[at & (L - 1)] = v[l]; at += m >> l & 1; }
    return p;
};
auto unpack = [&](int m, lane v) {
    lane p = lane_zero;
    for (int l = 0, at = 0; l < L; ++l) if (m >> l & 1) p[l] = v[at++];
    return p;
};
#endif
#endif
"""
"""Masks as bits; numbers of the lanes that a mask names moved to the front, and back."""
