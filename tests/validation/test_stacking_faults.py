"""Stacking faults and gamma surfaces: published and analytic values, independent calculations with ASE, gates."""

from __future__ import annotations

import fnmatch
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.constraints import FixedLine
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS

from calczoo.core.errors import OptionError
from calczoo_validation.engine import Evaluator
from calczoo_validation.faults import TO_SI, distinct_shifts, find_lines
from calczoo_validation.planes import prepare
from calczoo_validation.properties.stacking_faults import PROPERTY
from calczoo_validation.results import PropertyFailure, Status
from calczoo_validation.slabs import AlongNormal
from calczoo_validation.structures import Crystal, parse_proto
from tests.data import lammps_potential, shared
from tests.validation.test_surfaces import A_CU_EMT, Pairs, eam_copper
from tests.validation.test_surfaces import run as run_property


def run(calculator, crystal, mode="fast", **changes):
    return run_property(PROPERTY, calculator, crystal, mode, **changes)


@pytest.fixture(scope="module")
def copper():
    return run(eam_copper(), "Cu:fcc:3.61492507")


# Y. Mishin et al., Phys. Rev. B 63, 224106 (2001), doi:10.1103/PhysRevB.63.224106, as computed again in
# Y. Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021), doi:10.1038/s41524-021-00559-9, table 1, column EAM.
@pytest.mark.parametrize(("name", "published"), [("gamma_isf", 45), ("gamma_esf", 45), ("gamma_max", 771)])
def test_copper_as_published(copper, name, published):
    assert copper[name].value == pytest.approx(published, abs=1.0)
    assert copper[name].status is Status.OK


def test_copper_is_consistent(copper):
    for value in copper.values:
        assert value.status is Status.OK
        assert value.name == "gamma_max" or value.error < 0.02 * value.value
        first = next(o for o in PROPERTY.outputs if fnmatch.fnmatchcase(value.name, o.name))
        assert first.unit == value.unit
    get = {v.name: v.value for v in copper.values}
    assert get["gamma_isf"] < get["gamma_isf_unrelaxed"] < get["gamma_usf"] < get["gamma_usf_unrelaxed"]
    # The way to twinning starts at the intrinsic fault.
    twin = copper.data["lines"][0]["twin"]
    assert twin["relaxed"][0] == pytest.approx(get["gamma_isf"], abs=1e-3)
    line = copper.data["lines"][0]
    assert line["x"][0] == 0 and line["relaxed"][0] == 0
    assert line["relaxed"][-1] == pytest.approx(0, abs=1e-3)
    assert len(json.dumps(copper.data)) < 2e5


@pytest.mark.parametrize(("file", "element", "a"), [("Cu_mishin1.eam.alloy", "Cu", 3.61492507),
                                                   ("Al_zhou.eam.alloy", "Al", 4.05)])  # fmt: skip
def test_fault_energy_as_of_ase(file, element, a):
    """The same fault in a slab built, constrained and relaxed by ASE."""
    from calczoo import get_calculator

    calculator = get_calculator("eam", model=str(lammps_potential(file)), threads=1)
    ours = run(calculator, f"{element}:fcc:{a}", "smoke", thickness=[30.0], points=6, fmax=1e-4)
    slab = fcc111(element, (1, 1, 14), a=a, vacuum=8.0)
    slab.pbc = True
    upper = slab.positions[:, 2] > slab.positions[:, 2].mean()
    # a/6 <112> moves the upper half from one hollow site to the other; the other sense is the stacking A on A.
    energies = []
    for part in (0, 1, -1):
        image = slab.copy()
        image.positions[upper] += part * a / 6**0.5 * np.array([0.0, 1.0, 0.0])
        image.calc = calculator
        image.set_constraint([FixedLine(k, [0, 0, 1]) for k in range(len(image))])
        BFGS(image, logfile=None).run(fmax=1e-4, steps=100)
        energies.append(image.get_potential_energy())
    gamma = (min(energies[1:]) - energies[0]) / (a**2 * 3**0.5 / 4) * TO_SI
    assert ours["gamma_isf"].value == pytest.approx(gamma, abs=0.1)


def test_intrinsic_fault_is_hcp_against_fcc_for_pairs_of_short_range():
    """Two layers apart is as far as the pairs reach: gamma = 2 (E_hcp - E_fcc) / A (ANNNI with one constant)."""
    r0 = 2.5

    def phi(r):
        return np.where(r < 5.4, 0.3 * np.exp(-1.5 * (r - r0)) * (5.4 - r) ** 3 * np.cos(1.1 * r), 0.0)

    pairs, a = Pairs(phi, lambda r: 0 * r, 5.4), r0 * 2**0.5  # no forces: nothing relaxes
    assert 5.4 < 3 * a / 3**0.5
    ours = run(pairs, f"Cu:fcc:{a}", "smoke", fmax=0.1, points=6, thickness=[14.0])
    hcp = bulk("Cu", "hcp", a=r0, c=r0 * (8 / 3) ** 0.5)
    e_hcp, e_fcc = (r["energy"] / n for r, n in zip(pairs.evaluate([hcp, bulk("Cu", a=a)]), (2, 1), strict=True))
    exact = 2 * (e_hcp - e_fcc) / (a**2 * 3**0.5 / 4) * TO_SI
    assert ours["gamma_isf_unrelaxed"].value == pytest.approx(exact, rel=1e-8)


def test_unrelaxed_line_as_of_a_tilted_crystal(emt):
    """A periodic cell without surfaces, its third vector tilted by the slip, has the same fault."""
    ours = run(emt, f"Cu:fcc:{A_CU_EMT}", "smoke", points=6)
    line = find_lines(prepare(parse_proto(f"Cu:fcc:{A_CU_EMT}")), ("auto",), (20.0,), 10.0)[0]
    cell = line.oriented.atoms.repeat((1, 1, 9))
    e = emt.get_potential_energy(cell)
    for k, x in enumerate(ours.data["lines"][0]["x"]):
        tilted = cell.copy()
        tilted.set_cell(cell.cell.array + np.array([np.zeros(3), np.zeros(3), x * line.shift]), scale_atoms=False)
        gamma = (emt.get_potential_energy(tilted) - e) / line.oriented.area * TO_SI
        assert ours.data["lines"][0]["unrelaxed"][k] == pytest.approx(gamma, abs=0.3 + 1e-3 * gamma)


@pytest.fixture(scope="module")
def silicon():
    from ase.calculators.tersoff import Tersoff

    from tests.validation.conftest import TERSOFF_SI

    tersoff = Tersoff({("Si", "Si", "Si"): TERSOFF_SI})
    return run(tersoff, "Si:diamond:5.43197", "smoke", fmax=0.1, points=6, thickness=[14.0])


@pytest.mark.parametrize(("line", "path"), [("shuffle", "shuffle"), ("glide", "glide")])
def test_silicon_as_in_the_comparison_of_bartok(silicon, line, path):
    """Unrelaxed lines of Tersoff silicon in Phys. Rev. X 8, 041048 (2018), doi:10.1103/PhysRevX.8.041048."""
    folder = shared("data/reference_tables/silicon_PRX2018_test_results/Tersoff")
    data = json.loads((folder / "model-Tersoff-test-stacking-fault-surface-properties.json").read_text())
    theirs = np.array(data[f"{path}_stacking_fault_path_unrelaxed"])[:, 3] / 1e-3 * 16.02176634
    ours = next(x for x in silicon.data["lines"] if x["name"] == line)
    if line == "shuffle":  # the same seven points
        assert ours["unrelaxed"] == pytest.approx(theirs, rel=0.02, abs=0.5)
    else:  # theirs end at the intrinsic fault, a third of our line
        assert ours["unrelaxed"][1] == pytest.approx(theirs[3], rel=0.02)
        assert ours["unrelaxed"][2] == pytest.approx(0, abs=0.1)


def test_molybdenum_lines():
    from calczoo import get_calculator

    result = run(get_calculator("snap:Mo", threads=1), "Mo:bcc:3.16967", "smoke")
    x, y = (np.array(result.data["lines"][0][k]) for k in ("x", "relaxed"))
    assert y == pytest.approx(y[::-1], abs=0.1)  # {110}<111> is the same from both ends
    assert result["gamma_usf_110"].note.startswith("at 0.500")
    twin = np.array(result.data["lines"][1]["relaxed"])
    assert np.abs(twin - twin[::-1]).max() > 10  # {112}<111> has an easy and a hard sense
    assert twin[-1] == pytest.approx(0, abs=0.1) and x[-1] == 1


def test_hcp_lines():
    """Pairs on close-packed hcp: the basal fault is stable and lower than its barrier, the prismatic line closes."""
    pairs = Pairs(lambda r: 0.3 * ((1 - np.exp(-1.6 * (r - 3.0))) ** 2 - 1) * smooth(r), lambda r: 0 * r, 6.0)
    pairs.slope = lambda r: (pairs.phi(r + 1e-5) - pairs.phi(r - 1e-5)) / 2e-5
    atoms = bulk("Mg", "hcp", a=2.97, c=2.97 * (8 / 3) ** 0.5)
    result = run(pairs, Crystal(atoms, "hcp"), "smoke", points=6, thickness=[14.0], fmax=5e-3)
    assert abs(result["gamma_isf_basal"].value) < 0.2 * result["gamma_usf_basal"].value
    assert result["gamma_usf_prismatic"].value > result["gamma_usf_basal"].value > 0
    for line in result.data["lines"]:
        assert line["relaxed"][-1] == pytest.approx(0, abs=0.2)


def smooth(r):
    return np.where(r < 6.0, (1 - (r / 6.0) ** 4) ** 3, 0.0)


@pytest.mark.parametrize(("proto", "count"), [("Cu:fcc:3.6", 10), ("Si:diamond:5.4", 10), ("Fe:bcc:2.9", None)])
def test_gamma_surface_from_distinct_points_is_the_whole(proto, count, emt):
    """Points that stand for each other have the same unrelaxed energy."""
    crystal = parse_proto(proto)
    if proto.startswith("Si"):
        crystal.atoms.symbols[:] = "Cu"
    if proto.startswith("Fe"):
        crystal.atoms.symbols[:] = "Ni"
    line = find_lines(prepare(crystal), ("auto",), (16.0,), 10.0)[0]
    n = 6
    same = distinct_shifts(line, n)
    u, v = line.oriented.atoms.cell.array[:2]
    energies = {p: emt.get_potential_energy(line.atoms(0, (p[0] * u + p[1] * v) / n)) for p in same}
    assert all(energies[p] == pytest.approx(energies[q], abs=2e-3) for p, q in same.items())
    assert len(set(same.values())) == (count or len(set(same.values()))) < n * n / 2


def test_generic_structures_have_lines():
    """No table of slips: the widest planes of a tetragonal crystal and the shortest vectors in them."""
    b = prepare(Crystal(Atoms("Sn", cell=[3.0, 3.0, 4.5], pbc=True), "t"))
    lines = find_lines(b, ("auto",), (15.0,), 10.0)
    assert [line.oriented.hkl for line in lines] == [(0, 0, 1), (1, 0, 0)]
    assert [np.linalg.norm(line.shift) for line in lines] == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize(
    ("proto", "text", "length"),
    [("Cu:fcc:4", "111:1-10", 8**0.5), ("Fe:bcc:3", "110:1-11", 3 * 3**0.5 / 2), ("Mg:hcp:3", "0001:11-20", 3.0),
     ("Mg:hcp:3", "10-10:1-210", 3.0), ("Si:diamond:5.4", "111:1-10:narrow", 5.4 / 2**0.5)],
)  # fmt: skip
def test_lines_by_name(proto, text, length):
    (line,) = find_lines(prepare(parse_proto(proto)), (text,), (15.0,), 10.0)
    assert np.linalg.norm(line.shift) == pytest.approx(length) and abs(line.shift[2]) < 1e-9


@pytest.mark.parametrize("text", ["111", "111:111", "111:1-10:middle", "a:b"])
def test_lines_refused(text):
    with pytest.raises(OptionError):
        find_lines(prepare(parse_proto("Cu:fcc")), (text,), (15.0,), 10.0)


def test_points_must_fit_the_fault():
    with pytest.raises(OptionError, match="multiple of 6"):
        run(None, "Cu:fcc", points=10)


def test_forces_along_the_normal_only(emt, rng):
    atoms = bulk("Cu").repeat(2)
    atoms.positions += rng.normal(scale=0.05, size=(8, 3))
    (plain,), (flat,) = (e.evaluate([atoms]) for e in (Evaluator(emt), AlongNormal(Evaluator(emt))))
    assert np.array_equal(flat["forces"][:, 2], plain["forces"][:, 2]) and not flat["forces"][:, :2].any()
    assert flat["energy"] == plain["energy"]


def test_negative_fault_energy_is_unstable():
    """A crystal that would rather be hcp says so."""
    pairs = Pairs(lambda r: np.where(np.abs(r - 4.08) < 0.2, -0.05 * (1 - ((r - 4.08) / 0.2) ** 2) ** 3, 0.0)
                  + np.where(r < 3.5, -0.5 * (1 - ((r - 2.5) / 1.0) ** 2) ** 3, 0.0),
                  lambda r: 0 * r, 4.4)  # fmt: skip
    result = run(pairs, f"Cu:fcc:{2.5 * 2**0.5}", "smoke", points=12)
    assert result["gamma_isf"].value < 0 and result["gamma_isf"].status is Status.UNSTABLE


def test_missing_points_are_named(wrapped):
    def fail(results, atoms):
        if neighbor_list("d", atoms, 2.3).size:
            raise RuntimeError("atoms on top of each other")
        return results

    result = run(wrapped(change=fail), f"Cu:fcc:{A_CU_EMT}", "smoke", points=12)
    assert result["gamma_isf"].status in (Status.UNCONVERGED, Status.UNSTABLE)
    assert "missing" in result["gamma_isf"].reason and "on top of each other" in result["gamma_isf"].reason
    assert None in result.data["lines"][0]["unrelaxed"]


def test_nothing_works(wrapped):
    def fail(results, atoms):
        raise RuntimeError("no licence")

    with pytest.raises(PropertyFailure, match="no licence"):
        run(wrapped(change=fail), f"Cu:fcc:{A_CU_EMT}", "smoke")


def test_same_input_gives_the_same_bytes():
    first, second = (run(eam_copper(), "Cu:fcc:3.61492507", "smoke", grid=6) for _ in range(2))
    assert json.dumps(first.to_dict()) == json.dumps(second.to_dict())


@pytest.mark.parametrize("count", [1, 4])
def test_figures(copper, count):
    from calczoo_validation.plots import to_svg

    drawn = PROPERTY.plots([(f"model {k}", copper, {}) for k in range(count)])
    assert [d[0] for d in drawn] == ["lines", "surface"]
    assert all(len(to_svg(d[3], "k")) < 250_000 for d in drawn)
