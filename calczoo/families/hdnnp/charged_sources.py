"""Where the charges of generations 3 and 4 come from, and how an energy's derivatives go back through them.

A source takes the outputs x_i of the charge networks to charges Q, and p = dE/dQ back to u and lambda such that

    dE = sum_i u_i dx_i + lambda^T dA Q        (besides the change of E at fixed Q)

Generation 4: x is the electronegativity chi, and Q solves the charge equilibration

    (A + J) Q + mu 1 = -chi,  sum Q = Q_total,      so that      lambda = -M^-1 p  (one more solve),  u = lambda,

M being the constrained matrix. Generation 3: x is the charge itself. The networks' charges need not add up to the total
charge; as in the literature they are taken as they are, unless the scaling is asked for that RuNNer has for neutral
cells (`enforce_totcharge 1`): half of what is missing is spread over the positive charges in proportion to their size,
half over the negative ones; here for any total charge and with its derivative.

Source: Artrith, Morawietz and Behler, Phys. Rev. B 83, 153101 (2011), doi:10.1103/PhysRevB.83.153101; Ko et al., Nat.
Commun. 12, 398 (2021), doi:10.1038/s41467-020-20427-2.
"""

from __future__ import annotations

from typing import Protocol

import torch

from ...core.system import System
from ...electrostatics import Equilibrium, Geometry, equilibrate


class Source(Protocol):
    """charges (N,) e; multiplier (S,) eV/e of generation 4, else None."""

    charges: torch.Tensor
    multiplier: torch.Tensor | None

    def back(self, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(u, lambda) of the module docstring from p = dE/dQ (N,); lambda is None where A plays no part."""
        ...


class Equilibrated:
    """Generation 4. x and hardness in eV/e and eV/e^2, total (S,) in e; accuracy (e) of iterated charges."""

    def __init__(
        self,
        geometry: Geometry,
        x: torch.Tensor,
        hardness: torch.Tensor,
        total: torch.Tensor,
        method: str = "auto",
        accuracy: float = 1e-12,
    ):
        self.solution: Equilibrium = equilibrate(geometry, x, hardness, total, method, max(accuracy, 1e-12))
        self.charges, self.multiplier = self.solution.charges, self.solution.multiplier

    def back(self, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        u = self.solution.solve_adjoint(-p)
        return u, u


class FromNetworks:
    """Generation 3, the charges as they are."""

    def __init__(self, x: torch.Tensor):
        self.charges, self.multiplier = x, None

    def back(self, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        return p, None


class Scaled:
    """Generation 3, scaled to the total charge (S,): Q = x (1 - share * excess / sum of the x of that sign), where
    share is one half, or one for a structure whose charges all have one sign."""

    def __init__(self, x: torch.Tensor, system: System, total: torch.Tensor):
        self.x, self.multiplier = x, None
        self.of, n = system.system_index, system.n_systems
        self.side = (x > 0).long() + 2 * self.of  # two groups of each structure: negative, positive
        self.sums = x.new_zeros(2 * n).index_add(0, self.side, x)
        there = (self.sums != 0).to(x.dtype)
        both = there.reshape(n, 2).sum(dim=1).clamp(min=1.0)
        excess = self.sums.reshape(n, 2).sum(dim=1) - total
        self.share = there / both.repeat_interleave(2)
        self.divisor = torch.where(self.sums != 0, self.sums, 1.0)
        self.excess = excess.repeat_interleave(2)
        self.factor = 1.0 - self.share * self.excess / self.divisor
        self.charges = x * self.factor[self.side]

    def back(self, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        n = len(self.sums) // 2
        moment = torch.zeros_like(self.sums).index_add(0, self.side, p * self.x) * self.share / self.divisor
        through_sum = moment * self.excess / self.divisor
        through_excess = moment.reshape(n, 2).sum(dim=1)
        return p * self.factor[self.side] + through_sum[self.side] - through_excess[self.of], None
