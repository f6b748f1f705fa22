"""Straight dislocations in cubic elements: core energy, elastic prefactor, splitting into partials, core structure.

    E(R) = E_core + K ln(R / r_core),   r_core = b

per length of line, in a cylinder whose outer ring is held at the displacements of anisotropic elasticity and whose
other atoms are relaxed. K comes from the elastic tensor of the same model; a free fit of the relaxed energies
against ln R must give it back. The ring is as thick as the model's forces reach, which is measured on the perfect
cylinder. Every kind is started from several positions or splittings of the core, all relaxed in one batch; the
lowest is repeated in larger cylinders, whose difference is the error bar. Splitting: positions where the slip along
the glide plane passes b/4 and 3b/4, beside the distance at which elastic repulsion balances the model's own
stacking fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from ase.units import GPa, J, m

from ..cores import (
    Field,
    Restrained,
    Stroh,
    crossings,
    disregistry,
    energy_within,
    fit_core,
    splitting,
    stiffness,
)  # fmt: skip
from ..csl import cubic_constant, cubic_structure, why_not
from ..dislocation_cells import (
    GEOMETRIES,
    Geometry,
    Start,
    centred,
    cylinder,
    displaced,
    fault_cell,
    interaction_range,
    pair_of_partials,
    starting_cores,
    strained_probe,
)  # fmt: skip
from ..dislocation_report import SAME, Findings, report
from ..options import option
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyFailure, PropertyResult, Status
from ..structures import Crystal

GAP = 8.0  # A, vacuum around a cylinder
PROBE = 17.0  # A, radius of the perfect cylinder on which the reach of the forces is measured
SMOOTH = 3.0  # A, width over which an atom enters the energy within R
FAULT_PLANES = (9, 12)  # planes between faults
SI = J / m**2
NO_FAULT = 1e-3  # J/m^2


@dataclass(frozen=True)
class Options:
    kinds: tuple[str, ...] = option(
        ("all",), "dislocations to compute: all, or some of screw, edge, edge110, edge112, glide60",
        choices=("all", "screw", "edge", "edge110", "edge112", "glide60"),
    )  # fmt: skip
    radii: tuple[float, ...] = option(
        (20.0, 30.0), "radius within which atoms are relaxed, of each cylinder; larger where partials are far apart",
        unit="A", smoke=(18.0,), full=(25.0, 35.0, 50.0), low=8.0, high=300.0,
    )  # fmt: skip
    largest: float = option(
        60.0, "no cylinder is made larger than this for the sake of far partials", unit="A", smoke=45.0, full=90.0,
        low=8.0, high=500.0,
    )  # fmt: skip
    starts: int = option(
        3, "starts of each dislocation: positions along the glide direction, or splittings", smoke=1, full=6, low=1
    )  # fmt: skip
    reach: float = option(
        2e-3, "force on a perfect crystal's atom by which the reach of the model's forces is told", unit="eV/A",
        low=1e-8, high=0.1,
    )  # fmt: skip
    fmax: float = option(3e-3, "largest force left", unit="eV/A", smoke=1e-2, full=1e-3, low=1e-7, high=0.1)


def applies(crystal: Crystal) -> str:
    return why_not(crystal, "dislocation cores")


def run(ctx: Context, result: PropertyResult) -> None:
    if reason := applies(ctx.crystal):
        raise PropertyFailure(reason, Status.UNSUPPORTED)
    structure, a = cubic_structure(ctx.crystal), cubic_constant(ctx.crystal)
    tensor = ctx.results["elastic"].data["relaxed"]
    voigt, error = np.array(tensor["C_GPa"]) * GPa, np.array(tensor["error_GPa"]) * GPa
    if np.linalg.eigvalsh(voigt).min() <= 0:
        raise PropertyFailure("the crystal is elastically unstable: a dislocation in it has no elastic field",
                              Status.UNSTABLE)  # fmt: skip
    wanted = ctx.options.kinds
    chosen = [g for g in GEOMETRIES if g.structure == structure and ("all" in wanted or g.name in wanted)]
    if not chosen:
        names = ", ".join(g.name for g in GEOMETRIES if g.structure == structure)
        raise PropertyFailure(
            f"{structure} has no dislocation {', '.join(wanted)}; it has: {names}", Status.UNSUPPORTED
        )
    bulk = ctx.evaluator.evaluate([ctx.crystal.atoms], ("energy",))[0]["energy"] / len(ctx.crystal.atoms)
    work = _Work(ctx, result, a, bulk)
    fault = work.fault(chosen) if structure != "bcc" else None
    result.settings.update(r_core="b", radii_A=list(ctx.options.radii), fmax_eV_A=ctx.options.fmax, smoothing_A=SMOOTH)
    turn = _orientation(ctx.crystal)
    for geometry in chosen:
        c = stiffness(voigt, geometry.frame @ turn)
        b = geometry.vector(a)
        work.k_error = abs(
            Stroh(stiffness(voigt + error, geometry.frame @ turn), b).prefactor() - Stroh(c, b).prefactor()
        )
        work.one(geometry, c, fault)


def _orientation(crystal: Crystal) -> np.ndarray:
    """Rotation from the crystal's Cartesian frame to its cubic axes."""
    atoms = crystal.atoms
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    return np.array(spglib.get_symmetry_dataset(cell, symprec=1e-4).std_rotation_matrix)


class _Work:
    """What all dislocations of one crystal share."""

    def __init__(self, ctx: Context, result: PropertyResult, a: float, bulk: float):
        self.ctx, self.result, self.a, self.bulk = ctx, result, a, bulk
        self.symbol, self.options = ctx.elements[0], ctx.options
        self.evaluator, self.fault_error, self.k_error = Restrained(ctx.evaluator), 0.0, 0.0

    # -- stacking fault ---------------------------------------------------------------------------------------------

    def fault(self, chosen: list[Geometry]) -> dict[tuple[int, ...], float]:
        """Fault energy (eV/A^2) that slip by each Shockley vector leaves: low for one sense, high for the other."""
        vectors = sorted({p for g in chosen for p in g.partials})
        cells = [fault_cell(chosen[0], self.a, self.symbol, v, n) for n in FAULT_PLANES for v in [None, *vectors]]
        area = cells[0].get_volume() / cells[0].cell[2, 2]
        with self.ctx.progress.step("stacking faults", len(cells)):
            mode = "full" if self.ctx.evaluator.has_stress else "fixed"
            done = relax(Restrained(self.ctx.evaluator, normal_only=True), cells, cell=mode, smax=1e-5,
                         fmax=self.options.fmax / 3, max_steps=self.ctx.general.max_steps)  # fmt: skip
        half = len(vectors) + 1
        table = np.array([d.energy for d in done]).reshape(2, half)
        table = (table[:, 1:] - table[:, :1]) / area
        best = int(table[1].argmin())
        low, error = float(table[1, best]), float(abs(table[1, best] - table[0, best]))
        value = self.result.add(
            "fault_energy", "Intrinsic stacking fault", low / SI, "J/m^2", error=error / SI,
            error_source="two distances of the faults", note="sets where the partials start",
        )  # fmt: skip
        if not (done[half].converged and done[half + 1 + best].converged):
            value.flag(Status.UNCONVERGED, "the faulted cell did not relax")
        if low / SI < NO_FAULT:
            value.flag(
                Status.UNSTABLE if low / SI < -NO_FAULT else Status.SUSPICIOUS,
                "the fault costs no energy in this model: nothing binds the partials, and they are not looked for",
            )
        self.fault_error = error / low if low > 0 else 0.0
        return dict(zip(vectors, table[1].tolist(), strict=True))

    # -- one kind ---------------------------------------------------------------------------------------------------

    def one(self, geometry: Geometry, c: np.ndarray, fault: dict | None) -> None:
        parts, elastic = self._partials(geometry, c, fault)
        far = 1.1 * elastic > self.options.largest  # flagged in any case: one start is enough
        apart, n = min(elastic, 1.5 * self.options.largest), 1 if far else self.options.starts
        starts = starting_cores(geometry, self.a, c, parts, apart, n)
        ring = self._ring(geometry)
        radii = self._radii(elastic)
        runs = self._relaxed(geometry, [(s, radii[0]) for s in starts], ring)
        good = [r for r in runs if r["E_core"] is not None]
        if not good:
            name = f"{geometry.name}_E_core"
            value = self.result.add(name, f"{geometry.title}: core energy", None, "eV/A")
            value.flag(Status.FAILED, f"no start could be evaluated: {runs[0]['reason']}")
            return
        lowest = min(good, key=lambda r: r["E_core"])
        best = next(r for r in good if r["E_core"] <= lowest["E_core"] + max(SAME, 0.5 * lowest["scatter"]))
        again = self._as_relaxed(best, starts[best["index"]], parts)
        sizes = [best, *self._relaxed(geometry, [(again, r) for r in radii[1:]], ring)]
        found = Findings(geometry, self.a, runs, sizes, ring, elastic, self.fault_error, self.k_error)
        report(self.result, found)

    def _partials(self, geometry: Geometry, c, fault):
        """Fields of the left and the right partial and their elastic distance; ([], 0) for one that does not split."""
        if not geometry.partials or fault is None:
            return [], 0.0
        one, two = geometry.partials
        # Between the partials the crystal has slipped by the right one.
        left, right = (one, two) if fault[two] <= fault[one] else (two, one)
        if fault[right] / SI < NO_FAULT:
            return [], 0.0
        fields = [Stroh(c, geometry.frame @ np.array(p) * self.a / 6) for p in (left, right)]
        return fields, splitting(*fields, fault[right])

    def _radii(self, elastic: float) -> list[float]:
        """Radii of the cylinders, enlarged where the partials would come near the ring."""
        radii = [min(max(r, 1.1 * elastic + 10.0 * k), max(self.options.largest, r)) for k, r in
                 enumerate(self.options.radii)]  # fmt: skip
        return [r for k, r in enumerate(radii) if r not in radii[:k]]

    def _as_relaxed(self, record: dict, start: Start, parts) -> Start:
        """The start of the larger cylinders: partials, and with them the ring, as far apart as the relaxed ones."""
        if len(start.ring.parts) == 1 or record.get("width") is None:
            return start
        field = pair_of_partials(parts, record["width"])
        return Start(start.name, start.origin, field, field, start.kick)

    def _ring(self, geometry: Geometry) -> float:
        """Thickness (A) of the ring that has to be held: how far the forces of a free surface reach."""
        perfect = cylinder(geometry, self.a, self.symbol, np.array([0.1, 0.1]), PROBE, GAP)
        forces = self.ctx.evaluator.evaluate([strained_probe(perfect)], ("energy", "forces"))[0]["forces"]
        depth = interaction_range(forces, perfect, PROBE, self.options.reach)
        if depth > 0.85 * PROBE:
            raise PropertyFailure(
                f"in a perfect cylinder of radius {PROBE} A forces above {self.options.reach:g} eV/A reach "
                f"{depth:.1f} A below the surface: no ring of this size can stand for the crystal (raise reach)",
                Status.SUSPICIOUS,
            )
        return depth + 0.5

    # -- relaxation -------------------------------------------------------------------------------------------------

    def _relaxed(self, geometry: Geometry, jobs: list[tuple[Start, float]], ring: float) -> list[dict]:
        """Relax all (start, radius) in one batch; one record each."""
        if not jobs:
            return []
        perfect = [cylinder(geometry, self.a, self.symbol, s.origin, r + ring, GAP) for s, r in jobs]
        cells = [displaced(p, s, r, self.ctx.general.seed + 680) for p, (s, r) in zip(perfect, jobs, strict=True)]
        first = self.ctx.evaluator.evaluate(cells, ("energy",), errors="return")
        good = [k for k, f in enumerate(first) if isinstance(f, dict)]
        with self.ctx.progress.step(f"relaxing {geometry.title}", len(good)):
            done = relax(
                self.evaluator, [cells[k] for k in good], fmax=self.options.fmax, max_steps=self.ctx.general.max_steps,
                on_step=self.ctx.progress.update,
            )  # fmt: skip
        sites = self._site_energies([d.atoms for d in done])
        whole = None if all(e is not None for e in sites) else self.ctx.evaluator.evaluate(
            [centred(perfect[k]) for k in good], ("energy",))  # fmt: skip
        out = []
        for k, (start, radius) in enumerate(jobs):
            record = {"start": start.name, "index": k, "radius": radius, "atoms": len(cells[k]), "E_core": None}
            if k not in good:
                out.append({**record, "converged": False, "reason": str(first[k])})
                continue
            n = good.index(k)
            total = None if whole is None else done[n].energy - whole[n]["energy"]
            record.update(converged=done[n].converged, reason=done[n].reason, fmax=done[n].fmax, steps=done[n].steps)
            moved = done[n].atoms.positions.copy()
            moved[:, :2] -= done[n].atoms.cell.lengths()[:2] / 2
            record.update(perfect=perfect[k].positions, moved=moved)
            self._slip(geometry, record)
            record.update(
                self._energy(geometry, self._field(start.ring, record), perfect[k], radius, ring, sites[n], total)
            )
            out.append(record)
        return out

    def _site_energies(self, structures: list[Atoms]) -> list[np.ndarray | None]:
        """Energies of the atoms, or None where the calculator gives none that add up to the energy."""
        out = []
        for got in self.ctx.evaluator.evaluate(structures, ("energy", "energies"), errors="return"):
            fits = isinstance(got, dict) and abs(got["energies"].sum() - got["energy"]) < 1e-6 * len(got["energies"])
            out.append(got["energies"] if fits and np.ptp(got["energies"]) > 1e-9 else None)
        return out

    def _slip(self, geometry: Geometry, record: dict) -> None:
        """Slip along the glide plane; width and centre where it passes b/4 and 3b/4 (absent where it does not)."""
        if geometry.structure == "bcc" and geometry.name == "screw":
            return
        perfect, moved = record["perfect"], record["moved"]
        inside = np.hypot(*perfect[:, :2].T) < record["radius"]
        x, slip = disregistry(perfect[inside], moved[inside], geometry.vector(self.a))
        record["slip"] = x, slip
        quarter, three = crossings(x, slip, 0.25), crossings(x, slip, 0.75)
        if quarter and three:
            low, high = min(three), max(quarter)
            record.update(width=abs(high - low), centre=(low + high) / 2, folds=len(quarter) + len(three) - 2)

    def _field(self, ring: Field, record: dict) -> Field:
        """The ring's field with its partials where the relaxed ones are, as the reference of the energy."""
        if len(ring.parts) == 1 or record.get("width") is None:
            return ring
        half = record["width"] / 2
        return Field([(part, np.sign(x) * half) for part, x in ring.parts])

    def _energy(self, geometry: Geometry, field: Field, perfect: Atoms, radius, ring, sites, total) -> dict:
        """Core energy from the energy of the atoms within R, or from that of the whole cylinder."""
        b, length = float(np.linalg.norm(geometry.vector(self.a))), geometry.period(self.a)
        if sites is None:
            return {"E_core": total / length - field.k * float(field.logarithm(np.array([radius + ring]), b)[0]),
                    "total": total / length, "F": float(field.logarithm(np.array([radius + ring]), b)[0]), "K": field.k,
                    "scatter": 0.0, "K_fit": None}  # fmt: skip
        low = min(max(field.extent + 5.0, 2.5 * b), radius - SMOOTH - 1.0)
        grid = np.linspace(low, radius - SMOOTH / 2, 60)
        r = np.hypot(*perfect.positions[:, :2].T)
        energy = energy_within(sites - self.bulk, r, grid, length, SMOOTH)
        logarithm = field.logarithm(grid, b)
        fit = fit_core(energy, logarithm, field.k)
        return {"E_core": fit.core, "scatter": fit.scatter, "K_fit": fit.fitted_k, "K": field.k,
                "curve": {"R": grid.round(3).tolist(), "E": energy.round(5).tolist(), "F": logarithm.round(5).tolist()},
                "extent": field.extent}  # fmt: skip


def plots(models):
    from ..core_plots import dislocation_figures

    return dislocation_figures(models)


PROPERTY = Property(
    "dislocations", "Dislocation cores", run, order=68, plots=plots, options=Options, needs=("lattice", "elastic"),
    applies=applies, sources=("10.1016/0079-6425(80)90007-9", "10.1080/14786437008238490"), version=2,
    outputs=(
        Output("*_E_core", "eV/A", "core energy per length for r_core = b"),
        Output("*_K", "eV/A", "elastic prefactor of the energy's logarithm, from the elastic tensor"),
        Output("*_K_fit", "eV/A", "the same from relaxed energies"),
        Output("*_splitting*", "A", "distance of the partials, relaxed and from elasticity"),
        Output("*_width", "A", "width of an edge core that does not split"),
        Output("screw_hard_above_easy", "eV/A", "core energy of the bcc screw in the hard position above the easy one"),
        Output("screw_polarity", "", "asymmetry of the bcc screw core under its two-fold axes"),
        Output("fault_energy", "J/m^2", "intrinsic stacking fault that holds the partials together"),
    ),
    about="Line defects whose motion is plastic flow. The core energy is what the crystal pays beyond linear "
    "elasticity; the shape of the core decides how hard the line is to move.",
)  # fmt: skip
