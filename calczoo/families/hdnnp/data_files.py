"""The number files beside input.nn: scaling.data, weights.%03d.data, weightse.%03d.data, hardness.%03d.data.

%03d is the atomic number; # begins a comment; every file may be packed (.xz, .gz). Layouts as n2p2 writes them, read as
RuNNer writes them too:
    scaling.data    element function min max mean [sigma]     both counted from 1; two numbers at the end are RuNNer's
    weights         number in the first column: layer by layer the weights input by input, then the biases
    hardness        one number
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.errors import PotentialFileError
from ...files.compressed import SUFFIXES, read_bytes
from ...files.text import parse_float, parse_int
from .input_nn import text_lines
from .params import Network

MAX_FILE = 256 << 20
"""Bytes of one file, unpacked: some ten million weights."""


@dataclass(frozen=True)
class DataFile:
    """A file that was read: where it lies, its bytes unpacked, and the sha256 of what lies there."""

    path: Path
    raw: bytes
    digest: str

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and words of every line that is not empty."""
        for k, line in enumerate(text_lines(self.path, self.raw), 1):
            if words := line.split("#", 1)[0].split():
                yield k, words


def find(folder: Path, name: str) -> Path | None:
    """The file of that name, or packed."""
    for suffix in ("", *SUFFIXES):
        try:
            if (path := folder / f"{name}{suffix}").is_file():
                return path
        except OSError:
            return None
    return None


def open_file(folder: Path, name: str, expected: str, max_bytes: int = MAX_FILE) -> DataFile:
    """Raises PotentialFileError naming a file that is not there."""
    path = find(folder, name)
    if path is None:
        raise PotentialFileError(folder / name, None, "does not exist", expected)
    raw, digest = read_bytes(path, max_bytes)
    return DataFile(path, raw, digest)


def read_scaling(file: DataFile, elements: Sequence[str], counts: Sequence[int], sigma: bool) -> list[np.ndarray]:
    """(K, 4) of each element: min, max, mean, sigma (0 where the file has none). sigma: True where it is needed.

    Rows are taken one after the other; those behind the last function must be RuNNer's two numbers of energies or
    charges. Raises PotentialFileError.
    """
    rows, out = list(file.rows()), []
    expected = f"'element function min max mean{' sigma' if sigma else ' [sigma]'}'"
    at = 0
    for e, (symbol, count) in enumerate(zip(elements, counts, strict=True), 1):
        if at + count > len(rows):
            what = f"the file ends with {len(rows) - at} functions of {symbol}"
            raise PotentialFileError(file.path, rows[-1][0] if rows else 1, what, f"{count}, as input.nn lists")
        out.append(np.array([_scaling_row(file, rows[at + k], e, k + 1, expected, sigma) for k in range(count)]))
        at += count
    for line, words in rows[at:]:
        if len(words) > 3:
            what = f"a row of scaling after the last function of {elements[-1]}"
            raise PotentialFileError(file.path, line, what, f"{sum(counts)} functions, as input.nn lists")
    return out


def _scaling_row(
    file: DataFile, row: tuple[int, list[str]], element: int, function: int, expected: str, sigma: bool
) -> list[float]:
    line, words = row
    if not 5 + sigma <= len(words) <= 6:
        raise PotentialFileError(file.path, line, f"{len(words)} values", expected)
    place = [parse_int(w, file.path, line, expected) for w in words[:2]]
    if place != [element, function]:
        what = f"a row of element {place[0]}, function {place[1]}"
        raise PotentialFileError(file.path, line, what, f"element {element}, function {function}, as input.nn lists")
    values = [parse_float(w, file.path, line, expected) for w in words[2:]]
    return [*values, *[0.0] * (4 - len(values))]


def check_ranges(file: DataFile, scaling: Sequence[np.ndarray], elements: Sequence[str], mode: str) -> None:
    """A range of zero cannot be divided by. Raises PotentialFileError."""
    if mode in ("none", "center"):
        return
    for symbol, table in zip(elements, scaling, strict=True):
        width = table[:, 3] if mode == "sigma" else table[:, 1] - table[:, 0]
        bad = np.flatnonzero(~(width > 0))
        if len(bad):
            kind = "sigma" if mode == "sigma" else "a range of"
            what = f"function {bad[0] + 1} of {symbol} has {kind} {width[bad[0]]:g}"
            raise PotentialFileError(file.path, None, what, "a positive one; remove a function that is constant")


def read_weights(file: DataFile) -> np.ndarray:
    """The numbers of the first column. Raises PotentialFileError."""
    rows = list(file.rows())
    words = [w[0] for _, w in rows]
    try:
        out = np.array([float(w) for w in words])
    except ValueError:
        out = np.array([np.nan])
    if not np.isfinite(out).all() or any("_" in w or not w.isascii() for w in words):
        expected = "a weight or bias in the first column"
        out = np.array([parse_float(w[0], file.path, line, expected) for line, w in rows])
    return out


def read_number(file: DataFile, what: str) -> float:
    """The one number of a file. Raises PotentialFileError."""
    rows = list(file.rows())
    if len(rows) != 1:
        line = rows[1][0] if rows else None
        raise PotentialFileError(file.path, line, f"holds {len(rows)} lines of values", f"one number, {what}")
    return parse_float(rows[0][1][0], file.path, rows[0][0], what)


# -- writing -------------------------------------------------------------------------------------------------

_RULE = "#" * 80 + "\n"


def _head(title: str, columns: Sequence[tuple[str, str]]) -> str:
    lines = [f"# {k} {name:<10} {text}\n" for k, (name, text) in enumerate(columns, 1)]
    return _RULE + f"# {title}\n" + _RULE + "".join(lines) + _RULE


def format_scaling(tables: Sequence[np.ndarray]) -> str:
    """Text of scaling.data; no empty lines, which n2p2 does not read."""
    columns = [
        ("e_index", "element, in the order of atomic numbers"),
        ("sf_index", "symmetry function, in the order of the network's inputs"),
        ("sf_min", "smallest value in the training set"),
        ("sf_max", "largest value"),
        ("sf_mean", "mean value"),
        ("sf_sigma", "standard deviation"),
    ]
    rows = [
        f"{e:10d} {k:10d} {' '.join(f'{x:24.16E}' for x in row)}\n"
        for e, table in enumerate(tables, 1)
        for k, row in enumerate(table.tolist(), 1)
    ]
    return _head("Scaling of symmetry functions.", columns) + "".join(rows)


def format_weights(network: Network) -> str:
    """Text of a weights file."""
    columns = [
        ("connection", "weight or bias"),
        ("t", "a: weight, b: bias"),
        ("index", "counted from 1"),
        ("l_s", "layer where a weight starts, or of a bias"),
        ("n_s", "node where a weight starts, or of a bias"),
        ("l_e", "layer where a weight ends"),
        ("n_e", "node where a weight ends"),
    ]
    rows, index = [], 0
    for layer, (weights, biases) in enumerate(zip(network.weights, network.biases, strict=True), 1):
        for i, row in enumerate(weights.tolist(), 1):
            for j, x in enumerate(row, 1):
                index += 1
                rows.append(f"{x:24.16E} a {index:9d} {layer - 1:5d} {i:5d} {layer:5d} {j:5d}\n")
        for j, x in enumerate(biases.tolist(), 1):
            index += 1
            rows.append(f"{x:24.16E} b {index:9d} {layer:5d} {j:5d}\n")
    return _head("Weights and biases of a network.", columns) + "".join(rows)


def format_number(x: float) -> str:
    """Text of a file of one number."""
    return f"{x:.16E}\n"
