"""Slips of a crystal: planes and directions by structure, slipped slabs, and the energies along them.

A point of the table is (line, size of the slab, kind, a, b). Kinds: "line" and "twin" at the part a of the way, "grid"
at (a u + b v) / n; with "+" appended the points added around maxima and in the thicker slab, with "!" those of them
that are not relaxed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from ase import Atoms
from ase.units import _e

from calczoo.core.errors import OptionError

from .planes import Bulk, adjugate, coprime, distinct_planes, miller_label, parse_miller
from .slabs import Oriented, Slab, make_slab, orient, periods_for

TO_SI = _e * 1e23  # eV/A^2 -> mJ/m^2
NEAR = 0.01  # of the line, distance of the points around a maximum
SHALLOW = 1.0  # mJ/m^2, less deep minima of a line are no faults of their own

# structure -> (name, plane, direction, cut "wide" or "narrow", place of the intrinsic fault on the line, twinning)
SLIPS = {
    "fcc": [("", "111", "11-2", "wide", 1 / 3, True)],
    "bcc": [("110", "110", "1-11", "wide", 0.0, False), ("112", "112", "11-1", "wide", 0.0, False)],
    "hcp": [("basal", "001", "1-10", "wide", 1 / 3, False), ("prismatic", "100", "010", "wide", 0.0, False)],
    "diamond": [("glide", "111", "11-2", "narrow", 1 / 3, True), ("shuffle", "111", "1-10", "wide", 0.0, False)],
    "wurtzite": [("glide", "001", "1-10", "narrow", 1 / 3, False), ("prismatic", "100", "010", "wide", 0.0, False)],
    "rocksalt": [("110", "110", "1-10", "wide", 0.0, False), ("100", "100", "011", "wide", 0.0, False)],
    "cesiumchloride": [("110", "110", "001", "wide", 0.0, False), ("110_111", "110", "1-11", "wide", 0.0, False)],
}
SLIPS["zincblende"] = SLIPS["diamond"]


@dataclass
class Line:
    """One slip: `shift` (A, in the frame of the slabs) is the whole line, `special` the place of the stable fault."""

    name: str
    title: str
    oriented: Oriented
    cut: int
    shift: np.ndarray
    special: float
    twin: bool
    slabs: list[Slab] = field(default_factory=list)

    def __post_init__(self):
        if self.special and _closest(self, self.special) < _closest(self, -self.special):
            self.shift = -self.shift  # the other sense stacks atoms on top of each other

    def tag(self, quantity: str) -> str:
        return f"{quantity}_{self.name}" if self.name else quantity

    def atoms(self, size: int, shift: np.ndarray, second: np.ndarray | None = None) -> Atoms:
        """The slab slipped by `shift` and, one lattice plane higher, by `second` as well."""
        slab, planes = self.slabs[size], len(self.oriented.planes)
        middle = slab.boundary(self.cut, planes)
        out = slab.atoms.copy()
        out.positions[slab.layers >= middle] += shift
        if second is not None:
            out.positions[slab.layers >= middle + planes] += second
        return out


def _closest(line: Line, part: float) -> float:
    """Smallest distance (A) of atoms on the two sides of the cut after a slip by `part` of the line."""
    slab = make_slab(line.oriented, line.cut, 4, 0.0)
    middle = slab.boundary(line.cut, len(line.oriented.planes))
    low, high = slab.atoms.positions[slab.layers < middle], slab.atoms.positions[slab.layers >= middle]
    cell = slab.atoms.cell.array
    images = [i * cell[0] + j * cell[1] for i, j in product(range(-2, 3), repeat=2)]
    moved = np.vstack([high + part * line.shift + image for image in images])
    return float(np.linalg.norm(moved[:, None] - low[None], axis=2).min())


# -- lines ------------------------------------------------------------------------------------------------------------


def find_lines(bulk: Bulk, wanted: tuple[str, ...], thickness: tuple[float, ...], vacuum: float) -> list[Line]:
    """The slips asked for, or the usual ones of the structure, each with slabs of one or two thicknesses."""
    if wanted != ("auto",):
        chosen = [_parsed(text) for text in wanted]
    elif bulk.kind() in SLIPS:
        chosen = SLIPS[bulk.kind()]
    else:
        chosen = _widest(bulk)
    lines, cells = [], {}
    for name, plane, direction, where, special, twin in chosen:
        hkl = parse_miller(plane, bulk.hexagonal)
        cell = cells.setdefault(hkl, orient(bulk, hkl))
        along = np.array(bulk.direction(parse_miller(direction, bulk.hexagonal, direction=True)))
        if along @ np.array(bulk.covector(hkl)) != 0:
            raise OptionError(f"the direction [{direction}] does not lie in the plane ({plane})")
        cuts = cell.terminations()
        cut = cuts[0 if where == "wide" else -1].cut
        shift = cell.rotation @ (along @ bulk.atoms.cell.array)
        title = f"({miller_label(hkl, bulk.hexagonal)})[{direction}]" + (f" {name}" if name.isalpha() else "")
        line = Line(name, title, cell, cut, shift, special, twin)
        periods = 0
        for least in thickness[:2]:
            periods = max(periods + 1, periods_for(cell, least))
            line.slabs.append(make_slab(cell, cuts[0].cut, periods, vacuum))
        lines.append(line)
    return lines


def _parsed(text: str) -> tuple:
    parts = text.split(":")
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("wide", "narrow")):
        raise OptionError(f"{text!r} is no slip; expected 'plane:direction' or 'plane:direction:narrow', as '110:1-11'")
    where = parts[2] if len(parts) == 3 else "wide"
    name = "_".join([parts[0], parts[1], *([where] if where == "narrow" else [])])
    return name, parts[0], parts[1], where, 0.0, False


def _widest(bulk: Bulk) -> list[tuple]:
    """For a structure without known slips: the shortest vector in the two planes with the widest gaps."""
    cells = [orient(bulk, hkl) for hkl in distinct_planes(bulk, 1)]
    cells.sort(key=lambda c: (-round(c.terminations()[0].gap, 3), c.hkl))
    out = []
    for cell in cells[:2]:
        direction = coprime(cell.matrix[0] @ adjugate(bulk.conventional))
        label = miller_label(cell.hkl, bulk.hexagonal)
        out.append((label, label, ",".join(map(str, direction)), "wide", 0.0, False))
    return out


# -- points -----------------------------------------------------------------------------------------------------------


def first_points(lines: list[Line], n: int, grid: int, twinning: bool) -> dict[tuple, Atoms]:
    """All points of the lines, of the twinning ways and of the gamma surfaces, in the thinner slab."""
    out = {}
    for k, line in enumerate(lines):
        for i in range(n + 1):
            x = i / n
            out[k, 0, "line", round(x, 9), 0] = line.atoms(0, x * line.shift)
        if line.twin and twinning:
            fault = line.special * line.shift
            for i in range(n // 3 + 1):
                x = 3 * i / n
                out[k, 0, "twin", round(x, 9), 0] = line.atoms(0, fault, x * fault)
    for k in surface_lines(lines) if grid else []:
        line = lines[k]
        u, v = line.oriented.atoms.cell.array[:2]
        for i, j in sorted(set(distinct_shifts(line, grid).values())):
            out[k, 0, "grid", i, j] = line.atoms(0, (i * u + j * v) / grid)
    return out


def second_points(lines: list[Line], table: dict, twinning: bool) -> dict[tuple, Atoms]:
    """Points around the maxima, and the thicker slab at the maxima and faults."""
    out = {}
    for k, line in enumerate(lines):
        curve = Curve(table, k, line.oriented.area)
        places = []
        for relaxed in (True, False):
            top = curve.maximum("line", relaxed, line.special or 1.0)
            places += [("line", relaxed, x) for x in (top - NEAR, top, top + NEAR)]
        valley = line.special or curve.valley()
        places += [("line", True, 0.0), *([("line", True, valley)] if valley else [])]
        if line.twin and twinning:
            top = curve.maximum("twin", True, 1.0)
            places += [("twin", True, x) for x in (top - NEAR, top, top + NEAR, 1.0)]
        for size in range(len(line.slabs)):
            for kind, relaxed, x in places:
                shift = line.special * line.shift if kind == "twin" else x * line.shift
                second = x * shift if kind == "twin" else None
                key = (k, size, kind + ("+" if relaxed else "!"), round(x, 9), 0)
                out[key] = line.atoms(size, shift, second)
    return out


def surface_lines(lines: list[Line]) -> list[int]:
    """The first line of every plane and cut: each has one gamma surface."""
    seen, out = set(), []
    for k, line in enumerate(lines):
        if (line.oriented.hkl, line.cut) not in seen:
            seen.add((line.oriented.hkl, line.cut))
            out.append(k)
    return out


def distinct_shifts(line: Line, n: int) -> dict[tuple[int, int], tuple[int, int]]:
    """For every grid point the one that stands for it: t and s t R have one energy (s = -1 swaps the halves)."""
    actions = [s * r for s, r in line.oriented.stabiliser(line.cut)]
    return {
        (i, j): min(tuple(int(x) for x in (np.array([i, j]) @ r) % n) for r in actions)
        for i, j in product(range(n), repeat=2)
    }


class Curve:
    """Fault energies (mJ/m^2) of one line from the table of points."""

    def __init__(self, table: dict, k: int, area: float):
        self.table, self.k, self.area = table, k, area

    def gamma(self, x: float, kind: str = "line", relaxed: bool = True, size: int = 0) -> float:
        """Fault energy, nan where the point failed."""
        zero = self._energy("line", 0.0, relaxed, size)
        return (self._energy(kind, round(x, 9), relaxed, size) - zero) / self.area * TO_SI

    def _energy(self, kind: str, x: float, relaxed: bool, size: int) -> float:
        for suffix in ("", "+", "!"):
            got = self.table.get((self.k, size, kind + suffix, x, 0))
            if isinstance(got, dict) and ("relaxed" in got or not relaxed):
                return got["relaxed" if relaxed else "unrelaxed"]
        return float("nan")

    def grid(self, kind: str, relaxed: bool = True) -> tuple[np.ndarray, np.ndarray]:
        x = np.array(sorted(key[3] for key in self.table if key[:3] == (self.k, 0, kind)))
        return x, np.array([self.gamma(v, kind, relaxed) for v in x])

    def spline(self, kind: str, relaxed: bool = True, every: int = 1):
        from scipy.interpolate import CubicSpline

        x, y = self.grid(kind, relaxed)
        fine = np.isfinite(y)
        return CubicSpline(x[fine][::every], y[fine][::every])

    def maximum(self, kind: str, relaxed: bool, end: float) -> float:
        x = np.linspace(NEAR, end - NEAR, 2001)
        return round(float(x[np.argmax(self.spline(kind, relaxed)(x))]), 6)

    def valley(self) -> float:
        """Place of the lowest interior minimum between two maxima of the relaxed line; 0 where there is none."""
        x, y = self.grid("line")
        inner = [i for i in range(2, len(x) - 2) if y[i] <= min(y[i - 1], y[i + 1])]
        deep = [i for i in inner if y[i] < min(y[:i].max(), y[i:].max()) - SHALLOW]
        return float(x[min(deep, key=lambda i: y[i])]) if deep else 0.0

    def bad(self, *kinds: str) -> list[tuple[float, str]]:
        """Points of these kinds that failed or did not converge, with the reason."""
        out = []
        for key, got in self.table.items():
            if key[0] == self.k and key[2].rstrip("+!") in kinds:
                if not isinstance(got, dict):
                    out.append((key[3], got))
                elif not got.get("converged", True):
                    out.append((key[3], f"the relaxation stopped at {got['fmax']:.2g} eV/A: {got['reason']}"))
        return out

    def moved(self, *kinds: str) -> float:
        """Largest move (A) of an atom in the relaxation of these points."""
        rows = [v for key, v in self.table.items() if key[0] == self.k and key[2].rstrip("+!") in kinds]
        return max((r.get("moved", 0.0) for r in rows if isinstance(r, dict)), default=0.0)
