"""Charge equilibration by size: seconds on one core, direct and by conjugate gradients.

    python validation/benchmarks/speed_qeq.py [--quick] [--write]

Structures are molecules of water on a lattice at the density of water, turned at random, with electronegativities that
scatter as an environment makes them. One row is a whole evaluation, from nothing: the geometry, charges to 1e-10 e, the
adjoint solution that derivatives need, and forces and virial. CPU time, the smallest of several runs. "difference" is
the largest one between charges. Matrices are made up to 3000 atoms; beyond, the direct way takes n^2 memory and n^3
time.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

from calczoo.core.system import System
from calczoo.electrostatics import Geometry, equilibrate, mesh
from calczoo_validation.store import machine

RESULT = Path(__file__).resolve().parents[1] / "results" / "speed_qeq.md"
EDGES = (2, 3, 4, 5, 7, 10, 13, 15)
"""Molecules along an edge: 24 to 10125 atoms."""
DIRECT = 3000


def water(edge: int) -> Atoms:
    """edge^3 molecules."""
    rng, d = np.random.default_rng(1), 3.1
    atoms = Atoms(cell=[d * edge] * 3, pbc=True)
    for place in np.ndindex(edge, edge, edge):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.positions += np.array(place) * d + rng.normal(0, 0.1, 3)
        atoms += one
    return atoms


def parameters(system: System) -> tuple[torch.Tensor, ...]:
    """chi (eV/e), J (eV/e^2) and Gaussian widths (A): about those of published fourth-generation potentials."""
    oxygen = system.numbers == 8
    scatter = torch.tensor(np.random.default_rng(2).normal(0, 0.5, system.n_atoms))
    chi = torch.where(oxygen, 2.0, -1.5).double() + scatter
    return chi, torch.where(oxygen, 12.0, 10.8).double(), torch.where(oxygen, 0.66, 0.31).double()


def evaluate(system: System, method: str, accuracy: float, sums: str = "ewald"):
    """One evaluation; the equilibrium that was found."""
    chi, hardness, widths = parameters(system)
    geometry = Geometry.of(system, widths, accuracy=accuracy, method=sums, dense=method == "direct")
    found = equilibrate(geometry, chi, hardness, torch.zeros(1).double(), method, max(accuracy, 1e-10))
    geometry.gradients(found.solve_adjoint(chi), found.charges)
    return found


def timed(work: Callable, budget: float):
    """Smallest CPU seconds over runs that fit into the budget (wall seconds), and the last result."""
    best, start = math.inf, time.perf_counter()
    while True:
        begin = time.process_time()
        result = work()
        best = min(best, time.process_time() - begin)
        if time.perf_counter() - start > budget:
            return best, result


def row(edge: int, quick: bool) -> str:
    atoms = water(edge)
    system, n = System.from_atoms(atoms), len(atoms)
    budget = 0.3 if quick else 2.0
    cg, found = timed(lambda: evaluate(system, "cg", 1e-10), budget)
    cells = [str(n), f"{cg:.3f}", f"{1e6 * cg / n:.0f}", str(found.solvers[0].steps)]
    if n <= DIRECT:
        direct, exact = timed(lambda: evaluate(system, "direct", 1e-10), budget)
        difference = float((exact.charges - found.charges).abs().max())
        cells += [f"{direct:.3f}", f"{1e6 * direct / n:.0f}", f"{difference:.0e}"]
    else:
        cells += ["-"] * 3
    if mesh.available():
        rough, other = timed(lambda: evaluate(system, "cg", 1e-6, "mesh"), budget)
        cells += [f"{rough:.3f}", f"{float((other.charges - found.charges).abs().max()):.0e}"]
    else:
        cells += ["-"] * 2
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to about 1000 atoms, shorter")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name} beside the other results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    evaluate(System.from_atoms(water(2)), "cg", 1e-10)  # kernels are compiled once
    head = [
        "| atoms | cg (s) | us/atom | steps | direct (s) | us/atom | difference (e) | mesh, cg (s) | difference (e) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(head), flush=True)
    rows = []
    for edge in EDGES[:5] if given.quick else EDGES:
        rows.append(row(edge, given.quick))
        print(rows[-1], flush=True)
    if given.write:
        about = [
            "Charge equilibration of water, from nothing to charges, adjoint solution, forces and virial: CPU seconds",
            "on one core. Exact sums to 1e-10 by conjugate gradients (cg) and by the matrix (direct), and a particle",
            "mesh (torch-pme) to 1e-6; steps are those of one solution, differences the largest between charges.",
        ]
        command = "python validation/benchmarks/speed_qeq.py" + (" --quick" if given.quick else "") + " --write"
        text = "\n".join([*about, "", *head, *rows, "", f"Made by `{command}` on {machine()}."])
        RESULT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
