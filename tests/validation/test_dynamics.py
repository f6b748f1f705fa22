"""Molecular dynamics in batches: integrators against ASE and exact averages, replicas that explode, derived numbers."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from calczoo import get_calculator
from calczoo_validation.dynamics import Dynamics, Replica, thermal_velocities
from calczoo_validation.engine import Evaluator
from data import lammps_potential


@pytest.fixture(scope="module")
def copper_eam():
    return get_calculator("eam", model=str(lammps_potential("Cu_mishin1.eam.alloy")), elements=["Cu"])


def copper(cells: int = 2, a: float = 3.615) -> Atoms:
    return bulk("Cu", "fcc", a=a, cubic=True).repeat(cells)


class Einstein:
    """Atoms tied to their sites by springs K (eV/A^2), with a volume term: all averages are known."""

    K, MODULUS, V0 = 2.0, 0.5, 1000.0  # eV/A^2, eV/A^3, A^3

    def __init__(self, sites: np.ndarray):
        self.sites = sites  # fractional

    def evaluate(self, structures, properties=()):
        out = []
        for atoms in structures:
            away = atoms.positions - self.sites @ atoms.cell.array
            ratio = atoms.get_volume() / self.V0
            energy = 0.5 * self.K * (away**2).sum() + 0.5 * self.MODULUS * self.V0 * (ratio - 1) ** 2
            # under a homogeneous strain the distance from the site scales with the cell
            stress = self.K * away.T @ away / atoms.get_volume() + self.MODULUS * (ratio - 1) * np.eye(3)
            voigt = np.array([stress[0, 0], stress[1, 1], stress[2, 2], stress[1, 2], stress[0, 2], stress[0, 1]])
            out.append({"energy": energy, "forces": -self.K * away, "stress": voigt})
        return out


def einstein(n: int = 3) -> tuple[Atoms, Einstein]:
    atoms = bulk("Cu", "sc", a=10.0 / n).repeat(n)
    atoms.set_cell(np.eye(3) * 10.0, scale_atoms=True)
    return atoms, Einstein(atoms.get_scaled_positions())


def test_the_trajectory_is_that_of_ase(copper_eam):
    atoms = copper()
    atoms.rattle(0.05, seed=1)
    velocities = thermal_velocities(atoms, 600.0, np.random.default_rng(3))
    run = Dynamics(Evaluator(copper_eam), [Replica(atoms, 600.0, 2.0, velocities=velocities)] * 2)
    run.run(60, every=60)
    other = atoms.copy()
    other.calc = copper_eam
    other.set_velocities(velocities)
    VelocityVerlet(other, 2.0 * units.fs).run(60)
    for state in run.states:
        assert np.abs(state.atoms.positions - other.positions).max() < 1e-9
        assert np.abs(state.v - other.get_velocities()).max() < 1e-9
        assert state.trace.total[-1] == pytest.approx(other.get_total_energy(), abs=1e-9)
        assert state.trace.temperature[-1] * 93 / 96 == pytest.approx(other.get_temperature(), rel=1e-9)


def test_energy_error_falls_with_the_square_of_the_time_step(copper_eam):
    atoms = copper()
    velocities = thermal_velocities(atoms, 600.0, np.random.default_rng(3))
    spread = []
    for h in (4.0, 2.0, 1.0):
        run = Dynamics(Evaluator(copper_eam), [Replica(atoms, 600.0, h, velocities=velocities)])
        (trace,) = run.run(round(400 / h), every=1)
        spread.append(np.ptp(trace.total))
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.15)
    assert spread[1] / spread[2] == pytest.approx(4.0, rel=0.1)


def test_langevin_averages_of_an_einstein_crystal():
    """<U> = 3/2 N kT, exactly for any time step in BAOAB; <K> = 3/2 (N - 1) kT; and <x^2> = kT / K."""
    atoms, calc = einstein()
    temperature = 400.0
    replicas = [Replica(atoms, temperature, 5.0, friction=10.0, seed=k) for k in range(4)]
    run = Dynamics(Evaluator(calc), replicas)
    run.run(300, every=300)
    run.clear()
    traces = run.run(1600, every=5)
    potential = np.mean([np.mean(t.potential) for t in traces])
    kinetic = np.mean([np.mean(t.kinetic) for t in traces])
    expected = 1.5 * 26 * units.kB * temperature  # the centre of mass rests at its mean
    assert potential == pytest.approx(expected, rel=0.02)
    assert kinetic == pytest.approx(expected, rel=0.02)
    spread = np.std([t.potential for t in traces])  # sqrt(f/2) kT of f quadratic degrees of freedom
    assert spread == pytest.approx(np.sqrt(39) * units.kB * temperature, rel=0.1)


@pytest.mark.parametrize(("axes", "pressure"), [(None, 2.0), ((True, True, True), 0.0), ((False, False, True), 2.0)])
def test_volume_average_and_fluctuation(axes, pressure):
    """Springs in the crystal's own frame, U = K s.s V^(2/3)/2 + B V0 (V/V0 - 1)^2 / 2: the density of V is known."""
    atoms, calc = einstein()
    temperature = 600.0
    replicas = [
        Replica(atoms, temperature, 5.0, 10.0, pressure, axes, compressibility=0.0125, barostat_time=0.1, seed=k)
        for k in range(5)
    ]
    run = Dynamics(Evaluator(calc), replicas)
    run.run(100, every=100)
    run.clear()
    traces = run.run(1000, every=2)
    volumes = np.array([t.volume for t in traces])
    # V^N times the integral over N - 1 springs, V^-(N - 1): the centre of mass rests
    v = np.linspace(700, 1300, 20001)
    kt = units.kB * temperature
    log = np.log(v) - (0.5 * calc.MODULUS * calc.V0 * (v / calc.V0 - 1) ** 2 + pressure * units.GPa * v) / kt
    p = np.exp(log - log.max())
    mean = (p * v).sum() / p.sum()
    std = np.sqrt((p * (v - mean) ** 2).sum() / p.sum())
    assert volumes.mean() == pytest.approx(mean, abs=0.2 * std)
    assert volumes.std() == pytest.approx(std, rel=0.15)


def test_a_calculator_without_stress_has_the_same_volume():
    atoms, calc = einstein()

    class Silent(Einstein):
        implemented_properties = ["energy", "forces"]

    replicas = [
        Replica(atoms, 600.0, 5.0, 10.0, 2.0, axes, compressibility=0.0125, barostat_time=0.1, seed=k)
        for k, axes in enumerate([None, None, (True, True, True), (False, False, True)])
    ]
    run = Dynamics(Evaluator(Silent(calc.sites)), replicas)
    assert run.numerical
    run.run(200, every=200)
    run.clear()
    volumes = np.array([t.volume for t in run.run(1200, every=10)])
    # one run spans some 20 correlation times of a volume that fluctuates by 10 A^3
    assert volumes.mean(axis=1) == pytest.approx(975.0, abs=9.0)
    assert volumes.mean() == pytest.approx(975.0, abs=4.5)


def test_results_do_not_depend_on_the_other_replicas(copper_eam):
    def last(count):
        replicas = [Replica(copper(), 500.0 + 50 * k, 2.0, 5.0, 0.0, seed=(7, k)) for k in range(count)]
        run = Dynamics(Evaluator(copper_eam), replicas)
        run.run(30)
        return run.states[0].atoms.positions, run.states[0].atoms.cell.array

    alone, together, again = last(1), last(4), last(4)
    assert np.abs(alone[0] - together[0]).max() < 1e-9
    assert np.array_equal(together[0], again[0]) and np.array_equal(together[1], again[1])


class Bomb(Calculator):
    """EMT that throws atoms apart, fails or gives nonsense for one marked structure."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, how):
        super().__init__()
        self.how, self.calls = how, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        work = atoms.copy()
        work.calc = EMT()
        self.results = {"energy": work.get_potential_energy(), "forces": work.get_forces()}
        if atoms.info.get("bad"):
            self.calls += 1
            if self.how == "raise" and self.calls > 5:
                raise RuntimeError("the table ends here")
            if self.how == "nan" and self.calls > 5:
                self.results["forces"] = self.results["forces"] * np.nan
            if self.how == "hot":
                self.results["forces"] = self.results["forces"] + 5.0 * np.sign(atoms.positions - 3.6)
            if self.how == "attract":
                self.results["forces"][0] = 3.0 * (atoms.positions[1] - atoms.positions[0])
                self.results["forces"][1] = -self.results["forces"][0]


@pytest.mark.parametrize(
    ("how", "said"),
    [("raise", "the table ends here"), ("nan", "not finite"), ("hot", "temperature|moved"), ("attract", "came within")],
)
def test_one_replica_explodes_and_the_others_go_on(how, said):
    import re

    bad = copper()
    bad.info["bad"] = True
    replicas = [Replica(copper(), 100.0, 2.0), Replica(bad, 100.0, 2.0, closest=1.6), Replica(copper(), 200.0, 2.0)]
    run = Dynamics(Evaluator(Bomb(how)), replicas)
    traces = run.run(60, every=10)
    assert [t.alive for t in traces] == [True, False, True]
    assert re.search(said, traces[1].reason), traces[1].reason
    assert traces[0].survived == pytest.approx(0.12) and traces[1].survived < 0.12
    assert len(traces[0].time) == 7 and np.ptp(traces[0].total) < 1e-3


def test_frozen_atoms_rest_and_the_others_have_the_temperature(copper_eam):
    atoms = copper(3)
    frozen = atoms.positions[:, 2] < 5.0
    run = Dynamics(Evaluator(copper_eam), [Replica(atoms, 800.0, 2.0, 10.0, frozen=frozen, seed=2)])
    (trace,) = run.run(200, every=5)
    moved = np.abs(run.states[0].atoms.positions - atoms.positions)
    assert moved[frozen].max() == 0.0 and moved[~frozen].max() > 0.1
    assert np.mean(trace.temperature[10:]) == pytest.approx(800, rel=0.1)
