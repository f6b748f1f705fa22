"""Equation of state: Birch-Murnaghan and Vinet fits to energies of relaxed cells at fixed volumes.

    E(V) = E0 + 9 V0 B0 / 16 { (x - 1)^3 B0' + (x - 1)^2 (6 - 4 x) },  x = (V0/V)^(2/3)
    E(V) = E0 + 9 V0 B0 / k^2 { 1 - [1 - k (1 - y)] exp[k (1 - y)] },  y = (V/V0)^(1/3), k = 3 (B0' - 1) / 2

F. Birch, Phys. Rev. 71, 809 (1947), doi:10.1103/PhysRev.71.809; P. Vinet et al., J. Phys. Condens. Matter 1, 1941
(1989), doi:10.1088/0953-8984/1/11/002. Ions and cell shape are relaxed at each volume where the symmetry leaves them
free. Error of a parameter: its standard deviation from the fit's covariance, its change when only the inner points are
used, or its change with the form of the fit, whichever is largest.
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
from ._frames import volume_series

RESIDUAL_GATE = 1e-3  # eV/atom
VOLUME_GATE = 2e-3
PRESSURE_GATE = 0.02  # of the largest pressure
PRESSURE_NOISE = 0.02  # GPa
FORM = "Birch-Murnaghan, third order, and Vinet"


@dataclass(frozen=True)
class Options:
    points: int = option(11, "volumes", smoke=7, full=15, low=6, high=200)
    range: float = option(0.06, "largest V/V0 - 1, both ways", low=0.005, high=0.3)


def birch_murnaghan(volume, e0, v0, b0, b1):
    """Energy in eV of volume in A^3, with b0 in eV/A^3."""
    x = (v0 / np.asarray(volume)) ** (2 / 3)
    return e0 + 9 * v0 * b0 / 16 * ((x - 1) ** 3 * b1 + (x - 1) ** 2 * (6 - 4 * x))


def vinet(volume, e0, v0, b0, b1):
    """Energy in eV of volume in A^3, with b0 in eV/A^3; b1 = 1 is the limit in which the exponential is a parabola."""
    y = (np.asarray(volume) / v0) ** (1 / 3)
    k = 1.5 * (b1 - 1)
    k = k if abs(k) > 1e-4 else 1e-4
    z = k * (1 - y)
    return e0 + 9 * v0 * b0 / k**2 * (1 - (1 - z) * np.exp(z))


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
    result.settings.update(points=s.points, volume_range=s.range, form=FORM)
    best, residual = _report(result, volume, energy)
    late = [p for p in points if not p.converged]
    if late:
        result.flag(Status.UNCONVERGED, f"{len(late)} of {len(points)} cells did not relax: {late[0].reason}")
    relaxed = atoms.get_volume() / n
    if abs(best[1] / relaxed - 1) > VOLUME_GATE:
        result.flag(Status.SUSPICIOUS, f"V0 differs from the relaxed volume by {100 * (best[1] / relaxed - 1):.2f} %")
    _gates(result, best, residual)


def from_frames(frames: list, ctx: Context, result: PropertyResult) -> None:
    """The same fits to reference frames that are volumes of one crystal (see _frames.py)."""
    series, note = volume_series(frames, ctx.crystal)
    volume = np.array([f.volume for f in series])
    energy = np.array([f.energy / len(f.atoms) for f in series])
    result.data.update(volume=volume.tolist(), energy=energy.tolist())
    if all(f.stress is not None for f in series):
        result.data["pressure_GPa"] = [float(-np.mean(f.stress[:3]) / GPa) for f in series]
    result.settings.update(points=len(series), form=FORM)
    result.notes.append(note)
    best, residual = _report(result, volume, energy)
    _gates(result, best, residual)


def _report(result: PropertyResult, volume: np.ndarray, energy: np.ndarray) -> tuple[np.ndarray, float]:
    """Add the parameters of both forms with their errors; returns those of Birch-Murnaghan and its residual."""
    best, sigma, residual = _fit(volume, energy)
    other, other_sigma, other_residual = _fit(volume, energy, vinet, best)
    cut = len(volume) // 5 if len(volume) > 6 else 0
    inner = slice(cut, len(volume) - cut)
    narrow, other_narrow = (_fit(volume[inner], energy[inner], form, best)[0] for form in (birch_murnaghan, vinet))
    form_gap = np.abs(best - other)
    error = np.maximum.reduce([sigma, np.abs(narrow - best), form_gap])
    other_error = np.maximum.reduce([other_sigma, np.abs(other_narrow - other), form_gap])
    source = "fit covariance, a narrower range and the other form of the fit"
    e0, v0, b0, b1 = best
    result.add("V0", "Volume per atom V0", v0, "A^3", error=error[1], error_source=source)
    result.add("E0", "Energy per atom E0", e0, "eV", error=error[0], error_source=source)
    result.add("B0", "Bulk modulus B0", b0 / GPa, "GPa", error=error[2] / GPa, error_source=source)
    result.add("B0_prime", "B0' = dB/dP", b1, "", error=error[3], error_source=source)
    for name, label, k, unit, factor in (
        ("V0_vinet", "Volume per atom V0, Vinet", 1, "A^3", 1.0),
        ("B0_vinet", "Bulk modulus B0, Vinet", 2, "GPa", GPa),
        ("B0_prime_vinet", "B0', Vinet", 3, "", 1.0),
    ):
        result.add(name, label, other[k] / factor, unit, error=other_error[k] / factor, error_source=source)
    result.data["fit"] = {"E0": e0, "V0": v0, "B0_eV_A3": b0, "B0_prime": b1, "rms_eV_atom": residual}
    result.data["fit_vinet"] = {
        "E0": other[0], "V0": other[1], "B0_eV_A3": other[2], "B0_prime": other[3], "rms_eV_atom": other_residual,
    }  # fmt: skip
    for fit in (result.data["fit"], result.data["fit_vinet"]):
        fit.update({k: float(v) for k, v in fit.items()})
    return best, residual


def _fit(
    volume: np.ndarray, energy: np.ndarray, form=birch_murnaghan, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Parameters (E0, V0, B0, B0'), their standard deviations, rms residual in eV/atom."""
    if start is None:
        c2, c1, c0 = np.polyfit(volume, energy, 2)
        if c2 <= 0:
            raise PropertyFailure("the energy has no minimum over the volume: not bound here", Status.UNSTABLE)
        v0 = float(np.clip(-c1 / (2 * c2), volume.min(), volume.max()))
        start = np.array([np.polyval([c2, c1, c0], v0), v0, 2 * c2 * v0, 4.0])
    few = len(volume) <= 4
    try:
        best, covariance = curve_fit(
            form, volume, energy, p0=start, maxfev=20000, x_scale=np.maximum(np.abs(start), 1e-3)
        , ftol=1e-14, xtol=1e-14, gtol=1e-14, method="trf")  # fmt: skip
    except RuntimeError as error:
        raise PropertyFailure(f"the fit of the equation of state does not converge: {error}") from error
    sigma = np.zeros(4) if few else np.sqrt(np.abs(np.diag(covariance)))
    return best, sigma, float(np.sqrt(np.mean((form(volume, *best) - energy) ** 2)))


def _gates(result: PropertyResult, best: np.ndarray, residual: float) -> None:
    _, v0, b0, b1 = best
    volume, energy = np.array(result.data["volume"]), np.array(result.data["energy"])
    if residual > RESIDUAL_GATE:
        result.flag(Status.SUSPICIOUS, f"the energies do not follow a smooth curve (rms {residual * 1e3:.2f} meV/atom)")
    if b0 <= 0:
        result.flag(Status.UNSTABLE, "negative bulk modulus")
    if not volume.min() < v0 < volume.max():
        result.flag(Status.SUSPICIOUS, "the fitted minimum is outside the range of volumes")
    if not 1 < b1 < 12:
        result.flag(Status.SUSPICIOUS, f"B0' = {b1:.1f} is outside 1 .. 12", ("B0_prime",))
    if "pressure_GPa" not in result.data:
        return
    # Against the energies themselves, not the fit, whose form need not suit the model.
    pressure = np.array(result.data["pressure_GPa"]) * GPa
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
        other = result.data.get("fit_vinet")
        if other:
            second = vinet(dense, other["E0"], other["V0"], other["B0_eV_A3"], other["B0_prime"])
            ax.plot(dense, 1e3 * (second - fit["E0"]), color=colour, lw=1.0, ls="--")
        ax.plot(v, 1e3 * (e - fit["E0"]), "o", color=colour, ms=3.5, mfc="white")
    ax.set_xlabel("volume (Å$^3$/atom)")
    ax.set_ylabel("energy above minimum (meV/atom)")
    if len(models) > 1:
        ax.legend(frameon=False)
    return [("eos", "Equation of state", "Points: the model. Line: Birch-Murnaghan fit; dashed: Vinet fit.", fig)]


PROPERTY = Property(
    "eos", "Equation of state", run, order=20, plots=plots, options=Options,
    from_frames=from_frames, sources=("10.1103/PhysRev.71.809", "10.1088/0953-8984/1/11/002"), version=2,
    outputs=(
        Output("V0", "A^3", "volume per atom at the minimum"),
        Output("E0", "eV", "energy per atom at the minimum"),
        Output("B0", "GPa", "bulk modulus"),
        Output("B0_prime", "", "pressure derivative of the bulk modulus"),
        Output("V0_vinet", "A^3", "volume per atom at the minimum, Vinet form"),
        Output("B0_vinet", "GPa", "bulk modulus, Vinet form"),
        Output("B0_prime_vinet", "", "pressure derivative of the bulk modulus, Vinet form"),
    ),
    about="Energy of the crystal over its volume, with the bulk modulus and its pressure derivative from a fit.",
)  # fmt: skip
