"""Parameters of a D3 correction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ase.units import Bohr

from ...core.card import Card
from ...core.errors import OptionError
from ...dispersion.params import ELEMENTS, Cutoffs, Damping, check_flags, check_known, check_parameters, is_number

DOI = "10.1063/1.3382344"
CITATION = "S. Grimme, J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 132, 154104 (2010)"
SOFTWARE = "dftd3 (s-dftd3): S. Ehlert, J. Open Source Softw. 9, 7169 (2024), doi:10.21105/joss.07169"
ENGINES = ("auto", "dftd3", "nvalchemi")
LAST = {"nvalchemi": 94}
"""The last element, where it is not that of D3 itself: the tables that are published for it end at plutonium."""

_SMITH = "10.1021/acs.jpclett.6b00780", "D. G. A. Smith et al., J. Phys. Chem. Lett. 7, 2197 (2016)"
DAMPINGS = {
    "bj": Damping(
        "bj", ("s8", "a1", "a2"), {"s6": 1.0, "alp": 14.0}, "10.1002/jcc.21759",
        "S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456 (2011)", "RationalDampingParam",
    ),
    "zero": Damping(
        "zero", ("s8", "rs6"), {"s6": 1.0, "rs8": 1.0, "alp": 14.0}, "", "", "ZeroDampingParam",
    ),
    "bjm": Damping(
        "bjm", ("s8", "a1", "a2"), {"s6": 1.0, "alp": 14.0}, *_SMITH, "ModifiedRationalDampingParam",
    ),
    "zerom": Damping(
        "zerom", ("s8", "rs6", "bet"), {"s6": 1.0, "rs8": 1.0, "alp": 14.0}, *_SMITH, "ModifiedZeroDampingParam",
    ),
    "op": Damping(
        "op", ("s8", "a1", "a2", "bet"), {"s6": 1.0, "alp": 14.0}, "10.1021/acs.jctc.7b00176",
        "J. Witte et al., J. Chem. Theory Comput. 13, 2043 (2017)", "OptimizedPowerDampingParam",
    ),
}  # fmt: skip
"""Forms of damping with the names that s-dftd3 gives them; defaults are those of dftd3."""

OWN = ("s6", "s8", "s9", "a1", "a2", "rs6", "rs8", "alp", "bet")
CUTOFFS = Cutoffs(60.0 * Bohr, 40.0 * Bohr, 40.0 * Bohr)
"""Those of s-dftd3: 60 bohr for pairs, 40 for triples and coordination numbers, all cut."""


@dataclass(frozen=True)
class D3Params:
    """functional: whose parameters are taken, or own: parameters by name; damping: a key of DAMPINGS; atm: three-body
    term; force: may be added to a potential that holds dispersion; elements: what the model knows (None: all of D3);
    engine: which package computes, auto until that is decided; tables: file of reference C6 for nvalchemi (tables.py).

    s9 scales the three-body term: own["s9"], else 1 with atm and 0 without. Raises OptionError, UnsupportedElement.
    """

    functional: str | None = None
    damping: str = "bj"
    atm: bool = False
    own: Mapping[str, float] = field(default_factory=dict)
    cutoffs: Cutoffs = CUTOFFS
    force: bool = False
    elements: tuple[str, ...] | None = None
    engine: str = "auto"
    tables: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise OptionError(f"d3: engine is {self.engine!r}; allowed are {', '.join(ENGINES)}")
        if self.tables is not None and not isinstance(self.tables, str):
            raise OptionError(f"d3: tables is {self.tables!r}; it must be the name of a file")
        if self.damping not in DAMPINGS:
            raise OptionError(f"d3: damping is {self.damping!r}; allowed are {', '.join(DAMPINGS)}")
        check_flags("d3", atm=self.atm, force=self.force)
        scales = {k: v for k, v in self.own.items() if k == "s9"}
        if scales and (not is_number(scales["s9"]) or not 0.0 <= scales["s9"] <= 10.0):
            raise OptionError(f"d3: s9 is {scales['s9']!r}; it must be between 0 and 10")
        if scales and self.functional is not None:
            raise OptionError("d3: s9 belongs to own parameters; with a functional, atm=true adds the three-body term")
        others = {k: v for k, v in self.own.items() if k != "s9"}
        check_parameters("d3", self.functional, others, DAMPINGS[self.damping], DAMPINGS)
        self.cutoffs.check("d3")
        check_known("d3", self.elements, self.known)
        if self.engine == "nvalchemi" and (reason := self.unfit()):
            raise OptionError(f"d3: engine=nvalchemi {reason}; use engine=dftd3")

    def unfit(self) -> str:
        """Why nvalchemi-toolkit-ops cannot compute this, or nothing."""
        if self.damping != "bj":
            return f"has bj damping only, not {self.damping}"
        return "has no three-body term" if self.three_body else ""

    @property
    def known(self) -> tuple[str, ...]:
        """All elements that the engine has reference systems of."""
        return ELEMENTS[: LAST[self.engine]] if self.engine in LAST else ELEMENTS

    @property
    def values(self) -> dict[str, float]:
        """Own parameters, complete; empty for a functional."""
        if self.functional is not None:
            return {}
        return {"s9": 1.0 if self.atm else 0.0, **DAMPINGS[self.damping].defaults, **self.own}

    @property
    def three_body(self) -> bool:
        return self.values.get("s9", float(self.atm)) != 0.0

    def card(self) -> Card:
        """Facts about this term. It shares no list of pairs: its cutoffs are its own."""
        form, gpu = DAMPINGS[self.damping], self.engine == "nvalchemi"
        values = ", ".join(f"{k}={v:g}" for k, v in self.values.items())
        what = self.functional or values
        extra = {"damping": self.damping, "three-body term": self.three_body, "real-space cutoffs": f"{self.cutoffs} A"}
        extra |= {"engine": "nvalchemi-toolkit-ops, in single precision" if gpu else "dftd3, on the CPU"}
        return Card(
            name=f"d3({what}, {self.damping}{', atm' if self.functional and self.atm else ''})",
            family="d3",
            elements=self.elements or self.known,
            cutoff=0.0,
            outputs=("energy", "forces", "stress") if gpu else ("energy", "energies", "forces", "stress"),
            summary=f"London dispersion after D3, computed by {'nvalchemi-toolkit-ops' if gpu else 'dftd3 on the CPU'}",
            level_of_theory=f"D3 dispersion ({self.damping} damping) for {self.functional or 'own parameters'}",
            dispersion_included=True,
            citation="; ".join(filter(None, (CITATION, form.citation, "" if gpu else SOFTWARE))),
            doi="; ".join(filter(None, (DOI, form.doi))),
            licence="Apache-2.0 (nvalchemi-toolkit-ops)" if gpu else "LGPL-3.0-or-later (dftd3)",
            extra=extra | ({"forced": True} if self.force else {}),
        )
