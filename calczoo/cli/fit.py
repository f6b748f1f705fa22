"""`calczoo fit`: train a family on structures with energies and forces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from calczoo.core.errors import OptionError

from .common import OK, Json, Option, Progress, emit, parse_options, show

Family = Annotated[str, typer.Argument(help="Family to train (calczoo list --can fit).", show_default=False)]
Train = Annotated[
    Path, typer.Option("--train", help="Energies, forces, perhaps stress: extended XYZ, .cfg of MLIP, input.data.")
]
Test = Annotated[Path | None, typer.Option("--test", help="The same, held out, for the error table.")]
Elements = Annotated[str | None, typer.Option("--elements", "-e", help="Elements (default: those of --train).")]
Level = Annotated[str | None, typer.Option("--level", help="mtp: level, or several to choose from, as in 12,16,20.")]
Generation = Annotated[int | None, typer.Option("--generation", help="hdnnp: 2 (default), 3 or 4.")]
Resume = Annotated[Path | None, typer.Option("--resume", help="mtp, hdnnp: keeps the state of the fit, to go on.")]
DeltaBase = Annotated[
    str | None,
    typer.Option("--base", "--delta-base", help="Model to subtract: the fit is a correction to it, delta(BASE, FIT)."),
]
Out = Annotated[Path, typer.Option("--out", help="Name of the files to write, without suffix; hdnnp: folder.")]


def command(
    family: Family,
    train: Train,
    test: Test = None,
    elements: Elements = None,
    quadratic: Annotated[bool, typer.Option("--quadratic", help="Quadratic instead of linear model.")] = False,
    level: Level = None,
    generation: Generation = None,
    resume: Resume = None,
    delta_base: DeltaBase = None,
    option: Option = None,
    out: Out = Path("fitted"),
    json: Json = False,
) -> int:
    """Fit a model, write its files and print its errors on the training and the test set."""
    from calczoo.fitting import run_fit

    options = parse_options(option)
    for name, value in (("level", level), ("generation", generation), ("resume", resume)):
        if value is not None and name in options:
            raise OptionError(f"{name} is given twice, as --{name} and as --option {name}=...; leave one out")
        if value is not None:
            options[name] = value if isinstance(value, int) else str(value)
    with Progress("fit") as progress:
        report = run_fit(
            family,
            train,
            test,
            elements,
            out=out,
            quadratic=quadratic,
            options=options,
            delta_base=delta_base,
            progress=lambda what, fraction: progress(round(100 * fraction), 100, what),
        )
    emit(report.to_dict(), json, lambda: _print(report))
    return OK


def _print(report: Any) -> None:
    show(report.table())
    for note in report.notes:
        print(note)
    print(f"{report.seconds:.1f} s, written: {', '.join(map(str, report.files))}")
