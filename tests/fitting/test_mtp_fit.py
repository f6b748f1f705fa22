"""Training of moment tensor potentials: what comes back from made data, resuming, choices, bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from calczoo import get_calculator
from calczoo.calculator import ZooCalculator
from calczoo.core.errors import DataError, FitError, OptionError
from calczoo.core.universal import universal_repulsion
from calczoo.families.mtp.fit import fit
from calczoo.families.mtp.fit_search import Keeper, normalised, start
from calczoo.families.mtp.fit_settings import FitSettings
from calczoo.families.mtp.fit_train import row_weights
from calczoo.families.mtp.levels import untrained
from calczoo.families.mtp.load import build
from calczoo.fitting import run_fit
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import evaluate
from calczoo.fitting.guesses import contacts, lone_pairs
from calczoo.registry import ModelRequest

CUTOFF = 4.4
QUICK = {"level": 6, "cutoff": CUTOFF, "radial_basis_size": 5, "starts": 1, "iterations": 30, "threads": 1}


def true_potential(species=("Cu",), level=6):
    rng = np.random.default_rng(8)
    shape = untrained(level, species, 1.8, CUTOFF, 5)
    return replace(
        shape,
        radial=normalised(rng.normal(size=shape.radial.shape)),
        species=-3.0 + rng.normal(size=len(species)),
        weights=rng.normal(size=shape.n_basis),
    )


def structures(count=24, species=("Cu",), seed=3):
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True, a=3.6 * rng.uniform(0.95, 1.05)).repeat((1, 1, 2))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.set_chemical_symbols(rng.choice(species, len(atoms)).tolist())
        atoms.info["config_type"] = "even" if k % 2 == 0 else "odd"
        out.append(atoms)
    return out


def labelled(many, params):
    model = build(params, ModelRequest("mtp", device="cpu", threads=1))
    model_results = evaluate(model, Dataset.from_structures(many))
    for atoms, result in zip(many, model_results, strict=True):
        atoms.calc = SinglePointCalculator(atoms, **result)
    return many


@pytest.fixture(scope="module")
def made():
    return labelled(structures(), true_potential())


@pytest.mark.parametrize("species", [("Cu",), ("Cu", "Ni")])
def test_a_known_potential_comes_back(species):
    true = true_potential(species)
    data = labelled(structures(30, species), true)
    result = fit(data[:24], data[24:], **{**QUICK, "min_dist": 1.8, "tolerance": 1e-9, "iterations": 60, "ridge": 1e-14,
                                         "starts": 4 if len(species) > 1 else 1})  # fmt: skip
    for part in ("train", "test"):
        assert result.errors[part].get("energy", "rmse") < 0.05
        assert result.errors[part].get("forces", "rmse") < 2e-3


def test_less_weight_on_stress_and_data_without_it(made):
    bare = [a.copy() for a in made]
    for atoms, source in zip(bare, made, strict=True):
        results = {k: source.calc.results[k] for k in ("energy", "forces")}
        atoms.calc = SinglePointCalculator(atoms, **results)
    result = fit(bare, **QUICK)
    assert "stress" not in result.errors["train"].rows["all"]
    forces_only = [a.copy() for a in made]
    for atoms, source in zip(forces_only, made, strict=True):
        atoms.calc = SinglePointCalculator(atoms, forces=source.calc.results["forces"])
    assert fit(forces_only, **QUICK).errors["train"].get("forces", "rmse") < 0.1


def test_resuming_gives_the_uninterrupted_fit(made, tmp_path):
    options = {**QUICK, "starts": 2, "start_atoms": 60, "start_iterations": 4, "save_every": 1, "iterations": 12}
    whole = fit(made, **options, resume=str(tmp_path / "whole.npz"))

    class Cut(Exception):
        pass

    for stop in (2, 5, 9):  # cut off again and again, in the starts and in the search
        calls = [0]

        def progress(what, done, calls=calls, stop=stop):
            calls[0] += 1
            if calls[0] > stop:
                raise Cut

        with pytest.raises(Cut):
            fit(made, **options, resume=str(tmp_path / "cut.npz"), progress=progress)
    resumed = fit(made, **options, resume=str(tmp_path / "cut.npz"))
    assert np.array_equal(whole.params.coefficients(), resumed.params.coefficients())
    again = fit(made, **options, resume=str(tmp_path / "cut.npz"))  # a finished one: nothing left to do
    assert np.array_equal(whole.params.coefficients(), again.params.coefficients())
    with pytest.raises(OptionError, match="other data or settings"):
        fit(made, **{**options, "seed": 4}, resume=str(tmp_path / "cut.npz"))
    half = (tmp_path / "cut.npz").read_bytes()
    for content in (b"nothing", half[: len(half) // 2]):  # half a file was a traceback
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(OptionError, match="no state of a fit"):
            fit(made, **options, resume=str(tmp_path / "bad.npz"))


def test_equal_seeds_give_equal_fits(made):
    options = {**QUICK, "iterations": 3, "starts": 2, "start_iterations": 2}
    first, second = fit(made, **options), fit(made, **options)
    assert np.array_equal(first.params.coefficients(), second.params.coefficients())
    other = fit(made, **{**options, "seed": 1})
    assert not np.array_equal(first.params.coefficients(), other.params.coefficients())


def test_lists_are_chosen_on_held_out_structures(made):
    result = fit(made, **{**QUICK, "level": (2, 6), "search_iterations": 6, "folds": 3, "holdouts": 2})
    tried = result.card.extra["settings_tried"]
    assert [t["level"] for t in tried] == [2, 6] and tried[1]["score"] < tried[0]["score"]
    assert result.settings["level"] == 6 and result.params.level == 6


def test_weights_of_groups_and_kinds(made):
    from calczoo.families.mtp.fit_frames import Frames

    data = Dataset.from_atoms(made)
    frames = Frames.of(data, ("Cu",), CUTOFF)
    s = FitSettings.of(
        {"energy_weight": 50.0, "stress_weight": 8.0, "group_weights": "odd=3, odd:energy=2", "guess_weight": 0.5}
    )
    w = row_weights(frames, s, [])
    n = len(made[0])
    assert np.allclose(w[0][: 3 * n], 1.0) and np.allclose(w[1][: 3 * n], 3.0)
    assert w[0][3 * n] == pytest.approx(50.0 / n) and w[1][3 * n] == pytest.approx(100.0 / n)
    assert np.allclose(w[1][3 * n + 1 :], 24.0 / made[1].get_volume())
    assert np.allclose(row_weights(frames, s, [0.25])[-1][3 * n], 2.0)


def test_guessed_contacts_raise_the_energy_and_keep_above_min_dist(made):
    data = Dataset.from_atoms(made)
    found = [*contacts(data, 6, 1.3, seed=0), *lone_pairs(data, 1.3)]
    again = [*contacts(data, 6, 1.3, seed=0), *lone_pairs(data, 1.3)]
    assert [(g.energy, g.tolerance) for g in found] == [(g.energy, g.tolerance) for g in again] and len(found) > 20
    for guess in found:
        d = guess.atoms.get_all_distances(mic=bool(guess.atoms.pbc.any()))
        assert 1.3 <= d[d > 0].min() < 2.4 and guess.tolerance >= 1.0
        assert guess.energy > (0.0 if guess.bare else min(data.energies))
    assert (np.diff(universal_repulsion(29, 29, np.linspace(0.5, 3, 30))) < 0).all()
    result = fit(made, **{**QUICK, "min_dist": 1.2, "contacts": 6, "iterations": 8, "guess_weight": 10.0})
    assert result.settings["contacts"] == 6 and result.settings["min_dist"] == 1.2
    calc = ZooCalculator(build(result.params, ModelRequest("mtp", device="cpu", threads=1)))
    pairs = [Atoms("Cu2", positions=[[0, 0, 0], [0, 0, d]]) for d in (1.3, 1.5, 1.8, 20.0)]
    energies = [r["energy"] for r in calc.evaluate(pairs, ["energy"])]
    assert energies[0] > energies[1] > energies[2] and energies[0] > energies[3] + 10.0


def test_compressed_guesses_make_the_crystal_resist(made):
    options = {**QUICK, "min_dist": 1.2, "iterations": 8, "guess_weight": 10.0}
    guess = {"volume": 11.7, "bulk_modulus": 140.0, "derivative": 5.0, "structures": 3, "scales": (0.9, 0.8, 0.7, 0.6)}
    result = fit(made, **options, compression=guess)
    model = build(result.params, ModelRequest("mtp", device="cpu", threads=1))
    scan = [bulk("Cu", cubic=True, a=3.6 * s) for s in (1.0, 0.9, 0.8, 0.7)]
    energies = [r["energy"] for r in evaluate(model, Dataset.from_structures(scan))]
    assert energies[-1] > energies[-2] > energies[0] and energies[-1] - energies[0] > 20.0


def test_starts_differ_and_are_normalised():
    shape = (2, 2, 3, 6)
    first, second = start(shape, 0, 0), start(shape, 0, 1)
    assert not np.allclose(first, second) and np.array_equal(second, start(shape, 0, 1))
    assert np.allclose((first**2).sum(axis=(0, 1, 3)), 4.0)


def test_files_are_written_and_read_back(made, tmp_path):
    result = fit(made, **{**QUICK, "name": "mine", "iterations": 4})
    paths = result.write(tmp_path / "mine.mtp")
    assert [p.name for p in paths] == ["mine.mtp", "mine.json", "mine.lammps.txt"]
    assert "mtp-filename  mine.mtp" in paths[2].read_text() and "type 1 = Cu" in paths[2].read_text()
    card = json.loads(paths[1].read_text())
    assert card["extra"]["fit"]["level"] == 6 and card["errors"]["train"]["groups"]["all"]["energy"]["n"] == 24
    atoms = made[0].copy()
    atoms.calc = get_calculator("mtp", model=str(paths[0]), elements=["Cu"], device="cpu", threads=1)
    expected = evaluate(build(result.params, ModelRequest("mtp", device="cpu", threads=1)),
                        Dataset.from_structures([atoms]))[0]  # fmt: skip
    assert atoms.get_potential_energy() == pytest.approx(expected["energy"], abs=1e-9)


def test_run_fit_from_files(made, tmp_path):
    write(tmp_path / "train.extxyz", made[:18], format="extxyz")
    write(tmp_path / "test.extxyz", made[18:], format="extxyz")
    options = {k: v for k, v in QUICK.items() if k != "iterations"} | {"iterations": 3}
    told = []
    report = run_fit("mtp", tmp_path / "train.extxyz", tmp_path / "test.extxyz", out=tmp_path / "out",
                     options=options, progress=lambda what, done: told.append(done))  # fmt: skip
    assert (tmp_path / "out.mtp").is_file() and set(report.result.errors) == {"train", "test"}
    assert told == sorted(told) and told[-1] == 1.0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"levle": 8}, "no option 'levle'"),
        ({"level": 7}, "level"),
        ({"level": "eight"}, "numbers"),
        ({"level": 0}, "at least 1"),
        ({"cutoff": -1.0}, "max_dist"),
        ({"cutoff": float("nan")}, "max_dist"),
        ({"cutoff": 200.0}, "max_dist"),
        ({"min_dist": 5.0}, "smaller"),
        ({"min_dist": 2.9, "basis": "RBChebyshev_repuls"}, "smaller min_dist"),
        ({"basis": "RBTaylor"}, "RBChebyshev"),
        ({"radial_basis_size": 2.5}, "whole number"),
        ({"iterations": 0}, "iterations"),
        ({"starts": True}, "starts"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"energy_weight": ()}, "empty"),
        ({"energy_weight": "a=1"}, "numbers"),
        ({"group_weights": "3"}, "name=number"),
        ({"group_weights": 3}, "name=number"),
        ({"compression": {"bulk": 3}}, "compression"),
        ({"device": "abacus"}, "device"),
        ({"quadratic": True}, "quadratic"),
    ],
)
def test_bad_options(made, options, match):
    with pytest.raises((OptionError, ValueError), match=match):
        fit(made, **{**QUICK, "iterations": 1, **options})


def test_bad_data(made):
    with pytest.raises(DataError, match="no structure"):
        fit([], **QUICK)
    with pytest.raises(DataError, match="Ni"):
        fit(labelled(structures(4, ("Cu", "Ni")), true_potential(("Cu", "Ni"))), elements=["Cu"], **QUICK)
    with pytest.raises(DataError, match="neither energy nor forces"):
        fit([a.copy() for a in made], **QUICK)
    lone = bulk("Cu")
    lone.pbc = False
    lone.calc = SinglePointCalculator(lone, energy=1.0)
    with pytest.raises(OptionError, match="cutoff"):
        fit([lone], **{k: v for k, v in QUICK.items() if k != "cutoff"})
    with pytest.raises(FitError, match="weight"):
        fit(made, **{**QUICK, "energy_weight": 0.0, "force_weight": 0.0, "stress_weight": 0.0})


def test_one_lone_atom_gives_its_energy():
    atom = Atoms("Cu", cell=[15, 15, 15], pbc=True)
    atom.calc = SinglePointCalculator(atom, energy=-1.5, forces=np.zeros((1, 3)))
    result = fit([atom], **QUICK)
    assert result.errors["train"].get("energy") < 1e-6


def test_a_state_is_written_whole(tmp_path):
    keeper = Keeper(str(tmp_path / "deep" / "s.npz"), "key", 2)
    state = keeper.state("a/b", lambda: np.ones((1, 1, 2, 3)))
    state.objectives, state.iteration, state.damping = [3.0, 2.0], 2, 0.1
    keeper.told("a/b", state)
    again = Keeper(str(tmp_path / "deep" / "s.npz"), "key", 2).states["a/b"]
    assert again.objectives == [3.0, 2.0] and again.iteration == 2 and again.damping == 0.1
    assert np.array_equal(again.radial, state.radial) and not list(tmp_path.glob("deep/.s*"))
