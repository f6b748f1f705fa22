"""Dimer curves of potentials with known bond, and of curves that are broken in one way each."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.units import _amu, _e

from calczoo import get_calculator
from calczoo_validation import Status, parse_proto
from calczoo_validation.engine import Evaluator
from calczoo_validation.options import General, resolve
from calczoo_validation.properties import dimers
from calczoo_validation.registry import Context
from calczoo_validation.results import PropertyFailure, PropertyResult
from tests.data import lammps_potential

DEPTH, WIDTH, BOND = 2.0, 1.5, 2.2  # of the Morse curve: eV, 1/A, A


def compute(calculator, proto="Cu:fcc", **changes):
    options = resolve(dimers.PROPERTY.options, "fast", {"points": 120, **changes})
    made = Context(Evaluator(calculator), parse_proto(proto), options=options, general=resolve(General, "fast"))
    result = PropertyResult("dimers", "Dimers")
    dimers.PROPERTY.run(made, result)
    result.finish()
    return result


class Pair(Calculator):
    """Two atoms with E(r) and F(r) of a function, single atoms of 0.3 eV; may refuse atoms without a cell."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, curve, needs_cell=False, shortest=0.0):
        super().__init__()
        self.curve, self.needs_cell, self.shortest = curve, needs_cell, shortest

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.needs_cell and not atoms.pbc.all():
            raise ValueError("needs a periodic cell")
        if len(atoms) == 1:
            self.results = {"energy": 0.3, "forces": np.zeros((1, 3))}
            return
        vector = atoms.get_distance(0, 1, vector=True, mic=True)
        r = np.linalg.norm(vector)
        if r < self.shortest:
            raise ValueError("atoms too close")
        energy, force = self.curve(r)
        self.results = {"energy": 0.6 + energy, "forces": np.array([-vector, vector]) * force / r}


class Broken(Calculator):
    """Fails for every structure."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, *args, **kwargs):
        raise RuntimeError("no licence")


def morse(r):
    x = np.exp(-WIDTH * (r - BOND))
    return DEPTH * (x * x - 2 * x), 2 * WIDTH * DEPTH * (x * x - x)


def hole(r):
    energy, force = morse(r)
    bump = 400 * np.exp(-(((r - 0.5) / 0.25) ** 2))
    return energy - bump, force - bump * 2 * (r - 0.5) / 0.0625


def second_minimum(r):
    energy, force = morse(r)
    bump = 0.6 * np.exp(-(((r - 4.5) / 0.3) ** 2))
    return energy - bump, force - bump * 2 * (r - 4.5) / 0.09


def energy_jump(r):
    energy, force = morse(r)
    return energy + (0.05 if 3.1 < r else 0.0), force


def force_jump(r):
    energy, force = morse(r)
    return energy + 0.3 * max(0.0, min(r, 5.0) - 3.0), force - (0.3 if 3.0 < r < 5.0 else 0.0)


def wrong_force(r):
    energy, force = morse(r)
    return energy, 1.1 * force


def repulsive(r):
    return 5 / r**4, 20 / r**5


@pytest.mark.parametrize("needs_cell", [False, True])
def test_morse_dimer_exactly(needs_cell):
    result = compute(Pair(morse, needs_cell))
    assert result.status is Status.OK, result.reason
    force_constant = 2 * WIDTH**2 * DEPTH * _e / 1e-20
    frequency = np.sqrt(force_constant / (63.546 / 2 * _amu)) / (2 * np.pi) / 1e12
    for name, truth in (("E_bond", DEPTH), ("r_bond", BOND), ("frequency", frequency)):
        value = result[f"{name}_Cu_Cu"]
        assert value.value == pytest.approx(truth, abs=max(3 * value.error, 1e-6))
        assert value.error < 1e-3
    assert result["hole_Cu_Cu"].value == 0.0
    assert any("periodic box" in n for n in result.notes) is needs_cell


@pytest.mark.parametrize(
    ("curve", "words", "flagged"),
    [
        (hole, "unphysical attraction inside 0.5 bond lengths", "hole_Cu_Cu"),
        (second_minimum, "further minima at 4.5", "E_bond_Cu_Cu"),
        (energy_jump, "the energy jumps by 0.05 eV at 3.1", "E_bond_Cu_Cu"),
        (force_jump, "the force jumps by 0.3 eV/A", "frequency_Cu_Cu"),
        (wrong_force, "the force is not -dE/dr", "frequency_Cu_Cu"),
    ],
)
def test_a_broken_curve_is_suspicious(curve, words, flagged):
    result = compute(Pair(curve))
    assert words in result.reason
    assert result[flagged].status is Status.SUSPICIOUS
    assert result.status is Status.SUSPICIOUS


def test_a_hole_leaves_the_bond_alone_and_has_a_depth():
    result = compute(Pair(hole))
    assert result["r_bond_Cu_Cu"].status is Status.OK
    assert result["hole_Cu_Cu"].value > 0.5


def test_a_pair_that_does_not_bind_has_no_bond_length():
    result = compute(Pair(repulsive))
    for name in ("E_bond", "r_bond", "frequency"):
        assert result[f"{name}_Cu_Cu"].value is None
        assert result[f"{name}_Cu_Cu"].status is Status.UNSTABLE
    assert "does not bind" in result.reason
    assert result["hole_Cu_Cu"].status is Status.OK


def test_distances_at_which_the_calculator_fails_are_counted():
    result = compute(Pair(morse, shortest=1.2))
    assert result["hole_Cu_Cu"].status is Status.SUSPICIOUS
    assert "the calculator fails at" in result.reason and "0.92 to 1.1" in result.reason
    assert result["r_bond_Cu_Cu"].value == pytest.approx(BOND, abs=1e-6)
    assert result.data["curves"]["Cu_Cu"]["E"][0] is None


def test_a_calculator_that_always_fails_is_said_to():
    with pytest.raises(PropertyFailure, match="no energy for a single Cu atom"):
        compute(Broken())


def test_stillinger_weber_bond_is_two_to_the_sixth_sigma():
    """The two-body term has its minimum of exactly -epsilon at 2^(1/6) sigma (doi:10.1103/PhysRevB.31.5262)."""
    calculator = get_calculator("sw", model=str(lammps_potential("Si.sw")), elements=["Si"])
    result = compute(calculator, "Si:diamond")
    assert result.status is Status.OK
    assert result["E_bond_Si_Si"].value == pytest.approx(2.1683, abs=1e-6)
    assert result["r_bond_Si_Si"].value == pytest.approx(2 ** (1 / 6) * 2.0951, abs=2e-5)


def test_every_pair_of_an_alloy_and_its_declared_outputs():
    from fnmatch import fnmatchcase

    result = compute(EMT(), "CuAu:l1_0", points=40, longest=8.0)
    for v in result.values:
        assert any(fnmatchcase(v.name, o.name) and v.unit == o.unit for o in dimers.PROPERTY.outputs)
    depth = {pair: result[f"E_bond_{pair}"].value for pair in ("Au_Au", "Au_Cu", "Cu_Cu")}
    assert depth["Cu_Cu"] < depth["Au_Cu"] < depth["Au_Au"]
    assert len(dimers.plots([("a", result, {}), ("b", result, {})])) == 1


def test_batches_give_what_single_calls_give(batched):
    """A calculator with `evaluate` gets all dimers of a round in one call."""
    calculator = batched()
    together = compute(calculator, points=40, longest=8.0)
    alone = compute(EMT(), points=40, longest=8.0)
    assert [v.value for v in together.values] == pytest.approx([v.value for v in alone.values], rel=1e-9)
    assert calculator.calls < 20
