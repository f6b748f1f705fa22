"""Extrapolation grades from an active set.

With the rows A (n, n) of the active set and b_i = dV_i/dtheta,

    gamma_i = max_k |(b_i A^-1)_k|                                 a neighbourhood; that of a structure is the largest
    gamma   = max_k |(b A^-1)_k|,  b = w sum_i b_i / N^(s/2)       a configuration of N atoms; s = weight_scaling

Up to 1 the potential interpolates within its training set, far above it extrapolates. The stored inverse is used: A is
often ill-conditioned, because rows of directions that no training structure has stay small unit vectors.

Source: Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017), doi:10.1016/j.commatsci.2017.08.031; Podryabinkin
et al., J. Chem. Phys. 159, 084112 (2023), doi:10.1063/5.0155887.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from ...core.errors import OptionError
from .params import ActiveSet

CHUNK_BYTES = 64 << 20


def grade_outputs(active: ActiveSet | None) -> frozenset[str]:
    """Outputs that an active set makes possible."""
    if active is None:
        return frozenset()
    names = {"extrapolation_grade"}
    return frozenset(names | {"extrapolation_grades"} if active.mode == "neighbourhood" else names)


class Grader:
    """Grades of neighbourhoods and of structures, as the mode of the active set says.

    A structure's grade is the largest over all equations that the active set is about: its neighbourhoods where
    site_en_weight > 0, its energy where energy_weight > 0. Raises OptionError for active sets of force or stress
    equations.
    """

    def __init__(self, active: ActiveSet, device: torch.device | str = "cpu"):
        if not active.known:
            raise OptionError(
                f"the active set has force_weight {active.force_weight:g} and stress_weight {active.stress_weight:g}; "
                "grades are known for neighbourhoods (site_en_weight) and configurations (energy_weight) only; the "
                "option grade='off' runs the potential without them"
            )
        if active.site_en_weight <= 0 and active.energy_weight <= 0:
            raise OptionError("the active set has neither a site_en_weight nor an energy_weight above zero")
        self.active, self.mode, self.device = active, active.mode, torch.device(device)
        self._inverse = torch.tensor(active.inv_t.T, dtype=torch.float64, device=self.device).contiguous()

    @property
    def by_site(self) -> bool:
        return self.active.site_en_weight > 0

    @property
    def by_energy(self) -> bool:
        return self.active.energy_weight > 0

    def rows(self, b: torch.Tensor) -> torch.Tensor:
        """(N,): max_k |(b A^-1)_k| of the rows of b (N, n), which hold all weights already."""
        n = self._inverse.shape[0]
        step = max(1, CHUNK_BYTES // (8 * n))
        b = b.to(dtype=torch.float64, device=self.device)
        parts = [(b[a : a + step] @ self._inverse).abs().amax(dim=1) for a in range(0, len(b), step)]
        return torch.cat(parts) if parts else b.new_zeros(0)

    def energy_rows(self, sums: torch.Tensor, counts: np.ndarray | torch.Tensor) -> torch.Tensor:
        """(S, n): rows of configurations from the sums of their atoms' b (S, n) and numbers of atoms (S,)."""
        return energy_rows(sums, counts, self.active.energy_weight, self.active.weight_scaling)

    def grades(
        self, b: torch.Tensor, index: torch.Tensor, counts: np.ndarray | torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Grades per atom (N,), None in configuration mode, and per structure (S,).

        b (N, n): dV_i/dtheta; index (N,): structure of each atom; counts (S,): atoms of each structure.
        """
        return self.stream([(0, len(b), b)], index, counts)

    def stream(
        self, chunks: Iterable[tuple[int, int, torch.Tensor]], index: torch.Tensor, counts: np.ndarray | torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """As `grades`, from (start, stop, b of these atoms), so that not all of b need be in memory."""
        s, n = len(counts), self._inverse.shape[0]
        index = index.to(self.device).long()
        atoms = torch.zeros(len(index), dtype=torch.float64, device=self.device)
        sums = atoms.new_zeros((s, n)) if self.by_energy else None
        for start, stop, b in chunks:
            if self.by_site:
                atoms[start:stop] = self.active.site_en_weight * self.rows(b)
            if sums is not None:
                sums.index_add_(0, index[start:stop], b.to(dtype=torch.float64, device=self.device))
        structures = atoms.new_zeros(s).scatter_reduce(0, index, atoms, "amax")
        if sums is not None:
            structures = torch.maximum(structures, self.rows(self.energy_rows(sums, counts)))
        return (atoms if self.by_site else None), structures


def energy_rows(
    sums: torch.Tensor, counts: np.ndarray | torch.Tensor, energy_weight: float, weight_scaling: float
) -> torch.Tensor:
    """(S, n): energy_weight sum_i b_i / N^(weight_scaling / 2), zero for a structure without atoms."""
    number = torch.as_tensor(counts).to(dtype=sums.dtype, device=sums.device).clamp(min=1.0)
    return energy_weight * sums / (number ** (0.5 * weight_scaling))[:, None]
