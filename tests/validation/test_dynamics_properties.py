"""The properties from dynamics: numbers of LAMMPS for the same file, and the states in which none may look sound."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.emt import EMT

from calczoo import get_calculator
from calczoo_validation.dynamics_melt import block, budget, thermal_scale
from calczoo_validation.engine import Evaluator
from calczoo_validation.options import resolve
from calczoo_validation.properties import diffusion, liquid, md, melting
from calczoo_validation.registry import Context
from calczoo_validation.relax import relax
from calczoo_validation.results import PropertyFailure, PropertyResult, Status
from calczoo_validation.structures import parse_proto
from data import lammps_potential

# Mishin et al., doi:10.1103/PhysRevB.63.224106, run in LAMMPS (256 atoms, 100 ps): volume per atom and enthalpy above
# the crystal at zero pressure and 1600 K; D of the periodic cell at the volume of 1600 K and 1553 K.
LIQUID_COPPER = {"volume": 13.732, "enthalpy": 0.588, "D": 0.417}


@pytest.fixture(scope="module")
def copper_eam():
    return get_calculator("eam", model=str(lammps_potential("Cu_mishin1.eam.alloy")), elements=["Cu"])


def run(prop, calc, proto="Cu:fcc", mode="smoke", **settings) -> PropertyResult:
    """The property on the relaxed crystal."""
    evaluator, crystal = Evaluator(calc), parse_proto(proto)
    (relaxed,) = relax(evaluator, [crystal.atoms], cell="full", symmetric=True, fmax=1e-3)
    options = resolve(prop.PROPERTY.options, mode, settings)
    result = PropertyResult(prop.PROPERTY.name, prop.PROPERTY.title)
    prop.PROPERTY.run(Context(evaluator, crystal.with_atoms(relaxed.atoms), options=options, mode=mode), result)
    result.finish()
    return result


def test_md_of_copper(copper_eam):
    result = run(md, copper_eam)
    assert result.status is Status.OK, result.reason
    assert result["survived_NVT_300K"].value == pytest.approx(500 * 2.5208e-3, rel=1e-3)
    assert abs(result["drift"].value) < 1e-4
    assert result["step_ratio"].value == pytest.approx(4.0, abs=0.4)
    assert result["volume_300K"].value > 11.81 and result["pressure_300K"].value > 0.5
    assert result["rdf_peak_NPT_300K"].value == pytest.approx(2.556, abs=0.03)
    assert 0.03 < result["lindemann_NPT_300K"].value < 0.07
    assert len(md.plots([("a", result, {}), ("b", result, {})])) == 1


def test_same_input_same_result(copper_eam):
    first, second = (run(md, copper_eam, steps=60, atoms=32).to_dict() for _ in range(2))
    assert first == second


def test_md_of_a_foreign_calculator_without_stress(no_stress):
    result = run(md, no_stress(), atoms=32, steps=40)
    assert "pressure_300K" not in result and "volume_300K" in result
    assert "no stress" in result.notes[0]


def test_forces_that_are_no_gradient_are_noticed(wrapped):
    """Forces 10 % too large: the sum of kinetic and potential energy fluctuates with the vibrations, whatever h."""

    def change(results, atoms):
        return {**results, "forces": 1.1 * results["forces"]}

    result = run(md, wrapped(EMT(), change), atoms=32, steps=60)
    assert result["step_ratio"].status is Status.SUSPICIOUS
    assert "no smooth gradient" in result["step_ratio"].reason


def test_a_model_that_falls_apart_is_reported_with_time_and_reason(wrapped):
    """A repulsion that ends below 2.2 A: hot atoms fall onto each other, or the evaluation fails."""

    def change(results, atoms):
        d = atoms.get_all_distances(mic=True)
        np.fill_diagonal(d, 9.0)
        if d.min() < 2.3:
            raise ValueError("shorter than the table")
        return results

    result = run(md, wrapped(EMT(), change), atoms=32, steps=120, temperatures=(1500.0,))
    value = result["survived_NVT_1500K"]
    assert value.status is Status.UNSTABLE and "shorter than the table" in value.reason
    assert 0 < value.value < 0.3
    assert result.status is Status.UNSTABLE


@pytest.mark.slow
def test_a_melting_crystal_is_not_called_sound(copper_eam):
    result = run(md, copper_eam, temperatures=(300.0, 4000.0), steps=900)
    assert result["survived_NPT_4000K"].status is Status.UNSTABLE
    assert "left their sites" in result["survived_NPT_4000K"].reason
    assert result["survived_NPT_300K"].status is Status.OK


def test_liquid_copper_as_in_lammps(copper_eam):
    result = run(liquid, copper_eam, temperature=1600.0, steps=1500, atoms=108)
    for name in ("volume", "enthalpy"):
        v = result[name]
        assert v.value == pytest.approx(LIQUID_COPPER[name], abs=4 * v.error + 2e-3 * LIQUID_COPPER[name]), name
        assert v.error < 0.01 * v.value
    assert result["rdf_peak"].value == pytest.approx(2.49, abs=0.03)
    assert 11.5 < result["coordination"].value < 13.5
    assert result["q6"].value < 0.25
    assert result.status is Status.OK, result.reason
    assert len(liquid.plots([("a", result, {})])) == 1


@pytest.mark.slow
def test_a_frozen_liquid_is_suspicious(copper_eam):
    result = run(liquid, copper_eam, temperature=200.0, steps=300)
    assert result["density"].status is not Status.OK
    assert "not a liquid" in result["density"].reason


def test_diffusion_in_liquid_copper_as_in_lammps(copper_eam):
    result = run(diffusion, copper_eam, temperature=1553.0, steps=1500, atoms=108, replicas=3)
    d = result["D"]
    # the cell of 108 atoms slows diffusion by some 10 % more than that of 256
    assert d.value == pytest.approx(LIQUID_COPPER["D"], abs=3 * d.error + 0.1 * d.value), result.reason
    assert d.error < 0.25 * d.value
    assert result["T"].value == pytest.approx(1553, abs=60)
    assert "One cell size" in result.notes[0]
    assert len(diffusion.plots([("a", result, {})])) == 1


def test_diffusion_in_a_crystal_is_not_reported_as_such(copper_eam):
    result = run(diffusion, copper_eam, temperature=150.0, steps=300, heating_steps=200)
    assert result["D"].status is not Status.OK


@pytest.mark.slow
def test_diffusion_of_two_sizes_and_temperatures(copper_eam):
    result = run(diffusion, copper_eam, temperature=1600.0, factors=(1.0, 1.25, 1.5), two_sizes=True, steps=1200)
    assert result["D_infinite"].error > result["D"].error
    assert 0.1 < result["Q"].value < 0.8
    assert result["D_3"].value > result["D"].value


@pytest.mark.slow
def test_melting_point_between_growth_and_melting(copper_eam):
    result = run(melting, copper_eam, steps=900, atoms=450, guess=1400.0)
    v = result["Tm"]
    assert v.value == pytest.approx(1340, abs=3 * v.error + 100)
    assert len(melting.plots([("a", result, {})])) == 1


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [([3, 2, 1, 0, -1, -2, -3], 1300.0), ([9, 4, 1, -1, -3, -4, -5], 1255.0), ([2, 1, 0.2, -0.9, -2, -3, -4], 1217.0)],
)
def test_zero_of_the_interface_speed(speeds, expected):
    t = np.arange(1000, 1700, 100.0)
    points = [{"T": a, "v": b, "error": 0.1} for a, b in zip(t, speeds, strict=True)]
    assert melting._zero(points)[0] == pytest.approx(expected, abs=15)


def test_speeds_of_one_sign_do_not_make_a_melting_point():
    points = [{"T": t, "v": 1.0, "error": 0.1, "weight": 1, "alive": True, "reason": ""} for t in (900.0, 1000.0)]
    result = PropertyResult("melting", "x")
    melting._add(result, points, None, 1e6)
    assert result["Tm"].value is None and result["Tm"].status is Status.UNCONVERGED
    assert "above 1000 K" in result["Tm"].reason


def test_budget_is_said_in_plain_words():
    with pytest.raises(PropertyFailure, match="2e.08 atom-steps.*max_atom_steps") as info:
        budget(1000, 200_000, 1e7, "it")
    assert info.value.status is Status.UNSUPPORTED


@pytest.mark.parametrize("prop", [md, liquid, diffusion, melting])
def test_slow_models_are_not_started(prop, emt):
    with pytest.raises(PropertyFailure, match="max_atom_steps"):
        run(prop, emt, max_atom_steps=1000.0)


@pytest.mark.parametrize("proto", ["Cu:fcc", "Mo:bcc", "Si:diamond", "Mg:hcp", "NaCl:rocksalt"])
def test_blocks_are_nearly_cubic(proto):
    atoms = block(parse_proto(proto), 250)
    assert 170 < len(atoms) < 340
    sides = atoms.cell.lengths()
    assert sides.max() / sides.min() < 1.35


def test_scale_of_temperature(copper_eam):
    crystal = parse_proto("Cu:fcc")
    scale = thermal_scale(Evaluator(copper_eam), block(crystal, 108), 2.556, 1)
    assert 800 < scale < 2000
