"""Newtonian dynamics as far as a check of energy conservation needs it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

Force = Callable[[Atoms], tuple[float, np.ndarray]]
"""Structure -> energy (eV), forces (N, 3) (eV/A)."""


def highest_frequency(force: Force, atoms: Atoms, step: float) -> float:
    """Largest angular frequency (radians per ASE time unit) of the Hessian by central differences of forces; 0 if none."""
    n = 3 * len(atoms)
    hessian = np.zeros((n, n))
    for k in range(n):
        forces = []
        for sign in (1.0, -1.0):
            moved = atoms.copy()
            moved.positions.flat[k] += sign * step
            forces.append(force(moved)[1].ravel())
        hessian[k] = (forces[1] - forces[0]) / (2 * step)
    root = np.repeat(np.sqrt(atoms.get_masses()), 3)
    values = np.linalg.eigvalsh(0.5 * (hessian + hessian.T) / np.outer(root, root))
    return float(np.sqrt(max(values[-1], 0.0)))


def velocity_verlet(force: Force, atoms: Atoms, velocities: np.ndarray, dt: float, steps: int) -> np.ndarray:
    """Total energy (eV) at each of steps + 1 times; dt in ASE time units, velocities (N, 3) in A per unit."""
    atoms, v = atoms.copy(), velocities.copy()
    mass = atoms.get_masses()[:, None]
    energy, f = force(atoms)
    total = [energy + 0.5 * float(np.sum(mass * v**2))]
    for _ in range(steps):
        v = v + 0.5 * dt * f / mass
        atoms.positions += dt * v
        energy, f = force(atoms)
        v = v + 0.5 * dt * f / mass
        total.append(energy + 0.5 * float(np.sum(mass * v**2)))
    return np.array(total)


def slope_with_error(times: np.ndarray, values: np.ndarray, blocks: int = 10) -> tuple[float, float]:
    """Slope of a straight line through block means, and its standard error.

    Blocks longer than an oscillation make the residuals of the line independent, so the error bar means something.
    """
    t = np.array([b.mean() for b in np.array_split(times, blocks)])
    y = np.array([b.mean() for b in np.array_split(values, blocks)])
    t = t - t.mean()
    slope = float(np.sum(t * y) / np.sum(t**2))
    residual = y - y.mean() - slope * t
    error = np.sqrt(np.sum(residual**2) / (blocks - 2) / np.sum(t**2))
    return slope, float(error)
