"""NaN or infinity in positions or cell: refused, never turned into a number."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, refusal
from ..report import FAIL, PASS
from ..structures import diamond_cluster, fcc


def _cases(ctx: Context) -> dict[str, Atoms]:
    group = (ctx.elements[0],)
    rng = ctx.rng("nan")
    cluster, crystal = diamond_cluster(group, ctx.d(group), rng), fcc(group, ctx.d(group), rng)
    cases = {}
    for value in (np.nan, np.inf):
        for kind, atoms in (("cluster", cluster), ("crystal", crystal)):
            bad = atoms.copy()
            bad.positions[3, 1] = value
            cases[f"{value} in positions of a {kind}"] = bad
    bad = crystal.copy()
    bad.set_cell(crystal.cell.array * np.array([[1, 1, 1], [1, np.nan, 1], [1, 1, 1]]))
    cases["nan in the cell"] = bad
    return cases


def run(ctx: Context) -> Outcome:
    done = {}
    for label, atoms in _cases(ctx).items():
        done[label], refused = refusal(ctx.make(), ctx.save(label, atoms))
        if not refused:
            return Outcome(FAIL, reason=f"{label}: {done[label]}", details=done)
    return Outcome(PASS, details=done)


CHECK = Check("nan_input", "NaN and infinity refused", run, order=210, needs=("energy",))
