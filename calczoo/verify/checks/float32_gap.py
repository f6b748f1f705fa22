"""float32 gap: how far the single precision variant of the model is from the double precision one."""

from __future__ import annotations

from ..base import PROFILES, Check, Comparison, NotApplicable, Outcome
from ..context import Context, name_of
from ..structures import diamond_cluster, fcc


def run(ctx: Context) -> Outcome:
    if ctx.make_float32 is None:
        raise NotApplicable("no float32 variant was given")
    single = ctx.make_float32()
    comparison = Comparison(PROFILES["float32"])
    for group in ctx.groups():
        rng = ctx.rng("float32", group)
        d = ctx.d(group)
        cases = {"cluster": diamond_cluster(group, d, rng), "crystal": fcc(group, d, rng, (2, 2, 1), strain=0.02)}
        for kind, atoms in cases.items():
            label = f"{name_of(group)} {kind}"
            comparison.add(label, ctx.compute(atoms, calc=single), ctx.compute(ctx.save(label, atoms)))
    gap = ", ".join(f"{k} {v:.2g}" for k, v in comparison.worst.items())
    return comparison.outcome(f"largest gaps: {gap}")


CHECK = Check("float32_gap", "float32 against float64", run, order=180, needs=("energy",))
