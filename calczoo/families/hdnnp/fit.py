"""Training of high-dimensional neural network potentials.

Generation 2: symmetry functions are made from the data (`fit_functions`), and the networks of all elements are trained
on energies per atom (eV/atom), force (eV/A) and stress components (eV/A^3), each times the weight of its kind and of
its group, by an extended Kalman filter, Adam or L-BFGS (`fit_optimize`). A part of the training set is held out and
decides which parameters are kept and when to stop. The test set takes no part. A committee is several such trainings
with other seeds and other parts held out. Generations 3 and 4: `fit_charged`.

Source of the model: Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007), doi:10.1103/PhysRevLett.98.146401.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from ...committee import committee_card
from ...compose import CommitteeModel, Sum
from ...core.card import Card
from ...core.errors import DataError, OptionError
from ...core.model import Model
from ...core.threads import thread_count
from ...fitting.data import Dataset, as_dataset
from ...fitting.errors import ErrorTable, compare, evaluate
from ...fitting.report import FitResult, Progress
from ...registry import Committee, Composite, ModelRequest, get_family, load_object
from .fit_search import Keeper
from .fit_settings import FitSettings, used_settings, with_cutoff
from .fit_train import check_data, fit_key, make_params, ordered, prepare, torch_threads, train_member
from .folder_write import remove
from .formats import write_folder
from .load import build
from .params import HdnnpParams
from .repulsion import KEY, with_repulsion


def fit(
    train: Dataset | Iterable[Atoms],
    test: Dataset | Iterable[Atoms] | None = None,
    elements: Sequence[str] | None = None,
    quadratic: bool = False,
    progress: Progress | None = None,
    generation: int | str = 2,
    **options: Any,
) -> FitResult:
    """Fit a potential; options are the fields of FitSettings (generations 3 and 4: and of ChargeSettings).

    Raises OptionError, DataError (elements, an empty set), FitError.
    """
    if quadratic:
        raise OptionError("quadratic is an option of SNAP; a neural network potential has its nodes instead")
    if str(generation) not in ("2", "3", "4"):
        raise OptionError(f"generation is {generation!r}; allowed are 2, 3 and 4")
    if int(generation) > 2:
        from .fit_charged import fit_charged

        return fit_charged(train, test, elements, progress, int(generation), **options)
    settings = FitSettings.of(options)
    data, held, symbols = checked(train, test, elements)
    settings = with_cutoff(settings, data)
    tell = progress or _silent
    keeper = Keeper(settings.resume, fit_key(data, symbols, settings), settings.save_every)
    with torch_threads(thread_count(settings.threads)):
        ready = prepare(data, symbols, settings, lambda part: tell("symmetry functions", 0.1 * part))
        share = 0.85 / settings.committee
        many = []
        for k in range(settings.committee):
            begin = 0.1 + k * share
            theta = train_member(data, ready, k, keeper, lambda what, done, b=begin: tell(what, b + share * done))
            name = settings.name or "fitted"
            many.append(make_params(ready, theta, symbols, name if settings.committee == 1 else f"{name}/member_{k}"))
    tell("errors", 0.95)
    used = used_settings(settings)
    members = [finished(p, settings, data, held, used) for p in many]
    result = joined(members, settings, data, held, used)
    tell("done", 1.0)
    return result


def _silent(what: str, done: float) -> None:
    """No progress wanted."""


def checked(
    train: Dataset | Iterable[Atoms], test: Dataset | Iterable[Atoms] | None, elements: Sequence[str] | None
) -> tuple[Dataset, Dataset | None, tuple[str, ...]]:
    """Training set, test set and elements in order. Raises DataError."""
    data = as_dataset(train, "training set")
    held = None if test is None else as_dataset(test, "test set")
    symbols = ordered(elements or data.elements)
    for part in (data, held):
        if part is not None and (missing := [e for e in part.elements if e not in symbols]):
            raise DataError(f"{part.name} holds {', '.join(missing)}, which is not among the elements of the fit")
    check_data(data, symbols)
    return data, held, symbols


def model_of(params: HdnnpParams | Composite | Committee, s: FitSettings) -> Model:
    """For evaluating errors; atoms out of the range of the training set are no news there."""
    if isinstance(params, Committee):
        return CommitteeModel([model_of(p, s) for p in params.members], card=params.card)
    request = ModelRequest("hdnnp", device=s.device, threads=s.threads, options={"extrapolation": "ignore"})
    if isinstance(params, Composite):
        (_, own), (name, zbl) = params.terms
        term = load_object(get_family(name).build)(zbl, replace(request, family=name, options={}))
        return Sum([build(own, request), term], card=params.card)
    return build(params, request)


def _errors(params: Any, data: Dataset, held: Dataset | None, s: FitSettings) -> dict[str, ErrorTable]:
    model = model_of(params, s)
    parts = {"train": data} if held is None else {"train": data, "test": held}
    with warnings.catch_warnings():  # of structures that are far from the training set
        warnings.simplefilter("ignore")
        return {name: compare(part, evaluate(model, part)) for name, part in parts.items()}


def finished(
    params: HdnnpParams, s: FitSettings, data: Dataset, held: Dataset | None, used: dict[str, Any]
) -> tuple[HdnnpParams | Composite, dict[str, ErrorTable]]:
    """The potential with its facts, and its errors."""
    extra: dict[str, Any] = {"fit": used, **({KEY: [s.zbl_inner, s.zbl_outer]} if s.zbl_outer else {})}
    bare = replace(params, facts={"extra": extra})
    errors = _errors(with_repulsion(bare), data, held, s)
    described = data.describe()
    facts = {
        "level_of_theory": s.level_of_theory,
        "training_data": f"{s.training_data}; {described}" if s.training_data else described,
        "citation": s.citation,
        "doi": s.doi or params.card().doi,
        "licence": s.licence,
        "errors": {part: table.to_dict() for part, table in errors.items()},
        "extra": extra,
    }
    return with_repulsion(replace(params, facts=facts)), errors


def joined(
    members: list[tuple[HdnnpParams | Composite, dict[str, ErrorTable]]],
    s: FitSettings,
    data: Dataset,
    held: Dataset | None,
    used: dict[str, Any],
) -> FitResult:
    if len(members) == 1:
        params, errors = members[0]
        return FitResult(params, card_of(params), errors, used, lambda stem: write_model(params, stem))
    many = tuple(params for params, _ in members)
    committee = Committee(many, committee_card([card_of(p) for p in many], f"hdnnp:{s.name or 'fitted'}"))
    errors = _errors(committee, data, held, s)
    told = {part: table.to_dict() for part, table in errors.items()}
    committee = replace(committee, card=replace(committee.card, errors=told))
    return FitResult(committee, committee.card, errors, used, lambda stem: write_model(committee, stem))


def card_of(params: HdnnpParams | Composite) -> Card:
    return params.card if isinstance(params, Composite) else params.card()


def write_model(params: HdnnpParams | Composite | Committee, stem: Path) -> list[Path]:
    """A folder as RuNNer and n2p2 have them, with the card; of a committee, one for each member: member_0 and so on.
    What an earlier fit left there, a single potential or further members, goes: the folder would be read as that."""
    if isinstance(params, Committee):
        members = {f"member_{k}" for k in range(len(params.members))}
        for folder in [stem, *(p for p in stem.glob("member_*") if p.name not in members)]:
            remove(folder)
        return [p for k, one in enumerate(params.members) for p in write_model(one, stem / f"member_{k}")]
    return write_folder(params.terms[0][1] if isinstance(params, Composite) else params, stem)
