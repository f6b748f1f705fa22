"""`calczoo compare`: engine parity, ours against each other and against the reference codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from calczoo.core.errors import OptionError

from .common import (
    NOT_OK,
    OK,
    Elements,
    Json,
    ModelFile,
    Option,
    Progress,
    Spec,
    Threads,
    emit,
    parse_options,
    show,
)

Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[STRUCTURES]...", help="Files that ASE reads (default: perturbed prototypes).",
                   show_default=False),
]  # fmt: skip
With = Annotated[list[str] | None, typer.Option("--with", help="A further engine, as a spec: 'lammps:Ta06A.snap'.")]
Natural = Annotated[bool, typer.Option("--natural/--no-natural", help="LAMMPS or QUIP where they read the same file.")]
Limit = Annotated[int | None, typer.Option("--limit", help="At most so many structures, evenly from the files.", min=1)]
Devices = Annotated[list[str] | None, typer.Option("--device", help="cpu, cuda, cuda:N; may be repeated.")]
_BOUND = "Bound for double precision and reference codes, "


def command(
    spec: Spec,
    structures: Files = None,
    references: With = None,
    natural: Natural = True,
    limit: Limit = None,
    energy: Annotated[float | None, typer.Option(help=_BOUND + "eV/atom.", min=0.0)] = None,
    forces: Annotated[float | None, typer.Option(help=_BOUND + "eV/A.", min=0.0)] = None,
    stress: Annotated[float | None, typer.Option(help=_BOUND + "eV/A^3.", min=0.0)] = None,
    repeats: Annotated[int, typer.Option(help="Timed evaluations, the fastest counts; 0: none.", min=0)] = 3,
    device: Devices = None,
    model: ModelFile = None,
    elements: Elements = None,
    threads: Threads = None,
    option: Option = None,
    json: Json = False,
) -> int:
    """Compare the engines of a potential: backends, batches, single precision, CUDA, and reference codes (LAMMPS,
    QUIP, or any spec by --with). Exit code 2 when one differs by more than its bounds, or fails."""
    from calczoo.compare import compare

    files: Any = None if not model else model[0] if len(model) == 1 else model
    frames = _frames(structures, limit)
    with Progress("compare") as progress:
        report = compare(
            spec, frames, files, elements, references=references or (), natural=natural, energy=energy, forces=forces,
            stress=stress, devices=device, threads=threads, repeats=repeats,
            progress=lambda engine, done, total: progress(done, total, engine), **parse_options(option),
        )  # fmt: skip
    emit(report.to_dict(), json, lambda: _print(report))
    return OK if report.ok else NOT_OK


def _frames(files: list[Path] | None, limit: int | None) -> Any:
    """All structures of the files, thinned out evenly; None without files."""
    from calczoo.exchange import read_frames

    if not files:
        if limit is not None:
            raise OptionError("--limit goes with files of structures")
        return None
    frames = [atoms for file in files for atoms in read_frames(file)]
    if limit is not None and len(frames) > limit:
        frames = [frames[k * len(frames) // limit] for k in range(limit)]
    return frames


def _print(report: Any) -> None:
    show(report.table())
    for note in report.notes():
        print(note)
    bad = [row.engine for row in report if not row.ok]
    if bad or not report.empty:
        text = f"{len(bad)} of {len(report.rows)} engines differ or failed"
        print(text if bad else "all engines agree within bounds")
