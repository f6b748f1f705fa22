"""Comparison with LAMMPS' numbers: those of the reference folder and those beside the tests (`lammps.json`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from calczoo.calculator import ZooCalculator
from data import max_abs, reference_atoms

HERE = Path(__file__).resolve().parent


def cases(folder: str) -> dict[str, Any]:
    """The cases of tests/<folder>/lammps.json."""
    return json.loads((HERE.parent / folder / "lammps.json").read_text())["cases"]


def compare(calculator: ZooCalculator, records: list[dict], scale: float = 1.0) -> None:
    """Energy within 1e-9 eV/atom, per-atom energies and forces within 1e-8, stress within 1e-9 (times `scale`)."""
    for record in records:
        atoms = reference_atoms(record)
        periodic = bool(np.all(record["pbc"]))
        found = calculator.evaluate([atoms], ("energy", "forces", "stress") if periodic else ("energy", "forces"))[0]
        name = record.get("name", record["symbols"])
        # far inside the core energies reach 1e5 eV, where rounding alone is 1e-11
        size = scale * max(1.0, np.abs(record["forces"]).max(initial=0.0) * 1e-6)
        assert abs(found["energy"] - record["energy"]) / len(atoms) < 1e-9 * size, name
        assert max_abs(found["energies"], record["energies"]) < 1e-8 * size, name
        assert max_abs(found["forces"], record["forces"]) < 1e-8 * size, name
        if periodic:
            assert max_abs(found["stress"], record["stress"]) < 1e-9 * size, name


def same(one: ZooCalculator, other: ZooCalculator, atoms: Atoms, relative: float = 1e-10) -> None:
    """Both calculators agree on everything."""
    names = ("energy", "forces", "stress") if atoms.pbc.all() else ("energy", "forces")
    a, b = (c.evaluate([atoms], names)[0] for c in (one, other))
    assert a.keys() == b.keys()
    for key in a:
        assert max_abs(a[key], b[key]) <= relative * max(1.0, np.abs(a[key]).max()), key


def check_derivatives(calculator: ZooCalculator, atoms: Atoms, tolerance: float, h: float = 1e-4) -> None:
    """Forces of a few atoms against the fourth-order central difference of the energy, relative to the largest."""
    forces = calculator.evaluate([atoms], ("forces",))[0]["forces"]
    for n, axis in ((0, 0), (1, 1), (len(atoms) - 1, 2)):
        moved = []
        for step in (-2, -1, 1, 2):
            copy = atoms.copy()
            copy.positions[n, axis] += step * h
            moved.append(copy)
        e = [r["energy"] for r in calculator.evaluate(moved, ("energy",))]
        slope = (e[0] - 8.0 * e[1] + 8.0 * e[2] - e[3]) / (12.0 * h)
        assert abs(slope + forces[n, axis]) < tolerance * np.abs(forces).max()


def check_longer_list(calculator: ZooCalculator, atoms: Atoms) -> None:
    """Pairs beyond the model's cutoff change nothing; pair gradients add up to the forces; threads change no bit."""
    from calczoo.core.pairs import find_pairs
    from calczoo.core.system import System

    model = calculator.model
    system = System.from_atoms(atoms)
    need = frozenset({"energy", "energies", "forces", "virial", "virials", "pair_gradients"})
    near, far = (find_pairs(system, model.cutoff + extra) for extra in (0.0, 1.5))
    a, b = model.compute(system, near, need), model.compute(system, far, need)
    for name in ("energies", "forces", "virial"):
        assert max_abs(getattr(a, name), getattr(b, name)) < 1e-11 * max(1.0, float(getattr(a, name).abs().max()))
    forces, virials = model.reduce(system, far, b.pair_gradients, need)
    assert max_abs(forces, b.forces) < 1e-10 * max(1.0, float(b.forces.abs().max()))
    assert max_abs(virials, b.virials) < 1e-10 * max(1.0, float(b.virials.abs().max()))
    model.threads = 3
    again = model.compute(system, far, need)
    model.threads = 1
    assert all(bool((getattr(b, name) == getattr(again, name)).all()) for name in need)
