"""The public conformance kit on potentials of QUIP: a shifted Lennard-Jones one, and a GAP of pairs and SOAP.

All of it is marked slow, because every call of QUIP takes 15 ms at least; test_quippy.py runs some of the checks.

float64: the tolerances of the kit for Lennard-Jones. For the GAP 1e-9 eV/atom, 1e-7 eV/A and 1e-8 eV/A^3: its
coefficients are large and of both signs, so that sums in another order differ by that. QUIP computes in double
precision only.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from calczoo import get_calculator
from calczoo.testing import CalculatorConformance, Tolerances

from .support import gap, need_quippy

LOSES_MEMORY = {"memory": "quippy-ase 0.10.3 itself loses some kB in every call, also without calczoo"}
LJ = """<LJ_params n_types="1" label="default">
<per_type_data type="1" atomic_num="18" />
<per_pair_data type1="1" type2="1" sigma="3.4" eps6="0.0416" eps12="0.0416" cutoff="7.0" energy_shift="T"
linear_force_shift="T" />
</LJ_params>
"""


@pytest.mark.slow
class TestLennardJones(CalculatorConformance):
    elements = ["Ar"]
    not_applicable = LOSES_MEMORY

    @pytest.fixture(autouse=True, scope="class")
    def _file(self, tmp_path_factory):
        need_quippy()
        type(self).path = tmp_path_factory.mktemp("lj") / "lj.xml"
        type(self).path.write_text(LJ)

    def make_calculator(self):
        return get_calculator("quippy", model=self.path, init_args="IP LJ", device="cpu", threads=1)


@pytest.mark.slow
class TestGap(CalculatorConformance):
    elements = ["Si"]
    not_applicable = LOSES_MEMORY
    tolerances = replace(Tolerances(), energy=1e-9, forces=1e-7, stress=1e-8)

    def make_calculator(self):
        return get_calculator(f"quippy:'{gap('gap_Si_2bSOAP88.xml')}'", device="cpu", threads=1)
