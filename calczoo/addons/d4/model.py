"""D4: as D3 with rational damping, but C6 depend on the atoms' charges too, which equalise electronegativities (EEQ).

E. Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019), doi:10.1063/1.5090222; solids: Phys. Chem. Chem. Phys. 22,
8499 (2020), doi:10.1039/D0CP00502A. All of it, derivatives and lattice sums included, is computed by dftd4 on the CPU.
The total charge is that of the structure, unless one is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.errors import OptionError, UnsupportedPeriodicity
from ...dispersion.library import interface
from ...dispersion.model import Dispersion
from ...electrostatics.lattice import reduced_cell
from .params import D4Params

CHARGE_TOLERANCE = 1e-3
"""By how much (e) the charge of a structure may differ from the one that is given."""
SLACK = 1.1
"""Cells whose longest vector is longer than this, relative to that of a compact basis, are computed in that basis."""


class D4(Dispersion):
    """See the module docstring."""

    params: D4Params
    package = "dftd4"
    bytes_per_pair = 165.0

    def check_periodicity(self, pbc: np.ndarray, where: str) -> None:
        """The sums for the charges are three-dimensional: the energy of a slab would change with the third vector."""
        if pbc.any() and not pbc.all():
            raise UnsupportedPeriodicity(
                f"d4: pbc is {pbc.tolist()}{where}; structures must be open or periodic in all three directions: "
                "give a slab or a chain a cell with vacuum and make it periodic in all three, or use d3"
            )

    def structure(self, numbers: np.ndarray, x: np.ndarray, cell: dict[str, np.ndarray], charge: float) -> Any:
        total = self._charge(charge)
        if cell:
            cell = {**cell, "lattice": compact(cell["lattice"])}
        model = interface("dftd4").DispersionModel(numbers, x, total, model=self.params.variant, **cell)
        model.set_realspace_cutoff(**self.params.cutoffs.bohr())
        return model

    def _charge(self, own: float) -> float:
        """Total charge, given that of the structure. Raises OptionError where both are there and differ."""
        given = self.params.charge
        if given is not None and own and abs(own - given) > CHARGE_TOLERANCE:
            raise OptionError(
                f"d4(charge={given:g}) is for structures without a charge of their own, but info['charge'] is, or the "
                f"initial charges add up to, {own:g}; leave out the option or the charge"
            )
        return own if given is None else given

    def damping(self) -> Any:
        make = interface("dftd4").DampingParam
        if self.params.functional is not None:
            return make(method=self.params.functional, atm=self.params.atm)
        return make(**self.params.values)


def compact(lattice: np.ndarray) -> np.ndarray:
    """A basis of the same lattice with shorter vectors, where these are much longer than they need to be.

    The sums of dftd4 (4.3.1) for the charges reach a number of cells: they are good to about 1e-5 eV/atom in a compact
    cell, and wrong by 1e-3 in one whose vectors are three times as long as they need to be.
    """
    short = reduced_cell(lattice)
    longest, shorter = (np.linalg.norm(rows, axis=1).max() for rows in (lattice, short))
    return short if longest > SLACK * shorter else lattice
