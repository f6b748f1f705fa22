"""Stress of a structure without a cell: refused, for it does not exist."""

from __future__ import annotations

from ..base import Check, Outcome
from ..context import Context, refusal
from ..report import FAIL, PASS
from ..structures import diamond_cluster


def run(ctx: Context) -> Outcome:
    group = (ctx.elements[0],)
    cluster = ctx.save("cluster", diamond_cluster(group, ctx.d(group), ctx.rng("stress cluster")))
    boxed = cluster.copy()
    boxed.center(vacuum=5.0)
    done = {}
    done["cluster without a cell"], refused = refusal(ctx.make(), cluster, ("stress",))
    # many calculators divide the virial by the volume of a box that is not periodic: reported, not judged
    done["cluster in a box, not periodic"], _ = refusal(ctx.make(), ctx.save("box", boxed), ("stress",))
    reason = "" if refused else f"cluster without a cell: {done['cluster without a cell']}"
    return Outcome(PASS if refused else FAIL, reason=reason, details=done)


CHECK = Check("stress_nonperiodic", "stress without a cell refused", run, order=270, needs=("stress",))
