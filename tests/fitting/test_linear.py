"""Compressed least squares, error tables and data sets, by hand and against dense solutions."""

from __future__ import annotations

import lzma

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from calczoo.core.errors import DataError, FitError, OptionError
from calczoo.core.units import EV_PER_A3_TO_GPA
from calczoo.fitting import run_fit
from calczoo.fitting.data import Dataset, read_dataset
from calczoo.fitting.errors import compare
from calczoo.fitting.linear import Block, Solver, solve

RNG = np.random.default_rng(7)
N = 9


def blocks(sizes, n=N):
    out = []
    for m in sizes:
        rows, targets = RNG.normal(size=(m, n)) * 10.0 ** np.arange(n), RNG.normal(size=m)
        block = Block(n)
        for part in np.array_split(np.arange(m), 7):
            block.add(rows[part], targets[part])
        out.append((rows, targets, block))
    return out


def test_compressed_solution_equals_the_dense_one():
    many = blocks([4, 30, 500])
    weights = [3.0, 0.1, 1.0]
    dense = np.vstack([w * a for w, (a, _, _) in zip(weights, many, strict=True)])
    target = np.concatenate([w * b for w, (_, b, _) in zip(weights, many, strict=True)])
    scale = np.linalg.norm(dense, axis=0)
    expected = np.linalg.lstsq(dense / scale, target, rcond=None)[0] / scale
    x = solve([(w, block) for w, (_, _, block) in zip(weights, many, strict=True)])
    assert np.allclose(x * scale, expected * scale, rtol=0, atol=1e-12)


def test_ridge_equals_extra_rows():
    ((rows, targets, block),) = blocks([60])
    scale = np.linalg.norm(rows, axis=0)
    dense = np.vstack([rows / scale, np.sqrt(1e-3) * np.eye(N)])
    expected = np.linalg.lstsq(dense, np.concatenate([targets, np.zeros(N)]), rcond=None)[0]
    assert np.allclose(Solver.of([(1.0, block)]).solve(1e-3) * scale, expected, atol=1e-12)


def test_residual_norms_survive_compression():
    ((rows, targets, block),) = blocks([400])
    x = RNG.normal(size=N) / np.linalg.norm(rows, axis=0)
    assert block.n_rows == 400 and len(block.factor) < 400
    assert block.rms(x) == pytest.approx(np.sqrt(np.mean((rows @ x - targets) ** 2)), rel=1e-12)
    merged = Block.merged([(1.0, block), (2.0, blocks([50])[0][2])])
    assert merged.n_rows == 450


def test_group_weight_draws_the_fit_towards_its_group():
    many = blocks([40, 40])
    errors = []
    for weight in (1.0, 100.0):
        x = solve([(weight, many[0][2]), (1.0, many[1][2])])
        errors.append([b.rms(x) for _, _, b in many])
    assert errors[1][0] < errors[0][0] and errors[1][1] > errors[0][1]


def test_what_cannot_be_solved():
    with pytest.raises(FitError, match="weight above zero"):
        solve([(0.0, blocks([5])[0][2])])
    with pytest.raises(FitError, match="not finite"):
        Block(2).add(np.array([[1.0, np.nan]]), np.array([0.0]))
    with pytest.raises(FitError, match="ridge"):
        solve([(1.0, blocks([20])[0][2])], -1.0)


def test_columns_without_data_get_zero():
    block = Block(2)
    block.add(np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([3.0, 6.0]))
    assert np.allclose(solve([(1.0, block)]), [3.0, 0.0])


# -- data ----------------------------------------------------------------------------------------------------


def structure(energy=-1.0, force=0.0, group="a", stress=None, n=1):
    atoms = bulk("Cu", cubic=True)[:n]
    atoms.cell, atoms.pbc = [3.6, 3.6, 3.6], True
    atoms.info["config_type"] = group
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.full((n, 3), force), stress=stress)
    return atoms


def test_error_table_by_hand():
    data = Dataset.from_atoms([structure(-2.0, n=2), structure(-1.0, 1.0, "b", np.zeros(6))])
    predictions = [
        {"energy": -1.998, "forces": np.zeros((2, 3))},
        {"energy": -1.003, "forces": np.array([[1.0, 1.0, 2.0]]), "stress": np.array([1.0, 0, 0, 0, 0, 0])},
    ]
    table = compare(data, predictions)
    assert list(table.rows) == ["a", "b", "all"]
    assert table.get("energy", "mae", "a") == pytest.approx(1.0)  # 2 meV over two atoms
    assert table.get("energy", "mae") == pytest.approx(2.0)
    assert table.get("energy", "rmse") == pytest.approx(np.sqrt((1.0 + 9.0) / 2))
    assert table.get("forces", "rmse") == pytest.approx(np.sqrt(1.0 / 9))
    assert table.get("forces", "mae", "b") == pytest.approx(1.0 / 3)
    assert table.get("stress", "mae") == pytest.approx(EV_PER_A3_TO_GPA / 6)
    assert np.isnan(table.get("stress", "mae", "a"))
    assert table.to_dict()["units"]["energy"] == "meV/atom"


def test_data_set_from_a_compressed_file(tmp_path):
    many = [structure(-1.0 - k, group=g) for k, g in enumerate("aabbb")]
    write(tmp_path / "d.extxyz", many, format="extxyz")
    with lzma.open(tmp_path / "d.extxyz.xz", "wt") as f:
        f.write((tmp_path / "d.extxyz").read_text())
    data = read_dataset(tmp_path / "d.extxyz.xz")
    assert data.groups == tuple("aabbb") and np.allclose(data.energies, [-1, -2, -3, -4, -5])
    assert data.elements == ("Cu",) and "a 2, b 3" in data.describe() and data.sha256 in data.describe()
    assert Dataset.from_atoms(many).sha256 == Dataset.from_atoms(list(many)).sha256


def test_folds_hold_every_structure_once_and_every_group_evenly():
    data = Dataset.from_atoms([structure(group="a" if k < 10 else "b") for k in range(35)])
    folds = data.folds(5, seed=3)
    assert sorted(k for part in folds for k in part) == list(range(35))
    assert all(sum(k < 10 for k in part) == 2 for part in folds)
    assert folds == data.folds(5, seed=3) != data.folds(5, seed=4)
    sample = data.sample(7)
    assert sample.groups.count("a") == 2 and sample.groups.count("b") == 5 and data.sample(99) is data


def test_unknown_stress_components_are_left_out():
    data = Dataset.from_atoms([structure(group="a", stress=np.arange(6.0)), structure(group="b", stress=np.ones(6))])
    masked = data.without_stress("a", (3, 4, 5))
    assert np.array_equal(np.isfinite(masked.stresses[0]), [1, 1, 1, 0, 0, 0])
    assert np.isfinite(data.stresses[0]).all() and np.isfinite(masked.stresses[1]).all()
    zero = {"energy": -1.0, "forces": np.zeros((1, 3)), "stress": np.zeros(6)}
    assert compare(masked, [zero, zero]).get("stress", "n") == 9


@pytest.mark.parametrize("name,content,word", [("d.traj", "x", "unknown suffix"), ("d.xyz", "zzz", "cannot be read")])
def test_unreadable_data(tmp_path, name, content, word):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=word):
        read_dataset(tmp_path / name)


def test_data_without_reference_values():
    with pytest.raises(DataError, match="neither energy nor forces"):
        Dataset.from_atoms([Atoms("Cu")])
    bad = structure()
    bad.calc.results["forces"] = np.full((1, 3), np.nan)
    with pytest.raises(DataError, match="not finite"):
        Dataset.from_atoms([bad])
    with pytest.raises(DataError, match="is not a file"):
        read_dataset("nowhere.xyz")


def test_structures_without_a_group_counted_twice():
    atoms = [bulk("Cu"), bulk("Cu")]
    for a, e in zip(atoms, (0.0, 1.0), strict=True):
        a.calc = SinglePointCalculator(a, energy=e)
    atoms[1].info["config_type"] = "warm"
    data = Dataset.from_atoms(atoms)
    table = compare(data, [{"energy": 0.0}, {"energy": 0.0}])
    assert table.rows["all"]["energy"] == {"n": 2, "mae": pytest.approx(500.0), "rmse": pytest.approx(1000 * 0.5**0.5)}


def test_a_fit_was_lost_for_a_folder_that_takes_no_files(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="nothing can be written"):
        run_fit("snap", tmp_path / "absent.extxyz", out=tmp_path / "file" / "fitted")
