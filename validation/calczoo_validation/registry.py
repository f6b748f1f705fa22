"""Properties by name: every file of `properties/`, and packages that announce one by an entry point.

A property is a module with `PROPERTY = Property(...)`. An outside package adds one with

    [project.entry-points."calczoo_validation.properties"]
    surface = "my_package.surface:PROPERTY"
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from calczoo.core.errors import OptionError

from .engine import Evaluator
from .progress import Progress
from .results import PropertyResult
from .settings import Settings
from .structures import Crystal

GROUP = "calczoo_validation.properties"


@dataclass
class Context:
    """What a property gets: the evaluator, the crystal (relaxed by `lattice`), settings and earlier results."""

    evaluator: Evaluator
    crystal: Crystal
    settings: Settings
    results: dict[str, PropertyResult] = field(default_factory=dict)
    progress: Progress = field(default_factory=lambda: Progress(False))
    shared: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Property:
    """One property. `run(context, result)` fills the result; `plots([(label, result, references), ...])` draws it.

    `needs` names properties that must have been run before; `order` sorts the report; `about` tells a reader in plain
    words what the numbers are. `plots` returns matplotlib figures as (key, title, caption, figure).
    """

    name: str
    title: str
    run: Callable[[Context, PropertyResult], None]
    about: str
    needs: tuple[str, ...] = ("lattice",)
    order: int = 100
    plots: Callable[[list[tuple[str, PropertyResult, dict[str, list[dict]]]]], list[tuple]] | None = None


# Named groups, accepted wherever a list of properties is.
SUITES = {
    "all": None,
    "static": ("lattice", "eos", "elastic"),
    "vibrations": ("lattice", "phonons"),
    "defects": ("lattice", "vacancy"),
}


def built_in() -> dict[str, Property]:
    """The properties of this package, in the order of the report."""
    from . import properties

    found = {}
    for info in pkgutil.iter_modules(properties.__path__):
        if not info.name.startswith("_"):
            prop = importlib.import_module(f"{properties.__name__}.{info.name}").PROPERTY
            found[prop.name] = prop
    return dict(sorted(found.items(), key=lambda kv: kv[1].order))


def all_properties() -> tuple[dict[str, Property], list[str]]:
    """All properties by name, and one message per plug-in that could not be used (others are not harmed by it)."""
    found, problems = built_in(), []
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:
            prop = entry.load()
        except Exception as error:  # noqa: BLE001 - a broken plug-in of others may raise anything; it is reported
            problems.append(f"property plug-in {entry.name} ({entry.value}): {type(error).__name__}: {error}")
            continue
        if not isinstance(prop, Property):
            problems.append(f"property plug-in {entry.name} ({entry.value}) is no calczoo_validation.Property")
        elif prop.name in found:
            problems.append(f"property plug-in {entry.name} ({entry.value}): the name {prop.name!r} is taken")
        else:
            found[prop.name] = prop
    return found, problems


def select(wanted: None | str | list[str] | tuple[str, ...]) -> tuple[list[Property], list[str]]:
    """The asked properties with all they need, in the order of the report; and plug-in problems.

    `wanted`: None (all), a suite's or property's name, or a list of such names. ValueError for an unknown name.
    """
    known, problems = all_properties()
    names = ["all"] if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    chosen: list[str] = []

    def take(name: str) -> None:
        if name not in known:
            raise OptionError(f"unknown property {name!r}; known: {', '.join(known)}; suites: {', '.join(SUITES)}")
        for need in known[name].needs:
            take(need)
        if name not in chosen:
            chosen.append(name)

    for name in names:
        members = SUITES.get(name, (name,))
        for member in known if members is None else members:
            take(member)
    return sorted((known[n] for n in chosen), key=lambda p: p.order), problems
