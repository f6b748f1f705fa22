"""Atoms outside the cell, cell with any origin: equal to the wrapped structure."""

from __future__ import annotations

import numpy as np

from ..base import Check, Outcome
from ..context import Context, name_of
from ..structures import fcc
from .periodicity import boundaries


def run(ctx: Context) -> Outcome:
    comparison = ctx.comparison()
    for group in ctx.groups():
        rng = ctx.rng("outside", group)
        atoms = fcc(group, ctx.d(group), rng, strain=0.03)
        for pbc in boundaries(ctx):
            atoms.pbc = pbc
            label = f"{name_of(group)} pbc {''.join('FT'[p] for p in pbc)}"
            inside = ctx.compute(ctx.save(label, atoms))
            out = atoms.copy()
            hops = rng.integers(-4, 5, (len(atoms), 3)) * np.array(pbc)
            out.positions += hops @ atoms.cell.array
            ctx.save(f"{label} outside", out)
            comparison.add(f"{label}, atoms moved by cell vectors", ctx.compute(out), inside)
            out.positions += np.array([-7.0, 11.0, 13.0])
            comparison.add(f"{label}, all moved far", ctx.compute(out), inside)
    return comparison.outcome(ctx.boundaries_note())


CHECK = Check("outside_cell", "atoms outside the cell", run, order=250, needs=("energy",))
