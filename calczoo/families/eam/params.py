"""What EAM files hold: tables of embedding energy, density, pair potential and, for ADP, dipole and quadrupole.

Index letters: a source species (its density spreads), b host species (it feels the density), m table point.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...core.card import Card
from ...core.elements import is_element
from ...core.errors import CalczooError, OptionError

STYLES = {
    "alloy": "setfl",
    "fs": "Finnis-Sinclair setfl, densities by source and host",
    "he": "Finnis-Sinclair setfl with embedding energies at negative densities",
    "adp": "setfl with dipole and quadrupole tables",
    "funcfl": "DYNAMO funcfl",
}
MIN_POINTS = 5
"""Slopes come from five points."""

FUNCFL_PAIR = 27.2 * 0.529
"""eV A: r phi = 27.2 x 0.529 Z_i Z_j, with the rounded Hartree and Bohr of the DYNAMO code."""


class TableError(CalczooError, ValueError):
    """Tables that contradict each other; `formats` turns it into a PotentialFileError."""


def check_grid(what: str, n: int, step: float) -> None:
    """At least MIN_POINTS points and a positive step."""
    if n < MIN_POINTS:
        raise TableError(f"{what} has {n} points; at least {MIN_POINTS} are needed")
    if not step > 0.0 or not np.isfinite(step) or not np.isfinite(1.0 / step) or not np.isfinite(n * step):
        raise TableError(f"the step of {what} is {step:g}; it must be a positive number")


def check_cutoff(cutoff: float, nr: int, dr: float) -> None:
    """The tables must reach the cutoff; one step of rounding is granted."""
    if not 0.0 < cutoff <= nr * dr * (1.0 + 1e-6):
        raise TableError(f"the cutoff is {cutoff:g} A, but the tables end at {(nr - 1) * dr:g} A")


@dataclass(frozen=True)
class Header:
    """Facts about one species: mass (amu), lattice constant (A) and lattice name, none of which enter energies."""

    number: int
    mass: float = 0.0
    lattice_constant: float = 0.0
    lattice: str = "fcc"


@dataclass(frozen=True)
class Funcfl:
    """One funcfl file: embedding energy F (eV), effective charge Z and density rho on their own grids."""

    element: str
    header: Header
    drho: float
    dr: float
    cutoff: float
    embedding: np.ndarray
    charge: np.ndarray
    density: np.ndarray
    comment: str = ""

    def __post_init__(self) -> None:
        check_grid("the embedding energy", len(self.embedding), self.drho)
        check_grid("the radial table", len(self.charge), self.dr)
        check_cutoff(self.cutoff, len(self.charge), self.dr)
        if len(self.density) != len(self.charge):
            raise TableError(f"{len(self.density)} densities for {len(self.charge)} charges")
        _check_finite(self.embedding, self.charge, self.density)


@dataclass(frozen=True)
class EamParams:
    """S species on common grids r = m dr (A) and rho = rho_min + m drho.

    embedding (S, nrho) eV; density (S, S, nr)[a, b] of source a at host b (alloy: the same for every b);
    r_phi (S, S, nr) symmetric, r times the pair potential, eV A; dipole u and quadrupole w (S, S, nr) or None;
    sources: the funcfl files that the tables were made from.
    """

    name: str
    style: str
    elements: tuple[str, ...]
    headers: tuple[Header, ...]
    drho: float
    dr: float
    cutoff: float
    embedding: np.ndarray
    density: np.ndarray
    r_phi: np.ndarray
    dipole: np.ndarray | None = None
    quadrupole: np.ndarray | None = None
    rho_min: float = 0.0
    comments: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    sources: tuple[Funcfl, ...] = ()

    def __post_init__(self) -> None:
        s = len(self.elements)
        if self.style not in STYLES:
            raise TableError(f"style '{self.style}' is none of {', '.join(STYLES)}")
        if s == 0 or len(set(self.elements)) != s or not all(map(is_element, self.elements)):
            raise TableError(f"the elements are '{' '.join(self.elements)}'; they must be different chemical symbols")
        if len(self.headers) != s:
            raise TableError(f"{len(self.headers)} headers for {s} elements")
        check_grid("the embedding energy", self.nrho, self.drho)
        check_grid("the radial table", self.nr, self.dr)
        check_cutoff(self.cutoff, self.nr, self.dr)
        if not np.isfinite(self.rho_min):
            raise TableError(f"the lowest density is {self.rho_min}")
        if (self.dipole is None) != (self.style != "adp") or (self.dipole is None) != (self.quadrupole is None):
            raise TableError("ADP, and only ADP, has dipole and quadrupole tables")
        radial = [t for t in (self.density, self.r_phi, self.dipole, self.quadrupole) if t is not None]
        if self.embedding.shape != (s, self.nrho) or any(t.shape != (s, s, self.nr) for t in radial):
            raise TableError(f"tables of shapes {[t.shape for t in (self.embedding, *radial)]} for {s} elements")
        if any(not np.array_equal(t, t.swapaxes(0, 1)) for t in radial[1:]):
            raise TableError("the pair tables are not symmetric in the two elements")
        _check_finite(self.embedding, *radial)

    @property
    def nrho(self) -> int:
        return self.embedding.shape[-1]

    @property
    def nr(self) -> int:
        return self.r_phi.shape[-1]

    @property
    def rho_max(self) -> float:
        """The density of the last point."""
        return self.rho_min + (self.nrho - 1) * self.drho

    def embedding_cubics(self) -> np.ndarray:
        """(S, K, 4): `hermite` of the embedding energies; above the last cubic its tangent holds.

        LAMMPS drops the last point of a funcfl table but counts the tangent from it: F_last + F'_last (rho - rhomax).
        One more cubic leads from the last kept point to that line, so that forces stay the gradient of the energy.
        """
        cubics = hermite(self.embedding)
        if not self.sources:
            return cubics
        range_end = max((len(f.embedding) - 1) * f.drho for f in self.sources)
        c0, c1, c2, c3 = np.moveaxis(cubics[:, -1], -1, 0)
        value, slope = c0 + c1 + c2 + c3, c1 + 2.0 * c2 + 3.0 * c3
        rise = slope * ((self.rho_max - range_end) / self.drho + 1.0)
        bridge = np.stack([value, slope, 3.0 * (rise - slope), 2.0 * (slope - rise)], axis=-1)
        return np.concatenate([cubics, bridge[:, None]], axis=1)

    def select(self, elements: tuple[str, ...] | None) -> EamParams:
        """Only these elements, in this order; funcfl files are put on the grid that these files alone would have.

        Raises OptionError for an element that is not there.
        """
        if elements is None or elements == self.elements:
            return self
        if missing := [e for e in elements if e not in self.elements]:
            raise OptionError(f"{self.name} has no {', '.join(missing)} (its elements: {', '.join(self.elements)})")
        keep = [self.elements.index(e) for e in elements]
        if self.sources:
            return combine_funcfl(tuple(self.sources[k] for k in keep), self.name, self.files)
        square = np.ix_(keep, keep)
        return EamParams(
            name=self.name,
            style=self.style,
            elements=tuple(elements),
            headers=tuple(self.headers[k] for k in keep),
            drho=self.drho,
            dr=self.dr,
            cutoff=self.cutoff,
            embedding=self.embedding[keep],
            density=self.density[square],
            r_phi=self.r_phi[square],
            dipole=None if self.dipole is None else self.dipole[square],
            quadrupole=None if self.quadrupole is None else self.quadrupole[square],
            rho_min=self.rho_min,
            comments=self.comments,
            files=self.files,
        )

    def card(self) -> Card:
        comment = " ".join(c.strip() for c in self.comments if c.strip(" #"))
        kind = "angular-dependent potential" if self.style == "adp" else "embedded atom method"
        return Card(
            name=f"eam:{self.name}",
            family="eam",
            elements=self.elements,
            cutoff=self.cutoff,
            summary=f"{kind}, {STYLES[self.style]}",
            level_of_theory="empirical",
            citation=next(filter(None, (_after(c, "CITATION:") for c in self.comments)), ""),
            files=dict(self.files),
            extra={"style": self.style, "comment": comment[:300]},
        )


def _after(text: str, key: str) -> str:
    """What follows `CITATION:` in a comment line of LAMMPS' files, up to the next such key."""
    if key not in text:
        return ""
    words = text.split(key, 1)[1].split()
    end = next((k for k, w in enumerate(words) if w.endswith(":") and w[:-1].isupper()), len(words))
    return " ".join(words[:end])[:200]


def _check_finite(*tables: np.ndarray) -> None:
    """The cubic coefficients must be finite too, so values near the largest number are refused."""
    for t in tables:
        if not np.isfinite(t).all() or np.abs(t).max(initial=0.0) > 1e100:
            raise TableError("a table holds a value that is not finite or beyond 1e100")


# -- funcfl: several files on one grid ------------------------------------------------------------------------


def combine_funcfl(sources: tuple[Funcfl, ...], name: str, files: dict[str, str]) -> EamParams:
    """Tables of several funcfl files on one grid, as the DYNAMO code and LAMMPS make it: the largest steps and ranges,
    four-point Lagrange interpolation, r phi = 27.2 x 0.529 Z_i Z_j, and the largest cutoff."""
    dr, drho = max(f.dr for f in sources), max(f.drho for f in sources)
    nr = int(max((len(f.charge) - 1) * f.dr for f in sources) / dr + 0.5)
    nrho = int(max((len(f.embedding) - 1) * f.drho for f in sources) / drho + 0.5)
    charge = np.array([lagrange(f.charge, f.dr, nr, dr) for f in sources])
    density = np.array([lagrange(f.density, f.dr, nr, dr) for f in sources])
    s = len(sources)
    return EamParams(
        name=name,
        style="funcfl",
        elements=tuple(f.element for f in sources),
        headers=tuple(f.header for f in sources),
        drho=drho,
        dr=dr,
        cutoff=max(f.cutoff for f in sources),
        embedding=np.array([lagrange(f.embedding, f.drho, nrho, drho) for f in sources]),
        density=np.repeat(density[:, None], s, axis=1),
        r_phi=FUNCFL_PAIR * (charge[:, None] * charge[None, :]),
        comments=tuple(f.comment for f in sources),
        files=files,
        sources=sources,
    )


def lagrange(table: np.ndarray, step: float, n: int, new_step: float) -> np.ndarray:
    """`table` (points m step) at n points m new_step, by the cubic through the four nearest points (k-1 ... k+2); the
    end cubics serve outside, but not further than one step above the table."""
    q = np.arange(n) * new_step / step
    k = np.clip(q.astype(np.int64), 1, len(table) - 3)
    p = np.minimum(q - k, 2.0)
    c0 = -p * (p - 1.0) * (p - 2.0) / 6.0
    c1 = 0.5 * (p * p - 1.0) * (p - 2.0)
    c2 = -0.5 * p * (p + 1.0) * (p - 2.0)
    c3 = p * (p * p - 1.0) / 6.0
    return c0 * table[k - 1] + c1 * table[k] + c2 * table[k + 1] + c3 * table[k + 2]


# -- splines --------------------------------------------------------------------------------------------------


def hermite(table: np.ndarray) -> np.ndarray:
    """(..., n) values -> (..., n - 1, 4) coefficients c0..c3 of the cubic in t = 0..1 between neighbouring points.

    Slopes by five-point differences, three-point next to the ends, one-sided at the ends: LAMMPS' piecewise cubic.
    """
    f = table
    slope = np.empty_like(f)
    slope[..., 0] = f[..., 1] - f[..., 0]
    slope[..., 1] = 0.5 * (f[..., 2] - f[..., 0])
    slope[..., -2] = 0.5 * (f[..., -1] - f[..., -3])
    slope[..., -1] = f[..., -1] - f[..., -2]
    slope[..., 2:-2] = ((f[..., :-4] - f[..., 4:]) + 8.0 * (f[..., 3:-1] - f[..., 1:-3])) / 12.0
    rise, left, right = np.diff(f), slope[..., :-1], slope[..., 1:]
    return np.stack([f[..., :-1], left, 3.0 * rise - 2.0 * left - right, left + right - 2.0 * rise], axis=-1)
