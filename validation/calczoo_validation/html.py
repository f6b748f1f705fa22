"""report.html: one self-contained file; every text from outside is escaped."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from .numbers import show, show_error, show_percent
from .plots import to_svg
from .references import KINDS, deviation, link
from .registry import all_properties
from .report import Report, verdict
from .results import PropertyResult, Status, Value
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
    ("family", "Family"), ("summary", "Summary"), ("elements", "Elements"), ("cutoff", "Cutoff (A)"),
    ("level_of_theory", "Level of theory"), ("training_data", "Training data"), ("citation", "Citation"),
    ("licence", "Licence"),
)  # fmt: skip


def render(report: Report) -> str:
    """The whole page."""
    from jinja2 import Environment

    template = files(__package__).joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    env = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return env.from_string(template).render(**page(report))


def page(report: Report) -> dict[str, Any]:
    """Everything that the template prints, as plain data."""
    known, _ = all_properties()
    names = list(dict.fromkeys(name for m in report.models for name in m.results))
    sections = [_section(report, name, known.get(name)) for name in names]
    return {
        "structure": report.structure,
        "mode": report.mode,
        "status": str(report.status),
        "environment": report.environment,
        "notes": report.notes,
        "several": len(report.models) > 1,
        "side_by_side": _side_by_side(report, names) if len(report.models) > 1 else [],
        "models": [_model(report, m) for m in report.models],
        "sections": sections,
        "legend": [(str(s), MEANING[s]) for s in MEANING],
        "kinds": KINDS,
        "sources": _sources(report, names),
    }


def _model(report: Report, model) -> dict[str, Any]:
    facts = []
    for key, label in CARD:
        value = model.card.get(key)
        if value and value != "unknown":
            facts.append((label, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    doi = str(model.card.get("doi", ""))
    return {
        "label": model.label, "status": str(model.status), "verdict": verdict(model), "facts": facts, "doi": doi,
        "seconds": f"{model.seconds:.1f}", "structures": model.evaluations.get("structures", 0),
        "calls": model.evaluations.get("calls", 0), "atoms": model.evaluations.get("atoms", 0),
        "how": "batched" if model.batched else "one by one", "files": model.card.get("files") or {},
        "worst": _largest_deviations(report, model),
        "troubles": [
            {"title": r.title, "anchor": slug(r.property), "status": str(r.status), "reason": r.reason}
            for r in model.results.values() if r.status is not Status.OK
        ],
    }  # fmt: skip


def _largest_deviations(report: Report, model, count: int = 3) -> list[dict[str, str]]:
    """Values furthest from the first reference column that has them, relative."""
    rows = []
    for result in model.results.values():
        for name, refs in report.references(result.property).items():
            if name not in result or refs[0]["kind"] not in KINDS:
                continue
            value = result[name]
            d = deviation(value.value, refs[0])
            if d is not None:
                rows.append((abs(d), {"label": value.label, "percent": show_percent(d), "kind": refs[0]["kind"]}))
    return [row for _, row in sorted(rows, key=lambda r: -r[0])[:count]]


def _section(report: Report, name: str, prop) -> dict[str, Any]:
    """One property: a table per model, and the plots over all models."""
    refs = report.references(name)
    shown = [(m.label, m.results[name]) for m in report.models if name in m.results]
    plots = []
    if prop is not None and prop.plots is not None:
        usable = [(label, r, refs) for label, r in shown if r.status not in (Status.FAILED, Status.UNSUPPORTED)]
        if usable:
            for key, title, caption, fig in prop.plots(usable):
                inches = float(fig.get_size_inches()[0])
                svg = to_svg(fig, f"{slug(name)}-{slug(key)}")
                plots.append({"title": title, "caption": caption, "svg": svg, "inches": inches})
    first = shown[0][1]
    return {
        "anchor": slug(name), "title": first.title, "about": prop.about if prop else "", "plots": plots,
        "tables": [_table(label, result, refs) for label, result in shown],
    }  # fmt: skip


def _table(label: str, result: PropertyResult, refs: dict[str, list[dict]]) -> dict[str, Any]:
    kinds = [k for k in KINDS if any(r["kind"] == k for rows in refs.values() for r in rows)]
    return {
        "label": label, "status": str(result.status), "reason": result.reason, "notes": result.notes, "kinds": kinds,
        "settings": [(k.replace("_", " "), _plain(v)) for k, v in result.settings.items()],
        "seconds": f"{result.seconds:.2f}", "structures": result.evaluations.get("structures", 0),
        "rows": [_row(v, refs.get(v.name, []), kinds) for v in result.values],
    }  # fmt: skip


def _row(value: Value, refs: list[dict], kinds: list[str]) -> dict[str, Any]:
    cells = []
    for kind in kinds:
        ref = next((r for r in refs if r["kind"] == kind), None)
        d = deviation(value.value, ref) if ref else None
        cells.append(None if ref is None else {
            "value": f"{ref['value']:g}", "short": ref["short"], "link": link(ref), "title": ref["source"],
            "note": "; ".join([n for n in [ref["note"]] if n] + [
                f"also {o['value']:g} ({o['short']})" for o in refs if o["kind"] == kind and o is not ref
            ]), "percent": show_percent(d), "level": _level(d),
        })  # fmt: skip
    return {
        "label": value.label, "value": show(value.value, value.error, value.unit), "unit": _unit(value.unit),
        "error": show_error(value.error, value.unit), "error_source": value.error_source, "status": str(value.status),
        "reason": value.reason, "note": value.note, "refs": cells,
    }  # fmt: skip


def _side_by_side(report: Report, names: list[str]) -> list[dict[str, Any]]:
    """One row per quantity: every model's value, and the reference values."""
    rows = []
    for name in names:
        refs = report.references(name)
        labels = {v.name: v for m in report.models if name in m.results for v in m.results[name].values}
        for key, sample in labels.items():
            cells = []
            for m in report.models:
                value = m.results[name][key] if name in m.results and key in m.results[name] else None
                text = show(value.value, value.error, value.unit) if value else ""
                cells.append({"value": text, "status": str(value.status) if value else ""})
            known = [next((f"{r['value']:g}" for r in refs.get(key, []) if r["kind"] == kind), "") for kind in KINDS]
            rows.append({"label": sample.label, "unit": _unit(sample.unit), "cells": cells, "refs": known})
    return rows


def _level(d: float | None) -> str:
    """near: within 5 %; off: within 15 %; far: beyond."""
    return "" if d is None else "near" if abs(d) <= 0.05 else "off" if abs(d) <= 0.15 else "far"


def _unit(unit: str) -> str:
    return {"A": "Å", "A^3": "Å³"}.get(unit, unit)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join("×".join(map(str, v)) if isinstance(v, list | tuple) else _plain(v) for v in value)
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _sources(report: Report, names: list[str]) -> list[dict[str, str]]:
    """Every source used on the page, once."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        for rows in report.references(name).values():
            for ref in rows:
                row = {"short": ref["short"], "text": ref["source"], "link": link(ref), "doi": ref["doi"]}
                found.setdefault(ref["source"], row)
    return sorted(found.values(), key=lambda r: r["short"])
