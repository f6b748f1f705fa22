"""Errors of energy, force and stress on structures with reference results.

Codes and potentials put the zero of energy of an element where they like, so the error per atom of structure k,
e_k = (E_k - E_k^ref)/n_k, is reported twice: raw, and after subtracting sum_s x_ks c_s with the least-squares offset
c_s of each element s (x_ks its share of the atoms). Forces and stresses have no such freedom. Error bars: bootstrap
over structures, because the atoms of one structure are not independent. Structures that the calculator cannot do are
counted and flag every number; they are never left out in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa

from ..datasets import load_dataset
from ..frame_errors import Frame, histogram, mean_offset, measures, offsets_of, reference_of, sums_of
from ..lint import lint_frames
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status
from ..statistics import FEWEST, bootstrap_sums
from ..store import slug

__all__ = ["PROPERTY", "load_dataset"]

SOURCE = "bootstrap over structures, one standard error"
MOST_GROUPS = 12
MOST_KEPT = 4000  # structures whose errors are kept one by one, for plots and paired comparisons


@dataclass(frozen=True)
class Options:
    stress: bool = option(True, "compare stresses too, where structures are periodic and have a reference stress")
    worst: int = option(5, "structures with the largest errors to be listed", low=0, high=100)


def run(ctx: Context, result: PropertyResult) -> None:
    frames = ctx.frames
    if not frames:
        raise PropertyFailure("no data set was given (dataset=..., --dataset)", Status.UNSUPPORTED)
    references = [reference_of(a) for a in frames]
    done, failures = _evaluate(ctx, frames, references)
    result.settings.update(dataset=ctx.dataset, structures=len(frames), atoms=sum(len(a) for a in frames))
    if not done:
        unsupported = all(type(e.__cause__ or e).__name__ == "UnsupportedElement" for _, e in failures)
        status = Status.UNSUPPORTED if unsupported else Status.FAILED
        raise PropertyFailure(f"none of the {len(frames)} structures could be done: {failures[0][1]}", status)
    result.add("structures", "Structures done", len(done), "", note=f"of {len(frames)}")
    _energies(done, result)
    _forces(done, result)
    _stresses(done, result)
    _by_group(done, result)
    _keep(done, result)
    _worst(done, result, ctx.options.worst)
    for finding in lint_frames(frames, ctx.dataset or "data set"):
        if finding.severity != "note":
            result.notes.append(f"The data set: {finding.text}.")
    lacking = [k for k in ("energy", "forces") if not any(k in r for r in references)]
    if lacking:
        result.notes.append(f"The data set has no {' and no '.join(lacking)}.")
    if failures:
        _flag_failures(failures, len(frames), result)


def _evaluate(ctx: Context, frames: Sequence[Atoms], references) -> tuple[list[Frame], list[tuple[int, Exception]]]:
    """All structures in two batches (with stress, without)."""
    tensor = [k for k, (a, r) in enumerate(zip(frames, references, strict=True))
              if ctx.options.stress and "stress" in r and a.pbc.all()]  # fmt: skip
    rest = sorted(set(range(len(frames))) - set(tensor))
    done, failures = [], []
    with ctx.progress.step("structures of the data set", len(frames)):
        for members, wanted in ((tensor, ("energy", "forces", "stress")), (rest, ("energy", "forces"))):
            bare = [_bare(frames[k]) for k in members]
            got = ctx.evaluator.evaluate(bare, wanted, errors="return") if bare else []
            for k, r in zip(members, got, strict=True):
                if isinstance(r, dict):
                    done.append(_pair(k, frames[k], references[k], r))
                else:
                    failures.append((k, r))
    return sorted(done, key=lambda f: f.index), sorted(failures, key=lambda f: f[0])


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _pair(k: int, atoms: Atoms, ref: dict[str, Any], got: dict[str, Any]) -> Frame:
    frame = Frame(k, atoms)
    if "energy" in ref:
        frame.energy = ref["energy"], got["energy"]
    if "forces" in ref:
        frame.forces = ref["forces"], got["forces"]
    if "stress" in ref and "stress" in got:
        frame.stress = ref["stress"], got["stress"] / GPa
    return frame


# -- numbers -------------------------------------------------------------------------------------------------------


def _add(
    result: PropertyResult, kind: str, what: str, unit: str, columns: np.ndarray, largest: float, note: str
) -> None:
    got = measures(columns)
    few = "" if len(columns) >= FEWEST else "fewer than 5 structures: no error bar"
    for key, label in (("mae", "mean absolute error"), ("rmse", "root mean square error")):
        value, error = got[key]
        result.add(f"{kind}_{key}", f"{what}, {label}", value, unit, error=error, error_source=few or SOURCE, note=note)
    result.add(f"{kind}_max", f"{what}, largest error", largest, unit, note=note)
    r2, error = got["r2"]
    if np.isfinite(r2):
        result.add(f"{kind}_r2", f"{what}, R²", r2, "", error=error, error_source=few or SOURCE, note=note)


def _note(count: int, done: Sequence[Frame]) -> str:
    return "" if count == len(done) else f"{count} of {len(done)} structures have a reference"


def _energies(done: Sequence[Frame], result: PropertyResult) -> None:
    frames = [f for f in done if f.energy is not None]
    if not frames:
        return
    offsets, zero = offsets_of(frames)
    note = _note(len(frames), done)
    ref = np.array([f.energy[0] / len(f.atoms) - mean_offset(f.atoms, zero) for f in frames])
    raw = np.array([(f.energy[1] - f.energy[0]) / len(f.atoms) for f in frames])
    clean = raw - np.array([mean_offset(f.atoms, offsets) for f in frames])
    pairs = [(1e3 * np.array([x]), 1e3 * np.array([x + e])) for x, e in zip(ref, clean, strict=True)]
    _add(result, "energy", "Energy", "meV/atom", sums_of(pairs), 1e3 * np.abs(clean).max(), note)
    got = measures(sums_of([(np.zeros(1), 1e3 * np.array([e])) for e in raw]))
    for key, label in (("mae", "mean absolute error"), ("rmse", "root mean square error")):
        value, error = got[key]
        result.add(
            f"energy_raw_{key}", f"Energy, {label}, without element offsets", value, "meV/atom", error=error,
            error_source=SOURCE if error is not None else "", note=note,
        )  # fmt: skip
    result.data["offsets_eV_atom"] = {s: round(c, 8) for s, c in offsets.items()}
    result.data["energy"] = {"frames": frames, "ref": ref, "error": clean}  # replaced by plain data in _keep
    if len(frames) <= len(offsets):
        text = f"{len(frames)} structures do not determine the offsets of {len(offsets)} elements"
        result.flag(Status.SUSPICIOUS, text, [v.name for v in result.values if v.name.startswith("energy_")])


def _forces(done: Sequence[Frame], result: PropertyResult) -> None:
    frames = [f for f in done if f.forces is not None and len(f.atoms)]
    if not frames:
        return
    note = _note(len(frames), done)
    largest = max(float(np.abs(f.forces[1] - f.forces[0]).max()) for f in frames)
    columns = sums_of([f.forces for f in frames])
    _add(result, "force", "Force component", "eV/A", columns, largest, note)
    dots = np.array([[np.sum(a * b), np.sum(a * a), np.sum(b * b)] for a, b in (f.forces for f in frames)])
    total = dots.sum(axis=0)
    if total[1] > 0 and total[2] > 0:
        error = None
        if len(dots) >= FEWEST:
            s = bootstrap_sums(dots)
            error = float(np.std(s[:, 0] / np.sqrt(s[:, 1] * s[:, 2])))
        cosine = total[0] / np.sqrt(total[1] * total[2])
        result.add("force_cosine", "Forces, cosine of the angle", cosine, "", error=error,
                   error_source=SOURCE if error is not None else "",
                   note="all forces as one vector; 1: all directions and ratios right")  # fmt: skip
    species = sorted({s for f in frames for s in f.atoms.get_chemical_symbols()})
    if len(species) > 1:
        for s in species:
            masks = [np.array(f.atoms.get_chemical_symbols()) == s for f in frames]
            own = [(f.forces[0][m], f.forces[1][m]) for f, m in zip(frames, masks, strict=True) if m.any()]
            _one(result, f"force_mae_element_{s}", f"Force component on {s}, mean absolute error", "eV/A", own)


def _one(result: PropertyResult, name: str, label: str, unit: str, pairs) -> None:
    value, error = measures(sums_of(pairs))["mae"]
    n = len(pairs)
    result.add(name, label, value, unit, error=error, error_source=SOURCE if error is not None else "",
               note=f"{n} structure{'' if n == 1 else 's'}")  # fmt: skip


def _energy_errors(result: PropertyResult) -> dict[int, tuple[float, float]]:
    """Reference energy and error (eV/atom, offsets removed) by index of the structure, while `run` is at work."""
    e = result.data.get("energy", {"frames": [], "ref": [], "error": []})
    return {f.index: (float(x), float(d)) for f, x, d in zip(e["frames"], e["ref"], e["error"], strict=True)}


def _stresses(done: Sequence[Frame], result: PropertyResult) -> None:
    frames = [f for f in done if f.stress is not None]
    if frames:
        largest = max(float(np.abs(f.stress[1] - f.stress[0]).max()) for f in frames)
        columns = sums_of([f.stress for f in frames])
        _add(result, "stress", "Stress component", "GPa", columns, largest, _note(len(frames), done))


def _by_group(done: Sequence[Frame], result: PropertyResult) -> None:
    names = sorted({f.group for f in done if f.group})
    if not 2 <= len(names) + any(not f.group for f in done) or not names:
        return
    if len(names) > MOST_GROUPS:
        result.notes.append(f"{len(names)} groups of structures: more than {MOST_GROUPS}, not reported one by one.")
        return
    energies = {index: e for index, (_, e) in _energy_errors(result).items()}
    for name in names:
        members = [f for f in done if f.group == name]
        errors = [(np.zeros(1), 1e3 * np.array([energies[f.index]])) for f in members if f.index in energies]
        if errors:
            _one(result, f"energy_mae_group_{slug(name)}", f"Energy, mean absolute error, {name}", "meV/atom", errors)
        forces = [f.forces for f in members if f.forces is not None]
        if forces:
            label = f"Force component, mean absolute error, {name}"
            _one(result, f"force_mae_group_{slug(name)}", label, "eV/A", forces)


# -- what is kept --------------------------------------------------------------------------------------------------


def _keep(done: Sequence[Frame], result: PropertyResult) -> None:
    """Errors by structure (for pairing and plots) and histograms of the components."""
    by_index = _energy_errors(result)
    result.data.pop("energy", None)
    kept = done
    if len(done) > MOST_KEPT:
        kept = [done[int(k)] for k in np.linspace(0, len(done) - 1, MOST_KEPT).round()]
        result.notes.append(
            f"Plots and paired comparisons use {MOST_KEPT} evenly spaced structures of {len(done)}; the numbers use "
            "all."
        )
    rows: dict[str, list] = {"index": [f.index for f in kept]}
    for key, get in (("force", lambda f: f.forces), ("stress", lambda f: f.stress)):
        sums = [None if get(f) is None else float(f"{np.abs(get(f)[1] - get(f)[0]).sum():.5g}") for f in kept]
        rows[f"{key}_sum"], rows[f"{key}_terms"] = sums, [0 if get(f) is None else get(f)[0].size for f in kept]
    pairs = [by_index.get(f.index) for f in kept]
    rows["energy_sum"] = [None if p is None else float(f"{1e3 * abs(p[1]):.5g}") for p in pairs]
    rows["energy_terms"] = [0 if p is None else 1 for p in pairs]
    result.data["per_structure"] = rows
    result.data["energy_points"] = {
        "reference_eV_atom": [round(float(p[0]), 5) for p in pairs if p is not None],
        "error_meV_atom": [round(1e3 * float(p[1]), 3) for p in pairs if p is not None],
        "group": [f.group for f, p in zip(kept, pairs, strict=True) if p is not None],
    }
    for key, unit, get in (("force", "eV/A", lambda f: f.forces), ("stress", "GPa", lambda f: f.stress)):
        both = [get(f) for f in done if get(f) is not None]
        if both:
            x, y = (np.concatenate([np.ravel(p[k]) for p in both]) for k in (0, 1))
            result.data[f"{key}_parity"] = histogram(x, y, unit)


def _worst(done: Sequence[Frame], result: PropertyResult, count: int) -> None:
    """Structures with the largest errors, by energy and by force."""
    rows = result.data["per_structure"]
    at = {k: n for n, k in enumerate(rows["index"])}
    frames = {f.index: f for f in done}
    for key, unit, what in (("energy", "meV/atom", "energy"), ("force", "eV/A", "mean force")):
        scores = {k: rows[f"{key}_sum"][n] / rows[f"{key}_terms"][n] for k, n in at.items() if rows[f"{key}_terms"][n]}
        top = sorted(scores, key=lambda k: (-scores[k], k))[:count]
        result.data[f"worst_{key}"] = [
            {"index": k, "formula": frames[k].atoms.get_chemical_formula(), "group": frames[k].group,
             "error": scores[k], "unit": unit} for k in top
        ]  # fmt: skip
        if top:
            text = ", ".join(
                f"{k} ({', '.join(t for t in (frames[k].atoms.get_chemical_formula(), frames[k].group) if t)}) "
                f"{scores[k]:.3g} {unit}"
                for k in top
            )
            result.notes.append(f"Largest {what} errors, by number of the structure: {text}.")


def _flag_failures(failures: list[tuple[int, Exception]], total: int, result: PropertyResult) -> None:
    unsupported = [k for k, e in failures if type(e.__cause__ or e).__name__ == "UnsupportedElement"]
    head = ", ".join(str(k) for k, _ in failures[:5]) + (" ..." if len(failures) > 5 else "")
    text = (
        f"errors are over {total - len(failures)} of {total} structures: {len(failures)} could not be done"
        + (f", {len(unsupported)} of them for an unsupported element" if unsupported else "")
        + f" (numbers {head}; the first: {failures[0][1]})"
    )
    result.flag(Status.SUSPICIOUS, text)
    result.data["failed"] = [k for k, _ in failures]


def from_frames(frames: Sequence[Atoms], ctx: Context, result: PropertyResult) -> None:
    """What the reference frames span, against which errors are to be seen; they have no errors of their own."""
    data = [reference_of(a) for a in frames]
    result.add("structures", "Structures with reference results", len(frames), "")
    have = [Frame(k, a, (r["energy"], r["energy"])) for k, (a, r) in enumerate(zip(frames, data, strict=True))
            if "energy" in r and len(a)]  # fmt: skip
    if have:
        _, zero = offsets_of(have)
        rest = [f.energy[0] / len(f.atoms) - mean_offset(f.atoms, zero) for f in have]
        result.add("energy_spread", "Energy, standard deviation after element offsets", 1e3 * np.std(rest), "meV/atom")
    forces = [r["forces"].ravel() for r in data if "forces" in r]
    if forces:
        rms = np.sqrt(np.mean(np.concatenate(forces) ** 2))
        result.add("force_spread", "Force component, root mean square", rms, "eV/A")
    stress = [r["stress"] for r in data if "stress" in r]
    if stress:
        result.add("stress_spread", "Stress component, root mean square", np.sqrt(np.mean(np.square(stress))), "GPa")


def plots(models):
    from ..plots_compare import dataset_figures

    return dataset_figures([(label, r) for label, r, _ in models if "per_structure" in r.data])


PROPERTY = Property(
    "dataset", "Errors on a data set", run, order=90, needs=(), input="dataset", plots=plots, options=Options,
    from_frames=from_frames, sources=("10.1214/aos/1176344552",),
    outputs=(
        Output("structures", "", "structures done"),
        Output("energy_r2", "", "coefficient of determination of the energy, after element offsets"),
        Output("energy_*", "meV/atom", "energy errors: after element offsets, raw, by group of structures"),
        Output("force_r2", "", "coefficient of determination of the force components"),
        Output("force_cosine", "", "cosine of the angle between all forces and all reference forces"),
        Output("force_*", "eV/A", "errors of force components: all, by element, by group of structures"),
        Output("stress_r2", "", "coefficient of determination of the stress components"),
        Output("stress_*", "GPa", "errors of stress components"),
    ),
    about="How far energies, forces and stresses are from reference calculations of the same structures. Energies are "
    "compared after removing one constant per element, because the zero of energy is a convention.",
)  # fmt: skip
