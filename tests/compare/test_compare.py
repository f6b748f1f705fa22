"""Engine parity: rows, verdicts, structures and what the reference codes are told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from calczoo.cli import execute
from calczoo.compare import Counterpart, compare, counterpart, default_structures
from calczoo.core.errors import BackendUnavailable, OptionError, SpecError
from calczoo.family import ModelRequest
from calczoo.registry import family_names, requests
from tests.data import lammps_potential


def structures(symbol: str = "Mo", a: float = 3.15) -> list:
    one = bulk(symbol, "bcc", a, cubic=True)
    one.rattle(0.1, seed=1)
    slab = one.copy()
    slab.pbc = (True, True, False)
    return [one, slab]


@pytest.fixture(scope="module")
def report():
    return compare("snap:Mo-linear", structures(), natural=False, devices=["cpu"], repeats=1, threads=1)


def test_rows_of_a_native_family(report):
    labels = [row.engine for row in report]
    assert labels == [
        "torch float64", "torch float64 batched", "warp float64", "warp float64 batched",
        "torch float32", "torch float32 batched", "warp float32", "warp float32 batched",
    ]  # fmt: skip
    assert report.ok and report.structures == 2 and report.atoms == 4
    assert report["torch float64"].verdict == "base" and report["warp float64"].verdict == "ok"
    assert report["warp float64"].forces < 1e-10 and 0.0 < report["warp float32"].forces < 1e-3
    assert all(row.seconds_per_atom > 0.0 and row.ratio > 0.0 for row in report)
    assert json.loads(json.dumps(report.to_dict()))["rows"][2]["ok"] is True
    text = str(report)
    assert "max |dF| eV/A" in text and "warp float32 batched" in text


def test_a_reference_that_differs():
    """A shifted calculator is found out, with the structure; bounds may be widened."""

    class Shifted(EMT):
        def calculate(self, *arguments):
            super().calculate(*arguments)
            self.results["energy"] += 1e-5

    many = [bulk("Cu", cubic=True)]
    many[0].rattle(0.05, seed=1)
    common = {"natural": False, "repeats": 0, "devices": ["cpu"]}
    spec = lammps_potential("Cu_mishin1.eam.alloy")
    found = compare("eam", many, spec, references=[Shifted(), EMT], **common)
    row = found["EMT"]
    assert not found.ok and row.verdict == "DIFFERS" and "structure 0 (Cu4)" in row.where
    assert any("largest violation" in note for note in found.notes())
    assert row.seconds_per_atom is None and row.ratio is None
    assert compare("eam", many, spec, references=[EMT], energy=9.0, forces=9.0, stress=9.0, **common).ok


def test_a_reference_that_fails_costs_its_row_only():
    def broken():
        raise RuntimeError("no such luck")

    def absent():
        raise BackendUnavailable("not here")

    found = compare("snap:Mo-linear", structures(), references=[broken, absent], natural=False, repeats=0,
                    devices=["cpu"])  # fmt: skip
    assert not found.ok and found["broken"].verdict == "FAILED" and "no such luck" in found["broken"].reason
    assert found["absent"].verdict == "FAILED"  # it was asked for
    assert found["warp float64"].ok


def test_the_natural_reference_is_told_when_it_is_not_there():
    """Only that of a plug-in that is not installed is n/a, which is not a failure."""
    found = compare("snap:Mo-linear", structures(), repeats=0, devices=["cpu"])
    row = found["lammps include file"]
    if "lammps" not in family_names():
        assert row.verdict == "n/a" and "pip install plugins/calczoo-lammps" in row.reason
    assert found.ok
    other = compare("mtp:Mo", structures(), repeats=0, devices=["cpu"])
    assert "--with" in other["reference code"].reason and other.ok


def test_a_reference_that_answers_in_another_shape_costs_its_row_only():
    class Longer(EMT):
        def calculate(self, *arguments):
            super().calculate(*arguments)
            self.results["forces"] = np.zeros((len(self.atoms) + 1, 3))

    many = [bulk("Cu", cubic=True)]
    found = compare("mtp:Cu", many, references=[Longer()], natural=False, repeats=0, devices=["cpu"])
    assert found["Longer"].verdict == "FAILED" and "shape" in found["Longer"].reason and found["warp float64"].ok


def test_the_way_out_of_double_counting_works_for_compare():
    """-o allow=KIND belongs to the sum, not to a family of it."""
    common = {"elements": ["Cu"], "natural": False, "repeats": 0, "devices": ["cpu"]}
    spec = "zbl(1.0, 2.0) + zbl(1.0, 2.5)"
    with pytest.raises(SpecError, match="allow=nuclear repulsion"):
        compare(spec, [bulk("Cu")], **common)
    assert compare(spec, [bulk("Cu", a=2.5)], allow="nuclear repulsion", **common).ok


def test_agreement_on_nothing_but_zeros_is_told():
    """A short repulsion is compared where it acts; structures of the user's where it does not are named so."""
    common = {"elements": ["Cu"], "natural": False, "repeats": 0, "devices": ["cpu"]}
    found = compare("zbl(1.0, 2.0)", **common)
    assert not found.empty and found["warp float32"].forces > 0.0
    found = compare("zbl(1.0, 2.0)", [bulk("Cu")], **common)
    assert found.empty and found.to_dict()["empty"] and "nothing was compared" in str(found)


def test_wrong_arguments():
    for options, text in (({"repeats": -1}, "repeats"), ({"energy": -1.0}, "bound"), ({"references": [3]}, "a spec")):
        with pytest.raises(OptionError, match=text):
            compare("snap:Mo-linear", structures(), natural=False, **options)
    with pytest.raises(OptionError, match="no structure"):
        compare("snap:Mo-linear", [], natural=False)
    with pytest.raises(SpecError):
        compare("snap:Mo-linear +")


# -- structures -------------------------------------------------------------------------------------------------


def test_default_structures():
    """Fixed by the seed; of each element and the mixture, none of them with energies of another."""

    def energies(many):
        out = []
        for atoms in many:
            copy = atoms.copy()
            copy.calc = EMT()
            out.append(copy.get_potential_energy())
        return out

    many = default_structures(energies, ["Cu", "Au"])
    again = default_structures(energies, ["Cu", "Au"])
    assert len(many) == 21 and all(np.array_equal(a.positions, b.positions) for a, b in zip(many, again, strict=True))
    assert {tuple(sorted(set(a.get_chemical_symbols()))) for a in many} == {("Cu",), ("Au",), ("Au", "Cu")}
    assert any(not a.pbc.any() for a in many) and any(a.pbc.any() and not a.pbc.all() for a in many)
    assert any(np.linalg.det(a.cell.array) < 0.0 for a in many if a.pbc.all())
    assert all(a.info["name"] for a in many)


# -- reference codes --------------------------------------------------------------------------------------------


def told(spec: str, elements: list[str], model=None, asked=None) -> Counterpart | str:
    return counterpart(requests(spec, model, asked, {}, {}), elements)


def commands(found: Counterpart | str) -> tuple[str, list[str]]:
    assert isinstance(found, Counterpart), found
    return found.options["pair_style"], found.options["pair_coeff"]


def test_commands_of_the_families():
    path = lammps_potential("CuNi.eam.alloy")
    assert commands(told("eam", ["Ni", "Cu"], str(path))) == ("eam/alloy", [f"* * {path} Ni Cu"])
    adp, fs, sw = lammps_potential("AlCu.adp"), lammps_potential("AlFe_mm.eam.fs"), lammps_potential("GaN.sw")
    assert commands(told("eam", ["Al", "Cu"], str(adp)))[0] == "adp"
    assert commands(told("eam", ["Al", "Fe"], str(fs)))[0] == "eam/fs"
    assert commands(told("sw", ["Ga", "N"], str(sw))) == ("sw", [f"* * {sw} Ga N"])
    tersoff = lammps_potential("SiC.tersoff")
    assert commands(told("tersoff", ["Si", "C"], str(tersoff))) == ("tersoff", [f"* * {tersoff} Si C"])
    cu, ni = lammps_potential("Cu_u3.eam"), lammps_potential("Ni_u3.eam")
    assert commands(told("eam", ["Cu", "Ni"], (str(cu), str(ni)))) == ("eam", [f"1 1 {cu}", f"2 2 {ni}"])
    assert commands(told("zbl(4.0, 4.8)", ["W", "Be"])) == ("zbl 4 4.7999999999999998", ["1 1 74 74", "1 2 74 4",
                                                                                         "2 2 4 4"])  # fmt: skip


def test_commands_of_sums_tables_and_include_files():
    path, table = lammps_potential("CuNi.eam.alloy"), lammps_potential("W_He_JW2013.table")
    style, coefficients = commands(told(f"0.5*eam:'{path}' + zbl(1, 2)", ["Cu", "Ni"]))
    assert style == "hybrid/scaled 0.5 eam/alloy 1 zbl 1 2"
    assert coefficients == [f"* * eam/alloy {path} Cu Ni", "1 1 zbl 29 29", "1 2 zbl 29 28", "2 2 zbl 28 28"]
    style, coefficients = commands(told(f"table:'{table}'(pair=W-He)", ["W", "He"]))
    assert style == "hybrid/overlay table spline 10000"
    assert coefficients == [f"1 2 table {table} WHe", "1 1 none", "2 2 none"]
    snap = lammps_potential("Ta06A.snap")
    found = told("snap", ["Ta"], str(snap))
    assert isinstance(found, Counterpart) and found.model == str(snap) and found.elements is None
    pair = told("snap", ["Ta"], str(lammps_potential("Ta06A.snapcoeff")))
    assert commands(pair)[1][0].endswith("Ta06A.snapparam Ta")
    assert "include file" in str(told("snap:Mo + zbl(1, 2)", ["Mo"]))
    assert "no reference code is known for 'mtp'" in str(told("mtp:Mo", ["Mo"]))


def test_commands_of_families_by_name(tmp_path):
    """Families that only hand on the names of their files."""
    library, parameters, gap = (tmp_path / n for n in ("library.meam", "SiC.meam", "gap.xml"))
    for path in (library, parameters, gap):
        path.write_text("x")
    meam = ModelRequest("meam", (str(library), str(parameters)))
    assert commands(counterpart([(1.0, meam)], ["Si", "C"])) == ("meam", [f"* * {library} Si C {parameters} Si C"])
    found = counterpart([(1.0, ModelRequest("gap", str(gap)))], ["Si"])
    assert isinstance(found, Counterpart) and (found.family, found.model) == ("quippy", str(gap))


# -- the command ------------------------------------------------------------------------------------------------


def test_command(tmp_path, capsys):
    from ase.io import write

    file = tmp_path / "many.extxyz"
    write(file, structures() * 3)
    arguments = ["compare", "snap:Mo-linear", str(file), "--no-natural", "--repeats", "0", "--device", "cpu"]
    assert execute([*arguments, "--limit", "2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] and data["structures"] == 2 and len(data["rows"]) == 8
    assert execute([*arguments, "--forces", "0"]) == 2
    out = capsys.readouterr().out
    assert "DIFFERS" in out and "engines differ or failed" in out
    assert execute([*arguments, "--with", "nosuchfamily:x"]) == 2
    assert "FAILED" in capsys.readouterr().out
    assert execute(["compare", "snap:Mo-linear", "--limit", "2"]) == 1
    assert execute(["compare", "nosuchfamily:x", str(file)]) == 1
