"""Calculators of packages that cannot share an environment: each in a worker process of an environment of its own.

    calczoo env create mace                                   # once: makes the environment from the plug-in's pins
    calc = get_calculator("mace:small.model", isolated=True)   # the default where the plug-in says so

isolated= takes True, False, or the interpreter (or folder) of an environment made by other means. See process.py for
what happens when a process dies or hangs, and environments.py for where environments are.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from ..core.errors import OptionError, PluginError
from ..family import Family

if TYPE_CHECKING:
    from ..core.model import Model

__all__ = ["isolate", "isolation_of"]


def isolation_of(family: Family, asked: bool | str | None) -> bool | str:
    """Whether a family's calculators get a process of their own: what is asked for, else the family's default."""
    if asked is None:
        return family.isolated and bool(family.worker) and not _importable(family.package)
    if not isinstance(asked, (bool, str)):
        raise OptionError(f"isolated is {asked!r}; expected True, False, or the interpreter of an environment")
    if asked and not family.worker:
        raise OptionError(f"'{family.name}' runs in this process only: it wraps no other package (isolated={asked!r})")
    return asked


def isolate(model: Model, family: Family, where: bool | str) -> Model:
    """The same calculator in a worker process. where: True for the family's environment, else an interpreter or folder.

    Raises PluginError for a model that was not built with a `Make`, BackendUnavailable without the environment.
    """
    from ..foreign.model import AseModel, Make
    from .environments import interpreter
    from .model import IsolatedModel

    if not isinstance(model, AseModel) or not isinstance(model.make_calculator, Make):
        raise PluginError(
            f"'{family.name}' ({family.origin}) cannot run in a process of its own: its build must return an AseModel "
            "whose make_calculator is a calczoo.foreign.Make"
        )
    python = interpreter(family, None if where is True else str(where))
    card, numbers = model.known()
    made = IsolatedModel(card, numbers, model.make_calculator, python, model.outputs, model.dtype, model.device)
    made.on_request = model.on_request
    return made


def _importable(package: str) -> bool:
    try:
        return bool(package) and importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False
