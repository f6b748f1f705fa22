"""Symmetry functions sorted into groups that share neighbours, cutoff functions, exponentials and angles.

All lengths in A, angles in radians. Index letters: c element of the central atom, e neighbour element (position in
`elements`), f column (function of c), m distinct radial part, l distinct angular part.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np

from .params import ANGULAR, COMPACT, WEIGHTED, WITH_JK, HdnnpParams, SymmetryFunction


@dataclass(frozen=True)
class RadialGroup:
    """neighbour: an element, None for all, with their atomic numbers as weights; core: "" for Gaussians; reach: no
    neighbour beyond counts; first, second (F,): eta and rs of Gaussians, middle and half width of compact functions;
    columns (F,)."""

    neighbour: int | None
    core: str
    reach: float
    first: np.ndarray
    second: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True)
class AngularGroup:
    """neighbours: two elements, the smaller first, None for all with weights; jk: with terms of the distance between
    the neighbours; first, second (M,) as in RadialGroup; angular: (lambda, zeta) or (middle, half width) of each l,
    with parts[l]: the m of its functions; columns (F,), grouped by l; prefactor (L,): 2^(1 - zeta), 1 if compact."""

    neighbours: tuple[int, int] | None
    core: str
    jk: bool
    reach: float
    first: np.ndarray
    second: np.ndarray
    angular: tuple[tuple[float, float], ...]
    parts: tuple[np.ndarray, ...]
    columns: np.ndarray
    prefactor: np.ndarray


@dataclass(frozen=True)
class ElementTable:
    """All groups of one central element. order (K,): where each function is among the groups' columns, concatenated;
    radial_reach, angular_reach: A, the largest cutoffs (0 without such functions)."""

    radial: tuple[RadialGroup, ...]
    angular: tuple[AngularGroup, ...]
    order: np.ndarray

    @property
    def radial_reach(self) -> float:
        return max((g.reach for g in self.radial), default=0.0)

    @property
    def angular_reach(self) -> float:
        return max((g.reach for g in self.angular), default=0.0)

    @property
    def widest(self) -> tuple[int, int]:
        """The most radial functions of one pair and angular functions of one triplet."""
        return _most([(g.neighbour, g.columns) for g in self.radial]), _most(
            [(g.neighbours, g.columns) for g in self.angular]
        )


def _most(groups: list) -> int:
    counts: dict = {}
    for key, columns in groups:
        counts[key] = counts.get(key, 0) + len(columns)
    weighted = counts.pop(None, 0)
    return weighted + max(counts.values(), default=0)


def element_tables(params: HdnnpParams) -> tuple[ElementTable, ...]:
    """The groups of every element."""
    return tuple(_table(params, m.functions) for m in params.models)


def _table(params: HdnnpParams, functions: tuple[SymmetryFunction, ...]) -> ElementTable:
    found: dict[tuple, list[int]] = {}
    for f, function in enumerate(functions):
        found.setdefault(_key(params, function), []).append(f)
    radial, angular = [], []
    for key, columns in found.items():
        members = [functions[f] for f in columns]
        if members[0].kind in ANGULAR:
            angular.append(_angular(params, key, columns, members))
        else:
            radial.append(_radial(params, key, columns, members))
    everything = np.concatenate([g.columns for g in (*radial, *angular)])
    return ElementTable(tuple(radial), tuple(angular), np.argsort(everything))


def _key(params: HdnnpParams, f: SymmetryFunction) -> tuple:
    """Functions with the same key share a group: Gaussians of one cutoff, compact ones of one core."""
    elements = tuple(sorted(params.elements.index(e) for e in f.neighbours))
    shared = f.core if f.kind in COMPACT else f.rc
    return f.kind in ANGULAR, f.kind in WEIGHTED, elements, f.kind in WITH_JK, f.kind in COMPACT, shared


def _radial_part(params: HdnnpParams, f: SymmetryFunction) -> tuple[float, float]:
    unit = params.length_unit
    if f.kind in COMPACT:
        return 0.5 * (f.rl + f.rc) * unit, 0.5 * (f.rc - f.rl) * unit
    return f.eta / unit**2, f.rs * unit


def _angular_part(f: SymmetryFunction) -> tuple[float, float]:
    if f.kind in COMPACT:
        return 0.5 * (f.al + f.ar) * pi / 180.0, 0.5 * (f.ar - f.al) * pi / 180.0
    return f.lam, f.zeta


def _radial(params: HdnnpParams, key: tuple, columns: list[int], members: list[SymmetryFunction]) -> RadialGroup:
    first, second = np.array([_radial_part(params, f) for f in members]).T
    reach = max(f.rc for f in members) * params.length_unit
    return RadialGroup(key[2][0] if key[2] else None, members[0].core, reach, first, second, np.array(columns))


def _angular(params: HdnnpParams, key: tuple, columns: list[int], members: list[SymmetryFunction]) -> AngularGroup:
    radial = sorted({_radial_part(params, f) for f in members})
    angular = sorted({_angular_part(f) for f in members})
    place = sorted(
        (angular.index(_angular_part(f)), radial.index(_radial_part(params, f)), column)
        for f, column in zip(members, columns, strict=True)
    )
    parts = tuple(np.array([m for k, m, _ in place if k == angle]) for angle in range(len(angular)))
    first, second = np.array(radial).T
    compact = bool(members[0].core)
    return AngularGroup(
        neighbours=key[2] or None,
        core=members[0].core,
        jk=members[0].kind in WITH_JK,
        reach=max(f.rc for f in members) * params.length_unit,
        first=first,
        second=second,
        angular=tuple(angular),
        parts=parts,
        columns=np.array([column for *_, column in place]),
        prefactor=np.array([1.0 if compact else 2.0 ** (1.0 - zeta) for _, zeta in angular]),
    )
