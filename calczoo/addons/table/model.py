"""Tabulated pair potentials in torch.

    U_i = 1/2 sum_j e(r_ij^2),        g_ij = dU_i/dr_ij = -1/2 (f/r)(r_ij^2) r_ij

e and f/r are interpolated separately in r^2 (see grid.py), as LAMMPS' `pair_style table` does
(doi:10.1016/j.cpc.2021.108171), so g is not exactly the gradient of U. Index letters: p directed pair, b bin.
"""

from __future__ import annotations

import numpy as np
import torch

from ...core.elements import number
from ...core.errors import NonFiniteResult
from ...core.model import GRADIENTS, Local, TorchModel
from ...core.pairs import MIN_DISTANCE, Pairs
from ...core.system import System
from .grid import Grid, make_grid
from .params import TableParams


def species_lookup(symbols: tuple[str, ...], device: torch.device) -> torch.Tensor:
    """(119,) int32: atomic number -> index in `symbols`."""
    lookup = np.zeros(119, dtype=np.int32)
    for a, symbol in enumerate(symbols):
        lookup[number(symbol)] = a
    return torch.from_numpy(lookup).to(device)


class Tables:
    """All inner tables on one device: which (M, M) index of the table of a pair of species, or -1; limits (T, 4): inner
    r^2, 1/spacing, cutoff^2, spacing^2/6; rows (T * n, 4), see Grid."""

    def __init__(self, params: TableParams, device: torch.device, dtype: torch.dtype):
        symbols, self.n, self.style = params.known, params.n, params.style
        which = np.full((len(symbols), len(symbols)), -1, dtype=np.int32)
        grids: list[Grid] = []
        for (a, b), entry in params.entries.items():
            ka, kb = symbols.index(a), symbols.index(b)
            which[ka, kb] = which[kb, ka] = len(grids)
            grids.append(make_grid(entry, params.style, params.n))
        limits = [[g.inner_squared, 1.0 / g.spacing, g.cutoff**2, g.spacing**2 / 6.0] for g in grids]
        self.lookup = species_lookup(symbols, device)
        self.which = torch.from_numpy(which).to(device)
        self.limits = torch.tensor(limits, dtype=dtype, device=device)
        self.rows = torch.from_numpy(np.concatenate([g.rows for g in grids])).to(device=device, dtype=dtype)
        self.inner = {f"{a}-{b}": e.inner for (a, b), e in params.entries.items() if e.inner > MIN_DISTANCE}


def check_inside(energies: torch.Tensor, tables: Tables) -> None:
    """Distances below the first point of a table give nan in both backends; say so rather than hand it out."""
    if tables.inner and bool(torch.isnan(energies).any()):
        begin = ", ".join(f"{pair} at {r:g} A" for pair, r in tables.inner.items())
        raise NonFiniteResult(f"two atoms are closer than the first point of their table (tables begin: {begin})")


class TableTorch(TorchModel):
    """Reference backend; forces come from the tabulated forces, not from the gradient of the energy."""

    def __init__(self, params: TableParams, device: torch.device, dtype: torch.dtype):
        self.params, self.device, self.dtype = params, device, dtype
        self.card, self.cutoff = params.card(), params.cutoff
        self.numbers = tuple(number(s) for s in params.known)
        self.tables = Tables(params, device, dtype)

    def local(self, system: System, pairs: Pairs, need: frozenset[str]) -> Local:
        vectors = pairs.vectors(system)
        p, e, f = self.interpolate(system, pairs, vectors)
        energies = vectors.new_zeros(system.n_atoms).index_add(0, pairs.i[p].long(), 0.5 * e)
        check_inside(energies, self.tables)
        if not need & GRADIENTS:
            return Local(energies)
        g = torch.zeros_like(vectors).index_copy(0, p, -0.5 * f[:, None] * vectors[p])
        return Local(energies, pair_gradients=g)

    def interpolate(self, system: System, pairs: Pairs, vectors: torch.Tensor):
        """Indices p of the pairs in range, their e and f/r."""
        t = self.tables
        species = t.lookup[system.numbers].long()
        which = t.which[species[pairs.i.long()], species[pairs.j.long()]].long()
        r2 = (vectors**2).sum(dim=1)
        p = torch.nonzero((which >= 0) & (r2 < t.limits[which, 2])).flatten()
        which, r2 = which[p], r2[p]
        inner2, inverse, _, sixth = t.limits[which].unbind(dim=1)
        at = (r2 - inner2) * inverse
        b = at.detach().long().clamp(0, t.n - 2)
        row, above = t.rows[which * t.n + b], t.rows[which * t.n + b + 1]
        x = at - b
        if t.style == "lookup":
            values = row[:, :2]
        elif t.style == "linear":
            values = row[:, :2] + x[:, None] * row[:, 2:]
        else:
            a = 1.0 - x
            bend = (a**3 - a)[:, None] * row[:, 2:] + (x**3 - x)[:, None] * above[:, 2:]
            values = a[:, None] * row[:, :2] + x[:, None] * above[:, :2] + bend * sixth[:, None]
        values = torch.where((r2 < inner2)[:, None], torch.full_like(values, torch.nan), values)
        return p, values[:, 0], values[:, 1]
