"""The ASE calculator. Imports nothing of calczoo, so that it also runs in an environment of its own.

    E = sum_i E_i          E_i of the network, added in double precision
    F, stress              from dE/dr_ij of every directed pair, by the package's own output module

The network's weights are published in float32. dtype="float32" is how the package runs it; with dtype="float64" the
same numbers are used in double precision arithmetic, which makes the energy as smooth as the network is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols
from vesin import NeighborList

from .boxed import boxed
from .models import find, installed_file


def make(
    model: str, device: str = "cpu", dtype: str = "float32", modal: str = "", batch_atoms: int = 256
) -> SevenNetBatched:
    """The calculator of a published model, by its name, or of a checkpoint file."""
    kind = {"float32": torch.float32, "float64": torch.float64}[dtype]
    published = find(model)
    path = Path(model) if published is None else installed_file(published)  # checked before the pickle is read
    return SevenNetBatched(path, torch.device(device), kind, modal, batch_atoms)


def load(path: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """(network, configuration) of a checkpoint, in evaluation mode."""
    import sevenn._keys as keys
    from sevenn.checkpoint import SevenNetCheckpoint
    from sevenn.model_build import build_E3_equivariant_model
    from sevenn.scripts.backward_compatibility import patch_state_dict_if_old

    checkpoint = SevenNetCheckpoint(path)
    config = checkpoint.config
    # plain e3nn modules, whatever accelerator the checkpoint was trained with, are what reads these weights as they are
    used = config.get(keys.USE_FLASH_TP) or config.get(keys.USE_OEQ) or config[keys.CUEQUIVARIANCE_CONFIG].get("use")
    if used:
        if dtype != torch.float32:
            raise ValueError(f"{path} was written with an accelerator and runs in float32 only")
        network = checkpoint.build_model()
    else:
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in checkpoint.model_state_dict.items()}
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # e3nn takes the type of its constants from here
        try:
            network = build_E3_equivariant_model({**config, "_flash_lammps": False})
            network.load_state_dict(patch_state_dict_if_old(state, config, network), strict=True)
        finally:
            torch.set_default_dtype(before)
    network.to(device=device, dtype=dtype).eval().requires_grad_(False)
    network.set_is_batch_data(True)
    if dtype != torch.float32:
        # the package makes one-hot vectors in float32, whatever the rest is
        network.get_submodule("onehot_idx_to_onehot").register_forward_hook(_cast_onehot)
    return network, config


def _cast_onehot(module: torch.nn.Module, inputs: tuple, data: Any) -> Any:
    for key in {module.key_output, module.key_additional_output} - {None}:
        data[key] = data[key].double()
    return data


class SevenNetBatched(Calculator):
    """ASE calculator with `evaluate_many`: structures of a batch go through the network as one graph."""

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype, modal: str = "", batch_atoms: int = 256):
        super().__init__()
        self.device, self.kind, self.batch_atoms = device, dtype, batch_atoms
        self.network, self.config = load(path, device, dtype)
        self.cutoff = float(self.network.cutoff)
        self.numbers = sorted(self.network.type_map)
        known = list(self.network.modal_map or ())
        if known and modal not in known:
            raise ValueError(f"modal is {modal!r}; this model has {', '.join(known)}")
        if modal and not known:
            raise ValueError(f"modal is {modal!r}, but this model has one level of theory only")
        self.modal = modal
        self.facts = {"elements": [chemical_symbols[z] for z in self.numbers], "cutoff": self.cutoff}
        self._neighbours = NeighborList(cutoff=self.cutoff, full_list=True, sorted=True, n_threads=1)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = self._batch([self.atoms])[0]

    def evaluate_many(self, structures: Sequence[Atoms], properties: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One dict of results per structure."""
        out: list[dict[str, Any]] = []
        part: list[Atoms] = []
        for atoms in structures:
            if part and sum(map(len, part)) + len(atoms) > self.batch_atoms:
                out += self._batch(part)
                part = []
            part.append(atoms)
        return out + self._batch(part) if part else out

    def _batch(self, many: Sequence[Atoms]) -> list[dict[str, Any]]:
        import sevenn._keys as keys

        sizes = [len(a) for a in many]
        data = self._graph(many, sizes)
        with torch.enable_grad():
            output = self.network(data)
        each = output[keys.ATOMIC_ENERGY].detach().cpu().double().numpy().reshape(-1)
        forces = _or_zeros(output, keys.PRED_FORCE, (sum(sizes), 3))
        stress = -_or_zeros(output, keys.PRED_STRESS, (len(many), 6))[:, [0, 1, 2, 4, 5, 3]]  # from xx yy zz xy yz zx
        rows, start = [], 0
        for s, (atoms, n) in enumerate(zip(many, sizes, strict=True)):
            mine = slice(start, start + n)
            energy = float(each[mine].sum())
            row = {"energy": energy, "free_energy": energy, "energies": each[mine], "forces": forces[mine]}
            if atoms.pbc.all():
                row["stress"] = stress[s]
            rows.append(row)
            start += n
        return rows

    def _graph(self, many: Sequence[Atoms], sizes: list[int]) -> Any:
        """All structures as one graph of the package."""
        import sevenn._keys as keys
        from sevenn.atom_graph_data import AtomGraphData

        index, vectors, start = [], [], 0
        for atoms, n in zip(many, sizes, strict=True):
            positions, cell = boxed(atoms, self.cutoff)
            i, j, d = self._neighbours.compute(positions, cell, True, "ijD")
            index.append(np.stack([i, j]).astype(np.int64) + start)
            vectors.append(np.array(d))
            start += n

        def put(array: Any, kind: torch.dtype) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device=self.device, dtype=kind)

        numbers = put(np.concatenate([a.numbers for a in many]), torch.int64)
        volumes = [a.cell.volume if a.pbc.all() else 1.0 for a in many]  # without a cell, the stress is not used
        data = AtomGraphData(x=numbers, pos=put(np.concatenate([a.positions for a in many]), self.kind))
        data[keys.ATOMIC_NUMBERS] = numbers
        data[keys.EDGE_IDX] = put(np.concatenate(index, axis=1), torch.int64)
        data[keys.EDGE_VEC] = put(np.concatenate(vectors), self.kind)
        data[keys.CELL_VOLUME] = put(np.array(volumes), self.kind)
        data[keys.NUM_ATOMS] = put(np.array(sizes), torch.int64)
        data[keys.BATCH] = put(np.repeat(np.arange(len(many)), sizes), torch.int64)
        data[keys.INFO] = {}
        if self.modal:
            data[keys.DATA_MODALITY] = [self.modal] * len(many)
        return data


def _or_zeros(output: Any, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """An output in double precision; a batch without any pair has energies that depend on nothing, and no such key."""
    if key not in output:
        return np.zeros(shape)
    return output[key].detach().cpu().double().numpy()
