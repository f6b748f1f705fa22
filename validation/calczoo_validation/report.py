"""Report: all results of one run, as data, as a terminal table and as one HTML file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calczoo.core.errors import DataError

from . import references
from .results import PropertyResult, Status, Value, worst
from .store import SCHEMA, SCHEMA_VERSION, plain, write_json, write_text


@dataclass
class ModelReport:
    """Results of one calculator."""

    label: str
    card: dict[str, Any] = field(default_factory=dict)
    results: dict[str, PropertyResult] = field(default_factory=dict)
    seconds: float = 0.0
    evaluations: dict[str, int] = field(default_factory=dict)
    batched: bool = False

    @property
    def status(self) -> Status:
        return worst(r.status for r in self.results.values())

    def __getitem__(self, name: str) -> PropertyResult | Value:
        """A property ("elastic") or one of its values ("elastic.C44")."""
        prop, _, value = name.partition(".")
        return self.results[prop][value] if value else self.results[prop]


@dataclass
class Report:
    """All models on one crystal. `report["elastic.C44"]` is a value of the first model."""

    structure: dict[str, Any]
    mode: str
    environment: dict[str, Any] = field(default_factory=dict)
    models: list[ModelReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> Status:
        return worst(m.status for m in self.models)

    def __getitem__(self, name: str) -> PropertyResult | Value:
        return self.models[0][name]

    def references(self, property_name: str) -> dict[str, list[dict[str, Any]]]:
        """Reference values of this crystal by value name."""
        return references.lookup(self.structure["reference_key"], property_name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; the inverse is `from_dict`."""
        models = []
        for m in self.models:
            results = []
            for r in m.results.values():
                known = self.references(r.property)
                row = r.to_dict()
                for value in row["values"]:
                    value["references"] = known.get(value["name"], [])
                results.append(row)
            models.append({
                "label": m.label, "card": m.card, "status": str(m.status), "seconds": m.seconds, "batched": m.batched,
                "evaluations": m.evaluations, "results": results,
            })  # fmt: skip
        return plain({
            "schema": SCHEMA, "schema_version": SCHEMA_VERSION, "status": str(self.status), "mode": self.mode,
            "structure": self.structure, "environment": self.environment, "notes": self.notes, "models": models,
        })  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        """Errors: ValueError where this is no report, or one of a newer schema."""
        if data.get("schema") != SCHEMA or data.get("schema_version") != SCHEMA_VERSION:
            found = f"schema {data.get('schema')!r} version {data.get('schema_version')!r}"
            raise DataError(f"{found}; expected {SCHEMA!r} {SCHEMA_VERSION}")
        models = []
        for m in data["models"]:
            results = {r["property"]: PropertyResult.from_dict(r) for r in m["results"]}
            models.append(ModelReport(m["label"], m["card"], results, m["seconds"], m["evaluations"], m["batched"]))
        return cls(data["structure"], data["mode"], data["environment"], models, data.get("notes", []))

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        path = Path(folder)
        path = path / "results.json" if path.is_dir() else path
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))

    def save(self, folder: str | Path) -> Path:
        """Write results.json and report.html into `folder`; returns the path of the HTML file."""
        from .html import render

        folder = Path(folder)
        write_json(folder / "results.json", self.to_dict())
        write_text(folder / "report.html", render(self))
        return folder / "report.html"

    def table(self):
        """rich Table: value, error bar, unit, status and reference values."""
        from .table import make_table

        return make_table(self)

    def summary(self) -> str:
        """One sentence per model: how many numbers are sound, and what is not."""
        return "\n".join(f"{m.label}: {verdict(m)}" for m in self.models)


def verdict(model: ModelReport) -> str:
    """Plain words on the state of one model's results."""
    values = [v for r in model.results.values() for v in r.values]
    sound = sum(v.status is Status.OK for v in values)
    if not values:
        reasons = [r.reason for r in model.results.values() if r.reason]
        return f"no number could be computed: {reasons[0]}" if reasons else "nothing was computed."
    text = f"{sound} of {len(values)} numbers are sound"
    troubles = [f"{r.title.lower()} {r.status}" for r in model.results.values() if r.status is not Status.OK]
    return f"{text}; {', '.join(troubles)}." if troubles else f"{text}."
