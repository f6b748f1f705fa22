"""What is checked when a sum is built: double counting, outputs that a term lacks, elements, device and dtype."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from calczoo import add, by_region, delta, describe, get_calculator, scale, switch
from calczoo.calculator import ZooCalculator
from calczoo.compose import CommitteeModel, Scale, Sum
from calczoo.compositions.deltas import base_record, corrected_card
from calczoo.core.card import Card
from calczoo.core.counting import DoubleCounting, check_double_counting, counts_of, net_weights
from calczoo.core.errors import OptionError, PropertyNotImplementedError, SpecError
from calczoo.foreign import AseModel
from core.toy import Toy

CPU = {"device": "cpu", "threads": 1}


def card(name: str, *kinds: str, **facts) -> Card:
    return Card(name, "toy", ("Cu",), 3.0, extra={"counts": list(kinds)} if kinds else {}, **facts)


def toy(name: str, *kinds: str, without: tuple[str, ...] = (), **facts) -> Toy:
    model = Toy()
    model.card = card(name, *kinds, **facts)
    model.outputs = model.outputs - set(without)
    return model


def test_what_a_card_counts():
    assert counts_of(card("a")) == frozenset()
    assert counts_of(card("a", "electrostatics", dispersion_included=True)) == {"electrostatics", "dispersion"}
    assert counts_of(Card("a", "b", ("Cu",), 1.0, extra={"counts": "dispersion"})) == {"dispersion"}
    families = {"ewald(Cu=1)": "electrostatics", "zbl(1.0, 2.0)": "nuclear repulsion"}
    for spec, kind in families.items():
        assert counts_of(get_calculator(spec, **CPU).card) == {kind}
    assert "nuclear repulsion" in counts_of(get_calculator("snap:Mo", **CPU).card)


def test_twice_is_refused_and_both_are_named():
    one, two, three = card("pbe-d3", dispersion_included=True), card("d3(pbe)", "dispersion"), card("eam")
    check_double_counting([one, three])
    with pytest.raises(DoubleCounting, match=r"'pbe-d3' and 'd3.pbe.' both hold dispersion.*2 times.*allow=") as found:
        check_double_counting([one, three, two])
    assert found.value.kind == "dispersion" and found.value.terms == ("pbe-d3", "d3(pbe)")
    assert isinstance(found.value, SpecError)
    for allow in ({"dispersion"}, ["dispersion"], "dispersion"):
        check_double_counting([one, two], allow)
    with pytest.raises(DoubleCounting):
        check_double_counting([one, two], {"electrostatics"})


@pytest.mark.parametrize("forced", [True, "dispersion", ["dispersion"]])
def test_a_forced_term_is_taken(forced):
    two = Card("d3(pbe)", "d3", ("Cu",), 3.0, extra={"counts": ["dispersion"], "forced": forced})
    check_double_counting([card("pbe-d3", "dispersion"), two])
    with pytest.raises(DoubleCounting):
        check_double_counting([card("a", "dispersion"), card("b", "dispersion"), two])


def test_factors_count():
    """A mixture holds a kind once; a subtraction takes it away."""
    one, two = card("a", "dispersion"), card("b", "dispersion")
    check_double_counting([(0.3, one), (0.7, two)])
    check_double_counting([(1.0, one), (-1.0, two)])
    check_double_counting([(2.0, one), (1.0, card("c"))])
    with pytest.raises(DoubleCounting, match="1.5 times"):
        check_double_counting([(1.0, one), (0.5, two)])
    check_double_counting([(2.0, one), (-0.5, two)])
    with pytest.raises(DoubleCounting, match="2.5 times"):
        check_double_counting([(2.0, one), (0.5, two)])
    assert net_weights([(1.0, one), (-1.0, two)]) == {} and net_weights([(0.5, one)]) == {"dispersion": 0.5}


def test_sums_of_sums_and_committees():
    a, b, c = toy("a", "dispersion"), toy("b"), toy("c", "dispersion")
    inner = Sum([a, b])
    assert inner.card.extra["counts"] == ["dispersion"]
    with pytest.raises(DoubleCounting, match="'a . b' and 'c'"):
        Sum([inner, c])
    assert "counts" not in Sum([a, Scale(c, -1.0)]).card.extra
    Sum([Sum([a, Scale(c, -1.0)]), toy("d", "dispersion")])
    assert Sum([a, c], allow={"dispersion"}).card.dispersion_included is True
    with pytest.raises(DoubleCounting, match="'committee of a, a' and 'c' both"):
        Sum([CommitteeModel([a, a]), c])


def test_weights_survive_nesting():
    """Half a kind in an inner sum leaves room for the other half; twice in it leaves none."""
    a, b, c = toy("a", "dispersion"), toy("b"), toy("c", "dispersion")
    half = Sum([Scale(a, 0.5), b])
    assert half.card.extra["counts"] == {"dispersion": 0.5} and half.card.dispersion_included is True
    assert counts_of(half.card) == {"dispersion"}
    assert Sum([half, Scale(c, 0.5)]).card.extra["counts"] == ["dispersion"]
    assert "counts" not in Sum([Scale(half, 2.0), Scale(c, -1.0)]).card.extra
    with pytest.raises(DoubleCounting, match="'0.5.a . b' and 'c' both hold dispersion.*1.5 times"):
        Sum([half, c])
    twice = Sum([a, c], allow={"dispersion"})
    assert twice.card.extra["counts"] == {"dispersion": 2.0}
    assert Card.from_dict(twice.card.to_dict()) == twice.card
    Sum([twice, b])
    with pytest.raises(DoubleCounting, match="'a', 'b' and 'c' all hold"):
        check_double_counting([card(name, "dispersion") for name in "abc"])


def test_delta_counts():
    """A correction that was trained as one has seen what its base holds; any other is checked like a sum."""
    a, b, c = toy("a", "dispersion"), toy("b"), toy("c", "dispersion", "electrostatics")
    with pytest.raises(DoubleCounting, match="'a' and 'c' both hold dispersion"):
        delta(a, c)
    assert delta(a, c, allow={"dispersion"}).card.extra["counts"] == {"dispersion": 2.0, "electrostatics": 1.0}
    assert delta(a, c, force=True).card.extra["counts"] == {"dispersion": 2.0, "electrostatics": 1.0}
    whole = delta(a, b)
    assert whole.card.extra["counts"] == ["dispersion"]
    with pytest.raises(DoubleCounting, match="'delta.a, b.' and 'c'"):
        add(whole, c)
    with pytest.raises(DoubleCounting, match="'delta.a, 2.b.' and 'c'.*1.5 times"):
        add(delta(a, scale(b, 2.0)), scale(c, 0.5))
    trained = toy("t", "dispersion", "electrostatics")
    trained.card = corrected_card(trained.card, base_record(ZooCalculator(a), "a", ["Cu"]))
    assert delta(a, trained).card.extra["counts"] == ["dispersion", "electrostatics"]
    with pytest.raises(DoubleCounting, match=r"t was trained as a correction: write 'delta\(a, t\)'"):
        add(a, trained)
    with pytest.raises(DoubleCounting, match="'delta.a, t.' and 'ewald.* both hold electrostatics"):
        add(delta(a, trained), "ewald(Cu=1)", **CPU)


def test_two_models_for_different_atoms_hold_it_once():
    a, c = toy("a", "dispersion"), toy("c", "dispersion")
    mixed = by_region(a, c, [True, False, True, False])
    assert mixed.card.extra["counts"] == ["dispersion"] and mixed.card.dispersion_included is True
    with pytest.raises(DoubleCounting, match="'by_region.a, c, .*' and 'd' both hold dispersion"):
        add(mixed, toy("d", "dispersion"))


def foreign(name: str = "emt-d3", outputs=("energy", "energies", "forces", "stress"), **facts) -> ZooCalculator:
    return ZooCalculator(AseModel(Card(name, "foreign", ("Cu", "Ni"), 5.0, **facts), None, EMT, outputs=outputs))


def test_codes_of_others():
    """What the card of an adapter tells counts, in sums, deltas and mixtures; forces and stress are those of sums."""
    yes, no = foreign(dispersion_included=True), foreign("emt", dispersion_included=False)
    held = toy("native-d3", "dispersion")
    for make in (add, delta):
        with pytest.raises(DoubleCounting, match="'emt-d3' and 'native-d3' both hold dispersion"):
            make(yes, held)
        assert make(yes, held, allow="dispersion").card.dispersion_included is True
    with pytest.raises(DoubleCounting, match="'delta.emt-d3, toy.' and 'native-d3'"):
        add(delta(yes, toy("toy")), held)
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    both = add(no, scale(held, 0.5))
    got, one, two = (c.evaluate([atoms])[0] for c in (both, no, ZooCalculator(held)))
    for key in ("energy", "forces", "stress"):
        np.testing.assert_allclose(got[key], one[key] + 0.5 * two[key], rtol=0, atol=1e-12)
    with pytest.raises(OptionError, match="emt has no pair_gradients: weights of atoms need a local model"):
        by_region(no, held, [True] * 32)
    with pytest.raises(OptionError, match="emt has no pair_gradients"):
        switch(held, no, 1.0, 2.0)
    with pytest.warns(UserWarning, match="has no stress: blind lacks it"):
        blind = delta(foreign("blind", ("energy", "forces")), toy("t"))
    with pytest.raises(PropertyNotImplementedError, match="blind lacks it"):
        blind.get_stress(atoms)


def test_what_may_be_allowed():
    for wrong in (True, 3, [1], None):
        with pytest.raises(OptionError, match="allow is"):
            get_calculator("snap:Mo + zbl(4.0, 4.8)", allow=wrong, **CPU)
    a = card("a", "dispersion", "electrostatics")
    check_double_counting([a, a], "dispersion, electrostatics")


def test_inner_sums_and_cards():
    """What is allowed for the whole is allowed for its parts; a card is refused like the model."""
    spec = "delta(snap:Mo + zbl(4.0, 4.8), 0.01*mtp:Mo)"
    for make in (get_calculator, describe):
        common = CPU if make is get_calculator else {}
        with pytest.raises(DoubleCounting, match="'snap:Mo' and 'zbl.4, 4.8.' both hold nuclear repulsion"):
            make(spec, **common)
        made = make(spec, allow={"nuclear repulsion"}, **common)
        found = made if make is describe else made.card
        assert found.extra["counts"] == {"nuclear repulsion": 2.0}
    assert describe("snap:Mo").extra["counts"] == ["nuclear repulsion"]
    both = add("snap:Mo + zbl(4.0, 4.8)", "ewald(Mo=0.0)", allow={"nuclear repulsion"}, **CPU)
    assert both.card.extra["counts"] == {"electrostatics": 1.0, "nuclear repulsion": 2.0}


def test_the_command_line_can_allow(capsys):
    from calczoo.cli import execute

    assert execute(["info", "snap:Mo + zbl(4.0, 4.8)"]) == 1
    told = capsys.readouterr().err
    assert "-o 'allow=nuclear repulsion'" in told
    assert execute(["info", "snap:Mo + zbl(4.0, 4.8)", "-o", "allow=nuclear repulsion"]) == 0
    command = ["run", "singlepoint", "snap:Mo + zbl(4.0, 4.8)", "--proto", "Mo:bcc", "--device", "cpu"]
    assert execute([*command, "-o", "allow=nuclear repulsion"]) == 0


def test_dispersion_of_a_sum():
    yes, no, unknown = toy("y", dispersion_included=True), toy("n", dispersion_included=False), toy("u")
    assert Sum([yes, unknown]).card.dispersion_included is True
    assert Sum([no, no]).card.dispersion_included is False
    assert Sum([no, unknown]).card.dispersion_included is None


def test_specs():
    with pytest.raises(DoubleCounting, match="'snap:Mo' and 'zbl.4, 4.8.' both hold nuclear repulsion"):
        get_calculator("snap:Mo + zbl(4.0, 4.8)", **CPU)
    both = get_calculator("snap:Mo + zbl(4.0, 4.8)", allow={"nuclear repulsion"}, **CPU)
    assert both.card.extra["counts"] == {"nuclear repulsion": 2.0}
    with pytest.raises(DoubleCounting, match="electrostatics"):
        get_calculator("ewald(Na=1, Cl=-1) + ewald(Na=0.5, Cl=-0.5)", **CPU)
    mixed = get_calculator("0.5*ewald(Na=1, Cl=-1) + 0.5*ewald(Na=0.8, Cl=-0.8)", **CPU)
    assert mixed.get_potential_energy(bulk("NaCl", "rocksalt", 5.64)) < 0
    with pytest.raises(DoubleCounting):
        add("zbl(1.0, 2.0)", "zbl(1.0, 2.5)", **CPU)


def test_charged_networks_and_ewald():
    """A network of the fourth generation has its own electrostatics."""
    from calczoo import describe, list_calculators

    charged = [m for m in list_calculators("hdnnp:*") if "charges" in describe(m).outputs]
    if not charged:
        pytest.skip("no bundled network has charges")
    known = describe(charged[0]).elements
    charges = ", ".join(f"{e}=0.1" for e in known)
    with pytest.raises(DoubleCounting, match=f"{charged[0]}.*ewald.*both hold electrostatics"):
        get_calculator(f"{charged[0]} + ewald({charges})", **CPU)


def test_missing_outputs_are_named():
    rich, poor = toy("rich"), toy("poor", without=("virial", "virials", "pair_gradients"))
    with pytest.warns(UserWarning, match="rich . poor has no stress: poor lacks it"):
        both = ZooCalculator(Sum([rich, poor]))
    assert set(both.model.missing) == {"virial", "virials", "pair_gradients"}
    atoms = bulk("Cu", cubic=True)
    assert "stress" not in both.evaluate([atoms], ("energy", "forces"))[0]
    for ask in (lambda: both.get_property("stress", atoms), lambda: both.evaluate([atoms], ("stress",))):
        with pytest.raises(PropertyNotImplementedError, match="does not compute '?stress'?.*poor lacks it"):
            ask()
    halved = ZooCalculator(Scale(both.model, 0.5))
    with pytest.raises(PropertyNotImplementedError, match="poor lacks it"):
        halved.evaluate([atoms], ("stress",))
    with pytest.warns(UserWarning, match="forces"):
        Sum([rich, toy("mute", without=("forces",))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Sum([rich, toy("plain", without=("pair_gradients",))])


def test_outputs_that_cannot_be_added():
    salt = scale("ewald(Na=1, Cl=-1)", 0.5, **CPU)
    both = add(salt, scale("ewald(Na=1, Cl=-1)", 0.5, **CPU))
    with pytest.raises(PropertyNotImplementedError, match="charges.*have it each, and it cannot be added"):
        both.evaluate([bulk("NaCl", "rocksalt", 5.64)], ("charges",))


def test_elements_of_all_terms_are_told():
    with pytest.raises(SpecError, match=r"snap:Mo: Mo; ewald\(Na=1, Cl=-1\): Na Cl"):
        get_calculator("snap:Mo + ewald(Na=1, Cl=-1)", **CPU)
