"""Source of the inner loops that make symmetry functions and their derivatives for training, for Warp's native
functions on the CPU.

One call is one atom i. Lanes run over the angular factors (1 + lambda cos)^zeta, which a group of functions shares. A
triplet needs no exponential and no power: those of single distances are tables per pair, those of the third side and of
the angle are cubic Hermite interpolation in fine tables of values and derivatives. With

    G = A(cos) R,   R = phi(r_j) phi(r_k) [psi(r_jk)]

the gradients in r_j and r_k are a r_j + b r_k and c r_k + b r_j with three numbers a, b, c per function.
"""

from __future__ import annotations

LANES = 8
BINS = 2048
"""Intervals of both tables."""

OFFSETS = ("n_elements", "n_channels", "n_vectors", "n_classes", "n_uses", "want_rows")

COLUMNS = (
    """
#ifndef __CUDA_ARCH__
typedef double lane __attribute__((vector_size(64), aligned(8)));
const int *O = offsets.data;
"""
    + "".join(f"const int {name} = O[{k}];\n" for k, name in enumerate(OFFSETS))
    + f"""
const int L = {LANES}, BINS = {BINS}, nE = n_elements, nC = n_channels, nV = n_vectors;
"""
    + """
const lane none = {};
const int ei = element.data[i], p0 = first.data[i], p1 = first.data[i + 1];
const int *range = uses_at.data + ei * (n_classes + 1);
const int *use = uses.data;  // channel of each use, the uses of an element's classes one after the other
const int u0 = range[0], nU = range[n_classes] - u0;
lane *sums = (lane *)scratch.data;                 // [use][vector]
lane *J = sums + (long long)n_uses * nV;           // [pair][use][vector][x y z]
lane *A = J + 3LL * capacity * n_uses * nV;        // angular factors, then their derivatives
const long long width = 3LL * nU * nV;
for (int q = 0; q < nU * nV; ++q) sums[q] = none;
if (want_rows) for (long long q = 0; q < width * (p1 - p0); ++q) J[q] = none;
const double jk_scale = steps.data[0], jk_end = steps.data[1];
for (int j = p0; j < p1 && nU; ++j) {
    const double jx = vectors.data[3 * j], jy = vectors.data[3 * j + 1], jz = vectors.data[3 * j + 2];
    const double rj = distance.data[j], ij = 1.0 / rj;
    const int kj = kind.data[j];
    for (int k = j + 1; k < p1; ++k) {
        const int cls = class_of.data[kj * nE + kind.data[k]], ua = range[cls], ub = range[cls + 1];
        if (ua == ub) continue;
        const double kx = vectors.data[3 * k], ky = vectors.data[3 * k + 1], kz = vectors.data[3 * k + 2];
        const double rk = distance.data[k], ik = 1.0 / rk;
        const double dot = jx * kx + jy * ky + jz * kz, both = ij * ik;
        double cosine = dot * both;
        cosine = cosine > 1.0 ? 1.0 : cosine < -1.0 ? -1.0 : cosine;
        {
            const double x = (cosine + 1.0) * (0.5 * BINS);
            int n = (int)x; n = n < BINS ? n : BINS - 1;
            const double t = x - n, h = 2.0 / BINS, s = 1.0 - t;
            const double a0 = (1.0 + 2.0 * t) * s * s, a1 = t * s * s * h, a2 = t * t * (3.0 - 2.0 * t);
            const double a3 = -t * t * s * h, d0 = -6.0 * t * s / h, d1 = s * (1.0 - 3.0 * t), d3 = t * (3.0 * t - 2.0);
            const double *T = angles.data + (long long)n * 2 * nV * L;
            for (int v = 0; v < nV; ++v) {
                const lane f0 = *(const lane *)(T + v * L), g0 = *(const lane *)(T + (nV + v) * L);
                const lane f1 = *(const lane *)(T + (2 * nV + v) * L), g1 = *(const lane *)(T + (3 * nV + v) * L);
                A[v] = a0 * f0 + a1 * g0 + a2 * f1 + a3 * g1;
                A[nV + v] = d0 * (f0 - f1) + d1 * g0 + d3 * g1;
            }
        }
        double square = rj * rj + rk * rk - 2.0 * dot;
        square = square > 1e-12 ? square : 1e-12;
        const double side = __builtin_sqrt(square), xs = side * jk_scale;
        const bool near = side < jk_end;
        int n = (int)xs; n = n < BINS ? n : BINS - 1;
        const double t = xs - n, h = 1.0 / jk_scale, s = 1.0 - t;
        const double a0 = (1.0 + 2.0 * t) * s * s, a1 = t * s * s * h, a2 = t * t * (3.0 - 2.0 * t);
        const double a3 = -t * t * s * h, d0 = -6.0 * t * s / h, d1 = s * (1.0 - 3.0 * t), d3 = t * (3.0 * t - 2.0);
        const double *T = sides.data + (long long)n * 2 * nC;
        for (int u = ua; u < ub; ++u) {
            const int e = use[u];
            const double fj = phi.data[j * nC + e], fk = phi.data[k * nC + e];
            double f = fj * fk, slope = 0.0, whole = 1.0;
            if (with_jk.data[e]) {
                if (!near) continue;
                const double f0 = T[e], g0 = T[nC + e], f1 = T[2 * nC + e], g1 = T[3 * nC + e];
                whole = a0 * f0 + a1 * g0 + a2 * f1 + a3 * g1;
                slope = f * (d0 * (f0 - f1) + d1 * g0 + d3 * g1) / side;
                f *= whole;
            }
            lane *to = sums + (u - u0) * nV;
            for (int v = 0; v < nV; ++v) to[v] += f * A[v];
            if (!want_rows) continue;
            const double dj = dphi.data[j * nC + e] * fk * whole, dk = dphi.data[k * nC + e] * fj * whole;
            lane *gj = J + (j - p0) * width + 3 * (u - u0) * nV, *gk = J + (k - p0) * width + 3 * (u - u0) * nV;
            const double cj = -cosine * ij * ij * f, ck = -cosine * ik * ik * f, cb = both * f;
            for (int v = 0; v < nV; ++v) {
                const lane w = A[v], dw = A[nV + v];
                const lane a = dw * cj + w * (dj + slope), c = dw * ck + w * (dk + slope), b = dw * cb - w * slope;
                gj[3 * v] += a * jx + b * kx; gj[3 * v + 1] += a * jy + b * ky; gj[3 * v + 2] += a * jz + b * kz;
                gk[3 * v] += c * kx + b * jx; gk[3 * v + 1] += c * ky + b * jy; gk[3 * v + 2] += c * kz + b * jz;
            }
        }
    }
}
// functions: kind of entry (radial 0, angular 1), channel or use, neighbour element or lane
const int k0 = functions_at.data[ei], k1 = functions_at.data[ei + 1];
double *G = values.data + value_at.data[i];
float *V = rows.data;
float *W = virials.data + virial_at.data[i];
const long long own = own_at.data[i], stride = strides.data[i];
for (int f = k0; f < k1; ++f) {
    const int angular = functions.data[3 * f], which = functions.data[3 * f + 1], part = functions.data[3 * f + 2];
    const double scale = scales.data[f];
    const int column = f - k0;
    double sum = 0.0;
    double push[3] = {0.0, 0.0, 0.0}, w[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    for (int p = p0; p < p1; ++p) {
        double g[3];
        if (angular) {
            if (!want_rows) break;
            const lane *from = J + (p - p0) * width + 3 * ((long long)which * nV + part / L);
            for (int x = 0; x < 3; ++x) g[x] = scale * from[x][part % L];
        } else {
            if (kind.data[p] != part) continue;
            sum += phi.data[p * nC + which];
            const double d = scale * dphi.data[p * nC + which];
            for (int x = 0; x < 3; ++x) g[x] = d * vectors.data[3 * p + x];
        }
        if (!want_rows) continue;
        const double *r = vectors.data + 3 * p;
        float *to = V + place.data[p] + column;
        for (int x = 0; x < 3; ++x) {
            to[x * stride] += (float)g[x];
            push[x] += g[x];
            w[x] += r[x] * g[x];
        }
        w[3] += 0.5 * (r[1] * g[2] + r[2] * g[1]);
        w[4] += 0.5 * (r[0] * g[2] + r[2] * g[0]);
        w[5] += 0.5 * (r[0] * g[1] + r[1] * g[0]);
    }
    G[column] = angular ? sums[(long long)which * nV + part / L][part % L] : sum;
    if (!want_rows) continue;
    for (int x = 0; x < 3; ++x) V[own + x * stride + column] -= (float)push[x];
    for (int x = 0; x < 6; ++x) W[x * (k1 - k0) + column] = (float)w[x];
}
#endif
"""
)
