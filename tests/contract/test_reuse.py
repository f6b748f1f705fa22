"""One calculator used again and again: other structures, other threads, other processes, a list that is reused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from calczoo.calculator import ZooCalculator
from contract.examples import EXAMPLES, Example
from contract.helpers import assert_same, results
from data import ROOT


def test_reused_as_fresh(example: Example):
    """Another structure, size, order, set of elements, boundary, cell: as a calculator that has seen nothing."""
    calc = example.calculator()
    start = example.structure()
    one_element = start.copy()
    one_element.set_chemical_symbols([example.known[-1]] * len(start))
    slab = start.copy()
    slab.pbc = [True, True, False]
    squeezed = start.copy()
    squeezed.set_cell(start.cell * 0.97, scale_atoms=True)
    for atoms in (
        start,
        start[::-1],
        one_element,
        start[:3],
        example.structure(3, seed=9),
        slab,
        squeezed,
        start[:0],
        start,
    ):
        atoms = atoms.copy()
        atoms.calc = calc
        atoms.get_forces()
        assert_same(calc.results, results(ZooCalculator(calc.model), atoms), 1e-12)


def test_skin_reuse_is_exact_during_dynamics(example: Example):
    """Atoms in motion and a cell that breathes, list kept as long as the skin allows: 1e-12 eV/atom of a fresh list."""
    atoms = example.structure(2, rattle=0.02)
    calc = example.calculator(skin=0.6)
    atoms.calc = calc
    atoms.set_momenta(np.random.default_rng(2).normal(0.0, 1.0, (len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, 1.0 * fs)
    lists = set()
    for step in range(25):
        dynamics.run(1)
        if step % 5 == 4:
            strain = np.eye(3) + np.random.default_rng(step).normal(0.0, 0.003, (3, 3))
            atoms.set_cell(atoms.cell @ strain, scale_atoms=step % 2 == 0)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        lists.add(id(calc._cached.pairs))
        fresh = results(ZooCalculator(calc.model, skin=0.0), atoms)
        assert abs(energy - fresh["energy"]) / len(atoms) <= 1e-12 * max(1.0, abs(energy) / len(atoms))
        np.testing.assert_allclose(forces, fresh["forces"], atol=1e-11 * max(1.0, np.abs(forces).max()))
    assert len(lists) < 25, "the list was never reused"


def fingerprint(example: Example, threads: int) -> str:
    """Digest of the very bits of energies, forces and stress."""
    calc = example.calculator(threads=threads)
    digest = hashlib.sha256()
    for atoms in (example.structure(), example.structure((2, 3, 4), seed=21)):
        got = results(calc, atoms)
        for name in ("energy", "energies", "forces", "stress"):
            digest.update(np.asarray(got[name], dtype=np.float64).tobytes())
    return digest.hexdigest()


@cache
def elsewhere(threads: int) -> dict[str, str]:
    """Fingerprints of all examples, made in a process of its own with so many threads."""
    code = f"import json; from contract.test_reuse import fingerprints;print(json.dumps(fingerprints({threads})))"
    env = {**os.environ, "CALCZOO_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def fingerprints(threads: int) -> dict[str, str]:
    """Of every example; the message of one that fails stands for its fingerprint, so that it fails alone."""
    out = {}
    for example in EXAMPLES:
        try:
            out[str(example)] = fingerprint(example, threads)
        except Exception as error:  # shown by the comparison in the parent
            out[str(example)] = f"{type(error).__name__}: {error}"
    return out


@pytest.mark.parametrize("threads", [1, 3])
def test_bitwise_the_same_in_another_process_and_with_other_threads(example: Example, threads):
    for e in EXAMPLES:
        e.paths()  # skips, here and not in the child, where the files are not at hand
    assert elsewhere(threads)[str(example)] == fingerprint(example, 1)


def test_threads_at_once(example: Example):
    """Several calculators of one model in several threads: each as if it were alone."""
    from concurrent.futures import ThreadPoolExecutor

    model = example.calculator().model
    many = [example.structure(seed=s) for s in range(6)]
    alone = [results(ZooCalculator(model), a) for a in many]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda a: results(ZooCalculator(model), a), many * 2))
    for got, want in zip(together, alone * 2, strict=True):
        assert got["energy"] == want["energy"]
        np.testing.assert_array_equal(got["forces"], want["forces"])
