"""Comparisons that several contract tests need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms

from calczoo.core.pairs import Pairs, brute_force_pairs
from calczoo.core.system import System

ALL = ("energy", "energies", "forces", "stress")


def results(calc, atoms: Atoms) -> dict:
    """Energy, energies, forces and, where it exists, stress."""
    return calc.evaluate([atoms], properties=ALL if atoms.pbc.all() else ALL[:3])[0]


def scale(result: dict) -> tuple[float, float, float]:
    """Sizes that differences are measured by: energy per atom, largest force, largest stress; at least 1."""
    n = max(len(result["forces"]), 1)
    return (
        max(1.0, abs(result["energy"]) / n),
        max(1.0, np.abs(result["forces"]).max(initial=0.0)),
        max(1.0, np.abs(result.get("stress", np.zeros(6))).max()),
    )


def assert_same(got: dict, want: dict, tolerance: float, forces: bool = True) -> None:
    """Energies per atom, forces and stress agree within tolerance (eV/atom, eV/A, eV/A^3, relative where above 1)."""
    e, f, s = scale(want)
    n = max(len(want["forces"]), 1)
    assert abs(got["energy"] - want["energy"]) / n <= tolerance * e
    np.testing.assert_allclose(got["energies"], want["energies"], rtol=0, atol=10 * tolerance * e)
    if forces:
        np.testing.assert_allclose(got["forces"], want["forces"], rtol=0, atol=10 * tolerance * f)
    if "stress" in want:
        np.testing.assert_allclose(got["stress"], want["stress"], rtol=0, atol=10 * tolerance * s)


def derivative(f: Callable[[float], float], step: float) -> tuple[float, float]:
    """f'(0) by Ridders' extrapolation of central differences, and its error estimate."""
    table: list[list[float]] = []
    best, error = 0.0, np.inf
    for k in range(6):
        h = step / 1.6**k
        row = [(f(h) - f(-h)) / (2 * h)]
        for m in range(1, k + 1):
            factor = 1.6 ** (2 * m)
            row.append((factor * row[m - 1] - table[k - 1][m - 1]) / (factor - 1))
            guess = max(abs(row[m] - row[m - 1]), abs(row[m] - table[k - 1][m - 1]))
            if guess < error:
                best, error = row[m], guess
        table.append(row)
    return best, error


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A random proper rotation (QR of a normal matrix)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def brute_force(calc, atoms: Atoms) -> dict:
    """The calculator's own model on a list made by trying every image."""
    model = calc.model
    system = System.from_atoms(atoms, model.device, model.dtype)
    found = brute_force_pairs(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    i, j = (torch.tensor([p[c] for p in found], dtype=torch.int32) for c in (0, 1))
    table = sorted({p[2] for p in found}) or [(0, 0, 0)]
    index = {s: k for k, s in enumerate(table)}
    counts = torch.bincount(i.long(), minlength=len(atoms))
    pairs = Pairs(
        i=i,
        j=j,
        shift_index=torch.tensor([index[p[2]] for p in found], dtype=torch.int32),
        shifts=torch.tensor(table, dtype=torch.int32),
        shift_system=torch.zeros(len(table), dtype=torch.int64),
        first=torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).to(torch.int32),
        incoming=torch.argsort(j, stable=True).to(torch.int32),
        cutoff=model.cutoff,
    )
    need = frozenset({"energy", "energies", "forces", "virial"})
    out = model.compute(system, pairs, need)
    return {
        "energy": float(out.energy[0]),
        "energies": out.energies.numpy(),
        "forces": out.forces.numpy(),
        "virial": out.virial[0].numpy(),
    }


def with_cell(atoms: Atoms, cell) -> Atoms:
    """Same scaled positions in another cell."""
    out = atoms.copy()
    out.set_cell(cell, scale_atoms=True)
    return out


__all__ = ["ALL", "assert_same", "brute_force", "derivative", "results", "rotation", "scale", "with_cell"]
