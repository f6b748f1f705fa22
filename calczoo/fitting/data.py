"""Data sets: structures with reference energies, forces and stresses, in named groups."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read as ase_read

from ..core.errors import DataError
from ..core.system import check_atoms
from ..files.text import sha256

_OPEN = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
_STRESS_SHAPES = ((6,), (3, 3), (9,))


@dataclass(frozen=True)
class Dataset:
    """S structures and their reference values.

    energies (S,) eV, NaN where there is none; forces: (n, 3) eV/A or None each; stresses: (6,) eV/A^3 in ASE's sign and
    order, NaN if unknown, or None; groups: one name each. name, sha256: of the file, or of the
    numbers where there is no file.
    """

    structures: tuple[Atoms, ...]
    energies: np.ndarray
    forces: tuple[np.ndarray | None, ...]
    stresses: tuple[np.ndarray | None, ...]
    groups: tuple[str, ...]
    name: str = ""
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.structures)

    @classmethod
    def from_atoms(cls, structures: Iterable[Atoms], name: str = "", digest: str = "") -> Dataset:
        """Reference values are those of the attached (single-point) calculators; the group is info["config_type"].

        Raises DataError for a structure without energy and forces, or with values of the wrong shape or not finite.
        """
        many = tuple(structures)
        energies, forces, stresses, groups = [], [], [], []
        for k, atoms in enumerate(many):
            check_atoms(atoms, f" (structure {k})")
            results = dict(atoms.calc.results) if atoms.calc is not None else {}
            energy, force, stress = (results.get(key) for key in ("energy", "forces", "stress"))
            if energy is None and force is None:
                raise DataError(f"structure {k} of {name or 'the data'} has neither energy nor forces")
            energies.append(np.nan if energy is None else float(_finite(energy, (), "energy", k)))
            forces.append(None if force is None else _finite(force, (len(atoms), 3), "forces", k))
            usable = stress is not None and atoms.pbc.all()
            stresses.append(_voigt(_finite(stress, None, "stress", k), k) if usable else None)
            groups.append(str(atoms.info.get("config_type", "all")))
        if not digest:
            digest = _digest(many, energies, forces, stresses, groups)
        return cls(many, np.array(energies), tuple(forces), tuple(stresses), tuple(groups), name, digest)

    @classmethod
    def from_structures(cls, structures: Iterable[Atoms]) -> Dataset:
        """Structures alone, without reference values."""
        many = tuple(structures)
        none = (None,) * len(many)
        return cls(many, np.full(len(many), np.nan), none, none, ("all",) * len(many))

    def subset(self, which: Sequence[int]) -> Dataset:
        """Some of the structures, in the given order."""
        pick = [int(k) for k in which]
        return Dataset(
            tuple(self.structures[k] for k in pick),
            self.energies[pick],
            tuple(self.forces[k] for k in pick),
            tuple(self.stresses[k] for k in pick),
            tuple(self.groups[k] for k in pick),
            self.name,
            self.sha256,
        )

    def without_stress(self, group: str, components: Sequence[int]) -> Dataset:
        """The same data with some stress components (0..5, Voigt) of a group marked as unknown (NaN)."""

        def mask(stress: np.ndarray | None, name: str) -> np.ndarray | None:
            if stress is None or name != group:
                return stress
            out = stress.copy()
            out[list(components)] = np.nan
            return out

        stresses = tuple(mask(s, g) for s, g in zip(self.stresses, self.groups, strict=True))
        return replace(self, stresses=stresses)

    def sample(self, atoms: int, seed: int = 0) -> Dataset:
        """About `atoms` atoms' worth of structures, every group in proportion; all if there are no more."""
        if self.n_atoms <= atoms:
            return self
        rng = np.random.default_rng(seed)
        picked: list[int] = []
        for group in dict.fromkeys(self.groups):
            members = [k for k, g in enumerate(self.groups) if g == group]
            count = max(1, round(len(members) * atoms / self.n_atoms))
            picked += rng.permutation(members)[:count].tolist()
        return self.subset(sorted(picked))

    def folds(self, count: int, seed: int = 0) -> list[list[int]]:
        """`count` disjoint lists of structures that together are all; groups are spread evenly, drawn with `seed`."""
        if not 2 <= count <= len(self):
            raise DataError(f"cannot cut {len(self)} structures into {count} parts; needed is 2 to {len(self)}")
        rng = np.random.default_rng(seed)
        out: list[list[int]] = [[] for _ in range(count)]
        at = 0
        for group in dict.fromkeys(self.groups):
            for k in rng.permutation([k for k, g in enumerate(self.groups) if g == group]).tolist():
                out[at % count].append(k)
                at += 1
        return [sorted(part) for part in out]

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Symbols in order of first appearance."""
        return tuple(dict.fromkeys(s for a in self.structures for s in a.get_chemical_symbols()))

    @property
    def n_atoms(self) -> int:
        return sum(map(len, self.structures))

    def describe(self) -> str:
        """One line for cards."""
        counts = {g: self.groups.count(g) for g in dict.fromkeys(self.groups)}
        text = ", ".join(f"{g} {n}" for g, n in counts.items())
        return f"{self.name or 'data set'}: {len(self)} structures, {self.n_atoms} atoms ({text}); sha256 {self.sha256}"


def read_dataset(path: str | Path, elements: Sequence[str] | None = None, **options: Any) -> Dataset:
    """An extended XYZ file, also compressed (.xz, .gz, .bz2), or a file of a family's own format (.cfg of MLIP,
    input.data of RuNNer), for which `elements` is the order of the types and options tell units. Raises DataError."""
    from ..exchange import data_family, read_frames

    file = Path(path).expanduser()
    if file.is_file() and data_family(file) is not None:
        return Dataset.from_atoms(read_frames(file, elements, **options), file.name, sha256(file))
    if not file.is_file():
        raise DataError(f"{file} is not a file; expected an extended XYZ file (.extxyz, .xyz, also .xz, .gz, .bz2)")
    inner = Path(file.stem) if file.suffix in _OPEN else file
    if inner.suffix not in (".extxyz", ".xyz"):
        raise DataError(
            f"{file.name} has the unknown suffix '{inner.suffix}'; expected .extxyz or .xyz, also compressed"
        )
    try:
        with _OPEN.get(file.suffix, open)(file, "rt") as handle:
            structures = ase_read(handle, index=":", format="extxyz")
    except (OSError, EOFError, ValueError, KeyError, IndexError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as extended XYZ: {type(error).__name__}: {error}") from error
    if not structures:
        raise DataError(f"{file} holds no structure")
    return Dataset.from_atoms(structures, file.name, sha256(file))


def charges_of(atoms: Atoms) -> np.ndarray | None:
    """(n,) e: reference charges of a structure's atoms, those of its (single-point) calculator, else of its arrays
    `charges` or `initial_charges`; None where there are none."""
    if atoms.calc is not None and atoms.calc.results.get("charges") is not None:
        return np.asarray(atoms.calc.results["charges"], dtype=float)
    for key in ("charges", "initial_charges"):
        if atoms.has(key):
            return np.asarray(atoms.arrays[key], dtype=float)
    return None


def as_dataset(data: Dataset | Iterable[Atoms], name: str = "") -> Dataset:
    """A Dataset from what a user has."""
    return data if isinstance(data, Dataset) else Dataset.from_atoms(data, name)


def _finite(value, shape: tuple[int, ...] | None, name: str, k: int) -> np.ndarray:
    array = np.asarray(value, dtype=float)
    if shape is not None and array.shape != shape:
        raise DataError(f"{name} of structure {k} has shape {array.shape}; needed is {shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} of structure {k} holds a value that is not finite")
    return array


def _voigt(stress: np.ndarray, k: int) -> np.ndarray:
    """xx yy zz yz xz xy from a vector of six or a 3x3 matrix."""
    if stress.shape not in _STRESS_SHAPES:
        raise DataError(f"stress of structure {k} has shape {stress.shape}; needed is (6,) or (3, 3)")
    if stress.size == 6:
        return stress
    s = stress.reshape(3, 3)
    s = 0.5 * (s + s.T)
    return np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])


def _digest(structures: Sequence[Atoms], energies: list, forces: list, stresses: list, groups: list[str]) -> str:
    h = hashlib.sha256()
    for atoms, energy, *rest, group in zip(structures, energies, forces, stresses, groups, strict=True):
        known = ([] if array is None else array for array in rest)
        for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, [energy], *known):
            h.update(np.ascontiguousarray(array, dtype=float).tobytes())
        h.update(group.encode() + b"\0")
    return h.hexdigest()
