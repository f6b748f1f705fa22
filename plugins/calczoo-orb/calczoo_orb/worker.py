"""The ASE calculator: the package's own, with batches. Imports nothing of calczoo, so that it also runs in an
environment of its own.

    E = N f(mean_i h_i) + sum_i E_ref(Z_i) + sum_i R_i    h_i: features of an atom, R_i: its ZBL repulsion
    F, stress                             by autograd (conservative), or predicted from h_i (direct)

One structure goes through `orb_models.forcefield.calculator.ORBCalculator` unchanged, so its numbers are the package's
own (for cells that are prepared already, see boxed.py). Several go through the network as one graph.

orb-models 0.5.5 takes the mean of the repulsion over the atoms in its conservative models, not the sum, so that the
energy per atom depends on the size of the cell; its later versions take the sum, with the same weights, and so does
this adapter. repulsion="mean" gives the numbers of 0.5.5.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from .boxed import least_height, prepared
from .models import CUTOFF, RANDOM

SMALL = {"latent_dim": 32, "base_mlp_hidden_dim": 64, "head_mlp_hidden_dim": 32, "num_message_passing_steps": 3}
"""Sizes of the networks with random weights."""


def make(
    model: str,
    device: str = "cpu",
    dtype: str = "float32",
    file: str = "",
    precision: str = "",
    neighbours: int | None = None,
    batch_atoms: int = 256,
    compile: bool = False,
    repulsion: str = "sum",
    spin: int = 1,
    seed: int = 0,
) -> OrbBatched:
    """The calculator of a model by its name: random weights, or an architecture of the package and its file."""
    precision = precision or ("float64" if dtype == "float64" else "float32-high")
    with arithmetic(precision), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package announces the settings that are put back here
        if model in RANDOM:
            network = _random(RANDOM[model].conservative, device, precision, seed, compile)
        else:
            from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

            build = ORB_PRETRAINED_MODELS[model]
            torch.set_default_dtype(torch.float32)  # as in a fresh process, where the package builds its networks
            network = build(weights_path=file, device=device, precision=precision, compile=compile)
        if hasattr(network, "grad_forces_name"):  # a conservative one
            network.pair_repulsion_fn.node_aggregation = repulsion
        return OrbBatched(network, device, precision, neighbours, batch_atoms, spin)


def _random(conservative: bool, device: str, precision: str, seed: int, compile: bool) -> torch.nn.Module:
    """A small Orb-v3; the same weights in every precision."""
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.atomic_system import SystemConfig

    build = pretrained.orb_v3_conservative_architecture if conservative else pretrained.orb_v3_direct_architecture
    torch.set_default_dtype(torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(**SMALL, device=torch.device("cpu"), system_config=SystemConfig(CUTOFF, 120))
    network = network.to(device=device, dtype=_dtype(precision)).eval().requires_grad_(False)
    if compile:
        network.compile(mode="default", dynamic=True)
    return network


def _dtype(precision: str) -> torch.dtype:
    return torch.float64 if precision == "float64" else torch.float32


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """The package takes torch's default dtype for that of its graphs, and sets the precision of float32 products for
    the whole process; both are as before afterwards."""
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        torch.set_default_dtype(_dtype(precision))
        if precision.startswith("float32-"):
            torch.set_float32_matmul_precision(precision.removeprefix("float32-"))
        yield
    finally:
        torch.set_default_dtype(before[0])
        torch.set_float32_matmul_precision(before[1])


class OrbBatched(Calculator):
    """ASE calculator around the package's; `evaluate_many` for batches."""

    def __init__(
        self, network: torch.nn.Module, device: str, precision: str, neighbours: int | None, batch_atoms: int, spin: int
    ):
        from orb_models.forcefield.calculator import ORBCalculator

        super().__init__()
        self.inner = ORBCalculator(network, device=torch.device(device), max_num_neighbors=neighbours)
        self.precision, self.neighbours, self.batch_atoms, self.spin = precision, neighbours, batch_atoms, spin
        stress = ["stress"] if network.has_stress else []
        self.implemented_properties = ["energy", "free_energy", "forces", *stress]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        ready = self._prepared(self.atoms)
        with arithmetic(self.precision), torch.enable_grad():
            self.inner.half_supercell = _half(ready)
            self.inner.calculate(ready)
        self.results = self._row(self.inner.results, self.atoms)

    def evaluate_many(self, structures: Sequence[Atoms], properties: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One dict of results per structure."""
        out: list[dict[str, Any]] = []
        for part in _parts(structures, self.batch_atoms):
            if len(part) == 1:
                self.calculate(part[0])
                out.append(self.results)
            else:
                out += self._batch(part)
        return out

    def _batch(self, many: Sequence[Atoms]) -> list[dict[str, Any]]:
        from orb_models.forcefield.atomic_system import ase_atoms_to_atom_graphs
        from orb_models.forcefield.base import batch_graphs

        inner = self.inner
        with arithmetic(self.precision), torch.enable_grad():
            graphs = [
                ase_atoms_to_atom_graphs(
                    ready, inner.system_config, max_num_neighbors=self.neighbours, device=inner.device,
                    half_supercell=_half(ready),
                ) for ready in map(self._prepared, many)
            ]  # fmt: skip
            found = inner.model.predict(batch_graphs(graphs))
        names = {"energy": "energy", "forces": "forces", "stress": "stress"}
        if inner.conservative:
            names |= {"forces": "grad_forces", "stress": "grad_stress"}
        arrays = {n: found[k].detach().cpu().double().numpy() for n, k in names.items() if k in found}
        rows, a = [], 0
        for s, atoms in enumerate(many):
            row = {"energy": arrays["energy"].reshape(-1)[s], "forces": arrays["forces"][a : a + len(atoms)]}
            if "stress" in arrays:
                row["stress"] = arrays["stress"].reshape(-1, 6)[s]
            rows.append(self._row(row, atoms))
            a += len(atoms)
        return rows

    def _prepared(self, atoms: Atoms) -> Atoms:
        ready = prepared(atoms, CUTOFF)
        if self.inner.expects_charge_and_spin:
            ready.info.update(charge=float(atoms.info.get("charge", 0.0)), spin=float(self.spin))
        return ready

    def _row(self, results: dict[str, Any], atoms: Atoms) -> dict[str, Any]:
        energy = float(results["energy"])
        forces = np.array(results["forces"], dtype=np.float64).reshape(-1, 3)
        row = {"energy": energy, "free_energy": energy, "forces": forces}
        if "stress" in self.implemented_properties and atoms.pbc.all():
            row["stress"] = np.array(results["stress"], dtype=np.float64).reshape(6)
        return row


def _half(atoms: Atoms) -> bool | None:
    """The package halves the images of large structures, which looks no further than one cell: not for thin ones."""
    return False if atoms.pbc.all() and least_height(atoms) < CUTOFF else None


def _parts(structures: Sequence[Atoms], limit: int) -> Iterator[list[Atoms]]:
    part: list[Atoms] = []
    for atoms in structures:
        if part and sum(map(len, part)) + len(atoms) > limit:
            yield part
            part = []
        part.append(atoms)
    if part:
        yield part
