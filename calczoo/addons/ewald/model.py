"""Point charges in open or fully periodic structures.

    E = 1/2 sum_i q_i phi_i,   phi = A q,   U_i = 1/2 q_i phi_i

with A of `calczoo.electrostatics.geometry`, where the equations and the convention for charged cells are: a uniform
background neutralises them. EwaldWarp has analytic derivatives; EwaldTorch is the reference, plain torch with
derivatives by autograd. Both are in double precision inside whatever their dtype, and use a list of pairs of their own,
so that they ask for no cutoff of the list that terms of a sum share.
"""

from __future__ import annotations

import torch

from ...core.elements import number
from ...core.errors import InvalidStructure, OptionError, PropertyNotImplementedError
from ...core.pairs import Pairs
from ...core.results import Results
from ...core.system import System
from ...electrostatics.geometry import COULOMB, Geometry
from ...electrostatics.moments import dipole
from ...electrostatics.reference import open_potential, periodic_potential
from .params import EwaldParams

OUTPUTS = frozenset({"energy", "energies", "forces", "virial", "charges", "dipole"})
CHARGE_TOLERANCE = 1e-3
"""By how much (e) initial charges may miss the total charge that a structure states in info["charge"]."""


class _Ewald:
    """What both backends share."""

    cutoff = 0.0
    outputs = OUTPUTS
    always: frozenset[str] = frozenset()

    def __init__(self, params: EwaldParams, device: torch.device, dtype: torch.dtype, threads: int = 1):
        self.params, self.device, self.dtype, self.threads = params, device, dtype, threads
        self.card = params.card()
        self.numbers = tuple(number(symbol) for symbol in params.known)
        self.table = torch.zeros(119, dtype=torch.float64, device=device)
        for symbol, charge in (params.charges or {}).items():
            self.table[number(symbol)] = float(charge)

    def charges(self, system: System) -> torch.Tensor:
        """(N,) e. Raises InvalidStructure where initial charges are wanted and there are none, or contradict info."""
        if self.params.charges is not None:
            return self.table[system.numbers]
        if system.initial_charges is None:
            if system.n_atoms == 0:
                return self.table[system.numbers]
            raise InvalidStructure(
                "ewald() takes the initial charges of the atoms, and there are none: call "
                "atoms.set_initial_charges([...]), or give charges of elements as in 'ewald(Na=1, Cl=-1)'"
            )
        q = system.initial_charges.double()
        for s in range(system.n_systems if system.charge is not None else 0):
            total, stated = float(q[system.first[s] : system.first[s + 1]].sum()), float(system.charge[s])
            if abs(total - stated) > CHARGE_TOLERANCE:
                where = f" of structure {s}" if system.n_systems > 1 else ""
                raise InvalidStructure(
                    f"initial charges{where} add up to {total:.6g} e, but info['charge'] is {stated:.6g}; make them "
                    "agree or delete one of them"
                )
        return q

    def _check(self, need: frozenset[str]) -> None:
        if missing := need - self.outputs:
            raise PropertyNotImplementedError(
                f"{self.card.name} does not compute {', '.join(sorted(missing))} "
                f"(has: {', '.join(sorted(self.outputs))})"
            )

    def _results(self, system: System, q: torch.Tensor, energies, forces, virial, need: frozenset[str]) -> Results:
        first = system.first
        energy = [energies[a:b].sum() for a, b in zip(first[:-1], first[1:], strict=True)]
        return Results(
            energy=torch.stack(energy) if energy else energies[:0],
            energies=energies.to(self.dtype) if "energies" in need else None,
            forces=forces.to(self.dtype) if "forces" in need else None,
            virial=virial if "virial" in need else None,
            charges=q if "charges" in need else None,
            dipole=dipole(system, q) if "dipole" in need else None,
        )


class EwaldWarp(_Ewald):
    """Fast backend: kernels for pairs, products of matrices for waves."""

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        self._check(need)
        q = self.charges(system)
        geometry = self.geometry(system)
        energies, forces, virial = 0.5 * q * geometry.potential(q), None, None
        if need & {"forces", "virial"}:
            forces, virial = (0.5 * t for t in geometry.gradients(q, q))
        return self._results(system, q, energies, forces, virial, need)

    def geometry(self, system: System) -> Geometry:
        return Geometry.of(
            system, None, COULOMB, self.params.accuracy, method=self.params.method, dense=False, threads=self.threads
        )


class EwaldTorch(_Ewald):
    """Reference backend; `create_graph` keeps the graph of the forces."""

    create_graph = False

    def __init__(self, params: EwaldParams, device: torch.device, dtype: torch.dtype, threads: int = 1):
        if params.method in ("mesh", "nvalchemi"):
            raise OptionError(f"ewald: method='{params.method}' belongs to the fast backend; leave out backend='torch'")
        super().__init__(params, device, dtype, threads)

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        self._check(need)
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return self._compute(system, need)
        finally:
            torch.set_num_threads(before)

    def _compute(self, system: System, need: frozenset[str]) -> Results:
        q = self.charges(system)
        geometry = Geometry.of(system, None, COULOMB, self.params.accuracy, dense=False, threads=self.threads)
        gradients = bool(need & {"forces", "virial"})
        with torch.set_grad_enabled(gradients or torch.is_grad_enabled()):
            strain = torch.zeros_like(system.cell, dtype=torch.float64).requires_grad_(gradients)
            x = system.positions.double()
            x = x if x.requires_grad else x.detach().requires_grad_(gradients)
            deform = torch.eye(3, dtype=torch.float64, device=x.device) + strain
            phi = []
            for s, part in enumerate(geometry.parts):
                rows = slice(system.first[s], system.first[s + 1])
                moved, zero = x[rows] @ deform[s].T, torch.zeros_like(q[rows])
                if hasattr(part, "splitting"):
                    cell = system.cell[s].double() @ deform[s].T
                    phi.append(periodic_potential(moved, cell, zero, q[rows], part.splitting))
                else:
                    phi.append(open_potential(moved, zero, q[rows]))
            energies = 0.5 * COULOMB * q * torch.cat(phi) if phi else q
            forces, virial = torch.zeros_like(x), torch.zeros_like(strain)
            if gradients and energies.requires_grad:
                g, virial = torch.autograd.grad(energies.sum(), (x, strain), create_graph=self.create_graph)
                forces = -g
        return self._results(system, q, energies if self.create_graph else energies.detach(), forces, virial, need)
