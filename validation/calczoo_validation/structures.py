"""Crystals to validate on: prototypes by name ("Mo:bcc", "NaCl:rocksalt") or any periodic structure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.data import atomic_numbers, covalent_radii, reference_states
from ase.io import read

from calczoo.core.errors import DataError, InvalidStructure, OptionError
from calczoo.exchange import own_frames
from calczoo.family import close_match

from .symmetry import Symmetry


class OtherMaterial(DataError):
    """A reference that is of another crystal than the one to be validated."""


def _ase(name: str) -> Callable[[list[str], float], Atoms]:
    """Builder of one of ASE's own prototypes."""
    if name == "fluorite":
        return lambda e, a: bulk(f"{e[0]}{e[1]}2", name, a=a)
    return lambda e, a: bulk("".join(e), name, a=a)


def _cell(shape: Any, pattern: str, scaled: Any) -> Callable[[list[str], float], Atoms]:
    """Builder from lattice vectors in units of a, one letter per atom (A first element ...), scaled positions."""

    def build(elements: list[str], a: float) -> Atoms:
        symbols = [elements[ord(letter) - ord("A")] for letter in pattern]
        return Atoms(symbols, scaled_positions=scaled, cell=a * np.array(shape, dtype=float), pbc=True)

    return build


def _hexagonal(c: float) -> list[list[float]]:
    return [[1, 0, 0], [-0.5, 3**0.5 / 2, 0], [0, 0, c]]


def _tetragonal(c: float) -> list[list[float]]:
    return [[1, 0, 0], [0, 1, 0], [0, 0, c]]


FCC = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
BCT = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])
FCC_CUBE = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
BCC_CUBE = ((0, 1, 1), (1, 0, 1), (1, 1, 0))
IDEAL = (8 / 3) ** 0.5
BETA_SN, RUTILE_U = 0.55, 0.305  # c/a of Sn, Si and Ge under pressure 0.55; oxygen coordinate of rutile
THIRD = 1 / 3


@dataclass(frozen=True)
class Prototype:
    """One structure type.

    counts        atoms of each element in the formula unit
    build         (elements, a) -> primitive cell with the shape that is usual, a in A
    volume        usual volume per atom, that of fcc (one element) or rocksalt (compounds) being 1: for first guesses
    conventional  integers that build the cell of which people quote the lengths
    """

    counts: tuple[int, ...]
    build: Callable[[list[str], float], Atoms]
    volume: float
    conventional: tuple[tuple[int, ...], ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


PROTOTYPES = {
    "fcc": Prototype((1,), _ase("fcc"), 1.0, FCC_CUBE),
    "bcc": Prototype((1,), _ase("bcc"), 1.0, BCC_CUBE),
    "hcp": Prototype((1,), _ase("hcp"), 1.0),
    "dhcp": Prototype(
        (1,),
        _cell(_hexagonal(2 * IDEAL), "AAAA", [
            [0, 0, 0], [THIRD, 2 * THIRD, 0.25], [0, 0, 0.5], [2 * THIRD, THIRD, 0.75],
        ]),
        1.0,
    ),
    "a15": Prototype(
        (1,),
        _cell(np.eye(3), "A" * 8, [
            [0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0, 0.5], [0.75, 0, 0.5], [0.5, 0.25, 0], [0.5, 0.75, 0], [0, 0.5, 0.25],
            [0, 0.5, 0.75],
        ]),
        1.01,
    ),
    "omega": Prototype(
        (1,), _cell(_hexagonal(0.613), "AAA", [[0, 0, 0], [THIRD, 2 * THIRD, 0.5], [2 * THIRD, THIRD, 0.5]]), 1.0
    ),
    "sh": Prototype((1,), _cell(_hexagonal(0.95), "A", [[0, 0, 0]]), 1.06),
    "beta_sn": Prototype(
        (1,), _cell(BCT * [1, 1, BETA_SN], "AA", [[0, 0, 0], [0.75, 0.25, 0.5]]), 1.1, BCC_CUBE
    ),
    "sc": Prototype((1,), _ase("sc"), 1.15),
    "diamond": Prototype((1,), _ase("diamond"), 1.5, FCC_CUBE),
    "lonsdaleite": Prototype((1,), lambda e, a: bulk(e[0] * 2, "wurtzite", a=a), 1.5),
    "rocksalt": Prototype((1, 1), _ase("rocksalt"), 1.0, FCC_CUBE),
    "cesiumchloride": Prototype((1, 1), _ase("cesiumchloride"), 0.96),
    "zincblende": Prototype((1, 1), _ase("zincblende"), 1.25, FCC_CUBE),
    "wurtzite": Prototype((1, 1), _ase("wurtzite"), 1.25),
    "nias": Prototype(
        (1, 1),
        _cell(_hexagonal(1.4), "AABB", [[0, 0, 0], [0, 0, 0.5], [THIRD, 2 * THIRD, 0.25], [2 * THIRD, THIRD, 0.75]]),
        0.98,
    ),
    "l1_0": Prototype(
        (1, 1), _cell([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 0.96]], "AB", [[0, 0, 0], [0.5, 0.5, 0.5]]), 0.95,
        ((1, -1, 0), (1, 1, 0), (0, 0, 1)),
    ),
    "fluorite": Prototype((1, 2), _ase("fluorite"), 1.0, FCC_CUBE),
    "rutile": Prototype(
        (1, 2),
        _cell(_tetragonal(0.65), "AABBBB", [
            [0, 0, 0], [0.5, 0.5, 0.5], [RUTILE_U, RUTILE_U, 0], [1 - RUTILE_U, 1 - RUTILE_U, 0],
            [0.5 + RUTILE_U, 0.5 - RUTILE_U, 0.5], [0.5 - RUTILE_U, 0.5 + RUTILE_U, 0.5],
        ]),
        1.05,
    ),
    "l1_2": Prototype(
        (3, 1), _cell(np.eye(3), "AAAB", [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0, 0]]), 1.0
    ),
    "d0_3": Prototype(
        (3, 1), _cell(FCC, "AAAB", [[0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75], [0, 0, 0]]), 1.0, FCC_CUBE
    ),
    "perovskite": Prototype(
        (1, 1, 3),
        _cell(np.eye(3), "ABCCC", [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
        1.0,
    ),
}  # fmt: skip
# Strukturbericht symbols and other names, written without - and _
ALIASES = {
    "a1": "fcc", "a2": "bcc", "a3": "hcp", "a3'": "dhcp", "a4": "diamond", "a5": "beta_sn", "ah": "sc", "af": "sh",
    "betaw": "a15", "cr3si": "a15", "whitetin": "beta_sn", "simplehexagonal": "sh", "simplecubic": "sc", "c32": "omega",
    "hexagonaldiamond": "lonsdaleite", "b1": "rocksalt", "nacl": "rocksalt", "b2": "cesiumchloride",
    "cscl": "cesiumchloride", "b3": "zincblende", "sphalerite": "zincblende", "b4": "wurtzite", "b81": "nias",
    "b8": "nias", "cuau": "l1_0", "c1": "fluorite", "c4": "rutile", "cu3au": "l1_2", "fe3al": "d0_3", "bif3": "d0_3",
    "e21": "perovskite",
}  # fmt: skip
# (space group, elements, atoms in the primitive cell, kinds of sites) -> prototype
FINGERPRINTS = {
    (225, 1, 1, 1): "fcc", (229, 1, 1, 1): "bcc", (194, 1, 2, 1): "hcp", (194, 1, 4, 2): "dhcp", (223, 1, 8, 2): "a15",
    (191, 1, 3, 2): "omega", (191, 1, 1, 1): "sh", (141, 1, 2, 1): "beta_sn", (221, 1, 1, 1): "sc",
    (227, 1, 2, 1): "diamond", (194, 1, 4, 1): "lonsdaleite", (225, 2, 2, 2): "rocksalt",
    (221, 2, 2, 2): "cesiumchloride", (216, 2, 2, 2): "zincblende", (186, 2, 4, 2): "wurtzite", (194, 2, 4, 2): "nias",
    (123, 2, 2, 2): "l1_0", (225, 2, 3, 2): "fluorite", (136, 2, 6, 2): "rutile", (221, 2, 4, 2): "l1_2",
    (225, 2, 4, 3): "d0_3", (221, 3, 5, 3): "perovskite",
}  # fmt: skip


@dataclass
class Crystal:
    """A primitive (or given) cell; `conventional` (3, 3) integers build the cell that people quote lengths of."""

    atoms: Atoms
    label: str
    prototype: str = ""
    conventional: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=int))

    def with_atoms(self, atoms: Atoms) -> Crystal:
        return Crystal(atoms, self.label, self.prototype, self.conventional)

    def conventional_cell(self) -> Atoms:
        return make_supercell(self.atoms, self.conventional)

    def supercell(self, length: float) -> tuple[Atoms, tuple[int, int, int]]:
        """Smallest repetition of the conventional cell with every pair of faces at least `length` (A) apart."""
        cell = self.conventional_cell()
        counts = repeats(cell, length)
        return cell.repeat(counts), counts

    @property
    def elements(self) -> list[str]:
        return sorted(set(self.atoms.get_chemical_symbols()))

    def as_data(self) -> dict[str, Any]:
        """Plain data from which `from_data` makes the same crystal, bit by bit."""
        return {
            "label": self.label, "prototype": self.prototype, "conventional": self.conventional.tolist(),
            "symbols": self.atoms.get_chemical_symbols(), "cell": self.atoms.cell.array.tolist(),
            "positions": self.atoms.positions.tolist(),
        }  # fmt: skip

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Crystal:
        atoms = Atoms(data["symbols"], data["positions"], cell=data["cell"], pbc=True)
        return cls(atoms, data["label"], data["prototype"], np.array(data["conventional"], dtype=int))

    def reference_key(self) -> str:
        """Prototype name under which reference values are filed, also for a structure read from a file."""
        if self.prototype:
            return f"{self.label_formula()}:{self.prototype}"
        formula, found = self.label_formula(), identify(self.atoms)
        return f"{formula}:{found}" if found else formula

    def label_formula(self) -> str:
        return self.atoms.get_chemical_formula("hill", empirical=True)

    def to_dict(self) -> dict[str, Any]:
        symmetry = Symmetry(self.atoms)
        return {
            "label": self.label,
            "prototype": self.prototype,
            "formula": self.label_formula(),
            "elements": self.elements,
            "atoms_in_cell": len(self.atoms),
            "space_group": f"{symmetry.symbol} ({symmetry.number})",
            "symbols": self.atoms.get_chemical_symbols(),
            "cell": self.atoms.cell.array.tolist(),
            "scaled_positions": self.atoms.get_scaled_positions().tolist(),
            "reference_key": self.reference_key(),
        }


def repeats(atoms: Atoms, length: float) -> tuple[int, int, int]:
    """Repetitions that bring the distance of each pair of faces to at least `length` (A)."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array).T, axis=1)
    return tuple(int(np.ceil(length / h - 1e-9)) for h in heights)


def identify(atoms: Atoms, symprec: float = 1e-4) -> str:
    """Name of the prototype that the atoms are, within `symprec` (A); "" where it is none of the known ones."""
    dataset = spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec)
    if dataset is None:
        return ""
    primitive = len(set(dataset.mapping_to_primitive.tolist()))
    sites = len(set(dataset.crystallographic_orbits.tolist()))
    return FINGERPRINTS.get((int(dataset.number), len(set(atoms.numbers.tolist())), primitive, sites), "")


def find_prototype(text: str) -> str:
    """Our name of a prototype in any common spelling ("L1_2", "beta-Sn", "B1"). Errors: OptionError."""
    plain = {name.replace("_", ""): name for name in PROTOTYPES} | ALIASES
    key = text.strip().lower().replace("-", "").replace("_", "").replace(" ", "")
    if key not in plain:
        hint = close_match(key, [*plain, *PROTOTYPES])
        raise OptionError(f"unknown prototype {text!r}{hint}; known: {', '.join(sorted(PROTOTYPES))}")
    return plain[key]


def parse_proto(text: str) -> Crystal:
    """Crystal of "Formula:prototype" or "Formula:prototype:a" (lattice constant in A as first guess).

    Errors: OptionError (a ValueError) naming what is wrong and what is allowed.
    """
    parts = [p.strip() for p in text.split(":")]
    if len(parts) not in (2, 3) or not parts[0]:
        raise OptionError(f"{text!r} is no prototype; expected 'Mo:bcc', 'NaCl:rocksalt' or 'Si:diamond:5.43'")
    formula, name = parts[0], find_prototype(parts[1])
    elements = _elements(formula, name)
    a = None
    if len(parts) == 3:
        try:
            a = float(parts[2])
        except ValueError:
            raise OptionError(f"lattice constant {parts[2]!r} of {text!r} is no number") from None
        if not 1.0 < a < 30.0:
            raise OptionError(f"lattice constant {a} A of {text!r} is outside 1 .. 30 A")
    return prototype_crystal(elements, name, a, formula)


def prototype_crystal(elements: list[str], name: str, a: float | None = None, formula: str = "") -> Crystal:
    """The crystal of a prototype with the elements in its own order, a in A or the first guess."""
    kind = PROTOTYPES[name]
    atoms = kind.build(elements, guess_lattice_constant(elements, name) if a is None else a)
    label = formula or "".join(e + (str(n) if n > 1 else "") for e, n in zip(elements, kind.counts, strict=True))
    return Crystal(atoms, f"{label}:{name}", name, np.array(kind.conventional, dtype=int))


def _elements(formula: str, name: str) -> list[str]:
    """Elements in the order of the prototype's sites: by their numbers in the formula, else as written."""
    counts = PROTOTYPES[name].counts
    found = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    wanted = "".join("ABC"[k] + (str(n) if n > 1 else "") for k, n in enumerate(counts))
    elements = [e for e, _ in found]
    if "".join(e + n for e, n in found) != formula or len(set(elements)) != len(counts) or len(found) != len(counts):
        raise OptionError(f"{name} needs {len(counts)} element(s) as in {wanted}, got {formula!r}")
    for e in elements:
        if e not in atomic_numbers:
            raise OptionError(f"{name} needs {len(counts)} element(s); {e!r} is not the symbol of one (in {formula!r})")
    numbers = [int(n or 1) for _, n in found]
    numbers = [n // math.gcd(*numbers) for n in numbers]
    if sorted(numbers) != sorted(counts):
        raise OptionError(f"{name} needs a formula like {wanted}, got {formula!r}")
    if numbers != list(counts):  # Cu3Au and AuCu3 are the same
        order = sorted(range(len(counts)), key=lambda k: counts[k])
        given = sorted(range(len(counts)), key=lambda k: numbers[k])
        elements = [elements[given[order.index(k)]] for k in range(len(counts))]
    return elements


def guess_lattice_constant(elements: list[str], prototype: str) -> float:
    """First guess in A: measured lattice constant or atomic volume of the element, else covalent radii."""
    kind = PROTOTYPES[prototype]
    if len(elements) == 1:
        state = reference_states[atomic_numbers[elements[0]]] or {}
        if state.get("symmetry") == prototype and "a" in state:
            return float(state["a"])
        volume = _atomic_volume(state)
        if volume:
            return lattice_constant(elements, prototype, kind.volume * volume)
    unit = kind.build(elements, 1.0).repeat(2 if len(elements) > 1 else 3)
    distance = unit.get_all_distances(mic=True)
    unlike = unit.numbers[:, None] != unit.numbers[None, :]
    pairs = unlike if len(elements) > 1 else distance > 1e-6
    radii = covalent_radii[unit.numbers]
    # The pair that touches first: the largest ratio of radii to distance among unlike neighbours.
    ratio = np.where(pairs, (radii[:, None] + radii[None, :]) / np.where(pairs, distance, 1.0), 0.0)
    return float(ratio.max())


def lattice_constant(elements: list[str], prototype: str, volume: float) -> float:
    """a in A that gives the prototype the volume per atom (A^3)."""
    unit = PROTOTYPES[prototype].build(elements, 1.0)
    return float((volume * len(unit) / unit.get_volume()) ** (1 / 3))


def _atomic_volume(state: dict[str, Any]) -> float | None:
    """Volume per atom in A^3 that the element would have as fcc, from its measured structure (ase.data)."""
    a, symmetry = state.get("a"), state.get("symmetry")
    basis = len(state.get("basis") or [0])
    if a is None:
        return None
    if symmetry in ("fcc", "bcc", "sc", "diamond"):
        volume = a**3 / {"fcc": 4, "bcc": 2, "sc": 1, "diamond": 8}[symmetry] / PROTOTYPES[symmetry].volume
    elif symmetry == "hcp" and "c/a" in state:
        volume = a**3 * 3**0.5 / 4 * state["c/a"]
    elif symmetry == "bct" and "c/a" in state:
        volume = a**3 * state["c/a"] / (2 * basis) / (1.1 if basis > 1 else 1.0)
    else:
        return None
    return float(volume)


def read_structure(name: str) -> Atoms:
    """The structure in a file that ASE reads; `file@3` is one of several, by default the last. Errors: DataError."""
    path, _, index = (name, "", "") if Path(name).is_file() else name.partition("@")
    if not Path(path).is_file():
        raise DataError(f"structure file {path} does not exist")
    if index and not re.fullmatch(r"-?\d+", index):
        raise DataError(f"structure {name}: write the number of one structure, as in {path}@0, or @-1 for the last")
    own = own_frames(path)
    try:
        return read(path, index=int(index or -1)) if own is None else own[int(index or -1)]
    except (StopIteration, IndexError) as error:
        raise DataError(f"structure {name}: the file has no structure number {index or -1}") from error
    except Exception as error:  # ASE's readers raise whatever their parsers do
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be read as a structure ({why}); is its format what its name says?") from error


def make_crystal(proto: str | None, structure: Atoms | str | Path | None) -> Crystal:
    """The crystal asked for: exactly one of `proto` and `structure` (Atoms, or a file that ase.io reads)."""
    if (proto is None) == (structure is None):
        raise OptionError("give either proto ('Mo:bcc') or structure (Atoms or a file), not both and not neither")
    if proto is not None:
        return parse_proto(proto)
    label = ""
    if not isinstance(structure, Atoms):
        label = Path(structure).name
        structure = read_structure(str(structure))
    atoms = Atoms(structure.get_chemical_symbols(), structure.positions, cell=structure.cell, pbc=structure.pbc)
    if not atoms.pbc.all() or abs(atoms.cell.volume) < 1e-6:
        raise InvalidStructure("validation needs a crystal: periodic in three directions, with a cell")
    return Crystal(atoms, label or atoms.get_chemical_formula())
