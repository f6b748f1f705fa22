"""What training of generations 3 and 4 can be told besides the settings of generation 2."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ...core.errors import OptionError
from .charged import TOTALS
from .fit_settings import FitSettings

ONLY = {"hardness": 4, "total_charge": 3}
"""Settings of one generation."""


@dataclass(frozen=True)
class ChargeSettings:
    """charge_nodes: nodes of the hidden layers of the charge (generation 3) or electronegativity networks (4).
    charge_optimizer, charge_epochs, charge_decay: of their training, as optimizer, epochs and decay of the short-range
    networks. charge_weight: 1/e, multiplies the residuals of charges.
    widths: A, Gaussian widths by element; default covalent radii in generation 4, points in generation 3, which takes
    widths for all elements or none. hardness: eV/e^2, to begin with, of all elements (generation 4). screening: inner
    and outer radius in A; default 0.6 and 1 times the cutoff of the symmetry functions; 0 for none. total_charge: of
    generation 3, whether the networks' charges are scaled to the total charge (scaled) or taken as they are (free)."""

    charge_nodes: Sequence[int] = (10, 10)
    charge_optimizer: str = "lbfgs"
    charge_epochs: Sequence[int] | int = 300
    charge_decay: float = 3.0
    charge_weight: float = 100.0
    widths: Mapping[str, float] | None = None
    hardness: float = 4.0
    screening: Sequence[float] | None = None
    total_charge: str = TOTALS[1]

    @classmethod
    def names(cls) -> list[str]:
        return [f.name for f in fields(cls)]

    @classmethod
    def split(cls, options: Mapping[str, Any], generation: int) -> tuple[ChargeSettings, dict[str, Any]]:
        """These settings and the other options. Raises OptionError."""
        known = cls.names()
        own = {key: _from_text(key, value) for key, value in options.items() if key in known}
        for key, needed in ONLY.items():
            if own.get(key) is not None and generation != needed:
                raise OptionError(f"{key} belongs to generation {needed}, and this fit is of generation {generation}")
        return cls(**own), {key: value for key, value in options.items() if key not in known}

    def __post_init__(self) -> None:
        nodes = np.atleast_1d(np.asarray(self.charge_nodes, dtype=object)).tolist()
        if not 1 <= len(nodes) <= 10 or not all(isinstance(n, (int, float)) and n == int(n) and n > 0 for n in nodes):
            raise OptionError(f"charge_nodes is {self.charge_nodes!r}; give the nodes of each layer, as in '10, 10'")
        object.__setattr__(self, "charge_nodes", tuple(int(n) for n in nodes))
        for name in ("charge_decay", "charge_weight", "hardness"):
            value = getattr(self, name)
            if isinstance(value, (bool, str)) or not np.isfinite(value) or value < 0:
                raise OptionError(f"{name} is {value!r}; it must be a finite number, not below zero")
        if self.charge_weight == 0:
            raise OptionError("charge_weight is 0; it must be above zero")
        if self.widths is not None and not isinstance(self.widths, Mapping):
            raise OptionError(f"widths is {self.widths!r}; write 'H=0.31, C=0.76'")
        if self.total_charge not in TOTALS:
            raise OptionError(f"total_charge is {self.total_charge!r}; allowed are {', '.join(TOTALS)}")
        self.for_charges(FitSettings())  # raises for an optimiser that is not known, or epochs that are none

    def for_charges(self, s: FitSettings) -> FitSettings:
        """Settings of stage one. Raises OptionError."""
        try:
            changed = {"optimizer": self.charge_optimizer, "epochs": self.charge_epochs, "decay": self.charge_decay}
            return replace(s, score=None, patience=None, **changed)
        except OptionError as error:
            text = str(error).replace("optimizer is", "charge_optimizer is").replace("epochs is", "charge_epochs is")
            raise OptionError(text) from error

    def used(self, generation: int) -> dict[str, Any]:
        """What a card tells."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        left = {k: v for k, v in out.items() if v is not None and ONLY.get(k, generation) == generation}
        return json.loads(json.dumps(left, default=list))

    def key(self, generation: int) -> str:
        """What a state on disk belongs to, besides the key of the other settings."""
        told = {k: v for k, v in self.used(generation).items() if k != "charge_epochs"}
        return f" {generation} {json.dumps(told, sort_keys=True)}"


def _from_text(key: str, value: Any) -> Any:
    """Values of a command line: '10, 10', 'H=0.31, C=0.76', '2.5, 4.2'."""
    if not isinstance(value, str) or key in ("total_charge", "charge_optimizer"):
        return value
    words = (value.replace("-", " ") if key == "charge_nodes" else value).replace(",", " ").split()
    try:
        if key == "widths":
            return {k: float(v) for k, v in (word.split("=") for word in words)}
        numbers = [float(word) for word in words]
    except ValueError as error:
        form = "'H=0.31, C=0.76'" if key == "widths" else "numbers separated by commas"
        raise OptionError(f"{key} is {value!r}; write {form}") from error
    return numbers if key in ("charge_nodes", "screening", "charge_epochs") or len(numbers) != 1 else numbers[0]
