"""Results: what a model returns for a System; can be added and scaled, so that sums of models are sums of results."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from .errors import CalczooError

ADDITIVE = frozenset({"energy", "energies", "forces", "virial", "virials", "pair_gradients"})
"""Outputs of a sum that are the sums of its terms' outputs."""
SPREADS = frozenset({"uncertainty", "uncertainties"})
"""Standard deviations of energies and forces: scaled by the size of a factor, never added."""


@dataclass(frozen=True)
class Results:
    """All in eV, A, e. N atoms, S structures, P directed pairs. None means: not asked for, or not available.

    energy (S,), energies (N,), forces (N, 3),
    virial (S, 3, 3) = dE/d(strain) of each structure; stress = virial / volume, in ASE's sign (positive = tension),
    virials (N, 3, 3): per-atom sum_j r_ij (x) dU_i/dr_ij,
    pair_gradients (P, 3): dU_i/dr_ij of each directed pair, in the order of the Pairs,
    descriptors: per-atom, (N, K), charges (N,) e, dipole (S, 3) e A, electronegativities (N,) eV/e,
    magmoms (N,) magnetic moments in Bohr magnetons,
    uncertainty (S,) eV/atom and uncertainties (N,) eV/A: how much the members of a committee differ.
    """

    energy: torch.Tensor | None = None
    energies: torch.Tensor | None = None
    forces: torch.Tensor | None = None
    virial: torch.Tensor | None = None
    virials: torch.Tensor | None = None
    pair_gradients: torch.Tensor | None = None
    descriptors: torch.Tensor | None = None
    charges: torch.Tensor | None = None
    dipole: torch.Tensor | None = None
    electronegativities: torch.Tensor | None = None
    magmoms: torch.Tensor | None = None
    extrapolation_grade: torch.Tensor | None = None
    extrapolation_grades: torch.Tensor | None = None
    local_gap_variance: torch.Tensor | None = None
    uncertainty: torch.Tensor | None = None
    uncertainties: torch.Tensor | None = None

    def present(self) -> dict[str, torch.Tensor]:
        """Name -> tensor of what is there."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}

    def __add__(self, other: Results) -> Results:
        """Sum of two terms. Additive outputs are added where both have them (a None on one side drops the sum, since a
        partial force is a wrong force); outputs that belong to one term only are kept from that term."""
        mine, theirs = self.present(), other.present()
        out: dict[str, Any] = {}
        for name in mine.keys() | theirs.keys():
            a, b = mine.get(name), theirs.get(name)
            if name not in ADDITIVE:
                if a is not None and b is not None:
                    raise CalczooError(f"two terms of a sum both return '{name}', which cannot be added")
                out[name] = a if a is not None else b
            elif a is not None and b is not None:
                out[name] = a + b
        return Results(**out)

    def __mul__(self, factor: float) -> Results:
        """Scale energies, their derivatives and spreads; charges, descriptors and grades are not scaled."""
        changed = {k: v * factor for k, v in self.present().items() if k in ADDITIVE}
        changed |= {k: v * abs(factor) for k, v in self.present().items() if k in SPREADS}
        return replace(self, **changed)

    __rmul__ = __mul__
