"""Batched relaxation: against ASE's optimiser, per-structure convergence, honest failure."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa
from hypothesis import given, settings
from hypothesis import strategies as st

from calczoo import get_calculator
from calczoo.core.errors import OptionError, PropertyNotImplementedError
from calczoo_validation import EvaluationError, Evaluator, relax
from calczoo_validation.hessian import hessian
from calczoo_validation.strain import strained
from calczoo_validation.symmetry import Symmetry


def rattled(rng, size=0.05):
    atoms = bulk("Cu", a=3.62, cubic=True).repeat((2, 1, 1))
    atoms.positions += rng.normal(scale=size, size=atoms.positions.shape)
    return strained(atoms, 0.02 * (lambda m: m + m.T)(rng.normal(size=(3, 3))) / 2)


@pytest.mark.parametrize("cell", ["fixed", "full"])
@pytest.mark.parametrize("method", ["lbfgs", "fire"])
def test_finds_the_minimum_that_ase_finds(emt, rng, cell, method):
    start = rattled(rng)
    (ours,) = relax(Evaluator(emt), [start], cell=cell, fmax=1e-5, smax=1e-7, method=method, max_steps=600)
    assert ours.method == method and ours.enthalpy == ours.energy
    theirs = start.copy()
    theirs.calc = EMT()
    target = FrechetCellFilter(theirs) if cell == "full" else theirs
    BFGS(target, logfile=None).run(fmax=1e-5, steps=500)
    assert ours.converged
    assert ours.energy == pytest.approx(theirs.get_potential_energy(), abs=1e-7)
    assert ours.atoms.get_volume() == pytest.approx(theirs.get_volume(), rel=1e-5)


@pytest.mark.parametrize("cell", ["full", "volume", "z", (True, True, False, False, True, True)], ids=str)
@pytest.mark.parametrize("pressure", [0.0, 0.03])
def test_gradient_of_the_coordinates_is_the_derivative_of_the_enthalpy(emt, rng, cell, pressure):
    from calczoo_validation.relax import _cell_freedom, _Job

    pressure = 0.0 if cell == "volume" else pressure
    job = _Job(rattled(rng), _cell_freedom(cell, pressure), 1e-4, 1e-6, None, 1e-6)
    allowed = job.freedom.log((lambda m: m + m.T)(rng.normal(scale=0.1, size=(3, 3))))
    job.x[-9:] = allowed.ravel() * job.scale
    evaluator = Evaluator(emt)

    def enthalpy(x):
        atoms = job.atoms_at(x)
        return evaluator.evaluate([atoms])[0]["energy"] + pressure * atoms.get_volume()

    (result,) = evaluator.evaluate([job.atoms_at(job.x)], ("energy", "forces", "stress"))
    gradient, _, _, work = job._gradient(job.x, result)
    assert result["energy"] + work == pytest.approx(enthalpy(job.x), abs=1e-10)
    for k in range(8):
        step = np.zeros_like(job.x)
        if k < 3:
            step[5 * k] = 1e-4
        else:
            direction = job.freedom.log((lambda m: m + m.T)(rng.normal(size=(3, 3))))
            step[-9:] = 1e-4 * direction.ravel() / np.abs(direction).max()
        slope = (enthalpy(job.x + step) - enthalpy(job.x - step)) / 2e-4
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


def test_fire_takes_over_where_the_line_search_fails(wrapped, rng):
    """The forces are right, but the energy creeps up with every call: no quasi-Newton step is accepted."""
    calls = []

    def creeps(results, atoms):
        calls.append(1)
        return {**results, "energy": results["energy"] + 0.05 * len(calls)}

    starts = [rattled(rng), rattled(rng)]
    got = relax(Evaluator(wrapped(change=creeps)), starts, fmax=1e-4, max_steps=500)
    for r, start in zip(got, starts, strict=True):
        (smooth,) = relax(Evaluator(EMT()), [start], fmax=1e-5)
        assert smooth.method == "lbfgs" and r.method == "lbfgs, fire"
        assert r.converged and r.fmax <= 1e-4
        np.testing.assert_allclose(r.atoms.positions, smooth.atoms.positions, atol=1e-3)


def test_held_atoms_stay_and_the_others_relax(emt, rng):
    starts = [rattled(rng), rattled(rng)]
    masks = [np.arange(8) < 3, None]
    held, free = relax(Evaluator(emt), starts, fmax=1e-4, fixed=masks)
    np.testing.assert_array_equal(held.atoms.positions[:3], starts[0].positions[:3])
    assert held.converged and free.converged
    assert np.linalg.norm(held.forces[:3], axis=1).max() > 1e-2 > np.linalg.norm(held.forces[3:], axis=1).max()
    assert held.energy > relax(Evaluator(emt), starts[:1], fmax=1e-4)[0].energy


@pytest.mark.parametrize("method", ["lbfgs", "fire"])
def test_projection_lets_atoms_move_along_one_direction_only(emt, rng, method):
    start = rattled(rng)
    normal = np.array([1.0, 2.0, -1.0]) / 6**0.5
    (r,) = relax(
        Evaluator(emt), [start], fmax=1e-4, project=[lambda v: (v @ normal)[:, None] * normal], method=method,
    )  # fmt: skip
    moved = r.atoms.positions - start.positions
    assert r.converged and np.abs(moved @ normal).max() > 1e-3
    np.testing.assert_allclose(moved - np.outer(moved @ normal, normal), 0, atol=1e-12)
    assert np.abs(r.forces @ normal).max() <= 1e-4 < np.abs(r.forces).max()


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_stretch_along_one_axis_only(emt, axis):
    start = bulk("Cu", a=3.7, cubic=True)
    k = "xyz".index(axis)
    (r,) = relax(Evaluator(emt), [start], cell=axis, smax=1e-6)
    change = r.atoms.cell.array / start.cell.array.max()
    assert r.converged and abs(r.stress[k]) <= 1e-6 < np.abs(r.stress[:3]).max()
    assert change[k, k] < 0.99
    change[k, k] = 1.0
    np.testing.assert_allclose(change, np.eye(3), atol=1e-13)
    mask = [n == k for n in range(6)]
    (same,) = relax(Evaluator(emt), [start], cell=mask, smax=1e-6)
    np.testing.assert_array_equal(same.atoms.cell.array, r.atoms.cell.array)


def test_outer_pressure_is_the_pressure_of_the_relaxed_cell(emt):
    pressure = 5.0 * GPa
    (r,) = relax(Evaluator(emt), [bulk("Cu", a=3.6)], cell="full", smax=1e-7, pressure=pressure)
    assert r.converged and r.smax <= 1e-7
    np.testing.assert_allclose(r.stress, [-pressure] * 3 + [0] * 3, atol=2e-7)
    assert r.enthalpy == pytest.approx(r.energy + pressure * r.atoms.get_volume(), abs=1e-12)
    (free,) = relax(Evaluator(emt), [bulk("Cu", a=3.6)], cell="full", smax=1e-7)
    work = r.energy - free.energy
    assert 0 < work < pressure * (free.atoms.get_volume() - r.atoms.get_volume())


CHOICE = st.tuples(st.integers(1, 3), st.floats(0, 0.1), st.booleans(), st.booleans(), st.booleans())


@given(
    st.lists(CHOICE, min_size=2, max_size=4), st.sampled_from(["fixed", "full", "volume", "z"]), st.integers(0, 99)
)  # fmt: skip
@settings(max_examples=12)
def test_any_batch_equals_its_structures_alone(batched, choices, cell, seed):
    """Sizes, disorder, minimiser, held atoms and projections mixed at random; identical to the last bit."""
    rng = np.random.default_rng(seed)
    starts, masks, projections, methods = [], [], [], []
    for repeats, size, fire, hold, project in choices:
        atoms = bulk("Cu", a=3.65, cubic=True).repeat((repeats, 1, 1))
        atoms.positions += rng.normal(scale=size, size=atoms.positions.shape)
        starts.append(atoms)
        masks.append(rng.random(len(atoms)) < 0.3 if hold else None)
        projections.append((lambda v: v * [1.0, 1.0, 0.0]) if project else None)
        methods.append("fire" if fire else "lbfgs")
    common = {"cell": cell, "fmax": 1e-2, "smax": 1e-4, "max_steps": 25}
    together = relax(Evaluator(batched()), starts, fixed=masks, project=projections, method=methods, **common)
    for k, got in enumerate(together):
        (alone,) = relax(
            Evaluator(batched()), [starts[k]], fixed=[masks[k]], project=[projections[k]], method=methods[k], **common
        )
        assert (got.energy, got.steps, got.converged, got.method) == (
            alone.energy, alone.steps, alone.converged, alone.method,
        )  # fmt: skip
        np.testing.assert_array_equal(got.atoms.positions, alone.atoms.positions)
        np.testing.assert_array_equal(got.atoms.cell.array, alone.atoms.cell.array)


def test_zoo_batch_equals_its_structures_alone(rng):
    evaluator = Evaluator(get_calculator("snap:Mo", threads=1))
    starts = []
    for size in (1, 2):
        atoms = bulk("Mo", cubic=True).repeat((size, 1, 1))
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        starts.append(atoms)
    together = relax(evaluator, starts, cell="full", fmax=1e-4)
    for got, start in zip(together, starts, strict=True):
        (alone,) = relax(evaluator, [start], cell="full", fmax=1e-4)
        assert got.converged and got.steps == alone.steps
        assert got.energy == pytest.approx(alone.energy, abs=1e-10)
        np.testing.assert_allclose(got.atoms.positions, alone.atoms.positions, rtol=0, atol=1e-10)


@pytest.mark.parametrize("wrong, match", [
    ({"cell": "c"}, "cell='c'; allowed"),
    ({"cell": (True, False)}, "six booleans"),
    ({"cell": "volume", "pressure": 0.1}, "pressure=0.1 eV/A"),
    ({"method": "cg"}, "method='cg'"),
    ({"fixed": [None, None]}, "fixed has 2 entries for 1"),
    ({"fixed": [[0, 1]]}, "expected \\(1,\\) booleans"),
])  # fmt: skip
def test_wrong_options_are_refused(emt, wrong, match):
    with pytest.raises(OptionError, match=match):
        relax(Evaluator(emt), [bulk("Cu")], **wrong)


@pytest.mark.parametrize("method", ["lbfgs", "fire"])
def test_calculator_that_fails_on_the_way_is_reported(wrapped, rng, method):
    def closed(results, atoms):
        if not np.array_equal(atoms.positions, start.positions):
            raise RuntimeError("out of range")
        return results

    start = rattled(rng)
    (r,) = relax(Evaluator(wrapped(change=closed)), [start], fmax=1e-4, method=method)
    assert not r.converged and "out of range" in r.reason
    np.testing.assert_array_equal(r.atoms.positions, start.positions)


def test_bookkeeping_costs_little(rng):
    """Well below a millisecond for a step of one structure: the calculator's time should be what counts."""

    class Springs:
        def evaluate(self, structures, properties=("energy", "forces")):
            out = []
            for atoms in structures:
                x = atoms.positions
                stiff = 1.0 + np.arange(x.size).reshape(x.shape)
                out.append({"energy": float((stiff * x**2).sum() / 2), "forces": -stiff * x})
            return out

    starts = [Atoms("H20", rng.normal(size=(20, 3))) for _ in range(50)]
    begin = time.process_time()
    got = relax(Evaluator(Springs()), starts, fmax=1e-5, max_steps=100)
    steps = sum(r.steps for r in got)
    assert all(r.converged for r in got) and steps > 500
    assert (time.process_time() - begin) / steps < 1e-3


# -- Hessians ------------------------------------------------------------------------------------------------


def test_hessian_of_any_calculator(emt, rng):
    atoms = rattled(rng)
    got = hessian(Evaluator(emt), atoms)
    assert got.method == "differences" and got.matrix.shape == (24, 24) and got.asymmetry < 1e-5
    rows = hessian(Evaluator(emt), atoms, [5, 0])
    np.testing.assert_allclose(rows.matrix, got.matrix.reshape(8, 3, 24)[[5, 0]].reshape(6, 24), atol=1e-6)
    step = atoms.copy()
    step.positions[2, 1] += 1e-4
    back = atoms.copy()
    back.positions[2, 1] -= 1e-4
    f = [r["forces"] for r in Evaluator(emt).evaluate([back, step])]
    np.testing.assert_allclose(got.matrix[7], (f[0] - f[1]).ravel() / 2e-4, atol=1e-4)
    with pytest.raises(PropertyNotImplementedError, match="no analytic second derivatives"):
        hessian(Evaluator(emt), atoms, method="analytic")


def test_analytic_hessian_is_used_where_there_is_one():
    calc = get_calculator("snap:Mo", threads=1)
    atoms = bulk("Mo", cubic=True)
    atoms.rattle(0.05, seed=1)
    evaluator = Evaluator(calc)
    exact = hessian(evaluator, atoms)
    assert exact.method == "analytic" and evaluator.structures == 0
    rough = hessian(evaluator, atoms, method="differences")
    assert rough.method == "differences" and evaluator.structures == 24
    np.testing.assert_allclose(rough.matrix, exact.matrix, atol=1e-5)

    class Foreign:
        def get_hessian(self, atoms):
            return exact.matrix.reshape(6, 2, 3)

    np.testing.assert_array_equal(hessian(Evaluator(Foreign()), atoms).matrix, exact.matrix)
    np.testing.assert_array_equal(hessian(Evaluator(Foreign()), atoms, [1]).matrix, exact.matrix[3:])


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
