"""Search for the radial coefficients: Levenberg-Marquardt on the projected objective, from several starts.

A step solves (H + d diag H) step = -g with the Gauss-Newton matrix H and gradient g of `fit_problem`; the damping d
follows the ratio of gained and expected decrease (Nielsen, IMM-REP-1999-05, Technical University of Denmark). The scale
of every radial function mu is free, because the moment coefficients take it up, and is set to one after each step.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from ...core.errors import FitError, OptionError
from ...files.text import write_atomic
from .fit_problem import Linear, Problem

DAMPING = 1e-2
MOST = 1e8
"""Damping at which no step downhill is left."""
PATIENCE = 4
"""Steps in a row below the tolerance that end a search."""


@dataclass
class State:
    """Where a search is. radial: present coefficients; iteration: steps done; small: steps in a row with little gain;
    objectives: after each step."""

    radial: np.ndarray
    damping: float = DAMPING
    growth: float = 2.0
    iteration: int = 0
    small: int = 0
    done: bool = False
    objectives: list[float] = field(default_factory=list)


def normalised(radial: np.ndarray) -> np.ndarray:
    """Every radial function mu with coefficients of norm one per pair of species."""
    norm = np.sqrt((radial**2).sum(axis=(0, 1, 3), keepdims=True) / (radial.shape[0] * radial.shape[1]))
    return radial / np.where(norm > 0, norm, 1.0)


def start(shape: tuple[int, ...], seed: int, number: int) -> np.ndarray:
    """Radial coefficients (C, C, K, R) to begin with: number 0 is the plain Chebyshev series with some noise, the
    others are drawn at random."""
    rng = np.random.default_rng([seed, number])
    noise = rng.normal(size=shape)
    if number:
        return normalised(noise)
    plain = np.zeros(shape)
    for mu in range(shape[2]):
        plain[:, :, mu, mu % shape[3]] = 1.0
    return normalised(plain + 0.1 * noise)


def search(
    problem: Problem,
    state: State,
    iterations: int,
    tolerance: float,
    told: Callable[[State], None] | None = None,
) -> Linear:
    """Go on from `state`, which is changed in place, up to `iterations` steps; `told` is called after each.

    Returns the linear coefficients for state.radial. Raises FitError.
    """
    linear = problem.linear(state.radial)
    while not state.done and state.iteration < iterations:
        matrix, gradient = problem.radial_system(state.radial, linear)
        found = _step(problem, state, linear, matrix, gradient)
        if found is None:
            state.done = True
        else:
            gain = 1.0 - found.objective / linear.objective if linear.objective > 0 else 0.0
            linear = found
            state.small = state.small + 1 if gain < tolerance else 0
            state.iteration += 1
            state.objectives.append(linear.objective)
            state.done = state.small >= PATIENCE
        if told is not None:
            told(state)
    return linear


def _step(problem: Problem, state: State, linear: Linear, matrix: np.ndarray, gradient: np.ndarray) -> Linear | None:
    """One step downhill, with more damping until there is one; None when there is none."""
    diagonal = np.diag(matrix).clip(min=0.0)
    diagonal = diagonal + 1e-12 * diagonal.max(initial=0.0)
    if not (np.isfinite(matrix).all() and np.isfinite(gradient).all()):
        raise FitError("derivatives of the fit are not finite; check the structures and cutoffs")
    if diagonal.max(initial=0.0) == 0.0:
        return None  # nothing depends on the radial functions
    while state.damping < MOST:
        step = -np.linalg.solve(matrix + state.damping * np.diag(diagonal), gradient)
        expected = float(-2.0 * gradient @ step - step @ matrix @ step)
        radial = normalised(state.radial + step.reshape(state.radial.shape))
        found = problem.linear(radial)
        if np.isfinite(found.objective) and found.objective < linear.objective and expected > 0:
            ratio = (linear.objective - found.objective) / expected
            state.damping = max(1e-9, state.damping * max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3))
            state.growth, state.radial = 2.0, radial
            return found
        state.damping *= state.growth
        state.growth *= 2.0
    problem.linear(state.radial)  # the columns that the problem keeps are those of the present coefficients again
    return None


# -- a state on disk -----------------------------------------------------------------------------------------


class Keeper:
    """The state of a whole fit in one file, written so that a cut-off leaves the last one whole.

    `key` tells data and settings apart: a file of another fit is refused. `stage` names a search; the states of
    finished searches stay, so that nothing is done twice.
    """

    def __init__(self, path: str, key: str, every: int):
        self.path, self.key, self.every = Path(path).expanduser() if path else None, key, every
        self.states: dict[str, State] = {}
        if self.path is not None and self.path.exists():
            self.states = self._read()

    def state(self, stage: str, radial: Callable[[], np.ndarray]) -> State:
        """The kept state of a stage, or a new one."""
        if stage not in self.states:
            self.states[stage] = State(radial())
        return self.states[stage]

    def told(self, stage: str, state: State) -> None:
        """Keep a state; on disk every few iterations and when it is done."""
        self.states[stage] = state
        if state.done or state.iteration % self.every == 0:
            self.write()

    def write(self) -> None:
        if self.path is None:
            return
        arrays: dict[str, np.ndarray] = {"key": np.array(self.key)}
        for stage, state in self.states.items():
            for f in fields(State):
                arrays[f"{stage}/{f.name}"] = np.array(getattr(state, f.name))
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, buffer.getvalue())

    def _read(self) -> dict[str, State]:
        assert self.path is not None
        try:
            with self.path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            key = str(arrays.pop("key"))
            stages: dict[str, dict] = {}
            for name, value in arrays.items():
                stage, _, part = name.rpartition("/")
                stages.setdefault(stage, {})[part] = value
            states = {stage: _state(parts) for stage, parts in stages.items()}
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise OptionError(f"{self.path} holds no state of a fit ({error}); name another file for it") from error
        if key != self.key:
            raise OptionError(
                f"{self.path} is the state of a fit to other data or settings; go on with those, or name another file"
            )
        return states


def _state(parts: dict[str, np.ndarray]) -> State:
    kinds = {"damping": float, "growth": float, "iteration": int, "small": int, "done": bool}
    values = {name: kind(parts[name]) for name, kind in kinds.items()}
    return State(radial=np.array(parts["radial"], dtype=float), objectives=parts["objectives"].tolist(), **values)
