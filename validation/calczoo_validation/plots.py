"""Figures as small inline SVG: matplotlib with text kept as text, identifiers made unique per figure."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

BASE = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b7791f", "#4a5568")  # distinct also for the colour-blind
REFERENCE_COLOUR = "#111827"  # curves of the user's own reference
MARKS = {
    "reference": ("D", REFERENCE_COLOUR), "PBE": ("D", "#111827"), "DFT": ("d", "#718096"),
    "experiment": ("_", "#c53030"), "paper": ("x", "#4a5568"),
}  # fmt: skip
_chosen: ContextVar[tuple[str, ...]] = ContextVar("colours", default=BASE)


class _Colours(Sequence):
    """Colours by number of the model. Within `palette(...)` another order holds, so that a calculator keeps its colour
    in figures that leave others out."""

    def __len__(self) -> int:
        return len(_chosen.get())

    def __getitem__(self, k):
        return _chosen.get()[k]


COLOURS = _Colours()


@contextmanager
def palette(colours: Sequence[str]) -> Iterator[None]:
    """Colours of the models of the figures drawn inside, in their order; and the style of all figures."""
    import matplotlib

    token = _chosen.set(tuple(colours) or BASE)
    try:
        with matplotlib.rc_context(STYLE):
            yield
    finally:
        _chosen.reset(token)


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


MOST_INSIDE = 2  # entries of a legend that stays among the curves
LONG_NAME = 18


def place_legends(fig) -> None:
    """Legends that would lie on curves or be cut off: above the axes, in as many columns as there is room for."""
    inside = [ax.get_legend() for ax in fig.axes if ax.get_legend() is not None]
    names = [[text.get_text() for text in legend.get_texts()] for legend in inside]
    long = any(len(n) > MOST_INSIDE or any(len(text) > LONG_NAME for text in n) for n in names)
    if long and all(n == names[0] for n in names) and not fig.legends:
        handles = inside[0].legend_handles
        for legend in inside:
            legend.remove()
        _legend_above(fig, handles, names[0])
        return
    for legend in list(fig.legends):
        fig.draw_without_rendering()
        if legend.get_window_extent().width > fig.bbox.width:
            names = [text.get_text() for text in legend.get_texts()]
            legend.remove()
            _legend_above(fig, legend.legend_handles, names)


def _legend_above(fig, handles, names) -> None:
    """A legend in the most columns that fit, and that much more height."""
    for columns in range(min(4, len(names)), 0, -1):
        legend = fig.legend(handles, names, frameon=False, fontsize=8, ncols=columns, loc="outside upper left")
        fig.draw_without_rendering()
        extent = legend.get_window_extent()
        if extent.width <= fig.bbox.width or columns == 1:
            width, height = fig.get_size_inches()
            fig.set_size_inches(max(width, extent.width / fig.dpi), height + extent.height / fig.dpi)
            return
        legend.remove()


def to_svg(fig, key: str) -> str:
    """The figure as an <svg> element for inlining; every id gets the prefix `key`."""
    import matplotlib

    place_legends(fig)
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
    owners = list(dict.fromkeys(re.sub(r",? ?(relaxed|clamped) ions$", "", s[0]) for s in series))
    for k, (label, values, errors) in enumerate(series):
        heights = [v if v is not None else np.nan for v in values]
        spread = [e if e is not None else np.nan for e in errors]  # no cap where no error is known
        clamped = "clamped" in label
        colour = COLOURS[owners.index(re.sub(r",? ?(relaxed|clamped) ions$", "", label)) % len(COLOURS)]
        ax.bar(
            x + (k - (len(series) - 1) / 2) * width, heights, 0.92 * width, yerr=spread, label=label, color=colour,
            alpha=0.4 if clamped else 1.0, error_kw={"lw": 0.8, "ecolor": "#1a202c"}, capsize=2,
        )  # fmt: skip
    order = {kind: k for k, kind in enumerate(MARKS)}
    for kind, values in sorted(marks.items(), key=lambda m: order.get(m[0], len(order))):
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
    fig.legend(frameon=False, ncols=2 if len(series) > 3 else 3, markerscale=0.6, loc="outside upper left", fontsize=8)
    return fig


def band_figure(models, reference=None):
    """Bands of all models along the first model's path; the q distances of each model are scaled to it.

    `reference`: a band structure {"label", "labels", "distances", "frequencies"} drawn dashed and grey underneath.
    """
    fig, ax = figure(7.2, 3.6)
    bands = models[0][1]["bands"]
    edges, labels = _edges(bands)
    drawn = 0
    if reference is not None:
        style = {"color": "#718096", "lw": 1.3, "ls": (0, (4, 2)), "zorder": 1.5}
        drawn += _draw_bands(ax, bands, reference, reference.get("label", "reference"), style)
    for k, (label, data) in enumerate(models):
        drawn += _draw_bands(ax, bands, data["bands"], label, {"color": COLOURS[k % len(COLOURS)], "lw": 1.0})
    for edge in edges:
        ax.axvline(edge, color="#cbd5e0", lw=0.7, zorder=0)
    ax.axhline(0, color="#4a5568", lw=0.7)
    ax.set_xticks(edges, labels)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylabel("frequency (THz)")
    if drawn > 1:
        fig.legend(frameon=False, ncols=4, loc="outside upper left")
    return fig


def _draw_bands(ax, bands, other, label, style) -> int:
    """Draw one band structure on the axis of `bands`; 0 where its path is another one."""
    if other["labels"] != bands["labels"]:
        return 0
    for segment, (own, freq) in enumerate(zip(other["distances"], other["frequencies"], strict=True)):
        ref = bands["distances"][segment]
        span = own[-1] - own[0] or 1.0
        x = ref[0] + (np.array(own) - own[0]) * (ref[-1] - ref[0]) / span
        lines = ax.plot(x, np.array(freq), **style)
        if segment == 0:
            lines[0].set_label(label)
    return 1


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


def gruneisen_figure(models):
    """Mode Grueneisen parameters along the first model's path, and their mean over temperature."""
    fig, (left, right) = figure(8.4, 3.4, 2, gridspec_kw={"width_ratios": [2.2, 1]})
    fig.set_dpi(180)
    bands = models[0][1]["bands"]
    edges, labels = _edges(bands)
    finite = []
    for k, (label, data) in enumerate(models):
        colour, other = COLOURS[k % len(COLOURS)], data["bands"]
        right.plot(data["average"]["temperature"], data["average"]["gamma"], color=colour, lw=1.3, label=label)
        if other["labels"] != bands["labels"]:
            continue
        for segment, (own, gamma) in enumerate(zip(other["distances"], other["gamma"], strict=True)):
            ref, y = bands["distances"][segment], np.array(gamma, dtype=float)
            x = ref[0] + (np.array(own) - own[0]) * (ref[-1] - ref[0]) / (own[-1] - own[0] or 1.0)
            dots = np.repeat(x[:, None], y.shape[1], axis=1)
            left.plot(dots, y, ".", color=colour, ms=2.2, rasterized=True)  # thousands: as one small image
            finite.append(y[np.isfinite(y)])
    for edge in edges:
        left.axvline(edge, color="#cbd5e0", lw=0.7, zorder=0)
    spread = np.concatenate(finite) if finite else np.zeros(1)
    low, high = np.percentile(spread, [1, 99]) if spread.size else (0.0, 1.0)
    left.set_ylim(min(low, 0) - 0.3, max(high, 0) + 0.3)
    left.set_xticks(edges, labels)
    left.set_xlim(edges[0], edges[-1])
    left.set_ylabel("Grüneisen parameter")
    right.set_xlabel("temperature (K)")
    right.set_ylabel("mean")
    for ax in (left, right):
        ax.axhline(0, color="#4a5568", lw=0.7)
    if len(models) > 1:
        fig.legend(*right.get_legend_handles_labels(), frameon=False, ncols=4, loc="outside upper left")
    return fig


def expansion_figure(models):
    """Linear expansion, volume and bulk modulus of the quasi-harmonic model over temperature."""
    fig, axes = figure(9.0, 3.0, 3)
    rows = (("alpha", 1e6, "linear expansion (10$^{-6}$/K)"), ("volume", 1.0, "volume (Å$^3$/atom)"),
            ("bulk", 160.21766208, "bulk modulus (GPa)"))  # fmt: skip
    for k, (label, data) in enumerate(models):
        t = np.array(data["curve"]["temperature"])
        for ax, (key, factor, name) in zip(axes, rows, strict=True):
            y = np.array(data["curve"][key], dtype=float) * factor
            ax.plot(t, y, color=COLOURS[k % len(COLOURS)], lw=1.3, label=label)
            ax.set_ylabel(name)
            ax.set_xlabel("temperature (K)")
    axes[0].axhline(0, color="#4a5568", lw=0.7)
    if len(models) > 1:
        fig.legend(*axes[0].get_legend_handles_labels(), frameon=False, ncols=4, loc="outside upper left")
    return fig


def conductivity_figure(models):
    """Lattice thermal conductivity over temperature, and accumulated over the frequency of the phonons."""
    fig, (left, right) = figure(7.0, 3.2, 2)
    for k, (label, data) in enumerate(models):
        colour, curve = COLOURS[k % len(COLOURS)], data["curve"]
        left.plot(curve["temperature"], curve["kappa"], ".-", color=colour, lw=1.3, ms=4, label=label)
        left.fill_between(curve["temperature"], curve["kappa"], curve["coarse"], color=colour, alpha=0.2, lw=0)
        right.plot(data["cumulative"]["frequency"], data["cumulative"]["kappa"], color=colour, lw=1.3)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xticks([100, 200, 300, 500, 1000], ["100", "200", "300", "500", "1000"])
    left.minorticks_off()
    left.set_xlabel("temperature (K)")
    left.set_ylabel("thermal conductivity (W/m/K)")
    right.set_xlabel("frequency (THz)")
    right.set_ylabel("accumulated (W/m/K)")
    right.set_ylim(bottom=0)
    if len(models) > 1:
        fig.legend(*left.get_legend_handles_labels(), frameon=False, ncols=4, loc="outside upper left")
    return fig
