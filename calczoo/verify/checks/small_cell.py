"""Cells smaller than the cutoff, down to one atom: equal to the supercell."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, name_of
from ..structures import choose_species, primitive_fcc


def _one(symbol: str, d: float, rng: np.random.Generator) -> Atoms:
    """One atom in a distorted primitive cell."""
    atoms = primitive_fcc(symbol, d)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
    return atoms


def _two(group: tuple[str, ...], d: float, rng: np.random.Generator) -> Atoms:
    """Two atoms in a body-centred cell of the same density: forces that are not zero by symmetry."""
    a = d * (1.0 / 2**0.5 * 2) ** (1 / 3)
    symbols = choose_species(group, 2, rng)
    atoms = Atoms(symbols, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=a * np.eye(3), pbc=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
    atoms.positions += 0.06 * d * rng.uniform(-1, 1, (2, 3))
    return atoms


def run(ctx: Context) -> Outcome:
    comparison = ctx.comparison()
    for group in ctx.groups():
        rng = ctx.rng("small_cell", group)
        d = ctx.d(group)
        cases = {"2 atoms": _two(group[:2], d, rng)}
        if len(group) == 1:
            cases["1 atom"] = _one(group[0], d, rng)
        for kind, atoms in cases.items():
            label = f"{name_of(group)} {kind}"
            small = ctx.compute(ctx.save(label, atoms))
            repeats = [(2, 3, 2)] if ctx.quick else [(2, 3, 2), (4, 4, 4)]
            for repeat in repeats:
                n = int(np.prod(repeat))
                want = {**small, "energy": n * small["energy"], "n": n * len(atoms)}
                if "forces" in small:
                    want["forces"] = np.tile(small["forces"], (n, 1))
                comparison.add(f"{label}, supercell {repeat}", ctx.compute(atoms.repeat(repeat)), want)
    return comparison.outcome(ctx.groups_note())


CHECK = Check("small_cell", "cell smaller than the cutoff", run, order=140, needs=("energy",))
