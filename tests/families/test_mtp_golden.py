"""MTP against MLIP-2 and MLIP-3: energies, forces, stress, derivatives with respect to coefficients, grades."""

from __future__ import annotations

import numpy as np
import pytest

from calczoo.core.errors import CalczooError
from calczoo.families.mtp import FAMILY
from calczoo.families.mtp.load import build
from calczoo.registry import ModelRequest
from data import max_abs, shared
from families.mtp_cases import GOLDEN, case_atoms, case_params, golden_cases, prepared

BACKENDS = FAMILY.backends
ALL = list(golden_cases())
REFUSED = [name for name in ALL if "RBShapeev" in name]
CASES = [name for name in ALL if name not in REFUSED]

pytestmark = pytest.mark.filterwarnings("ignore:.*the shortest distance is")


def model_of(name: str, backend: str):
    request = ModelRequest("mtp", device="cpu", dtype="float64", backend=backend, threads=1)
    return build(case_params(golden_cases()[name]), request)


def test_reference_data_are_there():
    shared(GOLDEN)
    assert len(ALL) == 48 and len(CASES) == 44


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_energy_forces_and_stress_equal_mlip(name, backend):
    case, model = golden_cases()[name], model_of(name, backend)
    atoms = case_atoms(case)
    system, pairs = prepared(model, atoms)
    found = model.compute(system, pairs, frozenset({"energy", "energies", "forces", "virial"}))
    assert abs(float(found.energy[0]) - case["energy"]) < 1e-10 * len(atoms)
    assert max_abs(found.energies, case["energies"]) < 1e-9
    assert max_abs(found.forces, case["forces"]) < 1e-9
    if case["stress"] is not None:
        stress = (found.virial[0] / atoms.get_volume()).numpy()
        assert max_abs(stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], case["stress"]) < 1e-10


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [n for n in CASES if golden_cases()[n].get("dE_dcoeffs")])
def test_derivatives_with_respect_to_coefficients_equal_mlip(name, backend):
    case, model = golden_cases()[name], model_of(name, backend)
    b = model.basis_vectors(*prepared(model, case_atoms(case))).sum(dim=0).numpy()
    wanted = np.array(case["dE_dcoeffs"])
    assert max_abs(b, wanted) < 1e-10 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [n for n in CASES if golden_cases()[n].get("grade") is not None])
def test_grades_equal_mlip(name, backend):
    case, model = golden_cases()[name], model_of(name, backend)
    grades = frozenset({"extrapolation_grade", "extrapolation_grades"})
    assert grades <= model.outputs
    found = model.compute(*prepared(model, case_atoms(case)), grades)
    np.testing.assert_allclose(found.extrapolation_grade, [case["grade"]], rtol=1e-8)
    np.testing.assert_allclose(found.extrapolation_grades, case["nbh_grades"], rtol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_cases_in_one_batch_equal_cases_alone(backend):
    names = [n for n in CASES if n.startswith("AlNi_08_nbh")]
    if not names:
        shared(GOLDEN)
    model, cases = model_of(names[0], backend), [golden_cases()[n] for n in names]
    need = frozenset({"energy", "forces", "extrapolation_grade"})
    found = model.compute(*prepared(model, *(case_atoms(c) for c in cases)), need)
    assert max_abs(found.energy, [c["energy"] for c in cases]) < 1e-9
    assert max_abs(found.forces, np.concatenate([c["forces"] for c in cases])) < 1e-9
    np.testing.assert_allclose(found.extrapolation_grade, [c["grade"] for c in cases], rtol=1e-8)


@pytest.mark.parametrize("name", REFUSED)
def test_a_basis_that_is_not_known_is_refused(name):
    with pytest.raises(CalczooError, match="RBShapeev"):
        case_params(golden_cases()[name])
