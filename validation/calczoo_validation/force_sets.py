"""Phonons from forces that others calculated: phonopy folders, and frames of displaced supercells.

Read are POSCAR-unitcell or POSCAR with `supercell_matrix` from phonopy_disp.yaml, or a phonopy_params.yaml that holds
everything; FORCE_SETS (one displaced atom each, or all atoms displaced), FORCE_CONSTANTS, BORN; each also as .xz, .gz.
Many-atom displacements are fitted by symfc: A. Seko and A. Togo, Phys. Rev. B 110, 214302 (2024),
doi:10.1103/PhysRevB.110.214302.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from calczoo.core.errors import DataError

from .phonon_tools import Supercell, ase_cell, make_phonopy, phonopy_cell, quiet
from .phonopy_files import (
    LARGEST_MOVE,
    MOST_ATOMS,
    charges_of_yaml,
    complete,
    dataset_of_yaml,
    force_constants_of_yaml,
    made,
    present,
    read_born,
    read_force_constants,
    read_force_sets,
    read_yaml,
    supercell_matrix,
    unit_cell,
)  # fmt: skip
from .registry import Context
from .results import PropertyFailure, PropertyResult, Status
from .structures import OtherMaterial

MOVED = 1e-5  # A
RAW = "force constants before and after their symmetries are imposed"
DISP = ("phonopy_params.yaml", "phonopy_disp.yaml", "phonopy.yaml")


def from_force_sets(folder: str | Path, ctx: Context, result: PropertyResult) -> None:
    """The phonon report of a phonopy folder, through the code that reports models.

    ctx.options are those of the property "phonons"; ctx.crystal may be None. Error bars: what imposing the symmetries
    of the force constants changes, and two q-meshes. Raises DataError.
    """
    from .phonon_values import report

    cell = read_folder(Path(folder), getattr(ctx.options, "born", ""))
    _same_material(Path(folder), cell, ctx)
    result.settings.update(
        folder=Path(folder).name, supercells=[cell.phonon.supercell_matrix.tolist()],
        atoms=[len(cell.phonon.supercell)], mesh_length_A=ctx.options.mesh,
        charges="none" if cell.phonon.nac_params is None else "BORN",
    )  # fmt: skip
    report([cell], ctx, result)


def _same_material(folder: Path, cell: Supercell, ctx: Context) -> None:
    """OtherMaterial where the folder is of another composition than the crystal."""
    if ctx.crystal is None:
        return
    theirs = ase_cell(cell.phonon.primitive).symbols.formula.reduce()[0].format("hill")
    ours = ctx.crystal.atoms.symbols.formula.reduce()[0].format("hill")
    if theirs != ours:
        raise OtherMaterial(f"{folder.name}: the forces are of {theirs}, this run is about {ctx.crystal.label}")


def read_folder(folder: Path, born: str = "") -> Supercell:
    """Force constants, raw and symmetrised, of a phonopy folder. DataError naming the file at fault."""
    yaml_file = next((f for n in DISP if (f := present(folder, n))), None)
    if yaml_file is None and len(other := sorted(folder.glob("phonopy*.yaml*"))) == 1:
        yaml_file = other[0]
    info = read_yaml(yaml_file) if yaml_file else {}
    unit, where = unit_cell(folder, info, yaml_file)
    matrix = supercell_matrix(info, unit, folder, yaml_file)
    atoms = len(unit) * abs(round(float(np.linalg.det(matrix))))
    if not 0 < atoms <= MOST_ATOMS:
        raise DataError(f"{where}: a supercell of {atoms} atoms; allowed are 1 to {MOST_ATOMS}")
    primitive = info.get("primitive_matrix")
    with quiet():
        phonon = made(unit, matrix, primitive, where)
    constants, sets = present(folder, "FORCE_CONSTANTS"), present(folder, "FORCE_SETS")
    if sets is not None:
        _from_dataset(phonon, read_force_sets(sets, len(phonon.supercell)), sets.name)
    elif constants is not None:
        phonon.force_constants = read_force_constants(constants, phonon)
    elif "force_constants" in info:
        phonon.force_constants = force_constants_of_yaml(info, phonon, yaml_file)
    elif "displacements" in info:
        _from_dataset(phonon, dataset_of_yaml(info, len(phonon.supercell), yaml_file), yaml_file.name)
    else:
        raise DataError(f"{folder}: neither FORCE_SETS nor FORCE_CONSTANTS nor a phonopy_params.yaml with forces")
    cell = _both(phonon)
    file = Path(born) if born else present(folder, "BORN")
    nac = info.get("nac") if isinstance(info.get("nac"), dict) else info
    if file is not None:
        phonon.nac_params = read_born(file, phonon)
    elif "born_effective_charge" in nac and "dielectric_constant" in nac:
        phonon.nac_params = charges_of_yaml(nac, phonon, yaml_file)
    return cell


def _both(phonon: Any) -> Supercell:
    """Supercell with symmetrised force constants first and the raw ones second: their difference is the error bar."""
    cell = Supercell(phonon, scale=1.0, source=RAW)
    raw = np.array(phonon.force_constants)
    cell.take(raw)
    cell.constants.append(raw)
    return cell


def charges_of(born: np.ndarray, dielectric: np.ndarray, phonon: Any) -> dict[str, Any]:
    """Effective charges (n, 3, 3) [atom, polarisation, displacement] of the primitive cell, symmetry imposed."""
    from phonopy.structure.symmetry import symmetrize_borns_and_epsilon

    n = len(phonon.primitive)
    born, dielectric = np.asarray(born, dtype=float), np.asarray(dielectric, dtype=float)
    if born.shape != (n, 3, 3) or dielectric.shape != (3, 3):
        raise PropertyFailure(
            f"effective charges of shape {born.shape} and dielectric tensor of shape {dielectric.shape} instead of "
            f"({n}, 3, 3) and (3, 3)"
        )
    with quiet():
        born, dielectric = symmetrize_borns_and_epsilon(born, dielectric, phonopy_cell(ase_cell(phonon.primitive)))
    return complete({"born": born, "dielectric": dielectric})


# -- force constants from displacements and forces --------------------------------------------------------------------


def _from_dataset(phonon: Any, dataset: dict[str, Any], name: str) -> None:
    """Force constants of a data set; DataError where the displacements do not determine them."""
    if "first_atoms" in dataset:
        missing = undetermined(phonon, [(s["number"], s["displacement"]) for s in dataset["first_atoms"]])
        if missing:
            raise DataError(f"{name}: the displacements do not determine the force constants: {missing}")
    solver = "traditional" if "first_atoms" in dataset else "symfc"
    try:
        with quiet():
            phonon.dataset = dataset
            phonon.produce_force_constants(show_drift=False, fc_calculator=solver)
    except Exception as error:  # noqa: BLE001 - the solvers raise many kinds for data that do not fit; the file is named
        raise DataError(f"{name}: no force constants from it ({type(error).__name__}: {error})") from error
    if not np.isfinite(phonon.force_constants).all():
        raise DataError(f"{name}: the force constants are not finite: too few displacements, or not independent ones")


def undetermined(phonon: Any, moves: list[tuple[int, np.ndarray]]) -> str:
    """Which displacements are missing ("" where none): the images of those of each atom under the space group, brought
    to one atom of its orbit, must span three directions."""
    symmetry = phonon.symmetry
    lattice = phonon.supercell.cell.T
    inverse = np.linalg.inv(lattice)
    rotations = [lattice @ r @ inverse for r in symmetry.symmetry_operations["rotations"]]
    permutations = np.array(symmetry.atomic_permutations)
    for atom in symmetry.get_independent_atoms():
        # permutations[g][a] is the atom that the operation's image of a coincides with
        images = [
            rotations[g] @ move for number, move in moves
            for g in range(len(rotations)) if permutations[g][number] == atom or permutations[g][atom] == number
        ]  # fmt: skip
        smallest = 1e-4 * max(np.linalg.norm(m) for _, m in moves)
        rank = np.linalg.matrix_rank(np.array(images), tol=smallest) if images else 0
        if rank < 3:
            symbol = phonon.supercell.symbols[atom]
            return f"{symbol} atom {atom + 1} is displaced in {rank} of 3 independent directions"
    return ""


# -- frames ----------------------------------------------------------------------------------------------------------


def supercells_of_frames(frames: list[Atoms], ctx: Context, result: PropertyResult) -> list[Supercell]:
    """Supercells with force constants from a user's frames: an undisplaced one and displaced copies, with forces.

    Frames that belong to no such set are left out (counted in the settings). Several supercells: the largest is used,
    the one before it gives the error of the size. PropertyFailure(unsupported) where there is no complete set.
    """
    groups, used, cells, problems = _groups(frames, ctx), 0, [], []
    for rest, moved in groups:
        try:
            cells.append(_cell_of(rest, moved))
            used += 1 + len(moved)
        except DataError as error:
            problems.append(str(error))
    if not cells:
        why = "; ".join(problems) or (
            "no frame with forces has a partner with the same cell and atoms displaced by less than "
            f"{LARGEST_MOVE} A, of the composition {ctx.crystal.label_formula() if ctx.crystal else 'asked for'}"
        )  # fmt: skip
        raise PropertyFailure(f"no phonons from these {len(frames)} frames: {why}", Status.UNSUPPORTED)
    result.notes.extend(problems)
    cells.sort(key=lambda c: len(c.phonon.supercell))
    cells = cells[-2:]
    result.settings.update(
        frames=len(frames), frames_used=used, atoms=[len(c.phonon.supercell) for c in cells],
        mesh_length_A=ctx.options.mesh,
    )  # fmt: skip
    for cell in cells:
        if ctx.options.born:
            cell.phonon.nac_params = read_born(ctx.options.born, cell.phonon)
    return cells


def _groups(frames: list[Atoms], ctx: Context) -> list[tuple[Atoms, list[Atoms]]]:
    """(undisplaced frame, displaced frames) of each supercell among the frames."""
    formula = ctx.crystal.label_formula() if ctx.crystal is not None else None
    left = [
        a for a in frames
        if a.calc is not None and a.calc.results.get("forces") is not None and a.pbc.all()
        and formula in (None, a.get_chemical_formula("hill", empirical=True))
    ]  # fmt: skip
    out = []
    while left:
        first, *others = left
        same = [first, *(a for a in others if _alike(first, a))]
        left = [a for a in others if not any(a is b for b in same)]
        if len(same) < 2:
            continue
        # The undisplaced frame has the most symmetry; among equals the smallest forces.
        rest = max(same, key=lambda a: (_operations(a), -float(np.abs(a.calc.results["forces"]).max())))
        moved = [a for a in same if a is not rest and float(np.linalg.norm(_moves(rest, a), axis=1).max()) > MOVED]
        if moved:
            out.append((rest, moved))
    return out


def _alike(a: Atoms, b: Atoms) -> bool:
    if len(a) != len(b) or (a.numbers != b.numbers).any() or np.abs(a.cell.array - b.cell.array).max() > 1e-5:
        return False
    return float(np.linalg.norm(_moves(a, b), axis=1).max()) < LARGEST_MOVE


def _moves(a: Atoms, b: Atoms) -> np.ndarray:
    delta = b.get_scaled_positions(wrap=False) - a.get_scaled_positions(wrap=False)
    return (delta - np.round(delta)) @ a.cell.array


def _operations(atoms: Atoms) -> int:
    from .symmetry import Symmetry

    return len(Symmetry(atoms).rotations)


def _cell_of(rest: Atoms, moved: list[Atoms]) -> Supercell:
    """Force constants of one supercell. The supercell itself is handed on as unit cell, so that its order is kept."""
    with quiet():
        phonon = make_phonopy(rest, np.eye(3, dtype=int), symprec=1e-4)
    name = f"{len(moved)} displaced frames of {rest.get_chemical_formula()}"
    at_rest = np.array(rest.calc.results["forces"], dtype=float)
    moves = np.array([_moves(rest, a) for a in moved])
    forces = np.array([np.array(a.calc.results["forces"], dtype=float) - at_rest for a in moved])
    if not np.isfinite(forces).all():
        raise DataError(f"{name}: forces are not finite")
    count = (np.linalg.norm(moves, axis=2) > MOVED).sum(axis=1)
    if (count == 1).all():
        which = np.linalg.norm(moves, axis=2).argmax(axis=1)
        sets = [
            {"number": int(k), "displacement": m[k], "forces": f} for k, m, f in zip(which, moves, forces, strict=True)
        ]
        dataset: dict[str, Any] = {"natom": len(rest), "first_atoms": sets}
    else:
        dataset = {"displacements": moves, "forces": forces}
    _from_dataset(phonon, dataset, name)
    cell = _both(phonon)
    stored = rest.calc.results
    if "born_effective_charges" in stored and "dielectric_tensor" in stored:
        picked = np.array(stored["born_effective_charges"], dtype=float)[phonon.primitive.p2s_map]
        phonon.nac_params = charges_of(picked, stored["dielectric_tensor"], phonon)
    return cell
