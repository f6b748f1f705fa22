"""The counting sort behind the neighbour list, compiled."""

from functools import cache

import numpy as np
import warp as wp

from .warp_base import init_warp, make_kernel


def place_pairs(
    i: np.ndarray, j: np.ndarray, ahead: np.ndarray, back: np.ndarray, cursor: np.ndarray, out: list[np.ndarray]
) -> None:
    """Write both directions of every pair: out = [i, j, shift index, incoming], each (2 len(i),) int32.

    ahead, back: shift index of i -> j and of j -> i; cursor: first free place of each atom, moved on.
    """
    init_warp()
    arrays = [wp.array(a, dtype=wp.int32, device="cpu", copy=False) for a in (i, j, ahead, back, cursor, *out)]
    wp.launch(_place_kernel(), dim=1, inputs=[len(i), *arrays], device="cpu")


@cache
def _place_kernel() -> wp.Kernel:
    def place(
        n: int,
        i: wp.array(dtype=wp.int32),
        j: wp.array(dtype=wp.int32),
        ahead: wp.array(dtype=wp.int32),
        back: wp.array(dtype=wp.int32),
        cursor: wp.array(dtype=wp.int32),
        out_i: wp.array(dtype=wp.int32),
        out_j: wp.array(dtype=wp.int32),
        out_k: wp.array(dtype=wp.int32),
        incoming: wp.array(dtype=wp.int32),
    ):
        for h in range(n):
            a = i[h]
            b = j[h]
            p = cursor[a]
            cursor[a] = p + 1
            q = cursor[b]  # after the step above: a pair of an atom with its own image takes two places
            cursor[b] = q + 1
            out_i[p] = a
            out_j[p] = b
            out_k[p] = ahead[h]
            incoming[p] = q
            out_i[q] = b
            out_j[q] = a
            out_k[q] = back[h]
            incoming[q] = p

    return make_kernel(place, "place_pairs")
