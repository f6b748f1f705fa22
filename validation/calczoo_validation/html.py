"""report.html: one self-contained file that loads nothing; every text from outside is escaped."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from . import plots
from .compare import coverage, coverage_text, dataset_labels, deviation_summary
from .html_tables import combined_table, plain_setting, single_table
from .lint import counts
from .numbers import show_percent, show_unit
from .references import ABOUT, KINDS, deviation, link, primary
from .registry import all_properties
from .report import Report, verdict
from .results import Status, worst
from .store import slug

MEANING = {
    Status.OK: "computed, converged, all checks passed",
    Status.SUSPICIOUS: "computed, but a check or the error bar speaks against it",
    Status.UNCONVERGED: "an iteration stopped before its tolerance",
    Status.UNSTABLE: "the structure is not a minimum of this model",
    Status.UNSUPPORTED: "the calculator, or this property, cannot do it",
    Status.FAILED: "an error; see the reason",
}
CARD = (
    ("family", "Family"), ("summary", "Summary"), ("elements", "Elements"), ("cutoff", "Cutoff (Å)"),
    ("level_of_theory", "Level of theory"), ("training_data", "Training data"), ("citation", "Citation"),
    ("licence", "Licence"),
)  # fmt: skip
NOTHING = (Status.FAILED, Status.UNSUPPORTED)
REFERENCE_LABEL = "your reference"


def render(report: Report) -> str:
    """The whole page."""
    from jinja2 import DictLoader, Environment

    folder = files(__package__).joinpath("templates")
    names = {"report": "report.html.j2", "style": "report.css"}
    texts = {k: folder.joinpath(v).read_text(encoding="utf-8") for k, v in names.items()}
    env = Environment(loader=DictLoader(texts), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    env.filters["soft"] = soft
    return env.get_template("report").render(**page(report)).lstrip()


def soft(label: str) -> Any:
    """A name that may be broken after the signs that file names consist of."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([_.:+-])(?=.)", r"\1<wbr>", str(escape(label))))


def page(report: Report) -> dict[str, Any]:
    """Everything that the template prints, as plain data."""
    known, _ = all_properties()
    names = list(dict.fromkeys(name for m in report.models for name in m.results))
    shown = [n for n in names if not _empty_everywhere(report, n)]
    colour_of = {m.label: plots.BASE[k % len(plots.BASE)] for k, m in enumerate(report.models)}
    findings = report.findings()
    used = {r["kind"] for n in names for rows in report.references(n).values() for r in rows}
    return {
        "structure": report.structure, "mode": report.mode, "status": str(report.status),
        "environment": report.environment, "notes": report.notes, "several": len(report.models) > 1,
        "heading": _heading(report), "models": [_model(report, m, colour_of) for m in report.models],
        "coverage": _coverage(report, names, shown), "comparison": _comparison(report, colour_of),
        "sections": [_section(report, n, known.get(n), colour_of) for n in shown],
        "left_out": _left_out(report, names, shown), "findings": findings, "findings_count": counts(findings),
        "own": report.reference, "legend": [(str(s), MEANING[s]) for s in MEANING],
        "kinds": [(k, ABOUT[k]) for k in KINDS if k in used], "sources": _sources(report, names),
    }  # fmt: skip


def _heading(report: Report) -> str:
    """One line on the structure."""
    s = report.structure
    parts = [s.get("formula", "")]
    if s.get("space_group"):
        parts.append(f"space group {s['space_group']}")
    if s.get("atoms_in_cell") and s.get("space_group"):
        parts.append(f"{s['atoms_in_cell']} atom{'s' if s['atoms_in_cell'] != 1 else ''} in the cell")
    if s.get("frames"):
        parts.append(f"{s['frames']} structures with reference results")
    return ", ".join([p for p in parts if p] + [f"mode {report.mode}"])


def _empty_everywhere(report: Report, name: str) -> bool:
    """No calculator gave a number, and none failed at it: it is listed, without a section of its own."""
    results = [m.results[name] for m in report.models if name in m.results]
    return all(not r.values and r.status is Status.UNSUPPORTED for r in results)


def _left_out(report: Report, names: list[str], shown: list[str]) -> list[dict[str, str]]:
    """Properties without a section, and calculators that a property did not work for, with the reasons."""
    rows = [{"title": t, "who": "not applicable", "reason": r} for t, r in report.left_out]
    for name in names:
        results = [(m.label, m.results[name]) for m in report.models if name in m.results]
        empty = [(label, r) for label, r in results if not r.values and r.status in NOTHING]
        reasons: dict[str, list[str]] = {}
        for label, r in empty:
            reasons.setdefault(r.reason, []).append(label)
        for reason, labels in reasons.items():
            who = "all calculators" if len(labels) == len(report.models) > 1 else ", ".join(labels)
            rows.append({"title": results[0][1].title, "who": who, "reason": reason})
    return rows


def _coverage(report: Report, names: list[str], shown: list[str]) -> list[dict[str, Any]]:
    """One row per property and a total: sound numbers of all, and the worst status, for every calculator."""
    tables = {m.label: coverage(m) for m in report.models}
    rows = []
    for name in names:
        cells, title = [], ""
        for m in report.models:
            if name not in m.results:
                cells.append({"text": "not run", "status": "", "title": ""})
                continue
            result, c = m.results[name], tables[m.label][name]
            title = result.title
            text = f"{c['ok']} of {c['numbers']}" if c["numbers"] else str(result.status)
            about = coverage_text(c, str(result.status))
            tip = f"{about}: {result.reason}" if result.reason else about
            cells.append({"text": text, "status": str(result.status), "title": tip})
        rows.append({"title": title, "anchor": slug(name) if name in shown else "not-applicable", "cells": cells})
    total = []
    for m in report.models:
        c = tables[m.label].values()
        sound, numbers = sum(x["ok"] for x in c), sum(x["numbers"] for x in c)
        empty = sum(not x["numbers"] for x in c)
        tip = f"{empty} of {len(c)} properties without a number" if empty else "every property has numbers"
        text = f"{sound} of {numbers}" + (f", {empty} without any" if empty else "")
        total.append({"text": text, "status": "", "title": tip})
    return [*rows, {"title": "All numbers", "anchor": "", "cells": total}] if rows else []


def _model(report: Report, model, colour_of: dict[str, str]) -> dict[str, Any]:
    facts = []
    for key, label in CARD:
        value = model.card.get(key)
        if value and value != "unknown":
            facts.append((label, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    work = model.counts()
    mean, median, n, of = deviation_summary(report)[model.label]
    text = "" if mean is None else (
        f"Mean deviation from the reference {100 * mean:.1f} % (median {100 * median:.1f} %), over {n} of {of} "
        "quantities with a reference."
    )  # fmt: skip
    return {
        "label": model.label, "colour": colour_of[model.label], "status": str(model.status),
        "verdict": verdict(model), "facts": facts, "doi": str(model.card.get("doi", "")), "deviation": text,
        "structures": work.get("structures", 0), "calls": work.get("calls", 0), "atoms": work.get("atoms", 0),
        "how": "batched" if model.batched else "one by one", "files": model.card.get("files") or {},
        "worst": _largest_deviations(report, model),
        "troubles": [
            {"title": r.title, "anchor": slug(r.property), "status": str(r.status), "reason": r.reason}
            for r in model.results.values() if r.status is not Status.OK
        ],
    }  # fmt: skip


def _largest_deviations(report: Report, model, count: int = 3) -> list[dict[str, str]]:
    """Values furthest from their primary reference, relative."""
    rows = []
    for result in model.results.values():
        for name, refs in report.references(result.property).items():
            ref = primary(refs)
            d = deviation(result[name].value, ref) if name in result and ref is not None else None
            if d is not None:
                rows.append((abs(d), {"label": result[name].label, "percent": show_percent(d), "kind": ref["kind"]}))
    return [row for _, row in sorted(rows, key=lambda r: -r[0])[:count]]


# -- comparison ------------------------------------------------------------------------------------------------------


def _comparison(report: Report, colour_of: dict[str, str]) -> dict[str, Any] | None:
    found = report.comparison()
    if found is None:
        return None
    from .plots_compare import deviation_figure, error_figure

    out: dict[str, Any] = {"found": found, "notes": found.notes, "standings": [], "groups": [], "pairs": [],
                           "dataset": [], "figure": "", "dataset_figure": "", "ranks": False}  # fmt: skip
    if found.quantities:
        best = min((s.place for s in found.standings), default=1)
        out["ranks"] = len({s.usable for s in found.standings}) > 1  # with equal coverage the places say it all
        for s in sorted(found.standings, key=lambda s: (s.place, found.labels.index(s.label))):
            tied = sum(o.place == s.place for o in found.standings) > 1
            out["standings"].append({
                "place": f"{s.place}{' (tie)' if tied else ''}", "label": s.label, "colour": colour_of[s.label],
                "coverage": f"{s.usable} of {s.total}", "missing": _names(s.missing), "best": s.place == best,
                "mean": _percent(s.mean), "median": _percent(s.median), "span": _span(s.low, s.high, 100, " %"),
                "rank": "not compared" if s.rank is None else str(s.rank),
            })  # fmt: skip
        out["groups"] = [
            {"title": g.title, "n": g.n, "anchor": slug(g.name), "means": [_percent(x) for x in g.means],
             "ranks": [r for r in g.ranks]} for g in found.groups
        ]  # fmt: skip
        out["pairs"] = [_pair_row(p, 100, " %") for p in found.pairs]
        out["compared"] = [(label, colour_of[label]) for label in found.compared]
        if found.common:
            out["figure"] = plots.to_svg(deviation_figure(found, colour_of), "comparison")
    if found.dataset:
        labels = dataset_labels(report)
        out["dataset_labels"] = [(label, colour_of[label]) for label in labels]
        out["dataset"] = [{
            "title": g.title, "unit": show_unit(g.unit), "n": g.n, "pairs": [_pair_row(p, 1, "") for p in g.pairs],
            "cells": [
                {"mean": f"{m:.3g}", "span": _span(a, b, 1, ""), "rank": r}
                for m, a, b, r in zip(g.means, g.lows, g.highs, g.ranks, strict=True)
            ],
        } for g in found.dataset]  # fmt: skip
        out["dataset_figure"] = plots.to_svg(error_figure(found.dataset, labels, colour_of), "comparison-dataset")
    return out


def _names(missing: list[str], most: int = 8) -> str:
    """A list of names, cut where it gets long."""
    more = f" and {len(missing) - most} more" if len(missing) > most else ""
    return ", ".join(missing[:most]) + more


def _digits(x: float) -> str:
    """Three digits, without exponents for large numbers."""
    return f"{x:.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def _pair_row(p, factor: float, unit: str) -> dict[str, Any]:
    nearer = f"{'first' if p.difference < 0 else 'second'} is nearer"
    verdict_text = f"too few to tell ({p.n})" if p.low is None else "tie" if p.tie else nearer
    sign = "+" if p.difference > 0 else ""
    return {
        "first": p.first, "second": p.second,
        "difference": f"{sign}{_digits(factor * p.difference)}{unit}".replace("-", "−"),
        "span": _span(p.low, p.high, factor, unit), "wins": f"{p.wins} of {p.n}", "verdict": verdict_text, "tie": p.tie,
        "wins_span": f"{100 * p.wins_low:.0f} to {100 * p.wins_high:.0f} % of the time",
    }  # fmt: skip


def _percent(x: float | None) -> str:
    return "–" if x is None else f"{100 * x:.1f} %"


def _span(low: float | None, high: float | None, factor: float, unit: str) -> str:
    return "" if low is None else f"{_digits(factor * low)} to {_digits(factor * high)}{unit}".replace("-", "−")


# -- properties ------------------------------------------------------------------------------------------------------


def _section(report: Report, name: str, prop, colour_of: dict[str, str]) -> dict[str, Any]:
    """One property: plots over all calculators, one table, what each of them says."""
    refs = report.references(name)
    shown = [(m.label, m.results[name]) for m in report.models if name in m.results]
    several = len(report.models) > 1
    kinds = [k for k in KINDS if any(r["kind"] == k for rows in refs.values() for r in rows)]
    each: list[dict[str, Any]] = []
    settings: dict[tuple, list[str]] = {}  # equal ones once, with all who have them
    for label, r in shown:
        each.append({
            "label": label, "colour": colour_of[label], "status": str(r.status), "reason": r.reason, "notes": r.notes,
            "coverage": coverage_text(_counts(r), str(r.status)), "structures": r.evaluations.get("structures", 0),
        })  # fmt: skip
        rows = tuple((k.replace("_", " "), plain_setting(v)) for k, v in r.settings.items())
        if rows:
            settings.setdefault(rows, []).append(label)
    with_values = [(label, r) for label, r in shown if r.values]
    return {
        "anchor": slug(name), "title": shown[0][1].title, "about": prop.about if prop else "", "kinds": kinds,
        "status": str(worst(r.status for _, r in shown)), "each": each, "columns": [
            {"label": label, "colour": colour_of[label]} for label, _ in with_values
        ],
        "rows": (combined_table if several else single_table)(with_values, refs, kinds),
        "plots": _plots(report, name, prop, shown, refs, colour_of),
        "settings": [(rows, ", ".join(labels)) for rows, labels in settings.items()],
    }  # fmt: skip


def _counts(result) -> dict[str, int]:
    return {"numbers": len(result.values), **{str(s): sum(v.status is s for v in result.values) for s in Status}}


def _plots(report: Report, name: str, prop, shown, refs, colour_of) -> list[dict[str, Any]]:
    """The property's figures as SVG; a figure that cannot be drawn is named instead."""
    usable = [(label, r, refs) for label, r in shown if r.status not in NOTHING]
    if prop is None or prop.plots is None or not usable:
        return []
    own = report.reference.results.get(name) if report.reference is not None else None
    colours = [colour_of[label] for label, _, _ in usable]
    attempts = [(usable, "")]
    if own is not None and own.data:
        attempts.insert(0, ([*usable, (REFERENCE_LABEL, own, {})], "Black: your reference."))
    problem = ""
    for models, remark in attempts:
        try:
            with plots.palette([*colours, plots.REFERENCE_COLOUR][: len(models)]):
                drawn = prop.plots(models)
            return [_svg(name, figure, remark) for figure in drawn]
        except Exception as error:  # noqa: BLE001 - plots of plug-ins may raise anything; the page says so
            problem = f"{type(error).__name__}: {error}"
    return [{"title": "Figure", "caption": f"It could not be drawn ({problem}).", "svg": "", "inches": 4.0}]


def _svg(name: str, drawn: tuple, remark: str) -> dict[str, Any]:
    key, title, caption, fig = drawn
    text = f"{caption} {remark}".strip()
    svg = plots.to_svg(fig, f"{slug(name)}-{slug(key)}")
    return {"title": title, "caption": text, "svg": svg, "inches": float(fig.get_size_inches()[0])}


def _sources(report: Report, names: list[str]) -> list[dict[str, str]]:
    """Every source used on the page, once."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        for rows in report.references(name).values():
            for ref in rows:
                row = {"short": ref["short"], "text": ref["source"], "link": link(ref), "doi": ref["doi"]}
                found.setdefault(ref["source"], row)
    return sorted(found.values(), key=lambda r: r["short"])
