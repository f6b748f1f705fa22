"""Results of the verification checks: grades, one record per check, the report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

EPS = 2.22e-16
"""The machine epsilon that OpenKIM's grades refer to."""

GRADES: tuple[tuple[str, float], ...] = (("A", 7.5), ("B", 10.0), ("C", 12.5), ("D", 15.0))
"""Grade and the largest score that still earns it; anything above is F."""

PASS, FAIL, NA = "pass", "fail", "n/a"


def grade(error: float) -> str:
    """Letter of an error: score = log10(error / 2.22e-16); A <= 7.5, B <= 10, C <= 12.5, D <= 15, else F."""
    if not math.isfinite(error):
        return "F"
    score = math.log10(error / EPS) if error > 0 else -math.inf
    return next((letter for letter, limit in GRADES if score <= limit), "F")


def largest_error(letter: str) -> float:
    """The largest error that still earns this grade."""
    return EPS * 10 ** dict(GRADES)[letter]


def worse(a: str, b: str) -> bool:
    """True if grade `a` is worse than grade `b`."""
    return "ABCDF".index(a) > "ABCDF".index(b)


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    `value` (in `unit`) is the number that was judged against `threshold`; `reason` says in words why the check failed,
    could not run or was restricted; `details` holds whatever helps to find the fault, JSON-able.
    """

    name: str
    status: str
    grade: str | None = None
    value: float | None = None
    unit: str = ""
    threshold: float | None = None
    reason: str = ""
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return plain(vars(self))

    def __str__(self) -> str:
        parts = [f"{self.name}: {self.status}"]
        if self.grade:
            parts.append(f"grade {self.grade}")
        if self.value is not None:
            limit = "" if self.threshold is None else f" (limit {self.threshold:.3g})"
            parts.append(f"{self.value:.3g} {self.unit}{limit}".strip())
        return ", ".join(parts) + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class VerificationReport:
    """All results of one `run_checks`, in the order of the checks."""

    elements: tuple[str, ...]
    seed: int
    quick: bool
    dtype: str
    results: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """True if no check failed (checks that could not run do not count)."""
        return not self.failed

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        return tuple(r for r in self.results if r.status == FAIL)

    @property
    def seconds(self) -> float:
        return sum(r.seconds for r in self.results)

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.results)

    def __getitem__(self, name: str) -> CheckResult:
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(f"no check '{name}' in this report (has: {', '.join(r.name for r in self.results)})")

    def to_dict(self) -> dict[str, Any]:
        head = {"elements": self.elements, "seed": self.seed, "quick": self.quick, "dtype": self.dtype, "ok": self.ok}
        return plain({**head, "results": [r.to_dict() for r in self.results]})

    def table(self, title: str = ""):
        """The report as a `rich.table.Table`."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title or f"Verification of {' '.join(self.elements)}")
        for column, options in (
            ("check", {"no_wrap": True}),
            ("result", {}),
            ("grade", {"justify": "center"}),
            ("value", {"justify": "right", "no_wrap": True}),
            ("limit", {"justify": "right"}),
            ("seconds", {"justify": "right"}),
            ("remark", {"overflow": "fold"}),
        ):
            table.add_column(column, **options)
        colours = {PASS: "green", FAIL: "bold red", NA: "dim"}
        for r in self.results:
            table.add_row(
                r.name,
                Text(r.status, style=colours[r.status]),
                r.grade or "",
                "" if r.value is None else f"{r.value:.2e} {r.unit}".strip(),
                "" if r.threshold is None else f"{r.threshold:.3g}",
                f"{r.seconds:.2f}",
                Text(r.reason),
            )
        return table

    def __str__(self) -> str:
        return "\n".join(map(str, self.results))


def plain(value: Any) -> Any:
    """`value` with numpy scalars, arrays, tuples and non-finite floats replaced by what strict JSON can hold."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
