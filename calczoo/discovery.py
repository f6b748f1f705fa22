"""Which families there are: the built-in ones, and those that other packages announce by an entry point.

    [project.entry-points.calczoo]
    myfamily = "my_package"              # a module (or object) with a hook implementation `calczoo_family`

Names come from package metadata; a plug-in is imported when its name is used, alone and in its own guard, so that what
one package does wrong stays an error of its own name.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

import pluggy

from .core.errors import PluginError, UnknownCalculator
from .family import Family, close_match

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
    "d3": "calczoo.addons.d3",
    "d4": "calczoo.addons.d4",
    "delta": "calczoo.compositions.family",
    "switch": "calczoo.compositions.family",
}
"""Adding a built-in family is one line here and one folder there."""

SLOW_IMPORT = 1.0
"""Seconds above which `doctor` remarks on the import of a plug-in."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class HookSpecs:
    """What a plug-in may implement."""

    @hookspec(firstresult=True)
    def calczoo_family(self, name: str) -> Family | None:
        """Return the Family called `name`, or None when it is not yours. Keep it light: no torch import here."""


@contextmanager
def foreign_code() -> Iterator[None]:
    """Around code of other packages: what it prints goes to stderr, since stdout may be a command's JSON."""
    with redirect_stdout(sys.stderr):
        yield


def load_object(dotted: str) -> Callable[..., Any]:
    """Import "module:name"; PluginError with the traceback when a plug-in's code cannot be imported."""
    module, _, name = dotted.partition(":")
    try:
        with foreign_code():
            found = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever a foreign package raises while it is imported
        raise PluginError(f"{dotted} cannot be loaded:\n{traceback.format_exc()}") from error
    if not callable(found):
        raise PluginError(f"{dotted} is a {type(found).__name__}; expected a function")
    return found


# -- what is installed ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Announced:
    """Entry points of other packages by name, and the packages whose metadata cannot be read, with the reason."""

    points: dict[str, list[EntryPoint]]
    unreadable: dict[str, str]


def _announced() -> Announced:
    """From metadata only (nothing is imported); read again after something was installed or removed."""
    return _scan(tuple((entry, _changed(entry)) for entry in sys.path))


def _changed(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except (OSError, ValueError):  # entries of sys.path need not exist
        return 0


@lru_cache(maxsize=8)
def _scan(state: tuple[tuple[str, int], ...]) -> Announced:
    points: dict[str, list[EntryPoint]] = {}
    unreadable: dict[str, str] = {}
    seen: set[str] = set()
    for dist in distributions():
        label = _folder(dist)
        try:
            if f"[{GROUP}]" not in (dist.read_text("entry_points.txt") or ""):
                continue
            if not (name := dist.metadata["Name"]):
                raise ValueError("no name")
            label = f"{name} {dist.version}"
            if (key := re.sub(r"[-_.]+", "-", name).lower()) in seen:  # twice on the path: the first one is imported
                continue
            seen.add(key)
            for point in dist.entry_points:
                if point.group == GROUP:
                    points.setdefault(point.name, []).append(point)
        except Exception as error:  # metadata that no installer has written
            why = f"{type(error).__name__}: {error}"
            unreadable[label] = f"the metadata of {label} cannot be read ({why}); reinstall it"
    return Announced(points, unreadable)


def _folder(dist: Distribution) -> str:
    """Name of the folder of metadata, which is there even when what it holds cannot be read."""
    return Path(str(getattr(dist, "_path", "a package"))).name


def _dist(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"


def collisions() -> dict[str, str]:
    """Family names claimed twice, with the message; such a name is unusable unless it is a built-in's own."""
    out = {}
    for name, points in _announced().points.items():
        owners = [_dist(p) for p in points]
        if name in BUILTIN:
            out[name] = f"'{name}' is a built-in family; the plug-in of {', '.join(owners)} is ignored: rename it"
        elif len(points) > 1:
            out[name] = f"'{name}' is claimed by {' and '.join(owners)}; uninstall one or ask its author to rename"
    return out


def family_names() -> list[str]:
    """All names, built-in first; imports nothing."""
    return [*BUILTIN, *sorted(n for n in _announced().points if n not in BUILTIN)]


def owners(name: str) -> list[str]:
    """The other packages that announce this name, with their versions."""
    return [_dist(p) for p in _announced().points.get(name, [])]


# -- one family ----------------------------------------------------------------------------------------------


def get_family(name: str) -> Family:
    """The Family of that name; loads its plug-in, and only that one.

    Raises UnknownCalculator with close names, PluginError with the plug-in's traceback.
    """
    if name in BUILTIN:
        return _load_family(name)
    points = _announced().points
    if name not in points:
        raise UnknownCalculator(
            f"no family is called '{name}' (there are: {', '.join(family_names())})"
            f"{close_match(name, family_names())}{_as_folder(name)}; see calczoo list"
        )
    if len(points[name]) > 1:
        raise PluginError(collisions()[name])
    return _load_family(name)


@cache
def _load_family(name: str) -> Family:
    """Load one plug-in in its own guard, with a plug-in manager of its own: none can answer for another's name."""
    origin, point = "calczoo", None
    if name not in BUILTIN:
        point = _announced().points[name][0]
        origin = _dist(point)
    try:
        with foreign_code():
            plugin: Any = importlib.import_module(BUILTIN[name]) if point is None else point.load()
    except (Exception, SystemExit) as error:  # whatever a foreign package raises while it is imported
        raise PluginError(f"plug-in '{name}' of {origin} cannot be loaded:\n{traceback.format_exc()}") from error
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(HookSpecs)
    try:
        manager.register(plugin, name=f"{GROUP}:{name}")
    except Exception as error:  # a hook with a wrong signature
        raise PluginError(f"plug-in '{name}' of {origin} has a wrong hook: {error}") from error
    try:
        with foreign_code():
            family = manager.hook.calczoo_family(name=name)
    except (Exception, SystemExit) as error:  # a foreign hook
        raise PluginError(f"plug-in '{name}' of {origin} failed:\n{traceback.format_exc()}") from error
    if not isinstance(family, Family) or family.name != name:
        hint = "" if manager.hook.calczoo_family.get_hookimpls() else "; mark the function with @calczoo.hookimpl"
        raise PluginError(
            f"plug-in '{name}' of {origin}: calczoo_family(name='{name}') returned {_shown(family)}; "
            f"it must return a calczoo.Family whose name is '{name}'{hint}"
        )
    return family if point is None else replace(family, origin=origin)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:300]
    except Exception:  # a foreign __repr__
        return f"an object of {type(value).__name__}"


def doctor() -> list[dict[str, Any]]:
    """State of every family: name, origin, ok, message (the traceback of a broken plug-in), seconds of its import."""
    rows = []
    clash = collisions()
    for name in family_names():
        row = {"name": name, "origin": "calczoo", "ok": True, "message": ""}
        start = time.perf_counter()
        try:
            family = get_family(name)
            row["origin"] = family.origin
            if (spent := time.perf_counter() - start) > SLOW_IMPORT and name not in BUILTIN:
                row["message"] = f"'{name}' took {spent:.1f} s to import; what is heavy belongs into its read and build"
            for dotted in filter(None, (family.read, family.build, family.fit)):
                load_object(dotted)
        except PluginError as error:
            row.update(ok=False, message=str(error), origin=", ".join(owners(name)) or "calczoo")
        row["seconds"] = time.perf_counter() - start
        rows.append(row)
        if name in BUILTIN and name in clash:
            rows.append({"name": name, "origin": ", ".join(owners(name)), "ok": False, "message": clash[name]})
    for label, message in _announced().unreadable.items():
        rows.append({"name": "?", "origin": label, "ok": False, "message": message})
    return rows


# -- files and folders ---------------------------------------------------------------------------------------


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
