"""Moment tensor potentials from a user's side: elements, bundled models, active sets, messages for wrong input, and the
published errors of published files."""

from __future__ import annotations

import lzma
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from calczoo import CalczooError, describe, get_calculator, list_calculators
from calczoo.core.errors import DataError, OptionError, PotentialFileError, SpecError, UnsupportedElement
from calczoo.exchange import read_frames
from calczoo.families.mtp import FAMILY
from calczoo.families.mtp.lammps import lammps_note
from calczoo.families.mtp.load import read_file, with_active_set
from calczoo.families.mtp.radial import ShortDistanceWarning
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import compare, evaluate
from data import mlearn, shared

FOLDER = "data/mtp"
MO = f"{FOLDER}/maml/Mo/fitted.mtp"
QUATERNARY = f"{FOLDER}/maml/MoNbTaW/mtp.2021.08/quaternary.mtp"
CU8 = f"{FOLDER}/motep_tests/cubic/08/pot.mtp"
ALMTP = f"{FOLDER}/pyiron_mlip3_Cu/pot.almtp"
TRAIN = f"{FOLDER}/pyiron_mlip3_Cu/train.cfg"
CPU = {"device": "cpu", "threads": 1}


def mtp(path, elements=None, **more):
    return get_calculator("mtp", model=path, elements=elements, **CPU, **more)


def crystal(symbol="Cu", seed=1, repeats=2):
    atoms = bulk(symbol, cubic=True).repeat(repeats)
    atoms.rattle(0.05, seed=seed)
    return atoms


# -- elements ------------------------------------------------------------------------------------------------


def test_the_order_of_the_elements_decides():
    """Species are types in the order of the file: another order is another potential."""
    atoms = bulk("Mo", cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    atoms.set_chemical_symbols(["Mo", "Nb", "Ta", "W"] * 4)
    right = mtp(shared(QUATERNARY), ["Mo", "Nb", "Ta", "W"])
    wrong = mtp(shared(QUATERNARY), "W,Ta,Nb,Mo")
    assert right.card.elements == ("Mo", "Nb", "Ta", "W") and wrong.card.elements == ("W", "Ta", "Nb", "Mo")
    swapped = atoms.copy()
    swapped.set_chemical_symbols(["W", "Ta", "Nb", "Mo"] * 4)
    energy = right.get_potential_energy(atoms)
    assert wrong.get_potential_energy(swapped) == pytest.approx(energy, abs=1e-10)
    assert abs(wrong.get_potential_energy(atoms) - energy) > 0.1


def test_labels_that_are_atomic_numbers_name_the_elements(tmp_path):
    text = shared(f"{FOLDER}/mlip2_dev_test/learned.mtp").read_text()
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        text = text.replace(f"\t{a}-{b}\n", f"\t{(11, 17)[a]}-{(11, 17)[b]}\n")
    (tmp_path / "salt.mtp").write_text(text)
    assert describe(tmp_path / "salt.mtp").elements == ("Na", "Cl")
    assert describe(tmp_path / "salt.mtp", elements="Cl").elements == ("Cl",)
    atoms = bulk("NaCl", "rocksalt", a=5.6).repeat(2)
    atoms.rattle(0.05, seed=1)
    named = mtp(shared(f"{FOLDER}/mlip2_dev_test/learned.mtp"), ["Na", "Cl"])
    assert mtp(tmp_path / "salt.mtp").get_potential_energy(atoms) == named.get_potential_energy(atoms)


def test_every_way_to_name_a_file(tmp_path):
    """Keyword, spec, path alone, packed: one potential."""
    atoms = crystal("Mo")
    path = shared(MO)
    energy = mtp(path, ["Mo"]).get_potential_energy(atoms)
    (tmp_path / "pot.mtp.xz").write_bytes(lzma.compress(path.read_bytes()))
    ways = (
        get_calculator(f"mtp:{path}", elements="Mo", **CPU),
        get_calculator(path, elements="Mo", **CPU),
        get_calculator(str(path), elements="Mo", **CPU),
        get_calculator(tmp_path / "pot.mtp.xz", elements="Mo", **CPU),
    )
    for calc in ways:
        assert calc.get_potential_energy(atoms) == energy


def test_card():
    card = describe(shared(MO), elements="Mo")
    assert card.family == "mtp" and card.elements == ("Mo",) and card.cutoff == pytest.approx(5.2)
    assert card.extra["level"] == 20 and card.extra["radial_basis"] == "RBChebyshev"
    assert card.doi and len(card.files["fitted.mtp"]) == 64
    assert "extrapolation_grade" not in card.outputs
    graded = describe(shared(ALMTP), elements="Cu")
    assert {"extrapolation_grade", "extrapolation_grades"} <= set(graded.outputs)
    assert graded.extra["grade"] == "neighbourhood"


def test_in_the_registry():
    assert "mtp" in list_calculators(elements="Cu") and "mtp" in list_calculators(can="extrapolation_grade")
    assert set(FAMILY.bundled) == set(FAMILY.bundled_elements)


def test_reusable_on_another_size():
    """One calculator, larger and smaller structures in turn: as a fresh one each."""
    for path, elements in ((shared(MO), ["Mo"]), (shared(ALMTP), ["Cu"])):
        calc = mtp(path, elements)
        for repeats in (1, 3, 2, (1, 1, 4), 1):
            atoms = crystal(elements[0], repeats=repeats)
            atoms.calc = calc
            forces = atoms.get_forces()
            fresh = mtp(path, elements)
            np.testing.assert_array_equal(forces, fresh.get_forces(atoms))
            assert forces.shape == (len(atoms), 3)
            if "extrapolation_grades" in calc.implemented_properties:
                assert calc.results["extrapolation_grades"].shape == (len(atoms),)


# -- grades --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_grades_are_in_the_results(backend):
    calc = mtp(shared(ALMTP), ["Cu"], backend=backend)
    assert {"extrapolation_grade", "extrapolation_grades"} <= set(calc.implemented_properties)
    atoms = crystal()
    atoms.calc = calc
    atoms.get_potential_energy()
    one, many = calc.results["extrapolation_grade"], calc.results["extrapolation_grades"]
    assert isinstance(one, float) and many.shape == (len(atoms),) and one == many.max() > 0
    assert calc.get_property("extrapolation_grade", atoms) == one
    batch = calc.evaluate([atoms, atoms[:3]], ["extrapolation_grade", "extrapolation_grades"])
    assert batch[0]["extrapolation_grade"] == pytest.approx(one, rel=1e-10)
    assert batch[1]["extrapolation_grades"].shape == (3,)
    assert "extrapolation_grade" not in calc.evaluate([atoms])[0], "a batch holds what was asked for"
    off = mtp(shared(ALMTP), ["Cu"], backend=backend, grade="off")
    assert "extrapolation_grade" not in off.implemented_properties
    assert off.get_potential_energy(atoms) == atoms.get_potential_energy()


def test_grades_of_a_sum_are_those_of_its_term():
    calc = get_calculator(f"0.5*mtp:{shared(ALMTP)} + zbl(1.0, 2.0)", elements="Cu", **CPU)
    atoms = crystal()
    atoms.calc = calc
    atoms.get_potential_energy()
    alone = mtp(shared(ALMTP), ["Cu"])
    alone.get_potential_energy(atoms)
    assert calc.results["extrapolation_grade"] == pytest.approx(alone.results["extrapolation_grade"], rel=1e-12)


@pytest.mark.parametrize("mode", ["neighbourhood", "configuration"])
def test_active_set_from_a_training_set(mode, tmp_path):
    """An MLIP-2 file with its training set gives grades: at most 1 on the set itself, above far from it."""
    train = shared(TRAIN)
    frames = read_frames(train, ["Cu"])
    as_xyz = tmp_path / "train.extxyz"
    write(as_xyz, frames)
    calc = mtp(shared(CU8), ["Cu"], training=str(train), grade=mode)
    assert calc.card.extra["grade"] == mode
    seen = [r["extrapolation_grade"] for r in calc.evaluate(frames, ["extrapolation_grade"])]
    assert 0 < max(seen) < 1.01
    far = frames[0].copy()
    far.set_cell(far.cell * 0.8, scale_atoms=True)
    grade = calc.evaluate([far], ["extrapolation_grade"])[0]["extrapolation_grade"]
    assert grade > 2.0
    for training in (as_xyz, frames):
        other = mtp(shared(CU8), ["Cu"], training=training, grade=mode)
        got = other.evaluate([far], ["extrapolation_grade"])[0]["extrapolation_grade"]
        assert got == pytest.approx(grade, rel=1e-3)
    assert ("extrapolation_grades" in calc.implemented_properties) == (mode == "neighbourhood")


def test_an_active_set_is_made_once(monkeypatch):
    from calczoo.families.mtp import maxvol

    calls = []
    real = maxvol.build_active_set
    monkeypatch.setattr(maxvol, "build_active_set", lambda *a, **k: calls.append(1) or real(*a, **k))
    monkeypatch.setattr("calczoo.families.mtp.load._ACTIVE", {})
    for _ in range(3):
        mtp(shared(CU8), ["Cu"], training=shared(TRAIN))
    assert len(calls) == 1
    mtp(shared(CU8), ["Cu"], training=shared(TRAIN), grade="configuration")
    assert len(calls) == 2


# -- bad input: every message names the culprit and the way out ----------------------------------------------


def _edit(path: str, tmp: Path, old: str, new: str, name: str = "bad.mtp") -> Path:
    text = shared(path).read_text()
    assert old in text
    (tmp / name).write_text(text.replace(old, new, 1))
    return tmp / name


def _write(tmp: Path, name: str, data: bytes) -> Path:
    (tmp / name).write_bytes(data)
    return tmp / name


def _packed(path: str, tmp: Path) -> Path:
    return _write(tmp, "fork.mtp", lzma.decompress(shared(path).read_bytes()))


BAD_FILES = {
    "wrong suffix": (lambda t: _write(t, "pot.txt", shared(MO).read_bytes()), r"pot\.txt.*suffix '\.txt'.*\.mtp"),
    "data, no potential": (lambda t: shared(TRAIN), r"train\.cfg.*file of structures.*\.mtp.*\.almtp"),
    "untrained": (
        lambda t: shared(f"{FOLDER}/untrained_mlip2/08.mtp"), r"08\.mtp.*moment_coeffs.*calczoo fit mtp",
    ),
    "truncated in a list": (
        lambda t: _write(t, "cut.mtp", shared(MO).read_bytes()[:6000]), r"cut\.mtp, line \d+.*expected",
    ),
    "truncated in the last list": (
        lambda t: _write(t, "cut.mtp", shared(MO).read_bytes()[:-40]), r"cut\.mtp.*expected",
    ),
    "private fork": (
        lambda t: _packed(f"{FOLDER}/ZrH/pot.mtp.xz", t), r"fork\.mtp, line \d+.*zbl_repulsion.*expected",
    ),
    "empty": (lambda t: _write(t, "empty.mtp", b""), r"empty\.mtp.*expected"),
    "folder": (lambda t: t, r"is a folder.*\.mtp"),
    "absent": (lambda t: t / "Mo.mtp", r"Mo\.mtp: does not exist.*\.mtp"),
    "garbage": (
        lambda t: _write(t, "noise.mtp", np.random.default_rng(0).bytes(5000)), r"noise\.mtp.*expected",
    ),
    "NaN coefficient": (
        lambda t: _edit(CU8, t, "moment_coeffs = {", "moment_coeffs = {nan, "), r"bad\.mtp, line \d+.*nan.*number",
    ),
    "infinite coefficient": (
        lambda t: _edit(CU8, t, "species_coeffs = {", "species_coeffs = {1e999, "), r"bad\.mtp, line \d+.*1e999",
    ),
    "another version": (lambda t: _edit(MO, t, "version = 1.1.0", "version = 1.0.2"), r"bad\.mtp.*1\.0\.2.*1\.1\.0"),
    "unknown basis": (lambda t: _edit(MO, t, "RBChebyshev", "RBMine"), r"bad\.mtp.*RBMine.*RBChebyshev"),
    "count in the header": (
        lambda t: _edit(MO, t, "alpha_moments_count = 1352", "alpha_moments_count = 1000000000"),
        r"bad\.mtp, line \d+: 1000000000 moments",
    ),
    "cut active set": (
        lambda t: _write(t, "cut.almtp", shared(ALMTP).read_bytes()[:12000]), r"cut\.almtp.*expected",
    ),
    "NaN in the active set": (
        lambda t: _write(t, "nan.almtp", _poisoned(shared(ALMTP).read_bytes())), r"nan\.almtp.*finite",
    ),
    "two files": (lambda t: (shared(MO), shared(CU8)), r"got the files fitted\.mtp, pot\.mtp.*one \.mtp or"),
}  # fmt: skip


def _poisoned(raw: bytes) -> bytes:
    """The active set's first number, which follows the second '#' after the mark, becomes NaN."""
    at = raw.index(b"#", raw.index(b"#MVS") + 1) + 1
    return raw[:at] + np.array([np.nan]).tobytes() + raw[at + 8 :]


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(case, tmp_path):
    make, message = BAD_FILES[case]
    file = make(tmp_path)
    elements = ["Zr", "H"] if case == "private fork" else ["Cu"]
    with pytest.raises(PotentialFileError, match=f"(?s){message}") as error:
        mtp(file, elements)
    assert error.value.file and error.value.what and error.value.expected
    assert len(str(error.value)) < 1000


BAD_REQUESTS = {
    "no model": (dict(), SpecError, r"mtp needs a model.*model='Cu\.mtp', elements=\['Cu'\]"),
    "no elements": (dict(model=MO), OptionError, r'fitted\.mtp has 1 species.*elements=\["'),
    "no elements of many": (dict(model=QUATERNARY), OptionError, r"quaternary\.mtp has 4 species.*get_calculator"),
    "too few": (dict(model=QUATERNARY, elements="Mo,Nb"), OptionError, r"4 species.*2 were given \(Mo, Nb\).*give 4"),
    "too many": (dict(model=MO, elements="Mo,Nb"), OptionError, r"1 species.*2 were given.*give 1"),
    "unknown element": (dict(model=MO, elements="Xx"), OptionError, r"'Xx' is not a chemical element"),
    "twice": (dict(model=QUATERNARY, elements="Mo,Mo,Ta,W"), OptionError, r"twice"),
    "unknown option": (dict(model=MO, elements="Mo", level=8), OptionError, r"no option 'level' \(its options: train"),
    "unknown mode": (dict(model=MO, elements="Mo", grade="site"), OptionError, r"grade is 'site'.*neighbourhood, conf"),
    "no active set": (
        dict(model=MO, elements="Mo", grade="neighbourhood"), OptionError, r"no active set.*training='train\.cfg'",
    ),
    "other mode": (
        dict(model=ALMTP, elements="Cu", grade="configuration"), OptionError, r"neighbourhood, not of a c.*training=",
    ),
    "off but made": (
        dict(model=CU8, elements="Cu", grade="off", training=TRAIN), OptionError, r"grade is off; leave one",
    ),
    "training absent": (
        dict(model=CU8, elements="Cu", training="no_such.cfg"), DataError, r"no_such\.cfg is not there",
    ),
    "training of others": (
        dict(model=QUATERNARY, elements="Mo,Nb,Ta,W", training=[Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])]),
        DataError, r"structure 0 of the training set holds Cu, which mtp:quaternary\.mtp does not know \(has: Mo, Nb",
    ),
    "training empty": (dict(model=CU8, elements="Cu", training=[]), DataError, r"training set holds no structure"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests(case):
    arguments, kind, message = BAD_REQUESTS[case]
    arguments = {k: shared(v) if isinstance(v, str) and v.startswith(FOLDER) else v for k, v in arguments.items()}
    with pytest.raises(kind, match=f"(?s){message}") as error:
        get_calculator("mtp", **arguments, **CPU)
    assert isinstance(error.value, CalczooError)


def test_arguments_in_parentheses_are_refused():
    with pytest.raises(OptionError, match="mtp takes no arguments in parentheses"):
        get_calculator("mtp(16)")


def test_structures_of_other_elements_are_refused():
    with pytest.raises(UnsupportedElement, match=r"'Rn' \(atom 0\) is not in mtp:fitted\.mtp \(has: Mo\)"):
        mtp(shared(MO), ["Mo"]).get_potential_energy(Atoms("Rn"))


def test_a_card_beside_the_file_tells_elements_and_facts(tmp_path):
    """What a fit writes: the elements need not be given again."""
    import json

    from calczoo.core.card import Card

    shutil.copy(shared(MO), tmp_path / "mine.mtp")
    card = Card("mtp:mine", "mtp", ("Mo",), 5.2, level_of_theory="PBE", licence="MIT", errors={"test": 1})
    text = json.dumps({"format": "calczoo-card/1", **card.to_dict()})
    (tmp_path / "mine.json").write_text(text)
    told = describe(tmp_path / "mine.mtp")
    assert told.elements == ("Mo",) and told.level_of_theory == "PBE" and told.errors == {"test": 1}
    assert told.extra["level"] == 20 and set(told.files) == {"mine.mtp"}
    (tmp_path / "mine.json").write_text(text[:60] + " broken")
    with pytest.raises(PotentialFileError, match="mine.json: is no card"):
        describe(tmp_path / "mine.mtp")
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(OptionError, match="elements"):
        describe(tmp_path / "mine.mtp")


def test_a_card_of_another_family_beside_the_file_is_not_its_card(tmp_path):
    """As after a fit of both under one name: the card's elements are not those of the file's types."""
    from calczoo.core.card import Card
    from calczoo.files.cards import write_card

    shutil.copy(shared(CU8), tmp_path / "mine.mtp")
    write_card(Card("snap:mine", "snap", ("Li",), 5.2, level_of_theory="PBE"), tmp_path / "mine.json")
    with pytest.raises(OptionError, match="names no elements"):
        describe(tmp_path / "mine.mtp")
    assert describe(tmp_path / "mine.mtp", elements="Cu").level_of_theory == "unknown"


def test_grades_stay_when_the_elements_are_given_in_another_order(tmp_path):
    from calczoo.families.mtp.almtp import write_almtp
    from calczoo.files.cards import write_card

    own = ("Al", "Ni", "Co")
    params = read_file(shared(f"{FOLDER}/motep_tests/multi/10/pot.mtp"), own)
    frames = read_frames(shared(f"{FOLDER}/motep_tests/multi/training.cfg.xz"), own)[:8]
    write_almtp(with_active_set(params, frames), tmp_path / "m.almtp")
    write_card(params.card(), tmp_path / "m.json")
    calculators = [mtp(tmp_path / "m.almtp", elements) for elements in (None, own, ("Co", "Al", "Ni"))]
    grades = [[r["extrapolation_grade"] for r in c.evaluate(frames, ["extrapolation_grade"])] for c in calculators]
    assert grades[0] == grades[1] == grades[2] and min(grades[0]) > 0
    part = read_file(tmp_path / "m.almtp", ("Co", "Al"))
    assert part.elements == ("Co", "Al") and part.active is None


def test_active_sets_kept_in_memory_are_those_of_the_same_potential(tmp_path):
    """Two potentials whose numbers differ in the scale of the radial functions alone."""
    params = read_file(shared(CU8), ("Cu",))
    a, b = (with_active_set(p, shared(TRAIN)).active for p in (params, replace(params, scaling=2 * params.scaling)))
    assert not np.array_equal(a.a, b.a)


@pytest.mark.parametrize("backend", FAMILY.backends)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_short_distance_is_said_once_where_grades_are_made_in_double_precision(backend, dtype):
    pair = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.0]])
    pair.calc = mtp(shared(ALMTP), "Cu", dtype=dtype, backend=backend)
    with pytest.warns(ShortDistanceWarning) as said:
        pair.get_forces()
    assert len(said) == 1 and pair.calc.results["extrapolation_grade"] > 1


# -- LAMMPS --------------------------------------------------------------------------------------------------


def test_lammps_note_of_a_file_whose_types_have_gaps():
    """It told types 1, 2 for a file whose types are 13 and 28."""
    params = read_file(shared(QUATERNARY), ["Mo", "Nb", "Ta", "W"])
    gaps = dict(zip(params.elements, (28, 13, 1, 5), strict=True))
    text = lammps_note(replace(params, facts={**params.facts, "extra": {"type_labels": gaps}}), ["a.mtp"])
    assert "type 29 = Mo" in text and text.index("= Ta") < text.index("= W") < text.index("= Nb") and "by hand" in text


def test_lammps_note():
    many = lammps_note(read_file(shared(QUATERNARY), ["Mo", "Nb", "Ta", "W"]), ["hea.mtp"])
    assert "mtp-filename  hea.mtp" in many and "pair_style    mlip mlip.ini" in many and "load_from" not in many
    assert "type 1 = Mo (type 0" in many and "type 4 = W (type 3" in many and "units metal" in many
    assert "specorder=['Mo', 'Nb', 'Ta', 'W']" in many
    graded = lammps_note(read_file(shared(ALMTP), ["Cu"]), ["cu.almtp"])
    assert "pair_style    mlip load_from=cu.almtp\n" in graded and "threshold_break=10" in graded
    assert "mlip.ini" not in graded
    assert "threshold_break" not in lammps_note(read_file(shared(MO), ["Mo"]), ["a.mtp", "a.almtp"])


# -- published errors ----------------------------------------------------------------------------------------

# energy MAE (meV/atom) and force component RMSE (eV/A) on the test sets of Zuo et al. 2020,
# doi:10.1021/acs.jpca.9b08723
PUBLISHED = {
    "Ni": (0.48, 0.0269), "Cu": (0.41, 0.0135), "Li": (0.49, 0.0132), "Mo": (2.94, 0.1514), "Si": (2.31, 0.0881),
    "Ge": (1.79, 0.0703),
}  # fmt: skip


@pytest.mark.parametrize("element", PUBLISHED)
def test_published_potentials_have_their_published_errors(element):
    folder = shared(f"{FOLDER}/maml/{element}")
    (path,) = folder.glob("fitted.mtp*")
    test = Dataset.from_atoms(mlearn(element, "test"))
    table = compare(test, evaluate(mtp(path, [element]).model, test))
    energy, force = PUBLISHED[element]
    assert round(table.get("energy", "mae"), 2) == energy
    assert round(table.get("forces", "rmse"), 4) == force
