"""Speed of moment tensor potentials beside motep's C engine: microseconds per atom and call on one core, with energy,
forces and stress.

    python validation/benchmarks/speed_mtp.py --motep-python PATH [--quick] [--json] [--write]

Both codes read the same potential file, of a level and random coefficients, and get the same structures, one after the
other within one run; the calls are those of the two ASE calculators, atoms moved by about 1e-3 A, so that both reuse
their neighbour lists (skin 0.5 A here, motep's own there). CPU time, the smallest of several runs, which other jobs on
the machine disturb least. "list" is the time of one neighbour search of ours, not part of the calls. Memory is the
growth of the process's peak at the first call; a small structure was computed before, so that code and tables are not
in it; given from 2000 atoms on, below which the growth hides in memory that was taken before. dE is the difference of
the two energies.

The column MLIP-2 is quoted, not run here: measured with MLIP-2 C++ on one core of this type of machine on another day,
for potentials of the level and structures of about the size; which crystal, and so how many neighbours, is not
recorded. It stands beside the crystal with more neighbours and indicates the order of magnitude.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from speed import HERE, RESULTS, run_side

from calczoo_validation.store import machine

SKIN = 0.5
LEVELS = (8, 16, 22)
SIZES = (500, 4000)
CRYSTALS = {"Cu": ("fcc", 3.61), "Mo": ("bcc", 3.16)}
MLIP2 = {(8, 500): 9.3, (16, 500): 50.0, (22, 500): 172.0, (8, 4000): 18.7, (16, 4000): 59.0, (22, 4000): 185.0}
"""Microseconds per atom, measured with MLIP-2 C++: (level, size)."""


def write_potential(level: int, element: str, path: Path) -> None:
    """A potential file of that level with random coefficients, which say nothing about the element."""
    from calczoo.families.mtp.levels import untrained
    from calczoo.families.mtp.text_mtp import write_mtp

    params, rng = untrained(level, [element], 2.0, 5.0), np.random.default_rng(level)
    weights = rng.normal(size=params.n_basis) * 0.01
    write_mtp(replace(params, species=rng.normal(size=1), weights=weights), path)


def structure(element: str, size: int) -> Atoms:
    """A cubic supercell of about `size` atoms, rattled by 0.02 A."""
    name, a = CRYSTALS[element]
    cell = bulk(element, name, a=a, cubic=True)
    atoms = cell.repeat(max(1, round((size / len(cell)) ** (1 / 3))))
    atoms.rattle(0.02, seed=1)
    return atoms


def time_ours(job: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: seconds per call of the ASE calculator, of the neighbour search, and memory."""
    import torch

    from calczoo import get_calculator
    from calczoo.core.pairs import find_pairs
    from calczoo.core.system import System

    torch.set_num_threads(1)
    atoms = Atoms(job["symbols"], positions=job["positions"], cell=job["cell"], pbc=True)
    calc = get_calculator("mtp", job["file"], elements=sorted(set(job["symbols"])), device="cpu", threads=1, skin=SKIN,
                          dtype=job["dtype"])  # fmt: skip
    properties = ["energy", "forces", "stress"]
    calc.calculate(bulk(job["symbols"][0], cubic=True), properties)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    calc.calculate(atoms, properties)
    memory = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / len(atoms)
    energy, start, rng = calc.results["energy"], atoms.positions.copy(), np.random.default_rng(0)

    def block() -> tuple[float, float]:
        a, b = time.perf_counter(), time.process_time()
        for _ in range(job["steps"]):
            atoms.positions = start + rng.normal(0.0, 1e-3 / 3**0.5, start.shape)
            calc.calculate(atoms, properties)
        return (time.perf_counter() - a) / job["steps"], (time.process_time() - b) / job["steps"]

    block()
    wall, cpu = zip(*(block() for _ in range(job["repeats"])), strict=True)
    system, searches = System.from_atoms(atoms), []
    for _ in range(5):
        a = time.process_time()
        pairs = find_pairs(system, calc.model.cutoff, SKIN)
        searches.append(time.process_time() - a)
    inside = int((pairs.vectors(system).norm(dim=1) < calc.model.cutoff).sum())
    return {
        "energy": energy, "wall": sorted(wall), "cpu": sorted(cpu), "memory": memory, "list": min(searches),
        "neighbours": inside / len(atoms), "pairs": pairs.n_pairs / len(atoms),
        "operations": operations(calc.model, inside / len(atoms)),
    }  # fmt: skip


def operations(model: Any, neighbours: float) -> float:
    """Floating-point operations per atom, by the count in calczoo.families.mtp.native, padding left out."""
    p = model._tables.places
    radial = p["n_radial"] * (4 * p["n_mu"] + 10)
    per_pair = radial + 6 * p["n_basic"] + 7 * p["n_monomials"]
    return neighbours * per_pair + model._tables.product_operations


def measure(level: int, element: str, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table: both codes on one structure."""
    atoms = structure(element, size)
    guess = {8: 2e-6, 16: 4e-6, 22: 12e-6}.get(level, 50e-6)  # seconds per atom, only to choose the number of steps
    budget = 0.15 if options.quick else 0.5
    job = {
        "name": f"level {level}", "symbols": atoms.get_chemical_symbols(), "positions": atoms.positions.tolist(),
        "cell": atoms.cell.tolist(), "dtype": options.dtype, "repeats": 4 if options.quick else 8,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job["file"] = str(folder / "random.mtp")
        write_potential(level, element, Path(job["file"]))
        job["steps"] = max(1, round(budget / (guess * len(atoms))))
        ours = run_side([sys.executable, str(Path(__file__).resolve()), "--worker"], job, 1, folder)
        job |= {"steps": max(1, round(budget / (9 * guess * len(atoms)))), "repeats": max(3, job["repeats"] // 2)}
        theirs = run_side([options.motep_python, str(HERE / "motep_side.py")], job, 1, folder)
    memory = ours["memory"] if len(atoms) >= 2000 else None
    mine, other = (1e6 * side["cpu"][0] / len(atoms) for side in (ours, theirs))
    return {
        "level": level, "crystal": f"{CRYSTALS[element][0]} {element}", "atoms": len(atoms), "dtype": options.dtype,
        "neighbours": ours["neighbours"], "calczoo_us_per_atom": mine, "motep_us_per_atom": other,
        "ratio": other / mine, "mlip2_us_per_atom_quoted": MLIP2.get((level, size)) if element == "Cu" else None,
        "list_us_per_atom": 1e6 * ours["list"] / len(atoms), "memory_bytes_per_atom": memory,
        "gflops": ours["operations"] / mine / 1e3,
        "energy_difference_eV_per_atom": abs(ours["energy"] - theirs["energy"]) / len(atoms),
        "motep_version": theirs["version"],
    }  # fmt: skip


HEAD = (
    "level", "crystal", "atoms", "neighbours", "calczoo", "motep", "motep / calczoo", "MLIP-2 (quoted)", "list",
    "kB per atom", "Gflop/s", "dE (eV/atom)",
)  # fmt: skip


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    quoted, memory = row["mlip2_us_per_atom_quoted"], row["memory_bytes_per_atom"]
    return (
        str(row["level"]), row["crystal"], str(row["atoms"]), f"{row['neighbours']:.0f}",
        f"{row['calczoo_us_per_atom']:.3g}", f"{row['motep_us_per_atom']:.3g}", f"{row['ratio']:.1f}",
        "" if quoted is None else f"{quoted:g}", f"{row['list_us_per_atom']:.2g}",
        "" if memory is None else f"{memory / 1000:.2g}",
        f"{row['gflops']:.1f}", f"{row['energy_difference_eV_per_atom']:.0e}",
    )  # fmt: skip


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table with the machine it was made on."""
    lines = [" | ".join(HEAD), " | ".join(["---", "---", *["---:"] * (len(HEAD) - 2)])]
    table = "\n".join(f"| {line} |" for line in [*lines, *(" | ".join(cells(r)) for r in rows)])
    return (
        "Moment tensor potentials: microseconds per atom and call with energy, forces and stress on one core (CPU\n"
        "time, smallest of several runs; a ratio above 1: calczoo is faster). Same file and structure for both codes,\n"
        "cutoff 5 A, lists reused; `list` is one neighbour search of calczoo's, which a call that rebuilds the list\n"
        "adds. MLIP-2 is quoted: measured with MLIP-2 C++ on another day on this type of machine, with structures\n"
        "of about this size; their crystal is not recorded.\n\n"
        f"{table}\n\nMachine: {machine()}; motep {rows[0]['motep_version']}, C engine; {rows[0]['dtype']}.\n"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", metavar="JOB", help=argparse.SUPPRESS)
    parser.add_argument("--motep-python", default=sys.executable, help="Python that has the motep package")
    parser.add_argument("--levels", type=int, nargs="+", default=list(LEVELS))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--crystals", nargs="+", default=list(CRYSTALS), choices=list(CRYSTALS))
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32"], help="calczoo's number type")
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--write", action="store_true", help="write validation/results/speed_mtp.md and speed_mtp.json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.worker:
        print(json.dumps(time_ours(json.loads(Path(options.worker).read_text()))))
        return
    rows = []
    for element in options.crystals:
        for size in options.sizes:
            for level in options.levels:
                rows.append(measure(level, element, size, options))
                if not options.json:
                    print("  ".join(f"{c:>10}" for c in cells(rows[-1])), file=sys.stderr, flush=True)
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "speed_mtp.md").write_text(markdown(rows))
        (RESULTS / "speed_mtp.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(json.dumps({"machine": machine(), "rows": rows}) if options.json else markdown(rows))


if __name__ == "__main__":
    main()
