"""What LAMMPS' parameter files have in common: the UNITS tag, and entries that begin with three element symbols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.elements import is_element
from ..core.errors import PotentialFileError
from .text import parse_float

KCAL_PER_MOL = 1.0 / 23.060549
"""eV, the value LAMMPS uses to read files of `units real`."""

Triple = tuple[str, str, str]


@dataclass(frozen=True)
class Entry:
    """One entry: line where it begins (1-based) and its numbers."""

    line: int
    values: tuple[float, ...]


def energy_unit(path: Path, lines: Sequence[str]) -> float:
    """Factor to eV from the UNITS tag of the first line; a file without one counts as metal units (eV).

    Raises PotentialFileError for other units than metal and real.
    """
    words = lines[0].split() if lines else []
    if "UNITS:" not in words[:-1]:
        return 1.0
    unit = words[words.index("UNITS:") + 1]
    if unit not in ("metal", "real"):
        raise PotentialFileError(path, 1, f"UNITS: {unit[:40]}", "UNITS: metal or real")
    return 1.0 if unit == "metal" else KCAL_PER_MOL


def read_entries(path: Path, lines: Sequence[str], names: Sequence[str], known: dict[int, str]) -> dict[Triple, Entry]:
    """All entries `element element element number...` of a file, each starting on a line of its own and going on over
    as many lines as its numbers need.

    names: of the numbers; known: length of the entries of other formats -> what such a file is, for the message.
    Raises PotentialFileError for a wrong count, a number that is none, and an entry that is given twice.
    """
    expected = f"3 element symbols and {len(names)} numbers ({' '.join(names)})"
    found: dict[Triple, Entry] = {}
    words: list[str] = []
    begin = 0
    for k, line in enumerate(lines, start=1):
        new = line.split("#", 1)[0].split()
        if not new:
            continue
        begin = begin if words else k
        if words and _symbols(new[:1]):
            raise PotentialFileError(path, k, f"the entry of line {begin} ends after {len(words) - 3} numbers", expected)
        words += new
        if not _symbols(words[:3]) or len(words) < 3:
            raise PotentialFileError(path, k, f"'{line.strip()[:60]}'", expected)
        if len(words) < 3 + len(names):
            continue
        if len(words) > 3 + len(names):
            what = known.get(len(words) - 3, "")
            raise PotentialFileError(
                path, k, f"the entry has {len(words) - 3} numbers" + (f": {what}" if what else ""), expected
            )
        key: Triple = (words[0], words[1], words[2])
        if key in found:
            raise PotentialFileError(
                path, begin, f"a second entry {' '.join(key)} (the first is in line {found[key].line})", "one of each"
            )
        found[key] = Entry(begin, tuple(parse_float(w, path, k, expected) for w in words[3:]))
        words = []
    if words:
        what = known.get(len(words) - 3, "")
        raise PotentialFileError(
            path, begin, f"the entry ends after {len(words) - 3} numbers" + (f": {what}" if what else ""), expected
        )
    if not found:
        raise PotentialFileError(path, None, "no entry", expected)
    return found


def _symbols(words: Sequence[str]) -> bool:
    """True where every word could be the label of an element: it begins with a letter and is no number."""
    for word in words:
        if not word[:1].isalpha() or not word.isascii() or word.lower() in ("nan", "inf", "infinity"):
            return False
    return True


def choose_elements(path: Path, entries: dict[Triple, Entry], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Elements to use, in the file's order or as asked; every triple of them must have an entry.

    Raises PotentialFileError naming what is missing.
    """
    if wanted is None:
        wanted = list(dict.fromkeys(symbol for key in entries for symbol in key))
        for key, entry in entries.items():
            for symbol in key:
                if not is_element(symbol):
                    raise PotentialFileError(path, entry.line, f"'{symbol[:40]}' is no element", "chemical symbols")
    for a in wanted:
        for b in wanted:
            for c in wanted:
                if (a, b, c) not in entries:
                    present = ", ".join(" ".join(key) for key in list(entries)[:12])
                    raise PotentialFileError(
                        path, None, f"no entry {a} {b} {c} (there are: {present})", f"all triples of {' '.join(wanted)}"
                    )
    return tuple(wanted)
