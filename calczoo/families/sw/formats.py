"""LAMMPS .sw files: entries `element element element` with eleven numbers, over one or more lines each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.errors import OptionError, PotentialFileError
from ...files.lammps import choose_elements, energy_unit, entry_line, read_entries
from ...files.text import find_file, read_lines, sha256, write_atomic
from .params import NAMES, SwParams

OTHERS = {14: "the format of a .tersoff file (family 'tersoff')", 18: "the format of a .tersoff.zbl file"}
"""Entry lengths of other formats."""


def read_sw(
    name: str | os.PathLike, elements: Sequence[str] | None = None, labels: Sequence[str] | None = None
) -> SwParams:
    """Read a .sw file; `elements` picks some of it (default: all). Entries of other elements are left out.
    labels: the file's names for the elements, where they are not chemical symbols (see files/lammps.py).

    Raises PotentialFileError.
    """
    path = find_file(name, "a Stillinger-Weber file (.sw)")
    refuse_variants(path)
    lines = read_lines(path)
    entries = read_entries(path, lines, NAMES, OTHERS)
    chosen, names = choose_elements(path, entries, elements, labels)
    table = np.array([[[entries[a, b, c].values for c in names] for b in names] for a in names], dtype=float)
    table[..., NAMES.index("epsilon")] *= energy_unit(path, lines)
    try:
        return SwParams(chosen, table, f"sw:{path.name}", _summary(lines), {path.name: sha256(path)})
    except OptionError as error:
        line = entry_line(str(error), entries, chosen, names)
        raise PotentialFileError(path, line, str(error), "a consistent parameter set") from error


def refuse_variants(path: Path) -> None:
    """Files of other functional forms must not be read as this one."""
    if path.name.endswith(".sw.mod"):
        raise PotentialFileError(
            path, None, "parameters of pair_style sw/mod (angles far from theta0 fade out)", "a .sw file"
        )
    if path.name.endswith((".poly", ".quip", ".spline")):
        raise PotentialFileError(path, None, f"a '{path.suffix}' file, another format", "a .sw file")


def _summary(lines: Sequence[str]) -> str:
    """The citation of the first line, which LAMMPS' files carry."""
    head = lines[0] if lines else ""
    return " ".join(head.split("CITATION:", 1)[1].split())[:200] if "CITATION:" in head else ""


def format_sw(params: SwParams) -> str:
    """Text of a .sw file with all entries, numbers written so that they read back equal."""
    lines = [
        f"# UNITS: metal CITATION: {params.summary or 'unknown'}",
        "# element element element " + " ".join(NAMES),
    ]
    m = len(params.elements)
    for key in np.ndindex(m, m, m):
        symbols = " ".join(params.elements[k] for k in key)
        lines.append(f"{symbols} " + " ".join(repr(float(v)) for v in params.table[key]))
    return "\n".join(lines) + "\n"


def write_sw(path: str | os.PathLike, params: SwParams) -> Path:
    """Write a .sw file that LAMMPS loads."""
    return write_atomic(path, format_sw(params))
