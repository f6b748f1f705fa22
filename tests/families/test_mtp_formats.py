"""MTP's files: .mtp, .almtp, .als; reading, writing, and errors with file, line and way out."""

from __future__ import annotations

import gzip
import lzma
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calczoo.core.errors import OptionError, PotentialFileError
from calczoo.families.mtp.almtp import format_almtp, read_almtp, read_als, write_almtp
from calczoo.families.mtp.cfg import parse_cfg
from calczoo.families.mtp.levels import untrained
from calczoo.families.mtp.params import ActiveSet, MtpParams
from calczoo.families.mtp.text_mtp import format_potential, read_mtp, read_template, write_mtp, write_template
from calczoo.files.compressed import read_bytes, unpack
from data import shared

ELEMENTS = ("Al", "Ni", "Co", "Cr", "Fe")

REFUSED = {
    "mlip2_dev_test/MTP100_3.mtp.xz": "version 1.0.2",
    "mlip2_dev_test/MTP61.mtp": "RBShapeev",
    "mlip2_dev_test/MTP9-3.mtp": "RBShapeev",
    "mlip2_dev_test/MTP9.mtp": "RBShapeev",
    "mlip2_dev_test/MTP9lotf_check.mtp": "RBShapeev",
    "mlip2_dev_test/MTP_testsuite_test.params.mtp": "RBShapeev",
    "mlip2_dev_test/unlearned.mtp": "untrained",
    "mlip2_dev_test/unlearned_cheb_2.mtp": "untrained",
    "mlip2_test_examples/01.train/06.mtp": "untrained",
    "mlearn_notebook/08g.mtp": "'%f' is not a finite number",
    "tsuyama_FePt_mlip3/pot_test.almtp": "conversion of line ends",
    "ZrH/pot.mtp.xz": "private fork",
}
"""Files that are refused, beside the untrained and magnetic ones, and what the message says."""


def make(level: int = 6, elements: tuple[str, ...] = ("Al", "Ni"), **more) -> MtpParams:
    """A potential of random numbers."""
    start = untrained(level, elements, 1.9, 5.0, 4)
    rng = np.random.default_rng(7)
    return replace(
        start,
        radial=rng.standard_normal(start.radial.shape),
        species=rng.standard_normal(start.species.shape),
        weights=rng.standard_normal(start.weights.shape) * 1e-3,
        **more,
    )


def with_active(params: MtpParams) -> MtpParams:
    n = params.n_coefficients
    a = np.random.default_rng(3).standard_normal((n, n)) + 5 * np.eye(n)
    equations = np.full((n, 2), -1)
    equations[:2] = [[0, 7], [0, 8]]
    text = "BEGIN_CFG\n Size\n    1\n AtomData:  id type cartes_x cartes_y cartes_z\n    1 0  0 0 0\nEND_CFG\n\n"
    active = ActiveSet(a=a, inv_t=np.linalg.inv(a).T, equations=equations, configurations=text)
    return replace(params, active=active)


def same(a: MtpParams, b: MtpParams) -> bool:
    """All numbers equal, bit by bit."""
    arrays = [(getattr(a, n), getattr(b, n)) for n in ("radial", "species", "weights")]
    arrays += [(getattr(a.moments, n), getattr(b.moments, n)) for n in ("basic", "times", "scalars")]
    plain = ("elements", "min_dist", "max_dist", "scaling", "basis")
    return (
        all(np.array_equal(x, y) for x, y in arrays)
        and a.moments.count == b.moments.count
        and all(getattr(a, n) == getattr(b, n) for n in plain)
    )


def species_of(path: Path) -> int:
    return read_template(path).species_count


# -- all published files -------------------------------------------------------------------------------------


def published() -> list[Path]:
    root = shared("data/mtp")
    kinds = (".mtp", ".mmtp", ".almtp", "fitted.mtp")
    return sorted(p for p in root.rglob("*") if p.is_file() and any(k in p.name for k in kinds))


def expected_refusal(path: Path) -> str | None:
    name = path.relative_to(shared("data/mtp")).as_posix()
    if ".mmtp" in path.name:
        return "magnetic"
    return "untrained" if path.name == "initial.mtp" or name.startswith("untrained_mlip2") else REFUSED.get(name)


def test_every_published_file_is_read_or_refused_with_its_reason(tmp_path):
    loaded = refused = 0
    for path in published():
        read = read_almtp if ".almtp" in path.name else read_mtp
        if reason := expected_refusal(path):
            with pytest.raises(PotentialFileError) as caught:
                read(path, ELEMENTS[: 1 if ".almtp" not in path.name else None] if "tsuyama" not in str(path) else None)
            assert reason in str(caught.value) and caught.value.expected, path
            refused += 1
            continue
        params = read(path, ELEMENTS[: species_of(path)] if ".almtp" not in path.name else almtp_elements(path))
        again = write_mtp(params, tmp_path / "again.mtp")
        assert same(params, read_mtp(again, params.elements)), path
        assert params.coefficients().size == params.n_coefficients
        loaded += 1
    assert (loaded, refused) == (79, 68)


def almtp_elements(path: Path) -> tuple[str, ...]:
    return ELEMENTS[:3] if "HEGB" in path.name else ELEMENTS[:1]


def test_files_of_mlip_are_written_back_byte_by_byte():
    """All but those of other writers, whose numbers have another form."""
    count = 0
    for path in published():
        if expected_refusal(path) or ".almtp" in path.name or "maml" in path.parts:
            continue
        raw = read_bytes(path)[0].rstrip()
        text = format_potential(read_mtp(path, ELEMENTS[: species_of(path)]))
        if text.encode() == raw:
            count += 1
    assert count == 54


@pytest.mark.parametrize(
    "name, elements",
    [
        ("data/mtp/pyiron_mlip3_Cu/pot.almtp", ("Cu",)),
        ("data/mtp/mlip3_examples/04.calculate_grade/pot.almtp", ("Li",)),
        ("data/mtp/SiC_Cs/HEGB_L10.almtp.xz", ("C", "Si", "Cs")),
        ("reference/mtp/potentials/AlNi_08_nbh.almtp", ("Al", "Ni")),
    ],
)
def test_almtp_is_written_back_byte_by_byte(name, elements):
    params = read_almtp(shared(name), elements)
    assert params.active is not None and params.active.mode == "neighbourhood"
    assert format_almtp(params) == read_bytes(shared(name))[0]
    frames = parse_cfg(params.active.configurations, elements)
    assert params.active.equations[:, 0].max() < len(frames)


def test_als_of_mlip2():
    for step, count in (("04.calc-grade/sample_out", 3), ("05.select-add/sample_out", 11)):
        params = read_als(shared(f"data/mtp/mlip2_test_examples/{step}/state.als"), "Mo")
        assert params.active.mode == "configuration" and params.active.energy_weight == 1
        assert len(parse_cfg(params.active.configurations, "Mo")) == count
        assert np.allclose(params.active.a @ params.active.inv_t.T, np.eye(11), atol=1e-8)


# -- round trips ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz"])
def test_round_trip_is_exact(tmp_path, suffix):
    params = make(12, ("Al", "Ni", "Co"), scaling=1 / 3, basis="RBChebyshev_repuls")
    path = write_mtp(params, tmp_path / f"p.mtp{suffix}")
    back = read_mtp(path, params.elements)
    assert same(params, back) and back.level == 12
    assert list(back.facts["files"]) == [path.name]
    assert write_mtp(back, tmp_path / f"q.mtp{suffix}").read_bytes() == path.read_bytes()
    if suffix:
        opened = {".xz": lzma, ".gz": gzip}[suffix].open(path).read()
        assert opened == format_potential(params).encode() + b"\n"


def test_layout_is_that_of_mlip():
    lines = format_potential(make(4, ("Cu",), scaling=0.1)).split("\n")
    assert lines[:7] == [
        "MTP", "version = 1.1.0", "potential_name = MTP1m", "scaling = 1.000000000000000e-01", "species_count = 1",
        "potential_tag = ", "radial_basis_type = RBChebyshev",
    ]  # fmt: skip
    assert lines[7] == "\tmin_dist = 1.900000000000000e+00" and lines[9:13] == [
        "\tradial_basis_size = 4", "\tradial_funcs_count = 1", "\tradial_coeffs", "\t\t0-0"
    ]  # fmt: skip
    assert lines[13].startswith("\t\t\t{") and lines[14] == "alpha_moments_count = 2"
    assert lines[18] == "alpha_index_times = {{0, 0, 1, 1}}" and lines[20] == "alpha_moment_mapping = {0, 1}"
    assert [line.split(" = ")[0] for line in lines[21:]] == ["species_coeffs", "moment_coeffs"]


def test_almtp_round_trip(tmp_path):
    params = with_active(make())
    back = read_almtp(write_almtp(params, tmp_path / "p.almtp.gz"), params.elements)
    assert same(params, back)
    for name in ("a", "inv_t", "equations"):
        assert np.array_equal(getattr(params.active, name), getattr(back.active, name))
    assert back.active.configurations == params.active.configurations
    plain = read_almtp(write_almtp(make(), tmp_path / "q.almtp"), ("Al", "Ni"))
    assert plain.active is None and same(plain, make())


def test_template(tmp_path):
    path = shared("data/mtp/untrained_mlip2/10.mtp")
    template = read_template(path)
    counts = (template.species_count, template.radial_size, template.radial_funcs, template.scaling)
    assert counts == (2, 8, 3, 7.139601867076199e-02)
    again = write_template(template, tmp_path / "10.mtp").read_text()
    assert [s.strip() for s in again.splitlines()] == [s.strip() for s in path.read_text().splitlines()]
    with pytest.raises(PotentialFileError, match="calczoo fit mtp"):
        read_mtp(path, ("Al", "Ni"))


# -- elements ------------------------------------------------------------------------------------------------


def relabelled(params: MtpParams, types: tuple[int, ...]) -> str:
    text = format_potential(params)
    for a in range(len(types)):
        for b in range(len(types)):
            text = text.replace(f"\t\t{a}-{b}\n", f"\t\t<{types[a]}-{types[b]}>\n")
    return text.replace("\t\t<", "\t\t").replace(">\n", "\n")


def test_missing_elements_show_the_call(tmp_path):
    path = write_mtp(make(4, ("Cu",)), tmp_path / "Cu.mtp")
    with pytest.raises(OptionError) as caught:
        read_mtp(path)
    assert 'get_calculator("mtp", model="Cu.mtp", elements=["Cu"])' in str(caught.value)
    path = write_mtp(make(), tmp_path / "two.mtp")
    for elements in (None, "Al", "Al Ni Co"):
        with pytest.raises(OptionError, match=r'has 2 species.*elements=\["Al", "Ni"\]'):
            read_mtp(path, elements)
    for elements in ("Al Xx", "Al Al", 3):
        with pytest.raises(OptionError):
            read_mtp(path, elements)


def test_labels_that_are_atomic_numbers_name_the_elements(tmp_path):
    path = tmp_path / "p.mtp"
    path.write_text(relabelled(make(), (28, 13)))
    params = read_mtp(path)
    assert params.elements == ("Ni", "Al") and np.array_equal(params.radial, make().radial)
    assert read_mtp(path, "Al Ni").elements == ("Ni", "Al")  # the file knows better
    assert np.array_equal(read_mtp(path, "Al").radial, make().radial[1:, 1:])
    with pytest.raises(OptionError, match="atomic numbers of Ni, Al"):
        read_mtp(path, "Al Cu")
    assert "\t\t13-28\n" in format_potential(params)  # kept for the structures of an active set
    assert "\t\t13-13\n" in format_potential(params.restricted(["Al"]))


def test_labels_in_another_order(tmp_path):
    """MLIP-3 takes types from labels; MLIP-2 takes them by place: a .mtp must not leave that open."""
    path = tmp_path / "p.almtp"
    path.write_text(relabelled(make(), (1, 0)))
    assert read_almtp(path, "Al Ni").elements == ("Ni", "Al")
    assert np.array_equal(read_almtp(path, "Al Ni").radial, make().radial)
    text = path.read_text()
    path = tmp_path / "p.mtp"
    path.write_text(text)
    with pytest.raises(PotentialFileError, match="read differently"):
        read_mtp(path, "Al Ni")
    for wrong in ("0-1", "1-1", "2-0"):
        path.write_text(format_potential(make()).replace("\t\t0-0\n", f"\t\t{wrong}\n"))
        with pytest.raises(PotentialFileError, match="radial blocks are labelled"):
            read_mtp(path, "Al Ni")


# -- errors --------------------------------------------------------------------------------------------------

EDITS = [
    (("MTP\n", "MPT\n"), 1, "the word MTP"),
    (("version = 1.1.0", "version = 1.0.2"), 2, "older class"),
    (("version = 1.1.0\n", ""), 1, "names no version"),
    (("RBChebyshev", "RBShapeev"), 7, "no rule"),
    (("RBChebyshev", "RBvdW"), 7, "MLIP-2 alone"),
    (("RBChebyshev", "RB_for_repulsion"), 7, "private fork"),
    (("species_count", "zbl_repulsion = true\nspecies_count"), 5, "private fork"),
    (("\tmin_dist", "\tmin_mag = 0\n\tmin_dist"), 8, "magnetic"),
    (("alpha_moments_count", "magnetic_basis_type = BChebyshev\nalpha_moments_count"), 25, "magnetic"),
    (("species_count = 2", "species_count = 3"), 12, "9 for 3 species"),
    (("species_count = 2", "species_count = 1e9"), 5, "whole number"),
    (("radial_basis_size = 4", "radial_basis_size = 5"), 14, "5, as radial_basis_size says"),
    (("radial_funcs_count = 2", "radial_funcs_count = 3"), 16, "complete list"),
    (("radial_funcs_count = 2", "radial_funcs_count = 1"), 15, "a key"),
    (("alpha_index_basic_count = 5", "alpha_index_basic_count = 6"), 27, "6, as alpha_index_basic_count says"),
    (("alpha_index_times_count = 5", "alpha_index_times_count = 4"), 29, "4, as alpha_index_times_count says"),
    (("alpha_scalar_moments = 5", "alpha_scalar_moments = 900000000"), 31, "900000000, as"),
    (("alpha_moments_count = 8", "alpha_moments_count = 7"), 31, "moments 0 to 6"),
    (("{0, 5, 1, 7}", "{7, 5, 1, 7}"), 29, "not complete"),
    (("{0, 5, 1, 7}", "{0, 5, 1, 8}"), 29, "outside 0 to 7"),
    (("{0, 5, 1, 7}", "{0, 5, 1}"), 29, "entry 5 of alpha_index_times"),
    (("{0, 5, 1, 7}}", "{0, 5, 1, 7}"), 29, "entry 6 of alpha_index_times"),
    (("{0, 1, 0, 0}", "{0, 999999999, 0, 0}"), 27, "number 999999999"),
    (("alpha_moments_count = 8", "alpha_moments_count = 900000000"), 25, "at most 10 moments"),
    (("{0, 1, 0, 0}", "{0, -1, 0, 0}"), 27, "number -1"),
    (("species_coeffs = {", "species_coeffs = {1.0, "), 32, "has 3 numbers"),
    (("moment_coeffs = {", "moment_coeffs = {nan, "), 33, "not a finite number"),
    (("moment_coeffs = {", "moment_coeffs = {1_0, "), 33, "not a finite number"),
    (("moment_coeffs = {", "other_coeffs = {"), 33, "unknown key"),
    (("max_dist = ", "max_dist = 9"), None, "max_dist"),
    (("min_dist = 1", "min_dist = 9"), None, "min_dist"),
    (("\tmax_dist", "\tmin_dist = 1\n\tmax_dist"), 9, "second time"),
]


@pytest.mark.parametrize("edit, line, message", EDITS, ids=[e[2].replace(" ", "_") for e in EDITS])
def test_errors_name_the_line(tmp_path, edit, line, message):
    path = tmp_path / "p.mtp"
    text = format_potential(make())
    assert edit[0] in text
    path.write_text(text.replace(*edit, 1))
    with pytest.raises(PotentialFileError) as caught:
        read_mtp(path, "Al Ni")
    assert message in str(caught.value) and caught.value.line == line


def test_scaling_inside_the_radial_block_multiplies(tmp_path):
    path = tmp_path / "p.mtp"
    path.write_text(format_potential(make(scaling=0.5)).replace("\tmin_dist", "\tscaling = 0.25\n\tmin_dist"))
    assert read_mtp(path, "Al Ni").scaling == 0.125


def test_layout_is_free(tmp_path):
    """Blank lines, other spaces and line ends of Windows change nothing."""
    path = tmp_path / "p.mtp"
    text = format_potential(make()).replace(", ", " ,\n ").replace(" = ", "=").replace("\n", "\r\n\r\n")
    path.write_bytes(text.replace("potential_tag=", "potential_tag = \u00e9").encode("latin-1"))
    assert same(read_mtp(path, "Al Ni"), make())


def test_truncated_anywhere_is_an_error(tmp_path):
    path, text = tmp_path / "p.mtp", format_potential(make())
    for end in range(0, len(text) - 1, 7):
        path.write_text(text[:end])
        with pytest.raises(PotentialFileError):
            read_mtp(path, "Al Ni")


def test_a_file_with_another_part_after_the_text(tmp_path):
    path = write_almtp(with_active(make()), tmp_path / "p.mtp")
    with pytest.raises(PotentialFileError, match=r"as a file \.almtp does"):
        read_mtp(path, "Al Ni")
    path.write_bytes(b"MTP\n\0")
    with pytest.raises(PotentialFileError, match="NUL byte"):
        read_mtp(path, "Al Ni")


def test_damaged_archives(tmp_path):
    path = write_mtp(make(), tmp_path / "p.mtp.xz")
    raw = path.read_bytes()
    for damaged in (raw[:-9], raw[: len(raw) // 2], raw[:60] + b"?" + raw[61:]):
        path.write_bytes(damaged)
        with pytest.raises(PotentialFileError, match="damaged"):
            read_mtp(path, "Al Ni")
    path.write_bytes(gzip.compress(b"MTP\n")[:-3])
    with pytest.raises(PotentialFileError, match="damaged"):
        read_mtp(path, "Al Ni")
    with pytest.raises(PotentialFileError, match="holds more than 1000 bytes"):
        unpack(path, lzma.compress(b" " * 100_000), 1000)
    assert unpack(path, lzma.compress(b"ab") + b"\0" * 8 + lzma.compress(b"cd")) == b"abcd"


def replaced(raw: bytes, at: int, new: bytes) -> bytes:
    return raw[:at] + new + raw[at + len(new) :]


def test_damaged_active_sets(tmp_path):
    params = with_active(make())
    raw, path = format_almtp(params), tmp_path / "p.almtp"
    n = params.n_coefficients
    start = raw.index(b"\n#", raw.index(b"#MVS")) + 2
    cases = [
        (raw[: start + 100], "bytes are left for a matrix"),
        (raw[: start + 8 * n * n + 100], "bytes are left for a matrix"),
        (replaced(raw, start + 64, np.array([np.nan]).tobytes()), "not finite"),
        (replaced(raw, start + 64, np.array([2.5]).tobytes()), "not inverse"),
        (raw[: start + 64] + raw[start + 65 :], "bytes of the matrices are missing"),
        (raw.replace(b"_v1.1", b"_v2.0"), "the version #MVS_v1.1"),
        (raw.replace(b"force_weight", b"torce_weight"), "'force_weight VALUE'"),
        (raw.replace(b"weight_scaling 2", b"weight_scaling nan"), "not a finite number"),
        (raw.replace(b"site_en_weight 1", b"site_en_weight -1"), "not negative"),
        (raw.replace(b"\n0 7\n", b"\n5 7\n"), "configuration 5 of 1"),
        (raw.replace(b"\n0 7\n", b"\nx 7\n"), "equation 1 of"),
        (raw.replace(b"\n0 7\n", b"\n"), "the mark after the equations|equation"),
        (raw.replace(b"END_CFG", b""), "1 selected configurations begin and 0 end"),
        (raw.replace(b"species_coeffs = {", b"species_coeffs = {1, "), "has 3 numbers"),
    ]
    for damaged, message in cases:
        assert damaged != raw
        path.write_bytes(damaged)
        with pytest.raises(PotentialFileError, match=message):
            read_almtp(path, "Al Ni")


def test_big_files_are_read_in_time(tmp_path):
    """Level 28: a line of 3.8 MB."""
    path = write_mtp(make(28, ("Cu",)), tmp_path / "p.mtp")
    start = time.perf_counter()
    params = read_mtp(path, "Cu")
    assert time.perf_counter() - start < 10
    assert params.n_basis == 2445
