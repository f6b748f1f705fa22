"""Symmetry functions of training structures and their derivatives in every atom's position: what training needs once.

The functions are those that fits make: kinds 2, 3 and 9. The work is done by Warp kernels on the CPU, with the
structures of a set shared out over threads; what comes out may then live on any device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import warp as wp
from ase import Atoms

from ...core.elements import number
from ...core.errors import OptionError
from ...core.pairs import find_pairs
from ...core.system import System
from ...core.threads import split
from ...core.warp_base import FAST, make_kernel
from ...core.warp_model import as_warp
from . import fit_columns_native as native
from .params import SymmetryFunction
from .symmetry_cores import cutoff

KINDS = (2, 3, 9)
DENSE = 0.6
"""Above this part of all atoms being neighbours of one, derivatives are kept for all of them, without an index."""


@dataclass(frozen=True)
class Block:
    """One element's atoms in one structure of n atoms.

    values (n_e, K): functions, unscaled. rows (n, 3, m, K), float32: derivatives of the functions of up to m atoms of
    this element in the position of each of the n atoms, times the scale; index (n, m): which atoms of the element, None
    when all of them in order. strain (n_e, 6, K), float32: sums of r (x) dG/dr over an atom's neighbours (xx yy zz yz
    xz xy), times the scale.
    """

    values: torch.Tensor
    rows: torch.Tensor | None = None
    index: torch.Tensor | None = None
    strain: torch.Tensor | None = None


class Columns:
    """Functions of every element, with one cutoff function for all; lengths in A.

    `of(structures, scales)` gives, for each structure, one Block per element.
    """

    def __init__(
        self,
        elements: Sequence[str],
        functions: Sequence[Sequence[SymmetryFunction]],
        cutoff_type: int,
        alpha: float = 0.0,
        threads: int = 1,
    ):
        every = [f for some in functions for f in some]
        if unknown := {f.kind for f in every} - set(KINDS):
            raise OptionError(f"training takes symmetry functions of types 2, 3 and 9, not {sorted(unknown)[0]}")
        self.elements, self.functions, self.threads = tuple(elements), tuple(map(tuple, functions)), threads
        self.cutoff = max((f.rc for f in every), default=1.0)
        self._type, self._alpha = cutoff_type, alpha
        self._species = torch.full((120,), -1, dtype=torch.int32)
        self._species[[number(e) for e in elements]] = torch.arange(len(elements), dtype=torch.int32)
        self._tables(every)

    def _tables(self, every: list[SymmetryFunction]) -> None:
        order = {e: k for k, e in enumerate(self.elements)}
        channels = sorted({(f.kind == 3, f.eta, f.rs, f.rc) for f in every})
        lanes = sorted({(f.lam, f.zeta) for f in every if f.kind != 2})
        n_e, n_v = len(self.elements), -(-len(lanes) // native.LANES)
        pair_class = {p: k for k, p in enumerate((a, b) for a in range(n_e) for b in range(a, n_e))}
        self._channels, self._lanes = channels, lanes
        uses, uses_at, table, at = [], [], [], [0]
        for some in self.functions:
            mine: dict[int, set[int]] = {k: set() for k in pair_class.values()}
            places = [(channels.index((f.kind == 3, f.eta, f.rs, f.rc)), f) for f in some]
            for channel, f in places:
                if f.kind != 2:
                    a, b = sorted(order[e] for e in f.neighbours)
                    mine[pair_class[a, b]].add(channel)
            begin = len(uses)
            where = {}
            edges = [begin]
            for cls, found in mine.items():
                for channel in sorted(found):
                    where[cls, channel] = len(uses) - begin
                    uses.append(channel)
                edges.append(len(uses))
            uses_at.append(edges)
            for channel, f in places:
                if f.kind == 2:
                    table.append((0, channel, order[f.neighbours[0]]))
                else:
                    a, b = sorted(order[e] for e in f.neighbours)
                    table.append((1, where[pair_class[a, b], channel], lanes.index((f.lam, f.zeta))))
            at.append(len(table))
        classes = np.array([[pair_class[min(a, b), max(a, b)] for b in range(n_e)] for a in range(n_e)])

        def whole(values: Any) -> torch.Tensor:
            return torch.tensor(np.asarray(values).ravel(), dtype=torch.int32)

        sizes = {"n_elements": n_e, "n_channels": len(channels), "n_vectors": n_v, "n_classes": len(pair_class)}
        self._sizes = {**sizes, "n_uses": max(e[-1] - e[0] for e in uses_at)}
        self._whole = [whole(v) for v in (uses_at, [*uses, 0], classes, [c[0] for c in channels], at, table)]
        self._counts = [len(some) for some in self.functions]
        self._angles, (self._sides, self._steps) = self._angle_table(n_v), self._side_table()

    def _angle_table(self, n_vectors: int) -> torch.Tensor:
        """(bins + 1, 2, lanes): 2^(1-zeta) (1 + lambda cos)^zeta and its derivative."""
        c = torch.linspace(-1.0, 1.0, native.BINS + 1, dtype=torch.float64)[:, None]
        out = torch.zeros(native.BINS + 1, 2, n_vectors * native.LANES, dtype=torch.float64)
        if self._lanes:
            lam, zeta = torch.tensor(self._lanes, dtype=torch.float64).T
            base, factor = (1.0 + lam * c).clamp(min=0.0), 2.0 ** (1.0 - zeta)
            out[:, 0, : len(lam)] = factor * base**zeta
            out[:, 1, : len(lam)] = factor * zeta * lam * base.clamp(min=1e-12) ** (zeta - 1.0)
        return out.reshape(-1)

    def _side_table(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(bins + 1, 2, channels) of the distance between two neighbours; and bins per A, end in A."""
        end = max((c[3] for c in self._channels if c[0]), default=1.0)
        r = torch.linspace(0.0, end, native.BINS + 1, dtype=torch.float64)
        value, slope = self._radial(r)
        steps = torch.tensor([native.BINS / end, end], dtype=torch.float64)
        return torch.stack([value, slope], dim=1).reshape(-1).contiguous(), steps

    def _radial(self, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """exp(-eta (r - rs)^2) fc(r) of every channel (n, channels), and its derivative."""
        with torch.enable_grad():
            x = r.detach()[:, None].expand(-1, len(self._channels)).contiguous().requires_grad_(True)
            eta, rs = torch.tensor([c[1:3] for c in self._channels], dtype=torch.float64).T
            y = torch.exp(-eta * (x - rs) ** 2)
            smooth = [cutoff(self._type, self._alpha, x[:, k], c[3]) for k, c in enumerate(self._channels)]
            y = y * torch.stack(smooth, dim=1)
            (slope,) = torch.autograd.grad(y.sum(), x)
        return y.detach(), slope

    # -- structures ------------------------------------------------------------------------------------------

    def of(self, structures: Sequence[Atoms], scales: Sequence[np.ndarray] | None = None) -> list[list[Block]]:
        """scales: per element (K,), of the derivatives; None: values only."""
        out: list[list[Block]] = [[] for _ in structures]

        def work(start: int, stop: int) -> None:
            for k in range(start, stop):
                out[k] = self._one(structures[k], scales)

        _kernel()  # compiled before threads ask for it
        split(work, len(structures), self.threads, us=10000.0)
        return out

    def _one(self, atoms: Atoms, scales: Sequence[np.ndarray] | None) -> list[Block]:
        system = System.from_atoms(atoms)
        pairs = find_pairs(system, self.cutoff)
        vectors = pairs.vectors(system).contiguous()
        distance = vectors.norm(dim=1)
        element = self._species[system.numbers]
        phi, slope = self._radial(distance)
        n, n_e = len(atoms), len(self.elements)
        counts = torch.bincount(element.long(), minlength=n_e).tolist()
        local = torch.zeros(n, dtype=torch.int64)
        for e in range(n_e):
            local[element == e] = torch.arange(counts[e])
        widths = torch.tensor(self._counts)[element.long()]
        starts = np.concatenate([[0], np.cumsum([c * w for c, w in zip(counts, self._counts, strict=True)])])
        value_at = torch.tensor(starts[:-1])[element.long()] + local * widths
        values = torch.zeros(int(starts[-1]), dtype=torch.float64)
        slots = _Slots.of(pairs.i.long().numpy(), pairs.j.long().numpy(), element.numpy(), local.numpy(), n_e,
                          self._counts, scales is not None)  # fmt: skip
        rows = torch.zeros(slots.total, dtype=torch.float32)
        strain = torch.zeros(6 * len(values) if scales is not None else 0, dtype=torch.float32)
        most = int((pairs.first[1:] - pairs.first[:-1]).max()) if n else 0
        s = self._sizes
        want = int(scales is not None)
        lanes = s["n_uses"] * s["n_vectors"] * (1 + 3 * most * want) + 2 * s["n_vectors"]
        scratch = torch.empty(native.LANES * max(lanes, 1), dtype=torch.float64)
        scale = np.concatenate(scales) if scales is not None else np.ones(sum(self._counts))
        offsets = torch.tensor([{**s, "want_rows": want}[k] for k in native.OFFSETS], dtype=torch.int32)
        args = [
            offsets, scratch, pairs.first, element, *self._whole, vectors.reshape(-1), distance,
            element[pairs.j.long()].contiguous(), phi.reshape(-1), (slope / distance[:, None]).reshape(-1),
            self._angles, self._sides, self._steps, torch.from_numpy(scale),
            value_at, 6 * value_at, torch.from_numpy(slots.own), torch.from_numpy(slots.stride),
            torch.from_numpy(slots.place), values, strain, rows,
        ]  # fmt: skip
        wp.launch(_kernel(), dim=n, inputs=[most * want, *(as_warp(a) for a in args)], device="cpu")
        blocks = []
        for e, (count, width) in enumerate(zip(counts, self._counts, strict=True)):
            here = values[starts[e] : starts[e + 1]].view(count, width)
            if scales is None:
                blocks.append(Block(here))
                continue
            own = strain[6 * starts[e] : 6 * starts[e + 1]].view(count, 6, width)
            m, at = slots.sizes[e], slots.begins[e]
            blocks.append(Block(here, rows[at : at + n * 3 * m * width].view(n, 3, m, width), slots.index[e], own))
        return blocks


@dataclass(frozen=True)
class _Slots:
    """Where the derivatives of atom i's functions in the position of atom a are kept: see Block.rows. place (P,): of
    each directed pair i -> a; own (n,): of i itself; stride (n,): between x, y and z."""

    total: int
    begins: list[int]
    sizes: list[int]
    index: list[torch.Tensor | None]
    place: np.ndarray
    own: np.ndarray
    stride: np.ndarray

    @classmethod
    def of(
        cls, i: np.ndarray, j: np.ndarray, element: np.ndarray, local: np.ndarray, n_e: int, widths: list[int],
        want: bool,
    ) -> "_Slots":  # fmt: skip
        n = len(element)
        place, own, stride = np.zeros(len(i), np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
        out = cls(0, [0] * n_e, [0] * n_e, [None] * n_e, place, own, stride)
        if not want:
            return out
        total = 0
        for e, width in enumerate(widths):
            mine, pairs = np.flatnonzero(element == e), np.flatnonzero(element[i] == e)
            codes = np.concatenate([j[pairs] * n + local[i[pairs]], mine * n + local[mine]])
            used, rank = np.unique(codes, return_inverse=True)
            count = np.bincount(used // n, minlength=n)
            m = int(count.max(initial=0))
            if m and count.mean() > DENSE * len(mine):
                m, slot = len(mine), codes % n
            else:
                first = np.cumsum(count) - count
                index = np.zeros((n, m), np.int64)
                index[used // n, np.arange(len(used)) - first[used // n]] = used % n
                out.index[e] = torch.from_numpy(index)
                slot = (np.arange(len(used)) - first[used // n])[rank]
            at = total + ((codes // n) * 3 * m + slot) * width
            place[pairs], own[mine] = at[: len(pairs)], at[len(pairs) :]
            stride[mine] = m * width
            out.begins[e], out.sizes[e] = total, m
            total += n * 3 * m * width
        return cls(total, out.begins, out.sizes, out.index, place, own, stride)


@cache
def _kernel() -> wp.Kernel:
    real, single = wp.array(dtype=wp.float64), wp.array(dtype=wp.float32)
    whole, long = wp.array(dtype=wp.int32), wp.array(dtype=wp.int64)

    def columns(
        i: int, capacity: int, offsets: whole, scratch: real, first: whole, element: whole, uses_at: whole, uses: whole,
        class_of: whole, with_jk: whole, functions_at: whole, functions: whole, vectors: real, distance: real,
        kind: whole, phi: real, dphi: real, angles: real, sides: real, steps: real, scales: real, value_at: long,
        virial_at: long, own_at: long, strides: long, place: long, values: real, virials: single, rows: single,
    ): ...  # fmt: skip

    columns.__name__ = columns.__qualname__ = "hdnnp_columns"
    native_columns: Any = wp.func_native(native.COLUMNS)(columns)

    def atoms(
        capacity: int, offsets: whole, scratch: real, first: whole, element: whole, uses_at: whole, uses: whole,
        class_of: whole, with_jk: whole, functions_at: whole, functions: whole, vectors: real, distance: real,
        kind: whole, phi: real, dphi: real, angles: real, sides: real, steps: real, scales: real, value_at: long,
        virial_at: long, own_at: long, strides: long, place: long, values: real, virials: single, rows: single,
    ):  # fmt: skip
        i = wp.tid()
        native_columns(
            i, capacity, offsets, scratch, first, element, uses_at, uses, class_of, with_jk, functions_at, functions,
            vectors, distance, kind, phi, dphi, angles, sides, steps, scales, value_at, virial_at, own_at, strides,
            place, values, virials, rows,
        )  # fmt: skip

    return make_kernel(atoms, "hdnnp_columns", f"{FAST} -mprefer-vector-width=512")
