"""Averages, distributions and order parameters of trajectories against values known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from scipy.special import eval_legendre

from calczoo_validation.dynamics_analysis import (
    angle_distribution,
    averaged_q6,
    correlation_time,
    displacement_from_sites,
    first_minimum,
    first_peak,
    mean_error,
    neighbours,
    pair_distribution,
    partial_distributions,
    shell_cutoff,
    slope_error,
    square_displacements,
    structure_factor,
)


def autoregressive(rng, n, phi):
    x, noise = np.zeros(n), rng.standard_normal(n)
    for t in range(1, n):
        x[t] = phi * x[t - 1] + noise[t]
    return x


def test_error_of_a_correlated_series(rng):
    """x_t = phi x_(t-1) + noise: tau = (1 + phi) / (1 - phi) / 2, and the scatter of many means is the error."""
    series = [autoregressive(rng, 2000, 0.9) for _ in range(60)]
    assert np.mean([correlation_time(s) for s in series]) == pytest.approx(9.5, rel=0.1)
    found = np.mean([mean_error(s)[1] for s in series])
    assert found == pytest.approx(np.std([s.mean() for s in series]), rel=0.25)
    assert mean_error(series[0])[2]
    assert not mean_error(series[0][:50])[2], "50 samples are less than ten correlation times"


def test_round_off_of_a_constant_is_no_correlation(rng):
    series = 0.2281258 + 1e-16 * np.cumsum(rng.standard_normal(200))
    assert correlation_time(series) == 0.5
    assert mean_error(series)[2]


def test_error_of_several_series_includes_their_scatter(rng):
    series = [rng.standard_normal(400) * 0.01 + shift for shift in (0.0, 1.0, -1.0, 0.5)]
    mean, error, _ = mean_error(series)
    assert mean == pytest.approx(0.125, abs=1e-3)
    assert error == pytest.approx(np.std([0, 1, -1, 0.5], ddof=1) / 2, rel=0.01)


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_error_of_a_slope(rng, phi):
    t = np.linspace(0, 10, 400)
    found = [slope_error(t, 0.3 * t + autoregressive(rng, 400, phi)) for _ in range(80)]
    slopes, errors = np.array(found).T
    assert slopes.mean() == pytest.approx(0.3, abs=4 * slopes.std() / 80**0.5)
    assert errors.mean() == pytest.approx(slopes.std(), rel=0.3)


def test_pair_distribution_of_a_gas_is_one(rng):
    cell = np.diag([12.0, 13.0, 14.0])
    frames = [(cell, rng.uniform(-1, 2, (300, 3)) @ cell) for _ in range(20)]
    r, g = pair_distribution(frames, 6.0, 12)
    assert g.shape == (20, 12)
    assert g.mean(axis=0)[3:] == pytest.approx(1.0, abs=0.03)
    numbers = np.array([1] * 100 + [2] * 200)
    parts = partial_distributions(frames, numbers, 6.0, 12)
    assert set(parts) == {(1, 1), (1, 2), (2, 2)}
    assert parts[1, 2][3:] == pytest.approx(1.0, abs=0.05)
    q, s = structure_factor(frames, 4.0)
    assert s.mean() == pytest.approx(1.0, abs=0.05) and q.max() <= 4.0


def test_perfect_crystal():
    atoms = bulk("Cu", "fcc", a=4.0, cubic=True).repeat(3)
    frames = [(atoms.cell.array, atoms.positions)]
    _, density, coordination = angle_distribution(frames, 3.4, 180)
    assert coordination == pytest.approx(12)
    # of the 66 pairs of the 12 neighbours 24 make 60 degrees, 12 make 90, 24 make 120 and 6 make 180
    for angle, share in ((60, 24), (90, 12), (120, 24), (180, 6)):
        near = slice(max(angle - 2, 0), angle + 2)
        assert density[near].sum() == pytest.approx(share / 66)
    q, s = structure_factor(frames, 3.3)
    assert s.max() == pytest.approx(len(atoms)), "a Bragg peak is N"
    assert q[s > 1.0].min() == pytest.approx(2 * np.pi / 4.0 * 3**0.5), "(111) is the first one of fcc"
    assert shell_cutoff(atoms) == pytest.approx((8**0.5, (8**0.5 + 4) / 2))


@pytest.mark.parametrize(("name", "structure"), [("Cu", "fcc"), ("W", "bcc"), ("Mg", "hcp")])
def test_bond_order_of_perfect_crystals(name, structure):
    """All sites alike up to an inversion: q6^2 = sum_jk P_6(cos theta_jk) / n^2, by the addition theorem."""
    atoms = bulk(name, structure, a=3.2, **({"c": 3.2 * (8 / 3) ** 0.5} if structure == "hcp" else {}))
    cutoff = shell_cutoff(atoms)[1]
    atoms = atoms.repeat(5)
    q = averaged_q6(atoms.positions, atoms.cell.array, cutoff)
    i, vectors = neighbours(atoms.positions, atoms.cell.array, cutoff, "iD")
    unit = vectors[i == 0] / np.linalg.norm(vectors[i == 0], axis=1)[:, None]
    assert np.ptp(q) < 1e-9
    assert q[0] == pytest.approx(np.sqrt(eval_legendre(6, unit @ unit.T).mean()), abs=1e-10)
    assert 0.45 < q[0] < 0.6


def test_bond_order_does_not_depend_on_the_axes(rng):
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(3)
    atoms.rattle(0.1, seed=2)
    before = averaged_q6(atoms.positions, atoms.cell.array, 3.1)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    after = averaged_q6(atoms.positions @ rotation, atoms.cell.array @ rotation, 3.1)
    assert after == pytest.approx(before, abs=1e-10)


def test_mean_square_displacement_of_a_random_walk(rng):
    """Steps of variance s per axis: MSD = 3 s t, whatever common drift is added."""
    steps = rng.normal(scale=0.1, size=(400, 200, 3))
    walk = np.cumsum(steps, axis=0) + np.linspace(0, 5, 400)[:, None, None]
    lags = np.arange(20)
    msd = square_displacements([(np.eye(3), x) for x in walk], np.ones(200), lags)
    assert msd == pytest.approx(3 * 0.01 * lags * (1 - 1 / 200), rel=0.03)


def test_peak_and_valley():
    r = np.linspace(0.02, 8, 200)
    g = (1 + 1.7 * np.exp(-((r - 2.53) ** 2) / 0.08) - 0.5 * np.exp(-((r - 3.5) ** 2) / 0.15)) * (r > 2)
    assert first_peak(r, g)[0] == pytest.approx(2.53, abs=0.01)
    assert first_peak(r, g)[1] == pytest.approx(2.7, abs=0.1)
    assert first_minimum(r, g) == pytest.approx(3.5, abs=0.1)


def test_distance_from_sites_follows_the_cell():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2)
    moved = atoms.copy()
    moved.set_cell(atoms.cell * 1.1, scale_atoms=True)
    moved.positions += [3.0, 1.0, 0.0]
    moved.positions[5] += [0.0, 0.0, 0.32]
    away = displacement_from_sites(moved.positions, moved.cell.array, atoms.positions, atoms.cell.array)
    assert away[5] == pytest.approx(0.31) and away[0] == pytest.approx(0.01)
