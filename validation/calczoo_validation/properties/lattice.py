"""Lattice: energy scan, relaxation of the cell within its space group, lattice constants and energy per atom.

The scan looks for the energy minimum next to the first guess; the relaxation makes forces and stress vanish. Energy and
stress are then held against each other: P = -dE/dV by a five-point derivative must equal -tr(sigma)/3, and

    da = a |P + tr(sigma)/3| / (3 B)

is the numerical error of a lattice constant (B from the same five energies). Forces are held against the energy too, in
a cell with displaced atoms: F.d = -dE(r + t d)/dt. The energy per atom of the cell is held against that of its 2x2x2
repeat: a neighbour list that fails in small cells, or a term of the whole system, makes them differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from ase.geometry import get_distances
from ase.units import GPa

from ..options import option
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyFailure, PropertyResult, Status
from ..strain import scaled
from ..structures import identify

NEAR, FAR = (0.88, 1.14), (0.62, 1.7)  # lengths relative to the first guess
STEP = 1.5e-3  # length step of the five-point derivative
PRESSURE_GATE = 0.05  # GPa
UPHILL = 5e-3  # eV/atom, by which no relaxation of any use rises
EXTENSIVE_GATE = 1e-4  # eV/atom, between the cell and its repeat
FORCE_GATE = 0.02  # of the work of the displacement
SHAKE, SHAKE_STEP, SHAKE_CELL = 0.05, 0.1, 4.0  # A along each axis; step of its derivative; A between faces
EMPTY = 7.0  # A between two planes of atoms: vacuum, not a crystal


@dataclass(frozen=True)
class Options:
    points: int = option(27, "volumes of the scan for the energy minimum", smoke=15, full=41, low=7, high=500)


def run(ctx: Context, result: PropertyResult) -> None:
    """Fill a0 (or a, b, c, c/a), volume and energy per atom; leaves the relaxed crystal in the context."""
    start, scan = _scan(ctx)
    result.data["scan"] = scan
    with ctx.progress.step("relaxing the cell"):
        (relaxed,) = relax(
            ctx.evaluator, [start], cell="full", fmax=ctx.general.crystal_fmax / 10, smax=2e-7, symmetric=True,
            max_steps=ctx.general.max_steps,
        )  # fmt: skip
    rise = relaxed.energy / len(relaxed.atoms) - scan["lowest"]
    if rise > UPHILL:
        raise PropertyFailure(
            f"the relaxation ends {1e3 * rise:.0f} meV/atom above the minimum of the volume scan: forces and stress of "
            "this calculator lead uphill, they are not the derivatives of its energy (a wrong sign?)"
        )
    before = ctx.crystal
    ctx.crystal = ctx.crystal.with_atoms(relaxed.atoms)
    result.data["crystal"] = ctx.crystal.as_data()  # what all other properties start from
    energies, repeated = _energies_around(ctx, relaxed)
    pressure, by_energy, bulk_modulus = _pressures(relaxed, energies)
    relative = abs(by_energy - pressure) / max(3 * abs(bulk_modulus), 1e-9)
    _add_values(ctx, result, relaxed, relative)
    result.data.update(
        pressure_from_stress_GPa=pressure, pressure_from_energy_GPa=by_energy, fmax=relaxed.fmax, smax=relaxed.smax,
        cell=relaxed.atoms.cell.array.tolist(), steps=relaxed.steps,
    )  # fmt: skip
    result.settings.update(fmax_eV_A=ctx.general.crystal_fmax / 10, smax_eV_A3=2e-7, space_group_kept=True)
    if not ctx.evaluator.has_stress:
        result.notes.append("The calculator has no stress; it was taken from energy differences.")
    _gates(result, relaxed, scan, pressure, by_energy)
    _extensive(result, relaxed, repeated)
    _same_structure(result, before, relaxed.atoms)
    _empty_space(result, ctx.crystal.conventional_cell())
    _force_check(ctx, result)


def _scan(ctx: Context):
    """Energy over length scale; the start of the relaxation is the minimum next to the guess."""
    atoms = ctx.crystal.atoms
    for low, high in (NEAR, FAR):
        scales = np.linspace(low, high, ctx.options.points)
        with ctx.progress.step("scanning the volume", len(scales)):
            got = ctx.evaluator.evaluate([scaled(atoms, s) for s in scales], ("energy",), errors="return")
        errors = [g for g in got if not isinstance(g, dict)]
        if len(errors) == len(got):
            raise errors[0]
        energy = np.array([g["energy"] if isinstance(g, dict) else np.nan for g in got]) / len(atoms)
        inner = [
            k for k in range(1, len(scales) - 1)
            if np.isfinite(energy[k - 1 : k + 2]).all() and energy[k] < energy[k - 1] and energy[k] <= energy[k + 1]
        ]  # fmt: skip
        if not inner:
            continue
        best = min(inner, key=lambda k: abs(np.log(scales[k])))
        left, mid, right = energy[best - 1 : best + 2]
        shift = 0.5 * (left - right) / (left - 2 * mid + right)
        scale = scales[best] + shift * (scales[1] - scales[0])
        lower = [float(scales[k]) for k in range(len(scales)) if energy[k] < mid - 1e-3]
        scan = {
            "scale": scales.tolist(), "minimum": float(scale), "lowest": float(mid), "lower_elsewhere": lower,
            "energy": [None if not np.isfinite(e) else float(e) for e in energy],
        }  # fmt: skip
        return scaled(atoms, scale), scan
    raise PropertyFailure(
        f"no energy minimum for lengths between {FAR[0]} and {FAR[1]} times the first guess: the structure is not "
        "bound in this model, or the guess is far off (give one: 'Mo:bcc:3.15')",
        Status.UNSTABLE,
    )


def _energies_around(ctx: Context, relaxed) -> tuple[list[float], float | Exception]:
    """Energies (eV) of the cell at four lengths next to its own, and of its 2x2x2 repeat or why there is none."""
    cells = [scaled(relaxed.atoms, f) for f in 1 + STEP * np.array([-2, -1, 1, 2])]
    *near, repeated = ctx.evaluator.evaluate([*cells, relaxed.atoms.repeat(2)], ("energy",), errors="return")
    if failed := next((g for g in near if not isinstance(g, dict)), None):
        raise failed
    return [g["energy"] for g in near], repeated["energy"] if isinstance(repeated, dict) else repeated


def _pressures(relaxed, e: list[float]) -> tuple[float, float, float]:
    """Pressure from the stress, pressure from five energies, bulk modulus from the same; GPa."""
    slope = (e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * STEP)  # dE/d(length scale) = 3 V dE/dV
    curvature = (-e[0] + 16 * e[1] - 30 * relaxed.energy + 16 * e[2] - e[3]) / (12 * STEP**2)
    volume = relaxed.atoms.get_volume()
    stress = relaxed.stress
    return float(-np.mean(stress[:3]) / GPa), -slope / (3 * volume) / GPa, curvature / (9 * volume) / GPa


def _add_values(ctx: Context, result: PropertyResult, relaxed, relative: float) -> None:
    cell = ctx.crystal.conventional_cell().cell
    a, b, c, *angles = cell.cellpar()
    source = "energy and stress held against each other"
    if max(abs(a - b), abs(a - c)) < 1e-5 * a:
        result.add("a0", "Lattice constant a0", a, "A", error=a * relative, error_source=source)
    else:
        result.add("a0", "Lattice constant a", a, "A", error=a * relative, error_source=source)
        if abs(a - b) > 1e-5 * a:
            result.add("b0", "Lattice constant b", b, "A", error=b * relative, error_source=source)
        result.add("c0", "Lattice constant c", c, "A", error=c * relative, error_source=source)
        result.add("c_over_a", "c/a", c / a, "", error=c / a * relative, error_source=source)
    n, volume = len(relaxed.atoms), relaxed.atoms.get_volume()
    result.add("volume", "Volume per atom", volume / n, "A^3", error=3 * relative * volume / n, error_source=source)
    residual = abs(relaxed.fmax) * relaxed.fmax / 10 + volume / n * relaxed.smax**2 / (2 * 0.1)
    result.add(
        "energy", "Energy per atom", relaxed.energy / n, "eV", error=residual, error_source="forces and stress left",
        note="relative to the model's own zero",
    )  # fmt: skip
    result.data["angles"] = [float(x) for x in angles]


def _gates(result: PropertyResult, relaxed, scan, pressure: float, by_energy: float) -> None:
    if not relaxed.converged:
        result.flag(Status.UNCONVERGED, f"the cell relaxation stopped early: {relaxed.reason}")
    if abs(pressure - by_energy) > PRESSURE_GATE:
        result.flag(
            Status.SUSPICIOUS,
            f"stress is not the derivative of the energy: pressure {pressure:.3f} GPa from the stress, "
            f"{by_energy:.3f} GPa from energies",
        )
    if scan["lower_elsewhere"]:
        result.flag(
            Status.SUSPICIOUS,
            "the energy is lower elsewhere in the scan, at lengths "
            + ", ".join(f"{s:.2f}" for s in scan["lower_elsewhere"][:4]) + " times the first guess",
        )  # fmt: skip
    atoms = relaxed.atoms.repeat(3)
    centre = len(relaxed.atoms) * 13
    distances = get_distances(atoms.positions[centre : centre + 1], atoms.positions)[1][0]
    distances[centre] = np.inf
    nearest = int(distances.argmin())
    expected = covalent_radii[atoms.numbers[centre]] + covalent_radii[atoms.numbers[nearest]]
    if not 0.6 < distances[nearest] / expected < 1.8:
        result.flag(
            Status.SUSPICIOUS,
            f"nearest neighbours {distances[nearest]:.2f} A apart, the covalent radii add up to {expected:.2f} A",
        )


def _extensive(result: PropertyResult, relaxed, repeated: float | Exception) -> None:
    """Flag a model whose energy per atom, all atoms in place, depends on the cell that describes the crystal."""
    if isinstance(repeated, Exception):
        result.notes.append(f"The energy of the cell could not be held against that of its 2x2x2 repeat: {repeated}")
        return
    n = len(relaxed.atoms)
    small, large = relaxed.energy / n, repeated / (8 * n)
    result.data["energy_of_repeat"] = large
    if abs(large - small) > EXTENSIVE_GATE:
        result.flag(
            Status.SUSPICIOUS,
            f"the energy does not grow with the crystal: {small:.5f} eV/atom in the cell of {n} atoms, {large:.5f} "
            "eV/atom in its 2x2x2 repeat (neighbours missed in small cells, or a term of the whole system?)",
        )


def _same_structure(result: PropertyResult, before, after) -> None:
    """A cell may gain symmetry while it keeps its own: L1_0 with c/a = 1/sqrt 2 is CsCl."""
    old, new = before.prototype or identify(before.atoms), identify(after, 1e-3)
    if old and new and old != new:
        result.flag(
            Status.UNSTABLE,
            f"{old} is no minimum of this model: it relaxes into {new}, and all that follows is computed for {new}",
        )


def _empty_space(result: PropertyResult, cell) -> None:
    """Flag the lengths that only say how much vacuum a cell was given."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cell.cell.array).T, axis=1)
    for axis in range(3):
        places = np.sort(cell.get_scaled_positions()[:, axis])
        gap = float(np.diff(np.append(places, places[0] + 1)).max() * heights[axis])
        if gap > EMPTY:
            letter = "abc"[axis]
            result.flag(
                Status.SUSPICIOUS,
                f"{gap:.1f} A without atoms along {letter}: a layer, chain or molecule in empty space, whose length "
                f"{letter} and whatever refers to its volume say nothing",
                [n for n in (f"{letter}0", "c_over_a", "volume") if n in result],
            )


def _force_check(ctx: Context, result: PropertyResult) -> None:
    """Work of the forces along a random displacement against the slope of the energy."""
    start = ctx.crystal.supercell(SHAKE_CELL)[0]
    move = np.random.default_rng(ctx.general.seed + 101).normal(scale=SHAKE, size=(len(start), 3))
    cells = []
    for k in (-2, -1, 0, 1, 2):
        cells.append(start.copy())
        cells[-1].positions = start.positions + (1 + k * SHAKE_STEP) * move
    got = ctx.evaluator.evaluate(cells, ("energy", "forces"), errors="return")
    if failed := next((g for g in got if not isinstance(g, dict)), None):
        result.notes.append(f"The forces could not be held against the energy: {failed}")
        return
    e = [g["energy"] for g in got]
    slope = (e[0] - 8 * e[1] + 8 * e[3] - e[4]) / (12 * SHAKE_STEP)
    noise = abs(slope - (e[3] - e[1]) / (2 * SHAKE_STEP))
    gap = abs(slope + float((got[2]["forces"] * move).sum()))
    result.data["force_gap"] = float(gap / abs(slope)) if slope else 0.0
    if gap > FORCE_GATE * abs(slope) + noise + 1e-6:
        result.flag(
            Status.SUSPICIOUS,
            f"forces are not the derivative of the energy: along a displacement of the atoms they differ by "
            f"{100 * gap / max(abs(slope), 1e-12):.1f} %",
            (),
        )


def plots(models):
    """Energy over the length scale, all models, each from its own minimum."""
    from ..plots import COLOURS, figure

    fig, ax = figure(5.2, 3.2)
    for k, (label, result, _) in enumerate(models):
        scan = result.data.get("scan")
        if not scan:
            continue
        pairs = [(s, e) for s, e in zip(scan["scale"], scan["energy"], strict=True) if e is not None]
        x, y = np.array(pairs).T
        ax.plot(x, y - y.min(), ".-", color=COLOURS[k % len(COLOURS)], label=label, lw=1.2, ms=4)
        ax.axvline(scan["minimum"], color=COLOURS[k % len(COLOURS)], lw=0.7, ls=":")
    ax.set_xlabel("length relative to the first guess")
    ax.set_ylabel("energy above minimum (eV/atom)")
    if len(models) > 1:
        ax.legend(frameon=False)
    return [("scan", "Volume scan", "Search for the energy minimum next to the first guess (dotted).", fig)]


PROPERTY = Property(
    "lattice", "Lattice constant", run, order=10, version=3, needs=(), plots=plots, options=Options,
    outputs=(
        Output("?0", "A", "lattice constants of the conventional cell"),
        Output("c_over_a", "", "ratio of the lattice constants c and a"),
        Output("volume", "A^3", "volume per atom"),
        Output("energy", "eV", "energy per atom"),
    ),
    about="The cell in which forces and stress of the model vanish, within the space group of the structure.",
)  # fmt: skip
