"""ZBL in torch: screened repulsion of two nuclei.

    phi(r)  = (Z_i Z_j e^2 / r) chi(r / a) + S(r)
    chi(x)  = sum_k c_k exp(-d_k x),        a = 0.4685 A / (Z_i^0.23 + Z_j^0.23)
    S(r)    = C                                            r < inner
            = C + A/3 (r - inner)^3 + B/4 (r - inner)^4    inner < r < outer
    U_i     = 1/2 sum_j phi(r_ij)

A, B, C make phi and its first two derivatives vanish at `outer` (as in LAMMPS' `pair_style zbl`):
    A = (-3 E' + w E'') / w^2,  B = (2 E' - w E'') / w^3,  C = -E + w E'/2 - w^2 E''/12,  w = outer - inner,
with E the unswitched energy at `outer`.

Source: J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter (Pergamon, 1985),
doi:10.1007/978-1-4615-8103-1_3. Index letters: n atom, p directed pair, a b element indices, k term of chi.
"""

from __future__ import annotations

import numpy as np
import torch

from ...core.elements import number
from ...core.model import TorchModel
from ...core.pairs import Pairs
from ...core.system import System
from ...core.units import QQR2E
from ...core.universal import POWER, RADIUS, C, D
from .params import ZblParams

COLUMNS = 11
"""A row of coefficients: c_k Z Z e^2 (4), d_k / a (4), A/3, B/4, C. All zero where a pair has no ZBL term."""


def coefficients(params: ZblParams, symbols: tuple[str, ...]) -> np.ndarray:
    """(M, M, COLUMNS) for all pairs of `symbols`."""
    out = np.zeros((len(symbols), len(symbols), COLUMNS))
    for a, first in enumerate(symbols):
        for b, second in enumerate(symbols):
            charges = params.charges(first, second)
            if charges is not None:
                out[a, b] = _row(*charges, params.inner, params.outer)
    return out


def _row(zi: float, zj: float, inner: float, outer: float) -> np.ndarray:
    """One row of coefficients, see the module docstring."""
    c = C * zi * zj * QQR2E
    d = D * (zi**POWER + zj**POWER) / RADIUS
    r, w = outer, outer - inner
    terms = c * np.exp(-d * r)
    e = terms.sum() / r
    e1 = -(terms * (d + 1.0 / r)).sum() / r
    e2 = (terms * (d * d + 2.0 * d / r + 2.0 / r**2)).sum() / r
    third, fourth = (-3.0 * e1 + w * e2) / (3.0 * w**2), (2.0 * e1 - w * e2) / (4.0 * w**3)
    return np.concatenate([c, d, [third, fourth, -e + w * e1 / 2.0 - w * w * e2 / 12.0]])


def species_lookup(symbols: tuple[str, ...], device: torch.device) -> torch.Tensor:
    """(119,) int32: atomic number -> index in `symbols`."""
    lookup = np.zeros(119, dtype=np.int32)
    for a, symbol in enumerate(symbols):
        lookup[number(symbol)] = a
    return torch.from_numpy(lookup).to(device)


class ZblTorch(TorchModel):
    """Reference backend; see the module docstring."""

    def __init__(self, params: ZblParams, device: torch.device, dtype: torch.dtype):
        self.params, self.device, self.dtype = params, device, dtype
        self.card, self.cutoff = params.card(), params.outer
        symbols = params.known
        self.numbers = tuple(number(s) for s in symbols)
        self.lookup = species_lookup(symbols, device)
        self.table = torch.tensor(coefficients(params, symbols), dtype=dtype, device=device)

    def site_energies(self, system: System, pairs: Pairs, vectors: torch.Tensor) -> torch.Tensor:
        species = self.lookup[system.numbers].long()
        i, j = pairs.i.long(), pairs.j.long()
        row = self.table[species[i], species[j]]
        inside = ((vectors.detach() ** 2).sum(dim=1) < self.cutoff**2) & (row[:, 0] > 0)
        row, r = row[inside], vectors[inside].norm(dim=1)
        phi = (row[:, 0:4] * torch.exp(-row[:, 4:8] * r[:, None])).sum(dim=1) / r
        t = torch.clamp(r - self.params.inner, min=0.0)
        phi = phi + row[:, 10] + t**3 * (row[:, 8] + row[:, 9] * t)
        return vectors.new_zeros(system.n_atoms).index_add(0, i[inside], 0.5 * phi)
