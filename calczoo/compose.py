"""Models made of models: Sum and Scale, with what makes sense to be added, and committees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import torch

from .committee import SHARED, check_cards, committee_card
from .core.card import Card
from .core.errors import OptionError, PropertyNotImplementedError, SpecError
from .core.model import Model
from .core.pairs import Pairs
from .core.results import ADDITIVE, SPREADS, Results
from .core.system import System


class Scale:
    """factor * model: energies and all their derivatives."""

    def __init__(self, model: Model, factor: float):
        self.model, self.factor = model, float(factor)
        self.card = combine_cards([(factor, model.card)])
        self.cutoff, self.numbers, self.outputs = model.cutoff, model.numbers, model.outputs
        self.always = getattr(model, "always", frozenset())
        self.device, self.dtype = model.device, model.dtype

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        return self.model.compute(system, pairs, need) * self.factor


class Sum:
    """Sum of models over one shared neighbour list; it knows the elements that all terms know."""

    def __init__(self, models: Sequence[Model], card: Card | None = None):
        self.models = tuple(models)
        if not self.models:
            raise SpecError("a sum needs at least one term")
        shared = set.intersection(*(set(m.numbers) for m in self.models))
        if not shared:
            raise SpecError("the terms have no element in common: " + " + ".join(m.card.name for m in self.models))
        self.numbers = tuple(z for z in self.models[0].numbers if z in shared)
        self.cutoff = max(m.cutoff for m in self.models)
        # what is added needs all terms; charges, descriptors and the like may come from the one term that has them
        every = frozenset.intersection(*(frozenset(m.outputs) for m in self.models))
        owners = Counter(o for m in self.models for o in m.outputs if o not in ADDITIVE)
        self.outputs = (every & ADDITIVE) | {o for o, count in owners.items() if count == 1}
        self.always = self.outputs & frozenset().union(*(getattr(m, "always", ()) for m in self.models))
        self.device, self.dtype = self.models[0].device, self.models[0].dtype
        if any(m.device != self.device or m.dtype != self.dtype for m in self.models):
            raise OptionError("the terms of a sum must share device and dtype")
        self.card = card or combine_cards([(1.0, m.card) for m in self.models])

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


def combine(terms: Sequence[tuple[float, Model]]) -> Model:
    """Model of a parsed spec."""
    models = [m if factor == 1.0 else Scale(m, factor) for factor, m in terms]
    return models[0] if len(models) == 1 else Sum(models)


def combine_cards(cards: Sequence[tuple[float, Card]]) -> Card:
    """Card of a scaled sum: elements in common, largest cutoff, names joined."""
    named = [c if f == 1.0 else replace(c, name=f"{f:g}*{c.name}") for f, c in cards]
    if len(named) == 1:
        return named[0]

    def joined(attribute: str) -> str:
        return "; ".join(dict.fromkeys(v for c in named if (v := getattr(c, attribute)) and v != "unknown"))

    return Card(
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
    )


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
