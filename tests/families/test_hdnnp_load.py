"""Neural network potentials from a user's side: folders, units, charges, and messages for wrong
input."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import Bohr, Hartree

from calczoo import CalczooError, describe, get_calculator, list_calculators
from calczoo.core.errors import (
    OptionError,
    PotentialFileError,
    PropertyNotImplementedError,
    SpecError,
    UnsupportedElement,
)
from calczoo.exchange import convert, read_frames
from calczoo.families.hdnnp import FAMILY, OPTIONS
from calczoo.families.hdnnp.convert import in_units
from calczoo.families.hdnnp.extrapolation import ExtrapolationWarning
from calczoo.families.hdnnp.formats import read_folder, write_folder
from calczoo.families.hdnnp.order import sort_functions
from calczoo.files.cards import read_card, write_card
from data import data_folder, mlearn, shared
from families.hdnnp_charged_cases import molecule, random_params

FOLDER = "data/hdnnp"
MO = f"{FOLDER}/mlearn_nnp/Mo"
NIMO = f"{FOLDER}/maml_NiMo_nnp"
CU2S = f"{FOLDER}/n2p2/potentials/Cu2S_PBE"
CHAIN = f"{FOLDER}/n2p2/nnp-predict_4G/Carbon_chain_4G"
GOLD = f"{FOLDER}/n2p2/nnp-predict_4G/AlAuMgO_4G"
CPU = {"device": "cpu", "threads": 1}
RUNNER = {"length_unit": "Bohr", "energy_unit": "Ha"}
EV = {"length_unit": "A", "energy_unit": "eV"}
FIXED = {**RUNNER, "nodes": "10-10"}
"""The networks of the carbon chains are not those that their input.nn says."""

pytestmark = pytest.mark.filterwarnings("ignore::calczoo.families.hdnnp.extrapolation.ExtrapolationWarning")


def nnp(path, **more):
    return get_calculator("hdnnp", model=path, **CPU, **{**RUNNER, **more})


def crystal(symbol="Mo", seed=1, repeats=2) -> Atoms:
    atoms = bulk(symbol, cubic=True).repeat(repeats)
    atoms.rattle(0.05, seed=seed)
    return atoms


def chain(charge: float = 0.0) -> Atoms:
    atoms = read_frames(shared(f"{CHAIN}/input.data"), **RUNNER)[0]
    atoms.calc = None
    atoms.info["charge"] = charge
    return atoms


# -- folders, units, names -----------------------------------------------------------------------------------


def test_every_way_to_name_a_folder(tmp_path):
    """Keyword, spec, input.nn, path alone, options in the spec, units as numbers, a card in it: one model."""
    atoms, path = crystal(), shared(MO)
    energy = nnp(path).get_potential_energy(atoms)
    shutil.copytree(path, tmp_path / "Mo")
    convert(path, tmp_path / "carded", **RUNNER)
    ways = [
        get_calculator(f"hdnnp:{path}", **CPU, **RUNNER),
        get_calculator(f"hdnnp:{path}(length_unit=Bohr, energy_unit=Hartree)", **CPU),
        get_calculator(path / "input.nn", **CPU, **RUNNER),
        get_calculator(str(path / "input.nn"), **CPU, **RUNNER),
        get_calculator(path, **CPU, **RUNNER),
        get_calculator(str(path), **CPU, **RUNNER),
        nnp(path / "input.nn", length_unit=Bohr, energy_unit=Hartree),
        get_calculator(tmp_path / "carded", **CPU),
        get_calculator("hdnnp", tmp_path / "carded" / "input.nn", "Mo", **CPU),
    ]
    for calc in ways:
        assert calc.get_potential_energy(atoms) == energy


def test_units_matter_and_are_told():
    """The same numbers in other units are another potential."""
    path = shared(CU2S)
    right, wrong = nnp(path, **EV), nnp(path)
    assert right.card.cutoff == pytest.approx(6.0) and wrong.card.cutoff == pytest.approx(6.0 * Bohr)
    assert right.card.extra["length_unit"] == "Angstrom" and right.card.extra["energy_unit"] == "eV"


@pytest.mark.parametrize("backend", FAMILY.backends)
@pytest.mark.parametrize("case", ["plain", "normalised", "charges", "screened"])
def test_the_same_potential_in_other_units(case, backend, tmp_path):
    """Written in nm and kcal/mol with a card, read back without options: the same energies, forces and charges."""
    path, options, atoms = {
        "plain": (MO, RUNNER, crystal()),
        "normalised": (CU2S, EV, Atoms("Cu2S", [[0, 0, 0], [0, 0, 2.4], [0, 2.3, 0.2]])),
        "charges": (CHAIN, FIXED, None),
        "screened": (GOLD, RUNNER, None),
    }[case]
    path = shared(path)
    atoms = atoms if atoms is not None else read_frames(path / "input.data", **RUNNER)[0]
    done = convert(path, tmp_path / "new", to_length_unit="nm", to_energy_unit="kcal/mol", **options)
    assert "nm" in done.notes[0] and all(f.is_file() for f in done.files)
    old, new = nnp(path, backend=backend, **options), get_calculator(tmp_path / "new", backend=backend, **CPU)
    wanted = ["energy", "forces", *(["charges"] if "charges" in old.implemented_properties else [])]
    a, b = old.evaluate([atoms], wanted)[0], new.evaluate([atoms], wanted)[0]
    assert b["energy"] == pytest.approx(a["energy"], rel=1e-13, abs=1e-8)
    np.testing.assert_allclose(b["forces"], a["forces"], atol=1e-9 * max(1.0, np.abs(a["forces"]).max()))
    if "charges" in a:
        np.testing.assert_allclose(b["charges"], a["charges"], atol=1e-10)
    same = convert(path, tmp_path / "same", **options)
    assert get_calculator(tmp_path / "same", backend=backend, **CPU).evaluate([atoms])[0]["energy"] == a["energy"]
    assert "card.json" in [f.name for f in same.files]


def test_other_units_lost_the_total_charge_of_generation_3(tmp_path):
    """enforce_totcharge has no unit; keywords of Ewald sums have, and results do not depend on them."""
    params = random_params(3)
    models = [replace(m, functions=sort_functions(m.functions, params.elements)) for m in params.models]
    keywords = (("ewald_prec", "1e-6 2.0"), ("enforce_totcharge", "1"))
    electrostatics = replace(params.electrostatics, keywords=keywords)
    write_folder(replace(params, models=tuple(models), electrostatics=electrostatics), tmp_path / "old")
    convert(tmp_path / "old", tmp_path / "new", to_length_unit="nm", to_energy_unit="kcal/mol")
    assert "ewald_prec" not in (tmp_path / "new" / "input.nn").read_text()
    old, new = (get_calculator("hdnnp", tmp_path / name, **CPU).evaluate([molecule(1.0)], ["energy", "charges"])[0]
                for name in ("old", "new"))  # fmt: skip
    assert old["charges"].sum() == pytest.approx(1.0, abs=1e-12)
    assert new["energy"] == pytest.approx(old["energy"], rel=1e-12)
    np.testing.assert_allclose(new["charges"], old["charges"], atol=1e-12)


def test_units_there_and_back():
    params = read_folder(shared(CHAIN), "Bohr", "Ha", nodes="10 10")
    back = in_units(in_units(params, 1.0, 1.0), params.length_unit, params.energy_unit)
    for a, b in zip(params.models, back.models, strict=True):
        np.testing.assert_allclose(a.short.flat(), b.short.flat(), rtol=1e-14)
        np.testing.assert_allclose([a.hardness, a.width, a.energy], [b.hardness, b.width, b.energy], rtol=1e-14)
        assert b.functions[0].rc == pytest.approx(a.functions[0].rc, rel=1e-14)
    assert in_units(params, params.length_unit, params.energy_unit) is params


def test_card():
    card = describe("hdnnp", shared(MO), **RUNNER)
    assert card.family == "hdnnp" and card.elements == ("Mo",) and card.cutoff == pytest.approx(5.2, abs=1e-6)
    assert card.extra["generation"] == 2 and card.extra["symmetry_functions"] == {"Mo": 39}
    assert set(card.files) == {"input.nn", "scaling.data", "weights.042.data"} and card.doi
    four = describe("hdnnp", shared(CHAIN), **FIXED)
    assert {"charges", "dipole", "electronegativities"} <= set(four.outputs) and four.extra["generation"] == 4
    assert four.elements == ("H", "C") and len(four.files) == 8


def test_a_card_beside_the_files_tells_facts(tmp_path):
    convert(shared(MO), tmp_path / "mine", **RUNNER)
    card = read_card(tmp_path / "mine" / "card.json")
    write_card(replace(card, level_of_theory="PBE", licence="MIT", errors={"test": 1}), tmp_path / "mine" / "card.json")
    told = describe("hdnnp", tmp_path / "mine")
    assert told.level_of_theory == "PBE" and told.licence == "MIT" and told.errors == {"test": 1}
    assert "card.json" not in told.files and told.name == "hdnnp:mine"


def test_in_the_registry():
    assert "hdnnp" in list_calculators(elements="Cu")
    for ability in ("charges", "dipole", "electronegativities", "descriptors"):
        assert "hdnnp" in list_calculators(can=ability)
    assert set(FAMILY.bundled) == set(FAMILY.bundled_elements) and all(OPTIONS.values())


@pytest.mark.parametrize("folder", sorted(
    str(p.parent.relative_to(data_folder())) for p in (data_folder() / FOLDER).glob("**/input.nn")
    if (p.parent / "scaling.data").is_file()
))  # fmt: skip
def test_every_complete_set_loads(folder):
    """A folder without all weights is a training set-up, and its message names what is missing."""
    path = shared(folder)
    options = FIXED if "Carbon_chain_4G" in folder else RUNNER
    try:
        card = describe("hdnnp", path, **options)
    except PotentialFileError as error:
        assert "nnp-train" in folder and "does not exist" in str(error) and "weights" in str(error)
        return
    assert card.elements and card.cutoff > 1.0 and card.extra["generation"] in (2, 4)
    assert all((path / name).is_file() for name in card.files)


def test_reusable_on_another_size():
    calc = nnp(shared(MO))
    for repeats in (1, 3, 2, (1, 1, 4), 1):
        atoms = crystal(repeats=repeats)
        atoms.calc = calc
        forces = atoms.get_forces()
        np.testing.assert_allclose(forces, nnp(shared(MO)).get_forces(atoms), atol=1e-11)


def test_only_some_elements():
    part = nnp(shared(NIMO), elements="Mo")
    assert part.card.elements == ("Mo",)
    assert part.get_potential_energy(crystal()) == nnp(shared(NIMO)).get_potential_energy(crystal())
    with pytest.raises(UnsupportedElement, match=r"'Ni' \(atom 0\) is not in hdnnp:maml_NiMo_nnp \(has: Mo\)"):
        part.get_potential_energy(bulk("Ni"))


# -- results -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", FAMILY.backends)
def test_charges_are_in_the_results(backend):
    """Of one structure and of a batch; they add up to the total charge, and the calculator notices another one."""
    calc = nnp(shared(CHAIN), backend=backend, **FIXED)
    assert {"charges", "dipole", "electronegativities"} <= set(calc.implemented_properties)
    atoms = chain()
    atoms.calc = calc
    neutral = atoms.get_potential_energy()
    first = calc.results["charges"].copy()
    assert first.sum() == pytest.approx(0.0, abs=1e-10) and atoms.get_charges().shape == (len(atoms),)
    assert calc.results["electronegativities"].shape == (len(atoms),)
    dipole = atoms.get_dipole_moment()
    assert dipole.shape == (3,)
    atoms.info["charge"] = 1.0
    assert "initial_charges" in calc.check_state(atoms)
    assert atoms.get_potential_energy() != neutral
    assert calc.results["charges"].sum() == pytest.approx(1.0, abs=1e-10)
    batch = calc.evaluate([chain(), chain(1.0)], ["energy", "charges", "dipole", "electronegativities"])
    np.testing.assert_allclose(batch[0]["charges"], first, atol=1e-10)
    np.testing.assert_allclose(batch[0]["dipole"], dipole, atol=1e-9)
    assert batch[1]["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(batch[0]["electronegativities"], batch[1]["electronegativities"], atol=1e-10)


def test_no_dipole_of_a_crystal():
    atoms = read_frames(shared(f"{GOLD}/input.data"), **RUNNER)[0]
    atoms.calc = nnp(shared(GOLD))
    atoms.get_potential_energy()
    assert "charges" in atoms.calc.results and "dipole" not in atoms.calc.results
    with pytest.raises(PropertyNotImplementedError, match="without periodic directions"):
        atoms.get_dipole_moment()
    assert "dipole" not in atoms.calc.evaluate([atoms], ["energy", "dipole"])[0]


def test_the_second_generation_ignores_the_charge():
    """It has none; that is documented, and no reason to refuse an ion."""
    calc, atoms = nnp(shared(MO)), crystal()
    energy = calc.get_potential_energy(atoms)
    atoms.info["charge"] = 1.0
    assert calc.get_potential_energy(atoms) == energy
    with pytest.raises(PropertyNotImplementedError, match="does not compute 'charges'"):
        calc.get_property("charges", atoms)


def test_charges_in_a_sum():
    """A repulsive core on top of a potential with charges leaves them as they are."""
    where = f"hdnnp:{shared(CHAIN)}(length_unit=Bohr, energy_unit=Ha, nodes=10 10)"
    both = get_calculator(f"{where} + zbl(0.4, 0.8)", elements="H,C", **CPU)
    alone = nnp(shared(CHAIN), **FIXED)
    wanted = ["energy", "charges", "electronegativities"]
    a, b = both.evaluate([chain()], wanted)[0], alone.evaluate([chain()], wanted)[0]
    np.testing.assert_array_equal(a["charges"], b["charges"])
    np.testing.assert_array_equal(a["electronegativities"], b["electronegativities"])


@pytest.mark.parametrize("backend", FAMILY.backends)
def test_extrapolation_is_said_once(backend, recwarn):
    squeezed = crystal()
    squeezed.set_cell(squeezed.cell * 0.75, scale_atoms=True)
    calc = nnp(shared(MO), backend=backend)
    with pytest.warns(ExtrapolationWarning, match="hdnnp:Mo: .* outside the range of the training data"):
        calc.get_potential_energy(squeezed)
    recwarn.clear()
    squeezed.rattle(0.01)
    calc.get_potential_energy(squeezed)
    nnp(shared(MO), backend=backend, extrapolation="ignore").get_potential_energy(squeezed)
    nnp(shared(MO), backend=backend).get_potential_energy(mlearn("Mo", "train")[0])
    assert not [w for w in recwarn if w.category is ExtrapolationWarning]


# -- bad input: every message names the culprit and the way out ----------------------------------------------


def _copy(path: str, tmp: Path, drop: str = "", old: str = "", new: str = "", file: str = "input.nn") -> Path:
    """A copy of a folder with a file less, or an edit."""
    folder = tmp / "bad"
    shutil.copytree(shared(path), folder)
    if drop:
        (folder / drop).unlink()
    if old:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))
    return folder


BAD_FOLDERS = {
    "absent": (lambda t: t / "nowhere", {}, r"nowhere: does not exist; expected .*a folder with input\.nn"),
    "empty": (lambda t: t, {}, r"input\.nn: does not exist.*a folder with input\.nn, scaling\.data"),
    "a file of it": (lambda t: _copy(MO, t) / "scaling.data", {}, r"is one file of a potential.*whole folder, '.*bad'"),
    "another file": (
        lambda t: shared("data/mlearn_zuo2020/README.md"), {}, r"README\.md: is a file; expected .*folder with input",
    ),
    "a folder of potentials": (
        lambda t: shared(f"{FOLDER}/mlearn_nnp"), {}, r"folders in it that do: '.*Cu', '.*Ge', '.*Li', .*model=\[\.\.",
    ),
    "no scaling": (lambda t: _copy(MO, t, "scaling.data"), {}, r"bad.scaling\.data: does not exist.*ranges"),
    "no weights": (lambda t: _copy(MO, t, "weights.042.data"), {}, r"weights\.042\.data: does not exist.*of Mo"),
    "no hardness": (lambda t: _copy(CHAIN, t, "hardness.006.data"), FIXED, r"hardness\.006\.data: does not exist.* C"),
    "no weightse": (lambda t: _copy(CHAIN, t, "weightse.001.data"), FIXED, r"weightse\.001\.data: does not exist.* H"),
    "wrong topology": (lambda t: shared(CHAIN), RUNNER, r'holds 381 numbers.*25-15-15-1.*646.*nodes="10 10"'),
    "wrong nodes": (lambda t: shared(CHAIN), {**RUNNER, "nodes": "7-7"}, r"holds 381 numbers.*25-7-7-1"),
    "unknown keyword": (
        lambda t: _copy(MO, t, old="cutoff_type ", new="cutof_type "), {}, r"input\.nn, line \d+: .*'cutoff_type'",
    ),
    "NaN": (lambda t: _copy(MO, t, old="0.0100000", new="nan"), {}, r"input\.nn, line \d+: 'nan'"),
    "cut scaling": (
        lambda t: _copy(MO, t, old="   1   39", new="#", file="scaling.data"), {}, r"scaling\.data",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folders(case, tmp_path):
    make, options, message = BAD_FOLDERS[case]
    path = make(tmp_path)
    with pytest.raises(PotentialFileError, match=f"(?s){message}") as error:
        nnp(path, **options)
    assert error.value.file and error.value.what and error.value.expected
    assert len(str(error.value)) < 1000


BAD_REQUESTS = {
    "no model": ({}, SpecError, r"hdnnp needs a model.*model='folder', length_unit='Bohr'"),
    "no units": ({"model": MO}, OptionError, r'does not tell its units.*length_unit="Bohr", energy_unit="Ha"'),
    "one unit": ({"model": MO, "length_unit": "A"}, OptionError, r"does not tell its units.*energy"),
    "unknown unit": ({"model": MO, **RUNNER, "length_unit": "ell"}, OptionError, r"length_unit is 'ell'; allowed"),
    "unit below zero": ({"model": MO, **RUNNER, "energy_unit": -1}, OptionError, r"energy_unit is -1; allowed"),
    "unknown option": ({"model": MO, **RUNNER, "lenght": 1}, OptionError, r"hdnnp has no option 'lenght' \(its opt"),
    "unknown element": ({"model": MO, **RUNNER, "elements": "Xx"}, OptionError, r"'Xx' is not a chemical element"),
    "not its element": ({"model": MO, **RUNNER, "elements": "Ni"}, OptionError, r"Mo has no Ni \(its elements: Mo\)"),
    "of generation 4": ({"model": MO, **RUNNER, "qeq": "cg"}, OptionError, r"qeq belongs to generation 4, and .* 2"),
    "of charges": ({"model": MO, **RUNNER, "accuracy": 1e-8}, OptionError, r"accuracy belongs to generation 3 and 4"),
    "accuracy": ({"model": CHAIN, **FIXED, "accuracy": 2}, OptionError, r"accuracy is 2; .*between 1e-15 and 1e-3"),
    "solver": ({"model": CHAIN, **FIXED, "qeq": "lu"}, OptionError, r"qeq is 'lu'; allowed are auto, direct, cg"),
    "extrapolation": ({"model": MO, **RUNNER, "extrapolation": "no"}, OptionError, r"'no'; allowed are warn, ignore"),
    "nodes": ({"model": CHAIN, **RUNNER, "nodes": "ten"}, OptionError, r"nodes is 'ten'"),
    "one member": ({"model": [MO], **RUNNER}, SpecError, r"one folder, .*is no committee"),
    "others": ({"model": [MO, f"{FOLDER}/mlearn_nnp/Ni"], **RUNNER}, SpecError, r"no element in common: Mo; Ni"),
}  # fmt: skip


def _here(value):
    if isinstance(value, list):
        return [_here(v) for v in value]
    return shared(value) if isinstance(value, str) and value.startswith(FOLDER) else value


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests(case):
    arguments, kind, message = BAD_REQUESTS[case]
    with pytest.raises(kind, match=f"(?s){message}") as error:
        get_calculator("hdnnp", **{k: _here(v) for k, v in arguments.items()}, **CPU)
    assert isinstance(error.value, CalczooError)


def test_arguments_in_parentheses_are_refused():
    with pytest.raises(OptionError, match="hdnnp takes no arguments in parentheses"):
        get_calculator("hdnnp(16)")


def test_conversions_that_cannot_be(tmp_path):
    path = shared(MO)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    wrong = [
        ({"target": tmp_path / "x.extxyz"}, "is a file name; a neural network potential is a folder"),
        ({"target": tmp_path / "full"}, "a folder with something else in it"),
        ({"target": path}, "same"),
        ({"target": tmp_path / "x", "elements": ["Mo"]}, "no element can be left out"),
        ({"target": tmp_path / "x", "training": path}, "active set"),
        ({"target": tmp_path / "x", "to_length_unit": "ell"}, "length_unit is 'ell'"),
        ({"target": tmp_path / "x", "into": "A"}, "no option 'into'"),
    ]
    for arguments, message in wrong:
        with pytest.raises(OptionError, match=message):
            convert(path, **arguments, **RUNNER)
