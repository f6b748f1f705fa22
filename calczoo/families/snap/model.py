"""SNAP in torch: the reference backend.

With r, theta_0 = rfac0 pi (r - rmin0) / (r_cut - rmin0) and z_0 = r cot(theta_0), each neighbour is a point on the unit
3-sphere with the Cayley-Klein parameters

    a = (z_0 - i z) / sqrt(r^2 + z_0^2),   b = (y - i x) / sqrt(r^2 + z_0^2)

The Wigner matrices follow by recursion in j (lower half, the rest by symmetry):

    u_j[mb, ma] = sqrt((j - ma) / (j - mb)) conj(a) u_{j-1}[mb, ma] - sqrt(ma / (j - mb)) conj(b) u_{j-1}[mb, ma - 1]
    u_j[j - mb, j - ma] = (-1)^(ma + mb) conj(u_j[mb, ma])

Neighbour densities, their couplings, the bispectrum and the energy of a site:

    U_j     = w_self 1 + sum_k f_c(r_ik) w_k u_j(r_ik)                 (one per element of k with chemflag)
    Z_{j1 j2}^j = sum C(j1 j2 j) C(j1 j2 j) U_{j1} U_{j2}              (/ (2j + 1) with bnormflag)
    B_{j1 j2 j} = Re sum conj(U_j) Z_{j1 j2}^j                         (minus its value for a lone atom with bzeroflag)
    E_i     = c_0 + c . B + 1/2 B . A B

Index letters: n atom of a chunk, p pair, e f g elements (densities), x y doubled m of the first and second factor,
a b of the result (a column ma, b row mb), k component.

Source: Thompson et al., J. Comput. Phys. 285, 316 (2015), doi:10.1016/j.jcp.2014.12.018; quadratic: Wood and Thompson,
J. Chem. Phys. 148, 241721 (2018), doi:10.1063/1.5017641; densities per element: Cusentino, Wood, Thompson,
J. Phys. Chem. A 124, 5456 (2020), doi:10.1021/acs.jpca.0c02450.
"""

from __future__ import annotations

import math

import torch

from ...core.model import GRADIENTS, LOCAL_OUTPUTS, Local, TorchModel
from ...core.pairs import Pairs
from ...core.system import System
from .indices import coupling_tensor, indices
from .params import SnapParams

CHUNK_BYTES = 128 << 20
"""Atoms are taken in chunks whose intermediate tensors need about this much memory."""


class SnapTorch(TorchModel):
    """SNAP of any 2J, linear or quadratic, any number of elements, all flags; differentiable in the pair vectors."""

    outputs = LOCAL_OUTPUTS | {"descriptors"}

    def __init__(self, params: SnapParams, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64):
        self.params = params
        self.card = params.card()
        self.cutoff = params.cutoff
        self.numbers = params.numbers
        self.device, self.dtype = torch.device(device), dtype
        self._tables = indices(params.twojmax)
        species = torch.full((120,), -1, dtype=torch.long)
        species[list(params.numbers)] = torch.arange(params.n_elements)
        self._species = species.to(self.device)
        self._cutoffs = self._put(params.cutoffs)
        self._weights = self._put(params.weights)
        self._constant = self._put(params.constant)
        self._linear = self._put(params.linear)
        self._quadratic = None if params.quadratic is None else self._put(params.quadratic)
        self._zero = self._put(params.zero_components)
        if params.switchinnerflag:
            self._sinner, self._dinner = self._put(params.sinner), self._put(params.dinner)

    def _put(self, array) -> torch.Tensor:
        return torch.tensor(array, dtype=self.dtype, device=self.device)

    # -- what the base class asks for ------------------------------------------------------------------------

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        parts = [self._energies(self._components(system, pairs, vectors, *c), c, system) for c in self._chunks(pairs)]
        return torch.cat(parts) if parts else vectors.new_zeros(0)

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        """Chunk by chunk, so that the graph of one chunk only is alive; the whole graph where it is to be kept."""
        extra = {"descriptors": self.descriptors(system, pairs)} if "descriptors" in need else None
        vectors = pairs.vectors(system)
        if self.create_graph or vectors.requires_grad or not need & GRADIENTS:
            site = super().local(system, pairs, need)
            return Local(site.energies, site.pair_gradients, extra=extra)
        energies, gradients = vectors.new_zeros(system.n_atoms), torch.zeros_like(vectors)
        for chunk in self._chunks(pairs):
            first, last = int(pairs.first[chunk[0]]), int(pairs.first[chunk[1]])
            with torch.enable_grad():
                part = vectors[first:last].detach().requires_grad_(True)
                sites = self._energies(self._components(system, pairs, part, *chunk, first), chunk, system)
                if last > first and sites.requires_grad:  # 2J = 0 without switching depends on no vector
                    (gradients[first:last],) = torch.autograd.grad(sites.sum(), part)
            energies[chunk[0] : chunk[1]] = sites.detach()
        return Local(energies, pair_gradients=gradients, extra=extra)

    def descriptors(self, system: System, pairs: Pairs) -> torch.Tensor:
        """(N, K): bispectrum components of each atom, minus those of a lone atom with bzeroflag."""
        vectors = pairs.vectors(system)
        parts = [self._components(system, pairs, vectors, *chunk) for chunk in self._chunks(pairs)]
        return torch.cat(parts) if parts else vectors.new_zeros((0, self.params.n_components))

    # -- one chunk of atoms ----------------------------------------------------------------------------------

    def _chunks(self, pairs: Pairs) -> list[tuple[int, int]]:
        """(start, stop) atom ranges of bounded memory."""
        n = pairs.first.shape[0] - 1
        per_pair = 96 * self._tables.u_size  # U of a pair with its graph
        per_atom = 16 * (self.params.twojmax + 1) ** 4 * self.params.n_densities**2 + 4096
        size = per_atom * n + per_pair * pairs.n_pairs
        step = max(1, n * CHUNK_BYTES // max(size, 1))
        return [(a, min(n, a + step)) for a in range(0, n, step)]

    def _components(
        self, system: System, pairs: Pairs, vectors: torch.Tensor, start: int, stop: int, origin: int = 0
    ) -> torch.Tensor:
        """(n, K) components of the atoms start..stop; vectors[p - origin] belongs to pair p."""
        first, last = int(pairs.first[start]), int(pairs.first[stop])
        species = self._species[system.numbers]
        center = pairs.i[first:last].long()
        densities = self._densities(
            vectors[first - origin : last - origin],
            center - start,
            species[center],
            species[pairs.j[first:last].long()],
            species[start:stop],
        )
        return self._bispectrum(densities) - self._zero[species[start:stop]]

    def _energies(self, components: torch.Tensor, chunk: tuple[int, int], system: System) -> torch.Tensor:
        """(n,) eV: E_i = c_0 + c . B + 1/2 B . A B."""
        species = self._species[system.numbers[chunk[0] : chunk[1]]]
        energies = self._constant[species] + (self._linear[species] * components).sum(dim=1)
        if self._quadratic is None:
            return energies
        for e in range(self.params.n_elements):
            mine = torch.nonzero(species == e).flatten()
            b = components[mine]
            energies = energies.index_add(0, mine, 0.5 * ((b @ self._quadratic[e]) * b).sum(dim=1))
        return energies

    def _densities(
        self,
        vectors: torch.Tensor,
        center: torch.Tensor,
        center_species: torch.Tensor,
        other_species: torch.Tensor,
        own_species: torch.Tensor,
    ) -> list[torch.Tensor]:
        """U_j of each atom and density, complex (n, E or 1, j + 1, j + 1), for j = 0..2J."""
        cutoff = self._cutoffs[center_species, other_species]
        inside = torch.nonzero((vectors * vectors).sum(dim=1) < cutoff * cutoff).flatten()
        vectors, center, cutoff = vectors[inside], center[inside], cutoff[inside]
        center_species, other_species = center_species[inside], other_species[inside]
        r = vectors.norm(dim=1)
        weight = self._weights[other_species] * self._switching(r, cutoff, center_species, other_species)
        n, e = own_species.shape[0], self.params.n_densities
        slot = center * e + (other_species if e > 1 else 0)
        own = torch.zeros((n, e), dtype=self.dtype, device=self.device)
        if e == 1 or self.params.wselfallflag:
            own += 1.0
        else:
            own[torch.arange(n, device=self.device), own_species] = 1.0
        out = []
        for j, u in enumerate(self._wigner(vectors, r, cutoff)):
            summed = torch.zeros((n * e, j + 1, j + 1), dtype=u.dtype, device=self.device)
            summed = summed.index_add(0, slot, u * weight[:, None, None])
            identity = torch.eye(j + 1, dtype=u.dtype, device=self.device)
            out.append(summed.view(n, e, j + 1, j + 1) + own[:, :, None, None] * identity)
        return out

    def _switching(
        self, r: torch.Tensor, cutoff: torch.Tensor, center_species: torch.Tensor, other_species: torch.Tensor
    ) -> torch.Tensor:
        """(p,): f_c = (1 + cos(pi (r - rmin0) / (r_cut - rmin0))) / 2, times the inner switching function."""
        factor = torch.ones_like(r)
        if self.params.switchflag:
            x = (r - self.params.rmin0) / (cutoff - self.params.rmin0)
            factor = 0.5 * (1.0 + torch.cos(math.pi * x.clamp(0.0, 1.0)))
        if self.params.switchinnerflag:
            s = 0.5 * (self._sinner[center_species] + self._sinner[other_species])
            d = 0.5 * (self._dinner[center_species] + self._dinner[other_species])
            factor = factor * 0.5 * (1.0 + torch.sin(0.5 * math.pi * ((r - s) / d).clamp(-1.0, 1.0)))
        return factor

    def _wigner(self, vectors: torch.Tensor, r: torch.Tensor, cutoff: torch.Tensor) -> list[torch.Tensor]:
        """u_j of each pair, complex (p, j + 1, j + 1), for j = 0..2J."""
        theta = self.params.rfac0 * math.pi * (r - self.params.rmin0) / (cutoff - self.params.rmin0)
        z0 = r / torch.tan(theta)
        scale = 1.0 / torch.sqrt(r * r + z0 * z0)
        x, y, z = vectors.unbind(dim=1)
        conj_a = torch.complex(z0 * scale, z * scale)[:, None, None]
        conj_b = torch.complex(y * scale, x * scale)[:, None, None]
        rootpq = self._put(self._tables.rootpq)
        u = [torch.ones((len(r), 1, 1), dtype=conj_a.dtype, device=self.device)]
        for j in range(1, self.params.twojmax + 1):
            rows, columns = torch.arange(j // 2 + 1, device=self.device), torch.arange(j, device=self.device)
            before = u[-1][:, : j // 2 + 1]
            left = rootpq[j - columns[None, :], j - rows[:, None]] * conj_a * before
            right = rootpq[columns[None, :] + 1, j - rows[:, None]] * conj_b * before
            pad = torch.nn.functional.pad
            lower = pad(left, (0, 1)) - pad(right, (1, 0))
            parity = (-1.0) ** (rows[:, None] + torch.arange(j + 1, device=self.device)[None, :])
            upper = (parity * lower.conj())[:, : (j + 1) // 2].flip(1, 2)
            u.append(torch.cat([lower, upper], dim=1))
        return u

    def _bispectrum(self, densities: list[torch.Tensor]) -> torch.Tensor:
        """(n, K) without the subtraction; blocks of the element triples (e, f, g) in row-major order."""
        columns = []
        for j1, j2, j in self._tables.b.tolist():
            cg = self._put(coupling_tensor(j1, j2, j)).to(densities[0].dtype)
            half = torch.einsum("xyb,nexp->neybp", cg, densities[j1])
            half = torch.einsum("neybp,nfyq->nefbpq", half, densities[j2])
            coupled = torch.einsum("pqa,nefbpq->nefba", cg, half)
            b = torch.einsum("ngba,nefba->nefg", densities[j].conj(), coupled).real
            columns.append(b / (j + 1) if self.params.bnormflag else b)
        n = densities[0].shape[0]
        return torch.stack(columns, dim=-1).reshape(n, -1)
