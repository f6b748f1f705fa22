"""Second pass of three-body kernels: what the neighbours of an atom leave for it on the pairs that end there.

A first pass over centres writes `given[p] = (dU_i/dr_p, share)` for every directed pair p = (i, j): the gradient and
the part of the energy that j takes over from i. The pass here subtracts the gradients from the forces and adds the
shares.
"""

from __future__ import annotations

from functools import cache

import torch
import warp as wp

from .warp_model import WP_DTYPE, WP_VEC3, make_kernel

WP_VEC4 = {torch.float64: wp.vec4d, torch.float32: wp.vec4f}


@cache
def gather_given_kernel(dtype: torch.dtype) -> wp.Kernel:
    """Arguments: first, incoming (of Pairs), given (P,) vec4, energies (N,), forces (N,) vec3; the last two are
    updated. Every atom has one writer and one order of summation."""
    real, vec3, vec4 = WP_DTYPE[dtype], WP_VEC3[dtype], WP_VEC4[dtype]

    def gather_given(
        start: int,
        first: wp.array(dtype=wp.int32),
        incoming: wp.array(dtype=wp.int32),
        given: wp.array(dtype=vec4),
        energies: wp.array(dtype=real),
        forces: wp.array(dtype=vec3),
    ):
        n = start + wp.tid()
        total = vec4(real(0.0), real(0.0), real(0.0), real(0.0))
        for p in range(first[n], first[n + 1]):
            total += given[incoming[p]]
        energies[n] = energies[n] + total[3]
        forces[n] = forces[n] - vec3(total[0], total[1], total[2])

    return make_kernel(gather_given, f"gather_given_{'f64' if dtype == torch.float64 else 'f32'}")
