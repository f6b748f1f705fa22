"""Coulomb matrices, potentials, energies and derivatives of open and periodic structures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.units import Bohr
from hypothesis import given
from hypothesis import strategies as st

from calczoo.core.errors import AtomsOverlap, InvalidStructure, OptionError, TooLarge
from calczoo.core.system import System
from calczoo.electrostatics import COULOMB, Geometry
from calczoo.electrostatics.lattice import reduced_cell
from calczoo.electrostatics.reference import open_potential, periodic_potential
from electrostatics.cases import charges, open_matrix, random_structure, smeared_matrix, system, widths

TIGHT = 1e-13


def max_difference(a, b) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


# -- open ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("r", [0.002, 0.1, 1.0, 30.0])
def test_two_point_charges(r):
    geometry = Geometry.of(system(Atoms("NaCl", [[0, 0, 0], [0, 0, r]])))
    q = torch.tensor([2.0, -1.0], dtype=torch.float64)
    assert float(geometry.energy(q)[0]) == pytest.approx(-2.0 * COULOMB / r, rel=1e-14)
    forces, virial = geometry.gradients(q, q)
    assert float(forces[0, 2]) / 2 == pytest.approx(2.0 * COULOMB / r**2, rel=1e-14)
    assert float(virial[0, 2, 2]) / 2 == pytest.approx(2.0 * COULOMB / r, rel=1e-14)


def test_units():
    assert pytest.approx(27.211386245988 * 0.529177210903, rel=1e-10) == COULOMB
    assert pytest.approx(27.2113862 * Bohr, rel=1e-8) == COULOMB


def test_open_gaussians_as_written_out():
    atoms, sigma = random_structure(6, 1, periodic=False), widths(6)
    sigma[2] = 0.0  # one point among them
    geometry = Geometry.of(system(atoms), sigma, 1.0)
    np.testing.assert_allclose(geometry.matrix(), open_matrix(atoms.positions, sigma.numpy()), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("r", [0.01, 0.04, 0.08, 0.5, 3.0, 9.0])
def test_a_gaussian_pair_at_any_distance(r):
    """Across the changes between series, function and limit, value and slope are those of erf."""
    sigma = torch.tensor([0.5, 0.8], dtype=torch.float64)
    geometry = Geometry.of(system(Atoms("H2", [[0, 0, 0], [0, 0, r]])), sigma, 1.0)
    gamma = math.hypot(0.5, 0.8)
    beta = 1 / (math.sqrt(2) * gamma)
    value = math.erf(beta * r) / r
    slope = (2 / math.sqrt(math.pi) * beta * math.exp(-((beta * r) ** 2)) - value) / r
    left, right = torch.eye(2, dtype=torch.float64)
    assert float(geometry.matrix()[0, 1]) == pytest.approx(value, rel=1e-14)
    assert float(geometry.gradients(left, right)[0][0, 2]) == pytest.approx(slope, rel=1e-11)


def test_narrow_gaussians_are_points_and_far_ones_too():
    for periodic in (False, True):
        atoms, q = random_structure(5, 3, periodic), charges(5, total=0.0)
        points = Geometry.of(system(atoms), None, 1.0, TIGHT)
        narrow = Geometry.of(system(atoms), torch.full((5,), 0.02, dtype=torch.float64), 1.0, TIGHT)
        own = 1 / (math.sqrt(math.pi) * 0.02)
        torch.testing.assert_close(narrow.potential(q) - own * q, points.potential(q), rtol=0, atol=1e-11)
        torch.testing.assert_close(narrow.gradients(q, q)[0], points.gradients(q, q)[0], rtol=0, atol=1e-10)


# -- periodic ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_wide_gaussians_as_one_sum_over_waves(seed):
    atoms, sigma = random_structure(4, seed, size=4.0, skew=1.0), widths(4, seed, 0.7, 1.3)
    geometry = Geometry.of(system(atoms), sigma, 1.0, TIGHT)
    np.testing.assert_allclose(geometry.matrix(), smeared_matrix(atoms, sigma.numpy(), 14), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gaussians", [False, True], ids=["points", "gaussians"])
@pytest.mark.parametrize("total", [0.0, 1.7])
def test_independent_of_the_splitting(gaussians, total):
    """Values, forces and virial, also where Gaussians are wider than the splitting, neutral and charged."""
    atoms = random_structure(9, 5)
    sigma = widths(9, high=1.6) if gaussians else None
    q, p = charges(9, total=total), charges(9, 7)
    results = []
    for eta in (None, 0.5, 0.9, 1.6, 2.5):
        geometry = Geometry.of(system(atoms), sigma, 1.0, TIGHT, splitting=eta)
        results.append((geometry.potential(q), geometry.matrix(), *geometry.gradients(p, q)))
    for other in results[1:]:
        assert max_difference(results[0], other) < 2e-11


def test_potential_is_the_matrix_times_charges_in_a_batch():
    """Open and periodic structures of different sizes, and an empty one, in one System."""
    many = [
        random_structure(7, 1),
        random_structure(5, 2, False),
        Atoms(),
        random_structure(1, 3),
        random_structure(8, 4),
    ]
    n = sum(map(len, many))
    for sigma in (None, widths(n)):
        one, two = (Geometry.of(system(*many), sigma, accuracy=TIGHT) for _ in range(2))
        q, p = charges(n), charges(n, 1)
        product = torch.cat([two.matrix(s) @ two.part(q, s) for s in range(len(many))])
        torch.testing.assert_close(one.potential(q), product, rtol=0, atol=1e-12)
        torch.testing.assert_close(two.potential(q), product, rtol=0, atol=1e-12)
        torch.testing.assert_close(one.diagonal(), two.diagonal(), rtol=0, atol=1e-12)
        for s in range(len(many)):
            torch.testing.assert_close(two.matrix(s), two.matrix(s).T, rtol=0, atol=1e-13)
            alone = Geometry.of(system(many[s]), None if sigma is None else two.part(sigma, s), accuracy=TIGHT)
            torch.testing.assert_close(one.energy(q)[s], alone.energy(two.part(q, s)).sum(), rtol=0, atol=1e-12)
        forces, virial = one.gradients(p, q)
        assert forces.shape == (n, 3) and virial.shape == (len(many), 3, 3)
        for got, want in zip(one.gradients(q, p), (forces, virial), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize("accuracy", [1e-4, 1e-6, 1e-8, 1e-10, 1e-12])
def test_accuracy_is_kept(accuracy):
    """Errors of potentials stay below what was asked for, in units of e/A, over splittings and densities."""
    for n, size, seed in ((3, 9.0, 1), (10, 5.0, 2), (30, 5.5, 3)):
        atoms, sigma = random_structure(n, seed, size=size), widths(n)
        q = charges(n, total=0.0)
        for width in (None, sigma):
            exact = Geometry.of(system(atoms), width, 1.0, 1e-14).potential(q)
            for eta in (None, 0.6, 1.3):
                rough = Geometry.of(system(atoms), width, 1.0, accuracy, splitting=eta).potential(q)
                assert float((rough - exact).abs().max()) < accuracy * max(1.0, float(q.abs().max()))


def test_supercell_translation_origin_and_left_hand():
    atoms, sigma, q = random_structure(5, 8), widths(5), charges(5, total=0.0)
    want = Geometry.of(system(atoms), sigma, accuracy=TIGHT)
    energy, (forces, virial) = want.energy(q), want.gradients(q, q)

    def check(other: Atoms, copies: int = 1) -> None:
        got = Geometry.of(system(other), sigma.repeat(copies), accuracy=TIGHT)
        torch.testing.assert_close(got.energy(q.repeat(copies)), copies * energy, rtol=0, atol=1e-10)
        f, v = got.gradients(q.repeat(copies), q.repeat(copies))
        torch.testing.assert_close(f, forces.repeat(copies, 1), rtol=0, atol=1e-9)
        torch.testing.assert_close(v, copies * virial, rtol=0, atol=1e-8)

    check(atoms.repeat((2, 1, 3)), 6)
    moved = atoms.copy()
    moved.positions += [123.4, -0.7, 55.5]
    check(moved)
    outside = atoms.copy()
    outside.positions += np.random.default_rng(0).integers(-3, 4, (5, 3)) @ atoms.cell.array
    check(outside)
    for rows in ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [3, 1, 0], [-2, 4, 1]]):
        same = atoms.copy()
        same.set_cell(np.array(rows) @ atoms.cell.array)
        check(same)


# -- derivatives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periodic", [False, True], ids=["open", "periodic"])
@pytest.mark.parametrize("gaussians", [False, True], ids=["points", "gaussians"])
def test_gradients_against_autograd_and_differences(periodic, gaussians):
    n = 6
    atoms = random_structure(n, 11, periodic)
    sigma = widths(n) if gaussians else torch.zeros(n, dtype=torch.float64)
    q, p = charges(n), charges(n, 3)
    geometry = Geometry.of(system(atoms), sigma, 1.0, TIGHT)
    forces, virial = geometry.gradients(p, q)
    x = torch.tensor(atoms.positions, requires_grad=True)
    strain = torch.zeros((3, 3), dtype=torch.float64, requires_grad=True)
    deform = torch.eye(3, dtype=torch.float64) + strain
    cell = torch.tensor(atoms.cell.array) @ deform.T
    if periodic:
        phi = periodic_potential(x @ deform.T, cell, sigma, q, geometry.parts[0].splitting)
    else:
        phi = open_potential(x @ deform.T, sigma, q)
    torch.testing.assert_close(phi.detach(), geometry.potential(q), rtol=0, atol=1e-12)
    g, s = torch.autograd.grad((p * phi).sum(), (x, strain))
    torch.testing.assert_close(-g, forces, rtol=0, atol=1e-11)
    torch.testing.assert_close(s, virial[0], rtol=0, atol=1e-10)

    def value(moved: Atoms) -> float:
        return float(p @ Geometry.of(system(moved), sigma, 1.0, TIGHT).potential(q))

    h = 1e-3
    for atom, axis in ((0, 0), (3, 2)):
        by = []
        for step in (h, -h, h / 2, -h / 2):
            moved = atoms.copy()
            moved.positions[atom, axis] += step
            by.append(value(moved))
        slope = (4 * (by[2] - by[3]) / h - (by[0] - by[1]) / (2 * h)) / 3
        assert slope == pytest.approx(-float(forces[atom, axis]), abs=1e-7)
    for a, b in ((0, 0), (1, 2), (2, 1)):
        by = []
        for step in (h, -h, h / 2, -h / 2):
            move = np.eye(3)
            move[a, b] += step
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ move.T)
            moved.positions = atoms.positions @ move.T
            by.append(value(moved))
        slope = (4 * (by[2] - by[3]) / h - (by[0] - by[1]) / (2 * h)) / 3
        assert slope == pytest.approx(float(virial[0, a, b]), abs=1e-6)


def test_forces_add_up_to_nothing():
    atoms, sigma, q = random_structure(12, 4), widths(12), charges(12)
    forces, virial = Geometry.of(system(atoms), sigma).gradients(q, q)
    assert float(forces.sum(dim=0).abs().max()) < 1e-10
    torch.testing.assert_close(virial, virial.transpose(1, 2), rtol=0, atol=1e-9)


@given(
    st.lists(st.floats(-4.0, 4.0), min_size=9, max_size=9),
    st.integers(1, 6),
    st.integers(0, 10**6),
    st.floats(0.3, 1.5),
    st.booleans(),
)
def test_random_cells(entries, n, seed, eta, gaussians):
    """Skewed cells of any shape: two splittings agree, and so does the plain reference."""
    cell = np.array(entries).reshape(3, 3) + np.eye(3) * 3.0
    heights = 1.0 / np.linalg.norm(np.linalg.pinv(cell), axis=0)
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 3)) @ cell
    if heights.min() < 0.8 or abs(np.linalg.det(cell)) > 150:
        return
    atoms = Atoms(["H"] * n, positions=x, cell=cell, pbc=True)
    sigma = widths(n, seed) if gaussians else torch.zeros(n, dtype=torch.float64)
    q = charges(n, seed)
    try:
        one = Geometry.of(system(atoms), sigma, 1.0, 1e-12)
    except AtomsOverlap:
        return
    two = Geometry.of(system(atoms), sigma, 1.0, 1e-12, splitting=eta)
    size = max(1.0, float(one.potential(q).abs().max()))
    assert max_difference([one.potential(q), one.matrix()], [two.potential(q), two.matrix()]) < 1e-10 * size
    box = torch.tensor(cell)
    plain = periodic_potential(torch.tensor(x), box, sigma, q, one.parts[0].splitting)
    assert float((plain - one.potential(q)).abs().max()) < 1e-11 * size


@given(st.lists(st.floats(-9.0, 9.0), min_size=9, max_size=9))
def test_reduced_cells_span_the_same_lattice(entries):
    cell = np.array(entries).reshape(3, 3)
    if abs(np.linalg.det(cell)) < 1.0:
        return
    small = reduced_cell(cell)
    change = np.linalg.solve(cell.T, small.T).T
    np.testing.assert_allclose(change, np.round(change), atol=1e-9)
    assert abs(round(float(np.linalg.det(change)))) == 1
    assert (small**2).sum() <= (cell**2).sum() * (1 + 1e-9)


# -- what is refused -----------------------------------------------------------------------------------------


def test_partly_periodic_structures_are_refused():
    slab = Atoms("NaCl", [[0, 0, 0], [0, 0, 2.5]], cell=[5, 5, 5], pbc=[True, True, False])
    with pytest.raises(InvalidStructure, match=r"structure 1.*along xy only.*vacuum.*switch pbc off"):
        Geometry.of(system(Atoms("H"), slab))


@pytest.mark.parametrize("periodic", [False, True])
def test_overlapping_atoms(periodic):
    atoms = random_structure(6, 2, periodic)
    atoms.positions[4] = atoms.positions[1] + [0, 0, 2e-4]
    if periodic:
        atoms.positions[4] += [2, -1, 1] @ atoms.cell.array
    with pytest.raises(AtomsOverlap, match="atoms 1 and 4 are") as error:
        Geometry.of(system(atoms))
    assert error.value.d == pytest.approx(2e-4, rel=1e-6)


def test_wrong_arguments():
    one = system(random_structure(3, 1))
    with pytest.raises(OptionError, match="accuracy of electrostatics is 0.5"):
        Geometry.of(one, accuracy=0.5)
    with pytest.raises(OptionError, match="Gaussian widths"):
        Geometry.of(one, torch.tensor([0.3, -0.1, 0.2]))
    with pytest.raises(OptionError, match="Gaussian widths"):
        Geometry.of(one, torch.tensor([0.3, 0.1]))
    with pytest.raises(OptionError, match=r"charges have shape \(2,\)"):
        Geometry.of(one).potential(torch.zeros(2))
    with pytest.raises(OptionError, match="method of electrostatics is 'p3m'"):
        Geometry.of(one, method="p3m")
    with pytest.raises(TooLarge):
        Geometry.of(one, max_memory_gib=1e-9)


def test_single_precision_structures_are_summed_in_double():
    atoms, q = random_structure(5, 1), charges(5, total=0.0)
    single = System.from_atoms(atoms, dtype=torch.float32)
    got = Geometry.of(single).potential(q)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, Geometry.of(system(atoms)).potential(q), rtol=0, atol=1e-3)


def test_threads_change_nothing():
    atoms, sigma = random_structure(60, 3, size=9.0), widths(60)
    q = charges(60)
    results = []
    for threads in (1, 3):
        geometry = Geometry.of(system(atoms), sigma, threads=threads)
        results.append((geometry.potential(q), *geometry.gradients(q, q), geometry.matrix()))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
