"""Dimer continuity: no jump in E(r) and dE/dr of any pair, from half the bond length to beyond the cutoff."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms

from ..base import Check, Outcome, judged
from ..context import Context
from ..continuity import derivative_jumps, find_jumps

_FAR = 30.0
"""Beyond this distance (A) no cutoff is looked for."""


class _Dimer:
    """E(r) and dE/dr of one pair of species."""

    def __init__(self, ctx: Context, pair: tuple[str, str]):
        self.ctx, self.pair = ctx, pair
        self.has_slope = "forces" in ctx.properties

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """(n,) -> (n, 2), or (n, 1) for a calculator without forces."""
        structures = [Atoms(self.pair, positions=[[0, 0, 0], [0, 0, x]]) for x in r]
        results = self.ctx.compute_many(structures, ("energy", "forces"))
        columns = [[x["energy"] for x in results]]
        if self.has_slope:
            columns.append([-x["forces"][1, 2] for x in results])
        return np.array(columns).T

    def end(self) -> tuple[float, bool]:
        """Half an Angstrom beyond the distance where the interaction ends, and whether it ends at all."""
        x = 1.5 * 1.05 ** np.arange(63)
        x = np.append(x[x < _FAR], _FAR)
        y = self(x)
        scale = 1e-12 * max(1.0, float(np.abs(y[-1]).max()))
        alive = np.flatnonzero(np.abs(y - y[-1]).max(axis=1) > scale)
        last = int(alive[-1]) + 1 if len(alive) else 0
        if last >= len(x) - 1:
            return 15.0, False
        return max(float(x[last]), self.ctx.card_cutoff or 0.0) + 0.5, True


def _pairs(ctx: Context) -> tuple[list[tuple[str, str]], str]:
    pairs = list(combinations_with_replacement(ctx.elements, 2))
    most = 3 if ctx.quick else 60
    if len(pairs) <= most:
        return pairs, ""
    chosen = sorted(ctx.rng("dimer").permutation(len(pairs))[:most])
    return [pairs[k] for k in chosen], f"{most} of {len(pairs)} pairs, at random"


def _order(dimer: _Dimer, low: float, high: float, points: int) -> dict:
    """Highest order of derivative (2 or 3) found continuous, where dE/dr itself is; reported, not judged."""
    found = derivative_jumps(dimer, 1, low, high, points, 4)
    broken2 = [f for f in found if f["first"] > 1e-3 * max(1.0, f["size_first"])]
    broken3 = [f for f in found if f["second"] > 2e-2 * max(1.0, f["size_second"])]
    if broken2:
        return {"continuous": 1, "breaks_at": [f["x"] for f in broken2]}
    if broken3:
        return {"continuous": 2, "breaks_at": [f["x"] for f in broken3]}
    return {"continuous": 3, "breaks_at": []}


def run(ctx: Context) -> Outcome:
    pairs, note = _pairs(ctx)
    points, suspects = (200, 4) if ctx.quick else (400, 8)
    limits = (ctx.tolerances.jump_energy, ctx.tolerances.jump_slope)
    worst, what, details, orders = 0.0, "", {}, []
    for pair in pairs:
        dimer, name = _Dimer(ctx, pair), "-".join(pair)
        low = 0.25 * (ctx.d((pair[0],)) + ctx.d((pair[1],)))
        high, ends = dimer.end()
        ctx.save(name, Atoms(pair, positions=[[0, 0, 0], [0, 0, low]]))
        jumps = [j for j in find_jumps(dimer, low, high, points, suspects) if j.exceeds(limits[j.channel])]
        entry = {"from": low, "to": high, "interaction_ends": ends}
        entry["jumps"] = [{"r": j.x, "of": ("E", "dE/dr")[j.channel], "size": j.size} for j in jumps]
        for j in jumps:
            if j.size / limits[j.channel] > worst:
                worst = j.size / limits[j.channel]
                curve, unit = (("E", "eV"), ("dE/dr", "eV/A"))[j.channel]
                what = f"{name}: {curve} jumps by {j.size:.3g} {unit} at {j.x:.5f} A"
        if dimer.has_slope and not jumps:
            entry |= _order(dimer, low, high, points)
            orders.append(entry["continuous"])
        details[name] = entry
    smooth = f"continuous to order {min(orders)} at least" if orders and not worst else ""
    if "forces" not in ctx.properties:
        smooth = "dE/dr not judged: no forces"
    reason = "; ".join(x for x in (what, smooth, note) if x)
    return judged(worst, 1.0, "x tolerance", reason, {"pairs": details})


CHECK = Check("dimer", "dimer continuity (C1)", run, order=60, needs=("energy",))
