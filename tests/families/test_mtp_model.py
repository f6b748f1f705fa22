"""MTP formulas of the torch backend against plain loops, finite differences, and warnings for short distances."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from ase import Atoms

from calczoo.families.mtp import FAMILY
from calczoo.families.mtp.load import build
from calczoo.families.mtp.model import MtpTorch
from calczoo.families.mtp.params import BASES, MtpParams
from calczoo.families.mtp.radial import ShortDistanceWarning
from calczoo.families.mtp.text_mtp import read_template
from calczoo.registry import ModelRequest
from data import max_abs, shared
from families.mtp_cases import prepared, rattled, toy

BACKENDS = FAMILY.backends
QUIET = pytest.mark.filterwarnings("ignore:.*the shortest distance is")


def model_of(params: MtpParams, backend: str, dtype: str = "float64"):
    return build(params, ModelRequest("mtp", device="cpu", dtype=dtype, backend=backend, threads=1))


def alloy(seed: int = 3) -> Atoms:
    atoms = rattled("Cu", seed, repeat=1, amount=0.15)
    atoms.symbols[[1, 3]] = "Au"
    return atoms


def plain_energies(p: MtpParams, atoms: Atoms) -> np.ndarray:
    """Site energies from the definition, one operation at a time."""
    system, pairs = prepared(MtpTorch(p), atoms)
    species = [p.numbers.index(z) for z in atoms.numbers]
    moments, out = np.zeros((len(atoms), p.moments.count)), np.zeros(len(atoms))
    for i, j, vector in zip(pairs.i.tolist(), pairs.j.tolist(), pairs.vectors(system).numpy(), strict=True):
        r = float(np.linalg.norm(vector))
        q = plain_radial(p, r)
        for k, (mu, a, b, c) in enumerate(p.moments.basic.tolist()):
            x, y, z = vector / r
            moments[i, k] += (p.radial[species[i], species[j], mu] @ q) * x**a * y**b * z**c
        if p.basis == "RBChebyshev_repuls" and r < p.min_dist:
            out[i] += 1e4 * (np.exp(-10 * (r - 1)) - np.exp(-10 * (p.min_dist - 1)))
    for i, j, mult, k in p.moments.times.tolist():
        moments[:, k] += mult * moments[:, i] * moments[:, j]
    return out + p.species[species] + moments[:, p.moments.scalars] @ p.weights


def plain_radial(p: MtpParams, r: float) -> np.ndarray:
    n = np.arange(p.radial.shape[3])
    if p.basis == "RBTaylor":
        return p.scaling * r**n
    r = max(r, p.min_dist) if p.basis.endswith("repuls") else r
    xi = (2 * r - p.min_dist - p.max_dist) / (p.max_dist - p.min_dist)
    t = np.cos(n * np.arccos(xi)) if abs(xi) <= 1 else np.sign(xi) ** n * np.cosh(n * np.arccosh(abs(xi)))
    return p.scaling * t * ((r - p.max_dist) ** 2 if p.basis.startswith("RB") else 1.0)


@QUIET
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("min_dist", [1.9, 2.55])
@pytest.mark.parametrize("basis", BASES)
def test_every_basis_equals_plain_loops(basis, min_dist, backend):
    p = toy(("Au", "Cu"), basis, scaling=0.7, min_dist=min_dist)
    model, atoms = model_of(p, backend), alloy()
    found = model.compute(*prepared(model, atoms), frozenset({"energies"}))
    wanted = plain_energies(p, atoms)
    assert max_abs(found.energies, wanted) < 1e-11 * max(1.0, np.abs(wanted).max())


@QUIET
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("basis", ["RBChebyshev", "RBChebyshev_repuls", "BChebyshev_repuls"])
def test_forces_are_the_gradient_below_min_dist_too(basis, backend):
    p = toy(("Au", "Cu"), basis, scaling=0.5, min_dist=2.55)
    model, h = model_of(p, backend), 1e-5
    atoms = Atoms("CuAu2Cu", positions=[[0, 0, 0], [1.5, 0.2, 0.1], [0.3, 2.9, 0.2], [1.1, 1.6, 2.5]])
    forces = model.compute(*prepared(model, atoms), frozenset({"forces"})).forces.numpy()
    for a in range(4):
        for c in range(3):
            energies = []
            for step in (h, -h):
                moved = atoms.copy()
                moved.positions[a, c] += step
                energies.append(float(model.compute(*prepared(model, moved), frozenset({"energy"})).energy[0]))
            slope = -(energies[0] - energies[1]) / (2 * h)
            assert abs(forces[a, c] - slope) < 1e-6 * max(1.0, np.abs(forces).max()), (a, c)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("basis", ["RBChebyshev", "RBTaylor"])
def test_basis_vectors_are_the_derivatives_of_site_energies(basis, backend):
    p = toy(("Au", "Cu"), basis)
    model, atoms, theta = model_of(p, backend), alloy(), p.coefficients()
    system, pairs = prepared(model, atoms)
    b = model.basis_vectors(system, pairs).numpy()
    assert b.shape == (4, p.n_coefficients)
    wanted = np.empty_like(b)
    for k in range(len(theta)):
        step = 1e-4 * np.eye(len(theta))[k]
        v = [
            MtpTorch(p.with_coefficients(t)).compute(system, pairs, frozenset({"energies"})).energies.numpy()
            for t in (theta + 2 * step, theta + step, theta - step, theta - 2 * step)
        ]
        wanted[:, k] = (8 * (v[1] - v[2]) - (v[0] - v[3])) / (12 * 1e-4)
    assert max_abs(b, wanted) < 1e-8 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_energies_are_linear_in_the_last_basis_vectors(backend):
    p = toy(("Au", "Cu"))
    model = model_of(p, backend)
    system, pairs = prepared(model, alloy())
    found = model.compute(system, pairs, frozenset({"energies", "descriptors"}))
    b = model.basis_vectors(system, pairs)
    tail = p.radial.size
    assert max_abs(b[:, tail + 2 :], found.descriptors) < 1e-13
    assert max_abs(b[:, tail:] @ torch.tensor(p.coefficients()[tail:]), found.energies) < 1e-12


def test_chunks_change_nothing(monkeypatch):
    p = toy(("Au", "Cu"))
    model, atoms = MtpTorch(p), alloy().repeat((2, 2, 1))
    need = frozenset({"energies", "forces", "virials", "descriptors"})
    system, pairs = prepared(model, atoms)
    whole, rows = model.compute(system, pairs, need), model.basis_vectors(system, pairs)
    monkeypatch.setattr("calczoo.families.mtp.model.CHUNK_BYTES", 1)
    for name, value in model.compute(system, pairs, need).present().items():
        assert max_abs(value, getattr(whole, name)) < 1e-12, name
    assert max_abs(model.basis_vectors(system, pairs), rows) < 1e-12


def test_second_derivatives_flow():
    model = MtpTorch(toy())
    system, pairs = prepared(model, rattled("Cu", 1, repeat=1))
    vectors = pairs.vectors(system).requires_grad_(True)

    def first(v):
        return torch.autograd.grad(model.site_energies(system, pairs, v).sum(), v, create_graph=True)[0]

    direction = torch.from_numpy(np.random.default_rng(0).normal(size=tuple(vectors.shape)))
    (second,) = torch.autograd.grad((first(vectors) * direction).sum(), vectors)
    h = 1e-5
    ahead, behind = (first((vectors + s * direction).detach().requires_grad_(True)) for s in (h, -h))
    assert max_abs(second, ((ahead - behind) / (2 * h)).detach()) < 1e-6 * float(second.abs().max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_atoms_without_neighbours_and_no_atoms(backend):
    p = toy()
    model = model_of(p, backend)
    need = frozenset({"energy", "energies", "forces", "virial", "descriptors"})
    lone = model.compute(*prepared(model, Atoms("Cu"), Atoms("Cu2", [[0, 0, 0], [9, 0, 0]])), need)
    assert max_abs(lone.energies, p.species[0]) < 1e-14 and max_abs(lone.forces, 0.0) == 0.0
    none = model.compute(*prepared(model, Atoms()), need)
    assert none.energy.tolist() == [0.0] and none.forces.shape == (0, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_short_distances_are_told_once(backend):
    model = model_of(toy(), backend)
    near, far = Atoms("Cu2", [[0, 0, 0], [1.55, 0, 0]]), Atoms("Cu2", [[0, 0, 0], [2.2, 0, 0]])
    need = frozenset({"energy", "forces"})
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.compute(*prepared(model, far), need)
        assert not seen
        for _ in range(3):
            model.compute(*prepared(model, near), need)
    assert [w.category for w in seen] == [ShortDistanceWarning]
    text = str(seen[0].message)
    assert "toy" in text and "1.55 A" in text and "1.9 A" in text


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_precision_is_close(backend):
    p, atoms = toy(("Au", "Cu")), alloy().repeat(2)
    need = frozenset({"energies", "forces"})
    exact, rough = (
        m.compute(*prepared(m, atoms), need) for m in (model_of(p, backend), model_of(p, backend, "float32"))
    )
    assert max_abs(rough.energies, exact.energies) < 1e-5 * float(exact.energies.abs().max())
    assert max_abs(rough.forces, exact.forces) < 1e-4 * float(exact.forces.abs().max())


@pytest.mark.parametrize("level", ["16", "22", "28"])
def test_high_levels_equal_plain_loops(level):
    suffix = "" if level == "16" else ".xz"
    moments = read_template(shared(f"data/mtp/untrained_mlip2/{level}.mtp{suffix}")).moments
    rng = np.random.default_rng(int(level))
    p = MtpParams(
        elements=("Cu",),
        radial=rng.normal(size=(1, 1, moments.n_radial, 8)) * 0.05,
        moments=moments,
        species=[-3.0],
        weights=rng.normal(size=len(moments.scalars)) * 0.01,
        min_dist=1.9,
        max_dist=4.0,
    )
    model, atoms = MtpTorch(p), rattled("Cu", 0, repeat=1)
    found = model.compute(*prepared(model, atoms), frozenset({"energies", "forces"}))
    wanted = plain_energies(p, atoms)
    assert max_abs(found.energies, wanted) < 1e-11 * max(1.0, np.abs(wanted).max())
    assert max_abs(found.forces.sum(dim=0), 0.0) < 1e-9 * float(found.forces.abs().max())
