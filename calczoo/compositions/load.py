"""From the specs `delta(base, correction)` and `switch(short, long, r_on, r_off)` to both models and the whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..compose import combine, combine_cards
from ..core.card import Card
from ..core.counting import check_double_counting
from ..core.elements import is_element
from ..core.errors import OptionError
from ..core.model import Model
from ..registry import ModelRequest, build_params, card_of, read_params, requests
from .deltas import check_parts, delta_card, delta_model, warn_of_corrections
from .mixing import close_weights, mixed_card, mixed_model
from .weights import CloseWeights

Term = tuple[float, ModelRequest, Any]
"""Factor, request and params of one term of a part."""


@dataclass(frozen=True)
class DeltaParams:
    """What was read of both parts."""

    base: tuple[Term, ...]
    correction: tuple[Term, ...]
    force: bool
    card: Card


@dataclass(frozen=True)
class SwitchParams:
    """What was read of both parts; shift: element -> eV per atom, added to the first."""

    short: tuple[Term, ...]
    long: tuple[Term, ...]
    weights: CloseWeights
    shift: dict[str, float]
    card: Card


def read_delta(request: ModelRequest) -> DeltaParams:
    """Both parts are specs: `delta(eam:Cu_u3.eam + zbl(1.0, 2.0), mtp:correction.mtp)`. Raises OptionError,
    DoubleCounting, and what the families of the parts raise."""
    request.check_options(("force",))
    if request.model is not None or len(request.args) != 2 or not _are_specs(request.args):
        raise OptionError("delta takes two models in parentheses: 'delta(eam:Cu_u3.eam, mtp:correction.mtp)'")
    force = request.options.get("force", False)
    if not isinstance(force, bool):
        raise OptionError(f"delta: force is {force!r}; allowed are true and false")
    base, correction = (_read_part(spec, request) for spec in request.args)
    cards = _card(base), _card(correction)
    check_parts(*cards, force, request.allow)
    return DeltaParams(base, correction, force, delta_card(*cards))


def build_delta(params: DeltaParams, request: ModelRequest) -> Model:
    """The sum of both. Raises SpecError for a correction to another base, DoubleCounting."""
    base, correction = _build_part(params.base, request), _build_part(params.correction, request)
    return delta_model(base, correction, params.force, request.allow)


def read_switch(request: ModelRequest) -> SwitchParams:
    """`switch(zbl(2.0, 3.0), snap:Mo, 1.2, 1.8)`, with energies to be added to the first model by element, `Mo=-4.6`.
    Raises OptionError, DoubleCounting, and what the families of the parts raise."""
    shift = {key: value for key, value in request.options.items() if is_element(key)}
    numbers = {key: value for key, value in request.options.items() if key not in shift}
    if unknown := [key for key in numbers if key not in ("r_on", "r_off")]:
        raise OptionError(
            f"switch has no option '{unknown[0]}' (its options: r_on, r_off, and energies of elements such as Mo=-4.6)"
        )
    by_place = dict(zip(("r_on", "r_off"), request.args[2:], strict=False))
    given = {**by_place, **numbers}
    twice = len(given) < len(by_place) + len(numbers)
    if request.model is not None or not _are_specs(request.args[:2]) or len(given) != 2 or twice or request.args[4:]:
        raise OptionError("switch takes two models and two distances (A): 'switch(zbl(2.0, 3.0), snap:Mo, 1.2, 1.8)'")
    weights = close_weights(**given)
    short, long = (_read_part(spec, request) for spec in request.args[:2])
    card = mixed_card("switch", [_card(short), _card(long)], weights)
    return SwitchParams(short, long, weights, shift, card)


def build_switch(params: SwitchParams, request: ModelRequest) -> Model:
    """Both, by the distances of neighbours. Raises OptionError for models that are not local."""
    models = [_build_part(part, request) for part in (params.short, params.long)]
    for model in models:
        warn_of_corrections(model)
    return mixed_model("switch", models, params.weights, params.shift)


# -- parts ---------------------------------------------------------------------------------------------------


def _are_specs(args: tuple[Any, ...]) -> bool:
    return len(args) == 2 and all(isinstance(a, str) for a in args)


def _read_part(spec: str, request: ModelRequest) -> tuple[Term, ...]:
    common = {name: getattr(request, name) for name in ("device", "dtype", "backend", "threads", "allow")}
    found = requests(spec, None, request.elements, common, {})
    return tuple((factor, one, read_params(one)) for factor, one in found)


def _card(part: tuple[Term, ...]) -> Card:
    cards = [(factor, card_of(params)) for factor, _, params in part]
    check_double_counting(cards, part[0][1].allow)
    return combine_cards(cards)


def _build_part(part: tuple[Term, ...], request: ModelRequest) -> Model:
    """With the whole's device, precision and backend."""
    whole = {"device": request.device, "dtype": request.dtype, "backend": request.backend, "threads": request.threads}
    terms = [(factor, build_params(params, replace(one, **whole))) for factor, one, params in part]
    return combine(terms, request.allow)
