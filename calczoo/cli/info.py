"""`calczoo info`: a family, or the card of a model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .common import OK, Elements, Json, ModelFile, Option, Spec, emit, parse_options


def command(
    spec: Spec, model: ModelFile = None, elements: Elements = None, option: Option = None, json: Json = False
) -> int:
    """Describe a family (calczoo info snap) or a model (calczoo info snap:Mo, calczoo info eam:Cu.eam.alloy)."""
    from calczoo import describe, registry
    from calczoo import spec as grammar

    terms = grammar.parse_spec(spec, registry.family_of_file)
    if len(terms) == 1 and not (terms[0].model or terms[0].args or terms[0].options or model):
        family = registry.get_family(terms[0].family)
        data: dict[str, Any] = {"family": _family(family)}
        emit(data, json, lambda: _print(data["family"]))
        return OK
    files: Any = None if not model else model[0] if len(model) == 1 else model
    card = describe(spec, files, elements, **parse_options(option))
    emit({"card": card.to_dict()}, json, lambda: print(card))
    return OK


_CODE = ("read", "build", "read_frames", "write_frames", "data_begin")
"""Fields of a Family that name code, and say nothing to a user."""


def _family(family: Any) -> dict[str, Any]:
    return {k: v for k, v in asdict(family).items() if k not in _CODE}


def _print(facts: dict[str, Any]) -> None:
    for key, value in facts.items():
        if key == "bundled_elements" and len(value) > 1 and len({*map(tuple, value.values())}) == 1:
            value = f"each: {' '.join(next(iter(value.values())))}"
        elif isinstance(value, dict):
            value = "".join(f"\n{'':18}{k}: {v if isinstance(v, str) else ' '.join(v)}" for k, v in value.items())
        elif isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value)) if len(value) < 90 else "all elements"
        if value:
            print(f"{key.replace('_', ' '):>16}  {value.lstrip()}")
