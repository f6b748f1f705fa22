"""The neural network potentials of Zuo et al. 2020, as distributed, on the test sets of that paper.

    python validation/benchmarks/zuo_nnp.py [--data FOLDER] [--write]

Files of n2p2 in Bohr and Hartree, read as they are and evaluated on both backends; the published errors beside ours.
Potentials and data: doi:10.1021/acs.jpca.9b08723, distributed with the Python packages maml and mlearn.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from calczoo import describe, get_calculator
from calczoo.fitting.data import read_dataset
from calczoo.fitting.errors import compare, evaluate
from calczoo_validation.store import machine, write_text

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "validation" / "results" / "zuo_nnp.md"
UNITS = {"length_unit": "Bohr", "energy_unit": "Ha"}

PUBLISHED = {
    "Ni": (2.3, 67.3), "Cu": (1.7, 63.0), "Li": (1.0, 63.4), "Mo": (5.7, 198.7), "Si": (9.9, 174.2),
    "Ge": (11.0, 124.3),
}  # fmt: skip
"""RMSE of energies (meV/atom) and of force components (meV/A)."""

TEXT = """# Published neural network potentials on their test sets

The files of Zuo et al. 2020 as they are distributed today (n2p2's format, Bohr and Hartree), on the test sets of that
paper: RMSE of energies (meV/atom) and of force components (meV/A), beside the published ones. The file of lithium gives
the published error of the energy, but forces much closer to those of DFT than the published number tells.
"""


def row(element: str, data: Path) -> tuple[str, float]:
    """A line of the table, and the ratio of the errors of forces."""
    folder = data / "hdnnp" / "mlearn_nnp" / element
    test = read_dataset(data / "mlearn_zuo2020" / f"{element}_test.extxyz.xz")
    options = {**UNITS, "device": "cpu", "threads": 1, "extrapolation": "ignore"}
    fast, slow = (get_calculator("hdnnp", folder, backend=b, **options).model for b in ("warp", "torch"))
    table, other = compare(test, evaluate(fast, test)), compare(test, evaluate(slow, test))
    energy, forces = table.get("energy", "rmse"), 1e3 * table.get("forces", "rmse")
    differs = abs(1e3 * other.get("forces", "rmse") - forces)
    paper = PUBLISHED[element]
    functions = describe("hdnnp", folder, **UNITS).extra["symmetry_functions"][element]
    line = (
        f"| {element} | {functions} | {len(test)} | {energy:.1f} | {paper[0]:.1f} | {forces:.1f} | {paper[1]:.1f} "
        f"| {forces / paper[1]:.3f} | {differs:.0e} |"
    )
    return line, forces / paper[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("CALCZOO_DATA", ROOT.parent / "shared")) / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder with hdnnp/mlearn_nnp and mlearn_zuo2020")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name} into validation/results")
    given = parser.parse_args()
    lines = [
        TEXT,
        "| element | functions | structures | energy | published | forces | published | ratio | torch - warp |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    ratios = []
    for element in PUBLISHED:
        line, ratio = row(element, given.data)
        lines.append(line)
        ratios.append(ratio)
        print(line, flush=True)
    near = sum(abs(r - 1.0) <= 0.03 for r in ratios)
    lines += ["", f"Forces of {near} of {len(ratios)} within 3 %.", "", f"Machine: {machine()}."]
    if given.write:
        write_text(RESULT, "\n".join(lines) + "\n")
    return 0 if near >= 5 else 1


if __name__ == "__main__":
    sys.exit(main())
