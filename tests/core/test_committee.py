"""Committees of any family: means, spreads, what they share, and who may not be a member."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from calczoo import committee, get_calculator
from calczoo.calculator import ZooCalculator
from calczoo.committee import committee_card
from calczoo.compose import CommitteeModel
from calczoo.core.card import Card
from calczoo.core.errors import OptionError, PropertyNotImplementedError, SpecError, UnsupportedElement
from calczoo.core.results import Results
from calczoo.registry import Committee

CPU = {"device": "cpu", "threads": 1}
MEMBERS = ("snap:Mo-linear", "snap:Mo-quadratic", "snap:Mo")
SPREADS = ("uncertainty", "uncertainties")


def crystal(seed=1, repeats=2) -> Atoms:
    atoms = bulk("Mo", cubic=True).repeat(repeats)
    atoms.rattle(0.08, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def calc():
    return committee(MEMBERS, **CPU)


def test_mean_and_spread(calc):
    atoms = crystal()
    atoms.calc = calc
    alone = [get_calculator(m, **CPU).evaluate([atoms])[0] for m in MEMBERS]
    energies = np.array([a["energy"] for a in alone])
    forces = np.array([a["forces"] for a in alone])
    assert atoms.get_potential_energy() == pytest.approx(energies.mean(), rel=1e-13)
    np.testing.assert_allclose(atoms.get_forces(), forces.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(atoms.get_stress(), np.mean([a["stress"] for a in alone], axis=0), atol=1e-13)
    np.testing.assert_allclose(calc.results["energies"], np.mean([a["energies"] for a in alone], axis=0), rtol=1e-12)
    assert isinstance(calc.results["uncertainty"], float)
    assert calc.results["uncertainty"] == pytest.approx(energies.std() / len(atoms), rel=1e-9)
    want = np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
    np.testing.assert_allclose(calc.results["uncertainties"], want, rtol=1e-9)
    assert calc.results["uncertainty"] > 1e-4 and calc.results["uncertainties"].min() > 0


def test_energies_alone_cost_no_forces(calc):
    atoms = crystal()
    calc.calculate(atoms, ["energy"])
    assert "uncertainty" in calc.results and "uncertainties" not in calc.results and "forces" not in calc.results
    assert "uncertainties" in calc.evaluate([atoms], ["uncertainties"])[0]
    assert set(SPREADS) <= set(calc.implemented_properties)
    assert calc.get_property("uncertainties", atoms).shape == (len(atoms),)


def test_batch_is_a_loop(calc):
    many = [crystal(), crystal(2)[:5], crystal()[:0], Atoms("Mo")]
    batch = calc.evaluate(many, ("energy", "forces", *SPREADS))
    for atoms, got in zip(many, batch, strict=True):
        want = calc.evaluate([atoms], ("energy", "forces", *SPREADS))[0]
        assert got["energy"] == pytest.approx(want["energy"], abs=1e-11)
        assert got["uncertainty"] == pytest.approx(want["uncertainty"], abs=1e-11)
        np.testing.assert_allclose(got["uncertainties"], want["uncertainties"], atol=1e-11)


def test_members_that_agree_are_certain():
    atoms = crystal()
    one = get_calculator("snap:Mo", **CPU)
    atoms.calc = committee([one, one])
    assert atoms.get_potential_energy() == one.get_potential_energy(atoms)
    assert atoms.calc.results["uncertainty"] == 0.0
    atoms.get_forces()
    assert not atoms.calc.results["uncertainties"].any()


def test_hessian_is_the_mean(calc):
    atoms = bulk("Mo", cubic=True)
    atoms.rattle(0.05, seed=3)
    got = calc.get_hessian(atoms)
    assert calc.hessian_info["method"] == "analytic"
    np.testing.assert_allclose(got, np.mean([get_calculator(m, **CPU).get_hessian(atoms) for m in MEMBERS], axis=0),
                               atol=1e-9)  # fmt: skip


def test_in_a_sum(calc):
    """Another term moves the mean, not the spread; a factor scales both."""
    from calczoo.compose import Scale, Sum

    atoms = crystal()
    zbl = get_calculator("zbl(2.0, 3.0)", elements="Mo", **CPU)
    both = ZooCalculator(Sum([calc.model, zbl.model], allow={"nuclear repulsion"}))
    alone = calc.evaluate([atoms])[0]
    got = both.evaluate([atoms])[0]
    assert got["uncertainty"] == pytest.approx(alone["uncertainty"], rel=1e-12)
    assert got["energy"] == pytest.approx(alone["energy"] + zbl.get_potential_energy(atoms), rel=1e-12)
    half = ZooCalculator(Scale(calc.model, -0.5)).evaluate([atoms])[0]
    assert half["energy"] == pytest.approx(-0.5 * alone["energy"], rel=1e-12)
    np.testing.assert_allclose(half["uncertainties"], 0.5 * alone["uncertainties"], rtol=1e-12)


def test_dynamics_and_reuse(calc):
    """The list is kept between calls; results are those of a fresh calculator."""
    atoms = crystal()
    atoms.calc = ZooCalculator(calc.model)
    for seed in range(4):
        atoms.rattle(0.01, seed=seed)
        fresh = ZooCalculator(calc.model).evaluate([atoms])[0]
        assert atoms.get_potential_energy() == pytest.approx(fresh["energy"], rel=1e-12)
        atoms.get_forces()
        np.testing.assert_allclose(atoms.calc.results["uncertainties"], fresh["uncertainties"], atol=1e-11)


def test_card(calc):
    card = calc.card
    assert card.family == "snap" and card.elements == ("Mo",) and set(SPREADS) <= set(card.outputs)
    assert card.extra["members"] == list(MEMBERS) and card.cutoff == calc.model.cutoff
    assert Card.from_dict(card.to_dict()) == card and card.doi and "committee of 3" in card.summary
    assert len(card.files) >= 3 and all(len(h) == 64 for h in card.files.values())


@pytest.mark.parametrize("elements, member", [("Mo", "snap:Ni"), ("Mo", "zbl(1.0, 2.0)")])
def test_members_that_do_not_belong_together(elements, member):
    with pytest.raises((SpecError, OptionError), match="in common|one family|has no"):
        committee(["snap:Mo", member], elements=elements, **CPU)


def test_wrong_lists(calc):
    for wrong in ("snap:Mo", [], ["snap:Mo"], 3):
        with pytest.raises(SpecError, match="committee"):
            committee(wrong, **CPU)
    with pytest.raises(OptionError, match="device and dtype"):
        committee([get_calculator("snap:Mo", **CPU), get_calculator("snap:Mo", dtype="float32", **CPU)])
    with pytest.raises(UnsupportedElement, match="committee of"):
        calc.get_potential_energy(bulk("Cu"))
    with pytest.raises(PropertyNotImplementedError, match="charges"):
        calc.get_property("charges", crystal())
    with pytest.raises(PropertyNotImplementedError, match="descriptors"):
        calc.model.compute(None, None, frozenset({"descriptors"}))


class Toy:
    """A model whose outputs are given."""

    card = Card("toy", "toy", ("Mo",), 3.0)
    cutoff, numbers, device, dtype = 3.0, (42,), torch.device("cpu"), torch.float64

    def __init__(self, **outputs):
        self.given = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in outputs.items()}
        self.outputs = frozenset(outputs)

    def compute(self, system, pairs, need):
        return Results(**self.given)


def test_charges_are_means_and_grades_the_largest():
    same = {"descriptors": [[1.0], [1.0]]}
    one = Toy(energy=[1.0], charges=[0.5, -0.5], extrapolation_grade=[0.3], dipole=[[1.0, 0, 0]], **same)
    two = Toy(energy=[3.0], charges=[0.7, -0.7], extrapolation_grade=[4.0], dipole=[[2.0, 0, 0]], **same)
    calc = ZooCalculator(CommitteeModel([one, two]))
    assert "descriptors" not in calc.implemented_properties
    pair = Atoms("Mo2", [[0, 0, 0], [0, 0, 2.5]])
    got = calc.evaluate([pair], ["energy", "charges", "extrapolation_grade", "dipole"])[0]
    np.testing.assert_allclose(got["charges"], [0.6, -0.6])
    assert got["extrapolation_grade"] == 4.0 and got["energy"] == 2.0 and got["uncertainty"] == 0.5
    np.testing.assert_allclose(got["dipole"], [1.5, 0, 0])


def test_a_family_may_read_a_committee(monkeypatch):
    """What `read` may return: get_calculator makes the model, with the card that came with it."""
    from calczoo import describe, registry

    many = [registry.read_params(registry.ModelRequest("snap", m.partition(":")[2])) for m in MEMBERS[:2]]
    made = Committee(tuple(many), committee_card([registry.card_of(p) for p in many], "the two"))
    monkeypatch.setattr(registry, "read_params", lambda request: made)
    calc = get_calculator("snap:anything", **CPU)
    assert calc.card.name == describe("snap:anything").name == "the two"
    assert calc.get_potential_energy(crystal()) == pytest.approx(
        committee(MEMBERS[:2], **CPU).get_potential_energy(crystal()), rel=1e-13
    )
    assert calc.get_hessian(bulk("Mo")).shape == (3, 3)
