"""Card: what a model is, where it comes from and what may be done with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Card:
    """Facts about one model (one parameter set), printable and serialisable.

    `cutoff` is in Angstrom. `outputs` names what the model can compute besides energy. `files` maps file names to
    their sha256. `errors` holds the fit's own error table, when there is one. `extra` is free for the family.
    """

    name: str
    family: str
    elements: tuple[str, ...]
    cutoff: float
    outputs: tuple[str, ...] = ("energy", "energies", "forces", "stress")
    summary: str = ""
    level_of_theory: str = "unknown"
    dispersion_included: bool | None = None
    training_data: str = ""
    citation: str = ""
    doi: str = ""
    licence: str = "unknown"
    units: str = "eV, A, eV/A^3"
    files: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Card:
        """Inverse of `to_dict`; unknown keys go to `extra`, so that newer cards stay readable."""
        known = {f: data[f] for f in cls.__dataclass_fields__ if f in data}
        for key in ("elements", "outputs"):
            if key in known:
                known[key] = tuple(known[key])
        rest = {k: v for k, v in data.items() if k not in cls.__dataclass_fields__}
        known["extra"] = {**known.get("extra", {}), **rest}
        return cls(**known)

    def __str__(self) -> str:
        rows = [
            ("model", self.name),
            ("family", self.family),
            ("elements", " ".join(self.elements) if len(self.elements) < 90 else "all"),
            ("cutoff", f"{self.cutoff:.4f} A"),
            ("outputs", ", ".join(self.outputs)),
            ("summary", self.summary),
            ("level of theory", self.level_of_theory),
            ("dispersion", {True: "included", False: "not included", None: ""}[self.dispersion_included]),
            ("training data", self.training_data),
            ("citation", self.citation),
            ("doi", self.doi),
            ("licence", self.licence),
            ("units", self.units),
        ]
        rows += [("file", f"{n}  sha256 {h[:12]}...") for n, h in self.files.items()]
        rows += [(str(k), str(v)) for k, v in self.extra.items()]
        return "\n".join(f"{k:>16}  {v}" for k, v in rows if v)
