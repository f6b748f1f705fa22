"""Melting a crystal by fast heating: the way to a liquid for the properties that need one.

    T_h = 2 <E(u) - E(0)> / (3 k N),  u random displacements of 8 % of the nearest distance (rms)

is a scale of temperature of the order of the melting point, no estimate of it. A crystal without surfaces, heated
within picoseconds, is superheated: seven potentials (fcc, bcc, hcp, diamond; 216 to 288 atoms, 1000 or 700 `steps`)
lost it at 1.5 to 1.9 T_h, faster heating at more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import kB

from .dynamics import Dynamics, Replica, compressibility, default_timestep
from .dynamics_analysis import averaged_q6, displacement_from_sites, shell_cutoff
from .engine import Evaluator
from .results import PropertyFailure, Status
from .structures import Crystal

DISPLACED = 0.08  # of the nearest distance
START, TOP = 0.5, 5.0  # of T_h: where the ramp begins and where it is given up
GROWTH = 1.6  # factor of the temperature per `steps` steps of the ramp
FRICTION = 5.0  # 1/ps
CLOSEST = 0.45  # of the nearest distance: atoms closer than this are an explosion
MELTED = 0.45  # averaged q6 relative to the crystal's, below which no crystal is left
FORGET = 1.1  # times the temperature where the crystal is lost: where the melt forgets its lattice
LIQUID = 0.75  # of the temperature where fast heating loses the crystal


def budget(steps: int, atoms: int, limit: float, what: str) -> None:
    """Refuse runs that would cost more than the user allows: cost is counted in atom-steps, not in time."""
    if steps * atoms > limit:
        raise PropertyFailure(
            f"{what} would take {steps * atoms:.2g} atom-steps, more than max_atom_steps = {limit:.2g}; at 10 "
            f"microseconds per atom and step that is {steps * atoms * 1e-5:.0f} s. Raise max_atom_steps, or take fewer "
            "atoms or steps",
            Status.UNSUPPORTED,
        )


def block(crystal: Crystal, natoms: int) -> Atoms:
    """A nearly cubic supercell of about `natoms` atoms of the crystal."""
    volume = crystal.atoms.get_volume() / len(crystal.atoms)
    best = None
    for factor in np.linspace(0.75, 1.15, 41):
        cell, _ = crystal.supercell(factor * (natoms * volume) ** (1 / 3))
        sides = np.linalg.norm(cell.cell.array, axis=1)
        score = abs(np.log(len(cell) / natoms)) + 0.5 * np.log(sides.max() / sides.min())
        if best is None or score < best[0] - 1e-12:
            best = score, cell
    return best[1]


def thermal_scale(evaluator: Evaluator, atoms: Atoms, nearest: float, seed: int) -> float:
    """T_h (K) of the module docstring, from four sets of displacements."""
    rng = np.random.default_rng((seed, 811))
    cells = [atoms]
    for _ in range(4):
        moved = atoms.copy()
        moved.positions += rng.normal(scale=DISPLACED * nearest / np.sqrt(3), size=moved.positions.shape)
        cells.append(moved)
    e = [r["energy"] for r in evaluator.evaluate(cells, ("energy",))]
    rise = float(np.mean(e[1:]) - e[0]) / len(atoms)
    if not rise > 0:
        raise PropertyFailure(
            f"random displacements lower the energy of the crystal by {-rise:.3g} eV/atom: it is not stable",
            Status.UNSTABLE,
        )
    return 2 * rise / (3 * kB)


@dataclass
class Melt:
    """Outcome of a heating ramp.

    temperature K at which the crystal was lost; liquid: the melt, in the cell it had then; scale K: T_h; temperatures,
    volumes (A^3/atom), enthalpies (eV/atom), order (averaged q6 relative to the start) along the ramp; melted_at: index
    of the first sample without a crystal; nearest, cutoff A; compressibility 1/GPa; timestep fs
    """

    temperature: float
    liquid: Atoms
    scale: float
    temperatures: list[float]
    volumes: list[float]
    enthalpies: list[float]
    order: list[float]
    melted_at: int
    nearest: float
    cutoff: float
    compressibility: float
    timestep: float

    def as_data(self) -> dict:
        return {
            "temperature": [round(x, 2) for x in self.temperatures], "volume": [round(x, 5) for x in self.volumes],
            "enthalpy": [round(x, 6) for x in self.enthalpies], "order": [round(x, 4) for x in self.order],
            "melted": round(self.temperature, 1),
        }  # fmt: skip


def melt(ctx, crystal: Crystal, natoms: int, steps: int, timestep: float = 0.0, seed: int = 0) -> Melt:
    """Heat `natoms` atoms of the crystal at zero pressure, by a factor GROWTH each `steps` steps, until it melts.

    Raises PropertyFailure where it explodes, or has not melted at TOP times T_h.
    """
    atoms = block(crystal, natoms)
    nearest, cutoff = shell_cutoff(crystal.atoms)
    scale = thermal_scale(ctx.evaluator, atoms, nearest, seed)
    squeeze = compressibility(ctx.evaluator, crystal.atoms)
    step = timestep or default_timestep(atoms)
    start = START * scale
    replica = Replica(
        atoms, start, step, FRICTION, 0.0, compressibility=squeeze, barostat_time=0.2, closest=CLOSEST * nearest,
        seed=(ctx.general.seed, seed, 812), label="heating",
    )  # fmt: skip
    run = Dynamics(ctx.evaluator, [replica])
    state, every = run.states[0], max(10, steps // 40)
    total = int(np.ceil(np.log(TOP / START) / np.log(GROWTH) * steps / every)) * every
    reference = float(averaged_q6(atoms.positions, atoms.cell.array, cutoff).mean())
    out = Melt(0.0, atoms, scale, [], [], [], [], 0, nearest, cutoff, squeeze, step)
    volume0 = atoms.get_volume() / len(atoms)
    out.temperatures, out.volumes, out.enthalpies, out.order = [0.0], [volume0], [], [1.0]
    gone, done = 0, 0
    while done < total and gone < 4:
        temperature = start * GROWTH ** (done / steps)
        run.set_temperature(temperature)
        run.run(every, every=every)
        done += every
        if not state.alive:
            raise PropertyFailure(
                f"the crystal did not melt but was lost on heating, at {temperature:.0f} K: {state.trace.reason}",
                Status.UNSTABLE,
            )
        if not out.enthalpies:
            out.enthalpies.append(state.trace.potential[0] / len(atoms))
        out.temperatures.append(temperature)
        out.volumes.append(state.atoms.get_volume() / len(atoms))
        out.enthalpies.append(state.energy / len(atoms) + 1.5 * kB * temperature)
        order = float(averaged_q6(state.atoms.positions, state.atoms.cell.array, cutoff).mean()) / reference
        out.order.append(order)
        gone = gone + 1 if order < MELTED else 0
        ctx.progress.update(done, total)
    if gone < 4:
        raise PropertyFailure(
            f"the crystal has not melted at {out.temperatures[-1]:.0f} K on heating in {done * step * 1e-3:.1f} ps",
            Status.SUSPICIOUS,
        )
    out.melted_at = len(out.order) - 4
    out.temperature = out.temperatures[out.melted_at]
    _forget(ctx, run, atoms, out, steps)
    out.liquid = state.atoms.copy()
    return out


def _forget(ctx, run: Dynamics, atoms: Atoms, out: Melt, steps: int) -> None:
    """Hold the melt above where the crystal was lost until the atoms have left their old places: a small cell that
    remembers its lattice freezes again."""
    state = run.states[0]
    run.set_temperature(FORGET * out.temperature)
    travelled = 0.0
    for _ in range(12):
        run.run(max(10, steps // 4), every=max(10, steps // 4))
        if not state.alive:
            raise PropertyFailure(
                f"the melt was lost at {FORGET * out.temperature:.0f} K: {state.trace.reason}", Status.UNSTABLE
            )
        away = displacement_from_sites(state.atoms.positions, state.atoms.cell.array, atoms.positions, atoms.cell.array)
        travelled = float(np.sqrt((away**2).mean())) / out.nearest
        if travelled > 1.2:
            return
    raise PropertyFailure(
        f"the atoms of the melt travelled {travelled:.2f} nearest distances only in {3 * steps} steps at "
        f"{FORGET * out.temperature:.0f} K: glassy, or not molten; raise heating_steps",
        Status.UNCONVERGED,
    )


def ramp_steps(steps: int) -> int:
    """Most steps that `melt` may take with this setting."""
    return int(np.ceil(np.log(TOP / START) / np.log(GROWTH) * steps)) + 3 * steps


def liquid_temperature(melted: Melt) -> float:
    """K, rounded to tens: LIQUID times where fast heating lost the crystal, which is above the melting point."""
    return float(10 * round(LIQUID * melted.temperature / 10))
