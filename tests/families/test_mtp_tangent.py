"""Derivatives used in training: kernels against batched torch, both against finite differences of the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from calczoo.families.mtp.fit_frames import Frames
from calczoo.families.mtp.fit_problem import Problem
from calczoo.families.mtp.levels import untrained
from calczoo.families.mtp.load import build
from calczoo.families.mtp.tangent import Tangents
from calczoo.families.mtp.tangent_tables import TangentTables, dependencies
from calczoo.families.mtp.tangent_torch import TorchTangents
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import evaluate
from calczoo.registry import ModelRequest

CUTOFF = 4.6


def structures(species=("Cu", "Ni"), seed=5):
    """Crystals, a slab, a cluster, a lone atom and a cell smaller than the cutoff; rattled, with mixed species."""
    rng = np.random.default_rng(seed)
    slab = bulk("Cu", cubic=True, a=3.6).repeat((1, 1, 2))
    slab.center(vacuum=4.0, axis=2)
    slab.pbc = [True, True, False]
    many = [
        bulk("Cu", cubic=True, a=3.6).repeat((1, 1, 2)),
        slab,
        Atoms("Cu5", positions=rng.uniform(0, 4.2, (5, 3)) + 2.0 * np.eye(5, 3)),
        Atoms("Cu", cell=[20, 20, 20], pbc=True),
        bulk("Cu", a=3.5),
    ]
    for atoms in many:
        atoms.rattle(0.1, rng=rng)
        atoms.set_chemical_symbols(rng.choice(species, len(atoms)).tolist())
    return many


def potential(species=("Cu", "Ni"), level=8, basis="RBChebyshev", seed=2, low=1.7):
    rng = np.random.default_rng(seed)
    shape = untrained(level, species, low, CUTOFF, 6)
    return replace(
        shape,
        radial=rng.normal(size=shape.radial.shape),
        species=rng.normal(size=len(species)),
        weights=rng.normal(size=shape.n_basis) * 0.1,
        basis=basis,
    )


def labelled(many, params):
    """The structures with the potential's energies, forces and stresses."""
    model = build(params, ModelRequest("mtp", device="cpu", threads=1, backend="torch"))
    out = []
    for atoms, result in zip(many, evaluate(model, Dataset.from_structures(many)), strict=True):
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **result)
        out.append(copy)
    return Dataset.from_atoms(out)


def both(params, many, wanted=None):
    frames = Frames.of(Dataset.from_structures(many), params.elements, params.cutoff)
    some = np.ones(len(many), bool) if wanted is None else wanted
    return Tangents(params, frames, 1, some), TorchTangents(params, frames, some, torch.device("cpu"))


@pytest.mark.parametrize("species", [("Cu",), ("Cu", "Ni"), ("Ni", "Cu", "Al")])
@pytest.mark.parametrize("level", [2, 8, 12])
def test_kernels_and_torch_give_the_same_columns(species, level):
    params, many = potential(species, level), structures(species)
    some = (0, len(many))
    for made in zip(*[(t.moment_columns(params.radial, some), t.radial_columns(params.radial, params.weights, some))
                      for t in both(params, many)], strict=True):  # fmt: skip
        scale = made[1].abs().max()
        assert made[0].shape == made[1].shape and scale > 0
        assert (made[0] - made[1]).abs().max() < 1e-12 * scale


def test_the_repulsive_basis_is_constant_below_min_dist():
    params = potential(basis="RBChebyshev_repuls", low=2.4)
    warp, plain = both(params, structures())
    a, b = (t.radial_columns(params.radial, params.weights, (0, 5)) for t in (warp, plain))
    assert (a - b).abs().max() < 1e-12 * b.abs().max()
    smooth = both(replace(params, basis="RBChebyshev"), structures())[1]
    c = smooth.radial_columns(params.radial, params.weights, (0, 5))
    assert (b - c).abs().max() > 1e-3 * b.abs().max()


def test_rows_are_energies_forces_and_virials_of_the_model():
    params, many = potential(), structures()
    model = build(params, ModelRequest("mtp", device="cpu", threads=1, backend="torch"))
    results = evaluate(model, Dataset.from_structures(many))
    x = torch.from_numpy(np.concatenate([params.species, params.weights]))
    tangents = both(params, many)[0]
    flat, edges = tangents.moment_columns(params.radial, (0, len(many))), tangents.places("moment", (0, len(many)))
    for k, (atoms, result) in enumerate(zip(many, results, strict=True)):
        n = len(atoms)
        rows = (flat[edges[k] : edges[k + 1]].view(len(x), -1).T @ x).numpy()
        assert rows[3 * n] == pytest.approx(result["energy"], abs=1e-11)
        assert np.allclose(rows[: 3 * n].reshape(-1, 3), result["forces"], rtol=0, atol=1e-11)
        if atoms.pbc.all():
            assert np.allclose(rows[3 * n + 1 :], result["stress"] * atoms.get_volume(), rtol=0, atol=1e-10)


def columns(tangents, params):
    """All columns (rows, parameters) in the order of params.coefficients()."""
    some = (0, len(tangents.frames))
    parts = []
    for name, flat in (
        ("radial", tangents.radial_columns(params.radial, params.weights, some)),
        ("moment", tangents.moment_columns(params.radial, some)),
    ):
        edges = tangents.places(name, some)
        blocks = [flat[a:b].view(tangents.widths[name], -1).T for a, b in zip(edges[:-1], edges[1:], strict=True)]
        parts.append(torch.cat(blocks))
    return torch.cat(parts, dim=1).numpy()


@pytest.mark.parametrize("path", [0, 1])
def test_every_parameter_against_finite_differences(path):
    """Energies, forces and virials of the model itself, differentiated in every radial, species and moment
    coefficient; then the gradient of the whole loss."""
    params, many = potential(level=6), structures()
    made = columns(both(params, many)[path], params)

    def values(theta):
        tangents = both(params, many)[0]
        changed = params.with_coefficients(theta)
        x = torch.from_numpy(np.concatenate([changed.species, changed.weights]))
        some = (0, len(many))
        flat, edges = tangents.moment_columns(changed.radial, some), tangents.places("moment", some)
        return np.concatenate(
            [(flat[a:b].view(len(x), -1).T @ x).numpy() for a, b in zip(edges[:-1], edges[1:], strict=True)]
        )

    theta, h = params.coefficients(), 1e-4
    assert made.shape[1] == len(theta)
    rng = np.random.default_rng(0)
    target = values(theta) + rng.normal(size=len(made))
    gradient = 2.0 * made.T @ (values(theta) - target)
    for k in range(len(theta)):
        step = np.eye(len(theta))[k] * h
        up, down = values(theta + step), values(theta - step)
        difference = (up - down) / (2 * h)
        assert np.abs(difference - made[:, k]).max() < 1e-6 * max(1.0, np.abs(difference).max()), k
        loss = (((up - target) ** 2).sum() - ((down - target) ** 2).sum()) / (2 * h)
        assert loss == pytest.approx(gradient[k], rel=1e-5, abs=1e-5 * np.abs(gradient).max())


def test_structures_of_which_only_the_energy_is_wanted_have_no_other_rows():
    params, many = potential(), structures()
    wanted = np.array([True, False, True, True, False])
    full, part = both(params, many)[0], both(params, many, wanted)[0]
    for name in ("moment", "radial"):
        args = (params.radial, (0, 5)) if name == "moment" else (params.radial, params.weights, (0, 5))
        edges = full.places(name, (0, 5))
        a, b = (getattr(t, f"{name}_columns")(*args) for t in (full, part))
        for k, n in enumerate(map(len, many)):
            x, y = (t[edges[k] : edges[k + 1]].view(full.widths[name], -1) for t in (a, b))
            assert torch.equal(x[:, 3 * n], y[:, 3 * n])
            assert torch.equal(x, y) if wanted[k] else y[:, : 3 * n].abs().max() == 0


def test_the_projected_gradient_against_finite_differences():
    params = potential(level=8)
    data = labelled(structures(), params)
    frames = Frames.of(data, params.elements, params.cutoff)
    weights = [np.where(np.isfinite(t), 1.0, 0.0) for t in frames.targets]
    shape = replace(params, weights=np.zeros(params.n_basis))
    for keep in (0, 1 << 30):  # columns made twice, or kept
        problem = Problem(frames, Tangents(shape, frames), weights, np.zeros(len(frames), bool), 1e-10, keep)
        rng = np.random.default_rng(1)
        radial = params.radial + 0.3 * rng.normal(size=params.radial.shape)
        _, gradient = problem.radial_system(radial, problem.linear(radial))
        direction = rng.normal(size=radial.shape)
        h = 1e-4
        up, down = (problem.linear(radial + s * h * direction).objective for s in (1, -1))
        assert (up - down) / (2 * h) == pytest.approx(2 * gradient @ direction.ravel(), rel=1e-4)


def test_tables_name_the_basic_moments_of_each_basis_function():
    moments = potential(level=12).moments
    tables = TangentTables.of(moments, 3)
    p, flat = tables.places, tables.integers
    at = flat[p["i_dep_at"] : p["i_dep_at"] + p["n_scalars"] + 1]
    found = dependencies(moments)
    for s, scalar in enumerate(moments.scalars):
        assert set(flat[p["i_dep"] + at[s] : p["i_dep"] + at[s + 1]]) == found[scalar]
    assert p["n_dep"] == at[-1] and 0.05 < p["n_dep"] / (len(moments.basic) * len(moments.scalars)) < 0.2


def test_threads_change_nothing():
    params, many = potential(), structures() * 3
    frames = Frames.of(Dataset.from_structures(many), params.elements, params.cutoff)
    one, two = (Tangents(params, frames, t).moment_columns(params.radial, (0, len(many))) for t in (1, 2))
    assert torch.equal(one, two)
