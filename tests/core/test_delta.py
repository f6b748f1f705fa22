"""Delta learning: base + correction, how a correction is trained, and how it is told from other potentials."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from calczoo import add, delta, describe, get_calculator, scale
from calczoo.compositions.deltas import RECORD, CorrectionAlone, base_record, difference, other_base
from calczoo.core.errors import DataError, OptionError, SpecError
from calczoo.files.cards import read_card, write_card
from calczoo.fitting import run_fit
from calczoo.fitting.data import Dataset

CPU = {"device": "cpu", "threads": 1}
BASE = "zbl(3.0, 4.2)"
REFERENCE = "snap:Mo-linear"
SETTINGS = {"rcut": 4.7, "twojmax": 4, "ridge": 1e-8}


def structures(count=24, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        atoms = bulk("Mo", "bcc", 3.0 + 0.3 * rng.random(), cubic=True).repeat((2, 1, 1))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
        atoms.rattle(0.15, seed=k)
        atoms.info["config_type"] = "even" if k % 2 == 0 else "odd"
        out.append(atoms)
    return out


def labelled(spec=REFERENCE, count=24, seed=0):
    many = structures(count, seed)
    for atoms, result in zip(many, get_calculator(spec, **CPU).evaluate(many), strict=True):
        atoms.calc = SinglePointCalculator(atoms, **{k: result[k] for k in ("energy", "forces", "stress")})
    return many


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A correction to a repulsion, and what trained it."""
    folder = tmp_path_factory.mktemp("delta")
    write(folder / "train.extxyz", labelled())
    write(folder / "test.extxyz", labelled(count=6, seed=5))
    report = run_fit(
        "snap", folder / "train.extxyz", folder / "test.extxyz", out=folder / "correction", options=SETTINGS,
        delta_base=BASE,
    )  # fmt: skip
    return folder, report


# -- the sum -------------------------------------------------------------------------------------------------


def test_base_and_correction_are_added():
    atoms = structures(1)[0]
    parts = [get_calculator(s, **CPU).evaluate([atoms])[0] for s in ("mtp:Mo", "0.1*zbl(3.0, 4.0)")]
    by_hand = [get_calculator("delta(mtp:Mo, 0.1*zbl(3.0, 4.0))", **CPU), delta("mtp:Mo", "0.1*zbl(3.0, 4.0)", **CPU),
               delta(get_calculator("mtp:Mo", **CPU), scale("zbl(3.0, 4.0)", 0.1, **CPU).model)]  # fmt: skip
    for calc in by_hand:
        got = calc.evaluate([atoms])[0]
        for key in ("energy", "forces", "stress"):
            np.testing.assert_allclose(got[key], parts[0][key] + parts[1][key], rtol=0, atol=1e-11)
        assert calc.card.name == "delta(mtp:Mo, 0.1*zbl(3, 4))" and calc.card.family == "delta"
        assert calc.card.extra["base"] == "mtp:Mo" and calc.card.elements == ("Mo",)


def test_specs_with_sums_inside():
    atoms = structures(1)[0]
    spec = "0.5*delta(snap:Mo-linear + ewald(Mo=0.0), 'snap:Mo-quadratic') + 0.1*zbl(1.0, 2.0)"
    calc = get_calculator(spec, allow={"nuclear repulsion"}, **CPU)
    one, two = (get_calculator(s, **CPU).get_potential_energy(atoms) for s in ("snap:Mo-linear", "snap:Mo-quadratic"))
    repulsion = get_calculator("0.1*zbl(1.0, 2.0)", elements="Mo", **CPU).get_potential_energy(atoms)
    assert calc.get_potential_energy(atoms) == pytest.approx(0.5 * (one + two) + repulsion, abs=1e-10)


def test_interface():
    calc = get_calculator("delta(mtp:Mo, 0.1*zbl(3.0, 4.0))", **CPU)
    atoms = structures(1)[0]
    want = calc.get_potential_energy(atoms)
    for twin in (copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        assert twin.get_potential_energy(atoms) == want
    matrix = calc.get_hessian(atoms)
    assert calc.hessian_info["method"] == "analytic"
    np.testing.assert_allclose(matrix, calc.get_hessian(atoms, method="differences"), rtol=0, atol=1e-4)
    single = get_calculator("delta(mtp:Mo, 0.1*zbl(3.0, 4.0))", dtype="float32", backend="torch", **CPU)
    assert single.get_potential_energy(atoms) == pytest.approx(want, abs=1e-3)


@pytest.mark.parametrize("spec, message", [
    ("delta(snap:Mo)", "two models"),
    ("delta", "two models"),
    ("delta:Mo", "two models"),
    ("delta(snap:Mo, 3)", "two models"),
    ("delta(snap:Mo, snap:Mo, force=maybe)", "force is"),
    ("delta(snap:Mo, snap:Mo, fast=true)", "no option 'fast'"),
    ("delta(mtp:Mo, snap:Ni)", "no element in common"),
])  # fmt: skip
def test_wrong_specs(spec, message):
    with pytest.raises((OptionError, SpecError), match=message):
        get_calculator(spec, **CPU)


# -- training ------------------------------------------------------------------------------------------------


def test_difference_of_a_data_set():
    data, base = Dataset.from_atoms(labelled(count=3)), get_calculator(BASE, elements="Mo", **CPU)
    data = data.without_stress("odd", [3, 4])
    data.structures[0].calc.results["charges"] = np.ones(4)
    left = difference(data, base)
    for k, own in enumerate(base.evaluate(data.structures)):
        assert left.energies[k] == pytest.approx(data.energies[k] - own["energy"])
        np.testing.assert_allclose(left.forces[k], data.forces[k] - own["forces"])
        np.testing.assert_allclose(left.stresses[k], data.stresses[k] - own["stress"])
        assert left.structures[k].calc.results["energy"] == left.energies[k]
    assert np.isnan(left.stresses[1][[3, 4]]).all() and np.isfinite(left.stresses[1][:3]).all()
    assert left.groups == data.groups and left.sha256 != data.sha256 and "minus zbl" in left.name
    np.testing.assert_array_equal(left.structures[0].calc.results["charges"], np.ones(4))


def test_partial_data_and_a_base_without_stress():
    many = labelled(count=2)
    del many[0].calc.results["energy"], many[1].calc.results["forces"], many[1].calc.results["stress"]
    left = difference(Dataset.from_atoms(many), get_calculator(BASE, elements="Mo", **CPU))
    assert np.isnan(left.energies[0]) and left.forces[1] is None and left.stresses[1] is None
    poor = get_calculator(BASE, elements="Mo", **CPU)
    poor.implemented_properties = ["energy", "forces"]
    with pytest.raises(DataError, match="has no stress to subtract"):
        difference(Dataset.from_atoms(many), poor)


def test_a_trained_correction_gives_the_reference_back(fitted):
    folder, report = fitted
    correction = folder / "correction.snapcoeff"
    calc = delta(BASE, correction.with_suffix(".snap"), elements="Mo", **CPU)
    held = labelled(count=6, seed=5)
    errors = [np.abs(got["forces"] - atoms.calc.results["forces"]).mean()
              for atoms, got in zip(held, calc.evaluate(held), strict=True)]  # fmt: skip
    told = report.to_dict()["errors"]["test"]["groups"]["all"]["forces"]["mae"]
    assert np.mean(errors) == pytest.approx(told, rel=1e-6)  # errors of the difference are those of the sum
    typical = np.mean([np.abs(atoms.calc.results["forces"]).mean() for atoms in held])
    assert told < 0.3 * typical
    record = report.result.card.extra[RECORD]
    assert record["name"] == "zbl(3, 4.2)" and record["spec"] == BASE and record["elements"] == ["Mo"]
    assert read_card(folder / "correction.json").extra[RECORD] == record
    assert describe(correction.with_suffix(".snap")).summary.startswith("correction to zbl(3, 4.2)")


def test_the_card_tells_the_base(fitted):
    file = fitted[0] / "correction.snap"
    with pytest.warns(CorrectionAlone, match=r"alone it is no potential: use 'delta\(zbl\(3.0, 4.2\), "):
        alone = get_calculator(file, **CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = [delta(BASE, file, elements="Mo", **CPU), delta(BASE, alone, elements="Mo", **CPU),
                 get_calculator(f"delta({BASE}, {file})", elements="Mo", **CPU),
                 get_calculator(f"{BASE} + snap:{file}", elements="Mo", **CPU),
                 delta(BASE, file, elements="Mo", dtype="float32", **CPU)]  # fmt: skip
    atoms = structures(1)[0]
    energies = [c.get_potential_energy(atoms) for c in right]
    np.testing.assert_allclose(energies, energies[0], rtol=0, atol=1e-3)
    for wrong in ("zbl(3.0, 4.3)", "0.5*zbl(3.0, 4.2)", "snap:Mo", f"{BASE} + 0.01*snap:Mo-linear"):
        with pytest.raises(SpecError, match=r"correction to zbl\(3, 4.2\).*energies of clusters differ.*force=True"):
            delta(wrong, file, elements="Mo", allow={"nuclear repulsion"}, **CPU)
    forced = delta("zbl(3.0, 4.3)", file, force=True, elements="Mo", **CPU)
    assert np.isfinite(forced.get_potential_energy(atoms))
    assert get_calculator(f"delta(zbl(3.0, 4.3), {file}, force=true)", elements="Mo", **CPU)
    with pytest.warns(CorrectionAlone):
        get_calculator(f"snap:{file} + zbl(3.0, 4.3)", elements="Mo", **CPU)
    with pytest.warns(CorrectionAlone):
        add(get_calculator("ewald(Mo=0.1)", **CPU), file, **CPU)


def test_a_base_that_cannot_tell():
    """Where no cluster can be evaluated, names and files decide."""
    salt = get_calculator("ewald", **CPU)  # wants initial charges
    record = base_record(salt, "ewald", ["Na", "Cl"])
    assert record["energies"] is None and other_base(record, salt.model) == ""
    assert "another name" in other_base(record, get_calculator("ewald(Na=1, Cl=-1)", **CPU).model)


def test_other_families_and_the_command_line(fitted, tmp_path, capsys):
    from calczoo.cli import execute

    out = tmp_path / "mine"
    options = [x for k, v in SETTINGS.items() for x in ("-o", f"{k}={v}")]
    command = ["fit", "snap", "--train", str(fitted[0] / "train.extxyz"), "--base", BASE, "--out", str(out)]
    assert execute([*command, *options]) == 0
    assert read_card(out.with_suffix(".json")).extra[RECORD]["spec"] == BASE
    assert execute(["fit", "snap", "--train", str(fitted[0] / "train.extxyz"), "--delta-base", "snp:Mo"]) == 1
    assert "snap" in capsys.readouterr().err


def test_any_card_can_tell(tmp_path):
    """The record survives the JSON of cards."""
    from dataclasses import replace

    card = describe("snap:Mo")
    record = base_record(get_calculator("snap:Mo", **CPU), "snap:Mo", ["Mo"])
    assert len(record["energies"]) == 5 and np.isfinite(record["energies"]).all()
    back = read_card(write_card(replace(card, extra={RECORD: record}), tmp_path / "card.json"))
    assert back.extra[RECORD] == record and other_base(back.extra[RECORD], get_calculator("snap:Mo", **CPU).model) == ""
