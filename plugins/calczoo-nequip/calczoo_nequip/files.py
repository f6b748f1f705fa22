"""What the files of the framework tell about themselves, read without running anything that they hold.

Packages (.nequip.zip) and compiled models (.nequip.pt2, .nequip.pth) are zip archives with text in them; a checkpoint
(.ckpt) is a pickle, which tells nothing before it is loaded.
"""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

PACKAGE, AOTI, SCRIPT, CHECKPOINT = ".nequip.zip", ".nequip.pt2", ".nequip.pth", ".ckpt"
KINDS = (PACKAGE, AOTI, SCRIPT, CHECKPOINT)
CODE = {
    PACKAGE: "a package holds Python code and pickles",
    AOTI: "a model compiled by AOTInductor holds machine code",
    CHECKPOINT: "a checkpoint is a pickle",
}
"""Kinds of file that run code when they are read, and why; TorchScript (.nequip.pth) is interpreted."""


@dataclass(frozen=True)
class Facts:
    """types: names of the types, () where unknown; cutoff: A, 0 where unknown; precision: "float32", "float64" or "";
    device: that of compiled code, "" for any; fields: in and out, of compiled code that tells them."""

    types: tuple[str, ...] = ()
    cutoff: float = 0.0
    precision: str = ""
    device: str = ""
    fields: tuple[frozenset[str], frozenset[str]] | None = None


ASE_FIELDS = (
    frozenset({"pos", "edge_index", "atom_types", "cell", "edge_cell_shift"}),
    frozenset({"atomic_energy", "total_energy", "forces", "stress"}),
)
"""What `nequip-compile --target ase` compiles for."""


def kind_of(path: Path) -> str | None:
    return next((k for k in KINDS if path.name.endswith(k)), None)


def facts_of(path: Path) -> Facts:
    """Raises ValueError for a file that is not what its name says."""
    reader = {PACKAGE: _package, AOTI: _compiled, SCRIPT: _script}.get(str(kind_of(path)))
    if reader is None:
        return Facts()
    try:
        with zipfile.ZipFile(path) as archive:
            return reader(archive)
    except zipfile.BadZipFile as error:
        raise ValueError(f"no zip archive ({error})") from error
    except (KeyError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"its description is incomplete ({type(error).__name__}: {error})") from error


def _text(archive: zipfile.ZipFile, end: str) -> str:
    """The member whose name ends so; KeyError where there is none."""
    for name in archive.namelist():
        if name.endswith(end):
            return archive.read(name).decode()
    raise KeyError(end)


def _package(archive: zipfile.ZipFile) -> Facts:
    head = _text(archive, "/model/package_metadata.txt")
    block = re.search(r"^atom_types:\n((?:[ ]+\d+:.*\n?)+)", head, re.MULTILINE)
    if block is None:
        raise KeyError("atom_types")
    pairs = re.findall(r"^\s+(\d+):\s*['\"]?(\w+)['\"]?\s*$", block[1], re.MULTILINE)
    config = _text(archive, "/model/config.yaml")
    precision = _value(config, "model_dtype")
    cutoff = _value(config, "r_max")
    return Facts(
        tuple(name for _, name in sorted(pairs, key=lambda p: int(p[0]))),
        float(cutoff) if re.fullmatch(r"[\d.]+(e[+-]?\d+)?", cutoff) else 0.0,
        precision if precision in ("float32", "float64") else "",
    )


def _value(config: str, name: str) -> str:
    """Value of the last `name:` of a YAML text, followed where it refers to another entry ("${cutoff}")."""
    for _ in range(5):
        found = re.findall(rf"^[ \t-]*{re.escape(name)}:[ \t]*([^\s#]+)", config, re.MULTILINE)
        if not found:
            return ""
        value = found[-1].strip("'\"")
        if not (refers := re.fullmatch(r"\$\{(?:[\w.]*\.)?(\w+)\}", value)):
            return value
        name = refers[1]
    return ""


def _compiled(archive: zipfile.ZipFile) -> Facts:
    data = json.loads(_text(archive, "wrapper_metadata.json"))
    names = [data.get(f"nequip_aoti_{way}") for way in ("inputs", "outputs")]
    return Facts(
        tuple(data["type_names"].split()), float(data["r_max"]), data.get("model_dtype", ""),
        data.get("AOTI_DEVICE_KEY", ""),
        None if None in names else (frozenset(names[0].split()), frozenset(names[1].split())),
    )  # fmt: skip


def _script(archive: zipfile.ZipFile) -> Facts:
    def extra(name: str) -> str:
        return _text(archive, f"/extra/{name}")

    return Facts(tuple(extra("type_names").split()), float(extra("r_max")), _or_empty(archive, "model_dtype"))


def _or_empty(archive: zipfile.ZipFile, name: str) -> str:
    try:
        return _text(archive, f"/extra/{name}")
    except KeyError:  # older files do not tell
        return ""

