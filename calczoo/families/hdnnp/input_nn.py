"""The keyword file input.nn of RuNNer and n2p2: one keyword with its values in a line, # and ! begin comments.

Keywords of training are passed over. What would change a result is refused where it is not understood: keywords of
other kinds of potentials, a keyword given twice, a misspelt one; any other unknown keyword is told in a warning.
Format: Singraber, Behler and Dellago, J. Chem. Theory Comput. 15, 1827 (2019), doi:10.1021/acs.jctc.8b00770; Behler,
Int. J. Quantum Chem. 115, 1032 (2015), doi:10.1002/qua.24890.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ...core.elements import is_element, number
from ...core.errors import PotentialFileError
from ...files.text import MAX_LINE, parse_float, parse_int
from .keywords import ALIASES, REFUSED, REPEATED, USED, harmless

_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
MAX_INPUT = 8 << 20
"""Bytes of an input.nn, unpacked; those with a thousand functions have a tenth of a MiB."""
MAX_NODES = 100_000
MAX_LAYERS = 50
MAX_UNKNOWN = 200
"""Unknown keywords beyond which a file is none of this format."""


@dataclass(frozen=True)
class Entry:
    """One line: its keyword (the name that this module uses), the word of the file, values, and number."""

    key: str
    word: str
    args: tuple[str, ...]
    line: int


class Settings:
    """The keywords of one file. Every reader raises PotentialFileError naming the line."""

    def __init__(self, path: Path, entries: Sequence[Entry]):
        self.path, self.entries = path, tuple(entries)
        self._by_key: dict[str, list[Entry]] = {}
        for e in entries:
            self._by_key.setdefault(e.key, []).append(e)
            if len(self._by_key[e.key]) > 1 and e.key in USED and e.key not in REPEATED:
                first = self._by_key[e.key][0].line
                self.fail(e, f"'{e.word}' comes a second time (first in line {first})", "each keyword once")
        self.elements = self._elements()

    def fail(self, entry: Entry | None, what: str, expected: str) -> NoReturn:
        raise PotentialFileError(self.path, entry.line if entry else None, what, expected)

    def all(self, key: str) -> list[Entry]:
        return self._by_key.get(key, [])

    def get(self, key: str) -> Entry | None:
        found = self._by_key.get(key)
        return found[0] if found else None

    def has(self, key: str) -> bool:
        return key in self._by_key

    def need(self, key: str) -> Entry:
        entry = self.get(key)
        if entry is None:
            self.fail(None, f"has no keyword '{key}'", f"a complete input.nn with '{key}'")
        return entry

    def count(self, entry: Entry, low: int, high: int, form: str) -> tuple[str, ...]:
        """The values of a line, if they are from `low` to `high` many."""
        if not low <= len(entry.args) <= high:
            self.fail(entry, f"'{entry.word}' with {len(entry.args)} values", f"'{entry.word} {form}'")
        return entry.args

    def float(self, entry: Entry, at: int, what: str) -> float:
        return parse_float(entry.args[at], self.path, entry.line, f"{what} of '{entry.word}'")

    def int(self, entry: Entry, at: int, what: str, low: int = 0, high: int = 10**9) -> int:
        return parse_int(entry.args[at], self.path, entry.line, f"{what} of '{entry.word}'", low, high)

    def element(self, entry: Entry, at: int = 0) -> str:
        """One of the elements of the file."""
        if entry.args[at] not in self.elements:
            self.fail(entry, f"the element '{entry.args[at][:20]}'", f"one of {', '.join(self.elements)}")
        return entry.args[at]

    def number(self, key: str, default: float) -> float:
        """The one value of a keyword that may be absent."""
        entry = self.get(key)
        if entry is None:
            return default
        self.count(entry, 1, 1, "value")
        return self.float(entry, 0, "the value")

    def per_element(self, key: str, what: str) -> dict[str, float]:
        """Values of lines 'keyword element value'."""
        out: dict[str, float] = {}
        for entry in self.all(key):
            self.count(entry, 2, 2, "element value")
            symbol = self.element(entry)
            if symbol in out:
                self.fail(entry, f"a second '{entry.word}' of {symbol}", "one for each element")
            out[symbol] = self.float(entry, 1, what)
        return out

    def _elements(self) -> tuple[str, ...]:
        """In the order of atomic numbers."""
        entry = self.need("elements")
        if not entry.args:
            self.fail(entry, "'elements' names none", "symbols, as in 'elements H O'")
        for symbol in entry.args:
            if not is_element(symbol):
                self.fail(entry, f"'{symbol[:20]}' is no chemical element", "symbols, as in 'elements H O'")
        if len(set(entry.args)) != len(entry.args):
            self.fail(entry, f"elements {' '.join(entry.args)[:80]}", "each element once")
        told = self.get("number_of_elements")
        if told is not None:
            self.count(told, 1, 1, "value")
            if self.int(told, 0, "the number") != len(entry.args):
                self.fail(told, f"number_of_elements {told.args[0]}", f"{len(entry.args)}, as 'elements' names")
        return tuple(sorted(entry.args, key=number))


def parse_settings(path: Path, raw: bytes) -> Settings:
    """The keywords of a file's bytes. Raises PotentialFileError."""
    entries, ignored = [], {}
    for at, line in enumerate(text_lines(path, raw), 1):
        words = line.split("#", 1)[0].split("!", 1)[0].split()
        if not words:
            continue
        word = words[0]
        if not _WORD.fullmatch(word):
            raise PotentialFileError(path, at, f"'{word[:40]}'", "a keyword, as in 'cutoff_type 1'")
        key = ALIASES.get(word, word)
        if key in REFUSED:
            what = f"'{word}': {REFUSED[key]}, which is not part of this family"
            raise PotentialFileError(path, at, what, "a high-dimensional potential of generation 2, 3 or 4")
        if key in USED:
            entries.append(Entry(key, word, tuple(words[1:]), at))
        elif not harmless(key) and word not in ignored:
            _unknown(path, at, word)
            ignored[word] = at
            if len(ignored) > MAX_UNKNOWN:
                raise PotentialFileError(path, at, f"the {len(ignored)}th unknown keyword", "keywords of input.nn")
    if ignored:
        told = ", ".join(f"'{k[:40]}' (line {n})" for k, n in list(ignored.items())[:8])
        warnings.warn(f"{path}: unknown keywords are ignored: {told}", stacklevel=3)
    return Settings(path, entries)


def _unknown(path: Path, line: int, word: str) -> None:
    """A keyword that is nearly one which matters was most likely meant to be it."""
    near = difflib.get_close_matches(word[:60].lower(), [*USED, *ALIASES], n=1, cutoff=0.88)
    if near:
        raise PotentialFileError(path, line, f"unknown keyword '{word[:60]}'", f"'{near[0]}', or a comment with '#'")


def text_lines(path: Path, raw: bytes) -> list[str]:
    """Lines of a text; PotentialFileError for bytes that are none."""
    if b"\0" in raw:
        raise PotentialFileError(path, raw[: raw.index(b"\0")].count(b"\n") + 1, "holds a NUL byte", "a text file")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for k, line in enumerate(lines):
        if len(line) > MAX_LINE:
            raise PotentialFileError(path, k + 1, f"is {len(line)} characters long", f"lines of at most {MAX_LINE}")
    return lines
