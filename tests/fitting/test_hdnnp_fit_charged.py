"""Training of generations 3 and 4: derivatives, charges that come back, what the data must hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from calczoo import get_calculator
from calczoo.core.errors import DataError, OptionError
from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.hdnnp.charged import HdnnpCharged
from calczoo.families.hdnnp.fit import fit
from calczoo.families.hdnnp.fit_charged_data import gaussian_widths, reference_charges, screening_range
from calczoo.families.hdnnp.fit_charged_problem import ChargeProblem
from calczoo.families.hdnnp.fit_charged_response import Response, add_charges, charges_of, rest, without_short
from calczoo.families.hdnnp.fit_charged_settings import ChargeSettings
from calczoo.families.hdnnp.fit_charged_stages import charge_frames, network_of, start_charges, with_raw_charge
from calczoo.families.hdnnp.fit_columns import Columns
from calczoo.families.hdnnp.fit_frames import Scale, Weights, make_frames, targets_of
from calczoo.families.hdnnp.fit_functions import Pool
from calczoo.families.hdnnp.fit_network import Topology
from calczoo.families.hdnnp.fit_problem import Problem
from calczoo.families.hdnnp.params import Electrostatics, ElementModel, HdnnpParams, Network
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import compare, evaluate

ELEMENTS = ("H", "O")
CUTOFF = 3.0
WIDTHS = {"H": 0.31, "O": 0.66}
CPU = torch.device("cpu")
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def water(rng, molecules=3, periodic=False, charge=0.0):
    one = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    x = np.concatenate([one + [0.0, 0.0, 2.5 * k] for k in range(molecules)])
    atoms = Atoms("OHH" * molecules, positions=x + rng.normal(scale=0.08, size=x.shape), info={"charge": charge})
    if periodic:
        atoms.cell, atoms.pbc = [6.5, 6.2, 2.5 * molecules + 0.3], True
    return atoms


def many(count=6, seed=4):
    rng = np.random.default_rng(seed)
    return [water(rng, 2 + k % 2, k % 3 == 2, float(k % 2)) for k in range(count)]


def varying():
    """Functions of each element that are no constants in `many`."""
    pool = Pool(radial=3, etas=2, shifts=1, zetas=(1.0,)).of(ELEMENTS, CUTOFF, 0.9)
    values = Columns(ELEMENTS, [pool, pool], 1).of(many())
    sigmas = [np.concatenate([v[e].values.numpy() for v in values]).std(axis=0) for e in range(2)]
    return [tuple(f for f, sigma in zip(pool, some, strict=True) if sigma > 1e-3) for some in sigmas]


FUNCTIONS = varying()
SIZES = [len(f) for f in FUNCTIONS]


def random_network(rng, inputs, nodes):
    weights = (rng.normal(size=(inputs, nodes)) / inputs**0.5, rng.normal(size=(nodes, 1)))
    return Network(weights, (rng.normal(size=nodes), np.zeros(1)), "tl")


def random_params(generation=4, seed=0, nodes=4):
    """A potential whose scaling is that of `many`."""
    rng = np.random.default_rng(seed)
    values = Columns(ELEMENTS, FUNCTIONS, 1).of(many())
    models = []
    for e, k in enumerate(SIZES):
        scale = Scale.of(np.concatenate([v[e].values.numpy() for v in values]))
        charge, short = (random_network(rng, n, nodes) for n in (k, k + (generation == 4)))
        hardness, width = (3.0 + e, WIDTHS[ELEMENTS[e]]) if generation == 4 else (0.0, 0.0)
        models.append(ElementModel(FUNCTIONS[e], scale.table, short, charge, hardness, width, -1.0 - e))
    electrostatics = Electrostatics(14.399645478425668, 1.8, 3.0)
    return HdnnpParams(ELEMENTS, tuple(models), generation, scaling="sigma", electrostatics=electrostatics)


def quiet(params):
    model = HdnnpCharged(params, backend="torch")
    model.extrapolation.enabled = False
    return model


def labelled(structures, params):
    for atoms, result in zip(structures, evaluate(quiet(params), Dataset.from_structures(structures)), strict=True):
        atoms.calc = SinglePointCalculator(atoms, **result)
    return structures


def scales_of(params):
    return [Scale(m.scaling.copy()) for m in params.models]


def charge_problem(generation=4):
    params = random_params(generation)
    data = Dataset.from_atoms(labelled(many(), params), "made")
    columns = Columns(ELEMENTS, FUNCTIONS, 1)
    charges = [a.calc.results["charges"] for a in data.structures]
    widths = WIDTHS if generation == 4 else None
    scales = scales_of(params)
    frames = charge_frames(data, charges, ELEMENTS, columns, scales, widths, 1.0, {}, CPU, 500.0, 1e-10)
    topologies = [Topology((k, 4, 1), "tl") for k in SIZES]
    return params, data, ChargeProblem(frames, topologies, generation == 4)


@pytest.mark.parametrize("generation", [3, 4])
def test_stage_one_is_the_model_and_its_derivatives_are_right(generation):
    params, data, problem = charge_problem(generation)
    own = [np.sqrt(m.hardness) for m in params.models] if generation == 4 else []
    true = torch.from_numpy(np.concatenate([*(m.charge.flat() for m in params.models), own]))
    which = list(range(len(data)))
    assert problem.errors(true, which)["charges"] < 1e-9
    theta = start_charges(problem.topologies, 3.0 if generation == 4 else None, torch.Generator().manual_seed(3))
    loss, gradient = problem.loss(theta, which)
    jacobian, residuals = problem.rows(theta, which)
    assert loss == pytest.approx(float(residuals @ residuals), rel=1e-12)
    torch.testing.assert_close(2.0 * jacobian.T @ residuals, gradient, rtol=1e-9, atol=1e-11)
    for k in np.random.default_rng(1).choice(len(theta), 12, replace=False).tolist() + [-1, -2]:
        step = torch.zeros_like(theta)
        step[k] = 1e-5
        high, low = (problem.loss(theta + s * step, which, False)[0] for s in (1, -1))
        assert float(gradient[k]) == pytest.approx((high - low) / 2e-5, rel=2e-6, abs=1e-8)
    if generation == 4:
        totals = [float(q.sum()) for q in problem.charges(theta, which)]
        np.testing.assert_allclose(totals, [a.info["charge"] for a in data.structures], atol=1e-10)


@pytest.mark.parametrize("periodic", [False, True])
def test_the_response_of_charges_is_that_of_the_model(periodic):
    atoms = water(np.random.default_rng(7), 3, periodic, 1.0)
    params = random_params()
    model = quiet(without_short(params))
    blocks = Columns(ELEMENTS, FUNCTIONS, 1).of([atoms], [s.factor for s in scales_of(params)])[0]
    charges, by_position, by_strain = Response(model).of(atoms, blocks)
    np.testing.assert_allclose(charges, charges_of(model, [atoms])[0], atol=1e-12)
    h = 1e-5
    for a, x in ((0, 0), (4, 1), (8, 2)):
        moved = []
        for s in (1, -1):
            other = atoms.copy()
            other.positions[a, x] += s * h
            moved.append(charges_of(model, [other])[0])
        np.testing.assert_allclose(by_position[a, x], (moved[0] - moved[1]) / (2 * h), atol=5e-7)
    for v, (x, y) in enumerate(VOIGT):
        moved = []
        for s in (1, -1):
            strain = np.zeros((3, 3))
            strain[x, y] += 0.5 * s * h
            strain[y, x] += 0.5 * s * h
            other = atoms.copy()
            other.positions = atoms.positions @ (np.eye(3) + strain)
            other.cell[:] = atoms.cell.array @ (np.eye(3) + strain)
            moved.append(charges_of(model, [other])[0])
        np.testing.assert_allclose(by_strain[:, v], (moved[0] - moved[1]) / (2 * h), atol=2e-6)


def short_problem(params, memory=1e9, count=6):
    """Stage two for data that `params` itself made, and its parameters."""
    data = Dataset.from_atoms(labelled(many(count), params), "made")
    model = quiet(without_short(params))
    free = np.array([[a.get_chemical_symbols().count(e) for e in ELEMENTS] for a in data.structures]) @ [-1.0, -2.0]
    targets = targets_of(rest(data, model), free, Weights(5.0, 1.0, 3.0, {}))
    columns, scales = Columns(ELEMENTS, FUNCTIONS, 1), scales_of(params)
    frames = make_frames(data.structures, data.groups, targets, columns, scales, CPU, torch.float64, memory)
    shifts = [(0.1, 0.2), (-0.3, 0.15)]
    extra = params.generation == 4
    if extra:
        add_charges(frames, data.structures, model, shifts, memory, lambda done: None)
    problem = Problem(frames, [Topology((k + extra, 4, 1), "tl") for k in SIZES])
    flats = []
    for m, (mean, deviation) in zip(params.models, shifts, strict=True):
        flats.append((with_raw_charge(m.short, -mean / deviation, 1.0 / deviation) if extra else m.short).flat())
    return problem, torch.from_numpy(np.concatenate(flats)), shifts


@pytest.mark.parametrize("generation", [3, 4])
@pytest.mark.parametrize("memory", [1e9, 0.0])
def test_stage_two_has_no_residual_for_the_model_that_made_the_data(generation, memory):
    """Energies, forces and stresses with everything that responds: nothing is left out of the loss."""
    problem, theta, _ = short_problem(random_params(generation), memory)
    for frame, (energy, forces, virial) in zip(problem.frames, problem.residuals(theta, range(6)), strict=True):
        assert abs(float(energy)) < 1e-9
        # derivatives of the symmetry functions are kept in single precision
        assert float(forces.abs().max()) < 2e-6
        assert float(virial[frame.targets.virial_weights > 0].abs().sum()) < 1e-4
    assert sum(bool(f.targets.virial_weights.any()) for f in problem.frames) == 2


def test_derivatives_of_stage_two_by_finite_differences():
    problem, theta, _ = short_problem(random_params())
    rng = np.random.default_rng(2)
    theta = theta + torch.from_numpy(rng.normal(scale=0.3, size=len(theta)))
    which = list(range(6))
    _, gradient = problem.loss(theta, which)
    last = [problem.topologies[0].sizes[1] * (SIZES[0])]  # a weight of the charge
    for k in rng.choice(len(theta), 12, replace=False).tolist() + last:
        step = torch.zeros_like(theta)
        step[k] = 1e-5
        high, low = (problem.loss(theta + s * step, which, False)[0] for s in (1, -1))
        assert float(gradient[k]) == pytest.approx((high - low) / 2e-5, rel=5e-6, abs=1e-6)


def test_a_shifted_charge_becomes_a_raw_one():
    rng = np.random.default_rng(5)
    topology = Topology((4, 3, 1), "tl")
    network = network_of(topology, rng.normal(size=topology.n_parameters))
    x = rng.normal(size=(7, 4))
    raw = x.copy()
    raw[:, -1] = x[:, -1] * 0.2 - 0.4
    other = with_raw_charge(network, -0.4, 0.2)

    def values(net, inputs):
        hidden = np.tanh(inputs @ net.weights[0] + net.biases[0])
        return hidden @ net.weights[1] + net.biases[1]

    np.testing.assert_allclose(values(other, raw), values(network, x), atol=1e-12)


# -- data and settings ---------------------------------------------------------------------------------------


def with_results(charges=None, charge=0.0, **arrays):
    atoms = Atoms("OHH", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], info={"charge": charge})
    results = {"energy": -1.0, "forces": np.zeros((3, 3))}
    if charges is not None:
        results["charges"] = np.array(charges)
    for name, values in arrays.items():
        atoms.set_array(name, np.array(values))
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def test_charges_of_the_data():
    sets = [with_results([-0.6, 0.3, 0.3]), with_results(None, 1.0, initial_charges=[0.0, 0.5, 0.5])]
    found = reference_charges(Dataset.from_atoms(sets, "ok"))
    np.testing.assert_allclose(found, [[-0.6, 0.3, 0.3], [0.0, 0.5, 0.5]])


def test_missing_charges_name_the_structure_and_the_way_out():
    data = Dataset.from_atoms([with_results([-0.6, 0.3, 0.3]), with_results()], "water.extxyz")
    told = r"structure 1 of water.extxyz \(H2O\) has no atomic charges.*charges:R:1.*generation 2"
    with pytest.raises(DataError, match=told):
        reference_charges(data)


def test_charges_that_miss_the_total_charge_are_an_error():
    data = Dataset.from_atoms([with_results([0.4, 0.3, 0.3])], "ions")
    told = r"structure 0 of ions.*add up to 1.0000 e.*total charge is 0 e.*info\['charge'\]"
    with pytest.raises(DataError, match=told):
        reference_charges(data)


def test_widths_and_screening():
    assert gaussian_widths(("H", "C"), {"C": 0.73}) == {"H": 0.31, "C": 0.73}
    with pytest.raises(OptionError, match="Fe"):
        gaussian_widths(("H",), {"Fe": 1.0})
    assert screening_range(None, 5.0) == (3.0, 5.0)
    assert screening_range(0, 5.0) == (0.0, 0.0)
    with pytest.raises(OptionError, match="inner and outer"):
        screening_range((3.0, 2.0), 5.0)


def test_settings_from_a_command_line():
    own, others = ChargeSettings.split({"charge_nodes": "8-6", "widths": "H=0.3, C=0.7", "cutoff": 4.0}, 4)
    assert own.charge_nodes == (8, 6) and own.widths == {"H": 0.3, "C": 0.7} and others == {"cutoff": 4.0}
    wrong = {"total_charge": "free", "charge_nodes": "x", "charge_epochs": -1, "hardness": -1.0, "charge_weight": 0.0}
    for key, value in wrong.items():
        with pytest.raises(OptionError, match=key):
            ChargeSettings.split({key: value}, 4)
    with pytest.raises(OptionError, match="hardness belongs to generation 4"):
        ChargeSettings.split({"hardness": 3.0}, 3)


def test_tables_of_errors_hold_charges():
    params = random_params()
    data = Dataset.from_atoms(labelled(many(2), params))
    found = evaluate(quiet(params), data)
    found[0]["charges"] = found[0]["charges"] + 0.01
    table = compare(data, found)
    assert table.units()["charges"] == "e" and table.get("energy") < 1e-6
    assert table.get("charges", "rmse") == pytest.approx(0.01 * np.sqrt(6 / 15), rel=1e-6)
    system = System.from_atoms(data.structures[0])
    assert quiet(params).compute(system, find_pairs(system, CUTOFF), frozenset({"charges"})).charges is not None


# -- whole fits ----------------------------------------------------------------------------------------------

QUICK = {
    "cutoff": CUTOFF, "cutoff_type": 1, "functions": 24, "radial": 3, "etas": 1, "shifts": 0, "zetas": (1.0,),
    "nodes": (5,), "charge_nodes": (4,), "epochs": 4, "charge_epochs": 40, "charge_decay": 0.01,
    "energy_weight": 20.0, "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def made():
    """Data of a random potential of each generation."""
    return {3: labelled(many(30, 9), water_like(random_params(3))), 4: labelled(many(30, 9), random_params(4))}


def water_like(params):
    """Charges near those of water, scaled to the total charge."""
    models = []
    for m, charge in zip(params.models, (0.4, -0.8), strict=True):
        last = (*m.charge.weights[:-1], 0.05 * m.charge.weights[-1])
        models.append(replace(m, charge=replace(m.charge, weights=last, biases=(m.charge.biases[0], [charge]))))
    electrostatics = replace(params.electrostatics, keywords=(("enforce_totcharge", "1"),))
    return replace(params, models=tuple(models), electrostatics=electrostatics)


def same(calc, params, atoms):
    model = quiet(params)
    system = System.from_atoms(atoms)
    found = model.compute(system, find_pairs(system, model.cutoff), frozenset({"energy", "forces", "charges"}))
    atoms = atoms.copy()
    atoms.calc = calc
    assert atoms.get_potential_energy() == pytest.approx(float(found.energy[0]), abs=1e-8)
    np.testing.assert_allclose(atoms.get_forces(), found.forces, atol=1e-7)
    np.testing.assert_allclose(atoms.get_charges(), found.charges, atol=1e-9)


@pytest.mark.parametrize("generation", [3, 4])
def test_a_fit_is_written_and_read_again(generation, made, tmp_path):
    data = made[generation]
    result = fit(data[:24], data[24:], generation=generation, name="water", **QUICK)
    spread = np.std(np.concatenate([a.calc.results["charges"][a.numbers == 1] for a in data]))
    assert result.errors["test"].get("charges", "rmse") < 0.7 * spread
    rms = np.sqrt(np.mean(np.concatenate([a.calc.results["forces"].ravel() for a in data]) ** 2))
    assert result.errors["test"].get("forces", "rmse") < 0.7 * rms
    assert result.params.generation == generation and result.card.extra["fit"]["charge_nodes"] == [4]
    assert "total charges 0, 1" in result.card.extra["fit"]["data_charges"]
    result.write(tmp_path / "water")
    calc = get_calculator("hdnnp", model=tmp_path / "water", extrapolation="ignore")
    assert calc.card.errors["test"]["units"]["charges"] == "e"
    for atoms in data[-3:]:
        same(calc, result.params, atoms)
        if generation == 4:
            assert calc.results["charges"].sum() == pytest.approx(atoms.info["charge"], abs=1e-9)


def test_total_charges_of_generation_3_are_kept(made):
    result = fit(made[3][:12], generation=3, **{**QUICK, "epochs": 1, "charge_epochs": 5})
    atoms = made[3][1]
    assert charges_of(quiet(result.params), [atoms])[0].sum() == pytest.approx(atoms.info["charge"], abs=1e-9)


def test_a_fit_that_was_cut_off_goes_on(made, tmp_path):
    data = made[4][:10]
    whole = fit(data, generation=4, **QUICK).params
    state = {"resume": str(tmp_path / "state.npz"), "save_every": 1}
    fit(data, generation=4, **{**QUICK, "epochs": 2}, **state)
    again = fit(data, generation=4, **QUICK, **state).params
    for a, b in zip(whole.models, again.models, strict=True):
        np.testing.assert_allclose(a.charge.flat(), b.charge.flat(), rtol=1e-9)
        np.testing.assert_allclose(a.short.flat(), b.short.flat(), rtol=1e-5, atol=1e-6)
    with pytest.raises(OptionError, match="other data or settings"):
        fit(data, generation=4, **{**QUICK, "charge_nodes": (3,)}, **state)


def test_committees_and_seeds(made, tmp_path):
    short = {"epochs": 1, "charge_optimizer": "kalman+lbfgs", "charge_epochs": (1, 5)}
    result = fit(made[4][:8], generation=4, committee=2, **{**QUICK, **short})
    one, other = result.params.members
    assert one.models[0].charge.flat()[0] != other.models[0].charge.flat()[0]
    result.write(tmp_path / "two")
    calc = get_calculator("hdnnp", model=tmp_path / "two", extrapolation="ignore")
    atoms = made[4][0].copy()
    atoms.calc = calc
    atoms.get_potential_energy()
    assert calc.results["charges"].sum() == pytest.approx(0.0, abs=1e-9)


def test_what_these_generations_do_not_take(made):
    bare = [with_results()] * 4
    with pytest.raises(DataError, match="structure 0 of training set.*has no atomic charges"):
        fit(bare, generation=4, **QUICK)
    with pytest.raises(OptionError, match="guess energies without charges"):
        fit(made[4][:4], generation=4, contacts=3, **QUICK)
    with pytest.raises(OptionError, match="generation is '5'"):
        fit(made[4][:4], generation="5", **QUICK)
    with pytest.raises(OptionError, match="no option 'charge_node'.*charge_nodes"):
        fit(made[4][:4], generation=4, charge_node=3, **QUICK)
    with pytest.raises(OptionError, match="charge_optimizer is 'sgd'"):
        fit(made[4][:4], generation=4, charge_optimizer="sgd", **QUICK)
