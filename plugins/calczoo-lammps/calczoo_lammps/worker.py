"""The ASE calculator. Imports nothing of calczoo, so that it also runs in an environment of its own.

A few instances of LAMMPS serve all calls, one for each kind of box (periodic directions, right angles or not); see
instance.py for what they keep, frame.py for the frame that LAMMPS wants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers

from .frame import Frame, frame_of
from .instance import Instance, LammpsError, Potential, words_of
from .library import lammps_class

ENERGY = {"metal": 1.0, "real": 1.0 / 23.060549}
"""eV per unit of energy; that of `real` with the constant of LAMMPS itself."""
KEPT = 4
"""Instances at a time."""


def make(
    model: Any = None,
    device: str = "cpu",
    dtype: str = "float64",
    script: Sequence[str] = (),
    elements: Sequence[str] = (),
    units: str = "metal",
    atom_style: str = "charge",
    charges: Mapping[str, float] | None = None,
    folder: str = "",
    suffix: str = "",
    threads: int = 1,
) -> LammpsCalculator:
    """The calculator of a script; see instance.Potential."""
    arguments = ["-log", "none", "-screen", "none", "-nocite"]
    if suffix:
        arguments += ["-sf", suffix, *(["-pk", "omp", str(threads)] if suffix == "omp" else [])]
    potential = Potential(tuple(script), tuple(elements), units, atom_style, folder, tuple(arguments))
    return LammpsCalculator(potential, charges or {})


class LammpsCalculator(Calculator):
    """ASE calculator around LAMMPS. charges: e, per element, for structures without initial charges. Not for several
    threads at once."""

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "charges"]

    def __init__(self, potential: Potential, charges: Mapping[str, float]):
        super().__init__()
        self.potential, self.open = potential, lammps_class()
        self._type_of = np.zeros(max(atomic_numbers.values()) + 1, dtype=np.intc)
        self._charge_of = np.zeros(len(self._type_of))
        for k, symbol in enumerate(potential.elements, start=1):
            self._type_of[atomic_numbers[symbol]] = k
            self._charge_of[atomic_numbers[symbol]] = charges.get(symbol, 0.0)
        words = words_of(potential.script)
        own = any("qeq" in w or w == "set" for w in words)
        self._wants_charges = any("coul" in w for w in words) and not own and not charges
        self._frame: tuple[bytes, Frame] | None = None
        self._instances: dict[tuple, Instance] = {}
        self.started = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        frame = self._frame_of(self.atoms)
        types = self._types(self.atoms)
        charges = self._charges(self.atoms)
        x = frame.inside(self.atoms.positions)
        key = (frame.pbc, frame.tilted)
        try:
            instance = self._instance(key, frame, x)
            found = instance.evaluate(frame, x, self.atoms.numbers, types, charges, "energies" in properties)
        except BaseException:
            if (failed := self._instances.pop(key, None)) is not None:
                failed.close()  # nothing is known about its state
            raise
        self.results = self._results(found, frame)

    def close(self) -> None:
        """End all instances; the next call starts another."""
        instances, self._instances = self._instances, {}
        for instance in instances.values():
            instance.close()

    def __del__(self) -> None:
        if getattr(self, "_instances", None):
            self.close()

    def _frame_of(self, atoms: Atoms) -> Frame:
        key = atoms.cell.array.tobytes() + atoms.pbc.tobytes()
        if self._frame is None or self._frame[0] != key:
            self._frame = (key, frame_of(atoms.cell.array, atoms.pbc))
        return self._frame[1]

    def _instance(self, key: tuple, frame: Frame, x: np.ndarray) -> Instance:
        """The instance for this kind of box; where there are too many, that which was used longest ago goes."""
        instance = self._instances.pop(key, None)
        if instance is None:
            while len(self._instances) >= KEPT:
                self._instances.pop(next(iter(self._instances))).close()
            instance = Instance(self.open, self.potential, frame, frame.bounds(x))
            self.started += 1
        self._instances[key] = instance
        return instance

    def _types(self, atoms: Atoms) -> np.ndarray:
        types = self._type_of[atoms.numbers]
        if (types == 0).any():
            symbol = atoms.symbols[int(np.argmin(types))]
            raise LammpsError(f"element {symbol} has no type (types: {' '.join(self.potential.elements)})")
        return types

    def _charges(self, atoms: Atoms) -> np.ndarray | None:
        given = atoms.arrays.get("initial_charges")
        if given is None and self._wants_charges:
            raise LammpsError(
                "the pair style has charges, and the structure has none; set them with atoms.set_initial_charges(...), "
                "or per element with the option charges={'Na': 1, 'Cl': -1}"
            )
        return self._charge_of[atoms.numbers] if given is None else np.asarray(given, dtype=float)

    def _results(self, found: dict[str, Any], frame: Frame) -> dict[str, Any]:
        """In eV and the frame of the structure."""
        unit = ENERGY[self.potential.units]
        energy = unit * found["energy"]
        out = {"energy": energy, "free_energy": energy, "forces": frame.vectors_back(unit * found["forces"])}
        if "energies" in found:
            out["energies"] = unit * found["energies"]
        if "charges" in found:
            out["charges"] = found["charges"]
        if "pressure" in found:
            xx, yy, zz, xy, xz, yz = found["pressure"]
            pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            stress = frame.tensor_back(-unit / found["nktv2p"] * pressure)
            out["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        return out
