"""Forces against the numerical derivative of the energy, graded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..base import Check, Outcome, graded
from ..context import Context, name_of
from ..derivative import differentiate, weighted_error
from ..structures import fcc

_STEP = 0.008
"""Largest displacement in units of the nearest-neighbour distance."""


def force_error(ctx: Context, atoms: Atoms, d: float) -> tuple[float, dict]:
    """alpha (eV/A) of one structure, and what it was made of."""
    exact = ctx.compute(atoms)
    flat = atoms.positions.ravel()

    def energies(moves: Sequence[tuple[int, float]]) -> np.ndarray:
        return ctx.energies([_moved(atoms, flat, k, s) for k, s in moves])

    scale = max(abs(exact["energy"]), float(len(atoms)))
    numerical, error = differentiate(energies, len(flat), _STEP * d, scale)
    numerical = -numerical.reshape(-1, 3)
    gap = np.abs(exact["forces"] - numerical)
    details = {
        "largest_difference": float(gap.max()),
        "atom": int(gap.max(axis=1).argmax()),
        "median_own_error": float(np.median(error)),
        "largest_force": float(np.abs(exact["forces"]).max()),
    }
    return weighted_error(exact["forces"], numerical, error), details


def _moved(atoms: Atoms, flat: np.ndarray, k: int, s: float) -> Atoms:
    moved = atoms.copy()
    x = flat.copy()
    x[k] += s
    moved.positions = x.reshape(-1, 3)
    return moved


def run(ctx: Context) -> Outcome:
    errors, details = {}, {}
    repeat = (2, 1, 1) if ctx.quick else (2, 2, 1)
    for group in ctx.groups():
        lattice = ctx.lattice(group)
        atoms = fcc(group, lattice.d, ctx.rng("forces", group), repeat, strain=0.01)
        errors[name_of(group)], info = force_error(ctx, ctx.save(name_of(group), atoms), lattice.d)
        details[name_of(group)] = {**info, "lattice_constant": lattice.a, "lattice": lattice.note}
    return graded(errors, ctx.tolerances, "eV/A", ctx.groups_note(), {"structures": details})


CHECK = Check("forces", "forces by numerical derivative", run, order=40, needs=("energy", "forces"), graded=True)
