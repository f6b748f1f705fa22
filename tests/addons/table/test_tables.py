"""Tabulated pair potentials against LAMMPS, and their files."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from calczoo import get_calculator
from calczoo.addons.table.formats import format_table, read_table, write_table
from calczoo.addons.table.grid import clamped_spline, spline_value
from calczoo.addons.table.load import build
from calczoo.addons.table.params import TableEntry, TableParams
from calczoo.calculator import ZooCalculator
from calczoo.core.errors import CalczooError, NonFiniteResult, OptionError, PotentialFileError
from calczoo.registry import ModelRequest
from data import lammps_potential, max_abs, reference_atoms
from families.lammps_cases import cases, check_longer_list, compare, same
from families.make_lammps_fixtures import make_table_text
from families.mutations import mutants

BACKENDS = ("torch", "warp")
CASES = cases("addons/table")
W_HE = [name for name in CASES if name.startswith("W-He")]
SMALL = "A\nN 4\n\n1 1.0 5.0 9.0\n2 2.0 1.0 2.0\n3 3.0 0.2 0.5\n4 4.0 0.0 0.0\n"


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.table"
    path.write_text(SMALL)
    return path


def w_he(style: str, backend: str) -> ZooCalculator:
    name, n = style.split()
    files = [lammps_potential("He_He_JW2013.table"), lammps_potential("W_He_JW2013.table")]
    return get_calculator("table", files, pair="He-He,W-He", style=name, n=int(n), backend=backend)


def morse(case: dict, tmp_path, backend: str) -> ZooCalculator:
    path = tmp_path / "morse.table"
    path.write_text(make_table_text(case["grid"], case["fprime"]))
    entry = read_table(path, "MORSE", case["cut"])
    style, n = case["style"].split()
    params = TableParams(dict.fromkeys([("W", "W"), ("He", "W"), ("He", "He")], entry), style, int(n))
    return ZooCalculator(build(params, ModelRequest("table", device="cpu", backend=backend, threads=1)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", W_HE)
def test_tungsten_helium_equals_lammps(name, backend):
    compare(w_he(CASES[name]["style"], backend), CASES[name]["structures"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [name for name in CASES if name not in W_HE])
def test_grids_of_the_file_equal_lammps(name, backend, tmp_path):
    compare(morse(CASES[name], tmp_path, backend), CASES[name]["structures"])


@pytest.mark.parametrize("style", ["spline 2000", "linear 2000", "lookup 2000"])
def test_backends_agree(style):
    atoms = reference_atoms(CASES[W_HE[0]]["structures"][1])
    same(w_he(style, "torch"), w_he(style, "warp"), atoms, 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_longer_lists_and_threads_change_nothing(backend):
    check_longer_list(w_he("spline 1000", backend), reference_atoms(CASES[W_HE[0]]["structures"][0]).repeat(2))


def test_card_says_that_forces_are_interpolated():
    card = w_he("spline 100", "torch").card
    assert "not exact gradients" in card.extra["forces"]
    assert set(card.files) == {"He_He_JW2013.table", "W_He_JW2013.table"} and 3.79 < card.cutoff < 3.8


@pytest.mark.parametrize("backend", BACKENDS)
def test_distances_below_the_table_are_no_numbers(backend, small):
    calc = get_calculator("table", small, elements=["W"], backend=backend, n=100)
    assert calc.card.cutoff == 4.0
    with pytest.raises(NonFiniteResult, match="closer than the first point .* W-W at 1 A"):
        calc.get_potential_energy(Atoms("W2", positions=[[0, 0, 0], [0.9, 0, 0]]))
    assert calc.get_potential_energy(Atoms("W2", positions=[[0, 0, 0], [4.0, 0, 0]])) == 0.0


def test_clamped_spline_is_exact_for_cubics():
    x = np.array([0.5, 0.7, 1.6, 2.0, 3.1])
    y = x**3 - 2.0 * x
    y2 = clamped_spline(x, y, 3.0 * x[0] ** 2 - 2.0, 3.0 * x[-1] ** 2 - 2.0)
    np.testing.assert_allclose(y2, 6.0 * x, atol=1e-12)
    at = np.linspace(0.5, 3.1, 40)
    np.testing.assert_allclose(spline_value(x, y, y2, at), at**3 - 2.0 * at, atol=1e-12)


# -- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("grid", "fprime"), [("", False), ("R", True), ("RSQ", False)])
def test_round_trip(grid, fprime, tmp_path):
    path = tmp_path / "morse.table"
    path.write_text(make_table_text(grid, fprime))
    entry = read_table(path)
    again = read_table(write_table(tmp_path / "again.table", [entry]), "MORSE")
    assert (again.grid, again.r_lo, again.end_slopes) == (entry.grid, entry.r_lo, entry.end_slopes)
    for name in ("r", "energy", "force"):
        np.testing.assert_array_equal(getattr(again, name), getattr(entry, name))


def test_sections_cutoff_and_units(small, tmp_path):
    both = tmp_path / "both.table"
    both.write_text("# UNITS: real\n" + SMALL + "\n# next\n" + SMALL.replace("A\n", "B\n"))
    with pytest.raises(PotentialFileError, match="2 sections; expected a keyword"):
        read_table(both)
    with pytest.raises(PotentialFileError, match="no section 'C'.*A, B"):
        read_table(both, "C")
    entry = read_table(both, "B", 3.5)
    assert entry.outer == 3.5 and max_abs(entry.energy * 23.060549, read_table(small).energy) < 1e-14
    with pytest.raises(OptionError, match="two sections of one name"):
        write_table(tmp_path / "x", [entry, entry])
    with pytest.raises(PotentialFileError, match="cutoff 4.5 A is outside of the table"):
        read_table(small, "A", 4.5)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("N 4", "N 5", 7, "has 4 rows"),
        ("N 4", "N 1000000000", 7, "has 4 rows"),
        ("N 4", "N 4 BITMAP 1 4", 2, "a BITMAP grid, which is not supported"),
        ("N 4", "N 4 R 1", 2, "'N 4 R 1'"),
        ("N 4", "M 4", 2, "'M'"),
        ("N 4", "R 1.0 4.0", 2, "no 'N COUNT'"),
        ("N 4", "N 4 R 1.0 8.0", 5, "r = 2, but R 1 8 puts row 2 at 3.3"),
        ("2 2.0 1.0 2.0", "2 2.0 1.0", 5, "3 values"),
        ("2 2.0 1.0 2.0", "2 2.0 nan 2.0", 5, "'nan' is not a finite number"),
        ("2 2.0 1.0 2.0", "2 3.0 1.0 2.0", 4, "ascend strictly"),
        ("1 1.0", "1 0.0", 4, "radii must be positive, at most 100 A"),
        ("A\nN 4", "N 4", 1, "a line with the keyword"),
        ("2 2.0 1.0 2.0", "2 2.0 1e308 2.0", 4, "at most 1e.30"),
        (SMALL, "", None, "no table section"),
        (SMALL, "A\n", None, "section 'A' is empty"),
        (SMALL, SMALL + SMALL, 8, "a second section 'A'"),
        (SMALL, "# UNITS: lj\n" + SMALL, 1, "UNITS: lj"),
    ],
)
def test_errors_name_what_is_wrong(old, new, line, message, tmp_path):
    path = tmp_path / "bad.table"
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(PotentialFileError, match=message) as error:
        read_table(path)
    assert error.value.line == line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "say which pair"),
        ({"pair": "W"}, "write two symbols"),
        ({"pair": "W-Xx"}, "'Xx' is not a chemical element"),
        ({"pair": "W-W,W-He"}, "names 2 for 1 file"),
        ({"pair": "W-W", "style": "bitmap"}, "style 'bitmap' .* not supported"),
        ({"pair": "W-W", "style": "cubic"}, "allowed are linear, lookup, spline"),
        ({"pair": "W-W", "n": 1}, "n is 1"),
        ({"pair": "W-W", "n": "x"}, "n is 'x'"),
        ({"pair": "W-W", "cut": "x"}, "cut is 'x'"),
        ({"pair": "W-W", "elements": ["He"]}, "names W, which is not among He"),
        ({"pair": "W-W", "colour": 1}, "no option 'colour'"),
    ],
)
def test_bad_options(more, message, small):
    with pytest.raises(OptionError, match=message):
        get_calculator("table", small, **more)


def test_spec_and_params(small):
    assert get_calculator(f"table:'{small}'(pair=W-He, keyword=A, n=50)").card.elements == ("He", "W")
    with pytest.raises(OptionError, match="name a file"):
        get_calculator("table")
    with pytest.raises(OptionError, match="is given twice"):
        get_calculator("table", [small, small], pair="W-He,He-W")
    with pytest.raises(OptionError, match="no pair of elements"):
        TableParams({})
    with pytest.raises(OptionError, match="three lists of one length"):
        TableEntry("A", np.ones(2), np.ones(3), np.ones(3))


@given(data=st.data())
def test_mutants_load_or_are_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "mutant.table"
    path.write_bytes(data.draw(mutants(SMALL.encode())))
    try:
        entry = read_table(path)
    except PotentialFileError:
        return
    path.write_text(format_table([entry]))
    np.testing.assert_array_equal(read_table(path).energy, entry.energy)
    atoms = Atoms("W2", positions=[[0, 0, 0], [0.5 * (entry.inner + entry.outer), 0, 0]])
    try:
        calc = get_calculator("table", path, pair="W-W", n=64, backend="torch")
        result = calc.evaluate([atoms], ("energy", "forces"))[0]
    except CalczooError:
        return
    assert np.isfinite(result["energy"]) and np.isfinite(result["forces"]).all()
