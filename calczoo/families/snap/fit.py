"""Training of SNAP: weighted linear least squares for the coefficients, a scan on held-out data for the rest.

Residuals are energies per atom (eV/atom), force components (eV/A) and stress components (eV/A^3), each times the weight
of its kind and of its group. Every setting given as a list is chosen by cross-validation within the training set: each
part of it is predicted by a fit to the others, and the sum of the logarithms of these RMS errors counts. The
coefficients are then fitted to the whole training set. The test set takes no part in any choice.

A ZBL term may be subtracted from the reference values before the fit; it then belongs to the model.

Source of the method: Thompson et al., J. Comput. Phys. 285, 316 (2015), doi:10.1016/j.jcp.2014.12.018.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from ...core.card import Card
from ...core.errors import DataError, FitError, OptionError
from ...core.threads import thread_count
from ...files.text import sha256, write_atomic
from ...fitting.data import Dataset, as_dataset
from ...fitting.errors import compare, evaluate
from ...fitting.linear import Block, Solver
from ...fitting.report import FitResult, Progress
from ...registry import Composite, ModelRequest, get_family, load_object
from .design import Design
from .formats import write_snap
from .indices import component_count
from .load import build
from .params import SnapParams
from .repulsion import Compression

Scan = float | Sequence[float]
KINDS = ("energy", "forces", "stress")
COMPRESSION = "compression"
SCORE = {"energy": 1.0, "forces": 1.0, "stress": 0.3}
"""Default weights of the logarithms of the cross-validation errors in the score of a setting."""


@dataclass(frozen=True)
class FitSettings:
    """What a fit can be told; a list of values means: choose by cross-validation.

    rcut: A; None takes 1.7, 1.9 and 2.1 times the mean distance (V/N)^(1/3). twojmax; rfac0; rmin0 (A).
    radii, weights: per element, relative; R_e = radii_e / 2. sinner, dinner: A, inner switching (dinner 0: none).
    energy_weight (atom/eV), force_weight (A/eV), stress_weight (A^3/eV): multiply the residuals. group_weights: factors
    by group name. ridge: relative to columns of norm one. zbl_inner, zbl_outer: A; 0 means no ZBL term.
    compression: fields of `repulsion.Compression`, guessed energies of compressed structures; None: none.
    folds, seed: parts of the training set for the choice; search_atoms: size of the sample that chooses the descriptor;
    score: weights of the logarithms of the errors by kind (default SCORE). name, level_of_theory, training_data,
    citation, doi, licence: for the card.
    """

    rcut: Scan | None = None
    twojmax: int | Sequence[int] = 6
    rfac0: Scan = 0.99363
    rmin0: Scan = 0.0
    radii: Mapping[str, float] | None = None
    weights: Mapping[str, float] | None = None
    sinner: float = 0.0
    dinner: float = 0.0
    energy_weight: Scan = (10.0, 30.0, 100.0, 300.0)
    force_weight: float = 1.0
    stress_weight: Scan = (10.0, 50.0)
    group_weights: Mapping[str, float] | None = None
    ridge: Scan = (1e-12, 1e-10, 1e-8)
    zbl_inner: float = 0.0
    zbl_outer: float = 0.0
    compression: Mapping[str, Any] | None = None
    folds: int = 5
    search_atoms: int = 4000
    score: Mapping[str, float] | None = None
    seed: int = 0
    name: str = ""
    level_of_theory: str = "that of the training data"
    training_data: str = ""
    citation: str = ""
    doi: str = ""
    licence: str = "that of the training data"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> FitSettings:
        """From options; OptionError for an unknown name."""
        known = [f.name for f in fields(cls)]
        for key in options:
            if key not in known:
                raise OptionError(f"a SNAP fit has no option '{key}' (its options: {', '.join(known)})")
        return cls(**options)


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
    zbl = _zbl(settings)
    chosen, blocks, scan = _choose(data, symbols, quadratic, settings, zbl, tell)
    tell("final fit", 0.9)
    template = _template(symbols, quadratic, chosen)
    x = Solver.of(weighted(blocks, chosen)).solve(float(chosen.ridge))
    params = replace(template, coefficients=x.reshape(len(symbols), -1), name=f"snap:{chosen.name or 'fitted'}")
    model = _model(params, zbl)
    tell("errors", 0.95)
    errors = {"train": compare(data, evaluate(model, data))}
    if held is not None:
        errors["test"] = compare(held, evaluate(model, held))
    used = _settings_dict(chosen, quadratic)
    card = _card(params, zbl, model.cutoff, chosen, data, errors, used, scan)
    tell("done", 1.0)
    whole: Any = params
    if zbl is not None:
        whole = Composite((("snap", params), ("zbl", zbl)), card)
    return FitResult(whole, card, errors, used, lambda stem: write_model(params, zbl, card, stem))


def _silent(what: str, done: float) -> None:
    """No progress wanted."""


# -- rows ----------------------------------------------------------------------------------------------------

Blocks = dict[tuple[str, str], Block]


def compress(data: Dataset, template: SnapParams, zbl: Any = None) -> Blocks:
    """Compressed rows of every (group, kind) for the hyperparameters of `template`."""
    design = _design(template)
    reference = _reference(data, zbl)
    blocks: Blocks = {}

    def add(group: str, kind: str, rows: np.ndarray, targets: np.ndarray) -> None:
        blocks.setdefault((group, kind), Block(design.n_columns)).add(rows, targets)

    for k, (atoms, group) in enumerate(zip(data.structures, data.groups, strict=True)):
        rows = design.rows(atoms)
        if np.isfinite(data.energies[k]):
            target = data.energies[k] - reference[k]["energy"]
            add(group, "energy", rows.energy / len(atoms), np.array([target / len(atoms)]))
        if (forces := data.forces[k]) is not None:
            add(group, "forces", rows.forces, (forces - reference[k]["forces"]).ravel())
        if (stress := data.stresses[k]) is not None and rows.stress is not None:
            add(group, "stress", rows.stress, stress - reference[k]["stress"])
    return blocks


def compress_guesses(data: Dataset, template: SnapParams, zbl: Any, settings: FitSettings) -> Blocks:
    """Energies of compressed structures, in units of their tolerance; empty without `compression`."""
    if settings.compression is None:
        return {}
    try:
        guesses = Compression(**settings.compression).guesses(data, settings.seed)
    except TypeError as error:
        raise OptionError(f"compression: {error}") from error
    if not guesses:
        return {}
    design, block = _design(template), Block(_n_columns(template))
    reference = _reference(Dataset.from_structures([atoms for atoms, _, _ in guesses]), zbl)
    for (atoms, energy, tolerance), known in zip(guesses, reference, strict=True):
        scale = 1.0 / (len(atoms) * tolerance)
        block.add(design.energy_row(atoms) * scale, np.array([(energy - known["energy"]) * scale]))
    return {(COMPRESSION, COMPRESSION): block}


def _n_columns(template: SnapParams) -> int:
    return template.n_elements * template.n_coefficients


def _design(template: SnapParams) -> Design:
    """Rows by the fast backend, which needs the linear components only."""
    from .kernels import SnapWarp

    linear = template.coefficients[:, : 1 + template.n_components]
    plain = replace(template, quadraticflag=False, coefficients=linear)
    return Design(template, SnapWarp(plain, torch.device("cpu"), torch.float64, thread_count(None)))


def _reference(data: Dataset, zbl: Any) -> list[dict[str, Any]]:
    """What is subtracted from the reference values: ZBL, or zero."""
    if zbl is None:
        return [{"energy": 0.0, "forces": 0.0, "stress": 0.0}] * len(data)
    return evaluate(_build("zbl", zbl), data)


def weighted(parts: Iterable[Blocks], settings: FitSettings) -> list[tuple[float, Block]]:
    """Blocks with the weights of their kind and group."""
    kinds = dict(zip(KINDS, (settings.energy_weight, settings.force_weight, settings.stress_weight), strict=True))
    groups = settings.group_weights or {}
    kinds[COMPRESSION] = 1.0
    return [
        (float(kinds[kind]) * float(groups.get(group, 1.0)), block)  # type: ignore[arg-type]
        for blocks in parts
        for (group, kind), block in blocks.items()
    ]


# -- choices -------------------------------------------------------------------------------------------------


def _choose(
    data: Dataset, symbols: tuple[str, ...], quadratic: bool, settings: FitSettings, zbl: Any, tell: Progress
) -> tuple[FitSettings, list[Blocks], list[dict[str, float]]]:
    """Settings with one value each, the compressed rows for them, and the table of what was tried.

    Settings of the descriptor are chosen on about `search_atoms` atoms, with all weights and ridge parameters;
    weights and ridge for the chosen descriptor then on the whole training set.
    """
    if settings.rcut is None:
        settings = replace(settings, rcut=_cutoffs(data))
    outer = [_values(settings, name) for name in ("rcut", "twojmax", "rfac0", "rmin0")]
    inner = [_values(settings, name) for name in ("energy_weight", "stress_weight", "ridge")]
    candidates = list(itertools.product(*outer))
    tried: list[dict[str, float]] = []
    hyper = candidates[0]
    if len(candidates) > 1:
        sample = data.sample(settings.search_atoms, settings.seed)
        for k, candidate in enumerate(candidates):
            tell(f"rcut {candidate[0]:g} A, 2J = {candidate[1]}", 0.5 * k / len(candidates))
            first = _single(settings, candidate, [v[0] for v in inner])
            cross = _CrossValidation(sample, _template(symbols, quadratic, first), zbl, first)
            tried += _scan(cross, settings, candidate, inner)
        best = _best(tried)
        hyper = (best["rcut"], best["twojmax"], best["rfac0"], best["rmin0"])
    tell(f"rows for rcut {hyper[0]:g} A, 2J = {int(hyper[1])}", 0.5)
    first = _single(settings, hyper, [v[0] for v in inner])
    template = _template(symbols, quadratic, first)
    if all(len(v) == 1 for v in inner):
        return first, [compress(data, template, zbl), compress_guesses(data, template, zbl, settings)], tried
    cross = _CrossValidation(data, template, zbl, first)
    tell("weights", 0.7)
    last = _scan(cross, settings, hyper, inner)
    best = _best(last)
    chosen = _single(settings, hyper, [best[name] for name in ("energy_weight", "stress_weight", "ridge")])
    return chosen, [*cross.parts, cross.guessed], [*tried, *last]


def _scan(
    cross: _CrossValidation, settings: FitSettings, hyper: Sequence[float], inner: Sequence[Sequence[float]]
) -> list[dict[str, float]]:
    """Cross-validation errors and score of all weights and ridge parameters for one descriptor."""
    out = []
    importance = settings.score or SCORE
    for energy_weight, stress_weight in itertools.product(*inner[:2]):
        for ridge, rms in cross.errors(energy_weight, settings.force_weight, stress_weight, inner[2]):
            score = sum(w * np.log(rms[kind]) for kind, w in importance.items() if rms.get(kind, 0.0) > 0)
            trial = _scanned(_single(settings, hyper, (energy_weight, stress_weight, ridge)))
            out.append({**trial, **{f"rms_{kind}": v for kind, v in rms.items()}, "score": float(score)})
    return out


def _best(tried: list[dict[str, float]]) -> dict[str, float]:
    finite = [t for t in tried if np.isfinite(t["score"])]
    if not finite:
        raise FitError("no combination of settings gave a finite cross-validation error")
    return min(finite, key=lambda t: t["score"])


class _CrossValidation:
    """Compressed rows of the parts of a training set, and the errors of fits that leave out one part each."""

    def __init__(self, data: Dataset, template: SnapParams, zbl: Any, settings: FitSettings):
        parts = [data.subset(part) for part in data.folds(min(settings.folds, len(data)), settings.seed)]
        self.parts = [compress(part, template, zbl) for part in parts]
        self.guessed = compress_guesses(data, template, zbl, settings)
        self.groups = {name: float(w) for name, w in (settings.group_weights or {}).items()}
        self.others: list[dict[str, Block]] = []
        for left_out in range(len(parts)):
            kinds: dict[str, list[tuple[float, Block]]] = {}
            for k, blocks in enumerate(self.parts):
                for (group, kind), block in blocks.items():
                    if k != left_out:
                        kinds.setdefault(kind, []).append((self.groups.get(group, 1.0), block))
            merged = {kind: Block.merged(many) for kind, many in kinds.items()}
            self.others.append(merged | {kind: block for (_, kind), block in self.guessed.items()})

    def errors(
        self, energy_weight: float, force_weight: float, stress_weight: float, ridges: Sequence[float]
    ) -> list[tuple[float, dict[str, float]]]:
        """(ridge, RMS error of each kind over all left-out parts) for each ridge; groups count as they do in the fit."""
        weights = dict(zip(KINDS, (energy_weight, force_weight, stress_weight), strict=True)) | {COMPRESSION: 1.0}
        squares = {ridge: dict.fromkeys(KINDS, 0.0) for ridge in ridges}
        rows = dict.fromkeys(KINDS, 0.0)
        for blocks, others in zip(self.parts, self.others, strict=True):
            solver = Solver.of((weights[kind], block) for kind, block in others.items())
            counted = [(kind, self.groups.get(group, 1.0) ** 2, block) for (group, kind), block in blocks.items()]
            for kind, weight, block in counted:
                rows[kind] += weight * block.n_rows
            for ridge in ridges:
                x = solver.solve(ridge)
                for kind, weight, block in counted:
                    squares[ridge][kind] += weight * block.n_rows * block.rms(x) ** 2
        return [
            (ridge, {kind: float(np.sqrt(s / rows[kind])) for kind, s in found.items() if rows[kind] > 0})
            for ridge, found in squares.items()
        ]


def _values(settings: FitSettings, name: str) -> list[float]:
    value = getattr(settings, name)
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    for v in values:
        if isinstance(v, (bool, str)) or not np.isfinite(v):
            raise OptionError(f"{name} is {value!r}; it must be a number or a list of numbers")
    if not values:
        raise OptionError(f"{name} is an empty list; give at least one value")
    return values


def _single(settings: FitSettings, hyper: Sequence[float], inner: Sequence[float]) -> FitSettings:
    names = ("rcut", "twojmax", "rfac0", "rmin0", "energy_weight", "stress_weight", "ridge")
    values: dict[str, Any] = dict(zip(names, (*hyper, *inner), strict=True))
    return replace(settings, **{**values, "twojmax": int(values["twojmax"])})


def _scanned(settings: FitSettings) -> dict[str, float]:
    names = ("rcut", "twojmax", "rfac0", "rmin0", "energy_weight", "stress_weight", "ridge")
    return {name: float(getattr(settings, name)) for name in names}


def _cutoffs(data: Dataset) -> tuple[float, ...]:
    """Candidates from the density: second to third shell of common crystals."""
    volumes = [a.get_volume() / len(a) for a in data.structures if a.pbc.all() and len(a)]
    if not volumes:
        raise OptionError("rcut must be given for a training set without periodic structures")
    spacing = float(np.median(volumes)) ** (1 / 3)
    return tuple(round(f * spacing, 2) for f in (1.7, 1.9, 2.1))


# -- models --------------------------------------------------------------------------------------------------


def _template(symbols: tuple[str, ...], quadratic: bool, s: FitSettings) -> SnapParams:
    """Parameters with all coefficients zero."""
    n = len(symbols)
    k = component_count(int(s.twojmax))
    columns = 1 + k + (k * (k + 1) // 2 if quadratic else 0)
    inner: dict[str, Any] = {}
    if s.dinner:
        inner = {"switchinnerflag": True, "sinner": np.full(n, s.sinner), "dinner": np.full(n, s.dinner)}
    return SnapParams(
        elements=symbols,
        radii=np.array([0.5 * float((s.radii or {}).get(e, 1.0)) for e in symbols]),
        weights=np.array([float((s.weights or {}).get(e, 1.0)) for e in symbols]),
        coefficients=np.zeros((n, columns)),
        rcutfac=float(s.rcut),  # type: ignore[arg-type]
        twojmax=int(s.twojmax),  # type: ignore[arg-type]
        rfac0=float(s.rfac0),  # type: ignore[arg-type]
        rmin0=float(s.rmin0),  # type: ignore[arg-type]
        quadraticflag=quadratic,
        **inner,
    )


def _zbl(settings: FitSettings) -> Any:
    """Parameters of the ZBL term, or None."""
    if not settings.zbl_outer:
        return None
    request = ModelRequest("zbl", args=(settings.zbl_inner, settings.zbl_outer))
    return load_object(get_family("zbl").read)(request)


def _build(name: str, params: Any):
    return load_object(get_family(name).build)(params, ModelRequest(name, device="cpu"))


def _model(params: SnapParams, zbl: Any):
    from ...compose import Sum

    snap = build(params, ModelRequest("snap", device="cpu"))
    return snap if zbl is None else Sum([snap, _build("zbl", zbl)])


def _settings_dict(s: FitSettings, quadratic: bool) -> dict[str, Any]:
    drop = ("name", "level_of_theory", "training_data", "citation", "doi", "licence")
    out = {f.name: getattr(s, f.name) for f in fields(s) if f.name not in drop and getattr(s, f.name) is not None}
    return json.loads(json.dumps({"quadratic": quadratic, **out}))


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
    text = json.dumps({"format": "calczoo-card/1", **whole.to_dict()}, indent=1, ensure_ascii=False) + "\n"
    return [*paths, write_atomic(stem.with_name(stem.name + ".json"), text)]
