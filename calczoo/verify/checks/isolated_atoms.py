"""Isolated atoms: one energy per species, with or without a cell, near the origin or not, alone or far from others.

Ions that interact at any distance, with each other or their images, are compared alone only.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context

_BOX = 100.0


def _cases(symbol: str, ion: bool) -> dict[str, Atoms]:
    alone = Atoms([symbol], positions=[[0, 0, 0]])
    box = _BOX * np.eye(3)
    single = {
        "elsewhere": Atoms([symbol], positions=[[12.3, -4.5, 6.7]]),
        "in a cell, not periodic": Atoms([symbol], positions=[[1, 2, 3]], cell=box),
    }
    return single if ion else {
        **single,
        "in a large periodic cell": Atoms([symbol], positions=[[1, 2, 3]], cell=box, pbc=True),
        "two far apart": alone + Atoms([symbol], positions=[[_BOX, 0, 0]]),
    }


def run(ctx: Context) -> Outcome:
    comparison = ctx.comparison()
    energies = {}
    for symbol in ctx.elements[:5] if ctx.quick else ctx.elements:
        alone = ctx.compute(ctx.save(symbol, Atoms([symbol], positions=[[0, 0, 0]])))
        energies[symbol] = alone["energy"]
        charges = ctx.charges(Atoms([symbol], positions=[[0, 0, 0]]))
        ion = charges is not None and abs(float(charges.sum())) > 1e-6
        for label, atoms in _cases(symbol, ion).items():
            n = len(atoms)
            want = {"energy": n * alone["energy"], "forces": np.zeros((n, 3)), "n": n}
            comparison.add(f"{symbol} {label}", ctx.compute(ctx.save(f"{symbol} {label}", atoms)), want)
        if "forces" in alone:
            comparison.add(f"{symbol} alone", {"forces": alone["forces"]}, {"forces": np.zeros((1, 3))})
    return comparison.outcome(details={"energies": energies})


CHECK = Check("isolated_atoms", "isolated atoms", run, order=120, needs=("energy",))
