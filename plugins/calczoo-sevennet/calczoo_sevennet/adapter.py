"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols
from calczoo import Card, ModelRequest
from calczoo.core.errors import BackendUnavailable, OptionError, PotentialFileError, UnknownCalculator
from calczoo.foreign import AseModel, Make, guarded, sha256_of

from . import FAMILY
from .models import BUNDLED, SEVENN, Model, find, installed_file

LICENCE = f"MIT (as part of sevenn {SEVENN})"
PRECISION = "weights in float32; arithmetic in the dtype of the calculator"


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, and what the worker is told."""

    card: Card
    model: str
    options: dict[str, Any]


def read(request: ModelRequest) -> Params:
    """A published model of the wheel, or an own checkpoint with trust=True.

    Raises UnknownCalculator, OptionError, BackendUnavailable (sevenn is not here), PotentialFileError (another sha256
    than the published one). Where a process of another environment is asked for, that one checks the file.
    """
    request.check_options(FAMILY.options)
    if request.args or not isinstance(request.model, (str, Path)):
        raise OptionError(f"sevennet takes one model: {_choices()}, or a checkpoint file")
    options = {"batch_atoms": _count(request.options.get("batch_atoms", 256))}
    published = find(str(request.model))
    if published is None:
        return _own(Path(request.model).expanduser(), request, options)
    modal = _modal(str(request.options.get("modal", "")), published)
    if not request.isolated:
        _check(published)
    return Params(_subset(card_of(published, modal), request.elements), published.name, {**options, "modal": modal})


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; nothing heavy is imported before its first use."""
    make = Make("calczoo_sevennet.worker", params.model, request.device, request.dtype, params.options)
    outputs = ("energy", "energies", "forces", "virial")
    return AseModel(params.card, None, make, outputs, dtype=request.dtype, device=request.device)


def _check(model: Model) -> None:
    """Its file is there and the published one."""
    try:
        installed_file(model)
    except ModuleNotFoundError as error:
        way = "or calczoo env create sevennet, then isolated=True"
        raise BackendUnavailable(f"sevennet:{model.name}: {error}, {way}") from error
    except (OSError, ValueError) as error:
        raise PotentialFileError(model.file, None, str(error), f"the file of {model.name}") from error


def card_of(model: Model, modal: str = "") -> Card:
    """Card of a published model."""
    name = f"{model.name}[{modal}]" if modal else model.name
    extra = {
        "version": f"{model.date}, sevenn {SEVENN}",
        "precision": PRECISION,
        "receptive field": f"{model.layers} layers of {model.cutoff:g} A: {model.layers * model.cutoff:g} A",
        "symmetry": "rotations, not mirror images: energies of a structure and its mirror image differ by a few meV",
        "weights": f"in the wheel of sevenn {SEVENN}, sha256 checked",
    }
    return _card(
        name, model.summary, {model.file: model.sha256}, FAMILY.bundled_elements[model.name], model.cutoff,
        level_of_theory=model.levels[modal], dispersion_included=False, training_data=model.training_data,
        citation=model.citation, doi=model.doi, licence=LICENCE, extra=extra,
    )  # fmt: skip


def _card(name: str, summary: str, files: dict, elements: tuple[str, ...], cutoff: float, **facts: Any) -> Card:
    return Card(
        name=name, family=FAMILY.name, elements=elements, cutoff=cutoff, outputs=FAMILY.outputs, summary=summary,
        files=files, **facts,
    )  # fmt: skip


def _own(path: Path, request: ModelRequest, options: dict[str, Any]) -> Params:
    """A checkpoint of the user: what it knows stands inside it."""
    if not path.is_file():
        raise UnknownCalculator(f"sevennet has no model '{request.model}', and there is no such file; {_choices()}")
    if request.options.get("trust") is not True:
        raise OptionError(
            f"{path} is not among the published models; a checkpoint is a pickle, which may run any code when it is "
            "read. If you know where it comes from, add trust=True"
        )
    modal = str(request.options.get("modal", ""))
    elements, cutoff = (), 0.0  # the other process will tell them
    if not request.isolated:
        elements, cutoff, known = _look_into(path)
        modal = next((k for k in known if k.lower() == modal.lower()), modal)
        if (modal or known) and modal not in known:
            raise OptionError(f"modal is {modal!r}; {path.name} has: {', '.join(known) or 'one level of theory only'}")
    card = _card(
        f"{path.name}[{modal}]" if modal else path.name, "checkpoint of SevenNet", {path.name: sha256_of(path)},
        elements, cutoff, citation=FAMILY.citation, doi=FAMILY.doi, extra={"precision": PRECISION},
    )  # fmt: skip
    return Params(_subset(card, request.elements), str(path.absolute()), {**options, "modal": modal})


def _look_into(path: Path) -> tuple[tuple[str, ...], float, list[str]]:
    """(elements, cutoff in A, levels of theory) of a checkpoint, by the package's own reader."""
    if importlib.util.find_spec("sevenn") is None:
        raise BackendUnavailable(
            f"{path}: there is no package 'sevenn' here to read it; pip install sevenn=={SEVENN}, or calczoo env "
            "create sevennet, then isolated=True"
        )
    try:
        with guarded():
            from sevenn.checkpoint import SevenNetCheckpoint

            config = SevenNetCheckpoint(str(path)).config
            elements = tuple(chemical_symbols[z] for z in sorted(config["_type_map"]))
            return elements, float(config["cutoff"]), list(config.get("_modal_map") or ())
    except Exception as error:  # whatever the unpickler and the package make of a wrong file
        raise PotentialFileError(path, None, f"{type(error).__name__}: {error}", "a checkpoint of sevenn") from error


def _subset(card: Card, elements: tuple[str, ...] | None) -> Card:
    """The card with the chosen elements only."""
    if elements is None:
        return card
    if not card.elements:  # of a checkpoint that another process will read
        return replace(card, elements=tuple(elements))
    if missing := [e for e in elements if e not in card.elements]:
        raise OptionError(f"{card.name} does not know {', '.join(missing)} (has: {', '.join(card.elements)})")
    return replace(card, elements=tuple(elements))


def _modal(asked: str, model: Model) -> str:
    """Name of the level of theory, in the package's own spelling; the first one where none is asked for."""
    found = next((m for m in model.levels if m.lower() == asked.lower()), None)
    if found is not None:
        return found
    if not asked:
        return next(iter(model.levels))
    has = ", ".join(filter(None, model.levels)) or "one level of theory only"
    raise OptionError(f"modal is {asked!r}; {model.name} has: {has}")


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"batch_atoms is {value!r}; it must be a whole number of at least 1")
    return value


def _choices() -> str:
    return ", ".join(m.name for m in BUNDLED)
