"""Speed of high-dimensional neural network potentials beside n2p2: microseconds per atom and call on one core, with
energy, forces and stress.

    python validation/benchmarks/speed_hdnnp.py [--data FOLDER] [--quick] [--json] [--write]

The potentials and structures are those that n2p2 ships (liquid water, RPBE-D3; copper sulfide, PBE), the first
structure of each set repeated to about 576 and 3900 atoms; and water of the fourth generation, 384 atoms, whose charge
equilibration is exact to 1e-11 here, and there as far as its file asks for. Ours is the ASE calculator called again and
again with atoms moved by about 1e-3 A, so that the neighbour list, of skin 0.5 A, is reused. CPU time, the smallest of
several runs, which other jobs on the machine disturb least. "list" is the time of one neighbour search of ours, which
is not part of the calls.

n2p2 is not run here: its column is quoted, measured on one core of another machine (AMD EPYC) with n2p2's library built
with -O3 -march=native, energy and forces, the same potentials, and a list that is made anew in every call, whose search
takes a time that grows with the square of the number of atoms and so weighs little at 576 atoms only. The ratio is
therefore of measurements on two machines; the second one adds our own neighbour search to our time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from speed import HERE, RESULTS, run_side

from calczoo_validation.store import machine

SKIN = 0.5


@dataclass(frozen=True)
class Case:
    """A potential and set of structures of n2p2's examples; units of the files; repeats of the first structure and
    n2p2's microseconds per atom at these sizes."""

    folder: str
    data: str
    units: tuple[str, str]
    repeats: tuple[tuple[int, int, int], ...]
    n2p2: tuple[float, ...]


CASES = {
    "H2O RPBE-D3": Case(
        "potentials/H2O_RPBE-D3", "configuration-sets/input.data.H2O_RPBE-D3", ("Bohr", "Ha"),
        ((1, 1, 3), (3, 3, 2)), (318.2, 410.8),
    ),
    "Cu2S PBE": Case(
        "potentials/Cu2S_PBE", "configuration-sets/input.data.Cu2S_PBE", ("A", "eV"),
        ((1, 2, 2), (3, 3, 3)), (279.3, 489.2),
    ),
    "H2O RPBE-D3, 4G": Case(
        "nnp-predict_4G/H2O_RPBE-D3_4G", "nnp-predict_4G/H2O_RPBE-D3_4G/input.data", ("Bohr", "Ha"),
        ((1, 1, 1),), (836.7,),
    ),
}  # fmt: skip


def structure(case: Case, data: Path, repeat: tuple[int, int, int]) -> Atoms:
    """A supercell of the first structure of a set."""
    from calczoo.families.hdnnp.input_data import iter_input_data

    path = next(p for p in (data / case.data, data / f"{case.data}.xz") if p.exists())
    first = next(islice(iter_input_data(path, None, *case.units), 1))
    return Atoms(first.get_chemical_symbols(), positions=first.positions, cell=first.cell, pbc=True).repeat(repeat)


def time_ours(job: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: seconds per call of the ASE calculator and of the neighbour search."""
    import torch

    from calczoo import get_calculator
    from calczoo.core.pairs import find_pairs
    from calczoo.core.system import System

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    atoms = Atoms(job["symbols"], positions=job["positions"], cell=job["cell"], pbc=True)
    calc = get_calculator("hdnnp", job["file"], length_unit=job["units"][0], energy_unit=job["units"][1], device="cpu",
                          threads=1, skin=SKIN, dtype=job["dtype"], backend="warp", extrapolation="ignore")  # fmt: skip
    properties, start, rng = ["energy", "forces", "stress"], atoms.positions.copy(), np.random.default_rng(0)

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
    vectors = pairs.vectors(system).numpy()
    return {
        "wall": sorted(wall), "cpu": sorted(cpu), "list": min(searches),
        "neighbours": float((np.linalg.norm(vectors, axis=1) < calc.model.cutoff).sum() / len(atoms)),
        "operations": operations(calc.model.params, vectors, pairs, system.numbers.numpy()),
    }  # fmt: skip


def operations(params: Any, vectors: np.ndarray, pairs: Any, numbers: np.ndarray) -> float:
    """Floating-point operations of triplets per atom, by the count in calczoo.families.hdnnp.native, padding left out;
    from a sample of atoms."""
    from ase.data import atomic_numbers

    from calczoo.families.hdnnp.groups import exponential_powers
    from calczoo.families.hdnnp.params import ANGULAR, WITH_JK

    z = [atomic_numbers[e] for e in params.elements]
    cut, first, total = params.cutoff, pairs.first.numpy(), 0.0
    sample = range(0, len(numbers), max(1, len(numbers) // 60))
    for n in sample:
        mine = slice(first[n], first[n + 1])
        x, kinds = vectors[mine], numbers[pairs.j.numpy()[mine]]
        near = np.linalg.norm(x, axis=1) < cut
        x, kinds = x[near], kinds[near]
        functions = [f for f in params.models[z.index(numbers[n])].functions if f.kind in ANGULAR]
        for pair in {f.neighbours for f in functions}:
            inside = [f for f in functions if f.neighbours == pair]
            a, b = (x[kinds == atomic_numbers[e]] for e in pair)
            close = np.linalg.norm(a[:, None] - b[None], axis=2) < cut
            every = np.triu(np.ones_like(close), 1) if pair[0] == pair[1] else np.ones_like(close)
            t = float(every.sum())
            near_jk = float((close & every).sum()) if all(f.kind in WITH_JK for f in inside) else t
            jk = [f for f in inside if f.kind in WITH_JK]
            fresh = sum(p == 0 for p in exponential_powers(list({f.eta for f in jk})).values())
            c, p = len({(f.eta, f.rs) for f in inside}), len({(f.lam, f.zeta) for f in inside})
            window = 32 if jk else 0
            total += 2 * t * (15 + c) + near_jk * (74 + 2 * window + 56 * fresh + 11 * p + 12 * c + 6 * len(inside))
    return total / len(sample)


def measure(name: str, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    case = CASES[name]
    atoms = structure(case, options.data, case.repeats[size])
    job = {
        "name": name, "file": str(options.data / case.folder), "units": case.units, "dtype": options.dtype,
        "symbols": atoms.get_chemical_symbols(), "positions": atoms.positions.tolist(), "cell": atoms.cell.tolist(),
        "steps": max(1, round((0.2 if options.quick else 0.6) / (40e-6 * len(atoms)))),
        "repeats": 5 if options.quick else 12,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        ours = run_side([sys.executable, str(Path(__file__).resolve()), "--worker"], job, 1, Path(folder))
    mine, searched = (1e6 * t / len(atoms) for t in (ours["cpu"][0], ours["list"]))
    return {
        "potential": name, "atoms": len(atoms), "neighbours": ours["neighbours"], "dtype": options.dtype,
        "calczoo_us_per_atom": mine, "list_us_per_atom": searched, "n2p2_us_per_atom_quoted": case.n2p2[size],
        "ratio": case.n2p2[size] / mine, "ratio_with_list": case.n2p2[size] / (mine + searched),
        "gflops": ours["operations"] / mine / 1e3, "kflop_per_atom": ours["operations"] / 1e3,
    }  # fmt: skip


HEAD = (
    "potential", "atoms", "neighbours", "calczoo", "list", "n2p2 (quoted)", "n2p2 / calczoo", "with list",
    "kflop per atom", "Gflop/s",
)  # fmt: skip


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["potential"], str(row["atoms"]), f"{row['neighbours']:.0f}", f"{row['calczoo_us_per_atom']:.3g}",
        f"{row['list_us_per_atom']:.2g}", f"{row['n2p2_us_per_atom_quoted']:.0f}", f"{row['ratio']:.1f}",
        f"{row['ratio_with_list']:.1f}", f"{row['kflop_per_atom']:.0f}", f"{row['gflops']:.1f}",
    )  # fmt: skip


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table with the machine it was made on."""
    lines = [" | ".join(HEAD), " | ".join(["---", *["---:"] * (len(HEAD) - 1)])]
    table = "\n".join(f"| {line} |" for line in [*lines, *(" | ".join(cells(r)) for r in rows)])
    return (
        "High-dimensional neural network potentials: microseconds per atom and call with energy, forces and stress on\n"
        "one core (CPU time, smallest of several runs; a ratio above 1: calczoo is faster). Lists reused; `list` is\n"
        "one neighbour search of calczoo's. n2p2 is quoted: recorded on one core of another machine (AMD EPYC),\n"
        "energy and forces, with its own list made in every call, which grows with the square of the size. 4G: with\n"
        "charges equilibrated to 1e-11 by the matrix, the adjoint solution included; kflop are those of triplets.\n\n"
        f"{table}\n\nMachine: {machine()}; {rows[0]['dtype']}.\n"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("CALCZOO_DATA", HERE.parents[2] / "shared")) / "data" / "hdnnp" / "n2p2"
    parser.add_argument("--worker", metavar="JOB", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, default=default, help="the examples of n2p2: potentials and data")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1], choices=[0, 1], help="0: 576 atoms, 1: 3900")
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32"])
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--write", action="store_true", help="write validation/results/speed_hdnnp.md and .json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.worker:
        print(json.dumps(time_ours(json.loads(Path(options.worker).read_text()))))
        return
    rows = []
    for name in options.cases:
        for size in options.sizes[: len(CASES[name].repeats)]:
            rows.append(measure(name, size, options))
            if not options.json:
                print("  ".join(f"{c:>12}" for c in cells(rows[-1])), file=sys.stderr, flush=True)
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "speed_hdnnp.md").write_text(markdown(rows))
        (RESULTS / "speed_hdnnp.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(json.dumps({"machine": machine(), "rows": rows}) if options.json else markdown(rows))


if __name__ == "__main__":
    main()
