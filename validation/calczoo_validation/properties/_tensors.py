"""Rotations of a crystal's point group as matrices on strains, in the basis in which Voigt tensors are orthonormal."""

from __future__ import annotations

import numpy as np

from ..strain import from_voigt, to_voigt
from ..symmetry import Symmetry

WEIGHT = np.array([1, 1, 1, 2**0.5, 2**0.5, 2**0.5])  # Voigt to an orthonormal basis


def rotations(symmetry: Symmetry) -> list[np.ndarray]:
    """The distinct proper rotations as (6, 6) orthogonal matrices; tensors of even order do not feel the inversion."""
    seen, out = set(), []
    for r in symmetry.rotations:
        r = r * np.sign(np.linalg.det(r))
        key = tuple(np.round(r, 6).ravel() + 0.0)
        if key in seen:
            continue
        seen.add(key)
        columns = []
        for k in range(6):
            unit = np.zeros(6)
            unit[k] = 1 / WEIGHT[k]
            columns.append(to_voigt(r @ from_voigt(unit) @ r.T) * WEIGHT)
        out.append(np.array(columns).T)
    return out
