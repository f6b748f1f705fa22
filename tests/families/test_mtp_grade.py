"""Extrapolation grades, active sets by MaxVol, D-optimal selection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from calczoo.calculator import ZooCalculator
from calczoo.core.errors import CalczooError, NonFiniteResult, OptionError, UnsupportedElement
from calczoo.families.mtp import FAMILY, maxvol
from calczoo.families.mtp.almtp import read_almtp, write_almtp
from calczoo.families.mtp.cfg import parse_cfg
from calczoo.families.mtp.grade import Grader, grade_outputs
from calczoo.families.mtp.load import build
from calczoo.families.mtp.maxvol import build_active_set, select, split_configurations
from calczoo.families.mtp.model import MtpTorch
from calczoo.families.mtp.params import MtpParams
from calczoo.families.mtp.volume import INITIAL, MaxVol, accurate_inverse
from calczoo.registry import ModelRequest
from data import max_abs, mlearn
from families.mtp_cases import golden_params, prepared, rattled, toy

BACKENDS = FAMILY.backends
GRADES = frozenset({"extrapolation_grade", "extrapolation_grades"})
pytestmark = pytest.mark.filterwarnings("ignore:.*the shortest distance is")


def frames(count: int = 20, seed: int = 0) -> list[Atoms]:
    """Disordered alloys of different densities and sizes."""
    out = []
    for k in range(count):
        atoms = rattled("Cu", seed + k, repeat=1, amount=0.05 + 0.02 * (k % 8), a=3.5 + 0.02 * k)
        atoms.symbols[: k % 5] = "Au"
        out.append(atoms if k % 3 else atoms.repeat((2, 1, 1)))
    return out


PARAMS = toy(("Au", "Cu"))


def graded(mode: str = "neighbourhood", params: MtpParams = PARAMS, **options) -> MtpParams:
    return replace(params, active=build_active_set(params, frames(), mode, **options))


def grades_of(params: MtpParams, *structures: Atoms, backend: str = "torch"):
    model = build(params, ModelRequest("mtp", device="cpu", dtype="float64", backend=backend, threads=1))
    found = model.compute(*prepared(model, *structures), GRADES & model.outputs)
    return found.extrapolation_grade, found.extrapolation_grades


def rows_of(params: MtpParams, atoms: Atoms) -> np.ndarray:
    model = MtpTorch(params)
    return model.basis_vectors(*prepared(model, atoms)).numpy()


# -- the active set of a training set ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["neighbourhood", "configuration"])
def test_training_set_has_grades_up_to_the_threshold(mode):
    params = graded(mode)
    whole, atoms = grades_of(params, *frames())
    assert whole.max() <= 1.001 * (1 + 1e-6)
    assert whole.max() > 0.99  # rows of the set itself have grade 1
    assert (atoms is None) == (mode == "configuration")
    assert params.active.mode == mode
    assert grade_outputs(params.active) == (GRADES if mode == "neighbourhood" else {"extrapolation_grade"})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["neighbourhood", "configuration"])
def test_a_far_structure_extrapolates(mode, backend):
    params = graded(mode)
    far = rattled("Cu", 99, repeat=1, amount=0.6, a=3.0)
    (near_grade, far_grade), _ = grades_of(params, frames()[3], far, backend=backend)
    assert near_grade <= 1.001 * (1 + 1e-6) and far_grade > 3.0


def test_rows_are_those_of_the_equations_named():
    active = graded().active
    n, used = PARAMS.n_coefficients, frames()
    chosen = select(PARAMS, used)
    assert max_abs(chosen.active.a, active.a) == 0.0
    for row, (structure, equation) in zip(active.a, active.equations, strict=True):
        if structure < 0:
            assert np.count_nonzero(row) == 1 and row.max() == INITIAL and equation == -1
            continue
        atoms = used[chosen.frames[structure]]
        atom = equation - 3 * len(atoms) - 10
        assert max_abs(rows_of(PARAMS, atoms)[atom], row) < 1e-10
    # each radial function's scale can be undone by the moment coefficients: no data fix it
    assert 0 < (active.equations[:, 0] < 0).sum() < n // 2
    assert max_abs(active.a @ active.inv_t.T, np.eye(n)) < 1e-6


def test_rows_of_configurations_are_means_over_atoms():
    chosen, used = select(PARAMS, frames(), mode="configuration"), frames()
    assert chosen.active.energy_weight == 1.0 and chosen.active.site_en_weight == 0.0
    for row, (structure, equation) in zip(chosen.active.a, chosen.active.equations, strict=True):
        if structure >= 0:
            assert equation == 0
            assert max_abs(rows_of(PARAMS, used[chosen.frames[structure]]).mean(axis=0), row) < 1e-10


def test_swaps_enlarge_the_volume_until_none_is_left():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(400, 12)) * np.logspace(0, -3, 12))
    tags = torch.stack([torch.arange(400), torch.zeros(400, dtype=torch.long)], dim=1)
    best, volumes = MaxVol(12), []
    for start in range(0, 400, 50):
        volumes.append(best.log_volume())
        best.offer(rows[start : start + 50], tags[start : start + 50])
    assert all(b >= a for a, b in zip(volumes[:-1], volumes[1:], strict=True))
    while best.offer(rows, tags):
        pass
    assert float(best.grades(rows).max()) <= 1.001
    assert max_abs(best.a, rows[best.tags[:, 0]]) == 0.0
    assert max_abs(best.a @ best.inverse, np.eye(12)) < 1e-10
    quick = MaxVol(12)
    quick.pivot(rows, tags)
    quick.offer(rows, tags)
    assert abs(quick.log_volume() - best.log_volume()) < 0.5
    chance = max(np.linalg.slogdet(rows[rng.choice(400, 12, replace=False)].numpy())[1] for _ in range(2000))
    assert min(quick.log_volume(), best.log_volume()) > chance + 1.0


def test_order_of_the_structures_hardly_matters():
    used = frames()
    sets = [build_active_set(PARAMS, [used[k] for k in np.random.default_rng(s).permutation(20)]) for s in range(4)]
    volumes = [np.linalg.slogdet(s.a)[1] for s in sets]
    assert np.ptp(volumes) < 2.0  # of |log volume| > 100, for twenty rows and more
    for active in sets:
        assert grades_of(replace(PARAMS, active=active), *used)[0].max() <= 1.001 * (1 + 1e-6)


def test_the_same_input_gives_the_same_set():
    one, two = graded().active, graded().active
    assert np.array_equal(one.a, two.a) and np.array_equal(one.inv_t, two.inv_t)
    assert np.array_equal(one.equations, two.equations)


def test_rows_that_do_not_fit_in_memory(monkeypatch):
    monkeypatch.setattr(maxvol, "ROWS_BYTES", 0)
    monkeypatch.setattr(maxvol, "BATCH_ATOMS", 8)
    seen = []
    params = graded(progress=lambda what, done: seen.append((what, done)))
    assert grades_of(params, *frames())[0].max() <= 1.001 * (1 + 1e-6)
    assert max_abs(rows_of(params, frames()[0]), 0.0) > 0 and ("rows of the structures", 1.0) in seen


def test_an_inverse_of_rows_of_very_different_sizes():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(30, 30)) * np.logspace(0, -6, 30)[:, None] * np.logspace(4, -4, 30)[None, :]
    a[7] = 0.0
    a[7, 3] = INITIAL
    inverse = accurate_inverse(torch.from_numpy(a)).numpy()
    assert max_abs(a @ inverse, np.eye(30)) < 1e-6
    assert max_abs(inverse @ a, np.eye(30)) < 1e-3


# -- selection -----------------------------------------------------------------------------------------------


def test_selection_takes_what_extends_the_set():
    params, known = graded(), frames()
    new = [rattled("Cu", 200 + k, repeat=1, amount=0.5, a=3.2) for k in range(3)]
    candidates = [known[2], new[0], known[5], new[1], new[2]]
    found = select(params, candidates, threshold=1.1, active=params.active)
    assert set(found.frames) and set(found.frames) <= {1, 3, 4}
    assert found.grades[[0, 2]].max() <= 1.001 * (1 + 1e-6) and found.grades[[1, 3, 4]].min() > 1.1
    after = replace(params, active=found.active)
    assert grades_of(after, *candidates)[0].max() <= 1.1 * (1 + 1e-6)
    assert found.swaps > 0 and found.active.equations[:, 0].max() == len(found.kept) + len(found.frames) - 1
    for row, (structure, equation) in zip(found.active.a, found.active.equations, strict=True):
        if structure >= len(found.kept):
            atoms = candidates[found.frames[structure - len(found.kept)]]
            assert max_abs(rows_of(params, atoms)[equation - 3 * len(atoms) - 10], row) < 1e-10


def test_nothing_new_leaves_the_set_as_it_is():
    params = graded()
    found = select(params, frames()[:4], threshold=1.01, active=params.active)
    assert found.frames == () and found.swaps == 0
    assert np.array_equal(found.active.a, params.active.a)
    assert np.array_equal(found.active.inv_t, params.active.inv_t)
    assert np.array_equal(found.active.equations, params.active.equations)


def test_text_of_the_configurations_follows_the_rows():
    def text(chosen):
        return "".join(f"BEGIN_CFG\n{a.positions[0, 0]:.9f}\nEND_CFG\n\n" for a in chosen)

    used = frames()
    first = select(PARAMS, used, text=text)
    assert first.active.configurations == text([used[k] for k in first.frames])
    new = [rattled("Cu", 200 + k, repeat=1, amount=0.5, a=3.2) for k in range(2)]
    second = select(PARAMS, new, 1.1, first.active, text=text)
    owners = [used[first.frames[k]] for k in second.kept] + [new[k] for k in second.frames]
    assert 0 < len(second.kept) < len(first.frames)
    assert split_configurations(second.active.configurations) == split_configurations(text(owners))


def test_an_active_set_survives_its_file(tmp_path):
    params, used = graded(), frames()
    path = write_almtp(params, tmp_path / "toy.almtp")
    again = read_almtp(path, PARAMS.elements)
    assert np.array_equal(again.active.a, params.active.a) and np.array_equal(again.active.inv_t, params.active.inv_t)
    stored = parse_cfg(again.active.configurations, PARAMS.elements)
    for row, (structure, equation) in zip(again.active.a, again.active.equations, strict=True):
        if structure >= 0:
            atoms = stored[structure]
            assert max_abs(rows_of(PARAMS, atoms)[equation - 3 * len(atoms) - 10], row) < 1e-10
    np.testing.assert_array_equal(grades_of(again, *used)[1], grades_of(params, *used)[1])


def test_bad_requests_are_refused():
    with pytest.raises(OptionError, match="mode"):
        build_active_set(PARAMS, frames(2), mode="atoms")
    with pytest.raises(OptionError, match="threshold"):
        build_active_set(PARAMS, frames(2), threshold=1.0)
    with pytest.raises(OptionError, match="no structure"):
        build_active_set(PARAMS, [])
    with pytest.raises(UnsupportedElement, match="structure 1"):
        build_active_set(PARAMS, [Atoms("Cu"), Atoms("Ni")])
    broken = toy(("Cu",), size=5, scaling=1e200)
    with pytest.raises(NonFiniteResult, match="structures 0 to 0"):
        build_active_set(broken, [rattled("Cu", 0, repeat=1)])
    with pytest.raises(OptionError, match="rows for"):
        select(toy(("Cu",)), [Atoms("Cu")], active=graded().active)
    for weights in ({"force_weight": 1.0}, {"stress_weight": 1.0}, {"site_en_weight": 0.0}):
        with pytest.raises(OptionError, match="weight" if "site_en_weight" in weights else "weight.*grade='off'"):
            Grader(replace(graded().active, **weights))


def test_an_active_set_of_force_equations_does_not_stop_energies():
    """Grades came with every call, and raised there."""
    active = replace(graded().active, force_weight=1.0)
    calc = ZooCalculator(build(replace(PARAMS, active=active), ModelRequest("mtp", device="cpu", threads=1)))
    atoms = frames()[1]
    atoms.calc = calc
    assert np.isfinite(atoms.get_potential_energy()) and "extrapolation_grade" not in calc.results
    with pytest.raises(OptionError, match="grade='off'"):
        calc.get_property("extrapolation_grade", atoms)


# -- grades --------------------------------------------------------------------------------------------------


def test_grades_are_those_of_the_definition():
    active, atoms = graded().active, frames()[1]
    b = rows_of(PARAMS, atoms)
    wanted = np.abs(b @ active.inv_t.T).max(axis=1)
    found, sites = grades_of(replace(PARAMS, active=active), atoms)
    np.testing.assert_allclose(sites, wanted, rtol=1e-10)
    assert float(found[0]) == float(sites.max())
    other = replace(active, energy_weight=2.0, site_en_weight=0.0, weight_scaling=1.0)
    mean = 2.0 * b.sum(axis=0) / len(atoms) ** 0.5
    np.testing.assert_allclose(
        grades_of(replace(PARAMS, active=other), atoms)[0], [np.abs(mean @ active.inv_t.T).max()], rtol=1e-10
    )
    both = replace(active, energy_weight=2.0, weight_scaling=1.0)
    largest = max(wanted.max(), np.abs(mean @ active.inv_t.T).max())
    np.testing.assert_allclose(grades_of(replace(PARAMS, active=both), atoms)[0], [largest], rtol=1e-10)


@pytest.mark.parametrize("mode", ["neighbourhood", "configuration"])
def test_both_backends_give_the_same_grades(mode):
    params, structures = graded(mode), [frames()[4], rattled("Cu", 99, repeat=1, amount=0.5, a=3.1), Atoms("Cu")]
    results = [grades_of(params, *structures, backend=b) for b in BACKENDS]
    for one in results[1:]:
        np.testing.assert_allclose(one[0], results[0][0], rtol=1e-7)
        if mode == "neighbourhood":
            np.testing.assert_allclose(one[1], results[0][1], rtol=1e-7)


def test_grades_in_pieces_equal_grades_at_once(monkeypatch):
    active = graded().active
    model = MtpTorch(PARAMS)
    system, pairs = prepared(model, *frames(6), Atoms())
    b, counts = model.basis_vectors(system, pairs), np.diff(system.first)
    atoms, structures = Grader(active).grades(b, system.system_index, counts)
    assert atoms.shape == (system.n_atoms,) and structures.shape == (7,) and float(structures[6]) == 0.0
    monkeypatch.setattr("calczoo.families.mtp.grade.CHUNK_BYTES", 1)
    monkeypatch.setattr("calczoo.families.mtp.model.CHUNK_BYTES", 1)
    pieces = Grader(active).stream(model.basis_chunks(system, pairs), system.system_index, counts)
    np.testing.assert_allclose(pieces[0], atoms, rtol=1e-9)
    np.testing.assert_allclose(pieces[1], structures, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_grades_in_single_precision(backend):
    params, structures = graded(), frames()[:3]
    request = ModelRequest("mtp", device="cpu", dtype="float32", backend=backend, threads=1)
    model = build(params, request)
    found = model.compute(*prepared(model, *structures), GRADES)
    np.testing.assert_allclose(found.extrapolation_grades, grades_of(params, *structures)[1], rtol=0.02)


def test_no_active_set_no_grades():
    model = MtpTorch(PARAMS)
    assert not model.outputs & GRADES
    with pytest.raises(CalczooError, match="extrapolation_grade"):
        model.compute(*prepared(model, frames()[0]), frozenset({"extrapolation_grade"}))


# -- stored active sets and real data ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, elements",
    [("reference/mtp/potentials/AlNi_08_nbh.almtp", ("Al", "Ni")), ("data/mtp/pyiron_mlip3_Cu/pot.almtp", ("Cu",))],
)
def test_stored_active_sets(path, elements):
    """Rows of MLIP-3's sets are recovered from their configurations, and a set made from these spans as much."""
    params = golden_params(path, elements)
    active = params.active
    used = parse_cfg(active.configurations, elements)
    assert len(split_configurations(active.configurations)) == len(used) == active.equations[:, 0].max() + 1
    for row, (structure, equation) in zip(active.a, active.equations, strict=True):
        if structure >= 0:
            found = rows_of(params, used[structure])[equation - 3 * len(used[structure]) - 10]
            assert max_abs(found, row) < 1e-9 * max(1.0, np.abs(row).max())
    own = build_active_set(params, used)
    assert (own.equations[:, 0] < 0).sum() == (active.equations[:, 0] < 0).sum()
    assert np.linalg.slogdet(own.a)[1] > np.linalg.slogdet(active.a)[1] - 0.5
    assert select(params, used, 1.01, active).swaps == 0


def test_a_large_training_set_takes_seconds():
    params = golden_params("data/mtp/motep_tests/cubic/16/pot.mtp", ("Mo",))
    used = mlearn("Mo", "train")
    found = select(params, used)
    assert sum(map(len, used)) > 10000 and params.n_coefficients == 125
    assert grades_of(replace(params, active=found.active), *used[::10])[0].max() <= 1.001 * (1 + 1e-5)
    assert 10 < len(found.frames) < 60
