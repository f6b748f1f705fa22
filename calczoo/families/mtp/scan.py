"""Reads the text of a `.mtp` key by key. Counts are compared with the lists, which decide what is allocated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import OptionError, PotentialFileError
from ...files.text import parse_float, parse_int
from .params import BASES, Moments

MAX_SPECIES = 118
MAX_RANK = 64
"""Largest power and radial index of a basic moment; MLIP's levels end at 10."""

_KEY = re.compile(r"([A-Za-z_]\w*)[ \t]*(=?)[ \t]*", re.ASCII)
_LABEL = re.compile(r"(\d{1,3})-(\d{1,3})(?!\S)", re.ASCII)
_BRACES = re.compile(r"\{([^{}]*)\}")
_ROW = r"\{\s*(?:-?\d{1,9}\s*,\s*){3}-?\d{1,9}\s*\}"
_ROWS = re.compile(rf"\{{\s*(?:{_ROW}(?:\s*,\s*{_ROW})*+\s*)?\}}", re.ASCII)
_ONE_ROW = re.compile(_ROW, re.ASCII)

_LENGTHS = {"min_dist": "min_dist", "max_dist": "max_dist", "min_val": "min_dist", "max_val": "max_dist"}
_COUNTS = {
    "species_count": ("species_count", 1, MAX_SPECIES),
    "radial_basis_size": ("radial_basis_size", 1, 10**4),
    "basis_size": ("radial_basis_size", 1, 10**4),
    "radial_funcs_count": ("radial_funcs_count", 1, 10**4),
    "alpha_moments_count": ("alpha_moments_count", 1, 10**9),
    "alpha_index_basic_count": ("alpha_index_basic_count", 1, 10**9),
    "alpha_index_times_count": ("alpha_index_times_count", 0, 10**9),
    "alpha_scalar_moments": ("alpha_scalar_moments", 1, 10**9),
}
_MAGNETIC = ("magnetic_basis_type", "min_mag", "max_mag", "mag_basis_size")
_FORKS = ("zbl_repulsion",)
_TABLES = ("alpha_index_basic", "alpha_index_times")
_LISTS = ("species_coeffs", "moment_coeffs")
_NEEDED = (
    "species_count", "radial_basis_type", "min_dist", "max_dist", "radial_basis_size", "radial_funcs_count",
    "alpha_moments_count", "alpha_index_basic_count", "alpha_index_basic", "alpha_index_times_count",
    "alpha_index_times", "alpha_scalar_moments", "alpha_moment_mapping",
)  # fmt: skip
_REFUSED = {
    "RBShapeev": "is MLIP-2's tabulated polynomial basis of the development tests; no rule for its table is published",
    "RBvdW": "is a basis of MLIP-2 alone, without a published definition",
    "RB_for_repulsion": "belongs to a private fork of MLIP, which neither MLIP-2 nor MLIP-3 reads",
}
UNTRAINED = "a trained potential; this file is an untrained template: train one with 'calczoo fit mtp --level ...'"


class Fields:
    """The values of a file. Distances in A, coefficients as read; `rows` has C * C * K rows of R numbers."""

    def __init__(self, path: Path, values: dict[str, Any], lines: dict[str, int]):
        self.path, self._values, self._lines = path, values, lines
        self.species_count: int = values["species_count"]
        self.radial_size: int = values["radial_basis_size"]
        self.radial_funcs: int = values["radial_funcs_count"]
        self.min_dist: float = values["min_dist"]
        self.max_dist: float = values["max_dist"]
        self.scaling: float = values.get("scaling", 1.0) * values.get("inner_scaling", 1.0)
        self.basis: str = values["radial_basis_type"]
        self.potential_name: str = values.get("potential_name", "")
        self.labels, self.rows = values.get("radial_coeffs", ([], None))
        self.species = values.get("species_coeffs")
        self.weights = values.get("moment_coeffs")
        self.moments = self._moments()
        self._check()

    def fail(self, key: str, what: str, expected: str) -> None:
        raise PotentialFileError(self.path, self._lines.get(key), what, expected)

    def _moments(self) -> Moments:
        v = self._values
        for count, name in (
            ("alpha_index_basic_count", "alpha_index_basic"),
            ("alpha_index_times_count", "alpha_index_times"),
            ("alpha_scalar_moments", "alpha_moment_mapping"),
        ):
            if v[count] != len(v[name]):
                self.fail(name, f"{name} has {len(v[name])} entries", f"{v[count]}, as {count} says")
        basic, times, count = v["alpha_index_basic"], v["alpha_index_times"], v["alpha_moments_count"]
        if count > len(basic) + len(times):
            what = f"{count} moments, but the lists make at most {len(basic) + len(times)} moments"
            self.fail("alpha_moments_count", what, "the number of moments that are made")
        if len(basic) and (basic.min() < 0 or basic.max() > MAX_RANK):
            what = f"alpha_index_basic has the number {basic[(basic < 0) | (basic > MAX_RANK)][0]}"
            self.fail("alpha_index_basic", what, f"indices and powers from 0 to {MAX_RANK}")
        try:
            return Moments(basic, times, count, v["alpha_moment_mapping"])
        except OptionError as error:
            key = "alpha_moment_mapping" if "basis functions" in str(error) else "alpha_index_times"
            self.fail(key, str(error), "a consistent contraction tree")
            raise

    def _check(self) -> None:
        c, needed = self.species_count, self.moments.n_radial
        if self.radial_funcs < needed:
            what = f"radial_funcs_count is {self.radial_funcs}"
            self.fail("radial_funcs_count", what, f"{needed}, one for each mu of alpha_index_basic")
        if self.rows is not None and len(self.labels) != c * c:
            self.fail("radial_coeffs", f"{len(self.labels)} radial blocks", f"{c * c} for {c} species")
        for key, values, count in (
            ("species_coeffs", self.species, c),
            ("moment_coeffs", self.weights, len(self.moments.scalars)),
        ):
            if values is not None and len(values) != count:
                self.fail(key, f"{key} has {len(values)} numbers", f"{count}")

    def require_trained(self) -> None:
        """Raise PotentialFileError unless all coefficients are there."""
        keys = ("radial_coeffs", *_LISTS)
        missing = [k for k in keys if k not in self._values]
        if len(missing) == len(keys) or missing[:1] == ["radial_coeffs"]:
            raise PotentialFileError(self.path, None, f"has no {' and no '.join(missing)}", UNTRAINED)
        if missing:
            what = f"has radial_coeffs, but no {' and no '.join(missing)}"
            raise PotentialFileError(self.path, None, what, "a complete trained potential")


class _Scanner:
    """A place in the text; every reader raises PotentialFileError naming the line."""

    def __init__(self, path: Path, text: str):
        self.path, self.text, self.at = path, text, 0
        self.values: dict[str, Any] = {}
        self.lines: dict[str, int] = {}

    @property
    def line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def fail(self, what: str, expected: str) -> None:
        raise PotentialFileError(self.path, self.line, what, expected)

    def word(self) -> str:
        """The word at this place, shortened, for messages."""
        return self.text[self.at : self.at + 400].split(maxsplit=1)[0][:40] if self.blank() else "the end of the file"

    def blank(self) -> bool:
        """Skip white space; False at the end of the text."""
        found = re.compile(r"\s*").match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at < len(self.text)

    def rest(self) -> str:
        """The rest of the line, consumed."""
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        value, self.at = self.text[self.at : end].strip(), end
        return value

    def put(self, key: str, value: Any) -> None:
        if key in self.values:
            self.fail(f"'{key}' comes a second time", "each key once")
        self.values[key] = value

    # -- values ----------------------------------------------------------------------------------------------

    def braces(self, key: str) -> str:
        """Inside of {...} without braces in it."""
        self.blank()
        found = _BRACES.match(self.text, self.at)
        if found is None:
            self.fail(f"'{self.word()}' after '{key}'", "a complete list '{..., ...}'")
        self.at = found.end()
        return found[1]

    def floats(self, key: str) -> np.ndarray:
        body = self.braces(key)
        words = body.split(",")
        try:
            out = np.array([float(w) for w in words])
        except ValueError:
            out = None
        if out is None or not np.isfinite(out).all() or "_" in body or not body.isascii():
            line = self.line
            out = np.array([parse_float(w.strip(), self.path, line, f"finite numbers of {key}") for w in words])
        return out

    def ints(self, key: str) -> np.ndarray:
        words, line = self.braces(key).split(","), self.line
        return np.array([parse_int(w.strip(), self.path, line, f"numbers of {key}") for w in words], np.int64)

    def table(self, key: str) -> np.ndarray:
        """{{a, b, c, d}, ...} as (n, 4)."""
        self.blank()
        found = _ROWS.match(self.text, self.at)
        if found is None:
            self.bad_row(key)
        self.at = found.end()
        body = re.sub(r"[{}\s]", "", found[0])
        return np.array([int(w) for w in body.split(",")] if body else [], np.int64).reshape(-1, 4)

    def bad_row(self, key: str) -> None:
        """Say which entry of a list of four numbers is wrong."""
        start, k, begin = self.at, 0, self.at + 1
        while found := re.compile(rf"[\s,]*{_ROW}", re.ASCII).match(self.text, begin):
            k, begin = k + 1, found.end()
        self.at = begin
        shown = " ".join(self.text[begin : begin + 30].split()) if self.text[start : start + 1] == "{" else self.word()
        self.fail(f"entry {k + 1} of {key} reads '{shown}'", "four whole numbers '{i, j, k, l}' and '}}' at the end")

    def radial(self) -> tuple[list[tuple[int, int]], np.ndarray]:
        """Labels of the blocks and all their rows."""
        funcs, size = (self.values.get(k) for k in ("radial_funcs_count", "radial_basis_size"))
        if funcs is None or size is None:
            self.fail("radial_coeffs before the sizes", "radial_basis_size and radial_funcs_count above it")
        labels, rows = [], []
        while self.blank() and (found := _LABEL.match(self.text, self.at)):
            labels.append((int(found[1]), int(found[2])))
            self.at = found.end()
            for _ in range(funcs):
                row = self.floats("radial_coeffs")
                if len(row) != size:
                    self.fail(f"{len(row)} radial coefficients in a row", f"{size}, as radial_basis_size says")
                rows.append(row)
        if not labels:
            self.fail(f"'{self.word()}' after radial_coeffs", "a label of two types, as in '0-0'")
        return labels, np.array(rows)


def scan(path: Path, text: str) -> Fields:
    """All keys of the text. Raises PotentialFileError."""
    s = _Scanner(path, text)
    if not s.blank() or text[s.at : s.at + 4].split() != ["MTP"]:
        if re.match(r"version\s*=\s*1\.0\.", text[s.at : s.at + 40]):
            s.fail("is the older class of linear potentials (version 1.0.2)", "a moment tensor potential 1.1.0")
        s.fail(f"begins with '{s.word()}'", "the word MTP, with which a moment tensor potential begins")
    s.at += 3
    while s.blank():
        found = _KEY.match(text, s.at)
        if found is None:
            s.fail(f"'{s.word()}'", "a key, as in 'species_count = 1'")
        _refuse(s, found[1])
        line, s.at = s.line, found.end()
        if (found[2] == "=") == (found[1] == "radial_coeffs"):
            s.fail(f"'{found[1]}{' =' if found[2] else ''}'", "'key = value', or radial_coeffs alone")
        _value(s, found[1])
        s.lines[found[1]] = line
    missing = [k for k in _NEEDED if k not in s.values]
    if missing:
        s.fail(f"the file ends without {', '.join(missing[:4])}", "all keys of a .mtp 1.1.0")
    if "version" not in s.values:
        raise PotentialFileError(path, 1, "names no version", "'version = 1.1.0'")
    return Fields(path, s.values, s.lines)


def _refuse(s: _Scanner, key: str) -> None:
    if key in _MAGNETIC:
        expected = "a potential without magnetic moments; magnetic ones (.mmtp) are not part of this family"
        s.fail(f"is a magnetic moment tensor potential ('{key}')", expected)
    if key in _FORKS:
        what = f"'{key}' belongs to a private fork of MLIP, which neither MLIP-2 nor MLIP-3 reads"
        s.fail(what, "the keys of MLIP-2 or MLIP-3")


def _number(s: _Scanner, key: str) -> float:
    line = s.line
    return parse_float(s.rest(), s.path, line, f"a number for {key}")


def _scaling(s: _Scanner) -> None:
    value = _number(s, "scaling")
    s.put("inner_scaling" if "radial_basis_type" in s.values else "scaling", value)


def _version(s: _Scanner) -> None:
    version = s.rest()
    if version != "1.1.0":
        old = "; version 1.0.2 is the older class of linear potentials" if version == "1.0.2" else ""
        s.fail(f"version is '{version[:40]}'{old}", "version 1.1.0")
    s.put("version", version)


def _basis(s: _Scanner) -> None:
    basis = s.rest()
    if basis not in BASES:
        reason = _REFUSED.get(basis, "is not known")
        s.fail(f"the radial basis '{basis[:40]}' {reason}", f"one of {', '.join(BASES)}")
    s.put("radial_basis_type", basis)


_SPECIAL: dict[str, Callable[[_Scanner], None]] = {
    "version": _version, "scaling": _scaling, "radial_basis_type": _basis,
    "potential_tag": lambda s: s.put("potential_tag", s.rest()),
    "potential_name": lambda s: s.put("potential_name", s.rest()),
}  # fmt: skip


def _value(s: _Scanner, key: str) -> None:
    """Read the value of a key into s.values."""
    if key in _SPECIAL:
        _SPECIAL[key](s)
    elif key in _LENGTHS:
        s.put(_LENGTHS[key], _number(s, key))
    elif key in _COUNTS:
        name, low, high = _COUNTS[key]
        line = s.line
        s.put(name, parse_int(s.rest(), s.path, line, f"a number for {key}", low, high))
    elif key in _TABLES:
        s.put(key, s.table(key))
    elif key in _LISTS:
        s.put(key, s.floats(key))
    elif key == "alpha_moment_mapping":
        s.put(key, s.ints(key))
    elif key == "radial_coeffs":
        s.put(key, s.radial())
    else:
        s.fail(f"unknown key '{key[:40]}'", "the keys of a .mtp 1.1.0 of MLIP-2 or MLIP-3")
