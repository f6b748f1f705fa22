"""SNAP kernel, lanes over the atoms of a block: products of densities, their weights, the rotated Y; see `native`."""

from __future__ import annotations

from .native import COMMON, MAX_CHAIN, PREAMBLE, offsets


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
                    const int triple = (d1 * n_densities + d2) * n_densities + d3;
                    lane *B = (lane *)S + s_b + triple * n_b + bi[6] + (jf - jlow) / 2;
        """
    return (
        PREAMBLE
        + COMMON
        + offsets()
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
        PREAMBLE
        + COMMON
        + offsets()
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
        PREAMBLE
        + COMMON
        + offsets()
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
        PREAMBLE
        + COMMON
        + offsets()
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
            const REAL *lin = T + r_lin + a * n_components, *zero = T + r_zero + a * n_components;
            for (int t = 0; t < n_components; ++t) e -= lin[t] * zero[t];
            energies.data[n0 + l] = e + PART(sum, l) / REAL(3);
        }
"""
    )
