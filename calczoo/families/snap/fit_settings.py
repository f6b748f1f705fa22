"""What a SNAP fit can be told, and the parameters that follow from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ...core.errors import OptionError
from ...registry import ModelRequest, get_family, load_object
from .indices import component_count
from .params import SnapParams

Scan = float | Sequence[float]
SCORE = {"energy": 1.0, "forces": 1.0, "stress": 0.3}
"""Default weights of the logarithms of the cross-validation errors in the score of a setting."""

_TEXTS = ("name", "level_of_theory", "training_data", "citation", "doi", "licence")
_MAPPINGS = ("radii", "weights", "group_weights", "score", "compression")


@dataclass(frozen=True)
class FitSettings:
    """What a fit can be told; a list of values means: choose by cross-validation.

    rcut: A; None takes 1.7, 1.9 and 2.1 times the mean distance (V/N)^(1/3). twojmax; rfac0; rmin0 (A).
    radii, weights: per element, relative; R_e = radii_e / 2. sinner, dinner: A, inner switching (dinner 0: none).
    energy_weight (atom/eV), force_weight (A/eV), stress_weight (A^3/eV): multiply the residuals. group_weights: factors
    by group name, or by "group:kind" such as "Elastic:stress". ridge: relative to columns of norm one. zbl_inner,
    zbl_outer: A; 0 means no ZBL term.
    compression: fields of `repulsion.Compression`, guessed energies of compressed structures; None: none.
    folds, seed: parts of the training set for the choice; search_atoms: size of the sample that chooses the descriptor;
    score: weights of the logarithms of the errors by kind (default SCORE). name, level_of_theory, training_data,
    citation, doi, licence: for the card.
    """

    rcut: Scan | None = None
    twojmax: int | Sequence[int] = 6
    rfac0: Scan = 0.99363
    rmin0: Scan = 0.0
    radii: Mapping[str, float] | None = None
    weights: Mapping[str, float] | None = None
    sinner: float = 0.0
    dinner: float = 0.0
    energy_weight: Scan = (10.0, 30.0, 100.0, 300.0)
    force_weight: float = 1.0
    stress_weight: Scan = (10.0, 50.0)
    group_weights: Mapping[str, float] | None = None
    ridge: Scan = (1e-12, 1e-10, 1e-8)
    zbl_inner: float = 0.0
    zbl_outer: float = 0.0
    compression: Mapping[str, Any] | None = None
    folds: int = 5
    search_atoms: int = 4000
    score: Mapping[str, float] | None = None
    seed: int = 0
    name: str = ""
    level_of_theory: str = "that of the training data"
    training_data: str = ""
    citation: str = ""
    doi: str = ""
    licence: str = "that of the training data"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> FitSettings:
        """From options; OptionError for an unknown name."""
        known = [f.name for f in fields(cls)]
        for key in options:
            if key not in known:
                raise OptionError(f"a SNAP fit has no option '{key}' (its options: {', '.join(known)})")
        return cls(**{key: _from_text(key, value) for key, value in options.items()})


def _from_text(key: str, value: Any) -> Any:
    """Lists and mappings from a command line: "4.6, 5.0" and "Surface=0.4, Elastic=2"; other values as they are."""
    if not isinstance(value, str) or key in _TEXTS:
        return value
    words = value.replace(",", " ").split()
    try:
        if key in _MAPPINGS:
            return {k: float(v) for k, v in (word.split("=") for word in words)}
        return [float(word) for word in words]
    except ValueError as error:
        form = "'name=number, name=number'" if key in _MAPPINGS else "numbers separated by commas"
        raise OptionError(f"{key} is {value!r}; write {form}") from error


def values_of(settings: FitSettings, name: str) -> list[float]:
    """The candidates of a setting, as numbers. Raises OptionError."""
    value = getattr(settings, name)
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    for v in values:
        if isinstance(v, (bool, str)) or not np.isfinite(v):
            raise OptionError(f"{name} is {value!r}; it must be a number or a list of numbers")
    if not values:
        raise OptionError(f"{name} is an empty list; give at least one value")
    return values


def single(settings: FitSettings, hyper: Sequence[float], inner: Sequence[float]) -> FitSettings:
    names = ("rcut", "twojmax", "rfac0", "rmin0", "energy_weight", "stress_weight", "ridge")
    values: dict[str, Any] = dict(zip(names, (*hyper, *inner), strict=True))
    return replace(settings, **{**values, "twojmax": int(values["twojmax"])})


def scanned(settings: FitSettings) -> dict[str, float]:
    names = ("rcut", "twojmax", "rfac0", "rmin0", "energy_weight", "stress_weight", "ridge")
    return {name: float(getattr(settings, name)) for name in names}


def template_of(symbols: tuple[str, ...], quadratic: bool, s: FitSettings) -> SnapParams:
    """Parameters with all coefficients zero."""
    n = len(symbols)
    k = component_count(int(s.twojmax))
    columns = 1 + k + (k * (k + 1) // 2 if quadratic else 0)
    inner: dict[str, Any] = {}
    if s.dinner:
        inner = {"switchinnerflag": True, "sinner": np.full(n, s.sinner), "dinner": np.full(n, s.dinner)}
    return SnapParams(
        elements=symbols,
        radii=np.array([0.5 * float((s.radii or {}).get(e, 1.0)) for e in symbols]),
        weights=np.array([float((s.weights or {}).get(e, 1.0)) for e in symbols]),
        coefficients=np.zeros((n, columns)),
        rcutfac=float(s.rcut),  # type: ignore[arg-type]
        twojmax=int(s.twojmax),  # type: ignore[arg-type]
        rfac0=float(s.rfac0),  # type: ignore[arg-type]
        rmin0=float(s.rmin0),  # type: ignore[arg-type]
        quadraticflag=quadratic,
        **inner,
    )


def zbl_term(settings: FitSettings) -> Any:
    """Parameters of the ZBL term, or None."""
    if not settings.zbl_outer:
        return None
    request = ModelRequest("zbl", args=(settings.zbl_inner, settings.zbl_outer))
    return load_object(get_family("zbl").read)(request)


def used_settings(s: FitSettings, quadratic: bool) -> dict[str, Any]:
    out = {f.name: getattr(s, f.name) for f in fields(s) if f.name not in _TEXTS and getattr(s, f.name) is not None}
    return json.loads(json.dumps({"quadratic": quadratic, **out}))
