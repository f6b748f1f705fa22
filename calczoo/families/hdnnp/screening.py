"""Screening: the part of the electrostatic energy that the short-range networks describe is taken out again.

    E_screen = - sum_i k Q_i^2 / (2 sqrt(pi) s_i) + sum_(pairs, r < r_outer) k Q_i Q_j phi_ij(r)
    phi_ij(r) = -c(r) erf(r / sqrt(2 (s_i^2 + s_j^2))) / r

with c = 1 up to r_inner and core((r - r_inner) / (r_outer - r_inner)) from there to r_outer: the pair interaction is
switched on smoothly, and the energy of a Gaussian charge with itself, which is no interaction, is always removed. Point
charges (no widths) have erf = 1 and no self-energy. An atom and its own periodic image are a pair like any other, each
counted once.

E_screen = 1/2 sum_i Q_i v_i with v_i = dE_screen/dQ_i, which is what is computed here.

Source: Morawietz, Sharma and Behler, J. Chem. Phys. 136, 064103 (2012), doi:10.1063/1.3682557; for Gaussian charges Ko
et al., Nat. Commun. 12, 398 (2021), doi:10.1038/s41467-020-20427-2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ...core.pairs import Pairs
from ...core.system import System

_POLYNOMIALS = {
    "p1": (1.0, 0.0, -3.0, 2.0),
    "p2": (1.0, 0.0, 0.0, -10.0, 15.0, -6.0),
    "p3": (1.0, 0.0, 0.0, 0.0, -35.0, 84.0, -70.0, 20.0),
    "p4": (1.0, 0.0, 0.0, 0.0, 0.0, -126.0, 420.0, -540.0, 315.0, -70.0),
}
"""Coefficients of the cores, ascending powers of x."""


def core(name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and derivative of a core that falls from 1 at x = 0 to 0 at x = 1, for x in [0, 1)."""
    if name == "c":
        return 0.5 * (torch.cos(math.pi * x) + 1.0), -0.5 * math.pi * torch.sin(math.pi * x)
    if name == "e":
        inverse = 1.0 / (x * x - 1.0)
        value = torch.exp(1.0 + inverse)
        return value, -2.0 * x * inverse * inverse * value
    coefficients = _POLYNOMIALS[name]
    value, slope = torch.zeros_like(x), torch.zeros_like(x)
    for c in reversed(coefficients):  # Horner, the derivative alongside
        slope = slope * x + value
        value = value * x + c
    return value, slope


@dataclass(frozen=True)
class Screening:
    """k in eV A/e^2; r_inner and r_outer in A (0, 0: only the self-energies are removed); name of the core."""

    coulomb: float
    r_inner: float
    r_outer: float
    core: str = "c"

    def of(self, system: System, pairs: Pairs, widths: torch.Tensor | None) -> ScreenedPairs:
        """All that does not depend on the charges. widths: (N,) A, or None for point charges."""
        vectors = pairs.vectors(system)
        square = (vectors * vectors).sum(dim=1)
        inside = torch.nonzero(square < self.r_outer**2).flatten()
        if len(inside) < len(square):
            vectors, square = vectors[inside], square[inside]
            i, j = pairs.i[inside].long(), pairs.j[inside].long()
        else:
            i, j = pairs.i.long(), pairs.j.long()
        r = square.sqrt()
        inverse = 1.0 / r
        value, slope = inverse, -inverse * inverse  # of erf(a r) / r, and by r
        own = None
        if widths is not None:
            own = -self.coulomb / math.sqrt(math.pi) / widths
            a = (2.0 * (widths * widths)[i] + 2.0 * (widths * widths)[j]).rsqrt()
            value = torch.erf(a * r) * inverse
            slope = (2.0 / math.sqrt(math.pi) * a * torch.exp(-((a * r) ** 2)) - value) * inverse
        between = r > self.r_inner
        x = ((r - self.r_inner) / (self.r_outer - self.r_inner if self.r_outer else 1.0)).clamp(0.0, 1.0 - 1e-15)
        c, dc = core(self.core, x)
        c = torch.where(between, c, 1.0)
        dc = torch.where(between, dc / (self.r_outer - self.r_inner if self.r_outer else 1.0), 0.0)
        return ScreenedPairs(
            inside=inside,
            i=i,
            j=j,
            phi=-self.coulomb * c * value,
            along=(-self.coulomb * (c * slope + dc * value) * inverse)[:, None] * vectors,
            own=own,
        )


@dataclass(frozen=True)
class ScreenedPairs:
    """The M directed pairs within r_outer: their places `inside` the list, k phi (M,), d(k phi)/dr as a vector (M, 3),
    and the self terms `own` (N,), None for point charges."""

    inside: torch.Tensor
    i: torch.Tensor
    j: torch.Tensor
    phi: torch.Tensor
    along: torch.Tensor
    own: torch.Tensor | None

    def potential(self, charges: torch.Tensor) -> torch.Tensor:
        """(N,) eV/e: v_i = dE_screen/dQ_i."""
        v = torch.zeros_like(charges).index_add(0, self.i, self.phi * charges[self.j])
        return v if self.own is None else v + self.own * charges

    def add_gradients(self, charges: torch.Tensor, into: torch.Tensor) -> torch.Tensor:
        """Add to the directed gradients (P, 3) those of E_screen at fixed charges: half of each pair to either end."""
        g = (0.5 * charges[self.i] * charges[self.j])[:, None] * self.along
        if len(self.inside) == len(into):
            return into + g
        return into.index_add(0, self.inside, g)
