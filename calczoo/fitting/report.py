"""What a fit gives back: parameters, card, errors; and the report that the command line prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.card import Card
from .errors import KINDS, OTHER_KINDS, ErrorTable

Progress = Callable[[str, float], None]
"""progress(what, fraction done): called from time to time while a fit runs."""


@dataclass(frozen=True)
class FitResult:
    """A fitted model. `params` is what the family's `build` takes (or a Composite); `errors` has the keys "train" and,
    with a test set, "test"; `settings` are the values used; `write(stem)` writes native files and the card."""

    params: Any
    card: Card
    errors: dict[str, ErrorTable]
    settings: dict[str, Any]
    write: Callable[[Path], list[Path]]


def as_correction(result: FitResult, record: dict[str, Any]) -> FitResult:
    """The same fit, whose card and files tell the base that it is a correction to."""
    from ..compositions.deltas import corrected_card, mark_cards

    def write(stem: Path) -> list[Path]:
        files = result.write(stem)
        mark_cards(files, record)
        return files

    return replace(result, card=corrected_card(result.card, record), write=write)


@dataclass(frozen=True)
class FitReport:
    """A finished fit on disk."""

    family: str
    result: FitResult
    files: tuple[Path, ...]
    seconds: float
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        return {
            "family": self.family,
            "card": self.result.card.to_dict(),
            "errors": {name: table.to_dict() for name, table in self.result.errors.items()},
            "settings": self.result.settings,
            "files": [str(f) for f in self.files],
            "seconds": self.seconds,
            "notes": list(self.notes),
        }

    def table(self):
        """A rich table: one row per part and group, MAE and RMSE of each kind."""
        from rich.table import Table

        table = Table(title=f"{self.result.card.name}: errors (MAE / RMSE)")
        table.add_column("set")
        table.add_column("group")
        found = {kind for errors in self.result.errors.values() for kind in errors.units()}
        kinds = {kind: unit for kind, unit in (KINDS | OTHER_KINDS).items() if kind in found or kind in KINDS}
        for kind, unit in kinds.items():
            table.add_column(f"{kind} ({unit})", justify="right")
        for part, errors in self.result.errors.items():
            for group in errors.rows:
                cells = [_cell(errors, kind, group) for kind in kinds]
                table.add_row(part, group, *cells, end_section=group == "all")
        return table


def _cell(errors: ErrorTable, kind: str, group: str) -> str:
    if kind not in errors.rows[group]:
        return "-"
    return f"{errors.get(kind, 'mae', group):.4g} / {errors.get(kind, 'rmse', group):.4g}"
