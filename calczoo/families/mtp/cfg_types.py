"""Which elements the types of a `.cfg` are: its atoms have numbers, the file names no elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...core.elements import SYMBOLS, number, parse_elements
from ...core.errors import OptionError, PotentialFileError

Elements = str | Sequence[str] | Mapping[int, str] | None
"""Symbols of types 0, 1, ..., or {type: symbol}; None where the types are atomic numbers."""
ATOMIC = 10
"""Types from here on may be atomic numbers: types that count from 0 do not get there."""


def element_map(elements: Elements) -> dict[int, str] | None:
    """{type: symbol}; None stays None. Raises OptionError for unknown symbols and types."""
    if elements is None:
        return None
    if isinstance(elements, Mapping):
        for k, symbol in elements.items():
            number(symbol)
            if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
                raise OptionError(f"elements names the type {k!r}; types are whole numbers from 0")
        return {int(k): e for k, e in elements.items()}
    return dict(enumerate(parse_elements(elements) or ()))


class Types:
    """The types of one file; whether they are indices or atomic numbers must not change within it."""

    def __init__(self, elements: Elements):
        self.known = element_map(elements)
        self.atomic: bool | None = None

    def symbols(self, types: np.ndarray, path: Path, frame: int, first: int) -> list[str]:
        """Symbols of the types of the atoms, whose first is in line `first`.

        Raises OptionError where no elements were given, PotentialFileError for a type that stands for none.
        """
        kinds = sorted(set(types.tolist()))
        known = self._atomic_numbers(kinds)
        if kinds and self.atomic not in (None, known is not None):
            what = f"configuration {frame}: types are {('atomic numbers', 'indices')[known is None]}, not so before"
            raise PotentialFileError(path, first, what, "one kind of types in a file")
        if kinds:
            self.atomic = known is not None
        known = self.known if known is None else known
        if known is None:
            raise OptionError(_missing(path, kinds, frame, first))
        for k in kinds:
            if k not in known:
                line = first + int(np.flatnonzero(types == k)[0])
                told = ", ".join(f"{t} {e}" for t, e in sorted(known.items())[:12])
                what = f"configuration {frame}: type {k}, with elements for the types {told}"
                raise PotentialFileError(path, line, what, "an element for every type")
        return [known[t] for t in types.tolist()]

    def _atomic_numbers(self, kinds: Sequence[int]) -> dict[int, str] | None:
        """The elements of types that are atomic numbers; None where they are indices."""
        if not kinds or kinds[0] < ATOMIC or kinds[-1] >= len(SYMBOLS):
            return None
        named = {k: SYMBOLS[k] for k in kinds}
        if self.known is None:
            return named
        if any(k in self.known for k in kinds) or not set(named.values()) <= set(self.known.values()):
            return None
        return named


def _missing(path: Path, kinds: Sequence[int], frame: int, first: int) -> str:
    count = max(kinds, default=0) + 1
    symbols = ["Cu"] if count == 1 else ["Al", "Ni", "Co", "Cr", "Fe"][:count] + ["..."] * (count > 5)
    example = ", ".join(f'"{s}"' if s != "..." else s for s in symbols)
    return (
        f"{path}, line {first}: configuration {frame} has the types {', '.join(map(str, kinds[:10]))} and a .cfg names "
        f'no elements; give them in the order of the types, as in read_cfg("{path.name}", elements=[{example}]), '
        "on the command line --elements"
    )
