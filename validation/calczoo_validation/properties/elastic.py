"""Elastic tensor of any crystal from stresses at central strain differences, clamped and relaxed ions.

    C_ij = [sigma_i(+h e_j) - sigma_i(-h e_j)] / 2h   at h and 2h, then (4 C(h) - C(2h)) / 3

The numerical error of C is |C(h) - C(2h)| / 3 (the h^2 term that the last step removes), plus the violation of the
crystal's symmetry. Relaxed ions: each strained cell is relaxed until its forces have fallen to a thousandth of what the
strain caused. With a tolerance as loose as those forces themselves no step is taken and the clamped constant comes back
unnoticed; the status says so when the relaxation stops early.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import GPa

from ..options import option
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyResult, Status
from ..strain import strain_matrix, strained
from ..symmetry import Symmetry

NO_FORCE = 1e-7  # eV/A, below this the symmetry leaves the ions no freedom
VIOLATION_GATE = 0.01
ERROR_GATE = 0.02
BULK_GATE = 0.03
STRAIN_SOURCE = "two strain magnitudes, symmetry violation"


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
    stop = info["force_left"] / info["force_caused"] if info["force_caused"] > NO_FORCE else 0.0
    gap = np.abs(tensors["relaxed"]["C"] - tensors["clamped"]["C"])
    tensors["relaxed"]["error"] = tensors["relaxed"]["error"] + stop * gap
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
    names = independent(tensors["clamped"]["C"])
    result.data["independent"] = [f"C{i + 1}{j + 1}" for i, j in names]
    _add_constants(result, names, tensors)
    _add_moduli(result, tensors["relaxed"])
    _gates(ctx, result, names, tensors, info)


def _stresses(ctx: Context, magnitudes: tuple[float, float]):
    """Stresses (2, 6, 2, 6) in GPa [magnitude, strain, sign, component], clamped and relaxed, and what was left."""
    atoms, s = ctx.crystal.atoms, ctx.options
    cells = [
        strained(atoms, strain_matrix(j, sign * h)) for h in magnitudes for j in range(6) for sign in (1.0, -1.0)
    ]
    shape = (len(magnitudes), 6, 2, 6)
    with ctx.progress.step("strained cells", len(cells)):
        first = ctx.evaluator.evaluate(cells, ("energy", "forces", "stress"))
    clamped = np.array([r["stress"] for r in first]).reshape(shape) / GPa
    caused = max(float(np.linalg.norm(r["forces"], axis=1).max()) for r in first)
    info = {"force_caused": caused, "force_left": 0.0, "steps": 0, "unrelaxed": []}
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


def independent(c: np.ndarray, tolerance: float = 1e-6) -> list[tuple[int, int]]:
    """Entries (i, j) of the upper triangle that differ from zero and from all entries before them."""
    found: list[tuple[int, int]] = []
    scale = np.abs(c).max()
    order = [(i, i) for i in range(6)] + [(i, j) for i in range(6) for j in range(i + 1, 6)]
    for i, j in sorted(order, key=lambda p: (p[0] > 2, p)):
        value = c[i, j]
        if abs(value) > tolerance * scale and all(
            abs(abs(value) - abs(c[p])) > tolerance * scale for p in found
        ):
            found.append((i, j))
    return found


def voigt_reuss_hill(c: np.ndarray) -> dict[str, float]:
    """Polycrystal averages in GPa (Hill 1952, doi:10.1088/0370-1298/65/5/307)."""
    s = np.linalg.inv(c)
    bulk_v = (c[:3, :3].sum()) / 9
    bulk_r = 1 / s[:3, :3].sum()
    diag, off = np.trace(c[:3, :3]), c[0, 1] + c[0, 2] + c[1, 2]
    shear_v = (diag - off) / 15 + np.trace(c[3:, 3:]) / 5
    sdiag, soff = np.trace(s[:3, :3]), s[0, 1] + s[0, 2] + s[1, 2]
    shear_r = 15 / (4 * (sdiag - soff) + 3 * np.trace(s[3:, 3:]))
    bulk, shear = (bulk_v + bulk_r) / 2, (shear_v + shear_r) / 2
    return {
        "B": bulk, "G": shear, "E": 9 * bulk * shear / (3 * bulk + shear),
        "nu": (3 * bulk - 2 * shear) / (2 * (3 * bulk + shear)),
        "A_U": 5 * shear_v / shear_r + bulk_v / bulk_r - 6,
    }  # fmt: skip


def lowest_eigenvalue(c: np.ndarray) -> float:
    """Smallest eigenvalue of the stiffness in the orthonormal (Mandel) basis, GPa; the Born criterion is > 0."""
    weight = np.diag([1, 1, 1, 2**0.5, 2**0.5, 2**0.5])
    return float(np.linalg.eigvalsh(weight @ c @ weight).min())


def _add_constants(result: PropertyResult, names, tensors) -> None:
    for i, j in names:
        for kind in ("relaxed", "clamped"):
            c, error = tensors[kind]["C"][i, j], tensors[kind]["error"][i, j]
            tag = f"C{i + 1}{j + 1}"
            name = tag if kind == "relaxed" else f"{tag}_clamped"
            value = result.add(name, f"{tag}, {kind} ions", c, "GPa", error=error, error_source=STRAIN_SOURCE)
            if error > max(ERROR_GATE * abs(c), 1.0):
                value.flag(Status.SUSPICIOUS, "the two strain magnitudes disagree: forces are noisy or not smooth")


def _add_moduli(result: PropertyResult, tensor: dict) -> None:
    rich, one = voigt_reuss_hill(tensor["C"]), voigt_reuss_hill(tensor["C_one_step"])
    labels = {
        "B": ("Bulk modulus (Hill)", "GPa"), "G": ("Shear modulus (Hill)", "GPa"),
        "E": ("Young's modulus (Hill)", "GPa"), "nu": ("Poisson's ratio (Hill)", ""),
        "A_U": ("Universal anisotropy", ""),
    }  # fmt: skip
    for key, (label, unit) in labels.items():
        result.add(key, label, rich[key], unit, error=abs(rich[key] - one[key]), error_source="two strain magnitudes")
    low, low_one = lowest_eigenvalue(tensor["C"]), lowest_eigenvalue(tensor["C_one_step"])
    result.add(
        "born", "Lowest stiffness eigenvalue", low, "GPa", error=abs(low - low_one),
        error_source="two strain magnitudes", note="positive: elastically stable (Born)",
    )  # fmt: skip
    result.add("violation", "Symmetry violation", 100 * tensor["violation"], "%", note="before symmetrisation")


def _gates(ctx: Context, result: PropertyResult, names, tensors, info) -> None:
    relaxed_names = [f"C{i + 1}{j + 1}" for i, j in names] + ["B", "G", "E", "nu", "A_U", "born"]
    if info["unrelaxed"]:
        result.flag(
            Status.UNCONVERGED,
            f"ions in strained cells did not relax ({info['unrelaxed'][0]}): the relaxed constants lie between the "
            "clamped ones and the true ones",
            relaxed_names,
        )
    if tensors["relaxed"]["violation"] > VIOLATION_GATE:
        result.flag(
            Status.SUSPICIOUS,
            f"the tensor breaks the crystal's symmetry by {100 * tensors['relaxed']['violation']:.1f} % of its largest "
            "entry",
            relaxed_names,
        )
    low = lowest_eigenvalue(tensors["relaxed"]["C"])
    if low <= 0:
        result.flag(
            Status.UNSTABLE,
            f"elastically unstable: the stiffness has the negative eigenvalue {low:.2f} GPa (Born criterion); the "
            "structure lowers its energy by deforming",
            relaxed_names,
        )
    eos = ctx.results.get("eos")
    cubic = len(names) == 3
    if eos is not None and "B0" in eos and eos["B0"].value and cubic:
        ratio = result["B"].value / eos["B0"].value - 1
        if abs(ratio) > BULK_GATE:
            text = f"bulk modulus differs by {100 * ratio:.1f} % from that of the equation of state"
            result.flag(Status.SUSPICIOUS, text, ("B",))


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
        if len(models) > 1 and result.data.get("force_caused", 0.0) <= NO_FORCE:
            continue  # the same numbers again
        clamped = [get(f"{n}_clamped") for n in names]
        series.append((f"{tag}clamped ions", clamped, [err(f"{n}_clamped") for n in names]))
        references = refs or references
    marks: dict[str, list] = {}
    for k, name in enumerate(names):
        for ref in references.get(name, []):
            marks.setdefault(ref["kind"], [None] * len(names))[k] = ref["value"]
    fig = bars(names, series, marks, "GPa")
    caption = "Bars: the model, with ions relaxed in the strained cell and clamped. Marks: reference values."
    return [("elastic", "Elastic constants", caption, fig)]


PROPERTY = Property(
    "elastic", "Elastic tensor", run, order=30, plots=plots, options=Options,
    sources=("10.1088/0370-1298/65/5/307",),
    outputs=(
        Output("C[1-6][1-6]*", "GPa", "elastic constants, relaxed and clamped"),
        Output("[BGE]*", "GPa", "bulk, shear and Young's modulus"),
        Output("nu*", "", "Poisson's ratio"),
        Output("*", "", "anisotropy and other ratios"),
    ),
    about="Stiffness against small strains. Relaxed ions is what experiments measure; clamped ions, where atoms only "
    "follow the cell, is reported beside it because the two are often confused.",
)  # fmt: skip
