"""Two minimisers that propose one step at a time, so that many structures share each batched evaluation.

Lbfgs   L-BFGS (J. Nocedal, Math. Comput. 35, 773 (1980), doi:10.1090/S0025-5718-1980-0572855-7) with backtracking on
        the energy: few steps where energy and forces belong together.
Fire    damped dynamics (E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), doi:10.1103/PhysRevLett.97.170201, with
        the half step back of J. Guenole et al., Comput. Mater. Sci. 175, 109584 (2020),
        doi:10.1016/j.commatsci.2020.109584): looks at forces only, so it also works where the energy has small steps
        or is not quite the integral of the forces.

Both see plain vectors: `gradient` of the objective, and `limited(step)`, which bounds a step's largest move.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MEMORY = 20
STIFFNESS = 20.0  # eV/A^2, first guess of the curvature
MAX_REJECTED = 12

Limit = Callable[[np.ndarray], np.ndarray]


class Lbfgs:
    """Steps along the quasi-Newton direction; a step that raises the energy is shortened."""

    name = "lbfgs"
    patience = 40
    """Evaluations without less force or less energy before a structure is given up."""

    def __init__(self, limited: Limit):
        self.limited = limited
        self.pairs: list[tuple[np.ndarray, np.ndarray, float]] = []
        self.step: np.ndarray | None = None
        self.rejected = 0

    def accepts(self, rise: float, energy: float, n: int, gradient: np.ndarray, before: np.ndarray) -> bool:
        """Whether a trial point with so much more energy is an improvement; within the energy's noise forces decide."""
        if rise <= 1e-11 * max(1.0, abs(energy)):
            return True
        return rise <= 1e-6 * n and gradient @ gradient < before @ before

    def advance(self, gradient: np.ndarray, moved: np.ndarray | None, change: np.ndarray | None) -> np.ndarray:
        """The next step from an accepted point; `moved` and `change` are the last step and its change of gradient."""
        self.rejected = 0
        if moved is not None and change is not None:
            product = moved @ change
            if product > 1e-10 * np.sqrt((moved @ moved) * (change @ change)):
                self.pairs = [*self.pairs, (moved, change, product)][-MEMORY:]
        self.step = self.limited(self._direction(gradient))
        return self.step

    def retreat(self, gradient: np.ndarray) -> np.ndarray | None:
        """A shorter step after a refused one; None when the line search has failed."""
        self.rejected += 1
        if self.rejected > MAX_REJECTED or self.step is None:
            return None
        if self.rejected == 3:  # the memory misleads: fall back on steepest descent
            self.pairs = []
            self.step = self.limited(-gradient / STIFFNESS)
        self.step = 0.3 * self.step
        return self.step

    def _direction(self, gradient: np.ndarray) -> np.ndarray:
        """The two-loop recursion."""
        if not self.pairs:
            return -gradient / STIFFNESS
        q, alphas = gradient.copy(), []
        for s, y, product in reversed(self.pairs):
            alphas.append(s @ q / product)
            q -= alphas[-1] * y
        s, y, product = self.pairs[-1]
        q *= product / (y @ y)
        for (s, y, product), alpha in zip(self.pairs, reversed(alphas), strict=True):
            q += s * (alpha - y @ q / product)
        if q @ gradient <= 0:
            self.pairs = []
            return -gradient / STIFFNESS
        return -q


class Fire:
    """Dynamics of unit mass whose velocity is turned towards the force, and stopped when it runs uphill."""

    name = "fire"
    patience = 150

    FIRST, LONGEST, SHORTEST = 0.1, 0.4, 2e-3  # time steps; a spring of 25 eV/A^2 is stable up to 0.4
    START, DELAY = 0.25, 10

    def __init__(self, limited: Limit):
        self.limited = limited
        self.velocity: np.ndarray | None = None
        self.dt, self.mixing, self.downhill, self.rejected = self.FIRST, self.START, 0, 0

    def accepts(self, rise: float, energy: float, n: int, gradient: np.ndarray, before: np.ndarray) -> bool:
        return True

    def advance(self, gradient: np.ndarray, moved: np.ndarray | None, change: np.ndarray | None) -> np.ndarray:
        """The next step; see Lbfgs.advance."""
        self.rejected = 0
        back = 0.0
        if self.velocity is None:
            self.velocity = np.zeros_like(gradient)
        power = -(gradient @ self.velocity)
        if power > 0:
            self.downhill += 1
            if self.downhill > self.DELAY:
                self.dt, self.mixing = min(1.1 * self.dt, self.LONGEST), 0.99 * self.mixing
        elif self.velocity.any():
            back = -0.5 * self.dt * self.velocity
            self.downhill, self.mixing = 0, self.START
            self.dt = max(0.5 * self.dt, self.SHORTEST)
            self.velocity = np.zeros_like(gradient)
        v = self.velocity - self.dt * gradient
        force = np.sqrt(gradient @ gradient)
        if force > 0:
            v = (1.0 - self.mixing) * v - (self.mixing * np.sqrt(v @ v) / force) * gradient
        step = self.limited(self.dt * v)
        self.velocity = step / self.dt  # what the limit takes from the step it takes from the velocity
        return step + back

    def retreat(self, gradient: np.ndarray) -> np.ndarray | None:
        """A short step from rest where the calculator failed; None when it goes on failing."""
        self.rejected += 1
        if self.rejected > MAX_REJECTED:
            return None
        self.velocity, self.downhill, self.mixing = np.zeros_like(gradient), 0, self.START
        self.dt = max(0.3 * self.dt, self.SHORTEST)
        return 0.3**self.rejected * self.limited(-gradient / STIFFNESS)


METHODS = {m.name: m for m in (Lbfgs, Fire)}
