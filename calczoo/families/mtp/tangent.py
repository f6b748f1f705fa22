"""Derivatives of energies, forces and stresses in every parameter of a moment tensor potential, for training.

Energies are linear in the species and moment coefficients (e, w), so these columns depend on the radial coefficients c
alone; the columns of c depend on c and w. Forces are gradients of the energy, so their columns are

    d/dr dE/dw_s = sum_b dB_s/dm_b dm_b/dr                 (dB_s/dm_b by one short backward walk per basis function)
    d/dr dE/dc_t = sum_b d(dV/dm_b)/dc_t dm_b/dr + sum_b dV/dm_b d(dm_b/dr)/dc_t

with the change of the adjoints dV/dm_b from one tangent walk, forward and back, through the products: second
derivatives of the products, but no matrix of them. On the CPU, Warp kernels with one structure per item; elsewhere the
same sums in batched torch (`tangent_torch`), which is also their reference.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import warp as wp

from ...core.threads import split
from ...core.warp_base import FAST, make_kernel
from ...core.warp_model import as_warp
from . import tangent_native as native
from .fit_frames import Frames
from .params import MtpParams
from .tangent_tables import TangentTables
from .tangent_torch import TorchTangents


class Tangents:
    """Columns of a set of structures for one potential's shape (moments, species, radial basis, distances).

    `moment_columns(radial, some)` and `radial_columns(radial, weights, some)` return, for the structures some =
    (start, stop), one flat tensor: for each structure its columns, each with its n_rows values. Order of the columns:
    species then moment coefficients; radial coefficients as in MtpParams.coefficients.
    """

    def __init__(self, shape: MtpParams, frames: Frames, threads: int = 1, wanted: np.ndarray | None = None):
        """wanted (S,): false for structures of which only the energy is asked."""
        self.frames, self.threads, self.device = frames, threads, torch.device("cpu")
        every = np.ones(len(frames)) if wanted is None else wanted
        self._wanted = torch.from_numpy(np.asarray(every, dtype=np.int32))
        self.n_species, _, self.n_radial, self.n_basis = shape.radial.shape
        self.n_scalars = shape.n_basis
        tables = TangentTables.of(shape.moments, self.n_radial)
        self.widths = {"moment": self.n_species + self.n_scalars, "radial": shape.radial.size}
        self._distances = [shape.min_dist, shape.max_dist, shape.scaling]
        self._tables = torch.from_numpy(tables.integers)
        p = dict(tables.places)
        local = self.n_species * self.n_radial * self.n_basis
        padded = -(-local // native.TILE) * native.TILE
        n_pq = self.n_species * self.n_basis
        common = {
            "s_q": self.n_basis,
            "s_dq": self.n_basis,
            "s_mask": self.n_species,
            "s_f": self.n_radial,
            "s_df": self.n_radial,
            "s_power": 3 * (p["max_power"] + 2),
            "s_mono": p["n_mono"],
            "s_dmono": 3 * p["n_mono"],
            "s_d": 3 * p["n_basic"],
            "s_m": p["n_moments"],
            "s_a": p["n_moments"],
        }
        regions = {
            "moment": {**common, "s_jac": p["n_dep"], "s_sum": 9 * self.n_scalars},
            "radial": {
                **common,
                "s_sum": max(9 * local, p["n_mono"] * n_pq),
                "s_b": self.n_radial,
                "s_db": 3 * self.n_radial,
                "s_td": p["n_moments"],
                "s_ad": p["n_moments"],
                "s_g": p["n_mono"] * n_pq,
                "s_bd": p["n_basic"] * padded,
            },
        }
        p |= {"n_species": self.n_species, "n_basis": self.n_basis, "repuls": int(shape.basis.endswith("_repuls"))}
        p |= {"r_param": 0, "r_radial": 3, "r_weights": 3 + shape.radial.size}
        self._offsets, self._scratch = {}, {}
        for name, sizes in regions.items():
            values, total = dict(p), 0
            for key, size in sizes.items():
                values[key] = total
                total += size
            self._offsets[name] = torch.tensor([values.get(k, 0) for k in native.OFFSETS], dtype=torch.int32)
            self._scratch[name] = native.LANES * total

    def places(self, name: str, some: tuple[int, int]) -> np.ndarray:
        """Where the columns of each structure begin, and the end of the last."""
        sizes = self.frames.n_rows[some[0] : some[1]].astype(np.int64) * self.widths[name]
        return np.concatenate([[0], np.cumsum(sizes)])

    def moment_columns(self, radial: np.ndarray, some: tuple[int, int]) -> torch.Tensor:
        """dE/d(e, w) and its gradients."""
        return self._run("moment", radial, np.zeros(self.n_scalars), some)

    def radial_columns(self, radial: np.ndarray, weights: np.ndarray, some: tuple[int, int]) -> torch.Tensor:
        """dE/dc and its gradients, for moment coefficients `weights`."""
        return self._run("radial", radial, weights, some)

    def _run(self, name: str, radial: np.ndarray, weights: np.ndarray, some: tuple[int, int]) -> torch.Tensor:
        start, stop = some
        places = np.zeros(len(self.frames), dtype=np.int64)
        edges = self.places(name, some)
        places[start:stop] = edges[:-1]
        out = torch.zeros(int(edges[-1]), dtype=torch.float64)
        reals = torch.from_numpy(np.concatenate([self._distances, np.ravel(radial), weights]))
        f = self.frames
        args = [
            as_warp(t)
            for t in (
                self._offsets[name], self._tables, reals, f.atoms, f.groups, *f.vectors, f.neighbour, f.kind,
                f.species, torch.from_numpy(places), self._wanted, out,
            )
        ]  # fmt: skip
        kernel = _kernel(name)

        def work(a: int, b: int) -> None:
            scratch = torch.empty(self._scratch[name], dtype=torch.float64)
            wp.launch(kernel, dim=b - a, inputs=[start + a, as_warp(scratch), *args], device="cpu")

        split(work, stop - start, self.threads, us=10000.0)
        return out


def make_tangents(
    shape: MtpParams, frames: Frames, threads: int, wanted: np.ndarray, device: torch.device
) -> "Tangents | TorchTangents":
    """Warp kernels on the CPU, batched torch on any other device."""
    if device.type == "cpu":
        return Tangents(shape, frames, threads, wanted)
    return TorchTangents(shape, frames, wanted, device)


_SOURCES: dict[str, Callable[[], str]] = {"moment": native.moment_columns, "radial": native.radial_columns}


@cache
def _kernel(name: str) -> wp.Kernel:
    real, whole = wp.array(dtype=wp.float64), wp.array(dtype=wp.int32)

    def columns(
        frame: int,
        offsets: whole,
        itable: whole,
        rtable: real,
        scratch: real,
        atoms: whole,
        groups: whole,
        px: real,
        py: real,
        pz: real,
        pj: whole,
        ps: whole,
        species: whole,
        places: wp.array(dtype=wp.int64),
        wanted: whole,
        rows: real,
    ): ...

    columns.__name__ = columns.__qualname__ = f"mtp_{name}_columns"
    native_columns: Any = wp.func_native(_SOURCES[name]())(columns)

    def tangents(
        start: int,
        scratch: real,
        offsets: whole,
        itable: whole,
        rtable: real,
        atoms: whole,
        groups: whole,
        px: real,
        py: real,
        pz: real,
        pj: whole,
        ps: whole,
        species: whole,
        places: wp.array(dtype=wp.int64),
        wanted: whole,
        rows: real,
    ):
        f = start + wp.tid()
        native_columns(
            f, offsets, itable, rtable, scratch, atoms, groups, px, py, pz, pj, ps, species, places, wanted, rows
        )

    return make_kernel(tangents, f"mtp_{name}_columns", f"{FAST} -mprefer-vector-width=512")
