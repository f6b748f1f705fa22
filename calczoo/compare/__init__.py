"""Engine parity: the same potential by every engine that has it, on the user's own structures.

    from calczoo.compare import compare
    report = compare("eam:Cu_mishin1.eam.alloy", structures, references=["lammps:Cu.inc"])
    print(report); report.ok

The first engine (the torch backend in double precision, where there is one) is what the others are measured by: other
backends, batched evaluation, single precision, CUDA, and the reference codes. Where LAMMPS or QUIP read the potential's
own file, and the plug-in is installed, they are among the rows on their own accord; see natural.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engines import Engine
    from .natural import Counterpart, counterpart
    from .report import ParityReport, Row
    from .runner import compare
    from .structures import default_structures

_HOMES = {
    "Counterpart": "natural",
    "Engine": "engines",
    "ParityReport": "report",
    "Row": "report",
    "compare": "runner",
    "counterpart": "natural",
    "default_structures": "structures",
}

__all__ = ["Counterpart", "Engine", "ParityReport", "Row", "compare", "counterpart", "default_structures"]


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
