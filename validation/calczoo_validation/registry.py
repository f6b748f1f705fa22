"""Properties by name: every file of `properties/`, and packages that announce one by an entry point.

A property is a module with `PROPERTY = Property(...)`. An outside package adds one with

    [project.entry-points."calczoo_validation.properties"]
    surface = "my_package.surface:PROPERTY"
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from typing import Any

from calczoo.core.errors import OptionError

from .engine import Evaluator
from .options import General, NoOptions
from .progress import Progress
from .results import PropertyResult
from .structures import Crystal

GROUP = "calczoo_validation.properties"


@dataclass
class Context:
    """What a property gets.

    evaluator   energies, forces, stresses of many structures at once
    crystal     the structure to work on: relaxed once `lattice` has run, so for every property that needs it
    options     this property's own settings;  general: those shared by all
    results     results of the properties named in `needs`, by name, as they come back from the store
    frames      structures with reference energies, forces, stresses, for a property of input "dataset"
    """

    evaluator: Evaluator
    crystal: Crystal
    options: Any = None
    general: General = field(default_factory=General)
    mode: str = "fast"
    results: dict[str, PropertyResult] = field(default_factory=dict)
    progress: Progress = field(default_factory=lambda: Progress(False))
    frames: list[Any] = field(default_factory=list)
    dataset: str = ""

    @property
    def elements(self) -> list[str]:
        """Elements of the crystal or of the data set."""
        return sorted({s for a in (self.frames or [self.crystal.atoms]) for s in a.get_chemical_symbols()})


@dataclass(frozen=True)
class Output:
    """Numbers that a property gives: `name` with * and ? as in file names, its unit, and what it is."""

    name: str
    unit: str
    about: str


def always(crystal: Crystal) -> str:
    """A property that makes sense for every crystal."""
    return ""


def every(calculator: Any, crystal: Crystal, options: Any) -> str:
    """A property that every calculator can be asked for."""
    return ""


@dataclass(frozen=True)
class Property:
    """One property. `run(context, result)` fills the result; `plots([(label, result, references), ...])` draws it.

    about      what the numbers are, in plain words for a reader of the report
    options    dataclass of its settings (see options.py)
    outputs    every number it may give, with its unit
    needs      properties that must have been run before
    input      "crystal", or "dataset": structures with reference values
    applies    why it makes no sense for a crystal ("" where it does)
    suits      the same for a calculator, a crystal and the property's options
    requires   packages beyond the installed ones, as (import name, what to install)
    sources    DOIs of the method
    order      place in the report
    plots      returns matplotlib figures as (key, title, caption, figure)
    from_frames  the same numbers from a user's own reference calculations: `from_frames(frames, context, result)` fills
               the result from structures with energies, forces, stresses (ASE SinglePointCalculator), as far as they
               allow, with the same protocol
    version    to be raised when the same settings give other numbers: results of older versions are not reused
    """

    name: str
    title: str
    run: Callable[[Context, PropertyResult], None]
    about: str
    options: type = NoOptions
    outputs: tuple[Output, ...] = ()
    needs: tuple[str, ...] = ("lattice",)
    input: str = "crystal"
    applies: Callable[[Crystal], str] = always
    suits: Callable[[Any, Crystal, Any], str] = every
    requires: tuple[tuple[str, str], ...] = ()
    sources: tuple[str, ...] = ()
    order: int = 100
    plots: Callable[[list[tuple[str, PropertyResult, dict[str, list[dict]]]]], list[tuple]] | None = None
    from_frames: Callable[[list[Any], Context, PropertyResult], None] | None = None
    version: int = 1

    def output(self, name: str) -> Output | None:
        """What is declared about a value: of all patterns that fit, the one with most letters of its own."""
        fitting = [o for o in self.outputs if fnmatchcase(name, o.name)]
        return max(fitting, key=lambda o: len(re.sub(r"\[.*?\]|[*?]", "", o.name)), default=None)


# Named groups, accepted wherever a list of properties is.
SUITES = {
    "basic": ("lattice", "eos", "elastic", "phonons", "vacancy"),
    "static": ("lattice", "eos", "phases", "elastic", "elastic3", "bain", "dimers"),
    "vibrations": ("lattice", "phonons", "grueneisen", "qha", "conductivity"),
    "defects": ("lattice", "vacancy", "divacancy", "interstitials", "substitution", "migration"),
    "extended": ("lattice", "surfaces", "stacking_faults", "decohesion", "grain_boundaries", "dislocations"),
    "dynamics": ("lattice", "md", "liquid", "diffusion", "melting", "short_range_order"),
    "all": None,
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
