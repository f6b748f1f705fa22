"""Where a calculator comes from: a recipe that any process can follow, or a live object of this one.

A recipe is plain data, so that a campaign can be written down, hashed and run on another machine. `identity` is what
decides whether two calculators are the same one: for the zoo's own the parameter files' sha256, for any other its
recipe together with its energy and forces on a probe structure, which differ as soon as its weights do.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import numpy as np
from ase import Atoms

from calczoo.core.errors import OptionError

ZOO_KEYS = ("model", "elements", "device", "dtype", "backend", "threads", "options")
NOT_IDENTITY = ("threads",)  # the same bits whatever the number of threads
PROBE_DIGITS = 6


@dataclass
class Source:
    """One calculator of a run.

    spec + zoo   a calculator of the registry, with the keyword arguments of `get_calculator`
    ase + kwargs "module:Class" of any package and its keyword arguments
    live         an object made elsewhere; it cannot be sent to other processes
    """

    label: str
    spec: str = ""
    zoo: dict[str, Any] = field(default_factory=dict)
    ase: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    live: Any = None

    def __post_init__(self):
        given = [name for name in ("spec", "ase") if getattr(self, name)] + (["live"] if self.live is not None else [])
        if len(given) != 1:
            raise OptionError(f"calculator {self.label!r}: give exactly one of spec and ase (got {given or 'neither'})")

    @property
    def portable(self) -> bool:
        return self.live is None

    def recipe(self) -> dict[str, Any]:
        """Plain data from which `Source(**recipe)` makes the same calculator."""
        return {"label": self.label, "spec": self.spec, "zoo": self.zoo, "ase": self.ase, "kwargs": self.kwargs}

    def build(self) -> Any:
        """The calculator. Errors of the registry or of the foreign package pass through, the latter as OptionError."""
        if self.live is not None:
            return self.live
        if self.spec:
            from calczoo import get_calculator

            zoo = dict(self.zoo)
            return get_calculator(self.spec, **zoo.pop("options", {}), **zoo)
        return foreign(self.ase, self.kwargs)

    def identity(self, calculator: Any, probe: Atoms) -> dict[str, Any]:
        """What makes this calculator the one it is, as plain data."""
        settings = {k: v for k, v in self.zoo.items() if k not in NOT_IDENTITY}
        out: dict[str, Any] = {"spec": self.spec, "zoo": settings, "ase": self.ase, "kwargs": self.kwargs}
        card = card_of(calculator)
        if card:
            out["card"] = {k: card.get(k) for k in ("name", "family", "files", "elements", "cutoff")}
        kind = type(calculator)
        out["class"] = f"{kind.__module__}.{kind.__qualname__}"
        out["package"] = distribution_version(kind.__module__)
        model = getattr(calculator, "model", None)
        if model is not None and hasattr(model, "dtype"):
            out["precision"], out["device"] = str(model.dtype), str(getattr(model, "device", ""))
        if not (card and card.get("files")):
            out["probe"] = probe_values(calculator, probe)
        return out


def foreign(dotted: str, kwargs: Mapping[str, Any]) -> Any:
    """`module:Class` and keyword arguments -> a calculator of another package."""
    module, colon, name = dotted.partition(":")
    if not colon or not name:
        raise OptionError(f"calculator {dotted!r}: write module:Class, for example ase.calculators.emt:EMT")
    try:
        made = getattr(importlib.import_module(module), name)(**kwargs)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise OptionError(f"calculator {dotted}: {type(error).__name__}: {error}") from error
    if not (hasattr(made, "get_property") or callable(getattr(made, "evaluate", None))):
        raise OptionError(f"{dotted} gave {type(made).__name__}, which is not an ASE calculator")
    return made


def probe_values(calculator: Any, atoms: Atoms) -> str:
    """Energy and forces of a distorted copy of the structure, rounded and hashed; the error's name where it fails."""
    from .engine import Evaluator

    probe = atoms.copy()
    probe.positions += np.random.default_rng(5).normal(scale=0.05, size=probe.positions.shape)
    (result,) = Evaluator(calculator).evaluate([probe], ("energy", "forces"), errors="return")
    if not isinstance(result, dict):
        return f"{type(result).__name__}: {result}"
    numbers = [result["energy"], *result["forces"].ravel()]
    text = " ".join(f"{x:.{PROBE_DIGITS}g}" for x in numbers)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache
def distribution_version(module: str) -> str:
    """Name and version of the installed package that holds a module."""
    top = module.partition(".")[0]
    for name in packages_distributions().get(top, [top]):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return top


def label_of(calculator: Any) -> str:
    """Name of a calculator: its card's, its own, or its class's."""
    card = card_of(calculator)
    if card.get("name"):
        family = card.get("family")
        return f"{family}:{card['name']}" if family and ":" not in str(card["name"]) else str(card["name"])
    name = getattr(calculator, "label", None) or getattr(calculator, "name", None)
    return str(name) if isinstance(name, str) and name else type(calculator).__name__


def card_of(calculator: Any) -> dict[str, Any]:
    """The calculator's card as plain data; an empty dict where it has none."""
    card = getattr(calculator, "card", None)
    if card is None:
        return {}
    if hasattr(card, "to_dict"):
        return dict(card.to_dict())
    if isinstance(card, Mapping):
        return dict(card)
    return {f: getattr(card, f) for f in card.__dataclass_fields__} if is_dataclass(card) else {}


def distinct(sources: list[Source]) -> list[Source]:
    """The same sources with labels made distinct by a number in brackets."""
    seen: dict[str, int] = {}
    for source in sources:
        seen[source.label] = seen.get(source.label, 0) + 1
        if seen[source.label] > 1:
            source.label = f"{source.label} ({seen[source.label]})"
    return sources
