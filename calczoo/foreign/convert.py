"""Between calczoo's tensors and ASE's structures and results.

    virial_s = V_s stress_s        stress in ASE's sign (positive = tension)

Nothing is invented: a quantity that a structure does not have (the stress of a molecule in a batch of crystals, the
dipole of a crystal) is NaN here, and the calculator never hands it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms

from ..core.errors import AtomsOverlap
from ..core.pairs import MIN_DISTANCE, complete_cell
from ..core.results import Results
from ..core.system import System

ASE_NAMES = {
    "energy": "energy",
    "energies": "energies",
    "forces": "forces",
    "virial": "stress",
    "charges": "charges",
    "dipole": "dipole",
    "magmoms": "magmoms",
    "local_gap_variance": "local_gap_variance",
    "uncertainty": "uncertainty",
}
"""Output of a model -> ASE property that holds it."""

_PER_STRUCTURE: dict[str, tuple[int, ...]] = {"energy": (), "virial": (3, 3), "dipole": (3,), "uncertainty": ()}
_DIRECTION = np.array([0.5412658773652741, 0.7193398003386512, 0.4352751648006199])
_UNIT = np.eye(3)
_OFFSETS = np.array([[0.1360827634879543, 0.4472135954999579, 0.7320508075688772], [0.618, 0.2236067977, 0.3166247903]])


def to_atoms(system: System) -> list[Atoms]:
    """The structures of a system, with positions in double precision; info["charge"] is the total charge (e), a whole
    number where it is one, and initial charges are there where some structure has them."""
    numbers = system.numbers.cpu().numpy()
    positions = system.positions.detach().cpu().double().numpy()
    cells = system.cell.detach().cpu().double().numpy()
    pbcs = system.pbc.cpu().numpy()
    totals = None if system.charge is None else system.charge.detach().cpu().double().numpy()
    charges = None if system.initial_charges is None else system.initial_charges.detach().cpu().double().numpy()
    out = []
    for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True)):
        atoms = Atoms(numbers=numbers[a:b], positions=positions[a:b], cell=cells[s], pbc=pbcs[s])
        if totals is not None:
            total = float(totals[s])
            atoms.info["charge"] = int(total) if total.is_integer() else total
        if charges is not None:
            atoms.set_initial_charges(charges[a:b])
        out.append(atoms)
    return out


def to_results(
    system: System, rows: Sequence[Mapping[str, Any]], need: frozenset[str], dtype: torch.dtype
) -> Results:
    """One row (see driver.py) per structure -> Results; energies and virials of structures in double precision."""
    out: dict[str, np.ndarray] = {}
    for key in need:
        name = ASE_NAMES[key]
        parts = [row[name] if name in row else np.full(_PER_STRUCTURE[key], np.nan) for row in rows]
        out[key] = np.array(parts).reshape(-1, *_PER_STRUCTURE[key]) if key in _PER_STRUCTURE else _joined(parts)
    if "virial" in out:
        volumes = np.abs(np.linalg.det(system.cell.detach().cpu().double().numpy()))
        out["virial"] *= volumes[:, None, None]
    device = system.positions.device
    kinds = {"energy": torch.float64, "virial": torch.float64}
    return Results(**{
        key: torch.from_numpy(value).to(device=device, dtype=kinds.get(key, dtype)) for key, value in out.items()
    })  # fmt: skip


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0)


def check_overlap(system: System) -> None:
    """Raise AtomsOverlap for two atoms closer than 0.001 A, without a neighbour list.

    Two such atoms have nearly the same projection on any direction; one that no lattice has leaves few candidates.
    Atoms are wrapped from two origins, so that a pair may straddle a face of one of the boxes.
    """
    positions = system.positions.detach().cpu().double().numpy()
    cells = system.cell.detach().cpu().double().numpy()
    pbcs = system.pbc.cpu().numpy()
    for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True)):
        if b - a < 2:
            continue
        found = None
        if pbcs[s].any():
            box = complete_cell(cells[s], pbcs[s])
            frac = positions[a:b] @ np.linalg.inv(box)
            for origin in _OFFSETS:
                inside = frac - np.where(pbcs[s], np.floor(frac - origin), 0.0)
                found = found or _closest(inside, box)
        else:
            found = _closest(positions[a:b], _UNIT)
        if found is not None:
            raise AtomsOverlap(*found, f" of structure {s}" if system.n_systems > 1 else "")


def _closest(coordinates: np.ndarray, box: np.ndarray) -> tuple[int, int, float] | None:
    """Two atoms closer than MIN_DISTANCE, or None; coordinates (N, 3) in the vectors of the box."""
    along = coordinates @ (box @ _DIRECTION)
    order = np.argsort(along)
    along = along[order]
    for k in range(1, len(order)):
        near = np.flatnonzero(along[k:] - along[:-k] < MIN_DISTANCE)
        if not len(near):
            return None
        d = np.linalg.norm((coordinates[order[near + k]] - coordinates[order[near]]) @ box, axis=1)
        m = int(np.argmin(d))
        if d[m] < MIN_DISTANCE:
            i, j = sorted((int(order[near[m]]), int(order[near[m] + k])))
            return i, j, float(d[m])
    return None
