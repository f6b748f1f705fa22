"""Reference values (experiment and DFT) with their sources, by crystal and value name."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

# Order of the columns. "reference" is the user's own (see reference_files.py); "paper" what the authors of a potential
# computed with it. Deviations are taken from the first kind that a quantity has, "paper" excepted.
KINDS = ("reference", "PBE", "DFT", "experiment", "paper")
ABOUT = {
    "reference": "your own reference", "PBE": "density-functional theory, PBE",
    "DFT": "density-functional theory, another functional", "experiment": "measured",
    "paper": "computed with this potential by its authors",
}  # fmt: skip
# Energies whose zero every code and potential puts where it likes: never compared with a reference.
NO_COMMON_ZERO = ("lattice.energy", "eos.E0")


@cache
def table() -> dict[str, Any]:
    return json.loads(files(__package__).joinpath("references.json").read_text(encoding="utf-8"))


def lookup(crystal: str, property_name: str) -> dict[str, list[dict[str, Any]]]:
    """References of one property of one crystal ("Mo:bcc"): value name -> list of dicts.

    Each has value, unit, kind (see KINDS), source (text), short, doi, url, note, error. The first of a kind is the one
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
    return {name: in_order(entries) for name, entries in found.items()}


def in_order(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries by kind, in the order of KINDS; the order within one kind is kept."""
    return sorted(entries, key=lambda e: KINDS.index(e["kind"]) if e["kind"] in KINDS else len(KINDS))


def primary(entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The entry that deviations and comparisons are taken from; None where there is none."""
    return next((e for e in in_order(entries) if e["kind"] != "paper"), None)


def merged(own: dict[str, list[dict]], built_in: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Own and built-in entries by value name, own ones first."""
    return {n: in_order([*own.get(n, []), *built_in.get(n, [])]) for n in sorted({*own, *built_in})}


def is_zero(reference: dict[str, Any]) -> bool:
    """Whether the reference is 0 within its own error: then there is no relative deviation from it."""
    return abs(reference["value"] or 0.0) <= (reference.get("error") or 0.0)


def deviation(value: float | None, reference: dict[str, Any]) -> float | None:
    """Relative deviation (value - reference) / |reference|; None from a reference that is 0."""
    if value is None or is_zero(reference):
        return None
    return (value - reference["value"]) / abs(reference["value"])


def link(reference: dict[str, Any]) -> str:
    return f"https://doi.org/{reference['doi']}" if reference["doi"] else reference["url"]
