"""Objectivity and permutation symmetry, on random clusters."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.examples import Example
from contract.helpers import results, rotation


def cluster(example: Example, seed: int, size: int) -> Atoms:
    """Atoms about 2.6 A apart in a random arrangement, no two closer than 1.9 A."""
    rng = np.random.default_rng(seed)
    positions = [np.zeros(3)]
    while len(positions) < size:
        new = positions[rng.integers(len(positions))] + rng.normal(0.0, 1.0, 3) * 2.0
        if min(np.linalg.norm(new - p) for p in positions) > 1.9:
            positions.append(new)
    return Atoms([example.known[k] for k in rng.integers(len(example.known), size=size)], positions)


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 7))
def test_rotation_translation_inversion_permutation(example: Example, calc, seed, size):
    atoms = cluster(example, seed, size)
    want = results(calc, atoms)
    rng = np.random.default_rng(seed + 1)
    energy = max(1.0, abs(want["energy"]))
    force = max(1.0, np.abs(want["forces"]).max())

    turn = rotation(rng) * rng.choice([-1.0, 1.0])  # proper, or with an inversion
    moved = atoms.copy()
    moved.positions = atoms.positions @ turn.T + rng.uniform(-50.0, 50.0, 3)
    got = results(calc, moved)
    assert abs(got["energy"] - want["energy"]) <= 1e-10 * energy
    np.testing.assert_allclose(got["forces"], want["forces"] @ turn.T, atol=1e-9 * force)

    order = rng.permutation(size)
    got = results(calc, atoms[order])
    assert abs(got["energy"] - want["energy"]) <= 1e-12 * energy * size
    np.testing.assert_allclose(got["energies"], want["energies"][order], atol=1e-11 * energy)
    np.testing.assert_allclose(got["forces"], want["forces"][order], atol=1e-11 * force)
