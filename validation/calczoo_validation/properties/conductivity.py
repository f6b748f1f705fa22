"""Lattice thermal conductivity from third-order force constants (phono3py): heat carried by phonons that scatter.

Pairs of atoms are displaced in a supercell, all in one batch; second-order force constants may come from a larger one.
The relaxation-time approximation gives kappa on two q-meshes; without isotopes, boundaries or electrons. Convergence
with the number N of mesh points along an edge is slow, like 1/N at worst, and the error bar is what that leaves:

    |kappa(N2) - kappa(N1)| N1 / (N2 - N1)

plus a third of the change with twice the displacement. Full mode also solves the linearised Boltzmann equation.
A. Togo, L. Chaput, I. Tanaka, Phys. Rev. B 91, 094306 (2015), doi:10.1103/PhysRevB.91.094306.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status
from ..structures import repeats
from ..symmetry import Symmetry

CURVE = (100.0, 150.0, 200.0, 300.0, 400.0, 500.0, 600.0, 800.0, 1000.0)  # K
IMAGINARY = 0.02  # of the highest frequency
DRIFT_GATE = 0.01
VIOLATION_GATE = 0.01
ERROR_GATE = 0.25
HIGHEST = 2e4  # W/m/K
AXES = ("xx", "yy", "zz")


@dataclass(frozen=True)
class Options:
    displacement: float = option(0.03, "displacement; twice this is used as well", unit="A", low=1e-4, high=0.3)
    length: float = option(
        9.0, "smallest distance of opposite faces of the supercell for third order", unit="A", smoke=7.0, full=12.0,
        low=1.0, high=100.0,
    )  # fmt: skip
    harmonic_length: float = option(
        12.0, "the same for second order", unit="A", smoke=8.0, full=16.0, low=1.0, high=200.0
    )
    meshes: tuple[float, ...] = option(
        (22.0, 34.0), "two q-meshes: N_i = length x |b_i|", unit="A", smoke=(12.0, 20.0), full=(34.0, 50.0), low=3.0,
        high=500.0,
    )  # fmt: skip
    direct: bool = option(False, "also the direct solution of the Boltzmann equation, coarse mesh", full=True)
    pair_cutoff: float = option(
        0.0, "pairs of atoms further apart are not displaced together (0: all are)", unit="A", low=0.0, high=100.0
    )
    most_structures: int = option(3000, "displaced supercells beyond which nothing is computed", full=20000, low=1)


def run(ctx: Context, result: PropertyResult) -> None:
    from ..anharmonic import conductivity, count_displaced, displaced, make_phono3py, solve

    s, h = ctx.options, ctx.options.displacement
    if len(s.meshes) < 2:
        raise PropertyFailure("conductivity.meshes needs two meshes: one alone has no error bar")
    unit = ctx.crystal.conventional_cell()
    counts, harmonic = repeats(unit, s.length), repeats(unit, max(s.length, s.harmonic_length))
    with ctx.progress.step("symmetry of displaced pairs"):
        models = [make_phono3py(unit, counts, harmonic) for _ in range(2)]
        needed = count_displaced(models[0], h, s.pair_cutoff)
    if needed > s.most_structures:
        raise PropertyFailure(
            f"{needed} displaced supercells are needed, conductivity.most_structures is {s.most_structures}: raise it, "
            "or set conductivity.pair_cutoff",
            Status.UNSUPPORTED,
        )
    lists = [displaced(m, x * h, s.pair_cutoff) for m, x in zip(models, (1, 2), strict=True)]
    with ctx.progress.step("displaced pairs", sum(map(len, lists))):
        got = iter(ctx.evaluator.evaluate([a for many in lists for a in many], ("energy", "forces")))
        drift = max(solve(m, [next(got)["forces"] for _ in many]) for m, many in zip(models, lists, strict=True))
    result.settings.update(
        displacements_A=[h, 2 * h], supercell=list(counts), harmonic_supercell=list(harmonic),
        pair_cutoff_A=s.pair_cutoff, atoms=len(lists[0][0]), displaced_structures=[len(many) for many in lists],
    )  # fmt: skip
    report(ctx, result, models, conductivity)
    if drift > DRIFT_GATE:
        result.flag(Status.SUSPICIOUS, f"the force constants break the acoustic sum rule by {100 * drift:.1f} %")
    if s.pair_cutoff:
        result.notes.append(f"Pairs beyond {s.pair_cutoff:g} A are taken as not interacting in third order.")


def report(ctx: Context, result: PropertyResult, models: list, conductivity) -> None:
    """Fill the result from one or two phono3py objects (displacement h; 2h for the error bar)."""
    s, t0 = ctx.options, float(ctx.general.temperature)
    temperatures = sorted({*CURVE, t0} if t0 > 0 else set(CURVE))
    at = temperatures.index(t0 if t0 > 0 else 300.0)
    meshes = sorted(s.meshes)[-2:]
    with ctx.progress.step("phonon scattering, coarse mesh"):
        coarse = conductivity(models[0], meshes[0], temperatures)
        other = conductivity(models[1], meshes[0], temperatures) if len(models) > 1 else coarse
        direct = conductivity(models[0], meshes[0], [temperatures[at]], direct=True) if s.direct else None
    _imaginary(coarse)
    with ctx.progress.step("phonon scattering, fine mesh"):
        fine = conductivity(models[0], meshes[1], temperatures)
    _imaginary(fine)
    n1, n2 = (float(np.prod(m["mesh"])) ** (1 / 3) for m in (coarse, fine))
    if n2 <= n1:
        both = f"{coarse['mesh']} and {fine['mesh']}"
        raise PropertyFailure(f"the meshes {both} are no two sizes: set conductivity.meshes")
    tensor, reach = _clean(models[0], fine["kappa"][at], result), n1 / (n2 - n1)
    error = np.abs(fine["kappa"][at] - coarse["kappa"][at]) * reach
    error = error + np.abs(other["kappa"][at] - coarse["kappa"][at]) / 3
    mean, mean_error = float(np.trace(tensor)) / 3, float(np.trace(error)) / 3
    source = "two q-meshes extrapolated as 1/N" + (", two displacements" if len(models) > 1 else "")
    kelvin, mesh = f"{temperatures[at]:.0f} K", " x ".join(map(str, fine["mesh"]))
    result.add(
        "kappa", f"Lattice thermal conductivity, {kelvin}", mean, "W/m/K", error=mean_error, error_source=source,
        note=f"relaxation times, mesh {mesh}",
    )  # fmt: skip
    diagonal = np.diag(tensor)
    if np.ptp(diagonal) > 1e-3 * abs(mean):
        for k, name in enumerate(AXES):
            result.add(
                f"kappa_{name}", f"Lattice thermal conductivity {name}, {kelvin}", float(diagonal[k]), "W/m/K",
                error=float(error[k, k]), error_source=source,
            )  # fmt: skip
    lonely = max(coarse["unscattered"], fine["unscattered"], other["unscattered"])
    result.data["unscattered"] = [round(m["unscattered"], 8) for m in (coarse, fine)]
    if direct is not None and lonely:
        result.notes.append("No direct solution: some modes find no partners on the mesh.")
    elif direct is not None:
        _add_direct(direct, coarse, at, fine, mean_error, source, kelvin, result)
    result.settings.update(meshes=[coarse["mesh"], fine["mesh"]], isotopes=False)
    result.data["tensor"] = np.round(tensor, 6).tolist()
    result.data["curve"] = {
        "temperature": temperatures,
        "kappa": [float(f"{np.trace(k) / 3:.6g}") for k in fine["kappa"]],
        "coarse": [float(f"{np.trace(k) / 3:.6g}") for k in coarse["kappa"]],
    }  # fmt: skip
    order = np.argsort(fine["frequencies"].ravel())
    f, total = fine["frequencies"].ravel()[order], np.cumsum(fine["modes"][at].ravel()[order])
    grid = np.linspace(0.0, float(f[-1]), 61)
    inside = np.searchsorted(f, grid, side="right")
    result.data["cumulative"] = {
        "frequency": np.round(grid, 4).tolist(),
        "kappa": [0.0 if i == 0 else float(f"{total[i - 1]:.6g}") for i in inside],
    }  # fmt: skip
    if lonely:
        result.flag(
            Status.SUSPICIOUS,
            f"{100 * lonely:.2g} % of the modes of a mesh find no partners to scatter with and are left out: set "
            "conductivity.meshes larger",
        )
    if not 0 < mean < HIGHEST:
        result.flag(Status.SUSPICIOUS, f"a conductivity of {mean:.3g} W/m/K is that of no crystal")
    if mean_error > ERROR_GATE * abs(mean):
        result.flag(
            Status.SUSPICIOUS,
            f"not converged with the q-mesh: {coarse['mesh']} gives {np.trace(coarse['kappa'][at]) / 3:.4g}, "
            f"{fine['mesh']} gives {mean:.4g} W/m/K; set conductivity.meshes larger",
        )
    if len(ctx.elements if ctx.crystal is not None else []) > 1:
        result.notes.append("Without the macroscopic field of longitudinal modes (LO-TO splitting).")


def _add_direct(direct, coarse, at, fine, mean_error, source, kelvin, result) -> None:
    """Direct solution: on the coarse mesh, carried to the fine one by the ratio of the relaxation-time values."""
    trace = [float(np.trace(k)) / 3 for k in (direct["kappa"][0], coarse["kappa"][at], fine["kappa"][at])]
    ratio = trace[0] / trace[1]
    result.add(
        "kappa_direct", f"Lattice thermal conductivity, direct solution, {kelvin}", ratio * trace[2], "W/m/K",
        error=ratio * mean_error, error_source=source,
        note=f"ratio to relaxation times {ratio:.3f}, from mesh {' x '.join(map(str, direct['mesh']))}",
    )  # fmt: skip


def _imaginary(got: dict) -> None:
    f = got["frequencies"]
    low, high = float(f.min()), float(f.max())
    if low < -IMAGINARY * high:
        raise PropertyFailure(
            f"imaginary modes, lowest {low:.2f} THz: the crystal is no minimum of this model, and phonons that do not "
            "exist carry no heat",
            Status.UNSTABLE,
        )


def _clean(ph3, kappa: np.ndarray, result: PropertyResult) -> np.ndarray:
    """The tensor with the crystal's symmetry imposed; what it breaks is recorded and judged."""
    from ..phonon_tools import ase_cell

    clean = Symmetry(ase_cell(ph3.primitive)).tensor(kappa)
    violation = float(np.abs(kappa - clean).max() / max(np.abs(clean).max(), 1e-12))
    result.data["symmetry_violation"] = violation
    if violation > VIOLATION_GATE:
        percent = f"{100 * violation:.1f} %"
        result.flag(Status.SUSPICIOUS, f"the tensor breaks the crystal's symmetry by {percent} of its largest entry")
    return clean


def from_folder(folder, ctx: Context, result: PropertyResult) -> None:
    """The same report of forces that others calculated: a folder with phono3py_disp.yaml and FORCES_FC3. DataError."""
    from pathlib import Path

    from ..anharmonic import conductivity, read_phono3py

    ph3 = read_phono3py(Path(folder))
    result.settings.update(folder=Path(folder).name, atoms=len(ph3.supercell))
    report(ctx, result, [ph3], conductivity)


def plots(models):
    from ..plots import conductivity_figure

    got = [(label, r.data) for label, r, _ in models if "curve" in r.data and "cumulative" in r.data]
    if not got:
        return []
    caption = "Left: over temperature; shaded: the coarser mesh. Right: carried by phonons up to a frequency."
    return [("conductivity", "Lattice thermal conductivity", caption, conductivity_figure(got))]


PROPERTY = Property(
    "conductivity", "Lattice thermal conductivity", run, order=46, plots=plots, options=Options,
    requires=(("phono3py", "pip install calczoo[conductivity]"),),
    sources=("10.1103/PhysRevB.91.094306", "10.1103/PhysRevLett.110.265506"),
    outputs=(Output("kappa*", "W/m/K", "lattice thermal conductivity: mean, along the axes, by the direct solution"),),
    about="Heat that phonons carry in a perfect crystal, limited by their scattering of each other alone. In a metal "
    "electrons carry more, and they are not in it.",
)  # fmt: skip
