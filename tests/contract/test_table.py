"""The registry and the table of examples agree."""

from __future__ import annotations

import pytest

from calczoo.registry import BUILTIN, Family, get_family, load_object
from contract.examples import EXAMPLES, LONG_RANGE, WRAPPED


def test_every_family_has_an_example():
    assert {e.family for e in (*EXAMPLES, *LONG_RANGE, *WRAPPED)} == set(BUILTIN)


@pytest.mark.parametrize("name", BUILTIN)
def test_facts_of_a_family(name):
    family = get_family(name)
    assert isinstance(family, Family) and family.name == name and family.origin == "calczoo"
    assert family.summary and family.citation and family.doi and family.kind in ("potential", "addon", "composition")
    assert callable(load_object(family.read)) and callable(load_object(family.build))
    ours = name not in {e.family for e in WRAPPED}
    assert set(family.backends) == ({"torch", "warp"} if ours else set())
    assert set(family.bundled) == set(family.bundled_elements)
    assert not family.fit or callable(load_object(family.fit))
    assert family.example.startswith("'") and family.name in family.example


def test_card(example):
    """A card says where a model comes from, and survives JSON."""
    from calczoo import describe
    from calczoo.core.card import Card

    card = describe(**example.arguments())
    calc = example.calculator()
    assert card.family == example.family or example.family in card.family
    assert card.cutoff > 0 and card.elements and Card.from_dict(card.to_dict()) == card
    assert calc.card.elements == card.elements and calc.card.cutoff == pytest.approx(card.cutoff)
    assert "energy" in card.outputs and "forces" in card.outputs
    for name in (path.name for path in example.paths()):
        assert any(name in file for file in card.files), f"{name} is not among the card's files"
    assert all(len(digest) == 64 for digest in card.files.values())
