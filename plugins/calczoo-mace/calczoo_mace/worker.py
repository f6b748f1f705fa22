"""The ASE calculator. Imports nothing of calczoo, so that it runs in an environment of its own.

    E = sum_i E_i          E_i of the network with its isolated-atom energies, added in double precision
    F, stress              by automatic differentiation, in the package's own model

dtype is that of the arithmetic: weights are converted where the file has others, as the package does.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers, chemical_symbols

from .boxed import boxed
from .models import ELEMENTS, SEED


def make(
    model: str,
    device: str = "cpu",
    dtype: str = "float64",
    head: str = "",
    batch_atoms: int = 256,
    seed: int = SEED,
    elements: Sequence[str] = (),
) -> Calculator:
    """The calculator of a model file, or, for model "random", of an untrained network of that seed.

    elements: symbols that the model must know, for an early error. Raises ValueError, FileNotFoundError.
    """
    with _quiet():
        calculator_class = _calculator_class()
        network = random_network(seed) if model == "random" else load(Path(model), device)
        calculator = calculator_class(network, device, dtype, head, batch_atoms)
    known = calculator.facts["elements"]
    if missing := [e for e in elements if e not in known]:
        raise ValueError(f"{model} does not know {', '.join(missing)} (has: {', '.join(known)})")
    return calculator


@contextmanager
def _quiet() -> Iterator[None]:
    """`import mace` switches off, for the whole process, torch's refusal to run code from files, which e3nn 0.4.4 needs
    while it is imported: afterwards the environment variables are as they were. Warnings about TorchScript are nothing
    for the user."""
    before = dict(os.environ)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def load(path: Path, device: str) -> Any:
    """The network of a model file. The file is a pickle: whether it is to be trusted was asked before."""
    import torch

    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}")
    try:
        network = torch.load(path, map_location=device, weights_only=False)
    except Exception as error:  # whatever the unpickler makes of a wrong file, or of one of another version
        raise ValueError(
            f"{path} is no model file that mace-torch {_version()} can read: {type(error).__name__}: {error}"
        ) from error
    lacks = [name for name in ("atomic_numbers", "r_max", "atomic_energies_fn") if not hasattr(network, name)]
    if lacks or not callable(network):
        raise ValueError(f"{path} holds {type(network).__name__}, which is no MACE energy model")
    return network


def _version() -> str:
    from importlib.metadata import version

    return version("mace-torch")


def random_network(seed: int) -> Any:
    """An untrained ScaleShiftMACE of 89 elements: two layers of 5 A, 16 channels, with the package's ZBL repulsion, so
    that atoms keep apart. The same seed gives the same weights whatever else has drawn random numbers."""
    import torch
    from e3nn import o3
    from mace import modules

    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    numbers = sorted(atomic_numbers[e] for e in ELEMENTS)
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.float64)
        try:
            return modules.ScaleShiftMACE(
                r_max=5.0, num_bessel=8, num_polynomial_cutoff=6, max_ell=2, interaction_cls=block,
                interaction_cls_first=block, num_interactions=2, num_elements=len(numbers),
                hidden_irreps=o3.Irreps("16x0e"), MLP_irreps=o3.Irreps("16x0e"), gate=torch.nn.functional.silu,
                atomic_energies=np.zeros(len(numbers)), avg_num_neighbors=20.0, atomic_numbers=numbers, correlation=2,
                radial_type="bessel", pair_repulsion=True, distance_transform="Agnesi",
                atomic_inter_scale=10.0, atomic_inter_shift=0.0,
            )  # fmt: skip
        finally:
            torch.set_default_dtype(before)


@cache
def _calculator_class() -> type:
    """The class below, made when the package is imported, which takes seconds and changes the process."""
    import mace  # noqa: F401  before e3nn, which it prepares for
    import torch
    from mace import data
    from mace.calculators.mace import MACECalculator
    from mace.tools import torch_geometric, torch_tools

    class MaceBatched(MACECalculator):
        """MACE's own calculator, with `evaluate_many`: structures of a batch go through the network as one graph."""

        def __init__(self, network: Any, device: str, dtype: str, head: str, batch_atoms: int):
            # the package appends to this list, which otherwise is that of all of ASE's calculators
            self.implemented_properties = []
            heads = list(getattr(network, "heads", None) or ["Default"])
            if head and head not in heads:  # the package would take the last one
                raise ValueError(f"head is {head!r}; this model has: {', '.join(heads)}")
            chosen = {"head": head} if head else {}
            super().__init__(models=[network], device=device, default_dtype=dtype, **chosen)
            self.batch_atoms = batch_atoms
            self.facts = {
                "elements": [chemical_symbols[z] for z in self.z_table.zs], "cutoff": self.r_max, "heads": heads,
            }  # fmt: skip

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: Sequence[str] = ("energy",),
            system_changes: Sequence[str] = tuple(all_changes),
        ) -> None:
            Calculator.calculate(self, atoms, properties, system_changes)
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
            with torch_tools.default_dtype(self.default_dtype):
                graphs = [self._graph(atoms) for atoms in many]
            batch = torch_geometric.Batch.from_data_list(graphs).to(self.device).to_dict()
            stress = "stress" in properties
            forces = stress or "forces" in properties
            with torch.enable_grad():
                out = self.models[0](batch, compute_force=forces, compute_stress=stress)
            found = {k: _numpy(out[k]) for k in ("node_energy", "forces", "stress") if out.get(k) is not None}
            rows, start = [], 0
            for s, atoms in enumerate(many):
                mine = slice(start, start + len(atoms))
                energies = found["node_energy"][mine]
                row = {"energy": float(energies.sum()), "energies": energies}
                row["free_energy"] = row["energy"]
                if forces:
                    row["forces"] = found["forces"][mine]
                if stress and atoms.pbc.all():
                    row["stress"] = found["stress"][s][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
                rows.append(row)
                start += len(atoms)
            return rows

        def _graph(self, atoms: Atoms) -> Any:
            """The package's graph of one structure, periodic in all directions."""
            positions, cell = boxed(atoms, self.r_max)
            whole = Atoms(numbers=atoms.numbers, positions=positions, cell=cell, pbc=True, info=dict(atoms.info))
            keys = data.KeySpecification(info_keys=self.info_keys, arrays_keys=self.arrays_keys)
            config = data.config_from_atoms(whole, key_specification=keys, head_name=self.head)
            return data.AtomicData.from_config(
                config, z_table=self.z_table, cutoff=self.r_max, heads=self.available_heads
            )

    return MaceBatched


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
