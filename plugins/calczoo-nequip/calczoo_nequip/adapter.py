"""From a request to a model of calczoo: what `read` and `build` of both families do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers
from calczoo import Card, ModelRequest
from calczoo.core.errors import OptionError, PotentialFileError, UnknownCalculator, WeightsMissing
from calczoo.foreign import AseModel, Make, Weights, locate, sha256_of

from . import _RANDOM, FAMILIES
from .files import AOTI, ASE_FIELDS, CHECKPOINT, CODE, KINDS, PACKAGE, Facts, facts_of, kind_of
from .models import ELEMENTS, FOUNDATION_CITATION, FOUNDATION_DOI, LICENCE, PUBLISHED, Model, find

PBE = "DFT, PBE and PBE+U (Materials Project settings)"
OUTPUTS = ("energy", "energies", "forces", "virial")
LIMITS = {"cutoff": (0.5, 20.0), "layers": (1, 8), "l_max": (0, 4), "features": (1, 512), "seed": (0, 2**31 - 1)}
DEFAULTS = {"seed": 0, "cutoff": 5.0, "layers": 2, "l_max": 1, "features": 16}


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, and what the worker is told. model "": the file is not on this machine, why says
    what to do about it. device: of compiled code, "" for any."""

    card: Card
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    device: str = ""
    why: str = ""


def read(request: ModelRequest) -> Params:
    """Random weights, a published package, or a file. A published package that is not on this machine has a card, and
    `build` says where to get it.

    Raises UnknownCalculator, OptionError, PotentialFileError.
    """
    request.check_options(FAMILIES[request.family].options)
    if request.args or not isinstance(request.model, (str, Path)):
        raise OptionError(f"{request.family} takes one model: {_choices(request.family)}")
    name = str(request.model)
    if name.lower() == "random":
        return _random(request)
    if mine := [k for k in request.options if k in _RANDOM]:
        raise OptionError(f"option '{mine[0]}' belongs to {request.family}:random only")
    published = find(name, request.family)
    params = _published(published, request) if published else _file(Path(name).expanduser(), request)
    return replace(params, card=_subset(params.card, request.elements))


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; nothing heavy is imported before its first use."""
    if params.why:
        raise WeightsMissing(params.why)
    device = request.device
    if params.device:
        if device != "auto" and device.split(":")[0] != params.device.split(":")[0]:
            raise OptionError(
                f"{params.card.name} was compiled for {params.device} and cannot run on {device}; compile it again "
                f"with nequip-compile --device {device.split(':')[0]}"
            )
        device = params.device
    make = Make("calczoo_nequip.worker", params.model, device, request.dtype, params.options)
    return AseModel(params.card, None, make, OUTPUTS, dtype=request.dtype, device=device)


# -- random weights ---------------------------------------------------------------------------------------------


def _random(request: ModelRequest) -> Params:
    if given := [k for k in ("trust", "species") if k in request.options]:
        raise OptionError(f"option '{given[0]}' belongs to files; {request.family}:random reads none")
    sizes = {k: _number(k, request.options.get(k, v)) for k, v in DEFAULTS.items()}
    elements = list(request.elements or ELEMENTS)
    how = ", ".join(f"{k} {v:g}" for k, v in sizes.items())
    card = _card(
        request.family, "random", f"random weights ({how}): for trying things, not for physics", tuple(elements),
        sizes["cutoff"], dispersion_included=False, level_of_theory="none: untrained",
        extra={"precision": "that of the calculator (dtype)", "receptive field": _reach(request.family, sizes)},
    )  # fmt: skip
    options = {"random": {"elements": elements, **sizes}, "batch_atoms": _batch(request)}
    return Params(card, request.family, options)


def _reach(family: str, sizes: Mapping[str, Any]) -> str:
    if family == "allegro":
        return f"{sizes['cutoff']:g} A (strictly local)"
    return f"{sizes['layers']} layers of {sizes['cutoff']:g} A: {sizes['layers'] * sizes['cutoff']:g} A"


def _number(name: str, value: Any) -> Any:
    low, high = LIMITS[name]
    kinds = (int, float) if name == "cutoff" else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        what = "a number" if name == "cutoff" else "a whole number"
        raise OptionError(f"{name} is {value!r}; it must be {what} from {low:g} to {high:g}")
    return float(value) if name == "cutoff" else value


# -- published packages -----------------------------------------------------------------------------------------


def weights_of(model: Model) -> Weights:
    """Facts about the published file."""
    return Weights(
        name=model.name, version=model.version, url=model.url, sha256=model.sha256, size=model.size, licence=LICENCE,
        citation=FOUNDATION_CITATION, doi=FOUNDATION_DOI, file=model.file,
    )  # fmt: skip


def _published(model: Model, request: ModelRequest, given: Path | None = None) -> Params:
    """Where the sha256 is known, that makes the file trusted; otherwise trust=True is asked for."""
    options = {"species": _species(request), "batch_atoms": _batch(request)}
    try:
        path = locate(weights_of(model), given)
    except WeightsMissing as error:
        return Params(_published_card(model), "", options, why=str(error))
    if not model.sha256:
        _trusted(path, PACKAGE, request, f"no checksum of {model.name} is known, and ")
    return Params(_published_card(model, path), str(path.absolute()), options)


def _published_card(model: Model, path: Path | None = None) -> Card:
    reach = model.cutoff if model.family == "allegro" else model.layers * model.cutoff
    facts = _facts(path) if path else Facts()
    extra = {
        "version": model.version,
        "precision": f"{facts.precision or 'that'} of the file, whatever dtype the calculator has",
        **({"receptive field": f"{reach:g} A"} if reach else {}),
        "weights": _state(model, path),
        "source": model.url,
        **({"counts": ["nuclear repulsion"]} if "ZBL" in model.summary else {}),
    }
    return _card(
        model.family, model.name, model.summary, facts.types or ELEMENTS, model.cutoff or facts.cutoff,
        level_of_theory=PBE, dispersion_included=False, training_data=model.training_data,
        citation=f"{FOUNDATION_CITATION}; {FAMILIES[model.family].citation}", doi=FOUNDATION_DOI, licence=LICENCE,
        files={model.file: sha256_of(path)} if path else {model.file: model.sha256} if model.sha256 else {},
        extra=extra,
    )  # fmt: skip


def _state(model: Model, path: Path | None) -> str:
    if path is None:
        return f"not on this machine: {model.file}" + (f", {model.size / 1e6:.1f} MB" if model.size else "")
    return "sha256 checked" if model.sha256 else "no checksum is known, trusted"


# -- files ------------------------------------------------------------------------------------------------------


def _file(path: Path, request: ModelRequest) -> Params:
    kind = kind_of(path)
    if not path.is_file():
        raise UnknownCalculator(
            f"{request.family} has no model '{request.model}', and there is no such file; it has: "
            f"{_choices(request.family)}"
        )
    if kind is None:
        raise PotentialFileError(path, None, f"a name that ends in {path.suffix or 'nothing'}", " or ".join(KINDS))
    digest = sha256_of(path)
    if known := next((m for m in PUBLISHED if m.sha256 == digest), None):
        return _published(known, request, path)
    _trusted(path, kind, request)
    facts = _facts(path)
    if kind == AOTI and facts.fields not in (None, ASE_FIELDS):
        raise PotentialFileError(path, None, "a model compiled for another use", "nequip-compile --target ase")
    species = _species(request)
    extra = {"precision": f"{facts.precision or 'that'} of the file, whatever dtype the calculator has"}
    if kind == CHECKPOINT:
        extra["elements, cutoff"] = "a checkpoint tells them when it is loaded, at first use"
    card = _card(
        request.family, path.name, "own file of the NequIP framework", _elements(path, facts, species), facts.cutoff,
        files={path.name: digest}, extra=extra,
    )  # fmt: skip
    options = {"species": species, "batch_atoms": _batch(request)}
    return Params(card, str(path.absolute()), options, facts.device)


def _facts(path: Path) -> Facts:
    try:
        return facts_of(path)
    except ValueError as error:
        raise PotentialFileError(path, None, str(error), f"a file of nequip 0.7 or newer ({kind_of(path)})") from error


def _trusted(path: Path, kind: str, request: ModelRequest, why: str = "") -> None:
    if kind in CODE and request.options.get("trust") is not True:
        raise OptionError(
            f"{path}: {why}{CODE[kind]}: code runs when it is read. If you know where it comes from, add trust=True"
        )


def _elements(path: Path, facts: Facts, species: Mapping[str, str] | None) -> tuple[str, ...]:
    """Chemical symbols; () for a file that does not tell before it is loaded (the calculator tells then)."""
    if species is not None:
        if facts.types and (wrong := sorted(set(species.values()) - set(facts.types))):
            raise OptionError(f"species names the type '{wrong[0]}'; {path.name} has: {', '.join(facts.types)}")
        return tuple(species)
    if strange := [t for t in facts.types if not atomic_numbers.get(t)]:
        raise OptionError(
            f"{path.name} has the types {', '.join(facts.types)}, and '{strange[0]}' is no element; tell which element "
            f"each is: species={{'Cu': '{strange[0]}'}}"
        )
    return facts.types


def _species(request: ModelRequest) -> dict[str, str] | None:
    value = request.options.get("species")
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value:
        raise OptionError(f"species is {value!r}; it must be a mapping of chemical symbols to type names")
    if wrong := [s for s in value if not atomic_numbers.get(s)]:
        raise OptionError(f"species: '{wrong[0]}' is no chemical symbol")
    return {str(k): str(v) for k, v in value.items()}


# -- common -----------------------------------------------------------------------------------------------------


def _card(family: str, name: str, summary: str, elements: tuple[str, ...], cutoff: float, **facts: Any) -> Card:
    record = FAMILIES[family]
    facts = {"citation": record.citation, "doi": record.doi, **facts}
    return Card(
        name=name, family=family, summary=summary, elements=elements, cutoff=cutoff, outputs=record.outputs, **facts
    )


def _subset(card: Card, elements: tuple[str, ...] | None) -> Card:
    """The card with the chosen elements only."""
    if elements is None:
        return card
    if card.elements and (missing := [e for e in elements if e not in card.elements]):
        raise OptionError(f"{card.name} does not know {', '.join(missing)} (has: {', '.join(card.elements)})")
    return replace(card, elements=tuple(elements))


def _batch(request: ModelRequest) -> int:
    value = request.options.get("batch_atoms", 256)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"batch_atoms is {value!r}; it must be a whole number of at least 1")
    return value


def _choices(family: str) -> str:
    return f"{', '.join(FAMILIES[family].bundled)}, or a file ({', '.join(KINDS)})"
