"""Folders that are called as a bundled fit is: which of the two is meant, and that none is taken for the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from calczoo import describe, get_calculator
from calczoo.core.errors import OptionError
from calczoo.exchange import convert
from calczoo.families.hdnnp.load import MODELS

NAME = "carbon-chains"
RUNNER = {"length_unit": "Bohr", "energy_unit": "Ha"}
CPU = {"device": "cpu", "threads": 1}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a potential in Bohr and Hartree, without a card, called like a bundled one."""
    convert(MODELS / NAME, tmp_path / NAME, to_length_unit="Bohr", to_energy_unit="Ha")
    (tmp_path / NAME / "card.json").unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_bundled_fit_was_read_in_the_units_of_a_folder_of_that_name(here):
    """hdnnp:Mo with length_unit=Bohr gave the energies of a potential that does not exist."""
    message = "length_unit is of files without a card, and 'carbon-chains' is a bundled fit.*write './carbon-chains'"
    with pytest.warns(UserWarning, match="is the bundled fit"), pytest.raises(OptionError, match=message):
        get_calculator(f"hdnnp:{NAME}", **CPU, **RUNNER)
    for path in (f"hdnnp:./{NAME}", f"./{NAME}", Path(NAME), here / NAME):
        assert get_calculator(path, **CPU, **RUNNER).card.extra["length_unit"] == "Bohr"
    assert get_calculator("hdnnp", model=Path(NAME), **CPU, **RUNNER).card.extra["length_unit"] == "Bohr"


def test_a_folder_was_hidden_by_a_bundled_fit_without_a_word(here):
    with pytest.warns(UserWarning, match="hdnnp:carbon-chains is the bundled fit; './carbon-chains' is the folder"):
        assert describe(f"hdnnp:{NAME}").extra["length_unit"] == "Angstrom"
    shutil.rmtree(here / NAME)
    assert describe(f"hdnnp:{NAME}").extra["length_unit"] == "Angstrom"


def test_the_bundled_fit_was_converted_instead_of_the_folder(here):
    convert(NAME, "new", to_length_unit="nm", **RUNNER)
    assert describe("hdnnp:new").extra["energy_unit"] == "Hartree"
