"""Structures and sums written out with numpy, for the tests of this folder."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from scipy.special import erf

from calczoo.core.system import System


def random_structure(n: int, seed: int, periodic: bool = True, size: float = 5.0, skew: float = 1.5) -> Atoms:
    """n atoms, no two closer than 0.4 A, some outside the cell."""
    rng = np.random.default_rng(seed)
    while True:
        cell = np.eye(3) * size + rng.uniform(-skew, skew, (3, 3))
        atoms = Atoms(["H"] * n, positions=rng.uniform(-3.0, 8.0, (n, 3)), cell=cell, pbc=periodic)
        distances = atoms.get_all_distances(mic=periodic)[np.triu_indices(n, 1)]
        if len(distances) == 0 or distances.min() > 0.4:
            return atoms


def widths(n: int, seed: int = 0, low: float = 0.3, high: float = 1.2) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).uniform(low, high, n))


def charges(n: int, seed: int = 0, total: float | None = None) -> torch.Tensor:
    q = torch.tensor(np.random.default_rng(seed + 100).normal(size=n))
    return q if total is None else q - q.mean() + total / n


def open_matrix(x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """A of an open structure, k = 1."""
    n = len(x)
    a = np.diag([1 / (math.sqrt(math.pi) * s) if s > 0 else 0.0 for s in sigma])
    for i, j in itertools.permutations(range(n), 2):
        r, gamma = np.linalg.norm(x[i] - x[j]), math.hypot(sigma[i], sigma[j])
        a[i, j] = erf(r / (math.sqrt(2) * gamma)) / r if gamma > 0 else 1 / r
    return a


def smeared_matrix(atoms: Atoms, sigma: np.ndarray, top: int = 40) -> np.ndarray:
    """A of wide Gaussians in a periodic cell as one sum over K without any splitting, k = 1.

    The background is the one of geometry.py: the sum without K = 0 lacks -2 pi gamma^2 / V.
    """
    reciprocal = 2 * math.pi * np.linalg.inv(atoms.cell.array).T
    n = np.array(list(itertools.product(range(-top, top + 1), repeat=3)))
    k = n @ reciprocal
    k2 = (k * k).sum(axis=1)
    keep = (k2 > 0) & (k2 < 80 / sigma.min() ** 2)
    k, k2 = k[keep], k2[keep]
    waves = np.exp(1j * atoms.positions @ k.T) * np.exp(-0.5 * sigma[:, None] ** 2 * k2)
    gamma2 = sigma[:, None] ** 2 + sigma[None, :] ** 2
    volume = atoms.get_volume()
    return (4 * math.pi / volume) * ((waves / k2) @ waves.conj().T).real - 2 * math.pi * gamma2 / volume


def system(*structures: Atoms) -> System:
    return System.from_atoms(list(structures))


def water(n: int, seed: int = 1, periodic: bool = True) -> Atoms:
    """n^3 molecules at the density of water."""
    rng = np.random.default_rng(seed)
    out, d = Atoms(cell=[3.1 * n] * 3, pbc=periodic), 3.1
    for place in np.ndindex(n, n, n):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.positions += np.array(place) * d + rng.normal(0, 0.1, 3)
        out += one
    return out


def parameters(numbers: torch.Tensor, seed: int = 2, hardness: float = 12.0):
    """chi, J and widths of oxygen and hydrogen, with a scatter in chi as an environment would give."""
    scatter = torch.tensor(np.random.default_rng(seed).normal(0, 0.5, len(numbers)))
    chi = torch.where(numbers == 8, 2.0, -1.5).double() + scatter
    j = torch.where(numbers == 8, hardness, 0.9 * hardness).double()
    return chi, j, torch.where(numbers == 8, 0.66, 0.31).double()
