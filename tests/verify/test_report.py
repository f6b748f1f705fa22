"""run_checks, its report, and what becomes of calculators that misbehave as a whole."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.io import read

from calczoo.core.errors import OptionError
from calczoo.verify import CHECKS, CheckResult, Tolerances, VerificationReport, grade, run_checks, worse
from verify import toys

FAST = ["species", "permutation", "inversion", "determinism", "reuse", "batch", "empty"]


def test_grades_are_those_of_openkim():
    eps = 2.22e-16
    for letter, score in (("A", 7.4), ("B", 7.6), ("B", 9.9), ("C", 10.1), ("D", 12.6), ("D", 14.9), ("F", 15.1)):
        assert grade(eps * 10**score) == letter
    assert grade(0.0) == "A"
    assert grade(float("nan")) == grade(float("inf")) == "F"
    assert worse("C", "B") and not worse("B", "B") and not worse("A", "B")


def test_report_is_json_and_table(tmp_path):
    seen = []
    report = run_checks(
        toys.Good,
        ["Cu"],
        names=FAST,
        quick=True,
        progress=lambda name, k, n: seen.append((name, k, n)),
        save_to=tmp_path,
    )
    assert report.ok
    assert [r.name for r in report] == FAST == [s[0] for s in seen]
    assert seen[-1][1:] == (len(FAST) - 1, len(FAST))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["ok"] is True and len(data["results"]) == len(FAST)
    assert report["batch"].status == "n/a" and "evaluate" in report["batch"].reason
    table = report.table()
    assert table.row_count == len(FAST)
    assert "inversion: pass" in str(report)
    frames = read(tmp_path / "inversion.extxyz", index=":")
    assert {a.info["label"] for a in frames} == {"Cu cluster", "Cu crystal"}


def test_same_seed_same_configurations(tmp_path):
    for k, seed in enumerate((1, 1, 2)):
        run_checks(toys.Good, "Cu,Ni", names=["permutation"], seed=seed, save_to=tmp_path / str(k))
    texts = [(tmp_path / str(k) / "permutation.extxyz").read_text() for k in range(3)]
    assert texts[0] == texts[1] != texts[2]


def test_report_with_non_finite_details_is_strict_json():
    result = CheckResult("x", "fail", value=float("inf"), details={"a": np.float64("nan"), "b": np.arange(2), 3: (1,)})
    report = VerificationReport(("Cu",), 0, True, "float64", (result,))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["results"][0]["value"] == "inf"
    assert data["results"][0]["details"] == {"a": "nan", "b": [0, 1], "3": [1]}
    assert not report.ok and report.failed == (result,)
    with pytest.raises(KeyError, match="no check 'y'"):
        report["y"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["forcs"]}, "forcs"),
        ({"elements": ["Cx"]}, "Cx"),
        ({"elements": []}, "empty"),
        ({"dtype": "float16"}, "float16"),
        ({"make_calculator": 3}, "make_calculator is 3"),
        ({"float32": 3}, "float32 is 3"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(OptionError, match=message):
        run_checks(**{"make_calculator": toys.Good, "elements": ["Cu"], **arguments})


class Explodes(toys.Good):
    def evaluate_one(self, atoms):
        raise ZeroDivisionError("no such number")


class Declines(toys.Good):
    def evaluate_one(self, atoms):
        raise PropertyNotImplementedError("not for you")


class GivesNan(toys.Good):
    def extra_energy(self, atoms, i, j, v):
        return np.nan


class WrongShape(toys.Good):
    def evaluate_one(self, atoms):
        results = super().evaluate_one(atoms)
        return {**results, "forces": results["forces"][:-1]}


def _broken_factory():
    raise OSError("no parameter file")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Explodes, "ZeroDivisionError: no such number"),
        (GivesNan, "not finite"),
        (WrongShape, "shape"),
        (toys.ChangesItsInput, "changed the positions"),
        (_broken_factory, "OSError: no parameter file"),
    ],
)
def test_errors_of_the_calculator_become_failures(make, message):
    report = run_checks(make, ["Cu"], names=["permutation", "forces"], quick=True)
    assert [r.status for r in report] == ["fail", "fail"]
    assert all(message in r.reason for r in report)
    assert report["forces"].grade == "F"


def test_a_calculator_that_declines_everything_is_not_ok():
    report = run_checks(Declines, ["Cu"], names=["species", "forces"], quick=True)
    assert report["forces"].status == "n/a" and "not for you" in report["forces"].reason
    assert report["species"].status == "fail"
    assert not report.ok


class EnergyOnly(Calculator):
    implemented_properties = ["energy"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": toys.Good().evaluate_one(self.atoms)["energy"]}


def test_missing_properties_are_not_applicable():
    report = run_checks(EnergyOnly, ["Cu"], names=["forces", "stress", "dimer", "inversion", "nve"], quick=True)
    assert [r.status for r in report] == ["n/a", "n/a", "pass", "pass", "n/a"]
    assert "does not compute forces" in report["forces"].reason
    assert "no forces" in report["dimer"].reason


def test_an_instance_is_accepted():
    report = run_checks(toys.Good(), ["Cu"], names=["inversion", "reuse", "threads", "determinism"], quick=True)
    assert {r.name: r.status for r in report} == {
        "inversion": "pass",
        "reuse": "n/a",
        "threads": "n/a",
        "determinism": "pass",
    }


def test_float32_profile_and_own_tolerances():
    names = ["permutation", "objectivity", "forces", "nve"]
    report = run_checks(toys.Single, ["Cu"], names=names, quick=True, dtype="float32")
    assert report.ok, str(report)
    assert report["nve"].status == "n/a"
    assert not run_checks(toys.Single, ["Cu"], names=names[1:2], quick=True).ok
    loose = Tolerances(energy=1e-4, forces=1e-2, stress=1e-2)
    assert run_checks(toys.Single, ["Cu"], names=names[1:2], quick=True, tolerances=loose).ok


def test_many_elements_quickly():
    report = run_checks(toys.TakesAnything, [*"HCNOFPSK", "Fe"], names=["permutation"], quick=True)
    assert report.ok
    assert "3 of 9 elements" in report["permutation"].reason


def test_emt():
    report = run_checks(EMT, ["Cu"], names=["species", "forces", "dimer", "overlap"], quick=True)
    assert report["forces"].grade == "A"
    assert report["dimer"].status == "fail"  # its neighbour list ends before its cutoff function does
    assert "at 5.8768" in report["dimer"].reason
    assert report["overlap"].status == "fail"


def test_a_new_file_is_a_new_check():
    assert all(name == check.name for name, check in CHECKS.items())
    assert len({c.order for c in CHECKS.values()}) == len(CHECKS)


def test_import_is_light():
    code = "import sys, calczoo.verify; print([m for m in ('torch', 'pytest', 'rich', 'warp') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_periodic_input_is_left_alone():
    atoms = Atoms("Cu2", positions=[[9, 9, 9], [0, 0, 0]], cell=[5, 5, 5], pbc=True)
    before = atoms.copy()
    from calczoo.verify.context import raw_result

    raw_result(toys.Good(), atoms, ("energy", "forces", "stress"))
    assert atoms == before and atoms.calc is None
