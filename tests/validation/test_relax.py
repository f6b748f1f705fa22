"""Batched relaxation: against ASE's optimiser, per-structure convergence, honest failure."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from calczoo_validation import EvaluationError, Evaluator, relax
from calczoo_validation.strain import strained
from calczoo_validation.symmetry import Symmetry


def rattled(rng, size=0.05):
    atoms = bulk("Cu", a=3.62, cubic=True).repeat((2, 1, 1))
    atoms.positions += rng.normal(scale=size, size=atoms.positions.shape)
    return strained(atoms, 0.02 * (lambda m: m + m.T)(rng.normal(size=(3, 3))) / 2)


@pytest.mark.parametrize("cell", ["fixed", "full"])
def test_finds_the_minimum_that_ase_finds(emt, rng, cell):
    start = rattled(rng)
    (ours,) = relax(Evaluator(emt), [start], cell=cell, fmax=1e-5, smax=1e-7)
    theirs = start.copy()
    theirs.calc = EMT()
    target = FrechetCellFilter(theirs) if cell == "full" else theirs
    BFGS(target, logfile=None).run(fmax=1e-5, steps=500)
    assert ours.converged
    assert ours.energy == pytest.approx(theirs.get_potential_energy(), abs=1e-7)
    assert ours.atoms.get_volume() == pytest.approx(theirs.get_volume(), rel=1e-5)


def test_gradient_of_the_cell_coordinates_is_the_derivative_of_the_energy(emt, rng):
    from calczoo_validation.relax import _Job

    job = _Job(rattled(rng), "full", 1e-4, 1e-6, None, 1e-6, None)
    job.x[-9:] = (lambda m: (m + m.T).ravel())(rng.normal(scale=0.1, size=(3, 3))) * job.scale
    evaluator = Evaluator(emt)

    def energy(x):
        return evaluator.evaluate([job.atoms_at(x)])[0]["energy"]

    (result,) = evaluator.evaluate([job.atoms_at(job.x)], ("energy", "forces", "stress"))
    gradient, _, _ = job._gradient(job.x, result)
    for direction in (0, 5, 20, -9, -8, -1):
        step = np.zeros_like(job.x)
        if direction == -8:  # off-diagonal entries move together
            step[-8] = step[-6] = 1e-4
        else:
            step[direction] = 1e-4
        slope = (energy(job.x + step) - energy(job.x - step)) / 2e-4
        assert slope == pytest.approx(gradient @ step / 1e-4, abs=2e-6)


def test_batch_equals_single_and_each_has_its_own_convergence(emt, rng):
    starts = [rattled(rng, s) for s in (0.0, 0.02, 0.08)]
    together = relax(Evaluator(emt), starts, cell="full", fmax=1e-4)
    alone = [relax(Evaluator(emt), [s], cell="full", fmax=1e-4)[0] for s in starts]
    for a, b in zip(together, alone, strict=True):
        assert a.energy == b.energy and a.steps == b.steps
        np.testing.assert_array_equal(a.atoms.positions, b.atoms.positions)
    assert len({r.steps for r in together}) > 1


def test_fixed_volume_keeps_the_volume(emt, rng):
    start = rattled(rng)
    (r,) = relax(Evaluator(emt), [start], cell="volume", fmax=1e-4, smax=1e-6)
    assert r.converged
    assert r.atoms.get_volume() == pytest.approx(start.get_volume(), rel=1e-12)
    deviator = r.stress[:3] - r.stress[:3].mean()
    assert np.abs(np.r_[deviator, r.stress[3:]]).max() < 1e-6


def test_symmetric_relaxation_keeps_an_unstable_space_group(emt):
    (r,) = relax(Evaluator(emt), [bulk("Cu", "bcc", a=2.9)], cell="full", symmetric=True)
    assert r.converged
    assert Symmetry(r.atoms, 1e-6).number == 229


def test_discontinuous_energy_is_not_called_converged(wrapped, rng):
    def steps_up(results, atoms):
        jump = 0.01 * round(float(np.sin(atoms.positions.sum() * 1e5)), 0)
        return {**results, "energy": results["energy"] + jump, "forces": results["forces"] + 0.05}

    (r,) = relax(Evaluator(wrapped(change=steps_up)), [rattled(rng)], fmax=1e-5, max_steps=60)
    assert not r.converged
    assert r.reason


def test_step_limit_is_reported(emt, rng):
    (r,) = relax(Evaluator(emt), [rattled(rng)], fmax=1e-8, max_steps=2)
    assert not r.converged and "2 steps" in r.reason


def test_non_finite_results_are_never_passed_on(wrapped):
    def broken(results, atoms):
        return {**results, "energy": np.nan}

    def only_nickel(results, atoms):
        return broken(results, atoms) if "Ni" in atoms.symbols else results

    with pytest.raises(EvaluationError, match="structure 1 .*energy is not finite"):
        Evaluator(wrapped(change=only_nickel)).evaluate([bulk("Cu"), bulk("Ni")])


def test_numerical_stress_agrees_with_the_analytic_one(emt, no_stress, rng):
    atoms = rattled(rng)
    (exact,) = Evaluator(emt).evaluate([atoms], ("energy", "stress"))
    (numerical,) = Evaluator(no_stress()).evaluate([atoms], ("energy", "stress"))
    np.testing.assert_allclose(numerical["stress"], exact["stress"], atol=2e-6)


def test_symmetry_projection_is_idempotent_and_harmless(emt):
    atoms = bulk("Cu", "hcp", a=2.56)
    symmetry = Symmetry(atoms)
    c = np.random.default_rng(0).normal(size=(6, 6))
    once = symmetry.elastic(c)
    np.testing.assert_allclose(symmetry.elastic(once), once, atol=1e-12)
    assert once[5, 5] == pytest.approx((once[0, 0] - once[0, 1]) / 2)
