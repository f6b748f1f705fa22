"""Displacements and force constants of supercells against phonopy's own, with the supercell's whole space group."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st

from calczoo_validation.force_constants import distinct_directions
from calczoo_validation.phonon_tools import Supercell, ase_cell, frequencies, make_phonopy, quiet

STEP = 1e-3  # A: small, for phonopy may displace along other directions


def _hcp():
    return bulk("Cu", "hcp", a=2.6, c=4.3)


def _ordered():
    return Atoms("CuAu", cell=[2.8, 2.8, 3.6], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True)


def _rutile():
    return crystal(["Cu", "Au"], [(0, 0, 0), (0.3, 0.3, 0)], spacegroup=136, cellpar=[4.9, 4.9, 3.1, 90, 90, 90])


def _triclinic():
    atoms = Atoms("Cu2Au", cell=[[3.1, 0, 0], [0.4, 3.3, 0], [0.2, 0.5, 5.6]], pbc=True)
    atoms.set_scaled_positions([[0, 0, 0], [0.45, 0.52, 0.31], [0.06, 0.03, 0.66]])
    return atoms


CASES = [
    ("fcc", lambda: bulk("Cu", cubic=True), (2, 2, 2)),
    ("bcc, uneven repeat", lambda: bulk("Cu", "bcc", a=2.9, cubic=True), (2, 3, 3)),
    ("diamond", lambda: bulk("Cu", "diamond", a=5.4, cubic=True), (2, 2, 2)),
    ("hcp", _hcp, (3, 3, 2)),
    ("CuAu", _ordered, (3, 3, 2)),
    ("rocksalt", lambda: bulk("CuAu", "rocksalt", a=5.2, cubic=True), (2, 2, 2)),
    ("rutile", _rutile, (2, 2, 2)),
    ("triclinic", _triclinic, (3, 2, 1)),
]


def _forces(structures, calc):
    out = []
    for atoms in structures:
        atoms.calc = calc
        out.append(atoms.get_forces())
    return out


@pytest.mark.parametrize("name, build, counts", CASES, ids=[c[0] for c in CASES])
@pytest.mark.filterwarnings("ignore:.*Point group symmetries.*")
def test_the_same_force_constants_as_phonopy(name, build, counts):
    """Also with fewer symmetry operations in the supercell than in the crystal."""
    unit = build()
    calc = EMT() if name != "diamond" else LennardJones(sigma=2.2, epsilon=0.3, rc=6.0, smooth=True)
    cell = Supercell.of(unit, counts, (STEP,))
    cell.solve(_forces(cell.structures, calc))
    theirs = make_phonopy(unit, np.diag(counts))
    with quiet():
        theirs.generate_displacements(distance=STEP)
        rest, *forces = _forces(
            [ase_cell(theirs.supercell), *map(ase_cell, theirs.supercells_with_displacements)], calc
        )
        theirs.forces = np.array(forces) - rest
        theirs.produce_force_constants(show_drift=False)
        theirs.symmetrize_force_constants(show_drift=False)
    rows = theirs.primitive.p2s_map
    expected = theirs.force_constants if len(theirs.force_constants) == len(rows) else theirs.force_constants[rows]
    np.testing.assert_allclose(cell.constants[0], expected, atol=2e-4 * np.abs(expected).max())
    q = np.random.default_rng(1).uniform(-0.5, 0.5, (20, 3))
    np.testing.assert_allclose(frequencies(cell.use(0), q), frequencies(theirs, q), atol=3e-3)
    assert len(cell.moved[0]) <= len(theirs.supercells_with_displacements)


@pytest.mark.filterwarnings("ignore:.*Point group symmetries.*")
def test_force_constants_of_a_harmonic_crystal_come_back_exactly():
    """Random force constants with the crystal's symmetry in, the same out, whatever the length of the displacement."""
    unit, counts = _rutile(), (2, 2, 3)
    theirs = make_phonopy(unit, np.diag(counts))
    n = len(theirs.supercell)
    random = np.random.default_rng(3).normal(size=(n, n, 3, 3))
    theirs.force_constants = random + random.transpose(1, 0, 3, 2)
    with quiet():
        theirs.symmetrize_force_constants_by_space_group(show_drift=False)
    phi = 0.5 * (theirs.force_constants + theirs.force_constants.transpose(1, 0, 3, 2))
    cell = Supercell.of(unit, counts, (0.3,))
    base = cell.structures[0].positions
    forces = [-np.einsum("ijab,ia->jb", phi, a.positions - base) for a in cell.structures]
    raw = cell.plan.solve(forces[1:], 0.3)
    rows = cell.phonon.primitive.p2s_map
    pure = theirs.symmetry.atomic_permutations  # averaged over translations too, as the crystal's are
    assert pure.shape[1] == n
    np.testing.assert_allclose(raw, phi[rows], atol=1e-8 * np.abs(phi).max())


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_directions_span_space_for_any_axis(seed, order):
    """A rotation axis of any order in any cell: what is chosen and its images have rank three and know both signs."""
    random = np.random.default_rng(seed)
    axis = random.normal(size=3)
    axis /= np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    turns = []
    for k in range(order):
        t = 2 * np.pi * k / order
        turns.append(np.eye(3) + np.sin(t) * cross + (1 - np.cos(t)) * cross @ cross)
    cell = np.eye(3) + 0.3 * random.uniform(-1, 1, (3, 3))
    chosen = np.array(distinct_directions(np.array(turns), cell))
    images = np.einsum("gij,cj->cgi", np.array(turns), chosen).reshape(-1, 3)
    assert np.linalg.matrix_rank(images, tol=1e-3) == 3
    for u in chosen:
        assert np.abs(images + u).max(axis=1).min() < 1e-6
    assert len(chosen) <= 6
