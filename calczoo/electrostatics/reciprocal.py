"""The reciprocal-space part of a periodic structure as products of matrices.

    potential   phi_i = (4 pi / V) sum_{K != 0} D(K) Re(exp(-i K.r_i) S(K)),   S(K) = sum_j q_j exp(i K.r_j)
    D(K)        = exp(-eta^2 K^2 / 2) / K^2,   K = 2 pi sum_c n_c b_c,   b_c the reciprocal vectors

exp(i K.r) is the product of three phases, one for each index n_c, so S is (q X Y)^T Z with the phases X, Y, Z of an
atom as rows: a product of matrices, which runs at the processor's peak, and nothing has to be stored per (atom, K).
n_1 runs over one half only, with weight two where it is not zero. Sums run over the box of indices around the sphere
of the cutoff; the coefficients outside it are zero.

Index letters: i atom, a b c indices n_1, n_2, n_3.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
import warp as wp

from ..core.warp_base import FAST, make_kernel
from ..core.warp_model import as_warp
from .parallel import for_each, pieces
from .real_space import F64, launch

_CHUNK = 1 << 20
"""Complex numbers of an intermediate product, at most."""
_KEEP = 1 << 24
"""The products X Y are kept between calls up to this many."""
_BLOCK, _BLOCKS = 128, 32
"""Atoms that one thread takes at a time, at least, and blocks of a sum over atoms, at most."""
_FLOPS = 2e4
"""Real multiplications with addition per microsecond, roughly."""


class Reciprocal:
    """Sums over reciprocal vectors up to `cutoff` (1/A) for atoms at `fractional` (n, 3) coordinates of `cell`."""

    def __init__(self, fractional: torch.Tensor, cell: np.ndarray, eta: float, cutoff: float, threads: int = 1):
        device = fractional.device
        self.threads = threads if device.type == "cpu" else 1
        self.eta, self.volume = eta, abs(float(np.linalg.det(cell)))
        lengths = np.linalg.norm(cell, axis=1)
        top = [int(cutoff * length / (2.0 * math.pi)) for length in lengths]
        lines = [torch.arange(0 if c == 0 else -top[c], top[c] + 1, device=device).double() for c in range(3)]
        self.shape = tuple(len(line) for line in lines)
        self.basis = torch.from_numpy(2.0 * math.pi * np.linalg.inv(cell).T).to(device)
        n1, n2, n3 = torch.meshgrid(*lines, indexing="ij")
        k = torch.stack([n1, n2, n3], dim=-1) @ self.basis
        k2 = (k * k).sum(dim=-1)
        inside = (k2 > 0) & (k2 < cutoff * cutoff)
        safe = torch.where(inside, k2, torch.ones_like(k2))
        weight = (1.0 + (n1 > 0).double()) * (4.0 * math.pi / self.volume)
        self.vectors, self.squares, self.inside = k, safe, inside
        self.coefficients = torch.where(inside, weight * torch.exp(-0.5 * eta * eta * safe) / safe, 0.0)
        self.lines = lines
        angle = 2.0 * math.pi * fractional
        phases = [torch.polar(torch.ones_like(t), t) for t in (angle[:, c : c + 1] * lines[c] for c in range(3))]
        self.x, self.y, self.z = phases
        self.n = fractional.shape[0]
        self.width = self.shape[0] * self.shape[1]
        self.blocks = pieces(self.n, max(_BLOCK, -(-self.n // _BLOCKS)))
        self.block_us = 4.0 * self.blocks[0].stop * self.width * self.shape[2] / _FLOPS if self.n else 0.0
        self._lines: list[torch.Tensor] | None = None
        self._kept: torch.Tensor | None = None
        if self.n * self.width <= _KEEP:
            self._kept = (self.x[:, :, None] * self.y[:, None, :]).reshape(self.n, -1)

    def _xy(self, rows: slice) -> torch.Tensor:
        """(rows, a b) products of the first two phases."""
        if self._kept is not None:
            return self._kept[rows]
        return (self.x[rows, :, None] * self.y[rows, None, :]).reshape(-1, self.width)

    def _parts(self, block: slice) -> list[slice]:
        """A block in parts whose intermediate products fit into caches."""
        step = max(1, _CHUNK // self.width)
        return [slice(a, min(a + step, block.stop)) for a in range(block.start, block.stop, step)]

    def structure_factor(self, q: torch.Tensor) -> torch.Tensor:
        """S (a b, c), complex."""
        sums = torch.zeros((len(self.blocks), self.width, self.shape[2]), dtype=self.x.dtype, device=q.device)

        def work(k: int, block: slice) -> None:
            for rows in self._parts(block):
                sums[k].addmm_((self._xy(rows) * q[rows, None]).T, self.z[rows])

        for_each(work, self.blocks, self.threads, self.block_us)
        return sums.sum(dim=0)

    def potential(self, q: torch.Tensor) -> torch.Tensor:
        """(n,) 1/A: the potential at every atom, of the splitting's Gaussians of width eta / sqrt(2) each."""
        field = self._weighted(self.structure_factor(q))
        out = torch.empty_like(q)

        def work(_: int, block: slice) -> None:
            for rows in self._parts(block):
                out[rows] = _real_dot(self._xy(rows), self.z[rows] @ field)

        for_each(work, self.blocks, self.threads, self.block_us)
        return out

    def _weighted(self, s: torch.Tensor) -> torch.Tensor:
        """(c, a b): the coefficients times conj(S)."""
        return (self.coefficients.reshape(s.shape) * s.conj()).T.contiguous()

    def origin(self) -> float:
        """The potential of a charge of one at its own place."""
        return float(self.coefficients.sum())

    def matrix(self) -> torch.Tensor:
        """(n, n) 1/A."""
        chosen = torch.nonzero(self.coefficients.flatten()).flatten()
        out = torch.zeros((self.n, self.n), dtype=torch.float64, device=chosen.device)
        tall = pieces(self.n, max(_BLOCK, -(-self.n // _BLOCKS)))
        step = max(64, _CHUNK // max(self.n, 1))
        for start in range(0, len(chosen), step):
            rows = self.table(chosen[start : start + step])

            def work(_: int, block: slice, rows: torch.Tensor = rows) -> None:  # the lower triangle of blocks is enough
                out[block, : block.stop].addmm_(rows[:, block].T, rows[:, : block.stop])

            for_each(work, tall, self.threads, self.n * _BLOCK * rows.shape[0] / 2.0 / _FLOPS)
        for block in tall:
            out[: block.start, block] = out[block, : block.start].T
        return out

    def table(self, chosen: torch.Tensor) -> torch.Tensor:
        """(2 w, n): cosines and sines of K.r for chosen places in the box, times the roots of their coefficients."""
        ab, c = chosen // self.shape[2], chosen % self.shape[2]
        places = torch.stack([ab // self.shape[1], ab % self.shape[1], c], dim=1).int()
        out = torch.empty((2 * len(chosen), self.n), dtype=torch.float64, device=chosen.device)
        if self._lines is None:  # phases as rows over atoms, real and imaginary parts apart
            self._lines = [part.T.contiguous() for t in (self.x, self.y, self.z) for part in (t.real, t.imag)]
        args = [as_warp(t) for t in (*self._lines, places, self.coefficients.flatten()[chosen].sqrt(), out)]
        launch(_table_kernel(), len(chosen), args, chosen.device, self.threads, 0.0015 * self.n)
        return out

    def longest(self, count: int) -> torch.Tensor:
        """(n, 2 count): `table`, transposed, of the longest waves, or of all."""
        squares = torch.where(self.inside, self.squares, math.inf).flatten()
        return self.table(torch.sort(squares, stable=True).indices[: min(count, int(self.inside.sum()))]).T

    def gradients(self, p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Forces (n, 3) and virial (3, 3) of p^T A q; the virial without the part of a net charge."""
        same = p is q
        s_q = self.structure_factor(q)
        s_p = s_q if same else self.structure_factor(p)
        fields = [self._weighted(s) for s in ([s_q] if same else [s_q, s_p])]
        tilted = [self.lines[2][:, None] * field for field in fields]
        flat = q.new_empty((q.shape[0], 3))
        n1 = self.lines[0].repeat_interleave(self.shape[1])
        n2 = self.lines[1].repeat(self.shape[0])

        def work(_: int, block: slice) -> None:
            for rows in self._parts(block):
                xy, z = self._xy(rows), self.z[rows]
                if same:
                    t0, t3 = (z @ f * (2.0 * q[rows, None]) for f in (fields[0], tilted[0]))
                else:
                    t0, t3 = (z @ f * p[rows, None] + z @ g * q[rows, None] for f, g in (fields, tilted))
                wave = _imaginary(xy, t0)
                flat[rows, 0], flat[rows, 1] = wave @ n1, wave @ n2
                flat[rows, 2] = _imaginary(xy, t3).sum(dim=1)

        for_each(work, self.blocks, self.threads, (2.0 if same else 4.0) * self.block_us)
        power = (s_p.conj() * s_q).real.reshape(self.shape) * self.coefficients
        slope = power * (2.0 / self.squares + self.eta**2)
        k = self.vectors.reshape(-1, 3)
        virial = k.T @ (slope.reshape(-1, 1) * k) - power.sum() * torch.eye(3, dtype=q.dtype, device=q.device)
        return flat @ self.basis, virial


def _real_dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Row by row, the real part of sum a b."""
    return (a.real * b.real - a.imag * b.imag).sum(dim=1)


def _imaginary(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.real * b.imag + a.imag * b.real


@cache
def _table_kernel() -> wp.Kernel:
    """cos K.r and sin K.r of one wave for all atoms, from the phases along the three axes."""

    def wave_table(
        start: int,
        x_re: wp.array2d(dtype=F64),
        x_im: wp.array2d(dtype=F64),
        y_re: wp.array2d(dtype=F64),
        y_im: wp.array2d(dtype=F64),
        z_re: wp.array2d(dtype=F64),
        z_im: wp.array2d(dtype=F64),
        places: wp.array2d(dtype=wp.int32),
        root: wp.array(dtype=F64),
        out: wp.array2d(dtype=F64),
    ):
        w = start + wp.tid()
        a = places[w, 0]
        b = places[w, 1]
        c = places[w, 2]
        scale = root[w]
        n = wp.int32(0)
        while n < out.shape[1]:
            m = n & 2147483647
            re = x_re[a, m] * y_re[b, m] - x_im[a, m] * y_im[b, m]
            im = x_re[a, m] * y_im[b, m] + x_im[a, m] * y_re[b, m]
            out[2 * w, m] = scale * (re * z_re[c, m] - im * z_im[c, m])
            out[2 * w + 1, m] = scale * (re * z_im[c, m] + im * z_re[c, m])
            n += 1

    return make_kernel(wave_table, "wave_table", FAST)
