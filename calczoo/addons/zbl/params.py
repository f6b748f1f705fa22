"""Parameters of the ZBL add-on: two cutoffs and the nuclear charges of each pair of elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.card import Card
from ...core.elements import SYMBOLS, is_element, number
from ...core.errors import OptionError

Pair = tuple[str, str]

DOI = "10.1007/978-1-4615-8103-1_3"
CITATION = "J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter (Pergamon, 1985)"


def sorted_pair(a: str, b: str) -> Pair:
    """The key of an unordered pair of elements: symbols in alphabetical order."""
    return (a, b) if a <= b else (b, a)


@dataclass(frozen=True)
class ZblParams:
    """What `pair_style zbl inner outer` and its `pair_coeff` lines hold.

    inner, outer: A, the switching polynomial acts between them (0 < inner < outer).
    pairs: {(A, B): (Z_A, Z_B)}; pairs that are not named have no ZBL term. None: every pair, with the elements' own Z.
    elements: what the model knows; None: those of `pairs`, or all elements when `pairs` is None too. Name them where an
    element of a larger model takes part in no ZBL pair.
    files: name -> sha256 of the files this was read from.

    Raises OptionError for cutoffs, symbols or charges out of range.
    """

    inner: float
    outer: float
    pairs: Mapping[Pair, tuple[float, float]] | None = None
    elements: tuple[str, ...] | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_cutoffs(self.inner, self.outer)
        object.__setattr__(self, "inner", float(self.inner))
        object.__setattr__(self, "outer", float(self.outer))
        if self.elements is not None:
            for symbol in self.elements:
                number(symbol)
            object.__setattr__(self, "elements", tuple(self.elements))
        if self.pairs is not None:
            object.__setattr__(self, "pairs", _checked_pairs(self.pairs, self.elements))

    @property
    def known(self) -> tuple[str, ...]:
        """Symbols of the elements that the model accepts."""
        if self.elements is not None:
            return self.elements
        if self.pairs is not None:
            return tuple(dict.fromkeys(symbol for pair in self.pairs for symbol in pair))
        return tuple(symbol for symbol in SYMBOLS if is_element(symbol))

    def charges(self, a: str, b: str) -> tuple[float, float] | None:
        """Nuclear charges of a pair, or None where it has no ZBL term."""
        if self.pairs is None:
            return float(number(a)), float(number(b))
        found = self.pairs.get(sorted_pair(a, b))
        return found if found is None or a <= b else (found[1], found[0])

    def card(self) -> Card:
        """Facts about this term; it is analytic, so its level of theory is that of the universal fit."""
        extra: dict[str, Any] = {"counts": ["nuclear repulsion"]}
        if self.pairs is not None:
            text = (f"{a}-{b} Z = {za:g}, {zb:g}" for (a, b), (za, zb) in self.pairs.items())
            extra["pairs"] = "; ".join(text)
        return Card(
            name=f"zbl({self.inner:g}, {self.outer:g})",
            family="zbl",
            elements=self.known,
            cutoff=self.outer,
            summary="screened nuclear repulsion, switched off smoothly between two radii as LAMMPS does",
            level_of_theory="universal screening function",
            dispersion_included=False,
            citation=CITATION,
            doi=DOI,
            licence="formula",
            files=dict(self.files),
            extra=extra,
        )


def check_cutoffs(inner: object, outer: object) -> None:
    """0 < inner < outer <= 100 A, or OptionError."""
    for name, value in (("inner", inner), ("outer", outer)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise OptionError(f"zbl: {name} is {value!r}; it must be a finite length in A, as in 'zbl(4.0, 4.8)'")
    if not 0.0 < float(inner) < float(outer) <= 100.0:  # type: ignore[arg-type]
        raise OptionError(f"zbl: inner is {inner} and outer {outer}; needed is 0 < inner < outer <= 100 (A)")


def _checked_pairs(pairs: Mapping[Pair, tuple[float, float]], elements: tuple[str, ...] | None):
    out: dict[Pair, tuple[float, float]] = {}
    for (a, b), (za, zb) in pairs.items():
        for symbol in (a, b):
            number(symbol)
            if elements is not None and symbol not in elements:
                raise OptionError(f"zbl: pair {a}-{b} names {symbol}, which is not among {', '.join(elements)}")
        for z in (za, zb):
            if not (math.isfinite(z) and 0.0 < z <= 200.0):
                raise OptionError(f"zbl: nuclear charge {z} of pair {a}-{b} is not between 0 and 200")
        key, value = sorted_pair(a, b), (float(za), float(zb)) if a <= b else (float(zb), float(za))
        if key in out and out[key] != value:
            raise OptionError(f"zbl: pair {a}-{b} is given twice with different charges")
        out[key] = value
    if not out:
        raise OptionError("zbl: no pair of elements has a ZBL term; name at least one")
    return out
