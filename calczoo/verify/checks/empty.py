"""No atoms: energy 0 and forces of shape (0, 3), or a clear refusal."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, raw_result
from ..report import FAIL, PASS


def run(ctx: Context) -> Outcome:
    refused = []
    for label, atoms in {"no cell": Atoms(), "with a cell": Atoms(cell=[5, 5, 5], pbc=True)}.items():
        wanted = [p for p in ctx.properties if p != "stress"]
        try:
            result = raw_result(ctx.make(), atoms, wanted)
        except Exception as error:  # hides nothing: a refusal is allowed and reported
            refused.append(f"{label}: {type(error).__name__}: {error}")
            continue
        ctx.inspect(result, atoms, "no atoms")
        if abs(result["energy"]) > 1e-12:
            return Outcome(FAIL, abs(result["energy"]), "eV", 0.0, f"{label}: energy of nothing")
        if "forces" in result and np.shape(result["forces"]) != (0, 3):
            return Outcome(FAIL, reason=f"{label}: forces of shape {np.shape(result['forces'])}")
    return Outcome(PASS, reason=f"refused: {refused[0]}" if refused else "", details={"refused": refused})


CHECK = Check("empty", "empty structure", run, order=230, needs=("energy",))
