"""Two atoms on one spot, also through a periodic boundary: refused."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, refusal
from ..report import FAIL, PASS
from ..structures import diamond_cluster, fcc


def _cases(ctx: Context) -> dict[str, Atoms]:
    group = (ctx.elements[0],)
    rng = ctx.rng("overlap")
    cluster, crystal = diamond_cluster(group, ctx.d(group), rng), fcc(group, ctx.d(group), rng)
    same = cluster.copy()
    same.positions[5] = same.positions[2]
    close = cluster.copy()
    close.positions[5] = close.positions[2] + np.array([3e-4, -2e-4, 1e-4])
    through = crystal.copy()
    through.positions[1] = through.positions[0] + crystal.cell.array[0]
    return {"two atoms on one spot": same, "two atoms 0.0004 A apart": close, "an atom on another's image": through}


def run(ctx: Context) -> Outcome:
    done = {}
    for label, atoms in _cases(ctx).items():
        done[label], refused = refusal(ctx.make(), ctx.save(label, atoms))
        if not refused:
            return Outcome(FAIL, reason=f"{label}: {done[label]}", details=done)
    return Outcome(PASS, details=done)


CHECK = Check("overlap", "overlapping atoms refused", run, order=220, needs=("energy",))
