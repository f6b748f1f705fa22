"""Published lattice sums: Madelung constants of ionic crystals, and one-component lattices in a background."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from calczoo.core.system import System
from calczoo.electrostatics import Geometry
from calczoo.electrostatics.reference import periodic_potential

# referred to the nearest distance and the unit charge: E = -M / d per formula unit (per 2 charges of the anion, CaF2)
# NaCl, CsCl, ZnS: Y. Sakamoto, J. Chem. Phys. 28, 164 (1958), doi:10.1063/1.1744060; more digits: OEIS A085469,
# A181152, A182566. CaF2 and ideal wurtzite: CRC Handbook of Chemistry and Physics, "The Madelung constant and crystal
# lattice energy" (2.51939 and 1.64132)
NACL, CSCL, ZNS = 1.7475645946331822, 1.7626747730709884, 1.6380550533887894
CAF2, WURTZITE = 5.03878, 1.64132


def crystals() -> dict[str, tuple[Atoms, list[float], float, float, float]]:
    """Name -> structure, charges, nearest distance, Madelung constant, tolerance."""
    d = 2.3
    cscl = bulk("CsCl", "cesiumchloride", a=2 * d / math.sqrt(3))
    zns = bulk("ZnS", "zincblende", a=4 * d / math.sqrt(3))
    a = 4 * d / math.sqrt(3)
    caf2 = crystal(["Ca", "F"], [(0, 0, 0), (0.25, 0.25, 0.25)], spacegroup=225, cellpar=[a, a, a, 90, 90, 90])
    aw = d * math.sqrt(8 / 3)
    wurtzite = bulk("ZnO", "wurtzite", a=aw, c=aw * math.sqrt(8 / 3), u=3 / 8)
    return {
        "NaCl": (bulk("NaCl", "rocksalt", a=2 * d), [1, -1], d, NACL, 1e-12),
        "CsCl": (cscl, [1, -1], d, CSCL, 1e-12),
        "ZnS": (zns, [1, -1], d, ZNS, 1e-12),
        "wurtzite": (wurtzite, [1, 1, -1, -1], d, WURTZITE, 5e-6),
        "CaF2": (caf2, [2] * 4 + [-1] * 8, d, CAF2, 6e-6),
    }


@pytest.mark.parametrize("name", crystals())
def test_madelung_constants(name):
    atoms, charges, d, madelung, tolerance = crystals()[name]
    charges = np.array(charges, dtype=float)
    if name == "wurtzite":
        charges = np.where(atoms.numbers == 30, 1.0, -1.0)
    units = (charges > 0).sum()
    q = torch.tensor(charges)
    for repeat in (1, 2):
        system = System.from_atoms(atoms.repeat(repeat))
        geometry = Geometry.of(system, None, 1.0, 1e-13)
        energy = float(geometry.energy(q.repeat(repeat**3))[0])
        assert -energy * d / (units * repeat**3) == pytest.approx(madelung, abs=tolerance)


@pytest.mark.parametrize("eta", [0.5, 0.8, 1.2, 2.0])
def test_no_constant_depends_on_the_splitting(eta):
    for atoms, charges, d, madelung, tolerance in list(crystals().values())[:3]:
        q = torch.tensor(charges, dtype=torch.float64)
        geometry = Geometry.of(System.from_atoms(atoms), None, 1.0, 1e-13, splitting=eta)
        assert -float(geometry.energy(q)[0]) * d == pytest.approx(madelung, abs=tolerance)


@pytest.mark.parametrize("lattice, energy", [("sc", -0.880059442), ("bcc", -0.8959292557), ("fcc", -0.8958736152)])
def test_one_component_lattices_in_a_background(lattice, energy):
    """E / N in units of e^2 / r_s, r_s the radius of the sphere of one charge: R. A. Coldwell-Horsfall and
    A. A. Maradudin, J. Math. Phys. 1, 395 (1960), doi:10.1063/1.1703670."""
    a = 3.1
    atoms = bulk("Po", lattice, a=a)
    radius = (3 * atoms.get_volume() / (4 * math.pi)) ** (1 / 3)
    geometry = Geometry.of(System.from_atoms(atoms), None, 1.0, 1e-13)
    one = torch.ones(1, dtype=torch.float64)
    assert float(geometry.energy(one)[0]) * radius == pytest.approx(energy, abs=1e-9)
    for eta in (0.5, 1.5):
        again = Geometry.of(System.from_atoms(atoms), None, 1.0, 1e-13, splitting=eta)
        assert float(again.energy(one)[0]) == pytest.approx(float(geometry.energy(one)[0]), abs=1e-12)
        splitting = again.parts[0].splitting
        plain = periodic_potential(torch.zeros(1, 3).double(), torch.tensor(atoms.cell.array), 0 * one, one, splitting)
        assert 0.5 * float(plain[0]) == pytest.approx(float(geometry.energy(one)[0]), abs=1e-12)
