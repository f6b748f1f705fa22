"""Errors of a model on structures with reference results: pairs of values, sums over structures, error measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa

from .statistics import FEWEST, bootstrap_sums

GROUP_KEYS = ("config_type", "group", "name")
BINS = 48
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass
class Frame:
    """One structure: index, reference and model values as far as both exist (eV, eV/A, GPa)."""

    index: int
    atoms: Atoms
    energy: tuple[float, float] | None = None
    forces: tuple[np.ndarray, np.ndarray] | None = None
    stress: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def group(self) -> str:
        return group_of(self.atoms)


def group_of(atoms: Atoms) -> str:
    return next((str(atoms.info[k]) for k in GROUP_KEYS if atoms.info.get(k)), "")


def reference_of(atoms: Atoms) -> dict[str, Any]:
    """energy (eV), forces (eV/A), stress (6,) (GPa) of a frame, as far as it has them."""
    got = atoms.calc.results if atoms.calc is not None else {}
    out: dict[str, Any] = {}
    if got.get("energy") is not None:
        out["energy"] = float(got["energy"])
    if got.get("forces") is not None:
        out["forces"] = np.asarray(got["forces"], dtype=float)
    if got.get("stress") is not None:
        s = np.asarray(got["stress"], dtype=float)
        out["stress"] = (s if s.shape == (6,) else np.array([s.reshape(3, 3)[i, j] for i, j in VOIGT])) / GPa
    return out


def offsets_of(frames: Sequence[Frame]) -> tuple[dict[str, float], dict[str, float]]:
    """Least-squares offsets per element (eV/atom): of the errors, and of the reference energies themselves."""
    species = sorted({s for f in frames for s in f.atoms.get_chemical_symbols()})
    share = np.array([[f.atoms.get_chemical_symbols().count(s) / len(f.atoms) for s in species] for f in frames])
    ref = np.array([f.energy[0] / len(f.atoms) for f in frames])
    error = np.array([f.energy[1] / len(f.atoms) for f in frames]) - ref
    fits = [np.linalg.lstsq(share, y, rcond=None)[0] for y in (error, ref)]
    return tuple({s: float(c) for s, c in zip(species, fit, strict=True)} for fit in fits)


def mean_offset(atoms: Atoms, offsets: dict[str, float]) -> float:
    """Mean offset of a structure's atoms, eV/atom."""
    return sum(offsets[s] for s in atoms.get_chemical_symbols()) / len(atoms)


def measures(columns: np.ndarray) -> dict[str, tuple[float, float | None]]:
    """mae, rmse, r2 with standard errors from per-structure sums [|d|, d^2, x, x^2, terms]."""

    def formulas(s: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            total = s[..., 3] - s[..., 2] ** 2 / s[..., 4]
            return {
                "mae": s[..., 0] / s[..., 4], "rmse": np.sqrt(s[..., 1] / s[..., 4]),
                "r2": np.where(total > 1e-12 * s[..., 3], 1 - s[..., 1] / total, np.nan),
            }  # fmt: skip

    best = formulas(columns.sum(axis=0))
    if len(columns) < FEWEST:
        return {k: (float(v), None) for k, v in best.items()}
    drawn = formulas(bootstrap_sums(columns))
    spread = {k: float(np.nanstd(v)) if np.isfinite(v).any() else None for k, v in drawn.items()}
    return {k: (float(v), spread[k]) for k, v in best.items()}


def sums_of(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Per-structure sums of (reference, model) arrays, for `measures`."""
    rows = []
    for x, y in pairs:
        d = np.abs(np.asarray(y) - np.asarray(x))
        rows.append([d.sum(), (d**2).sum(), np.sum(x), np.sum(np.square(x)), np.size(x)])
    return np.array(rows, dtype=float)


def histogram(x: np.ndarray, y: np.ndarray, unit: str) -> dict[str, Any]:
    """Counts of (reference, model) pairs in BINS x BINS squares; the range follows from the reference alone."""
    span = float(f"{max(1.05 * np.abs(x).max(initial=0.0), 1e-6):.4g}")
    counts, _, _ = np.histogram2d(x, np.clip(y, -span, span), bins=BINS, range=[[-span, span]] * 2)
    i, j = np.nonzero(counts)
    outside = int((np.abs(y) > span).sum())
    return {"span": span, "unit": unit, "bins": BINS, "i": i.tolist(), "j": j.tolist(),
            "counts": counts[i, j].astype(int).tolist(), "outside": outside}  # fmt: skip
