"""A pair potential small enough to be checked by hand, for tests of everything that is not a family."""

from __future__ import annotations

import torch

from calczoo.core.card import Card
from calczoo.core.model import TorchModel
from calczoo.core.pairs import Pairs
from calczoo.core.system import System

CUTOFF = 4.0


class Toy(TorchModel):
    """U_i = depth * sum_j (1 - r_ij / cutoff)^3 for r_ij < cutoff: smooth at the cutoff, half a bond per atom."""

    def __init__(self, cutoff: float = CUTOFF, depth: float = 1.0, numbers=(1, 13, 29), dtype=torch.float64):
        self.cutoff, self.depth, self.numbers, self.dtype = cutoff, depth, tuple(numbers), dtype
        self.card = Card(name=f"toy({cutoff:g})", family="toy", elements=("H", "Al", "Cu"), cutoff=cutoff)

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        r = vectors.norm(dim=1)
        u = torch.where(r < self.cutoff, self.depth * (1.0 - r / self.cutoff) ** 3, torch.zeros_like(r))
        return u.new_zeros(system.n_atoms).index_add(0, pairs.i.long(), u)


def toy_energy(positions, cell, pbc, cutoff: float = CUTOFF) -> float:
    """The same energy by brute force."""
    import numpy as np

    from calczoo.core.pairs import brute_force_pairs, complete_cell

    box = complete_cell(np.asarray(cell, float), np.asarray(pbc))
    x = np.asarray(positions, float)
    total = 0.0
    for i, j, shift in brute_force_pairs(x, np.asarray(cell, float), pbc, cutoff):
        total += (1.0 - np.linalg.norm(x[j] + np.array(shift) @ box - x[i]) / cutoff) ** 3
    return total
