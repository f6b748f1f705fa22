"""Supercell size: extrapolation of defect energies to the infinite cell, and the statuses that come with it.

Periodic images of a defect interact; the leading, elastic part of that falls as 1/volume, so

    E(N) = E(infinite) + a / N

is fitted to supercells of N sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .defects import Outcome
from .results import PropertyResult, Status, Value

COLLAPSE = 0.5  # of the nearest-neighbour distance: an atom that moves farther has left its site
LARGEST = 15.0  # eV, above it a formation energy is not believed
LOWER_GATE = 5e-3  # eV, a state lower by more is another state


@dataclass(frozen=True)
class Limit:
    """A number extrapolated to the infinite cell, with its error and where that comes from."""

    value: float
    error: float
    source: str


def infinite(sizes: Sequence[int], values: Sequence[float]) -> Limit | None:
    """Fit E(N) = E_inf + a/N; None for a single size.

    Two sizes leave no residual: the error is then the whole step from the larger one. From three on it is the larger
    of the standard error and of what leaving out the smallest size changes.
    """
    if len(sizes) < 2 or not np.isfinite(values).all():
        return None
    x, y = 1.0 / np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    last = y[-1] - x[-1] * (y[-2] - y[-1]) / (x[-2] - x[-1])
    if len(sizes) == 2:
        return Limit(float(last), float(abs(last - y[-1])), "1/N from two supercells: the step from the larger one")
    design = np.vstack([np.ones_like(x), x]).T
    best, *_ = np.linalg.lstsq(design, y, rcond=None)
    left = y - design @ best
    covariance = np.linalg.inv(design.T @ design) * (left @ left) / (len(x) - 2)
    error = max(float(np.sqrt(covariance[0, 0])), float(abs(best[0] - last)))
    return Limit(float(best[0]), error, f"1/N fit to {len(x)} supercells: scatter, and without the smallest")


def first_source(sizes: Sequence[int]) -> str:
    """Where the error of the smallest cell's number comes from."""
    words = {2: "two", 3: "three", 4: "four"}
    return f"{words.get(len(sizes), len(sizes))} supercells, extrapolated as 1/N"


def judge(value: Value, outcome: Outcome, nearest: float = np.inf) -> None:
    """Flag a number whose relaxation did not converge or whose surroundings rearranged."""
    if outcome.error:
        value.flag(Status.FAILED, outcome.error)
        return
    if not outcome.converged:
        value.flag(Status.UNCONVERGED, f"the relaxation stopped at {outcome.fmax:.2g} eV/A: {outcome.reason}")
    if outcome.moved > COLLAPSE * nearest:
        reason = f"an atom moved by {outcome.moved:.2f} A: the surroundings of the defect have rearranged"
        value.flag(Status.SUSPICIOUS, reason)


def judge_formation(value: Value, what: str) -> None:
    """Flag a formation energy that is negative or absurdly large."""
    if value.value is not None and value.value < 0:
        value.flag(Status.UNSTABLE, f"negative formation energy: the perfect crystal would form {what} by itself")
    if value.value is not None and value.value > LARGEST:
        value.flag(Status.SUSPICIOUS, f"formation energy above {LARGEST:g} eV")


def add_with_limit(
    result: PropertyResult, name: str, label: str, sizes: Sequence[int], values: Sequence[float],
    outcomes: Sequence[Sequence[Outcome]], nearest: float = np.inf,
) -> tuple[Value, Value | None]:  # fmt: skip
    """Add `name` (first size) and `name_infinite`, each with the error of the extrapolation; returns both (or one).

    The outcomes, one list for each size, decide on the statuses; not-a-number values are reported as failed.
    """
    limit = infinite(sizes, values)
    error, source = None, "one supercell only: no error bar"
    if limit is not None:
        error, source = abs(values[0] - limit.value) + 1e-6, first_source(sizes)
    main = result.add(name, label, values[0], "eV", error=error, error_source=source, note=f"{sizes[0]} sites")
    for outcome in outcomes[0]:
        judge(main, outcome, nearest)
    if len(sizes) < 2:
        return main, None
    far = result.add(
        f"{name}_infinite", f"{label}, infinite cell", limit.value if limit else None, "eV",
        error=limit.error + 1e-6 if limit else None, error_source=limit.source if limit else "",
        note=f"from {', '.join(map(str, sizes))} sites",
    )  # fmt: skip
    for group in outcomes:
        for outcome in group:
            judge(far, outcome, nearest)
    return main, far
