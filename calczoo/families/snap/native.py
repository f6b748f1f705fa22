"""Source of the SNAP kernel's inner loops, for Warp's native functions: one text for CPU lanes and for CUDA.

A block is L atoms (8 on the CPU, 1 on CUDA). Lanes run over the neighbours of one atom where U is summed and where forces
are made, and over the L atoms of the block where the products z are formed. `lane` is a vector type of L numbers.

Legend: l atom of the block, d density (one, or one per element), e element of U in chain order, c chain, g group of L
neighbours, k power, t bispectrum component, y entry of the product table. Tables: calczoo.families.snap.adjoint.

Operations per atom with M neighbours, E elements, C chains: M (5 E + 14 C) for U, M (11 E + 22 C) for forces, and for the
products about 2 a term of the contraction plus 4 a product shared between all j.
"""

from __future__ import annotations

MAX_CHAIN = 11
"""Longest chain, and most j per product, at the largest 2J = 20."""

_PREAMBLE = """
#ifdef __CUDA_ARCH__
typedef REAL lane;
#define SQRT(v) sqrt(v)
#define ABS(v) ((v) < REAL(0) ? -(v) : (v))
#define PART(v, l) (v)
#else
typedef REAL lane __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL))));
#define SQRT(v) __builtin_elementwise_sqrt(v)
#define ABS(v) __builtin_elementwise_abs(v)
#define PART(v, l) ((v)[l])
#endif
const int L = LANES;
"""

# Positions of tables and scratch regions in their arrays: one table of offsets, filled by kernels.py from these names.
OFFSETS = (
    "n_atoms", "n_species", "n_densities", "n_elements", "n_chains", "n_full", "n_blocks", "n_entries", "n_components",
    "n_b", "twojmax", "capacity", "quadratic", "inner", "want_g", "want_b", "user_beta", "wself_all",
    "i_chain", "i_block", "i_full", "i_near", "i_coupling", "i_chain_of", "i_ystart", "i_yt", "i_density",
    "r_start", "r_step", "r_sign", "r_gen", "r_cg", "r_yw", "r_norm", "r_param", "r_cut", "r_weight", "r_sin", "r_din",
    "r_const", "r_lin", "r_quad", "r_zero",
    "s_near", "s_power", "s_u", "s_full", "s_y", "s_v", "s_beta", "s_b", "s_entry", "s_total",
)  # fmt: skip


def _offsets() -> str:
    """Local constants named as in OFFSETS."""
    return "".join(f"const int {name} = O[{k}];\n" for k, name in enumerate(OFFSETS))


# sin and cos of an angle in [0, pi] by Taylor series about pi / 2; the remainder is below 1e-19
def _series(first: int, count: int) -> list[str]:
    from math import factorial

    return [f"REAL({(-1) ** k / factorial(2 * k + first)!r})" for k in range(count)]


def _horner(coefficients: list[str], variable: str) -> str:
    text = coefficients[-1] + f" + {variable} * REAL(0)"
    for c in reversed(coefficients[:-1]):
        text = f"{c} + {variable} * ({text})"
    return text


_GEOMETRY = f"""
// one group of neighbours: rotation (a, b), x = |a|^2 - |b|^2, weight and what the derivative needs
const lane rx = near[(0 * G + g)], ry = near[(1 * G + g)], rz = near[(2 * G + g)];
const lane rc = near[(3 * G + g)], wj = near[(4 * G + g)];
const lane r = SQRT(rx * rx + ry * ry + rz * rz);
const lane ri = REAL(1) / r;
const lane nx = rx * ri, ny = ry * ri, nz = rz * ri;
const lane scale = REAL(3.14159265358979323846) / (rc - rmin0);
const lane angle = (r - rmin0) * scale;                    // pi s
const lane positive = REAL(0.5) * (angle + ABS(angle));    // zero below rmin0
const lane theta = rfac0 * angle;
const lane atheta = ABS(theta);
const lane side = (theta + tiny) / (atheta + tiny);
lane h = atheta - REAL(1.57079632679489661923), h2 = h * h;
const lane sn = {_horner(_series(0, 13), "h2")};
const lane cs = -side * h * ({_horner(_series(1, 12), "h2")});
h = positive - REAL(1.57079632679489661923); h2 = h * h;
const lane fsin = {_horner(_series(0, 13), "h2")};
const lane fcos = -h * ({_horner(_series(1, 12), "h2")});
lane fc = REAL(1) + switching * (REAL(0.5) * fcos - REAL(0.5));
lane dfc = switching * REAL(-0.5) * scale * fsin;
if (inner) {{
    // fades from 0 at sin - din to 1 at sin + din
    const lane v = (r - near[(5 * G + g)]) / near[(6 * G + g)];
    const lane cv = REAL(0.5) * (ABS(v + REAL(1)) - ABS(v - REAL(1)));
    const lane w = REAL(1.57079632679489661923) * cv; const lane w2 = w * w;
    const lane ws = w * ({_horner(_series(1, 12), "w2")});
    const lane wc = {_horner(_series(0, 13), "w2")};
    const lane fi = REAL(0.5) + REAL(0.5) * ws;
    const lane dfi = REAL(0.25) * REAL(3.14159265358979323846) * wc / near[(6 * G + g)];
    dfc = dfc * fi + fc * dfi;
    fc = fc * fi;
}}
const lane x = cs * cs + sn * sn * (REAL(2) * nz * nz - REAL(1));
// powers of a* = cs + i sn nz and -b* = -(sn ny + i sn nx)
pw[0] = lane_one; pw[1] = lane_zero; pw[2] = lane_one; pw[3] = lane_zero;
{{
    const lane ar = cs, ai = sn * nz, br = -sn * ny, bi = -sn * nx;
    for (int k = 1; k <= twojmax; ++k) {{
        const lane *o = pw + 4 * (k - 1);
        lane *n = pw + 4 * k;
        n[0] = o[0] * ar - o[1] * ai; n[1] = o[0] * ai + o[1] * ar;
        n[2] = o[2] * br - o[3] * bi; n[3] = o[2] * bi + o[3] * br;
    }}
}}
"""

_COMMON = """
const int *O = offsets.data;
const int *I = itable.data;
const REAL *T = rtable.data;
"""

_LOCALS = """
REAL *S = scratch.data;
const int G = capacity / L;
const REAL rfac0 = T[r_param], rmin0 = T[r_param + 1], switching = T[r_param + 2], tiny = REAL(1e-30);
const int n0 = block * L;
const lane lane_zero = {}; const lane lane_one = lane_zero + REAL(1);
"""


def neighbours() -> str:
    """Collect, for the L atoms, the neighbours within the cutoff: vectors, cutoff, weight, pair; padded to whole groups
    with weightless dummies, and grouped by density."""
    return (
        _PREAMBLE
        + _COMMON
        + _offsets()
        + """
REAL *S = scratch.data;
const int G = capacity / L;
const int n0 = block * L;
int *pairs_of = slots.data, *groups = slots.data + L * capacity;
const int nf = 7;
for (int l = 0; l < L; ++l) {
    const int n = n0 + l;
    REAL *near = S + s_near * L + l * nf * capacity;
    int at = 0;
    for (int d = 0; d < n_densities; ++d) {
        groups[l * (n_densities + 1) + d] = at / L;
        if (n < n_atoms) {
            const int a = species.data[n];
            const auto xn = x.data[n];
            for (int p = first.data[n]; p < first.data[n + 1]; ++p) {
                const int b = species.data[j.data[p]];
                if (I[i_density + b] != d) continue;
                const auto xj = x.data[j.data[p]];
                const auto sv = shift.data[shift_index.data[p]];
                const REAL rx = xj[0] + sv[0] - xn[0], ry = xj[1] + sv[1] - xn[1], rz = xj[2] + sv[2] - xn[2];
                const REAL rc = T[r_cut + a * n_species + b];
                if (rx * rx + ry * ry + rz * rz >= rc * rc) {
                    if (want_g) { gradients.data[p][0] = 0; gradients.data[p][1] = 0; gradients.data[p][2] = 0; }
                    continue;
                }
                near[at] = rx; near[capacity + at] = ry; near[2 * capacity + at] = rz;
                near[3 * capacity + at] = rc; near[4 * capacity + at] = T[r_weight + b];
                if (inner) {
                    near[5 * capacity + at] = T[r_sin + a * n_species + b];
                    near[6 * capacity + at] = T[r_din + a * n_species + b];
                }
                pairs_of[l * capacity + at] = p;
                ++at;
            }
        }
        for (; at % L != 0; ++at) {
            const REAL rc = T[r_cut];
            near[at] = 0; near[capacity + at] = 0; near[2 * capacity + at] = REAL(0.5) * rc;
            near[3 * capacity + at] = rc; near[4 * capacity + at] = 0;
            near[5 * capacity + at] = REAL(0.5) * rc; near[6 * capacity + at] = rc;
            pairs_of[l * capacity + at] = -1;
        }
    }
    groups[l * (n_densities + 1) + n_densities] = at / L;
}
"""
    )


def _chain_case(n: int) -> str:
    """A chain of n elements, summed over all groups in registers."""
    new = "".join(f"lane r{k} = lane_zero, i{k} = lane_zero;" for k in range(n))
    steps = []
    for k in range(n):
        steps.append(f"r{k} += f * sr; i{k} += f * si;")
        if k < n - 1:
            steps.append(f"f2 = (xg * st[{3 * k}] + st[{3 * k + 1}]) * f - st[{3 * k + 2}] * f1; f1 = f; f = f2;")
    store = "".join(f"STORE({k}, r{k}, i{k})" for k in range(n))
    return f"""case {n}: {{
        {new}
        for (int g = 0; g < ng; ++g) {{
            const lane *q = pws + g * stride;
            const lane ar = q[4 * mu], ai = sa * q[4 * mu + 1], br = q[4 * nu + 2], bi = sb * q[4 * nu + 3];
            const lane xg = q[4 * twojmax + 4], wg = q[4 * twojmax + 5];
            const lane sr = (ar * br - ai * bi) * wg, si = (ar * bi + ai * br) * wg;
            lane f = lane_zero + f0, f1 = lane_zero, f2;
            {" ".join(steps)}
        }}
        {store}
    }} break;"""


def densities() -> str:
    """U of every atom and density of the block, self-term included."""
    cases = "\n".join(_chain_case(n) for n in range(1, MAX_CHAIN + 1))
    return (
        _PREAMBLE
        + _COMMON
        + _offsets()
        + _LOCALS
        + f"""
const int *groups = slots.data + L * capacity;
const int stride = 4 * (twojmax + 1) + 2;
lane *pws = (lane *)S + s_power;
for (int l = 0; l < L; ++l) {{
    const lane *near = (lane *)S + s_near + l * 7 * G;
    const int own = n0 + l < n_atoms ? I[i_density + species.data[n0 + l]] : -1;
    for (int d = 0; d < n_densities; ++d) {{
        const int gb = groups[l * (n_densities + 1) + d], ng = groups[l * (n_densities + 1) + d + 1] - gb;
        for (int gg = 0; gg < ng; ++gg) {{
            const int g = gb + gg;
            lane *pw = pws + gg * stride;
            {_GEOMETRY}
            pw[4 * twojmax + 4] = x;
            pw[4 * twojmax + 5] = wj * fc;
        }}
        const REAL self = own < 0 ? REAL(0) : (n_densities == 1 || wself_all || own == d) ? REAL(1) : REAL(0);
        REAL *U = S + (s_u + d * n_elements * 2) * L + l;
        for (int c = 0; c < n_chains; ++c) {{
            const int *ci = I + i_chain + 4 * c;
            const int e0 = ci[0], mu = ci[2], nu = ci[3];
            const REAL f0 = T[r_start + 3 * c], sa = T[r_start + 3 * c + 1], sb = T[r_start + 3 * c + 2];
            const REAL *st = T + r_step + 3 * e0;
#define STORE(k, re, im) {{ REAL hr = 0, hi = 0; \\
            for (int m = 0; m < L; ++m) {{ hr += PART(re, m); hi += PART(im, m); }} \\
            U[(2 * (e0 + k)) * L] = hr + self * T[r_gen + 5 * (e0 + k) + 4]; U[(2 * (e0 + k) + 1) * L] = hi; }}
            switch (ci[1]) {{
            {cases}
            }}
#undef STORE
        }}
    }}
}}
"""
    )


def _product_case(n: int, epilogue: str) -> str:
    new = "".join(f"lane r{k} = lane_zero, i{k} = lane_zero;" for k in range(n))
    body = "".join(f"r{k} += cg[{k}] * pr; i{k} += cg[{k}] * pi;" for k in range(n))
    end = "".join(epilogue.format(k=k) for k in range(n))
    return f"""case {n}: {{
        {new}
        for (int m = lo; m <= hi; ++m, u1 += 2, u2 -= 2, cg += cstep) {{
            const lane pr = u1[0] * u2[0] - u1[1] * u2[1], pi = u1[0] * u2[1] + u1[1] * u2[0];
            {body}
        }}
        {end}
    }} break;"""


_ADJOINT_END = "Y[2 * {k}] += w[{k}] * r{k}; Y[2 * {k} + 1] += w[{k}] * i{k};"
_B_END = "B[{k}] += (rowweight * cb[{k}]) * (Ue[2 * {k}] * r{k} + Ue[2 * {k} + 1] * i{k});"


def contraction(adjoint: bool) -> str:
    """adjoint: Y from U and the weights of z. Otherwise B from U. Each product u1 u2 is formed once for all j."""
    cases = "\n".join(_product_case(n, _ADJOINT_END if adjoint else _B_END) for n in range(1, MAX_CHAIN + 1))
    if adjoint:
        before = """
            for (int d3 = 0; d3 < n_densities; ++d3)
                for (int t = 0; t < nt; ++t)
                    ws[d3 * nt + t] = cb0[t] * entry[((d1 * n_densities + d2) * n_densities + d3) * n_entries + y0 + t];
        """
        low = "jmin"
        target = """
                    const lane *w = ws + d3 * nt + t0;
                    lane *Y = (lane *)S + s_y + 2 * (d3 * n_elements + e0);
        """
    else:
        before = ""
        low = "(jmin < j1 ? j1 + ((j1 - jmin) & 1) : jmin)"
        target = """
                    const REAL *cb = cb0 + t0;
                    const lane *Ue = (lane *)S + s_u + 2 * (d3 * n_elements + e0);
                    lane *B = (lane *)S + s_b + ((d1 * n_densities + d2) * n_densities + d3) * n_b + bi[6] + (jf - jlow) / 2;
        """
    return (
        _PREAMBLE
        + _COMMON
        + _offsets()
        + f"""
REAL *S = scratch.data;
const lane lane_zero = {{}};
lane *full = (lane *)S + s_full;
lane *entry = (lane *)S + s_entry;
lane ws[{MAX_CHAIN} * 16];
for (int d1 = 0; d1 < n_densities; ++d1)
for (int d2 = 0; d2 < n_densities; ++d2)
for (int bk = 0; bk < n_blocks; ++bk) {{
    const int *bi = I + i_coupling + 7 * bk;
    const int j1 = bi[0], j2 = bi[1], jtop = bi[2], nt = bi[4], y0 = bi[5], jmin = j1 - j2;
    const int jlow = {low};
    if (jlow > jtop) continue;
    const lane *U1 = full + 2 * (d1 * n_full + I[i_block + j1]), *U2 = full + 2 * (d2 * n_full + I[i_block + j2]);
    const REAL *table = T + r_cg + bi[3];
    const int cstep = j2 * nt;
    for (int m1 = 0; m1 <= j1; ++m1)
    for (int m2 = 0; m2 <= j2; ++m2) {{
        const int p = j1 - 2 * m1 + j2 - 2 * m2;
        if (p < 0 || p > twojmax) continue;
        const REAL rowweight = p > 0 ? REAL(2) : REAL(1);
        const REAL *cb0 = table + (m1 * (j2 + 1) + m2) * nt;
        {before}
        for (int s = 0; s <= j1 + j2; ++s) {{
            const int q = j1 + j2 - 2 * s, aq = q < 0 ? -q : q;
            if (aq > jtop) continue;
            const int j0 = p > aq ? p : aq;
            const int jf = j0 > jlow ? j0 : jlow;
            if (jf > jtop) continue;
            const int n = (jtop - jf) / 2 + 1, t0 = (jf - jmin) / 2;
            const int e0 = I[i_chain_of + p * (2 * twojmax + 1) + q + twojmax] + (jf - j0) / 2;
            const int lo = s > j2 ? s - j2 : 0, hi = s < j1 ? s : j1;
            for (int d3 = 0; d3 < n_densities; ++d3) {{
                {target}
                const lane *u1 = U1 + 2 * (m1 * (j1 + 1) + lo), *u2 = U2 + 2 * (m2 * (j2 + 1) + s - lo);
                const REAL *cg = table + (lo * (j2 + 1) + s - lo) * nt + t0;
                switch (n) {{
                {cases}
                }}
            }}
        }}
    }}
}}
"""
    )


def expand() -> str:
    """The whole U_j (both halves) of the block, and Y = 0, B = 0."""
    return (
        _PREAMBLE
        + _COMMON
        + _offsets()
        + """
REAL *S = scratch.data;
const lane lane_zero = {};
for (int d = 0; d < n_densities; ++d)
    for (int f = 0; f < n_full; ++f) {
        const lane *u = (lane *)S + s_u + 2 * (d * n_elements + I[i_full + f]);
        lane *o = (lane *)S + s_full + 2 * (d * n_full + f);
        o[0] = u[0] * T[r_sign + 2 * f];
        o[1] = u[1] * T[r_sign + 2 * f + 1];
    }
for (int k = 0; k < 2 * n_densities * n_elements; ++k) ((lane *)S)[s_y + k] = lane_zero;
for (int k = 0; k < n_components; ++k) ((lane *)S)[s_b + k] = lane_zero;
"""
    )


def coefficients() -> str:
    """dE/dB of the block: from the file (linear), from B (quadratic) or as given; B is normalised and, when asked for,
    handed out; for quadratic models the energies are made here."""
    return (
        _PREAMBLE
        + _COMMON
        + _offsets()
        + """
REAL *S = scratch.data;
const int n0 = block * L;
for (int l = 0; l < L; ++l) {
    const int n = n0 + l;
    REAL *beta = S + s_beta * L + l, *B = S + s_b * L + l;
    if (n >= n_atoms) { for (int t = 0; t < n_components; ++t) beta[t * L] = 0; continue; }
    const int a = species.data[n];
    if (quadratic || want_b)
        for (int t = 0; t < n_components; ++t)
            B[t * L] = B[t * L] * T[r_norm + t % n_b] - T[r_zero + a * n_components + t];
    if (want_b) for (int t = 0; t < n_components; ++t) descriptors.data[(size_t)n * n_components + t] = B[t * L];
    const REAL *lin = T + r_lin + a * n_components;
    if (user_beta) {
        for (int t = 0; t < n_components; ++t) beta[t * L] = weights.data[(size_t)n * n_components + t];
    } else if (quadratic) {
        REAL *flat = S + (s_entry + 0) * L;   // free until the weights of z are made
        for (int t = 0; t < n_components; ++t) flat[t] = B[t * L];
        REAL e = T[r_const + a];
        for (int t = 0; t < n_components; ++t) {
            const REAL *row = T + r_quad + ((size_t)a * n_components + t) * n_components;
            REAL sum = 0;
            for (int k = 0; k < n_components; ++k) sum += row[k] * flat[k];
            beta[t * L] = lin[t] + sum;
            e += flat[t] * (lin[t] + REAL(0.5) * sum);
        }
        energies.data[n] = e;
    } else {
        for (int t = 0; t < n_components; ++t) beta[t * L] = lin[t];
    }
}
for (int y = 0; y < n_densities * n_densities * n_densities * n_entries; ++y) {
    lane sum = {};
    for (int k = I[i_ystart + y]; k < I[i_ystart + y + 1]; ++k)
        sum += T[r_yw + k] * ((lane *)S)[s_beta + I[i_yt + k]];
    ((lane *)S)[s_entry + y] = sum;
}
"""
    )


def rotations() -> str:
    """V from Y, laid out per atom; for linear models the energies by Euler's theorem, E = c + Re <Y, U> / 3."""
    return (
        _PREAMBLE
        + _COMMON
        + _offsets()
        + """
REAL *S = scratch.data;
const int n0 = block * L;
lane sum = {};
for (int d = 0; d < n_densities; ++d)
    for (int e = 0; e < n_elements; ++e) {
        const lane *Y = (lane *)S + s_y + 2 * d * n_elements, *U = (lane *)S + s_u + 2 * d * n_elements;
        const REAL *gen = T + r_gen + 5 * e;
        const int up = I[i_near + 2 * e], down = I[i_near + 2 * e + 1];
        const REAL w = gen[3], cu = w * gen[0], cd = w * gen[1], cq = w * gen[2];
        const lane yr = Y[2 * e], yi = Y[2 * e + 1];
        sum += w * (yr * U[2 * e] + yi * U[2 * e + 1]);
        lane v[8];
        v[0] = w * yr; v[1] = w * yi;
        // V_0 = i (c Y+ + c' Y-), V_1 = c Y+ - c' Y-, V_2 = -i q Y
        v[2] = -(cu * Y[2 * up + 1] + cd * Y[2 * down + 1]); v[3] = cu * Y[2 * up] + cd * Y[2 * down];
        v[4] = cu * Y[2 * up] - cd * Y[2 * down]; v[5] = cu * Y[2 * up + 1] - cd * Y[2 * down + 1];
        v[6] = cq * yi; v[7] = -(cq * yr);
        for (int l = 0; l < L; ++l) {
            REAL *V = S + s_v * L + ((l * n_densities + d) * n_elements + e) * 8;
            for (int k = 0; k < 8; ++k) V[k] = PART(v[k], l);
        }
    }
if (!quadratic)
    for (int l = 0; l < L; ++l)
        if (n0 + l < n_atoms) {
            const int a = species.data[n0 + l];
            REAL e = T[r_const + a];
            for (int t = 0; t < n_components; ++t) e -= T[r_lin + a * n_components + t] * T[r_zero + a * n_components + t];
            energies.data[n0 + l] = e + PART(sum, l) / REAL(3);
        }
"""
    )


def gradients() -> str:
    """dE/dr of every pair of the block."""
    return (
        _PREAMBLE
        + _COMMON
        + _offsets()
        + _LOCALS
        + f"""
const int *pairs_of = slots.data, *groups = slots.data + L * capacity;
lane *pw = (lane *)S + s_power;
for (int l = 0; l < L; ++l) {{
    if (n0 + l >= n_atoms) break;
    const lane *near = (lane *)S + s_near + l * 7 * G;
    for (int d = 0; d < n_densities; ++d) {{
        const REAL *V = S + s_v * L + (l * n_densities + d) * n_elements * 8;
        for (int g = groups[l * (n_densities + 1) + d]; g < groups[l * (n_densities + 1) + d + 1]; ++g) {{
            {_GEOMETRY}
            lane val = lane_zero, tx = lane_zero, ty = lane_zero, tz = lane_zero;
            for (int c = 0; c < n_chains; ++c) {{
                const int *ci = I + i_chain + 4 * c;
                const int e0 = ci[0], e1 = e0 + ci[1];
                const REAL *start = T + r_start + 3 * c;
                const lane *pa = pw + 4 * ci[2], *pb = pw + 4 * ci[3];
                const lane ar = pa[0], ai = start[1] * pa[1], br = pb[2], bi = start[2] * pb[3];
                const lane sr = ar * br - ai * bi, si = ar * bi + ai * br;
                lane f = lane_zero + start[0], f1 = lane_zero;
                lane a0 = lane_zero, a1 = lane_zero, a2 = lane_zero, a3 = lane_zero;
                lane b0 = lane_zero, b1 = lane_zero, b2 = lane_zero, b3 = lane_zero;
                for (int e = e0; e < e1; ++e) {{
                    const REAL *v = V + 8 * e, *st = T + r_step + 3 * e;
                    a0 += v[0] * f; b0 += v[1] * f; a1 += v[2] * f; b1 += v[3] * f;
                    a2 += v[4] * f; b2 += v[5] * f; a3 += v[6] * f; b3 += v[7] * f;
                    const lane f2 = (x * st[0] + st[1]) * f - st[2] * f1;
                    f1 = f; f = f2;
                }}
                val += sr * a0 + si * b0; tx += sr * a1 + si * b1; ty += sr * a2 + si * b2; tz += sr * a3 + si * b3;
            }}
            // in the frame n' = (nx, -ny, nz) the rotation is exp(-i phi n'.sigma)
            const lane my = -ny;
            const lane tn = tx * nx + ty * my + tz * nz;
            const lane across = sn * cs * ri, twist = sn * sn * ri;
            const lane along = wj * (dfc * val + fc * tn * (rfac0 * scale - across));
            const lane f = wj * fc;
            const lane gx = along * nx + f * (across * tx - twist * (ty * nz - tz * my));
            const lane gy = along * my + f * (across * ty - twist * (tz * nx - tx * nz));
            const lane gz = along * nz + f * (across * tz - twist * (tx * my - ty * nx));
            for (int m = 0; m < L; ++m) {{
                const int p = pairs_of[l * capacity + g * L + m];
                if (p < 0) continue;
                gradients.data[p][0] = PART(gx, m);
                gradients.data[p][1] = -PART(gy, m);
                gradients.data[p][2] = PART(gz, m);
            }}
        }}
    }}
}}
"""
    )


def text(source: str, real: str, lanes: int) -> str:
    """Fill in the number type and the lane count."""
    return source.replace("LANES", str(lanes)).replace("REAL", real)
