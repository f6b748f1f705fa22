"""Short-range order of an alloy: Warren-Cowley parameters from Monte-Carlo swaps on the rigid lattice.

Several chains per temperature, half of them from random arrangements and half from the given crystal; both must agree,
or the chains are too short. Chains of neighbouring temperatures exchange arrangements. The lattice is that of the
relaxed crystal, neither relaxed locally nor vibrating.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers

from ..dynamics_analysis import mean_error
from ..dynamics_melt import block, budget
from ..montecarlo import Chain, Shells, SwapMonteCarlo, shuffled, warren_cowley
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status
from ..structures import Crystal

RANDOM = 24  # random arrangements for the energy without order
AGREE = 4.0  # standard errors between chains of different origin
FLOOR = 0.02  # of alpha: below this a difference does not matter


@dataclass(frozen=True)
class Options:
    temperatures: tuple[float, ...] = option(
        (500.0, 1000.0, 2000.0), "temperatures", unit="K", smoke=(1000.0,),
        full=(300.0, 500.0, 800.0, 1200.0, 2000.0, 3000.0), low=1.0, high=1e5,
    )  # fmt: skip
    atoms: int = option(64, "sites of the cell, about", smoke=32, full=250, low=8, high=10**5)
    chains: int = option(4, "chains per temperature", full=8, low=2, high=64)
    sweeps: int = option(40, "swaps tried per atom and chain, after half to equilibrate", smoke=8, full=200, low=2)
    shells: int = option(3, "neighbour shells", smoke=2, full=5, low=1, high=12)
    max_atom_steps: float = option(2e7, "runs that would cost more are refused", full=2e9, low=1e3)


def applies(crystal: Crystal) -> str:
    """Why short-range order makes no sense for a crystal."""
    if len(crystal.elements) < 2:
        return f"order of elements needs at least two of them; this crystal has only {crystal.elements[0]}"
    return ""


def run(ctx: Context, result: PropertyResult) -> None:
    s = ctx.options
    if why := applies(ctx.crystal):
        raise PropertyFailure(why, Status.UNSUPPORTED)
    cell = block(ctx.crystal, s.atoms)
    steps = s.sweeps * len(cell)
    temperatures = sorted(set(s.temperatures))
    budget(steps + steps // 2, len(cell) * s.chains * len(temperatures), s.max_atom_steps, "the Monte-Carlo chains")
    shells = Shells.of(cell, s.shells)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell.cell.array), axis=0)
    rng = np.random.default_rng((ctx.general.seed, 881))
    disorder = _disordered(ctx, result, cell, rng)
    chains = [
        Chain(shuffled(cell, rng) if k % 2 == 0 else cell.copy(), t, ladder=k, label=f"{t:.0f} K, chain {k + 1}")
        for t in temperatures for k in range(s.chains)
    ]  # fmt: skip
    monte_carlo = SwapMonteCarlo(ctx.evaluator, chains, seed=(ctx.general.seed, 882))
    elements = [atomic_numbers[e] for e in sorted(ctx.elements)]
    pairs = [(a, b) for k, a in enumerate(elements) for b in elements[k + 1 :]]
    exchange = max(5, len(cell) // 8) if len(temperatures) > 1 else 0
    with ctx.progress.step("equilibrating the chains", steps // 2):
        monte_carlo.run(steps // 2, exchange_every=exchange, on_step=ctx.progress.update)
    monte_carlo.clear()
    every = max(2, len(cell) // 8)
    with ctx.progress.step("sampling the chains", steps):
        monte_carlo.run(
            steps, every, lambda numbers: warren_cowley(numbers, shells, pairs), exchange, on_step=ctx.progress.update
        )
    result.settings.update(
        sites=len(cell), temperatures_K=temperatures, chains=s.chains, sweeps=s.sweeps,
        shells_A=[round(d, 4) for d in shells.distances], lattice="rigid",
    )  # fmt: skip
    result.data["shells"] = {"distance": list(shells.distances), "neighbours": list(shells.counts)}
    result.data["runs"] = []
    symbols = {atomic_numbers[e]: e for e in ctx.elements}
    for t in temperatures:
        _add(result, t, [c for c in chains if c.temperature == t], pairs, symbols, disorder, len(cell))
    tried, done = monte_carlo.exchanges
    result.data["exchange"] = {"tried": tried, "accepted": done}
    if shells.distances[-1] > heights.min() / 2:
        result.notes.append(
            f"Shells beyond {heights.min() / 2:.2f} A, half of the cell, see periodic images: raise atoms."
        )


def _disordered(ctx: Context, result: PropertyResult, cell, rng) -> float:
    """Energy per atom of random arrangements, above the given crystal."""
    structures = [cell, *(shuffled(cell, rng) for _ in range(RANDOM))]
    e = np.array([r["energy"] for r in ctx.evaluator.evaluate(structures, ("energy",))]) / len(cell)
    mean, error = float(e[1:].mean()), float(e[1:].std(ddof=1) / np.sqrt(RANDOM))
    result.add(
        "energy_random", "Energy of random arrangements above the given crystal, per atom", mean - e[0], "eV",
        error=error, error_source=f"{RANDOM} arrangements",
    )  # fmt: skip
    return mean


def _add(result, t, chains, pairs, symbols, disorder, n) -> None:
    """Order parameters and energy at one temperature."""
    dead = [c for c in chains if not c.alive]
    chains = [c for c in chains if c.alive and c.energies]
    if not chains:
        v = result.add(f"energy_{t:.0f}K", f"Energy above the random alloy per atom, {t:.0f} K", None, "eV")
        v.flag(Status.FAILED, f"no chain ended: {dead[0].reason if dead else 'too few steps'}")
        return
    source = "correlation within and scatter between chains"
    energies = [np.array(c.energies) / n - disorder for c in chains]
    mean, error, enough = mean_error(energies)
    added = [
        result.add(
            f"energy_{t:.0f}K", f"Energy above the random alloy per atom, {t:.0f} K", mean, "eV", error=error,
            error_source=source,
        )
    ]  # fmt: skip
    rows = {}
    apart = _apart(energies, 1e-3)
    for e, (a, b) in enumerate(pairs):
        name = f"{symbols[a]}{symbols[b]}"
        rows[name] = []
        for shell in range(len(chains[0].samples[0][e])):
            series = [np.array([x[e, shell] for x in c.samples]) for c in chains]
            mean, error, long = mean_error(series)
            enough = enough and long
            apart = apart or _apart(series, FLOOR)
            rows[name].append([round(mean, 6), round(error, 6)])
            added.append(
                result.add(
                    f"alpha_{name}_{shell + 1}_{t:.0f}K",
                    f"Order {symbols[a]}-{symbols[b]}, shell {shell + 1}, {t:.0f} K", mean, "", error=error,
                    error_source=source,
                )
            )  # fmt: skip
    accepted = sum(c.accepted for c in chains) / max(1, sum(c.proposed for c in chains))
    result.data["runs"].append({"temperature": t, "alpha": rows, "acceptance": round(accepted, 5)})
    for v in added:
        if dead:
            v.flag(Status.SUSPICIOUS, f"{len(dead)} chains at {t:.0f} K ended early: {dead[0].reason}")
        if apart:
            v.flag(
                Status.UNCONVERGED,
                f"chains from random arrangements and from the given crystal disagree at {t:.0f} K (accepted: "
                f"{100 * accepted:.2g} % of the swaps): raise sweeps, or the temperature is too low for swaps",
            )
        elif not enough:
            v.flag(Status.UNCONVERGED, f"the chains at {t:.0f} K are shorter than ten correlation times: raise sweeps")


def _apart(series: list[np.ndarray], floor: float) -> bool:
    """Whether chains of the two origins differ by more than their errors, or some are stuck in different places."""
    means = np.array([x.mean() for x in series])
    if len(means) < 2:
        return False
    stuck = any(np.ptp(x) < 1e-9 for x in series) and np.ptp(means) > floor
    origins = series[0::2], series[1::2]
    error = np.hypot(*(mean_error(o)[1] for o in origins))
    gap = abs(means[0::2].mean() - means[1::2].mean())
    return bool(stuck or gap > max(AGREE * error, floor))


def plots(models):
    from ..plots import COLOURS, figure

    fig, ax = figure(5.6, 3.2)
    for k, (label, result, _) in enumerate(models):
        runs = result.data.get("runs", [])
        names = sorted({(name, m) for r in runs for name, row in r["alpha"].items() for m in range(min(2, len(row)))})
        for m, (name, shell) in enumerate(names):
            points = [(r["temperature"], *r["alpha"][name][shell]) for r in runs if name in r["alpha"]]
            t, a, e = zip(*points, strict=True)
            ax.errorbar(t, a, e, color=COLOURS[k % len(COLOURS)], marker="os^Dv<>"[m // 2 % 7], ms=4, capsize=2, lw=1.1,
                        ls="-" if shell == 0 else "--", label=f"{label}, {name}, shell {shell + 1}")  # fmt: skip
    ax.axhline(0, color="#a0aec0", lw=0.8)
    ax.set_xlabel("temperature (K)")
    ax.set_ylabel("Warren-Cowley parameter")
    if ax.has_data() and models:
        ax.legend(frameon=False, fontsize=7)
    caption = "0: random; negative: the two elements prefer each other as neighbours; positive: they avoid each other."
    return [("short_range_order", "Short-range order", caption, fig)]


PROPERTY = Property(
    "short_range_order", "Short-range order", run, order=88, plots=plots, options=Options, applies=applies,
    sources=("10.1103/PhysRev.77.669",),
    outputs=(
        Output("alpha_*", "", "Warren-Cowley parameter of a pair of elements in a neighbour shell"),
        Output("energy_*", "eV", "energy per atom of random arrangements, and at a temperature above those"),
    ),
    about="Whether unlike atoms of the alloy attract or avoid each other at a temperature, from Monte-Carlo swaps on "
    "the rigid lattice.",
)  # fmt: skip
