"""The ASE calculator. Imports nothing of calczoo, so that it also runs in an environment of its own.

    E = sum_i E_i, where the model gives energies of atoms; F = -dE/dr; stress = (dE/dstrain) / V

added in double precision, derivatives by automatic differentiation of the model. With non_conservative, forces (without
their mean, as in the package's own calculator) or stress are those that the model predicts directly.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from .facts import Facts, read_facts

INPUTS = ("charge", "mass", "spin_multiplicity")
"""What a model may ask for beside the structure."""


def make(
    model: str, device: str = "cpu", dtype: str = "float32", extensions: str | None = None, variant: str = "",
    non_conservative: bool | str = False, spin_multiplicity: int = 1, check_consistency: bool = False,
    batch_atoms: int = 256,
) -> MetatomicBatched:  # fmt: skip
    """The calculator of a model file; dtype must be the model's own."""
    facts = read_facts(Path(model))
    if dtype != facts.dtype:
        raise ValueError(f"{model} computes in {facts.dtype}, not in {dtype}")
    keys = output_keys(facts, variant, non_conservative)
    network = load(model, extensions)
    return MetatomicBatched(network, facts, keys, device, spin_multiplicity, check_consistency, batch_atoms)


def load(model: str, extensions: str | None = None) -> Any:
    """The model, in evaluation mode."""
    imported()
    with quiet():
        from metatomic.torch import load_atomistic_model

        return load_atomistic_model(model, extensions_directory=extensions).eval()


def imported() -> None:
    """Import metatomic. Its import compiles TorchScript, which others in the process can prevent: torch_geometric puts
    a function of Python in the place of torch.index_select ("Arguments for call are not valid"), and where warnings are
    errors the first import breaks off and leaves modules behind with which no second one succeeds."""
    if "metatomic.torch" in sys.modules:
        return
    begun = any(name.startswith("metatensor_torch.") for name in sys.modules)
    if begun and not hasattr(sys.modules.get("metatensor_torch"), "operations"):
        for name in [n for n in sys.modules if n.partition(".")[0] in _PARTS]:
            del sys.modules[name]
    select = torch.index_select
    try:
        torch.index_select = torch._C._VariableFunctions.index_select
        with quiet():
            import metatomic.torch  # noqa: F401
    finally:
        torch.index_select = select


_PARTS = ("metatensor", "metatensor_torch", "metatensor_operations", "metatomic")


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings about old names of outputs, and that TorchScript is deprecated: no user can change that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def output_keys(facts: Facts, variant: str = "", non_conservative: bool | str = False) -> dict[str, str]:
    """ASE property -> output of the model that is asked for it; raises ValueError for one that is not there."""
    known = facts.variants("energy")
    if not known:
        raise ValueError(f"it predicts no energy, but {', '.join(sorted(facts.outputs)) or 'nothing'}")
    if not variant and "" not in known and len(known) == 1:
        variant = known[0]
    if variant not in known:
        named = ", ".join(repr(v) for v in known if v)
        raise ValueError(f"it has no energy of variant {variant!r}; it has {named or 'one energy only'}")
    tail = f"/{variant}" if variant else ""
    keys = {"energy": f"energy{tail}"}
    for quantity, base, asked in (
        ("forces", "non_conservative_force", non_conservative in (True, "forces")),
        ("stress", "non_conservative_stress", non_conservative in (True, "stress")),
    ):
        if asked:
            if f"{base}{tail}" not in facts.outputs:
                raise ValueError(f"it does not predict {quantity} directly (no output '{base}{tail}')")
            keys[quantity] = f"{base}{tail}"
    for quantity, base in (("uncertainty", "energy_uncertainty"), ("charges", "charge")):
        for name in (f"{base}{tail}", base):
            if name in facts.outputs and (quantity != "charges" or facts.per_atom(name)):
                keys.setdefault(quantity, name)
    return keys


class MetatomicBatched(Calculator):
    """ASE calculator with `evaluate_many`: structures of a batch go through the model together."""

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "charges", "uncertainty"]

    def __init__(
        self, model: Any, facts: Facts, keys: dict[str, str], device: str = "cpu", spin_multiplicity: int = 1,
        check_consistency: bool = False, batch_atoms: int = 256,
    ):  # fmt: skip
        super().__init__()
        with quiet():
            from vesin.metatomic import NeighborList

        self.kind = {"float32": torch.float32, "float64": torch.float64}[facts.dtype]
        self.device, self.batch_atoms, self.check = torch.device(device), batch_atoms, check_consistency
        self.model, self.known, self.keys, self.spin = model.to(self.device), facts, keys, spin_multiplicity
        self.per_atom = facts.per_atom(keys["energy"])
        self.inputs = {
            name: option.sample_kind for name, option in model.requested_inputs(use_new_names=True).items()
        }
        if unknown := sorted(set(self.inputs) - set(INPUTS)):
            raise ValueError(f"the model asks for '{unknown[0]}', which is not known here (known: {', '.join(INPUTS)})")
        # no skin: the same structure gives the same list, whatever came before
        self.lists = [
            NeighborList(options, length_unit="angstrom", skin=0.0) for options in model.requested_neighbor_lists()
        ]

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
        from metatomic.torch import ModelEvaluationOptions

        asked = set(properties)
        lacks = asked & {"uncertainty", "charges"} - set(self.keys)
        lacks |= asked & {"energies"} if not self.per_atom else set()
        if lacks:
            raise PropertyNotImplementedError(f"the model does not predict {', '.join(sorted(lacks))}")
        slopes = {name for name in ("forces", "stress") if name in asked and name not in self.keys}
        with torch.enable_grad(), quiet():
            systems, leaves = self._systems(many, slopes)
            options = ModelEvaluationOptions(length_unit="angstrom", outputs=self._outputs(asked))
            out = self.model(systems, options, self.check)
            energies = out[self.keys["energy"]].block()
            found = self._energies(energies, many)
            found |= self._slopes(energies.values, leaves, slopes, many)
        sizes = [len(atoms) for atoms in many]
        if "forces" in asked and "forces" in self.keys:
            forces = _ordered(out[self.keys["forces"]].block(), sizes).reshape(-1, 3)
            found["forces"] = np.concatenate([f - f.mean(0) for f in np.split(forces, np.cumsum(sizes)[:-1])])
        if "stress" in asked and "stress" in self.keys:
            stress = _ordered(out[self.keys["stress"]].block(), None).reshape(-1, 3, 3)
            found["stress"] = 0.5 * (stress + stress.transpose(0, 2, 1))
        if "charges" in asked:
            found["charges"] = _ordered(out[self.keys["charges"]].block(), sizes).reshape(-1)
        if "uncertainty" in asked:
            found["uncertainty"] = _ordered(out[self.keys["uncertainty"]].block(), None).reshape(-1) / np.array(sizes)
        return list(_split(many, found))

    # -- what goes in ---------------------------------------------------------------------------------------------

    def _systems(self, many: Sequence[Atoms], slopes: set[str]) -> tuple[list[Any], dict[str, list[torch.Tensor]]]:
        """(systems of metatomic, the tensors to differentiate with respect to)."""
        from metatomic.torch import System

        systems, leaves = [], {name: [] for name in slopes}
        for atoms in many:
            pbc = torch.tensor(atoms.pbc, device=self.device)
            positions = self._put(atoms.positions)
            cell = self._put(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0))
            if "forces" in slopes:
                leaves["forces"].append(positions.requires_grad_(True))
            if "stress" in slopes:
                strain = torch.eye(3, dtype=self.kind, device=self.device, requires_grad=True)
                leaves["stress"].append(strain)
                positions, cell = positions @ strain, cell @ strain
            types = torch.tensor(atoms.numbers, dtype=torch.int32, device=self.device)
            system = System(types, positions, cell, pbc)
            for neighbours in self.lists:
                neighbours.add_neighbor_list(system)
            for name, kind in self.inputs.items():
                system.add_data(name, self._input(atoms, name, kind))
            systems.append(system)
        return systems, leaves

    def _input(self, atoms: Atoms, name: str, kind: str) -> Any:
        """A quantity that the model asks for, as a map of metatensor with one block."""
        from metatensor.torch import Labels, TensorBlock, TensorMap

        n = len(atoms)
        if kind == "atom":
            values = atoms.get_masses() if name == "mass" else atoms.get_initial_charges()
            samples = Labels(["system", "atom"], torch.stack([torch.zeros(n), torch.arange(n)], 1).to(torch.int32))
        else:
            total = atoms.info.get("charge", atoms.get_initial_charges().sum())
            values = np.array([float(self.spin if name == "spin_multiplicity" else total)])
            samples = Labels(["system"], torch.zeros((1, 1), dtype=torch.int32))
        one = Labels([name], torch.tensor([[0]]))
        block = TensorBlock(self._put(values[:, None]), samples.to(self.device), [], one.to(self.device))
        held = TensorMap(Labels(["_"], torch.tensor([[0]])).to(self.device), [block])
        held.set_info("unit", {"charge": "e", "mass": "u"}.get(name, ""))
        return held

    def _outputs(self, asked: set[str]) -> dict[str, Any]:
        """Requests, by the names of the model's outputs."""
        from metatomic.torch import ModelOutput

        units = {"energy": "eV", "forces": "eV/A", "stress": "eV/A^3", "uncertainty": "eV", "charges": "e"}
        atomic = {"energy": self.per_atom, "forces": True, "charges": True}
        return {
            key: ModelOutput(unit=units[name], sample_kind="atom" if atomic.get(name) else "system")
            for name, key in self.keys.items()
            if name == "energy" or name in asked
        }

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=self.kind, device=self.device)

    # -- what comes out -------------------------------------------------------------------------------------------

    def _energies(self, block: Any, many: Sequence[Atoms]) -> dict[str, np.ndarray]:
        sizes = [len(atoms) for atoms in many]
        if not self.per_atom:
            return {"energy": _ordered(block, None).reshape(-1)}
        energies = _ordered(block, sizes).reshape(-1)
        return {"energies": energies, "energy": np.add.reduceat(energies, np.cumsum([0, *sizes[:-1]]))}

    def _slopes(
        self, energies: torch.Tensor, leaves: dict[str, list[torch.Tensor]], slopes: set[str], many: Sequence[Atoms]
    ) -> dict[str, np.ndarray]:
        """Forces and stresses; zero where the energy does not depend on positions, as for atoms without neighbours."""
        flat = [leaf for name in sorted(slopes) for leaf in leaves[name]]
        if not flat:
            return {}
        if energies.requires_grad:
            got = torch.autograd.grad(energies.sum(), flat, allow_unused=True)
        else:
            got = (None,) * len(flat)
        values = [np.zeros(leaf.shape) if g is None else _double(g) for g, leaf in zip(got, flat, strict=True)]
        out = {}
        for name in sorted(slopes):
            part, values = values[: len(many)], values[len(many) :]
            if name == "forces":
                out[name] = -np.concatenate(part)
            else:
                volumes = [a.cell.volume if a.pbc.all() else 1.0 for a in many]
                out[name] = np.array([0.5 * (v + v.T) / w for v, w in zip(part, volumes, strict=True)])
        return out


def _ordered(block: Any, sizes: list[int] | None) -> np.ndarray:
    """Values of a block in the order of structures, or of atoms where there are sizes of structures; a model may give
    them in another one."""
    values, samples = _double(block.values), block.samples
    place = samples.column("system").cpu().numpy().astype(np.int64)
    count = len(values)
    if sizes is not None:
        place = np.concatenate([[0], np.cumsum(sizes)])[place] + samples.column("atom").cpu().numpy()
        count = sum(sizes)
    if len(place) != count or not np.array_equal(np.sort(place), np.arange(count)):
        raise ValueError(f"the model returned {len(place)} values for {count} {'atoms' if sizes else 'structures'}")
    out = np.empty_like(values)
    out[place] = values
    return out


def _split(many: Sequence[Atoms], found: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    start = 0
    for s, atoms in enumerate(many):
        mine = slice(start, start + len(atoms))
        row: dict[str, Any] = {k: v[mine] for k, v in found.items() if k in ("energies", "forces", "charges")}
        row |= {k: float(v[s]) for k, v in found.items() if k in ("energy", "uncertainty")}
        row["free_energy"] = row["energy"]
        if "stress" in found and atoms.pbc.all():
            row["stress"] = found["stress"][s]
        yield row
        start += len(atoms)


def _double(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
