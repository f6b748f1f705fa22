"""Products of matrices over host threads whose bits do not depend on how many there are.

Libraries of linear algebra share one product among their threads in ways that change the order of sums. Here such
libraries run on one thread, and pieces of fixed size are given to the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from ..core.threads import split

_lock = threading.Lock()
_depth = 0
_outside = 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """torch on one thread inside; the number of before comes back when the last of all that are inside has left."""
    global _depth, _outside
    with _lock:
        if _depth == 0:
            _outside = torch.get_num_threads()
        _depth += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                torch.set_num_threads(_outside)


def pieces(n: int, size: int) -> list[slice]:
    """[0, n) in slices of `size`."""
    return [slice(a, min(a + size, n)) for a in range(0, n, size)]


def for_each(work: Callable[[int, slice], None], parts: Sequence[slice], threads: int, us: float) -> None:
    """work(k, parts[k]) for all k; us: rough microseconds of one. Every call must write a place of its own."""

    def several(start: int, stop: int) -> None:
        for k in range(start, stop):
            work(k, parts[k])

    split(several, len(parts), threads, us)
