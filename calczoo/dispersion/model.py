"""Base of the corrections: structures one after the other through a package's interface, in atomic units.

    E = E_pairs + E_triples,   F = -dE/dx,   W = dE/dstrain

come from the package; per-atom energies are the sums of the rows of its matrix of pair energies, in which a triple is
shared by its three pairs. Conversions are those of ase.units. The packages compute on the CPU in double precision:
a model of another device or dtype takes its numbers from there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase.units import Bohr, Hartree

from ..core.elements import number
from ..core.errors import InvalidStructure, PropertyNotImplementedError, TooLarge
from ..core.pairs import MIN_DISTANCE, Pairs, available_memory_gib, complete_cell, find_pairs
from ..core.results import Results
from ..core.system import System
from .library import held_to

OUTPUTS = frozenset({"energy", "energies", "forces", "virial"})


class Dispersion:
    """A Model; derived classes say which package, how its objects are made, and how much memory they need."""

    cutoff = 0.0
    outputs = OUTPUTS
    always: frozenset[str] = frozenset()
    on_request = frozenset({"energies"})
    """Per-atom energies cost as much again as the energy, and a matrix of all pairs: only for those who ask."""
    package = ""
    bytes_per_pair = 0.0
    """Largest need of memory while forces are computed, per N^2 (measured)."""

    def __init__(self, params: Any, device: torch.device, dtype: torch.dtype, threads: int = 1):
        self.params, self.device, self.dtype, self.threads = params, device, dtype, threads
        self.card = params.card()
        self.numbers = tuple(number(symbol) for symbol in self.card.elements)

    def structure(self, numbers: np.ndarray, x: np.ndarray, cell: dict[str, np.ndarray], charge: float) -> Any:
        """The package's object for one structure; x and cell["lattice"] in bohr."""
        raise NotImplementedError(f"{type(self).__name__} does not implement structure()")

    def damping(self) -> Any:
        """The package's object for the damping."""
        raise NotImplementedError(f"{type(self).__name__} does not implement damping()")

    def check_periodicity(self, pbc: np.ndarray, where: str) -> None:
        """Raise UnsupportedPeriodicity where the package has no right answer."""

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        """Raises PropertyNotImplementedError, AtomsOverlap, TooLarge, InvalidStructure for what a package refuses."""
        if missing := need - self.outputs:
            raise PropertyNotImplementedError(
                f"{self.card.name} does not compute {', '.join(sorted(missing))} "
                f"(has: {', '.join(sorted(self.outputs))})"
            )
        refuse_overlaps(system, pairs)
        energy, virial = np.zeros(system.n_systems), np.zeros((system.n_systems, 3, 3))
        energies, forces = np.zeros(system.n_atoms), np.zeros((system.n_atoms, 3))
        numbers, pbc = system.numbers.cpu().numpy(), system.pbc.cpu().numpy()
        x, cells = (t.detach().cpu().double().numpy() for t in (system.positions, system.cell))
        charges = np.zeros(system.n_systems) if system.charge is None else system.charge.cpu().double().numpy()
        for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True)):
            if a == b:
                continue
            where = f" of structure {s}" if system.n_systems > 1 else ""
            self.check_periodicity(pbc[s], where)
            self._check_memory(b - a, "energies" in need)
            box = place(x[a:b], cells[s], pbc[s], self.params.cutoffs.largest)
            cell = {} if box is None else {"lattice": box / Bohr, "periodic": np.ones(3, dtype=bool)}
            try:
                with held_to(self.threads, self.package):
                    one = self._one(numbers[a:b], x[a:b] / Bohr, cell, float(charges[s]), need)
            except RuntimeError as error:  # how both packages report what they cannot do
                raise InvalidStructure(f"{self.package} cannot compute this structure{where}: {error}") from error
            energy[s], energies[a:b], forces[a:b], virial[s] = one
        return Results(
            energy=self._put(energy),
            energies=self._put(energies).to(self.dtype) if "energies" in need else None,
            forces=self._put(forces).to(self.dtype) if "forces" in need else None,
            virial=self._put(virial) if "virial" in need else None,
        )

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def _one(self, numbers: np.ndarray, x: np.ndarray, cell: dict, charge: float, need: frozenset[str]) -> tuple:
        """Energy, per-atom energies, forces and virial of one structure in eV and A; zeros for what is not needed."""
        model, damping = self.structure(numbers, x, cell, charge), self.damping()
        found = model.get_dispersion(damping, grad=bool(need & {"forces", "virial"}))
        energies = 0.0
        if "energies" in need:
            pairs = model.get_pairwise_dispersion(damping)
            energies = (pairs["additive pairwise energy"] + pairs["non-additive pairwise energy"]).sum(axis=1)
        forces, virial = -found.get("gradient", np.zeros(3)), found.get("virial", np.zeros((3, 3)))
        return float(found["energy"]) * Hartree, energies * Hartree, forces * (Hartree / Bohr), virial * Hartree

    def _check_memory(self, n: int, matrix: bool) -> None:
        needed = (self.bytes_per_pair + 24.0 * matrix) * n * n / 2**30
        limit = 0.8 * available_memory_gib()
        if needed > limit:
            raise TooLarge(needed, limit)


def refuse_overlaps(system: System, pairs: Pairs) -> None:
    """Raise AtomsOverlap where no other term has made a list, in which overlaps would have been found."""
    if pairs.cutoff < MIN_DISTANCE:
        find_pairs(system, 1.0)  # A: a grid as fine as the distance itself takes longer than the dispersion


def place(x: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> np.ndarray | None:
    """Cell (A) that a package is given for a structure with these directions periodic; None for an open one.

    A direction without period gets a vector at right angles to all others, so long that no image is within `reach`, the
    largest cutoff, and is periodic then: the same sums. dftd3's own way, by flags, gives wrong sums unless the vectors
    lie along x, y and z in this order, and tears apart what sticks out of the cell (1.7.0).
    """
    if not pbc.any():
        return None
    box = complete_cell(cell, pbc)
    for k in np.flatnonzero(~pbc):
        box[k] *= np.ptp(x @ box[k]) + reach + 1.0
    return box
