"""Report: all results of one run, as data, as a terminal table and as one HTML file.

results.json, report.html, results.csv, report.md and junit.xml depend on the results alone: no date, no wall time. The
seconds that each property took are in timings.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from calczoo.core.errors import DataError, OptionError

from . import references
from .compare import Comparison, compare, coverage
from .lint import Finding
from .results import PropertyResult, Status, Value, worst
from .store import SCHEMA, SCHEMA_VERSION, plain, write_json, write_text

FORMATS = {
    "json": "results.json", "html": "report.html", "csv": "results.csv", "md": "report.md", "junit": "junit.xml",
}  # fmt: skip


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

    def counts(self) -> dict[str, int]:
        """Calls, structures and atoms of all properties: the same for a resumed run as for one without a break."""
        each = [r.evaluations for r in self.results.values() if r.evaluations]
        keys = dict.fromkeys(k for e in each for k in e)
        return {k: sum(e.get(k, 0) for e in each) for k in keys} or dict(self.evaluations)

    def __getitem__(self, name: str) -> PropertyResult | Value:
        """A property ("elastic") or one of its values ("elastic.C44")."""
        prop, _, value = name.partition(".")
        return self.results[prop][value] if value else self.results[prop]


@dataclass
class Report:
    """All models on one crystal or data set. `report["elastic.C44"]` is a value of the first model.

    reference  the user's own reference (reference_files.OwnReference) or None
    left_out   (title, reason) of properties that make no sense for this structure
    """

    structure: dict[str, Any]
    mode: str
    environment: dict[str, Any] = field(default_factory=dict)
    models: list[ModelReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reference: Any = None
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def status(self) -> Status:
        return worst(m.status for m in self.models)

    def __getitem__(self, name: str) -> PropertyResult | Value:
        return self.models[0][name]

    def references(self, property_name: str) -> dict[str, list[dict[str, Any]]]:
        """Reference values of this structure by value name; the user's own come first."""
        own = self.reference.values.get(property_name, {}) if self.reference is not None else {}
        key = self.structure.get("reference_key", "")
        return references.merged(own, references.lookup(key, property_name) if key else {})

    def findings(self) -> list[Finding]:
        """What the linter says about the references that this report uses."""
        from .lint import lint_report

        return lint_report(self)

    def comparison(self) -> Comparison | None:
        """Ranks of several calculators (see compare.py); None for a single one."""
        return compare(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; the inverse is `from_dict`."""
        models = []
        for m in self.models:
            results = []
            for r in m.results.values():
                known = self.references(r.property)
                row = r.to_dict()
                row.pop("seconds", None)
                for value in row["values"]:
                    value["references"] = known.get(value["name"], [])
                results.append(row)
            models.append({
                "label": m.label, "card": m.card, "status": str(m.status), "coverage": coverage(m),
                "batched": m.batched, "evaluations": m.counts(), "results": results,
            })  # fmt: skip
        found = self.comparison()
        return plain({
            "schema": SCHEMA, "schema_version": SCHEMA_VERSION, "status": str(self.status), "mode": self.mode,
            "structure": self.structure, "environment": self.environment, "notes": self.notes,
            "left_out": [list(row) for row in self.left_out], "models": models,
            "reference": self.reference.to_dict() if self.reference is not None else None,
            "findings": [asdict(f) for f in self.findings()], "comparison": found.to_dict() if found else None,
        })  # fmt: skip

    def timings(self) -> dict[str, Any]:
        """Seconds by calculator and property, as far as they are known."""
        return {
            m.label: {"seconds": m.seconds, "properties": {n: r.seconds for n, r in m.results.items()}}
            for m in self.models
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], timings: dict[str, Any] | None = None) -> Report:
        """Errors: DataError where this is no report, or one of a newer schema."""
        version = data.get("schema_version")
        if data.get("schema") != SCHEMA or not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
            found = f"schema {data.get('schema')!r} version {version!r}"
            raise DataError(f"{found}; expected {SCHEMA!r} 1 .. {SCHEMA_VERSION}")
        models = []
        for m in data["models"]:
            results = {r["property"]: PropertyResult.from_dict(r) for r in m["results"]}
            known = (timings or {}).get(m["label"], {})
            for name, seconds in known.get("properties", {}).items():
                if name in results:
                    results[name].seconds = float(seconds)
            seconds = float(known.get("seconds", m.get("seconds", 0.0)))
            models.append(ModelReport(m["label"], m["card"], results, seconds, m["evaluations"], m["batched"]))
        own = None
        if data.get("reference"):
            from .reference_files import OwnReference

            own = OwnReference.from_dict(data["reference"])
        left_out = [(str(a), str(b)) for a, b in data.get("left_out", [])]
        head = (data["structure"], data["mode"], data["environment"])
        return cls(*head, models, data.get("notes", []), own, left_out)

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """A saved report: its folder, or its results.json."""
        path = Path(folder)
        path = path / FORMATS["json"] if path.is_dir() else path
        beside = path.parent / "timings.json"
        timings = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else None
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")), timings)

    def save(self, folder: str | Path, formats: Iterable[str] = ("json", "html"), fail_on: Any = None) -> Path:
        """Write the report into `folder`, and timings.json; returns the path of the HTML file (or of the first one).

        formats: of FORMATS. fail_on: statuses that are failures in junit.xml (exports.FAIL_ON by default).
        """
        from . import exports
        from .html import render

        wanted = list(formats)
        unknown = [f for f in wanted if f not in FORMATS]
        if unknown or not wanted:
            raise OptionError(f"unknown report format {unknown[0] if unknown else ''!r}; allowed: {', '.join(FORMATS)}")
        folder = Path(folder)
        make = {
            "html": lambda: render(self), "csv": lambda: exports.csv_table(self), "md": lambda: exports.markdown(self),
            "junit": lambda: exports.junit(self, exports.FAIL_ON if fail_on is None else fail_on),
        }  # fmt: skip
        for name in wanted:
            if name == "json":
                write_json(folder / FORMATS[name], self.to_dict())
            else:
                write_text(folder / FORMATS[name], make[name]())
        write_json(folder / "timings.json", self.timings())
        return folder / FORMATS["html" if "html" in wanted else wanted[0]]

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
