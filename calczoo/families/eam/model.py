"""EAM and ADP in torch.

    U_i   = F_i(rho_i) + 1/2 sum_j phi_ij(r_ij)                              EAM
          + 1/2 mu_i . mu_i + 1/2 lambda_i : lambda_i - 1/6 (tr lambda_i)^2  ADP
    rho_i = sum_j f_ji(r_ij)        density of j at the host i
    mu_i  = sum_j u_ij(r_ij) r_ij,  lambda_i = sum_j w_ij(r_ij) r_ij (x) r_ij

f, r phi, u, w and F are piecewise cubics with five-point slopes (`params.hermite`). F goes on along its tangent above
its last density and along its first cubic below its first. A radial table that ends before the cutoff (by less than a
step; LAMMPS drops the last point of funcfl tables) keeps its last value and its last slope, as in LAMMPS: in that last
step forces are the gradient of the tangent, and the error against the energy is the slope of the table at its end.

Sources: M. S. Daw, M. I. Baskes, Phys. Rev. B 29, 6443 (1984), doi:10.1103/PhysRevB.29.6443; M. W. Finnis,
J. E. Sinclair, Philos. Mag. A 50, 45 (1984), doi:10.1080/01418618408244210; Y. Mishin, M. J. Mehl,
D. A. Papaconstantopoulos, Acta Mater. 53, 4029 (2005), doi:10.1016/j.actamat.2005.05.001 (ADP).
"""

from __future__ import annotations

import numpy as np
import torch

from ...core.elements import number
from ...core.model import TorchModel
from ...core.pairs import Pairs
from ...core.system import System
from .params import EamParams, hermite


def species_lookup(symbols: tuple[str, ...], device: torch.device) -> torch.Tensor:
    """(119,) int32: atomic number -> index in `symbols`."""
    lookup = np.zeros(119, dtype=np.int32)
    for a, symbol in enumerate(symbols):
        lookup[number(symbol)] = a
    return torch.from_numpy(lookup).to(device)


def cubic(row: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """(P, 4) coefficients, (P,) places: c0 + t (c1 + t (c2 + t c3))."""
    c0, c1, c2, c3 = row.unbind(dim=-1)
    return c0 + t * (c1 + t * (c2 + t * c3))


def tangent(row: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """What the tangent at t = 1 adds above it."""
    return (row[:, 1] + 2.0 * row[:, 2] + 3.0 * row[:, 3]) * (t - t.clamp(max=1.0))


def radial(table: torch.Tensor, q: torch.Tensor, *species: torch.Tensor) -> torch.Tensor:
    """Values of a radial table (S, S, nr - 1, 4) at r = q dr; above the last point its last value and slope."""
    m = q.detach().clamp(max=table.shape[2] - 1).long()
    row, t = table[(*species, m)], q - m
    beyond = tangent(row, t)
    return cubic(row, t.clamp(max=1.0)) + (beyond - beyond.detach())


class EamTorch(TorchModel):
    """Reference backend; see the module docstring."""

    def __init__(self, params: EamParams, device: torch.device, dtype: torch.dtype):
        self.params, self.device, self.dtype = params, device, dtype
        self.card, self.cutoff = params.card(), params.cutoff
        self.numbers = tuple(number(s) for s in params.elements)
        self.lookup = species_lookup(params.elements, device)

        def spline(table: np.ndarray) -> torch.Tensor:
            return torch.tensor(hermite(table), dtype=dtype, device=device)

        self.embedding = torch.tensor(params.embedding_cubics(), dtype=dtype, device=device)
        self.density, self.r_phi = spline(params.density), spline(params.r_phi)
        self.angular = None
        if params.dipole is not None and params.quadrupole is not None:
            self.angular = (spline(params.dipole), spline(params.quadrupole))

    def embed(self, species: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
        """F(rho) (N,)."""
        q = (rho - self.params.rho_min) / self.params.drho
        m = q.detach().clamp(0, self.embedding.shape[1] - 1).long()
        row, t = self.embedding[species, m], q - m
        return cubic(row, t.clamp(max=1.0)) + tangent(row, t)

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        species = self.lookup[system.numbers].long()
        near = (vectors.detach() ** 2).sum(dim=1) < self.cutoff**2
        i, j, vectors = pairs.i[near].long(), pairs.j[near].long(), vectors[near]
        host, source = species[i], species[j]
        r = vectors.norm(dim=1)
        q = r / self.params.dr

        def per_atom(values: torch.Tensor) -> torch.Tensor:
            return values.new_zeros((system.n_atoms, *values.shape[1:])).index_add(0, i, values)

        rho = per_atom(radial(self.density, q, source, host))
        energies = self.embed(species, rho) + 0.5 * per_atom(radial(self.r_phi, q, host, source) / r)
        if self.angular is None:
            return energies
        u, w = (radial(table, q, host, source)[:, None] for table in self.angular)
        mu = per_atom(u * vectors)
        outer = w[:, :, None] * vectors[:, :, None] * vectors[:, None, :]
        lam = per_atom(outer)
        trace = lam.diagonal(dim1=1, dim2=2).sum(dim=1)
        return energies + 0.5 * (mu**2).sum(dim=1) + 0.5 * (lam**2).sum(dim=(1, 2)) - trace**2 / 6.0
