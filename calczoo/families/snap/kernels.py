"""The fast backend of SNAP: blocks of eight atoms through one Warp kernel; see `adjoint` for the algorithm.

Never forms dB/dr: U, then Y = dE/dU once per atom, then one contraction per pair with U recomputed in registers.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
import warp as wp

from ...core.model import LOCAL_OUTPUTS, Local
from ...core.pairs import Pairs
from ...core.system import System
from ...core.threads import split
from ...core.warp_base import FAST, make_kernel
from ...core.warp_model import WP_DTYPE, WP_VEC3, WarpModel, as_warp, kept, wants_gradients
from . import native, native_pairs, native_products
from .adjoint import adjoint_map, chains, couplings_of, full_map, generators
from .params import SnapParams

CPU_LANES = 8


class SnapWarp(WarpModel):
    """SNAP with Warp kernels, float64 or float32, CPU or CUDA.

    Besides the outputs of local models: "descriptors" (N, K), the bispectrum components as LAMMPS' compute sna/atom.
    """

    outputs = LOCAL_OUTPUTS | {"descriptors"}

    def __init__(
        self, params: SnapParams, device: torch.device, dtype: torch.dtype, threads: int, lanes: int | None = None
    ):
        """lanes: atoms per block, by default 8 on the CPU and 1 on CUDA."""
        self.params, self.device, self.dtype, self.threads = params, device, dtype, threads
        self.card, self.cutoff, self.numbers = params.card(), params.cutoff, params.numbers
        self.lanes = lanes or (CPU_LANES if device.type == "cpu" else 1)
        self._tables = _Tables(params, device, dtype)
        species = torch.full((120,), -1, dtype=torch.int32)
        species[list(params.numbers)] = torch.arange(len(params.numbers), dtype=torch.int32)
        self._species_of = species.to(device)

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        want_b = "descriptors" in need
        energies, g, b = self._evaluate(system, pairs, wants_gradients(need), want_b, None)
        return Local(energies, pair_gradients=g, extra={"descriptors": b} if want_b else None)

    def descriptors(self, system: System, pairs: Pairs) -> torch.Tensor:
        """(N, K) bispectrum components, less those of a lone atom with bzeroflag."""
        b = self._evaluate(system, pairs, False, True, None)[2]
        assert b is not None
        return b

    def weighted_gradients(self, system: System, pairs: Pairs, beta: torch.Tensor) -> torch.Tensor:
        """(P, 3): d(sum_k beta[i, k] B_ik)/dr_ij for weights beta (N, K) held constant."""
        g = self._evaluate(system, pairs, True, False, beta)[1]
        assert g is not None
        return g

    def _evaluate(self, system: System, pairs: Pairs, want_g: bool, want_b: bool, beta: torch.Tensor | None):
        n, k = system.n_atoms, self.params.n_components
        new = {"dtype": self.dtype, "device": self.device}
        energies = torch.empty(n, **new)
        g = torch.empty((pairs.n_pairs, 3), **new) if want_g else None
        b = torch.empty((n, k), **new) if want_b else None
        if n == 0:
            return energies, g, b
        counts = pairs.first[1:] - pairs.first[:-1]
        quadratic = self.params.quadraticflag and beta is None
        offsets, scratch_size = self._tables.offsets(
            self.lanes, n, int(counts.max()), quadratic, want_g, want_b, beta is not None
        )
        empty = torch.empty((0, 3), **new)
        shift = pairs.shift_vectors(system)
        args = [
            as_warp(offsets),
            kept(self._tables, "integers"),
            kept(self._tables, "reals"),
            kept(pairs, "first"),
            kept(pairs, "j"),
            kept(pairs, "shift_index"),
            self.vec3(system.positions),
            self.vec3(shift),
            as_warp(self._species_of[system.numbers]),
            as_warp(beta.to(**new) if beta is not None else empty.flatten()).flatten(),
            as_warp(energies),
            self.vec3(g if g is not None else empty),
            as_warp((b if b is not None else empty).view(-1)),
        ]
        self._launch(args, n, scratch_size, int(offsets[native.OFFSETS.index("capacity")]))
        return energies, g, b

    def _launch(self, args: list[Any], n: int, scratch_size: int, capacity: int) -> None:
        """Every chunk of blocks has scratch of its own: reused block after block on the CPU, one per block on CUDA."""
        blocks = -(-n // self.lanes)
        kernel = _kernel(self.dtype, self.lanes)
        slot_size = self.lanes * capacity + self.lanes * (self.params.n_densities + 1)

        def work(start: int, stop: int) -> None:
            copies = 1 if self.device.type == "cpu" else stop - start
            scratch = torch.empty(copies * scratch_size, dtype=self.dtype, device=self.device)
            slots = torch.empty(copies * slot_size, dtype=torch.int32, device=self.device)
            shared = [start, copies, scratch_size, slot_size, as_warp(scratch), as_warp(slots)]
            wp.launch(kernel, dim=stop - start, inputs=[*shared, *args], device=str(self.device))

        if self.device.type == "cpu":
            split(work, blocks, self.threads, us=8.0 * self.lanes)
            return
        most = max(1, (2 << 30) // (scratch_size * self.dtype.itemsize))  # 2 GiB of scratch at a time
        for start in range(0, blocks, most):
            work(start, min(blocks, start + most))


class _Tables:
    """All numbers the kernel reads, in two arrays, and the offsets into them."""

    def __init__(self, params: SnapParams, device: torch.device, dtype: torch.dtype):
        self.params, self.device = params, device
        j, d = params.twojmax, params.n_densities
        c, cp = chains(j), couplings_of(j)
        block, source, signs = full_map(j)
        near, gen = generators(j)
        ystart, yt, yw = adjoint_map(j, d, params.bnormflag)
        chain_of = np.full((j + 1, 2 * j + 1), -1)
        chain_of[c.p[c.index[:, 0]], c.q[c.index[:, 0]] + j] = c.index[:, 0]
        n_b = params.n_components // d**3
        tops = _tops(params)
        integers = {
            "i_chain": c.index,
            "i_block": block,
            "i_full": source,
            "i_near": near,
            "i_coupling": cp.blocks,
            "i_chain_of": chain_of,
            "i_ystart": ystart,
            "i_yt": yt,
            "i_density": np.arange(params.n_elements) if d > 1 else np.zeros(params.n_elements),
        }
        reals = {
            "r_start": c.start,
            "r_step": c.step,
            "r_sign": signs,
            "r_gen": gen,
            "r_cg": cp.cg,
            "r_yw": yw,
            "r_norm": 1.0 / (tops + 1.0) if params.bnormflag else np.ones(n_b),
            "r_param": np.array([params.rfac0, params.rmin0, float(params.switchflag)]),
            "r_cut": params.cutoffs,
            "r_weight": params.weights,
            "r_sin": _mean(params.sinner, params.n_elements),
            "r_din": _mean(params.dinner, params.n_elements),
            "r_const": params.constant,
            "r_lin": params.linear,
            "r_quad": params.quadratic if params.quadratic is not None else np.zeros(0),
            "r_zero": params.zero_components,
        }
        self.places: dict[str, int] = {
            "n_species": params.n_elements,
            "n_densities": d,
            "n_elements": len(c.j),
            "n_chains": len(c.index),
            "n_full": len(source),
            "n_blocks": len(cp.blocks),
            "n_entries": cp.n_entries,
            "n_components": params.n_components,
            "n_b": n_b,
            "twojmax": j,
            "inner": int(params.switchinnerflag),
            "wself_all": int(params.wselfallflag),
        }
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
        self, lanes: int, n: int, most: int, quadratic: bool, want_g: bool, want_b: bool, user_beta: bool
    ) -> tuple[torch.Tensor, int]:
        """The offsets of one evaluation and the size of a block's scratch, in numbers."""
        p, d = self.places, self.places["n_densities"]
        capacity = -(-most // lanes) * lanes + lanes * d
        elements = 2 * d * p["n_elements"]
        entries = d**3 * p["n_entries"]
        regions = {  # in lanes
            "s_near": 7 * capacity,
            "s_power": (capacity // lanes) * (4 * (p["twojmax"] + 1) + 2),
            "s_u": elements,
            "s_full": 2 * d * p["n_full"],
            "s_y": elements,
            "s_v": 8 * d * p["n_elements"],
            "s_beta": p["n_components"],
            "s_b": p["n_components"],
            "s_entry": max(entries, -(-p["n_components"] // lanes)),
        }
        values = dict(p)
        total = 0
        for name, size in regions.items():
            values[name] = total
            total += size
        values |= {
            "s_total": total,
            "n_atoms": n,
            "capacity": capacity,
            "quadratic": int(quadratic),
            "want_g": int(want_g),
            "want_b": int(want_b),
            "user_beta": int(user_beta),
        }
        table = torch.tensor([values[name] for name in native.OFFSETS], dtype=torch.int32, device=self.device)
        return table, total * lanes


def _tops(params: SnapParams) -> np.ndarray:
    """j of every component of one block."""
    from .indices import indices

    return indices(params.twojmax).b[:, 2].astype(float)


def _mean(values: np.ndarray | None, n: int) -> np.ndarray:
    """(E, E): mean of the two elements' values."""
    return np.ones((n, n)) if values is None else 0.5 * (values[:, None] + values[None, :])


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
            weights: wp.array(dtype=real_type),
            energies: wp.array(dtype=real_type),
            gradients: wp.array(dtype=vec3),
            descriptors: wp.array(dtype=real_type),
        ): ...

        stub.__name__ = stub.__qualname__ = f"snap_{name}_{real}_{lanes}"
        return wp.func_native(native.text(source, c_type, lanes))(stub)

    neighbours = function(native_pairs.neighbours(), "neighbours")
    densities = function(native_pairs.densities(), "densities")
    expand = function(native_products.expand(), "expand")
    components = function(native_products.contraction(adjoint=False), "components")
    coefficients = function(native_products.coefficients(), "coefficients")
    adjoint = function(native_products.contraction(adjoint=True), "adjoint")
    rotations = function(native_products.rotations(), "rotations")
    pair_gradients = function(native_pairs.gradients(), "gradients")
    quadratic, want_g, want_b, user_beta = (native.OFFSETS.index(k) for k in _FLAGS)

    def snap(
        start: int,
        copies: int,
        scratch_size: int,
        slot_size: int,
        all_scratch: wp.array(dtype=real_type),
        all_slots: wp.array(dtype=wp.int32),
        o: wp.array(dtype=wp.int32),
        it: wp.array(dtype=wp.int32),
        rt: wp.array(dtype=real_type),
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        k: wp.array(dtype=wp.int32),
        x: wp.array(dtype=vec3),
        h: wp.array(dtype=vec3),
        z: wp.array(dtype=wp.int32),
        w: wp.array(dtype=real_type),
        e: wp.array(dtype=real_type),
        g: wp.array(dtype=vec3),
        d: wp.array(dtype=real_type),
    ):
        copy = wp.tid() % copies
        b = start + wp.tid()
        s = all_scratch[copy * scratch_size : (copy + 1) * scratch_size]
        q = all_slots[copy * slot_size : (copy + 1) * slot_size]
        neighbours(b, o, it, rt, s, q, first, j, k, x, h, z, w, e, g, d)
        densities(b, o, it, rt, s, q, first, j, k, x, h, z, w, e, g, d)
        expand(b, o, it, rt, s, q, first, j, k, x, h, z, w, e, g, d)
        if o[quadratic] + o[want_b] > 0:
            components(b, o, it, rt, s, q, first, j, k, x, h, z, w, e, g, d)
        coefficients(b, o, it, rt, s, q, first, j, k, x, h, z, w, e, g, d)
        if o[want_g] + o[user_beta] > 0 or o[quadratic] == 0:
            adjoint(b, o, it, rt, s, q, first, j, k, x, h, z, w, e, g, d)
            rotations(b, o, it, rt, s, q, first, j, k, x, h, z, w, e, g, d)
        if o[want_g] > 0:
            pair_gradients(b, o, it, rt, s, q, first, j, k, x, h, z, w, e, g, d)

    return make_kernel(snap, f"snap_{real}_{lanes}", f"{FAST} -mprefer-vector-width=512")


_FLAGS = ("quadratic", "want_g", "want_b", "user_beta")
