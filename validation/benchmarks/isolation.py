"""What a process of its own costs per call: a calculator that does nothing, asked directly, through AseModel in this
process, and through IsolatedModel in another.

    [chrt -f 5] python validation/benchmarks/isolation.py [--calls 300] [--write]

A call is forces, energy and stress of a structure whose atoms have moved. The three take turns; "quiet" is the median
of the fastest tenth of the calls, what a machine with nothing else to do gives, "median" that of all.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from trivial_worker import Trivial

from calczoo import Card
from calczoo.calculator import ZooCalculator
from calczoo.foreign import AseModel, Make
from calczoo.isolated.model import IsolatedModel
from calczoo_validation.store import machine, write_text

RESULTS = Path(__file__).parents[1] / "results" / "isolation.md"
SIZES = (1, 100, 1000, 10000, 100000)
OUTPUTS = ("energy", "energies", "forces", "stress")


def structure(n: int) -> Atoms:
    """n atoms of copper."""
    side = int(np.ceil((n / 4) ** (1 / 3)))
    atoms = bulk("Cu", cubic=True).repeat(side)[:n]
    atoms.rattle(0.05, seed=1)
    return atoms


def times(calculators: list[Callable[[Atoms], None]], atoms: Atoms, calls: int) -> np.ndarray:
    """(calculators, calls) seconds, in turns."""
    rng = np.random.default_rng(2)
    start, out = atoms.positions.copy(), np.empty((len(calculators), calls))
    for k in range(-3, calls):
        atoms.positions = start + rng.normal(scale=0.01, size=start.shape)
        for c, call in enumerate(calculators):
            begin = time.perf_counter()
            call(atoms)
            out[c, k] = time.perf_counter() - begin
    return out


def asked(calculator) -> Callable[[Atoms], None]:
    """What a step of dynamics asks for."""

    def call(atoms: Atoms) -> None:
        for name in ("forces", "energy", "stress"):
            calculator.get_property(name, atoms)

    return call


def _priority() -> str:
    """A real-time priority keeps other work of the machine out of the figures: chrt -f 5 python ..."""
    realtime = hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
    return ",\nwhich real-time priority kept out of the figures" if realtime else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} into validation/results")
    args = parser.parse_args()
    card = Card("trivial", "benchmark", ("Cu",), 0.0)
    lines = [
        "| atoms | direct | in this process | in its own | overhead, quiet | overhead, median |",
        "|---|---|---|---|---|---|",
    ]
    load = os.getloadavg()[0]
    with IsolatedModel(card, None, Make("trivial_worker", device="cpu"), sys.executable, OUTPUTS) as isolated:
        here = AseModel(card, None, Trivial, OUTPUTS)
        all_three = [asked(c) for c in (Trivial(), ZooCalculator(here), ZooCalculator(isolated))]
        for n in SIZES:
            taken = 1e3 * times(all_three, structure(n), args.calls if n < 10**5 else max(20, args.calls // 10))
            taken.sort(axis=1)
            quiet, median = np.median(taken[:, : max(1, taken.shape[1] // 10)], axis=1), np.median(taken, axis=1)
            cells = " | ".join(f"{t:.3f}" for t in (*quiet, quiet[2] - quiet[0], median[2] - median[0]))
            lines.append(f"| {n} | {cells} |")
            print(lines[-1], flush=True)
    out = (
        "# The cost of a process of its own\n\nMilliseconds per call (forces, energy and stress of moved atoms) of a "
        "calculator that does nothing; the overhead is that\nof a call to the other process over one directly to the "
        "calculator. Quiet: the fastest tenth of the calls; median: all\nof them, on a machine that had other work "
        f"(load {load:.1f} on {os.cpu_count()} cores){_priority()}.\n\n"
        + "\n".join(lines) + f"\n\nMachine: {machine()}.\n"
    )
    print(out)
    if args.write:
        write_text(RESULTS, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
