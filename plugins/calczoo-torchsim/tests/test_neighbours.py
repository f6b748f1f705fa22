"""The kept neighbour list: complete within the cutoff whatever happened to the batch, and searched for rarely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100
from calczoo.core.errors import AtomsOverlap, InvalidStructure, TooLarge
from calczoo.core.pairs import Pairs, find_pairs
from calczoo.core.system import System
from torchsim_structures import crystal, crystals

pytest.importorskip("torch_sim")
from calczoo_torchsim.joined import Cut, join_pairs, subsystem  # noqa: E402
from calczoo_torchsim.neighbours import Neighbours  # noqa: E402

CUTOFF, SKIN = 4.5, 0.5


def vectors(system: System, pairs: Pairs) -> np.ndarray:
    """(P, 5): i, j and the vectors of the pairs within the cutoff, in one order."""
    r = pairs.vectors(system).numpy()
    rows = np.column_stack([pairs.i.numpy(), pairs.j.numpy(), r.round(9)])[np.linalg.norm(r, axis=1) < CUTOFF - 1e-9]
    return rows[np.lexsort(rows.T[::-1])]


def check(neighbours: Neighbours, system: System) -> None:
    """The pairs are all there and no others; the list is a list of calczoo, both ways of a pair included."""
    moved, pairs = neighbours.update(system)
    found, expected = vectors(moved, pairs), vectors(system, find_pairs(system, CUTOFF))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-8)
    assert (np.diff(pairs.i.numpy()) >= 0).all() and pairs.first[-1] == pairs.n_pairs
    counts = np.bincount(pairs.i.numpy(), minlength=system.n_atoms)
    assert np.array_equal(np.diff(pairs.first.numpy()), counts)
    back = pairs.incoming.long()
    assert torch.equal(pairs.j[back], pairs.i) and torch.allclose(
        pairs.vectors(moved)[back], -pairs.vectors(moved), rtol=0, atol=1e-12
    )


def jiggled(many: list[Atoms], rng: np.random.Generator, size: float) -> None:
    for atoms in many:
        atoms.positions += rng.uniform(-size, size, size=atoms.positions.shape)


def test_moves_wraps_and_strains():
    """As dynamics does it: atoms wrapped into the cell at every step, cells that breathe."""
    rng, many, neighbours = np.random.default_rng(1), crystals(6), Neighbours(CUTOFF, SKIN)
    for step in range(30):
        jiggled(many, rng, 0.02)
        for atoms in many:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + 2e-3 * rng.normal(size=(3, 3))), scale_atoms=True)
            if step % 2:
                atoms.wrap()
        check(neighbours, System.from_atoms(many))
    assert neighbours.searches < 6 * 12


def test_wraps_cost_no_search():
    rng, many, neighbours = np.random.default_rng(2), crystals(4), Neighbours(CUTOFF, SKIN)
    for _ in range(10):
        for atoms in many:
            atoms.positions += rng.integers(-2, 3, size=atoms.positions.shape) @ atoms.cell.array
        check(neighbours, System.from_atoms(many))
    assert neighbours.searches == 4


def test_only_what_moved_is_searched():
    many, neighbours = crystals(5), Neighbours(CUTOFF, SKIN)
    check(neighbours, System.from_atoms(many))
    many[3].positions[1] += 1.0
    check(neighbours, System.from_atoms(many))
    assert neighbours.searches == 6
    check(neighbours, System.from_atoms(many))
    assert neighbours.searches == 6


def test_systems_that_come_and_go():
    rng, pool, neighbours = np.random.default_rng(3), crystals(12), Neighbours(CUTOFF, SKIN)
    inside, outside = list(range(6)), list(range(6, 12))
    for step in range(12):
        jiggled(pool, rng, 0.01)
        check(neighbours, System.from_atoms([pool[k] for k in inside]))
        if step % 2:
            inside.pop(int(rng.integers(len(inside))))
            if outside:
                inside.append(outside.pop())
    check(neighbours, System.from_atoms([pool[k] for k in inside]))
    assert neighbours.searches <= 12
    rng.shuffle(inside)
    before = neighbours.searches
    check(neighbours, System.from_atoms([pool[k] for k in inside]))
    assert neighbours.searches == before


def test_directions_without_periodicity():
    slab = fcc100("Cu", (2, 2, 2), vacuum=4.0)
    slab.pbc = (True, True, False)
    cluster, rng = bulk("Cu", cubic=True).repeat(2), np.random.default_rng(4)
    cluster.pbc = False
    many, neighbours = [slab, cluster, crystal("Cu"), cluster.copy()], Neighbours(CUTOFF, SKIN)
    many[3].cell[:] = 0.0
    for _ in range(6):
        jiggled(many, rng, 0.02)
        check(neighbours, System.from_atoms(many))
    assert neighbours.searches == 4
    slab.cell[0] *= 1.001
    cluster.cell[0] *= 3.0  # which means nothing there
    check(neighbours, System.from_atoms(many))
    assert neighbours.searches == 5
    many[1].pbc = True
    many[1].cell[0] /= 3.0
    check(neighbours, System.from_atoms(many))


def test_atoms_that_meet_while_the_list_is_kept():
    many, neighbours = crystals(3), Neighbours(CUTOFF, 1.0)
    many[1].positions[1] = many[1].positions[0] + [0.4, 0, 0]
    neighbours.update(System.from_atoms(many))
    many[1].positions[1] = many[1].positions[0] + [1e-5, 0, 0]
    with pytest.raises(AtomsOverlap, match="atoms 0 and 1 of structure 1"):
        neighbours.update(System.from_atoms(many))
    assert neighbours.searches == 3
    many[1].positions[1] += [2.0, 0, 0]
    neighbours.update(System.from_atoms(many))
    many[2].positions[1] = many[2].positions[0]
    with pytest.raises(AtomsOverlap, match="of structure 2"):
        neighbours.update(System.from_atoms(many))


def test_errors_leave_nothing_behind():
    many, neighbours = crystals(3), Neighbours(CUTOFF, SKIN)
    neighbours.update(System.from_atoms(many))
    system = System.from_atoms(many)
    broken = system.positions.clone()
    broken[1, 2] = torch.nan
    with pytest.raises(InvalidStructure, match=r"positions\[1, 2\] is nan of structure 0"):
        neighbours.update(replace(system, positions=broken))
    check(neighbours, system)
    with pytest.raises(TooLarge):
        Neighbours(CUTOFF, SKIN, max_memory_gib=1e-9).update(system)


def test_without_a_cutoff_nothing_is_searched():
    neighbours = Neighbours(0.0, SKIN)
    system, pairs = neighbours.update(System.from_atoms(crystals(2)))
    assert pairs.n_pairs == 0 and neighbours.searches == 0


def test_parts_of_batches():
    system = System.from_atoms(crystals(4))
    part = subsystem(system, [3, 1])
    assert part.first == (0, 2, 6) and subsystem(system, range(4)) is system
    whole, few = find_pairs(system, CUTOFF), find_pairs(part, CUTOFF)
    blocks = [(Cut(whole, system.first), 3), (Cut(whole, system.first), 1)]
    joined = join_pairs(part.first, blocks)
    for name in ("i", "j", "shift_index", "shifts", "shift_system", "first", "incoming"):
        assert torch.equal(getattr(joined, name), getattr(few, name)), name
