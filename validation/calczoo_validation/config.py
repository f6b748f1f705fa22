"""The configuration of a run: one YAML file, or the same keys from the command line; and its JSON Schema.

    calculators: [snap:Mo, {spec: eam, model: Mo.eam.alloy, label: my EAM}, {ase: "ase.calculators.emt:EMT"}]
    proto: [Mo:bcc]
    properties: [basic, surfaces]
    mode: fast
    settings: {elastic: {strain: 0.005}, general: {temperature: 600}}
    out: report

Every key that does not exist is an error that names the nearest one that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calczoo.core.errors import DataError, OptionError
from calczoo.family import close_match

from .campaign import Campaign, Settings
from .options import MODES, General, schema
from .registry import SUITES, all_properties
from .report import FORMATS
from .results import Status
from .runner import Run, make_target
from .sources import ZOO_KEYS, Source, distinct
from .yaml_text import parse_yaml

MOST_BYTES = 2_000_000
TEXTS = {"type": "array", "items": {"type": "string"}}
NONE = "none"
# key -> JSON Schema; this table is what is checked against, and what `calczoo schema` prints
KEYS: dict[str, dict[str, Any]] = {
    "calculators": {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}},
    "proto": {**TEXTS, "description": "crystals by name, as in Mo:bcc"},
    "structure": {**TEXTS, "description": "files that ASE reads"},
    "dataset": {**TEXTS, "description": "structures with reference energies and forces, by name or file"},
    "properties": {**TEXTS, "description": "properties and suites; the suite basic by default"},
    "mode": {"type": "string", "enum": list(MODES)},
    "settings": {"type": "object", "description": "settings of properties, and of all under 'general'"},
    "reference": {"type": "string", "description": "your own reference: JSON, extxyz, a VASP or a phonopy folder"},
    "out": {"type": "string", "description": "folder for results and reports"},
    "resume": {"type": "boolean"},
    "jobs": {"type": "integer", "minimum": 1, "description": "processes on this machine"},
    "shard": {"type": "string", "pattern": "^[0-9]+/[0-9]+$"},
    "engine": {"type": "object", "description": "{name: local} or {name: parsl, ...}"},
    "fail_on": {**TEXTS, "description": f"statuses that make the exit code 2, or {NONE!r}"},
    "formats": {**TEXTS, "items": {"type": "string", "enum": list(FORMATS)}, "description": "reports to write: all"},
    "max_batch_atoms": {"type": "integer", "minimum": 1},
}
LISTS = tuple(k for k, v in KEYS.items() if v["type"] == "array")
CALCULATOR_KEYS = ("label", "spec", *ZOO_KEYS, "ase", "kwargs")
TYPES = {"string": str, "integer": int, "boolean": bool, "object": Mapping, "array": list}


def read_config(path: str | Path) -> dict[str, Any]:
    """The configuration of a YAML file, checked. Relative file names are taken from the file's own folder.

    Errors: DataError naming file and line where it is no YAML; OptionError for keys and values that do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"configuration file {path} does not exist")
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path} is larger than {MOST_BYTES // 1_000_000} MB: that is no configuration")
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"), unique=True)
    except (DataError, UnicodeDecodeError) as error:
        raise DataError(f"{path}, {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected keys such as 'calculators:', found {type(data).__name__}")
    try:
        return _beside(check_config(data), path.parent)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def check_config(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration with single entries made lists. Errors: OptionError."""
    out: dict[str, Any] = {}
    for key, value in data.items():
        if key not in KEYS:
            raise OptionError(f"unknown key {key!r}{close_match(key, list(KEYS))} (has: {', '.join(KEYS)})")
        if value is None:
            continue
        value = [value] if key in LISTS and not isinstance(value, list) else value
        kind = TYPES[KEYS[key]["type"]]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise OptionError(f"{key} is {value!r}; expected {KEYS[key]['type']}")
        if key in LISTS and key != "calculators" and not all(isinstance(v, str) for v in value):
            raise OptionError(f"{key} is {value!r}; expected texts")
        if kind is int and value < KEYS[key]["minimum"]:
            raise OptionError(f"{key} is {value}; it must be at least {KEYS[key]['minimum']}")
        out[key] = value
    for entry in out.get("calculators", []):
        check_calculator(entry)
    check_fail_on(out.get("fail_on", []))
    for name in out.get("formats", []):
        if name not in FORMATS:
            near = close_match(name, list(FORMATS))
            raise OptionError(f"unknown report format {name!r}{near} (has: {', '.join(FORMATS)})")
    return out


def check_calculator(entry: Any) -> None:
    if isinstance(entry, str):
        return
    if not isinstance(entry, Mapping):
        raise OptionError(f"calculator {entry!r}: give a spec, or keys such as {{spec: ..., model: ...}}")
    for key in entry:
        if key not in CALCULATOR_KEYS:
            near = close_match(key, CALCULATOR_KEYS)
            raise OptionError(f"calculator has unknown key {key!r}{near} (has: {', '.join(CALCULATOR_KEYS)})")
    if ("spec" in entry) == ("ase" in entry):
        raise OptionError(f"calculator {dict(entry)!r}: give exactly one of spec and ase")


def check_fail_on(names: list[str]) -> None:
    allowed = [str(s) for s in Status if s is not Status.OK] + [NONE]
    for name in names:
        if name not in allowed:
            raise OptionError(f"fail-on {name!r}{close_match(name, allowed)} (allowed: {', '.join(allowed)})")


def _beside(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """File names relative to the configuration's folder made to work from here."""

    def found(name: str) -> str:
        beside = not Path(name).is_absolute() and (folder / name.partition("@")[0]).exists()
        return str(folder / name) if beside else name

    for key in ("structure", "dataset"):
        if key in data:
            data[key] = [found(v) for v in data[key]]
    if "reference" in data:
        data["reference"] = found(data["reference"])
    for entry in data.get("calculators", []):
        if isinstance(entry, dict) and isinstance(entry.get("model"), str):
            entry["model"] = found(entry["model"])
    return data


def make_source(entry: str | Mapping[str, Any]) -> Source:
    """Calculator of one entry of `calculators`."""
    if isinstance(entry, str):
        label = entry if "/" not in entry else "+".join(Path(t.strip()).name for t in entry.split("+"))
        return Source(label, spec=entry)
    if "ase" in entry:
        if zoo := [k for k in ZOO_KEYS if k in entry]:
            raise OptionError(f"calculator {entry['ase']}: {', '.join(zoo)} belong to the zoo's own; use kwargs")
        return Source(entry.get("label", entry["ase"]), ase=entry["ase"], kwargs=dict(entry.get("kwargs", {})))
    zoo = {k: entry[k] for k in ZOO_KEYS if k in entry}
    return Source(entry.get("label", make_source(entry["spec"]).label), spec=entry["spec"], zoo=zoo)


def make_run(config: Mapping[str, Any]) -> Run:
    """The run that a checked configuration describes. Errors: OptionError, and those of the calculators."""
    entries = config.get("calculators")
    if not entries:
        raise OptionError("no calculator given, as in: calczoo validate -c snap:Mo --proto Mo:bcc")
    targets = [make_target(p, None) for p in config.get("proto", [])]
    targets += [make_target(None, f) for f in config.get("structure", [])]
    data = config.get("dataset", [])
    if not data and "dataset" in (config.get("properties") or ()) and config.get("reference"):
        data = [config["reference"]]  # the frames of an own reference are a data set too
    if len(targets) == 1 and len(data) == 1:  # one report on a crystal and the data set that belongs to it
        both = make_target(None, None, data[0])
        targets[0].dataset, targets[0].frames = both.dataset, both.frames
    else:
        targets += [make_target(None, None, d) for d in data]
    if not targets:
        raise OptionError("nothing to validate on: give a crystal (--proto Mo:bcc, --structure FILE) or --dataset NAME")
    sources = distinct([make_source(e) for e in entries])
    settings = Settings(config.get("mode", "fast"), {k: dict(v) if isinstance(v, Mapping) else v
                                                     for k, v in config.get("settings", {}).items()})  # fmt: skip
    campaign = Campaign(
        sources, targets, config.get("properties"), settings, config.get("max_batch_atoms", 20000)
    )  # fmt: skip
    return Run(
        campaign, config.get("out"), config.get("resume", False), config.get("reference"), config.get("shard"),
        config.get("jobs", 1), dict(config.get("engine", {})), config.get("fail_on"),
    )  # fmt: skip


def parse_changes(pairs: list[str]) -> dict[str, dict[str, Any]]:
    """["elastic.strain=0.005", "vacancy.lengths=[10, 14]"] -> {"elastic": {"strain": 0.005}, ...}.

    Values are YAML. Errors: OptionError.
    """
    out: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        prop, dot, key = name.strip().partition(".")
        if not (equals and dot and prop and key):
            raise OptionError(f"--set {pair!r}: write property.setting=value, as in elastic.strain=0.005")
        try:
            parsed = parse_yaml(value)
        except DataError as error:
            raise OptionError(f"--set {pair!r}: {value!r} is no value") from error
        out.setdefault(prop, {})[key] = parsed
    return out


def config_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the configuration, with the settings of every property."""
    known, _ = all_properties()
    groups = {"general": schema(General), **{name: schema(p.options) for name, p in known.items()}}
    for name, prop in known.items():
        groups[name]["description"] = prop.about
        groups[name]["x-outputs"] = {o.name: {"unit": o.unit, "about": o.about} for o in prop.outputs}
        groups[name]["x-sources"] = list(prop.sources)
    keys = {k: dict(v) for k, v in KEYS.items()}
    keys["settings"] = {"type": "object", "properties": groups, "additionalProperties": False}
    keys["properties"] = {**keys["properties"], "items": {"type": "string", "enum": [*known, *SUITES]}}
    one = {"type": "object", "properties": {k: {} for k in CALCULATOR_KEYS}, "additionalProperties": False}
    keys["calculators"]["items"] = {"anyOf": [{"type": "string"}, one]}
    for key in LISTS:
        keys[key] = {"anyOf": [keys[key], keys[key]["items"]]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "calczoo validation run", "type": "object",
        "properties": keys, "additionalProperties": False,
    }  # fmt: skip
