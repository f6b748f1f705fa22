"""EAM and ADP against LAMMPS, both backends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from calczoo import get_calculator
from calczoo.families.eam import FAMILY
from data import lammps_potential, max_abs, reference, reference_atoms
from families.eam.structures import sheared_fcc

GOLDEN = ("AlCu.adp", "CuNi.eam.alloy", "Cu_mishin1.eam.alloy", "Cu_u3.eam", "Fe_mm.eam.fs")
STORED = json.loads((Path(__file__).parent / "lammps.json").read_text())
"""Made by make_reference.py with LAMMPS 22Jul2025."""


@pytest.mark.parametrize("backend", FAMILY.backends)
@pytest.mark.parametrize("name", GOLDEN)
def test_lammps_reference(name, backend):
    records = reference(name)["structures"]
    calc = get_calculator("eam", lammps_potential(name), backend=backend, device="cpu", threads=1)
    structures = [reference_atoms(r) for r in records]
    for record, got in zip(records, calc.evaluate(structures), strict=True):
        where = record["name"]
        assert abs(got["energy"] - record["energy"]) <= 1e-9 * len(record["symbols"]), where
        assert max_abs(got["energies"], record["energies"]) <= 1e-8, where
        assert max_abs(got["forces"], record["forces"]) <= 1e-8, where
        if record["stress"] is not None:
            assert max_abs(got["stress"], record["stress"]) <= 1e-9, where


@pytest.mark.parametrize("backend", FAMILY.backends)
@pytest.mark.parametrize("name", STORED)
def test_published_files(name, backend):
    """Every EAM file that LAMMPS ships, among them mixed funcfl files and tables that end before the cutoff."""
    record = STORED[name]
    paths = tuple(lammps_potential(n) for n in name.split())
    elements = record["elements"].split()
    calc = get_calculator(
        "eam", paths if len(paths) > 1 else paths[0], elements, backend=backend, device="cpu", threads=1
    )
    cell, positions, species = sheared_fcc(len(elements), record["a"])
    atoms = Atoms([elements[k] for k in species], positions=positions, cell=cell, pbc=True)
    got = calc.evaluate([atoms])[0]
    size = max(1.0, np.abs(record["forces"]).max())
    assert abs(got["energy"] - record["energy"]) <= 1e-9 * len(atoms) * size
    assert max_abs(got["forces"], record["forces"]) <= 1e-10 * size
    assert max_abs(got["stress"], record["stress"]) <= 1e-11 * size
