"""What keeps a fit from collapsing under compression: guessed energies far below the volumes of the training data.

Bispectrum components grow as the third power of the density and quadratic SNAP as the sixth, with a sign that the
training data do not fix. So a few of its structures are scaled down, and each copy gets the energy

    E(copy) = E(structure) + n [e(V s^3) - e(V)],   e(V) = 2 B V0 / (B' - 1)^2 {2 - [5 + 3 B' (x - 1) - 3 x] exp(-y)}

with x = (V / V0)^(1/3), y = 3 (B' - 1) (x - 1) / 2: the equation of state of Vinet et al., J. Phys. Chem. Solids 48,
753 (1987), doi:10.1016/0022-3697(87)90035-5 (n atoms, V per atom). It enters with a tolerance that is a multiple of its
growth plus 0.05 eV per atom, so that it decides the sign of the growth and little within the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import GPa

from ..core.errors import OptionError
from .data import Dataset

FLOOR = 0.05
"""Smallest tolerance, eV per atom."""


@dataclass(frozen=True)
class Compression:
    """volume: A^3 per atom at rest; bulk_modulus: GPa; derivative: B'; scales: of lengths; structures: how many;
    tolerance: relative to the growth of the energy."""

    volume: float
    bulk_modulus: float
    derivative: float
    scales: Sequence[float] = (0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4)
    structures: int = 6
    tolerance: float = 0.2

    def __post_init__(self) -> None:
        if not (self.volume > 0 and self.bulk_modulus > 0 and self.derivative > 1):
            raise OptionError(f"compression needs volume > 0, bulk_modulus > 0 and derivative > 1, not {self}")
        if not self.tolerance > 0:
            raise OptionError(f"compression needs a tolerance above zero, not {self.tolerance}")
        if not all(0.2 <= s < 1.0 for s in self.scales) or self.structures < 1:
            raise OptionError(f"compression needs scales from 0.2 to below 1 and at least one structure, not {self}")

    def energy(self, volume: np.ndarray | float) -> np.ndarray:
        """eV per atom, zero at rest; volume in A^3 per atom."""
        x = np.cbrt(np.asarray(volume) / self.volume)
        steep = self.derivative - 1.0
        bracket = 5.0 + 3.0 * self.derivative * (x - 1.0) - 3.0 * x
        scale = 2.0 * self.bulk_modulus * GPa * self.volume / steep**2
        return scale * (2.0 - bracket * np.exp(-1.5 * steep * (x - 1.0)))

    def guesses(self, data: Dataset, seed: int = 0) -> list[tuple[Atoms, float, float]]:
        """(structure, energy in eV, tolerance in eV per atom) of scaled copies of dense periodic structures."""
        volumes = [a.get_volume() / len(a) if a.pbc.all() else np.inf for a in data.structures]
        dense = [k for k, v in enumerate(volumes) if 0.7 < v / self.volume < 1.3 and np.isfinite(data.energies[k])]
        out = []
        for k in np.random.default_rng(seed).permutation(dense)[: self.structures]:
            atoms = data.structures[int(k)]
            for s in self.scales:
                copy = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
                copy.set_cell(s * atoms.cell.array, scale_atoms=True)
                growth = float(self.energy(volumes[k] * s**3) - self.energy(volumes[k]))
                energy = float(data.energies[k]) + len(atoms) * growth
                out.append((copy, energy, self.tolerance * abs(growth) + FLOOR))
        return out
