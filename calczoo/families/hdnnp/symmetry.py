"""Atom-centred symmetry functions in torch: the reference, of every kind, differentiable twice in the pair vectors.

    2, 12        sum_j w exp(-eta (r - rs)^2) fc(r)
    20, 23       sum_j w C(r)
    3, 13        2^(1-zeta) sum_{j<k} w (1 + lambda cos)^zeta exp(-eta ((rij - rs)^2 + (rik - rs)^2 + (rjk - rs)^2))
                 fc(rij) fc(rik) fc(rjk)
    9            as 3 without the terms of rjk
    21, 24       sum_{j<k} w C(rij) C(rik) C(rjk) C(angle)
    22, 25       as 21 without C(rjk)

w = 1, with neighbours of the named elements; in 12, 13, 23, 24 and 25 neighbours are all atoms and w = Z_j (Z_j Z_k).
A neighbour is an atom or any periodic image, own images included; sums over j < k are over unordered pairs of them. fc
and C: symmetry_cores.py.

Source: Behler, J. Chem. Phys. 134, 074106 (2011), doi:10.1063/1.3553717; weighted: Gastegger et al., J. Chem. Phys.
148, 241709 (2018), doi:10.1063/1.5019667; compact: Bircher, Singraber, Dellago, Mach. Learn.: Sci. Technol. 2, 035026
(2021), doi:10.1088/2632-2153/abf817.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ...core.elements import number
from ...core.pairs import Pairs
from ...core.system import System
from ...core.triplets import ordered_triplets
from .params import HdnnpParams
from .scaling import Scaling
from .symmetry_cores import compact, compact_angle, cutoff, power
from .symmetry_groups import AngularGroup, ElementTable, RadialGroup, element_tables

CHUNK_BYTES = 64 << 20
"""Atoms, and the triplets of one atom where they are very many, are taken in blocks of about this much memory."""


@dataclass(frozen=True)
class Block:
    """Atoms start to stop; of their triplets every `parts`-th from number `part` on, radial functions with part 0."""

    start: int
    stop: int
    part: int = 0
    parts: int = 1


@dataclass
class Near:
    """Pairs within range of n atoms of one element: center (p,) ascending, species (p,) and weight (p,), the atomic
    number, of the neighbour; vectors (p, 3), r (p,) in A."""

    n: int
    center: torch.Tensor
    species: torch.Tensor
    weight: torch.Tensor
    vectors: torch.Tensor
    r: torch.Tensor
    tables: dict = field(default_factory=dict)
    """Values of each pair that several groups share."""

    def select(self, which: torch.Tensor) -> Near:
        return Near(self.n, *(t[which] for t in (self.center, self.species, self.weight, self.vectors, self.r)))


class Triplets:
    """Unordered pairs of neighbours: p, q (t,) index the pairs of `near`."""

    def __init__(self, near: Near, p: torch.Tensor, q: torch.Tensor):
        self.near, self.p, self.q = near, p, q

    @cached_property
    def sides(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.near.vectors[self.p], self.near.vectors[self.q]

    @cached_property
    def dot(self) -> torch.Tensor:
        a, b = self.sides
        return (a * b).sum(dim=1)

    @cached_property
    def cos(self) -> torch.Tensor:
        return self.dot / (self.near.r[self.p] * self.near.r[self.q])

    @cached_property
    def r_jk(self) -> torch.Tensor:
        a, b = self.sides
        square = ((b - a) ** 2).sum(dim=1)
        return torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)

    def select(self, which: torch.Tensor) -> Triplets:
        out = Triplets(self.near, self.p[which], self.q[which])
        for name in ("dot", "cos", "r_jk"):
            if name in self.__dict__:
                setattr(out, name, getattr(self, name)[which])
        if "sides" in self.__dict__:
            out.sides = tuple(side[which] for side in self.sides)
        return out


class TorchSymmetry:
    """Scaled symmetry functions of all atoms, and the pull-back of their gradients onto the pairs.

    width: functions of the element with most; scaled functions are (N, width), zero beyond those of an element.
    """

    def __init__(self, params: HdnnpParams, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64):
        self.params, self.device, self.dtype = params, torch.device(device), dtype
        self.width = max(params.n_functions)
        self.tables = element_tables(params)
        self._reach = [max(t.radial_reach, t.angular_reach) for t in self.tables]
        scaling = Scaling.of(params)
        self._offset, self._factor, self._base = (self._put(a) for a in (scaling.offset, scaling.factor, scaling.base))
        species = torch.full((120,), -1, dtype=torch.long)
        species[[number(e) for e in params.elements]] = torch.arange(len(params.elements))
        self._species = species.to(self.device)
        self._orders = [torch.from_numpy(t.order).to(self.device) for t in self.tables]

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=self.dtype, device=self.device)

    def species(self, system: System) -> torch.Tensor:
        """(N,): position of each atom's element in params.elements."""
        return self._species[system.numbers]

    # -- interface -------------------------------------------------------------------------------------------

    def scaled(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        """(N, width) scaled functions; vectors (P, 3) in A, in which they can be differentiated, twice as well."""
        return self._scale(self.unscaled(system, pairs, vectors), self.species(system))

    def unscaled(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        """(N, width) functions as defined above."""
        return self._unscaled(system, pairs, vectors, self._blocks(system, pairs, vectors.detach()))

    def _unscaled(self, system: System, pairs: Pairs, vectors: torch.Tensor, blocks: list[Block]) -> torch.Tensor:
        out = vectors.new_zeros((system.n_atoms, self.width))
        rows = torch.arange(system.n_atoms, device=self.device)
        species = self.species(system)
        for block in blocks:
            found = self._evaluate(block, species, system.numbers, pairs, vectors)
            out = out.index_add(0, rows[block.start : block.stop], found)
        return out

    def values(self, system: System, pairs: Pairs) -> tuple[torch.Tensor, Any]:
        """Scaled functions (N, width) without a graph, and a state for `pull`."""
        vectors, species = pairs.vectors(system).detach(), self.species(system)
        blocks = self._blocks(system, pairs, vectors)
        small = len(blocks) == 1  # keep the graph rather than evaluate again
        with torch.set_grad_enabled(small):
            raw = self._unscaled(system, pairs, vectors.requires_grad_(small), blocks)
        return self._scale(raw.detach(), species), (vectors, raw) if small else None

    def pull(self, system: System, pairs: Pairs, state: Any, w: torch.Tensor) -> torch.Tensor:
        """(P, 3): d(sum_ik w_ik G_ik) / d r_p for weights w (N, width) of the scaled functions; state: of `values`.

        May be called several times with one state."""
        species = self.species(system)
        w = w * self._factor[species]
        if state is not None:
            vectors, raw = state
            if not raw.requires_grad:
                return torch.zeros_like(vectors)
            return torch.autograd.grad((raw * w).sum(), vectors, retain_graph=True)[0]
        vectors = pairs.vectors(system).detach()
        out = torch.zeros_like(vectors)
        for block in self._blocks(system, pairs, vectors):
            first, last = int(pairs.first[block.start]), int(pairs.first[block.stop])
            with torch.enable_grad():
                mine = vectors[first:last].clone().requires_grad_(True)
                raw = self._evaluate(block, species, system.numbers, pairs, mine, first)
                if raw.requires_grad:
                    total = (raw * w[block.start : block.stop]).sum()
                    out[first:last] += torch.autograd.grad(total, mine)[0]
        return out

    def _scale(self, raw: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        return self._base[species] + self._factor[species] * (raw - self._offset[species])

    # -- blocks ----------------------------------------------------------------------------------------------

    def _blocks(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> list[Block]:
        """Ranges of atoms of bounded memory, from the number of triplets of each atom."""
        n = system.n_atoms
        per_pair, per_triplet, reach = (np.array(column) for column in zip(*map(_costs, self.tables), strict=True))
        species = self.species(system)
        r = (vectors * vectors).sum(dim=1).sqrt()
        inside = r < self._put(reach)[species[pairs.i.long()]]
        m = torch.bincount(pairs.i[inside], minlength=n).cpu().numpy()
        kind = species.cpu().numpy()
        counts = np.diff(pairs.first.cpu().numpy())
        costs = 512 + counts * per_pair[kind] + m * (m - 1) // 2 * per_triplet[kind]
        blocks, start, total = [], 0, 0
        for atom, cost in enumerate(costs.tolist()):
            if atom > start and total + cost > CHUNK_BYTES:
                blocks.append(Block(start, atom))
                start, total = atom, 0
            total += cost
            if (parts := -(-cost // CHUNK_BYTES)) > 1:
                blocks += [Block(atom, atom + 1, part, parts) for part in range(parts)]
                start, total = atom + 1, 0
        return blocks + ([Block(start, n)] if start < n else [])

    def _evaluate(
        self,
        block: Block,
        species: torch.Tensor,
        numbers: torch.Tensor,
        pairs: Pairs,
        vectors: torch.Tensor,
        origin: int = 0,
    ) -> torch.Tensor:
        """(n, width): unscaled functions of a block's atoms; vectors[p - origin] belongs to pair p."""
        first, last = int(pairs.first[block.start]), int(pairs.first[block.stop])
        vectors = vectors[first - origin : last - origin]
        center = pairs.i[first:last].long() - block.start
        neighbour = pairs.j[first:last].long()
        kinds = species[block.start : block.stop]
        r2 = (vectors.detach() ** 2).sum(dim=1)
        out = vectors.new_zeros((block.stop - block.start, self.width))
        for c, table in enumerate(self.tables):
            atoms = torch.nonzero(kinds == c).flatten()
            if len(atoms) == 0:
                continue
            place = torch.zeros_like(kinds)
            place[atoms] = torch.arange(len(atoms), device=self.device)
            mine = torch.nonzero((kinds[center] == c) & (r2 < self._reach[c] ** 2)).flatten()
            v, j = vectors[mine], neighbour[mine]
            r = (v * v).sum(dim=1).sqrt()
            near = Near(len(atoms), place[center[mine]], species[j], numbers[j].to(r.dtype), v, r)
            found = self._functions(table, near, block)[:, self._orders[c]]
            found = torch.nn.functional.pad(found, (0, self.width - found.shape[1]))
            out = out.index_copy(0, atoms, found)
        return out

    # -- groups ----------------------------------------------------------------------------------------------

    def _functions(self, table: ElementTable, near: Near, block: Block) -> torch.Tensor:
        """(n, K): all functions of atoms of one element, in the order of the groups' columns."""
        out = [self._radial(g, near, block) for g in table.radial]
        if not table.angular:
            return torch.cat(out, dim=1)
        close = near.select(torch.nonzero(near.r < table.angular_reach).flatten())
        p, q = ordered_triplets(close.center, close.n)
        once = torch.nonzero(p < q).flatten()[block.part :: block.parts]
        triplets = {None: Triplets(close, p[once], q[once])}
        for group in table.angular:
            if group.neighbours not in triplets:
                a, b = close.species[triplets[None].p], close.species[triplets[None].q]
                e, f = group.neighbours
                which = torch.nonzero(((a == e) & (b == f)) | ((a == f) & (b == e))).flatten()
                triplets[group.neighbours] = triplets[None].select(which)
            out.append(self._angular(group, triplets[group.neighbours], table.angular_reach))
        return torch.cat(out, dim=1)

    def _radial(self, g: RadialGroup, near: Near, block: Block) -> torch.Tensor:
        if block.part:
            return near.r.new_zeros((near.n, len(g.columns)))
        which = near.r < g.reach
        if g.neighbour is not None:
            which = which & (near.species == g.neighbour)
        which = torch.nonzero(which).flatten()
        r, first, second = near.r[which], self._put(g.first), self._put(g.second)
        if g.core:
            terms = compact(g.core, r, first, second)
        else:
            terms = torch.exp(-first * (r[:, None] - second) ** 2) * self._cutoff(r, g.reach)[:, None]
        if g.neighbour is None:
            terms = terms * near.weight[which][:, None]
        return terms.new_zeros((near.n, len(g.columns))).index_add(0, near.center[which], terms)

    def _cutoff(self, r: torch.Tensor, rc: float) -> torch.Tensor:
        return cutoff(self.params.cutoff_type, self.params.cutoff_alpha, r, rc)

    def _angular(self, g: AngularGroup, t: Triplets, reach: float) -> torch.Tensor:
        """(n, F): per distinct angular part, the sums over triplets of its products with radial parts."""
        near = t.near
        inside = t.r_jk.detach() < g.reach if g.jk else torch.ones_like(t.p, dtype=torch.bool)
        if g.reach < reach:
            inside = inside & (near.r[t.p] < g.reach) & (near.r[t.q] < g.reach)
        if not bool(inside.all()):
            t = t.select(torch.nonzero(inside).flatten())
        radial = self._compact_parts(g, t) if g.core else self._gaussian_parts(g, t)
        if g.neighbours is None:
            radial = radial * (near.weight[t.p] * near.weight[t.q])[:, None]
        center, out = near.center[t.p], []
        for (a, b), m, scale in zip(g.angular, g.parts, g.prefactor.tolist(), strict=True):
            if g.core:
                angle = compact_angle(g.core, *t.sides, t.dot, a, b)
            else:
                angle = scale * power(1.0 + a * t.cos, b, abs(a) <= 1.0)
            terms = angle[:, None] * radial[:, torch.from_numpy(m).to(self.device)]
            out.append(terms.new_zeros((near.n, len(m))).index_add(0, center, terms))
        return torch.cat(out, dim=1)

    def _gaussian_parts(self, g: AngularGroup, t: Triplets) -> torch.Tensor:
        """(t, M): exponentials of the sum of squares, times cutoff functions."""
        near = t.near
        if g.reach not in near.tables:
            near.tables[g.reach] = self._cutoff(near.r, g.reach)
        fc, rs, eta = near.tables[g.reach], self._put(g.second), self._put(g.first)
        smooth = fc[t.p] * fc[t.q]
        square = (near.r[t.p][:, None] - rs) ** 2 + (near.r[t.q][:, None] - rs) ** 2
        if g.jk:
            smooth = smooth * self._cutoff(t.r_jk, g.reach)
            square = square + (t.r_jk[:, None] - rs) ** 2
        return torch.exp(-eta * square) * smooth[:, None]

    def _compact_parts(self, g: AngularGroup, t: Triplets) -> torch.Tensor:
        """(t, M): products of the compact functions of two or three distances."""
        near, middle, half = t.near, self._put(g.first), self._put(g.second)
        key = (g.core, g.first.tobytes(), g.second.tobytes())
        if key not in near.tables:
            near.tables[key] = compact(g.core, near.r, middle, half)
        c = near.tables[key]
        product = c[t.p] * c[t.q]
        return product * compact(g.core, t.r_jk, middle, half) if g.jk else product


def _costs(table: ElementTable) -> tuple[int, int, float]:
    """Bytes per pair and per triplet with the graph, and the reach of triplets."""
    radial, angular = table.widest
    return 8 * (40 + 4 * radial), 8 * (40 + 4 * angular), table.angular_reach
