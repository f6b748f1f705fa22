"""The neighbour list against brute force and against ASE's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list
from hypothesis import assume, given
from hypothesis import strategies as st

from calczoo.core.errors import AtomsOverlap, InvalidStructure, TooLarge
from calczoo.core.pairs import Pairs, brute_force_pairs, check_memory, complete_cell, find_pairs
from calczoo.core.system import System


def as_tuples(pairs: Pairs, start: int = 0, stop: int | None = None) -> list[tuple[int, int, tuple[int, int, int]]]:
    """Pairs of atoms start..stop as sorted tuples, numbered from start."""
    shifts = pairs.shifts[pairs.shift_index.long()].tolist()
    rows = zip(pairs.i.tolist(), pairs.j.tolist(), shifts, strict=True)
    return sorted(
        (i - start, j - start, tuple(s)) for i, j, s in rows if start <= i < (stop if stop is not None else 10**9)
    )


@st.composite
def structures(draw, max_atoms: int = 6) -> Atoms:
    """Random cells: short, long, skewed, left-handed, any pbc; atoms inside and outside the cell."""
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    entry = st.floats(-6.0, 6.0, allow_nan=False, allow_subnormal=False)
    cell = np.array(draw(st.lists(entry, min_size=9, max_size=9))).reshape(3, 3)
    periodic = [k for k in range(3) if pbc[k]]
    vectors = cell[periodic]
    if periodic:
        assume(np.linalg.matrix_rank(vectors, tol=0.1) == len(periodic))
        assume((1.0 / np.linalg.norm(np.linalg.pinv(vectors), axis=0)).min() > 1.0)
    n = draw(st.integers(0, max_atoms))
    coordinate = st.floats(-4.0, 4.0, allow_nan=False, allow_subnormal=False)
    positions = np.array(draw(st.lists(coordinate, min_size=3 * n, max_size=3 * n))).reshape(n, 3)
    return Atoms("H" * n, positions=positions, cell=cell, pbc=pbc)


@given(atoms=structures(), cutoff=st.floats(0.5, 4.0))
def test_same_pairs_as_brute_force(atoms, cutoff):
    try:
        pairs = find_pairs(System.from_atoms(atoms), cutoff)
    except AtomsOverlap:
        near = brute_force_pairs(atoms.positions, atoms.cell.array, atoms.pbc, 1.0001e-3)
        assert near, "AtomsOverlap without two atoms on one spot"
        return
    expected = brute_force_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    got = as_tuples(pairs)
    if got != expected:  # only pairs exactly at the cutoff may differ, by rounding
        box = complete_cell(atoms.cell.array, atoms.pbc)
        for i, j, shift in set(got) ^ set(expected):
            d = np.linalg.norm(atoms.positions[j] + np.array(shift) @ box - atoms.positions[i])
            assert abs(d - cutoff) < 1e-9, (i, j, shift, d, cutoff)


@given(atoms=structures(), data=st.data())
def test_far_outside_the_cell_only_the_shifts_change(atoms, data):
    """Each atom moved by its own lattice vector n: the pair i, j, S becomes i, j, S - (n_j - n_i)."""
    count = st.integers(-1000, 1000)
    moves = data.draw(st.lists(st.tuples(count, count, count), min_size=len(atoms), max_size=len(atoms)))
    n = np.array(moves, dtype=int).reshape(-1, 3) * atoms.pbc
    moved = atoms.copy()
    moved.positions += n @ atoms.cell.array
    try:
        here, there = (find_pairs(System.from_atoms(a), 3.0) for a in (atoms, moved))
    except AtomsOverlap:
        return
    back = sorted((i, j, tuple(int(x) for x in np.array(s) + n[j] - n[i])) for i, j, s in as_tuples(there))
    box = complete_cell(atoms.cell.array, atoms.pbc)
    for i, j, shift in set(back) ^ set(as_tuples(here)):  # rounding, exactly at the cutoff
        assert abs(np.linalg.norm(atoms.positions[j] + np.array(shift) @ box - atoms.positions[i]) - 3.0) < 1e-9


@given(atoms=structures())
def test_list_is_sorted_and_every_pair_has_its_partner(atoms):
    try:
        pairs = find_pairs(System.from_atoms(atoms), 3.0)
    except AtomsOverlap:
        return
    i, first, n = pairs.i.numpy(), pairs.first.numpy(), len(atoms)
    assert (np.diff(i) >= 0).all() and first[0] == 0 and first[-1] == pairs.n_pairs and len(first) == n + 1
    for a in range(n):
        assert (i[first[a] : first[a + 1]] == a).all()
        incoming = pairs.incoming.numpy()[first[a] : first[a + 1]]
        assert (pairs.j.numpy()[incoming] == a).all()
    assert sorted(pairs.incoming.tolist()) == list(range(pairs.n_pairs))
    forward = set(as_tuples(pairs))
    assert {(b, a, tuple(-x for x in s)) for a, b, s in forward} == forward


@pytest.mark.parametrize("cutoff", [2.0, 6.0])
@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Cu", "fcc", a=3.6),
        bulk("Si", "diamond", a=5.43, cubic=True),
        bulk("Mg", "hcp", a=3.2, c=5.2),
        molecule("C6H6"),
        Atoms("H2", [[0, 0, 0], [40.0, -13.0, 7.0]], cell=[3, 4, 5], pbc=[True, False, True]),
    ],
    ids=str,
)
def test_oracle_agrees_with_ase(atoms, cutoff):
    box = complete_cell(atoms.cell.array, atoms.pbc)
    i, j, s = neighbor_list("ijS", Atoms(atoms.numbers, atoms.positions, cell=box, pbc=atoms.pbc), cutoff)
    expected = sorted((int(a), int(b), tuple(int(x) for x in c)) for a, b, c in zip(i, j, s, strict=True))
    assert brute_force_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff) == expected


@given(many=st.lists(structures(4), min_size=1, max_size=4))
def test_batch_is_the_structures_one_after_the_other(many):
    try:
        batch = find_pairs(System.from_atoms(many), 3.0)
        single = [find_pairs(System.from_atoms(a), 3.0) for a in many]
    except AtomsOverlap:
        return
    edges = np.cumsum([0, *map(len, many)])
    for a, b, one in zip(edges[:-1], edges[1:], single, strict=True):
        assert as_tuples(batch, int(a), int(b)) == as_tuples(one)


@given(atoms=structures())
def test_vectors_have_the_lengths_that_were_searched(atoms):
    system = System.from_atoms(atoms)
    try:
        pairs = find_pairs(system, 3.0, skin=0.7)
    except AtomsOverlap:
        return
    d = pairs.vectors(system).norm(dim=1)
    assert (d < 3.7 + 1e-9).all() and (pairs.cutoff, pairs.skin) == (3.0, 0.7)


def test_vectors_are_differentiable_in_positions_and_cell():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((1, 1, 2))
    atoms.rattle(0.1, seed=1)
    system = System.from_atoms(atoms)
    pairs = find_pairs(system, 3.0)

    def lengths(x, h):
        from dataclasses import replace

        return pairs.vectors(replace(system, positions=x, cell=h)).pow(2).sum(dim=1)

    x, h = system.positions.clone().requires_grad_(True), system.cell.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lengths, (x, h))


@pytest.mark.parametrize("pbc", [False, True])
def test_overlap_names_both_atoms_and_the_distance(pbc):
    atoms = Atoms("H3", [[0, 0, 0], [1, 0, 0], [1, 0, 5e-4]], cell=[8, 8, 8], pbc=pbc)
    with pytest.raises(AtomsOverlap, match=r"atoms 1 and 2 are 0\.0005 A apart") as error:
        find_pairs(System.from_atoms(atoms), 3.0)
    assert (error.value.i, error.value.j) == (1, 2) and error.value.d == pytest.approx(5e-4)


def test_overlap_across_a_periodic_boundary():
    atoms = Atoms("H2", [[0, 0, 0], [3.9995, 0, 0]], cell=[4, 4, 4], pbc=True)
    with pytest.raises(AtomsOverlap):
        find_pairs(System.from_atoms(atoms), 3.0)


def test_too_large_is_estimated_before_allocation():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 2, 2))
    with pytest.raises(TooLarge, match=r"needs about .* GiB, the limit is 0\.0 GiB.*max_memory_gib") as error:
        find_pairs(System.from_atoms(atoms), 6.0, max_memory_gib=1e-6)
    assert error.value.needed_gib > error.value.limit_gib


@pytest.mark.parametrize("pbc", [True, False])
def test_estimate_is_no_less_than_the_list_itself(pbc):
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((3, 3, 3))
    atoms.pbc = pbc
    system = System.from_atoms(atoms)
    pairs = find_pairs(system, 6.0)
    bytes_held = sum(t.element_size() * t.nelement() for t in vars(pairs).values() if isinstance(t, torch.Tensor))
    with pytest.raises(TooLarge):
        check_memory(system, 6.0, bytes_held / 2**30)


def test_no_atoms_and_no_cutoff():
    assert find_pairs(System.from_atoms(Atoms()), 3.0).n_pairs == 0
    assert find_pairs(System.from_atoms([]), 3.0).n_pairs == 0
    assert find_pairs(System.from_atoms(bulk("Cu")), 0.0).n_pairs == 0


@pytest.mark.parametrize("far", [1e3, 1e5, 1e6, 1e12, 1e100])
@pytest.mark.parametrize("pbc", [(False, False, False), (True, True, False), (False, True, False)])
def test_an_atom_that_has_flown_away_neither_hangs_nor_crashes_the_search(far, pbc):
    """Along a direction without pbc; the search grid of one such atom used to overflow or take forever."""
    atoms = Atoms("H5", [[0, 0, 0], [0, 0, 1.2], [0, 0, far], [0.5, 0.5, -far], [0, 0, 2.0]], cell=[4, 4, 0], pbc=pbc)
    near = atoms[[0, 1, 4]]
    expected = brute_force_pairs(near.positions, near.cell.array, near.pbc, 2.5)
    found = as_tuples(find_pairs(System.from_atoms(atoms), 2.5))
    back = {0: 0, 1: 1, 4: 2}
    assert sorted((back[i], back[j], s) for i, j, s in found) == expected


def test_pairs_across_shortened_gaps_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    positions = np.concatenate([rng.uniform(0, 6, (12, 3)) + [0, 0, z] for z in (-80.0, 0.0, 25.0, 700.0)])
    for pbc in itertools.product((False, True), repeat=3):
        atoms = Atoms("H48", positions, cell=[[6, 1, 2], [0, 6, 1], [1, 0, 900]], pbc=pbc)
        found = as_tuples(find_pairs(System.from_atoms(atoms), 3.0))
        assert found == brute_force_pairs(atoms.positions, atoms.cell.array, atoms.pbc, 3.0)


def test_atoms_millions_of_cells_apart_are_refused_and_never_miscounted():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[1] += atoms.cell.array.sum(axis=0) * 2e6
    with pytest.raises(InvalidStructure, match="cells apart"):
        find_pairs(System.from_atoms(atoms), 4.0)
