"""The promises of the other contract tests, as far as they make sense for interactions that no cutoff bounds.

An isolated ion in a large cell is not the isolated ion, a structure periodic in one or two directions is refused, and
there are no site energies whose gradients could be handed out pair by pair. All else is held to the same tests, which
are imported here and run with the models of `LONG_RANGE`.
"""

from __future__ import annotations

import numpy as np
import pytest

from calczoo.calculator import ZooCalculator
from calczoo.core.errors import InvalidStructure
from contract.examples import Example
from contract.helpers import assert_same, results
from contract.test_bad_input import (  # noqa: F401
    test_any_origin,
    test_cell_smaller_than_the_cutoff,
    test_close_atoms_give_a_finite_number_or_an_error,
    test_no_atoms,
    test_not_finite,
    test_periodic_without_a_cell,
    test_rotated_crystal,
    test_stress_without_three_periods,
    test_two_atoms_on_one_spot,
    test_unknown_element,
    test_unknown_property,
    test_wrong_elements_and_options,
)
from contract.test_interface import (  # noqa: F401
    test_ase_interface,
    test_batch_is_a_loop,
    test_cuda_agrees_with_cpu,
    test_cuda_float32_is_close,
    test_dynamics_conserves_energy,
    test_float32_is_close,
    test_force_is_the_derivative_of_the_energy,
    test_only_what_is_asked_for,
    test_results_do_not_belong_to_the_caller,
    test_stress_is_the_derivative_of_the_energy,
)
from contract.test_reuse import fingerprint, test_threads_at_once  # noqa: F401
from contract.test_symmetry import test_rotation_translation_inversion_permutation  # noqa: F401

PARTLY = [(True, True, False), (False, False, True)]


@pytest.mark.parametrize("pbc", PARTLY)
def test_partly_periodic_structures_are_refused(example: Example, calc, pbc):
    atoms = example.structure()
    atoms.pbc = pbc
    with pytest.raises(InvalidStructure, match="open or periodic in all three directions"):
        calc.get_potential_energy(atoms)


def test_torch_and_warp_agree(example: Example):
    reference, fast = example.calculator(backend="torch"), example.calculator(backend="warp")
    cluster = example.structure(rattle=0.15, seed=2)
    cluster.pbc = False
    for atoms in (example.structure(), cluster):
        assert_same(results(fast, atoms), results(reference, atoms), 1e-10)


def test_left_handed_and_skewed_cells(example: Example, calc):
    atoms = example.structure((1, 1, 2), seed=12)
    want = results(calc, atoms)
    for rows in ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [3, 1, 0], [-2, 4, 1]]):
        other = atoms.copy()
        other.set_cell(np.array(rows) @ atoms.cell.array)
        assert_same(results(calc, other), want, 1e-10)


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
        atoms.get_forces()
        assert_same(calc.results, results(ZooCalculator(calc.model), atoms), 1e-12)


def test_bitwise_the_same_with_other_threads(example: Example, monkeypatch):
    import torch

    want, before = fingerprint(example, 1), torch.get_num_threads()
    try:
        for threads in (2, 3):
            monkeypatch.setenv("CALCZOO_NUM_THREADS", str(threads))
            torch.set_num_threads(threads)
            assert fingerprint(example, threads) == want
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
