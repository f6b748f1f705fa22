"""Relaxation of many structures at once: L-BFGS, one batched evaluation per step for all that still move.

Degrees of freedom of one structure: positions y in the frame of the starting cell (n, 3) and, when the cell is free,
the symmetric logarithm L (3, 3) of its deformation,

    cell = cell_0 exp(L),  r = y exp(L),
    dE/dy = -F exp(L),  dE/dL = Q [Gamma o (Q^T V sigma exp(-L) Q)] Q^T,
    Gamma_ij = (e^l_i - e^l_j) / (l_i - l_j)   (Daleckii-Krein; l, Q eigenvalues and -vectors of L),

the log-strain coordinates of the Frechet cell filter. L is scaled by sqrt(n) LENGTH so that its curvature resembles
that of the positions. Removing tr(dE/dL) keeps the volume exactly (tr L = ln V/V_0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from calczoo.core.errors import OptionError

from .engine import Evaluator
from .strain import from_voigt
from .symmetry import Symmetry

LENGTH = 2.0  # A, makes V C_ij / (n LENGTH^2) of the order of an interatomic force constant
MEMORY = 20
MAX_MOVE = 0.2  # A, largest move of one atom in one step
STIFFNESS = 20.0  # eV/A^2, first guess of the curvature
MAX_REJECTED = 12
PATIENCE = 40  # evaluations without less force or less energy before a structure is given up


@dataclass
class Relaxed:
    """Outcome for one structure; `fmax` (eV/A) and `smax` (eV/A^3) are what remains of the free components."""

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


def relax(
    evaluator: Evaluator,
    structures: Sequence[Atoms],
    *,
    cell: str = "fixed",
    fmax: float = 1e-4,
    smax: float = 2e-6,
    relative: float | None = None,
    floor: float = 1e-6,
    symmetric: bool = False,
    max_steps: int = 300,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Relaxed]:
    """Relax all structures, each to its own convergence; the order is kept.

    cell: "fixed", "full" (all six strains) or "volume" (shape only). With `relative`, a structure counts as converged
    below min(fmax, relative x its first fmax), but not tighter than `floor`: a weakly strained cell starts with small
    forces, and a fixed tolerance would stop before the first step. `symmetric` projects forces and stress on the
    space group, so that the crystal keeps it. `on_step(done, total)` reports progress.
    """
    if cell not in ("fixed", "full", "volume"):
        raise OptionError(f"cell={cell!r}; allowed: fixed, full, volume")
    jobs = [_Job(a, cell, fmax, smax, relative, floor, Symmetry(a) if symmetric else None) for a in structures]
    properties = ("energy", "forces") if cell == "fixed" else ("energy", "forces", "stress")
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


class _Job:
    """State of one structure: accepted point, L-BFGS memory, trial point."""

    def __init__(self, atoms, cell, fmax, smax, relative, floor, symmetry):
        self.start = atoms.copy()
        self.start.calc = None
        self.mode, self.smax_limit, self.symmetry = cell, smax, symmetry
        self.fmax_limit, self.relative, self.floor = fmax, relative, floor
        self.n = len(atoms)
        self.scale = LENGTH * np.sqrt(self.n)
        self.x = np.concatenate([atoms.positions.ravel(), np.zeros(9)])
        self.trial, self.step = self.x.copy(), np.zeros_like(self.x)
        self.energy = self.gradient = self.raw = None
        self.fmax = self.smax = self.fmax_start = np.inf
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self.steps = self.rejected = self.waiting = 0
        self.best = np.inf, np.inf
        self.done, self.converged, self.reason = False, False, ""

    # -- coordinates ---------------------------------------------------------------------------------------------

    def _frame(self, x: np.ndarray):
        log = x[3 * self.n :].reshape(3, 3) / self.scale
        values, vectors = np.linalg.eigh((log + log.T) / 2)
        return values, vectors, (vectors * np.exp(values)) @ vectors.T

    def atoms_at(self, x: np.ndarray) -> Atoms:
        atoms = self.start.copy()
        if self.mode == "fixed":
            atoms.positions = x[: 3 * self.n].reshape(-1, 3)
            return atoms
        _, _, deformation = self._frame(x)
        atoms.set_cell(self.start.cell.array @ deformation, scale_atoms=False)
        atoms.positions = x[: 3 * self.n].reshape(-1, 3) @ deformation
        return atoms

    def trial_atoms(self) -> Atoms:
        return self.atoms_at(self.trial)

    def _gradient(self, x: np.ndarray, result: dict) -> tuple[np.ndarray, float, float]:
        """Gradient in the coordinates x, largest force, largest free stress component."""
        forces = result["forces"]
        if self.symmetry:
            forces = self.symmetry.vectors(forces)
        fmax = float(np.linalg.norm(forces, axis=1).max(initial=0.0))
        if self.mode == "fixed":
            return np.concatenate([-forces.ravel(), np.zeros(9)]), fmax, 0.0
        stress = from_voigt(result["stress"])
        if self.symmetry:
            stress = self.symmetry.tensor(stress)
        if self.mode == "volume":
            stress = stress - np.trace(stress) / 3 * np.eye(3)
        values, q, deformation = self._frame(x)
        volume = abs(np.linalg.det(self.start.cell.array @ deformation))
        inner = q.T @ (volume * stress @ np.linalg.inv(deformation)) @ q
        gap = values[:, None] - values[None, :]
        e = np.exp(values)
        same = np.abs(gap) < 1e-8
        gamma = np.where(same, (e[:, None] + e[None, :]) / 2, (e[:, None] - e[None, :]) / np.where(same, 1.0, gap))
        log = q @ (gamma * inner) @ q.T
        log = (log + log.T) / 2
        if self.mode == "volume":
            log -= np.trace(log) / 3 * np.eye(3)
        gradient = np.concatenate([(-forces @ deformation).ravel(), log.ravel() / self.scale])
        return gradient, fmax, float(np.abs(stress).max())

    # -- one evaluation ------------------------------------------------------------------------------------------

    def receive(self, result, last: bool) -> None:
        """Take the trial point's energy and forces; accept or reject it and propose the next one."""
        if isinstance(result, Exception):
            if self.energy is None:
                raise result
            self._reject(f"the calculator fails on the way: {result}")
            return
        energy = result["energy"]
        gradient, fmax, smax = self._gradient(self.trial, result)
        if self.energy is not None and not self._acceptable(energy, gradient):
            self._reject("the energy rises along its own forces: discontinuous, noisy or inconsistent forces")
        else:
            self._accept(result, energy, gradient, fmax, smax)
        self._watch()
        if last and not self.done:
            self.done, self.reason = True, f"not converged after {self.steps} steps"

    def _watch(self) -> None:
        """Give up when neither force nor energy has fallen for a while: noise, not a minimum, is left."""
        force, energy = self.best
        total = self.fmax + self.smax
        if total < 0.95 * force or self.energy < energy - 1e-7 * self.n:
            self.best, self.waiting = (min(force, total), min(energy, self.energy)), 0
            return
        self.waiting += 1
        if self.waiting > PATIENCE and not self.done:
            self.done = True
            self.reason = f"the forces stopped falling at {self.fmax:.2g} eV/A: noise or a discontinuity"

    def _acceptable(self, energy: float, gradient: np.ndarray) -> bool:
        rise = energy - self.energy
        if rise <= 1e-11 * max(1.0, abs(self.energy)):
            return True
        # Within the noise of the energy the forces decide.
        return rise <= 1e-6 * self.n and np.linalg.norm(gradient) < np.linalg.norm(self.gradient)

    def _accept(self, result, energy, gradient, fmax, smax) -> None:
        if self.energy is None:
            self.fmax_start = fmax
            if self.relative is not None:
                self.fmax_limit = max(self.floor, min(self.fmax_limit, self.relative * fmax))
        else:
            s, y = self.trial - self.x, gradient - self.gradient
            if s @ y > 1e-10 * np.linalg.norm(s) * np.linalg.norm(y):
                self.pairs = [*self.pairs, (s, y)][-MEMORY:]
            self.steps += 1
        self.x, self.energy, self.gradient, self.raw = self.trial, energy, gradient, result
        self.fmax, self.smax, self.rejected = fmax, smax, 0
        if fmax <= self.fmax_limit and (self.mode == "fixed" or smax <= self.smax_limit):
            self.done = self.converged = True
            return
        self.step = self._limited(self._direction())
        self.trial = self.x + self.step

    def _reject(self, reason: str) -> None:
        self.rejected += 1
        if self.rejected > MAX_REJECTED:
            self.done, self.reason = True, f"{reason} (fmax {self.fmax:.2g} eV/A)"
            return
        if self.rejected == 3:  # the memory misleads: fall back on steepest descent
            self.pairs = []
            self.step = self._limited(-self.gradient / STIFFNESS)
        self.step = 0.3 * self.step
        self.trial = self.x + self.step

    def _direction(self) -> np.ndarray:
        """L-BFGS two-loop recursion (Nocedal 1980, doi:10.1090/S0025-5718-1980-0572855-7)."""
        q, alphas = self.gradient.copy(), []
        for s, y in reversed(self.pairs):
            alphas.append(s @ q / (s @ y))
            q -= alphas[-1] * y
        if self.pairs:
            s, y = self.pairs[-1]
            q *= s @ y / (y @ y)
        else:
            q /= STIFFNESS
        for (s, y), alpha in zip(self.pairs, reversed(alphas), strict=True):
            q += s * (alpha - y @ q / (s @ y))
        if q @ self.gradient <= 0:
            self.pairs = []
            return -self.gradient / STIFFNESS
        return -q

    def _limited(self, step: np.ndarray) -> np.ndarray:
        moves = np.linalg.norm(step.reshape(-1, 3), axis=1)
        moves[self.n :] /= np.sqrt(self.n)
        longest = moves.max(initial=0.0)
        return step * (MAX_MOVE / longest) if longest > MAX_MOVE else step

    def result(self) -> Relaxed:
        stress = self.raw.get("stress")
        return Relaxed(
            self.atoms_at(self.x), self.energy, self.raw["forces"], stress, self.fmax, self.smax,
            self.fmax_start, self.steps, self.converged, self.reason,
        )  # fmt: skip
