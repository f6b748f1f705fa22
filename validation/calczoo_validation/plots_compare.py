"""Figures of the comparison of several calculators, and of errors on a data set."""

from __future__ import annotations

import numpy as np

from .compare import Comparison, Group
from .numbers import show_unit
from .plots import COLOURS, figure

FLOOR = 1e-4  # relative deviation: everything below is drawn here


def deviation_figure(found: Comparison, colour_of: dict[str, str]):
    """Mean absolute relative deviation by property and over all: dots, 95 % intervals, single quantities as ticks."""
    rows = [("all common quantities", found.common), *((g.title, _members(found, g.name)) for g in found.groups)]
    height = 0.55 + len(rows) * (0.16 + 0.13 * len(found.compared))
    fig, ax = figure(7.4, max(1.8, height))
    step = 0.8 / max(1, len(found.compared))
    for r, (_, members) in enumerate(rows):
        for k, label in enumerate(found.compared):
            y = r + (k - (len(found.compared) - 1) / 2) * step
            values = np.array([max(found.deviations[label][q], FLOOR) for q in members])
            colour = colour_of[label]
            mean, low, high = _estimate(found, r, label)
            ax.plot(100 * values, np.full(len(values), y), "|", color=colour, ms=5, alpha=0.55, mew=0.9)
            if low is not None:
                ax.plot([100 * max(low, FLOOR), 100 * max(high, FLOOR)], [y, y], color=colour, lw=2.2, alpha=0.5,
                        solid_capstyle="butt")  # fmt: skip
            ax.plot([100 * max(mean, FLOOR)], [y], "o", color=colour, ms=5.5, label=label if r == 0 else None, zorder=4)
        if r:
            ax.axhline(r - 0.5, color="#e2e8f0", lw=0.7)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.set_yticks(range(len(rows)), [f"{title} ({len(m)})" for title, m in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", color="#e2e8f0", lw=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel("absolute deviation from the reference (%)")
    fig.legend(frameon=False, ncols=2, loc="outside upper left", fontsize=8)
    return fig


def _members(found: Comparison, prop: str) -> list[str]:
    return [q for q in found.common if q.partition(".")[0] == prop]


def _estimate(found: Comparison, row: int, label: str):
    """Mean and interval of one calculator, over all quantities (row 0) or of one property."""
    if row == 0:
        s = next(s for s in found.standings if s.label == label)
        return s.mean, s.low, s.high
    k, g = found.compared.index(label), found.groups[row - 1]
    return g.means[k], g.lows[k], g.highs[k]


def error_figure(groups: list[Group], labels: list[str], colour_of: dict[str, str]):
    """Mean absolute errors on a data set with their 95 % intervals, one panel per measure."""
    fig, axes = figure(7.4, 0.75 + 0.24 * len(labels), len(groups), squeeze=False)
    for k, (ax, g) in enumerate(zip(axes[0], groups, strict=True)):
        for row, label in enumerate(labels):
            colour = colour_of[label]
            if g.lows[row] is not None:
                ax.plot([g.lows[row], g.highs[row]], [row, row], color=colour, lw=2.2, alpha=0.5, solid_capstyle="butt")
            ax.plot([g.means[row]], [row], "o", color=colour, ms=5.5)
        ax.set_yticks(range(len(labels)), labels if k == 0 else [""] * len(labels))
        ax.set_ylim(len(labels) - 0.5, -0.5)
        ax.set_xlim(left=0)
        ax.grid(axis="x", color="#e2e8f0", lw=0.6)
        ax.set_xlabel(f"{g.name} ({show_unit(g.unit)})")
    return fig


# -- one data set --------------------------------------------------------------------------------------------------


def dataset_figures(models) -> list[tuple]:
    """Figures of (label, result) pairs of the data-set property."""
    if not models:
        return []
    out = []
    if any(r.data["energy_points"]["error_meV_atom"] for _, r in models):
        caption = "Error after element offsets, over the reference energy per atom relative to the elements' offsets."
        out.append(("energy", "Energy errors", caption, _energy_points(models)))
    for key, name in (("force", "Force"), ("stress", "Stress")):
        shown = [(label, r.data[f"{key}_parity"]) for label, r in models if f"{key}_parity" in r.data]
        if shown:
            outside = sum(p["outside"] for _, p in shown)
            caption = "Number of components by reference value (across) and model value (up), logarithmic shades."
            if outside:
                caption += f" {outside} beyond the upper or lower edge are drawn at it."
            out.append((f"{key}_parity", f"{name} components: parity", caption, _parity(shown)))
    groups = _group_bars(models)
    if groups is not None:
        caption = "Mean absolute error by group of structures; bars of error: bootstrap over structures."
        out.append(("groups", "Errors by group", caption, groups))
    return out


def _energy_points(models):
    fig, ax = figure(5.2, 3.2)
    for k, (label, r) in enumerate(models):
        p = r.data["energy_points"]
        many = len(p["error_meV_atom"]) > 400
        ax.plot(
            p["reference_eV_atom"], p["error_meV_atom"], "o", color=COLOURS[k % len(COLOURS)], ms=2 if many else 3.5,
            alpha=0.6, mew=0, label=label, rasterized=many,
        )  # fmt: skip
    ax.axhline(0, color="#4a5568", lw=0.7)
    ax.set_xlabel("reference energy, offsets removed (eV/atom)")
    ax.set_ylabel("error (meV/atom)")
    if len(models) > 1:
        fig.legend(frameon=False, ncols=2, loc="outside upper left", fontsize=8)
    return fig


def _parity(shown):
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    fig, axes = figure(0.5 + 2.5 * len(shown), 2.75, len(shown), squeeze=False)
    for k, (ax, (label, p)) in enumerate(zip(axes[0], shown, strict=True)):
        n, span = p["bins"], p["span"]
        counts = np.zeros((n, n))
        counts[p["j"], p["i"]] = p["counts"]
        edges = np.linspace(-span, span, n + 1)
        shades = LinearSegmentedColormap.from_list("shades", ["#dbe7f3", COLOURS[k % len(COLOURS)], "#1a202c"])
        ax.pcolormesh(edges, edges, np.ma.masked_equal(counts, 0), cmap=shades, rasterized=True,
                      norm=LogNorm(vmin=0.7, vmax=max(2.0, counts.max())))  # fmt: skip
        ax.plot([-span, span], [-span, span], color="#4a5568", lw=0.6)
        ax.set_aspect("equal")
        ax.set_title(label if len(label) < 34 else f"{label[:31]}...", fontsize=8)
        ax.set_xlabel(f"reference ({show_unit(p['unit'])})")
        if k == 0:
            ax.set_ylabel(f"model ({show_unit(p['unit'])})")
    return fig


def _group_bars(models):
    """Energy and force errors by group, side by side; None where the structures are of one group."""
    panels = []
    for kind, unit in (("energy", "meV/atom"), ("force", "eV/A")):
        head = f"{kind}_mae_group_"
        values = [v.name for _, r in models for v in r.values]
        names = list(dict.fromkeys(n.removeprefix(head) for n in values if n.startswith(head)))
        if names:
            panels.append((kind, unit, head, names))
    if not panels:
        return None
    fig, axes = figure(7.2, 3.0, len(panels), squeeze=False)
    width = 0.8 / len(models)
    for ax, (kind, unit, head, names) in zip(axes[0], panels, strict=True):
        for k, (label, r) in enumerate(models):
            got = [r[head + n] if head + n in r else None for n in names]
            at = np.arange(len(names)) + (k - (len(models) - 1) / 2) * width
            ax.bar(
                at, [v.value if v and v.value is not None else np.nan for v in got], 0.92 * width,
                yerr=[v.error if v and v.error else 0.0 for v in got], color=COLOURS[k % len(COLOURS)],
                label=label if ax is axes[0][0] else None, error_kw={"lw": 0.8, "ecolor": "#1a202c"}, capsize=2,
            )  # fmt: skip
        ax.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=8)
        ax.set_ylabel(f"{kind} error ({show_unit(unit)})")
        ax.set_ylim(bottom=0)
    if len(models) > 1:
        fig.legend(frameon=False, ncols=2, loc="outside upper left", fontsize=8)
    return fig
