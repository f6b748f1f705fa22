"""The data that bundled models are fitted to, as all families take them.

Six elements of Zuo et al., J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723 (VASP, PBE; BSD-3-Clause):
`Mo_train.extxyz.xz`, `Mo_test.extxyz.xz` and so on in one folder.
"""

from __future__ import annotations

from pathlib import Path

from .data import Dataset, read_dataset

EQUATION_OF_STATE = {
    "Li": (20.2, 13.9, 3.4),
    "Mo": (15.8, 260.0, 4.2),
    "Cu": (12.0, 138.0, 5.0),
    "Ni": (10.9, 195.0, 4.9),
    "Si": (20.45, 88.6, 4.3),
    "Ge": (24.1, 59.0, 4.8),
}
"""A^3 per atom, GPa, B' of the crystal in PBE, rounded; only for guesses of compressed structures."""

ZBL = {
    "Li": (0.95, 1.9),
    "Mo": (0.9, 1.8),
    "Cu": (0.85, 1.75),
    "Ni": (0.85, 1.7),
    "Si": (0.85, 1.75),
    "Ge": (0.95, 1.9),
}
"""A: inner and outer cutoff of a ZBL term of each element, where a family adds one."""


def training_set(element: str, folder: Path) -> Dataset:
    """The training data of an element; lithium without the shear stresses of its sheared crystals, which change sign
    between strains of 0.5 and 1 %. Raises DataError."""
    data = read_dataset(folder / f"{element}_train.extxyz.xz")
    return data.without_stress("Elastic", (3, 4, 5)) if element == "Li" else data
