"""EAM in two Warp kernels over atoms; no atomics, every item has one writer.

    F_n = sum_j (F'_n f'_jn + phi'_nj + F'_j f'_nj) r_nj / r,      W_n = sum_j (1/2 phi' + F'_n f'_jn) r (x) r / r

Pass 1 (`eam_sites`) looks up each pair once: rho, phi, the first two terms of F, all of W, and leaves f'_nj / r of
every pair in `slope`. Pass 2 (`eam_forces`) adds the third term, when F' of all atoms is known.

The loops are written to vectorise on the CPU: `while` loops over flat arrays, rounded up to whole blocks of 8 pairs
whose excess, like pairs beyond the cutoff, reads a row of zeros; indices masked to be non-negative, because Warp wraps
negative ones; 1/r by a Newton step from single precision; slopes stored as integers, which the compiler knows not to
overlap with the tables. A row of the table holds the cubics of f and r phi side by side: one cache line gives values
and slopes. About 70 operations and 14 gathered numbers a pair; the gathers are what it costs.

Index letters: n atom (host), p directed pair, o place of its slope, s species of n, m row of a table, k its first
number. Equations of the model: model.py; pair gradients and ADP: angular.py.
"""

from __future__ import annotations

import weakref
from functools import cache

import numpy as np
import torch
import warp as wp

from ...core.elements import number
from ...core.errors import OptionError
from ...core.model import Local
from ...core.pairs import Pairs
from ...core.system import System
from ...core.warp_base import FAST
from ...core.warp_model import WP_DTYPE, WP_MAT33, WP_VEC3, WarpModel, as_warp, make_kernel
from .model import species_lookup
from .params import EamParams, hermite

FLAGS = f"{FAST} -mprefer-vector-width=512"
"""Sums may be reordered, which is what lets the loops vectorise."""

BLOCK = 8
"""Pairs are handled in blocks of this many; arrays of pairs are padded so that a block may run past their end."""

MASK = wp.constant(0x0FFFFFFF)
POSITIVE = wp.constant(0x7FFFFFFF)


def pair_rows(params: EamParams) -> np.ndarray:
    """(S, S, nr, K) rows [host, source, m]: cubics of f (source at host), r phi, for ADP u and w, and, for more than
    one species, f of the host at the source; the last row is zero."""
    s, nr = len(params.elements), params.nr
    tables = [params.density.swapaxes(0, 1), params.r_phi]
    if params.dipole is not None and params.quadrupole is not None:
        tables += [params.dipole, params.quadrupole]
    if s > 1:
        tables.append(params.density)
    rows = np.zeros((s, s, nr, 4 * len(tables)))
    for k, table in enumerate(tables):
        rows[:, :, :-1, 4 * k : 4 * k + 4] = hermite(table)
    return rows


@cache
def helpers(dtype: torch.dtype):
    """Functions that the kernels share: 1 / sqrt, cubic, its slope, and the embedding energy with its derivative."""
    real = WP_DTYPE[dtype]
    vec2 = wp.types.vector(length=2, dtype=real)

    if dtype == torch.float64:

        @wp.func
        def inverse_root(r2: wp.float64):
            y = wp.float64(wp.float32(1.0) / wp.sqrt(wp.float32(r2)))
            e = wp.float64(1.0) - r2 * y * y  # 1e-7, and its third power is below rounding
            return y + y * e * (wp.float64(0.5) + wp.float64(0.375) * e)
    else:

        @wp.func
        def inverse_root(r2: wp.float32):
            return wp.float32(1.0) / wp.sqrt(r2)

    @wp.func
    def embed(rho: real, s: int, cubics: wp.array(dtype=real), n_cubics: int, rho_min: real, per_rho: real):
        q = (rho - rho_min) * per_rho
        m = int(wp.clamp(q, real(0.0), real(n_cubics - 1)))
        t = q - real(m)
        inside = wp.min(t, real(1.0))
        k = (s * n_cubics + m) * 4
        slope = (real(3.0) * cubics[k + 3] * inside + real(2.0) * cubics[k + 2]) * inside + cubics[k + 1]
        value = ((cubics[k + 3] * inside + cubics[k + 2]) * inside + cubics[k + 1]) * inside + cubics[k]
        return vec2(value + slope * (t - inside), slope * per_rho)

    return inverse_root, embed


@cache
def sites_kernel(dtype: torch.dtype, many: bool) -> wp.Kernel:
    """Pass 1, see the module docstring; `many`: more than one species."""
    real, vec3, mat33 = WP_DTYPE[dtype], WP_VEC3[dtype], WP_MAT33[dtype]
    inverse_root, embed = helpers(dtype)
    double = dtype == torch.float64
    packed = wp.int64 if double else wp.float64
    width = 12 if many else 8

    def eam_sites(
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
        slope: wp.array(dtype=packed),
        embedding_slope: wp.array(dtype=real),
        energies: wp.array(dtype=real),
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
        rho = real(0.0)
        phi = real(0.0)
        # sums of f' d / r and phi' d / r, and of the same times d: xx yy zz yz xz xy
        fx = real(0.0)
        fy = real(0.0)
        fz = real(0.0)
        px = real(0.0)
        py = real(0.0)
        pz = real(0.0)
        f0 = real(0.0)
        f1 = real(0.0)
        f2 = real(0.0)
        f3 = real(0.0)
        f4 = real(0.0)
        f5 = real(0.0)
        p0 = real(0.0)
        p1 = real(0.0)
        p2 = real(0.0)
        p3 = real(0.0)
        p4 = real(0.0)
        p5 = real(0.0)
        p = first[n] & POSITIVE
        last = first[n + 1]
        stop = p + ((last - p + 7) // 8) * 8
        o = (p + 8 * n) & POSITIVE
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
            c1 = table[k + 1]
            c2 = table[k + 2]
            c3 = table[k + 3]
            rho += ((c3 * t + c2) * t + c1) * t + table[k]
            fd = ((real(3.0) * c3 * t + real(2.0) * c2) * t + c1) * per_r * r_inv
            c1 = table[k + 5]
            c2 = table[k + 6]
            c3 = table[k + 7]
            pair = (((c3 * t + c2) * t + c1) * t + table[k + 4]) * r_inv
            phi += pair
            pd = (((real(3.0) * c3 * t + real(2.0) * c2) * t + c1) * per_r - pair) * r_inv * r_inv
            ux = fd * dx
            uy = fd * dy
            uz = fd * dz
            fx += ux
            fy += uy
            fz += uz
            f0 += ux * dx
            f1 += uy * dy
            f2 += uz * dz
            f3 += uy * dz
            f4 += ux * dz
            f5 += ux * dy
            ux = pd * dx
            uy = pd * dy
            uz = pd * dz
            px += ux
            py += uy
            pz += uz
            p0 += ux * dx
            p1 += uy * dy
            p2 += uz * dz
            p3 += uy * dz
            p4 += ux * dz
            p5 += ux * dy
            back = fd
            if wp.static(many):
                back = (real(3.0) * table[k + 11] * t + real(2.0) * table[k + 10]) * t + table[k + 9]
                back = back * per_r * r_inv
            if wp.static(double):
                slope[o] = wp.cast(back, packed)
            else:
                slope[o] = packed(back)
            p = p + 1
            o = o + 1
        value = embed(rho, s, cubics, n_cubics, rho_min, per_rho)
        fp = value[1]
        half = real(0.5)
        energies[n] = value[0] + half * phi
        embedding_slope[n] = fp
        forces[n] = vec3(fp * fx + px, fp * fy + py, fp * fz + pz)
        w3 = fp * f3 + half * p3
        w4 = fp * f4 + half * p4
        w5 = fp * f5 + half * p5
        virials[n] = mat33(fp * f0 + half * p0, w5, w4, w5, fp * f1 + half * p1, w3, w4, w3, fp * f2 + half * p2)

    return make_kernel(eam_sites, f"eam_sites_{tag(dtype, many)}", FLAGS)


@cache
def forces_kernel(dtype: torch.dtype) -> wp.Kernel:
    """Pass 2, see the module docstring."""
    real, vec3 = WP_DTYPE[dtype], WP_VEC3[dtype]

    def eam_forces(
        start: int,
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        shift_index: wp.array(dtype=wp.int32),
        x: wp.array(dtype=real),
        shift: wp.array(dtype=real),
        slope: wp.array(dtype=wp.float64),
        embedding_slope: wp.array(dtype=real),
        forces: wp.array(dtype=vec3),
    ):
        n = start + wp.tid()
        xn = x[3 * n]
        yn = x[3 * n + 1]
        zn = x[3 * n + 2]
        fx = real(0.0)
        fy = real(0.0)
        fz = real(0.0)
        p = first[n] & POSITIVE
        stop = p + ((first[n + 1] - p + 7) // 8) * 8
        o = (p + 8 * n) & POSITIVE
        while p < stop:
            jp = j[p] & MASK
            kp = 3 * (shift_index[p] & MASK)
            g = embedding_slope[jp] * real(slope[o])
            fx += g * (x[3 * jp] + shift[kp] - xn)
            fy += g * (x[3 * jp + 1] + shift[kp + 1] - yn)
            fz += g * (x[3 * jp + 2] + shift[kp + 2] - zn)
            p = p + 1
            o = o + 1
        forces[n] = forces[n] + vec3(fx, fy, fz)

    return make_kernel(eam_forces, f"eam_forces_{tag(dtype)}", FLAGS)


def tag(dtype: torch.dtype, many: bool = False) -> str:
    return ("f64" if dtype == torch.float64 else "f32") + ("_many" if many else "")


class EamWarp(WarpModel):
    """Fast backend of EAM; see the module docstring."""

    def __init__(self, params: EamParams, device: torch.device, dtype: torch.dtype, threads: int = 1):
        self.params, self.device, self.dtype, self.threads = params, device, dtype, threads
        self.card, self.cutoff = params.card(), params.cutoff
        self.numbers = tuple(number(s) for s in params.elements)
        self.lookup = species_lookup(params.elements, device)
        rows, cubics = pair_rows(params), params.embedding_cubics()
        if rows.size >= 2**31:
            raise OptionError(f"{self.card.name} has tables too large for backend 'warp'; use backend='torch'")
        self.many = len(params.elements) > 1
        self.width = rows.shape[-1]
        self.table = torch.tensor(rows.reshape(-1), dtype=dtype, device=device)
        self.cubics = torch.tensor(cubics.reshape(-1), dtype=dtype, device=device)
        grid = (params.nr, 1.0 / params.dr, params.cutoff**2)
        embedding = (as_warp(self.cubics), cubics.shape[1], params.rho_min, 1.0 / params.drho)
        self._species = as_warp(self.lookup)
        self._tables = (len(params.elements), as_warp(self.table), *grid, *embedding)
        self._list: tuple = (lambda: None, [])

    def pair_list(self, pairs: Pairs) -> list[wp.array]:
        """first, j and shift_index, the latter with a block of zeros behind; kept as long as the same list is used."""
        kept = self._list
        if kept[0]() is not pairs:
            padded = [torch.cat([t, t.new_zeros(BLOCK)]) for t in (pairs.j, pairs.shift_index)]
            kept = self._list = (weakref.ref(pairs), [as_warp(t) for t in (pairs.first, *padded)])
        return kept[1]

    def geometry(self, system: System, pairs: Pairs) -> list[wp.array]:
        """Pair list, positions and shifts: the first arguments of the kernels."""
        x, shifts = system.positions.reshape(-1), pairs.shift_vectors(system).reshape(-1)
        return [*self.pair_list(pairs), as_warp(x), as_warp(shifts)]

    def tables(self, system: System) -> list:
        """Species and tables: the second part of the arguments."""
        species = as_warp(self.lookup[system.numbers]) if self.many else self._species
        return [species, *self._tables]

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        n, x = system.n_atoms, system.positions
        geometry, tables = self.geometry(system, pairs), self.tables(system)
        # 64 bits per slope in either precision: another type than the tables', see the module docstring
        slope = torch.empty(pairs.n_pairs + BLOCK * n, dtype=torch.float64, device=self.device)
        packed = slope.view(torch.int64) if self.dtype == torch.float64 else slope
        energies, embedding_slope, forces, virials = (x.new_empty((n, *tail)) for tail in ((), (), (3,), (3, 3)))
        wp_forces, wp_slopes = self.vec3(forces), as_warp(embedding_slope)
        out = [as_warp(packed), wp_slopes, as_warp(energies), wp_forces, as_warp(virials, WP_MAT33[self.dtype])]
        self.run(sites_kernel(self.dtype, self.many), n, [*geometry, *tables, *out])
        self.run(forces_kernel(self.dtype), n, [*geometry, as_warp(slope), wp_slopes, wp_forces])
        gradients = None
        if "pair_gradients" in need:
            from .angular import pair_gradients

            gradients = pair_gradients(self, system, pairs, tables, embedding_slope)
        return Local(energies, gradients, forces, virials)
