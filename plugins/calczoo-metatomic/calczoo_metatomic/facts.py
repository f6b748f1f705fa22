"""What a model file tells about itself, read without running anything of it and without metatomic.

A model is a TorchScript archive: a zip file whose `data.pkl` holds, as JSON in strings, what the model can do and which
lists of neighbours it needs, those of the whole model before those of its parts. The strings are picked out of the
pickle; nothing is unpickled.
"""

from __future__ import annotations

import json
import pickletools
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ANGSTROM = {"": 1.0, "angstrom": 1.0, "a": 1.0, "bohr": 0.529177210903, "nm": 10.0, "nanometer": 10.0}
"""Unit of length -> A."""
OLD_NAMES = {"non_conservative_forces": "non_conservative_force", "charges": "charge"}


@dataclass(frozen=True)
class Facts:
    """Of a whole model. outputs: name, in today's spelling -> {"unit", "sample_kind", "description"};
    range: A, of the interaction; neighbours: (cutoff (A), full list, strict) of each list; extensions: their names."""

    types: tuple[int, ...]
    dtype: str
    devices: tuple[str, ...]
    length_unit: str
    range: float
    outputs: dict[str, dict[str, Any]]
    neighbours: tuple[tuple[float, bool, bool], ...] = ()
    extensions: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    exported: dict[str, str] = field(default_factory=dict)

    def variants(self, base: str) -> list[str]:
        """Names after the slash of the outputs `base` and `base/NAME`; "" for `base` itself."""
        return sorted(k.partition("/")[2] for k in self.outputs if k.partition("/")[0] == base)

    def per_atom(self, name: str) -> bool:
        return self.outputs[name]["sample_kind"] == "atom"


def read_facts(path: Path) -> Facts:
    """Facts of a model file. Raises ValueError for a file of another kind."""
    found, extra = _strings(path)
    capabilities = found.get("ModelCapabilities", [None])[0]
    if capabilities is None:
        raise ValueError("it is a TorchScript archive, but not one of metatomic: it does not tell what it can do")
    unit = str(capabilities.get("length_unit", ""))
    if unit.lower() not in ANGSTROM:
        raise ValueError(f"its unit of length is '{unit}'; known are {', '.join(filter(None, ANGSTROM))}")
    scale = ANGSTROM[unit.lower()]
    lists = [n for n in found.get("NeighborListOptions", []) if "cutoff" in n]
    return Facts(
        types=tuple(int(z) for z in capabilities["atomic_types"]),
        dtype=str(capabilities.get("dtype", "")),
        devices=tuple(capabilities.get("supported_devices", ())),
        length_unit=unit,
        range=scale * _number(capabilities["interaction_range"]),
        outputs={_today(k): _output(v) for k, v in capabilities["outputs"].items()},
        neighbours=tuple(
            (
                _number(n["cutoff"]) * ANGSTROM.get(str(n.get("length_unit") or unit).lower(), 1.0),
                bool(n.get("full_list", True)), bool(n.get("strict", True)),
            )
            for n in lists
        ),
        extensions=tuple(str(e["name"]) for e in _json(extra.get("extensions", "[]")) or ()),
        metadata=_json(extra.get("model-metadata", "")) or {},
        exported={k: extra[k] for k in ("metatomic-version", "torch-version") if k in extra},
    )  # fmt: skip


def _strings(path: Path) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """({class: its JSON objects in order}, {name: text of the archive's extra files})."""
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = next(n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")).partition("/")[0]
            extra = {
                n.rpartition("/")[2]: archive.read(n).decode() for n in names if n.startswith(f"{root}/extra/")
            }
            pickled = archive.read(f"{root}/data.pkl")
        for _, argument, _ in pickletools.genops(pickled):
            if isinstance(argument, str) and argument.startswith("{") and '"class"' in argument:
                value = _json(argument)
                if isinstance(value, dict) and "class" in value:
                    found.setdefault(str(value["class"]), []).append(value)
    except (zipfile.BadZipFile, StopIteration, ValueError, KeyError, OSError) as error:
        raise ValueError(f"it is no TorchScript archive ({type(error).__name__})") from error
    return found, extra


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _number(value: Any) -> float:
    """A number; metatomic writes the 64 bits of it as a whole number, so that none is lost."""
    return struct.unpack("<d", struct.pack("<q", value))[0] if isinstance(value, int) else float(value)


def _output(value: dict[str, Any]) -> dict[str, Any]:
    """Older files say per_atom instead of sample_kind."""
    kind = value.get("sample_kind") or ("atom" if value.get("per_atom") else "system")
    return {"unit": value.get("unit", ""), "sample_kind": kind, "description": value.get("description", "")}


def _today(name: str) -> str:
    base, slash, variant = name.partition("/")
    return OLD_NAMES.get(base, base) + slash + variant
