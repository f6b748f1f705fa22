"""Parameters of tabulated pair potentials (LAMMPS `pair_style table`): the values as read from the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...core.card import Card
from ...core.elements import number
from ...core.errors import OptionError

Pair = tuple[str, str]

STYLES = ("linear", "lookup", "spline")
GRIDS = ("file", "r", "rsq")
MAX_POINTS = 10_000_000
MAX_VALUE = 1e30
MAX_RADIUS = 100.0
MIN_STEP = 1e-12
"""Radii (A) closer than this, or values larger than MAX_VALUE (eV), cannot be joined by a spline in float64."""


def sorted_pair(a: str, b: str) -> Pair:
    """The key of an unordered pair of elements: symbols in alphabetical order."""
    return (a, b) if a <= b else (b, a)


@dataclass(frozen=True)
class TableEntry:
    """One section of a table file.

    keyword: its name. r (M,) A ascending, energy (M,) eV, force (M,) eV/A = -dE/dr, all as in the file.
    grid: "file" (the r column counts), "r" or "rsq" (M points evenly spaced in r or r^2 from r_lo to r_hi, as the
    file's R or RSQ says; the r column only has to agree). end_slopes: dF/dr at both ends (FPRIME), or None.
    cutoff: A; None means the end of the table. files: name -> sha256.

    Raises OptionError for arrays that are no table and for a cutoff outside of it.
    """

    keyword: str
    r: np.ndarray
    energy: np.ndarray
    force: np.ndarray
    grid: str = "file"
    r_lo: float | None = None
    r_hi: float | None = None
    end_slopes: tuple[float, float] | None = None
    cutoff: float | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("r", "energy", "force"):
            array = np.array(getattr(self, name), dtype=float)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        what = f"table '{self.keyword}'"
        if not (self.r.ndim == 1 and self.r.shape == self.energy.shape == self.force.shape and len(self.r) >= 2):
            raise OptionError(f"{what}: r, energy and force must be three lists of one length of at least 2")
        if not all(np.isfinite(a).all() for a in (self.r, self.energy, self.force)):
            raise OptionError(f"{what}: every value must be a finite number")
        if max(np.abs(a).max() for a in (self.r, self.energy, self.force)) > MAX_VALUE:
            raise OptionError(f"{what}: every value must be at most {MAX_VALUE:g}")
        if self.grid not in GRIDS:
            raise OptionError(f"{what}: grid is {self.grid!r}; allowed are {', '.join(GRIDS)}")
        if self.grid != "file" and (self.r_lo is None or self.r_hi is None or not self.r_lo < self.r_hi):
            raise OptionError(f"{what}: an even grid needs r_lo < r_hi, not {self.r_lo} and {self.r_hi}")
        if self.end_slopes is not None and not all(abs(s) <= MAX_VALUE for s in self.end_slopes):
            raise OptionError(f"{what}: slopes of the force at the ends are {self.end_slopes}; they must be finite")
        low, high = self.inner, float(self.radii()[-1] if self.grid == "file" else self.r_hi)
        if not (low >= MIN_STEP and (np.diff(self.radii()) >= MIN_STEP).all() and high <= MAX_RADIUS):
            raise OptionError(f"{what}: radii must be positive, at most {MAX_RADIUS:g} A, and ascend strictly")
        if not low < self.outer <= high:
            raise OptionError(f"{what}: cutoff {self.outer:g} A is outside of the table ({low:g} to {high:g} A)")

    def radii(self) -> np.ndarray:
        """(M,) A: where the values stand: the file's column, or the even grid that its header names."""
        if self.grid == "file":
            return self.r
        lo, hi, n = float(self.r_lo), float(self.r_hi), len(self.r)  # type: ignore[arg-type]
        steps = np.arange(n)
        if self.grid == "r":
            return lo + (hi - lo) * steps / (n - 1)
        return np.sqrt(lo * lo + (hi * hi - lo * lo) * steps / (n - 1))

    @property
    def inner(self) -> float:
        """A: distances below it are not defined."""
        return float(self.r[0]) if self.grid == "file" else float(self.r_lo)  # type: ignore[arg-type]

    @property
    def outer(self) -> float:
        """A: the cutoff in use."""
        if self.cutoff is not None:
            return float(self.cutoff)
        return float(self.r[-1]) if self.grid == "file" else float(self.r_hi)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TableParams:
    """Tables of pairs of elements and how they are interpolated.

    entries: {(A, B): TableEntry}; other pairs have no term. style: "linear", "lookup" or "spline" over n points evenly
    spaced in r^2. elements: what the model knows; None: those of `entries`.

    Raises OptionError for an unknown style (bitmap tables among them) or n out of range.
    """

    entries: Mapping[Pair, TableEntry]
    style: str = "spline"
    n: int = 10000
    elements: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.style == "bitmap":
            raise OptionError(
                "table: style 'bitmap' indexes by the bits of a float32 and is not supported; "
                "re-tabulate with 'linear' or 'spline' (allowed: linear, lookup, spline)"
            )
        if self.style not in STYLES:
            raise OptionError(f"table: style is {self.style!r}; allowed are {', '.join(STYLES)}")
        if isinstance(self.n, bool) or int(self.n) != self.n or not 2 <= self.n <= MAX_POINTS:
            raise OptionError(f"table: n is {self.n!r}; it must be a whole number from 2 to {MAX_POINTS}")
        object.__setattr__(self, "n", int(self.n))
        if not self.entries:
            raise OptionError("table: no pair of elements has a table; name at least one")
        entries: dict[Pair, TableEntry] = {}
        for (a, b), entry in self.entries.items():
            for symbol in (a, b):
                number(symbol)
                if self.elements is not None and symbol not in self.elements:
                    raise OptionError(
                        f"table: pair {a}-{b} names {symbol}, which is not among {', '.join(self.elements)}"
                    )
            if sorted_pair(a, b) in entries:
                raise OptionError(f"table: pair {a}-{b} is given twice")
            entries[sorted_pair(a, b)] = entry
        object.__setattr__(self, "entries", entries)
        if self.elements is not None:
            object.__setattr__(self, "elements", tuple(self.elements))

    @property
    def known(self) -> tuple[str, ...]:
        """Symbols of the elements that the model accepts."""
        if self.elements is not None:
            return self.elements
        return tuple(dict.fromkeys(symbol for pair in self.entries for symbol in pair))

    @property
    def cutoff(self) -> float:
        """A: the largest of all tables."""
        return max(entry.outer for entry in self.entries.values())

    def card(self) -> Card:
        """Facts about the tables; says that forces are interpolated on their own."""
        rows = (f"{a}-{b}: {e.keyword}, {len(e.r)} points, {e.outer:g} A" for (a, b), e in self.entries.items())
        return Card(
            name="table:" + "+".join(dict.fromkeys(e.keyword for e in self.entries.values())),
            family="table",
            elements=self.known,
            cutoff=self.cutoff,
            summary=f"tabulated pair potential, {self.style} interpolation over {self.n} points in r^2 as LAMMPS does",
            files={name: digest for e in self.entries.values() for name, digest in e.files.items()},
            extra={
                "tables": "; ".join(rows),
                "forces": "energy and force are interpolated separately, as in LAMMPS: forces are those of the file "
                "and not exact gradients of the energy",
            },
        )
