"""Objectivity: rotated and translated by irrational amounts, the physics turns along and nothing else changes."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, Result, name_of
from ..structures import diamond_cluster, fcc, random_rotation

SHIFT = np.array([2**0.5, -(3**0.5), 5**0.5])
"""Irrational translation (A)."""


def rotated(atoms: Atoms, q: np.ndarray) -> Atoms:
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ q.T, scale_atoms=False)
    out.positions = atoms.positions @ q.T
    return out


def rotate_result(result: Result, q: np.ndarray) -> Result:
    """What the rotated structure must give: F -> F q^T, s -> q s q^T."""
    out = dict(result)
    if "forces" in out:
        out["forces"] = out["forces"] @ q.T
    if "stress" in out:
        xx, yy, zz, yz, xz, xy = out["stress"]
        s = q @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ q.T
        out["stress"] = np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])
    return out


def run(ctx: Context) -> Outcome:
    comparison = ctx.comparison()
    for group in ctx.groups():
        rng = ctx.rng("objectivity", group)
        d = ctx.d(group)
        cases = {"cluster": diamond_cluster(group, d, rng), "crystal": fcc(group, d, rng, strain=0.03)}
        for kind, atoms in cases.items():
            label = f"{name_of(group)} {kind}"
            before = ctx.compute(ctx.save(label, atoms))
            moved = atoms.copy()
            moved.positions += SHIFT
            comparison.add(f"{label} translated", ctx.compute(moved), before)
            for k in range(2):
                q = random_rotation(rng)
                comparison.add(f"{label} rotated {k}", ctx.compute(rotated(atoms, q)), rotate_result(before, q))
    return comparison.outcome(ctx.groups_note())


CHECK = Check("objectivity", "rotation and translation", run, order=70, needs=("energy",))
