"""MLIP-3's `.almtp`: the text of a `.mtp`, then the active set; and MLIP-2's `.als` (read only).

    text of the potential
    #MVS_v1.1
    energy_weight ...      force_weight, stress_weight, site_en_weight, weight_scaling: five lines
    #A Ainv_T              two n x n matrices of little-endian float64; A @ Ainv_T.T = 1
    #
    cfg_index eqn_index    n lines; -1 -1 where a row is still the initial one
    #
    selected configurations, as in a .cfg file

n is the number of coefficients. An `.als` has `^`, four float64 weights (neighbourhoods, energy, forces, stress), `#`,
the matrices, a line end, n lines `row cfg_index` and the configurations. An `.almtp` without #MVS has no active set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...core.errors import OptionError, PotentialFileError
from ...files.compressed import read_bytes, write_packed
from ...files.text import find_file, parse_float, parse_int
from .params import ActiveSet, MtpParams
from .text_mtp import decode, format_potential, parse_potential

MARK = b"#MVS_v1.1"
ALS_MARK = b"\n^"
_WEIGHTS = ("energy_weight", "force_weight", "stress_weight", "site_en_weight", "weight_scaling")
_EXPECTED = "a complete active set, as MLIP writes it"
_INVERSE = 1e-6
"""Largest |A (B v) - v| in units of |A| |B| |v|; files of MLIP have 1e-11 and less."""
_BYTES = ": bytes of the matrices are missing, as after a conversion of line ends; the text before #MVS is a whole .mtp"
_LINE = re.compile(rb"[ \t]*(-?\d{1,9})[ \t]+(-?\d{1,9})[ \t]*\r?\n")


def read_almtp(path: str | Path, elements: str | Sequence[str] | None = None) -> MtpParams:
    """A trained `.almtp` (also .xz, .gz) with its active set, if it has one.

    elements: as for read_mtp. Raises PotentialFileError and OptionError as read_mtp does.
    """
    path = find_file(path, "an .almtp file")
    raw, digest = read_bytes(path)
    at = raw.find(b"#MVS")
    text = decode(path, raw if at < 0 else raw[:at])
    return _with_active(path, parse_potential(path, text, elements, digest, by_label=True), raw, at, elements)


def read_als(path: str | Path, elements: str | Sequence[str] | None = None) -> MtpParams:
    """The state file of MLIP-2's selection: a potential with its active set."""
    path = find_file(path, "an .als file")
    raw, digest = read_bytes(path)
    at = raw.find(ALS_MARK)
    text = decode(path, raw if at < 0 else raw[:at])
    return _with_active(path, parse_potential(path, text, elements, digest), raw, at, elements)


def _with_active(path: Path, params: MtpParams, raw: bytes, at: int, elements: object) -> MtpParams:
    if at < 0:
        return params
    n = _coefficients(params, raw[:at])
    active = (_Active if raw[at : at + 1] == b"#" else _Als)(path, raw, at, n).read()
    # an active set spans all elements of the file; a part of them goes without
    return replace(params, active=active) if n == params.n_coefficients else params


def _coefficients(params: MtpParams, text: bytes) -> int:
    """Coefficients of the whole file, of which `params` may have only some elements."""
    found = re.search(rb"species_count\s*=\s*(\d+)", text)
    c = int(found[1]) if found else params.n_elements
    return c * c * params.radial.shape[2] * params.radial.shape[3] + c + params.n_basis


class _Active:
    """Reads the part after the text. `at` is the place of its mark, n the number of coefficients."""

    def __init__(self, path: Path, raw: bytes, at: int, n: int):
        self.path, self.raw, self.at, self.n = path, raw, at, n

    def fail(self, what: str, expected: str = _EXPECTED) -> None:
        raise PotentialFileError(self.path, None, what, expected)

    def skip(self, text: bytes, what: str, why: str = "") -> None:
        """Step over a mark that must be at this place, `what`."""
        found = self.raw[self.at : self.at + len(text)]
        if found != text:
            self.fail(f"{what} is {found!r}{why}" if found else f"the file ends where {what} is", repr(text.decode()))
        self.at += len(text)

    def read(self) -> ActiveSet:
        weights = self.weights()
        self.skip(b"#", "the mark before the matrices of the active set")
        a, inv_t = self.matrix(), self.matrix()
        self.between()
        equations = self.equations()
        self.last()
        return self.make(a, inv_t, equations, self.configurations(equations), weights)

    def make(self, a: np.ndarray, inv_t: np.ndarray, equations: np.ndarray, text: str, weights: dict) -> ActiveSet:
        try:
            active = ActiveSet(a=a, inv_t=inv_t, equations=equations, configurations=text, **weights)
        except OptionError as error:
            raise PotentialFileError(self.path, None, str(error), _EXPECTED) from error
        v = np.random.default_rng(0).standard_normal(self.n)
        scale = np.abs(a) @ (np.abs(inv_t.T) @ np.abs(v))
        if (np.abs(a @ (inv_t.T @ v) - v) > _INVERSE * scale).any():
            self.fail("the two matrices of the active set are not inverse to each other")
        return active

    # -- parts of an .almtp ----------------------------------------------------------------------------------

    def weights(self) -> dict[str, float]:
        end = self.raw.find(b"\n", self.at)
        line = self.raw[: self.at].count(b"\n") + 1
        if self.raw[self.at : end].rstrip() != MARK:
            what = f"the active set begins with {self.raw[self.at : self.at + 20]!r}"
            raise PotentialFileError(self.path, line, what, f"the version {MARK.decode()}")
        self.at, out = end + 1, {}
        for key in _WEIGHTS:
            end, line = self.raw.find(b"\n", self.at), line + 1
            words = self.raw[self.at : max(end, self.at)][:200].decode("latin-1").split()
            if len(words) != 2 or words[0] != key:
                raise PotentialFileError(self.path, line, f"'{' '.join(words)[:60]}'", f"'{key} VALUE'")
            out[key] = parse_float(words[1], self.path, line, f"a number for {key}")
            self.at = end + 1
        return out

    def matrix(self) -> np.ndarray:
        size = 8 * self.n * self.n
        if len(self.raw) - self.at < size:
            what = f"only {len(self.raw) - self.at} bytes are left for a matrix of the active set"
            self.fail(what, f"{size} bytes, {self.n} x {self.n} numbers for {self.n} coefficients")
        out = np.frombuffer(self.raw, "<f8", self.n * self.n, self.at).reshape(self.n, self.n).astype(np.float64)
        self.at += size
        return out

    def between(self) -> None:
        self.skip(b"\n#\n", "the mark after the matrices of the active set", _BYTES)

    def last(self) -> None:
        self.skip(b"#\n", "the mark after the equations of the active set")

    def equations(self) -> np.ndarray:
        out = np.empty((self.n, 2), np.int64)
        for k in range(self.n):
            found = _LINE.match(self.raw, self.at)
            if found is None:
                what = f"equation {k + 1} of {self.n} reads {self.raw[self.at : self.at + 20]!r}"
                self.fail(what, "two whole numbers, configuration and equation")
            pair = [parse_int(w.decode(), self.path, None, "an index", -1) for w in found.groups()]
            out[k], self.at = pair, found.end()
        return out

    def configurations(self, equations: np.ndarray) -> str:
        """Text of the selected configurations, kept as it is."""
        text = self.raw[self.at :].decode("utf-8", "surrogateescape")
        begun, ended = text.count("BEGIN_CFG"), text.count("END_CFG")
        if begun != ended:
            self.fail(f"{begun} selected configurations begin and {ended} end")
        if begun and equations[:, 0].max() >= begun:
            self.fail(f"an equation refers to configuration {equations[:, 0].max()} of {begun}")
        return text


class _Als(_Active):
    """The same of an `.als`."""

    def weights(self) -> dict[str, float]:
        self.at += len(ALS_MARK)
        if len(self.raw) - self.at < 32:
            self.fail("the file ends in the weights of the active set")
        site, energy, force, stress = np.frombuffer(self.raw, "<f8", 4, self.at).tolist()
        self.at += 32
        self.skip(b"\n", "the end of the weights of the active set")
        names = {"energy_weight": energy, "force_weight": force, "stress_weight": stress, "site_en_weight": site}
        return {**names, "weight_scaling": 2.0}

    def between(self) -> None:
        self.skip(b"\n", "the end of the matrices of the active set", _BYTES)

    def equations(self) -> np.ndarray:
        """Its lines are row and configuration; the rows are energies."""
        lines = super().equations()
        if not np.array_equal(lines[:, 0], np.arange(self.n)):
            self.fail("the rows of the active set are not numbered from 0")
        return np.column_stack([lines[:, 1], np.zeros(self.n, np.int64)])

    def last(self) -> None:
        """Nothing stands between the lines and the configurations."""


# -- writing -------------------------------------------------------------------------------------------------


def format_almtp(params: MtpParams) -> bytes:
    """Content of the file; without an active set it is the text of the potential only."""
    text = format_potential(params).encode()
    active = params.active
    if active is None:
        return text + b"\n"
    weights = [f"{key} {getattr(active, key):.16e}\n" for key in _WEIGHTS[:4]]
    weights.append(f"weight_scaling {active.weight_scaling:.17g}\n")
    equations = "".join(f"{a} {b}\n" for a, b in active.equations.tolist())
    return b"".join(
        [
            text,
            b"\n" + MARK + b"\n" + "".join(weights).encode() + b"#",
            active.a.astype("<f8").tobytes(),
            active.inv_t.astype("<f8").tobytes(),
            b"\n#\n" + equations.encode() + b"#\n",
            active.configurations.encode("utf-8", "surrogateescape"),
        ]
    )


def write_almtp(params: MtpParams, path: str | Path) -> Path:
    """Write an `.almtp` (or .almtp.xz, .almtp.gz) that MLIP-3 and LAMMPS read; it gives the same bits back.

    Without an active set the file holds the potential only, as MLIP-3's own files do before a selection.
    """
    return write_packed(path, format_almtp(params))
