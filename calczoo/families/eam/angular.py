"""ADP in two Warp kernels over atoms, and the directed pair gradients of EAM and ADP.

With d = r_nj, L_n = lambda_n - 1/3 tr(lambda_n) 1 and A_n(d) = d . L_n d:

    g_nj = (F'_n f'_jn + 1/2 phi' + u' mu_n . d + w' A_n(d)) d / r + u mu_n + 2 w L_n d       = dU_n / dr_nj
    F_n  = sum_j g_nj - g_jn,      W_n = sum_j d (x) g_nj

Pass 1 (`adp_sites`) leaves U_n and the state F'_n, mu_n, L_n (xx yy zz yz xz xy) of every atom; pass 2 (`adp_forces`)
looks the tables up again, because the slopes of four tables would be more bytes than that. Written to vectorise as in
kernels.py, whose index letters hold here too.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
import warp as wp

from ...core.model import Local
from ...core.pairs import Pairs
from ...core.system import System
from ...core.warp_model import WP_DTYPE, WP_MAT33, WP_VEC3, as_warp, kept, make_kernel
from .kernels import FLAGS, MASK, POSITIVE, EamWarp, helpers, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

STATE = 10
"""Numbers per atom: F', mu, L."""


@cache
def adp_sites_kernel(dtype: torch.dtype, many: bool) -> wp.Kernel:
    """Pass 1, see the module docstring."""
    real = WP_DTYPE[dtype]
    inverse_root, embed = helpers(dtype)
    width = 20 if many else 16

    def adp_sites(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        shift_index: wp.array(dtype=wp.int32),
        x: wp.array(dtype=real),
        shift: wp.array(dtype=real),
        species: wp.array(dtype=wp.int32),
        n_species: int,
        table: wp.array(dtype=real),
        n_rows: int,
        per_r: real,
        cutoff2: real,
        cubics: wp.array(dtype=real),
        n_cubics: int,
        rho_min: real,
        per_rho: real,
        state: wp.array(dtype=real),
        energies: wp.array(dtype=real),
    ):
        n = start + wp.tid()
        xn = x[3 * n]
        yn = x[3 * n + 1]
        zn = x[3 * n + 2]
        s = 0
        if wp.static(many):
            s = species[n]
        rho = real(0.0)
        phi = real(0.0)
        mx = real(0.0)
        my = real(0.0)
        mz = real(0.0)
        l0 = real(0.0)
        l1 = real(0.0)
        l2 = real(0.0)
        l3 = real(0.0)
        l4 = real(0.0)
        l5 = real(0.0)
        p = first[n] & POSITIVE
        last = first[n + 1]
        stop = p + ((last - p + 7) // 8) * 8
        while p < stop:
            jp = j[p] & MASK
            kp = 3 * (shift_index[p] & MASK)
            dx = x[3 * jp] + shift[kp] - xn
            dy = x[3 * jp + 1] + shift[kp + 1] - yn
            dz = x[3 * jp + 2] + shift[kp + 2] - zn
            r2 = dx * dx + dy * dy + dz * dz
            inside = (r2 < cutoff2) and (p < last)
            r2 = wp.where(inside, r2, cutoff2)
            r_inv = inverse_root(r2)
            q = r2 * r_inv * per_r
            m = wp.min(int(q), n_rows - 2)
            t = wp.min(q - real(m), real(1.0))
            m = wp.where(inside, m, n_rows - 1)
            if wp.static(many):
                m = m + n_rows * (n_species * s + species[jp])
            k = wp.static(width) * (m & MASK)
            rho += ((table[k + 3] * t + table[k + 2]) * t + table[k + 1]) * t + table[k]
            phi += (((table[k + 7] * t + table[k + 6]) * t + table[k + 5]) * t + table[k + 4]) * r_inv
            u = ((table[k + 11] * t + table[k + 10]) * t + table[k + 9]) * t + table[k + 8]
            w = ((table[k + 15] * t + table[k + 14]) * t + table[k + 13]) * t + table[k + 12]
            mx += u * dx
            my += u * dy
            mz += u * dz
            l0 += w * dx * dx
            l1 += w * dy * dy
            l2 += w * dz * dz
            l3 += w * dy * dz
            l4 += w * dx * dz
            l5 += w * dx * dy
            p = p + 1
        value = embed(rho, s, cubics, n_cubics, rho_min, per_rho)
        third = (l0 + l1 + l2) / real(3.0)
        half = real(0.5)
        energy = value[0] + half * (phi + mx * mx + my * my + mz * mz + l0 * l0 + l1 * l1 + l2 * l2)
        energies[n] = energy + l3 * l3 + l4 * l4 + l5 * l5 - real(1.5) * third * third
        o = 10 * n
        state[o] = value[1]
        state[o + 1] = mx
        state[o + 2] = my
        state[o + 3] = mz
        state[o + 4] = l0 - third
        state[o + 5] = l1 - third
        state[o + 6] = l2 - third
        state[o + 7] = l3
        state[o + 8] = l4
        state[o + 9] = l5

    return make_kernel(adp_sites, f"adp_sites_{tag(dtype, many)}", FLAGS)


@cache
def adp_forces_kernel(dtype: torch.dtype, many: bool) -> wp.Kernel:
    """Pass 2, see the module docstring."""
    real, vec3, mat33 = WP_DTYPE[dtype], WP_VEC3[dtype], WP_MAT33[dtype]
    inverse_root = helpers(dtype)[0]
    width = 20 if many else 16

    def adp_forces(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        shift_index: wp.array(dtype=wp.int32),
        x: wp.array(dtype=real),
        shift: wp.array(dtype=real),
        species: wp.array(dtype=wp.int32),
        n_species: int,
        table: wp.array(dtype=real),
        n_rows: int,
        per_r: real,
        cutoff2: real,
        state: wp.array(dtype=real),
        forces: wp.array(dtype=vec3),
        virials: wp.array(dtype=mat33),
    ):
        n = start + wp.tid()
        xn = x[3 * n]
        yn = x[3 * n + 1]
        zn = x[3 * n + 2]
        s = 0
        if wp.static(many):
            s = species[n]
        fp = state[10 * n]
        mx = state[10 * n + 1]
        my = state[10 * n + 2]
        mz = state[10 * n + 3]
        l0 = state[10 * n + 4]
        l1 = state[10 * n + 5]
        l2 = state[10 * n + 6]
        l3 = state[10 * n + 7]
        l4 = state[10 * n + 8]
        l5 = state[10 * n + 9]
        fx = real(0.0)
        fy = real(0.0)
        fz = real(0.0)
        w0 = real(0.0)
        w1 = real(0.0)
        w2 = real(0.0)
        w3 = real(0.0)
        w4 = real(0.0)
        w5 = real(0.0)
        two = real(2.0)
        three = real(3.0)
        p = first[n] & POSITIVE
        last = first[n + 1]
        stop = p + ((last - p + 7) // 8) * 8
        while p < stop:
            jp = j[p] & MASK
            kp = 3 * (shift_index[p] & MASK)
            dx = x[3 * jp] + shift[kp] - xn
            dy = x[3 * jp + 1] + shift[kp + 1] - yn
            dz = x[3 * jp + 2] + shift[kp + 2] - zn
            r2 = dx * dx + dy * dy + dz * dz
            inside = (r2 < cutoff2) and (p < last)
            r2 = wp.where(inside, r2, cutoff2)
            r_inv = inverse_root(r2)
            q = r2 * r_inv * per_r
            m = wp.min(int(q), n_rows - 2)
            t = wp.min(q - real(m), real(1.0))
            m = wp.where(inside, m, n_rows - 1)
            if wp.static(many):
                m = m + n_rows * (n_species * s + species[jp])
            k = wp.static(width) * (m & MASK)
            scale = per_r * r_inv
            fd = ((three * table[k + 3] * t + two * table[k + 2]) * t + table[k + 1]) * scale
            back = fd
            if wp.static(many):
                back = ((three * table[k + 19] * t + two * table[k + 18]) * t + table[k + 17]) * scale
            pair = (((table[k + 7] * t + table[k + 6]) * t + table[k + 5]) * t + table[k + 4]) * r_inv
            half_pd = ((three * table[k + 7] * t + two * table[k + 6]) * t + table[k + 5]) * per_r - pair
            half_pd = real(0.5) * half_pd * r_inv * r_inv
            c1 = table[k + 9]
            c2 = table[k + 10]
            c3 = table[k + 11]
            u = ((c3 * t + c2) * t + c1) * t + table[k + 8]
            ud = ((three * c3 * t + two * c2) * t + c1) * scale
            c1 = table[k + 13]
            c2 = table[k + 14]
            c3 = table[k + 15]
            w = two * (((c3 * t + c2) * t + c1) * t + table[k + 12])
            wd = ((three * c3 * t + two * c2) * t + c1) * scale
            # what n owns
            ax = l0 * dx + l5 * dy + l4 * dz
            ay = l5 * dx + l1 * dy + l3 * dz
            az = l4 * dx + l3 * dy + l2 * dz
            along = fp * fd + half_pd + ud * (mx * dx + my * dy + mz * dz) + wd * (ax * dx + ay * dy + az * dz)
            gx = along * dx + u * mx + w * ax
            gy = along * dy + u * my + w * ay
            gz = along * dz + u * mz + w * az
            w0 += gx * dx
            w1 += gy * dy
            w2 += gz * dz
            w3 += gy * dz
            w4 += gx * dz
            w5 += gx * dy
            # what j owns, seen from n
            o = 10 * jp
            ux = state[o + 1]
            uy = state[o + 2]
            uz = state[o + 3]
            yz = state[o + 7]
            xz = state[o + 8]
            xy = state[o + 9]
            ax = state[o + 4] * dx + xy * dy + xz * dz
            ay = xy * dx + state[o + 5] * dy + yz * dz
            az = xz * dx + yz * dy + state[o + 6] * dz
            along = state[o] * back + half_pd - ud * (ux * dx + uy * dy + uz * dz) + wd * (ax * dx + ay * dy + az * dz)
            fx += gx + along * dx - u * ux + w * ax
            fy += gy + along * dy - u * uy + w * ay
            fz += gz + along * dz - u * uz + w * az
            p = p + 1
        forces[n] = vec3(fx, fy, fz)
        virials[n] = mat33(w0, w5, w4, w5, w1, w3, w4, w3, w2)

    return make_kernel(adp_forces, f"adp_forces_{tag(dtype, many)}", FLAGS)


@cache
def gradients_kernel(dtype: torch.dtype, width: int, angular: bool) -> wp.Kernel:
    """g of every directed pair; zero beyond the cutoff. state: F' per atom, or the ten numbers of ADP."""
    real, vec3 = WP_DTYPE[dtype], WP_VEC3[dtype]
    mat33 = WP_MAT33[dtype]
    stride = STATE if angular else 1

    def eam_gradients(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        shift_index: wp.array(dtype=wp.int32),
        x: wp.array(dtype=vec3),
        shift: wp.array(dtype=vec3),
        species: wp.array(dtype=wp.int32),
        n_species: int,
        table: wp.array(dtype=real),
        n_rows: int,
        per_r: real,
        cutoff2: real,
        state: wp.array(dtype=real),
        gradients: wp.array(dtype=vec3),
    ):
        n = start + wp.tid()
        o = wp.static(stride) * n
        for p in range(first[n], first[n + 1]):
            d = x[j[p]] + shift[shift_index[p]] - x[n]
            r2 = wp.dot(d, d)
            g = vec3()
            if r2 < cutoff2:
                r = wp.sqrt(r2)
                q = r * per_r
                m = wp.min(int(q), n_rows - 2)
                t = wp.min(q - real(m), real(1.0))
                if n_species > 1:
                    m += n_rows * (n_species * species[n] + species[j[p]])
                k = wp.static(width) * m
                fd = (real(3.0) * table[k + 3] * t + real(2.0) * table[k + 2]) * t + table[k + 1]
                pd = (real(3.0) * table[k + 7] * t + real(2.0) * table[k + 6]) * t + table[k + 5]
                pair = (((table[k + 7] * t + table[k + 6]) * t + table[k + 5]) * t + table[k + 4]) / r
                g = ((state[o] * fd * per_r + real(0.5) * (pd * per_r - pair) / r) / r) * d
                if wp.static(angular):
                    u = ((table[k + 11] * t + table[k + 10]) * t + table[k + 9]) * t + table[k + 8]
                    ud = (real(3.0) * table[k + 11] * t + real(2.0) * table[k + 10]) * t + table[k + 9]
                    w = ((table[k + 15] * t + table[k + 14]) * t + table[k + 13]) * t + table[k + 12]
                    wd = (real(3.0) * table[k + 15] * t + real(2.0) * table[k + 14]) * t + table[k + 13]
                    mu = vec3(state[o + 1], state[o + 2], state[o + 3])
                    yz = state[o + 7]
                    xz = state[o + 8]
                    xy = state[o + 9]
                    lam = mat33(state[o + 4], xy, xz, xy, state[o + 5], yz, xz, yz, state[o + 6])
                    a = lam * d
                    g += ((ud * wp.dot(mu, d) + wd * wp.dot(a, d)) * per_r / r) * d + u * mu + real(2.0) * w * a
            gradients[p] = g

    return make_kernel(eam_gradients, f"eam_gradients_{tag(dtype)}_{width}")


def pair_gradients(model: EamWarp, system: System, pairs: Pairs, tables: Sequence, state: torch.Tensor) -> torch.Tensor:
    """dU_i/dr_ij (P, 3); tables: `EamWarp.tables`, state: see `gradients_kernel`."""
    g = system.positions.new_empty((pairs.n_pairs, 3))
    kernel = gradients_kernel(model.dtype, model.width, isinstance(model, AdpWarp))
    geometry = [kept(pairs, "first"), kept(pairs, "j"), kept(pairs, "shift_index")]
    vectors = [model.vec3(system.positions), model.vec3(pairs.shift_vectors(system))]
    args = [*geometry, *vectors, *tables[:6], as_warp(state.reshape(-1)), model.vec3(g)]
    model.run(kernel, system.n_atoms, args)
    return g


class AdpWarp(EamWarp):
    """Fast backend of ADP; see the module docstring."""

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        n, x = system.n_atoms, system.positions
        geometry, tables = self.geometry(system, pairs), self.tables(system)
        energies, state = x.new_empty(n), x.new_empty((n, STATE))
        wp_state = as_warp(state.reshape(-1))
        self.run(adp_sites_kernel(self.dtype, self.many), n, [*geometry, *tables, wp_state, as_warp(energies)])
        forces, virials = x.new_empty((n, 3)), x.new_empty((n, 3, 3))
        out = [wp_state, self.vec3(forces), as_warp(virials, WP_MAT33[self.dtype])]
        self.run(adp_forces_kernel(self.dtype, self.many), n, [*geometry, *tables[:6], *out])
        gradients = pair_gradients(self, system, pairs, tables, state) if "pair_gradients" in need else None
        return Local(energies, gradients, forces, virials)
