"""Parameters of the Ewald add-on: charges of elements, and how exact sums are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ...core.card import Card
from ...core.elements import SYMBOLS, is_element, number
from ...core.errors import OptionError

DOI = "10.1002/andp.19213690304"
CITATION = "P. P. Ewald, Ann. Phys. 369, 253 (1921)"
METHODS = ("auto", "ewald", "mesh", "nvalchemi")  # those of electrostatics/methods.py, without what it imports
MAX_CHARGE = 20.0


@dataclass(frozen=True)
class EwaldParams:
    """charges: element -> e, or None: every atom has its initial charge; elements: what the model knows (None: those
    with charges, or all); accuracy of potentials, relative to 14.4 eV/e; method: one of METHODS.

    Raises OptionError for values out of range.
    """

    charges: Mapping[str, float] | None = None
    elements: tuple[str, ...] | None = None
    accuracy: float = 1e-12
    method: str = "auto"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise OptionError(f"ewald: method is {self.method!r}; allowed are {', '.join(METHODS)}")
        if not _is_number(self.accuracy) or not 1e-14 <= self.accuracy <= 1e-2:
            raise OptionError(f"ewald: accuracy is {self.accuracy!r}; it must be between 1e-14 and 1e-2")
        if self.charges is not None:
            if not self.charges:
                raise OptionError("ewald: name the charge of at least one element, as in 'ewald(Na=1, Cl=-1)'")
            for symbol, charge in self.charges.items():
                number(symbol)
                if not _is_number(charge) or not abs(charge) <= MAX_CHARGE:
                    raise OptionError(f"ewald: the charge of {symbol} is {charge!r}; allowed is -20 to 20 (e)")
        for symbol in self.elements or ():
            number(symbol)
            if self.charges is not None and symbol not in self.charges:
                raise OptionError(
                    f"ewald: no charge for {symbol} (given: {self._text()}); write {symbol}=0 if it has none"
                )

    @property
    def known(self) -> tuple[str, ...]:
        """Symbols of the elements that the model accepts."""
        if self.elements is not None:
            return self.elements
        if self.charges is not None:
            return tuple(self.charges)
        return tuple(symbol for symbol in SYMBOLS if is_element(symbol))

    def _text(self) -> str:
        return ", ".join(f"{symbol}={charge:g}" for symbol, charge in (self.charges or {}).items())

    def card(self) -> Card:
        """Facts about this term. It has no cutoff of its own: the list that it shares with other terms is not used."""
        return Card(
            name=f"ewald({self._text()})",
            family="ewald",
            elements=self.known,
            cutoff=0.0,
            outputs=("energy", "energies", "forces", "stress", "charges", "dipole"),
            summary="Coulomb interaction of fixed point charges at any distance, summed after Ewald where periodic",
            level_of_theory="classical electrostatics",
            dispersion_included=False,
            citation=CITATION,
            doi=DOI,
            licence="formula",
            extra={
                "charges": self._text() or "initial charges of the atoms",
                "range": "infinite",
                "counts": ["electrostatics"],
            },
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
