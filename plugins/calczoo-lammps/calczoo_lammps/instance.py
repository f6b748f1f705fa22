"""One instance of LAMMPS: a box of given periodicity, the potential, and the atoms of the last structure.

Only what differs is sent: a new cell, new positions and charges, or, for other elements, new atoms. Every evaluation is
a `run 0`, which makes a neighbour list of its own, so that no result depends on those before it. LAMMPS writes no log,
prints nothing, and its errors are exceptions here, after which the instance must be closed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from .frame import Frame

MANY_BINS = 2_000_000
"""Cells of its neighbour grid, above which LAMMPS compares all pairs: few atoms in a huge box would fill the memory."""
_BEFORE = ("newton", "package", "suffix")
_GLOBAL, _ATOM, _SCALAR, _VECTOR = 0, 1, 0, 1


class LammpsError(RuntimeError):
    """What LAMMPS says when it refuses."""


@dataclass(frozen=True)
class Potential:
    """script: pair_style, pair_coeff and what else belongs to the potential, in LAMMPS' words; elements in the order of
    the types; units and atom_style as LAMMPS has them; folder: where files are looked for that the script names by
    variables; arguments: of the command line."""

    script: tuple[str, ...]
    elements: tuple[str, ...]
    units: str = "metal"
    atom_style: str = "charge"
    folder: str = ""
    arguments: tuple[str, ...] = ()


class Instance:
    """An instance without atoms, for the periodicity of `frame`. open: the class lammps.lammps."""

    def __init__(self, open: Any, potential: Potential, frame: Frame, bounds: np.ndarray):
        self.tilted, self.box, self.bounds = frame.tilted, frame.box, bounds
        self.numbers: np.ndarray | None = None
        self._reported: bool | None = None
        self._all_pairs = False
        self.lammps = open(cmdargs=list(potential.arguments))
        try:
            self._set_up(potential, frame)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it; may be called again."""
        lammps, self.lammps = self.lammps, None
        if lammps is not None:
            lammps.close()

    def evaluate(
        self,
        frame: Frame,
        x: np.ndarray,
        numbers: np.ndarray,
        types: np.ndarray,
        charges: np.ndarray | None,
        each: bool,
    ) -> dict[str, Any]:
        """Results in LAMMPS' units and frame: energy, forces (N, 3), pressure (6,) xx yy zz xy xz yz of the virial
        where all is periodic, with `each` energies (N,), and charges (N,) where the atoms have them. x (N, 3):
        positions in the frame."""
        self._fit(frame, x)
        if self.numbers is None or not np.array_equal(self.numbers, numbers):
            self._place(numbers, types, x)
        self._send(x, charges)
        self._report(each)
        self.command("run 0 post no")
        return self._results(len(x), each, all(frame.pbc))

    # -- steps -------------------------------------------------------------------------------------------------

    def _set_up(self, potential: Potential, frame: Frame) -> None:
        before = [line for line in potential.script if line.split()[0] in _BEFORE]
        head = [
            f"units {potential.units}",
            *before,
            f"atom_style {potential.atom_style}",
            "atom_modify map array sort 0 0.0",
            "boundary " + " ".join("p" if p else "f" for p in frame.pbc),
            *(["box tilt large"] if frame.tilted else []),
            f"region calczoo_box {'prism' if frame.tilted else 'block'} {self._faces('')} units box",
            f"create_box {len(potential.elements)} calczoo_box",
            "neighbor 0.3 bin",
            "neigh_modify one 20000 page 400000",
        ]
        masses = [
            f"mass {k} {atomic_masses[atomic_numbers[e]]:.6f}" for k, e in enumerate(potential.elements, start=1)
        ]
        with _potentials(potential.folder):
            for line in (*head, *masses, *(line for line in potential.script if line not in before)):
                self.command(line)
        self.command("compute calczoo_e all pe/atom")
        self.command("compute calczoo_sum all reduce sum c_calczoo_e")
        self.command("compute calczoo_p all pressure NULL virial")

    def _faces(self, form: str) -> str:
        """Faces and tilts as `region` takes them, or as `change_box` with form "{0} final"."""
        words = []
        for name, (low, high) in zip("xyz", self.bounds, strict=True):
            words += [form.format(name), f"{low:.17g} {high:.17g}"]
        if self.tilted:
            for name, value in zip(("xy", "xz", "yz"), self.box[[1, 2, 2], [0, 0, 1]], strict=True):
                words += [form.format(name), f"{value:.17g}"]
        return " ".join(filter(None, words))

    def _fit(self, frame: Frame, x: np.ndarray) -> None:
        """The box of this structure; all pairs instead of a grid where it is huge and hardly filled."""
        bounds = frame.bounds(x, self.bounds)
        if not np.array_equal(bounds, self.bounds) or not np.array_equal(frame.box, self.box):
            self.box, self.bounds = frame.box, bounds
            self.command(f"change_box all {self._faces('{0} final')} units box")
        volume = float(np.prod(bounds[:, 1] - bounds[:, 0]))
        all_pairs = volume / 8.0 > MANY_BINS and not all(frame.pbc)
        if all_pairs != self._all_pairs:
            self.command(f"neighbor 0.3 {'nsq' if all_pairs else 'bin'}")
            self._all_pairs = all_pairs

    def _place(self, numbers: np.ndarray, types: np.ndarray, x: np.ndarray) -> None:
        """Replace all atoms."""
        if self.numbers is not None:
            self.command("delete_atoms group all compress no")
        self.numbers, n = None, len(numbers)
        made = self.lammps.create_atoms(n, list(range(1, n + 1)), types.tolist(), x.reshape(-1).tolist())
        if made != n:
            raise LammpsError(f"LAMMPS took {made} of {n} atoms")
        self.numbers = numbers.copy()

    def _send(self, x: np.ndarray, charges: np.ndarray | None) -> None:
        arrays, n = self.lammps.numpy, len(x)
        order = arrays.extract_atom("id")[:n] - 1
        arrays.extract_atom("x")[:n] = x[order]
        held = arrays.extract_atom("q")
        if held is not None and charges is not None:
            held[:n] = charges[order]
        elif charges is not None and charges.any():
            raise LammpsError("this atom style has no charges, but the structure has; leave out the option atom_style")

    def _report(self, each: bool) -> None:
        """Energies per atom are summed up at a step only where they are asked for: with k-space they cost much."""
        if each != self._reported:
            self.command(f"thermo_style custom step pe c_calczoo_p[1]{' c_calczoo_sum' if each else ''}")
            self.command("thermo_modify lost error norm no")
            self._reported = each

    def _results(self, n: int, each: bool, periodic: bool) -> dict[str, Any]:
        lammps, arrays = self.lammps, self.lammps.numpy
        order = np.empty(n, dtype=np.int64)
        order[arrays.extract_atom("id")[:n] - 1] = np.arange(n)
        out: dict[str, Any] = {"energy": float(lammps.extract_compute("thermo_pe", _GLOBAL, _SCALAR))}
        out["forces"] = arrays.extract_atom("f")[:n][order]
        if each:
            out["energies"] = arrays.extract_compute("calczoo_e", _ATOM, _VECTOR)[:n][order]
        if periodic:
            out["pressure"] = np.array(arrays.extract_compute("calczoo_p", _GLOBAL, _VECTOR))
            out["nktv2p"] = float(lammps.extract_global("nktv2p"))
        if (held := arrays.extract_atom("q")) is not None:
            out["charges"] = held[:n][order]
        return out

    def command(self, line: str) -> None:
        """Raises LammpsError with what LAMMPS says."""
        try:
            self.lammps.command(line)
        except Exception as error:  # the library raises bare ones
            text = str(error).removeprefix("ERROR: ").removeprefix("ERROR on proc 0: ").strip()
            if line.split()[0] not in text:
                text += f" [in: {line}]"
            raise LammpsError(text) from error


@contextmanager
def _potentials(folder: str) -> Iterator[None]:
    """LAMMPS looks into this folder for names that it puts together itself, from variables."""
    kept = os.environ.get("LAMMPS_POTENTIALS")
    if folder:
        os.environ["LAMMPS_POTENTIALS"] = folder if kept is None else f"{folder}:{kept}"
    try:
        yield
    finally:
        if folder and kept is None:
            del os.environ["LAMMPS_POTENTIALS"]
        elif folder:
            os.environ["LAMMPS_POTENTIALS"] = str(kept)


def words_of(script: Sequence[str]) -> list[str]:
    """All words of the commands."""
    return " ".join(script).split()
