"""Moment tensor potentials in torch: the reference backend.

    m_k = sum_j f_mu(r_ij; z_i, z_j) x^p y^q z^t / r^(p+q+t)     basic moments, r_ij < max_dist
    m_k += mult m_i m_j                                          their products (tree.py)
    f_mu = sum_n c[z_i, z_j, mu, n] Q_n(r)                       (radial.py)
    V_i = e[z_i] + sum_s w_s B_s,  B_s the moments that are basis functions

Energies are linear in e and w, and in c after the product rule: with the adjoints a_k = dV_i/dm_k of the basic moments

    b_i = dV_i/dtheta = [dV_i/dc, dV_i/de, dV_i/dw],   dV_i/de[z] = delta(z, z_i),   dV_i/dw_s = B_s
    dV_i/dc[z_i, z, mu, n] = sum_{j of z} Q_n(r_ij) sum_{k of mu} a_k x^p y^q z^t / r^(p+q+t)

are the rows that extrapolation grades are made of (grade.py).

Source: Shapeev, Multiscale Model. Simul. 14, 1153 (2016), doi:10.1137/15M1054183; Gubaev et al., Comput. Mater. Sci.
156, 148 (2019), doi:10.1016/j.commatsci.2018.09.031; grades: Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171
(2017), doi:10.1016/j.commatsci.2017.08.031.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ...core.model import GRADIENTS, LOCAL_OUTPUTS, Local, TorchModel
from ...core.pairs import Pairs
from ...core.system import System
from .grade import Grader, grade_outputs
from .params import MtpParams
from .radial import ShortDistances, radial_basis, repulsion
from .tree import Tree

CHUNK_BYTES = 64 << 20
"""Atoms are taken in chunks whose intermediate tensors need about this much memory."""


@dataclass(frozen=True)
class Neighbours:
    """The pairs of a chunk of atoms that are within the cutoff. center (p,): atom of the chunk; kind (p,):
    z_i C + z_j; basis (p, R): Q_n; monomials (p, A): x^p y^q z^t / r^(p+q+t); repulsion (p,) or None."""

    center: torch.Tensor
    kind: torch.Tensor
    basis: torch.Tensor
    monomials: torch.Tensor
    repulsion: torch.Tensor | None


class Physics:
    """The formulas for one chunk of atoms, in one dtype on one device."""

    def __init__(self, params: MtpParams, device: torch.device, dtype: torch.dtype):
        self.params, self.device, self.dtype = params, device, dtype
        self.tree = Tree(params.moments, device, dtype)
        basic = params.moments.basic
        self.mu = torch.from_numpy(basic[:, 0].copy()).to(device)
        powers, which = np.unique(basic[:, 1:], axis=0, return_inverse=True)
        self.powers = torch.from_numpy(powers).to(device)
        self.monomial = torch.from_numpy(which.reshape(-1)).to(device)
        c, k, r = params.n_elements, params.radial.shape[2], params.radial.shape[3]
        self.radial = self._put(params.radial).reshape(c * c, k, r)
        self.species, self.weights = self._put(params.species), self._put(params.weights)

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=self.dtype, device=self.device)

    def neighbours(self, vectors: torch.Tensor, center: torch.Tensor, kind: torch.Tensor) -> Neighbours:
        """Of all pairs (P, 3) of a chunk, those with r < max_dist."""
        r2 = (vectors * vectors).sum(dim=1)
        inside = torch.nonzero(r2 < self.params.cutoff**2).flatten()
        vectors, r = vectors[inside], r2[inside].sqrt()
        unit = vectors / r[:, None]
        powers = [torch.ones_like(unit)]
        for _ in range(self.params.moments.max_power):
            powers.append(powers[-1] * unit)
        table = torch.stack(powers, dim=2)  # (p, 3, power)
        x, y, z = (table[:, a][:, self.powers[:, a]] for a in range(3))
        basis = radial_basis(self.params, r)
        return Neighbours(center[inside], kind[inside], basis, x * y * z, repulsion(self.params, r))

    def basic(self, near: Neighbours, n_atoms: int) -> torch.Tensor:
        """(n, nb) basic moments of the atoms of a chunk."""
        if self.radial.shape[0] == 1:
            f = near.basis @ self.radial[0].T
        else:
            f = torch.einsum("pkn,pn->pk", self.radial[near.kind], near.basis)
        terms = f[:, self.mu] * near.monomials[:, self.monomial]
        return terms.new_zeros((n_atoms, len(self.mu))).index_add(0, near.center, terms)

    def scalars(self, near: Neighbours, n_atoms: int) -> torch.Tensor:
        """(n, S) basis functions B_s."""
        return self.tree.forward(self.basic(near, n_atoms).T)[self.tree.scalars].T

    def energies(self, near: Neighbours, species: torch.Tensor) -> torch.Tensor:
        """(n,) V_i in eV."""
        v = self.species[species] + self.scalars(near, len(species)) @ self.weights
        return v if near.repulsion is None else v.index_add(0, near.center, near.repulsion)

    @torch.no_grad()
    def rows(self, near: Neighbours, species: torch.Tensor) -> torch.Tensor:
        """(n, n_coefficients): b_i = dV_i/dtheta."""
        n, c = len(species), self.params.n_elements
        _, k, r = self.radial.shape
        m = self.tree.forward(self.basic(near, n).T)
        adjoint = self.tree.adjoint(m, self.weights).T
        terms = adjoint[near.center] * near.monomials[:, self.monomial]
        by_mu = terms.new_zeros((len(terms), k)).index_add_(1, self.mu, terms)
        products = (by_mu[:, :, None] * near.basis[:, None, :]).reshape(len(terms), k * r)
        sums = products.new_zeros((n * c, k * r)).index_add_(0, near.center * c + near.kind % c, products)
        atoms = torch.arange(n, device=self.device)
        radial = sums.new_zeros((n, c, c * k * r))
        radial[atoms, species] = sums.reshape(n, c * k * r)
        kinds = sums.new_zeros((n, c))
        kinds[atoms, species] = 1.0
        return torch.cat([radial.reshape(n, -1), kinds, m[self.tree.scalars].T], dim=1)


class MtpTorch(TorchModel):
    """MTP of any level, any number of elements; differentiable in the pair vectors, to any order."""

    def __init__(self, params: MtpParams, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64):
        self.params = params
        self.card = params.card()
        self.cutoff = params.cutoff
        self.numbers = params.numbers
        self.device, self.dtype = torch.device(device), dtype
        self.outputs = LOCAL_OUTPUTS | {"descriptors"} | grade_outputs(params.active)
        species = torch.full((120,), -1, dtype=torch.long)
        species[list(params.numbers)] = torch.arange(params.n_elements)
        self._species = species.to(self.device)
        self._physics = Physics(params, self.device, dtype)
        self._short = ShortDistances(params)

    @cached_property
    def _double(self) -> Physics:
        """The formulas in double precision, without which ill-conditioned active sets give no grades."""
        exact = self.dtype == torch.float64
        return self._physics if exact else Physics(self.params, self.device, torch.float64)

    @cached_property
    def grader(self) -> Grader:
        return Grader(self.params.active, self.device)

    # -- what the base class asks for ------------------------------------------------------------------------

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        parts = [self._energies(system, pairs, vectors, *chunk) for chunk in self._chunks(pairs)]
        return torch.cat(parts) if parts else vectors.new_zeros(0)

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        """Chunk by chunk, so that the graph of one chunk only is alive; the whole graph where it is to be kept."""
        extra = self._extra(system, pairs, need)
        vectors = pairs.vectors(system)
        self.check_distances(vectors if system.counted is None else vectors[system.counted[pairs.i.long()]])
        if self.create_graph or vectors.requires_grad or not need & GRADIENTS:
            site = super().local(system, pairs, need)
            return Local(site.energies, site.pair_gradients, extra=extra)
        energies, gradients = vectors.new_zeros(system.n_atoms), torch.zeros_like(vectors)
        for start, stop in self._chunks(pairs):
            first, last = int(pairs.first[start]), int(pairs.first[stop])
            with torch.enable_grad():
                part = vectors[first:last].detach().requires_grad_(True)
                sites = self._energies(system, pairs, part, start, stop, first)
                if last > first:
                    (gradients[first:last],) = torch.autograd.grad(sites.sum(), part)
            energies[start:stop] = sites.detach()
        return Local(energies, pair_gradients=gradients, extra=extra)

    def check_distances(self, vectors: torch.Tensor) -> None:
        """Warn, once, of a distance below min_dist."""
        if len(vectors) and not self._short.said:
            self._short.check(float((vectors.detach() ** 2).sum(dim=1).min()) ** 0.5)

    def _extra(self, system: System, pairs: Pairs, need: frozenset[str]) -> dict[str, torch.Tensor]:
        extra = {"descriptors": self.descriptors(system, pairs)} if "descriptors" in need else {}
        if wanted := need & grade_outputs(self.params.active):
            extra |= self.grades(system, pairs, wanted)
        return extra

    # -- basis functions, derivatives with respect to coefficients, grades -----------------------------------

    def descriptors(self, system: System, pairs: Pairs) -> torch.Tensor:
        """(N, S): basis functions B_s of each atom."""
        vectors, physics = pairs.vectors(system), self._physics
        parts = [
            physics.scalars(self._neighbours(physics, system, pairs, vectors, *chunk), chunk[1] - chunk[0])
            for chunk in self._chunks(pairs)
        ]
        return torch.cat(parts) if parts else vectors.new_zeros((0, self.params.n_basis))

    def basis_chunks(self, system: System, pairs: Pairs) -> Iterator[tuple[int, int, torch.Tensor]]:
        """(start, stop, b (stop - start, n)) for ranges of atoms, in double precision: b_i = dV_i/dtheta with theta in
        the order radial, species, moment coefficients."""
        vectors, physics = pairs.vectors(system).detach().double(), self._double
        for start, stop in self._chunks(pairs):
            near = self._neighbours(physics, system, pairs, vectors, start, stop)
            yield start, stop, physics.rows(near, self._species[system.numbers[start:stop]])

    def basis_vectors(self, system: System, pairs: Pairs) -> torch.Tensor:
        """(N, n) float64: b_i of every atom."""
        out = torch.empty((system.n_atoms, self.params.n_coefficients), dtype=torch.float64, device=self.device)
        for start, stop, b in self.basis_chunks(system, pairs):
            out[start:stop] = b
        return out

    def grades(self, system: System, pairs: Pairs, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        """extrapolation_grade (S,) and, for neighbourhoods, extrapolation_grades (N,)."""
        chunks = self.basis_chunks(system, pairs)
        atoms, structures = self.grader.stream(chunks, system.system_index, np.diff(system.first))
        found = {"extrapolation_grade": structures, "extrapolation_grades": atoms}
        return {name: found[name] for name in wanted}

    # -- one chunk of atoms ----------------------------------------------------------------------------------

    def _chunks(self, pairs: Pairs) -> list[tuple[int, int]]:
        """(start, stop) atom ranges of bounded memory."""
        n, moments = pairs.first.shape[0] - 1, self.params.moments
        c, _, k, r = self.params.radial.shape
        per_atom = 8 * (4 * len(moments.times) + 4 * moments.count + self.params.n_coefficients + c * k * r) + 1024
        per_pair = 8 * (6 * len(moments.basic) + 3 * k * r + 64)  # with the graph
        step = max(1, n * CHUNK_BYTES // max(per_atom * n + per_pair * pairs.n_pairs, 1))
        return [(a, min(n, a + step)) for a in range(0, n, step)]

    def _neighbours(
        self,
        physics: Physics,
        system: System,
        pairs: Pairs,
        vectors: torch.Tensor,
        start: int,
        stop: int,
        origin: int = 0,
    ) -> Neighbours:
        """Neighbours of the atoms start..stop; vectors[p - origin] belongs to pair p."""
        first, last = int(pairs.first[start]), int(pairs.first[stop])
        center, species = pairs.i[first:last].long(), self._species[system.numbers]
        kind = species[center] * self.params.n_elements + species[pairs.j[first:last].long()]
        return physics.neighbours(vectors[first - origin : last - origin], center - start, kind)

    def _energies(
        self, system: System, pairs: Pairs, vectors: torch.Tensor, start: int, stop: int, origin: int = 0
    ) -> torch.Tensor:
        near = self._neighbours(self._physics, system, pairs, vectors, start, stop, origin)
        return self._physics.energies(near, self._species[system.numbers[start:stop]])
