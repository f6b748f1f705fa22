"""Are the references themselves in order? Numbers against each other, and frames of a user's own calculations.

A deviation from a wrong reference says nothing about a potential. Each finding has a severity:

error    the references contradict each other or physics
warning  unlikely, or not documented well enough to compare with
note     worth knowing
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

import numpy as np

from .lint_frames import lint_frames
from .references import link, table

SEVERITIES = ("error", "warning", "note")
# Relative differences that rounding, other strains or another fit explain, and those that they do not.
SAME_SOURCE, OTHER_SOURCE = (0.05, 0.20), (0.15, 0.40)
LENGTH = (0.01, 0.04)
ROUNDING = 1.0  # GPa, tables print whole numbers
ATOMS_PER_CUBE = {"bcc": 2, "fcc": 4, "diamond": 8, "sc": 1}

__all__ = ["Finding", "lint_builtin", "lint_frames", "lint_report", "lint_values", "worst_severity"]


@dataclass(frozen=True)
class Finding:
    """One remark of the linter; `where` names the crystal and quantity, or the frames."""

    severity: str
    where: str
    text: str


def worst_severity(findings: Iterable[Finding]) -> str:
    """The most severe of some findings, "" when there are none."""
    return min((f.severity for f in findings), key=SEVERITIES.index, default="")


def lint_report(report: Any) -> list[Finding]:
    """Findings on all references that a report uses, most severe first."""
    crystal = report.structure.get("reference_key", "")
    names = list(dict.fromkeys(n for m in report.models for n in m.results))
    values = {n: report.references(n) for n in names}
    found = lint_values({n: v for n, v in values.items() if v}, crystal)
    if report.reference is not None:
        found += report.reference.findings
    return in_order(found)


def lint_builtin() -> list[Finding]:
    """Findings on every value that this package brings along."""
    by_crystal: dict[str, dict[str, dict[str, list[dict]]]] = {}
    data = table()
    for row in data["values"]:
        prop, _, name = row["name"].partition(".")
        source = data["sources"][row["source"]]
        entry = {**row, "short": source["short"], "source": source["citation"], "doi": source.get("doi", ""),
                 "url": source.get("url", "")}  # fmt: skip
        by_crystal.setdefault(row["crystal"], {}).setdefault(prop, {}).setdefault(name, []).append(entry)
    return in_order([f for crystal, values in by_crystal.items() for f in lint_values(values, crystal)])


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Most severe first, each once."""
    return sorted(dict.fromkeys(findings), key=lambda f: (SEVERITIES.index(f.severity), f.where, f.text))


def lint_values(values: Mapping[str, Mapping[str, list[dict]]], crystal: str = "") -> list[Finding]:
    """Findings on reference values, property -> name -> entries, of one crystal ("Mo:bcc")."""
    found = _units(values, crystal) + _outliers(values, crystal)
    rows = [(f"{prop}.{name}", e) for prop, names in values.items() for name, es in names.items() for e in es]
    for source in dict.fromkeys((e["kind"], e["short"]) for _, e in rows):
        own: dict[str, float] = {}
        for name, e in rows:
            if (e["kind"], e["short"]) == source and e["value"] is not None:
                own.setdefault(name, float(e["value"]))
        where = f"{crystal} {source[1]} ({source[0]})".strip()
        found += _elastic(own, where) + _volumes(own, where, crystal) + _ranges(own, where)
    for name, e in rows:
        if not link(e) and e["kind"] != "reference":
            found.append(Finding("warning", f"{crystal} {name} ({e['kind']})".strip(), "no source to look it up"))
    return in_order(found)


def _judged(where: str, text: str, relative: float, limits: tuple[float, float]) -> list[Finding]:
    if relative <= limits[0]:
        return []
    return [Finding("warning" if relative <= limits[1] else "error", where, text)]


# -- one source ----------------------------------------------------------------------------------------------------


def _elastic(v: dict[str, float], where: str) -> list[Finding]:
    """B and G against the tensor, B0 of the equation of state against B, Born stability."""
    found = []
    c = stiffness(v)
    bulk, b0 = v.get("elastic.B"), v.get("eos.B0")
    if c is not None:
        low = float(np.linalg.eigvalsh(_mandel(c)).min())
        if low <= 0:
            found.append(Finding("error", where, f"the elastic constants are unstable (Born): stiffness {low:.1f} GPa"))
        else:
            voigt, reuss = c[:3, :3].sum() / 9, 1 / np.linalg.inv(c)[:3, :3].sum()
            if bulk is not None:
                outside = max(reuss - bulk, bulk - voigt, 0.0)
                text = f"B = {bulk:g} GPa, but the elastic constants give {reuss:.1f} .. {voigt:.1f} GPa (Reuss, Voigt)"
                found += _judged(where, text, max(0.0, outside - ROUNDING) / abs(voigt), SAME_SOURCE)
            if b0 is not None and bulk is None:
                text = f"B0 = {b0:g} GPa of the equation of state, but the elastic constants give {voigt:.1f} GPa"
                found += _judged(where, text, max(0.0, abs(b0 - voigt) - ROUNDING) / abs(voigt), SAME_SOURCE)
            found += _shear(v, c, where)
    if b0 is not None and bulk is not None:
        text = f"B0 = {b0:g} GPa of the equation of state, but B = {bulk:g} GPa of the elastic constants"
        found += _judged(where, text, max(0.0, abs(b0 - bulk) - ROUNDING) / abs(bulk), SAME_SOURCE)
    return found


def _shear(v: dict[str, float], c: np.ndarray, where: str) -> list[Finding]:
    if "elastic.G" not in v:
        return []
    s = np.linalg.inv(c)
    voigt = (np.trace(c[:3, :3]) - c[0, 1] - c[0, 2] - c[1, 2]) / 15 + np.trace(c[3:, 3:]) / 5
    reuss = 15 / (4 * (np.trace(s[:3, :3]) - s[0, 1] - s[0, 2] - s[1, 2]) + 3 * np.trace(s[3:, 3:]))
    outside = max(reuss - v["elastic.G"], v["elastic.G"] - voigt, 0.0)
    text = f"G = {v['elastic.G']:g} GPa, but the elastic constants give {reuss:.1f} .. {voigt:.1f} GPa (Reuss, Voigt)"
    return _judged(where, text, max(0.0, outside - ROUNDING) / abs(voigt), SAME_SOURCE)


def stiffness(v: Mapping[str, float]) -> np.ndarray | None:
    """(6, 6) tensor in GPa from the listed elastic constants; None where they do not fix one.

    C11, C12, C44 alone are cubic; with C13 and C33 as well, tetragonal or hexagonal (C66 then defaults to
    (C11 - C12)/2, the hexagonal relation).
    """
    get = {n: v[f"elastic.{n}"] for n in ("C11", "C12", "C13", "C33", "C44", "C66") if f"elastic.{n}" in v}
    if not {"C11", "C12", "C44"} <= set(get) or ("C13" in get) != ("C33" in get):
        return None
    others = [n for n in v if n.startswith("elastic.C") and n.removeprefix("elastic.").isalnum()]
    if len(others) > len(get):
        return None  # lower symmetry than handled here
    c11, c12, c44 = get["C11"], get["C12"], get["C44"]
    c13, c33 = get.get("C13", c12), get.get("C33", c11)
    c66 = get.get("C66", (c11 - c12) / 2 if "C13" in get else c44)
    c = np.diag([c11, c11, c33, c44, c44, c66]).astype(float)
    c[0, 1] = c[1, 0] = c12
    c[0, 2] = c[2, 0] = c[1, 2] = c[2, 1] = c13
    return c


def _mandel(c: np.ndarray) -> np.ndarray:
    weight = np.diag([1, 1, 1, 2**0.5, 2**0.5, 2**0.5])
    return weight @ c @ weight


def _volumes(v: dict[str, float], where: str, crystal: str) -> list[Finding]:
    """Lattice constant, volume per atom and V0 of the equation of state against each other."""
    got = {n: v[n] for n in ("lattice.volume", "eos.V0") if n in v}
    atoms = ATOMS_PER_CUBE.get(crystal.partition(":")[2])
    if atoms and "lattice.a0" in v:
        got[f"{v['lattice.a0']:g}^3/{atoms}"] = v["lattice.a0"] ** 3 / atoms
    found = []
    for (n, a), (m, b) in combinations(got.items(), 2):
        text = f"volume per atom {a:.3f} A^3 ({n}) and {b:.3f} A^3 ({m})"
        found += _judged(where, text, abs(a / b - 1), LENGTH)
    if {"lattice.a0", "lattice.c0", "lattice.c_over_a"} <= set(v):
        ratio = v["lattice.c0"] / v["lattice.a0"]
        text = f"c/a = {v['lattice.c_over_a']:g}, but c0/a0 = {ratio:.4f}"
        found += _judged(where, text, abs(v["lattice.c_over_a"] / ratio - 1), LENGTH)
    return found


def _ranges(v: dict[str, float], where: str) -> list[Finding]:
    """Values that nothing in nature has, mostly wrong units."""
    limits = {
        "lattice.?0": (1.0, 200.0, "A"), "lattice.volume": (2.0, 500.0, "A^3"), "eos.V0": (2.0, 500.0, "A^3"),
        "eos.B0": (0.1, 1200.0, "GPa"), "elastic.B": (0.1, 1200.0, "GPa"), "elastic.C[1-6][1-6]": (-500, 2500, "GPa"),
        "vacancy.E_vac*": (0.0, 20.0, "eV"), "surfaces.*": (0.0, 20.0, "J/m^2"), "phonons.*_[0-9]*": (-30, 150, "THz"),
    }  # fmt: skip
    found = []
    for name, value in v.items():
        for pattern, (low, high, unit) in limits.items():
            if fnmatchcase(name, pattern) and not low <= value <= high:
                text = f"{name} = {value:g} {unit} is outside {low:g} .. {high:g} {unit}: another unit?"
                found.append(Finding("error", where, text))
    return found


# -- several sources -----------------------------------------------------------------------------------------------


def _units(values: Mapping[str, Mapping[str, list[dict]]], crystal: str) -> list[Finding]:
    """Units against those that the property declares."""
    from .registry import all_properties

    known, _ = all_properties()
    found = []
    for prop, names in values.items():
        for name, entries in names.items():
            unit = declared_unit(known.get(prop), name)
            for e in entries:
                if unit is not None and e["unit"] != unit:
                    where = f"{crystal} {prop}.{name} ({e['short']})".strip()
                    found.append(Finding("error", where, f"unit {e['unit']!r}; the property gives {unit!r}"))
    return found


def declared_unit(prop: Any, name: str) -> str | None:
    """Unit that a property declares for one of its values; None where it declares no such value."""
    match = prop.output(name) if prop is not None else None
    return match.unit if match is not None else None


def _outliers(values: Mapping[str, Mapping[str, list[dict]]], crystal: str) -> list[Finding]:
    """The same quantity from several sources."""
    found = []
    for prop, names in values.items():
        for name, entries in names.items():
            for a, b in combinations(entries, 2):
                limits = SAME_SOURCE if a["kind"] == b["kind"] else OTHER_SOURCE
                limits = tuple(max(x, 0.15) for x in limits) if a["kind"] == b["kind"] else limits
                scale = max(abs(a["value"]), abs(b["value"]))
                gap = abs(a["value"] - b["value"])
                allowed = max((a.get("error") or 0.0) + (b.get("error") or 0.0), _last_digit(a), _last_digit(b))
                if scale == 0 or gap <= allowed or prop == "phonons" and gap < 0.3:
                    continue
                text = (
                    f"{a['value']:g} {a['unit']} ({a['kind']}, {a['short']}) and {b['value']:g} {b['unit']} "
                    f"({b['kind']}, {b['short']}) differ by {100 * gap / scale:.0f} %"
                )
                if gap / scale > limits[0]:
                    severity = "warning" if gap / scale > limits[1] or a["kind"] == b["kind"] else "note"
                    found.append(Finding(severity, f"{crystal} {prop}.{name}".strip(), text))
    return found


def _last_digit(entry: Mapping[str, Any]) -> float:
    """What the last printed digit is worth: 1 for 13, 0.01 for 0.62."""
    text = f"{entry['value']:g}"
    return 10.0 ** -len(text.partition(".")[2]) if "e" not in text else 0.0


def counts(findings: Sequence[Finding]) -> str:
    """ "2 errors, 1 warning", or "no findings"."""
    parts = []
    for severity in SEVERITIES:
        n = sum(f.severity == severity for f in findings)
        if n:
            parts.append(f"{n} {severity}{'' if n == 1 else 's'}")
    return ", ".join(parts) or "no findings"
