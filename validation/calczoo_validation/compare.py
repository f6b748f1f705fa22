"""Which of several calculators is nearer to the references, and whether the difference means anything.

Measure: mean absolute relative deviation from the reference, |value - ref| / |ref|. Only quantities for which every
compared calculator has a usable number enter (the common set), so that nobody gains by leaving one out; how many of
all quantities each one has is ranked first. A difference counts when its paired bootstrap interval excludes 0 (see
statistics.py); everything else is a tie, and ties share a rank. On a data set the members that are resampled are the
structures. A usable number is ok or suspicious.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .references import deviation, is_zero, primary
from .results import Status
from .statistics import (
    FEWEST,
    Estimate,
    mean_estimate,
    paired_difference,
    paired_ratio_difference,
    shared_ranks,
    wilson,
)

USABLE = (Status.OK, Status.SUSPICIOUS)
LEAST_SHARE = 0.5  # of the best coverage: a calculator with less is not compared, so as not to empty the common set
DATASET = "dataset"
MEASURES = (("energy", "meV/atom"), ("force", "eV/A"), ("stress", "GPa"))


def coverage(model: Any) -> dict[str, dict[str, int]]:
    """Numbers of each status by property, with "numbers" their total; a property without any has numbers 0."""
    out = {}
    for name, result in model.results.items():
        counts = Counter(str(v.status) for v in result.values)
        out[name] = {"numbers": len(result.values), **{str(s): counts.get(str(s), 0) for s in Status}}
    return out


def coverage_text(counts: dict[str, int], status: str = "") -> str:
    """ "3 of 5 numbers sound; 1 suspicious, 1 failed", or "no numbers (unsupported)"."""
    if not counts["numbers"]:
        return f"no numbers ({status})" if status else "no numbers"
    rest = [f"{counts[str(s)]} {s}" for s in Status if s is not Status.OK and counts[str(s)]]
    text = f"{counts[str(Status.OK)]} of {counts['numbers']} numbers sound"
    return f"{text}; {', '.join(rest)}" if rest else text


@dataclass(frozen=True)
class Standing:
    """One calculator: quantities usable of all with a reference, mean deviation over the common set, ranks.

    rank   by deviation, over the common set; None where it is not compared
    place  by coverage first, then by rank
    """

    label: str
    usable: int
    total: int
    missing: list[str]
    mean: float | None
    median: float | None
    low: float | None
    high: float | None
    rank: int | None
    place: int


@dataclass(frozen=True)
class Pair:
    """Difference of the means, first minus second: negative where the first is nearer to the references."""

    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    n: int
    wins: int
    wins_low: float
    wins_high: float
    tie: bool


@dataclass(frozen=True)
class Group:
    """The same for one property, or one measure on a data set: a mean and a rank for every compared calculator."""

    name: str
    title: str
    unit: str
    n: int
    means: list[float | None]
    lows: list[float | None]
    highs: list[float | None]
    ranks: list[int | None]
    pairs: list[Pair] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """labels: all calculators; compared: those in the common set; deviations[label][quantity] in the common set."""

    labels: list[str]
    compared: list[str]
    quantities: list[str]
    common: list[str]
    standings: list[Standing]
    pairs: list[Pair]
    groups: list[Group]
    dataset: list[Group]
    notes: list[str]
    deviations: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(report: Any) -> Comparison | None:
    """Comparison of the calculators of a report; None for a single one, or where there is nothing to compare."""
    if len(report.models) < 2:
        return None
    labels = [m.label for m in report.models]
    table, zero = _deviations(report)
    quantities = list(dict.fromkeys(q for rows in table.values() for q in rows))
    have = {m: [q for q in quantities if table[m][q] is not None] for m in labels}
    most = max((len(h) for h in have.values()), default=0)
    compared = [m for m in labels if most and len(have[m]) >= max(1.0, LEAST_SHARE * most)]
    common = [q for q in quantities if all(table[m][q] is not None for m in compared)] if compared else []
    values = {m: np.array([table[m][q] for q in common], dtype=float) for m in compared}
    pairs = _pairs(compared, values)
    ranks = _ranks(compared, pairs) if common else {}
    dataset = _dataset(report)
    if not quantities and not dataset:
        return None
    return Comparison(
        labels, compared, quantities, common, _standings(labels, table, have, values, ranks, quantities, common),
        pairs, _groups(report, compared, common, table), dataset,
        _notes(labels, compared, have, quantities, common, zero),
        {m: {q: round(float(table[m][q]), 8) for q in common} for m in compared},
    )  # fmt: skip


def _deviations(report: Any) -> tuple[dict[str, dict[str, float | None]], list[str]]:
    """|relative deviation| by label and quantity, None where there is no usable number; quantities of reference 0."""
    names = list(dict.fromkeys(n for m in report.models for n in m.results if n != DATASET))
    table: dict[str, dict[str, float | None]] = {m.label: {} for m in report.models}
    zero = []
    for prop in names:
        known = {n: primary(rows) for n, rows in report.references(prop).items()}
        given = {v.name for m in report.models if prop in m.results for v in m.results[prop].values}
        for name, reference in known.items():
            if reference is None or name not in given:
                continue
            quantity = f"{prop}.{name}"
            if is_zero(reference):
                zero.append(quantity)
                continue
            for m in report.models:
                value = m.results[prop][name] if prop in m.results and name in m.results[prop] else None
                usable = value is not None and value.value is not None and value.status in USABLE
                d = deviation(value.value, reference) if usable else None
                table[m.label][quantity] = None if d is None else abs(d)
    return table, zero


def deviation_summary(report: Any) -> dict[str, tuple[float | None, float | None, int, int]]:
    """By label: mean and median |relative deviation|, over how many quantities, of how many with a reference."""
    table, _ = _deviations(report)
    out = {}
    for label, rows in table.items():
        have = [d for d in rows.values() if d is not None]
        mean, median = (float(np.mean(have)), float(np.median(have))) if have else (None, None)
        out[label] = (mean, median, len(have), len(rows))
    return out


def _pairs(labels: list[str], values: dict[str, np.ndarray]) -> list[Pair]:
    out = []
    for i, first in enumerate(labels):
        for second in labels[i + 1 :]:
            if len(values[first]):
                wins = int((values[first] < values[second]).sum())
                out.append(_pair(first, second, paired_difference(values[first], values[second]), wins))
    return out


def _pair(first: str, second: str, e: Estimate, wins: int) -> Pair:
    low, high = wilson(wins, e.n)
    return Pair(first, second, e.mean, e.low, e.high, e.n, wins, low, high, not e.excludes_zero)


def _ranks(labels: list[str], pairs: list[Pair]) -> dict[str, int]:
    at = {m: k for k, m in enumerate(labels)}
    better = np.zeros((len(labels), len(labels)), dtype=bool)
    for p in pairs:
        if not p.tie:
            winner, loser = (p.first, p.second) if p.difference < 0 else (p.second, p.first)
            better[at[winner], at[loser]] = True
    return dict(zip(labels, shared_ranks(better), strict=True))


def _standings(labels, table, have, values, ranks, quantities, common) -> list[Standing]:
    order = {m: (-len(have[m]), ranks.get(m, len(labels) + 1)) for m in labels}
    out = []
    for m in labels:
        e = mean_estimate(values[m]) if m in values and len(common) else None
        out.append(Standing(
            m, len(have[m]), len(quantities), [q for q in quantities if table[m][q] is None], e.mean if e else None,
            float(np.median(values[m])) if e else None, e.low if e else None, e.high if e else None, ranks.get(m),
            1 + sum(order[o] < order[m] for o in labels),
        ))  # fmt: skip
    return out


def _groups(report: Any, compared: list[str], common: list[str], table) -> list[Group]:
    titles = {n: r.title for m in report.models for n, r in m.results.items()}
    out = []
    for prop in dict.fromkeys(q.partition(".")[0] for q in common):
        members = [q for q in common if q.partition(".")[0] == prop]
        values = {m: np.array([table[m][q] for q in members], dtype=float) for m in compared}
        pairs = _pairs(compared, values)
        ranks = _ranks(compared, pairs)
        known = len(members) >= FEWEST
        e = [mean_estimate(values[m]) for m in compared]
        out.append(Group(
            prop, titles[prop], "", len(members), [x.mean for x in e], [x.low for x in e], [x.high for x in e],
            [ranks[m] if known else None for m in compared], pairs,
        ))  # fmt: skip
    return out


# -- data sets -----------------------------------------------------------------------------------------------------


def _dataset(report: Any) -> list[Group]:
    """Errors on a data set, over the structures that every calculator could do."""
    models = [m for m in report.models if m.results.get(DATASET) and "per_structure" in m.results[DATASET].data]
    if len(models) < 2:
        return []
    labels = [m.label for m in models]
    out = []
    for key, unit in MEASURES:
        rows = [_by_structure(m.results[DATASET].data["per_structure"], key) for m in models]
        members = sorted(set.intersection(*(set(r) for r in rows)))
        if not members:
            continue
        sums = np.array([[r[k][0] for k in members] for r in rows])
        weight = np.array([rows[0][k][1] for k in members], dtype=float)
        pairs, estimates = [], []
        for i in range(len(models)):
            estimates.append(paired_ratio_difference(sums[i], np.zeros(len(members)), weight))
            for j in range(i + 1, len(models)):
                e = paired_ratio_difference(sums[i], sums[j], weight)
                pairs.append(_pair(labels[i], labels[j], e, int((sums[i] < sums[j]).sum())))
        ranks = _ranks(labels, pairs)
        title = {"energy": "energy, after element offsets", "force": "force components", "stress": "stress"}[key]
        out.append(Group(
            key, title, unit, len(members), [e.mean for e in estimates], [e.low for e in estimates],
            [e.high for e in estimates], [ranks[m] for m in labels], pairs,
        ))  # fmt: skip
    return out


def _by_structure(data: dict[str, Any], key: str) -> dict[int, tuple[float, int]]:
    """(sum of absolute errors, number of terms) by index of the structure."""
    rows = zip(data["index"], data[f"{key}_sum"], data[f"{key}_terms"], strict=True)
    return {int(k): (float(s), int(n)) for k, s, n in rows if s is not None and n}


def dataset_labels(report: Any) -> list[str]:
    """Calculators behind the columns of the data-set comparison."""
    return [m.label for m in report.models if m.results.get(DATASET) and "per_structure" in m.results[DATASET].data]


def _notes(labels, compared, have, quantities, common, zero) -> list[str]:
    notes = []
    for m in labels:
        if quantities and m not in compared:
            notes.append(
                f"{m} has {len(have[m])} of the {len(quantities)} quantities, less than half of what the most complete "
                "calculator has: it is not compared, and ranks after all others."
            )
    if quantities and len(common) < len(quantities):
        notes.append(
            f"Means and ranks are over the {len(common)} of {len(quantities)} quantities that all compared calculators "
            "have; the number that each one has comes first in the order."
        )
    if quantities and len(common) < FEWEST:
        notes.append(
            f"{len(common)} common quantities are too few for an interval (at least {FEWEST}): no difference is "
            "claimed."
        )
    if zero:
        notes.append(f"Left out, because the reference is zero and no relative deviation exists: {', '.join(zero)}.")
    return notes
