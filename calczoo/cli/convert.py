"""`calczoo convert`: potentials and data sets from one file format into another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .common import OK, Elements, Json, Option, Progress, emit, parse_options

Source = Annotated[
    Path, typer.Argument(help="Potential (.mtp, .almtp, folder of an NNP) or structures (.cfg, input.data, .extxyz).")
]
Target = Annotated[Path, typer.Argument(help="File to write, whose suffix tells the format, or folder of an NNP.")]
Training = Annotated[Path | None, typer.Option("--training", help="Training set, for the active set of an .almtp.")]
FamilyName = Annotated[str | None, typer.Option("--family", help="Family of SOURCE, where its suffix does not tell.")]


def command(
    source: Source,
    target: Target,
    elements: Elements = None,
    training: Training = None,
    family: FamilyName = None,
    option: Option = None,
    json: Json = False,
) -> int:
    """Convert a potential, or structures with energies and forces."""
    from calczoo.core.elements import parse_elements
    from calczoo.exchange import convert

    with Progress("convert") as progress:
        done = convert(
            source,
            target,
            parse_elements(elements),
            training,
            family,
            lambda what, fraction: progress(round(100 * fraction), 100, what),
            **parse_options(option),
        )
    emit({"files": [str(f) for f in done.files], "notes": list(done.notes)}, json, lambda: _print(done))
    return OK


def _print(done: Any) -> None:
    print(f"written: {', '.join(map(str, done.files))}")
    for note in done.notes:
        print(note)
