"""Tersoff against LAMMPS, and its files."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from calczoo import get_calculator
from calczoo.core.errors import CalczooError, OptionError, PotentialFileError
from calczoo.families.tersoff.formats import format_tersoff, read_tersoff, write_tersoff
from calczoo.families.tersoff.params import NAMES, TersoffParams
from data import lammps_potential, reference
from families.lammps_cases import cases, check_derivatives, check_longer_list, compare, same
from families.mutations import mutants

BACKENDS = ("torch", "warp")
CASES = cases("families/tersoff")
LOOSE = {"SiC_1989": 1e3, "SiC_1994": 5e4}
"""Files that round A or D differently in the two orders of a pair: LAMMPS takes one of them by the parity of the atoms'
numbers, calczoo their mean."""
SILICON = "Si Si Si 3.0 1.0 1.3258 4.8381 2.0417 0.0 22.956 0.33675 1.3258 95.373 3.0 0.2 3.2394 3264.7\n"


def case_file(case: dict, tmp_path):
    if "file" in case:
        return lammps_potential(case["file"])
    path = tmp_path / "case.tersoff"
    path.write_text(case["text"])
    return path


def arguments(case: dict) -> dict:
    return {"elements": case["elements"], **({"labels": case["labels"]} if case["labels"] else {})}


@pytest.fixture
def silicon(tmp_path):
    path = tmp_path / "Si.tersoff"
    path.write_text(SILICON)
    return path


@pytest.mark.parametrize("backend", BACKENDS)
def test_published_silicon_equals_lammps(backend):
    calc = get_calculator("tersoff", lammps_potential("Si.tersoff"), backend=backend)
    compare(calc, reference("Si.tersoff")["structures"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_other_files_equal_lammps(name, backend, tmp_path):
    case = CASES[name]
    calc = get_calculator("tersoff", case_file(case, tmp_path), backend=backend, **arguments(case))
    compare(calc, case["structures"], LOOSE.get(name, 1.0))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["GaN", "SiC", "BNC"])
def test_forces_are_derivatives(name, backend):
    case = CASES[name]
    record = case["structures"][1]
    atoms = Atoms(record["symbols"], positions=record["positions"], cell=record["cell"], pbc=True)
    calc = get_calculator("tersoff", lammps_potential(case["file"]), backend=backend)
    check_derivatives(calc, atoms, 1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_longer_lists_and_threads_change_nothing(backend, silicon):
    atoms = bulk("Si", "diamond", a=5.2, cubic=True).repeat(2)
    atoms.rattle(0.2, seed=4)
    check_longer_list(get_calculator("tersoff", silicon, backend=backend), atoms)


def test_backends_agree_where_the_bond_order_changes_form(tmp_path):
    """beta zeta from 1e-12 to 1e30: both asymptotes and what lies between."""
    case = CASES["steep"]
    path = case_file(case, tmp_path)
    calcs = [get_calculator("tersoff", path, backend=b) for b in BACKENDS]
    rng = np.random.default_rng(2)
    for distance in (0.4, 1.2, 2.0, 2.5):
        atoms = Atoms("SiCSiC", positions=distance * (np.eye(4, 3) + 0.2 * rng.uniform(-1.0, 1.0, (4, 3))))
        same(*calcs, atoms)


def test_float32_stays_close(silicon):
    atoms = bulk("Si", "diamond", a=5.3, cubic=True)
    atoms.rattle(0.1, seed=5)
    exact = get_calculator("tersoff", silicon).evaluate([atoms])[0]
    for backend in BACKENDS:
        single = get_calculator("tersoff", silicon, dtype="float32", backend=backend).evaluate([atoms])[0]
        assert abs(single["energy"] - exact["energy"]) < 1e-4
        np.testing.assert_allclose(single["forces"], exact["forces"], atol=2e-4)


def test_energies_share_a_bond_in_halves(silicon):
    """The outer atoms of a bent trimer are equal, and nothing is lost in sharing."""
    atoms = Atoms("Si3", positions=[[0, 0, 0], [2.3, 0, 0], [0, 2.3, 0]])
    out = get_calculator("tersoff", silicon).evaluate([atoms], ("energy", "energies"))[0]
    assert out["energies"][1] == pytest.approx(out["energies"][2], abs=1e-12)
    assert out["energies"].sum() == pytest.approx(out["energy"], abs=1e-12)


# -- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in CASES if n != "Si_trimer"])
def test_round_trip(name, tmp_path):
    case = CASES[name]
    labels = case["labels"].split() if case["labels"] else None
    params = read_tersoff(case_file(case, tmp_path), case["elements"], labels)
    again = read_tersoff(write_tersoff(tmp_path / "again.tersoff", params))
    assert again.elements == params.elements
    np.testing.assert_array_equal(again.table, params.table)


def test_subset_and_order():
    path = lammps_potential("BNC.tersoff")
    assert read_tersoff(path, ["C", "B"]).elements == ("C", "B")
    atoms = bulk("CB", "zincblende", a=3.6, cubic=True)
    atoms.rattle(0.1, seed=1)
    same(get_calculator("tersoff", path), get_calculator("tersoff", path, elements=["C", "B"]), atoms, 1e-13)


def test_labels():
    path = lammps_potential("SiCGe.tersoff")
    with pytest.raises(PotentialFileError, match=r"'Si\(B\)' is no element.*labels="):
        read_tersoff(path)
    assert read_tersoff(path, None, ["C", "Si(D)"]).elements == ("C", "Si")
    with pytest.raises(PotentialFileError, match="no entry C C Ge"):
        read_tersoff(path, ["C", "Ge"])
    with pytest.raises(PotentialFileError, match="one label for each"):
        read_tersoff(path, ["C", "Si"], ["Si(B)"])
    with pytest.raises(OptionError, match="labels is 3"):
        get_calculator("tersoff", path, labels=3)


def test_real_units_are_converted(tmp_path, silicon):
    path = tmp_path / "real.tersoff"
    words = SILICON.split()
    for k in (12, 16):  # B, A
        words[k] = repr(float(words[k]) * 23.060549)
    path.write_text("# UNITS: real\n" + " ".join(words) + "\n")
    np.testing.assert_allclose(read_tersoff(path).table, read_tersoff(silicon).table, rtol=1e-14)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("3264.7", "inf", 1, "'inf' is not a finite number"),
        ("3264.7", "-5", 1, "A is -5; it must not be negative"),
        ("Si 3.0 1.0", "Si 2.0 1.0", 1, "m is 2; it must be 1 or 3"),
        ("3.0 0.2", "3.0 3.2", 1, "needed is 0 <= D <= R"),
        ("3.0 0.2", "1e9 0.2", 1, "0 < R . D <= 100"),
        ("2.0417", "0", 1, "d is 0; it must be at least 1e-6"),
        ("22.956", "0", 1, "n is 0; the exponent of a bond"),
        ("3.2394 3264.7", "3.2394", 1, "ends after 13 numbers"),
        ("3264.7", "3264.7 14 14 0.95 14", 1, "18 numbers: the format of a .tersoff.zbl file"),
        ("3264.7", "3264.7 1", 1, "has 15 numbers"),
        (SILICON, SILICON + SILICON, 2, "a second entry Si Si Si"),
        (SILICON, "\n# nothing\n", None, "no entry"),
    ],
)
def test_errors_name_what_is_wrong(old, new, line, message, tmp_path):
    path = tmp_path / "bad.tersoff"
    path.write_text(SILICON.replace(old, new))
    with pytest.raises(PotentialFileError, match=message) as error:
        read_tersoff(path)
    assert error.value.line == line


def test_unequal_pairs(tmp_path):
    path = tmp_path / "bad.tersoff"
    path.write_text(CASES["steep"]["text"].replace("1e9 2.0 390.0 2.4", "1e9 2.0 390.0 2.5"))
    with pytest.raises(PotentialFileError, match="R is 2.4 in entry Si C C and 2.5 in C Si Si") as error:
        read_tersoff(path)
    assert error.value.line == 4


def test_other_formats_are_refused():
    for name in ("SiC.tersoff.zbl", "Si.tersoff.mod", "Si.tersoff.modc", "GaN_tersoff.poly"):
        with pytest.raises(PotentialFileError, match="parameters of pair_style .*, another functional form"):
            read_tersoff(lammps_potential(name))
    with pytest.raises(PotentialFileError, match="the format of a Stillinger-Weber file"):
        read_tersoff(lammps_potential("Si.sw"))
    with pytest.raises(OptionError, match="takes one file"):
        get_calculator("tersoff")


def test_params_check_shapes():
    with pytest.raises(OptionError, match="table has shape"):
        TersoffParams(("Si",), np.ones((1, 1, len(NAMES))))


@given(data=st.data())
def test_mutants_load_or_are_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "mutant.tersoff"
    path.write_bytes(data.draw(mutants(CASES["steep"]["text"].encode())))
    try:
        params = read_tersoff(path)
    except PotentialFileError:
        return
    path.write_text(format_tersoff(params))
    np.testing.assert_array_equal(read_tersoff(path).table, params.table)
    atoms = Atoms([params.elements[k % len(params.elements)] for k in range(3)], positions=1.7 * np.eye(3))
    try:
        result = get_calculator("tersoff", path, backend="torch").evaluate([atoms], ("energy", "forces"))[0]
    except CalczooError:
        return
    assert np.isfinite(result["energy"]) and np.isfinite(result["forces"]).all()
