"""Determinism: the same input twice gives the same numbers, bit for bit."""

from __future__ import annotations

import numpy as np

from ..base import Check, Outcome, judged
from ..context import Context, name_of
from ..structures import diamond_cluster, fcc


def run(ctx: Context) -> Outcome:
    worst, what = 0.0, ""
    for group in ctx.groups():
        rng = ctx.rng("determinism", group)
        d = ctx.d(group)
        cases = {"cluster": diamond_cluster(group, d, rng), "crystal": fcc(group, d, rng, (2, 1, 1))}
        for kind, atoms in cases.items():
            label = f"{name_of(group)} {kind}"
            ctx.save(label, atoms)
            # a new calculator each time: one that keeps neighbour lists may sum in another order later
            first = ctx.compute(atoms, calc=_new(ctx))
            for _ in range(2 if ctx.quick else 4):
                again = ctx.compute(atoms, calc=_new(ctx))
                for name in ("energy", "forces", "stress"):
                    if name in first:
                        gap = float(np.abs(np.asarray(again[name]) - first[name]).max(initial=0.0))
                        if gap > worst:
                            worst, what = gap, f"{label}: {name} differ by {gap:.3g}"
    limit = ctx.tolerances.repeat
    note = "" if ctx.is_factory else "one instance, reset before each evaluation"
    return judged(worst, limit, "eV, A", "; ".join(x for x in (what if worst > limit else "", note) if x))


def _new(ctx: Context):
    if ctx.is_factory:
        return ctx.make()
    if hasattr(ctx.calc, "reset"):
        ctx.calc.reset()
    return ctx.calc


CHECK = Check("determinism", "same input twice, bit for bit", run, order=130, needs=("energy",))
