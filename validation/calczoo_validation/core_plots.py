"""Figures of grain boundaries and dislocation cores."""

from __future__ import annotations

import numpy as np

from .plots import COLOURS, bars, figure


def boundary_figures(models):
    """Energies side by side, where the starts ended, and the relaxed structures of the first model."""
    names = []
    for _, result, _ in models:
        names += [n for n in result.data.get("boundaries", {}) if n not in names]
    if not names:
        return []
    return [_energies(models, names), _starts(models, names), *_pictures(models)]


def _label(models, name: str) -> str:
    for _, result, _ in models:
        if name in result.data.get("boundaries", {}):
            return result.data["boundaries"][name]["label"].replace(" ", "\n", 1)
    return name


def _energies(models, names):
    series, marks = [], {}
    for label, result, references in models:
        values = [result[f"{n}_energy"] if f"{n}_energy" in result else None for n in names]
        series.append((label, [v and v.value for v in values], [v and v.error for v in values]))
        for k, n in enumerate(names):
            for ref in reversed(references.get(f"{n}_energy", [])):  # of several of one kind the first counts
                marks.setdefault(ref["kind"], [None] * len(names))[k] = ref["value"]
    fig = bars([_label(models, n) for n in names], series, marks, "boundary energy (J/m$^2$)")
    return "boundaries", "Grain-boundary energies", "Lowest energy found of each boundary.", fig


def _starts(models, names):
    fig, ax = figure(max(5.2, 1.1 * len(names) + 1.5), 3.2)
    for k, (label, result, _) in enumerate(models):
        shown = False
        for j, name in enumerate(names):
            record = result.data.get("boundaries", {}).get(name)
            if not record:
                continue
            energies = np.sort([s["gamma"] for s in record["starts"] if s["gamma"] is not None])
            energies = energies[energies < energies[0] + 1.5]
            x = j + (k + 0.5) / len(models) * 0.8 - 0.4 + np.linspace(-0.3, 0.3, len(energies)) / len(models)
            colour = COLOURS[k % len(COLOURS)]
            ax.plot(x, energies, ".", ms=3.5, color=colour, label=None if shown else label)
            shown = True
    ax.set_xticks(range(len(names)), [_label(models, n) for n in names])
    ax.set_ylabel("energy (J/m$^2$)")
    if len(models) > 1:
        ax.legend(frameon=False)
    caption = (
        "Every dot is one start (translation of the grains and number of atoms) after relaxation, sorted by energy. A "
        "long flat foot means that many starts reached the lowest structure."
    )
    return "boundary-starts", "What the starts reached", caption, fig


def _pictures(models):
    label, result, _ = next((m for m in models if m[1].data.get("boundaries")), models[0])
    records = list(result.data["boundaries"].values())[:5]
    fig, axes = figure(1.5 * len(records) + 0.4, 4.2, len(records), squeeze=False)
    for ax, record in zip(axes[0], records, strict=True):
        p = record["picture"]
        x, z, grain, depth = (np.array(p[k]) for k in ("x", "z", "grain", "depth"))
        z = (z + p["height"] / 4) % p["height"]
        turns = max(1, round(11.0 / p["width"]))
        for n in range(turns):
            for tag in (0, 1):
                own = grain == tag
                face = np.where((depth[own] + 0.25) % 1.0 < 0.5, 1.0, 0.45)
                ax.scatter(x[own] + n * p["width"], z[own], s=13, color=COLOURS[tag], alpha=face, lw=0)
        ax.set_aspect("equal")
        ax.set_title(record["label"].replace(" ", "\n", 1), fontsize=8)
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
    caption = (
        f"Relaxed cells of {label}, seen along the shorter side of the boundary cell; the boundaries are where the "
        "colours meet. Pale atoms lie half a period deeper."
    )
    return [("boundary-structures", "Boundary structures", caption, fig)]


def dislocation_figures(models):
    """Core energies, E(R) against its elastic line, slip along the glide plane, and the map of a bcc screw."""
    names = []
    for _, result, _ in models:
        names += [n for n in result.data.get("kinds", {}) if n not in names]
    if not names:
        return []
    out = [_core_energies(models, names)]
    out += _radius_figure(models, names)
    out += _slip_figure(models, names)
    return out + _screw_maps(models)


def _title(models, name: str) -> str:
    return next(r.data["kinds"][name]["title"] for _, r, _ in models if name in r.data.get("kinds", {}))


def _core_energies(models, names):
    series = []
    for label, result, _ in models:
        values = [result[f"{n}_E_core"] if f"{n}_E_core" in result else None for n in names]
        series.append((label, [v and v.value for v in values], [v and v.error for v in values]))
    fig = bars(
        [_title(models, n).replace("> ", ">\n", 1) for n in names], series, {}, "core energy (eV/$\\mathrm{\\AA}$)"
    )
    return "cores", "Core energies", "Energy per length beyond K ln(R/b), core radius b.", fig


def _panels(models, names, key):
    return [n for n in names if any((r.data.get("kinds", {}).get(n) or {}).get(key) for _, r, _ in models)]


def _radius_figure(models, names):
    shown = _panels(models, names, "curve")
    if not shown:
        return []
    fig, axes = figure(2.6 * len(shown) + 0.6, 3.0, len(shown), squeeze=False)
    for ax, name in zip(axes[0], shown, strict=True):
        for k, (label, result, _) in enumerate(models):
            record = result.data.get("kinds", {}).get(name) or {}
            if not record.get("curve"):
                continue
            curve, colour = record["curve"], COLOURS[k % len(COLOURS)]
            ax.plot(curve["R"], curve["E"], ".", ms=3, color=colour, label=label)
            line = np.array(curve["F"]) * record["K"] + record["E_core"]
            ax.plot(curve["R"], line, color=colour, lw=0.9)
        ax.set_xscale("log")
        ticks = [
            t for t in (5, 7, 10, 15, 20, 30, 40, 60) if curve_range(models, name)[0] < t < curve_range(models, name)[1]
        ]
        ax.set_xticks(ticks, [str(t) for t in ticks])
        ax.minorticks_off()
        ax.set_title(_title(models, name), fontsize=8)
        ax.set_xlabel("radius R ($\\mathrm{\\AA}$)")
    axes[0][0].set_ylabel("energy within R (eV/$\\mathrm{\\AA}$)")
    if len(models) > 1:
        axes[0][0].legend(frameon=False)
    caption = (
        "Dots: excess energy of the atoms within R. Lines: core energy plus the elastic energy, with K of the tensor."
    )
    return [("core-radius", "Energy against radius", caption, fig)]


def curve_range(models, name: str) -> tuple[float, float]:
    """Smallest and largest radius of one dislocation's curves."""
    curves = [(r.data.get("kinds", {}).get(name) or {}).get("curve") for _, r, _ in models]
    radii = [x for c in curves if c for x in (c["R"][0], c["R"][-1])]
    return 0.97 * min(radii), 1.03 * max(radii)


def _slip_figure(models, names):
    shown = []
    for n in names:
        shapes = [(r.data.get("kinds", {}).get(n) or {}).get("shape") or {} for _, r, _ in models]
        if any("slip" in s for s in shapes):
            shown.append(n)
    if not shown:
        return []
    fig, axes = figure(2.6 * len(shown) + 0.6, 3.0, len(shown), squeeze=False, sharey=True)
    for ax, name in zip(axes[0], shown, strict=True):
        for k, (label, result, _) in enumerate(models):
            shape = (result.data.get("kinds", {}).get(name) or {}).get("shape") or {}
            if "slip" in shape:
                ax.plot(shape["x"], shape["slip"], ".-", ms=3, lw=1.0, color=COLOURS[k % len(COLOURS)], label=label)
        for level in (0.25, 0.75):
            ax.axhline(level, color="#cbd5e0", lw=0.7, zorder=0)
        ax.set_title(_title(models, name), fontsize=8)
        ax.set_xlabel("x along the glide plane ($\\mathrm{\\AA}$)")
    axes[0][0].set_ylabel("slip (b)")
    if len(models) > 1:
        axes[0][0].legend(frameon=False)
    caption = (
        "Displacement of the plane above the glide plane relative to the one below. Two steps with a plateau between "
        "them are partials with a stacking fault; grey lines: b/4 and 3b/4, whose distance is quoted."
    )
    return [("core-slip", "Slip across the glide plane", caption, fig)]


def _screw_maps(models):
    maps = []
    for label, result, _ in models:
        shape = (result.data.get("kinds", {}).get("screw") or {}).get("shape") or {}
        if "arrows" in shape:
            maps.append((label, shape))
    if not maps:
        return []
    fig, axes = figure(3.2 * len(maps) + 0.2, 3.4, len(maps), squeeze=False)
    for ax, (label, shape) in zip(axes[0], maps, strict=True):
        columns, arrows = np.array(shape["columns"]), np.array(shape["arrows"])
        heights = np.unique(np.round(columns[:, 2], 2), return_inverse=True)[1]
        shades = np.array(["#1a202c", "#a0aec0", "#ffffff"])[heights % 3]
        ax.scatter(columns[:, 0], columns[:, 1], s=26, c=shades, edgecolors="#4a5568", linewidths=0.6, zorder=3)
        arrows = arrows[(np.abs(arrows[:, 4]) > 0.04) & (np.abs(arrows[:, :4]).max(axis=1) < 9.5)]
        columns = columns[np.abs(columns[:, :2]).max(axis=1) < 9.5]
        start, end, size = arrows[:, :2], arrows[:, 2:4], arrows[:, 4]
        middle, step = (start + end) / 2, (end - start) * size[:, None] * 2.4
        low = middle - step / 2
        ax.quiver(*low.T, *step.T, angles="xy", scale_units="xy", scale=1, width=0.006, color="#2b6cb0", zorder=4)
        ax.plot(*shape["core"], "+", color="#c05621", ms=9, mew=1.6, zorder=5)
        ax.set_aspect("equal")
        ax.set_xlim(-9, 9)
        ax.set_ylim(-9, 9)
        ax.set_title(f"{label}: {shape['kind']} core" if len(maps) > 1 else f"{shape['kind']} core", fontsize=8)
        ax.set_xlabel("[11-2] ($\\mathrm{\\AA}$)")
    axes[0][0].set_ylabel("[-110] ($\\mathrm{\\AA}$)")
    caption = (
        "Differential displacements of a screw seen along its line (Vitek): circles are atomic columns, shades their "
        "heights in the perfect crystal; an arrow as long as the bond between two columns is a relative shift of b/2.4."
    )
    return [("screw-map", "Core of the screw dislocation", caption, fig)]
