"""HDNNP against n2p2: symmetry functions, networks, energies, forces, stress of second-generation potentials; symmetry
functions and networks of fourth-generation ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calczoo.families.hdnnp import FAMILY
from calczoo.families.hdnnp.networks import Networks
from data import max_abs, shared
from families.hdnnp_cases import (
    GOLDEN,
    VOIGT,
    case_atoms,
    case_params,
    golden_cases,
    model_of,
    offsets,
    prepared,
    symmetry_of,
)

BACKENDS = FAMILY.backends
ALL = list(golden_cases())
SECOND = [n for n in ALL if "4G" not in n]
FOURTH = [n for n in ALL if "4G" in n]

pytestmark = pytest.mark.filterwarnings("ignore:.*outside the range of the training data")


def case_of(name: str):
    """(case, params, atoms)."""
    case = golden_cases()[name]
    return case, case_params(case), case_atoms(case)


def test_reference_data_are_there():
    shared(GOLDEN)
    assert len(SECOND) == 7 and len(FOURTH) == 6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [n for n in ALL if "G_scaled" in golden_cases()[n]])
def test_symmetry_functions_equal_n2p2(name, backend):
    case, params, atoms = case_of(name)
    found = symmetry_of(params, backend).values(*prepared(params, atoms))[0].numpy()
    for symbol, g, wanted in zip(case["symbols"], found, case["G_scaled"], strict=True):
        k = params.n_functions[params.elements.index(symbol)]
        assert len(wanted) == k and not g[k:].any()
        assert max_abs(g[:k], wanted) < 1e-10


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SECOND)
def test_energy_forces_and_stress_equal_n2p2(name, backend):
    case, params, atoms = case_of(name)
    length, energy = params.length_unit, params.energy_unit
    model = model_of(params, backend)
    found = model.compute(*prepared(params, atoms), frozenset({"energy", "energies", "forces", "virial"}))
    network = found.energies.numpy() / energy - offsets(params, atoms)
    assert abs(network.sum() - case["energy_network"]) < 1e-9 * abs(case["energy_network"])
    assert max_abs(network, case["atomic_energy"]) < 1e-9 * max(1.0, np.abs(case["atomic_energy"]).max())
    assert abs(float(found.energy[0]) / energy - case["energy"]) < 1e-12 * abs(case["energy"])
    assert max_abs(found.forces.numpy() * length / energy, case["forces"]) < 1e-8
    if case["stress_fd"] is not None:
        stress = (found.virial[0] / atoms.get_volume()).numpy()[VOIGT] * length**3 / energy
        assert max_abs(stress, case["stress_fd"]) < 3.0 * case["stress_fd_err"] + 1e-12


def test_own_periodic_images_count():
    """Where a cell vector is shorter than the cutoff, n2p2 leaves terms of an atom's own images out of forces."""
    case, params, atoms = case_of("H2O_RPBE-D3/tri_small")
    assert atoms.cell.lengths().min() < params.cutoff
    found = model_of(params, "torch").compute(*prepared(params, atoms), frozenset({"forces"}))
    forces = found.forces.numpy() * params.length_unit / params.energy_unit
    assert max_abs(forces, case["forces_n2p2"]) > 1e-6
    assert max_abs(forces.sum(axis=0), 0.0) < 1e-14


@pytest.mark.parametrize("backend", BACKENDS)
def test_cases_in_one_batch_equal_cases_alone(backend):
    shared(GOLDEN)
    names = [n for n in SECOND if n.startswith("own2G")] * 2
    cases, params = [golden_cases()[n] for n in names], case_of(names[0])[1]
    model = model_of(params, backend)
    found = model.compute(*prepared(params, *(case_atoms(c) for c in cases)), frozenset({"energy", "forces"}))
    np.testing.assert_allclose(found.energy, [c["energy"] for c in cases], rtol=1e-12)
    assert max_abs(found.forces, np.concatenate([c["forces"] for c in cases])) < 1e-8


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FOURTH)
def test_networks_of_the_fourth_generation_equal_n2p2(name, backend):
    """Electronegativities, and short-range energies for n2p2's own charges: symmetry functions and networks alone."""
    case, params, atoms = case_of(name)
    system, pairs = prepared(params, atoms)
    functions, _ = symmetry_of(params, backend).values(system, pairs)
    species = torch.tensor([params.elements.index(s) for s in case["symbols"]])
    chi = Networks(params, "charge").values(functions, species)
    assert max_abs(chi * params.conv_charge / params.conv_energy, case["chi"]) < 1e-9
    charges = torch.tensor(case["charges"], dtype=torch.float64)
    y, _, by_charge = Networks(params, "short").with_gradient(functions, species, charges)
    assert by_charge is not None and by_charge.shape == charges.shape
    assert max_abs(y, np.array(case["atomic_energy"]) * params.conv_energy) < 1e-9
