"""Surface energies of any crystal plane, relaxed and unrelaxed, and the equilibrium shape of the crystal (Wulff).

A slab of N lattice planes holds N primitive cells, and both its faces come from the same cut, so that

    E(N) = N e + 2 gamma A.

e is the slope through the unrelaxed energies of two or three thicknesses, so that no mismatch with the energy of the
crystal piles up with N (doi:10.1088/0953-8984/8/36/005) and no relaxation disturbs it; gamma is that of the thickest
slab. The error bar is the largest difference to the other thicknesses, and to gamma with the energy of the crystal.
Faces that no symmetry makes equal have a mean only: half the cleavage energy. Displaced starts in a 2 x 2 cell show
whether the 1 x 1 surface is the lowest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.units import _e

from ..options import option
from ..planes import Bulk, distinct_planes, equivalent, miller_label, parse_miller, prepare
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyFailure, PropertyResult, Status, worst
from ..slabs import Oriented, Slab, Termination, make_slab, orient, periods_for
from ..wulff import SPHERE, draw, orbit, wulff

TO_SI = _e * 1e20  # eV/A^2 -> J/m^2
COLLAPSE = 0.5  # of the nearest-neighbour distance
RECONSTRUCTS = 0.01  # J/m^2
ERROR_GATE = 0.02  # relative
SPACING_GATE = 5.0  # %
ROUNDING = 1e-6  # J/m^2, of planes between which nothing acts
BULK_GATE = 2e-3  # eV per atom, energy of the bulk from the slabs against that of the crystal
LARGEST = 15.0  # J/m^2, three times the surface energy of tungsten or diamond
KICK = 0.15  # A


@dataclass(frozen=True)
class Options:
    indices: tuple[str, ...] = option(
        ("auto",), "planes (hkl) of the conventional cell, as '111', '1-10', '11-20'; 'auto': all up to max_index"
    )
    max_index: int = option(1, "largest Miller index of the planes of 'auto'", full=3, low=1, high=6)
    thickness: tuple[float, ...] = option(
        (12.0, 18.0), "smallest thickness of each slab; two or three give an error bar", unit="A", smoke=(10.0,),
        full=(14.0, 21.0, 28.0), low=2.0, high=300.0,
    )  # fmt: skip
    vacuum: float = option(15.0, "empty space between the slabs", unit="A", low=2.0, high=100.0)
    terminations: int = option(3, "most terminations of one plane, those of the widest gaps first", full=8, low=1)
    displaced: bool = option(True, "also relax a 2 x 2 cell from displaced atoms, to find reconstructions", smoke=False)
    fmax: float = option(2e-3, "largest force left", unit="eV/A", full=5e-4, low=1e-7, high=0.1)


@dataclass
class Job:
    """One slab to compute: index of the plane and of its termination, number of the thickness, or "displaced"."""

    plane: int
    termination: Termination
    size: int
    displaced: bool
    slab: Slab
    start: Atoms
    area: float
    cells: int  # primitive cells in it


def run(ctx: Context, result: PropertyResult) -> None:
    bulk, s = prepare(ctx.crystal), ctx.options
    planes = _planes(bulk, s)
    oriented = [orient(bulk, hkl) for hkl in planes]
    labels = [miller_label(hkl, bulk.hexagonal) for hkl in planes]
    jobs = _jobs(ctx, result, oriented, labels)
    with ctx.progress.step("surfaces: bulk and unrelaxed slabs"):
        first = ctx.evaluator.evaluate([bulk.atoms, *(j.start for j in jobs)], errors="return")
    if isinstance(first[0], Exception):
        raise PropertyFailure(f"the energy of the crystal fails: {first[0]}")
    energy = first[0]["energy"]
    good = [k for k, r in enumerate(first[1:]) if isinstance(r, dict)]
    with ctx.progress.step("relaxing slabs", len(good)):
        done = relax(
            ctx.evaluator, [jobs[k].start for k in good], fmax=s.fmax, max_steps=ctx.general.max_steps,
            on_step=ctx.progress.update,
        )  # fmt: skip
    outcome = dict(zip(good, done, strict=True))
    rows = [_row(job, energy, first[k + 1], outcome.get(k), labels, len(bulk.atoms)) for k, job in enumerate(jobs)]
    cell = bulk.conventional @ bulk.atoms.cell.array
    result.settings.update(
        planes=labels, thickness_A=list(s.thickness), vacuum_A=s.vacuum, fmax_eV_A=s.fmax, cell="fixed in the plane",
        conventional_cell_A=np.round(cell, 5).tolist(),
    )  # fmt: skip
    result.data["runs"] = rows
    _add_all(result, rows, labels, bulk.nearest())
    _wulff(result, bulk, oriented, labels)


def _planes(bulk: Bulk, s: Options) -> list[tuple[int, int, int]]:
    """The planes asked for, symmetry-equivalent ones once."""
    if s.indices == ("auto",):
        return distinct_planes(bulk, s.max_index)
    chosen, seen = [], set()
    for hkl in (parse_miller(t, bulk.hexagonal) for t in s.indices):
        if bulk.covector(hkl) not in seen:
            chosen.append(hkl)
            seen |= equivalent(bulk, hkl)
    return chosen


def _jobs(ctx: Context, result: PropertyResult, oriented: list[Oriented], labels: list[str]) -> list[Job]:
    """Every plane, termination and thickness; and the displaced 2 x 2 slabs of the first thickness."""
    s, jobs = ctx.options, []
    rng = np.random.default_rng(ctx.general.seed + 60)
    for p, cell in enumerate(oriented):
        found = cell.terminations()
        if len(found) > s.terminations:
            result.notes.append(
                f"({labels[p]}) has {len(found)} terminations; computed are the {s.terminations} with the widest gaps "
                "(setting surfaces.terminations)"
            )
        for termination in found[: s.terminations]:
            periods = 0
            for size, thickness in enumerate(s.thickness):
                periods = max(periods + 1, periods_for(cell, thickness))
                slab = make_slab(cell, termination.cut, periods, s.vacuum)
                jobs.append(Job(p, termination, size, False, slab, slab.atoms, slab.area, periods))
                if size == 0 and s.displaced:
                    big = slab.atoms.repeat((2, 2, 1))
                    big.positions += rng.normal(scale=KICK, size=(len(big), 3))
                    jobs.append(Job(p, termination, 0, True, slab, big, 4 * slab.area, 4 * periods))
    return jobs


def _row(job: Job, bulk_energy: float, first, done, labels: list[str], atoms: int) -> dict:
    """One slab as plain data; energies per face in J/m^2."""
    row = {
        "plane": labels[job.plane], "index": job.plane, "termination": job.termination.name, "size": job.size,
        "displaced": job.displaced, "symmetric": job.termination.symmetric, "periods": job.cells,
        "atoms": len(job.start), "area": job.area, "thickness": round(job.slab.thickness, 4),
        "layers": job.slab.count, "unrelaxed": None, "relaxed": None, "reason": "",
    }  # fmt: skip
    if done is None:
        row["reason"] = str(first)
        return row
    face = TO_SI / (2 * job.area)
    row.update(
        unrelaxed=(first["energy"] - job.cells * bulk_energy) * face, energy_unrelaxed=first["energy"],
        relaxed=(done.energy - job.cells * bulk_energy) * face, energy_relaxed=done.energy, bulk=bulk_energy,
        converged=done.converged, reason=done.reason, fmax=done.fmax, steps=done.steps, atoms_per_cell=atoms,
        moved=float(find_mic(done.atoms.positions - job.start.positions, job.start.cell, pbc=True)[1].max()),
    )  # fmt: skip
    if not job.displaced:
        before, after = job.slab.spacings(job.start.positions), job.slab.spacings(done.atoms.positions)
        row["relaxation"] = [round(float(100 * (after[-k] / before[-k] - 1)), 4) for k in range(1, min(4, len(before)))]
    return row


def _add_all(result: PropertyResult, rows: list[dict], labels: list[str], nearest: float) -> None:
    """Values of every plane: the termination of least energy under the plane's name, others with their letter."""
    for p, label in enumerate(labels):
        names = sorted({r["termination"] for r in rows if r["index"] == p})
        sets = {n: [r for r in rows if r["index"] == p and r["termination"] == n] for n in names}
        flat = {n: _flat(group) for n, group in sets.items()}
        known = [n for n in names if flat[n]["relaxed"] is not None]
        order = sorted(known, key=lambda n: (flat[n]["relaxed"], n)) + [n for n in names if n not in known]
        for rank, name in enumerate(order):
            tag = label if rank == 0 else f"{label}_{name}"
            many = f", termination {name}" if len(names) > 1 else ""
            _add(result, tag, f"({label}){many}", flat[name], sets[name], nearest)
        if len(known) < len(names):
            missing = ", ".join(n for n in names if n not in known)
            result[label].flag(Status.SUSPICIOUS, f"termination {missing} could not be computed")


def _flat(group: list[dict]) -> dict:
    """Surface energies of one termination from its thicknesses, with error bars (J/m^2)."""
    plain = sorted((r for r in group if not r["displaced"]), key=lambda r: r["size"])
    out = {"relaxed": None, "unrelaxed": None, "bulk_gap": 0.0}
    if any(r["relaxed"] is None for r in plain):
        return out
    periods, last = [r["periods"] for r in plain], plain[-1]
    bulk = last["bulk"]
    if len(plain) > 1:
        bulk = float(np.polyfit(np.array(periods, dtype=float), [r["energy_unrelaxed"] for r in plain], 1)[0])
    out["bulk_gap"] = abs(bulk - last["bulk"]) / last["atoms_per_cell"]
    for kind in ("relaxed", "unrelaxed"):
        by_size = [(r[f"energy_{kind}"] - r["periods"] * bulk) / (2 * r["area"]) * TO_SI for r in plain]
        out[kind], out[f"{kind}_error"] = by_size[-1], None
        if len(plain) > 1:
            out[f"{kind}_error"] = max(abs(g - by_size[-1]) for g in (*by_size, last[kind]))
    return out


def _add(result: PropertyResult, tag: str, title: str, flat: dict, group: list[dict], nearest: float) -> None:
    plain = [r for r in group if not r["displaced"]]
    last = max(plain, key=lambda r: r["size"])
    source = "thicknesses, and bulk energy from slabs against crystal" if len(plain) > 1 else (
        "one thickness only: no error bar in smoke mode")  # fmt: skip
    faces = "" if last["symmetric"] else "mean of two different faces (half the cleavage energy), "
    values = {}
    for kind, suffix in (("relaxed", ""), ("unrelaxed", "_unrelaxed")):
        gamma = flat[kind]
        note = "" if gamma is None else f"{gamma / TO_SI:.5f} eV/A^2, {faces}{last['layers']} layers"
        values[kind] = result.add(
            f"{tag}{suffix}", f"Surface energy {title}" + (", not relaxed" if suffix else ""), gamma, "J/m^2",
            error=flat.get(f"{kind}_error"), error_source=source, note=note,
        )  # fmt: skip
        if gamma is None:
            reason = next(r["reason"] for r in plain if r["relaxed"] is None)
            values[kind].flag(Status.FAILED, f"the slab could not be computed: {reason}")
    if flat["relaxed"] is None:
        return
    for k, percent in enumerate(last["relaxation"][:2]):
        others = [r["relaxation"][k] for r in plain if len(r["relaxation"]) > k]
        error = max(abs(o - percent) for o in others) if len(plain) > 1 else None
        spacing = result.add(
            f"{tag}_d{k + 1}{k + 2}", f"Change of layer distance d{k + 1}{k + 2} at {title}", percent, "%",
            error=error, error_source="thicknesses" if len(plain) > 1 else source,
        )  # fmt: skip
        _judge_run(spacing, plain, nearest)
        if error is not None and error > SPACING_GATE:
            spacing.flag(Status.SUSPICIOUS, f"changes by {error:.1f} % with the thickness: two different surfaces")
    _judge_run(values["relaxed"], plain, nearest)
    _judge_energy(values, flat)
    _judge_displaced(result, tag, title, values["relaxed"], [r for r in group if r["displaced"]])


def _judge_run(value, plain: list[dict], nearest: float) -> None:
    for row in plain:
        if not row["converged"]:
            value.flag(Status.UNCONVERGED, f"the relaxation stopped at {row['fmax']:.2g} eV/A: {row['reason']}")
        if row["moved"] > COLLAPSE * nearest:
            value.flag(
                Status.SUSPICIOUS,
                f"an atom moved by {row['moved']:.2f} A, more than half the nearest-neighbour distance: "
                "the surface has rebuilt itself",
            )


def _judge_energy(values: dict, flat: dict) -> None:
    for kind, value in values.items():
        gamma, error = flat[kind], flat.get(f"{kind}_error")
        if gamma < -ROUNDING:
            value.flag(Status.UNSTABLE, "negative surface energy: the crystal would fall apart into slabs by itself")
        if gamma > LARGEST:
            value.flag(Status.SUSPICIOUS, f"surface energy above {LARGEST:g} J/m^2")
        if error is not None and error > max(ERROR_GATE * abs(gamma), 0.005):
            value.flag(
                Status.SUSPICIOUS,
                f"changes by {error:.3f} J/m^2 with the thickness: long-ranged interactions, a charged face, or slabs "
                "that are too thin (setting surfaces.thickness)",
            )
        if flat["bulk_gap"] > BULK_GATE:
            value.flag(
                Status.SUSPICIOUS,
                f"the slabs give a bulk energy {1e3 * flat['bulk_gap']:.1f} meV/atom away from that of the crystal",
            )
    if flat["relaxed"] > flat["unrelaxed"] + 1e-3:
        values["relaxed"].flag(Status.FAILED, "the relaxed surface has more energy than the unrelaxed one")


def _judge_displaced(result, tag: str, title: str, main, displaced: list[dict]) -> None:
    """Compare with the 2 x 2 cell that started from displaced atoms."""
    for row in displaced:
        if row["relaxed"] is None:
            main.note += ", displaced 2 x 2 start failed"
        elif row["relaxed"] < main.value - RECONSTRUCTS:
            lowest = result.add(
                f"{tag}_lowest", f"Surface energy {title}, 2 x 2 from displaced atoms", row["relaxed"], "J/m^2",
                note=f"{row['atoms']} atoms, one random start: an upper bound",
            )  # fmt: skip
            if not row["converged"]:
                lowest.flag(Status.UNCONVERGED, f"the relaxation stopped at {row['fmax']:.2g} eV/A: {row['reason']}")
            main.flag(
                Status.SUSPICIOUS,
                f"the 1 x 1 surface is not the lowest: displaced atoms in a 2 x 2 cell reach {row['relaxed']:.3f} "
                "J/m^2",
            )


def _wulff(result: PropertyResult, bulk: Bulk, oriented: list[Oriented], labels: list[str]) -> None:
    """Shape from the surface energies at hand; says which ones are missing."""
    bad = (Status.FAILED, Status.UNSTABLE)
    use = [p for p, name in enumerate(labels) if result[name].value is not None and result[name].status not in bad]
    left = [labels[p] for p in range(len(labels)) if p not in use]
    rotations = bulk.cartesian_rotations()
    normals = [orbit(rotations, oriented[p].normal) for p in use]
    try:
        shape = wulff(normals, [result[labels[p]].value for p in use])
    except ValueError as error:
        result.notes.append(f"no Wulff shape: {error}")
        return
    errors = [result[labels[p]].error for p in use]
    error = None if any(e is None for e in errors) else float(shape.fractions @ np.array(errors))
    why = "surface energies by area; not the planes left out" if error is not None else "planes without error bars"
    added = [
        result.add("gamma_mean", "Mean surface energy of the Wulff shape", shape.mean_energy, "J/m^2", error=error,
                   error_source=why, note=f"{len(use)} planes"),
        result.add("shape_factor", "Shape factor A/V^(2/3) of the Wulff shape", shape.shape_factor, "",
                   note=f"a sphere has {SPHERE:.3f}"),
        result.add("anisotropy", "Spread of the surface energy over the Wulff shape", shape.anisotropy, ""),
    ]  # fmt: skip
    for k, p in enumerate(use):
        area = result.add(
            f"{labels[p]}_area", f"Share of ({labels[p]}) in the surface of the Wulff shape", shape.fractions[k], ""
        )
        added.append(area)
    shown = [p for k, p in enumerate(use) if shape.fractions[k] > 1e-6]
    status = worst(result[labels[p]].status for p in shown)
    for value in added:
        if status is not Status.OK:
            flagged = ", ".join(f"({labels[p]})" for p in shown if result[labels[p]].status is not Status.OK)
            value.flag(status, f"rests on surface energies that are flagged themselves: {flagged}")
        if left:
            value.flag(Status.SUSPICIOUS, "without the planes " + ", ".join(f"({n})" for n in left))
        polar = [labels[p] for p in shown if not _symmetric(result, labels[p])]
        if polar:
            value.flag(
                Status.SUSPICIOUS,
                "two opposite faces have one mean energy only for " + ", ".join(f"({n})" for n in polar),
            )
    names = [labels[p] for p in use]
    result.data["wulff"] = {
        "families": names,
        "faces": [
            {
                "family": names[f.family], "normal": np.round(f.normal, 5).tolist(),
                "corners": np.round(f.corners, 4).tolist(),
            }
            for f in shape.faces
        ],
    }  # fmt: skip


def _symmetric(result: PropertyResult, label: str) -> bool:
    return "two different faces" not in result[label].note


def plots(models):
    from ..plots import COLOURS, bars, figure

    shown = [(label, r, refs) for label, r, refs in models if r.values]
    if not shown:
        return []
    first = shown[0][1]
    names = list(first.settings.get("planes", []))
    series, marks = [], {}
    for label, result, refs in shown:
        get = [result[n].value if n in result else None for n in names]
        series.append((label, get, [result[n].error if n in result else None for n in names]))
        for k, n in enumerate(names):
            for ref in reversed(refs.get(n, [])):  # of several of one kind the first counts
                marks.setdefault(ref["kind"], [None] * len(names))[k] = ref["value"]
    fig = bars([f"({n})" for n in names], series, marks, "surface energy (J/m²)")
    out = [("energies", "Surface energies", "Relaxed, 1 x 1. Bars: the model. Marks: reference values.", fig)]
    shapes = [(label, r.data["wulff"]) for label, r, _ in shown if r.data.get("wulff")]
    if shapes:
        families = sorted({n for _, w in shapes for n in {f["family"] for f in w["faces"]}}, key=_rank(names))
        palette = (*COLOURS, "#9f7aea", "#38b2ac", "#ed8936", "#718096", "#d53f8c", "#68d391", "#f6ad55")
        colours = {n: palette[k % len(palette)] for k, n in enumerate(families)}
        fig, axes = figure(2.5 * len(shapes) + 0.9, 2.7, len(shapes), squeeze=False)
        for ax, (label, w) in zip(axes[0], shapes, strict=True):
            draw(ax, w["faces"], colours)
            if len(shapes) > 1:
                ax.set_title(label, fontsize=9)
        from matplotlib.patches import Patch

        handles = [Patch(facecolor=colours[n], alpha=0.8, label=f"({n})") for n in families]
        fig.legend(handles=handles, frameon=False, loc="outside right center")
        caption = "Equilibrium shape from the relaxed surface energies; colours are families of faces."
        out.append(("wulff", "Wulff shape", caption, fig))
    return out


def _rank(names: list[str]):
    return lambda n: (names.index(n) if n in names else len(names), n)


PROPERTY = Property(
    "surfaces", "Surface energies and Wulff shape", run, order=60, version=2, plots=plots, options=Options,
    outputs=(
        Output("gamma_mean", "J/m^2", "surface energy averaged over the Wulff shape"),
        Output("shape_factor", "", "A/V^(2/3) of the Wulff shape"),
        Output("anisotropy", "", "standard deviation of the surface energy over the Wulff shape, relative"),
        Output("*_area", "", "share of a plane in the surface of the Wulff shape"),
        Output("*_d[0-9][0-9]", "%", "change of the first distances of atomic layers by relaxation"),
        Output("[0-9-]*_unrelaxed", "J/m^2", "surface energy, atoms as in the crystal"),
        Output("[0-9-]*_lowest", "J/m^2", "surface energy of a 2 x 2 cell relaxed from displaced atoms, where lower"),
        Output("[0-9-]*", "J/m^2", "surface energy of a plane (of a further termination with its letter), relaxed"),
    ),
    sources=("10.1088/0953-8984/8/36/005",),
    about="Energy per area that it costs to cut the crystal along a plane, and the shape of a crystal that has the "
    "least of it.",
)  # fmt: skip
