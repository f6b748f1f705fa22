"""Periodic with a zero or flat cell: refused."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, refusal
from ..report import FAIL, PASS
from ..structures import diamond_cluster


def _cases(ctx: Context) -> dict[str, Atoms]:
    group = (ctx.elements[0],)
    atoms = diamond_cluster(group, ctx.d(group), ctx.rng("degenerate"))
    size = float(np.ptp(atoms.positions)) + ctx.d(group)
    cells = {
        "periodic without a cell": np.zeros((3, 3)),
        "one cell vector is zero": size * np.diag([1.0, 1.0, 0.0]),
        "cell vectors in one plane": size * np.array([[1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0]]),
        "two cell vectors parallel": size * np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1.0]]),
    }
    return {k: Atoms(atoms.symbols, positions=atoms.positions, cell=cell, pbc=True) for k, cell in cells.items()}


def run(ctx: Context) -> Outcome:
    done = {}
    for label, atoms in _cases(ctx).items():
        done[label], refused = refusal(ctx.make(), ctx.save(label, atoms))
        if not refused:
            return Outcome(FAIL, reason=f"{label}: {done[label]}", details=done)
    return Outcome(PASS, details=done)


CHECK = Check("degenerate_cell", "zero and flat cells refused", run, order=240, needs=("energy",))
