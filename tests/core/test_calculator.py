"""ZooCalculator and sums, with a potential that can be checked by hand."""

from __future__ import annotations

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError as AsePropertyNotImplementedError
from hypothesis import given

from calczoo.calculator import ZooCalculator
from calczoo.compose import Scale, Sum, combine
from calczoo.core.card import Card
from calczoo.core.errors import (
    AtomsOverlap,
    InvalidStructure,
    NonFiniteResult,
    OptionError,
    PropertyNotImplementedError,
    SpecError,
    UnsupportedElement,
)
from calczoo.core.results import Results
from core.test_pairs import structures
from core.toy import CUTOFF, Toy, toy_energy


def copper(rattle: float = 0.1, cells: int = 2) -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(cells)
    atoms.rattle(rattle, seed=3)
    return atoms


@given(atoms=structures(4))
def test_energy_by_brute_force(atoms):
    try:
        energy = ZooCalculator(Toy()).get_potential_energy(atoms)
    except AtomsOverlap:
        return
    assert energy == pytest.approx(toy_energy(atoms.positions, atoms.cell.array, atoms.pbc), abs=1e-9, rel=1e-12)


def test_results_have_ases_names_shapes_and_signs():
    atoms = copper()
    atoms.calc = ZooCalculator(Toy())
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    assert atoms.calc.results["free_energy"] == energy == pytest.approx(atoms.get_potential_energies().sum(), abs=1e-12)
    assert forces.shape == (32, 3) and stress.shape == (6,) and np.abs(forces.sum(axis=0)).max() < 1e-12
    assert stress[:3].max() < 0, "a repulsive crystal under pressure has negative stress in ASE's sign"
    step = 1e-5
    for n, c in ((0, 0), (7, 2)):
        e = [_energy_moved(atoms, n, c, s * step) for s in (1, -1)]
        assert forces[n, c] == pytest.approx(-(e[0] - e[1]) / (2 * step), abs=1e-8)
    for v, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        e = [_energy_strained(atoms, a, b, s * step) for s in (1, -1)]
        assert stress[v] == pytest.approx((e[0] - e[1]) / (2 * step) / atoms.get_volume(), abs=1e-9)


def _energy_moved(atoms: Atoms, n: int, c: int, by: float) -> float:
    moved = atoms.copy()
    moved.positions[n, c] += by
    return ZooCalculator(Toy()).get_potential_energy(moved)


def _energy_strained(atoms: Atoms, a: int, b: int, by: float) -> float:
    strain = np.eye(3)
    strain[a, b] += by / 2
    strain[b, a] += by / 2
    moved = atoms.copy()
    moved.set_cell(atoms.cell @ strain, scale_atoms=True)
    return ZooCalculator(Toy()).get_potential_energy(moved)


@pytest.mark.parametrize("skin", [0.0, 0.05, 0.5, 2.0])
def test_reused_list_gives_what_a_fresh_one_gives(skin):
    """Random walks of atoms and cell, small and large: the list is reused or renewed, the energies never differ."""
    rng = np.random.default_rng(5)
    atoms = copper()
    calc = ZooCalculator(Toy(), skin=skin)
    searches = 0
    last = None
    for step in range(60):
        size = [0.001, 0.01, 0.05, 0.3][step % 4]
        atoms.positions += rng.normal(0.0, size, atoms.positions.shape)
        if step % 3 == 0:
            atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0.0, 0.002, (3, 3))), scale_atoms=step % 2 == 0)
        energy = calc.get_potential_energy(atoms)
        fresh = ZooCalculator(Toy(), skin=0.0).get_potential_energy(atoms)
        assert energy == pytest.approx(fresh, abs=1e-12 * len(atoms))
        searches += calc._cached is not last
        last = calc._cached
    assert searches < 60 or skin <= 0.05


def test_far_jumps_are_new_structures():
    """An atom that leaves through the boundary and comes back, a shuffled order, another cell, other elements."""
    atoms = copper()
    calc = ZooCalculator(Toy())
    calc.get_potential_energy(atoms)
    for change in ("jump", "wrap", "swap", "cell", "element", "pbc", "size", "empty"):
        if change == "jump":
            atoms.positions[0] += 2.0
        elif change == "wrap":
            atoms.positions[3] += atoms.cell[0]
        elif change == "swap":
            atoms = atoms[::-1]
        elif change == "cell":
            atoms.set_cell(atoms.cell * 0.9, scale_atoms=True)
        elif change == "element":
            atoms.numbers[:4] = 13
        elif change == "pbc":
            atoms.pbc = [True, False, False]
        elif change == "size":
            atoms = atoms[:7]
        else:
            atoms = Atoms()
        expected = ZooCalculator(Toy(), skin=0.0).get_potential_energy(atoms)
        assert calc.get_potential_energy(atoms) == pytest.approx(expected, abs=1e-12), change


def test_overlap_is_found_while_a_list_is_reused():
    atoms = Atoms("H3", [[0, 0, 0], [0.4, 0, 0], [2, 0, 0]])
    calc = ZooCalculator(Toy(), skin=1.0)
    calc.get_potential_energy(atoms)
    atoms.positions[1, 0] = 0.399
    calc.get_potential_energy(atoms)
    atoms.positions[1, 0] = 5e-4
    with pytest.raises(AtomsOverlap, match="atoms 0 and 1"):
        calc.get_potential_energy(atoms)


def test_an_error_leaves_no_results_and_a_usable_calculator():
    atoms = copper()
    calc = ZooCalculator(Toy())
    good = calc.get_potential_energy(atoms)
    bad = atoms.copy()
    bad.positions[0, 0] = np.nan
    for _ in range(2):
        with pytest.raises(InvalidStructure):
            calc.get_potential_energy(bad)
        assert calc.results == {}
    assert calc.get_potential_energy(atoms) == good


def test_stress_needs_three_periodic_directions():
    calc = ZooCalculator(Toy())
    slab = copper()
    slab.pbc = [True, True, False]
    for atoms in (slab, molecule("H2")):
        with pytest.raises(PropertyNotImplementedError, match="periodic in all three directions"):
            calc.get_stress(atoms)
        calc.get_forces(atoms)
        assert "stress" not in calc.results
    assert issubclass(PropertyNotImplementedError, AsePropertyNotImplementedError)


def test_unknown_properties_are_named_with_what_there_is():
    with pytest.raises(PropertyNotImplementedError, match=r"does not compute 'magmoms' \(has: energy"):
        ZooCalculator(Toy()).get_property("magmoms", copper())
    with pytest.raises(PropertyNotImplementedError, match="charges"):
        ZooCalculator(Toy()).evaluate([copper()], properties=("charges",))


def test_elements_are_checked_before_any_work():
    class Never(Toy):
        def local(self, *args):
            raise AssertionError("the model ran")

    with pytest.raises(UnsupportedElement, match=r"'O' \(atom 0\)"):
        ZooCalculator(Never()).get_potential_energy(molecule("H2O"))


def test_non_finite_results_are_errors():
    class Broken(Toy):
        def site_energies(self, system, pairs, vectors):
            return super().site_energies(system, pairs, vectors) * np.nan

    with pytest.raises(NonFiniteResult, match="non-finite"):
        ZooCalculator(Broken()).get_potential_energy(copper())
    with pytest.raises(NonFiniteResult, match="of structure 1"):
        ZooCalculator(Broken()).evaluate([Atoms(), copper()])


def test_evaluate_is_one_by_one():
    many = [copper(), molecule("H2"), Atoms(), Atoms("Al", cell=[3, 3, 3], pbc=True), copper(0.2)]
    batch = ZooCalculator(Toy()).evaluate(many)
    for atoms, got in zip(many, batch, strict=True):
        calc = ZooCalculator(Toy())
        assert got["energy"] == pytest.approx(calc.get_potential_energy(atoms), abs=1e-12)
        np.testing.assert_allclose(got["forces"], calc.get_forces(atoms), atol=1e-13)
        assert ("stress" in got) == bool(atoms.pbc.all())
        if "stress" in got:
            np.testing.assert_allclose(got["stress"], calc.get_stress(atoms), atol=1e-14)
    assert ZooCalculator(Toy()).evaluate([]) == []


@pytest.mark.parametrize(
    "atoms, energy", [(Atoms(), 0.0), (Atoms("H"), 0.0), (Atoms("H", cell=[50] * 3, pbc=True), 0.0)]
)
def test_nothing_and_a_single_atom(atoms, energy):
    atoms.calc = ZooCalculator(Toy())
    assert atoms.get_potential_energy() == energy and atoms.get_forces().shape == (len(atoms), 3)
    assert not atoms.get_forces().any()


def test_no_structure():
    with pytest.raises(InvalidStructure, match="no structure given"):
        ZooCalculator(Toy()).calculate()


@pytest.mark.parametrize("skin", [-0.1, 11.0])
def test_skin_range(skin):
    with pytest.raises(OptionError, match="between 0 and 10"):
        ZooCalculator(Toy(), skin=skin)


def test_sums_share_one_list_and_each_term_keeps_its_cutoff():
    atoms = copper()
    short, long = Toy(cutoff=2.8), Toy(cutoff=4.0, depth=0.3)
    total = ZooCalculator(combine([(1.0, short), (-0.5, long)]))
    expected = {}
    for factor, model in ((1.0, short), (-0.5, long)):
        one = ZooCalculator(model).evaluate([atoms])[0]
        expected = {k: expected.get(k, 0.0) + factor * np.asarray(one[k]) for k in ("energy", "forces", "stress")}
    got = total.evaluate([atoms])[0]
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value, atol=1e-12)
    assert total.model.cutoff == 4.0 and "-0.5*toy(4)" in total.card.name


def test_sums_know_what_all_terms_know():
    total = Sum([Toy(numbers=(1, 13, 29)), Toy(numbers=(29, 1))])
    assert total.numbers == (1, 29)
    with pytest.raises(SpecError, match="no element in common"):
        Sum([Toy(numbers=(1,)), Toy(numbers=(29,))])
    with pytest.raises(OptionError, match="share device and dtype"):
        Sum([Toy(), Toy(dtype=torch.float32)])
    with pytest.raises(SpecError, match="at least one term"):
        Sum([])
    assert Scale(Toy(), 0.5).card.name.startswith("0.5*")


def test_results_add_and_scale():
    one = Results(energy=torch.ones(1), forces=torch.ones(2, 3), charges=torch.ones(2))
    two = Results(energy=torch.ones(1), forces=None)
    both = one + two
    assert both.energy.item() == 2.0 and both.forces is None, "half a force must not pass for a force"
    assert both.charges is not None and (one * 3.0).charges.sum() == 2.0 and (3.0 * one).energy.item() == 3.0
    with pytest.raises(Exception, match="cannot be added"):
        one + one


def test_cards_survive_json_and_newer_keys():
    card = Card(name="m", family="f", elements=("Cu",), cutoff=3.0, files={"a": "b"}, errors={"mae": 1.0})
    assert Card.from_dict(card.to_dict()) == card
    newer = Card.from_dict({**card.to_dict(), "colour": "red"})
    assert newer.extra == {"colour": "red"} and "cutoff  3.0000 A" in str(card)


def test_info_charge_counts_as_a_change():
    calc, atoms = ZooCalculator(Toy()), copper()
    calc.get_potential_energy(atoms)
    assert calc.check_state(atoms) == []
    atoms.info["charge"] = 1.0
    assert calc.check_state(atoms) == ["initial_charges"]


def test_toy_cutoff_is_the_default():
    assert Toy().cutoff == CUTOFF


def test_threads_that_share_a_calculator_get_their_own_results():
    calc = ZooCalculator(Toy())
    structures = [copper(0.02 * k) for k in range(1, 7)]
    expected = [calc.evaluate(a)[0]["energy"] for a in structures]

    def work(k: int) -> float:
        return calc.get_potential_energy(structures[k % 6])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(work, range(120)))
    finally:
        sys.setswitchinterval(interval)
    assert np.abs(np.array(found) - np.array(expected * 20)).max() < 1e-11


def test_a_calculator_can_be_copied_and_pickled():
    atoms = copper()
    calc = ZooCalculator(Toy())
    energy = calc.get_potential_energy(atoms)
    for twin in (copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        assert twin.get_potential_energy(atoms) == energy
        atoms.positions[0, 0] += 0.01
        assert twin.get_potential_energy(atoms) == pytest.approx(calc.get_potential_energy(atoms), abs=1e-12)
        atoms.positions[0, 0] -= 0.01


def test_positions_beyond_the_range_of_float32_are_refused():
    atoms = Atoms("H2", [[0, 0, 0], [1e39, 0, 0]])
    assert ZooCalculator(Toy()).get_potential_energy(atoms) == 0.0
    with pytest.raises(InvalidStructure, match="float64"):
        ZooCalculator(Toy(dtype=torch.float32)).get_potential_energy(atoms)


def test_float32_sums_over_many_atoms_lose_nothing():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(16)
    results = ZooCalculator(Toy(dtype=torch.float32)).evaluate(atoms)[0]
    assert results["energy"] == pytest.approx(results["energies"].sum(), rel=1e-12)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), "much"])
def test_a_memory_limit_that_limits_nothing_is_refused(limit):
    with pytest.raises(OptionError, match="max_memory_gib"):
        ZooCalculator(Toy(), max_memory_gib=limit)


def test_a_sum_keeps_what_only_one_term_computes():
    class Described(Toy):
        outputs = Toy.outputs | {"descriptors"}

        def local(self, system, pairs, need):
            site = super().local(system, pairs, need)
            site.extra = {"descriptors": torch.ones((system.n_atoms, 2))} if "descriptors" in need else None
            return site

    calc = ZooCalculator(Sum([Described(), Toy()]))
    assert calc.evaluate(copper(), ("energy", "descriptors"))[0]["descriptors"].shape == (32, 2)
    assert "descriptors" not in ZooCalculator(Sum([Described(), Described()])).implemented_properties


@pytest.mark.parametrize("skin", [0.0, 0.05, 0.5, 2.0])
def test_repeated_batch_gives_what_evaluate_gives(skin):
    """Walks of atoms and cells (each by itself and together), swapped elements, a structure that leaves, a new one."""
    rng = np.random.default_rng(8)
    calc = ZooCalculator(Toy(), skin=skin)
    batch = calc.repeated()
    structures = [copper(0.1, 2), copper(0.2, 1), copper(0.05, 2)]
    for step in range(50):
        for atoms in structures:
            atoms.positions += rng.normal(0.0, [0.002, 0.01, 0.05][step % 3], atoms.positions.shape)
            if step % 2 and len(atoms):
                stretch = np.eye(3) + rng.normal(0.0, 0.003, (3, 3))
                atoms.set_cell(atoms.cell @ stretch, scale_atoms=step % 4 == 1)
        if step == 20:
            structures.pop(1)
        if step == 30:
            structures[0] = structures[0][::-1]
        if step == 40:
            structures.append(copper(0.3, 1))
        got, expected = batch.evaluate(structures), calc.evaluate(structures)
        for a, b in zip(got, expected, strict=True):
            assert a.keys() == b.keys()
            for name in b:
                np.testing.assert_allclose(a[name], b[name], rtol=1e-11, atol=1e-11, err_msg=f"{name}, step {step}")
    assert batch.searches < 50 or skin <= 0.05
    assert calc._cached is None and calc.results == {}, "the calculator's own state is not touched"


def test_a_barostat_does_not_end_the_list():
    """Atoms that follow the cell by 0.5 % of 14 A move further than the skin, but no pair does."""
    atoms = copper(0.02, 4)
    batch = ZooCalculator(Toy(), skin=0.5).repeated()
    for factor in (1.0, 1.002, 1.005, 0.996, 1.004):
        moved = atoms.copy()
        moved.set_cell(atoms.cell * factor, scale_atoms=True)
        energy = batch.evaluate([moved])[0]["energy"]
        assert energy == pytest.approx(ZooCalculator(Toy()).get_potential_energy(moved), rel=1e-11)
    assert batch.searches == 1


def test_repeated_batch_names_overlapping_atoms_of_their_structure():
    far, near = Atoms("H2", [[0, 0, 0], [0.9, 0, 0]]), Atoms("H3", [[0, 0, 0], [2, 0, 0], [2.4, 0, 0]])
    batch = ZooCalculator(Toy(), skin=1.0).repeated()
    batch.evaluate([far, near], ("energy",))
    near.positions[2, 0] = 2.0005
    with pytest.raises(AtomsOverlap, match="atoms 1 and 2 of structure 1"):
        batch.evaluate([far, near], ("energy",))
    assert batch.searches == 1


def test_repeated_batch_from_several_threads():
    batch = ZooCalculator(Toy()).repeated()
    frames = [[copper(0.01 * (k + 1)), copper(0.02 * (k + 1))] for k in range(12)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(batch.evaluate, frames * 3))
    for cells, results in zip(frames * 3, got, strict=True):
        for atoms, one in zip(cells, results, strict=True):
            assert one["energy"] == pytest.approx(ZooCalculator(Toy()).get_potential_energy(atoms), rel=1e-12)
