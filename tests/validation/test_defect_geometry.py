"""Where defects go: distinct sites and pairs, named interstitial places, holes, supercells."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from calczoo_validation.defects import distinct_pairs, distinct_sites, nearest_distance, supercells
from calczoo_validation.interstitial_sites import places, structure_type, voronoi_holes
from calczoo_validation.structures import Crystal, parse_proto


@pytest.mark.parametrize(
    ("proto", "labels", "ratios"),
    [
        ("Cu:fcc", ["1", "2", "3"], [1, 2**0.5, 3**0.5]),
        ("Fe:bcc", ["1", "2", "3"], [1, (4 / 3) ** 0.5, (8 / 3) ** 0.5]),
        ("Si:diamond", ["1", "2", "3"], [1, (8 / 3) ** 0.5, (11 / 3) ** 0.5]),
        ("NiAl:cesiumchloride", ["1_Al-Ni", "2_Al-Al", "2_Ni-Ni", "3_Al-Al", "3_Ni-Ni"], None),
    ],
)
def test_distinct_pairs(proto, labels, ratios):
    crystal = parse_proto(proto)
    pairs = distinct_pairs(crystal, 3)
    assert sorted(p.label for p in pairs) == labels
    if ratios:
        assert [p.distance / pairs[0].distance for p in pairs] == pytest.approx(ratios)


def test_hcp_neighbours_in_and_out_of_the_plane_are_two_pairs():
    pairs = distinct_pairs(parse_proto("Mg:hcp"), 1)
    assert [p.label for p in pairs] == ["1a", "1b"]
    assert sorted(abs(p.vector[2]) > 0.1 for p in pairs) == [False, True]


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        ("Cu:fcc", {"octahedral": (6, 0.5), "tetrahedral": (4, 3**0.5 / 4), "crowdion": (2, 8**-0.5)}),
        ("Fe:bcc", {"octahedral": (2, 0.5), "tetrahedral": (4, 5**0.5 / 4), "crowdion": (2, 3**0.5 / 4)}),
        ("Si:diamond", {"tetrahedral": (4, 3**0.5 / 4), "hexagonal": (6, 11**0.5 / 8),
                        "bond_centred": (2, 3**0.5 / 8)}),
        ("Mg:hcp", {"octahedral": (6, 2**-0.5), "tetrahedral": (4, (3 / 8) ** 0.5), "basal_octahedral": (3, 3**-0.5),
                    "basal_tetrahedral": (3, 3**-0.5), "crowdion": (2, 0.5), "basal_crowdion": (2, 0.5)}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_named_places_have_their_neighbours(proto, expected, turned):
    """Coordination and distance (in lattice constants) of every hole, in any orientation and cell of the crystal."""
    element, kind = proto.split(":")
    a = 4.0
    atoms = bulk(element, kind, a=a, **({"c": a * (8 / 3) ** 0.5} if kind == "hcp" else {}))
    if turned:
        atoms = atoms.repeat((1, 1, 2)) if kind != "hcp" else atoms
        atoms.rotate(37, (1, 2, 3), rotate_cell=True)
        atoms.positions += (0.3, 0.2, 0.9)
    crystal = Crystal(atoms, proto)
    if turned and kind != "hcp":
        crystal = Crystal(atoms[: len(atoms) // 2], proto)
        crystal.atoms.set_cell(atoms.cell.array / np.array([[1], [1], [2]]))
    assert structure_type(crystal) == kind
    found = {p.name: p for p in places(crystal, 3)}
    block = crystal.atoms.repeat(5)
    block.positions -= 2 * crystal.atoms.cell.array.sum(axis=0)
    for name, (count, distance) in expected.items():
        hole = crystal.atoms.positions[found[name].atom] + found[name].vector
        d = np.sort(np.linalg.norm(block.positions - hole, axis=1))
        assert d[:count] == pytest.approx(distance * a, abs=1e-3), name
        assert d[count] > distance * a + 0.05, name


@pytest.mark.parametrize(("proto", "radius", "around"), [("Fe:bcc:3.0", 5**0.5 / 4, 4), ("Cu:fcc:3.6", 0.5, 6)])
def test_largest_voronoi_hole(proto, radius, around):
    hole = voronoi_holes(parse_proto(proto), 1)[0]
    a = float(proto.split(":")[2])
    assert f"({around} atoms at {radius * a:.2f} A)" in hole.label


@pytest.mark.parametrize("a", [2.9, 3.17, 3.43, 4.0, 5.4])
@pytest.mark.parametrize("lengths", [(10.5, 13.5), (10.5, 13.5, 17.5)])
def test_supercells_differ_when_two_lengths_round_to_one_cell(a, lengths):
    """Lithium divided by zero: 10.5 and 13.5 A are both four cells of 3.43 A."""
    sizes = [len(cell) for cell, _ in supercells(parse_proto(f"Li:bcc:{a}"), lengths)]
    assert sizes == sorted(set(sizes)) and len(sizes) == len(lengths)


def test_supercells_by_count():
    assert [n for _, n in supercells(parse_proto("Li:bcc"), (10.0,), (5, 4))] == [(4, 4, 4), (5, 5, 5)]


def test_sites_are_named_by_element_in_a_compound():
    assert [s.tag for s in distinct_sites(parse_proto("NaCl:rocksalt"))] == ["_Na", "_Cl"]
    assert [s.tag for s in distinct_sites(parse_proto("Mg:hcp"))] == [""]
    assert nearest_distance(parse_proto("NaCl:rocksalt:5.64").atoms) == pytest.approx(2.82)
