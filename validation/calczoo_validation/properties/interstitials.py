"""Self-interstitials: an extra atom in every usual place of the crystal, which place is lowest, which ones decay.

    E_f = E(N + 1 atoms, relaxed) - E(N atoms) - mu_X

Each place is relaxed twice. From the symmetric start the relaxation keeps the symmetry, so a place that is only a
saddle point stays; from a kicked start it decays. All end states are then told apart by energy and by the crowding of
their atoms: rho_i = sum_j (1 - (r_ij/r_c)^2)^3 is the same for the same structure whatever its orientation. In a
compound every element is tried in every place; the Frenkel energy (interstitial and vacancy, far apart) needs no
chemical potential.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list

from ..chemical import Potentials, chemical_potentials
from ..convergence import add_with_limit, judge_formation
from ..defects import (
    DefectOptions,
    Host,
    Outcome,
    carry_over,
    distinct_sites,
    formation,
    hosts,
    locate,
    nearest_distance,
    relax_defects,
)
from ..interstitial_sites import SPLIT, Place, places
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status

KICK = 0.05  # A, on the atoms around the extra one; a tenth of it elsewhere
SAME_ENERGY = 5e-3  # eV
SAME_CROWDING = 0.08  # largest difference of sorted rho between two relaxations of one structure
CORE = 24  # most crowded atoms that are compared
HIGHEST = 40.0  # eV


@dataclass(frozen=True)
class Options(DefectOptions):
    holes: int = option(3, "largest Voronoi holes tried in a crystal without named places", full=6, low=0, high=40)
    kicked: bool = option(True, "relax each place from a kicked start too, to see whether it is a minimum", smoke=False)
    most: int = option(24, "most (place, element) pairs; further ones are left out with a note", full=80, low=1)


@dataclass
class Trial:
    """An element in a place: its relaxations by size, the kicked one, and the state it ends in."""

    place: Place
    element: str
    name: str
    plain: list[Outcome] = field(default_factory=list)
    kicked: Outcome | None = None
    state: int = -1
    kicked_state: int = -1

    @property
    def label(self) -> str:
        return self.place.label


def run(ctx: Context, result: PropertyResult) -> None:
    cells, compound = hosts(ctx), len(ctx.crystal.elements) > 1
    trials = [
        Trial(p, x, f"{x}_{p.name}" if compound else p.name)
        for p in places(ctx.crystal, ctx.options.holes) for x in ctx.crystal.elements
    ]  # fmt: skip
    if trials[ctx.options.most :]:
        left = ", ".join(t.name for t in trials[ctx.options.most :])
        result.notes.append(f"Left out (setting most): {left}.")
    trials = trials[: ctx.options.most]
    vacancies = _relax(ctx, cells, trials)
    if all(o.error for t in trials for o in t.plain):
        raise PropertyFailure(trials[0].plain[0].error, Status.FAILED)
    names = _states(trials)
    result.settings.update(
        supercells=[list(c.counts) for c in cells], atoms=[len(c) + 1 for c in cells], fmax_eV_A=ctx.options.fmax,
        cell="fixed", kick_A=KICK,
    )  # fmt: skip
    potentials = chemical_potentials(ctx, cells[0].energy / len(cells[0]) * len(ctx.crystal.atoms))
    for element in ctx.crystal.elements:
        mine = [t for t in trials if t.element == element]
        if mine:
            _add_element(ctx, result, cells, mine, names, potentials, vacancies)
    if compound:
        result.data["chemical_potentials"] = potentials.as_data()
        if potentials.warning:
            limited = [v.name for v in result.values if "_rich" in v.name or "_poor" in v.name]
            result.flag(Status.SUSPICIOUS, potentials.warning, limited)
    result.data["trials"] = [_data(t, names, cells) for t in trials]


# -- calculations ------------------------------------------------------------------------------------------------------


def _relax(ctx: Context, cells: list[Host], trials: list[Trial]) -> dict[tuple[int, str], Outcome]:
    """All places, elements and sizes, the kicked starts, and the vacancies (for the Frenkel energy), in one call."""
    split, origin = SPLIT * nearest_distance(ctx.crystal.atoms), ctx.crystal.atoms.positions
    rng, starts, keys = np.random.default_rng(ctx.general.seed + 54), [], []
    for c, host in enumerate(cells):
        for t in trials:
            start = t.place.occupy(host.atoms, origin[t.place.atom], t.element, split)
            starts.append(start)
            keys.append((t, c, False))
            if c == 0 and ctx.options.kicked:
                away = find_mic(start.positions - start.positions[-1], start.cell, pbc=True)[1]
                size = np.where(away < 1.6 * nearest_distance(ctx.crystal.atoms), KICK, KICK / 10)
                moved = start.copy()
                moved.positions += rng.normal(size=moved.positions.shape) * size[:, None]
                starts.append(moved)
                keys.append((t, c, True))
    holes = []
    for c, host in enumerate(cells):
        for site in distinct_sites(ctx.crystal):
            without = host.atoms.copy()
            del without[locate(host.atoms, origin[site.atom])]
            holes.append(((c, site.element), without))
    done = relax_defects(ctx, [*starts, *(h for _, h in holes)], "relaxing interstitials")
    for (t, _, kicked), outcome in zip(keys, done, strict=False):
        if kicked:
            t.kicked = outcome
        else:
            t.plain.append(outcome)
    best: dict[tuple[int, str], Outcome] = {}
    for (key, _), outcome in zip(holes, done[len(starts) :], strict=True):
        if key not in best or outcome.energy < best[key].energy:
            best[key] = outcome
    return best


def crowding(atoms: Atoms) -> np.ndarray:
    """rho of the most crowded atoms, in falling order: equal for the same structure in any orientation."""
    cutoff = 1.45 * (atoms.get_volume() / len(atoms)) ** (1 / 3)
    i, d = neighbor_list("id", atoms, cutoff)
    rho = np.bincount(i, (1 - (d / cutoff) ** 2) ** 3, minlength=len(atoms))
    return np.sort(rho)[::-1][:CORE]


def same_state(one: Outcome, other: Outcome) -> bool:
    """Whether two relaxations of one composition ended in the same structure."""
    if abs(one.energy - other.energy) > SAME_ENERGY:
        return False
    return bool(np.abs(crowding(one.atoms) - crowding(other.atoms)).max() < SAME_CROWDING)


def _states(trials: list[Trial]) -> list[str]:
    """Number the end states of the smallest cell (in `state`, `kicked_state`) and name each after its best place.

    That is the place whose atoms moved least on the way to it; a state that only kicked starts reach has no name.
    """
    found: list[tuple[str, Outcome]] = []
    owners: dict[int, list[Trial]] = {}

    def number(trial: Trial, outcome: Outcome) -> int:
        if outcome is None or outcome.error:
            return -1
        for k, (element, known) in enumerate(found):
            if element == trial.element and same_state(known, outcome):
                return k
        found.append((trial.element, outcome))
        return len(found) - 1

    for t in trials:
        t.state = number(t, t.plain[0])
        owners.setdefault(t.state, []).append(t)
    for t in trials:
        t.kicked_state = number(t, t.kicked)
    names = []
    for k in range(len(found)):
        best = min(owners.get(k, []), key=lambda t: round(t.plain[0].moved, 3), default=None)
        names.append(best.label if best else "a configuration of lower symmetry")
    return names


# -- numbers -----------------------------------------------------------------------------------------------------------


def _add_element(ctx, result, cells, trials: list[Trial], names, potentials: Potentials, vacancies) -> None:
    element, compound = trials[0].element, len(ctx.crystal.elements) > 1
    sizes, prefix = [len(c) for c in cells], f"{trials[0].element}_" if compound else ""
    lowest = _lowest(ctx, cells, trials)
    if lowest is None:
        result.flag(Status.FAILED, f"no interstitial of {element} could be evaluated", names=())
        return
    which, outcomes = lowest
    groups = [[o] for o in outcomes]
    for limit, mu in (potentials.limits or {"": None}).items():
        tag, text = (f"_{limit}", f", {limit.replace('_', '-')}") if limit else ("", "")
        label = f"Interstitial {element}, lowest{text}" if compound else "Interstitial, lowest"
        if mu is None:
            result.add(
                f"E_{prefix}lowest", label, None, "eV", status=Status.UNSUPPORTED,
                reason=f"no chemical potentials: {potentials.reason}",
            )  # fmt: skip
            continue
        values = _formations(cells, outcomes, element, mu, compound)
        for value in add_with_limit(result, f"E_{prefix}lowest{tag}", label, sizes, values, groups):
            if value is not None:
                value.note = f"{which}; {value.note}"
                _judge(value)
    pairs = [[o, vacancies[c, element]] for c, o in enumerate(outcomes)]
    frenkel = [o.energy + v.energy - 2 * cells[c].energy for c, (o, v) in enumerate(pairs)]
    label = f"Frenkel energy {element}" if compound else "Frenkel energy"
    for value in add_with_limit(result, f"E_frenkel{'_' + element if compound else ''}", label, sizes, frenkel, pairs):
        if value is not None:
            _judge(value)
    for t in trials:
        note = _fate(t, names, cells[0])
        if compound:
            values = [o.energy - low.energy for o, low in zip(t.plain, outcomes, strict=True)]
            base, label = f"above_{t.name}", f"Interstitial {element}, {t.label}, above the lowest"
        else:
            values = _formations(cells, t.plain, element, {}, False)
            base, label = f"E_{t.name}", f"Interstitial, {t.label}"
        for value in add_with_limit(result, base, label, sizes, values, [[o] for o in t.plain]):
            if value is not None:
                value.note = f"{note}; {value.note}" if note else value.note
                if not compound:
                    _judge(value)


def _formations(cells, outcomes, element: str, mu: dict[str, float], compound: bool) -> list[float]:
    """Formation energies by size; in an elemental crystal mu is each size's own energy per atom."""
    return [
        formation(o, h, {element: 1}, mu if compound else {element: h.energy / len(h)})
        for o, h in zip(outcomes, cells, strict=True)
    ]  # fmt: skip


def _lowest(ctx: Context, cells: list[Host], trials: list[Trial]) -> tuple[str, list[Outcome]] | None:
    """Name and outcomes by size of the state that is lowest in the largest cell.

    Candidates are all states reached from symmetric starts, and the lowest one that only a kicked start found, carried
    over to the larger cells.
    """
    good = [t for t in trials if all(np.isfinite(o.energy) for o in t.plain)]
    if not good:
        return None
    candidates = [(t.label, t.plain) for t in sorted(good, key=lambda t: round(t.plain[0].moved, 3))]
    plain = min(t.plain[0].energy for t in good)
    shaken = [t for t in trials if t.kicked is not None and np.isfinite(t.kicked.energy)]
    kicked = min(shaken, key=lambda t: round(t.kicked.energy, 4), default=None)
    if kicked is not None and kicked.kicked.energy < plain - SAME_ENERGY:
        candidates.append((f"from a kicked {kicked.label}", _carried(ctx, cells, kicked)))
    return min(candidates, key=lambda entry: round(entry[1][-1].energy, 4))


def _carried(ctx: Context, cells: list[Host], trial: Trial) -> list[Outcome]:
    """The kicked end state of the smallest cell, relaxed in the larger ones."""
    small, origin, found = cells[0], ctx.crystal.atoms.positions[trial.place.atom], trial.kicked
    moves = find_mic(found.atoms.positions[:-1] - small.atoms.positions, small.atoms.cell, pbc=True)[0]
    extra = find_mic(found.atoms.positions[-1] - origin, small.atoms.cell, pbc=True)[0]
    starts = []
    for host in cells[1:]:
        start = host.atoms.copy()
        start.positions = carry_over(small.atoms, origin, moves, host.atoms, origin)
        starts.append(start + Atoms([trial.element], [origin + extra]))
    return [found, *(relax_defects(ctx, starts, "lowest interstitial in larger cells") if starts else [])]


def _fate(t: Trial, names: list[str], host: Host) -> str:
    """What becomes of a place: "" where it is a minimum."""
    if t.state < 0:
        return ""
    if names[t.state] != t.label:
        return f"relaxes into {names[t.state]}"
    if t.kicked_state < 0 or t.kicked_state == t.state:
        return ""
    lower = t.plain[0].energy - t.kicked.energy
    if lower < -SAME_ENERGY:
        return f"kicked, it ends {-lower:.3f} eV higher, in {names[t.kicked_state]}"
    return f"no minimum: kicked, it relaxes into {names[t.kicked_state]}, {lower:.3f} eV lower"


def _judge(value) -> None:
    if value.value is not None and value.value > HIGHEST:
        value.flag(Status.SUSPICIOUS, f"formation energy above {HIGHEST:g} eV")
    elif value.value is not None and value.value < 0:
        judge_formation(value, "interstitials")


def _data(t: Trial, names: list[str], cells: list[Host]) -> dict:
    host = cells[0]
    energy = [o.energy - (len(h) + 1) / len(h) * h.energy for o, h in zip(t.plain, cells, strict=True)]
    return {
        "name": t.name, "label": t.label, "element": t.element, "state": t.state, "kicked_state": t.kicked_state,
        "fate": _fate(t, names, host), "relative": [round(e, 6) if np.isfinite(e) else None for e in energy],
        "plain": [o.as_data() for o in t.plain], "kicked": t.kicked.as_data() if t.kicked else None,
    }  # fmt: skip


def plots(models):
    """Energies of all places as horizontal bars above the lowest one's formation energy."""
    from ..plots import COLOURS, MARKS, figure

    first = next((r for _, r, _ in models if r.data.get("trials")), None)
    if first is None:
        return []
    compound = any(v.name.startswith("above_") for v in first.values)
    rows = [t for t in first.data["trials"]][:20]
    fig, ax = figure(6.0, 0.9 + 0.24 * len(rows) * (1 + 0.5 * (len(models) - 1)))
    height = 0.8 / len(models)
    for k, (label, result, refs) in enumerate(models):
        at, widths, open_ = [], [], []
        for n, row in enumerate(rows):
            name = f"above_{row['name']}" if compound else f"E_{row['name']}"
            name = f"{name}_infinite" if f"{name}_infinite" in result else name
            if name not in result or result[name].value is None:
                continue
            at.append(n + (k - (len(models) - 1) / 2) * height)
            widths.append(result[name].value)
            fate = next((t["fate"] for t in result.data["trials"] if t["name"] == row["name"]), "")
            open_.append(bool(fate))
            for ref in refs.get(name.removesuffix("_infinite"), []):
                mark, colour = MARKS.get(ref["kind"], ("x", "#4a5568"))
                ax.plot([ref["value"]], [n], "|" if mark == "_" else mark, color=colour, ms=6)
        drawn = ax.barh(at, widths, 0.92 * height, color=COLOURS[k % len(COLOURS)], label=label)
        for bar, pale in zip(drawn, open_, strict=True):
            bar.set_alpha(0.35 if pale else 1.0)
    ax.set_yticks(range(len(rows)), [f"{r['element']} {r['label']}" if compound else r["label"] for r in rows])
    ax.invert_yaxis()
    ax.set_xlabel("energy above the lowest (eV)" if compound else "formation energy (eV)")
    if len(models) > 1:
        fig.legend(frameon=False, ncols=4, loc="outside upper left", fontsize=8)
    caption = "One bar for each starting place; pale: not a minimum, it relaxes into another configuration."
    return [("interstitials", "Interstitials", caption, fig)]


PROPERTY = Property(
    "interstitials", "Interstitials", run, order=54, version=2, plots=plots, options=Options,
    outputs=(
        Output("E_frenkel*", "eV", "energy of an interstitial and a vacancy far apart"),
        Output("E_*", "eV", "formation energy reached from each place; the note says where it turns into another"),
        Output("above_*", "eV", "energy above the lowest place of the same element, in a compound"),
    ),
    about="Energy of an extra atom squeezed into the crystal, from every place where it may sit, with the neighbours "
    "relaxed at fixed cell.",
)  # fmt: skip
