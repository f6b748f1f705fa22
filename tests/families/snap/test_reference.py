"""SNAP against LAMMPS: energies, forces, stress and bispectrum components of both backends."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ase.build import bulk

from calczoo import get_calculator
from calczoo.calculator import ZooCalculator
from calczoo.compose import combine
from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.snap import FAMILY
from calczoo.families.snap.load import build
from calczoo.registry import ModelRequest
from data import lammps_potential, max_abs, reference, reference_atoms, shared
from families.snap.flags import CASES, STORED, make

BACKENDS = FAMILY.backends
PUBLISHED = {  # reference file -> potential file
    "Ta06A": "Ta06A.snap",
    "Mo_Zuo_JPCA2020": "Mo_Zuo_JPCA2020.snap",
    "Ni_Zuo_JPCA2020.quadratic": "Ni_Zuo_JPCA2020.quadratic.snap",
    "C_SNAP_2021.10.15.quadratic": "C_SNAP_2021.10.15.quadratic.snapcoeff",
    "InP_JCPA2020": "InP_JCPA2020.snap",
    "W.quadratic.mliap": "W.quadratic.mliap",
}
# InP's printed coefficients are not exactly equal where components are equal by symmetry. LAMMPS' chemflag forces
# assume that they are, so they miss the gradient of its own energy by 1.6e-8 eV/A; the energies agree to 1e-13.
FORCE_TOLERANCE = {"InP_JCPA2020": 2e-8}


def calculator(name: str, backend: str):
    return get_calculator("snap", model=lammps_potential(PUBLISHED[name]), backend=backend, device="cpu", threads=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_potential_equals_lammps(name, backend):
    records = reference(name)["structures"]
    calc = calculator(name, backend)
    for record, result in zip(records, calc.evaluate([reference_atoms(r) for r in records]), strict=True):
        where = record["name"]
        assert abs(result["energy"] - record["energy"]) < 1e-9 * len(record["symbols"]), where
        assert max_abs(result["energies"], record["energies"]) < 1e-8, where
        assert max_abs(result["forces"], record["forces"]) < FORCE_TOLERANCE.get(name, 1e-8), where
        if record["stress"] is not None:
            assert max_abs(result["stress"], record["stress"]) < 1e-9, where


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [n for n in PUBLISHED if "mliap" not in n])
def test_components_equal_sna_atom(name, backend):
    path = lammps_potential(PUBLISHED[name].removesuffix(".snap").removesuffix(".snapcoeff") + ".snapcoeff")
    calc = get_calculator("snap", model=path, backend=backend, device="cpu", threads=1)
    with np.load(shared(f"reference/lammps/{name}.sna.npz")) as stored:
        records = [r for r in reference(name)["structures"] if r["name"] in stored]
        assert records
        results = calc.evaluate([reference_atoms(r) for r in records], ["descriptors"])
        for record, result in zip(records, results, strict=True):
            b = stored[record["name"]]
            assert max_abs(result["descriptors"], b) < 1e-9 * max(1.0, np.abs(b).max()), record["name"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_every_flag_equals_lammps(name, backend):
    params, zbl, atoms = make(name)
    request = ModelRequest("snap", device="cpu", backend=backend, threads=1)
    terms = [(1.0, build(params, request))]
    if zbl:
        terms += [(1.0, get_calculator("zbl(1.0, 3.2)", device="cpu", backend=backend).model)]
    stored = json.loads(STORED.read_text())[name]
    result = ZooCalculator(combine(terms)).evaluate([atoms])[0]
    assert abs(result["energy"] - stored["energy"]) < 1e-10
    assert max_abs(result["forces"].ravel(), stored["forces"]) < 1e-11
    assert max_abs(result["stress"], stored["stress"]) < 1e-12


@pytest.mark.parametrize("name", ["InP_JCPA2020", "Ni_Zuo_JPCA2020.quadratic"])
def test_backends_agree(name):
    records = [r for r in reference(name)["structures"] if not r["name"].startswith("dimer")]
    structures = [reference_atoms(r) for r in records]
    a, b = (calculator(name, backend).evaluate(structures) for backend in ("torch", "warp"))
    for one, other in zip(a, b, strict=True):
        for key in ("energies", "forces"):
            assert max_abs(one[key], other[key]) < 1e-10 * max(1.0, np.abs(one[key]).max())


@pytest.mark.parametrize("name", ["chem", "quadratic", "inner"])
def test_chunks_do_not_change_the_torch_model(name, monkeypatch):
    params, _, atoms = make(name)
    model = build(params, ModelRequest("snap", device="cpu", backend="torch"))
    system = System.from_atoms(atoms)
    pairs = find_pairs(system, model.cutoff)
    need = frozenset({"energies", "forces", "virial", "descriptors"})
    whole = model.compute(system, pairs, need)
    monkeypatch.setattr("calczoo.families.snap.model.CHUNK_BYTES", 1)
    parts = model.compute(system, pairs, need)
    model.create_graph = True
    graph = model.compute(system, pairs, need)
    for key, value in whole.present().items():
        assert torch.allclose(value, parts.present()[key], rtol=0, atol=1e-12), key
        assert torch.allclose(value, graph.present()[key].detach(), rtol=0, atol=1e-12), key


def test_torch_model_is_twice_differentiable():
    params, _, atoms = make("2J = 5")
    model = build(params, ModelRequest("snap", device="cpu", backend="torch"))
    model.create_graph = True
    system = System.from_atoms(atoms)
    pairs = find_pairs(system, model.cutoff)

    def force(x):
        from dataclasses import replace

        moved = replace(system, positions=x)
        return model.compute(moved, pairs, frozenset({"forces"})).forces[0]

    hessian = torch.autograd.functional.jacobian(force, system.positions)
    step = torch.zeros_like(system.positions)
    step[3, 1] = 1e-4
    numeric = (force(system.positions + step) - force(system.positions - step)) / 2e-4
    assert torch.allclose(hessian[:, 3, 1], numeric, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_lone_atom_has_zero_components_with_bzeroflag(backend):
    for name in ("chem", "chem bnorm selfall", "bnorm"):
        params, _, _ = make(name)
        model = build(params, ModelRequest("snap", device="cpu", backend=backend, threads=1))
        atoms = bulk("W", cubic=True)[:1]
        atoms.pbc = False
        result = ZooCalculator(model).evaluate([atoms], ["descriptors", "forces"])[0]
        assert max_abs(result["descriptors"], 0.0) < 1e-12
        assert result["energy"] == pytest.approx(params.constant[0], abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weightless_element_is_invisible(backend):
    """A type that LAMMPS' pair_coeff line calls NULL: see `with_ghosts`."""
    from calczoo.families.snap.formats import with_ghosts

    params, _, atoms = make("2J = 5")
    model = build(with_ghosts(params, ["He"]), ModelRequest("snap", device="cpu", backend=backend, threads=1))
    mixed = atoms.copy()
    mixed.symbols[::3] = "He"
    alone = mixed[mixed.symbols == "W"]
    whole, rest = ZooCalculator(model).evaluate([mixed, alone])
    assert whole["energy"] == pytest.approx(rest["energy"], abs=1e-11)
    assert max_abs(whole["forces"][mixed.symbols == "He"], 0.0) < 1e-14
    assert max_abs(whole["forces"][mixed.symbols == "W"], rest["forces"]) < 1e-12
