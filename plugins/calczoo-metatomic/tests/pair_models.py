"""Small models of metatomic, made by hand: shifted Lennard-Jones pairs, in any units.

    E_i = 1/2 sum_j 4 eps (s^12 - s^6) f(r),   s = sigma / r,   f(r) = (1 - (r / r_c)^2)^3

eps of a pair is the mean of those of its elements; f goes smoothly to zero at the cutoff.
"""

# ruff: noqa: UP006, UP007, UP035, UP045 - TorchScript reads annotations, and knows the old ones
import warnings
from pathlib import Path
from typing import Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)

SIGMA, CUTOFF = 2.2, 5.0
EPSILON = {14: 0.4, 18: 0.0104, 29: 0.35}


class Pairs(torch.nn.Module):
    """Energies of atoms or of structures; forces and stress that are no derivatives (multiples of nothing physical),
    and an uncertainty of 0.1 eV per atom."""

    ask: List[str]

    def __init__(self, cutoff: float, sigma: float, scale: float, full: bool, atomic: bool, ask: List[str]):
        super().__init__()
        self.cutoff, self.sigma, self.scale, self.full, self.atomic = cutoff, sigma, scale, full, atomic
        self.ask = ask
        epsilon = torch.zeros(120, dtype=torch.float64)
        for z, value in EPSILON.items():
            epsilon[z] = value
        self.register_buffer("epsilon", epsilon)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [NeighborListOptions(cutoff=self.cutoff, full_list=self.full, strict=True)]

    def requested_inputs(self) -> Dict[str, ModelOutput]:
        out: Dict[str, ModelOutput] = {}
        for name in self.ask:
            out[name] = ModelOutput(unit="e" if name == "charge" else "", sample_kind="system")
        return out

    def energies(self, system: System) -> torch.Tensor:
        """(N,) in the unit of `scale`."""
        block = system.get_neighbor_list(self.requested_neighbor_lists()[0])
        vectors = block.values.reshape(-1, 3)
        i, j = block.samples.column("first_atom").to(torch.int64), block.samples.column("second_atom").to(torch.int64)
        r2 = (vectors * vectors).sum(1)
        epsilon = self.epsilon.to(dtype=r2.dtype)[system.types.to(torch.int64)]
        s6 = (self.sigma * self.sigma / r2) ** 3
        fade = torch.clamp(1.0 - r2 / (self.cutoff * self.cutoff), min=0.0) ** 3
        pair = 2.0 * self.scale * (epsilon[i] + epsilon[j]) * (s6 * s6 - s6) * fade
        out = torch.zeros(len(system), dtype=r2.dtype, device=r2.device).index_add(0, i, 0.5 * pair)
        if not self.full:
            out = out.index_add(0, j, 0.5 * pair)
        for name in self.ask:
            value = system.get_data(name).block().values.sum()
            out = out + self.scale * value / len(system)
        return out

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels],
    ) -> Dict[str, TensorMap]:
        results: Dict[str, TensorMap] = {}
        rows: List[torch.Tensor] = []
        atoms: List[torch.Tensor] = []
        for s in range(len(systems)):
            rows.append(self.energies(systems[s]))
            n = len(systems[s])
            atoms.append(torch.stack([torch.full((n,), s), torch.arange(n)], 1).to(torch.int32))
        device = systems[0].positions.device
        ordered = Labels(["system", "atom"], torch.cat(atoms).to(device))
        # energies come last atom first, as those of a model may
        where = Labels(["system", "atom"], torch.cat([torch.flip(a, [0]) for a in atoms]).to(device))
        whole = Labels(["system"], torch.arange(len(systems), device=device).reshape(-1, 1))
        for name in outputs.keys():
            flipped = torch.cat([torch.flip(e, [0]) for e in rows])
            total = torch.stack([e.sum() for e in rows])
            factor = 2.0 if name.endswith("/double") else 1.0
            if name.startswith("energy_uncertainty"):
                sizes = torch.stack([torch.ones_like(e).sum() for e in rows])
                results[name] = held(0.1 * self.scale * sizes.reshape(-1, 1), whole, "energy_uncertainty", [])
            elif name.startswith("energy") and outputs[name].sample_kind == "atom":
                results[name] = held(factor * flipped.reshape(-1, 1), where, "energy", [])
            elif name.startswith("energy"):
                results[name] = held(factor * total.reshape(-1, 1), whole, "energy", [])
            elif name == "non_conservative_force":
                each = torch.cat(rows)
                push = torch.stack([each, 0.0 * each, torch.ones_like(each)], 1)
                results[name] = held(push.reshape(-1, 3, 1), ordered, "non_conservative_force", ["xyz"])
            elif name == "non_conservative_stress":
                press = total.reshape(-1, 1, 1) * torch.eye(3, dtype=total.dtype, device=total.device)
                results[name] = held(press.unsqueeze(-1), whole, "non_conservative_stress", ["xyz_1", "xyz_2"])
            elif name == "charge":
                results[name] = held(flipped.reshape(-1, 1), where, "charge", [])
        return results


def held(values: torch.Tensor, samples: Labels, name: str, axes: List[str]) -> TensorMap:
    """A map with one block."""
    components: List[Labels] = []
    for axis in axes:
        components.append(Labels([axis], torch.arange(3, device=values.device).reshape(-1, 1)))
    one = Labels([name], torch.zeros((1, 1), dtype=torch.int32, device=values.device))
    key = Labels(["_"], torch.zeros((1, 1), dtype=torch.int32, device=values.device))
    return TensorMap(key, [TensorBlock(values, samples, components, one)])


def write(
    path: Path, dtype: str = "float64", outputs: tuple = ("energy",), atomic: bool = True, full: bool = True,
    length_unit: str = "angstrom", energy_unit: str = "eV", devices: tuple = ("cpu",), ask: tuple = (),
) -> Path:  # fmt: skip
    """Export a model; the numbers are the same in any unit."""
    per_a = {"angstrom": 1.0, "nm": 0.1, "bohr": 1 / 0.529177210903}[length_unit]
    per_ev = {"eV": 1.0, "meV": 1e3, "kcal/mol": 1 / 0.0433641153087705, "": 1.0}[energy_unit]
    kinds = {"non_conservative_stress": "system", "energy_uncertainty": "system"}
    units = {"non_conservative_force": "eV/A", "non_conservative_stress": "eV/A^3", "charge": "e"}
    declared = {
        name: ModelOutput(
            unit=units.get(name, energy_unit),
            sample_kind=kinds.get(name, "atom" if atomic or name.startswith(("non", "ch")) else "system"),
        )
        for name in outputs
    }
    capabilities = ModelCapabilities(
        outputs=declared, atomic_types=list(EPSILON), interaction_range=CUTOFF * per_a, length_unit=length_unit,
        supported_devices=list(devices), dtype=dtype,
    )  # fmt: skip
    metadata = ModelMetadata(
        name="pairs", description="Lennard-Jones pairs\nfor tests", authors=["A. Nobody"],
        references={"model": ["A paper about pairs"]},
    )  # fmt: skip
    module = Pairs(CUTOFF * per_a, SIGMA * per_a, per_ev, full, atomic, list(ask)).to(getattr(torch, dtype)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        AtomisticModel(module, metadata, capabilities).save(str(path))
    return path
