"""Parameters of a Tersoff potential: fourteen numbers for every ordered triple of elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...core.card import Card
from ...core.elements import number
from ...core.errors import OptionError

NAMES = (
    "m",
    "gamma",
    "lambda3",
    "c",
    "d",
    "costheta0",
    "n",
    "beta",
    "lambda2",
    "B",
    "R",
    "D",
    "lambda1",
    "A",
)
"""Order of the numbers of an entry, as in the files."""

TWO_BODY = ("R", "D", "lambda1", "A")
SIGNED = ("lambda3", "costheta0")
MAX_CUTOFF = 100.0

ROUNDING = 1e-3
"""Published files round the two orders of a pair differently (1597.311, 1597.31114); the mean of both is used. A larger
difference is an error."""


@dataclass(frozen=True)
class TersoffParams:
    """A Tersoff potential.

    elements: M symbols. table: (M, M, M, 14), NAMES of the triple (i, j, k): i the centre, j its bond partner, k the
    atom that weakens the bond; the bond i-j itself takes the entry (i, j, j). A, B in eV; lambdas in 1/A; R, D in A.
    name, summary, files: for the card.

    Raises OptionError naming the triple and the value that is out of range.
    """

    elements: tuple[str, ...]
    table: np.ndarray
    name: str = "tersoff"
    summary: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = np.array(self.table, dtype=float)
        table.setflags(write=False)
        object.__setattr__(self, "elements", tuple(self.elements))
        object.__setattr__(self, "table", table)
        m = len(self.elements)
        for symbol in self.elements:
            number(symbol)
        if m == 0 or table.shape != (m, m, m, len(NAMES)):
            raise OptionError(f"tersoff: table has shape {table.shape}; expected {(m, m, m, len(NAMES))} with M >= 1")
        for i, j, k in np.ndindex(m, m, m):
            self._check_triple(i, j, k)
        for i, j in np.ndindex(m, m):
            self._check_pair(i, j)

    def get(self, name: str) -> np.ndarray:
        """(M, M, M): one column of the table."""
        return self.table[..., NAMES.index(name)]

    def pair(self, name: str) -> np.ndarray:
        """(M, M): one number of the bonds, from the entries (i, j, j)."""
        j = np.arange(len(self.elements))
        return self.get(name)[:, j, j]

    @property
    def cutoff(self) -> float:
        """A: the largest R + D."""
        return float((self.get("R") + self.get("D")).max())

    def _check_triple(self, i: int, j: int, k: int) -> None:
        what = "tersoff entry " + " ".join(self.elements[x] for x in (i, j, k))
        values = dict(zip(NAMES, self.table[i, j, k].tolist(), strict=True))
        for name, value in values.items():
            if not math.isfinite(value) or abs(value) > 1e30:
                raise OptionError(f"{what}: {name} is {value}; it must be a finite number")
            if value < 0.0 and name not in SIGNED:
                raise OptionError(f"{what}: {name} is {value:g}; it must not be negative")
        if values["m"] not in (1.0, 3.0):
            raise OptionError(f"{what}: m is {values['m']:g}; it must be 1 or 3")
        if values["d"] < 1e-6:
            raise OptionError(f"{what}: d is {values['d']:g}; it must be at least 1e-6, the angular term divides by it")
        if not 0.0 < values["R"] + values["D"] <= MAX_CUTOFF or values["D"] > values["R"]:
            raise OptionError(
                f"{what}: R is {values['R']:g} and D is {values['D']:g}; needed is 0 <= D <= R and "
                f"0 < R + D <= {MAX_CUTOFF:g}"
            )

    def _check_pair(self, i: int, j: int) -> None:
        a, b = self.elements[i], self.elements[j]
        n = float(self.pair("n")[i, j])
        if self.pair("B")[i, j] > 0.0 and not 0.1 <= n <= 1e3:
            raise OptionError(f"tersoff entry {a} {b} {b}: n is {n:g}; the exponent of a bond must be 0.1 to 1000")
        for name in TWO_BODY:
            one, other = self.pair(name)[i, j], self.pair(name)[j, i]
            if abs(one - other) > ROUNDING * max(one, other):
                raise OptionError(
                    f"tersoff: {name} is {one:g} in entry {a} {b} {b} and {other:g} in {b} {a} {a}; the repulsion "
                    "would depend on the order of the atoms, so both must be equal"
                )

    def card(self) -> Card:
        """Facts about the potential."""
        return Card(
            name=self.name,
            family="tersoff",
            elements=self.elements,
            cutoff=self.cutoff,
            summary=self.summary or "Tersoff bond-order potential",
            level_of_theory="empirical",
            dispersion_included=False,
            citation="J. Tersoff, Phys. Rev. B 39, 5566 (1989)",
            doi="10.1103/PhysRevB.39.5566",
            files=dict(self.files),
            extra={"energies": "per atom as LAMMPS shares them: each directed bond i-j in halves between i and j"},
        )
