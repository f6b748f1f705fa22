"""The fast backend: lanes, number types, weights given from outside, tables against their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk

from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.snap.adjoint import chains, full_map, generators
from calczoo.families.snap.kernels import SnapWarp
from calczoo.families.snap.model import SnapTorch
from calczoo.families.snap.params import SnapParams

NEED = frozenset({"energy", "energies", "forces", "virial", "pair_gradients", "descriptors"})
CPU = torch.device("cpu")


def make_params(twojmax: int, elements=("Mo",), seed: int = 0, **flags) -> SnapParams:
    """Random coefficients; any flags."""
    rng = np.random.default_rng(seed)
    n = len(elements)
    empty = SnapParams.__new__(SnapParams)
    values = dict(
        elements=tuple(elements),
        radii=0.5 + 0.05 * np.arange(n),
        weights=1.0 - 0.3 * np.arange(n),
        rcutfac=4.2,
        twojmax=twojmax,
        **flags,
    )
    for key, value in {"quadraticflag": False, "chemflag": False, **values}.items():
        object.__setattr__(empty, key, value)
    return SnapParams(coefficients=rng.normal(size=(n, empty.n_coefficients)) * 1e-2, **values)


def structure(elements=("Mo",), n: int = 2):
    atoms = bulk("Mo", "bcc", a=3.1, cubic=True) * (n, n, n)
    rng = np.random.default_rng(5)
    atoms.set_chemical_symbols(rng.choice(elements, len(atoms)))
    atoms.rattle(0.1, seed=6)
    return atoms


FLAGS = [
    {},
    {"quadraticflag": True},
    {"chemflag": True},
    {"chemflag": True, "quadraticflag": True, "bnormflag": True},
    {"chemflag": True, "wselfallflag": True, "bnormflag": True},
    {"switchflag": False, "bzeroflag": False},
    {"rmin0": 0.4, "rfac0": 0.95},
]


@pytest.mark.parametrize("flags", FLAGS, ids=lambda f: "-".join(f) or "plain")
@pytest.mark.parametrize("twojmax", [0, 1, 4])
def test_equals_the_reference_for_all_flags(flags, twojmax):
    elements = ("Mo", "Ta")
    params = make_params(twojmax, elements, **flags)
    _compare(params, structure(elements))


def test_equals_the_reference_with_an_inner_switch():
    params = make_params(
        4, ("Mo", "Ta"), switchinnerflag=True, sinner=np.array([2.6, 2.7]), dinner=np.array([0.2, 0.25])
    )
    _compare(params, structure(("Mo", "Ta")))


@pytest.mark.parametrize("twojmax", [8, 13])
def test_equals_the_reference_for_large_2j(twojmax):
    _compare(make_params(twojmax), structure(n=1))


def _compare(params: SnapParams, atoms) -> None:
    system = System.from_atoms(atoms)
    pairs = find_pairs(system, params.cutoff)
    fast = SnapWarp(params, CPU, torch.float64, 1).compute(system, pairs, NEED).present()
    slow = SnapTorch(params, CPU, torch.float64).compute(system, pairs, NEED).present()
    for name, value in slow.items():
        scale = max(1.0, float(value.abs().max()))
        assert float((fast[name] - value).abs().max()) < 1e-10 * scale, name


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_lane_count_does_not_matter(lanes):
    """One lane is the layout of CUDA."""
    params = make_params(6, ("Mo", "Ta"), quadraticflag=True)
    system = System.from_atoms(structure(("Mo", "Ta")))
    pairs = find_pairs(system, params.cutoff)
    one = SnapWarp(params, CPU, torch.float64, 1).compute(system, pairs, NEED)
    other = SnapWarp(params, CPU, torch.float64, 1, lanes=lanes).compute(system, pairs, NEED)
    torch.testing.assert_close(other.forces, one.forces, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(other.energies, one.energies, rtol=1e-11, atol=1e-11)


def test_float32_is_close():
    params = make_params(6)
    atoms = structure()
    results = []
    for dtype in (torch.float64, torch.float32):
        system = System.from_atoms(atoms, dtype=dtype)
        pairs = find_pairs(system, params.cutoff)
        results.append(SnapWarp(params, CPU, dtype, 1).compute(system, pairs, NEED))
    scale = results[0].forces.abs().max()
    assert (results[0].forces - results[1].forces).abs().max() < 1e-4 * scale


def test_weighted_gradients_are_those_of_the_weighted_descriptors():
    params = make_params(4, ("Mo", "Ta"), bzeroflag=True)
    system = System.from_atoms(structure(("Mo", "Ta")))
    pairs = find_pairs(system, params.cutoff)
    beta = torch.from_numpy(np.random.default_rng(1).normal(size=(system.n_atoms, params.n_components)))
    got = SnapWarp(params, CPU, torch.float64, 1).weighted_gradients(system, pairs, beta)
    model = SnapWarp(params, CPU, torch.float64, 1)
    forces, _ = model.reduce(system, pairs, got, frozenset({"forces"}))
    step = 1e-4
    for atom, axis in ((0, 0), (3, 2), (7, 1)):
        sums = []
        for sign in (1, -1):
            moved = system.positions.clone()
            moved[atom, axis] += sign * step
            b = model.descriptors(replace(system, positions=moved), pairs)
            sums.append(float((beta * b).sum()))
        numeric = -(sums[0] - sums[1]) / (2 * step)
        assert abs(numeric - float(forces[atom, axis])) < 1e-6 * max(1.0, abs(numeric))


@pytest.mark.parametrize("twojmax", [3, 6])
def test_chains_make_unitary_matrices_and_generators_their_derivative(twojmax):
    """U_j(g) is unitary, and d/de U(g exp(-i e sigma_k)) mixes columns as the table says."""
    rng = np.random.default_rng(2)
    quaternion = rng.normal(size=4)
    quaternion /= np.linalg.norm(quaternion)
    u = _u_matrices(twojmax, quaternion)
    for j, matrix in enumerate(u):
        np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(j + 1), atol=1e-12)
    _, numbers = generators(twojmax)
    c = chains(twojmax)
    step = 1e-5
    w, x, y, z = quaternion
    # g = [[a, b], [-b*, a*]], a = w + i x, b = y + i z; g (1 - i e sigma_z) multiplies a by exp(-i e), b by exp(i e)
    turned = [_u_matrices(twojmax, _turn(quaternion, s * step)) for s in (1, -1)]
    for e in range(len(c.j)):
        j, row, column = c.j[e], (c.j[e] - c.p[e]) // 2, (c.j[e] - c.q[e]) // 2
        numeric = (turned[0][j][row, column] - turned[1][j][row, column]) / (2 * step)
        assert abs(numeric - 1j * numbers[e, 2] * u[j][row, column]) < 1e-8


def _turn(quaternion, angle):
    w, x, y, z = quaternion
    a, b = (w + 1j * x) * np.exp(-1j * angle), (y + 1j * z) * np.exp(1j * angle)
    return np.array([a.real, a.imag, b.real, b.imag])


def _u_matrices(twojmax: int, quaternion) -> list[np.ndarray]:
    """U_0 ... U_2J from the chain tables alone."""
    c = chains(twojmax)
    a, b = quaternion[0] + 1j * quaternion[1], quaternion[2] + 1j * quaternion[3]
    x = abs(a) ** 2 - abs(b) ** 2
    half = np.zeros(len(c.j), complex)
    for (first, length, mu, nu), (f, sa, sb) in zip(c.index, c.start, strict=True):
        power_a, power_b = np.conj(a) ** mu, (-np.conj(b)) ** nu
        s = (power_a if sa > 0 else np.conj(power_a)) * (power_b if sb > 0 else np.conj(power_b))
        before = 0.0
        for e in range(first, first + length):
            half[e] = s * f
            alpha, beta, gamma = c.step[e]
            f, before = (alpha * x + beta) * f - gamma * before, f
    block, source, signs = full_map(twojmax)
    full = half[source].real * signs[:, 0] + 1j * half[source].imag * signs[:, 1]
    return [full[block[j] : block[j] + (j + 1) ** 2].reshape(j + 1, j + 1) for j in range(twojmax + 1)]
