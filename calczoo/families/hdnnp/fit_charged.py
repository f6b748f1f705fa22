"""Training of generations 3 and 4: charges first, then what they leave.

Stage one trains networks on the reference charges: of charges themselves in generation 3; in generation 4 of
electronegativities, together with a hardness of each element, so that the charge equilibration of the model gives the
reference charges at the total charge of every structure (`fit_charged_problem`). Stage two trains the short-range
networks on energies, forces and stresses less those of the charges' electrostatics, in generation 4 with the charges as
inputs and their full response to displacements (`fit_charged_response`). Both hold the same part of the training set
out. Symmetry functions, optimisers, committees and resuming are those of generation 2 (`fit`).

Source: Ko, Finkler, Goedecker and Behler, Nat. Commun. 12, 398 (2021), doi:10.1038/s41467-020-20427-2; generation 3:
Artrith, Morawietz and Behler, Phys. Rev. B 83, 153101 (2011), doi:10.1103/PhysRevB.83.153101.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from ase import Atoms

from ...compose import device_of
from ...core.errors import FitError, OptionError
from ...core.threads import thread_count
from ...electrostatics import COULOMB
from ...fitting.data import Dataset
from ...fitting.report import FitResult, Progress
from ...registry import ModelRequest
from .charged import HdnnpCharged
from .fit_charged_data import describe_charges, gaussian_widths, reference_charges, screening_range
from .fit_charged_problem import ChargeProblem
from .fit_charged_response import add_charges, charges_of, rest
from .fit_charged_settings import ChargeSettings
from .fit_charged_stages import charge_frames, network_of, networks_of, nothing, placed, start_charges, with_raw_charge
from .fit_frames import Frame, free_energies, make_frames, targets_of
from .fit_network import Topology
from .fit_problem import Problem
from .fit_search import Keeper, State, train
from .fit_settings import FitSettings, used_settings, with_cutoff
from .fit_train import (
    Descriptors,
    beside,
    fit_key,
    make_descriptors,
    parts_of,
    shortest_distance,
    torch_threads,
    unit_of,
    weights_of,
)
from .load import build
from .params import Electrostatics, ElementModel, HdnnpParams, Network
from .repulsion import zbl_term

ACCURACY = 1e-8
"""Of the Coulomb matrices of stage one, relative."""
SMALLEST = 1e-3
"""e: charges of an element are divided by their deviation, but by no less than this, before they enter a network."""


@dataclass(frozen=True)
class Setting:
    """What all members share. base: frames without charges, the last of their inputs in generation 4."""

    generation: int
    symbols: tuple[str, ...]
    s: FitSettings
    own: ChargeSettings
    data: Dataset
    charges: list[np.ndarray]
    descriptors: Descriptors
    base: list[Frame]
    electrostatics: Electrostatics
    widths: dict[str, float]

    @property
    def counts(self) -> np.ndarray:
        """(S, C) atoms of each element."""
        return np.array([[a.get_chemical_symbols().count(e) for e in self.symbols] for a in self.data.structures])


def fit_charged(
    given: Dataset | Iterable[Atoms],
    test: Dataset | Iterable[Atoms] | None = None,
    elements: Sequence[str] | None = None,
    progress: Progress | None = None,
    generation: int = 4,
    **options: Any,
) -> FitResult:
    """Fit a potential of generation 3 or 4; options are the fields of FitSettings and of ChargeSettings.

    Raises OptionError, DataError (elements, charges), FitError.
    """
    from .fit import checked, finished, joined

    own, others = ChargeSettings.split(options, generation)
    try:
        settings = FitSettings.of(others)
    except OptionError as error:
        raise OptionError(f"{error}; generation {generation} has also {', '.join(ChargeSettings.names())}") from error
    if settings.contacts or settings.compression:
        raise OptionError("contacts and compression guess energies without charges; they belong to generation 2")
    data, held, symbols = checked(given, test, elements)
    settings = with_cutoff(settings, data)
    tell = progress or _silent
    charges = reference_charges(data)
    if held is not None:
        reference_charges(held)
    used = {"generation": generation, **used_settings(settings), **own.used(generation)}
    used["data_charges"] = describe_charges(charges, data.structures)
    keeper = Keeper(settings.resume, fit_key(data, symbols, settings) + own.key(generation), settings.save_every)
    with torch_threads(thread_count(settings.threads)):
        setting = _prepare(data, charges, symbols, settings, own, generation, lambda d: tell("functions", 0.1 * d))
        many = []
        for k in range(settings.committee):
            begin, share = 0.1 + 0.85 * k / settings.committee, 0.85 / settings.committee
            found = _member(setting, k, keeper, lambda what, done, b=begin, c=share: tell(what, b + c * done))
            name = settings.name or "fitted"
            many.append(replace(found, name=f"hdnnp:{name}" if settings.committee == 1 else f"hdnnp:{name}/member_{k}"))
    tell("errors", 0.95)
    result = joined([finished(p, settings, data, held, used) for p in many], settings, data, held, used)
    tell("done", 1.0)
    return result


def _silent(what: str, done: float) -> None:
    """No progress wanted."""


def _prepare(
    data: Dataset,
    charges: list[np.ndarray],
    symbols: tuple[str, ...],
    s: FitSettings,
    own: ChargeSettings,
    generation: int,
    tell: Callable[[float], None],
) -> Setting:
    """Everything that does not depend on the parameters."""
    cutoff = float(s.cutoff)  # type: ignore[arg-type]
    inner, outer = screening_range(own.screening, cutoff)
    if generation == 4:
        widths, keywords = gaussian_widths(symbols, own.widths), ()
    else:
        widths = gaussian_widths(symbols, own.widths) if own.widths else {}
        keywords = (("enforce_totcharge", "1"),) if own.total_charge == "scaled" else ()
    electrostatics = Electrostatics(COULOMB, inner, outer, "c", keywords)
    short = beside(data, zbl_term(s.zbl_inner, s.zbl_outer))
    descriptors = make_descriptors(data, symbols, s, shortest_distance(data, 0.6 * cutoff))
    tell(0.3)
    targets = targets_of(short, np.zeros(len(short)), weights_of(s))
    if not any(t.n_rows for t in targets):
        raise FitError("no reference value has a weight above zero")
    device, dtype = device_of(s.device), getattr(torch, s.precision)
    base = make_frames(
        data.structures, data.groups, targets, descriptors.columns, descriptors.scales, device, dtype,
        s.memory * 2**30, lambda part: tell(0.3 + 0.7 * part),
    )  # fmt: skip
    return Setting(generation, symbols, s, own, short, charges, descriptors, base, electrostatics, widths)


def _member(setting: Setting, member: int, keeper: Keeper, tell: Callable[[str, float], None]) -> HdnnpParams:
    """One potential, with its own starts, order and validation part."""
    s = setting.s
    seed = s.seed + member
    parts = parts_of(setting.data, s.validation, seed)
    prefix = "" if s.committee == 1 else f"member {member + 1}: "
    first, second = f"charges_{member}", f"short_{member}"
    bare = _charges(setting, seed, parts, keeper, first, lambda w, d: tell(f"{prefix}charges, {w}", 0.3 * d))
    request = ModelRequest("hdnnp", device="cpu", threads=s.threads, options={"extrapolation": "ignore"})
    model = build(bare, request)
    assert isinstance(model, HdnnpCharged)
    return _short(setting, bare, model, seed, parts, keeper, second, lambda w, d: tell(prefix + w, 0.3 + 0.7 * d))


def _charges(
    setting: Setting,
    seed: int,
    parts: tuple[list[int], list[int]],
    keeper: Keeper,
    name: str,
    tell: Callable[[str, float], None],
) -> HdnnpParams:
    """Stage one: a potential with trained charges and short-range networks that give nothing."""
    s, own, four = setting.s, setting.own, setting.generation == 4
    groups = {str(k): float(v) for k, v in (s.group_weights or {}).items()}
    frames = charge_frames(
        setting.data, setting.charges, setting.symbols, setting.descriptors.columns, setting.descriptors.scales,
        setting.widths if four else None, own.charge_weight, groups, device_of(s.device), s.memory * 2**30, ACCURACY,
    )  # fmt: skip
    letters = s.activation[0] * len(own.charge_nodes) + "l"
    topologies = [Topology((len(f), *own.charge_nodes, 1), letters) for f in setting.descriptors.functions]
    problem = ChargeProblem(frames, topologies, four)
    generator = torch.Generator().manual_seed(seed)
    first = start_charges(topologies, own.hardness if four else None, generator)
    theta = _train(problem, first, own.for_charges(s), seed, parts, keeper, name, tell)
    hardness = problem.hardness_of(theta).tolist() if four else [0.0] * len(setting.symbols)
    models = []
    for e, network in enumerate(networks_of(problem, theta)):
        functions, table = setting.descriptors.functions[e], setting.descriptors.scales[e].table
        width = setting.widths.get(setting.symbols[e], 0.0)
        models.append(ElementModel(functions, table, nothing(len(functions) + four), network, hardness[e], width))
    return HdnnpParams(
        elements=setting.symbols,
        models=tuple(models),
        generation=setting.generation,
        cutoff_type=s.cutoff_type,
        scaling="sigma",
        electrostatics=setting.electrostatics,
    )


def _short(
    setting: Setting,
    bare: HdnnpParams,
    model: HdnnpCharged,
    seed: int,
    parts: tuple[list[int], list[int]],
    keeper: Keeper,
    name: str,
    tell: Callable[[str, float], None],
) -> HdnnpParams:
    """Stage two: the short-range networks for the charges of `bare`."""
    s, four = setting.s, setting.generation == 4
    left, weights = rest(setting.data, model), weights_of(s)
    free = free_energies(left, setting.symbols, weights)
    device, dtype = device_of(s.device), getattr(torch, s.precision)
    targets = [placed(t, device, dtype) for t in targets_of(left, setting.counts @ free, weights)]
    frames = [replace(f, inputs=list(f.inputs), targets=t) for f, t in zip(setting.base, targets, strict=True)]
    if seed == s.seed + s.committee - 1:
        setting.base.clear()  # the last member needs no copies
    shifts = _shifts(setting, model) if four else []
    if four:
        memory = s.memory * 2**30
        add_charges(frames, setting.data.structures, model, shifts, memory, lambda d: tell("responses", 0.1 * d))
    topologies = [Topology((len(f) + four, *s.nodes, 1), s.letters) for f in setting.descriptors.functions]
    problem = Problem(frames, topologies, unit_of(left, free, setting.symbols))
    generator = torch.Generator().manual_seed(seed)
    first = torch.cat([t.start(generator) for t in topologies])
    theta = _train(problem, first, s, seed, parts, keeper, name, lambda what, done: tell(what, 0.1 + 0.9 * done))
    flat, models = theta.detach().cpu().double().numpy(), []
    for e, m in enumerate(bare.models):
        network: Network = network_of(topologies[e], flat[problem.edges[e] : problem.edges[e + 1]])
        network = with_raw_charge(network, *shifts[e]) if four else network
        models.append(replace(m, short=network, energy=float(free[e])))
    return replace(bare, models=tuple(models), conv_energy=1.0 / problem.unit)


def _shifts(setting: Setting, model: HdnnpCharged) -> list[tuple[float, float]]:
    """Mean and deviation (e) of the model's charges of each element, over the training set."""
    charges = np.concatenate(charges_of(model, setting.data.structures))
    symbols = np.concatenate([a.get_chemical_symbols() for a in setting.data.structures])
    return [(float(q.mean()), max(SMALLEST, float(q.std()))) for q in (charges[symbols == e] for e in setting.symbols)]


def _train(
    problem: Any,
    first: torch.Tensor,
    s: FitSettings,
    seed: int,
    parts: tuple[list[int], list[int]],
    keeper: Keeper,
    name: str,
    tell: Callable[[str, float], None],
) -> torch.Tensor:
    """Parameters with the best score on the validation part."""

    def told(state: State) -> None:
        keeper.told(name, state)
        total = max(1, sum(map(s.epochs_of, range(len(s.stages)))))
        done = sum(s.epochs_of(k) for k in range(state.stage)) + min(state.epoch, s.epochs_of(state.stage))
        tell(f"{s.stages[state.stage]} {state.epoch}, score {state.scores[-1]:.3f}", done / total)

    def errors(theta: torch.Tensor, which: Sequence[int]) -> Mapping[str, float]:
        return problem.errors(theta, which)

    state = keeper.state(name, lambda: first, problem.device)
    edges = [*problem.edges[:-1], problem.n_parameters]  # hardness goes with the last element
    best = train(problem, state, s, seed, *parts, told, errors, edges)
    keeper.write()
    return best
