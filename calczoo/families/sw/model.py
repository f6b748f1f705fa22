"""Stillinger-Weber in torch.

    E    = sum_{i<j} phi2(r_ij) + sum_i sum_{j<k} phi3(r_ij, r_ik, theta_jik)
    phi2 = A eps (B (sigma/r)^p - (sigma/r)^q) exp(sigma / (r - a sigma))
    phi3 = lambda eps (cos theta - cos theta0)^2 exp(gamma sigma_ij / (r_ij - a sigma_ij)) exp(... ik)

lambda, eps and theta0 of phi3 come from entry (i, j, k); sigma, a and gamma of its exponentials from (i, j, j) and
(i, k, k). The site energy of the derivative is U_i = 1/2 sum_j phi2 + sum_{j<k} phi3. The energies handed out share a
triplet in thirds among i, j and k, as LAMMPS does; their sum is the same, and so is its gradient.

Source: F. H. Stillinger, T. A. Weber, Phys. Rev. B 31, 5262 (1985), doi:10.1103/PhysRevB.31.5262.
Index letters: n atom, p q directed pairs of one atom.
"""

from __future__ import annotations

import numpy as np
import torch

from ...core.elements import number
from ...core.model import TorchModel
from ...core.pairs import Pairs
from ...core.system import System
from ...core.triplets import ordered_triplets
from .params import SwParams


def species_lookup(symbols: tuple[str, ...], device: torch.device) -> torch.Tensor:
    """(119,) int32: atomic number -> index in `symbols`."""
    lookup = np.zeros(119, dtype=np.int32)
    for a, symbol in enumerate(symbols):
        lookup[number(symbol)] = a
    return torch.from_numpy(lookup).to(device)


PAIR_COLUMNS = 8


def pair_table(params: SwParams) -> np.ndarray:
    """(M, M, 8): reach^2, a sigma, sigma, gamma sigma, A B eps sigma^p, A eps sigma^q, p, q."""
    eps, sigma, p, q = (params.pair(name) for name in ("epsilon", "sigma", "p", "q"))
    c = params.pair("A") * eps
    columns = [
        params.reaches() ** 2,
        params.pair("a") * sigma,
        sigma,
        params.pair("gamma") * sigma,
        c * params.pair("B") * sigma**p,
        c * sigma**q,
        p,
        q,
    ]
    return np.stack(columns, axis=-1)


def triple_table(params: SwParams) -> np.ndarray:
    """(M, M, M, 2): lambda eps, cos theta0; means of (i, j, k) and (i, k, j), which files round differently."""
    columns = np.stack([params.get("lambda") * params.get("epsilon"), params.get("costheta0")], axis=-1)
    return 0.5 * (columns + columns.transpose(0, 2, 1, 3))


class SwTorch(TorchModel):
    """Reference backend; see the module docstring."""

    def __init__(self, params: SwParams, device: torch.device, dtype: torch.dtype):
        self.params, self.device, self.dtype = params, device, dtype
        self.card, self.cutoff = params.card(), params.cutoff
        self.numbers = tuple(number(s) for s in params.elements)
        self.lookup = species_lookup(params.elements, device)
        self.pair = torch.tensor(pair_table(params), dtype=dtype, device=device)
        self.triple = torch.tensor(triple_table(params), dtype=dtype, device=device)

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        species = self.lookup[system.numbers].long()
        i, j = pairs.i.long(), pairs.j.long()
        row = self.pair[species[i], species[j]]
        inside = (vectors.detach() ** 2).sum(dim=1) < row[:, 0]
        i, j, row, vectors = i[inside], j[inside], row[inside], vectors[inside]
        r = vectors.norm(dim=1)
        _, cut, sigma, gamma_sigma, c_p, c_q, p_power, q_power = row.unbind(dim=1)
        phi2 = (c_p * r**-p_power - c_q * r**-q_power) * torch.exp(sigma / (r - cut))
        energies = r.new_zeros(system.n_atoms).index_add(0, i, 0.5 * phi2)

        p, q = ordered_triplets(i, system.n_atoms)
        p, q = p[p < q], q[p < q]
        strength, cos0 = self.triple[species[i[p]], species[j[p]], species[j[q]]].unbind(dim=1)
        fade = torch.exp(gamma_sigma / (r - cut))
        cos = (vectors[p] * vectors[q]).sum(dim=1) / (r[p] * r[q])
        third = strength * (cos - cos0) ** 2 * fade[p] * fade[q] / 3.0
        for atoms in (i[p], j[p], j[q]):
            energies = energies.index_add(0, atoms, third)
        return energies
