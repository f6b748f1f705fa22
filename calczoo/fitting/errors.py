"""Error tables: MAE and RMSE of energies, forces, stresses and charges, per group and over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.units import EV_PER_A3_TO_GPA
from .data import Dataset, charges_of

KINDS = {"energy": "meV/atom", "forces": "eV/A", "stress": "GPa"}
"""Units of the table; forces and stress count components."""
OTHER_KINDS = {"charges": "e"}
"""Those of models that have such a result."""


@dataclass(frozen=True)
class ErrorTable:
    """rows: group -> kind -> {"n", "mae", "rmse"}; the group "all" holds everything."""

    rows: dict[str, dict[str, dict[str, float]]]

    def get(self, kind: str, measure: str = "mae", group: str = "all") -> float:
        """One number; NaN where there was no reference value."""
        return self.rows.get(group, {}).get(kind, {}).get(measure, float("nan"))

    def units(self) -> dict[str, str]:
        """Units of the kinds of this table."""
        found = {kind for row in self.rows.values() for kind in row}
        return KINDS | {kind: unit for kind, unit in OTHER_KINDS.items() if kind in found}

    def to_dict(self) -> dict[str, Any]:
        return {"units": self.units(), "groups": self.rows}


def compare(data: Dataset, predictions: Sequence[dict[str, Any]]) -> ErrorTable:
    """Errors of predictions (dicts with energy, forces, stress, charges as a calculator returns them) against a data
    set."""
    errors: dict[str, dict[str, list[np.ndarray]]] = {}
    for k, (atoms, group, result) in enumerate(zip(data.structures, data.groups, predictions, strict=True)):
        found: dict[str, np.ndarray] = {}
        if np.isfinite(data.energies[k]):
            found["energy"] = np.array([1e3 * (result["energy"] - data.energies[k]) / len(atoms)])
        if (forces := data.forces[k]) is not None:
            found["forces"] = (np.asarray(result["forces"]) - forces).ravel()
        if (stress := data.stresses[k]) is not None:
            known = np.isfinite(stress)
            found["stress"] = (np.asarray(result["stress"]) - stress)[known] * EV_PER_A3_TO_GPA
        if "charges" in result and (charges := charges_of(atoms)) is not None:
            found["charges"] = np.asarray(result["charges"]) - charges
        for name in dict.fromkeys((group, "all")):  # structures without a group are in "all" only
            for kind, values in found.items():
                errors.setdefault(name, {}).setdefault(kind, []).append(values)
    order = [*(g for g in errors if g != "all"), "all"] if errors else []
    return ErrorTable({g: {kind: _measures(np.concatenate(v)) for kind, v in errors[g].items()} for g in order})


def _measures(values: np.ndarray) -> dict[str, float]:
    return {
        "n": int(values.size),
        "mae": float(np.abs(values).mean()),
        "rmse": float(np.sqrt((values**2).mean())),
    }


def evaluate(model: Any, data: Dataset, batch: int = 32) -> list[dict[str, Any]]:
    """Energies (eV), forces (eV/A), stresses (eV/A^3) and, of models that have them, charges (e) of all structures,
    `batch` at a time, by a core Model."""
    from ..core.pairs import find_pairs
    from ..core.system import System
    from ..core.units import VOIGT

    out: list[dict[str, Any]] = []
    need = frozenset({"energy", "forces", "virial", *(OTHER_KINDS.keys() & model.outputs)})
    for start in range(0, len(data), batch):
        many = data.structures[start : start + batch]
        system = System.from_atoms(many, model.device, model.dtype)
        results = model.compute(system, find_pairs(system, model.cutoff), need)
        arrays = {k: v.detach().cpu().double().numpy() for k, v in results.present().items()}
        volumes = system.volumes().cpu().double().numpy()
        for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True)):
            one: dict[str, Any] = {"energy": float(arrays["energy"][s]), "forces": arrays["forces"][a:b]}
            one |= {kind: arrays[kind][a:b] for kind in OTHER_KINDS if kind in arrays}
            if many[s].pbc.all():
                w = 0.5 * (arrays["virial"][s] + arrays["virial"][s].T) / volumes[s]
                one["stress"] = np.array([w[x, y] for x, y in VOIGT])
            out.append(one)
    return out
