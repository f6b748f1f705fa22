"""The registry: a name -> a Family -> a Model -> a calculator.

Built-in families and those of other packages come through the same pluggy hook. An outside package declares

    [project.entry-points.calczoo]
    myfamily = "my_package.zoo"          # a module (or object) with a hook implementation `calczoo_family`

and nothing of it is imported before somebody asks for `myfamily`. Listing reads names from package metadata only.
"""

from __future__ import annotations

import fnmatch
import traceback
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.card import Card
from .core.counting import allowed_kinds, check_double_counting, net_weights, weights_of, with_counts
from .core.errors import CalczooError, OptionError, PluginError, SpecError
from .discovery import (
    BUILTIN,
    collisions,
    doctor,
    family_names,
    family_of_file,
    foreign_code,
    get_family,
    hookimpl,
    is_model_folder,
    load_object,
)
from .family import Committee, Composite, Family, ModelRequest
from .isolated import isolate, isolation_of
from .spec import TermSpec, parse_spec

if TYPE_CHECKING:
    from .calculator import ZooCalculator
    from .core.model import Model

__all__ = [
    "BUILTIN",
    "Committee",
    "Composite",
    "Family",
    "ModelRequest",
    "build_model",
    "collisions",
    "describe",
    "doctor",
    "family_names",
    "family_of_file",
    "get_calculator",
    "get_family",
    "hookimpl",
    "is_model_folder",
    "list_calculators",
    "load_object",
    "read_params",
]

# -- the three public verbs ----------------------------------------------------------------------------------


def list_calculators(
    pattern: str = "*", *, elements: str | Iterable[str] | None = None, can: str | Iterable[str] | None = None
) -> list[str]:
    """Names usable in `get_calculator`: `family` and `family:bundled-model`, filtered by a wildcard pattern.

    elements: keep bundled models that know all of these (and families that read files of any elements);
    can: "fit", "gpu", or an output such as "stress" or "charges". A plug-in is loaded only when a filter needs to know
    more than its name; a broken one is left out then (see `doctor`).
    """
    from .core.elements import parse_elements

    wanted = set(parse_elements(elements) or ())
    abilities = {can} if isinstance(can, str) else set(can or ())
    if unknown := sorted(abilities - ABILITIES - {n for b in BUILTIN for n in _abilities(get_family(b))}):
        raise OptionError(f"can={unknown[0]!r} is no ability; known are {', '.join(sorted(ABILITIES))}")
    out = []
    for name in family_names():
        if name not in BUILTIN and not wanted and not abilities:
            out.append(name)
            continue
        try:
            family = get_family(name)
        except PluginError:
            continue
        if not abilities <= _abilities(family):
            continue
        if not wanted or not family.elements or wanted <= set(family.elements):
            out.append(name)
        out += [f"{name}:{m}" for m in family.bundled if wanted <= set(family.bundled_elements.get(m, ()))]
    return [n for n in out if fnmatch.fnmatch(n, pattern)]


ABILITIES = frozenset(
    "energy energies forces stress charges dipole magmoms electronegativities descriptors extrapolation_grade "
    "extrapolation_grades local_gap_variance fit gpu potential addon composition torch warp".split()
)
"""What `list_calculators(can=...)` may ask for; families may have further outputs."""


def _abilities(family: Family) -> set[str]:
    return {*family.outputs, *family.backends, family.kind, *({"fit"} if family.fit else ()), "gpu"}


def requests(name_or_spec: str | Path, model: Any, elements: Any, common: dict, options: dict) -> list[tuple]:
    """(factor, ModelRequest) of every term."""
    from .core.elements import parse_elements

    terms: tuple[TermSpec, ...] = parse_spec(name_or_spec, family_of_file)
    if len(terms) > 1 and (model is not None or options):
        raise SpecError("model= and options belong to a single family; write them into the terms of a sum")
    chosen = parse_elements(elements)
    out = []
    for term in terms:
        if model is not None and term.model is not None:
            raise SpecError(f"two models given: '{term.model}' in the spec and model={str(model)!r}")
        named = tuple(model) if isinstance(model, (list, tuple)) else model if model is not None else term.model
        if twice := sorted(set(term.options) & set(options)):
            raise SpecError(f"option '{twice[0]}' is given in the spec and as a keyword; leave one out")
        merged = {**term.options, **options}
        isolated = merged.pop("isolated", None)
        request = ModelRequest(term.family, named, term.args, chosen, options=merged, isolated=isolated, **common)
        out.append((term.factor, request))
    return out


def read_params(request: ModelRequest) -> Any:
    """Let the family read its files: its params, or a Composite."""
    family = get_family(request.family)
    backends = family.backends or ("torch", "warp")  # none: code of others, which goes with either in a sum
    if request.backend not in ("auto", *backends):
        raise OptionError(f"{family.name} has no backend '{request.backend}' (has: auto, {', '.join(backends)})")
    isolation_of(family, request.isolated)
    return _call(family, "read", request)


def _call(family: Family, step: str, *arguments: Any) -> Any:
    """Let a family read or build. What a plug-in raises is the user's mistake when it is one of our errors or an
    OSError, and PluginError with the traceback otherwise; built-in families have no such cover."""
    function = load_object(getattr(family, step))
    if family.name in BUILTIN:
        return function(*arguments)
    try:
        with foreign_code():
            made = function(*arguments)
    except (CalczooError, OSError):
        raise
    except (Exception, SystemExit) as error:  # a fault of a foreign package
        raise PluginError(
            f"'{step}' of plug-in '{family.name}' ({family.origin}) failed:\n{traceback.format_exc()}"
        ) from error
    if step == "build" and (missing := _lacks(made)):
        raise PluginError(
            f"'build' of plug-in '{family.name}' ({family.origin}) returned {type(made).__name__}, which lacks "
            f"{', '.join(missing)}; it must return a model (calczoo.core.model.Model)"
        )
    return made


def _lacks(model: Any) -> list[str]:
    """Attributes of a model that are not there. A property of its class counts unread: it may need the foreign code."""
    return [name for name in _OF_MODEL if not (hasattr(type(model), name) or hasattr(model, name))]


_OF_MODEL = ("card", "cutoff", "numbers", "outputs", "device", "dtype", "compute")


def build_model(request: ModelRequest) -> Model:
    """Read and build one term; a Composite becomes a Sum, a Committee a CommitteeModel."""
    return build_params(read_params(request), request)


def build_params(params: Any, request: ModelRequest) -> Model:
    """The model of what `read_params` returned for the request."""
    if isinstance(params, Committee):
        from .compose import CommitteeModel

        return CommitteeModel([build_params(one, request) for one in params.members], card=params.card)
    if isinstance(params, Composite):
        from .compose import Sum

        models = []
        for name, part in params.terms:
            options = request.options if name == request.family else {}
            sub = replace(request, family=name, model=None, args=(), options=options)
            models.append(_build(part, sub))
        return Sum(models, card=params.card)
    return _build(params, request)


def _build(params: Any, request: ModelRequest) -> Model:
    """One model, with its number of host threads (both backends of a local model take it from here; other models have
    their own ways) and, where the family has the torch backend, the recipe of its differentiable twin."""
    from .core.model import Recipe
    from .core.threads import thread_count

    family = get_family(request.family)
    model = _call(family, "build", params, request)
    if where := isolation_of(family, request.isolated):
        model = isolate(model, family, where)
    if "torch" in family.backends:
        with suppress(AttributeError):  # a foreign model that takes no attributes has no twin
            build = load_object(family.build)
            model.recipe = Recipe(build, params, replace(request, backend="torch", dtype="float64"))
    count = thread_count(request.threads)
    if hasattr(model, "threads"):
        model.threads = count
    return model


def get_calculator(
    name_or_spec: str | Path,
    model: str | Path | Sequence[str | Path] | None = None,
    elements: str | Iterable[str] | None = None,
    device: str = "auto",
    dtype: str = "float64",
    backend: str = "auto",
    *,
    threads: int | None = None,
    skin: float | None = None,
    max_memory_gib: float | None = None,
    allow: Collection[str] = (),
    **options: Any,
) -> ZooCalculator:
    """An ASE calculator for any family of the zoo.

    name_or_spec: family ("snap"), family and model ("snap:Mo"), a file whose suffix tells ("Ta06A.snap"), or a sum
    ("eam:Ni.adp + 0.5*zbl(1.0, 2.0)").
    model: bundled name, parameter file or folder, when not part of the spec. elements: the type map where a file does
    not name its elements, otherwise the subset to use. device: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1".
    dtype: "float64" or "float32". backend: "auto", "torch" (reference, differentiable), "warp" (fast). threads: CPU
    threads, default all; the environment variable CALCZOO_NUM_THREADS overrides it. skin: A, width of the shell of the
    neighbour list that is reused between calls (0 switches reuse off). max_memory_gib: refuse larger evaluations.
    allow: kinds of physics that terms of a sum may hold twice, such as "dispersion". isolated (an option, for families
    around other packages): True for a process in the family's own environment (calczoo env create), False for this
    process, or the interpreter of another environment; default: as the family says.

    Raises SpecError, UnknownCalculator, OptionError, PotentialFileError, PluginError, BackendUnavailable.
    """
    if dtype not in ("float64", "float32"):
        raise OptionError(f"dtype is {dtype!r}; allowed are 'float64' and 'float32'")
    allow = allowed_kinds(allow)
    common = {"device": device, "dtype": dtype, "backend": backend, "threads": threads, "allow": allow}
    terms = requests(name_or_spec, model, elements, common, options)
    for _, request in terms:
        get_family(request.family)  # a wrong name must not cost the import of torch
    from .calculator import ZooCalculator
    from .compose import combine
    from .compositions.deltas import warn_of_corrections

    whole = combine([(factor, build_model(request)) for factor, request in terms], allow)
    warn_of_corrections(whole)
    return ZooCalculator(whole, skin=skin, max_memory_gib=max_memory_gib)


def describe(
    name_or_spec: str | Path,
    model: Any = None,
    elements: str | Iterable[str] | None = None,
    *,
    allow: Collection[str] = (),
    **options: Any,
) -> Card:
    """The Card of a model: elements, cutoff, level of theory, citation, licence, files. Nothing is evaluated.

    Raises what get_calculator raises for a wrong spec, DoubleCounting among it (allow: as there).
    """
    from .compose import combine_cards

    cards = []
    for factor, request in requests(name_or_spec, model, elements, {"allow": allowed_kinds(allow)}, options):
        if request.model is None and get_family(request.family).kind == "potential":
            raise SpecError(f"name a model of '{request.family}' to describe, for example {_example(request.family)}")
        cards.append((factor, card_of(read_params(request))))
    check_double_counting(cards, allow)
    return combine_cards(cards)


def _example(name: str) -> str:
    family = get_family(name)
    return family.example or next((f"'{name}:{m}'" for m in family.bundled), f"'{name}:FILE'")


def card_of(params: Any) -> Card:
    """The card of what `read` returned."""
    card = getattr(params, "card", None)
    card = card() if callable(card) else card
    if not isinstance(card, Card):
        raise PluginError(f"'read' returned {type(params).__name__}, whose card is {card!r}; expected a calczoo.Card")
    if isinstance(params, Composite):
        return with_counts(card, {**weights_of(card), **net_weights((1.0, card_of(p)) for _, p in params.terms)})
    return card
