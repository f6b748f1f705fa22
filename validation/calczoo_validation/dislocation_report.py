"""What the relaxed cylinders of one dislocation say: numbers with error bars, gates, and the data of the figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .cores import columns_of, screw_core
from .dislocation_cells import Geometry
from .results import PropertyResult, Status, Value

PREFACTOR_GATE = 0.10
SAME = 2e-3  # eV/A, two starts with core energies this close have reached the same core
KEPT = ("start", "radius", "atoms", "E_core", "K_fit", "converged", "steps")


@dataclass
class Findings:
    """One dislocation: `runs`, all starts in the first cylinder; `sizes`, the lowest core in every cylinder.

    ring: thickness (A) that is held;  elastic: distance (A) of the partials by elasticity, 0 for none;  fault_error:
    relative error of the fault energy;  k_error: error of K (eV/A) from the elastic tensor
    """

    geometry: Geometry
    a: float
    runs: list[dict[str, Any]]
    sizes: list[dict[str, Any]]
    ring: float
    elastic: float
    fault_error: float
    k_error: float

    @property
    def b(self) -> float:
        return float(np.linalg.norm(self.geometry.vector(self.a)))

    @property
    def usable(self) -> list[dict[str, Any]]:
        return [s for s in self.sizes if s["E_core"] is not None]


def report(result: PropertyResult, found: Findings) -> None:
    """Add the values and the data of one dislocation."""
    name, title, last = found.geometry.name, found.geometry.title, found.usable[-1]
    core = _energies(result, found)
    if found.geometry.structure == "bcc" and name == "screw":
        _screw(result, found, core)
    else:
        _slip(result, found, core)
    result.data.setdefault("kinds", {})[name] = {
        "title": title, "b": round(found.b, 6), "ring": round(found.ring, 3), "shape": last.get("shape"),
        "curve": last.get("curve"), "E_core": last["E_core"], "K": last["K"],
        "runs": [{k: r.get(k) for k in KEPT} for r in [*found.runs, *found.sizes[1:]]],
    }  # fmt: skip


def _energies(result: PropertyResult, found: Findings) -> Value:
    """Core energy, elastic prefactor and fitted prefactor; returns the core energy."""
    name, title, best, usable = found.geometry.name, found.geometry.title, found.sizes[0], found.usable
    last = usable[-1]
    reached = sum(r["E_core"] is not None and r["E_core"] < best["E_core"] + SAME for r in found.runs)
    error, sources = last["scatter"], ["scatter of E(R) - K ln R"] if last["K_fit"] is not None else []
    if len(usable) > 1:
        error, sources = error + abs(last["E_core"] - usable[-2]["E_core"]), [*sources, "two radii"]
    note = (
        f"r_core = b = {found.b:.3f} A; lowest from start {best['start']!r}, reached by {reached} of "
        f"{len(found.runs)} starts; relaxed within {last['radius']:.1f} A, held in a ring of {found.ring:.1f} A"
    )
    if last["K_fit"] is None:
        note += "; from total energies, as the calculator gives none of single atoms"
    core = result.add(
        f"{name}_E_core", f"{title}: core energy", last["E_core"], "eV/A", error=error if sources else None,
        error_source=", ".join(sources) or "one radius only", note=note,
    )  # fmt: skip
    result.add(
        f"{name}_K", f"{title}: elastic prefactor", last["K"], "eV/A", error=found.k_error,
        error_source="error of the elastic tensor", note="from the elastic tensor",
    )  # fmt: skip
    fitted, spread = _fitted(usable)
    if fitted is not None:
        value = result.add(
            f"{name}_K_fit", f"{title}: prefactor from E(R)", fitted, "eV/A", error=spread,
            error_source="free fit of each radius" if spread is not None else "one fit",
        )  # fmt: skip
        off = fitted / last["K"] - 1
        if abs(off) > PREFACTOR_GATE:
            text = f"differs by {100 * off:+.0f} % from the elastic one: the cylinder is too small for elasticity"
            value.flag(Status.SUSPICIOUS, f"{text}, or the core has left the field of its ring")
    _gates(core, found)
    return core


def _fitted(usable: list[dict]) -> tuple[float | None, float | None]:
    """Prefactor of a free fit, with its change between radii; from total energies it takes two radii."""
    if usable[-1]["K_fit"] is not None:
        values = [u["K_fit"] for u in usable]
        return values[-1], abs(values[-1] - values[-2]) if len(values) > 1 else None
    if len(usable) > 1:
        one, two = usable[-2:]
        return (two["total"] - one["total"]) / (two["F"] - one["F"]), None
    return None, None


def _gates(core: Value, found: Findings) -> None:
    for record in found.usable:
        if not record["converged"]:
            text = f"radius {record['radius']:.0f} A stopped at {record['fmax']:.2g} eV/A: {record['reason']}"
            core.flag(Status.UNCONVERGED, text)
    if len(found.usable) < len(found.sizes):
        core.flag(Status.SUSPICIOUS, "a larger cylinder could not be evaluated; the error bar lacks it")
    failed = [r for r in found.runs if r["E_core"] is None]
    if failed:
        core.flag(Status.SUSPICIOUS, f"{len(failed)} of {len(found.runs)} starts failed: {failed[0]['reason']}")


def _slip(result: PropertyResult, found: Findings, core: Value) -> None:
    """Distance of the partials, or width of the core, from the slip across the glide plane."""
    name, title, record = found.geometry.name, found.geometry.title, found.usable[-1]
    x, slip = record["slip"]
    record["shape"] = {"x": x.round(3).tolist(), "slip": slip.round(4).tolist()}
    if record.get("width") is None:
        core.flag(
            Status.FAILED,
            "the slip across the glide plane no longer passes from 0 to b: the dislocation left the cylinder or moved "
            "to another plane",
        )
        return
    if abs(record["centre"]) > 0.4 * record["radius"]:
        text = f"the core moved by {record['centre']:.1f} A, out of the field that holds its ring"
        core.flag(Status.SUSPICIOUS, text)
    label = "distance of the partials" if found.elastic else "width of the core"
    error, source = None, "one radius only"
    widths = [s["width"] for s in found.usable if s.get("width") is not None]
    if len(widths) > 1:
        error = float(np.median(np.diff(x))) / 2 + abs(widths[-1] - widths[-2])
        source = "spacing of the atoms along the plane, two radii"
    value = result.add(
        f"{name}_{'splitting' if found.elastic else 'width'}", f"{title}: {label}", record["width"], "A",
        error=error, error_source=source,
        note="slip b/4 to 3b/4" + ("; the slip is not monotonic" if record["folds"] else ""),
    )  # fmt: skip
    if not found.elastic:
        return
    limit = result.add(
        f"{name}_splitting_elastic", f"{title}: distance of the partials, elastic", found.elastic, "A",
        error=found.elastic * found.fault_error, error_source="error of the fault energy",
        note="elastic repulsion against the stacking fault",
    )  # fmt: skip
    if found.elastic > 1.2 * record["radius"]:
        text = (
            f"elasticity puts the partials {found.elastic:.0f} A apart, too far for a cylinder of radius "
            f"{record['radius']:.0f} A (raise largest)"
        )
        for v in (value, limit, core):
            v.flag(Status.SUSPICIOUS, text)


def _screw(result: PropertyResult, found: Findings, core: Value) -> None:
    """Kind and symmetry of the bcc screw, and its hard position."""
    record, nearest = found.usable[-1], found.a * (2 / 3) ** 0.5
    title = found.geometry.title
    shape = _shape(record, found, nearest)
    if shape is None:
        core.flag(Status.FAILED, "no circuit around three columns has the Burgers vector: the dislocation has left")
        return
    xy, z, _ = columns_of(record["perfect"], record["moved"], 12.0)
    record["shape"] = {
        "columns": np.column_stack([xy, z]).round(3).tolist(), "arrows": shape.arrows,
        "core": list(shape.position), "kind": shape.kind,
    }  # fmt: skip
    kind = "compact, not degenerate" if shape.polarity < 0.1 else "extended, degenerate"
    result.add(
        "screw_polarity", f"{title}: asymmetry of the core", shape.polarity, "",
        note=f"{shape.kind} core, {kind}; largest differential displacement {shape.largest:.2f} b",
    )  # fmt: skip
    moved = float(np.hypot(*shape.position))
    if moved > 0.75 * nearest:
        core.flag(Status.SUSPICIOUS, f"the core moved by {moved:.1f} A from the centre of its ring")
    held = {r["start"]: r for r in found.runs if r["E_core"] is not None}
    if "easy" not in held or "hard" not in held:
        return
    hard = _shape(held["hard"], found, nearest)
    if hard is not None and hard.kind == "hard":
        result.add(
            "screw_hard_above_easy", f"{title}: hard above easy core",
            held["hard"]["E_core"] - held["easy"]["E_core"], "eV/A",
            error=held["hard"]["scatter"] + held["easy"]["scatter"], error_source="scatter of E(R) - K ln R",
            note="relaxed from the hard position, which its symmetry holds",
        )  # fmt: skip


def _shape(record: dict, found: Findings, nearest: float):
    return screw_core(record["perfect"], record["moved"], found.b, nearest, min(12.0, record["radius"]))
