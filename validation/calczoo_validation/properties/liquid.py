"""Structure and density of the liquid.

The crystal is melted by fast heating, brought to the wanted temperature and held at zero pressure; several replicas
with their own velocities run side by side. It counts as liquid when it diffuses and has no Bragg peak; otherwise every
number says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import _amu

from ..dynamics import Dynamics, Replica
from ..dynamics_analysis import (
    angle_distribution,
    averaged_q6,
    first_minimum,
    first_peak,
    mean_error,
    pair_distribution,
    partial_distributions,
    structure_factor,
)
from ..dynamics_melt import CLOSEST, FRICTION, Melt, block, budget, liquid_temperature, melt, ramp_steps
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status

BRAGG = 0.25  # S(q)/N above which a wave vector is a Bragg peak; a liquid has about 3/N
MOVED = 0.5  # of the nearest distance: rms displacement that a liquid must reach


@dataclass(frozen=True)
class Options:
    temperature: float = option(
        0.0, "0: 0.75 times where the crystal melts on fast heating, above the melting point", unit="K", low=0, high=2e4
    )
    atoms: int = option(250, "atoms of a replica, about", smoke=100, full=500, low=32, high=10**6)
    replicas: int = option(2, "independent runs", full=4, low=1, high=64)
    heating_steps: int = option(
        800, "steps in which heating adds 60 % to the temperature", smoke=400, full=3000, low=50
    )
    steps: int = option(3000, "steps of each run, after a third as many to equilibrate", smoke=500, full=30000, low=100)
    timestep: float = option(0.0, "0: from the lightest mass, 2 fs at 40 amu", unit="fs", low=0.0, high=20.0)
    max_atom_steps: float = option(2e7, "runs that would cost more are refused", full=2e9, low=1e3)


def run(ctx: Context, result: PropertyResult) -> None:
    s = ctx.options
    settle = max(30, s.steps // 3)
    n = len(block(ctx.crystal, s.atoms))
    budget(ramp_steps(s.heating_steps) + s.replicas * (s.steps + settle), n, s.max_atom_steps, "melting and the liquid")
    with ctx.progress.step("melting the crystal"):
        melted = melt(ctx, ctx.crystal, s.atoms, s.heating_steps, s.timestep, seed=821)
    temperature = s.temperature or liquid_temperature(melted)
    result.settings.update(
        atoms=n, temperature_K=temperature, replicas=s.replicas, steps=s.steps, timestep_fs=round(melted.timestep, 4),
        pressure_GPa=0.0, melted_on_heating_at_K=round(melted.temperature, 1),
    )  # fmt: skip
    result.data["heating"] = melted.as_data()
    states = _hold(ctx, melted, temperature, settle)
    alive = [x for x in states if x.alive]
    if not alive:
        raise PropertyFailure(f"no run of the liquid survived: {states[0].trace.reason}", Status.UNSTABLE)
    names = _add_values(ctx, result, alive, melted, temperature)
    if len(alive) < len(states):
        reasons = sorted({x.trace.reason for x in states if not x.alive})
        result.flag(
            Status.UNSTABLE, f"{len(states) - len(alive)} of {len(states)} runs did not survive: {'; '.join(reasons)}"
        )
    _check_liquid(ctx, result, alive, melted, temperature, names)


def _hold(ctx: Context, melted: Melt, temperature: float, settle: int):
    """Equilibrated and sampled replicas at zero pressure."""
    s = ctx.options
    replicas = [
        Replica(
            melted.liquid, temperature, melted.timestep, FRICTION, 0.0, compressibility=melted.compressibility,
            barostat_time=0.1, closest=CLOSEST * melted.nearest, seed=(ctx.general.seed, 822, k), label=f"run {k + 1}",
        )
        for k in range(s.replicas)
    ]  # fmt: skip
    dynamics = Dynamics(ctx.evaluator, replicas)
    with ctx.progress.step("equilibrating the liquid", settle):
        dynamics.run(settle, every=settle, on_step=ctx.progress.update)
    dynamics.clear()
    with ctx.progress.step("sampling the liquid", s.steps):
        dynamics.run(
            s.steps, every=max(2, s.steps // 300), frames_every=max(5, s.steps // 40), on_step=ctx.progress.update
        )
    return dynamics.states


def _add_values(ctx, result, states, melted, temperature) -> list[str]:
    """Density, volume, enthalpy, g(r), angles, coordination; returns the names."""
    t, masses = f"{temperature:.0f} K", states[0].atoms.get_masses()
    n = len(masses)
    source = "time correlation and scatter of the runs"

    def averaged(name, label, series, unit):
        mean, error, enough = mean_error(series)
        v = result.add(name, f"{label}, {t}", mean, unit, error=error, error_source=source)
        if not enough:
            v.flag(Status.UNCONVERGED, "the runs are shorter than ten correlation times: raise steps")

    density = [masses.sum() * _amu * 1e27 / np.array(x.trace.volume) for x in states]
    averaged("density", "Density of the liquid", density, "g/cm^3")
    averaged("volume", "Volume per atom of the liquid", [np.array(x.trace.volume) / n for x in states], "A^3")
    energies = [x.trace.total / n - melted.enthalpies[0] for x in states]
    averaged("enthalpy", "Enthalpy of the liquid above the crystal at 0 K, per atom", energies, "eV")
    frames = [f for x in states for f in x.trace.frames]
    heights = min(float((1 / np.linalg.norm(np.linalg.inv(cell), axis=0)).min()) for cell, _ in frames)
    r, g = pair_distribution(frames, 0.5 * heights, 160)
    groups = np.array_split(g, min(len(frames), 4 * len(states)))  # frames of one run are neighbours in the list
    mean = g.mean(axis=0)
    valley = first_minimum(r, mean)
    peaks = np.array([first_peak(r, part.mean(axis=0)) for part in groups])
    angles, density_of_angles, counts = angle_distribution(frames, valley)

    def blocked(name, label, value, samples, unit):
        error = float(np.std(samples, ddof=1) / np.sqrt(len(samples))) if len(samples) > 1 else None
        result.add(name, f"{label}, {t}", value, unit, error=error, error_source="blocks of the runs")

    peak = first_peak(r, mean)
    blocked("rdf_peak", "First peak of g(r)", peak[0], peaks[:, 0], "A")
    blocked("rdf_height", "Height of the first peak of g(r)", peak[1], peaks[:, 1], "")
    valleys = np.array([first_minimum(r, part.mean(axis=0)) for part in groups])
    blocked("rdf_minimum", "First minimum of g(r)", valley, valleys, "A")
    blocks = np.array([part.mean() for part in np.array_split(counts, len(groups))])
    at = np.interp(valley, r, mean)  # dn/dr at the minimum carries its error into the number of neighbours
    spread = np.std(valleys, ddof=1) / np.sqrt(len(valleys)) if len(valleys) > 1 else 0.0
    slope = 4 * np.pi * valley**2 * n / float(np.mean([np.mean(x.trace.volume) for x in states])) * at
    own = float(np.std(blocks, ddof=1) / np.sqrt(len(blocks))) if len(blocks) > 1 else 0.0
    result.add(
        "coordination", f"Neighbours within the first minimum, {t}", float(counts.mean()), "",
        error=float(np.hypot(own, slope * spread)), error_source="blocks of the runs, position of the minimum",
    )  # fmt: skip
    result.data["rdf"] = {"r": np.round(r, 4).tolist(), "g": np.round(mean, 4).tolist()}
    result.data["adf"] = {"angle": angles.tolist(), "density": np.round(density_of_angles, 6).tolist()}
    numbers = states[0].atoms.numbers
    if len(set(numbers.tolist())) > 1:
        symbols = dict(zip(numbers.tolist(), states[0].atoms.get_chemical_symbols(), strict=True))
        parts = partial_distributions(frames, numbers, 0.5 * heights, 160)
        result.data["partial"] = {
            f"{symbols[a]}-{symbols[b]}": np.round(x, 4).tolist() for (a, b), x in parts.items()
        }  # fmt: skip
        for (a, b), x in parts.items():
            pair = f"{symbols[a]}{symbols[b]}"
            tops = [first_peak(r, p[a, b])[0] for p in (
                partial_distributions(half, numbers, 0.5 * heights, 160) for half in (frames[::2], frames[1::2])
            )]  # fmt: skip
            result.add(
                f"rdf_peak_{pair}", f"First peak of g(r) {symbols[a]}-{symbols[b]}, {t}", first_peak(r, x)[0], "A",
                error=abs(tops[1] - tops[0]) / 2, error_source="two halves of the frames",
            )  # fmt: skip
    return [v.name for v in result.values]


def _check_liquid(ctx, result, states, melted, temperature, names) -> None:
    """No Bragg peak, no crystalline order, and atoms that travel; else every number is suspicious."""
    n = states[0].n
    peaks, curves = [], []
    for x in states:
        q, s_of_q = structure_factor(x.trace.frames[-8:], 2 * np.pi / melted.nearest * 1.4)
        peaks.append(float(s_of_q.max()))
        curves.append((q, s_of_q))
    edges = np.linspace(0.5, 2 * np.pi / melted.nearest * 1.4, 40)
    index = np.concatenate([np.digitize(q, edges) for q, _ in curves])
    values = np.concatenate([v for _, v in curves])
    used = [k for k in range(1, len(edges)) if (index == k).any()]
    result.data["structure_factor"] = {
        "q": [round(float((edges[k - 1] + edges[k]) / 2), 4) for k in used],
        "S": [round(float(values[index == k].mean()), 4) for k in used],
    }  # fmt: skip
    moved = []
    for x in states:
        (first_cell, first), (last_cell, last) = x.trace.frames[0], x.trace.frames[-1]
        away = last @ np.linalg.inv(last_cell) - first @ np.linalg.inv(first_cell)
        away = (away - away.mean(axis=0)) @ last_cell
        moved.append(float(np.sqrt((away**2).sum(axis=1).mean())) / melted.nearest)
    order = [float(averaged_q6(x.atoms.positions, x.atoms.cell.array, melted.cutoff).mean()) for x in states]
    crystal = ctx.crystal.atoms.repeat(4)
    solid = float(averaged_q6(crystal.positions, crystal.cell.array, melted.cutoff).mean())
    result.add(
        "q6", f"Averaged bond order q6 of the liquid, {temperature:.0f} K", float(np.mean(order)), "",
        error=float(np.std(order, ddof=1) / np.sqrt(len(order))) if len(order) > 1 else None,
        error_source="scatter of the runs", note=f"crystal at 0 K: {solid:.3f}",
    )  # fmt: skip
    result.data["check"] = {
        "largest_S_over_N": [round(p / n, 4) for p in peaks], "q6": np.round(order, 4).tolist(),
        "rms_displacement_over_nearest": np.round(moved, 3).tolist(),
    }  # fmt: skip
    why = []
    if max(peaks) / n > BRAGG:
        why.append(f"a Bragg peak is left or has grown (S/N = {max(peaks) / n:.2f})")
    if max(order) > 0.6 * solid:
        why.append(f"crystalline bond order (q6 = {max(order):.2f}, crystal {solid:.2f})")
    if min(moved) < MOVED:
        why.append(f"the atoms travelled {min(moved):.2f} nearest distances only: solid, glassy, or too few steps")
    if why:
        result.flag(Status.SUSPICIOUS, f"not a liquid at {temperature:.0f} K: {'; '.join(why)}", [*names, "q6"])


def plots(models):
    from ..plots import COLOURS, figure

    fig, (left, middle, right) = figure(9.6, 3.1, 3)
    for k, (label, result, _) in enumerate(models):
        colour, data = COLOURS[k % len(COLOURS)], result.data
        if "rdf" not in data:
            continue
        name = f"{label}, {result.settings['temperature_K']:.0f} K"
        left.plot(data["rdf"]["r"], data["rdf"]["g"], color=colour, lw=1.3, label=name)
        for m, (pair, g) in enumerate(data.get("partial", {}).items()):
            left.plot(data["rdf"]["r"], g, color=colour, lw=0.8, ls=("--", ":", "-.")[m % 3], label=pair)
        middle.plot(data["adf"]["angle"], data["adf"]["density"], color=colour, lw=1.3)
        right.plot(data["structure_factor"]["q"], data["structure_factor"]["S"], color=colour, lw=1.3)
    left.axhline(1, color="#a0aec0", lw=0.8, ls="--")
    for ax, x, y in (
        (left, "distance (A)", "g(r)"), (middle, "bond angle (degree)", "density per degree"),
        (right, "wave number q (1/A)", "S(q)"),
    ):  # fmt: skip
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.set_ylim(bottom=0)
    if left.lines[:-1]:
        left.legend(frameon=False, fontsize=7)
    caption = (
        "Pair distribution, angles between neighbours within the first minimum of g(r), and structure factor of the "
        "cell's own wave vectors."
    )
    return [("liquid", "Structure of the liquid", caption, fig)]


PROPERTY = Property(
    "liquid", "Liquid", run, order=82, plots=plots, options=Options,
    sources=("10.1063/1.2977970", "10.1063/5.0020514"),
    outputs=(
        Output("density", "g/cm^3", "mass density at zero pressure"),
        Output("volume", "A^3", "volume per atom at zero pressure"),
        Output("enthalpy", "eV", "enthalpy per atom above the crystal at 0 K (without zero-point energy)"),
        Output("rdf_peak*", "A", "first peak of g(r)"),
        Output("rdf_height", "", "height of the first peak of g(r)"),
        Output("rdf_minimum", "A", "first minimum of g(r)"),
        Output("coordination", "", "neighbours within the first minimum"),
        Output("q6", "", "averaged bond-order parameter"),
    ),
    about="Density and arrangement of neighbours in the liquid at one temperature, at zero pressure.",
)  # fmt: skip
