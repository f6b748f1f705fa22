"""ZooCalculator: the only file that knows ASE's Calculator."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from .core.card import Card
from .core.errors import InvalidStructure, NonFiniteResult, OptionError, PropertyNotImplementedError
from .core.kept import Kept, check_close, close_pairs, keep, largest_change
from .core.model import Model
from .core.pairs import Pairs, find_pairs, no_pairs
from .core.results import Results
from .core.system import System, check_elements
from .core.units import VOIGT

DEFAULT_SKIN = 0.5
"""Width (A) of the shell kept around the cutoff when a calculator is called again with slightly moved atoms."""

_NEEDS = {  # ASE property -> output of the model
    "energy": "energy",
    "free_energy": "energy",
    "energies": "energies",
    "forces": "forces",
    "stress": "virial",
    "stresses": "virials",
    "charges": "charges",
    "dipole": "dipole",
    "electronegativities": "electronegativities",
    "magmoms": "magmoms",
    "descriptors": "descriptors",
    "extrapolation_grade": "extrapolation_grade",
    "extrapolation_grades": "extrapolation_grades",
    "local_gap_variance": "local_gap_variance",
    "uncertainty": "uncertainty",
    "uncertainties": "uncertainties",
}
_WITH_ENERGY = ("energy", "free_energy", "energies", "uncertainty")
_WITH_FORCES = (*_WITH_ENERGY, "forces", "stress", "uncertainties")
"""What comes for nothing with an energy, and with forces or stress: one reverse pass gives both."""


class ZooCalculator(Calculator):
    """ASE calculator around one Model (or a sum of them).

    `results` holds energy, free_energy (eV), energies (N,) eV, forces (N, 3) eV/A, stress (6,) eV/A^3 in ASE's sign and
    Voigt order (only where all three directions are periodic), and further outputs of the family. The total charge is
    `atoms.info["charge"]` (e), else the sum of the initial charges; models without charges ignore it.
    Raises the errors of calczoo.core.errors for structures no model can evaluate.
    """

    def __init__(self, model: Model, skin: float | None = None, max_memory_gib: float | None = None):
        super().__init__()
        if skin is not None and not (_is_number(skin) and 0.0 <= skin <= 10.0):
            raise OptionError(f"skin is {skin!r}; it must be between 0 and 10 A")
        if max_memory_gib is not None and not (_is_number(max_memory_gib) and max_memory_gib > 0.0):
            raise OptionError(f"max_memory_gib is {max_memory_gib!r}; it must be a positive number of GiB")
        self.model = model
        self.skin = DEFAULT_SKIN if skin is None else float(skin)
        self.max_memory_gib = max_memory_gib
        self.implemented_properties = [p for p, output in _NEEDS.items() if output in model.outputs]
        self._cached: Kept | None = None
        self._lock = RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}  # a lock is neither copied nor pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = RLock()

    @property
    def card(self) -> Card:
        """Facts about the model."""
        return self.model.card

    def _get_name(self) -> str:
        """What ASE shows as the calculator's name."""
        return self.model.card.name if hasattr(self, "model") else "calczoo"

    # -- ASE's interface -------------------------------------------------------------------------------------

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate one structure; see the class docstring. Asked properties that do not exist for this structure raise
        PropertyNotImplementedError; stress is added on its own wherever it exists."""
        atoms = self._own_copy(atoms)
        self.results = {}
        check_periodicity(atoms, properties)
        always = set(getattr(self.model, "always", ())) & set(self.implemented_properties)
        wanted = self._wanted([*properties, *always], [atoms])
        system = self._system([atoms])
        pairs = self._pairs(atoms, system)
        results = self.model.compute(system, pairs, self._need(wanted))
        self.results = self._to_ase(results, [atoms], system, wanted)[0]

    def _own_copy(self, atoms: Atoms | None) -> Atoms:
        if atoms is None:
            if self.atoms is None:
                raise InvalidStructure("no structure given: attach the calculator to atoms or pass atoms=")
            return self.atoms
        self.atoms = atoms.copy()
        return self.atoms

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """What differs from the structure of the present results; exact, without ASE's slow tolerant comparison.
        `info['charge']`, which ASE does not compare, counts as initial charges."""
        old = self.atoms
        if old is None:
            return list(all_changes)
        pairs = {
            "positions": (old.positions, atoms.positions),
            "numbers": (old.numbers, atoms.numbers),
            "cell": (old.cell.array, atoms.cell.array),
            "pbc": (old.pbc, atoms.pbc),
        }
        changes = [name for name, (a, b) in pairs.items() if not np.array_equal(a, b)]
        for name in ("initial_charges", "initial_magmoms"):
            if (old.has(name) or atoms.has(name)) and not np.array_equal(old.arrays.get(name), atoms.arrays.get(name)):
                changes.append(name)
        if old.info.get("charge") != atoms.info.get("charge") and "initial_charges" not in changes:
            changes.append("initial_charges")
        return changes

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True):
        """ASE's access to one property; PropertyNotImplementedError when the model lacks it."""
        if name not in self.implemented_properties:
            raise PropertyNotImplementedError(
                f"{self.card.name} does not compute '{name}' (has: {', '.join(self.implemented_properties)})"
                f"{self._why_not(name)}"
            )
        target = atoms if atoms is not None else self.atoms
        if target is not None:
            check_periodicity(target, [name])
        with self._lock:  # atoms of several threads may share the calculator; each gets its own result
            return super().get_property(name, atoms, allow_calculation)

    # -- many structures at once -----------------------------------------------------------------------------

    def evaluate(
        self, structures: Sequence[Atoms], properties: Sequence[str] = ("energy", "forces", "stress")
    ) -> list[dict[str, Any]]:
        """Evaluate many structures in one batched call; the calculator's own state is not touched.

        Returns one dict of numpy results per structure, as in `results`; stress is left out for structures that are not
        periodic in all three directions, and a dipole for those with a periodic direction.
        """
        structures = [structures] if isinstance(structures, Atoms) else list(structures)
        if not structures:
            return []
        wanted = self._wanted(properties, structures)
        system = self._system(structures)
        pairs = find_pairs(system, self.model.cutoff, 0.0, self.max_memory_gib)
        results = self.model.compute(system, pairs, self._need(wanted))
        return self._to_ase(results, structures, system, wanted)

    def repeated(self) -> RepeatedBatch:
        """For many calls with the same structures as they move or swap elements (dynamics, Monte Carlo): has
        `evaluate` too, and keeps the neighbour list of the whole batch with a skin."""
        return RepeatedBatch(self)

    def get_hessian(
        self, atoms: Atoms | None = None, indices: Sequence[int] | None = None, method: str = "auto"
    ) -> np.ndarray:
        """(3N, 3N) float64, eV/A^2: d2E/dx dx, periodic images included (force constants at the Gamma point), with
        x, y, z of atom 0 first. With `indices` only the rows of these atoms, (3 len(indices), 3N).

        method: "auto" differentiates the torch backend's energy twice (always in double precision) and takes central
        differences of forces, with Richardson's extrapolation, for terms that have no second derivative; "analytic" and
        "differences" allow one of them only. `hessian_info` tells afterwards what was done: method, error (the change
        that the extrapolation makes; 0 where analytic), asymmetry (before the full matrix is symmetrised).
        Raises TooLarge before anything is computed, PropertyNotImplementedError where method="analytic" cannot be had.
        """
        from .hessian import hessian

        if atoms is None:
            atoms = self._own_copy(None)
        result = hessian(self, atoms, indices, method)
        self.hessian_info = {"method": result.method, "error": result.error, "asymmetry": result.asymmetry}
        return result.matrix

    # -- inside ----------------------------------------------------------------------------------------------

    def _wanted(self, properties: Sequence[str], structures: Sequence[Atoms]) -> set[str]:
        """ASE names to compute: what is asked, what is always given, and stress where it exists."""
        asked = set(properties)
        if unknown := sorted(asked - set(self.implemented_properties)):
            raise PropertyNotImplementedError(
                f"{self.card.name} does not compute {', '.join(unknown)} "
                f"(has: {', '.join(self.implemented_properties)}){self._why_not(*unknown)}"
            )
        wanted = {"energy", "free_energy"} | asked
        free = _WITH_FORCES if asked & {"forces", "stress", "uncertainties"} else _WITH_ENERGY
        dear = getattr(self.model, "on_request", frozenset())
        wanted |= {p for p in free if p in self.implemented_properties and _NEEDS[p] not in dear}
        if not any(a.pbc.all() for a in structures):
            wanted -= {"stress", "stresses"}
        if all(a.pbc.any() for a in structures):
            wanted -= {"dipole"}
        return wanted

    def _why_not(self, *properties: str) -> str:
        """Why the model lacks what was asked, where it knows: in a sum, which term is to blame."""
        missing = getattr(self.model, "missing", {})
        reasons = dict.fromkeys(missing[key] for p in properties if (key := _NEEDS.get(p, p)) in missing)
        return ": " + "; ".join(reasons) if reasons else ""

    @staticmethod
    def _need(wanted: set[str]) -> frozenset[str]:
        return frozenset(_NEEDS[w] for w in wanted)

    def _system(self, structures: Sequence[Atoms]) -> System:
        system = System.from_atoms(structures, self.model.device, self.model.dtype)
        for s, a in enumerate(structures):
            where = f" of structure {s}" if len(structures) > 1 else ""
            check_elements(a.numbers, self.model.numbers, self.card.name, where)
        return system

    def _pairs(self, atoms: Atoms, system: System) -> Pairs:
        """The neighbour list: reused while no pair can have crossed the cutoff, with a skin from the second call on."""
        old, cutoff = self._cached, self.model.cutoff
        if cutoff <= 0.0:  # a foreign code, which has its own list
            return no_pairs(system)
        same = old is not None and np.array_equal(old.numbers, atoms.numbers) and np.array_equal(old.pbc, atoms.pbc)
        moved = largest_change(old, atoms) if same and old is not None else np.inf
        if old is not None and moved <= old.pairs.skin:
            check_close(old.pairs, old.close, system)
            return old.pairs
        # a far jump is a new structure, not a trajectory: a skin would only cost
        skin = self.skin if moved < 4.0 else 0.0
        pairs = find_pairs(system, cutoff, skin, self.max_memory_gib)
        self._cached = keep(pairs, atoms, close_pairs(pairs, system))
        return pairs

    def _to_ase(
        self, results: Results, structures: Sequence[Atoms], system: System, wanted: set[str]
    ) -> list[dict[str, Any]]:
        """Results -> one dict per structure, checked for finite numbers."""
        arrays = {name: t.detach().cpu().double().numpy() for name, t in results.present().items()}
        volumes = system.volumes().detach().cpu().double().numpy() if "virial" in arrays else None
        out = []
        for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True)):
            one: dict[str, Any] = {}
            for name in wanted:
                key = _NEEDS[name]
                if key not in arrays:
                    continue
                array = arrays[key]
                if name in ("energy", "free_energy"):
                    one[name] = float(array[s])
                elif name == "stress":
                    if structures[s].pbc.all():
                        one[name] = _voigt(array[s]) / volumes[s]
                elif name in ("extrapolation_grade", "uncertainty"):
                    one[name] = float(array[s])
                elif name == "dipole":
                    if not structures[s].pbc.any():
                        one[name] = array[s].copy()
                elif name == "stresses":
                    if structures[s].pbc.all():
                        one[name] = np.stack([_voigt(v) for v in array[a:b]]) / (volumes[s] / max(b - a, 1))
                else:
                    one[name] = array[a:b].copy()
            _check_finite(one, self.card.name, s, len(structures))
            out.append(one)
        return out


class RepeatedBatch:
    """The same structures evaluated again and again: `evaluate` as in ZooCalculator, but the neighbour list is kept.

    The list is made with a skin and reused while no pair of any structure can have crossed the cutoff, whatever the
    elements; other sizes or periodicity make a new one. Results differ from those of `ZooCalculator.evaluate` by the
    order of sums only, and depend on the calls of this object alone: its list is its own, under a lock.
    """

    def __init__(self, calculator: ZooCalculator):
        self.calculator = calculator
        self.implemented_properties = calculator.implemented_properties
        self.searches = 0
        self._kept: list[Kept] = []
        self._pairs: Pairs | None = None
        self._close = np.zeros(0, dtype=np.int64)
        self._lock = RLock()

    def evaluate(
        self, structures: Sequence[Atoms], properties: Sequence[str] = ("energy", "forces", "stress")
    ) -> list[dict[str, Any]]:
        """See ZooCalculator.evaluate."""
        calc, structures = self.calculator, list(structures)
        if not structures:
            return []
        wanted = calc._wanted(properties, structures)
        system = calc._system(structures)
        with self._lock:
            pairs = self._list(structures, system)
        return calc._to_ase(calc.model.compute(system, pairs, calc._need(wanted)), structures, system, wanted)

    def _list(self, structures: list[Atoms], system: System) -> Pairs:
        """The kept list where it still holds all pairs within the cutoff, or a new one."""
        pairs = self._pairs
        if pairs is not None and len(structures) == len(self._kept) and all(
            len(a) == len(k.positions) and np.array_equal(a.pbc, k.pbc) and largest_change(k, a) <= pairs.skin
            for a, k in zip(structures, self._kept, strict=True)
        ):  # fmt: skip
            check_close(pairs, self._close, system)
            return pairs
        self._pairs, self._kept = None, []  # nothing stale is left behind should the search raise
        calc = self.calculator
        cutoff = calc.model.cutoff
        pairs = find_pairs(system, cutoff, calc.skin if cutoff > 0.0 else 0.0, calc.max_memory_gib)
        self._close = close_pairs(pairs, system)
        self._kept = [keep(pairs, a, self._close) for a in structures]
        self._pairs = pairs
        self.searches += 1
        return pairs


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def check_periodicity(atoms: Atoms, properties: Sequence[str]) -> None:
    """Stress needs a cell in all three directions, a dipole none in any."""
    if ("stress" in properties or "stresses" in properties) and not atoms.pbc.all():
        raise PropertyNotImplementedError(
            f"stress is defined for structures periodic in all three directions only (pbc is {atoms.pbc.tolist()}); "
            "use energy and forces, or set pbc and a cell"
        )
    if "dipole" in properties and atoms.pbc.any():
        raise PropertyNotImplementedError(
            f"the dipole is defined for structures without periodic directions only (pbc is {atoms.pbc.tolist()}), "
            "because it would depend on the choice of the cell; charges are among the results"
        )


def _voigt(tensor: np.ndarray) -> np.ndarray:
    """Symmetric 3x3 -> six components in ASE's order."""
    symmetric = 0.5 * (tensor + tensor.T)
    return np.array([symmetric[a, b] for a, b in VOIGT])


def _check_finite(one: dict[str, Any], model: str, s: int, n: int) -> None:
    for name, value in one.items():
        if not np.isfinite(value).all():
            where = f" of structure {s}" if n > 1 else ""
            raise NonFiniteResult(
                f"{model} gave a non-finite {name}{where} for a finite structure; the model may be far outside its "
                "range (very short distances?): check the structure and the parameter file"
            )
