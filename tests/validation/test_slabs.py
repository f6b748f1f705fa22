"""Lattice planes, oriented cells, terminations and slabs of any crystal."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, surface
from hypothesis import given, settings
from hypothesis import strategies as st

from calczoo.core.errors import OptionError
from calczoo_validation.planes import (
    Bulk,
    bezout,
    determinant,
    distinct_planes,
    miller_label,
    parse_miller,
    plane_basis,
    prepare,
)  # fmt: skip
from calczoo_validation.slabs import make_slab, opened, orient
from calczoo_validation.structures import Crystal, parse_proto
from tests.validation.test_surfaces import A_CU_EMT


def given_cell(atoms: Atoms) -> Crystal:
    return Crystal(atoms, "test")


# -- integers and planes ----------------------------------------------------------------------------------------------


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_bezout(a, b):
    g, p, q = bezout(a, b)
    assert g == np.gcd(a, b) and p * a + q * b == g


indices = st.tuples(*[st.integers(-7, 7)] * 3).filter(any)


@given(indices)
def test_vectors_of_a_plane_span_the_lattice(h):
    h = tuple(np.array(h) // np.gcd.reduce(h))
    u, v, w = plane_basis(h)
    assert (np.dot(h, u), np.dot(h, v), np.dot(h, w)) == (0, 0, 1)
    assert determinant(plane_basis(h)) == 1


def random_crystal(seed: int) -> Crystal:
    """A triclinic cell with three atoms of two elements, far from each other."""
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * rng.uniform(3, 5, 3) + rng.uniform(-1, 1, (3, 3))
    return given_cell(Atoms("CuCuO", cell=cell, scaled_positions=rng.uniform(0, 1, (3, 3)), pbc=True))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.tuples(*[st.integers(-4, 4)] * 3).filter(any))
def test_oriented_cell_of_any_crystal(seed, hkl):
    crystal = random_crystal(seed)
    cell = crystal.atoms.cell.array
    oriented = orient(prepare(crystal), hkl)
    normal = np.array(hkl) @ np.linalg.inv(cell).T
    assert np.allclose(oriented.normal, normal / np.linalg.norm(normal), atol=1e-10)
    turned = oriented.atoms.cell.array
    assert np.isclose(np.linalg.det(turned), abs(crystal.atoms.get_volume()))
    assert np.allclose(turned, oriented.matrix @ prepare(crystal).atoms.cell.array @ oriented.rotation.T, atol=1e-9)
    assert np.allclose(oriented.rotation @ oriented.rotation.T, np.eye(3)) and np.linalg.det(oriented.rotation) > 0
    u, v, w = turned
    assert u[1] == u[2] == v[2] == 0 and w[2] > 0
    assert np.linalg.norm(u) <= np.linalg.norm(v) * (1 + 1e-9) and abs(u @ v) <= u @ u / 2 * (1 + 1e-5)
    away = [np.hypot(*(w + i * u + j * v)[:2]) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert np.hypot(*w[:2]) <= min(away) + 1e-6
    assert sum(len(p) for p in oriented.planes) == 3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.tuples(*[st.integers(-3, 3)] * 3).filter(any))
def test_atoms_of_a_slab_are_atoms_of_the_crystal(seed, hkl):
    crystal = random_crystal(seed)
    b = prepare(crystal)
    oriented = orient(b, hkl)
    cut = len(oriented.planes) - 1
    slab = make_slab(oriented, cut, 3, 10.0)
    assert len(slab.atoms) == 9 and slab.atoms.get_chemical_formula(empirical=True) == "Cu2O"
    assert np.allclose(slab.atoms.cell[:2], oriented.atoms.cell[:2])
    assert slab.atoms.cell[2, 2] == pytest.approx(slab.thickness + 10)
    # Turned back and shifted by one vector, every atom is on a site of its own element.
    back = slab.atoms.positions @ oriented.rotation @ np.linalg.inv(b.atoms.cell.array)
    sites = b.atoms.get_scaled_positions(wrap=False)
    first = np.flatnonzero(b.atoms.numbers == slab.atoms.numbers[0])
    fits = []
    for k in first:
        delta = (back - back[0] + sites[k])[:, None] - sites[None]
        off = np.linalg.norm((delta - np.round(delta)) @ b.atoms.cell.array, axis=2)
        off[slab.atoms.numbers[:, None] != b.atoms.numbers[None]] = np.inf
        fits.append(off.min(axis=1).max())
    assert min(fits) < 1e-8
    # All atoms different, and heights as the layers say.
    heights = [slab.atoms.positions[slab.layers == k, 2].mean() for k in range(slab.count)]
    assert (np.diff(heights) > 0).all()


@pytest.mark.parametrize(
    ("proto", "hkl", "gaps"),
    [
        ("Cu:fcc:4", "100", [2.0]), ("Cu:fcc:4", "110", [8**0.5 / 2]), ("Cu:fcc:4", "111", [4 / 3**0.5]),
        ("Cu:fcc:4", "311", [4 / 11**0.5]), ("Cu:fcc:4", "210", [4 / 20**0.5]),
        ("Fe:bcc:3", "100", [1.5]), ("Fe:bcc:3", "110", [3 / 2**0.5]), ("Fe:bcc:3", "111", [3 / 12**0.5]),
        ("Fe:bcc:3", "211", [3 / 6**0.5]), ("Mg:hcp:3", "11-20", [1.5]),
        ("Mg:hcp:3", "10-10", [3**0.5 / 2, 3**0.5]),
        ("Si:diamond:5", "100", [1.25] * 2), ("Si:diamond:5", "110", [5 / 8**0.5]),
        ("Si:diamond:5", "111", [5 / 48**0.5, 5 * 3**0.5 / 4]),
        ("NaCl:rocksalt:5", "111", [5 / 12**0.5] * 2), ("CaF2:fluorite:5", "111", [5 / 48**0.5] * 2 + [5 / 12**0.5]),
    ],
)  # fmt: skip
def test_layer_distances_as_known(proto, hkl, gaps):
    crystal = prepare(parse_proto(proto))
    oriented = orient(crystal, parse_miller(hkl, crystal.hexagonal))
    assert sorted(oriented.gap(k) for k in range(len(oriented.planes))) == pytest.approx(gaps)


@pytest.mark.parametrize("hkl", [(1, 0, 0), (1, 1, 1), (2, 1, 0), (3, 1, 1), (3, 2, 1), (1, -1, 0)])
def test_slabs_as_of_ase(hkl, emt):
    """The same unrelaxed energy per area as ase.build.surface."""
    atoms = bulk("Cu", a=A_CU_EMT, cubic=True)
    oriented = orient(prepare(given_cell(atoms)), hkl)
    slab = make_slab(oriented, 0, 12, 12.0)
    theirs = surface(atoms, hkl, 6, vacuum=8.0, periodic=True)
    e = emt.get_potential_energy(atoms) / 4
    gammas = []
    for s in (slab.atoms, theirs):
        area = np.linalg.norm(np.cross(s.cell[0], s.cell[1]))
        gammas.append((emt.get_potential_energy(s) - len(s) * e) / (2 * area))
    thick = make_slab(oriented, 0, 40, 12.0)
    bulk_like = (emt.get_potential_energy(thick.atoms) - len(thick.atoms) * e) / (2 * thick.area)
    assert bulk_like == pytest.approx(gammas[1], abs=2e-4)


FCC = (bulk("Cu", a=4.0, cubic=True), bulk("Cu", a=4.0), bulk("Cu", a=4.0).repeat((2, 1, 3)))


@pytest.mark.parametrize("atoms", FCC)
def test_miller_indices_do_not_depend_on_the_given_cell(atoms):
    """A primitive, a conventional and a repeated cell of fcc have the same (111)."""
    oriented = orient(prepare(given_cell(atoms)), (1, 1, 1))
    assert oriented.spacing == pytest.approx(4 / 3**0.5) and oriented.area == pytest.approx(4**2 * 3**0.5 / 4)
    assert len(oriented.atoms) == 1


@pytest.mark.parametrize("angle", [60, 120])
def test_four_indices_of_hexagonal_cells(angle):
    cell = Atoms("Mg2", cell=[3, 3, 5, 90, 90, angle], pbc=True)
    cell.set_scaled_positions([[0, 0, 0], [1 / 3, 1 / 3 if angle == 60 else 2 / 3, 0.5]])
    b = prepare(given_cell(cell))
    assert b.hexagonal and orient(b, parse_miller("11-20", True)).spacing == pytest.approx(1.5)
    assert orient(b, parse_miller("0001", True)).spacing == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("text", "hexagonal", "expected"),
    [
        ("111", False, (1, 1, 1)), ("1-10", False, (1, -1, 0)), ("(-1 0 2)", False, (-1, 0, 2)),
        ("10,0,1", False, (10, 0, 1)), ("11-20", True, (1, 1, 0)), ("10-10", True, (1, 0, 0)),
        ("200", False, (1, 0, 0)),
    ],
)  # fmt: skip
def test_miller_indices_read(text, hexagonal, expected):
    assert parse_miller(text, hexagonal) == expected


@pytest.mark.parametrize("text", ["", "11", "abc", "000", "1.5,0,0", "11-20", "1x1", "11111"])
def test_miller_indices_refused(text):
    with pytest.raises(OptionError):
        parse_miller(text)


def test_four_indices_must_add_up():
    with pytest.raises(OptionError, match="add up to 0"):
        parse_miller("1110", True)


def test_labels():
    assert miller_label((1, -1, 0)) == "1-10" and miller_label((1, 1, 0), True) == "11-20"
    assert miller_label((12, 0, 1)) == "12,0,1"


@pytest.mark.parametrize(
    ("proto", "most", "labels"),
    [
        ("Cu:fcc", 1, "100 110 111"), ("Cu:fcc", 2, "100 110 111 210 211 221"),
        ("Fe:bcc", 3, "100 110 111 210 211 221 310 320 311 321 331 322 332"),
        ("Mg:hcp", 1, "10-10 0001 11-20 10-11 11-21"), ("GaAs:zincblende", 1, "100 110 111"),
    ],
)  # fmt: skip
def test_distinct_planes(proto, most, labels):
    b = prepare(parse_proto(proto))
    found = [miller_label(h, b.hexagonal) for h in distinct_planes(b, most)]
    assert sorted(found) == sorted(labels.split())


def test_distinct_planes_of_low_symmetry():
    assert len(distinct_planes(prepare(random_crystal(1)), 1)) == 13
    tetragonal = Atoms("Sn", cell=[3, 3, 4], pbc=True)
    assert len(distinct_planes(prepare(given_cell(tetragonal)), 1)) == 5


@pytest.mark.parametrize(
    ("proto", "hkl", "symmetric"),
    [
        ("Si:diamond", "111", [True, True]), ("Si:diamond", "100", [True]), ("GaAs:zincblende", "111", [False, False]),
        ("GaAs:zincblende", "110", [True]), ("NaCl:rocksalt", "100", [True]), ("NaCl:rocksalt", "111", [False]),
        ("Mg:hcp", "0001", [True]), ("Mg:hcp", "10-10", [True, True]), ("ZnO:wurtzite", "0001", [False, False]),
        ("CaF2:fluorite", "111", [True, False]), ("CsCl:cesiumchloride", "100", [False]),
    ],
)  # fmt: skip
def test_terminations(proto, hkl, symmetric):
    b = prepare(parse_proto(proto))
    found = orient(b, parse_miller(hkl, b.hexagonal)).terminations()
    assert [t.symmetric for t in found] == symmetric
    assert [t.gap for t in found] == sorted((t.gap for t in found), reverse=True)


def test_opened_crystal_is_the_crystal_when_closed(emt):
    oriented = orient(prepare(given_cell(bulk("Cu", a=A_CU_EMT))), (2, 1, 0))
    e = emt.get_potential_energy(bulk("Cu", a=A_CU_EMT))
    assert emt.get_potential_energy(opened(oriented, 0, 7, 0.0)) / 7 == pytest.approx(e, abs=1e-8)


def test_bulk_is_reduced_to_its_primitive_cell():
    assert isinstance(prepare(given_cell(bulk("Si", cubic=True))), Bulk)
    salt = bulk("NaCl", "rocksalt", a=5, cubic=True)
    for atoms, n in ((bulk("Si", cubic=True), 2), (bulk("Cu").repeat(3), 1), (salt, 2)):
        assert len(prepare(given_cell(atoms)).atoms) == n
