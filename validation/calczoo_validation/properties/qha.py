"""Quasi-harmonic thermal expansion: free energy of electrons (the model's energy) plus harmonic phonons at each volume.

    F(V, T) = E(V) + F_vib(V, T),  fitted for each T by  F = sum_k a_k(T) V^(-2k/3), k = 0..3

which is the Birch-Murnaghan equation of state written linearly (F. Birch, doi:10.1103/PhysRev.71.809). From the fit:
V(T) where dF/dV = 0, B_T = V F'', and, since S = -dF/dT is fitted by the same functions,

    beta = (dS/dV)_T / B_T,  alpha = beta / 3,  C_P = C_V + beta^2 B_T V T,  gamma = beta B_T V / C_V.

Errors: one more power of V, the outer volumes left out, and a coarser q-mesh; the largest of the three changes.
Ions and cell shape are relaxed for E(V) at each volume, so internal strain follows the volume and not the temperature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import GPa

from ..options import option
from ..phonon_tools import BOLTZMANN, Supercell, frequencies, quiet, solve_all, thermal_table
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyFailure, PropertyResult, Status
from ..strain import scaled
from ..structures import repeats

IMAGINARY = 0.02  # of the highest frequency
TOP, STEP = 1000.0, 20.0  # K
LEAST = 6  # volumes
RESIDUAL_GATE = 5e-4  # eV/atom


@dataclass(frozen=True)
class Options:
    points: int = option(9, "volumes", smoke=7, full=13, low=LEAST + 1, high=101)
    smallest: float = option(-0.03, "V/V0 - 1 of the smallest volume", low=-0.3, high=-0.001)
    largest: float = option(0.07, "V/V0 - 1 of the largest volume", low=0.001, high=0.5)
    displacement: float = option(0.01, "displacement of an atom", unit="A", low=1e-5, high=0.5)
    length: float = option(
        12.0, "smallest distance of opposite faces of the supercell", unit="A", smoke=8.0, full=16.0, low=1.0,
        high=200.0,
    )  # fmt: skip
    mesh: float = option(40.0, "q-mesh: N_i = length x |b_i|", unit="A", smoke=20.0, full=70.0, low=1.0, high=1000.0)


def run(ctx: Context, result: PropertyResult) -> None:
    s = ctx.options
    ratios = np.linspace(1 + s.smallest, 1 + s.largest, s.points)
    starts = [scaled(ctx.crystal.atoms, r ** (1 / 3)) for r in ratios]
    with ctx.progress.step("relaxing at fixed volumes", len(starts)):
        points = relax(
            ctx.evaluator, starts, cell="volume", fmax=ctx.general.crystal_fmax, smax=2e-6, symmetric=True,
            max_steps=ctx.general.max_steps, on_step=ctx.progress.update,
        )  # fmt: skip
    counts = repeats(ctx.crystal.conventional_cell(), s.length)
    with ctx.progress.step("symmetry of the supercells"):
        cells = [
            Supercell.of(ctx.crystal.with_atoms(p.atoms).conventional_cell(), counts, (s.displacement,)) for p in points
        ]
    with ctx.progress.step("displaced supercells", sum(len(c.structures) for c in cells)):
        solve_all(ctx.evaluator, cells)
    grid = np.unique(np.append(np.arange(0.0, TOP + 1, STEP), float(ctx.general.temperature)))
    with ctx.progress.step("thermal properties of all volumes"), quiet():
        fine = [thermal_table(c.use(0), s.mesh, grid) for c in cells]
        coarse = [thermal_table(c.use(0), 0.7 * s.mesh, grid) for c in cells]
        lowest = [_lowest(c) for c in cells]
    n = len(ctx.crystal.atoms)
    volume = np.array([p.atoms.get_volume() for p in points]) / n
    energy = np.array([p.energy for p in points]) / n
    result.settings.update(
        volumes=s.points, volume_range=[s.smallest, s.largest], displacement_A=s.displacement, supercell=list(counts),
        atoms=len(cells[0].phonon.supercell), mesh_length_A=s.mesh, form="Birch-Murnaghan, third order",
    )  # fmt: skip
    good = np.array([low >= -IMAGINARY * high for low, high in lowest])
    result.data["lowest_THz"] = [round(low, 4) for low, _ in lowest]
    if good.sum() < LEAST:
        raise PropertyFailure(
            f"imaginary modes at {int((~good).sum())} of {len(good)} volumes (lowest "
            f"{min(low for low, _ in lowest):.2f} THz): the crystal is no minimum of this model, and harmonic free "
            "energies do not exist there",
            Status.UNSTABLE,
        )
    pick = np.flatnonzero(good)
    tables = [{k: np.array([t[i][k] for i in pick]).T for k in ("free_energy", "entropy", "heat_capacity")}
              for t in (fine, coarse)]  # fmt: skip
    expand(volume[pick], energy[pick], grid, tables[0], tables[1], float(ctx.general.temperature), result)
    _gates(result, points, good, ratios)


def _lowest(cell: Supercell) -> tuple[float, float]:
    """Lowest and highest frequency at the q points that are exact in the supercell."""
    f = frequencies(cell.use(0), cell.exact_points())
    return float(f.min()), float(f.max())


# -- the fit ---------------------------------------------------------------------------------------------------------


def design(volume, reference: float, order: int = 3) -> np.ndarray:
    """Columns (V0/V)^(2k/3) - shifted by one for round-off: ((V0/V)^(2/3) - 1)^k, k = 0..order."""
    x = (reference / np.asarray(volume)) ** (2 / 3) - 1
    return np.stack([x**k for k in range(order + 1)], axis=-1)


def derivatives(volume: float, reference: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    """First and second volume derivative of the columns of `design`."""
    y = (reference / volume) ** (2 / 3)
    dy, ddy = -2 / 3 * y / volume, 10 / 9 * y / volume**2
    k = np.arange(order + 1)
    x = y - 1
    first = np.where(k > 0, k * x ** np.maximum(k - 1, 0), 0.0)
    second = np.where(k > 1, k * (k - 1) * x ** np.maximum(k - 2, 0), 0.0)
    return first * dy, second * dy**2 + first * ddy


def equilibrium(coefficients: np.ndarray, reference: float, low: float, high: float) -> float:
    """Volume between low and high where F is smallest; nan when it is at an end."""
    from scipy.optimize import brentq

    order = len(coefficients) - 1

    def slope(v: float) -> float:
        return float(derivatives(v, reference, order)[0] @ coefficients)

    grid = np.linspace(low, high, 60)
    slopes = np.array([slope(v) for v in grid])
    signs = np.flatnonzero((slopes[:-1] < 0) & (slopes[1:] >= 0))
    return float(brentq(slope, grid[signs[0]], grid[signs[0] + 1], xtol=1e-12)) if len(signs) else float("nan")


def quasi_harmonic(volume, energy, grid, table, order: int = 3) -> dict[str, np.ndarray]:
    """V(T), linear expansion (1/K), B_T (eV/A^3), C_V, C_P (k_B per atom), gamma on the grid; nan beyond the volumes.

    volume (n,) A^3/atom, energy (n,) eV/atom; table: free_energy eV, entropy and heat_capacity eV/K, (temperatures, n).
    """
    reference = float(np.mean(volume))
    a = design(volume, reference, order)
    solve = np.linalg.pinv(a)
    free = (table["free_energy"] + energy) @ solve.T
    entropy, capacity = table["entropy"] @ solve.T, table["heat_capacity"] @ solve.T
    names = ("volume", "alpha", "bulk", "c_v", "c_p", "gamma")
    out = {k: np.full(len(grid), np.nan) for k in names}
    for i, t in enumerate(grid):
        v = equilibrium(free[i], reference, volume.min(), volume.max())
        if not np.isfinite(v):
            break  # larger temperatures lie further out
        first, second = derivatives(v, reference, order)
        bulk = v * float(second @ free[i])
        beta = float(first @ entropy[i]) / bulk
        c_v = float(design(v, reference, order) @ capacity[i])
        values = (v, beta / 3, bulk, c_v / BOLTZMANN, (c_v + beta**2 * bulk * v * t) / BOLTZMANN,
                  beta * bulk * v / c_v if c_v > 1e-3 * BOLTZMANN else np.nan)  # fmt: skip
        for name, value in zip(names, values, strict=True):
            out[name][i] = value
    residual = (table["free_energy"] + energy) - free @ a.T
    out["residual"] = np.sqrt((residual**2).mean(axis=1))
    return out


def expand(volume, energy, grid, fine, coarse, temperature: float, result: PropertyResult) -> None:
    """Fill the result from energies and thermal properties of all volumes."""
    best = quasi_harmonic(volume, energy, grid, fine)
    inner = slice(1, len(volume) - 1)
    cut = {k: v[:, inner] for k, v in fine.items()}
    others = [
        quasi_harmonic(volume, energy, grid, fine, order=4 if len(volume) > LEAST else 2),
        quasi_harmonic(volume[inner], energy[inner], grid, cut),
        quasi_harmonic(volume, energy, grid, coarse),
    ]
    at = int(np.abs(grid - temperature).argmin())
    source, kelvin = "order of the fit, volume range, q-mesh", f"{temperature:.0f} K"
    rows = (
        ("volume", "volume", f"Volume per atom, {kelvin}", 1.0, "A^3"),
        ("alpha", "alpha", f"Linear thermal expansion, {kelvin}", 1e6, "1e-6/K"),
        ("B", "bulk", f"Isothermal bulk modulus, {kelvin}", 1 / GPa, "GPa"),
        ("C_P", "c_p", f"Heat capacity C_P per atom, {kelvin}", 1.0, "kB"),
        ("C_V", "c_v", f"Heat capacity C_V per atom, {kelvin}", 1.0, "kB"),
        ("gamma", "gamma", f"Grueneisen parameter, {kelvin}", 1.0, ""),
    )
    if not np.isfinite(best["volume"][at]):
        raise PropertyFailure(
            f"at {kelvin} the free energy has no minimum within the volumes {volume.min():.3f} .. {volume.max():.3f} "
            "A^3 per atom: raise qha.largest",
            Status.UNSTABLE,
        )
    for name, key, label, factor, unit in rows:
        changes = [abs(o[key][at] - best[key][at]) for o in others if np.isfinite(o[key][at])]
        missing = len(changes) < len(others)
        value = result.add(
            name, label, best[key][at] * factor, unit, error=max(changes, default=0.0) * abs(factor),
            error_source=source,
        )  # fmt: skip
        if missing:
            value.flag(Status.SUSPICIOUS, "one of the fits behind the error bar has no minimum within the volumes")
    zero = best["volume"][0]
    spread = max((abs(o["volume"][0] - zero) for o in others if np.isfinite(o["volume"][0])), default=0.0)
    label = "Volume per atom, 0 K with zero-point motion"
    result.add("volume_0K", label, zero, "A^3", error=spread, error_source=source)
    result.data["curve"] = {
        "temperature": grid.tolist(),
        **{k: [None if not np.isfinite(x) else float(f"{x:.8g}") for x in best[k]]
           for k in ("volume", "alpha", "bulk", "c_v", "c_p", "gamma")},
    }  # fmt: skip
    result.data.update(volume=volume.tolist(), energy=energy.tolist(), rms_eV_atom=float(best["residual"].max()))
    last = grid[np.flatnonzero(np.isfinite(best["volume"]))[-1]]
    result.data["valid_to_K"] = float(last)
    if last < grid[-1]:
        result.notes.append(
            f"Above {last:.0f} K the minimum leaves the volumes; raise qha.largest for higher temperatures."
        )
    reach = (volume.max() - best["volume"][at]) / (volume.max() - volume.min())
    if not 0.05 < reach < 0.95:
        edge = f"at {kelvin} the minimum lies at the edge of the volumes"
        result.flag(Status.SUSPICIOUS, edge, ("alpha", "B", "gamma"))
    if best["residual"].max() > RESIDUAL_GATE:
        result.flag(
            Status.SUSPICIOUS,
            f"the free energies miss the equation of state by {1e3 * best['residual'].max():.2f} meV/atom: not smooth",
        )


def _gates(result: PropertyResult, points, good, ratios) -> None:
    stuck = [p for p in points if not p.converged]
    if stuck:
        result.flag(Status.UNCONVERGED, f"{len(stuck)} of {len(points)} volumes did not relax: {stuck[0].reason}")
    if not good.all():
        listed = ", ".join(f"{r:.3f}" for r, g in zip(ratios, good, strict=True) if not g)
        result.flag(Status.SUSPICIOUS, f"imaginary modes at V/V0 = {listed}: these volumes are left out of the fit")
    alpha = result["alpha"].value
    if alpha is not None and abs(alpha) > 200:
        result.flag(Status.SUSPICIOUS, f"a linear expansion of {alpha:.0f}e-6/K is that of no solid", ("alpha",))


def plots(models):
    from ..plots import expansion_figure

    got = [(label, r.data) for label, r, _ in models if "curve" in r.data]
    if not got:
        return []
    caption = "Quasi-harmonic: linear expansion, volume and bulk modulus over temperature, as far as the volumes reach."
    return [("qha", "Thermal expansion", caption, expansion_figure(got))]


PROPERTY = Property(
    "qha", "Quasi-harmonic expansion", run, order=44, plots=plots, options=Options,
    sources=("10.1103/PhysRev.71.809", "10.7566/JPSJ.92.012001"),
    outputs=(
        Output("volume*", "A^3", "volume per atom at the temperature, and at 0 K with zero-point motion"),
        Output("alpha", "1e-6/K", "linear thermal expansion"),
        Output("B", "GPa", "isothermal bulk modulus"),
        Output("C_[PV]", "kB", "heat capacities per atom"),
        Output("gamma", "", "Grueneisen parameter beta B V / C_V"),
    ),
    about="How the crystal expands and softens with temperature when its vibrations depend on volume alone.",
)  # fmt: skip
