"""The error tree: everything calczoo raises derives from `CalczooError`.

Each message says what was wrong, the value, what is allowed and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ase.calculators.calculator import PropertyNotImplementedError as _AsePropertyNotImplementedError


class CalczooError(Exception):
    """Base of all errors of this project."""


# -- what the user asked for ---------------------------------------------------------------------------------


class SpecError(CalczooError, ValueError):
    """A calculator spec (`"eam:Ni.adp + zbl(1.0, 2.0)"`) cannot be parsed or does not make sense."""


class OptionError(CalczooError, ValueError):
    """An option has an unknown name or a value out of range."""


class UnknownCalculator(CalczooError, KeyError):
    """No family, or no bundled model, of that name."""

    __str__ = Exception.__str__  # KeyError would print the repr


class PluginError(CalczooError):
    """A plug-in could not be loaded, or collides with another one."""


class BackendUnavailable(CalczooError, RuntimeError):
    """The asked backend or device does not exist for this family or on this machine."""


class PropertyNotImplementedError(CalczooError, _AsePropertyNotImplementedError):
    """The model, or this structure, does not have the asked property."""


# -- structures ----------------------------------------------------------------------------------------------


class StructureError(CalczooError, ValueError):
    """A structure that no model can evaluate."""


class InvalidStructure(StructureError):
    """Positions, charges or numbers that are not finite or have the wrong shape."""


class UnsupportedPeriodicity(InvalidStructure, NotImplementedError):
    """A model that has no energy for structures periodic in these directions, such as one with long-range forces."""


class InvalidCell(StructureError):
    """A periodic direction without a usable cell vector."""

    def __init__(self, message: str, cell: Sequence[Sequence[float]]):
        rows = ", ".join("[" + ", ".join(f"{x:.6g}" for x in row) + "]" for row in cell)
        super().__init__(f"{message}; cell vectors (A): {rows}")
        self.cell = cell


class AtomsOverlap(StructureError):
    """Two atoms closer than 0.001 A."""

    def __init__(self, i: int, j: int, d: float, where: str = ""):
        super().__init__(
            f"atoms {i} and {j}{where} are {d:.3g} A apart (less than 0.001 A): two atoms on one spot; "
            "remove the duplicate (ase.geometry.get_duplicate_atoms(atoms, delete=True))"
        )
        self.i, self.j, self.d = i, j, d


class UnsupportedElement(StructureError):
    """An atom whose element the model does not know."""

    def __init__(self, symbol: str, atom: int, model: str, allowed: Iterable[str], where: str = ""):
        self.symbol, self.atom, self.model, self.allowed = symbol, atom, model, tuple(allowed)
        super().__init__(
            f"'{symbol}' (atom {atom}{where}) is not in {model} (has: {', '.join(self.allowed)}). "
            f"Potentials with it: calczoo list --elements {symbol}"
        )


class TooLarge(StructureError):
    """The evaluation would need more memory than allowed."""

    def __init__(self, needed_gib: float, limit_gib: float):
        self.needed_gib, self.limit_gib = needed_gib, limit_gib
        super().__init__(
            f"needs about {needed_gib:.1f} GiB, the limit is {limit_gib:.1f} GiB; evaluate fewer atoms at a time or "
            "raise the limit with get_calculator(..., max_memory_gib=...)"
        )


# -- results -------------------------------------------------------------------------------------------------


class NonFiniteResult(CalczooError, ArithmeticError):
    """A model returned NaN or infinity for a finite structure; such a number is never handed out."""


class ForeignError(CalczooError, RuntimeError):
    """The code of another package failed, or returned what no calculator should."""


class WorkerError(ForeignError):
    """The worker process of an isolated calculator died, hangs or cannot be started."""


class ConvergenceError(CalczooError, RuntimeError):
    """An iteration did not converge."""


# -- files ---------------------------------------------------------------------------------------------------


class PotentialFileError(CalczooError, ValueError):
    """A parameter file that is missing, truncated, edited or of another format.

    Attributes: `file`, `line` (1-based, or None), `what` (what was found), `expected`.
    """

    def __init__(self, file: str | Path, line: int | None, what: str, expected: str):
        self.file, self.line, self.what, self.expected = str(file), line, what, expected
        where = f"{self.file}, line {line}" if line else self.file
        super().__init__(f"{where}: {what}; expected {expected}")


class WeightsMissing(CalczooError, FileNotFoundError):
    """Published weights that are not on this machine."""


class FitError(CalczooError, RuntimeError):
    """A fit cannot be made from the given data and settings."""


class DataError(CalczooError, ValueError):
    """A data set that lacks what is asked of it."""
