"""What a dispersion correction is asked for: a functional or own parameters of the damping, and cutoffs.

Lengths are in A; parameters of the damping in the units of the papers (a2 in bohr, the others are numbers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ase.units import Bohr

from ..core.elements import SYMBOLS, number
from ..core.errors import OptionError, UnsupportedElement
from ..family import ModelRequest

LAST = 103
"""Both corrections have reference systems from hydrogen to lawrencium. dftd3 gives zero beyond, or crashes."""

ELEMENTS = SYMBOLS[1 : LAST + 1]

MAX_CUTOFF = 200.0


@dataclass(frozen=True)
class Cutoffs:
    """A. disp2, disp3: pairs and triples of atoms that attract each other; cn: neighbours that coordination numbers
    count; width2, width3: range below disp2 and disp3 over which the interaction is switched off smoothly (0: cut)."""

    disp2: float
    disp3: float
    cn: float
    width2: float = 0.0
    width3: float = 0.0

    def check(self, family: str) -> None:
        """Raise OptionError for a value out of range."""
        for name, value in vars(self).items():
            width = name.startswith("width")
            if not is_number(value) or not (0.0 if width else 1.0) <= value <= MAX_CUTOFF:
                low = "0" if width else "1"
                raise OptionError(f"{family}: {name} is {value!r}; it must be between {low} and {MAX_CUTOFF:g} A")
        for cut, width in (("disp2", "width2"), ("disp3", "width3")):
            if getattr(self, width) > getattr(self, cut):
                raise OptionError(f"{family}: {width} is larger than {cut}")

    @property
    def largest(self) -> float:
        return max(self.disp2, self.disp3, self.cn)

    def bohr(self) -> dict[str, float]:
        return {name: value / Bohr for name, value in vars(self).items()}

    def __str__(self) -> str:
        return ", ".join(f"{k}={v:.6g}" for k, v in vars(self).items() if v)


CUTOFF_OPTIONS = {
    "disp2": "A, cutoff of pairs (default 60 bohr)",
    "disp3": "A, cutoff of triples (default 40 bohr)",
    "cn": "A, cutoff of coordination numbers",
    "width2": "A, smooth end of pairs below disp2 (default 0: cut)",
    "width3": "A, smooth end of triples below disp3 (default 0: cut)",
}


@dataclass(frozen=True)
class Damping:
    """One form of damping: parameters it needs, those with a default, its paper."""

    label: str
    needed: tuple[str, ...]
    defaults: Mapping[str, float]
    doi: str
    citation: str
    cls: str = ""  # name of its class in the package's interface


@dataclass(frozen=True)
class Request:
    """A request taken apart: functional and own parameters, cutoffs, what is left of the options."""

    functional: str | None
    own: dict[str, float] = field(default_factory=dict)
    cutoffs: dict[str, float] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)


def take_apart(request: ModelRequest, own: tuple[str, ...], rest: tuple[str, ...]) -> Request:
    """`own` and `rest`: names of parameters of the damping and of further options. Raises OptionError."""
    name = request.family
    request.check_options(["functional", *own, *CUTOFF_OPTIONS, *rest])
    if request.model is not None:
        raise OptionError(f"{name}: the functional is an argument; write '{name}({request.model})'")
    given = [*request.args, *([request.options["functional"]] if "functional" in request.options else [])]
    if len(given) > 1:
        raise OptionError(f"{name}: takes one functional, not {', '.join(map(str, given))}")
    if given and not (isinstance(given[0], str) and given[0].strip()):
        raise OptionError(f"{name}: the functional is {given[0]!r}; write its name, as in '{name}(pbe)'")

    def chosen(names: Any) -> dict[str, Any]:
        return {k: v for k, v in request.options.items() if k in names}

    return Request(given[0].strip() if given else None, chosen(own), chosen(CUTOFF_OPTIONS), chosen(rest))


def check_flags(family: str, **flags: Any) -> None:
    """Raise OptionError for an option that is not true or false."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise OptionError(f"{family}: {name} is {value!r}; it must be true or false")


def check_parameters(
    family: str, functional: str | None, own: Mapping[str, float], damping: Damping, choices: Mapping[str, Damping]
) -> None:
    """Either a functional, or all needed parameters of this damping and no others. Raises OptionError."""
    if functional is not None:
        if own:
            raise OptionError(
                f"{family}: '{functional}' has its own {', '.join(damping.needed)}; give either the functional or "
                f"all parameters, not both (given: {', '.join(own)}; atm=true or false switches the three-body term)"
            )
        return
    known = (*damping.needed, *damping.defaults)
    if not own:
        raise OptionError(
            f"{family}: name a functional, as in '{family}(pbe)', or give {', '.join(damping.needed)} "
            f"(and, if wanted, {', '.join(damping.defaults)})"
        )
    if strange := [name for name in own if name not in known]:
        where = [label for label, d in choices.items() if strange[0] in (*d.needed, *d.defaults)]
        hint = f"; it belongs to {', '.join(where)}" if where else ""
        raise OptionError(
            f"{family}: {damping.label} damping has no parameter '{strange[0]}' (it has: {', '.join(known)}){hint}"
        )
    if missing := [name for name in damping.needed if name not in own]:
        raise OptionError(f"{family}: {damping.label} damping needs {', '.join(missing)} as well")
    for name, value in own.items():
        if not is_number(value) or abs(value) > 1000.0:
            raise OptionError(f"{family}: {name} is {value!r}; it must be a number between -1000 and 1000")


def check_known(family: str, elements: tuple[str, ...] | None, known: tuple[str, ...] = ELEMENTS) -> None:
    """Raise UnsupportedElement for chosen elements without reference systems."""
    for k, symbol in enumerate(elements or ()):
        if number(symbol) > len(known):
            raise UnsupportedElement(symbol, k, family, known)


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
