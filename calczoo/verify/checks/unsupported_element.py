"""Unsupported element: refused, not evaluated as something else."""

from __future__ import annotations

from ase import Atoms

from ..base import Check, NotApplicable, Outcome
from ..context import Context, refusal
from ..report import FAIL, PASS
from ..structures import random_cluster

_CANDIDATES = ("Og", "Ts", "No", "Lr", "Rn", "Fr", "At", "Pu", "U", "Xe", "Cs", "He", "Ar", "W", "Cu", "H")
"""Elements in the order in which potentials are unlikely to have them."""


def run(ctx: Context) -> Outcome:
    stated = set(ctx.elements) | set(getattr(getattr(ctx.calc, "card", None), "elements", None) or ())
    foreign = next((e for e in _CANDIDATES if e not in stated), None)
    if foreign is None:
        raise NotApplicable("the model has every element")
    known = ctx.elements[0]
    d = ctx.d((known,))
    cases = {
        f"{foreign} among {known}": random_cluster([known, known, foreign, known], d, ctx.rng("unsupported")),
        f"{foreign} alone": Atoms([foreign], positions=[[0, 0, 0]]),
        f"{foreign} crystal": Atoms([foreign], positions=[[0, 0, 0]], cell=[d, d, d], pbc=True),
    }
    done = {}
    for label, atoms in cases.items():
        done[label], refused = refusal(ctx.make(), ctx.save(label, atoms))
        if not refused:
            return Outcome(FAIL, reason=f"{label}: {done[label]}", details=done)
    return Outcome(PASS, details=done)


CHECK = Check("unsupported_element", "unsupported element refused", run, order=160, needs=("energy",))
