"""Made data and small problems for the tests of training neural network potentials."""

from __future__ import annotations

import numpy as np
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from calczoo.families.hdnnp.fit_columns import Columns
from calczoo.families.hdnnp.fit_frames import Scale, Weights, free_energies, make_frames, targets_of
from calczoo.families.hdnnp.fit_functions import Pool
from calczoo.families.hdnnp.fit_network import Topology
from calczoo.families.hdnnp.fit_problem import Problem
from calczoo.families.hdnnp.load import build
from calczoo.families.hdnnp.params import ElementModel, HdnnpParams, Network
from calczoo.fitting.data import Dataset
from calczoo.fitting.errors import evaluate
from calczoo.registry import ModelRequest

CUTOFF = 4.4
POOL = Pool(4, 2, 2, (1.0, 4.0))
QUICK = {"cutoff": CUTOFF, "functions": 14, "radial": 4, "etas": 2, "shifts": 2, "zetas": (1, 4), "nodes": (5,),
         "epochs": 4, "threads": 1}  # fmt: skip


def structures(count=20, species=("Cu",), seed=3):
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True, a=3.6 * rng.uniform(0.95, 1.05)).repeat((1, 1, 2 if k % 4 else 1))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.set_chemical_symbols(rng.choice(species, len(atoms)).tolist())
        atoms.info["config_type"] = "even" if k % 2 == 0 else "odd"
        out.append(atoms)
    return out


def network(sizes, rng, scale=0.5):
    letters = "t" * (len(sizes) - 2) + "l"
    flat = Topology(tuple(sizes), letters).start(torch.Generator().manual_seed(int(rng.integers(99))))
    return Network.from_flat(scale * flat.numpy(), sizes[0], sizes[1:], letters)


def true_potential(species=("Cu",), cutoff_type=6):
    rng = np.random.default_rng(8)
    functions = POOL.of(species, CUTOFF, 2.0)
    values = Columns(species, [functions] * len(species), cutoff_type).of(structures(6, species))
    models = []
    for e in range(len(species)):
        table = Scale.of(np.concatenate([b[e].values.numpy() for b in values])).table
        table[:, 3] = np.maximum(table[:, 3], 0.05)
        models.append(ElementModel(functions, table, network((len(functions), 4, 1), rng), energy=-3.0 - e))
    return HdnnpParams(species, tuple(models), cutoff_type=cutoff_type, scaling="sigma", name="hdnnp:true")


def labelled(many, params):
    model = build(params, ModelRequest("hdnnp", device="cpu", threads=1, options={"extrapolation": "ignore"}))
    for atoms, result in zip(many, evaluate(model, Dataset.from_structures(many)), strict=True):
        atoms.calc = SinglePointCalculator(atoms, **result)
    return many


def small_problem(data, species, dtype=torch.float64, memory=1e12, letters="tl", nodes=(5,), zbl_free=True):
    data = data if isinstance(data, Dataset) else Dataset.from_atoms(data)
    functions = [POOL.of(species, CUTOFF, 2.0)] * len(species)
    columns = Columns(species, functions, 6)
    weights = Weights(20.0, 1.0, 5.0, {"odd": 2.0})
    values = columns.of(data.structures)
    scales = [Scale.of(np.concatenate([b[e].values.numpy() for b in values])) for e in range(len(species))]
    counts = np.array([[a.get_chemical_symbols().count(e) for e in species] for a in data.structures])
    targets = targets_of(data, counts @ free_energies(data, species, weights), weights)
    frames = make_frames(data.structures, data.groups, targets, columns, scales, torch.device("cpu"), dtype, memory)
    return Problem(frames, [Topology((len(f), *nodes, 1), letters) for f in functions], 0.7)


def start_of(problem, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([t.start(generator) for t in problem.topologies])


def flat(result):
    return result.params.models[0].short.flat()
