"""Generations 3 and 4: reference values of n2p2, finite differences, conservation of charge, batches, options."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.units import Bohr, Hartree

from calczoo.calculator import ZooCalculator
from calczoo.core.errors import InvalidStructure, OptionError, PropertyNotImplementedError
from calczoo.core.model import sum_by_system
from calczoo.families.hdnnp.charged import HdnnpCharged
from calczoo.families.hdnnp.formats import read_folder
from calczoo.families.hdnnp.model import HdnnpTorch
from data import max_abs, shared
from families.hdnnp_charged_cases import MODELS, difference, flat, molecule, random_params, small_model, tiny_cell

BACKENDS = ("torch", "warp")
GOLDEN = (
    "Carbon_chain_4G/q+0", "Carbon_chain_4G/q+1", "own4G_ct2_both/clu", "own4G_ct2_both/tri", "AlAuMgO_4G/tight_ewald",
)  # fmt: skip
NEED = frozenset({"energy", "energies", "forces", "virial", "charges"})


# -- golden values -------------------------------------------------------------------------------------------


@cache
def golden_cases() -> dict[str, dict]:
    return {c["name"]: c for c in json.loads(shared("reference/hdnnp/hdnnp_golden.json").read_text())["cases"]}


@cache
def golden_model(potential: str, units: str, backend: str) -> HdnnpCharged:
    length, energy = (Bohr, Hartree) if units.startswith("Bohr") else (1.0, 1.0)
    # the weights of the carbon chains that n2p2 ships are those of other networks than its input.nn says
    overrides = {"nodes": "10 10"} if "Carbon" in potential else {}
    params = read_folder(shared(potential.removeprefix("shared/")), length, energy, **overrides)
    model = HdnnpCharged(params, backend=backend)
    model.extrapolation.enabled = False  # one potential's weights are random numbers
    return model


def golden_atoms(case: dict, model: HdnnpCharged) -> Atoms:
    length = model.params.length_unit
    atoms = Atoms(case["symbols"], positions=np.array(case["positions"]) * length, pbc=case["pbc"])
    if all(case["pbc"]):
        atoms.cell = np.array(case["cell"]) * length
    atoms.info["charge"] = case["charge_total"]
    return atoms


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", GOLDEN)
def test_reference_values_of_n2p2(name, backend):
    case = golden_cases()[name]
    model = golden_model(case["potential"], case["units"], backend)
    length, energy = model.params.length_unit, model.params.energy_unit
    system, pairs = flat(model, golden_atoms(case, model))
    parts = model.parts(system, pairs)
    network = float((parts.short + parts.electrostatic).sum()) / energy
    assert network == pytest.approx(case["energy_network"], rel=1e-9)
    assert float(parts.electrostatic.sum()) / energy == pytest.approx(case["energy_elec"], rel=1e-9, abs=1e-13)
    assert max_abs(parts.short / energy, case["atomic_energy"]) < 1e-9 * max(1.0, max_abs(case["atomic_energy"], 0))
    assert max_abs(parts.source.charges, case["charges"]) < 1e-9 * max_abs(case["charges"], 0)
    assert max_abs(parts.x / energy, case["chi"]) < 1e-9 * max_abs(case["chi"], 0)
    assert float(parts.source.multiplier[0]) / energy == pytest.approx(case["lambda"], rel=1e-9)
    results = model.compute(system, pairs, NEED)
    assert float(results.energy[0]) / energy == pytest.approx(case["energy"], rel=1e-14, abs=1e-9 * abs(network))
    forces = results.forces * (length / energy)
    assert max_abs(forces, case["forces"]) < 1e-8 * max_abs(case["forces"], 0)
    if case["stress_fd"] is not None:
        calc = ZooCalculator(model)
        stress = calc.get_property("stress", golden_atoms(case, model)) * (length**3 / energy)
        scale = max_abs(case["stress_fd"], 0)
        assert max_abs(stress, case["stress_fd"]) < 1e-8 * scale + 4 * case["stress_fd_err"]


def test_ewald_sums_of_shipped_input_files_are_not_taken_over():
    """n2p2 keeps to the precision that a file asks for, and is off by 8e-4 Ha there; here sums are converged."""
    case = golden_cases()["AlAuMgO_4G/as_shipped_ewald"]
    model = golden_model(case["potential"], case["units"], "torch")
    system, pairs = flat(model, golden_atoms(case, model))
    off = float(model.parts(system, pairs).electrostatic.sum()) / Hartree - case["energy_elec"]
    assert 7e-4 < off < 9e-4


# -- a small model of random numbers -------------------------------------------------------------------------


STRUCTURES = {"tiny cell": tiny_cell, "molecule": molecule, "ion": lambda: molecule(-1.0)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("where", STRUCTURES)
@pytest.mark.parametrize("name", MODELS)
def test_forces_and_virial_are_derivatives_of_the_energy(name, where, backend):
    model, atoms = small_model(name, backend), STRUCTURES[where]()
    rng = np.random.default_rng(3)

    def energy(moved: Atoms) -> float:
        parts = model.parts(*flat(model, moved))
        return float((parts.short + parts.electrostatic).sum())

    def along(d: np.ndarray):
        def at(h: float) -> float:
            moved = atoms.copy()
            moved.positions += h * d
            return energy(moved)

        return at

    def strained(e: np.ndarray):
        def at(h: float) -> float:
            moved = atoms.copy()
            deform = np.eye(3) + h * e
            moved.set_cell(atoms.cell.array @ deform)
            moved.positions = atoms.positions @ deform
            return energy(moved)

        return at

    results = model.compute(*flat(model, atoms), NEED)
    forces, virial = results.forces.numpy(), results.virial.numpy()[0]
    assert max_abs(forces.sum(axis=0), 0) < 1e-10
    for _ in range(3):
        d = rng.normal(size=(len(atoms), 3))
        assert difference(along(d)) == pytest.approx(-(forces * d).sum(), abs=2e-8)
    for _ in range(3):
        e = rng.normal(size=(3, 3))
        e = 0.5 * (e + e.T)
        assert difference(strained(e), 1e-3) == pytest.approx((virial * e).sum(), abs=5e-8)
    assert max_abs(virial, virial.T) < 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_backends_agree(name):
    structures = [tiny_cell(), molecule(0.5), molecule()]
    one, two = (small_model(name, backend) for backend in BACKENDS)
    a, b = (m.compute(*flat(m, *structures), NEED) for m in (one, two))
    for key in NEED:
        assert max_abs(getattr(a, key), getattr(b, key)) < 1e-11


def test_pairs_of_own_images_are_screened_once():
    """E_screen of a tiny cell is the plain sum over images, half of it per atom."""
    model, atoms = small_model("4G"), tiny_cell()
    system, pairs = flat(model, atoms)
    parts = model.parts(system, pairs)
    q, screening = parts.source.charges.numpy(), model.screening
    widths = model.widths[model.index[system.numbers]].numpy()
    total = -(screening.coulomb * q**2 / (2 * np.sqrt(np.pi) * widths)).sum()
    from math import erf

    for shift in np.ndindex(9, 9, 9):
        offset = (np.array(shift) - 4) @ atoms.cell.array
        for i in range(3):
            for j in range(3):
                r = np.linalg.norm(atoms.positions[j] + offset - atoms.positions[i])
                if 0 < r < screening.r_outer:
                    x = max(0.0, (r - screening.r_inner) / (screening.r_outer - screening.r_inner))
                    core = (x * (x * ((315 - 70 * x) * x - 540) + 420) - 126) * x**5 + 1
                    g = np.hypot(widths[i], widths[j])
                    total -= 0.5 * screening.coulomb * q[i] * q[j] * core * erf(r / (np.sqrt(2) * g)) / r
    own = float(0.5 * (parts.source.charges * parts.screened.potential(parts.source.charges)).sum())
    assert own == pytest.approx(total, rel=1e-12)


# -- charges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["4G", "3G, scaled charges"])
@pytest.mark.parametrize("charge", [-1.5, 0.0, 1.0])
def test_total_charge_is_that_of_the_structure(name, charge):
    model = small_model(name)
    for atoms in (molecule(charge), Atoms("Na", info={"charge": charge})):
        q = model.compute(*flat(model, atoms), NEED).charges
        assert float(q.sum()) == pytest.approx(charge, abs=1e-12)


def test_charges_of_generation_3_are_those_of_the_networks():
    """They need not add up, and know nothing of the total charge."""
    model = small_model("3G, Gaussian charges")
    system, pairs = flat(model, molecule(1.0))
    parts = model.parts(system, pairs)
    assert torch.equal(parts.source.charges, parts.x) and abs(float(parts.x.sum()) - 1.0) > 1e-3
    keywords = replace(model.params.electrostatics, keywords=(("enforce_totcharge", "1"),))
    assert HdnnpCharged(replace(model.params, electrostatics=keywords), backend="torch").total == "scaled"


def test_electronegativities_are_equalised():
    model = small_model("4G")
    system, pairs = flat(model, molecule(0.7))
    parts = model.parts(system, pairs)
    q = parts.source.charges
    level = parts.x + model.hardness[model.index[system.numbers]] * q + parts.geometry.potential(q)
    assert max_abs(level, -parts.source.multiplier[0]) < 1e-11


def test_energy_of_generation_3_is_that_of_generation_2_and_of_the_charges():
    """Point charges, open: k sum_(i<j) q_i q_j (1 - c(r_ij)) / r_ij by hand."""
    model = small_model("3G, point charges")
    params, atoms = model.params, molecule()
    plain = HdnnpTorch(replace(params, generation=2, models=tuple(replace(m, charge=None) for m in params.models)))
    short = float(plain.compute(*flat(plain, atoms), NEED - {"charges"}).energy[0])
    results = model.compute(*flat(model, atoms), NEED)
    q, far = results.charges.numpy(), 0.0
    for i in range(5):
        for j in range(i):
            r = atoms.get_distance(i, j)
            x = (r - model.screening.r_inner) / (model.screening.r_outer - model.screening.r_inner)
            core = (x * (x * ((315 - 70 * x) * x - 540) + 420) - 126) * x**5 + 1 if 0 < x < 1 else float(x <= 0)
            far += 3.1 * 1.7 * 0.9 * q[i] * q[j] * (1 - core) / r
    assert abs(far) > 0.01 and float(results.energy[0]) == pytest.approx(short + far, rel=1e-13)


def test_energies_per_atom_add_up():
    for name in MODELS:
        model = small_model(name)
        r = model.compute(*flat(model, molecule(1.0)), NEED)
        assert float(r.energies.sum()) == pytest.approx(float(r.energy[0]), rel=1e-13)


def test_dipole():
    model, need = small_model("4G"), frozenset({"energy", "dipole", "charges"})
    neutral, ion, cell = molecule(), molecule(1.0), tiny_cell()
    r = model.compute(*flat(model, neutral, ion, cell), need)
    assert max_abs(r.dipole[0], r.charges[:5].numpy() @ neutral.positions) < 1e-12
    about = ion.positions - ion.get_center_of_mass()
    assert max_abs(r.dipole[1], r.charges[5:10].numpy() @ about) < 1e-12
    assert r.dipole[2].isnan().all()
    ion.positions += 7.0
    assert max_abs(model.compute(*flat(model, ion), need).dipole[0], r.dipole[1]) < 1e-12


# -- batches, options, errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_gives_what_its_structures_give(backend):
    model = small_model("4G", backend)
    far = tiny_cell()
    far.positions += far.cell.array.sum(axis=0) * 3
    many = [tiny_cell(), molecule(1.0), Atoms("Cl", info={"charge": -1.0}), molecule(), tiny_cell() * (2, 1, 1), far]
    system, pairs = flat(model, *many)
    together = model.compute(system, pairs, NEED)
    for s, atoms in enumerate(many):
        alone = model.compute(*flat(model, atoms), NEED)
        a, b = system.first[s], system.first[s + 1]
        assert float(alone.energy[0]) == pytest.approx(float(together.energy[s]), rel=1e-12)
        assert max_abs(alone.forces, together.forces[a:b]) < 1e-10
        assert max_abs(alone.charges, together.charges[a:b]) < 1e-11
        assert max_abs(alone.virial[0], together.virial[s]) < 1e-9
    assert float(together.energy[4]) == pytest.approx(2 * float(together.energy[0]), rel=1e-10)


def test_the_same_call_gives_the_same_bits():
    for backend in BACKENDS:
        model = small_model("4G", backend)
        system, pairs = flat(model, tiny_cell(), molecule(1.0))
        a, b = (model.compute(system, pairs, NEED) for _ in range(2))
        assert all(torch.equal(getattr(a, k), getattr(b, k)) for k in NEED)


def test_accuracy_is_an_argument():
    rough = HdnnpCharged(random_params(4), backend="torch", accuracy=1e-4)
    fine, finer = small_model("4G"), HdnnpCharged(random_params(4), backend="torch", accuracy=1e-14)
    e = [float(sum_by_system(p.short + p.electrostatic, flat(m, tiny_cell())[0])[0])
         for m in (rough, fine, finer) for p in [m.parts(*flat(m, tiny_cell()))]]  # fmt: skip
    assert abs(e[1] - e[2]) < 1e-9 and abs(e[0] - e[2]) < 1e-2
    for bad in (0.0, 1.0):
        with pytest.raises(OptionError, match="accuracy"):
            HdnnpCharged(random_params(4), backend="torch", accuracy=bad)


def test_iterative_solver_gives_the_same():
    direct, iterative = small_model("4G"), HdnnpCharged(random_params(4), backend="torch", qeq="cg")
    a, b = (m.compute(*flat(m, tiny_cell(), molecule(1.0)), NEED) for m in (direct, iterative))
    for key in NEED:
        assert max_abs(getattr(a, key), getattr(b, key)) < 1e-7


def test_single_precision():
    fine, rough = small_model("4G"), HdnnpCharged(random_params(4), backend="torch", dtype=torch.float32)
    a, b = (m.compute(*flat(m, molecule(1.0), tiny_cell()), NEED) for m in (fine, rough))
    assert max_abs(a.forces, b.forces) < 1e-4 and max_abs(a.charges, b.charges) < 1e-5
    assert b.forces.dtype == torch.float32


def test_hessian_by_differences():
    calc = ZooCalculator(small_model("4G"))
    h = calc.get_hessian(molecule(1.0))
    assert calc.hessian_info["method"] == "differences" and calc.hessian_info["asymmetry"] < 1e-6
    translations = np.kron(np.ones((5, 1)), np.eye(3))
    assert max_abs(h @ translations, 0) < 1e-6


def test_errors():
    with pytest.raises(OptionError, match="generation 2"):
        two = random_params(4)
        models = tuple(replace(m, short=replace(m.short, weights=(m.short.weights[0][:-1], *m.short.weights[1:])),
                               charge=None) for m in two.models)  # fmt: skip
        HdnnpCharged(replace(two, generation=2, models=models), backend="torch")
    with pytest.raises(OptionError, match="width"):
        three = random_params(3)
        HdnnpCharged(replace(three, models=(three.models[0], replace(three.models[1], width=0.0))), backend="torch")
    for option, text in ((dict(total="some"), "total"), (dict(backend="numpy"), "backend"), (dict(qeq="lu"), "qeq")):
        with pytest.raises(OptionError, match=text):
            HdnnpCharged(random_params(4), **{"backend": "torch", **option})
    model, slab = small_model("4G"), tiny_cell()
    slab.pbc = (True, True, False)
    with pytest.raises(InvalidStructure):
        model.compute(*flat(model, slab), NEED)
    with pytest.raises(PropertyNotImplementedError, match="virials"):
        model.compute(*flat(model, molecule()), frozenset({"virials"}))
