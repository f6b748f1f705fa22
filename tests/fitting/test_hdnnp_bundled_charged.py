"""The bundled teaching model of generation 4, carbon chains: loads offline, errors as measured, what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from calczoo import get_calculator, list_calculators
from calczoo.families.hdnnp.bundle_charged import NAME, data_sets
from calczoo.fitting.errors import compare, evaluate
from data import shared

LIMITS = {"energy": 1.5, "forces": 0.11, "charges": 0.009}
"""RMSE on the structures held out: meV/atom, eV/A, e."""


@pytest.fixture(scope="module")
def calc():
    return get_calculator(f"hdnnp:{NAME}", extrapolation="ignore")


def chain(protons=0):
    """C10H2, H-C=C ... C-H along x with triple bonds at the ends; its left end takes the proton."""
    x = np.concatenate([[0.0], np.cumsum([1.22 if k % 2 == 0 else 1.35 for k in range(9)])])
    positions = [[v, 0, 0] for v in x]
    right = [x[-1] + 1.07, 0, 0]
    left = [[-1.07, 0, 0]] if not protons else [[-0.55, 0.94, 0], [-0.55, -0.94, 0]]
    return Atoms("C10" + "H" * (1 + len(left)), positions=[*positions, right, *left], info={"charge": float(protons)})


def charges(calc, atoms):
    atoms = atoms.copy()
    atoms.calc = calc
    atoms.get_potential_energy()
    return calc.results["charges"]


def test_it_is_listed_and_says_what_it_is(calc):
    assert f"hdnnp:{NAME}" in list_calculators("hdnnp:*")
    told = calc.card.training_data
    assert "teaching model" in told and "128" in told and calc.card.extra["generation"] == 4


def test_charge_goes_across_the_chain_when_one_end_is_protonated(calc):
    """The right half of the chain is the same in both molecules, and far outside every cutoff of the left end."""
    plain, ion = chain(), chain(1)
    right = [8, 9, 10]
    np.testing.assert_allclose(plain.positions[right], ion.positions[right])
    assert calc.model.cutoff < ion.get_distances(10, [11, 12]).min() - 5.0
    a, b = charges(calc, plain), charges(calc, ion)
    assert a.sum() == pytest.approx(0.0, abs=1e-9) and b.sum() == pytest.approx(1.0, abs=1e-9)
    # atoms there see no difference with their symmetry functions, and carry more charge nevertheless
    assert (b[right] - a[right]).sum() > 0.05
    # without the total charge, that of another molecule of the same shape, it would not be there
    neutral = ion.copy()
    neutral.info["charge"] = 0.0
    assert charges(calc, neutral)[right].sum() < b[right].sum() - 0.05


@pytest.mark.parametrize("protons", [0, 1])
def test_forces_are_derivatives_of_the_energy(calc, protons):
    atoms = chain(protons)
    atoms.rattle(0.02, seed=3)
    atoms.calc = calc
    forces = atoms.get_forces()
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-8)
    h = 1e-3
    for i, x in ((0, 0), (9, 1), (10, 2), (len(atoms) - 1, 0)):
        slope = 0.0
        for steps, weight in ((-2, 1.0), (-1, -8.0), (1, 8.0), (2, -1.0)):
            moved = atoms.copy()
            moved.positions[i, x] += steps * h
            moved.calc = calc
            slope += weight * moved.get_potential_energy() / (12.0 * h)
        assert forces[i, x] == pytest.approx(-slope, abs=1e-6)


def test_errors_on_the_structures_held_out(calc):
    path = shared("data/hdnnp/n2p2/nnp-train_4G/Carbon_chain_4G/input.data")
    _, test = data_sets(path)
    table = compare(test, evaluate(calc.model, test))
    for kind, most in LIMITS.items():
        assert table.get(kind, "rmse") < most
        told = calc.card.errors["test"]["groups"]["all"][kind]["rmse"]
        assert table.get(kind, "rmse") == pytest.approx(told, rel=1e-6)


def test_the_far_end_is_that_of_the_reference(calc):
    """The charge of the CH end without the proton, mean over structures held out: reference and model."""
    _, test = data_sets(shared("data/hdnnp/n2p2/nnp-train_4G/Carbon_chain_4G/input.data"))
    ends: dict[str, list[tuple[float, float]]] = {}
    for atoms, found in zip(test.structures, evaluate(calc.model, test), strict=True):
        far = atoms.get_all_distances()
        carbons = np.flatnonzero(atoms.numbers == 6)
        bound = {h: carbons[np.argmin(far[h, carbons])] for h in np.flatnonzero(atoms.numbers == 1)}
        for h, c in bound.items():
            if list(bound.values()).count(c) == 1:
                pair = [h, c]
                ends.setdefault(atoms.info["config_type"], []).append(
                    (atoms.calc.results["charges"][pair].sum(), found["charges"][pair].sum())
                )
    (plain, plain_model), (ion, ion_model) = (np.mean(ends[k], axis=0) for k in ("C10H2", "C10H3+"))
    assert ion - plain > 0.05
    assert ion_model - plain_model == pytest.approx(ion - plain, rel=0.2)
