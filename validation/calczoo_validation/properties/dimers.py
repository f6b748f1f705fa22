"""Dimers: energy of two atoms over their distance, for every pair of elements.

    E(r) = E(A-B at r) - E(A) - E(B)

Well depth, bond length (zero of the force, found by secant steps from the grid), and vibrational frequency
nu = sqrt(k / mu) / 2 pi with k = -dF/dr by central differences of the force. Their errors: the force left, the
difference of the force constant at two displacements, and forces against energies.

What a reader should know of the curve is looked for: energies that fall towards short distance (a hole, into which hot
atoms fall), jumps of the energy or force, forces that are not -dE/dr, further minima, pairs that do not bind, and a
curve that does not approach the two single atoms. Isolated atoms have no cell; where a calculator asks for one, a box
far larger than the distances is used and noted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, covalent_radii
from ase.units import _amu, _e

from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status
from ._jumps import Breaks, breaks

BOX = 15.0  # A of empty space on top of the largest distance, where a cell is needed
FALL = 0.01  # eV, a smaller fall towards short distance is not called a hole
DISPLACEMENT = 2e-3  # A, of the force constant; twice this is used as well
SHALLOW = 1e-3  # eV, minima less deep than this do not count
ROUNDING = 1e-8  # eV
TAIL_GATE = 0.01  # eV
HARD_CORE = 0.5  # of the bond length: a hole inside is what no repulsion is there to prevent


@dataclass(frozen=True)
class Options:
    points: int = option(240, "distances of each curve", smoke=80, full=600, low=20, high=5000)
    shortest: float = option(0.35, "shortest distance, of the sum of the covalent radii", low=0.05, high=1.0)
    longest: float = option(10.0, "longest distance", unit="A", smoke=8.0, low=3.0, high=50.0)
    max_pairs: int = option(36, "pairs of elements; above this only those of equal elements", low=1)


def run(ctx: Context, result: PropertyResult) -> None:
    s, elements = ctx.options, ctx.elements
    pairs = list(combinations_with_replacement(elements, 2))
    if len(pairs) > s.max_pairs:
        pairs = [(e, e) for e in elements]
        result.notes.append(f"{len(elements)} elements: only pairs of equal elements (dimers.max_pairs).")
    dimer = _Dimers(ctx, result)
    dimer.choose_box(pairs[0])
    single = dimer.singles(elements)
    grids = [_grid(a, b, s) for a, b in pairs]
    with ctx.progress.step("dimer curves", sum(map(len, grids))):
        curves = dimer.curves(pairs, grids)
    data = {}
    for (a, b), r, (energy, force) in zip(pairs, grids, curves, strict=True):
        zero = single[a] + single[b]
        data[f"{a}_{b}"] = {"r": r, "E": energy - zero, "F": force, "zero": zero, "pair": (a, b)}
    if not any(np.isfinite(d["E"]).sum() > 5 for d in data.values()):
        raise PropertyFailure(f"the calculator fails for every dimer: {dimer.problem}", Status.FAILED)
    wells = {key: _well(d) for key, d in data.items()}
    _refine(dimer, data, wells)
    _force_constants(dimer, data, wells)
    broken = breaks(data, dimer.curves)
    for key, d in data.items():
        _report(result, key, d, wells[key], broken[key])
    result.settings.update(box="none" if dimer.box is None else f"periodic, {dimer.box:g} A", points=s.points)
    result.data["single_atoms_eV"] = {e: float(v) for e, v in single.items()}
    result.data["curves"] = {
        key: {"r": [round(float(x), 5) for x in d["r"]], "E": _listed(d["E"]), "F": _listed(d["F"])}
        for key, d in data.items()
    }  # fmt: skip


def _listed(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.7g}") if np.isfinite(v) else None for v in values]


def _grid(a: str, b: str, s: Options) -> np.ndarray:
    """Distances, denser where they are short: even in r^(1/2)."""
    start = s.shortest * (covalent_radii[atomic_numbers[a]] + covalent_radii[atomic_numbers[b]])
    return np.linspace(start**0.5, max(s.longest, 3 * start) ** 0.5, s.points) ** 2


class _Dimers:
    """Makes and evaluates dimers, without a cell or in a large box."""

    def __init__(self, ctx: Context, result: PropertyResult):
        self.ctx, self.result = ctx, result
        self.box: float | None = None
        self.problem = ""

    def atoms(self, a: str, b: str | None, r: float = 0.0) -> Atoms:
        out = Atoms([a], positions=[(0, 0, 0)]) if b is None else Atoms([a, b], positions=[(0, 0, 0), (0, 0, r)])
        if self.box is not None:
            out.set_cell([self.box] * 3)
            out.pbc = True
        return out

    def choose_box(self, pair: tuple[str, str]) -> None:
        """A calculator that refuses atoms without a cell gets a periodic box."""
        radii = sum(covalent_radii[atomic_numbers[e]] for e in pair)
        probes = [self.atoms(pair[0], None), self.atoms(*pair, radii)]
        got = self.ctx.evaluator.evaluate(probes, ("energy", "forces"), errors="return")
        bad = [g for g in got if not isinstance(g, dict)]
        if not bad:
            return
        self.box = self.ctx.options.longest + BOX
        boxed = [self.atoms(pair[0], None), self.atoms(*pair, radii)]
        again = self.ctx.evaluator.evaluate(boxed, ("energy", "forces"), errors="return")
        if any(isinstance(g, dict) for g in again):
            self.result.notes.append(
                f"The calculator refuses atoms without a cell ({bad[0]}); a periodic box of {self.box:g} A was used."
            )
        else:
            self.box = None

    def singles(self, elements: list[str]) -> dict[str, float]:
        got = self.ctx.evaluator.evaluate([self.atoms(e, None) for e in elements], ("energy",), errors="return")
        out = {}
        for e, g in zip(elements, got, strict=True):
            if not isinstance(g, dict):
                raise PropertyFailure(
                    f"the calculator gives no energy for a single {e} atom, which dimer energies are counted from: {g}",
                    Status.UNSUPPORTED,
                )
            out[e] = g["energy"]
        return out

    def curves(self, pairs, grids) -> list[tuple[np.ndarray, np.ndarray]]:
        """(energy, force along the bond, positive when repulsive) of each pair at its distances; nan where it fails."""
        cells = [self.atoms(a, b, x) for (a, b), r in zip(pairs, grids, strict=True) for x in r]
        got = self.ctx.evaluator.evaluate(cells, ("energy", "forces"), errors="return") if cells else []
        out, k = [], 0
        for r in grids:
            part = got[k : k + len(r)]
            k += len(r)
            energy = np.array([g["energy"] if isinstance(g, dict) else np.nan for g in part])
            pulls = [g["forces"][:, 2] if isinstance(g, dict) else (np.nan, np.nan) for g in part]
            force = np.array([(second - first) / 2 for first, second in pulls])
            self.problem = next((str(g) for g in part if not isinstance(g, dict)), self.problem)
            out.append((energy, force))
        return out


def _well(d: dict) -> dict[str, Any]:
    """The deepest minimum beyond half the sum of covalent radii, the others, and holes at short distance."""
    r, e = d["r"], d["E"]
    inner = [
        k for k in range(1, len(r) - 1)
        if np.isfinite(e[k - 1 : k + 2]).all() and e[k] < e[k - 1] and e[k] <= e[k + 1] and _depth(e, k) > SHALLOW
    ]  # fmt: skip
    radii = sum(covalent_radii[atomic_numbers[x]] for x in d["pair"])
    bound = [k for k in inner if r[k] > 0.5 * radii and e[k] < -SHALLOW]
    main = min(bound, key=lambda k: e[k], default=None)
    well = {"main": main, "others": [float(r[k]) for k in inner if k != main], "holes": []}
    # A hole: energies that fall when the atoms approach, although they are already nearer than the bond.
    stop = main if main is not None else int(np.argmin(np.abs(r - radii)))
    good = np.isfinite(e)
    k = stop
    while k > 0:
        if good[k] and good[k - 1] and e[k - 1] < e[k]:
            top = k
            while k > 0 and good[k - 1] and e[k - 1] < e[k]:
                k -= 1
            if e[top] - e[k] > FALL and top < stop:
                well["holes"].append({"from": float(r[top]), "to": float(r[k]), "fall": float(e[top] - e[k]),
                                      "bottom": float(e[k])})  # fmt: skip
        else:
            k -= 1
    return well


def _depth(e: np.ndarray, k: int) -> float:
    """By how much the energy rises on the lower side of the minimum k."""
    left = np.nanmax(e[: k + 1]) - e[k]
    right = np.nanmax(e[k:]) - e[k]
    return float(min(left, right))


def _refine(dimer: _Dimers, data: dict, wells: dict) -> None:
    """Bond lengths: the zero of the force between the grid points around the minimum, all pairs together."""
    live = {}
    for key, well in wells.items():
        if well["main"] is not None:
            k, d = well["main"], data[key]
            live[key] = [d["r"][k - 1], d["r"][k + 1], d["F"][k - 1], d["F"][k + 1]]
            well.update(r=float(d["r"][k]), E=float(d["E"][k]), F=float(d["F"][k]))
    for step in range(7):
        keys = [k for k, (lo, hi, flo, fhi) in live.items() if flo > 0 > fhi and abs(wells[k]["F"]) > 1e-9]
        if not keys:
            return
        trial = []
        for k in keys:
            lo, hi, flo, fhi = live[k]
            at = lo + (hi - lo) * flo / (flo - fhi)
            if step % 3 == 2:  # false position may creep from one side
                at = (lo + hi) / 2
            trial.append(np.array([at]))
        for k, x, (e, f) in zip(keys, trial, dimer.curves([data[k]["pair"] for k in keys], trial), strict=True):
            if not np.isfinite(f[0]):
                live[k][2] = np.nan
                continue
            if abs(f[0]) < abs(wells[k]["F"]):
                wells[k].update(r=float(x[0]), E=float(e[0] - data[k]["zero"]), F=float(f[0]))
            lo, hi, flo, fhi = live[k]
            live[k] = [float(x[0]), hi, float(f[0]), fhi] if f[0] > 0 else [lo, float(x[0]), flo, float(f[0])]


def _force_constants(dimer: _Dimers, data: dict, wells: dict) -> None:
    keys = [k for k, w in wells.items() if w["main"] is not None]
    h = DISPLACEMENT
    grids = [wells[k]["r"] + h * np.array([-2, -1, 1, 2]) for k in keys]
    for k, (e, f) in zip(keys, dimer.curves([data[k]["pair"] for k in keys], grids), strict=True):
        e = e - data[k]["zero"]
        one, two = (f[1] - f[2]) / (2 * h), (f[0] - f[3]) / (4 * h)
        by_energy = -(e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * h)  # the force at the minimum, from energies
        wells[k].update(k=float((4 * one - two) / 3), dk=float(abs(one - two) / 3), f_energy=float(by_energy))


def _report(result: PropertyResult, key: str, d: dict, well: dict, broken: Breaks) -> None:
    a, b = d["pair"]
    title = f"{a}-{b}"
    names = {"E": f"E_bond_{key}", "r": f"r_bond_{key}", "f": f"frequency_{key}"}
    mass = atomic_masses[[atomic_numbers[a], atomic_numbers[b]]]
    reduced = mass[0] * mass[1] / mass.sum() * _amu
    if well["main"] is None or well.get("k", 0.0) <= 0:
        r = d["r"]
        for what, label, unit in (("E", "Well depth", "eV"), ("r", "Bond length", "A"), ("f", "Frequency", "THz")):
            value = result.add(names[what], f"{label} of {title}", None, unit)
            value.flag(Status.UNSTABLE, f"{title} does not bind: no minimum between {r[0]:.2f} and {r[-1]:.2f} A")
    else:
        k, dk, force = well["k"], well["dk"], well["F"]
        wrong = abs(force - well["f_energy"])
        hertz = lambda x: np.sqrt(x * _e / 1e-20 / reduced) / (2 * np.pi) / 1e12  # noqa: E731
        source = "force left, forces against energies"
        left = (abs(force) + wrong) / k
        result.add(
            names["E"], f"Well depth of {title}", -well["E"], "eV", error=k * left**2 / 2 + ROUNDING,
            error_source=source, note="of the dimer against two single atoms",
        )  # fmt: skip
        result.add(names["r"], f"Bond length of {title}", well["r"], "A", error=left, error_source=source)
        result.add(
            names["f"], f"Frequency of {title}", hertz(k), "THz", error=hertz(k) * dk / (2 * k),
            error_source="two displacements", note=f"{hertz(k) * 33.35640952:.1f} 1/cm",
        )  # fmt: skip
    hole = max((h["fall"] for h in well["holes"]), default=0.0)
    result.add(f"hole_{key}", f"Fall of the energy at short distance, {title}", hole, "eV",
               note="" if hole else "repulsive all the way in")  # fmt: skip
    for prefixes, text in _flags(title, d, well, broken):
        result.flag(Status.SUSPICIOUS, text, [f"{prefix}_{key}" for prefix in prefixes])


def _flags(title: str, d: dict, well: dict, broken: Breaks) -> list[tuple[tuple[str, ...], str]]:
    """(the numbers it speaks against, what is wrong) for everything odd about a curve."""
    out, r, e = [], d["r"], d["E"]
    core, well_numbers = ("hole",), ("E_bond", "r_bond")
    everything = (*core, *well_numbers, "frequency")
    failing = r[~np.isfinite(e)]
    if len(failing):
        span = f"{failing.min():.2f} to {failing.max():.2f} A"
        out.append((core, f"{title}: the calculator fails at {len(failing)} of {len(r)} distances, {span}"))
    bond = well.get("r")
    for hole in well["holes"]:
        deep = "" if hole["bottom"] > (well.get("E") or 0.0) else ", below the bond itself"
        inside = f"{HARD_CORE:g} bond lengths" if bond and hole["from"] < HARD_CORE * bond else "the bond length"
        span = f"from {hole['from']:.2f} to {hole['to']:.2f} A the energy falls by {hole['fall']:.2f} eV{deep}"
        out.append((core, f"{title}: unphysical attraction inside {inside}: {span}"))
    if well["others"]:
        shown = ", ".join(f"{x:.2f}" for x in well["others"][:4])
        out.append((well_numbers, f"{title}: further minima at {shown} A"))
    if broken.energy:
        at, size = max(broken.energy, key=lambda x: x[1])
        out.append((everything, f"{title}: the energy jumps by {size:.3g} eV at {at:.3f} A"))
    if broken.force:
        at, size = max(broken.force, key=lambda x: x[1])
        out.append((everything, f"{title}: the force jumps by {size:.3g} eV/A at {at:.3f} A"))
    if broken.wrong:
        at, off, change = max(broken.wrong, key=lambda x: x[1] / (x[2] + 1e-6))
        text = f"{off:.2g} eV apart over a short step at {at:.2f} A, where the energy changes by {change:.2g} eV"
        out.append((everything, f"{title}: the force is not -dE/dr: {text}"))
    good = np.isfinite(e) & np.isfinite(d["F"])
    if good.any() and abs(e[good][-1]) > TAIL_GATE and abs(d["F"][good][-1]) < 1e-4:
        text = f"far apart the energy is {e[good][-1]:.3f} eV off that of two single atoms"
        out.append((well_numbers, f"{title}: {text}"))
    return out


def plots(models):
    from ..plots import COLOURS, figure

    keys = list(dict.fromkeys(k for _, r, _ in models for k in r.data.get("curves", {})))[:6]
    if not keys:
        return []
    fig, axes = figure(min(2.9 * len(keys) + 1.2, 9.0), 3.2, len(keys))
    axes = np.atleast_1d(axes)
    for ax, key in zip(axes, keys, strict=True):
        low, reach = 0.0, 4.0
        for k, (label, result, _) in enumerate(models):
            curve = result.data.get("curves", {}).get(key)
            if curve is None:
                continue
            pairs = [(r, e) for r, e in zip(curve["r"], curve["E"], strict=True) if e is not None]
            x, y = np.array(pairs).T if pairs else (np.array([]), np.array([]))
            ax.plot(x, y, color=COLOURS[k % len(COLOURS)], lw=1.3, label=label)
            depth = result[f"E_bond_{key}"].value if f"E_bond_{key}" in result else None
            low = min(low, -(depth or 0.0))
            reach = max([reach, *(x[np.abs(y) > SHALLOW] + 0.5)])
        scale = max(-low, 0.5)
        ax.set_xlim(right=reach)
        ax.set_ylim(-2.2 * scale, 3.0 * scale)
        ax.axhline(0, color="#4a5568", lw=0.7)
        ax.set_xlabel("distance (Å)")
        ax.set_title(key.replace("_", "–"), fontsize=9)
    axes[0].set_ylabel("energy (eV)")
    if len(models) > 1:
        axes[0].legend(frameon=False)
    caption = "Energy of two atoms against that of single atoms. A curve that turns down at short distance has a hole."
    return [("dimers", "Dimer curves", caption, fig)]


PROPERTY = Property(
    "dimers", "Dimers", run, order=26, needs=(), plots=plots, options=Options,
    outputs=(
        Output("E_bond_*", "eV", "well depth of a pair of elements, positive when bound"),
        Output("r_bond_*", "A", "bond length"),
        Output("frequency_*", "THz", "harmonic vibrational frequency"),
        Output("hole_*", "eV", "fall of the energy at short distance, zero in a sound potential"),
    ),
    about="Two atoms alone: far from most training data, but what a collision, a gas or a hot defect sees at short "
    "distance. A curve without a repulsive core makes simulations at high temperature fail.",
)  # fmt: skip
