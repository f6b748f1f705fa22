"""Bain and trigonal paths of a cubic element: energy along the one-parameter families that join bcc, fcc and sc.

    cell(x) = bcc cell of the volume V, stretched along n by x^(2/3) and across it by x^(-1/3)

n = [001], x = c/a of the body-centred tetragonal cell: bcc at 1, fcc at sqrt(2) (E. C. Bain, Trans. AIME 70, 25, 1924).
n = [111]: bcc at 1, simple cubic at 2, fcc at 4. Along [001] also with the volume free, E(x) = min over V: its energies
at a few volumes are joined by a polynomial in ln V and the minimum evaluated again.

Symmetry makes bcc, fcc and sc stationary. Maxima between two of them are barriers; any further stationary point is
given with its kind. Numerical error: change of the extremum when only every second point is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from scipy.interpolate import CubicSpline

from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status
from ..structures import identify

BESIDE = 1e-3  # of x, where the slope at a symmetric structure is taken
NOISE = 1e-4  # meV/atom
SMOOTH_GATE = 2.0  # meV/atom between the curve and the one through every second point
SLOPE_GATE = 5.0  # meV/atom per unit of ln x at the points that symmetry makes stationary
PATHS = {
    "tetragonal": ((0.0, 0.0, 1.0), {"bcc": 1.0, "fcc": 2**0.5}, (0.75, 1.85)),
    "trigonal": ((1.0, 1.0, 1.0), {"bcc": 1.0, "sc": 2.0, "fcc": 4.0}, (0.7, 5.4)),
}
BCC = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])  # volume 1/2
VOLUMES = np.linspace(-0.15, 0.15, 7)  # ln(V/V0) of the search for the free volume


@dataclass(frozen=True)
class Options:
    points: int = option(8, "points between bcc and fcc on the tetragonal path", smoke=6, full=20, low=4, high=200)
    trigonal: bool = option(True, "also follow the trigonal path bcc - sc - fcc")


def applies(crystal: Any) -> str:
    if len(crystal.atoms) == 1 and identify(crystal.atoms, 1e-3) in ("fcc", "bcc"):
        return ""
    return "the Bain path joins bcc and fcc: it needs an element in one of these"


def run(ctx: Context, result: PropertyResult) -> None:
    own = identify(ctx.crystal.atoms, 1e-3)
    if applies(ctx.crystal):
        raise PropertyFailure(applies(ctx.crystal), Status.UNSUPPORTED)
    (base,) = ctx.evaluator.evaluate([ctx.crystal.atoms], ("energy",))
    names = ["tetragonal", "trigonal"] if ctx.options.trigonal else ["tetragonal"]
    result.settings.update(paths=names, volume="fixed, and free along the tetragonal path", own=own)
    result.data["own"] = own
    for name in names:
        grid = _grid(name, ctx.options.points)
        energy, slopes = _fixed(ctx, name, grid, base["energy"])
        _path(result, name, grid, energy, own, name, f"{name} path", slopes)
    grid = _grid("tetragonal", ctx.options.points)
    energy, volume = _free(ctx, grid, base["energy"])
    result.data["ln_volume"] = volume.tolist()
    _path(result, "tetragonal", grid, energy, own, "relaxed", "tetragonal path, free volume", {})


def _grid(name: str, points: int) -> np.ndarray:
    """x with bcc, fcc (and sc) among them, even in ln x, an odd number of points in every stretch."""
    _, special, (low, high) = PATHS[name]
    marks = np.log([low, *special.values(), high])
    step = np.log(2) / 2 / points * (1.0 if name == "tetragonal" else 2.0)
    parts = [marks[:1]]
    for a, b in zip(marks[:-1], marks[1:], strict=True):
        count = 2 * max(2, int(np.ceil((b - a) / step / 2)))
        parts.append(np.linspace(a, b, count + 1)[1:])
    return np.exp(np.concatenate(parts))


def cell(symbol: str, path: str, x: float, volume: float) -> Atoms:
    """One atom of the path: `volume` in A^3 per atom."""
    n = np.array(PATHS[path][0])
    n = n / np.linalg.norm(n)
    along = np.outer(n, n)
    stretch = x ** (2 / 3) * along + x ** (-1 / 3) * (np.eye(3) - along)
    return Atoms([symbol], cell=(2 * volume) ** (1 / 3) * BCC @ stretch, pbc=True, positions=[(0, 0, 0)])


def _evaluate(ctx: Context, cells: list[Atoms], what: str) -> np.ndarray:
    with ctx.progress.step(what, len(cells)):
        got = ctx.evaluator.evaluate(cells, ("energy",), errors="return")
    return np.array([g["energy"] if isinstance(g, dict) else np.nan for g in got])


def _fixed(ctx: Context, name: str, grid: np.ndarray, base: float) -> tuple[np.ndarray, dict[str, float]]:
    """Energies (meV) along the path, and the slopes dE/d ln x at the structures that symmetry names."""
    symbol, volume = ctx.elements[0], ctx.crystal.atoms.get_volume()
    special = PATHS[name][1]
    beside = [x * (1 + sign * BESIDE) for x in special.values() for sign in (1, -1)]
    energy = 1e3 * (_evaluate(ctx, [cell(symbol, name, x, volume) for x in [*grid, *beside]], f"{name} path") - base)
    pairs = energy[len(grid) :].reshape(-1, 2)
    slopes = {s: float((up - down) / (2 * BESIDE)) for s, (up, down) in zip(special, pairs, strict=True)}
    return energy[: len(grid)], slopes


def _free(ctx: Context, grid: np.ndarray, base: float) -> tuple[np.ndarray, np.ndarray]:
    """Energies (meV) at the volume of least energy, and ln(V/V0) there; nan where none is within the volumes tried."""
    symbol, v0 = ctx.elements[0], ctx.crystal.atoms.get_volume()
    centre = np.zeros(len(grid))
    for width in (1.0, 0.15):  # the second round around the minimum of the first
        logs = centre[:, None] + width * VOLUMES[None, :]
        cells = [cell(symbol, "tetragonal", x, v0 * np.exp(v)) for x, row in zip(grid, logs, strict=True) for v in row]
        energy = _evaluate(ctx, cells, "tetragonal path, free volume").reshape(logs.shape)
        lowest, centre = _minima(logs, energy, centre)
    return 1e3 * (lowest - base), centre


def _minima(logs: np.ndarray, energy: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lowest, where = np.full(len(logs), np.nan), centre.copy()
    for k, (v, e) in enumerate(zip(logs, energy, strict=True)):
        if not np.isfinite(e).all() or not 0 < np.argmin(e) < len(e) - 1:
            continue
        middle, span = v.mean(), np.ptp(v) / 2
        fit = np.polynomial.Polynomial.fit(v, e, 6)
        dense = middle + span * np.linspace(-1, 1, 2001)
        best = int(np.argmin(fit(dense)))
        where[k], lowest[k] = dense[best], fit(dense[best])
    return lowest, where


def _path(
    result: PropertyResult, path: str, grid, energy, own: str, tag: str, title: str, slopes: dict[str, float]
) -> None:
    """Numbers of one path: energies of the named structures, barriers between neighbours, other stationary points."""
    good = np.isfinite(energy)
    special = PATHS[path][1]
    result.data[tag] = {"x": grid.tolist(), "energy": [float(e) if np.isfinite(e) else None for e in energy]}
    suffix = "" if tag == "tetragonal" else f"_{tag}"
    if not good.all():
        text = f"{title}: the model fails or is not bound at {int((~good).sum())} of {len(grid)} points"
        for name in special:
            value = result.add(f"E_{name}{suffix}", f"Energy of {name}, {title}", None, "meV/atom")
            value.flag(Status.UNSTABLE, text)
        return
    u = np.log(grid)
    curve, coarse = CubicSpline(u, energy), CubicSpline(u[::2], energy[::2])
    noise = float(np.abs(curve(u[1::2]) - coarse(u[1::2])).max())
    points = _stationary(curve, u, special)
    result.data[tag]["stationary"] = points
    for name, x in special.items():
        value = float(energy[np.argmin(np.abs(grid - x))])
        kind = next((p["kind"] for p in points if p["structure"] == name), "")
        added = result.add(
            f"E_{name}{suffix}", f"Energy of {name}, {title}", value, "meV/atom", error=NOISE + 1e-6 * abs(value),
            error_source="evaluated at that point", note=kind,
        )  # fmt: skip
        slope = abs(slopes.get(name, 0.0))
        if slope > SLOPE_GATE + 0.01 * np.ptp(energy):
            text = f"the slope at {name} is {slope:.1f} meV/atom where symmetry makes it vanish: the energy has a jump"
            added.flag(Status.SUSPICIOUS, text)
    _barriers(result, suffix, title, curve, coarse, special, own, energy, grid)
    _others(result, suffix, title, points, curve, coarse, energy, grid, own)
    if noise > SMOOTH_GATE + 0.03 * np.ptp(energy):
        names = [v.name for v in result.values if v.name.endswith(suffix) and v.name.startswith(("barrier", "E_ext"))]
        result.flag(Status.SUSPICIOUS, f"{title}: not smooth, {noise:.1f} meV/atom between neighbouring points", names)
    named = {p["x"]: f" ({p['structure']})" if p["structure"] else "" for p in points}
    kinds = ", ".join(f"{p['kind']} at {p['x']:.3f}{named[p['x']]}" for p in points)
    result.notes.append(f"{title[0].upper()}{title[1:]}: {kinds}.")


def _stationary(curve: CubicSpline, u: np.ndarray, special: dict[str, float]) -> list[dict]:
    """Stationary points inside the range: x, energy, kind, and the structure where symmetry names one."""
    found = []
    step = float(np.min(np.diff(u)))
    for name, x in special.items():
        bend = float(curve(np.log(x), 2))
        found.append({"x": x, "kind": "minimum" if bend > 0 else "maximum", "structure": name})
    for root in curve.derivative().roots(extrapolate=False):
        near = any(abs(root - np.log(x)) < step for x in special.values())
        if not near and u[0] + step / 2 < root < u[-1] - step / 2:
            kind = "minimum" if float(curve(root, 2)) > 0 else "maximum"
            found.append({"x": float(np.exp(root)), "kind": kind, "structure": ""})
    for point in found:
        point["energy"] = float(curve(np.log(point["x"])))
    return sorted(found, key=lambda p: p["x"])


def _barriers(result, suffix, title, curve, coarse, special, own, energy, grid) -> None:
    """Highest point between two neighbouring structures, above the crystal under test."""
    names = list(special)
    start = float(energy[np.argmin(np.abs(grid - special[own]))]) if own in special else 0.0
    for a, b in zip(names[:-1], names[1:], strict=True):
        dense = np.linspace(np.log(special[a]), np.log(special[b]), 4001)
        top = int(np.argmax(curve(dense)))
        half = 4001 * 0.5 * np.min(np.diff(np.log(grid))) / (dense[-1] - dense[0])
        top = 0 if top < half else 4000 if top > 4000 - half else top  # within half a step of an end: that end
        height = float(curve(dense[top])) - start
        error = NOISE + abs(float(np.max(coarse(dense))) - float(curve(dense[top])))
        at = float(np.exp(dense[top]))
        where = a if top == 0 else b if top == len(dense) - 1 else f"x = {at:.3f}"
        label = f"Highest point between {a} and {b}, {title}"
        note = f"at {where}" + ("" if 0 < top < len(dense) - 1 else ": no barrier between the two")
        name = f"barrier_{a}_{b}{suffix}"
        result.add(
            name, label, height, "meV/atom", error=error, error_source="every second point of the path", note=note
        )


def _others(result, suffix, title, points, curve, coarse, energy, grid, own) -> None:
    """Stationary points that no symmetry names, by rising x."""
    unnamed = [p for p in points if not p["structure"]]
    source = "every second point of the path"
    for k, point in enumerate(unnamed, 1):
        u = np.log(point["x"])
        roots = coarse.derivative().roots(extrapolate=False)
        shift = float(np.min(np.abs(roots - u))) if len(roots) else 1.0
        where = result.add(
            f"x_extremum{k}{suffix}", f"Place of extremum {k}, {title}", point["x"], "", error=point["x"] * shift,
            error_source=source, note=point["kind"],
        )  # fmt: skip
        height = result.add(
            f"E_extremum{k}{suffix}", f"Energy of extremum {k}, {title}", point["energy"], "meV/atom",
            error=abs(float(curve(u) - coarse(u))), error_source=source, note=f"{point['kind']} at {point['x']:.3f}",
        )  # fmt: skip
        if shift > 0.1:
            for v in (where, height):
                v.flag(Status.SUSPICIOUS, "not found again with every second point: finer steps are needed")
        if point["kind"] == "minimum" and point["energy"] < -0.2:
            height.flag(Status.SUSPICIOUS, f"a distorted crystal is {-point['energy']:.1f} meV/atom lower than {own}")


def plots(models):
    from ..plots import COLOURS, figure

    found = [(label, r) for label, r, _ in models if "tetragonal" in r.data]
    if not found:
        return []
    columns = 2 if any("trigonal" in r.data for _, r in found) else 1
    fig, axes = figure(3.5 * columns + 0.4, 3.2, columns)
    axes = np.atleast_1d(axes)
    for k, (label, result) in enumerate(found):
        colour = COLOURS[k % len(COLOURS)]
        for tag, ax, style in (("tetragonal", 0, "-"), ("relaxed", 0, "--"), ("trigonal", -1, "-")):
            data = result.data.get(tag)
            if not data or (tag == "trigonal" and columns == 1):
                continue
            pairs = [(x, e) for x, e in zip(data["x"], data["energy"], strict=True) if e is not None]
            if pairs:
                x, e = np.array(pairs).T
                axes[ax].plot(x, e, style, color=colour, lw=1.3, label=label if tag == "tetragonal" else None)
    for ax, (name, text) in zip(axes, (("tetragonal", "c/a"), ("trigonal", "stretch along [111]")), strict=False):
        for structure, x in PATHS[name][1].items():
            ax.axvline(x, color="#cbd5e0", lw=0.8, zorder=0)
            ax.annotate(structure, (x, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8)
        ax.set_xlabel(text)
        ax.set_ylabel("energy (meV/atom)")
        ax.axhline(0, color="#4a5568", lw=0.7)
    if len(found) > 1:
        axes[0].legend(frameon=False)
    caption = "Energy from that of the relaxed crystal at its volume (lines) and with the volume free (dashed)."
    return [("bain", "Bain and trigonal paths", caption, fig)]


PROPERTY = Property(
    "bain", "Bain path", run, order=24, version=2, plots=plots, options=Options, applies=applies,
    outputs=(
        Output("E_*", "meV/atom", "energies of bcc, fcc, sc and of other stationary points on the path"),
        Output("barrier_*", "meV/atom", "highest point between two structures, above the crystal under test"),
        Output("x_extremum*", "", "place of a stationary point, c/a or the stretch along [111]"),
    ),
    about="How the energy changes when bcc is stretched along one axis into fcc (Bain) or along a diagonal through "
    "simple cubic into fcc, and how high the barriers are.",
)  # fmt: skip
