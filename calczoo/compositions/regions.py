"""Regions of space, whose atoms a composition treats differently; light records without any heavy import.

    r <= radius: weight 1,     r >= radius + width: weight 0,     between them 1 - 10 t^3 + 15 t^4 - 6 t^5

with t = (r - radius) / width and r the distance of the nearest periodic image from the centre (Sphere), from the axis
(Cylinder) or from the mid-plane (Slab, whose `radius` is half its thickness).

`centre` is in A and fixed in space; with `scaled=True` it is in fractions of the cell, moves with it, and only then is
there a stress. `axis` counts cell vectors: a cylinder runs along that vector, a slab is parallel to the two others.
Without periodicity in a direction its cell vector means nothing, and x, y, z or the normal of the others is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from ..core.errors import OptionError


@dataclass(frozen=True)
class Sphere:
    """Atoms within `radius` (A) of `centre`."""

    centre: Sequence[float]
    radius: float
    scaled: bool = False
    axis = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Cylinder:
    """Atoms within `radius` (A) of the line through `centre` along the cell vector `axis` (0, 1, 2)."""

    centre: Sequence[float]
    radius: float
    axis: int = 2
    scaled: bool = False

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Slab:
    """Atoms within `radius` (A, half the thickness) of the plane through `centre` that is parallel to the two cell
    vectors other than `axis` (0, 1, 2)."""

    centre: Sequence[float]
    radius: float
    axis: int = 2
    scaled: bool = False

    def __post_init__(self) -> None:
        _check(self)


Region = Sphere | Cylinder | Slab


def _check(region: Region) -> None:
    kind = type(region).__name__
    try:
        centre = tuple(float(x) for x in region.centre)
    except (TypeError, ValueError):
        centre = ()
    if len(centre) != 3 or not all(map(math.isfinite, centre)):
        raise OptionError(f"{kind}: centre is {region.centre!r}; expected are three finite numbers")
    object.__setattr__(region, "centre", centre)
    if not is_length(region.radius) or region.radius < 0.0:
        raise OptionError(f"{kind}: radius is {region.radius!r}; expected is a length in A, 0 or more")
    if region.axis not in (None, 0, 1, 2) or isinstance(region.axis, bool):
        raise OptionError(f"{kind}: axis is {region.axis!r}; allowed are 0, 1 and 2, one of the cell vectors")


def is_length(value: object) -> bool:
    """True for a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
