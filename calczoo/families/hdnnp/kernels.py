"""The fast backend of HDNNP: symmetry functions and their gradients in Warp kernels, one atom at a time.

Two kernels: `values` makes the scaled functions of every atom, `pull` takes dU/dG back to dU/dr of the pairs. Both
collect the neighbours of the atom and make what is shared (see `groups` and `native`); Jacobians are never formed. The
networks between the two are batched over the atoms of an element, in torch (`networks`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import warp as wp

from ...core.elements import number
from ...core.errors import OptionError
from ...core.model import LOCAL_OUTPUTS, Local
from ...core.pairs import Pairs
from ...core.system import System
from ...core.threads import split
from ...core.warp_base import FAST, make_kernel
from ...core.warp_model import WP_DTYPE, WP_VEC3, Views, WarpModel, as_warp, kept, wants_gradients
from . import native, native_pairs, native_triplets
from .extrapolation import ExtrapolationCheck
from .groups import CentreTables, centre_tables
from .model import SiteEnergies
from .networks import Networks
from .params import HdnnpParams
from .scaling import Scaling

CPU_LANES = {torch.float64: 8, torch.float32: 16}


class WarpSymmetry:
    """Scaled symmetry functions of all atoms, and gradients of what is made from them.

    width: the most functions of an element; `species` takes a system to positions in params.elements.
    """

    def __init__(
        self,
        params: HdnnpParams,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        threads: int = 1,
        lanes: int | None = None,
    ):
        """lanes: neighbours taken at once, by default 8 (16 in single precision) on the CPU and 1 on CUDA."""
        self.params, self.device, self.dtype, self.threads = params, torch.device(device), dtype, threads
        self.lanes = lanes or (CPU_LANES[dtype] if self.device.type == "cpu" else 1)
        self.width = max(params.n_functions)
        self._tables = _Tables(params, self.device, dtype, self.lanes)
        table = torch.full((120,), -1, dtype=torch.int32)
        table[list(self._tables.numbers)] = torch.arange(len(params.elements), dtype=torch.int32)
        self._species_of = table.to(self.device)

    def species(self, system: System) -> torch.Tensor:
        """(N,) int32: positions in params.elements."""
        return self._species_of[system.numbers]

    def values(self, system: System, pairs: Pairs) -> tuple[torch.Tensor, None]:
        """(N, width) scaled functions, zero beyond those of the atom's element; and what `pull` keeps: nothing."""
        out = torch.empty((system.n_atoms, self.width), dtype=self.dtype, device=self.device)
        self._run(system, pairs, out, None)
        return out, None

    def pull(self, system: System, pairs: Pairs, state: None, weights: torch.Tensor) -> torch.Tensor:
        """(P, 3): gradients of sum_i weights_i . G_i with respect to the pair vectors, from weights (N, width)."""
        gradients = torch.empty((pairs.n_pairs, 3), dtype=self.dtype, device=self.device)
        self._run(system, pairs, weights.to(self.dtype).contiguous(), gradients)
        return gradients

    def _run(self, system: System, pairs: Pairs, values: torch.Tensor, gradients: torch.Tensor | None) -> None:
        if system.n_atoms == 0:
            return
        vec3 = WP_VEC3[self.dtype]
        most = int((pairs.first[1:] - pairs.first[:-1]).max())
        offsets, scratch_size, slot_size = self._tables.offsets(most)
        args = [
            offsets,
            kept(self._tables, "integers"),
            kept(self._tables, "reals"),
            kept(pairs, "first"),
            kept(pairs, "j"),
            kept(pairs, "shift_index"),
            as_warp(system.positions, vec3),
            as_warp(pairs.shift_vectors(system), vec3),
            as_warp(self.species(system)),
            as_warp(values.view(-1)),
            kept(self._tables, "no_vectors", vec3) if gradients is None else as_warp(gradients, vec3),
        ]
        kernel = _kernel("values" if gradients is None else "pull", self.dtype, self.lanes)
        self._launch(kernel, args, system.n_atoms, scratch_size, slot_size)

    def _launch(self, kernel: wp.Kernel, args: list[Any], n: int, scratch_size: int, slot_size: int) -> None:
        """Every chunk of atoms has scratch of its own: reused atom after atom on the CPU, one per atom on CUDA."""

        def work(start: int, stop: int) -> None:
            copies = 1 if self.device.type == "cpu" else stop - start
            scratch = torch.empty(copies * scratch_size, dtype=self.dtype, device=self.device)
            slots = torch.empty(copies * slot_size, dtype=torch.int32, device=self.device)
            shared = [start, copies, as_warp(scratch), as_warp(slots)]
            wp.launch(kernel, dim=stop - start, inputs=[*shared, *args], device=str(self.device))

        if self.device.type == "cpu":
            split(work, n, self.threads, us=self._tables.microseconds)
            return
        most = max(1, (2 << 30) // (scratch_size * self.dtype.itemsize))  # 2 GiB of scratch at a time
        for start in range(0, n, most):
            work(start, min(n, start + most))


class HdnnpWarp(WarpModel):
    """Generation 2 with Warp kernels, float64 or float32, CPU or CUDA.

    Output `descriptors` (N, width): scaled symmetry functions in the order of the networks' inputs, zero beyond the
    functions of an element. extrapolation.enabled = False switches the warnings off.
    """

    outputs = LOCAL_OUTPUTS | {"descriptors"}

    def __init__(
        self,
        params: HdnnpParams,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        threads: int = 1,
        lanes: int | None = None,
    ):
        if params.generation != 2:
            raise OptionError(f"{params.name} is of generation {params.generation}; this model is for the second")
        self.params, self.device, self.dtype, self.threads = params, torch.device(device), dtype, threads
        self.card, self.cutoff, self.numbers = params.card(), params.cutoff, params.numbers
        self.symmetry = WarpSymmetry(params, self.device, dtype, threads, lanes)
        self.networks = Networks(params, "short", self.device, dtype)
        self.to_energy = SiteEnergies(params, self.device)
        self.extrapolation = ExtrapolationCheck(params, self.device, dtype)

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        species = self.symmetry.species(system).long()
        functions, state = self.symmetry.values(system, pairs)
        self.extrapolation.check(functions, species, system.first, system.counted)
        gradients = None
        if wants_gradients(need):
            y, slopes, _ = self.networks.with_gradient(functions, species)
            gradients = self.symmetry.pull(system, pairs, state, slopes * self.to_energy.scale)
        else:
            with torch.no_grad():
                y = self.networks.values(functions, species)
        extra = {"descriptors": functions} if "descriptors" in need else None
        return Local(self.to_energy(y, species), pair_gradients=gradients, extra=extra)

    def descriptors(self, system: System, pairs: Pairs) -> torch.Tensor:
        """(N, width): see the class."""
        return self.symmetry.values(system, pairs)[0]


class _Tables:
    """All numbers the kernels read, in two arrays, and the offsets into them."""

    def __init__(self, params: HdnnpParams, device: torch.device, dtype: torch.dtype, lanes: int):
        self.numbers = tuple(number(e) for e in params.elements)
        self.device, self.lanes = device, lanes
        centres, scaling = centre_tables(params), Scaling.of(params)
        self._integers: list[int] = []
        self._reals: list[float] = []
        self.places = {"n_species": len(centres), "width": max(params.n_functions)}
        heads, radial, channels = [], [], []
        for centre in centres:
            heads += self._head(centre)
            radial += [place for stream in centre.radial for place in self._put(stream.integers, stream.reals)]
            channels += [place for stream in centre.channels for place in self._put(stream.integers, stream.reals)]
        for name, values in (("i_centre", heads), ("i_radial", radial), ("i_channels", channels)):
            self.places[name], _ = self._put(values, ())
        for name, array in (
            ("r_reach", np.array([c.reach for c in centres])),
            ("r_offset", scaling.offset),
            ("r_factor", scaling.factor),
            ("r_base", scaling.base),
        ):
            _, self.places[name] = self._put((), array.ravel().tolist())
        self.sizes = {
            "rows": max(c.n_channels + c.n_windows for c in centres),
            "entries": max(c.n_entries for c in centres),
            "parts": max(c.most_parts for c in centres),
            "channels": max(c.most_channels for c in centres),
            "classes": max(c.most_classes for c in centres),
        }
        self.microseconds = 10.0 + 0.5 * self.sizes["entries"]
        self.integers = torch.tensor(self._integers, dtype=torch.int32, device=device)
        self.reals = torch.tensor(self._reals, dtype=torch.float64).to(device=device, dtype=dtype)
        self.no_vectors = torch.empty((0, 3), dtype=dtype, device=device)
        self._offsets: dict[int, tuple[wp.array, int, int]] = Views()

    def _put(self, integers: Any, reals: Any) -> tuple[int, int]:
        """Appends; where in integers and reals."""
        place = len(self._integers), len(self._reals)
        self._integers += integers
        self._reals += reals
        return place

    def _head(self, c: CentreTables) -> list[int]:
        entries = self._put(c.entries.integers, c.entries.reals)
        groups = self._put(c.groups.integers, c.groups.reals)
        head = [c.n_functions, c.n_channels, c.n_entries, *entries, *groups]
        return head + [0] * (native.HEADER - len(head))

    def offsets(self, most: int) -> tuple[wp.array, int, int]:
        """The offsets for atoms with up to `most` pairs, and the size of a block's scratch in numbers and integers."""
        capacity = max(1, -(-most // self.lanes)) * self.lanes
        found = self._offsets.get(capacity)
        if found is None:
            if len(self._offsets) > 64:
                self._offsets.clear()
            found = self._offsets[capacity] = self._make_offsets(capacity)
        return found

    def _make_offsets(self, capacity: int) -> tuple[wp.array, int, int]:
        size, width = self.sizes, self.places["width"]
        blocks = capacity // self.lanes + self.places["n_species"] + 1
        q = native.BATCH
        regions = {  # in lanes
            "s_rows": (native.FIRST_CHANNEL + size["rows"]) * blocks,
            "s_sums": size["entries"],
            "s_weights": -(-width // self.lanes),
            "s_pair": 2 * blocks,
            "s_batch": native_triplets.N_BUFFERS * q,
            "s_parts": 2 * q * size["parts"],
            "s_packed": q * size["channels"],
            "s_class": 2 * q * size["classes"] + 1,
        }
        values = self.places | {"capacity": capacity}
        total = 0
        for name, count in regions.items():
            values[name] = total
            total += count
        table = torch.tensor([values[name] for name in native.OFFSETS], dtype=torch.int32, device=self.device)
        notes = native.note_size(self.places["n_species"], capacity, self.lanes)
        return as_warp(table), total * self.lanes, notes


def _function(source: str, name: str, dtype: torch.dtype, lanes: int) -> Callable:
    """A native function with the arguments that all phases share."""
    real_type, vec3 = WP_DTYPE[dtype], WP_VEC3[dtype]

    def stub(
        n: int,
        copy: int,
        copies: int,
        want: bool,
        scratch: wp.array(dtype=real_type),
        slots: wp.array(dtype=wp.int32),
        offsets: wp.array(dtype=wp.int32),
        itable: wp.array(dtype=wp.int32),
        rtable: wp.array(dtype=real_type),
        first: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        shift_index: wp.array(dtype=wp.int32),
        x: wp.array(dtype=vec3),
        shift: wp.array(dtype=vec3),
        species: wp.array(dtype=wp.int32),
        values: wp.array(dtype=real_type),
        gradients: wp.array(dtype=vec3),
    ): ...

    single = dtype == torch.float32
    stub.__name__ = stub.__qualname__ = f"hdnnp_{name}_{'f32' if single else 'f64'}_{lanes}"
    # Warp turns a plain float(...) into a cast of its own
    return wp.func_native(native.text(source, "wp::float32" if single else "wp::float64", lanes))(stub)


@cache
def _kernel(which: str, dtype: torch.dtype, lanes: int) -> wp.Kernel:
    """The kernel `values` or `pull` of one number type; compiled at its first launch and kept on disk."""
    real_type, vec3, single = WP_DTYPE[dtype], WP_VEC3[dtype], dtype == torch.float32
    pull = which == "pull"
    sources = {
        "neighbours": native_pairs.neighbours(),
        "channels": native_pairs.channels(single),
        "begin": native_pairs.weights_in() if pull else native_pairs.radial_values(single),
        "radial": native_pairs.radial_gradients(single) if pull else native.phase(),
        "triplets": native_triplets.gradients(single) if pull else native_triplets.values(single),
        "out": native_pairs.gradients_out() if pull else native_pairs.values_out(),
    }
    made = {name: _function(source, f"{which}_{name}", dtype, lanes) for name, source in sources.items()}
    neighbours, channels, begin = made["neighbours"], made["channels"], made["begin"]
    radial, triplets, end = made["radial"], made["triplets"], made["out"]

    def symmetry(
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
        v: wp.array(dtype=real_type),
        g: wp.array(dtype=vec3),
    ):
        c = wp.tid() % copies
        n = start + wp.tid()
        want = g.shape[0] > 0
        neighbours(n, c, copies, want, s, q, o, it, rt, first, j, k, x, h, z, v, g)
        channels(n, c, copies, want, s, q, o, it, rt, first, j, k, x, h, z, v, g)
        begin(n, c, copies, want, s, q, o, it, rt, first, j, k, x, h, z, v, g)
        radial(n, c, copies, want, s, q, o, it, rt, first, j, k, x, h, z, v, g)
        triplets(n, c, copies, want, s, q, o, it, rt, first, j, k, x, h, z, v, g)
        end(n, c, copies, want, s, q, o, it, rt, first, j, k, x, h, z, v, g)

    name = f"hdnnp_{which}_{'f32' if single else 'f64'}_{lanes}"
    return make_kernel(symmetry, name, f"{FAST} -mprefer-vector-width=512")
