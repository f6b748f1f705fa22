"""The public conformance kit on the published weights.

float64: the tolerances of the kit for double precision, unchanged. float32: those of the kit for single precision
(energy 2e-5 eV/atom, forces 1e-3 eV/A, stress 1e-4 eV/A^3, each relative to the larger of 1 and the value; forces and
stress graded D or better against numerical derivatives).

The check of inversion is left out: the published networks were made with is_parity=False, without mirror symmetry (see
test_mirror_images_differ in test_sevennet.py).
"""

from __future__ import annotations

from calczoo import get_calculator
from calczoo.testing import CalculatorConformance

NO_PARITY = {"inversion": "the published networks know rotations only, not mirror images (is_parity=False)"}


class TestFloat64(CalculatorConformance):
    elements = ["Si"]
    not_applicable = NO_PARITY

    def make_calculator(self):
        return get_calculator("sevennet:7net-0", device="cpu", threads=1)

    def make_float32_calculator(self):
        return get_calculator("sevennet:7net-0", device="cpu", dtype="float32", threads=1)


class TestFloat32(CalculatorConformance):
    elements = ["Si"]
    not_applicable = NO_PARITY
    dtype = "float32"

    def make_calculator(self):
        return get_calculator("sevennet:7net-0", device="cpu", dtype="float32", threads=1)
