"""NVE drift: velocity Verlet at 1/20 and 1/40 of the fastest period conserves energy, to an error that goes as dt^2."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.optimize import FIRE
from ase.units import fs

from ..base import Check, NotApplicable, Outcome
from ..context import Context, name_of
from ..dynamics import highest_frequency, slope_with_error, velocity_verlet
from ..report import FAIL, PASS
from ..structures import diamond, fcc

_RATIO, _WITHIN = 4.0, 0.10
_SIGMAS = 5.0
"""A drift counts when it exceeds this many of its standard errors (eight degrees of freedom) ..."""
_SLOPE = 1e-5
"""... and this (eV per atom and ps)."""


def _start(ctx: Context, group: tuple[str, ...]) -> tuple[Atoms, np.ndarray, float]:
    """Structure at rest in a minimum, velocities, and the fastest angular frequency.

    The temperature is such that the stiffest mode moves by one hundredth of the nearest-neighbour distance, so that the
    same settings serve rare gases and diamond.
    """
    rng = ctx.rng("nve", group)
    crystal = _stabler(ctx, group)
    d = ctx.lattice(group, crystal).d
    atoms = diamond(group, d, rng, 0.03) if crystal == "diamond" else fcc(group, d, rng, (2, 1, 1), shake=0.03)
    atoms.calc = ctx.calc
    FIRE(atoms, logfile=None).run(fmax=0.02, steps=100 if ctx.quick else 300)
    atoms.calc = None
    atoms.info["crystal"] = crystal
    omega = highest_frequency(lambda many: [r["forces"] for r in ctx.compute_many(many, ("forces",))], atoms, 0.004 * d)
    mass = atoms.get_masses()
    speed = 0.01 * d * omega * np.sqrt(mass.min() / mass)  # kT = m_min omega^2 u^2
    v = rng.normal(size=(len(atoms), 3)) * speed[:, None]
    v -= (mass[:, None] * v).sum(axis=0) / mass.sum()
    return atoms, v, omega


def _stabler(ctx: Context, group: tuple[str, ...]) -> str:
    """fcc or diamond, whichever has the lower energy: what collapses into another crystal has no fastest period."""
    energies = {}
    for crystal in ("fcc", "diamond"):
        lattice = ctx.lattice(group, crystal)
        if lattice.found or crystal == "fcc":
            atoms = ctx.undistorted(group, crystal, lattice.d)
            energies[crystal] = ctx.compute(atoms, ("energy",))["energy"] / len(atoms)
    return min(energies, key=energies.__getitem__)


def _force(ctx: Context, atoms: Atoms) -> tuple[float, np.ndarray]:
    result = ctx.compute(atoms, ("energy", "forces"))
    return result["energy"], result["forces"]


def conserve(ctx: Context, group: tuple[str, ...]) -> dict:
    """Slopes (eV per atom and ps) with error bars for both steps and for dt -> 0, ratio of fluctuations, verdict.

    E(t) = E(0) + dt^2 G(t) + ...: (4 E_fine - E_coarse) / 3 has no dt^2 term, so its slope is the drift that no smaller
    step would cure, which is what forces that are no gradient cause.
    """
    atoms, v, omega = _start(ctx, group)
    ctx.save(name_of(group), atoms)
    if omega < 1e-4:
        raise NotApplicable(f"{name_of(group)} has no vibration: its crystal does not hold together")
    period = 2 * np.pi / omega
    steps = 20 * (12 if ctx.quick else 30)
    times = period / 20 * np.arange(steps + 1) / (1000 * fs)
    coarse, fine = (
        velocity_verlet(lambda a: _force(ctx, a), atoms, v, period / part, steps * part // 20)[:: part // 20]
        for part in (20, 40)
    )
    out: dict = {"fastest_period_fs": period / fs, "crystal": atoms.info["crystal"]}
    for name, total in (("1/20", coarse), ("1/40", fine), ("limit", (4 * fine - coarse) / 3)):
        slope, error = slope_with_error(times, total / len(atoms))
        out[name] = {"slope": slope, "slope_error": error, "fluctuation": float(np.std(total)) / len(atoms)}
    ratio = float(np.std(coarse) / max(np.std(fine), 1e-300))
    drifts = abs(out["limit"]["slope"]) > max(_SIGMAS * out["limit"]["slope_error"], _SLOPE)
    return {**out, "ratio": ratio, "drifts": bool(drifts), "ok": abs(ratio / _RATIO - 1) <= _WITHIN and not drifts}


def run(ctx: Context) -> Outcome:
    if ctx.dtype != "float64":
        raise NotApplicable("the dt^2 law drowns in the rounding of float32")
    found = {name_of(g): conserve(ctx, g) for g in ctx.groups()}
    worst = max(found, key=lambda k: (not found[k]["ok"], abs(found[k]["ratio"] - _RATIO)))
    r = found[worst]
    text = f"{worst}: dt^2 ratio {r['ratio']:.3f}, drift " + ", ".join(
        f"{r[k]['slope']:.1e} +- {r[k]['slope_error']:.0e} ({k})" for k in ("1/40", "limit")
    )
    text += " eV/atom/ps" + (", energy drifts" if r["drifts"] else "")
    note = "; ".join(x for x in (text, ctx.groups_note()) if x)
    off = abs(r["ratio"] / _RATIO - 1)
    status = PASS if all(x["ok"] for x in found.values()) else FAIL
    return Outcome(status, off, "of dt^2 ratio 4", _WITHIN, note, details=found)


CHECK = Check("nve", "NVE drift", run, order=190, needs=("energy", "forces"))
