"""Source of the training kernels' inner loops, for Warp's native functions on the CPU.

One call is one structure. Lanes run over the neighbours of an atom where moments and gradients are summed, and over
eight atoms where products are formed. Rows of the structure, one after the other: 3 n forces (atom by atom, x y z), its
energy, and the six sums of r (x) dU/dr (xx yy zz yz xz xy), which are stress times volume; where `wanted` is zero, only
the energy is made. A column is a parameter; every column's rows are contiguous.

    moment_columns   dE/dw_s = B_s and its gradients: G_s(p) = sum_b dB_s/dm_b dm_b/dr_p
    radial_columns   dE/dc_t: the same with dB_s/dm_b replaced by the change of dV/dm_b with c_t, plus dV/dm_b times
                     the gradient of Q_n times the monomial, summed over the basic moments of mu
"""

from __future__ import annotations

LANES = 8
TILE = 8
"""Columns of radial coefficients that share one walk over the basic moments."""

OFFSETS = (
    "n_species", "n_basis", "n_radial", "n_basic", "n_mono", "n_times", "n_moments", "n_scalars", "n_dep", "max_power",
    "repuls",
    "i_mono", "i_basic", "i_times", "i_scalars", "i_dep", "i_dep_at", "i_rev", "i_rev_at", "i_touch", "i_touch_at",
    "i_fwd", "i_fwd_at", "i_bwd", "i_bwd_at", "i_zero", "i_zero_at",
    "r_param", "r_radial", "r_weights",
    "s_q", "s_dq", "s_mask", "s_f", "s_df", "s_power", "s_mono", "s_dmono", "s_d", "s_m", "s_a", "s_jac", "s_sum",
    "s_b", "s_db", "s_td", "s_ad", "s_g", "s_bd",
)  # fmt: skip

HEAD = (
    """
#ifdef __CUDA_ARCH__
typedef double lane;  // never run there: training on CUDA takes the batched torch path
#define PART(v, l) (v)
#else
typedef double lane __attribute__((vector_size(64), aligned(8)));
typedef long long whole __attribute__((vector_size(64), aligned(8)));
#define PART(v, l) ((v)[l])
#endif
#define SUM(v) (((PART(v, 0) + PART(v, 1)) + (PART(v, 2) + PART(v, 3))) \\
                + ((PART(v, 4) + PART(v, 5)) + (PART(v, 6) + PART(v, 7))))
#ifndef __CUDA_ARCH__
const int L = 8;
const int *O = offsets.data, *I = itable.data;
const double *R = rtable.data;
double *S = scratch.data;
"""
    + "".join(f"const int {name} = O[{k}];\n" for k, name in enumerate(OFFSETS))
    + """
const lane none = {};
lane *q = (lane *)S + s_q, *dq = (lane *)S + s_dq, *mask = (lane *)S + s_mask;
lane *f = (lane *)S + s_f, *df = (lane *)S + s_df, *power = (lane *)S + s_power;
lane *mono = (lane *)S + s_mono, *dmono = (lane *)S + s_dmono, *D = (lane *)S + s_d;
lane *m = (lane *)S + s_m, *sum = (lane *)S + s_sum;
const int a0 = atoms.data[frame], a1 = atoms.data[frame + 1], na = a1 - a0, n_rows = 3 * na + 7;
double *A = rows.data + places.data[frame];
const bool gradients = wanted.data[frame] != 0;
const double low = R[r_param], high = R[r_param + 1], scale = R[r_param + 2];
"""
)
TAIL = "\n#endif\n"

GEOMETRY = """
// one group of eight neighbours: radial functions, monomials of the unit vector and their gradients
const lane rx = *(const lane *)(px.data + 8 * g), ry = *(const lane *)(py.data + 8 * g);
const lane rz = *(const lane *)(pz.data + 8 * g);
const lane r = __builtin_elementwise_sqrt(rx * rx + ry * ry + rz * rz), ri = 1.0 / r;
const lane nx = rx * ri, ny = ry * ri, nz = rz * ri;
{
    lane rr = r, on = none + 1.0;
    if (repuls) {  // constant below min_dist
        rr = __builtin_elementwise_max(r, none + low);
        on = __builtin_convertvector(-(r > none + low), lane);
    }
    const double slope = 2.0 / (high - low);
    const lane xi = (rr + rr - (low + high)) * (1.0 / (high - low)), past = rr - high;
    const lane fc = scale * past * past, dfc = 2.0 * scale * past;
    lane t0 = none + 1.0, t1 = xi, d0 = none, d1 = none + 1.0;
    for (int n = 0; n < n_basis; ++n) {
        q[n] = fc * t0; dq[n] = (dfc * t0 + fc * slope * d0) * on;
        const lane t2 = 2.0 * xi * t1 - t0, d2 = 2.0 * t1 + 2.0 * xi * d1 - d0;
        t0 = t1; t1 = t2; d0 = d1; d1 = d2;
    }
    for (int e = 0; e < n_species; ++e)
        for (int l = 0; l < L; ++l) mask[e][l] = ps.data[8 * g + l] == e ? 1.0 : 0.0;
    for (int u = 0; u < n_radial; ++u) {
        lane v = none, dv = none;
        for (int e = 0; e < n_species; ++e) {
            const double *c = R + r_radial + ((kind * n_species + e) * n_radial + u) * n_basis;
            lane w = none, dw = none;
            for (int n = 0; n < n_basis; ++n) { w += c[n] * q[n]; dw += c[n] * dq[n]; }
            v += w * mask[e]; dv += dw * mask[e];
        }
        f[u] = v; df[u] = dv;
    }
    lane *p1 = power, *p2 = power + max_power + 2, *p3 = power + 2 * (max_power + 2);
    p1[0] = p2[0] = p3[0] = none; p1[1] = p2[1] = p3[1] = none + 1.0;  // p[k + 1] is the k-th power
    for (int k = 1; k <= max_power; ++k) { p1[k + 1] = p1[k] * nx; p2[k + 1] = p2[k] * ny; p3[k + 1] = p3[k] * nz; }
    const int *e = I + i_mono;
    for (int k = 0; k < n_mono; ++k, e += 3) {
        const lane x = p1[e[0] + 1], y = p2[e[1] + 1], z = p3[e[2] + 1], v = x * y * z;
        mono[k] = v;
        const lane radial = v * double(e[0] + e[1] + e[2]);
        dmono[3 * k] = (double(e[0]) * p1[e[0]] * y * z - radial * nx) * ri;
        dmono[3 * k + 1] = (double(e[1]) * p2[e[1]] * x * z - radial * ny) * ri;
        dmono[3 * k + 2] = (double(e[2]) * p3[e[2]] * x * y - radial * nz) * ri;
    }
}
"""

GRADIENTS = """
for (int b = 0; b < n_basic; ++b) {  // dm_b/dr
    const int u = I[i_basic + 2 * b], k = I[i_basic + 2 * b + 1];
    const lane v = df[u] * mono[k];
    D[3 * b] = v * nx + f[u] * dmono[3 * k];
    D[3 * b + 1] = v * ny + f[u] * dmono[3 * k + 1];
    D[3 * b + 2] = v * nz + f[u] * dmono[3 * k + 2];
}
"""

SPREAD = """
// one column: gradients of eight neighbours to their rows, and the sums of the atom itself
lane *w = sum + 9 * column;
w[0] += gx; w[1] += gy; w[2] += gz;
w[3] += rx * gx; w[4] += ry * gy; w[5] += rz * gz;
w[6] += 0.5 * (ry * gz + rz * gy); w[7] += 0.5 * (rx * gz + rz * gx); w[8] += 0.5 * (rx * gy + ry * gx);
for (int l2 = 0; l2 < L; ++l2) {
    double *to = a + 3 * pj.data[8 * g + l2];
    to[0] -= gx[l2]; to[1] -= gy[l2]; to[2] -= gz[l2];
}
"""

COLLECT = """
for (int column = 0; column < WIDTH; ++column) {
    double *a = A + (FIRST + column) * (long long)n_rows;
    const lane *w = sum + 9 * column;
    for (int x = 0; x < 3; ++x) a[3 * (i - a0) + x] += SUM(w[x]);
    for (int x = 0; x < 6; ++x) a[3 * na + 1 + x] += SUM(w[3 + x]);
}
"""

MOMENTS = """
for (int l = 0; l < L; ++l) {
    for (int b = 0; b < n_basic; ++b) D[b] = none;
    EXTRA_ZERO
    if (i0 + l < a1) {
        const int kind = species.data[i0 + l];
        for (int g = groups.data[i0 + l]; g < groups.data[i0 + l + 1]; ++g) {
            GEOMETRY
            for (int b = 0; b < n_basic; ++b) D[b] += f[I[i_basic + 2 * b]] * mono[I[i_basic + 2 * b + 1]];
            EXTRA_ADD
        }
    }
    for (int b = 0; b < n_basic; ++b) m[b][l] = SUM(D[b]);
    EXTRA_STORE
}
for (int k = n_basic; k < n_moments; ++k) m[k] = none;
for (int e = 0; e < n_times; ++e) {
    const int *t = I + i_times + 4 * e;
    m[t[3]] += double(t[2]) * m[t[0]] * m[t[1]];
}
"""


def moment_columns() -> str:
    """Columns of the species and moment coefficients."""
    moments = MOMENTS.replace("GEOMETRY", GEOMETRY)
    for name in ("EXTRA_ZERO", "EXTRA_ADD", "EXTRA_STORE"):
        moments = moments.replace(name, "")
    collect = COLLECT.replace("WIDTH", "n_scalars").replace("FIRST", "n_species")
    return f"""{HEAD}
lane *jac = (lane *)S + s_jac, *adj = (lane *)S + s_a;
for (int i = a0; i < a1; ++i) A[species.data[i] * (long long)n_rows + 3 * na] += 1.0;
for (int i0 = a0; i0 < a1; i0 += L) {{
    {moments}
    for (int s = 0; s < n_scalars; ++s) {{  // dB_s/dm_b
        const int top = I[i_scalars + s];
        double energy = 0.0;
        for (int l = 0; l < L && i0 + l < a1; ++l) energy += m[top][l];
        A[(n_species + s) * (long long)n_rows + 3 * na] += energy;
        if (!gradients) continue;
        for (int k = I[i_touch_at + s]; k < I[i_touch_at + s + 1]; ++k) adj[I[i_touch + k]] = none;
        adj[top] = none + 1.0;
        for (int e = I[i_rev_at + s]; e < I[i_rev_at + s + 1]; ++e) {{
            const int *t = I + i_rev + 4 * e;
            const lane v = double(t[2]) * adj[t[3]];
            adj[t[0]] += v * m[t[1]];
            adj[t[1]] += v * m[t[0]];
        }}
        for (int k = I[i_dep_at + s]; k < I[i_dep_at + s + 1]; ++k) jac[k] = adj[I[i_dep + k]];
    }}
    for (int l = 0; l < L && i0 + l < a1 && gradients; ++l) {{
        const int i = i0 + l, kind = species.data[i];
        for (int k = 0; k < 9 * n_scalars; ++k) sum[k] = none;
        for (int g = groups.data[i]; g < groups.data[i + 1]; ++g) {{
            {GEOMETRY}
            {GRADIENTS}
            for (int column = 0; column < n_scalars; ++column) {{
                lane gx = none, gy = none, gz = none;
                for (int k = I[i_dep_at + column]; k < I[i_dep_at + column + 1]; ++k) {{
                    const lane *d = D + 3 * I[i_dep + k];
                    const double v = jac[k][l];
                    gx += v * d[0]; gy += v * d[1]; gz += v * d[2];
                }}
                double *a = A + (n_species + column) * (long long)n_rows;
                {SPREAD}
            }}
        }}
        {collect}
    }}
}}
{TAIL}"""


def radial_columns() -> str:
    """Columns of the radial coefficients c[kind of the atom, kind of the neighbour, mu, n]."""
    moments = (
        MOMENTS.replace("EXTRA_ZERO", "for (int k = 0; k < n_mono * n_pq; ++k) G[k] = none;")
        .replace(
            "EXTRA_ADD",
            """for (int k = 0; k < n_mono; ++k)
                for (int e = 0; e < n_species; ++e) {
                    const lane v = mono[k] * mask[e];
                    for (int n = 0; n < n_basis; ++n) G[k * n_pq + e * n_basis + n] += v * q[n];
                }""",
        )
        .replace("EXTRA_STORE", "for (int k = 0; k < n_mono * n_pq; ++k) g0[k][l] = SUM(G[k]);")
        .replace("GEOMETRY", GEOMETRY)
    )
    collect = COLLECT.replace("WIDTH", "n_t").replace("FIRST", "kind * n_t")
    return f"""{HEAD}
const int n_t = n_species * n_radial * n_basis, n_pq = n_species * n_basis;
const int padded = (n_t + {TILE - 1}) / {TILE} * {TILE};
lane *g0 = (lane *)S + s_g, *G = sum, *td = (lane *)S + s_td, *ad = (lane *)S + s_ad, *adj = (lane *)S + s_a;
lane *B = (lane *)S + s_b, *dB = (lane *)S + s_db;
double *bd = S + 8 * (long long)s_bd;  // change of dV/dm_b with each coefficient, [atom][b][t]
for (long long k = 0; k < 8LL * n_basic * padded; ++k) bd[k] = 0.0;
for (int i0 = a0; i0 < a1; i0 += L) {{
    {moments}
    for (int k = 0; k < n_moments; ++k) adj[k] = none;
    for (int s = 0; s < n_scalars; ++s) adj[I[i_scalars + s]] += R[r_weights + s];
    for (int e = n_times - 1; e >= 0; --e) {{
        const int *t = I + i_times + 4 * e;
        const lane v = double(t[2]) * adj[t[3]];
        adj[t[0]] += v * m[t[1]];
        adj[t[1]] += v * m[t[0]];
    }}
    for (int e = 0; e < n_species; ++e) for (int u = 0; u < n_radial; ++u) for (int n = 0; n < n_basis; ++n) {{
        const int t0 = (e * n_radial + u) * n_basis + n;
        for (int k = I[i_zero_at + u]; k < I[i_zero_at + u + 1]; ++k) {{
            td[I[i_zero + k]] = none; ad[I[i_zero + k]] = none;
        }}
        lane energy = none;
        for (int b = 0; b < n_basic; ++b) if (I[i_basic + 2 * b] == u) {{
            td[b] = g0[I[i_basic + 2 * b + 1] * n_pq + e * n_basis + n];
            energy += adj[b] * td[b];
        }}
        for (int l = 0; l < L && i0 + l < a1; ++l)
            A[(species.data[i0 + l] * n_t + t0) * (long long)n_rows + 3 * na] += energy[l];
        if (!gradients) continue;
        for (int k = I[i_fwd_at + u]; k < I[i_fwd_at + u + 1]; ++k) {{
            const int *t = I + i_fwd + 4 * k;
            td[t[3]] += double(t[2]) * (m[t[0]] * td[t[1]] + m[t[1]] * td[t[0]]);
        }}
        for (int k = I[i_bwd_at + u]; k < I[i_bwd_at + u + 1]; ++k) {{
            const int *t = I + i_bwd + 4 * k;
            const lane v = double(t[2]) * ad[t[3]], w = double(t[2]) * adj[t[3]];
            ad[t[0]] += v * m[t[1]] + w * td[t[1]];
            ad[t[1]] += v * m[t[0]] + w * td[t[0]];
        }}
        for (int b = 0; b < n_basic; ++b)
            for (int l = 0; l < L; ++l) bd[(l * n_basic + b) * (long long)padded + t0] = ad[b][l];
    }}
    for (int l = 0; l < L && i0 + l < a1 && gradients; ++l) {{
        const int i = i0 + l, kind = species.data[i];
        for (int k = 0; k < 9 * n_t; ++k) sum[k] = none;
        for (int g = groups.data[i]; g < groups.data[i + 1]; ++g) {{
            {GEOMETRY}
            {GRADIENTS}
            for (int u = 0; u < n_radial; ++u) {{ B[u] = none; dB[3 * u] = dB[3 * u + 1] = dB[3 * u + 2] = none; }}
            for (int b = 0; b < n_basic; ++b) {{
                const int u = I[i_basic + 2 * b], k = I[i_basic + 2 * b + 1];
                const double v = adj[b][l];
                B[u] += v * mono[k];
                dB[3 * u] += v * dmono[3 * k]; dB[3 * u + 1] += v * dmono[3 * k + 1];
                dB[3 * u + 2] += v * dmono[3 * k + 2];
            }}
            for (int t0 = 0; t0 < n_t; t0 += {TILE}) {{
                lane acc[{3 * TILE}];
                for (int k = 0; k < {3 * TILE}; ++k) acc[k] = none;
                const double *v = bd + l * (long long)n_basic * padded + t0;
                for (int b = 0; b < n_basic; ++b, v += padded) {{
                    const lane x = D[3 * b], y = D[3 * b + 1], z = D[3 * b + 2];
#pragma clang loop unroll(full)
                    for (int k = 0; k < {TILE}; ++k) {{
                        acc[3 * k] += v[k] * x; acc[3 * k + 1] += v[k] * y; acc[3 * k + 2] += v[k] * z;
                    }}
                }}
                for (int k = 0; k < {TILE} && t0 + k < n_t; ++k) {{
                    const int column = t0 + k, n = column % n_basis, u = column / n_basis % n_radial;
                    const int e = column / (n_basis * n_radial);
                    const lane v0 = mask[e] * q[n], v1 = mask[e] * dq[n] * B[u];
                    const lane gx = acc[3 * k] + v0 * dB[3 * u] + v1 * nx;
                    const lane gy = acc[3 * k + 1] + v0 * dB[3 * u + 1] + v1 * ny;
                    const lane gz = acc[3 * k + 2] + v0 * dB[3 * u + 2] + v1 * nz;
                    double *a = A + (kind * n_t + column) * (long long)n_rows;
                    {SPREAD}
                }}
            }}
        }}
        {collect}
    }}
}}
{TAIL}"""
