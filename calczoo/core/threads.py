"""Host threads for the CPU kernels: one Warp launch is one thread and releases the interpreter lock."""

from __future__ import annotations

import os
import threading
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


LAUNCH_US = 200.0
"""Rough cost of one launch in the interpreter, which threads cannot share (microseconds)."""


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="calczoo")


def split(work: Callable[[int, int], None], n: int, threads: int, us: float) -> None:
    """Call work(start, stop) over [0, n) from `threads` threads; us: rough microseconds of one item on one core.

    A second thread is used only where it saves more than its launch costs, and more chunks than threads, which even out
    the work, only where launches are small beside it. Which thread does a chunk never changes a result: every item is
    written by one call only.
    """
    if n <= 0:
        return
    rounds = int(min(8.0, max(1.0, n * us / threads / (20 * LAUNCH_US))))
    chunks = 1 if threads == 1 or n * us < 3 * LAUNCH_US else min(n, threads * rounds)
    edges = [n * c // chunks for c in range(chunks + 1)]
    parts = [(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]
    if len(parts) == 1:
        work(0, n)
        return
    queue = iter(parts)
    lock = threading.Lock()

    def drain() -> None:
        while True:
            with lock:
                part = next(queue, None)
            if part is None:
                return
            work(*part)

    jobs = [_pool(threads - 1).submit(drain) for _ in range(min(threads, len(parts)) - 1)]
    try:
        drain()  # the caller is one of the threads
    finally:
        for job in jobs:
            job.result()


def _forget_pool() -> None:
    _pool.cache_clear()  # threads do not survive a fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
