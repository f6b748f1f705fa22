"""Phase ordering: the crystal against other structure types of the same composition.

Each phase gets its own volume scan, starts from the lowest minimum of it, and is relaxed in cell and ions within its
space group. A phase without a minimum, or that ends as another one (space group, neighbours or energy tell), is not
given a number: it is labelled. Energies are differences to the crystal under test.

The error of a difference adds up, for both crystals, the forces and stress left and how far the energy of the relaxed
cell lies above the minimum of a parabola through three volumes (stress and energy that do not belong together).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import get_distances

from calczoo.core.errors import OptionError

from ..options import option
from ..registry import Context, Output, Property
from ..relax import Relaxed, relax
from ..results import PropertyFailure, PropertyResult, Status
from ..strain import scaled
from ..structures import PROTOTYPES, find_prototype, identify, lattice_constant, prototype_crystal
from ..symmetry import Symmetry

SAME_ENERGY = 2e-4  # eV/atom
LOOSE = 0.02  # A, symmetry tolerance when a relaxed phase is recognised
SOFT, STIFF = 0.1, 1.0  # a small bulk modulus (eV/A^3) and force constant (eV/A^2), for the errors of what is left
TITLES = {
    "beta_sn": "beta-Sn", "sh": "simple hexagonal", "sc": "simple cubic", "a15": "A15", "nias": "NiAs", "l1_0": "L1_0",
    "l1_2": "L1_2", "d0_3": "D0_3", "cesiumchloride": "CsCl", "nias_swapped": "NiAs, elements swapped",
}  # fmt: skip
NEIGHBOURS = 1.2  # of the smallest distance: what counts as a neighbour


@dataclass(frozen=True)
class Options:
    phases: tuple[str, ...] = option(
        ("all",), "prototypes to compare with, by name, or all that fit the composition", smoke=("fcc", "bcc", "hcp",
        "diamond", "rocksalt", "cesiumchloride", "zincblende", "l1_2", "d0_3", "fluorite", "rutile"),
    )  # fmt: skip
    points: int = option(13, "volumes of the scan for each phase's energy minimum", smoke=9, full=21, low=7, high=200)
    range: float = option(0.22, "largest change of length in the scan", low=0.05, high=0.5)
    curve: float = option(0.12, "largest V/V0 - 1 of the energy curves", low=0.01, high=0.3)


def applies(crystal: Any) -> str:
    return "" if fitting(crystal) else "no structure type with this composition is known to compare with"


def fitting(crystal: Any) -> list[tuple[str, str, list[str]]]:
    """(name, prototype, elements in its order) of all structure types that fit the crystal's composition."""
    numbers = crystal.atoms.symbols.formula.reduce()[0].count()
    out = []
    for name, kind in PROTOTYPES.items():
        if sorted(kind.counts) != sorted(numbers.values()):
            continue
        elements = sorted(numbers, key=lambda e: (numbers[e], e))
        order = sorted(range(len(kind.counts)), key=lambda k: kind.counts[k])
        by_site = [elements[order.index(k)] for k in range(len(order))]
        out.append((name, name, by_site))
        if name == "nias":  # the two sites are not alike
            out.append((f"{name}_swapped", name, by_site[::-1]))
    return out


def run(ctx: Context, result: PropertyResult) -> None:
    candidates = _wanted(ctx)
    own = ctx.crystal.prototype or identify(ctx.crystal.atoms, LOOSE)
    base = _base(ctx)
    per_atom = base["volume"] / (PROTOTYPES[own].volume if own in PROTOTYPES else 1.0)
    phases = _scan(ctx, candidates, per_atom)
    _relax(ctx, phases)
    _curves(ctx, phases, base)
    for phase in phases.values():
        _label(phase, base, own)
    _twins(phases)
    result.settings.update(phases=list(phases), scan_points=ctx.options.points, space_group_kept=True)
    for name, phase in phases.items():
        _add(result, name, phase, base)
    if not any(p["energy"] is not None for p in phases.values()):
        raise PropertyFailure("no other structure type has an energy minimum in this model", Status.UNSTABLE)
    _lowest(result, phases, base, own)
    result.data.update(
        own=own, crystal={"energy": base["energy"], "volume": base["volume"], "curve": base["curve"]},
        phases={n: {k: p[k] for k in KEPT} for n, p in phases.items()},
    )  # fmt: skip


KEPT = ("energy", "volume", "problem", "status", "end", "error", "curve", "cell", "steps", "neighbours", "other_minima")


def _wanted(ctx: Context) -> list[tuple[str, str, list[str]]]:
    every = fitting(ctx.crystal)
    if not every:
        raise PropertyFailure(applies(ctx.crystal), Status.UNSUPPORTED)
    if "all" in ctx.options.phases:
        return every
    names = [find_prototype(p) for p in ctx.options.phases]
    chosen = [c for c in every if c[1] in names]
    if not chosen:
        raise OptionError(f"phases.phases: none of {', '.join(names)} fits {ctx.crystal.label_formula()}")
    return chosen


def _base(ctx: Context) -> dict[str, Any]:
    """The crystal under test."""
    atoms = ctx.crystal.atoms
    n = len(atoms)
    return {"atoms": atoms, "volume": atoms.get_volume() / n, "n": n, "left": (0.0, 0.0), "curve": None, "error": 0.0}


def _scan(ctx: Context, candidates, per_atom: float) -> dict[str, dict]:
    """Energies over length of all phases in one call; the start of each is the lowest minimum inside the scan."""
    s, phases = ctx.options, {}
    scales = np.linspace(1 - s.range, 1 + s.range, s.points)
    starts = {}
    for name, prototype, elements in candidates:
        a = lattice_constant(elements, prototype, PROTOTYPES[prototype].volume * per_atom)
        starts[name] = prototype_crystal(elements, prototype, a).atoms
        phases[name] = {
            "prototype": prototype, "energy": None, "volume": None, "problem": "", "status": "ok", "end": "",
            "error": None, "curve": None, "cell": None, "steps": 0, "neighbours": None, "other_minima": [],
            "start": None, "twins": [],
        }  # fmt: skip
    cells = [scaled(starts[name], x) for name in phases for x in scales]
    with ctx.progress.step("scanning the volumes of the phases", len(cells)):
        got = ctx.evaluator.evaluate(cells, ("energy",), errors="return")
    for k, (name, phase) in enumerate(phases.items()):
        part = got[k * s.points : (k + 1) * s.points]
        _minimum(phase, starts[name], scales, part)
    return phases


def _minimum(phase: dict, atoms: Atoms, scales: np.ndarray, got: list) -> None:
    failed = [g for g in got if not isinstance(g, dict)]
    energy = np.array([g["energy"] if isinstance(g, dict) else np.nan for g in got]) / len(atoms)
    if len(failed) == len(got):
        phase.update(problem=f"the calculator fails: {failed[0]}", status="failed")
        return
    inner = [
        k for k in range(1, len(scales) - 1)
        if np.isfinite(energy[k - 1 : k + 2]).all() and energy[k] < energy[k - 1] and energy[k] <= energy[k + 1]
    ]  # fmt: skip
    if not inner:
        phase.update(
            problem=f"no energy minimum for lengths between {scales[0]:.2f} and {scales[-1]:.2f} times the first guess",
            status="unstable",
        )
        return
    best = min(inner, key=lambda k: energy[k])
    phase["other_minima"] = [float(round(scales[k], 4)) for k in inner if k != best]
    left, mid, right = energy[best - 1 : best + 2]
    shift = 0.5 * (left - right) / (left - 2 * mid + right)
    phase["start"] = scaled(atoms, scales[best] + shift * (scales[1] - scales[0]))


def _relax(ctx: Context, phases: dict[str, dict]) -> None:
    names = [n for n, p in phases.items() if p["start"] is not None]
    if not names:
        return
    with ctx.progress.step("relaxing the phases", len(names)):
        done = relax(
            ctx.evaluator, [phases[n]["start"] for n in names], cell="full", fmax=ctx.general.crystal_fmax, smax=2e-6,
            symmetric=True, max_steps=ctx.general.max_steps, on_step=ctx.progress.update,
        )  # fmt: skip
    for name, r in zip(names, done, strict=True):
        phase, n = phases[name], len(r.atoms)
        phase.update(
            energy=r.energy / n, volume=r.atoms.get_volume() / n, atoms=r.atoms, steps=r.steps, left=(r.fmax, r.smax),
            cell=[round(float(x), 6) for x in r.atoms.cell.cellpar()], neighbours=coordination(r.atoms),
        )  # fmt: skip
        if not r.converged:
            phase.update(problem=f"the relaxation stopped early: {_why(r)}", status="unconverged")


def _why(r: Relaxed) -> str:
    return f"{r.reason} (force {r.fmax:.1g} eV/A, stress {r.smax:.1g} eV/A^3 left)"


def _curves(ctx: Context, phases: dict[str, dict], base: dict) -> None:
    """Energies at the shape of the relaxed cell, for the figure; three of them for the error bar."""
    ratios = np.concatenate([np.linspace(1 - ctx.options.curve, 1 + ctx.options.curve, 9), [0.99, 1.01]])
    bound = [base, *(p for p in phases.values() if p["energy"] is not None)]
    cells = [scaled(p["atoms"], r ** (1 / 3)) for p in bound for r in ratios]
    with ctx.progress.step("energy curves of the phases", len(cells)):
        got = ctx.evaluator.evaluate(cells, ("energy",), errors="return")
    for k, phase in enumerate(bound):
        n = len(phase["atoms"])
        part = got[k * len(ratios) : (k + 1) * len(ratios)]
        energy = np.array([g["energy"] / n if isinstance(g, dict) else np.nan for g in part])
        curve = [(float(r), e) for r, e in zip(ratios[:9], energy[:9], strict=True) if np.isfinite(e)]
        phase["curve"] = [[r for r, _ in curve], [float(e) for _, e in curve]]
        middle = energy[4]
        phase.setdefault("energy", float(middle))
        low, high = energy[9:]
        bend, slope = low - 2 * middle + high, (high - low) / 2
        above = slope**2 / (2 * bend) if bend > 0 else abs(slope)
        fmax, smax = phase["left"]
        rest = fmax**2 / (2 * STIFF) + smax**2 * phase["volume"] / (2 * SOFT)
        phase["error"] = float(above + rest) if np.isfinite(above) else None
        phase["volume_error"] = float(phase["volume"] * smax / SOFT)


def coordination(atoms: Atoms) -> list[int]:
    """Neighbours of each atom within 1.2 of its smallest distance, sorted."""
    big = atoms.repeat(5)
    middle = len(atoms) * (2 * 25 + 2 * 5 + 2)
    d = get_distances(big.positions[middle : middle + len(atoms)], big.positions)[1]
    d[d < 1e-6] = np.inf
    return sorted(int((row < NEIGHBOURS * row.min()).sum()) for row in d)


def _label(phase: dict, base: dict, own: str) -> None:
    """What the phase has become: itself, another known structure type, or something with other neighbours."""
    if phase["energy"] is None:
        return
    end = identify(phase["atoms"], LOOSE)
    phase["end"] = end
    if end != phase["prototype"]:
        found = Symmetry(phase["atoms"], LOOSE)
        what = TITLES.get(end, end) if end else f"a structure of space group {found.symbol} ({found.number})"
        gap = 1e3 * (phase["energy"] - base["energy"])
        phase.update(
            problem=f"relaxes into {what}, {gap:+.1f} meV/atom: it is no phase of its own in this model",
            status="unstable",
        )
        return
    before, after = coordination(phase["start"]), phase["neighbours"]
    if before != after and phase["prototype"] != own and phase["status"] == "ok":
        phase.update(
            problem=f"keeps its symmetry but not its neighbours: {_counts(before)} before the relaxation and "
            f"{_counts(after)} after it",
            status="suspicious",
        )  # fmt: skip


def _counts(numbers: list[int]) -> str:
    return "/".join(str(x) for x in sorted(set(numbers)))


def _twins(phases: dict[str, dict]) -> None:
    """Two phases of one energy and one volume: said, even where the symmetries differ (short-ranged models do that)."""
    names = [n for n, p in phases.items() if p["energy"] is not None and p["status"] in ("ok", "suspicious")]
    for k, a in enumerate(names):
        for b in names[k + 1 :]:
            pa, pb = phases[a], phases[b]
            close = abs(pa["energy"] - pb["energy"]) < 1e-6 and abs(pa["volume"] / pb["volume"] - 1) < 1e-5
            if close:
                pa["twins"].append(TITLES.get(b, b))
                pb["twins"].append(TITLES.get(a, a))


def _add(result: PropertyResult, name: str, phase: dict, base: dict) -> None:
    title = TITLES.get(name, name)
    bound = phase["energy"] is not None and phase["status"] != "unstable"
    difference = 1e3 * (phase["energy"] - base["energy"]) if bound else None
    error = None
    if bound and phase["error"] is not None and base["error"] is not None:
        error = 1e3 * (phase["error"] + base["error"])
    twins = f"same energy and volume as {', '.join(phase['twins'])}: this model does not tell them apart"
    value = result.add(
        f"E_{name}", f"Energy of {title}", difference, "meV/atom", error=error,
        error_source="forces, stress and curvature at the minimum of both", note=twins if phase["twins"] else "",
    )  # fmt: skip
    volume = result.add(
        f"V_{name}", f"Volume of {title}", phase["volume"] if bound else None, "A^3",
        error=phase["volume_error"] if bound else None, error_source="stress left",
    )  # fmt: skip
    for v in (value, volume):
        if phase["problem"]:
            v.flag(Status(phase["status"]), phase["problem"])
    if phase["other_minima"]:
        shown = ", ".join(f"{x:.2f}" for x in phase["other_minima"])
        result.notes.append(f"{title} has further energy minima at {shown} times the first guess of its length.")
    if error is not None and error > 1.0:
        value.flag(Status.SUSPICIOUS, f"stress and energy disagree about the minimum by {error:.1f} meV/atom")


def _lowest(result: PropertyResult, phases: dict, base: dict, own: str) -> None:
    """The lowest of all phases against the crystal under test."""
    usable = {n: p for n, p in phases.items() if p["energy"] is not None and p["status"] in ("ok", "suspicious")}
    name = min(usable, key=lambda n: usable[n]["energy"], default=None)
    gap = 0.0 if name is None else min(0.0, 1e3 * (usable[name]["energy"] - base["energy"]))
    error = result[f"E_{name}"].error if name else None
    lower = gap < -1e3 * SAME_ENERGY - (error or 0.0)
    value = result.add(
        "lowest", "Lowest phase against this crystal", gap if lower else 0.0, "meV/atom", error=error,
        error_source="as of that phase", note=TITLES.get(name, name) if lower else "",
    )  # fmt: skip
    if not lower:
        return
    title = TITLES.get(name, name)
    if name == own:
        text = f"{title} relaxes to {-gap:.2f} meV/atom below the crystal under test: that one is another minimum"
    else:
        text = f"{title} is {-gap:.2f} meV/atom lower: the crystal is not the ground state of the model"
    value.flag(Status.SUSPICIOUS, text)
    result[f"E_{name}"].flag(Status.SUSPICIOUS, text)


def plots(models):
    from ..plots import COLOURS, figure

    found = [(label, r) for label, r, _ in models if r.data.get("phases")]
    if not found:
        return []
    out = []
    for k, (label, result) in enumerate(found):
        fig, ax = figure(6.0, 3.6)
        data, zero = result.data, result.data["crystal"]["energy"]
        styles = ["-", "--", ":"]
        shown = [(n, p) for n, p in data["phases"].items() if p["curve"] and p["status"] != "unstable"]
        for j, (name, phase) in enumerate(shown):
            r, e = (np.array(x) for x in phase["curve"])
            style = {"color": COLOURS[j % len(COLOURS)], "ls": styles[j // len(COLOURS) % 3]}
            ax.plot(r * phase["volume"], 1e3 * (e - zero), lw=1.2, label=TITLES.get(name, name), **style)
        tops = [1e3 * (p["energy"] - zero) for _, p in shown]
        ax.set_ylim(min([0.0, *tops]) - 40, max([100.0, *tops]) + 150)
        ax.axhline(0, color="#4a5568", lw=0.7)
        ax.set_xlabel("volume (Å$^3$/atom)")
        ax.set_ylabel("energy (meV/atom)")
        fig.legend(frameon=False, loc="outside right upper", fontsize=8)
        gone = [TITLES.get(n, n) for n, p in data["phases"].items() if p["status"] == "unstable"]
        caption = f"{label}: energy over volume at the shape of each relaxed cell, from that of the crystal under test."
        caption += f" No phases of their own: {', '.join(gone)}." if gone else ""
        out.append((f"phases{k or ''}", "Phases", caption, fig))
    return out


PROPERTY = Property(
    "phases", "Phase ordering", run, order=22, plots=plots, options=Options, applies=applies,
    outputs=(
        Output("E_*", "meV/atom", "energy of a structure type, relaxed, relative to the crystal under test"),
        Output("V_*", "A^3", "volume per atom of that structure type"),
        Output("lowest", "meV/atom", "energy of the lowest structure type, zero if that is the crystal under test"),
    ),
    about="Which crystal structure the model prefers for this composition, and by how much. A structure that the model "
    "does not hold together, or that turns into another one, is said so and given no number.",
)  # fmt: skip
