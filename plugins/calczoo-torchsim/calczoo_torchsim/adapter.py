"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols
from calczoo import Card, ModelRequest
from calczoo.core.errors import OptionError, UnknownCalculator
from calczoo.foreign import AseModel, Make, guarded

from . import FAMILY
from .models import BUNDLED, TORCH_SIM, PairPotential, find

LICENCE = f"MIT (torch-sim-atomistic {TORCH_SIM})"
_DOTTED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_NAME_THEM = "name them: elements=['Si', 'O'], on the command line -e Si,O"
_OWN = ("batch_atoms", "reach", "stress")
"""Options that are not arguments of a factory."""


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, the model's name or the model itself, what the worker is told, and the outputs."""

    card: Card
    model: Any
    options: dict[str, Any]
    outputs: tuple[str, ...] = ("energy", "forces", "virial")


def read(request: ModelRequest) -> Params:
    """A pair potential of TorchSim by its name, a factory as "package.module:factory", or a ModelInterface.

    Raises UnknownCalculator, OptionError.
    """
    if request.args:
        raise OptionError(f"torchsim takes named arguments, as in 'torchsim:morse(alpha=1.4)'; got {request.args!r}")
    options = {"batch_atoms": _count(request.options.get("batch_atoms", 4096)), "reach": _reach(request)}
    if not isinstance(request.model, (str, Path)):
        return _instance(request, options)
    name = str(request.model)
    if pair := find(name):
        return _pair(pair, request, options)
    if not _DOTTED.fullmatch(name):
        raise UnknownCalculator(
            f"torchsim has no model '{name}'; its own are {', '.join(m.name for m in BUNDLED)}; others are named "
            "'package.module:factory', or given as model=<a ModelInterface>"
        )
    return _factory(name, request, options)


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; nothing heavy is imported before its first use."""
    if isinstance(params.model, str):
        make = Make("calczoo_torchsim.worker", params.model, request.device, request.dtype, params.options)
        return AseModel(params.card, None, make, params.outputs, dtype=request.dtype, device=request.device)
    from .worker import TorchSimCalculator

    make = partial(TorchSimCalculator, params.model, **params.options)
    device = str(params.model.device)
    return AseModel(params.card, None, make, params.outputs, dtype=request.dtype, device=device)


# -- the three kinds -------------------------------------------------------------------------------------------


def _pair(pair: PairPotential, request: ModelRequest, options: dict[str, Any]) -> Params:
    request.check_options([*pair.parameters, "batch_atoms"])
    given = {k: v for k, v in request.options.items() if k not in _OWN}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < 1e6:
            raise OptionError(f"{name} of {pair.name} is {value!r}; expected is a positive number")
    values = {**pair.parameters, **given}
    cutoff = float(values.get("cutoff", values["sigma"]))
    text = ", ".join(f"{k}={v:g}" for k, v in values.items())
    card = Card(
        name=f"{pair.name}({', '.join(f'{k}={v:g}' for k, v in given.items())})" if given else pair.name,
        family=FAMILY.name, elements=request.elements or pair.elements, cutoff=cutoff, outputs=FAMILY.outputs,
        summary=f"{pair.formula}, the same for every pair: {text}", level_of_theory="pair potential",
        dispersion_included=False if pair.name == "soft-sphere" else None, citation=pair.source, licence=LICENCE,
        extra={
            "code": f"torch_sim {TORCH_SIM}, {pair.kind}",
            "set right": "forces, stress and triclinic cells, wrong in that version (README of calczoo-torchsim)",
        },
    )  # fmt: skip
    return Params(card, pair.name, {**options, "arguments": {k: float(v) for k, v in given.items()}})


def _factory(name: str, request: ModelRequest, options: dict[str, Any]) -> Params:
    if request.elements is None:
        raise OptionError(f"{name} does not tell which elements it knows; {_NAME_THEM}")
    arguments = {k: v for k, v in request.options.items() if k not in _OWN}
    card = _card(name, request.elements, options["reach"] or 0.0, f"made by {name}", arguments)
    return Params(card, name, {**options, "arguments": arguments}, _outputs(request))


def _instance(request: ModelRequest, options: dict[str, Any]) -> Params:
    with guarded():
        from torch_sim.models.interface import ModelInterface

        from .worker import TorchSimCalculator
    model = request.model
    if not isinstance(model, ModelInterface):
        what = "no model" if model is None else f"a {type(model).__name__}"
        raise OptionError(
            f"torchsim was given {what}; expected are {', '.join(m.name for m in BUNDLED)}, "
            "'package.module:factory', or an instance of torch_sim.models.interface.ModelInterface"
        )
    request.check_options(_OWN)
    _check_place(model, request)
    try:
        calculator = TorchSimCalculator(model, **options)
    except ValueError as error:
        raise OptionError(str(error)) from error
    kind = type(model)
    elements = request.elements or tuple(chemical_symbols[z] for z in getattr(model, "numbers", ()))
    if not elements:
        raise OptionError(f"{kind.__name__} does not tell which elements it knows; {_NAME_THEM}")
    told = getattr(model, "card", None)
    name = told.name if isinstance(told, Card) else kind.__name__
    card = _card(name, elements, calculator.reach or 0.0, f"{kind.__module__}.{kind.__name__} in TorchSim", {})
    has = {"stress": "virial", "free_energy": "energy"}
    outputs = dict.fromkeys(has.get(p, p) for p in calculator.implemented_properties)
    if request.options.get("stress") is False:
        outputs.pop("virial", None)
    return Params(card, model, options, tuple(outputs))


def _card(name: str, elements: tuple[str, ...], cutoff: float, summary: str, arguments: dict[str, Any]) -> Card:
    text = ", ".join(f"{k}={v}" for k, v in arguments.items())
    extra = {"arguments": text} if text else {}
    return Card(name, FAMILY.name, tuple(elements), cutoff, summary=summary, outputs=FAMILY.outputs, extra=extra)


# -- options ---------------------------------------------------------------------------------------------------


def _outputs(request: ModelRequest) -> tuple[str, ...]:
    stress = request.options.get("stress", True)
    if not isinstance(stress, bool):
        raise OptionError(f"stress is {stress!r}; expected is true or false")
    return ("energy", "forces", "virial") if stress else ("energy", "forces")


def _check_place(model: Any, request: ModelRequest) -> None:
    """An instance has its own device and precision."""
    import torch

    if model.dtype != getattr(torch, request.dtype):
        own = str(model.dtype).removeprefix("torch.")
        raise OptionError(f"the model computes in {own}, asked for is {request.dtype}; write dtype='{own}'")
    if request.device != "auto" and torch.device(request.device).type != model.device.type:
        raise OptionError(f"the model is on {model.device}, asked for is {request.device}; leave device out")


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"batch_atoms is {value!r}; it must be a whole number of at least 1")
    return value


def _reach(request: ModelRequest) -> float | None:
    value = request.options.get("reach")
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < 1e3):
        raise OptionError(f"reach is {value!r}; expected is a positive length in A")
    return None if value is None else float(value)
