"""Nudged elastic bands, many at once: every image of every band in one batched evaluation per step.

Band R_0 ... R_M with fixed ends. With the improved tangent t (G. Henkelman and H. Jonsson, J. Chem. Phys. 113, 9978,
doi:10.1063/1.1323224) the force on image i is

    F_i = F_i - (F_i . t) t + k (|R_{i+1} - R_i| - |R_i - R_{i-1}|) t,

and on the highest image, once the band is near the path, F_i - 2 (F_i . t) t: it climbs to the saddle point
(G. Henkelman, B. P. Uberuaga and H. Jonsson, J. Chem. Phys. 113, 9901, doi:10.1063/1.1329672). The first path follows
interpolated pair distances (S. Smidstrup et al., J. Chem. Phys. 140, 214106, doi:10.1063/1.4878664). Each band moves by
its own L-BFGS on the projected forces, and by FIRE (E. Bitzek et al., Phys. Rev. Lett. 97, 170201,
doi:10.1103/PhysRevLett.97.170201) when that stops converging: projected forces are no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list
from scipy.optimize import minimize

from calczoo.core.errors import OptionError

from .engine import Evaluator

SPRING = 2.0  # eV/A^2
CLIMB_BELOW = 0.3  # eV/A, forces below which the highest image starts to climb
MEMORY = 20
STIFFNESS = 20.0  # eV/A^2, first guess of the curvature
MAX_MOVE = 0.1  # A, largest move of one atom in one step
PATIENCE = 40  # steps without less force before the optimiser is changed, and twice that before a band is given up
MAX_FAILED = 8
WORSE, HARMLESS = 2.5, 0.5  # a step that raises the force by this factor, above so many eV/A, is taken back
MAX_BACK = 6  # times in a row
IDPP_CUTOFF = 5.0  # A


@dataclass
class Path:
    """A converged (or abandoned) band.

    distances  path length up to each image, A;  energies in eV above the first image
    slopes     dE/ds along the path, eV/A;  curve  (s, E) points of the spline through both
    """

    images: list[Atoms]
    distances: np.ndarray
    energies: np.ndarray
    slopes: np.ndarray
    fmax: float
    steps: int
    converged: bool
    reason: str = ""

    @property
    def saddle(self) -> int:
        """The highest image between the ends."""
        return 1 + int(self.energies[1:-1].argmax())

    @property
    def barrier(self) -> float:
        """Energy of the climbing image above the first one."""
        return float(self.energies[self.saddle])

    @property
    def reverse(self) -> float:
        return float(self.energies[self.saddle] - self.energies[-1])

    @property
    def spline_maximum(self) -> float:
        """Highest point of the interpolation: what more images could still find."""
        return float(self.curve(40)[1].max())

    def curve(self, per_segment: int = 20) -> tuple[np.ndarray, np.ndarray]:
        """Cubic Hermite spline through energies and slopes."""
        s, e = [self.distances[:1]], [self.energies[:1]]
        u = np.linspace(0, 1, per_segment + 1)[1:]
        for k in range(len(self.distances) - 1):
            h = self.distances[k + 1] - self.distances[k]
            start, end, left, right = self.energies[k], self.energies[k + 1], self.slopes[k] * h, self.slopes[k + 1] * h
            cubic = u**2 * (3 - 2 * u)
            s.append(self.distances[k] + u * h)
            e.append(start + cubic * (end - start) + u * (u - 1) ** 2 * left + u**2 * (u - 1) * right)
        return np.concatenate(s), np.concatenate(e)

    def valleys(self, depth: float = 0.01) -> list[int]:
        """Images between the ends that lie lower than both neighbouring humps by `depth` eV: intermediate minima."""
        found = []
        for k in range(1, len(self.energies) - 1):
            left, right = self.energies[:k].max(initial=-np.inf), self.energies[k + 1 :].max(initial=-np.inf)
            lower = self.energies[k] <= self.energies[k - 1] and self.energies[k] <= self.energies[k + 1]
            if lower and min(left, right) - self.energies[k] > depth:
                found.append(k)
        return found


# -- first path --------------------------------------------------------------------------------------------------------


def linear_path(start: Atoms, end: Atoms, images: int) -> list[Atoms]:
    """start, `images` intermediate structures and end, on straight lines to the nearest periodic images."""
    if images < 1:
        raise OptionError(f"images={images}; a band needs at least one between its ends")
    if len(start) != len(end) or (start.numbers != end.numbers).any():
        raise OptionError("both ends of a band need the same atoms in the same order")
    moves = find_mic(end.positions - start.positions, start.cell, pbc=start.pbc)[0]
    out = []
    for fraction in np.linspace(0, 1, images + 2):
        image = start.copy()
        image.calc = None
        image.positions = start.positions + fraction * moves
        out.append(image)
    return out


def idpp_path(start: Atoms, end: Atoms, images: int, steps: int = 100) -> list[Atoms]:
    """The linear path with each image's pair distances d pulled to those interpolated between the ends.

    Minimises sum over pairs of (d - d_target)^2 / d^4, over pairs nearer than 5 A in one of the ends.
    """
    path = linear_path(start, end, images)
    pairs = set()
    for image in (path[0], path[-1]):
        for i, j, shift in zip(*neighbor_list("ijS", image, IDPP_CUTOFF), strict=True):
            if i < j or (i == j and tuple(shift) > (0, 0, 0)):
                pairs.add((int(i), int(j), *(int(x) for x in shift)))
    if not pairs:
        return path
    table = np.array(sorted(pairs))
    i, j, shift = table[:, 0], table[:, 1], table[:, 2:] @ start.cell.array
    ends = [np.linalg.norm(p.positions[j] + shift - p.positions[i], axis=1) for p in (path[0], path[-1])]

    def objective(x: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
        r = x.reshape(-1, 3)
        vector = r[j] + shift - r[i]
        d = np.maximum(np.linalg.norm(vector, axis=1), 1e-3)
        gap = d - target
        slope = (2 * gap / d**4 - 4 * gap**2 / d**5) / d
        gradient = np.zeros_like(r)
        np.add.at(gradient, j, slope[:, None] * vector)
        np.add.at(gradient, i, -slope[:, None] * vector)
        return float((gap**2 / d**4).sum()), gradient.ravel()

    for image, fraction in zip(path[1:-1], np.linspace(0, 1, images + 2)[1:-1], strict=True):
        target = (1 - fraction) * ends[0] + fraction * ends[1]
        got = minimize(
            objective, image.positions.ravel(), args=(target,), jac=True, method="L-BFGS-B",
            options={"maxiter": steps, "gtol": 1e-5},
        )  # fmt: skip
        if np.isfinite(got.x).all():
            image.positions = got.x.reshape(-1, 3)
    return path


# -- bands -------------------------------------------------------------------------------------------------------------


def neb(
    evaluator: Evaluator,
    paths: Sequence[Sequence[Atoms]],
    *,
    fmax: float = 0.01,
    max_steps: int = 300,
    spring: float = SPRING,
    climb: bool = True,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Relax all bands, each until its largest projected force is below `fmax` (eV/A); the order is kept.

    A path is [start, images..., end] with relaxed ends, as `idpp_path` makes it. Raises what the evaluation of the
    first path raises.
    """
    if any(len(path) < 3 for path in paths):
        raise OptionError("a path needs its two ends and at least one image between them")
    ends = evaluator.evaluate([a for path in paths for a in (path[0], path[-1])], ("energy", "forces"))
    bands = [_Band(p, ends[2 * k], ends[2 * k + 1], fmax, spring, climb) for k, p in enumerate(paths)]
    active = list(bands)
    for step in range(max_steps + 1):
        trials = [a for band in active for a in band.trial_images()]
        got = iter(evaluator.evaluate(trials, ("energy", "forces"), errors="return"))
        for band in active:
            band.receive([next(got) for _ in range(band.inner)], last=step == max_steps)
        active = [b for b in active if not b.done]
        if on_step:
            on_step(len(bands) - len(active), len(bands))
        if not active:
            break
    return [band.path() for band in bands]


class _Band:
    """State of one band: accepted images, their energies and forces, optimiser memory."""

    def __init__(self, path, start: dict, end: dict, fmax: float, spring: float, climb: bool):
        self.images = [a.copy() for a in path]
        self.inner = len(path) - 2
        self.limit, self.spring, self.may_climb, self.climbing = fmax, spring, climb, False
        self.x = np.array([a.positions for a in path])
        self.trial = self.x.copy()
        self.energy = np.array([start["energy"], *[np.nan] * self.inner, end["energy"]])
        self.raw = np.zeros_like(self.x)
        self.raw[0], self.raw[-1] = start["forces"], end["forces"]
        self.force: np.ndarray | None = None
        self.fmax = self.best = np.inf
        self.steps = self.failed = self.waiting = self.back = 0
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self.fire: _Fire | None = None
        self.done, self.converged, self.reason = False, False, ""

    def trial_images(self) -> list[Atoms]:
        out = []
        for k in range(1, self.inner + 1):
            image = self.images[k].copy()
            image.positions = self.trial[k]
            out.append(image)
        return out

    def receive(self, results: list, last: bool) -> None:
        """Take energies and forces of the trial images and propose the next ones."""
        broken = next((r for r in results if isinstance(r, Exception)), None)
        if broken is not None:
            self._fail(broken)
        else:
            self._accept(results)
        if last and not self.done:
            self.done, self.reason = True, f"not converged after {self.steps} steps"

    def _fail(self, error: Exception) -> None:
        if self.force is None:
            raise error
        self.failed += 1
        self.pairs = []
        self.trial = self.x + 0.3 * (self.trial - self.x)
        if self.failed > MAX_FAILED:
            self.done, self.reason = True, f"the calculator fails on the way: {error}"

    def _accept(self, results: list) -> None:
        moved, before = self.trial - self.x, (self.x, self.energy.copy(), self.raw.copy())
        self.energy[1:-1] = [r["energy"] for r in results]
        self.raw[1:-1] = [r["forces"] for r in results]
        self.x = self.trial
        force = self._projected()
        largest = float(np.linalg.norm(force, axis=2).max())
        if self.force is not None and largest > max(WORSE * self.fmax, HARMLESS) and self.back < MAX_BACK:
            self.x, self.energy, self.raw = before
            self._take_back()
            return
        self.back = 0
        if self.force is not None:
            self.steps += 1
            s, y = moved[1:-1].ravel(), (self.force - force).ravel()
            if s @ y > 1e-6 * np.linalg.norm(s) * np.linalg.norm(y):
                self.pairs = [*self.pairs, (s, y)][-MEMORY:]
        self.force, self.failed, self.fmax = force, 0, largest
        if self.may_climb and not self.climbing and self.fmax < max(CLIMB_BELOW, self.limit):
            self.climbing, self.pairs, self.best = True, [], np.inf
            self.force = self._projected()
            self.fmax = float(np.linalg.norm(self.force, axis=2).max())
        if self.fmax <= self.limit and (self.climbing or not self.may_climb):
            self.done = self.converged = True
            return
        self._watch()
        self._propose()

    def _take_back(self) -> None:
        """The step overshot: forget the curvature and take a shorter one along the forces."""
        self.back += 1
        self.steps += 1
        self.pairs = []
        if self.fire is not None:
            self.fire = _Fire(self.force.shape)
        step = self.force / STIFFNESS
        longest = np.linalg.norm(step, axis=2).max()
        self.trial = self.x.copy()
        self.trial[1:-1] += step * min(1.0, MAX_MOVE / longest) * 0.4**self.back

    def _watch(self) -> None:
        if self.fmax < 0.9 * self.best:
            self.best, self.waiting = self.fmax, 0
            return
        self.waiting += 1
        if self.waiting > PATIENCE and self.fire is None:
            self.fire, self.waiting = _Fire(self.force.shape), 0
        elif self.waiting > 3 * PATIENCE:
            self.done, self.reason = True, f"the forces stopped falling at {self.fmax:.2g} eV/A"

    # -- forces of the band --------------------------------------------------------------------------------------------

    def tangents(self) -> np.ndarray:
        """Unit tangents (images, n, 3) of the whole band; at the ends along the only neighbour."""
        step, energy, out = np.diff(self.x, axis=0), self.energy, np.empty_like(self.x)
        out[0], out[-1] = step[0], step[-1]
        for k in range(1, self.inner + 1):
            ahead, behind = energy[k + 1] - energy[k], energy[k - 1] - energy[k]
            if ahead > 0 > behind:
                out[k] = step[k]
            elif ahead < 0 < behind:
                out[k] = step[k - 1]
            else:
                high, low = max(abs(ahead), abs(behind)), min(abs(ahead), abs(behind))
                up = energy[k + 1] > energy[k - 1]
                out[k] = step[k] * (high if up else low) + step[k - 1] * (low if up else high)
                if not np.any(out[k]):
                    out[k] = step[k] + step[k - 1]
        return out / np.maximum(np.linalg.norm(out, axis=(1, 2), keepdims=True), 1e-12)

    def _projected(self) -> np.ndarray:
        tangent, out = self.tangents(), np.empty_like(self.x[1:-1])
        length = np.linalg.norm(np.diff(self.x, axis=0), axis=(1, 2))
        top = 1 + int(self.energy[1:-1].argmax())
        for k in range(1, self.inner + 1):
            along = (self.raw[k] * tangent[k]).sum()
            if self.climbing and k == top:
                out[k - 1] = self.raw[k] - 2 * along * tangent[k]
            else:
                pull = self.spring * (length[k] - length[k - 1])
                out[k - 1] = self.raw[k] + (pull - along) * tangent[k]
        return out

    # -- optimiser -----------------------------------------------------------------------------------------------------

    def _propose(self) -> None:
        step = self._lbfgs() if self.fire is None else self.fire.step(self.force)
        longest = np.linalg.norm(step, axis=2).max()
        if longest > MAX_MOVE:
            step = step * (MAX_MOVE / longest)
        self.trial = self.x.copy()
        self.trial[1:-1] += step

    def _lbfgs(self) -> np.ndarray:
        """Two-loop recursion on the projected forces; steepest descent where it would go against them."""
        q, alphas = -self.force.ravel(), []
        for s, y in reversed(self.pairs):
            alphas.append(s @ q / (s @ y))
            q = q - alphas[-1] * y
        if self.pairs:
            s, y = self.pairs[-1]
            q = q * (s @ y / (y @ y))
        else:
            q = q / STIFFNESS
        for (s, y), alpha in zip(self.pairs, reversed(alphas), strict=True):
            q = q + s * (alpha - y @ q / (s @ y))
        if q @ self.force.ravel() >= 0:
            self.pairs = []
            return self.force / STIFFNESS
        return -q.reshape(self.force.shape)

    def path(self) -> Path:
        tangent = self.tangents()
        slopes = -(self.raw * tangent).sum(axis=(1, 2))
        length = np.linalg.norm(np.diff(self.x, axis=0), axis=(1, 2))
        images = []
        for image, positions in zip(self.images, self.x, strict=True):
            image.positions = positions
            images.append(image)
        return Path(
            images, np.concatenate([[0.0], np.cumsum(length)]), self.energy - self.energy[0], slopes, self.fmax,
            self.steps, self.converged, self.reason,
        )  # fmt: skip


class _Fire:
    """FIRE for one band as a whole, unit masses."""

    def __init__(self, shape: tuple[int, ...]):
        self.v = np.zeros(shape)
        self.dt, self.alpha, self.since = 0.1, 0.1, 0

    def step(self, force: np.ndarray) -> np.ndarray:
        power = float((force * self.v).sum())
        if power > 0:
            unit = force / max(np.linalg.norm(force), 1e-12)
            self.v = (1 - self.alpha) * self.v + self.alpha * np.linalg.norm(self.v) * unit
            self.since += 1
            if self.since > 5:
                self.dt, self.alpha = min(1.1 * self.dt, 0.4), 0.99 * self.alpha
        else:
            self.v[:] = 0.0
            self.dt, self.alpha, self.since = 0.5 * self.dt, 0.1, 0
        self.v = self.v + self.dt * force
        return self.dt * self.v
