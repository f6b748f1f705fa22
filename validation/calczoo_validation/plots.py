"""Figures as small inline SVG: matplotlib with text kept as text, identifiers made unique per figure."""

from __future__ import annotations

import io
import re

import numpy as np

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b7791f", "#4a5568")  # distinct also for the colour-blind
MARKS = {"PBE": ("D", "#111827"), "experiment": ("_", "#c53030")}
STYLE = {
    "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "axes.edgecolor": "#4a5568",
    "xtick.color": "#4a5568", "ytick.color": "#4a5568", "axes.labelcolor": "#2d3748", "legend.fontsize": 8,
    "path.simplify_threshold": 0.5,
}  # fmt: skip


def figure(width: float, height: float, columns: int = 1, **more):
    """A new figure (inches) and its axes, outside pyplot's global state."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(fig)
        axes = fig.subplots(1, columns, **more)
    return fig, axes


def to_svg(fig, key: str) -> str:
    """The figure as an <svg> element for inlining; every id gets the prefix `key`."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'href="#', f'href="#{key}-', text)
    text = re.sub(r"url\(#", f"url(#{key}-", text)
    text = re.sub(r"(\d+\.\d{2})\d+", r"\1", text)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'role="img"', text, count=1)


def bars(names, series, marks: dict[str, list], unit: str):
    """Grouped bars with error bars; `marks` are reference values by kind, drawn over each group."""
    fig, ax = figure(max(5.2, 0.62 * len(names) + 0.25 * len(names) * (len(series) > 2)), 3.2)
    width = 0.8 / max(1, len(series))
    first_bar = len(series) == 2 and "clamped" in series[1][0]  # references are for relaxed ions
    x = np.arange(len(names))
    for k, (label, values, errors) in enumerate(series):
        heights = [v if v is not None else np.nan for v in values]
        spread = [e if e is not None else 0.0 for e in errors]
        clamped = "clamped" in label
        colour = COLOURS[(k // 2 if any("clamped" in s[0] for s in series) else k) % len(COLOURS)]
        ax.bar(
            x + (k - (len(series) - 1) / 2) * width, heights, 0.92 * width, yerr=spread, label=label, color=colour,
            alpha=0.4 if clamped else 1.0, error_kw={"lw": 0.8, "ecolor": "#1a202c"}, capsize=2,
        )  # fmt: skip
    for kind, values in marks.items():
        shape, colour = MARKS.get(kind, ("x", "#4a5568"))
        points = [(k, v) for k, v in enumerate(values) if v is not None]
        if points:
            size = {"D": 22, "_": 320}.get(shape, 26)
            at = [x[k] + (-(len(series) - 1) / 2 * width if first_bar else 0.0) for k, _ in points]
            heights = [v for _, v in points]
            ax.scatter(at, heights, marker=shape, color=colour, s=size, label=kind, zorder=5, linewidths=1.6)
    ax.axhline(0, color="#4a5568", lw=0.7)
    ax.set_xticks(x, names)
    ax.set_ylabel(unit)
    fig.legend(frameon=False, ncols=3, markerscale=0.6, loc="outside upper left", fontsize=8)
    return fig


def band_figure(models):
    """Bands of all models along the first model's path; the q distances of each model are scaled to it."""
    fig, ax = figure(7.2, 3.6)
    bands = models[0][1]["bands"]
    edges, labels = _edges(bands)
    for k, (label, data) in enumerate(models):
        colour = COLOURS[k % len(COLOURS)]
        other = data["bands"]
        if other["labels"] != bands["labels"]:
            continue
        for segment, (own, freq) in enumerate(zip(other["distances"], other["frequencies"], strict=True)):
            ref = bands["distances"][segment]
            span = own[-1] - own[0] or 1.0
            x = ref[0] + (np.array(own) - own[0]) * (ref[-1] - ref[0]) / span
            lines = ax.plot(x, np.array(freq), color=colour, lw=1.0)
            if segment == 0:
                lines[0].set_label(label)
    for edge in edges:
        ax.axvline(edge, color="#cbd5e0", lw=0.7, zorder=0)
    ax.axhline(0, color="#4a5568", lw=0.7)
    ax.set_xticks(edges, labels)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylabel("frequency (THz)")
    if len(models) > 1:
        ax.legend(frameon=False)
    return fig


def _edges(bands) -> tuple[list[float], list[str]]:
    """Positions and labels of the ends of the segments; a jump in the path gets both names."""
    pretty = {"G": "Γ"}
    edges, labels = [bands["distances"][0][0]], [pretty.get(bands["labels"][0][0], bands["labels"][0][0])]
    for k, (distance, (start, end)) in enumerate(zip(bands["distances"], bands["labels"], strict=True)):
        start, end = pretty.get(start, start), pretty.get(end, end)
        if k and labels[-1] != start:
            labels[-1] = f"{labels[-1]}|{start}"
        edges.append(distance[-1])
        labels.append(end)
    return edges, labels


def dos_figure(models):
    fig, ax = figure(3.5, 3.2)
    for k, (label, data) in enumerate(models):
        colour = COLOURS[k % len(COLOURS)]
        f, g = np.array(data["dos"]["frequency"]), np.array(data["dos"]["dos"])
        ax.plot(f, g, color=colour, lw=1.2, label=label)
        ax.fill_between(f, g, color=colour, alpha=0.15, lw=0)
    ax.set_xlabel("frequency (THz)")
    ax.set_ylabel("states per THz and atom")
    ax.set_ylim(bottom=0)
    if len(models) > 1:
        ax.legend(frameon=False)
    return fig


def thermal_figure(models):
    fig, (left, right) = figure(6.6, 3.2, 2)
    for k, (label, data) in enumerate(models):
        colour = COLOURS[k % len(COLOURS)]
        t = np.array(data["thermal"]["temperature"])
        left.plot(t, 1e3 * np.array(data["thermal"]["free_energy"]), color=colour, lw=1.3, label=label)
        right.plot(t, np.array(data["thermal"]["heat_capacity"]) / 8.617333262e-5, color=colour, lw=1.3)
    right.axhline(3, color="#a0aec0", lw=0.8, ls="--")
    right.annotate("3 k$_B$", (20, 3.03), color="#4a5568", fontsize=8)
    left.set_ylabel("free energy (meV/atom)")
    right.set_ylabel("C$_V$ (k$_B$/atom)")
    right.set_ylim(0, 3.3)
    for ax in (left, right):
        ax.set_xlabel("temperature (K)")
    if len(models) > 1:
        left.legend(frameon=False)
    return fig
