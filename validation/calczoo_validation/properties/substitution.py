"""Atoms of the wrong element: antisites in a compound, dilute foreign atoms in an elemental crystal.

    exchange   E_x(AB) = [E(A on B) - E] + [E(B on A) - E],  far apart; no chemical potential
    antisite   E_f(A on B) = E(A on B) - E - mu_A + mu_B,    in each limit of the chemical potentials
    pair       both antisites on the nearest A and B of one supercell; E_x minus it is what they gain by meeting
    solute     E_s(X) = E(N - 1 host atoms, one X) - (N - 1)/N E(N) - mu_X,  mu_X from the model's own lowest phase of X

All relaxed at fixed cell and extrapolated with 1/N. E_s of a solute is its heat of solution at infinite dilution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers

from ..chemical import Potentials, chemical_potentials
from ..convergence import add_with_limit
from ..defects import (
    DefectOptions,
    Host,
    Outcome,
    Site,
    compliance,
    distinct_pairs,
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

EXTREME = 20.0  # eV


@dataclass(frozen=True)
class Options(DefectOptions):
    solutes: tuple[str, ...] = option(
        ("card",), "foreign elements in an elemental crystal; 'card': those that the calculator's card lists"
    )
    most: int = option(6, "most foreign elements", full=100, low=1)


def run(ctx: Context, result: PropertyResult) -> None:
    elements = ctx.crystal.elements
    solutes = _solutes(ctx, result) if len(elements) == 1 else []
    cells, sites = hosts(ctx, stress=len(elements) == 1), distinct_sites(ctx.crystal)
    swaps = [(s, x) for s in sites for x in (solutes or elements) if x != s.element]
    pairs = _nearest_pairs(ctx) if len(elements) > 1 else []
    starts, keys = [], []
    for c, host in enumerate(cells):
        for k, (site, x) in enumerate(swaps):
            starts.append(_swapped(host, [(ctx.crystal.atoms.positions[site.atom], x)]))
            keys.append((c, "single", k))
        for k, pair in enumerate(pairs):
            symbols, here = ctx.crystal.atoms.get_chemical_symbols(), ctx.crystal.atoms.positions[pair.first]
            starts.append(_swapped(host, [(here, symbols[pair.second]), (here + pair.vector, symbols[pair.first])]))
            keys.append((c, "pair", k))
    outcomes = relax_defects(ctx, starts, "relaxing substituted atoms", stress=len(elements) == 1)
    table = dict(zip(keys, outcomes, strict=True))
    if all(o.error for o in outcomes):
        raise PropertyFailure(outcomes[0].error, Status.UNSUPPORTED if len(elements) == 1 else Status.FAILED)
    per_cell = cells[0].energy / len(cells[0]) * len(ctx.crystal.atoms)
    potentials = chemical_potentials(ctx, per_cell, solutes)
    result.settings.update(
        supercells=[list(c.counts) for c in cells], atoms=[len(c) for c in cells], fmax_eV_A=ctx.options.fmax,
        cell="fixed",
    )  # fmt: skip
    result.data["chemical_potentials"] = potentials.as_data()
    if len(elements) == 1:
        _add_solutes(ctx, result, cells, swaps, table, potentials)
    else:
        _add_exchange(ctx, result, cells, swaps, pairs, table)
        _add_antisites(result, cells, swaps, table, potentials)
    result.data["runs"] = [
        {"cell": c, "kind": kind, "which": _name(swaps[k]) if kind == "single" else pairs[k].label, **o.as_data()}
        for (c, kind, k), o in table.items()
    ]  # fmt: skip


def _solutes(ctx: Context, result: PropertyResult) -> list[str]:
    """The foreign elements to try; PropertyFailure (unsupported) where there are none."""
    (own,), wanted = ctx.crystal.elements, list(ctx.options.solutes)
    unknown = [x for x in wanted if x != "card" and x not in atomic_numbers]
    if unknown:
        raise PropertyFailure(f"setting solutes names {', '.join(unknown)}, no element", Status.FAILED)
    if reason := _nothing_to_dissolve(ctx.evaluator.calculator, ctx.crystal, ctx.options):
        raise PropertyFailure(reason, Status.UNSUPPORTED)
    wanted = _known(ctx.evaluator.calculator) if wanted == ["card"] else wanted
    found = sorted({x for x in wanted if x in atomic_numbers and x != own}, key=lambda x: atomic_numbers[x])
    if found[ctx.options.most :]:
        result.notes.append(f"Left out (setting most): {', '.join(found[ctx.options.most :])}.")
    return found[: ctx.options.most]


def _known(calculator) -> list[str]:
    """Elements that a calculator's card lists."""
    card = getattr(calculator, "card", None)
    listed = card.get("elements") if isinstance(card, dict) else getattr(card, "elements", None)
    return [str(x) for x in listed or ()]


def _nothing_to_dissolve(calculator, crystal, options: Options) -> str:
    """Why there is no foreign element to try in an elemental crystal; "" where there is one."""
    if len(crystal.elements) > 1:
        return ""
    wanted = list(options.solutes)
    if wanted == ["card"]:
        wanted = _known(calculator)
        if not wanted:
            return (
                "one element only, and the calculator does not say which others it knows: name them with the setting "
                "solutes"
            )
    others = [x for x in wanted if x != crystal.elements[0]]
    return "" if others else f"the model knows no element besides {crystal.elements[0]}"


def _nearest_pairs(ctx: Context):
    """The nearest distinct pair of each two elements."""
    symbols, best, shells = ctx.crystal.atoms.get_chemical_symbols(), {}, 1
    wanted = len(ctx.crystal.elements) * (len(ctx.crystal.elements) - 1) // 2
    while len(best) < wanted and shells <= 6:
        for pair in sorted(distinct_pairs(ctx.crystal, shells), key=lambda p: (round(p.distance, 4), p.label)):
            if symbols[pair.first] != symbols[pair.second]:
                best.setdefault(tuple(sorted((symbols[pair.first], symbols[pair.second]))), pair)
        shells += 1
    return [best[k] for k in sorted(best)]


def _swapped(host: Host, changes):
    out = host.atoms.copy()
    numbers = out.numbers.copy()
    for position, element in changes:
        numbers[locate(host.atoms, position)] = atomic_numbers[element]
    out.numbers = numbers
    return out


def _name(swap: tuple[Site, str]) -> str:
    site, x = swap
    return f"{x}_on{site.tag}" if site.tag else x


# -- numbers -----------------------------------------------------------------------------------------------------------


def _add_exchange(ctx, result: PropertyResult, cells, swaps, pairs, table) -> None:
    """Exchange energy of each two elements, and of the pair on neighbouring sites, without chemical potentials."""
    sizes, elements = [len(c) for c in cells], ctx.crystal.elements
    symbols = ctx.crystal.atoms.get_chemical_symbols()
    for i, a in enumerate(elements):
        for b in elements[i + 1 :]:
            values, groups = [], []
            for c, host in enumerate(cells):
                one, two = _best(swaps, table, c, a, b), _best(swaps, table, c, b, a)
                values.append(one.energy + two.energy - 2 * host.energy)
                groups.append([one, two])
            label = f"Exchange of {a} and {b}, far apart"
            for value in add_with_limit(result, f"exchange_{a}-{b}", label, sizes, values, groups):
                _judge(value)
    for k, pair in enumerate(pairs):
        a, b = sorted((symbols[pair.first], symbols[pair.second]))
        values = [table[c, "pair", k].energy - host.energy for c, host in enumerate(cells)]
        groups = [[table[c, "pair", k]] for c in range(len(cells))]
        label = f"Exchange of {a} and {b}, neighbours"
        for value in add_with_limit(result, f"exchange_pair_{a}-{b}", label, sizes, values, groups):
            _judge(value)
            if value is not None:
                value.note = f"{pair.distance:.3f} A; {value.note}"


def _best(swaps, table, c: int, on: str, x: str) -> Outcome:
    """The least costly site of element `on` for an atom of element `x`."""
    found = [table[c, "single", k] for k, (site, y) in enumerate(swaps) if site.element == on and y == x]
    return min(found, key=lambda o: o.energy if np.isfinite(o.energy) else np.inf)


def _add_antisites(result: PropertyResult, cells, swaps, table, potentials: Potentials) -> None:
    sizes = [len(c) for c in cells]
    for k, (site, x) in enumerate(swaps):
        groups = [[table[c, "single", k]] for c in range(len(cells))]
        where = f"{x} on {site.tag.removeprefix('_')}"
        if not potentials.limits:
            result.add(
                f"E_{_name((site, x))}", f"Antisite {where}", None, "eV", status=Status.UNSUPPORTED,
                reason=f"no chemical potentials: {potentials.reason}",
            )  # fmt: skip
        for limit, mu in potentials.limits.items():
            values = [formation(g[0], h, {x: 1, site.element: -1}, mu) for g, h in zip(groups, cells, strict=True)]
            label = f"Antisite {where}, {limit.replace('_', '-')}"
            for value in add_with_limit(result, f"E_{_name((site, x))}_{limit}", label, sizes, values, groups):
                _judge(value)
    names = [v.name for v in result.values if v.name.startswith("E_")]
    if potentials.warning:
        result.flag(Status.SUSPICIOUS, potentials.warning, names)


def _add_solutes(ctx, result: PropertyResult, cells, swaps, table, potentials: Potentials) -> None:
    """Heat of solution and size effect of each foreign element on each site."""
    sizes, own, s = [len(c) for c in cells], ctx.crystal.elements[0], compliance(ctx)
    nearest = nearest_distance(ctx.crystal.atoms)
    for k, (site, x) in enumerate(swaps):
        groups = [[table[c, "single", k]] for c in range(len(cells))]
        name, where = f"{x}{site.tag}", f"{x}{site.tag.replace('_', ' ')}"
        reference = potentials.elements[x]
        if reference.energy is None:
            result.add(
                f"E_solution_{name}", f"Heat of solution of {where}", None, "eV", status=Status.UNSUPPORTED,
                reason=f"no reference for {x}: {reference.reason}",
            )  # fmt: skip
        else:
            values = [
                formation(g[0], h, {x: 1, own: -1}, {x: reference.energy, own: h.energy / len(h)})
                for g, h in zip(groups, cells, strict=True)
            ]  # fmt: skip
            label = f"Heat of solution of {where}"
            for value in add_with_limit(result, f"E_solution_{name}", label, sizes, values, groups, nearest=nearest):
                _judge(value)
                if value is not None:
                    value.note = f"from {reference.phase} {x}; {value.note}"
        volumes = [relaxation_volume(g[0], h, s) for g, h in zip(groups, cells, strict=True)]
        if all(v is not None for v in volumes):
            last, first = volumes[-1][0], volumes[0][0]
            result.add(
                f"V_relax_{name}", f"Relaxation volume of {where}", last, "A^3",
                error=abs(last - first) if len(volumes) > 1 else None,
                error_source="smallest and largest supercell" if len(volumes) > 1 else "one supercell only",
            )  # fmt: skip


def _judge(value) -> None:
    if value is not None and value.name.startswith("E_") and "_on_" in value.name and (value.value or 0.0) < 0:
        value.flag(
            Status.SUSPICIOUS,
            "negative: in this limit the compound would take up the element, so another phase bounds the range",
        )
    if value is not None and value.value is not None and abs(value.value) > EXTREME:
        value.flag(Status.SUSPICIOUS, f"beyond {EXTREME:g} eV")
    if value is not None and value.name.startswith("exchange") and value.value is not None and value.value < 0:
        value.flag(
            Status.UNSTABLE, "the crystal gains energy by exchanging its atoms: another order is lower in this model"
        )


def plots(models):
    """All energies of substitution as bars."""
    from ..plots import bars

    names: list[str] = []
    for _, result, _ in models:
        names += [v.name for v in result.values if v.name.endswith("_infinite") and v.name not in names]
    if not names:
        for _, result, _ in models:
            names += [v.name for v in result.values if v.unit == "eV" and v.name not in names]
    names = names[:12]
    if not names:
        return []
    series, marks = [], {}
    for label, result, refs in models:
        got = [result[n] if n in result else None for n in names]
        series.append((label, [v.value if v else None for v in got], [v.error if v else None for v in got]))
        for k, n in enumerate(names):
            for ref in reversed(refs.get(n, [])):  # of several of one kind the first counts
                marks.setdefault(ref["kind"], [None] * len(names))[k] = ref["value"]
    short = []
    for name in names:
        text = name.removesuffix("_infinite").removeprefix("E_").replace("_on_", " on ").replace("solution_", "")
        short.append(text.replace("_rich", "-rich").replace("_poor", "-poor").replace("_", "\n"))
    caption = "Energy of atoms of the wrong element, infinite cell. Exchange energies need no chemical potential."
    return [("substitution", "Antisites and substituted atoms", caption, bars(short, series, marks, "eV"))]


PROPERTY = Property(
    "substitution", "Antisites and solutes", run, order=56, plots=plots, options=Options,
    suits=_nothing_to_dissolve, version=2,
    outputs=(
        Output("exchange_*", "eV", "energy of exchanging two atoms of different elements, far apart or as neighbours"),
        Output("E_solution_*", "eV", "heat of solution of a foreign element at infinite dilution"),
        Output("E_*", "eV", "formation energy of an antisite in each limit of the chemical potentials"),
        Output("V_relax_*", "A^3", "volume change of the crystal around a foreign atom"),
    ),
    about="Energy of an atom of the wrong element: on another element's site of a compound, or dissolved in a pure "
    "crystal.",
)  # fmt: skip
