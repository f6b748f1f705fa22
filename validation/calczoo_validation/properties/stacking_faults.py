"""Generalised stacking faults: energy of slipping one half of a crystal over the other (doi:10.1080/14786436808227500).

    gamma(t) = [E(t) - E(0)] / A

for a slab whose upper half is moved by t in the plane; atoms relax along the normal only, so that the slip stays what
it is, and the halves may move apart. Lines run over one lattice vector b; where the symmetry has a stationary point on
them (b/3 of {111}<112>) it is the intrinsic fault, the maximum before it the unstable one. Twinning goes on with the
next plane from the intrinsic fault to the extrinsic one. Shear strength: the largest slope of gamma along the line.

Error bars: a second, thicker slab at the quoted points, and for maxima a spline against three points around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from calczoo.core.errors import OptionError

from ..faults import NEAR, TO_SI, Curve, Line, distinct_shifts, find_lines, first_points, second_points, surface_lines
from ..options import option
from ..planes import prepare
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyFailure, PropertyResult, Status, Value
from ..slabs import AlongNormal

SLOPE = 0.01  # mJ/m^2 per A -> GPa
LARGEST = 2e4  # mJ/m^2
SLOPE_GATE = 0.25  # share of the shear strength that half the points may change
COLLAPSE = 0.5  # of the nearest-neighbour distance
ENDS = 1.0  # mJ/m^2, the end of a line is the crystal again
ROUNDING = 1e-3  # mJ/m^2, a fault that costs nothing (a model of nearest neighbours) may come out below zero by less
ONE_SIZE = "one thickness only: no error bar in smoke mode"


@dataclass(frozen=True)
class Options:
    lines: tuple[str, ...] = option(
        ("auto",), "slips as 'plane:direction' or 'plane:direction:narrow', such as '110:1-11'; 'auto': the usual ones"
    )
    points: int = option(48, "intervals of a line, a multiple of 6", smoke=24, full=96, low=6, high=480)
    grid: int = option(12, "points of a gamma surface in each direction; 0: none", smoke=0, full=24, low=0, high=96)
    twinning: bool = option(True, "also the way from the intrinsic to the extrinsic fault", smoke=False)
    thickness: tuple[float, ...] = option(
        (22.0, 32.0), "smallest thickness of each slab; the second gives the error bar", unit="A", smoke=(18.0,),
        full=(26.0, 40.0), low=5.0, high=300.0,
    )  # fmt: skip
    vacuum: float = option(15.0, "empty space between the slabs", unit="A", low=2.0, high=100.0)
    fmax: float = option(1e-3, "largest force along the normal left", unit="eV/A", full=2e-4, low=1e-7, high=0.1)


def run(ctx: Context, result: PropertyResult) -> None:
    bulk, s = prepare(ctx.crystal), ctx.options
    if s.points % 6:
        raise OptionError(f"setting stacking_faults.points is {s.points}; it must be a multiple of 6")
    lines = find_lines(bulk, s.lines, s.thickness, s.vacuum)
    points = first_points(lines, s.points, s.grid, s.twinning)
    with ctx.progress.step("slipped slabs", len(points)):
        table = _compute(ctx, points)
    for k, line in enumerate(lines):
        usable = sum(isinstance(table[key], dict) for key in table if key[0] == k and key[2] == "line")
        if not isinstance(table[k, 0, "line", 0.0, 0], dict) or usable < s.points // 2:
            reason = next(v for key, v in table.items() if key[0] == k and not isinstance(v, dict))
            raise PropertyFailure(f"{s.points + 1 - usable} of {s.points + 1} slabs of {line.title} fail: {reason}")
    more = second_points(lines, table, s.twinning)
    with ctx.progress.step("slipped slabs: maxima and thicker slabs", len(more)):
        table |= _compute(ctx, more)
    result.settings.update(
        thickness_A=[[round(x.thickness, 3) for x in line.slabs] for line in lines], points=s.points, grid=s.grid,
        relaxation="along the normal only", fmax_eV_A=s.fmax, lines=[line.title for line in lines],
    )  # fmt: skip
    result.data.update(lines=[], surfaces=[])
    for k, line in enumerate(lines):
        _add_line(result, line, Curve(table, k, line.oriented.area), s, bulk.nearest())
    for k in surface_lines(lines) if s.grid else []:
        _add_surface(result, lines[k], Curve(table, k, lines[k].oriented.area), s.grid)


def _compute(ctx: Context, points: dict[tuple, Atoms]) -> dict[tuple, dict | str]:
    """Unrelaxed and relaxed energies of all points in one batch each; text in place of those that fail."""
    evaluator, out = AlongNormal(ctx.evaluator), {}
    keys = list(points)
    first = evaluator.evaluate([points[k] for k in keys], errors="return")
    for key, got in zip(keys, first, strict=True):
        out[key] = {"unrelaxed": got["energy"]} if isinstance(got, dict) else str(got)
    good = [k for k in keys if isinstance(out[k], dict) and not k[2].endswith("!")]
    done = relax(
        evaluator, [points[k] for k in good], fmax=ctx.options.fmax, max_steps=ctx.general.max_steps,
        on_step=ctx.progress.update,
    )  # fmt: skip
    for key, end in zip(good, done, strict=True):
        moved = float(np.abs(end.atoms.positions - points[key].positions).max())
        out[key].update(relaxed=end.energy, converged=end.converged, fmax=end.fmax, reason=end.reason, moved=moved)
    return out


# -- numbers ----------------------------------------------------------------------------------------------------------


def _add_line(result: PropertyResult, line: Line, curve: Curve, s: Options, nearest: float) -> None:
    x, relaxed = curve.grid("line")
    kept = {
        "name": line.name, "title": line.title, "length": round(float(np.linalg.norm(line.shift)), 6),
        "x": np.round(x, 6).tolist(), "relaxed": _plain(relaxed), "unrelaxed": _plain(curve.grid("line", False)[1]),
    }  # fmt: skip
    first, end = len(result.values), line.special or 1.0
    valley = line.special or curve.valley()
    if valley:
        title = f"{'Intrinsic stacking fault' if line.special else 'Stable fault on the line'}, {line.title}"
        for full in (True, False):
            _fault(result, line.tag("gamma_isf"), title, curve, "line", valley, len(line.slabs), full)
        k = int(np.argmin(np.abs(x - valley)))
        if relaxed[k] > min(relaxed[k - 1], relaxed[k + 1]) + 1e-3:
            result[line.tag("gamma_isf")].flag(Status.SUSPICIOUS, "the fault is not a minimum along its own line")
        if not line.special:
            _not_by_symmetry(result[line.tag("gamma_isf")], relaxed[k - 1 : k + 2])
    for full in (True, False):
        _peak(result, line.tag("gamma_usf"), f"Unstable stacking fault, {line.title}", curve, "line", end, full,
              len(line.slabs))  # fmt: skip
    if line.twin and s.twinning:
        kept["twin"] = {"x": np.round(curve.grid("twin")[0], 6).tolist(), "relaxed": _plain(curve.grid("twin")[1])}
        title = f"Unstable twinning fault, {line.title}"
        _peak(result, line.tag("gamma_utf"), title, curve, "twin", 1.0, True, len(line.slabs))
        title = f"Extrinsic stacking fault, {line.title}"
        _fault(result, line.tag("gamma_esf"), title, curve, "twin", 1.0, len(line.slabs), True)
    fine = np.linspace(0, end, 4001)
    slope, coarse = (float(np.abs(curve.spline("line", True, k)(fine, 1)).max()) for k in (1, 2))
    strength = result.add(
        line.tag("shear_strength"), f"Ideal shear strength, {line.title}", slope / kept["length"] * SLOPE, "GPa",
        error=abs(coarse - slope) / kept["length"] * SLOPE, error_source="spline through every second point",
        note="largest slope of the relaxed line",
    )  # fmt: skip
    if abs(coarse - slope) > SLOPE_GATE * slope + 1e-6:
        strength.flag(Status.SUSPICIOUS, "the points do not resolve the slope: the energy jumps, or is too steep")
    result.data["lines"].append(kept)
    _judge(result.values[first:], curve, relaxed, nearest)
    high, raw = result[line.tag("gamma_usf")], result[f"{line.tag('gamma_usf')}_unrelaxed"]
    if high.value is not None and raw.value is not None and high.value > 1.05 * raw.value + 5.0:
        high.flag(Status.SUSPICIOUS, "above the maximum without relaxation: the energy jumps on the line")


def _plain(y: np.ndarray) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in y]


def _fault(result, name: str, title: str, curve: Curve, kind: str, place: float, sizes: int, full: bool) -> None:
    """A fault energy at a known place, with the thicker slab as error bar."""
    gamma = curve.gamma(place, kind, full)
    error = abs(curve.gamma(place, kind, full, sizes - 1) - gamma) if sizes > 1 else None
    result.add(
        name if full else f"{name}_unrelaxed", title if full else f"{title}, not relaxed", gamma, "mJ/m^2",
        error=error, error_source="thicker slab" if sizes > 1 else ONE_SIZE,
        note=f"at {place:.3f} of the line" if kind == "line" else "",
    )  # fmt: skip


def _not_by_symmetry(value: Value, y: np.ndarray) -> None:
    """Add to the error bar what a parabola through the three lowest points lies below the middle one."""
    bend = y[0] - 2 * y[1] + y[2]
    if bend > 0 and value.error is not None:
        value.error += float((y[2] - y[0]) ** 2 / (8 * bend))
        value.error_source += ", parabola through the lowest points"


def _peak(result, name, title, curve: Curve, kind: str, end: float, full: bool, sizes: int) -> None:
    """The maximum, from a parabola through three points around it."""
    top = curve.maximum(kind, full, end)
    y = [curve.gamma(p, kind, full) for p in (top - NEAR, top, top + NEAR)]
    bend = y[0] - 2 * y[1] + y[2]
    # Next to a jump the parabola through three points has its top elsewhere, at any height.
    gamma = y[1] - (y[2] - y[0]) ** 2 / (8 * bend) if bend < 0 and abs(y[2] - y[0]) <= -2 * bend else max(y)
    error = None
    if sizes > 1:
        error = abs(curve.gamma(top, kind, full, sizes - 1) - y[1]) + abs(float(curve.spline(kind, full)(top)) - y[1])
    where = "line" if kind == "line" else "twinning step"
    result.add(
        name if full else f"{name}_unrelaxed", title if full else f"{title}, not relaxed", gamma, "mJ/m^2", error=error,
        error_source="thicker slab, and spline against points at the maximum" if sizes > 1 else ONE_SIZE,
        note=f"at {top:.3f} of the {where}",
    )  # fmt: skip


def _judge(values: list[Value], curve: Curve, relaxed: np.ndarray, nearest: float) -> None:
    bad, moved = curve.bad("line", "twin"), curve.moved("line", "twin")
    for value in values:
        if bad and not value.name.endswith("_unrelaxed"):
            value.flag(
                Status.UNCONVERGED,
                f"{len(bad)} points of the line are missing or not converged, first at {bad[0][0]:.3f}: {bad[0][1]}",
            )
        if moved > COLLAPSE * nearest and not value.name.endswith("_unrelaxed"):
            value.flag(
                Status.SUSPICIOUS,
                f"an atom moved by {moved:.2f} A along the normal, more than half the nearest-neighbour distance",
            )
        if not abs(relaxed[-1]) < ENDS:
            value.flag(
                Status.SUSPICIOUS,
                f"the end of the line is the crystal again, but its energy differs by {relaxed[-1]:.1f} mJ/m^2",
            )
        if value.unit != "mJ/m^2" or value.value is None:
            continue
        if value.value < -ROUNDING:
            value.flag(Status.UNSTABLE, "negative fault energy: the crystal lowers its energy by slipping")
        if value.value > LARGEST:
            value.flag(Status.SUSPICIOUS, f"fault energy above {LARGEST:g} mJ/m^2")
        if value.error is not None and value.error > max(0.05 * abs(value.value), 5.0):
            value.flag(
                Status.SUSPICIOUS,
                f"changes by {value.error:.1f} mJ/m^2 with the thickness (setting stacking_faults.thickness)",
            )


def _add_surface(result: PropertyResult, line: Line, curve: Curve, n: int) -> None:
    """The gamma surface on the whole grid from its symmetry-distinct points."""
    same, values = distinct_shifts(line, n), np.full((n, n), np.nan)
    zero = curve.table[curve.k, 0, "line", 0.0, 0]["relaxed"]
    for (i, j), key in same.items():
        got = curve.table[curve.k, 0, "grid", *key]
        if isinstance(got, dict):
            values[i, j] = (got["relaxed"] - zero) / curve.area * TO_SI
    plane = line.title.split("[")[0]
    value = result.add(
        line.tag("gamma_max"), f"Highest point of the gamma surface, {plane}", np.nanmax(values), "mJ/m^2",
        error_source=f"grid of {n} x {n} points: no error bar", note=f"{len(set(same.values()))} distinct points",
    )  # fmt: skip
    bad = curve.bad("grid")
    if bad:
        value.flag(
            Status.UNCONVERGED, f"{len(bad)} points of the gamma surface are missing or not converged: {bad[0][1]}"
        )
    u, v = line.oriented.atoms.cell.array[:2, :2]
    result.data["surfaces"].append(
        {
            "name": line.name, "plane": plane, "u": np.round(u, 6).tolist(), "v": np.round(v, 6).tolist(),
            "gamma": [_plain(row) for row in values],
        }
    )  # fmt: skip


def plots(models):
    shown = [(label, r) for label, r, _ in models if r.data.get("lines")]
    if not shown:
        return []
    caption = "Upper half of the crystal moved over the lower. Solid: relaxed along the normal; dashed: not relaxed."
    out = [("lines", "Stacking-fault lines", caption, _lines(shown))]
    for surface in shown[0][1].data["surfaces"]:
        have = [(label, s) for label, r in shown for s in r.data["surfaces"] if s["name"] == surface["name"]]
        key = f"surface_{surface['name']}" if surface["name"] else "surface"
        text = "Fault energy over the slip in the plane (two cells each way), relaxed along the normal."
        out.append((key, f"Gamma surface {surface['plane']}", text, _maps(have)))
    return out


def _lines(shown):
    from ..plots import COLOURS, figure

    first = shown[0][1].data["lines"]
    fig, axes = figure(min(9.6, 3.4 * len(first) + 0.8), 3.1, len(first), squeeze=False)
    for ax, line in zip(axes[0], first, strict=True):
        for k, (label, result) in enumerate(shown):
            own = next((x for x in result.data["lines"] if x["name"] == line["name"]), None)
            if own is None:
                continue
            colour = COLOURS[k % len(COLOURS)]
            ax.plot(own["x"], _numbers(own["relaxed"]), color=colour, lw=1.4, label=label)
            ax.plot(own["x"], _numbers(own["unrelaxed"]), color=colour, lw=0.9, ls="--")
        same = [x for _, r in shown for x in r.data["lines"] if x["name"] == line["name"]]
        low, high = (f([f(_numbers(x["relaxed"])) for x in same]) for f in (np.nanmin, np.nanmax))
        # Unrelaxed atoms on top of each other leave the picture.
        ax.set_ylim(min(0.0, 1.1 * low) - 0.04 * high, min(ax.get_ylim()[1], 1.6 * high))
        ax.set_title(line["title"], fontsize=9)
        ax.set_xlabel(f"slip / {line['length']:.2f} Å")
        ax.set_xlim(0, 1)
        ax.axhline(0, color="#cbd5e0", lw=0.7, zorder=0)
    axes[0][0].set_ylabel("fault energy (mJ/m²)")
    if len(shown) > 1:
        handles, labels = axes[0][0].get_legend_handles_labels()
        fig.legend(handles, labels, frameon=False, ncols=2, loc="outside upper left")
    return fig


def _maps(have):
    from ..plots import figure

    fig, axes = figure(2.9 * len(have) + 0.9, 2.7, len(have), squeeze=False)
    top = max(np.nanmax(_numbers(s["gamma"])) for _, s in have)
    for ax, (label, surface) in zip(axes[0], have, strict=True):
        gamma, u, v = _numbers(surface["gamma"]), np.array(surface["u"]), np.array(surface["v"])
        n = len(gamma)
        whole = np.pad(np.tile(gamma, (2, 2)), ((0, 1), (0, 1)), mode="wrap")
        i, j = np.meshgrid(np.arange(2 * n + 1) / n, np.arange(2 * n + 1) / n, indexing="ij")
        x, y = i * u[0] + j * v[0], i * u[1] + j * v[1]
        mesh = ax.pcolormesh(x, y, whole, shading="gouraud", cmap="viridis", vmin=0, vmax=top, rasterized=True)
        ax.set_aspect("equal")
        ax.set_xlabel("x (Å)")
        if len(have) > 1:
            ax.set_title(label, fontsize=9)
    axes[0][0].set_ylabel("y (Å)")
    fig.colorbar(mesh, ax=list(axes[0]), label="mJ/m²", shrink=0.85)
    return fig


def _numbers(values) -> np.ndarray:
    return np.array(values, dtype=float)


PROPERTY = Property(
    "stacking_faults", "Stacking faults and gamma surfaces", run, order=62, version=2, plots=plots, options=Options,
    outputs=(
        Output("gamma_isf*", "mJ/m^2", "intrinsic, or other stable fault on the line; also unrelaxed"),
        Output("gamma_usf*", "mJ/m^2", "unstable fault, the highest point on the way; also unrelaxed"),
        Output("gamma_utf*", "mJ/m^2", "unstable twinning fault"),
        Output("gamma_esf*", "mJ/m^2", "extrinsic fault"),
        Output("gamma_max*", "mJ/m^2", "highest point of the gamma surface"),
        Output("shear_strength*", "GPa", "largest slope of the line"),
    ),
    sources=("10.1080/14786436808227500",),
    about="Energy per area of a crystal whose upper half has slipped over the lower one: how hard dislocations move, "
    "how far they split.",
)  # fmt: skip
