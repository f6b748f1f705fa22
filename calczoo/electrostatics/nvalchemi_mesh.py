"""The reciprocal-space part on a particle mesh by nvalchemi-toolkit-ops: kernels for CUDA, which run on the CPU too.

Optional: pip install 'calczoo[nvalchemi]'. As mesh.py, with B-splines of order six and reciprocal space corrected for
them. For charges of one e the potential errs by up to about ERROR (h / eta)^6 e/A (measured on random charges), and by
1e-7 at any spacing h, because the package keeps some numbers in single precision. Hence FINEST.

Source: U. Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117.
"""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import torch

from .mesh import smooth_size
from .reciprocal import Reciprocal

ORDER = 6
ERROR = 1e-3
FINEST = 1e-6
"""Accuracies below this are left to torch-pme or exact sums."""


def available() -> bool:
    """True where nvalchemi-toolkit-ops is installed."""
    return find_spec("nvalchemiops") is not None


def spacing(eta: float, accuracy: float) -> float:
    """h (A), see the module docstring."""
    return eta * min(0.5, (accuracy / ERROR) ** (1.0 / ORDER))


class NvalchemiMesh:
    """The same sums as `Reciprocal`, for atoms at `fractional` (n, 3) coordinates of `cell`."""

    def __init__(self, fractional: torch.Tensor, cell: np.ndarray, eta: float, cutoff: float, accuracy: float):
        self.fractional, self.eta, self.cutoff, self.numpy_cell = fractional, eta, cutoff, cell
        self.cell = torch.from_numpy(cell).to(fractional.device)
        h = spacing(eta, accuracy)
        self.points = tuple(smooth_size(length / h) for length in np.linalg.norm(cell, axis=1))
        self.alpha = 1.0 / (math.sqrt(2.0) * eta)

    def _energy(self, x: torch.Tensor, cell: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """1/2 q^T A q of this part alone: the package takes the charges' own energy and a background off it."""
        from nvalchemiops.torch.interactions.electrostatics import pme_reciprocal_space

        sums = pme_reciprocal_space(
            x, q, cell, alpha=self.alpha, mesh_dimensions=self.points, spline_order=ORDER, energy_reduction="system"
        )
        background = math.pi / (2.0 * self.alpha**2) * q.sum().square() / torch.linalg.det(cell).abs()
        return sums.sum() + self.alpha / math.sqrt(math.pi) * q.square().sum() + background

    def potential(self, q: torch.Tensor) -> torch.Tensor:
        """(n,) 1/A, as Reciprocal.potential: the derivative of the energy by the charges."""
        with torch.enable_grad():
            q = q.detach().clone().requires_grad_(True)
            return torch.autograd.grad(self._energy(self.fractional @ self.cell, self.cell, q), q)[0]

    def gradients(self, p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Forces (n, 3) and virial (3, 3), as Reciprocal.gradients; a product of different charges by polarisation."""
        if p is q:
            forces, virial = self._derivatives(q)
            return 2.0 * forces, 2.0 * virial
        both, left, right = (self._derivatives(charges) for charges in (p + q, p, q))
        return both[0] - left[0] - right[0], both[1] - left[1] - right[1]

    def _derivatives(self, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Forces and virial of the energy of these charges."""
        with torch.enable_grad():
            strain = torch.zeros_like(self.cell).requires_grad_(True)
            deform = torch.eye(3, dtype=strain.dtype, device=strain.device) + strain
            x = (self.fractional @ self.cell).requires_grad_(True)
            energy = self._energy(x @ deform.T, self.cell @ deform.T, q.detach())
            g, virial = torch.autograd.grad(energy, (x, strain))
        return -g, virial

    def origin(self) -> float:
        """The potential of a charge of one at its own place."""
        one = torch.zeros((1, 3), dtype=torch.float64, device=self.fractional.device)
        return Reciprocal(one, self.numpy_cell, self.eta, self.cutoff).origin()
