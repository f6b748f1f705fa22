"""What is wrong with the pair potentials of TorchSim 0.3.0, set right from outside. Imports nothing of calczoo.

Against central differences of their own energy (tests/test_torchsim.py), LennardJonesModel, MorseModel and
SoftSphereModel

    - count every pair twice in forces and stress, whose factors are 2, 2 and 2, 2 and 2, -2 (the sign, too);
    - take the cell's rows for columns in the vectors of pairs, which changes nothing for a symmetric matrix only;
    - with use_neighbor_list=False know only the nearest image of each atom.

Energies of symmetric cells are right. So the structure is rotated until the matrix of its cell is symmetric (the polar
decomposition C = P U, x' = x U^T, C' = P), and forces and stress are turned back and divided by their factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .models import TORCH_SIM

FACTORS = {"LennardJonesModel": (2.0, 2.0), "MorseModel": (2.0, 2.0), "SoftSphereModel": (2.0, -2.0)}
"""Class -> (forces, stress): what it returns over what the derivative of its energy is."""

_BROKEN = {
    "SoftSphereMultiModel": "cannot be evaluated at all",
    "ParticleLifeModel": "has forces that are not the derivative of its energy",
}


def factors_of(model: Any) -> tuple[float, float] | None:
    """The factors of a model of one of those classes, None for any other model, or another version of TorchSim.

    Raises ValueError for one that cannot be set right.
    """
    kind = type(model)
    if not kind.__module__.startswith("torch_sim.models.") or not _this_version():
        return None
    if kind.__name__ in _BROKEN:
        raise ValueError(f"{kind.__name__} of torch-sim-atomistic {TORCH_SIM} {_BROKEN[kind.__name__]}")
    if kind.__name__ in FACTORS and not model.use_neighbor_list:
        raise ValueError(f"{kind.__name__} needs use_neighbor_list=True: without, it sees nearest images only")
    return FACTORS.get(kind.__name__)


def _this_version() -> bool:
    from importlib.metadata import version

    return version("torch-sim-atomistic") == TORCH_SIM


def symmetric_cell(positions: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(positions, cell, U): rotated until the cell is symmetric; vectors v' go back by v' @ U."""
    squares, axes = np.linalg.eigh(cell @ cell.T)
    stretch = (axes * np.sqrt(squares)) @ axes.T
    turn = np.linalg.solve(stretch, cell)
    return positions @ turn.T, stretch, turn


def set_right(row: Mapping[str, Any], factors: tuple[float, float], turn: np.ndarray) -> dict[str, Any]:
    """Forces (N, 3) and stress (3, 3) of the rotated structure -> those of the structure itself."""
    out = dict(row)
    if "forces" in out:
        out["forces"] = out["forces"] @ turn / factors[0]
    if "stress" in out:
        out["stress"] = turn.T @ out["stress"] @ turn / factors[1]
    return out
