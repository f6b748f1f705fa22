"""Settings of a property: a frozen dataclass whose fields carry unit, meaning, bounds and the values of each mode.

    @dataclass(frozen=True)
    class Options:
        strain: float = option(1e-3, "strain magnitude; twice this is used as well", low=1e-6, high=0.05)

`resolve(Options, mode, {"strain": 0.005})` makes the settings of one run; `schema(Options)` describes them as JSON
Schema. Keys that do not exist, values of a wrong type and values out of bounds raise OptionError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_args, get_origin, get_type_hints

from calczoo.core.errors import OptionError
from calczoo.family import close_match

MODES = ("smoke", "fast", "full")
_JSON = {float: "number", int: "integer", bool: "boolean", str: "string"}


def option(
    default: Any,
    about: str,
    *,
    unit: str = "",
    smoke: Any = MISSING,
    full: Any = MISSING,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """A field of an options class. `default` holds for mode fast, `smoke` and `full` where they differ from it.

    low, high: inclusive bounds of a number, or of each number of a tuple. choices: the allowed values.
    """
    meta = {"about": about, "unit": unit, "smoke": smoke, "full": full, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class NoOptions:
    """Of a property that has nothing to set."""


@dataclass(frozen=True)
class General:
    """Settings shared by all properties, under the name "general"."""

    temperature: float = option(300.0, "temperature at which thermal properties are quoted", unit="K", low=0, high=5e4)
    crystal_fmax: float = option(1e-4, "largest force left in a relaxed crystal", unit="eV/A", low=1e-8, high=0.1)
    max_steps: int = option(300, "relaxation steps before a structure counts as unconverged", full=1000, low=1)
    seed: int = option(1, "seed of everything random", low=0)


def resolve(cls: type, mode: str, changes: Mapping[str, Any] | None = None, where: str = "") -> Any:
    """An instance of the options class for one mode, with `changes` on top. `where` names the owner in errors."""
    check_mode(mode)
    known = {f.name: f for f in fields(cls)}
    hints = get_type_hints(cls)
    values = {}
    for name, f in known.items():
        special = f.metadata.get(mode, MISSING)
        if special is not MISSING:
            values[name] = special
    for name, value in (changes or {}).items():
        label = f"{where}.{name}" if where else name
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise OptionError(f"unknown setting {label!r}{close_match(name, list(known))} (has: {allowed})")
        values[name] = _checked(label, value, hints[name], known[name].metadata)
    return cls(**values)


def check_mode(mode: str) -> None:
    if mode not in MODES:
        raise OptionError(f"unknown mode {mode!r}{close_match(mode, MODES)}; allowed: {', '.join(MODES)}")


def _checked(label: str, value: Any, kind: Any, meta: Mapping[str, Any]) -> Any:
    """The value in the field's type, within its bounds."""
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        items = list(value) if isinstance(value, list | tuple) else [value]
        if not items:
            raise OptionError(f"setting {label} is empty; give at least one value")
        return tuple(_checked(label, v, inner, meta) for v in items)
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        value = _number(value)  # YAML takes 1e-3 for a text
    if not isinstance(value, kind) or (kind in (int, float) and isinstance(value, bool)):
        raise OptionError(f"setting {label} is {value!r}; expected {_JSON.get(kind, kind)}")
    if isinstance(value, float) and value != value:
        raise OptionError(f"setting {label} is not a number")
    low, high, choices = meta.get("low"), meta.get("high"), meta.get("choices")
    if kind in (int, float) and ((low is not None and value < low) or (high is not None and value > high)):
        bounds = f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"{low:g} .. {high:g}"
        raise OptionError(f"setting {label} is {value:g}; allowed: {bounds}")
    if choices is not None and value not in choices:
        raise OptionError(f"setting {label} is {value!r}; allowed: {', '.join(map(str, choices))}")
    return value


def _number(value: int | str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def schema(cls: type) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of an options class; defaults are those of mode fast."""
    hints, properties = get_type_hints(cls), {}
    for f in fields(cls):
        meta = f.metadata
        kind = hints[f.name]
        inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
        item: dict[str, Any] = {"type": _JSON[inner]}
        if meta.get("low") is not None:
            item["minimum"] = meta["low"]
        if meta.get("high") is not None:
            item["maximum"] = meta["high"]
        if meta.get("choices") is not None:
            item["enum"] = list(meta["choices"])
        if get_origin(kind) is tuple:
            item = {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}
        unit = f" ({meta['unit']})" if meta.get("unit") else ""
        item["description"] = f"{meta.get('about', '')}{unit}"
        item["default"] = list(f.default) if isinstance(f.default, tuple) else f.default
        for mode in ("smoke", "full"):
            if meta.get(mode, MISSING) is not MISSING:
                item[f"x-{mode}"] = list(meta[mode]) if isinstance(meta[mode], tuple) else meta[mode]
        properties[f.name] = item
    return {"type": "object", "properties": properties, "additionalProperties": False}
