"""MLIP's .cfg files: reading, writing, errors with line and number of the configuration."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from calczoo.core.errors import DataError, OptionError, PotentialFileError
from calczoo.families.mtp.cfg import format_cfg, iter_cfg, parse_cfg, read_cfg, write_cfg
from calczoo.files.compressed import unpack
from data import mlearn, shared

ELEMENTS = "Al Ni Co Cr Fe Mo"

TEXT = """BEGIN_CFG
 Size
    2
 Supercell
    4.0 0.0 0.0
    0.5 5.0 0.0
    0.0 0.0 6.0
 AtomData:  id type cartes_x cartes_y cartes_z fx fy fz site_en charge
    1 1  0.0 0.0 0.0  1.0 2.0 3.0  -1.0  0.5
    2 0  1.0 1.5 2.0  -1.0 -2.0 -3.0  -2.5  -0.5
 Energy
    -3.5
 PlusStress:  xx yy zz yz xz xy
    12.0 24.0 36.0 4.8 6.0 7.2
 Feature   EFS_by\tVASP
 Feature   MV_grade\t 1.25
 Feature   ID\t7
END_CFG

"""


def assert_same(a: Atoms, b: Atoms) -> None:
    assert np.array_equal(a.numbers, b.numbers) and np.array_equal(a.positions, b.positions)
    assert np.array_equal(a.cell.array, b.cell.array) and np.array_equal(a.pbc, b.pbc)
    assert set(a.arrays) == set(b.arrays) and set(a.info) == set(b.info)
    assert all(np.array_equal(a.arrays[k], b.arrays[k]) for k in a.arrays)
    assert all(np.array_equal(a.info[k], b.info[k]) for k in a.info)
    assert (a.calc is None) == (b.calc is None)
    if a.calc is not None:
        assert a.calc.results.keys() == b.calc.results.keys()
        for k, value in a.calc.results.items():
            np.testing.assert_allclose(b.calc.results[k], value, rtol=1e-15)


def test_all_parts_of_a_configuration():
    (atoms,) = parse_cfg(TEXT, "Al Ni")
    assert atoms.get_chemical_symbols() == ["Ni", "Al"] and atoms.pbc.all()
    assert atoms.get_potential_energy() == -3.5
    assert np.array_equal(atoms.get_forces(), [[1, 2, 3], [-1, -2, -3]])
    np.testing.assert_allclose(atoms.get_stress(), -np.array([12, 24, 36, 4.8, 6, 7.2]) / 120)
    assert np.array_equal(atoms.get_potential_energies(), [-1, -2.5])
    assert np.array_equal(atoms.arrays["charge"], [0.5, -0.5])
    assert atoms.info == {"EFS_by": "VASP", "MV_grade": 1.25, "ID": 7}


def test_the_sign_of_stress_is_left_open():
    """mlearn's file of Mo calls the virial 'Stress', with the sign of PlusStress; MLIP meant the other sign."""
    with pytest.warns(UserWarning, match="no agreed sign"):
        frames = read_cfg(shared("data/mtp/mlearn_notebook/train.cfgs.xz"), "Mo")
    energy = frames[0].get_potential_energy()
    (dft,) = (a for a in mlearn("Mo", "train") if abs(a.get_potential_energy() - energy) < 1e-5)
    numbers = [float(w) for w in frames[0].info["cfg_sections"]["Stress"].splitlines()[1].split()]
    np.testing.assert_allclose(numbers, -dft.get_stress() * dft.get_volume(), rtol=2e-3)
    assert "stress" not in frames[0].calc.results


def test_every_published_file(tmp_path):
    count = structures = 0
    for path in sorted(p for p in shared("data/mtp").rglob("*.cfg*") if p.is_file()):
        if b"BEGIN_CFG" not in unpack(path, path.read_bytes()):
            continue  # another format, or an empty list
        if path.name == "train-489.cfg.gz":
            with pytest.raises(PotentialFileError, match="tar archive"):
                read_cfg(path, ELEMENTS)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            frames = read_cfg(path, None if "tsuyama" in str(path) else ELEMENTS)
            some = frames[:: max(1, len(frames) // 3)]
            for a, b in zip(some, parse_cfg(format_cfg(some, ELEMENTS + " Ag"), ELEMENTS + " Ag"), strict=True):
                assert_same(a, b)
        count, structures = count + 1, structures + len(frames)
    assert count >= 70 and structures > 5000


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_round_trip_with_some_lattice_vectors(tmp_path, rows):
    atoms = Atoms("AlNi", [[0.1, 0.2, 1 / 3], [1.5, 1.6, 1.7]], pbc=np.arange(3) < rows)
    atoms.cell = np.diag([4.0, 5.0, 6.0]) * (np.arange(3) < rows)[:, None]
    atoms.info.update(name="a b", number=3, x=0.1, flag="on")
    atoms.set_array("nbh_grades", np.array([0.5, 1 / 7]))
    results = {"energy": -1 / 3, "free_energy": -1 / 3, "forces": np.array([[1, 2, 1 / 3], [0, 0, 1e-9]])}
    if rows == 3:
        results["stress"] = np.arange(6) / 7
    atoms.calc = SinglePointCalculator(atoms, **results)
    if rows and rows < 3:
        atoms.info["virial"] = np.arange(6) / 11
    for suffix in ("", ".xz", ".gz"):
        path = write_cfg([atoms, atoms], tmp_path / f"t.cfg{suffix}", "Al Ni")
        frames = read_cfg(path, "Al Ni")
        assert len(frames) == 2
        assert_same(atoms, frames[1])


def test_forms_that_mlip_reads_too():
    other = TEXT.replace("Supercell", "SuperCell").replace("\n", "\r\n")
    assert_same(*parse_cfg(TEXT, "Al Ni"), *parse_cfg(other, "Al Ni"))
    swapped = TEXT.replace("xx yy zz yz xz xy", "xy xz yz zz yy xx").replace(
        "12.0 24.0 36.0 4.8 6.0 7.2", "7.2 6.0 4.8 36.0 24.0 12.0"
    )
    assert_same(*parse_cfg(TEXT, "Al Ni"), *parse_cfg(swapped, "Al Ni"))
    lines = TEXT.split("\n")
    lines[8], lines[9] = lines[9], lines[8]  # atoms in the order of their ids
    assert_same(*parse_cfg(TEXT, "Al Ni"), *parse_cfg("\n".join(lines), "Al Ni"))
    direct = TEXT.replace("cartes", "direct").replace("1.0 1.5 2.0", "0.5 0.5 0.5")
    np.testing.assert_allclose(parse_cfg(direct, "Al Ni")[0].positions[1], [2.25, 2.5, 3.0])


def test_columns_in_any_order():
    text = "BEGIN_CFG\nSize\n1\nAtomData: fz cartes_z fx type cartes_y fy cartes_x id\n3 6 1 1 5 2 4 1\nEND_CFG\n"
    (atoms,) = parse_cfg(text, "Al Ni")
    assert np.array_equal(atoms.positions, [[4, 5, 6]]) and np.array_equal(atoms.get_forces(), [[1, 2, 3]])
    assert atoms.get_chemical_symbols() == ["Ni"] and not atoms.pbc.any()


def test_unknown_sections_are_kept(tmp_path):
    text = TEXT.replace(" Energy\n", " Weights: a b\n   1.0 2.0\n   3.0 4.0\n Energy\n")
    (atoms,) = parse_cfg(text, "Al Ni")
    assert atoms.info["cfg_sections"] == {"Weights": "Weights: a b\n1.0 2.0\n3.0 4.0"}
    assert atoms.get_potential_energy() == -3.5
    assert_same(atoms, *parse_cfg(format_cfg([atoms], "Al Ni"), "Al Ni"))


def test_virial_without_three_vectors_stays_in_info():
    lines = TEXT.split("\n")
    (atoms,) = parse_cfg("\n".join(lines[:6] + lines[7:]), "Al Ni")
    assert atoms.pbc.tolist() == [True, True, False] and "stress" not in atoms.calc.results
    assert np.array_equal(atoms.info["virial"], [12, 24, 36, 4.8, 6, 7.2])


def test_empty_configuration_and_file(tmp_path):
    (atoms,) = parse_cfg("BEGIN_CFG\nSize\n0\nAtomData: id type cartes_x cartes_y cartes_z\nEND_CFG\n", "Al")
    assert len(atoms) == 0
    path = tmp_path / "t.cfg"
    path.write_text("\n \n")
    assert read_cfg(path) == []


# -- types ---------------------------------------------------------------------------------------------------


def test_missing_elements_show_the_call():
    with pytest.raises(OptionError) as caught:
        parse_cfg(TEXT, None, "train.cfg")
    assert 'read_cfg("train.cfg", elements=["Al", "Ni"])' in str(caught.value)
    with pytest.raises(PotentialFileError, match="configuration 1: type 1, with elements for the types 0 Al") as found:
        parse_cfg(TEXT, "Al")
    assert found.value.line == 9


def test_types_that_are_atomic_numbers():
    text = TEXT.replace("    1 1  ", "    1 28  ").replace("    2 0  ", "    2 13  ")
    for elements in (None, "Al Ni", {28: "Ni", 13: "Al"}):
        assert parse_cfg(text, elements)[0].get_chemical_symbols() == ["Ni", "Al"]
    with pytest.raises(PotentialFileError, match="type 13, with elements"):
        parse_cfg(text, "Cu Ni")
    with pytest.raises(PotentialFileError, match="one kind of types"):
        parse_cfg(TEXT + text, "Al Ni")
    for wrong in ({-1: "Al"}, {0: "Xx"}, {"0": "Al"}, "Al Al"):
        with pytest.raises(OptionError):
            parse_cfg(text, wrong)


def test_order_of_elements_when_writing(tmp_path):
    atoms = bulk("NiAl", "cesiumchloride", 2.9)
    assert "    1 1  " in format_cfg([atoms], "Al Ni") and "    1 28  " in format_cfg([atoms], {28: "Ni", 13: "Al"})
    with pytest.raises(OptionError, match="elements="):
        write_cfg([atoms], tmp_path / "t.cfg")
    with pytest.raises(DataError, match="structure 1 has Ni"):
        format_cfg([bulk("Al"), atoms], "Al")
    atoms.positions[0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        format_cfg([atoms], "Al Ni")


def test_results_of_another_structure_are_not_written():
    (atoms,) = parse_cfg(TEXT, "Al Ni")
    atoms.positions += 0.1
    assert "Energy" not in format_cfg([atoms], "Al Ni")


# -- errors --------------------------------------------------------------------------------------------------

EDITS = [
    (("BEGIN_CFG", "BEGIN"), 1, "BEGIN_CFG"),
    (("END_CFG", ""), 19, "END_CFG"),
    (("    2\n", "    3\n"), 11, "atom 3 of 3"),
    (("    2\n", "    1\n"), 10, "a section"),
    (("    2\n", "    900000000\n"), 3, "whole number"),
    (("    2\n", "    99999999\n"), 11, "atom 3 of 99999999"),
    (("Size", "Sice"), 8, "Size first"),
    (("    4.0 0.0 0.0", "    4.0 0.0"), 5, "three numbers"),
    (("4.0 0.0 0.0", "4.0 nan 0.0"), 5, "finite number"),
    (("0.0 0.0 6.0", "Xx 0.0 6.0"), 7, "a section"),
    (("1.0 1.5 2.0", "1.0 x 2.0"), 10, "numbers of atom 2 of configuration 1"),
    (("1.0 1.5 2.0", "1.0 1_5 2.0"), 10, "not a finite number"),
    (("1.0 1.5 2.0", "1.0 2.0"), 10, "atom 2 of 2 has 9 values"),
    (("    2 0 ", "    1 0 "), 9, "ids are not 1 to 2"),
    (("    2 0 ", "    2 0.5 "), 10, "type 0.5 of atom 2"),
    (("    2 0 ", "    2 -1 "), 10, "type -1"),
    (("cartes_y", "cartes_x"), 8, "each once"),
    (("fx fy fz", "fx fy gz"), 8, "fx, fy and fz together"),
    (("-3.5\n", "-3.5 1\n"), 12, "one number in eV"),
    (("-3.5\n", "inf\n"), 12, "the energy of configuration 1"),
    (("xx yy zz yz", "xx yy zz zz"), 13, "the six components"),
    (("6.0 7.2", "6.0"), 14, "5 numbers of PlusStress"),
    ((" Energy\n", " Energy\n 1\n Energy\n"), 13, "each section once"),
    (("Feature   ID\t7", "Feature"), 17, "without a name"),
    ((" AtomData", " AtomDate"), 18, "no AtomData"),
]


@pytest.mark.parametrize("edit, line, message", EDITS, ids=[e[2].replace(" ", "_") for e in EDITS])
def test_errors_name_line_and_configuration(edit, line, message):
    assert edit[0] in TEXT
    with pytest.raises(PotentialFileError) as caught:
        parse_cfg(TEXT.replace(*edit, 1), "Al Ni")
    assert message in str(caught.value) and caught.value.line == line


def test_binary_and_long_lines(tmp_path):
    path = tmp_path / "t.cfg"
    for data, message in ((b"BEGIN_CFG\n\0\n", "NUL"), (b"1" * 3_000_000, "longer than 1 MiB")):
        path.write_bytes(data)
        with pytest.raises(PotentialFileError, match=message):
            read_cfg(path, "Al")
    with pytest.raises(PotentialFileError, match="does not exist"):
        iter_cfg(tmp_path / "none.cfg", "Al")


def test_files_are_read_in_pieces(tmp_path):
    """A file of 30 MB is never held as a whole."""
    path = Path(tmp_path / "t.cfg")
    path.write_text(TEXT * 60_000)
    tracemalloc.start()
    for k, _ in zip(range(1000), iter_cfg(path, "Al Ni"), strict=False):
        assert k < 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15e6
