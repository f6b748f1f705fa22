"""Elastic tensor from reference frames: least squares over small strains of one cell, within its symmetry.

    sigma(k) = sigma0 + C eps(k),  F = cell(k) cell0^-1 = R (1 + eps),  sigma(k) turned back by R

C and sigma0 (what stress the unstrained frame has) are combinations of the tensors that the space group allows. The
error of a constant is its standard deviation from the fit's covariance, plus its change when strains up to the next
larger limit are taken in, which shows what is not linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.units import GPa
from scipy.linalg import polar

from ..results import PropertyFailure, Status
from ..strain import VOIGT, from_voigt, to_voigt
from ..symmetry import Symmetry
from ._frames import Frame, of_crystal, read_frames, site_shift
from ._tensors import WEIGHT, rotations

LARGEST = 0.05
LIMITS = (0.0105, 0.0205, LARGEST + 5e-4)
UNSTRAINED = 1.0  # GPa
STRAINED = 1e-5
MOVED, FORCED = 1e-4, 0.02  # scaled coordinate; eV/A
INTERNAL = 0.05  # scaled coordinate, more is another structure
SYMPREC = 1e-3
FIT_SOURCE = "fit covariance and the range of strains"


@dataclass
class Strained:
    """One frame as a strain (6,) (engineering shears) and a stress (6,) in GPa in the axes of the unstrained frame."""

    strain: np.ndarray
    stress: np.ndarray
    kind: str  # "relaxed", "clamped", or "either": nothing moved and no force pulls


def strain_series(frames: Sequence[Atoms], crystal) -> tuple[Frame, list[Strained]]:
    """The unstrained frame and all frames within 5 % strain of it. Errors: PropertyFailure saying what is missing."""
    fitting = [f for f in of_crystal(read_frames(frames), crystal) if f.stress is not None]
    if not fitting:
        raise PropertyFailure("elastic constants need reference frames with a stress; none has one", Status.UNSUPPORTED)
    number = None if crystal is None else Symmetry(crystal.atoms).number
    quiet = sorted((f for f in fitting if _size(f) < UNSTRAINED), key=_size)
    if not quiet:
        raise PropertyFailure(
            f"elastic constants need an unstrained reference frame; the smallest stress is "
            f"{min(map(_size, fitting)):.2f} GPa (below {UNSTRAINED:g} GPa is taken for unstrained)",
            Status.UNSUPPORTED,
        )
    best: tuple[Frame, list[Strained]] | None = None
    rank = None
    for candidate in quiet[:100]:
        series = [s for f in fitting if (s := _strain(f, candidate)) is not None]
        fits = number is not None and Symmetry(candidate.atoms, SYMPREC).number == number
        if rank is None or (fits, len(series)) > rank:
            best, rank = (candidate, series), (fits, len(series))
    return best


def _size(frame: Frame) -> float:
    return float(np.abs(frame.stress).max() / GPa)


def _strain(frame: Frame, reference: Frame) -> Strained | None:
    """The frame as a strain of the reference, or None where it is none."""
    shift = site_shift(frame.atoms, reference.atoms)
    if shift > INTERNAL:
        return None
    f = np.linalg.solve(reference.atoms.cell.array, frame.atoms.cell.array).T  # cell rows: new = old F^T
    if np.linalg.det(f) <= 0:
        return None
    rotation, stretch = polar(f)
    eps = stretch - np.eye(3)
    if np.abs(eps).max() > LARGEST:
        return None
    stress = rotation.T @ from_voigt(frame.stress / GPa) @ rotation
    strain = np.array([eps[k, m] * (1 if k == m else 2) for k, m in VOIGT])
    kind = "relaxed" if shift > MOVED else "clamped" if frame.fmax > FORCED else "either"
    return Strained(strain, to_voigt(stress), kind)


def constants(series: list[Strained], symmetry: Symmetry) -> dict:
    """C (6, 6) in GPa with its error, residual stress and rms misfit, and how many frames of which strains were used.

    `variants` are other tensors that could be the true one: one standard deviation along each axis of the covariance,
    and the fit to larger strains.
    """
    basis, zero = _allowed(symmetry)
    done = []
    missing: list[str] = []
    for limit in LIMITS:
        part = [s for s in series if np.abs(_tensor_parts(s.strain)).max() < limit]
        fit, missing = _solve(part, basis, zero)
        if fit is not None:
            fit.update(limit=limit, frames=len(part))
            done.append(fit)
    if not done:
        strained = sum(np.abs(s.strain).max() > STRAINED for s in series)
        raise PropertyFailure(
            f"the {strained} strained reference frames (up to {100 * LARGEST:.0f} %) do not determine "
            f"{', '.join(missing) or 'the constants with an error bar'}: add strains, of both signs, that these "
            "constants answer to",
            Status.UNSUPPORTED,
        )
    best = done[0]
    sizes, modes = np.linalg.eigh(best["covariance"])
    shifts = [np.sqrt(max(s, 0.0)) * np.tensordot(m, basis, 1) for s, m in zip(sizes, modes.T, strict=True)]
    if len(done) > 1 and done[1]["frames"] > best["frames"]:
        shifts.append(done[1]["C"] - best["C"])
        best["error"] = best["error"] + np.abs(shifts[-1])
    best["variants"] = [best["C"] + shift for shift in shifts]
    return best


def _tensor_parts(strain: np.ndarray) -> np.ndarray:
    return strain * [1, 1, 1, 0.5, 0.5, 0.5]


def _allowed(symmetry: Symmetry) -> tuple[np.ndarray, np.ndarray]:
    """Bases of the stiffnesses (n, 6, 6) and stresses (m, 6) that the space group allows."""
    group, weight = np.array(rotations(symmetry)), np.outer(WEIGHT, WEIGHT)
    stiff = []
    for i, j in combinations_with_replacement(range(6), 2):
        one = np.zeros((6, 6))
        one[i, j] = one[j, i] = 1.0
        stiff.append(((group @ one @ group.transpose(0, 2, 1)).mean(axis=0) / weight).ravel())
    stress = group.mean(axis=0).T / WEIGHT
    return _independent(np.array(stiff)).reshape(-1, 6, 6), _independent(stress)


def _independent(rows: np.ndarray) -> np.ndarray:
    _, size, vectors = np.linalg.svd(rows)
    return vectors[: int((size > 1e-8).sum())]


def _solve(series: list[Strained], basis: np.ndarray, zero: np.ndarray) -> tuple[dict | None, list[str]]:
    """Least squares; (None, constants that the strains leave open) where they are not enough."""
    if not series:
        return None, []
    strain = np.array([s.strain for s in series])
    stress = np.array([s.stress for s in series]).ravel()
    stiff = np.einsum("aij,kj->kia", basis, strain).reshape(len(stress), -1)
    offset = np.tile(zero.T, (len(series), 1))
    matrix = np.hstack([stiff, offset])
    scale = np.concatenate([np.full(stiff.shape[1], max(np.abs(strain).max(), 1e-12)), np.ones(offset.shape[1])])
    _, size, vectors = np.linalg.svd(matrix / scale)
    full = np.zeros(matrix.shape[1])
    full[: len(size)] = size
    open_ = full < 1e-3 * full.max()
    if open_.any():
        tensors = np.einsum("va,aij->vij", vectors[open_][:, : len(basis)], basis)
        names, seen = [], []
        for i, j in combinations_with_replacement(range(6), 2):
            entry = tensors[:, i, j]
            if np.abs(entry).max() > 1e-3 and not any(np.allclose(np.abs(entry), s, atol=1e-6) for s in seen):
                seen.append(np.abs(entry))
                names.append(f"C{i + 1}{j + 1}")
        return None, names
    freedom = len(stress) - matrix.shape[1]
    if freedom <= 0:
        return None, []
    x, *_ = np.linalg.lstsq(matrix / scale, stress, rcond=None)
    x = x / scale
    rest = stress - matrix @ x
    covariance = np.linalg.inv(matrix.T @ matrix) * (rest @ rest) / freedom
    n = len(basis)
    c = np.einsum("a,aij->ij", x[:n], basis)
    spread = np.sqrt(np.abs(np.einsum("aij,ab,bij->ij", basis, covariance[:n, :n], basis)))
    return {
        "C": c, "error": spread, "rms": float(np.sqrt(np.mean(rest**2))), "stress0": (x[n:] @ zero).tolist(),
        "covariance": covariance[:n, :n],
    }, []  # fmt: skip
