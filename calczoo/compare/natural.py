"""The reference code of a potential: what LAMMPS or QUIP must be told to evaluate the same files.

    eam    pair_style eam, eam/alloy, eam/fs, eam/he, adp        zbl    pair_style zbl
    sw     pair_style sw                                          table  pair_style table
    tersoff  pair_style tersoff                                   meam   pair_style meam
    snap   pair_style snap, or the include file itself            gap    quippy with the same .xml

A sum becomes hybrid/overlay, with factors hybrid/scaled. Only names of files and numbers are handed on: the other code
reads the files itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from ..core.errors import CalczooError
from ..family import ModelRequest
from ..files.lammps import parse_labels
from ..registry import get_calculator, get_family, read_params


@dataclass(frozen=True)
class Counterpart:
    """A calculator of another code: arguments of get_calculator."""

    family: str
    label: str
    model: str | None = None
    elements: tuple[str, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def calculator(self, threads: int | None = None) -> Any:
        elements = None if self.elements is None else list(self.elements)
        return get_calculator(self.family, self.model, elements, "cpu", threads=threads, **self.options)


@dataclass(frozen=True)
class Part:
    """One pair style of LAMMPS: name, arguments, and coefficients as (types, words); mixes: whether those of equal
    types are enough; include: a file of commands that stands for the whole."""

    style: str = ""
    arguments: str = ""
    coefficients: tuple[tuple[str, str], ...] = ()
    mixes: bool = False
    include: str = ""


class NoCounterpart(Exception):
    """Why there is none."""


def counterpart(terms: Sequence[tuple[float, ModelRequest]], elements: Sequence[str]) -> Counterpart | str:
    """The reference code for a potential of these terms and elements, or the reason why none is known."""
    try:
        if len(terms) == 1 and terms[0][1].family == "gap":
            return Counterpart("quippy", "quippy", _file(terms[0][1]))
        parts = [(factor, _part(request, tuple(elements))) for factor, request in terms]
        if any(part.include for _, part in parts):
            if len(parts) > 1 or parts[0][0] != 1.0:
                raise NoCounterpart("a sum with an include file of LAMMPS is not put together here; use --with")
            return Counterpart("lammps", "lammps include file", parts[0][1].include)
        return _commands(parts, tuple(elements))
    except NoCounterpart as why:
        return str(why)


def _part(request: ModelRequest, elements: tuple[str, ...]) -> Part:
    make = _PARTS.get(request.family)
    if make is None:
        raise NoCounterpart(f"no reference code is known for '{request.family}'; name one with --with")
    try:
        return make(request, elements)
    except CalczooError as error:
        raise NoCounterpart(f"{request.family}: {error}") from error


def _commands(parts: list[tuple[float, Part]], elements: tuple[str, ...]) -> Counterpart:
    style, coefficients = _alone(parts[0][1]) if len(parts) == 1 and parts[0][0] == 1.0 else _summed(parts)
    covered = _covered(parts, len(elements))
    if missing := [p for p in combinations_with_replacement(range(1, len(elements) + 1), 2) if p not in covered]:
        if not style.startswith("hybrid"):
            style, coefficients = _summed(parts)
        coefficients += [f"{a} {b} none" for a, b in missing]
    label = "lammps " + " + ".join(part.style for _, part in parts)
    return Counterpart("lammps", label, None, elements, {"pair_style": style, "pair_coeff": coefficients})


def _alone(part: Part) -> tuple[str, list[str]]:
    return f"{part.style} {part.arguments}".strip(), [f"{types} {words}" for types, words in part.coefficients]


def _summed(parts: list[tuple[float, Part]]) -> tuple[str, list[str]]:
    scaled = any(factor != 1.0 for factor, _ in parts)
    names = [part.style for _, part in parts]
    style, coefficients = ["hybrid/scaled" if scaled else "hybrid/overlay"], []
    for k, (factor, part) in enumerate(parts):
        style += [f"{factor:.17g}"] if scaled else []
        style += [part.style, part.arguments]
        number = f" {names[: k + 1].count(part.style)}" if names.count(part.style) > 1 else ""
        coefficients += [f"{types} {part.style}{number} {words}" for types, words in part.coefficients]
    return " ".join(filter(None, style)), coefficients


def _covered(parts: list[tuple[float, Part]], n: int) -> set[tuple[int, int]]:
    """Pairs of types for which some part has coefficients."""
    out: set[tuple[int, int]] = set()
    for _, part in parts:
        for types, _ in part.coefficients:
            if types == "* *" or part.mixes:
                return set(combinations_with_replacement(range(1, n + 1), 2))
            a, b = sorted(int(t) for t in types.split())
            out.add((a, b))
    return out


# -- families ------------------------------------------------------------------------------------------------


def _file(request: ModelRequest) -> str:
    if isinstance(request.model, tuple) or request.model is None:
        raise NoCounterpart(f"{request.family} of {request.model!r} is not one file")
    return _path(request.model)


def _path(name: Any) -> str:
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise NoCounterpart(f"{name} is no file that another code could read")
    return f'"{path}"' if re.search(r"\s", str(path)) else str(path)


def _eam(request: ModelRequest, elements: tuple[str, ...]) -> Part:
    params = read_params(request)
    files = request.model if isinstance(request.model, tuple) else (request.model,)
    if params.style != "funcfl":
        style = "adp" if params.style == "adp" else f"eam/{params.style}"
        return Part(style, "", (("* *", f"{_path(files[0])} {' '.join(elements)}"),))
    of = {e: f for f in files for e in read_params(replace(request, model=f, elements=None)).elements}
    coefficients = tuple((f"{k} {k}", _path(of[e])) for k, e in enumerate(elements, start=1))
    return Part("eam", "", coefficients, mixes=True)


def _by_labels(style: str) -> Callable[[ModelRequest, tuple[str, ...]], Part]:
    """Styles whose file has one entry for each triple of labels."""

    def part(request: ModelRequest, elements: tuple[str, ...]) -> Part:
        labels = parse_labels(request.options.get("labels"))
        known = read_params(request).elements
        label = dict(zip(known, labels or known, strict=True))
        return Part(style, "", (("* *", f"{_file(request)} {' '.join(label[e] for e in elements)}"),))

    return part


def _snap(request: ModelRequest, elements: tuple[str, ...]) -> Part:
    from ..families.snap.load import DEFAULTS, MODELS, find_companion

    if str(request.model) in get_family("snap").bundled:
        name = str(request.model)
        return Part(include=_path(MODELS / f"{DEFAULTS.get(name, name)}.snap"))
    files = request.model if isinstance(request.model, tuple) else (request.model,)
    path = Path(str(files[0]))
    if path.name.endswith((".snap", ".mliap")):
        return Part(include=_file(request))
    if path.name.endswith((".snapcoeff", ".snapparam")):
        by = {p.suffix: p for p in map(Path, map(str, files))}
        coeff = by.get(".snapcoeff") or find_companion(by[".snapparam"], ".snapcoeff", ".snapparam")
        param = by.get(".snapparam") or find_companion(coeff, ".snapparam", ".snapcoeff")
        return Part("snap", "", (("* *", f"{_path(coeff)} {_path(param)} {' '.join(elements)}"),))
    raise NoCounterpart(f"no commands are known for {path.name}; name an include file with --with lammps:FILE")


def _zbl(request: ModelRequest, elements: tuple[str, ...]) -> Part:
    params = read_params(request)
    charges = getattr(params, "pairs", None)
    coefficients = []
    for (i, a), (j, b) in combinations_with_replacement(enumerate(elements, start=1), 2):
        za, zb = float(atomic_numbers[a]), float(atomic_numbers[b])
        if charges:
            if (a, b) not in charges and (b, a) not in charges:
                continue
            za, zb = charges[a, b] if (a, b) in charges else charges[b, a][::-1]
        coefficients.append((f"{i} {j}", f"{za:.17g} {zb:.17g}"))
    return Part("zbl", f"{params.inner:.17g} {params.outer:.17g}", tuple(coefficients))


def _table(request: ModelRequest, elements: tuple[str, ...]) -> Part:
    files = request.model if isinstance(request.model, tuple) else (request.model,)
    options, params = request.options, read_params(request)
    cut = f" {float(options['cut']):.17g}" if options.get("cut") is not None else ""
    coefficients = []
    for (a, b), entry in params.entries.items():
        if a in elements and b in elements:
            file = next(f for f in files if Path(str(f)).name in entry.files)
            i, j = sorted((elements.index(a) + 1, elements.index(b) + 1))
            coefficients.append((f"{i} {j}", f"{_path(file)} {entry.keyword}{cut}"))
    return Part("table", f"{params.style} {params.n}", tuple(coefficients))


def _meam(request: ModelRequest, elements: tuple[str, ...]) -> Part:
    """library.meam and the file of parameters, in this order."""
    if not isinstance(request.model, tuple) or len(request.model) != 2:
        raise NoCounterpart("meam needs model=(library.meam, parameters.meam) for a reference")
    library, parameters = map(_path, request.model)
    names = " ".join(elements)
    return Part("meam", "", (("* *", f"{library} {names} {parameters} {names}"),))


_PARTS: dict[str, Callable[[ModelRequest, tuple[str, ...]], Part]] = {
    "eam": _eam,
    "meam": _meam,
    "snap": _snap,
    "sw": _by_labels("sw"),
    "table": _table,
    "tersoff": _by_labels("tersoff"),
    "zbl": _zbl,
}

