"""Index tables and Clebsch-Gordan coefficients against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from calczoo.core.errors import OptionError
from calczoo.families.snap.indices import component_count, coupling_tensor, couplings, indices
from calczoo.families.snap.params import SnapParams
from families.snap.flags import make


def test_component_counts_of_the_paper():
    assert [component_count(n) for n in (0, 2, 4, 6, 8, 10, 12, 14)] == [1, 5, 14, 30, 55, 91, 140, 204]


@pytest.mark.parametrize("j1,j2", [(1, 1), (2, 1), (3, 2), (4, 4), (5, 3), (8, 7)])
def test_clebsch_gordan_coefficients_are_orthogonal(j1, j2):
    full = np.concatenate([coupling_tensor(j1, j2, j) for j in range(j1 - j2, j1 + j2 + 1, 2)], axis=2)
    matrix = full.reshape((j1 + 1) * (j2 + 1), -1)
    assert np.abs(matrix.T @ matrix - np.eye(matrix.shape[1])).max() < 1e-14


def test_clebsch_gordan_values_of_tables():
    half = coupling_tensor(1, 1, 2)
    assert half[1, 0, 1] == pytest.approx(np.sqrt(0.5)) and half[1, 1, 2] == 1.0
    singlet = coupling_tensor(1, 1, 0)
    assert singlet[1, 0, 0] == pytest.approx(np.sqrt(0.5)) and singlet[0, 1, 0] == pytest.approx(-np.sqrt(0.5))
    assert coupling_tensor(2, 1, 1)[2, 0, 1] == pytest.approx(np.sqrt(2 / 3))


@pytest.mark.parametrize("twojmax", [0, 1, 4, 7])
def test_rows_of_z_are_the_sums_over_m(twojmax):
    t = indices(twojmax)
    for j1, j2, j, ma1, ma2, mb1, mb2, na, nb, jju in t.z.tolist():
        mb, ma = divmod(jju - t.u_block[j], j + 1)
        dense = coupling_tensor(j1, j2, j)
        for m, low, high, n in ((ma, ma1, ma2, na), (mb, mb1, mb2, nb)):
            terms = [(low + k, high - k) for k in range(n)]
            assert all(a <= j1 and 0 <= b <= j2 for a, b in terms)
            assert {tuple(x) for x in np.argwhere(dense[:, :, m])} <= set(terms)
            start = t.cg_block[j1, j2, j]
            assert all(t.cg[start + (j2 + 1) * a + b] == dense[a, b, m] for a, b in terms)
    assert len(t.b) == component_count(twojmax) and len(set(couplings(twojmax))) >= len(t.b)


def test_quadratic_form_of_the_triangle():
    params, _, _ = make("quadratic")
    k = params.n_components
    b = np.random.default_rng(0).normal(size=k)
    energy, at = 0.0, 1 + k
    for m in range(k):  # as LAMMPS sums it
        energy += 0.5 * params.coefficients[0, at] * b[m] ** 2
        at += 1
        for n in range(m + 1, k):
            energy += params.coefficients[0, at] * b[m] * b[n]
            at += 1
    assert 0.5 * b @ params.quadratic[0] @ b == pytest.approx(energy, rel=1e-12)


@pytest.mark.parametrize(
    "change,word",
    [
        ({"rcutfac": -1.0}, "rcutfac"),
        ({"rcutfac": 1e9}, "cutoffs"),
        ({"rfac0": 0.0}, "rfac0"),
        ({"rmin0": 9.0}, "rmin0"),
        ({"twojmax": 99}, "twojmax"),
        ({"twojmax": 3}, "coefficients"),
        ({"radii": [0.5]}, "radii"),
        ({"weights": [1.0, np.nan]}, "weights"),
        ({"elements": ("W", "W")}, "elements"),
        ({"elements": ("W", "Xx")}, "Xx"),
        ({"switchinnerflag": True}, "sinner"),
        ({"sinner": [1.0, 1.0]}, "sinner"),
        ({"switchinnerflag": True, "sinner": [1.0, 1.0], "dinner": [0.0, 1.0]}, "dinner"),
    ],
)
def test_invalid_parameters_are_refused(change, word):
    params, _, _ = make("bnorm")
    given = {f: getattr(params, f) for f in SnapParams.__dataclass_fields__}
    with pytest.raises(OptionError, match=word):
        SnapParams(**{**given, **change})
