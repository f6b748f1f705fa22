"""What a structure must be, and what the messages say when it is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from calczoo.core.errors import InvalidCell, InvalidStructure, StructureError, UnsupportedElement
from calczoo.core.system import System, check_cell, check_elements


def copper() -> Atoms:
    return bulk("Cu", "fcc", a=3.6, cubic=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_positions_must_be_finite(bad):
    atoms = copper()
    atoms.positions[3, 1] = bad
    with pytest.raises(InvalidStructure, match=rf"positions\[3, 1\] is {bad}; every value must be a finite number"):
        System.from_atoms(atoms)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("pbc", [True, False])
def test_cell_must_be_finite(bad, pbc):
    atoms = copper()
    atoms.pbc = pbc
    atoms.cell[2, 0] = bad
    with pytest.raises(InvalidStructure, match=r"cell\[2, 0\] is"):
        System.from_atoms(atoms)


def test_charges_must_be_finite():
    atoms = copper()
    atoms.set_initial_charges([0, 0, np.nan, 0])
    with pytest.raises(InvalidStructure, match=r"initial_charges\[2\] is nan"):
        System.from_atoms(atoms)


@pytest.mark.parametrize("charge", [np.nan, "one", None])
def test_total_charge_must_be_a_number(charge):
    atoms = copper()
    atoms.info["charge"] = charge
    with pytest.raises(InvalidStructure, match="charge"):
        System.from_atoms(atoms)


@pytest.mark.parametrize("number", [0, 119, -1])
def test_atomic_numbers_must_be_elements(number):
    atoms = copper()
    atoms.numbers[1] = number
    with pytest.raises(InvalidStructure, match=rf"atom 1 has atomic number {number}.*1 to 118"):
        System.from_atoms(atoms)


@pytest.mark.parametrize(
    "cell, pbc",
    [
        (np.zeros((3, 3)), [True, True, True]),
        (np.diag([3.0, 3.0, 0.0]), [False, False, True]),
        ([[3, 0, 0], [0, 3, 0], [1, 1, 0]], [True, True, True]),
        ([[3, 0, 0], [-6, 0, 0], [0, 0, 3]], [True, True, False]),
        ([[1e-9, 0, 0], [0, 3, 0], [0, 0, 3]], [True, True, True]),
        ([[3, 0, 0], [3, 1e-5, 0], [0, 0, 3]], [True, True, True]),
    ],
)
def test_degenerate_cells_are_shown(cell, pbc):
    with pytest.raises(InvalidCell, match=r"cell vectors \(A\): \[.*\], \[.*\], \[") as error:
        System.from_atoms(Atoms("Cu", cell=cell, pbc=pbc))
    assert np.shape(error.value.cell) == (3, 3)


@pytest.mark.parametrize(
    "cell, pbc",
    [
        (np.zeros((3, 3)), [False, False, False]),
        (np.diag([3.0, 0.0, 0.0]), [True, False, False]),
        (-np.eye(3) * 3, [True, True, True]),
        ([[3, 0, 0], [30, 3, 0], [0, 0, 3]], [True, True, True]),
        ([[3, 0, 0], [3, 0, 0], [0, 0, 3]], [True, False, True]),
    ],
)
def test_usable_cells_pass(cell, pbc):
    check_cell(np.array(cell, float), pbc)


def test_elements_are_checked_by_name_and_atom():
    with pytest.raises(
        UnsupportedElement, match=r"'O' \(atom 0\) is not in m \(has: Cu, Al\)\..*--elements O"
    ) as error:
        check_elements(molecule("H2O").numbers, [29, 13], "m")
    assert (error.value.symbol, error.value.atom, error.value.allowed) == ("O", 0, ("Cu", "Al"))
    check_elements(np.zeros(0, int), [29], "m")


def test_message_names_the_structure_of_a_batch():
    bad = copper()
    bad.positions[0, 0] = np.nan
    with pytest.raises(InvalidStructure, match=r"\(structure 1\)"):
        System.from_atoms([copper(), bad])


def test_all_structure_errors_are_value_errors():
    assert issubclass(StructureError, ValueError)
    for kind in (InvalidCell, InvalidStructure, UnsupportedElement):
        assert issubclass(kind, StructureError)


def test_batch_layout():
    many = [copper(), Atoms(), molecule("H2O")]
    many[2].info["charge"] = -1
    system = System.from_atoms(many, dtype=torch.float32)
    assert (system.n_atoms, system.n_systems, system.first) == (7, 3, (0, 4, 4, 7))
    assert system.system_index.tolist() == [0] * 4 + [2] * 3
    assert system.positions.dtype == system.cell.dtype == torch.float32
    assert system.pbc.tolist() == [[True] * 3, [False] * 3, [False] * 3]
    assert system.charge.tolist() == [0.0, 0.0, -1.0]
    assert system.volumes()[0] == pytest.approx(3.6**3)


def test_a_system_does_not_share_memory_with_the_atoms():
    atoms = copper()
    system = System.from_atoms(atoms)
    before = system.positions.clone()
    atoms.positions += 1.0
    assert torch.equal(system.positions, before)
