"""Read and write setfl (alloy, Finnis-Sinclair, He, ADP) and funcfl files.

A setfl file has three comment lines, a line `N El1 .. ElN`, a line `Nrho drho Nr dr cutoff [rhomax]`, and then

    per element       a line `Z mass a lattice`, F (Nrho values), density (Nr; Finnis-Sinclair: N tables, one a host)
    per pair i >= j   r phi (Nr); ADP: then all dipole tables u, then all quadrupole tables w, in the same order

Every table starts on a new line. Which of the forms a file has follows from where its element lines and its end are;
for one element alloy and Finnis-Sinclair are the same. The sixth number of line 5 marks eam/he, whose densities run
from rhomax - (Nrho - 1) drho to rhomax. A funcfl file has one comment line, `Z mass a lattice`, `Nrho drho Nr dr
cutoff`, and then F, Z and rho.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.elements import SYMBOLS, is_element
from ...core.errors import OptionError, PotentialFileError
from ...files.text import parse_float, parse_int, read_lines, sha256, write_atomic
from .params import STYLES, EamParams, Funcfl, Header, TableError

SETFL = ("alloy", "fs", "adp")


class Body:
    """The tokens of a file from one line on, with a place that moves; tables and headers end where a line ends."""

    def __init__(self, path: Path, lines: list[str], start: int):
        self.path, self.lines = path, lines
        self.tokens: list[str] = []
        self.line_of: list[int] = []
        self.ends: set[int] = {0}
        for k in range(start, len(lines)):
            words = lines[k].split("#", 1)[0].split()
            self.tokens += words
            self.line_of += [k + 1] * len(words)
            self.ends.add(len(self.tokens))
        self.at = 0

    def line(self, at: int) -> int:
        return self.line_of[at] if at < len(self.tokens) else len(self.lines)

    def skip_table(self, count: int, what: str) -> slice:
        """Place of a table of `count` values, which must end with a line."""
        start, stop = self.at, self.at + count
        if stop > len(self.tokens):
            expected = f"{count} values of {what}, not {len(self.tokens) - start}"
            raise PotentialFileError(self.path, self.line(stop), "the file ends", expected)
        self.at = stop
        if stop not in self.ends:
            expected = f"the last of {count} values of {what} to end it"
            raise PotentialFileError(self.path, self.line(stop), "the line goes on", expected)
        return slice(start, stop)

    def skip_line(self, what: str) -> slice:
        """Place of the tokens of the next line that has any."""
        start = self.at
        if start >= len(self.tokens):
            raise PotentialFileError(self.path, self.line(start), "the file ends", what)
        stop = start + 1
        while stop not in self.ends:
            stop += 1
        self.at = stop
        return slice(start, stop)

    def table(self, place: slice, what: str) -> np.ndarray:
        """The finite numbers at a place."""
        words = self.tokens[place]
        try:
            values = np.array(list(map(float, words)))
        except ValueError:
            values = np.array([np.nan])
        if not np.isfinite(values).all() or not all(map(str.isascii, words)) or any("_" in w for w in words):
            expected = f"a number of {what}"
            lines = self.line_of[place]
            values = np.array([parse_float(w, self.path, k, expected) for w, k in zip(words, lines, strict=True)])
        return values


@dataclass(frozen=True)
class Grid:
    """Line 5 of setfl, line 3 of funcfl."""

    nrho: int
    drho: float
    nr: int
    dr: float
    cutoff: float
    rho_max: float | None = None


# -- reading --------------------------------------------------------------------------------------------------


def read_file(path: Path, style: str | None = None) -> EamParams | Funcfl:
    """Any of the formats; `style` takes the place of looking at the content. Raises PotentialFileError, OptionError."""
    if style is not None and style not in STYLES:
        raise OptionError(f"style is {style!r}; allowed are {', '.join(STYLES)}")
    lines = read_lines(path)
    try:
        if style == "funcfl" or (style is None and _looks_like_funcfl(lines)):
            return read_funcfl(path, lines)
        if style is None and not _looks_like_setfl(lines):
            expected = "'N El1 .. ElN' on line 4 (setfl) or 'Nrho drho Nr dr cutoff' on line 3 (funcfl)"
            raise PotentialFileError(path, None, "is neither a setfl nor a funcfl file", expected)
        return read_setfl(path, lines, style)
    except TableError as error:
        raise PotentialFileError(path, None, str(error), "tables that define a potential") from error


def _words(lines: list[str], k: int) -> list[str]:
    return lines[k].split("#", 1)[0].split() if k < len(lines) else []


def _numeric(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _looks_like_setfl(lines: list[str]) -> bool:
    words = _words(lines, 3)
    return len(words) > 1 and _numeric(words[0]) and not _numeric(words[1])


def _looks_like_funcfl(lines: list[str]) -> bool:
    second, third = _words(lines, 1), _words(lines, 2)
    numbers = len(third) >= 5 and all(map(_numeric, third[:5]))
    return numbers and len(second) >= 2 and _numeric(second[0]) and not _looks_like_setfl(lines)


def _grid(path: Path, lines: list[str], k: int) -> Grid:
    """Counts larger than the file are refused before anything is allocated."""
    expected = "'Nrho drho Nr dr cutoff'"
    words, line = _words(lines, k), k + 1
    if len(words) < 5:
        raise PotentialFileError(path, line, f"has {len(words)} values", expected)
    most = sum(map(len, lines)) // 2 + 1
    nrho = parse_int(words[0], path, line, f"{expected}, the number of densities at most {most}", 1, most)
    nr = parse_int(words[2], path, line, f"{expected}, the number of distances at most {most}", 1, most)
    drho, dr, cutoff = (parse_float(words[m], path, line, expected) for m in (1, 3, 4))
    rho_max = parse_float(words[5], path, line, expected + " and perhaps rhomax") if len(words) > 5 else None
    return Grid(nrho, drho, nr, dr, cutoff, rho_max)


def _header(body: Body, place: slice) -> Header:
    """`Z mass a lattice`, of which the last two may be absent."""
    words, path, line = body.tokens[place], body.path, body.line(place.start)
    expected = "a line 'Z mass a lattice'"
    z = parse_int(words[0], path, line, expected, 0, 10**6)
    mass = parse_float(words[1], path, line, expected) if len(words) > 1 else 0.0
    constant = parse_float(words[2], path, line, expected) if len(words) > 2 else 0.0
    lattice = " ".join(words[3:4]) or "fcc"
    return Header(z, mass, constant, lattice if lattice.isascii() else "unknown")


def read_funcfl(path: Path, lines: list[str]) -> Funcfl:
    """One element; it is named by its atomic number."""
    grid = _grid(path, lines, 2)
    head = Body(path, lines[:2], 1)
    header = _header(head, head.skip_line("a line 'Z mass a lattice'"))
    if not 1 <= header.number < len(SYMBOLS):
        raise PotentialFileError(path, 2, f"atomic number {header.number}", "1 to 118, which names the element")
    body = Body(path, lines, 3)
    tables = {}
    for what, count in (("F(rho)", grid.nrho), ("Z(r)", grid.nr), ("rho(r)", grid.nr)):
        tables[what] = body.table(body.skip_table(count, what), what)
    _check_end(body)
    return Funcfl(
        element=SYMBOLS[header.number],
        header=header,
        drho=grid.drho,
        dr=grid.dr,
        cutoff=grid.cutoff,
        embedding=tables["F(rho)"],
        charge=tables["Z(r)"],
        density=tables["rho(r)"],
        comment=lines[0],
    )


@dataclass(frozen=True)
class Layout:
    """Where the tables of a setfl file are."""

    headers: tuple[slice, ...]
    embedding: tuple[slice, ...]
    density: tuple[tuple[slice, ...], ...]
    pairs: tuple[tuple[slice, ...], ...]  # r phi, u, w


def _layout(body: Body, style: str, elements: tuple[str, ...], grid: Grid) -> Layout:
    """Walk through the file; `body.at` tells how far that went when PotentialFileError is raised."""
    body.at = 0
    headers, embedding, density = [], [], []
    hosts = len(elements) if style in ("fs", "he") else 1
    for e in elements:
        place = body.skip_line(f"the line 'Z mass a lattice' of {e}")
        if len(body.tokens[place]) < 2 or not all(map(_numeric, body.tokens[place][:2])):
            body.at = place.start
            found = " ".join(body.tokens[place][:3])
            expected = f"the line 'Z mass a lattice' of {e}"
            raise PotentialFileError(body.path, body.line(place.start), f"found '{found[:60]}'", expected)
        headers.append(place)
        embedding.append(body.skip_table(grid.nrho, f"F(rho) of {e}"))
        density.append(tuple(body.skip_table(grid.nr, f"rho(r) of {e}") for _ in range(hosts)))
    pairs = []
    for what in ("r phi(r)", "u(r)", "w(r)") if style == "adp" else ("r phi(r)",):
        pairs.append(tuple(body.skip_table(grid.nr, f"{what} of {a} and {b}") for a, b in _pairs_of(elements)))
    _check_end(body)
    return Layout(tuple(headers), tuple(embedding), tuple(density), tuple(pairs))


def _pairs_of(items: Iterable) -> list[tuple]:
    items = list(items)
    return [(a, b) for k, a in enumerate(items) for b in items[: k + 1]]


def _check_end(body: Body) -> None:
    left = body.tokens[body.at :]
    if not left:
        return
    line = body.line(body.at)
    if left[0].isdigit() and len(left) == int(left[0]) + 2:
        what = f"ends with a polynomial of degree {left[0]}, as concentration-dependent EAM (eam/cd) does"
        expected = "one of the forms alloy, fs, he, adp, funcfl; eam/cd is not supported"
        raise PotentialFileError(body.path, line, what, expected)
    raise PotentialFileError(body.path, line, f"{len(left)} values are left over", "the end of the file")


def _elements(path: Path, lines: list[str]) -> tuple[str, ...]:
    words, expected = _words(lines, 3), "'N El1 .. ElN' with N chemical symbols"
    if not words:
        raise PotentialFileError(path, 4, "is empty" if len(lines) > 3 else "the file ends", expected)
    count = parse_int(words[0], path, 4, expected, 1, len(SYMBOLS))
    names = tuple(words[1:])
    if len(names) != count:
        raise PotentialFileError(path, 4, f"names {len(names)} elements and announces {count}", expected)
    for e in names:
        if not is_element(e):
            raise PotentialFileError(path, 4, f"'{e[:60]}' is not a chemical symbol", expected)
    if len(set(names)) != count:
        raise PotentialFileError(path, 4, "names an element twice", expected)
    return names


def read_setfl(path: Path, lines: list[str], style: str | None) -> EamParams:
    """All elements of a setfl file."""
    elements = _elements(path, lines)
    grid = _grid(path, lines, 4)
    body = Body(path, lines, 5)
    styles = (style,) if style else ("he",) if grid.rho_max is not None else SETFL
    if "he" in styles and grid.rho_max is None:
        raise PotentialFileError(path, 5, "has five values", "a sixth, rhomax, for style he")
    failures: list[tuple[int, PotentialFileError]] = []
    for candidate in styles:
        try:
            layout = _layout(body, candidate, elements, grid)
        except PotentialFileError as error:
            failures.append((body.at, error))
            continue
        return _from_layout(body, layout, candidate, elements, grid)
    raise max(failures, key=lambda f: f[0])[1]  # the form that went furthest is what the file was meant to be


def _from_layout(body: Body, layout: Layout, style: str, elements: tuple[str, ...], grid: Grid) -> EamParams:
    s = len(elements)
    headers = tuple(_header(body, place) for place in layout.headers)
    embedding = np.array([body.table(p, f"F(rho) of {e}") for p, e in zip(layout.embedding, elements, strict=True)])
    density = np.empty((s, s, grid.nr))
    for a, places in enumerate(layout.density):
        rows = [body.table(p, f"rho(r) of {elements[a]}") for p in places]
        density[a] = np.array(rows) if len(rows) == s else rows[0]
    pair_tables = []
    for places, what in zip(layout.pairs, ("r phi(r)", "u(r)", "w(r)"), strict=False):
        table = np.empty((s, s, grid.nr))
        for (a, b), place in zip(_pairs_of(range(s)), places, strict=True):
            table[a, b] = table[b, a] = body.table(place, what)
        pair_tables.append(table)
    return EamParams(
        name=body.path.name,
        style=style,
        elements=elements,
        headers=headers,
        drho=grid.drho,
        dr=grid.dr,
        cutoff=grid.cutoff,
        embedding=embedding,
        density=density,
        r_phi=pair_tables[0],
        dipole=pair_tables[1] if style == "adp" else None,
        quadrupole=pair_tables[2] if style == "adp" else None,
        rho_min=grid.rho_max - (grid.nrho - 1) * grid.drho if style == "he" and grid.rho_max is not None else 0.0,
        comments=tuple(body.lines[:3]),
        files={body.path.name: sha256(body.path)},
    )


# -- writing --------------------------------------------------------------------------------------------------


def _table_text(table: np.ndarray) -> list[str]:
    """Five values a line, with all the digits of a double."""
    return [" ".join(f"{v:.16e}" for v in table[k : k + 5]) for k in range(0, len(table), 5)]


def _comment(text: str) -> str:
    return " ".join(text.split()) or "#"


def write_setfl(params: EamParams, path: str | Path, style: str | None = None) -> Path:
    """Write a setfl file that LAMMPS' eam/alloy, eam/fs, eam/he or adp reads, as `style` says (default: the params'
    own, alloy for funcfl). Raises OptionError for a style that cannot hold these tables."""
    style = style or ("alloy" if params.style == "funcfl" else params.style)
    by_source = bool((params.density == params.density[:, :1]).all())
    fits = {
        "alloy": by_source and params.rho_min == 0.0 and params.dipole is None,
        "fs": params.rho_min == 0.0 and params.dipole is None,
        "he": params.dipole is None,
        "adp": by_source and params.dipole is not None,
    }
    if not fits.get(style, False):
        allowed = ", ".join(k for k, v in fits.items() if v)
        raise OptionError(f"{params.name} cannot be written in style {style!r}; possible: {allowed}")
    s = len(params.elements)
    lines = [_comment(c) for c in (*params.comments, "", "", "")[:3]]
    lines.append(f"{s} {' '.join(params.elements)}")
    grid = f"{params.nrho} {params.drho!r} {params.nr} {params.dr!r} {params.cutoff!r}"
    lines.append(f"{grid} {params.rho_max!r}" if style == "he" else grid)
    for a, header in enumerate(params.headers):
        lines.append(f"{header.number} {header.mass!r} {header.lattice_constant!r} {header.lattice}")
        lines += _table_text(params.embedding[a])
        for b in range(s if style in ("fs", "he") else 1):
            lines += _table_text(params.density[a, b])
    for table in (params.r_phi, params.dipole, params.quadrupole):
        if table is not None:
            for a, b in _pairs_of(range(s)):
                lines += _table_text(table[a, b])
    return write_atomic(path, "\n".join(lines) + "\n")


def write_funcfl(source: Funcfl, path: str | Path) -> Path:
    """Write one funcfl file that LAMMPS' pair_style eam reads."""
    header = source.header
    lines = [_comment(source.comment)]
    lines.append(f"{header.number} {header.mass!r} {header.lattice_constant!r} {header.lattice}")
    lines.append(f"{len(source.embedding)} {source.drho!r} {len(source.charge)} {source.dr!r} {source.cutoff!r}")
    for table in (source.embedding, source.charge, source.density):
        lines += _table_text(table)
    return write_atomic(path, "\n".join(lines) + "\n")
