"""Stillinger-Weber in two Warp kernels: one over centres, one that gathers what neighbours owe each other.

Pass 1 (`sw_centres`): atom n lists its neighbours in range (slots), then runs over pairs of slots. It leaves in
`given[p]` the gradient dU_n/dr_p and the third of phi3 that belongs to the neighbour.
Pass 2 (core/warp_gather.py): atom n adds what arrives over its incoming pairs. No atomics; every item has one writer.

Index letters: n atom, p directed pair, s t slots (neighbours of n in range), ab index of a pair of species.
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
from .model import pair_table, species_lookup, triple_table
from .params import SwParams


@cache
def centre_kernel(dtype: torch.dtype) -> wp.Kernel:
    """Pass 1, see the module docstring."""
    real, vec3, vec4, mat33 = WP_DTYPE[dtype], WP_VEC3[dtype], WP_VEC4[dtype], WP_MAT33[dtype]

    @wp.func
    def inverse_power(r_inv: real, power: real):
        if power == real(4.0):
            square = r_inv * r_inv
            return square * square
        if power == real(0.0):
            return real(1.0)
        return wp.pow(r_inv, power)

    def sw_centres(
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
        slot_fade: wp.array(dtype=vec3),
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
        energy = real(0.0)
        end = begin
        for p in range(begin, first[n + 1]):
            given[p] = vec4()
            ab = base + species[j[p]]
            r_vec = x[j[p]] + shift[shift_index[p]] - centre
            r2 = wp.dot(r_vec, r_vec)
            if r2 < pair[ab, 0]:
                r = wp.sqrt(r2)
                r_inv = real(1.0) / r
                unit = r_inv * r_vec
                d_inv = real(1.0) / (r - pair[ab, 1])
                fade2 = wp.exp(pair[ab, 2] * d_inv)
                power_p = pair[ab, 4] * inverse_power(r_inv, pair[ab, 6])
                power_q = pair[ab, 5] * inverse_power(r_inv, pair[ab, 7])
                phi2 = (power_p - power_q) * fade2
                slope = (pair[ab, 7] * power_q - pair[ab, 6] * power_p) * r_inv * fade2
                slope -= phi2 * pair[ab, 2] * d_inv * d_inv
                energy += phi2
                g = (real(0.5) * slope) * unit
                slot_pair[end] = p
                slot_unit[end] = vec4(unit[0], unit[1], unit[2], r_inv)
                slot_fade[end] = vec3(wp.exp(pair[ab, 3] * d_inv), -pair[ab, 3] * d_inv * d_inv, r)
                slot_given[end] = vec4(g[0], g[1], g[2], real(0.0))
                end += 1
        energy *= real(0.5)
        force = vec3()
        virial = mat33()
        for s in range(begin, end):
            us = slot_unit[s]
            fs = slot_fade[s]
            u_s = vec3(us[0], us[1], us[2])
            p_s = slot_pair[s]
            abc = (base + species[j[p_s]]) * n_species
            mine = slot_given[s]
            g_s = vec3(mine[0], mine[1], mine[2])
            third_s = mine[3]
            for t in range(s + 1, end):
                ut = slot_unit[t]
                ft = slot_fade[t]
                theirs = slot_given[t]
                u_t = vec3(ut[0], ut[1], ut[2])
                row = abc + species[j[slot_pair[t]]]
                cos = wp.dot(u_s, u_t)
                delta = cos - triple[row, 1]
                part = triple[row, 0] * fs[0] * ft[0] * delta
                phi3 = part * delta
                by_cos = real(2.0) * part
                energy += phi3 / real(3.0)
                third_s += phi3 / real(3.0)
                along_s = phi3 * fs[1] - by_cos * cos * us[3]
                along_t = phi3 * ft[1] - by_cos * cos * ut[3]
                g_s += along_s * u_s + (by_cos * us[3]) * u_t
                g_t = along_t * u_t + (by_cos * ut[3]) * u_s
                slot_given[t] = theirs + vec4(g_t[0], g_t[1], g_t[2], phi3 / real(3.0))
            given[p_s] = vec4(g_s[0], g_s[1], g_s[2], third_s)
            force += g_s
            virial += wp.outer(fs[2] * u_s, g_s)
        energies[n] = energy
        forces[n] = force
        virials[n] = virial

    return make_kernel(sw_centres, f"sw_centres_{'f64' if dtype == torch.float64 else 'f32'}")


class SwWarp(WarpModel):
    """Fast backend; see model.py for the equations."""

    def __init__(self, params: SwParams, device: torch.device, dtype: torch.dtype, threads: int = 1):
        self.params, self.device, self.dtype, self.threads = params, device, dtype, threads
        self.card, self.cutoff = params.card(), params.cutoff
        self.n_species = len(params.elements)
        self.numbers = tuple(number(s) for s in params.elements)
        self.lookup = species_lookup(params.elements, device)
        pair, triple = pair_table(params), triple_table(params)
        self.pair = torch.tensor(pair.reshape(-1, pair.shape[-1]), dtype=dtype, device=device)
        self.triple = torch.tensor(triple.reshape(-1, 2), dtype=dtype, device=device)

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
