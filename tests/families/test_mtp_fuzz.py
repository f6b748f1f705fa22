"""Mutants of MTP's files: each is the same potential, another valid one, or an error that names the file."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calczoo.core.errors import DataError, OptionError, PotentialFileError
from calczoo.families.mtp.almtp import format_almtp, read_almtp, read_als
from calczoo.families.mtp.cfg import read_cfg
from calczoo.families.mtp.params import MtpParams
from calczoo.families.mtp.text_mtp import format_potential, read_mtp, read_template
from families.mutations import mutants
from families.test_mtp_cfg import TEXT
from families.test_mtp_formats import make, with_active

POTENTIAL = format_potential(make()).encode()
ALMTP = format_almtp(with_active(make(4, ("Cu",))))
FEW = settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mutants")


def check(params: MtpParams) -> None:
    """What a loaded potential must be: finite numbers of the shapes that its header says."""
    c = params.n_elements
    assert params.radial.shape[:2] == (c, c) and params.species.shape == (c,)
    assert np.isfinite(params.coefficients()).all() and 0 < params.cutoff <= 50
    if params.active is not None:
        assert params.active.a.shape == (params.n_coefficients,) * 2 and np.isfinite(params.active.inv_t).all()


@FEW
@given(data=mutants(POTENTIAL))
def test_mtp(folder, data):
    path = folder / "p.mtp"
    path.write_bytes(data)
    try:
        check(read_mtp(path, "Al Ni"))
    except PotentialFileError as error:
        assert error.file == str(path)
    except OptionError as error:
        assert path.name in str(error)
    try:
        read_template(path)
    except PotentialFileError as error:
        assert error.file == str(path)


@FEW
@given(data=mutants(ALMTP))
def test_almtp(folder, data):
    path = folder / "p.almtp"
    path.write_bytes(data)
    for read in (read_almtp, read_als):
        try:
            check(read(path, "Cu"))
        except PotentialFileError as error:
            assert error.file == str(path)
        except OptionError as error:
            assert path.name in str(error)


@FEW
@given(data=mutants(TEXT.encode() * 2))
def test_cfg(folder, data):
    path = folder / "t.cfg"
    path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            frames = read_cfg(path, "Al Ni")
    except (PotentialFileError, OptionError, DataError) as error:
        assert path.name in str(error)
        return
    assert len(frames) <= 3
    for atoms in frames:
        assert np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()
        assert atoms.calc is None or all(np.isfinite(v).all() for v in atoms.calc.results.values())


@FEW
@given(
    body=st.text(alphabet="{}, -0123456789abc=\n", max_size=60),
    key=st.sampled_from(["alpha_index_times = ", "moment_coeffs = ", "radial_coeffs\n", "min_dist = ", ""]),
)
def test_garbage_in_place_of_a_value(folder, body, key):
    text = POTENTIAL.decode()
    at = text.index(key) if key else 4
    path = folder / "g.mtp"
    path.write_text(text[: at + len(key)] + body + text[at + len(key) :])
    try:
        check(read_mtp(path, "Al Ni"))
    except (PotentialFileError, OptionError) as error:
        assert path.name in str(error)


@pytest.mark.parametrize("text", ["{" * 200_000, "{" + " " * 200_000, "{{1, 2, 3, 4}" + ", {1, 2, 3, 4}" * 20_000])
def test_no_quadratic_behaviour(folder, text):
    """Broken lists of a size at which anything quadratic would take minutes."""
    path = folder / "q.mtp"
    path.write_text(POTENTIAL.decode().split("{{")[0] + text)
    with pytest.raises(PotentialFileError):
        read_mtp(path, "Al Ni")
