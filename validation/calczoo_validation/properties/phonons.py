"""Phonons by finite displacements (phonopy): bands, density of states, free energy and heat capacity.

Force constants come from displaced supercells, all evaluated in one batch together with the undisplaced one, whose
forces are subtracted. The same supercell with twice the displacement gives the error bar (the h^2 term, a third of the
difference); full mode adds a larger supercell. Phonopy: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023),
doi:10.7566/JPSJ.92.012001; band path: Y. Hinuma et al., Comput. Mater. Sci. 128, 140 (2017),
doi:10.1016/j.commatsci.2016.10.015.

Where effective charges and a dielectric tensor are known (from the calculator, or a BORN file), the macroscopic field
of longitudinal modes is added: X. Gonze and C. Lee, Phys. Rev. B 55, 10355 (1997), doi:10.1103/PhysRevB.55.10355.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..options import option
from ..phonon_tools import Supercell, compare_bands, solve_all
from ..phonon_values import report
from ..registry import Context, Output, Property
from ..results import PropertyResult, Status
from ..structures import repeats
from ..symmetry import Symmetry

HESSIAN_GATE = 1e-3
HESSIAN_LENGTH = 5.0  # A, faces of the cell in which the two ways are compared
HESSIAN_STEP = 5e-3  # A


@dataclass(frozen=True)
class Options:
    displacement: float = option(0.01, "displacement; twice this is used as well", unit="A", low=1e-5, high=0.5)
    lengths: tuple[float, ...] = option(
        (12.0,), "smallest distance of opposite faces of each supercell", unit="A", smoke=(8.0,), full=(12.0, 18.0),
        low=1.0, high=200.0,
    )  # fmt: skip
    band_points: int = option(41, "points on each segment of the path", smoke=21, full=81, low=2, high=2000)
    mesh: float = option(60.0, "q-mesh: N_i = length x |b_i|", unit="A", smoke=30.0, full=100.0, low=1.0, high=1000.0)
    imaginary: float = option(
        0.02, "imaginary frequencies up to this share of the highest frequency count as noise", low=0.0, high=1.0
    )
    unstable_thermal: str = option(
        "leave out", "thermal properties of a crystal with imaginary modes: leave these modes out and say so, or skip",
        choices=("leave out", "skip"),
    )  # fmt: skip
    born: str = option("", "BORN file (phonopy's format) with dielectric tensor and effective charges")
    hessian: bool = option(False, "compare displacements with the calculator's own second derivatives", full=True)


def run(ctx: Context, result: PropertyResult) -> None:
    s = ctx.options
    unit = ctx.crystal.conventional_cell()
    sizes = list(dict.fromkeys(repeats(unit, length) for length in sorted(s.lengths)))
    distances = (s.displacement, 2 * s.displacement)
    with ctx.progress.step("symmetry of the supercells"):
        cells = [Supercell.of(unit, counts, distances) for counts in sizes]
    displaced = sum(len(m) for c in cells for m in c.moved)
    with ctx.progress.step("displaced supercells", displaced + len(cells)):
        solve_all(ctx.evaluator, cells)
    charges = _charges(ctx, cells[-1])
    for cell in cells:
        if charges is not None:
            cell.phonon.nac_params = charges
    result.settings.update(
        displacements_A=list(distances), supercells=[list(c) for c in sizes], mesh_length_A=s.mesh,
        atoms=[len(c.phonon.supercell) for c in cells], displaced_structures=displaced,
        imaginary_below=f"{s.imaginary:g} of the highest frequency", unstable_thermal=s.unstable_thermal,
        charges="none" if charges is None else s.born or "of the calculator",
    )  # fmt: skip
    report(cells, ctx, result)
    if s.hessian:
        _hessian(ctx, result)


def from_frames(frames, ctx: Context, result: PropertyResult) -> None:
    """The same numbers from displaced supercells with forces that a user calculated."""
    from ..force_sets import supercells_of_frames

    cells = supercells_of_frames(frames, ctx, result)
    report(cells, ctx, result)


def _charges(ctx: Context, cell: Supercell) -> dict | None:
    """Effective charges and dielectric tensor for the primitive cell: from the BORN file, else from the calculator."""
    from ..force_sets import charges_of, read_born
    from ..phonon_tools import ase_cell

    if ctx.options.born:
        return read_born(ctx.options.born, cell.phonon)
    names = ("born_effective_charges", "dielectric_tensor")
    implemented = getattr(ctx.evaluator.calculator, "implemented_properties", None) or ()
    if not all(n in implemented for n in names):
        return None
    (got,) = ctx.evaluator.evaluate([ase_cell(cell.phonon.primitive)], ("energy", *names))
    return charges_of(got[names[0]], got[names[1]], cell.phonon)


def _hessian(ctx: Context, result: PropertyResult) -> None:
    """Largest difference of central force differences and the calculator's own Hessian, in a small periodic cell.

    Forces at +-h and +-2h on every symmetry-distinct atom: H = (4 H(h) - H(2h)) / 3, error |H(h) - H(2h)| / 3.
    """
    own = getattr(ctx.evaluator.calculator, "get_hessian", None)
    if own is None:
        result.notes.append("The calculator offers no second derivatives to compare the displacements with.")
        return
    unit = ctx.crystal.conventional_cell()
    atoms = unit.repeat(repeats(unit, HESSIAN_LENGTH))
    rows = Symmetry(atoms).distinct_atoms()
    with ctx.progress.step("second derivatives"):
        matrix = _rows_of(own, atoms, rows)
        if matrix is None:
            result.notes.append("The calculator's second derivatives are not available for this model.")
            return
        moves = [(a, x, m * HESSIAN_STEP) for a in rows for x in range(3) for m in (1, -1, 2, -2)]
        structures = []
        for a, x, by in moves:
            structures.append(atoms.copy())
            structures[-1].positions[a, x] += by
        forces = [r["forces"].ravel() for r in ctx.evaluator.evaluate(structures, ("energy", "forces"))]
    f = np.array(forces).reshape(3 * len(rows), 4, -1)
    near, far = -(f[:, 0] - f[:, 1]) / (2 * HESSIAN_STEP), -(f[:, 2] - f[:, 3]) / (4 * HESSIAN_STEP)
    largest = np.abs(matrix).max()
    gap = float(np.abs((4 * near - far) / 3 - matrix).max() / largest)
    value = result.add(
        "hessian_gap", "Displacements against second derivatives", gap, "",
        error=float(np.abs(near - far).max() / 3 / largest), error_source="two displacement magnitudes",
        note=f"of the largest force constant, {len(atoms)} atoms",
    )  # fmt: skip
    if gap > HESSIAN_GATE + value.error:
        value.flag(Status.SUSPICIOUS, "the forces do not change as the calculator's own second derivatives say")


def _rows_of(own, atoms, rows) -> np.ndarray | None:
    """Rows (3 len(rows), 3 N) of the Hessian in eV/A^2; None where the calculator has no second derivatives.

    Asked for as analytic ones where the calculator knows the difference: differences again would prove nothing.
    """
    for keywords in ({"indices": rows, "method": "analytic"}, {"indices": rows}, {}):
        try:
            matrix = np.asarray(own(atoms, **keywords), dtype=float)
        except TypeError:  # an interface without this keyword
            continue
        except NotImplementedError:
            return None
        return matrix if keywords else matrix.reshape(len(atoms), 3, -1)[rows].reshape(3 * len(rows), -1)
    return None


def plots(models):
    from ..plots import band_figure, dos_figure, thermal_figure

    got = [(label, r.data) for label, r, _ in models if "bands" in r.data]
    if not got:
        return []
    reference = next((d["reference_bands"] for _, d in got if d.get("reference_bands")), None)
    caption = "Imaginary frequencies are drawn below zero."
    if reference is not None:
        caption += f" Dashed: {reference.get('label', 'reference')}."
        for label, data in got:
            gap = compare_bands(data["bands"], reference)
            if gap is not None:
                caption += f" {label}: {gap['rms']:.2f} THz off on average (rms), {gap['largest']:.2f} THz at most."
            else:
                caption += f" {label}: other path, not comparable."
    out = [("bands", "Phonon bands", caption, band_figure(got, reference))]
    if any("dos" in d for _, d in got):
        dos = [(label, d) for label, d in got if "dos" in d]
        out.append(("dos", "Phonon density of states", "States per THz and atom.", dos_figure(dos)))
    thermal = [(label, d) for label, d in got if "thermal" in d]
    if thermal:
        text = "Harmonic, at fixed volume, per atom."
        out.append(("thermal", "Free energy and heat capacity", text, thermal_figure(thermal)))
    return out


PROPERTY = Property(
    "phonons", "Phonons", run, order=40, plots=plots, options=Options, from_frames=from_frames, version=2,
    sources=("10.7566/JPSJ.92.012001", "10.1016/j.commatsci.2016.10.015", "10.1103/PhysRevB.55.10355"),
    outputs=(
        Output("*_[0-9]*", "THz", "frequency of a branch at a special point, as in X_1; G_LO_6: longitudinal"),
        Output("highest", "THz", "highest frequency"),
        Output("lowest", "THz", "lowest frequency; negative: imaginary"),
        Output("imaginary_modes", "", "imaginary modes at the q points that are exact in the supercell"),
        Output("zero_point", "meV", "zero-point energy per atom"),
        Output("free_energy", "meV", "vibrational free energy per atom"),
        Output("entropy", "kB", "vibrational entropy per atom"),
        Output("heat_capacity", "kB", "heat capacity at constant volume per atom"),
        Output("debye_*", "K", "Debye temperature from second moment, heat capacity, sound velocities"),
        Output("sound_*", "km/s", "sound velocity along a direction of the path"),
        Output("hessian_gap", "", "forces of displaced atoms against the calculator's own second derivatives"),
    ),
    about="Vibrations of the crystal in the harmonic approximation and what follows from them: stability, free energy, "
    "heat capacity.",
)  # fmt: skip
