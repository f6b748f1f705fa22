"""Reference C6 coefficients of D3 for code that brings none: where they are found, and read.

They are not part of this project: dftd3 holds its own inside, and nvalchemi-toolkit-ops has none. A file of arrays is
taken from, in this order: the option `tables`, the environment variable CALCZOO_D3_TABLES, the installed package
torch-dftd (MIT), whose file is read without importing the package.

    c6ab (95, 95, 5, 5, 3)  C6 (hartree bohr^6) of reference systems a, b of two elements, and both coordination numbers
    rcov (95,)              covalent radii times 4/3, bohr
    r2r4 (95,)              sqrt(sqrt(Z) <r^4> / (2 <r^2>)) of the elements

Row Z of each belongs to atomic number Z, row 0 to none. S. Grimme et al., J. Chem. Phys. 132, 154104 (2010).
"""

from __future__ import annotations

import os
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ...core.errors import PotentialFileError, WeightsMissing

VARIABLE = "CALCZOO_D3_TABLES"
SHAPES = {"c6ab": (95, 95, 5, 5, 3), "rcov": (95,), "r2r4": (95,)}


def find_tables(named: str | None = None) -> Path:
    """The file, see the module docstring. Raises WeightsMissing, which says where it may come from."""
    for text, source in ((named, "tables"), (os.environ.get(VARIABLE), VARIABLE)):
        if text:
            if not Path(text).expanduser().is_file():
                raise WeightsMissing(f"{source} names the file {text} of reference C6 coefficients, which is not there")
            return Path(text).expanduser()
    spec = find_spec("torch_dftd")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (file := Path(folder) / "nn" / "params" / "dftd3_params.npz").is_file():
            return file
    raise WeightsMissing(
        "nvalchemi-toolkit-ops has no reference C6 coefficients of its own; they are taken from the package torch-dftd "
        "(pip install --no-deps torch-dftd), which is not installed, or from a copy of its dftd3_params.npz named by "
        f"tables='FILE' or {VARIABLE}; without them, d3 is computed by dftd3: engine=dftd3"
    )


def available(named: str | None = None) -> bool:
    """True where `find_tables` finds a file."""
    try:
        return bool(find_tables(named))
    except WeightsMissing:
        return False


@cache
def read_tables(file: Path) -> dict[str, np.ndarray]:
    """Arrays by name, in atomic units. Raises PotentialFileError for a file of another content."""
    expected = ", ".join(f"{name} {shape}" for name, shape in SHAPES.items())
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name], dtype=np.float64) for name in SHAPES}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PotentialFileError(file, None, f"no tables of D3 ({error})", f"an npz file with {expected}") from error
    for name, array in arrays.items():
        if array.shape != SHAPES[name]:
            raise PotentialFileError(file, None, f"{name} has the shape {array.shape}", expected)
        if not np.isfinite(array).all():
            raise PotentialFileError(file, None, f"{name} holds numbers that are not finite", "finite numbers")
    c6 = arrays["c6ab"][..., 0]
    if not np.allclose(c6, c6.transpose(1, 0, 3, 2), rtol=1e-6) or not (arrays["rcov"][1:] > 0).all():
        raise PotentialFileError(file, None, "C6 that differ from a to b and from b to a, or radii of zero", expected)
    return arrays
