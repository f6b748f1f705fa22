"""Writes RuNNer's input.data with 17 digits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ...core.errors import DataError
from ...files.compressed import write_packed
from .input_data import NO_FORCES, units_of


def write(
    frames: Iterable[Atoms],
    path: str | Path,
    length_unit: str | float | None = None,
    energy_unit: str | float | None = None,
) -> Path:
    """Write an input.data (also .xz, .gz).

    length_unit, energy_unit: of the file. Written are energy, forces, energies and charges of atoms that are attached
    and belong to the structure as it is; the total charge is info["charge"], else the sum of the initial charges or of
    the attached ones. Raises OptionError without units, DataError for a structure that the format cannot hold.
    """
    length, energy = units_of(Path(path).name, length_unit, energy_unit, "write_input_data")
    text = "".join("\n".join(_lines(atoms, length, energy, f"structure {k}")) + "\n" for k, atoms in enumerate(frames))
    return write_packed(path, text)


def attached(atoms: Atoms) -> Mapping[str, Any]:
    """Results of the calculator that belong to the structure as it is now."""
    calc = atoms.calc
    if calc is None or not getattr(calc, "results", None):
        return {}
    changed = getattr(calc, "check_state", None)
    return {} if changed is not None and changed(atoms) else calc.results


def _row(values: np.ndarray) -> str:
    return " ".join(f"{x:23.16E}" for x in values.tolist())


def _finite(values: Any, shape: tuple[int, ...], what: str, name: str) -> np.ndarray:
    array = np.asarray(values, float)
    if array.shape != shape:
        raise DataError(f"{name} has {what} of shape {array.shape}; needed is {shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} has {what} that are not finite")
    return array


def _lines(atoms: Atoms, length: float, energy: float, name: str) -> Iterator[str]:
    """Lines of one structure."""
    if atoms.pbc.any() and not atoms.pbc.all():
        raise DataError(f"{name} is periodic in some directions only; input.data knows all three or none")
    if atoms.pbc.any() and atoms.cell.rank < 3:
        raise DataError(f"{name} is periodic without three lattice vectors")
    n, results = len(atoms), attached(atoms)
    positions = _finite(atoms.positions, (n, 3), "positions", name) / length
    forces, charges = results.get("forces"), results.get("charges")
    yield "begin"
    comment = atoms.info.get("comment", "")
    yield from (f"comment {line}" for line in str(comment).splitlines() if line.strip())
    if results.get("energy") is not None and forces is None:
        yield f"comment {NO_FORCES}"
    if atoms.pbc.any():
        yield from (f"lattice {_row(v)}" for v in _finite(atoms.cell.array, (3, 3), "lattice vectors", name) / length)
    table = np.zeros((n, 5))
    if charges is not None:
        table[:, 0] = _finite(charges, (n,), "charges", name)
    if results.get("energies") is not None:
        table[:, 1] = _finite(results["energies"], (n,), "energies of atoms", name) / energy
    if forces is not None:
        table[:, 2:] = _finite(forces, (n, 3), "forces", name) * (length / energy)
    for symbol, place, rest in zip(atoms.symbols, positions, table, strict=True):
        yield f"atom {_row(place)} {symbol} {_row(rest)}"
    if results.get("energy") is not None:
        yield f"energy {_row(_finite(results['energy'], (), 'an energy', name).reshape(1) / energy)}"
    yield f"charge {_row(np.array([_total_charge(atoms, charges, name)]))}"
    yield "end"


def _total_charge(atoms: Atoms, charges: Any, name: str) -> float:
    told = atoms.info.get("charge")
    if told is None and atoms.has("initial_charges"):
        told = atoms.get_initial_charges().sum()
    elif told is None:
        told = 0.0 if charges is None else np.sum(charges)
    return float(_finite(told, (), "a total charge", name))
