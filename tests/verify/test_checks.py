"""Every check passes for a correct calculator, and fails for one that is broken in just that way."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from calczoo import get_calculator
from calczoo.verify import CHECKS, Context, run_check
from verify import toys

BROKEN = {
    "species": [toys.NoNickel],
    "periodicity": [toys.MixedPbcAsFull],
    "permutation": [toys.OrderMatters],
    "forces": [toys.WrongForces],
    "stress": [toys.WrongStress],
    "dimer": [toys.Truncated, toys.Kinked],
    "objectivity": [toys.KnowsDirections],
    "inversion": [toys.Chiral],
    "threads": [toys.SharedScratch],
    "memory": [toys.Leaky],
    "extensivity": [toys.Superlinear, toys.SuperlinearWithCharges],
    "isolated_atoms": [toys.FeelsTheBox],
    "determinism": [toys.Random],
    "small_cell": [toys.NearestImageOnly],
    "reuse": [toys.StaleNeighbours],
    "unsupported_element": [toys.TakesAnything],
    "batch": [toys.BatchMixesUp],
    "float32_gap": [toys.Good],  # whose single precision variant is another model
    "nve": [toys.WrongForces, toys.Heats],
    "nan_input": [toys.SwallowsNan, toys.PassesNanOn],
    "overlap": [toys.SoftCore],
    "empty": [toys.SomethingFromNothing],
    "degenerate_cell": [toys.IgnoresFlatCells],
    "outside_cell": [toys.NeverWraps],
    "odd_cells": [toys.SkewBlind],
    "stress_nonperiodic": [toys.StressOfNothing],
}

PAIRS = [(name, toy) for name, many in BROKEN.items() for toy in many]


@pytest.fixture(scope="module")
def good() -> Context:
    return Context(toys.Batched, ["Cu", "Ni"], quick=True, seed=7, float32=toys.Single)


def test_every_check_has_a_broken_toy():
    assert set(BROKEN) == set(CHECKS)


@pytest.mark.parametrize("name", list(CHECKS))
def test_good_calculator_passes(name, good):
    result = run_check(name, good)
    assert result.status == "pass", str(result) + result.details.get("traceback", "")
    if CHECKS[name].graded:
        assert result.grade == "A"


@pytest.mark.parametrize(("name", "toy"), PAIRS, ids=[f"{n}-{t.__name__}" for n, t in PAIRS])
def test_broken_calculator_fails(name, toy):
    elements = ["Cu", "Ni"] if name == "species" else ["Cu"]
    result = run_check(name, Context(toy, elements, quick=True, seed=7, float32=toys.Shifted))
    assert result.status == "fail"
    assert result.reason or result.value is not None
    assert "traceback" not in result.details  # found by the check, not by accident


def test_a_leak_does_not_hide_in_memory_freed_before():
    """After larger work the allocator holds free pages; what leaked into them did not make the process grow."""
    blocks = [np.ones(4000) for _ in range(4000)]
    kept = blocks[::50]  # holds the pages between them
    del blocks
    result = run_check("memory", Context(toys.Leaky, ["Cu"], quick=True, seed=7))
    assert result.status == "fail" and len(kept) == 80


@pytest.mark.parametrize("toy", [toys.Chiral, toys.Kinked, toys.Superlinear])
def test_a_fault_is_seen_by_its_own_check_only(toy):
    context = Context(toy, ["Cu"], quick=True, seed=7)
    for name in ("permutation", "objectivity", "determinism", "reuse"):
        assert run_check(name, context).status == "pass"


@pytest.mark.parametrize("name", ["periodicity", "outside_cell", "odd_cells", "batch", "reuse"])
def test_slabs_are_left_out_where_they_are_refused(name):
    """A calculator with Ewald sums says what it cannot; that is no fault, and the report tells it."""
    result = run_check(name, Context(toys.NoSlabs, ["Cu", "Ni"], quick=True, seed=7))
    assert result.status == "pass" and "all directions periodic, or none" in result.reason


def test_charges_that_flow_between_fragments_are_no_fault():
    """Fourth-generation networks failed: they share the charge among all atoms, whatever the distance."""
    context = Context(partial(get_calculator, "hdnnp:carbon-chains", device="cpu", threads=1), ["C", "H"], quick=True)
    result = run_check("extensivity", context)
    assert result.status == "pass" and "charges flow between unlike clusters" in result.reason


def test_ions_alone_are_no_fault():
    """An ion in a periodic cell has the energy of a charged lattice."""
    salt = partial(get_calculator, "ewald(Na=1, Cl=-1) + zbl(2.0, 3.0)", device="cpu", threads=1)
    assert run_check("isolated_atoms", Context(salt, ["Na", "Cl"], quick=True)).status == "pass"
