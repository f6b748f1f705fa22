"""The public conformance kit on LAMMPS' own embedded atom method and Stillinger-Weber potential.

float64: the tolerances of the kit for double precision, unchanged; LAMMPS computes in double precision only. float32:
the same numbers from structures whose coordinates are rounded, with the kit's tolerances for single precision (energy
2e-5 eV/atom, forces 1e-3 eV/A, stress 1e-4 eV/A^3, each relative to the larger of 1 and the value; forces and stress
graded D or better against numerical derivatives).
"""

from __future__ import annotations

import pytest
from calczoo import get_calculator
from calczoo.testing import CalculatorConformance

from .support import need_lammps

EAM = {"pair_style": "eam/alloy", "pair_coeff": ["* * Cu_mishin1.eam.alloy Cu"]}
SW = {"pair_style": "sw", "pair_coeff": ["* * Si.sw Si"]}


@pytest.fixture(autouse=True)
def _lammps():
    need_lammps()


class TestEmbeddedAtoms(CalculatorConformance):
    elements = ["Cu"]

    def make_calculator(self):
        need_lammps()
        return get_calculator("lammps", device="cpu", threads=1, **EAM)


class TestStillingerWeber(CalculatorConformance):
    elements = ["Si"]

    def make_calculator(self):
        need_lammps()
        return get_calculator("lammps", device="cpu", threads=1, **SW)


@pytest.mark.slow
class TestFloat32(CalculatorConformance):
    elements = ["Si"]
    dtype = "float32"

    def make_calculator(self):
        need_lammps()
        return get_calculator("lammps", device="cpu", dtype="float32", threads=1, **SW)
