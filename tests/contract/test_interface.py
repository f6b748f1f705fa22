"""What ASE and everybody else may rely on, for every family."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.calculator import BaseCalculator
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from contract.examples import Example
from contract.helpers import assert_same, derivative, results, with_cell


def test_ase_interface(example: Example, calc):
    atoms = example.structure()
    atoms.calc = calc
    assert isinstance(calc, BaseCalculator)
    assert {"energy", "free_energy", "energies", "forces", "stress"} <= set(calc.implemented_properties)
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    energies = atoms.get_potential_energies()
    assert isinstance(energy, float) and np.isfinite(energy)
    assert forces.shape == (len(atoms), 3) and stress.shape == (6,) and energies.shape == (len(atoms),)
    assert forces.dtype == stress.dtype == energies.dtype == np.float64
    assert atoms.get_potential_energy(force_consistent=True) == energy == calc.results["free_energy"]
    assert energies.sum() == pytest.approx(energy, rel=1e-12, abs=1e-10)
    assert np.abs(forces).max() > 1e-4, "the test structure must have forces"
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-11 * max(1.0, np.abs(forces).max()) * len(atoms))
    assert atoms.get_stress(voigt=False).shape == (3, 3)


def test_results_do_not_belong_to_the_caller(example: Example, calc):
    """Writing into an array that was handed out changes nothing."""
    atoms = example.structure()
    atoms.calc = calc
    first = atoms.get_forces().copy()
    atoms.get_forces()[:] = 7.0
    np.testing.assert_array_equal(atoms.get_forces(), first)


@pytest.mark.parametrize("atom, direction", [(0, 0), (3, 1), (-1, 2)])
def test_force_is_the_derivative_of_the_energy(example: Example, calc, atom, direction):
    atoms = example.structure()
    forces = results(calc, atoms)["forces"]

    def energy(by: float) -> float:
        moved = atoms.copy()
        moved.positions[atom, direction] += by
        return results(calc, moved)["energy"]

    slope, error = derivative(energy, 2e-3)
    allowed = example.gradient * max(1.0, np.abs(forces).max()) + min(10 * error, 1e-5)
    assert abs(forces[atom, direction] + slope) <= allowed


@pytest.mark.parametrize("voigt, pair", list(enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)])))
def test_stress_is_the_derivative_of_the_energy(example: Example, calc, voigt, pair):
    atoms = example.structure()
    stress = results(calc, atoms)["stress"]

    def energy(by: float) -> float:
        strain = np.eye(3)
        strain[pair] += by / 2
        strain[pair[::-1]] += by / 2
        return results(calc, with_cell(atoms, atoms.cell.array @ strain))["energy"]

    slope, error = derivative(energy, 5e-4)
    volume = atoms.get_volume()
    allowed = example.gradient * max(1.0, np.abs(stress).max()) + min(10 * error, 1e-3) / volume
    assert abs(stress[voigt] - slope / volume) <= allowed


def test_torch_and_warp_agree(example: Example):
    """The reference and the fast backend, on a crystal, a cluster and a mixed cell."""
    reference, fast = example.calculator(backend="torch"), example.calculator(backend="warp")
    cluster = example.structure(rattle=0.15, seed=2)
    cluster.pbc = False
    wire = example.structure((1, 2, 3), seed=3)
    wire.pbc = [True, False, True]
    for atoms in (example.structure(), cluster, wire):
        assert_same(results(fast, atoms), results(reference, atoms), 1e-10)


def test_pair_gradients_of_both_backends_agree(example: Example):
    import torch

    from calczoo.core.pairs import find_pairs
    from calczoo.core.system import System

    out = []
    for backend in ("torch", "warp"):
        model = example.calculator(backend=backend).model
        system = System.from_atoms(example.structure())
        pairs = find_pairs(system, model.cutoff)
        got = model.compute(system, pairs, frozenset({"energy", "pair_gradients", "virials", "virial", "forces"}))
        assert got.pair_gradients.shape == (pairs.n_pairs, 3)
        torch.testing.assert_close(got.virials.sum(dim=0), got.virial[0], rtol=1e-11, atol=1e-9)
        out.append(got.pair_gradients)
    torch.testing.assert_close(out[0], out[1], rtol=1e-9, atol=1e-9)


def test_batch_is_a_loop(example: Example, calc):
    """Crystals, a cluster, nothing, one atom: one batched call gives what one call each gives."""
    cluster = example.structure(seed=4)
    cluster.pbc = False
    many = [example.structure(), cluster, cluster[:0], cluster[:1], example.structure((1, 1, 3), seed=5)]
    batch = calc.evaluate(many)
    for atoms, got in zip(many, batch, strict=True):
        assert_same(got, results(calc, atoms), 1e-12)


def test_only_what_is_asked_for(example: Example, calc):
    atoms = example.structure()
    alone = calc.evaluate([atoms], properties=("energy",))[0]
    assert "forces" not in alone
    assert alone["energy"] == pytest.approx(results(calc, atoms)["energy"], rel=1e-13, abs=1e-11)


def test_dynamics_conserves_energy(example: Example):
    """A few steps of NVE through ASE, with the list reused: the energy stays where it was."""
    atoms = example.structure(rattle=0.02)
    atoms.calc = example.calculator()
    atoms.set_momenta(np.random.default_rng(0).normal(0.0, 0.3, (len(atoms), 3)))
    start = atoms.get_total_energy()
    swing = atoms.get_kinetic_energy()
    VelocityVerlet(atoms, 0.25 * fs).run(40)
    assert abs(atoms.get_total_energy() - start) < max(5e-3 * swing, 1e-4)


def test_float32_is_close(example: Example, calc):
    """Single precision differs by no more than the stated error: 2e-5 eV/atom and 1e-3 eV/A (relative above 1)."""
    atoms = example.structure()
    assert_same(results(example.calculator(dtype="float32"), atoms), results(calc, atoms), 2e-5, forces=False)
    single, double = (results(c, atoms)["forces"] for c in (example.calculator(dtype="float32"), calc))
    np.testing.assert_allclose(single, double, atol=1e-3 * max(1.0, np.abs(double).max()))


@pytest.mark.cuda
@pytest.mark.parametrize("backend", ["torch", "warp"])
def test_cuda_agrees_with_cpu(example: Example, calc, backend):
    gpu = example.calculator(device="cuda", backend=backend)
    cluster = example.structure(seed=4)
    cluster.pbc = False
    many = [example.structure(), cluster, example.structure((1, 1, 3), seed=5)]
    for got, want in zip(gpu.evaluate(many), calc.evaluate(many), strict=True):
        assert_same(got, want, 1e-10)


@pytest.mark.cuda
def test_cuda_float32_is_close(example: Example, calc):
    atoms = example.structure()
    gpu = example.calculator(device="cuda", dtype="float32")
    assert_same(results(gpu, atoms), results(calc, atoms), 2e-5, forces=False)
