"""motep's half of speed_mtp.py: runs in a Python that has the `motep` package (PyPI), one job per process.

    python motep_side.py JOB.json        times one job, prints one JSON line

motep's C engine through its ASE calculator, energy, forces and stress on every call, its own skin and list.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase import Atoms


def time_job(job: dict) -> dict:
    """Seconds per call, as calczoo's side measures them."""
    from motep.calculator import MTP
    from motep.io.mlip.mtp import read_mtp

    data = read_mtp(job["file"])
    atoms = Atoms(job["symbols"], positions=job["positions"], cell=job["cell"], pbc=True)
    data.species = sorted(set(atoms.numbers.tolist()))
    calc = MTP(data, engine="cext")
    start, rng = atoms.positions.copy(), np.random.default_rng(0)
    calc.calculate(atoms)
    energy = float(calc.results["energy"])

    def block() -> tuple[float, float]:
        a, b = time.perf_counter(), time.process_time()
        for _ in range(job["steps"]):
            atoms.positions = start + rng.normal(0.0, 1e-3 / 3**0.5, start.shape)
            calc.calculate(atoms)
        return (time.perf_counter() - a) / job["steps"], (time.process_time() - b) / job["steps"]

    wall, cpu = zip(*(block() for _ in range(job["repeats"])), strict=True)
    return {"energy": energy, "wall": sorted(wall), "cpu": sorted(cpu), "version": version("motep")}


if __name__ == "__main__":
    print(json.dumps(time_job(json.loads(Path(sys.argv[1]).read_text()))))
