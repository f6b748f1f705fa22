"""`calczoo run singlepoint | relax | md`: one structure, one calculator."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calczoo.core.errors import OptionError

from .common import (
    NOT_OK,
    OK,
    Backend,
    Device,
    Dtype,
    Elements,
    Json,
    ModelFile,
    Option,
    Progress,
    Spec,
    Threads,
    emit,
    load_structure,
    say,
    zoo_calculator,
)

if TYPE_CHECKING:
    from ase import Atoms

app = typer.Typer(no_args_is_help=True, help="Energy and forces, relaxation or molecular dynamics of one structure.")

File = Annotated[Path | None, typer.Argument(help="Structure file that ASE reads.", show_default=False)]
Proto = Annotated[str | None, typer.Option("--proto", help="Prototype instead of a file: Cu:fcc, NaCl:rocksalt:5.64.")]
Supercell = Annotated[str | None, typer.Option("--supercell", help="Repeat the cell: 3 or 3,3,1.")]
Out = Annotated[Path | None, typer.Option("--out", help="File to write: .extxyz, .xyz or .traj.")]
GradeBy = Annotated[str, typer.Option(help="For a committee: uncertainty (eV/atom) or uncertainties (eV/A) instead.")]


@app.command()
def singlepoint(
    spec: Spec,
    file: File = None,
    proto: Proto = None,
    supercell: Supercell = None,
    model: ModelFile = None,
    elements: Elements = None,
    device: Device = "auto",
    dtype: Dtype = "float64",
    backend: Backend = "auto",
    threads: Threads = None,
    option: Option = None,
    out: Out = None,
    json: Json = False,
) -> int:
    """Energy, forces and stress."""
    _check_out(out)
    atoms = load_structure(file, proto, supercell)
    atoms.calc = zoo_calculator(spec, model, elements, device, dtype, backend, threads, option)
    atoms.get_potential_energy()
    data = _summary(atoms)
    data["forces_eV_per_A"] = atoms.get_forces()
    _finish(data, atoms, out, json)
    return OK


@app.command()
def relax(
    spec: Spec,
    file: File = None,
    proto: Proto = None,
    supercell: Supercell = None,
    fmax: Annotated[float, typer.Option(help="Largest force (eV/A) at the end.", min=0.0)] = 0.01,
    cell: Annotated[bool, typer.Option("--cell/--fixed-cell", help="Relax the cell as well.")] = False,
    steps: Annotated[int, typer.Option(help="At most so many steps.", min=0)] = 500,
    model: ModelFile = None,
    elements: Elements = None,
    device: Device = "auto",
    dtype: Dtype = "float64",
    backend: Backend = "auto",
    threads: Threads = None,
    option: Option = None,
    out: Out = None,
    json: Json = False,
) -> int:
    """Relax atoms, and with --cell the cell. Exit code 2 when it did not converge."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE2

    _check_out(out)
    atoms = load_structure(file, proto, supercell)
    atoms.calc = zoo_calculator(spec, model, elements, device, dtype, backend, threads, option)
    if cell and not atoms.pbc.all():
        raise OptionError("--cell needs a structure periodic in all three directions")
    before = atoms.get_potential_energy()
    with Progress("relax") as progress, FIRE2(FrechetCellFilter(atoms) if cell else atoms, logfile=None) as optimizer:
        optimizer.attach(lambda: progress(optimizer.nsteps, steps, f"fmax {_fmax(atoms):.3g} eV/A"))
        converged = bool(optimizer.run(fmax=fmax, steps=steps))
    data = _summary(atoms)
    data.update(converged=converged, steps=optimizer.nsteps, energy_change_eV=data["energy_eV"] - before)
    _finish(data, atoms, out, json)
    return OK if converged else NOT_OK


@app.command()
def md(
    spec: Spec,
    file: File = None,
    proto: Proto = None,
    supercell: Supercell = None,
    steps: Annotated[int, typer.Option(help="Number of steps.", min=1)] = 1000,
    timestep: Annotated[float, typer.Option(help="fs.", min=1e-6)] = 1.0,
    temperature: Annotated[float, typer.Option(help="K.", min=0.0)] = 300.0,
    ensemble: Annotated[str, typer.Option(help="nve, nvt (Bussi thermostat) or npt (isotropic MTK).")] = "nve",
    pressure: Annotated[float, typer.Option(help="GPa, for npt.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the velocities and the thermostat.")] = 0,
    every: Annotated[int, typer.Option(help="Write every so many steps.", min=1)] = 10,
    grade_save: Annotated[float | None, typer.Option(help="Save frames with a larger extrapolation grade.")] = None,
    grade_stop: Annotated[float | None, typer.Option(help="Stop above this extrapolation grade.")] = None,
    grade_by: GradeBy = "extrapolation_grade",
    grade_out: Annotated[Path, typer.Option(help="File of the frames saved.")] = Path("preselected.extxyz"),
    model: ModelFile = None,
    elements: Elements = None,
    device: Device = "auto",
    dtype: Dtype = "float64",
    backend: Backend = "auto",
    threads: Threads = None,
    option: Option = None,
    out: Out = None,
    json: Json = False,
) -> int:
    """Molecular dynamics from velocities drawn at the temperature, for nve at twice that: half goes into vibrations.
    Exit code 2 when --grade-stop ended it."""
    import numpy as np

    from calczoo.watch import ExtrapolationStop, GradeWatch

    _check_out(out)
    atoms = load_structure(file, proto, supercell)
    atoms.calc = zoo_calculator(spec, model, elements, device, dtype, backend, threads, option)
    rng = np.random.default_rng(seed)
    atoms.get_potential_energy()  # errors of the structure come before anything is written
    # twice the temperature in velocities: half of it goes into potential energy when the run starts from a minimum
    _draw_velocities(atoms, temperature * (2.0 if ensemble == "nve" else 1.0), rng)
    dynamics = _dynamics(atoms, ensemble, timestep, temperature, pressure, rng)
    log: list[tuple[float, float]] = []
    graded = None
    if grade_save is not None or grade_stop is not None:
        graded = GradeWatch(atoms, grade_save, grade_stop, grade_out, dynamics, grade_by)
    stopped: ExtrapolationStop | None = None

    def watch() -> None:
        log.append((atoms.get_total_energy(), atoms.get_temperature()))
        progress(dynamics.nsteps, steps, f"{log[-1][1]:.0f} K")

    def keep() -> None:
        _write(out, atoms, append=dynamics.nsteps > 0)

    with Progress("md") as progress:
        dynamics.attach(watch, interval=1)
        if out is not None:
            dynamics.attach(keep, interval=every)
        if graded is not None:
            dynamics.attach(graded, interval=1)  # the last one, so that the step that stops is in the log and in --out
        start = time.perf_counter()
        try:
            dynamics.run(steps)
        except ExtrapolationStop as error:
            stopped = error
        seconds = time.perf_counter() - start
    total, kelvin = np.array(log).T
    half = len(kelvin) // 2
    data = _summary(atoms)
    data.update(
        ensemble=ensemble,
        steps=dynamics.nsteps,
        time_ps=dynamics.nsteps * timestep / 1000.0,
        mean_temperature_K=float(kelvin[half:].mean()),
        total_energy_change_eV_per_atom=float(total[-1] - total[0]) / max(len(atoms), 1),
        total_energy_spread_eV_per_atom=float(total.std()) / max(len(atoms), 1),
        us_per_atom_step=1e6 * seconds / max(dynamics.nsteps, 1) / max(len(atoms), 1),
        volume_A3=atoms.get_volume() if atoms.cell.rank == 3 else None,
    )
    if graded is not None:
        data["largest_grade"], data["largest_grade_step"] = graded.largest, graded.largest_step
        data["frames_saved"], data["stopped"] = graded.saved, stopped is not None
        if graded.saved:
            data["saved_to"] = str(graded.path)
    _finish(data, atoms, out, json, written=True)
    if stopped is not None:
        say(str(stopped))
    return OK if stopped is None else NOT_OK


def _draw_velocities(atoms: Atoms, temperature: float, rng: Any) -> None:
    """Momenta from the Maxwell-Boltzmann distribution at `temperature` (K), without a drift of the whole."""
    from ase.units import kB

    masses = atoms.get_masses()[:, None]
    momenta = rng.normal(size=(len(atoms), 3)) * (masses * kB * temperature) ** 0.5
    if len(atoms):
        momenta -= masses * momenta.sum(axis=0) / masses.sum()
    atoms.set_momenta(momenta)


def _dynamics(atoms: Atoms, ensemble: str, timestep: float, temperature: float, pressure: float, rng: Any) -> Any:
    """ASE's integrator for an ensemble."""
    from ase import units

    dt = timestep * units.fs
    if ensemble == "nve":
        from ase.md.verlet import VelocityVerlet

        return VelocityVerlet(atoms, dt)
    if ensemble == "nvt":
        from ase.md.bussi import Bussi

        return Bussi(atoms, dt, temperature_K=temperature, taut=100.0 * dt, rng=rng)
    if ensemble == "npt":
        from ase.md.nose_hoover_chain import IsotropicMTKNPT

        if not atoms.pbc.all():
            raise OptionError("--ensemble npt needs a structure periodic in all three directions")
        return IsotropicMTKNPT(
            atoms, dt, temperature_K=temperature, pressure_au=pressure * units.GPa, tdamp=100 * dt, pdamp=1000 * dt
        )
    raise OptionError(f"--ensemble {ensemble!r}: allowed are nve, nvt and npt")


def _fmax(atoms: Atoms) -> float:
    forces = atoms.get_forces()
    return float((forces**2).sum(axis=1).max(initial=0.0) ** 0.5)


def _frozen(atoms: Atoms) -> Atoms:
    """A copy that carries the present results."""
    from ase.calculators.singlepoint import SinglePointCalculator

    copy = atoms.copy()
    known = ("energy", "free_energy", "energies", "forces", "stress", "charges", "dipole")
    also = ("electronegativities", "uncertainties")
    results = atoms.calc.results
    copy.calc = SinglePointCalculator(copy, **{k: v for k, v in results.items() if k in known})
    copy.info |= {k: results[k] for k in ("extrapolation_grade", "uncertainty") if k in results}
    for name in also:
        if name in results:
            copy.arrays[name] = results[name].copy()
    return copy


_UNITS = {
    "uncertainty": "uncertainty_eV_per_atom", "charges": "charges_e", "dipole": "dipole_e_A",
    "electronegativities": "electronegativities_eV_per_e",
}  # fmt: skip
"""Results that some models have -> their names in the summary."""


def _summary(atoms: Atoms) -> dict[str, Any]:
    atoms.get_forces()
    results = atoms.calc.results
    return {
        "calculator": atoms.calc.card.name,
        "formula": atoms.get_chemical_formula(),
        "atoms": len(atoms),
        "energy_eV": results["energy"],
        "energy_per_atom_eV": results["energy"] / max(len(atoms), 1),
        "fmax_eV_per_A": _fmax(atoms),
        "stress_eV_per_A3": results.get("stress"),
        **{k: results[k] for k in ("extrapolation_grade",) if k in results},
        **{k: results[n] for n, k in _UNITS.items() if n in results},
        "cell_A": atoms.cell.array,
    }


def _check_out(out: Path | None) -> None:
    """A name that cannot be written is found before the work, not after it."""
    if out is not None and (out.suffix not in (".extxyz", ".xyz", ".traj") or not out.absolute().parent.is_dir()):
        raise OptionError(f"--out {out}: write an .extxyz, .xyz or .traj file in a folder that exists")


def _write(out: Path | None, atoms: Atoms, append: bool) -> None:
    if out is None:
        return
    if out.suffix == ".traj":
        from ase.io.trajectory import TrajectoryWriter

        with TrajectoryWriter(str(out), "a" if append else "w") as trajectory:
            trajectory.write(_frozen(atoms))
    else:
        from ase.io import write

        write(out, _frozen(atoms), format="extxyz", append=append)


def _finish(data: dict[str, Any], atoms: Atoms, out: Path | None, json: bool, written: bool = False) -> None:
    if not written:
        _write(out, atoms, append=False)
    if out is not None:
        data["written"] = str(out)
    emit(data, json, lambda: _print(data))


def _print(data: dict[str, Any]) -> None:
    for key, value in data.items():
        if value is None or key == "forces_eV_per_A":
            continue
        if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 2:
            text = "; ".join(" ".join(f"{x:.6f}" for x in row) for row in value)
        elif hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1 and len(value) > 12:
            text = f"{value.min():.6f} to {value.max():.6f} ({len(value)} values)"
        elif hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1:
            text = " ".join(f"{x:.6e}" for x in value)
        else:
            text = f"{value:.10g}" if isinstance(value, float) else str(value)
        print(f"{key:>32}  {text}")
