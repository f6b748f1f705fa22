"""The numbers of a report in other formats: JUnit XML for build servers, CSV, Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from calczoo.core.errors import OptionError

from .compare import compare, coverage, coverage_text
from .numbers import show, show_error, show_percent
from .references import deviation, primary
from .results import Status, Value

FAIL_ON = (Status.FAILED, Status.UNSTABLE, Status.UNCONVERGED)  # what fails a build unless told otherwise
CSV_FIELDS = (
    "structure", "mode", "calculator", "property", "name", "label", "value", "error", "unit", "error_source", "status",
    "reason", "note", "reference", "reference_kind", "reference_error", "relative_deviation", "reference_source",
    "reference_doi",
)  # fmt: skip


def statuses(text: str | Iterable[str]) -> tuple[Status, ...]:
    """Statuses of "failed,unstable" or a list of them. Errors: OptionError for an unknown one."""
    names = [t.strip() for t in text.split(",")] if isinstance(text, str) else [str(t) for t in text]
    unknown = [n for n in names if n and n not in set(Status)]
    if unknown:
        raise OptionError(f"unknown status {unknown[0]!r}; allowed: {', '.join(Status)}")
    return tuple(Status(n) for n in names if n)


def junit(report: Any, fail_on: str | Iterable[str] = FAIL_ON) -> str:
    """One test case per number, and one per property that gave none.

    A status in `fail_on` is a failure, unsupported is skipped unless it is in `fail_on`, anything else passes. No
    times: the same results give the same file.
    """
    bad = statuses(fail_on)
    suites = []
    for model in report.models:
        cases = []
        for result in model.results.values():
            rows = result.values or [Value(result.property, result.title, None, "", status=result.status,
                                           reason=result.reason)]  # fmt: skip
            cases += [_case(f"{model.label}.{result.property}", v, bad) for v in rows]
        failures, skipped = (sum(mark in c for c in cases) for mark in ("<failure", "<skipped"))
        suites.append(
            f'  <testsuite name={_quoted(model.label)} tests="{len(cases)}" failures="{failures}" errors="0" '
            f'skipped="{skipped}">\n' + "".join(cases) + "  </testsuite>\n"
        )
    name = _quoted(f"{report.structure.get('label', '')}, mode {report.mode}")
    return f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites name={name}>\n{"".join(suites)}</testsuites>\n'


def _case(classname: str, value: Value, bad: tuple[Status, ...]) -> str:
    head = f"    <testcase classname={_quoted(classname)} name={_quoted(value.label)}"
    text = f"{value.name} = {show(value.value, value.error, value.unit)} {value.unit}".strip()
    detail = _clean(f"{text}: {value.reason}" if value.reason else text)
    if value.status in bad:
        message = _quoted(f"{value.status}: {value.reason or value.label}")
        return f'{head}><failure type="{value.status}" message={message}>{escape(detail)}</failure></testcase>\n'
    if value.status is Status.UNSUPPORTED:
        return f"{head}><skipped message={_quoted(value.reason or 'unsupported')}/></testcase>\n"
    note = detail if value.status is Status.OK else f"{value.status}: {detail}"
    return f"{head}><system-out>{escape(note)}</system-out></testcase>\n"


def _clean(text: str) -> str:
    """Without the control characters and surrogates that XML 1.0 has no way to write."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def _quoted(text: str) -> str:
    return quoteattr(_clean(text), {"\n": " "})


def csv_table(report: Any) -> str:
    """One line per number with every field; numbers in full precision. A property without numbers has one line."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for model in report.models:
        for result in model.results.values():
            head = {
                "structure": report.structure.get("label", ""), "mode": report.mode, "calculator": model.label,
                "property": result.property,
            }  # fmt: skip
            known = report.references(result.property)
            for v in result.values:
                ref = primary(known.get(v.name, []))
                row = {k: getattr(v, k) for k in ("name", "label", "unit", "error_source", "reason", "note")}
                row.update(value=_number(v.value), error=_number(v.error), status=str(v.status))
                if ref is not None:
                    row.update(
                        reference=_number(ref["value"]), reference_kind=ref["kind"], reference_source=ref["source"],
                        reference_doi=ref["doi"], reference_error=_number(ref["error"]),
                        relative_deviation=_number(deviation(v.value, ref)),
                    )  # fmt: skip
                writer.writerow({k: _no_formula(x) for k, x in {**head, **row}.items()})
            if not result.values:
                row = {"label": result.title, "status": str(result.status), "reason": result.reason}
                writer.writerow({k: _no_formula(x) for k, x in {**head, **row}.items()})
    return out.getvalue()


def _number(x: float | None) -> str:
    return "" if x is None else repr(float(x))


def _no_formula(text: str) -> str:
    """A text that a spreadsheet would take for a formula gets a quote before it; numbers stay."""
    if text[:1] in "=+-@\t\r" and text[:1]:
        try:
            float(text)
        except ValueError:
            return f"'{text}"
    return text


def markdown(report: Any) -> str:
    """Coverage, comparison and one table per property, for a repository or an electronic notebook."""
    s = report.structure
    lines = [f"# Validation: {_cell(s.get('label', ''))}", "", f"Mode {report.mode}, status {report.status}.", ""]
    lines += _markdown_coverage(report) + _markdown_comparison(report)
    several = len(report.models) > 1
    for name in dict.fromkeys(n for m in report.models for n in m.results):
        results = [(m.label, m.results[name]) for m in report.models if name in m.results]
        known = report.references(name)
        lines += [f"## {_cell(results[0][1].title)}", ""]
        if any(r.values for _, r in results):
            lines += ["| calculator | quantity | value | error | unit | status | reference | deviation |",
                      "|---|---|---:|---:|---|---|---|---:|"]  # fmt: skip
            for label, result in results:
                lines += [_markdown_row(label, v, known.get(v.name, [])) for v in result.values]
            lines.append("")
        for label, result in results:
            if result.reason:
                who = f"{_cell(label)}: " if several else ""
                lines += [f"- {who}{result.status}: {_cell(result.reason)}"]
        lines.append("")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _markdown_row(label: str, v: Value, refs: list[dict]) -> str:
    ref = primary(refs)
    shown = f"{ref['value']:g} ({ref['kind']}, {ref['short']})" if ref else ""
    cells = (
        label, v.label, show(v.value, v.error, v.unit), show_error(v.error, v.unit), v.unit, str(v.status), shown,
        show_percent(deviation(v.value, ref)) if ref else "",
    )  # fmt: skip
    return f"| {' | '.join(_cell(c) for c in cells)} |"


def _markdown_coverage(report: Any) -> list[str]:
    lines = ["## Coverage", "", "| calculator | property | coverage |", "|---|---|---|"]
    for m in report.models:
        for name, counts in coverage(m).items():
            r = m.results[name]
            lines.append(f"| {_cell(m.label)} | {_cell(r.title)} | {coverage_text(counts, str(r.status))} |")
    return [*lines, ""]


def _markdown_comparison(report: Any) -> list[str]:
    found = compare(report)
    if found is None or not found.quantities:
        return []
    lines = [
        "## Comparison", "", f"Mean absolute relative deviation over {len(found.common)} common quantities.", "",
        "| place | calculator | usable numbers | mean deviation | 95 % interval | rank by deviation |",
        "|---:|---|---|---:|---|---:|",
    ]  # fmt: skip
    for s in sorted(found.standings, key=lambda s: s.place):
        mean = "" if s.mean is None else f"{100 * s.mean:.1f} %"
        span = "" if s.low is None else f"{100 * s.low:.1f} .. {100 * s.high:.1f} %"
        lines.append(f"| {s.place} | {_cell(s.label)} | {s.usable} of {s.total} | {mean} | {span} | {s.rank or ''} |")
    return [*lines, "", *(f"- {_cell(n)}" for n in found.notes), ""]


def _cell(text: str) -> str:
    """Text that cannot break out of a Markdown table or turn into HTML."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").replace("<", "&lt;")
