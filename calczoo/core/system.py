"""System: one structure or many, as flat tensors. Every check of an input structure lives here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from .errors import InvalidCell, InvalidStructure, UnsupportedElement

_MIN_HEIGHT = 1e-3
"""A periodic direction needs lattice planes at least this far apart (A)."""


@dataclass(frozen=True)
class System:
    """N atoms of S structures; frozen, on one device, in one dtype.

    numbers (N,) int64 atomic numbers; positions (N, 3) A, in float32 from the centre of each structure; cell (S, 3, 3)
    A, rows are vectors; pbc (S, 3) bool; system_index (N,) int64; first (S + 1,): atoms of structure s are
    first[s]:first[s+1] (host integers). charge (S,) e, the total charge: info["charge"] where a structure has it, else
    the sum of its initial charges, else 0. Where both are there and disagree, info["charge"] wins: initial charges may
    be guesses. initial_charges (N,) e, zero in structures without; None where no structure has any. counted (N,) bool:
    atoms whose site energies will be used, None for all; of others, a model need not warn.
    """

    numbers: torch.Tensor
    positions: torch.Tensor
    cell: torch.Tensor
    pbc: torch.Tensor
    system_index: torch.Tensor
    first: tuple[int, ...]
    charge: torch.Tensor | None = None
    initial_charges: torch.Tensor | None = None
    counted: torch.Tensor | None = None

    @property
    def n_atoms(self) -> int:
        return self.numbers.shape[0]

    @property
    def n_systems(self) -> int:
        return len(self.first) - 1

    def volumes(self) -> torch.Tensor:
        """(S,) A^3; zero for a structure without a full cell."""
        a, b, c = self.cell.unbind(dim=1)
        return (torch.linalg.cross(a, b) * c).sum(dim=1).abs()

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms | Sequence[Atoms],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> System:
        """Check and flatten one or many ASE structures.

        Raises InvalidStructure (non-finite positions or cell, dummy atoms) and InvalidCell (pbc without a cell).
        """
        many = [atoms] if isinstance(atoms, Atoms) else list(atoms)
        for k, a in enumerate(many):
            check_atoms(a, "" if len(many) == 1 else f" (structure {k})")
        sizes = [len(a) for a in many]
        first = (0, *np.cumsum(sizes, dtype=np.int64).tolist())

        def flat(name: str, tail: tuple[int, ...], kind) -> np.ndarray:
            parts = [getattr(a, name) for a in many]
            if not parts:
                return np.zeros((0, *tail), dtype=kind)
            return np.array(parts[0], dtype=kind) if len(parts) == 1 else np.concatenate(parts).astype(kind)

        def stack(parts: list, tail: tuple[int, ...], kind) -> np.ndarray:
            return np.array(parts, dtype=kind).reshape(-1, *tail)

        def put(array: np.ndarray, kind: torch.dtype | None = None) -> torch.Tensor:
            return torch.from_numpy(array).to(device=device, dtype=kind)

        array = flat("positions", (3,), np.float64)
        if dtype != torch.float64:  # models see differences only, and far from the origin few digits are left for them
            for a, b in zip(first[:-1], first[1:], strict=True):
                array[a:b] -= array[a:b].mean(axis=0) if b > a else 0.0
        positions = put(array, dtype)
        cell = put(stack([a.cell.array for a in many], (3, 3), np.float64), dtype)
        if dtype != torch.float64 and not (positions.isfinite().all() and cell.isfinite().all()):
            raise InvalidStructure(f"positions or cell do not fit {dtype}; use dtype='float64'")
        return cls(
            numbers=put(flat("numbers", (), np.int64)),
            positions=positions,
            cell=cell,
            pbc=put(stack([a.pbc for a in many], (3,), bool)),
            system_index=put(np.repeat(np.arange(len(many)), sizes)),
            first=first,
            charge=put(np.array([total_charge(a) for a in many]), dtype),
            initial_charges=put(_initial_charges(many), dtype) if any(a.has("initial_charges") for a in many) else None,
        )


def total_charge(atoms: Atoms) -> float:
    """e: info["charge"], else the sum of the initial charges, else 0."""
    if "charge" in atoms.info:
        return float(atoms.info["charge"])
    return float(atoms.get_initial_charges().sum()) if atoms.has("initial_charges") else 0.0


def _initial_charges(many: Sequence[Atoms]) -> np.ndarray:
    return np.concatenate([np.asarray(a.get_initial_charges(), dtype=np.float64) for a in many])


def check_atoms(atoms: Atoms, where: str = "") -> None:
    """Raise for a structure that no model can evaluate; `where` is appended to messages."""
    for name, array in (("positions", atoms.positions), ("cell", atoms.cell.array)):
        _check_finite(name, array, where)
    if atoms.has("initial_charges"):
        _check_finite("initial_charges", atoms.get_initial_charges(), where)
    charge = atoms.info.get("charge", 0.0)
    number = isinstance(charge, (int, float, np.number)) or (isinstance(charge, np.ndarray) and charge.ndim == 0)
    if not (number and np.isfinite(charge)):
        raise InvalidStructure(f"info['charge'] is {charge!r}{where}; set a finite number or delete the key")
    if len(atoms) and (atoms.numbers.min() < 1 or atoms.numbers.max() >= len(chemical_symbols)):
        k = int(np.argmax((atoms.numbers < 1) | (atoms.numbers >= len(chemical_symbols))))
        raise InvalidStructure(f"atom {k} has atomic number {atoms.numbers[k]}{where}; allowed is 1 to 118")
    check_cell(atoms.cell.array, atoms.pbc, where)


def _check_finite(name: str, array: np.ndarray, where: str) -> None:
    if np.isfinite(array).all():
        return
    index = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
    at = "[" + ", ".join(map(str, index)) + "]"
    raise InvalidStructure(f"{name}{at} is {array[index]}{where}; every value must be a finite number")


def check_cell(cell: np.ndarray, pbc: Sequence[bool], where: str = "") -> None:
    """Every periodic direction needs a vector, and the periodic vectors must be independent of each other."""
    periodic = [k for k in range(3) if pbc[k]]
    if not periodic:
        return
    if len(periodic) == 3 and _is_regular(np.asarray(cell, dtype=float).tolist()):
        return
    vectors = np.asarray(cell, dtype=float)[periodic]
    lengths = np.linalg.norm(vectors, axis=1)
    for k, length in zip(periodic, lengths, strict=True):
        if length < _MIN_HEIGHT:
            raise InvalidCell(
                f"periodic along direction {k}{where}, but that cell vector is {length:.3g} A long; "
                "set a cell or switch pbc off there",
                np.asarray(cell).tolist(),
            )
    # the smallest height of the parallelepiped: 1 / |row of the pseudo-inverse|
    if np.linalg.matrix_rank(vectors / lengths[:, None], tol=1e-8) == len(periodic):
        heights = 1.0 / np.linalg.norm(np.linalg.pinv(vectors), axis=0)
        if heights.min() >= _MIN_HEIGHT:
            return
    raise InvalidCell(
        f"the periodic cell vectors are not independent{where} (they span no volume); check the cell",
        np.asarray(cell).tolist(),
    )


def _is_regular(cell: list[list[float]]) -> bool:
    """Quick yes for the ordinary cell; plain floats, since this runs on every call."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell
    faces = (
        (by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx),
        (cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax),
        (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx),
    )
    volume = abs(ax * faces[0][0] + ay * faces[0][1] + az * faces[0][2])
    area = max((x * x + y * y + z * z) ** 0.5 for x, y, z in faces)
    lengths = [(x * x + y * y + z * z) ** 0.5 for x, y, z in cell]
    # far from both limits of the exact test below
    return volume > 10.0 * _MIN_HEIGHT * area and volume > 1e-4 * lengths[0] * lengths[1] * lengths[2]


def check_elements(numbers: np.ndarray, allowed: Sequence[int], model: str, where: str = "") -> None:
    """Raise UnsupportedElement for the first atom whose number is not in `allowed`."""
    known = np.zeros(len(chemical_symbols), dtype=bool)
    known[list(allowed)] = True
    bad = ~known[numbers]
    if bad.any():
        k = int(np.argmax(bad))
        symbols = [chemical_symbols[z] for z in allowed]
        raise UnsupportedElement(chemical_symbols[numbers[k]], k, model, symbols, where)
