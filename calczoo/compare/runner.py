"""Evaluating structures by every engine, and measuring the differences."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from ..core.errors import BackendUnavailable, CalczooError, OptionError, PropertyNotImplementedError
from ..verify.base import PROFILES
from .engines import REFERENCE, Engine, Subject, own_engines, reference_engines
from .report import BASE, DIFFERS, FAILED, NA, OK, Bounds, ParityReport, Row
from .structures import default_structures

PROPERTIES = ("energy", "forces", "stress")
SHIFT = np.array([0.37, 0.21, 0.11])
"""A, by which all atoms are moved for the timed calls, so that no engine can answer with what it remembers."""
_REFERENCE = Bounds(1e-9, 1e-7, 1e-8)
"""For codes that read the same files: other sums, other roots of the same numbers."""

Result = dict[str, Any]


def compare(
    spec: str,
    structures: Sequence[Atoms] | None = None,
    model: Any = None,
    elements: Any = None,
    *,
    references: Sequence[Any] = (),
    natural: bool = True,
    energy: float | None = None,
    forces: float | None = None,
    stress: float | None = None,
    devices: Sequence[str] | None = None,
    threads: int | None = None,
    repeats: int = 3,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda engine, done, total: None,
    **options: Any,
) -> ParityReport:
    """The engine-parity report of a potential.

    spec, model, elements, threads, options: as in get_calculator. structures: default those of structures.py.
    references: further engines, each a spec, an ASE calculator or a function that makes one. natural: whether LAMMPS or
    QUIP are asked on their own accord where they read the same files. energy (eV/atom), forces (eV/A), stress (eV/A^3):
    bounds for double precision and references (default 1e-10, 1e-8, 1e-9, and 1e-9, 1e-7, 1e-8 for references); those
    for single precision are the conformance kit's. devices: default the CPU, and CUDA where there is one. repeats:
    timed evaluations, of which the fastest counts; 0 for none. progress: (engine, done, total).

    Raises what get_calculator and the first engine raise; failures of other engines stand in their rows.
    """
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 0:
        raise OptionError(f"repeats is {repeats!r}; it must be a whole number of at least 0")
    subject = Subject(spec, model, elements, threads, options)
    own = own_engines(subject, devices)
    first = own[0]
    base = first.make()
    known = tuple(base.card.elements)
    if structures is None:
        structures = default_structures(lambda many: [r["energy"] for r in base.evaluate(many, ("energy",))], known)
    many = [a.copy() for a in structures]
    if not many:
        raise OptionError("no structure to compare on")
    for name, value in (("energy", energy), ("forces", forces), ("stress", stress)):
        if value is not None and not value >= 0.0:
            raise OptionError(f"the bound of {name} is {value!r}; it must be a number of at least 0")
    others, absent = reference_engines(subject, references, known, natural)
    engines = own + others
    want = evaluate(base, many, first.batched)
    rows = []
    base_time = _seconds(base, many, first.batched, repeats)
    rows.append(_base_row(first, base_time, many))
    for k, engine in enumerate(engines[1:], start=1):
        progress(engine.label, k, len(engines))
        bounds = _bounds(engine.kind, energy, forces, stress)
        rows.append(_row(engine, many, want, bounds, repeats, base_time))
    rows += [Row(label, REFERENCE, NA, reason=reason) for label, reason in absent]
    name = spec if model is None else f"{spec} {model}"
    empty = not any(np.any(result[p]) for result in want for p in ("energy", "forces") if p in result)
    return ParityReport(name, len(many), sum(map(len, many)), tuple(rows), empty)


def evaluate(calculator: Any, many: Sequence[Atoms], batched: bool) -> list[Result]:
    """energy, forces, and the stress of fully periodic structures, as far as the calculator has them."""
    has = getattr(calculator, "implemented_properties", PROPERTIES)
    names = [p for p in PROPERTIES if p in has]
    if not hasattr(calculator, "evaluate"):
        return [_by_ase(calculator, atoms, names) for atoms in many]
    if batched:
        return _batch(calculator, many, names)
    return [_batch(calculator, [atoms], names)[0] for atoms in many]


def _batch(calculator: Any, many: Sequence[Atoms], names: Sequence[str]) -> list[Result]:
    some = any(a.pbc.all() for a in many)
    return calculator.evaluate(list(many), tuple(p for p in names if p != "stress" or some))


def _by_ase(calculator: Any, atoms: Atoms, names: Sequence[str]) -> Result:
    copy = atoms.copy()
    copy.calc = calculator
    get = {"energy": copy.get_potential_energy, "forces": copy.get_forces, "stress": copy.get_stress}
    return {p: get[p]() for p in names if p != "stress" or copy.pbc.all()}


def _seconds(calculator: Any, many: Sequence[Atoms], batched: bool, repeats: int) -> float | None:
    """The fastest of some evaluations of all structures, neighbour lists included."""
    best = None
    for k in range(repeats):
        moved = [a.copy() for a in many]
        for atoms in moved:
            atoms.positions += (k + 1) * SHIFT
        start = time.perf_counter()
        evaluate(calculator, moved, batched)
        taken = time.perf_counter() - start
        best = taken if best is None else min(best, taken)
    return best


def _base_row(engine: Engine, seconds: float | None, many: Sequence[Atoms]) -> Row:
    each = None if seconds is None else seconds / max(sum(map(len, many)), 1)
    return Row(engine.label, engine.kind, BASE, 0.0, 0.0, 0.0, each, None if seconds is None else 1.0)


def _row(
    engine: Engine,
    many: Sequence[Atoms],
    want: Sequence[Result],
    bounds: Bounds,
    repeats: int,
    base_time: float | None,
) -> Row:
    try:
        calculator = engine.make()
        got = evaluate(calculator, many, engine.batched)
        largest, ratio, where = differences(got, want, many, bounds)
        seconds = _seconds(calculator, many, engine.batched, repeats)
    except (BackendUnavailable, PropertyNotImplementedError) as error:
        return Row(engine.label, engine.kind, FAILED if engine.asked else NA, bounds=bounds, reason=_first_line(error))
    except Exception as error:  # the row of an engine that fails must not cost the others
        kind = "" if isinstance(error, CalczooError) else f"{type(error).__name__}: "
        return Row(engine.label, engine.kind, FAILED, bounds=bounds, reason=kind + _first_line(error))
    each = None if seconds is None else seconds / max(sum(map(len, many)), 1)
    slower = None if seconds is None or not base_time else seconds / base_time
    verdict = OK if ratio <= 1.0 else DIFFERS
    return Row(
        engine.label, engine.kind, verdict, largest.get("energy"), largest.get("forces"), largest.get("stress"), each,
        slower, bounds, where if verdict == DIFFERS else "",
    )  # fmt: skip


def differences(
    got: Sequence[Result], want: Sequence[Result], many: Sequence[Atoms], bounds: Bounds
) -> tuple[dict[str, float], float, str]:
    """Largest differences by property, the largest in units of its bound, and the structure of that one."""
    largest: dict[str, float] = {}
    worst, where = 0.0, ""
    for k, (a, b, atoms) in enumerate(zip(got, want, many, strict=True)):
        for name in PROPERTIES:
            if name not in a or name not in b:
                continue
            per = max(len(atoms), 1) if name == "energy" else 1
            x, y = np.asarray(a[name], dtype=float) / per, np.asarray(b[name], dtype=float) / per
            apart = float(np.abs(x - y).max(initial=0.0))
            apart = apart if np.isfinite(apart) else float("inf")
            allowed = getattr(bounds, name) * max(1.0, float(np.abs(y).max(initial=0.0)))
            largest[name] = max(largest.get(name, 0.0), apart)
            relative = apart / allowed if allowed > 0.0 else (float("inf") if apart > 0.0 else 0.0)
            if relative > worst:
                worst, where = relative, f"structure {k} ({atoms.info.get('name') or atoms.get_chemical_formula()})"
    return largest, worst, where


def _bounds(kind: str, energy: float | None, forces: float | None, stress: float | None) -> Bounds:
    """Those asked for do not hold for single precision, which has its own."""
    if kind == "float32":
        profile = PROFILES["float32"]
        return Bounds(profile.energy, profile.forces, profile.stress)
    profile = PROFILES["float64"]
    own = _REFERENCE if kind == REFERENCE else Bounds(profile.energy, profile.forces, profile.stress)
    given = (energy, forces, stress)
    return Bounds(*(own_value if x is None else x for x, own_value in zip(given, vars(own).values(), strict=True)))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
