"""Energies of coincidence-site grain boundaries of cubic elements, over translations of the grains and densities.

    gamma = [E(N) - N e_bulk] / 2A,      excess volume = [V(N) - N v_bulk] / 2A

of a periodic bicrystal with two equivalent boundaries of area A. Starts: every rigid-body translation of a grid
over the cell of distinct translations, each with atoms closer than several fractions of the nearest-neighbour
distance left out; all relaxed in one batch, the cell free along the boundary normal. The lowest is relaxed again
between thicker grains: the difference is the error bar. How many starts reached the lowest energy tells how well
the search covers the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import J, m

from ..bicrystals import Bicrystal, bicrystal, thicker
from ..cores import Restrained
from ..csl import cubic_constant, cubic_structure, parse_boundary, why_not
from ..options import option
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyFailure, PropertyResult, Status
from ..structures import Crystal

STANDARD = {
    "fcc": ("S3 [1-10] (111)", "S5 [001] (310)", "S11 [1-10] (113)", "S5 [001] (210)", "S9 [1-10] (221)"),
    "bcc": ("S3 [1-10] (112)", "S5 [001] (310)", "S3 [1-10] (111)", "S5 [001] (210)", "S11 [1-10] (332)"),
    "diamond": ("S3 [1-10] (111)", "S3 [1-10] (112)", "S5 [001] (310)", "S5 [001] (210)", "S9 [1-10] (221)"),
}
COUNT = {"smoke": 2, "fast": 3, "full": 5}  # of the standard boundaries
SAME = 1e-3  # J/m^2, starts this close have reached the same boundary
HIGHEST = 5.0  # J/m^2, about twice the energy of two free surfaces
SI = J / m**2
SOFT = 0.5  # eV/A^3, stiffness of a soft metal: what the stress left in a cell may hide of its height


@dataclass(frozen=True)
class Options:
    boundaries: tuple[str, ...] = option(
        ("standard",), "boundaries such as 'S5 [001] (210)' or 'S5 [001] twist', or standard for those of the structure"
    )
    grid: float = option(
        1.3, "largest step of the grid of translations", unit="A", smoke=2.5, full=0.8, low=0.1, high=10
    )
    closest: tuple[float, ...] = option(
        (0.55, 0.75, 0.92), "atoms nearer than this fraction of the neighbour distance are left out", smoke=(0.7,),
        full=(0.5, 0.65, 0.75, 0.85, 0.95), low=0.1, high=1.2,
    )  # fmt: skip
    thickness: tuple[float, ...] = option(
        (12.0, 20.0), "thickness of a grain; the search is done with the first", unit="A", smoke=(10.0, 15.0),
        full=(14.0, 22.0, 32.0), low=4.0, high=200.0,
    )  # fmt: skip
    multiples: tuple[int, ...] = option(
        (1,), "repetitions of the boundary cell along its shorter side", full=(1, 2), low=1
    )
    fmax: float = option(2e-3, "largest force left", unit="eV/A", smoke=1e-2, full=5e-4, low=1e-7, high=0.1)


def applies(crystal: Crystal) -> str:
    return why_not(crystal, "grain boundaries")


def run(ctx: Context, result: PropertyResult) -> None:
    if reason := applies(ctx.crystal):
        raise PropertyFailure(reason, Status.UNSUPPORTED)
    structure, a = cubic_structure(ctx.crystal), cubic_constant(ctx.crystal)
    labels = []
    for text in ctx.options.boundaries:
        labels += STANDARD[structure][: COUNT[ctx.mode]] if text == "standard" else [text]
    boundaries = [parse_boundary(text) for text in dict.fromkeys(labels)]
    atoms = ctx.crystal.atoms
    bulk = ctx.evaluator.evaluate([atoms], ("energy",))[0]["energy"] / len(atoms), atoms.get_volume() / len(atoms)
    result.settings.update(
        thickness_A=list(ctx.options.thickness), closest=list(ctx.options.closest), grid_A=ctx.options.grid,
        fmax_eV_A=ctx.options.fmax, cell="free along the normal", multiples=list(ctx.options.multiples),
    )  # fmt: skip
    found = _search(ctx, boundaries, structure, a, bulk)
    _refine(ctx, found, bulk)
    result.data["boundaries"] = {}
    for record in found:
        _report(result, record)


@dataclass
class _Run:
    """One start: its geometry and construction, and what came out."""

    cell: Bicrystal
    layers: int
    shift: tuple[float, float]
    closest: float
    atoms: Atoms
    gamma: float | None = None
    expansion: float | None = None
    slack: float = 0.0
    converged: bool = False
    reason: str = ""
    steps: int = 0


def _starts(ctx: Context, cell: Bicrystal) -> list[_Run]:
    """Distinct starts of one boundary cell; those of one translation differ in their number of atoms."""
    layers, out = cell.layers(ctx.options.thickness[0]), []
    for shift in cell.translations(ctx.options.grid):
        sizes = set()
        for fraction in ctx.options.closest:
            atoms = cell.build(ctx.elements[0], layers, shift, closest=fraction * cell.nearest)
            if len(atoms) not in sizes:
                sizes.add(len(atoms))
                out.append(_Run(cell, layers, shift, fraction, atoms))
    return out


def _search(ctx: Context, boundaries, structure: str, a: float, bulk) -> list[dict]:
    """All starts of all boundaries, relaxed in one batch."""
    found = []
    for boundary in boundaries:
        runs = []
        for k in ctx.options.multiples:
            runs += _starts(ctx, bicrystal(boundary, structure, a, (k, 1)))
        found.append({"boundary": boundary, "runs": runs})
    _relax(ctx, [r for f in found for r in f["runs"]], bulk, "searching grain boundaries")
    return found


def _refine(ctx: Context, found: list[dict], bulk) -> None:
    """The lowest of each boundary again, between thicker grains: all thicknesses in one batch."""
    jobs = []
    for record in found:
        done = [r for r in record["runs"] if r.gamma is not None]
        record["sizes"] = []
        if not done:
            continue
        best = min(done, key=lambda r: r.gamma)
        record["sizes"] = [best]
        for thickness in ctx.options.thickness[1:]:
            extra = max(best.cell.layers(thickness) - best.layers, 1)
            try:
                atoms = thicker(best.atoms, best.cell, extra)
            except ValueError as error:
                record["sizes"].append(
                    _Run(best.cell, best.layers, best.shift, best.closest, best.atoms, reason=str(error))
                )
                continue
            record["sizes"].append(_Run(best.cell, best.layers + extra, best.shift, best.closest, atoms))
            jobs.append(record["sizes"][-1])
    _relax(ctx, jobs, bulk, "thicker grains")


def _relax(ctx: Context, runs: list[_Run], bulk, what: str) -> None:
    """Relax the structures of the runs in place, atoms and the cell's length along the normal."""
    first = ctx.evaluator.evaluate([r.atoms for r in runs], ("energy",), errors="return")
    good = []
    for run_, result in zip(runs, first, strict=True):
        if isinstance(result, dict):
            good.append(run_)
        else:
            run_.reason = str(result)
    with ctx.progress.step(what, len(good)):
        done = relax(
            Restrained(ctx.evaluator, normal_only=True), [r.atoms for r in good], cell="full", fmax=ctx.options.fmax,
            smax=1e-4, max_steps=ctx.general.max_steps, on_step=ctx.progress.update,
        )  # fmt: skip
    for run_, after in zip(good, done, strict=True):
        n, double = len(after.atoms), 2 * run_.cell.area
        run_.atoms, run_.converged, run_.reason, run_.steps = after.atoms, after.converged, after.reason, after.steps
        run_.gamma = (after.energy - n * bulk[0]) / double / SI
        run_.expansion = (after.atoms.get_volume() - n * bulk[1]) / double
        run_.slack = after.smax / SOFT * after.atoms.get_volume() / double


def _report(result: PropertyResult, record: dict) -> None:
    boundary, runs, sizes = record["boundary"], record["runs"], record["sizes"]
    name, label = boundary.name, f"{boundary.label}"
    energies = [r.gamma for r in runs if r.gamma is not None]
    if not energies:
        value = result.add(f"{name}_energy", f"{label}: energy", None, "J/m^2")
        value.flag(Status.FAILED, f"none of {len(runs)} starts could be evaluated: {runs[0].reason}")
        return
    usable = [s for s in sizes if s.gamma is not None]
    best, last = usable[0], usable[-1]
    reached = sum(g < best.gamma + SAME for g in energies)
    note = f"reached by {reached} of {len(energies)} starts"
    if reached == 1:
        note += ": the search may have missed a lower one (finer grid, more densities)"
    error = abs(last.gamma - usable[-2].gamma) if len(usable) > 1 else None
    source = f"grains of {len(usable)} thicknesses" if error is not None else "one thickness only"
    more = {"error_source": source, "note": f"{len(last.atoms)} atoms, {note}"}
    energy = result.add(f"{name}_energy", f"{label}: energy", last.gamma, "J/m^2", error=error, **more)
    small = result.add(
        f"{name}_energy_eV", f"{label}: energy", last.gamma * SI, "eV/A^2", error=None if error is None else error * SI,
        **more,
    )  # fmt: skip
    change = abs(last.expansion - usable[-2].expansion) + last.slack if len(usable) > 1 else None
    volume = result.add(f"{name}_expansion", f"{label}: excess volume per area", last.expansion, "A", error=change,
                        error_source=f"{source}, stress left" if change is not None else source)  # fmt: skip
    result.add(f"{name}_starts", f"{label}: share of the starts that reached it", 100 * reached / len(energies), "%",
               note=f"{reached} of {len(energies)}")  # fmt: skip
    for value in (energy, small, volume):
        _judge(value, runs, sizes, last)
    result.data["boundaries"][name] = {
        "label": label, "area": round(last.cell.area, 4), "energy": last.gamma, "expansion": last.expansion,
        "starts": [{"shift": [round(x, 4) for x in r.shift], "atoms": len(r.atoms), "gamma": r.gamma, "steps": r.steps,
                    "converged": r.converged, "area": round(r.cell.area, 4)} for r in runs],
        "sizes": [{"atoms": len(s.atoms), "layers": s.layers, "gamma": s.gamma} for s in usable],
        "picture": _picture(usable[0]),
    }  # fmt: skip


def _judge(value, runs: list[_Run], sizes: list[_Run], last: _Run) -> None:
    for size in sizes:
        if size.gamma is not None and not size.converged:
            value.flag(Status.UNCONVERGED, f"the relaxation of the lowest start ended early: {size.reason}")
        if size.gamma is None:
            value.flag(Status.SUSPICIOUS, f"thicker grains could not be evaluated: {size.reason}")
    failed = [r for r in runs if r.gamma is None]
    if failed:
        value.flag(Status.SUSPICIOUS, f"{len(failed)} of {len(runs)} starts could not be evaluated: {failed[0].reason}")
    unfinished = [r for r in runs if r.gamma is not None and not r.converged and r is not sizes[0]]
    if len(unfinished) > len(runs) / 4:
        value.flag(
            Status.SUSPICIOUS, f"{len(unfinished)} of {len(runs)} starts did not converge: {unfinished[0].reason}"
        )
    if last.gamma < -SAME:
        value.flag(Status.UNSTABLE, f"the boundary has less energy than the crystal ({last.gamma:.3f} J/m^2)")
    if last.gamma > HIGHEST:
        value.flag(Status.SUSPICIOUS, f"{last.gamma:.1f} J/m^2 is more than two free surfaces cost")
    bent = last.cell.distortion(last.atoms)
    if bent > 0.1:
        text = f"inside the grains atoms are {bent:.2f} nearest-neighbour distances off their crystal sites: "
        value.flag(Status.SUSPICIOUS, text + "the grain has transformed, or is too thin")


def _picture(run_: _Run) -> dict:
    """Relaxed atoms seen along the shorter side of the cell, for the report."""
    atoms = run_.atoms
    sides = atoms.cell.array[:2]
    along = sides[0] / np.linalg.norm(sides[0])
    across = np.array([-along[1], along[0], 0.0])
    width = abs(sides[1] @ across)
    x = (atoms.positions @ across) % width
    return {
        "x": x.round(3).tolist(), "z": atoms.positions[:, 2].round(3).tolist(), "width": round(float(width), 4),
        "depth": (np.round((atoms.positions @ along) / np.linalg.norm(sides[0]) % 1.0, 3)).tolist(),
        "height": round(float(atoms.cell[2, 2]), 4), "grain": atoms.get_tags().tolist(),
    }  # fmt: skip


def plots(models):
    from ..core_plots import boundary_figures

    return boundary_figures(models)


PROPERTY = Property(
    "grain_boundaries", "Grain boundaries", run, order=66, version=2, plots=plots, options=Options, applies=applies,
    sources=("10.1107/S0365110X66002615", "10.1107/S056773947400043X"),
    outputs=(
        Output("S*_energy", "J/m^2", "lowest energy found of each boundary"),
        Output("S*_energy_eV", "eV/A^2", "the same"),
        Output("S*_expansion", "A", "excess volume per area: how far the boundary pushes the grains apart"),
        Output("S*_starts", "%", "share of the starts that reached the lowest energy"),
    ),
    about="Energy per area of the interface between two crystals of the same kind that are turned against each other. "
    "The grains are shifted over each other and atoms left out until the lowest arrangement is found.",
)  # fmt: skip
