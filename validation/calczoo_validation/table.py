"""The terminal table: one calculator with all its columns, or several side by side, as wide as the terminal is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.jupyter import JupyterMixin
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .numbers import show, show_error, show_percent, show_reference
from .references import KINDS, deviation, primary
from .results import Status

STYLES = {
    Status.OK: "green", Status.UNSUPPORTED: "dim", Status.SUSPICIOUS: "yellow", Status.UNCONVERGED: "magenta",
    Status.UNSTABLE: "red", Status.FAILED: "bold red",
}  # fmt: skip
# Characters needed, and how many more for each further calculator. With fewer only the first reference of each number
# is shown, then no error bars of several calculators, then no deviations either.
WITH_ALL_REFERENCES, WITH_ERRORS, WITH_DEVIATIONS, EACH = 115, 90, 62, 24


def make_table(report: Any) -> ReportTable:
    """Something for rich to print: numbers with references, then the reasons of what is not ok, then the sources."""
    return ReportTable(report)


class ReportTable(JupyterMixin):
    """The numbers of a report; laid out when the width is known."""

    def __init__(self, report: Any):
        self.report = report

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        layout = _Layout(self.report, options.max_width)
        yield layout.table()
        yield from layout.reasons()
        for text, mark in layout.sources.items():
            yield Text(f"[{mark}] {text}", style="dim italic")


class _Layout:
    """The table of one report for a width in characters; `sources` are numbered in the order of their use."""

    def __init__(self, report: Any, width: int):
        self.report, self.several = report, len(report.models) > 1
        more = EACH * (len(report.models) - 1)
        self.narrow, self.errors = width < WITH_ALL_REFERENCES + more, width >= WITH_ERRORS + more
        self.deviations = width >= WITH_DEVIATIONS + more
        self.names = list(dict.fromkeys(n for m in report.models for n in m.results))
        self.known = {n: report.references(n) for n in self.names}
        used = {
            r["kind"] for m in report.models for n, result in m.results.items() for v in result.values
            for r in self.known[n].get(v.name, [])
        }  # fmt: skip
        self.kinds = [k for k in KINDS if k in used]
        self.deviations = self.deviations and bool(self.kinds)
        self.sources: dict[str, str] = {}

    def table(self) -> Table:
        report = self.report
        table = Table(
            title=f"{escape(report.structure['label'])}, mode {report.mode}, status {report.status}",
            title_justify="left", header_style="bold", pad_edge=False, padding=(0, 1, 0, 0), box=box.HORIZONTALS,
        )  # fmt: skip
        table.add_column("property", min_width=24)
        references = [] if not self.kinds else ["reference"] if self.narrow else self.kinds
        if self.several:
            table.add_column("unit")
            for kind in references:
                table.add_column(kind, justify="right")
            for model in report.models:
                head = _folded(model.label, 17 if self.errors else 11)
                table.add_column(escape(head), justify="right", overflow="fold")
                if self.deviations:
                    table.add_column("dev.", justify="right", no_wrap=True)
        else:
            for name, side in (("value", "right"), ("error", "right"), ("unit", "left"), ("status", "left")):
                table.add_column(name, justify=side, no_wrap=True)
            for kind in references:
                table.add_column(kind, justify="right", no_wrap=True)
                table.add_column("dev.", justify="right", no_wrap=True)
        for name in self.names:
            table.add_section()
            self._side_by_side(table, name) if self.several else self._alone(table, name)
        return table

    def reasons(self) -> Iterator[Text]:
        """Why a property of a calculator is not ok."""
        for model in self.report.models:
            for result in model.results.values():
                if result.reason:
                    who = f"{model.label}, " if self.several else ""
                    style = STYLES[result.status]
                    yield Text.assemble((f"{who}{result.title}: {result.status}: ", style), result.reason)

    def _alone(self, table: Table, name: str) -> None:
        """All numbers of one property of the only calculator."""
        result = self.report.models[0].results[name]
        # the time is unknown in a report read without timings
        time = f" [dim]{result.seconds:.1f} s[/dim]" if result.seconds else ""
        table.add_row(f"[bold]{escape(result.title)}[/bold]{time}", "", "", "", _badge(result.status))
        for value in result.values:
            cells = []
            for ref in self._chosen(name, value.name):
                cells += [self._reference(ref), show_percent(deviation(value.value, ref)) if ref else ""]
            table.add_row(
                _indented(value.label), show(value.value, value.error, value.unit),
                show_error(value.error, value.unit), value.unit, _badge(value.status), *cells,
            )  # fmt: skip

    def _side_by_side(self, table: Table, name: str) -> None:
        """All numbers of one property, a column for each calculator; what is not ok says so."""
        results = [m.results.get(name) for m in self.report.models]
        heads = []
        for result in results:
            heads.append("" if result is None or result.status is Status.OK else _badge(result.status))
            heads += [""] if self.deviations else []
        title = next(r.title for r in results if r is not None)
        blank = [""] * len(self._chosen(name, ""))
        table.add_row(f"[bold]{escape(title)}[/bold]", "", *blank, *heads)
        samples = {v.name: v for r in reversed(results) if r is not None for v in reversed(r.values)}
        for key in dict.fromkeys(v.name for r in results if r is not None for v in r.values):
            cells: list[str] = []
            main = primary(self.known[name].get(key, []))
            for result in results:
                value = result[key] if result is not None and key in result else None
                cells.append("" if value is None else self._cell(value))
                if self.deviations:
                    d = deviation(value.value, main) if value is not None and main is not None else None
                    cells.append(show_percent(d))
            shown = [self._reference(ref) for ref in self._chosen(name, key)]
            table.add_row(_indented(samples[key].label), samples[key].unit, *shown, *cells)

    def _cell(self, value: Any) -> str:
        text = show(value.value, value.error, value.unit)
        error = show_error(value.error, value.unit) if self.errors else ""
        text += f" [dim]{error}[/dim]" if error else ""
        return text if value.status is Status.OK else f"{text}{' ' if self.errors else chr(10)}{_badge(value.status)}"

    def _chosen(self, prop: str, name: str) -> list[dict | None]:
        """The reference for each column."""
        refs = self.known[prop].get(name, [])
        if self.narrow:
            return [primary(refs)] if self.kinds else []
        return [next((r for r in refs if r["kind"] == kind), None) for kind in self.kinds]

    def _reference(self, ref: dict | None) -> str:
        if ref is None:
            return ""
        text = ref["source"] + (f", doi:{ref['doi']}" if ref["doi"] else f", {ref['url']}" if ref["url"] else "")
        mark = self.sources.setdefault(text, str(len(self.sources) + 1))
        return f"{show_reference(ref)} [dim]{escape(f'[{mark}]')}[/dim]"


def _indented(label: str) -> Padding:
    return Padding(escape(label), (0, 0, 0, 2))


def _folded(label: str, width: int) -> str:
    """A name on several lines, broken after the signs that file names consist of."""
    lines = [""]
    for part in re.findall(r"[^ _.:+-]*[ _.:+-]*", label):
        if len(lines[-1] + part.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _badge(status: Status) -> str:
    return f"[{STYLES[status]}]{status}[/{STYLES[status]}]"
