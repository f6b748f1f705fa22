"""Phonons, Grueneisen parameters, expansion and conductivity on models with published or analytic values."""

from __future__ import annotations

import json
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa

from calczoo import get_calculator
from calczoo_validation import Context, Evaluator, PropertyFailure, PropertyResult, Status
from calczoo_validation.options import General, resolve
from calczoo_validation.phonon_tools import (
    BOLTZMANN,
    compare_bands,
    debye_heat_capacity,
    debye_temperature,
    quiet,
    sphere,
)
from calczoo_validation.properties import conductivity, grueneisen, phonons, qha
from calczoo_validation.structures import parse_proto
from data import lammps_potential, shared

SILICON = "data/reference_tables/silicon_PRX2018_test_results"


def run(prop, calculator, crystal, general=None, **options) -> PropertyResult:
    settings = resolve(prop.options, "smoke", options, prop.name)
    context = Context(
        Evaluator(calculator), crystal, options=settings, general=resolve(General, "smoke", general), mode="smoke"
    )
    result = PropertyResult(prop.name, prop.title)
    prop.run(context, result)
    result.finish()
    return result


@cache
def silicon(model: str):
    """A Si potential of Bartok et al. 2018, and silicon at its lattice constant there. SiC.tersoff holds T3."""
    name = {"SW": "Si.sw", "Tersoff": "SiC.tersoff"}[model]
    calc = get_calculator(model.lower(), model=str(lammps_potential(name)), elements=["Si"])
    return calc, parse_proto(f"Si:diamond:{published(model, 'qha')['a0']}")


@cache
def published(model: str, what: str) -> dict:
    """A. P. Bartok et al., Phys. Rev. X 8, 041048 (2018), doi:10.1103/PhysRevX.8.041048, supplementary results."""
    return json.loads(shared(f"{SILICON}/{model}/model-{model}-test-{what}_diamond-properties.json").read_text())


@cache
def grueneisen_of(model: str) -> PropertyResult:
    return run(grueneisen.PROPERTY, *silicon(model), length=10.0, mesh=40.0)


@cache
def expansion_of(model: str) -> PropertyResult:
    return run(qha.PROPERTY, *silicon(model), length=10.0, mesh=40.0)


@pytest.mark.parametrize("model", ["SW", "Tersoff"])
@pytest.mark.parametrize("point", ["X", "L"])
def test_grueneisen_parameters_of_single_modes_as_published(model, point):
    """Theirs are differences of frequencies over a wider range of volumes: equal to a few per cent."""
    bands = published(model, "qha")["qha_mode_band_gruneisens"]
    theirs = np.sort({"X": bands[0][-1], "L": bands[2][-1]}[point])
    result = grueneisen_of(model)
    ours = []
    for value in result.values:
        if value.name.startswith(f"gamma_{point}_"):
            branches = value.label.split("branch ")[1].split("-")
            ours += [value.value] * (int(branches[-1]) - int(branches[0]) + 1)
    assert np.sort(ours) == pytest.approx(theirs, rel=0.02, abs=0.02)


@pytest.mark.parametrize("model", ["SW", "Tersoff"])
def test_mean_grueneisen_parameter_and_expansion_as_published(model):
    theirs, result = published(model, "qha"), grueneisen_of(model)
    gamma = np.interp(300.0, theirs["qha_temperature"], theirs["qha_gruneisen"])
    alpha = np.interp(300.0, theirs["qha_temperature"], theirs["qha_thermal_expansion"])
    assert result["gamma"].value == pytest.approx(gamma, rel=0.015)
    assert result["alpha"].value == pytest.approx(1e6 * alpha, rel=0.02)
    assert result.status is Status.OK
    assert 0 < result["gamma"].error < 0.01


@pytest.mark.parametrize("model", ["SW", pytest.param("Tersoff", marks=pytest.mark.slow)])
def test_quasi_harmonic_expansion_is_that_of_the_grueneisen_relation(model):
    """The mean Grueneisen parameter at the volume of 300 K is that of the expansion; alpha = gamma C_V / (3 B V)."""
    a, (calc, crystal) = expansion_of(model), silicon(model)
    cell = crystal.atoms.copy()
    cell.set_cell(cell.cell * (a["volume"].value * 2 / cell.get_volume()) ** (1 / 3), scale_atoms=True)
    b = run(grueneisen.PROPERTY, calc, crystal.with_atoms(cell), length=10.0, mesh=40.0, band_points=2)
    assert a["gamma"].value == pytest.approx(b["gamma"].value, rel=0.01)
    assert a["C_V"].value == pytest.approx(b.data["heat_capacity_kB"], rel=1e-3)
    assert a["B"].value < grueneisen_of(model)["B"].value
    relation = b["gamma"].value * a["C_V"].value * BOLTZMANN / (3 * a["B"].value * GPa * a["volume"].value)
    assert a["alpha"].value == pytest.approx(1e6 * relation, rel=0.01)
    assert a["alpha"].value == pytest.approx(b["alpha"].value, rel=0.03)
    assert a["C_P"].value > a["C_V"].value
    assert a["alpha"].error < 0.02 * a["alpha"].value
    assert a.data["valid_to_K"] == 1000.0


def test_expansion_of_modes_that_all_scale_alike_is_analytic():
    """Einstein crystal with w = w0 (V/V0)^-gamma: the Grueneisen parameter is gamma at every temperature."""
    v0, bulk_modulus, gamma, frequency = 15.0, 100 * GPa, 1.7, 6.0
    volume = np.linspace(0.97, 1.06, 9) * v0
    y = (v0 / volume) ** (2 / 3)
    energy = 9 * v0 * bulk_modulus / 16 * ((y - 1) ** 3 * 4.5 + (y - 1) ** 2 * (6 - 4 * y))
    grid = np.array([0.0, 100.0, 300.0, 600.0])
    quantum = grueneisen.PLANCK * frequency * (volume / v0) ** -gamma
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        x = quantum[None, :] / (BOLTZMANN * grid[:, None])
        n = np.where(grid[:, None] > 0, 1 / np.expm1(x), 0.0)
        free = 3 * (quantum / 2 + np.where(grid[:, None] > 0, BOLTZMANN * grid[:, None] * np.log(-np.expm1(-x)), 0.0))
        entropy = np.where(grid[:, None] > 0, 3 * BOLTZMANN * ((n + 1) * np.log1p(n) - n * np.log(n)), 0.0)
        capacity = np.where(grid[:, None] > 0, 3 * BOLTZMANN * x**2 * n * (n + 1), 0.0)
    table = {"free_energy": free, "entropy": entropy, "heat_capacity": capacity}
    got = qha.quasi_harmonic(volume, energy, grid, table)
    assert got["gamma"][1:] == pytest.approx(gamma, rel=1e-3)
    assert got["volume"][0] > v0
    shifts = np.diff([np.log(qha.quasi_harmonic(volume, energy, grid, table)["volume"][k]) for k in (1, 2)])
    assert 0 < shifts[0] / 200 / 3 < got["alpha"][2]


def test_perturbation_splits_degenerate_modes():
    d0 = np.diag([1.0, 1.0, 4.0]).astype(complex)[None]
    slope = np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.0], [0.5, 0.0, 3.0]], dtype=complex)[None]
    _, change = grueneisen.perturbed(d0, slope)
    assert change[0] == pytest.approx([-1.0, 1.0, 3.0])


# -- phonons ---------------------------------------------------------------------------------------------------------


def test_sound_velocities_are_those_of_the_elastic_constants():
    """fcc along [100]: v = sqrt(C44/rho) twice, sqrt(C11/rho); and their mean over all directions (Christoffel)."""
    calc = get_calculator("eam", model=str(lammps_potential("Cu_mishin1.eam.alloy")), elements=["Cu"])
    crystal = parse_proto("Cu:fcc:3.615")
    result = run(phonons.PROPERTY, calc, crystal, lengths=(14.0,), band_points=3, mesh=10.0)
    c11, c12, c44 = 169.9, 122.6, 76.2  # GPa, Y. Mishin et al., Phys. Rev. B 63, 224106 (2001), as printed there
    density = 63.546 * 1.66053907e-27 * 4 / (3.615e-10) ** 3
    speed = np.sqrt(np.array([c44, c44, c11]) * 1e9 / density) / 1e3
    ours = [result[f"sound_X_{k}"].value for k in (1, 2, 3)]
    assert ours == pytest.approx(speed, rel=0.004)
    points, weights = sphere()
    inverse = []
    for n in points:
        christoffel = (c12 + c44) * np.outer(n, n) + c44 * np.eye(3) + (c11 - c12 - 2 * c44) * np.diag(n**2)
        inverse.append((np.linalg.eigvalsh(christoffel * 1e9 / density) ** -1.5).mean())
    mean = (weights @ inverse) ** (-1 / 3) / 1e3
    debye = 1.054571817e-34 / 1.380649e-23 * mean * 1e3 * (6 * np.pi**2 * 4 / 3.615e-10**3) ** (1 / 3)
    assert result["debye_sound"].value == pytest.approx(debye, rel=0.004)
    assert weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("ratio", [1e-4, 0.1, 1.0, 5.0, 30.0])
def test_debye_heat_capacity_and_its_inverse(ratio):
    c = debye_heat_capacity(ratio)
    if ratio >= 30:
        assert c == pytest.approx(4 * np.pi**4 / 5 / ratio**3, rel=1e-3)
    if 0.05 < ratio < 30:
        assert debye_temperature(3 * BOLTZMANN * c, 100.0) == pytest.approx(100 * ratio, rel=1e-4)
    assert 0 < c <= 1
    assert debye_temperature(3.1 * BOLTZMANN, 100.0) is None
    assert debye_temperature(BOLTZMANN, 0.0) is None


@pytest.mark.parametrize("policy", ["leave out", "skip"])
def test_imaginary_modes_follow_the_policy(policy):
    result = run(phonons.PROPERTY, EMT(), parse_proto("Cu:bcc:2.86"), unstable_thermal=policy, lengths=(6.0,))
    assert result.status is Status.UNSTABLE and "imaginary" in result.reason
    assert result["imaginary_modes"].value > 0
    assert result.data["imaginary"][0]["frequency"] < -0.5
    assert sum(result.data["imaginary"][0]["along_xyz"]) == pytest.approx(1.0, abs=0.01)
    assert ("heat_capacity" in result) == (policy == "leave out")
    assert "dos" in result.data
    tolerant = run(phonons.PROPERTY, EMT(), parse_proto("Cu:bcc:2.86"), imaginary=1.0, lengths=(6.0,), band_points=3)
    assert tolerant["imaginary_modes"].value == 0


class Polar:
    """EMT forces between two kinds of atoms, with effective charges and a dielectric tensor that it states."""

    implemented_properties = ("energy", "forces", "stress", "born_effective_charges", "dielectric_tensor")

    def evaluate(self, structures, properties=()):
        out = []
        for atoms in structures:
            work = atoms.copy()
            work.calc = EMT()
            got = {"energy": work.get_potential_energy(), "forces": work.get_forces()}
            if "born_effective_charges" in properties:
                sign = np.where(work.numbers == 29, 1.0, -1.0)
                got["born_effective_charges"] = 1.2 * sign[:, None, None] * np.eye(3)
                got["dielectric_tensor"] = 3.0 * np.eye(3)
            out.append(got)
        return out


def test_charges_of_a_calculator_split_the_optical_modes():
    crystal = parse_proto("CuAu:cesiumchloride:3.1")
    result = run(phonons.PROPERTY, Polar(), crystal, lengths=(6.0,), band_points=3, mesh=10.0)
    plain = run(phonons.PROPERTY, EMT(), crystal, lengths=(6.0,), band_points=3, mesh=10.0)
    transverse, longitudinal = result["G_4"].value, result["G_LO_6"].value
    assert transverse == pytest.approx(plain["G_4"].value, abs=1e-6)
    mu = 63.546 * 196.96657 / (63.546 + 196.96657) * 1.66053907e-27
    gap = 1.602176634e-19**2 / 8.8541878128e-12 / 3.1e-10**3 * 1.44 / (mu * 3.0) / (2e12 * np.pi) ** 2
    assert longitudinal**2 - transverse**2 == pytest.approx(gap, rel=1e-3)
    assert not any("_LO" in v.name for v in plain.values)


@pytest.mark.parametrize(
    ("factor", "status"), [(1.0, Status.OK), (1.02, Status.SUSPICIOUS), (None, None)], ids=["right", "wrong", "none"]
)
def test_second_derivatives_are_held_against_displacements(factor, status):
    calc = get_calculator("eam", model=str(lammps_potential("Cu_mishin1.eam.alloy")), elements=["Cu"])

    def hessian(atoms, indices=None, method="auto"):
        if factor is None:
            raise NotImplementedError
        assert method == "analytic"  # differences would be held against differences
        return factor * calc.get_hessian(atoms, indices=indices, method=method)

    fake = SimpleNamespace(evaluate=calc.evaluate, get_hessian=hessian)
    crystal = parse_proto("Cu:fcc:3.615")
    result = run(phonons.PROPERTY, fake, crystal, hessian=True, lengths=(6.0,), band_points=3, mesh=10.0)
    if status is None:
        assert "hessian_gap" not in result and any("second derivatives" in n for n in result.notes)
        return
    assert result["hessian_gap"].status is status
    assert result["hessian_gap"].value == pytest.approx(abs(factor - 1) / factor, abs=1e-4)


def test_bands_are_drawn_over_a_reference_and_their_distance_is_stated():
    crystal = parse_proto("Cu:fcc:3.59")
    result = run(phonons.PROPERTY, EMT(), crystal, lengths=(6.0,), band_points=5, mesh=10.0)
    own = result.data["bands"]
    shifted = {**own, "frequencies": [(np.array(f) + 0.25).tolist() for f in own["frequencies"]], "label": "DFT"}
    assert compare_bands(own, shifted) == pytest.approx({"rms": 0.25, "largest": 0.25})
    assert compare_bands(own, {**own, "labels": [["G", "Q"]]}) is None
    result.data["reference_bands"] = shifted
    key, _, caption, fig = phonons.plots([("EMT", result, {})])[0]
    assert key == "bands" and "DFT" in caption and "0.25 THz" in caption
    assert any(line.get_linestyle() not in ("-", "None") for line in fig.axes[0].lines)


# -- conductivity ----------------------------------------------------------------------------------------------------


def third_order(**options) -> tuple[Context, PropertyResult]:
    settings = resolve(conductivity.Options, "smoke", options, "conductivity")
    result = PropertyResult("conductivity", "Lattice thermal conductivity")
    return Context(None, None, options=settings, general=resolve(General, "smoke"), mode="smoke"), result


@pytest.mark.slow
def test_conductivity_of_the_silicon_example_of_phono3py_as_published():
    """README of phono3py's example Si-PBEsol: 109.1 W/m/K at 300 K with 11 x 11 x 11 (and 124.4 with 19 x 19 x 19)."""
    pytest.importorskip("phono3py")
    context, result = third_order(meshes=(22.0, 34.0))
    conductivity.from_folder(shared("data/reference_tables/phono3py_Si-PBEsol"), context, result)
    assert result.settings["meshes"][1] == [11, 11, 11]
    assert result["kappa"].value == pytest.approx(109.1, abs=0.2)
    assert result["kappa"].value + result["kappa"].error > 124.4  # the error bar knows of the finer mesh


def test_conductivity_of_a_model_is_that_of_phono3py():
    """The property against a plain run of phono3py on the same model, mesh and displacements."""
    phono3py = pytest.importorskip("phono3py")
    from calczoo_validation.phonon_tools import ase_cell, phonopy_cell

    calc, crystal = silicon("SW")
    result = run(conductivity.PROPERTY, calc, crystal, meshes=(12.0, 16.0), length=10.0, harmonic_length=10.0)
    with quiet():
        own = phono3py.Phono3py(
            phonopy_cell(crystal.conventional_cell()), supercell_matrix=[2, 2, 2], primitive_matrix="F", log_level=0
        )
        own.generate_displacements(distance=0.03)
        own.forces = [r["forces"] for r in calc.evaluate([ase_cell(c) for c in own.supercells_with_displacements])]
        own.produce_fc3()
        own.symmetrize_fc3()
        own.symmetrize_fc2()
        own.mesh_numbers = result.settings["meshes"][1]
        own.init_phph_interaction(average_degenerate_weights=True)
        own.run_thermal_conductivity(temperatures=[300.0])
    assert result["kappa"].value == pytest.approx(own.thermal_conductivity.kappa[0, 0, 0], rel=2e-4)
    assert result["kappa"].error > 0.05 * result["kappa"].value
    assert result["kappa"].status is Status.SUSPICIOUS and "not converged with the q-mesh" in result.reason
    assert result.data["symmetry_violation"] < 1e-6
    assert result.data["cumulative"]["kappa"][-1] == pytest.approx(result["kappa"].value, rel=1e-3)
    hot = dict(zip(result.data["curve"]["temperature"], result.data["curve"]["kappa"], strict=True))
    assert hot[300.0] > hot[600.0] > hot[1000.0]
    assert conductivity.plots([("SW", result, {})])[0][0] == "conductivity"


def test_too_many_displaced_pairs_are_refused_with_a_way_out():
    pytest.importorskip("phono3py")
    with pytest.raises(PropertyFailure, match="conductivity.pair_cutoff") as caught:
        run(conductivity.PROPERTY, *silicon("SW"), most_structures=10, length=6.0)
    assert caught.value.status is Status.UNSUPPORTED


# -- all of them -----------------------------------------------------------------------------------------------------

SMALL = {
    "phonons": {"lengths": (5.0,), "band_points": 3, "mesh": 10.0},
    "grueneisen": {"length": 5.0, "band_points": 3, "mesh": 12.0},
    "qha": {"length": 5.0, "mesh": 12.0},
    "conductivity": {"length": 5.0, "harmonic_length": 5.0, "meshes": (8.0, 14.0)},
}


@pytest.mark.parametrize("module", [phonons, grueneisen, qha, conductivity], ids=lambda m: m.PROPERTY.name)
def test_a_foreign_calculator_gets_numbers_with_declared_units_twice_the_same(module):
    from fnmatch import fnmatchcase

    prop = module.PROPERTY
    if prop.name == "conductivity":
        pytest.importorskip("phono3py")
    crystal = parse_proto("Cu:fcc:3.59")
    first, second = (run(prop, EMT(), crystal, **SMALL[prop.name]) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert json.loads(json.dumps(first.to_dict())) == first.to_dict()
    assert len(json.dumps(first.data)) < 200_000
    for value in first.values:
        assert any(fnmatchcase(value.name, o.name) and o.unit == value.unit for o in prop.outputs), value.name
        assert value.value is not None and value.error is not None and value.error_source
    figures = prop.plots([("a", first, {}), ("b", second, {})])
    assert figures and all(len(f) == 4 for f in figures)


def test_expansion_says_when_the_volumes_do_not_reach():
    with pytest.raises(PropertyFailure, match="raise qha.largest"):
        run(qha.PROPERTY, EMT(), parse_proto("Cu:fcc:3.59"), length=5.0, mesh=10.0, largest=0.001, points=7)


@pytest.mark.parametrize("module", [grueneisen, qha], ids=lambda m: m.PROPERTY.name)
def test_an_unstable_crystal_has_no_expansion(module):
    atoms = bulk("Cu", "bcc", a=2.86)
    crystal = parse_proto("Cu:bcc:2.86").with_atoms(atoms)
    try:
        result = run(module.PROPERTY, EMT(), crystal, length=5.0, mesh=12.0)
    except PropertyFailure as failure:
        assert failure.status is Status.UNSTABLE and "imaginary" in str(failure)
    else:
        assert result.status is Status.UNSTABLE and "imaginary" in result.reason
