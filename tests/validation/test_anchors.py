"""Published SNAP potentials through the whole chain: numbers that other codes computed from the same files."""

from __future__ import annotations

import pytest

from calczoo_validation import Status, validate
from data import lammps_potential

# SNAP of Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723, evaluated with LAMMPS:
# a0 (A), C11, C12, C44 (GPa, relaxed ions), vacancy formation energy (eV), atoms in the cell of the vacancy.
LAMMPS = {
    "Mo:bcc": (3.1693, 456.5, 158.3, 109.3, 2.689, 127),
    "Cu:fcc": (3.6338, 178.3, 125.7, 86.0, 1.192, 107),
    "Ni:fcc": (3.5215, 282.9, 168.3, 129.3, 1.470, 107),
    "Si:diamond": (5.4741, 128.2, 75.4, 70.8, 2.707, 63),
    "Ge:diamond": (5.7732, 101.3, 40.7, 54.1, 1.770, 63),
}


@pytest.mark.parametrize("proto", LAMMPS)
def test_snap_numbers_of_lammps(proto):
    from calczoo import get_calculator

    element = proto.split(":")[0]
    path = lammps_potential(f"{element}_Zuo_JPCA2020.snapcoeff")
    calculator = get_calculator("snap", model=str(path), elements=[element])
    report = validate(calculator, proto=proto, properties=["elastic", "vacancy"], progress=False)
    a0, c11, c12, c44, vacancy, atoms = LAMMPS[proto]
    assert report["lattice.a0"].value == pytest.approx(a0, abs=6e-5)
    for name, value in (("C11", c11), ("C12", c12), ("C44", c44)):
        assert report[f"elastic.{name}"].value == pytest.approx(value, abs=0.1)
        assert report[f"elastic.{name}"].status is Status.OK
    assert report["vacancy"].settings["atoms"][0] == atoms
    assert report["vacancy.E_vac"].value == pytest.approx(vacancy, abs=1e-3)
    assert report["elastic"].evaluations["calls"] <= 12
