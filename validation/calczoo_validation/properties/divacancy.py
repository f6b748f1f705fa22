"""Binding of two vacancies on neighbouring sites, for each neighbour shell and each distinct pair.

    E_b = E(V1) + E(V2) - E(V1 V2) - E(perfect),    all relaxed in supercells of one size

Positive: the vacancies attract each other. No chemical potential enters, so compounds are treated alike. What is left
of the elastic interaction with the periodic images falls as 1/N and is extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..convergence import LOWER_GATE, add_with_limit, infinite, judge, judge_formation
from ..defects import (
    DefectOptions,
    Host,
    Outcome,
    Pair,
    displaced,
    distinct_pairs,
    distinct_sites,
    hosts,
    locate,
    nearest_distance,
    relax_defects,
)
from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyResult, Status
from ..symmetry import Symmetry

LARGEST_BINDING = 3.0  # eV


@dataclass(frozen=True)
class Options(DefectOptions):
    shells: int = option(2, "neighbour shells of the pairs", full=3, low=1, high=10)
    pairs: int = option(12, "most distinct pairs; farther ones are left out with a note", low=1, high=200)


def run(ctx: Context, result: PropertyResult) -> None:
    cells, pairs = hosts(ctx), distinct_pairs(ctx.crystal, ctx.options.shells)
    left_out = pairs[ctx.options.pairs :]
    pairs = sorted(pairs, key=lambda p: p.distance)[: ctx.options.pairs]
    if left_out:
        result.notes.append(f"{len(left_out)} farther pairs of these shells left out (setting pairs).")
    sites = distinct_sites(ctx.crystal)
    starts, keys = [], []
    for c, host in enumerate(cells):
        for site in sites:
            starts.append(_without(host, [ctx.crystal.atoms.positions[site.atom]]))
            keys.append((c, "single", site.atom))
        for k, pair in enumerate(pairs):
            here = ctx.crystal.atoms.positions[pair.first]
            centres = [here, here + pair.vector]
            starts.append(_without(host, centres))
            keys.append((c, "pair", k))
            if c == 0:  # shows whether the symmetric pair is a minimum
                starts.append(displaced(starts[-1], centres, ctx.general.seed + 31 + k))
                keys.append((c, "displaced", k))
    table = dict(zip(keys, relax_defects(ctx, starts, "relaxing divacancies"), strict=True))
    orbit = {a: int(min(Symmetry(ctx.crystal.atoms).permutations[:, a])) for a in range(len(ctx.crystal.atoms))}
    result.settings.update(
        supercells=[list(c.counts) for c in cells], atoms=[len(c) - 2 for c in cells], fmax_eV_A=ctx.options.fmax,
        shells=ctx.options.shells,
    )  # fmt: skip
    nearest = nearest_distance(ctx.crystal.atoms)
    for k, pair in enumerate(pairs):
        _add_pair(ctx, result, cells, table, k, pair, orbit, nearest)
    result.data["pairs"] = [
        {
            "label": p.label, "distance": round(p.distance, 6), "shell": p.shell,
            "vector": [round(x, 6) for x in p.vector],
        }
        for p in pairs
    ]  # fmt: skip
    result.data["runs"] = [
        {"cell": c, "kind": kind, "which": k, **o.as_data()} for (c, kind, k), o in table.items()
    ]  # fmt: skip


def _without(host: Host, positions) -> Atoms:
    out = host.atoms.copy()
    del out[sorted({locate(host.atoms, p) for p in positions})]
    return out


def _add_pair(ctx, result: PropertyResult, cells, table, k: int, pair: Pair, orbit, nearest: float) -> None:
    values, raw, outcomes = [], [], []
    for c, host in enumerate(cells):
        one, two = table[c, "single", orbit[pair.first]], table[c, "single", orbit[pair.second]]
        both = table[c, "pair", k]
        values.append(one.energy + two.energy - both.energy - host.energy)
        raw.append(one.start_energy + two.start_energy - both.start_energy - host.energy)
        outcomes.append([one, two, both])
    label = f"Divacancy binding, {_ordinal(pair)}"
    for value in add_with_limit(
        result, f"binding_{pair.label}", label, [len(c) for c in cells], values, outcomes, nearest=nearest
    ):
        if value is None:
            continue
        _judge_symmetric(value, table[0, "pair", k], table[0, "displaced", k])
        value.note = f"{pair.distance:.3f} A; {value.note}"
        if value.value is not None and abs(value.value) > LARGEST_BINDING:
            value.flag(Status.SUSPICIOUS, f"binding energy beyond {LARGEST_BINDING:g} eV")
    limit = infinite([len(c) for c in cells], raw)
    value = result.add(
        f"binding_unrelaxed_{pair.label}", f"{label}, ions not relaxed", raw[0], "eV",
        error=abs(raw[0] - limit.value) + 1e-6 if limit else None, error_source=limit.source if limit else "",
        note=f"{pair.distance:.3f} A",
    )  # fmt: skip
    for o in outcomes[0]:
        if o.error:
            judge(value, o)
    if len(ctx.crystal.elements) == 1:
        both = [table[c, "pair", k] for c in range(len(cells))]
        energies = [o.energy - (len(h) - 2) / len(h) * h.energy for o, h in zip(both, cells, strict=True)]
        label, groups = f"Divacancy formation energy, {_ordinal(pair)}", [[o] for o in both]
        for value in add_with_limit(
            result, f"E_divacancy_{pair.label}", label, [len(c) for c in cells], energies, groups, nearest=nearest
        ):
            if value is not None:
                judge_formation(value, "divacancies")
                _judge_symmetric(value, both[0], table[0, "displaced", k])


def _judge_symmetric(value, plain: Outcome, other: Outcome) -> None:
    lower = plain.energy - other.energy
    if lower > LOWER_GATE:
        value.flag(
            Status.SUSPICIOUS,
            f"the symmetric divacancy is not the lowest: from displaced atoms the relaxation ends {lower:.3f} eV lower",
        )


def _ordinal(pair: Pair) -> str:
    shell, _, elements = pair.label.partition("_")
    return f"neighbour {shell}" + (f" {elements}" if elements else "")


def plots(models):
    """Binding energy over the distance of the two vacancies."""
    from ..plots import COLOURS, figure

    fig, ax = figure(4.4, 3.0)
    drawn = False
    for k, (label, result, _) in enumerate(models):
        points = []
        for pair in result.data.get("pairs", []):
            name = f"binding_{pair['label']}"
            name = f"{name}_infinite" if f"{name}_infinite" in result else name
            if name in result and result[name].value is not None:
                points.append((pair["distance"], result[name].value, result[name].error or 0.0))
        if not points:
            continue
        x, y, error = np.array(sorted(points)).T
        ax.errorbar(x, y, error, fmt="o", color=COLOURS[k % len(COLOURS)], label=label, ms=5, capsize=2, lw=1.0)
        drawn = True
    if not drawn:
        return []
    ax.axhline(0, color="#4a5568", lw=0.7)
    ax.set_xlabel("distance of the two sites (Å)")
    ax.set_ylabel("binding energy (eV)")
    if len(models) > 1:
        ax.legend(frameon=False)
    return [("divacancy", "Divacancy binding", "Above zero the two vacancies attract each other.", fig)]


PROPERTY = Property(
    "divacancy", "Divacancy binding", run, order=52, plots=plots, options=Options,
    sources=("10.1103/PhysRevB.88.134102",),
    outputs=(
        Output("binding_*", "eV", "energy gained when two vacancies become neighbours of the given shell"),
        Output("E_divacancy_*", "eV", "formation energy of the pair, elemental crystals"),
    ),
    about="Whether two vacancies prefer to sit side by side: the first step towards voids.",
)  # fmt: skip
