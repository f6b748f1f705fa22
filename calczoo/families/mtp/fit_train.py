"""One fit for one set of settings: frames, weights, starts, search; and the choice of settings by held-out errors."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from ...compose import device_of
from ...core.errors import DataError, FitError
from ...core.threads import thread_count
from ...fitting.data import Dataset
from ...fitting.guesses import guesses, joined
from ...fitting.report import Progress
from .fit_frames import Frames
from .fit_problem import Problem
from .fit_search import Keeper, State, search, start
from .fit_settings import SCANNED, UNUSED, FitSettings, shape_of, single, values_of, with_distances
from .params import MtpParams
from .tangent import make_tangents

SCORE = {"energy": 1.0, "forces": 1.0}
"""Default weights of the logarithms of the held-out errors."""


def check_data(data: Dataset) -> None:
    """DataError for a set that nothing can be fitted to."""
    if not len(data):
        raise DataError(f"{data.name or 'the training set'} holds no structure")
    if not np.isfinite(data.energies).any() and all(f is None for f in data.forces):
        raise DataError(f"{data.name or 'the training set'} holds neither energies nor forces")


def row_weights(frames: Frames, s: FitSettings, tolerances: list[float]) -> list[np.ndarray]:
    """Weights of the rows of every structure; the last ones are guesses with these tolerances (eV)."""
    groups, out = s.group_weights or {}, []
    first_guess = len(frames) - len(tolerances)
    for k, (target, name) in enumerate(zip(frames.targets, frames.names, strict=True)):
        n = int(frames.sizes[k])

        def of(kind: str, name: str = name) -> float:
            return float(groups.get(f"{name}:{kind}", groups.get(name, 1.0)))

        w = np.full(3 * n + 7, float(s.force_weight) * of("forces"))
        w[3 * n] = float(s.energy_weight) * of("energy") / n  # type: ignore[arg-type]
        w[3 * n + 1 :] = float(s.stress_weight) * of("stress") / max(frames.volumes[k], 1e-300)  # type: ignore[arg-type]
        if k >= first_guess:
            w[3 * n] = float(s.guess_weight) / tolerances[k - first_guess]
        out.append(np.where(np.isfinite(target), w, 0.0))
    return out


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch held to `count` threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_problem(data: Dataset, symbols: tuple[str, ...], s: FitSettings) -> tuple[Problem, MtpParams]:
    """The least-squares problem of a data set, guesses included, and the shape of the potential (zero coefficients)."""
    cutoff = float(s.max_dist)  # type: ignore[arg-type]
    frames = Frames.of(data, symbols, cutoff)
    shortest = frames.shortest if np.isfinite(frames.shortest) else 0.5 * cutoff
    shape = shape_of(symbols, s, shortest)
    made = guesses(data, s.compression, s.contacts, shape.min_dist, s.seed)
    if made:
        frames = Frames.of(joined(data, made), symbols, cutoff)
    weights = row_weights(frames, s, [guess.tolerance for guess in made])
    bare = np.zeros(len(frames), dtype=bool)
    bare[len(data) :] = [guess.bare for guess in made]
    energy_at = 3 * frames.sizes
    wanted = np.array([bool((np.delete(w, at) > 0).any()) for w, at in zip(weights, energy_at, strict=True)])
    tangents = make_tangents(shape, frames, thread_count(s.threads), wanted, device_of(s.device))
    keep = int(s.memory * 2**30)
    return Problem(frames, tangents, weights, bare, float(s.ridge), keep), shape  # type: ignore[arg-type]


def train_one(
    data: Dataset,
    symbols: tuple[str, ...],
    s: FitSettings,
    keeper: Keeper,
    stage: str,
    tell: Callable[[str, float], None],
) -> MtpParams:
    """Starts on a sample, then the search on all data from the best of them."""
    problem, shape = make_problem(data, symbols, s)
    s = replace(s, min_dist=shape.min_dist)
    size = shape.radial.shape
    best = 0
    share = 0.3 if s.starts > 1 else 0.0
    if s.starts > 1:
        few = make_problem(data.sample(s.start_atoms, s.seed), symbols, s)[0]
        scores = []
        for k in range(s.starts):
            name = f"{stage}/start {k}"
            state = keeper.state(name, lambda k=k: start(size, s.seed, k))

            def told(state: State, k: int = k, name: str = name) -> None:
                keeper.told(name, state)
                tell(f"start {k + 1} of {s.starts}", share * (k + state.iteration / s.start_iterations) / s.starts)

            if state.iteration < s.start_iterations and not state.done:
                search(few, state, s.start_iterations, s.tolerance, told)
                keeper.write()
            scores.append(state.objectives[-1] if state.objectives else np.inf)
        best = int(np.argmin(scores))
        del few
    first = keeper.states[f"{stage}/start {best}"].radial if s.starts > 1 else start(size, s.seed, 0)
    state = keeper.state(f"{stage}/all", lambda: first.copy())

    def told_all(state: State) -> None:
        keeper.told(f"{stage}/all", state)
        tell(f"iteration {state.iteration}", share + (1.0 - share) * min(1.0, state.iteration / s.iterations))

    linear = search(problem, state, s.iterations, s.tolerance, told_all)
    keeper.write()
    species, weights = problem.species_and_weights(linear)
    return replace(shape, radial=state.radial, species=species, weights=weights)


# -- choice of settings --------------------------------------------------------------------------------------


def choose(
    data: Dataset, symbols: tuple[str, ...], s: FitSettings, keeper: Keeper, tell: Progress
) -> tuple[FitSettings, list[dict[str, Any]]]:
    """Settings with one value each, and the table of what was tried on held-out structures."""
    lists = {name: values_of(s, name) for name in SCANNED}
    candidates = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    settings = [with_distances(single(s, c), data) for c in candidates]
    if len(settings) == 1:
        return settings[0], []
    sample = data.sample(s.search_atoms, s.seed)
    folds = sample.folds(min(s.folds, len(sample)), s.seed)[: s.holdouts]
    tried = []
    for k, one in enumerate(settings):
        quick = replace(one, starts=1, iterations=s.search_iterations)
        squares: dict[str, list[float]] = {}
        for f, held in enumerate(folds):
            done = (k + f / len(folds)) / len(settings)
            tell(f"choice {k + 1} of {len(settings)}", done)
            rest = sorted(set(range(len(sample))) - set(held))
            found = train_one(sample.subset(rest), symbols, quick, keeper, f"try {k} {f}", lambda *_: None)
            for kind, values in held_out(sample.subset(held), symbols, quick, found).items():
                squares.setdefault(kind, []).append(values)
        rms = {kind: float(np.sqrt(np.mean(v))) for kind, v in squares.items()}
        importance: Mapping[str, float] = s.score or SCORE
        score = sum(w * np.log(rms[kind]) for kind, w in importance.items() if rms.get(kind, 0.0) > 0)
        told = {name: getattr(one, name) for name in SCANNED if getattr(one, name) is not None}
        tried.append({**told, **{f"rms_{kind}": v for kind, v in rms.items()}, "score": float(score)})
    best = min(range(len(tried)), key=lambda k: tried[k]["score"] if np.isfinite(tried[k]["score"]) else np.inf)
    if not np.isfinite(tried[best]["score"]):
        raise FitError("no combination of settings gave a finite error on the held-out structures")
    return settings[best], tried


def held_out(data: Dataset, symbols: tuple[str, ...], s: FitSettings, params: MtpParams) -> dict[str, float]:
    """Mean squares of the errors of each kind (energy per atom, forces) on other structures."""
    plain = replace(s, compression=None, contacts=0, min_dist=params.min_dist, group_weights=None)
    problem, _ = make_problem(data, symbols, plain)
    residuals = problem.errors(params)
    rows = list(zip(residuals, problem.frames.sizes.tolist(), problem.frames.targets, strict=True))
    energies = [r[3 * n] / n for r, n, t in rows if np.isfinite(t[3 * n])]
    forces = [r[: 3 * n][np.isfinite(t[: 3 * n])] for r, n, t in rows]
    out = {"energy": np.array(energies), "forces": np.concatenate(forces)}
    return {kind: float(np.mean(v**2)) for kind, v in out.items() if v.size}


def fit_key(data: Dataset, symbols: tuple[str, ...], s: FitSettings) -> str:
    """What a state on disk belongs to: data, elements and the settings that change the result, but for `iterations`:
    a search may go on further than was asked for first."""
    told = {k: v for k, v in asdict(s).items() if k not in (*UNUSED, "iterations")}
    text = json.dumps([data.sha256, len(data), symbols, told], default=list, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
