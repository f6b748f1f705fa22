"""D3: pairs of atoms attract each other by C6 and C8 that depend on both atoms' coordination, triples optionally by C9.

    E = - sum_{i<j} [ s6 C6_ij / r^6 f6(r) + s8 C8_ij / r^8 f8(r) ] + s9 sum_{i<j<k} C9_ijk (3 cos cos cos + 1) / r^9 f9

S. Grimme et al., J. Chem. Phys. 132, 154104 (2010), doi:10.1063/1.3382344; for f6 and f8 see params.py. All of it,
derivatives and lattice sums included, is computed by dftd3 on the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dispersion.library import interface
from ...dispersion.model import Dispersion
from .params import DAMPINGS, D3Params


class D3(Dispersion):
    """See the module docstring. Any directions may be periodic."""

    params: D3Params
    package = "dftd3"
    bytes_per_pair = 20.0

    def structure(self, numbers: np.ndarray, x: np.ndarray, cell: dict[str, np.ndarray], charge: float) -> Any:
        model = interface("dftd3").DispersionModel(numbers, x, **cell)
        model.set_realspace_cutoff(**self.params.cutoffs.bohr())
        return model

    def damping(self) -> Any:
        make = getattr(interface("dftd3"), DAMPINGS[self.params.damping].cls)
        if self.params.functional is not None:
            return make(method=self.params.functional, atm=self.params.atm)
        return make(**self.params.values)
