"""The ASE calculator around a model of TorchSim. Imports nothing of calczoo, so that it also runs in an environment of
its own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from torch_sim.models.interface import ModelInterface
from torch_sim.state import SimState

from .boxed import boxed
from .models import find
from .pair_models import factors_of, set_right, symmetric_cell

BATCH_ATOMS = 4096
EXTRA = ("energies", "charges", "magmoms")
"""Per-atom results, besides forces, that a model may return and ASE has a name for."""


def make(
    model: str,
    device: str = "cpu",
    dtype: str = "float64",
    batch_atoms: int = BATCH_ATOMS,
    reach: float | None = None,
    arguments: dict[str, Any] | None = None,
) -> TorchSimCalculator:
    """The calculator of a pair potential, by its name, or of what "package.module:factory" returns for `arguments`."""
    where, kind = torch.device(device), getattr(torch, dtype)
    made = model_of(model, where, kind, dict(arguments or {}))
    if made.dtype != kind:
        raise ValueError(f"{model} made a model that computes in {made.dtype}, asked for was {kind}")
    return TorchSimCalculator(made, batch_atoms, reach)


def model_of(name: str, device: torch.device, dtype: torch.dtype, arguments: dict[str, Any]) -> ModelInterface:
    """The model itself. device, dtype and the switches for forces and stress go to the factory where it takes them."""
    pair = find(name)
    module, _, attribute = (pair.module, "", pair.kind) if pair else name.partition(":")
    factory = importlib.import_module(module)
    for part in attribute.split("."):
        factory = getattr(factory, part)
    if isinstance(factory, ModelInterface):
        if arguments:
            raise ValueError(f"{name} is a model already and takes no {', '.join(arguments)}")
        return factory
    given = {"device": device, "dtype": dtype, "compute_forces": True, "compute_stress": True}
    parameters = inspect.signature(factory).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        given = {k: v for k, v in given.items() if k in parameters}
    if pair:
        arguments = {**pair.parameters, **arguments}
    made = factory(**{**given, **arguments})
    if not isinstance(made, ModelInterface):
        raise TypeError(f"{name} returned a {type(made).__name__}; expected a ModelInterface of TorchSim")
    return made


class TorchSimCalculator(Calculator):
    """ASE calculator with `evaluate_many`: structures of a batch are one state of TorchSim.

    reach: A, of the model's neighbour list; by default what it tells itself, if anything. The model's switches for
    forces and stress are after a call as they were before it.
    """

    def __init__(self, model: ModelInterface, batch_atoms: int = BATCH_ATOMS, reach: float | None = None):
        super().__init__()
        self.model, self.batch_atoms = model, batch_atoms
        self.factors = factors_of(model)
        told = getattr(model, "cutoff", None)
        self.reach = reach if reach is not None else None if told is None else float(told)
        self.mixed = bool(getattr(model, "mixed_pbc", False))
        with switched(model, {"forces", "stress"}) as able:
            self.implemented_properties = ["energy", "free_energy", *sorted(able)]
        self.implemented_properties += [name for name in EXTRA if name in getattr(model, "outputs", ())]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = self.evaluate_many([self.atoms], properties)[0]

    def evaluate_many(self, structures: Sequence[Atoms], properties: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One dict of results per structure."""
        out: list[dict[str, Any]] = [{} for _ in structures]
        for batch in self._batches(structures):
            for k, row in zip(batch, self._batch([structures[k] for k in batch], properties), strict=True):
                out[k] = row
        return out

    # -- inside --------------------------------------------------------------------------------------------------

    def _batches(self, structures: Sequence[Atoms]) -> Iterator[list[int]]:
        """Numbers of structures that go together: up to batch_atoms of them, with one bool of periodicity."""
        groups: dict[bool, list[int]] = {}
        for k, atoms in enumerate(structures):
            groups.setdefault(self.mixed or bool(atoms.pbc.any()), []).append(k)
        for members in groups.values():
            part: list[int] = []
            for k in members:
                if part and sum(len(structures[m]) for m in part) + len(structures[k]) > self.batch_atoms:
                    yield part
                    part = []
                part.append(k)
            yield part

    def _batch(self, many: Sequence[Atoms], properties: Sequence[str]) -> list[dict[str, Any]]:
        prepared = [self._prepared(atoms) for atoms in many]
        with torch.enable_grad(), switched(self.model, set(properties)) as able:
            output = self.model(self._state(many, prepared))
        asked = {"energy", *able, *(set(EXTRA) & set(self.implemented_properties))}
        arrays = {k: output[k].detach().cpu().double().numpy() for k in asked if k in output}
        rows, start = [], 0
        for s, (atoms, (*_, turn)) in enumerate(zip(many, prepared, strict=True)):
            mine = slice(start, start + len(atoms))
            energy = float(arrays["energy"].reshape(-1)[s])
            row = {"energy": energy, "free_energy": energy}
            row |= {k: arrays[k][mine] for k in ("forces", *EXTRA) if k in arrays}
            if "stress" in arrays and atoms.pbc.all():
                row["stress"] = arrays["stress"].reshape(-1, 3, 3)[s]
            rows.append(set_right(row, self.factors, turn) if self.factors else row)
            start += len(atoms)
        return rows

    def _prepared(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
        """positions, cell (rows), pbc, and the rotation that was applied."""
        if self.mixed:
            return atoms.positions, atoms.cell.array, atoms.pbc, np.eye(3)
        positions, cell, pbc = boxed(atoms, self.reach)
        if self.factors:
            positions, cell, turn = symmetric_cell(positions, cell)
            return positions, cell, pbc, turn
        return positions, cell, pbc, np.eye(3)

    def _state(self, many: Sequence[Atoms], prepared: Sequence[tuple]) -> SimState:
        def put(array: Any, kind: torch.dtype | None) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device=self.model.device, dtype=kind)

        dtype = self.model.dtype
        state = SimState(
            positions=put(np.concatenate([p[0] for p in prepared]), dtype),
            masses=put(np.concatenate([a.get_masses() for a in many]), dtype),
            cell=put(np.stack([p[1].T for p in prepared]), dtype),  # TorchSim's cell vectors are columns
            pbc=put(np.stack([p[2] for p in prepared]), torch.bool) if self.mixed else prepared[0][2],
            atomic_numbers=put(np.concatenate([a.numbers for a in many]), torch.int32),
            system_idx=put(np.repeat(np.arange(len(many)), [len(a) for a in many]), torch.int64),
        )
        if self.mixed:  # a ZooModel; others copy a state, which knows of no further attributes
            state.charge = put(np.array([_total_charge(a) for a in many]), dtype)
            if any(a.has("initial_charges") for a in many):
                state.initial_charges = put(np.concatenate([a.get_initial_charges() for a in many]), dtype)
        return state


def _total_charge(atoms: Atoms) -> float:
    """e: info["charge"], else the sum of the initial charges, else 0."""
    if "charge" in atoms.info:
        return float(atoms.info["charge"])
    return float(atoms.get_initial_charges().sum()) if atoms.has("initial_charges") else 0.0


@contextmanager
def switched(model: ModelInterface, asked: set[str]) -> Iterator[set[str]]:
    """Inside, forces and stress are switched on where they are asked for and off where not, as far as the model can be
    switched; gives those of the two that are on."""
    before: dict[str, bool] = {}
    try:
        for name in ("forces", "stress"):
            now, wanted = bool(getattr(model, f"compute_{name}")), name in asked
            if now != wanted:
                try:
                    setattr(model, f"compute_{name}", wanted)
                except NotImplementedError:  # TorchSim's way to say that a model cannot be switched
                    continue
                before[name] = now
        yield {name for name in ("forces", "stress") if getattr(model, f"compute_{name}")}
    finally:
        for name, value in before.items():
            setattr(model, f"compute_{name}", value)
