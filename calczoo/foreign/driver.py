"""Asking an ASE calculator, and checking what it answers. Needs numpy and ase only: worker processes use this file too.

Properties are ASE's names. A row is a dict of results of one structure: energy a float, the rest float64 arrays, stress
as a 3x3 matrix. Where a calculator gives free_energy, that is the energy: the one whose derivatives the forces are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes

PROPERTIES = (
    "energy", "energies", "forces", "stress", "charges", "dipole", "magmoms", "local_gap_variance", "uncertainty",
)  # fmt: skip
"""What can be asked for; uncertainty is the standard deviation of the energy, eV/atom."""

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class WrongResult(ValueError):
    """A calculator returned something of the wrong shape, or not what its adapter declares."""


class Driver:
    """One ASE calculator and the structure it saw last.

    evaluate_many: (structures, properties) -> one dict of ASE results each; by default the calculator's own method of
    that name, where it has one.
    """

    def __init__(self, calculator: Any, evaluate_many: Callable[..., Any] | None = None):
        self.calculator = calculator
        self.evaluate_many = evaluate_many or getattr(calculator, "evaluate_many", None)
        self._last: Atoms | None = None

    def evaluate(self, many: Sequence[Atoms], properties: Sequence[str]) -> list[dict[str, Any]]:
        """One row per structure, with those of `properties` that the structure has: stress with three periodic
        directions, dipole with none. A structure without atoms is answered here."""
        rows: list[Any] = [None if len(a) else _nothing(properties) for a in many]
        todo = [k for k, a in enumerate(many) if len(a)]
        if self.evaluate_many is not None and len(todo) > 1:
            groups: dict[tuple[str, ...], list[int]] = {}
            for k in todo:
                groups.setdefault(_names(properties, many[k]), []).append(k)
            for names, members in groups.items():
                found = list(self.evaluate_many([many[k] for k in members], list(names)))
                if len(found) != len(members):
                    raise WrongResult(f"it returned {len(found)} results for {len(members)} structures")
                for k, row in zip(members, found, strict=True):
                    rows[k] = checked(row, names, len(many[k]))
            return rows
        for k in todo:
            rows[k] = self.one(many[k], _names(properties, many[k]))
        return rows

    def one(self, atoms: Atoms, names: Sequence[str]) -> dict[str, Any]:
        """One structure, as ASE would ask for it: what changed since the last one is told, and results of the same
        structure are reused."""
        calculator = self.calculator
        if not hasattr(calculator, "calculate"):  # an old interface, or a wrapper
            return checked({name: calculator.get_property(name, atoms) for name in names}, names, len(atoms))
        changes = changes_of(self._last, atoms)
        if changes or any(name not in calculator.results for name in names):
            self._last = None  # nothing is reused after an error
            if changes:
                calculator.reset()
            calculator.calculate(atoms, list(names), changes)
            self._last = atoms
        return checked(calculator.results, names, len(atoms))


def changes_of(old: Atoms | None, new: Atoms) -> list[str]:
    """ASE's names of what differs, exactly."""
    if old is None or len(old) != len(new) or old.info.get("charge") != new.info.get("charge"):
        return list(all_changes)  # ASE has no name for the total charge
    pairs = {
        "positions": (old.positions, new.positions),
        "numbers": (old.numbers, new.numbers),
        "cell": (old.cell.array, new.cell.array),
        "pbc": (old.pbc, new.pbc),
        "initial_charges": (old.arrays.get("initial_charges"), new.arrays.get("initial_charges")),
    }
    return [name for name, (a, b) in pairs.items() if not np.array_equal(a, b)]


def _names(properties: Sequence[str], atoms: Atoms) -> tuple[str, ...]:
    """Those of the properties that this structure has; energy is always one of them."""
    names = ["energy", *(p for p in properties if p != "energy")]
    lacks = {"stress"} if not atoms.pbc.all() else set()
    lacks |= {"dipole"} if atoms.pbc.any() else set()
    return tuple(n for n in names if n not in lacks)


def _nothing(properties: Sequence[str]) -> dict[str, Any]:
    shapes = {"forces": (0, 3), "stress": (3, 3), "dipole": (3,), "uncertainty": ()}
    return {"energy": 0.0, **{p: np.zeros(shapes.get(p, (0,))) for p in properties if p != "energy"}}


def checked(row: Mapping[str, Any], names: Sequence[str], n: int) -> dict[str, Any]:
    """The asked results of a structure of n atoms, as numbers of the right shapes; WrongResult where they are not."""
    return dict(_checked(row, names, n))


def _checked(row: Mapping[str, Any], names: Sequence[str], n: int) -> Iterator[tuple[str, Any]]:
    shapes = {"energy": (), "forces": (n, 3), "stress": (3, 3), "dipole": (3,), "uncertainty": ()}
    for name in names:
        value = row.get(name)
        if name == "energy" and row.get("free_energy") is not None:
            value = row["free_energy"]
        if value is None:
            raise WrongResult(f"it did not return '{name}', which its adapter declares")
        array = np.array(value, dtype=np.float64)
        if name == "stress" and array.shape == (6,):
            array = full_stress(array)
        shape = shapes.get(name, (n,))
        if array.size == int(np.prod(shape)) == 1 or (array.shape == (n, 1) and shape == (n,)):
            array = array.reshape(shape)
        if array.shape != shape:
            raise WrongResult(f"it returned '{name}' of shape {array.shape}; expected {shape}")
        yield name, float(array) if name in ("energy", "uncertainty") else array


def full_stress(voigt: np.ndarray) -> np.ndarray:
    """(6,) xx yy zz yz xz xy -> (3, 3)."""
    full = np.empty((3, 3))
    for value, (a, b) in zip(voigt, _VOIGT, strict=True):
        full[a, b] = full[b, a] = value
    return full
