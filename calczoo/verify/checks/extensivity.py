"""Extensivity: two clusters far apart have the sum of their energies.

Where charges are equilibrated over the whole structure, they flow between unlike clusters at any distance; then two
equal ones are compared, between which none flows.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, name_of
from ..structures import diamond_cluster

_DISTANCE = 100.0
_FLOW = 1e-6


def _far_apart(a: Atoms, b: Atoms, distance: float) -> Atoms:
    moved = b.copy()
    moved.positions += distance * np.array([1.0, 0.1, -0.2])
    return a + moved


def _flow(ctx: Context, a: Atoms, b: Atoms) -> float:
    """Charge (e) that flows between two clusters far apart."""
    alone, both = ctx.charges(a), ctx.charges(_far_apart(a, b, _DISTANCE))
    return 0.0 if alone is None or both is None else float(abs(both[: len(a)].sum() - alone.sum()))


def run(ctx: Context) -> Outcome:
    comparison = ctx.comparison()
    slow, flows = {}, {}
    for group in ctx.groups():
        rng = ctx.rng("extensivity", group)
        a, b = (diamond_cluster(group, ctx.d(group), rng) for _ in range(2))
        if (flow := _flow(ctx, a, b)) > _FLOW:
            flows[name_of(group)], b = flow, a
        parts = [ctx.compute(a), ctx.compute(b)]
        want = {"energy": parts[0]["energy"] + parts[1]["energy"], "n": len(a) + len(b)}
        if "forces" in parts[0]:
            want["forces"] = np.concatenate([p["forces"] for p in parts])
        label = name_of(group)
        near = ctx.compute(ctx.save(label, _far_apart(a, b, _DISTANCE)))
        one = ctx.comparison()
        one.add(label, near, want)
        if one.ratio > 1:
            # an interaction that falls with distance is long range, not a fault
            far = ctx.compute(_far_apart(a, b, 2 * _DISTANCE))
            left = abs(far["energy"] - want["energy"]) / max(abs(near["energy"] - want["energy"]), 1e-300)
            if left < 1 / 1.8:
                slow[label] = float(-np.log2(max(left, 1e-300)))
                continue
        comparison.add(label, near, want)
    note = f"long range: the interaction at {_DISTANCE:.0f} A falls with distance ({', '.join(slow)})" if slow else ""
    shared = f"charges flow between unlike clusters ({max(flows.values()):.2g} e): equal ones compared" if flows else ""
    reason = "; ".join(x for x in (note, shared, ctx.groups_note()) if x)
    return comparison.outcome(reason, {"decay_exponents": slow, "charge_flows": flows})


CHECK = Check("extensivity", "extensivity", run, order=110, needs=("energy",))
