"""Self-diffusion in the liquid from the mean-square displacement at constant energy.

    D = lim d<|r(t) - r(0)|^2>/dt / 6

The liquid is made by fast heating, brought to temperature and to zero pressure, its cell then set to the mean volume,
its total energy to the mean at that temperature, and the thermostat switched off: friction slows diffusion. Each
replica gives one slope over a window of lags behind the ballistic start; their scatter, and that of blocks in time, is
the error. In a periodic cell of length L the flow around an atom meets its images: D(L) = D(infinity) - 2.837297 kT /
(6 pi eta L) (Yeh and Hummer). With two sizes D is extrapolated in 1/L; with one the correction is left out and named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ase.units import kB

from ..dynamics import Dynamics, Replica
from ..dynamics_analysis import averaged_q6, mean_error, square_displacements
from ..dynamics_melt import CLOSEST, FRICTION, block, budget, liquid_temperature, melt, ramp_steps
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status

WINDOW = (0.15, 0.5)  # of the run: lags of the fit
BLOCKS = 3  # slopes in time per replica
MOVED = 0.5  # of the nearest distance, rms over the longest lag: less is no liquid on this time scale
ORDERED = 0.6  # of the crystal's averaged q6: more is no liquid
EXPONENT = (0.75, 1.25)  # of MSD ~ t^a in the window
SMALLER = 0.4  # atoms of the second size, relative


@dataclass(frozen=True)
class Options:
    temperature: float = option(
        0.0, "0: 0.75 times where the crystal melts on fast heating, above the melting point", unit="K", low=0, high=2e4
    )
    factors: tuple[float, ...] = option(
        (1.0,), "temperatures of the runs relative to this one; three or more give an Arrhenius fit",
        full=(1.0, 1.1, 1.2, 1.35), low=0.3, high=3.0,
    )  # fmt: skip
    atoms: int = option(250, "atoms of a replica, about", smoke=100, full=500, low=32, high=10**6)
    replicas: int = option(3, "independent runs", smoke=2, full=6, low=2, high=64)
    two_sizes: bool = option(False, "a second, smaller cell for the limit of an infinite one", full=True)
    heating_steps: int = option(
        800, "steps in which heating adds 60 % to the temperature", smoke=400, full=3000, low=50
    )
    steps: int = option(2500, "steps of each run, after as many to equilibrate and find the volume", smoke=400,
                        full=20000, low=100)  # fmt: skip
    timestep: float = option(0.0, "0: from the lightest mass, 2 fs at 40 amu", unit="fs", low=0.0, high=20.0)
    max_atom_steps: float = option(2e7, "runs that would cost more are refused", full=2e9, low=1e3)


def run(ctx: Context, result: PropertyResult) -> None:
    s = ctx.options
    sizes = [s.atoms, max(32, round(SMALLER * s.atoms))] if s.two_sizes else [s.atoms]
    counts = [len(block(ctx.crystal, n)) for n in sizes]
    each = len(s.factors) * s.replicas * 2 * s.steps
    budget(1, sum((ramp_steps(s.heating_steps) + each) * n for n in counts), s.max_atom_steps, "the diffusion runs")
    tables, temperature = [], s.temperature
    for k, size in enumerate(sizes):
        with ctx.progress.step("melting the crystal"):
            melted = melt(ctx, ctx.crystal, size, s.heating_steps, s.timestep, seed=831 + 10 * k)
        temperature = temperature or liquid_temperature(melted)
        tables.append(_size(ctx, result, melted, [temperature * f for f in s.factors], 832 + 10 * k))
    result.settings.update(
        atoms=counts, temperatures_K=[round(temperature * f, 1) for f in s.factors], replicas=s.replicas, steps=s.steps,
        timestep_fs=round(melted.timestep, 4), ensemble="NVE after Langevin NPT", fit_lags=list(WINDOW),
    )  # fmt: skip
    result.data["sizes"] = [[{k: v for k, v in row.items() if k != "flags"} for row in table] for table in tables]
    for k, row in enumerate(tables[0]):
        _add(result, row, tables[1][k] if len(tables) > 1 else None, k, sorted(ctx.elements))
    if len(tables) == 1:
        result.notes.append(
            "One cell size: D is that of the periodic cell, lower than of the infinite liquid by "
            "2.837297 kT/(6 pi eta L) (doi:10.1021/jp0477147); two_sizes=true extrapolates."
        )
    if len(s.factors) >= 3:
        _arrhenius(result, tables[0])


def _size(ctx: Context, result: PropertyResult, melted, temperatures: list[float], seed: int) -> list[dict]:
    """All temperatures of one cell size, side by side: volume, then constant energy."""
    s = ctx.options
    common = dict(compressibility=melted.compressibility, barostat_time=0.1, closest=CLOSEST * melted.nearest)
    replicas = [
        Replica(melted.liquid, t, melted.timestep, FRICTION, 0.0, seed=(ctx.general.seed, seed, k, m), **common)
        for k, t in enumerate(temperatures) for m in range(s.replicas)
    ]  # fmt: skip
    dynamics = Dynamics(ctx.evaluator, replicas)
    half = s.steps // 2
    with ctx.progress.step("volume of the liquid", half):
        dynamics.run(half, every=5, on_step=ctx.progress.update)
    _survived(dynamics)
    fixed = []
    for k, state in enumerate(dynamics.states):
        group = dynamics.states[k - k % s.replicas : k - k % s.replicas + s.replicas]
        volume = np.mean([np.mean(x.trace.volume[len(x.trace.volume) // 3 :]) for x in group])
        atoms = state.atoms.copy()
        atoms.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
        fixed.append(replace(replicas[k], atoms=atoms, pressure=None, velocities=state.v, seed=(*replicas[k].seed, 1)))
    dynamics = Dynamics(ctx.evaluator, fixed)
    with ctx.progress.step("equilibrating the liquid", half):
        dynamics.run(half, every=5, on_step=ctx.progress.update)
    _survived(dynamics)
    starts = []
    for k, state in enumerate(dynamics.states):
        group = dynamics.states[k - k % s.replicas : k - k % s.replicas + s.replicas]
        energy = np.mean([np.mean(x.trace.total[len(x.trace.time) // 4 :]) for x in group])
        factor = np.sqrt(max(energy - state.energy, 0.5 * state.kinetic()) / state.kinetic())
        velocities = state.v * factor
        starts.append(replace(fixed[k], atoms=state.atoms.copy(), friction=0.0, velocities=velocities))
    production = Dynamics(ctx.evaluator, starts)
    every = max(2, s.steps // 100)
    with ctx.progress.step("diffusion at constant energy", s.steps):
        production.run(s.steps, every=every, frames_every=every, on_step=ctx.progress.update)
    rows, crystal = [], ctx.crystal.atoms.repeat(4)
    solid = float(averaged_q6(crystal.positions, crystal.cell.array, melted.cutoff).mean())
    for k, t in enumerate(temperatures):
        group = production.states[k * s.replicas : (k + 1) * s.replicas]
        rows.append(_analyse(group, t, every * melted.timestep * 1e-3, melted.nearest))
        order = [averaged_q6(x.atoms.positions, x.atoms.cell.array, melted.cutoff).mean() for x in group if x.alive]
        rows[-1]["q6"] = round(float(max(order)), 4)
        if max(order) > ORDERED * solid:
            why = f"crystalline bond order (q6 = {max(order):.2f}, crystal {solid:.2f}): no liquid at {t:.0f} K"
            rows[-1]["flags"].append(why)
    return rows


def _survived(dynamics: Dynamics) -> None:
    for x in dynamics.states:
        if not x.alive:
            raise PropertyFailure(f"a run at {x.temperature:.0f} K did not survive: {x.trace.reason}", Status.UNSTABLE)


def _analyse(group, target: float, dt: float, nearest: float) -> dict:
    """D with error, temperature and MSD curve of the replicas at one temperature; reasons for doubt in `flags`."""
    flags = [f"a run stopped after {x.trace.survived:.2f} ps: {x.trace.reason}" for x in group if not x.alive]
    group = [x for x in group if x.alive]
    if not group:
        raise PropertyFailure(f"no run at {target:.0f} K survived at constant energy: {flags[0]}", Status.UNSTABLE)
    masses, numbers = group[0].atoms.get_masses(), group[0].atoms.numbers
    frames = [x.trace.frames for x in group]
    n = len(frames[0])
    lags = np.arange(0, int(WINDOW[1] * n) + 1)
    fit = lags >= max(1, int(WINDOW[0] * n))

    def slopes(chosen):
        out, curves = [], []
        for one in frames:
            curves.append(square_displacements(one, masses, lags, chosen))
            out.append(np.polyfit(lags[fit] * dt, curves[-1][fit], 1)[0] / 6)
        return np.array(out), np.array(curves)

    d, curves = slopes(None)
    # in time: short lags only, from BLOCKS parts of each run, relative to the same lags of whole runs
    short = np.arange(0, n // BLOCKS // 2 + 1)
    late = short >= max(1, len(short) // 2)
    parts = [
        np.polyfit(short[late] * dt, square_displacements(part, masses, short)[late], 1)[0] / 6
        for one in frames for part in (one[b * (n // BLOCKS) : (b + 1) * (n // BLOCKS)] for b in range(BLOCKS))
    ]  # fmt: skip
    scatter = float(np.std(d, ddof=1) / np.sqrt(len(d))) if len(d) > 1 else 0.0
    blocks = float(np.std(parts, ddof=1) / np.sqrt(len(parts)))
    temperature, t_error, _ = mean_error([np.array(x.trace.temperature) for x in group])
    mean = curves.mean(axis=0)
    good = fit & (mean > 0)
    exponent = float(np.polyfit(np.log(lags[good] * dt), np.log(mean[good]), 1)[0]) if good.sum() > 1 else 0.0
    if not EXPONENT[0] < exponent < EXPONENT[1]:
        flags.append(f"the displacement grows as t^{exponent:.2f}, not as t: no diffusive motion on this time scale")
    if np.sqrt(mean[-1]) < MOVED * nearest:
        flags.append(f"the atoms travelled {np.sqrt(mean[-1]):.2f} A only: solid, glassy, or too few steps")
    by_element = {}
    if len(set(numbers.tolist())) > 1:
        symbols = np.array(group[0].atoms.get_chemical_symbols())
        for e in sorted(set(symbols.tolist())):
            own, _ = slopes(np.flatnonzero(symbols == e))
            by_element[e] = [float(own.mean()), float(np.std(own, ddof=1) / np.sqrt(len(own))) if len(own) > 1 else 0.0]
    return {
        "target": round(target, 2), "temperature": temperature, "temperature_error": t_error, "D": float(d.mean()),
        "error": max(scatter, blocks), "runs": [round(float(x), 5) for x in d], "exponent": round(exponent, 3),
        "time": np.round(lags * dt, 5).tolist(), "msd": np.round(mean, 4).tolist(), "by_element": by_element,
        "length": float(group[0].atoms.get_volume() ** (1 / 3)), "flags": flags,
    }  # fmt: skip


def _add(result: PropertyResult, row: dict, small: dict | None, k: int, elements: list[str]) -> None:
    tag = "" if k == 0 else f"_{k + 1}"
    kelvin = f"{row['temperature']:.0f} K"
    source = "scatter of runs and of blocks in time"
    values = [
        result.add(
            f"T{tag}", f"Temperature of the diffusion runs {k + 1}", row["temperature"], "K",
            error=row["temperature_error"], error_source="time correlation and scatter of the runs",
            note=f"wanted: {row['target']:.0f} K",
        ),
        result.add(
            f"D{tag}", f"Self-diffusion in the liquid, {kelvin}", row["D"], "A^2/ps", error=row["error"],
            error_source=source, note=f"cell length {row['length']:.1f} A",
        ),
    ]  # fmt: skip
    for e in elements if row["by_element"] else ():
        d, error = row["by_element"][e]
        values.append(
            result.add(f"D_{e}{tag}", f"Diffusion of {e}, {kelvin}", d, "A^2/ps", error=error, error_source=source)
        )
    if small is not None:
        # D(L) = D - c/L;  the two sizes ran at slightly different temperatures, which the error takes in linearly
        x = row["length"] / small["length"]
        limit = (x * row["D"] - small["D"]) / (x - 1)
        error = np.hypot(x * row["error"], small["error"]) / (x - 1)
        shift = abs(row["temperature"] - small["temperature"]) / row["temperature"] * 3 * row["D"] / (x - 1)
        values.append(
            result.add(
                f"D_infinite{tag}", f"Self-diffusion extrapolated to an infinite cell, {kelvin}", limit, "A^2/ps",
                error=float(np.hypot(error, shift)), error_source=f"{source}, two cell lengths",
            )
        )  # fmt: skip
    for v in values:
        for why in (*row["flags"], *(small["flags"] if small else ())):
            v.flag(Status.UNSTABLE if "stopped" in why else Status.SUSPICIOUS, why)
        if v.unit == "A^2/ps" and v.value is not None and (v.value <= 0 or (v.error or 0) > 0.5 * abs(v.value)):
            v.flag(Status.UNCONVERGED, "the error is more than half of the value: raise steps, replicas or atoms")


def _arrhenius(result: PropertyResult, rows: list[dict]) -> None:
    """ln D = ln D0 - Q/kT, weighted; the errors follow from those of D, widened by the misfit."""
    if any(row["D"] <= 0 for row in rows):
        result.notes.append("No Arrhenius fit: a diffusion constant is not positive.")
        return
    x = np.array([1 / (kB * row["temperature"]) for row in rows])
    y = np.log([row["D"] for row in rows])
    sigma = np.array([max(row["error"] / row["D"], 1e-3) for row in rows])
    design = np.stack([np.ones_like(x), -x], axis=1) / sigma[:, None]
    covariance = np.linalg.inv(design.T @ design)
    (log_d0, q) = covariance @ design.T @ (y / sigma)
    chi2 = float(((y - log_d0 + q * x) ** 2 / sigma**2).sum()) / max(len(x) - 2, 1)
    errors = np.sqrt(np.diag(covariance) * max(1.0, chi2))
    source = "weighted fit"
    v = [
        result.add("Q", "Activation energy of diffusion in the liquid", q, "eV", error=errors[1], error_source=source),
        result.add(
            "D0", "Prefactor of diffusion in the liquid", float(np.exp(log_d0)), "A^2/ps",
            error=float(np.exp(log_d0) * errors[0]), error_source=source,
        ),
    ]  # fmt: skip
    if any(row["flags"] for row in rows):
        for one in v:
            one.flag(Status.SUSPICIOUS, "some of the diffusion constants are in doubt")


def plots(models):
    from ..plots import COLOURS, figure

    fig, (left, right) = figure(7.4, 3.2, 2)
    for k, (label, result, _) in enumerate(models):
        colour = COLOURS[k % len(COLOURS)]
        rows = (result.data.get("sizes") or [[]])[0]
        for m, row in enumerate(rows):
            left.plot(row["time"], row["msd"], color=colour, lw=1.3, ls=("-", "--", ":", "-.")[m % 4],
                      label=f"{label}, {row['temperature']:.0f} K")  # fmt: skip
        x, y = [1e4 / r["temperature"] for r in rows], [r["D"] for r in rows]
        right.errorbar(x, y, [r["error"] for r in rows], fmt="o", color=colour, ms=4, capsize=2, label=label)
        if "Q" in result and result["Q"].value is not None:
            line = np.linspace(min(x), max(x), 20)
            fitted = result["D0"].value * np.exp(-result["Q"].value * line / 1e4 / kB)
            right.plot(line, fitted, color=colour, lw=1.0)
    left.set_xlabel("time (ps)")
    left.set_ylabel("mean-square displacement (A$^2$)")
    right.set_xlabel("10$^4$ / T (1/K)")
    right.set_ylabel("D (A$^2$/ps)")
    if any(len((r.data.get("sizes") or [[]])[0]) > 2 for _, r, _ in models):
        right.set_yscale("log")
    else:
        right.set_ylim(bottom=0)
    for ax in (left, right):
        if ax.has_data():
            ax.legend(frameon=False, fontsize=7)
    caption = "Mean-square displacement of the atoms in the liquid, and its slope over six."
    return [("diffusion", "Diffusion in the liquid", caption, fig)]


PROPERTY = Property(
    "diffusion", "Diffusion in the liquid", run, order=84, plots=plots, options=Options,
    sources=("10.1021/jp0477147",),
    outputs=(
        Output("T*", "K", "measured temperature of the runs"),
        Output("D*", "A^2/ps", "self-diffusion constant; 1 A^2/ps = 1e-8 m^2/s"),
        Output("Q", "eV", "activation energy of the Arrhenius fit"),
    ),
    about="How fast atoms travel in the liquid: the slope of their mean-square displacement.",
)  # fmt: skip
