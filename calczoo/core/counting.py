"""Double counting: what a term of a sum already holds must not be added a second time.

A card says what its model holds besides the short-range bonding that every potential has, by names such as those of
`KINDS`, in `card.extra["counts"]`: a list, or {kind: how many times} in the cards of sums whose factors are not one;
`card.dispersion_included` counts as "dispersion". A kind that several terms hold may be in a sum once, that is with
factors that add up to 1 at most: `0.3*a + 0.7*b` mixes two models that both hold dispersion, `a + 0.5*d3(pbe)` would
hold it one and a half times. A term whose card has `extra["forced"]` (True, or the kinds it is true for) is added
whatever the others hold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from .card import Card
from .errors import OptionError, SpecError

KINDS = ("dispersion", "electrostatics", "nuclear repulsion")
"""The kinds that the families of the zoo use; a plug-in may have further ones."""

CORRECTION = "delta_base"
"""Key of `card.extra` that tells the base to which a model is a correction; see compositions/deltas.py."""


class DoubleCounting(SpecError):
    """Terms of a sum hold the same physics. Attributes: `kind`, `terms` (names of all of them)."""

    def __init__(self, kind: str, terms: tuple[str, ...], weight: float, hint: str = ""):
        self.kind, self.terms = kind, terms
        named = [repr(t) for t in terms]
        option = f"-o 'allow={kind}'" if " " in kind else f"-o allow={kind}"
        super().__init__(
            f"{', '.join(named[:-1])} and {named[-1]} {'both' if len(terms) == 2 else 'all'} hold {kind}, which the "
            f"sum would count {weight:g} times; {hint}leave one of them out, or, if this is meant, pass "
            f"allow={{{kind!r}}} (on the command line {option})"
        )


def weights_of(card: Card) -> dict[str, float]:
    """Kind of physics -> how many times the model of this card holds it."""
    named = card.extra.get("counts") or ()
    held = dict(named) if isinstance(named, Mapping) else dict.fromkeys([named] if isinstance(named, str) else named, 1)
    if card.dispersion_included:
        held.setdefault("dispersion", 1)
    return {kind: float(weight) for kind, weight in held.items()}


def counts_of(card: Card) -> frozenset[str]:
    """Kinds of physics that the model of this card holds."""
    return frozenset(weights_of(card))


def net_weights(terms: Iterable[Any]) -> dict[str, float]:
    """Kind -> how many times a sum of (factor, model or card) holds it; without those whose factors cancel."""
    held: dict[str, float] = {}
    for factor, model in terms:
        for kind, weight in weights_of(model if isinstance(model, Card) else model.card).items():
            held[kind] = held.get(kind, 0.0) + factor * weight
    return {kind: weight for kind, weight in held.items() if abs(weight) > 1e-9}


def with_counts(card: Card, held: Mapping[str, float]) -> Card:
    """The card of a model that holds this: `extra["counts"]` is a list where everything is there once."""
    extra = {k: v for k, v in card.extra.items() if k != "counts"}
    if held:
        once = all(abs(weight - 1.0) < 1e-9 for weight in held.values())
        extra["counts"] = sorted(held) if once else {kind: held[kind] for kind in sorted(held)}
    return replace(card, extra=extra)


def allowed_kinds(allow: Any) -> frozenset[str]:
    """Names from what a user gives: a collection, or a text with commas. Raises OptionError."""
    names = allow.split(",") if isinstance(allow, str) else allow
    if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise OptionError(f"allow is {allow!r}; expected are kinds of physics, such as {{{KINDS[0]!r}, {KINDS[1]!r}}}")
    return frozenset(name.strip() for name in names)


def check_double_counting(terms: Iterable[Any], allow: Collection[str] = ()) -> None:
    """Raise DoubleCounting where terms hold the same kind with factors that add up to more than 1.

    terms: models, cards, or (factor, model or card); allow: kinds that may be in the sum more than once.
    """
    allowed = allowed_kinds(allow)
    holders: dict[str, list[tuple[float, Card]]] = {}
    for term in terms:
        factor, model = term if isinstance(term, tuple) else (1.0, term)
        card = model if isinstance(model, Card) else model.card
        forced = card.extra.get("forced")
        skipped = [forced] if isinstance(forced, str) else () if forced is True else forced or ()
        for kind, weight in sorted(weights_of(card).items()):
            if forced is not True and kind not in allowed and kind not in skipped:
                holders.setdefault(kind, []).append((factor * weight, card))
    for kind, found in holders.items():
        weights = [weight for weight, _ in found]
        # one term alone may hold a kind more than once: somebody has asked for that
        if sum(weights) > max(1.0, *weights) + 1e-9:
            cards = [card for weight, card in found if weight > 0.0]
            raise DoubleCounting(kind, tuple(card.name for card in cards), sum(weights), _hint(cards))


def _hint(cards: list[Card]) -> str:
    for card in cards:
        if told := card.extra.get(CORRECTION):
            return f"{card.name} was trained as a correction: write 'delta({told.get('spec')}, {card.name})'; else "
    return ""
