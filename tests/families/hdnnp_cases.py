"""Golden values of n2p2, and small potentials made up for tests."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
from ase import Atoms

from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.hdnnp.formats import read_folder
from calczoo.families.hdnnp.load import build
from calczoo.families.hdnnp.order import sort_functions
from calczoo.families.hdnnp.params import (
    ANGULAR,
    COMPACT,
    WEIGHTED,
    Electrostatics,
    ElementModel,
    HdnnpParams,
    Network,
    SymmetryFunction,
)
from calczoo.registry import ModelRequest
from data import data_folder, shared

GOLDEN = "reference/hdnnp/hdnnp_golden.json"
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
KINDS = (2, 3, 9, 12, 13, 20, 21, 22, 23, 24, 25)


@cache
def golden_cases() -> dict[str, dict]:
    """Name -> case; empty where the data are not there (a test that asks for one is skipped then)."""
    path = data_folder() / GOLDEN
    return {c["name"]: c for c in json.loads(path.read_text())["cases"]} if path.exists() else {}


@cache
def golden_params(potential: str, units: str) -> HdnnpParams:
    length, energy = ("Angstrom", "eV") if units.startswith("Angstrom") else ("Bohr", "Hartree")
    # the weights of the carbon chains that n2p2 ships are those of other networks than its input.nn says
    overrides = {"nodes": "10 10"} if "Carbon" in potential else {}
    return read_folder(shared(potential.removeprefix("shared/")), length, energy, **overrides)


def case_params(case: dict) -> HdnnpParams:
    return golden_params(case["potential"], case["units"])


def case_atoms(case: dict) -> Atoms:
    """In A; the total charge in info."""
    unit = case_params(case).length_unit
    atoms = Atoms(case["symbols"], positions=np.array(case["positions"]) * unit, pbc=case["pbc"])
    if any(case["pbc"]):
        atoms.cell = np.array(case["cell"]) * unit
    atoms.info["charge"] = case["charge_total"]
    return atoms


def offsets(params: HdnnpParams, atoms: Atoms) -> np.ndarray:
    """(N,): the energies, in units of the file, that are added to the networks' outputs."""
    models = (params.models[params.elements.index(s)] for s in atoms.get_chemical_symbols())
    return np.array([params.mean_energy + m.energy for m in models])


def model_of(params: HdnnpParams, backend: str, dtype: str = "float64"):
    return build(params, ModelRequest("hdnnp", device="cpu", dtype=dtype, backend=backend, threads=1))


def symmetry_of(params: HdnnpParams, backend: str):
    """The engine of a backend for symmetry functions: values and pull."""
    import torch

    if backend == "torch":
        from calczoo.families.hdnnp.symmetry import TorchSymmetry

        return TorchSymmetry(params, torch.device("cpu"), torch.float64)
    from calczoo.families.hdnnp.kernels import WarpSymmetry

    return WarpSymmetry(params, torch.device("cpu"), torch.float64, 1)


def prepared(params: HdnnpParams, *frames: Atoms, dtype=None):
    """(System, Pairs) of structures for a potential."""
    import torch

    system = System.from_atoms(list(frames), "cpu", dtype or torch.float64)
    return system, find_pairs(system, params.cutoff)


# -- made up -------------------------------------------------------------------------------------------------


def some_functions(kind: int, elements: tuple[str, ...], rng: np.random.Generator, n: int = 3, rc: float = 5.0):
    """n functions of a kind for every choice of neighbours, with cutoffs, shifts and angles that differ."""
    out = []
    cores = ("c", "p1", "p2", "p3", "p4", "e", "p1a", "p2a", "p3a", "p4a", "ea")
    for neighbours in choices(kind, elements):
        for k in range(n):
            if kind in COMPACT:
                rl = rng.uniform(0.2, 1.5) if k % 2 else -rc
                angles = {}
                if kind in ANGULAR:
                    middle, half = ((0.0, 110.0), (180.0, 120.0), (rng.uniform(20, 160), rng.uniform(30, 120)))[k % 3]
                    angles = {"al": middle - half, "ar": middle + half}
                numbers = {"rl": rl, "rc": rc - 0.3 * (k % 2), "core": cores[rng.integers(len(cores))], **angles}
            else:
                numbers = {"eta": rng.uniform(0.01, 0.4), "rs": rng.uniform(0, 2) * (k % 2), "rc": rc - 0.4 * (k == 2)}
                if kind in ANGULAR:
                    numbers |= {"lam": (-1.0, 1.0, 0.7)[k % 3], "zeta": (1.0, 2.0, 3.5, 16.0)[rng.integers(4)]}
            out.append(SymmetryFunction(kind, neighbours, **numbers))
    return out


def choices(kind: int, elements: tuple[str, ...]) -> list[tuple[str, ...]]:
    if kind in WEIGHTED:
        return [()]
    if kind not in ANGULAR:
        return [(e,) for e in elements]
    return [(a, b) for k, a in enumerate(elements) for b in elements[k:]]


def toy(
    elements: tuple[str, ...] = ("Na", "Cl"),
    kinds: tuple[int, ...] = KINDS,
    seed: int = 0,
    n: int = 3,
    rc: float = 5.0,
    nodes: tuple[int, ...] = (7, 5),
    activations: str = "tpl",
    generation: int = 2,
    **fields,
) -> HdnnpParams:
    """A potential of random numbers whose functions are of order one after scaling."""
    rng = np.random.default_rng(seed)
    models = []
    for c in range(len(elements)):
        functions = sort_functions(sum((some_functions(k, elements, rng, n + c, rc) for k in kinds), []), elements)
        count = len(functions)
        low = rng.uniform(-1, 0, count)
        scaling = np.stack([low, low + rng.uniform(10, 30, count), low + 5, rng.uniform(1, 4, count)], axis=1)
        short = random_network(rng, count + (generation == 4), nodes, activations)
        charge = random_network(rng, count, nodes, activations) if generation > 2 else None
        extra = {"hardness": 2.0 + c, "width": 0.9 + 0.2 * c} if generation == 4 else {}
        models.append(ElementModel(functions, scaling, short, charge, energy=-1.0 - c, **extra))
    base = HdnnpParams(
        elements=elements,
        models=tuple(models),
        generation=generation,
        electrostatics=Electrostatics(14.399645) if generation > 2 else None,
        name="toy",
    )
    return replace(base, **fields)


def random_network(
    rng: np.random.Generator, n_inputs: int, nodes: tuple[int, ...], activations: str, normalize: bool = False
) -> Network:
    sizes = [n_inputs, *nodes, 1]
    count = sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))
    return Network.from_flat(rng.normal(size=count) * 0.4, n_inputs, sizes[1:], activations, normalize)


def salt(n: int = 7, seed: int = 0, box: float = 6.5, pbc: bool = True, symbols=("Na", "Cl")) -> Atoms:
    """Random atoms, no two closer than 1.4 A, in a skewed box or in free space."""
    rng = np.random.default_rng(seed)
    cell = np.array([[box, 0, 0], [0.2 * box, box, 0], [0.1 * box, -0.15 * box, 0.9 * box]])
    points: list[np.ndarray] = []
    while len(points) < n:
        new = rng.uniform(size=3)
        d = np.array([(new - p + 0.5) % 1.0 - 0.5 for p in points] or [[9.0] * 3]) @ cell
        if np.linalg.norm(d, axis=1).min() > 1.4:
            points.append(new)
    return Atoms([symbols[k % len(symbols)] for k in range(n)], np.array(points) @ cell, cell=cell, pbc=pbc)
