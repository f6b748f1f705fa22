"""Grueneisen parameters: how fast each vibration softens when the crystal expands.

    gamma_i = -d ln w_i / d ln V = -V / (2 w_i^2) <e_i| dD/dV |e_i>

D is the dynamical matrix, e_i its eigenvectors; degenerate modes are those of dD within their subspace (first-order
perturbation). dD comes from force constants at V (1 +- h) and V (1 +- 2 h), with ions and cell shape relaxed at each
volume: gamma = (4 gamma(h) - gamma(2h)) / 3, with a third of the difference as error. Averages weight each mode with
its heat capacity, and the linear expansion follows from alpha = gamma C_V / (3 B V).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import GPa

from ..options import option
from ..phonon_tools import (
    BOLTZMANN,
    Supercell,
    band_path,
    merged,
    pretty,
    quiet,
    segments,
    short,
    solve_all,
    special_points,
)
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyResult, Status
from ..strain import scaled
from ..structures import repeats

PLANCK = 4.135667696e-3  # eV / THz
NO_MODE = 0.05  # THz, below this a mode has no Grueneisen parameter
IMAGINARY = 0.02  # of the highest frequency
GATE = 15.0


@dataclass(frozen=True)
class Options:
    strain: float = option(0.005, "V/V0 - 1 of the next volumes; twice this is used as well", low=1e-5, high=0.1)
    displacement: float = option(0.01, "displacement of an atom", unit="A", low=1e-5, high=0.5)
    length: float = option(
        12.0, "smallest distance of opposite faces of the supercell", unit="A", smoke=8.0, full=16.0, low=1.0,
        high=200.0,
    )  # fmt: skip
    band_points: int = option(31, "points on each segment of the path", smoke=11, full=61, low=2, high=2000)
    mesh: float = option(40.0, "q-mesh: N_i = length x |b_i|", unit="A", smoke=20.0, full=70.0, low=1.0, high=1000.0)


def run(ctx: Context, result: PropertyResult) -> None:
    s, h = ctx.options, ctx.options.strain
    steps = (0.0, h, -h, 2 * h, -2 * h)
    points = volumes(ctx, steps, result)
    counts = repeats(ctx.crystal.conventional_cell(), s.length)
    with ctx.progress.step("symmetry of the supercells"):
        cells = [
            Supercell.of(ctx.crystal.with_atoms(p.atoms).conventional_cell(), counts, (s.displacement,)) for p in points
        ]
    with ctx.progress.step("displaced supercells", sum(len(c.structures) for c in cells)):
        solve_all(ctx.evaluator, cells)
    result.settings.update(
        volume_steps=list(steps), displacement_A=s.displacement, supercell=list(counts), mesh_length_A=s.mesh,
        atoms=len(cells[0].phonon.supercell),
    )  # fmt: skip
    phonons = [c.use(0) for c in cells]
    with ctx.progress.step("Grueneisen parameters"), quiet():
        path = band_path(phonons[0])
        _on_path(phonons, path, s.band_points, h, result)
        _special(phonons, path, h, result)
        fine, coarse = (mode_parameters(phonons, *mesh_points(phonons[0], m), h) for m in (s.mesh, 0.7 * s.mesh))
    _averages(ctx, result, fine, coarse, points)
    _gates(result, fine)


def volumes(ctx: Context, steps, result: PropertyResult):
    """The crystal at V (1 + step), ions and shape relaxed within the space group, all at once."""
    cells = [scaled(ctx.crystal.atoms, (1 + x) ** (1 / 3)) for x in steps]
    with ctx.progress.step("relaxing at fixed volumes", len(cells)):
        points = relax(
            ctx.evaluator, cells, cell="volume", fmax=ctx.general.crystal_fmax, smax=2e-6, symmetric=True,
            max_steps=ctx.general.max_steps, on_step=ctx.progress.update,
        )  # fmt: skip
    for x, p in zip(steps, points, strict=True):
        if not p.converged:
            result.flag(Status.UNCONVERGED, f"the relaxation at V/V0 = {1 + x:.4f} stopped early: {p.reason}")
    return points


def mesh_points(phonon, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Irreducible q points of a Gamma-centred mesh and their weights (sum 1)."""
    phonon.run_mesh(length, is_gamma_center=True)
    weights = np.array(phonon.mesh.weights, dtype=float)
    return np.array(phonon.mesh.qpoints), weights / weights.sum()


def matrices(phonon, q: np.ndarray) -> np.ndarray:
    """(n, 3N, 3N) dynamical matrices at the q points, THz^2."""
    phonon.run_qpoints(q, with_dynamical_matrices=True)
    return np.array(phonon.qpoints.dynamical_matrices) * phonon.unit_conversion_factor**2


def perturbed(d0: np.ndarray, slope: np.ndarray, tolerance: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of d0 and <e|slope|e>, with the slope diagonal within each degenerate subspace. (n, 3N) each."""
    values, vectors = np.linalg.eigh(d0)
    changed = np.einsum("qai,qab,qbj->qij", vectors.conj(), slope, vectors)
    out = np.real(np.einsum("qii->qi", changed)).copy()
    top = np.abs(values).max()
    for i in range(len(values)):
        edges = np.flatnonzero(np.diff(values[i]) > tolerance * top)
        for block in np.split(np.arange(values.shape[1]), edges + 1):
            if len(block) > 1:
                out[i, block] = np.linalg.eigvalsh(changed[i][np.ix_(block, block)])
    return values, out


def mode_parameters(phonons, q: np.ndarray, weights: np.ndarray, h: float) -> dict[str, np.ndarray]:
    """Frequencies (THz) and Grueneisen parameters of all modes at q, from volume steps h, 2h, and combined.

    nan where a mode is acoustic at Gamma or imaginary.
    """
    d = [matrices(p, q) for p in phonons]  # V0, +h, -h, +2h, -2h
    slopes = [(d[1] - d[2]) / (2 * h), (d[3] - d[4]) / (4 * h)]
    slopes.append((4 * slopes[0] - slopes[1]) / 3)
    out = {"weights": weights, "q": q}
    for name, slope in zip(("near", "far", "best"), slopes, strict=True):
        values, change = perturbed(d[0], slope)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[name] = np.where(values > NO_MODE**2, -change / (2 * values), np.nan)
    out["f"] = np.sign(values) * np.sqrt(np.abs(values))
    return out


def heat_capacities(f: np.ndarray, temperature: float) -> np.ndarray:
    """Heat capacity of each mode in k_B; 1 for temperature inf; 0 where there is no vibration."""
    good = f > NO_MODE
    if not np.isfinite(temperature):
        return good.astype(float)
    if temperature <= 0:
        return np.zeros_like(f)
    x = np.where(good, PLANCK * f / (2 * BOLTZMANN * temperature), 1.0)
    return np.where(good, (x / np.sinh(np.minimum(x, 300.0))) ** 2, 0.0)


def average(modes: dict[str, np.ndarray], temperature: float, which: str = "best") -> float:
    """Mean Grueneisen parameter weighted by heat capacity."""
    c = heat_capacities(modes["f"], temperature) * modes["weights"][:, None]
    total = c.sum()
    return float((c * np.nan_to_num(modes[which])).sum() / total) if total > 0 else float("nan")


def _on_path(phonons, path, count: int, h: float, result: PropertyResult) -> None:
    """Grueneisen parameters along the path; None where a mode has none."""
    out, shift = {"labels": [], "distances": [], "frequencies": [], "gamma": []}, 0.0
    reciprocal = np.linalg.inv(phonons[0].primitive.cell)
    for (a, b), q in zip(path["path"], segments(path, count), strict=True):
        modes = mode_parameters(phonons, q, np.ones(len(q)), h)
        steps = np.linalg.norm(np.diff(q @ reciprocal.T, axis=0), axis=1)
        x = shift + np.concatenate([[0.0], np.cumsum(steps)])
        shift = float(x[-1])
        out["labels"].append([short(a), short(b)])
        out["distances"].append(np.round(x, 6).tolist())
        out["frequencies"].append(np.round(modes["f"], 4).tolist())
        out["gamma"].append([[None if np.isnan(g) else round(float(g), 4) for g in row] for row in modes["best"]])
    result.data["bands"] = out


def _special(phonons, path, h: float, result: PropertyResult) -> None:
    names, q = special_points(path)
    modes = mode_parameters(phonons, np.array(q), np.ones(len(q)), h)
    for k, name in enumerate(names):
        label = short(name)
        for group in merged(modes["f"][k]):
            values = modes["best"][k][group]
            if np.isnan(values).any():
                continue  # acoustic at Gamma, or imaginary: flagged with the averages
            tag = f"{group[0] + 1}" if len(group) == 1 else f"{group[0] + 1}-{group[-1] + 1}"
            error = np.abs(modes["near"][k][group].mean() - modes["far"][k][group].mean()) / 3
            result.add(
                f"gamma_{label}_{group[0] + 1}", f"Grueneisen parameter at {pretty(label)}, branch {tag}",
                float(values.mean()), "", error=float(error), error_source="two volume steps",
                note=f"{modes['f'][k][group[0]]:.2f} THz",
            )  # fmt: skip


def _averages(ctx: Context, result: PropertyResult, fine, coarse, points) -> None:
    t0 = float(ctx.general.temperature)
    source = "two volume steps, two q-meshes"

    def both(temperature: float) -> tuple[float, float]:
        value = average(fine, temperature)
        near, far = average(fine, temperature, "near"), average(fine, temperature, "far")
        return value, abs(near - far) / 3 + abs(average(coarse, temperature) - value)

    kelvin, (gamma, error) = f"{t0:.0f} K", both(t0)
    result.add("gamma", f"Grueneisen parameter, {kelvin}", gamma, "", error=error, error_source=source)
    value, spread = both(np.inf)
    result.add(
        "gamma_high", "Grueneisen parameter, high temperature", value, "", error=spread, error_source=source,
        note="every mode with the same weight",
    )  # fmt: skip
    n, atoms = len(ctx.crystal.atoms), ctx.crystal.atoms
    pressure = [-float(np.mean(p.stress[:3])) for p in points]
    h, volume = ctx.options.strain, atoms.get_volume() / n
    near, far = (pressure[2] - pressure[1]) / (2 * h), (pressure[4] - pressure[3]) / (4 * h)
    bulk, bulk_error = (4 * near - far) / 3, abs(near - far) / 3
    result.add(
        "B", "Bulk modulus from the pressures of the volumes", bulk / GPa, "GPa", error=bulk_error / GPa,
        error_source="two volume steps",
    )  # fmt: skip
    c = (heat_capacities(fine["f"], t0) * fine["weights"][:, None]).sum() / n  # k_B per atom
    alpha = gamma * c * BOLTZMANN / (3 * bulk * volume)
    rough = (heat_capacities(coarse["f"], t0) * coarse["weights"][:, None]).sum() / n
    relative = abs(error / gamma if gamma else 0.0) + bulk_error / abs(bulk) + abs(rough - c) / max(c, 1e-12)
    result.add(
        "alpha", f"Linear expansion from gamma, {kelvin}", 1e6 * alpha, "1e-6/K", error=1e6 * abs(alpha) * relative,
        error_source=source, note="gamma C_V / (3 B V), volume of 0 K without zero-point motion",
    )  # fmt: skip
    grid = np.arange(20.0, 1001.0, 20.0)
    result.data["average"] = {
        "temperature": grid.tolist(), "gamma": [round(average(fine, t), 5) for t in grid],
    }  # fmt: skip
    finite = fine["best"][np.isfinite(fine["best"])]
    result.data["range"] = [float(finite.min()), float(finite.max())] if finite.size else []
    result.data["heat_capacity_kB"] = float(c)


def _gates(result: PropertyResult, modes) -> None:
    top, f = float(modes["f"].max()), modes["f"]
    lowest = float(f.min())
    if lowest < -IMAGINARY * top:
        share = float(modes["weights"] @ (f < -NO_MODE).mean(axis=1))
        result.flag(
            Status.UNSTABLE,
            f"imaginary modes, lowest {lowest:.2f} THz, {100 * share:.1f} % of the mesh: averages leave them out",
        )
    extremes = result.data["range"]
    if extremes and max(abs(x) for x in extremes) > GATE:
        result.flag(
            Status.SUSPICIOUS,
            f"a mode has the Grueneisen parameter {max(extremes, key=abs):.1f}: next to a soft mode the first-order "
            "formula says little",
            ("gamma",),
        )


def plots(models):
    from ..plots import gruneisen_figure

    got = [(label, r.data) for label, r, _ in models if "bands" in r.data and "average" in r.data]
    if not got:
        return []
    caption = "Left: of each mode along the path. Right: mean, weighted by heat capacity."
    return [("gruneisen", "Grueneisen parameters", caption, gruneisen_figure(got))]


PROPERTY = Property(
    "grueneisen", "Grueneisen parameters", run, order=42, plots=plots, options=Options,
    sources=("10.7566/JPSJ.92.012001",),
    outputs=(
        Output("gamma*", "", "Grueneisen parameter: mean at the temperature, at high temperature, of single modes"),
        Output("B", "GPa", "bulk modulus from the pressures of the volumes used"),
        Output("alpha", "1e-6/K", "linear thermal expansion gamma C_V / (3 B V)"),
    ),
    about="How much each vibration slows down when the crystal expands; their mean decides the thermal expansion.",
)  # fmt: skip
