"""Memory leak: slope of the resident memory over many evaluations."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import numpy as np

from ..base import Check, NotApplicable, Outcome, judged
from ..context import Context, name_of
from ..structures import fcc

_STATM = Path("/proc/self/statm")
_MOST_SECONDS = 120.0


def _give_back_free_memory() -> None:
    """Return what the allocator holds unused: a leak that fills such pages would not grow the process."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None  # glibc only
    if trim is not None:
        trim(0)


def resident_bytes() -> int:
    """Resident memory of this process; NotApplicable where it cannot be read."""
    _give_back_free_memory()
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import psutil
    except ImportError:
        raise NotApplicable("the resident memory cannot be read here: no /proc, no psutil") from None
    return int(psutil.Process().memory_info().rss)


def median_slope(x: np.ndarray, y: np.ndarray) -> float:
    """Theil-Sen slope: the median over all pairs, blind to single steps of the allocator."""
    i, j = np.triu_indices(len(x), 1)
    return float(np.median((y[j] - y[i]) / (x[j] - x[i])))


def run(ctx: Context) -> Outcome:
    group = ctx.mixture() if len(ctx.elements) <= 4 else (ctx.elements[0],)
    n = 1_000 if ctx.quick else 10_000
    # a page is 4 kB and allocators grow in steps: fewer evaluations resolve larger leaks only
    threshold = 2048.0 if ctx.quick else 128.0
    rng = ctx.rng("memory")
    atoms = ctx.save(name_of(group), fcc(group, ctx.d(group), rng))
    moved = atoms.copy()
    start = time.perf_counter()
    counts, sizes = [], []
    warm = max(n // 10, 500)  # allocators and just-in-time compilers settle
    for k in range(warm + n):
        moved.positions = atoms.positions + 0.01 * rng.uniform(-1, 1, atoms.positions.shape)  # defeats caches
        ctx.compute(moved)
        if k >= warm and k % (n // 50) == 0:
            counts.append(k)
            sizes.append(resident_bytes())
            if time.perf_counter() - start > _MOST_SECONDS and len(counts) >= 10:
                break
    done = counts[-1] - counts[0]
    slope = max(median_slope(np.array(counts, float), np.array(sizes, float)), 0.0)
    note = f"{done} evaluations" if ctx.quick or k < warm + n - 1 else ""
    details = {"evaluations": done, "growth_bytes": sizes[-1] - sizes[0], "atoms": len(atoms)}
    return judged(slope, threshold, "B/evaluation", note, details)


CHECK = Check("memory", "memory leak", run, order=100, needs=("energy",))
