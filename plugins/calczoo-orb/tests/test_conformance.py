"""The public conformance kit on random networks, with more than the usual neighbours.

float64: the tolerances of the kit for double precision, unchanged. float32: those of the kit for single precision
(energy 2e-5 eV/atom, forces 1e-3 eV/A, stress 1e-4 eV/A^3, each relative to the larger of 1 and the value; forces and
stress graded D or better against numerical derivatives).

What an Orb network is not, whatever its weights, is declared: it knows rotations and inversions from its training
only, and its energy is a function of a mean over all atoms. The direct ones predict forces and stress that are no
derivatives; what the kit makes of them is tested too.
"""

from __future__ import annotations

import pytest
from calczoo import get_calculator
from calczoo.testing import CalculatorConformance, Context, run_check

LEARNED = "an Orb network knows rotations and inversions from its training, and these weights are random"
NOT_ORB = {
    "objectivity": LEARNED,
    "inversion": LEARNED,
    "extensivity": "the energy is N times a function of the mean over all atoms: distant parts depend on each other",
}
PREDICTED = "predicted forces and stress are no derivatives of the energy"
NOT_DIRECT = {**NOT_ORB, "forces": PREDICTED, "stress": PREDICTED, "nve": PREDICTED}


def calculator(model: str = "random", dtype: str = "float64"):
    return get_calculator(f"orb:{model}", device="cpu", dtype=dtype, threads=1, neighbours=500, seed=1)


class TestConservative(CalculatorConformance):
    elements = ["Cu"]
    not_applicable = NOT_ORB

    def make_calculator(self):
        return calculator()


@pytest.mark.slow
class TestDirect(CalculatorConformance):
    elements = ["Cu"]
    not_applicable = NOT_DIRECT

    def make_calculator(self):
        return calculator("random-direct")


@pytest.mark.slow
class TestConservativeFloat32(CalculatorConformance):
    elements = ["Cu"]
    dtype = "float32"
    not_applicable = NOT_ORB

    def make_calculator(self):
        return calculator(dtype="float32")


@pytest.mark.slow
class TestDirectFloat32(CalculatorConformance):
    elements = ["Cu"]
    dtype = "float32"
    not_applicable = NOT_DIRECT

    def make_calculator(self):
        return calculator("random-direct", "float32")


@pytest.mark.parametrize("check", ["forces", "stress"])
def test_predicted_forces_are_graded_as_what_they_are(check):
    result = run_check(check, Context(lambda: calculator("random-direct"), ["Cu"], quick=True))
    assert result.status == "fail" and result.grade not in ("A", "B")
