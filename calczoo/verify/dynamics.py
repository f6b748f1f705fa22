"""Newtonian dynamics as far as a check of energy conservation needs it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

Force = Callable[[Atoms], tuple[float, np.ndarray]]
"""Structure -> energy (eV), forces (N, 3) (eV/A)."""


def highest_frequency(forces: Callable[[list[Atoms]], list[np.ndarray]], atoms: Atoms, step: float) -> float:
    """Largest angular frequency (radians per ASE time unit) of the Hessian by central differences; 0 if none.

    `forces` evaluates many structures at once.
    """
    n = 3 * len(atoms)
    moved = []
    for k in range(n):
        for sign in (1.0, -1.0):
            one = atoms.copy()
            x = one.positions.ravel().copy()
            x[k] += sign * step
            one.positions = x.reshape(-1, 3)
            moved.append(one)
    f = np.array(forces(moved)).reshape(n, 2, n)
    hessian = (f[:, 1] - f[:, 0]) / (2 * step)
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
