"""What LAMMPS' parameter files have in common: the UNITS tag, and entries that begin with three element symbols."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.elements import is_element
from ..core.errors import OptionError, PotentialFileError
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
            what = f"the entry of line {begin} ends after {len(words) - 3} numbers"
            raise PotentialFileError(path, k, what, expected)
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


def choose_elements(
    path: Path, entries: dict[Triple, Entry], elements: Sequence[str] | None, labels: Sequence[str] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Elements to use and the labels that the file has for them; every triple of labels must have an entry.

    elements: None means all of the file, which then must hold no labels but chemical symbols. labels: for files with
    names such as "Si(B)", one per element; without `elements` a label stands for the symbol that it begins with.
    Raises PotentialFileError naming what is missing.
    """
    if labels is None:
        labels = elements if elements is not None else _all_symbols(path, entries)
    if elements is None:
        elements = [re.match("[A-Z]?[a-z]?", label)[0] for label in labels]  # type: ignore[index]
    if len(labels) != len(elements) or len(set(elements)) != len(elements) or not all(map(is_element, elements)):
        what = f"labels {', '.join(labels)} for elements {', '.join(elements)}"
        raise PotentialFileError(path, None, what, "one label for each of different elements")
    for key in itertools.product(labels, repeat=3):
        if key not in entries:
            present = ", ".join(" ".join(k) for k in list(entries)[:12])
            raise PotentialFileError(
                path, None, f"no entry {' '.join(key)} (there are: {present})", f"all triples of {' '.join(labels)}"
            )
    return tuple(elements), tuple(labels)


def _all_symbols(path: Path, entries: dict[Triple, Entry]) -> list[str]:
    for key, entry in entries.items():
        for symbol in key:
            if not is_element(symbol):
                expected = "chemical symbols; for a file with labels of its own give elements= and labels="
                raise PotentialFileError(path, entry.line, f"'{symbol[:40]}' is no element", expected)
    return list(dict.fromkeys(symbol for key in entries for symbol in key))


def entry_line(
    message: str, entries: dict[Triple, Entry], elements: Sequence[str], labels: Sequence[str]
) -> int | None:
    """Line of the entry that a message about parameters names ("entry Si C C")."""
    label = dict(zip(elements, labels, strict=True))
    found = re.search(r"entry (\S+) (\S+) (\w+)", message)
    if found is None or any(symbol not in label for symbol in found.groups()):
        return None
    a, b, c = (label[symbol] for symbol in found.groups())
    return entries[a, b, c].line


def parse_labels(value: object) -> list[str] | None:
    """The option `labels`: "C Si(D)", "C, Si(D)" or a list of words."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.replace(",", " ").split()
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return list(value)
    raise OptionError(f"labels is {value!r}; write the labels of the file, as in 'C Si(D)'")
