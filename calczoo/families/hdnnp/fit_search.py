"""The course of a training: epochs of one optimiser after the other, early stopping, and its state on disk."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...core.errors import FitError, OptionError
from ...files.text import write_atomic
from .fit_optimize import LBFGS, Adam, Arrays, Kalman, TrainProblem
from .fit_settings import FitSettings

SCORE = {"energy": 0.5, "forces": 1.0}
"""Default weights of the logarithms of the errors on the validation part; kinds that are not named have 1."""


@dataclass
class State:
    """Where a training is. stage, epoch: of the optimisers, done; theta (P,): to go on from; best (P,): with the best
    score of this stage and those before; stale: epochs since; arrays: of the optimiser; scores: after each epoch."""

    theta: torch.Tensor
    best: torch.Tensor
    best_score: float = float("inf")
    stage: int = 0
    epoch: int = 0
    stale: int = 0
    arrays: Arrays = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)

    @classmethod
    def new(cls, theta: torch.Tensor) -> State:
        return cls(theta, theta.clone())


def make_optimizer(name: str, s: FitSettings, edges: Sequence[int]) -> Kalman | Adam | LBFGS:
    if name == "kalman":
        decoupled = list(edges) if s.kalman_decoupled else None
        return Kalman(s.kalman_start, s.kalman_lambda, s.kalman_nue, s.batch, s.force_atoms, decoupled)
    if name == "adam":
        return Adam(s.learning_rate, s.ema, s.batch, s.decay)
    return LBFGS(s.decay)


def score_of(errors: Mapping[str, float], weights: Mapping[str, float] | None) -> float:
    """Weighted sum of logarithms of errors; lower is better."""
    use = SCORE if weights is None else weights
    return float(sum(use.get(k, 1.0 if weights is None else 0.0) * np.log(max(v, 1e-12)) for k, v in errors.items()))


def train(
    problem: TrainProblem,
    state: State,
    s: FitSettings,
    seed: int,
    train_part: Sequence[int],
    validation: Sequence[int],
    told: Callable[[State], None],
    errors: Callable[[torch.Tensor, Sequence[int]], Mapping[str, float]],
    edges: Sequence[int] = (),
) -> torch.Tensor:
    """Go on from `state`, which is changed in place, to the end of all epochs; told: called after each.

    errors(theta, which): RMS errors by kind. Without a validation part the errors on the training part count, and
    nothing ends early. Returns the best parameters. Raises FitError.
    """
    while True:
        name = s.stages[state.stage]
        optimizer = make_optimizer(name, s, edges)
        total = s.epochs_of(state.stage)
        while state.epoch < total and not (validation and state.stale >= s.patience_of(state.stage)):
            if not state.arrays:
                state.arrays = optimizer.begin(problem, state.theta)
            key = [seed, state.stage, state.epoch]
            before = state.theta
            state.theta, use = optimizer.epoch(problem, before, state.arrays, train_part, key, state.epoch / total)
            if not bool(torch.isfinite(state.theta).all()):
                raise FitError("the parameters of the training are not finite; use other weights or another optimizer")
            state.epoch += 1
            _judge(state, use, score_of(errors(use, validation or train_part), s.score))
            if name == "lbfgs" and state.theta is before:  # no step downhill is left
                state.epoch = max(state.epoch, total)
            told(state)
        if state.stage == len(s.stages) - 1:
            return state.best
        best = state.best.clone()
        state.stage, state.epoch, state.stale, state.arrays, state.theta = state.stage + 1, 0, 0, {}, best


def _judge(state: State, theta: torch.Tensor, score: float) -> None:
    state.scores.append(score)
    if np.isfinite(score) and score < state.best_score:
        state.best, state.best_score, state.stale = theta.clone(), score, 0
    else:
        state.stale += 1


# -- a state on disk -----------------------------------------------------------------------------------------


class Keeper:
    """The states of a whole fit in one file, written so that a cut-off leaves the last one whole.

    `key` tells data and settings apart: a file of another fit is refused. A name tells the members of a committee, or
    other parts of a fit, apart; states of finished ones stay.
    """

    def __init__(self, path: str, key: str, every: int = 1):
        self.path, self.key, self.every = Path(path).expanduser() if path else None, key, every
        self.states: dict[str, State] = {}
        if self.path is not None and self.path.exists():
            self.states = self._read()

    def state(self, name: str, theta: Callable[[], torch.Tensor], device: Any = "cpu") -> State:
        """The kept state, or a new one."""
        if name not in self.states:
            self.states[name] = State.new(theta())
        state = self.states[name]
        state.theta, state.best = state.theta.to(device), state.best.to(device)
        state.arrays = {k: v.to(device) for k, v in state.arrays.items()}
        return state

    def told(self, name: str, state: State) -> None:
        """Keep a state; on disk every few epochs."""
        self.states[name] = state
        if len(state.scores) % self.every == 0:
            self.write()

    def write(self) -> None:
        if self.path is None:
            return
        arrays: dict[str, np.ndarray] = {"key": np.array(self.key)}
        for name, state in self.states.items():
            parts: dict[str, Any] = {
                "theta": state.theta.cpu().numpy(),
                "best": state.best.cpu().numpy(),
                "counts": np.array([state.stage, state.epoch, state.stale]),
                "best_score": np.array(state.best_score),
                "scores": np.array(state.scores, dtype=float),
                **{f"arrays.{k}": v.cpu().numpy() for k, v in state.arrays.items()},
            }
            arrays.update({f"{name}/{k}": v for k, v in parts.items()})
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
            parts: dict[str, dict[str, np.ndarray]] = {}
            for name, value in arrays.items():
                member, _, part = name.rpartition("/")
                parts.setdefault(member, {})[part] = value
            states = {member: _state(found) for member, found in parts.items()}
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise OptionError(f"{self.path} holds no state of a fit ({error}); name another file for it") from error
        if key != self.key:
            raise OptionError(
                f"{self.path} is the state of a fit to other data or settings; go on with those, or name another file"
            )
        return states


def _state(parts: Mapping[str, np.ndarray]) -> State:
    stage, epoch, stale = (int(k) for k in parts["counts"])
    theta, best = (torch.from_numpy(np.array(parts[k], dtype=np.float64)) for k in ("theta", "best"))
    arrays = {k[7:]: torch.from_numpy(np.array(v)) for k, v in parts.items() if k.startswith("arrays.")}
    return State(theta, best, float(parts["best_score"]), stage, epoch, stale, arrays, parts["scores"].tolist())
