"""Symmetry function kernels: sums over triplets and their gradients; see `native` and `groups`."""

from __future__ import annotations

from .native import BATCH, FIRST_CHANNEL, FOUND, PACKING, POWERS, phase, window
from .native_math import functions

# regions of a batch, in units of BATCH lanes
_BUFFERS = ("r2", "cosine", "rjk", "riv", "w", "dw", "g", "base", "theta", "slope", "uc", "ujk", "h", "eta_h", "c_h")
N_BUFFERS = len(_BUFFERS)

_PLACES = f"const int Q = {BATCH};\n" + "".join(
    f"const int q_{name} = s_batch + {k} * Q;\n" for k, name in enumerate(_BUFFERS)
)

_PACK = f"""
    int at = 0, records = 0;
    while (at <= (Q - 1) * L) {{
        if (kb >= stop) {{
            do ++jj; while (jj < j1 && SLOT(3, jj) >= reach);
            if (jj >= j1) break;
            kb = same ? (jj + 1) / L : NOTE(n_start + ek);
            if (kb >= stop) continue;
        }}
        const REAL xj = SLOT(0, jj), yj = SLOT(1, jj), zj = SLOT(2, jj);
        const lane xk = ROW(0, kb), yk = ROW(1, kb), zk = ROW(2, kb);
        const lane dx = xk - xj, dy = yk - yj, dz = zk - zj, r2 = dx * dx + dy * dy + dz * dz;
        const lane after = lane_zero + (same ? REAL(jj - kb * L) : REAL(-1));
        const int m = bits((r2 < range2) & (ROW(3, kb) < range) & (count_up > after));
        // an empty record is overwritten by the next one: a branch would be a guess
        NOTE(n_record + 3 * records) = jj;
        NOTE(n_record + 3 * records + 1) = kb;
        NOTE(n_record + 3 * records + 2) = m;
        FROM(q_r2 * L + at) = pack(m, r2);
        FROM(q_cosine * L + at) = pack(m, (xj * xk + yj * yk + zj * zk) * (SLOT(4, jj) * ROW(4, kb)));
        if (angles > 0) {{
            const lane cx = yj * zk - zj * yk, cy = zj * xk - xj * zk, cz = xj * yk - yj * xk;
            const lane both = SLOT(4, jj) * ROW(4, kb);
            FROM(q_slope * L + at) = pack(m, (cx * cx + cy * cy + cz * cz) * (both * both));
        }}
        for (int i = 0; i < channels; ++i) {{
            const int row = {FIRST_CHANNEL} + c[i];
            FROM((s_packed + i * Q) * L + at) = pack(m, SLOT(row, jj) * ROW(row, kb));
        }}
        at += count(m);
        records += m != 0;
        ++kb;
    }}
    if (at == 0) break;
    const int lanes = (at + L - 1) / L;
    for (int k = at; k < lanes * L; ++k) {{
        NUMBER(q_r2 * L + k) = 1; NUMBER(q_cosine * L + k) = 0; NUMBER(q_slope * L + k) = 1;
        for (int i = 0; i < channels; ++i) NUMBER((s_packed + i * Q) * L + k) = 0;
    }}
"""
"""Packs up to Q lanes of triplets: squared distance r_jk, cosine, sin^2 where angles are wanted, which the cosine does
not resolve close to 0 and 180 degrees, and R_c(r_ij) R_c(r_ik) of every channel."""

_ANGLES = """
    EACH {
        const lane r2 = LANE(q_r2 + v);
        LANE(q_cosine + v) = SMALLER(LARGER(LANE(q_cosine + v), lane_zero - REAL(1)), lane_one);
        const lane riv = inverse_root(r2);
        LANE(q_riv + v) = riv;
        LANE(q_rjk + v) = r2 * riv;
    }
    const int *cc = c + channels + classes;
    const REAL *tt = t + classes;
    for (int b = 0; b < powers; ++b, cc += 1, tt += 4) {
        const int whole = cc[0], a = s_parts + 2 * Q * b;
        EACH {
            const lane base = LARGER(REAL(1) + tt[0] * LANE(q_cosine + v), lane_zero);
            const lane some = whole > 0 ? whole_power(whole - 1, base) : real_power(tt[1] - REAL(1), base);
            const lane p = base > lane_zero ? some : lane_zero;
            LANE(a + v) = p * base;
            SLOPE_OF_POWER
        }
    }
    if (angles > 0) {
        EACH {
            const lane sine2 = LANE(q_slope + v), s = SQRT(sine2);
            LANE(q_theta + v) = angle(LANE(q_cosine + v), SMALLER(s, lane_one));
            // no direction to go where vectors are collinear: zero, or the mean over all directions
            LANE(q_slope + v) = s > lane_zero + REAL(COLLINEAR) ? REAL(-1) / s : lane_zero;
        }
        for (int b = powers; b < powers + angles; ++b, cc += 1, tt += 4) {
            const int a = s_parts + 2 * Q * b;
            window(cc[0], tt, lanes, q_theta, a BY_ANGLE);
            SLOPE_OF_ANGLE
        }
    }
"""
"""Distances and angular parts of the batch."""

_CHANNEL = """
            const int p = s_packed + cc[0] * Q, made = cc[1], n_e = cc[2], g = made < 0 ? p : q_g;
            const int *part = cc + 3;
            const REAL eta = tt[0];
            bool some = true;
            if (made == 0)
                EACH {
                    const lane d = LANE(q_rjk + v) - rs, e = exponential((d * d) * -eta);
                    LANE(q_base + v) = e;
                    LANE(q_g + v) = e * LANE(p + v);
                }
            else if (made > 0)
                EACH LANE(q_g + v) = whole_power(made, LANE(q_base + v)) * LANE(p + v);
            else if (eta == REAL(0)) {     // a compact window may be zero for all
                lane most = lane_zero;
                EACH most = LARGER(most, LANE(p + v));
                some = bits(most > lane_zero) != 0;
            }
"""
"""g, the product of the radial parts but for W(r_jk); some: not all are zero."""

_GROUPS = f"""
lane count_up;
for (int l = 0; l < L; ++l) PART(count_up, l) = l;
const int *c = I + head[5];
const REAL *t = T + head[6];
int entry = 0;
for (int groups = *c++; groups > 0; --groups) {{
    const int e1 = c[0], e2 = c[1], plain = c[2], powers = c[3], angles = c[4];
    const int channels = c[5], classes = c[6], gaussian = c[7], subs = c[8], entries = c[9], n_i = c[10], n_r = c[11];
    const int entry0 = entry;
    const REAL reach = t[0];
    const lane range = lane_zero + reach, range2 = lane_zero + (plain ? REAL(5) : REAL(1)) * reach * reach;
    c += 12; t += 1;
    const int count1 = NOTE(n_count + e1), count2 = NOTE(n_count + e2);
    const int lanes1 = NOTE(n_start + e1 + 1) - NOTE(n_start + e1);
    const int lanes2 = NOTE(n_start + e2 + 1) - NOTE(n_start + e2);
    const bool same = e1 == e2, swap = count1 * lanes2 > count2 * lanes1;   // fewer lanes to go through
    const int ej = swap ? e2 : e1, ek = swap ? e1 : e2;
    const int j1 = NOTE(n_start + ej) * L + NOTE(n_count + ej), stop = NOTE(n_start + ek + 1);
    int jj = NOTE(n_start + ej) * L - 1, kb = stop;
    for (;;) {{
        {_PACK}
        ANGULAR
        START_BATCH
        entry = entry0;
        for (int sub = 0; sub < subs; ++sub) {{
            const int shape = cc[0], jk = cc[1], cl = cc[2];
            const REAL rs = tt[4];
            if (jk) window(shape, tt, lanes, q_rjk, q_w BY_JK);
            int rest = cc[3];
            cc += 4; tt += 5;
            START_SUB
            for (; rest > 0; --rest, tt += 1) {{
                {_CHANNEL}
                if (some) {{
                    CHANNEL
                }}
                cc += 3 + n_e;
                entry += n_e;
            }}
            END_SUB
        }}
        END_BATCH
    }}
    c += n_i; t += n_r; entry = entry0 + entries;
}}
"""


def _groups(**bodies: str) -> str:
    names = ("ANGULAR", "START_BATCH", "START_SUB", "END_SUB", "END_BATCH", "BY_JK", "BY_ANGLE", "SLOPE_OF_POWER")
    source = _GROUPS.replace(" CHANNEL\n", bodies.pop("CHANNEL")).replace("ANGULAR", _ANGLES)
    for name in (*names[1:], "SLOPE_OF_ANGLE"):
        source = source.replace(name, bodies.get(name, ""))
    return source


def values(single: bool) -> str:
    """Sums over triplets of every entry."""
    body = _groups(
        CHANNEL="""

                    if (jk) EACH LANE(g + v) *= LANE(q_w + v);   // last use of a channel: jk comes after not jk
                    for (int e = 0; e < n_e; ++e) {
                        const int a = s_parts + 2 * Q * part[e];
                        lane s = LANE(s_sums + entry + e);
                        EACH s += LANE(g + v) * LANE(a + v);
                        LANE(s_sums + entry + e) = s;
                    }
"""
    )
    return phase(FOUND, functions(single), window(False), POWERS, PACKING, _PLACES, body)


_UNPACK = """
        lane aj = lane_zero, bx = lane_zero, by = lane_zero, bz = lane_zero;
        for (int i = 0, from = 0; i < records; ++i) {
            const int j = NOTE(n_record + 3 * i), k = NOTE(n_record + 3 * i + 1), m = NOTE(n_record + 3 * i + 2);
            const lane xk = ROW(0, k), yk = ROW(1, k), zk = ROW(2, k), rk = ROW(3, k), rik = ROW(4, k);
            const REAL xj = SLOT(0, j), yj = SLOT(1, j), zj = SLOT(2, j), rj = SLOT(3, j), rij = SLOT(4, j);
            const lane vjk = unpack(m, FROM(q_ujk * L + from)), uc = unpack(m, FROM(q_uc * L + from)) * (rij * rik);
            lane uj = lane_zero, uk = lane_zero;
            for (int cl = 0; cl < classes; ++cl) {
                const int row = FIRST_CHANNEL + c[channels + cl];
                const lane h = unpack(m, FROM((s_class + cl * Q) * L + from));
                uj += SLOT(row, j) * h;
                uk += ROW(row, k) * h;
                if (cl < gaussian) {
                    const lane eta_h = unpack(m, FROM((s_class + (classes + cl) * Q) * L + from)) * REAL(-2);
                    uj += (rj - t[cl]) * eta_h;
                    uk += (rk - t[cl]) * eta_h;
                }
            }
            const lane b = uc - vjk, along = uc * (xj * xk + yj * yk + zj * zk);
            aj += uj * rij - along * (rij * rij) + vjk;
            bx += b * xk; by += b * yk; bz += b * zk;
            ROW(5, k) += (uk - along * rik) * rik + vjk;
            ROW(6, k) += b * xj; ROW(7, k) += b * yj; ROW(8, k) += b * zj;
            from += count(m);
            if (i + 1 == records || NOTE(n_record + 3 * i + 3) != j) {
                SLOT(5, j) += sum(aj); SLOT(6, j) += sum(bx); SLOT(7, j) += sum(by); SLOT(8, j) += sum(bz);
                aj = bx = by = bz = lane_zero;
            }
        }
""".replace("FIRST_CHANNEL", str(FIRST_CHANNEL))


def gradients(single: bool) -> str:
    """Gradients of all pairs from the entries' weights.

    With U a function of r_ij, r_ik, r_jk and c = cos(theta), and indices for its derivatives,

        dU/dr_j = a_j r_j + b r_k,   a_j = (U_j - U_c c / r_ij) / r_ij + U_jk / r_jk
                                     b = U_c / (r_ij r_ik) - U_jk / r_jk

    and the same for k; so four numbers per slot are summed."""
    body = _groups(
        BY_JK=", q_dw",
        BY_ANGLE=", a + Q",
        SLOPE_OF_POWER="LANE(a + Q + v) = tt[0] * tt[1] * p;",
        SLOPE_OF_ANGLE="EACH LANE(a + Q + v) *= LANE(q_slope + v);",
        START_BATCH="""
        EACH {
            LANE(q_uc + v) = LANE(q_ujk + v) = lane_zero;
            for (int k = 0; k < classes + gaussian; ++k) LANE(s_class + k * Q + v) = lane_zero;
        }""",
        START_SUB="""
            // sums of h, eta h and the term of the cosine: of the class itself where there is no W(r_jk)
            const int h = jk ? q_h : s_class + cl * Q, eta_h = jk ? q_eta_h : s_class + (classes + cl) * Q;
            const int uc = jk ? q_c_h : q_uc;
            if (jk) EACH LANE(q_h + v) = LANE(q_eta_h + v) = LANE(q_c_h + v) = lane_zero;""",
        CHANNEL="""
                    EACH {
                        lane q = lane_zero, qc = lane_zero;
                        for (int e = 0; e < n_e; ++e) {
                            const REAL m = NUMBER(s_sums * L + entry + e);
                            q += m * LANE(s_parts + 2 * Q * part[e] + v);
                            qc += m * LANE(s_parts + 2 * Q * part[e] + Q + v);
                        }
                        LANE(h + v) += LANE(g + v) * q;
                        LANE(uc + v) += LANE(g + v) * qc;
                        if (cl < gaussian) LANE(eta_h + v) += eta * (LANE(g + v) * q);
                    }
""",
        END_SUB="""
            if (jk)
                EACH {
                    const lane w = LANE(q_w + v), sum_h = LANE(q_h + v), sum_eta_h = w * LANE(q_eta_h + v);
                    LANE(q_uc + v) += w * LANE(q_c_h + v);
                    LANE(q_ujk + v) += LANE(q_dw + v) * sum_h - REAL(2) * (LANE(q_rjk + v) - rs) * sum_eta_h;
                    LANE(s_class + cl * Q + v) += w * sum_h;
                    if (cl < gaussian) LANE(s_class + (classes + cl) * Q + v) += sum_eta_h;
                }""",
        END_BATCH="EACH LANE(q_ujk + v) *= LANE(q_riv + v);" + _UNPACK,
    )
    return phase(FOUND, functions(single), window(True), POWERS, PACKING, _PLACES, body)
