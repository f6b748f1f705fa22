"""`calczoo validate`: properties of a crystal from one or several potentials, with a report."""

from __future__ import annotations

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
    foreign_calculator,
    read_structure,
    say,
    show,
    zoo_calculator,
)

Specs = Annotated[list[str] | None, typer.Argument(help="One or several calculators to compare.", show_default=False)]
Proto = Annotated[str | None, typer.Option("--proto", help="Crystal by name: Mo:bcc, NaCl:rocksalt, Si:diamond:5.43.")]
File = Annotated[Path | None, typer.Option("--structure", help="Crystal from a file that ASE reads.")]
Properties = Annotated[list[str] | None, typer.Option("--property", "-p", help="Property or suite (default: all).")]
Mode = Annotated[str, typer.Option(help="smoke, fast or full.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for results.json and report.html.")]
Foreign = Annotated[str | None, typer.Option("--ase", help="Any ASE calculator too, as module:Class.")]
Kwargs = Annotated[str | None, typer.Option("--kwargs", help="Keyword arguments of --ase, a JSON object.")]


def command(
    specs: Specs = None,
    proto: Proto = None,
    structure: File = None,
    properties: Properties = None,
    mode: Mode = "fast",
    out: Out = None,
    ase: Foreign = None,
    kwargs: Kwargs = None,
    model: ModelFile = None,
    elements: Elements = None,
    device: Device = "auto",
    dtype: Dtype = "float64",
    backend: Backend = "auto",
    threads: Threads = None,
    option: Option = None,
    json: Json = False,
) -> int:
    """Validate potentials on a crystal. Exit code 2 when some result is not ok, 3 when nothing could be computed."""
    if not specs and ase is None:
        raise OptionError("name at least one calculator, as in: calczoo validate snap:Mo --proto Mo:bcc")
    if model and len(specs or ()) != 1:
        raise OptionError("--model belongs to a single calculator; write the files into the specs: eam:Cu.eam.alloy")
    if (proto is None) == (structure is None):
        raise OptionError("give either --proto, as in --proto Mo:bcc, or --structure FILE")
    calculators: dict[str, Any] = {}
    for spec in specs or ():
        calc = zoo_calculator(spec, model, elements, device, dtype, backend, threads, option)
        name = calc.card.name if "/" in spec else spec  # a path makes no heading
        calculators[spec if name in calculators else name] = calc
    if ase is not None:
        calculators[ase] = foreign_calculator(ase, kwargs)
    report = _validate(
        calculators,
        proto=proto,
        structure=read_structure(structure) if structure is not None else None,
        properties=properties or None,
        mode=mode,
        out=out,
        progress=sys.stderr.isatty(),
    )
    emit(report.to_dict(), json, lambda: _print(report, out))
    if out is not None and json:
        say(f"report: {out / 'report.html'}")
    return _code(report)


def _validate(calculators: dict[str, Any], **settings: Any) -> Any:
    from calczoo_validation import validate

    return validate(calculators, **settings)


def _code(report: Any) -> int:
    """0: everything ok; 3: some model gave no number at all; 2: anything between."""
    if str(report.status) == "ok":
        return OK
    empty = [m for m in report.models if not any(v.value is not None for r in m.results.values() for v in r.values)]
    return UNUSABLE if empty else NOT_OK


def _print(report: Any, out: Path | None) -> None:
    show(report.table(), markup=True)
    print(report.summary())
    for note in report.notes:
        say(note)
    if out is not None:
        print(f"report: {out / 'report.html'}")
