"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calczoo import Card, ModelRequest
from calczoo.core.errors import OptionError, PotentialFileError, UnknownCalculator, WeightsMissing
from calczoo.foreign import AseModel, Make, sha256_of, weights_folders

from . import FAMILY
from .loader import read_header
from .models import CITATIONS, FILES, MATGL, PUBLISHED, RANDOM, RETIRED, Published, find

PRECISION = "weights in float32; arithmetic in the dtype of the calculator"
CUTOFFS = {"CHGNet": 6.0}
"""A, where no file tells: that of the architecture in the package."""


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, what the worker is told, and why there is no model where there is none."""

    card: Card
    model: str
    options: dict[str, Any]
    missing: str = ""


def read(request: ModelRequest) -> Params:
    """A published model, an own folder of matgl, or a network with random weights.

    The card of a published model can be had without its files. Raises UnknownCalculator, OptionError,
    PotentialFileError.
    """
    request.check_options(FAMILY.options)
    if request.args or not isinstance(request.model, (str, Path)):
        raise OptionError(f"matgl takes one model: {_choices()}, or a folder of matgl ({', '.join(FILES)})")
    options = _options(request.options)
    name = str(request.model)
    if name.lower() in RANDOM:
        return _random(name.lower(), request, options)
    for key in ("seed", "cutoff"):
        if key in request.options:
            raise OptionError(f"{key} is for random weights ({', '.join(RANDOM)}); {name} has its own")
    if (published := find(name)) is not None:
        return _published(published, request, options)
    path = Path(request.model).expanduser()
    if not path.is_dir():
        raise UnknownCalculator(_unknown(name, path))
    return Params(_subset(_card(path, _header(path)), request.elements), str(path.absolute()), options)


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; nothing heavy is imported before its first use.

    Raises WeightsMissing, which says what to fetch and where to put it.
    """
    if params.missing:
        raise WeightsMissing(params.missing)
    make = Make("calczoo_matgl.worker", params.model, request.device, request.dtype, params.options)
    outputs = [o for o in params.card.outputs if o != "stress"]
    return AseModel(params.card, None, make, [*outputs, "virial"], dtype=request.dtype, device=request.device)


# -- where models are -----------------------------------------------------------------------------------------


def folder_of(model: Published) -> Path | None:
    """The folder of a published model: in the folders of weights, or where matgl itself has put it."""
    hub = Path.home() / ".cache" / "matgl" / f"models--materialyze--{model.name}" / "snapshots"
    found = [folder / model.name for folder in weights_folders()]
    found += sorted(hub.glob("*"), key=lambda p: p.stat().st_mtime, reverse=True)
    return next((p for p in found if all((p / name).is_file() for name in FILES)), None)


def help_of(model: Published) -> str:
    """What to fetch, and where to put it."""
    files = ", ".join(f"{model.url}/resolve/main/{name}" for name in FILES)
    return (
        f"fetch {files} (no checksums are known) and put them into the folder {weights_folders()[0] / model.name}, or "
        f"into a folder {model.name} within one named by the environment variable CALCZOO_WEIGHTS, or give their "
        f"folder as model=. With network, python -c \"import matgl; matgl.load_model('{model.name}')\" fetches them "
        "to where they are found too"
    )


def _published(model: Published, request: ModelRequest, options: dict[str, Any]) -> Params:
    folder = folder_of(model)
    header = _header(folder) if folder else None
    cited = CITATIONS[model.architecture]
    card = Card(
        name=model.name, family=FAMILY.name, elements=_elements(header) if header else model.elements,
        cutoff=_cutoff(header) if header else CUTOFFS.get(model.architecture, 5.0),
        outputs=_outputs(model.architecture, header["options"] if header else {"calc_magmom": True}),
        summary=model.summary, level_of_theory=model.level, dispersion_included=model.dispersion,
        training_data=model.training_data, citation="; ".join(filter(None, (cited[0], model.also, FAMILY.citation))),
        doi=cited[1], licence=model.licence, files=_files(folder) if folder else {}, errors=model.errors,
        extra={
            "version": f"{model.name}, for matgl 3 and later (here {MATGL})",
            "url": model.url,
            "precision": PRECISION,
            **_extra(model.architecture),
            "weights": f"in {folder}" if folder else f"not on this machine: {help_of(model)}",
        },
    )  # fmt: skip
    missing = "" if folder else f"the weights {model.name} are not on this machine; {help_of(model)}"
    return Params(_subset(card, request.elements), str(folder or ""), options, missing)


def _random(name: str, request: ModelRequest, options: dict[str, Any]) -> Params:
    recipe = RANDOM[name]
    seed, cutoff = request.options.get("seed", 0), request.options.get("cutoff", 5.0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise OptionError(f"seed is {seed!r}; it must be a whole number of at least 0")
    if isinstance(cutoff, bool) or not isinstance(cutoff, (int, float)) or not 1.0 <= cutoff <= 20.0:
        raise OptionError(f"cutoff is {cutoff!r}; it must be a number between 1 and 20 (A)")
    elements = request.elements or recipe.elements
    if unknown := [e for e in elements if e not in recipe.elements]:
        raise OptionError(f"{name} is made for {len(recipe.elements)} elements, {unknown[0]} is not one of them")
    citation, doi = CITATIONS[recipe.architecture]
    card = Card(
        name=f"{name}[{seed}]", family=FAMILY.name, elements=tuple(elements), cutoff=float(cutoff),
        outputs=_outputs(recipe.architecture, recipe.options), summary=recipe.summary,
        level_of_theory="none: random weights", dispersion_included=False, citation=citation, doi=doi, licence="none",
        extra={"seed": seed, "version": f"matgl {MATGL}", "precision": PRECISION, **_extra(recipe.architecture)},
    )  # fmt: skip
    told = {"elements": list(elements), "cutoff": float(cutoff), "seed": seed}
    return Params(card, name, {**options, **told})


# -- what folders tell ----------------------------------------------------------------------------------------


def _header(folder: Path) -> dict[str, Any]:
    try:
        return read_header(folder)
    except (ValueError, FileNotFoundError) as error:
        raise PotentialFileError(folder, None, str(error), f"an interatomic potential of matgl {MATGL}") from error


def _card(folder: Path, header: Mapping[str, Any]) -> Card:
    """Of a model of the user."""
    name = header["architecture"]
    citation, doi = CITATIONS[name]
    return Card(
        name=folder.absolute().name, family=FAMILY.name, elements=_elements(header), cutoff=_cutoff(header),
        outputs=_outputs(name, header["options"]), summary=f"{name} of matgl", citation=citation, doi=doi,
        files=_files(folder), extra={"precision": PRECISION, **_extra(name)},
    )  # fmt: skip


def _elements(header: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the network was made for the package's default elements, the file may not name them."""
    return tuple(header["arguments"].get("element_types") or RANDOM["chgnet-random"].elements)


def _cutoff(header: Mapping[str, Any]) -> float:
    return float(header["arguments"].get("cutoff") or CUTOFFS.get(header["architecture"], 5.0))


def _files(folder: Path) -> dict[str, str]:
    return {name: sha256_of(folder / name) for name in FILES}


def _outputs(architecture: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    more = [("magmoms", architecture == "CHGNet" and bool(options.get("calc_magmom")))]
    more += [("charges", architecture == "QET")]
    return ("energy", "energies", "forces", "stress", *(name for name, there in more if there))


def _extra(architecture: str) -> dict[str, str]:
    if architecture == "CHGNet":
        return {
            "magmoms": "magnetic moments (mu_B); inferred, not part of the energy",
            "smoothness": f"forces have a step at the cutoff: CHGNet of matgl {MATGL} fades with its radial functions",
        }
    if architecture == "QET":
        return {"charges": "e; equilibrated to the total charge of the structure (atoms.info['charge'])"}
    return {}


# -- small things ---------------------------------------------------------------------------------------------


def _subset(card: Card, elements: tuple[str, ...] | None) -> Card:
    """The card with the chosen elements only."""
    if elements is None:
        return card
    if missing := [e for e in elements if e not in card.elements]:
        raise OptionError(f"{card.name} does not know {', '.join(missing)} (has: {', '.join(card.elements)})")
    return replace(card, elements=tuple(elements))


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    count, warp = given.get("batch_atoms", 256), given.get("warp", False)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise OptionError(f"batch_atoms is {count!r}; it must be a whole number of at least 1")
    if not isinstance(warp, bool):
        raise OptionError(f"warp is {warp!r}; it must be true or false")
    return {"batch_atoms": count, "warp": warp}


def _unknown(name: str, path: Path) -> str:
    if (new := RETIRED.get(name.lower())) is not None:
        return (
            f"'{name}' is a model of before matgl 3, which corrected the direction of messages: its weights give wrong "
            f"numbers with matgl {MATGL}, and its authors have withdrawn them. What replaces it: 'matgl:{new}'"
        )
    if path.is_file():
        return f"{path} is a file; a model of matgl is a folder of {', '.join(FILES)}: give the folder"
    return f"matgl has no model '{name}', and there is no such folder; {_choices()}"


def _choices() -> str:
    return ", ".join([*(m.name for m in PUBLISHED), *RANDOM])
