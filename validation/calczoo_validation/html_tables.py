"""Tables of the HTML report as plain data: one calculator with all its columns, or several side by side."""

from __future__ import annotations

from typing import Any

from .numbers import show, show_error, show_percent, show_reference, show_unit
from .references import deviation, link, primary
from .results import PropertyResult, Status, Value

FOLD = 30  # rows of a table beyond which those without reference and trouble are folded away


def single_table(results: list[tuple[str, PropertyResult]], refs: dict[str, list[dict]], kinds: list[str]) -> dict:
    """Rows of one calculator: value, error, status, and each kind of reference with the deviation from it."""
    rows = [_single_row(v, refs.get(v.name, []), kinds) for _, r in results for v in r.values]
    return _folded(rows)


def combined_table(results: list[tuple[str, PropertyResult]], refs: dict[str, list[dict]], kinds: list[str]) -> dict:
    """Rows of several calculators: the references, then every value with its deviation from the first of them."""
    samples = {v.name: v for _, r in reversed(results) for v in reversed(r.values)}
    order = list(dict.fromkeys(v.name for _, r in results for v in r.values))
    return _folded([_combined_row(samples[n], n, results, refs.get(n, []), kinds) for n in order])


def _folded(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows to be shown, and those behind a fold of a long table."""
    if len(rows) <= FOLD:
        return {"shown": rows, "folded": []}
    important = [r for r in rows if r["important"]]
    rest = [r for r in rows if not r["important"]]
    free = max(0, FOLD - len(important))
    kept = {id(r) for r in [*important, *rest[:free]]}
    return {"shown": [r for r in rows if id(r) in kept], "folded": [r for r in rows if id(r) not in kept]}


def _single_row(value: Value, refs: list[dict], kinds: list[str]) -> dict[str, Any]:
    cells = []
    for kind in kinds:
        ref = next((r for r in refs if r["kind"] == kind), None)
        d = deviation(value.value, ref) if ref else None
        cells.append(None if ref is None else {
            **_reference(ref, refs), "percent": show_percent(d), "level": level(d),
        })  # fmt: skip
    return {
        "label": value.label, "value": show(value.value, value.error, value.unit), "unit": show_unit(value.unit),
        "error": show_error(value.error, value.unit), "error_source": value.error_source, "status": str(value.status),
        "reason": value.reason, "note": value.note, "refs": cells,
        "important": bool(refs) or value.status is not Status.OK,
    }  # fmt: skip


def _combined_row(sample: Value, name: str, results, refs: list[dict], kinds: list[str]) -> dict[str, Any]:
    main = primary(refs)
    cells = []
    for _, result in results:
        value = result[name] if name in result else None
        if value is None:
            cells.append(None)
            continue
        d = deviation(value.value, main) if main else None
        tip = "; ".join(t for t in (value.reason, value.error_source, value.note) if t)
        cells.append({
            "value": show(value.value, value.error, value.unit), "error": show_error(value.error, value.unit),
            "status": str(value.status), "percent": show_percent(d), "level": level(d), "title": tip,
        })  # fmt: skip
    shown = []
    for kind in kinds:
        ref = next((r for r in refs if r["kind"] == kind), None)
        shown.append(None if ref is None else {**_reference(ref, refs), "main": ref is main})
    return {
        "label": sample.label, "unit": show_unit(sample.unit), "refs": shown, "cells": cells,
        "note": sample.note if all(name in r and r[name].note == sample.note for _, r in results) else "",
        "important": bool(refs) or any(c is None or c["status"] != "ok" for c in cells),
    }  # fmt: skip


def _reference(ref: dict, refs: list[dict]) -> dict[str, str]:
    """A reference value with its source, remark, and the other values of the same kind."""
    others = [f"also {o['value']:g} ({o['short']})" for o in refs if o["kind"] == ref["kind"] and o is not ref]
    error = f" {show_error(ref['error'], ref['unit'])}" if ref.get("error") is not None else ""
    return {
        "value": show_reference(ref) + error, "short": ref["short"], "link": link(ref),
        "title": ref["source"], "note": "; ".join([ref["note"]] * bool(ref["note"]) + others),
    }  # fmt: skip


def level(d: float | None) -> str:
    """near: within 5 %; off: within 15 %; far: beyond."""
    return "" if d is None else "near" if abs(d) <= 0.05 else "off" if abs(d) <= 0.15 else "far"


def plain_setting(value: Any) -> str:
    """A setting as text: yes and no, 3×3×3, four digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{k}: {plain_setting(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join("×".join(map(str, v)) if isinstance(v, list | tuple) else plain_setting(v) for v in value)
    return str(value)
