"""Elastic tensor of any crystal from stresses at central strain differences, clamped and relaxed ions.

    C_ij = [sigma_i(+h e_j) - sigma_i(-h e_j)] / 2h   at h and 2h, then (4 C(h) - C(2h)) / 3

The numerical error of C is |C(h) - C(2h)| / 3 (the h^2 term that the last step removes), plus the violation of the
crystal's symmetry. Relaxed ions: each strained cell is relaxed until its forces have fallen to a thousandth of what the
strain caused. With a tolerance as loose as those forces themselves no step is taken and the clamped constant comes back
unnoticed. So the share of the forces that is left, s, counts: the relaxed constant still holds about s/(1 - s) of what
the relaxation has gained so far, which goes into the error bar; where s is not small the gain itself is unknown, and
the constants are flagged. The energies of the clamped cells must have the same second derivatives, C_jj V h^2 =
E(h e_j) + E(-h e_j) - 2 E(0): a stress that is not the derivative of the energy gives other constants, however smooth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import GPa

from ..options import option
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyFailure, PropertyResult, Status
from ..strain import strain_matrix, strained
from ..symmetry import Symmetry
from ._directions import cuts, extremes, values_along, words
from ._elastic_fit import FIT_SOURCE, SYMPREC, constants, strain_series
from ._tensors import independent, lowest_eigenvalue, voigt_reuss_hill

NO_FORCE = 1e-7  # eV/A, below this the symmetry leaves the ions no freedom
VIOLATION_GATE = 0.01
ERROR_GATE = 0.02
BULK_GATE = 0.03
RICHARDSON = 5 / 3  # by which (4 C(h) - C(2h)) / 3 can enlarge errors of the two that have nothing in common
ENERGY_GATE = 0.03  # of the largest constant
SOFT = 0.01  # GPa, below it there is no stiffness to speak of
STOP_GATE = 0.05  # share of the forces left above which relaxed constants are not trusted
STRAIN_SOURCE = "two strain magnitudes, symmetry violation, forces left"
SPREAD_SOURCE = "two strain magnitudes, forces left"


@dataclass(frozen=True)
class Options:
    strain: float = option(1e-3, "strain magnitude; twice this is used as well", low=1e-6, high=0.05)
    relative_force: float = option(
        1e-3, "forces left in a strained cell, relative to those that the strain causes", low=1e-6, high=10.0
    )


def run(ctx: Context, result: PropertyResult) -> None:
    h = ctx.options.strain
    clamped, relaxed, info = _stresses(ctx, (h, 2 * h))
    symmetry = Symmetry(ctx.crystal.atoms)
    tensors = {"clamped": _tensor(clamped, h, symmetry), "relaxed": _tensor(relaxed, h, symmetry)}
    info["share_left"] = info["force_left"] / info["force_caused"] if info["force_caused"] > NO_FORCE else 0.0
    _late(tensors, info["share_left"])
    result.settings.update(
        strains=[h, 2 * h], relaxation=f"forces below {ctx.options.relative_force:g} of those the strain causes",
        max_force_left_eV_A=info["force_left"], max_force_caused_eV_A=info["force_caused"],
    )  # fmt: skip
    for kind in ("relaxed", "clamped"):
        result.data[kind] = {
            "C_GPa": tensors[kind]["C"].tolist(), "error_GPa": tensors[kind]["error"].tolist(),
            "raw_GPa": tensors[kind]["raw"].tolist(), "violation": tensors[kind]["violation"],
        }  # fmt: skip
    result.data.update(space_group=f"{symmetry.symbol} ({symmetry.number})", **info)
    names = independent(symmetry)
    result.data["independent"] = [f"C{i + 1}{j + 1}" for i, j in names]
    _add_constants(result, names, tensors)
    _add_moduli(result, tensors["relaxed"])
    violation = 100 * tensors["relaxed"]["violation"]
    result.add("violation", "Symmetry violation", violation, "%", note="before symmetrisation")
    _add_directions(result, tensors["relaxed"])
    _gates(ctx, result, names, tensors, info)


def _stresses(ctx: Context, magnitudes: tuple[float, float]):
    """Stresses (2, 6, 2, 6) in GPa [magnitude, strain, sign, component], clamped and relaxed, and what was left."""
    atoms, s = ctx.crystal.atoms, ctx.options
    cells = [strained(atoms, strain_matrix(j, sign * h)) for h in magnitudes for j in range(6) for sign in (1.0, -1.0)]
    shape = (len(magnitudes), 6, 2, 6)
    with ctx.progress.step("strained cells", len(cells)):
        *first, zero = ctx.evaluator.evaluate([*cells, atoms], ("energy", "forces", "stress"))
    clamped = np.array([r["stress"] for r in first]).reshape(shape) / GPa
    caused = max(float(np.linalg.norm(r["forces"], axis=1).max()) for r in first)
    info = {"force_caused": caused, "force_left": 0.0, "steps": 0, "unrelaxed": []}
    even = np.array([r["energy"] for r in first]).reshape(shape[:3]).sum(axis=2) - 2 * zero["energy"]
    curvature = even / np.square(magnitudes)[:, None] / atoms.get_volume() / GPa
    noise = float(np.ptp(curvature, axis=0).max())
    info["energy_diagonal_GPa"], info["energy_noise_GPa"] = curvature[1].tolist(), noise
    if caused <= NO_FORCE:
        return clamped, clamped.copy(), info
    with ctx.progress.step("relaxing ions in strained cells", len(cells)):
        done = relax(
            ctx.evaluator, cells, fmax=ctx.general.crystal_fmax, relative=s.relative_force, floor=NO_FORCE,
            max_steps=ctx.general.max_steps, on_step=ctx.progress.update,
        )  # fmt: skip
        last = ctx.evaluator.evaluate([d.atoms for d in done], ("energy", "stress"))
    info["steps"] = max(d.steps for d in done)
    # Cells whose strain causes next to no force say nothing about the relaxation.
    info["force_left"] = max((d.fmax for d in done if d.fmax_start > 0.01 * caused), default=0.0)
    info["unrelaxed"] = sorted({d.reason for d in done if not d.converged})
    return clamped, np.array([r["stress"] for r in last]).reshape(shape) / GPa, info


def _tensor(stress: np.ndarray, h: float, symmetry: Symmetry) -> dict:
    """Richardson-extrapolated, symmetrised tensor in GPa with its error and symmetry violation."""
    steps = np.array([h, 2 * h])[:, None, None]
    by_step = (stress[:, :, 0, :] - stress[:, :, 1, :]).transpose(0, 2, 1) / (2 * steps)
    raw = (4 * by_step[0] - by_step[1]) / 3
    clean = symmetry.elastic(raw)
    largest = np.abs(clean).max()
    error = np.abs(symmetry.elastic(by_step[0]) - clean)
    # Symmetrising averages the violation; the largest one of an entry stays in its error bar.
    error = error + np.abs(raw - clean).max() / 6
    return {
        "C": clean, "C_one_step": symmetry.elastic(by_step[0]), "raw": raw, "error": error,
        "violation": float(np.abs(raw - clean).max() / largest) if largest > 0 else 0.0,
    }  # fmt: skip


def _late(tensors: dict[str, dict], share: float) -> None:
    """Error of the relaxed constants from forces left: what a further relaxation would still gain if it went on so."""
    relaxed = tensors["relaxed"]
    gain = relaxed["C"] - tensors["clamped"]["C"]
    rest = gain * (RICHARDSON * share / (1 - share) if share < 0.5 else 1.0)
    relaxed["error"] = relaxed["error"] + np.abs(rest)
    relaxed["variants"] = [relaxed["C_one_step"], relaxed["C"] + rest]


def _add_constants(result: PropertyResult, names, tensors) -> None:
    for i, j in names:
        for kind in ("relaxed", "clamped"):
            c, error = tensors[kind]["C"][i, j], tensors[kind]["error"][i, j]
            tag = f"C{i + 1}{j + 1}"
            name = tag if kind == "relaxed" else f"{tag}_clamped"
            value = result.add(name, f"{tag}, {kind} ions", c, "GPa", error=error, error_source=STRAIN_SOURCE)
            if error > max(ERROR_GATE * abs(c), 1.0):
                value.flag(Status.SUSPICIOUS, "the two strain magnitudes disagree: forces are noisy or not smooth")


def _spread(function, tensor: dict) -> float:
    """How much a number made of the constants changes with each of the tensors that could be the true one as well."""
    best = function(tensor["C"])
    return float(np.sqrt(sum((function(c) - best) ** 2 for c in tensor["variants"])))


def _add_moduli(result: PropertyResult, tensor: dict) -> None:
    if abs(lowest_eigenvalue(tensor["C"])) < SOFT:
        result.notes.append("No averages: the crystal has no stiffness against some strain.")
    else:
        _add_averages(result, tensor)
    result.add(
        "born", "Lowest stiffness eigenvalue", lowest_eigenvalue(tensor["C"]), "GPa",
        error=_spread(lowest_eigenvalue, tensor), error_source=SPREAD_SOURCE,
        note="positive: elastically stable (Born)",
    )  # fmt: skip


def _add_averages(result: PropertyResult, tensor: dict) -> None:
    labels = {
        "B": ("Bulk modulus (Hill)", "GPa"), "G": ("Shear modulus (Hill)", "GPa"),
        "E": ("Young's modulus (Hill)", "GPa"), "nu": ("Poisson's ratio (Hill)", ""),
        "A_U": ("Universal anisotropy", ""), "B_voigt": ("Bulk modulus (Voigt)", "GPa"),
        "B_reuss": ("Bulk modulus (Reuss)", "GPa"), "G_voigt": ("Shear modulus (Voigt)", "GPa"),
        "G_reuss": ("Shear modulus (Reuss)", "GPa"),
    }  # fmt: skip
    values = voigt_reuss_hill(tensor["C"])
    for key, (label, unit) in labels.items():
        error = _spread(lambda c, k=key: voigt_reuss_hill(c)[k], tensor)
        result.add(key, label, values[key], unit, error=error, error_source=SPREAD_SOURCE)


def _add_directions(result: PropertyResult, tensor: dict) -> None:
    """Extremes over all directions; none for a crystal that is not stable, whose compliance means nothing."""
    if lowest_eigenvalue(tensor["C"]) < SOFT:
        result.notes.append("No extremes over directions: the stiffness is not positive.")
        return
    found = extremes(tensor["C"])
    along = {key: direction for key, (_, direction) in found.items()}
    here = values_along(tensor["C"], along)
    others = [values_along(c, along) for c in tensor["variants"] if lowest_eigenvalue(c) > 0]
    labels = {
        "E": ("Young's modulus", "GPa", 1.0), "G": ("shear modulus", "GPa", 1.0), "nu": ("Poisson's ratio", "", 1.0),
        "beta": ("linear compressibility", "1/TPa", 1e3),
    }  # fmt: skip
    for key, (value, direction) in found.items():
        what, unit, factor = labels[key.split("_")[0]]
        size = "Smallest" if key.endswith("min") else "Largest"
        error = factor * float(np.sqrt(sum((o[key] - here[key]) ** 2 for o in others)))
        result.add(
            key, f"{size} {what}", factor * value, unit, error=error, error_source=SPREAD_SOURCE,
            note=f"along {words(direction)}" if key[0] in "En" or key.startswith("beta") else f"on {words(direction)}",
        )  # fmt: skip
    result.data["directions"] = along
    result.data["young_cuts_GPa"] = cuts(tensor["C"])


def _gates(ctx: Context, result: PropertyResult, names, tensors, info) -> None:
    relaxed_names = [v.name for v in result.values if not v.name.endswith("_clamped") and v.name != "violation"]
    if info["share_left"] > STOP_GATE:
        result.flag(
            Status.SUSPICIOUS,
            f"{100 * info['share_left']:.0f} % of the forces that the strain causes are left: the relaxation was too "
            "loose to tell relaxed constants from clamped ones; lower elastic.relative_force",
            relaxed_names,
        )
        for value in result.values:  # the gain of the relaxation is what the error bar would be made of
            if value.name in relaxed_names:
                value.error, value.error_source = None, "no estimate: forces are left"
    if info["unrelaxed"]:
        result.flag(
            Status.UNCONVERGED,
            f"ions in strained cells did not relax ({info['unrelaxed'][0]}): the relaxed constants lie between the "
            "clamped ones and the true ones",
            relaxed_names,
        )
    clamped_names = [v.name for v in result.values if v.name.endswith("_clamped")]
    for kind, wanted in (("relaxed", relaxed_names), ("clamped", clamped_names)):
        violation = tensors[kind]["violation"]
        if violation > VIOLATION_GATE and np.abs(tensors[kind]["C"]).max() > SOFT:
            text = f"the tensor breaks the crystal's symmetry by {100 * violation:.1f} % of its largest entry"
            result.flag(Status.SUSPICIOUS, text, wanted)
    _energy_gate(result, tensors["clamped"]["C"], info, [*relaxed_names, *clamped_names])
    low = lowest_eigenvalue(tensors["relaxed"]["C"])
    if abs(low) < SOFT:
        result.flag(
            Status.UNSTABLE,
            f"no stiffness against some strain (eigenvalue {low:.1e} GPa): layers or molecules that do not touch, or "
            "empty space in the cell",
            relaxed_names,
        )
    elif low < 0:
        result.flag(
            Status.UNSTABLE,
            f"elastically unstable: the stiffness has the negative eigenvalue {low:.2f} GPa (Born criterion); the "
            "structure lowers its energy by deforming",
            relaxed_names,
        )
    eos = ctx.results.get("eos")
    cubic = len(names) == 3
    if eos is not None and "B0" in eos and eos["B0"].value and cubic and "B" in result:
        ratio = result["B"].value / eos["B0"].value - 1
        if abs(ratio) > BULK_GATE:
            text = f"bulk modulus differs by {100 * ratio:.1f} % from that of the equation of state"
            result.flag(Status.SUSPICIOUS, text, ("B",))


def _energy_gate(result: PropertyResult, clamped: np.ndarray, info: dict, names: list[str]) -> None:
    """Flag all constants where the energies of the strained cells have other second derivatives."""
    gap, largest = float(np.abs(np.array(info["energy_diagonal_GPa"]) - np.diag(clamped)).max()), np.abs(clamped).max()
    # The energies of the smaller strain have four times the noise of those compared here.
    if gap > ENERGY_GATE * largest + info["energy_noise_GPa"] / 2 + SOFT:
        result.flag(
            Status.SUSPICIOUS,
            f"energy and stress give second derivatives that differ by {gap:.3g} GPa, the largest constant being "
            f"{largest:.3g} GPa: the stress is not the derivative of the energy",
            names,
        )


def from_frames(frames: list, ctx: Context, result: PropertyResult) -> None:
    """The same constants by least squares from reference frames that are small strains of one cell."""
    reference, series = strain_series(frames, ctx.crystal)
    symmetry = Symmetry(reference.atoms, SYMPREC)
    kinds = {kind: sum(s.kind == kind for s in series) for kind in ("relaxed", "clamped", "either")}
    wanted = [k for k in ("relaxed", "clamped") if kinds[k]] or ["relaxed"]
    fits, problems = {}, []
    for kind in wanted:
        try:
            fits[kind] = constants([s for s in series if s.kind in (kind, "either")], symmetry)
        except PropertyFailure as failure:
            problems.append(f"{kind} ions: {failure}")
    if not fits:
        raise PropertyFailure("; ".join(problems), Status.UNSUPPORTED)
    first = next(iter(fits.values()))
    names = independent(symmetry)
    for kind, fit in fits.items():
        result.data[kind] = {"C_GPa": fit["C"].tolist(), "error_GPa": fit["error"].tolist()}
        for i, j in names:
            tag = f"C{i + 1}{j + 1}"
            name = tag if kind == "relaxed" else f"{tag}_clamped"
            error = fit["error"][i, j]
            value = result.add(
                name, f"{tag}, {kind} ions", fit["C"][i, j], "GPa", error=error, error_source=FIT_SOURCE,
                note=f"{fit['frames']} frames, strains up to {100 * fit['limit']:.0f} %",
            )  # fmt: skip
            if error > max(10 * ERROR_GATE * abs(fit["C"][i, j]), 5.0):
                value.flag(Status.SUSPICIOUS, "the reference frames do not follow one elastic tensor closely")
    result.data.update(space_group=f"{symmetry.symbol} ({symmetry.number})", frames=kinds)
    result.data["independent"] = [f"C{i + 1}{j + 1}" for i, j in names]
    result.settings.update(method="least squares over reference frames", unstrained_stress_GPa=first["stress0"])
    if "relaxed" in fits:
        fit = fits["relaxed"]
        tensor = {"C": fit["C"], "variants": fit["variants"]}
        _add_moduli(result, tensor)
        _add_directions(result, tensor)
    if symmetry.number < 195:
        result.notes.append("The constants are in the axes of the unstrained reference frame.")
    if not kinds["relaxed"]:
        text = "no ion moves against the cell in any strained frame"
        text += ": the frames with forces are clamped" if kinds["clamped"] else ", and none is pulled by a force"
        result.notes.append(f"{text}; relaxed and clamped constants are the same only where the symmetry says so.")
    result.notes.extend(problems)


def plots(models):
    from ..plots import bars

    first = next((r for _, r, _ in models if r.data.get("independent")), None)
    if first is None:
        return []
    names = [n for n in first.data["independent"]][:9]
    names += ["B", "G"]
    series, references = [], {}
    for label, result, refs in models:
        tag = f"{label}, " if len(models) > 1 else ""
        get = lambda n, r=result: r[n].value if n in r else None  # noqa: E731
        err = lambda n, r=result: r[n].error if n in r else None  # noqa: E731
        series.append((f"{tag}relaxed ions", [get(n) for n in names], [err(n) for n in names]))
        references = refs or references
        if len(models) > 1 and result.data.get("force_caused", 0.0) <= NO_FORCE:
            continue  # the same numbers again
        clamped = [get(f"{n}_clamped") for n in names]
        series.append((f"{tag}clamped ions", clamped, [err(f"{n}_clamped") for n in names]))
    marks: dict[str, list] = {}
    for k, name in enumerate(names):
        for ref in reversed(references.get(name, [])):  # of several of one kind the first counts
            marks.setdefault(ref["kind"], [None] * len(names))[k] = ref["value"]
    fig = bars(names, series, marks, "GPa")
    caption = "Bars: the model, with ions relaxed in the strained cell and clamped. Marks: reference values."
    out = [("elastic", "Elastic constants", caption, fig)]
    if any(r.data.get("young_cuts_GPa") for _, r, _ in models):
        caption = "Young's modulus (GPa) against the direction of the pull, in three planes of the Cartesian axes."
        out.append(("young", "Young's modulus by direction", caption, _young_figure(models)))
    return out


def _young_figure(models):
    from ..plots import COLOURS, figure

    fig, axes = figure(7.0, 2.9, 3, subplot_kw={"projection": "polar"})
    for k, (label, result, _) in enumerate(models):
        for ax, (plane, values) in zip(axes, result.data.get("young_cuts_GPa", {}).items(), strict=False):
            angle = np.linspace(0, 2 * np.pi, len(values))
            ax.plot(angle, values, color=COLOURS[k % len(COLOURS)], lw=1.3, label=label)
            ax.set_title(plane, fontsize=9)
    for ax in axes:
        ax.set_rmin(0)
        ax.set_rticks(np.round(np.linspace(0, ax.get_rmax(), 5)[1:], -1))
        ax.tick_params(labelsize=6.5)
        ax.set_xticks(np.deg2rad([0, 90, 180, 270]))
        ax.set_rlabel_position(45)
        ax.grid(color="#cbd5e0", lw=0.5)
    if len(models) > 1:
        handles, names = axes[0].get_legend_handles_labels()
        fig.legend(handles, names, frameon=False, loc="outside lower center", ncols=4, fontsize=8)
    return fig


PROPERTY = Property(
    "elastic", "Elastic tensor", run, from_frames=from_frames, order=30, plots=plots, options=Options,
    sources=("10.1088/0370-1298/65/5/307", "10.1103/PhysRevLett.101.055504"), version=3,
    outputs=(
        Output("C[1-6][1-6]", "GPa", "elastic constants with relaxed ions"),
        Output("C[1-6][1-6]_clamped", "GPa", "elastic constants with clamped ions"),
        Output("[BGE]", "GPa", "bulk, shear and Young's modulus of a polycrystal (Hill)"),
        Output("[BG]_voigt", "GPa", "upper bound of the polycrystal's modulus"),
        Output("[BG]_reuss", "GPa", "lower bound of the polycrystal's modulus"),
        Output("nu", "", "Poisson's ratio of a polycrystal (Hill)"),
        Output("A_U", "", "universal anisotropy, zero for an isotropic crystal"),
        Output("born", "GPa", "lowest eigenvalue of the stiffness, positive in a stable crystal"),
        Output("violation", "%", "how far the tensor breaks the crystal's symmetry before it is projected on it"),
        Output("[EG]_m??", "GPa", "smallest and largest Young's and shear modulus over all directions"),
        Output("nu_m??", "", "smallest and largest Poisson's ratio over all directions"),
        Output("beta_m??", "1/TPa", "smallest and largest linear compressibility"),
    ),
    about="Stiffness against small strains. Relaxed ions is what experiments measure; clamped ions, where atoms only "
    "follow the cell, is reported beside it because the two are often confused.",
)  # fmt: skip
