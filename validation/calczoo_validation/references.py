"""Reference values (experiment and DFT) with their sources, by crystal and value name."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

KINDS = ("PBE", "experiment")  # order of the columns


@cache
def table() -> dict[str, Any]:
    return json.loads(files(__package__).joinpath("references.json").read_text(encoding="utf-8"))


def lookup(crystal: str, property_name: str) -> dict[str, list[dict[str, Any]]]:
    """References of one property of one crystal ("Mo:bcc"): value name -> list of dicts.

    Each has value, unit, kind ("PBE" or "experiment"), source (text), doi, url, note. The first of a kind is the one
    that deviations are taken from.
    """
    data, found = table(), {}
    for row in data["values"]:
        if row["crystal"] != crystal or not row["name"].startswith(f"{property_name}."):
            continue
        source = data["sources"][row["source"]]
        entry = {
            "value": row["value"], "unit": row["unit"], "kind": row["kind"], "source": source["citation"],
            "short": source["short"], "doi": source.get("doi", ""), "url": source.get("url", ""),
            "note": row.get("note", ""), "error": row.get("error"),
        }  # fmt: skip
        found.setdefault(row["name"].split(".", 1)[1], []).append(entry)
    for entries in found.values():
        entries.sort(key=lambda e: KINDS.index(e["kind"]) if e["kind"] in KINDS else len(KINDS))
    return found


def deviation(value: float | None, reference: dict[str, Any]) -> float | None:
    """Relative deviation (value - reference) / |reference|."""
    if value is None or not reference["value"]:
        return None
    return (value - reference["value"]) / abs(reference["value"])


def link(reference: dict[str, Any]) -> str:
    return f"https://doi.org/{reference['doi']}" if reference["doi"] else reference["url"]
