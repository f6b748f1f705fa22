"""Left-handed and strongly skewed cells of the same lattice, and free directions with any vector: the same result."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, name_of
from ..structures import fcc


def _with_cell(atoms: Atoms, cell: np.ndarray) -> Atoms:
    out = atoms.copy()
    out.set_cell(cell, scale_atoms=False)
    return out


def _same_lattice(atoms: Atoms) -> dict[str, Atoms]:
    """Other cells of the same crystal (integer matrices of determinant +-1)."""
    a, b, c = atoms.cell.array
    return {
        "left-handed": _with_cell(atoms, np.array([b, a, c])),
        "reversed vector": _with_cell(atoms, np.array([a, b, -c])),
        "skewed": _with_cell(atoms, np.array([a, b + 2 * a, c - a + b])),
        "strongly skewed": _with_cell(atoms, np.array([a, b + 5 * a, c + 7 * a - 4 * b])),
    }


def _same_slab(atoms: Atoms) -> dict[str, Atoms]:
    """A slab periodic along a and b only: its third vector means nothing."""
    a, b, c = atoms.cell.array
    return {
        "slab, third vector tilted": _with_cell(atoms, np.array([a, b, c + 1.7 * a - 0.4 * b])),
        "slab, third vector long": _with_cell(atoms, np.array([a, b, 9 * c])),
        "slab, skewed in its plane": _with_cell(atoms, np.array([a, b + 3 * a, c])),
        "slab, left-handed": _with_cell(atoms, np.array([b, a, c])),
    }


def run(ctx: Context) -> Outcome:
    comparison = ctx.comparison()
    for group in ctx.groups():
        crystal = fcc(group, ctx.d(group), ctx.rng("odd cells", group), strain=0.03)
        slab = crystal.copy()
        slab.pbc = (True, True, False)
        families = ((crystal, _same_lattice(crystal)), (slab, _same_slab(slab)))
        for base, cases in families[: 2 if ctx.takes_slabs else 1]:
            want = ctx.compute(base)
            for kind, atoms in cases.items():
                label = f"{name_of(group)} {kind}"
                comparison.add(label, ctx.compute(ctx.save(label, atoms), label=label), want)
    return comparison.outcome(ctx.boundaries_note())


CHECK = Check("odd_cells", "left-handed and skewed cells", run, order=260, needs=("energy",))
