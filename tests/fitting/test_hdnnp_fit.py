"""Training of neural network potentials of generation 2: optimisers, resuming, committees, files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import write

from calczoo import get_calculator
from calczoo.calculator import ZooCalculator
from calczoo.core.errors import OptionError
from calczoo.families.hdnnp.fit import fit, model_of
from calczoo.families.hdnnp.fit_optimize import LBFGS, Kalman
from calczoo.families.hdnnp.fit_settings import FitSettings
from calczoo.fitting import run_fit
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import evaluate
from calczoo.registry import Committee, Composite
from fitting.hdnnp_made import QUICK, flat, labelled, structures, true_potential


@pytest.fixture(scope="module")
def made():
    return labelled(structures(), true_potential())


# -- training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "epochs", "limit"),
    [("kalman", 40, 0.1), ("adam", 200, 0.5), ("lbfgs", 200, 0.4), ("adam+lbfgs", (50, 100), 0.3)],
)
def test_a_known_potential_is_learned(optimizer, epochs, limit):
    """Errors of forces relative to their size, in a training of a second or two."""
    data = labelled(structures(40), true_potential())
    result = fit(data[:32], data[32:], **{**QUICK, "functions": 0, "optimizer": optimizer, "epochs": epochs})
    scale = np.sqrt(np.mean(np.concatenate([a.get_forces().ravel() for a in data]) ** 2))
    assert result.errors["train"].get("forces", "rmse") < limit * scale
    assert result.errors["test"].get("forces", "rmse") < 2 * limit * scale
    assert result.errors["train"].get("energy", "rmse") < 60 * limit


@pytest.mark.parametrize("decoupled", [False, True])
def test_two_elements(decoupled):
    species = ("Cu", "Au")
    data = labelled(structures(40, species), true_potential(species))
    result = fit(data, **{**QUICK, "functions": 30, "kalman_decoupled": decoupled, "epochs": 12})
    assert result.params.elements == species
    scale = np.sqrt(np.mean(np.concatenate([a.get_forces().ravel() for a in data]) ** 2))
    assert result.errors["train"].get("forces", "rmse") < 0.4 * scale


@pytest.mark.parametrize("optimizer", ["kalman", "adam", "lbfgs"])
def test_resuming_gives_the_uninterrupted_fit(made, tmp_path, optimizer):
    options = {**QUICK, "optimizer": f"{optimizer}+lbfgs", "epochs": (4, 3), "save_every": 1}
    whole = fit(made, **options)

    class Cut(Exception):
        pass

    for stop in (0, 1, 2):  # cut off again and again
        calls = [0]

        def progress(what, done, calls=calls, stop=stop):
            calls[0] += what.startswith(("kalman", "adam", "lbfgs"))
            if calls[0] > stop:
                raise Cut

        with pytest.raises(Cut):
            fit(made, **options, resume=str(tmp_path / "cut.npz"), progress=progress)
    resumed = fit(made, **options, resume=str(tmp_path / "cut.npz"))
    assert np.array_equal(flat(whole), flat(resumed))
    again = fit(made, **options, resume=str(tmp_path / "cut.npz"))  # a finished one: nothing left to do
    assert np.array_equal(flat(whole), flat(again))


def test_a_finished_fit_goes_on_with_more_epochs(made, tmp_path):
    state = str(tmp_path / "s.npz")
    fit(made, **{**QUICK, "epochs": 2}, resume=state)
    more = fit(made, **{**QUICK, "epochs": 5}, resume=state)
    assert np.array_equal(flat(more), flat(fit(made, **{**QUICK, "epochs": 5})))
    for other in ({"seed": 4}, {"nodes": (4,)}, {"energy_weight": 3.0}):
        with pytest.raises(OptionError, match="other data or settings"):
            fit(made, **{**QUICK, **other}, resume=state)
    with pytest.raises(OptionError, match="other data or settings"):
        fit(made[1:], **QUICK, resume=state)
    half = (tmp_path / "s.npz").read_bytes()
    for content in (b"nothing", half[: len(half) // 2]):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(OptionError, match="no state of a fit"):
            fit(made, **QUICK, resume=str(tmp_path / "bad.npz"))


def test_equal_seeds_give_equal_fits(made):
    first, second = fit(made, **QUICK), fit(made, **QUICK)
    assert np.array_equal(flat(first), flat(second))
    assert not np.array_equal(flat(first), flat(fit(made, **{**QUICK, "seed": 1})))


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", ["kalman", "adam", "lbfgs"])
def test_training_on_a_gpu_gives_the_same(made, optimizer):
    options = {**QUICK, "precision": "float64", "optimizer": optimizer, "epochs": 3}
    assert np.allclose(flat(fit(made, **options)), flat(fit(made, **options, device="cuda")), atol=1e-6)


def test_training_stops_when_the_score_gets_no_better(made):
    told = []
    options = {**QUICK, "optimizer": "adam", "learning_rate": 0.5, "epochs": 500, "patience": 3}
    fit(made, **options, progress=lambda what, done: told.append(what))
    assert len(told) < 300


def test_a_committee_is_written_and_read(made, tmp_path):
    result = fit(made, made[:4], **{**QUICK, "committee": 3, "name": "many"}, resume=str(tmp_path / "state.npz"))
    assert isinstance(result.params, Committee) and len(result.params.members) == 3
    weights = [m.models[0].short.flat() for m in result.params.members]
    assert not np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[1], weights[2])
    paths = result.write(tmp_path / "many")
    assert {p.parent.name for p in paths} == {"member_0", "member_1", "member_2"}
    atoms = made[0].copy()
    atoms.calc = get_calculator("hdnnp", model=str(tmp_path / "many"), device="cpu", threads=1, extrapolation="ignore")
    energy = atoms.get_potential_energy()
    assert atoms.calc.results["uncertainty"] > 0
    single = [get_calculator("hdnnp", model=str(tmp_path / "many" / f"member_{k}"), device="cpu", threads=1,
                             extrapolation="ignore") for k in range(3)]  # fmt: skip
    each = [c.evaluate([atoms], ["energy"])[0]["energy"] for c in single]
    assert energy == pytest.approx(np.mean(each), abs=1e-9)
    assert set(result.errors) == {"train", "test"} and "train" in result.card.errors
    less = fit(made, **{**QUICK, "committee": 2, "name": "many"}, resume=str(tmp_path / "state.npz"))
    assert np.array_equal(less.params.members[1].models[0].short.flat(), weights[1])


def test_what_an_earlier_fit_left_was_read_instead_of_the_committee(made, tmp_path):
    """A single potential in the folder hid the committee; a third member of an older one stayed in it."""
    folder, few = tmp_path / "many", {**QUICK, "epochs": 1, "name": "many"}
    fit(made[:4], **few).write(folder)
    (folder / "notes.txt").write_text("mine")
    for count in (3, 2):
        fit(made[:4], **{**few, "committee": count}).write(folder)
        assert len(get_calculator("hdnnp", folder, extrapolation="ignore").model.models) == count
        assert sorted(p.name for p in folder.iterdir()) == [*(f"member_{k}" for k in range(count)), "notes.txt"]


def test_files_are_written_and_read_back(made, tmp_path):
    result = fit(made, **{**QUICK, "name": "mine"})
    paths = result.write(tmp_path / "mine")
    assert {"input.nn", "scaling.data", "weights.029.data", "card.json"} == {p.name for p in paths}
    card = json.loads((tmp_path / "mine" / "card.json").read_text())
    assert card["extra"]["fit"]["functions"] == 14 and card["errors"]["train"]["groups"]["all"]["energy"]["n"] == 20
    atoms = made[0].copy()
    atoms.calc = get_calculator("hdnnp", model=str(tmp_path / "mine"), device="cpu", threads=1)
    expected = evaluate(model_of(result.params, FitSettings()), Dataset.from_structures([atoms]))[0]
    assert atoms.get_potential_energy() == pytest.approx(expected["energy"], abs=1e-9)


def test_a_repulsion_belongs_to_the_model(made, tmp_path):
    options = {**QUICK, "zbl_inner": 0.8, "zbl_outer": 1.7, "contacts": 4, "min_dist": 1.2}
    options |= {"guess_weight": 1.0, "epochs": 40, "validation": 0.0}
    guess = {"volume": 11.7, "bulk_modulus": 140.0, "derivative": 5.0, "structures": 2, "scales": (0.9, 0.8, 0.7)}
    result = fit(made, **options, compression=guess)
    assert isinstance(result.params, Composite) and [name for name, _ in result.params.terms] == ["hdnnp", "zbl"]
    calc = ZooCalculator(model_of(result.params, FitSettings()))
    pairs = [Atoms("Cu2", positions=[[0, 0, 0], [0, 0, d]]) for d in (0.3, 0.6, 1.0, 1.4)]
    energies = [r["energy"] for r in calc.evaluate(pairs, ["energy"])]
    assert (np.diff(energies) < 0).all() and energies[0] > 1000.0
    scan = [bulk("Cu", cubic=True, a=3.6 * s) for s in (1.0, 0.9, 0.8, 0.7)]
    energies = [r["energy"] for r in calc.evaluate(scan, ["energy"])]
    assert energies[3] > energies[2] > energies[1] > energies[0] and energies[3] - energies[0] > 15.0
    result.write(tmp_path / "mine")
    read = get_calculator("hdnnp", model=str(tmp_path / "mine"), device="cpu", threads=1, extrapolation="ignore")
    assert [r["energy"] for r in read.evaluate(scan, ["energy"])] == pytest.approx(energies, abs=1e-8)


def test_run_fit_from_files(made, tmp_path):
    write(tmp_path / "train.extxyz", made[:16], format="extxyz")
    write(tmp_path / "test.extxyz", made[16:], format="extxyz")
    told = []
    options = {**QUICK, "nodes": "4-4", "zetas": "1, 4", "epochs": "2", "group_weights": "odd=2, odd:energy=3"}
    report = run_fit("hdnnp", tmp_path / "train.extxyz", tmp_path / "test.extxyz", out=tmp_path / "out",
                     options=options, progress=lambda what, done: told.append(done))  # fmt: skip
    assert (tmp_path / "out" / "input.nn").is_file() and set(report.result.errors) == {"train", "test"}
    assert told == sorted(told) and told[-1] == 1.0
    assert report.result.params.models[0].short.nodes == (4, 4, 1)


def test_kalman_solves_a_linear_problem_at_once():
    class Linear:
        n_parameters, frames, device = 3, [Atoms("H")] * 8, torch.device("cpu")
        a = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
        b = a @ torch.tensor([1.0, -2.0, 3.0]).double()

        def rows(self, theta, which, atoms=None):
            return self.a[which], self.a[which] @ theta - self.b[which]

        def loss(self, theta, which, gradient=True):
            r = self.a[which] @ theta - self.b[which]
            return float(r @ r), 2.0 * self.a[which].T @ r

    class Frame:
        n_atoms = 1

    problem = Linear()
    problem.frames = [Frame()] * 8
    filter_ = Kalman(start=1e8, fading=1.0, nue=1.0)
    theta = torch.zeros(3).double()
    theta, _ = filter_.epoch(problem, theta, filter_.begin(problem, theta), range(8), [0], 0.0)
    assert torch.allclose(theta, torch.tensor([1.0, -2.0, 3.0]).double(), atol=1e-5)
    theta = torch.zeros(3).double()
    descent = LBFGS()
    arrays = descent.begin(problem, theta)
    for k in range(12):
        theta, _ = descent.epoch(problem, theta, arrays, range(8), [k], 0.0)
    assert torch.allclose(theta, torch.tensor([1.0, -2.0, 3.0]).double(), atol=1e-6)
