"""Phonons by finite displacements (phonopy): bands, density of states, free energy and heat capacity.

Force constants come from displaced supercells, all evaluated in one batch together with the undisplaced one, whose
forces are subtracted. The same supercell with twice the displacement gives the error bar (the h^2 term, a third of the
difference); full mode adds a larger supercell. Phonopy: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023),
doi:10.7566/JPSJ.92.012001; band path: Y. Hinuma et al., Comput. Mater. Sci. 128, 140 (2017),
doi:10.1016/j.commatsci.2016.10.015.
"""

from __future__ import annotations

from dataclasses import dataclass

import warnings

import numpy as np
from ase import Atoms
from ase.units import kJ, mol

from ..options import option
from ..registry import Context, Output, Property
from ..results import PropertyResult, Status
from ..structures import repeats

IMAGINARY = 0.02  # of the highest frequency: less is noise of the interpolation
DRIFT_GATE = 0.01  # of the largest force constant
KJ_MOL = kJ / mol
DERIVED = ("zero_point", "free_energy", "entropy", "heat_capacity")
SPECIAL = {"GAMMA": "G"}


@dataclass(frozen=True)
class Options:
    displacement: float = option(0.01, "displacement; twice this is used as well", unit="A", low=1e-5, high=0.5)
    lengths: tuple[float, ...] = option(
        (12.0,), "smallest distance of opposite faces of each supercell", unit="A", smoke=(8.0,), full=(12.0, 18.0),
        low=1.0, high=200.0,
    )  # fmt: skip
    band_points: int = option(41, "points on each segment of the path", smoke=21, full=81, low=2, high=2000)
    mesh: float = option(60.0, "q-mesh: N_i = length x |b_i|", unit="A", smoke=30.0, full=100.0, low=1.0, high=1000.0)


def run(ctx: Context, result: PropertyResult) -> None:
    s = ctx.options
    unit = ctx.crystal.conventional_cell()
    sizes = [repeats(unit, length) for length in s.lengths]
    distances = (s.displacement, 2 * s.displacement)
    with ctx.progress.step("symmetry of the supercells"):
        cells = [_Supercell(unit, counts, distances) for counts in sizes]
    drift = _forces(ctx, cells)
    result.settings.update(
        displacements_A=list(distances), supercells=[list(c) for c in sizes], mesh_length_A=s.mesh,
        atoms=[len(c.phonon.supercell) for c in cells],
        displaced_structures=sum(len(m) for c in cells for m in c.moved),
    )  # fmt: skip
    main = cells[-1]  # the largest
    with ctx.progress.step("bands and thermal properties"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of spglib and seekpath, not ours to change
        path = _path(main.phonon)
        _bands(main.use(0), path, s.band_points, result)
        _special_points(cells, path, result)
        _thermal(main, ctx, result)
        _stability(main, result)
    if drift > DRIFT_GATE:
        result.flag(
            Status.SUSPICIOUS,
            f"the force constants break the acoustic sum rule by {100 * drift:.1f} %: the forces are noisy or do not "
            "sum to zero",
        )
    result.data["acoustic_sum_rule_drift"] = drift


class _Supercell:
    """One supercell with the displaced structures and force constants of each displacement magnitude."""

    def __init__(self, unit: Atoms, counts, distances):
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
        from phonopy.structure.cells import guess_primitive_matrix

        cell = PhonopyAtoms(
            symbols=unit.get_chemical_symbols(), cell=unit.cell.array, scaled_positions=unit.get_scaled_positions()
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of spglib, not ours to change
            primitive = guess_primitive_matrix(cell)
            self.phonon = Phonopy(cell, supercell_matrix=np.diag(counts), primitive_matrix=primitive, log_level=0)
        self.distances, self.moved, self.constants = distances, [], []
        for distance in distances:
            self.phonon.generate_displacements(distance=distance)
            self.moved.append([_atoms(c) for c in self.phonon.supercells_with_displacements])
        self.repeat = np.rint(self.phonon.supercell.cell @ np.linalg.inv(self.phonon.primitive.cell)).astype(int)

    def solve(self, rest: np.ndarray, forces: list[list[np.ndarray]]) -> float:
        """Force constants from forces; returns the relative violation of the acoustic sum rule before it is imposed."""
        worst = 0.0
        for distance, moved in zip(self.distances, forces, strict=True):
            self.phonon.generate_displacements(distance=distance)
            self.phonon.forces = np.array([f - rest for f in moved])
            self.phonon.produce_force_constants(show_drift=False)
            raw = self.phonon.force_constants
            worst = max(worst, float(np.abs(raw.sum(axis=1)).max() / np.abs(raw).max()))
            self.phonon.symmetrize_force_constants(show_drift=False)
            self.constants.append(self.phonon.force_constants.copy())
        return worst

    def use(self, k: int):
        """The phonopy object with the force constants of displacement k."""
        self.phonon.force_constants = self.constants[k]
        return self.phonon

    def is_exact(self, q) -> bool:
        """Whether q is commensurate with the supercell, where force constants leave nothing to interpolate."""
        steps = self.repeat @ np.asarray(q)
        return bool(np.abs(steps - np.round(steps)).max() < 1e-5)

    def exact_points(self) -> np.ndarray:
        """All |det| commensurate q points, fractional, in [0, 1)."""
        count = abs(round(float(np.linalg.det(self.repeat))))
        inverse = np.linalg.inv(self.repeat)
        edge = np.arange(np.abs(self.repeat).sum(axis=1).max() + 1)
        grid = np.stack(np.meshgrid(edge, edge, edge, indexing="ij"), -1).reshape(-1, 3) @ inverse.T
        points = np.unique(np.round((grid + 1e-9) % 1.0, 6) % 1.0, axis=0)
        if len(points) != count:
            raise RuntimeError(f"{len(points)} commensurate points instead of {count}")
        return points


def _atoms(cell) -> Atoms:
    return Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)


def _forces(ctx: Context, cells: list[_Supercell]) -> float:
    """Force constants of all supercells from one batch; the largest violation of the acoustic sum rule."""
    structures = [a for c in cells for a in (_atoms(c.phonon.supercell), *(m for moved in c.moved for m in moved))]
    with ctx.progress.step("displaced supercells", len(structures)):
        forces = iter([r["forces"] for r in ctx.evaluator.evaluate(structures, ("energy", "forces"))])
    worst = 0.0
    for cell in cells:
        rest = next(forces)
        worst = max(worst, cell.solve(rest, [[next(forces) for _ in moved] for moved in cell.moved]))
    return worst


def _path(phonon) -> dict:
    import seekpath

    cell = phonon.primitive
    return seekpath.get_path_orig_cell((cell.cell, cell.scaled_positions, cell.numbers))


def _bands(phonon, path: dict, points: int, result: PropertyResult) -> None:
    """Frequencies in THz along the path, one list per segment, with labels at its ends."""
    coords = path["point_coords"]
    segments = [np.linspace(coords[a], coords[b], points) for a, b in path["path"]]
    phonon.run_band_structure(segments)
    bands = phonon.get_band_structure_dict()
    result.data["bands"] = {
        "labels": [[_label(a), _label(b)] for a, b in path["path"]],
        "distances": [np.round(d, 6).tolist() for d in bands["distances"]],
        "frequencies": [np.round(f, 5).tolist() for f in bands["frequencies"]],
    }


def _label(name: str) -> str:
    return SPECIAL.get(name, name.replace("_", ""))


def _special_points(cells: list[_Supercell], path: dict, result: PropertyResult) -> None:
    """Frequencies at the ends of the path's segments, degenerate ones merged."""
    names = list(dict.fromkeys(n for pair in path["path"] for n in pair))
    names = [n for n in names if not (n == "U" and "K" in names)]  # equivalent in fcc lattices
    q = [path["point_coords"][n] for n in names]
    best, twice = (_frequencies(cells[-1].use(k), q) for k in (0, 1))
    error, source = np.abs(twice - best) / 3, "two displacement magnitudes"
    if len(cells) > 1:
        error = error + np.abs(_frequencies(cells[-2].use(0), q) - best)
        source += ", two supercells"
    result.data["frequency_error"] = float(error.max())
    for k, name in enumerate(names):
        label = _label(name)
        note = "" if cells[-1].is_exact(q[k]) else f"{_pretty(label)} is interpolated: not exact in this supercell"
        for group in _merged(best[k]):
            if label == "G" and group[0] < 3:
                continue  # acoustic: zero by the sum rule
            tag = f"{group[0] + 1}" if len(group) == 1 else f"{group[0] + 1}-{group[-1] + 1}"
            value = result.add(
                f"{label}_{group[0] + 1}", f"Frequency at {_pretty(label)}, branch {tag}",
                float(best[k][group].mean()), "THz", error=float(error[k][group].max()), error_source=source, note=note,
            )  # fmt: skip
            note = ""  # once per point is enough
            if value.error > max(0.05 * abs(value.value), 0.1):
                value.flag(Status.SUSPICIOUS, "depends on displacement or supercell: noise or strong anharmonicity")


def _frequencies(phonon, q) -> np.ndarray:
    phonon.run_qpoints(q)
    return np.array(phonon.get_qpoints_dict()["frequencies"])


def _pretty(label: str) -> str:
    return "Γ" if label == "G" else label


def _merged(frequencies: np.ndarray, tolerance: float = 5e-3) -> list[list[int]]:
    groups: list[list[int]] = []
    for k, f in enumerate(frequencies):
        if groups and abs(f - frequencies[groups[-1][0]]) < tolerance * max(1.0, abs(f)):
            groups[-1].append(k)
        else:
            groups.append([k])
    return groups


def _thermal(cell: _Supercell, ctx: Context, result: PropertyResult) -> None:
    """Density of states; free energy (eV), entropy and heat capacity (eV/K) per atom."""
    temperatures, mesh = np.arange(0.0, 1001.0, 20.0), ctx.options.mesh
    at = int(np.abs(temperatures - ctx.general.temperature).argmin())
    n = len(cell.phonon.primitive)
    tables = []
    for k, density in ((1, mesh), (0, 0.7 * mesh), (0, mesh)):
        phonon = cell.use(k)
        phonon.run_mesh(density, is_gamma_center=True)
        phonon.run_thermal_properties(temperatures=temperatures, exclude_gamma_acoustic=True)
        table = phonon.get_thermal_properties_dict()
        tables.append({
            "free_energy": np.array(table["free_energy"]) * KJ_MOL / n,
            "entropy": np.array(table["entropy"]) * KJ_MOL / 1e3 / n,
            "heat_capacity": np.array(table["heat_capacity"]) * KJ_MOL / 1e3 / n,
        })  # fmt: skip
    phonon.run_total_dos()
    dos = phonon.get_total_dos_dict()
    f, g = np.array(dos["frequency_points"]), np.array(dos["total_dos"])
    result.data["dos"] = {"frequency": np.round(f, 4).tolist(), "dos": np.round(g / n, 5).tolist()}
    result.data["thermal"] = {"temperature": temperatures.tolist(), **{k: v.tolist() for k, v in tables[2].items()}}
    twice, coarse, best = tables
    error = {k: np.abs(coarse[k] - best[k]) + np.abs(twice[k] - best[k]) / 3 for k in best}
    source = "two q-meshes, two displacements"
    kelvin = f"{ctx.general.temperature:.0f} K"
    rows = (
        ("zero_point", "Zero-point energy per atom", "free_energy", 0, 1e3, "meV"),
        ("free_energy", f"Vibrational free energy per atom, {kelvin}", "free_energy", at, 1e3, "meV"),
        ("entropy", f"Vibrational entropy per atom, {kelvin}", "entropy", at, 1 / 8.617333262e-5, "kB"),
        ("heat_capacity", f"Heat capacity C_V per atom, {kelvin}", "heat_capacity", at, 1 / 8.617333262e-5, "kB"),
    )
    for name, label, key, k, factor, unit in rows:
        result.add(name, label, best[key][k] * factor, unit, error=error[key][k] * factor, error_source=source)


def _stability(cell: _Supercell, result: PropertyResult) -> None:
    """Lowest frequency of path and mesh; imaginary ones (negative here) make the crystal unstable."""
    path = np.concatenate([np.array(f) for f in result.data["bands"]["frequencies"]])
    phonon = cell.use(0)
    exact = float(_frequencies(phonon, cell.exact_points()).min())
    lowest, highest = float(min(path.min(), exact)), float(path.max())
    result.add(
        "highest", "Highest frequency on the path", highest, "THz", error=result.data["frequency_error"],
        error_source="two displacement magnitudes",
    )  # fmt: skip
    result.add(
        "lowest", "Lowest frequency", lowest, "THz", error=result.data["frequency_error"],
        error_source="two displacement magnitudes", note="negative: imaginary, the crystal is unstable",
    )  # fmt: skip
    result.data["lowest_at_exact_points"] = exact
    limit = -IMAGINARY * abs(highest)
    if exact < limit:
        result.flag(
            Status.UNSTABLE,
            f"imaginary modes, lowest {lowest:.2f} THz: the crystal is not a minimum of this model; free energy and "
            "heat capacity leave these modes out",
            ["lowest", *DERIVED, *(v.name for v in result.values if v.unit == "THz" and (v.value or 0) < limit)],
        )
    elif lowest < limit:
        result.flag(
            Status.SUSPICIOUS,
            f"imaginary frequencies ({lowest:.2f} THz) only between the q points that are exact in this supercell: "
            "check with mode='full'",
            ("lowest", *DERIVED),
        )
    if highest > 130 or highest <= 0:
        result.flag(Status.SUSPICIOUS, f"the highest frequency is {highest:.1f} THz")


def plots(models):
    from ..plots import band_figure, dos_figure, thermal_figure

    got = [(label, r.data) for label, r, _ in models if "bands" in r.data]
    if not got:
        return []
    return [
        ("bands", "Phonon bands", "Imaginary frequencies are drawn below zero.", band_figure(got)),
        ("dos", "Phonon density of states", "States per THz and atom.", dos_figure(got)),
        ("thermal", "Free energy and heat capacity", "Harmonic, at fixed volume, per atom.", thermal_figure(got)),
    ]


PROPERTY = Property(
    "phonons", "Phonons", run, order=40, plots=plots, options=Options,
    sources=("10.7566/JPSJ.92.012001", "10.1016/j.commatsci.2016.10.015"),
    outputs=(
        Output("*_[0-9]*", "THz", "frequency of a branch at a special point, as in X_1"),
        Output("highest", "THz", "highest frequency"),
        Output("lowest", "THz", "lowest frequency; negative: imaginary"),
        Output("zero_point", "meV", "zero-point energy per atom"),
        Output("free_energy", "meV", "vibrational free energy per atom"),
        Output("entropy", "kB", "vibrational entropy per atom"),
        Output("heat_capacity", "kB", "heat capacity at constant volume per atom"),
    ),
    about="Vibrations of the crystal in the harmonic approximation and what follows from them: stability, free energy, "
    "heat capacity.",
)  # fmt: skip
