"""`calczoo fit`: train a family on structures with energies and forces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .common import OK, Json, Option, Progress, emit, parse_options, show

Family = Annotated[str, typer.Argument(help="Family to train (calczoo list --can fit).", show_default=False)]
Train = Annotated[Path, typer.Option("--train", help="Extended XYZ file with energies, forces and perhaps stress.")]
Test = Annotated[Path | None, typer.Option("--test", help="The same, held out, for the error table.")]
Elements = Annotated[str | None, typer.Option("--elements", "-e", help="Elements (default: those of --train).")]
Out = Annotated[Path, typer.Option("--out", help="Name of the files to write, without suffix.")]


def command(
    family: Family,
    train: Train,
    test: Test = None,
    elements: Elements = None,
    quadratic: Annotated[bool, typer.Option("--quadratic", help="Quadratic instead of linear model.")] = False,
    option: Option = None,
    out: Out = Path("fitted"),
    json: Json = False,
) -> int:
    """Fit a model, write its files and print its errors on the training and the test set."""
    from calczoo.fitting import run_fit

    with Progress("fit") as progress:
        report = run_fit(
            family,
            train,
            test,
            elements,
            out=out,
            quadratic=quadratic,
            options=parse_options(option),
            progress=lambda what, fraction: progress(round(100 * fraction), 100, what),
        )
    emit(report.to_dict(), json, lambda: _print(report))
    return OK


def _print(report: Any) -> None:
    show(report.table())
    for note in report.notes:
        print(note)
    print(f"{report.seconds:.1f} s, written: {', '.join(map(str, report.files))}")
