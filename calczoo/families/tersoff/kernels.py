"""Tersoff in two Warp kernels: one over centres, one that gathers what neighbours owe each other.

Pass 1 (`tersoff_centres`): atom n lists its neighbours in range (slots). For each bond s it adds up zeta and, in the
same loop, d zeta/d r_t of every third atom t; once b(zeta) is known these are scaled and added to the slots' gradients,
so that no exponential is evaluated twice. It leaves in `given[p]` dU_n/dr_p and the neighbour's share of the energy.
Pass 2 (core/warp_gather.py): atom n adds what arrives over its incoming pairs. No atomics; every item has one writer.

Index letters: n atom, p directed pair, s t slots (neighbours of n in range), ab abc indices of species.
Equations: see model.py.
"""

from __future__ import annotations

from functools import cache

import torch
import warp as wp

from ...core.elements import number
from ...core.model import Local
from ...core.pairs import Pairs
from ...core.system import System
from ...core.warp_gather import WP_VEC4, gather_given_kernel
from ...core.warp_model import WP_DTYPE, WP_MAT33, WP_VEC3, WarpModel, as_warp, kept, make_kernel
from .model import MAX_EXPONENT, pair_table, species_lookup, triple_table
from .params import TersoffParams

HALF_PI = 1.5707963267948966


@cache
def centre_kernel(dtype: torch.dtype) -> wp.Kernel:
    """Pass 1, see the module docstring."""
    real, vec3, vec4, mat33 = WP_DTYPE[dtype], WP_VEC3[dtype], WP_VEC4[dtype], WP_MAT33[dtype]
    vec2 = wp.types.vector(length=2, dtype=real)
    half_pi, limit = HALF_PI, MAX_EXPONENT

    @wp.func
    def fade(r: real, centre: real, width: real):
        """fC and its derivative, for r < R + D."""
        if r < centre - width:
            return vec2(real(1.0), real(0.0))
        x = real(half_pi) * (r - centre) / width
        return vec2(real(0.5) - real(0.5) * wp.sin(x), real(-0.5) * wp.cos(x) * real(half_pi) / width)

    @wp.func
    def bond_order(x: real, ab: int, pair: wp.array2d(dtype=real)):
        """b and x db/dx of x = beta zeta, with LAMMPS' asymptotes."""
        n = pair[ab, 8]
        if x < pair[ab, 10]:
            return vec2(real(1.0), real(0.0))
        if x > pair[ab, 12]:
            b = real(1.0) / wp.sqrt(x)
            return vec2(b, real(-0.5) * b)
        if x < pair[ab, 9]:
            power = wp.pow(x, n)
            return vec2(real(1.0) - power / (real(2.0) * n), real(-0.5) * power)
        if x > pair[ab, 11]:
            b = real(1.0) / wp.sqrt(x)
            power = wp.pow(x, -n)
            by_n = power / (real(2.0) * n)
            return vec2(b * (real(1.0) - by_n), real(-0.5) * b * (real(1.0) - by_n - power))
        power = wp.pow(x, n)
        b = wp.pow(real(1.0) + power, real(-0.5) / n)
        return vec2(b, real(-0.5) * b * power / (real(1.0) + power))

    def tersoff_centres(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        shift_index: wp.array(dtype=wp.int32),
        x: wp.array(dtype=vec3),
        shift: wp.array(dtype=vec3),
        species: wp.array(dtype=wp.int32),
        pair: wp.array2d(dtype=real),
        triple: wp.array2d(dtype=real),
        n_species: int,
        slot_pair: wp.array(dtype=wp.int32),
        slot_unit: wp.array(dtype=vec4),
        slot_r: wp.array(dtype=real),
        slot_zeta: wp.array(dtype=vec3),
        slot_given: wp.array(dtype=vec4),
        given: wp.array(dtype=vec4),
        energies: wp.array(dtype=real),
        forces: wp.array(dtype=vec3),
        virials: wp.array(dtype=mat33),
    ):
        n = start + wp.tid()
        begin = first[n]
        centre = x[n]
        base = species[n] * n_species
        end = begin
        for p in range(begin, first[n + 1]):
            given[p] = vec4()
            r_vec = x[j[p]] + shift[shift_index[p]] - centre
            r2 = wp.dot(r_vec, r_vec)
            if r2 < pair[base + species[j[p]], 0]:
                r = wp.sqrt(r2)
                r_inv = real(1.0) / r
                slot_pair[end] = p
                slot_unit[end] = vec4(r_inv * r_vec[0], r_inv * r_vec[1], r_inv * r_vec[2], r_inv)
                slot_r[end] = r
                slot_given[end] = vec4()
                end += 1
        energy = real(0.0)
        for s in range(begin, end):
            r_s = slot_r[s]
            ab = base + species[j[slot_pair[s]]]
            if r_s * r_s < (pair[ab, 1] + pair[ab, 2]) * (pair[ab, 1] + pair[ab, 2]):
                us = slot_unit[s]
                u_s = vec3(us[0], us[1], us[2])
                zeta = real(0.0)
                z_s = vec3()
                for t in range(begin, end):
                    slot_zeta[t] = vec3()
                    row = ab * n_species + species[j[slot_pair[t]]]
                    r_t = slot_r[t]
                    reach = triple[row, 0] + triple[row, 1]
                    if t != s and r_t * r_t < reach * reach:
                        ut = slot_unit[t]
                        u_t = vec3(ut[0], ut[1], ut[2])
                        fc = fade(r_t, triple[row, 0], triple[row, 1])
                        cos = wp.dot(u_s, u_t)
                        h = cos - triple[row, 5]
                        inv = real(1.0) / (triple[row, 4] + h * h)
                        g = triple[row, 2] + triple[row, 3] * h * h * inv
                        by_cos = real(2.0) * triple[row, 3] * triple[row, 4] * h * inv * inv
                        by_dr = real(0.0)
                        if triple[row, 6] != real(0.0):
                            dr = r_s - r_t
                            exponent = triple[row, 6] * dr
                            slope = triple[row, 6]
                            if triple[row, 7] == real(3.0):
                                exponent *= dr * dr
                                slope *= real(3.0) * dr * dr
                            if exponent > real(limit):
                                exponent = real(limit)
                                slope = real(0.0)
                            factor = wp.exp(exponent)
                            if exponent < -real(limit):
                                factor = real(0.0)
                            g *= factor
                            by_cos *= factor
                            by_dr = g * slope
                        zeta += fc[0] * g
                        by_cos *= fc[0]
                        by_dr *= fc[0]
                        z_s += (by_dr - by_cos * cos * us[3]) * u_s + (by_cos * us[3]) * u_t
                        slot_zeta[t] = (fc[1] * g - by_dr - by_cos * cos * ut[3]) * u_t + (by_cos * ut[3]) * u_s
                fs = fade(r_s, pair[ab, 1], pair[ab, 2])
                repulsion = pair[ab, 3] * wp.exp(-pair[ab, 4] * r_s)
                attraction = -pair[ab, 5] * wp.exp(-pair[ab, 6] * r_s)
                order = bond_order(pair[ab, 7] * zeta, ab, pair)
                bonding = order[0] * attraction
                share = real(0.25) * fs[0] * bonding
                energy += real(0.5) * fs[0] * repulsion + share
                slope_r = real(0.5) * fs[1] * (repulsion + bonding)
                slope_r -= real(0.5) * fs[0] * (pair[ab, 4] * repulsion + pair[ab, 6] * bonding)
                by_zeta = real(0.0)
                if order[1] != real(0.0):
                    by_zeta = real(0.5) * fs[0] * attraction * order[1] / zeta
                    for t in range(begin, end):
                        z_t = by_zeta * slot_zeta[t]
                        slot_given[t] = slot_given[t] + vec4(z_t[0], z_t[1], z_t[2], real(0.0))
                z_s = slope_r * u_s + by_zeta * z_s
                slot_given[s] = slot_given[s] + vec4(z_s[0], z_s[1], z_s[2], share)
        force = vec3()
        virial = mat33()
        for s in range(begin, end):
            mine = slot_given[s]
            us = slot_unit[s]
            given[slot_pair[s]] = mine
            g_s = vec3(mine[0], mine[1], mine[2])
            force += g_s
            virial += wp.outer(slot_r[s] * vec3(us[0], us[1], us[2]), g_s)
        energies[n] = energy
        forces[n] = force
        virials[n] = virial

    return make_kernel(tersoff_centres, f"tersoff_centres_{'f64' if dtype == torch.float64 else 'f32'}")


class TersoffWarp(WarpModel):
    """Fast backend; see model.py for the equations."""

    def __init__(self, params: TersoffParams, device: torch.device, dtype: torch.dtype, threads: int = 1):
        self.params, self.device, self.dtype, self.threads = params, device, dtype, threads
        self.card, self.cutoff = params.card(), params.cutoff
        self.n_species = len(params.elements)
        self.numbers = tuple(number(s) for s in params.elements)
        self.lookup = species_lookup(params.elements, device)
        pair, triple = pair_table(params), triple_table(params)
        self.pair = torch.tensor(pair.reshape(-1, pair.shape[-1]), dtype=dtype, device=device)
        self.triple = torch.tensor(triple.reshape(-1, triple.shape[-1]), dtype=dtype, device=device)

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        n, m, x = system.n_atoms, pairs.n_pairs, system.positions
        energies, forces, virials = x.new_empty(n), x.new_empty((n, 3)), x.new_empty((n, 3, 3))
        given, slot_given, slot_unit = (x.new_empty((m, 4)) for _ in range(3))
        vec4 = WP_VEC4[self.dtype]
        wp_given, wp_energies, wp_forces = as_warp(given, vec4), as_warp(energies), self.vec3(forces)
        args = [
            kept(pairs, "first"),
            kept(pairs, "j"),
            kept(pairs, "shift_index"),
            self.vec3(x),
            self.vec3(pairs.shift_vectors(system)),
            as_warp(self.lookup[system.numbers]),
            as_warp(self.pair),
            as_warp(self.triple),
            self.n_species,
            as_warp(torch.empty(m, dtype=torch.int32, device=self.device)),
            as_warp(slot_unit, vec4),
            as_warp(x.new_empty(m)),
            self.vec3(x.new_empty((m, 3))),
            as_warp(slot_given, vec4),
            wp_given,
            wp_energies,
            wp_forces,
            as_warp(virials, WP_MAT33[self.dtype]),
        ]
        self.run(centre_kernel(self.dtype), n, args, us=0.6)
        args = [kept(pairs, "first"), kept(pairs, "incoming"), wp_given, wp_energies, wp_forces]
        self.run(gather_given_kernel(self.dtype), n, args)
        gradients = given[:, :3].contiguous() if "pair_gradients" in need else None
        return Local(energies, gradients, forces, virials)
