"""Decohesion: energy and stress of two halves of a crystal drawn apart along the normal of a plane.

    w(x) = [E(x) - E(0)] / A,   t(x) = dw/dx

of a periodic cell of N planes with one gap opened by x, atoms rigid. Far away w is the work of separation, twice the
unrelaxed surface energy; the highest stress is the ideal cleavage strength. w is fitted to the universal binding curve
W [1 - (1 + x/l) exp(-x/l)] (doi:10.1103/PhysRevLett.47.675), whose strength is W / (e l). The stress of the model,

    t = (V sigma_zz + sum_i z_i F_z,i) / (A c),    c the height of the cell,

is held against the differences of the energy: they part where a cutoff is sharp. Relaxed: atoms relax at each opening
of that cell; the curve rises with the elasticity of the N planes and drops where the crystal cleaves, which depends
on N; its end, twice the relaxed surface energy, does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase.units import GPa, _e

from ..options import option
from ..planes import Bulk, distinct_planes, miller_label, parse_miller, prepare
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyResult, Status, Value
from ..slabs import Oriented, make_slab, opened, orient, periods_for

TO_SI = _e * 1e20  # eV/A^2 -> J/m^2
JUMP_GATE = 0.01  # of the work of separation: energy against integrated stress between two openings
FALL_GATE = 0.005  # of the work of separation
FIT_GATE = 0.1  # of the work of separation
SURFACE_GATE = 1e-3  # of the work of separation
FAR = 15.0  # A


@dataclass(frozen=True)
class Options:
    indices: tuple[str, ...] = option(
        ("auto",), "planes (hkl) of the conventional cell, as '111', '11-20'; 'auto': all up to max_index"
    )
    max_index: int = option(1, "largest Miller index of the planes of 'auto'", low=1, high=4)
    thickness: tuple[float, ...] = option(
        (14.0, 20.0), "smallest height of the crystal in the cell; the second gives the error bar", unit="A",
        smoke=(12.0,), full=(16.0, 24.0), low=5.0, high=200.0,
    )  # fmt: skip
    opening: float = option(8.0, "largest opening", unit="A", low=2.0, high=40.0)
    step: float = option(0.1, "step of the opening", unit="A", full=0.05, low=0.01, high=0.5)
    relaxed: bool = option(True, "also with relaxed atoms, at every half Angstrom", smoke=False)
    fmax: float = option(2e-3, "largest force left in relaxed cells", unit="eV/A", full=5e-4, low=1e-7, high=0.1)


@dataclass
class Plane:
    """One plane, cut where atomic planes are farthest apart; `x` openings (A), energies in eV by thickness."""

    label: str
    oriented: Oriented
    cut: int
    symmetric: bool
    sizes: list[int]
    rows: list[list] = field(default_factory=list)
    slab: object = None
    relaxed: list = field(default_factory=list)  # openings of the thinner cell, then the last one of the thicker


def run(ctx: Context, result: PropertyResult) -> None:
    bulk, s = prepare(ctx.crystal), ctx.options
    planes = _planes(bulk, s)
    count = max(8, int(round(s.opening / s.step)))
    x = s.opening * np.arange(count + 1) / count
    _evaluate(ctx, planes, x)
    few = x[:: max(1, round(0.5 * count / s.opening))]
    if s.relaxed:
        _relax(ctx, planes, few)
    result.settings.update(
        planes=[p.label for p in planes], opening_A=s.opening, points=len(x), fmax_eV_A=s.fmax,
        thickness_A=[[round(n * p.oriented.spacing, 3) for n in p.sizes] for p in planes],
    )  # fmt: skip
    result.data["planes"] = []
    for plane in planes:
        _add(result, plane, x, few if s.relaxed else None)
    if not ctx.evaluator.has_stress:
        result.notes.append("the calculator has no stress: it could not be held against the energies")


def _planes(bulk: Bulk, s: Options) -> list[Plane]:
    auto = s.indices == ("auto",)
    chosen = distinct_planes(bulk, s.max_index) if auto else [parse_miller(t, bulk.hexagonal) for t in s.indices]
    out = []
    for hkl in chosen:
        cell = orient(bulk, hkl)
        first = cell.terminations()[0]
        sizes: list[int] = []
        for least in s.thickness[:2]:
            sizes.append(max(sizes[-1] + 1 if sizes else 1, periods_for(cell, least)))
        out.append(Plane(miller_label(hkl, bulk.hexagonal), cell, first.cut, first.symmetric, sizes))
    return out


def _evaluate(ctx: Context, planes: list[Plane], x: np.ndarray) -> None:
    """All rigid openings of all planes and thicknesses, and the separate slab, in one batch."""
    cells = [opened(p.oriented, p.cut, n, float(v)) for p in planes for n in p.sizes for v in x]
    slabs = [make_slab(p.oriented, p.cut, p.sizes[0], max(FAR, ctx.options.opening + 5.0)).atoms for p in planes]
    with ctx.progress.step("rigid decohesion", len(cells) + len(slabs)):
        ends = ctx.evaluator.evaluate(slabs, ("energy",), errors="return")
        # The first request for stress tells whether there is one; the numerical one would cost twelve energies each.
        if ctx.evaluator.has_stress:
            ctx.evaluator.evaluate(cells[:1], ("energy", "forces", "stress"), errors="return")
        wanted = ("energy", "forces", "stress") if ctx.evaluator.has_stress else ("energy",)
        got = ctx.evaluator.evaluate(cells, wanted, errors="return")
    at = iter(zip(cells, got, strict=True))
    for plane, end in zip(planes, ends, strict=True):
        plane.slab = end
        plane.rows = [[next(at) for _ in x] for _ in plane.sizes]


def _relax(ctx: Context, planes: list[Plane], x: np.ndarray) -> None:
    """Relaxed atoms at some openings of the thinner cell, and at the last one of the thicker."""
    cells, owner = [], []
    for plane in planes:
        jobs = [(plane.sizes[0], float(v)) for v in x] + [(n, float(x[-1])) for n in plane.sizes[1:]]
        cells += [opened(plane.oriented, plane.cut, n, v) for n, v in jobs]
        owner += [plane] * len(jobs)
    first = ctx.evaluator.evaluate(cells, errors="return")
    good = [k for k, r in enumerate(first) if isinstance(r, dict)]
    with ctx.progress.step("relaxed decohesion", len(good)):
        done = relax(
            ctx.evaluator, [cells[k] for k in good], fmax=ctx.options.fmax, max_steps=ctx.general.max_steps,
            on_step=ctx.progress.update,
        )  # fmt: skip
    ends = dict(zip(good, done, strict=True))
    for k, plane in enumerate(owner):
        plane.relaxed.append(ends.get(k))


def traction(atoms, got: dict, area: float) -> float:
    """dE/dx / A in eV/A^3 at rigid atoms, from stress and forces of the periodic cell."""
    height = float(atoms.cell[2, 2])
    virial = abs(atoms.get_volume()) * got["stress"][2] + float(atoms.positions[:, 2] @ got["forces"][:, 2])
    return virial / (height * area)


def _add(result: PropertyResult, plane: Plane, x: np.ndarray, few: np.ndarray | None) -> None:
    """Numbers of one plane."""
    area, label = plane.oriented.area, plane.label
    failed = next((r for _, r in sum(plane.rows, []) if not isinstance(r, dict)), None)
    if failed is not None:
        for name, unit in (("W", "J/m^2"), ("strength", "GPa"), ("opening", "A"), ("length", "A")):
            result.add(f"{name}_{label}", f"Decohesion of ({label})", None, unit).flag(Status.FAILED, str(failed))
        return
    energy = np.array([[r["energy"] for _, r in row] for row in plane.rows])
    w = (energy - energy[:, :1]) / area
    stress = None
    if "stress" in plane.rows[0][0][1]:
        stress = np.array([traction(a, r, area) for a, r in plane.rows[0]])
    first = len(result.values)
    curve = _numbers(result, plane, x, w, stress)
    kept = {
        "plane": label, "x": np.round(x, 6).tolist(), "w": np.round(w[0] * TO_SI, 6).tolist(),
        "stress": np.round(curve / GPa, 5).tolist(),
        "model_stress": None if stress is None else np.round(stress / GPa, 5).tolist(),
    }  # fmt: skip
    if few is not None:
        kept["relaxed"] = _add_relaxed(result, plane, few, energy[:, 0])
    result.data["planes"].append(kept)
    _judge(result.values[first:], plane, x, w, stress)


def _numbers(result: PropertyResult, plane: Plane, x, w: np.ndarray, stress) -> np.ndarray:
    """Adds work, strength, opening and length; returns the stress on x from a spline through the energies."""
    from scipy.interpolate import CubicSpline
    from scipy.optimize import curve_fit

    label, two = plane.label, len(w) > 1
    work = [float(row[-1]) for row in w]
    source = "second thickness" if two else "one thickness only: no error bar in smoke mode"
    faces = "twice the unrelaxed surface energy" if plane.symmetric else "both faces together, not relaxed"
    result.add(
        f"W_{label}", f"Work of separation ({label}), rigid", work[0] * TO_SI, "J/m^2",
        error=abs(work[-1] - work[0]) * TO_SI if two else None, error_source=source, note=faces,
    )  # fmt: skip
    fine = np.linspace(0, x[-1], 40 * (len(x) - 1) + 1)
    peaks = []
    for every, row in ((1, w[0]), (2, w[0]), (1, w[-1])):
        slope = CubicSpline(x[::every], row[::every])(fine, 1)
        peaks.append((float(slope.max()), float(fine[slope.argmax()])))
    error = abs(peaks[0][0] - peaks[1][0]) + abs(peaks[0][0] - peaks[2][0])
    result.add(
        f"strength_{label}", f"Highest stress of decohesion ({label}), rigid", peaks[0][0] / GPa, "GPa",
        error=error / GPa, error_source="every second opening" + (", second thickness" if two else ""),
    )  # fmt: skip
    result.add(
        f"opening_{label}", f"Opening at the highest stress ({label})", peaks[0][1], "A",
        error=abs(peaks[0][1] - peaks[1][1]) + abs(peaks[0][1] - peaks[2][1]),
        error_source="every second opening" + (", second thickness" if two else ""),
    )  # fmt: skip
    if work[0] > 0:
        try:
            best, covariance = curve_fit(lambda v, length: universal(v, work[0], length), x, w[0], p0=[0.6])
            rms = float(np.sqrt(np.mean((universal(x, work[0], best[0]) - w[0]) ** 2)) / work[0])
            length = result.add(
                f"length_{label}", f"Length of the universal binding curve ({label})", abs(best[0]), "A",
                error=float(np.sqrt(covariance[0, 0])), error_source="covariance of the fit",
                note=f"the curve misses the fit by {100 * rms:.1f} % of the work of separation (rms)",
            )  # fmt: skip
            if rms > FIT_GATE:
                length.flag(Status.SUSPICIOUS, f"no universal binding curve: off by {100 * rms:.0f} % (rms)")
        except RuntimeError as error:  # curve_fit found no length
            result.add(f"length_{label}", f"Length of the universal binding curve ({label})", None, "A").flag(
                Status.FAILED, f"the fit of the universal binding curve failed: {error}"
            )
    return CubicSpline(x, w[0])(x, 1)


def universal(x: np.ndarray, work: float, length: float) -> np.ndarray:
    """W [1 - (1 + x/l) exp(-x/l)]."""
    u = x / abs(length)
    return work * (1 - (1 + u) * np.exp(-u))


def _add_relaxed(result: PropertyResult, plane: Plane, few: np.ndarray, zeros: np.ndarray) -> dict:
    """Work of separation with relaxed atoms, from the widest opening, in both thicknesses."""
    thin, ends = plane.relaxed[: len(few)], plane.relaxed[len(few) - 1 :]
    energies = [None if r is None else (r.energy - zeros[0]) / plane.oriented.area * TO_SI for r in thin]
    work = [
        None if r is None else (r.energy - zero) / plane.oriented.area * TO_SI
        for r, zero in zip(ends, zeros, strict=True)
    ]
    value = result.add(
        f"W_{plane.label}_relaxed", f"Work of separation ({plane.label}), relaxed", work[-1], "J/m^2",
        error=None if len(work) < 2 or None in work else abs(work[1] - work[0]),
        error_source="two thicknesses" if len(work) > 1 else "one thickness only: no error bar in smoke mode",
        note=f"at {few[-1]:.1f} A",
    )  # fmt: skip
    for end in ends:
        if end is None:
            value.flag(Status.FAILED, "the cell with the widest opening could not be computed")
        elif not end.converged:
            value.flag(Status.UNCONVERGED, f"the relaxation stopped at {end.fmax:.2g} eV/A: {end.reason}")
    bad = sum(r is None or not r.converged for r in thin[:-1])
    if bad:
        result.notes.append(f"({plane.label}): {bad} of {len(few)} relaxed openings did not converge")
    return {
        "x": np.round(few, 6).tolist(),
        "w": [None if e is None else round(e, 6) for e in energies],
        "converged": [r is not None and r.converged for r in thin],
    }


def _judge(values: list[Value], plane: Plane, x: np.ndarray, w: np.ndarray, stress: np.ndarray | None) -> None:
    """Falling energy, jumps against the stress, work that depends on the opening or differs from the free slab's."""
    rigid = [v for v in values if not v.name.endswith("_relaxed")]
    work, curve = float(w[0, -1]), w[0]
    if work <= 0:
        _flag(rigid, Status.UNSTABLE, "the halves repel each other: the work of separation is not positive")
        return
    drop = np.maximum.accumulate(curve) - curve
    if drop.max() > FALL_GATE * work:
        k = int(drop.argmax())
        top = float(x[int(curve[: k + 1].argmax())])
        _flag(
            rigid, Status.SUSPICIOUS,
            f"the energy falls by {100 * drop.max() / work:.1f} % of the work of separation from {top:.1f} to "
            f"{x[k]:.1f} A: the halves repel each other on the way",
        )  # fmt: skip
    if stress is not None:
        # Hermite rule: exact for cubic energies between two openings.
        h = np.diff(x)
        bend = np.gradient(stress, x)
        integral = h * (stress[1:] + stress[:-1]) / 2 - h**2 * np.diff(bend) / 12
        gap = np.abs(np.diff(curve) - integral)
        if gap.max() > JUMP_GATE * work:
            k = int(gap.argmax())
            _flag(
                rigid, Status.SUSPICIOUS,
                f"energy and stress disagree by {gap[k] * TO_SI:.3f} J/m^2 between {x[k]:.2f} and {x[k + 1]:.2f} A: "
                "a jump at a cutoff, or a stress that is not the derivative of the energy",
            )  # fmt: skip
        elif abs(integral.sum() - work) > JUMP_GATE * work:
            _flag(
                rigid, Status.SUSPICIOUS,
                f"the stress adds up to {integral.sum() * TO_SI:.3f} J/m^2 instead of the work of separation "
                f"{work * TO_SI:.3f}: it is not the derivative of the energy",
            )  # fmt: skip
    if abs(curve[-1] - np.interp(x[-1] - 1.0, x, curve)) > FALL_GATE * work:
        _flag(rigid, Status.SUSPICIOUS, f"still changing at {x[-1]:.1f} A (setting decohesion.opening)")
    if isinstance(plane.slab, dict):
        apart = (plane.slab["energy"] - plane.rows[0][0][1]["energy"]) / plane.oriented.area
        if abs(apart - work) > SURFACE_GATE * work:
            _flag(
                [v for v in rigid if v.name.startswith("W_")], Status.SUSPICIOUS,
                f"a slab of its own gives {apart * TO_SI:.4f} J/m^2: interactions beyond {x[-1]:.1f} A",
            )  # fmt: skip


def _flag(values: list[Value], status: Status, reason: str) -> None:
    for value in values:
        value.flag(status, reason)


def plots(models):
    import matplotlib

    from ..plots import COLOURS, STYLE, figure

    shown = [(label, r) for label, r, _ in models if r.data.get("planes")]
    if not shown:
        return []
    names = [p["plane"] for p in shown[0][1].data["planes"]][:6]
    fig, first = figure(min(9.6, 2.6 * len(names) + 0.8), 4.4)
    first.remove()
    with matplotlib.rc_context(STYLE):
        axes = fig.subplots(2, len(names), squeeze=False, sharex=True)
    for column, name in enumerate(names):
        upper, lower = axes[0][column], axes[1][column]
        for k, (label, result) in enumerate(shown):
            own = next((p for p in result.data["planes"] if p["plane"] == name), None)
            if own is None:
                continue
            colour = COLOURS[k % len(COLOURS)]
            upper.plot(own["x"], own["w"], color=colour, lw=1.3, label=label)
            lower.plot(own["x"], own["stress"], color=colour, lw=1.3)
            if own.get("relaxed"):
                upper.plot(own["relaxed"]["x"], np.array(own["relaxed"]["w"], dtype=float), "o", ms=2.5, color=colour)
        upper.set_title(f"({name})", fontsize=9)
        lower.set_xlabel("opening (Å)")
        lower.axhline(0, color="#cbd5e0", lw=0.7, zorder=0)
    axes[0][0].set_ylabel("energy (J/m²)")
    axes[1][0].set_ylabel("stress (GPa)")
    if len(shown) > 1:
        handles, labels = axes[0][0].get_legend_handles_labels()
        fig.legend(handles, labels, frameon=False, ncols=2, loc="outside upper left")
    caption = "Two halves drawn apart. Lines: rigid atoms; points: relaxed atoms at the same length of the cell."
    return [("curves", "Decohesion", caption, fig)]


PROPERTY = Property(
    "decohesion", "Decohesion", run, order=64, plots=plots, options=Options,
    outputs=(
        Output("W_*", "J/m^2", "work of separation of a plane: twice its surface energy; rigid, and relaxed"),
        Output("strength_*", "GPa", "highest stress of the rigid separation"),
        Output("opening_*", "A", "opening at that stress"),
        Output("length_*", "A", "length of the universal binding curve fitted to the energies"),
    ),
    sources=("10.1103/PhysRevLett.47.675",),
    about="Energy and stress of pulling a crystal apart between two atomic planes: how it behaves far from "
    "equilibrium, up to fracture.",
)  # fmt: skip
