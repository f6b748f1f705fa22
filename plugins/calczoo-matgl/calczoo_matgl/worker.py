"""The ASE calculator. Imports nothing of calczoo, so that it also runs in an environment of its own.

    E = sum_i (data_std e_i + e_ref(Z_i)) + data_mean       e_i of the network's last layer
    stress = (dE/dstrain) / V                               eV/A^3; the package's own is in GPa

Energies of atoms are added in double precision. The weights are published in float32. dtype="float32" is how the
package runs them; with dtype="float64" the same numbers, and graphs in double precision, make the energy as smooth as
the network is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from vesin import NeighborList

from . import loader
from .boxed import boxed


def make(
    model: str, device: str = "cpu", dtype: str = "float32", elements: Sequence[str] = (), cutoff: float = 5.0,
    seed: int = 0, batch_atoms: int = 256, warp: bool = False,
) -> MatGLBatched:  # fmt: skip
    """The calculator of a folder of matgl, or of a network with random weights ("m3gnet-random"), which takes
    `elements`, `cutoff` (A) and `seed`."""
    if model in loader.RANDOM:
        potential = loader.random(model, list(elements), cutoff, seed, warp)
    else:
        potential = loader.load(Path(model), warp)
    kind = {"float32": torch.float32, "float64": torch.float64}[dtype]
    return MatGLBatched(potential, torch.device(device), kind, batch_atoms)


class MatGLBatched(Calculator):
    """ASE calculator with `evaluate_many`: structures of a batch go through the network as one graph."""

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "magmoms", "charges"]

    def __init__(self, potential: Any, device: torch.device, dtype: torch.dtype, batch_atoms: int = 256):
        super().__init__()
        self.device, self.kind, self.batch_atoms = device, dtype, batch_atoms
        self.potential = potential.to(device=device, dtype=dtype).eval().requires_grad_(False)
        network = potential.model
        self.cutoff = float(network.cutoff)
        self.types = {symbol: k for k, symbol in enumerate(network.element_types)}
        self.facts = {"elements": list(network.element_types), "cutoff": self.cutoff}
        self.magmoms, self.charges = bool(potential.calc_magmom), type(network).__name__ == "QET"
        potential.calc_charge = self.charges  # what hands the total charge on
        self.shift, self.scale = float(potential.data_mean), float(potential.data_std)
        offsets = potential.element_refs.property_offset if potential.element_refs is not None else None
        if offsets is not None and offsets.ndim > 1:
            raise ValueError("reference energies for several states are not known here")
        self.offsets = np.zeros(len(self.types)) if offsets is None else offsets.detach().cpu().double().numpy()
        self._atomic: torch.Tensor | None = None
        network.final_layer.register_forward_hook(self._keep)
        self._neighbours = NeighborList(cutoff=self.cutoff, full_list=True, sorted=True, n_threads=1)

    def _keep(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._atomic = output.detach()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = self._batch([self.atoms], properties)[0]

    def evaluate_many(self, structures: Sequence[Atoms], properties: Sequence[str]) -> list[dict[str, Any]]:
        """One dict of results per structure."""
        out: list[dict[str, Any]] = []
        part: list[Atoms] = []
        for atoms in structures:
            if part and sum(map(len, part)) + len(atoms) > self.batch_atoms:
                out += self._batch(part, properties)
                part = []
            part.append(atoms)
        return out + self._batch(part, properties) if part else out

    def _batch(self, many: Sequence[Atoms], properties: Sequence[str]) -> list[dict[str, Any]]:
        from matgl.utils.constants import EV_PER_ANG3_TO_GPA
        from torch_geometric.data import Batch

        graphs, cells = zip(*(self._graph(atoms) for atoms in many), strict=True)
        graph = Batch.from_data_list(list(graphs)).to(self.device)
        lattice = torch.stack(cells).to(self.device)
        slopes = bool({"forces", "stress"} & set(properties))
        # without any pair, nothing depends on positions, and autograd has no path to them
        pairs = graph.edge_index.numel() > 0
        potential = self.potential
        potential.calc_forces = slopes and pairs
        potential.calc_stresses = "stress" in properties and pairs
        potential.calc_magmom = self.magmoms and "magmoms" in properties
        more = {"total_charge": self._total_charges(many)} if self.charges else {}
        with torch.enable_grad(), loader.plain():
            _, forces, stress, _, *others = potential(graph, lattice, None, **more)
        rows: dict[str, np.ndarray] = {"energies": self._energies(many)}
        n, s = sum(map(len, many)), len(many)
        if slopes:
            rows["forces"] = _double(forces) if pairs else np.zeros((n, 3))
        if "stress" in properties:
            values = _double(stress).reshape(s, 3, 3) / EV_PER_ANG3_TO_GPA if pairs else np.zeros((s, 3, 3))
            rows["stress"] = values
        if self.charges:
            rows["charges"] = _double(others[0]).reshape(-1)
        if potential.calc_magmom:
            rows["magmoms"] = _double(others[-1]).reshape(-1)
        return list(_split(many, rows))

    def _energies(self, many: Sequence[Atoms]) -> np.ndarray:
        """(N,) eV: a constant that belongs to the structure is shared equally by its atoms."""
        if self._atomic is None:
            raise RuntimeError("the network did not run its last layer")
        types = np.concatenate([[self.types[e] for e in atoms.symbols] for atoms in many])
        constant = np.repeat([self.shift / len(atoms) for atoms in many], [len(atoms) for atoms in many])
        out = self.scale * _double(self._atomic).reshape(-1) + self.offsets[types] + constant
        self._atomic = None
        return out

    def _total_charges(self, many: Sequence[Atoms]) -> torch.Tensor:
        totals = [float(a.info.get("charge", a.get_initial_charges().sum())) for a in many]
        return torch.tensor(totals, dtype=self.kind, device=self.device)

    def _graph(self, atoms: Atoms) -> tuple[Any, torch.Tensor]:
        """(the package's graph, cell) of one structure, with positions in double precision up to here."""
        from torch_geometric.data import Data

        positions, cell = boxed(atoms, self.cutoff)
        i, j, shifts = self._neighbours.compute(positions, cell, True, "ijS")

        def put(array: Any, kind: torch.dtype) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(kind)

        graph = Data(num_nodes=len(atoms), edge_index=put(np.stack([i, j]).astype(np.int64), torch.int64))
        graph.pbc_offset = put(shifts.astype(np.float64), self.kind)
        graph.node_type = put(np.array([self.types[e] for e in atoms.symbols]), torch.int64)
        graph.frac_coords = put(positions @ np.linalg.inv(cell), self.kind)
        return graph, put(cell, self.kind)


def _split(many: Sequence[Atoms], rows: dict[str, np.ndarray]) -> Any:
    start = 0
    for s, atoms in enumerate(many):
        mine = slice(start, start + len(atoms))
        row: dict[str, Any] = {k: v[mine] for k, v in rows.items() if k != "stress"}
        row["energy"] = row["free_energy"] = float(row["energies"].sum())
        if "stress" in rows and atoms.pbc.all():
            row["stress"] = rows["stress"][s]
        yield row
        start += len(atoms)


def _double(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
