"""Small structures without random numbers, for the stored LAMMPS reference values."""

from __future__ import annotations

import numpy as np

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def sheared_fcc(n_species: int, a: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower-triangular cell (A), positions (8, 3) and species 0..n_species-1 of two displaced, sheared fcc cells."""
    cell = a * np.array([[2.0, 0.0, 0.0], [0.03, 1.0, 0.0], [0.02, -0.05, 1.0]])
    scaled = np.concatenate([(FCC + [k, 0, 0]) / [2, 1, 1] for k in range(2)])
    k = np.arange(8)[:, None]
    positions = scaled @ cell + 0.03 * a * np.sin(1.0 + 2.3 * k + np.array([0.0, 1.7, 3.1]) * (k + 1))
    species = (np.arange(8) * 5 // 3) % n_species
    return cell, positions, species
