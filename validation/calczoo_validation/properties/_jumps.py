"""Where a dimer curve breaks: jumps of the energy or the force, and forces that are not -dE/dr.

On the grid the energy must follow the integral of the force. Intervals where it does not, or where the force changes
out of line with its neighbours, are cut finer three times over: what stays is a jump, what was only coarse goes away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline

JUMP_ENERGY, JUMP_FORCE = 1e-3, 0.02  # eV, eV/A
WRONG = 0.02  # of the energy change over a short interval, for a force that is not its derivative
ROUNDING = 2e-6  # eV
REFINE = 8  # parts into which an interval is cut
LEVELS = 3
SUSPECTS = 6  # intervals of a curve that are looked at
LEAST = 8  # points of a curve that can be judged

# (pairs, distances of each) -> (energy, force) of each; force positive when repulsive
Curves = Callable[[list[tuple[str, str]], list[np.ndarray]], list[tuple[np.ndarray, np.ndarray]]]


@dataclass
class Breaks:
    """Of one curve: (distance, size) of energy jumps (eV) and force jumps (eV/A); (distance, eV off, eV change)."""

    energy: list[tuple[float, float]] = field(default_factory=list)
    force: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass
class _Chain:
    """One suspect interval on its way to shorter ones."""

    key: str
    low: float
    high: float
    loss: float = 0.0  # eV between the energy change and the integral of the force
    kink: float = 0.0  # eV/A over the interval
    size: float = 0.0  # eV/A, largest force there
    wrong: tuple[float, float, float] | None = None
    alive: bool = True


def breaks(data: dict[str, dict], curves: Curves) -> dict[str, Breaks]:
    """Breaks of all curves {key: {"pair", "r", "E", "F"}}, refined together."""
    chains = [_Chain(key, *span) for key, d in data.items() for span in _suspects(d)]
    for level in range(LEVELS):
        live = [c for c in chains if c.alive]
        if not live:
            break
        grids = [np.linspace(c.low, c.high, REFINE + 1) for c in live]
        for chain, r, (e, f) in zip(live, grids, curves([data[c.key]["pair"] for c in live], grids), strict=True):
            _refine(chain, r, e, f, level)
    found = {key: Breaks() for key in data}
    for c in chains:
        if not c.alive:
            continue
        if c.loss > JUMP_ENERGY:
            found[c.key].energy.append((c.low, c.loss))
        elif c.kink > max(JUMP_FORCE, 0.02 * c.size):
            found[c.key].force.append((c.low, c.kink))
        elif c.wrong is not None:
            found[c.key].wrong.append(c.wrong)
    return found


def _suspects(d: dict) -> list[tuple[float, float]]:
    """Intervals of the grid that look broken, the worst few."""
    good = np.isfinite(d["E"]) & np.isfinite(d["F"])
    r, e, f = d["r"][good], d["E"][good], d["F"][good]
    if len(r) < LEAST:
        return []
    spline = np.diff(CubicSpline(r, f).antiderivative()(r))
    plain = (f[1:] + f[:-1]) / 2 * np.diff(r)
    gap = np.abs(np.diff(e) + spline) / (2e-4 + 0.5 * np.abs(spline - plain) + 1e-3 * np.abs(plain))
    change = np.diff(f)
    around = (np.r_[change[1], change[:-1]] + np.r_[change[1:], change[-2]]) / 2
    bend = np.abs(change - around)
    usual = np.array([np.median(bend[max(0, k - 4) : k + 5]) for k in range(len(bend))])
    odd = np.maximum(gap, np.where(np.abs(change) > JUMP_FORCE, bend / (5 * usual + 1e-3), 0.0))
    worst = np.argsort(-odd, kind="stable")[:SUSPECTS]
    return [(float(r[k]), float(r[k + 1])) for k in sorted(worst) if odd[k] > 1]


def _refine(chain: _Chain, r: np.ndarray, e: np.ndarray, f: np.ndarray, level: int) -> None:
    """Go on with the part of the interval that holds the largest change."""
    if not (np.isfinite(e).all() and np.isfinite(f).all()):
        chain.alive = False
        return
    plain = (f[1:] + f[:-1]) / 2 * np.diff(r)
    loss = np.abs(np.diff(e) + plain)
    if level == LEVELS - 1:  # before, a bend of the force alone can look like it
        k = int(np.argmax(loss / (ROUNDING + WRONG * np.abs(plain))))
        if loss[k] > ROUNDING + WRONG * abs(plain[k]):
            chain.wrong = (float(r[k]), float(loss[k]), float(abs(e[k + 1] - e[k])))
    j = int(np.argmax(loss / JUMP_ENERGY + np.abs(np.diff(f)) / JUMP_FORCE))
    chain.low, chain.high = float(r[j]), float(r[j + 1])
    chain.loss, chain.kink, chain.size = float(loss[j]), float(abs(f[j + 1] - f[j])), float(np.abs(f[j : j + 2]).max())
