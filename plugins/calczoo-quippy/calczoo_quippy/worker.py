"""The ASE calculator. Imports nothing of calczoo, so that it also runs in an environment of its own.

quippy's own calculator with what it lacks here: the variance of the Gaussian process among the results, a cell for
directions without periodicity, and messages without the padding of Fortran. QUIP is not safe for several threads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

VARIANCE = "local_gap_variance"


class QuipError(RuntimeError):
    """What QUIP says when it refuses."""


def make(
    model: str,
    device: str = "cpu",
    dtype: str = "float64",
    init_args: str = "",
    calc_args: str = "",
    variance: float | None = None,
) -> QuippyCalculator:
    """The calculator of a parameter file."""
    return QuippyCalculator(model, init_args, calc_args, variance)


class QuippyCalculator(Calculator):
    """ASE calculator around quippy.potential.Potential."""

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", VARIANCE]

    def __init__(self, file: str, init_args: str = "", calc_args: str = "", variance: float | None = None):
        super().__init__()
        from quippy.potential import Potential

        try:
            self.potential = Potential(args_str=init_args, param_filename=file)
        except RuntimeError as error:
            raise QuipError(message_of(error)) from error
        self.potential.calculation_always_required = True  # what may be reused is decided by those who ask
        self.calc_args = calc_args
        regular = "" if variance is None else f" gap_variance_regularisation={variance!r}"
        self.variance_args = f"{VARIANCE}={VARIANCE}{regular}"

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        names = ["energy", "forces", *(n for n in ("energies", "stress") if n in properties)]
        arguments = " ".join(filter(None, (self.calc_args, self.variance_args if VARIANCE in properties else "")))
        self.potential.results = {}
        try:
            self.potential.calculate(boxed(self.atoms), names, list(all_changes), calc_args=arguments or None)
        except RuntimeError as error:
            raise QuipError(message_of(error)) from error
        self.results = dict(self.potential.results)
        if VARIANCE in properties:
            found = self.potential.extra_results["atoms"].get(VARIANCE)
            if found is None:
                raise QuipError("the potential has no variance: it is no GAP")
            self.results[VARIANCE] = np.array(found, dtype=float).reshape(-1)


def boxed(atoms: Atoms) -> Atoms:
    """The structure, with cell vectors at right angles to all others along directions without periodicity."""
    if atoms.pbc.all():
        return atoms
    out = atoms.copy()
    cell = out.cell.array
    periodic, free = np.flatnonzero(out.pbc), np.flatnonzero(~out.pbc)
    basis = np.linalg.svd(cell[periodic])[2] if len(periodic) else np.eye(3)
    for k, direction in zip(free, basis[len(periodic) :], strict=True):
        along = out.positions @ direction
        cell[k] = (np.ptp(along) + 10.0) * direction
    out.set_cell(cell)
    return out


def message_of(error: BaseException) -> str:
    """QUIP's message in one line, without trace and padding."""
    text = re.sub(r"\s+", " ", str(error)).strip(" :")
    text = re.sub(r"^Traceback \(most recent call last\)\s*", "", text)
    if "IO error opening" in text and "5004" in text:  # gfortran's number for a file that is open
        text += "; QUIP keeps a file open whose reading has failed before: start Python anew, or use isolated=True"
    return text
