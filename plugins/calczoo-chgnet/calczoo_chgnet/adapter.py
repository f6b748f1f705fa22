"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calczoo import Card, ModelRequest
from calczoo.core.errors import BackendUnavailable, OptionError, PotentialFileError, UnknownCalculator
from calczoo.foreign import AseModel, Make, sha256_of

from . import FAMILY
from .models import BUNDLED, CHGNET, ELEMENTS, Model, find, installed_file

LICENCE = f"BSD-3-Clause, modified (as part of chgnet {CHGNET})"
PRECISION = "weights in float32; arithmetic in the dtype of the calculator"


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, and what the worker is told."""

    card: Card
    model: str
    options: dict[str, Any]


def read(request: ModelRequest) -> Params:
    """A published model of the wheel, or a file that chgnet's trainer wrote.

    Raises UnknownCalculator, OptionError, BackendUnavailable (chgnet is not here), PotentialFileError (another sha256
    than the published one). Where a process of another environment is asked for, that one checks the file.
    """
    request.check_options(FAMILY.options)
    if request.args or not isinstance(request.model, (str, Path)):
        raise OptionError(f"chgnet takes one model: {_choices()}, or a file of chgnet")
    options = {"batch_atoms": _count(request.options.get("batch_atoms", 256))}
    published = find(str(request.model))
    if published is not None:
        if not request.isolated:
            _check(published)
        return Params(_subset(card_of(published), request.elements), published.name, options)
    path = Path(request.model).expanduser()
    if not path.is_file():
        raise UnknownCalculator(f"chgnet has no model '{request.model}', and there is no such file; {_choices()}")
    return Params(_subset(_own_card(path), request.elements), str(path.absolute()), options)


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; nothing heavy is imported before its first use."""
    make = Make("calczoo_chgnet.worker", params.model, request.device, request.dtype, params.options)
    outputs = ("energy", "energies", "forces", "virial", "magmoms")
    return AseModel(params.card, None, make, outputs, dtype=request.dtype, device=request.device)


def _check(model: Model) -> None:
    """Its file is there and the published one."""
    try:
        installed_file(model)
    except ModuleNotFoundError as error:
        way = "or calczoo env create chgnet, then isolated=True"
        raise BackendUnavailable(f"chgnet:{model.name}: {error}, {way}") from error
    except (OSError, ValueError) as error:
        raise PotentialFileError(model.file, None, str(error), f"the file of {model.name}") from error


def card_of(model: Model) -> Card:
    """Card of a published model."""
    return Card(
        name=model.name, family=FAMILY.name, elements=ELEMENTS, cutoff=model.cutoff, outputs=FAMILY.outputs,
        summary=model.summary, level_of_theory=model.level, dispersion_included=False,
        training_data=model.training_data, citation=model.citation, doi=model.doi, licence=LICENCE,
        files={model.file: model.sha256}, errors=model.errors,
        extra={
            "version": f"{model.date}, chgnet {CHGNET}",
            "precision": PRECISION,
            "cutoff of angles": f"{model.bond_cutoff:g} A",
            "receptive field": f"{model.layers} layers of {model.cutoff:g} A: {model.layers * model.cutoff:g} A",
            "magmoms": "magnetic moments (mu_B), without sign; inferred, not part of the energy",
            "weights": f"in the wheel of chgnet {CHGNET}, sha256 checked",
        },
    )  # fmt: skip


def _own_card(path: Path) -> Card:
    """Of a model of the user. Its elements are those of the published ones, which it was most likely started from."""
    import torch

    try:  # as data only: torch refuses a pickle that holds code
        arguments = torch.load(path, map_location="cpu", weights_only=True)["model"]["model_args"]
        cutoff, bonds = float(arguments.get("atom_graph_cutoff", 6.0)), float(arguments.get("bond_graph_cutoff", 3.0))
    except Exception as error:  # whatever the unpickler makes of a wrong file
        raise PotentialFileError(path, None, f"{type(error).__name__}: {error}", "a file of chgnet") from error
    return Card(
        name=path.name, family=FAMILY.name, elements=ELEMENTS, cutoff=cutoff, outputs=FAMILY.outputs,
        summary="model of CHGNet", citation=FAMILY.citation, doi=FAMILY.doi, files={path.name: sha256_of(path)},
        extra={
            "precision": PRECISION,
            "cutoff of angles": f"{bonds:g} A",
            "known elements": "those of the published models; the file does not tell its own",
        },
    )  # fmt: skip


def _subset(card: Card, elements: tuple[str, ...] | None) -> Card:
    """The card with the chosen elements only."""
    if elements is None:
        return card
    if missing := [e for e in elements if e not in card.elements]:
        raise OptionError(f"{card.name} does not know {', '.join(missing)} (has: {', '.join(card.elements)})")
    return replace(card, elements=tuple(elements))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"batch_atoms is {value!r}; it must be a whole number of at least 1")
    return value


def _choices() -> str:
    return ", ".join(m.name for m in BUNDLED)
