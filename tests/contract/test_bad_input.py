"""The table of bad input, a row per test, for every family."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import Atoms

from calczoo import get_calculator
from calczoo.core.errors import (
    AtomsOverlap,
    InvalidCell,
    InvalidStructure,
    NonFiniteResult,
    OptionError,
    PropertyNotImplementedError,
    TooLarge,
    UnsupportedElement,
)
from contract.examples import Example
from contract.helpers import assert_same, brute_force, results, rotation

PBC = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]


def test_unknown_element(example: Example, calc):
    atoms = example.structure()
    foreign = next(z for z in (86, 87, 36) if z not in calc.model.numbers) if len(calc.model.numbers) < 118 else None
    if foreign is None:
        atoms.numbers[3] = 0  # a model of all elements still knows no dummy atom
        with pytest.raises(InvalidStructure, match="atom 3 has atomic number 0"):
            calc.get_potential_energy(atoms)
        return
    atoms.numbers[3] = foreign
    with pytest.raises(UnsupportedElement, match=r"\(atom 3\) is not in .*\(has: .*calczoo list --elements") as error:
        calc.get_potential_energy(atoms)
    assert error.value.atom == 3 and calc.card.name in str(error.value)
    assert set(error.value.allowed) == set(calc.card.elements)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("what", ["positions", "cell", "charges", "info"])
def test_not_finite(example: Example, calc, what, bad):
    atoms = example.structure()
    if what == "positions":
        atoms.positions[3, 1] = bad
    elif what == "cell":
        atoms.cell[2, 0] = bad
    elif what == "charges":
        atoms.set_initial_charges([0.0] * 3 + [bad] + [0.0] * (len(atoms) - 4))
    else:
        atoms.info["charge"] = bad
    with pytest.raises(InvalidStructure, match=r"positions\[3, 1\]|cell\[2, 0\]|initial_charges\[3\]|info\['charge'\]"):
        calc.get_potential_energy(atoms)
    with pytest.raises(InvalidStructure, match=r"structure 1"):
        calc.evaluate([example.structure(), atoms])


@pytest.mark.parametrize("distance", [0.0, 1e-12, 5e-4])
def test_two_atoms_on_one_spot(example: Example, calc, distance):
    atoms = example.structure()
    atoms.positions[5] = atoms.positions[2] + [0, 0, distance]
    with pytest.raises(AtomsOverlap, match="atoms 2 and 5 are") as error:
        calc.get_potential_energy(atoms)
    assert error.value.d == pytest.approx(distance, abs=1e-12)


@pytest.mark.parametrize("distance", [1.1e-3, 5e-3, 0.02, 0.1, 0.3, 0.6, 1.0])
def test_close_atoms_give_a_finite_number_or_an_error(example: Example, calc, distance):
    """Far inside every range of fitting: a number or NonFiniteResult, never NaN."""
    for a in calc.card.elements[:2]:
        for b in calc.card.elements[:2]:
            try:
                got = results(calc, Atoms([a, b, a], [[0, 0, 0], [0, 0, distance], [0, 2.3, 0]]))
            except NonFiniteResult as error:
                assert calc.card.name in str(error)
                continue
            assert np.isfinite(got["energy"]) and np.isfinite(got["forces"]).all()


def test_no_atoms(example: Example, calc):
    for atoms in (Atoms(), Atoms(cell=[5, 5, 5], pbc=True)):
        atoms.calc = calc
        assert atoms.get_potential_energy() == 0.0
        assert atoms.get_forces().shape == (0, 3)


def test_one_atom(example: Example, calc):
    """With or without a cell that is larger than the cutoff: the same energy, no force, no stress."""
    size = 2.0 * calc.card.cutoff + 1.0
    for element in calc.card.elements[:3]:
        free = results(calc, Atoms(element))
        boxed = results(calc, Atoms(element, cell=[size] * 3, pbc=True, positions=[[0.3, -7.0, 2e3]]))
        assert free["energy"] == pytest.approx(boxed["energy"], abs=1e-12)
        assert not free["forces"].any() and not boxed["forces"].any() and not np.abs(boxed["stress"]).max()


def test_far_apart_atoms_add_up(example: Example, calc):
    a, b = calc.card.elements[0], calc.card.elements[-1]
    pair = Atoms([a, b], [[0, 0, 0], [0, 0, calc.card.cutoff * 2 + 0.1]])
    alone = sum(results(calc, Atoms(x))["energy"] for x in (a, b))
    assert results(calc, pair)["energy"] == pytest.approx(alone, abs=1e-12)


def test_any_origin(example: Example, calc):
    """Atoms outside the cell, far outside, or the cell's contents moved as a whole."""
    atoms = example.structure()
    want = results(calc, atoms)
    rng = np.random.default_rng(3)
    outside = atoms.copy()
    outside.positions += rng.integers(-3, 4, (len(atoms), 3)) @ atoms.cell.array
    assert_same(results(calc, outside), want, 1e-10)
    moved = atoms.copy()
    moved.positions += [1234.5, -0.1, 77.7]
    assert_same(results(calc, moved), want, 1e-10)


@pytest.mark.parametrize("repeats", [(1, 1, 1), (1, 1, 2), (2, 1, 3)])
def test_cell_smaller_than_the_cutoff(example: Example, calc, repeats):
    """Down to one primitive cell: the energy per atom, and everything else, of its supercell."""
    small = example.structure(repeats, seed=7)
    large = small.repeat(3)
    got, want = results(calc, small), results(calc, large)
    n = len(small)
    assert got["energy"] / n == pytest.approx(want["energy"] / len(large), abs=1e-10 * max(1, abs(got["energy"] / n)))
    for copy in range(27):
        part = slice(copy * n, (copy + 1) * n)
        np.testing.assert_allclose(want["forces"][part], got["forces"], atol=1e-9 * max(1, np.abs(got["forces"]).max()))
    np.testing.assert_allclose(want["stress"], got["stress"], atol=1e-10 * max(1, np.abs(got["stress"]).max()))


@pytest.mark.parametrize("pbc", PBC, ids=lambda p: "".join("TF"[not x] for x in p))
def test_any_boundary_as_brute_force(example: Example, calc, pbc):
    atoms = example.structure((1, 2, 2), seed=11)
    atoms.pbc = pbc
    _agrees_with_brute_force(calc, atoms)


def test_left_handed_and_skewed_cells_as_brute_force(example: Example, calc):
    atoms = example.structure((1, 1, 2), seed=12)
    want = results(calc, atoms)
    left = atoms.copy()
    left.set_cell(atoms.cell.array[[1, 0, 2]])
    skewed = atoms.copy()
    skewed.set_cell(np.array([[1, 0, 0], [3, 1, 0], [-2, 4, 1]]) @ atoms.cell.array)
    for other in (left, skewed):
        assert_same(results(calc, other), want, 1e-10)
        _agrees_with_brute_force(calc, other)


def _agrees_with_brute_force(calc, atoms: Atoms) -> None:
    want, got = brute_force(calc, atoms), results(calc, atoms)
    assert abs(got["energy"] - want["energy"]) <= 1e-10 * max(1.0, abs(want["energy"]))
    np.testing.assert_allclose(got["forces"], want["forces"], atol=1e-9 * max(1.0, np.abs(want["forces"]).max()))
    if atoms.pbc.all():
        virial = want["virial"]
        stress = 0.5 * (virial + virial.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / atoms.get_volume()
        np.testing.assert_allclose(got["stress"], stress, atol=1e-9 * max(1.0, np.abs(stress).max()))


def test_rotated_crystal(example: Example, calc):
    atoms = example.structure()
    turn = rotation(np.random.default_rng(8))
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    got, want = results(calc, turned), results(calc, atoms)
    assert got["energy"] == pytest.approx(
        want["energy"], abs=1e-10 * len(atoms) * max(1, abs(want["energy"]) / len(atoms))
    )
    np.testing.assert_allclose(got["forces"], want["forces"] @ turn.T, atol=1e-9 * max(1, np.abs(want["forces"]).max()))


@pytest.mark.parametrize("pbc", [p for p in PBC if not all(p)], ids=lambda p: "".join("TF"[not x] for x in p))
def test_stress_without_three_periods(example: Example, calc, pbc):
    atoms = example.structure()
    atoms.pbc = pbc
    atoms.calc = calc
    with pytest.raises(PropertyNotImplementedError, match="periodic in all three directions"):
        atoms.get_stress()
    with pytest.raises(NotImplementedError):  # ASE's own class, which other codes catch
        calc.get_property("stress", atoms)


def test_periodic_without_a_cell(example: Example, calc):
    flat = example.structure()
    flat.set_cell(flat.cell.array[[0, 1, 1]])
    for atoms in (Atoms(calc.card.elements[0], pbc=True), flat):
        with pytest.raises(InvalidCell, match="cell vectors"):
            calc.get_potential_energy(atoms)


def test_too_large_for_memory(example: Example):
    small = example.calculator(max_memory_gib=1e-7)
    with pytest.raises(TooLarge, match="needs about .* GiB.*max_memory_gib"):
        small.get_potential_energy(example.structure())


def test_unknown_property(example: Example, calc):
    atoms = example.structure()
    with pytest.raises(PropertyNotImplementedError, match="does not compute 'magmoms'"):
        calc.get_property("magmoms", atoms)


def test_wrong_elements_and_options(example: Example):
    with pytest.raises(OptionError, match="no_such_option"):
        example.calculator(no_such_option=1)
    with pytest.raises(OptionError, match="'Xx' is not a chemical element"):
        get_calculator(**{**example.arguments(), "elements": ["Xx"]})
