"""The rows of a SNAP fit: what each coefficient contributes to energies, forces and stresses.

With b_n the components of atom n and element blocks (1, b, and for quadratic SNAP the products b_k b_l of the upper
triangle, squares halved):

    E = sum_n phi(b_n) . c      dE/dx follows from dphi = (db, b_k db_l + b_l db_k) and db_n/dr_np of every pair p

db is collected one component at a time by `weighted_gradients`, so no pass costs more than a force evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from ...core.pairs import Pairs, find_pairs
from ...core.system import System
from ...core.units import VOIGT
from .params import SnapParams


@dataclass(frozen=True)
class Rows:
    """Design rows of one structure with C columns: energy (C,), forces (3 n, C), stress (6, C) or None."""

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None


class Design:
    """Rows for one set of hyperparameters; `params` gives them, its coefficients do not matter.

    Columns: for each element the coefficients of a `.snapcoeff` file, one element after the other.
    """

    def __init__(self, params: SnapParams, model):
        self.params, self.model = params, model
        self.n_columns = params.n_elements * params.n_coefficients
        self._upper = np.triu_indices(params.n_components) if params.quadraticflag else None

    def energy_row(self, atoms: Atoms) -> np.ndarray:
        """(C,): the energy row alone, without derivatives."""
        system = System.from_atoms(atoms, self.model.device, self.model.dtype)
        b = self.model.descriptors(system, find_pairs(system, self.model.cutoff)).cpu().double().numpy()
        symbols = np.array(atoms.get_chemical_symbols())
        return np.concatenate([self._phi(b, symbols == e) for e in self.params.elements])

    def rows(self, atoms: Atoms) -> Rows:
        """Rows of one structure; see the class."""
        system = System.from_atoms(atoms, self.model.device, self.model.dtype)
        pairs = find_pairs(system, self.model.cutoff)
        b = self.model.descriptors(system, pairs).cpu().double().numpy()
        g = self._gradients(system, pairs)
        r = pairs.vectors(system).cpu().double().numpy()
        i, j = pairs.i.cpu().numpy().astype(int), pairs.j.cpu().numpy().astype(int)
        species = np.array([self.params.elements.index(s) for s in atoms.get_chemical_symbols()], dtype=int)
        volume = atoms.get_volume() if atoms.pbc.all() else None
        energy, forces, stress = [], [], []
        for e in range(self.params.n_elements):
            mine = species == e
            energy.append(self._phi(b, mine))
            # virial of the pairs of each atom: (n, 6, K), and db_i/dx_n: (n, n, 3, K)
            f, s = self._derivatives(b, g, r, i, j, mine)
            forces.append(-f)
            stress.append(s / volume if volume is not None else None)
        return Rows(
            np.concatenate(energy),
            np.concatenate(forces, axis=1),
            None if volume is None else np.concatenate([s for s in stress if s is not None], axis=1),
        )

    def _gradients(self, system: System, pairs: Pairs) -> np.ndarray:
        """(P, 3, K): db_ik/dr_p."""
        n, k = system.n_atoms, self.params.n_components
        out = np.empty((pairs.n_pairs, 3, k))
        for column in range(k):
            beta = torch.zeros((n, k), dtype=self.model.dtype, device=self.model.device)
            beta[:, column] = 1.0
            out[:, :, column] = self.model.weighted_gradients(system, pairs, beta).cpu().double().numpy()
        return out

    def _phi(self, b: np.ndarray, mine: np.ndarray) -> np.ndarray:
        """(1 + K + ...,): sums over the atoms of one element."""
        b = b[mine]
        parts = [np.array([float(len(b))]), b.sum(axis=0)]
        if self._upper is not None:
            square = b.T @ b
            np.fill_diagonal(square, 0.5 * np.diag(square))
            parts.append(square[self._upper])
        return np.concatenate(parts)

    def _derivatives(self, b, g, r, i, j, mine) -> tuple[np.ndarray, np.ndarray]:
        """dE/dx (3 n, columns) and the virial (6, columns) from the atoms of one element."""
        n, k = b.shape
        keep = mine[i]
        g, r, i, j = g[keep], r[keep], i[keep], j[keep]
        w = np.stack([0.5 * (r[:, a, None] * g[:, c] + r[:, c, None] * g[:, a]) for a, c in VOIGT], axis=1)
        if self._upper is None:
            dx = _scatter(j, g, n) - _scatter(i, g, n)
            linear, virial = dx.reshape(3 * n, k), w.sum(axis=0)
            return np.hstack([np.zeros((3 * n, 1)), linear]), np.hstack([np.zeros((6, 1)), virial])
        jacobian = _scatter(i * n + j, g, n * n).reshape(n, n, 3 * k)
        own = np.arange(n)
        jacobian[own, own] -= _scatter(i, g, n).reshape(n, 3 * k)
        virials = _scatter(i, w, n).reshape(n, 6 * k)
        dx = self._quadratic(b, jacobian.reshape(n, n * 3 * k), 3 * n)
        return dx, self._quadratic(b, virials, 6)

    def _quadratic(self, b: np.ndarray, db: np.ndarray, m: int) -> np.ndarray:
        """(m, columns) from derivatives db (n, m K) of each atom's components: (0, db_k, b_k db_l + b_l db_k)."""
        n, k = b.shape
        linear = db.sum(axis=0).reshape(m, k)
        product = (b.T @ db).reshape(k, m, k).transpose(1, 0, 2)  # sum_n b_nk db_nl
        square = product + product.transpose(0, 2, 1)
        diagonal = np.arange(k)
        square[:, diagonal, diagonal] *= 0.5  # squares count half
        return np.hstack([np.zeros((m, 1)), linear, square[:, self._upper[0], self._upper[1]]])


def _scatter(index: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Sums of values[p] over p with index[p] = m, for m < n."""
    out = torch.zeros((n, *values.shape[1:]), dtype=torch.float64)
    return out.index_add_(0, torch.from_numpy(index), torch.from_numpy(np.ascontiguousarray(values))).numpy()
