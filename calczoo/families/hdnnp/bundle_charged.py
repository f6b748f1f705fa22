"""The bundled teaching model of generation 4: how it was fitted, and the command that fits it again.

    python -m calczoo.families.hdnnp.bundle_charged FILE [--state FOLDER] [--threads N] [--out FOLDER]

FILE is the `input.data` of carbon chains C10H2 and C10H3+ that comes with n2p2 (examples/nnp-train/Carbon_chain_4G):
128 structures of the data of Ko, Finkler, Goedecker and Behler, Nat. Commun. 12, 398 (2021),
doi:10.1038/s41467-020-20427-2 (FHI-aims, PBE, Hirshfeld charges). The original training set has ten thousand, so that
this model shows what the fourth generation is and does, and is no potential for research: it knows these two molecules
near their equilibrium, and nothing else.

Every fifth structure is held out for the table of errors and takes no part in the fit, though the number of functions
was set with the errors on them in view. The cutoff is that of Ko et al., 8 Bohr: an atom sees three neighbours along
the chain, and only the charge equilibration knows the far end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase.units import Bohr

from ...fitting.data import Dataset
from ...fitting.report import FitResult, Progress
from .fit import fit
from .input_data import read_input_data
from .load import MODELS

NAME = "carbon-chains"
CUTOFF = round(8.0 * Bohr, 4)
SETTINGS: dict[str, Any] = {
    "cutoff": CUTOFF,
    "functions": 100,
    "nodes": (10, 10),
    "epochs": 12,
    "energy_weight": 50.0,
    "force_weight": 1.0,
    "validation": 0.1,
    "charge_nodes": (10, 10),
    "charge_epochs": 300,
    "charge_decay": 3.0,
    "widths": {"H": 0.31, "C": 0.73},
    "level_of_theory": "PBE (FHI-aims), Hirshfeld charges",
    "training_data": (
        "teaching model: an excerpt of 128 of about ten thousand structures of C10H2 and C10H3+ of Ko et al. 2021, "
        "doi:10.1038/s41467-020-20427-2, as it comes with n2p2; every fifth held out"
    ),
    "citation": "training data: T. W. Ko et al., Nat. Commun. 12, 398 (2021), doi:10.1038/s41467-020-20427-2",
    "licence": "MIT (training data: example data of n2p2, GPL-3.0-or-later)",
}


def data_sets(path: Path) -> tuple[Dataset, Dataset]:
    """Training set and the structures held out; groups by total charge. Raises PotentialFileError, DataError."""
    frames = read_input_data(path, ("H", "C"), "Bohr", "Ha")
    for atoms in frames:
        atoms.info["config_type"] = "C10H3+" if atoms.info.get("charge", 0.0) > 0.5 else "C10H2"
    parts = [[a for k, a in enumerate(frames) if (k % 5 == 4) is held] for held in (False, True)]
    train, test = (Dataset.from_atoms(part, "carbon chains") for part in parts)
    return train, test


def refit(path: Path, progress: Progress | None = None, **options: Any) -> FitResult:
    """Fit the bundled model to the data in `path`; options go before those of SETTINGS."""
    train, test = data_sets(path)
    return fit(train, test, ("H", "C"), progress=progress, generation=4, name=NAME, **{**SETTINGS, **options})


def main(arguments: Sequence[str]) -> None:
    """Fit the model and write it into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--state", type=Path, help="folder for the state of a fit that may be cut off")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=MODELS, help="where to write (default: into the package)")
    given = parser.parse_args(arguments)
    options: dict[str, Any] = {"threads": given.threads}
    if given.state is not None:
        options["resume"] = str(given.state / f"{NAME}.npz")
    result = refit(given.file, lambda what, done: print(f"\r{done:4.0%} {what:50}", end="", flush=True), **options)
    result.write(given.out / NAME)
    parts = []
    for part, table in result.errors.items():
        energy, forces, charges = (table.get(kind, "rmse") for kind in ("energy", "forces", "charges"))
        parts.append(f"{part}: energy RMSE {energy:.2f} meV/atom, forces {forces:.4f} eV/A, charges {charges:.4f} e")
    print(f"\r{NAME}: {'; '.join(parts)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
