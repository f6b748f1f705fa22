"""How well the add-ons d3, d4 and ewald agree with their references.

    python validation/benchmarks/dispersion.py --write       also writes validation/results/dispersion.md

Reference cases of s-dftd3 are taken from the tests' reference data (CALCZOO_DATA, see tests/data.py).
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.units import Bohr, Hartree

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "validation"), str(ROOT / "tests")]

from addons.dispersion.cases import AA, CASES, OLD_AA, expected, geometry, in_units  # noqa: E402
from calczoo import get_calculator  # noqa: E402
from calczoo.electrostatics import COULOMB  # noqa: E402
from calczoo.verify import run_checks  # noqa: E402

CPU = {"device": "cpu", "threads": 1}
MADELUNG = 1.7475645946331822
SUMS = (
    ("mtp:Cu + d3(pbe)", "Cu"),
    ("mtp:Cu + d3(pbe, atm=true, disp2=15, disp3=8, cn=12, width2=3, width3=2)", "Cu"),
    ("mtp:Cu + d4(pbe, disp2=15, disp3=8, cn=12, width2=3, width3=2)", "Cu"),
    ("zbl(2.0, 3.5) + ewald(Na=1, Cl=-1)", "Na Cl"),
)


def relative(got, want) -> float:
    """Largest difference, relative to the largest entry."""
    got, want = np.asarray(got, dtype=float), np.asarray(want, dtype=float)
    return float(np.abs(got - want).max() / np.abs(want).max())


def cases() -> tuple[float, float, int]:
    """Largest differences of the cases of s-dftd3: in the bohr they were made with, as written; number of them."""
    exact, written = [], []
    for name, case in CASES.items():
        k = OLD_AA / AA if case.old else 1.0
        want = expected(name)["energy"]
        cutoffs = {key: n * k * Bohr for key, n in (("disp2", 60.0), ("disp3", 40.0), ("cn", 40.0))}
        atoms = geometry(case.file, OLD_AA if case.old else AA)
        atoms.positions *= k
        calc = get_calculator("d3", damping=case.damping, **cutoffs, **in_units(case.parameters(), k), **CPU)
        exact.append(relative(calc.get_potential_energy(atoms) / Hartree, want))
        plain = get_calculator("d3", damping=case.damping, **case.parameters(), **CPU)
        written.append(relative(plain.get_potential_energy(geometry(case.file)) / Hartree, want))
    return max(exact), max(written), len(CASES)


def salt() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + np.array([[0.02, 0.01, 0], [0, -0.03, 0.02], [0.01, 0, 0.01]])))
    atoms.rattle(0.1, seed=1)
    return atoms


def against(spec: str, make: Callable[[], object]) -> float:
    """Largest difference in energy, forces and stress from the calculator of the package itself."""
    worst = 0.0
    for atoms in (molecule("CH3CH2OH"), salt()):
        for name in ("energy", "forces", "stress") if atoms.pbc.all() else ("energy", "forces"):
            want = make().get_property(name, atoms.copy())
            worst = max(worst, relative(get_calculator(spec, **CPU).get_property(name, atoms), want))
    return worst


def rows() -> Iterator[tuple[str, str, str]]:
    """What, beside what, and how it compares."""
    from dftd3.ase import DFTD3
    from dftd4.ase import DFTD4

    exact, written, n = cases()
    yield f"`d3`, {n} reference cases of s-dftd3", "their energies, in the bohr they were made with", f"{exact:.0e}"
    yield "the same", "their energies, as written", f"{written:.0e}"
    for damping, word in (("bj", "d3bj"), ("zero", "d3zero"), ("bjm", "d3bjm"), ("zerom", "d3zerom"), ("op", "d3op")):
        worst = against(f"d3(pbe, damping={damping})", lambda word=word: DFTD3(method="pbe", damping=word))
        yield f"`d3(pbe, damping={damping})`", "dftd3: energy, forces, stress", f"{worst:.0e}"
    worst = against("d4(pbe)", lambda: DFTD4(method="pbe"))
    yield "`d4(pbe)`", "dftd4: energy, forces, stress", f"{worst:.0e}"
    yield from optional()
    yield from madelung()
    for spec, elements in SUMS:
        make = lambda spec=spec, elements=elements: get_calculator(spec, elements=elements.split(), **CPU)  # noqa: E731
        report = run_checks(make, elements.split(), quick=True, names=["forces", "stress"])
        grades = ", ".join(f"{r.name} {r.grade}" for r in report.results)
        yield f"`{spec}`", "derivative of the energy", f"grades: {grades}"


def optional() -> Iterator[tuple[str, str, str]]:
    """nvalchemi-toolkit-ops on the CPU, where it and tables are there."""
    from calczoo.addons.d3.tables import available

    if not find_spec("nvalchemiops") or not available():
        return
    cuts = "disp2=15, cn=15"
    exact = get_calculator(f"d3(pbe, {cuts})", **CPU)
    worst = against(f"d3(pbe, {cuts}, engine=nvalchemi)", lambda: exact)
    yield f"`d3(pbe, {cuts}, engine=nvalchemi)`, on the CPU", "`engine=dftd3`: energy, forces, stress", f"{worst:.0e}"


def madelung() -> Iterator[tuple[str, str, str]]:
    """The constant of NaCl by every way to sum that is installed."""
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    meshes = {", accuracy=1e-9, method=mesh": "torchpme", ", accuracy=1e-6, method=nvalchemi": "nvalchemiops"}
    for options, package in {"": "", **meshes}.items():
        if package and not find_spec(package):
            continue
        spec, worst = f"ewald(Na=1, Cl=-1{options})", 0.0
        for atoms in (crystal, crystal.repeat(2)):
            energy = get_calculator(spec, **CPU).get_potential_energy(atoms) / (len(atoms) / 2)
            worst = max(worst, abs(energy * 2.82 / COULOMB + MADELUNG))
        yield f"`{spec}`, NaCl of 8 and 64 atoms", "Madelung constant", f"{worst:.0e}"


def main() -> None:
    table = ["| what | beside | largest difference |", "| --- | --- | --- |"]
    for row in rows():
        table.append(f"| {' | '.join(row)} |")
        print(table[-1], flush=True)
    packages = ["dftd3", "dftd4", "torch-pme", "nvalchemi-toolkit-ops"]
    named = {"torch-pme": "torchpme", "nvalchemi-toolkit-ops": "nvalchemiops"}
    versions = ", ".join(f"{p} {version(p)}" for p in packages if find_spec(named.get(p, p)))
    text = (
        "# Dispersion and long range\n\nAdd-ons beside their references: differences relative to the largest entry, on "
        "ethanol and sheared NaCl\nwhere nothing else is said.\n\n"
        + "\n".join(table)
        + f"\n\nPython {platform.python_version()}; {versions}; float64, CPU.\n"
    )
    if "--write" in sys.argv[1:]:
        (ROOT / "validation" / "results" / "dispersion.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
