"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calczoo import Card, ModelRequest
from calczoo.core.errors import OptionError, UnknownCalculator, WeightsMissing
from calczoo.foreign import AseModel, Make, Weights, locate, sha256_of

from . import FAMILY
from .models import ELEMENTS, LAYERS, MACE, PUBLISHED, SEED, Model, find

PRECISION = "arithmetic, and weights, in the dtype of the calculator"


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, and what the worker is told. weights: published ones, found when they are needed,
    so that their card can be read without them."""

    card: Card
    model: str
    options: dict[str, Any]
    weights: Weights | None = None
    download: bool = False


def read(request: ModelRequest) -> Params:
    """A published model, "random", or an own model file with trust=True. Raises UnknownCalculator, OptionError."""
    request.check_options(FAMILY.options)
    if request.args or not isinstance(request.model, (str, Path)):
        raise OptionError(f"mace takes one model: {_choices()}, or a model file")
    given = request.options
    options = {"head": str(given.get("head", "")), "batch_atoms": _whole(given, "batch_atoms", 256, 1)}
    if request.model == "random":
        seed = _whole(given, "seed", SEED, 0)
        return Params(_subset(_random_card(seed), request.elements), "random", {**options, "seed": seed})
    if "seed" in given:
        raise OptionError("seed is an option of the model 'random' only")
    published = find(str(request.model)) if isinstance(request.model, str) else None
    if published is None:
        return _own(Path(request.model).expanduser(), request, options)
    card = _subset(card_of(published), request.elements)
    return Params(card, published.name, options, weights_of(published), _flag(given, "download"))


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; nothing heavy is imported before its first use.

    Raises WeightsMissing, which says what to fetch and where to put it, and PotentialFileError for a file with another
    checksum than the published one.
    """
    model = params.model
    if params.weights is not None:
        model = str(located(params.weights, params.download))
    make = Make("calczoo_mace.worker", model, request.device, request.dtype, params.options)
    outputs = ("energy", "energies", "forces", "virial")
    return AseModel(params.card, None, make, outputs, dtype=request.dtype, device=request.device)


def weights_of(model: Model) -> Weights:
    """Facts about the published file."""
    return Weights(
        name=f"mace:{model.name}", version=model.version, url=model.url, sha256=model.sha256, size=model.size,
        licence=model.licence, citation=model.citation, doi=model.doi,
    )  # fmt: skip


def located(weights: Weights, download: bool = False) -> Path:
    """The published file: where calczoo keeps weights, or where mace-torch itself has put it when it fetched it."""
    try:
        return locate(weights)
    except WeightsMissing:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "mace"
        bare = "".join(c for c in weights.file if c.isalnum() or c == "_")  # the package's spelling of it
        for name in (bare, weights.file):
            if (folder / name).is_file():
                return locate(weights, folder / name)
        return locate(weights, download=download)


def card_of(model: Model) -> Card:
    """Card of a published model; its file need not be here."""
    weights = weights_of(model)
    try:
        where = f"{located(weights)}, sha256 checked"
    except WeightsMissing:
        where = f"not on this machine: fetch {weights.url} (option download=true), or see the README"
    extra = {
        "version": f"{model.version}, for mace-torch {MACE}",
        "precision": PRECISION,
        "receptive field": f"{LAYERS} layers of {model.cutoff:g} A: {LAYERS * model.cutoff:g} A",
        "weights": where,
    }
    return _card(
        model.name, model.summary, {weights.file: model.sha256}, model.elements, model.cutoff,
        level_of_theory=model.level_of_theory, dispersion_included=model.dispersion, training_data=model.training_data,
        citation=model.citation, doi=model.doi, licence=model.licence, extra=extra,
    )  # fmt: skip


def _random_card(seed: int) -> Card:
    extra = {
        "precision": PRECISION, "weights": f"random, seed {seed}: the numbers mean nothing",
        "counts": ["nuclear repulsion"],
    }  # fmt: skip
    return _card(
        f"random[{seed}]", "untrained network with the ZBL repulsion", {}, ELEMENTS, 5.0, level_of_theory="none",
        dispersion_included=False, training_data="none", citation=FAMILY.citation, doi=FAMILY.doi, licence="MIT",
        extra=extra,
    )  # fmt: skip


def _card(name: str, summary: str, files: dict, elements: tuple[str, ...], cutoff: float, **facts: Any) -> Card:
    return Card(
        name=name, family=FAMILY.name, elements=elements, cutoff=cutoff, outputs=FAMILY.outputs, summary=summary,
        files=files, **facts,
    )  # fmt: skip


def _own(path: Path, request: ModelRequest, options: dict[str, Any]) -> Params:
    """A model file of the user. What it knows stands inside it, and only the package can read it: elements and cutoff
    come from the worker, when they are first needed."""
    if not path.is_file():
        raise UnknownCalculator(f"mace has no model '{request.model}', and there is no such file; it has: {_choices()}")
    if request.options.get("trust") is not True:
        raise OptionError(
            f"{path} is not among the published models; a model file is a pickle, which may run any code when it is "
            "read, in a process of its own too. If you know where it comes from, add trust=True"
        )
    extra = {"precision": PRECISION}
    if request.elements is None:
        extra["elements"] = "in the file; read when the calculator is first used"
    card = _card(
        path.name, "model file of MACE", {path.name: sha256_of(path)}, request.elements or (), 0.0,
        citation=FAMILY.citation, doi=FAMILY.doi, extra=extra,
    )  # fmt: skip
    return Params(card, str(path.absolute()), {**options, "elements": list(request.elements or ())})


def _subset(card: Card, elements: tuple[str, ...] | None) -> Card:
    """The card with the chosen elements only."""
    if elements is None:
        return card
    if missing := [e for e in elements if e not in card.elements]:
        raise OptionError(f"{card.name} does not know {', '.join(missing)} (has: {', '.join(card.elements)})")
    return replace(card, elements=tuple(elements))


def _whole(options: Any, name: str, default: int, least: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return value


def _flag(options: Any, name: str) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise OptionError(f"{name} is {value!r}; it must be true or false")
    return value


def _choices() -> str:
    return ", ".join([*(m.name for m in PUBLISHED), "random"])
