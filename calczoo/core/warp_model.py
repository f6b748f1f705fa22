"""Base of the fast backend: Warp kernels on torch tensors, the same source on CPU and CUDA.

A kernel's first argument is `start`, and `wp.tid() + start` is its item: on the CPU the range of items is cut into
chunks and each chunk is one launch from its own host thread; on CUDA everything is one launch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import warp as wp

from .model import GRADIENTS, LocalModel
from .pairs import Pairs
from .system import System
from .threads import split
from .warp_base import init_warp, make_kernel

WP_DTYPE = {torch.float64: wp.float64, torch.float32: wp.float32}
WP_VEC3 = {torch.float64: wp.vec3d, torch.float32: wp.vec3f}
WP_MAT33 = {torch.float64: wp.mat33d, torch.float32: wp.mat33f}


def as_warp(tensor: torch.Tensor, dtype: Any = None) -> wp.array:
    """A Warp view of a torch tensor's memory; nothing is copied."""
    init_warp()
    # an empty tensor may have strides that Warp does not take; it has no memory to share either
    plain = tensor.detach().contiguous() if tensor.numel() else tensor.new_empty(tensor.shape)
    return wp.from_torch(plain, dtype=dtype, requires_grad=False)


class Views(dict):
    """Warp arrays made from tensors, by name. A copy of their owner, or one sent to another process, makes its own."""

    def __deepcopy__(self, memo: dict) -> Views:
        return Views()

    def __reduce__(self) -> tuple:
        return Views, ()


def kept(owner: Any, name: str, dtype: Any = None) -> wp.array:
    """`as_warp(owner.name)`, made once and kept with the owner: for lists and tables that outlive a call. (Kept in the
    owner, not in the tensor, which the array refers to: a circle would hold the memory.)"""
    store = owner.__dict__.setdefault("_warp_views", Views())
    if (name, dtype) not in store:
        store[name, dtype] = as_warp(getattr(owner, name), dtype)
    return store[name, dtype]


class WarpModel(LocalModel):
    """Subclasses implement `local` with `run`; scratch memory belongs to the call, so that threads do not meet."""

    def run(self, kernel: wp.Kernel, n: int, args: Sequence[Any], us: float = 0.25) -> None:
        """Launch `kernel` over n items; args without the leading `start`. us: rough microseconds of an item on one
        core, which decides how many threads are worth their launches."""
        device = str(self.device)
        if self.device.type == "cuda":
            wp.launch(kernel, dim=n, inputs=[0, *args], device=device)
            return

        def work(start: int, stop: int) -> None:
            wp.launch(kernel, dim=stop - start, inputs=[start, *args], device=device)

        split(work, n, self.threads, us)

    def vec3(self, tensor: torch.Tensor) -> wp.array:
        """(M, 3) tensor as an array of 3-vectors."""
        return as_warp(tensor, WP_VEC3[self.dtype])

    def reduce(self, system: System, pairs: Pairs, g: torch.Tensor, need: frozenset[str]):
        """Forces and per-atom virials from directed gradients: each atom gathers its outgoing and incoming pairs, so no
        two threads write to one place and the sum has one order."""
        virials_wanted = bool(need & {"virial", "virials"})
        forces = torch.empty((system.n_atoms, 3), dtype=g.dtype, device=g.device)
        virials = torch.empty((system.n_atoms if virials_wanted else 0, 3, 3), dtype=g.dtype, device=g.device)
        kernel = _reduce_kernel(self.dtype)
        args = [
            kept(pairs, "first"),
            kept(pairs, "incoming"),
            kept(pairs, "j"),
            kept(pairs, "shift_index"),
            self.vec3(system.positions),
            self.vec3(pairs.shift_vectors(system)),
            self.vec3(g),
            virials_wanted,
            self.vec3(forces),
            as_warp(virials, WP_MAT33[self.dtype]),
        ]
        self.run(kernel, system.n_atoms, args)
        return forces, virials if virials_wanted else None


def wants_gradients(need: frozenset[str]) -> bool:
    return bool(need & GRADIENTS)


@cache
def _reduce_kernel(dtype: torch.dtype) -> wp.Kernel:
    vec3, mat33 = WP_VEC3[dtype], WP_MAT33[dtype]

    def gather_forces(
        start: int,
        first: wp.array(dtype=wp.int32),
        incoming: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        shift_index: wp.array(dtype=wp.int32),
        x: wp.array(dtype=vec3),
        shift: wp.array(dtype=vec3),
        g: wp.array(dtype=vec3),
        virials_wanted: bool,
        forces: wp.array(dtype=vec3),
        virials: wp.array(dtype=mat33),
    ):
        n = start + wp.tid()
        force = vec3()
        virial = mat33()
        for p in range(first[n], first[n + 1]):
            force += g[p]
            force -= g[incoming[p]]
            if virials_wanted:
                r = x[j[p]] + shift[shift_index[p]] - x[n]
                virial += wp.outer(r, g[p])
        forces[n] = force
        if virials_wanted:
            virials[n] = virial

    name = f"gather_forces_{'f64' if dtype == torch.float64 else 'f32'}"
    return make_kernel(gather_forces, name)
