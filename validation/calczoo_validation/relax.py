"""Relaxation of many structures at once: one batched evaluation per step for all that still move.

Degrees of freedom of one structure: positions y in the frame of the starting cell (n, 3) and, when the cell is free,
the symmetric logarithm L (3, 3) of its deformation,

    cell = cell_0 exp(L),  r = y exp(L),  H = E + P V,
    dH/dy = -F exp(L),  dH/dL = Q [Gamma o (Q^T V (sigma + P) exp(-L) Q)] Q^T,
    Gamma_ij = (e^l_i - e^l_j) / (l_i - l_j)   (Daleckii-Krein; l, Q eigenvalues and -vectors of L),

the log-strain coordinates of the Frechet cell filter. L is scaled by sqrt(n) LENGTH so that its curvature resembles
that of the positions. Removing tr(dH/dL) keeps the volume exactly (tr L = ln V/V_0); components of L that are not free
stay zero. The minimisers are in optimise.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from calczoo.core.errors import OptionError

from .engine import Evaluator
from .optimise import METHODS
from .strain import VOIGT, from_voigt
from .symmetry import Symmetry

LENGTH = 2.0  # A, makes V C_ij / (n LENGTH^2) of the order of an interatomic force constant
MAX_MOVE = 0.2  # A, largest move of one atom in one step
AXES = {"x": 0, "y": 1, "z": 2}

Projection = Callable[[np.ndarray], np.ndarray]


@dataclass
class Relaxed:
    """Outcome for one structure; `fmax` (eV/A) and `smax` (eV/A^3) are what remains of the free components, with the
    outer pressure in `smax`. `forces` and `stress` are the calculator's, nothing taken out. `enthalpy` is E + P V;
    `method` is "lbfgs", "fire", or "lbfgs, fire" where the first handed over to the second."""

    atoms: Atoms
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    fmax: float
    smax: float
    fmax_start: float
    steps: int
    converged: bool
    reason: str = ""
    method: str = "lbfgs"
    enthalpy: float = 0.0


@dataclass(frozen=True)
class Freedom:
    """What may move: the cell's strains, atoms that are held, a projection of vectors on the atoms, symmetry."""

    free: np.ndarray | None = None
    volume: bool = False
    pressure: float = 0.0
    held: np.ndarray | None = None
    project: Projection | None = None
    symmetry: Symmetry | None = None

    def vectors(self, v: np.ndarray) -> np.ndarray:
        """(n, 3) what is left of forces."""
        if self.symmetry is not None:
            v = self.symmetry.vectors(v)
        if self.project is not None:
            v = np.asarray(self.project(v), dtype=float)
        if self.held is not None:
            v = np.where(self.held[:, None], 0.0, v)
        return v

    def tensor(self, stress: np.ndarray) -> np.ndarray:
        """(3, 3) what is left of a stress, the outer pressure added."""
        stress = stress + self.pressure * np.eye(3)
        if self.symmetry is not None:
            stress = self.symmetry.tensor(stress)
        if self.volume:
            stress = stress - np.trace(stress) / 3 * np.eye(3)
        return np.where(self.free, stress, 0.0)

    def log(self, gradient: np.ndarray) -> np.ndarray:
        """(3, 3) what is left of dH/dL."""
        gradient = np.where(self.free, (gradient + gradient.T) / 2, 0.0)
        return gradient - np.trace(gradient) / 3 * np.eye(3) if self.volume else gradient


def relax(
    evaluator: Evaluator,
    structures: Sequence[Atoms],
    *,
    cell: str | Sequence[bool] = "fixed",
    fmax: float = 1e-4,
    smax: float = 2e-6,
    relative: float | None = None,
    floor: float = 1e-6,
    symmetric: bool = False,
    pressure: float = 0.0,
    fixed: Sequence[Any] | None = None,
    project: Sequence[Projection | None] | None = None,
    method: str | Sequence[str] = "lbfgs",
    max_steps: int = 300,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Relaxed]:
    """Relax all structures, each to its own convergence; the order is kept.

    cell: "fixed", "full" (all six strains), "volume" (shape only), "x", "y" or "z" (stretch along one Cartesian axis
    only), or six booleans, the strains that are free in the order xx yy zz yz xz xy. pressure: eV/A^3, minimises the
    enthalpy E + P V. fixed: for each structure None or a mask (n,) of atoms that are held (they follow the cell).
    project: for each structure None or a linear projection of vectors on the atoms, (n, 3) -> (n, 3), that forces are
    replaced by: P with P P = P, such as the part along one direction. method: "lbfgs" or "fire", one or one per
    structure; where the energy line search of the first fails, the second takes over.

    With `relative`, a structure counts as converged below min(fmax, relative x its first fmax), but not tighter than
    `floor`: a weakly strained cell starts with small forces, and a fixed tolerance would stop before the first step.
    `symmetric` projects forces and stress on the space group, so that the crystal keeps it. `on_step(done, total)`
    reports progress. Errors: OptionError; the calculator's own where a structure cannot be evaluated at all.
    """
    count = len(structures)
    cells = _cell_freedom(cell, pressure)
    held, projections = _each(fixed, count, "fixed"), _each(project, count, "project")
    methods = [method] * count if isinstance(method, str) else _each(method, count, "method")
    if unknown := [m for m in methods if m not in METHODS]:
        raise OptionError(f"method={unknown[0]!r}; allowed: {', '.join(METHODS)}")
    jobs = []
    for atoms, mask, projection, name in zip(structures, held, projections, methods, strict=True):
        freedom = replace(
            cells, held=_mask(mask, len(atoms)), project=projection, symmetry=Symmetry(atoms) if symmetric else None
        )
        jobs.append(_Job(atoms, freedom, fmax, smax, relative, floor, name))
    properties = ("energy", "forces") if cells.free is None else ("energy", "forces", "stress")
    active = list(jobs)
    for step in range(max_steps + 1):
        trials = [job.trial_atoms() for job in active]
        for job, result in zip(active, evaluator.evaluate(trials, properties, errors="return"), strict=True):
            job.receive(result, last=step == max_steps)
        active = [job for job in active if not job.done]
        if on_step:
            on_step(len(jobs) - len(active), len(jobs))
        if not active:
            break
    return [job.result() for job in jobs]


def _each(values: Sequence[Any] | None, count: int, name: str) -> list[Any]:
    out = [None] * count if values is None else list(values)
    if len(out) != count:
        raise OptionError(f"{name} has {len(out)} entries for {count} structures")
    return out


def _mask(mask: Any, n: int) -> np.ndarray | None:
    if mask is None:
        return None
    array = np.asarray(mask)
    if array.shape != (n,) or array.dtype != bool:
        raise OptionError(f"fixed: a mask of shape {array.shape}, {array.dtype}; expected ({n},) booleans")
    return array


def _cell_freedom(cell: str | Sequence[bool], pressure: float) -> Freedom:
    names = ("fixed", "full", "volume", *AXES)
    free = np.zeros((3, 3), dtype=bool)
    if isinstance(cell, str) and cell in names:
        if cell in AXES:
            free[AXES[cell], AXES[cell]] = True
        else:
            free[:] = True
    elif not isinstance(cell, str) and len(cell) == 6 and all(isinstance(c, bool | np.bool_) for c in cell):
        for on, (k, m) in zip(cell, VOIGT, strict=True):
            free[k, m] = free[m, k] = bool(on)
        cell = "mask" if free.any() else "fixed"
    else:
        raise OptionError(f"cell={cell!r}; allowed: {', '.join(names)}, or six booleans (xx yy zz yz xz xy)")
    if pressure and cell in ("fixed", "volume"):
        raise OptionError(f"pressure={pressure:g} eV/A^3 does nothing with cell={cell!r}; free the cell")
    return Freedom(None if cell == "fixed" else free, cell == "volume", float(pressure))


class _Job:
    """State of one structure: accepted point, minimiser, trial point."""

    def __init__(self, atoms, freedom, fmax, smax, relative, floor, method="lbfgs"):
        self.start = atoms.copy()
        self.start.calc = None
        self.freedom, self.smax_limit = freedom, smax
        self.fmax_limit, self.relative, self.floor = fmax, relative, floor
        self.n = len(atoms)
        self.scale = LENGTH * np.sqrt(max(self.n, 1))
        self.x = np.concatenate([atoms.positions.ravel(), np.zeros(9)])
        self.trial = self.x.copy()
        self.energy = self.enthalpy = self.gradient = self.raw = None
        self.fmax = self.smax = self.fmax_start = np.inf
        self.mover = METHODS[method](self._limited)
        self.methods = [method]
        self.steps = self.waiting = 0
        self.best = np.inf, np.inf
        self.done, self.converged, self.reason = False, False, ""

    # -- coordinates ---------------------------------------------------------------------------------------------

    def _frame(self, x: np.ndarray):
        log = x[3 * self.n :].reshape(3, 3) / self.scale
        values, vectors = np.linalg.eigh((log + log.T) / 2)
        return values, vectors, (vectors * np.exp(values)) @ vectors.T

    def atoms_at(self, x: np.ndarray) -> Atoms:
        atoms = self.start.copy()
        if self.freedom.free is None:
            atoms.positions = x[: 3 * self.n].reshape(-1, 3)
            return atoms
        _, _, deformation = self._frame(x)
        atoms.cell[:] = self.start.cell.array @ deformation
        atoms.positions = x[: 3 * self.n].reshape(-1, 3) @ deformation
        return atoms

    def trial_atoms(self) -> Atoms:
        return self.atoms_at(self.trial)

    def _gradient(self, x: np.ndarray, result: dict) -> tuple[np.ndarray, float, float, float]:
        """Gradient in the coordinates x, largest force, largest free stress component, P V."""
        forces = self.freedom.vectors(result["forces"])
        fmax = float(np.sqrt(np.einsum("na,na->n", forces, forces).max(initial=0.0)))
        if self.freedom.free is None:
            return np.concatenate([-forces.ravel(), np.zeros(9)]), fmax, 0.0, 0.0
        stress = self.freedom.tensor(from_voigt(result["stress"]))
        values, q, deformation = self._frame(x)
        volume = abs(np.linalg.det(self.start.cell.array @ deformation))
        whole = from_voigt(result["stress"]) + self.freedom.pressure * np.eye(3)
        if self.freedom.symmetry is not None:
            whole = self.freedom.symmetry.tensor(whole)
        inner = q.T @ (volume * whole @ np.linalg.inv(deformation)) @ q
        gap = values[:, None] - values[None, :]
        e = np.exp(values)
        same = np.abs(gap) < 1e-8
        gamma = np.where(same, (e[:, None] + e[None, :]) / 2, (e[:, None] - e[None, :]) / np.where(same, 1.0, gap))
        log = self.freedom.log(q @ (gamma * inner) @ q.T)
        gradient = np.concatenate([(-forces @ deformation).ravel(), log.ravel() / self.scale])
        return gradient, fmax, float(np.abs(stress).max()), self.freedom.pressure * volume

    # -- one evaluation ------------------------------------------------------------------------------------------

    def receive(self, result, last: bool) -> None:
        """Take the trial point's energy and forces; accept or reject it and propose the next one."""
        if isinstance(result, Exception):
            if self.energy is None:
                raise result
            self._reject(f"the calculator fails on the way: {result}")
        else:
            gradient, fmax, smax, work = self._gradient(self.trial, result)
            enthalpy = result["energy"] + work
            if self.energy is not None and not self.mover.accepts(
                enthalpy - self.enthalpy, self.enthalpy, self.n, gradient, self.gradient
            ):
                self._reject("the energy rises along its own forces: discontinuous, noisy or inconsistent forces")
            else:
                self._accept(result, enthalpy, gradient, fmax, smax)
        self._watch()
        if last and not self.done:
            self.done, self.reason = True, f"not converged after {self.steps} steps"

    def _watch(self) -> None:
        """Give up when neither force nor energy has fallen for a while: noise, not a minimum, is left."""
        force, energy = self.best
        total = self.fmax + self.smax
        if total < 0.95 * force or self.enthalpy < energy - 1e-7 * self.n:
            self.best, self.waiting = (min(force, total), min(energy, self.enthalpy)), 0
            return
        self.waiting += 1
        if self.waiting > self.mover.patience and not self.done:
            self.done = True
            self.reason = f"the forces stopped falling at {self.fmax:.2g} eV/A: noise or a discontinuity"

    def _accept(self, result, enthalpy, gradient, fmax, smax) -> None:
        moved = change = None
        if self.energy is None:
            self.fmax_start = fmax
            if self.relative is not None:
                self.fmax_limit = max(self.floor, min(self.fmax_limit, self.relative * fmax))
        else:
            moved, change = self.trial - self.x, gradient - self.gradient
            self.steps += 1
        self.x, self.energy, self.enthalpy, self.gradient, self.raw = (
            self.trial, result["energy"], enthalpy, gradient, result
        )  # fmt: skip
        self.fmax, self.smax = fmax, smax
        if fmax <= self.fmax_limit and (self.freedom.free is None or smax <= self.smax_limit):
            self.done = self.converged = True
            return
        self.trial = self.x + self.mover.advance(gradient, moved, change)

    def _reject(self, reason: str) -> None:
        step = self.mover.retreat(self.gradient)
        if step is None and self.mover.name == "lbfgs":  # its line search has failed; forces alone may still do
            self.mover, self.waiting = METHODS["fire"](self._limited), 0
            self.methods.append("fire")
            step = self.mover.advance(self.gradient, None, None)
        if step is None:
            self.done, self.reason = True, f"{reason} (fmax {self.fmax:.2g} eV/A)"
            return
        self.trial = self.x + step

    def _limited(self, step: np.ndarray) -> np.ndarray:
        moves = np.sqrt(np.einsum("na,na->n", *[step.reshape(-1, 3)] * 2))
        moves[self.n :] /= np.sqrt(max(self.n, 1))
        longest = moves.max(initial=0.0)
        return step * (MAX_MOVE / longest) if longest > MAX_MOVE else step

    def result(self) -> Relaxed:
        return Relaxed(
            self.atoms_at(self.x), self.energy, self.raw["forces"], self.raw.get("stress"), self.fmax, self.smax,
            self.fmax_start, self.steps, self.converged, self.reason, ", ".join(self.methods), self.enthalpy,
        )  # fmt: skip
