"""RuNNer's input.data: reading, writing, units, and errors with file and line."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calczoo.core.errors import DataError, OptionError, PotentialFileError
from calczoo.families.hdnnp import units
from calczoo.families.hdnnp.input_data import NO_FORCES, iter_input_data, read_input_data, write_input_data
from data import data_folder, max_abs, shared
from families.mutations import mutants

UNITS = {"length_unit": "Bohr", "energy_unit": "Ha"}
BOHR, HARTREE = units.length("Bohr"), units.energy("Ha")
TEXT = """\
begin
comment first
comment second line
lattice 10.0 0.0 0.0
lattice 0.0 11.0 0.0
lattice 1.0 0.0 12.0
atom 1.0 2.0 3.0 Na 0.25 -0.5 0.1 0.2 0.3
atom 4.0 5.0 6.0 Cl -0.25 0.0 -0.1 -0.2 -0.3
energy -1.5
charge 1.0
end
 begin
# a comment
atom 0.0 0.0 0.0 H 0.0 0.0 0.0 0.0 0.0

atom 0.0 0.0 1.4 H 0.0 0.0 0.0 0.0 0.0
energy -1.0d0
charge 0.0
end
"""
FEW = settings(max_examples=200, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "input.data").write_text(TEXT)
    return tmp_path / "input.data"


def read(path: Path, text: str | None = None, **options) -> list[Atoms]:
    if text is not None:
        path.write_text(text)
    return read_input_data(path, **{**UNITS, **options})


def test_everything_in_its_place(path):
    first, second = read(path)
    assert first.info == {"comment": "first\nsecond line", "charge": 1.0} and first.pbc.all()
    assert max_abs(first.cell.array, BOHR * np.array([[10, 0, 0], [0, 11, 0], [1, 0, 12.0]])) == 0
    assert max_abs(first.positions, BOHR * np.array([[1, 2, 3], [4, 5, 6.0]])) == 0
    results = first.calc.results
    assert results["energy"] == results["free_energy"] == -1.5 * HARTREE
    assert max_abs(first.get_forces(), HARTREE / BOHR * np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])) < 1e-15
    assert list(results["charges"]) == [0.25, -0.25] and list(results["energies"]) == [-0.5 * HARTREE, 0.0]
    assert second.get_chemical_formula() == "H2" and not second.pbc.any() and second.info == {"charge": 0.0}
    assert second.get_potential_energy() == -HARTREE and "charges" not in second.calc.results
    assert max_abs(second.get_forces(), np.zeros((2, 3))) == 0
    assert "forces" not in read(path, forces=False)[1].calc.results


def test_units(path):
    for options in ({}, {"length_unit": "A"}, {"energy_unit": "eV"}):
        with pytest.raises(OptionError, match=r'read_input_data\(..., length_unit="Bohr", energy_unit="Ha"\)'):
            read_input_data(path, **options)
    atoms = read(path, length_unit=1.0, energy_unit="eV")[0]
    assert atoms.get_potential_energy() == -1.5 and atoms.positions[1, 2] == 6.0 and atoms.get_forces()[0, 0] == 0.1


def test_elements_and_packed_files(path):
    with pytest.raises(PotentialFileError, match=r"input.data, line 14: structure 2: an atom of H; expected .* Na, Cl"):
        read(path, elements="Na Cl")
    packed = path.with_name("input.data.xz")
    packed.write_bytes(lzma.compress(TEXT.encode()))
    assert len(read(packed)) == 2 and next(iter_input_data(path, **UNITS)).info["charge"] == 1.0
    with pytest.raises(OptionError):
        read(path, elements="Qx")


def test_short_lines(path):
    text = "begin\natom 0 0 0 He\natom 0 0 3 He\nend\nbegin\natom 0 0 0 Na 0.5\nenergy 1\nend\nbegin\nend\n"
    one, two, empty = read(path, text)
    assert one.calc is None and one.info == {} and len(empty) == 0
    assert list(two.calc.results) == ["energy", "free_energy", "charges"]


def test_round_trip(path, tmp_path):
    frames = read(path)
    frames += [Atoms("He", cell=[4, 4, 4], pbc=True), Atoms("OH", [[0, 0, 0], [0, 0, 1.0]])]
    frames[-1].set_initial_charges([-1.2, 0.2])
    frames[-1].calc = SinglePointCalculator(frames[-1], energy=3.0)
    for name in ("a.data", "b.data.xz", "c.data.gz"):
        again = read(write_input_data(iter(frames), tmp_path / name, **UNITS))
        assert len(again) == 4
        for a, b in zip(frames, again, strict=True):
            assert a.get_chemical_symbols() == b.get_chemical_symbols() and (a.pbc == b.pbc).all()
            assert max_abs(a.positions, b.positions) < 1e-14 and max_abs(a.cell.array, b.cell.array) < 1e-14
            assert a.info.get("comment") == b.info.get("comment")
            own, other = (x.calc.results if x.calc else {} for x in (a, b))
            assert set(own) | {"free_energy"} == set(other) | {"free_energy"}
            assert all(max_abs(own[k], other[k]) < 1e-14 for k in own)
        assert [b.info["charge"] for b in again] == [1.0, 0.0, 0.0, -1.0] and again[2].calc is None
    assert NO_FORCES in (tmp_path / "a.data").read_text()
    assert (tmp_path / "a.data").read_text().count("atom ") == 7


def test_results_of_another_geometry_are_not_written(path, tmp_path):
    atoms = read(path)[0]
    atoms.positions[0, 0] += 0.1
    assert read(write_input_data([atoms], tmp_path / "x.data", **UNITS))[0].calc is None


def test_what_cannot_be_written(tmp_path):
    slab = Atoms("H", cell=[3, 3, 3], pbc=[True, True, False])
    bad = Atoms("H2", [[0, 0, 0], [0, 0, np.nan]])
    wrong = Atoms("H2", [[0, 0, 0], [0, 0, 1.0]])
    wrong.calc = SinglePointCalculator(wrong, energy=1.0, charges=np.zeros(3))
    flat = Atoms("H", pbc=True)
    for atoms, match in ((slab, "some directions"), (bad, "not finite"), (wrong, "shape"), (flat, "without three")):
        with pytest.raises(DataError, match=f"structure 0 .*{match}"):
            write_input_data([atoms], tmp_path / "x.data", **UNITS)
    with pytest.raises(OptionError, match="write_input_data"):
        write_input_data([], tmp_path / "x.data")
    assert not (tmp_path / "x.data").exists()


@pytest.mark.parametrize(
    ("old", "new", "line", "match"),
    [
        ("begin\ncomment", "comment", 1, "expected 'begin'"),
        ("energy -1.5\n", "energy -1.5\nenergy 2\n", 10, "a second 'energy'"),
        ("energy -1.5", "energy", 9, "values of 'energy'"),
        ("energy -1.5", "energy nan", 9, "'nan' is not a finite number"),
        ("energy -1.5", "enrgy -1.5", 9, "expected comment, lattice"),
        ("lattice 1.0 0.0 12.0\n", "", 1, "2 lattice vectors"),
        ("lattice 1.0 0.0 12.0", "lattice 1.0 0.0", 6, "2 numbers of lattice vector 3"),
        ("lattice 1.0 0.0 12.0", "lattice 1.0 0.0 0.0", 1, "lie in a plane"),
        ("lattice 1.0 0.0 12.0\n", "lattice 1.0 0.0 12.0\n" * 2, 7, "three vectors"),
        ("lattice 1.0 0.0 12.0", "lattice 1.0 0.0 1e300", 6, "at most"),
        ("3.0 Na 0.25", "3.0 Qx 0.25", 7, "'Qx' is no chemical element"),
        ("3.0 Na 0.25", "3.0_0 Na 0.25", 7, "'3.0_0' is not a finite number"),
        ("0.1 0.2 0.3\n", "0.1 0.2\n", 7, "an atom of 8 values"),
        ("0.1 0.2 0.3\n", "0.1 0.2 1e400\n", 7, "'1e400' is not a finite number"),
        ("6.0 Cl -0.25 0.0 -0.1 -0.2 -0.3", "6.0 Cl", 8, "an atom of 4 values; expected 9"),
        ("charge 1.0\nend\n", "charge 1.0\n", 11, "'begin'"),
        ("charge 0.0\nend\n", "charge 0.0\n", 18, "structure 2: the file ends"),
        ("comment first", "comment \0", 2, "NUL byte"),
        ("comment first", "comment " + "x" * (1 << 21), 2, "long"),
        ("energy -1.5", "energy 1e308", 1, "not finite in eV"),
        ("Cl -0.25 0.0 -0.1", "Cl -0.25 1e308 -0.1", 1, "not finite in eV"),
    ],
)
def test_malformed(path, old, new, line, match):
    assert old in TEXT
    with pytest.raises(PotentialFileError, match=match) as caught:
        read(path, TEXT.replace(old, new, 1))
    assert caught.value.file == str(path) and caught.value.line == line and caught.value.expected


def test_missing_file(tmp_path):
    with pytest.raises(PotentialFileError, match="does not exist"):
        read(tmp_path / "none.data")
    (tmp_path / "cut.data.xz").write_bytes(lzma.compress(TEXT.encode())[:-20])
    with pytest.raises(PotentialFileError, match="is damaged"):
        read(tmp_path / "cut.data.xz")


def files() -> list[str]:
    root = data_folder() / "data"
    found = [*root.glob("hdnnp/**/input.data*"), *root.glob("long_range/Au2-MgO-Al_opt/*.data")]
    return sorted(p.relative_to(root).as_posix() for p in found)


@pytest.mark.parametrize("name", files() or ["nothing"])
def test_published(name, tmp_path):
    """Every published set is read, and written and read again."""
    frames = read(shared(f"data/{name}"))
    assert frames and all("energy" in a.calc.results and "forces" in a.calc.results for a in frames)
    again = read(write_input_data(frames, tmp_path / "x.data", **UNITS))
    for a, b in zip(frames, again, strict=True):
        assert max_abs(a.positions, b.positions) < 1e-13 and a.info.get("charge", 0.0) == b.info["charge"]
        for key, values in a.calc.results.items():
            assert max_abs(values, b.calc.results[key]) <= 4e-15 * (1 + max_abs(values, 0.0))


def test_charges_of_chains():
    """Two total charges, to which those of the atoms add up."""
    frames = read(shared("data/hdnnp/n2p2/nnp-train_4G/Carbon_chain_4G/input.data"))
    totals = [a.info["charge"] for a in frames]
    assert len(frames) == 128 and {round(t) for t in totals} == {0, 1}
    assert max(abs(t - a.calc.results["charges"].sum()) for t, a in zip(totals, frames, strict=True)) < 1e-3


@FEW
@given(data=mutants(TEXT.encode()))
def test_mutants(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "mutant.data"
    path.write_bytes(data)
    try:
        frames = read(path)
    except PotentialFileError as error:
        assert error.file == str(path) and error.line
        return
    assert len(frames) <= 3
    for atoms in frames:
        assert np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()
        assert atoms.calc is None or all(np.isfinite(v).all() for v in atoms.calc.results.values())


@FEW
@given(st.text(alphabet="begind atomlrychx 0.-\nHe", max_size=120))
def test_made_up(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "made-up.data"
    path.write_text("begin\n" + text)
    try:
        read(path)
    except PotentialFileError as error:
        assert error.file == str(path)
