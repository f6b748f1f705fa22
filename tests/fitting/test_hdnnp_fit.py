"""Training of neural network potentials of generation 2: derivatives, optimisers, resuming, committees, bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from calczoo import get_calculator
from calczoo.calculator import ZooCalculator
from calczoo.core.errors import DataError, FitError, OptionError
from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.hdnnp import fit_columns
from calczoo.families.hdnnp.fit import fit, model_of
from calczoo.families.hdnnp.fit_columns import Columns
from calczoo.families.hdnnp.fit_frames import Scale, Weights, free_energies, make_frames, targets_of
from calczoo.families.hdnnp.fit_functions import Pool, select
from calczoo.families.hdnnp.fit_network import Forward, Topology
from calczoo.families.hdnnp.fit_optimize import LBFGS, Kalman
from calczoo.families.hdnnp.fit_problem import Problem
from calczoo.families.hdnnp.fit_settings import FitSettings, used_settings
from calczoo.families.hdnnp.load import build
from calczoo.families.hdnnp.networks import activate
from calczoo.families.hdnnp.params import ElementModel, HdnnpParams, Network
from calczoo.families.hdnnp.symmetry import TorchSymmetry
from calczoo.fitting import run_fit
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import evaluate
from calczoo.registry import Committee, Composite, ModelRequest

CUTOFF = 4.4
POOL = Pool(4, 2, 2, (1.0, 4.0))
QUICK = {"cutoff": CUTOFF, "functions": 14, "radial": 4, "etas": 2, "shifts": 2, "zetas": (1, 4), "nodes": (5,),
         "epochs": 4, "threads": 1}  # fmt: skip


def structures(count=20, species=("Cu",), seed=3):
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True, a=3.6 * rng.uniform(0.95, 1.05)).repeat((1, 1, 2 if k % 4 else 1))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.set_chemical_symbols(rng.choice(species, len(atoms)).tolist())
        atoms.info["config_type"] = "even" if k % 2 == 0 else "odd"
        out.append(atoms)
    return out


def network(sizes, rng, scale=0.5):
    letters = "t" * (len(sizes) - 2) + "l"
    flat = Topology(tuple(sizes), letters).start(torch.Generator().manual_seed(int(rng.integers(99))))
    return Network.from_flat(scale * flat.numpy(), sizes[0], sizes[1:], letters)


def true_potential(species=("Cu",), cutoff_type=6):
    rng = np.random.default_rng(8)
    functions = POOL.of(species, CUTOFF, 2.0)
    values = Columns(species, [functions] * len(species), cutoff_type).of(structures(6, species))
    models = []
    for e in range(len(species)):
        table = Scale.of(np.concatenate([b[e].values.numpy() for b in values])).table
        table[:, 3] = np.maximum(table[:, 3], 0.05)
        models.append(ElementModel(functions, table, network((len(functions), 4, 1), rng), energy=-3.0 - e))
    return HdnnpParams(species, tuple(models), cutoff_type=cutoff_type, scaling="sigma", name="hdnnp:true")


def labelled(many, params):
    model = build(params, ModelRequest("hdnnp", device="cpu", threads=1, options={"extrapolation": "ignore"}))
    for atoms, result in zip(many, evaluate(model, Dataset.from_structures(many)), strict=True):
        atoms.calc = SinglePointCalculator(atoms, **result)
    return many


@pytest.fixture(scope="module")
def made():
    return labelled(structures(), true_potential())


def small_problem(data, species, dtype=torch.float64, memory=1e12, letters="tl", nodes=(5,), zbl_free=True):
    data = data if isinstance(data, Dataset) else Dataset.from_atoms(data)
    functions = [POOL.of(species, CUTOFF, 2.0)] * len(species)
    columns = Columns(species, functions, 6)
    weights = Weights(20.0, 1.0, 5.0, {"odd": 2.0})
    values = columns.of(data.structures)
    scales = [Scale.of(np.concatenate([b[e].values.numpy() for b in values])) for e in range(len(species))]
    counts = np.array([[a.get_chemical_symbols().count(e) for e in species] for a in data.structures])
    targets = targets_of(data, counts @ free_energies(data, species, weights), weights)
    frames = make_frames(data.structures, data.groups, targets, columns, scales, torch.device("cpu"), dtype, memory)
    return Problem(frames, [Topology((len(f), *nodes, 1), letters) for f in functions], 0.7)


def start_of(problem, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([t.start(generator) for t in problem.topologies])


# -- symmetry functions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", range(1, 9))
def test_columns_are_those_of_the_reference(kind):
    species = ("Cu", "Au")
    params = true_potential(species, kind)
    atoms = structures(1, species, 5)[0]
    system = System.from_atoms(atoms)
    pairs = find_pairs(system, CUTOFF)
    reference = TorchSymmetry(params)
    g, state = reference.values(system, pairs)
    functions = [m.functions for m in params.models]
    factors = [Scale(m.scaling).factor for m in params.models]
    blocks = Columns(species, functions, kind).of([atoms], factors)[0]
    symbols = np.array(atoms.get_chemical_symbols())
    rng = np.random.default_rng(0)
    w = torch.from_numpy(rng.normal(size=g.shape))
    pulled = reference.pull(system, pairs, state, w)
    forces = torch.zeros(len(atoms), 3, dtype=torch.float64)
    forces.index_add_(0, pairs.j.long(), pulled).index_add_(0, pairs.i.long(), -pulled)
    virial = torch.einsum("pa,pb->ab", pairs.vectors(system), pulled)
    found, strain = torch.zeros_like(forces), torch.zeros(6, dtype=torch.float64)
    for e, (symbol, block) in enumerate(zip(species, blocks, strict=True)):
        mine = np.flatnonzero(symbols == symbol)
        inputs = Scale(params.models[e].scaling).apply(block.values)
        assert torch.allclose(inputs, g[mine], atol=1e-9)
        rows, here = block.rows.double(), w[mine]
        near = here.expand(len(atoms), *here.shape) if block.index is None else here[block.index]
        found += torch.einsum("acmk,amk->ac", rows, near)
        strain += torch.einsum("isk,ik->s", block.strain.double(), here)
    assert torch.allclose(found, forces, atol=2e-5 * float(forces.abs().max()))
    expected = torch.stack([virial[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])
    assert torch.allclose(strain, expected, atol=2e-5 * float(expected.abs().max()))


def test_columns_refuse_other_kinds():
    from calczoo.families.hdnnp.params import SymmetryFunction

    with pytest.raises(OptionError, match="2, 3 and 9"):
        Columns(("Cu",), [[SymmetryFunction(20, ("Cu",), rc=4.0, core="p2")]], 6)


def test_selection_drops_constants_and_copies_and_spans_the_rest():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200, 4))
    x = np.column_stack([np.ones(200), base[:, 0], base[:, 0] * 3 + 1, base[:, 1:], base @ [1.0, 1.0, 1.0, 1.0]])
    assert 0 not in (every := select(x, 0)) and 1 in every and 2 not in every
    assert len(select(x, 100)) == 4  # the last is a sum of the others, or one of them of it
    assert len(select(x, 2)) == 2
    assert select(np.ones((5, 3)), 2) == [0]
    pool = Pool().of(("Cu", "Au"), 5.0, 2.0)
    assert len(set(pool)) == len(pool) and {f.kind for f in pool} == {2, 3, 9} and max(f.rc for f in pool) == 5.0


# -- derivatives in the parameters ---------------------------------------------------------------------------


@pytest.mark.parametrize("letters", ["tl", "tpl", "sgl", "Sct", "eh", "rl"])
def test_gradients_of_networks(letters):
    generator = torch.Generator().manual_seed(1)
    topology = Topology((6, *[5, 4][: len(letters) - 1], 1), letters)
    theta = topology.start(generator).requires_grad_(True)
    x = torch.randn(7, 6, generator=generator, dtype=torch.float64).requires_grad_(True)
    y = x
    for (w, b), letter in zip(topology.split(theta), letters, strict=True):
        y = activate(letter, y @ w + b)
    y = y[:, 0]
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    net = Forward(topology, theta.detach(), x.detach())
    assert torch.allclose(net.y, y) and torch.allclose(net.w, slope)
    alpha, d = torch.randn(7, generator=generator).double(), torch.randn(7, 6, generator=generator).double()
    (expected,) = torch.autograd.grad((alpha * y).sum() + (d * slope).sum(), theta, retain_graph=True)
    assert torch.allclose(net.gradient(alpha, d), expected, atol=1e-10)
    some = torch.tensor([[0, 3], [5, 6]])
    directions = torch.randn(2, 3, 2, 6, generator=generator).double()
    rows = net.rows(directions, some)
    (expected,) = torch.autograd.grad((directions[1, 2] * slope[some[1]]).sum(), theta, retain_graph=True)
    assert torch.allclose(rows[1, 2], expected, atol=1e-10)
    (expected,) = torch.autograd.grad(y[2:5].sum(), theta)
    assert torch.allclose(net.sums([slice(0, 2), slice(2, 5)])[1], expected, atol=1e-10)


@pytest.mark.parametrize("dense", [0.6, 2.0])
@pytest.mark.parametrize("species", [("Cu",), ("Cu", "Au")])
def test_gradient_of_the_loss_by_finite_differences(species, dense, monkeypatch):
    monkeypatch.setattr(fit_columns, "DENSE", dense)
    data = labelled(structures(4, species), true_potential(species))
    problem = small_problem(data, species)
    theta, which = start_of(problem), [0, 1, 2, 3]
    value, gradient = problem.loss(theta, which)
    rng = np.random.default_rng(0)
    for k in rng.integers(len(theta), size=12):
        step = torch.zeros_like(theta)
        step[k] = 1e-5
        high, low = (problem.loss(theta + s * step, which, False)[0] for s in (1, -1))
        assert (high - low) / 2e-5 == pytest.approx(float(gradient[k]), rel=2e-5, abs=1e-5)
    jacobian, misses = problem.rows(theta, which)
    assert float((misses**2).sum()) == pytest.approx(value)
    assert torch.allclose(2.0 * jacobian.T @ misses, gradient, atol=1e-9 * float(gradient.abs().max()))
    some, few = problem.rows(theta, [1], [torch.tensor([0, 2])])
    assert len(some) == 7 + 6 and len(few) == 13
    free = small_problem(data, species, memory=0.0)  # derivatives are made anew each time
    assert free.loss(theta, which)[0] == pytest.approx(value, rel=1e-12)
    single = small_problem(data, species, dtype=torch.float32)
    assert single.loss(theta, which)[0] == pytest.approx(value, rel=1e-4)


def test_residuals_are_those_of_the_model(made):
    result = fit(made, **{**QUICK, "precision": "float64", "validation": 0.0, "epochs": 2})
    data = Dataset.from_atoms(made)
    errors = result.errors["train"]
    model = model_of(result.params, FitSettings())
    again = evaluate(model, data)
    miss = np.concatenate([(r["forces"] - f).ravel() for r, f in zip(again, data.forces, strict=True)])
    assert errors.get("forces", "rmse") == pytest.approx(float(np.sqrt(np.mean(miss**2))))
    assert result.settings["epochs"] == [2] and "resume" not in result.settings


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


def flat(result):
    return result.params.models[0].short.flat()


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


# -- settings and weights ------------------------------------------------------------------------------------


def test_weights_of_groups_and_kinds(made):
    weights = Weights(50.0, 1.5, 8.0, {"odd": 3.0, "odd:energy": 2.0})
    even, odd = targets_of(Dataset.from_atoms(made[:2]), np.zeros(2), weights)
    assert even.energy_weight == pytest.approx(50.0 / len(made[0])) and float(even.force_weights.max()) == 1.5
    assert odd.energy_weight == pytest.approx(100.0 / len(made[1])) and float(odd.force_weights.max()) == 4.5
    assert float(odd.virial_weights[0]) == pytest.approx(24.0 / made[1].get_volume())
    assert float(odd.virial[0]) == pytest.approx(made[1].get_stress()[0] * made[1].get_volume())


def test_data_without_stress_or_without_energies_or_without_forces(made):
    for keep in (("energy", "forces"), ("forces",), ("energy",)):
        some = [a.copy() for a in made]
        for atoms, source in zip(some, made, strict=True):
            atoms.calc = SinglePointCalculator(atoms, **{k: source.calc.results[k] for k in keep})
        result = fit(some, **QUICK)
        assert set(result.errors["train"].rows["all"]) == set(keep)


def test_one_lone_atom_gives_its_energy():
    atom = Atoms("Cu", cell=[15, 15, 15], pbc=True)
    atom.calc = SinglePointCalculator(atom, energy=-1.5, forces=np.zeros((1, 3)))
    result = fit([atom], **{**QUICK, "epochs": 3})
    assert result.errors["train"].get("energy") < 20.0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epohcs": 8}, "no option 'epohcs'"),
        ({"generation": 5}, "generation"),
        ({"cutoff": -1.0}, "cutoff"),
        ({"cutoff": float("nan")}, "cutoff"),
        ({"cutoff": 200.0}, "cutoff"),
        ({"cutoff": "wide"}, "cutoff"),
        ({"cutoff_type": 0}, "cutoff_type"),
        ({"cutoff_type": 9}, "cutoff_type"),
        ({"functions": 2.5}, "functions"),
        ({"functions": 10**6}, "functions"),
        ({"nodes": ()}, "nodes"),
        ({"nodes": (0,)}, "nodes"),
        ({"nodes": "ten"}, "nodes"),
        ({"nodes": (5, 1000)}, "nodes"),
        ({"zetas": (0.5,)}, "zetas"),
        ({"zetas": (1, 1)}, "zetas"),
        ({"activation": "tanh"}, "activation"),
        ({"activation": "x"}, "activation"),
        ({"optimizer": "sgd"}, "kalman, adam, lbfgs"),
        ({"optimizer": "adam+"}, "optimizer"),
        ({"optimizer": "adam", "epochs": (1, 2)}, "epochs"),
        ({"epochs": -1}, "epochs"),
        ({"patience": 0}, "patience"),
        ({"validation": 1.0}, "validation"),
        ({"kalman_lambda": 1.2}, "kalman_lambda"),
        ({"kalman_start": 0.0}, "kalman_start"),
        ({"kalman_decoupled": "perhaps"}, "kalman_decoupled"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"committee": 0}, "committee"),
        ({"committee": True}, "committee"),
        ({"energy_weight": -1.0}, "energy_weight"),
        ({"group_weights": "3"}, "name=number"),
        ({"group_weights": 3}, "name=number"),
        ({"score": {"charges": 1.0}}, "score"),
        ({"zbl_inner": 2.0, "zbl_outer": 1.0}, "zbl"),
        ({"compression": {"bulk": 3}}, "compression"),
        ({"precision": "half"}, "precision"),
        ({"device": "abacus"}, "device"),
        ({"quadratic": True}, "quadratic"),
    ],
)
def test_bad_options(made, options, match):
    with pytest.raises((OptionError, ValueError), match=match):
        fit(made, **{**QUICK, "epochs": 1, **options})


def test_bad_data(made):
    with pytest.raises(DataError, match="no structure"):
        fit([], **QUICK)
    with pytest.raises(DataError, match="Ni"):
        fit(labelled(structures(4, ("Ni", "Cu")), true_potential(("Ni", "Cu"))), elements=["Cu"], **QUICK)
    with pytest.raises(DataError, match="holds no Ni"):
        fit(made, elements=["Cu", "Ni"], **QUICK)
    with pytest.raises(DataError, match="neither energy nor forces"):
        fit([a.copy() for a in made], **QUICK)
    lone = bulk("Cu")
    lone.pbc = False
    lone.calc = SinglePointCalculator(lone, energy=1.0)
    with pytest.raises(OptionError, match="cutoff"):
        fit([lone], **{k: v for k, v in QUICK.items() if k != "cutoff"})
    with pytest.raises(FitError, match="weight"):
        fit(made, **{**QUICK, "energy_weight": 0.0, "force_weight": 0.0, "stress_weight": 0.0})


def test_a_diverging_fit_says_so(made):
    with pytest.raises(FitError, match="diverged|not finite"):
        fit(made, **{**QUICK, "optimizer": "adam", "learning_rate": 1e30, "epochs": 60})


def test_settings_of_a_card_are_plain():
    used = used_settings(FitSettings.of({"nodes": (7, 8), "optimizer": "adam+lbfgs", "epochs": "3, 4", "cutoff": 5}))
    assert used["nodes"] == [7, 8] and used["epochs"] == [3, 4] and "threads" not in used and "name" not in used


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


def test_replaced_settings_are_checked_again():
    with pytest.raises(OptionError, match="validation"):
        replace(FitSettings(), validation=2.0)
