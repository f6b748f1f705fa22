"""Periodicity: a box repeated along its periodic directions has that many times the energy and the same forces, and
along the free directions the box ends: a longer vector there changes nothing.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, name_of
from ..structures import fcc

PBC = [p for p in product((True, False), repeat=3) if any(p)]
"""The seven ways to be periodic."""


def boundaries(ctx: Context) -> list[tuple[bool, ...]]:
    """The ways to be periodic that the calculator takes."""
    return PBC if ctx.takes_slabs else [(True, True, True)]


def _with_vacuum(atoms: Atoms) -> Atoms:
    """The vectors of free directions five times as long."""
    out = atoms.copy()
    out.set_cell(atoms.cell.array * np.where(atoms.pbc, 1.0, 5.0)[:, None], scale_atoms=False)
    return out


def run(ctx: Context) -> Outcome:
    comparison = ctx.comparison()
    for group in ctx.groups():
        base = fcc(group, ctx.d(group), ctx.rng("periodicity", group), strain=0.03)
        for pbc in boundaries(ctx):
            base.pbc = pbc
            label = f"{name_of(group)} pbc {''.join('FT'[p] for p in pbc)}"
            ctx.save(label, base)
            repeat = tuple(1 + int(p) for p in pbc)
            n = int(np.prod(repeat))
            small, large = ctx.compute(base, label=label), ctx.compute(base.repeat(repeat), label=f"{label} repeated")
            want = {**small, "energy": n * small["energy"]}
            if "forces" in small:
                want["forces"] = np.tile(small["forces"], (n, 1))
            comparison.add(f"{label} repeated", large, {**want, "n": n * len(base)})
            if not all(pbc):
                comparison.add(f"{label} with vacuum", ctx.compute(_with_vacuum(base)), small)
    return comparison.outcome(ctx.boundaries_note())


CHECK = Check("periodicity", "periodicity, all 7 combinations", run, order=20, needs=("energy",))
