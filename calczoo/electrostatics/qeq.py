"""Charge equilibration: the charges that minimise a quadratic energy at a fixed total charge.

    E(q) = sum_i chi_i q_i + 1/2 sum_i J_i q_i^2 + 1/2 q^T A q,     sum_i q_i = Q

    [ A + J   1 ] [ q      ]   [ -chi ]
    [ 1^T     0 ] [ lambda ] = [  Q   ]

The minimum exists where M = A + diag(J) is positive definite on charges that add up to zero. A multiple s of the matrix
of ones changes nothing there (lambda = lambda' + s Q) and makes all of M + s 1 1^T positive definite.

direct: Cholesky's factorisation of M + s 1 1^T and the Schur complement of the constraint.
cg: preconditioned conjugate gradients on charges of sum zero, with products A q from `Geometry`, for large structures.

Derivatives of anything f(q, r) with respect to positions: with M lam + mu 1 = df/dq, 1^T lam = 0 (`solve_adjoint`),

    df/dr = df/dr|_q - lam^T (dA/dr q + dchi/dr)        (so geometry.gradients(lam, q) gives the first part)

Source: W. J. Mortier, K. Van Genechten and J. Gasteiger, J. Am. Chem. Soc. 107, 829 (1985), doi:10.1021/ja00290a017;
A. K. Rappe and W. A. Goddard, J. Phys. Chem. 95, 3358 (1991), doi:10.1021/j100161a070; T. W. Ko et al., Nat. Commun.
12, 398 (2021), doi:10.1038/s41467-020-20427-2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..core.errors import ConvergenceError, OptionError
from .geometry import Geometry, OpenPart, PeriodicPart
from .parallel import one_torch_thread

METHODS = ("auto", "direct", "cg")
DIRECT = 1500
"""Structures of up to this many atoms are solved directly by method="auto"."""


class Direct:
    """Cholesky factor of one structure's M + s 1 1^T."""

    def __init__(self, part: OpenPart | PeriodicPart, hardness: torch.Tensor, where: str):
        m = part.matrix() + torch.diag(hardness)
        self.shift = float(m.diagonal().abs().mean()) + float(m.mean().abs())
        m += self.shift
        self.factor, info = torch.linalg.cholesky_ex(m)
        if int(info) or not bool(torch.isfinite(self.factor.diagonal()).all()):
            raise ConvergenceError(indefinite(hardness, where))
        one = torch.ones_like(hardness)
        self.ones = self._inverse(one)
        self.weight = float(self.ones.sum())

    def _inverse(self, b: torch.Tensor) -> torch.Tensor:
        return torch.cholesky_solve(b[:, None], self.factor)[:, 0]

    def solve(self, rhs: torch.Tensor, total: float) -> tuple[torch.Tensor, float]:
        """x and multiplier of M x + mu 1 = rhs, sum x = total."""
        free = self._inverse(rhs)
        mu = (float(free.sum()) - total) / self.weight
        x = free - mu * self.ones
        return x, mu + self.shift * total


@dataclass(frozen=True)
class Equilibrium:
    """charges (N,) e; multiplier (S,) eV/e: minus what one more unit of total charge would cost."""

    charges: torch.Tensor
    multiplier: torch.Tensor
    geometry: Geometry
    solvers: tuple

    @one_torch_thread()
    def solve_adjoint(self, rhs: torch.Tensor) -> torch.Tensor:
        """lam (N,) with M lam + mu 1 = rhs and sum lam = 0 in each structure."""
        out = torch.zeros_like(self.charges)
        rhs = rhs.detach().to(out)
        for s, solver in enumerate(self.solvers):
            if solver is not None:
                rows = slice(self.geometry.first[s], self.geometry.first[s + 1])
                out[rows], _ = solver.solve(rhs[rows], 0.0)
        return out


@one_torch_thread()
def equilibrate(
    geometry: Geometry,
    chi: torch.Tensor,
    hardness: torch.Tensor,
    total: torch.Tensor,
    method: str = "auto",
    accuracy: float = 1e-10,
) -> Equilibrium:
    """Charges of all structures: chi (N,) eV/e, hardness J (N,) eV/e^2, total (S,) e.

    method: "direct", "cg", or "auto" by size; accuracy: of the charges (e) that cg iterates to.
    Raises ConvergenceError where the matrix is not positive definite or the iteration does not end, OptionError.
    """
    if method not in METHODS:
        raise OptionError(f"method of charge equilibration is {method!r}; allowed are {', '.join(METHODS)}")
    n, many = geometry.first[-1], len(geometry.parts)
    chi, hardness = (t.detach().to(device=geometry.device, dtype=torch.float64) for t in (chi, hardness))
    totals = torch.as_tensor(total, dtype=torch.float64, device=geometry.device).detach().reshape(-1)
    if chi.shape != (n,) or hardness.shape != (n,) or totals.shape != (many,):
        raise OptionError(f"charge equilibration needs chi and hardness of {n} atoms and totals of {many} structures")
    charges, multiplier, solvers = torch.zeros_like(chi), torch.zeros_like(totals), []
    for s, part in enumerate(geometry.parts):
        if not part.n:
            solvers.append(None)
            continue
        rows = slice(geometry.first[s], geometry.first[s + 1])
        where = f" of structure {s}" if many > 1 else ""
        if method == "direct" or (method == "auto" and part.n <= DIRECT):
            solver = Direct(part, hardness[rows], where)
        else:
            from .cg import Iterative

            solver = Iterative(part, hardness[rows], where, accuracy)
        charges[rows], multiplier[s] = solver.solve(-chi[rows], float(totals[s]))
        solvers.append(solver)
    return Equilibrium(charges, multiplier, geometry, tuple(solvers))


def indefinite(hardness: torch.Tensor, where: str) -> str:
    """Message for a matrix that has no minimum."""
    return (
        f"the matrix of charge equilibration{where} is not positive definite, so that no charges minimise the energy: "
        f"the hardness (smallest {float(hardness.min()):.4g} eV/e^2) is too small for atoms this close; check the "
        "structure for short distances and the hardness and Gaussian widths of the model"
    )
