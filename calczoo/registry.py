"""The registry: a name -> a Family -> a Model -> a calculator.

Built-in families and those of other packages come through the same pluggy hook. An outside package declares

    [project.entry-points.calczoo]
    myfamily = "my_package.zoo"          # a module (or object) with a hook implementation `calczoo_family`

and nothing of it is imported before somebody asks for `myfamily`. Listing reads names from package metadata only.
"""

from __future__ import annotations

import fnmatch
import importlib
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from .core.card import Card
from .core.errors import OptionError, PluginError, SpecError, UnknownCalculator
from .family import Committee, Composite, Family, ModelRequest, close_match
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
    "get_calculator",
    "get_family",
    "hookimpl",
    "list_calculators",
    "load_object",
    "read_params",
]

GROUP = "calczoo"
BUILTIN = {
    "snap": "calczoo.families.snap",
    "eam": "calczoo.families.eam",
    "sw": "calczoo.families.sw",
    "tersoff": "calczoo.families.tersoff",
    "mtp": "calczoo.families.mtp",
    "hdnnp": "calczoo.families.hdnnp",
    "zbl": "calczoo.addons.zbl",
    "table": "calczoo.addons.table",
    "ewald": "calczoo.addons.ewald",
}
"""Adding a built-in family is one line here and one folder there."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class HookSpecs:
    """What a plug-in may implement."""

    @hookspec(firstresult=True)
    def calczoo_family(self, name: str) -> Family | None:
        """Return the Family called `name`, or None when it is not yours. Keep it light: no torch import here."""


def load_object(dotted: str) -> Callable[..., Any]:
    """Import "module:name"; PluginError with the traceback when a plug-in's code cannot be imported."""
    module, _, name = dotted.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a foreign package raises while it is imported
        raise PluginError(f"{dotted} cannot be loaded:\n{traceback.format_exc()}") from error


# -- discovery -----------------------------------------------------------------------------------------------


def _outside() -> dict[str, list[EntryPoint]]:
    """Entry points of other packages by name, from metadata only (nothing is imported)."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if not any(point.value == p.value and point.dist == p.dist for p in found.get(point.name, [])):
            found.setdefault(point.name, []).append(point)
    return found


def _dist(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"


def collisions() -> dict[str, str]:
    """Family names claimed twice, with the message; such a name is unusable unless it is a built-in's own."""
    out = {}
    for name, points in _outside().items():
        owners = [_dist(p) for p in points]
        if name in BUILTIN:
            out[name] = f"'{name}' is a built-in family; the plug-in of {', '.join(owners)} is ignored: rename it"
        elif len(points) > 1:
            out[name] = f"'{name}' is claimed by {' and '.join(owners)}; uninstall one or ask its author to rename"
    return out


def family_names() -> list[str]:
    """All names, built-in first; imports nothing."""
    return [*BUILTIN, *sorted(n for n in _outside() if n not in BUILTIN)]


@cache
def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(HookSpecs)
    return manager


def get_family(name: str) -> Family:
    """The Family of that name; loads its plug-in, and only that one.

    Raises UnknownCalculator with close names, PluginError with the plug-in's traceback.
    """
    outside = _outside()
    if name not in BUILTIN and name not in outside:
        raise UnknownCalculator(
            f"no family is called '{name}' (there are: {', '.join(family_names())})"
            f"{close_match(name, family_names())}{_as_folder(name)}; see calczoo list"
        )
    if name not in BUILTIN and len(outside[name]) > 1:
        raise PluginError(collisions()[name])
    return _load_family(name)


@cache
def _load_family(name: str) -> Family:
    """Load one plug-in in its own guard. Each has its own hook caller, so that none can answer for another's name."""
    origin = "calczoo"
    try:
        if name in BUILTIN:
            plugin: Any = importlib.import_module(BUILTIN[name])
        else:
            point = _outside()[name][0]
            origin = _dist(point)
            plugin = point.load()
    except (Exception, SystemExit) as error:  # whatever a foreign package raises while it is imported
        raise PluginError(f"plug-in '{name}' of {origin} cannot be loaded:\n{traceback.format_exc()}") from error
    manager = _manager()
    try:
        if not manager.is_registered(plugin):
            manager.register(plugin, name=f"{GROUP}:{name}")
    except Exception as error:  # a hook with a wrong signature
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        raise PluginError(f"plug-in '{name}' of {origin} has a wrong hook: {error}") from error
    others = [p for p in manager.get_plugins() if p is not plugin]
    try:
        family = manager.subset_hook_caller("calczoo_family", remove_plugins=others)(name=name)
    except Exception as error:  # a foreign hook
        raise PluginError(f"plug-in '{name}' of {origin} failed:\n{traceback.format_exc()}") from error
    if not isinstance(family, Family) or family.name != name:
        raise PluginError(
            f"plug-in '{name}' of {origin}: calczoo_family(name='{name}') returned {family!r}; "
            f"it must return a calczoo.Family whose name is '{name}'"
        )
    return family if origin == "calczoo" else replace(family, origin=origin)


def doctor() -> list[dict[str, Any]]:
    """State of every family: name, origin, ok, message (the traceback of a broken plug-in)."""
    rows = []
    clash = collisions()
    for name in family_names():
        row = {"name": name, "origin": "calczoo", "ok": True, "message": ""}
        try:
            family = get_family(name)
            row["origin"] = family.origin
            for dotted in filter(None, (family.read, family.build, family.fit)):
                load_object(dotted)
        except PluginError as error:
            row.update(ok=False, message=str(error), origin=", ".join(_dist(p) for p in _outside().get(name, [])))
        rows.append(row)
        if name in BUILTIN and name in clash:
            owners = ", ".join(_dist(p) for p in _outside()[name])
            rows.append({"name": name, "origin": owners, "ok": False, "message": clash[name]})
    return rows


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


def family_of_file(name: str) -> str | None:
    """The built-in family whose files are called like this, by the longest suffix, or whose folders look like the one
    of this name; None when there is none."""
    families = [get_family(n) for n in BUILTIN]
    found = [(len(s), f.name) for f in families for s in f.suffixes if name.lower().endswith(s)]
    return max(found)[1] if found else next((f.name for f in families if f.folder and is_model_folder(name, f)), None)


def is_model_folder(name: str | Path, family: Family) -> bool:
    """True for a folder that holds a model of a family whose models are folders, or a committee of such folders."""
    try:
        folder = Path(name).expanduser()
        return (folder / family.folder).is_file() or any(folder.glob(f"*/{family.folder}"))
    except (OSError, ValueError, RuntimeError):  # no usable file name
        return False


def _as_folder(name: str) -> str:
    """How to name a folder of a potential that is called like this, where there is one: a bare word is a family."""
    found = next((f.name for f in map(get_family, BUILTIN) if f.folder and is_model_folder(name, f)), None)
    return "" if found is None else f"; the folder of that name, of {found}, is './{name}'"


ABILITIES = frozenset(
    "energy energies forces stress charges dipole electronegativities descriptors extrapolation_grade "
    "extrapolation_grades local_gap_variance fit gpu potential addon torch warp".split()
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
        request = ModelRequest(term.family, named, term.args, chosen, options=merged, **common)
        out.append((term.factor, request))
    return out


def read_params(request: ModelRequest) -> Any:
    """Let the family read its files: its params, or a Composite."""
    family = get_family(request.family)
    if request.backend not in ("auto", *family.backends):
        raise OptionError(f"{family.name} has no backend '{request.backend}' (has: auto, {', '.join(family.backends)})")
    return load_object(family.read)(request)


def build_model(request: ModelRequest) -> Model:
    """Read and build one term; a Composite becomes a Sum, a Committee a CommitteeModel."""
    return _model(read_params(request), request)


def _model(params: Any, request: ModelRequest) -> Model:
    if isinstance(params, Committee):
        from .compose import CommitteeModel

        return CommitteeModel([_model(one, request) for one in params.members], card=params.card)
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
    build = load_object(family.build)
    model = build(params, request)
    if "torch" in family.backends:
        with suppress(AttributeError):  # a foreign model that takes no attributes has no twin
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
    **options: Any,
) -> ZooCalculator:
    """An ASE calculator for any family of the zoo.

    name_or_spec: family ("snap"), family and model ("snap:Mo"), a file whose suffix tells ("Ta06A.snap"), or a sum
    ("snap:Ta06A.snap + 0.5*zbl(4.0, 4.8)").
    model: bundled name, parameter file or folder, when not part of the spec. elements: the type map where a file does
    not name its elements, otherwise the subset to use. device: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1".
    dtype: "float64" or "float32". backend: "auto", "torch" (reference, differentiable), "warp" (fast). threads: CPU
    threads, default all; the environment variable CALCZOO_NUM_THREADS overrides it. skin: A, width of the shell of the
    neighbour list that is reused between calls (0 switches reuse off). max_memory_gib: refuse larger evaluations.

    Raises SpecError, UnknownCalculator, OptionError, PotentialFileError, PluginError, BackendUnavailable.
    """
    if dtype not in ("float64", "float32"):
        raise OptionError(f"dtype is {dtype!r}; allowed are 'float64' and 'float32'")
    common = {"device": device, "dtype": dtype, "backend": backend, "threads": threads}
    terms = requests(name_or_spec, model, elements, common, options)
    for _, request in terms:
        get_family(request.family)  # a wrong name must not cost the import of torch
    from .calculator import ZooCalculator
    from .compose import combine

    models = [(factor, build_model(request)) for factor, request in terms]
    return ZooCalculator(combine(models), skin=skin, max_memory_gib=max_memory_gib)


def describe(
    name_or_spec: str | Path, model: Any = None, elements: str | Iterable[str] | None = None, **options: Any
) -> Card:
    """The Card of a model: elements, cutoff, level of theory, citation, licence, files. Nothing is evaluated."""
    from .compose import combine_cards

    cards = []
    for factor, request in requests(name_or_spec, model, elements, {}, options):
        if request.model is None and get_family(request.family).kind == "potential":
            raise SpecError(f"name a model of '{request.family}' to describe, for example {_example(request.family)}")
        cards.append((factor, card_of(read_params(request))))
    return combine_cards(cards)


def _example(name: str) -> str:
    family = get_family(name)
    return family.example or next((f"'{name}:{m}'" for m in family.bundled), f"'{name}:FILE'")


def card_of(params: Any) -> Card:
    """The card of what `read` returned."""
    card = params.card
    return card() if callable(card) else card
