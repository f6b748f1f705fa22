"""MTP kernel: products of moments, their adjoint, and what is handed out per atom; see `native` and `tables`."""

from __future__ import annotations

from .native import phase


def products() -> str:
    """Inner moments, each the sum of its products."""
    return phase("""
const int *ij = I + i_inner_ij;
const REAL *mult = T + r_mult;
for (int k = 0; k < n_inner; ++k) {
    lane sum = lane_zero;
    for (int count = I[i_inner + k + 1] - I[i_inner + k]; count > 0; --count) {
        sum += *mult++ * (W(s_m * L + ij[0]) * W(s_m * L + ij[1]));
        ij += 2;
    }
    M(s_m + n_basic + k) = sum;
}
""")


def adjoint() -> str:
    """Site energies, and beta = dV/dm of the basic moments: the form first, then the deepest products first."""
    return phase("""
lane twice = lane_zero;
{
    for (int k = 0; k < n_moments; ++k) {
        const REAL w = T[r_weight + k];
        twice += (w + w) * M(s_m + k);
        M(s_beta + k) = lane_zero + w;
    }
    const int *row = I + i_form, *j = I + i_form_j;
    const REAL *c = T + r_form;
    for (int rows = n_form; rows > 0; --rows, row += 2) {
        lane sum = lane_zero;
        for (int count = row[1]; count > 0; --count) sum += *c++ * W(s_m * L + *j++);
        twice += W(s_m * L + row[0]) * sum;
        W(s_beta * L + row[0]) += sum;
    }
}
const lane extra = M(s_e);
for (int l = 0; l < L; ++l)
    if (n0 + l < n_atoms)
        energies.data[n0 + l] = T[r_species + species.data[n0 + l]] + REAL(0.5) * PART(twice, l) + PART(extra, l);
if (want_g || want_rows) {
    const int *step = I + i_back, *end = step + n_back;
    const REAL *mult = T + r_back;
    while (step < end) {
        const int i = step[0], pairs = step[1], targets = step[2];
        const lane mi = W(s_m * L + i);
        lane own = lane_zero;
        step += 3;
        for (int pair = pairs; pair > 0; --pair) {
            const int jj = *step++;
            lane t = *mult++ * W(s_beta * L + *step++);
            for (int more = targets; more > 1; --more) t += *mult++ * W(s_beta * L + *step++);
            own += t * W(s_m * L + jj);
            W(s_beta * L + jj) += t * mi;
        }
        W(s_beta * L + i) += own;
    }
}
""")


def basis() -> str:
    """B_s of the block: own moments, or sums of products of the outer ones; to out (N, S), or, with want_rows, into
    the last S columns of out (N, C C K R + C + S)."""
    return phase("""
const size_t width = want_rows ? n_species * (n_species * n_mu * n_radial + 1) + n_basis : n_basis;
const size_t column = want_rows ? n_species * (n_species * n_mu * n_radial + 1) : 0;
for (int s = 0; s < n_basis; ++s) {
    lane sum = lane_zero;
    const int own = I[i_own + s];
    if (own >= 0) sum = M(s_m + own);
    for (int e = I[i_outer + s]; e < I[i_outer + s + 1]; ++e)
        sum += T[r_outer + e] * (W(s_m * L + I[i_outer_ij + 2 * e]) * W(s_m * L + I[i_outer_ij + 2 * e + 1]));
    for (int l = 0; l < L; ++l)
        if (n0 + l < n_atoms) out.data[(size_t)(n0 + l - origin) * width + column + s] = PART(sum, l);
}
""")


def rows() -> str:
    """Derivatives of V with respect to the radial and species coefficients, out (N, C C K R + C + S), zero before.

    dV/dc[z, z', mu, n] = sum over neighbours of species z' of Q_n(r) P_mu(u), P_mu = sum_pqt beta x^p y^q z^t."""
    return phase("""
const int slots_used = NOTE(0, 0), block_size = n_mu * n_radial;
const size_t width = n_species * (n_species * block_size + 1) + n_basis;
for (int k = 0; k < n_species * block_size; ++k) M(s_rows + k) = lane_zero;
for (int t = 0; t < slots_used; ++t) {
    const lane ux = M(s_x + 5 * t), uy = M(s_x + 5 * t + 1), uz = M(s_x + 5 * t + 2);
    const int *qs = I + i_q, *ts = I + i_t, *mus = I + i_mu;
    for (int mu = 0; mu < n_mu; ++mu) M(s_f + mu) = lane_zero;    // f of the first slots is no longer needed
    int k = s_beta;
    lane xp = lane_one;
    for (int p = 0; p < n_p; ++p) {
        lane xy = xp;
        for (int q = *qs++; q > 0; --q) {
            lane mono = xy;
            for (int e = *ts++; e > 0; --e) {
                const int n = *mus++;
                for (int mu = 0; mu < n; ++mu) M(s_f + mu) += M(k + mu) * mono;
                k += n;
                mono *= uz;
            }
            xy *= uy;
        }
        xp *= ux;
    }
    for (int mu = 0; mu < n_mu; ++mu)
        for (int n = 0; n < n_radial; ++n) {
            const lane add = M(s_f + mu) * M(s_q + t * n_radial + n);
            if (n_species == 1) M(s_rows + mu * n_radial + n) += add;
            else
                for (int l = 0; l < L; ++l)
                    E(s_rows + NOTE(2 + 2 * t, l) * block_size + mu * n_radial + n, l) += PART(add, l);
        }
}
for (int l = 0; l < L; ++l) {
    if (n0 + l >= n_atoms) break;
    const int z = species.data[n0 + l];
    REAL *row = out.data + (size_t)(n0 + l - origin) * width;
    for (int k = 0; k < n_species * block_size; ++k) row[z * n_species * block_size + k] = E(s_rows + k, l);
    row[n_species * n_species * block_size + z] = 1;
}
""")
