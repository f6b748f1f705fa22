"""Symmetry functions of both backends against plain loops over the published formulas; symmetries; derivatives of
first and second order, also in perfect crystals; blocks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from calczoo.core.errors import OptionError
from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.hdnnp import FAMILY
from calczoo.families.hdnnp.params import ANGULAR, COMPACT, SCALINGS, SymmetryFunction
from calczoo.families.hdnnp.symmetry import TorchSymmetry
from data import max_abs
from families.hdnnp_cases import KINDS, prepared, salt, symmetry_of, toy
from families.hdnnp_plain import plain_functions, plain_value

BACKENDS = FAMILY.backends


# -- plain loops ---------------------------------------------------------------------------------------------


def check(p, atoms: Atoms, backend: str, tolerance: float = 1e-12) -> None:
    found = symmetry_of(p, backend).values(*prepared(p, atoms))[0]
    wanted = plain_functions(p, atoms)
    assert max_abs(found, wanted) < tolerance * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_equals_plain_loops(kind, backend):
    """Two elements, a cell with own images within the cutoff, three functions each, over all cutoff types."""
    for seed, cutoff_type in enumerate((0, 1, 2, 4) if kind not in COMPACT else (1, 1)):
        p = toy(kinds=(kind,), seed=seed, n=3, rc=4.0, cutoff_type=cutoff_type, cutoff_alpha=0.2 * (seed % 2))
        check(p, salt(5, seed, box=4.4), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cutoff_type", range(9))
def test_every_cutoff_function_equals_plain_loops(cutoff_type, backend):
    for alpha in (0.0, 0.45):
        p = toy(kinds=(2, 3, 9), n=2, rc=4.2, cutoff_type=cutoff_type, cutoff_alpha=alpha)
        check(p, salt(6, 3, pbc=False), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_every_scaling_equals_plain_loops(scaling, backend):
    check(toy(kinds=(2, 22), n=2, scaling=scaling, smin=-0.7, smax=1.6), salt(6, 4, pbc=False), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_units_of_length(backend):
    p = toy(kinds=KINDS, n=2, rc=8.0, length_unit=0.529177210903)
    check(p, salt(8, 5, pbc=False), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 7), cutoff_type=st.integers(0, 8), three=st.booleans())
def test_random_sets_of_all_kinds_equal_plain_loops(backend, seed, n, cutoff_type, three):
    elements = ("O", "Na", "Cl") if three else ("Na", "Cl")
    kinds = tuple(np.random.default_rng(seed).choice(KINDS, 4, replace=False).tolist())
    p = toy(elements, kinds=kinds, seed=seed, n=2, rc=4.0, cutoff_type=cutoff_type)
    check(p, salt(n, seed, pbc=False, symbols=elements, box=4.5), backend)


# -- symmetries ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_rotations_inversions_and_permutations(backend, seed):
    rng, p = np.random.default_rng(seed), toy(n=2, rc=4.5)
    engine, atoms = symmetry_of(p, backend), salt(6, seed, pbc=False)
    wanted = engine.values(*prepared(p, atoms))[0]
    turned, order = atoms.copy(), rng.permutation(len(atoms))
    turned.positions = atoms.positions @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + rng.normal(size=3)
    found = engine.values(*prepared(p, turned[order]))[0]
    assert max_abs(found, wanted[order]) < 1e-11


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_supercell_repeats_the_cell(backend):
    """Own images as atoms of their own."""
    p = toy(n=2, rc=4.5)
    engine, atoms = symmetry_of(p, backend), salt(3, 1, box=4.0)
    wanted = engine.values(*prepared(p, atoms))[0].repeat(4, 1)
    assert max_abs(engine.values(*prepared(p, atoms.repeat((2, 2, 1))))[0], wanted) < 1e-11


# -- derivatives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_pull_is_the_derivative(kind, backend):
    """Of sum w G with respect to positions and strain, own images included, by central differences."""
    # cutoff functions of types 2 and 6 are smooth enough for differences; compact ones have a kink at the ends at most
    for seed in range(3):
        p = toy(kinds=(kind,), seed=seed, n=3, rc=4.0, cutoff_type=6)
        engine, atoms, h = symmetry_of(p, backend), salt(4, seed, box=4.4), 1e-4
        system, pairs = prepared(p, atoms)
        values, state = engine.values(system, pairs)
        w = torch.from_numpy(np.random.default_rng(seed).normal(size=tuple(values.shape)))
        vectors, g = pairs.vectors(system), engine.pull(system, pairs, state, w)
        direction = np.random.default_rng(seed + 9).normal(size=(len(atoms), 3))
        strain = 0.1 * np.random.default_rng(seed + 8).normal(size=(3, 3))
        d = torch.from_numpy(direction)
        change = d[pairs.j.long()] - d[pairs.i.long()] + vectors @ torch.from_numpy(strain)

        def total(t, p=p, engine=engine, atoms=atoms, w=w, direction=direction, strain=strain):
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ (np.eye(3) + t * strain))
            moved.positions = atoms.positions @ (np.eye(3) + t * strain) + t * direction
            return float((engine.values(*prepared(p, moved))[0] * w).sum())

        slope = (8 * (total(h) - total(-h)) - (total(2 * h) - total(-2 * h))) / (12 * h)
        assert abs(float((g * change).sum()) - slope) < 2e-7 * max(1.0, float((g * change).abs().sum()))


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS))
def test_second_derivatives_flow(seed, kind):
    p = toy(kinds=(kind,), seed=seed, n=2, rc=4.0, cutoff_type=6)
    p = with_smooth_cores(p)
    engine = TorchSymmetry(p)
    system, pairs = prepared(p, salt(5, seed, pbc=False, box=4.0))
    rng = np.random.default_rng(seed)
    vectors = pairs.vectors(system)
    w = torch.from_numpy(rng.normal(size=(5, engine.width)))

    def first(v):
        v = v.detach().requires_grad_(True)
        g = torch.autograd.grad((engine.scaled(system, pairs, v) * w).sum(), v, create_graph=True)[0]
        return v, g

    v, g = first(vectors)
    d = torch.from_numpy(rng.normal(size=tuple(v.shape)))
    (second,) = torch.autograd.grad((g * d).sum(), v)
    h = 1e-5
    ahead, behind = (first(vectors + s * d)[1].detach() for s in (h, -h))
    assert max_abs(second, (ahead - behind) / (2 * h)) < 1e-5 * max(1.0, float(second.abs().max()))


def with_smooth_cores(p):
    """The same set with cores of which the second derivative is continuous."""
    smooth = {"c": "p2", "p1": "p3", "p1a": "p3a", "ca": "p3a"}
    models = []
    for m in p.models:
        functions = tuple(replace(f, core=smooth.get(f.core, f.core), rc=4.0) for f in m.functions)
        models.append(replace(m, functions=functions))
    return replace(p, models=tuple(models))


# -- places without a derivative -----------------------------------------------------------------------------


def straight(p) -> tuple[System, object]:
    """A perfect crystal, in which most triplets are straight or degenerate, and r equals shifts and middles."""
    atoms = bulk("NaCl", "rocksalt", 5.0, cubic=False)
    return prepared(p, atoms)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_finite_in_a_crystal(kind, backend):
    p = toy(kinds=(kind,), n=6, rc=5.0)
    models = [replace(m, functions=tuple(at_middle(f) for f in m.functions)) for m in p.models]
    p = replace(p, models=tuple(models))
    check(p, bulk("NaCl", "rocksalt", 5.0), backend, 2e-8)  # arccos has no more digits at 180 degrees
    engine, (system, pairs) = symmetry_of(p, backend), straight(p)
    values, state = engine.values(system, pairs)
    g = engine.pull(system, pairs, state, torch.ones_like(values))
    assert bool(g.isfinite().all())
    # every atom is a centre of inversion
    assert max_abs(on_atoms(pairs, g), 0.0) < 1e-10 * max(1.0, float(g.abs().max()))


def on_atoms(pairs, g: torch.Tensor) -> torch.Tensor:
    """(N, 3): forces of the gradients of pairs."""
    out = g.new_zeros((len(pairs.first) - 1, 3))
    return out.index_add(0, pairs.i.long(), g).index_add(0, pairs.j.long(), -g)


def at_middle(f: SymmetryFunction) -> SymmetryFunction:
    """With its middle at the shortest distance of the crystal, 2.5 A, or lambda = -1 and an exponent below one."""
    if f.kind in COMPACT:
        return replace(f, rl=0.0, rc=5.0)
    return replace(f, rs=2.5, **({"zeta": 0.5, "lam": math.copysign(1.0, f.lam)} if f.kind in ANGULAR else {}))


def test_negative_exponents_leave_straight_triplets_out():
    """(1 + cos)^-1, which published sets have, diverges there."""
    f = SymmetryFunction(9, ("Cl", "Cl"), eta=0.05, rc=5.0, lam=1.0, zeta=-1.0)
    p = toy(kinds=(9,), n=1)
    models = tuple(replace(m, functions=(f, *m.functions[1:])) for m in p.models)
    p = replace(p, models=models, scaling="none")
    atoms = Atoms("NaCl3", [[0, 0, 0], [2.0, 0, 0], [-2.0, 0, 0], [0, 2.1, 0]])
    g = TorchSymmetry(p).values(*prepared(p, atoms))[0][0, 0]
    bent = 2 * plain_value(p, f, [(atoms.positions[k], "Cl", 17) for k in (1, 3)])
    assert abs(float(g) - bent) < 1e-12


# -- blocks, dtypes, errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 50_000, 300_000])
def test_blocks_change_nothing(monkeypatch, size):
    """One byte: every atom and then every few triplets alone."""
    p, atoms = toy(n=2, rc=3.0 if size == 1 else 4.5), salt(7, 2, box=5.0)
    engine = TorchSymmetry(p)
    system, pairs = prepared(p, atoms)
    whole, state = engine.values(system, pairs)
    w = torch.linspace(-1, 1, whole.numel(), dtype=torch.float64).reshape(whole.shape)
    wanted = engine.pull(system, pairs, state, w)
    assert state is not None and max_abs(engine.pull(system, pairs, state, w), wanted) == 0
    monkeypatch.setattr("calczoo.families.hdnnp.symmetry.CHUNK_BYTES", 20_000 if size == 1 else size)
    blocks = engine._blocks(system, pairs, pairs.vectors(system))
    assert len(blocks) > 1 and (size > 1 or any(b.parts > 1 for b in blocks))
    values, state = engine.values(system, pairs)
    assert state is None and max_abs(values, whole) < 1e-12 * float(whole.abs().max())
    assert max_abs(engine.pull(system, pairs, state, w), wanted) < 1e-12 * float(wanted.abs().max())


def test_single_precision():
    p, atoms = toy(n=2), salt(7, 2)
    exact, engine = TorchSymmetry(p), TorchSymmetry(p, "cpu", torch.float32)
    wanted, kept = exact.values(*(double := prepared(p, atoms)))
    found, state = engine.values(*(single := prepared(p, atoms, dtype=torch.float32)))
    assert found.dtype == torch.float32 and max_abs(found, wanted) < 2e-6 * float(wanted.abs().max())
    slopes = on_atoms(double[1], exact.pull(*double, kept, torch.ones_like(wanted)))
    g = on_atoms(single[1], engine.pull(*single, state, torch.ones_like(found)))
    assert g.dtype == torch.float32 and max_abs(g, slopes) < 1e-5 * float(slopes.abs().max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_atoms_without_neighbours_and_no_atoms(backend):
    p = toy(n=1)
    engine = symmetry_of(p, backend)
    for atoms in (Atoms("NaCl", [[0, 0, 0], [20, 0, 0]]), Atoms()):
        system, pairs = prepared(p, atoms)
        values, state = engine.values(system, pairs)
        assert values.shape == (len(atoms), engine.width)
        assert max_abs(values, plain_functions(p, atoms)) < 1e-14
        assert engine.pull(system, pairs, state, torch.ones_like(values)).shape == (0, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pairs_beyond_the_cutoff_change_nothing(backend):
    p, atoms = toy(n=2, rc=4.0), salt(6, 2)
    engine = symmetry_of(p, backend)
    wanted = engine.values(*prepared(p, atoms))[0]
    system = System.from_atoms(atoms)
    assert max_abs(engine.values(system, find_pairs(system, 4.0, skin=1.5))[0], wanted) < 1e-12
    assert max_abs(engine.values(system, find_pairs(system, 6.0))[0], wanted) < 1e-12


def test_scaling_without_a_range_is_refused():
    p = toy(kinds=(2,), n=2)
    table = np.array(p.models[1].scaling)
    table[1, 1] = table[1, 0]
    p = replace(p, models=(p.models[0], replace(p.models[1], scaling=table)))
    with pytest.raises(OptionError, match="symmetry function 2 of Cl has max - min = 0"):
        TorchSymmetry(p)
    TorchSymmetry(replace(p, scaling="center"))
