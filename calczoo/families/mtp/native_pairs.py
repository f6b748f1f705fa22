"""MTP kernel: neighbours, radial functions, basic moments and forces; see `native`."""

from __future__ import annotations

from .native import phase

FEW = 2
"""Neighbours taken at a time where forces are made; divides TILE."""

# what a neighbour slot holds: x, y, z (later the unit vector), 1 / r, weight 1 or 0
_FIELDS = 5


def neighbours() -> str:
    """Collect the neighbours within the cutoff, slot t of atom l; pad with dummies of weight 0; shortest distance."""
    return phase(f"""
const REAL cut = T[r_param + 1], cut2 = cut * cut;
int most = 0;
for (int l = 0; l < L; ++l) {{
    const int n = n0 + l;
    int at = 0;
    REAL near2 = cut2;
    if (n < n_atoms) {{
        const auto xn = x.data[n];
        for (int p = first.data[n]; p < first.data[n + 1]; ++p) {{
            const int jn = j.data[p];
            const auto xj = x.data[jn];
            const auto sv = shift.data[shift_index.data[p]];
            const REAL rx = xj[0] + sv[0] - xn[0], ry = xj[1] + sv[1] - xn[1], rz = xj[2] + sv[2] - xn[2];
            const REAL r2 = rx * rx + ry * ry + rz * rz;
            E(s_x + {_FIELDS} * at, l) = rx; E(s_x + {_FIELDS} * at + 1, l) = ry; E(s_x + {_FIELDS} * at + 2, l) = rz;
            E(s_x + {_FIELDS} * at + 4, l) = REAL(1);
            NOTE(1 + 2 * at, l) = p;
            NOTE(2 + 2 * at, l) = species.data[jn];
            if (want_g) {{ gradients.data[p][0] = 0; gradients.data[p][1] = 0; gradients.data[p][2] = 0; }}
            near2 = r2 < near2 ? r2 : near2;
            at += r2 < cut2 ? 1 : 0;   // a pair beyond the cutoff is overwritten by the next one
        }}
        shortest.data[n] = near2 < cut2 ? sqrt(near2) : cut;
    }}
    NOTE(0, l) = at;
    most = at > most ? at : most;
}}
most = (most + TILE - 1) / TILE * TILE;
for (int l = 0; l < L; ++l) {{
    for (int t = NOTE(0, l); t < most; ++t) {{
        E(s_x + {_FIELDS} * t, l) = 0; E(s_x + {_FIELDS} * t + 1, l) = 0;
        E(s_x + {_FIELDS} * t + 2, l) = REAL(0.5) * cut;
        E(s_x + {_FIELDS} * t + 4, l) = 0;
        NOTE(1 + 2 * t, l) = -1;
        NOTE(2 + 2 * t, l) = 0;
    }}
    NOTE(0, l) = most;
}}
""")


def radial() -> str:
    """f_mu and df_mu/dr of every neighbour; vectors become unit vectors; the basis' own repulsion, if it has one.

    T_n and their derivatives are summed first and multiplied by the common factor s (r - b)^2 after."""
    return phase(f"""
const REAL a = T[r_param], b = T[r_param + 1], s = T[r_param + 2];
const REAL slope = REAL(2) / (b - a);
const int slots_used = NOTE(0, 0);
lane rep = lane_zero;
for (int t = 0; t < slots_used; ++t) {{
    const int at = s_x + {_FIELDS} * t;
    const lane rx = M(at), ry = M(at + 1), rz = M(at + 2), w = M(at + 4);
    const lane r2 = rx * rx + ry * ry + rz * rz;
    const lane r = SQRT(r2);
    const lane ri = REAL(1) / r;
    M(at) = rx * ri; M(at + 1) = ry * ri; M(at + 2) = rz * ri; M(at + 3) = ri;
    lane q = r, dq = lane_one;   // what the basis is taken at, and its derivative
    if (clamped)
        for (int l = 0; l < L; ++l)
            if (PART(r, l) <= a) {{ PART(q, l) = a; PART(dq, l) = 0; }}
    lane g = s * w, dg = lane_zero, v = (REAL(2) * q - (a + b)) / (b - a), dv = slope * dq;
    if (kind == 0) {{ const lane h = q - b; dg = REAL(2) * g * h * dq; g = g * h * h; }}
    const REAL twice = kind == 2 ? REAL(1) : REAL(2), minus = kind == 2 ? REAL(0) : REAL(1);
    if (kind == 2) {{ v = q; dv = dq; }}
    lane p0 = lane_one, p1 = v, d0 = lane_zero, d1 = dv;
    for (int n = 0; n < n_radial; ++n) {{
        M(s_t + 2 * n) = g * p0;
        M(s_t + 2 * n + 1) = dg * p0 + g * d0;
        const lane p2 = twice * v * p1 - minus * p0, d2 = twice * (dv * p1 + v * d1) - minus * d0;
        p0 = p1; p1 = p2; d0 = d1; d1 = d2;
    }}
    if (want_rows)
        for (int n = 0; n < n_radial; ++n) M(s_q + t * n_radial + n) = M(s_t + 2 * n);
    if (n_species == 1) {{
        for (int mu = 0; mu < n_mu; ++mu) {{
            const REAL *c = T + r_radial + mu;
            lane f = lane_zero, df = lane_zero;
            for (int n = 0; n < n_radial; ++n) {{
                f += c[n * n_padded] * M(s_t + 2 * n);
                df += c[n * n_padded] * M(s_t + 2 * n + 1);
            }}
            M(s_f + t * n_mu + mu) = f;
            M(s_df + t * n_mu + mu) = df;
        }}
    }} else {{
        for (int mu0 = 0; mu0 < n_mu; mu0 += L) {{
            REAL f[L][L], df[L][L];      // lanes over mu here, one atom at a time
            for (int l = 0; l < L; ++l) {{
                const int z = n0 + l < n_atoms ? species.data[n0 + l] : 0;
                const REAL *c = T + r_radial + (z * n_species + NOTE(2 + 2 * t, l)) * n_radial * n_padded + mu0;
                lane fs = lane_zero, dfs = lane_zero;
                for (int n = 0; n < n_radial; ++n) {{
                    const lane cn = *(const lane *)(c + n * n_padded);
                    fs += cn * E(s_t + 2 * n, l);
                    dfs += cn * E(s_t + 2 * n + 1, l);
                }}
                *(lane *)f[l] = fs;
                *(lane *)df[l] = dfs;
            }}
            const int stop = n_mu - mu0 < L ? n_mu - mu0 : L;
            for (int mu = 0; mu < stop; ++mu) {{
                lane fs = lane_zero, dfs = lane_zero;
                for (int l = 0; l < L; ++l) {{ PART(fs, l) = f[l][mu]; PART(dfs, l) = df[l][mu]; }}
                M(s_f + t * n_mu + mu0 + mu) = fs;
                M(s_df + t * n_mu + mu0 + mu) = dfs;
            }}
        }}
    }}
    if (repulsive) {{
        lane slope_t = lane_zero;
        for (int l = 0; l < L; ++l)
            if (PART(r, l) < a && PART(w, l) > REAL(0)) {{
                const REAL hit = T[r_param + 3] * exp(-T[r_param + 4] * (PART(r, l) - REAL(1)));
                PART(rep, l) += hit - T[r_param + 3] * exp(-T[r_param + 4] * (a - REAL(1)));
                PART(slope_t, l) = -T[r_param + 4] * hit;
            }}
        M(s_push + t) = slope_t;
    }}
}}
M(s_e) = rep;
""")


def moments() -> str:
    """Basic moments: a tile of neighbours at a time, one running monomial each."""
    return phase(f"""
const int slots_used = NOTE(0, 0);
for (int k = 0; k < n_basic; ++k) M(s_m + k) = lane_zero;
for (int t0 = 0; t0 < slots_used; t0 += TILE) {{
    lane ux[TILE], uy[TILE], uz[TILE], xp[TILE];
    for (int u = 0; u < TILE; ++u) {{
        const int at = s_x + {_FIELDS} * (t0 + u);
        ux[u] = M(at); uy[u] = M(at + 1); uz[u] = M(at + 2); xp[u] = lane_one;
    }}
    const int *qs = I + i_q, *ts = I + i_t, *mus = I + i_mu;
    int k = s_m;
    const int f0 = s_f + t0 * n_mu;
    for (int p = 0; p < n_p; ++p) {{
        lane xy[TILE];
        for (int u = 0; u < TILE; ++u) xy[u] = xp[u];
        for (int q = *qs++; q > 0; --q) {{
            lane mono[TILE];
            for (int u = 0; u < TILE; ++u) mono[u] = xy[u];
            for (int e = *ts++; e > 0; --e) {{
                const int n = *mus++;
                for (int mu = 0; mu < n; ++mu) {{
                    lane sum = M(k + mu);
                    for (int u = 0; u < TILE; ++u) sum += M(f0 + u * n_mu + mu) * mono[u];
                    M(k + mu) = sum;
                }}
                k += n;
                for (int u = 0; u < TILE; ++u) mono[u] *= uz[u];
            }}
            for (int u = 0; u < TILE; ++u) xy[u] *= uy[u];
        }}
        for (int u = 0; u < TILE; ++u) xp[u] *= ux[u];
    }}
}}
""")


def _case(n: int) -> str:
    """The sums over mu for n radial functions."""
    text = "const lane b0 = M(k);"
    text += "for (int u = 0; u < FEW; ++u) { h[u] = M(f0 + u * n_mu) * b0; d[u] = M(g0 + u * n_mu) * b0; }"
    for mu in range(1, n):
        text += (
            f"const lane b{mu} = M(k + {mu});"
            f"for (int u = 0; u < FEW; ++u) {{ h[u] += M(f0 + u * n_mu + {mu}) * b{mu};"
            f"d[u] += M(g0 + u * n_mu + {mu}) * b{mu}; }}"
        )
    return f"case {n}: {{ {text} }} break;"


def gradients() -> str:
    """dV/dr of every pair.

    G = sum_pqt (sum_mu f_mu beta) x^p y^q z^t with its three derivatives, and D, the same with df_mu, by Horner's rule
    in z, y and x; the gradient is D u + (grad G - u (u . grad G)) / r with the unit vector u."""
    cases = "".join(_case(n) for n in range(1, 7))
    return phase(f"""
const int slots_used = NOTE(0, 0);
const int FEW = {FEW};
for (int t0 = 0; t0 < slots_used; t0 += FEW) {{
    lane ux[FEW], uy[FEW], uz[FEW];
    lane a[FEW], ax[FEW], ay[FEW], az[FEW], ad[FEW];
    for (int u = 0; u < FEW; ++u) {{
        const int at = s_x + {_FIELDS} * (t0 + u);
        ux[u] = M(at); uy[u] = M(at + 1); uz[u] = M(at + 2);
        a[u] = ax[u] = ay[u] = az[u] = ad[u] = lane_zero;
    }}
    const int *qs = I + i_q + n_p, *ts = I + i_t + n_columns, *mus = I + i_mu + n_monomials;
    int k = s_beta + n_basic;
    const int f0 = s_f + t0 * n_mu, g0 = s_df + t0 * n_mu;
    for (int p = 0; p < n_p; ++p) {{
        lane b[FEW], by[FEW], bz[FEW], bd[FEW];
        for (int u = 0; u < FEW; ++u) b[u] = by[u] = bz[u] = bd[u] = lane_zero;
        for (int q = *--qs; q > 0; --q) {{
            lane c[FEW], cz[FEW], cd[FEW];
            for (int u = 0; u < FEW; ++u) c[u] = cz[u] = cd[u] = lane_zero;
            for (int e = *--ts; e > 0; --e) {{
                lane h[FEW], d[FEW];
                const int n = *--mus;
                k -= n;
                switch (n) {{
                {cases}
                default:
                    for (int u = 0; u < FEW; ++u) h[u] = d[u] = lane_zero;
                    for (int mu = 0; mu < n; ++mu) {{
                        const lane beta = M(k + mu);
                        for (int u = 0; u < FEW; ++u) {{
                            h[u] += M(f0 + u * n_mu + mu) * beta;
                            d[u] += M(g0 + u * n_mu + mu) * beta;
                        }}
                    }}
                }}
                for (int u = 0; u < FEW; ++u) {{
                    cz[u] = cz[u] * uz[u] + c[u];
                    c[u] = c[u] * uz[u] + h[u];
                    cd[u] = cd[u] * uz[u] + d[u];
                }}
            }}
            for (int u = 0; u < FEW; ++u) {{
                by[u] = by[u] * uy[u] + b[u];
                b[u] = b[u] * uy[u] + c[u];
                bz[u] = bz[u] * uy[u] + cz[u];
                bd[u] = bd[u] * uy[u] + cd[u];
            }}
        }}
        for (int u = 0; u < FEW; ++u) {{
            ax[u] = ax[u] * ux[u] + a[u];
            a[u] = a[u] * ux[u] + b[u];
            ay[u] = ay[u] * ux[u] + by[u];
            az[u] = az[u] * ux[u] + bz[u];
            ad[u] = ad[u] * ux[u] + bd[u];
        }}
    }}
    for (int u = 0; u < FEW; ++u) {{
        const lane ri = M(s_x + {_FIELDS} * (t0 + u) + 3);
        lane along = ad[u];
        if (repulsive) along += M(s_push + t0 + u);
        along -= ri * (ux[u] * ax[u] + uy[u] * ay[u] + uz[u] * az[u]);
        const lane gx = along * ux[u] + ri * ax[u];
        const lane gy = along * uy[u] + ri * ay[u];
        const lane gz = along * uz[u] + ri * az[u];
        for (int l = 0; l < L; ++l) {{
            const int pair = NOTE(1 + 2 * (t0 + u), l);
            if (pair < 0) continue;
            gradients.data[pair][0] = PART(gx, l);
            gradients.data[pair][1] = PART(gy, l);
            gradients.data[pair][2] = PART(gz, l);
        }}
    }}
}}
""")
