"""Element networks for training: outputs, derivatives in the inputs, and derivatives of both in the parameters.

A network of L layers maps x_0 to y = x_L, a_l = x_{l-1} W_l + b_l, x_l = f_l(a_l). With e_l = dy/da_l, directions d in
the space of inputs and their tangents a'_l = x'_{l-1} W_l, x'_l = f'_l a'_l (x'_0 = d), the sum over atoms

    L = sum_i alpha_i y_i + sum_i d_i . dy_i/dx_0

has, with D_L = alpha f'_L + f''_L a'_L and D_l = f'_l (D_{l+1} W^T) + f''_l a'_l (e_{l+1} W^T), the gradient

    dL/dW_l = x_{l-1}^T D_l + x'_{l-1}^T e_l,   dL/db_l = sum_i D_l.

That is all that training on energies and forces needs: no automatic differentiation, and no graph in memory.

Parameters of a network are one flat vector in the order of a weights file (see params.Network.flat).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .networks import activate, slope


def curvature(letter: str, a: torch.Tensor, y: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """f''(a), given y = f(a) and first = f'(a)."""
    match letter:
        case "t":
            return -2.0 * y * first
        case "p":
            return first * (1.0 - first)
        case "s":
            return first * (1.0 - 2.0 * y)
        case "S":
            return first * (2.0 * y - 1.0)
        case "g":
            return (a * a - 1.0) * y
        case "c":
            return -y
        case "e":
            return y
        case "h":
            return torch.full_like(a, 2.0)
    return torch.zeros_like(a)


@dataclass(frozen=True)
class Topology:
    """sizes: inputs, then the nodes of each layer, the last of which is 1; letters: one activation per layer."""

    sizes: tuple[int, ...]
    letters: str

    @property
    def n_parameters(self) -> int:
        return sum((a + 1) * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))

    def split(self, flat: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight (n_in, n_out) and bias (n_out,) of each layer, as views of (..., n_parameters)."""
        out, at = [], 0
        for a, b in zip(self.sizes, self.sizes[1:], strict=False):
            weight = flat[..., at : at + a * b].unflatten(-1, (a, b))
            out.append((weight, flat[..., at + a * b : at + (a + 1) * b]))
            at += (a + 1) * b
        return out

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """Parameters to begin with: normal weights of variance 2 / (inputs + outputs) (Glorot and Bengio 2010), biases
        spread over (-1, 1) in hidden layers, zero in the last."""
        parts = []
        for k, (a, b) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            parts.append(torch.randn(a * b, generator=generator, dtype=torch.float64) * (2.0 / (a + b)) ** 0.5)
            spread = 2.0 * torch.rand(b, generator=generator, dtype=torch.float64) - 1.0
            parts.append(spread if k < len(self.letters) - 1 else torch.zeros(b, dtype=torch.float64))
        return torch.cat(parts)


class Forward:
    """One network at given inputs: y (n,), its gradient w (n, K), and what derivatives in the parameters take."""

    def __init__(self, topology: Topology, flat: torch.Tensor, inputs: torch.Tensor):
        self.topology, self.layers = topology, topology.split(flat)
        x = inputs
        self.x, self.first, self.second = [x], [], []
        for (weight, bias), letter in zip(self.layers, topology.letters, strict=True):
            a = torch.addmm(bias, x, weight)
            x = activate(letter, a)
            first = slope(letter, a, x)
            self.x.append(x)
            self.first.append(first)
            self.second.append(curvature(letter, a, x, first))
        self.y = x[:, 0]
        e = self.first[-1]
        self.e, self.back = [e], []
        for (weight, _), first in zip(self.layers[:0:-1], self.first[-2::-1], strict=True):
            self.back.append(e @ weight.T)
            e = self.back[-1] * first
            self.e.append(e)
        self.e.reverse()
        self.back.reverse()  # back[l] = dy/dx_{l+1} of hidden layer l
        self.w = e @ self.layers[0][0].T

    def _tangents(
        self, d: torch.Tensor, first: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """x'_l and a'_l for directions d (..., K), with f'_l given for them."""
        tangents, pre = [d], []
        for (weight, _), f in zip(self.layers, first, strict=True):
            pre.append(tangents[-1] @ weight)
            tangents.append(pre[-1] * f)
        return tangents, pre

    def gradient(self, alpha: torch.Tensor, d: torch.Tensor | None = None) -> torch.Tensor:
        """(n_parameters,): gradient of sum_i alpha_i y_i + sum_i d_i . w_i for alpha (n,) and d (n, K)."""
        tangents, pre = self._tangents(d, self.first) if d is not None else ([], [])
        big = alpha[:, None] * self.first[-1]
        if d is not None:
            big = big + self.second[-1] * pre[-1]
        parts: list[torch.Tensor] = []
        for k in reversed(range(len(self.layers))):
            if k < len(self.layers) - 1:
                big = (big @ self.layers[k + 1][0].T) * self.first[k]
                if d is not None:
                    big = big + self.second[k] * pre[k] * self.back[k]
            weight = self.x[k].T @ big
            if d is not None:
                weight = weight + tangents[k].T @ self.e[k]
            parts = [weight.reshape(-1), big.sum(dim=0), *parts]
        return torch.cat(parts)

    def sums(self, members: Sequence[torch.Tensor] | Sequence[slice]) -> torch.Tensor:
        """(s, n_parameters): gradients of sums of y over groups of atoms."""
        big = self.first[-1]
        parts: list[torch.Tensor] = []
        for k in reversed(range(len(self.layers))):
            if k < len(self.layers) - 1:
                big = (big @ self.layers[k + 1][0].T) * self.first[k]
            weights = torch.stack([self.x[k][m].T @ big[m] for m in members])
            parts = [weights.flatten(1), torch.stack([big[m].sum(dim=0) for m in members]), *parts]
        return torch.cat(parts, dim=1)

    def rows(self, d: torch.Tensor, some: torch.Tensor | slice) -> torch.Tensor:
        """(a, c, n_parameters): gradients of the rows sum_m d[a, c, m] . w[some[a, m]], for directions d (a, c, m, K)
        and atoms some (a, m) or, the same for all a, a slice of m."""
        shared = isinstance(some, slice)

        def of(t: torch.Tensor) -> torch.Tensor:
            """(a or 1, 1, m, ...)"""
            return t[some][None, None] if shared else t[some][:, None]

        tangents, pre = self._tangents(d, [of(f) for f in self.first])
        big = of(self.second[-1]) * pre[-1]
        parts: list[torch.Tensor] = []
        for k in reversed(range(len(self.layers))):
            if k < len(self.layers) - 1:
                big = (big @ self.layers[k + 1][0].T) * of(self.first[k]) + of(self.second[k] * self.back[k]) * pre[k]
            weight = of(self.x[k]).transpose(-1, -2) @ big + tangents[k].transpose(-1, -2) @ of(self.e[k])
            parts = [weight.flatten(2), big.sum(dim=2), *parts]
        return torch.cat(parts, dim=2)
