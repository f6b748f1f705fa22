"""MaxVol selection: active sets from training sets, and the structures that extend one.

The equations of a structure of N atoms are numbered: 0 the energy, 1..3N the forces, then nine of the stress, then one
per neighbourhood; an active set names, for each of its rows, the structure among those it keeps and this number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from ...core.errors import NonFiniteResult, OptionError
from ...core.pairs import find_pairs
from ...core.system import System, check_elements
from .cfg import format_cfg
from .grade import Grader, energy_rows
from .model import MtpTorch
from .params import MODES, ActiveSet, MtpParams
from .text_mtp import labels_of
from .volume import MaxVol

Progress = Callable[[str, float], None]
Text = Callable[[list[Atoms]], str]
"""Configurations as the text of a .cfg file."""

ROWS_BYTES = 1 << 30
"""Rows are kept in memory up to this size, beyond it they are computed again in every pass."""
BATCH_ATOMS = 2048


@dataclass(frozen=True)
class Selection:
    """An active set and where its rows come from.

    active: its equations refer to the configurations `kept`, then `frames`. kept: indices among the configurations of
    the active set started from, those that still own a row; frames: indices of the given structures that own one, in
    order; grades (F,): of all given structures with respect to the set started from; swaps: rows exchanged.
    """

    active: ActiveSet
    kept: tuple[int, ...]
    frames: tuple[int, ...]
    grades: np.ndarray
    swaps: int


def build_active_set(
    params: MtpParams,
    frames: Sequence[Atoms],
    mode: str = "neighbourhood",
    threshold: float = 1.001,
    text: Text | None = None,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> ActiveSet:
    """The active set of a training set: rows of largest volume, up to the threshold.

    mode: "neighbourhood" (one row per atom) or "configuration" (one per structure). text: writes the structures that
    own a row, for `ActiveSet.configurations`; by default as .cfg text with the potential's types. Deterministic.
    """
    return select(params, frames, threshold, None, mode, text, progress, device).active


def select(
    params: MtpParams,
    frames: Sequence[Atoms],
    threshold: float = 1.001,
    active: ActiveSet | None = None,
    mode: str = "neighbourhood",
    text: Text | None = None,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> Selection:
    """D-optimal selection: which of the structures extend `active`, or, without one, span the set best.

    A structure enters when one of its rows replaces a row of the active set, which takes a grade above the threshold.
    With `active`, its own mode and weights hold. Raises OptionError and UnsupportedElement.
    """
    if active is None and not frames:
        raise OptionError("there is no structure to make an active set of")
    if active is not None and len(active.a) != params.n_coefficients:
        raise OptionError(f"the active set has {len(active.a)} rows for {params.n_coefficients} coefficients")
    settings = _weights(mode) if active is None else _weights_of(active)
    rows = _Rows(params, frames, settings, torch.device(device), progress)
    best = MaxVol(params.n_coefficients, threshold, device)
    if active is not None:
        best = MaxVol.of(active, threshold, device)
        best.tags[best.tags[:, 0] >= 0, 0] = -2 - best.tags[best.tags[:, 0] >= 0, 0]  # its configurations: -2, -3, ...
    grades = np.zeros(len(frames))
    for block, tags in rows:
        np.maximum.at(grades, tags[:, 0].cpu().numpy(), best.grades(block).cpu().numpy())
    if active is None:
        for block, tags in rows:
            best.pivot(block, tags)
    changed = True
    while changed:
        changed = False
        for block, tags in rows:
            changed |= best.offer(block, tags) > 0
        if progress:
            progress(f"active set, {best.swaps} rows exchanged", 1.0)
    return _selection(best, grades, frames, active, settings, text or _cfg(params))


def _cfg(params: MtpParams) -> Text:
    """Structures as .cfg text with the types that the potential's file has."""
    types = dict(zip(labels_of(params), params.elements, strict=True))
    return lambda chosen: format_cfg(chosen, types)


def split_configurations(text: str) -> list[str]:
    """The configurations of an active set, one by one."""
    return [m.group(0) for m in re.finditer(r"BEGIN_CFG.*?END_CFG[^\n]*\n*", text, re.DOTALL)]


# -- weights ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Weights:
    """Fields of an ActiveSet that say what its rows are."""

    energy_weight: float
    site_en_weight: float
    weight_scaling: float = 2.0


def _weights(mode: str) -> _Weights:
    if mode not in MODES:
        raise OptionError(f"mode is '{mode}'; known are {', '.join(MODES)}")
    return _Weights(0.0, 1.0) if mode == "neighbourhood" else _Weights(1.0, 0.0)


def _weights_of(active: ActiveSet) -> _Weights:
    Grader(active)  # refuses what no rows are known for
    return _Weights(active.energy_weight, active.site_en_weight, active.weight_scaling)


# -- rows of structures ----------------------------------------------------------------------------------


class _Rows:
    """Blocks (rows (m, n), tags (m, 2): structure and equation) of all structures; can be walked again and again."""

    def __init__(
        self,
        params: MtpParams,
        frames: Sequence[Atoms],
        weights: _Weights,
        device: torch.device,
        progress: Progress | None,
    ):
        self.frames, self.weights, self.device, self.progress = frames, weights, device, progress
        for k, atoms in enumerate(frames):
            check_elements(atoms.numbers, params.numbers, params.name, f" of structure {k}")
        self.model = MtpTorch(params, device)
        per_frame = (1 if weights.energy_weight > 0 else 0) + np.array([len(a) for a in frames], dtype=np.int64) * (
            1 if weights.site_en_weight > 0 else 0
        )
        self.fits = 8 * params.n_coefficients * int(per_frame.sum()) <= ROWS_BYTES
        self._kept: tuple[torch.Tensor, torch.Tensor] | None = None

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if not self.fits:
            yield from self._compute()
            return
        if self._kept is None:
            parts = list(self._compute())
            n = self.model.params.n_coefficients
            none = torch.zeros((0, n), dtype=torch.float64, device=self.device)
            tags = torch.zeros((0, 2), dtype=torch.long, device=self.device)
            self._kept = torch.cat([none, *(p[0] for p in parts)]), torch.cat([tags, *(p[1] for p in parts)])
        yield self._kept

    def _compute(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        start = 0
        while start < len(self.frames):
            stop, atoms = start + 1, len(self.frames[start])
            while stop < len(self.frames) and atoms + len(self.frames[stop]) <= BATCH_ATOMS:
                atoms += len(self.frames[stop])
                stop += 1
            yield self._batch(start, stop)
            start = stop
            if self.progress:
                self.progress("rows of the structures", stop / len(self.frames))

    def _batch(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        w, system = self.weights, System.from_atoms(list(self.frames[start:stop]), self.device)
        b = self.model.basis_vectors(system, find_pairs(system, self.model.cutoff))
        if not b.isfinite().all():
            raise NonFiniteResult(
                f"{self.model.params.name} gave non-finite derivatives for structures {start} to {stop - 1}"
            )
        counts, index = np.diff(system.first), system.system_index
        rows, tags = [], []
        if w.energy_weight > 0:
            sums = b.new_zeros((len(counts), b.shape[1])).index_add_(0, index, b)
            rows.append(energy_rows(sums, counts, w.energy_weight, w.weight_scaling))
            frame = torch.arange(start, stop, device=self.device)
            tags.append(torch.stack([frame, torch.zeros_like(frame)], dim=1))
        if w.site_en_weight > 0:
            sizes = torch.as_tensor(counts, device=self.device)[index]
            offset = (
                torch.arange(len(index), device=self.device) - torch.as_tensor(system.first, device=self.device)[index]
            )
            rows.append(w.site_en_weight * b)
            tags.append(torch.stack([index + start, 3 * sizes + 10 + offset], dim=1))
        return torch.cat(rows), torch.cat(tags)


# -- result ----------------------------------------------------------------------------------------------


def _selection(
    best: MaxVol,
    grades: np.ndarray,
    frames: Sequence[Atoms],
    active: ActiveSet | None,
    weights: _Weights,
    text: Text,
) -> Selection:
    """Equations renumbered to the configurations that are kept: old ones first, then those of `frames`."""
    tags = best.tags.cpu().numpy()
    kept = sorted({-2 - int(t) for t in tags[:, 0] if t <= -2})
    used = sorted({int(t) for t in tags[:, 0] if t >= 0})
    place = {-1: -1} | {-2 - k: p for p, k in enumerate(kept)} | {f: len(kept) + p for p, f in enumerate(used)}
    equations = np.stack([[place[int(t)] for t in tags[:, 0]], tags[:, 1]], axis=1)
    before = split_configurations(active.configurations) if active is not None else []
    parts = [before[k] for k in kept if k < len(before)]
    if used:
        parts.append(text([frames[k] for k in used]))
    chosen = ActiveSet(
        a=best.a.cpu().numpy(),
        inv_t=best.inverse.T.cpu().numpy(),
        energy_weight=weights.energy_weight,
        site_en_weight=weights.site_en_weight,
        weight_scaling=weights.weight_scaling,
        equations=equations,
        configurations="".join(parts),
    )
    return Selection(chosen, tuple(kept), tuple(used), grades, best.swaps)
