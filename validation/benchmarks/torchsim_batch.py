"""Relaxation of many small cells: all of them at once by TorchSim with a ZooModel, against a loop over ASE's FIRE with
the same calculator, both until no force is above a limit.

    python validation/benchmarks/torchsim_batch.py [--cells 32] [--write]

Both run FIRE with the step sizes of ASE's on one thread; times are CPU seconds. Needs calczoo-torchsim.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.optimize import FIRE

from calczoo import get_calculator
from calczoo.calculator import ZooCalculator
from calczoo_validation.store import machine, write_text

RESULTS = Path(__file__).parents[1] / "results" / "torchsim_batch.md"
MODELS = (("snap:Mo-linear", "Mo"), ("mtp:Cu", "Cu"), ("hdnnp:Si", "Si"))
LIMIT = 0.01
"""eV/A."""
MAX_STEPS = 500


def cells(symbol: str, n: int, repeat: tuple[int, int, int]) -> list[Atoms]:
    """n cells of a crystal, each shaken in its own way."""
    out = []
    for seed in range(n):
        atoms = bulk(symbol, cubic=True).repeat(repeat)
        atoms.rattle(0.1, seed=seed)
        out.append(atoms)
    return out


def one_by_one(calculator: ZooCalculator, many: list[Atoms]) -> tuple[float, int, np.ndarray]:
    """Seconds, evaluations, energies per atom, of ASE's FIRE."""
    evaluations, energies = 0, []
    begin = time.process_time()
    for start in many:
        atoms = start.copy()
        atoms.calc = calculator
        relaxation = FIRE(atoms, logfile=None)
        relaxation.run(fmax=LIMIT, steps=MAX_STEPS)
        evaluations += relaxation.nsteps + 1
        energies.append(atoms.get_potential_energy() / len(atoms))
    return time.process_time() - begin, evaluations, np.array(energies)


def together(calculator: ZooCalculator, many: list[Atoms]) -> tuple[float, int, np.ndarray, float]:
    """The same of TorchSim's FIRE, and the part of the time that is spent in the ZooModel."""
    import torch_sim as ts
    from calczoo_torchsim import ZooModel

    spent, systems = 0.0, 0

    class Counted(ZooModel):
        def forward(self, state, **kwargs):
            nonlocal spent, systems
            begin = time.process_time()
            out = super().forward(state)
            spent, systems = spent + time.process_time() - begin, systems + len(out["energy"])
            return out

    model = Counted(calculator, compute_stress=False)
    done = ts.generate_force_convergence_fn(LIMIT, include_cell_forces=False)
    begin = time.process_time()
    out = ts.optimize(
        many, model, optimizer=ts.optimizers.fire, md_flavor="ase_fire", convergence_fn=done, max_steps=MAX_STEPS,
        steps_between_swaps=1,
    )  # fmt: skip
    seconds = time.process_time() - begin
    if float(out.forces.norm(dim=1).max()) > LIMIT:
        raise SystemExit("TorchSim's relaxation did not converge")
    return seconds, systems, (out.energy / out.n_atoms_per_system).numpy(), spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=32)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} into validation/results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lines = [
        "| model | atoms of a cell | loop (s) | its evaluations | batch (s) | its evaluations | in the model (s) | "
        "loop / batch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, symbol in MODELS:
        calculator = get_calculator(name, device="cpu", threads=1)
        for repeat in ((1, 1, 1), (2, 2, 2)):
            many = cells(symbol, args.cells, repeat)
            together(calculator, many[:2])  # kernels are compiled, modules imported
            loop, loop_calls, loop_energies = one_by_one(calculator, many)
            batch, batch_calls, batch_energies, inside = together(calculator, many)
            if np.abs(loop_energies - batch_energies).max() > 1e-3:
                print(f"{name}: the two end in different minima", file=sys.stderr)
            lines.append(
                f"| {name} | {len(many[0])} | {loop:.2f} | {loop_calls} | {batch:.2f} | {batch_calls} | {inside:.2f} | "
                f"{loop / batch:.1f} |"
            )
            print(lines[-1], flush=True)
    out = (
        f"# Batched relaxation with TorchSim\n\n{args.cells} shaken cells of a crystal, atoms relaxed by FIRE until no "
        f"force is above {LIMIT} eV/A: one after the other by ASE, or all at\nonce by TorchSim 0.3.0, with the same "
        "calculator on one thread. CPU seconds of one run each; an evaluation is that of one\nstructure; \"in the "
        "model\" is the part of the batch's time that is not TorchSim's own.\n\n" + "\n".join(lines)
        + f"\n\nMade by `python validation/benchmarks/torchsim_batch.py --write`. Machine: {machine()}.\n"
    )
    print(out)
    if args.write:
        write_text(RESULTS, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
