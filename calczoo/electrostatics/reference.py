"""The potential of charges in plain torch, differentiable to any order in positions, cell and charges.

The equations are those of geometry.py; everything is written out, with no kernel and no product trick, so that it can
be read beside them and serves as their reference.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .lattice import reduced_cell
from .real_space import find
from .splitting import Splitting


def open_potential(x: torch.Tensor, widths: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """(n,) e/A: A q with k = 1 for an open structure."""
    i, j = torch.nonzero(~torch.eye(len(q), dtype=torch.bool, device=x.device), as_tuple=True)
    r = (x[j] - x[i]).norm(dim=1)
    gamma = _pair_widths(widths, i, j)
    pair = torch.where(gamma > 0, torch.erf(r / (math.sqrt(2.0) * gamma.clamp(min=1e-12))), 1.0) / r
    return q.new_zeros(len(q)).index_add(0, i, pair * q[j]) + _own(widths) * q


def periodic_potential(
    x: torch.Tensor, cell: torch.Tensor, widths: torch.Tensor, q: torch.Tensor, splitting: Splitting
) -> torch.Tensor:
    """(n,) e/A: A q with k = 1 for a periodic structure; cell (3, 3) in A."""
    eta = splitting.eta
    volume = torch.linalg.det(cell).abs()
    i, j, shift = _pairs(x, cell, splitting)
    r = (x[j] - x[i] + shift @ cell).norm(dim=1)
    gamma = _pair_widths(widths, i, j)
    wide = torch.where(gamma > 0, torch.erfc(r / (math.sqrt(2.0) * gamma.clamp(min=1e-12))), 0.0)
    pair = (torch.erfc(r / (math.sqrt(2.0) * eta)) - wide) / r
    phi = q.new_zeros(len(q)).index_add(0, i, pair * q[j])

    k = _indices(cell, splitting.reciprocal_cutoff) @ (2.0 * math.pi * torch.linalg.inv(cell).T)
    k2 = (k * k).sum(dim=1)
    weight = 8.0 * math.pi / volume * torch.exp(-0.5 * eta * eta * k2) / k2
    phase = x @ k.T
    c, s = phase.cos(), phase.sin()
    phi = phi + c @ (weight * (q @ c)) + s @ (weight * (q @ s))

    own = _own(widths) - 2.0 / (math.sqrt(2.0 * math.pi) * eta)
    return phi + own * q - 2.0 * math.pi * eta**2 / volume * q.sum()


def _own(widths: torch.Tensor) -> torch.Tensor:
    return torch.where(widths > 0, 1.0 / (math.sqrt(math.pi) * widths.clamp(min=1e-12)), 0.0)


def _pair_widths(widths: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    return (widths[i] ** 2 + widths[j] ** 2).sqrt()


def _pairs(x: torch.Tensor, cell: torch.Tensor, splitting: Splitting):
    """i, j and the lattice translation (as multiples of the cell vectors) of all pairs within the cutoff."""
    x, box = x.detach(), cell.detach().cpu().numpy()
    small = reduced_cell(box)
    fractional = x @ torch.from_numpy(np.linalg.inv(small)).to(x.device)
    fractional = fractional - fractional.floor()
    fractional = torch.where(fractional >= 1.0, 0.0, fractional)
    squares = torch.zeros_like(x[:, 0])
    pairs, _ = find(fractional, small, splitting.real_cutoff, splitting.eta, squares)
    i = torch.repeat_interleave(torch.arange(len(x), device=x.device), pairs.first.diff().long())
    j = pairs.j.long()
    shift = ((pairs.vectors - x[j] + x[i]) @ torch.linalg.inv(cell.detach())).round()
    return i, j, shift


def _indices(cell: torch.Tensor, cutoff: float) -> torch.Tensor:
    """(K, 3): one of each pair of reciprocal vectors +-K within the cutoff."""
    box = cell.detach().cpu().numpy()
    top = [int(cutoff * np.linalg.norm(row) / (2.0 * math.pi)) for row in box]
    n = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in top), indexing="ij"), axis=-1).reshape(-1, 3)
    k = n @ (2.0 * math.pi * np.linalg.inv(box).T)
    half = (n[:, 0] > 0) | ((n[:, 0] == 0) & ((n[:, 1] > 0) | ((n[:, 1] == 0) & (n[:, 2] > 0))))
    keep = half & ((k * k).sum(axis=1) < cutoff * cutoff)
    return torch.from_numpy(n[keep].astype(float)).to(cell.device)
