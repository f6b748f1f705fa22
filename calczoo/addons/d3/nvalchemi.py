"""D3 with rational damping by nvalchemi-toolkit-ops: kernels for CUDA in single precision, which run on the CPU too.

Pairs only, and their coordination numbers count neighbours up to the cutoff of pairs. Energies, forces and virials
have the six digits of single precision whatever the dtype of the model. See tables.py for where the C6 come from.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from ase.units import Bohr, Hartree

from ...core.elements import number
from ...core.errors import BackendUnavailable, PropertyNotImplementedError, TooLarge
from ...core.pairs import Pairs, available_memory_gib
from ...core.results import Results
from ...core.system import System
from ...dispersion.model import place, refuse_overlaps
from .params import D3Params
from .tables import find_tables, read_tables

OUTPUTS = frozenset({"energy", "forces", "virial"})
_BYTES_PER_PAIR = 20.0
"""An index, three integers of a shift and scratch."""


def available() -> bool:
    """True where nvalchemi-toolkit-ops is installed."""
    return find_spec("nvalchemiops") is not None


class D3Nvalchemi:
    """A Model; see the module docstring. `values`: s6, s8, a1, a2."""

    cutoff = 0.0
    outputs = OUTPUTS
    always: frozenset[str] = frozenset()
    missing = {"energies": "nvalchemi-toolkit-ops has no per-atom energies of D3; with engine=dftd3 there are"}

    def __init__(self, params: D3Params, values: dict[str, float], device: torch.device, dtype: torch.dtype):
        if not available():
            raise BackendUnavailable(
                "engine=nvalchemi needs nvalchemi-toolkit-ops, which is not installed: pip install "
                "'calczoo[nvalchemi]' (or pip install nvalchemi-toolkit-ops), or use engine=dftd3"
            )
        self.params, self.device, self.dtype = params, device, dtype
        self.card = params.card()
        self.numbers = tuple(number(symbol) for symbol in self.card.elements)
        self.values = {key: float(values[key]) for key in ("s6", "s8", "a1", "a2")}
        self._tables = find_tables(params.tables)
        self._arrays: dict[str, torch.Tensor] | None = None

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        """Raises PropertyNotImplementedError, AtomsOverlap, TooLarge."""
        if missing := need - self.outputs:
            raise PropertyNotImplementedError(
                f"{self.card.name} does not compute {', '.join(sorted(missing))} "
                f"(has: {', '.join(sorted(self.outputs))})"
            )
        refuse_overlaps(system, pairs)
        if system.n_atoms == 0:
            zero = torch.zeros(system.n_systems, dtype=torch.float64, device=self.device)
            return Results(
                energy=zero,
                forces=system.positions.new_zeros((0, 3)) if "forces" in need else None,
                virial=zero.new_zeros((system.n_systems, 3, 3)) if "virial" in need else None,
            )
        energy, forces, virial = self._dispersion(system)
        return Results(
            energy=energy.double() * Hartree,
            forces=forces.to(self.dtype) * (Hartree / Bohr) if "forces" in need else None,
            virial=virial.double() * -Hartree if "virial" in need else None,  # theirs is minus dE/dstrain
        )

    def _dispersion(self, system: System) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Energies, forces and their virials, in hartree and bohr."""
        from nvalchemiops.torch.interactions.dispersion import dftd3

        x, boxes, pbc = self._place(system)
        index = system.system_index.to(torch.int32)
        matrix, shifts = self._neighbours(x, boxes, pbc, index, system)
        cutoffs = self.params.cutoffs
        ends = (cutoffs.disp2 - cutoffs.width2, cutoffs.disp2) if cutoffs.width2 else (1e10 * Bohr, 1e10 * Bohr)
        energy, forces, _, virial = dftd3(
            x,
            system.numbers.to(torch.int32),
            **self.values,
            s5_smoothing_on=ends[0] / Bohr,
            s5_smoothing_off=ends[1] / Bohr,
            **self._parameters(),
            batch_idx=index,
            cell=boxes,
            neighbor_matrix=matrix,
            neighbor_matrix_shifts=shifts,
            compute_virial=True,
            num_systems=system.n_systems,
        )
        return energy, forces, virial

    def _place(self, system: System) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Positions, cells (bohr) and periods; directions without period get vectors longer than the structure."""
        pbc, cells = system.pbc.cpu().numpy(), system.cell.detach().cpu().double().numpy()
        x = system.positions.detach().double()
        boxes = np.zeros_like(cells)
        for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True)):
            at = x[a:b].cpu().numpy() if not pbc[s].all() else np.zeros((1, 3))
            at = at if len(at) else np.zeros((1, 3))
            box = place(at, cells[s], pbc[s], self.params.cutoffs.disp2)
            boxes[s] = np.diag(np.ptp(at, axis=0) + self.params.cutoffs.disp2 + 1.0) if box is None else box
        low = torch.stack([x[a:b].min(dim=0).values if b > a else x.new_zeros(3) for a, b in _ranges(system)])
        x = x - low[system.system_index]  # single precision has few digits left far from the origin
        return x / Bohr, torch.from_numpy(boxes).to(x.device) / Bohr, system.pbc.to(x.device)

    def _neighbours(
        self, x: torch.Tensor, boxes: torch.Tensor, pbc: torch.Tensor, index: torch.Tensor, system: System
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Neighbours of each atom and their shifts, (N, K) and (N, K, 3)."""
        from nvalchemiops.torch.neighbors import NeighborOverflowError, neighbor_list

        cutoff = self.params.cutoffs.disp2 / Bohr
        sizes = torch.tensor([b - a for a, b in _ranges(system)], dtype=torch.float64, device=x.device)
        density = float((sizes / torch.linalg.det(boxes).abs()).max())
        room = 64 + int(1.2 * density * 4.0 / 3.0 * np.pi * cutoff**3)
        while True:
            self._check_memory(system.n_atoms * room)
            try:
                found = neighbor_list(
                    x,
                    cutoff,
                    cell=boxes,
                    pbc=pbc,
                    batch_idx=index,
                    batch_ptr=torch.tensor(system.first, dtype=torch.int32, device=x.device),
                    max_neighbors=room,
                )
            except NeighborOverflowError:  # atoms are closer together somewhere than in the mean
                room *= 2
                continue
            return found[0], found[2]

    def _check_memory(self, pairs: int) -> None:
        on_gpu = self.device.type == "cuda"
        free = torch.cuda.mem_get_info(self.device)[0] / 2**30 if on_gpu else available_memory_gib()
        if (needed := pairs * _BYTES_PER_PAIR / 2**30) > 0.8 * free:
            raise TooLarge(needed, 0.8 * free)

    def _parameters(self) -> dict[str, Any]:
        """The tables on the device, read once."""
        if self._arrays is None:
            arrays = read_tables(self._tables)
            self._arrays = {
                "covalent_radii": arrays["rcov"],
                "r4r2": arrays["r2r4"],
                "c6_reference": arrays["c6ab"][..., 0],
                "coord_num_ref": arrays["c6ab"][..., 1],
            }
            self._arrays = {
                key: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(self.device)
                for key, array in self._arrays.items()
            }
        return self._arrays


def _ranges(system: System) -> list[tuple[int, int]]:
    return list(zip(system.first[:-1], system.first[1:], strict=True))
