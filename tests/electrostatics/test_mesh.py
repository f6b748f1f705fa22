"""Particle mesh sums by torch-pme and nvalchemi-toolkit-ops against exact ones, and what happens without them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from calczoo.core.errors import BackendUnavailable, OptionError
from calczoo.core.system import System
from calczoo.electrostatics import Geometry, equilibrate, mesh, methods, nvalchemi_mesh
from electrostatics.cases import charges, parameters, random_structure, system, water, widths

needs_mesh = pytest.mark.skipif(not mesh.available(), reason="torch-pme is not installed")
needs_nvalchemi = pytest.mark.skipif(
    not nvalchemi_mesh.available(), reason="nvalchemi-toolkit-ops is not installed (extra 'nvalchemi')"
)


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


@needs_nvalchemi
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("accuracy", [1e-4, 1e-6])
@pytest.mark.parametrize("total", [0.0, 1.0])
def test_nvalchemi_as_exact_sums(accuracy, total, device):
    """Its errors are those it is asked for, whatever it keeps in single precision."""
    atoms = random_structure(25, 3, size=9.0)
    for sigma in (None, widths(25)):
        q, p = (charges(25, seed=k, total=total).to(device) for k in (0, 5))
        sigma = None if sigma is None else sigma.to(device)
        exact = Geometry.of(System.from_atoms(atoms, torch.device(device)), sigma, 1.0, 1e-13)
        rough = Geometry.of(System.from_atoms(atoms, torch.device(device)), sigma, 1.0, accuracy, method="nvalchemi")
        size = max(float(q.abs().max()), float(p.abs().max())) * accuracy
        assert float((rough.potential(q) - exact.potential(q)).abs().max()) < 3.0 * size
        assert float((rough.diagonal() - exact.diagonal()).abs().max()) < 3.0 * size
        for left in (q, p):
            for got, want in zip(rough.gradients(left, q), exact.gradients(left, q), strict=True):
                assert float((got - want).abs().max()) < 300.0 * size * max(1.0, float(want.abs().max()))
        assert float((rough.matrix() - exact.matrix()).abs().max()) < accuracy


def test_choice_of_the_method(monkeypatch):
    for module in (mesh, nvalchemi_mesh):
        monkeypatch.setattr(module, "available", lambda: True)
    choose, many = methods.choose_method, methods.ATOMS
    assert choose("auto", many, 1e-6) == choose("auto", many, 1e-7, "cuda") == "mesh"
    assert choose("auto", many, 1e-6, "cuda") == "nvalchemi"
    assert choose("auto", many, 1e-10) == choose("auto", 1000, 1e-6) == "ewald"
    assert choose("ewald", many, 1e-6) == "ewald" and choose("nvalchemi", 2, 1e-6) == "nvalchemi"
    with pytest.raises(OptionError, match="torch-pme reaches an accuracy of 1e-09, not 1e-12"):
        choose("mesh", many, 1e-12)
    with pytest.raises(OptionError, match="nvalchemi-toolkit-ops reaches an accuracy of 1e-06, not 1e-08"):
        choose("nvalchemi", many, 1e-8)
    with pytest.raises(OptionError, match="is 'p3m'; allowed are auto, ewald, mesh, nvalchemi"):
        choose("p3m", many, 1e-8)
    for module in (mesh, nvalchemi_mesh):
        monkeypatch.setattr(module, "available", lambda: False)
    assert choose("auto", many, 1e-6) == choose("auto", many, 1e-6, "cuda") == "ewald"
    with pytest.raises(BackendUnavailable, match=r"pip install 'calczoo\[longrange\]'"):
        choose("mesh", many, 1e-6)
    with pytest.raises(BackendUnavailable, match=r"pip install 'calczoo\[nvalchemi\]'"):
        choose("nvalchemi", many, 1e-6)


def test_another_package_that_replaces_index_select_breaks_nothing():
    """torch_geometric does; torch-pme then failed with "Arguments for call are not valid"."""
    code = """if True:
        import torch
        own = torch.index_select
        def other(x, dim, index):
            return own(x, dim, index)
        torch.index_select = other
        from ase.build import bulk
        from calczoo import get_calculator
        calc = get_calculator("ewald(Na=1, Cl=-1, method=mesh, accuracy=1e-6)", device="cpu", threads=1)
        print(calc.get_potential_energy(bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2)))
        assert torch.index_select is other
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(-1.7475645946 * 14.3996454784 / 2.82 * 32, rel=1e-6)
