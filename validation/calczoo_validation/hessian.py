"""Hessian of any calculator: analytic where it offers one, else central differences of forces in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from calczoo.core.errors import PropertyNotImplementedError
from calczoo.hessian import STEP, Hessian, checked_indices, difference_hessian

from .engine import Evaluator

__all__ = ["Hessian", "hessian"]


def hessian(
    evaluator: Evaluator, atoms: Atoms, indices: Sequence[int] | None = None, *, step: float = STEP,
    method: str = "auto",
) -> Hessian:  # fmt: skip
    """Second derivatives of the energy, eV/A^2: `matrix` (3N, 3N), or (3 len(indices), 3N) for the rows of some atoms.

    Periodic images move with their atoms. A calculator with `get_hessian` of that shape is asked first (method "auto";
    "analytic" accepts nothing else, "differences" never asks); otherwise forces at +-step and +-step/2 (A) are
    extrapolated, and `error` is the change that this makes. The full matrix is symmetrised; `asymmetry` is what it was
    before. Errors: PropertyNotImplementedError where method="analytic" cannot be had, OptionError, EvaluationError.
    """
    rows = checked_indices(indices, len(atoms))
    if method != "differences" and (found := _own(evaluator.calculator, atoms, indices, rows, method)):
        return found

    def forces(many: list[Atoms]) -> list[np.ndarray]:
        return [r["forces"] for r in evaluator.evaluate(many, ("energy", "forces"))]

    matrix, error = difference_hessian(forces, atoms, rows, step)
    if indices is not None:
        return Hessian(matrix, "differences", error)
    asymmetry = float(np.abs(matrix - matrix.T).max(initial=0.0))
    return Hessian(0.5 * (matrix + matrix.T), "differences", error, asymmetry)


def _own(calculator, atoms: Atoms, indices, rows: np.ndarray, method: str) -> Hessian | None:
    """The calculator's own Hessian; None where it has none, or one of a shape that cannot be understood."""
    function = getattr(calculator, "get_hessian", None)
    shape = (3 * len(rows), 3 * len(atoms))
    zoo = hasattr(calculator, "model") and hasattr(calculator, "card")
    if zoo:
        matrix = function(atoms, indices, method)
        info = calculator.hessian_info
        return Hessian(matrix, info["method"], info["error"], info["asymmetry"])
    if function is not None:
        try:
            whole = np.asarray(function(atoms), dtype=float)
        except (NotImplementedError, TypeError):  # no such thing for this structure
            whole = np.zeros(0)
        if whole.size == (3 * len(atoms)) ** 2 and np.isfinite(whole).all():
            whole = whole.reshape(3 * len(atoms), -1)  # also (3N, N, 3), as some packages have it
            asymmetry = float(np.abs(whole - whole.T).max(initial=0.0))
            if indices is None:
                return Hessian(0.5 * (whole + whole.T), "analytic", 0.0, asymmetry)
            return Hessian(whole.reshape(len(atoms), 3, -1)[rows].reshape(shape), "analytic")
    if method == "analytic":
        raise PropertyNotImplementedError("the calculator has no analytic second derivatives")
    return None
