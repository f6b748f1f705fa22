"""calczoo: a zoo of interatomic potentials behind one ASE calculator.

    from calczoo import get_calculator
    atoms.calc = get_calculator("snap:Mo")
"""

from .committee import committee
from .compositions import Cylinder, Slab, Sphere, add, by_region, delta, energy_shift, scale, switch
from .core.card import Card
from .core.errors import CalczooError
from .registry import Family, ModelRequest, describe, get_calculator, get_family, hookimpl, list_calculators
from .watch import ExtrapolationStop, grade_watch

__version__ = "0.1.0"

__all__ = [
    "CalczooError",
    "Card",
    "Cylinder",
    "ExtrapolationStop",
    "Family",
    "ModelRequest",
    "Slab",
    "Sphere",
    "__version__",
    "add",
    "by_region",
    "committee",
    "delta",
    "describe",
    "energy_shift",
    "get_calculator",
    "get_family",
    "grade_watch",
    "hookimpl",
    "list_calculators",
    "scale",
    "switch",
]
