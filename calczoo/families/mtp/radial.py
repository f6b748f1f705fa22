"""Radial basis functions Q_n(r) of moment tensor potentials, in torch.

    xi(r) = (2 r - a - b) / (b - a),   a = min_dist, b = max_dist; not clamped: below a it extrapolates
    RBChebyshev           Q_n = s (r - b)^2 T_n(xi)
    BChebyshev            Q_n = s T_n(xi)
    RBChebyshev_repuls    as RBChebyshev at max(r, a), and each neighbour with r < a adds to the energy of the site
                          1e4 (exp(-10 (r - 1)) - exp(-10 (a - 1))) eV, r and a in A
    BChebyshev_repuls     as BChebyshev at max(r, a), nothing added
    RBTaylor              Q_n = s r^n

with Chebyshev polynomials T_n = 2 xi T_{n-1} - T_{n-2} and s the potential's `scaling`.

Source: Shapeev, Multiscale Model. Simul. 14, 1153 (2016), doi:10.1137/15M1054183; Novikov, Gubaev, Podryabinkin,
Shapeev, Mach. Learn.: Sci. Technol. 2, 025002 (2021), doi:10.1088/2632-2153/abc9fe.
"""

from __future__ import annotations

import math
import warnings

import torch

from .params import MtpParams

REPULSION, STEEPNESS = 1.0e4, 10.0
"""eV and 1/A of the energy that RBChebyshev_repuls adds below min_dist."""


class ShortDistanceWarning(UserWarning):
    """Atoms closer than min_dist, the shortest distance that the radial basis was made for."""


class ShortDistances:
    """Says once per model that distances are below min_dist."""

    def __init__(self, params: MtpParams):
        self.name, self.min_dist, self.said = params.name, float(params.min_dist), False

    def check(self, shortest: float) -> None:
        """shortest: A, the smallest distance of the structures at hand."""
        if self.said or not shortest < self.min_dist:
            return
        self.said = True
        warnings.warn(
            f"{self.name}: the shortest distance is {shortest:.4g} A, below the potential's min_dist of "
            f"{self.min_dist:.4g} A, where nothing was fitted; check the structure (said once per calculator)",
            ShortDistanceWarning,
            stacklevel=2,
        )


def radial_basis(params: MtpParams, r: torch.Tensor) -> torch.Tensor:
    """(P, R): Q_n(r) for distances r (P,) in A below the cutoff; differentiable."""
    a, b, size = float(params.min_dist), float(params.max_dist), params.radial.shape[3]
    if params.basis == "RBTaylor":
        columns = [torch.full_like(r, params.scaling)]
        for _ in range(size - 1):
            columns.append(columns[-1] * r)
        return torch.stack(columns, dim=1)
    if params.basis.endswith("_repuls"):
        r = torch.where(r > a, r, torch.full_like(r, a))  # not maximum(), whose derivative at r = a is one half
    xi = (2.0 * r - (a + b)) / (b - a)
    first = params.scaling * ((r - b) * (r - b) if params.basis.startswith("RB") else torch.ones_like(r))
    columns = [first, first * xi]
    for _ in range(size - 2):
        columns.append(2.0 * xi * columns[-1] - columns[-2])
    return torch.stack(columns[:size], dim=1)


def repulsion(params: MtpParams, r: torch.Tensor) -> torch.Tensor | None:
    """(P,) eV that each neighbour adds to the site by itself; None where the basis adds nothing."""
    if params.basis != "RBChebyshev_repuls":
        return None
    shift = math.exp(-STEEPNESS * (params.min_dist - 1.0))
    return torch.where(
        r < params.min_dist, REPULSION * (torch.exp(-STEEPNESS * (r - 1.0)) - shift), torch.zeros_like(r)
    )
