"""What training of the second generation can be told, and what follows from the data where nothing is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ...core.errors import OptionError
from ...fitting.data import Dataset
from .fit_functions import Pool
from .params import ACTIVATIONS, MAX_CUTOFF

OPTIMIZERS = ("kalman", "adam", "lbfgs")
EPOCHS = {"kalman": 20, "adam": 200, "lbfgs": 400}
"""Defaults of epochs, and below of patience, for each optimiser."""
PATIENCE = {"kalman": 8, "adam": 60, "lbfgs": 100}
MOST_FUNCTIONS, MOST_NODES, MOST_MEMBERS = 1000, 200, 100

TEXTS = ("name", "level_of_theory", "training_data", "citation", "doi", "licence", "resume", "device", "optimizer")
UNUSED = (*TEXTS[:6], "resume", "device", "threads", "memory", "save_every")
"""Settings that do not change what a fit gives."""
FREE = ("epochs", "patience", "committee")
"""Settings with which a fit may be resumed although they are others."""
_MAPPINGS = ("group_weights", "score", "compression")
_LISTS = ("nodes", "zetas", "epochs")
_WHOLE = {"functions": 0, "radial": 1, "etas": 0, "shifts": 0, "batch": 0, "force_atoms": 1, "seed": 0, "contacts": 0,
          "committee": 1, "save_every": 1, "cutoff_type": 0}  # fmt: skip
_POSITIVE = ("force_weight", "energy_weight", "stress_weight", "guess_weight", "memory", "decay", "zbl_inner",
             "zbl_outer")  # fmt: skip


@dataclass(frozen=True)
class FitSettings:
    """What a fit can be told.

    cutoff: A, of all symmetry functions; None takes 2.4 times the mean distance (V/N)^(1/3), of the quarter of the
    structures that is densest. cutoff_type: 1 to 8 (see params). functions: how many an element has at most, chosen
    among a pool by CUR selection (0: the whole pool); radial, etas, shifts, zetas: of the pool (`fit_functions`).
    nodes: of the hidden layers; activation: their letter, or one for each of them as in pt.
    optimizer: kalman (extended Kalman filter with fading memory), adam, lbfgs, or several one after the other, such as
    adam+lbfgs. epochs: passes over the data, one number or one for each optimiser. batch: structures per update of
    kalman (1) and adam (8); 0 takes these. patience: epochs without a better score after which an optimiser ends.
    kalman_start: of the diagonal of the covariance; kalman_lambda, kalman_nue: fading memory and its growth towards 1;
    kalman_decoupled: elements without covariances between them; force_atoms: at most so many atoms of a structure,
    drawn anew each time, give rows of an update. learning_rate, ema: of adam, and the averaging of its parameters.
    decay: weight of the squares of the parameters, for adam and lbfgs.
    energy_weight (atom/eV), force_weight (A/eV), stress_weight (A^3/eV): multiply the residuals of energies per atom,
    force and stress components. group_weights: factors by group name, or by "group:kind" such as "Elastic:stress".
    validation: part of the training set that only decides which parameters are kept and when to stop; score: weights of
    the logarithms of its errors by kind. seed: of all that is drawn. committee: members, with other seeds and other
    validation parts.
    zbl_inner, zbl_outer: A, of a universal repulsion at short distances that belongs to the model; 0: none.
    compression: guessed energies of compressed structures, as in SNAP fits; contacts: structures in which an atom is
    pushed at its neighbour, with the growth of the universal repulsion as energy; min_dist: A, no guess below; None
    takes 0.45 times the shortest distance of the data; guess_weight: of both.
    resume: file that keeps the state, from which a fit that was cut off goes on, also with more epochs; save_every:
    epochs between its writes. device: where networks are trained, cpu, cuda or auto; precision: float32 or float64;
    threads; memory: GiB for derivatives of symmetry functions that are kept. name, level_of_theory, training_data,
    citation, doi, licence: for the card.
    """

    cutoff: float | None = None
    cutoff_type: int = 6
    functions: int = 60
    radial: int = 10
    etas: int = 4
    shifts: int = 4
    zetas: Sequence[float] = (1.0, 2.0, 4.0, 16.0)
    nodes: Sequence[int] = (10, 10)
    activation: str = "p"
    optimizer: str = "kalman"
    epochs: Sequence[int] | int | None = None
    batch: int = 0
    patience: int | None = None
    kalman_start: float = 0.01
    kalman_lambda: float = 0.98
    kalman_nue: float = 0.9987
    kalman_decoupled: bool = False
    force_atoms: int = 60
    learning_rate: float = 5e-3
    ema: float = 0.99
    decay: float = 0.0
    energy_weight: float = 100.0
    force_weight: float = 1.0
    stress_weight: float = 10.0
    group_weights: Mapping[str, float] | None = None
    validation: float = 0.1
    score: Mapping[str, float] | None = None
    seed: int = 0
    committee: int = 1
    zbl_inner: float = 0.0
    zbl_outer: float = 0.0
    compression: Mapping[str, Any] | None = None
    contacts: int = 0
    min_dist: float | None = None
    guess_weight: float = 0.03
    resume: str = ""
    save_every: int = 5
    device: str = "cpu"
    precision: str = "float32"
    threads: int | None = None
    memory: float = 4.0
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
        options = {{"max_dist": "cutoff", "optimiser": "optimizer"}.get(k, k): v for k, v in options.items()}
        for key in options:
            if key not in known:
                raise OptionError(f"an HDNNP fit has no option '{key}' (its options: {', '.join(known)})")
        return cls(**{key: _from_text(key, value) for key, value in options.items()})

    def __post_init__(self) -> None:
        for name, low in _WHOLE.items():
            object.__setattr__(self, name, _whole(name, getattr(self, name), low))
        for name in _POSITIVE:
            object.__setattr__(self, name, _number(name, getattr(self, name), 0.0))
        for name, top in (("validation", 0.9), ("ema", 0.999999), ("kalman_lambda", 1.0), ("kalman_nue", 1.0)):
            object.__setattr__(self, name, _number(name, getattr(self, name), 0.0, top))
        for name in ("kalman_start", "learning_rate", "kalman_lambda"):
            if _number(name, getattr(self, name), 0.0) == 0.0:
                raise OptionError(f"{name} is 0; it must be above zero")
        for name in ("cutoff", "min_dist"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _number(name, getattr(self, name), 0.0, MAX_CUTOFF))
        for name in _MAPPINGS:
            if getattr(self, name) is not None and not isinstance(getattr(self, name), Mapping):
                raise OptionError(f"{name} is {getattr(self, name)!r}; write 'name=number, name=number'")
        if not isinstance(self.kalman_decoupled, (bool, int)) or self.kalman_decoupled not in (0, 1):
            raise OptionError(f"kalman_decoupled is {self.kalman_decoupled!r}; it must be true or false")
        object.__setattr__(self, "kalman_decoupled", bool(self.kalman_decoupled))
        self._check_lists()
        self._check_rest()

    def _check_lists(self) -> None:
        object.__setattr__(self, "nodes", tuple(_whole("nodes", n, 1, MOST_NODES) for n in _listed(self.nodes)))
        object.__setattr__(self, "zetas", tuple(_number("zetas", z, 1.0, 1000.0) for z in _listed(self.zetas)))
        if not 1 <= len(self.nodes) <= 10:
            raise OptionError(f"nodes is {self.nodes!r}; give the nodes of each hidden layer, as in '10, 10'")
        if not self.zetas or len(set(self.zetas)) != len(self.zetas):
            raise OptionError(f"zetas is {self.zetas!r}; give at least one number, each once")
        if self.epochs is not None:
            epochs = tuple(_whole("epochs", n, 0) for n in _listed(self.epochs))
            if len(epochs) not in (1, len(self.stages)):
                raise OptionError(
                    f"epochs is {self.epochs!r}; give one number, or one for each of {' + '.join(self.stages)}"
                )
            object.__setattr__(self, "epochs", epochs)
        if self.patience is not None:
            object.__setattr__(self, "patience", _whole("patience", self.patience, 1))

    def _check_rest(self) -> None:
        self.stages  # noqa: B018 - raises for an unknown optimiser
        letters = self.activation
        if not isinstance(letters, str) or len(letters) not in (1, len(self.nodes)) or set(letters) - set(ACTIVATIONS):
            raise OptionError(
                f"activation is {letters!r}; it must be one of the letters {' '.join(ACTIVATIONS)}, or one for each of "
                f"the {len(self.nodes)} hidden layers"
            )
        if not 1 <= self.cutoff_type <= 8:
            raise OptionError(f"cutoff_type is {self.cutoff_type}; a fit can have 1 to 8, which end smoothly")
        if self.functions > MOST_FUNCTIONS or self.committee > MOST_MEMBERS or self.radial > 100:
            raise OptionError(
                f"functions, committee and radial are at most {MOST_FUNCTIONS}, {MOST_MEMBERS} and 100, not "
                f"{self.functions}, {self.committee} and {self.radial}"
            )
        if self.precision not in ("float32", "float64"):
            raise OptionError(f"precision is {self.precision!r}; it must be float32 or float64")
        if self.zbl_outer and not self.zbl_inner < self.zbl_outer:
            raise OptionError(f"zbl_inner is {self.zbl_inner:g} A; it must be below zbl_outer, {self.zbl_outer:g} A")
        for key in self.score or {}:
            if key not in ("energy", "forces"):
                raise OptionError(f"score has no kind '{key}'; there are energy and forces")

    @property
    def stages(self) -> tuple[str, ...]:
        """The optimisers, one after the other."""
        names = tuple(str(self.optimizer).replace(" ", "").lower().split("+"))
        if unknown := [n for n in names if n not in OPTIMIZERS]:
            raise OptionError(
                f"optimizer is {self.optimizer!r}: '{unknown[0]}' is not known; there are {', '.join(OPTIMIZERS)}, "
                "also joined as in adam+lbfgs"
            )
        return names

    @property
    def letters(self) -> str:
        """Activations of all layers; the last is linear."""
        return (self.activation * len(self.nodes) if len(self.activation) == 1 else self.activation) + "l"

    def epochs_of(self, stage: int) -> int:
        if self.epochs is None:
            return EPOCHS[self.stages[stage]]
        return self.epochs[stage if len(self.epochs) > 1 else 0]  # type: ignore[index]

    def patience_of(self, stage: int) -> int:
        return PATIENCE[self.stages[stage]] if self.patience is None else self.patience

    @property
    def pool(self) -> Pool:
        return Pool(self.radial, self.etas, self.shifts, tuple(self.zetas))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]


def _whole(name: str, value: Any, low: int, high: int = 10**9) -> int:
    plain = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not plain or not np.isfinite(value) or value != int(value) or not low <= value <= high:
        most = f" and at most {high}" if high < 10**9 else ""
        raise OptionError(f"{name} is {value!r}; it must be a whole number of at least {low}{most}")
    return int(value)


def _number(name: str, value: Any, low: float, high: float = np.inf) -> float:
    plain = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not plain or not np.isfinite(value) or not low <= value <= high:
        most = f" and at most {high:g}" if np.isfinite(high) else ""
        raise OptionError(f"{name} is {value!r}; it must be a finite number of at least {low:g}{most}")
    return float(value)


def _from_text(key: str, value: Any) -> Any:
    """Lists and mappings from a command line: "10, 10" or "10-10", and "Surface=0.4, Elastic=2"; others as they are."""
    if not isinstance(value, str) or key in (*TEXTS, "activation", "precision"):
        return value
    if key == "kalman_decoupled":
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(value.lower(), value)
    words = (value.replace("-", " ") if key == "nodes" else value).replace(",", " ").split()
    try:
        if key in _MAPPINGS:
            return {k: float(v) for k, v in (word.split("=") for word in words)}
        numbers = [float(word) for word in words]
    except ValueError as error:
        form = "'name=number, name=number'" if key in _MAPPINGS else "numbers separated by commas"
        raise OptionError(f"{key} is {value!r}; write {form}") from error
    return numbers if key in _LISTS or len(numbers) != 1 else numbers[0]


def with_cutoff(settings: FitSettings, data: Dataset) -> FitSettings:
    """The default of the cutoff from the data. Raises OptionError."""
    cutoff = settings.cutoff
    if cutoff is None:
        volumes = [a.get_volume() / len(a) for a in data.structures if a.pbc.all() and len(a)]
        if not volumes:
            raise OptionError(
                "cutoff must be given for a training set without periodic structures, as in cutoff=6.0 (A); "
                "on the command line -o cutoff=6.0"
            )
        cutoff = round(2.4 * float(np.quantile(volumes, 0.25)) ** (1 / 3), 2)  # slabs and clusters hold vacuum
    if not 0 < cutoff <= MAX_CUTOFF:
        raise OptionError(f"cutoff is {cutoff:g} A; it must be above 0 and at most {MAX_CUTOFF:g} A")
    return replace(settings, cutoff=float(cutoff))


def used_settings(s: FitSettings) -> dict[str, Any]:
    """What a card tells: the settings that decide the result."""
    out = {f.name: getattr(s, f.name) for f in fields(s) if f.name not in UNUSED and getattr(s, f.name) is not None}
    return json.loads(json.dumps(out, default=float))
