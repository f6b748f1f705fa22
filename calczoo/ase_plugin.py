"""Families for ASE's own plug-in list (entry point group `ase.plugins`): one calculator class per family.

    from ase._4.plugins import plugins
    snap = next(p for p in plugins.calculators if p.name == "calczoo.snap").implementation
    atoms.calc = snap("Mo")

ASE loads this module whenever it lists plug-ins, so nothing heavy is imported here. The plug-in classes of ASE live
under a private path that may move; without them the list is empty and nothing else is lost.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from .registry import BUILTIN, family_names, get_family

if TYPE_CHECKING:
    from .calculator import ZooCalculator


@cache
def calculator_class(family: str) -> type[ZooCalculator]:
    """An ASE calculator class whose first argument is the model: calculator_class("snap")("Mo", device="cpu").

    All arguments are those of `calczoo.get_calculator`.
    """
    from .calculator import ZooCalculator
    from .registry import get_calculator

    class FamilyCalculator(ZooCalculator):
        def __init__(self, model: Any = None, *args: Any, **options: Any):
            made = get_calculator(family, model, *args, **options)
            super().__init__(made.model, skin=made.skin, max_memory_gib=made.max_memory_gib)

    name = "".join(part.capitalize() for part in family.replace("-", "_").split("_"))
    FamilyCalculator.__name__ = FamilyCalculator.__qualname__ = f"Calczoo{name}"
    FamilyCalculator.__doc__ = f"Calculators of calczoo's family '{family}'; arguments as in calczoo.get_calculator."
    return FamilyCalculator


@cache
def ase_plugins() -> frozenset[Any]:
    """One CalculatorPlugin per family; plug-ins of other packages are named, not loaded."""
    try:
        from ase._4.plugins.plugin import CalculatorPlugin
    except ImportError:
        return frozenset()
    return frozenset(
        CalculatorPlugin(
            f"calczoo.{name}",
            citation=get_family(name).citation if name in BUILTIN else "",
            implementation=partial(calculator_class, name),
        )
        for name in family_names()
    )


def __getattr__(name: str) -> Any:
    # a late attribute: importing ASE's plug-in classes while this module is being imported would make ASE look at a
    # half-made module
    if name == "__ase_plugins__":
        return ase_plugins()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
