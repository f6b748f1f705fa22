"""Vacancy formation energies: every distinct site, several supercells, relaxed at fixed cell.

    E_f = E(N - 1 atoms, relaxed) - E(N atoms) + mu,    mu = E(N)/N in an elemental crystal

Elastic interaction with the periodic images falls as 1/N and is extrapolated away (see defects.py). A second start,
with the neighbours displaced into the vacancy, shows when the symmetric vacancy is not the lowest (it is not in
Stillinger-Weber silicon). In a compound mu_X is between the limits that the compound and the elements of the same model
set; the Schottky energy (one vacancy for each atom of a formula unit, the atoms put back as crystal) needs no mu.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from ..chemical import Potentials, chemical_potentials, formula_units
from ..convergence import LOWER_GATE, add_with_limit, infinite, judge, judge_formation
from ..defects import (
    DefectOptions,
    Host,
    Outcome,
    Site,
    carry_over,
    compliance,
    displaced,
    distinct_sites,
    formation,
    hosts,
    locate,
    nearest_distance,
    relax_defects,
    relaxation_volume,
)
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyFailure, PropertyResult, Status


@dataclass(frozen=True)
class Options(DefectOptions):
    free_cell: bool = option(False, "relax the supercell too (zero pressure) instead of keeping it fixed")
    displaced: int = option(1, "displaced starts in the smallest supercell", full=3, low=0, high=20)


@dataclass
class Runs:
    """Outcomes by (site, size, "plain" or "displaced1" ...) with what they are measured against."""

    sites: list[Site]
    cells: list[Host]
    table: dict[tuple[int, int, str], Outcome]
    nearest: float

    @property
    def sizes(self) -> list[int]:
        return [len(c) for c in self.cells]

    def lowest(self, site: int, cell: int) -> tuple[str, Outcome]:
        """The start of least energy at one site and size."""
        found = {k[2]: o for k, o in self.table.items() if k[:2] == (site, cell) and np.isfinite(o.energy)}
        name = min(found, key=lambda n: (round(found[n].energy, 6), n != "plain")) if found else "plain"
        return name, self.table[site, cell, name]


def run(ctx: Context, result: PropertyResult) -> None:
    cells, sites = hosts(ctx, stress=not ctx.options.free_cell), distinct_sites(ctx.crystal)
    runs = _runs(ctx, cells, sites)
    if all(o.error for o in runs.table.values()):
        raise PropertyFailure(next(iter(runs.table.values())).error, Status.FAILED)
    per_cell = cells[0].energy / len(cells[0]) * len(ctx.crystal.atoms)
    potentials = chemical_potentials(ctx, per_cell)
    result.settings.update(
        supercells=[list(c.counts) for c in cells], atoms=[len(c) - 1 for c in cells], fmax_eV_A=ctx.options.fmax,
        cell="free" if ctx.options.free_cell else "fixed",
    )  # fmt: skip
    elemental = len(ctx.crystal.elements) == 1
    for number, site in enumerate(sites):
        if elemental:
            _add_elemental(result, runs, number, site)
        else:
            _add_compound(result, runs, number, site, potentials)
    if not elemental:
        _add_schottky(ctx, result, runs, per_cell)
        _report_potentials(result, potentials)
    if not ctx.options.free_cell:
        _add_volumes(ctx, result, runs)
    result.data["runs"] = [
        {"site": k[0], "cell": k[1], "start": k[2], "formation": _own(runs, k), **o.as_data()}
        for k, o in runs.table.items()
    ]  # fmt: skip


def _own(runs: Runs, key) -> float | None:
    """E(defect) - (N - 1)/N E(perfect): the formation energy of an elemental crystal."""
    host, energy = runs.cells[key[1]], runs.table[key].energy
    return round(energy - (len(host) - 1) / len(host) * host.energy, 8) if np.isfinite(energy) else None


# -- calculations ------------------------------------------------------------------------------------------------------


def _runs(ctx: Context, cells: list[Host], sites: list[Site]) -> Runs:
    """All sites, sizes and starts in one relaxation; a second one where a displaced start turns out lower."""
    starts, keys = [], []
    for c, host in enumerate(cells):
        for k, site in enumerate(sites):
            plain, centre = _without(ctx, host, site)
            starts.append(plain)
            keys.append((k, c, "plain"))
            for trial in range(ctx.options.displaced if c == 0 else 0):
                starts.append(displaced(plain, [centre], ctx.general.seed + 19 + trial))
                keys.append((k, c, f"displaced{trial + 1}"))
    outcomes = relax_defects(ctx, starts, "relaxing vacancies", True, ctx.options.free_cell)
    runs = Runs(sites, cells, dict(zip(keys, outcomes, strict=True)), nearest_distance(ctx.crystal.atoms))
    _lower_state_in_larger_cells(ctx, runs)
    return runs


def _without(ctx: Context, host: Host, site: Site) -> tuple[Atoms, np.ndarray]:
    """The supercell without the atom of one site, and where that was."""
    removed = locate(host.atoms, ctx.crystal.atoms.positions[site.atom])
    out = host.atoms.copy()
    del out[removed]
    return out, host.atoms.positions[removed].copy()


def _lower_state_in_larger_cells(ctx: Context, runs: Runs) -> None:
    """Carry the displacements of a lower state of the smallest cell over to the others."""
    starts, keys = [], []
    for k, site in enumerate(runs.sites):
        name, lowest = runs.lowest(k, 0)
        plain = runs.table[k, 0, "plain"]
        if name == "plain" or plain.energy - lowest.energy <= LOWER_GATE:
            continue
        small, centre = _without(ctx, runs.cells[0], site)
        moves = find_mic(lowest.atoms.positions - plain.start.positions, small.cell, pbc=True)[0]
        for c, host in enumerate(runs.cells[1:], start=1):
            start, here = _without(ctx, host, site)
            start.positions = carry_over(small, centre, moves, start, here)
            starts.append(start)
            keys.append((k, c, name))
    if starts:
        done = relax_defects(ctx, starts, "lower vacancies in larger cells", True, ctx.options.free_cell)
        runs.table |= dict(zip(keys, done, strict=True))


# -- numbers -----------------------------------------------------------------------------------------------------------


def _series(runs: Runs, number: int, potential: dict[str, float] | None, start: str = "plain", raw: bool = False):
    """Formation energies by size; without potentials each size's own energy per atom is the chemical potential."""
    site, out = runs.sites[number], []
    for c, host in enumerate(runs.cells):
        mu = potential or {site.element: host.energy / len(host)}
        out.append(formation(runs.table[number, c, start], host, {site.element: -1}, mu, start=raw))
    return out


def _add_elemental(result: PropertyResult, runs: Runs, number: int, site: Site) -> None:
    tag, where = site.tag, site.tag.replace("_", " ")
    outcomes = [[runs.table[number, c, "plain"]] for c in range(len(runs.cells))]
    values = _series(runs, number, None)
    label = f"Vacancy formation energy{where}"
    main, far = add_with_limit(result, f"E_vac{tag}", label, runs.sizes, values, outcomes, nearest=runs.nearest)
    main.note, checked = f"{runs.sizes[0] - 1} atoms", [v for v in (main, far) if v is not None]
    limit = infinite(runs.sizes, values)
    for k in range(1, len(runs.cells)):
        value = result.add(
            f"E_vac{tag}_cell{k + 1}", f"{label}, cell {k + 1}", values[k], "eV",
            error=abs(values[k] - limit.value) + 1e-6 if limit else None, error_source=main.error_source,
            note=f"{runs.sizes[k] - 1} atoms",
        )  # fmt: skip
        judge(value, outcomes[k][0], runs.nearest)
        checked.append(value)
    for value in checked:
        judge_formation(value, "vacancies")
    raw = _series(runs, number, None, raw=True)
    limit = infinite(runs.sizes, raw)
    result.add(
        f"E_vac_unrelaxed{tag}", f"{label}, ions not relaxed", raw[0], "eV", note=f"{runs.sizes[0] - 1} atoms",
        error=abs(raw[0] - limit.value) if limit else None, error_source=limit.source if limit else "",
    )  # fmt: skip
    if raw[0] < values[0] - 1e-6:
        main.flag(Status.FAILED, "the relaxed vacancy has more energy than the unrelaxed one")
    _add_lower_state(result, runs, number, site, checked)


def _add_lower_state(result: PropertyResult, runs: Runs, number: int, site: Site, checked) -> None:
    name, lowest = runs.lowest(number, 0)
    plain = runs.table[number, 0, "plain"]
    if name == "plain" or plain.energy - lowest.energy <= LOWER_GATE:
        return
    values = _series(runs, number, None, name)
    outcomes = [[runs.table[number, c, name]] for c in range(len(runs.cells))]
    label = f"Vacancy formation energy{site.tag.replace('_', ' ')}, from displaced atoms"
    low, _ = add_with_limit(result, f"E_vac_lowest{site.tag}", label, runs.sizes, values, outcomes)
    low.note = f"{runs.sizes[0] - 1} atoms"
    for value in checked:
        value.flag(
            Status.SUSPICIOUS,
            f"the symmetric vacancy is not the lowest: from displaced atoms the relaxation reaches {values[0]:.3f} eV",
        )


def _add_compound(result: PropertyResult, runs: Runs, number: int, site: Site, potentials: Potentials) -> None:
    for limit, mu in potentials.limits.items():
        values, outcomes, moved = [], [], False
        for c, host in enumerate(runs.cells):
            _, best = runs.lowest(number, c)
            moved = moved or best.energy < runs.table[number, c, "plain"].energy - LOWER_GATE
            values.append(formation(best, host, {site.element: -1}, mu))
            outcomes.append([best])
        label = f"Vacancy formation energy{site.tag.replace('_', ' ')}, {limit.replace('_', '-')}"
        for value in add_with_limit(result, f"E_vac{site.tag}_{limit}", label, runs.sizes, values, outcomes):
            if value is not None:
                judge_formation(value, "vacancies")
                value.note += "; from displaced atoms, the symmetric one is higher" if moved else ""
    if not potentials.limits:
        result.add(
            f"E_vac{site.tag}", f"Vacancy formation energy{site.tag.replace('_', ' ')}", None, "eV",
            status=Status.UNSUPPORTED, reason=f"no chemical potentials: {potentials.reason}",
        )  # fmt: skip


def _add_schottky(ctx: Context, result: PropertyResult, runs: Runs, per_cell: float) -> None:
    """Vacancies of a formula unit, each in a cell of its own, with the least costly site of each element."""
    unit, number = formula_units(ctx.crystal)
    values, outcomes = [], []
    for c, host in enumerate(runs.cells):
        total, group = per_cell / number, []
        for element, count in unit.items():
            best = min(
                (runs.lowest(k, c)[1] for k, s in enumerate(runs.sites) if s.element == element),
                key=lambda o: o.energy if np.isfinite(o.energy) else np.inf,
            )
            total += count * (best.energy - host.energy)
            group.append(best)
        values.append(total)
        outcomes.append(group)
    label = "Schottky energy of a formula unit"
    for value in add_with_limit(result, "E_schottky", label, runs.sizes, values, outcomes):
        if value is not None:
            judge_formation(value, "Schottky defects")


def _report_potentials(result: PropertyResult, potentials: Potentials) -> None:
    result.data["chemical_potentials"] = potentials.as_data()
    if potentials.enthalpy is not None:
        phases = ", ".join(f"{x} {e.phase}" for x, e in potentials.elements.items())
        result.add(
            "enthalpy", "Formation enthalpy", potentials.enthalpy, "eV", note=f"per atom, from {phases}",
            error=1e-5, error_source="forces and stress left",
        )  # fmt: skip
        result.notes.append(f"Chemical potentials from the model's own elements: {phases} (lowest of those tried).")
    if potentials.warning:
        names = [v.name for v in result.values if "_rich" in v.name or "_poor" in v.name]
        result.flag(Status.SUSPICIOUS, potentials.warning, names)


def _add_volumes(ctx: Context, result: PropertyResult, runs: Runs) -> None:
    """Relaxation volume and energy at zero pressure, from the stress that the fixed cell leaves."""
    s = compliance(ctx)
    if s is None:
        result.notes.append("No relaxation volume: the crystal is elastically unstable in this model.")
        return
    for number, site in enumerate(runs.sites):
        # In a compound the energies are those of the lowest state, so the volume is.
        best = [
            runs.table[number, c, "plain"] if len(ctx.crystal.elements) == 1 else runs.lowest(number, c)[1]
            for c in range(len(runs.cells))
        ]
        found = [relaxation_volume(outcome, host, s) for outcome, host in zip(best, runs.cells, strict=True)]
        where = site.tag.replace("_", " ")
        if any(f is None for f in found):
            result.add(
                f"V_relax{site.tag}", f"Vacancy relaxation volume{where}", None, "A^3", status=Status.UNSUPPORTED,
                reason="the calculator gives no stress for the defect",
            )  # fmt: skip
            continue
        outcomes = [[outcome] for outcome in best]
        volumes = [f[0] for f in found]
        # The volume comes from the largest cell: the harmonic response is the better the smaller the strain.
        value = result.add(
            f"V_relax{site.tag}", f"Vacancy relaxation volume{where}", volumes[-1], "A^3",
            error=abs(volumes[-1] - volumes[0]) if len(volumes) > 1 else None,
            error_source="smallest and largest supercell" if len(volumes) > 1 else "one supercell only: no error bar",
            note=f"{volumes[-1] / ctx.crystal.atoms.get_volume() * len(ctx.crystal.atoms):.2f} atomic volumes",
        )  # fmt: skip
        if len(ctx.crystal.elements) > 1:
            judge(value, outcomes[-1][0])
            continue
        judge(value, outcomes[-1][0], runs.nearest)
        zero = [e - f[1] for e, f in zip(_series(runs, number, None), found, strict=True)]
        limit = infinite(runs.sizes, zero)
        value = result.add(
            f"E_vac_zero_pressure{site.tag}", f"Vacancy formation energy{where}, zero pressure", zero[0], "eV",
            error=abs(zero[0] - limit.value) + 1e-6 if limit else None, error_source=limit.source if limit else "",
            note=f"{runs.sizes[0] - 1} atoms, elastic dipole correction",
        )  # fmt: skip
        judge(value, outcomes[0][0], runs.nearest)


def plots(models):
    """Formation energies as bars, and their convergence with 1/N."""
    from ..plots import bars

    first = next((r for _, r, _ in models if r.values), None)
    if first is None:
        return []
    names = [v.name for v in first.values if v.unit == "eV" and v.value is not None and "_cell" not in v.name]
    if "E_schottky_infinite" in names:  # a compound: the limits are enough to show
        names = [n for n in names if n.endswith("_infinite")]
    names = names[:10]
    series, marks = [], {}
    for label, result, refs in models:
        get = [result[n].value if n in result else None for n in names]
        series.append((label, get, [result[n].error if n in result else None for n in names]))
        for k, n in enumerate(names):
            for ref in reversed(refs.get(n, [])):  # of several of one kind the first counts
                marks.setdefault(ref["kind"], [None] * len(names))[k] = ref["value"]
    notes = {
        "E_vac": "relaxed", "E_vac_unrelaxed": "unrelaxed", "E_vac_lowest": "displaced\nstart",
        "E_vac_infinite": "infinite", "E_vac_zero_pressure": "zero\npressure",
        "E_vac_lowest_infinite": "displaced,\ninfinite",
    }  # fmt: skip
    labels = [notes.get(n, _short(n)) for n in names]
    out = []
    if names:
        caption = "Bars: the model. Marks: reference values."
        out.append(("vacancy", "Vacancy formation energy", caption, bars(labels, series, marks, "eV")))
    return out + _convergence(models)


def _short(name: str) -> str:
    """Two lines under a bar: E_vac_Ni_Al_rich_infinite -> Ni / Al-rich."""
    text = name.removesuffix("_infinite").removeprefix("E_vac_").removeprefix("E_")
    for end in ("rich", "poor"):
        text = text.replace(f"_{end}", f"-{end}")
    return text.replace("_", "\n")


def _convergence(models):
    from ..plots import COLOURS, figure

    fig, ax = figure(4.2, 3.0)
    drawn = False
    for k, (label, result, _) in enumerate(models):
        runs = [r for r in result.data.get("runs", []) if r["start"] == "plain" and r["formation"] is not None]
        for site in sorted({r["site"] for r in runs}):
            points = [(1.0 / (r["atoms"] + 1), r["formation"]) for r in runs if r["site"] == site]
            if len(points) < 2 or "E_schottky" in result:
                continue
            x, y = np.array(points).T
            slope, zero = np.polyfit(x, y, 1)
            colour = COLOURS[(k + site) % len(COLOURS)]
            ax.plot(1e3 * x, y, "o", color=colour, label=label if site == 0 else None, ms=5)
            ax.plot([0, 1e3 * x.max()], [zero, zero + slope * x.max()], "--", color=colour, lw=0.9)
            drawn = True
    if not drawn:
        return []
    ax.set_xlim(left=0)
    ax.set_xlabel("1000 / sites in the supercell")
    ax.set_ylabel("formation energy (eV)")
    ax.legend(frameon=False)
    caption = "Elastic images: the energy of each supercell and its extrapolation to the infinite one."
    return [("vacancy-size", "Vacancy and supercell size", caption, fig)]


PROPERTY = Property(
    "vacancy", "Vacancy formation energy", run, order=50, plots=plots, options=Options, version=3,
    sources=("10.1103/PhysRevB.88.134102",),
    outputs=(
        Output("E_vac*", "eV", "formation energy of each site: relaxed, unrelaxed, infinite cell, zero pressure"),
        Output("E_schottky*", "eV", "energy of the vacancies of one formula unit of a compound"),
        Output("V_relax*", "A^3", "volume change of the crystal around the vacancy, without the removed atom"),
        Output("enthalpy", "eV", "formation enthalpy of the compound per atom"),
    ),
    about="Energy to take one atom out of the crystal and put it back elsewhere in the bulk, with the neighbours "
    "relaxed. In a compound the atom goes to a reservoir between the elements and the compound.",
)  # fmt: skip
