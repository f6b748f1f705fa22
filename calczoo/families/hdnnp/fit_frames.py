"""Training structures as networks see them: scaled symmetry functions, their derivatives, targets and weights.

With w_i = dU_i/dG_i of a structure's atoms, forces and the virial (sum of r (x) dU/dr: stress times volume) are

    F_a = - sum_i w_i . dG_i/dr_a,      W = sum_i w_i . S_i

so dG/dr and S, made once, are all that training needs of the geometry. Inputs other than symmetry functions, such as an
atom's charge, are more columns of the same arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms

from ...core.pairs import available_memory_gib
from ...fitting.data import Dataset
from .fit_columns import Block, Columns


@dataclass
class Targets:
    """What a structure should have, NaN where unknown, and the weights of the residuals, zero where there is no target.

    energy: eV, of the whole structure beyond the free atoms'; forces (n, 3) eV/A; virial (6,) eV. Weights multiply
    residuals: energy (of the whole structure), forces (n, 3), virial (6,).
    """

    energy: float
    forces: torch.Tensor
    virial: torch.Tensor
    energy_weight: float
    force_weights: torch.Tensor
    virial_weights: torch.Tensor

    @property
    def wants_rows(self) -> bool:
        return bool((self.force_weights > 0).any() or (self.virial_weights > 0).any())

    @property
    def n_rows(self) -> int:
        """Residuals with a weight."""
        known = (self.force_weights > 0).sum() + (self.virial_weights > 0).sum()
        return int(known) + int(self.energy_weight > 0)


@dataclass
class Frame:
    """One structure. inputs: per element (n_e, K), scaled; blocks: derivatives per element (see fit_columns.Block), or
    None where they are not kept; make: makes them."""

    n_atoms: int
    group: str
    inputs: list[torch.Tensor]
    targets: Targets
    blocks: list[Block] | None = None
    make: Callable[[], list[Block]] | None = field(default=None, repr=False)
    _rows: int | None = field(default=None, repr=False)

    @property
    def n_rows(self) -> int:
        """Residuals with a weight."""
        if self._rows is None:
            self._rows = self.targets.n_rows
        return self._rows

    def derivatives(self) -> list[Block]:
        if self.blocks is not None:
            return self.blocks
        assert self.make is not None
        return self.make()


@dataclass(frozen=True)
class Scale:
    """Statistics (K, 4) of one element's functions: min, max, mean, sigma; inputs are (G - mean) / sigma."""

    table: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Scale:
        """values (n, K)"""
        sigma = values.std(axis=0)
        sigma = np.where(sigma > 0, sigma, 1.0)  # a function that is constant here: its input is zero
        return cls(np.stack([values.min(axis=0), values.max(axis=0), values.mean(axis=0), sigma], axis=1))

    @property
    def factor(self) -> np.ndarray:
        return 1.0 / self.table[:, 3]

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        return (values - torch.tensor(self.table[:, 2])) * torch.tensor(self.factor)


def make_frames(
    structures: Sequence[Atoms],
    groups: Sequence[str],
    targets: Sequence[Targets],
    columns: Columns,
    scales: Sequence[Scale],
    device: torch.device,
    dtype: torch.dtype,
    memory: float,
    tell: Callable[[float], None] | None = None,
) -> list[Frame]:
    """Frames of all structures; memory: bytes of derivatives that may be kept, but no more than half of what is left on
    this machine. What does not fit is made anew whenever it is needed."""
    factors = [s.factor for s in scales]
    frames: list[Frame] = []
    room = min(memory, 0.5 * available_memory_gib() * 2**30)
    step = 16
    for start in range(0, len(structures), step):
        some = list(range(start, min(start + step, len(structures))))
        found = {}
        for wanted in (True, False):
            which = [k for k in some if targets[k].wants_rows is wanted]
            made = columns.of([structures[k] for k in which], factors if wanted else None)
            found.update(zip(which, made, strict=True))
        for k in some:
            blocks = found[k]
            inputs = [s.apply(b.values).to(device, dtype) for s, b in zip(scales, blocks, strict=True)]
            frame = Frame(len(structures[k]), groups[k], inputs, _moved(targets[k], device, dtype))
            if targets[k].wants_rows:
                size = sum(4 * b.rows.numel() for b in blocks if b.rows is not None)
                if size <= room:
                    room -= size
                    frame.blocks = [_placed(b, device, dtype) for b in blocks]
                else:
                    frame.make = _maker(structures[k], columns, factors, device, dtype)
            frames.append(frame)
        if tell is not None:
            tell(len(frames) / len(structures))
    return frames


def _maker(
    atoms: Atoms, columns: Columns, factors: list[np.ndarray], device: torch.device, dtype: torch.dtype
) -> Callable[[], list[Block]]:
    return lambda: [_placed(b, device, dtype) for b in columns.of([atoms], factors)[0]]


def _placed(block: Block, device: torch.device, dtype: torch.dtype) -> Block:
    """Without the values, which are kept scaled."""
    none = torch.empty(0, dtype=dtype)
    parts = [block.rows, block.strain]
    rows, strain = (None if t is None else t.to(device, dtype) for t in parts)
    return Block(none, rows, None if block.index is None else block.index.to(device), strain)


def _moved(t: Targets, device: torch.device, dtype: torch.dtype) -> Targets:
    tensors = (a.to(device, dtype) for a in (t.forces, t.virial, t.force_weights, t.virial_weights))
    forces, virial, force_weights, virial_weights = tensors
    return Targets(t.energy, forces, virial, t.energy_weight, force_weights, virial_weights)


# -- targets -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """Factors of residuals: of energies per atom (atom/eV), force (A/eV) and stress (A^3/eV) components; groups: by
    group name or "group:kind"."""

    energy: float
    force: float
    stress: float
    groups: dict[str, float]

    def of(self, kind: str, group: str) -> float:
        base = {"energy": self.energy, "forces": self.force, "stress": self.stress}[kind]
        return base * float(self.groups.get(f"{group}:{kind}", self.groups.get(group, 1.0)))


def targets_of(data: Dataset, free: np.ndarray, weights: Weights) -> list[Targets]:
    """Targets of all structures; free (S,): energies of the free atoms of each, eV."""
    out = []
    for k, (atoms, group) in enumerate(zip(data.structures, data.groups, strict=True)):
        n = len(atoms)
        energy = float(data.energies[k]) - float(free[k])
        forces = np.full((n, 3), np.nan) if data.forces[k] is None else np.asarray(data.forces[k])
        stress, volume = data.stresses[k], 1.0
        if stress is None:
            stress = np.full(6, np.nan)
        else:
            volume = atoms.get_volume()
        put = torch.from_numpy
        known, stressed = np.isfinite(forces), np.isfinite(stress)
        out.append(
            Targets(
                energy,
                put(np.where(known, forces, 0.0)),
                put(np.where(stressed, stress * volume, 0.0)),
                weights.of("energy", group) / n if np.isfinite(energy) else 0.0,
                put(np.where(known, weights.of("forces", group), 0.0)),
                put(np.where(stressed, weights.of("stress", group) / volume, 0.0)),
            )
        )
    return out


def free_energies(data: Dataset, elements: Sequence[str], weights: Weights) -> np.ndarray:
    """(C,) eV: energies per atom of each element that explain most of the energies."""
    counts = np.array([[a.get_chemical_symbols().count(e) for e in elements] for a in data.structures], dtype=float)
    known = np.isfinite(data.energies)
    if not known.any():
        return np.zeros(len(elements))
    w = np.array([weights.of("energy", g) for g in data.groups])[known] / counts[known].sum(axis=1)
    return np.linalg.lstsq(counts[known] * w[:, None], data.energies[known] * w, rcond=1e-6)[0]
