"""Residuals of training structures, and their derivatives in the parameters of all networks.

theta (P,) holds the networks of all elements, one after the other. Networks give energies in units of `unit` (eV), so
that their outputs are of order one. Rows of a structure: force components, the energy, the virial; each times its
weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .fit_columns import Block
from .fit_frames import Frame
from .fit_network import Forward, Topology

BATCH = 32
"""Structures whose networks are evaluated together."""


class Problem:
    """frames: structures; topologies: per element; unit: eV per unit of network output."""

    def __init__(self, frames: Sequence[Frame], topologies: Sequence[Topology], unit: float = 1.0):
        self.frames, self.topologies, self.unit = list(frames), list(topologies), float(unit)
        sizes = [t.n_parameters for t in topologies]
        self.edges = np.concatenate([[0], np.cumsum(sizes)]).astype(int).tolist()
        self.n_parameters = self.edges[-1]
        kind = frames[0].inputs[0]
        self.device, self.dtype = kind.device, kind.dtype

    # -- one batch -------------------------------------------------------------------------------------------

    def forward(self, theta: torch.Tensor, some: Sequence[Frame]) -> tuple[list[Forward], list[list[slice]]]:
        """Networks of each element at the atoms of some structures, and where each structure's atoms are."""
        flat = theta.to(self.device, self.dtype)
        out, places = [], []
        for e, topology in enumerate(self.topologies):
            inputs = [f.inputs[e] for f in some]
            edges = np.cumsum([0, *map(len, inputs)]).tolist()
            out.append(Forward(topology, flat[self.edges[e] : self.edges[e + 1]], torch.cat(inputs)))
            places.append([slice(a, b) for a, b in zip(edges, edges[1:], strict=False)])
        return out, places

    def _energies(self, nets: list[Forward], places: list[list[slice]], count: int) -> torch.Tensor:
        """(count,) eV"""
        sums = [sum(n.y[p[k]].sum() for n, p in zip(nets, places, strict=True)) for k in range(count)]
        return self.unit * torch.stack(sums)

    def residuals(self, theta: torch.Tensor, which: Sequence[int]) -> list[tuple[torch.Tensor, ...]]:
        """Per structure: predicted minus target energy (), forces (n, 3), virial (6,), unweighted; the last two only
        where they have a weight."""
        out = []
        for start in range(0, len(which), BATCH):
            some = [self.frames[k] for k in which[start : start + BATCH]]
            nets, places = self.forward(theta, some)
            for k, (frame, energy) in enumerate(zip(some, self._energies(nets, places, len(some)), strict=True)):
                out.append((energy - frame.targets.energy, *self._pulled(frame, nets, [p[k] for p in places])))
        return out

    def _pulled(self, frame: Frame, nets: list[Forward], at: list[slice], blocks: list[Block] | None = None):
        t = frame.targets
        if not t.wants_rows:
            return ()
        forces, virial = -t.forces, -t.virial
        for net, here, block in zip(nets, at, blocks or frame.derivatives(), strict=True):
            if here.start == here.stop:
                continue
            w = self.unit * net.w[here]
            rows = block.rows
            assert rows is not None and block.strain is not None
            n, m = len(rows), rows.shape[2]
            if block.index is None:
                forces = forces - (rows.view(3 * n, -1) @ w.reshape(-1)).view(n, 3)
            else:
                near = w[block.index].view(n, m * w.shape[1], 1)
                forces = forces - torch.bmm(rows.view(n, 3, -1), near).squeeze(2)
            virial = virial + torch.einsum("isk,ik->s", block.strain, w)
        return forces, virial

    def loss(
        self, theta: torch.Tensor, which: Sequence[int], gradient: bool = True
    ) -> tuple[float, torch.Tensor | None]:
        """Sum of squares of weighted residuals, and its gradient (P,) in double precision."""
        total = 0.0
        out = torch.zeros(self.n_parameters, dtype=torch.float64, device=self.device) if gradient else None
        for start in range(0, len(which), BATCH):
            some = [self.frames[k] for k in which[start : start + BATCH]]
            nets, places = self.forward(theta, some)
            energies = self._energies(nets, places, len(some))
            weights = torch.tensor([f.targets.energy_weight for f in some], dtype=self.dtype, device=self.device)
            aims = torch.tensor([f.targets.energy for f in some], dtype=torch.float64, device=self.device)
            aims = torch.where(weights > 0, aims, 0.0)
            misses = weights * (energies.double() - aims).to(self.dtype)
            total += float((misses.double() ** 2).sum())
            alphas = [n.y.new_zeros(len(n.y)) for n in nets]
            directions = [torch.zeros_like(n.w) for n in nets]
            for k, frame in enumerate(some):
                for alpha, place in zip(alphas, places, strict=True):
                    alpha[place[k]] = 2.0 * self.unit * weights[k] * misses[k]
                total += self._push(frame, nets, [p[k] for p in places], directions if gradient else None)
            if out is not None:
                parts = [n.gradient(a, d) for n, a, d in zip(nets, alphas, directions, strict=True)]
                out += torch.cat(parts).double()
        return total, out

    def _push(self, frame: Frame, nets: list[Forward], at: list[slice], directions: list[torch.Tensor] | None) -> float:
        """Adds the directions d of one structure's forces and virial; returns their part of the loss."""
        t = frame.targets
        if not t.wants_rows:
            return 0.0
        blocks = frame.derivatives()
        forces, virial = self._pulled(frame, nets, at, blocks)
        forces, virial = t.force_weights * forces, t.virial_weights * virial
        if directions is not None:
            force_pull = -2.0 * self.unit * t.force_weights * forces
            virial_pull = 2.0 * self.unit * t.virial_weights * virial
            for d, here, block in zip(directions, at, blocks, strict=True):
                if here.start == here.stop:
                    continue
                rows = block.rows
                assert rows is not None and block.strain is not None
                n, m, width = len(rows), rows.shape[2], rows.shape[3]
                if block.index is None:
                    d[here] += (force_pull.reshape(-1) @ rows.view(3 * n, -1)).view(m, width)
                else:
                    pulled = torch.bmm(force_pull[:, None, :], rows.view(n, 3, -1)).view(n * m, width)
                    d[here].index_add_(0, block.index.view(-1), pulled)
                d[here] += torch.einsum("isk,s->ik", block.strain, virial_pull)
        return float((forces.double() ** 2).sum() + (virial.double() ** 2).sum())

    # -- rows ------------------------------------------------------------------------------------------------

    def rows(
        self, theta: torch.Tensor, which: Sequence[int], atoms: Sequence[torch.Tensor | None] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Jacobian (m, P) and residuals (m,) = prediction - target, weighted; atoms: per structure those whose forces
        count (None: all)."""
        some = [self.frames[k] for k in which]
        nets, places = self.forward(theta, some)
        energies = self._energies(nets, places, len(some))
        jacobian, misses = [], []
        sums = [net.sums(place) for net, place in zip(nets, places, strict=True)]
        for k, frame in enumerate(some):
            t = frame.targets
            if t.energy_weight > 0:
                jacobian.append(t.energy_weight * torch.cat([s[k : k + 1] for s in sums], dim=1))
                misses.append(t.energy_weight * (energies[k : k + 1] - t.energy))
            if not t.wants_rows:
                continue
            at, blocks = [p[k] for p in places], frame.derivatives()
            forces, virial = self._pulled(frame, nets, at, blocks)
            pick = None if atoms is None else atoms[k]
            j_forces, j_virial = self._row_blocks(nets, at, blocks, pick)
            fw = t.force_weights if pick is None else t.force_weights[pick]
            forces = forces if pick is None else forces[pick]
            use, strained = fw.reshape(-1) > 0, t.virial_weights > 0
            jacobian += [(fw.reshape(-1, 1) * j_forces)[use], (t.virial_weights[:, None] * j_virial)[strained]]
            misses += [(fw * forces).reshape(-1)[use], (t.virial_weights * virial)[strained]]
        if not jacobian:
            return torch.zeros(0, self.n_parameters), torch.zeros(0)
        return self.unit * torch.cat(jacobian), torch.cat(misses)

    def _row_blocks(self, nets: list[Forward], at: list[slice], blocks: list[Block], pick: torch.Tensor | None):
        forces, virial = [], []
        for e, (net, here, block) in enumerate(zip(nets, at, blocks, strict=True)):
            rows, strain = block.rows, block.strain
            assert rows is not None and strain is not None
            rows = rows if pick is None else rows[pick]
            if here.start == here.stop:
                width = self.edges[e + 1] - self.edges[e]
                forces.append(rows.new_zeros(3 * len(rows), width))
                virial.append(rows.new_zeros(6, width))
                continue
            index = block.index
            if index is not None:
                some: torch.Tensor | slice = here.start + (index if pick is None else index[pick])
            else:
                some = here
            forces.append(-net.rows(rows, some).flatten(0, 1))
            virial.append(net.rows(strain.transpose(0, 1)[None], here)[0])
        return torch.cat(forces, dim=1), torch.cat(virial, dim=1)

    # -- errors ----------------------------------------------------------------------------------------------

    def errors(self, theta: torch.Tensor, which: Sequence[int]) -> dict[str, float]:
        """RMS of unweighted errors: energy (eV/atom), forces (eV/A) of the structures that have a weight there."""
        energies, forces = [], []
        for k, found in zip(which, self.residuals(theta, which), strict=True):
            frame = self.frames[k]
            if frame.targets.energy_weight > 0:
                energies.append(float(found[0]) / frame.n_atoms)
            if len(found) > 1:
                forces.append(found[1][frame.targets.force_weights > 0].double())
        out = {}
        if energies:
            out["energy"] = float(np.sqrt(np.mean(np.square(energies))))
        if forces:
            out["forces"] = float(torch.cat(forces).square().mean().sqrt())
        return out
