"""The least-squares problem of training, with the linear coefficients eliminated (variable projection).

For radial coefficients c the rows are linear in x = (e, w): A(c) x = y, weighted. The projected objective is

    F(c) = min_x |A(c) x - y|^2 + ridge sum_k (|A_k| x_k)^2

with ridge relative to the columns' norms, so that F does not change when a radial function is scaled. Its Gauss-Newton
matrix is the Schur complement of the normal matrix of all columns, and its gradient that of the c columns at the best x
(Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973), doi:10.1137/0710036; Kaufman, BIT 15, 49 (1975),
doi:10.1007/BF01932995).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve

from ...core.errors import FitError
from .fit_frames import Frames
from .params import MtpParams
from .tangent import Tangents
from .tangent_torch import TorchTangents

CHUNK = 128 << 20
"""Bytes of columns made at a time."""


@dataclass(frozen=True)
class Linear:
    """Best linear coefficients x (C + S,) for one c, the objective, the factored normal matrix of columns scaled to
    norm one, and their norms."""

    x: np.ndarray
    objective: float
    factor: tuple
    norms: np.ndarray


class Problem:
    """weights: per structure (n_rows,), zero where the target is unknown; bare (S,): structures whose energy is that
    beyond the lone atoms' energies e, which then have no part in it; keep: bytes of columns that may stay in memory
    between the two passes of an iteration; what does not fit is made twice."""

    def __init__(
        self,
        frames: Frames,
        tangents: Tangents | TorchTangents,
        weights: list[np.ndarray],
        bare: np.ndarray,
        ridge: float,
        keep: int,
    ):
        self.frames, self.tangents, self.bare, self.ridge, self.keep = frames, tangents, bare, ridge, keep
        self.weights = [self._put(w) for w in weights]
        used = [np.where(np.isfinite(t), t, 0.0) for t in frames.targets]
        self.shift = self._reference_energies(used, weights)
        counts = self._counts()
        self.targets = []
        for k, t in enumerate(used):
            t = t.copy()
            t[3 * int(frames.sizes[k])] -= counts[k] @ self.shift
            self.targets.append(self._put(t * weights[k]))
        self._kept: list[list[torch.Tensor]] = []
        if not any((w > 0).any() for w in weights):
            raise FitError("no reference value has a weight above zero")

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self.tangents.device)

    def _zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(*shape, dtype=torch.float64, device=self.tangents.device)

    def _counts(self) -> np.ndarray:
        """(S, C) atoms of each species, none in bare structures."""
        edges, species = self.frames.atoms.numpy(), self.frames.species.numpy()
        n = self.tangents.n_species
        counts = [np.bincount(species[a:b], minlength=n) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        return np.array(counts) * ~self.bare[:, None]

    def _reference_energies(self, targets: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
        """(C,) energies per atom that explain most of the energies; keeps digits of what is left."""
        at = 3 * self.frames.sizes
        w = np.array([w[k] for w, k in zip(weights, at, strict=True)])
        y = np.array([t[k] for t, k in zip(targets, at, strict=True)])
        return np.linalg.lstsq(self._counts() * w[:, None], y * w, rcond=1e-6)[0]

    def _chunks(self) -> Iterator[tuple[int, int]]:
        width = 8 * max(self.tangents.widths.values())
        start, size = 0, 0
        for k, rows in enumerate(self.frames.n_rows.tolist()):
            if size and size + rows * width > CHUNK:
                yield start, k
                start, size = k, 0
            size += rows * width
        if start < len(self.frames):
            yield start, len(self.frames)

    def _blocks(self, name: str, flat: torch.Tensor, some: tuple[int, int]) -> list[torch.Tensor]:
        """The columns of each structure, weighted in place: (columns, n_rows)."""
        edges = self.tangents.places(name, some)
        out = []
        for k in range(*some):
            block = flat[edges[k - some[0]] : edges[k - some[0] + 1]].view(self.tangents.widths[name], -1)
            out.append(block.mul_(self.weights[k]))
        return out

    def _moment_blocks(self, radial: np.ndarray, some: tuple[int, int]) -> list[torch.Tensor]:
        blocks = self._blocks("moment", self.tangents.moment_columns(radial, some), some)
        for k, block in zip(range(*some), blocks, strict=True):
            if self.bare[k]:
                block[: self.tangents.n_species] = 0.0
        return blocks

    def linear(self, radial: np.ndarray) -> Linear:
        """The best linear coefficients for these radial ones; keeps the columns for `radial_system`."""
        n = self.tangents.widths["moment"]
        normal, right = self._zeros(n, n), self._zeros(n)
        total, kept, room = 0.0, [], self.keep
        for some in self._chunks():
            blocks = self._moment_blocks(radial, some)
            for k, block in zip(range(*some), blocks, strict=True):
                normal.addmm_(block, block.T)
                right.addmv_(block, self.targets[k])
                total += float(self.targets[k] @ self.targets[k])
            room -= 8 * sum(b.numel() for b in blocks)
            kept.append(blocks if room > 0 else [])
        self._kept = kept
        return self._solve(normal.cpu().numpy(), right.cpu().numpy(), total)

    def _solve(self, normal: np.ndarray, right: np.ndarray, total: float) -> Linear:
        norms = np.sqrt(np.diag(normal))
        norms = np.where(norms > 0, norms, 1.0)
        scaled = normal / norms / norms[:, None]
        if not np.isfinite(scaled).all():
            raise FitError("the rows of the fit hold a value that is not finite; check the structures and cutoffs")
        ridge = self.ridge
        for _ in range(8):
            try:
                factor = cho_factor(scaled + ridge * np.eye(len(scaled)))
                break
            except np.linalg.LinAlgError:
                ridge = max(10 * ridge, 1e-15)  # rounding made the matrix indefinite
        else:
            raise FitError("the normal matrix cannot be factored; use a larger ridge or fewer basis functions")
        x = cho_solve(factor, right / norms)
        return Linear(x / norms, float(total - x @ (right / norms)), factor, norms)

    def radial_system(self, radial: np.ndarray, linear: Linear) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Newton matrix (T, T) and half the gradient (T,) of F at `radial`, for which `linear` was just made."""
        n, t = self.tangents.widths["moment"], self.tangents.widths["radial"]
        both, own, gradient = self._zeros(n, t), self._zeros(t, t), self._zeros(t)
        x = self._put(linear.x)
        weights = linear.x[self.tangents.n_species :]
        for some, kept in zip(self._chunks(), self._kept, strict=True):
            moment = kept or self._moment_blocks(radial, some)
            flat = self.tangents.radial_columns(radial, weights, some)
            for k, a, b in zip(range(*some), moment, self._blocks("radial", flat, some), strict=True):
                both.addmm_(a, b.T)
                own.addmm_(b, b.T)
                gradient.addmv_(b, a.T @ x - self.targets[k])
        cross = both.cpu().numpy() / linear.norms[:, None]
        return own.cpu().numpy() - cross.T @ cho_solve(linear.factor, cross), gradient.cpu().numpy()

    def species_and_weights(self, linear: Linear) -> tuple[np.ndarray, np.ndarray]:
        """e (C,) and w (S,) in eV, with the reference energies put back."""
        c = self.tangents.n_species
        return linear.x[:c] + self.shift, linear.x[c:]

    def errors(self, params: MtpParams) -> list[np.ndarray]:
        """Predicted minus target of every structure's rows (eV, eV/A, eV), unweighted; zero where the weight is."""
        x = self._put(np.concatenate([params.species - self.shift, params.weights]))
        out = []
        for some in self._chunks():
            for k, block in zip(range(*some), self._moment_blocks(params.radial, some), strict=True):
                w = self.weights[k]
                out.append(((block.T @ x - self.targets[k]) / torch.where(w > 0, w, 1.0)).cpu().numpy())
        return out
