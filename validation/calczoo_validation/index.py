"""index.html of a run over several structures: one row each, with what could be computed and what could not."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from .report import Report
from .results import Status
from .store import write_json, write_text

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a202c}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .7rem;border-bottom:1px solid #e2e8f0}
td.n{text-align:right;font-variant-numeric:tabular-nums}.ok{color:#276749}.bad{color:#9b2c2c}.soft{color:#4a5568}"""


def coverage(report: Report, model: int) -> tuple[int, int]:
    """(sound numbers, all numbers and properties without any) of one calculator."""
    sound = total = 0
    for result in report.models[model].results.values():
        total += max(1, len(result.values))
        sound += sum(v.status is Status.OK for v in result.values)
    return sound, total


def write_index(folder: Path, names: Sequence[str], reports: Sequence[Report]) -> Path:
    """Write index.html and index.json into the run's folder."""
    rows, data = [], []
    for name, report in zip(names, reports, strict=True):
        cells = []
        for m, model in enumerate(report.models):
            sound, total = coverage(report, m)
            mark = "ok" if model.status is Status.OK else "bad"
            cells.append(f'<td class="n">{sound} of {total}</td><td class="{mark}">{model.status}</td>')
            data.append({
                "structure": report.structure["label"], "folder": name, "model": model.label, "sound": sound,
                "total": total, "status": str(model.status),
            })  # fmt: skip
        label = escape(report.structure["label"])
        rows.append(f'<tr><td><a href="{escape(name)}/report.html">{label}</a></td>{"".join(cells)}</tr>')
    heads = "".join(f'<th colspan="2">{escape(m.label)}</th>' for m in reports[0].models)
    title = f"Validation of {len(reports)} structures"
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
        '<p class="soft">Sound numbers out of all that were asked for, and the worst status. A property that gave no '
        "number counts as one that is not sound.</p>"
        f"<table><tr><th>Structure</th>{heads}</tr>{''.join(rows)}</table></body></html>\n"
    )
    write_json(folder / "index.json", data)
    write_text(folder / "index.html", page)
    return folder / "index.html"
