"""Parts of the training of neural network potentials: functions, derivatives in the parameters, weights, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from calczoo.core.errors import DataError, FitError, OptionError
from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.hdnnp import fit_columns
from calczoo.families.hdnnp.fit import fit, model_of
from calczoo.families.hdnnp.fit_columns import Columns
from calczoo.families.hdnnp.fit_frames import Scale, Weights, targets_of
from calczoo.families.hdnnp.fit_functions import Pool, select
from calczoo.families.hdnnp.fit_network import Forward, Topology
from calczoo.families.hdnnp.fit_settings import FitSettings, used_settings
from calczoo.families.hdnnp.networks import activate
from calczoo.families.hdnnp.symmetry import TorchSymmetry
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import evaluate
from fitting.hdnnp_made import CUTOFF, QUICK, labelled, small_problem, start_of, structures, true_potential


@pytest.fixture(scope="module")
def made():
    return labelled(structures(), true_potential())


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


def test_replaced_settings_are_checked_again():
    with pytest.raises(OptionError, match="validation"):
        replace(FitSettings(), validation=2.0)
