"""A user's own reference: values in JSON, frames of DFT calculations, a VASP folder, or a phonopy folder.

Values are taken as they are. Frames go through the same protocol as the calculators: every chosen property that can
work from frames (`Property.from_frames`) makes its numbers and curves of them. All of it is then the kind "reference",
which comes before every built-in one. What the linter finds is kept beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms

from calczoo.core.errors import CalczooError, DataError
from calczoo.family import close_match

from .datasets import load_dataset
from .engine import Evaluator
from .lint import Finding, in_order, lint_frames, lint_values
from .lint_frames import level_of
from .options import General, resolve
from .references import NO_COMMON_ZERO
from .registry import Context, Property, all_properties
from .results import PropertyFailure, PropertyResult, Status
from .store import plain
from .structures import Crystal, OtherMaterial

HEAD_KEYS = {
    "$schema": "ignored", "crystal": "prototype that the values are of, as in Mo:bcc",
    "level_of_theory": "functional, basis, k-points: whatever decides what may be compared",
    "source": "citation", "doi": "DOI of the source", "url": "address of the source", "note": "remark",
}  # fmt: skip
VALUE_KEYS = {
    "value": "the number", "unit": "its unit, as the property gives it", "error": "its uncertainty, same unit",
    "source": "citation, if other than that of the file", "doi": "DOI", "url": "address", "note": "remark",
}  # fmt: skip
PHONOPY_FILES = ("phonopy*.yaml*", "FORCE_SETS*", "FORCE_CONSTANTS*")
MAX_JSON = 20_000_000


@dataclass
class OwnReference:
    """values: property -> name -> entries as of references.lookup; results: property -> PropertyResult (curves)."""

    label: str
    level_of_theory: str = ""
    values: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    results: dict[str, PropertyResult] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    frames: list[Atoms] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the frames; the inverse is `from_dict`."""
        results = []
        for r in self.results.values():
            row = r.to_dict()
            row.pop("seconds", None)
            results.append(row)
        return plain({
            "label": self.label, "level_of_theory": self.level_of_theory, "values": self.values, "results": results,
            "notes": self.notes, "findings": [asdict(f) for f in self.findings],
        })  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OwnReference:
        results = {r["property"]: PropertyResult.from_dict(r) for r in data["results"]}
        findings = [Finding(**f) for f in data["findings"]]
        return cls(data["label"], data["level_of_theory"], data["values"], results, list(data["notes"]), findings)


def load_reference(
    path: str | Path,
    *,
    crystal: Crystal | None = None,
    properties: Sequence[str] | None = None,
    mode: str = "fast",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> OwnReference:
    """The reference in a JSON file of values, a file or VASP folder of frames, or a phonopy folder.

    properties: names of those that a run has chosen (None: all that can work from frames). mode, settings: as of the
    run, so that the same protocol is applied. Errors: DataError naming file, key, and what is expected.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"reference {str(path)!r}: no such file or folder")
    if path.is_file() and path.suffix == ".json" and _is_values(path):
        own = _values(path, crystal)
    elif path.is_dir() and any(any(path.glob(name)) for name in PHONOPY_FILES):
        own = _phonopy(path, crystal, mode, settings or {})
    else:
        own = _frames(path, crystal, properties, mode, settings or {})
    key = crystal.reference_key() if crystal is not None else ""
    own.findings = in_order([*own.findings, *lint_values(own.values, key)])
    if not own.values and not own.results:
        own.notes.append("Nothing in it that any of the chosen properties can use.")
    return own


# -- values in JSON --------------------------------------------------------------------------------------------------


def reference_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a file of reference values."""
    text = {"type": "string"}
    number = {"type": "number"}
    kinds = {"value": number, "error": {"type": "number", "minimum": 0}}
    entry = {
        "type": "object", "required": ["value", "unit"], "additionalProperties": False,
        "properties": {k: {**kinds.get(k, text), "description": v} for k, v in VALUE_KEYS.items()},
    }  # fmt: skip
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "calczoo reference values",
        "type": "object", "properties": {k: {**text, "description": v} for k, v in HEAD_KEYS.items()},
        "patternProperties": {r"^[a-z0-9_]+\.\S+$": entry}, "additionalProperties": False,
    }  # fmt: skip


def _is_values(path: Path) -> bool:
    """An object of values, and not ASE's database or a list of frames, which are JSON too."""
    return isinstance(data := _read_json(path), dict) and not {"ids", "nextid"} <= set(data)


def _read_json(path: Path) -> Any:
    if path.stat().st_size > MAX_JSON:
        raise DataError(f"{path.name}: {path.stat().st_size} bytes; at most {MAX_JSON}")
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path.name}: no valid JSON: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys occur once: of two values for one name nobody knows which is meant."""
    names = [k for k, _ in pairs]
    double = next((k for k in names if names.count(k) > 1), None)
    if double is not None:
        raise DataError(f"reference values: the key {double!r} occurs twice")
    return dict(pairs)


def _no_constant(text: str) -> None:
    raise DataError(f"reference values: {text} is no number")


def _values(path: Path, crystal: Crystal | None) -> OwnReference:
    data, name = _read_json(path), path.name
    heads = {k: v for k, v in data.items() if "." not in k}
    for key, value in heads.items():
        if key not in HEAD_KEYS:
            hint = close_match(key, [*HEAD_KEYS])
            raise DataError(
                f"{name}: unknown key {key!r}{hint}; values are written property.name, as in elastic.C11; other keys: "
                f"{', '.join(HEAD_KEYS)}"
            )
        if not isinstance(value, str):
            raise DataError(f"{name}: {key} is {value!r}; expected a text")
    stated = heads.get("crystal", "")
    if stated and crystal is not None and stated not in (crystal.reference_key(), crystal.label):
        raise OtherMaterial(f"{name}: the values are of {stated}, this run is about {crystal.reference_key()}")
    own = OwnReference(name, heads.get("level_of_theory", ""))
    if not own.level_of_theory:
        own.findings.append(Finding("warning", name, "no level of theory is stated (key level_of_theory)"))
    known, _ = all_properties()
    for key, entry in data.items():
        if "." in key:
            prop, value_name = _checked_name(key, entry, known, name)
            if key in NO_COMMON_ZERO:
                own.notes.append(f"{key} is not compared: the zero of energy is a convention of each code.")
                continue
            own.values.setdefault(prop, {})[value_name] = [_entry(entry, heads, own)]
    if not own.values and not own.notes:
        raise DataError(f'{name}: no values; write them as "elastic.C11": {{"value": 466, "unit": "GPa"}}')
    return own


def _checked_name(key: str, entry: Any, known: Mapping[str, Property], file: str) -> tuple[str, str]:
    """Property and name of one value, after all checks."""
    prop, _, name = key.partition(".")
    if prop not in known:
        raise DataError(f"{file}: {key}: unknown property{close_match(prop, list(known))} (has: {', '.join(known)})")
    if not isinstance(entry, dict):
        raise DataError(
            f'{file}: {key} is {entry!r}; expected an object with value and unit, as in {{"value": 466, "unit": "GPa"}}'
        )
    unknown = next((k for k in entry if k not in VALUE_KEYS), None)
    if unknown is not None:
        hint = close_match(unknown, [*VALUE_KEYS])
        raise DataError(f"{file}: {key}: unknown key {unknown!r}{hint} (has: {', '.join(VALUE_KEYS)})")
    for k in ("value", "error"):
        v = entry.get(k)
        if (v is None and k == "value") or (v is not None and (isinstance(v, bool) or not isinstance(v, int | float))):
            raise DataError(f"{file}: {key}: {k} is {v!r}; expected a number")
    if entry.get("error") is not None and entry["error"] < 0:
        raise DataError(f"{file}: {key}: error is {entry['error']!r}; expected a number >= 0")
    for k in ("unit", "source", "doi", "url", "note"):
        if not isinstance(entry.get(k, "" if k != "unit" else None), str):
            raise DataError(f"{file}: {key}: {k} is {entry.get(k)!r}; expected a text")
    outputs = known[prop].outputs
    match = known[prop].output(name)
    if match is None:
        allowed = ", ".join(o.name for o in outputs)
        raise DataError(f"{file}: {key}: {prop} gives no such value{close_match(name, [])} (gives: {allowed})")
    if entry["unit"] != match.unit:
        raise DataError(f"{file}: {key}: unit {entry['unit']!r}; {prop} gives it in {match.unit!r}")
    return prop, name


def _entry(entry: Mapping[str, Any], heads: Mapping[str, str], own: OwnReference) -> dict[str, Any]:
    parts = (entry.get("source") or heads.get("source", ""), own.level_of_theory)
    return {
        "value": float(entry["value"]), "unit": entry["unit"], "kind": "reference",
        "source": ", ".join(p for p in parts if p) or own.label, "short": own.label,
        "doi": entry.get("doi") or heads.get("doi", ""), "url": entry.get("url") or heads.get("url", ""),
        "note": entry.get("note", ""), "error": entry.get("error"),
    }  # fmt: skip


# -- frames ----------------------------------------------------------------------------------------------------------


class _NoCalculator:
    """In the place of a calculator: a reference has its frames and nothing else."""

    implemented_properties: list[str] = []

    def evaluate(self, structures: Sequence[Atoms], properties: Sequence[str] = ()) -> list[dict]:
        raise PropertyFailure("the reference frames hold no such structure", Status.UNSUPPORTED)


def _frames(path: Path, crystal, properties, mode: str, settings) -> OwnReference:
    frames = load_dataset(path)
    elements = sorted({s for a in frames for s in a.get_chemical_symbols()})
    if crystal is not None and not set(elements) & set(crystal.atoms.get_chemical_symbols()):
        raise OtherMaterial(f"{path.name}: the frames are of {', '.join(elements)}, this run is about {crystal.label}")
    levels = sorted({level_of(a) for a in frames} - {""})
    own = OwnReference(path.name, "; ".join(levels[:3]), frames=frames)
    own.findings = lint_frames(frames, path.name)
    known, _ = all_properties()
    wanted = [known[n] for n in (properties or known) if n in known and known[n].from_frames is not None]
    for prop in wanted:
        result = PropertyResult(prop.name, prop.title)
        context = _context(prop, crystal, frames, path.name, mode, settings, own.results)
        if prop.input == "crystal" and crystal is None:
            own.notes.append(f"{prop.title}: needs a crystal (--proto or --structure) beside the frames.")
            continue
        _apply(prop, frames, context, result, own)
    return own


def _context(prop: Property, crystal, frames, label: str, mode: str, settings, results) -> Context:
    return Context(
        Evaluator(_NoCalculator()), crystal, options=resolve(prop.options, mode, settings.get(prop.name), prop.name),
        general=resolve(General, mode, settings.get("general"), "general"), mode=mode, results=dict(results),
        frames=frames, dataset=label,
    )  # fmt: skip


def _apply(prop: Property, frames, context: Context, result: PropertyResult, own: OwnReference) -> None:
    """Numbers of one property from the frames; why there are none goes into the notes."""
    try:
        prop.from_frames(frames, context, result)
    except (PropertyFailure, CalczooError, NotImplementedError) as error:
        own.notes.append(f"{prop.title}: {error}")
        return
    except Exception as error:  # noqa: BLE001 - frames of others may hold anything; the reason is reported
        own.notes.append(f"{prop.title}: {type(error).__name__}: {error}")
        return
    result.finish()
    _take(result, own)


def _take(result: PropertyResult, own: OwnReference) -> None:
    """Add a result computed from the reference and its sound numbers as reference values."""
    own.results[result.property] = result
    doubtful = []
    for v in result.values:
        if v.value is None or v.status in (Status.FAILED, Status.UNSUPPORTED):
            continue
        if f"{result.property}.{v.name}" in NO_COMMON_ZERO:
            continue
        if v.status is not Status.OK:
            doubtful.append(f"{v.label} {v.status}: {v.reason}")
        entry = {
            "value": v.value, "unit": v.unit, "kind": "reference", "short": own.label, "doi": "", "url": "",
            "source": ", ".join(p for p in (f"from {own.label} by the same protocol", own.level_of_theory) if p),
            "note": "; ".join(p for p in (v.note, str(v.status) if v.status is not Status.OK else "") if p),
            "error": v.error,
        }  # fmt: skip
        own.values.setdefault(result.property, {})[v.name] = [entry]
    if doubtful:
        more = f" and {len(doubtful) - 1} more" if len(doubtful) > 1 else ""
        own.findings.append(Finding("warning", own.label, f"{result.title}: {doubtful[0]}{more}"))


def _phonopy(path: Path, crystal, mode: str, settings) -> OwnReference:
    """Forces of displaced supercells, as phonopy writes them, through the phonon report of this package."""
    from .force_sets import from_force_sets
    from .properties.phonons import Options

    own = OwnReference(path.name)
    result = PropertyResult("phonons", "Phonons")
    context = Context(
        Evaluator(_NoCalculator()), crystal, options=resolve(Options, mode, settings.get("phonons"), "phonons"),
        general=resolve(General, mode, settings.get("general"), "general"), mode=mode,
    )  # fmt: skip
    try:
        from_force_sets(path, context, result)
    except PropertyFailure as error:
        raise DataError(f"{path.name}: {error}") from error
    result.finish()
    own.findings.append(Finding("warning", path.name, "no level of theory is stated in a phonopy folder"))
    _take(result, own)
    return own
