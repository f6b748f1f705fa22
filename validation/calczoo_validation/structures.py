"""Crystals to validate on: prototypes by name ("Mo:bcc", "NaCl:rocksalt") or any periodic structure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.data import atomic_numbers, covalent_radii, reference_states
from ase.io import read

from calczoo.core.errors import InvalidStructure, OptionError

from .symmetry import Symmetry

# prototype -> (ASE name, number of elements, conventional cubic cell exists, atoms per conventional cell)
PROTOTYPES = {
    "fcc": ("fcc", 1, True, 4),
    "bcc": ("bcc", 1, True, 2),
    "sc": ("sc", 1, False, 1),
    "hcp": ("hcp", 1, False, 2),
    "diamond": ("diamond", 1, True, 8),
    "rocksalt": ("rocksalt", 2, True, 8),
    "zincblende": ("zincblende", 2, True, 8),
    "cesiumchloride": ("cesiumchloride", 2, False, 2),
    "wurtzite": ("wurtzite", 2, False, 4),
    "fluorite": ("fluorite", 2, True, 12),
}
ALIASES = {
    "a1": "fcc", "a2": "bcc", "a3": "hcp", "a4": "diamond", "b1": "rocksalt", "nacl": "rocksalt",
    "b2": "cesiumchloride", "cscl": "cesiumchloride", "b3": "zincblende", "b4": "wurtzite", "c1": "fluorite",
}  # fmt: skip
# nearest-neighbour distance -> lattice constant
BOND_TO_A = {
    "rocksalt": 2.0, "zincblende": 4 / 3**0.5, "cesiumchloride": 2 / 3**0.5, "wurtzite": (8 / 3) ** 0.5,
    "fluorite": 4 / 3**0.5, "fcc": 2**0.5, "bcc": 2 / 3**0.5, "sc": 1.0, "hcp": 1.0, "diamond": 4 / 3**0.5,
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
        number, formula = Symmetry(self.atoms).number, self.label_formula()
        per_primitive = {229: "bcc", 225: "fcc", 227: "diamond", 194: "hcp"}
        found = per_primitive.get(number) if len(self.elements) == 1 else None
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


def parse_proto(text: str) -> Crystal:
    """Crystal of "Formula:prototype" or "Formula:prototype:a" (lattice constant in A as first guess).

    Errors: ValueError naming what is wrong and what is allowed.
    """
    parts = [p.strip() for p in text.split(":")]
    if len(parts) not in (2, 3) or not parts[0]:
        raise OptionError(f"{text!r} is no prototype; expected 'Mo:bcc', 'NaCl:rocksalt' or 'Si:diamond:5.43'")
    formula, name = parts[0], parts[1].lower()
    name = ALIASES.get(name, name)
    if name not in PROTOTYPES:
        raise OptionError(f"unknown prototype {parts[1]!r}; known: {', '.join(sorted(PROTOTYPES))}")
    ase_name, count, cubic, _ = PROTOTYPES[name]
    elements = re.findall(r"[A-Z][a-z]?", formula)
    if len(elements) != count or any(e not in atomic_numbers for e in elements):
        raise OptionError(f"{name} needs {count} element(s), got {formula!r}")
    if len(parts) == 3:
        try:
            a = float(parts[2])
        except ValueError:
            raise OptionError(f"lattice constant {parts[2]!r} of {text!r} is no number") from None
        if not 1.0 < a < 30.0:
            raise OptionError(f"lattice constant {a} A of {text!r} is outside 1 .. 30 A")
    else:
        a = guess_lattice_constant(elements, name)
    ase_formula = f"{elements[0]}{elements[1]}2" if name == "fluorite" else "".join(elements)
    primitive = bulk(ase_formula, ase_name, a=a)
    conventional = np.eye(3, dtype=int)
    if cubic:
        cell = bulk(ase_formula, ase_name, a=a, cubic=True).cell.array
        conventional = np.rint(cell @ np.linalg.inv(primitive.cell.array)).astype(int)
    return Crystal(primitive, f"{formula}:{name}", name, conventional)


def guess_lattice_constant(elements: list[str], prototype: str) -> float:
    """First guess in A: measured lattice constant or atomic volume of the element, else covalent radii."""
    if len(elements) == 1:
        z = atomic_numbers[elements[0]]
        state = reference_states[z] or {}
        if state.get("symmetry") == prototype and "a" in state:
            return float(state["a"])
        cells = {"fcc": 4, "bcc": 2, "sc": 1, "diamond": 8}
        if state.get("symmetry") in cells or (state.get("symmetry") == "hcp" and "c/a" in state):
            a = state["a"]
            hexagonal = state["symmetry"] == "hcp"
            volume = a**3 * 3**0.5 / 4 * state["c/a"] if hexagonal else a**3 / cells[state["symmetry"]]
            if prototype in cells:
                return float((cells[prototype] * volume) ** (1 / 3))
            return float((volume * 2**0.5) ** (1 / 3))  # ideal hcp
        radii = [covalent_radii[z]] * 2
    else:
        radii = [covalent_radii[atomic_numbers[e]] for e in elements]
    return float(BOND_TO_A[prototype] * sum(radii))


def make_crystal(proto: str | None, structure: Atoms | str | Path | None) -> Crystal:
    """The crystal asked for: exactly one of `proto` and `structure` (Atoms, or a file that ase.io reads)."""
    if (proto is None) == (structure is None):
        raise OptionError("give either proto ('Mo:bcc') or structure (Atoms or a file), not both and not neither")
    if proto is not None:
        return parse_proto(proto)
    label = ""
    if not isinstance(structure, Atoms):
        label = Path(structure).name
        structure = read(structure)
    atoms = Atoms(structure.get_chemical_symbols(), structure.positions, cell=structure.cell, pbc=structure.pbc)
    if not atoms.pbc.all() or abs(atoms.cell.volume) < 1e-6:
        raise InvalidStructure("validation needs a crystal: periodic in three directions, with a cell")
    return Crystal(atoms, label or atoms.get_chemical_formula())
