"""The public conformance kit on networks with random weights: they have all the code of a trained one. The seeds are
such that silicon has a lattice constant, without which the kit looks at crystals so dense that triples fill the memory,
and that its crystal holds together in dynamics.

float64: the tolerances of the kit for double precision, unchanged. float32: those of the kit for single precision
(energy 2e-5 eV/atom, forces 1e-3 eV/A, stress 1e-4 eV/A^3, each relative to the larger of 1 and the value; forces and
stress graded D or better against numerical derivatives).
"""

from __future__ import annotations

from typing import ClassVar

import pytest
from calczoo import get_calculator
from calczoo.testing import CalculatorConformance

STEP = "matgl's CHGNet fades with its radial functions instead of with the distance: forces jump at the cutoff"


class Double(CalculatorConformance):
    elements = ["Si"]
    network: ClassVar[str] = "m3gnet(seed=1, cutoff=4.0)"

    def make_calculator(self):
        return get_calculator(f"matgl:{self.network.replace('(', '-random(')}", device="cpu", threads=1)


class Single(Double):
    dtype = "float32"
    not_applicable = {"memory": "whether calls leak memory is tested in double precision"}

    def make_calculator(self):
        name = f"matgl:{self.network.replace('(', '-random(')}"
        return get_calculator(name, device="cpu", dtype="float32", threads=1)


class TestM3GNetFloat64(Double):
    not_applicable = {"memory": "tested on the other architectures (pytest -m slow)"}


class TestM3GNetFloat32(Single):
    pass


@pytest.mark.slow
class TestTensorNetFloat64(Double):
    network = "tensornet(seed=0, cutoff=5.0)"


@pytest.mark.slow
class TestTensorNetFloat32(Single):
    network = "tensornet(seed=0, cutoff=5.0)"


@pytest.mark.slow
class TestCHGNet(Double):
    network = "chgnet(seed=0, cutoff=4.0)"
    not_applicable = {"dimer": STEP, "nve": STEP}


@pytest.mark.slow
class TestSO3Net(Double):
    network = "so3net(seed=0, cutoff=4.0)"


@pytest.mark.slow
class TestQET(Double):
    network = "qet(seed=1, cutoff=4.0)"
