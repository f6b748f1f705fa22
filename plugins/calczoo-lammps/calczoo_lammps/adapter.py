"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calczoo import Card, ModelRequest
from calczoo.core.elements import parse_elements
from calczoo.core.errors import OptionError
from calczoo.core.threads import thread_count
from calczoo.foreign import AseModel, Make

from . import FAMILY
from .commands import EXPECTED, Script, elements_of, further, given_script, lines_of, read_include, style_name

UNITS = ("metal", "real")
SUFFIXES = ("", "opt", "omp")
LICENCE = "of the potential: see its file; LAMMPS itself is GPL-2.0"
CHARGED = ("coul", "qeq", "reax", "comb", "tip4p")
"""In the names of styles with electrostatics."""


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, and the options of worker.make."""

    card: Card
    options: dict[str, Any]
    charged: bool
    long_ranged: bool


def read(request: ModelRequest) -> Params:
    """An include file as model, or pair_style and pair_coeff as options.

    Raises OptionError, PotentialFileError. What LAMMPS itself refuses is told at the first evaluation.
    """
    request.check_options(FAMILY.options)
    if request.args or isinstance(request.model, tuple):
        raise OptionError(f"lammps takes {EXPECTED}, or pair_style='...' and pair_coeff=['...']")
    script = _script(request)
    options = request.options
    units = str(options.get("units", script.units or "metal"))
    if units not in UNITS:
        raise OptionError(f"units are {units!r}; allowed are {' and '.join(UNITS)}")
    if script.units not in (None, units):
        raise OptionError(f"units={units!r}, but the include file says units {script.units}")
    elements = _elements(request, script)
    charges = parse_charges(options.get("charges"))
    if unknown := sorted(set(charges) - set(elements)):
        raise OptionError(f"charges name {', '.join(unknown)}, which is not among the elements ({' '.join(elements)})")
    worker = {
        "script": list(script.lines), "elements": list(elements), "units": units, "charges": charges,
        "atom_style": _word("atom_style", options.get("atom_style", "charge")), "suffix": _suffix(options),
        "folder": str(script.folder or ""), "threads": thread_count(request.threads),
    }  # fmt: skip
    words = " ".join(script.lines)
    charged = bool(charges) or any(w in words for w in (*CHARGED, "kspace_style"))
    return Params(_card(request, script, elements, units), worker, charged, "kspace_style" in words)


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; LAMMPS is loaded at its first use."""
    make = Make("calczoo_lammps.worker", None, request.device, request.dtype, params.options)
    outputs = ["energy", "energies", "forces", "virial", *(["charges"] if params.charged else [])]
    model = AseModel(params.card, None, make, outputs, dtype=request.dtype, device=request.device)
    if params.long_ranged:
        model.on_request = frozenset({"energies"})  # some solvers have none, the others work twice for them
    return model


def _script(request: ModelRequest) -> Script:
    options = request.options
    if request.model is None:
        if options.get("pair_style") is None:
            raise OptionError(f"lammps needs {EXPECTED}, or pair_style='...' and pair_coeff=['...']")
        return given_script(options["pair_style"], options.get("pair_coeff"), options.get("commands"))
    if given := [k for k in ("pair_style", "pair_coeff") if options.get(k) is not None]:
        raise OptionError(f"give either an include file or {given[0]}, not both ({request.model})")
    script = read_include(request.model)
    more = further(lines_of("commands", options.get("commands")))
    return replace(script, lines=script.lines + more.lines, files=script.files + more.files)


def _elements(request: ModelRequest, script: Script) -> tuple[str, ...]:
    """The element of every type: as asked, which must fit what the commands tell."""
    told = elements_of(script.lines)
    asked = request.elements
    if asked is None and told is None:
        raise OptionError(
            "the commands do not tell the elements of LAMMPS' types; give them in the order of the types, as in "
            "elements=['Cu', 'Ni']"
        )
    if asked is not None and told is not None and tuple(asked) != told:
        raise OptionError(f"elements are {' '.join(asked)}, but the types of the commands are {' '.join(told)}")
    return tuple(parse_elements(asked if asked is not None else told) or ())


def _card(request: ModelRequest, script: Script, elements: tuple[str, ...], units: str) -> Card:
    style = style_name(script.lines)
    first = script.files[0].name if script.files else ""
    held = held_by(script.lines)
    return Card(
        name=f"lammps:{first}" if request.model is not None else f"lammps:{style}{f'[{first}]' if first else ''}",
        family=FAMILY.name,
        elements=elements,
        cutoff=0.0,
        outputs=FAMILY.outputs[:4],
        summary=f"pair style {style} of the installed LAMMPS",
        citation=FAMILY.citation,
        doi=FAMILY.doi,
        licence=LICENCE,
        dispersion_included=True if "dispersion" in held else None,
        files=script.checksums(),
        extra={
            "cutoff of LAMMPS": "as its pair style has it",
            "LAMMPS units": f"{units}, converted",
            "commands": "; ".join(script.lines),
            **({"counts": held} if held else {}),
        },
    )


def held_by(lines: Sequence[str]) -> list[str]:
    """What the styles hold that a sum must not have twice."""
    words = [w for line in lines if line.split()[0] in ("pair_style", "fix") for w in line.split()[1:]]
    found = {
        "dispersion": any("dispersion/d3" in w for w in words),
        "electrostatics": any(name in w for name in CHARGED for w in words),
        "nuclear repulsion": any(w.split("/")[-1] == "zbl" for w in words),
    }
    return [kind for kind, there in found.items() if there]


def parse_charges(value: Any) -> dict[str, float]:
    """{'Na': 1.0} or 'Na=1 Cl=-1'. Raises OptionError."""
    if value is None:
        return {}
    pairs: Any = value
    if isinstance(value, str):
        words = [w.partition("=") for w in re.split(r"[\s,;]+", value.strip())]
        pairs = {symbol: charge for symbol, _, charge in words}
    try:
        charges = {str(k): float(v) for k, v in dict(pairs).items()}
        parse_elements(list(charges))
    except (TypeError, ValueError) as error:
        raise OptionError(f"charges are {value!r}; write {{'Na': 1, 'Cl': -1}}, or 'Na=1 Cl=-1' in a spec") from error
    if not isinstance(value, (str, Mapping)) or not all(map(math.isfinite, charges.values())):
        raise OptionError(f"charges are {value!r}; every charge must be a finite number (e)")
    return charges


def _suffix(options: Mapping[str, Any]) -> str:
    suffix = str(options.get("suffix") or "")
    if suffix not in SUFFIXES:
        raise OptionError(f"suffix is {suffix!r}; allowed are opt and omp")
    return suffix


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w/]+", value):
        raise OptionError(f"{name} is {value!r}; write one word")
    return value
