"""The properties on potentials with published numbers, and the states in which a number must not look sound."""

from __future__ import annotations

import numpy as np
import pytest

from calczoo_validation import Context, Evaluator, Status, parse_proto, validate
from calczoo_validation.jobs import run_property
from calczoo_validation.options import General, resolve
from calczoo_validation.properties.elastic import lowest_eigenvalue, voigt_reuss_hill


@pytest.fixture(scope="module")
def silicon():
    """Tersoff silicon without the vacancy."""
    from ase.calculators.tersoff import Tersoff, TersoffParameters

    parameters = TersoffParameters(
        A=1830.8, B=471.18, lambda1=2.4799, lambda2=1.7322, lambda3=0.0, beta=1.1e-6, gamma=1.0, m=3.0, n=0.78734,
        c=1.0039e5, d=16.217, h=-0.59825, R=2.85, D=0.15,
    )  # fmt: skip
    calculator = Tersoff({("Si", "Si", "Si"): parameters})
    names = ["lattice", "eos", "elastic", "phonons"]
    return validate(calculator, proto="Si:diamond", mode="smoke", properties=names, progress=False)


# H. Balamane, T. Halicioglu, W. A. Tiller, Phys. Rev. B 46, 2250 (1992), doi:10.1103/PhysRevB.46.2250, potential T3.
@pytest.mark.parametrize(
    ("name", "published", "digit"),
    [
        ("lattice.a0", 5.432, 5e-4),
        ("lattice.energy", -4.63, 5e-3),
        ("eos.B0", 97.6, 0.4),
        ("elastic.C11", 142.5, 0.1),
        ("elastic.C12", 75.4, 0.1),
        ("elastic.C44", 69.0, 0.1),
        ("elastic.C44_clamped", 118.8, 0.1),
    ],
)
def test_tersoff_silicon_as_published(silicon, name, published, digit):
    assert silicon[name].value == pytest.approx(published, abs=digit)
    assert silicon[name].status is Status.OK
    assert silicon[name].error < digit


# A. P. Bartok et al., Phys. Rev. X 8, 041048 (2018), doi:10.1103/PhysRevX.8.041048, results for Tersoff.
@pytest.mark.parametrize(
    ("name", "published"),
    [("G_4", 16.074), ("X_1", 6.893), ("X_3", 12.196), ("X_5", 14.899), ("L_1", 4.666), ("L_4", 13.162)],
)
def test_tersoff_phonons_as_published(silicon, name, published):
    assert silicon[f"phonons.{name}"].value == pytest.approx(published, abs=0.01)


def test_numbers_of_different_properties_agree(silicon):
    assert silicon["elastic.B"].value == pytest.approx(silicon["eos.B0"].value, rel=3e-3)
    assert silicon["eos.V0"].value == pytest.approx(silicon["lattice.volume"].value, rel=1e-4)
    assert silicon["phonons.heat_capacity"].value < 3.0
    assert silicon["phonons.lowest"].value == pytest.approx(0.0, abs=1e-2)
    dos = silicon["phonons"].data["dos"]
    assert np.trapezoid(dos["dos"], dos["frequency"]) == pytest.approx(3.0, rel=0.02)


def test_sound_waves_follow_from_the_elastic_constants(silicon):
    """Slope of the lowest branch from Gamma to X: v = sqrt(C44 / rho), relaxed and not clamped."""
    bands = silicon["phonons"].data["bands"]
    assert bands["labels"][0] == ["G", "X"]
    q, f = np.array(bands["distances"][0]), np.array(bands["frequencies"][0])[:, 0]
    density = 28.085 * 1.66053907e-27 / (silicon["lattice.volume"].value * 1e-30)
    speed = np.sqrt(silicon["elastic.C44"].value * 1e9 / density)
    measured = (f[2] - f[0]) * 1e12 / ((q[2] - q[0]) * 1e10)
    assert measured == pytest.approx(speed, rel=0.06)


def test_a_relaxation_that_stops_early_is_not_silently_clamped(tersoff):
    from calczoo_validation.properties import elastic, lattice

    context = Context(Evaluator(tersoff), parse_proto("Si:diamond"), resolve(lattice.Options, "smoke"))
    context.results["lattice"] = run_property(lattice.PROPERTY, context)
    context.options, context.general = resolve(elastic.Options, "smoke"), General(max_steps=1)
    result = run_property(elastic.PROPERTY, context)
    assert result["C44"].status is Status.UNCONVERGED
    assert "did not relax" in result["C44"].reason
    assert result["C44_clamped"].status is Status.OK


def test_emt_copper_and_its_vacancy(emt):
    report = validate(emt, proto="Cu:fcc", mode="smoke", properties="vacancy", progress=False)
    assert report.status is Status.OK
    assert report["lattice.a0"].value == pytest.approx(3.5898, abs=2e-4)
    assert 1.0 < report["vacancy.E_vac"].value < report["vacancy.E_vac_unrelaxed"].value < 1.5


def test_two_supercells_give_the_vacancy_an_error_bar(emt):
    report = validate(
        emt, proto="Ni:fcc", mode="smoke", properties="vacancy", progress=False,
        settings={"vacancy": {"lengths": [6, 8]}},
    )  # fmt: skip
    value = report["vacancy.E_vac"]
    assert 0 < value.error < 0.1
    assert "two supercells" in value.error_source


def test_bcc_copper_is_reported_as_unstable(emt):
    names = ["elastic", "phonons"]
    report = validate(emt, proto="Cu:bcc", mode="smoke", properties=names, progress=False)
    assert report["lattice"].status is Status.OK
    assert report["elastic"].status is Status.UNSTABLE
    assert report["elastic.born"].value < 0
    assert report["elastic.C11"].value < report["elastic.C12"].value
    assert report["phonons"].status is Status.UNSTABLE
    assert report["phonons.lowest"].value < -0.5
    assert report["phonons.heat_capacity"].status is Status.UNSTABLE
    assert "imaginary" in report["phonons"].reason


def test_hexagonal_tensor_with_internal_relaxation(emt):
    report = validate(emt, proto="Cu:hcp", mode="smoke", properties="elastic", progress=False)
    c = np.array(report["elastic"].data["relaxed"]["C_GPa"])
    assert report["elastic"].data["independent"] == ["C11", "C12", "C13", "C33", "C44", "C66"]
    assert c[5, 5] == pytest.approx((c[0, 0] - c[0, 1]) / 2)
    assert report["elastic.C66"].value < report["elastic.C66_clamped"].value - 5
    assert report["lattice.c_over_a"].value == pytest.approx(1.632, abs=2e-3)


def test_wrong_stress_is_noticed(wrapped):
    def wrong(results, atoms):
        return {**results, "stress": 1.1 * results["stress"] + 1e-3}

    names = ["lattice", "eos"]
    report = validate(wrapped(change=wrong), proto="Cu:fcc", mode="smoke", properties=names, progress=False)
    assert report["lattice.a0"].status is Status.SUSPICIOUS
    assert "stress is not the derivative of the energy" in report["lattice"].reason
    assert report["lattice.a0"].error > 1e-3
    assert report["eos"].status is Status.SUSPICIOUS


def test_noisy_forces_do_not_pass(wrapped):
    def noisy(results, atoms):
        seed = int(1e8 * abs(atoms.cell.array.sum() + atoms.positions.sum())) % 2**32
        kicks = np.random.default_rng(seed)
        forces = results["forces"] + (len(atoms) > 1) * 3e-2 * kicks.normal(size=results["forces"].shape)
        return {**results, "forces": forces, "stress": results["stress"] + 2e-4 * kicks.normal(size=6)}

    names = ["elastic", "phonons"]
    report = validate(wrapped(change=noisy), proto="Cu:fcc", mode="smoke", properties=names, progress=False)
    assert report["elastic"].status.severity >= Status.SUSPICIOUS.severity
    assert report["phonons"].status.severity >= Status.SUSPICIOUS.severity


def test_unbound_structure_is_unstable(wrapped):
    def repulsive(results, atoms):
        return {k: v * 0.0 for k, v in results.items()} | {"energy": 100.0 * len(atoms) / atoms.get_volume()}

    report = validate(wrapped(change=repulsive), proto="Cu:fcc", mode="smoke", properties="lattice", progress=False)
    assert report["lattice"].status is Status.UNSTABLE
    assert "no energy minimum" in report["lattice"].reason


def test_polycrystal_averages_of_an_isotropic_tensor():
    bulk, shear = 100.0, 40.0
    c = np.zeros((6, 6))
    c[:3, :3] = bulk - 2 * shear / 3
    c[range(3), range(3)] += 2 * shear
    c[range(3, 6), range(3, 6)] = shear
    got = voigt_reuss_hill(c)
    assert (got["B"], got["G"], got["A_U"]) == pytest.approx((bulk, shear, 0.0), abs=1e-9)
    assert lowest_eigenvalue(c) == pytest.approx(2 * shear)


def test_a_pair_potential_keeps_its_c44(lennard_jones):
    """C12 = C44 by the Cauchy relation made C44 vanish from the list of independent constants."""
    report = validate(lennard_jones, proto="Ar:fcc", mode="smoke", properties="elastic", progress=False)
    names = report["elastic"].data["independent"]
    assert names == ["C11", "C12", "C44"]
    assert report["elastic.C44"].value == pytest.approx(report["elastic.C12"].value, rel=2e-3)
