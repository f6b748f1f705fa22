"""ZBL in one Warp kernel: an atom sums over its own full list, so forces need no second pass and no atomics.

Index letters: n atom, p directed pair, k coefficient column. Equations: see model.py.
"""

from __future__ import annotations

from functools import cache

import torch
import warp as wp

from ...core.elements import number
from ...core.model import Local
from ...core.pairs import Pairs
from ...core.system import System
from ...core.warp_model import WP_DTYPE, WP_MAT33, WP_VEC3, WarpModel, as_warp, kept, make_kernel
from .model import COLUMNS, coefficients, species_lookup
from .params import ZblParams


@cache
def zbl_kernel(dtype: torch.dtype) -> wp.Kernel:
    """Energies, forces, per-atom virials and (where wanted) directed gradients of all atoms."""
    real, vec3, mat33 = WP_DTYPE[dtype], WP_VEC3[dtype], WP_MAT33[dtype]
    columns = COLUMNS

    def zbl_atoms(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        shift_index: wp.array(dtype=wp.int32),
        x: wp.array(dtype=vec3),
        shift: wp.array(dtype=vec3),
        species: wp.array(dtype=wp.int32),
        table: wp.array(dtype=real),
        n_species: int,
        inner: real,
        outer: real,
        gradients_wanted: bool,
        energies: wp.array(dtype=real),
        forces: wp.array(dtype=vec3),
        virials: wp.array(dtype=mat33),
        gradients: wp.array(dtype=vec3),
    ):
        n = start + wp.tid()
        energy = real(0.0)
        force = vec3()
        virial = mat33()
        base = species[n] * n_species
        row = -1 - base  # none yet
        a0 = real(0.0)
        a1 = real(0.0)
        a2 = real(0.0)
        a3 = real(0.0)
        d0 = real(0.0)
        d1 = real(0.0)
        d2 = real(0.0)
        d3 = real(0.0)
        for p in range(first[n], first[n + 1]):
            r_vec = x[j[p]] + shift[shift_index[p]] - x[n]
            r2 = wp.dot(r_vec, r_vec)
            k = (base + species[j[p]]) * columns
            if k != row:  # mostly the same pair of elements as before: keep its numbers in registers
                row = k
                a0 = table[k]
                a1 = table[k + 1]
                a2 = table[k + 2]
                a3 = table[k + 3]
                d0 = table[k + 4]
                d1 = table[k + 5]
                d2 = table[k + 6]
                d3 = table[k + 7]
            if gradients_wanted:
                gradients[p] = vec3()
            if r2 < outer * outer and a0 > real(0.0):
                r = wp.sqrt(r2)
                r_inv = real(1.0) / r
                e0 = a0 * wp.exp(-d0 * r)
                e1 = a1 * wp.exp(-d1 * r)
                screened = e0 + e1
                slope = d0 * e0 + d1 * e1
                if d2 * r < real(50.0):  # beyond, the term is less than 1e-17 eV
                    e2 = a2 * wp.exp(-d2 * r)
                    screened += e2
                    slope += d2 * e2
                if d3 * r < real(50.0):
                    e3 = a3 * wp.exp(-d3 * r)
                    screened += e3
                    slope += d3 * e3
                screened *= r_inv
                t = wp.max(r - inner, real(0.0))
                third = table[k + 8]
                fourth = table[k + 9] * t
                energy += screened + table[k + 10] + t * t * t * (third + fourth)
                derivative = t * t * (real(3.0) * third + real(4.0) * fourth) - (slope + screened) * r_inv
                g = (derivative * r_inv) * r_vec
                force += g
                virial += wp.outer(r_vec, g)
                if gradients_wanted:
                    gradients[p] = real(0.5) * g
        energies[n] = real(0.5) * energy
        forces[n] = force
        virials[n] = real(0.5) * virial

    return make_kernel(zbl_atoms, f"zbl_atoms_{'f64' if dtype == torch.float64 else 'f32'}")


class ZblWarp(WarpModel):
    """Fast backend; see model.py for the equations."""

    def __init__(self, params: ZblParams, device: torch.device, dtype: torch.dtype, threads: int = 1):
        self.params, self.device, self.dtype, self.threads = params, device, dtype, threads
        self.card, self.cutoff = params.card(), params.outer
        symbols = params.known
        self.n_species = len(symbols)
        self.numbers = tuple(number(s) for s in symbols)
        self.lookup = species_lookup(symbols, device)
        self.table = torch.tensor(coefficients(params, symbols), dtype=dtype, device=device).flatten()

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        real, n = WP_DTYPE[self.dtype], system.n_atoms
        wanted = "pair_gradients" in need
        x = system.positions
        energies, forces, virials = x.new_empty(n), x.new_empty((n, 3)), x.new_empty((n, 3, 3))
        gradients = x.new_empty((pairs.n_pairs if wanted else 0, 3))
        args = [
            kept(pairs, "first"),
            kept(pairs, "j"),
            kept(pairs, "shift_index"),
            self.vec3(x),
            self.vec3(pairs.shift_vectors(system)),
            as_warp(self.lookup[system.numbers]),
            as_warp(self.table),
            self.n_species,
            real(self.params.inner),
            real(self.params.outer),
            wanted,
            as_warp(energies),
            self.vec3(forces),
            as_warp(virials, WP_MAT33[self.dtype]),
            self.vec3(gradients),
        ]
        self.run(zbl_kernel(self.dtype), n, args, us=1.3)
        return Local(energies, gradients if wanted else None, forces, virials)
