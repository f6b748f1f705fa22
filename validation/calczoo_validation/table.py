"""The terminal table."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from .numbers import show, show_error, show_percent
from .references import KINDS, deviation
from .results import Status

STYLES = {
    Status.OK: "green", Status.UNSUPPORTED: "dim", Status.SUSPICIOUS: "yellow", Status.UNCONVERGED: "magenta",
    Status.UNSTABLE: "red", Status.FAILED: "bold red",
}  # fmt: skip


def make_table(report) -> Table:
    """One section per model and property; each reference value beside its number, its source below the table."""
    structure = report.structure
    table = Table(
        title=f"{escape(structure['label'])}, mode {report.mode}, status {report.status}", title_justify="left",
        header_style="bold", pad_edge=False,
    )  # fmt: skip
    table.add_column("property")
    table.add_column("value", justify="right")
    table.add_column("error", justify="right")
    table.add_column("unit")
    table.add_column("status")
    names = list(dict.fromkeys(n for m in report.models for n in m.results))
    known = {n: report.references(n) for n in names}
    used = {
        r["kind"] for m in report.models for n, result in m.results.items() for v in result.values
        for r in known[n].get(v.name, [])
    }  # fmt: skip
    kinds = [k for k in KINDS if k in used]
    for kind in kinds:
        table.add_column(kind, justify="right")
        table.add_column("dev.", justify="right")
    sources: dict[str, str] = {}
    for model in report.models:
        for name, result in model.results.items():
            _section(table, model, result, known[name], kinds, sources, len(report.models) > 1)
    lines = [f"[{mark}] {text}" for text, mark in sources.items()]
    table.caption = escape("\n".join(lines)) if lines else None
    table.caption_justify = "left"
    return table


def _section(
    table: Table, model, result, known: dict, kinds: list[str], sources: dict[str, str], several: bool
) -> None:
    head = f"{result.title} ({model.label})" if several else result.title
    style = STYLES[result.status]
    table.add_section()
    badge = f"[{style}]{result.status}[/{style}]"
    time = f"[dim]{result.seconds:.1f} s[/dim]" if result.seconds else ""  # unknown in a report read without timings
    table.add_row(f"[bold]{escape(head)}[/bold]", "", "", time, badge)
    for value in result.values:
        cells = []
        for kind in kinds:
            ref = next((r for r in known.get(value.name, []) if r["kind"] == kind), None)
            if ref is None:
                cells += ["", ""]
                continue
            text = ref["source"] + (f", doi:{ref['doi']}" if ref["doi"] else f", {ref['url']}" if ref["url"] else "")
            mark = sources.setdefault(text, str(len(sources) + 1))
            cells += [f"{ref['value']:.6g} [dim]{escape(f'[{mark}]')}[/dim]", show_percent(deviation(value.value, ref))]
        style = STYLES[value.status]
        table.add_row(
            f"  {escape(value.label)}", show(value.value, value.error, value.unit), show_error(value.error, value.unit),
            value.unit, f"[{style}]{value.status}[/{style}]", *cells,
        )  # fmt: skip
    if result.reason:
        table.add_row(f"  [{STYLES[result.status]}]{escape(result.reason)}[/]")
