"""Element networks in torch, batched by element: shared by both backends.

    x_0 = [G (, Q)],   a_k = (W_k^T x_{k-1} (/ n_{k-1}) + b_k),   x_k = f_k(a_k)

normalize_nodes divides the whole sum, bias included, by the number of inputs n_{k-1}. Letters of activations: t tanh,
l linear, p softplus ln(1 + e^a), s logistic 1/(1 + e^-a), r max(0, a), g exp(-a^2/2), c cos, S 1 - logistic, e exp(-a),
h a^2 (the harmonic function).

Source: Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007), doi:10.1103/PhysRevLett.98.146401; Singraber,
Morawietz, Behler, Dellago, J. Chem. Theory Comput. 15, 3075 (2019), doi:10.1021/acs.jctc.8b01092.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...core.errors import OptionError
from .params import HdnnpParams, Network


def activate(letter: str, a: torch.Tensor) -> torch.Tensor:
    """f(a), differentiable to any order."""
    match letter:
        case "t":
            return torch.tanh(a)
        case "p":
            return torch.logaddexp(a, torch.zeros_like(a))
        case "s":
            return torch.sigmoid(a)
        case "r":
            return torch.relu(a)
        case "g":
            return torch.exp(-0.5 * a * a)
        case "c":
            return torch.cos(a)
        case "S":
            return torch.sigmoid(-a)
        case "e":
            return torch.exp(-a)
        case "h":
            return a * a
    return a


def slope(letter: str, a: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """f'(a), given y = f(a) as well."""
    match letter:
        case "t":
            return 1.0 - y * y
        case "p":
            return torch.sigmoid(a)
        case "s":
            return y * (1.0 - y)
        case "r":
            return (a > 0).to(a.dtype)
        case "g":
            return -a * y
        case "c":
            return -torch.sin(a)
        case "S":
            return y * (y - 1.0)
        case "e":
            return -y
        case "h":
            return 2.0 * a
    return torch.ones_like(a)


@dataclass(frozen=True)
class Layer:
    """weight (n_in, n_out) and bias (n_out,), already divided by n_in where nodes are normalised."""

    weight: torch.Tensor
    bias: torch.Tensor
    letter: str


class Networks:
    """The networks of all elements, which: "short" (energies; takes charges in generation 4) or "charge"."""

    def __init__(
        self,
        params: HdnnpParams,
        which: str = "short",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ):
        networks = [m.short if which == "short" else m.charge for m in params.models]
        if which not in ("short", "charge") or None in networks:
            raise OptionError(f"{params.name} has no {which!r} networks")
        self.width = max(params.n_functions)
        self.takes_charge = which == "short" and params.generation == 4
        self.sizes = params.n_functions
        self.layers = [self._layers(n, torch.device(device), dtype) for n in networks]

    @staticmethod
    def _layers(network: Network, device: torch.device, dtype: torch.dtype) -> list[Layer]:
        def put(array, n_inputs: int) -> torch.Tensor:
            scale = 1.0 / n_inputs if network.normalize_nodes else 1.0
            return torch.tensor(array * scale, dtype=dtype, device=device)

        layers = zip(network.weights, network.biases, network.activations, strict=True)
        return [Layer(put(w, len(w)), put(b, len(w)), letter) for w, b, letter in layers]

    def _inputs(self, k: int, atoms: torch.Tensor, functions: torch.Tensor, charge: torch.Tensor | None):
        """(n, inputs) of the atoms of element k."""
        x = functions[atoms, : self.sizes[k]]
        if self.takes_charge:
            if charge is None:
                raise OptionError("networks of generation 4 take charges as well")
            x = torch.cat([x, charge[atoms, None]], dim=1)
        return x

    def values(
        self, functions: torch.Tensor, species: torch.Tensor, charge: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(N,): outputs for scaled functions (N, width), species (N,) as positions in params.elements and charges (N,)
        in e, in the units of the network; differentiable in functions and charge."""
        out = functions.new_zeros(len(functions))
        for k, layers in enumerate(self.layers):
            atoms = torch.nonzero(species == k).flatten()
            if len(atoms) == 0:
                continue
            x = self._inputs(k, atoms, functions, charge)
            for layer in layers:
                x = activate(layer.letter, x @ layer.weight + layer.bias)
            out = out.index_copy(0, atoms, x[:, 0])
        return out

    @torch.no_grad()
    def with_gradient(
        self, functions: torch.Tensor, species: torch.Tensor, charge: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """(y (N,), dy/dG (N, width), dy/dcharge (N,) or None): values and their derivatives, without a graph."""
        y, by_function = functions.new_zeros(len(functions)), torch.zeros_like(functions)
        by_charge = functions.new_zeros(len(functions)) if self.takes_charge else None
        for k, layers in enumerate(self.layers):
            atoms = torch.nonzero(species == k).flatten()
            if len(atoms) == 0:
                continue
            x, slopes = self._inputs(k, atoms, functions, charge), []
            for layer in layers:
                a = x @ layer.weight + layer.bias
                x = activate(layer.letter, a)
                slopes.append(slope(layer.letter, a, x))
            y[atoms] = x[:, 0]
            back = slopes[-1] @ layers[-1].weight.T
            for layer, f in zip(layers[-2::-1], slopes[-2::-1], strict=True):
                back = (back * f) @ layer.weight.T
            by_function[atoms, : self.sizes[k]] = back[:, : self.sizes[k]]
            if by_charge is not None:
                by_charge[atoms] = back[:, -1]
        return y, by_function, by_charge
