"""A local model whose site energies carry weights: E = sum_i w_i (U_i + c_i), c_i a constant of the element.

    dE/dr_ij = w_i g_ij + (U_i + c_i) dw_i/dr_ij              by vectors: forces and stress as for any local model
    F_n     -= (U_n + c_n) dw_n/dr_n                          where the weight depends on the atom's own position
    W_n     += (U_n + c_n) dw_n/dstrain

The model is evaluated on the atoms of non-zero weight and their neighbours only, so that an expensive model in a small
region costs what the region costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from ..compose import Scale, Sum
from ..core.errors import OptionError
from ..core.model import GRADIENTS, LOCAL_OUTPUTS, Local, Model, Recipe, TorchModel, twin_of
from ..core.pairs import Pairs
from ..core.system import System
from ..core.warp_model import WarpModel
from .weights import CloseWeights, FixedWeights, RegionWeights, SiteWeights

NEEDED = ("energies", "pair_gradients")
SPARSE = 0.8
"""Atoms are left out where at most this share of them is needed."""

NO_STRESS = (
    "its region is fixed in space, so that a strain of the cell has no meaning for it (give the centre in fractions of "
    "the cell, scaled=True)"
)


class Weighted(WarpModel):
    """w_i U_i of a model; `inverse` takes 1 - w_i. shift: atomic number -> eV added to U_i before it is weighted.

    Raises OptionError for a model without site energies or directed gradients, and for weights by position in single
    precision, in which the system keeps distances only.
    """

    def __init__(
        self,
        model: Model,
        weights: SiteWeights,
        inverse: bool = False,
        shift: Mapping[int, float] | None = None,
    ):
        if lacking := [name for name in NEEDED if name not in model.outputs]:
            raise OptionError(
                f"{model.card.name} has no {' and '.join(lacking)}: weights of atoms need a local model, whose energy "
                "is a sum over sites with known derivatives, such as the zoo's own short-range families have; a "
                "long-range term can be added to the whole instead, as in add(by_region(...), 'ewald(Na=1, Cl=-1)') "
                f"(it has: {', '.join(sorted(model.outputs))})"
            )
        if isinstance(weights, RegionWeights) and model.dtype != torch.float64:
            raise OptionError("a region of space needs dtype='float64'")
        self.model, self.weights, self.inverse, self.shift = model, weights, inverse, dict(shift or {})
        self.card, self.numbers = model.card, model.numbers
        self.cutoff = max(model.cutoff, weights.reach)
        self.device, self.dtype, self.threads = model.device, model.dtype, getattr(model, "threads", 1)
        self.outputs = LOCAL_OUTPUTS
        self.missing: dict[str, str] = {}
        if isinstance(weights, RegionWeights):
            self.missing["pair_gradients"] = "its weights depend on positions"
            if not weights.region.scaled:
                self.missing |= {"virial": NO_STRESS, "virials": NO_STRESS}
            self.outputs = self.outputs - self.missing.keys()
        if isinstance(weights, CloseWeights):
            self.recipe = Recipe(_twin, (model, weights, inverse, self.shift), None)
        self.table = torch.zeros(119, dtype=self.dtype, device=self.device)
        for number, energy in self.shift.items():
            self.table[number] = energy

    @property
    def is_fixed(self) -> bool:
        """True where the weights depend on nothing."""
        return isinstance(self.weights, FixedWeights)

    def fixed(self, n: int) -> np.ndarray | None:
        """(n,) weights of the atoms of a structure where they depend on nothing, else None."""
        if not self.is_fixed:
            return None
        values = self.weights.of(n)
        return 1.0 - values if self.inverse else values

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        gradients = bool(need & GRADIENTS)
        w = self.weights(system, pairs, gradients)
        w = w.complement() if self.inverse else w
        energies = w.value.new_zeros(system.n_atoms)
        forces = w.value.new_zeros((system.n_atoms, 3)) if gradients else None
        virials = w.value.new_zeros((system.n_atoms, 3, 3)) if need & {"virial", "virials"} else None
        full = w.value.new_zeros((pairs.n_pairs, 3)) if "pair_gradients" in need else None
        active = w.value != 0.0
        if not bool(active.any()):
            return Local(energies, full, forces, virials)
        part, some, atoms, kept = part_of(system, pairs, active, self.cutoff)
        asked = {"energy", "energies", *(("pair_gradients",) if gradients else ())}
        counted = active[atoms]
        found = self.model.compute(replace(part, counted=counted), some, frozenset(asked))
        value = w.value[atoms]
        # where nothing is counted the model may be anywhere, and infinity times zero is no number
        site = torch.where(counted, found.energies + self.table[part.numbers], 0.0)
        energies[atoms] = value * site
        if gradients:
            i = some.i.long()
            g = value[i, None] * torch.where(counted[i, None], found.pair_gradients, 0.0)
            if w.by_pair is not None:
                g = g + site[i, None] * w.by_pair[kept]
            f, v = self.reduce(part, some, g, need)
            if w.by_position is not None:
                f = f - site[:, None] * w.by_position[atoms]
            if v is not None and w.by_strain is not None:
                v = v + site[:, None, None] * w.by_strain[atoms]
            forces[atoms] = f
            if virials is not None:
                virials[atoms] = v
            if full is not None:
                full[kept] = g
        return Local(energies, full, forces, virials)


def part_of(system: System, pairs: Pairs, active: torch.Tensor, cutoff: float):
    """The active atoms and their neighbours as a system of its own, the pairs among them, and the places of these atoms
    and pairs in the whole. Everything, as it is, where little could be left out."""
    n, device = system.n_atoms, system.positions.device
    everything = torch.arange(n, device=device), torch.arange(pairs.n_pairs, device=device)
    if int(active.sum()) > SPARSE * n:
        return system, pairs, *everything
    i, j = pairs.i.long(), pairs.j.long()
    own = torch.nonzero(active[i]).flatten()
    vectors = replace(pairs, i=pairs.i[own], j=pairs.j[own], shift_index=pairs.shift_index[own]).vectors(system)
    wanted = active.clone()
    wanted[j[own[(vectors**2).sum(dim=1) < cutoff**2]]] = True
    atoms = torch.nonzero(wanted).flatten()
    if len(atoms) > SPARSE * n:
        return system, pairs, *everything
    keep = wanted[i] & wanted[j]
    kept = torch.nonzero(keep).flatten()
    new_atom, new_pair = (keys.cumsum(0) - 1 for keys in (wanted.long(), keep.long()))
    counts = torch.bincount(new_atom[i[kept]], minlength=len(atoms))
    incoming = pairs.incoming.long()
    some = replace(
        pairs,
        i=new_atom[i[kept]].to(torch.int32),
        j=new_atom[j[kept]].to(torch.int32),
        shift_index=pairs.shift_index[kept],
        first=torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32),
        incoming=new_pair[incoming[keep[incoming]]].to(torch.int32),
    )
    index = system.system_index[atoms]
    sizes = torch.bincount(index, minlength=system.n_systems).cpu()
    charges = system.initial_charges
    part = replace(
        system,
        numbers=system.numbers[atoms],
        positions=system.positions[atoms],
        system_index=index,
        first=(0, *sizes.cumsum(0).tolist()),
        initial_charges=None if charges is None else charges[atoms],
    )
    return part, some, atoms, kept


# -- twins: the same in differentiable torch -----------------------------------------------------------------


class _SumTorch(TorchModel):
    """sum_k f_k U_i^k of models on the torch backend."""

    def __init__(self, terms: list[tuple[float, TorchModel]]):
        self.terms = terms
        first = terms[0][1]
        self.card, self.numbers, self.device, self.dtype = first.card, first.numbers, first.device, first.dtype
        self.threads, self.cutoff = first.threads, max(m.cutoff for _, m in terms)

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        return sum(f * m.site_energies(system, pairs, vectors) for f, m in self.terms)


class _CloseTorch(TorchModel):
    """Weighted by distances."""

    def __init__(self, twin: TorchModel, model: Weighted):
        self.twin, self.weights, self.inverse = twin, model.weights, model.inverse
        self.table = model.table.to(torch.float64)
        self.card, self.numbers, self.device, self.dtype = twin.card, twin.numbers, twin.device, twin.dtype
        self.threads, self.cutoff = twin.threads, model.cutoff

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        w = self.weights.value(system.n_atoms, pairs.i, vectors)
        w = 1.0 - w if self.inverse else w
        return w * (self.twin.site_energies(system, pairs, vectors) + self.table[system.numbers])


def _twin(params: tuple, request: None) -> TorchModel | None:
    model, weights, inverse, shift = params
    inner = site_twin(model)
    return None if inner is None else _CloseTorch(inner, Weighted(model, weights, inverse, shift))


def site_twin(model: Model) -> TorchModel | None:
    """One model on the torch backend in double precision with the site energies of `model`, which may be a sum; None
    where a term has none."""
    terms = _flat(model)
    twins = [(f, twin_of(m)) for f, m in terms]
    for _, twin in twins:
        if not isinstance(twin, TorchModel) or twin.dtype != torch.float64:
            return None
        if type(twin).site_energies is TorchModel.site_energies:
            return None
    return twins[0][1] if len(twins) == 1 and twins[0][0] == 1.0 else _SumTorch(twins)


def _flat(model: Model, factor: float = 1.0) -> list[tuple[float, Model]]:
    if isinstance(model, Scale):
        return _flat(model.model, factor * model.factor)
    if isinstance(model, Sum):
        return [term for m in model.models for term in _flat(m, factor)]
    return [(factor, model)]
