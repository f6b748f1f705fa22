"""Permutation symmetry: the order of atoms is no physics."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, name_of
from ..structures import diamond_cluster


def _within_species(atoms: Atoms, rng: np.random.Generator) -> np.ndarray:
    """A permutation that only exchanges atoms of one species."""
    order = np.arange(len(atoms))
    for z in np.unique(atoms.numbers):
        where = np.flatnonzero(atoms.numbers == z)
        order[where] = where[rng.permutation(len(where))]
    return order


def run(ctx: Context) -> Outcome:
    comparison = ctx.comparison()
    for group in ctx.groups():
        rng = ctx.rng("permutation", group)
        atoms = ctx.save(name_of(group), diamond_cluster(group, ctx.d(group), rng))
        before = ctx.compute(atoms)
        orders = {f"swap within species {k}": _within_species(atoms, rng) for k in range(4)}
        orders |= {"reversed": np.arange(len(atoms))[::-1], "shuffled": rng.permutation(len(atoms))}
        for label, order in orders.items():
            after = ctx.compute(atoms[order])
            want = {**before, "forces": before["forces"][order]} if "forces" in before else before
            comparison.add(f"{name_of(group)} {label}", after, want)
    return comparison.outcome(ctx.groups_note())


CHECK = Check("permutation", "permutation symmetry", run, order=30, needs=("energy",))
