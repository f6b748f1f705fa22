"""Supercells with force constants: shared by phonons, Grueneisen parameters, expansion and conductivity.

A `Supercell` holds a phonopy object and one or more sets of force constants of it (two displacement magnitudes, or raw
and symmetrised ones); whatever is computed from each set differs by its numerical error. Conventions are phonopy's:
frequencies in THz, negative where imaginary; q in fractions of the primitive reciprocal vectors. Phonopy: A. Togo,
J. Phys. Soc. Jpn. 92, 012001 (2023), doi:10.7566/JPSJ.92.012001.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import kJ, mol

from .force_constants import Displacements

KJ_MOL = kJ / mol
BOLTZMANN = 8.617333262e-5  # eV/K
SPECIAL = {"GAMMA": "G"}
MERGE = 5e-3  # relative difference of frequencies that are listed as one
SMALL_Q = 2e-3  # 1/A, where branches are straight for sound velocities
FORCE_CONSTANT_UNIT = "eV/A^2"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what phonopy, spglib and seekpath warn of themselves: old interfaces, and acoustic modes, which the
    sum-rule gate of this package reports in its own way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*[Aa]coustic.*")
        yield


def phonopy_cell(atoms: Atoms) -> Any:
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(), cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions()
    )


def ase_cell(cell: Any) -> Atoms:
    return Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)


def make_phonopy(unit: Atoms, matrix: Any, primitive: Any = None, symprec: float = 1e-5, quick: bool = False) -> Any:
    """A phonopy object of a unit cell and a supercell matrix; `primitive` (3, 3) or None to find it by symmetry.

    quick   leave out the symmetry of the supercell, which takes longer than anything else for hundreds of atoms and
            serves only phonopy's own displacements and force constants: see force_constants.py
    """
    from phonopy.structure.cells import guess_primitive_matrix

    cell = phonopy_cell(unit)
    with quiet():
        if primitive is None:
            primitive = guess_primitive_matrix(cell, symprec=symprec)
        return _phonopy(quick)(cell, supercell_matrix=matrix, primitive_matrix=primitive, symprec=symprec, log_level=0)


@cache
def _phonopy(quick: bool) -> type:
    from phonopy import Phonopy

    class Quick(Phonopy):
        """The primitive cell's symmetry stands for the supercell's. A phonopy that no longer asks here is slower,
        not wrong."""

        def _search_symmetry(self) -> None:
            from phonopy.structure.symmetry import Symmetry

            self._symmetry = Symmetry(self._primitive, self._symprec)

        def _search_primitive_symmetry(self) -> None:
            self._primitive_symmetry = self._symmetry

    return Quick if quick else Phonopy


class Supercell:
    """One supercell, its displaced copies, and the force constants found from each displacement magnitude.

    constants   sets of force constants, the best one first
    scale       error of the first = scale x |second - first|
    source      what that error bar is taken from
    """

    def __init__(self, phonon: Any, distances: Sequence[float] = (), scale: float = 1 / 3, source: str = ""):
        self.phonon, self.distances, self.scale = phonon, tuple(distances), scale
        self.source = source or "two displacement magnitudes"
        self.moved: list[list[Atoms]] = []
        self.constants: list[np.ndarray] = []
        self.drift = 0.0
        self._ready: dict[int, tuple[Any, Any]] = {}
        self.plan = Displacements(phonon) if self.distances else None
        for distance in self.distances:
            self.moved.append([self._displaced(atom, distance * u) for atom, u in self.plan.moves])
        self.repeat = np.rint(phonon.supercell.cell @ np.linalg.inv(phonon.primitive.cell)).astype(int)

    @classmethod
    def of(cls, unit: Atoms, counts: Sequence[int], distances: Sequence[float]) -> Supercell:
        """Repetition `counts` of a unit cell, with displacements of each of the lengths `distances` (A)."""
        return cls(make_phonopy(unit, np.diag(counts), quick=True), distances)

    def _displaced(self, atom: int, by: np.ndarray) -> Atoms:
        moved = ase_cell(self.phonon.supercell)
        moved.positions[atom] += by
        return moved

    @property
    def structures(self) -> list[Atoms]:
        """The undisplaced supercell, then all displaced ones: what has to be evaluated, in this order."""
        return [ase_cell(self.phonon.supercell), *(a for moved in self.moved for a in moved)]

    def solve(self, forces: Sequence[np.ndarray]) -> None:
        """Force constants from the forces (eV/A) of `structures`; those of the undisplaced cell are subtracted."""
        rest, *others = forces
        left = iter(others)
        with quiet():
            for distance, moved in zip(self.distances, self.moved, strict=True):
                self.take(self.plan.solve([next(left) - rest for _ in moved], distance))

    def take(self, raw: np.ndarray) -> None:
        """Add force constants (N, N, 3, 3), or (n, N, 3, 3) for the n atoms of the primitive cell: their acoustic sum
        rule is measured, then imposed."""
        self.drift = max(self.drift, float(np.abs(raw.sum(axis=1)).max() / np.abs(raw).max()))
        self.phonon.force_constants = raw.copy()
        self.phonon.symmetrize_force_constants(show_drift=False)
        self.constants.append(self.phonon.force_constants.copy())

    def use(self, k: int) -> Any:
        """A phonopy object with force constants number k, kept: the field of charges is costly to prepare."""
        charges = self.phonon.nac_params
        if k not in self._ready or self._ready[k][0] is not charges:
            phonon = copy.copy(self.phonon)  # shares the cells; force constants and results are its own
            phonon.force_constants = self.constants[k]
            self._ready[k] = charges, phonon
        return self._ready[k][1]

    def is_exact(self, q) -> bool:
        """Whether q is commensurate with the supercell, where force constants leave nothing to interpolate."""
        steps = self.repeat @ np.asarray(q)
        return bool(np.abs(steps - np.round(steps)).max() < 1e-5)

    def exact_points(self) -> np.ndarray:
        """All |det| commensurate q points, fractional, in [0, 1)."""
        count = abs(round(float(np.linalg.det(self.repeat))))
        inverse = np.linalg.inv(self.repeat)
        edge = np.arange(-np.abs(self.repeat).sum(axis=1).max(), np.abs(self.repeat).sum(axis=1).max() + 1)
        grid = np.stack(np.meshgrid(edge, edge, edge, indexing="ij"), -1).reshape(-1, 3) @ inverse.T
        points = np.unique(np.round((grid + 1e-9) % 1.0, 6) % 1.0, axis=0)
        if len(points) != count:
            raise RuntimeError(f"{len(points)} commensurate points instead of {count}")
        return points


def solve_all(evaluator: Any, cells: Sequence[Supercell]) -> None:
    """Force constants of all supercells from one batch of forces."""
    lists = [c.structures for c in cells]
    got = iter(evaluator.evaluate([a for many in lists for a in many], ("energy", "forces")))
    for cell, many in zip(cells, lists, strict=True):
        cell.solve([next(got)["forces"] for _ in many])


# -- frequencies -----------------------------------------------------------------------------------------------------


def frequencies(phonon: Any, q: Any, direction: Any = None) -> np.ndarray:
    """(n, 3 atoms) THz; `direction` is that from which Gamma is approached, for ions with charges."""
    phonon.run_qpoints(q, nac_q_direction=direction)
    return np.array(phonon.qpoints.frequencies)


def band_path(phonon: Any) -> dict:
    """Seekpath's path of the primitive cell (Y. Hinuma et al. 2017, doi:10.1016/j.commatsci.2016.10.015)."""
    import seekpath

    cell = phonon.primitive
    with quiet():
        return seekpath.get_path_orig_cell((cell.cell, cell.scaled_positions, cell.numbers))


def short(name: str) -> str:
    """Label of a special point in names of values."""
    return SPECIAL.get(name, name.replace("_", ""))


def pretty(label: str) -> str:
    return "Γ" if label == "G" else label


def special_points(path: dict) -> tuple[list[str], list[list[float]]]:
    """Names and q of the ends of the path's segments, each once."""
    names = list(dict.fromkeys(n for pair in path["path"] for n in pair))
    names = [n for n in names if not (n == "U" and "K" in names)]  # equivalent in fcc lattices
    return names, [list(path["point_coords"][n]) for n in names]


def segments(path: dict, points: int) -> list[np.ndarray]:
    coords = path["point_coords"]
    return [np.linspace(coords[a], coords[b], points) for a, b in path["path"]]


def bands(phonon: Any, path: dict, points: int) -> dict[str, Any]:
    """Frequencies (THz) along the path, one list per segment, with labels at its ends. Plain data."""
    phonon.run_band_structure(segments(path, points))
    got = phonon.band_structure
    return {
        "labels": [[short(a), short(b)] for a, b in path["path"]],
        "distances": [np.round(d, 6).tolist() for d in got.distances],
        "frequencies": [np.round(f, 5).tolist() for f in got.frequencies],
    }


def merged(values: Sequence[float], tolerance: float = MERGE) -> list[list[int]]:
    """Indices of equal frequencies, together."""
    groups: list[list[int]] = []
    for k, f in enumerate(values):
        if groups and abs(f - values[groups[-1][0]]) < tolerance * max(1.0, abs(f)):
            groups[-1].append(k)
        else:
            groups.append([k])
    return groups


def compare_bands(own: dict[str, Any], other: dict[str, Any]) -> dict[str, float] | None:
    """Root mean square and largest difference (THz) of two band structures on the same path; None where they differ."""
    if own["labels"] != other["labels"]:
        return None
    gaps = []
    for d1, f1, d2, f2 in zip(
        own["distances"], own["frequencies"], other["distances"], other["frequencies"], strict=True
    ):
        a, b = np.sort(np.array(f1), axis=1), np.sort(np.array(f2), axis=1)
        if a.shape[1] != b.shape[1]:
            return None
        x1, x2 = (np.linspace(0.0, 1.0, len(d)) for d in (d1, d2))
        gaps.append(a - np.stack([np.interp(x1, x2, column) for column in b.T], axis=1))
    gap = np.concatenate(gaps)
    return {"rms": float(np.sqrt((gap**2).mean())), "largest": float(np.abs(gap).max())}


# -- thermal properties ----------------------------------------------------------------------------------------------


def thermal_table(phonon: Any, mesh: float, temperatures: np.ndarray) -> dict[str, np.ndarray]:
    """Free energy (eV), entropy and heat capacity (eV/K) per atom on a Gamma-centred mesh; imaginary modes left out.

    Also `second_moment` <w^2> in THz^2 (imaginary modes count as negative) and `left_out`, the share of modes that are
    imaginary.
    """
    n = len(phonon.primitive)
    with quiet():
        phonon.run_mesh(mesh, is_gamma_center=True)
        phonon.run_thermal_properties(temperatures=temperatures, exclude_gamma_acoustic=True)
    table, grid = phonon.thermal_properties, phonon.mesh
    f, w = np.array(grid.frequencies), np.array(grid.weights, dtype=float)
    w = w / w.sum()
    acoustic = np.abs(grid.qpoints).max(axis=1) < 1e-9  # zero by the sum rule, whatever sign the rounding gave
    bad = np.where(acoustic[:, None], np.sort(f, axis=1) < -0.05, f < -1e-3)
    return {
        "free_energy": np.array(table.free_energy) * KJ_MOL / n,
        "entropy": np.array(table.entropy) * KJ_MOL / 1e3 / n,
        "heat_capacity": np.array(table.heat_capacity) * KJ_MOL / 1e3 / n,
        "second_moment": np.array(w @ (np.sign(f) * f**2).mean(axis=1)),
        "left_out": np.array(w @ bad.mean(axis=1)),
    }


def debye_heat_capacity(x: float) -> float:
    """C_V / (3 k_B) of the Debye model, x = theta / T: 3 x^-3 int_0^x t^4 e^t / (e^t - 1)^2 dt."""
    from scipy.integrate import quad

    if x < 1e-3:
        return 1.0 - x * x / 20
    return 3 * quad(lambda t: t**4 * np.exp(-t) / np.expm1(-t) ** 2 if t > 1e-9 else t * t, 0, min(x, 700.0))[0] / x**3


def debye_temperature(heat_capacity: float, temperature: float) -> float | None:
    """Temperature (K) at which Debye's heat capacity is this one (eV/K per atom); None where there is none."""
    from scipy.optimize import brentq

    target = heat_capacity / (3 * BOLTZMANN)
    if temperature <= 0 or not 1e-6 < target < 1 - 1e-6:
        return None
    return temperature * brentq(lambda x: debye_heat_capacity(x) - target, 1e-3, 600.0, xtol=1e-10)


# -- sound -----------------------------------------------------------------------------------------------------------


def sound_velocities(phonon: Any, directions: np.ndarray) -> np.ndarray:
    """(n, 3) km/s for Cartesian directions (n, 3): slope of acoustic branches at |q| = SMALL_Q; nan if imaginary."""
    unit = directions / np.linalg.norm(directions, axis=1)[:, None]
    q = SMALL_Q * unit @ phonon.primitive.cell.T  # fractional: b . q
    f = frequencies(phonon, q)
    n = f.shape[1]
    lowest = np.argsort(np.abs(f), axis=1)[:, : min(3, n)]
    acoustic = np.sort(np.take_along_axis(f, lowest, axis=1), axis=1)
    return np.where(acoustic > 0, acoustic, np.nan) / SMALL_Q * 0.1  # THz A = 0.1 km/s


def sphere(order: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Directions (n, 3) and weights (sum 1) that integrate polynomials up to degree 2 order - 1 over the sphere."""
    z, w = np.polynomial.legendre.leggauss(order)
    phi = (np.arange(2 * order) + 0.25) * np.pi / order
    s = np.sqrt(1 - z**2)
    points = np.stack([np.outer(s, np.cos(phi)), np.outer(s, np.sin(phi)), np.outer(z, np.ones_like(phi))], axis=-1)
    return points.reshape(-1, 3), np.repeat(w / 2 / (2 * order), 2 * order)


def elastic_debye(phonon: Any) -> tuple[float, float] | None:
    """Debye temperature (K) and mean sound velocity (km/s) for T -> 0, from v^-3 averaged over all directions."""
    points, weights = sphere()
    v = sound_velocities(phonon, points)
    if not np.isfinite(v).all():
        return None
    mean = float((weights @ (v**-3.0).mean(axis=1)) ** (-1 / 3))
    density = len(phonon.primitive) / phonon.primitive.volume  # atoms / A^3
    hbar_over_k = 7.638232577  # K ps
    return hbar_over_k * mean * 10 * (6 * np.pi**2 * density) ** (1 / 3), mean  # km/s = 10 A/ps
