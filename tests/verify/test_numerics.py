"""The numerical tools of the checks on functions whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.io import read
from scipy.interpolate import CubicSpline

from calczoo.verify.continuity import derivative_jumps, find_jumps
from calczoo.verify.derivative import differentiate, weighted_error
from calczoo.verify.dynamics import highest_frequency, slope_with_error, velocity_verlet
from calczoo.verify.lattice import covalent_distance, find_lattice
from calczoo.verify.structures import choose_species, fcc, random_cluster, random_rotation, write_configurations


def _derivative(f, x, step=0.02, scale=1.0):
    moves = lambda many: np.array([f(x + s) for _, s in many])  # noqa: E731
    value, error = differentiate(moves, 1, step, scale)
    return value[0], error[0]


@pytest.mark.parametrize("x", [0.3, 1.0, 2.5])
def test_smooth_derivative_reaches_rounding(x):
    value, error = _derivative(lambda t: np.exp(np.sin(3 * t)), x)
    exact = 3 * np.cos(3 * x) * np.exp(np.sin(3 * x))
    assert abs(value - exact) < 1e-11
    assert abs(value - exact) < 30 * error


def test_derivative_of_a_spline_table_with_coarse_digits():
    """Knots closer than the first step, values of six digits: only small steps see the spline's own slope."""
    r = np.arange(1.0, 6.0, 2e-3)
    table = CubicSpline(r, np.round(np.exp(-r), 6))
    slope = table.derivative()
    points = np.random.default_rng(3).uniform(2, 5, 40)
    found = np.array([_derivative(table, x) for x in points])
    exact = slope(points)
    assert weighted_error(exact, found[:, 0], found[:, 1]) < 2.2e-10
    assert np.mean(np.abs(found[:, 0] - exact) < 10 * found[:, 1]) > 0.9


@pytest.mark.parametrize("distance", [1e-7, 1e-4, 3e-3])
def test_error_estimate_sees_a_break_of_curvature(distance):
    value, error = _derivative(lambda t: t + 10 * max(t - 1 - distance, 0.0) ** 2, 1.0)
    assert abs(value - 1) < 10 * error
    assert error < 1e-3


def test_weighted_error_is_the_formula():
    exact, numerical, error = np.array([1.0, 2.0]), np.array([1.1, 2.0]), np.array([0.1, 0.01])
    w = np.array([1.1 / 0.1, 2.0 / 0.01])
    assert weighted_error(exact, numerical, error) == pytest.approx(0.5 * np.sqrt(w[0] * 0.01 / w.sum()))


def test_lattice_prefers_the_usual_minimum():
    d0 = 2.55

    def energy(d):  # a deep false hole below 1 A
        return (d - d0) ** 2 - 1 - 50 * np.exp(-(((d - 0.85) / 0.1) ** 2))

    lattice = find_lattice(energy, ["Cu"])
    assert lattice.found
    assert lattice.d == pytest.approx(d0, abs=2e-3)
    assert lattice.a == pytest.approx(d0 * 2**0.5, abs=4e-3)


@pytest.mark.parametrize("d0", [1.09, 5.1])
def test_lattice_finds_unusual_minima(d0):
    assert find_lattice(lambda d: (d0 / d) ** 12 - 2 * (d0 / d) ** 6, ["Cu"]).d == pytest.approx(d0, rel=2e-3)


@pytest.mark.parametrize("energy", [lambda d: 0.0, lambda d: 1 / d, lambda d: np.inf])
def test_lattice_without_minimum_says_so(energy):
    lattice = find_lattice(energy, ["Cu"])
    assert not lattice.found
    assert "covalent radii" in lattice.note
    assert lattice.d == pytest.approx(1.1 * covalent_distance(["Cu"]), abs=1e-4)


@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("where", [1.7300001, 3.1234567, 4.4444])
def test_jump_is_found_and_measured(size, where):
    def curves(x):
        return np.array([50 * np.exp(-2 * x) - np.exp(-x) + size * (x > where)]).T

    worst = max(find_jumps(curves, 1.2, 6.0, 400, 8), key=lambda j: j.size)
    assert worst.size == pytest.approx(size, rel=1e-3)
    assert worst.x == pytest.approx(where, abs=1e-7)
    assert worst.exceeds(1e-7)


def test_smooth_and_splined_curves_have_no_jump():
    r = np.linspace(1, 7, 600)
    spline = CubicSpline(r, 50 * np.exp(-2 * r) - np.exp(-r))

    def curves(x):
        return np.array([spline(x), spline(x, 1), 300 * x**-12.0]).T

    assert not [j for j in find_jumps(curves, 1.2, 6.0, 400, 8) if j.exceeds(1e-7)]


def test_rounding_to_float32_is_no_jump():
    def curves(x):
        return np.array([np.float32(8 * np.exp(-x.astype(np.float32))) + np.float32(0)]).T.astype(float)

    assert not [j for j in find_jumps(curves, 1.2, 6.0, 400, 8) if j.exceeds(1e-5)]


def test_broken_curvature_is_reported():
    def curves(x):
        return np.array([np.exp(-x) + 0.05 * np.maximum(x - 3.3, 0) ** 1]).T

    found = max(derivative_jumps(curves, 0, 1.0, 5.0, 400, 4), key=lambda f: f["first"])
    assert found["x"] == pytest.approx(3.3, abs=1e-3)
    assert found["first"] == pytest.approx(0.05, rel=1e-2)


def test_harmonic_frequency_and_dt_squared_law():
    atoms = bulk("Cu", cubic=True)
    start, k = atoms.positions.copy(), 3.0

    def force(a):
        u = a.positions - start
        return 0.5 * k * float(np.sum(u**2)), -k * u

    omega = highest_frequency(lambda many: [force(a)[1] for a in many], atoms, 0.01)
    assert omega == pytest.approx(np.sqrt(k / atoms.get_masses()[0]), rel=1e-6)
    v = np.random.default_rng(0).normal(size=(4, 3)) * 0.01
    period = 2 * np.pi / omega
    spread = [np.std(velocity_verlet(force, atoms, v, period / n, 10 * n)) for n in (20, 40)]
    assert spread[0] / spread[1] == pytest.approx(4, rel=0.05)
    assert 1 < period / units.fs < 1000


def test_slope_has_an_honest_error_bar():
    rng = np.random.default_rng(1)
    t = np.linspace(0, 10, 2000)
    inside = 0
    for _ in range(200):
        slope, error = slope_with_error(t, 0.3 * t + rng.normal(size=len(t)))
        inside += abs(slope - 0.3) < 2.3 * error  # 95 % of Student's t with 8 degrees of freedom
    assert 175 <= inside <= 200


def test_configurations_survive_the_file(tmp_path):
    rng = np.random.default_rng(5)
    frames = [("a", fcc(["Cu", "Ni"], 2.5, rng, strain=0.1)), ("b c", random_cluster(["Cu"] * 5, 2.5, rng))]
    frames[0][1].pbc = (True, False, True)
    write_configurations(tmp_path / "x.extxyz", frames)
    for (label, atoms), back in zip(frames, read(tmp_path / "x.extxyz", index=":"), strict=True):
        assert np.array_equal(atoms.positions, back.positions)
        assert np.array_equal(atoms.cell.array, back.cell.array)
        assert np.array_equal(atoms.pbc, back.pbc)
        assert list(atoms.symbols) == list(back.symbols)
        assert back.info["label"] == label


def test_structures():
    rng = np.random.default_rng(2)
    q = random_rotation(rng)
    assert np.allclose(q @ q.T, np.eye(3)) and np.linalg.det(q) == pytest.approx(1)
    assert sorted(choose_species(["Al", "Cu"], 4, rng)) == ["Al", "Al", "Cu", "Cu"]
    cluster = random_cluster(["Cu"] * 12, 2.5, rng)
    distances = cluster.get_all_distances()[np.triu_indices(12, 1)]
    assert distances.min() > 0.85 * 2.5
