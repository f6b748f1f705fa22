"""Third-order force constants and lattice thermal conductivity by phono3py, from a model's forces or a phono3py folder.

Phono3py: A. Togo, L. Chaput, I. Tanaka, Phys. Rev. B 91, 094306 (2015), doi:10.1103/PhysRevB.91.094306. Direct solution
of the linearised Boltzmann equation: L. Chaput, Phys. Rev. Lett. 110, 265506, doi:10.1103/PhysRevLett.110.265506.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from calczoo.core.errors import DataError

from .phonon_tools import ase_cell, phonopy_cell, quiet
from .phonopy_files import LARGEST_MOVE, MOST_ATOMS, checked, present, read_text, read_yaml, unit_cell

FULL = 2 * LARGEST_MOVE
UNSCATTERED = 1e-5  # of the median line width


def make_phono3py(unit: Atoms, counts: Sequence[int], harmonic: Sequence[int] | None = None) -> Any:
    """A phono3py object; `harmonic` is a larger supercell for the second-order force constants."""
    from phono3py import Phono3py
    from phonopy.structure.cells import guess_primitive_matrix

    cell = phonopy_cell(unit)
    larger = None if harmonic is None or list(harmonic) == list(counts) else np.diag(harmonic)
    with quiet():
        return Phono3py(
            cell, supercell_matrix=np.diag(counts), primitive_matrix=guess_primitive_matrix(cell),
            phonon_supercell_matrix=larger, log_level=0,
        )  # fmt: skip


def displaced(ph3: Any, distance: float, cutoff: float = 0.0) -> list[Atoms]:
    """All structures to evaluate: the supercell and its displaced pairs, then the same for the harmonic supercell.

    `cutoff` (A): pairs further apart are left out (0: none).
    """
    with quiet():
        ph3.generate_displacements(distance=distance, cutoff_pair_distance=cutoff or None)
        cells = [ph3.supercell, *(c for c in ph3.supercells_with_displacements if c is not None)]
        if ph3.phonon_supercell_matrix is not None:
            ph3.generate_fc2_displacements(distance=distance)
            cells += [ph3.phonon_supercell, *ph3.phonon_supercells_with_displacements]
    return [ase_cell(c) for c in cells]


def count_displaced(ph3: Any, distance: float, cutoff: float = 0.0) -> int:
    with quiet():
        ph3.generate_displacements(distance=distance, cutoff_pair_distance=cutoff or None)
    sets = ph3.dataset["first_atoms"]
    return len(sets) + sum(bool(p.get("included", True)) for s in sets for p in s["second_atoms"])


def solve(ph3: Any, forces: Sequence[np.ndarray]) -> float:
    """Force constants from the forces (eV/A) of `displaced`; the largest relative drift of the second-order ones."""
    todo = iter(forces)
    rest = next(todo)
    sets = ph3.dataset["first_atoms"]
    for s in sets:
        s["forces"] = next(todo) - rest
    for s in sets:
        for pair in s["second_atoms"]:
            pair["forces"] = next(todo) - rest if pair.get("included", True) else np.zeros_like(rest)
    if ph3.phonon_supercell_matrix is not None:
        rest = next(todo)
        ph3.phonon_forces = np.array([next(todo) - rest for _ in ph3.phonon_supercells_with_displacements])
    return finish(ph3)


def finish(ph3: Any) -> float:
    """Second- and third-order force constants of a data set with forces, with their symmetries imposed."""
    with quiet():
        ph3.produce_fc3()
        if ph3.phonon_supercell_matrix is not None:
            ph3.produce_fc2()
        raw = ph3.fc2
        drift = float(np.abs(raw.sum(axis=1)).max() / np.abs(raw).max())
        ph3.symmetrize_fc3()
        ph3.symmetrize_fc2()
    return drift


def conductivity(ph3: Any, mesh: Any, temperatures: Sequence[float], direct: bool = False) -> dict[str, Any]:
    """Lattice thermal conductivity on one mesh, relaxation-time approximation or direct solution.

    mesh: numbers (3,), or a length in A. kappa (temperatures, 3, 3) W/m/K; frequencies (irreducible points, bands)
    THz; and for relaxation times the share of each mode, (temperatures, points, bands), trace / 3. Modes that find no
    partners on the mesh are left out; `unscattered` is their share of all modes.
    """
    with quiet():
        ph3.mesh_numbers = mesh
        # Without these averages rounding picks the eigenvectors of degenerate modes, and kappa by some tenths of a per
        # cent with them.
        ph3.init_phph_interaction(average_degenerate_weights=True, exclude_gamma_acoustic=True)
        ph3.run_thermal_conductivity(is_LBTE=direct, temperatures=list(temperatures), log_level=0)
    got = ph3.thermal_conductivity
    kappa = np.array(got.kappa)[0]
    out = {
        "mesh": [int(n) for n in ph3.mesh_numbers], "kappa": np.array([_full(k) for k in kappa]),
        "frequencies": np.array(got.frequencies),
    }  # fmt: skip
    if not direct:
        modes, points = np.array(got.mode_kappa)[0], float(np.prod(out["mesh"]))
        lonely = unscattered(np.array(got.gamma)[0], out["frequencies"])
        modes = np.where(lonely[..., None], 0.0, modes) / points
        out["kappa"] = np.array([_full(k) for k in modes.sum(axis=(1, 2))])
        out["modes"] = modes[..., :3].mean(axis=-1)
        weights = np.array(got.grid_weights, dtype=float)
        out["unscattered"] = float(weights @ lonely.any(axis=0).mean(axis=1) / weights.sum())
    return out


def unscattered(gamma: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Modes (temperatures, points, bands) that find next to no partners on the mesh: what width (THz) they have is
    rounding, and so would be their heat current."""
    vibrating = f > 1e-3 * f.max()
    typical = np.array([np.median(g[vibrating]) for g in gamma])
    return vibrating & (gamma < UNSCATTERED * typical[:, None, None])


def _full(k: np.ndarray) -> np.ndarray:
    """xx yy zz yz xz xy to (3, 3)."""
    return np.array([[k[0], k[5], k[4]], [k[5], k[1], k[3]], [k[4], k[3], k[2]]])


def read_phono3py(folder: Path) -> Any:
    """A phono3py object with force constants from a folder with phono3py_disp.yaml and FORCES_FC3. DataError."""
    from phono3py import Phono3py

    disp, file = present(folder, "phono3py_disp.yaml"), present(folder, "FORCES_FC3")
    if disp is None or file is None:
        raise DataError(f"{folder}: needs phono3py_disp.yaml and FORCES_FC3")
    info = read_yaml(disp)
    unit, _ = unit_cell(folder, info, disp)
    matrix = np.rint(checked(info.get("supercell_matrix"), (3, 3), disp, "supercell_matrix")).astype(int)
    atoms = len(unit) * abs(round(float(np.linalg.det(matrix))))
    if not 0 < atoms <= MOST_ATOMS:
        raise DataError(f"{disp}: a supercell of {atoms} atoms; allowed are 1 to {MOST_ATOMS}")
    primitive = info.get("primitive_matrix")
    primitive = "auto" if primitive is None else checked(primitive, (3, 3), disp, "primitive_matrix")
    try:
        with quiet():
            ph3 = Phono3py(phonopy_cell(unit), supercell_matrix=matrix, primitive_matrix=primitive, log_level=0)
            ph3.dataset = _dataset(info, atoms, disp, read_forces(file, atoms))
            finish(ph3)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - phono3py raises many kinds for data that do not fit; the file is named
        raise DataError(f"{folder}: phono3py cannot use it ({type(error).__name__}: {error})") from error
    return ph3


def read_forces(file: Path, atoms: int) -> np.ndarray:
    """(n, atoms, 3) forces of a FORCES_FC3 file, in the order of its displacements."""
    rows = [line.split() for line in read_text(file).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not rows or len(rows) % atoms or any(len(r) != 3 for r in rows):
        raise DataError(f"{file}: {len(rows)} lines of forces are no multiple of the {atoms} atoms of the supercell")
    return checked(rows, (len(rows), 3), file, "forces").reshape(-1, atoms, 3)


def _dataset(info: dict, atoms: int, disp: Path, forces: np.ndarray) -> dict[str, Any]:
    """Phono3py's data set from `displacement_pairs`, each displacement with the forces of its number."""

    def entry(number: Any, move: Any, identity: Any) -> dict[str, Any]:
        if not isinstance(number, int) or not 1 <= number <= atoms:
            raise DataError(f"{disp}: a displacement moves atom {number!r} of {atoms}")
        if not isinstance(identity, int) or not 1 <= identity <= len(forces):
            raise DataError(f"{disp}: displacement number {identity!r}, but FORCES_FC3 holds {len(forces)}")
        vector = checked(move, (3,), disp, f"displacement {identity}")
        if np.linalg.norm(vector) > FULL:
            raise DataError(f"{disp}: displacement {identity} is {np.linalg.norm(vector):.2f} A long")
        return {"number": number - 1, "displacement": vector, "id": identity, "forces": forces[identity - 1]}

    pairs = info.get("displacement_pairs")
    if not isinstance(pairs, list) or not pairs:
        raise DataError(f"{disp}: no displacement_pairs")
    first_atoms = []
    try:
        for one in pairs:
            first = entry(one["atom"], one["displacement"], one["displacement_id"])
            first["second_atoms"] = [
                {**entry(other["atom"], move, identity), "pair_distance": float(other["pair_distance"])}
                for other in one["paired_with"]
                for move, identity in zip(other["displacements"], other["displacement_ids"], strict=True)
            ]
            first_atoms.append(first)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{disp}: displacement_pairs are incomplete ({type(error).__name__}: {error})") from error
    return {"natom": atoms, "first_atoms": first_atoms}
