"""Batch = loop: `evaluate` on many structures gives what one call per structure gives."""

from __future__ import annotations

from ase import Atoms

from ..base import Check, CheckFailed, NotApplicable, Outcome
from ..context import Context, has_evaluate
from ..structures import diamond_cluster, fcc


def _structures(ctx: Context) -> list[tuple[str, Atoms]]:
    rng = ctx.rng("batch")
    out: list[tuple[str, Atoms]] = []
    for group in ctx.groups():
        d = ctx.d(group)
        out.append((f"{'-'.join(group)} crystal", fcc(group, d, rng, strain=0.03)))
        out.append((f"{'-'.join(group)} larger crystal", fcc(group, 1.05 * d, rng, (2, 1, 1))))
    return out


def _mixed(ctx: Context) -> list[tuple[str, Atoms]]:
    """Free, half periodic and single atoms between the crystals."""
    group = ctx.mixture()
    rng = ctx.rng("batch mixed")
    slab = fcc(group, ctx.d(group), rng)
    slab.pbc = (True, True, not ctx.takes_slabs)
    return [
        ("cluster", diamond_cluster(group, ctx.d(group), rng)),
        ("one atom", Atoms([ctx.elements[0]], positions=[[0, 0, 0]])),
        ("slab", slab),
        ("no atoms", Atoms()),
    ]


def run(ctx: Context) -> Outcome:
    if not has_evaluate(ctx.calc):
        raise NotApplicable("the calculator has no evaluate(structures, properties)")
    comparison = ctx.comparison()
    crystals = _structures(ctx)
    rounds = {"crystals": (crystals, ctx.properties)}
    mixed = [x for pair in zip(crystals, _mixed(ctx), strict=False) for x in pair] + _mixed(ctx)
    rounds["mixed"] = (mixed, tuple(p for p in ctx.properties if p != "stress"))
    for what, (cases, properties) in rounds.items():
        together = ctx.calc.evaluate([ctx.save(label, a) for label, a in cases], properties)
        if len(together) != len(cases):
            raise CheckFailed(f"evaluate gave {len(together)} results for {len(cases)} structures")
        for (label, atoms), got in zip(cases, together, strict=True):
            wanted = {p: got[p] for p in properties}
            ctx.inspect(wanted, atoms, label)
            comparison.add(f"{what}: {label}", wanted, ctx.compute(atoms, properties))
    return comparison.outcome(ctx.boundaries_note())


CHECK = Check("batch", "batch = loop", run, order=170, needs=("energy",))
