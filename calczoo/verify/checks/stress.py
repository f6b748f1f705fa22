"""Stress against the numerical derivative of the energy by strain, graded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..base import Check, Outcome, graded
from ..context import Context, name_of
from ..derivative import differentiate, weighted_error
from ..structures import fcc

_STEP = 0.005
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def strained(atoms: Atoms, k: int, s: float) -> Atoms:
    """Voigt strain number k of size s: e_xx = s, or the shear angle gamma_yz = 2 e_yz = s."""
    a, b = _VOIGT[k]
    deform = np.eye(3)
    deform[a, b] += s / 2
    deform[b, a] += s / 2
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ deform, scale_atoms=False)
    out.positions = atoms.positions @ deform
    return out


def stress_error(ctx: Context, atoms: Atoms) -> tuple[float, dict]:
    """alpha (eV/A^3) of one structure with 6 in place of 3N components, and what it was made of."""
    exact = ctx.compute(atoms)

    def energies(moves: Sequence[tuple[int, float]]) -> np.ndarray:
        return ctx.energies([strained(atoms, k, s) for k, s in moves])

    scale = max(abs(exact["energy"]), float(len(atoms)))
    numerical, error = differentiate(energies, 6, _STEP, scale)
    volume = atoms.get_volume()
    numerical, error = numerical / volume, error / volume
    details = {
        "stress": exact["stress"],
        "numerical": numerical,
        "own_error": error,
        "largest_difference": float(np.abs(exact["stress"] - numerical).max()),
    }
    return weighted_error(exact["stress"], numerical, error), details


def run(ctx: Context) -> Outcome:
    errors, details = {}, {}
    for group in ctx.groups():
        lattice = ctx.lattice(group)
        atoms = fcc(group, lattice.d, ctx.rng("stress", group), (2, 1, 1), strain=0.03)
        errors[name_of(group)], info = stress_error(ctx, ctx.save(name_of(group), atoms))
        details[name_of(group)] = {**info, "lattice_constant": lattice.a, "lattice": lattice.note}
    return graded(errors, ctx.tolerances, "eV/A^3", ctx.groups_note(), {"structures": details})


CHECK = Check("stress", "stress by numerical derivative", run, order=50, needs=("energy", "stress"), graded=True)
