"""From a data set to networks: functions, frames, guesses, then one training per member of a committee."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from ...compose import device_of
from ...core.elements import number
from ...core.errors import DataError, FitError
from ...core.pairs import find_pairs
from ...core.system import System
from ...core.threads import thread_count
from ...core.universal import universal_repulsion
from ...fitting.data import Dataset
from ...fitting.errors import evaluate
from ...fitting.guesses import GROUP, Guess, guesses, joined
from ...registry import ModelRequest, get_family, load_object
from .fit_columns import Columns
from .fit_frames import Frame, Scale, Targets, Weights, free_energies, make_frames, targets_of
from .fit_functions import select
from .fit_network import Topology
from .fit_problem import Problem
from .fit_search import Keeper, State, train
from .fit_settings import FREE, UNUSED, FitSettings, with_cutoff
from .params import ElementModel, HdnnpParams, Network, SymmetryFunction
from .repulsion import zbl_term

SAMPLE = 4000
"""Atoms whose symmetry functions decide which ones are taken."""
ROWS = 2000
"""Atoms of each element that CUR selection looks at."""
NEAR, FORCE_FLOOR = 0.45, 1.0
"""Guesses reach down to this part of the shortest distance; eV/A, smallest tolerance of a guessed force."""


@dataclass(frozen=True)
class Descriptors:
    """Functions (lengths in A), their statistics, and what evaluates them."""

    functions: tuple[tuple[SymmetryFunction, ...], ...]
    scales: tuple[Scale, ...]
    columns: Columns


@dataclass(frozen=True)
class Prepared:
    """A training problem. n_data: structures of the data set, before the guesses; free (C,): eV per atom."""

    problem: Problem
    descriptors: Descriptors
    free: np.ndarray
    n_data: int
    settings: FitSettings


def check_data(data: Dataset, symbols: Sequence[str]) -> None:
    """DataError for a set that nothing can be fitted to."""
    what = data.name or "the training set"
    if not len(data):
        raise DataError(f"{what} holds no structure")
    if not np.isfinite(data.energies).any() and all(f is None for f in data.forces):
        raise DataError(f"{what} holds neither energies nor forces")
    if missing := [e for e in symbols if e not in data.elements]:
        raise DataError(f"{what} holds no {', '.join(missing)}, for which there would be no network")


def weights_of(s: FitSettings) -> Weights:
    groups = {str(k): float(v) for k, v in (s.group_weights or {}).items()}
    return Weights(s.energy_weight, s.force_weight, s.stress_weight, groups)


def shortest_distance(data: Dataset, reach: float) -> float:
    """A; `reach` where atoms are farther apart than that."""
    out = reach
    for atoms in data.structures:
        system = System.from_atoms(atoms)
        pairs = find_pairs(system, reach)
        if pairs.n_pairs:
            out = min(out, float(pairs.vectors(system).norm(dim=1).min()))
    return out


def make_descriptors(data: Dataset, symbols: tuple[str, ...], s: FitSettings, shortest: float) -> Descriptors:
    """The pool of functions, the selection among it, and statistics over all of the data."""
    threads = thread_count(s.threads)
    pool = s.pool.of(symbols, float(s.cutoff), shortest)  # type: ignore[arg-type]
    sample = data.sample(SAMPLE, s.seed)
    columns = Columns(symbols, [pool] * len(symbols), s.cutoff_type, threads=threads)
    found = columns.of(sample.structures)
    functions = []
    for e in range(len(symbols)):
        values = np.concatenate([b[e].values.numpy() for b in found])
        rows = np.random.default_rng([s.seed, e]).permutation(len(values))[:ROWS]
        functions.append(tuple(pool[k] for k in select(values[rows], s.functions)))
    columns = Columns(symbols, functions, s.cutoff_type, threads=threads)
    parts: list[list[np.ndarray]] = [[] for _ in symbols]
    for start in range(0, len(data), 32):
        for blocks in columns.of(data.structures[start : start + 32]):
            for part, block in zip(parts, blocks, strict=True):
                part.append(block.values.numpy())
    return Descriptors(tuple(functions), tuple(Scale.of(np.concatenate(p)) for p in parts), columns)


def beside(data: Dataset, zbl: Any) -> Dataset:
    """The data without the part of a ZBL term."""
    if zbl is None:
        return data
    model = load_object(get_family("zbl").build)(zbl, ModelRequest("zbl", device="cpu"))
    found = evaluate(model, data)
    return replace(
        data,
        energies=data.energies - np.array([r["energy"] for r in found]),
        forces=tuple(None if f is None else f - r["forces"] for f, r in zip(data.forces, found, strict=True)),
        stresses=tuple(None if w is None else w - r["stress"] for w, r in zip(data.stresses, found, strict=True)),
    )


def with_guesses(
    data: Dataset, symbols: Sequence[str], s: FitSettings, shortest: float, zbl: Any, free: np.ndarray
) -> tuple[Dataset, list[Targets]]:
    """The data followed by guessed structures, less the ZBL term; and the targets of all."""
    low = NEAR * shortest if s.min_dist is None else s.min_dist
    made = guesses(data, s.compression, s.contacts, low, s.seed)
    both = beside(joined(data, made), zbl)
    counts = np.array([[a.get_chemical_symbols().count(e) for e in symbols] for a in both.structures])
    targets = targets_of(both, counts @ free, weights_of(s))
    for k, guess in enumerate(made, start=len(data)):
        if guess.bare:
            targets[k] = _pushed(guess, zbl, s.guess_weight)
        else:
            targets[k].energy_weight = s.guess_weight / guess.tolerance
    return both, targets


def _pushed(guess: Guess, zbl: Any, weight: float) -> Targets:
    """Two lone atoms: the force of the universal repulsion, for their energy without it is not known."""
    a, b = guess.atoms.numbers
    line = guess.atoms.positions[1] - guess.atoms.positions[0]
    d, h = float(np.linalg.norm(line)), 1e-4
    push = -float(universal_repulsion(a, b, d + h) - universal_repulsion(a, b, d - h)) / (2.0 * h)
    forces = push * np.array([-line, line]) / d
    lone = Dataset((guess.atoms,), np.array([np.nan]), (forces,), (None,), (GROUP,))
    left = beside(lone, zbl).forces[0]
    scale = weight / (0.33 * abs(push) + FORCE_FLOOR)
    zero = torch.zeros(6, dtype=torch.float64)
    return Targets(0.0, torch.from_numpy(np.array(left)), zero, 0.0, torch.full((2, 3), scale).double(), zero.clone())


def unit_of(data: Dataset, free: np.ndarray, symbols: Sequence[str]) -> float:
    """eV per unit of a network's output: the RMS force times 1 A, or the spread of energies per atom."""
    forces = [f.ravel() for f in data.forces if f is not None]
    size = float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) if forces else 0.0
    if size < 1e-6:
        counts = np.array([[a.get_chemical_symbols().count(e) for e in symbols] for a in data.structures])
        left = (data.energies - counts @ free) / counts.sum(axis=1)
        size = float(np.nanstd(left))
    return round(size, 6) if size > 1e-5 else 1.0


def prepare(data: Dataset, symbols: tuple[str, ...], s: FitSettings, tell: Callable[[float], None]) -> Prepared:
    """Everything that does not depend on the parameters. Raises DataError, OptionError."""
    s = with_cutoff(s, data)
    shortest = shortest_distance(data, 0.6 * float(s.cutoff))  # type: ignore[arg-type]
    zbl = zbl_term(s.zbl_inner, s.zbl_outer)
    descriptors = make_descriptors(data, symbols, s, shortest)
    tell(0.3)
    free = free_energies(beside(data, zbl), symbols, weights_of(s))
    both, targets = with_guesses(data, symbols, s, shortest, zbl, free)
    if not any(t.n_rows for t in targets[: len(data)]):
        raise FitError("no reference value has a weight above zero")
    device, dtype = device_of(s.device), getattr(torch, s.precision)
    frames: list[Frame] = make_frames(
        both.structures, both.groups, targets, descriptors.columns, descriptors.scales, device, dtype,
        s.memory * 2**30, lambda part: tell(0.3 + 0.7 * part),
    )  # fmt: skip
    topologies = [Topology((len(f), *s.nodes, 1), s.letters) for f in descriptors.functions]
    problem = Problem(frames, topologies, unit_of(data, free, symbols))
    return Prepared(problem, descriptors, free, len(data), s)


def parts_of(data: Dataset, part: float, seed: int) -> tuple[list[int], list[int]]:
    """Structures for training and for validation."""
    if part <= 0.0 or len(data) < 4:
        return list(range(len(data))), []
    held = data.folds(min(max(2, round(1.0 / part)), len(data)), seed)[0]
    return sorted(set(range(len(data))) - set(held)), held


def train_member(
    data: Dataset, ready: Prepared, member: int, keeper: Keeper, tell: Callable[[str, float], None]
) -> torch.Tensor:
    """theta (P,) of one member, with its own start, order and validation part."""
    s, problem = ready.settings, ready.problem
    seed = s.seed + member
    mine, held = parts_of(data, s.validation, seed)
    guessed = list(range(ready.n_data, len(problem.frames)))
    name = f"member_{member}"

    def begin() -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.cat([t.start(generator) for t in problem.topologies])

    def told(state: State) -> None:
        keeper.told(name, state)
        total = max(1, sum(map(s.epochs_of, range(len(s.stages)))))
        done = sum(s.epochs_of(k) for k in range(state.stage)) + min(state.epoch, s.epochs_of(state.stage))
        text = f"{s.stages[state.stage]} {state.epoch}, score {state.scores[-1]:.3f}"
        tell(text if s.committee == 1 else f"member {member + 1}: {text}", done / total)

    def errors(theta: torch.Tensor, which: Sequence[int]) -> Mapping[str, float]:
        return problem.errors(theta, [k for k in which if k < ready.n_data])

    state = keeper.state(name, begin, problem.device)
    best = train(problem, state, s, seed, [*mine, *guessed], held, told, errors, problem.edges)
    keeper.write()
    return best


def make_params(ready: Prepared, theta: torch.Tensor, symbols: tuple[str, ...], name: str) -> HdnnpParams:
    """The potential in A and eV."""
    problem, flat = ready.problem, theta.detach().cpu().double().numpy()
    models = []
    for e, topology in enumerate(problem.topologies):
        mine = flat[problem.edges[e] : problem.edges[e + 1]]
        network = Network.from_flat(mine, topology.sizes[0], topology.sizes[1:], topology.letters)
        table = ready.descriptors.scales[e].table
        models.append(ElementModel(ready.descriptors.functions[e], table, network, energy=float(ready.free[e])))
    return HdnnpParams(
        elements=symbols,
        models=tuple(models),
        cutoff_type=ready.settings.cutoff_type,
        scaling="sigma",
        conv_energy=1.0 / problem.unit,
        name=f"hdnnp:{name}",
    )


def ordered(symbols: Sequence[str]) -> tuple[str, ...]:
    """In the order of atomic numbers, as all files have them."""
    return tuple(sorted(dict.fromkeys(symbols), key=number))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch held to `count` threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit_key(data: Dataset, symbols: Sequence[str], s: FitSettings) -> str:
    """What a state on disk belongs to: data, elements and the settings that change the result, but for those with
    which a training may go on further than was asked for first."""
    told = {k: v for k, v in asdict(s).items() if k not in (*UNUSED, *FREE)}
    text = json.dumps([data.sha256, len(data), list(symbols), told], default=list, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
