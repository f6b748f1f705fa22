"""Straight dislocations: anisotropic elastic field, energy against radius, structure of the core.

Frame: x along the glide direction m, y the normal n of the glide plane, z the line t. With (ab)_jk = a_i C_ijkl b_l
and m, n turned by w about t, the integral formalism (Bacon, Barnett and Scattergood,
doi:10.1016/0079-6425(80)90007-9) gives

    S = -(1/2 pi) int (nn)^-1 (nm) dw,     4 pi B = (1/2 pi) int [(mm) - (mn) (nn)^-1 (nm)] dw   (0 .. 2 pi)
    u(r, w) = -(1/2 pi) S b ln r + (1/2 pi) int_0^w (nn)^-1 [4 pi B + (nm) S] b dw'
    E(R) = E_core + K ln(R / r_core),      K = b . 4 pi B . b / (4 pi)   per length,

which, unlike the eigenvectors of the six-dimensional formalism, also holds for an isotropic crystal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from scipy.interpolate import PchipInterpolator

from .strain import VOIGT

ANGLES = 256
MODES = 60  # Fourier modes of the angular part; smooth, so far more than needed


class Restrained:
    """An evaluator whose forces vanish on the atoms marked in the array "frozen".

    With `normal_only`, all stress components but zz vanish too: a relaxed cell then changes along z alone.
    """

    def __init__(self, evaluator: Any, normal_only: bool = False):
        self.inner, self.normal_only = evaluator, normal_only

    def evaluate(
        self, structures: Sequence[Atoms], properties: Sequence[str] = ("energy", "forces"), errors: str = "raise"
    ) -> list[Any]:
        results = self.inner.evaluate(structures, properties, errors=errors)
        for atoms, result in zip(structures, results, strict=True):
            if not isinstance(result, dict):
                continue
            if "forces" in result and "frozen" in atoms.arrays:
                result["forces"] = np.where(atoms.arrays["frozen"][:, None], 0.0, result["forces"])
            if "stress" in result and self.normal_only:
                result["stress"] = np.array([0.0, 0.0, result["stress"][2], 0.0, 0.0, 0.0])
        return results


# -- elasticity --------------------------------------------------------------------------------------------------------


def stiffness(voigt: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(3, 3, 3, 3) stiffness in a frame (rows: unit vectors) from the (6, 6) one, units kept."""
    full = np.zeros((3, 3, 3, 3))
    for i, (a, b) in enumerate(VOIGT):
        for j, (c, d) in enumerate(VOIGT):
            for p in ((a, b), (b, a)):
                for q in ((c, d), (d, c)):
                    full[(*p, *q)] = (voigt[i, j] + voigt[j, i]) / 2
    return np.einsum("ai,bj,ck,dl,ijkl->abcd", frame, frame, frame, frame, full, optimize=True)


class Stroh:
    """Elastic field of a straight dislocation along z; `c` in eV/A^3 in the dislocation's frame, `burgers` in A."""

    def __init__(self, c: np.ndarray, burgers: np.ndarray):
        self.c, self.b = c, np.asarray(burgers, float)
        w = 2 * np.pi * np.arange(ANGLES) / ANGLES
        m, n, nn_inv, nm, mm, mn = self._products(w)
        self.s = -np.mean(nn_inv @ nm, axis=0)
        self.four_pi_b = np.mean(mm - mn @ nn_inv @ nm, axis=0)
        slope = self._slope(nn_inv, nm)
        self.coefficients = np.fft.rfft(slope, axis=0)[: MODES + 1] / ANGLES

    def _products(self, w):
        zero = np.zeros_like(w)
        m, n = np.stack([np.cos(w), np.sin(w), zero], 1), np.stack([-np.sin(w), np.cos(w), zero], 1)
        pair = lambda a, b: np.einsum("wi,ijkl,wl->wjk", a, self.c, b, optimize=True)  # noqa: E731
        return m, n, np.linalg.inv(pair(n, n)), pair(n, m), pair(m, m), pair(m, n)

    def _slope(self, nn_inv, nm):
        """du/dw at constant r."""
        return np.einsum("wij,wj->wi", nn_inv, (self.four_pi_b + nm @ self.s) @ self.b) / (2 * np.pi)

    def prefactor(self, other: Stroh | None = None) -> float:
        """K in eV/A: b . 4 pi B . b' / (4 pi); with the Burgers vector of another dislocation on the same line."""
        return float(self.b @ self.four_pi_b @ (self.b if other is None else other.b) / (4 * np.pi))

    def displacement(self, xy: np.ndarray) -> np.ndarray:
        """(n, 3) displacements in A at points (n, 2) relative to the line; the cut is the half plane x < 0, y = 0."""
        r, w = np.hypot(xy[:, 0], xy[:, 1]), np.arctan2(xy[:, 1], xy[:, 0])
        u = np.outer(w, self.coefficients[0].real) - np.outer(np.log(r), self.s @ self.b) / (2 * np.pi)
        for k in range(2, MODES + 1, 2):  # the slope has the period pi
            phase = (np.exp(1j * k * w) - 1.0) / (1j * k)
            u += 2 * np.real(np.outer(phase, self.coefficients[k]))
        return u

    def gradient(self, xy: np.ndarray) -> np.ndarray:
        """(n, 3, 3) displacement gradient du_i/dx_j."""
        r, w = np.hypot(xy[:, 0], xy[:, 1]), np.arctan2(xy[:, 1], xy[:, 0])
        m, n, nn_inv, nm, _, _ = self._products(w)
        radial, around = -(self.s @ self.b) / (2 * np.pi), self._slope(nn_inv, nm)
        return (radial[None, :, None] * m[:, None, :] + around[:, :, None] * n[:, None, :]) / r[:, None, None]


def splitting(left: Stroh, right: Stroh, fault: float) -> float:
    """Distance in A at which the repulsion of two partials balances a stacking fault of energy `fault` (eV/A^2)."""
    return 2 * left.prefactor(right) / fault


class Field:
    """Sum of the fields of parallel dislocations at x positions on the glide plane, about the origin (x0, y0)."""

    def __init__(self, parts: list[tuple[Stroh, float]]):
        self.parts = parts
        self.b = sum(p.b for p, _ in parts)
        self.k = float(sum(p.prefactor(q) for p, _ in parts for q, _ in parts))
        self.extent = max(abs(x) for _, x in parts)

    def displacement(self, xy: np.ndarray) -> np.ndarray:
        return sum(part.displacement(xy - [x, 0.0]) for part, x in self.parts)

    def logarithm(self, radii: np.ndarray, core: float) -> np.ndarray:
        """F(R) with K F(R) the elastic energy up to R: ln(R / core) for a single dislocation, and its limit far away.

        For split dislocations the energy density is integrated from R outwards, where it tends to that of the sum.
        """
        if len(self.parts) == 1:
            return np.log(radii / core)
        far = 30 * max(radii[-1], 2 * self.extent)
        grid = np.exp(np.linspace(np.log(radii[0]), np.log(far), 160))
        w = 2 * np.pi * (np.arange(180) + 0.5) / 180
        ring = np.stack([np.cos(w), np.sin(w)], 1)
        c = self.parts[0][0].c
        rate = []  # dE/dln r
        for r in grid:
            du = sum(part.gradient(r * ring - [x, 0.0]) for part, x in self.parts)
            eps = (du + du.transpose(0, 2, 1)) / 2
            rate.append(np.einsum("wij,ijkl,wkl->w", eps, c, eps, optimize=True).mean() * np.pi * r * r)
        steps = np.diff(np.log(grid)) * (np.array(rate[1:]) + np.array(rate[:-1])) / 2
        outside = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
        return np.log(far / core) - np.interp(np.log(radii), np.log(grid), outside) / self.k


# -- energy ------------------------------------------------------------------------------------------------------------


def energy_within(excess: np.ndarray, radii: np.ndarray, grid: np.ndarray, length: float, width: float) -> np.ndarray:
    """E(R) in eV/A: excess energies of the atoms within R, each counted gradually over `width` as R passes it."""
    weight = np.clip((grid[:, None] - radii[None, :]) / width + 0.5, 0.0, 1.0)
    return weight @ excess / length


@dataclass(frozen=True)
class CoreEnergy:
    """E_core with the elastic prefactor, its scatter over the fit window, and both from a free fit; eV/A."""

    core: float
    scatter: float
    fitted_k: float
    fitted_core: float


def fit_core(energy: np.ndarray, logarithm: np.ndarray, k: float) -> CoreEnergy:
    """E(R) = E_core + K F(R), with the given K and with a free one."""
    rest = energy - k * logarithm
    slope, intercept = np.polyfit(logarithm, energy, 1)
    return CoreEnergy(float(rest.mean()), float(np.ptp(rest) / 2), float(slope), float(intercept))


# -- core structure ----------------------------------------------------------------------------------------------------


def disregistry(perfect: np.ndarray, moved: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and displacement (along b, in units of b) of the atomic plane above the cut relative to the one below it.

    perfect, moved (n, 3), relative to the line.
    """
    unit, length = b / np.linalg.norm(b), np.linalg.norm(b)
    slip = (moved - perfect) @ unit / length
    curves = []
    for sign in (1, -1):
        height = sign * perfect[:, 1]
        near = (height > 0) & (height < height[height > 0].min() + 0.05)
        x, inverse = np.unique(np.round(perfect[near, 0], 3), return_inverse=True)
        curves.append((x, np.bincount(inverse, slip[near]) / np.bincount(inverse)))
    (xu, up), (xl, low) = curves
    x = np.union1d(xu, xl)
    x = x[(x >= max(xu[0], xl[0])) & (x <= min(xu[-1], xl[-1]))]
    return x, PchipInterpolator(xu, up)(x) - PchipInterpolator(xl, low)(x)


def crossings(x: np.ndarray, y: np.ndarray, level: float) -> list[float]:
    """Where the polygon y(x) crosses a level."""
    out = []
    for k in range(len(x) - 1):
        if (y[k] - level) * (y[k + 1] - level) <= 0 and y[k] != y[k + 1]:
            out.append(float(x[k] + (level - y[k]) / (y[k + 1] - y[k]) * (x[k + 1] - x[k])))
    return out


def columns_of(perfect: np.ndarray, moved: np.ndarray, within: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atomic columns along z near the line: xy (n, 2), height z, displacement along z."""
    near = np.hypot(*perfect[:, :2].T) < within
    keys, first = np.unique(np.round(perfect[near, :2], 3), axis=0, return_index=True)
    index = np.flatnonzero(near)[first]
    return perfect[index, :2], perfect[index, 2], (moved - perfect)[index, 2]


def wrapped(x: np.ndarray | float, period: float) -> np.ndarray:
    """x modulo the period, in (-period/2, period/2]."""
    return x - period * np.ceil(np.asarray(x) / period - 0.5)


@dataclass(frozen=True)
class ScrewCore:
    """Differential-displacement analysis of a bcc screw: where the Burgers vector is, and in which kind of triangle."""

    kind: str  # easy, hard, split
    position: tuple[float, float]
    largest: float  # largest differential displacement of neighbouring columns, in units of b
    polarity: float
    arrows: list[list[float]]


def screw_core(perfect: np.ndarray, moved: np.ndarray, b: float, nearest: float, within: float) -> ScrewCore | None:
    """Vitek's differential displacements (doi:10.1080/14786437008238490); None where no circuit has the Burgers vector.

    A circuit around three columns closes up to +-b only where the line is. Undisplaced, the heights of the three
    columns wind by +-b/3 steps; the line turns that winding round (easy core) or brings them to one height (hard
    core). In a split core one differential displacement is b/2, so that the triangle is undecided. Polarity:
    difference between the core and its image under the two-fold rotations of the crystal, 0 for a compact core that
    is not degenerate.
    """
    xy, z, u = columns_of(perfect, moved, within)
    dist = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    bonds = (dist > 0.1) & (dist < 1.1 * nearest)
    dd = wrapped(u[None, :] - u[:, None], b)  # from row to column
    found = []
    for i in range(len(xy)):
        for j in np.flatnonzero(bonds[i]):
            for k in np.flatnonzero(bonds[i] & bonds[j]):
                e, f = xy[j] - xy[i], xy[k] - xy[i]
                if i < j and i < k and e[0] * f[1] - e[1] * f[0] > 0:
                    content = dd[i, j] + dd[j, k] + dd[k, i]
                    if abs(content) > b / 2:
                        found.append((i, int(j), int(k), content))
    if not found:
        return None
    centres = np.array([xy[list(f[:3])].mean(axis=0) for f in found])
    i, j, k, content = found[int(np.linalg.norm(centres, axis=1).argmin())]
    steps = [wrapped(z[q] - z[p] + dd[p, q], b) for p, q in ((i, j), (j, k), (k, i))]
    largest = float(max(abs(dd[p, q]) for p, q in ((i, j), (j, k), (k, i))) / b)
    winding = abs(sum(abs(s) for s in steps)) / b
    kind = "split" if largest > 0.45 else "easy" if winding > 0.5 else "hard"
    centre = xy[[i, j, k]].mean(axis=0)
    arrows = []
    for p in range(len(xy)):
        for q in np.flatnonzero(bonds[p]):
            if p < q and abs(dd[p, q]) > 0.02 * b:
                arrows.append([*xy[p].round(3).tolist(), *xy[q].round(3).tolist(), round(float(dd[p, q] / b), 4)])
    polarity = _polarity(xy, dd, (i, j, k), centre, b)
    return ScrewCore(kind, (float(centre[0]), float(centre[1])), largest, polarity, arrows)


def _polarity(xy: np.ndarray, dd: np.ndarray, triangle: tuple[int, int, int], centre: np.ndarray, b: float) -> float:
    """Largest |d_ij + d_i'j'| / b over the bonds around the core, with i' the column on which a two-fold axis puts i.

    The axes run from the centre of the triangle along <110>, through its corners. Such a rotation reflects (x, y) in
    the axis and reverses z, so that the differential displacements of a symmetric core change sign.
    """
    shell = [
        p for p in range(len(xy)) if np.linalg.norm(xy[p] - centre) < 2.2 * np.linalg.norm(xy[triangle[0]] - centre)
    ]
    worst = 0.0
    for corner in triangle:
        axis = (xy[corner] - centre) / np.linalg.norm(xy[corner] - centre)
        rel = xy[shell] - centre
        image = 2 * np.outer(rel @ axis, axis) - rel
        partner = np.linalg.norm(image[:, None] - rel[None], axis=2).argmin(axis=1)
        for p in range(len(shell)):
            for q in range(len(shell)):
                one, other = dd[shell[p], shell[q]], dd[shell[partner[p]], shell[partner[q]]]
                if abs(one) < 0.45 * b and abs(other) < 0.45 * b:
                    worst = max(worst, abs(one + other) / b)
    return worst
