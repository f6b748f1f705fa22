"""Reading structures with reference energies, forces and stresses.

extended XYZ (also .xz, .gz, .bz2), ASE trajectories and databases, OUTCAR and vasprun.xml or a folder tree of them, and
JSON lists. Units are those of ASE: eV, eV/A, eV/A^3 with tension positive. Every frame gets info["source"], and
info["level_of_theory"] where the files say it.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from calczoo.core.errors import DataError
from calczoo.exchange import own_frames
from calczoo.family import close_match

MLEARN = ("Cu", "Ge", "Li", "Mo", "Ni", "Si")
MLEARN_LEVEL = "VASP PBE, Zuo et al. 2020"
MLEARN_FOLDERS = ("mlearn_zuo2020", "data/mlearn_zuo2020", "")
VASP_FILES = ("vasprun.xml", "OUTCAR")  # the first of a folder is read
OPENERS = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
MAX_BYTES = 2_000_000_000
FRAME_KEYS = {"symbols", "positions", "cell", "pbc", "energy", "forces", "stress", "info"}


def load_dataset(name_or_path: str | os.PathLike) -> list[Atoms]:
    """Frames of a data set: a path, or "mlearn:Mo:test" (Zuo et al. 2020, doi:10.1021/acs.jpca.9b08723).

    Named sets are read from the folder that the environment variable CALCZOO_DATA names. Errors: DataError with what
    is wrong and how to get it.
    """
    text = os.fspath(name_or_path)
    path = named_path(text) if text.startswith("mlearn:") else Path(text)
    if not path.exists():
        raise DataError(f"data set {text!r}: no such file or folder")
    if path.is_dir():
        return read_frames(path)
    stat = path.stat()
    frames = [a.copy_with_results() for a in _cached(str(path.resolve()), stat.st_mtime_ns, stat.st_size)]
    return _with_level(frames, MLEARN_LEVEL) if text.startswith("mlearn:") else frames


def named_path(name: str) -> Path:
    """File of a named data set. Errors: DataError saying what is missing."""
    parts = name.split(":")
    if len(parts) != 3 or parts[2] not in ("train", "test"):
        raise DataError(f"data set {name!r}: write mlearn:ELEMENT:train or mlearn:ELEMENT:test, as in mlearn:Mo:test")
    element = parts[1]
    if element not in MLEARN:
        raise DataError(f"data set {name!r}: unknown element{close_match(element, MLEARN)} (has: {', '.join(MLEARN)})")
    root = os.environ.get("CALCZOO_DATA")
    how = (
        "get the structures of the mlearn repository (https://github.com/materialsvirtuallab/mlearn) as extended XYZ "
        f"files {element}_{parts[2]}.extxyz.xz, and set CALCZOO_DATA to the folder that holds them"
    )
    if not root:
        raise DataError(f"data set {name!r} needs the environment variable CALCZOO_DATA: {how}")
    for folder in MLEARN_FOLDERS:
        for ending in (".extxyz.xz", ".extxyz", ".extxyz.gz"):
            path = Path(root) / folder / f"{element}_{parts[2]}{ending}"
            if path.exists():
                return path
    raise DataError(f"data set {name!r}: not found below CALCZOO_DATA={root}: {how}")


class Frame:
    """One structure with its results, kept apart so that nobody can change the cached one."""

    def __init__(self, atoms: Atoms):
        self.atoms = atoms

    def copy_with_results(self) -> Atoms:
        copy = self.atoms.copy()
        if self.atoms.calc is not None:
            results = {k: np.array(v) if np.ndim(v) else v for k, v in self.atoms.calc.results.items()}
            copy.calc = SinglePointCalculator(copy, **results)
        return copy


@lru_cache(maxsize=4)
def _cached(path: str, changed: int, size: int) -> tuple[Frame, ...]:
    return tuple(Frame(a) for a in read_frames(Path(path)))


def read_frames(path: Path) -> list[Atoms]:
    """All frames of a file or of a folder tree of VASP runs. Errors: DataError naming the file."""
    if path.is_dir():
        return _folder(path)
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path.name}: {path.stat().st_size} bytes; at most {MAX_BYTES}")
    own = own_frames(path)
    frames = _file(path) if own is None else own
    if not frames:
        raise DataError(f"{path.name}: no frames")
    for atoms in frames:
        atoms.info.setdefault("source", path.name)
        _check(atoms, path)
    return frames


def _file(path: Path) -> list[Atoms]:
    name = path.name.lower()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ASE's readers, on header lines that do not matter here
            if re.search(r"\.(ext)?xyz(\.(xz|gz|bz2))?$", name):
                return read(path, index=":", format="extxyz")
            if name.endswith(".json"):
                return _json(path)
            if name.endswith(".db"):
                return _database(path)
            if name.endswith(".xml") or name.startswith("vasprun"):
                return _vasprun(path)
            if name.startswith("outcar"):
                return _with_level(read(path, index=":", format="vasp-out"), _outcar_level(path))
            return read(path, index=":")
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - ASE's readers raise anything on broken files; it is passed on by name
        raise DataError(f"{path.name}: cannot be read: {type(error).__name__}: {error}") from error


def _folder(path: Path) -> list[Atoms]:
    """Every VASP run below a folder, in the order of the paths; else every extended XYZ file in it."""
    runs = {}
    for file in sorted(p for name in VASP_FILES for p in path.rglob(f"{name}*") if _is_vasp(p)):
        best = runs.get(file.parent)
        if best is None or VASP_FILES.index(_stem(file)) < VASP_FILES.index(_stem(best)):
            runs[file.parent] = file
    files = [runs[k] for k in sorted(runs)] or sorted(p for p in path.iterdir() if re.search(r"\.(ext)?xyz\b", p.name))
    if not files:
        raise DataError(f"folder {path.name}: no OUTCAR, vasprun.xml or extended XYZ file in it")
    frames = []
    for file in files:
        for atoms in read_frames(file):
            atoms.info["source"] = str(file.relative_to(path))
            frames.append(atoms)
    return frames


def _stem(path: Path) -> str:
    return next((n for n in VASP_FILES if path.name.startswith(n)), "")


def _is_vasp(path: Path) -> bool:
    return path.is_file() and re.fullmatch(r"(vasprun\.xml|OUTCAR)(\.(xz|gz|bz2))?", path.name) is not None


def _check(atoms: Atoms, path: Path) -> None:
    """A frame without results, or with ones of a wrong shape, is of no use."""
    results = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    if not any(k in results for k in ("energy", "forces", "stress")):
        raise DataError(
            f"{path.name}: a frame of {len(atoms)} atoms has no reference results; expected the keys energy, forces "
            "and, for crystals, stress (as ASE writes them)"
        )
    if "forces" in results and np.shape(results["forces"]) != (len(atoms), 3):
        raise DataError(f"{path.name}: forces have shape {np.shape(results['forces'])}; expected ({len(atoms)}, 3)")


def _with_level(frames: list[Atoms], level: str) -> list[Atoms]:
    for atoms in frames:
        if level:
            atoms.info.setdefault("level_of_theory", level)
    return frames


def _vasprun(path: Path) -> list[Atoms]:
    """vasprun.xml; one with a document type or entities is refused before any XML parser sees it."""
    head = _head(path, 200_000)
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise DataError(f"{path.name}: holds a document type definition, which no vasprun.xml has")
    tags = {
        m[1].decode(): m[2].decode().strip()
        for m in re.finditer(rb'<i [^>]*name="(GGA|METAGGA|ENCUT|LHFCALC|IVDW|ISPIN)"[^>]*>([^<]*)</i>', head)
    }
    return _with_level(read(path, index=":", format="vasp-xml"), _vasp_level(tags))


def _head(path: Path, size: int) -> bytes:
    """The first bytes of a file, unpacked where it is compressed."""
    with OPENERS.get(path.suffix, open)(path, "rb") as f:
        return f.read(size)


def _outcar_level(path: Path) -> str:
    head = _head(path, 400_000).decode("utf-8", errors="replace")
    tags = {}
    for name in ("GGA", "METAGGA", "ENCUT", "LHFCALC", "IVDW", "ISPIN"):
        found = re.search(rf"^\s+{name}\s*=\s*(\S+)", head, re.M)
        if found:
            tags[name] = found[1]
    return _vasp_level(tags)


def _vasp_level(tags: dict[str, str]) -> str:
    """One line of what decides whether two VASP runs may be compared."""
    if not tags:
        return ""
    plain = {"ISPIN": "1", "IVDW": "0", "LHFCALC": "F", "METAGGA": "--"}
    parts = []
    for name in ("GGA", "METAGGA", "LHFCALC", "IVDW", "ENCUT", "ISPIN"):
        value = tags.get(name, "")
        if name == "ENCUT" and value:
            value = f"{float(value):g}"
        if value and value != plain.get(name):
            parts.append(f"{name}={value}")
    return f"VASP {' '.join(parts)}".strip()


def _database(path: Path) -> list[Atoms]:
    from ase.db import connect

    return [row.toatoms(add_additional_information=False) for row in connect(path).select()]


def _json(path: Path) -> list[Atoms]:
    """A list of {"symbols", "positions", "cell", "pbc", "energy", "forces", "stress"}, or ASE's JSON database."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(data, dict) and "ids" in data and "nextid" in data:
        return _database(path)
    if not isinstance(data, list):
        raise DataError(f"{path.name}: expected a list of frames, got {type(data).__name__}")
    return [_json_frame(row, k, path) for k, row in enumerate(data)]


def _json_frame(row: Any, k: int, path: Path) -> Atoms:
    if not isinstance(row, dict) or not {"symbols", "positions"} <= set(row):
        raise DataError(f"{path.name}: frame {k}: expected an object with symbols, positions, cell, energy, forces")
    unknown = sorted(set(row) - FRAME_KEYS)
    if unknown:
        raise DataError(f"{path.name}: frame {k}: unknown key {unknown[0]!r} (known: {', '.join(sorted(FRAME_KEYS))})")
    cell = row.get("cell")
    atoms = Atoms(row["symbols"], row["positions"], cell=cell, pbc=row.get("pbc", cell is not None))
    atoms.info.update(row.get("info", {}))
    results = {k: np.array(row[k], dtype=float) for k in ("forces", "stress") if row.get(k) is not None}
    if row.get("energy") is not None:
        results["energy"] = float(row["energy"])
    if results.get("stress") is not None and results["stress"].shape == (3, 3):
        s = results["stress"]
        results["stress"] = np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
