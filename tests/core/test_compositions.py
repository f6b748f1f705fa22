"""Models made of two local models: by region and by distance; derivatives by differences, what is refused, cards."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from calczoo import Cylinder, Slab, Sphere, add, by_region, energy_shift, get_calculator, scale, switch
from calczoo.calculator import ZooCalculator
from calczoo.compose import Sum
from calczoo.core.errors import InvalidStructure, OptionError, PropertyNotImplementedError, SpecError
from calczoo.testing import CalculatorConformance
from calczoo.verify import run_checks
from core.toy import Toy

CPU = {"device": "cpu", "threads": 1}
A, B = "snap:Mo-linear", "snap:Mo-quadratic"
CORE = "zbl(2.0, 3.0)"


def crystal(repeats=2, seed=1, strain=0.02) -> Atoms:
    atoms = bulk("Mo", cubic=True).repeat(repeats)
    rng = np.random.default_rng(seed)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-strain, strain, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.08, atoms.positions.shape)
    return atoms


def halves(n=16) -> np.ndarray:
    return np.linspace(0.0, 1.0, n)


def numerical_forces(calc, atoms, some=(0, 3), h=1e-4) -> np.ndarray:
    out = np.zeros((len(some), 3))
    for row, k in enumerate(some):
        moved = []
        for axis in range(3):
            for by in (h, -h, 2 * h, -2 * h):
                one = atoms.copy()
                one.positions[k, axis] += by
                moved.append(one)
        e = np.array([r["energy"] for r in calc.evaluate(moved, ("energy",))]).reshape(3, 4)
        out[row] = -(8 * (e[:, 0] - e[:, 1]) - (e[:, 2] - e[:, 3])) / (12 * h)
    return out


def numerical_stress(calc, atoms, h=1e-5) -> np.ndarray:
    out = []
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        moved = []
        for by in (h, -h, 2 * h, -2 * h):
            strain = np.eye(3)
            strain[a, b] += 0.5 * by
            strain[b, a] += 0.5 * by
            one = atoms.copy()
            one.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            moved.append(one)
        e = np.array([r["energy"] for r in calc.evaluate(moved, ("energy",))])
        out.append((8 * (e[0] - e[1]) - (e[2] - e[3])) / (12 * h) / atoms.get_volume())
    return np.array(out)


# -- what they are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_weights_mix_site_energies(backend):
    atoms = crystal()
    w = halves(len(atoms))
    calc = by_region(A, B, w, backend=backend, **CPU)
    got = calc.evaluate([atoms], ("energy", "energies", "forces", "stress"))[0]
    one, two = (get_calculator(m, **CPU).evaluate([atoms], ("energy", "energies"))[0]["energies"] for m in (A, B))
    np.testing.assert_allclose(got["energies"], w * one + (1 - w) * two, rtol=0, atol=1e-11)
    np.testing.assert_allclose(got["forces"][[0, 3]], numerical_forces(calc, atoms), rtol=0, atol=1e-8)
    np.testing.assert_allclose(got["stress"], numerical_stress(calc, atoms), rtol=0, atol=1e-9)
    np.testing.assert_allclose(got["forces"].sum(axis=0), 0, atol=1e-11)


def test_all_inside_or_all_outside_is_one_model():
    atoms = crystal()
    for region, name in ((np.ones(16), A), (np.zeros(16, dtype=bool), B)):
        got = by_region(A, B, region, **CPU).evaluate([atoms])[0]
        want = get_calculator(name, **CPU).evaluate([atoms])[0]
        for key in ("energy", "forces", "stress"):
            np.testing.assert_allclose(got[key], want[key], rtol=0, atol=1e-12)


@pytest.mark.parametrize("outside", [B, f"{B} + 0.5*zbl(3.0, 4.0)"])
def test_a_small_region_in_a_large_crystal(outside):
    """Where most atoms are left out of the expensive model, the result is that of the whole."""
    from calczoo.compositions.weighted import part_of
    from calczoo.core.pairs import find_pairs
    from calczoo.core.system import System

    atoms = crystal(6)
    mask = np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1) < 3.0
    calc = by_region(A, outside, mask, allow={"nuclear repulsion"}, **CPU)
    one, two = (
        get_calculator(m, allow={"nuclear repulsion"}, **CPU).evaluate([atoms], ("energies", "forces"))[0]
        for m in (A, outside)
    )
    got = calc.evaluate([atoms, atoms[:432]], ("energies", "forces", "stress"))[0]
    np.testing.assert_allclose(got["energies"], np.where(mask, one["energies"], two["energies"]), rtol=0, atol=1e-11)
    np.testing.assert_allclose(got["forces"][[0, 200]], numerical_forces(calc, atoms, (0, 200)), rtol=0, atol=1e-7)
    model = calc.model.models[0]
    system = System.from_atoms(atoms)
    pairs = find_pairs(system, calc.model.cutoff)
    part, some, places, kept = part_of(system, pairs, torch.from_numpy(mask), model.cutoff)
    assert mask.sum() < part.n_atoms < 0.5 * len(atoms) and len(places) == part.n_atoms and len(kept) == some.n_pairs
    assert (some.j[some.incoming.long()] == some.i).all()
    np.testing.assert_array_equal(pairs.vectors(system)[kept], some.vectors(part))


def test_switch_by_distance():
    """Short below r_on, long beyond r_off, for a pair of atoms the formula between."""
    calc = switch(CORE, B, 1.5, 2.5, **CPU)
    one, two = get_calculator(CORE, elements="Mo", **CPU), get_calculator(B, **CPU)
    for r in (1.0, 1.5, 1.8, 2.2, 2.5, 3.0):
        pair = Atoms("Mo2", [[0, 0, 0], [0, 0, r]])
        t = np.clip(r - 1.5, 0, 1)
        w = 1 - (t**3 * (10 - 15 * t + 6 * t * t)) ** 3
        want = w * one.get_potential_energy(pair) + (1 - w) * two.get_potential_energy(pair)
        assert calc.get_potential_energy(pair) == pytest.approx(want, abs=1e-12)
    far = bulk("Mo", cubic=True).repeat(2)
    assert calc.get_potential_energy(far) == pytest.approx(two.get_potential_energy(far), abs=1e-11)


def test_three_atoms_at_one_distance():
    """Where the nearest neighbour is not unique, forces are smooth."""
    calc = switch(CORE, B, 1.5, 2.8, **CPU)
    atoms = molecule("H2O")
    atoms.symbols = "Mo3"
    atoms.positions = 2.0 * np.array([[0, 0, 0], [1, 0, 0], [0.5, 3**0.5 / 2, 0]])
    forces = calc.get_forces(atoms)
    np.testing.assert_allclose(forces, numerical_forces(calc, atoms, (0, 1, 2)), rtol=0, atol=1e-7)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["sphere", "slab", "cylinder", "switch", "fixed"]),
    backend=st.sampled_from(["warp", "torch"]),
    width=st.floats(0.3, 1.5),
)
def test_forces_and_stress_are_derivatives(seed, kind, backend, width):
    rng = np.random.default_rng(seed)
    atoms = crystal(2, seed, strain=0.05)
    atoms.positions += rng.uniform(-20, 20, 3)
    where, axis = rng.uniform(0, 1, 3), int(rng.integers(3))
    shift = {"Mo": float(rng.normal())}
    common = {"backend": backend, "shift": shift, **CPU}
    regions = {"sphere": Sphere(where, 1.2, scaled=True), "slab": Slab(where, 1.2, axis, scaled=True),
               "cylinder": Cylinder(where, 1.2, axis, scaled=True)}  # fmt: skip
    if kind == "switch":
        calc = switch(CORE, B, 2.3, 2.3 + width, **common)
    elif kind == "fixed":
        calc = by_region(A, B, rng.uniform(0, 1, len(atoms)), **common)
    else:
        calc = by_region(A, B, regions[kind], width, **common)
    got = calc.evaluate([atoms])[0]
    tolerance = 2e-6  # of five-point differences across switching functions with narrow shells
    np.testing.assert_allclose(got["forces"][[0, 3]], numerical_forces(calc, atoms), rtol=0, atol=tolerance)
    np.testing.assert_allclose(got["stress"], numerical_stress(calc, atoms), rtol=0, atol=tolerance)
    if kind in regions:
        free = by_region(A, B, type(regions[kind])(where @ atoms.cell.array, 1.2,
                         *(() if kind == "sphere" else (axis,))), width, **common)  # fmt: skip
        np.testing.assert_allclose(free.evaluate([atoms], ("forces",))[0]["forces"], got["forces"], rtol=0, atol=1e-10)


def test_energy_is_conserved_across_a_border():
    from ase import units
    from ase.md.verlet import VelocityVerlet

    atoms = crystal(2)
    atoms.calc = by_region(A, B, Sphere((0.5, 0.5, 0.5), 1.5, scaled=True), 1.2, shift={"Mo": 0.3}, **CPU)
    atoms.set_momenta(np.random.default_rng(0).normal(0.0, (units.kB * 600 * 95.95) ** 0.5, (16, 3)))
    start = atoms.get_total_energy()
    VelocityVerlet(atoms, 1.0 * units.fs).run(60)
    assert atoms.get_total_energy() == pytest.approx(start, abs=2e-3)


# -- the rest of the interface -------------------------------------------------------------------------------

MAKERS = {
    "fixed": lambda: by_region(A, B, halves(), **CPU),
    "sphere": lambda: by_region(A, B, Sphere((3, 3, 3), 1.0), 2.0, **CPU),
    "switch": lambda: switch(CORE, B, 2.4, 2.9, **CPU),
    "sum": lambda: add(switch(CORE, B, 2.4, 2.9, **CPU), scale(A, 0.1, **CPU), allow={"nuclear repulsion"}),
}


@pytest.mark.parametrize("name", MAKERS)
def test_copies_batches_and_reuse(name):
    calc = MAKERS[name]()
    many = [crystal(seed=k) for k in range(3)]
    names = [p for p in ("energy", "energies", "forces", "stress") if p in calc.implemented_properties]
    batch = calc.evaluate(many, names)
    for twin in (calc, copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        for atoms, want in zip(many, batch, strict=True):
            got = twin.evaluate([atoms], names)[0]
            for key in names:
                np.testing.assert_allclose(got[key], want[key], rtol=0, atol=1e-10)
    atoms = many[0]
    atoms.calc = calc
    for seed in range(3):
        atoms.rattle(0.02, seed=seed)
        fresh = ZooCalculator(calc.model).evaluate([atoms], names)[0]
        np.testing.assert_allclose(atoms.get_forces(), fresh["forces"], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name, method", [("fixed", "analytic"), ("switch", "analytic"), ("sphere", "differences")])
def test_hessian(name, method):
    calc = MAKERS[name]()
    atoms = crystal()
    got = calc.get_hessian(atoms, [0, 5], method="auto")
    assert method in calc.hessian_info["method"]
    want = calc.get_hessian(atoms, [0, 5], method="differences")
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)
    if method == "differences":
        with pytest.raises(PropertyNotImplementedError, match="analytic"):
            calc.get_hessian(atoms, method="analytic")


def test_float32():
    atoms = crystal()
    for name in ("fixed", "switch"):
        single = {"fixed": by_region(A, B, halves(), dtype="float32", **CPU),
                  "switch": switch(CORE, B, 2.4, 2.9, dtype="float32", **CPU)}[name]  # fmt: skip
        got, want = single.evaluate([atoms])[0], MAKERS[name]().evaluate([atoms])[0]
        assert got["energy"] == pytest.approx(want["energy"], abs=2e-4)
        np.testing.assert_allclose(got["forces"], want["forces"], rtol=0, atol=2e-3)
    with pytest.raises(OptionError, match="float64"):
        by_region(A, B, Sphere((0, 0, 0), 1.0), 1.0, dtype="float32", **CPU)


def test_cards():
    calc = by_region(A, f"{CORE}", Slab((0, 0, 0.5), 2.0, scaled=True), 1.0, elements="Mo", **CPU)
    card = calc.card
    assert card.name == "by_region(snap:Mo-linear, zbl(2, 3), Slab((0, 0, 0.5) of the cell, 2, axis 2, width 1))"
    assert card.family == "by_region" and card.elements == ("Mo",) and card.cutoff == calc.model.cutoff
    assert "stress" in card.outputs and "ZBL" in card.citation.upper() or "Ziegler" in card.citation
    assert len(card.files) == 3 and card.extra["inside"] == A and type(card).from_dict(card.to_dict()) == card
    free = by_region(A, B, Sphere((0, 0, 0), 1.0), 1.0, **CPU)
    assert "stress" not in free.card.outputs and "stress" not in free.implemented_properties
    with pytest.raises(PropertyNotImplementedError, match="stress.*fixed in space.*scaled=True"):
        free.get_stress(crystal())
    assert switch(CORE, B, 1.0, 2.0, **CPU).card.name == "switch(zbl(2, 3), snap:Mo-quadratic, 1 to 2 A)"


def test_energy_shift():
    metals, toy = get_calculator("snap:Mo", **CPU), ZooCalculator(Toy(numbers=(42,)))
    atoms = crystal(strain=0.0)
    shift = energy_shift(toy, metals, [atoms, atoms.repeat((1, 1, 2))])
    assert shift["Mo"] == pytest.approx((metals.get_potential_energy(atoms) - toy.get_potential_energy(atoms)) / 16)
    both = by_region(toy, metals, np.ones(16), shift=shift)
    assert both.get_potential_energy(atoms) == pytest.approx(metals.get_potential_energy(atoms), abs=1e-9)


def test_what_is_refused():
    salt = get_calculator("ewald(Mo=1)", **CPU)
    with pytest.raises(OptionError, match=r"ewald\(Mo=1\) has no pair_gradients.*local model"):
        by_region(salt, B, halves(), **CPU)
    region = by_region(A, B, Sphere((0, 0, 0), 1.0), 1.0, **CPU)
    with pytest.raises(OptionError, match="has no pair_gradients"):
        switch(CORE, region, 1.0, 2.0, **CPU)
    for bad in ([0.5, 1.5], [[1.0]], "left", None, [np.nan]):
        with pytest.raises(OptionError, match="weight between 0 and 1"):
            by_region(A, B, bad, **CPU)
    for wrong in (None, 0.0, -1.0, "1", float("inf")):
        with pytest.raises(OptionError, match="width is"):
            by_region(A, B, Sphere((0, 0, 0), 1.0), wrong, **CPU)
    with pytest.raises(OptionError, match="width belongs"):
        by_region(A, B, halves(), 1.0, **CPU)
    for on, off in ((2.0, 1.0), (0.0, 1.0), (1, None), (True, 2)):
        with pytest.raises(OptionError, match="0 < r_on < r_off"):
            switch(CORE, B, on, off, **CPU)
    for make in (lambda: Sphere((0, 0), 1.0), lambda: Sphere((0, 0, 0), -1.0), lambda: Slab((0, 0, 0), 1.0, axis=3),
                 lambda: Cylinder("abc", 1.0), lambda: Sphere((0, 0, np.nan), 1.0)):  # fmt: skip
        with pytest.raises(OptionError, match="centre|radius|axis"):
            make()
    for shift in ({"Mo": "1"}, {"Mo": float("nan")}, 3.0):
        with pytest.raises(OptionError, match="shift"):
            switch(CORE, B, 1.0, 2.0, shift=shift, **CPU)
    with pytest.raises(OptionError, match="share device and dtype"):
        by_region(get_calculator(A, dtype="float32", **CPU), B, halves(), **CPU)
    with pytest.raises(SpecError, match="no element in common.*snap:Mo-linear: Mo.*snap:Ni"):
        by_region(A, "snap:Ni", halves(), **CPU)
    with pytest.raises(OptionError, match="no part of a composition"):
        scale(3, 2.0)
    with pytest.raises(OptionError, match="factor"):
        scale(A, "2", **CPU)


def test_structures_that_do_not_fit():
    calc = by_region(A, B, halves(), **CPU)
    with pytest.raises(InvalidStructure, match="has 2 atoms, but there are weights for 16"):
        calc.get_potential_energy(bulk("Mo", cubic=True))
    with pytest.raises(InvalidStructure, match="structure 1 of the batch has 54"):
        calc.evaluate([crystal(), crystal(3)])
    with pytest.raises(InvalidStructure, match="more than half of the"):
        by_region(A, B, Sphere((0, 0, 0), 3.0), 1.0, **CPU).get_potential_energy(crystal())
    with pytest.raises(InvalidStructure, match="fractions of the cell"):
        lump = crystal()
        lump.pbc = [True, True, False]
        by_region(A, B, Sphere((0, 0, 0), 1.0, scaled=True), 1.0, **CPU).get_potential_energy(lump)
    along = Cylinder((0, 0, 0), 2.0)
    thin = bulk("Mo", cubic=True).repeat((2, 2, 1))
    assert np.isfinite(by_region(A, B, along, 1.0, **CPU).get_potential_energy(thin))


def test_open_structures():
    """Without periodic directions, axes are x, y and z."""
    atoms = crystal()
    atoms.pbc = False
    for region in (Sphere((1, 1, 1), 2.0), Slab((1, 1, 1), 1.5, 0), Cylinder((1, 1, 1), 1.5, 1)):
        calc = by_region(A, B, region, 1.5, **CPU)
        got = calc.evaluate([atoms, atoms[:0]], ("energy", "forces"))
        assert got[1]["energy"] == 0.0
        np.testing.assert_allclose(got[0]["forces"][[0, 3]], numerical_forces(calc, atoms), rtol=0, atol=1e-7)


@pytest.mark.parametrize("region", [Sphere((0.5, 0.5, 0.5), 0.5, scaled=True), Slab((0, 0, 0), 0.5, scaled=True)])
def test_regions_are_graded_a(region):
    report = run_checks(
        lambda: by_region(A, B, region, 0.5, **CPU), ["Mo"], names=["forces", "stress", "nve", "threads"], quick=True
    )
    assert report.ok and [r.grade for r in report.results[:2]] == ["A", "A"], str(report)


class TestRegion(CalculatorConformance):
    """Fixed in space: what makes sense without translations."""

    elements = ["Mo"]
    worst_force_grade = "A"
    not_applicable = dict.fromkeys(
        ("objectivity", "periodicity", "extensivity", "isolated_atoms", "small_cell", "outside_cell", "odd_cells"),
        "an external field in space: energies depend on where atoms are, and on how many images of it there are",
    )

    def make_calculator(self):
        return by_region(A, B, Sphere((0, 0, 0), 0.4), 0.5, **CPU)


class TestSwitch(CalculatorConformance):
    elements = ["Mo"]
    worst_force_grade = "A"
    worst_stress_grade = "A"

    def make_calculator(self):
        return switch(CORE, B, 1.6, 2.2, **CPU)

    def make_float32_calculator(self):
        return switch(CORE, B, 1.6, 2.2, dtype="float32", **CPU)


class TestAdd(CalculatorConformance):
    elements = ["Mo"]
    worst_force_grade = "A"
    worst_stress_grade = "A"

    def make_calculator(self):
        return add(scale(A, 0.3, **CPU), scale(B, 0.7, **CPU))

    def make_float32_calculator(self):
        return add(scale(A, 0.3, dtype="float32", **CPU), scale(B, 0.7, dtype="float32", **CPU))


class TestSwitchInFloat32(TestSwitch):
    """Tolerances are those of the kit for single precision."""

    dtype = "float32"
    worst_force_grade = None
    worst_stress_grade = None
    not_applicable = {"memory": "the same code as in double precision, where it is checked"}

    def make_calculator(self):
        return super().make_float32_calculator()


def test_sum_is_a_sum():
    both = add(scale(A, 0.3, **CPU), B, allow={"nuclear repulsion"}, **CPU)
    assert isinstance(both.model, Sum) and both.card.name == "0.3*snap:Mo-linear + snap:Mo-quadratic"
