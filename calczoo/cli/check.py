"""`calczoo check`: the verification checks, on a model of the zoo or on any ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
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
    Progress,
    Threads,
    emit,
    foreign_calculator,
    show,
    zoo_calculator,
)

Spec = Annotated[str | None, typer.Argument(help="Calculator of the zoo; leave out with --ase.", show_default=False)]
Foreign = Annotated[str | None, typer.Option("--ase", help="Any ASE calculator, as module:Class.")]
Kwargs = Annotated[str | None, typer.Option("--kwargs", help="Keyword arguments of --ase, a JSON object.")]
Names = Annotated[list[str] | None, typer.Option("--only", help="Run these checks only.")]


def command(
    spec: Spec = None,
    ase: Foreign = None,
    kwargs: Kwargs = None,
    only: Names = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer elements and evaluations.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of the random structures.")] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Folder to keep the configurations in.")] = None,
    model: ModelFile = None,
    elements: Elements = None,
    device: Device = "auto",
    dtype: Dtype = "float64",
    backend: Backend = "auto",
    threads: Threads = None,
    option: Option = None,
    json: Json = False,
) -> int:
    """Run the verification checks. Exit code 2 when one fails, 3 when the calculator cannot be used at all."""
    from calczoo.core.elements import parse_elements
    from calczoo.verify import DEFAULT_SEED, run_checks
    from calczoo.verify.report import PASS

    if (spec is None) == (ase is None):
        raise OptionError("give either a calculator spec or --ase module:Class")
    float32: Callable[[], Any] | None = None
    if ase is not None:
        if elements is None:
            raise OptionError("--ase needs --elements, as in --elements Cu,Ni")
        make: Callable[[], Any] = lambda: foreign_calculator(ase, kwargs)  # noqa: E731
        make()
        known = parse_elements(elements)
    else:

        def build(precision: str) -> Any:
            return zoo_calculator(str(spec), model, elements, device, precision, backend, threads, option)

        known = build(dtype).card.elements
        make = lambda: build(dtype)  # noqa: E731
        float32 = (lambda: build("float32")) if dtype == "float64" else None
    with Progress("check") as progress:
        report = run_checks(
            make,
            known or (),
            names=only,
            quick=quick,
            seed=DEFAULT_SEED if seed is None else seed,
            progress=lambda name, done, total: progress(done, total, name),
            save_to=save,
            float32=float32,
            dtype=dtype,
        )
    data = {"calculator": spec or ase, **report.to_dict()}
    emit(data, json, lambda: _print(report, spec or str(ase)))
    if report.ok:
        return OK
    return NOT_OK if any(r.status == PASS for r in report) else UNUSABLE


def _print(report: Any, title: str) -> None:
    show(report.table(f"Verification of {title}"))
    print(
        "all checks that apply passed" if report.ok else f"{len(report.failed)} of {len(report.results)} checks failed"
    )
