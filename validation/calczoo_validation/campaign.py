"""A campaign: which properties of which structures from which calculators, cut into items that can be run anywhere.

One item is one property of one target from one calculator. Its key is the hash of all that its numbers depend on:
calculator, structure, settings, code, and the keys of the items that it builds on. Items with equal keys are the same
item, whoever computes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from calczoo.core.errors import OptionError
from calczoo.family import close_match

from .options import General, check_mode, resolve
from .registry import SUITES, Property, all_properties
from .results import PropertyResult, Status
from .sources import Source, card_of
from .store import checksum, code_fingerprint, content_key, plain
from .structures import Crystal


@dataclass
class Target:
    """What is examined: a crystal, a data set of reference calculations, or both."""

    label: str
    crystal: Crystal | None = None
    dataset: str = ""
    frames: list[Atoms] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """Plain data for a job; a data set travels by name."""
        return {"crystal": self.crystal.as_data() if self.crystal else None, "dataset": self.dataset}

    def identity(self, prop: Property) -> dict[str, Any]:
        """What the property's numbers depend on."""
        if prop.input == "dataset":
            return {"frames": checksum([frame_data(a) for a in self.frames])}
        return {"crystal": self.crystal.as_data() if self.crystal else None}

    def probe(self) -> Atoms:
        return self.crystal.atoms if self.crystal else self.frames[0]

    def has(self, prop: Property) -> bool:
        return bool(self.frames) if prop.input == "dataset" else self.crystal is not None


def frame_data(atoms: Atoms) -> list[Any]:
    """Structure and reference results of one frame, as plain data to be hashed."""
    results = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    known = {k: np.asarray(v).tolist() for k, v in sorted(results.items()) if k in ("energy", "forces", "stress")}
    return [atoms.numbers.tolist(), atoms.cell.array.tolist(), atoms.positions.tolist(), atoms.pbc.tolist(), known]


@dataclass(frozen=True)
class Item:
    """One property of one target from one calculator; `needs` are the keys of earlier items by property name."""

    model: int
    target: int
    prop: Property
    options: Any
    key: str
    inputs: dict[str, Any]
    needs: dict[str, str]


@dataclass
class Settings:
    """Mode and changes: {"elastic": {"strain": 0.005}, "general": {"temperature": 600}}."""

    mode: str = "fast"
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def check(self, known: Mapping[str, Property]) -> None:
        """Errors: OptionError for a mode, property or setting that does not exist, or a value out of bounds."""
        check_mode(self.mode)
        for name, values in self.changes.items():
            if name != "general" and name not in known:
                names = ["general", *known]
                raise OptionError(f"settings for unknown property {name!r}{close_match(name, names)} (has: {names})")
            if not isinstance(values, Mapping):
                raise OptionError(f"settings of {name!r} must be a mapping, as in {name}: {{...}}, not {values!r}")
            self.options(General if name == "general" else known[name].options, name)

    def options(self, cls: type, name: str) -> Any:
        return resolve(cls, self.mode, self.changes.get(name), where=name)


class Campaign:
    """All items of a run, in an order in which each comes after those that it needs."""

    def __init__(
        self, sources: Sequence[Source], targets: Sequence[Target], wanted: None | str | Sequence[str] = None,
        settings: Settings | None = None, max_batch_atoms: int = 20000,
    ):  # fmt: skip
        self.sources, self.targets = list(sources), list(targets)
        self.settings = settings or Settings()
        self.max_batch_atoms = max_batch_atoms
        known, self.problems = all_properties()
        self.settings.check(known)
        self.general = self.settings.options(General, "general")
        data, crystal = any(t.frames for t in targets), any(t.crystal for t in targets)
        self.chosen, self.by_name = choose(known, wanted, data, crystal)
        self.calculators = [source.build() for source in self.sources]
        self.left_out: list[list[tuple[str, str]]] = [[] for _ in self.targets]
        self.items: list[Item] = []
        self.refused: dict[tuple[int, int, str], PropertyResult] = {}
        for t, target in enumerate(self.targets):
            applicable = self._applicable(t, target)
            for m, source in enumerate(self.sources):
                props = [p for p in applicable if self._suits(m, t, p)]
                identity = source.identity(self.calculators[m], target.probe())
                keys: dict[str, str] = {}
                for prop in props:
                    item = self._item(m, t, prop, identity, keys, known)
                    keys[prop.name] = item.key
                    self.items.append(item)

    def _applicable(self, t: int, target: Target) -> list[Property]:
        """Properties that make sense here; one asked for by its own name stays, as unsupported, with the reason."""
        props = []
        for prop in self.chosen:
            if not target.has(prop):
                if prop.name in self.by_name:
                    lack = "a data set (--dataset)" if prop.input == "dataset" else "a crystal (--proto or --structure)"
                    self._refuse(t, prop, f"needs {lack}")
                continue
            reason = prop.applies(target.crystal) if prop.input == "crystal" and target.crystal else ""
            if not reason:
                props.append(prop)
            elif prop.name in self.by_name:
                self._refuse(t, prop, reason)
            else:
                self.left_out[t].append((prop.title, reason))
        names = {p.name for p in props}
        return [p for p in props if all(n in names for n in p.needs)]

    def _suits(self, m: int, t: int, prop: Property) -> bool:
        """Whether this calculator can be asked; if not, left out or, where asked for by name, answered."""
        crystal = self.targets[t].crystal
        options = self.settings.options(prop.options, prop.name)
        reason = prop.suits(self.calculators[m], crystal, options) if crystal is not None else ""
        if reason and prop.name in self.by_name:
            self._refuse(t, prop, reason, [m])
        elif reason:
            label = f" ({self.sources[m].label})" if len(self.sources) > 1 else ""
            self.left_out[t].append((prop.title + label, reason))
        return not reason

    def _refuse(self, t: int, prop: Property, reason: str, models: Sequence[int] | None = None) -> None:
        for m in range(len(self.sources)) if models is None else models:
            result = PropertyResult(prop.name, prop.title)
            result.flag(Status.UNSUPPORTED, reason)
            self.refused[m, t, prop.name] = result

    def _item(self, m: int, t: int, prop: Property, identity: dict, keys: dict[str, str], known) -> Item:
        needs = {name: keys[name] for name in closure(prop, known)}
        options = self.settings.options(prop.options, prop.name)
        inputs = plain({
            "property": prop.name, "version": prop.version, "code": code_fingerprint(), "plugin": plugin_code(prop),
            "calculator": identity, "target": self.targets[t].identity(prop), "mode": self.settings.mode,
            "options": asdict(options), "general": asdict(self.general), "needs": needs,
        })  # fmt: skip
        return Item(m, t, prop, options, content_key(inputs), inputs, needs)

    def shard(self, text: str) -> list[Item]:
        """Items of shard "i/n" (1 <= i <= n) together with those that they need."""
        i, slash, n = text.partition("/")
        if not slash or not i.isdigit() or not n.isdigit() or not 1 <= int(i) <= int(n):
            raise OptionError(f"shard {text!r}: write i/n with 1 <= i <= n, as in 2/4")
        mine = [item for item in self.items if int(item.key[:12], 16) % int(n) == int(i) - 1]
        keys = {item.key for item in mine} | {key for item in mine for key in item.needs.values()}
        return [item for item in self.items if item.key in keys]

    def job(self, item: Item) -> dict[str, Any]:
        """Plain data from which any process computes the item (see jobs.py)."""
        return {
            "source": self.sources[item.model].recipe(), "target": self.targets[item.target].data(),
            "property": item.prop.name, "options": asdict(item.options), "general": asdict(self.general),
            "mode": self.settings.mode, "needs": item.needs, "key": item.key, "inputs": item.inputs,
            "max_batch_atoms": self.max_batch_atoms,
        }  # fmt: skip

    def cards(self) -> list[dict[str, Any]]:
        return [card_of(c) for c in self.calculators]


def choose(known: Mapping[str, Property], wanted, data: bool, crystal: bool) -> tuple[list[Property], set[str]]:
    """Properties to run with all they need, in the report's order, and the names that were asked for one by one.

    wanted: None (the basic suite, and the errors on a data set where one is given), a name, or several names of
    properties and suites. Errors: OptionError for an unknown name.
    """
    if wanted is None:
        names = [*(["basic"] if crystal else []), *(["dataset"] if data else [])]
    else:
        names = [wanted] if isinstance(wanted, str) else list(wanted)
    chosen: dict[str, Property] = {}

    def take(name: str) -> None:
        if name not in known:
            everything = [*known, *SUITES]
            raise OptionError(
                f"unknown property {name!r}{close_match(name, everything)} Known: {', '.join(known)}; "
                f"suites: {', '.join(SUITES)}"
            )
        for need in known[name].needs:
            take(need)
        chosen[name] = known[name]

    for name in names:
        members = SUITES.get(name, (name,))
        for member in [n for n in known if data or known[n].input != "dataset"] if members is None else members:
            take(member)
    order = list(known)
    in_order = sorted(chosen.values(), key=lambda p: (p.order, order.index(p.name)))
    return _after_needs(in_order), {n for n in names if n not in SUITES}


def _after_needs(props: list[Property]) -> list[Property]:
    """The same list, with every property after those that it needs."""
    done: dict[str, Property] = {}
    left = list(props)
    while left:
        ready = next((p for p in left if all(n in done for n in p.needs)), None)
        if ready is None:
            raise OptionError(f"properties need each other in a circle: {', '.join(p.name for p in left)}")
        done[ready.name] = ready
        left.remove(ready)
    return list(done.values())


def closure(prop: Property, known: Mapping[str, Property]) -> list[str]:
    """Everything that the property builds on, directly or not."""
    out: list[str] = []
    for need in prop.needs:
        for name in [*closure(known[need], known), need]:
            if name not in out:
                out.append(name)
    return out


def plugin_code(prop: Property) -> str:
    """Name and version of the package of a property from outside; "" for those of this package."""
    from .sources import distribution_version

    module = prop.run.__module__
    return "" if module.startswith(f"{__package__}.") else f"{module} ({distribution_version(module)})"
