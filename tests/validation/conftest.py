"""Calculators that the validation is tested on: ASE's EMT and Tersoff, and wrappers that batch, break or lie."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.tersoff import Tersoff, TersoffParameters

# Si of J. Tersoff, Phys. Rev. B 38, 9902 (1988), doi:10.1103/PhysRevB.38.9902, called T3 by Balamane et al.
TERSOFF_SI = TersoffParameters(
    A=1830.8, B=471.18, lambda1=2.4799, lambda2=1.7322, lambda3=0.0, beta=1.1e-6, gamma=1.0, m=3.0, n=0.78734,
    c=1.0039e5, d=16.217, h=-0.59825, R=2.85, D=0.15,
)  # fmt: skip


class Wrapped(Calculator):
    """A calculator that passes another one's results on, changed by `change(results, atoms)`."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, inner=None, change=None):
        super().__init__()
        self.inner, self.change = inner or EMT(), change or (lambda results, atoms: results)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        work = atoms.copy()
        work.calc = self.inner
        results = {"energy": work.get_potential_energy(), "forces": work.get_forces(), "stress": work.get_stress()}
        self.results = self.change(results, atoms)


def cubic_only(results, atoms):
    """For `Wrapped`: every strained cell is refused."""
    if np.ptp(atoms.cell.lengths()) > 1e-6 or np.ptp(atoms.cell.angles()) > 1e-6:
        raise RuntimeError("a sheared cell, said the code")
    return results


class Batched:
    """Not an ASE calculator at all: only `evaluate`, one call for many structures; counts its calls."""

    def __init__(self, change=None):
        self.calls, self.change = 0, change or (lambda results, atoms: results)

    def evaluate(self, structures, properties=("energy", "forces", "stress")):
        self.calls += 1
        out = []
        for atoms in structures:
            work = atoms.copy()
            work.calc = EMT()
            results = {"energy": work.get_potential_energy(), "forces": work.get_forces(), "stress": work.get_stress()}
            out.append({k: v for k, v in self.change(results, atoms).items() if k in properties})
        return out


class NoStress(Calculator):
    """Energy and forces of EMT only."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        work = atoms.copy()
        work.calc = EMT()
        self.results = {"energy": work.get_potential_energy(), "forces": work.get_forces()}


@pytest.fixture
def emt():
    return EMT()


@pytest.fixture
def lennard_jones():
    """Argon with a smooth cutoff, from ASE."""
    from ase.calculators.lj import LennardJones

    return LennardJones(sigma=3.40, epsilon=0.01034, rc=10.0, smooth=True)


@pytest.fixture
def tersoff():
    return Tersoff({("Si", "Si", "Si"): TERSOFF_SI})


@pytest.fixture
def wrapped():
    return Wrapped


@pytest.fixture
def batched():
    return Batched


@pytest.fixture
def no_stress():
    return NoStress


@pytest.fixture
def rng():
    return np.random.default_rng(7)
