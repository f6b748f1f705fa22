"""The report: one row per engine, how far it is from the first one, what it costs, whether that is within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

BASE, OK, DIFFERS, FAILED, NA = "base", "ok", "DIFFERS", "FAILED", "n/a"


@dataclass(frozen=True)
class Bounds:
    """Largest differences that count as equal: eV/atom, eV/A and eV/A^3, each relative to the larger of 1 and the
    largest value of the structure."""

    energy: float
    forces: float
    stress: float


@dataclass(frozen=True)
class Row:
    """One engine. energy (eV/atom), forces (eV/A), stress (eV/A^3): largest differences from the first engine, None
    where there is nothing to compare; seconds per atom, and its ratio to that of the first engine; where: the structure
    of the largest violation; reason: why it failed or is not there."""

    engine: str
    kind: str
    verdict: str
    energy: float | None = None
    forces: float | None = None
    stress: float | None = None
    seconds_per_atom: float | None = None
    ratio: float | None = None
    bounds: Bounds | None = None
    where: str = ""
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.verdict in (BASE, OK, NA)

    def to_dict(self) -> dict[str, Any]:
        own = {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "bounds"}
        bounds = None if self.bounds is None else dict(vars(self.bounds))
        return {**own, "ok": self.ok, "bounds": bounds}


@dataclass(frozen=True)
class ParityReport:
    """All rows; calculator: as asked for; structures and atoms: how many; empty: all energies and forces of the first
    engine are zero, so that agreement says nothing."""

    calculator: str
    structures: int
    atoms: int
    rows: tuple[Row, ...] = field(default=())
    empty: bool = False

    @property
    def ok(self) -> bool:
        """No engine differs or failed; those that are not there do not count."""
        return all(row.ok for row in self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, engine: str) -> Row:
        """The row of that engine, by its label; KeyError where there is none."""
        for row in self.rows:
            if row.engine == engine:
                return row
        raise KeyError(f"no engine is called {engine!r} (there are: {', '.join(r.engine for r in self.rows)})")

    def to_dict(self) -> dict[str, Any]:
        return {
            "calculator": self.calculator,
            "structures": self.structures,
            "atoms": self.atoms,
            "ok": self.ok,
            "empty": self.empty,
            "rows": [row.to_dict() for row in self.rows],
        }

    def table(self) -> Table:
        """For the terminal."""
        from rich.table import Table

        title = f"{self.calculator} on {self.structures} structures, {self.atoms} atoms"
        grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for name, side in _COLUMNS:
            grid.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
        for row in self.rows:
            grid.add_row(*_cells(row))
        return grid

    def notes(self) -> list[str]:
        """One line for each engine that differs, failed or is not there; first, whether anything was compared."""
        out = []
        if self.empty:
            out.append(
                "all energies and forces are zero: no atoms of these structures are within the potential's reach, so "
                "that nothing was compared; give others"
            )
        for row in self.rows:
            if row.verdict == DIFFERS and row.bounds is not None:
                b = row.bounds
                out.append(
                    f"{row.engine}: largest violation in {row.where}; bounds are {b.energy:g} eV/atom, "
                    f"{b.forces:g} eV/A, {b.stress:g} eV/A^3"
                )
            elif row.reason:
                out.append(f"{row.engine}: {row.reason}")
        return out

    def __str__(self) -> str:
        lines = [f"{self.calculator} on {self.structures} structures, {self.atoms} atoms"]
        table = [[name for name, _ in _COLUMNS], *(_cells(row) for row in self.rows)]
        widths = [max(len(line[k]) for line in table) for k in range(len(_COLUMNS))]
        for line in table:
            cells = (
                c.ljust(w) if side == "left" else c.rjust(w)
                for c, w, (_, side) in zip(line, widths, _COLUMNS, strict=True)
            )
            lines.append("  ".join(cells).rstrip())
        return "\n".join([*lines, *self.notes()])


_COLUMNS = (
    ("engine", "left"), ("max |dE| eV/atom", "right"), ("max |dF| eV/A", "right"), ("max |dstress| eV/A^3", "right"),
    ("us/atom", "right"), ("time ratio", "right"), ("verdict", "left"),
)  # fmt: skip


def _cells(row: Row) -> list[str]:
    differences = ("" if row.verdict == BASE else _number(x) for x in (row.energy, row.forces, row.stress))
    time = "-" if row.seconds_per_atom is None else f"{1e6 * row.seconds_per_atom:.3g}"
    return [row.engine, *differences, time, "-" if row.ratio is None else f"{row.ratio:.3g}", row.verdict]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"
