"""Charge equilibration: both solvers against a dense solution of the whole system, and derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from calczoo.core.errors import ConvergenceError, OptionError
from calczoo.electrostatics import COULOMB, Geometry, cg, equilibrate, qeq
from electrostatics.cases import charges, parameters, random_structure, system, water, widths


def dense(a: torch.Tensor, j: torch.Tensor, rhs: torch.Tensor, total: float) -> np.ndarray:
    n = len(j)
    m = np.zeros((n + 1, n + 1))
    m[:n, :n] = a.numpy() + np.diag(j)
    m[:n, n] = m[n, :n] = 1.0
    return np.linalg.solve(m, np.append(rhs.numpy(), total))


@pytest.mark.parametrize("method, tolerance", [("direct", 1e-12), ("cg", 1e-9)])
def test_as_a_dense_solution(method, tolerance):
    """A batch of open, periodic and empty structures, neutral and charged; multiplier and adjoint too."""
    many = [random_structure(7, 1), random_structure(5, 2, False), Atoms(), Atoms("H", cell=[3] * 3, pbc=True)]
    many.append(water(2))
    n = sum(map(len, many))
    sigma, chi, rhs = widths(n, low=0.6), charges(n, 1), charges(n, 2)
    j = torch.tensor(np.random.default_rng(3).uniform(20, 25, n))
    total = torch.tensor([0.0, 1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    geometry = Geometry.of(system(*many), sigma, accuracy=1e-12)
    found = equilibrate(geometry, chi, j, total, method)
    adjoint = found.solve_adjoint(rhs)
    for s, atoms in enumerate(many):
        rows = slice(geometry.first[s], geometry.first[s + 1])
        if not len(atoms):
            continue
        a = geometry.matrix(s)
        want = dense(a, j[rows], -chi[rows], float(total[s]))
        np.testing.assert_allclose(found.charges[rows], want[:-1], rtol=0, atol=tolerance)
        assert float(found.multiplier[s]) == pytest.approx(want[-1], abs=100 * tolerance)
        assert float(found.charges[rows].sum()) == pytest.approx(float(total[s]), abs=1e-12)
        np.testing.assert_allclose(adjoint[rows], dense(a, j[rows], rhs[rows], 0.0)[:-1], rtol=0, atol=tolerance)


@pytest.mark.parametrize("hardness", [3.0, 12.0])
def test_conjugate_gradients_need_few_steps(hardness):
    """A few steps to 1e-10 e, from a preconditioner that knows short range and long waves."""
    atoms = water(6)
    chi, j, sigma = parameters(system(atoms).numbers, hardness=hardness)
    total = torch.tensor([1.0], dtype=torch.float64)
    matrix = equilibrate(Geometry.of(system(atoms), sigma), chi, j, total, "direct")
    sums = equilibrate(Geometry.of(system(atoms), sigma, dense=False), chi, j, total, "cg")
    torch.testing.assert_close(sums.charges, matrix.charges, rtol=0, atol=1e-9)
    torch.testing.assert_close(sums.multiplier, matrix.multiplier, rtol=0, atol=1e-8)
    assert sums.solvers[0].steps <= 12


def test_conjugate_gradients_of_an_open_cluster():
    atoms = water(4, periodic=False)
    chi, j, sigma = parameters(system(atoms).numbers)
    total = torch.tensor([-1.0], dtype=torch.float64)
    geometry = Geometry.of(system(atoms), sigma)
    one, two = (equilibrate(geometry, chi, j, total, method) for method in ("direct", "cg"))
    torch.testing.assert_close(two.charges, one.charges, rtol=0, atol=1e-9)
    assert two.solvers[0].steps <= 40


def test_method_follows_the_size(monkeypatch):
    atoms = water(2)
    chi, j, sigma = parameters(system(atoms).numbers)
    geometry = Geometry.of(system(atoms), sigma)
    total = torch.zeros(1, dtype=torch.float64)
    assert isinstance(equilibrate(geometry, chi, j, total).solvers[0], qeq.Direct)
    monkeypatch.setattr(qeq, "DIRECT", 10)
    assert isinstance(equilibrate(geometry, chi, j, total).solvers[0], cg.Iterative)


def test_two_atoms_by_hand():
    """A hard and a soft atom: q = -(chi_1 - chi_2) / (M_11 + M_22 - 2 M_12)."""
    geometry = Geometry.of(system(Atoms("LiF", [[0, 0, 0], [0, 0, 1.6]])), torch.tensor([1.2, 0.6]).double())
    chi, j = torch.tensor([2.0, 9.0]).double(), torch.tensor([5.0, 14.0]).double()
    found = equilibrate(geometry, chi, j, torch.zeros(1).double())
    a = geometry.matrix()
    q = float((chi[1] - chi[0]) / (a[0, 0] + a[1, 1] + j.sum() - 2 * a[0, 1]))
    assert found.charges.tolist() == pytest.approx([q, -q], rel=1e-13)
    lagrange = -float(chi[0] + (j[0] + a[0, 0] - a[0, 1]) * q)
    assert float(found.multiplier[0]) == pytest.approx(lagrange, rel=1e-12)


@pytest.mark.parametrize("method", ["direct", "cg"])
@pytest.mark.parametrize("periodic", [False, True])
def test_gradient_by_the_implicit_function(method, periodic):
    """f(q(r)) = sum w q + the energy of equilibration: derivatives through the charges, with chi fixed."""
    n = 8
    atoms, sigma, chi, w = random_structure(n, 6, periodic), widths(n, low=0.6), charges(n, 4), charges(n, 5)
    j, total = torch.full((n,), 25.0).double(), torch.tensor([0.7]).double()

    def value(moved: Atoms) -> tuple[float, float, Geometry, qeq.Equilibrium]:
        geometry = Geometry.of(system(moved), sigma, accuracy=1e-13)
        found = equilibrate(geometry, chi, j, total, method, 1e-13)
        q = found.charges
        return float(w @ q), float(geometry.energy(q)[0] + chi @ q + 0.5 * j @ q**2), geometry, found

    _, _, geometry, found = value(atoms)
    through = geometry.gradients(found.solve_adjoint(w), found.charges)[0]  # df/dr = -lam^T dA/dr q
    minimal = 0.5 * geometry.gradients(found.charges, found.charges)[0]  # the charges minimise: no dq/dr
    h = 2e-3
    for atom, axis in ((0, 0), (4, 1), (7, 2)):
        linear, energy = [], []
        for step in (h, -h, h / 2, -h / 2):
            moved = atoms.copy()
            moved.positions[atom, axis] += step
            a, b, *_ = value(moved)
            linear.append(a)
            energy.append(b)
        slopes = [(4 * (v[2] - v[3]) / h - (v[0] - v[1]) / (2 * h)) / 3 for v in (linear, energy)]
        assert slopes[0] == pytest.approx(float(through[atom, axis]), abs=1e-7)
        assert slopes[1] == pytest.approx(-float(minimal[atom, axis]), abs=1e-7)


@pytest.mark.parametrize("method", ["direct", "cg"])
def test_a_matrix_without_a_minimum(method):
    """Point-like charges with a small hardness close to each other."""
    atoms = water(2)
    _, j, sigma = parameters(system(atoms).numbers, hardness=-35.0)
    geometry = Geometry.of(system(atoms), sigma)
    chi, total = charges(len(atoms)), torch.zeros(1).double()
    with pytest.raises(ConvergenceError, match="not positive definite.*hardness.*is too small"):
        equilibrate(geometry, chi, j, total, method)


def test_iteration_that_does_not_end(monkeypatch):
    monkeypatch.setattr(cg, "STEPS", 1)
    atoms = water(3)
    chi, j, sigma = parameters(system(atoms).numbers)
    with pytest.raises(ConvergenceError, match="did not converge in 1 steps.*method='direct'"):
        equilibrate(Geometry.of(system(atoms), sigma), chi, j, torch.zeros(1).double(), "cg")


def test_wrong_arguments():
    geometry = Geometry.of(system(random_structure(3, 1)), widths(3))
    one = torch.ones(3).double()
    with pytest.raises(OptionError, match="method of charge equilibration is 'lu'"):
        equilibrate(geometry, one, one, torch.zeros(1), "lu")
    with pytest.raises(OptionError, match="chi and hardness of 3 atoms and totals of 1 structures"):
        equilibrate(geometry, one, one, torch.zeros(2))


def test_units_of_charges():
    """All energies in eV: chi and J in eV/e and eV/e^2 with k = 14.4 eV A."""
    geometry = Geometry.of(system(Atoms("H2", [[0, 0, 0], [0, 0, 100.0]])), torch.ones(2).double())
    found = equilibrate(geometry, torch.tensor([-1.0, 1.0]).double(), torch.ones(2).double(), torch.zeros(1).double())
    stiff = 1.0 + COULOMB / np.sqrt(np.pi) - COULOMB / 100.0
    assert found.charges.tolist() == pytest.approx([1 / stiff, -1 / stiff], rel=1e-12)
