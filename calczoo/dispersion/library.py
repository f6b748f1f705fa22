"""The packages dftd3 and dftd4: imported when a model needs them, asked for their functionals, held to threads."""

from __future__ import annotations

import ctypes
import difflib
import importlib
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.errors import BackendUnavailable, OptionError


def _dftd3() -> ModuleType:
    import dftd3.interface

    return dftd3.interface


def _dftd4() -> ModuleType:
    import dftd4.interface

    return dftd4.interface


_INTERFACES = {"dftd3": _dftd3, "dftd4": _dftd4}


def interface(package: str) -> ModuleType:
    """`dftd3.interface` or `dftd4.interface`; BackendUnavailable, with what to install, where it cannot be imported."""
    try:
        return _INTERFACES[package]()
    except ImportError as error:
        raise BackendUnavailable(
            f"this correction is computed by {package}, which cannot be imported ({error}): "
            f'pip install "calczoo[dispersion]" (or pip install {package})'
        ) from error


@cache
def table(package: str) -> dict[str, Any]:
    """The table of damping parameters that comes with the package, as it is written; empty where it is missing."""
    file = Path(str(interface(package).__file__)).with_name("parameters.toml")
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def functionals(package: str, accepts: Callable[[str], Any]) -> list[str]:
    """Names in the package's table of damping parameters that it accepts: `accepts` raises RuntimeError for others.

    The table does not list every alias; where an installation has none, this list is empty.
    """
    known = []
    for name in sorted(table(package).get("parameter", ())):
        with suppress(RuntimeError):
            accepts(name)
            known.append(name)
    return known


def check_functional(what: str, package: str, name: str, accepts: Callable[[str], Any]) -> None:
    """Raise OptionError for a functional that the package does not accept: close names first, then all of them."""
    try:
        accepts(name)
    except RuntimeError as error:
        known = functionals(package, accepts)
        near = difflib.get_close_matches(name.lower(), known, 3)
        guess = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
        every = f" It has: {', '.join(known)}" if known else f" See the documentation of {package} for those it has"
        raise OptionError(f"{what} has no parameters for the functional '{name}'{guess}{every}") from error


@contextmanager
def held_to(threads: int, package: str) -> Iterator[None]:
    """Hold the OpenMP of a package to a number of threads; nothing happens where it is built without OpenMP.

    A library's handle finds the symbols of what it was linked with, so this reaches the OpenMP of the package itself
    and not that of torch. The setting belongs to the calling thread.
    """
    binary = _binary(package)
    if binary is None:
        yield
        return
    before = binary.omp_get_max_threads()
    binary.omp_set_num_threads(threads)
    try:
        yield
    finally:
        binary.omp_set_num_threads(before)


@cache
def _binary(package: str) -> ctypes.CDLL | None:
    """The compiled part of the package, where it was linked with OpenMP."""
    module = importlib.import_module(f"{package}._lib{package}")
    try:
        binary = ctypes.CDLL(str(module.__file__))
        return binary if binary.omp_set_num_threads and binary.omp_get_max_threads else None
    except (OSError, AttributeError):  # not a shared library of its own, or no OpenMP in it
        return None
