"""A small potential of generation 3 or 4 made of random numbers, and structures for it."""

from __future__ import annotations

from functools import cache

import numpy as np
from ase import Atoms

from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.hdnnp.charged import HdnnpCharged
from calczoo.families.hdnnp.params import Electrostatics, ElementModel, HdnnpParams, Network, SymmetryFunction


def flat(model: HdnnpCharged, *structures: Atoms):
    """The structures as a system, and its pairs."""
    system = System.from_atoms(list(structures), dtype=model.dtype)
    return system, find_pairs(system, model.cutoff)


def random_params(generation: int, screened: bool = True, widths: bool = True, **changes) -> HdnnpParams:
    """Two elements, five functions each, cutoff 4.5 A, normalised by numbers that are all different."""
    rng = np.random.default_rng(11)

    def network(n: int, scale: float) -> Network:
        sizes = ((n, 5), (5, 4), (4, 1))
        weights = tuple(rng.normal(0, 0.9 if k < 2 else scale, s) for k, s in enumerate(sizes))
        return Network(weights, tuple(rng.normal(0, 0.4, s[1]) for s in sizes), "ttl")

    def element(width: float, energy: float) -> ElementModel:
        functions = (
            SymmetryFunction(2, ("Na",), eta=0.2, rc=4.5),
            SymmetryFunction(2, ("Cl",), eta=0.5, rs=1.5, rc=4.5),
            SymmetryFunction(9, ("Na", "Na"), eta=0.05, lam=-1.0, zeta=2.0, rc=4.0),
            SymmetryFunction(9, ("Na", "Cl"), eta=0.03, lam=1.0, zeta=1.0, rc=4.0),
            SymmetryFunction(9, ("Cl", "Cl"), eta=0.02, lam=1.0, zeta=3.0, rc=4.0),
        )
        scaling = np.stack([np.zeros(5), 3 + np.arange(5.0), 1 + 0.1 * np.arange(5), np.ones(5)], axis=1)
        short = network(5 + (generation == 4), 0.8)
        hardness = 2.0 + rng.uniform()
        return ElementModel(functions, scaling, short, network(5, 0.5), hardness, width if widths else 0.0, energy)

    screening = dict(r_inner=1.5, r_outer=5.2, core="p4") if screened else {}
    values = dict(
        elements=("Na", "Cl"),
        models=(element(1.1, -2.0), element(0.8, -3.5)),
        generation=generation,
        cutoff_type=2,
        mean_energy=0.3,
        conv_energy=1.4,
        conv_length=1.2,
        conv_charge=0.7,
        electrostatics=Electrostatics(coulomb=3.1, **screening),
        length_unit=0.9,
        energy_unit=1.7,
    )
    return HdnnpParams(**{**values, **changes})


def tiny_cell() -> Atoms:
    """Three atoms in a skew cell of 3 A: own images lie within every cutoff."""
    cell = [[3.1, 0.0, 0.0], [0.6, 3.3, 0.0], [-0.4, 0.5, 2.9]]
    return Atoms("NaClNa", scaled_positions=[(0, 0, 0), (0.45, 0.55, 0.5), (0.6, 0.1, 0.2)], cell=cell, pbc=True)


def molecule(charge: float = 0.0) -> Atoms:
    x = [(0, 0, 0), (2.1, 0.3, 0.1), (3.5, 2.0, -0.4), (0.8, 2.6, 1.7), (-5.0, 1.0, 3.0)]
    atoms = Atoms("NaClNaClCl", positions=x)
    atoms.info["charge"] = charge
    return atoms


MODELS = {
    "4G": (random_params, dict(generation=4), {}),
    "4G, not screened": (random_params, dict(generation=4, screened=False), {}),
    "3G, Gaussian charges": (random_params, dict(generation=3), {}),
    "3G, point charges": (random_params, dict(generation=3, widths=False), {}),
    "3G, scaled charges": (random_params, dict(generation=3), dict(total="scaled")),
}


@cache
def small_model(name: str, backend: str = "torch", **options) -> HdnnpCharged:
    make, arguments, more = MODELS[name]
    return HdnnpCharged(make(**arguments), backend=backend, **{"accuracy": 1e-14, **more, **options})


def difference(function, h: float = 2e-3) -> float:
    """Four-point derivative of function(h) at 0."""
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)
