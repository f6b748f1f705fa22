"""Warp, started quietly, and kernels that are compiled once."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import warp as wp

FAST = "-O3 -mreassociate -freciprocal-math -fno-signed-zeros -ffp-contract=fast"
"""Compiler flags that may reorder sums but keep NaN and infinity, which are looked for in every result."""


KERNELS: dict[str, wp.Kernel] = {}
"""Kernels made so far, by name."""


@cache
def init_warp() -> None:
    """Start Warp once, quietly."""
    wp.config.log_level = wp.LOG_ERROR
    with _no_driver_warning():
        wp.init()


@contextmanager
def _no_driver_warning() -> Iterator[None]:
    """Warp's C++ side writes a line to stderr where there is no NVIDIA driver, which is no news on such a machine."""
    if any(_loadable(name) for name in ("libcuda.so", "libcuda.so.1")):
        yield
        return
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (AttributeError, OSError):  # no stderr, as under pythonw or a closed descriptor: nothing to hide
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


_CPU_FLAGS = (
    "-march=native -ffp-contract=fast -mllvm=-inline-threshold=9000 -mllvm=-inline-cold-callsite-threshold=3000"
)


def make_kernel(function: Any, name: str, flags: str = "") -> wp.Kernel:
    """A forward-only kernel in a module of its own, named so that it is compiled once and cached on disk.

    flags are added to the CPU compiler's, after `-march=native` and fused multiply-add. Warp reads them from the module
    (not the kernel). What makes a loop over pairs vectorise: `while` instead of `for` (Warp's range has two exits),
    flat scalar arrays, indices masked to be non-negative (Warp wraps negative ones), reordering of sums (FAST), and no
    store of the type that is gathered.
    """
    init_warp()
    function.__name__ = function.__qualname__ = name
    module = wp.get_module(f"calczoo_{name}")
    module.options.update(enable_backward=False, optimization_level=3, cpu_compiler_flags=f"{_CPU_FLAGS} {flags}")
    KERNELS[name] = wp.Kernel(func=function, key=name, module=module, options={"enable_backward": False})
    return KERNELS[name]
