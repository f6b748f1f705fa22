"""The ASE calculator: nequip's own, with batches. Imports nothing of calczoo, so that it also runs in an environment of
its own.

    E = sum_i E_i                    forces and stress by autograd, all of the package's own modules

One structure goes through `nequip.integrations.ase.NequIPCalculator` unchanged, so its numbers are the package's own to
the last bit. Several go through the network as one graph where the file allows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from .files import AOTI, PACKAGE, SCRIPT, kind_of
from .process import Settings


def make(
    model: str,
    device: str = "cpu",
    dtype: str = "float64",
    species: Mapping[str, str] | None = None,
    batch_atoms: int = 256,
    random: Mapping[str, Any] | None = None,
) -> NequIPBatched:
    """The calculator of a file, or of random weights: model "nequip" or "allegro", random its hyperparameters.

    dtype is that of random weights; a file has its own.
    """
    settings = Settings()
    with settings.construction():
        if random is not None:
            inner = _random(model, device, dtype, **random)
        else:
            inner = _load(Path(model), device, dict(species) if species else True)
    batches = random is not None or kind_of(Path(model)) != AOTI
    return NequIPBatched(inner, settings, batch_atoms if batches else 0)


def _load(path: Path, device: str, species: dict[str, str] | bool) -> Any:
    from nequip.integrations.ase import NequIPCalculator

    if kind_of(path) in (AOTI, SCRIPT):
        return NequIPCalculator.from_compiled_model(path, device, chemical_species_to_atom_type_map=species)
    # the loader of packages and checkpoints has no other name in this version
    inner = NequIPCalculator._from_saved_model(path, device, chemical_species_to_atom_type_map=species)
    if kind_of(path) != PACKAGE:
        inner.model.requires_grad_(False)
    return inner


def _random(family: str, device: str, dtype: str, elements: Sequence[str], cutoff: float, **sizes: Any) -> Any:
    """Network of random weights by the package's own builders; the same weights in every precision."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    common = {
        "r_max": cutoff, "type_names": list(elements), "avg_num_neighbors": 20.0,
        "per_type_energy_scales": 1.0, "per_type_energy_shifts": 0.0, **_sizes(family, **sizes),
    }  # fmt: skip
    if family == "allegro":
        from allegro.model import AllegroModel as build
    else:
        from nequip.model import NequIPGNNModel as build
    network = build(model_dtype="float64", **common)
    if dtype != "float64":  # a seed gives other numbers in another precision
        weights = network.state_dict()
        network = build(model_dtype=dtype, **common)
        network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    names = {e: e for e in elements}
    transforms = basic_transforms(network.metadata, cutoff, list(elements), names)
    return NequIPCalculator(network, device, transforms=transforms)


def _sizes(family: str, seed: int, layers: int, l_max: int, features: int) -> dict[str, Any]:
    """The builder's own names of the sizes of a network."""
    if family != "allegro":
        return {
            "seed": seed, "num_layers": layers, "l_max": l_max, "num_features": features,
            "radial_mlp_width": 2 * features,
        }  # fmt: skip
    embed = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8}
    widths = ("scalar_embed_mlp", "allegro_mlp", "readout_mlp")
    return {
        "seed": seed, "num_layers": layers, "l_max": l_max, "num_scalar_features": 2 * features,
        "num_tensor_features": features, "radial_chemical_embed": embed, "radial_chemical_embed_dim": 2 * features,
        **{f"{w}_hidden_layers_width": 2 * features for w in widths},
    }  # fmt: skip


class NequIPBatched(Calculator):
    """ASE calculator around nequip's. batch_atoms: 0 for code that was compiled for one structure at a time."""

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, inner: Any, settings: Settings, batch_atoms: int = 256):
        super().__init__()
        self.inner, self.settings, self.batch_atoms = inner, settings, batch_atoms
        kinds = {type(t).__name__: t for t in inner.transforms}
        self.cutoff = float(kinds["NeighborListTransform"].r_max)
        self.facts = {"elements": _symbols(kinds["ChemicalSpeciesToAtomTypeMapper"]), "cutoff": self.cutoff}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        with self.settings.call():
            self.inner.calculate(_plain(self.atoms))
        self.results = _row(self.inner.results, self.atoms)

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
        from nequip.data import AtomicDataDict as keys

        with self.settings.call():
            inner = self.inner
            data = keys.batched_from_list([inner.atoms_to_data(_plain(a)) for a in many])
            found = inner.call_model(keys.to_(data, inner.device))
            names = {
                "energy": keys.TOTAL_ENERGY_KEY, "energies": keys.PER_ATOM_ENERGY_KEY, "forces": keys.FORCE_KEY,
                "stress": keys.STRESS_KEY,
            }  # fmt: skip
            arrays = {n: found[k].detach().cpu().double().numpy() for n, k in names.items() if k in found}
        rows, a = [], 0
        for s, atoms in enumerate(many):
            mine = slice(a, a + len(atoms))
            stress = arrays["stress"][s][(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
            energy = float(arrays["energy"].reshape(-1)[s])
            row = {"energy": energy, "energies": arrays["energies"][mine].reshape(-1), "forces": arrays["forces"][mine]}
            rows.append(_row({**row, "stress": stress}, atoms))
            a += len(atoms)
        return rows


def _plain(atoms: Atoms) -> Atoms:
    """Numbers, positions, cell and periodicity only: the package takes every known name of info for an input.

    A structure without any periodic direction has no cell: what is in ASE's cell then would scale a stress.
    """
    cell = atoms.cell if atoms.pbc.any() else None
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=cell, pbc=atoms.pbc)


def _row(results: Mapping[str, Any], atoms: Atoms) -> dict[str, Any]:
    """Results of one structure; a stress needs three periodic directions."""
    energy = float(results["energy"])
    row = {"energy": energy, "free_energy": energy}
    row |= {k: np.array(results[k], dtype=np.float64) for k in ("energies", "forces") if k in results}
    if atoms.pbc.all() and "stress" in results:
        row["stress"] = np.array(results["stress"], dtype=np.float64)
    return row


def _parts(structures: Sequence[Atoms], limit: int) -> Iterator[list[Atoms]]:
    part: list[Atoms] = []
    for atoms in structures:
        if part and sum(map(len, part)) + len(atoms) > limit:
            yield part
            part = []
        part.append(atoms)
    if part:
        yield part


def _symbols(mapper: torch.nn.Module) -> list[str]:
    """Chemical symbols that the types stand for."""
    from ase.data import chemical_symbols

    table = mapper.lookup_table.cpu().numpy()
    return [chemical_symbols[z] for z in np.flatnonzero(table >= 0)]
