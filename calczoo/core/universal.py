"""The universal screened repulsion of two nuclei.

J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter (Pergamon, 1985),
doi:10.1007/978-1-4615-8103-1_3.
"""

from __future__ import annotations

import numpy as np

from .units import QQR2E

C = np.array([0.02817, 0.28022, 0.50986, 0.18175])
D = np.array([0.20162, 0.40290, 0.94229, 3.19980])
RADIUS, POWER = 0.46850, 0.23
"""chi(x) = sum_k C_k exp(-D_k x) with x = r (Z_i^POWER + Z_j^POWER) / RADIUS, in A."""


def universal_repulsion(zi: float, zj: float, r: np.ndarray | float) -> np.ndarray:
    """Z_i Z_j e^2 chi(x) / r in eV; r in A."""
    x = np.asarray(r, dtype=float)[..., None] * (zi**POWER + zj**POWER) / RADIUS
    return zi * zj * QQR2E / np.asarray(r, dtype=float) * (C * np.exp(-D * x)).sum(axis=-1)
