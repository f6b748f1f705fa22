"""The promises of the other contract tests, as far as they make sense for families that another package computes.

There are no kernels and no pair gradients of ours; all else is held to the same tests, which are imported here and run
with the models of `WRAPPED`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calczoo.calculator import ZooCalculator
from contract.examples import Example
from contract.helpers import ALL, assert_same, results
from contract.test_bad_input import (  # noqa: F401
    test_any_origin,
    test_close_atoms_give_a_finite_number_or_an_error,
    test_no_atoms,
    test_not_finite,
    test_periodic_without_a_cell,
    test_rotated_crystal,
    test_two_atoms_on_one_spot,
    test_unknown_element,
    test_unknown_property,
    test_wrong_elements_and_options,
)
from contract.test_interface import (  # noqa: F401
    test_ase_interface,
    test_dynamics_conserves_energy,
    test_float32_is_close,
    test_force_is_the_derivative_of_the_energy,
    test_only_what_is_asked_for,
    test_results_do_not_belong_to_the_caller,
    test_stress_is_the_derivative_of_the_energy,
)
from contract.test_reuse import fingerprint, test_threads_at_once  # noqa: F401
from contract.test_symmetry import test_rotation_translation_inversion_permutation  # noqa: F401


@pytest.fixture(autouse=True)
def needs_its_package(example: Example):
    pytest.importorskip(f"dft{example.family}.interface", reason="the package is not installed (extra 'dispersion')")


SUPERCELL = {"d3": 1e-12, "d4": 1e-3}
"""How well (eV/atom, eV/A, eV/A^3) a cell and its supercell agree: dftd4 sums over some cells only for charges."""


@pytest.mark.parametrize("repeats", [(1, 1, 1), (1, 1, 2), (2, 1, 3)])
def test_cell_smaller_than_the_cutoff(example: Example, calc, repeats):
    small = example.structure(repeats, seed=7)
    got, want = results(calc, small), results(calc, small.repeat(3))
    n, tolerance = len(small), SUPERCELL[example.family]
    assert got["energy"] / n == pytest.approx(want["energy"] / (27 * n), abs=tolerance)
    np.testing.assert_allclose(want["forces"], np.tile(got["forces"], (27, 1)), rtol=0, atol=tolerance)
    np.testing.assert_allclose(want["stress"], got["stress"], rtol=0, atol=tolerance)


def test_left_handed_and_skewed_cells(example: Example, calc):
    atoms = example.structure((1, 1, 2), seed=12)
    want = results(calc, atoms)
    for rows in ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [3, 1, 0], [-2, 4, 1]]):
        other = atoms.copy()
        other.set_cell(np.array(rows) @ atoms.cell.array)
        assert_same(results(calc, other), want, 1e-10)


def test_batch_is_a_loop(example: Example, calc):
    """Per-atom energies are there for those who ask."""
    cluster = example.structure(seed=4)
    cluster.pbc = False
    crystals = [example.structure(), example.structure((1, 1, 3), seed=5)]
    for many, names in ((crystals, ALL), ([cluster, cluster[:0], cluster[:1]], ALL[:3])):
        for atoms, got in zip(many, calc.evaluate(many, names), strict=True):
            assert_same(got, results(calc, atoms), 1e-12)


def test_reused_as_fresh(example: Example):
    calc = example.calculator()
    start = example.structure()
    cluster = start.copy()
    cluster.pbc = False
    squeezed = start.copy()
    squeezed.set_cell(start.cell * 0.97, scale_atoms=True)
    for atoms in (start, start[::-1], cluster, start[:3], example.structure(3, seed=9), squeezed, start[:0], start):
        atoms = atoms.copy()
        atoms.calc = calc
        got = {"forces": atoms.get_forces(), "energies": atoms.get_potential_energies()}
        got |= {"energy": atoms.get_potential_energy()} | ({"stress": atoms.get_stress()} if atoms.pbc.all() else {})
        assert_same(got, results(ZooCalculator(calc.model), atoms), 1e-12)


def test_the_same_with_other_threads(example: Example, monkeypatch):
    """Bitwise with one thread, and to rounding with more; torch's own setting stays as it was."""
    atoms = example.structure()
    want, before = fingerprint(example, 1), torch.get_num_threads()
    assert fingerprint(example, 1) == want
    one = results(example.calculator(), atoms)
    try:
        for threads in (2, 3):
            monkeypatch.setenv("CALCZOO_NUM_THREADS", str(threads))
            torch.set_num_threads(threads)
            assert_same(results(example.calculator(threads=threads), atoms), one, 1e-12)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
