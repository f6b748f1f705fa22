"""SNAP's files: reading, writing, errors with file and line, and mutants."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calczoo import describe, get_calculator
from calczoo.core.errors import OptionError, PotentialFileError, SpecError
from calczoo.families.snap.formats import read_mliap, read_snap, write_snap
from calczoo.families.snap.load import read
from calczoo.families.snap.params import SnapParams
from calczoo.registry import Composite, ModelRequest
from data import lammps_potential, shared
from families.snap.flags import CASES, make


def load(model, **more):
    return read(ModelRequest("snap", model=model, **more))


def same(a: SnapParams, b: SnapParams) -> bool:
    names = [n for n in SnapParams.__dataclass_fields__ if n not in ("name", "facts")]
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)


ALL = """Cu_Zuo_JPCA2020 Ge_Zuo_JPCA2020 Li_Zuo_JPCA2020 Mo_Zuo_JPCA2020 Ni_Zuo_JPCA2020 Si_Zuo_JPCA2020
Cu_Zuo_JPCA2020.quadratic Ge_Zuo_JPCA2020.quadratic Li_Zuo_JPCA2020.quadratic Mo_Zuo_JPCA2020.quadratic
Ni_Zuo_JPCA2020.quadratic Si_Zuo_JPCA2020.quadratic Mo_Chen_PRM2017""".split()


@pytest.mark.parametrize("stem", ALL)
def test_include_file_equals_its_files(stem):
    a = load(lammps_potential(f"{stem}.snap"))
    b = load(lammps_potential(f"{stem}.snapcoeff"))
    c = load(lammps_potential(f"{stem}.snapparam"))
    d = load((lammps_potential(f"{stem}.snapparam"), lammps_potential(f"{stem}.snapcoeff")))
    assert isinstance(a, SnapParams) and same(a, b) and same(b, c) and same(c, d)
    assert "Ong" in a.card().citation and f"{stem}.snap" in a.card().files


@pytest.mark.parametrize("stem", ["Ta06A", "WBe_Wood_PRB2019", "InP_JCPA2020"])
def test_mliap_equals_snap(stem):
    a, b = load(lammps_potential(f"{stem}.snap")), load(lammps_potential(f"{stem}.mliap"))
    assert isinstance(a, Composite) and isinstance(b, Composite)
    assert [name for name, _ in a.terms] == [name for name, _ in b.terms] == ["snap", "zbl"]
    assert same(a.terms[0][1], b.terms[0][1]) and a.terms[1] == b.terms[1]
    assert same(a.terms[0][1], load(lammps_potential(f"{stem}.mliap.model")))
    assert same(a.terms[0][1], load(lammps_potential(f"{stem}.mliap.descriptor")))


def test_zbl_of_an_include_file():
    zbl = load(lammps_potential("WBe_Wood_PRB2019.snap")).terms[1][1]
    assert (zbl.inner, zbl.outer) == (4.0, 4.8)
    assert zbl.charges("W", "Be") == (74.0, 4.0) and zbl.charges("Be", "Be") == (4.0, 4.0)


def test_null_type_needs_its_element():
    path = lammps_potential("W_2940_2017_2_He_JW2013.snap")
    with pytest.raises(OptionError, match="one symbol per type"):
        load(path)
    parts = load(path, elements=("W", "He"))
    assert parts.card.elements == ("W", "He")
    assert [name for name, _ in parts.terms] == ["snap", "zbl", "table"]
    assert parts.terms[1][1].charges("W", "He") is None
    assert set(parts.terms[2][1].entries) == {("He", "He"), ("He", "W")}


@pytest.mark.parametrize(
    "folder,elements",
    [
        ("Ni-Mo/snap.2018.01", ("Ni", "Mo")),
        ("MoNbTaW/snap.2020.06", ("Ta", "Nb", "Mo", "W")),
        ("Mo/qsnap.2020.01", ("Mo",)),
        ("Li3N/esnap.2019.01", ("Li", "N")),
    ],
)
def test_folders_with_the_legacy_key_load(folder, elements):
    params = load(shared(f"data/snap_mvl/{folder}"))
    assert params.elements == elements
    assert ("charges" in str(params.card().extra)) == ("esnap" in folder)


def test_subset_of_elements():
    path = shared("data/snap_mvl/MoNbTaW/snap.2020.06/Ta-W-Nb-Mo.snapcoeff")
    one = load(path, elements=("Mo", "Ta"))
    assert one.elements == ("Ta", "Mo") and one.n_elements == 2
    with pytest.raises(OptionError, match="has no Cu"):
        load(path, elements=("Cu",))
    whole = load(lammps_potential("InP_JCPA2020.snap"), elements=("In",))
    assert whole.card.elements == ("In", "P")  # with chemflag all densities enter


@pytest.mark.parametrize(
    "name,word",
    [
        ("Ta06A.nn.mliap", "neural networks"),
        ("Ta06A.pytorch.mliap", "mliappy"),
        ("Si.nn.mliap.model", "neural network"),
        ("Si.nn.mliap.descriptor", "so3"),
        ("Ni_Mo.mliap.model", "so3"),
        ("Cu.snap.mliap.descriptor", "Cu.snap.mliap.model"),
    ],
)
def test_what_is_not_snap_is_refused_clearly(name, word):
    with pytest.raises(PotentialFileError, match=word):
        load(lammps_potential(name))


def test_requests_without_a_usable_model():
    with pytest.raises(SpecError, match="bundled name"):
        load(None)
    with pytest.raises(PotentialFileError, match="does not exist"):
        load("nowhere.snap")
    with pytest.raises(OptionError, match="no option"):
        get_calculator("snap", model="nowhere.snap", colour="red")


# -- writing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_written_files_give_the_same_parameters(name, tmp_path):
    params, _, _ = make(name)
    paths = write_snap(params, tmp_path / "p")
    assert [p.name for p in paths] == ["p.snapcoeff", "p.snapparam", "p.snap"]
    assert same(params, load(paths[0])) and same(params, load(paths[2]))


def test_written_sum_gives_the_same_terms(tmp_path):
    parts = load(lammps_potential("WBe_Wood_PRB2019.snap"))
    paths = write_snap(parts.terms[0][1], tmp_path / "p", parts.terms[1][1])
    again = load(paths[2])
    assert same(parts.terms[0][1], again.terms[0][1])
    assert again.terms[1][1].pairs == parts.terms[1][1].pairs
    assert describe("snap", paths[2]).cutoff == pytest.approx(parts.card.cutoff)


# -- errors --------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    params, _, _ = make("inner")
    return write_snap(params, tmp_path / "p")


def edit(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


@pytest.mark.parametrize(
    "which,old,new,word",
    [
        (0, "2 15", "2", "header has 1 values"),
        (0, "2 15", "2 16", "3 values in a line"),
        (0, "2 15", "2 999999999", "the header says"),
        (0, "2 15", "0 15", "from 1 to 118"),
        (0, "W ", "Qq ", "symbol radius weight"),
        (0, "Be ", "W ", "comes twice"),
        (1, "twojmax 4", "twojmax 6", "expected 31 for twojmax 6"),
        (1, "twojmax 4", "twojmax 1e9", "whole number"),
        (1, "twojmax 4\n", "", "'twojmax' is missing"),
        (1, "twojmax 4", "colour 4", "unknown key 'colour'"),
        (1, "bzeroflag 1", "bzeroflag 2", "bzeroflag|0 or 1"),
        (1, "bzeroflag 1", "bzeroflag 1\nbzeroflag 0", "second, different"),
        (1, "bzeroflag 1", "bzeroflag", "no value"),
        (1, "bzeroflag 1", "diagonalstyle 2", "diagonalstyle 3"),
        (1, "rcutfac 4.2", "rcutfac nan", "not a finite number"),
        (1, "rcutfac 4.2", "rcutfac -4.2", "rcutfac"),
        (1, "sinner 2.3 2.6", "sinner 2.3", "has 1 values"),
        (1, "sinner 2.3 2.6\n", "", "sinner is missing"),
        (2, "pair_style snap", "pair_style eam", "pair style 'eam'"),
        (2, "pair_style snap", "pair_modify shift yes", "command 'pair_modify'"),
        (2, "W Be", "W Cu", "has no element Cu"),
        (2, "p.snapcoeff", "q.snapcoeff", "q.snapcoeff: does not exist"),
        (2, "p.snapcoeff", "${q}", "variable q is not defined"),
        (2, "* * ", "1 2 ", r"pair_coeff \* \*"),
        (2, "W Be", "&", "ends after '&'"),
    ],
)
def test_errors_name_file_and_reason(files, which, old, new, word):
    edit(files[which], old, new)
    with pytest.raises((PotentialFileError, OptionError), match=word):
        load(files[2])


def test_companion_that_is_not_there(files):
    files[1].unlink()
    with pytest.raises(PotentialFileError, match="p.snapparam"):
        load(files[0])


def test_trailing_numbers_are_refused(files):
    files[0].write_text(files[0].read_text() + "0.5\n")
    with pytest.raises(PotentialFileError, match="after the last coefficient") as caught:
        load(files[0])
    assert caught.value.line == len(files[0].read_text().splitlines())


def test_other_units_are_refused(files):
    edit(files[0], "UNITS: metal", "UNITS: real")
    with pytest.raises(PotentialFileError, match="UNITS: real"):
        load(files[0])


def test_a_mliap_model_must_fit_its_descriptor(tmp_path):
    for name in ("Ta06A.mliap.model", "W.quadratic.mliap.descriptor"):
        shutil.copy(lammps_potential(name), tmp_path / name)
    model, descriptor = tmp_path / "Ta06A.mliap.model", tmp_path / "W.quadratic.mliap.descriptor"
    assert read_mliap(model, descriptor).quadraticflag is False
    with pytest.raises(PotentialFileError, match="expected 496"):
        read_mliap(model, descriptor, quadratic=True)


# -- mutants -------------------------------------------------------------------------------------------------

SWAPS = ["nan", "inf", "-1", "1e9", "1" * 400, "", "é", "0", "3", "NULL", "*", "&", "${x}", "-0.0", "1_0", "W"]


@st.composite
def mutants(draw, data: bytes) -> bytes:
    """Truncate, drop or double a line, swap a token, flip bytes."""
    kind = draw(st.sampled_from(["truncate", "drop", "double", "swap", "flip"]))
    lines = data.split(b"\n")
    k = draw(st.integers(0, len(lines) - 1))
    if kind == "truncate":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "drop":
        return b"\n".join(lines[:k] + lines[k + 1 :])
    if kind == "double":
        return b"\n".join(lines[: k + 1] + lines[k:])
    if kind == "swap":
        words = lines[k].split(b" ")
        words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(SWAPS)).encode()
        return b"\n".join(lines[:k] + [b" ".join(words)] + lines[k + 1 :])
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        out[draw(st.integers(0, len(out) - 1))] = draw(st.integers(0, 255))
    return bytes(out)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutants")
    params, _, _ = make("inner")
    from calczoo.addons.zbl.params import ZblParams

    paths = write_snap(params, folder / "p", ZblParams(1.0, 3.2))
    (folder / "p.mliap.model").write_text("1 2\n0.5\n0.25\n")
    (folder / "p.mliap.descriptor").write_text("rcutfac 4.0\ntwojmax 0\nnelems 1\nelems W\nradelems 0.5\nwelems 1\n")
    return [*paths, folder / "p.mliap.model", folder / "p.mliap.descriptor"]


@pytest.mark.parametrize("which", range(5))
@given(data=st.data())
def test_mutants_load_as_a_valid_model_or_are_refused(originals, which, data):
    path = originals[which]
    good = path.read_bytes()
    try:
        path.write_bytes(data.draw(mutants(good)))
        result = load(originals[2 if which < 3 else 3])
    except PotentialFileError as error:
        assert error.what and error.expected
        return
    except OptionError as error:
        assert "one symbol per type" in str(error)  # a mutant type map with NULL
        return
    finally:
        path.write_bytes(good)
    parts = [p for _, p in result.terms] if isinstance(result, Composite) else [result]
    assert np.isfinite(parts[0].coefficients).all() and 0 < parts[0].cutoff <= 50


@given(data=st.data())
def test_a_coefficient_is_never_lost_or_doubled_silently(originals, data):
    """A dropped or doubled line of coefficients always shows, whatever the line."""
    path = originals[0]
    good = path.read_bytes()
    lines = good.split(b"\n")
    k = data.draw(st.integers(1, len(lines) - 2))
    drop = data.draw(st.booleans())
    try:
        path.write_bytes(b"\n".join(lines[:k] + (lines[k + 1 :] if drop else lines[k : k + 1] + lines[k:])))
        with pytest.raises(PotentialFileError):
            read_snap(path, originals[1])
    finally:
        path.write_bytes(good)
