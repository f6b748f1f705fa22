"""The ASE calculator: ASE's own for KIM models. Imports nothing of calczoo, so that it also runs in an environment of
its own.

The KIM API writes a file kim.log into the current folder; it is told to be silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes


def make(
    model: str,
    device: str = "cpu",
    dtype: str = "float64",
    simulator: str | None = None,
    neigh_skin_ratio: float | None = None,
) -> KimCalculator:
    """The calculator of an installed model."""
    quiet()
    return KimCalculator(model, simulator, neigh_skin_ratio)


_QUIET: list[bool] = []


def quiet() -> None:
    """No log file, from now on in this process. Raises ImportError without kimpy."""
    import kimpy

    if not _QUIET:
        kimpy.log.Log.push_default_verbosity(kimpy.log_verbosity.silent)
        _QUIET.append(True)


def known_species(model: str) -> tuple[str, ...]:
    """Chemical symbols that an installed model knows; other species names of KIM (user01) are left out."""
    from ase.calculators.kim import get_model_supported_species
    from ase.data import atomic_numbers

    return tuple(str(s) for s in get_model_supported_species(model) if str(s) in atomic_numbers)


class KimCalculator(Calculator):
    """ASE calculator around the one that ase.calculators.kim.KIM returns, whatever simulator that uses.

    facts: elements, and the cutoff (A) where the model tells it.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, model: str, simulator: str | None = None, neigh_skin_ratio: float | None = None):
        super().__init__()
        from ase.calculators.kim import KIM

        options = {} if neigh_skin_ratio is None else {"neigh_skin_ratio": neigh_skin_ratio}
        self.inner = KIM(model, simulator=simulator, options=options)
        self.facts: dict[str, Any] = {"elements": list(known_species(model))}
        reach = influence_distance(self.inner)
        if reach is not None:
            self.facts["cutoff"] = reach

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        self.inner.calculate(self.atoms, [p for p in properties if p != "free_energy"], list(system_changes))
        self.results = {k: v for k, v in self.inner.results.items() if v is not None}


def influence_distance(calculator: Any) -> float | None:
    """A: how far an atom's energy reaches, where ASE's calculator holds a portable model."""
    model = getattr(getattr(calculator, "_kimmodeldata", None), "kim_model", None)
    for part in (model, getattr(model, "kim_model", None)):
        if hasattr(part, "get_influence_distance"):
            return float(part.get_influence_distance())
    return None
