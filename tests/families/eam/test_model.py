"""The two backends against each other and against formulas; what the kernels must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import warp as wp
from ase import Atoms
from ase.build import bulk

from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.eam.angular import adp_forces_kernel
from calczoo.families.eam.kernels import forces_kernel, sites_kernel
from calczoo.families.eam.load import build
from calczoo.families.eam.params import hermite, lagrange
from calczoo.registry import ModelRequest
from families.eam.toy import toy

NEED = frozenset({"energy", "energies", "forces", "virial", "virials", "pair_gradients"})
CASES = [(style, elements) for style in ("alloy", "fs", "he", "adp", "funcfl") for elements in (("Cu",), ("Cu", "Ni"))]


def model(params, backend="warp", dtype="float64", threads=1):
    return build(params, ModelRequest("eam", device="cpu", dtype=dtype, backend=backend, threads=threads))


def crystal(elements, seed=3, a=3.5, repeat=2):
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a, cubic=True) * repeat
    atoms.set_chemical_symbols([elements[k] for k in rng.integers(len(elements), size=len(atoms))])
    atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
    return atoms


def compute(m, structures, need=NEED, skin=0.0):
    system = System.from_atoms(structures, "cpu", m.dtype)
    return m.compute(system, find_pairs(system, m.cutoff, skin), need)


@pytest.mark.parametrize(("style", "elements"), CASES)
def test_backends_agree(style, elements):
    params = toy(style, elements)
    structures = [crystal(elements, seed, a, 1) for seed, a in ((1, 3.5), (2, 2.6), (3, 4.4))]
    structures += [
        Atoms("Cu2", [[0, 0, 0], [2.2, 0.3, 0]]),
        Atoms("Cu"),
        Atoms(),
        Atoms("Cu", cell=2.5 * np.eye(3), pbc=1),
    ]
    a, b = (compute(model(params, backend), structures, skin=0.4) for backend in ("torch", "warp"))
    for name, value in a.present().items():
        size = max(1.0, float(value.abs().max()))
        assert float((value - getattr(b, name)).abs().max()) <= 1e-11 * size, name
    assert set(a.present()) == set(b.present()) == set(NEED)


@pytest.mark.parametrize(("style", "elements"), CASES)
def test_single_precision(style, elements):
    atoms = crystal(elements)
    a, b = (compute(model(toy(style, elements), dtype=d), atoms) for d in ("float64", "float32"))
    for name in ("energies", "forces", "virials"):
        size = max(1.0, float(getattr(a, name).abs().max()))
        assert float((getattr(a, name) - getattr(b, name)).abs().max()) <= 2e-5 * size, name


@pytest.mark.parametrize("style", ["fs", "adp"])
def test_forces_are_the_gradient(style):
    params = toy(style)
    m, atoms = model(params), crystal(params.elements, repeat=1)
    forces = compute(m, atoms).forces.numpy()
    for n, c in ((0, 0), (2, 1), (3, 2)):
        energies = []
        for step in (-1e-4, 1e-4):
            moved = atoms.copy()
            moved.positions[n, c] += step
            energies.append(float(compute(m, moved, frozenset({"energy"})).energy))
        assert abs((energies[0] - energies[1]) / 2e-4 - forces[n, c]) < 1e-6


@pytest.mark.parametrize("style", ["fs", "adp"])
def test_threads_and_list_do_not_change_results(style):
    """Bitwise the same for any number of threads; a longer list adds nothing, whatever its order of sums."""
    params = toy(style)
    atoms = crystal(params.elements, repeat=3)
    one, three = (compute(model(params, threads=t), atoms) for t in (1, 3))
    assert all(torch.equal(v, getattr(three, k)) for k, v in one.present().items())
    wide = compute(model(params), atoms, skin=2.0)
    for name in ("energies", "forces", "virials"):
        assert float((getattr(wide, name) - getattr(one, name)).abs().max()) < 1e-12


def test_one_model_serves_many_lists():
    params = toy("fs")
    m = model(params)
    structures = [crystal(params.elements, k, repeat=1 + k % 2) for k in range(4)]
    fresh = [compute(model(params), s).forces for s in structures]
    assert all(torch.equal(compute(m, s).forces, f) for s, f in zip(structures * 2, fresh * 2, strict=True))


@pytest.mark.parametrize("backend", ["torch", "warp"])
def test_dimer_by_hand(backend):
    """rho, phi and F at table points, where the splines are exact."""
    params = toy("fs")
    k = 23
    atoms = Atoms("CuNi", [[0, 0, 0], [0, 0, k * params.dr]])
    got = compute(model(params, backend), atoms).energies
    for n, (host, source) in enumerate(((0, 1), (1, 0))):
        rho = params.density[source, host, k]
        m = int(rho / params.drho)
        t = rho / params.drho - m
        f = np.polyval(hermite(params.embedding[host])[m][::-1], t)
        assert abs(float(got[n]) - f - 0.5 * params.r_phi[0, 1, k] / (k * params.dr)) < 1e-14


@pytest.mark.parametrize("backend", ["torch", "warp"])
@pytest.mark.parametrize("style", ["alloy", "he", "funcfl"])
def test_embedding_beyond_the_table(style, backend):
    """Densities far above and below the table: a line above, the first cubic below; finite, and forces its gradient."""
    params = toy(style, ("Cu",))
    m = model(params, backend)
    close = [Atoms("Cu4", np.array([[0, 0, 0], [d, 0, 0], [0, d, 0], [0, 0, 1.1 * d]])) for d in (0.05, 0.2, 0.5)]
    for atoms in close:
        forces = compute(m, atoms).forces.numpy()
        energies = []
        for step in (-1e-6, 1e-6):
            moved = atoms.copy()
            moved.positions[1, 0] += step
            energies.append(float(compute(m, moved).energy))
        slope = (energies[0] - energies[1]) / 2e-6
        assert abs(slope - forces[1, 0]) < 1e-5 * max(1.0, abs(slope))


def test_second_derivatives_of_the_reference():
    """create_graph: forces can be differentiated again."""
    params = toy("adp")
    m, atoms = model(params, "torch"), crystal(params.elements, repeat=1)
    m.create_graph = True
    forces = []
    for step in (-1e-5, 1e-5):
        moved = atoms.copy()
        moved.positions[1, 2] += step
        forces.append(compute(m, moved).forces.detach()[2, 0])
    system = System.from_atoms(atoms)
    system.positions.requires_grad_(True)
    out = m.compute(system, find_pairs(system, m.cutoff), frozenset({"forces"}))
    (row,) = torch.autograd.grad(out.forces[2, 0], system.positions)
    assert abs(float((forces[1] - forces[0]) / 2e-5 - row[1, 2])) < 1e-6


def test_hermite_is_exact_for_parabolas_and_continuous():
    x = np.arange(9.0)
    cubic = hermite((2.0 - x + 0.3 * x**2)[None])[0]
    t = 0.37
    middle = [np.polyval(c[::-1], t) for c in cubic[1:-1]]
    assert np.allclose(middle, 2.0 - (x[1:-2] + t) + 0.3 * (x[1:-2] + t) ** 2, atol=1e-13)
    rough = hermite(np.random.default_rng(1).normal(size=9))
    assert np.allclose(rough[:-1].sum(axis=1), rough[1:, 0])
    assert np.allclose(rough[:-1] @ [0, 1, 2, 3], rough[1:, 1])


def test_lagrange_keeps_cubics():
    x = 0.1 * np.arange(20)
    new = lagrange(x**3 - x, 0.1, 15, 0.123)
    y = 0.123 * np.arange(15)
    assert np.allclose(new, y**3 - y, atol=1e-14)


@pytest.mark.cuda
@pytest.mark.parametrize(("style", "elements"), CASES)
def test_cuda(style, elements):
    params, atoms = toy(style, elements), crystal(elements)
    a = compute(model(params), atoms)
    m = build(params, ModelRequest("eam", device="cuda", backend="warp"))
    system = System.from_atoms(atoms, "cuda", m.dtype)
    b = m.compute(system, find_pairs(system, m.cutoff), NEED)
    for name, value in a.present().items():
        assert float((value - getattr(b, name).cpu()).abs().max()) <= 1e-10 * max(1.0, float(value.abs().max())), name


def test_kernels_compile_for_cuda(tmp_path):
    """The same sources, through NVIDIA's compiler, which needs no GPU."""
    f64 = torch.float64
    for kernel in (sites_kernel(f64, True), forces_kernel(f64), adp_forces_kernel(f64, True)):
        wp.compile_aot_module(kernel.module, arch=80, module_dir=tmp_path, use_ptx=True)
    assert len(list(tmp_path.glob("*.ptx"))) == 3
