"""`calczoo select`: the structures of a trajectory that a potential should learn next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from calczoo.core.errors import OptionError

from .common import (
    OK,
    Backend,
    Device,
    Dtype,
    Elements,
    Json,
    ModelFile,
    Option,
    Progress,
    Spec,
    Threads,
    emit,
    parse_options,
)

From = Annotated[list[Path], typer.Option("--from", help="Candidates: a trajectory that ASE reads, or .cfg.")]
Training = Annotated[Path | None, typer.Option("--training", help="Training set, where the file has no active set.")]
Threshold = Annotated[float, typer.Option("--threshold", help="Grade above which a structure is taken.")]
Limit = Annotated[int | None, typer.Option("--limit", help="At most so many structures.")]
Out = Annotated[Path, typer.Option("--out", help="File to write: .cfg, .extxyz, .xyz or .traj.")]


def command(
    spec: Spec,
    candidates: From,
    training: Training = None,
    threshold: Threshold = 2.0,
    limit: Limit = None,
    out: Out = Path("selected.extxyz"),
    model: ModelFile = None,
    elements: Elements = None,
    device: Device = "auto",
    dtype: Dtype = "float64",
    backend: Backend = "auto",
    threads: Threads = None,
    option: Option = None,
    json: Json = False,
) -> int:
    """Choose the structures that extrapolate (D-optimality), each from the training set and those chosen before it."""
    from calczoo.exchange import check_target, read_frames, select, types_of, write_frames
    from calczoo.registry import get_family, requests

    out = check_target(out)
    if any(out.exists() and p.exists() and out.samefile(p) for p in (*candidates, *([training] if training else ()))):
        raise OptionError(f"{out} is a file that is read, and would be lost; name another one with --out")
    files: Any = None if not model else model[0] if len(model) == 1 else model
    common = {"device": device, "dtype": dtype, "backend": backend, "threads": threads}
    terms = requests(spec, files, elements, common, parse_options(option))
    if len(terms) > 1 or terms[0][0] != 1.0:
        raise OptionError(f"'{spec}' is a sum; grades belong to a single potential: name that one")
    request = terms[0][1]
    types = types_of(request) if get_family(request.family).select else request.elements
    frames = [atoms for path in candidates for atoms in read_frames(path, types)]
    known = None if training is None else read_frames(training, types)
    with Progress("select") as progress:
        chosen = select(
            request, frames, known, threshold, limit,
            lambda what, fraction: progress(round(100 * fraction), 100, what),
        )  # fmt: skip
    picked = [frames[k] for k in chosen.indices]
    if picked:
        write_frames(picked, out, types)
    data = {
        "candidates": len(frames), "selected": list(chosen.indices), "grades": list(chosen.grades),
        "covered": chosen.covered, "written": str(out) if picked else None, "notes": list(chosen.notes),
    }  # fmt: skip
    emit(data, json, lambda: _print(data, threshold))
    return OK


def _print(data: dict[str, Any], threshold: float) -> None:
    above = sum(g > threshold for g in data["grades"])
    print(
        f"{data['candidates']} candidates, {above} with a grade above {threshold:g} "
        f"(largest {max(data['grades']):.4g}); {len(data['selected'])} selected"
    )
    if data["covered"] is not None:
        print(f"with these in the training set, the largest grade of the others is {data['covered']:.4g}")
    for note in data["notes"]:
        print(note)
    print(f"written: {data['written']}" if data["written"] else "nothing written")
