"""Second-generation high-dimensional neural network potentials in torch: the reference backend.

    E = sum_i U_i,   U_i = energy_unit (NN_z(G_i) / conv_energy + mean_energy + e_z),   z the element of atom i

with the symmetry functions G_i of symmetry.py, scaled, and the networks of networks.py.

Source: Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007), doi:10.1103/PhysRevLett.98.146401.
"""

from __future__ import annotations

import torch

from ...core.errors import OptionError
from ...core.model import GRADIENTS, LOCAL_OUTPUTS, Local, TorchModel
from ...core.pairs import Pairs
from ...core.system import System
from .extrapolation import ExtrapolationCheck
from .networks import Networks
from .params import HdnnpParams
from .symmetry import TorchSymmetry


class SiteEnergies:
    """Network outputs to energies of atoms in eV. scale: eV per unit of a network's output."""

    def __init__(self, params: HdnnpParams, device: torch.device | str):
        self.scale = params.energy_unit / params.conv_energy
        offsets = [params.energy_unit * (params.mean_energy + m.energy) for m in params.models]
        self._offsets = torch.tensor(offsets, dtype=torch.float64, device=device)

    def __call__(self, y: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """(N,) eV, in double precision: the energies of free atoms would swallow most digits of a float32."""
        return self.scale * y.double() + self._offsets[species]


class HdnnpTorch(TorchModel):
    """Generation 2; differentiable twice in the pair vectors.

    Output `descriptors` (N, width): scaled symmetry functions in the order of the networks' inputs, zero beyond the
    functions of an element. extrapolation.enabled = False switches the warnings off.
    """

    outputs = LOCAL_OUTPUTS | {"descriptors"}

    def __init__(self, params: HdnnpParams, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64):
        if params.generation != 2:
            raise OptionError(f"{params.name} is of generation {params.generation}; this model is for the second")
        self.params = params
        self.card = params.card()
        self.cutoff = params.cutoff
        self.numbers = params.numbers
        self.device, self.dtype = torch.device(device), dtype
        self.symmetry = TorchSymmetry(params, self.device, dtype)
        self.networks = Networks(params, "short", self.device, dtype)
        self.to_energy = SiteEnergies(params, self.device)
        self.extrapolation = ExtrapolationCheck(params, self.device, dtype)

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        return self._energies(self.symmetry.scaled(system, pairs, vectors), system)

    def _energies(self, functions: torch.Tensor, system: System) -> torch.Tensor:
        species = self.symmetry.species(system)
        self.extrapolation.check(functions, species, system.first, system.counted)
        return self.to_energy(self.networks.values(functions, species), species)

    def descriptors(self, system: System, pairs: Pairs) -> torch.Tensor:
        """(N, width): see the class."""
        return self.symmetry.scaled(system, pairs, pairs.vectors(system))

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        """Functions, then the networks' gradients, then their pull-back block by block: bounded memory; the whole
        graph only where it is to be kept."""
        if self.create_graph or system.positions.requires_grad or system.cell.requires_grad:
            site = super().local(system, pairs, need)
            extra = {"descriptors": self.descriptors(system, pairs)} if "descriptors" in need else None
            return Local(site.energies, site.pair_gradients, extra=extra)
        species = self.symmetry.species(system)
        if need & GRADIENTS:
            functions, state = self.symmetry.values(system, pairs)
            self.extrapolation.check(functions, species, system.first, system.counted)
            y, slopes, _ = self.networks.with_gradient(functions, species)
            energies = self.to_energy(y, species)
            gradients = self.symmetry.pull(system, pairs, state, slopes * self.to_energy.scale)
        else:
            with torch.no_grad():
                functions, gradients = self.descriptors(system, pairs), None
                energies = self._energies(functions, system)
        extra = {"descriptors": functions} if "descriptors" in need else None
        return Local(energies, pair_gradients=gradients, extra=extra)
