"""EAM's files: reading, writing, telling the styles apart, errors with file and line, and mutants."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from calczoo import describe, get_calculator
from calczoo.core.errors import CalczooError, OptionError, PotentialFileError, SpecError
from calczoo.families.eam.formats import read_file, write_funcfl, write_setfl
from calczoo.families.eam.load import read
from calczoo.families.eam.params import EamParams, TableError
from calczoo.registry import ModelRequest
from data import lammps_potential, potentials_folder
from families.eam.toy import toy, toy_funcfl
from families.mutations import mutants

TABLES = ("embedding", "density", "r_phi", "dipole", "quadrupole")
FACTS = ("style", "elements", "headers", "drho", "dr", "cutoff")


def load(model, **more) -> EamParams:
    return read(ModelRequest("eam", model=model, **more))


def same(a: EamParams, b: EamParams) -> bool:
    pairs = [(getattr(a, n), getattr(b, n)) for n in TABLES]
    equal = all(x is y is None or np.array_equal(x, y) for x, y in pairs)
    return equal and all(getattr(a, n) == getattr(b, n) for n in FACTS) and abs(a.rho_min - b.rho_min) < 1e-12


@pytest.mark.parametrize("elements", [("Cu",), ("Cu", "Ni"), ("H", "Cu", "Ni")])
@pytest.mark.parametrize("style", ["alloy", "fs", "he", "adp"])
def test_setfl_round_trip(style, elements, tmp_path):
    params = toy(style, elements)
    back = load(write_setfl(params, tmp_path / "potential.dat"))  # the name tells nothing
    if (style, len(elements)) == ("fs", 1):
        assert back.style == "alloy"  # the same file, the same model
        back = load(tmp_path / "potential.dat", options={"style": "fs"})
    assert same(params, back)
    assert back.card().cutoff == params.cutoff and list(back.files) == ["potential.dat"]


@pytest.mark.parametrize("elements", [("Cu",), ("Ni", "Cu")])
def test_funcfl_round_trip(elements, tmp_path):
    params = toy("funcfl", elements)
    paths = [write_funcfl(f, tmp_path / f"{f.element}.any") for f in params.sources]
    assert same(params, load(tuple(paths)))
    assert same(params, load(write_setfl(params, tmp_path / "one.alloy")).select(elements)) is False  # style differs
    alloy = load(tmp_path / "one.alloy")
    assert all(np.array_equal(getattr(alloy, n), getattr(params, n)) for n in TABLES[:3])


@pytest.mark.parametrize("name", ["Cu_mishin1.eam.alloy", "AlFe_mm.eam.fs", "PdHHe.eam.he", "Ni.adp"])
def test_published_round_trip(name, tmp_path):
    params = load(lammps_potential(name))
    assert same(params, load(write_setfl(params, tmp_path / "copy")))


def test_every_published_file_is_told_by_content():
    folder = potentials_folder() or lammps_potential("Cu_u3.eam").parent
    style = {"alloy": "alloy", "fs": "fs", "adp": "adp", "he": "he", "eam": "funcfl"}
    found = 0
    for path in sorted(folder.iterdir()):
        if (".eam" in path.name or path.suffix == ".adp") and style.get(path.suffix[1:]):
            params = load(path)
            want = style[path.suffix[1:]]
            assert params.style == want or (want, len(params.elements)) == ("fs", 1)
            assert path.name in params.card().files
            found += 1
    assert found >= 30


def test_citation_of_a_published_file():
    card = describe("eam", lammps_potential("Cu_mishin1.eam.alloy"))
    assert card.citation == "Mishin, Phys Rev B, 63, 224106 (2001)" and card.elements == ("Cu",)


def test_concentration_dependent_eam_is_refused():
    with pytest.raises(PotentialFileError, match=r"FeCr.cdeam, line 7009: .*polynomial of degree 4.*eam/cd"):
        load(lammps_potential("FeCr.cdeam"))
    with pytest.raises(PotentialFileError, match="CuTa_eam.poly: is neither a setfl nor a funcfl file"):
        load(lammps_potential("CuTa_eam.poly"))


def test_subset_and_order_of_elements(tmp_path):
    params = toy("fs", ("H", "Cu", "Ni"))
    path = write_setfl(params, tmp_path / "x.fs")
    some = load(path, elements=("Ni", "H"))
    assert some.elements == ("Ni", "H") and same(some.select(("H",)), params.select(("H",)))
    atoms = Atoms("NiHNi", [[0, 0, 0], [1.8, 0, 0], [0, 2.2, 0]])
    a, b = (get_calculator("eam", path, e, threads=1).evaluate([atoms])[0] for e in (None, ("Ni", "H")))
    assert a["energy"] == pytest.approx(b["energy"], abs=1e-14)
    with pytest.raises(OptionError, match="has no Fe .its elements: H, Cu, Ni"):
        load(path, elements=("Fe",))


def test_funcfl_subset_has_its_own_grid(tmp_path):
    """As in LAMMPS, only the files in use decide about the common grid."""
    paths = tuple(write_funcfl(toy_funcfl(e, s), tmp_path / e) for e, s in (("Cu", 1.0), ("Ni", 1.2)))
    assert same(load(paths, elements=("Cu",)), load(paths[0]))
    assert load(paths).dr == pytest.approx(0.12) and load(paths[0]).dr == 0.1


# -- refusals -------------------------------------------------------------------------------------------------


def test_requests(tmp_path):
    path = write_setfl(toy("alloy"), tmp_path / "a")
    funcfl = write_funcfl(toy_funcfl("Cu"), tmp_path / "b")
    with pytest.raises(SpecError, match="needs a model"):
        get_calculator("eam")
    with pytest.raises(OptionError, match="no option 'form'"):
        get_calculator("eam", path, form="fs")
    with pytest.raises(OptionError, match="style is 'meam'; allowed are alloy, fs"):
        get_calculator("eam", path, style="meam")
    with pytest.raises(OptionError, match="no arguments"):
        get_calculator("eam(3)")
    with pytest.raises(PotentialFileError, match="does not exist"):
        load(tmp_path / "absent.eam")
    with pytest.raises(PotentialFileError, match="funcfl files only, when several are given"):
        load((path, path))
    with pytest.raises(PotentialFileError, match="must be different chemical symbols"):
        load((funcfl, funcfl))
    for style in ("fs", "he", "adp", "funcfl"):
        with pytest.raises(PotentialFileError):
            load(path, options={"style": style})
    with pytest.raises(OptionError, match="cannot be written in style 'alloy'; possible: fs, he"):
        write_setfl(toy("fs"), tmp_path / "c", "alloy")


LINES = {  # name: (line, its new text, line of the error, what it says)
    "count": (4, "3 Cu Ni", 4, "names 2 elements and announces 3"),
    "symbol": (4, "2 Cu Cheese", 4, "'Cheese' is not a chemical symbol"),
    "twice": (4, "2 Cu Cu", 4, "names an element twice"),
    "huge": (5, "31 0.09 1000000000000 0.1 4.48", 5, "'1000000000000' is not a whole number"),
    "short": (5, "31 0.09 46 0.1", 5, "has 4 values"),
    "step": (5, "31 0.09 46 -0.1 4.48", None, "the step of the radial table is -0.1"),
    "cutoff": (5, "31 0.09 46 0.1 9.0", None, "the cutoff is 9 A, but the tables end at 4.5 A"),
    "nan": (8, "1 2 nan 4 5", 8, "'nan' is not a finite number"),
    "value": (8, "1 2 3,0 4 5", 8, "'3,0' is not a finite number"),
    "large": (8, "1 2 1e200 4 5", None, "not finite or beyond 1e100"),
    "missing": (8, "1 2 3 4", 14, "the line goes on"),
    "header": (6, "copper", 6, "found 'copper'"),
}


@pytest.mark.parametrize("case", LINES)
def test_errors_name_the_line(case, tmp_path):
    line, text, where, message = LINES[case]
    path = write_setfl(toy("alloy"), tmp_path / "x.eam.alloy")
    lines = path.read_text().split("\n")
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(PotentialFileError, match="expected") as error:
        load(path)
    assert message in str(error.value) and error.value.line == where


def test_truncated_and_extended(tmp_path):
    path = write_setfl(toy("adp"), tmp_path / "x.adp")
    text = path.read_text()
    path.write_text(text + "1.0\n")
    with pytest.raises(PotentialFileError, match="1 values are left over"):
        load(path)
    path.write_text(text[: len(text) // 2])
    with pytest.raises(PotentialFileError, match="the file ends; expected 46 values"):
        load(path)
    path.write_text("")
    with pytest.raises(PotentialFileError, match="neither"):
        load(path)


def test_contradicting_tables():
    good = toy("adp")
    fields = {n: getattr(good, n) for n in EamParams.__dataclass_fields__}
    for change, message in (
        ({"style": "alloy"}, "only ADP"),
        ({"dipole": None}, "only ADP"),
        ({"headers": good.headers[:1]}, "1 headers for 2"),
        ({"density": good.density[:1]}, "tables of shapes"),
        ({"r_phi": good.r_phi * np.array([[1.0, 2.0], [3.0, 4.0]])[:, :, None]}, "not symmetric"),
        ({"style": "meam"}, "none of"),
        ({"embedding": good.embedding[:, :4]}, "4 points; at least 5"),
        ({"rho_min": np.nan}, "lowest density"),
    ):
        with pytest.raises(TableError, match=message):
            EamParams(**{**fields, **change})


# -- mutants --------------------------------------------------------------------------------------------------


def small(style: str, folder) -> bytes:
    """A valid file of a few hundred bytes."""
    if style == "funcfl":
        return write_funcfl(toy_funcfl("Cu"), folder / "f").read_bytes()
    elements = ("Cu",) if style == "he" else ("Cu", "Ni")
    return write_setfl(toy(style, elements, nr=10, nrho=7), folder / "s").read_bytes()


@pytest.mark.parametrize("style", ["alloy", "fs", "he", "adp", "funcfl"])
@given(data=st.data())
def test_mutants_load_or_are_refused(style, data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    path = folder / f"mutant.{style}"
    path.write_bytes(data.draw(mutants(small(style, folder))))
    try:
        part = read_file(path)
        params = load(path)
    except PotentialFileError:
        return
    again = (
        write_funcfl(part, folder / "again") if not isinstance(part, EamParams) else write_setfl(part, folder / "again")
    )
    assert same(load(again), params)
    atoms = Atoms([params.elements[k % len(params.elements)] for k in range(3)], positions=2.2 * np.eye(3))
    results = []
    for backend in ("torch", "warp"):
        try:
            results.append(get_calculator("eam", path, backend=backend, threads=1).evaluate([atoms])[0])
        except CalczooError:
            return
    size = max(1.0, np.abs(results[0]["forces"]).max(), abs(results[0]["energy"]))
    assert abs(results[0]["energy"] - results[1]["energy"]) <= 1e-10 * size
