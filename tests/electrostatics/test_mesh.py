"""Particle mesh sums by torch-pme against exact ones, and what happens without it."""

from __future__ import annotations

import pytest
import torch

from calczoo.core.errors import BackendUnavailable, OptionError
from calczoo.electrostatics import Geometry, equilibrate, mesh
from electrostatics.cases import charges, parameters, random_structure, system, water, widths

needs_mesh = pytest.mark.skipif(not mesh.available(), reason="torch-pme is not installed")


@needs_mesh
@pytest.mark.parametrize("accuracy", [1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("total", [0.0, 1.0])
def test_as_exact_sums(accuracy, total):
    atoms = random_structure(25, 3, size=9.0)
    for sigma in (None, widths(25)):
        q = charges(25, total=total)
        exact = Geometry.of(system(atoms), sigma, 1.0, 1e-13)
        rough = Geometry.of(system(atoms), sigma, 1.0, accuracy, method="mesh")
        size = float(q.abs().max()) * accuracy
        assert float((rough.potential(q) - exact.potential(q)).abs().max()) < 3.0 * size
        assert float((rough.diagonal() - exact.diagonal()).abs().max()) < 3.0 * size
        for got, want in zip(rough.gradients(q, q), exact.gradients(q, q), strict=True):
            assert float((got - want).abs().max()) < 300.0 * size * max(1.0, float(want.abs().max()))
        assert float((rough.matrix() - exact.matrix()).abs().max()) < accuracy


@needs_mesh
def test_derivatives_are_those_of_the_mesh_sum():
    """Forces and virial belong to the approximate energy itself, far better than it is exact."""
    atoms, q = random_structure(6, 3, size=7.0), charges(6, total=0.0)
    eta, h = 1.5, 1e-3
    options = {"method": "mesh", "splitting": eta}
    forces, _ = Geometry.of(system(atoms), None, 1.0, 1e-5, **options).gradients(q, q)
    by = []
    for step in (h, -h):
        moved = atoms.copy()
        moved.positions[2, 1] += step
        by.append(float(Geometry.of(system(moved), None, 1.0, 1e-5, **options).energy(q)[0]))
    assert -0.5 * float(forces[2, 1]) == pytest.approx((by[0] - by[1]) / (2 * h), abs=2e-5)


@needs_mesh
def test_equilibration_on_the_mesh():
    atoms = water(5)
    chi, j, sigma = parameters(system(atoms).numbers)
    total = torch.zeros(1).double()
    exact = equilibrate(Geometry.of(system(atoms), sigma), chi, j, total)
    rough = equilibrate(Geometry.of(system(atoms), sigma, accuracy=1e-7, method="mesh"), chi, j, total, "cg", 1e-8)
    assert float((rough.charges - exact.charges).abs().max()) < 1e-6


def test_choice_of_the_method(monkeypatch):
    monkeypatch.setattr(mesh, "available", lambda: True)
    many = mesh.ATOMS
    assert mesh.choose_method("auto", many, 1e-6) == "mesh"
    assert mesh.choose_method("auto", many, 1e-10) == mesh.choose_method("auto", 1000, 1e-6) == "ewald"
    assert mesh.choose_method("ewald", many, 1e-6) == "ewald"
    with pytest.raises(OptionError, match="reaches an accuracy of 1e-09, not 1e-12"):
        mesh.choose_method("mesh", many, 1e-12)
    monkeypatch.setattr(mesh, "available", lambda: False)
    assert mesh.choose_method("auto", many, 1e-6) == "ewald"
    with pytest.raises(BackendUnavailable, match=r"pip install 'calczoo\[longrange\]'"):
        mesh.choose_method("mesh", many, 1e-6)
