"""Algebra of elastic tensors: averages, stability, independent entries, rotations.

Rotations of the point group are matrices on strains, in the basis in which Voigt tensors are orthonormal.
"""

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


def voigt_reuss_hill(c: np.ndarray) -> dict[str, float]:
    """Polycrystal averages in GPa (Hill 1952, doi:10.1088/0370-1298/65/5/307)."""
    s = np.linalg.inv(c)
    bulk_v = (c[:3, :3].sum()) / 9
    bulk_r = 1 / s[:3, :3].sum()
    diag, off = np.trace(c[:3, :3]), c[0, 1] + c[0, 2] + c[1, 2]
    shear_v = (diag - off) / 15 + np.trace(c[3:, 3:]) / 5
    sdiag, soff = np.trace(s[:3, :3]), s[0, 1] + s[0, 2] + s[1, 2]
    shear_r = 15 / (4 * (sdiag - soff) + 3 * np.trace(s[3:, 3:]))
    bulk, shear = (bulk_v + bulk_r) / 2, (shear_v + shear_r) / 2
    return {
        "B": bulk, "G": shear, "E": 9 * bulk * shear / (3 * bulk + shear),
        "nu": (3 * bulk - 2 * shear) / (2 * (3 * bulk + shear)),
        "A_U": 5 * shear_v / shear_r + bulk_v / bulk_r - 6,
        "B_voigt": bulk_v, "B_reuss": bulk_r, "G_voigt": shear_v, "G_reuss": shear_r,
    }  # fmt: skip


def lowest_eigenvalue(c: np.ndarray) -> float:
    """Smallest eigenvalue of the stiffness in the orthonormal (Mandel) basis, GPa; the Born criterion is > 0."""
    weight = np.diag([1, 1, 1, 2**0.5, 2**0.5, 2**0.5])
    return float(np.linalg.eigvalsh(weight @ c @ weight).min())


def independent(symmetry: Symmetry, tolerance: float = 1e-6) -> list[tuple[int, int]]:
    """Entries (i, j) of the upper triangle that the symmetry neither makes zero nor equal to one before them.

    Read off a generic tensor of that symmetry: in the tensor of a model, entries may be equal by accident (C12 = C44
    for every pair potential at zero pressure).
    """
    generic = np.random.default_rng(3).normal(size=(6, 6))
    c = symmetry.elastic(generic + generic.T)
    found: list[tuple[int, int]] = []
    scale = np.abs(c).max()
    order = [(i, i) for i in range(6)] + [(i, j) for i in range(6) for j in range(i + 1, 6)]
    for i, j in sorted(order, key=lambda p: (p[0] > 2, p)):
        value = c[i, j]
        if abs(value) > tolerance * scale and all(abs(abs(value) - abs(c[p])) > tolerance * scale for p in found):
            found.append((i, j))
    return found
