"""Equation of state: Birch-Murnaghan fit to energies of relaxed cells at fixed volumes.

    E(V) = E0 + 9 V0 B0 / 16 { (x - 1)^3 B0' + (x - 1)^2 (6 - 4 x) },  x = (V0/V)^(2/3)

F. Birch, Phys. Rev. 71, 809 (1947), doi:10.1103/PhysRev.71.809. Ions and cell shape are relaxed at each volume where
the symmetry leaves them free. Error of a parameter: its standard deviation from the fit's covariance, or its change
when only the inner points are used, whichever is larger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import GPa
from scipy.interpolate import CubicSpline
from scipy.optimize import curve_fit

from ..options import option
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyFailure, PropertyResult, Status
from ..strain import scaled

RESIDUAL_GATE = 1e-3  # eV/atom
VOLUME_GATE = 2e-3
PRESSURE_GATE = 0.02  # of the largest pressure
PRESSURE_NOISE = 0.02  # GPa


@dataclass(frozen=True)
class Options:
    points: int = option(11, "volumes", smoke=7, full=15, low=6, high=200)
    range: float = option(0.06, "largest V/V0 - 1, both ways", low=0.005, high=0.3)


def birch_murnaghan(volume, e0, v0, b0, b1):
    """Energy in eV of volume in A^3, with b0 in eV/A^3."""
    x = (v0 / np.asarray(volume)) ** (2 / 3)
    return e0 + 9 * v0 * b0 / 16 * ((x - 1) ** 3 * b1 + (x - 1) ** 2 * (6 - 4 * x))


def run(ctx: Context, result: PropertyResult) -> None:
    atoms, s = ctx.crystal.atoms, ctx.options
    ratios = np.linspace(1 - s.range, 1 + s.range, s.points)
    cells = [scaled(atoms, r ** (1 / 3)) for r in ratios]
    with ctx.progress.step("equation of state", len(cells)):
        points = relax(
            ctx.evaluator, cells, cell="volume", fmax=1e-4, smax=1e-5, symmetric=True, max_steps=ctx.general.max_steps,
            on_step=ctx.progress.update,
        )  # fmt: skip
    n = len(atoms)
    volume = np.array([p.atoms.get_volume() for p in points]) / n
    energy = np.array([p.energy for p in points]) / n
    pressure = np.array([-np.mean(p.stress[:3]) for p in points])
    result.data.update(volume=volume.tolist(), energy=energy.tolist(), pressure_GPa=(pressure / GPa).tolist())
    result.settings.update(points=s.points, volume_range=s.range, form="Birch-Murnaghan, third order")
    best, sigma, residual = _fit(volume, energy)
    inner = slice(len(volume) // 5, len(volume) - len(volume) // 5)
    narrow, _, _ = _fit(volume[inner], energy[inner])
    error = np.maximum(sigma, np.abs(narrow - best))
    source = "fit covariance and a narrower range"
    e0, v0, b0, b1 = best
    result.add("V0", "Volume per atom V0", v0, "A^3", error=error[1], error_source=source)
    result.add("E0", "Energy per atom E0", e0, "eV", error=error[0], error_source=source)
    result.add("B0", "Bulk modulus B0", b0 / GPa, "GPa", error=error[2] / GPa, error_source=source)
    result.add("B0_prime", "B0' = dB/dP", b1, "", error=error[3], error_source=source)
    result.data["fit"] = {"E0": e0, "V0": v0, "B0_eV_A3": b0, "B0_prime": b1, "rms_eV_atom": residual}
    _gates(ctx, result, points, best, residual)


def _fit(volume: np.ndarray, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Parameters (E0, V0, B0, B0'), their standard deviations, rms residual in eV/atom."""
    c2, c1, c0 = np.polyfit(volume, energy, 2)
    if c2 <= 0:
        raise PropertyFailure("the energy has no minimum over the volume: not bound here", Status.UNSTABLE)
    v0 = float(np.clip(-c1 / (2 * c2), volume.min(), volume.max()))
    start = [np.polyval([c2, c1, c0], v0), v0, 2 * c2 * v0, 4.0]
    few = len(volume) <= 4
    try:
        best, covariance = curve_fit(
            birch_murnaghan, volume, energy, p0=start, maxfev=20000, x_scale=np.maximum(np.abs(start), 1e-3)
        , ftol=1e-14, xtol=1e-14, gtol=1e-14, method="trf")  # fmt: skip
    except RuntimeError as error:
        raise PropertyFailure(f"the Birch-Murnaghan fit does not converge: {error}") from error
    sigma = np.zeros(4) if few else np.sqrt(np.abs(np.diag(covariance)))
    return best, sigma, float(np.sqrt(np.mean((birch_murnaghan(volume, *best) - energy) ** 2)))


def _gates(ctx: Context, result: PropertyResult, points, best, residual: float) -> None:
    _, v0, b0, b1 = best
    volume, energy = np.array(result.data["volume"]), np.array(result.data["energy"])
    pressure = np.array(result.data["pressure_GPa"]) * GPa
    late = [p for p in points if not p.converged]
    if late:
        result.flag(Status.UNCONVERGED, f"{len(late)} of {len(points)} cells did not relax: {late[0].reason}")
    if residual > RESIDUAL_GATE:
        result.flag(Status.SUSPICIOUS, f"the energies do not follow a smooth curve (rms {residual * 1e3:.2f} meV/atom)")
    if b0 <= 0:
        result.flag(Status.UNSTABLE, "negative bulk modulus")
    if not volume.min() < v0 < volume.max():
        result.flag(Status.SUSPICIOUS, "the fitted minimum is outside the range of volumes")
    relaxed = ctx.crystal.atoms.get_volume() / len(ctx.crystal.atoms)
    if abs(v0 / relaxed - 1) > VOLUME_GATE:
        result.flag(Status.SUSPICIOUS, f"V0 differs from the relaxed volume by {100 * (v0 / relaxed - 1):.2f} %")
    if not 1 < b1 < 12:
        result.flag(Status.SUSPICIOUS, f"B0' = {b1:.1f} is outside 1 .. 12", ("B0_prime",))
    # Against the energies themselves, not the fit, whose form need not suit the model.
    slopes = -CubicSpline(volume, energy)(volume[1:-1], 1)
    gap = np.abs(slopes - pressure[1:-1]).max()
    result.data["pressure_gap_GPa"] = float(gap / GPa)
    if gap > PRESSURE_GATE * np.abs(pressure).max() + PRESSURE_NOISE * GPa:
        result.flag(
            Status.SUSPICIOUS,
            f"pressure from the stress and from the energies differ by up to {gap / GPa:.2f} GPa",
        )


def plots(models):
    from ..plots import COLOURS, figure

    fig, ax = figure(5.2, 3.2)
    for k, (label, result, _) in enumerate(models):
        fit = result.data.get("fit")
        if not fit:
            continue
        v, e = np.array(result.data["volume"]), np.array(result.data["energy"])
        dense = np.linspace(v.min(), v.max(), 120)
        curve = birch_murnaghan(dense, fit["E0"], fit["V0"], fit["B0_eV_A3"], fit["B0_prime"])
        colour = COLOURS[k % len(COLOURS)]
        ax.plot(dense, 1e3 * (curve - fit["E0"]), color=colour, lw=1.3, label=label)
        ax.plot(v, 1e3 * (e - fit["E0"]), "o", color=colour, ms=3.5, mfc="white")
    ax.set_xlabel("volume (A$^3$/atom)")
    ax.set_ylabel("energy above minimum (meV/atom)")
    if len(models) > 1:
        ax.legend(frameon=False)
    return [("eos", "Equation of state", "Points: the model. Line: Birch-Murnaghan fit.", fig)]


PROPERTY = Property(
    "eos", "Equation of state", run, order=20, plots=plots, options=Options,
    sources=("10.1103/PhysRev.71.809",),
    outputs=(
        Output("V0", "A^3", "volume per atom at the minimum"),
        Output("E0", "eV", "energy per atom at the minimum"),
        Output("B0", "GPa", "bulk modulus"),
        Output("B0_prime", "", "pressure derivative of the bulk modulus"),
    ),
    about="Energy of the crystal over its volume, with the bulk modulus and its pressure derivative from a fit.",
)  # fmt: skip
