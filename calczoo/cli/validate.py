"""`calczoo validate`: properties of crystals and data sets from one or several potentials, with a report."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from calczoo.core.errors import OptionError

from .common import (
    NOT_OK,
    OK,
    UNUSABLE,
    Backend,
    Device,
    Dtype,
    Elements,
    Json,
    ModelFile,
    Option,
    Threads,
    emit,
    parse_options,
    say,
    show,
    table,
)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PROPERTY|SUITE]...", help="What to compute (default: basic), or 'anchors'.",
                   show_default=False),
]  # fmt: skip
Calculators = Annotated[list[str] | None, typer.Option("--calculator", "-c", help="Spec, once for each calculator.")]
Proto = Annotated[list[str] | None, typer.Option("--proto", help="Crystal by name: Mo:bcc, NaCl:rocksalt, ...")]
File = Annotated[list[str] | None, typer.Option("--structure", "-s", help="Crystal from a file that ASE reads.")]
Dataset = Annotated[list[str] | None, typer.Option("--dataset", help="Reference energies and forces: name or file.")]
Mode = Annotated[str | None, typer.Option(help="smoke, fast (default) or full.")]
Reference = Annotated[str | None, typer.Option("--reference", help="Own reference: JSON, extxyz, VASP, phonopy.")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML file with the same keys (see: calczoo schema).")]
Change = Annotated[list[str] | None, typer.Option("--set", help="Setting of a property: elastic.strain=0.005.")]
Out = Annotated[str | None, typer.Option("--out", help="Folder for results and reports.")]
Resume = Annotated[bool, typer.Option("--resume", help="Use what an earlier run left in --out.")]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", help="Processes on this machine.")]
Shard = Annotated[str | None, typer.Option("--shard", help="Only part i of n: i/n.")]
Engine = Annotated[str | None, typer.Option("--engine", help="local (default) or parsl.")]
FailOn = Annotated[str | None, typer.Option("--fail-on", help="Statuses that give exit code 2: failed,unstable; none.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be computed.")]
Formats = Annotated[str | None, typer.Option("--formats", help="Reports to write: html,json,csv,md,junit.")]
Foreign = Annotated[list[str] | None, typer.Option("--ase", help="Any ASE calculator too, as module:Class.")]
Kwargs = Annotated[list[str] | None, typer.Option("--kwargs", help="Keyword arguments of --ase, a JSON object.")]
Files = Annotated[list[Path] | None, typer.Option("--potentials", help="anchors: folder with published files.")]


def command(
    names: Names = None,
    calculators: Calculators = None,
    proto: Proto = None,
    structure: File = None,
    dataset: Dataset = None,
    mode: Mode = None,
    reference: Reference = None,
    config: Config = None,
    change: Change = None,
    out: Out = None,
    resume: Resume = False,
    jobs: Jobs = None,
    shard: Shard = None,
    engine: Engine = None,
    fail_on: FailOn = None,
    dry_run: DryRun = False,
    formats: Formats = None,
    ase: Foreign = None,
    kwargs: Kwargs = None,
    model: ModelFile = None,
    elements: Elements = None,
    device: Device = "auto",
    dtype: Dtype = "float64",
    backend: Backend = "auto",
    threads: Threads = None,
    option: Option = None,
    potentials: Files = None,
    json: Json = False,
) -> int:
    """Validate potentials. Exit code 2 when some result is not ok (see --fail-on), 3 when nothing could be computed."""
    if names == ["anchors"]:
        return _anchors(potentials, json)
    _check_names(names or [])
    zoo = {
        "model": (model[0] if len(model) == 1 else model) if model else None, "elements": elements, "dtype": dtype,
        "device": device, "backend": backend, "threads": threads, "options": parse_options(option),
    }  # fmt: skip
    entries = [*_entries(calculators or [], zoo), *_foreign(ase or [], kwargs or [])]
    given = {
        "calculators": entries, "proto": proto, "structure": structure, "dataset": dataset, "properties": names,
        "mode": mode, "reference": reference, "out": out, "resume": resume or None, "jobs": jobs, "shard": shard,
        "fail_on": _split(fail_on), "formats": _split(formats),
    }  # fmt: skip
    settings = _merged(config, {k: v for k, v in given.items() if v not in (None, [], "")}, change or [], engine)
    return _run(settings, dry_run, json)


def _check_names(names: list[str]) -> None:
    if "anchors" in names:
        raise OptionError("'anchors' stands alone: calczoo validate anchors")
    for name in names:
        if ":" in name or "." in name or "/" in name:
            raise OptionError(f"{name!r} is no property; calculators are given with -c, as in: -c {name}")


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()] if text else []


def _entries(specs: list[str], zoo: dict[str, Any]) -> list[Any]:
    """Entries of the configuration for the specs of the command line."""
    defaults = {"device": "auto", "dtype": "float64", "backend": "auto"}
    extra = {k: v for k, v in zoo.items() if v not in (None, {}, [], defaults.get(k))}
    if "model" in extra and len(specs) != 1:
        raise OptionError("--model belongs to a single calculator; write the files into the specs: eam:Cu.eam.alloy")
    return [{"spec": spec, **extra} if extra else spec for spec in specs]


def _foreign(names: list[str], kwargs: list[str]) -> list[dict[str, Any]]:
    if len(kwargs) > len(names):
        raise OptionError("--kwargs without its --ase: give one JSON object for each --ase, in the same order")
    entries = []
    for k, name in enumerate(names):
        try:
            values = json_format.loads(kwargs[k]) if k < len(kwargs) else {}
        except json_format.JSONDecodeError as error:
            raise OptionError(f"--kwargs is not JSON ({error}); write for example '{{\"skin\": 0.3}}'") from error
        if not isinstance(values, dict):
            raise OptionError(f"--kwargs must be a JSON object, not {values!r}")
        entries.append({"ase": name, **({"kwargs": values} if values else {})})
    return entries


def _merged(config: Path | None, given: dict[str, Any], change: list[str], engine: str | None) -> dict[str, Any]:
    """The configuration: the file's, or that of the run to be resumed, with the command line on top."""
    from calczoo_validation.config import check_config, parse_changes, read_config

    data = read_config(config) if config else {}
    out = given.get("out") or data.get("out")
    if not config and given.get("resume") and out and not given.get("calculators"):
        data = _earlier(Path(out))
    data = {**data, **given}
    if change:
        settings = {k: dict(v) for k, v in data.get("settings", {}).items()}
        for name, values in parse_changes(change).items():
            settings.setdefault(name, {}).update(values)
        data["settings"] = settings
    if engine:
        data["engine"] = {**(data["engine"] if data.get("engine", {}).get("name") == engine else {}), "name": engine}
    data = check_config(data)
    if data.get("resume") and not data.get("out"):
        raise OptionError("--resume needs --out, the folder of the run to go on with")
    return data


def _earlier(out: Path) -> dict[str, Any]:
    """What the run in this folder was asked for."""
    path = out / "run.json"
    if not path.is_file():
        raise OptionError(f"{out} holds no run to resume ({path.name} is missing); give -c and --proto")
    try:
        return dict(json_format.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise OptionError(f"{path} cannot be read ({error}); give -c and --proto again") from error


def _run(settings: dict[str, Any], dry_run: bool, json: bool) -> int:
    from calczoo_validation.config import make_run
    from calczoo_validation.store import write_json

    run = make_run(settings)
    if dry_run:
        return _show_plan(run, json)
    out = settings.get("out")
    if out:
        if Path(out).exists() and not Path(out).is_dir():
            raise OptionError(f"--out {out} is a file; name a folder")
        once = ("resume", "shard", "jobs", "out")
        write_json(Path(out) / "run.json", {k: v for k, v in settings.items() if k not in once})
    try:
        reports = run.go(progress=sys.stderr.isatty(), formats=settings.get("formats"))
    except KeyboardInterrupt:
        if out:
            say(f"What is finished is stored; go on with: calczoo validate --out {out} --resume")
        raise
    data = [r.to_dict() for r in reports]
    emit(data[0] if len(data) == 1 else {"reports": data}, json, lambda: _print(reports))
    if out:
        where = Path(out) / ("report.html" if len(reports) == 1 else "index.html")
        (say if json else print)(f"report: {where}")
    return _code(reports, settings.get("fail_on", []))


def _show_plan(run: Any, json: bool) -> int:
    plan = [
        {
            "calculator": run.campaign.sources[item.model].label, "target": run.campaign.targets[item.target].label,
            "property": item.prop.name, "stored": stored, "key": item.key,
        }
        for item, stored in run.plan()
    ]  # fmt: skip
    left_out = [
        {"target": target.label, "property": title, "reason": reason}
        for target, rows in zip(run.campaign.targets, run.campaign.left_out, strict=True) for title, reason in rows
    ]  # fmt: skip

    def text() -> None:
        words = {True: "yes", False: "no"}
        rows = [[p["target"], p["calculator"], p["property"], words[p["stored"]], p["key"][:12]] for p in plan]
        table("", ("structure", "calculator", "property", "stored", "key"), rows)
        for row in left_out:
            print(f"not for {row['target']}: {row['property']} ({row['reason']})")
        print(f"{len(plan)} items, {sum(p['stored'] for p in plan)} of them stored")

    emit({"items": plan, "left_out": left_out}, json, text)
    return OK


def _code(reports: list[Any], fail_on: list[str]) -> int:
    """0: nothing that counts as failure; 3: some model gave no number at all; 2: anything between."""
    from calczoo_validation.config import NONE

    if NONE in fail_on:
        return OK
    models = [m for report in reports for m in report.models if m.results]
    if fail_on:
        found = {str(v.status) for m in models for r in m.results.values() for v in [r, *r.values]}
        return NOT_OK if found & set(fail_on) else OK
    if all(str(m.status) == "ok" for m in models):
        return OK
    empty = [m for m in models if not any(v.value is not None for r in m.results.values() for v in r.values)]
    return UNUSABLE if empty else NOT_OK


def _print(reports: list[Any]) -> None:
    for report in reports:
        show(report.table(), markup=True)
        print(report.summary())
        own = report.reference
        for note in [*report.notes, *(own.notes if own is not None and not own.values and not own.results else [])]:
            say(note)
        for finding in report.findings():
            if finding.severity != "note":
                say(f"{finding.severity} in the references, {finding.where}: {finding.text}")


def _anchors(potentials: list[Path] | None, json: bool) -> int:
    """`calczoo validate anchors`: published numbers from published files."""
    from calczoo_validation.anchors import make_table, run_anchors, summary

    rows = run_anchors(potentials=potentials or None, progress=sys.stderr.isatty())
    data = {"anchors": [row.to_dict() for row in rows], "summary": summary(rows)}
    emit(data, json, lambda: show(make_table(rows), markup=True))
    checked = [row for row in rows if row.within is not None]
    return UNUSABLE if not checked else OK if all(row.within for row in checked) else NOT_OK


def schema_command() -> int:
    """JSON Schema of the configuration file of `calczoo validate`, with the settings of every property."""
    from calczoo_validation.config import config_schema

    print(json_format.dumps(config_schema(), indent=1))
    return OK
