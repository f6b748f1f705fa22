"""What the commands share: exit codes, option types, output, progress, structures, calculators."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calczoo.core.errors import InvalidStructure, OptionError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

OK, USAGE, NOT_OK, UNUSABLE = 0, 1, 2, 3

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Spec = Annotated[
    str, typer.Argument(help="family:model, or a sum such as 'eam:Ni.adp + zbl(1.0, 2.0)'.", show_default=False)
]
ModelFile = Annotated[list[str] | None, typer.Option("--model", "-m", help="Parameter file(s), when not in the spec.")]
Elements = Annotated[str | None, typer.Option("--elements", "-e", help="Type map or subset, as in 'Ni,Mo'.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option("--dtype", help="float64 or float32.")]
Backend = Annotated[str, typer.Option("--backend", help="auto, torch or warp.")]
Threads = Annotated[int | None, typer.Option("--threads", help="CPU threads (default: all).")]
Option = Annotated[list[str] | None, typer.Option("--option", "-o", help="Option of the family, as key=value.")]


def say(message: str) -> None:
    """One message for the person at the screen, on stderr."""
    print(message, file=sys.stderr, flush=True)


def emit(data: dict[str, Any], as_json: bool, text: Callable[[], None]) -> None:
    """The command's answer: JSON on stdout, or what `text` prints."""
    if as_json:
        print(json.dumps(_plain(data), allow_nan=False))
    else:
        text()


def _plain(value: Any) -> Any:
    """Numbers and lists that JSON knows; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def show(renderable: Any, markup: bool = False) -> None:
    """Print something of rich's; where stdout is no terminal, wide enough to cut nothing off."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 180, highlight=False, markup=markup).print(renderable)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a plain table."""
    from rich.table import Table

    grid = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    show(grid)


class Progress:
    """Progress bar on stderr: appears after two seconds, and only on a terminal. Call it with (done, total, text)."""

    def __init__(self, title: str):
        self.title, self.start, self._bar, self._task = title, time.monotonic(), None, None

    def __call__(self, done: int, total: int | None = None, text: str = "") -> None:
        if self._bar is None:
            if time.monotonic() - self.start < 2.0 or not sys.stderr.isatty():
                return
            self._open(total)
        self._bar.update(self._task, completed=done, total=total, description=f"{self.title} {text}".strip())

    def _open(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self.title, total=total)
        self._bar.start()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def parse_options(pairs: list[str] | None) -> dict[str, Any]:
    """["a=1", "b=x"] -> {"a": 1, "b": "x"}; values are read as in a spec."""
    from calczoo.spec import parse_spec

    out: dict[str, Any] = {}
    for pair in pairs or []:
        term = parse_spec(f"option({pair})")[0]
        if not term.options or term.args:
            raise OptionError(f"--option {pair!r}: write key=value")
        out.update(term.options)
    return out


def zoo_calculator(
    spec: str,
    model: list[str] | None = None,
    elements: str | None = None,
    device: str = "auto",
    dtype: str = "float64",
    backend: str = "auto",
    threads: int | None = None,
    option: list[str] | None = None,
) -> Any:
    """The calculator that the shared options describe."""
    from calczoo import get_calculator

    files: Any = None if not model else model[0] if len(model) == 1 else model
    return get_calculator(spec, files, elements, device, dtype, backend, threads=threads, **parse_options(option))


def foreign_calculator(dotted: str, arguments: str | None) -> BaseCalculator:
    """`module:Class` and its JSON keyword arguments -> an ASE calculator of another package."""
    import importlib

    from ase.calculators.calculator import BaseCalculator

    module, colon, name = dotted.partition(":")
    if not colon or not name:
        raise OptionError(f"--ase {dotted!r}: write module:Class, for example ase.calculators.emt:EMT")
    try:
        kwargs = json.loads(arguments) if arguments else {}
    except json.JSONDecodeError as error:
        raise OptionError(f"--kwargs is not JSON ({error}); write for example '{{\"skin\": 0.3}}'") from error
    if not isinstance(kwargs, dict):
        raise OptionError(f"--kwargs must be a JSON object, not {kwargs!r}")
    try:
        made = getattr(importlib.import_module(module), name)(**kwargs)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise OptionError(f"--ase {dotted}: {type(error).__name__}: {error}") from error
    if not isinstance(made, BaseCalculator):
        raise OptionError(f"--ase {dotted} gave {type(made).__name__}, which is not an ASE calculator")
    return made


def load_structure(file: Path | None, proto: str | None, supercell: str | None = None) -> Atoms:
    """A structure from a file that ASE reads (`file.xyz`, `file.traj@3`) or a prototype such as `Cu:fcc` or
    `NaCl:rocksalt:5.64`, repeated by `supercell` ("3" or "3,3,1")."""
    if (file is None) == (proto is None):
        raise OptionError("give either a structure file or --proto, as in --proto Cu:fcc")
    atoms = read_structure(file) if file is not None else prototype(str(proto))
    if supercell:
        try:
            repeats = [int(x) for x in supercell.replace("x", ",").split(",")]
        except ValueError:
            repeats = []
        if len(repeats) not in (1, 3) or min(repeats, default=0) < 1:
            raise OptionError(f"--supercell {supercell!r}: write one or three whole numbers, as in 3 or 3,3,1")
        atoms = atoms.repeat(repeats * 3 if len(repeats) == 1 else repeats)
    return atoms


def read_structure(file: Path) -> Atoms:
    """Last structure of a file, or the one chosen with @index."""
    import ase.io

    from calczoo.exchange import own_frames

    name, _, index = str(file).partition("@")
    if not Path(name).is_file():
        raise InvalidStructure(f"structure file {name} does not exist")
    if (own := own_frames(name)) is not None:
        if index and not (index.lstrip("-").isdigit() and -len(own) <= int(index) < len(own)):
            raise InvalidStructure(f"{name} has {len(own)} structures and none called '{index}'; write one of 0, 1 ...")
        return own[int(index or -1)]
    try:
        atoms = ase.io.read(str(file) if index else name)
    except Exception as error:  # ASE's readers raise whatever their parsers do
        raise InvalidStructure(f"{name} cannot be read as a structure: {type(error).__name__}: {error}") from error
    return atoms[-1] if isinstance(atoms, list) else atoms


def prototype(text: str) -> Atoms:
    """Formula:lattice[:a], for example Mo:bcc, Si:diamond, NaCl:rocksalt:5.64."""
    from calczoo_validation.structures import parse_proto

    try:
        return parse_proto(text).atoms
    except ValueError as error:
        raise OptionError(f"--proto {text}: {error}") from error
