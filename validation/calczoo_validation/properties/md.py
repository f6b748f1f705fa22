"""Does molecular dynamics with this model run, and does it conserve energy?

Replicas of one crystal side by side: at each temperature one at the crystal's volume (NVT) and one at zero pressure
(NPT), Langevin dynamics; and from one thermal state two runs without thermostat (NVE) with time steps h and h/2. Forces
that are the gradient of the energy keep E_total within a fluctuation that falls as h^2 and without drift; a cutoff
that is not smooth, or forces that are no gradient, show as a drift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dynamics import Dynamics, Replica, compressibility, default_timestep
from ..dynamics_analysis import (
    displacement_from_sites,
    first_peak,
    mean_error,
    pair_distribution,
    shell_cutoff,
    slope_error,
)
from ..dynamics_melt import CLOSEST, FRICTION, block, budget
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyResult, Status

DRIFT_GATE = 5e-4  # eV/atom/ps, the tolerance of LAMBench
OFF_SITE = 0.5  # of the nearest distance: an atom this far from its site has left it
LOST = 0.10  # fraction of atoms off their sites
RATIO = (2.5, 6.5)  # accepted ratio of the fluctuations at h and h/2; theory: 4


@dataclass(frozen=True)
class Options:
    temperatures: tuple[float, ...] = option(
        (300.0, 1000.0), "temperatures of the runs", unit="K", smoke=(300.0,), full=(300.0, 600.0, 1000.0, 1500.0),
        low=1.0, high=2e4,
    )  # fmt: skip
    melting_point: float = option(0.0, "0, or K: adds `fractions` of it to the temperatures", unit="K", low=0, high=2e4)
    fractions: tuple[float, ...] = option((0.5, 0.9), "of the melting point", low=0.01, high=1.5)
    atoms: int = option(250, "atoms, about", smoke=60, full=500, low=16, high=10**6)
    steps: int = option(1500, "steps of each run, after a quarter to equilibrate", smoke=400, full=20000, low=40)
    timestep: float = option(0.0, "0: from the lightest mass, 2 fs at 40 amu", unit="fs", low=0.0, high=20.0)
    max_atom_steps: float = option(2e7, "runs that would cost more are refused", full=2e9, low=1e3)


def run(ctx: Context, result: PropertyResult) -> None:
    s = ctx.options
    atoms = block(ctx.crystal, s.atoms)
    step = s.timestep or default_timestep(atoms)
    extra = [f * s.melting_point for f in s.fractions] if s.melting_point else []
    temperatures = sorted({round(t) for t in (*s.temperatures, *extra)})
    settle = max(20, s.steps // 4)
    runs = 2 * len(temperatures) + 2
    budget(s.steps + settle, runs * len(atoms), s.max_atom_steps, "the dynamics")
    nearest = shell_cutoff(ctx.crystal.atoms, 1)[0]
    squeeze = compressibility(ctx.evaluator, ctx.crystal.atoms)
    common = dict(
        compressibility=squeeze, barostat_time=0.1, closest=CLOSEST * nearest, timestep=step, friction=FRICTION
    )
    replicas = []
    for k, t in enumerate(temperatures):
        for kind, pressure in (("NVT", None), ("NPT", 0.0)):
            seed = (ctx.general.seed, 801, 2 * k + (pressure is not None))
            replicas.append(Replica(atoms, t, pressure=pressure, seed=seed, label=f"{kind} {t} K", **common))
    result.settings.update(
        atoms=len(atoms), timestep_fs=round(step, 4), steps=s.steps, friction_per_ps=FRICTION,
        temperatures_K=temperatures,
    )  # fmt: skip
    dynamics = Dynamics(ctx.evaluator, replicas, stress=ctx.evaluator.has_stress)
    with ctx.progress.step("equilibrating", settle):
        dynamics.run(settle, every=10, on_step=ctx.progress.update)
    nve = _nve_replicas(ctx, dynamics, temperatures[0], step, common)
    dynamics.clear()
    with ctx.progress.step("dynamics", s.steps):
        dynamics.run(
            s.steps, every=max(2, s.steps // 400), frames_every=max(5, s.steps // 40), on_step=ctx.progress.update
        )
    result.data["runs"] = []
    for k, t in enumerate(temperatures):
        for kind, state in zip(("NVT", "NPT"), dynamics.states[2 * k : 2 * k + 2], strict=True):
            _add_run(result, kind, t, state, state.trace, atoms, nearest, s.steps + settle)
    _add_drift(ctx, result, nve, s.steps, temperatures[0])
    if dynamics.numerical:
        result.notes.append("The calculator has no stress: no pressure; the barostat used energies of scaled cells.")


def _nve_replicas(ctx: Context, dynamics: Dynamics, temperature: float, step: float, common: dict) -> list[Replica]:
    """Time steps h and h/2 from the equilibrated NVT state of the lowest temperature."""
    state = dynamics.states[0]
    if not state.alive:
        return []
    return [
        Replica(
            state.atoms.copy(), temperature, h, velocities=state.v.copy(), closest=common["closest"],
            label=f"NVE, {h:.3g} fs", seed=(ctx.general.seed, 802),
        )
        for h in (step, step / 2)
    ]  # fmt: skip


def _add_run(result, kind, t, state, trace, atoms, nearest, steps) -> None:
    """Time survived, pressure or volume, distance from sites, first peak of g(r) of one run."""
    tag = f"{kind}_{t}K"
    total = steps * state.replica.timestep * 1e-3
    survived = result.add(
        f"survived_{tag}", f"Time survived, {kind} at {t} K", trace.survived, "ps", note=f"of {total:.2f} ps"
    )
    data = {
        "label": trace.label, "alive": trace.alive, "reason": trace.reason,
        "time": _thin(trace.time, 4), "temperature": _thin(trace.temperature, 2), "volume": _thin(trace.volume, 3),
        "pressure": _thin(trace.pressure, 4),
    }  # fmt: skip
    result.data["runs"].append(data)
    if not trace.alive:
        survived.flag(
            Status.UNSTABLE, f"{kind} at {t} K stopped after {trace.survived:.3f} of {total:.2f} ps: {trace.reason}"
        )
        return
    frames = trace.frames[len(trace.frames) // 3 :]
    away = [displacement_from_sites(p, cell, atoms.positions, atoms.cell.array) for cell, p in frames]
    rms = [float(np.sqrt((a**2).mean())) / nearest for a in away]
    lindemann, error, _ = mean_error(np.array(rms))
    value = result.add(
        f"lindemann_{tag}", f"RMS distance from sites / nearest distance, {kind} at {t} K", lindemann, "", error=error,
        error_source="time correlation",
    )  # fmt: skip
    off = float((away[-1] > OFF_SITE * nearest).mean())
    data["off_site"] = round(off, 4)
    if off > LOST:
        why = f"{kind} at {t} K: {100 * off:.0f} % of the atoms have left their sites: melted or transformed"
        for v in (survived, value):
            v.flag(Status.UNSTABLE, why)
    _add_rdf(result, data, tag, kind, t, frames)
    if kind == "NVT" and trace.pressure:
        mean, error, enough = mean_error(np.array(trace.pressure))
        v = result.add(
            f"pressure_{t}K", f"Pressure at the crystal's own volume, {t} K", mean, "GPa", error=error,
            error_source="time correlation",
        )  # fmt: skip
        _short(v, enough)
    if kind == "NPT":
        mean, error, enough = mean_error(np.array(trace.volume) / len(atoms))
        v = result.add(
            f"volume_{t}K", f"Volume per atom at zero pressure, {t} K", mean, "A^3", error=error,
            error_source="time correlation",
        )  # fmt: skip
        _short(v, enough)
        v0 = atoms.get_volume() / len(atoms)
        if not 0.8 < mean / v0 < 1.35:
            v.flag(Status.SUSPICIOUS, f"the volume is {mean / v0:.2f} times that of the crystal at 0 K")


def _short(value, enough: bool) -> None:
    if not enough:
        value.flag(Status.UNCONVERGED, "the run is shorter than ten correlation times: raise steps")


def _thin(series, digits: int, most: int = 120) -> list[float]:
    step = max(1, -(-len(series) // most))
    return [round(float(x), digits) for x in series[::step]]


def _add_rdf(result, data, tag, kind, t, frames) -> None:
    heights = 1 / np.linalg.norm(np.linalg.inv(frames[0][0]), axis=0)
    r, g = pair_distribution(frames, 0.5 * float(heights.min()), 160)
    blocks = [first_peak(r, part.mean(axis=0))[0] for part in np.array_split(g, min(4, len(g)))]
    error = float(np.std(blocks, ddof=1) / np.sqrt(len(blocks))) if len(blocks) > 1 else None
    data["rdf"] = {"r": np.round(r, 3).tolist(), "g": np.round(g.mean(axis=0), 3).tolist()}
    result.add(
        f"rdf_peak_{tag}", f"First peak of g(r), {kind} at {t} K", first_peak(r, g.mean(axis=0))[0], "A", error=error,
        error_source="blocks of the run",
    )  # fmt: skip


def _add_drift(ctx: Context, result: PropertyResult, replicas: list[Replica], steps: int, t: int) -> None:
    if not replicas:
        result.flag(Status.UNSTABLE, f"no energy conservation test: the run at {t} K did not survive", names=())
        return
    dynamics = Dynamics(ctx.evaluator, replicas)
    with ctx.progress.step("constant energy", steps):
        traces = dynamics.run(steps, every=2, on_step=ctx.progress.update)
    fluctuation, half = [], 1 + steps // 4  # both over the same span of time, that of the shorter run
    for trace, tag, label in zip(traces, ("", "_half_step"), ("", " at half the time step"), strict=True):
        energy, time = trace.total / trace.natoms, np.array(trace.time)
        result.data.setdefault("nve", []).append(
            {"label": trace.label, "time": _thin(time, 5, 400), "energy": _thin(1e3 * (energy - energy[0]), 6, 400)}
        )
        if not trace.alive:
            v = result.add(f"drift{tag}", f"Drift of the total energy{label}", None, "eV/atom/ps")
            v.flag(Status.UNSTABLE, f"{trace.label}: stopped after {trace.survived:.3f} ps: {trace.reason}")
            continue
        slope, error = slope_error(time, energy)
        v = result.add(
            f"drift{tag}", f"Drift of the total energy{label}, {t} K", slope, "eV/atom/ps", error=error,
            error_source="regression with correlated residuals", note=trace.label,
        )  # fmt: skip
        if abs(slope) - 2 * error > DRIFT_GATE:
            v.flag(Status.SUSPICIOUS, f"the total energy drifts by {slope:.2g} eV/atom/ps, more than {DRIFT_GATE:g}")
        span = energy[:half] if not tag else energy
        fluctuation.append(float(np.std(span)))
    if len(fluctuation) == 2:
        _add_ratio(result, fluctuation, traces)


def _add_ratio(result: PropertyResult, fluctuation: list[float], traces) -> None:
    result.add(
        "fluctuation", "Fluctuation of the total energy (standard deviation)", 1e3 * fluctuation[0], "meV/atom",
        error=1e3 * fluctuation[0] / np.sqrt(len(traces[0].time) / 4), error_source="length of the run",
    )  # fmt: skip
    if fluctuation[1] < 1e-9:
        result.notes.append("The total energy is constant to 1e-9 eV/atom: no ratio of the time steps.")
        return
    parts = []
    n = len(traces[1].time)
    first, second = (t.total[:m] for t, m in zip(traces, (1 + (n - 1) // 2, n), strict=True))
    for a, b in zip(np.array_split(first, 4), np.array_split(second, 4), strict=True):
        parts.append(float(np.std(a) / max(np.std(b), 1e-12)))
    ratio = fluctuation[0] / fluctuation[1]
    v = result.add(
        "step_ratio", "Fluctuation at h / fluctuation at h/2 (4 for forces that are a smooth gradient)", ratio, "",
        error=float(np.std(parts, ddof=1) / 2), error_source="four blocks",
    )  # fmt: skip
    if not RATIO[0] < ratio < RATIO[1]:
        v.flag(
            Status.SUSPICIOUS,
            f"halving the time step changes the fluctuation of the energy by a factor {ratio:.2f} instead of 4: the "
            "forces are no smooth gradient of the energy, or the time step is too long",
        )


def plots(models):
    from ..plots import COLOURS, figure

    fig, (left, right) = figure(7.4, 3.2, 2)
    for k, (label, result, _) in enumerate(models):
        colour = COLOURS[k % len(COLOURS)]
        for m, one in enumerate(result.data.get("nve", [])):
            left.plot(one["time"], one["energy"], color=colour, lw=1.0, alpha=1.0 if m == 0 else 0.5,
                      ls="-" if m == 0 else "--", label=f"{label}, {one['label'].split(', ')[1]}")  # fmt: skip
        shown = [r for r in result.data.get("runs", []) if "rdf" in r and r["label"].startswith("NPT")]
        for m, one in enumerate(shown):
            style = ("-", "--", ":", "-.")[m % 4]
            name = one["label"].removeprefix("NPT ")
            right.plot(one["rdf"]["r"], one["rdf"]["g"], color=colour, lw=1.1, ls=style, label=f"{label}, {name}")
    left.set_xlabel("time (ps)")
    left.set_ylabel("total energy (meV/atom)")
    right.set_xlabel("distance (A)")
    right.set_ylabel("g(r)")
    for ax in (left, right):
        if ax.lines:
            ax.legend(frameon=False, fontsize=7)
    caption = "Left: total energy without thermostat, two time steps. Right: pair distribution at zero pressure."
    return [("md", "Molecular dynamics", caption, fig)]


PROPERTY = Property(
    "md", "Molecular dynamics", run, order=80, plots=plots, options=Options,
    sources=("10.1093/amrx/abs010", "10.1063/5.0020514"),
    outputs=(
        Output("survived_*", "ps", "time until a run exploded, or its full length"),
        Output("lindemann_*", "", "rms distance of atoms from their sites over the nearest distance"),
        Output("rdf_peak_*", "A", "first peak of the pair distribution"),
        Output("pressure_*", "GPa", "mean pressure at the volume of the crystal at 0 K"),
        Output("volume_*", "A^3", "mean volume per atom at zero pressure"),
        Output("drift*", "eV/atom/ps", "slope of the total energy without thermostat"),
        Output("fluctuation", "meV/atom", "standard deviation of the total energy without thermostat"),
        Output("step_ratio", "", "fluctuations at time steps h and h/2"),
    ),
    about="Runs of the crystal at several temperatures: whether it survives, its volume and structure, and whether the "
    "total energy is conserved without a thermostat.",
)  # fmt: skip
