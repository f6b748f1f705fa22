"""Numbers of the phonon report from supercells with force constants, whether a model's or a user's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from .phonon_tools import (
    BOLTZMANN,
    Supercell,
    band_path,
    bands,
    debye_temperature,
    elastic_debye,
    frequencies,
    merged,
    pretty,
    quiet,
    short,
    sound_velocities,
    special_points,
    thermal_table,
)  # fmt: skip
from .registry import Context
from .results import PropertyResult, Status

DRIFT_GATE = 0.01  # of the largest force constant
DERIVED = ("zero_point", "free_energy", "entropy", "heat_capacity")
PLANCK = 4.135667696e-3  # eV / THz
LISTED = 20  # imaginary modes described one by one


def report(cells: list[Supercell], ctx: Context, result: PropertyResult, drift_gate: float = DRIFT_GATE) -> None:
    """Fill the result from supercells, the last of which is the best; the one before it gives the size error."""
    s, main = ctx.options, cells[-1]
    with ctx.progress.step("bands and thermal properties"), quiet():
        path = band_path(main.phonon)
        result.data["bands"] = bands(main.use(0), path, s.band_points)
        _special_points(cells, path, result)
        _splitting(cells, path, result)
        _sound(main, path, result)
        limit = _stability(main, path, ctx, result)
        unstable = result.data["lowest_at_exact_points"] < limit
        if unstable and s.unstable_thermal == "skip":
            result.notes.append("Imaginary modes: thermal properties are not computed (unstable_thermal: skip).")
            _density(main, ctx, result)
        else:
            _thermal(main, ctx, result)
        _flag_imaginary(limit, ctx, result)
    drift = max(c.drift for c in cells)
    result.data["acoustic_sum_rule_drift"] = drift
    if drift > drift_gate:
        result.flag(
            Status.SUSPICIOUS,
            f"the force constants break the acoustic sum rule by {100 * drift:.1f} %: the forces are noisy or do not "
            "sum to zero",
        )


def _source(cells: list[Supercell]) -> str:
    return cells[-1].source + (", two supercells" if len(cells) > 1 else "")


def _variants(cells: list[Supercell], measure) -> tuple[Any, Any]:
    """`measure(phonon)` of the best force constants and its error from the other set and the smaller supercell."""
    main = cells[-1]
    others = [measure(main.use(k)) for k in range(len(main.constants))]
    best = others[0]
    error = main.scale * np.abs(others[1] - best) if len(others) > 1 else np.zeros_like(best)
    if len(cells) > 1:
        error = error + np.abs(measure(cells[-2].use(0)) - best)
    return best, error


def _special_points(cells: list[Supercell], path: dict, result: PropertyResult) -> None:
    """Frequencies at the ends of the path's segments, degenerate ones merged."""
    names, q = special_points(path)
    best, error = _variants(cells, lambda phonon: frequencies(phonon, q))
    source = _source(cells)
    result.data["frequency_error"] = float(error.max())
    result.data["special_points"] = {
        short(n): {"q": np.round(q[k], 9).tolist(), "frequencies": np.round(best[k], 6).tolist()}
        for k, n in enumerate(names)
    }
    polar = cells[-1].phonon.nac_params is not None
    for k, name in enumerate(names):
        label = short(name)
        note = "" if cells[-1].is_exact(q[k]) else f"{pretty(label)} is interpolated: not exact in this supercell"
        if polar and label == "G":
            note = "without the macroscopic field (transverse)"
        for group in merged(best[k]):
            if label == "G" and group[0] < 3:
                continue  # acoustic: zero by the sum rule
            tag = f"{group[0] + 1}" if len(group) == 1 else f"{group[0] + 1}-{group[-1] + 1}"
            value = result.add(
                f"{label}_{group[0] + 1}", f"Frequency at {pretty(label)}, branch {tag}",
                float(best[k][group].mean()), "THz", error=float(error[k][group].max()), error_source=source, note=note,
            )  # fmt: skip
            note = ""  # once per point is enough
            if value.error > max(0.05 * abs(value.value), 0.1):
                value.flag(Status.SUSPICIOUS, "depends on displacement or supercell: noise or strong anharmonicity")


def _splitting(cells: list[Supercell], path: dict, result: PropertyResult) -> None:
    """Longitudinal optical modes at Gamma for each direction in which the path leaves it (LO-TO splitting)."""
    if any(c.phonon.nac_params is None for c in cells):
        return
    coords, seen = path["point_coords"], []
    zero = [[0.0, 0.0, 0.0]]
    transverse = frequencies(cells[-1].use(0), zero)[0]
    ends = dict.fromkeys(b if a == "GAMMA" else a for a, b in path["path"] if "GAMMA" in (a, b))
    for end in ends:
        direction = np.array(coords[end])
        best, error = _variants(cells, lambda phonon, d=direction: frequencies(phonon, zero, d)[0])
        free, split = list(transverse), []
        for k, f in enumerate(best):  # what is left when the modes that know no field are taken away
            match = next((t for t in free if abs(t - f) < 2e-3 * max(1.0, abs(f))), None)
            if match is None:
                split.append(k)
            else:
                free.remove(match)
        found = np.array([best[k] for k in split])
        if any(len(found) == len(old) and np.allclose(found, old, atol=1e-2) for old in seen):
            continue
        tag = "" if not seen else f"_{short(end)}"
        seen.append(found)
        for k in split:
            result.add(
                f"G_LO{tag}_{k + 1}", f"Frequency at Γ, longitudinal, branch {k + 1}", float(best[k]), "THz",
                error=float(error[k]), error_source=_source(cells), note=f"towards {pretty(short(end))}",
            )  # fmt: skip


def _sound(cell: Supercell, path: dict, result: PropertyResult) -> None:
    """Sound velocities along the path's directions from Gamma, and the Debye temperature that all directions give."""
    reciprocal = np.linalg.inv(cell.phonon.primitive.cell)  # columns b
    ends = dict.fromkeys(b if a == "GAMMA" else a for a, b in path["path"] if "GAMMA" in (a, b))
    directions = np.array([reciprocal @ np.array(path["point_coords"][e]) for e in ends])
    best, error = _variants([cell], lambda phonon: sound_velocities(phonon, directions))
    for k, end in enumerate(ends):
        for j in range(best.shape[1]):
            name, bad = f"sound_{short(end)}_{j + 1}", not np.isfinite(best[k, j])
            value = result.add(
                name, f"Sound velocity from Γ to {short(end)}, branch {j + 1}", None if bad else float(best[k, j]),
                "km/s", error=None if bad else float(error[k, j]), error_source=cell.source,
                note="slope of the interpolated branch",
            )  # fmt: skip
            if bad:
                value.flag(Status.SUSPICIOUS, "the interpolated branch is imaginary next to Γ: no sound velocity")


def _density(cell: Supercell, ctx: Context, result: PropertyResult) -> None:
    phonon = cell.use(0)
    phonon.run_mesh(ctx.options.mesh, is_gamma_center=True)
    _keep_dos(phonon, result)


def _keep_dos(phonon, result: PropertyResult) -> None:
    phonon.run_total_dos()
    dos = phonon.total_dos
    f, g = np.array(dos.frequency_points), np.array(dos.dos) / len(phonon.primitive)
    result.data["dos"] = {"frequency": np.round(f, 4).tolist(), "dos": np.round(g, 5).tolist()}


def _thermal(cell: Supercell, ctx: Context, result: PropertyResult) -> None:
    """Density of states; free energy (eV), entropy and heat capacity (eV/K) per atom; Debye temperatures."""
    t0, mesh = float(ctx.general.temperature), ctx.options.mesh
    temperatures = np.unique(np.append(np.arange(0.0, 1001.0, 20.0), t0))
    at = int(np.abs(temperatures - t0).argmin())
    other = len(cell.constants) - 1
    twice = thermal_table(cell.use(other), mesh, temperatures)
    coarse = thermal_table(cell.use(0), 0.7 * mesh, temperatures)
    best = thermal_table(cell.use(0), mesh, temperatures)
    _keep_dos(cell.use(0), result)
    keys = ("free_energy", "entropy", "heat_capacity")
    result.data["thermal"] = {"temperature": temperatures.tolist(), **{k: best[k].tolist() for k in keys}}
    result.data["modes_left_out"] = round(float(best["left_out"]), 6)
    source, kelvin = f"two q-meshes, {cell.source}", f"{t0:.0f} K"

    def spread(pick) -> tuple[float | None, float | None]:
        values = [pick(t) for t in (best, coarse, twice)]
        if any(v is None or not np.isfinite(v) for v in values):
            return None, None
        return values[0], abs(values[1] - values[0]) + cell.scale * abs(values[2] - values[0])

    rows = (
        ("zero_point", "Zero-point energy per atom", lambda t: t["free_energy"][0] * 1e3, "meV"),
        ("free_energy", f"Vibrational free energy per atom, {kelvin}", lambda t: t["free_energy"][at] * 1e3, "meV"),
        ("entropy", f"Vibrational entropy per atom, {kelvin}", lambda t: t["entropy"][at] / BOLTZMANN, "kB"),
        ("heat_capacity", f"Heat capacity C_V per atom, {kelvin}", lambda t: t["heat_capacity"][at] / BOLTZMANN, "kB"),
        ("debye_moment", "Debye temperature, second moment of the frequencies", _moment_temperature, "K"),
        (
            "debye_heat", f"Debye temperature with the same C_V, {kelvin}",
            lambda t: debye_temperature(float(t["heat_capacity"][at]), t0), "K",
        ),
    )  # fmt: skip
    for name, label, pick, unit in rows:
        value, error = spread(pick)
        if value is not None:
            result.add(name, label, value, unit, error=error, error_source=source)
    _elastic_temperature(cell, result)


def _moment_temperature(table: dict) -> float | None:
    """Theta of the Debye spectrum with the same second moment: k theta = h sqrt(5/3 <f^2>)."""
    moment = float(table["second_moment"])
    return PLANCK / BOLTZMANN * np.sqrt(5 / 3 * moment) if moment > 0 else None


def _elastic_temperature(cell: Supercell, result: PropertyResult) -> None:
    got = [elastic_debye(cell.use(k)) for k in range(len(cell.constants))]
    if any(g is None for g in got):
        return
    result.add(
        "debye_sound", "Debye temperature from sound velocities", got[0][0], "K",
        error=cell.scale * abs(got[-1][0] - got[0][0]), error_source=cell.source,
        note="limit of low temperature; slope of the interpolated branches",
    )  # fmt: skip


def _stability(cell: Supercell, path: dict, ctx: Context, result: PropertyResult) -> float:
    """Lowest and highest frequency of path and exact points, and which modes are imaginary; the limit for noise."""
    on_path = np.concatenate([np.array(f) for f in result.data["bands"]["frequencies"]])
    phonon, points = cell.use(0), cell.exact_points()
    phonon.run_qpoints(points, with_eigenvectors=True)
    exact, vectors = np.array(phonon.qpoints.frequencies), np.array(phonon.qpoints.eigenvectors)
    lowest, highest = float(min(on_path.min(), exact.min())), float(max(on_path.max(), exact.max()))
    error, source = result.data["frequency_error"], cell.source
    top = float(on_path.max())
    result.add("highest", "Highest frequency on the path", top, "THz", error=error, error_source=source)
    result.add(
        "lowest", "Lowest frequency", lowest, "THz", error=error, error_source=source,
        note="negative: imaginary, the crystal is unstable",
    )  # fmt: skip
    limit = -ctx.options.imaginary * abs(highest)
    bad = exact < limit
    result.add(
        "imaginary_modes", "Imaginary modes at the exact q points", int(bad.sum()), "", error=0.0,
        error_source="count", note=f"of {exact.size} at {len(points)} points",
    )  # fmt: skip
    result.data["lowest_at_exact_points"] = float(exact.min())
    if bad.any():
        result.data["imaginary"] = _describe(phonon, path, points, exact, vectors, bad)
    if highest > 130 or highest <= 0:
        result.flag(Status.SUSPICIOUS, f"the highest frequency is {highest:.1f} THz")
    return limit


def _describe(phonon, path, points, f, vectors, bad) -> list[dict[str, Any]]:
    """The imaginary modes, one line per distinct frequency: where, how many, which element moves and along what."""
    names = {short(n): np.array(q) for n, q in path["point_coords"].items()}
    symbols, found = list(phonon.primitive.symbols), {}
    for i, k in np.argwhere(bad):
        key = round(float(f[i, k]), 3)
        away = {n: points[i] - q for n, q in names.items()}
        label = next((n for n, d in away.items() if np.abs(d - np.round(d)).max() < 1e-5), "")
        if key in found:
            found[key]["modes"] += 1
            found[key]["label"] = found[key]["label"] or label
            continue
        share = (np.abs(vectors[i][:, k]) ** 2).reshape(-1, 3)
        axes = share.sum(axis=0)
        found[key] = {
            "q": np.round(points[i], 6).tolist(), "label": label, "frequency": key, "modes": 1,
            "elements": {e: round(float(sum(share[a].sum() for a, s in enumerate(symbols) if s == e)), 3)
                         for e in sorted(set(symbols))},
            "along_xyz": np.round(axes, 3).tolist(),
        }  # fmt: skip
    return [found[key] for key in sorted(found)][:LISTED]


def _flag_imaginary(limit: float, ctx: Context, result: PropertyResult) -> None:
    lowest, exact = result["lowest"].value, result.data["lowest_at_exact_points"]
    derived = [v.name for v in result.values if v.name in DERIVED or v.name.startswith("debye_")]
    if exact < limit:
        worst = result.data["imaginary"][0]
        where = pretty(worst["label"]) if worst["label"] else f"q = ({', '.join(f'{x:.3g}' for x in worst['q'])})"
        rest = (
            "thermal properties are not given"
            if ctx.options.unstable_thermal == "skip" else "free energy and heat capacity leave these modes out"
        )  # fmt: skip
        result.flag(
            Status.UNSTABLE,
            f"imaginary modes, lowest {lowest:.2f} THz, at exact points {exact:.2f} THz ({where}): the crystal is not "
            f"a minimum of this model; {rest}",
            ["lowest", "imaginary_modes", *derived,
             *(v.name for v in result.values if v.unit == "THz" and (v.value or 0) < limit)],
        )  # fmt: skip
    elif lowest < limit:
        result.flag(
            Status.SUSPICIOUS,
            f"imaginary frequencies ({lowest:.2f} THz) only between the q points that are exact in this supercell: "
            "check with mode='full'",
            ("lowest", *derived),
        )
