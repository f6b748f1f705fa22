"""Tabulated pair potentials in one Warp kernel: an atom sums over its own full list; no second pass, no atomics.

Index letters: n atom, p directed pair, b bin, t table. Equations: see model.py and grid.py.
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
from .model import Tables, check_inside
from .params import STYLES, TableParams

NAN = float("nan")


@cache
def table_kernel(dtype: torch.dtype) -> wp.Kernel:
    """Energies, forces, per-atom virials and (where wanted) directed gradients of all atoms."""
    real, vec3, mat33 = WP_DTYPE[dtype], WP_VEC3[dtype], WP_MAT33[dtype]
    lookup, linear = STYLES.index("lookup"), STYLES.index("linear")

    def table_atoms(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        shift_index: wp.array(dtype=wp.int32),
        x: wp.array(dtype=vec3),
        shift: wp.array(dtype=vec3),
        species: wp.array(dtype=wp.int32),
        which: wp.array2d(dtype=wp.int32),
        limits: wp.array2d(dtype=real),
        rows: wp.array2d(dtype=real),
        points: int,
        style: int,
        nan: real,
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
        for p in range(first[n], first[n + 1]):
            if gradients_wanted:
                gradients[p] = vec3()
            t = which[species[n], species[j[p]]]
            if t >= 0:
                r_vec = x[j[p]] + shift[shift_index[p]] - x[n]
                r2 = wp.dot(r_vec, r_vec)
                if r2 < limits[t, 2]:
                    at = (r2 - limits[t, 0]) * limits[t, 1]
                    b = wp.clamp(int(at), 0, points - 2)
                    k = t * points + b
                    frac = at - real(b)
                    e = rows[k, 0]
                    f = rows[k, 1]
                    if style == linear:
                        e += frac * rows[k, 2]
                        f += frac * rows[k, 3]
                    elif style != lookup:
                        a = real(1.0) - frac
                        low = (a * a * a - a) * limits[t, 3]
                        high = (frac * frac * frac - frac) * limits[t, 3]
                        e = a * e + frac * rows[k + 1, 0] + low * rows[k, 2] + high * rows[k + 1, 2]
                        f = a * f + frac * rows[k + 1, 1] + low * rows[k, 3] + high * rows[k + 1, 3]
                    if r2 < limits[t, 0]:
                        e = nan
                    energy += e
                    g = -f * r_vec
                    force += g
                    virial += wp.outer(r_vec, g)
                    if gradients_wanted:
                        gradients[p] = real(0.5) * g
        energies[n] = real(0.5) * energy
        forces[n] = force
        virials[n] = real(0.5) * virial

    return make_kernel(table_atoms, f"table_atoms_{'f64' if dtype == torch.float64 else 'f32'}")


class TableWarp(WarpModel):
    """Fast backend; see model.py for the equations."""

    def __init__(self, params: TableParams, device: torch.device, dtype: torch.dtype, threads: int = 1):
        self.params, self.device, self.dtype, self.threads = params, device, dtype, threads
        self.card, self.cutoff = params.card(), params.cutoff
        self.numbers = tuple(number(s) for s in params.known)
        self.tables = Tables(params, device, dtype)

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        n, t, x = system.n_atoms, self.tables, system.positions
        wanted = "pair_gradients" in need
        energies, forces, virials = x.new_empty(n), x.new_empty((n, 3)), x.new_empty((n, 3, 3))
        gradients = x.new_empty((pairs.n_pairs if wanted else 0, 3))
        args = [
            kept(pairs, "first"),
            kept(pairs, "j"),
            kept(pairs, "shift_index"),
            self.vec3(x),
            self.vec3(pairs.shift_vectors(system)),
            as_warp(t.lookup[system.numbers]),
            as_warp(t.which),
            as_warp(t.limits),
            as_warp(t.rows),
            t.n,
            STYLES.index(t.style),
            WP_DTYPE[self.dtype](NAN),
            wanted,
            as_warp(energies),
            self.vec3(forces),
            as_warp(virials, WP_MAT33[self.dtype]),
            self.vec3(gradients),
        ]
        self.run(table_kernel(self.dtype), n, args, us=1.3)
        check_inside(energies, t)
        return Local(energies, gradients if wanted else None, forces, virials)
