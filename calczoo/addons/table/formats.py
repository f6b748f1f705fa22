"""LAMMPS table files: sections of a keyword line, a parameter line and N lines `index r energy force`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...core.errors import OptionError, PotentialFileError
from ...files.lammps import energy_unit
from ...files.text import find_file, parse_float, parse_int, read_lines, sha256, write_atomic
from .params import TableEntry

_HEADER = "'N COUNT', then optionally 'R LOW HIGH' or 'RSQ LOW HIGH' and 'FPRIME LOW HIGH'"
_ROW = "'INDEX R ENERGY FORCE'"


def read_table(name: str | os.PathLike, keyword: str | None = None, cutoff: float | None = None) -> TableEntry:
    """One section of a table file; `keyword` may be left out where the file has one section only.

    Energies of a file that says `UNITS: real` are converted from kcal/mol. Raises PotentialFileError.
    """
    path = find_file(name, "a LAMMPS table file")
    lines = read_lines(path)
    sections = _sections(path, lines)
    if keyword is None and len(sections) == 1:
        keyword = next(iter(sections))
    if keyword not in sections:
        names = ", ".join(sections) or "none"
        what = f"no section '{keyword}'" if keyword is not None else f"{len(sections)} sections"
        raise PotentialFileError(path, None, what, f"a keyword that names one of its sections ({names})")
    return _section(path, lines, keyword, sections[keyword], cutoff)


def _sections(path: Path, lines: list[str]) -> dict[str, list[tuple[int, list[str]]]]:
    """Keyword -> its lines as (line number, words), the parameter line first."""
    found: dict[str, list[tuple[int, list[str]]]] = {}
    current: list[tuple[int, list[str]]] = []
    for k, line in enumerate(lines, start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) == 1 and not _is_number(words[0]):
            if words[0] in found:
                raise PotentialFileError(path, k, f"a second section '{words[0]}'", "different keywords")
            current = found.setdefault(words[0], [])
        elif not found:
            raise PotentialFileError(path, k, f"'{line.strip()[:60]}'", "a line with the keyword of a table section")
        else:
            current.append((k, words))
    if not found:
        raise PotentialFileError(path, None, "no table section", f"a keyword line, {_HEADER} and rows {_ROW}")
    return found


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _section(
    path: Path, lines: list[str], keyword: str, rows: list[tuple[int, list[str]]], cutoff: float | None
) -> TableEntry:
    if not rows:
        raise PotentialFileError(path, None, f"section '{keyword}' is empty", _HEADER)
    header = _header(path, *rows[0])
    count, rows = header.pop("count"), rows[1:]
    if len(rows) != count:
        line = rows[-1][0] if rows else None
        raise PotentialFileError(path, line, f"section '{keyword}' has {len(rows)} rows", f"N = {count} rows {_ROW}")
    values = np.empty((count, 3))
    for m, (k, words) in enumerate(rows):
        if len(words) != 4:
            raise PotentialFileError(path, k, f"{len(words)} values", _ROW)
        parse_int(words[0], path, k, _ROW)
        values[m] = [parse_float(word, path, k, _ROW) for word in words[1:]]
    unit = energy_unit(path, lines)
    values[:, 1:] *= unit
    if header["end_slopes"] is not None:
        header["end_slopes"] = tuple(s * unit for s in header["end_slopes"])
    try:
        entry = TableEntry(keyword, *values.T, cutoff=cutoff, files={path.name: sha256(path)}, **header)
    except OptionError as error:
        raise PotentialFileError(path, rows[0][0], str(error), f"a table that ascends in r, {_ROW}") from error
    _check_grid(path, entry, rows)
    return entry


def _header(path: Path, line: int, words: list[str]) -> dict:
    """The parameter line."""
    out: dict = {"count": None, "grid": "file", "r_lo": None, "r_hi": None, "end_slopes": None}
    left = list(words)

    def two() -> tuple[float, float]:
        if len(left) < 2:
            raise PotentialFileError(path, line, f"'{' '.join(words)[:80]}'", _HEADER)
        return parse_float(left.pop(0), path, line, _HEADER), parse_float(left.pop(0), path, line, _HEADER)

    while left:
        word = left.pop(0)
        if word == "N" and left:
            out["count"] = parse_int(left.pop(0), path, line, _HEADER, 2)
        elif word in ("R", "RSQ"):
            out["grid"] = word.lower()
            out["r_lo"], out["r_hi"] = two()
        elif word in ("FPRIME", "FP"):
            out["end_slopes"] = two()
        elif word == "BITMAP":
            raise PotentialFileError(path, line, "a BITMAP grid, which is not supported", _HEADER)
        else:
            raise PotentialFileError(path, line, f"'{word[:40]}'", _HEADER)
    if out["count"] is None:
        raise PotentialFileError(path, line, "no 'N COUNT'", _HEADER)
    return out


def _check_grid(path: Path, entry: TableEntry, rows: list[tuple[int, list[str]]]) -> None:
    """The r column of an even grid is only informative, but it must describe the same grid."""
    if entry.grid == "file":
        return
    radii = entry.radii()
    off = np.abs(entry.r - radii) > 0.5 * np.gradient(radii)
    if off.any():
        m = int(np.argmax(off))
        what = f"r = {entry.r[m]:g}, but {entry.grid.upper()} {entry.r_lo:g} {entry.r_hi:g} puts row {m + 1} at"
        raise PotentialFileError(path, rows[m][0], f"{what} {radii[m]:g}", "an r column that agrees with the header")


def format_table(entries: Iterable[TableEntry]) -> str:
    """Text of a table file with one section per entry."""
    parts = ["# UNITS: metal"]
    for entry in entries:
        header = f"N {len(entry.r)}"
        if entry.grid != "file":
            header += f" {entry.grid.upper()} {entry.r_lo!r} {entry.r_hi!r}"
        if entry.end_slopes is not None:
            header += " FPRIME " + " ".join(repr(float(s)) for s in entry.end_slopes)
        rows = zip(entry.r.tolist(), entry.energy.tolist(), entry.force.tolist(), strict=True)
        parts += ["", entry.keyword, header, ""]
        parts += [f"{m} {r!r} {e!r} {f!r}" for m, (r, e, f) in enumerate(rows, start=1)]
    return "\n".join(parts) + "\n"


def write_table(path: str | os.PathLike, entries: Iterable[TableEntry]) -> Path:
    """Write a table file that LAMMPS reads; raises OptionError for two entries of one keyword."""
    entries = list(entries)
    names = [entry.keyword for entry in entries]
    if len(set(names)) != len(names):
        raise OptionError(f"table: two sections of one name: {', '.join(names)}")
    return write_atomic(path, format_table(entries))
