"""The public conformance kit on random networks.

float64: the tolerances of the kit for double precision, unchanged. float32: those of the kit for single precision
(energy 2e-5 eV/atom, forces 1e-3 eV/A, stress 1e-4 eV/A^3, each relative to the larger of 1 and the value; forces and
stress graded D or better against numerical derivatives).
"""

from __future__ import annotations

import pytest
from calczoo import get_calculator
from calczoo.testing import CalculatorConformance

SMALL = {"cutoff": 4.0, "features": 4}


class TestNequIP(CalculatorConformance):
    elements = ["Cu"]

    def make_calculator(self):
        return get_calculator("nequip:random", elements=["Cu"], device="cpu", threads=1, **SMALL)


class TestAllegro(CalculatorConformance):
    elements = ["Cu"]

    def make_calculator(self):
        return get_calculator("allegro:random", elements=["Cu"], device="cpu", threads=1, **SMALL)


@pytest.mark.slow
class TestNequIPFloat32(CalculatorConformance):
    elements = ["Cu"]
    dtype = "float32"

    def make_calculator(self):
        return get_calculator("nequip:random", elements=["Cu"], device="cpu", dtype="float32", threads=1, **SMALL)


@pytest.mark.slow
class TestAllegroFloat32(CalculatorConformance):
    elements = ["Cu"]
    dtype = "float32"

    def make_calculator(self):
        return get_calculator("allegro:random", elements=["Cu"], device="cpu", dtype="float32", threads=1, **SMALL)
