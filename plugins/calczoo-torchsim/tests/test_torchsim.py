"""Models of TorchSim as calculators of the zoo: its own pair potentials, factories, and instances."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from calczoo import describe, get_calculator
from calczoo.core.errors import (
    BackendUnavailable,
    ForeignError,
    OptionError,
    PropertyNotImplementedError,
    SpecError,
    UnknownCalculator,
    UnsupportedElement,
)
from torchsim_structures import crystal, crystals

ts = pytest.importorskip("torch_sim")
from torch_sim.models.lennard_jones import LennardJonesModel  # noqa: E402
from torch_sim.models.morse import MorseModel  # noqa: E402

from calczoo_torchsim import FAMILY, ZooModel  # noqa: E402
from calczoo_torchsim.models import BUNDLED  # noqa: E402

LIGHT = """
import json, sys
from calczoo import describe, get_family
import calczoo_torchsim
names = sorted(get_family("torchsim").bundled)
describe("torchsim:morse")
print(json.dumps([names, [m for m in ("torch", "torch_sim") if m in sys.modules]]))
"""
MORSE = {"sigma": 2.866, "epsilon": 0.3429, "alpha": 1.3588, "cutoff": 6.0}
STEEP = {**MORSE, "alpha": 2.5, "cutoff": 10.0}
"""Without a step at the cutoff."""
SPEC = "torchsim:morse(cutoff=6)"


class OwnModel(ts.models.interface.ModelInterface):
    """A harmonic well around the origin, without stress, that cannot be switched; it counts its calls."""

    def __init__(self, stiffness: float = 1.0, device=None, dtype=torch.float64):
        super().__init__()
        self._device, self._dtype, self.stiffness = device or torch.device("cpu"), dtype, stiffness
        self._compute_forces, self._compute_stress = True, False
        self.calls = 0

    def forward(self, state, **kwargs):
        self.calls += 1
        each = 0.5 * self.stiffness * state.positions.square().sum(dim=1)
        energy = torch.zeros(state.n_systems, dtype=self.dtype).index_add(0, state.system_idx, each)
        return {"energy": energy, "forces": -self.stiffness * state.positions}


def not_a_model():
    return 42


@pytest.fixture(scope="module")
def morse():
    return get_calculator(SPEC, device="cpu", threads=1)


# -- cards and refusals -----------------------------------------------------------------------------------------


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    names, heavy = json.loads(done.stdout.splitlines()[-1])
    assert names == sorted(m.name for m in BUNDLED) and "torch_sim" not in heavy


def test_cards():
    card = describe("torchsim:lennard-jones(sigma=2.5)")
    assert card.name == "lennard-jones(sigma=2.5)" and card.elements == ("Ar",) and card.cutoff == 12.0
    assert "sigma=2.5" in card.summary and "MIT" in card.licence and "set right" in card.extra
    assert describe("torchsim:morse", elements="Ni Cu").elements == ("Ni", "Cu")
    assert describe("torchsim", model=OwnModel(), elements="H").name == "OwnModel"
    assert FAMILY.backends == () and FAMILY.worker == "calczoo_torchsim.worker"


@pytest.mark.parametrize(
    ("spec", "options", "error", "text"),
    [
        ("torchsim:mors", {}, UnknownCalculator, "lennard-jones, morse, soft-sphere"),
        ("torchsim:lennard-jones", {"alpha": 1.0}, OptionError, "no option 'alpha'"),
        ("torchsim:soft-sphere", {"cutoff": 5.0}, OptionError, "its options: sigma, epsilon, alpha, batch_atoms"),
        ("torchsim:morse", {"sigma": -1.0}, OptionError, "positive number"),
        ("torchsim:morse", {"batch_atoms": 0}, OptionError, "at least 1"),
        ("torchsim", {}, OptionError, "no model; expected"),
        ("torchsim", {"model": ["a", "b"]}, OptionError, "a tuple; expected"),
        ("torchsim:a.b:make", {}, OptionError, r"name them: elements="),
        ("torchsim:a.b:make", {"elements": "H", "stress": "no"}, OptionError, "true or false"),
        ("torchsim:a.b:make", {"elements": "H", "reach": -2}, OptionError, "positive length"),
        ("torchsim(1.0)", {}, OptionError, "named arguments"),
        ("torchsim:morse(1.0, 2.0)", {}, SpecError, "name=value"),
    ],
)
def test_wrong_requests(spec, options, error, text):
    with pytest.raises(error, match=text):
        get_calculator(spec, device="cpu", **options)


def test_wrong_instances():
    for model, options, text in (
        (OwnModel(), {}, "does not tell which elements"),
        (OwnModel(dtype=torch.float32), {"elements": "H"}, "write dtype='float32'"),
        (OwnModel(), {"elements": "H", "device": "cuda"}, "is on cpu"),
        (LennardJonesModel(dtype=torch.float64, use_neighbor_list=False), {"elements": "H"}, "nearest images"),
        (OwnModel(), {"elements": "H", "sigma": 1.0}, "no option 'sigma'"),
        (LennardJonesModel, {"elements": "H"}, "was given a ABCMeta"),
    ):
        with pytest.raises(OptionError, match=text):
            get_calculator("torchsim", model=model, **options)


def test_factories_that_fail():
    atoms = Atoms("H")
    for name, error, text in (
        ("no_such_package:make", BackendUnavailable, "no_such_package"),
        (f"{__name__}:nothing", ForeignError, "nothing"),
    ):
        with pytest.raises(error, match=text):
            get_calculator(f"torchsim:{name}", elements="H", device="cpu").get_potential_energy(atoms)
    with pytest.raises(ForeignError, match="returned a str"):
        get_calculator("torchsim:os.path:join(a=x)", elements="H", device="cpu").get_potential_energy(atoms)


def test_elements_are_refused_before_any_work():
    model = OwnModel()
    with pytest.raises(UnsupportedElement, match="He"):
        get_calculator("torchsim", model=model, elements="H").get_potential_energy(Atoms("He"))
    assert model.calls == 0


# -- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["torchsim:morse(alpha=2.5, cutoff=10)", "torchsim:soft-sphere(sigma=4)", "instance"])
def test_forces_and_stress_are_derivatives(spec):
    """Every component, in a triclinic cell: what TorchSim 0.3.0 has wrong is set right, for its own instances too."""
    if spec == "instance":
        model = MorseModel(**STEEP, dtype=torch.float64, compute_forces=True, compute_stress=True)
        calc = get_calculator("torchsim", model=model, elements="Cu", device="cpu")
    else:
        calc = get_calculator(spec, elements="Cu", device="cpu", threads=1)
    atoms, h = crystal("Cu", seed=2), 1e-4
    moved, labels = [], []
    for n in range(len(atoms)):
        for k in range(3):
            for sign in (1, -1):
                moved.append(atoms.copy())
                moved[-1].positions[n, k] += sign * h
            labels.append((n, k))
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            moved.append(atoms.copy())
            moved[-1].set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    energies = np.array([r["energy"] for r in calc.evaluate(moved, ("energy",))])
    slopes = (energies[::2] - energies[1::2]) / (2 * h)
    np.testing.assert_allclose(calc.get_forces(atoms).reshape(-1), -slopes[: len(labels)], atol=1e-6)
    np.testing.assert_allclose(calc.get_stress(atoms), slopes[len(labels) :] / atoms.get_volume(), atol=1e-7)


def test_energy_of_the_formula(morse):
    """Against a sum over all images, in a triclinic cell."""
    atoms = crystal("Cu", seed=3)
    images = np.stack(np.meshgrid(*[range(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ atoms.cell.array
    r = np.linalg.norm(atoms.positions[:, None, None] - atoms.positions[None, :, None] - images, axis=-1)
    r = r[(r > 1e-9) & (r < 6.0)]
    expected = 0.5 * (0.3429 * ((1 - np.exp(-1.3588 * (r - 2.866))) ** 2 - 1)).sum()
    assert morse.get_potential_energy(atoms) == pytest.approx(expected, rel=1e-12)


def test_instances_factories_and_names_agree(morse):
    many = crystals(3, "Cu")
    model = MorseModel(**MORSE, dtype=torch.float64, compute_forces=True, compute_stress=True)
    given = get_calculator("torchsim", model=model, elements="Cu", device="cpu")
    text = ", ".join(f"{k}={v}" for k, v in MORSE.items())
    made = get_calculator(f"torchsim:torch_sim.models.morse:MorseModel({text})", elements="Cu", device="cpu")
    for a, b, c in zip(morse.evaluate(many), given.evaluate(many), made.evaluate(many), strict=True):
        for name, value in a.items():
            assert np.array_equal(value, b[name]) and np.array_equal(value, c[name])
    assert model.compute_stress is True and given.card.cutoff == 6.0


def test_a_model_without_stress():
    model = OwnModel(2.0)
    calc = get_calculator("torchsim", model=model, elements="H Cu")
    assert calc.implemented_properties == ["energy", "free_energy", "forces"]
    atoms = molecule("H2")
    assert calc.get_potential_energy(atoms) == pytest.approx(np.square(calc.get_forces(atoms)).sum() / 4)
    with pytest.raises(PropertyNotImplementedError):
        calc.get_stress(bulk("Cu"))
    made = get_calculator(f"torchsim:{OwnModel.__module__}:OwnModel(stiffness=2.0, stress=false)", elements="H")
    assert "stress" not in made.implemented_properties


def test_batches(morse):
    """One call of the model for many structures, open and periodic ones apart, up to batch_atoms at a time."""
    many = [crystal("Cu", 1), bulk("Cu"), Atoms("Cu2", [[0, 0, 0], [2, 1, 0.5]]), crystal("Cu", 2, (2, 1, 1))]
    model = OwnModel()
    calc = get_calculator("torchsim", model=model, elements="Cu", batch_atoms=8)
    calc.evaluate(many, ("energy", "forces"))
    assert model.calls == 3
    small = get_calculator("torchsim:morse(cutoff=6, batch_atoms=3)", device="cpu")
    for atoms, a, b in zip(many, morse.evaluate(many), small.evaluate(many), strict=True):
        alone = morse.evaluate([atoms])[0]
        for name, value in alone.items():
            np.testing.assert_allclose(a[name], value, rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(b[name], value, rtol=1e-13, atol=1e-13)


def test_directions_without_periodicity(morse):
    """A slab is one with enough vacuum; without a cutoff that is refused."""
    slab = crystal("Cu", 4, (2, 2, 1))
    thick = slab.copy()
    slab.pbc = (True, True, False)
    normal = np.cross(slab.cell[0], slab.cell[1])
    thick.cell[2] = normal / np.linalg.norm(normal) * 40.0
    a, b = morse.evaluate([slab, thick])
    assert a["energy"] == pytest.approx(b["energy"], abs=1e-11) and "stress" not in a
    np.testing.assert_allclose(a["forces"], b["forces"], atol=1e-12)
    own = OwnModel()
    with pytest.raises(PropertyNotImplementedError, match="reach="):
        get_calculator("torchsim", model=own, elements="Cu").get_potential_energy(slab)
    get_calculator("torchsim", model=own, elements="Cu", reach=5.0).get_potential_energy(slab)
    wire = slab.copy()
    wire.pbc = (False, True, False)
    assert np.isfinite(morse.get_forces(wire)).all()


def test_left_handed_cells_and_far_atoms(morse):
    atoms = crystal("Cu", 5)
    other = atoms.copy()
    other.set_cell(atoms.cell.array[[1, 0, 2]])
    other.positions[1] += 3 * atoms.cell.array[0] - 2 * atoms.cell.array[2]
    for name, value in morse.evaluate([atoms])[0].items():
        np.testing.assert_allclose(morse.evaluate([other])[0][name], value, atol=1e-11)


def test_round_trip():
    """A calculator of the zoo as a model of TorchSim as a calculator of the zoo."""
    calc = get_calculator("snap:Mo-linear", device="cpu", threads=1)
    model = ZooModel(calc, compute_stress=False, outputs=("energies",))
    back = get_calculator("torchsim", model=model, device="cpu")
    assert back.card.elements == ("Mo",) and back.card.cutoff == calc.card.cutoff
    slab = crystal(seed=7)
    slab.pbc = (True, False, True)
    many = [*crystals(5), slab, Atoms("Mo2", [[0, 0, 0], [2.0, 1.0, 1.0]])]
    names = ("energy", "energies", "forces", "stress")
    for a, b in zip(calc.evaluate(many, names), back.evaluate(many, names), strict=True):
        assert set(a) == set(b)
        for name, value in a.items():
            np.testing.assert_allclose(b[name], value, rtol=1e-12, atol=1e-12)
    assert model.compute_stress is False  # as it was


def test_round_trip_with_charges():
    calc = get_calculator("ewald", elements=["Na", "Cl"], device="cpu", threads=1)
    back = get_calculator("torchsim", model=ZooModel(calc), device="cpu")
    salt = bulk("NaCl", "rocksalt", 5.6)
    salt.rattle(0.05, seed=1)
    salt.set_initial_charges([1, -1])
    assert back.get_potential_energy(salt) == pytest.approx(calc.get_potential_energy(salt), abs=1e-11)


def test_sums_with_other_terms(morse):
    atoms = crystal("Cu", 6)
    both = get_calculator(f"{SPEC} + zbl(2.0, 3.0)", device="cpu", threads=1)
    other = get_calculator("zbl(2.0, 3.0)", elements=["Cu"], device="cpu")
    assert abs(other.get_potential_energy(atoms)) > 1e-3
    np.testing.assert_allclose(both.get_forces(atoms), morse.get_forces(atoms) + other.get_forces(atoms), atol=1e-10)
    np.testing.assert_allclose(both.get_stress(atoms), morse.get_stress(atoms) + other.get_stress(atoms), atol=1e-10)


# -- manners ----------------------------------------------------------------------------------------------------


def test_settings_of_the_process_stay():
    def state():
        return (
            torch.get_default_dtype(), torch.get_num_threads(), list(warnings.filters), dict(os.environ),
            torch.is_grad_enabled(), torch.get_rng_state().tolist(),
        )  # fmt: skip

    before = state()
    get_calculator(SPEC, device="cpu", threads=1).get_potential_energy(bulk("Cu"))
    assert state() == before


def test_in_a_process_of_its_own(morse):
    atoms = crystal("Cu", 8)
    with_worker = get_calculator(SPEC, device="cpu", isolated=sys.executable)
    np.testing.assert_allclose(with_worker.get_forces(atoms), morse.get_forces(atoms), atol=1e-12)
    with_worker.model.close()
