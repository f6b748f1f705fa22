"""Vacancy migration: saddle points of all distinct nearest-neighbour hops by climbing-image nudged elastic bands.

A neighbour of the same element jumps into the vacancy. Both ends are relaxed, then all bands of all sizes and hops are
relaxed together (see neb.py). The barrier's error has two parts: the extrapolation of the supercell size with 1/N, and
what the spline through the images finds above the climbing one.

    Q = E_vac + E_mig,    nu* = prod_i nu_i(vacancy) / prod'_i nu_i(saddle)

Q is the activation energy of self-diffusion in an elemental crystal; nu* Vineyard's attempt frequency (G. H. Vineyard,
J. Phys. Chem. Solids 3, 121, doi:10.1016/0022-3697(57)90059-8), from finite-difference Hessians of all atoms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.geometry import find_mic

from ..convergence import LOWER_GATE, first_source, infinite, judge
from ..defects import DefectOptions, Host, Outcome, Pair, displaced, distinct_pairs, hosts, locate, relax_defects
from ..neb import Path, idpp_path, neb
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status

SPLINE_GATE = 0.02  # eV, the spline above the climbing image by more: too few images
LARGEST_BARRIER = 10.0  # eV
TO_THZ = float(np.sqrt(units._e / units._amu) * 1e10 / (2 * np.pi) * 1e-12)


@dataclass(frozen=True)
class Options(DefectOptions):
    images: int = option(5, "images between the ends of a band", smoke=3, full=7, low=1, high=51)
    band_fmax: float = option(0.01, "largest projected force on a band", unit="eV/A", full=3e-3, low=1e-6, high=0.2)
    hops: int = option(8, "most distinct hops; longer ones are left out with a note", low=1, high=100)
    frequency: bool = option(False, "attempt frequency from the Hessians of vacancy and saddle", full=True)
    displacement: float = option(0.01, "displacement of the Hessians; twice this is used as well", unit="A", low=1e-4,
                                 high=0.1)  # fmt: skip


@dataclass
class Hop:
    """One hop in one supercell: outcomes of its ends, and its band where both ends were found."""

    pair: Pair
    cell: int
    start: Outcome
    end: Outcome
    path: Path | None = None
    reason: str = ""
    lower: float = 0.0


def run(ctx: Context, result: PropertyResult) -> None:
    cells, pairs = hosts(ctx), distinct_pairs(ctx.crystal, 1, same_element=True)
    pairs.sort(key=lambda p: p.distance)
    if pairs[ctx.options.hops :]:
        result.notes.append(f"{len(pairs) - ctx.options.hops} longer hops left out (setting hops).")
    pairs = pairs[: ctx.options.hops]
    hops = _ends(ctx, cells, pairs)
    _bands(ctx, cells, hops)
    if all(h.path is None for h in hops):
        raise PropertyFailure(hops[0].reason, Status.FAILED)
    result.settings.update(
        supercells=[list(c.counts) for c in cells], atoms=[len(c) - 1 for c in cells], fmax_eV_A=ctx.options.fmax,
        band_fmax_eV_A=ctx.options.band_fmax, images=ctx.options.images, cell="fixed", first_path="IDPP",
    )  # fmt: skip
    for k, pair in enumerate(pairs):
        _add_hop(ctx, result, cells, [h for h in hops if h.pair is pair], "" if len(pairs) == 1 else f"_{pair.label}")
        if ctx.options.frequency:
            _add_frequency(ctx, result, hops[k], "" if len(pairs) == 1 else f"_{pair.label}")
    result.data["hops"] = [_data(h) for h in hops]


# -- calculations ------------------------------------------------------------------------------------------------------


def _ends(ctx: Context, cells: list[Host], pairs: list[Pair]) -> list[Hop]:
    """Both ends of every hop in every cell, in the same order of atoms, relaxed in one call.

    Each end is relaxed from displaced atoms too; where that is lower, it is the end.
    """
    starts, keys = [], []
    for c, host in enumerate(cells):
        for pair in pairs:
            here = ctx.crystal.atoms.positions[pair.first]
            hole, jumper = locate(host.atoms, here), locate(host.atoms, here + pair.vector)
            before = host.atoms.copy()
            after = host.atoms.copy()
            after.positions[jumper] -= np.asarray(pair.vector)  # a straight jump, not to another image of the hole
            del before[hole], after[hole]
            seed = ctx.general.seed + 43
            starts += [before, after, displaced(before, [here], seed), displaced(after, [here + pair.vector], seed + 1)]
            keys.append((pair, c))
    done, hops = relax_defects(ctx, starts, "relaxing the ends of the hops"), []
    for k, (pair, c) in enumerate(keys):
        ends, gains = list(done[4 * k : 4 * k + 2]), []
        for n, other in enumerate(done[4 * k + 2 : 4 * k + 4]):
            gains.append(ends[n].energy - other.energy if np.isfinite(other.energy) else 0.0)
            if gains[-1] > LOWER_GATE:  # the symmetric end is a saddle point: a band needs minima
                ends[n] = other
        hops.append(Hop(pair, c, *ends, lower=max(gains)))
    return hops


def _bands(ctx: Context, cells: list[Host], hops: list[Hop]) -> None:
    """All bands in one go; a hop whose ends are missing or fell into one another has none."""
    paths, owners = [], []
    for hop in hops:
        if hop.start.error or hop.end.error:
            hop.reason = hop.start.error or hop.end.error
            continue
        moved = find_mic(hop.end.atoms.positions - hop.start.atoms.positions, cells[hop.cell].atoms.cell, pbc=True)[1]
        if moved.max() < 0.4 * hop.pair.distance:
            hop.reason = (
                "both ends of the hop relax into the same structure: the vacancy is shared between the sites, there "
                "is no barrier to find"
            )
            continue
        paths.append(idpp_path(hop.start.atoms, hop.end.atoms, ctx.options.images))
        owners.append(hop)
    if not paths:
        return
    with ctx.progress.step("migration paths", len(paths)):
        done = neb(
            ctx.evaluator, paths, fmax=ctx.options.band_fmax, max_steps=ctx.general.max_steps,
            on_step=ctx.progress.update,
        )  # fmt: skip
    for hop, path in zip(owners, done, strict=True):
        hop.path = path


def hessian(ctx: Context, structures: list[Atoms], h: float) -> list[np.ndarray]:
    """(3n, 3n) second derivatives in eV/A^2 by central differences of the forces, all structures in one call."""
    trials = []
    for atoms in structures:
        for coordinate in range(3 * len(atoms)):
            for sign in (1.0, -1.0):
                moved = atoms.copy()
                moved.positions[divmod(coordinate, 3)] += sign * h
                trials.append(moved)
    got = iter(ctx.evaluator.evaluate(trials, ("energy", "forces")))
    out = []
    for atoms in structures:
        rows = [-(next(got)["forces"] - next(got)["forces"]).ravel() / (2 * h) for _ in range(3 * len(atoms))]
        out.append((np.array(rows) + np.array(rows).T) / 2)
    return out


def frequencies(second: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Vibrational frequencies in THz, imaginary ones negative, without the three translations (nearest to zero)."""
    weight = np.repeat(masses, 3) ** -0.5
    values = np.linalg.eigvalsh(second * weight[:, None] * weight[None, :])
    f = np.sign(values) * np.sqrt(np.abs(values)) * TO_THZ
    return np.sort(np.delete(f, np.argsort(np.abs(f))[:3]))


# -- numbers -----------------------------------------------------------------------------------------------------------


def _add_hop(ctx: Context, result: PropertyResult, cells: list[Host], hops: list[Hop], tag: str) -> None:
    where = tag.replace("_", " ")
    sizes, pair = [len(c) for c in cells], hops[0].pair
    forward = [h.path.barrier if h.path else np.nan for h in hops]
    _add_barrier(result, f"E_mig{tag}", f"Vacancy migration barrier{where}", sizes, forward, hops)
    asymmetric = any(h.path and abs(h.path.barrier - h.path.reverse) > 2e-3 for h in hops)
    if asymmetric:
        backward = [h.path.reverse if h.path else np.nan for h in hops]
        label = f"Vacancy migration barrier{where}, back"
        _add_barrier(result, f"E_mig_back{tag}", label, sizes, backward, hops)
    if len(ctx.crystal.elements) == 1:
        total = [
            h.start.energy - (n - 1) / n * cells[h.cell].energy + e
            for h, n, e in zip(hops, sizes, forward, strict=True)
        ]  # fmt: skip
        _add_barrier(result, f"Q{tag}", f"Activation energy of self-diffusion{where}", sizes, total, hops)
    result[f"E_mig{tag}"].note = f"{pair.distance:.3f} A; {sizes[0] - 1} atoms"


def _add_barrier(result: PropertyResult, name: str, label: str, sizes, values, hops: list[Hop]) -> None:
    """`name` (smallest cell) and `name_infinite`, with errors of size and images, and the statuses of the bands."""
    limit = infinite(sizes, values)
    gaps = [max(h.path.spline_maximum - h.path.barrier, 0.0) if h.path else np.nan for h in hops]
    error, source = None, "one supercell only: no error bar"
    if limit is not None:
        error, source = abs(values[0] - limit.value) + gaps[0] + 1e-6, f"{first_source(sizes)}; images"
    added = [
        result.add(name, label, values[0], "eV", error=error, error_source=source, note=f"{sizes[0] - 1} atoms")
    ]  # fmt: skip
    if len(sizes) > 1:
        added.append(
            result.add(
                f"{name}_infinite",
                f"{label}, infinite cell",
                limit.value if limit else None,
                "eV",
                error=limit.error + max(gaps) + 1e-6 if limit else None,
                error_source=limit.source if limit else "",
                note=f"from {', '.join(map(str, sizes))} sites",
            )  # fmt: skip
        )
    for value, group in zip(added, ([hops[0]], hops), strict=False):
        for hop in group:
            _judge(value, hop)


def _judge(value, hop: Hop) -> None:
    if hop.path is None:
        value.flag(Status.FAILED, hop.reason)
        return
    path = hop.path
    judge(value, hop.start)
    judge(value, hop.end)
    if hop.lower > LOWER_GATE:
        value.flag(
            Status.SUSPICIOUS,
            f"the symmetric vacancy is no minimum ({hop.lower:.3f} eV above the lowest found): the hop leads from one "
            "distorted vacancy to another, and there may be shorter ones",
        )
    if not path.converged:
        value.flag(Status.UNCONVERGED, f"the band stopped at {path.fmax:.2g} eV/A: {path.reason}")
    if path.spline_maximum > path.barrier + SPLINE_GATE:
        value.flag(Status.SUSPICIOUS, "the path between the images lies above the climbing one: use more images")
    if path.barrier <= 0 or path.reverse <= 0:
        value.flag(Status.SUSPICIOUS, "no image lies above both ends: the hop has no barrier, or an end is no minimum")
    if value.value is not None and value.value > LARGEST_BARRIER:
        value.flag(Status.SUSPICIOUS, f"above {LARGEST_BARRIER:g} eV: no atom moves by such a hop")
    valleys = path.valleys()
    if valleys and "minimum on the way" not in value.note:
        value.note += "; a minimum on the way"


def _add_frequency(ctx: Context, result: PropertyResult, hop: Hop, tag: str) -> None:
    """Vineyard's attempt frequency in the smallest cell, with two displacements."""
    if hop.path is None:
        return
    ends, found, negative = [hop.start.atoms, hop.path.images[hop.path.saddle]], [], 0
    masses = ends[0].get_masses()
    for h in (ctx.options.displacement, 2 * ctx.options.displacement):
        with ctx.progress.step("Hessians of vacancy and saddle", 12 * len(masses)):
            vacancy, saddle = (frequencies(x, masses) for x in hessian(ctx, ends, h))
        negative = int((saddle < 0).sum())
        good = vacancy[0] > 0 and negative == 1
        found.append(float(np.exp(np.log(vacancy).sum() - np.log(saddle[1:]).sum())) if good else np.nan)
        if h == ctx.options.displacement:
            result.data.setdefault("frequencies", {})[hop.pair.label] = {
                "vacancy": [round(float(f), 4) for f in vacancy], "saddle": [round(float(f), 4) for f in saddle],
            }  # fmt: skip
    where = tag.replace("_", " ")
    value = result.add(
        f"attempt_frequency{tag}", f"Attempt frequency{where}", found[0] if np.isfinite(found[0]) else None, "THz",
        error=abs(found[1] - found[0]), error_source="two displacements", note=f"{len(masses)} atoms, Vineyard",
    )  # fmt: skip
    if not np.isfinite(found[0]):
        value.flag(
            Status.SUSPICIOUS,
            f"the saddle has {negative} imaginary frequencies instead of one, or the vacancy has some",
        )
    _judge(value, hop)


def _data(hop: Hop) -> dict:
    out = {"label": hop.pair.label, "cell": hop.cell, "distance": round(hop.pair.distance, 6), "reason": hop.reason}
    if hop.path is not None:
        p = hop.path
        s, e = p.curve(12)
        out |= {
            "s": [round(float(x), 5) for x in p.distances], "energy": [round(float(x), 6) for x in p.energies],
            "slope": [round(float(x), 6) for x in p.slopes], "converged": p.converged, "fmax": round(p.fmax, 6),
            "steps": p.steps, "curve": [[round(float(x), 4) for x in s], [round(float(x), 5) for x in e]],
        }  # fmt: skip
        out["reason"] = out["reason"] or p.reason
    return out


def plots(models):
    """Energy along the path, one panel for each hop (smallest supercell)."""
    from ..plots import COLOURS, figure

    hops = [h for _, result, _ in models for h in result.data.get("hops", []) if h.get("s")]
    labels = list(dict.fromkeys(h["label"] for h in hops))[:4]
    if not labels:
        return []
    fig, axes = figure(1.2 + 2.8 * len(labels), 3.0, len(labels), squeeze=False)
    for ax, name in zip(axes[0], labels, strict=True):
        for k, (label, result, _) in enumerate(models):
            hop = next((h for h in result.data.get("hops", []) if h["label"] == name and h.get("s")), None)
            if hop is None:
                continue
            colour = COLOURS[k % len(COLOURS)]
            ax.plot(*hop["curve"], color=colour, lw=1.2, label=label)
            ax.plot(hop["s"], hop["energy"], "o", color=colour, ms=4)
        ax.axhline(0, color="#4a5568", lw=0.7)
        ax.set_xlabel("path length (Å)")
        if len(labels) > 1:
            ax.set_title(f"neighbour {name.replace('_', ' ')}", fontsize=9)
    axes[0][0].set_ylabel("energy (eV)")
    if len(models) > 1:
        axes[0][0].legend(frameon=False)
    caption = "An atom jumps into the vacancy. Dots: images of the band; lines: spline through energies and forces."
    return [("migration", "Vacancy migration", caption, fig)]


PROPERTY = Property(
    "migration", "Vacancy migration", run, order=58, plots=plots, options=Options,
    sources=("10.1063/1.1329672", "10.1063/1.1323224", "10.1016/0022-3697(57)90059-8"),
    outputs=(
        Output("E_mig*", "eV", "energy of the saddle point above the vacancy, each distinct hop"),
        Output("Q*", "eV", "vacancy formation plus migration energy"),
        Output("attempt_frequency*", "THz", "prefactor of the hop rate in harmonic transition-state theory"),
    ),
    about="The energy an atom needs to jump into a neighbouring vacancy. Together with the formation energy it sets "
    "how fast the crystal's atoms diffuse.",
)  # fmt: skip
