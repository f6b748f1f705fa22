"""MtpParams: everything a moment tensor potential holds.

V_i = e[z_i] + sum_s w_s B_s(i),  B_s products of contracted moments of the neighbourhood of atom i:

    m_k = sum_j f_mu(r_ij; z_i, z_j) x^p y^q z^t / r^(p+q+t)        basic moments, {mu, p, q, t}
    m_k += mult m_i m_j                                             products, in the order of the list {i, j, mult, k}
    f_mu(r; z_i, z_j) = sum_n c[z_i, z_j, mu, n] Q_n(r)

Source: Shapeev, Multiscale Model. Simul. 14, 1153 (2016), doi:10.1137/15M1054183; Gubaev et al., Comput. Mater. Sci.
156, 148 (2019), doi:10.1016/j.commatsci.2018.09.031.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...core.card import Card
from ...core.elements import number
from ...core.errors import OptionError

DOI = "10.1016/j.commatsci.2018.09.031"
BASES = ("RBChebyshev", "RBChebyshev_repuls", "RBTaylor", "BChebyshev", "BChebyshev_repuls")
MAX_CUTOFF = 50.0
"""A; no potential reaches nearly as far, so a larger cutoff is an error in a file."""


def _frozen(value: Any, dtype: Any) -> np.ndarray:
    array = np.array(value, dtype=dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Moments:
    """The contraction tree. basic (nb, 4): {mu, p, q, t} of moment k < nb; times (nt, 4): {i, j, mult, k}; count: all
    moments; scalars (S,): the moments that are basis functions."""

    basic: np.ndarray
    times: np.ndarray
    count: int
    scalars: np.ndarray

    def __post_init__(self) -> None:
        for name, width in (("basic", 4), ("times", 4), ("scalars", None)):
            raw = np.asarray(getattr(self, name))
            array = _frozen(raw.reshape(-1, width) if width and raw.size == 0 else raw, np.int64)
            if array.ndim != (2 if width else 1) or (width and array.shape[1] != width):
                raise OptionError(f"the list '{name}' has the shape {array.shape}")
            object.__setattr__(self, name, array)
        self._check()

    def _check(self) -> None:
        nb, m = len(self.basic), int(self.count)
        if nb == 0 or nb > m:
            raise OptionError(f"{nb} basic moments of {m} moments; needed are at least one, and not more than all")
        if m > nb + len(self.times):  # also: no memory is taken for a number that stands in a header
            raise OptionError(f"{m} moments, but only {nb} basic ones and {len(self.times)} products make any")
        if (self.basic < 0).any():
            raise OptionError("a basic moment has a negative index or power")
        if len(self.scalars) == 0 or (self.scalars < 0).any() or (self.scalars >= m).any():
            raise OptionError(f"the basis functions are moments 0 to {m - 1}; the list {self.scalars[:8]}... is not")
        indices = self.times[:, [0, 1, 3]]
        if (indices < 0).any() or (indices >= m).any():
            raise OptionError(f"a product refers to a moment outside 0 to {m - 1}")
        if (self.times[:, 3] < nb).any():
            raise OptionError("a product is written to a basic moment")
        last = np.full(m, -1)  # the last entry that writes a moment must come before any entry that reads it
        last[self.times[:, 3]] = np.arange(len(self.times))
        if (last[self.times[:, :2]] >= np.arange(len(self.times))[:, None]).any():
            raise OptionError("a product reads a moment that is not complete at that place of the list")

    @property
    def max_power(self) -> int:
        """Largest p + q + t."""
        return int(self.basic[:, 1:].sum(axis=1).max())

    @property
    def n_radial(self) -> int:
        """Radial functions that the basic moments use: 1 + largest mu."""
        return int(self.basic[:, 0].max()) + 1


MODES = ("neighbourhood", "configuration")
"""What the grades of an active set are about."""


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """Rows b of the coefficients' derivatives that span the training set, for extrapolation grades.

    a (n, n): the rows; inv_t (n, n): transpose of a's inverse as stored (a is often ill-conditioned: not inverted
    again); equations (n, 2): configuration and equation of each row, -1 where a row is still the initial one;
    configurations: text of the selected configurations. Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017),
    doi:10.1016/j.commatsci.2017.08.031.
    """

    a: np.ndarray
    inv_t: np.ndarray
    energy_weight: float = 0.0
    force_weight: float = 0.0
    stress_weight: float = 0.0
    site_en_weight: float = 1.0
    weight_scaling: float = 2.0
    equations: np.ndarray | None = None
    configurations: str = ""

    def __post_init__(self) -> None:
        for name in ("a", "inv_t"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.float64))
        n = len(self.a)
        if self.a.shape != (n, n) or self.inv_t.shape != (n, n):
            raise OptionError(f"the active set has matrices of shapes {self.a.shape} and {self.inv_t.shape}")
        if not (np.isfinite(self.a).all() and np.isfinite(self.inv_t).all()):
            raise OptionError("the active set holds a value that is not finite")
        equations = np.full((n, 2), -1) if self.equations is None else self.equations
        object.__setattr__(self, "equations", _frozen(equations, np.int64))
        if self.equations.shape != (n, 2):
            raise OptionError(f"the active set has equations of shape {self.equations.shape}; needed is ({n}, 2)")
        weights = (self.energy_weight, self.force_weight, self.stress_weight, self.site_en_weight, self.weight_scaling)
        if not np.isfinite(weights).all() or min(weights) < 0:
            raise OptionError(f"the active set has the weights {weights}; they must be finite and not negative")

    @property
    def mode(self) -> str:
        """One of MODES: neighbourhoods where site energies are the equations."""
        return MODES[0] if self.site_en_weight > 0 else MODES[1]

    @property
    def known(self) -> bool:
        """Whether grades are defined here: not for equations of forces or stresses."""
        return self.force_weight == 0 and self.stress_weight == 0


@dataclass(frozen=True, eq=False)
class MtpParams:
    """One potential; arrays are float64 and read-only.

    elements (C,): symbols in the order of the file's species. radial (C, C, K, R): c[central, neighbour, mu, n].
    species (C,) e in eV; weights (S,) w in eV. min_dist, max_dist in A: the interval of the radial basis, which ends
    at the cutoff max_dist; scaling multiplies the radial functions. basis: name of the radial basis, as in the file.
    """

    elements: tuple[str, ...]
    radial: np.ndarray
    moments: Moments
    species: np.ndarray
    weights: np.ndarray
    min_dist: float
    max_dist: float
    scaling: float = 1.0
    basis: str = "RBChebyshev"
    active: ActiveSet | None = None
    name: str = "mtp"
    facts: dict[str, Any] = field(default_factory=dict)
    """Card fields besides those that follow from the numbers: citation, doi, licence, files, errors, extra..."""

    def __post_init__(self) -> None:
        for name in ("radial", "species", "weights"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.float64))
        object.__setattr__(self, "elements", tuple(self.elements))
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        c, s = len(self.elements), len(self.moments.scalars)
        for symbol in self.elements:
            number(symbol)
        if c == 0 or len(set(self.elements)) != c:
            raise OptionError(f"elements are {self.elements}; needed is at least one, each once")
        if self.radial.ndim != 4 or self.radial.shape[:2] != (c, c) or 0 in self.radial.shape:
            raise OptionError(f"radial coefficients have the shape {self.radial.shape}; needed is ({c}, {c}, mu, n)")
        if self.radial.shape[2] < self.moments.n_radial:
            raise OptionError(
                f"{self.radial.shape[2]} radial functions, but the basic moments use {self.moments.n_radial}"
            )
        if self.species.shape != (c,) or self.weights.shape != (s,):
            raise OptionError(
                f"{self.species.size} species coefficients for {c} species, {self.weights.size} moment coefficients "
                f"for {s} basis functions"
            )
        if self.active is not None and len(self.active.a) != self.n_coefficients:
            raise OptionError(f"the active set has {len(self.active.a)} rows for {self.n_coefficients} coefficients")

    def _check_values(self) -> None:
        for name in ("radial", "species", "weights", "min_dist", "max_dist", "scaling"):
            if not np.isfinite(getattr(self, name)).all():
                raise OptionError(f"{name} holds a value that is not finite")
        if not 0 <= self.min_dist < self.max_dist <= MAX_CUTOFF:
            raise OptionError(
                f"min_dist {self.min_dist:g} A and max_dist {self.max_dist:g} A; needed is 0 <= min_dist < max_dist <= "
                f"{MAX_CUTOFF:g} A"
            )
        if self.basis not in BASES:
            raise OptionError(f"the radial basis '{self.basis}' is not known; there are {', '.join(BASES)}")

    # -- what follows from the numbers -----------------------------------------------------------------------

    @property
    def n_elements(self) -> int:
        return len(self.elements)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers in the order of `elements`."""
        return tuple(number(e) for e in self.elements)

    @property
    def cutoff(self) -> float:
        return float(self.max_dist)

    @property
    def n_basis(self) -> int:
        """S: basis functions per atom."""
        return len(self.moments.scalars)

    @property
    def n_coefficients(self) -> int:
        """All that is trained: radial, species and moment coefficients."""
        return self.radial.size + self.species.size + self.weights.size

    @property
    def level(self) -> int | None:
        """The level whose generated list of moments is this one's in numbers; None when there is none."""
        from .levels import level_of

        return level_of(self.moments)

    def coefficients(self) -> np.ndarray:
        """(n,): radial (in the order of the file), species, moment coefficients."""
        return np.concatenate([self.radial.ravel(), self.species, self.weights])

    def with_coefficients(self, theta: np.ndarray) -> MtpParams:
        """The same potential with other coefficients, in the order of `coefficients`; without its active set."""
        r, c = self.radial.size, self.n_elements
        if np.shape(theta) != (self.n_coefficients,):
            raise OptionError(f"got {np.shape(theta)} coefficients; needed are ({self.n_coefficients},)")
        return replace(
            self,
            radial=np.reshape(theta[:r], self.radial.shape),
            species=theta[r : r + c],
            weights=theta[r + c :],
            active=None,
        )

    def restricted(self, elements: Sequence[str]) -> MtpParams:
        """Only these elements, in this order; all of them, in any order, give the potential as it is. The active set,
        if any, spans all elements and is left out where some are."""
        if set(elements) == set(self.elements):
            return self
        if missing := [e for e in elements if e not in self.elements]:
            raise OptionError(f"{self.name} has no {', '.join(missing)} (its elements: {', '.join(self.elements)})")
        k = [self.elements.index(e) for e in elements]
        return replace(
            self, elements=tuple(elements), radial=self.radial[np.ix_(k, k)], species=self.species[k], active=None
        )

    def card(self) -> Card:
        """Facts about this potential."""
        facts = dict(self.facts)
        outputs = ["energy", "energies", "forces", "stress", "descriptors"]
        extra: dict[str, Any] = {"basis_functions": self.n_basis, "coefficients": self.n_coefficients}
        if self.level is not None:
            extra["level"] = self.level
        extra |= {"radial_basis": self.basis, "min_dist": float(self.min_dist)}
        if self.active is not None:
            outputs.append("extrapolation_grade")
            if self.active.mode == "neighbourhood":
                outputs.append("extrapolation_grades")
            extra["grade"] = self.active.mode
        extra |= facts.pop("extra", {})
        level = "" if self.level is None else f" level {self.level},"
        standard = f"moment tensor potential,{level} {self.n_basis} basis functions"
        summary = facts.pop("summary", "") or standard
        if not facts.get("citation"):
            facts.setdefault("doi", DOI)
        return Card(
            name=self.name,
            family="mtp",
            elements=self.elements,
            cutoff=self.cutoff,
            outputs=tuple(outputs),
            summary=summary,
            extra=extra,
            **facts,
        )
