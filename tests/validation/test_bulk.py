"""Structure types, equation of state, phase ordering and Bain path."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from calczoo import CalczooError, get_calculator
from calczoo_validation import Status, parse_proto
from calczoo_validation.engine import Evaluator
from calczoo_validation.options import General, resolve
from calczoo_validation.properties import bain, elastic, eos, lattice, phases
from calczoo_validation.registry import Context
from calczoo_validation.results import PropertyFailure, PropertyResult
from calczoo_validation.strain import scaled, strain_matrix, strained
from calczoo_validation.structures import PROTOTYPES, identify
from tests.data import lammps_potential

FORMULAS = {(1,): "Cu", (1, 1): "NaCl", (1, 2): "CaF2", (3, 1): "Ni3Al", (1, 1, 3): "SrTiO3"}


def context(calculator, proto, mode="smoke", relaxed=True, **general):
    """Context of one crystal, relaxed by the lattice property unless told otherwise."""
    made = Context(Evaluator(calculator), parse_proto(proto), general=resolve(General, mode, general), mode=mode)
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


def fitted(module, frames, made=None):
    """What the property makes of reference frames."""
    made = made or Context(Evaluator(None), None, options=resolve(module.PROPERTY.options, "fast"))
    result = PropertyResult(module.PROPERTY.name, module.PROPERTY.title)
    module.PROPERTY.from_frames(frames, made, result)
    result.finish()
    return result


def declared(module, result):
    """Every value matches a declared output in name and unit."""
    from fnmatch import fnmatchcase

    for v in result.values:
        assert any(fnmatchcase(v.name, o.name) and v.unit == o.unit for o in module.PROPERTY.outputs), (v.name, v.unit)


def single_point(atoms, energy, **more):
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, **more)
    return atoms


@pytest.fixture(scope="module")
def copper():
    return get_calculator("eam", model=str(lammps_potential("Cu_mishin1.eam.alloy")), elements=["Cu"])


@pytest.fixture(scope="module")
def silicon():
    return get_calculator("sw", model=str(lammps_potential("Si.sw")), elements=["Si"])


# -- structure types -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTOTYPES)
def test_every_prototype_is_recognised_as_itself(name):
    crystal = parse_proto(f"{FORMULAS[PROTOTYPES[name].counts]}:{name}")
    assert identify(crystal.atoms) == name
    assert crystal.reference_key().endswith(f":{name}")
    cell = crystal.conventional_cell()
    assert identify(cell) == name
    assert len(cell) == len(crystal.atoms) * round(cell.get_volume() / crystal.atoms.get_volume())
    # no conventional cell is smaller or more skewed than its lengths say
    angles = cell.cell.angles()
    expected = (90, 90, 120) if any(abs(angles - 120) < 1e-6) else (90, 90, 90)
    assert angles == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("W:A15", "a15"), ("W:beta-W", "a15"), ("Sn:beta-Sn", "beta_sn"), ("Sn:A5", "beta_sn"), ("Cu3Au:L1_2", "l1_2"),
        ("AuCu3:l12", "l1_2"), ("NaCl:B1", "rocksalt"), ("Fe3Al:D0_3", "d0_3"), ("NiAs:B8_1", "nias"),
        ("Si:hexagonal diamond", "lonsdaleite"), ("La:dhcp", "dhcp"), ("CuAu:L1_0", "l1_0"), ("TiO2:C4", "rutile"),
    ],
)  # fmt: skip
def test_names_in_use_are_understood(text, name):
    assert parse_proto(text).prototype == name


def test_stoichiometry_decides_which_element_sits_where():
    for text in ("Cu3Au:L1_2", "AuCu3:L1_2"):
        assert parse_proto(text).atoms.get_chemical_formula() == "AuCu3"
    assert parse_proto("F2Ca:fluorite").atoms.get_chemical_formula() == "CaF2"
    swapped = parse_proto("AsNi:nias").atoms
    assert swapped.symbols[0] == "As"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mo:bbc", "did you mean 'bcc'"), ("W:omgea", "did you mean 'omega'"), ("CaF:fluorite", "formula like AB2"),
        ("Cu3Au:rocksalt", "formula like AB,"), ("CuCu:rocksalt", "needs 2 element"), ("Cux:fcc", "needs 1 element"),
    ],
)  # fmt: skip
def test_wrong_prototypes_name_the_closest_match(text, message):
    with pytest.raises(CalczooError, match=message):
        parse_proto(text)


@pytest.mark.parametrize("name", [n for n, k in PROTOTYPES.items() if k.counts == (1,)])
def test_first_guesses_keep_atoms_at_sensible_distances(name):
    for element in ("Li", "Si", "Cu", "W", "Sn", "O"):
        atoms = parse_proto(f"{element}:{name}").atoms.repeat(3)
        distances = atoms.get_all_distances(mic=True)
        near = distances[distances > 1e-6].min()
        assert 0.7 < near / parse_proto(f"{element}:fcc").atoms.repeat(3).get_distance(0, 1) < 1.15


# -- equation of state -----------------------------------------------------------------------------------------------


def volumes(form, e0=-3.5, v0=11.8, b0=140.0, b1=5.5, points=9, width=0.08, cell=None):
    """Frames whose energies follow one form exactly."""
    atoms = cell or bulk("Cu", cubic=True)
    out = []
    for v in v0 * np.linspace(1 - width, 1 + width, points):
        frame = scaled(atoms, (v * len(atoms) / atoms.get_volume()) ** (1 / 3))
        out.append(single_point(frame, len(atoms) * float(form(v, e0, v0, b0 * GPa, b1))))
    return out


@pytest.mark.parametrize(("form", "tail"), [(eos.birch_murnaghan, ""), (eos.vinet, "_vinet")])
def test_a_form_is_recovered_from_its_own_energies_and_the_other_is_within_the_error(form, tail):
    result = fitted(eos, volumes(form))
    declared(eos, result)
    for name, truth in (("V0", 11.8), ("B0", 140.0), ("B0_prime", 5.5)):
        assert result[name + tail].value == pytest.approx(truth, rel=1e-6)
        for other in (name, f"{name}_vinet"):
            assert abs(result[other].value - truth) <= result[other].error + 1e-6
    assert result["B0_prime"].error > 1e-3  # the forms differ, and the error bar says so


def test_both_forms_have_the_curvature_they_are_asked_for():
    for form in (eos.birch_murnaghan, eos.vinet):
        v, h = 20.0, 0.01
        e = [float(form(v + k * h, -4.0, v, 0.6, 4.5)) for k in (-2, -1, 0, 1, 2)]
        second = (-e[0] + 16 * e[1] - 30 * e[2] + 16 * e[3] - e[4]) / (12 * h**2)
        third = (-e[0] + 2 * e[1] - 2 * e[3] + e[4]) / (2 * h**3)
        assert e[2] == pytest.approx(-4.0)
        assert v * second == pytest.approx(0.6, rel=1e-6)
        assert -1 - v * third / second == pytest.approx(4.5, rel=1e-3)  # B' = -1 - V E''' / E''


def test_model_and_its_own_frames_give_the_same_equation_of_state(copper):
    made = context(copper, "Cu:fcc", mode="fast")
    direct = compute(eos, made)
    declared(eos, direct)
    cells = [scaled(made.crystal.atoms, s) for s in np.linspace(0.98, 1.02, 11)]
    strange = [strained(made.crystal.atoms, strain_matrix(j, 0.01)) for j in range(6)]
    strange += [made.crystal.atoms.repeat((2, 1, 1))]
    strange[-1].positions[0] += 0.2
    got = copper.evaluate(cells + strange)
    frames = [single_point(a, r["energy"], forces=r["forces"], stress=r["stress"])
              for a, r in zip(cells + strange, got, strict=True)]  # fmt: skip
    result = fitted(eos, frames[::-1], made)
    assert len(result.data["volume"]) == 11
    assert "11 of 18" in result.notes[0]
    for name in ("V0", "E0", "B0"):
        assert result[name].value == pytest.approx(direct[name].value, abs=direct[name].error + result[name].error)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (volumes(eos.vinet, points=4), "at least 5 volumes"),
        ([bulk("Cu")], "none of the 1 reference frames"),
        ([single_point(strained(bulk("Cu"), strain_matrix(3, 0.01 * k)), 0.0) for k in range(8)], "hold 1"),
    ],
)
def test_missing_frames_are_named(frames, message):
    with pytest.raises(PropertyFailure, match=message) as caught:
        fitted(eos, frames)
    assert caught.value.status is Status.UNSUPPORTED


def test_frames_of_another_composition_are_not_used():
    made = Context(Evaluator(None), parse_proto("Ni:fcc"), options=None)
    with pytest.raises(PropertyFailure, match="no reference frame of Ni"):
        fitted(eos, volumes(eos.vinet), made)


# -- phases ----------------------------------------------------------------------------------------------------------

# A. P. Bartok et al., Phys. Rev. X 8, 041048 (2018), doi:10.1103/PhysRevX.8.041048: energies over volume of their
# Stillinger-Weber silicon, minima by spline; meV/atom above diamond and A^3/atom. Its energy unit is 0.04 % smaller
# than that of the file used here.
PUBLISHED_SW = {
    "beta_sn": (199.61, 17.216), "sh": (376.82, 18.058), "bcc": (280.94, 17.082), "fcc": (396.14, 17.824),
    "hcp": (396.14, 17.824), "lonsdaleite": (0.0, 20.023), "diamond": (0.0, 20.023),
}  # fmt: skip


@pytest.fixture(scope="module")
def silicon_phases(silicon):
    return compute(phases, context(silicon, "Si:diamond"), phases=["all"])


@pytest.mark.parametrize("name", PUBLISHED_SW)
def test_stillinger_weber_phases_as_published(silicon_phases, name):
    energy, volume = PUBLISHED_SW[name]
    value = silicon_phases[f"E_{name}"]
    assert value.value == pytest.approx(energy, rel=6e-4, abs=0.02)
    assert value.error < 0.02
    assert silicon_phases[f"V_{name}"].value == pytest.approx(volume, abs=2e-3)


def test_stackings_that_a_short_ranged_model_cannot_tell_apart_are_not_silently_equal(silicon_phases):
    declared(phases, silicon_phases)
    assert "hcp" in silicon_phases["E_fcc"].note
    assert "does not tell them apart" in silicon_phases["E_lonsdaleite"].note
    assert silicon_phases["lowest"].value == 0.0


def test_a_phase_that_relaxes_into_another_one_has_no_number(copper):
    result = compute(phases, context(copper, "Cu:fcc"), phases=["fcc", "bcc", "hcp", "lonsdaleite"])
    declared(phases, result)
    assert result["E_fcc"].value == pytest.approx(0.0, abs=1e-3)
    assert 0 < result["E_hcp"].value < result["E_bcc"].value
    gone = result["E_lonsdaleite"]
    assert gone.value is None and gone.status is Status.UNSTABLE
    assert "relaxes into" in gone.reason
    assert len(phases.plots([("EAM", result, {})])) == 1


def test_a_crystal_that_is_not_the_ground_state_is_said_to_be_none(copper):
    result = compute(phases, context(copper, "Cu:bcc"), phases=["fcc", "bcc"])
    assert result["E_fcc"].value == pytest.approx(-45.5, abs=0.1)
    assert result["lowest"].status is Status.SUSPICIOUS
    assert "not the ground state" in result["lowest"].reason
    assert result["E_bcc"].status is Status.OK


def test_a_phase_without_a_minimum_is_not_given_a_number(wrapped):
    def no_close_packing(results, atoms):
        if len(atoms) > 1:  # hcp and diamond: pushed apart
            results = {"energy": 50.0 * len(atoms) / atoms.get_volume(), "forces": results["forces"] * 0,
                       "stress": np.zeros(6)}  # fmt: skip
        return results

    result = compute(phases, context(wrapped(change=no_close_packing), "Cu:fcc"), phases=["fcc", "bcc", "hcp"])
    assert result["E_hcp"].value is None and result["E_hcp"].status is Status.UNSTABLE
    assert "no energy minimum" in result["E_hcp"].reason
    assert result["E_bcc"].value > 0


def test_compounds_compare_with_prototypes_of_their_own_composition(emt):
    result = compute(phases, context(emt, "CuAu:l1_0"), phases=["all"])
    names = {v.name for v in result.values}
    assert {"E_l1_0", "E_cesiumchloride", "E_rocksalt", "E_zincblende", "E_nias", "E_nias_swapped"} <= names
    assert "E_fcc" not in names
    assert result["E_nias"].value != pytest.approx(result["E_nias_swapped"].value)
    assert phases.applies(parse_proto("SrTiO3:perovskite")) == ""
    odd = parse_proto("Cu:fcc").with_atoms(Atoms("Cu2O3", cell=[5] * 3, pbc=True))
    assert "no structure type" in phases.applies(odd)


# -- Bain path -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bain_copper(copper):
    made = context(copper, "Cu:fcc")
    compute(elastic, made)
    return made, compute(bain, made), compute(phases, made, phases=["fcc", "bcc", "sc"])


def test_path_ends_are_the_phases(bain_copper):
    _, path, energies = bain_copper
    declared(bain, path)
    assert path.status is Status.OK
    assert path["E_fcc"].value == pytest.approx(0.0, abs=1e-3)
    assert path["E_bcc_relaxed"].value == pytest.approx(energies["E_bcc"].value, abs=1e-2)
    assert path["E_bcc"].value >= path["E_bcc_relaxed"].value
    assert path["E_sc_trigonal"].value > energies["E_sc"].value
    assert path["barrier_bcc_fcc"].value == pytest.approx(path["E_bcc"].value)
    assert "no barrier" in path["barrier_bcc_fcc"].note


def test_curvature_at_fcc_is_the_tetragonal_shear_modulus(bain_copper):
    """d2E/d(ln x)2 = 2 V (C11 - C12) / 3 at constant volume."""
    made, _, _ = bain_copper
    volume, h = made.crystal.atoms.get_volume(), 0.01
    cells = [bain.cell("Cu", "tetragonal", 2**0.5 * np.exp(k * h), volume) for k in (-2, -1, 0, 1, 2)]
    e = [r["energy"] for r in made.evaluator.evaluate(cells, ("energy",))]
    curvature = (-e[0] + 16 * e[1] - 30 * e[2] + 16 * e[3] - e[4]) / (12 * h**2)
    constants = made.results["elastic"]
    shear = (constants["C11"].value - constants["C12"].value) * GPa
    assert curvature == pytest.approx(2 * volume * shear / 3, rel=5e-3)


@pytest.mark.parametrize(
    ("path", "x", "name"),
    [("tetragonal", 1.0, "bcc"), ("tetragonal", 2**0.5, "fcc"), ("trigonal", 1.0, "bcc"), ("trigonal", 2.0, "sc"),
     ("trigonal", 4.0, "fcc")],
)  # fmt: skip
def test_named_points_of_the_paths_are_these_structures(path, x, name):
    atoms = bain.cell("Cu", path, x, 11.8)
    assert identify(atoms) == name
    assert atoms.get_volume() == pytest.approx(11.8)


def test_the_saddle_and_the_second_minimum_of_unstable_bcc_copper(bain_copper):
    """bcc copper is a maximum between fcc and a minimum at c/a < 1, as for all metals with C11 < C12 in bcc."""
    _, path, _ = bain_copper
    assert path["E_bcc"].note == "maximum"
    assert path["x_extremum1"].note == "minimum"
    assert 0.85 < path["x_extremum1"].value < 1.0
    assert 0 < path["E_extremum1"].value < path["E_bcc"].value


def test_bain_path_is_for_elements_in_bcc_or_fcc():
    assert bain.applies(parse_proto("Cu:fcc")) == bain.applies(parse_proto("Mo:bcc")) == ""
    for proto in ("Si:diamond", "Cu:hcp", "NaCl:rocksalt"):
        assert "bcc" in bain.applies(parse_proto(proto))


def test_a_jump_on_the_path_is_noticed(wrapped):
    def jumps(results, atoms):
        high = atoms.cell.cellpar()[3:].max() > 109.9  # only on one side of bcc and beyond
        return {**results, "energy": results["energy"] + 0.05 * high}

    made = context(wrapped(change=jumps), "Cu:fcc", relaxed=False)
    result = compute(bain, made)
    assert result.status is Status.SUSPICIOUS
    assert "jump" in result.reason or "not smooth" in result.reason
