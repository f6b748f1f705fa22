"""The reciprocal-space part on a particle mesh, N log N, by torch-pme (optional: pip install 'calczoo[longrange]').

Charges are spread over a mesh by Lagrange polynomials through seven nodes, transformed, multiplied by
4 pi exp(-eta^2 K^2 / 2) / K^2 without K = 0, transformed back and read off by the same polynomials; derivatives are
those of this approximate sum, by autograd. For charges of one e and a mesh spacing h the potential errs by up to about
ERROR (h / eta)^7 e/A (measured on water), from which follows the h for the accuracy asked for. This is worth it down to
1e-9; beyond, exact sums are cheaper.

Source: U. Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117; torch-pme: P. Loche et al., J. Chem.
Phys. 162, 142501 (2025), doi:10.1063/5.0251713.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from .reciprocal import Reciprocal
from .splitting import Splitting, cutoffs

NODES = 7
ERROR = 0.06
FINEST = 1e-9
"""Accuracies below this are left to exact sums."""
POINT_NS, SPREAD_NS, PAIR_NS, SUMS = 70.0, 1500.0, 50.0, 4.0


def available() -> bool:
    """True where torch-pme is installed."""
    return find_spec("torchpme") is not None


def _library() -> tuple[Any, Any, Any]:
    """The parts of torch-pme that are used here. Packages such as torch_geometric put a function of Python in the place
    of torch.index_select, with which torch-pme does not compile, so that torch's own is there while it is imported."""
    found = torch.index_select
    torch.index_select = torch._C._VariableFunctions.index_select
    try:
        from torchpme.lib import KSpaceFilter, KSpaceKernel, MeshInterpolator
    finally:
        torch.index_select = found
    return KSpaceFilter, KSpaceKernel, MeshInterpolator


def choose(n: int, volume: float, gamma: float, accuracy: float, spacing: Callable[[float, float], float]) -> Splitting:
    """The splitting of least time, given the spacing for eta and accuracy; see splitting.choose."""
    best, least = None, math.inf
    for eta in 0.4 * 1.1 ** np.arange(40):
        s = cutoffs(float(eta), gamma, n / volume, accuracy)
        pairs = n * n / volume * 4.0 / 3.0 * math.pi * s.real_cutoff**3 * PAIR_NS
        time = pairs + SUMS * (volume / spacing(float(eta), accuracy) ** 3 * POINT_NS + n * SPREAD_NS)
        if time < least:
            best, least = s, time
    assert best is not None
    return best


def spacing(eta: float, accuracy: float) -> float:
    """h (A), see the module docstring."""
    return eta * min(0.5, (accuracy / ERROR) ** (1.0 / NODES))


class Mesh:
    """The same sums as `Reciprocal`, for atoms at `fractional` (n, 3) coordinates of `cell`."""

    def __init__(self, fractional: torch.Tensor, cell: np.ndarray, eta: float, cutoff: float, accuracy: float):
        self.fractional, self.eta, self.cutoff = fractional, eta, cutoff
        self.numpy_cell = cell
        self.cell = torch.from_numpy(cell).to(fractional.device)
        h = spacing(eta, accuracy)
        points = [smooth_size(length / h) for length in np.linalg.norm(cell, axis=1)]
        self.points = torch.tensor(points, device=fractional.device)
        self.volume = abs(float(np.linalg.det(cell)))
        self._interpolator, self._filter = self._tools(fractional @ self.cell, self.cell)

    def _tools(self, x: torch.Tensor, cell: torch.Tensor):
        KSpaceFilter, KSpaceKernel, MeshInterpolator = _library()
        eta = self.eta

        class Kernel(KSpaceKernel):
            def kernel_from_k_sq(self, k_sq: torch.Tensor) -> torch.Tensor:
                safe = torch.where(k_sq > 0, k_sq, torch.ones_like(k_sq))
                return torch.where(k_sq > 0, 4.0 * math.pi * torch.exp(-0.5 * eta * eta * safe) / safe, 0.0)

        interpolator = MeshInterpolator(cell, self.points, NODES, method="Lagrange")
        interpolator.compute_weights(x)
        return interpolator, KSpaceFilter(cell, self.points, Kernel(), fft_norm="backward", ifft_norm="forward")

    def potential(self, q: torch.Tensor) -> torch.Tensor:
        """(n,) 1/A, as Reciprocal.potential."""
        with torch.no_grad():
            return _sum(self._interpolator, self._filter, q) / self.volume

    def gradients(self, p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Forces (n, 3) and virial (3, 3), as Reciprocal.gradients."""
        with torch.enable_grad():
            strain = torch.zeros_like(self.cell).requires_grad_(True)
            x = (self.fractional @ self.cell).requires_grad_(True)
            deform = torch.eye(3, dtype=x.dtype, device=x.device) + strain
            cell = self.cell @ deform.T
            tools = self._tools(x @ deform.T, cell)
            value = (p * _sum(*tools, q)).sum() / torch.linalg.det(cell).abs()
            g, virial = torch.autograd.grad(value, (x, strain))
        return -g, virial

    def origin(self) -> float:
        """The potential of a charge of one at its own place."""
        one = torch.zeros((1, 3), dtype=torch.float64, device=self.fractional.device)
        return Reciprocal(one, self.numpy_cell, self.eta, self.cutoff).origin()


def _sum(interpolator, kspace_filter, q: torch.Tensor) -> torch.Tensor:
    mesh = kspace_filter.forward(interpolator.points_to_mesh(q[:, None]))
    return interpolator.mesh_to_points(mesh)[:, 0]


def smooth_size(least: float) -> int:
    """The smallest even number of factors 2, 3 and 5 that is not below `least` (nor below the nodes)."""
    n = max(8, math.ceil(least))
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and n % 2 == 0:
            return n
        n += 1
