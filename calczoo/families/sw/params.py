"""Parameters of a Stillinger-Weber potential: eleven numbers for every ordered triple of elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...core.card import Card
from ...core.elements import number
from ...core.errors import OptionError

NAMES = ("epsilon", "sigma", "a", "lambda", "gamma", "costheta0", "A", "B", "p", "q", "tol")
"""Order of the numbers of an entry, as in the files."""

TWO_BODY = ("epsilon", "sigma", "a", "A", "B", "p", "q")
MAX_CUTOFF = 100.0
MAX_TOL = 0.01
MAX_POWER = 100.0

ROUNDING = 1e-3
"""Published files round the two orders of a pair or triplet differently; the mean of both is used. A larger relative
difference is an error."""


@dataclass(frozen=True)
class SwParams:
    """A Stillinger-Weber potential.

    elements: M symbols. table: (M, M, M, 11), NAMES of the triple (i, j, k), i the centre; the pair i-j takes the entry
    (i, j, j). epsilon in eV, sigma in A, the rest without unit. name, files: for the card.

    Raises OptionError naming the triple and the value that is out of range.
    """

    elements: tuple[str, ...]
    table: np.ndarray
    name: str = "sw"
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
            raise OptionError(f"sw: table has shape {table.shape}; expected {(m, m, m, len(NAMES))} with M >= 1")
        for i, j, k in np.ndindex(m, m, m):
            self._check_triple(i, j, k)
        for i, j, k in np.ndindex(m, m, m):
            self._check_order(i, j, k)
        for i, j in np.ndindex(m, m):
            self._check_pair(i, j)
        if self.cutoff <= 0.0:
            raise OptionError("sw: every pair has cutoff 0: there is nothing to compute")

    def get(self, name: str) -> np.ndarray:
        """(M, M, M): one column of the table."""
        return self.table[..., NAMES.index(name)]

    def pair(self, name: str) -> np.ndarray:
        """(M, M): one number of the pairs, from the entries (i, j, j)."""
        j = np.arange(len(self.elements))
        return self.get(name)[:, j, j]

    def reaches(self) -> np.ndarray:
        """(M, M) A: cutoffs of the pairs, a sigma, drawn in where tol asks for it: terms beyond are below about tol.

        As in LAMMPS: a sigma + min(gamma, 1) sigma / ln(min(tol, 0.01)).
        """
        tol = np.minimum(self.pair("tol"), MAX_TOL)
        shorter = np.minimum(self.pair("gamma"), 1.0) * self.pair("sigma") / np.log(np.where(tol > 0, tol, 0.5))
        return self.pair("sigma") * self.pair("a") + np.where(tol > 0, shorter, 0.0)

    @property
    def cutoff(self) -> float:
        """A: the largest of all pairs."""
        return float(self.reaches().max())

    def _check_triple(self, i: int, j: int, k: int) -> None:
        what = " ".join(self.elements[x] for x in (i, j, k))
        for name, value in zip(NAMES, self.table[i, j, k].tolist(), strict=True):
            if not math.isfinite(value) or abs(value) > 1e30:
                raise OptionError(f"sw entry {what}: {name} is {value}; it must be a finite number")
            if value < 0.0 and name != "costheta0":
                raise OptionError(f"sw entry {what}: {name} is {value:g}; it must not be negative")
            if value > MAX_POWER and name in ("sigma", "p", "q"):
                raise OptionError(f"sw entry {what}: {name} is {value:g}; it must be at most {MAX_POWER:g}")

    def _check_order(self, i: int, j: int, k: int) -> None:
        """A triplet has one energy, whichever of its outer atoms is named first."""
        a, b, c = (self.elements[x] for x in (i, j, k))
        strength, angle = self.get("lambda") * self.get("epsilon"), self.get("costheta0")
        one, other = strength[i, j, k], strength[i, k, j]
        if abs(one - other) > ROUNDING * max(one, other) or abs(angle[i, j, k] - angle[i, k, j]) > ROUNDING:
            raise OptionError(
                f"sw: lambda epsilon = {one:g}, costheta0 = {angle[i, j, k]:g} in entry {a} {b} {c}, but {other:g}, "
                f"{angle[i, k, j]:g} in {a} {c} {b}; the energy of a triplet would depend on the order of the atoms"
            )

    def _check_pair(self, i: int, j: int) -> None:
        a, b = self.elements[i], self.elements[j]
        reach = float(self.reaches()[i, j])
        if not 0.0 <= reach <= MAX_CUTOFF:
            raise OptionError(f"sw entry {a} {b} {b}: cutoff {reach:g} A; it must be between 0 and {MAX_CUTOFF:g} A")
        for name in (*TWO_BODY, "cutoff with tol"):
            value = self.pair(name) if name in NAMES else self.reaches()
            one, other = value[i, j], value[j, i]
            if abs(one - other) > ROUNDING * max(one, other):
                raise OptionError(
                    f"sw: {name} is {one:g} in entry {a} {b} {b} and {other:g} in {b} {a} {a}; the pair energy would "
                    "depend on the order of the atoms, so both must be equal"
                )

    def card(self) -> Card:
        """Facts about the potential."""
        return Card(
            name=self.name,
            family="sw",
            elements=self.elements,
            cutoff=self.cutoff,
            summary=self.summary or "Stillinger-Weber potential",
            level_of_theory="empirical",
            dispersion_included=False,
            citation="F. H. Stillinger, T. A. Weber, Phys. Rev. B 31, 5262 (1985)",
            doi="10.1103/PhysRevB.31.5262",
            files=dict(self.files),
            extra={"energies": "per atom as LAMMPS shares them: a pair in halves, a triplet in thirds"},
        )
