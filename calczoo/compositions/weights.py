"""Weights w_i between 0 and 1 of the atoms of a structure, with their exact derivatives.

FixedWeights    a number per atom: nothing to differentiate
RegionWeights   w_i = s(t_i) of the atom's own position in a sphere, cylinder or slab (regions.py)
CloseWeights    w_i = 1 - (1 - min(1, x_i))^3,  x_i = sum_j s((r_ij - r_on) / (r_off - r_on)),

with s(t) = 1 - 10 t^3 + 15 t^4 - 6 t^5 between 0 and 1, constant outside. CloseWeights is 1 where a neighbour is nearer
than r_on, 0 where none is nearer than r_off, and has two continuous derivatives, also where two neighbours are at the
same distance (the nearest distance itself has none there).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..core.errors import InvalidStructure
from ..core.pairs import Pairs, complete_cell
from ..core.system import System
from .regions import Cylinder, Region, Slab


@dataclass(frozen=True)
class Weights:
    """value (N,); by_pair (P, 3) = dw_i/dr_ij; by_position (N, 3) = dw_i/dr_i at fixed vectors, and by_strain
    (N, 3, 3) = dw_i/dstrain; None where the weights do not depend on that."""

    value: torch.Tensor
    by_pair: torch.Tensor | None = None
    by_position: torch.Tensor | None = None
    by_strain: torch.Tensor | None = None

    def complement(self) -> Weights:
        """Those of 1 - w."""
        other = {k: -t for k in ("by_pair", "by_position", "by_strain") if (t := getattr(self, k)) is not None}
        return replace(self, value=1.0 - self.value, **other)


def switch(t: torch.Tensor) -> torch.Tensor:
    """1 for t <= 0, 0 for t >= 1, with two continuous derivatives."""
    t = t.clamp(0.0, 1.0)
    return 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t * t)


def switch_slope(t: torch.Tensor) -> torch.Tensor:
    """ds/dt."""
    t = t.clamp(0.0, 1.0)
    return -30.0 * (t * (1.0 - t)) ** 2


class FixedWeights:
    """One weight per atom, the same for every structure, which must have as many atoms."""

    reach = 0.0

    def __init__(self, values: np.ndarray):
        self.values = values

    def __str__(self) -> str:
        return f"{len(self.values)} fixed weights"

    def of(self, n: int, where: str = "") -> np.ndarray:
        """(n,). Raises InvalidStructure for another number of atoms."""
        if n != len(self.values):
            raise InvalidStructure(
                f"the structure{where} has {n} atoms, but there are weights for {len(self.values)}; make the "
                "calculator anew for another structure, or give a region of space (Sphere, Cylinder, Slab)"
            )
        return self.values

    def __call__(self, system: System, pairs: Pairs, gradients: bool) -> Weights:
        sizes = np.diff(system.first)
        many = len(sizes) > 1
        parts = [self.of(int(n), f" {s} of the batch" if many else "") for s, n in enumerate(sizes)]
        x = system.positions
        values = np.concatenate(parts) if parts else np.zeros(0)
        return Weights(torch.from_numpy(values).to(device=x.device, dtype=x.dtype))


class RegionWeights:
    """Weights by position; see regions.py."""

    reach = 0.0

    def __init__(self, region: Region, width: float):
        self.region, self.width = region, float(width)

    def __str__(self) -> str:
        r = self.region
        centre = ", ".join(f"{x:g}" for x in r.centre)
        axis = "" if r.axis is None else f", axis {r.axis}"
        scaled = " of the cell" if r.scaled else ""
        return f"{type(r).__name__}(({centre}){scaled}, {r.radius:g}{axis}, width {self.width:g})"

    def __call__(self, system: System, pairs: Pairs, gradients: bool) -> Weights:
        cells, pbcs = system.cell.detach().cpu().double().numpy(), system.pbc.cpu().numpy()
        x = system.positions.detach().cpu().double().numpy()
        parts = [
            self._one(x[a:b], cells[s], pbcs[s], f" of structure {s}" if system.n_systems > 1 else "")
            for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True))
        ]
        put = [
            torch.from_numpy(np.concatenate(arrays) if parts else np.zeros((0, 3, 3)[: k + 1])).to(system.positions)
            for k, arrays in enumerate(zip(*parts, strict=True) if parts else ([], [], []))
        ]
        return Weights(put[0], None, *put[1:]) if gradients else Weights(put[0])

    def _one(self, x: np.ndarray, cell: np.ndarray, pbc: np.ndarray, where: str):
        """w (n,), dw/dr (n, 3) and dw/dstrain (n, 3, 3) for a centre that moves with the cell."""
        region = self.region
        box = complete_cell(cell, pbc)
        inverse = np.linalg.inv(box)
        self._check_size(inverse, pbc, where)
        if region.scaled and not pbc.all():
            raise InvalidStructure(
                f"the centre of the region is in fractions of the cell, but pbc{where} is {pbc.tolist()}; give it in A"
            )
        centre = np.array(region.centre) @ box if region.scaled else np.array(region.centre)
        v = x - centre
        v = v - (np.round(v @ inverse) * pbc) @ box
        # p: the part of v whose length is the distance
        if isinstance(region, Slab):
            normal = inverse[:, region.axis] / np.linalg.norm(inverse[:, region.axis])
            p = (v @ normal)[:, None] * normal
        elif isinstance(region, Cylinder):
            along = box[region.axis] / np.linalg.norm(box[region.axis])
            p = v - (v @ along)[:, None] * along
        else:
            p = v
        r = np.linalg.norm(p, axis=1)
        t = torch.from_numpy((r - region.radius) / self.width)
        slope = switch_slope(t).numpy() / self.width
        g = (slope / np.where(r > 0.0, r, 1.0))[:, None] * p
        return switch(t).numpy(), g, g[:, :, None] * p[:, None, :]

    def _check_size(self, inverse: np.ndarray, pbc: np.ndarray, where: str) -> None:
        """The region and its images must not meet: its reach is at most half the height of the cell."""
        region, reach = self.region, self.region.radius + self.width
        heights = 1.0 / np.linalg.norm(inverse, axis=0)
        if isinstance(region, Slab):
            across = [region.axis]
        else:
            across = [k for k in range(3) if not (isinstance(region, Cylinder) and k == region.axis)]
        for k in across:
            if pbc[k] and reach > 0.5 * heights[k] * (1.0 + 1e-12):
                raise InvalidStructure(
                    f"the region reaches {reach:g} A (radius and width), more than half of the {heights[k]:.4g} A "
                    f"between periodic images along direction {k}{where}; take a larger cell or a smaller region"
                )


class CloseWeights:
    """Weights by the distances of neighbours; see the module docstring."""

    def __init__(self, r_on: float, r_off: float):
        self.r_on, self.r_off = float(r_on), float(r_off)
        self.reach = self.r_off

    def __str__(self) -> str:
        return f"{self.r_on:g} to {self.r_off:g} A"

    def value(self, n: int, i: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """(n,), differentiable in the vectors."""
        near = torch.nonzero((vectors.detach() ** 2).sum(dim=1) < self.r_off**2).flatten()
        t = (vectors[near].norm(dim=1) - self.r_on) / (self.r_off - self.r_on)
        x = vectors.new_zeros(n).index_add(0, i[near].long(), switch(t))
        return 1.0 - (1.0 - x.clamp(max=1.0)) ** 3

    def __call__(self, system: System, pairs: Pairs, gradients: bool) -> Weights:
        vectors, i = pairs.vectors(system).detach(), pairs.i.long()
        r = vectors.norm(dim=1)
        near = torch.nonzero(r < self.r_off).flatten()
        t = (r[near] - self.r_on) / (self.r_off - self.r_on)
        x = vectors.new_zeros(system.n_atoms).index_add(0, i[near], switch(t)).clamp(max=1.0)
        value = 1.0 - (1.0 - x) ** 3
        if not gradients:
            return Weights(value)
        slope = 3.0 * (1.0 - x[i[near]]) ** 2 * switch_slope(t) / (self.r_off - self.r_on)
        by_pair = torch.zeros_like(vectors)
        by_pair[near] = (slope / r[near])[:, None] * vectors[near]
        return Weights(value, by_pair)


SiteWeights = FixedWeights | RegionWeights | CloseWeights
