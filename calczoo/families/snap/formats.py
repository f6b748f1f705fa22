"""SNAP's native files: `.snapcoeff` + `.snapparam` (pair_style snap), `.mliap.model` + `.mliap.descriptor` (pair_style
mliap with descriptor sna). LAMMPS include files that name them are read by `include.py`.

Comments start with '#'; quotes count as blanks, as in LAMMPS.

    .snapcoeff         nelements ncoeff; per element: symbol R w, then ncoeff lines of one number
    .snapparam         key value; sinner and dinner take one value per element
    .mliap.descriptor  as .snapparam, plus nelems, elems, radelems, welems, sinnerelems, dinnerelems
    .mliap.model       nelements ncoeff; then nelements * ncoeff lines of one number
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.elements import is_element
from ...core.errors import OptionError, PotentialFileError
from ...files.text import find_file, parse_float, parse_int, read_lines, sha256, write_atomic
from .indices import MAX_TWOJMAX, component_count
from .params import SnapParams

_FLAGS = ("switchflag", "bzeroflag", "quadraticflag", "chemflag", "bnormflag", "wselfallflag", "switchinnerflag")
_FLOATS = ("rcutfac", "rfac0", "rmin0")
_IGNORED = ("chunksize", "parallelthresh")
"""Keys that steer LAMMPS' memory only."""
_OTHER_DESCRIPTORS = {"nmax": "so3", "lmax": "so3", "alpha": "so3", "ace": "ace"}

Line = tuple[list[str], int]


def table(path: Path) -> list[Line]:
    """Words and number of every line that has some."""
    out = []
    for k, line in enumerate(read_lines(path), start=1):
        words = re.sub("[\"']", " ", line.split("#", 1)[0]).split()
        if words:
            out.append((words, k))
    return out


# -- keys ----------------------------------------------------------------------------------------------------


def read_keys(path: Path, extra: Sequence[str] = ()) -> dict[str, tuple[list[str], int]]:
    """key -> (values, line) of a `.snapparam` or `.mliap.descriptor`; unknown and contradictory keys are errors."""
    known = {*_FLAGS, *_FLOATS, *_IGNORED, "twojmax", "diagonalstyle", "sinner", "dinner", *extra}
    out: dict[str, tuple[list[str], int]] = {}
    for words, line in table(path):
        key, values = words[0], words[1:]
        if key in _OTHER_DESCRIPTORS and key not in known:
            what = f"key '{key}' belongs to the descriptor {_OTHER_DESCRIPTORS[key]}"
            raise PotentialFileError(path, line, what, "the descriptor sna (SNAP), the only one this family reads")
        if key not in known:
            raise PotentialFileError(path, line, f"unknown key '{key[:40]}'", f"one of {', '.join(sorted(known))}")
        if not values:
            raise PotentialFileError(path, line, f"key '{key}' has no value", "'key value'")
        if key in out and out[key][0] != values:
            raise PotentialFileError(path, line, f"key '{key}' is given a second, different value", "each key once")
        out[key] = (values, line)
    for key in ("rcutfac", "twojmax"):
        if key not in out:
            raise PotentialFileError(path, None, f"key '{key}' is missing", "'rcutfac VALUE' and 'twojmax VALUE'")
    return out


def settings(path: Path, keys: dict[str, tuple[list[str], int]], n: int, inner: tuple[str, str]) -> dict[str, Any]:
    """Values of the keys as SnapParams takes them; n elements; `inner`: names of the keys for sinner and dinner."""
    out: dict[str, Any] = {}
    for key, (values, line) in keys.items():
        if key in inner:
            if len(values) != n:
                raise PotentialFileError(path, line, f"'{key}' has {len(values)} values", f"{n}, one per element")
            out[("sinner", "dinner")[inner.index(key)]] = [parse_float(v, path, line, "a length in A") for v in values]
        elif key in (*_FLAGS, *_FLOATS, "twojmax", "diagonalstyle"):
            if len(values) != 1:
                raise PotentialFileError(path, line, f"key '{key}' has {len(values)} values", "one value")
            if key in _FLAGS:
                out[key] = bool(parse_int(values[0], path, line, "0 or 1", 0, 1))
            elif key in _FLOATS:
                out[key] = parse_float(values[0], path, line, f"a number for {key}")
            elif key == "twojmax":
                out[key] = parse_int(values[0], path, line, "twojmax, the doubled J", 0, MAX_TWOJMAX)
            elif values[0] != "3":  # the only style whose components are those of today's codes
                raise PotentialFileError(path, line, f"diagonalstyle is {values[0]}", "diagonalstyle 3")
    missing = [k for k, name in zip(inner, ("sinner", "dinner"), strict=True) if name not in out]
    if out.get("switchinnerflag") and missing:
        what = f"switchinnerflag is 1, but {' and '.join(missing)} is missing"
        raise PotentialFileError(path, keys["switchinnerflag"][1], what, f"'{missing[0]}' with {n} values")
    if not out.get("switchinnerflag"):
        out.pop("sinner", None), out.pop("dinner", None)
    return out


# -- coefficients --------------------------------------------------------------------------------------------


class _Coefficients:
    """Reads a header `nelements ncoeff` and blocks of ncoeff numbers, one per line."""

    def __init__(self, path: Path):
        self.path, self.lines, self.at = path, table(path), 0
        words, line = self.next("the header 'nelements ncoeff'")
        if len(words) != 2:
            raise PotentialFileError(path, line, f"the header has {len(words)} values", "'nelements ncoeff'")
        self.n_elements = parse_int(words[0], path, line, "the number of elements", 1, 118)
        self.n = parse_int(words[1], path, line, "the number of coefficients per element", 1)
        if self.n * self.n_elements > len(self.lines):
            what = f"the header says {self.n_elements} x {self.n} coefficients, the file has {len(self.lines)} lines"
            raise PotentialFileError(path, line, what, "as many lines as the header says")

    def next(self, expected: str) -> Line:
        if self.at >= len(self.lines):
            raise PotentialFileError(self.path, self.lines[-1][1] if self.lines else None, "the file ends", expected)
        self.at += 1
        return self.lines[self.at - 1]

    def block(self, what: str) -> list[float]:
        out = []
        for k in range(self.n):
            words, line = self.next(f"coefficient {k + 1} of {self.n} of {what}")
            if len(words) != 1:
                raise PotentialFileError(self.path, line, f"{len(words)} values in a line", f"a coefficient of {what}")
            out.append(parse_float(words[0], self.path, line, f"coefficient {k + 1} of {self.n} of {what}"))
        return out

    def end(self) -> None:
        if self.at < len(self.lines):
            words, line = self.lines[self.at]
            raise PotentialFileError(
                self.path, line, f"'{words[0][:40]}' after the last coefficient", "the end of the file"
            )


def read_snap(coeff: Path, param: Path, order: Sequence[str] | None = None) -> SnapParams:
    """Parameters from a `.snapcoeff` and its `.snapparam`.

    order: elements in the order of LAMMPS' types (`pair_coeff * * snap coeff param W Be`), which decides what sinner,
    dinner and the chemflag blocks refer to; None: the file's own order. Raises PotentialFileError.
    """
    reader = _Coefficients(coeff)
    symbols, radii, weights, rows = [], [], [], []
    for _ in range(reader.n_elements):
        words, line = reader.next("'symbol radius weight' of an element")
        if len(words) != 3 or not is_element(words[0]):
            raise PotentialFileError(coeff, line, f"'{' '.join(words)[:60]}'", "'symbol radius weight' of an element")
        if words[0] in symbols:
            raise PotentialFileError(coeff, line, f"element {words[0]} comes twice", "each element once")
        symbols.append(words[0])
        radii.append(parse_float(words[1], coeff, line, f"radius of {words[0]}"))
        weights.append(parse_float(words[2], coeff, line, f"weight of {words[0]}"))
        rows.append(reader.block(words[0]))
    reader.end()
    chosen = list(order or symbols)
    if missing := [s for s in chosen if s not in symbols]:
        raise PotentialFileError(coeff, None, f"has no element {', '.join(missing)}", f"one of {', '.join(symbols)}")
    pick = [symbols.index(s) for s in chosen]
    values = settings(param, read_keys(param), len(chosen), ("sinner", "dinner"))
    if values.get("chemflag") and len(chosen) != len(symbols):
        what = f"elements {', '.join(chosen)} chosen of a chemflag potential"
        raise PotentialFileError(coeff, None, what, f"all of {', '.join(symbols)}")
    given = {"elements": chosen, "radii": np.array(radii)[pick], "weights": np.array(weights)[pick]}
    return _assemble(coeff, param, {**given, **values}, np.array(rows)[pick])


def refuse_network(model: Path) -> None:
    """Say what is wrong with a neural network before its companions are looked for."""
    for words, line in table(model):
        if words[0] == "NET":
            expected = "a linear or quadratic model; neural networks are not part of this family"
            raise PotentialFileError(model, line, "is a neural network", expected)


def read_mliap(model: Path, descriptor: Path, quadratic: bool | None = None) -> SnapParams:
    """Parameters from a `.mliap.model` (linear or quadratic; None: as its number of coefficients says) and its
    `.mliap.descriptor` (sna). Raises PotentialFileError."""
    keys = read_keys(descriptor, ("nelems", "elems", "radelems", "welems", "sinnerelems", "dinnerelems"))
    for key in ("elems", "radelems", "welems"):
        if key not in keys:
            raise PotentialFileError(descriptor, None, f"key '{key}' is missing", f"'{key}' with one value per element")
    symbols, line = keys["elems"]
    for symbol in symbols:
        if not is_element(symbol) or symbols.count(symbol) > 1:
            raise PotentialFileError(descriptor, line, f"'{symbol[:40]}' in elems", "symbols of elements, each once")
    n = len(symbols)
    if "nelems" in keys and keys["nelems"][0] != [str(n)]:
        what = f"nelems is {keys['nelems'][0][0]}, but elems names {n}"
        raise PotentialFileError(descriptor, keys["nelems"][1], what, "as many elements as nelems says")
    numbers = {}
    for key in ("radelems", "welems"):
        words, line = keys[key]
        if len(words) != n:
            raise PotentialFileError(descriptor, line, f"'{key}' has {len(words)} values", f"{n}, one per element")
        numbers[key] = [parse_float(w, descriptor, line, f"a number of {key}") for w in words]
    values = settings(descriptor, keys, n, ("sinnerelems", "dinnerelems"))
    reader = _Coefficients(model)
    if reader.n_elements != n:
        what = f"is for {reader.n_elements} elements, {descriptor.name} for {n}"
        raise PotentialFileError(model, reader.lines[0][1], what, "the same number of elements")
    rows = [reader.block(symbol) for symbol in symbols]
    reader.end()
    linear = 1 + component_count(values["twojmax"]) * (n**3 if values.get("chemflag") else 1)
    values["quadraticflag"] = reader.n != linear if quadratic is None else quadratic
    given = {"elements": symbols, "radii": numbers["radelems"], "weights": numbers["welems"]}
    return _assemble(model, descriptor, {**given, **values}, np.array(rows))


def _assemble(coeff: Path, param: Path, given: dict[str, Any], rows: np.ndarray) -> SnapParams:
    """SnapParams with the facts of the files; inconsistencies between them become PotentialFileError."""
    k = component_count(given["twojmax"]) * (len(given["elements"]) ** 3 if given.get("chemflag") else 1)
    needed = 1 + k + (k * (k + 1) // 2 if given.get("quadraticflag") else 0)
    if rows.shape[1] != needed:
        flags = " ".join(f"{f} {int(given.get(f, False))}" for f in ("quadraticflag", "chemflag"))
        what = f"has {rows.shape[1]} coefficients per element"
        expected = f"{needed} for twojmax {given['twojmax']} {flags} ({param.name})"
        raise PotentialFileError(coeff, None, what, expected)
    given["elements"] = tuple(given["elements"])
    facts = header_facts(coeff)
    facts["files"] = {p.name: sha256(p) for p in (coeff, param)}
    try:
        return SnapParams(coefficients=rows, name=f"snap:{coeff.name}", facts=facts, **given)
    except OptionError as error:
        raise PotentialFileError(param, None, str(error), "a consistent SNAP parameter set") from error


def header_facts(path: Path) -> dict[str, Any]:
    """Citation from LAMMPS' header (`# DATE: ... UNITS: metal CONTRIBUTOR: ... CITATION: ...`); units other than metal
    are refused. The folder name of an electrostatic SNAP, whose charges no SNAP file holds, becomes a note."""
    facts: dict[str, Any] = {}
    for k, line in enumerate(read_lines(path)[:4], start=1):
        if not line.startswith("#"):
            continue
        if (units := re.search(r"\bUNITS:\s*(\S+)", line)) and units[1] != "metal":
            raise PotentialFileError(path, k, f"UNITS: {units[1]}", "UNITS: metal")
        found = re.search(r"\bCITATION:\s*(.+?)(?=\s+(?:DATE|UNITS|CONTRIBUTOR):|\s*$)", line)
        if found and found[1].lower() != "none":
            facts["citation"] = found[1][:500]
    if "esnap" in path.resolve().parent.name.lower():
        facts["extra"] = {"note": "electrostatic SNAP: its point charges and Ewald sum are not included; add them"}
    return facts


# -- writing -------------------------------------------------------------------------------------------------


def with_ghosts(params: SnapParams, symbols: Sequence[str]) -> SnapParams:
    """The same potential knowing further elements that neither feel nor see it (NULL in LAMMPS): weight 0, energy 0.

    Raises OptionError with chemflag, where every element has a density of its own.
    """
    if params.chemflag:
        raise OptionError("a SNAP potential with chemflag cannot leave out an element")
    n = len(symbols)
    more: dict[str, Any] = {}
    if params.switchinnerflag:
        for name in ("sinner", "dinner"):
            old = getattr(params, name)
            more[name] = np.concatenate([old, np.full(n, old.min())])
    return replace(
        params,
        elements=(*params.elements, *symbols),
        radii=np.concatenate([params.radii, np.full(n, params.radii.min())]),
        weights=np.concatenate([params.weights, np.zeros(n)]),
        coefficients=np.concatenate([params.coefficients, np.zeros((n, params.n_coefficients))]),
        **more,
    )


def choose(params: SnapParams, symbols: Sequence[str]) -> SnapParams:
    """The potential of some of its elements, in its own order. With chemflag all are kept: all densities enter."""
    if params.chemflag or set(symbols) == set(params.elements):
        return params
    pick = [k for k, e in enumerate(params.elements) if e in symbols]
    names = ("radii", "weights", "coefficients", "sinner", "dinner")
    cut = {n: getattr(params, n)[pick] for n in names if getattr(params, n) is not None}
    return replace(params, elements=tuple(params.elements[k] for k in pick), **cut)


def write_snap(params: SnapParams, stem: Path, zbl: Any = None) -> list[Path]:
    """Write `stem.snapcoeff`, `stem.snapparam` and the include file `stem.snap`; LAMMPS reads all three.

    zbl: parameters of a ZBL term that belongs to the sum (with inner, outer and charges(a, b)). Returns the paths.
    """
    head = f"# UNITS: metal CITATION: {' '.join(str(params.facts.get('citation') or 'none').split())}\n"
    coeff = [head, f"{params.n_elements} {params.n_coefficients}\n"]
    for symbol, radius, weight, row in zip(
        params.elements, params.radii.tolist(), params.weights.tolist(), params.coefficients.tolist(), strict=True
    ):
        coeff.append(f"{symbol} {radius!r} {weight!r}\n")
        coeff += [f"{c!r}\n" for c in row]
    param = [head, *(f"{k} {float(getattr(params, k))!r}\n" for k in _FLOATS), f"twojmax {params.twojmax}\n"]
    param += [f"{k} {int(getattr(params, k))}\n" for k in _FLAGS]
    if params.switchinnerflag:
        for name in ("sinner", "dinner"):
            param.append(f"{name} {' '.join(repr(x) for x in getattr(params, name).tolist())}\n")
    paths = [stem.with_name(stem.name + s) for s in (".snapcoeff", ".snapparam", ".snap")]
    texts = ["".join(coeff), "".join(param), head + _include(params, stem.name, zbl)]
    return [write_atomic(path, text) for path, text in zip(paths, texts, strict=True)]


def _include(params: SnapParams, stem: str, zbl: Any) -> str:
    """The commands of LAMMPS; type k is the k-th element."""
    files = f"{stem}.snapcoeff {stem}.snapparam {' '.join(params.elements)}"
    if zbl is None:
        return f"pair_style snap\npair_coeff * * {files}\n"
    lines = [f"pair_style hybrid/overlay zbl {zbl.inner!r} {zbl.outer!r} snap"]
    for a, first in enumerate(params.elements):
        for b, second in enumerate(params.elements[a:], start=a):
            if charges := zbl.charges(first, second):
                lines.append(f"pair_coeff {a + 1} {b + 1} zbl {charges[0]:.17g} {charges[1]:.17g}")
    return "\n".join([*lines, f"pair_coeff * * snap {files}"]) + "\n"


def find_companion(path: Path, suffix: str, own: str) -> Path:
    """The file beside `path` with its own suffix replaced."""
    name = path.name[: -len(own)] + suffix
    return find_file(name, f"the file {name} beside {path.name}", beside=path)
