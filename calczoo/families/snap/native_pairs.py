"""SNAP kernel, lanes over the neighbours of one atom: collecting them, the density U, and the forces; see `native`."""

from __future__ import annotations

from math import factorial

from .native import COMMON, LOCALS, MAX_CHAIN, PREAMBLE, offsets


# sin and cos of an angle in [0, pi] by Taylor series about pi / 2; the remainder is below 1e-19
def _series(first: int, count: int) -> list[str]:
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

def neighbours() -> str:
    """Collect, for the L atoms, the neighbours within the cutoff: vectors, cutoff, weight, pair; padded to whole groups
    with weightless dummies, and grouped by density."""
    return (
        PREAMBLE
        + COMMON
        + offsets()
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
        PREAMBLE
        + COMMON
        + offsets()
        + LOCALS
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


def gradients() -> str:
    """dE/dr of every pair of the block."""
    return (
        PREAMBLE
        + COMMON
        + offsets()
        + LOCALS
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
