"""LAMMPS commands of the ZBL term: `pair_style zbl inner outer` and `pair_coeff i j Z_i Z_j`."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path

from ...core.errors import OptionError, PotentialFileError
from ...files.text import find_file, parse_float, parse_int, read_lines, sha256, write_atomic
from .params import ZblParams, sorted_pair

_STYLE = "'pair_style zbl INNER OUTER' with 0 < INNER < OUTER"
_COEFF = "'pair_coeff I J Z_I Z_J' with types I and J (or ranges such as *, 2*, *3)"


def read_commands(name: str | os.PathLike, elements: tuple[str, ...]) -> ZblParams:
    """Read a file of LAMMPS commands; `elements` is the type map (type 1 first).

    As LAMMPS does, a pair of unlike types without a line of its own takes the charges of its like pairs.
    Raises PotentialFileError.
    """
    path = find_file(name, "a file of LAMMPS commands with pair_style zbl")
    cutoffs: tuple[float, float] | None = None
    given: dict[tuple[int, int], tuple[float, float]] = {}
    for k, line in enumerate(read_lines(path), start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if words[0] == "pair_style":
            if cutoffs is not None:
                raise PotentialFileError(path, k, "a second pair_style", "one " + _STYLE)
            cutoffs = _pair_style(words, path, k)
        elif words[0] == "pair_coeff":
            given.update(_pair_coeff(words, path, k, len(elements)))
        else:
            raise PotentialFileError(path, k, f"command '{words[0][:40]}'", f"{_STYLE} or {_COEFF}")
    if cutoffs is None:
        raise PotentialFileError(path, None, "no pair_style", _STYLE)
    pairs = {}
    for i, j in itertools.combinations_with_replacement(range(1, len(elements) + 1), 2):
        charges = given.get((i, j))
        if charges is None:
            if (i, i) not in given or (j, j) not in given:
                raise PotentialFileError(path, None, f"no pair_coeff for types {i} and {j}", _COEFF)
            charges = given[i, i][0], given[j, j][0]
        a, b = elements[i - 1], elements[j - 1]
        pairs[sorted_pair(a, b)] = charges if a <= b else charges[::-1]
    return ZblParams(*cutoffs, pairs=pairs, elements=elements, files={path.name: sha256(path)})


def _pair_style(words: list[str], path: Path, line: int) -> tuple[float, float]:
    if len(words) != 4 or words[1] != "zbl":
        raise PotentialFileError(path, line, f"'{' '.join(words)[:80]}'", _STYLE)
    inner, outer = (parse_float(w, path, line, _STYLE) for w in words[2:])
    if not 0.0 < inner < outer <= 100.0:
        raise PotentialFileError(path, line, f"cutoffs {inner} and {outer}", _STYLE + " <= 100 A")
    return inner, outer


def _pair_coeff(words: list[str], path: Path, line: int, n: int) -> dict[tuple[int, int], tuple[float, float]]:
    if len(words) == 6 and words[3] == "zbl":  # written for hybrid/overlay
        words = [*words[:3], *words[4:]]
    if len(words) != 5:
        raise PotentialFileError(path, line, f"'{' '.join(words)[:80]}'", _COEFF)
    first, second = (_types(w, path, line, n) for w in words[1:3])
    za, zb = (parse_float(w, path, line, _COEFF) for w in words[3:])
    if not (0.0 < za <= 200.0 and 0.0 < zb <= 200.0):
        raise PotentialFileError(path, line, f"charges {za:g} and {zb:g}", "nuclear charges between 0 and 200")
    out = {}
    for i, j in itertools.product(first, second):
        if i == j and za != zb:
            raise PotentialFileError(path, line, f"charges {za:g} and {zb:g} for type {i}", "two equal charges")
        if i <= j:
            out[i, j] = za, zb
    if not out:
        raise PotentialFileError(path, line, f"types '{words[1]} {words[2]}'", "I <= J")
    return out


def _types(word: str, path: Path, line: int, n: int) -> range:
    expected = f"a type from 1 to {n} or a range of types with *"
    low, star, high = word.partition("*")
    if not star:
        k = parse_int(word, path, line, expected, 1, n)
        return range(k, k + 1)
    a = parse_int(low, path, line, expected, 1, n) if low else 1
    b = parse_int(high, path, line, expected, 1, n) if high else n
    return range(a, b + 1)


def format_commands(params: ZblParams, elements: tuple[str, ...]) -> str:
    """The LAMMPS commands for the type map `elements`.

    Raises OptionError where a pair of the map has no ZBL term, which `pair_style zbl` alone cannot express.
    """
    lines = [f"pair_style zbl {params.inner!r} {params.outer!r}"]
    for i, j in itertools.combinations_with_replacement(range(len(elements)), 2):
        charges = params.charges(elements[i], elements[j])
        if charges is None:
            raise OptionError(
                f"zbl: pair {elements[i]}-{elements[j]} has no ZBL term; write a hybrid/overlay input by hand instead"
            )
        za, zb = (repr(int(z)) if math.floor(z) == z else repr(z) for z in charges)
        lines.append(f"pair_coeff {i + 1} {j + 1} {za} {zb}")
    return "\n".join(lines) + "\n"


def write_commands(path: str | os.PathLike, params: ZblParams, elements: tuple[str, ...]) -> Path:
    """Write `format_commands` to a file that LAMMPS can include."""
    return write_atomic(path, format_commands(params, elements))
