"""The ASE calculator. Imports nothing of calczoo, so that it also runs in an environment of its own.

    E = sum_i E_i                                  E_i of the network, reference energies of elements included
    stress = (dE/dstrain) / V                      eV/A^3; the package's own is in GPa, over the volume with its sign,
                                                   which is negative for a left-handed cell
    m_i                                            magnetic moments (mu_B), without sign

The package gives energies per atom; here they are those of structures, added in double precision. The network's weights
are published in float32. dtype="float32" is how the package runs it; with dtype="float64" the same numbers, and graphs
in double precision, make the energy as smooth as the network is.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from .boxed import boxed
from .models import find, installed_file

GPA = np.float32(160.21766208)
"""eV/A^3 in GPa: the number that the package multiplies with."""


def make(model: str, device: str = "cpu", dtype: str = "float32", batch_atoms: int = 256) -> CHGNetBatched:
    """The calculator of a published model, by its name, or of a file that chgnet wrote."""
    kind = {"float32": torch.float32, "float64": torch.float64}[dtype]
    return CHGNetBatched(model, torch.device(device), kind, batch_atoms)


def load(model: str, device: torch.device, dtype: torch.dtype) -> Any:
    """The network, in evaluation mode. Files are read as data only: a pickle that holds code is refused by torch."""
    published = find(model)
    path = Path(model) if published is None else installed_file(published)
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    with contextlib.redirect_stdout(io.StringIO()):  # the package greets on stdout
        from chgnet.model.model import CHGNet

        network = CHGNet.from_dict(state, **(published.arguments if published else {}))
    if not network.mlp_first or not network.is_intensive:
        raise ValueError(f"{path}: only networks that add energies of atoms (mlp_first, is_intensive) can be used")
    network.graph_converter.set_isolated_atom_response("ignore")
    network.to(device=device, dtype=dtype).eval().requires_grad_(False)
    if network.composition_model is not None:
        network.composition_model.float()  # it feeds float32 into itself; its weights are read out exactly
    return network


class CHGNetBatched(Calculator):
    """ASE calculator with `evaluate_many`: structures of a batch go through the network together."""

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "magmoms"]

    def __init__(self, model: str, device: torch.device, dtype: torch.dtype, batch_atoms: int = 256):
        super().__init__()
        self.device, self.kind, self.batch_atoms = device, dtype, batch_atoms
        self.network = load(model, device, dtype)
        self.cutoff = float(self.network.graph_converter.atom_graph_cutoff)

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
        graphs = [self._graph(atoms) for atoms in many]
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")  # the package's volumes
            found = self.network.predict_graph(
                graphs, task=_task(properties), return_site_energies=True, batch_size=len(graphs)
            )
        return [self._row(a, one) for a, one in zip(many, [found] if len(graphs) == 1 else found, strict=True)]

    @staticmethod
    def _row(atoms: Atoms, found: dict[str, Any]) -> dict[str, Any]:
        energies = np.asarray(found["site_energies"], dtype=np.float64).reshape(-1)
        energy = float(energies.sum())
        row: dict[str, Any] = {"energy": energy, "free_energy": energy, "energies": energies}
        if "f" in found:
            row["forces"] = np.asarray(found["f"], dtype=np.float64)
        if "m" in found:
            row["magmoms"] = np.asarray(found["m"], dtype=np.float64).reshape(-1)
        if "s" in found and atoms.pbc.all():
            signed = np.linalg.det(atoms.cell.array)
            scale = np.float32(1.0) / np.float32(signed) * GPA  # in float32, whatever the rest is
            row["stress"] = np.asarray(found["s"], dtype=np.float64) / float(scale) / abs(signed)
        return row

    def _graph(self, atoms: Atoms) -> Any:
        """The package's graph of one structure, in the calculator's precision."""
        from pymatgen.core import Lattice, Structure

        positions, cell = boxed(atoms, self.cutoff)
        structure = Structure(Lattice(cell), atoms.numbers, positions, coords_are_cartesian=True)
        with warnings.catch_warnings():  # the formula, which nobody reads, asks noble gases for their electronegativity
            warnings.simplefilter("ignore", UserWarning)
            graph = self.network.graph_converter(structure)
        graph.atom_frac_coord = torch.tensor(structure.frac_coords, dtype=self.kind, requires_grad=True)
        graph.lattice = torch.tensor(structure.lattice.matrix, dtype=self.kind, requires_grad=True)
        graph.neighbor_image = graph.neighbor_image.to(self.kind)
        return graph


def _task(properties: Sequence[str]) -> str:
    """The package's name of the cheapest task that gives these."""
    asked = set(properties)
    moments = "m" if "magmoms" in asked else ""
    if "stress" in asked:
        return "efs" + moments
    if "forces" in asked:
        return "efsm" if moments else "ef"
    return "e" + moments
