"""Element networks: plain loops, hand-written gradients against autograd, charges as inputs; the torch model of
generation 2; the warning for extrapolation."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from calczoo.core.errors import OptionError
from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.hdnnp.extrapolation import ExtrapolationWarning
from calczoo.families.hdnnp.model import HdnnpTorch
from calczoo.families.hdnnp.networks import Networks, activate, slope
from calczoo.families.hdnnp.params import ACTIVATIONS
from data import max_abs
from families.hdnnp_cases import prepared, random_network, salt, toy

PLAIN = {
    "t": math.tanh,
    "l": lambda x: x,
    "p": lambda x: math.log(1 + math.exp(x)),
    "s": lambda x: 1 / (1 + math.exp(-x)),
    "r": lambda x: max(0.0, x),
    "g": lambda x: math.exp(-0.5 * x * x),
    "c": math.cos,
    "S": lambda x: 1 - 1 / (1 + math.exp(-x)),
    "e": lambda x: math.exp(-x),
    "h": lambda x: x * x,
}
QUIET = pytest.mark.filterwarnings("ignore:.*outside the range of the training data")


def plain_output(network, x: list[float]) -> float:
    for w, b, letter in zip(network.weights, network.biases, network.activations, strict=True):
        sums = [sum(x[i] * w[i, j] for i in range(len(x))) + b[j] for j in range(len(b))]
        x = [PLAIN[letter](s / len(x) if network.normalize_nodes else s) for s in sums]
    return x[0]


def random_inputs(p, n: int, seed: int = 0):
    """Functions (n, width), zero beyond those of the element, species (n,), charges (n,)."""
    rng = np.random.default_rng(seed)
    species = rng.integers(len(p.elements), size=n)
    functions = rng.normal(size=(n, max(p.n_functions)))
    for i, k in enumerate(species):
        functions[i, p.n_functions[k] :] = 0.0
    return torch.tensor(functions), torch.tensor(species), torch.tensor(rng.normal(size=n))


def with_activations(letters: str, generation: int = 2, normalize: bool = False):
    p, rng = toy(kinds=(2,), generation=generation), np.random.default_rng(len(letters))
    models = []
    for m, count in zip(p.models, p.n_functions, strict=True):
        nodes = tuple(range(6, 6 - len(letters) + 1, -1))
        short = random_network(rng, count + (generation == 4), nodes, letters, normalize)
        models.append(replace(m, short=short))
    return replace(p, models=tuple(models))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("generation", [2, 4])
@pytest.mark.parametrize("letters", [a + b for a, b in zip(ACTIVATIONS, "ltpsrgcSeh", strict=True)] + ["tgpl", "l"])
def test_networks_equal_plain_loops_and_autograd(letters, generation, normalize):
    p = with_activations(letters, generation, normalize)
    functions, species, charges = random_inputs(p, 9)
    networks = Networks(p)
    given = (charges,) if generation == 4 else ()
    y, by_function, by_charge = networks.with_gradient(functions, species, *given)
    for i, k in enumerate(species.tolist()):
        x = functions[i, : p.n_functions[k]].tolist() + ([float(charges[i])] if generation == 4 else [])
        assert abs(float(y[i]) - plain_output(p.models[k].short, x)) < 1e-12
    functions.requires_grad_(True)
    charges.requires_grad_(True)
    values = networks.values(functions, species, *given)
    assert max_abs(values.detach(), y) < 1e-14
    found = torch.autograd.grad(values.sum(), (functions, *given))
    assert max_abs(found[0], by_function) < 1e-13
    assert (by_charge is None) == (generation == 2)
    if by_charge is not None:
        assert max_abs(found[1], by_charge) < 1e-13


@pytest.mark.parametrize("letter", ACTIVATIONS)
def test_activations_hold_for_large_numbers(letter):
    """No overflow of what saturates, no NaN in first and second derivatives."""
    a = torch.tensor([-700.0, -40.0, -1e-3, 0.0, 1e-3, 40.0, 700.0], dtype=torch.float64, requires_grad=True)
    y = activate(letter, a)
    (first,) = torch.autograd.grad(y.sum(), a, create_graph=True)
    assert bool(y.isfinite().all())
    torch.testing.assert_close(first.detach(), slope(letter, a, y).detach(), rtol=1e-13, atol=1e-16)
    if first.requires_grad:
        assert bool(torch.autograd.grad(first.sum(), a)[0].isfinite().all())
    if letter == "p":
        assert float(y.detach()[5]) == 40.0 and abs(float(y.detach()[1]) - math.exp(-40)) < 1e-30


def test_charge_networks_and_what_is_missing():
    p = toy(kinds=(2,), generation=4)
    functions, species, charges = random_inputs(p, 6)
    chi = Networks(p, "charge").values(functions, species)
    for i, k in enumerate(species.tolist()):
        x = functions[i, : p.n_functions[k]].tolist()
        assert abs(float(chi[i]) - plain_output(p.models[k].charge, x)) < 1e-12
    with pytest.raises(OptionError, match="take charges"):
        Networks(p).values(functions, species)
    with pytest.raises(OptionError, match="no 'charge' networks"):
        Networks(toy(kinds=(2,)), "charge")
    with pytest.raises(OptionError, match="of generation 4"):
        HdnnpTorch(p)


def test_atoms_of_one_element_and_none():
    p = toy(kinds=(2,))
    networks = Networks(p)
    functions, _, _ = random_inputs(p, 4)
    y, by_function, _ = networks.with_gradient(functions[:0], torch.zeros(0, dtype=torch.long))
    assert y.shape == (0,) and by_function.shape == (0, networks.width)
    assert networks.values(functions, torch.ones(4, dtype=torch.long)).shape == (4,)


# -- the model -----------------------------------------------------------------------------------------------


@QUIET
def test_energies_are_in_ev():
    p = toy(kinds=(2, 3), n=2, energy_unit=27.0, conv_energy=3.0, mean_energy=-0.5)
    model, atoms = HdnnpTorch(p), salt(5)
    system, pairs = prepared(p, atoms)
    found = model.compute(system, pairs, frozenset({"energy", "energies", "descriptors"}))
    for i, symbol in enumerate(atoms.symbols):
        k = p.elements.index(symbol)
        g = found.descriptors[i, : p.n_functions[k]].tolist()
        wanted = 27.0 * (plain_output(p.models[k].short, g) / 3.0 - 0.5 + p.models[k].energy)
        assert abs(float(found.energies[i]) - wanted) < 1e-11
    assert abs(float(found.energy[0]) - float(found.energies.sum())) < 1e-11


@QUIET
def test_the_graph_and_the_pull_back_give_the_same():
    p = toy(n=1, rc=4.5)
    model, atoms = HdnnpTorch(p), salt(6)
    system, pairs = prepared(p, atoms)
    need = frozenset({"energy", "energies", "forces", "virials", "pair_gradients", "descriptors"})
    quick = model.compute(system, pairs, need)
    model.create_graph = True
    slow = model.compute(system, pairs, need)
    for name, value in quick.present().items():
        assert max_abs(value, getattr(slow, name).detach()) < 1e-11 * max(1.0, float(value.abs().max())), name
    assert slow.forces.requires_grad and not quick.forces.requires_grad


@QUIET
def test_single_precision_keeps_the_digits_of_large_offsets():
    p = toy(kinds=(2, 9), n=2, rc=4.5)
    p = replace(p, models=tuple(replace(m, energy=-20000.0) for m in p.models))
    atoms = salt(6)
    energies = []
    for dtype in (torch.float64, torch.float32):
        model = HdnnpTorch(p, "cpu", dtype)
        found = model.compute(*prepared(p, atoms, dtype=dtype), frozenset({"energy", "forces"}))
        energies.append(float(found.energy[0]))
    assert abs(energies[0] - energies[1]) < 1e-4


def test_extrapolation_is_said_once_with_numbers():
    p = toy(kinds=(2,), n=2)
    atoms = salt(6)
    system, pairs = prepared(p, atoms)
    model = HdnnpTorch(p)
    g = model.symmetry.scaled(system, pairs, pairs.vectors(system))
    raw = model.symmetry.unscaled(system, pairs, pairs.vectors(system)).numpy()
    models = []
    for k, m in enumerate(p.models):  # ranges that hold all values
        rows = raw[atoms.numbers == (11, 17)[k], : len(m.functions)]
        low, high = rows.min(axis=0), rows.max(axis=0)
        models.append(replace(m, scaling=np.stack([low, high, 0.5 * (low + high), high - low], axis=1)))
    inside = replace(p, models=tuple(models))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExtrapolationWarning)
        HdnnpTorch(inside).compute(system, pairs, frozenset({"energy", "forces"}))
    table = np.array(models[1].scaling)
    table[2, 1] -= 0.6 * (table[2, 1] - table[2, 0])
    atom = int(np.flatnonzero(raw[:, 2] == raw[atoms.numbers == 17, 2].max())[0])
    outside = replace(inside, models=(models[0], replace(models[1], scaling=table)))
    for need in (frozenset({"energy"}), frozenset({"forces"})):
        model = HdnnpTorch(outside)
        with pytest.warns(ExtrapolationWarning, match=f"function 3 of atom {atom} .Cl.") as caught:
            model.compute(system, pairs, need)
        check = model.extrapolation
        assert f"{check.count} symmetry functions of {check.atoms} atoms" in str(caught[0].message)
        assert 1 <= check.atoms == check.count <= 3
        with warnings.catch_warnings():
            warnings.simplefilter("error", ExtrapolationWarning)
            model.compute(system, pairs, need)
            silent = HdnnpTorch(outside)
            silent.extrapolation.enabled = False
            silent.compute(system, pairs, need)
    assert g.shape == (6, model.symmetry.width)
    both = System.from_atoms([atoms, atoms])
    model = HdnnpTorch(outside)
    with pytest.warns(ExtrapolationWarning, match=f"in 2 structures .* function 3 of atom {atom} of structure 0 .Cl."):
        model.compute(both, find_pairs(both, model.cutoff), frozenset({"forces"}))


def test_no_warning_without_known_ranges():
    """Some files hold no ranges: rows of zeros, and no scaling."""
    p = toy(kinds=(2,), n=2, scaling="none")
    models = tuple(replace(m, scaling=np.zeros_like(m.scaling)) for m in p.models)
    p = replace(p, models=models)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExtrapolationWarning)
        HdnnpTorch(p).compute(*prepared(p, salt(6)), frozenset({"energy"}))
