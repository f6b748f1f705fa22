"""What every check works with: the calculator under test, its lattice constants, random numbers, saved structures."""

from __future__ import annotations

import inspect
import warnings
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..core.elements import parse_elements
from ..core.errors import InvalidStructure, OptionError
from .base import PROFILES, CheckFailed, Comparison, NotApplicable, Tolerances
from .lattice import Lattice, find_lattice
from .structures import diamond, fcc, primitive_fcc, write_configurations

_BATCH_ATOMS = 2000
"""Atoms per call of `evaluate`."""
_QUICK_GROUPS = 3
_MIXTURE = 8
"""Sites, and so the most species, of a random mixture."""

Result = dict[str, Any]


class Context:
    """The calculator under test and everything the checks share. One instance serves all checks of a run."""

    def __init__(
        self,
        make_calculator: Callable[[], Any] | Any,
        elements: Sequence[str] | str,
        *,
        quick: bool = False,
        seed: int = 0,
        save_to: str | Path | None = None,
        float32: Callable[[], Any] | Any | None = None,
        dtype: str = "float64",
        tolerances: Tolerances | None = None,
    ):
        self.elements = parse_elements(elements) or ()
        if not self.elements:
            raise OptionError("name at least one element to verify")
        if dtype not in PROFILES:
            raise OptionError(f"dtype is {dtype!r}; allowed: {', '.join(PROFILES)}")
        self.quick, self.seed, self.dtype = quick, seed, dtype
        self.tolerances = tolerances or PROFILES[dtype]
        self.save_to = Path(save_to) if save_to is not None else None
        self.is_factory = not _is_calculator(make_calculator)
        self.make = _as_factory(make_calculator, "make_calculator")
        self.make_float32 = None if float32 is None else _as_factory(float32, "float32")
        self._calc: Any = None
        self._lattices: dict[tuple[str, ...], Lattice] = {}
        self._saved: list[tuple[str, Atoms]] = []

    # -- calculators -----------------------------------------------------------------------------------------

    @property
    def calc(self) -> Any:
        """The calculator that checks share."""
        if self._calc is None:
            self._calc = self.make()
        return self._calc

    def forget(self) -> None:
        """Drop the shared calculator: an error may have left it in any state."""
        self._calc = None

    def need_factory(self) -> None:
        if not self.is_factory:
            raise NotApplicable("needs a factory of calculators, one instance was given")

    @property
    def properties(self) -> tuple[str, ...]:
        """Those of energy, forces, stress that the calculator says it has."""
        has = getattr(self.calc, "implemented_properties", ("energy", "forces", "stress"))
        return tuple(p for p in ("energy", "forces", "stress") if p in has)

    @property
    def card_cutoff(self) -> float | None:
        """The cutoff (A) that the calculator's card states, if it has a card."""
        value = getattr(getattr(self.calc, "card", None), "cutoff", None)
        return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None

    # -- evaluation ------------------------------------------------------------------------------------------

    def compute(
        self, atoms: Atoms, properties: Sequence[str] | None = None, calc: Any = None, label: str = "structure"
    ) -> Result:
        """energy, forces and (fully periodic structures) stress by ASE's own methods; CheckFailed unless finite.

        `properties` restricts them; what the calculator lacks, and stress of what is not fully periodic, is left out.
        """
        result = raw_result(self.calc if calc is None else calc, atoms, self._select(properties, atoms))
        self.inspect(result, atoms, label)
        return result

    def charges(self, atoms: Atoms) -> np.ndarray | None:
        """Atomic charges (e), None for a calculator that has none."""
        if "charges" not in getattr(self.calc, "implemented_properties", ()):
            return None
        return np.asarray(self.calc.get_property("charges", atoms))

    def compute_many(self, structures: Sequence[Atoms], properties: Sequence[str] | None = None) -> list[Result]:
        """`compute` for many structures, in batches where the calculator has `evaluate`."""
        if not has_evaluate(self.calc):
            return [self.compute(a, properties) for a in structures]
        out: list[Result] = []
        for chunk in _chunks(structures):
            wanted = self._select(properties, chunk[0])
            if "stress" in wanted and not all(a.pbc.all() for a in chunk):
                wanted = tuple(p for p in wanted if p != "stress")
            for atoms, result in zip(chunk, self.calc.evaluate(chunk, wanted), strict=True):
                kept = {p: result[p] for p in wanted}
                self.inspect(kept, atoms, "structure")
                out.append({**kept, "n": len(atoms)})
        return out

    def energies(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Energies (eV) of many structures."""
        return np.array([r["energy"] for r in self.compute_many(structures, ("energy",))])

    def _select(self, properties: Sequence[str] | None, atoms: Atoms) -> tuple[str, ...]:
        chosen = [p for p in self.properties if properties is None or p in properties]
        return tuple(p for p in chosen if p != "stress" or atoms.pbc.all())

    @staticmethod
    def inspect(result: Result, atoms: Atoms, label: str) -> None:
        """CheckFailed for non-finite numbers and wrong shapes."""
        shapes = {"energy": (), "forces": (len(atoms), 3), "stress": (6,)}
        for name, shape in shapes.items():
            if name not in result:
                continue
            value = np.asarray(result[name])
            if value.shape != shape:
                raise CheckFailed(f"{name} of {label} has shape {value.shape} instead of {shape}")
            if not np.isfinite(value).all():
                raise CheckFailed(f"{name} of {label} ({len(atoms)} atoms of {atoms.symbols}) is not finite")

    def comparison(self) -> Comparison:
        return Comparison(self.tolerances)

    # -- structures ------------------------------------------------------------------------------------------

    def rng(self, *key: Any) -> np.random.Generator:
        """Random numbers that depend only on the seed and `key`."""
        return np.random.default_rng([self.seed, zlib.crc32(repr(key).encode())])

    def groups(self) -> list[tuple[str, ...]]:
        """Every element alone plus one random mixture; of many elements a quick run takes a few."""
        singles = [(e,) for e in self.elements]
        if self.quick and len(singles) > _QUICK_GROUPS:
            keep = sorted(self.rng("groups").permutation(len(singles))[:_QUICK_GROUPS])
            singles = [singles[k] for k in keep]
        return [*singles, self.mixture()] if len(self.elements) > 1 else singles

    def groups_note(self) -> str:
        """Says which elements were left out, for `reason`."""
        if self.quick and len(self.elements) > _QUICK_GROUPS:
            return f"quick: {_QUICK_GROUPS} of {len(self.elements)} elements and one mixture"
        return ""

    @cached_property
    def takes_slabs(self) -> bool:
        """False for a calculator that refuses structures periodic in one or two directions and says so by raising
        InvalidStructure, as those with Ewald sums do; checks leave such structures out then."""
        group = self.mixture()
        slab = fcc(group, self.d(group), self.rng("slab"))
        slab.pbc = (True, True, False)
        try:
            self.compute(slab, ("energy",))
        except InvalidStructure:
            return False
        except Exception:  # hides: any other failure, which the checks that have slabs find
            self.forget()
        return True

    def boundaries_note(self) -> str:
        """`groups_note`, with what is left out of the ways to be periodic."""
        refused = "" if self.takes_slabs else "all directions periodic, or none: others are refused"
        return "; ".join(x for x in (self.groups_note(), refused) if x)

    def mixture(self) -> tuple[str, ...]:
        """The species of the random mixture: all of them, or eight chosen at random."""
        order = self.rng("mixture").permutation(len(self.elements))[:_MIXTURE]
        return tuple(self.elements[k] for k in sorted(order))

    def lattice(self, group: tuple[str, ...], crystal: str = "fcc") -> Lattice:
        """The model's own lattice constant of fcc, or of diamond, for this element or mixture."""
        key = (crystal, *group)
        if key not in self._lattices:
            self._lattices[key] = self._find_lattice(group, crystal)
        return self._lattices[key]

    def d(self, group: tuple[str, ...]) -> float:
        """Nearest-neighbour distance (A) of the model's own fcc crystal."""
        return self.lattice(group).d

    def undistorted(self, group: tuple[str, ...], crystal: str, d: float) -> Atoms:
        """The crystal whose energy gives the lattice constant: one atom for fcc of one element, else eight."""
        if crystal == "diamond":
            return diamond(group, d, self.rng("lattice", group))
        if len(group) == 1:
            return primitive_fcc(group[0], d)
        return fcc(group, d, self.rng("lattice", group), (2, 1, 1), shake=0.0)

    def _find_lattice(self, group: tuple[str, ...], crystal: str) -> Lattice:
        errors: list[Exception] = []

        def energy(d: float) -> float:
            atoms = self.undistorted(group, crystal, d)
            try:
                return self.compute(atoms, ("energy",))["energy"] / len(atoms)
            except Exception as error:  # hides: a volume that the calculator refuses (the scan goes far)
                errors.append(error)
                return np.inf

        lattice = find_lattice(energy, group, crystal)
        if not lattice.found and errors:
            raise errors[-1]
        return lattice

    def save(self, label: str, atoms: Atoms) -> Atoms:
        """Remember a configuration for `save_to`; returns it."""
        if self.save_to is not None:
            self._saved.append((label, atoms.copy()))
        return atoms

    def flush(self, check: str) -> None:
        """Write the configurations remembered since the last call to `save_to/<check>.extxyz`."""
        if self.save_to is not None and self._saved:
            self.save_to.mkdir(parents=True, exist_ok=True)
            write_configurations(self.save_to / f"{check}.extxyz", self._saved)
        self._saved = []


# -- helpers ---------------------------------------------------------------------------------------------------


def name_of(group: Sequence[str]) -> str:
    """How a group of species is called in reports: "Cu" or "Al-Cu"."""
    return "-".join(group)


def raw_result(calc: Any, atoms: Atoms, properties: Sequence[str]) -> Result:
    """The named properties of a copy of `atoms`; CheckFailed if the calculator changes that copy."""
    mine = atoms.copy()
    mine.calc = calc
    result: Result = {"n": len(atoms)}
    for name in reversed(properties):  # the most expensive first: the others then come from the cache
        if name == "energy":
            energy = np.asarray(mine.get_potential_energy(), dtype=float)
            result[name] = float(energy) if energy.ndim == 0 else energy
        elif name == "forces":
            result[name] = np.array(mine.get_forces(apply_constraint=False), dtype=float)
        else:
            result[name] = np.array(mine.get_stress(apply_constraint=False), dtype=float)
    for name in ("positions", "numbers"):
        if not np.array_equal(mine.arrays[name], atoms.arrays[name], equal_nan=name == "positions"):
            raise CheckFailed(f"the calculator changed the {name} of the structure it was given")
    return result


def refusal(calc: Any, atoms: Atoms, properties: Sequence[str] = ("energy", "forces")) -> tuple[str, bool]:
    """What a calculator does with a structure that it should refuse: (what happened, refused?)."""
    has = getattr(calc, "implemented_properties", properties)
    wanted = [p for p in properties if p in has]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning is no refusal, not even where the caller makes warnings errors
        try:
            result = raw_result(calc, atoms, wanted)
        except CheckFailed:
            raise
        except Exception as error:  # hides nothing: any error is the refusal that is asked for
            return f"{type(error).__name__}: {error}", True
    values = {p: np.asarray(result[p]) for p in wanted}
    broken = [p for p, v in values.items() if not np.isfinite(v).all()]
    if broken:
        return f"returned a non-finite {broken[0]} without an error", False
    if "energy" in values:
        return f"returned energy {np.ravel(values['energy'])[0]:.6g} eV without an error", False
    return f"returned finite {', '.join(wanted)} without an error", False


def has_evaluate(calc: Any) -> bool:
    """True if the calculator has `evaluate(structures, properties)`."""
    method = getattr(calc, "evaluate", None)
    if not callable(method):
        return False
    try:
        return "properties" in inspect.signature(method).parameters
    except (TypeError, ValueError):  # a method of compiled code without a signature
        return False


def _chunks(structures: Sequence[Atoms]) -> list[list[Atoms]]:
    chunks: list[list[Atoms]] = []
    size = 0
    for atoms in structures:
        if not chunks or size + len(atoms) > _BATCH_ATOMS:
            chunks.append([])
            size = 0
        chunks[-1].append(atoms)
        size += len(atoms)
    return chunks


def _is_calculator(thing: Any) -> bool:
    return not inspect.isclass(thing) and (hasattr(thing, "get_property") or hasattr(thing, "get_potential_energy"))


def _as_factory(thing: Any, name: str) -> Callable[[], Any]:
    if _is_calculator(thing):
        return lambda: thing
    if callable(thing):
        return thing
    raise OptionError(f"{name} is {thing!r}; give an ASE calculator or a function without arguments that makes one")
