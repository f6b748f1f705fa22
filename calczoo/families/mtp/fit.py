"""Training of moment tensor potentials.

Residuals are energies per atom (eV/atom), force components (eV/A) and stress components (eV/A^3), each times the weight
of its kind and of its group. For given radial coefficients the species and moment coefficients solve a linear
least-squares problem; the search over the radial ones is a Levenberg-Marquardt search of the objective that remains
(`fit_problem`, `fit_search`), from several starts. Settings given as lists are chosen on structures held out of the
training set. The test set takes no part in any choice.

Source of the model: Shapeev, Multiscale Model. Simul. 14, 1153 (2016), doi:10.1137/15M1054183.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from ...core.card import Card
from ...core.errors import DataError, OptionError
from ...core.threads import thread_count
from ...files.cards import write_card
from ...files.text import sha256
from ...fitting.data import Dataset, as_dataset
from ...fitting.errors import ErrorTable, compare, evaluate
from ...fitting.report import FitResult, Progress
from ...registry import ModelRequest
from .fit_search import Keeper
from .fit_settings import FitSettings, used_settings
from .fit_train import check_data, choose, fit_key, torch_threads, train_one
from .lammps import write_note
from .load import build
from .params import MtpParams
from .radial import ShortDistanceWarning
from .text_mtp import write_mtp


def fit(
    train: Dataset | Iterable[Atoms],
    test: Dataset | Iterable[Atoms] | None = None,
    elements: Sequence[str] | None = None,
    quadratic: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> FitResult:
    """Fit a potential; options are the fields of FitSettings (`cutoff` is another name of max_dist).

    Raises OptionError, DataError (elements, an empty set), FitError.
    """
    if quadratic:
        raise OptionError("quadratic is an option of SNAP; a moment tensor potential has its level instead")
    settings = FitSettings.of(options)
    data = as_dataset(train, "training set")
    held = None if test is None else as_dataset(test, "test set")
    check_data(data)
    symbols = tuple(elements or data.elements)
    for part in (data, held):
        if part is not None and (missing := [e for e in part.elements if e not in symbols]):
            raise DataError(f"{part.name} holds {', '.join(missing)}, which is not among the elements of the fit")
    tell = progress or _silent
    keeper = Keeper(settings.resume, fit_key(data, symbols, settings), settings.save_every)
    with torch_threads(thread_count(settings.threads)):
        chosen, tried = choose(data, symbols, settings, keeper, lambda what, done: tell(what, 0.4 * done))
        begin = 0.4 if tried else 0.0
        found = train_one(
            data, symbols, chosen, keeper, "fit", lambda what, done: tell(what, begin + (0.95 - begin) * done)
        )
    tell("errors", 0.95)
    errors = {"train": _errors(found, data, settings)}
    if held is not None:
        errors["test"] = _errors(found, held, settings)
    used = used_settings(replace(chosen, min_dist=found.min_dist))
    params = replace(found, facts=_facts(found, chosen, data, errors, used, tried))
    tell("done", 1.0)
    return FitResult(params, params.card(), errors, used, lambda stem: write_model(params, stem))


def _silent(what: str, done: float) -> None:
    """No progress wanted."""


def _errors(params: MtpParams, data: Dataset, s: FitSettings) -> ErrorTable:
    model = build(params, ModelRequest("mtp", device=s.device, threads=s.threads))
    with warnings.catch_warnings():  # a test structure may hold a distance just below those of the training set
        warnings.simplefilter("ignore", ShortDistanceWarning)
        return compare(data, evaluate(model, data))


def _facts(
    params: MtpParams,
    s: FitSettings,
    data: Dataset,
    errors: dict[str, ErrorTable],
    used: dict[str, Any],
    tried: list[dict[str, Any]],
) -> dict[str, Any]:
    described = data.describe()
    return {
        "level_of_theory": s.level_of_theory,
        "training_data": f"{s.training_data}; {described}" if s.training_data else described,
        "citation": s.citation,
        "doi": s.doi or params.card().doi,
        "licence": s.licence,
        "errors": {part: table.to_dict() for part, table in errors.items()},
        "extra": {"fit": used, **({"settings_tried": tried} if tried else {})},
    }


def write_model(params: MtpParams, stem: Path) -> list[Path]:
    """`.mtp` for MLIP, LAMMPS and calczoo, a text that tells how LAMMPS takes it, and the card as JSON."""
    stem = stem.with_suffix("") if stem.suffix == ".mtp" else stem
    path = write_mtp(params, stem.with_name(stem.name + ".mtp"))
    card: Card = replace(params.card(), files={path.name: sha256(path)})
    note = write_note(params, stem, [path])
    return [path, write_card(card, stem.with_name(stem.name + ".json")), note]
