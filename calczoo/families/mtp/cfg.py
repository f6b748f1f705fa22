"""MLIP's `.cfg` files of structures with energies, forces and virials (also .xz, .gz).

    BEGIN_CFG
     Size
        N
     Supercell                  none to three lattice vectors (A), one for each periodic direction
     AtomData:  id type cartes_x cartes_y cartes_z fx fy fz ...        direct_x... instead of cartes_x; A, eV/A
     Energy                     eV
     PlusStress:  xx yy zz yz xz xy                                   the virial -dE/d(strain) = -V * stress, eV
     Feature   key value
    END_CFG

A file names no elements; types count from 0 into a given list. Format: Novikov et al., Mach. Learn.: Sci. Technol. 2,
025002 (2021), doi:10.1088/2632-2153/abc9fe.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ...core.errors import PotentialFileError
from ...files.compressed import chunks
from ...files.text import MAX_LINE, find_file, parse_float, parse_int
from .cfg_types import Elements, Types

VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")
SECTIONS = "cfg_sections"
"""Key of atoms.info with the text of sections that are not known."""
_CARTESIAN, _DIRECT = ("cartes_x", "cartes_y", "cartes_z"), ("direct_x", "direct_y", "direct_z")
_FORCES = ("fx", "fy", "fz")
_COUNT = 10**8
_FAR = 1e6
"""A; lengths and places beyond it are errors in a file."""


def read_cfg(path: str | Path, elements: Elements = None) -> list[Atoms]:
    """All structures of a file. elements: symbols of types 0, 1, ..., or {type: symbol}; None for a file whose types
    are atomic numbers of 10 and more.

    Energy, forces, site energies (column site_en) and stress are in a SinglePointCalculator; other columns in
    atoms.arrays, features in atoms.info (numbers where they are such), sections of unknown names in
    atoms.info["cfg_sections"]. Without three lattice vectors the virial stays in atoms.info["virial"] (eV, order xx yy
    zz yz xz xy).
    Raises PotentialFileError for a damaged file, OptionError for missing elements.
    """
    return list(iter_cfg(path, elements))


def iter_cfg(path: str | Path, elements: Elements = None) -> Iterator[Atoms]:
    """As read_cfg, one structure after the other, without holding the file."""
    path = find_file(path, "a .cfg file")
    return _Reader(path, _lines(path), elements).frames()


def parse_cfg(text: str, elements: Elements = None, name: str = "cfg") -> list[Atoms]:
    """The structures of a text, as the active set of an `.almtp` keeps them."""
    return list(_Reader(Path(name), iter(text.splitlines()), elements).frames())


def _lines(path: Path) -> Iterator[str]:
    """Lines of a file in pieces; bytes that are no text raise PotentialFileError."""
    rest, count = b"", 0
    for piece in chunks(path):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            count += 1
            yield _decode(path, line, count)
        if len(rest) > MAX_LINE:
            raise PotentialFileError(path, count + 1, "is longer than 1 MiB", "lines of structures")
    if rest:
        yield _decode(path, rest, count + 1)


def _decode(path: Path, line: bytes, count: int) -> str:
    if b"\0" in line:
        what = "is a tar archive" if b"ustar" in line or count == 1 else "holds a NUL byte"
        raise PotentialFileError(path, count, what, "the text of a .cfg file; unpack an archive first")
    return line.decode("utf-8", "replace")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _feature(value: str) -> int | float | str:
    """A feature's value as the number that it is, else the text."""
    try:
        if value.isascii() and "_" not in value:
            return int(value) if value.lstrip("+-").isdigit() and len(value) < 19 else _finite(value)
    except ValueError:
        pass
    return value


def _finite(value: str) -> float:
    if not math.isfinite(x := float(value)):
        raise ValueError(value)
    return x


class _Reader:
    """One pass over the lines. Every error names the line and the number of the configuration."""

    def __init__(self, path: Path, lines: Iterator[str], elements: Elements):
        self.path, self.lines = path, lines
        self.at, self.frame = 0, 0
        self.kept: tuple[int, str] | None = None
        self.types = Types(elements)
        self.warned = False

    def fail(self, what: str, expected: str, line: int | None = None) -> None:
        raise PotentialFileError(self.path, line or self.at, f"configuration {self.frame}: {what}", expected)

    def next(self) -> str | None:
        """The next line that is not blank; None at the end."""
        if self.kept is not None:
            (self.at, line), self.kept = self.kept, None
            return line
        for line in self.lines:
            self.at += 1
            if line and not line.isspace():
                return line
        return None

    def back(self, line: str) -> None:
        self.kept = (self.at, line)

    def frames(self) -> Iterator[Atoms]:
        while (line := self.next()) is not None:
            self.frame += 1
            if line.split() != ["BEGIN_CFG"]:
                self.fail(f"'{line.strip()[:60]}'", "BEGIN_CFG")
            yield self.configuration()

    # -- one configuration -----------------------------------------------------------------------------------

    def configuration(self) -> Atoms:
        found: dict[str, Any] = {"features": {}, "sections": {}}
        while True:
            line = self.next()
            if line is None:
                self.fail("the file ends", "END_CFG")
                raise AssertionError
            words = line.split()
            if words == ["END_CFG"]:
                return self.assemble(found)
            key = words[0].rstrip(":")
            read = {
                "Size": self.size, "Supercell": self.cell, "SuperCell": self.cell, "AtomData": self.atoms,
                "Energy": self.energy, "PlusStress": self.stress, "Feature": self.feature,
            }.get(key, self.section)  # fmt: skip
            name = key.lower()
            if key in ("BEGIN_CFG", "END_CFG"):
                self.fail(f"'{line.strip()[:60]}'", "a section, as in 'Energy'")
            if name in found and read != self.section:
                self.fail(f"a second '{key}'", "each section once")
            read(words, found)

    def words(self, what: str) -> list[str]:
        line = self.next()
        if line is None:
            self.fail("the file ends", what)
        return line.split()  # type: ignore[union-attr]

    def number(self, word: str, what: str) -> float:
        return parse_float(word, self.path, self.at, f"{what} of configuration {self.frame}")

    def size(self, words: list[str], found: dict[str, Any]) -> None:
        values = words[1:] or self.words("the number of atoms")
        if len(values) != 1:
            self.fail(f"'{' '.join(values)[:60]}' as Size", "the number of atoms")
        found["size"] = parse_int(values[0], self.path, self.at, "the number of atoms", 0, _COUNT)

    def cell(self, words: list[str], found: dict[str, Any]) -> None:
        rows: list[list[float]] = []
        while len(rows) < 3:
            line = self.next()
            if line is None:
                break
            row = line.split()
            if not _is_number(row[0]):
                self.back(line)
                break
            if len(row) != 3:
                self.fail(f"a lattice vector of {len(row)} numbers", "three numbers")
            rows.append([self.number(w, "a lattice vector") for w in row])
            if max(map(abs, rows[-1])) > _FAR:
                self.fail(f"a lattice vector of {max(map(abs, rows[-1])):g} A", f"at most {_FAR:g} A")
        found["supercell"] = np.array(rows, float).reshape(-1, 3)

    def energy(self, words: list[str], found: dict[str, Any]) -> None:
        values = words[1:] or self.words("an energy")
        if len(values) != 1:
            self.fail(f"'{' '.join(values)[:60]}' as Energy", "one number in eV")
        found["energy"] = self.number(values[0], "the energy")

    def stress(self, words: list[str], found: dict[str, Any]) -> None:
        if sorted(words[1:]) != sorted(VOIGT):
            self.fail(f"components '{' '.join(words[1:])[:60]}'", f"the six components {' '.join(VOIGT)}")
        values = self.words("six numbers of PlusStress")
        if len(values) != 6:
            self.fail(f"{len(values)} numbers of PlusStress", "six numbers in eV")
        given = dict(zip(words[1:], (self.number(v, "PlusStress") for v in values), strict=True))
        found["plusstress"] = np.array([given[c] for c in VOIGT])

    def feature(self, words: list[str], found: dict[str, Any]) -> None:
        if len(words) < 2:
            self.fail("a Feature without a name", "'Feature name value'")
        value, known = " ".join(words[2:]), found["features"]
        known[words[1]] = f"{known[words[1]]}\n{value}" if words[1] in known else value

    def section(self, words: list[str], found: dict[str, Any]) -> None:
        """Lines of a section that is not known, up to the next word that is no number."""
        if not words[0][0].isalpha() or (len(words) > 2 and all(map(_is_number, words[1:]))):
            self.fail(f"'{' '.join(words)[:60]}'", "a section, as in 'Energy', or numbers")
        lines = [" ".join(words)]
        if words[0] == "Stress:" and not self.warned:
            self.warned = True
            message = (
                f"{self.path.name}: 'Stress:' has no agreed sign (MLIP: -PlusStress, mlearn: +PlusStress); it is "
                f"left out of the results and kept in atoms.info['{SECTIONS}']"
            )
            warnings.warn(message, stacklevel=6)
        while (line := self.next()) is not None:
            if not _is_number(line.split()[0]):
                self.back(line)
                break
            lines.append(line.strip())
        found["sections"][words[0].rstrip(":")] = "\n".join(lines)

    # -- atoms -----------------------------------------------------------------------------------------------

    def atoms(self, words: list[str], found: dict[str, Any]) -> None:
        """The table of atoms: {column: values}."""
        if "size" not in found:
            self.fail("AtomData before Size", "Size first")
        names, n = words[1:], found["size"]
        if len(set(names)) != len(names) or not any(set(p) <= set(names) for p in (_CARTESIAN, _DIRECT)):
            self.fail(f"columns '{' '.join(names)[:80]}'", "columns cartes_x cartes_y cartes_z, each once")
        if 0 < len(set(_FORCES) & set(names)) < 3:
            self.fail(f"columns '{' '.join(names)[:80]}'", "fx, fy and fz together")
        first, rows = self.at + 1, []
        for k in range(n):
            line = self.next()
            row = [] if line is None else line.split()
            if len(row) != len(names):
                self.fail(f"atom {k + 1} of {n} has {len(row)} values", f"{len(names)}: {' '.join(names)[:80]}")
            rows.append(row)
        found["atomdata"] = (names, self.table(rows, first, len(names)), first)

    def table(self, rows: list[list[str]], first: int, width: int) -> np.ndarray:
        flat = [w for row in rows for w in row]
        try:
            out = np.array([float(w) for w in flat])
        except ValueError:
            out = np.array([math.nan])
        if not np.isfinite(out).all() or any("_" in w or not w.isascii() for w in flat):
            expected = f"numbers of atom {{}} of configuration {self.frame}"
            words = ((w, k) for k, row in enumerate(rows) for w in row)
            out = np.array([parse_float(w, self.path, first + k, expected.format(k + 1)) for w, k in words])
        return out.reshape(-1, width)

    def whole(self, column: np.ndarray, what: str, first: int) -> np.ndarray:
        bad = np.flatnonzero((column != np.round(column)) | (np.abs(column) > _COUNT))
        if len(bad):
            self.fail(f"{what} {column[bad[0]]:g} of atom {bad[0] + 1}", "a whole number", first + int(bad[0]))
        return column.astype(np.int64)

    def assemble(self, found: dict[str, Any]) -> Atoms:
        if "atomdata" not in found:
            if found.get("size") != 0:
                self.fail("no AtomData", "Size, AtomData and END_CFG")
            found["atomdata"] = ([*_CARTESIAN], np.empty((0, 3)), self.at)
        names, data, first = found["atomdata"]
        column = {name: data[:, k] for k, name in enumerate(names)}
        n = len(data)
        order = self.order(column.pop("id", np.arange(1.0, n + 1)), first)
        types = self.whole(column.pop("type", np.zeros(n)), "type", first)
        symbols = self.types.symbols(types, self.path, self.frame, first)
        atoms = Atoms(symbols, np.zeros((n, 3)), cell=self.lattice(found), pbc=np.arange(3) < found["rows"])
        keys = _CARTESIAN if set(_CARTESIAN) <= set(column) else _DIRECT
        places = np.column_stack([column.pop(k) for k in keys])
        if keys == _DIRECT and found["rows"] < 3:
            self.fail("direct coordinates without three lattice vectors", "Supercell with three lines")
        if places.size and np.abs(places).max() > _FAR:
            self.fail(f"an atom at {np.abs(places).max():g}", f"at most {_FAR:g}", first)
        atoms.positions = places if keys == _CARTESIAN else places @ atoms.cell.array
        results: dict[str, Any] = {}
        if "energy" in found:
            results["energy"] = results["free_energy"] = found["energy"]
        if "fx" in column:
            results["forces"] = np.column_stack([column.pop(k) for k in _FORCES])[order]
        if "site_en" in column:
            results["energies"] = column.pop("site_en")[order]
        atoms = atoms[order]
        for name, values in column.items():
            atoms.set_array(name if name not in atoms.arrays else f"cfg_{name}", values[order])
        self.extras(atoms, found, results)
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms

    def order(self, ids: np.ndarray, first: int) -> np.ndarray:
        """Atoms in the order of their ids 1 to N."""
        order = np.argsort(self.whole(ids, "id", first), kind="stable")
        if not np.array_equal(ids[order], np.arange(1, len(ids) + 1)):
            self.fail(f"the ids are not 1 to {len(ids)}", "each id once", first)
        return order

    def lattice(self, found: dict[str, Any]) -> np.ndarray:
        rows = found.get("supercell", np.empty((0, 3)))
        found["rows"] = len(rows)
        return np.vstack([rows, np.zeros((3 - len(rows), 3))])

    def extras(self, atoms: Atoms, found: dict[str, Any], results: dict[str, Any]) -> None:
        """Features, unknown sections and the virial."""
        atoms.info.update({k: _feature(v) for k, v in found["features"].items()})
        if found["sections"]:
            atoms.info[SECTIONS] = dict(found["sections"])
        if "plusstress" in found:
            volume = abs(np.linalg.det(atoms.cell.array))
            if found["rows"] == 3 and volume > 0:
                with np.errstate(over="ignore"):
                    results["stress"] = -found["plusstress"] / volume
                if not np.isfinite(results["stress"]).all():
                    self.fail(f"PlusStress in a cell of {volume:g} A^3 gives no finite stress", "a cell of its size")
            else:
                atoms.info["virial"] = found["plusstress"]


def write_cfg(frames: Sequence[Atoms], path: str | Path, elements: Elements = None) -> Path:
    """Write structures with the energies, forces and stresses attached to them. See `write_cfg` of cfg_write."""
    from .cfg_write import write

    return write(frames, path, elements)


def format_cfg(frames: Sequence[Atoms], elements: Elements) -> str:
    """Text of structures, as `write_cfg` writes it and an `.almtp` keeps them."""
    from .cfg_write import text

    return text(frames, elements)
