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
SILICON = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"


def case_file(case: dict, tmp_path):
    if "file" in case:
        return lammps_potential(case["file"])
    path = tmp_path / "case.tersoff"
    path.write_text(case["text"])
    return path


@pytest.fixture
def silicon(tmp_path):
    path = tmp_path / "Si.tersoff"
    path.write_text(SILICON)
    return path


@pytest.mark.parametrize("backend", BACKENDS)
def test_published_silicon_equals_lammps(backend):
    compare(get_calculator("tersoff", lammps_potential("Si.tersoff"), backend=backend), reference("Si.tersoff")["structures"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_other_files_equal_lammps(name, backend, tmp_path):
    case = CASES[name]
    calc = get_calculator("tersoff", case_file(case, tmp_path), elements=case["elements"], backend=backend)
    compare(calc, case["structures"])


def test_energies_share_a_triplet_in_thirds(silicon):
    """Three atoms in a right angle, the outer ones out of each other's reach: only the centre has phi3."""
    atoms = Atoms("Si3", positions=[[0, 0, 0], [2.7, 0, 0], [0, 2.7, 0]])
    calc = get_calculator("tersoff", silicon, backend="torch")
    dimer = calc.evaluate([atoms[:2]], ("energy",))[0]["energy"]
    far = Atoms("Si2", positions=[[0, 0, 0], [2.7 * 2**0.5, 0, 0]])
    e = calc.evaluate([atoms], ("energy", "energies"))[0]["energies"]
    outer = 0.5 * (dimer + calc.evaluate([far], ("energy",))[0]["energy"])
    assert e[1] - outer == pytest.approx(e[0] - dimer, abs=1e-12)
    assert e[1] == pytest.approx(e[2], abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forces_are_derivatives(backend, silicon):
    atoms = bulk("Si", "diamond", a=5.1, cubic=True)
    atoms.rattle(0.1, seed=3)
    check_derivatives(get_calculator("tersoff", silicon, backend=backend), atoms, 1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_longer_lists_and_threads_change_nothing(backend, silicon):
    atoms = bulk("Si", "diamond", a=5.2, cubic=True).repeat(2)
    atoms.rattle(0.2, seed=4)
    check_longer_list(get_calculator("tersoff", silicon, backend=backend), atoms)


def test_float32_stays_close(silicon):
    atoms = bulk("Si", "diamond", a=5.3, cubic=True)
    atoms.rattle(0.1, seed=5)
    exact = get_calculator("tersoff", silicon).evaluate([atoms])[0]
    for backend in BACKENDS:
        single = get_calculator("tersoff", silicon, dtype="float32", backend=backend).evaluate([atoms])[0]
        assert abs(single["energy"] - exact["energy"]) < 1e-4
        np.testing.assert_allclose(single["forces"], exact["forces"], atol=1e-4)


def test_sum_with_zbl(silicon):
    atoms = bulk("Si", "diamond", a=4.6, cubic=True)
    total = get_calculator(f"sw:'{silicon}' + zbl(1, 2.5)", elements="Si").evaluate([atoms])[0]
    parts = [get_calculator("tersoff", silicon), get_calculator("zbl(1, 2.5)", elements="Si")]
    parts = [c.evaluate([atoms])[0] for c in parts]
    assert total["energy"] == pytest.approx(parts[0]["energy"] + parts[1]["energy"], abs=1e-9)
    np.testing.assert_allclose(total["stress"], parts[0]["stress"] + parts[1]["stress"], atol=1e-12)


# -- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in CASES if n != "real"])
def test_round_trip(name, tmp_path):
    params = read_tersoff(case_file(CASES[name], tmp_path))
    again = read_tersoff(write_tersoff(tmp_path / "again.tersoff", params))
    assert again.elements == params.elements
    np.testing.assert_array_equal(again.table, params.table)


def test_subset_order_and_extra_entries():
    path = lammps_potential("CdTeZnSeHgS0.tersoff")
    params = read_tersoff(path, ["Te", "Cd"])
    assert params.elements == ("Te", "Cd")
    whole = read_tersoff(path)
    i, j = (whole.elements.index(s) for s in params.elements)
    np.testing.assert_array_equal(params.table[0, 1, 1], whole.table[i, j, j])
    atoms = bulk("CdTe", "zincblende", a=6.4, cubic=True)
    atoms.rattle(0.1, seed=1)
    same(get_calculator("tersoff", path), get_calculator("tersoff", path, elements=["Te", "Cd"]), atoms, 1e-13)


def test_entry_over_several_lines_and_labels(tmp_path):
    path = tmp_path / "x.tersoff"
    path.write_text(SILICON.replace(" 21.0", "\n\n # comment\n 21.0 # more\n").replace("Si", "Si(B)"))
    params = read_tersoff(path, ["Si"], ["Si(B)"])
    assert params.elements == ("Si",) and params.table[0, 0, 0, 3] == 21.0
    assert get_calculator("tersoff", path, labels="Si(B)").card.elements == ("Si",)
    with pytest.raises(PotentialFileError, match=r"'Si\(B\)' is no element.*labels="):
        read_tersoff(path)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("2.1683", "nan", 1, "'nan' is not a finite number"),
        ("2.1683", "-1", 1, "epsilon is -1; it must not be negative"),
        ("1.80", "1e9", 1, "cutoff .* must be between 0 and 100 A"),
        ("4.0 0.0 0.0", "4.0 0.0", 1, "ends after 10 numbers"),
        ("4.0 0.0 0.0", "4.0 0.0 0.0 7", 1, "has 12 numbers"),
        ("Si Si Si", "Si Si", 1, "expected 3 element symbols"),
        (SILICON, SILICON * 2, 2, "a second entry Si Si Si .the first is in line 1"),
        (SILICON, "# UNITS: lj\n" + SILICON, 1, "UNITS: lj"),
        (SILICON, "", None, "no entry"),
        (SILICON, "Si Si Si " + "1 " * 14, 1, "has 14 numbers: the format of a .tersoff file"),
    ],
)
def test_errors_name_what_is_wrong(old, new, line, message, tmp_path):
    path = tmp_path / "bad.tersoff"
    path.write_text(SILICON.replace(old, new))
    with pytest.raises(PotentialFileError, match=message) as error:
        read_tersoff(path)
    assert error.value.line == line


def test_missing_entry_and_unequal_pairs(tmp_path):
    path = tmp_path / "bad.tersoff"
    text = CASES["tol"]["text"]
    path.write_text(text.replace("Si Si C", "Si Si Ge"))
    with pytest.raises(PotentialFileError, match="no entry Si Si C"):
        read_tersoff(path, ["Si", "C"])
    path.write_text(text.replace("C Si Si 2.0", "C Si Si 2.1"))
    with pytest.raises(PotentialFileError, match="epsilon is 2 in entry Si C C and 2.1 in C Si Si") as error:
        read_tersoff(path)
    assert error.value.line == 4


def test_other_formats_are_refused(silicon, tmp_path):
    for name in ("tmd.sw.mod", "SiGeH.sw.quip", "Si.b.meam.sw.spline", "GaN_tersoff.poly"):
        with pytest.raises(PotentialFileError, match=r"expected a \.sw file"):
            read_tersoff(lammps_potential(name))
    for name in ("Si.tersoff", "SiC.tersoff.zbl", "Si.tersoff.mod"):
        with pytest.raises(PotentialFileError):
            read_tersoff(lammps_potential(name))
    with pytest.raises(OptionError, match="takes one file"):
        get_calculator("tersoff")
    with pytest.raises(OptionError, match="no option 'style'"):
        get_calculator("tersoff", silicon, style=1)


def test_params_check_shapes():
    with pytest.raises(OptionError, match="table has shape"):
        TersoffParams(("Si",), np.ones((1, 1, len(NAMES))))
    with pytest.raises(OptionError, match="nothing to compute"):
        TersoffParams(("Si",), np.zeros((1, 1, 1, len(NAMES))))


@given(data=st.data())
def test_mutants_load_or_are_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "mutant.tersoff"
    path.write_bytes(data.draw(mutants(CASES["tol"]["text"].encode())))
    try:
        params = read_tersoff(path)
    except PotentialFileError:
        return
    path.write_text(format_tersoff(params))
    np.testing.assert_array_equal(read_tersoff(path).table, params.table)
    atoms = Atoms([params.elements[k % len(params.elements)] for k in range(3)], positions=2.2 * np.eye(3))
    try:
        result = get_calculator("tersoff", path, backend="torch").evaluate([atoms], ("energy", "forces"))[0]
    except CalczooError:
        return
    assert np.isfinite(result["energy"]) and np.isfinite(result["forces"]).all()
