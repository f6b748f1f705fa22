"""The fast backend of MTP: blocks of atoms, one lane each, through one Warp kernel; see `native` and `tables`.

Neighbours are collected and their radial functions made; basic moments are sums over them; the products follow, then
their adjoint, which gives dV/dm of the basic moments; from these one polynomial in the unit vector gives each pair's
gradient.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
import warp as wp

from ...core.model import LOCAL_OUTPUTS, Local
from ...core.pairs import Pairs
from ...core.system import System
from ...core.threads import split
from ...core.warp_base import FAST, make_kernel
from ...core.warp_model import WP_DTYPE, WP_VEC3, Views, WarpModel, as_warp, kept, wants_gradients
from . import native, native_pairs, native_tree
from .grade import Grader, grade_outputs
from .params import MtpParams
from .radial import REPULSION, STEEPNESS, ShortDistances
from .tables import polynomial, products

CPU_LANES = {torch.float64: 8, torch.float32: 16}
CHUNK_BYTES = 64 << 20
"""Rows of basis vectors, which are long, are made for this much memory at a time."""

_BASES = {
    "RBChebyshev": (0, 0, 0),
    "RBChebyshev_repuls": (0, 1, 1),
    "BChebyshev": (1, 0, 0),
    "BChebyshev_repuls": (1, 1, 0),
    "RBTaylor": (2, 0, 0),
}
"""kind, clamped at min_dist, with a repulsion of its own below it."""


class MtpWarp(WarpModel):
    """MTP with Warp kernels, float64 or float32, CPU or CUDA.

    Besides the outputs of local models: "descriptors" (N, S), the basis functions B_s, and extrapolation grades where
    the potential has an active set.
    """

    def __init__(
        self, params: MtpParams, device: torch.device, dtype: torch.dtype, threads: int, lanes: int | None = None
    ):
        """lanes: atoms per block, by default 8 (16 in single precision) on the CPU and 1 on CUDA."""
        self.params, self.device, self.dtype, self.threads = params, torch.device(device), dtype, threads
        self.card, self.cutoff, self.numbers = params.card(), params.cutoff, params.numbers
        self.outputs = LOCAL_OUTPUTS | {"descriptors"} | grade_outputs(params.active)
        self.lanes = lanes or (CPU_LANES[dtype] if self.device.type == "cpu" else 1)
        self._tables = _Tables(params, self.device, dtype, self.lanes)
        species = torch.full((120,), -1, dtype=torch.int32)
        species[list(params.numbers)] = torch.arange(params.n_elements, dtype=torch.int32)
        self._species_of = species.to(self.device)
        self._short = ShortDistances(params)

    # -- what the base class asks for ------------------------------------------------------------------------

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        out = None
        if "descriptors" in need:
            out = torch.empty((system.n_atoms, self.params.n_basis), dtype=self.dtype, device=self.device)
        energies, g = self._evaluate(system, pairs, wants_gradients(need), out, rows=False)
        extra = {} if out is None else {"descriptors": out}
        if wanted := need & grade_outputs(self.params.active):
            extra |= self.grades(system, pairs, wanted)
        return Local(energies, pair_gradients=g, extra=extra)

    # -- basis functions, derivatives with respect to coefficients, grades -----------------------------------

    def descriptors(self, system: System, pairs: Pairs) -> torch.Tensor:
        """(N, S): basis functions B_s of each atom."""
        out = torch.empty((system.n_atoms, self.params.n_basis), dtype=self.dtype, device=self.device)
        self._evaluate(system, pairs, False, out, rows=False)
        return out

    @cached_property
    def _double(self) -> "MtpWarp":
        """Itself in double precision, without which ill-conditioned active sets give no grades."""
        if self.dtype == torch.float64:
            return self
        double = MtpWarp(self.params, self.device, torch.float64, self.threads)
        double._short = self._short  # what was said once is not said again
        return double

    @cached_property
    def grader(self) -> Grader:
        return Grader(self.params.active, self.device)

    def basis_chunks(self, system: System, pairs: Pairs) -> Iterator[tuple[int, int, torch.Tensor]]:
        """(start, stop, b (stop - start, n)) for ranges of atoms, in double precision: b_i = dV_i/dtheta with theta in
        the order radial, species, moment coefficients."""
        model, width = self._double, self.params.n_coefficients
        if system.positions.dtype != torch.float64:
            system = replace(system, positions=system.positions.double(), cell=system.cell.double())
        step = max(self.lanes, CHUNK_BYTES // (8 * width) // self.lanes * self.lanes)
        for start in range(0, system.n_atoms, step):
            stop = min(system.n_atoms, start + step)
            out = torch.zeros((stop - start, width), dtype=torch.float64, device=self.device)
            model._evaluate(system, pairs, False, out, rows=True, atoms=(start, stop))
            yield start, stop, out

    def basis_vectors(self, system: System, pairs: Pairs) -> torch.Tensor:
        """(N, n) float64: b_i of every atom."""
        parts = [b for _, _, b in self.basis_chunks(system, pairs)]
        empty = torch.empty((0, self.params.n_coefficients), dtype=torch.float64, device=self.device)
        return parts[0] if len(parts) == 1 else torch.cat([empty, *parts])

    def grades(self, system: System, pairs: Pairs, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        """extrapolation_grade (one per structure) and, for neighbourhoods, extrapolation_grades (N,)."""
        chunks = self.basis_chunks(system, pairs)
        atoms, structures = self.grader.stream(chunks, system.system_index, np.diff(system.first))
        found = {"extrapolation_grade": structures, "extrapolation_grades": atoms}
        return {name: found[name] for name in wanted}

    # -- the kernel ------------------------------------------------------------------------------------------

    def _evaluate(
        self,
        system: System,
        pairs: Pairs,
        want_g: bool,
        out: torch.Tensor | None,
        rows: bool,
        atoms: tuple[int, int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Energies (N,), gradients (P, 3); `out`, if given, is filled with basis functions or (rows) basis vectors, of
        the given range of atoms."""
        new = {"dtype": self.dtype, "device": self.device}
        first, stop = atoms or (0, system.n_atoms)
        energies, shortest = torch.empty((2, system.n_atoms), **new)
        g = torch.empty((pairs.n_pairs, 3), **new) if want_g else None
        if stop <= first:
            return energies, g
        most = int((pairs.first[first + 1 : stop + 1] - pairs.first[first:stop]).max())
        offsets, scratch_size, slot_size = self._tables.offsets(first, stop, most, want_g, out is not None, rows)
        args = [
            offsets,
            kept(self._tables, "integers"),
            kept(self._tables, "reals"),
            kept(pairs, "first"),
            kept(pairs, "j"),
            kept(pairs, "shift_index"),
            self.vec3(system.positions),
            self.vec3(pairs.shift_vectors(system)),
            as_warp(self._species_of[system.numbers]),
            as_warp(energies),
            kept(self._tables, "no_vectors", WP_VEC3[self.dtype]) if g is None else self.vec3(g),
            kept(self._tables, "no_numbers") if out is None else as_warp(out.view(-1)),
            as_warp(shortest),
        ]
        self._launch(args, stop - first, scratch_size, slot_size)
        if not self._short.said:
            seen = shortest if system.counted is None else torch.where(system.counted, shortest, self.cutoff)
            self._short.check(float(seen[first:stop].min()))
        return energies, g

    def _launch(self, args: list[Any], n: int, scratch_size: int, slot_size: int) -> None:
        """Every chunk of blocks has scratch of its own: reused block after block on the CPU, one per block on CUDA."""
        blocks = -(-n // self.lanes)
        kernel = _kernel(self.dtype, self.lanes)

        def work(start: int, stop: int) -> None:
            copies = 1 if self.device.type == "cpu" else stop - start
            scratch = torch.empty(copies * scratch_size, dtype=self.dtype, device=self.device)
            slots = torch.empty(copies * slot_size, dtype=torch.int32, device=self.device)
            shared = [start, copies, as_warp(scratch), as_warp(slots)]
            wp.launch(kernel, dim=stop - start, inputs=[*shared, *args], device=str(self.device))

        if self.device.type == "cpu":
            split(work, blocks, self.threads, us=self._tables.microseconds * self.lanes)
            return
        most = max(1, (2 << 30) // (scratch_size * self.dtype.itemsize))  # 2 GiB of scratch at a time
        for start in range(0, blocks, most):
            work(start, min(blocks, start + most))


class _Tables:
    """All numbers the kernel reads, in two arrays, and the offsets into them."""

    def __init__(self, params: MtpParams, device: torch.device, dtype: torch.dtype, lanes: int):
        self.params, self.device, self.lanes = params, device, lanes
        poly = polynomial(params.moments.basic)
        tree = products(params.moments, poly, params.weights, lanes)
        c, _, k, r = params.radial.shape
        padded = -(-k // lanes) * lanes
        radial = np.zeros((c, c, r, padded))
        radial[..., :k] = params.radial.transpose(0, 1, 3, 2)
        integers = {
            "i_q": poly.depth_q,
            "i_t": poly.depth_t,
            "i_mu": poly.n_mu,
            "i_inner": tree.inner,
            "i_inner_ij": tree.inner_ij,
            "i_back": tree.back,
            "i_form": tree.form,
            "i_form_j": tree.form_j,
            "i_outer": tree.outer,
            "i_outer_ij": tree.outer_ij,
            "i_own": tree.own,
        }
        reals = {
            "r_param": np.array([params.min_dist, params.max_dist, params.scaling, REPULSION, STEEPNESS]),
            "r_species": params.species,
            "r_radial": radial,
            "r_mult": tree.inner_mult,
            "r_back": tree.back_mult,
            "r_form": tree.form_s,
            "r_weight": tree.weights,
            "r_outer": tree.outer_mult,
        }
        kind, clamped, repulsive = _BASES[params.basis]
        self.places: dict[str, int] = {
            "n_species": c,
            "n_mu": k,
            "n_radial": r,
            "n_padded": padded,
            "n_p": len(poly.depth_q),
            "n_columns": len(poly.depth_t),
            "n_monomials": len(poly.n_mu),
            "n_basic": poly.count,
            "n_moments": tree.count,
            "n_inner": tree.n_inner,
            "n_basis": params.n_basis,
            "n_back": len(tree.back),
            "n_form": len(tree.form),
            "kind": kind,
            "clamped": clamped,
            "repulsive": repulsive,
        }
        n_pairs = len(tree.back) - 3 * tree.n_runs - len(tree.back_mult)
        self.product_operations = 3 * len(tree.inner_ij) + 2 * len(tree.form_j) + 2 * len(tree.back_mult) + 4 * n_pairs
        """Of one atom: products and their adjoint."""
        self.microseconds = 0.5 + 0.5e-3 * len(tree.inner_ij) + 0.005 * poly.count
        self.no_numbers = torch.empty(0, dtype=dtype, device=device)
        self.no_vectors = torch.empty((0, 3), dtype=dtype, device=device)
        self._offsets: dict[tuple, tuple[wp.array, int, int]] = Views()
        self.integers = self._join(integers, np.int32).to(device)
        self.reals = self._join(reals, np.float64).to(device=device, dtype=dtype)

    def _join(self, parts: dict[str, np.ndarray], kind: type) -> torch.Tensor:
        at, flat = 0, []
        for name, array in parts.items():
            self.places[name] = at
            flat.append(np.asarray(array, dtype=kind).ravel())
            at += flat[-1].size
        return torch.from_numpy(np.concatenate(flat))

    def offsets(
        self, start: int, stop: int, most: int, want_g: bool, want_b: bool, want_rows: bool
    ) -> tuple[wp.array, int, int]:
        """The offsets of one evaluation of the atoms start..stop, and the size of a block's scratch in numbers and in
        integers; most: pairs of one atom."""
        capacity = max(1, -(-most // native.TILE)) * native.TILE
        key = (start, stop, capacity, want_g, want_b, want_rows)
        found = self._offsets.get(key)
        if found is None:
            if len(self._offsets) > 64:
                self._offsets.clear()
            found = self._offsets[key] = self._make_offsets(*key)
        return found

    def _make_offsets(
        self, start: int, stop: int, capacity: int, want_g: bool, want_b: bool, want_rows: bool
    ) -> tuple[wp.array, int, int]:
        p = self.places
        regions = {  # in lanes
            "s_x": 5 * capacity,
            "s_f": capacity * p["n_mu"],
            "s_df": capacity * p["n_mu"],
            "s_t": 2 * p["n_radial"],
            "s_m": p["n_moments"],
            "s_beta": p["n_moments"],
            "s_e": 1,
            "s_push": capacity * p["repulsive"],
            "s_q": capacity * p["n_radial"] * want_rows,
            "s_rows": p["n_species"] * p["n_mu"] * p["n_radial"] * want_rows,
        }
        values = dict(p)
        total = 0
        for name, size in regions.items():
            values[name] = total
            total += size
        values |= {
            "origin": start,
            "n_atoms": stop,
            "want_g": int(want_g),
            "want_b": int(want_b),
            "want_rows": int(want_rows),
        }
        table = torch.tensor([values[name] for name in native.OFFSETS], dtype=torch.int32, device=self.device)
        return as_warp(table), total * self.lanes, (1 + 2 * capacity) * self.lanes


@cache
def _kernel(dtype: torch.dtype, lanes: int) -> wp.Kernel:
    """The kernel of one number type; compiled at its first launch and kept on disk."""
    real_type, vec3 = WP_DTYPE[dtype], WP_VEC3[dtype]
    real = "f64" if dtype == torch.float64 else "f32"
    # Warp turns a plain float(...) into a cast of its own
    c_type = "wp::float64" if dtype == torch.float64 else "wp::float32"

    def function(source: str, name: str) -> Any:
        """A native function with the arguments that all phases share."""

        def stub(
            block: int,
            copy: int,
            copies: int,
            offsets: wp.array(dtype=wp.int32),
            itable: wp.array(dtype=wp.int32),
            rtable: wp.array(dtype=real_type),
            scratch: wp.array(dtype=real_type),
            slots: wp.array(dtype=wp.int32),
            first: wp.array(dtype=wp.int32),
            j: wp.array(dtype=wp.int32),
            shift_index: wp.array(dtype=wp.int32),
            x: wp.array(dtype=vec3),
            shift: wp.array(dtype=vec3),
            species: wp.array(dtype=wp.int32),
            energies: wp.array(dtype=real_type),
            gradients: wp.array(dtype=vec3),
            out: wp.array(dtype=real_type),
            shortest: wp.array(dtype=real_type),
        ): ...

        stub.__name__ = stub.__qualname__ = f"mtp_{name}_{real}_{lanes}"
        return wp.func_native(native.text(source, c_type, lanes))(stub)

    neighbours = function(native_pairs.neighbours(), "neighbours")
    radial = function(native_pairs.radial(), "radial")
    moments = function(native_pairs.moments(), "moments")
    tree = function(native_tree.products(), "products")
    adjoint = function(native_tree.adjoint(), "adjoint")
    pair_gradients = function(native_pairs.gradients(), "gradients")
    basis = function(native_tree.basis(), "basis")
    rows = function(native_tree.rows(), "rows")
    want_g, want_b, want_rows = (native.OFFSETS.index(k) for k in ("want_g", "want_b", "want_rows"))

    def mtp(
        start: int,
        copies: int,
        s: wp.array(dtype=real_type),
        q: wp.array(dtype=wp.int32),
        o: wp.array(dtype=wp.int32),
        it: wp.array(dtype=wp.int32),
        rt: wp.array(dtype=real_type),
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        k: wp.array(dtype=wp.int32),
        x: wp.array(dtype=vec3),
        h: wp.array(dtype=vec3),
        z: wp.array(dtype=wp.int32),
        e: wp.array(dtype=real_type),
        g: wp.array(dtype=vec3),
        d: wp.array(dtype=real_type),
        near: wp.array(dtype=real_type),
    ):
        c = wp.tid() % copies
        b = start + wp.tid()
        neighbours(b, c, copies, o, it, rt, s, q, first, j, k, x, h, z, e, g, d, near)
        radial(b, c, copies, o, it, rt, s, q, first, j, k, x, h, z, e, g, d, near)
        moments(b, c, copies, o, it, rt, s, q, first, j, k, x, h, z, e, g, d, near)
        tree(b, c, copies, o, it, rt, s, q, first, j, k, x, h, z, e, g, d, near)
        adjoint(b, c, copies, o, it, rt, s, q, first, j, k, x, h, z, e, g, d, near)
        if o[want_g] > 0:
            pair_gradients(b, c, copies, o, it, rt, s, q, first, j, k, x, h, z, e, g, d, near)
        if o[want_b] > 0:
            basis(b, c, copies, o, it, rt, s, q, first, j, k, x, h, z, e, g, d, near)
        if o[want_rows] > 0:
            rows(b, c, copies, o, it, rt, s, q, first, j, k, x, h, z, e, g, d, near)

    return make_kernel(mtp, f"mtp_{real}_{lanes}", f"{FAST} -mprefer-vector-width=512")
