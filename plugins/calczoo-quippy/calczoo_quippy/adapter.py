"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from calczoo import Card, ModelRequest
from calczoo.core.errors import OptionError
from calczoo.foreign import AseModel, Make

from . import FAMILY
from .xmlfile import EXPECTED, Facts, read_facts

LICENCE = (
    "of the potential: see its authors; QUIP is GPL-2.0, its GAP code is under the Academic Software License "
    "(non-commercial research)"
)


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, the file, and the options of worker.make."""

    card: Card
    model: str
    options: dict[str, Any]
    gap: bool


def read(request: ModelRequest) -> Params:
    """`quippy:gap.xml`. Raises OptionError, PotentialFileError."""
    request.check_options(FAMILY.options)
    if request.args or request.model is None or isinstance(request.model, tuple):
        raise OptionError(f"quippy takes {EXPECTED}: 'quippy:gap.xml'")
    facts = read_facts(request.model)
    options = {key: _text(key, request.options.get(key, "")) for key in ("init_args", "calc_args")}
    variance = request.options.get("variance")
    if variance is not None:
        good = isinstance(variance, (int, float)) and not isinstance(variance, bool)
        if not (good and math.isfinite(variance) and variance > 0.0):
            raise OptionError(f"variance is {variance!r}; it must be a positive number")
    gap = "GAP" in facts.kinds
    return Params(_card(facts, request), str(facts.path), {**options, "variance": variance}, gap)


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; QUIP is loaded at its first use."""
    make = Make("calczoo_quippy.worker", params.model, request.device, request.dtype, params.options)
    outputs = ["energy", "energies", "forces", "virial", *(["local_gap_variance"] if params.gap else [])]
    model = AseModel(params.card, None, make, outputs, dtype=request.dtype, device=request.device)
    model.on_request = frozenset({"local_gap_variance"})
    return model


def _card(facts: Facts, request: ModelRequest) -> Card:
    elements = request.elements or facts.elements
    if not elements:
        raise OptionError(f"{facts.path.name} does not tell its elements; name them: elements=['Si']")
    if facts.elements and (missing := [e for e in elements if e not in facts.elements]):
        raise OptionError(f"{facts.path.name} has no {', '.join(missing)} (its elements: {', '.join(facts.elements)})")
    kinds = ", ".join(facts.kinds)
    extra = {"kind": kinds, "gap_version": facts.version, "code": "QUIP, in double precision"}
    return Card(
        name=f"quippy:{facts.path.name}",
        family=FAMILY.name,
        elements=tuple(elements),
        cutoff=facts.cutoff,
        outputs=FAMILY.outputs if "GAP" in facts.kinds else FAMILY.outputs[:4],
        summary=f"{kinds} by QUIP's own code",
        citation=FAMILY.citation,
        doi=FAMILY.doi,
        licence=LICENCE,
        files=facts.files,
        extra={k: v for k, v in extra.items() if v},
    )


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise OptionError(f"{name} is {value!r}; write a text in QUIP's form, as in 'IP GAP'")
    return value
