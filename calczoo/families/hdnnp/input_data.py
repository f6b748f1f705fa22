"""RuNNer's files of structures, input.data, with energies, forces and charges (also .xz, .gz).

    begin
    comment text
    lattice x y z                                 three lines, or none
    atom x y z element charge energy fx fy fz     energy of the atom: not used by RuNNer; short lines have no forces
    energy E
    charge Q                                      total charge, e
    end

The file carries no units, so they must be given. Charges are in e.
Format: Behler, Int. J. Quantum Chem. 115, 1032 (2015), doi:10.1002/qua.24890.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ...core.elements import is_element, parse_elements
from ...core.errors import OptionError, PotentialFileError
from ...files.compressed import chunks
from ...files.text import MAX_LINE, find_file, parse_float
from . import units

NO_FORCES = "calczoo: no forces"
"""Comment of structures whose forces are not known: the columns must be there, so they hold zeros."""
MAX_ATOMS = 10**7
_FAR = 1e6
"""In units of the file; lengths beyond it are errors in a file."""
_COLUMNS = "x y z element [charge [energy [fx fy fz]]]"


def read_input_data(
    path: str | Path,
    elements: str | Sequence[str] | None = None,
    length_unit: str | float | None = None,
    energy_unit: str | float | None = None,
    forces: bool = True,
) -> list[Atoms]:
    """All structures of a file.

    length_unit, energy_unit: as for a potential, "Bohr" and "Ha", or numbers in A and eV. elements: those that may
    occur, None for all. forces=False leaves out forces, of files where zeros stand for unknown ones.
    Energy (eV), forces (eV/A), energies and charges (e) are in a SinglePointCalculator, charges and energies of atoms
    only where one of the structure is not zero; the total charge in info["charge"], comments in info["comment"].
    Raises OptionError without units, PotentialFileError for a damaged file.
    """
    return list(iter_input_data(path, elements, length_unit, energy_unit, forces))


def iter_input_data(
    path: str | Path,
    elements: str | Sequence[str] | None = None,
    length_unit: str | float | None = None,
    energy_unit: str | float | None = None,
    forces: bool = True,
) -> Iterator[Atoms]:
    """As read_input_data, one structure after the other, without holding the file."""
    file = find_file(path, "a file of structures of RuNNer")
    length, energy = units_of(file.name, length_unit, energy_unit)
    return _Reader(file, parse_elements(elements), length, energy, forces).frames()


def units_of(
    name: str, length_unit: str | float | None, energy_unit: str | float | None, call: str = "read_input_data"
) -> tuple[float, float]:
    """A and eV per unit. Raises OptionError where one is not given."""
    if length_unit is None or energy_unit is None:
        raise OptionError(
            f"{name}: files of RuNNer carry no units; say what one unit of length and of energy is, as in "
            f'{call}(..., length_unit="Bohr", energy_unit="Ha") or "Angstrom" and "eV", on the command line '
            "length_unit=... and energy_unit=..."
        )
    return units.length(length_unit), units.energy(energy_unit)


def write_input_data(
    frames: Iterable[Atoms],
    path: str | Path,
    length_unit: str | float | None = None,
    energy_unit: str | float | None = None,
) -> Path:
    """Write structures with the energies, forces and charges attached to them. See `write` of input_data_write."""
    from .input_data_write import write

    return write(frames, path, length_unit, energy_unit)


def lines_of(path: Path) -> Iterator[str]:
    """Lines of a file, which may be packed, in pieces; bytes that are no text raise PotentialFileError."""
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
        raise PotentialFileError(path, count, "holds a NUL byte", "the text of an input.data")
    if len(line) > MAX_LINE:
        raise PotentialFileError(path, count, f"is {len(line)} bytes long", f"lines of at most {MAX_LINE}")
    return line.decode("utf-8", "replace")


class _Structure:
    """What was read of one structure so far."""

    def __init__(self, line: int):
        self.line = line
        self.comments: list[str] = []
        self.lattice: list[list[float]] = []
        self.symbols: list[str] = []
        self.rows: list[list[float]] = []
        self.totals: dict[str, float] = {}


class _Reader:
    """One pass over the lines. Every error names the line and the number of the structure."""

    def __init__(self, path: Path, only: tuple[str, ...] | None, length: float, energy: float, forces: bool):
        self.path, self.only, self.forces = path, only, forces
        self.length, self.energy = length, energy
        self.at, self.frame = 0, 0
        self.kinds: set[str] = set()
        self.readers: dict[str, Callable[[_Structure, list[str]], None]] = {
            "lattice": self.lattice, "atom": self.atom, "energy": self.total, "charge": self.total,
        }  # fmt: skip

    def fail(self, what: str, expected: str, line: int | None = None) -> NoReturn:
        raise PotentialFileError(self.path, line or self.at, f"structure {self.frame}: {what}", expected)

    def frames(self) -> Iterator[Atoms]:
        found: _Structure | None = None
        for line in lines_of(self.path):
            self.at += 1
            words = line.split()
            if not words or words[0][0] in "#!":
                continue
            key = words[0]
            if found is None:
                self.frame += 1
                if words != ["begin"]:
                    self.fail(f"'{line.strip()[:60]}'", "'begin'")
                found = _Structure(self.at)
            elif key == "end":
                yield self.assemble(found)
                found = None
            elif key == "comment":
                found.comments.append(line.strip()[len(key) :].strip())
            elif key in self.readers:
                self.readers[key](found, words)
            else:
                self.fail(f"'{line.strip()[:60]}'", "comment, lattice, atom, energy, charge or end")
        if found is not None:
            self.fail("the file ends", "'end'")

    # -- lines -----------------------------------------------------------------------------------------------

    def number(self, word: str, what: str) -> float:
        return parse_float(word, self.path, self.at, f"{what} of structure {self.frame}")

    def numbers(self, words: Sequence[str], what: str) -> list[float]:
        """Python's own conversion where it is safe, which is most of the time of reading."""
        try:
            out = [float(w) for w in words]
        except ValueError:
            out = [math.nan]
        if not all(map(math.isfinite, out)) or any("_" in w or not w.isascii() for w in words):
            out = [self.number(w, what) for w in words]
        return out

    def lattice(self, found: _Structure, words: list[str]) -> None:
        if len(words) != 4 or len(found.lattice) == 3:
            what = f"{len(words) - 1} numbers of lattice vector {len(found.lattice) + 1}"
            self.fail(what, "three vectors 'lattice x y z'")
        found.lattice.append(self.near(self.numbers(words[1:], "a lattice vector"), "a lattice vector"))

    def near(self, values: list[float], what: str) -> list[float]:
        if max(map(abs, values)) > _FAR:
            self.fail(f"{what} of {max(map(abs, values)):g}", f"at most {_FAR:g}")
        return values

    def atom(self, found: _Structure, words: list[str]) -> None:
        count = len(words) - 1
        if count not in (4, 5, 6, 9):
            self.fail(f"an atom of {count} values", f"'atom {_COLUMNS}'")
        symbol = words[4]
        if symbol not in self.kinds:
            self.kind(symbol)
        if found.rows and len(found.rows[0]) != count - 1:
            self.fail(f"an atom of {count} values", f"{len(found.rows[0]) + 1} values, as the first atom has")
        if len(found.rows) >= MAX_ATOMS:
            self.fail(f"more than {MAX_ATOMS} atoms", "'end'")
        row = self.numbers(words[1:4] + words[5:], f"values 'atom {_COLUMNS}'")
        self.near(row[:3], "an atom at a coordinate")
        found.symbols.append(symbol)
        found.rows.append(row)

    def kind(self, symbol: str) -> None:
        """An element that was not met before."""
        if not is_element(symbol):
            self.fail(f"'{symbol[:20]}' is no chemical element", f"'atom {_COLUMNS}'")
        if self.only is not None and symbol not in self.only:
            self.fail(f"an atom of {symbol}", f"atoms of {', '.join(self.only)}")
        self.kinds.add(symbol)

    def total(self, found: _Structure, words: list[str]) -> None:
        key = words[0]
        if len(words) != 2 or key in found.totals:
            self.fail(f"{'a second' if key in found.totals else 'values of'} '{key}'", f"one line '{key} number'")
        found.totals[key] = self.number(words[1], f"the {key}")

    # -- a structure -----------------------------------------------------------------------------------------

    def assemble(self, found: _Structure) -> Atoms:
        if len(found.lattice) not in (0, 3):
            self.fail(f"{len(found.lattice)} lattice vectors", "three, or none", found.line)
        rows = np.array(found.rows, float) if found.rows else np.empty((0, 3))
        cell = self.length * np.array(found.lattice) if found.lattice else None
        if cell is not None and not abs(np.linalg.det(cell)) > 1e-12 * np.prod(np.linalg.norm(cell, axis=1)):
            self.fail("lattice vectors that lie in a plane", "a cell with a volume", found.line)
        atoms = Atoms(found.symbols, self.length * rows[:, :3], cell=cell, pbc=cell is not None)
        comments = [c for c in found.comments if c and c != NO_FORCES]
        if comments:
            atoms.info["comment"] = "\n".join(comments)
        if "charge" in found.totals:
            atoms.info["charge"] = found.totals["charge"]
        with np.errstate(over="ignore"):  # what is too large is refused below
            results = self.results(found, rows)
        if results:
            if not all(np.isfinite(v).all() for v in results.values()):
                self.fail("an energy or force that is not finite in eV and A", "numbers of a usual size", found.line)
            atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms

    def results(self, found: _Structure, rows: np.ndarray) -> dict[str, Any]:
        """Energy, forces, charges and energies of atoms, where they are known."""
        out: dict[str, Any] = {}
        width = rows.shape[1]
        if "energy" in found.totals:
            out["energy"] = out["free_energy"] = self.energy * found.totals["energy"]
        if width > 3 and rows[:, 3].any():
            out["charges"] = rows[:, 3]
        if width > 4 and rows[:, 4].any():
            out["energies"] = self.energy * rows[:, 4]
        unknown = NO_FORCES in found.comments or ("energy" not in found.totals and width > 5 and not rows[:, 5:].any())
        if width > 5 and self.forces and not unknown:
            out["forces"] = self.energy / self.length * rows[:, 5:8]
        return out
