"""What an MTP fit can be told, and the shape of the potential that follows from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ...core.elements import parse_elements
from ...core.errors import OptionError
from ...fitting.data import Dataset
from .params import MAX_CUTOFF, MtpParams

Scan = float | Sequence[float]
SCANNED = ("level", "max_dist", "radial_basis_size", "min_dist", "energy_weight", "stress_weight", "ridge")
"""Settings that may be lists, whose values are then tried on held-out structures."""

TEXTS = ("name", "level_of_theory", "training_data", "citation", "doi", "licence", "resume", "device", "basis")
UNUSED = (*TEXTS[:6], "resume", "device", "threads", "memory", "save_every")
"""Settings that do not change what a fit gives."""
_MAPPINGS = ("group_weights", "score", "compression")
_WHOLE = {"starts": 1, "start_iterations": 1, "start_atoms": 1, "iterations": 1, "seed": 0, "contacts": 0, "folds": 2,
          "holdouts": 1, "search_atoms": 1, "search_iterations": 1, "save_every": 1}  # fmt: skip
_BASES = ("RBChebyshev", "RBChebyshev_repuls")


@dataclass(frozen=True)
class FitSettings:
    """What a fit can be told; a list of values (for those in SCANNED) means: choose on held-out structures.

    level: of the moments. max_dist: cutoff in A; None takes 2.0 times the mean distance (V/N)^(1/3), of the quarter of
    the structures that is densest (others hold vacuum). min_dist: A, where the radial basis begins; None takes the
    shortest distance of the data. radial_basis_size; basis: RBChebyshev, or RBChebyshev_repuls, which is constant and
    repels below min_dist.
    energy_weight (atom/eV), force_weight (A/eV), stress_weight (A^3/eV): multiply the residuals of energies per atom,
    force and stress components. group_weights: factors by group name, or by "group:kind" such as "Elastic:stress".
    ridge: relative to columns of norm one. starts: radial functions to begin with, tried for start_iterations on about
    start_atoms atoms; the best goes on. iterations, tolerance: of the search, which ends when four steps in a row gain
    less than this part of the objective. seed: of all that is drawn.
    compression: guessed energies of compressed structures, as in SNAP fits; contacts: structures in which an atom is
    pushed at its neighbour, with the growth of the universal repulsion (`fitting.guesses`); guess_weight: of both,
    where one is the weight of a force that is wrong by 1 eV/A.
    folds, holdouts: parts of the training set, and how many of them are held out in turn for a choice between lists;
    search_atoms, search_iterations: size of the fits for it; score: weights of the logarithms of their errors by kind.
    resume: file that keeps the state, from which a fit that was cut off goes on; save_every: iterations between its
    writes. device: cpu, cuda or auto; threads; memory: GiB for columns that are kept between two passes. name,
    level_of_theory, training_data, citation, doi, licence: for the card.
    """

    level: int | Sequence[int] = 16
    max_dist: Scan | None = None
    min_dist: Scan | None = None
    radial_basis_size: int | Sequence[int] = 8
    basis: str = "RBChebyshev"
    energy_weight: Scan = 100.0
    force_weight: float = 1.0
    stress_weight: Scan = 10.0
    group_weights: Mapping[str, float] | None = None
    ridge: Scan = 1e-11
    starts: int = 3
    start_iterations: int = 10
    start_atoms: int = 3000
    iterations: int = 50
    tolerance: float = 1e-4
    seed: int = 0
    compression: Mapping[str, Any] | None = None
    contacts: int = 0
    guess_weight: float = 0.03
    folds: int = 6
    holdouts: int = 1
    search_atoms: int = 4000
    search_iterations: int = 15
    score: Mapping[str, float] | None = None
    resume: str = ""
    save_every: int = 2
    device: str = "cpu"
    threads: int | None = None
    memory: float = 2.0
    name: str = ""
    level_of_theory: str = "that of the training data"
    training_data: str = ""
    citation: str = ""
    doi: str = ""
    licence: str = "that of the training data"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> FitSettings:
        """From options; OptionError for an unknown name or a value out of range."""
        known = [f.name for f in fields(cls)]
        options = {{"cutoff": "max_dist"}.get(key, key): value for key, value in options.items()}
        for key in options:
            if key not in known:
                raise OptionError(f"an MTP fit has no option '{key}' (its options: {', '.join(known)})")
        return cls(**{key: _from_text(key, value) for key, value in options.items()})

    def __post_init__(self) -> None:
        for name, low in _WHOLE.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < low:
                raise OptionError(f"{name} is {value!r}; it must be a whole number of at least {low}")
            object.__setattr__(self, name, int(value))
        for name in ("force_weight", "tolerance", "memory", "guess_weight"):
            value = getattr(self, name)
            if isinstance(value, (bool, str)) or not np.isfinite(value) or value < 0:
                raise OptionError(f"{name} is {value!r}; it must be a finite number, not below zero")
        for name in SCANNED:
            values_of(self, name)
        if self.basis not in _BASES:
            raise OptionError(f"basis is {self.basis!r}; a fit can be made with {' or '.join(_BASES)}")
        for name in _MAPPINGS:
            if getattr(self, name) is not None and not isinstance(getattr(self, name), Mapping):
                raise OptionError(f"{name} is {getattr(self, name)!r}; write 'name=number, name=number'")


def _from_text(key: str, value: Any) -> Any:
    """Lists and mappings from a command line: "4.6, 5.0" and "Surface=0.4, Elastic=2"; other values as they are."""
    if not isinstance(value, str):
        return value
    if key in TEXTS:
        return value
    words = value.replace(",", " ").split()
    try:
        if key in _MAPPINGS:
            return {k: float(v) for k, v in (word.split("=") for word in words)}
        numbers = [float(word) for word in words]
    except ValueError as error:
        form = "'name=number, name=number'" if key in _MAPPINGS else "numbers separated by commas"
        raise OptionError(f"{key} is {value!r}; write {form}") from error
    return numbers[0] if len(numbers) == 1 else numbers


def values_of(settings: FitSettings, name: str) -> list[Any]:
    """The candidates of a setting, as numbers ([None] for the default of a distance). Raises OptionError."""
    value = getattr(settings, name)
    if value is None and name in ("max_dist", "min_dist"):
        return [None]
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    whole = name in ("level", "radial_basis_size")
    low = 1 if whole else 0
    for v in values:
        if isinstance(v, bool) or not isinstance(v, (int, float, np.number)) or not np.isfinite(v):
            raise OptionError(f"{name} is {value!r}; it must be a number or a list of numbers")
        if v < low or (whole and v != int(v)):
            raise OptionError(f"{name} is {v:g}; it must be {'a whole' if whole else 'a'} number of at least {low}")
    if not values:
        raise OptionError(f"{name} is an empty list; give at least one value")
    return [int(v) if whole else float(v) for v in values]


def single(settings: FitSettings, values: Mapping[str, Any]) -> FitSettings:
    """The same with one value for each of SCANNED."""
    return replace(settings, **values)


def with_distances(settings: FitSettings, data: Dataset) -> FitSettings:
    """Defaults of the cutoff and of min_dist from the data; for settings of one value each. Raises OptionError."""
    max_dist = settings.max_dist
    if max_dist is None:
        volumes = [a.get_volume() / len(a) for a in data.structures if a.pbc.all() and len(a)]
        if not volumes:
            raise OptionError(
                "max_dist (the cutoff) must be given for a training set without periodic structures, as max_dist=6; "
                "on the command line -o max_dist=6.0"
            )
        dense = float(np.quantile(volumes, 0.25))  # slabs and clusters hold vacuum
        max_dist = round(2.0 * dense ** (1 / 3), 2)
    if not 0 < max_dist <= MAX_CUTOFF:
        raise OptionError(f"max_dist is {max_dist:g} A; it must be above 0 and at most {MAX_CUTOFF:g} A")
    return replace(settings, max_dist=float(max_dist))


def shape_of(symbols: tuple[str, ...], s: FitSettings, shortest: float) -> MtpParams:
    """A potential with all coefficients zero (radial ones too); shortest: distance in the data, A."""
    from .levels import untrained

    low = float(np.floor(shortest * 1e4) / 1e4) if s.min_dist is None else float(s.min_dist)  # type: ignore[arg-type]
    high = float(s.max_dist)  # type: ignore[arg-type]
    if not low < high:
        raise OptionError(f"min_dist is {low:g} A and max_dist {high:g} A; the first must be the smaller one")
    if s.basis.endswith("_repuls") and shortest < low:
        raise OptionError(
            f"the data hold a distance of {shortest:.4g} A, below min_dist = {low:g} A, where the basis {s.basis} is "
            "constant; give a smaller min_dist, or none"
        )
    return replace(
        untrained(int(s.level), parse_elements(symbols), low, high, int(s.radial_basis_size)),  # type: ignore[arg-type]
        scaling=1.0 / (high - low) ** 2,
        basis=s.basis,
        name=f"mtp:{s.name or 'fitted'}",
    )


def used_settings(s: FitSettings) -> dict[str, Any]:
    """What a card tells: the settings that decide the result."""
    out = {f.name: getattr(s, f.name) for f in fields(s) if f.name not in UNUSED and getattr(s, f.name) is not None}
    return json.loads(json.dumps(out))
