"""Pieces of both stages of training generations 3 and 4: frames, starting parameters, and networks from parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from ase import Atoms

from ...core.elements import number
from ...core.system import System, total_charge
from ...electrostatics import COULOMB, Geometry
from ...fitting.data import Dataset
from .fit_charged_problem import ChargeFrame, ChargeProblem
from .fit_columns import Columns
from .fit_frames import Scale, Targets
from .fit_network import Topology
from .params import Network

HARD = 1e-3
"""eV^(1/2)/e: square root of the smallest hardness to begin with; at zero its derivative would vanish."""


def charge_frames(
    data: Dataset,
    charges: Sequence[np.ndarray],
    elements: Sequence[str],
    columns: Columns,
    scales: Sequence[Scale],
    widths: Mapping[str, float] | None,
    weight: float,
    group_weights: Mapping[str, float],
    device: torch.device,
    memory: float,
    accuracy: float,
) -> list[ChargeFrame]:
    """Frames of stage one. widths: A, of generation 4; None: no charge equilibration (generation 3). weight: 1/e, of
    residuals. memory: bytes of matrices that are kept; others are made whenever they are needed."""
    frames, room = [], memory
    index = np.zeros(120, dtype=np.int64)
    index[[number(e) for e in elements]] = np.arange(len(elements))
    step = 64
    for start in range(0, len(data), step):
        some = range(start, min(start + step, len(data)))
        for k, blocks in zip(some, columns.of([data.structures[k] for k in some]), strict=True):
            atoms = data.structures[k]
            order = np.argsort(index[atoms.numbers], kind="stable")
            group = data.groups[k]
            frame = ChargeFrame(
                inputs=[s.apply(b.values).to(device) for s, b in zip(scales, blocks, strict=True)],
                charges=torch.from_numpy(charges[k][order]).to(device),
                total=total_charge(atoms),
                weight=weight * float(group_weights.get(f"{group}:charges", group_weights.get(group, 1.0))),
                order=torch.from_numpy(order),
                make=None if widths is None else Matrix(atoms, order, widths, device, accuracy),
                group=group,
            )
            if frame.make is not None and 8 * len(atoms) ** 2 <= room:
                room -= 8 * len(atoms) ** 2
                frame.matrix = frame.make()
            frames.append(frame)
    return frames


class Matrix:
    """Makes the Coulomb matrix of a structure, atoms in `order`."""

    def __init__(
        self, atoms: Atoms, order: np.ndarray, widths: Mapping[str, float], device: torch.device, accuracy: float
    ):
        self.atoms, self.order, self.widths, self.device, self.accuracy = atoms, order, widths, device, accuracy

    def __call__(self) -> torch.Tensor:
        widths = torch.tensor([self.widths[s] for s in self.atoms.get_chemical_symbols()], dtype=torch.float64)
        matrix = Geometry.of(System.from_atoms(self.atoms), widths, COULOMB, self.accuracy, dense=True).matrix(0)
        order = torch.from_numpy(self.order)
        return matrix[order][:, order].to(self.device)


def start_charges(topologies: Sequence[Topology], hardness: float | None, generator: torch.Generator) -> torch.Tensor:
    """theta of stage one to begin with; hardness: eV/e^2, None in generation 3."""
    parts = [t.start(generator) for t in topologies]
    if hardness is not None:
        parts.append(torch.full((len(topologies),), max(HARD, float(np.sqrt(hardness))), dtype=torch.float64))
    return torch.cat(parts)


def networks_of(problem: ChargeProblem, theta: torch.Tensor) -> list[Network]:
    """The charge networks of all elements."""
    edges, flat = problem.edges, theta.detach().cpu().double().numpy()
    return [network_of(t, flat[edges[e] : edges[e + 1]]) for e, t in enumerate(problem.topologies)]


def network_of(topology: Topology, flat: np.ndarray) -> Network:
    return Network.from_flat(flat, topology.sizes[0], topology.sizes[1:], topology.letters)


def nothing(inputs: int) -> Network:
    """A network that gives zero."""
    return Network((np.zeros((inputs, 1)),), (np.zeros(1),), "l")


def placed(t: Targets, device: torch.device, dtype: torch.dtype) -> Targets:
    """Targets on a device."""
    names = ("forces", "virial", "force_weights", "virial_weights")
    return replace(t, **{name: getattr(t, name).to(device, dtype) for name in names})


def with_raw_charge(network: Network, mean: float, deviation: float) -> Network:
    """A network that was trained with (Q - mean) / deviation as its last input, taking Q."""
    first = network.weights[0].copy()
    first[-1] /= deviation
    biases = (network.biases[0] - mean * first[-1], *network.biases[1:])
    return replace(network, weights=(first, *network.weights[1:]), biases=biases)
