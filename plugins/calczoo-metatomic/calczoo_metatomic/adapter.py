"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols
from calczoo import Card, ModelRequest
from calczoo.core.errors import BackendUnavailable, OptionError, PotentialFileError, UnknownCalculator
from calczoo.foreign import AseModel, Make, sha256_of

from . import FAMILY
from .facts import Facts, read_facts


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, what the file tells, and what the worker is told."""

    card: Card
    facts: Facts
    model: str
    options: dict[str, Any]


def read(request: ModelRequest) -> Params:
    """A model file. Nothing of it is run, and metatomic is not needed.

    Raises UnknownCalculator, OptionError, PotentialFileError.
    """
    request.check_options(FAMILY.options)
    if request.args or not isinstance(request.model, (str, Path)):
        raise OptionError("metatomic takes one model file: get_calculator('metatomic:model.pt')")
    path = Path(request.model).expanduser()
    if path.suffix == ".ckpt" and path.is_file():
        raise PotentialFileError(path, None, "it is a checkpoint", "an exported model: mtt export model.ckpt")
    if not path.is_file():
        raise UnknownCalculator(f"metatomic comes without models, and there is no file {path}")
    try:
        facts = read_facts(path)
    except ValueError as error:
        raise PotentialFileError(path, None, str(error), "a model of metatomic") from error
    options = _options(request.options)
    keys = _keys(facts, path, options)
    card = _card(path, facts, keys, options)
    return Params(_subset(card, request.elements), facts, str(path.absolute()), options)


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py; nothing heavy is imported before its first use.

    Raises OptionError for another dtype than the model's, BackendUnavailable for a device that it does not support.
    """
    facts, name = params.facts, params.card.name
    if request.dtype != facts.dtype:
        raise OptionError(f"{name} computes in {facts.dtype} only: use dtype='{facts.dtype}' (--dtype {facts.dtype})")
    device = _device(request.device, facts, name)
    make = Make("calczoo_metatomic.worker", params.model, device, facts.dtype, params.options)
    outputs = ["virial" if o == "stress" else o for o in params.card.outputs]
    made = AseModel(params.card, None, make, outputs, dtype=facts.dtype, device=device)
    made.on_request = made.outputs & {"charges", "uncertainty"}
    return made


def _device(asked: str, facts: Facts, name: str) -> str:
    """That of the request; for "auto", CUDA only where the model supports it."""
    kind = asked.partition(":")[0]
    if kind == "auto":
        return "auto" if {"cpu", "cuda"} <= set(facts.devices) else facts.devices[0] if facts.devices else "cpu"
    if facts.devices and kind not in facts.devices:
        raise BackendUnavailable(f"{name} does not support device '{asked}' (it does: {', '.join(facts.devices)})")
    return asked


def _keys(facts: Facts, path: Path, options: Mapping[str, Any]) -> dict[str, str]:
    """Which output of the model is used for what; worker.py decides."""
    from .worker import output_keys

    try:
        keys = output_keys(facts, options["variant"], options["non_conservative"])
    except ValueError as error:
        raise OptionError(f"{path.name} cannot be used like this: {error}") from error
    for name in keys.values():
        unit = facts.outputs[name]["unit"]
        if not unit and name.startswith(("energy", "non_conservative")):
            raise PotentialFileError(path, None, f"the output '{name}' has no unit", "a unit, such as eV")
    return keys


def _card(path: Path, facts: Facts, keys: Mapping[str, str], options: Mapping[str, Any]) -> Card:
    told = facts.metadata
    cited = [str(r) for refs in (told.get("references") or {}).values() for r in refs]
    outputs = ["energy", *(["energies"] if facts.per_atom(keys["energy"]) else []), "forces", "stress"]
    outputs += [name for name in ("charges", "uncertainty") if name in keys]
    direct = [name for name in ("forces", "stress") if name in keys]
    lists = ", ".join(f"{cutoff:g} A" for cutoff, _, _ in facts.neighbours)
    extra = {
        "energy": f"output '{keys['energy']}' ({facts.outputs[keys['energy']]['unit']} in the file)",
        "variants": ", ".join(v for v in facts.variants("energy") if v),
        "non-conservative": f"{', '.join(direct)}: no derivatives of the energy" if direct else "",
        "neighbour lists": lists,
        "range": "unlimited" if facts.range == float("inf") else f"{facts.range:g} A",
        "dtype": facts.dtype, "devices": ", ".join(facts.devices),
        "unit of length": facts.length_unit or "none in the file, taken as A",
        "authors": ", ".join(told.get("authors") or ()),
        "extensions": ", ".join(facts.extensions),
        "exported with": ", ".join(f"{k.removesuffix('-version')} {v}" for k, v in facts.exported.items()),
    }  # fmt: skip
    return Card(
        name=(told.get("name") or path.name) + (f"[{options['variant']}]" if options["variant"] else ""),
        family=FAMILY.name, elements=tuple(chemical_symbols[z] for z in sorted(facts.types) if 0 < z < 119),
        cutoff=max((c for c, _, _ in facts.neighbours), default=min(facts.range, 1e3)), outputs=tuple(outputs),
        summary=str(told.get("description") or "model of metatomic").strip().split("\n")[0],
        citation="; ".join([*cited, FAMILY.citation]), doi=FAMILY.doi, files={path.name: sha256_of(path)},
        extra={k: v for k, v in extra.items() if v},
    )  # fmt: skip


def _subset(card: Card, elements: tuple[str, ...] | None) -> Card:
    """The card with the chosen elements only."""
    if elements is None:
        return card
    if missing := [e for e in elements if e not in card.elements]:
        raise OptionError(f"{card.name} does not know {', '.join(missing)} (has: {', '.join(card.elements)})")
    return replace(card, elements=tuple(elements))


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Checked, with the defaults."""
    out = {
        "extensions": given.get("extensions"), "variant": given.get("variant", ""),
        "non_conservative": given.get("non_conservative", False),
        "spin_multiplicity": given.get("spin_multiplicity", 1),
        "check_consistency": given.get("check_consistency", False), "batch_atoms": given.get("batch_atoms", 256),
    }  # fmt: skip
    if out["extensions"] is not None:
        folder = Path(str(out["extensions"])).expanduser()
        if not folder.is_dir():
            raise OptionError(f"extensions: there is no folder {folder}")
        out["extensions"] = str(folder.absolute())
    if not isinstance(out["variant"], str):
        raise OptionError(f"variant is {out['variant']!r}; it must be text, such as 'pbe'")
    if out["non_conservative"] not in (True, False, "forces", "stress") or out["non_conservative"] in (0, 1) and (
        not isinstance(out["non_conservative"], bool)
    ):
        raise OptionError(f"non_conservative is {out['non_conservative']!r}; it is true, false, 'forces' or 'stress'")
    if not isinstance(out["check_consistency"], bool):
        raise OptionError(f"check_consistency is {out['check_consistency']!r}; it must be true or false")
    for name in ("batch_atoms", "spin_multiplicity"):
        if isinstance(out[name], bool) or not isinstance(out[name], int) or out[name] < 1:
            raise OptionError(f"{name} is {out[name]!r}; it must be a whole number of at least 1")
    return out
