"""Symmetry function kernels: neighbours, channels, radial functions, and what goes in and out; see `native`."""

from __future__ import annotations

from .native import FIRST_CHANNEL, FOUND, OCTANTS, phase, window
from .native_math import functions


def neighbours() -> str:
    """Slots of the neighbours within the reach of the centre's functions, by element and octant; padding lies beyond.

    Gradients of all pairs of the atom are set to zero where gradients are wanted (want)."""
    return phase(f"""
const REAL reach = T[r_reach + z], reach2 = reach * reach;
const auto xn = x.data[n];
for (int k = 0; k <= {OCTANTS} * n_species; ++k) NOTE(n_bin + k) = 0;
int found = 0;
for (int p = first.data[n]; p < first.data[n + 1]; ++p) {{
    const auto xj = x.data[j.data[p]];
    const auto sv = shift.data[shift_index.data[p]];
    const REAL rx = xj[0] + sv[0] - xn[0], ry = xj[1] + sv[1] - xn[1], rz = xj[2] + sv[2] - xn[2];
    const REAL r2 = rx * rx + ry * ry + rz * rz;
    if (want) {{ gradients.data[p][0] = 0; gradients.data[p][1] = 0; gradients.data[p][2] = 0; }}
    // octants in the order of a Gray code: each shares a face with the next
    const int a = rx < 0, b = (ry < 0) ^ a, c = (rz < 0) ^ b;
    const int bin = {OCTANTS} * species.data[j.data[p]] + 4 * a + 2 * b + c;
    NOTE(n_of + found) = bin;
    NOTE(n_found + found) = p;
    if (r2 < reach2) {{ NOTE(n_bin + bin) += 1; found += 1; }}
}}
int at = 0;
for (int e = 0; e < n_species; ++e) {{
    NOTE(n_start + e) = at / L;
    const int before = at;
    for (int o = 0; o < {OCTANTS}; ++o) {{
        const int count = NOTE(n_bin + {OCTANTS} * e + o);
        NOTE(n_bin + {OCTANTS} * e + o) = at;
        at += count;
    }}
    NOTE(n_count + e) = at - before;
    at = (at + L - 1) / L * L;
}}
const int blocks = at / L + 1;
NOTE(0) = blocks;
NOTE(n_start + n_species) = blocks - 1;
for (int k = 0; k < blocks * L; ++k) NOTE(n_pair + k) = -1;
for (int t = 0; t < found; ++t) {{
    const int bin = NOTE(n_of + t), p = NOTE(n_found + t), slot = NOTE(n_bin + bin);
    NOTE(n_bin + bin) = slot + 1;
    NOTE(n_pair + slot) = p;
    const auto xj = x.data[j.data[p]];
    const auto sv = shift.data[shift_index.data[p]];
    SLOT(0, slot) = xj[0] + sv[0] - xn[0];
    SLOT(1, slot) = xj[1] + sv[1] - xn[1];
    SLOT(2, slot) = xj[2] + sv[2] - xn[2];
}}
for (int e = 0; e < n_species; ++e)
    for (int k = NOTE(n_start + e) * L + NOTE(n_count + e); k < NOTE(n_start + e + 1) * L; ++k) {{
        SLOT(0, k) = REAL(3) * reach; SLOT(1, k) = 0; SLOT(2, k) = 0;
    }}
ROW(0, blocks - 1) = lane_zero + REAL(3) * reach; ROW(1, blocks - 1) = lane_zero; ROW(2, blocks - 1) = lane_zero;
for (int kb = 0; kb < blocks; ++kb) {{
    const lane rx = ROW(0, kb), ry = ROW(1, kb), rz = ROW(2, kb);
    const lane r = SQRT(rx * rx + ry * ry + rz * rz);
    ROW(3, kb) = r;
    ROW(4, kb) = REAL(1) / r;
    for (int row = 5; row < {FIRST_CHANNEL}; ++row) ROW(row, kb) = lane_zero;
}}
""")


def channels(single: bool) -> str:
    """R_c of every slot, and the logarithmic derivative of every window; zero in the empty lane."""
    return phase(
        FOUND,
        functions(single),
        window(True),
        f"""
for (int row = 0; row < head[1]; ++row) ROW({FIRST_CHANNEL} + row, blocks - 1) = lane_zero;
for (int e = 0; e < n_species; ++e) {{
    const int *where = I + i_channels + 2 * (z * n_species + e), *c = I + where[0];
    const REAL *t = T + where[1];
    const int start = NOTE(n_start + e), stop = NOTE(n_start + e + 1);
    for (int windows = *c++; windows > 0; --windows) {{
        const int shape = c[0], log_row = {FIRST_CHANNEL} + c[1], count = c[2];
        window(shape, t, stop - start, s_rows + 3 * blocks + start, s_pair, s_pair + blocks);
        for (int kb = start; kb < stop; ++kb) {{
            const lane r = ROW(3, kb), w = LANE(s_pair + kb - start), dw = LANE(s_pair + blocks + kb - start);
            ROW(log_row, kb) = w > lane_zero ? dw / w : lane_zero;
            for (int i = 0; i < count; ++i) {{
                const REAL eta = t[4 + 2 * i];
                const lane d = r - t[5 + 2 * i];
                ROW({FIRST_CHANNEL} + c[3 + i], kb) = eta != REAL(0) ? w * exponential((d * d) * -eta) : w;
            }}
        }}
        c += 3 + count; t += 4 + 2 * count;
    }}
}}
""",
    )


def radial_values(single: bool) -> str:
    """Scratch for the sums of functions, set to those of the radial ones; for each entry an empty sum."""
    return phase(
        FOUND,
        functions(single),
        window(True),
        """
for (int s = 0; s < width; ++s) NUMBER(s_weights * L + s) = 0;
for (int e = 0; e < head[2]; ++e) LANE(s_sums + e) = lane_zero;
for (int e = 0; e < n_species; ++e) {
    const int *where = I + i_radial + 2 * (z * n_species + e), *c = I + where[0];
    const REAL *t = T + where[1];
    const int start = NOTE(n_start + e), stop = NOTE(n_start + e + 1);
    for (int windows = *c++; windows > 0; --windows) {
        const int shape = c[0], count = c[1];
        window(shape, t, stop - start, s_rows + 3 * blocks + start, s_pair, s_pair + blocks);
        for (int i = 0; i < count; ++i) {
            const REAL eta = t[4 + 3 * i], rs = t[5 + 3 * i];
            lane total = lane_zero;
            for (int kb = start; kb < stop; ++kb) {
                const lane d = ROW(3, kb) - rs, w = LANE(s_pair + kb - start);
                total += eta != REAL(0) ? w * exponential((d * d) * -eta) : w;
            }
            NUMBER(s_weights * L + c[2 + i]) += t[6 + 3 * i] * sum(total);
        }
        c += 2 + count; t += 4 + 3 * count;
    }
}
""",
    )


def values_out() -> str:
    """Sums of entries to functions, scaled, zero beyond the functions of the element; to out (N, width)."""
    return phase("""
const int *s = I + head[3];
const REAL *m = T + head[4];
for (int e = 0; e < head[2]; ++e) NUMBER(s_weights * L + s[e]) += m[e] * sum(LANE(s_sums + e));
REAL *row = values.data + (size_t)n * width;
for (int i = 0; i < width; ++i) {
    const int k = z * width + i;
    row[i] = i < head[0] ? T[r_base + k] + T[r_factor + k] * (NUMBER(s_weights * L + i) - T[r_offset + k]) : REAL(0);
}
""")


def weights_in() -> str:
    """dU/dG of unscaled functions from `values` (N, width), and of every entry."""
    return phase("""
const REAL *row = values.data + (size_t)n * width;
for (int i = 0; i < width; ++i) NUMBER(s_weights * L + i) = T[r_factor + z * width + i] * row[i];
const int *s = I + head[3];
const REAL *m = T + head[4];
for (int e = 0; e < head[2]; ++e) NUMBER(s_sums * L + e) = m[e] * NUMBER(s_weights * L + s[e]);
""")


def radial_gradients(single: bool) -> str:
    """Adds (dU/dr) / r of the radial functions to row 5."""
    return phase(
        FOUND,
        functions(single),
        window(True),
        """
for (int e = 0; e < n_species; ++e) {
    const int *where = I + i_radial + 2 * (z * n_species + e), *c = I + where[0];
    const REAL *t = T + where[1];
    const int start = NOTE(n_start + e), stop = NOTE(n_start + e + 1);
    for (int windows = *c++; windows > 0; --windows) {
        const int shape = c[0], count = c[1];
        window(shape, t, stop - start, s_rows + 3 * blocks + start, s_pair, s_pair + blocks);
        for (int kb = start; kb < stop; ++kb) {
            const lane r = ROW(3, kb), w = LANE(s_pair + kb - start), dw = LANE(s_pair + blocks + kb - start);
            lane slope = lane_zero;
            for (int i = 0; i < count; ++i) {
                const REAL eta = t[4 + 3 * i], m = t[6 + 3 * i] * NUMBER(s_weights * L + c[2 + i]);
                const lane d = r - t[5 + 3 * i];
                const lane g = eta != REAL(0) ? exponential((d * d) * -eta) : lane_one;
                slope += m * g * (dw - REAL(2) * eta * d * w);
            }
            ROW(5, kb) += slope * ROW(4, kb);
        }
        c += 2 + count; t += 4 + 3 * count;
    }
}
""",
    )


def gradients_out() -> str:
    """dU_n/dr_j of every pair within reach."""
    return phase(
        FOUND,
        """
for (int kb = 0; kb < blocks; ++kb) {
    const lane a = ROW(5, kb);
    const lane gx = a * ROW(0, kb) + ROW(6, kb);
    const lane gy = a * ROW(1, kb) + ROW(7, kb);
    const lane gz = a * ROW(2, kb) + ROW(8, kb);
    for (int l = 0; l < L; ++l) {
        const int p = NOTE(n_pair + kb * L + l);
        if (p < 0) continue;
        gradients.data[p][0] = PART(gx, l);
        gradients.data[p][1] = PART(gy, l);
        gradients.data[p][2] = PART(gz, l);
    }
}
""",
    )
