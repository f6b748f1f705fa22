"""Every model that comes with the package: its card, its elements, and the promises of the other contract tests."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from calczoo import describe, get_calculator, list_calculators
from calczoo.core.card import Card
from calczoo.core.errors import UnsupportedElement
from calczoo.registry import get_family
from contract.examples import Example, bundled, bundled_names
from contract.helpers import assert_same, brute_force, derivative, results, rotation


@pytest.fixture(scope="module", params=bundled(), ids=str)
def model(request: pytest.FixtureRequest) -> Example:
    return request.param


@pytest.fixture(scope="module")
def fast(model: Example):
    return model.calculator()


def test_all_are_here():
    left_out = set(bundled_names()) - {m.spec for m in bundled()}
    assert "snap:Mo" in bundled_names() and {n.partition(":")[0] for n in left_out} <= {"hdnnp"}


@pytest.mark.parametrize("spec", bundled_names())
def test_card_tells_what_a_user_must_know(spec: str):
    card = describe(spec)
    assert card.level_of_theory != "unknown" and card.licence != "unknown"
    assert card.training_data and card.citation and card.doi and card.errors and card.files
    assert Card.from_dict(card.to_dict()) == card
    family, _, name = spec.partition(":")
    assert tuple(get_family(family).bundled_elements[name]) == card.elements
    assert spec in list_calculators(elements=card.elements)


def test_energy_forces_stress(model: Example, fast):
    """Finite, summing up, and derivatives of the energy."""
    atoms = model.structure(seed=31)
    got = results(fast, atoms)
    assert got["energies"].sum() == pytest.approx(got["energy"], rel=1e-12)
    np.testing.assert_allclose(got["forces"].sum(axis=0), 0.0, atol=1e-10)

    def moved(by: float) -> float:
        other = atoms.copy()
        other.positions[2, 1] += by
        return results(fast, other)["energy"]

    def strained(by: float) -> float:
        other = atoms.copy()
        other.set_cell(atoms.cell.array @ np.diag([1.0, 1.0, 1.0 + by]), scale_atoms=True)
        return results(fast, other)["energy"]

    assert got["forces"][2, 1] == pytest.approx(-derivative(moved, 2e-3)[0], abs=1e-6)
    assert got["stress"][2] == pytest.approx(derivative(strained, 5e-4)[0] / atoms.get_volume(), abs=1e-7)


def test_backends_precisions_and_batches(model: Example, fast):
    atoms = model.structure(seed=32)
    want = results(fast, atoms)
    assert_same(results(model.calculator(backend="torch"), atoms), want, 1e-10)
    assert_same(results(model.calculator(dtype="float32"), atoms), want, 2e-5, forces=False)
    small = model.structure(1, seed=33)
    for got, one in zip(fast.evaluate([atoms, small, atoms[:0]]), (atoms, small, atoms[:0]), strict=True):
        assert_same(got, results(fast, one), 1e-12)


def test_small_cells_boundaries_and_rotations(model: Example, fast):
    small = model.structure((1, 1, 2), seed=34)
    small.pbc = [True, False, True]
    want = brute_force(fast, small)
    assert results(fast, small)["energy"] == pytest.approx(want["energy"], abs=1e-10 * max(1.0, abs(want["energy"])))
    turn = rotation(np.random.default_rng(3))
    turned = small.copy()
    turned.set_cell(small.cell.array @ turn.T)
    turned.positions = small.positions @ turn.T
    np.testing.assert_allclose(results(fast, turned)["forces"], results(fast, small)["forces"] @ turn.T, atol=1e-8)


@pytest.mark.parametrize("distance", [0.05, 0.5, 1.0])
def test_atoms_that_come_close_repel(model: Example, fast, distance):
    """Bundled models have a repulsive core: the closer, the higher, down to where no data were."""
    element = fast.card.elements[0]
    near, far = (
        results(fast, Atoms([element] * 2, [[0, 0, 0], [0, 0, d]]))["energy"] for d in (distance, 1.2 * distance)
    )
    assert near > far


def test_foreign_elements_are_refused(model: Example, fast):
    with pytest.raises(UnsupportedElement, match="calczoo list --elements Rn"):
        fast.get_potential_energy(Atoms("Rn"))


def test_the_crystal_is_a_minimum(model: Example):
    """The reference crystal of the element relaxes to a lattice constant near the one it is known for."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE2

    atoms = model.structure(1, rattle=0.0, seed=35)
    volume = atoms.get_volume()
    atoms.calc = get_calculator(model.spec)
    with FIRE2(FrechetCellFilter(atoms), logfile=None) as optimizer:
        assert optimizer.run(fmax=1e-3, steps=300)
    assert atoms.get_volume() == pytest.approx(volume, rel=0.12)
