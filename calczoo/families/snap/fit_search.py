"""Choice of settings by cross-validation within the training set."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.errors import FitError, OptionError
from ...fitting.data import Dataset
from ...fitting.linear import Block, Solver
from ...fitting.report import Progress
from .fit_rows import COMPRESSION, KINDS, Blocks, compress, compress_guesses, group_weight
from .fit_settings import SCORE, FitSettings, scanned, single, template_of, values_of
from .params import SnapParams


def choose(
    data: Dataset, symbols: tuple[str, ...], quadratic: bool, settings: FitSettings, zbl: Any, tell: Progress
) -> tuple[FitSettings, list[Blocks], list[dict[str, float]]]:
    """Settings with one value each, the compressed rows for them, and the table of what was tried.

    Settings of the descriptor are chosen on about `search_atoms` atoms, with all weights and ridge parameters;
    weights and ridge for the chosen descriptor then on the whole training set.
    """
    if settings.rcut is None:
        settings = replace(settings, rcut=_cutoffs(data))
    outer = [values_of(settings, name) for name in ("rcut", "twojmax", "rfac0", "rmin0")]
    inner = [values_of(settings, name) for name in ("energy_weight", "stress_weight", "ridge")]
    candidates = list(itertools.product(*outer))
    tried: list[dict[str, float]] = []
    hyper = candidates[0]
    if len(candidates) > 1:
        sample = data.sample(settings.search_atoms, settings.seed)
        for k, candidate in enumerate(candidates):
            tell(f"rcut {candidate[0]:g} A, 2J = {candidate[1]}", 0.5 * k / len(candidates))
            first = single(settings, candidate, [v[0] for v in inner])
            cross = CrossValidation(sample, template_of(symbols, quadratic, first), zbl, first)
            tried += _scan(cross, settings, candidate, inner)
        best = _best(tried)
        hyper = (best["rcut"], best["twojmax"], best["rfac0"], best["rmin0"])
    tell(f"rows for rcut {hyper[0]:g} A, 2J = {int(hyper[1])}", 0.5)
    first = single(settings, hyper, [v[0] for v in inner])
    template = template_of(symbols, quadratic, first)
    if all(len(v) == 1 for v in inner):
        return first, [compress(data, template, zbl), compress_guesses(data, template, zbl, settings)], tried
    cross = CrossValidation(data, template, zbl, first)
    tell("weights", 0.7)
    last = _scan(cross, settings, hyper, inner)
    best = _best(last)
    chosen = single(settings, hyper, [best[name] for name in ("energy_weight", "stress_weight", "ridge")])
    return chosen, [*cross.parts, cross.guessed], [*tried, *last]


def _scan(
    cross: CrossValidation, settings: FitSettings, hyper: Sequence[float], inner: Sequence[Sequence[float]]
) -> list[dict[str, float]]:
    """Cross-validation errors and score of all weights and ridge parameters for one descriptor."""
    out = []
    importance = settings.score or SCORE
    for energy_weight, stress_weight in itertools.product(*inner[:2]):
        for ridge, rms in cross.errors(energy_weight, settings.force_weight, stress_weight, inner[2]):
            score = sum(w * np.log(rms[kind]) for kind, w in importance.items() if rms.get(kind, 0.0) > 0)
            trial = scanned(single(settings, hyper, (energy_weight, stress_weight, ridge)))
            out.append({**trial, **{f"rms_{kind}": v for kind, v in rms.items()}, "score": float(score)})
    return out


def _best(tried: list[dict[str, float]]) -> dict[str, float]:
    finite = [t for t in tried if np.isfinite(t["score"])]
    if not finite:
        raise FitError("no combination of settings gave a finite cross-validation error")
    return min(finite, key=lambda t: t["score"])


class CrossValidation:
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
                        kinds.setdefault(kind, []).append((group_weight(self.groups, group, kind), block))
            merged = {kind: Block.merged(many) for kind, many in kinds.items()}
            self.others.append(merged | {kind: block for (_, kind), block in self.guessed.items()})

    def errors(
        self, energy_weight: float, force_weight: float, stress_weight: float, ridges: Sequence[float]
    ) -> list[tuple[float, dict[str, float]]]:
        """(ridge, RMS error of each kind over all left-out parts) for each ridge; groups count as in the fit."""
        weights = dict(zip(KINDS, (energy_weight, force_weight, stress_weight), strict=True)) | {COMPRESSION: 1.0}
        squares = {ridge: dict.fromkeys(KINDS, 0.0) for ridge in ridges}
        rows = dict.fromkeys(KINDS, 0.0)
        for blocks, others in zip(self.parts, self.others, strict=True):
            solver = Solver.of((weights[kind], block) for kind, block in others.items())
            counted = [
                (kind, group_weight(self.groups, group, kind) ** 2, block) for (group, kind), block in blocks.items()
            ]
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


def _cutoffs(data: Dataset) -> tuple[float, ...]:
    """Candidates from the density: second to third shell of common crystals."""
    volumes = [a.get_volume() / len(a) for a in data.structures if a.pbc.all() and len(a)]
    if not volumes:
        raise OptionError(
            "rcut must be given for a training set without periodic structures, as in rcut=6.0 (A); "
            "on the command line -o rcut=6.0"
        )
    spacing = float(np.median(volumes)) ** (1 / 3)
    return tuple(round(f * spacing, 2) for f in (1.7, 1.9, 2.1))
