"""The public conformance kit on the untrained network, through the worker process where mace is not importable here.

float64: the tolerances of the kit for double precision, unchanged. float32: those of the kit for single precision
(energy 2e-5 eV/atom, forces 1e-3 eV/A, stress 1e-4 eV/A^3, each relative to the larger of 1 and the value; forces and
stress graded D or better against numerical derivatives).
"""

from __future__ import annotations

import pytest
from calczoo import get_calculator
from calczoo.testing import CalculatorConformance


@pytest.mark.usefixtures("given_where")
class TestFloat64(CalculatorConformance):
    elements = ["Si"]

    def make_calculator(self):
        return get_calculator("mace:random", device="cpu", threads=1, isolated=self.where)

    def make_float32_calculator(self):
        return get_calculator("mace:random", device="cpu", dtype="float32", threads=1, isolated=self.where)


@pytest.mark.usefixtures("given_where")
class TestFloat32(CalculatorConformance):
    elements = ["Si"]
    dtype = "float32"
    not_applicable = {"memory": "whether calls leak memory is tested in double precision"}

    def make_calculator(self):
        return get_calculator("mace:random", device="cpu", dtype="float32", threads=1, isolated=self.where)
