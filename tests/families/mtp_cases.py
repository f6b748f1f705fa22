"""Golden values of MLIP-2 and MLIP-3, and small potentials made up for tests."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
from ase import Atoms

from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.mtp.load import read_file
from calczoo.families.mtp.params import Moments, MtpParams
from data import data_folder, shared

GOLDEN = "reference/mtp/mtp_golden.json"


@cache
def golden_cases() -> dict[str, dict]:
    """Name -> case; empty where the data are not there (a test that asks for one is skipped then)."""
    path = data_folder() / GOLDEN
    return {c["name"]: c for c in json.loads(path.read_text())["cases"]} if path.exists() else {}


@cache
def golden_params(path: str, elements: tuple[str, ...]) -> MtpParams:
    return read_file(shared(path.removeprefix("shared/")), elements)


def case_params(case: dict) -> MtpParams:
    return golden_params(case["potential"], tuple(case["species_order"]))


def case_atoms(case: dict) -> Atoms:
    return Atoms(case["symbols"], positions=case["positions"], cell=case["cell"], pbc=case["pbc"])


def prepared(model, *frames: Atoms):
    """(System, Pairs) of structures for a model."""
    system = System.from_atoms(list(frames), model.device, model.dtype)
    return system, find_pairs(system, model.cutoff)


def toy(
    elements: tuple[str, ...] = ("Cu",), basis: str = "RBChebyshev", seed: int = 0, size: int = 5, **fields
) -> MtpParams:
    """A potential with random coefficients: two radial functions, products of one to four moments, depth two."""
    basic = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    basic += [(0, 2, 0, 0), (0, 0, 2, 0), (0, 0, 0, 2), (0, 1, 1, 0), (0, 1, 0, 1), (0, 0, 1, 1)]
    times = [(0, 0, 1, 11), (0, 1, 1, 12)]
    times += [(k, k, 1, 13) for k in (2, 3, 4)]
    times += [(k, k, 1 if k < 8 else 2, 14) for k in range(5, 11)]
    times += [(11, 11, 1, 15), (0, 13, 1, 16)]
    moments = Moments(np.array(basic), np.array(times), 17, np.array([0, 1, 11, 12, 13, 14, 15, 16]))
    rng, c = np.random.default_rng(seed), len(elements)
    return MtpParams(
        elements=elements,
        radial=rng.normal(size=(c, c, 2, size)) * 0.1,
        moments=moments,
        species=rng.normal(size=c),
        weights=rng.normal(size=8) * 0.2,
        basis=basis,
        **({"min_dist": 1.9, "max_dist": 4.6, "name": "toy"} | fields),
    )


def rattled(element: str, seed: int, repeat: int = 2, amount: float = 0.1, **bulk_fields) -> Atoms:
    from ase.build import bulk

    atoms = bulk(element, cubic=True, **bulk_fields).repeat(repeat)
    atoms.rattle(amount, seed=seed)
    return atoms
