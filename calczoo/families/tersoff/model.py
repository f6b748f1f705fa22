"""Tersoff in torch.

    E      = 1/2 sum_i sum_{j != i} fC(r_ij) [A exp(-lambda1 r_ij) - b_ij B exp(-lambda2 r_ij)]
    fC(r)  = 1 below R - D, 0 above R + D, 1/2 - 1/2 sin(pi/2 (r - R)/D) between
    b_ij   = (1 + (beta zeta_ij)^n)^(-1/(2n))
    zeta   = sum_{k != i,j} fC(r_ik) g(theta_ijk) exp[(lambda3 (r_ij - r_ik))^m]
    g      = gamma (1 + c^2/d^2 - c^2 / (d^2 + (cos theta - cos theta0)^2))

The bond takes A, B, lambda1, lambda2, beta, n, R, D from entry (i, j, j), a term of zeta takes its own from (i, j, k).
As in LAMMPS, b_ij goes over to its asymptotes where beta zeta is very small or very large, and the exponent of zeta
is limited to +-69.0776. The site energy of the derivative is U_i = 1/2 sum_j of the above; the energies handed out give
half of each bond term to i and half to j, as LAMMPS does; their sum is the same, and so is its gradient.

Source: J. Tersoff, Phys. Rev. B 37, 6991 (1988), doi:10.1103/PhysRevB.37.6991; Phys. Rev. B 39, 5566 (1989),
doi:10.1103/PhysRevB.39.5566. Index letters: n atom, p q directed pairs of one atom.
"""

from __future__ import annotations

import numpy as np
import torch

from ...core.elements import number
from ...core.model import TorchModel
from ...core.pairs import Pairs
from ...core.system import System
from ...core.triplets import ordered_triplets
from .params import TersoffParams

MAX_EXPONENT = 69.0776
"""exp(69.0776) = 1e30."""


def species_lookup(symbols: tuple[str, ...], device: torch.device) -> torch.Tensor:
    """(119,) int32: atomic number -> index in `symbols`."""
    lookup = np.zeros(119, dtype=np.int32)
    for a, symbol in enumerate(symbols):
        lookup[number(symbol)] = a
    return torch.from_numpy(lookup).to(device)


def pair_table(params: TersoffParams) -> np.ndarray:
    """(M, M, 13): list^2, R, D, A, lambda1, B, lambda2, beta, n, small, tiny, large, huge. list: reach of j as bond
    partner or as third atom; the last four are bounds of beta zeta, see `bond_order`."""
    reach = params.get("R") + params.get("D")
    n = np.where(params.pair("B") > 0.0, params.pair("n"), 1.0)  # without attraction there is no bond order
    large, huge = (2e-8 * n) ** (-1.0 / n), (2e-16 * n) ** (-1.0 / n)
    first = [reach.max(axis=1) ** 2, *(params.pair(x) for x in ("R", "D", "A", "lambda1", "B", "lambda2", "beta"))]
    return np.stack([*first, n, 1.0 / large, 1.0 / huge, large, huge], axis=-1)


def triple_table(params: TersoffParams) -> np.ndarray:
    """(M, M, M, 8): R, D, gamma, gamma c^2 / d^2, d^2, cos theta0, lambda3^m, m."""
    gamma, c, d, m = (params.get(x) for x in ("gamma", "c", "d", "m"))
    columns = [params.get("R"), params.get("D"), gamma, gamma * (c / d) ** 2, d * d, params.get("costheta0")]
    return np.stack([*columns, params.get("lambda3") ** m, m], axis=-1)


def cutoff_function(r: torch.Tensor, centre: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """fC for r below R + D."""
    between = r >= centre - width
    x = torch.where(between, (r - centre) / torch.where(width > 0, width, 1.0), -1.0)
    return torch.where(between, 0.5 - 0.5 * torch.sin(0.5 * torch.pi * x), 1.0)


def bond_order(x: torch.Tensor, n: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """(1 + x^n)^(-1/(2n)) for x = beta zeta, with its asymptotes beyond the columns small, tiny, large, huge."""
    small, tiny, large, huge = bounds.unbind(dim=1)

    def piece(where: torch.Tensor, value) -> torch.Tensor:
        """value(x, n) on part of the pairs; the rest is computed at x = 1 and dropped, which keeps gradients finite."""
        return torch.where(where, value(torch.where(where, x, 1.0), n), 0.0)

    parts = (
        (x > huge, lambda x, n: x**-0.5),
        ((x > large) & (x <= huge), lambda x, n: (1.0 - x**-n / (2.0 * n)) * x**-0.5),
        (x < tiny, lambda x, n: torch.ones_like(x)),
        ((x >= tiny) & (x < small), lambda x, n: 1.0 - x**n / (2.0 * n)),
        ((x >= small) & (x <= large), lambda x, n: (1.0 + x**n) ** (-0.5 / n)),
    )
    return sum((piece(where, value) for where, value in parts), torch.zeros_like(x))


class TersoffTorch(TorchModel):
    """Reference backend; see the module docstring."""

    def __init__(self, params: TersoffParams, device: torch.device, dtype: torch.dtype):
        self.params, self.device, self.dtype = params, device, dtype
        self.card, self.cutoff = params.card(), params.cutoff
        self.numbers = tuple(number(s) for s in params.elements)
        self.lookup = species_lookup(params.elements, device)
        self.pair = torch.tensor(pair_table(params), dtype=dtype, device=device)
        self.triple = torch.tensor(triple_table(params), dtype=dtype, device=device)

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        species = self.lookup[system.numbers].long()
        i, j = pairs.i.long(), pairs.j.long()
        listed = (vectors.detach() ** 2).sum(dim=1) < self.pair[species[i], species[j], 0]
        i, j, vectors = i[listed], j[listed], vectors[listed]
        row = self.pair[species[i], species[j]]
        r = vectors.norm(dim=1)
        zeta = self._zeta(i, species[i], species[j], vectors, r, system.n_atoms)

        bond = r.detach() ** 2 < (row[:, 1] + row[:, 2]) ** 2
        i, j, row, r, zeta = i[bond], j[bond], row[bond], r[bond], zeta[bond]
        _, centre, width, a, lambda1, b, lambda2, beta, n = row[:, :9].unbind(dim=1)
        fade = cutoff_function(r, centre, width)
        repulsion = fade * a * torch.exp(-lambda1 * r)
        attraction = -fade * b * torch.exp(-lambda2 * r) * bond_order(beta * zeta, n, row[:, 9:])
        energies = r.new_zeros(system.n_atoms).index_add(0, i, 0.5 * repulsion + 0.25 * attraction)
        return energies.index_add(0, j, 0.25 * attraction)

    def _zeta(self, i, species_i, species_j, vectors, r, n_atoms: int) -> torch.Tensor:
        """zeta of every listed pair."""
        p, q = ordered_triplets(i, n_atoms)
        row = self.triple[species_i[p], species_j[p], species_j[q]]
        inside = r.detach()[q] ** 2 < (row[:, 0] + row[:, 1]) ** 2
        p, q, row = p[inside], q[inside], row[inside]
        centre, width, gamma, gamma_c2d2, d2, cos0, lambda3, m = row.unbind(dim=1)
        cos = (vectors[p] * vectors[q]).sum(dim=1) / (r[p] * r[q])
        h2 = (cos - cos0) ** 2
        g = gamma + gamma_c2d2 * h2 / (d2 + h2)  # as in the docstring, without its cancellation
        dr = r[p] - r[q]
        exponent = lambda3 * torch.where(m == 3.0, dr**3, dr)
        factor = torch.exp(exponent.clamp(max=MAX_EXPONENT))
        factor = torch.where(exponent < -MAX_EXPONENT, 0.0, factor)
        return r.new_zeros(r.shape[0]).index_add(0, p, cutoff_function(r[q], centre, width) * g * factor)
