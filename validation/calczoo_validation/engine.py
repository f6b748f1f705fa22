"""Evaluator: energies, forces and stresses of many structures at once, for any ASE calculator.

A calculator with `evaluate(list_of_atoms, properties)` gets each list in one call; any other ASE calculator is called
once per structure. Both ways check that what comes back is finite, and count the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress

from .strain import strain_matrix, strained

NUMERICAL_STRAIN = 1e-3  # strain of the numerical stress: error of second order, far above round-off


class EvaluationError(RuntimeError):
    """The calculator raised, or returned something that is not finite, for one structure."""

    def __init__(self, index: int, atoms: Atoms, what: str):
        super().__init__(f"structure {index} ({atoms.get_chemical_formula()}, {len(atoms)} atoms): {what}")
        self.index = index


class Evaluator:
    """Batched evaluation with counters; `max_atoms` bounds the atoms that one batched call gets."""

    def __init__(self, calculator: Any, max_atoms: int = 20000, on_structures: Callable[[int], None] | None = None):
        self.calculator = calculator
        self.max_atoms = max_atoms
        self.on_structures = on_structures or (lambda n: None)
        self.batched = callable(getattr(calculator, "evaluate", None))
        implemented = getattr(calculator, "implemented_properties", None)
        self.has_stress = not implemented or "stress" in implemented
        self._tried = False
        self.calls = self.structures = self.atoms = 0

    def counts(self) -> dict[str, int]:
        return {"calls": self.calls, "structures": self.structures, "atoms": self.atoms}

    def evaluate(
        self, structures: Sequence[Atoms], properties: Sequence[str] = ("energy", "forces"), errors: str = "raise"
    ) -> list[Any]:
        """One dict per structure with energy (eV), forces (n, 3) (eV/A), stress (6,) (eV/A^3, ASE sign), as asked.

        errors="return" puts the exception in the place of the structure that caused it, so that one bad structure does
        not take the others with it. A calculator without stress gets it from energy differences.
        """
        wanted = tuple(properties)
        if "stress" in wanted and self.has_stress and structures and not self._tried:
            self._try_stress(structures[0], wanted)
        numerical = "stress" in wanted and not self.has_stress
        first = tuple(p for p in wanted if p != "stress") if numerical else wanted
        results: list[Any] = []
        for chunk in self._chunks(structures):
            results += self._checked(chunk, first or ("energy",), len(results), errors)
        if numerical:
            for atoms, result in zip(structures, results, strict=True):
                if isinstance(result, dict):
                    result["stress"] = self.numerical_stress(atoms)
        return results

    def _try_stress(self, atoms: Atoms, wanted: tuple[str, ...]) -> None:
        """One call at the start: a calculator may list stress and yet refuse it (or list nothing)."""
        self._tried = True
        before = self.calls, self.structures, self.atoms
        (result,) = self._checked([atoms], wanted, 0, "return")
        self.calls, self.structures, self.atoms = before  # a question, not part of the work
        self.has_stress = not isinstance(result, NotImplementedError)

    def numerical_stress(self, atoms: Atoms, h: float = NUMERICAL_STRAIN) -> np.ndarray:
        """(6,) stress in eV/A^3: sigma_j = (E(+h_j) - E(-h_j)) / (2 h V), with engineering shear strains."""
        cells = [strained(atoms, strain_matrix(j, s * h)) for j in range(6) for s in (1, -1)]
        energies = np.array([r["energy"] for r in self.evaluate(cells, ("energy",))]).reshape(6, 2)
        return (energies[:, 0] - energies[:, 1]) / (2 * h * atoms.get_volume())

    def _chunks(self, structures: Sequence[Atoms]):
        chunk, size = [], 0
        for atoms in structures:
            if chunk and size + len(atoms) > self.max_atoms:
                yield chunk
                chunk, size = [], 0
            chunk.append(atoms)
            size += len(atoms)
        if chunk:
            yield chunk

    def _checked(self, chunk: list[Atoms], properties: tuple[str, ...], offset: int, errors: str) -> list[Any]:
        raw = self._batch(chunk, properties) if self.batched else None
        if raw is None:
            raw = [self._single(atoms, properties) for atoms in chunk]
        out: list[Any] = []
        for k, (atoms, result) in enumerate(zip(chunk, raw, strict=True)):
            if isinstance(result, dict):
                try:
                    result = _normalised(result, properties, len(atoms))
                except ValueError as error:
                    result = EvaluationError(offset + k, atoms, str(error))
            if isinstance(result, Exception) and errors == "raise":
                if isinstance(result, EvaluationError | NotImplementedError):
                    raise result
                raise EvaluationError(offset + k, atoms, f"{type(result).__name__}: {result}") from result
            out.append(result)
        self.structures += len(chunk)
        self.atoms += sum(len(a) for a in chunk)
        self.on_structures(len(chunk))
        return out

    def _batch(self, chunk: list[Atoms], properties: tuple[str, ...]) -> list[Any] | None:
        """One batched call; None when it raised, so that single calls find the structure at fault."""
        self.calls += 1
        try:
            return list(self.calculator.evaluate(chunk, properties=properties))
        except Exception:  # whatever it is, the single calls raise it again with the structure's index
            if hasattr(self.calculator, "get_property"):
                return None
            return [_caught(self._one_batch, [atoms], properties) for atoms in chunk]

    def _one_batch(self, one: list[Atoms], properties: tuple[str, ...]) -> dict[str, Any]:
        return self.calculator.evaluate(one, properties=properties)[0]

    def _single(self, atoms: Atoms, properties: tuple[str, ...]) -> Any:
        self.calls += 1
        return _caught(self._ase, atoms, properties)

    def _ase(self, atoms: Atoms, properties: tuple[str, ...]) -> dict[str, Any]:
        work = atoms.copy()
        work.calc = self.calculator
        result = {}
        for name in properties:
            got = self._get(name, work)
            if got is None:
                raise PropertyNotImplementedError(f"the calculator gives no {name}")
            result[name] = np.array(got, dtype=float) if name != "energy" else float(got)
        return result

    def _get(self, name: str, atoms: Atoms) -> Any:
        """One property; a calculator that raises is reset, because some keep half of the failed structure."""
        try:
            return self.calculator.get_property(name, atoms)
        except Exception:  # noqa: BLE001 - whatever somebody else's calculator raises; raised again below
            reset = getattr(self.calculator, "reset", None)
            if callable(reset):
                reset()
            raise


def _caught(function: Callable[..., Any], *args: Any) -> Any:
    """The function's result, or the exception it raised: calculators of others may raise anything."""
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001 - handed on as a value and reported with the structure's index
        return error


def _normalised(result: dict[str, Any], properties: tuple[str, ...], natoms: int) -> dict[str, Any]:
    """Check shape and finiteness; stress as Voigt (6,). Raises ValueError naming the property."""
    out: dict[str, Any] = {}
    for name in properties:
        if name not in result:
            raise ValueError(f"the calculator returned no {name}")
        value = np.asarray(result[name], dtype=float)
        if name == "stress" and value.shape == (3, 3):
            value = full_3x3_to_voigt_6_stress(value)
        shape = {"energy": (), "forces": (natoms, 3), "stress": (6,)}.get(name, value.shape)
        if value.shape != shape:
            raise ValueError(f"{name} has shape {value.shape} instead of {shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} is not finite")
        out[name] = float(value) if name == "energy" else value
    return out
