"""The bundled models: how each was fitted, and the command that fits them again.

    python -m calczoo.families.snap.bundle FOLDER [NAME ...]

FOLDER holds `Mo_train.extxyz.xz`, `Mo_test.extxyz.xz` and so on: the data of Zuo et al., J. Phys. Chem. A 124, 731
(2020), doi:10.1021/acs.jpca.9b08723 (VASP, PBE; BSD-3-Clause). Lists are candidates; cross-validation within the
training set chooses. The ZBL term ends below the shortest distance of the training data, where SNAP alone would stay
finite.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...fitting.data import read_dataset
from ...fitting.report import FitResult, Progress
from .fit import fit
from .load import MODELS

CITATION = "training data: Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723"

COMMON: dict[str, Any] = {
    "energy_weight": (100.0, 300.0, 1000.0),
    "stress_weight": (20.0, 100.0),
    "ridge": (1e-11, 1e-9, 1e-7),
    "level_of_theory": "PBE (VASP)",
    "training_data": "Zuo et al. 2020, doi:10.1021/acs.jpca.9b08723",
    "citation": CITATION,
    "licence": "MIT (training data: BSD-3-Clause)",
}

ZBL = {
    "Li": (0.95, 1.9),
    "Mo": (0.9, 1.8),
    "Cu": (0.85, 1.75),
    "Ni": (0.85, 1.7),
    "Si": (0.85, 1.75),
    "Ge": (0.95, 1.9),
}
"""A: inner and outer cutoff of the ZBL term of each element."""

SETTINGS: dict[str, dict[str, Any]] = {
    "Li-linear": {"rcut": (4.7, 5.1), "twojmax": 8},
    "Li-quadratic": {"rcut": (4.7, 5.1), "twojmax": 6},
    "Mo-linear": {"rcut": (4.6, 5.0), "twojmax": 8},
    "Mo-quadratic": {"rcut": (4.8, 5.2), "twojmax": 6},
    "Cu-linear": {"rcut": (4.1, 4.5), "twojmax": 8},
    "Cu-quadratic": {"rcut": (3.9, 4.3), "twojmax": 6},
    "Ni-linear": {"rcut": (4.1, 4.5), "twojmax": 8},
    "Ni-quadratic": {"rcut": (3.8, 4.2), "twojmax": 6},
    "Si-linear": {"rcut": (4.9, 5.3), "twojmax": 8},
    "Si-quadratic": {"rcut": (4.8, 5.2), "twojmax": 6},
    "Ge-linear": {"rcut": (5.1, 5.5), "twojmax": 8},
    "Ge-quadratic": {"rcut": (4.9, 5.3), "twojmax": 6},
}


def refit(name: str, folder: Path, progress: Progress | None = None) -> FitResult:
    """Fit the bundled model `name` (such as "Mo-linear") to the data in `folder`. Raises DataError."""
    element, form = name.split("-")
    inner, outer = ZBL[element]
    options = {**COMMON, "search_atoms": 3000 if form == "linear" else 5000, **SETTINGS[name]}
    train, test = (read_dataset(folder / f"{element}_{part}.extxyz.xz") for part in ("train", "test"))
    return fit(
        train, test, (element,), form == "quadratic", progress, zbl_inner=inner, zbl_outer=outer, name=name, **options
    )


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
