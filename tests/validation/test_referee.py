"""Symptoms that a referee found: numbers that were wrong and called ok, and sound ones that were refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT

from calczoo import get_calculator
from calczoo_validation import Status, parse_proto
from calczoo_validation.chemical import elemental_references
from calczoo_validation.engine import Evaluator
from calczoo_validation.options import General, resolve
from calczoo_validation.properties import elastic, elastic3, lattice, stacking_faults, surfaces, vacancy
from calczoo_validation.registry import Context
from calczoo_validation.results import PropertyFailure, PropertyResult
from calczoo_validation.structures import Crystal
from calczoo_validation.wulff import orbit
from tests.data import lammps_potential

from .conftest import Wrapped


def context(calculator, crystal, relaxed=True):
    crystal = parse_proto(crystal) if isinstance(crystal, str) else Crystal(crystal, "file")
    made = Context(Evaluator(calculator), crystal, general=resolve(General, "smoke"), mode="smoke")
    if relaxed:
        compute(lattice, made)
    return made


def compute(module, made, **changes):
    made.options = resolve(module.PROPERTY.options, made.mode, changes)
    result = PropertyResult(module.PROPERTY.name, module.PROPERTY.title)
    module.PROPERTY.run(made, result)
    result.finish()
    made.results[module.PROPERTY.name] = result
    return result


def scaled(key, factor):
    """EMT with one of its results multiplied."""
    return Wrapped(change=lambda results, atoms: {**results, key: factor * results[key]})


def test_elastic_constants_of_a_stress_one_third_too_large_were_ok():
    got = compute(elastic, context(scaled("stress", 1.3), "Cu:fcc"))
    for name in ("C11", "C11_clamped", "B"):
        assert got[name].status is Status.SUSPICIOUS and "not the derivative of the energy" in got[name].reason


def test_the_energies_of_sound_cells_agree_with_their_stresses():
    got = compute(elastic, context(EMT(), "Cu:fcc"))
    assert got.status is Status.OK
    assert got.data["energy_diagonal_GPa"][0] == pytest.approx(got["C11_clamped"].value, rel=2e-3)


def test_a_stress_of_the_wrong_sign_inflated_the_crystal():
    with pytest.raises(PropertyFailure, match="above the minimum of the volume scan"):
        context(scaled("stress", -1.0), "Cu:fcc")


@pytest.mark.parametrize("factor, status", [(1.0, Status.OK), (0.8, Status.SUSPICIOUS)])
def test_forces_a_fifth_too_small_went_unnoticed(factor, status):
    made = context(scaled("forces", factor), "Cu:fcc")
    assert made.results["lattice"].status is status
    assert made.results["lattice"].data["force_gap"] == pytest.approx(1 - factor, abs=1e-3)


# A term that every cell has once, and a tenth of the energy that only cells of more than a few atoms have.
@pytest.mark.parametrize(
    "change, status",
    [
        (lambda results, n: {**results, "energy": results["energy"] + 1e-5}, Status.OK),
        (lambda results, n: {**results, "energy": results["energy"] + 0.05}, Status.SUSPICIOUS),
        (lambda results, n: results if n > 4 else {k: 0.9 * v for k, v in results.items()}, Status.SUSPICIOUS),
    ],
    ids=["rounding", "offset", "small cells"],
)
@pytest.mark.parametrize("proto", ["Cu:fcc", "Cu:hcp"])
def test_an_energy_per_atom_that_depended_on_the_cell_was_ok(change, status, proto):
    """Forces and stress are the derivatives of the energy in every cell."""
    calculator = Wrapped(change=lambda results, atoms: change(results, len(atoms)))
    got = context(calculator, proto).results["lattice"]
    assert got.status is status and got["a0"].status is status
    if status is not Status.OK:
        n = 1 if proto == "Cu:fcc" else 2
        small, large = got["energy"].value, got.data["energy_of_repeat"]
        assert f"{small:.5f} eV/atom in the cell of {n} atoms, {large:.5f} eV/atom" in got.reason


def test_a_calculator_without_room_for_a_repeat_had_no_lattice_constant():
    def change(results, atoms):
        if len(atoms) > 4:
            raise RuntimeError("too many atoms, said the code")
        return results

    got = context(Wrapped(change=change), "Cu:fcc").results["lattice"]
    assert got["a0"].status is Status.OK
    assert any("2x2x2" in note and "too many atoms" in note for note in got.notes)


def test_l1_0_that_relaxed_into_cscl_was_reported_as_l1_0():
    calculator = get_calculator("eam", model=str(lammps_potential("AlCu.adp")), threads=1)
    got = context(calculator, "AlCu:l1_0").results["lattice"]
    assert got.status is Status.UNSTABLE and "relaxes into cesiumchloride" in got.reason


def test_the_vacuum_of_a_layer_was_quoted_as_a_lattice_constant():
    layer = fcc111("Cu", (1, 1, 1), vacuum=8, periodic=True)
    got = context(EMT(), Atoms("Cu", cell=layer.cell, pbc=True)).results["lattice"]
    assert got["a0"].status is Status.OK
    for name in ("c0", "volume"):
        assert got[name].status is Status.SUSPICIOUS and "empty space" in got[name].reason


def test_averages_of_a_layer_were_numbers_of_1e18():
    layer = fcc111("Cu", (1, 1, 1), vacuum=8, periodic=True)
    got = compute(elastic, context(EMT(), Atoms("Cu", cell=layer.cell, pbc=True)))
    assert "A_U" not in got and got.status is Status.UNSTABLE and "no stiffness" in got.reason


def test_elastic_constants_without_any_stiffness_ended_in_a_singular_matrix():
    nothing = Wrapped(change=lambda results, atoms: {k: 0 * v for k, v in results.items()})
    got = compute(elastic, context(nothing, "Cu:fcc", relaxed=False))
    assert got["C11"].status is Status.UNSTABLE


@pytest.mark.parametrize("module", [elastic, elastic3])
def test_clamped_constants_that_break_the_symmetry_were_ok(module):
    def change(results, atoms):
        return {**results, "stress": results["stress"] * [1, 1, 1.1, 1, 1, 1]}

    got = compute(module, context(Wrapped(change=change), "Cu:fcc"))
    clamped = [v for v in got.values if v.name.endswith("_clamped")]
    assert clamped and all(v.status is Status.SUSPICIOUS for v in clamped)


def test_the_reference_of_nitrogen_was_diamond():
    calculator = get_calculator("tersoff", model=str(lammps_potential("GaN.tersoff")), threads=1)
    found = elemental_references(context(calculator, "GaN:zincblende"), ["N", "Ga"])
    assert found["N"].phase == "molecule"
    assert found["N"].energy == pytest.approx(-9.91 / 2, abs=2e-3)  # D0 of the file


def test_the_reference_of_carbon_was_diamond_where_graphite_is_lower():
    calculator = get_calculator("tersoff", model=str(lammps_potential("SiC.tersoff")), threads=1)
    found = elemental_references(context(calculator, "SiC:zincblende"), ["C"])["C"]
    assert found.phase == "graphite"
    assert found.tried["graphite"] < found.tried["diamond"] == pytest.approx(-7.3682, abs=1e-3)


def test_the_relaxation_volume_belonged_to_another_vacancy_than_the_energy():
    """With this potential the symmetric nitrogen vacancy is 2 eV above the lowest one."""
    calculator = get_calculator("tersoff", model=str(lammps_potential("GaN.tersoff")), threads=1)
    got = compute(vacancy, context(calculator, "GaN:wurtzite"))
    assert "symmetric one is higher" in got["E_vac_N_Ga_rich"].note
    assert abs(got["V_relax_N"].value - got["V_relax_Ga"].value) > 1.0


def test_a_fault_that_costs_nothing_was_unstable_by_rounding():
    calculator = get_calculator("tersoff", model=str(lammps_potential("SiC.tersoff")), threads=1)
    got = compute(stacking_faults, context(calculator, "C:diamond"))
    assert abs(got["gamma_isf_glide"].value) < 1e-3
    assert all(v.status is not Status.UNSTABLE for v in got.values)


def test_a_maximum_next_to_a_jump_was_extrapolated_by_its_parabola():
    """30 J/m^2 relaxed beside 12 J/m^2 not relaxed."""
    calculator = get_calculator("tersoff", model=str(lammps_potential("SiC.tersoff")), threads=1)
    got = compute(stacking_faults, context(calculator, "C:diamond"), points=48)
    assert got["gamma_usf_shuffle"].value < got["gamma_usf_shuffle_unrelaxed"].value


def test_the_wulff_shape_of_a_rattled_supercell_was_not_the_crystals():
    """Rotations that are orthogonal to 1e-7 made 74 planes {111} out of eight."""
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=1)
    rattled, clean = (compute(surfaces, context(EMT(), a)) for a in (atoms, bulk("Cu", cubic=True)))
    for name in ("shape_factor", "gamma_mean"):
        assert rattled[name].value == pytest.approx(clean[name].value, rel=1e-3)


def test_images_of_a_plane_are_counted_once_under_rounded_rotations():
    turns = np.array([np.eye(3) + 1e-6 * np.random.default_rng(k).normal(size=(3, 3)) for k in range(6)])
    assert len(orbit(turns, np.array([1.0, 1.0, 1.0]) / 3**0.5)) == 2
