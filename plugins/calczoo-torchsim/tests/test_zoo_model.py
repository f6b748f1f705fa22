"""ZooModel: calculators of the zoo in TorchSim's own validation, optimizers, integrators and autobatchers."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.stress import voigt_6_to_full_3x3_stress
from calczoo import get_calculator
from calczoo.core.errors import (
    AtomsOverlap,
    InvalidCell,
    InvalidStructure,
    NonFiniteResult,
    OptionError,
    PropertyNotImplementedError,
    TooLarge,
    UnsupportedElement,
)
from torchsim_structures import crystal, crystals

ts = pytest.importorskip("torch_sim")
interface = pytest.importorskip("torch_sim.models.interface")
from calczoo_torchsim import ZooModel  # noqa: E402

CPU = torch.device("cpu")


def state_of(many: list[Atoms], dtype: torch.dtype = torch.float64):
    return ts.io.atoms_to_state(many, CPU, dtype)


@pytest.fixture(scope="module")
def calc():
    return get_calculator("snap:Mo-linear", device="cpu", threads=1)


@pytest.fixture(scope="module")
def zbl():
    return get_calculator("zbl(3.0, 4.0)", elements=["Si", "Fe", "Cu", "H", "O", "C"], device="cpu", threads=1)


def check_equal(out: dict, many: list[Atoms], reference: list[dict], atol: float = 1e-12) -> None:
    first = np.cumsum([0, *map(len, many)])
    for s, row in enumerate(reference):
        assert float(out["energy"][s]) == pytest.approx(row["energy"], abs=atol * 100)
        np.testing.assert_allclose(out["forces"][first[s] : first[s + 1]].numpy(), row["forces"], rtol=0, atol=atol)
        if "stress" in row:
            full = voigt_6_to_full_3x3_stress(row["stress"])
            np.testing.assert_allclose(out["stress"][s].numpy(), full, rtol=0, atol=atol)


# -- numbers ----------------------------------------------------------------------------------------------------


def test_torchsims_own_validation(zbl):
    interface.validate_model_outputs(ZooModel(zbl), CPU, torch.float64)
    single = get_calculator("zbl(3.0, 4.0)", elements=["Si", "Fe"], device="cpu", dtype="float32", threads=1)
    interface.validate_model_outputs(ZooModel(single), CPU, torch.float32)


def test_results_are_the_calculators(calc):
    many = crystals(9)
    out = ZooModel(calc)(state_of(many))
    check_equal(out, many, calc.evaluate(many))
    assert out["energy"].shape == (9,) and out["stress"].shape == (9, 3, 3)
    assert all(t.dtype == torch.float64 and not t.requires_grad for t in out.values())


def test_a_system_alone_and_in_a_batch(calc):
    many = crystals(8)
    batch = ZooModel(calc)(state_of(many))
    alone = [ZooModel(calc)(state_of([a])) for a in many]
    forces = torch.cat([o["forces"] for o in alone])
    assert torch.allclose(batch["energy"], torch.cat([o["energy"] for o in alone]), rtol=0, atol=1e-10)
    assert torch.allclose(batch["forces"], forces, rtol=0, atol=1e-12)
    assert torch.allclose(batch["stress"], torch.cat([o["stress"] for o in alone]), rtol=0, atol=1e-12)


def test_forces_and_stress_are_derivatives(calc):
    """Central differences in TorchSim's own variables: a transposed cell or another sign would show."""
    model, h = ZooModel(calc), 3e-5
    state = state_of([crystal(seed=5)])
    out = model(state)

    def energy(change) -> float:
        moved = state.clone()
        change(moved)
        return float(model(moved)["energy"][0])

    for n, k in ((0, 0), (1, 2)):
        def shift(s, sign, n=n, k=k):
            s.positions[n, k] += sign * h

        slope = (energy(lambda s: shift(s, 1)) - energy(lambda s: shift(s, -1))) / (2 * h)
        assert float(out["forces"][n, k]) == pytest.approx(-slope, abs=1e-7)
    volume = float(torch.linalg.det(state.cell[0]).abs())
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        def deform(s, sign, a=a, b=b):
            strain = torch.eye(3, dtype=torch.float64)
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            s.cell = strain @ s.cell  # columns are vectors
            s.positions = s.positions @ strain.T

        slope = (energy(lambda s: deform(s, 1)) - energy(lambda s: deform(s, -1))) / (2 * h)
        assert float(out["stress"][0, a, b]) == pytest.approx(slope / volume, abs=1e-8)
        assert abs(slope / volume) > 1e-5


def test_directions_without_periodicity(zbl):
    slab = fcc100("Cu", (2, 2, 2), vacuum=4.0)
    slab.pbc = (True, True, False)
    slab.positions *= 0.8
    slab.cell[:2] *= 0.8
    water = molecule("H2O")
    out = ZooModel(zbl, pbc=(True, True, False))(state_of([slab]))
    check_equal(out, [slab], zbl.evaluate([slab]))
    assert torch.isnan(out["stress"]).all()
    check_equal(ZooModel(zbl)(state_of([water, molecule("CH4")])), [water, molecule("CH4")],
                zbl.evaluate([water, molecule("CH4")]))  # fmt: skip
    state = state_of([slab])
    state.pbc = torch.tensor([True, True, False])
    check_equal(ZooModel(zbl)(state), [slab], zbl.evaluate([slab]))
    state.pbc = True
    with pytest.raises(OptionError, match="wrap its atoms"):
        ZooModel(zbl, pbc=(True, True, False))(state)
    state.pbc = torch.tensor([True, False])
    with pytest.raises(InvalidStructure, match="pbc has shape"):
        ZooModel(zbl)(state)


@pytest.mark.filterwarnings("ignore:.*symmetry functions")  # a teaching model that knows little
def test_charges():
    """Of a state (an attribute that TorchSim's own classes lack), or of all systems by argument."""
    spec = "hdnnp:carbon-chains"
    calc = get_calculator(spec, device="cpu", threads=1)
    atoms = Atoms("C10H2", [[1.3 * k, 0.02 * (-1) ** k, 0] for k in range(10)] + [[-1.07, 0, 0], [12.77, 0, 0]])
    charged = atoms.copy()
    charged.info["charge"] = 1
    neutral, plus = calc.evaluate([atoms, charged])
    assert abs(neutral["energy"] - plus["energy"]) > 1e-3
    state = state_of([atoms, atoms])
    state.charge = torch.tensor([0.0, 1.0], dtype=torch.float64)
    model = ZooModel(calc, compute_stress=False, outputs=("charges",))
    out = model(state)
    check_equal(out, [atoms, atoms], [neutral, plus], 1e-10)
    assert out["charges"].reshape(2, -1).sum(dim=1).tolist() == pytest.approx([0, 1], abs=1e-8)
    plus_model = ZooModel(calc, compute_stress=False, charge=1.0)
    assert float(plus_model(state_of([atoms]))["energy"][0]) == pytest.approx(plus["energy"], abs=1e-10)
    state.charge = torch.zeros(3)
    with pytest.raises(InvalidStructure, match="one per system"):
        model(state)


def test_initial_charges():
    calc = get_calculator("ewald", elements=["Na", "Cl"], device="cpu", threads=1)
    salt = bulk("NaCl", "rocksalt", 5.6)
    salt.rattle(0.05, seed=1)
    salt.set_initial_charges([1, -1])
    state = state_of([salt])
    state.initial_charges = torch.tensor([1.0, -1.0], dtype=torch.float64)
    check_equal(ZooModel(calc)(state), [salt], calc.evaluate([salt]), 1e-10)


def test_float32(calc):
    """Energy 1e-5 eV/atom, forces 1e-4 eV/A, stress 1e-5 eV/A^3, also from a state in double precision far away."""
    single = get_calculator("snap:Mo-linear", device="cpu", dtype="float32", threads=1)
    many = crystals(4)
    reference, model = calc.evaluate(many), ZooModel(single)
    for atoms in many:
        atoms.positions += 1e4
    for state in (state_of(many), state_of(many).to(dtype=torch.float64)):
        out = model(state)
        assert all(t.dtype == torch.float32 for t in out.values())
        energies = torch.tensor([r["energy"] for r in reference])
        assert torch.allclose(out["energy"].double(), energies.double(), atol=1e-5 * 8)
        assert np.abs(out["forces"].numpy() - np.concatenate([r["forces"] for r in reference])).max() < 1e-4
        full = np.stack([voigt_6_to_full_3x3_stress(r["stress"]) for r in reference])
        assert np.abs(out["stress"].numpy() - full).max() < 1e-5


def test_switches_and_further_outputs(calc):
    state = state_of(crystals(2))
    model = ZooModel(calc, compute_forces=False, compute_stress=False, outputs=("energies",))
    out = model(state)
    assert set(out) == {"energy", "energies"}
    assert float(out["energies"].sum()) == pytest.approx(float(out["energy"].sum()))
    model.compute_forces = model.compute_stress = True
    assert set(model(state)) == {"energy", "energies", "forces", "stress"}
    described = ZooModel("mtp:Mo", device="cpu", threads=1, outputs="descriptors")
    assert len(described(state)["descriptors"]) == state.n_atoms


def test_a_dict_is_a_state(calc):
    many = [crystal(seed=3)]
    state = state_of(many)
    names = ("positions", "cell", "atomic_numbers", "pbc")
    check_equal(ZooModel(calc)({k: getattr(state, k) for k in names}), many, calc.evaluate(many))


# -- TorchSim's runners -----------------------------------------------------------------------------------------


def test_relaxation(calc):
    """32 systems at once end where ASE's relaxation of each would: at the crystal's one minimum."""
    many = [crystal(seed=k, strain=0.01) for k in range(32)]
    model = ZooModel(calc)
    done = ts.generate_force_convergence_fn(5e-3, include_cell_forces=True)
    out = ts.optimize(many, model, optimizer=ts.unit_cell_fire, convergence_fn=done, max_steps=400)
    energies = out.energy / out.n_atoms_per_system
    assert out.n_systems == 32 and float(energies.max() - energies.min()) < 1e-4
    best = calc.evaluate([bulk("Mo", cubic=True)])[0]["energy"] / 2
    assert float(energies.max()) < best + 1e-4
    again = model(out)
    assert float(again["forces"].norm(dim=1).max()) < 6e-3 and float(again["stress"].abs().max()) < 2e-3


@pytest.mark.parametrize("name", ["nve", "nvt_langevin"])
def test_dynamics(calc, name):
    """16 systems; the neighbours of few are searched for again, although TorchSim wraps atoms at every step."""
    many, model = crystals(16), ZooModel(calc)
    torch.manual_seed(1)
    steps = 30
    out = ts.integrate(
        many, model, integrator=getattr(ts, name), n_steps=steps, temperature=300, timestep=0.001, seed=1
    ) if name == "nve" else ts.integrate(
        many, model, integrator=getattr(ts, name), n_steps=steps, temperature=300, timestep=0.001
    )  # fmt: skip
    assert out.n_systems == 16 and model.neighbours.searches < 16 * steps / 5
    check_equal({"energy": out.energy, "forces": out.forces}, many, [
        {k: r[k] for k in ("energy", "forces")} for r in calc.evaluate(out.to_atoms())
    ], 1e-11)  # fmt: skip


def test_energy_is_conserved(calc):
    many, model = [crystal(seed=k, size=(2, 2, 2), strain=0.0) for k in range(8)], ZooModel(calc)
    init, step = ts.nve(model, dt=torch.tensor(0.001 * ts.units.MetalUnits.time), kT=torch.tensor(0.02))
    state = init(state_of(many), seed=2)

    def total(s) -> torch.Tensor:
        kinetic = ts.calc_kinetic_energy(momenta=s.momenta, masses=s.masses, system_idx=s.system_idx)
        return s.energy + kinetic

    before = total(state)
    for _ in range(40):
        state = step(state)
    assert float((total(state) - before).abs().max()) < 2e-3


def test_constant_pressure(calc):
    many, model = crystals(8), ZooModel(calc)
    out = ts.integrate(
        many, model, integrator=ts.npt_langevin, n_steps=20, temperature=300, timestep=0.001,
        external_pressure=torch.tensor(0.0, dtype=torch.float64),
        b_tau=torch.tensor(0.1 * ts.units.MetalUnits.time, dtype=torch.float64),
    )  # fmt: skip
    assert not torch.allclose(out.cell, state_of(many).cell)
    check_equal({"energy": out.energy, "forces": out.forces, "stress": out.stress}, many,
                calc.evaluate(out.to_atoms()), 1e-11)  # fmt: skip


class Watched(ZooModel):
    """Compares every evaluation with that of a model that has seen nothing before."""

    def forward(self, state, **kwargs):
        out, fresh = super().forward(state), ZooModel(self.calculator)(state)
        assert torch.allclose(out["energy"], fresh["energy"], rtol=0, atol=1e-10)
        assert torch.allclose(out["forces"], fresh["forces"], rtol=0, atol=1e-12)
        self.sizes = [*getattr(self, "sizes", []), len(out["energy"])]
        return out


def test_autobatching(calc):
    """Systems enter and leave the batch: every evaluation is that of a new model, and all of them get relaxed. (The
    steps of TorchSim's FIRE depend on the batch, with its own models, too.)"""
    many = [crystal(seed=k, strain=0.01) for k in range(10)]
    done = ts.generate_force_convergence_fn(1e-2, include_cell_forces=False)
    settings = {"optimizer": ts.optimizers.fire, "convergence_fn": done, "max_steps": 300}
    model = Watched(calc)
    assert model.memory_scales_with == "n_atoms_x_density"
    batcher = ts.InFlightAutoBatcher(model, memory_scales_with="n_atoms", max_memory_scaler=6)
    parts = ts.optimize(many, model, autobatcher=batcher, **settings)
    assert len(model.sizes) > 2 and max(model.sizes) <= 3 and parts.n_systems == 10
    assert model.neighbours.searches < sum(model.sizes) / 5
    assert float(parts.forces.norm(dim=1).max()) < 1e-2
    check_equal({"energy": parts.energy, "forces": parts.forces}, many, [
        {k: r[k] for k in ("energy", "forces")} for r in calc.evaluate(parts.to_atoms())
    ], 1e-11)  # fmt: skip
    bins = ts.BinningAutoBatcher(model, memory_scales_with="n_atoms", max_memory_scaler=6)
    rows = ts.static(many, model, autobatcher=bins)
    energies = [float(r["potential_energy"][0]) for r in rows]
    assert energies == pytest.approx([r["energy"] for r in calc.evaluate(many)], abs=1e-10)


def test_too_large_reads_as_cuda_out_of_memory(calc, monkeypatch):
    model = ZooModel(calc)

    def fail(system):
        raise TooLarge(100.0, 10.0)

    monkeypatch.setattr(model.neighbours, "update", fail)
    with pytest.raises(TooLarge):
        model(state_of([crystal()]))
    model._device = torch.device("cuda")
    monkeypatch.setattr(model.states, "system", lambda state: state)
    with pytest.raises(RuntimeError, match="CUDA out of memory.*100.0 GiB"):
        model(state_of([crystal()]))


# -- refusals ---------------------------------------------------------------------------------------------------


def test_what_no_model_can_evaluate(calc):
    model, many = ZooModel(calc), crystals(3)
    foreign = [*many[:2], bulk("Cu", cubic=True)]
    with pytest.raises(UnsupportedElement, match="'Cu' .atom 0 of structure 2."):
        model(state_of(foreign))
    state = state_of(many)
    state.atomic_numbers[1] = 0
    with pytest.raises(InvalidStructure, match="atom 1 of structure 0 has atomic number 0"):
        model(state)
    model(state_of(many))
    for change, error, text in (
        (lambda s: s.positions[3].fill_(torch.nan), InvalidStructure, "of structure 1"),
        (lambda s: s.cell[1].zero_(), InvalidCell, "of structure 1"),
        (lambda s: s.positions[3].copy_(s.positions[2]), AtomsOverlap, "atoms 0 and 1 of structure 1"),
    ):
        state = state_of(many)
        change(state)
        with pytest.raises(error, match=text):
            model(state)
        check_equal(model(state_of(many)), many, calc.evaluate(many))  # and nothing is left behind
    with pytest.raises(InvalidStructure, match="system_idx"):
        model({"positions": torch.zeros(2, 3), "cell": torch.eye(3), "pbc": True,
               "atomic_numbers": torch.tensor([42, 42]), "system_idx": torch.tensor([0, 1])})  # fmt: skip


def test_results_that_are_not_finite(calc, monkeypatch):
    model = ZooModel(calc)
    compute = calc.model.compute

    def broken(system, pairs, need):
        results = compute(system, pairs, need)
        results.forces[3] = torch.nan
        return results

    monkeypatch.setattr(calc.model, "compute", broken)
    with pytest.raises(NonFiniteResult, match="structure 1 of 3"):
        model(state_of(crystals(3)))


def test_wrong_arguments(calc):
    for arguments, text in (
        ({"dtype": "float32"}, "computes in torch.float64"),
        ({"device": "cuda"}, "is on cpu"),
        ({"outputs": ("charges",)}, "outputs names 'charges'"),
        ({"pbc": (True, True)}, "three of them"),
        ({"memory_scales_with": "volume"}, "allowed are n_atoms_x_density"),
        ({"elements": "Mo"}, "is for a spec"),
    ):
        with pytest.raises(OptionError, match=text):
            ZooModel(calc, **arguments)
    with pytest.raises(OptionError, match="expected a calculator of calczoo"):
        ZooModel(object())
    no_stress = get_calculator("torchsim:morse(cutoff=5)", device="cpu")
    no_stress.model.outputs -= {"virial"}
    assert ZooModel(no_stress).compute_stress is False
    with pytest.raises(PropertyNotImplementedError, match="does not compute stress"):
        ZooModel(no_stress, compute_stress=True)


def test_copies(calc):
    model, many = ZooModel(calc), crystals(3)
    out = model(state_of(many))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(state_of(many))["forces"], out["forces"])


def test_the_example_of_the_readme():
    text = (Path(__file__).parents[1] / "README.md").read_text()
    example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["relaxed"].n_systems == names["hot"].n_systems == 8
    assert float(names["relaxed"].energy.max() - names["relaxed"].energy.min()) < 0.05
