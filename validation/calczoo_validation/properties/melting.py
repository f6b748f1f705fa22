"""Melting point by two-phase coexistence.

One part of a long cell is molten while the other is held, then copies run side by side at several temperatures and
zero pressure along the interface normal, the lateral lengths being those of the crystal at each temperature. Below the
melting point the crystal grows, above it shrinks; the speed of the interfaces

    v(T) = (df/dt) N V_s / (2 A),  f: fraction of atoms in crystalline order, V_s: volume per atom, A: cross-section

vanishes at T_m. f counts atoms whose averaged bond order q6 is above the mean of crystal and liquid. A first round of
temperatures brackets T_m, a second one narrows it; a weighted straight line through the speeds next to the zero gives
T_m and its error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..dynamics import Dynamics, Replica
from ..dynamics_analysis import averaged_q6, slope_error
from ..dynamics_melt import CLOSEST, FRICTION, Melt, block, budget, melt, ramp_steps
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status

MOLTEN = 0.6  # of the cell, at the start: crystalline order reaches into the liquid
ASPECT = 3.0  # length of the cell over its width
HEATED = 1.3  # times the temperature where fast heating loses the crystal: melts the part in a picosecond
WARM = 0.85  # times that temperature: meant to be above the melting point, so that nothing grows
EXPANSION = (0.5, 0.8, 1.0, 1.2)  # of the first guess: temperatures at which the crystal's length is measured
GUESS = 0.62  # of that temperature: a start only, the first round is wide and moves if it does not bracket
FIRST = (0.72, 1.28)  # span of the first round about the guess
NARROW = 0.10  # half-width of the second round
INSIDE = (0.2, 0.75)  # solid fractions between which both phases are there
WARM_UP = 1.2  # ps before the copies are made
SETTLE = 0.8  # ps in which heat and the order at the interfaces settle
EVERY = 20  # steps between counts of crystalline atoms
ENOUGH = 0.05  # relative error of T_m that needs no further round
# Runs of 640 atoms and 1000 steps with other seeds, films and windows gave, for one EAM copper, melting points that
# scatter by 6 %, more than the line through the speeds tells; taken to fall as one over the root of atoms x steps.
SCATTER, SCATTER_WORK = 0.06, 640 * 1000
WIDE = 0.08  # relative error of T_m above which it is not converged


@dataclass(frozen=True)
class Options:
    guess: float = option(0.0, "middle of the first round; 0: from fast heating", unit="K", low=0.0, high=2e4)
    atoms: int = option(640, "atoms of the two-phase cell, about", smoke=300, full=4000, low=100, high=10**6)
    temperatures: int = option(4, "temperatures of a round, side by side", full=7, low=3, high=32)
    rounds: int = option(3, "rounds at most; it ends with a narrow one about the zero", smoke=2, low=1, high=8)
    steps: int = option(1000, "steps of a round", smoke=400, full=20000, low=100)
    heating_steps: int = option(
        600, "steps in which heating adds 60 % to the temperature", smoke=300, full=2000, low=50
    )
    timestep: float = option(0.0, "0: from the lightest mass, 2 fs at 40 amu", unit="fs", low=0.0, high=20.0)
    max_atom_steps: float = option(2e7, "runs that would cost more are refused", full=5e9, low=1e3)


def run(ctx: Context, result: PropertyResult) -> None:
    s = ctx.options
    small = min(256, s.atoms)
    cell = _long_cell(ctx, s.atoms)
    cost = (ramp_steps(s.heating_steps) + len(EXPANSION) * s.heating_steps) * len(block(ctx.crystal, small))
    cost += len(cell) * (s.heating_steps * 1.5 + s.temperatures * s.rounds * s.steps)
    budget(1, cost, s.max_atom_steps, "the melting point")
    with ctx.progress.step("melting the crystal"):
        melted = melt(ctx, ctx.crystal, small, s.heating_steps, s.timestep, seed=841)
    guess = s.guess or float(np.sqrt(melted.scale * GUESS * melted.temperature))
    result.data["heating"] = melted.as_data()
    expansion = _expansion(ctx, melted, small, guess)
    start, threshold = _two_phases(ctx, melted, cell, guess, expansion)
    points, window = [], (guess * FIRST[0], guess * FIRST[1])
    for k in range(s.rounds):
        temperatures = np.linspace(*window, s.temperatures)
        new = _round(ctx, melted, start, expansion, guess, temperatures, threshold, k)
        points += new
        window, bracketed = _next_window(points, k)
        if bracketed and k and _sharp(points):
            break
    result.settings.update(
        atoms=len(start), cell_A=np.round(start.cell.lengths(), 2).tolist(), steps=s.steps, pressure_GPa=0.0,
        timestep_fs=round(melted.timestep, 4), first_guess_K=round(guess, 1), threshold_q6=round(threshold, 4),
        melted_on_heating_at_K=round(melted.temperature, 1),
    )  # fmt: skip
    result.data["points"] = points
    result.data["expansion"] = [[round(t, 2), round(x, 6)] for t, x in expansion]
    _add(result, points, melted, len(start) * s.steps)


def _long_cell(ctx: Context, natoms: int) -> Atoms:
    """Crystal of about `natoms` atoms, ASPECT times as long as wide, a along x and b in the xy plane."""
    unit = ctx.crystal.conventional_cell()
    rotated = unit.cell.standard_form()[0]
    unit.set_cell(rotated, scale_atoms=True)
    width = (natoms * unit.get_volume() / len(unit) / ASPECT) ** (1 / 3)
    a, b = (max(1, round(width / length)) for length in unit.cell.lengths()[:2])
    height = unit.get_volume() / np.linalg.norm(np.cross(unit.cell[0], unit.cell[1]))
    c = max(2, round(natoms / (len(unit) * a * b)), round(1.6 * width / height))
    return unit.repeat((a, b, c))


def _expansion(ctx: Context, melted: Melt, natoms: int, guess: float) -> list[tuple[float, float]]:
    """(T, L(T)/L(0)) of the crystal at zero pressure, from a run of its own: a fast ramp lags behind."""
    steps = ctx.options.heating_steps
    cell = block(ctx.crystal, natoms)
    temperatures = [f * guess for f in EXPANSION if f * guess < 0.8 * melted.temperature]
    replicas = [
        Replica(
            cell, t, melted.timestep, FRICTION, 0.0, compressibility=melted.compressibility, barostat_time=0.1,
            closest=CLOSEST * melted.nearest, seed=(ctx.general.seed, 844, k), label=f"crystal at {t:.0f} K",
        )
        for k, t in enumerate(temperatures)
    ]  # fmt: skip
    dynamics = Dynamics(ctx.evaluator, replicas)
    with ctx.progress.step("thermal expansion", steps):
        dynamics.run(steps, every=5, on_step=ctx.progress.update)
    out = [(0.0, 1.0)]
    for t, trace in zip(temperatures, dynamics.traces, strict=True):
        if not trace.alive:
            raise PropertyFailure(f"the crystal at {t:.0f} K did not survive: {trace.reason}", Status.UNSTABLE)
        volume = float(np.mean(trace.volume[len(trace.volume) * 2 // 5 :]))
        out.append((t, (volume / cell.get_volume()) ** (1 / 3)))
    return out


def _length(expansion: list[tuple[float, float]], temperature: float) -> float:
    """L(T)/L(0) by a parabola through (0, 1) and the runs."""
    t, length = np.array(expansion[1:]).T
    powers = [1, 2] if len(t) > 1 else [1]
    scale = t.max()
    design = np.stack([(t / scale) ** p for p in powers], axis=1)
    coefficients = np.linalg.lstsq(design, length - 1, rcond=None)[0]
    return float(1 + sum(c * (temperature / scale) ** p for c, p in zip(coefficients, powers, strict=True)))


def _two_phases(ctx: Context, melted: Melt, cell: Atoms, guess: float, expansion) -> tuple[Atoms, float]:
    """The cell at the lattice constant of `guess`, upper part molten; and the q6 between crystal and liquid."""
    s = ctx.options
    atoms = cell.copy()
    atoms.set_cell(cell.cell * _length(expansion, guess), scale_atoms=True)
    solid = melted.volumes[max(1, melted.melted_at - 6)]
    swell = float(np.clip(melted.volumes[-1] / solid, 0.9, 1.15))
    atoms.wrap()
    z, top = atoms.positions[:, 2], atoms.cell[2, 2]
    held = (1 - MOLTEN) * top
    upper = z > held - 1e-6
    atoms.positions[upper, 2] = held + (atoms.positions[upper, 2] - held) * swell
    new = atoms.cell.array.copy()
    new[2] *= 1 - MOLTEN + MOLTEN * swell
    atoms.set_cell(new, scale_atoms=False)
    hot = Replica(
        atoms, HEATED * melted.temperature, melted.timestep, FRICTION, frozen=~upper, closest=0.3 * melted.nearest,
        seed=(ctx.general.seed, 842), label="melting a part",
    )  # fmt: skip
    dynamics = Dynamics(ctx.evaluator, [hot])
    with ctx.progress.step("melting a part", s.heating_steps):
        dynamics.run(s.heating_steps, every=50, on_step=ctx.progress.update)
        dynamics.set_temperature(WARM * melted.temperature)  # above the melting point: nothing grows meanwhile
        dynamics.run(s.heating_steps // 2, every=50, on_step=ctx.progress.update)
    state = dynamics.states[0]
    if not state.alive:
        raise PropertyFailure(f"the melt beside the crystal did not survive: {state.trace.reason}", Status.UNSTABLE)
    state = _warm_up(ctx, melted, state, guess)
    perfect = float(averaged_q6(cell.positions, cell.cell.array, melted.cutoff).mean())
    liquid = perfect * float(np.mean(melted.order[-3:]))
    warm = perfect * float(np.interp(guess, melted.temperatures, melted.order))
    warm = max(warm, 0.75 * perfect) if guess > melted.temperature * 0.85 else warm
    threshold = 0.5 * (liquid + warm)
    order = averaged_q6(state.atoms.positions, state.atoms.cell.array, melted.cutoff)
    middle = np.abs(state.atoms.get_scaled_positions()[:, 2] - (1 - MOLTEN / 2)) < 0.1
    if float((order[middle] > threshold).mean()) > 0.3:
        raise PropertyFailure(
            f"part of the cell did not melt at {HEATED * melted.temperature:.0f} K beside the crystal: "
            "raise heating_steps",
            Status.UNCONVERGED,
        )
    return state.atoms.copy(), threshold


def _warm_up(ctx: Context, melted: Melt, state, guess: float):
    """All atoms free at the first guess: crystal, held on its sites so far, and interfaces come to temperature."""
    warm = Replica(
        state.atoms, guess, melted.timestep, FRICTION, 0.0, (False, False, True), melted.compressibility, 0.15,
        closest=CLOSEST * melted.nearest, seed=(ctx.general.seed, 845), label="crystal and melt",
    )  # fmt: skip
    dynamics = Dynamics(ctx.evaluator, [warm])
    steps = int(WARM_UP * 1e3 / melted.timestep)
    with ctx.progress.step("warming the crystal beside the melt", steps):
        dynamics.run(steps, every=50, on_step=ctx.progress.update)
    if not dynamics.states[0].alive:
        raise PropertyFailure(f"crystal and melt did not survive: {dynamics.traces[0].reason}", Status.UNSTABLE)
    return dynamics.states[0]


def _round(ctx, melted, start, expansion, guess, temperatures, threshold, k) -> list[dict]:
    """Interface speeds at some temperatures."""
    steps = ctx.options.steps
    replicas = []
    for m, t in enumerate(temperatures):
        atoms = start.copy()
        atoms.set_cell(start.cell * (_length(expansion, t) / _length(expansion, guess)), scale_atoms=True)
        replicas.append(
            Replica(
                atoms, float(t), melted.timestep, FRICTION, 0.0, (False, False, True), melted.compressibility, 0.15,
                closest=CLOSEST * melted.nearest, seed=(ctx.general.seed, 843, k, m), label=f"{t:.0f} K",
            )
        )  # fmt: skip
    fractions: list[list[float]] = [[] for _ in replicas]
    times: list[list[float]] = [[] for _ in replicas]
    dynamics = Dynamics(ctx.evaluator, replicas)
    index = {id(x): m for m, x in enumerate(dynamics.states)}

    def count(step, state):
        order = averaged_q6(state.atoms.positions, state.atoms.cell.array, melted.cutoff)
        fractions[index[id(state)]].append(float((order > threshold).mean()))
        times[index[id(state)]].append(state.time)

    with ctx.progress.step(f"coexistence, round {k + 1}", steps):
        dynamics.run(steps, every=EVERY, observe=count, on_step=ctx.progress.update)
    return [
        _speed(state, np.array(times[m]), np.array(fractions[m]), k) for m, state in enumerate(dynamics.states)
    ]  # fmt: skip


def _speed(state, time: np.ndarray, fraction: np.ndarray, k: int) -> dict:
    """One point: speed of the interfaces (A/ps, positive: the crystal grows) with error, from the part of the run with
    both phases and behind the first SETTLE ps."""
    out = {
        "T": round(state.temperature, 2), "round": k, "alive": state.alive, "reason": state.trace.reason, "v": None,
        "error": None, "weight": 0, "time": np.round(time, 4).tolist()[:: max(1, len(time) // 100)],
        "fraction": np.round(fraction, 4).tolist()[:: max(1, len(time) // 100)],
    }  # fmt: skip
    if not state.alive or len(time) < 5:
        return out
    outside = np.flatnonzero((fraction < INSIDE[0]) | (fraction > INSIDE[1]))
    end = int(outside[0]) + 1 if len(outside) else len(time)
    begin = min(int(np.searchsorted(time, SETTLE)), end // 3)
    part = slice(begin, max(end, begin + 4))
    cell = state.atoms.cell.array
    area = float(np.linalg.norm(np.cross(cell[0], cell[1])))
    per_fraction = state.atoms.get_volume() / (2 * area)
    slope, error = slope_error(time[part], fraction[part])
    # a straight line through few correlated points looks too good: one atomic layer is the least that can be told
    least = 0.5 * (state.atoms.get_volume() / state.n) ** (1 / 3) / (time[part][-1] - time[part][0])
    out.update(
        v=round(slope * per_fraction, 5), error=round(float(np.hypot(error * per_fraction, 0.3 * least)), 5), weight=1
    )
    return out


def _next_window(points: list[dict], k: int) -> tuple[tuple[float, float], bool]:
    """Temperatures of the next round, and whether the speeds so far bracket the zero."""
    good = sorted((p for p in points if p["weight"]), key=lambda p: p["T"])
    if len(good) < 2:
        reasons = "; ".join(sorted({p["reason"] for p in points if p["reason"]}))
        raise PropertyFailure(f"no coexistence run gave an interface speed: {reasons}", Status.UNSTABLE)
    low, high = good[0]["T"], good[-1]["T"]
    if all(p["v"] > 0 for p in good):
        return (high, high * 1.45), False
    if all(p["v"] < 0 for p in good):
        return (low / 1.6, low), False
    middle = _zero(good)[0]
    return (middle * (1 - NARROW), middle * (1 + NARROW)), True


def _sharp(points: list[dict]) -> bool:
    """Whether the zero is known well enough to stop."""
    tm, error, _, _ = _zero(sorted((p for p in points if p["weight"]), key=lambda p: p["T"]))
    return error < ENOUGH * tm


def _zero(points: list[dict], width: float = 0.16) -> tuple[float, float, float, int]:
    """T_m, its error, slope dv/dT and number of points of a weighted line through the points within `width` of it."""
    t, v, e = (np.array([p[key] for p in points], dtype=float) for key in ("T", "v", "error"))
    # start where the sum of misplaced signs is least: growth should lie below, shrinkage above
    cuts = np.concatenate([[t.min()], (t[:-1] + t[1:]) / 2, [t.max()]]) if len(t) > 1 else t
    wrong = [float((np.clip(v, 0, None)[t > c]).sum() + (np.clip(-v, 0, None)[t < c]).sum()) for c in cuts]
    tm = float(cuts[int(np.argmin(wrong))])
    for _ in range(20):
        near = np.abs(t / tm - 1) <= width
        while near.sum() < min(3, len(t)):
            width *= 1.2
            near = np.abs(t / tm - 1) <= width
        (a, b), errors = _line(t[near] - tm, v[near], e[near])
        if b >= 0:
            return tm, float("inf"), float(b), int(near.sum())
        new = float(np.clip(tm - a / b, t.min(), t.max()))
        error = max(float(np.sqrt(errors[0, 0]) / abs(b)), _jackknife(t[near] - tm, v[near], e[near]))
        if abs(new - tm) < 1e-3:
            break
        tm = 0.5 * (tm + new)
    return tm, error, float(b), int(near.sum())


def _jackknife(x: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> float:
    """Error of the zero of the line from leaving out one point at a time: sees scatter beyond the points' errors."""
    n = len(x)
    if n < 4:
        return 0.0
    zeros = []
    for k in range(n):
        (a, b), _ = _line(np.delete(x, k), np.delete(y, k), np.delete(sigma, k))
        if b >= 0:
            return float("inf")
        zeros.append(-a / b)
    return float(np.sqrt((n - 1) / n * ((zeros - np.mean(zeros)) ** 2).sum()))


def _line(x: np.ndarray, y: np.ndarray, sigma: np.ndarray):
    """Weighted straight line a + b x; covariance widened by the misfit."""
    design = np.stack([np.ones_like(x), x], axis=1) / sigma[:, None]
    covariance = np.linalg.pinv(design.T @ design)
    coefficients = covariance @ design.T @ (y / sigma)
    chi2 = float(((y - coefficients[0] - coefficients[1] * x) ** 2 / sigma**2).sum()) / max(len(x) - 2, 1)
    return coefficients, covariance * max(1.0, chi2)


def _add(result: PropertyResult, points: list[dict], melted: Melt, work: float) -> None:
    good = sorted((p for p in points if p["weight"]), key=lambda p: p["T"])
    signs = {p["v"] > 0 for p in good}
    if len(signs) < 2:
        grows = signs == {True}
        edge = good[-1]["T"] if grows else good[0]["T"]
        v = result.add("Tm", "Melting point", None, "K")
        v.flag(
            Status.UNCONVERGED,
            f"the crystal {'grows' if grows else 'shrinks'} at all temperatures tried, so the melting point lies "
            f"{'above' if grows else 'below'} {edge:.0f} K: set guess",
        )
        return
    tm, error, slope, used = _zero(good)
    error = float(np.hypot(error, SCATTER * tm * (SCATTER_WORK / work) ** 0.5))
    result.data["fit"] = {"Tm": tm, "slope": slope, "points": used}
    v = result.add(
        "Tm", "Melting point", tm, "K", error=error,
        error_source="line through the interface speeds, and the scatter of runs of this size",
        note=f"{used} temperatures",
    )  # fmt: skip
    lost = [p for p in points if not p["alive"]]
    if lost:
        why = f"{lost[0]['T']:.0f} K, {lost[0]['reason']}"
        v.flag(Status.UNSTABLE, f"{len(lost)} of {len(points)} runs did not survive: {why}")
    if not np.isfinite(error):
        v.flag(Status.UNCONVERGED, "the interface speeds do not fall with temperature: raise steps or atoms")
    elif error > WIDE * tm:
        v.flag(Status.UNCONVERGED, f"the error is {100 * error / tm:.0f} % of the melting point: raise steps or atoms")
    if tm > melted.temperature:
        v.flag(
            Status.SUSPICIOUS,
            f"above {melted.temperature:.0f} K, where the crystal without surfaces is lost within picoseconds",
        )
    result.notes.append(
        "The error bar is that of the interface speeds; it does not contain the shift by the finite cell: raise "
        "atoms to see it (mode full takes 4000)."
    )


def plots(models):
    from ..plots import COLOURS, figure

    fig, (left, right) = figure(7.6, 3.2, 2)
    for k, (label, result, _) in enumerate(models):
        colour, points = COLOURS[k % len(COLOURS)], result.data.get("points", [])
        good = [p for p in points if p["weight"]]
        x, y, e = ([p[key] for p in good] for key in ("T", "v", "error"))
        left.errorbar(x, y, e, fmt="o", color=colour, ms=4, capsize=2, label=label)
        if "fit" in result.data and result.data["fit"]["slope"] < 0:
            fit = result.data["fit"]
            line = np.array([0.9, 1.1]) * fit["Tm"]
            left.plot(line, fit["slope"] * (line - fit["Tm"]), color=colour, lw=1.0)
        last = max((p["round"] for p in points), default=0)
        for p in (p for p in points if p["round"] == last):
            grows = p["v"] is not None and p["v"] > 0
            right.plot(p["time"], p["fraction"], color=colour, lw=0.9, ls="-" if grows else "--")
    left.axhline(0, color="#a0aec0", lw=0.8)
    left.set_xlabel("temperature (K)")
    left.set_ylabel("interface speed (A/ps)")
    right.set_xlabel("time (ps)")
    right.set_ylabel("solid fraction")
    if left.has_data():
        left.legend(frameon=False, fontsize=7)
    caption = (
        "Speed of the crystal-liquid interfaces (positive: the crystal grows), zero at the melting point; and the "
        "solid fraction in the last round (full lines: growing)."
    )
    return [("melting", "Melting by coexistence", caption, fig)]


PROPERTY = Property(
    "melting", "Melting point", run, order=86, plots=plots, options=Options,
    sources=("10.1063/1.2977970", "10.1063/5.0020514"),
    outputs=(Output("Tm", "K", "melting point at zero pressure"),),
    about="Temperature at which crystal and liquid of this model coexist at zero pressure, from the motion of the "
    "interface between them.",
)  # fmt: skip
