"""Potentials into folders with other units, and structures from and to RuNNer's input.data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import DataError, OptionError
from ...family import Converted, ModelRequest
from . import units
from .formats import INPUT, write_folder
from .keywords import UNITLESS
from .load import read_networks
from .params import ElementModel, HdnnpParams, Network
from .repulsion import KEY

if TYPE_CHECKING:
    from ase import Atoms

_TO = ("to_length_unit", "to_energy_unit")


def convert(
    source: Path,
    target: Path,
    elements: tuple[str, ...] | None = None,
    training: str | Path | None = None,
    progress: Callable[[str, float], None] | None = None,
    **options: Any,
) -> Converted:
    """Write a potential into another folder, with a card beside its files that tells their units, so that it needs no
    options any more; of a committee, all members.

    Options: those of reading it (length_unit, energy_unit, nodes ...), and to_length_unit and to_energy_unit, units of
    the new files (default: as they were). Raises OptionError, PotentialFileError.
    """
    if training is not None:
        raise OptionError("--training is for formats that hold an active set; a neural network potential has none")
    if elements is not None:
        raise OptionError("no element can be left out of a neural network potential: its networks see all of them")
    check_target(source, target)
    to = {k: options.pop(k) for k in _TO if k in options}
    many = read_networks(ModelRequest("hdnnp", source if source.exists() else str(source), options=options))
    if len(many) > 1 and (target / INPUT).is_file():  # reading the folder would find that one, not the committee
        raise OptionError(f"{target} holds one potential, and {source} is a committee of {len(many)}; name another")
    files: list[Path] = []
    for k, params in enumerate(many):
        length = units.length(to["to_length_unit"]) if "to_length_unit" in to else params.length_unit
        energy = units.energy(to["to_energy_unit"]) if "to_energy_unit" in to else params.energy_unit
        files += write_folder(in_units(params, length, energy), target if len(many) == 1 else target / f"member_{k}")
    length_name, energy_name = units.length_name(length), units.energy_name(energy)
    notes = [f"lengths in {_told(length_name, 'A')}, energies in {_told(energy_name, 'eV')}, as card.json says"]
    if len(many) > 1:
        notes.append(f"a committee of {len(many)}")
    if zbl := many[0].facts.get("extra", {}).get(KEY):
        shown = ", ".join(f"{x:g}" for x in zbl)
        notes.append(f"with zbl({shown}), which card.json tells; other codes must add it to the networks by themselves")
    return Converted(tuple(files), tuple(notes))


def check_target(source: Path, target: Path) -> None:
    """OptionError for a target that is a file, that looks like one, or that is a folder of something else."""
    looks = target.suffix.lower() in (".nn", ".data", ".extxyz", ".xyz", ".traj", ".cfg", ".mtp", ".almtp", ".json")
    if target.is_file() or (looks and not target.is_dir()):
        raise OptionError(f"{target} is a file name; a neural network potential is a folder: name one to write to")
    if target.is_dir() and any(target.iterdir()) and not (target / INPUT).is_file():
        raise OptionError(f"{target} is a folder with something else in it; name a new one")
    folder = source if source.is_dir() else source.parent
    if target.is_dir() and folder.is_dir() and target.samefile(folder):
        raise OptionError(f"source and target are the same folder, {target}; name another target")


def _told(name: str | float, base: str) -> str:
    return name if isinstance(name, str) else f"{name!r} {base}"


# -- units ---------------------------------------------------------------------------------------------------


def in_units(params: HdnnpParams, length_unit: float, energy_unit: float) -> HdnnpParams:
    """The same potential as files in units of so many A and eV hold it.

    Lengths and energies of the parameters change; symmetry functions have no unit. The last layers of the networks,
    which are linear, take the factor of the energy, unless the files are normalised: then conv_energy does.
    """
    if (length_unit, energy_unit) == (params.length_unit, params.energy_unit):
        return params
    a, e = params.length_unit / length_unit, params.energy_unit / energy_unit
    normalised = (params.mean_energy, params.conv_energy, params.conv_length) != (0.0, 1.0, 1.0)
    energies = params.generation == 4  # the charge networks of generation 3 give charges
    electrostatics = params.electrostatics
    if electrostatics is not None:
        electrostatics = replace(
            electrostatics,
            coulomb=electrostatics.coulomb * a * e,
            r_inner=electrostatics.r_inner * a,
            r_outer=electrostatics.r_outer * a,
            keywords=tuple(k for k in electrostatics.keywords if k[0] in UNITLESS),  # the others are in the old units
        )
    return replace(
        params,
        models=tuple(_model_in_units(m, a, e, 1.0 if normalised else e, e if energies else 1.0) for m in params.models),
        mean_energy=params.mean_energy * e,
        conv_energy=params.conv_energy / e if normalised else 1.0,
        conv_length=params.conv_length / a if normalised else 1.0,
        electrostatics=electrostatics,
        length_unit=length_unit,
        energy_unit=energy_unit,
    )


def _model_in_units(model: ElementModel, a: float, e: float, short: float, charge: float) -> ElementModel:
    """a, e: new numbers per old number of lengths and energies; short, charge: factors of the networks' outputs."""
    functions = tuple(
        replace(f, eta=f.eta / a**2, rs=f.rs * a, rc=f.rc * a, rl=f.rl * a) for f in model.functions
    )
    return replace(
        model,
        functions=functions,
        short=_times(model.short, short),
        charge=None if model.charge is None else _times(model.charge, charge),
        hardness=model.hardness * e,
        width=model.width * a,
        energy=model.energy * e,
    )


def _times(network: Network, factor: float) -> Network:
    """The network with its output multiplied."""
    if factor == 1.0:
        return network
    if network.activations[-1] != "l":
        raise OptionError(
            f"the last layer of a network has activation '{network.activations[-1]}'; only a linear one ('l') can be "
            "converted to other units of energy"
        )
    weights, biases = list(network.weights), list(network.biases)
    weights[-1], biases[-1] = weights[-1] * factor, biases[-1] * factor
    return replace(network, weights=tuple(weights), biases=tuple(biases))


# -- input.data ----------------------------------------------------------------------------------------------

UNITS = "calczoo: units"
"""Comment in the first structure of a file that was written here: the units that the format does not hold."""


def read_frames(
    path: Path,
    elements: Sequence[str] | Mapping[int, str] | None = None,
    length_unit: str | float | None = None,
    energy_unit: str | float | None = None,
) -> list[Atoms]:
    """Structures of an input.data, in eV and A; units are needed unless calczoo wrote the file.

    Raises OptionError without units, PotentialFileError for a damaged file, DataError for elements not in `elements`.
    """
    from .input_data import read_input_data

    told = told_units(path)
    length_unit, energy_unit = length_unit or told[0], energy_unit or told[1]
    if length_unit is None or energy_unit is None:
        missing = "length_unit and energy_unit" if length_unit is energy_unit else (
            "length_unit" if length_unit is None else "energy_unit"
        )  # fmt: skip
        raise OptionError(
            f"{path}: files of structures of RuNNer carry no units; give {missing}, most often Bohr and Ha, or A and "
            "eV, as options of this command, or make a file that needs none: calczoo convert input.data new.extxyz "
            "--option length_unit=Bohr --option energy_unit=Ha"
        )
    frames = read_input_data(path, None, length_unit, energy_unit)
    allowed = set(elements.values() if isinstance(elements, Mapping) else elements or ())
    for k, atoms in enumerate(frames):
        if unknown := sorted(set(atoms.get_chemical_symbols()) - allowed):
            if allowed:
                raise DataError(f"structure {k} of {path} holds {', '.join(unknown)}, which is not among the elements")
        lines = [x for x in atoms.info.pop("comment", "").splitlines() if not x.startswith(UNITS)]
        if lines:
            atoms.info["comment"] = "\n".join(lines)
    return frames


def told_units(path: Path) -> tuple[str | None, str | None]:
    """Units of length and energy that the first structure's comment tells."""
    from .input_data import lines_of

    for k, line in enumerate(lines_of(path)):
        words = line.split()
        if words[:3] == ["comment", *UNITS.split()] and len(words) == 5:
            return words[3], words[4]
        if k > 20 or words[:1] == ["atom"]:
            break
    return None, None


def write_frames(
    frames: Sequence[Atoms],
    path: Path,
    elements: Sequence[str] | Mapping[int, str] | None = None,
    length_unit: str | float = "Bohr",
    energy_unit: str | float = "Hartree",
) -> Path:
    """An input.data in the units that RuNNer has, unless others are asked for; a comment says which."""
    from .input_data import write_input_data

    many = list(frames)
    if many:
        first = many[0].copy()
        length, energy = units.length_name(units.length(length_unit)), units.energy_name(units.energy(energy_unit))
        told = [f"{UNITS} {length} {energy}", *str(first.info.get("comment", "")).splitlines()]
        first.info["comment"], first.calc = "\n".join(told), many[0].calc
        many[0] = first
    return write_input_data(many, path, length_unit, energy_unit)
