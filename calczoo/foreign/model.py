"""AseModel: an ASE calculator of another package as a Model of the zoo.

The calculator is made once, at first use. It is asked only for what is needed, sees structures that have been checked
(elements, cell, overlaps), and never changes a setting of the process; see settings.py and convert.py.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError as AsePropertyNotImplementedError
from ase.data import atomic_numbers

from ..compose import device_of
from ..core.card import Card
from ..core.errors import (
    BackendUnavailable,
    CalczooError,
    ForeignError,
    OptionError,
    PropertyNotImplementedError,
)
from ..core.pairs import Pairs
from ..core.results import Results
from ..core.system import System, check_elements
from .convert import ASE_NAMES, check_overlap, to_atoms, to_results
from .driver import Driver
from .settings import Settings

EvaluateMany = Callable[[list[Atoms], Sequence[str]], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Make:
    """How to make the ASE calculator: `make(model, device, dtype, **options)` of the module `worker`.

    Called here, it imports the module into this process; given to a worker process, it is sent as JSON, so model and
    options must be text, numbers, booleans, None, or lists and dicts of them (paths are sent as text). device: "auto"
    means CUDA where torch has it, else the CPU.
    """

    worker: str
    model: Any = None
    device: str = "auto"
    dtype: str = "float64"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Any:
        device = str(device_of(self.device))
        return importlib.import_module(self.worker).make(self.model, device, self.dtype, **self.options)


class ForeignModel:
    """What models around foreign code share: the attributes of `Model`, checks before any work, conversion of results.

    numbers: atomic numbers it knows, None for those of the card's elements; where the card has none either, the
    calculator is made and tells. outputs: of energy, energies, forces, virial, charges, dipole, magmoms,
    local_gap_variance, uncertainty ("stress" is understood as virial). device: where the tensors of structures are,
    "auto" as in get_calculator.
    """

    cutoff = 0.0
    """A: no neighbour list is made, the foreign code has its own. The physical cutoff stands in the card."""
    always: frozenset[str] = frozenset()
    on_request: frozenset[str] = frozenset()
    """Outputs that cost so much that only those get them who ask."""

    def __init__(
        self,
        card: Card,
        numbers: Iterable[int] | None = None,
        outputs: Iterable[str] = ("energy", "forces", "virial"),
        dtype: str | torch.dtype = "float64",
        device: str | torch.device = "cpu",
    ):
        self._card = card
        self._numbers = tuple(int(z) for z in numbers) if numbers is not None else _numbers_of(card)
        self.outputs = frozenset("virial" if o == "stress" else o for o in outputs) | {"energy"}
        if unknown := sorted(self.outputs - set(ASE_NAMES)):
            raise OptionError(f"{card.name}: '{unknown[0]}' is no output of a foreign code ({', '.join(ASE_NAMES)})")
        self.dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        self.device = device if isinstance(device, torch.device) else device_of(device)
        self.threads: int | None = None

    @property
    def card(self) -> Card:
        """Facts about the model; where the card that was given names no elements, completed by the calculator's own
        `facts` (elements, cutoff)."""
        if not self._card.elements:
            self._complete()
        return self._card

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers it knows."""
        if not self._numbers:
            self._complete()
        return self._numbers

    def known(self) -> tuple[Card, tuple[int, ...] | None]:
        """Card and atomic numbers as far as they are known without the foreign code."""
        return self._card, self._numbers or None

    def _complete(self) -> None:
        facts = self.facts()
        if not facts.get("elements") and not self._card.elements:
            raise ForeignError(f"{self._card.name} does not tell its elements; its adapter must name them in the card")
        known = {k: facts[k] for k in ("elements", "cutoff") if facts.get(k)}
        if "elements" in known:
            known["elements"] = tuple(known["elements"])
        self._card = replace(self._card, **known)
        self._numbers = self._numbers or _numbers_of(self._card)

    def compute(self, system: System, pairs: Pairs, need: frozenset[str]) -> Results:
        """Results for `need`; raises UnsupportedElement, AtomsOverlap, PropertyNotImplementedError before any work, and
        ForeignError, with what the foreign code raised as its cause, when that fails."""
        if missing := need - self.outputs:
            raise PropertyNotImplementedError(
                f"{self.card.name} does not compute {', '.join(sorted(missing))} "
                f"(has: {', '.join(sorted(self.outputs))})"
            )
        check_elements(system.numbers.cpu().numpy(), self.numbers, self.card.name)
        check_overlap(system)
        need |= {"energy"}
        rows = self.rows(system, [ASE_NAMES[n] for n in sorted(need)])
        return to_results(system, rows, need, self.dtype)

    def rows(self, system: System, properties: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """One row of ASE results per structure (see driver.py). To be defined in the derived class."""
        raise OptionError(f"{type(self).__name__} lacks rows(self, system, properties)")

    def facts(self) -> Mapping[str, Any]:
        """What the foreign calculator tells about itself, in an attribute `facts`: elements (symbols), cutoff (A)."""
        return {}


def _numbers_of(card: Card) -> tuple[int, ...]:
    return tuple(atomic_numbers[e] for e in card.elements)


class AseModel(ForeignModel):
    """Model around an ASE calculator.

    make_calculator: () -> ASE calculator; a `Make`, or anything that can be called again for copies (pickled copies
    need a function of a module, or functools.partial of one). It must give the same numbers every time.
    evaluate_many: (structures, ASE properties) -> one dict of ASE results each, for packages that evaluate batches; a
    method of that name of the calculator itself does the same. Properties are those that every structure has.
    card, numbers, outputs, dtype, device: see ForeignModel.
    """

    def __init__(
        self,
        card: Card,
        numbers: Iterable[int] | None,
        make_calculator: Callable[[], Any],
        outputs: Iterable[str] = ("energy", "forces", "virial"),
        dtype: str | torch.dtype = "float64",
        evaluate_many: EvaluateMany | None = None,
        device: str | torch.device = "cpu",
    ):
        super().__init__(card, numbers, outputs, dtype, device)
        self.make_calculator = make_calculator
        self.evaluate_many = evaluate_many
        self._start()

    def _start(self) -> None:
        self.settings = Settings()
        self._driver: Driver | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()

    # -- copies are made anew, because foreign calculators can rarely be copied --------------------------------

    def __getstate__(self) -> dict[str, Any]:
        own = ("settings", "_driver", "_lock", "_pid")
        return {k: v for k, v in self.__dict__.items() if k not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __deepcopy__(self, memo: dict) -> AseModel:
        other = object.__new__(type(self))
        memo[id(self)] = other
        other.__setstate__(self.__getstate__())
        return other

    # -- work --------------------------------------------------------------------------------------------------

    @property
    def driver(self) -> Driver:
        """The foreign calculator, made on first use, with what it saw last.

        Raises BackendUnavailable when its package cannot be imported, ForeignError when it cannot be made.
        """
        if self._pid != os.getpid():  # a forked child: a lock may be held by a thread that is not there
            self._lock, self._pid = threading.RLock(), os.getpid()
        with self._lock:
            if self._driver is None:
                with self.settings.construction(), foreign_errors(self._card.name, "cannot be made"):
                    self._driver = Driver(self.make_calculator(), self.evaluate_many)
            return self._driver

    @property
    def calculator(self) -> Any:
        """The foreign calculator, made on first use."""
        return self.driver.calculator

    def facts(self) -> Mapping[str, Any]:
        return getattr(self.calculator, "facts", None) or {}

    def rows(self, system: System, properties: Sequence[str]) -> list[dict[str, Any]]:
        driver, many = self.driver, to_atoms(system)
        with self._lock, self.settings.call(self.threads), foreign_errors(self._card.name, "failed"):
            return driver.evaluate(many, properties)


class foreign_errors:
    """Context: what foreign code raises becomes an error of calczoo; the original is the cause."""

    def __init__(self, name: str, what: str):
        self.name, self.what = name, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, (CalczooError, MemoryError)):
            return
        text = f"{self.name} {self.what}: {type(error).__name__}: {error}"
        if isinstance(error, AsePropertyNotImplementedError):
            raise PropertyNotImplementedError(text) from error
        if isinstance(error, ImportError):
            raise BackendUnavailable(
                f"{text}; install the package that this calculator wraps, or use its own environment where it has one "
                "(calczoo env create NAME, then isolated=True)"
            ) from error
        raise ForeignError(text) from error
