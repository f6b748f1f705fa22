"""The public conformance kit on a model made by hand: smooth pairs, exported to a file.

float64: the tolerances of the kit for double precision, unchanged. float32: those of the kit for single precision
(energy 2e-5 eV/atom, forces 1e-3 eV/A, stress 1e-4 eV/A^3, each relative to the larger of 1 and the value; forces and
stress graded D or better against numerical derivatives).
"""

from __future__ import annotations

import pytest
from calczoo import get_calculator
from calczoo.testing import CalculatorConformance


@pytest.mark.usefixtures("exported")
class TestFloat64(CalculatorConformance):
    elements = ["Cu"]

    def make_calculator(self):
        return get_calculator("metatomic", model=self.export(), device="cpu", threads=1)


@pytest.mark.usefixtures("exported")
class TestFloat32(CalculatorConformance):
    elements = ["Cu"]
    dtype = "float32"
    not_applicable = {"memory": "whether calls leak memory is tested in double precision"}

    def make_calculator(self):
        model = self.export(dtype="float32", full=False)
        return get_calculator("metatomic", model=model, device="cpu", dtype="float32", threads=1)
