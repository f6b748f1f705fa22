"""The Warp kernel of MTP against the torch backend: levels, species, bases, edge cases, number types and threads."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from calczoo.families.mtp.kernels import MtpWarp
from calczoo.families.mtp.levels import generate
from calczoo.families.mtp.model import MtpTorch
from calczoo.families.mtp.params import BASES, Moments, MtpParams
from calczoo.families.mtp.radial import ShortDistanceWarning
from calczoo.families.mtp.tables import polynomial, products
from families.mtp_cases import prepared, toy

QUIET = pytest.mark.filterwarnings("ignore:.*the shortest distance is")
NEED = frozenset({"energy", "energies", "forces", "virials", "pair_gradients", "descriptors"})
ELEMENTS = ("Mo", "Ta", "W", "Nb", "V")
CPU = torch.device("cpu")


@cache
def random_params(level: int, species: int = 1, **fields) -> MtpParams:
    """Random coefficients of a size that keeps every contraction alive, not symmetric in the two species."""
    moments, rng = generate(level), np.random.default_rng(level)
    return MtpParams(
        elements=ELEMENTS[:species],
        radial=rng.normal(size=(species, species, moments.n_radial, 8)) * 0.08,
        moments=moments,
        species=rng.normal(size=species),
        weights=rng.normal(size=len(moments.scalars)) * 0.05,
        **({"min_dist": 2.0, "max_dist": 5.0, "name": "random"} | fields),
    )


def crystal(species: int = 1, repeat=(2, 1, 3), amount: float = 0.1) -> Atoms:
    atoms = bulk("Mo", cubic=True, a=3.16).repeat(repeat)
    atoms.rattle(amount, seed=2)
    atoms.symbols = np.random.default_rng(1).choice(ELEMENTS[:species], len(atoms))
    return atoms


def warp(params: MtpParams, dtype: torch.dtype = torch.float64, threads: int = 1, lanes: int | None = None) -> MtpWarp:
    return MtpWarp(params, CPU, dtype, threads, lanes)


def assert_equal(found, wanted, rtol: float) -> None:
    """All outputs, relative to the largest number of each."""
    for name in sorted(NEED):
        a, b = getattr(found, name).double(), getattr(wanted, name).double()
        assert a.shape == b.shape
        if a.numel():
            assert float((a - b).abs().max()) <= rtol * max(float(b.abs().max()), 1e-12), name


def compare(params: MtpParams, *frames: Atoms, rtol: float = 1e-12, **fields) -> None:
    model, reference = warp(params, **fields), MtpTorch(params)
    system, pairs = prepared(reference, *frames)
    rounded = replace(system, positions=system.positions.to(model.dtype), cell=system.cell.to(model.dtype))
    assert_equal(model.compute(rounded, pairs, NEED), reference.compute(system, pairs, NEED), rtol)
    if model.dtype == torch.float64:
        rows, expected = (
            model.basis_vectors(*prepared(model, *frames)),
            reference.basis_vectors(*prepared(model, *frames)),
        )
        assert float((rows - expected).abs().max()) <= rtol * float(expected.abs().max())


@pytest.mark.parametrize(
    "level, species", [(2, 1), (4, 2), (6, 1), (8, 3), (10, 1), (12, 5), (14, 2), (16, 1), (18, 2)]
)
def test_levels_and_species_equal_torch(level, species):
    compare(random_params(level, species), crystal(species))


@pytest.mark.slow
@pytest.mark.parametrize("level, species", [(20, 2), (22, 1), (24, 1), (26, 1), (28, 1)])
def test_high_levels_equal_torch(level, species):
    compare(random_params(level, species), crystal(species))


@QUIET
@pytest.mark.parametrize("species", [1, 2])
@pytest.mark.parametrize("basis", BASES)
def test_bases_below_min_dist_equal_torch(basis, species):
    params = random_params(8, species, basis=basis, min_dist=2.6, scaling=0.6 if basis == "RBTaylor" else 1.3)
    compare(params, crystal(species, amount=0.15))


@pytest.mark.parametrize("species", [1, 2, 5])
def test_single_precision_is_close(species):
    compare(random_params(12, species), crystal(species), rtol=2e-5, dtype=torch.float32)


@pytest.mark.parametrize("lanes", [1, 4])
def test_other_numbers_of_lanes_equal_torch(lanes):
    """One lane is what runs on CUDA."""
    compare(random_params(12, 2), crystal(2), lanes=lanes)


def test_no_neighbours_clusters_and_cells_smaller_than_the_cutoff():
    far = Atoms("Mo3", positions=[[0, 0, 0], [0, 0, 2.6], [0, 0, 30.0]])
    tiny = bulk("Mo", a=3.16)
    slab = crystal(1)
    slab.pbc = [True, False, True]
    compare(random_params(10), Atoms("Mo", positions=[[0.0, 0.0, 0.0]]))
    compare(random_params(10), far, tiny, slab)
    alone = warp(random_params(10))
    found = alone.compute(*prepared(alone, far), NEED)
    assert float(found.energies[2]) == alone.params.species[0]
    assert not found.forces[2].any()


def test_no_atoms():
    model = warp(random_params(8))
    found = model.compute(*prepared(model, Atoms()), NEED)
    assert found.forces.shape == (0, 3)
    assert model.basis_vectors(*prepared(model, Atoms())).shape == (0, model.params.n_coefficients)


def test_pairs_beyond_the_cutoff_are_ignored():
    from calczoo.core.pairs import find_pairs

    model, atoms = warp(random_params(10, 2)), crystal(2)
    system, pairs = prepared(model, atoms)
    wide = find_pairs(system, model.cutoff, skin=1.0)
    a, b = model.compute(system, pairs, NEED), model.compute(system, wide, NEED)
    torch.testing.assert_close(a.forces, b.forces, rtol=0, atol=1e-12)
    outside = wide.vectors(system).norm(dim=1) >= model.cutoff
    assert outside.any() and not b.pair_gradients[outside].any()


def test_threads_and_batches_do_not_change_a_bit():
    params, frames = random_params(12, 2), [crystal(2), crystal(2, (3, 3, 3)), crystal(2, (1, 1, 2), 0.2)]
    one, two = warp(params), warp(params, threads=2)
    alone = [one.compute(*prepared(one, f), NEED) for f in frames]
    both = [m.compute(*prepared(m, *frames), NEED) for m in (one, two)]
    for name in NEED:
        assert torch.equal(getattr(both[0], name), getattr(both[1], name)), name
        assert torch.equal(torch.cat([getattr(a, name) for a in alone]), getattr(both[0], name)), name


def test_threads_share_one_launch_only_where_it_pays(monkeypatch):
    monkeypatch.setattr("calczoo.core.threads.LAUNCH_US", 1e-3)  # any work is worth a thread now
    params = random_params(10, 2)
    one, three = warp(params), warp(params, threads=3)
    a, b = (m.compute(*prepared(m, crystal(2, (3, 2, 3))), NEED) for m in (one, three))
    for name in NEED:
        assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_lists_with_gaps_dead_moments_and_repeated_entries():
    """Nothing about the lists is taken for granted but that they can be walked in order."""
    basic = np.array([(2, 0, 0, 0), (0, 3, 0, 1), (1, 3, 0, 1), (0, 0, 0, 0), (3, 0, 2, 0), (0, 1, 1, 1), (1, 0, 0, 2)])
    times = [
        (0, 3, 2, 8),
        (3, 0, 1, 8),
        (0, 3, 1, 8),
        (8, 8, 3, 9),
        (9, 4, 1, 10),
        (1, 2, 5, 7),
        (7, 10, 1, 12),
        (5, 6, 2, 13),
    ]
    times += [(8, 6, 1, 14), (11, 3, 4, 15)]
    moments = Moments(basic, np.array(times), 16, np.array([12, 3, 9, 9, 11, 14, 15, 12]))
    rng = np.random.default_rng(5)
    params = MtpParams(
        ("Mo", "Ta"), rng.normal(size=(2, 2, 6, 3)), moments, rng.normal(size=2), rng.normal(size=8), 2.0, 4.5
    )
    compare(params, crystal(2))
    compare(toy(("Mo", "Ta")), crystal(2))


def test_tables_hold_every_product_once():
    params = random_params(16)
    poly = polynomial(params.moments.basic)
    tree = products(params.moments, poly, params.weights)
    assert poly.count == len(params.moments.basic) == poly.n_mu.sum()
    assert sorted(poly.place.tolist()) == list(range(poly.count))
    assert len(tree.inner_ij) + len(tree.outer_ij) == len(params.moments.times)
    assert len(tree.back_mult) == len(tree.inner_mult)
    assert tree.back_mult.sum() == tree.inner_mult.sum()
    targets = np.repeat(np.arange(tree.n_inner) + poly.count, np.diff(tree.inner))
    assert (tree.inner_ij.max(axis=1) < targets).all()


def test_short_distances_are_said_once():
    model = warp(random_params(6, min_dist=2.5))
    close = Atoms("Mo2", positions=[[0, 0, 0], [0, 0, 2.2]])
    with pytest.warns(ShortDistanceWarning, match="2.2 A"):
        model.compute(*prepared(model, close), frozenset({"energy"}))
    model.compute(*prepared(model, close), frozenset({"energy"}))  # warnings are errors here


def test_basis_vectors_of_many_atoms_come_in_chunks(monkeypatch):
    params, atoms = random_params(8, 2), crystal(2, (3, 3, 2))
    model = warp(params)
    whole = model.basis_vectors(*prepared(model, atoms))
    monkeypatch.setattr("calczoo.families.mtp.kernels.CHUNK_BYTES", 8 * params.n_coefficients * 16)
    chunks = list(model.basis_chunks(*prepared(model, atoms)))
    assert [(a, b) for a, b, _ in chunks] == [(0, 16), (16, 32), (32, 36)]
    assert torch.equal(torch.cat([b for _, _, b in chunks]), whole)
    energies = model.compute(*prepared(model, atoms), NEED).energies
    n, theta = params.radial.size, torch.from_numpy(params.coefficients())
    torch.testing.assert_close(whole[:, n:] @ theta[n:], energies, rtol=1e-12, atol=1e-12)


def test_models_can_be_copied_and_sent_after_use():
    model = warp(random_params(8))
    args = prepared(model, crystal())
    wanted = model.compute(*args, NEED).forces
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.compute(*args, NEED).forces, wanted)
