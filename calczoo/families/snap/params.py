"""SnapParams: everything a SNAP parameter set holds.

E_i = c_0 + c . B_i                       linear
    + sum_{k<=l} alpha_kl B_ik B_il       quadratic (the file stores alpha_kk / 2 as alpha_kk of the triangle)

Source: Thompson et al., J. Comput. Phys. 285, 316 (2015), doi:10.1016/j.jcp.2014.12.018; Wood and Thompson,
J. Chem. Phys. 148, 241721 (2018), doi:10.1063/1.5017641; Cusentino, Wood, Thompson, J. Phys. Chem. A 124, 5456 (2020),
doi:10.1021/acs.jpca.0c02450.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.card import Card
from ...core.elements import number
from ...core.errors import OptionError
from .indices import MAX_TWOJMAX, component_count

DOI = "10.1016/j.jcp.2014.12.018"
MAX_CUTOFF = 50.0
"""A; no SNAP reaches nearly as far, so a larger cutoff is an error in a file."""


@dataclass(frozen=True)
class SnapParams:
    """One parameter set; arrays are float64 and read-only.

    elements (E,); radii (E,) R_i and weights (E,) w_i: a pair has the cutoff rcutfac (R_i + R_j) in A and enters with
    w_j; coefficients (E, n): constant in eV, then the K linear ones in eV, then for quadraticflag the upper
    triangle of alpha row by row (the diagonal counts half).
    rfac0, rmin0 (A): theta_0 = rfac0 pi (r - rmin0) / (r_cut - rmin0).
    switchflag: cosine switching function to zero at the cutoff. bzeroflag: components of a lone atom are subtracted.
    chemflag: one density per element, E^3 blocks of components. bnormflag: divide Z by 2j + 1. wselfallflag: the atom
    itself enters all densities, not only its own. switchinnerflag with sinner, dinner (E,) A: a neighbour fades out
    between s + d and s - d, each the mean of the two atoms' values.
    """

    elements: tuple[str, ...]
    radii: np.ndarray
    weights: np.ndarray
    coefficients: np.ndarray
    rcutfac: float
    twojmax: int
    rfac0: float = 0.99363
    rmin0: float = 0.0
    switchflag: bool = True
    bzeroflag: bool = True
    quadraticflag: bool = False
    chemflag: bool = False
    bnormflag: bool = False
    wselfallflag: bool = False
    switchinnerflag: bool = False
    sinner: np.ndarray | None = None
    dinner: np.ndarray | None = None
    name: str = "snap"
    facts: dict[str, Any] = field(default_factory=dict)
    """Card fields besides those that follow from the numbers: citation, doi, licence, files, errors, extra..."""

    def __post_init__(self) -> None:
        for name in ("radii", "weights", "coefficients", "sinner", "dinner"):
            if (value := getattr(self, name)) is not None:
                array = np.array(value, dtype=np.float64)
                array.setflags(write=False)
                object.__setattr__(self, name, array)
        object.__setattr__(self, "elements", tuple(self.elements))
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        n = len(self.elements)
        for symbol in self.elements:
            number(symbol)
        if n == 0 or len(set(self.elements)) != n:
            raise OptionError(f"elements are {self.elements}; needed is at least one, each once")
        if not isinstance(self.twojmax, (int, np.integer)) or not 0 <= self.twojmax <= MAX_TWOJMAX:
            raise OptionError(f"twojmax is {self.twojmax!r}; allowed are whole numbers from 0 to {MAX_TWOJMAX}")
        if self.radii.shape != (n,) or self.weights.shape != (n,):
            raise OptionError(f"radii and weights have shapes {self.radii.shape}, {self.weights.shape}, not ({n},)")
        if self.coefficients.shape != (n, self.n_coefficients):
            raise OptionError(
                f"coefficients have shape {self.coefficients.shape}; twojmax {self.twojmax}, quadraticflag "
                f"{int(self.quadraticflag)}, chemflag {int(self.chemflag)} need ({n}, {self.n_coefficients})"
            )
        for name in ("sinner", "dinner"):
            value = getattr(self, name)
            if self.switchinnerflag != (value is not None):
                raise OptionError(f"{name} is {value}; it belongs to switchinnerflag 1 and is needed there")
            if value is not None and value.shape != (n,):
                raise OptionError(f"{name} has shape {value.shape}; needed is ({n},)")

    def _check_values(self) -> None:
        for name in ("radii", "weights", "coefficients", "rcutfac", "rfac0", "rmin0", "sinner", "dinner"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise OptionError(f"{name} holds a value that is not finite")
        if self.rcutfac <= 0 or (self.radii <= 0).any() or self.cutoff > MAX_CUTOFF:
            raise OptionError(
                f"rcutfac {self.rcutfac} and the radii {self.radii.tolist()} give cutoffs up to {self.cutoff:g} A; "
                f"allowed are positive ones up to {MAX_CUTOFF:g} A"
            )
        if not 0 < self.rfac0 <= 1:
            raise OptionError(f"rfac0 is {self.rfac0}; it must be above 0 and at most 1")
        smallest = 2.0 * self.rcutfac * float(self.radii.min())
        if not 0 <= self.rmin0 < smallest:
            raise OptionError(f"rmin0 is {self.rmin0} A; allowed is 0 to below the smallest cutoff, {smallest:g} A")
        if self.dinner is not None and (self.dinner <= 0).any():
            raise OptionError(f"dinner is {self.dinner.tolist()}; it must be positive")

    # -- what follows from the numbers -----------------------------------------------------------------------

    @property
    def n_elements(self) -> int:
        return len(self.elements)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers in the order of `elements`."""
        return tuple(number(e) for e in self.elements)

    @property
    def n_densities(self) -> int:
        """Neighbour densities per atom: one, or one per element with chemflag."""
        return self.n_elements if self.chemflag else 1

    @property
    def n_components(self) -> int:
        """K: bispectrum components per atom; with chemflag E^3 blocks, element triples in row-major order."""
        return component_count(self.twojmax) * self.n_densities**3

    @property
    def n_coefficients(self) -> int:
        """Coefficients per element, with the constant."""
        k = self.n_components
        return 1 + k + (k * (k + 1) // 2 if self.quadraticflag else 0)

    @property
    def cutoffs(self) -> np.ndarray:
        """(E, E) A: rcutfac (R_i + R_j)."""
        return self.rcutfac * (self.radii[:, None] + self.radii[None, :])

    @property
    def cutoff(self) -> float:
        """The largest of them."""
        return float(self.cutoffs.max())

    @property
    def constant(self) -> np.ndarray:
        """(E,) eV."""
        return self.coefficients[:, 0]

    @property
    def linear(self) -> np.ndarray:
        """(E, K) eV."""
        return self.coefficients[:, 1 : 1 + self.n_components]

    @property
    def quadratic(self) -> np.ndarray | None:
        """(E, K, K) symmetric A with E_i = ... + 1/2 B^T A B, or None. The triangle holds A row by row."""
        if not self.quadraticflag:
            return None
        k = self.n_components
        out = np.zeros((self.n_elements, k, k))
        rows, columns = np.triu_indices(k)
        triangle = self.coefficients[:, 1 + k :]
        out[:, rows, columns] = triangle
        out[:, columns, rows] = triangle
        return out

    @property
    def zero_components(self) -> np.ndarray:
        """(E, K): what is subtracted from the components of an atom: those of it alone if bzeroflag, else zero.

        A lone atom has U = 1, so B_{j1 j2 j} = 2j + 1 (1 with bnormflag); with chemflag in the blocks whose three
        densities all hold the atom itself: every block with wselfallflag, otherwise that of its own element thrice.
        """
        from .indices import indices

        j = indices(self.twojmax).b[:, 2].astype(float)
        one = np.ones_like(j) if self.bnormflag else j + 1.0
        n = self.n_densities
        holds = np.full((self.n_elements, n, n, n), float(self.wselfallflag or n == 1))
        own = np.arange(self.n_elements) if n > 1 else np.zeros(self.n_elements, int)
        holds[np.arange(self.n_elements), own, own, own] = 1.0
        return (holds.reshape(self.n_elements, -1, 1) * one).reshape(self.n_elements, -1) * float(self.bzeroflag)

    def card(self) -> Card:
        """Facts about this set."""
        form = ("quadratic " if self.quadraticflag else "linear ") + ("chemical " if self.chemflag else "")
        outputs = ("energy", "energies", "forces", "stress", "descriptors")
        facts = dict(self.facts)
        extra = {"twojmax": int(self.twojmax), "components": int(self.n_components), **facts.pop("extra", {})}
        standard = f"{form}SNAP, 2J = {self.twojmax}, {self.n_components} components per atom"
        summary = facts.pop("summary", "") or standard
        if not facts.get("citation"):
            facts.setdefault("doi", DOI)
        elif not facts.get("doi") or facts["doi"] == DOI:  # the citation is the file's, the DOI that of the method
            facts["doi"] = ""
            extra["method_doi"] = DOI
        return Card(
            name=self.name,
            family="snap",
            elements=self.elements,
            cutoff=self.cutoff,
            outputs=outputs,
            summary=summary,
            extra=extra,
            **facts,
        )
