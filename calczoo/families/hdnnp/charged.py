"""Generations 3 and 4: networks over charges that interact at long range.

    E = sum_i [ NN_i(G_i [, Q_i]) + e_i ] + E_elec(Q) + E_screen(Q),       E_elec = 1/2 Q^T A Q

with A the Coulomb matrix of Gaussian (or point) charges, open or periodic, E_screen of `screening.py` and charges of
`charged_sources.py`: in generation 3 the networks' own, in generation 4 those of a charge equilibration with networks'
electronegativities, which knows the total charge of the structure. There the charge is also the last input of the
short-range networks.

Forces and virial are exact. With p = dE/dQ = A Q + v + dNN/dQ and the source's (u, lambda) for it,

    dE = sum_i (dNN_i/dG_i + u_i dx_i/dG_i) dG_i + (Q/2 + lambda)^T dA Q + dE_screen|_Q

so that one solve, one pass back through the symmetry functions and one bilinear gradient of A give everything.

Energies per atom are e_i + NN_i + 1/2 Q_i (A Q + v)_i, which add up to E: an interaction belongs half to either atom.
The dipole sum_i Q_i (r_i - r_0) is that of open structures, about the centre of mass with standard atomic masses (which
matters for ions only); for structures with a periodic direction, where it is not defined, it is NaN.
Charge equilibration moves charge between fragments however far apart they are, unless their electronegativities are
equal, so that in generation 4 the energies of separated fragments do not add up; the total charge is conserved only for
all of them together.
Charges enter the networks in units of the file's normalisation, `conv_charge`; charges, electronegativities and
hardness themselves are not normalised.

Source: Artrith, Morawietz and Behler, Phys. Rev. B 83, 153101 (2011), doi:10.1103/PhysRevB.83.153101; Ko, Finkler,
Goedecker and Behler, Nat. Commun. 12, 398 (2021), doi:10.1038/s41467-020-20427-2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from ase.data import atomic_masses

from ...core.card import Card
from ...core.elements import number
from ...core.errors import OptionError, PropertyNotImplementedError
from ...core.model import LocalModel, sum_by_system
from ...core.pairs import Pairs
from ...core.results import Results
from ...core.system import System
from ...electrostatics import Geometry
from .charged_sources import Equilibrated, FromNetworks, Scaled, Source
from .extrapolation import ExtrapolationCheck
from .networks import Networks
from .params import HdnnpParams
from .screening import ScreenedPairs, Screening

ACCURACY = 1e-11
"""Relative accuracy of Ewald sums, unless another is asked for; energies then agree to about 1e-9 eV."""

TOTALS = ("free", "scaled")
"""What generation 3 does about the total charge."""

_GRADIENTS = frozenset({"forces", "virial"})
_SCALAR_NEEDS = frozenset({"energy", "energies"})


@dataclass(frozen=True)
class Parts:
    """What one evaluation goes through, eV, A, e: symmetry functions G (N, width) with what the engine keeps for its
    pass back; outputs x (N,) of the charge networks and dx/dG; charges' source; potential A Q + v (N,); short-range
    energies (N,) without the atoms' own, dNN/dG and dNN/dQ; electrostatic energies (N,)."""

    functions: torch.Tensor
    kept: Any
    x: torch.Tensor
    x_slope: torch.Tensor
    geometry: Geometry
    screened: ScreenedPairs
    source: Source
    potential: torch.Tensor
    short: torch.Tensor
    short_slope: torch.Tensor
    by_charge: torch.Tensor | None
    electrostatic: torch.Tensor


class HdnnpCharged:
    """A model of generation 3 or 4 over the symmetry functions of either backend.

    accuracy: relative, of Ewald sums; qeq: solver of the charge equilibration, "auto", "direct" or "cg"; total: of
    generation 3, "free" or "scaled" (default: what the files say). Charges, networks and electrostatics are in double
    precision whatever the dtype, which is that of symmetry functions and forces. extrapolation.enabled = False switches
    off the warnings about symmetry functions outside the range of the training data.
    """

    def __init__(
        self,
        params: HdnnpParams,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        backend: str = "warp",
        threads: int = 1,
        accuracy: float = ACCURACY,
        qeq: str = "auto",
        total: str | None = None,
    ):
        if params.generation < 3 or params.electrostatics is None:
            raise OptionError(f"{params.name} is of generation {params.generation} and has no charges")
        if not 1e-15 <= accuracy <= 1e-3:
            raise OptionError(f"accuracy is {accuracy!r}; it must be between 1e-15 and 1e-3")
        self.params, self.device, self.dtype, self.threads = params, torch.device(device), dtype, threads
        self.card: Card = params.card()
        self.numbers = params.numbers
        self.accuracy, self.qeq = accuracy, qeq
        direct = {"auto": None, "direct": True, "cg": False}  # whether the Coulomb matrix itself will be needed
        if qeq not in direct:
            raise OptionError(f"qeq is {qeq!r}; allowed are {', '.join(direct)}")
        self.dense = direct[qeq] if params.generation == 4 else False
        self.total = _total_mode(params, total)
        self.coulomb = params.electrostatics.coulomb * params.energy_unit * params.length_unit
        self.screening = _screening(params, self.coulomb)
        self.cutoff = max(params.cutoff, self.screening.r_outer)
        own = frozenset({"electronegativities"}) if params.generation == 4 else frozenset()
        self.outputs = _SCALAR_NEEDS | _GRADIENTS | {"charges", "dipole", "descriptors"} | own
        self.always = frozenset({"charges"}) | own
        self._tables(params)
        self.engine, self.reducer = _engine(self, backend)
        self.short = Networks(params, "short", self.device, torch.float64)
        self.charge = Networks(params, "charge", self.device, torch.float64)
        self.extrapolation = ExtrapolationCheck(params, self.device, dtype)

    def _tables(self, params: HdnnpParams) -> None:
        """Numbers of each element, converted; `index` from atomic number to place among the elements."""

        def put(values: list[float] | np.ndarray) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, dtype=np.float64), device=self.device)

        index = np.zeros(len(atomic_masses), dtype=np.int64)
        index[[number(e) for e in params.elements]] = np.arange(len(params.elements))
        self.index = torch.from_numpy(index).to(self.device)
        widths = [m.width for m in params.models]
        if params.generation == 3 and min(widths) <= 0 < max(widths):
            raise OptionError(f"{params.name}: either all elements have a Gaussian width or none")
        self.widths = put([w * params.length_unit for w in widths]) if max(widths) > 0 else None
        self.hardness = put([m.hardness * params.energy_unit for m in params.models])
        self.offset = put([(m.energy + params.mean_energy) * params.energy_unit for m in params.models])
        self.masses = put(np.nan_to_num(atomic_masses, nan=1.0))
        self.unit = params.energy_unit / params.conv_energy
        self.x_unit = params.energy_unit if params.generation == 4 else 1.0

    # -- Model -----------------------------------------------------------------------------------------------

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        """See core.model.Model. Raises InvalidStructure for structures with one or two periodic directions."""
        if missing := need - self.outputs:
            raise PropertyNotImplementedError(
                f"{self.card.name} does not compute {', '.join(sorted(missing))} "
                f"(has: {', '.join(sorted(self.outputs))})"
            )
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.no_grad():
                return self._results(system, pairs, need)
        finally:
            torch.set_num_threads(before)

    def _results(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        species = self.index[system.numbers]
        parts = self.parts(system, pairs)
        inner = parts.short + parts.electrostatic
        # the atoms' own energies are apart: their sum is large and would drown digits of the rest
        energy = sum_by_system(inner, system) + sum_by_system(self.offset[species], system)
        forces, virial = self.gradients(system, pairs, parts) if need & _GRADIENTS else (None, None)
        four = self.params.generation == 4
        extra = {"electronegativities": parts.x} if four and "electronegativities" in need else {}
        return Results(
            energy=energy,
            energies=inner + self.offset[species] if "energies" in need else None,
            forces=forces if "forces" in need else None,
            virial=virial if "virial" in need else None,
            charges=parts.source.charges if "charges" in need else None,
            dipole=self.dipole(system, parts.source.charges) if "dipole" in need else None,
            descriptors=parts.functions if "descriptors" in need else None,
            **extra,
        )

    # -- steps -----------------------------------------------------------------------------------------------

    def parts(self, system: System, pairs: Pairs) -> Parts:
        """Everything but forces; see Parts."""
        species = self.index[system.numbers]
        functions, kept = self.engine.values(system, pairs)
        self.extrapolation.check(functions, species, system.first)
        g = functions.double()
        x, x_slope, _ = self.charge.with_gradient(g, species)
        x, x_slope = x * self.x_unit, x_slope * self.x_unit
        exact = _double(system)
        widths = None if self.widths is None else self.widths[species]
        geometry = Geometry.of(
            exact, widths, coulomb=self.coulomb, accuracy=self.accuracy, dense=self.dense, threads=self.threads
        )
        source = self._source(geometry, x, exact, species)
        charges = source.charges
        screened = self.screening.of(exact, pairs, widths)
        potential = geometry.potential(charges) + screened.potential(charges)
        as_input = charges * self.params.conv_charge if self.params.generation == 4 else None
        short, short_slope, by_charge = self.short.with_gradient(g, species, as_input)
        return Parts(
            functions=functions,
            kept=kept,
            x=x,
            x_slope=x_slope,
            geometry=geometry,
            screened=screened,
            source=source,
            potential=potential,
            short=short * self.unit,
            short_slope=short_slope * self.unit,
            by_charge=None if by_charge is None else by_charge * (self.unit * self.params.conv_charge),
            electrostatic=0.5 * charges * potential,
        )

    def _source(self, geometry: Geometry, x: torch.Tensor, system: System, species: torch.Tensor) -> Source:
        total = x.new_zeros(system.n_systems) if system.charge is None else system.charge
        if self.params.generation == 4:
            return Equilibrated(geometry, x, self.hardness[species], total, self.qeq, self.accuracy)
        return Scaled(x, system, total) if self.total == "scaled" else FromNetworks(x)

    def gradients(self, system: System, pairs: Pairs, parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
        """Forces (N, 3) and virials (S, 3, 3)."""
        charges = parts.source.charges
        p = parts.potential if parts.by_charge is None else parts.potential + parts.by_charge
        u, adjoint = parts.source.back(p)
        weights = parts.short_slope + u[:, None] * parts.x_slope
        with torch.enable_grad():  # the torch engine goes back through a graph of its own
            g = self.engine.pull(system, pairs, parts.kept, weights.to(self.dtype)).detach()
        if len(parts.screened.phi):
            g = parts.screened.add_gradients(charges, g.double()).to(self.dtype)
        forces, virials = self.reducer.reduce(system, pairs, g, frozenset({"forces", "virial"}))
        left = 0.5 * charges if adjoint is None else 0.5 * charges + adjoint
        far_forces, far_virial = parts.geometry.gradients(left, charges)
        return forces + far_forces.to(self.dtype), sum_by_system(virials, system) + far_virial

    def dipole(self, system: System, charges: torch.Tensor) -> torch.Tensor:
        """(S, 3) e A: of open structures, about the centre of mass; NaN for others."""
        x, masses = system.positions.double(), self.masses[system.numbers]
        weight = sum_by_system(masses, system).clamp(min=1e-300)
        centre = sum_by_system(masses[:, None] * x, system) / weight[:, None]
        moment = sum_by_system(charges[:, None] * (x - centre[system.system_index]), system)
        return torch.where(system.pbc.any(dim=1)[:, None], torch.nan, moment)


def _double(system: System) -> System:
    """The system in double precision."""
    if system.positions.dtype == torch.float64:
        return system
    charge = None if system.charge is None else system.charge.double()
    return replace(system, positions=system.positions.double(), cell=system.cell.double(), charge=charge)


def _total_mode(params: HdnnpParams, total: str | None) -> str:
    """What to do about the total charge of generation 3."""
    if total is None and params.electrostatics is not None:
        keyword = dict(params.electrostatics.keywords).get("enforce_totcharge", "0").split()
        total = TOTALS[1] if keyword[:1] == ["1"] else TOTALS[0]
    if total not in TOTALS:
        raise OptionError(f"total is {total!r}; allowed are {', '.join(TOTALS)}")
    return total


def _screening(params: HdnnpParams, coulomb: float) -> Screening:
    e = params.electrostatics
    assert e is not None  # checked by the caller
    return Screening(coulomb, e.r_inner * params.length_unit, e.r_outer * params.length_unit, e.core)


def _engine(model: HdnnpCharged, backend: str) -> tuple[Any, LocalModel]:
    """The symmetry functions of a backend, and what sums directed gradients to forces there."""
    reducer: LocalModel
    if backend == "torch":
        from .symmetry import TorchSymmetry

        engine: Any = TorchSymmetry(model.params, model.device, model.dtype)
        reducer = LocalModel()
    elif backend in ("warp", "auto"):
        from ...core.warp_model import WarpModel
        from .kernels import WarpSymmetry

        engine = WarpSymmetry(model.params, model.device, model.dtype, model.threads)
        reducer = WarpModel()
    else:
        raise OptionError(f"backend is {backend!r}; allowed are warp and torch")
    reducer.device, reducer.dtype, reducer.threads = model.device, model.dtype, model.threads
    return engine, reducer
