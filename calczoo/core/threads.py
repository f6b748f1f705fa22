"""Host threads for the CPU kernels: one Warp launch is one thread and releases the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from .errors import OptionError


def thread_count(threads: int | None) -> int:
    """CALCZOO_NUM_THREADS wins, then the argument, then all cores this process may use."""
    text = os.environ.get("CALCZOO_NUM_THREADS")
    value: object = text if text else threads
    if value is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    whole = isinstance(value, int) and not isinstance(value, bool)
    count = value if whole else int(value) if isinstance(value, str) and value.strip().isdecimal() else 0
    if count < 1:
        name = "CALCZOO_NUM_THREADS" if text else "threads"
        raise OptionError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return count


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="calczoo")


def split(work: Callable[[int, int], None], n: int, threads: int, grain: int = 1) -> None:
    """Call work(start, stop) over [0, n) from `threads` threads, in chunks that are multiples of `grain`.

    Which thread does a chunk never changes a result: every item is written by one call only.
    """
    if n <= 0:
        return
    blocks = -(-n // grain)
    chunks = 1 if threads == 1 else min(blocks, 4 * threads)
    edges = [min(n, grain * (blocks * c // chunks)) for c in range(chunks)] + [n]
    if chunks == 1:
        work(0, n)
        return
    jobs = [_pool(threads).submit(work, a, b) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]
    for job in jobs:
        job.result()


def _forget_pool() -> None:
    _pool.cache_clear()  # threads do not survive a fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
