"""Parameters of a D4 correction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ase.units import Bohr

from ...core.card import Card
from ...core.errors import OptionError
from ...dispersion.params import ELEMENTS, Cutoffs, Damping, check_flags, check_known, check_parameters, is_number

DOI = "10.1063/1.5090222"
CITATION = "E. Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019)"
VARIANTS = ("d4", "d4s")
MAX_CHARGE = 100.0

DAMPING = Damping("bj", ("s8", "a1", "a2"), {"s6": 1.0, "alp": 16.0}, DOI, CITATION, "DampingParam")
OWN = ("s6", "s8", "s9", "a1", "a2", "alp")
CUTOFFS = Cutoffs(60.0 * Bohr, 40.0 * Bohr, 30.0 * Bohr)
"""Those of dftd4: 60 bohr for pairs, 40 for triples, 30 for coordination numbers, all cut."""


@dataclass(frozen=True)
class D4Params:
    """functional: whose parameters are taken, or own: parameters by name; atm: three-body term; variant: "d4", or "d4s"
    with pairwise smooth interpolation between reference systems; force: may be added to a potential that holds
    dispersion; elements: what the model knows (None: all of D4); charge: total charge (e) of every structure, None: its
    own, info["charge"] or the sum of initial charges.

    s9 scales the three-body term: own["s9"], else 1 with atm and 0 without. Raises OptionError, UnsupportedElement.
    """

    functional: str | None = None
    atm: bool = True
    variant: str = "d4"
    own: Mapping[str, float] = field(default_factory=dict)
    cutoffs: Cutoffs = CUTOFFS
    force: bool = False
    elements: tuple[str, ...] | None = None
    charge: float | None = None

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise OptionError(f"d4: variant is {self.variant!r}; allowed are {', '.join(VARIANTS)}")
        check_flags("d4", atm=self.atm, force=self.force)
        if self.charge is not None and not (is_number(self.charge) and abs(self.charge) <= MAX_CHARGE):
            raise OptionError(f"d4: charge is {self.charge!r}; it must be between -{MAX_CHARGE:g} and {MAX_CHARGE:g} e")
        s9 = self.own.get("s9", 0.0)
        if not is_number(s9) or not 0.0 <= s9 <= 10.0:
            raise OptionError(f"d4: s9 is {s9!r}; it must be between 0 and 10")
        if "s9" in self.own and self.functional is not None:
            raise OptionError("d4: s9 belongs to own parameters; with a functional, atm=false drops three bodies")
        others = {k: v for k, v in self.own.items() if k != "s9"}
        check_parameters("d4", self.functional, others, DAMPING, {"bj": DAMPING})
        self.cutoffs.check("d4")
        check_known("d4", self.elements)

    @property
    def values(self) -> dict[str, float]:
        """Own parameters, complete; empty for a functional."""
        if self.functional is not None:
            return {}
        return {"s9": 1.0 if self.atm else 0.0, **DAMPING.defaults, **self.own}

    @property
    def three_body(self) -> bool:
        return self.values.get("s9", float(self.atm)) != 0.0

    def card(self) -> Card:
        """Facts about this term. It shares no list of pairs: its cutoffs are its own."""
        values = ", ".join(f"{k}={v:g}" for k, v in self.values.items())
        without = ", no atm" if self.functional and not self.atm else ""
        without += "" if self.charge is None else f", charge {self.charge:g}"
        extra = {"variant": self.variant, "three-body term": self.three_body, "real-space cutoffs": f"{self.cutoffs} A"}
        return Card(
            name=f"{self.variant}({self.functional or values}{without})",
            family="d4",
            elements=self.elements or ELEMENTS,
            cutoff=0.0,
            outputs=("energy", "energies", "forces", "stress"),
            summary="London dispersion after D4, computed by dftd4 on the CPU; knows the total charge",
            level_of_theory=f"{self.variant.upper()} dispersion for {self.functional or 'own parameters'}",
            dispersion_included=True,
            citation=CITATION,
            doi=DOI,
            licence="LGPL-3.0-or-later (dftd4)",
            extra=extra | ({"forced": True} if self.force else {}),
        )
