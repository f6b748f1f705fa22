"""Errors on a data set: published truths, formulas, what is missing; reading of the files."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write
from ase.units import GPa

from calczoo import get_calculator
from calczoo.core.errors import UnsupportedElement
from calczoo_validation import PropertyResult, Status
from calczoo_validation.datasets import load_dataset
from calczoo_validation.engine import Evaluator
from calczoo_validation.frame_errors import histogram, measures, sums_of
from calczoo_validation.properties.dataset import PROPERTY, Options
from calczoo_validation.registry import Context
from calczoo_validation.results import PropertyFailure
from data import data_folder, lammps_potential, mlearn, shared

# Energy MAE, RMSE (meV/atom) and force MAE, RMSE (eV/A) of the published SNAP and qSNAP on the published test sets of
# Zuo et al. 2020, doi:10.1021/acs.jpca.9b08723, evaluated with LAMMPS.
PUBLISHED = {
    ("Ni", ""): (0.78, 1.17, 0.0377, 0.0847), ("Ni", ".quadratic"): (0.78, 1.04, 0.0308, 0.0748),
    ("Cu", ""): (0.53, 0.75, 0.0371, 0.0829), ("Cu", ".quadratic"): (0.56, 0.77, 0.0241, 0.0549),
    ("Li", ""): (1.03, 1.31, 0.0277, 0.0379), ("Li", ".quadratic"): (0.73, 0.85, 0.0328, 0.0443),
    ("Mo", ""): (5.48, 9.25, 0.2065, 0.3760), ("Mo", ".quadratic"): (2.77, 4.04, 0.1838, 0.3327),
    ("Si", ""): (6.44, 8.06, 0.1327, 0.2053), ("Si", ".quadratic"): (3.81, 5.51, 0.1157, 0.1769),
    ("Ge", ""): (6.59, 9.75, 0.1884, 0.2951), ("Ge", ".quadratic"): (6.45, 10.55, 0.1330, 0.2005),
}  # fmt: skip


def run(calculator, frames, **options):
    result = PropertyResult("dataset", "Errors on a data set")
    PROPERTY.run(Context(Evaluator(calculator), None, options=Options(**options), frames=frames, dataset="x"), result)
    result.finish()
    return result


def frozen(atoms, **results):
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def emt_frames(rng, n=8, symbols=("Cu", "Au"), change=None):
    """Rattled and strained cells with EMT's own results, changed by `change(results, k)`."""
    out = []
    for k in range(n):
        atoms = bulk("Cu", cubic=True, a=3.7)
        atoms.symbols[: k % 3] = symbols[-1]
        atoms.set_cell(atoms.cell * (1 + 0.01 * rng.normal()), scale_atoms=True)
        atoms.rattle(0.08, rng=rng)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        out.append(frozen(atoms, **(change(results, k) if change else results)))
        out[-1].info["config_type"] = "even" if k % 2 == 0 else "odd"
    return out


@pytest.mark.parametrize(("element", "kind"), PUBLISHED)
def test_published_snap_errors_are_reproduced_within_their_rounding(element, kind):
    path = lammps_potential(f"{element}_Zuo_JPCA2020{kind}.snap")
    calculator = get_calculator("snap", model=path, elements=[element])
    result = run(calculator, mlearn(element, "test"))
    got = [result[n].value for n in ("energy_raw_mae", "energy_raw_rmse", "force_mae", "force_rmse")]
    assert got == pytest.approx(PUBLISHED[element, kind], abs=0.0051) and result.status is Status.OK
    assert got[2:] == pytest.approx(PUBLISHED[element, kind][2:], abs=5.1e-5)
    assert len(json.dumps(result.data)) < 200_000


def test_a_perfect_model_has_no_error(rng):
    result = run(EMT(), emt_frames(rng))
    for name in ("energy_mae", "energy_raw_mae", "force_mae", "stress_mae", "force_max"):
        assert result[name].value == pytest.approx(0, abs=1e-9), name
    for name in ("energy_r2", "force_r2", "stress_r2", "force_cosine"):
        assert result[name].value == pytest.approx(1, abs=1e-9), name
    assert result.status is Status.OK


def test_the_zero_of_energy_of_each_element_is_free_and_nothing_else(rng):
    def shifted(results, k):
        return {**results, "energy": results["energy"] + 3.0 * (4 - k % 3) - 7.0 * (k % 3)}

    result = run(EMT(), emt_frames(rng, change=shifted))
    assert result["energy_mae"].value == pytest.approx(0, abs=1e-6)
    assert result["energy_raw_mae"].value > 100
    assert result.data["offsets_eV_atom"] == pytest.approx({"Cu": -3.0, "Au": 7.0})


def test_errors_are_the_mean_and_root_mean_square_over_components(rng):
    noise = [0.1 * rng.normal(size=(4, 3)) for _ in range(8)]

    def worse(r, k):
        return {**r, "forces": r["forces"] + noise[k], "stress": r["stress"] + 2 * GPa}

    frames = emt_frames(rng, change=worse)
    result = run(EMT(), frames)
    every = np.concatenate([n.ravel() for n in noise])
    assert result["force_mae"].value == pytest.approx(np.abs(every).mean())
    assert result["force_rmse"].value == pytest.approx(np.sqrt((every**2).mean()))
    assert result["force_max"].value == pytest.approx(np.abs(every).max())
    assert result["stress_mae"].value == pytest.approx(2.0)
    x = np.concatenate([f.calc.results["forces"].ravel() for f in frames])
    assert result["force_r2"].value == pytest.approx(1 - (every**2).sum() / ((x - x.mean()) ** 2).sum())
    odd = np.concatenate([noise[k].ravel() for k in range(1, 8, 2)])
    assert result["force_mae_group_odd"].value == pytest.approx(np.abs(odd).mean())
    gold = np.concatenate([noise[k][: k % 3].ravel() for k in range(8)])
    assert result["force_mae_element_Au"].value == pytest.approx(np.abs(gold).mean())
    worst = result.data["worst_force"][0]["index"]
    assert worst == max(range(8), key=lambda k: np.abs(noise[k]).mean())


def test_error_bars_are_those_of_independent_structures(rng):
    """All components of a structure share one error: the error bar must not shrink with the number of atoms."""
    errors = rng.exponential(1.0, 60)
    pairs = [(np.zeros(300), np.full(300, e)) for e in errors]
    value, spread = measures(sums_of(pairs))["mae"]
    assert value == pytest.approx(errors.mean())
    assert spread == pytest.approx(errors.std() / np.sqrt(60), rel=0.1)


def test_structures_that_cannot_be_done_flag_every_number(rng, wrapped):
    def no_gold(results, atoms):
        if "Au" in atoms.symbols:
            raise UnsupportedElement("Au", 0, "emt:Cu", ["Cu"])
        return results

    result = run(wrapped(change=no_gold), emt_frames(rng, 9))
    assert result["structures"].value == 3 and result.data["failed"] == [1, 2, 4, 5, 7, 8]
    assert {v.status for v in result.values} == {Status.SUSPICIOUS}
    assert "3 of 9 structures" in result.reason and "unsupported element" in result.reason
    with pytest.raises(PropertyFailure, match="none of the 2") as error:
        run(wrapped(change=no_gold), emt_frames(rng, 9)[1:3])
    assert error.value.status is Status.UNSUPPORTED


def test_frames_with_part_of_the_results_say_so(rng):
    frames = emt_frames(rng, 8, change=lambda r, k: r if k < 5 else {"energy": r["energy"], "forces": r["forces"]})
    result = run(EMT(), frames)
    assert result["stress_mae"].note == "5 of 8 structures have a reference"
    only_energy = emt_frames(rng, 8, change=lambda r, k: {"energy": r["energy"]})
    result = run(EMT(), only_energy)
    assert "energy_mae" in result and "force_mae" not in result and any("no forces" in n for n in result.notes)
    assert "stress_mae" not in run(EMT(), frames, stress=False)


def test_a_calculator_without_stress_and_molecules_work(rng, no_stress):
    result = run(no_stress(), emt_frames(rng, 3))
    assert result["stress_mae"].value == pytest.approx(0, abs=1e-3)
    pair = bulk("Cu").repeat(2)
    pair.pbc = False
    pair.calc = EMT()
    frame = frozen(pair, energy=pair.get_potential_energy(), forces=pair.get_forces())
    assert run(EMT(), [frame])["force_mae"].value == pytest.approx(0, abs=1e-9)


def test_one_structure_cannot_fix_an_offset(rng):
    result = run(EMT(), emt_frames(rng, 1))
    assert result["energy_mae"].status is Status.SUSPICIOUS and result["energy_mae"].error is None


def test_histogram_keeps_every_component():
    x, y = np.array([0.0, 1.0, -1.0, 0.5]), np.array([0.1, 9.0, -0.9, 0.4])
    h = histogram(x, y, "eV/A")
    assert sum(h["counts"]) == 4 and h["outside"] == 1 and h["span"] == pytest.approx(1.05)


def test_same_input_same_bytes(rng):
    frames = emt_frames(rng)
    assert json.dumps(run(EMT(), frames).to_dict()) == json.dumps(run(EMT(), frames).to_dict())


# -- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a.extxyz", "a.xyz", "a.extxyz.gz", "a.extxyz.xz", "a.traj", "a.db", "a.json", "ase.json"]
)
def test_formats_give_the_same_frames(tmp_path, rng, name):
    frames, path = emt_frames(rng, 3), tmp_path / name
    if name == "a.json":
        rows = [{"symbols": a.get_chemical_symbols(), "positions": a.positions.tolist(), "cell": a.cell.tolist(),
                 "energy": a.calc.results["energy"], "forces": a.calc.results["forces"].tolist(),
                 "stress": a.calc.results["stress"].tolist()} for a in frames]  # fmt: skip
        path.write_text(json.dumps(rows))
    elif name in ("a.db", "ase.json"):
        database = connect(path, type="db" if name == "a.db" else "json")
        for atoms in frames:
            database.write(atoms)
    elif name.endswith(".gz"):
        write(tmp_path / "a.extxyz", frames)
        path.write_bytes(gzip.compress((tmp_path / "a.extxyz").read_bytes()))
    else:
        write(path, frames, format="extxyz" if "xyz" in name else None)
    got = load_dataset(path)
    assert len(got) == 3
    for a, b in zip(got, frames, strict=True):
        assert a.calc.results["energy"] == pytest.approx(b.calc.results["energy"], abs=1e-6)
        np.testing.assert_allclose(a.calc.results["forces"], b.calc.results["forces"], atol=1e-6)
        np.testing.assert_allclose(a.calc.results["stress"], b.calc.results["stress"], atol=1e-6)


def test_named_sets_come_from_the_data_folder(monkeypatch):
    shared("data/mlearn_zuo2020")
    monkeypatch.setenv("CALCZOO_DATA", str(data_folder()))
    frames = load_dataset("mlearn:Mo:test")
    assert len(frames) == 23 and "PBE" in frames[0].info["level_of_theory"]
    frames[0].calc.results["forces"][:] = 7.0
    frames[0].positions[:] = 0.0
    again = load_dataset("mlearn:Mo:test")[0]  # the kept ones are not touched
    assert np.ptp(again.calc.results["forces"]) > 1.0 and np.ptp(again.positions) > 1.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mlearn:Mo", "write mlearn:ELEMENT:train"), ("mlearn:Mo:dev", "write mlearn:ELEMENT:train"),
        ("mlearn:Xe:test", "unknown element"), ("mlearn:Mo:test", "CALCZOO_DATA"), ("nowhere.xyz", "no such file"),
    ],
)  # fmt: skip
def test_missing_data_says_how_to_get_it(monkeypatch, name, message):
    monkeypatch.delenv("CALCZOO_DATA", raising=False)
    with pytest.raises(ValueError, match=message):
        load_dataset(name)


def test_an_empty_data_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CALCZOO_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="not found below CALCZOO_DATA"):
        load_dataset("mlearn:Mo:test")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.extxyz", "no number\nat all\n", "cannot be read"), ("a.json", "{}", "expected a list"),
        ("a.json", '[{"symbols": ["Cu"]}]', "frame 0"),
        ("vasprun.xml", '<!DOCTYPE x [<!ENTITY a "b">]>', "document type"),
        ("a.json", '[{"symbols": ["Cu"], "positions": [[0,0,0]], "energie": 1}]', "unknown key 'energie'"),
        ("a.json", '[{"symbols": ["Cu"], "positions": [[0,0,0]]}]', "no reference results"),
        ("vasprun.xml", "<modeling><broken>", "cannot be read"), ("OUTCAR", "nothing", "OUTCAR"),
    ],
)  # fmt: skip
def test_broken_files_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_dataset(tmp_path / name)


def test_a_vasp_folder_is_read_in_order_with_its_settings(tmp_path):
    source = shared("data/mtp/mlip2_test_examples/00.convert_vasp_outcar/OUTCAR")
    for name in ("b/2", "a/1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "OUTCAR").write_bytes(source.read_bytes())
    frames = load_dataset(tmp_path)
    half = len(frames) // 2
    assert half and [f.info["source"] for f in frames] == ["a/1/OUTCAR"] * half + ["b/2/OUTCAR"] * half
    assert frames[0].info["level_of_theory"].startswith("VASP")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no OUTCAR"):
        load_dataset(tmp_path / "empty")
