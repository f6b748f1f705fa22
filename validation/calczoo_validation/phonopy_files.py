"""Readers of phonopy's files: unit cell, supercell matrix, displacements with forces, force constants, charges.

Files are data of others: YAML through the safe loader only, sizes bounded, every number checked. DataError names the
file and what is wrong with it.
"""

from __future__ import annotations

import gzip
import io
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from calczoo.core.errors import DataError

from .phonon_tools import make_phonopy, quiet
from .yaml_text import parse_yaml

MAX_BYTES = 200_000_000
MOST_ATOMS = 5000
LARGEST_MOVE = 0.5  # A, more is no displacement but another structure
UNITS = ("POSCAR-unitcell", "POSCAR")


def present(folder: Path, name: str) -> Path | None:
    return next((p for end in ("", ".xz", ".gz") if (p := folder / (name + end)).is_file()), None)


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Text of a file, unpacked; DataError where it is missing, larger than `limit` bytes, or no text."""
    opener = {".xz": lzma.open, ".gz": gzip.open}.get(path.suffix, open)
    try:
        with opener(path, "rb") as f:
            raw = f.read(limit + 1)
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if len(raw) > limit:
        raise DataError(f"{path}: longer than {limit} bytes")
    if b"\0" in raw:
        raise DataError(f"{path}: holds a NUL byte; expected text")
    return raw.decode("utf-8", errors="replace")


def _numbers(words: Sequence[str], count: int, path: Path, what: str) -> np.ndarray:
    if len(words) != count:
        raise DataError(f"{path}: {what}: {len(words)} numbers instead of {count}")
    try:
        got = np.array([float(w) for w in words])
    except ValueError:
        raise DataError(f"{path}: {what}: {' '.join(words)[:60]!r} are no numbers") from None
    if not np.isfinite(got).all():
        raise DataError(f"{path}: {what}: not finite")
    return got


def checked(value: Any, shape: tuple[int, ...], path: Path | None, what: str) -> np.ndarray:
    try:
        got = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{path}: {what} holds something that is no number") from None
    if got.shape != shape or not np.isfinite(got).all():
        raise DataError(f"{path}: {what} has shape {got.shape} instead of {shape}, or is not finite")
    return got


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = parse_yaml(read_text(path))
    except DataError as error:
        raise DataError(f"{path}: no YAML ({error})") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected keys such as unit_cell and supercell_matrix")
    return data


def unit_cell(folder: Path, info: dict, yaml_file: Path | None) -> tuple[Atoms, Path]:
    """Unit cell from the YAML file, else from POSCAR-unitcell or POSCAR."""
    block = info.get("unit_cell")
    if block is not None:
        if not isinstance(block, dict) or not isinstance(block.get("points"), list) or not block["points"]:
            raise DataError(f"{yaml_file}: unit_cell has no list of points")
        points = [p if isinstance(p, dict) else {} for p in block["points"][: MOST_ATOMS + 1]]
        symbols = [str(p.get("symbol")) for p in points]
        if unknown := sorted(set(symbols) - set(atomic_numbers)):
            raise DataError(f"{yaml_file}: unknown element {unknown[0]!r}")
        lattice = checked(block.get("lattice"), (3, 3), yaml_file, "lattice of unit_cell")
        rows = [p.get("coordinates") for p in points]
        scaled = checked(rows, (len(points), 3), yaml_file, "coordinates of unit_cell")
        return _solid(Atoms(symbols, scaled_positions=scaled, cell=lattice, pbc=True), yaml_file), yaml_file
    path = next((p for n in UNITS if (p := present(folder, n))), None)
    if path is None:
        raise DataError(f"{folder}: no unit cell (phonopy_disp.yaml, POSCAR-unitcell or POSCAR)")
    return _solid(read_poscar(path), path), path


def _solid(atoms: Atoms, path: Path) -> Atoms:
    if abs(atoms.cell.volume) < 1e-3:
        raise DataError(f"{path}: the cell has no volume")
    return atoms


def read_poscar(path: Path) -> Atoms:
    """Structure of a POSCAR file, with or without a line of element names. DataError."""
    from ase.io.vasp import read_vasp

    try:
        return read_vasp(io.StringIO(read_text(path, 10_000_000)))
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - ASE raises whatever its parsing stumbles on; handed on with the name
        raise DataError(f"{path}: no POSCAR that can be read ({type(error).__name__}: {error})") from error


def supercell_matrix(info: dict, unit: Atoms, folder: Path, yaml_file: Path | None) -> np.ndarray:
    """Supercell matrix from the YAML file, else from a FORCE_SETS whose number of atoms fits a cubic repetition."""
    if "supercell_matrix" in info:
        matrix = checked(info["supercell_matrix"], (3, 3), yaml_file, "supercell_matrix")
        if np.abs(matrix - np.rint(matrix)).max() > 1e-6:
            raise DataError(f"{yaml_file}: supercell_matrix is not of whole numbers")
        return np.rint(matrix).astype(int)
    sets = present(folder, "FORCE_SETS")
    words = read_text(sets).split(None, 1)[:1] if sets else []
    atoms = int(words[0]) if words and words[0].isdigit() else 0
    n = round((atoms / len(unit)) ** (1 / 3)) if atoms else 0
    if n < 1 or n**3 * len(unit) != atoms:
        raise DataError(
            f"{folder}: the supercell is not known: no phonopy_disp.yaml with supercell_matrix, and the number of "
            "atoms in FORCE_SETS is no n x n x n repetition of the unit cell"
        )
    return n * np.eye(3, dtype=int)


def made(unit: Atoms, matrix: np.ndarray, primitive: Any, where: Path) -> Any:
    if primitive is not None:
        primitive = checked(primitive, (3, 3), where, "primitive_matrix")
        # YAML holds fifteen digits; sixths are what centrings are made of
        nearest = np.rint(primitive * 6) / 6
        primitive = np.where(np.abs(primitive - nearest) < 1e-6, nearest, primitive)
    try:
        return make_phonopy(unit, matrix, primitive)
    except Exception as error:  # noqa: BLE001 - phonopy raises many kinds for cells that do not fit; named and handed on
        raise DataError(f"{where}: phonopy cannot use this cell ({type(error).__name__}: {error})") from error


def read_force_sets(path: Path, atoms: int) -> dict[str, Any]:
    """Displacements and forces of a FORCE_SETS file for a supercell of so many atoms, as phonopy's data set."""
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    if lines and len(lines[0]) == 6:
        if len(lines) % atoms:
            raise DataError(f"{path}: {len(lines)} lines are no multiple of the {atoms} atoms of the supercell")
        data = np.array([_numbers(w, 6, path, f"line {k + 1}") for k, w in enumerate(lines)]).reshape(-1, atoms, 6)
        return {"displacements": data[:, :, :3].copy(), "forces": data[:, :, 3:].copy()}
    if len(lines) < 2 or len(lines[0]) != 1 or len(lines[1]) != 1 or not (lines[0][0] + lines[1][0]).isdigit():
        raise DataError(f"{path}: expected the number of atoms and the number of displacements in the first lines")
    found, count = int(lines[0][0]), int(lines[1][0])
    if found != atoms:
        raise DataError(f"{path}: forces of {found} atoms, but the supercell has {atoms}")
    if count < 1 or len(lines) != 2 + count * (atoms + 2):
        raise DataError(f"{path}: {len(lines)} lines instead of {2 + count * (atoms + 2)}: truncated or another form")
    sets = []
    for k in range(count):
        block = lines[2 + k * (atoms + 2) : 2 + (k + 1) * (atoms + 2)]
        number = int(_numbers(block[0], 1, path, f"atom of displacement {k + 1}")[0]) - 1
        move = _numbers(block[1], 3, path, f"displacement {k + 1}")
        if not 0 <= number < atoms or not 0 < np.linalg.norm(move) < LARGEST_MOVE:
            raise DataError(f"{path}: displacement {k + 1} moves atom {number + 1} by {np.linalg.norm(move):.3g} A")
        forces = np.array([_numbers(w, 3, path, f"forces of displacement {k + 1}") for w in block[2:]])
        sets.append({"number": number, "displacement": move, "forces": forces})
    return {"natom": atoms, "first_atoms": sets}


def read_force_constants(path: Path, phonon: Any) -> np.ndarray:
    """(N, N, 3, 3) or, for the atoms of the primitive cell only, (n, N, 3, 3) eV/A^2 of a FORCE_CONSTANTS file."""
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    atoms, few = len(phonon.supercell), len(phonon.primitive)
    head = [int(w) if w.isdigit() else -1 for w in (lines[0] if lines else [])]
    if head not in ([atoms], [atoms, atoms], [few, atoms]):
        found = " ".join(lines[0])[:40] if lines else ""
        raise DataError(f"{path}: starts with {found!r}; expected {atoms} {atoms} or {few} {atoms}")
    rows = range(atoms) if head[0] == atoms else phonon.primitive.p2s_map
    if len(lines) != 1 + 4 * head[0] * atoms:
        raise DataError(f"{path}: {len(lines)} lines instead of {1 + 4 * head[0] * atoms}: truncated or another form")
    out = np.zeros((head[0], atoms, 3, 3))
    blocks = iter(range(1, len(lines), 4))
    for i, row in enumerate(rows):
        for j in range(atoms):
            k = next(blocks)
            if lines[k][:2] != [str(row + 1), str(j + 1)]:
                raise DataError(f"{path}: {' '.join(lines[k])[:40]!r} instead of atoms {row + 1} {j + 1}")
            out[i, j] = [_numbers(w, 3, path, f"force constants {row + 1} {j + 1}") for w in lines[k + 1 : k + 4]]
    return out


def force_constants_of_yaml(info: dict, phonon: Any, path: Path) -> np.ndarray:
    """The same from the key force_constants of a phonopy_params.yaml."""
    block, atoms, few = info["force_constants"], len(phonon.supercell), len(phonon.primitive)
    shape = block.get("shape") if isinstance(block, dict) else None
    if shape not in ([atoms, atoms], [few, atoms]):
        raise DataError(f"{path}: force_constants of shape {shape}; expected [{atoms}, {atoms}] or [{few}, {atoms}]")
    return checked(block.get("elements"), (shape[0] * atoms, 3, 3), path, "force_constants").reshape(*shape, 3, 3)


def dataset_of_yaml(info: dict, atoms: int, path: Path) -> dict[str, Any]:
    """Data set of a phonopy_params.yaml: one displaced atom per entry, or all atoms displaced."""
    rows = info["displacements"]
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: displacements is no list")
    if isinstance(rows[0], dict):
        sets = []
        for k, row in enumerate(rows):
            if not isinstance(row, dict) or "forces" not in row or not isinstance(row.get("atom"), int):
                raise DataError(f"{path}: displacement {k + 1} has no forces")
            sets.append({
                "number": row["atom"] - 1,
                "displacement": checked(row.get("displacement"), (3,), path, f"displacement {k + 1}"),
                "forces": checked(row["forces"], (atoms, 3), path, f"forces of displacement {k + 1}"),
            })  # fmt: skip
            if not 0 <= sets[-1]["number"] < atoms:
                raise DataError(f"{path}: displacement {k + 1} moves atom {row['atom']} of {atoms}")
        return {"natom": atoms, "first_atoms": sets}
    try:
        both = [[(p["displacement"], p["force"]) for p in row] for row in rows]
    except (TypeError, KeyError) as error:
        raise DataError(f"{path}: displacements hold no displacement and force of each atom") from error
    data = checked(both, (len(rows), atoms, 2, 3), path, "displacements and forces")
    return {"displacements": data[:, :, 0].copy(), "forces": data[:, :, 1].copy()}


def read_born(path: str | Path, phonon: Any) -> dict[str, Any]:
    """Dielectric tensor and effective charges of the primitive cell from a BORN file. DataError."""
    from phonopy.file_IO import parse_BORN_from_strings

    path = Path(path)
    lines = [w for line in read_text(path, 1_000_000).splitlines() if (w := line.split())]
    for k, words in enumerate(lines[1:]):
        _numbers(words, 9, path, "dielectric tensor" if k == 0 else f"effective charge {k}")
    if len(lines) < 3:
        raise DataError(f"{path}: expected a first line, the dielectric tensor, and the charge of each distinct atom")
    text = "\n".join(" ".join(words) for words in lines) + "\n"
    try:
        with quiet():
            return complete(parse_BORN_from_strings(text, phonon.primitive))
    except Exception as error:  # noqa: BLE001 - phonopy's parser raises its own kinds; the file is named
        raise DataError(f"{path}: {error}") from error


def complete(charges: dict[str, Any]) -> dict[str, Any]:
    from phonopy.physical_units import get_calculator_physical_units

    return {"factor": get_calculator_physical_units().nac_factor, **charges}


def charges_of_yaml(info: dict, phonon: Any, path: Path) -> dict[str, Any]:
    n = len(phonon.primitive)
    born = checked(info["born_effective_charge"], (n, 3, 3), path, "born_effective_charge")
    dielectric = checked(info["dielectric_constant"], (3, 3), path, "dielectric_constant")
    return complete({"born": born, "dielectric": dielectric})
