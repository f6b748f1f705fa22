"""LAMMPS .tersoff files: entries `element element element` with fourteen numbers, over one or more lines each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.errors import OptionError, PotentialFileError
from ...files.lammps import choose_elements, energy_unit, entry_line, read_entries
from ...files.text import find_file, read_lines, sha256, write_atomic
from .params import NAMES, TersoffParams

OTHERS = {
    18: "the format of a .tersoff.zbl file (pair_style tersoff/zbl)",
    17: "the format of a .tersoff.mod file (pair_style tersoff/mod)",
    11: "the format of a Stillinger-Weber file (family 'sw')",
}
"""Entry lengths of other formats."""

VARIANTS = {
    ".tersoff.zbl": "pair_style tersoff/zbl (a ZBL core joined by a Fermi function)",
    ".tersoff.mod": "pair_style tersoff/mod (another angular term and cutoff function)",
    ".tersoff.modc": "pair_style tersoff/mod/c (another angular term and cutoff function)",
    ".poly": "pair_style polymorphic",
}


def read_tersoff(
    name: str | os.PathLike, elements: Sequence[str] | None = None, labels: Sequence[str] | None = None
) -> TersoffParams:
    """Read a .tersoff file; `elements` picks some of it (default: all). Entries of other elements are left out.
    labels: the file's names for the elements, where they are not chemical symbols (see files/lammps.py).

    Raises PotentialFileError.
    """
    path = find_file(name, "a Tersoff file (.tersoff)")
    for ending, what in VARIANTS.items():
        if path.name.endswith(ending):
            raise PotentialFileError(path, None, f"parameters of {what}, another functional form", "a .tersoff file")
    lines = read_lines(path)
    entries = read_entries(path, lines, NAMES, OTHERS)
    chosen, names = choose_elements(path, entries, elements, labels)
    table = np.array([[[entries[a, b, c].values for c in names] for b in names] for a in names], dtype=float)
    for energy in ("A", "B"):
        table[..., NAMES.index(energy)] *= energy_unit(path, lines)
    try:
        return TersoffParams(chosen, table, f"tersoff:{path.name}", _summary(lines), {path.name: sha256(path)})
    except OptionError as error:
        line = entry_line(str(error), entries, chosen, names)
        raise PotentialFileError(path, line, str(error), "a consistent parameter set") from error


def _summary(lines: Sequence[str]) -> str:
    """The citation of the first line, which LAMMPS' files carry."""
    head = lines[0] if lines else ""
    return " ".join(head.split("CITATION:", 1)[1].split())[:200] if "CITATION:" in head else ""


def format_tersoff(params: TersoffParams) -> str:
    """Text of a .tersoff file with all entries, numbers written so that they read back equal."""
    lines = [
        f"# UNITS: metal CITATION: {params.summary or 'unknown'}",
        "# element element element " + " ".join(NAMES),
    ]
    m = len(params.elements)
    for key in np.ndindex(m, m, m):
        symbols = " ".join(params.elements[k] for k in key)
        lines.append(f"{symbols} " + " ".join(repr(float(v)) for v in params.table[key]))
    return "\n".join(lines) + "\n"


def write_tersoff(path: str | os.PathLike, params: TersoffParams) -> Path:
    """Write a .tersoff file that LAMMPS loads."""
    return write_atomic(path, format_tersoff(params))
