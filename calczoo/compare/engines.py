"""Engines: the ways in which one potential can be evaluated here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from ..core.counting import allowed_kinds
from ..core.errors import OptionError
from ..registry import family_names, get_calculator, get_family
from .natural import Counterpart, counterpart

REFERENCE = "reference"


@dataclass(frozen=True)
class Engine:
    """make: a new calculator; kind: "float64" or "float32", which chooses the tolerances, or "reference"; batched: all
    structures in one call; asked: the user named it, so that it must be there; device: where it runs."""

    label: str
    make: Callable[[], Any]
    kind: str = "float64"
    batched: bool = False
    asked: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Subject:
    """What is compared: the arguments of get_calculator."""

    spec: str
    model: Any = None
    elements: Any = None
    threads: int | None = None
    options: Mapping[str, Any] | None = None

    def requests(self) -> list[tuple]:
        """(factor, ModelRequest) of every term."""
        from ..registry import requests

        options = dict(self.options or {})
        common = {"allow": allowed_kinds(options.pop("allow", ()))}  # of the sum, not of a family
        return requests(self.spec, self.model, self.elements, common, options)

    def calculator(self, device: str, dtype: str, backend: str) -> Any:
        return get_calculator(
            self.spec, self.model, self.elements, device, dtype, backend, threads=self.threads, **(self.options or {})
        )

    def backends(self) -> tuple[str, ...]:
        """Those that all terms have; "auto" where none of them has any of its own."""
        has = [set(f.backends) for _, r in self.requests() if (f := get_family(r.family)).backends]
        shared = tuple(b for b in ("torch", "warp") if has and all(b in one for one in has))
        return shared or ("auto",)


def own_engines(subject: Subject, devices: Sequence[str] | None = None) -> list[Engine]:
    """Every backend on every device, in double and single precision, one by one and batched; the first is the one that
    the others are measured by. devices: default the CPU, and CUDA where there is one."""
    if devices is None:
        devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    out = []
    for device, dtype, backend, batched in product(devices, ("float64", "float32"), subject.backends(), (False, True)):
        name = get_family(subject.requests()[0][1].family).name if backend == "auto" else backend
        words = (name, dtype, "batched" if batched else "", "" if device == "cpu" else device)
        make = _Maker(subject, device, dtype, backend)
        out.append(Engine(" ".join(filter(None, words)), make, dtype, batched, device=device))
    return out


@dataclass(frozen=True)
class _Maker:
    subject: Subject
    device: str
    dtype: str
    backend: str

    def __call__(self) -> Any:
        return self.subject.calculator(self.device, self.dtype, self.backend)


def reference_engines(
    subject: Subject, references: Sequence[Any], elements: Sequence[str], natural: bool
) -> tuple[list[Engine], list[tuple[str, str]]]:
    """Engines of other codes, and (label, reason) of the natural one where it cannot be had.

    references: specs, ASE calculators, or functions that make them. elements: of the potential.
    """
    out = [_asked(reference, elements) for reference in references]
    absent = []
    if natural:
        found = counterpart(subject.requests(), elements)
        if isinstance(found, Counterpart) and found.family in family_names():
            out.insert(0, Engine(found.label, lambda: found.calculator(subject.threads), REFERENCE))
        elif isinstance(found, Counterpart):
            plugin = f"calczoo-{found.family}"
            reason = f"{plugin} is not installed (in the folder of calczoo's sources: pip install plugins/{plugin})"
            absent.append((found.label, reason))
        elif not references:
            absent.append(("reference code", found))
    return out, absent


def _asked(reference: Any, elements: Sequence[str]) -> Engine:
    if isinstance(reference, str):
        return Engine(reference, lambda: _of_spec(reference, elements), REFERENCE, asked=True)
    if hasattr(reference, "get_potential_energy") and not isinstance(reference, type):
        return Engine(type(reference).__name__, lambda: reference, REFERENCE, asked=True)
    if callable(reference):
        return Engine(getattr(reference, "__name__", "reference"), reference, REFERENCE, asked=True)
    raise OptionError(f"a reference is a spec, an ASE calculator or a function that makes one, not {reference!r}")


def _of_spec(spec: str, elements: Sequence[str]) -> Any:
    """The calculator of a spec; where it does not know its elements, those of the potential."""
    try:
        return get_calculator(spec, device="cpu")
    except OptionError as error:
        if "elements" not in str(error):
            raise
        try:
            return get_calculator(spec, elements=list(elements), device="cpu")
        except OptionError:
            raise error from None
