"""Model: the one contract between physics and everything else, and the base of all local models.

A local model is a sum of site energies U_i that depend on the vectors r_ij to the site's own neighbours. It returns U_i
and the directed gradients g_ij = dU_i/dr_ij; this file turns them, in one place, into

    F_n      = sum_j g_nj - sum_j g_jn                      forces
    W_n      = sum_j r_nj (x) g_nj                          per-atom virials
    stress_s = sum_{n in s} W_n / V_s                       ASE's sign: positive = tension
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from .card import Card
from .errors import PropertyNotImplementedError
from .pairs import Pairs
from .results import Results
from .system import System

LOCAL_OUTPUTS = frozenset({"energy", "energies", "forces", "virial", "virials", "pair_gradients"})
"""What every local model can be asked for."""

GRADIENTS = frozenset({"forces", "virial", "virials", "pair_gradients"})


@runtime_checkable
class Model(Protocol):
    """What a family hands to the calculator. `compute` is pure: no Atoms, no cache, no I/O.

    card: facts; cutoff: A, of the neighbour list it needs; numbers: atomic numbers it knows;
    outputs: names that `need` may hold; device and dtype of the tensors it expects.
    """

    card: Card
    cutoff: float
    numbers: tuple[int, ...]
    outputs: frozenset[str]
    device: torch.device
    dtype: torch.dtype

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results: ...


@dataclass
class Local:
    """What a local model returns: site energies (N,), and either the directed gradients (P, 3) or, from kernels that
    sum on the fly, forces (N, 3) and per-atom virials (N, 3, 3). `extra` holds further outputs, such as descriptors."""

    energies: torch.Tensor
    pair_gradients: torch.Tensor | None = None
    forces: torch.Tensor | None = None
    virials: torch.Tensor | None = None
    extra: dict[str, torch.Tensor] | None = None


class LocalModel:
    """Base of local models: subclasses set the attributes of `Model` and implement `local`."""

    card: Card
    cutoff: float
    numbers: tuple[int, ...]
    outputs: frozenset[str] = LOCAL_OUTPUTS
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float64
    threads: int = 1
    always: frozenset[str] = frozenset()
    """Outputs that a calculator's results hold whatever was asked for, such as grades that tell whether to trust it."""
    on_request: frozenset[str] = frozenset()
    """Outputs that cost so much that a calculator gives them only to those who ask, such as per-atom energies that need
    a second calculation."""

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        """Site energies and, if `need` holds one of GRADIENTS, their derivatives."""
        raise NotImplementedError(f"{type(self).__name__} does not implement local()")

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        """See the module docstring; raises PropertyNotImplementedError for an output the model lacks."""
        if missing := need - self.outputs:
            raise PropertyNotImplementedError(
                f"{self.card.name} does not compute {', '.join(sorted(missing))} "
                f"(has: {', '.join(sorted(self.outputs))})"
            )
        site = self.local(system, pairs, need)
        energy = sum_by_system(site.energies, system)
        forces, virials, gradients = site.forces, site.virials, site.pair_gradients
        if gradients is not None and forces is None and need & {"forces", "virial", "virials"}:
            forces, virials = self.reduce(system, pairs, gradients, need)
        virial = sum_by_system(virials, system) if "virial" in need and virials is not None else None
        return Results(
            energy=energy,
            energies=site.energies if "energies" in need else None,
            forces=forces if "forces" in need else None,
            virial=virial,
            virials=virials if "virials" in need else None,
            pair_gradients=gradients if "pair_gradients" in need else None,
            **(site.extra or {}),
        )

    def reduce(self, system: System, pairs: Pairs, g: torch.Tensor, need: frozenset[str]):
        """Forces (N, 3) and per-atom virials (N, 3, 3) from directed gradients (P, 3), differentiably."""
        forces = g.new_zeros((system.n_atoms, 3)).index_add(0, pairs.i.long(), g).index_add(0, pairs.j.long(), -g)
        virials = None
        if need & {"virial", "virials"}:
            outer = pairs.vectors(system).unsqueeze(2) * g.unsqueeze(1)
            virials = g.new_zeros((system.n_atoms, 3, 3)).index_add(0, pairs.i.long(), outer)
        return forces, virials


class TorchModel(LocalModel):
    """Base of the reference backend: subclasses implement `site_energies`, differentiable in the vectors."""

    create_graph: bool = False
    """True keeps the graph of the forces, for training on forces and for Hessians."""

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        """U_i (N,) from pairs.i, pairs.j, the species in system.numbers and vectors (P, 3); no use of positions."""
        raise NotImplementedError(f"{type(self).__name__} does not implement site_energies()")

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        """As LocalModel.compute, with torch held to `threads` threads meanwhile."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return super().compute(system, pairs, need)
        finally:
            torch.set_num_threads(before)

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        vectors = pairs.vectors(system)
        if not need & GRADIENTS:
            return Local(self.site_energies(system, pairs, vectors))
        with torch.enable_grad():
            if not vectors.requires_grad:
                vectors = vectors.detach().requires_grad_(True)
            energies = self.site_energies(system, pairs, vectors)
            if energies.requires_grad:
                (g,) = torch.autograd.grad(
                    energies.sum(), vectors, create_graph=self.create_graph, allow_unused=True
                )
            else:
                g = None
        if g is None:  # no pair in range: the energies do not depend on the vectors
            g = torch.zeros_like(vectors)
        return Local(energies if self.create_graph else energies.detach(), pair_gradients=g)


@dataclass(frozen=True)
class Recipe:
    """How to build a model's twin on the torch backend in double precision: build(params, request)."""

    build: Callable[[Any, Any], Model]
    params: Any
    request: Any

    def __deepcopy__(self, memo: dict) -> Recipe:
        return self  # nothing in it is ever changed


def twin_of(model: Model) -> Model | None:
    """The differentiable model with the same parameters: itself, or made once from its `recipe`; None without one."""
    if isinstance(model, TorchModel) and model.dtype == torch.float64:
        return model
    recipe: Recipe | None = getattr(model, "recipe", None)
    if recipe is None:
        return None
    twin = getattr(model, "_twin", None)
    if twin is None:
        twin = recipe.build(recipe.params, recipe.request)
        if hasattr(twin, "threads"):
            twin.threads = getattr(model, "threads", 1)
        model._twin = twin
    return twin


def sum_by_system(per_atom: torch.Tensor, system: System) -> torch.Tensor:
    """(N, ...) -> (S, ...): sums over the atoms of each structure, in one order whatever the number of threads; in
    double precision, because a sum over many atoms would lose in float32 what the atoms' own energies hold."""
    if per_atom.device.type == "cpu" and not per_atom.requires_grad:
        array = per_atom.numpy()
        out = np.zeros((system.n_systems, *array.shape[1:]))
        filled = [s for s in range(system.n_systems) if system.first[s + 1] > system.first[s]]
        if filled:
            out[filled] = np.add.reduceat(array, [system.first[s] for s in filled], axis=0, dtype=np.float64)
        return torch.from_numpy(out)
    per_atom = per_atom.double()
    if system.n_systems == 1:
        return per_atom.sum(dim=0, keepdim=True)
    out = per_atom.new_zeros((system.n_systems, *per_atom.shape[1:]))
    return out.index_add(0, system.system_index, per_atom)
