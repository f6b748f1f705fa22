"""Fitting SNAP: rows against finite differences, known coefficients recovered, files and cards."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from calczoo import describe, get_calculator
from calczoo.calculator import ZooCalculator
from calczoo.core.errors import DataError, FitError, OptionError
from calczoo.families.snap.design import Design
from calczoo.families.snap.fit import fit
from calczoo.families.snap.load import MODELS, build
from calczoo.families.snap.params import SnapParams
from calczoo.files.cards import write_card
from calczoo.fitting import run_fit
from calczoo.registry import ModelRequest

RNG = np.random.default_rng(11)


def known(quadratic: bool, elements=("Mo", "Nb"), twojmax=2) -> SnapParams:
    k = 5
    n = 1 + k + (k * (k + 1) // 2 if quadratic else 0)
    scale = np.concatenate([[1.0], np.full(k, 0.05), np.full(n - 1 - k, 2e-4)])
    return SnapParams(
        elements=elements,
        radii=np.full(len(elements), 0.5),
        weights=np.array([1.0, 0.8])[: len(elements)],
        coefficients=RNG.normal(size=(len(elements), n)) * scale,
        rcutfac=4.4,
        twojmax=twojmax,
        quadraticflag=quadratic,
    )


def structures(count: int, elements=("Mo", "Nb")):
    out = []
    for k in range(count):
        atoms = bulk("Mo", "bcc", 3.0 + 0.3 * RNG.random(), cubic=True).repeat((2, 1, 1))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + RNG.normal(0, 0.03, (3, 3))), scale_atoms=True)
        atoms.rattle(0.15, seed=k)
        atoms.symbols = RNG.choice(elements, len(atoms))
        atoms.info["config_type"] = "even" if k % 2 == 0 else "odd"
        out.append(atoms)
    return out


def model_of(params: SnapParams):
    return build(params, ModelRequest("snap", device="cpu", threads=1))


def labelled(params: SnapParams, many):
    for atoms, result in zip(many, ZooCalculator(model_of(params)).evaluate(many), strict=True):
        given = {key: result[key] for key in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **given)
    return many


@pytest.mark.parametrize("quadratic", [False, True])
def test_rows_times_coefficients_are_the_model(quadratic):
    params = known(quadratic)
    (atoms,) = structures(1)
    linear = replace(params, quadraticflag=False, coefficients=params.coefficients[:, :6])
    rows = Design(params, model_of(linear)).rows(atoms)
    result = ZooCalculator(model_of(params)).evaluate([atoms])[0]
    x = params.coefficients.ravel()
    assert rows.energy @ x == pytest.approx(result["energy"], abs=1e-10)
    assert np.allclose(rows.forces @ x, result["forces"].ravel(), atol=1e-10)
    assert np.allclose(rows.stress @ x, result["stress"], atol=1e-12)


@pytest.mark.parametrize("quadratic", [False, True])
def test_force_and_stress_rows_are_derivatives_of_the_energy_row(quadratic):
    params = known(quadratic)
    (atoms,) = structures(1)
    design = Design(params, model_of(replace(params, quadraticflag=False, coefficients=params.coefficients[:, :6])))
    rows, h = design.rows(atoms), 1e-4

    def energy(changed):
        return design.rows(changed).energy

    for n, axis in ((0, 0), (2, 1), (3, 2)):
        plus, minus = atoms.copy(), atoms.copy()
        plus.positions[n, axis] += h
        minus.positions[n, axis] -= h
        numeric = -(energy(plus) - energy(minus)) / (2 * h)
        assert np.allclose(rows.forces[3 * n + axis], numeric, atol=1e-5 * max(1.0, np.abs(numeric).max()))
    strain = np.zeros((3, 3))
    strain[1, 2] = strain[2, 1] = h / 2
    plus, minus = atoms.copy(), atoms.copy()
    plus.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    minus.set_cell(atoms.cell.array @ (np.eye(3) - strain), scale_atoms=True)
    numeric = (energy(plus) - energy(minus)) / (2 * h) / atoms.get_volume()
    assert np.allclose(rows.stress[3], numeric, atol=1e-6 * max(1.0, np.abs(numeric).max()))


@pytest.mark.parametrize("quadratic", [False, True])
def test_known_coefficients_are_recovered(quadratic):
    params = known(quadratic)
    data = labelled(params, structures(40))
    result = fit(
        data[:30], data[30:], params.elements, quadratic, rcut=4.4, twojmax=2, weights={"Nb": 0.8}, energy_weight=100.0,
        stress_weight=10.0, ridge=0.0,
    )  # fmt: skip
    assert np.allclose(result.params.coefficients, params.coefficients, rtol=1e-5, atol=1e-8)
    for part in ("train", "test"):
        assert result.errors[part].get("energy") < 1e-6 and result.errors[part].get("forces", "rmse") < 1e-8


def test_a_list_is_chosen_by_cross_validation_without_the_test_set():
    params = known(False, ("Mo",))
    data = labelled(params, structures(30, ("Mo",)))
    options = {"rcut": [3.6, 4.4, 5.0], "twojmax": 2, "energy_weight": [10.0, 100.0], "ridge": [1e-12, 1e-2]}
    one = fit(data[:20], data[20:], **options)
    assert one.settings["rcut"] == 4.4 and one.settings["ridge"] == 1e-12
    spoiled = [a.copy() for a in data[20:]]
    for atoms in spoiled:
        atoms.calc = SinglePointCalculator(atoms, energy=9.0, forces=np.ones((len(atoms), 3)))
    other = fit(data[:20], spoiled, **options)
    assert np.array_equal(one.params.coefficients, other.params.coefficients)


def test_group_weights_decide_who_is_fitted_well():
    params = known(True, ("Mo",))
    data = labelled(params, structures(24, ("Mo",)))
    errors = []
    for weights in ({"even": 100.0}, {"odd": 100.0}):
        result = fit(
            data, rcut=4.4, twojmax=0, energy_weight=100.0, stress_weight=1.0, ridge=0.0, group_weights=weights
        )
        errors.append([result.errors["train"].get("energy", "rmse", g) for g in ("even", "odd")])
    assert errors[0][0] < errors[1][0] and errors[0][1] > errors[1][1]


def test_weights_of_one_kind_of_a_group():
    from calczoo.families.snap.fit_rows import group_weight

    groups = {"even": 3.0, "even:stress": 0.0}
    assert [group_weight(groups, "even", k) for k in ("energy", "stress")] == [3.0, 0.0]
    assert group_weight(groups, "odd", "energy") == 1.0


def test_a_zbl_term_is_subtracted_and_belongs_to_the_model(tmp_path):
    params = known(False, ("Mo",))
    data = structures(24, ("Mo",))
    calc = get_calculator("zbl(1.0, 3.5)", device="cpu")
    for atoms, a, b in zip(data, ZooCalculator(model_of(params)).evaluate(data), calc.evaluate(data), strict=True):
        given = {key: a[key] + b[key] for key in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **given)
    result = fit(
        data, rcut=4.4, twojmax=2, energy_weight=100.0, stress_weight=1.0, ridge=0.0, zbl_inner=1.0, zbl_outer=3.5
    )
    assert np.allclose(result.params.terms[0][1].coefficients, params.coefficients, rtol=1e-5, atol=1e-8)
    files = result.write(tmp_path / "m")
    written = get_calculator("snap", model=files[2], device="cpu").evaluate(data[:3])
    assert all(
        w["energy"] == pytest.approx(a.get_potential_energy(), abs=1e-6) for w, a in zip(written, data, strict=False)
    )


def test_run_fit_writes_files_and_card(tmp_path):
    params = known(False, ("Mo",))
    data = labelled(params, structures(16, ("Mo",)))
    write(tmp_path / "train.xyz", data[:12], format="extxyz")
    write(tmp_path / "test.xyz", data[12:], format="extxyz")
    seen = []
    report = run_fit(
        "snap", tmp_path / "train.xyz", tmp_path / "test.xyz", "Mo", tmp_path / "new" / "m.snap", False,
        {"rcut": 4.4, "twojmax": 2, "level_of_theory": "made up", "ridge": 1e-12},
        lambda what, done: seen.append(done),
    )  # fmt: skip
    assert [f.name for f in report.files] == ["m.snapcoeff", "m.snapparam", "m.snap", "m.json"]
    assert seen == sorted(seen) and seen[-1] == 1.0
    told = json.loads(json.dumps(report.to_dict()))
    assert told["errors"]["test"]["groups"]["all"]["energy"]["n"] == 4 and told["settings"]["rcut"] == 4.4
    card = json.loads(report.files[3].read_text())
    assert card["level_of_theory"] == "made up" and "sha256" in card["training_data"]
    assert card["files"]["m.snapcoeff"] and card["errors"]["train"]
    assert report.table().row_count == 6
    again = describe("snap", report.files[2])
    assert again.level_of_theory == "made up" and again.elements == ("Mo",)


def test_errors_of_a_fit():
    data = labelled(known(False, ("Mo",)), structures(6, ("Mo",)))
    with pytest.raises(OptionError, match="no option 'colour'"):
        fit(data, colour=1)
    with pytest.raises(OptionError, match="rcut"):
        fit(data, rcut="long")
    with pytest.raises(DataError, match="holds Mo"):
        fit(data, elements=("W",))
    with pytest.raises(FitError, match="weight above zero"):
        fit(data, rcut=4.4, twojmax=0, energy_weight=0.0, force_weight=0.0, stress_weight=0.0, ridge=0.0)
    with pytest.raises(OptionError, match="cannot be trained"):
        run_fit("zbl", "x.xyz")


def test_options_of_a_command_line():
    data = labelled(known(False, ("Mo",)), structures(12, ("Mo",)))
    text = {"rcut": "3.6, 4.4", "twojmax": "2", "group_weights": "even=2, odd=0.5", "ridge": "1e-12"}
    same = {"rcut": [3.6, 4.4], "twojmax": 2, "group_weights": {"even": 2.0, "odd": 0.5}, "ridge": 1e-12}
    a, b = (fit(data, **options) for options in (text, same))
    assert np.array_equal(a.params.coefficients, b.params.coefficients)
    with pytest.raises(OptionError, match="name=number"):
        fit(data, group_weights="even")


def test_same_data_same_coefficients():
    data = labelled(known(False, ("Mo",)), structures(10, ("Mo",)))
    a, b = (fit(data, rcut=4.4, twojmax=2).params.coefficients for _ in range(2))
    assert np.array_equal(a, b)


def test_the_card_of_another_family_was_taken_for_its_own(tmp_path):
    for suffix in (".snap", ".snapcoeff", ".snapparam"):
        (tmp_path / f"Mo-linear{suffix}").write_bytes((MODELS / f"Mo-linear{suffix}").read_bytes())
    card = replace(describe("snap:Mo"), family="mtp", summary="a moment tensor potential")
    write_card(card, tmp_path / "Mo-linear.json")
    assert "moment" not in describe("snap", model=tmp_path / "Mo-linear.snap").summary
