"""Inversion symmetry: x -> -x keeps the energy and the stress and turns the forces round."""

from __future__ import annotations

from ..base import Check, Outcome
from ..context import Context, name_of
from ..structures import diamond_cluster, fcc


def run(ctx: Context) -> Outcome:
    comparison = ctx.comparison()
    for group in ctx.groups():
        rng = ctx.rng("inversion", group)
        d = ctx.d(group)
        cases = {"cluster": diamond_cluster(group, d, rng), "crystal": fcc(group, d, rng, strain=0.03)}
        for kind, atoms in cases.items():
            label = f"{name_of(group)} {kind}"
            before = ctx.compute(ctx.save(label, atoms))
            inverted = atoms.copy()
            inverted.positions *= -1.0
            want = {**before, "forces": -before["forces"]} if "forces" in before else before
            comparison.add(label, ctx.compute(inverted), want)
    return comparison.outcome(ctx.groups_note())


CHECK = Check("inversion", "inversion symmetry", run, order=80, needs=("energy",))
