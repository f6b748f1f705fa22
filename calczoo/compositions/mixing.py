"""w A + (1 - w) B of two local models, by weights of atoms, as one model with its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..compose import Sum, combine_cards
from ..core.card import Card
from ..core.counting import weights_of, with_counts
from ..core.elements import number
from ..core.errors import OptionError
from ..core.model import Model
from .regions import is_length
from .weighted import Weighted
from .weights import CloseWeights, SiteWeights

ROLES = {"by_region": ("inside", "outside"), "switch": ("short", "long")}
"""Of the first and the second model."""


def mixed_model(
    kind: str, models: Sequence[Model], weights: SiteWeights, shift: Mapping[str, float] | None = None
) -> Model:
    """kind: a key of ROLES; shift: element -> eV per atom, added to the first. Raises OptionError for models that are
    not local and for a shift that is none."""
    if shift is not None and not isinstance(shift, Mapping):
        raise OptionError(f"shift is {shift!r}; expected is {{element: eV per atom}}, as energy_shift gives it")
    energies = {number(symbol): energy for symbol, energy in (shift or {}).items()}
    if wrong := [e for e in energies.values() if not is_length(e)]:
        raise OptionError(f"shift holds {wrong[0]!r}; expected are finite numbers, eV per atom")
    first, second = models
    both = Weighted(first, weights, shift=energies), Weighted(second, weights, inverse=True)
    card = mixed_card(kind, [m.card for m in models], weights)
    whole = Sum(both, card=card, counts=weights_of(card))
    if "virial" not in whole.outputs:
        outputs = tuple(o for o in whole.card.outputs if not o.startswith("stress"))
        whole.card = replace(whole.card, outputs=outputs)
    return whole


def mixed_card(kind: str, cards: Sequence[Card], weights: SiteWeights) -> Card:
    """Facts about the mixture. What both models hold it holds once, because every atom has one of them or shares."""
    both = combine_cards([(1.0, card) for card in cards])
    first, second = ROLES[kind]
    names = {first: cards[0].name, second: cards[1].name}
    card = replace(
        both,
        name=f"{kind}({', '.join(names.values())}, {weights})",
        family=kind,
        cutoff=max(both.cutoff, weights.reach),
        outputs=("energy", "energies", "forces", "stress"),
        summary=f"{names[first]} {first} and {names[second]} {second}, by weights of atoms: {weights}",
        extra={**names, "weights": str(weights)},
    )
    one, two = (weights_of(c) for c in cards)
    return with_counts(card, {kind: max(one.get(kind, 0.0), two.get(kind, 0.0)) for kind in {**one, **two}})


def close_weights(r_on: float, r_off: float) -> CloseWeights:
    """Weights by the distances of neighbours. Raises OptionError."""
    if not (is_length(r_on) and is_length(r_off) and 0.0 < r_on < r_off):
        raise OptionError(f"r_on is {r_on!r} and r_off {r_off!r}; needed is 0 < r_on < r_off (A)")
    return CloseWeights(r_on, r_off)
