"""The public conformance kit on models of TorchSim as calculators, and on the round trip of a calculator of the zoo.

float64: the tolerances of the kit for double precision, unchanged. float32: those of the kit for single precision
(energy 2e-5 eV/atom, forces 1e-3 eV/A, stress 1e-4 eV/A^3, each relative to the larger of 1 and the value; forces and
stress graded D or better against numerical derivatives).
"""

from __future__ import annotations

import pytest
from calczoo import get_calculator
from calczoo.testing import CalculatorConformance

MORSE = "torchsim:morse(alpha=2.5, cutoff=10)"
"""Steep enough to have no step at the cutoff, where TorchSim shifts nothing."""


class TestMorse(CalculatorConformance):
    elements = ["Cu"]

    def make_calculator(self):
        return get_calculator(MORSE, device="cpu", threads=1)


class TestMorseFloat32(CalculatorConformance):
    elements = ["Cu"]
    dtype = "float32"

    def make_calculator(self):
        return get_calculator(MORSE, device="cpu", dtype="float32", threads=1)


@pytest.mark.slow
class TestLennardJones(CalculatorConformance):
    elements = ["Ar"]
    not_applicable = {"dimer": "TorchSim cuts the potential off without a shift: a step of 2e-5 eV at 12 A"}

    def make_calculator(self):
        return get_calculator("torchsim:lennard-jones", device="cpu", threads=1)


@pytest.mark.slow  # the default run compares numbers, in test_torchsim.py
class TestRoundTrip(CalculatorConformance):
    elements = ["Mo"]

    def make_calculator(self):
        from calczoo_torchsim import ZooModel

        model = ZooModel("snap:Mo-linear", device="cpu", threads=1, outputs=("energies",))
        return get_calculator("torchsim", model=model, device="cpu")
