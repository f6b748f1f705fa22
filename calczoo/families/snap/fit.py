"""Training of SNAP: weighted linear least squares for the coefficients, cross-validation for the rest.

Residuals are energies per atom (eV/atom), force components (eV/A) and stress components (eV/A^3), each times the weight
of its kind and of its group. Every setting given as a list is chosen by cross-validation within the training set: each
part of it is predicted by a fit to the others, and the sum of the logarithms of these RMS errors counts. The
coefficients are then fitted to the whole training set. The test set takes no part in any choice.

A ZBL term may be subtracted from the reference values before the fit; it then belongs to the model.

Source of the method: Thompson et al., J. Comput. Phys. 285, 316 (2015), doi:10.1016/j.jcp.2014.12.018.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from ...core.card import Card
from ...core.errors import DataError
from ...files.cards import write_card
from ...files.text import sha256
from ...fitting.data import Dataset, as_dataset
from ...fitting.errors import compare, evaluate
from ...fitting.linear import Solver
from ...fitting.report import FitResult, Progress
from ...registry import Composite, ModelRequest
from .fit_rows import build_term, weighted
from .fit_search import choose
from .fit_settings import FitSettings, template_of, used_settings, zbl_term
from .formats import write_snap
from .load import build
from .params import SnapParams


def fit(
    train: Dataset | Iterable[Atoms],
    test: Dataset | Iterable[Atoms] | None = None,
    elements: Sequence[str] | None = None,
    quadratic: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> FitResult:
    """Fit linear or quadratic SNAP; options are the fields of FitSettings.

    Raises OptionError, DataError (elements, stress of a data set), FitError.
    """
    settings = FitSettings.of(options)
    data = as_dataset(train, "training set")
    held = None if test is None else as_dataset(test, "test set")
    symbols = tuple(elements or data.elements)
    for part in (data, held):
        if part is not None and (missing := [e for e in part.elements if e not in symbols]):
            raise DataError(f"{part.name} holds {', '.join(missing)}, which is not among the elements of the fit")
    tell = progress or _silent
    zbl = zbl_term(settings)
    chosen, blocks, scan = choose(data, symbols, quadratic, settings, zbl, tell)
    tell("final fit", 0.9)
    template = template_of(symbols, quadratic, chosen)
    x = Solver.of(weighted(blocks, chosen)).solve(float(chosen.ridge))
    params = replace(template, coefficients=x.reshape(len(symbols), -1), name=f"snap:{chosen.name or 'fitted'}")
    model = _model(params, zbl)
    tell("errors", 0.95)
    errors = {"train": compare(data, evaluate(model, data))}
    if held is not None:
        errors["test"] = compare(held, evaluate(model, held))
    used = used_settings(chosen, quadratic)
    card = _card(params, zbl, model.cutoff, chosen, data, errors, used, scan)
    tell("done", 1.0)
    whole: Any = params
    if zbl is not None:
        whole = Composite((("snap", params), ("zbl", zbl)), card)
    return FitResult(whole, card, errors, used, lambda stem: write_model(params, zbl, card, stem))


def _silent(what: str, done: float) -> None:
    """No progress wanted."""


def _model(params: SnapParams, zbl: Any):
    from ...compose import Sum

    snap = build(params, ModelRequest("snap", device="cpu"))
    return snap if zbl is None else Sum([snap, build_term("zbl", zbl)])


def _card(
    params: SnapParams, zbl: Any, cutoff: float, s: FitSettings, data: Dataset, errors: dict, used: dict, scan: list
) -> Card:
    own = params.card()
    extra = {**own.extra, "fit": used, "settings_tried": len(scan)}
    if zbl is not None:
        extra["terms"] = f"{params.name} + {zbl.card().name}"
    described = data.describe()
    return replace(
        own,
        cutoff=cutoff,
        outputs=own.outputs if zbl is None else own.outputs[:4],
        level_of_theory=s.level_of_theory,
        training_data=f"{s.training_data}; {described}" if s.training_data else described,
        citation=s.citation,
        doi=s.doi or own.doi,
        licence=s.licence,
        errors={part: table.to_dict() for part, table in errors.items()},
        extra=extra,
    )


def write_model(params: SnapParams, zbl: Any, card: Card, stem: Path) -> list[Path]:
    """`.snapcoeff`, `.snapparam`, `.snap` for LAMMPS and calczoo, and the card as JSON."""
    facts = {"citation": card.citation}
    paths = write_snap(replace(params, facts=facts), stem, zbl)
    whole = replace(card, files={p.name: sha256(p) for p in paths})
    return [*paths, write_card(whole, stem.with_name(stem.name + ".json"))]
