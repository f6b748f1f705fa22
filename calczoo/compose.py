"""Models made of models: Sum and Scale, with what makes sense to be added, and committees."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import torch

from .committee import SHARED, check_cards, committee_card
from .core.card import Card
from .core.counting import check_double_counting, net_weights, weights_of, with_counts
from .core.errors import OptionError, PropertyNotImplementedError, SpecError
from .core.model import Model
from .core.pairs import Pairs
from .core.results import ADDITIVE, SPREADS, Results
from .core.system import System


class Scale:
    """factor * model: energies and all their derivatives."""

    def __init__(self, model: Model, factor: float):
        self.model, self.factor = model, float(factor)
        if not math.isfinite(self.factor):
            raise OptionError(f"the factor of {model.card.name} is {self.factor}; it must be a finite number")
        self.card = combine_cards([(factor, model.card)])
        self.cutoff, self.numbers, self.outputs = model.cutoff, model.numbers, model.outputs
        self.always = getattr(model, "always", frozenset())
        self.on_request: frozenset[str] = getattr(model, "on_request", frozenset())
        self.missing: dict[str, str] = getattr(model, "missing", {})
        self.device, self.dtype = model.device, model.dtype

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        return self.model.compute(system, pairs, need) * self.factor


class Sum:
    """Sum of models over one shared neighbour list; it knows the elements that all terms know.

    A sum without a card of its own is somebody's wish, and is checked: SpecError for terms without an element in
    common, DoubleCounting for terms that hold the same physics (see core/counting.py; `allow` names kinds that may be
    there twice), a warning for forces or stress that some terms have and others lack. `missing` says why the sum lacks
    an output that some term has. counts: what the whole holds, where that is not what the terms hold together.
    """

    def __init__(
        self,
        models: Sequence[Model],
        card: Card | None = None,
        allow: Collection[str] = (),
        counts: Mapping[str, float] | None = None,
    ):
        self.models = tuple(models)
        if not self.models:
            raise SpecError("a sum needs at least one term")
        shared = set.intersection(*(set(m.numbers) for m in self.models))
        if not shared:
            known = "; ".join(f"{m.card.name}: {_some(m.card.elements)}" for m in self.models)
            raise SpecError(f"the terms have no element in common ({known})")
        self.device, self.dtype = self.models[0].device, self.models[0].dtype
        if any(m.device != self.device or m.dtype != self.dtype for m in self.models):
            told = "; ".join(f"{m.card.name}: {m.device}, {m.dtype}" for m in self.models)
            raise OptionError(f"the terms of a sum must share device and dtype ({told})")
        terms = [unscaled(m) for m in self.models]
        if card is None:
            check_double_counting(terms, allow)
        self.numbers = tuple(z for z in self.models[0].numbers if z in shared)
        self.cutoff = max(m.cutoff for m in self.models)
        self.missing = missing_outputs(self.models)
        self.outputs = frozenset().union(*(m.outputs for m in self.models)) - self.missing.keys()
        self.always = self.outputs & frozenset().union(*(getattr(m, "always", ()) for m in self.models))
        self.on_request = frozenset().union(*(getattr(m, "on_request", ()) for m in self.models))
        held = net_weights(terms) if counts is None else counts
        if card is None:
            self.card = with_counts(combine_cards([(factor, m.card) for factor, m in terms]), held)
            self.warn_of_missing()
        else:
            self.card = with_counts(card, {**weights_of(card), **held})

    def warn_of_missing(self) -> None:
        """Warn of forces or stress that some terms have and others lack."""
        for name in ("forces", "virial"):
            if name in self.missing:
                asked = "stress" if name == "virial" else name
                warnings.warn(f"{self.card.name} has no {asked}: {self.missing[name]}", stacklevel=4)

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        return reduce(add, (m.compute(system, pairs, need & m.outputs) for m in self.models))


class CommitteeModel:
    """Mean and spread of several models of one family, over one shared neighbour list; see committee.py."""

    def __init__(self, models: Sequence[Model], card: Card | None = None):
        self.models = tuple(models)
        check_cards([m.card for m in self.models])
        first = self.models[0]
        self.device, self.dtype = first.device, first.dtype
        if any(m.device != self.device or m.dtype != self.dtype for m in self.models):
            raise OptionError("the members of a committee must share device and dtype")
        self.numbers = tuple(z for z in first.numbers if all(z in m.numbers for m in self.models))
        self.cutoff = max(m.cutoff for m in self.models)
        shared = frozenset.intersection(*(frozenset(m.outputs) for m in self.models))
        self.outputs = (shared & (ADDITIVE | SHARED)) | SPREADS
        always = (getattr(m, "always", ()) for m in self.models)
        self.always = self.outputs & frozenset({"uncertainty"}).union(*always)
        self.card = card or committee_card([m.card for m in self.models])

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        """Results of the committee; raises PropertyNotImplementedError for an output that some member lacks."""
        if missing := need - self.outputs:
            raise PropertyNotImplementedError(
                f"{self.card.name} does not compute {', '.join(sorted(missing))} "
                f"(has: {', '.join(sorted(self.outputs))})"
            )
        asked = (need - SPREADS) | {"energy"} | ({"forces"} if "uncertainties" in need else set())
        members = [m.compute(system, pairs, frozenset(asked)).present() for m in self.models]
        out: dict[str, torch.Tensor] = {}
        for name in asked & frozenset.intersection(*(frozenset(m) for m in members)):
            stack = torch.stack([m[name] for m in members])
            out[name] = stack.amax(dim=0) if "grade" in name else stack.mean(dim=0)
            if name == "energy" and "uncertainty" in need:
                sizes = [max(b - a, 1) for a, b in zip(system.first[:-1], system.first[1:], strict=True)]
                out["uncertainty"] = (stack - out[name]).square().mean(dim=0).sqrt() / out[name].new_tensor(sizes)
            if name == "forces" and "uncertainties" in need:
                out["uncertainties"] = (stack - out[name]).square().sum(dim=-1).mean(dim=0).sqrt()
        return Results(**{name: value for name, value in out.items() if name in need or name == "energy"})


def unscaled(model: Model) -> tuple[float, Model]:
    """(factor, model) without the factors around it."""
    factor = 1.0
    while isinstance(model, Scale):
        factor, model = factor * model.factor, model.model
    return factor, model


def missing_outputs(models: Sequence[Model]) -> dict[str, str]:
    """Output that some term has and the sum lacks -> why. What is added needs all terms; charges, descriptors and the
    like may come from the one term that has them."""
    out: dict[str, str] = {}
    for name in sorted(frozenset().union(*(m.outputs for m in models))):
        having = [m.card.name for m in models if name in m.outputs]
        lacking = [m for m in models if name not in m.outputs]
        if name in ADDITIVE and lacking:
            told = (getattr(m, "missing", {}).get(name) for m in lacking)
            reasons = [why or f"{m.card.name} lacks it" for m, why in zip(lacking, told, strict=True)]
            out[name] = "; ".join(dict.fromkeys(reasons))
        elif name not in ADDITIVE and len(having) > 1:
            out[name] = f"{' and '.join(having)} have it each, and it cannot be added"
    for model in models:
        told = getattr(model, "missing", {}).items()
        # what another term has, and need not be added, is not missing
        out = {**{k: v for k, v in told if not any(k in m.outputs for m in models)}, **out}
    return out


def combine(terms: Sequence[tuple[float, Model]], allow: Collection[str] = ()) -> Model:
    """Model of a parsed spec. Raises SpecError for terms that do not belong together; allow: see Sum."""
    models = [m if factor == 1.0 else Scale(m, factor) for factor, m in terms]
    return models[0] if len(models) == 1 else Sum(models, allow=allow)


def _some(symbols: Sequence[str]) -> str:
    return " ".join(symbols) if len(symbols) <= 12 else f"{' '.join(symbols[:10])} and {len(symbols) - 10} more"


def combine_cards(cards: Sequence[tuple[float, Card]]) -> Card:
    """Card of a scaled sum: elements in common, largest cutoff, names joined."""
    named = [c if f == 1.0 else replace(c, name=f"{f:g}*{c.name}") for f, c in cards]
    held = net_weights(cards)
    if len(named) == 1:
        return with_counts(named[0], held)

    def joined(attribute: str) -> str:
        return "; ".join(dict.fromkeys(v for c in named if (v := getattr(c, attribute)) and v != "unknown"))

    whole = Card(
        name=" + ".join(c.name for c in named),
        family=" + ".join(dict.fromkeys(c.family for c in named)),
        elements=tuple(e for e in named[0].elements if all(e in c.elements for c in named)),
        cutoff=max(c.cutoff for c in named),
        outputs=tuple(o for o in named[0].outputs if all(o in c.outputs for c in named)),
        summary=joined("summary"),
        level_of_theory=joined("level_of_theory") or "unknown",
        training_data=joined("training_data"),
        citation=joined("citation"),
        doi=joined("doi"),
        licence=joined("licence") or "unknown",
        files={k: v for c in named for k, v in c.files.items()},
        # False where all terms say that they do not hold it, None where one does not say
        dispersion_included="dispersion" in held or (
            False if all(c.dispersion_included is not None for c in named) else None
        ),
    )
    return with_counts(whole, held)


def device_of(name: str) -> torch.device:
    """ "auto", "cpu", "cuda", "cuda:1" -> torch.device; BackendUnavailable when it is not there."""
    from .core.errors import BackendUnavailable

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"device is {name!r}; allowed are 'auto', 'cpu', 'cuda' and 'cuda:N'") from error
    if device.type not in ("cpu", "cuda"):
        raise OptionError(f"device is {name!r}; allowed are 'auto', 'cpu', 'cuda' and 'cuda:N'")
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise BackendUnavailable(
            f"device '{name}' is not available: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices; use device='cpu' or install a CUDA build of torch"
        )
    return device
