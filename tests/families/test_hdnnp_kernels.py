"""The Warp kernels of HDNNP against the torch backend: kinds, cutoff functions, lanes, edge cases, number types and
threads. Then the tables and the elementary functions that they are made of."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import warp as wp
from ase import Atoms
from ase.build import bulk

from calczoo.core.errors import OptionError
from calczoo.core.pairs import find_pairs
from calczoo.families.hdnnp.groups import LARGEST_RATIO, centre_tables, exponential_powers
from calczoo.families.hdnnp.kernels import HdnnpWarp, WarpSymmetry, _kernel
from calczoo.families.hdnnp.model import HdnnpTorch
from calczoo.families.hdnnp.native import BATCH
from calczoo.families.hdnnp.native_math import coefficients
from calczoo.families.hdnnp.params import CUTOFF_TYPES, HdnnpParams, SymmetryFunction
from families.hdnnp_cases import KINDS, prepared, salt, toy

pytestmark = pytest.mark.filterwarnings("ignore:.*outside the range of the training data")
NEED = frozenset({"energy", "energies", "forces", "virials", "pair_gradients", "descriptors"})
CPU = torch.device("cpu")


def warp(p: HdnnpParams, dtype: torch.dtype = torch.float64, threads: int = 1, lanes: int | None = None) -> HdnnpWarp:
    return HdnnpWarp(p, CPU, dtype, threads, lanes)


def assert_equal(found, wanted, rtol: float) -> None:
    """All outputs, relative to the largest number of each and to forces of single pairs, which may cancel."""
    pull = float(wanted.pair_gradients.abs().max()) if wanted.pair_gradients.numel() else 0.0
    for name in sorted(NEED):
        a, b = getattr(found, name).double(), getattr(wanted, name).double()
        assert a.shape == b.shape
        if a.numel():
            assert float((a - b).abs().max()) <= rtol * max(float(b.abs().max()), pull, 1e-12), name


def compare(p: HdnnpParams, *frames: Atoms, rtol: float = 1e-11, dtype: torch.dtype = torch.float64, **fields) -> None:
    model, reference = warp(p, dtype, **fields), HdnnpTorch(p, CPU, torch.float64)
    system, pairs = prepared(p, *frames)
    rounded = replace(system, positions=system.positions.to(dtype), cell=system.cell.to(dtype))
    assert_equal(model.compute(rounded, pairs, NEED), reference.compute(system, pairs, NEED), rtol)


def with_functions(functions: list[SymmetryFunction], **fields) -> HdnnpParams:
    """One element with these functions, not scaled."""
    base = toy(("Na",), kinds=(2,), n=len(functions), scaling="none", **fields)
    model = replace(base.models[0], functions=tuple(functions), scaling=np.zeros((len(functions), 4)))
    return replace(base, models=(model,))


def dense(amount: float = 0.05) -> Atoms:
    atoms = bulk("Na", "fcc", a=3.4, cubic=True).repeat((2, 1, 1))
    atoms.rattle(amount, seed=3)
    return atoms


# -- against torch -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cutoff_type", CUTOFF_TYPES)
def test_all_kinds_together_equal_torch(cutoff_type):
    p = toy(n=2, seed=cutoff_type, rc=4.5, cutoff_type=cutoff_type, cutoff_alpha=0.3 * (cutoff_type % 2))
    compare(p, salt(7, cutoff_type), salt(3, 1, box=4.2))


def test_three_elements_equal_torch():
    elements = ("O", "Na", "Cl")
    compare(toy(elements, n=2, rc=4.2), salt(9, 2, symbols=elements), salt(6, 3, pbc=False, symbols=elements[:2]))


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_other_numbers_of_lanes_equal_torch(lanes):
    """One lane is what runs on CUDA; others take the portable way of packing."""
    compare(toy(n=2, rc=4.2), salt(6, 4), lanes=lanes)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_is_close(kind):
    compare(toy(kinds=(kind,), rc=4.5), salt(7, kind), rtol=2e-4, dtype=torch.float32)


def test_many_batches_equal_torch():
    """More triplets than a batch holds for one j, and batches that end in the middle of a j."""
    p, atoms = toy(("Na",), kinds=(3, 9, 22), rc=5.5), dense()
    system, pairs = prepared(p, atoms)
    assert int((pairs.first[1:] - pairs.first[:-1]).max()) > BATCH * 8
    compare(p, atoms)


def test_functions_that_share_what_they_are_made_of():
    """Kinds 3 and 9 of the same exponents, exponents in whole ratios, own shifts, equal functions."""
    make = [
        SymmetryFunction(kind, ("Na", "Na"), eta=eta, rs=rs, rc=rc, lam=lam, zeta=zeta)
        for kind in (3, 9)
        for eta, rs in ((0.01, 0), (0.03, 0), (0.07, 0), (0.2, 0), (0.25, 0), (0.02, 1.0), (0.04, 1.0), (0.0, 0))
        for rc, lam, zeta in ((5.0, 1.0, 4.0), (5.0, -1.0, 1.0), (4.0, -1.0, 2.5))
    ]
    compare(with_functions([*make, make[0]]), dense())


def test_shifted_functions_of_large_exponents():
    make = [SymmetryFunction(3, ("Na", "Na"), eta=8.0, rs=rs, rc=5.0, lam=1.0, zeta=16.0) for rs in (2.4, 3.4)]
    make += [SymmetryFunction(2, ("Na",), eta=40.0, rs=rs, rc=5.0) for rs in (0.0, 2.4, 4.8)]
    compare(with_functions(make), dense())


def test_collinear_neighbours():
    """Perfect lattices: angles of 0 and 180 degrees exactly."""
    p = toy(("Na",), kinds=(3, 9, 21, 22), n=3, rc=4.0)
    compare(p, bulk("Na", "sc", a=1.9), bulk("Na", "bcc", a=2.4), rtol=1e-9)


# -- edge cases ----------------------------------------------------------------------------------------------


def test_no_neighbours_clusters_and_cells_smaller_than_the_cutoff():
    far = Atoms("NaClNa", positions=[[0, 0, 0], [0, 0, 2.6], [0, 0, 30.0]])
    slab = salt(6, 5)
    slab.pbc = [True, False, True]
    p = toy(n=2, rc=4.5)
    compare(p, Atoms("Na", positions=[[0.0, 0.0, 0.0]]))
    compare(p, far, bulk("Na", a=3.2), slab, Atoms(), salt(1, 2, box=3.0))
    found = warp(p).compute(*prepared(p, far), NEED)
    assert not found.forces[2].any()


def test_elements_without_functions_for_each_other():
    p = toy(kinds=(2, 3), n=2, rc=4.5)
    chlorine = replace(p.models[1], functions=p.models[1].functions[:3], scaling=p.models[1].scaling[:3])
    short = replace(chlorine.short, weights=(chlorine.short.weights[0][:3], *chlorine.short.weights[1:]))
    compare(replace(p, models=(p.models[0], replace(chlorine, short=short))), salt(6, 6))


def test_no_atoms():
    p = toy(n=1)
    found = warp(p).compute(*prepared(p, Atoms()), NEED)
    assert found.forces.shape == (0, 3) and found.descriptors.shape == (0, max(p.n_functions))


def test_pairs_beyond_the_cutoff_are_ignored():
    p, atoms = toy(n=2, rc=4.0), salt(8, 7)
    model, (system, pairs) = warp(p), prepared(p, atoms)
    wide = find_pairs(system, p.cutoff, skin=1.5)
    a, b = model.compute(system, pairs, NEED), model.compute(system, wide, NEED)
    torch.testing.assert_close(a.forces, b.forces, rtol=0, atol=1e-11)
    outside = wide.vectors(system).norm(dim=1) >= p.cutoff
    assert outside.any() and not b.pair_gradients[outside].any()


def test_other_generations_are_refused():
    p = toy(kinds=(2,), n=1, generation=4)
    with pytest.raises(OptionError, match="generation 4"):
        warp(p)
    values, _ = WarpSymmetry(p).values(*prepared(p, salt(3)))
    assert values.shape == (3, max(p.n_functions))


# -- threads, copies -----------------------------------------------------------------------------------------


def test_threads_and_batches_do_not_change_a_bit():
    p = toy(n=2, rc=4.2)
    frames = [salt(7, 1), salt(6, 2).repeat((3, 3, 2)), salt(4, 3, pbc=False)]
    one, two = warp(p), warp(p, threads=2)
    alone = [one.symmetry.values(*prepared(p, f))[0] for f in frames]
    both = [m.compute(*prepared(p, *frames), NEED) for m in (one, two)]
    for name in NEED:
        assert torch.equal(getattr(both[0], name), getattr(both[1], name)), name
    assert torch.equal(torch.cat(alone), both[0].descriptors)


def test_chunks_of_threads_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr("calczoo.core.threads.LAUNCH_US", 1e-3)  # any work is worth a thread now
    p, atoms = toy(n=2, rc=4.2), salt(7, 1).repeat((2, 1, 1))
    a, b = (m.compute(*prepared(p, atoms), NEED) for m in (warp(p), warp(p, threads=3)))
    for name in NEED:
        assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_copies_and_pickles_compute_the_same():
    p, atoms = toy(n=1, rc=4.2), salt(5, 1)
    model = warp(p)
    wanted = model.compute(*prepared(p, atoms), NEED).forces
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.compute(*prepared(p, atoms), NEED).forces, wanted)


@pytest.mark.slow
def test_kernels_compile_for_cuda(tmp_path):
    for dtype in (torch.float64, torch.float32):
        for which in ("values", "pull"):
            kernel = _kernel(which, dtype, 1)
            wp.compile_aot_module(kernel.module, arch=80, module_dir=tmp_path / kernel.key, use_ptx=True)
            assert list((tmp_path / kernel.key).glob("*.ptx")), kernel.key


# -- what kernels are made of --------------------------------------------------------------------------------


def test_exponentials_as_powers_of_others():
    assert exponential_powers([0.2, 0.01, 0.07, 0.03]) == {0.01: 0, 0.03: 3, 0.07: 7, 0.2: 20}
    assert exponential_powers([0.0, 0.5, 1.25]) == {0.0: -1, 0.5: 0, 1.25: 0}
    many = exponential_powers([1.0, LARGEST_RATIO + 1.0, 2 * LARGEST_RATIO + 2.0])
    assert list(many.values()) == [0, 0, 2]
    assert exponential_powers([-0.3, 0.3]) == {-0.3: 0, 0.3: 0}


def test_every_function_is_in_the_tables_once():
    p = toy(("O", "Na", "Cl"), n=2)
    for centre, model in zip(centre_tables(p), p.models, strict=True):
        radial = [f for f in model.functions if len(f.neighbours) == 1]
        angular = [f for f in model.functions if len(f.neighbours) == 2]
        weighted = [f for f in model.functions if not f.neighbours]
        pairs = sum(f.kind in (13, 24, 25) for f in weighted)
        assert centre.n_functions == len(model.functions) == len(radial) + len(angular) + len(weighted)
        assert centre.n_entries == len(angular) + 6 * pairs  # six pairs of three elements
        assert set(centre.entries.integers) <= set(range(len(model.functions)))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    "name, function, low, high",
    [
        ("exp", math.exp, -0.34657, 0.34657),
        ("sine", lambda z: math.sin(math.pi / 2 * z**0.5) / z**0.5, 1e-4, 1.0),
        ("cosine", lambda z: math.cos(math.pi / 2 * z**0.5), 0.0, 1.0),
        ("tanh", lambda z: math.tanh(z**0.5) / z**0.5, 1e-4, 1.0),
        ("arcsin", lambda z: math.asin(z**0.5) / z**0.5, 1e-4, 0.5),
    ],
)
def test_polynomials(name, function, low, high, single):
    x = np.linspace(low, high, 501)
    found = np.polyval(coefficients(name, single)[::-1], x)
    wanted = np.array([function(v) for v in x])
    assert np.abs(found - wanted).max() < (1e-8 if single else 5e-16)
