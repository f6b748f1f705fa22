"""The rows of a data set for one choice of hyperparameters, compressed by group and kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...core.errors import OptionError
from ...core.threads import thread_count
from ...fitting.compression import Compression
from ...fitting.data import Dataset
from ...fitting.errors import evaluate
from ...fitting.linear import Block
from ...registry import ModelRequest, get_family, load_object
from .design import Design
from .fit_settings import FitSettings
from .params import SnapParams

KINDS = ("energy", "forces", "stress")
COMPRESSION = "compression"
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
            known = np.isfinite(stress)
            add(group, "stress", rows.stress[known], (stress - reference[k]["stress"])[known])
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
    return evaluate(build_term("zbl", zbl), data)


def group_weight(groups: Mapping[str, float], group: str, kind: str) -> float:
    """Weight of one kind of rows of a group: that of "group:kind" if given, else that of "group", else 1."""
    return float(groups.get(f"{group}:{kind}", groups.get(group, 1.0)))


def weighted(parts: Iterable[Blocks], settings: FitSettings) -> list[tuple[float, Block]]:
    """Blocks with the weights of their kind and group."""
    kinds = dict(zip(KINDS, (settings.energy_weight, settings.force_weight, settings.stress_weight), strict=True))
    groups = settings.group_weights or {}
    kinds[COMPRESSION] = 1.0
    return [
        (float(kinds[kind]) * group_weight(groups, group, kind), block)  # type: ignore[arg-type]
        for blocks in parts
        for (group, kind), block in blocks.items()
    ]


def build_term(name: str, params: Any):
    return load_object(get_family(name).build)(params, ModelRequest(name, device="cpu"))
