"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calczoo import Card, ModelRequest
from calczoo.core.errors import OptionError, UnknownCalculator, WeightsMissing
from calczoo.foreign import AseModel, Make, Weights, locate, sha256_of

from . import FAMILY
from .models import CUTOFF, EMBEDDED, LICENCE, ORB_MODELS, PUBLISHED, RANDOM, Model, find

PRECISIONS = {"float32": ("float32-high", "float32-highest"), "float64": ("float64",)}
LEVELS = {
    "random": "none: untrained",
    "molecular": "DFT, omegaB97M-V/def2-TZVPD (its VV10 part is dispersion)",
    "d3": "DFT, PBE and PBE+U, with D3 added to the data",
    "plain": "DFT, PBE and PBE+U (Materials Project, Alexandria or OMat24 settings)",
}


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, and what the worker is told. why: what to do where the weights are not here."""

    card: Card
    model: str
    outputs: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    why: str = ""


def read(request: ModelRequest) -> Params:
    """Random weights, a published model, or an own file of a published architecture. A published model whose file is
    not on this machine has a card, and `build` says where to get it.

    Raises UnknownCalculator, OptionError, PotentialFileError.
    """
    request.check_options(FAMILY.options)
    if request.args or not isinstance(request.model, (str, Path)):
        raise OptionError(f"orb takes one model: {_choices()}, or a file with architecture=")
    model, path, why = _found(request)
    options = _options(request, model)
    if path is not None:
        options["file"] = str(path.absolute())
    card = _subset(card_of(model, path, request), request.elements)
    outputs = ("energy", "forces") if model.molecular else ("energy", "forces", "virial")
    return Params(card, model.name, outputs, options, why)


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; nothing heavy is imported before its first use."""
    if params.why:
        raise WeightsMissing(params.why)
    make = Make("calczoo_orb.worker", params.model, request.device, request.dtype, params.options)
    return AseModel(params.card, None, make, params.outputs, dtype=request.dtype, device=request.device)


def _found(request: ModelRequest) -> tuple[Model, Path | None, str]:
    """(model, its file, what to do where there is none)."""
    name, architecture = str(request.model), request.options.get("architecture")
    model = find(name)
    if model is not None:
        if architecture is not None:
            raise OptionError(f"architecture= belongs to own files; {model.name} has its own")
        if model.name in RANDOM:
            return model, None, ""
        try:
            return model, locate(weights_of(model)), ""
        except WeightsMissing as error:
            return model, None, str(error)
    path = Path(name).expanduser()
    if not path.is_file():
        raise UnknownCalculator(f"orb has no model '{name}', and there is no such file; it has: {_choices()}")
    known = next((m for m in PUBLISHED if m.sha256 == sha256_of(path) or Path(m.file).name == path.name), None)
    if architecture is None and known is not None:
        return known, locate(weights_of(known), path), ""
    own = find(str(architecture)) if architecture is not None else None
    if own is None or own.name in RANDOM:
        raise OptionError(
            f"architecture is {architecture!r}; {path.name} needs the name of the published model that it has the "
            f"architecture of: {', '.join(m.name for m in PUBLISHED)}"
        )
    return own, path, ""


def weights_of(model: Model) -> Weights:
    """Facts about the published file."""
    return Weights(
        name=model.name, version=model.version, url=model.url, sha256=model.sha256, size=model.size, licence=LICENCE,
        citation=model.paper[0], doi=model.paper[1],
    )  # fmt: skip


def card_of(model: Model, path: Path | None, request: ModelRequest) -> Card:
    """Card of random weights, of a published model (with or without its file), or of an own file."""
    random = model.name in RANDOM
    own = path is not None and path.name != Path(model.file).name
    level = "random" if random else "molecular" if model.molecular else "d3" if model.dispersion else "plain"
    most = request.options.get("neighbours", model.neighbours)
    extra = {
        "forces": "gradient of the energy" if model.conservative else "predicted, not the gradient of the energy: they "
        "do not conserve it; not for phonons, elastic constants or long constant-energy dynamics",
        "symmetry": "rotations are learned, not built in: the energy of a turned structure differs a little",
        "energy": "N times a function of the mean over the atoms: no energies per atom, and distant parts are not "
        "independent",
        "neighbours": f"the {most} nearest within {CUTOFF:g} A; where there are more, forces jump as they change",
        "receptive field": f"{model.layers} layers of {CUTOFF:g} A: {model.layers * CUTOFF:g} A",
        "precision": request.options.get("precision") or PRECISIONS[request.dtype][0],
    }
    if model.conservative:
        how = request.options.get("repulsion", "sum")
        extra["repulsion"] = f"ZBL, {how} over atoms" + (" (orb-models 0.5.5 takes the mean)" if how == "sum" else "")
        extra["counts"] = ["nuclear repulsion"]
    if not random:
        extra["version"] = "own file" if own else f"{model.version}, orb-models {ORB_MODELS}"
        extra["weights"] = _state(model, path, own)
        if not own:
            extra["source"] = model.url
    files = {path.name: sha256_of(path)} if path else {Path(model.file).name: model.sha256} if model.sha256 else {}
    return Card(
        name=path.name if own else model.name, family=FAMILY.name, cutoff=CUTOFF, files=files, extra=extra,
        summary=f"own weights of {model.name}" if own else model.summary,
        elements=EMBEDDED if random else model.elements,
        outputs=("energy", "forces") if model.molecular else FAMILY.outputs, level_of_theory=LEVELS[level],
        dispersion_included=None if own else model.dispersion, training_data="" if random or own else model.data,
        citation=model.paper[0], doi=model.paper[1], licence="unknown" if own else LICENCE,
    )  # fmt: skip


def _state(model: Model, path: Path | None, own: bool) -> str:
    if path is None:
        return f"not on this machine: {Path(model.file).name}"
    return "own file" if own else "sha256 checked" if model.sha256 else "no checksum is known; read as numbers only"


def _options(request: ModelRequest, model: Model) -> dict[str, Any]:
    """What the worker is told, checked."""
    given = request.options
    if "seed" in given and model.name not in RANDOM:
        raise OptionError("option 'seed' belongs to random weights only")
    if "spin" in given and not model.molecular:
        raise OptionError(f"option 'spin' belongs to the omol models; {model.name} knows no spin")
    precision = given.get("precision", "")
    if precision and precision not in PRECISIONS[request.dtype]:
        raise OptionError(
            f"precision is {precision!r}; with dtype={request.dtype} it may be {' or '.join(PRECISIONS[request.dtype])}"
        )
    if "repulsion" in given and (given["repulsion"] not in ("sum", "mean") or not model.conservative):
        raise OptionError(f"repulsion is {given['repulsion']!r}; it may be sum or mean, for conservative models")
    if not isinstance(given.get("compile", False), bool):
        raise OptionError(f"compile is {given['compile']!r}; it must be true or false")
    options: dict[str, Any] = {"precision": precision, "batch_atoms": _count("batch_atoms", given, 256)}
    options |= {"compile": True} if given.get("compile") else {}
    options |= {"repulsion": given["repulsion"]} if "repulsion" in given else {}
    options |= {n: _count(n, given) for n in ("neighbours", "spin") if n in given}
    return options | ({"seed": _count("seed", given, 0, least=0)} if "seed" in given else {})


def _count(name: str, given: Any, default: int = 1, least: int = 1) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return value


def _subset(card: Card, elements: tuple[str, ...] | None) -> Card:
    """The card with the chosen elements only."""
    if elements is None:
        return card
    if missing := [e for e in elements if e not in card.elements]:
        raise OptionError(f"{card.name} does not know {', '.join(missing)} (has: {', '.join(card.elements)})")
    return replace(card, elements=tuple(elements))


def _choices() -> str:
    return ", ".join((*RANDOM, *(m.name for m in PUBLISHED)))
