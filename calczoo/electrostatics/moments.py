"""Dipole moments of charges."""

from __future__ import annotations

import math

import numpy as np
import torch
from ase.data import atomic_masses

from ..core.system import System


def dipole(system: System, charges: torch.Tensor) -> torch.Tensor:
    """(S, 3) e A: sum_i q_i (r_i - r_0) of each open structure, with r_0 its centre of mass (standard atomic masses),
    which matters for ions only. NaN where a direction is periodic: there it depends on the choice of cell."""
    x, q = system.positions.double(), charges.double()
    masses = torch.from_numpy(np.nan_to_num(atomic_masses, nan=1.0)).to(x.device)[system.numbers]
    out = x.new_full((system.n_systems, 3), math.nan)
    open_ = ~system.pbc.any(dim=1).cpu().numpy()
    for s in np.flatnonzero(open_):
        rows = slice(system.first[s], system.first[s + 1])
        m = masses[rows]
        centre = (m[:, None] * x[rows]).sum(dim=0) / m.sum().clamp(min=1e-300)
        out[s] = q[rows] @ (x[rows] - centre)
    return out
