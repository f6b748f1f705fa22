"""Writes MLIP's `.cfg` in the layout of MLIP-3, with 17 digits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ...core.errors import DataError, OptionError
from ...files.compressed import write_packed
from .cfg import SECTIONS, VOIGT
from .cfg_types import Elements, element_map

_OWN = {
    "numbers", "positions", "tags", "momenta", "masses", "initial_magmoms", "initial_charges", "forces", "id", "type",
    "cartes_x", "cartes_y", "cartes_z", "direct_x", "direct_y", "direct_z", "fx", "fy", "fz", "site_en",
}  # fmt: skip


def write(frames: Sequence[Atoms], path: str | Path, elements: Elements = None) -> Path:
    """Write a `.cfg` (or .cfg.xz, .cfg.gz). elements: symbols of the types 0, 1, ..., or {type: symbol}.

    Written are the energy, forces, site energies and stress that are attached and belong to the structure as it is,
    columns of numbers from atoms.arrays, and plain values of atoms.info as features. Raises OptionError without
    elements, DataError for a structure with another element or a value that is not finite.
    """
    if elements is None:
        call = 'write_cfg(frames, "train.cfg", elements=["Al", "Ni"])'
        raise OptionError(f"a .cfg names no elements; give them in the order of the types, as in {call}")
    return write_packed(path, text(frames, elements))


def text(frames: Sequence[Atoms], elements: Elements) -> str:
    """The text of the structures, each followed by an empty line."""
    known = element_map(elements)
    if not known:
        raise OptionError("no elements; give them in the order of the types")
    types = {symbol: k for k, symbol in known.items()}
    return "".join("\n".join(_lines(atoms, types, f"structure {k}")) + "\n\n" for k, atoms in enumerate(frames))


def attached(atoms: Atoms) -> Mapping[str, Any]:
    """Results of the calculator that belong to the structure as it is now."""
    calc = atoms.calc
    if calc is None or not getattr(calc, "results", None):
        return {}
    changed = getattr(calc, "check_state", None)
    return {} if changed is not None and changed(atoms) else calc.results


def _row(values: Any) -> str:
    return " ".join(f"{x:.16e}" for x in np.asarray(values, float).tolist())


def _finite(values: Any, what: str, name: str) -> np.ndarray:
    array = np.asarray(values, float)
    if not np.isfinite(array).all():
        raise DataError(f"{name} has {what} that are not finite")
    return array


def _lines(atoms: Atoms, types: Mapping[str, int], name: str) -> Iterator[str]:
    """Lines of one configuration."""
    if unknown := sorted(set(atoms.symbols) - set(types)):
        raise DataError(f"{name} has {', '.join(unknown)}; the types are {', '.join(types)}")
    results = attached(atoms)
    yield from ("BEGIN_CFG", " Size", f"    {len(atoms)}")
    if atoms.pbc.any():
        yield " Supercell"
        yield from (f"    {_row(v)}" for v in _finite(atoms.cell.array[atoms.pbc], "lattice vectors", name))
    yield from _atom_lines(atoms, types, results, name)
    if results.get("energy") is not None:
        yield from (" Energy", f"    {_row([_finite(results['energy'], 'energies', name)])}")
    if (virial := _virial(atoms, results)) is not None:
        yield f" PlusStress:  {'          '.join(VOIGT)}"
        yield f"     {_row(_finite(virial, 'stresses', name))}"
    yield from _extra_lines(atoms)
    yield "END_CFG"


def _atom_lines(atoms: Atoms, types: Mapping[str, int], results: Mapping[str, Any], name: str) -> Iterator[str]:
    columns = [_finite(atoms.positions, "positions", name)]
    head = " AtomData:  id type       cartes_x      cartes_y      cartes_z"
    if results.get("forces") is not None:
        head += "           fx          fy          fz"
        columns.append(_finite(results["forces"], "forces", name))
    if results.get("energies") is not None:
        head += "  site_en"
        columns.append(_finite(results["energies"], "site energies", name)[:, None])
    for key, values in atoms.arrays.items():
        if key not in _OWN and values.ndim == 1 and values.dtype.kind == "f" and len(key.split()) == 1:
            head += f"  {key}"
            columns.append(_finite(values, key, name)[:, None])
    yield head
    for k, (symbol, *parts) in enumerate(zip(atoms.symbols, *columns, strict=True), start=1):
        yield f"    {k} {types[symbol]}  {'  '.join(map(_row, parts))}"


def _virial(atoms: Atoms, results: Mapping[str, Any]) -> np.ndarray | None:
    """PlusStress in eV: -V * stress."""
    stress = results.get("stress")
    volume = abs(np.linalg.det(atoms.cell.array))
    if stress is not None and volume > 0:
        stress = np.asarray(stress, float)
        if stress.shape == (3, 3):
            stress = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        return -volume * stress
    virial = atoms.info.get("virial")
    return virial if isinstance(virial, np.ndarray) and virial.shape == (6,) else None


def _extra_lines(atoms: Atoms) -> Iterator[str]:
    for body in atoms.info.get(SECTIONS, {}).values():
        yield from (f" {line}" for line in str(body).splitlines())
    for key, value in atoms.info.items():
        if isinstance(value, (bool, np.bool_, str, int, float, np.integer, np.floating)) and len(str(key).split()) == 1:
            value = value.item() if isinstance(value, np.generic) else value
            for line in str(value).splitlines() or [""]:
                yield f" Feature   {key}\t{' '.join(line.split())}"
