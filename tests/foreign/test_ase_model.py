"""AseModel: the numbers of the ASE calculator inside it, nothing invented, nothing asked for in vain."""

from __future__ import annotations

import copy
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.tip3p import TIP3P

from calczoo import Card, get_calculator
from calczoo.calculator import ZooCalculator
from calczoo.compose import Scale, Sum
from calczoo.core.errors import (
    AtomsOverlap,
    BackendUnavailable,
    ForeignError,
    NonFiniteResult,
    OptionError,
    PropertyNotImplementedError,
    UnsupportedElement,
)
from calczoo.core.model import Model
from calczoo.foreign import AseModel, Make

EMT_OUTPUTS = ("energy", "energies", "forces", "stress")


def card(*elements: str) -> Card:
    return Card("foreign", "foreign", elements, 5.0)


def emt_model(**more) -> AseModel:
    return AseModel(card("Cu", "Ni", "Al", "H", "C", "O"), None, EMT, **{"outputs": EMT_OUTPUTS, **more})


def crystal(seed: int = 1) -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.symbols[::3] = "Ni"
    atoms.set_cell(atoms.cell @ np.array([[1.01, 0.02, 0], [0, 0.98, 0.03], [0, 0, 1.0]]), scale_atoms=True)
    atoms.rattle(0.08, seed=seed)
    return atoms


class Recorder(Calculator):
    """Remembers what it was asked for and what it saw; behaves as `how` says."""

    implemented_properties = ("energy", "free_energy", "forces", "stress", "charges", "dipole", "magmoms")

    def __init__(self, how=""):
        super().__init__()
        self.how, self.calls = how, []

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        charges, n = atoms.get_initial_charges().copy(), len(atoms)
        self.calls.append((list(properties), list(system_changes), dict(atoms.info), charges))
        self.results = {"energy": 1.0, "forces": np.ones((n, 3)), "stress": np.arange(1.0, 7.0)}
        self.results |= {"charges": np.full(n, 0.25), "dipole": np.array([1.0, 2.0, 3.0]), "magmoms": np.full(n, 2.0)}
        if self.how == "free":
            self.results["free_energy"] = 1.5
        if self.how == "shape":
            self.results["forces"] = np.ones((n, 2))
        if self.how == "forget":
            del self.results["stress"]
        if self.how == "raise":
            raise KeyError("no such layer")
        if self.how == "nan":
            self.results["energy"] = np.nan
        if self.how == "matrix":
            self.results["stress"] = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])


ALL = ("energy", "forces", "virial", "charges", "dipole", "magmoms")


def recorder(how: str = "", outputs=ALL) -> ZooCalculator:
    return ZooCalculator(AseModel(card("Cu", "H", "O"), None, partial(Recorder, how), outputs=outputs))


def test_it_is_a_model_with_the_numbers_of_its_calculator():
    model = emt_model()
    assert isinstance(model, Model) and model.cutoff == 0.0
    calc, atoms, direct = ZooCalculator(model), crystal(), crystal()
    atoms.calc, direct.calc = calc, EMT()
    for step in range(3):
        for one in (atoms, direct):
            one.rattle(0.05, seed=step)
        assert atoms.get_potential_energy() == direct.get_potential_energy()
        assert np.array_equal(atoms.get_forces(), direct.get_forces())
        np.testing.assert_allclose(atoms.get_stress(), direct.get_stress(), rtol=1e-14, atol=1e-17)
        assert np.array_equal(atoms.get_potential_energies(), direct.get_potential_energies())


def test_batches_of_crystals_molecules_and_nothing():
    calc = ZooCalculator(emt_model())
    batch = [crystal(), molecule("CH4"), Atoms(), crystal(5)]
    rows = calc.evaluate(batch)
    for atoms, row in zip(batch, rows, strict=True):
        assert ("stress" in row) == bool(atoms.pbc.all())
        if len(atoms):
            assert row["energy"] == EMT().get_potential_energy(atoms)
            assert np.array_equal(row["forces"], EMT().get_forces(atoms))
    assert rows[2]["energy"] == 0.0 and rows[2]["forces"].shape == (0, 3)


def test_energies_of_a_calculator_whose_free_energy_differs_belong_to_the_forces():
    assert recorder("free").evaluate(bulk("Cu"))[0]["energy"] == 1.5


def test_stress_as_matrix_or_in_voigt_order():
    expected = np.arange(1.0, 7.0)
    atoms = bulk("Cu")
    for how in ("", "matrix"):
        np.testing.assert_allclose(recorder(how).evaluate(atoms)[0]["stress"], expected, rtol=1e-14)


def test_only_what_is_needed_is_asked_for_and_nothing_is_invented():
    calc = recorder()
    water, copper = molecule("H2O"), bulk("Cu")
    calc.evaluate(water, ("energy",))
    seen = calc.model.calculator.calls
    assert seen[-1][0] == ["energy"]
    water.rattle(0.01)
    rows = calc.evaluate([water, copper], ("forces", "dipole", "magmoms"))
    assert {*seen[-2][0]} == {"energy", "forces", "dipole", "magmoms"}
    assert {*seen[-1][0]} == {"energy", "forces", "stress", "magmoms"}
    assert "dipole" in rows[0] and "stress" not in rows[0] and "dipole" not in rows[1] and "stress" in rows[1]
    assert np.array_equal(rows[1]["magmoms"], [2.0])
    plain = recorder(outputs=("energy",))
    with pytest.raises(PropertyNotImplementedError, match="does not compute 'forces'"):
        plain.get_property("forces", copper)
    with pytest.raises(OptionError, match="'hessian' is no output"):
        AseModel(card("Cu"), None, EMT, outputs=("hessian",))


def test_charges_reach_the_calculator():
    calc, atoms = recorder(), molecule("H2O")
    atoms.info["charge"] = 1
    calc.evaluate(atoms)
    atoms.info["charge"] = 0.5
    atoms.set_initial_charges([-0.8, 0.4, 0.4])
    calc.evaluate(atoms)
    first, second = calc.model.calculator.calls
    assert first[2] == {"charge": 1} and isinstance(first[2]["charge"], int) and second[2] == {"charge": 0.5}
    assert np.array_equal(second[3], [-0.8, 0.4, 0.4]) and second[1] == all_changes


def test_what_changed_is_told_and_the_same_structure_is_not_computed_twice():
    calc, atoms = recorder(), crystal()
    atoms.symbols[:] = "Cu"
    for _ in range(2):
        calc.evaluate(atoms)
    atoms.rattle(0.1)
    calc.evaluate(atoms)
    calls = calc.model.calculator.calls
    assert [c[1] for c in calls] == [all_changes, ["positions"]]


@pytest.mark.parametrize(
    "how, error, message",
    [
        ("shape", ForeignError, r"'forces' of shape \(32, 2\); expected \(32, 3\)"),
        ("forget", ForeignError, "did not return 'stress', which its adapter declares"),
        ("raise", ForeignError, "foreign failed: KeyError: 'no such layer'"),
        ("nan", NonFiniteResult, "non-finite (free_)?energy"),
    ],
)
def test_failures_are_errors_of_calczoo(how, error, message):
    calc, atoms = recorder(how), bulk("Cu", cubic=True).repeat(2)
    with pytest.raises(error, match=message):
        calc.evaluate(atoms)
    assert not calc.results


def test_a_package_that_is_not_there():
    model = AseModel(card("Cu"), None, Make("no_such_package.worker"))
    with pytest.raises(BackendUnavailable, match="No module named 'no_such_package'.*install the package"):
        ZooCalculator(model).evaluate(bulk("Cu"))


def test_structures_are_refused_before_any_work():
    def never():
        raise AssertionError("the calculator was made")

    calc = ZooCalculator(AseModel(card("Cu"), None, never))
    with pytest.raises(UnsupportedElement, match="'Ni'"):
        calc.evaluate(crystal())
    double = bulk("Cu", cubic=True).repeat(3)
    double.positions[7] = double.positions[80] + double.cell[0] - 2 * double.cell[2] + [0, 0, 4e-4]
    with pytest.raises(AtomsOverlap, match="atoms 7 and 80"):
        calc.evaluate(double)


@pytest.mark.parametrize("pbc", [True, False, (True, False, True)])
def test_overlaps_are_found_wherever_they_are(pbc):
    rng = np.random.default_rng(3)
    calc = ZooCalculator(emt_model())
    for _ in range(60):
        atoms = bulk("Cu", cubic=True).repeat((3, 2, 2))
        atoms.pbc = pbc
        i, j = rng.choice(len(atoms), 2, replace=False)
        shift = rng.integers(-2, 3, 3) * atoms.pbc
        atoms.positions[i] = atoms.positions[j] + shift @ atoms.cell.array + rng.normal(size=3) * 2e-4
        with pytest.raises(AtomsOverlap):
            calc.evaluate(atoms)
    calc.evaluate(crystal())


def test_copies_and_pickles_are_made_anew():
    calc, atoms = ZooCalculator(emt_model()), crystal()
    expected = calc.evaluate(atoms)[0]["energy"]
    for other in (copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        assert other.model._driver is None
        assert other.evaluate(atoms)[0]["energy"] == expected
        assert other.model.calculator is not calc.model.calculator


def test_threads_share_a_model():
    calc = ZooCalculator(emt_model())
    structures = [crystal(k) for k in range(16)]
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda a: calc.evaluate(a)[0]["energy"], structures))
    assert rows == pytest.approx([EMT().get_potential_energy(a) for a in structures], rel=1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_not_stuck_at_a_lock():
    model = emt_model()
    calc, atoms = ZooCalculator(model), crystal()
    calc.evaluate(atoms)
    model._lock.acquire()
    try:
        with ThreadPoolExecutor(1) as pool:  # the lock is another thread's in the child
            child = pool.submit(_in_child, model, atoms).result(timeout=60)
    finally:
        model._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _in_child(model, atoms):
    child = os.fork()
    if child == 0:
        try:
            ZooCalculator(model).evaluate(atoms)
            os._exit(0)
        except BaseException:  # the parent looks at the exit code
            os._exit(1)
    return child


def test_in_sums_and_scaled():
    atoms = crystal()
    atoms.symbols[:] = "Cu"
    foreign = emt_model()
    zbl = get_calculator("zbl(2.0, 3.0)", elements=["Cu"], device="cpu")
    total = ZooCalculator(Sum([foreign, Scale(zbl.model, 0.5)])).evaluate(atoms)[0]
    ours = zbl.evaluate(atoms)[0]
    direct = atoms.copy()
    direct.calc = EMT()
    assert total["energy"] == pytest.approx(direct.get_potential_energy() + 0.5 * ours["energy"], rel=1e-13)
    np.testing.assert_allclose(total["forces"], direct.get_forces() + 0.5 * ours["forces"], atol=1e-12)
    np.testing.assert_allclose(total["stress"], direct.get_stress() + 0.5 * ours["stress"], atol=1e-14)


def test_float32_positions_are_double_for_the_calculator():
    model = emt_model(dtype="float32")
    row = ZooCalculator(model).evaluate(crystal())[0]
    assert model.dtype == torch.float32
    assert row["energy"] == pytest.approx(EMT().get_potential_energy(crystal()), abs=1e-4)


def test_batched_evaluation_is_used_where_there_is_one():
    batches = []

    def many(structures, properties):
        batches.append((len(structures), tuple(properties)))
        for atoms in structures:
            atoms.calc = EMT()
        return [{p: a.calc.get_property(p, a) for p in properties} for a in structures]

    calc = ZooCalculator(emt_model(evaluate_many=many))
    batch = [crystal(), molecule("CH4"), crystal(2), Atoms()]
    rows = calc.evaluate(batch)
    assert [b[0] for b in batches] == [2, 1]
    assert [r["energy"] for r in rows[:3]] == [EMT().get_potential_energy(a) for a in batch[:3]]
    short = ZooCalculator(emt_model(evaluate_many=lambda structures, properties: []))
    with pytest.raises(ForeignError, match="0 results for 2 structures"):
        short.evaluate([crystal(), crystal(2)])


def test_a_calculator_that_tells_its_elements():
    model = AseModel(Card("t", "t", (), 0.0), None, Make("isolated.zoo_worker", "trivial"))
    assert model.numbers == (29, 1) and model.card.elements == ("Cu", "H") and model.card.cutoff == 4.5
    silent = AseModel(Card("t", "t", (), 0.0), None, EMT)
    with pytest.raises(ForeignError, match="does not tell its elements"):
        _ = silent.numbers


def test_calculators_of_an_old_interface():
    class Old:
        def get_property(self, name, atoms, allow_calculation=True):
            return {"energy": -1.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}[name]

    calc = ZooCalculator(AseModel(card("Cu"), None, Old))
    assert calc.evaluate(bulk("Cu"))[0]["energy"] == -1.0


def test_other_calculators_of_ase():
    argon = bulk("Ar", "fcc", 5.2, cubic=True).repeat(3)
    argon.rattle(0.1)
    calc = ZooCalculator(AseModel(card("Ar"), None, partial(LennardJones, sigma=3.4, epsilon=0.01, rc=7.0)))
    direct = argon.copy()
    direct.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=7.0)
    row = calc.evaluate(argon)[0]
    assert row["energy"] == direct.get_potential_energy()
    np.testing.assert_allclose(row["stress"], direct.get_stress(), rtol=1e-13, atol=1e-18)
    water = ZooCalculator(AseModel(card("O", "H"), None, TIP3P, outputs=("energy", "forces")))
    assert np.isfinite(water.evaluate(molecule("H2O"), ("energy", "forces"))[0]["energy"])
