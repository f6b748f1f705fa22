"""Third-order constants, moduli over directions, constants from reference frames, and the trap of loose relaxations."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import permutations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.spacegroup import crystal as spacegroup_crystal
from ase.units import GPa

from calczoo import get_calculator
from calczoo_validation import Status, parse_proto, relax
from calczoo_validation.engine import Evaluator
from calczoo_validation.options import General, resolve
from calczoo_validation.properties import elastic, elastic3, eos, lattice
from calczoo_validation.properties._directions import compliance as compliances
from calczoo_validation.properties._directions import extremes, young
from calczoo_validation.properties._elastic_fit import constants, strain_series
from calczoo_validation.registry import Context
from calczoo_validation.results import PropertyFailure, PropertyResult
from calczoo_validation.strain import VOIGT, from_voigt, scaled, strain_matrix, strained, to_voigt
from calczoo_validation.symmetry import Symmetry
from tests.data import lammps_potential


def context(calculator, proto, mode="fast", relaxed=True, **general):
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


def fitted(frames, made=None):
    made = made or Context(Evaluator(None), None, options=resolve(elastic.PROPERTY.options, "fast"))
    result = PropertyResult("elastic", "Elastic tensor")
    elastic.PROPERTY.from_frames(frames, made, result)
    result.finish()
    return result


def declared(module, result):
    for v in result.values:
        assert any(fnmatchcase(v.name, o.name) and v.unit == o.unit for o in module.PROPERTY.outputs), (v.name, v.unit)


@pytest.fixture(scope="module")
def stillinger_weber():
    return get_calculator("sw", model=str(lammps_potential("Si.sw")), elements=["Si"])


@pytest.fixture(scope="module")
def silicon(stillinger_weber):
    made = context(stillinger_weber, "Si:diamond")
    compute(eos, made)
    compute(elastic, made)
    compute(elastic3, made)
    return made


# -- third order -----------------------------------------------------------------------------------------------------


def lattice_sum(atoms, epsilon, sigma, cutoff):
    """C_ijk in GPa of a Lennard-Jones crystal of one atom, exactly: 4/V sum psi'''(R^2) R_a R_b R_c R_d R_e R_f.

    psi(s) is the pair energy as a function of s = R^2; each pair counts half.
    """
    count = int(cutoff / 2) + 3
    shifts = np.array(np.meshgrid(*[np.arange(-count, count + 1)] * 3)).reshape(3, -1).T
    r = shifts @ atoms.cell.array
    s = (r**2).sum(axis=1)
    r, s = (x[(s > 0) & (s < cutoff**2)] for x in (r, s))
    third = 4 * epsilon * (-6 * 7 * 8 * sigma**12 / s**9 + 3 * 4 * 5 * sigma**6 / s**6)
    products = np.array([r[:, a] * r[:, b] for a, b in VOIGT])
    return 4 / atoms.get_volume() * np.einsum("n,in,jn,kn->ijk", third, *[products] * 3) / GPa


def test_pair_potential_against_lattice_sums():
    """Central forces: C112 = C166 and C123 = C144 = C456 (Cauchy), and every number is a sum over neighbours."""
    epsilon, sigma, cutoff = 0.4, 2.4, 6.3  # between two shells at any strain used
    made = context(LennardJones(epsilon=epsilon, sigma=sigma, rc=cutoff), "Cu:fcc:3.7")
    result = compute(elastic3, made)
    declared(elastic3, result)
    assert result.status is Status.OK
    truth = lattice_sum(made.crystal.atoms, epsilon, sigma, cutoff)
    assert result.data["independent"] == ["C111", "C112", "C123", "C144", "C166", "C456"]
    for name in result.data["independent"]:
        index = tuple(int(x) - 1 for x in name[1:])
        value = result[name]
        assert value.value == pytest.approx(truth[index], abs=max(value.error, 1e-4 * abs(truth[0, 0, 0])))
        assert value.error < 2e-3 * abs(truth[0, 0, 0])
    assert result["C112"].value == pytest.approx(result["C166"].value, rel=1e-4)
    assert result["C123"].value == pytest.approx(result["C456"].value, rel=1e-3)
    assert result["C123"].value == pytest.approx(result["C144"].value, rel=1e-3)


@pytest.mark.parametrize("name", ["dC11_dP", "dC12_dP", "dC44_dP"])
def test_pressure_derivatives_against_elastic_constants_under_pressure(silicon, name):
    """The second-order tensor of cells under pressure, from another property's code, differentiated."""
    constants, pressures = [], []
    relaxed = silicon.crystal
    for factor in (0.997, 1.003):
        atoms = scaled(relaxed.atoms, factor)
        made = Context(silicon.evaluator, relaxed.with_atoms(atoms), general=silicon.general, mode="fast")
        constants.append(compute(elastic, made)[name[1:4]].value)
        pressures.append(-np.mean(silicon.evaluator.evaluate([atoms], ("energy", "forces", "stress"))[0]["stress"][:3]))
    slope = (constants[0] - constants[1]) / ((pressures[0] - pressures[1]) / GPa)
    value = silicon.results["elastic3"][name]
    assert value.value == pytest.approx(slope, abs=5e-3)
    assert value.error < 5e-3


def test_bulk_modulus_derivative_is_that_of_the_equation_of_state(silicon):
    b1 = silicon.results["eos"]["B0_prime"]
    assert silicon.results["elastic3"]["dB_dP"].value == pytest.approx(b1.value, abs=0.01)


def test_ions_matter_in_diamond_where_shear_moves_them(silicon):
    result = silicon.results["elastic3"]
    declared(elastic3, result)
    assert result.status is Status.OK
    for name in ("C111", "C112", "C123"):
        assert result[name].value == pytest.approx(result[f"{name}_clamped"].value, abs=0.1)
    for name in ("C144", "C166", "C456"):
        assert result[name].value > result[f"{name}_clamped"].value + 50
    assert result["energy_gap"].value < 0.1
    assert len(elastic3.plots([("SW", result, {})])) == 1


def test_result_does_not_depend_on_the_strain(silicon):
    small = compute(elastic3, silicon, strain=2e-3)
    large = compute(elastic3, silicon, strain=8e-3)
    for name in small.data["independent"]:
        gap = abs(small[name].value - large[name].value)
        assert gap <= small[name].error + large[name].error
        assert gap < 0.5
    compute(elastic3, silicon)


@pytest.mark.parametrize(
    ("atoms", "names"),
    [
        (bulk("Cu"), "111 112 123 144 166 456"),
        (spacegroup_crystal("FeS", [(0, 0, 0), (0.385,) * 3], spacegroup=205, cellpar=[5.4] * 3 + [90] * 3),
         "111 112 113 123 144 155 166 456"),
        (bulk("Ti"), "111 112 113 123 133 144 155 222 333 344"),
        (parse_proto("Sn:beta_sn").atoms, "111 112 113 123 133 144 155 166 333 344 366 456"),
        (spacegroup_crystal("SiO", [(0.4697, 0, 0), (0.4135, 0.2669, 0.1191)], spacegroup=152,
                            cellpar=[4.916, 4.916, 5.4054, 90, 90, 120]),
         "111 112 113 114 123 124 133 134 144 155 222 333 344 444"),
    ],
)  # fmt: skip
def test_independent_constants_are_those_of_the_tables(atoms, names):
    """K. Brugger, J. Appl. Phys. 36, 759 (1965), doi:10.1063/1.1714215: 6, 8, 10, 12 and 14 for these classes."""
    found = [elastic3._name(i) for i in elastic3.independent(Symmetry(atoms))]
    assert found == [f"C{n}" for n in names.split()]


def test_projection_keeps_what_is_allowed_and_removes_the_rest(rng):
    symmetry = Symmetry(bulk("Ti"))
    c = elastic3.project(rng.normal(size=(6, 6, 6)), symmetry)
    assert elastic3.project(c, symmetry) == pytest.approx(c, abs=1e-12)
    for p in permutations(range(3)):
        assert np.transpose(c, p) == pytest.approx(c, abs=1e-12)
    assert c[0, 5, 5] == pytest.approx((-2 * c[0, 0, 0] - c[0, 0, 1] + 3 * c[1, 1, 1]) / 4)  # hexagonal, Brugger 1965
    assert c[0, 1, 1] == pytest.approx(c[0, 0, 0] + c[0, 0, 1] - c[1, 1, 1])


def test_second_piola_kirchhoff_stress_of_a_turned_cell_is_the_same(rng):
    _, f = elastic3.deformed(bulk("Cu"), np.array([0.02, -0.01, 0.0, 0.03, 0.0, 0.01]))
    assert (f.T @ f - np.eye(3)) / 2 == pytest.approx(from_voigt(np.array([0.02, -0.01, 0, 0.015, 0, 0.005])))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    stress = rng.normal(size=6)
    turned = to_voigt(rotation @ from_voigt(stress) @ rotation.T)
    assert elastic3.piola(turned, rotation @ f) == pytest.approx(elastic3.piola(stress, f))


def test_stress_that_is_not_the_derivative_of_the_energy_is_noticed(wrapped):
    def wrong(results, atoms):
        return {**results, "stress": 1.3 * results["stress"]}

    result = compute(elastic3, context(wrapped(change=wrong), "Cu:fcc", mode="smoke"))
    assert result["energy_gap"].status is Status.SUSPICIOUS
    assert "not the derivative" in result.reason


# -- second order: loose relaxations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["sw", "snap"])
@pytest.mark.parametrize("relative", [1e-3, 0.3, 10.0])
def test_clamped_constants_never_pass_for_relaxed_ones(stillinger_weber, model, relative):
    """With a force tolerance above what a strain of 0.1 % causes no step is taken, and C44 is the clamped one."""
    calculator = stillinger_weber if model == "sw" else get_calculator("snap:Si")
    tight = compute(elastic, context(calculator, "Si:diamond"), relative_force=1e-4)
    loose = compute(elastic, context(calculator, "Si:diamond", crystal_fmax=0.1), relative_force=relative)
    truth, value = tight["C44"].value, loose["C44"]
    assert tight["C44_clamped"].value > truth + 20
    if value.status is Status.OK:
        assert value.value == pytest.approx(truth, abs=max(value.error, 0.05))
    else:
        assert value.status is Status.SUSPICIOUS
        assert value.error is None and "too loose" in value.reason
    assert relative > 0.1 or value.status is Status.OK
    assert relative < 1 or value.status is Status.SUSPICIOUS
    assert loose["C44_clamped"].status is Status.OK


def test_a_relaxation_that_stops_half_way_counts_what_it_still_had_to_gain(stillinger_weber):
    """Forces fall from 1 to s, so the gain so far is 1 - s of all of it."""
    tensors = {"clamped": {"C": np.eye(6) * 100.0}, "relaxed": {"C": np.eye(6) * 60.0, "error": np.zeros((6, 6))}}
    tensors["relaxed"]["C_one_step"] = tensors["relaxed"]["C"]
    elastic._late(tensors, 0.2)
    assert tensors["relaxed"]["error"][3, 3] == pytest.approx(40 * 0.2 / 0.8 * 5 / 3)


# -- directions ------------------------------------------------------------------------------------------------------


def cubic(c11, c12, c44):
    c = np.diag([c11] * 3 + [c44] * 3).astype(float)
    c[:3, :3] += c12 * (1 - np.eye(3))
    return c


def test_extremes_of_a_cubic_crystal_in_closed_form():
    """Copper-like, Zener ratio above 1: E smallest along [100] and largest along [111] (Nye 1957)."""
    c11, c12, c44 = 168.4, 121.4, 75.4
    s11 = (c11 + c12) / ((c11 - c12) * (c11 + 2 * c12))
    s12 = -c12 / ((c11 - c12) * (c11 + 2 * c12))
    j = s11 - s12 - 1 / (2 * c44)
    found = extremes(cubic(c11, c12, c44))
    assert found["E_min"][0] == pytest.approx(1 / s11)
    assert found["E_max"][0] == pytest.approx(1 / (s11 - 2 * j / 3))
    assert found["G_min"][0] == pytest.approx((c11 - c12) / 2)
    assert found["G_max"][0] == pytest.approx(c44)
    assert found["beta_min"][0] == pytest.approx(found["beta_max"][0]) == pytest.approx(1 / (c11 + 2 * c12))
    # Poisson's ratio is extreme for a pull along [110], across along [1-10] and [001].
    e110 = 1 / (s11 - j / 2)
    assert found["nu_max"][0] == pytest.approx(-s12 * e110, rel=1e-6)
    assert found["nu_min"][0] == pytest.approx(-(s12 + j / 2) * e110, rel=1e-6)


def test_extremes_do_not_depend_on_the_axes(rng):
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    full = np.zeros((3, 3, 3, 3))
    c = cubic(168.4, 121.4, 75.4)
    for i, p in enumerate(VOIGT):
        for j, q in enumerate(VOIGT):
            for a, b in (p, p[::-1]):
                for d, e in (q, q[::-1]):
                    full[a, b, d, e] = c[i, j]
    full = np.einsum("ai,bj,ck,dl,ijkl->abcd", *[rotation] * 4, full)
    turned = np.array([[full[(*p, *q)] for q in VOIGT] for p in VOIGT])
    first, second = extremes(c), extremes(turned)
    for key in first:
        assert first[key][0] == pytest.approx(second[key][0], rel=1e-6)


def test_an_isotropic_crystal_is_the_same_everywhere(rng):
    found = extremes(cubic(200.0, 80.0, 60.0))
    bulk_modulus, shear = 120.0, 60.0
    modulus = 9 * bulk_modulus * shear / (3 * bulk_modulus + shear)
    assert found["E_min"][0] == pytest.approx(modulus) == pytest.approx(found["E_max"][0])
    assert found["nu_min"][0] == pytest.approx((3 * bulk_modulus - 2 * shear) / (2 * (3 * bulk_modulus + shear)))
    n = rng.normal(size=(5, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    assert young(compliances(cubic(200.0, 80.0, 60.0)), n) == pytest.approx(np.full(5, modulus))


def test_elastic_declares_all_it_gives(silicon):
    result = silicon.results["elastic"]
    declared(elastic, result)
    assert not any(o.name == "*" for o in elastic.PROPERTY.outputs)
    assert result["B_reuss"].value <= result["B"].value <= result["B_voigt"].value
    assert result["E_min"].value < result["E"].value < result["E_max"].value
    assert len(elastic.plots([("SW", result, {})])) == 2


def test_unstable_crystal_has_no_directions(emt):
    result = compute(elastic, context(emt, "Cu:bcc", mode="smoke"))
    assert result["born"].value < 0
    assert "E_min" not in result
    assert any("not positive" in n for n in result.notes)


# -- reference frames ------------------------------------------------------------------------------------------------


def hooke(atoms, c, strains, rng=None, noise=0.0, turned=False):
    """Frames whose stress is C eps exactly (plus noise in GPa), in cells turned at random."""
    frames = []
    for k, eps in enumerate(strains):
        frame = strained(atoms, from_voigt(eps * [1, 1, 1, 0.5, 0.5, 0.5]))
        stress = from_voigt(c @ eps + (noise * rng.normal(size=6) if noise else 0.0))
        if turned and k:  # the first one sets the axes
            rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            rotation *= np.linalg.det(rotation)
            frame.set_cell(frame.cell.array @ rotation.T, scale_atoms=True)
            stress = rotation @ stress @ rotation.T
        frame.calc = SinglePointCalculator(
            frame, energy=-1.0, forces=np.zeros((len(frame), 3)), stress=to_voigt(stress) * GPa
        )
        frames.append(frame)
    return frames


def triclinic():
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell([[3.6, 0.1, 0.2], [0.3, 4.1, -0.2], [0.1, 0.4, 5.0]], scale_atoms=True)
    atoms.positions += np.array([[0, 0, 0], [0.1, 0.2, 0], [0, 0.1, 0.3], [0.2, 0, 0.1]])
    return atoms


def test_all_21_constants_of_a_triclinic_crystal_from_turned_frames(rng):
    atoms = triclinic()
    root = rng.normal(size=(6, 6))
    c = 100 * np.eye(6) + 5 * root @ root.T
    strains = np.vstack([np.zeros(6), rng.uniform(-0.005, 0.005, size=(12, 6))])
    result = fitted(hooke(atoms, c, strains, rng, turned=True))
    declared(elastic, result)
    assert np.array(result.data["relaxed"]["C_GPa"]) == pytest.approx(c, rel=1e-6)
    assert len(result.data["independent"]) == 21
    assert result["C11"].error < 1e-3


def test_the_error_bar_of_noisy_frames_covers_the_truth(rng):
    c = cubic(168.4, 121.4, 75.4)
    strains = np.vstack([np.zeros(6), *(s * h * np.eye(6)[[0, 3]] for s in (1, -1) for h in (0.005, 0.01))])
    off, size, symmetry = [], [], Symmetry(bulk("Cu", cubic=True))
    for _ in range(25):
        _, series = strain_series(hooke(bulk("Cu", cubic=True), c, strains, rng, noise=0.05), None)
        fit = constants(series, symmetry)
        off.append((fit["C"][3, 3] - 75.4) / fit["error"][3, 3])
        size.append(fit["error"][3, 3])
    assert 0.6 < np.sqrt(np.mean(np.square(off))) < 1.7
    assert 0.3 < np.mean(size) < 10


def test_frames_of_a_model_give_its_own_constants(silicon):
    """Clamped and relaxed frames told apart, the volume scan and rattled cells among them."""
    atoms = silicon.crystal.conventional_cell()
    cells = [atoms] + [strained(atoms, strain_matrix(j, s)) for j in (0, 3) for s in (-0.004, 0.004, 0.008, -0.008)]
    relaxed = [r.atoms for r in relax(silicon.evaluator, cells, fmax=1e-4)]
    rattled = atoms.copy()
    rattled.rattle(0.3, seed=3)
    every = [*cells, *relaxed[1:], rattled]
    got = silicon.evaluator.evaluate(every, ("energy", "forces", "stress"))
    frames = []
    for a, r in zip(every, got, strict=True):
        frames.append(a.copy())
        frames[-1].calc = SinglePointCalculator(frames[-1], **r)
    result = fitted(frames, silicon)
    direct = silicon.results["elastic"]
    for name in ("C11", "C12", "C44", "C11_clamped", "C12_clamped", "C44_clamped"):
        value = result[name]
        assert value.value == pytest.approx(direct[name].value, abs=0.3)
        assert abs(value.value - direct[name].value) < 3 * value.error
    assert result.data["frames"]["relaxed"] == result.data["frames"]["clamped"] == 4


@pytest.mark.parametrize(
    ("strains", "stress", "message"),
    [
        ([[0] * 6, [0.01, 0, 0, 0, 0, 0], [-0.01, 0, 0, 0, 0, 0]], True, "do not determine C44"),
        ([[0.02, 0.02, 0.02, 0, 0, 0], [0.03, 0.02, 0.02, 0.01, 0, 0]], True, "unstrained reference frame"),
        ([[0] * 6, [0.01, 0, 0, 0, 0, 0]], False, "with a stress"),
    ],
)
def test_what_is_missing_in_the_frames_is_named(strains, stress, message):
    frames = hooke(bulk("Cu", cubic=True), cubic(168.4, 121.4, 75.4), np.array(strains, dtype=float))
    if not stress:
        for f in frames:
            f.calc = SinglePointCalculator(f, energy=-1.0)
    with pytest.raises(PropertyFailure, match=message) as caught:
        fitted(frames)
    assert caught.value.status is Status.UNSUPPORTED
