"""The columns of `tangent` in batched torch: the path for CUDA, and the reference of the CPU kernels.

Products are taken in waves: all entries whose result depends on results of earlier waves only. First derivatives of the
moments are kept as full matrices over the basic moments, which the matrix products of a GPU take well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from .fit_frames import LANES, Frames
from .params import Moments, MtpParams

BATCH_BYTES = 1 << 30
"""Memory that the intermediate arrays of one batch of structures may take."""


class TorchTangents:
    """As `tangent.Tangents`, on any device."""

    def __init__(self, shape: MtpParams, frames: Frames, wanted: np.ndarray, device: torch.device):
        self.frames, self.device, self.wanted = frames, device, np.asarray(wanted, dtype=bool)
        self.n_species, _, self.n_radial, self.n_basis = shape.radial.shape
        self.n_scalars = shape.n_basis
        self.widths = {"moment": self.n_species + self.n_scalars, "radial": shape.radial.size}
        self.shape, self.moments = shape, shape.moments
        self.waves = [[self._put(w) for w in wave] for wave in _waves(shape.moments)]
        self.scalars = self._put(shape.moments.scalars)
        self.mu, self.powers = self._put(shape.moments.basic[:, 0]), self._put(shape.moments.basic[:, 1:])

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)

    def places(self, name: str, some: tuple[int, int]) -> np.ndarray:
        """Where the columns of each structure begin, and the end of the last."""
        sizes = self.frames.n_rows[some[0] : some[1]].astype(np.int64) * self.widths[name]
        return np.concatenate([[0], np.cumsum(sizes)])

    def moment_columns(self, radial: np.ndarray, some: tuple[int, int]) -> torch.Tensor:
        """dE/d(e, w) and its gradients."""
        return self._run("moment", radial, None, some)

    def radial_columns(self, radial: np.ndarray, weights: np.ndarray, some: tuple[int, int]) -> torch.Tensor:
        """dE/dc and its gradients, for moment coefficients `weights`."""
        return self._run("radial", radial, self._put(np.asarray(weights, dtype=float)), some)

    def _run(self, name: str, radial: np.ndarray, w: torch.Tensor | None, some: tuple[int, int]) -> torch.Tensor:
        c = self._put(np.asarray(radial, dtype=float).reshape(self.shape.radial.shape))
        parts = []
        with torch.no_grad(), _deterministic():
            for batch in self._batches(some):
                parts.append(self._columns(c, w, batch))
        return torch.cat(parts)

    def _batches(self, some: tuple[int, int]) -> Iterator[tuple[int, int]]:
        local = self.n_species * self.n_radial * self.n_basis
        per_atom = 8 * self.moments.count * (len(self.moments.basic) + 2 * local)
        nb = len(self.moments.basic)
        per_pair = 8 * (
            nb * (self.n_species * self.n_basis + self.n_scalars + local) + 6 * (self.n_scalars + 2 * local)
        )
        groups, atoms = self.frames.groups.numpy(), self.frames.atoms.numpy()
        begin, size = some[0], 0
        for k in range(*some):
            pairs = LANES * int(groups[atoms[k + 1]] - groups[atoms[k]])
            cost = per_atom * int(self.frames.sizes[k]) + per_pair * pairs
            if size and size + cost > BATCH_BYTES:
                yield begin, k
                begin, size = k, 0
            size += cost
        if begin < some[1]:
            yield begin, some[1]

    def _columns(self, c: torch.Tensor, w: torch.Tensor | None, batch: tuple[int, int]) -> torch.Tensor:
        """Flat columns of a batch: species and moments where w is None, radial ones else."""
        b = _Batch(self, c, batch)
        m = self._forward(b.basic)
        if w is None:
            one_hot = torch.nn.functional.one_hot(b.species, self.n_species).to(m.dtype)
            site = torch.cat([one_hot, m[:, self.scalars]], dim=1)
            jacobian = self._jacobian(m)
            gradient = torch.einsum("psb,pbx->psx", jacobian[b.i], b.gradient)
            empty = gradient.new_zeros(gradient.shape[0], self.n_species, 3)
            return b.collect(site, torch.cat([empty, gradient], dim=1))
        adjoint = self._backward(m, w)
        return b.collect(*self._radial_terms(b, m, adjoint))

    def _forward(self, basic: torch.Tensor) -> torch.Tensor:
        """All moments (N, M)."""
        m = basic.new_zeros(len(basic), self.moments.count)
        m[:, : basic.shape[1]] = basic
        for i, j, mult, k in self.waves:
            m.index_add_(1, k, mult * m[:, i] * m[:, j])
        return m

    def _jacobian(self, m: torch.Tensor) -> torch.Tensor:
        """dB_s/dm_b (N, S, nb)."""
        nb = len(self.moments.basic)
        d = m.new_zeros(len(m), self.moments.count, nb)
        d[:, :nb] = torch.eye(nb, dtype=m.dtype, device=m.device)
        for i, j, mult, k in self.waves:
            d.index_add_(1, k, mult[:, None] * (m[:, i, None] * d[:, j] + m[:, j, None] * d[:, i]))
        return d[:, self.scalars]

    def _backward(self, m: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """dV/dm of all moments (N, M)."""
        a = torch.zeros_like(m)
        a[:, self.scalars] = w
        for i, j, mult, k in reversed(self.waves):
            v = mult * a[:, k]
            a.index_add_(1, i, v * m[:, j])
            a.index_add_(1, j, v * m[:, i])
        return a

    def _radial_terms(self, b: _Batch, m: torch.Tensor, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Site energies (N, columns) and pair gradients (P, columns, 3) of the radial coefficients."""
        n, nb = len(m), len(self.moments.basic)
        e, k, r = self.n_species, self.n_radial, self.n_basis
        local = e * k * r
        # change of the basic moments with c[own kind, e, u, n]: sums of Q_n times monomials over neighbours of kind e
        sums = m.new_zeros(n, nb, e * r).index_add_(
            0, b.i, torch.einsum("pb,pe,pr->pber", b.mono, b.mask, b.q).flatten(2)
        )
        own = torch.nn.functional.one_hot(self.mu, k).to(m.dtype)
        first = torch.einsum("nber,bu->nbeur", sums.view(n, nb, e, r), own).reshape(n, nb, local)
        t = m.new_zeros(n, self.moments.count, local)
        t[:, :nb] = first
        for i, j, mult, k2 in self.waves:
            t.index_add_(1, k2, mult[:, None] * (m[:, i, None] * t[:, j] + m[:, j, None] * t[:, i]))
        s = torch.zeros_like(t)
        for i, j, mult, k2 in reversed(self.waves):
            v, x = mult[:, None] * s[:, k2], (mult * a[:, k2])[:, :, None]
            s.index_add_(1, i, v * m[:, j, None] + x * t[:, j])
            s.index_add_(1, j, v * m[:, i, None] + x * t[:, i])
        site = torch.einsum("nb,nbt->nt", a[:, :nb], first)
        changed = torch.einsum("pbt,pbx->ptx", s[:, :nb][b.i], b.gradient)
        beta = a[:, :nb][b.i]
        value = torch.einsum("pb,pb,bu->pu", beta, b.mono, own)
        slope = torch.einsum("pb,pbx,bu->pux", beta, b.dmono, own)
        direct = torch.einsum("pe,pr,pux->peurx", b.mask, b.q, slope)
        direct += torch.einsum("pe,pr,pu,px->peurx", b.mask, b.dq, value, b.unit)
        gradient = changed + direct.reshape(len(changed), local, 3)
        kind = torch.nn.functional.one_hot(b.species, e).to(m.dtype)
        site = torch.einsum("nk,nt->nkt", kind, site).reshape(n, -1)
        gradient = torch.einsum("pk,ptx->pktx", kind[b.i], gradient).reshape(len(changed), -1, 3)
        return site, gradient


class _Batch:
    """Neighbours of some structures: radial functions, monomials, basic moments and their gradients."""

    def __init__(self, t: TorchTangents, c: torch.Tensor, batch: tuple[int, int]):
        f, self.t, self.batch = t.frames, t, batch
        self.a0, self.a1 = int(f.atoms[batch[0]]), int(f.atoms[batch[1]])
        groups = f.groups[self.a0 : self.a1 + 1].long()
        some = slice(LANES * int(groups[0]), LANES * int(groups[-1]))
        real = f.kind[some] >= 0
        i = torch.arange(self.a1 - self.a0).repeat_interleave(LANES * (groups[1:] - groups[:-1]))[real]
        self.first = f.atoms[batch[0] : batch[1] + 1].long() - self.a0
        sizes = self.first[1:] - self.first[:-1]
        frame = torch.arange(len(sizes)).repeat_interleave(sizes)
        j = f.neighbour[some][real].long() + self.first[frame[i]]
        put = t.device
        self.i, self.j, self.frame = i.to(put), j.to(put), frame.to(put)
        self.species = f.species[self.a0 : self.a1].long().to(put)
        self.vectors = f.vectors[:, some][:, real].T.contiguous().to(put)
        self.mask = torch.nn.functional.one_hot(f.kind[some][real].long(), t.n_species).double().to(put)
        self._radial(c)
        self._angular()

    def _radial(self, c: torch.Tensor) -> None:
        s = self.t.shape
        r = self.vectors.norm(dim=1)
        self.unit, self.inverse = self.vectors / r[:, None], 1.0 / r
        inside = r.clamp(min=s.min_dist) if s.basis.endswith("_repuls") else r
        xi = (2.0 * inside - s.min_dist - s.max_dist) / (s.max_dist - s.min_dist)
        past, slope = inside - s.max_dist, 2.0 / (s.max_dist - s.min_dist)
        t, d = [torch.ones_like(xi), xi], [torch.zeros_like(xi), torch.ones_like(xi)]
        for _ in range(2, self.t.n_basis):
            t.append(2 * xi * t[-1] - t[-2])
            d.append(2 * t[-2] + 2 * xi * d[-1] - d[-2])
        t, d = torch.stack(t, 1)[:, : self.t.n_basis], torch.stack(d, 1)[:, : self.t.n_basis]
        fc, dfc = s.scaling * past**2, 2 * s.scaling * past
        self.q, self.dq = fc[:, None] * t, dfc[:, None] * t + (fc * slope)[:, None] * d
        if s.basis.endswith("_repuls"):
            self.dq = self.dq * (r > s.min_dist)[:, None]
        rows = torch.einsum("pe,peur->pur", self.mask, c[self.species[self.i]])
        self.f = torch.einsum("pur,pr->pu", rows, self.q)
        self.df = torch.einsum("pur,pr->pu", rows, self.dq)

    def _angular(self) -> None:
        t = self.t
        powers = torch.stack([self.unit**k for k in range(t.moments.max_power + 1)], dim=1)
        factors = [powers[:, t.powers[:, x], x] for x in range(3)]
        lower = [t.powers[:, x] * powers[:, (t.powers[:, x] - 1).clamp(min=0), x] for x in range(3)]
        self.mono = factors[0] * factors[1] * factors[2]
        rank = t.powers.sum(dim=1)
        slopes = [
            lower[0] * factors[1] * factors[2],
            factors[0] * lower[1] * factors[2],
            factors[0] * factors[1] * lower[2],
        ]
        flat = torch.stack(slopes, dim=2) - (rank * self.mono)[:, :, None] * self.unit[:, None]
        self.dmono = flat * self.inverse[:, None, None]
        f, df = self.f[:, t.mu], self.df[:, t.mu]
        self.gradient = (df * self.mono)[:, :, None] * self.unit[:, None] + f[:, :, None] * self.dmono
        self.basic = f.new_zeros(len(self.species), f.shape[1]).index_add_(0, self.i, f * self.mono)

    def collect(self, site: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Rows of each structure from site energies (N, columns) and pair gradients (P, columns, 3)."""
        n, columns = site.shape
        forces = site.new_zeros(n, columns, 3).index_add_(0, self.i, gradient).index_add_(0, self.j, -gradient)
        sizes = len(self.first) - 1
        energy = site.new_zeros(sizes, columns).index_add_(0, self.frame, site)
        outer = torch.einsum("px,pty->ptxy", self.vectors, gradient)
        outer = 0.5 * (outer + outer.transpose(2, 3))
        voigt = torch.stack([outer[:, :, x, y] for x, y in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], dim=2)
        virial = site.new_zeros(sizes, columns, 6).index_add_(0, self.frame[self.i], voigt)
        out = []
        for k, (a, b) in enumerate(zip(self.first[:-1].tolist(), self.first[1:].tolist(), strict=True)):
            rows = [forces[a:b].permute(1, 0, 2).reshape(columns, -1), energy[k, :, None], virial[k]]
            if not self.t.wanted[self.batch[0] + k]:
                rows = [torch.zeros_like(rows[0]), rows[1], torch.zeros_like(rows[2])]
            out.append(torch.cat(rows, dim=1).flatten())
        return torch.cat(out)


def _waves(moments: Moments) -> list[tuple[np.ndarray, ...]]:
    """Entries of the list of products in waves: (i, j, mult, k) each."""
    depth = np.zeros(moments.count, dtype=int)
    for i, j, _, k in moments.times.tolist():
        depth[k] = max(depth[k], depth[i] + 1, depth[j] + 1)
    of = depth[moments.times[:, 3]]
    out = []
    for wave in range(1, int(depth.max(initial=0)) + 1):
        i, j, mult, k = moments.times[of == wave].T
        out.append((i, j, mult.astype(float), k))
    return out


@contextmanager
def _deterministic() -> Iterator[None]:
    """Sums in one order on CUDA too."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
