"""Folders of RuNNer and n2p2: input.nn, scaling.data, weights, weightse and hardness files; and what input.nn says.

The files carry no units: the options length_unit and energy_unit tell them, or a card.json in the folder, as
write_folder and fits of this family leave one. Energies of free atoms (atom_energy) are always added, as n2p2 does.
Format: Singraber, Behler and Dellago, J. Chem. Theory Comput. 15, 1827 (2019), doi:10.1021/acs.jctc.8b00770.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.card import Card
from ...core.elements import number, parse_elements
from ...core.errors import OptionError, PotentialFileError
from ...files.cards import is_card, read_card
from . import units
from .data_files import DataFile, check_ranges, find, open_file, read_number, read_scaling, read_weights
from .function_lines import compact, read_functions
from .input_nn import MAX_INPUT, Settings, parse_settings
from .input_values import read_cutoff, read_electrostatics, read_generation, read_normalisation, read_scaling_mode
from .params import ElementModel, HdnnpParams, Network, SymmetryFunction
from .topology import Topology, count_weights, fitting, parse_nodes, read_topologies

CARD = "card.json"
INPUT = "input.nn"
OVERRIDES = ("nodes", "nodes_charge", "generation")
"""Options of read_folder that take the place of what input.nn says."""


def read_folder(
    path: str | Path,
    length_unit: str | float | None = None,
    energy_unit: str | float | None = None,
    elements: str | Sequence[str] | None = None,
    **overrides: Any,
) -> HdnnpParams:
    """The potential in a folder (or with that input.nn).

    length_unit, energy_unit: what one unit of the files is, a name as "Bohr", "Angstrom", "Hartree", "eV", or a number
    in A or eV; needed where no card tells them. elements: those that may be evaluated. Overrides: nodes="10 10" and
    nodes_charge, the hidden layers in place of the file's; generation, 2 to 4.
    Raises OptionError (units, options), PotentialFileError for a file that is missing, damaged or inconsistent.
    """
    folder = find_folder(path)
    given = _check_overrides(overrides)
    source = open_file(folder, INPUT, "the keyword file of a potential of RuNNer or n2p2", MAX_INPUT)
    settings = parse_settings(source.path, source.raw)
    card = _card(folder)
    reader = _Reader(folder, settings, given)
    reader.files[source.path.name] = source.digest
    unit_length, unit_energy = _units(folder, reader.functions, card, length_unit, energy_unit)
    params = reader.params(unit_length, unit_energy)
    if params.electrostatics and not settings.has("four_pi_epsilon") and not 14 < unit_length * unit_energy < 15:
        warnings.warn(
            f"{source.path}: no four_pi_epsilon, so charges interact by 1 energy times length unit, "
            f"{unit_length * unit_energy:.4g} eV A; in nature it is 14.4 eV A (Bohr and Hartree would make it so)",
            stacklevel=2,
        )
    params = replace(params, facts=_facts(params, card))
    return params if elements is None else params.restricted(parse_elements(elements) or ())


def find_folder(path: str | Path) -> Path:
    """The folder of a potential, given it or its input.nn. Raises PotentialFileError."""
    expected = "a folder with input.nn, scaling.data and weights.*.data"
    try:
        folder = Path(path).expanduser()
        if folder.is_file() and folder.name.split(".xz")[0].split(".gz")[0] == INPUT:
            folder = folder.parent
        what = "" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
    except (OSError, ValueError, RuntimeError, TypeError) as error:  # RuntimeError: `~nobody`
        raise PotentialFileError(str(path)[:200], None, f"not a usable folder name ({error})", expected) from error
    if what:
        raise PotentialFileError(folder, None, what, expected)
    return folder


def _check_overrides(overrides: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(set(overrides) - set(OVERRIDES)):
        raise OptionError(f"unknown option '{unknown[0]}'; there are {', '.join(OVERRIDES)}")
    given = {k: v for k, v in overrides.items() if v is not None}
    for name in ("nodes", "nodes_charge"):
        if name in given:
            given[name] = parse_nodes(given[name], name)
    if "generation" in given:
        if str(given["generation"]) not in ("2", "3", "4"):
            raise OptionError(f"generation is {given['generation']!r}; allowed are 2, 3 and 4")
        given["generation"] = int(given["generation"])
    return given


# -- units and card ------------------------------------------------------------------------------------------


def _card(folder: Path) -> Card | None:
    path = folder / CARD
    if not is_card(path):
        return None
    card = read_card(path)
    return card if card.family == "hdnnp" else None


def _units(
    folder: Path,
    functions: dict[str, tuple[SymmetryFunction, ...]],
    card: Card | None,
    length_unit: str | float | None,
    energy_unit: str | float | None,
) -> tuple[float, float]:
    """A and eV per unit of the files: from the options, else from the card."""
    out = []
    for name, given, convert in (
        ("length_unit", length_unit, units.length),
        ("energy_unit", energy_unit, units.energy),
    ):
        told = None if card is None else card.extra.get(name)
        own = None
        if told is not None:
            try:
                own = convert(told)
            except OptionError as error:
                raise PotentialFileError(folder / CARD, None, str(error), "a card with the units") from error
        value = own if given is None else convert(given)
        if own is not None and value is not None and not math.isclose(value, own, rel_tol=1e-6):
            warnings.warn(
                f"{folder}: {name} is {given!r} as asked, though its {CARD} says {told!r}: another potential than that "
                "card's; leave the option out to have that one",
                stacklevel=3,
            )
        if value is not None:
            out.append(value)
    if len(out) < 2:
        raise OptionError(_no_units(folder, functions))
    return out[0], out[1]


def _no_units(folder: Path, functions: dict[str, tuple[SymmetryFunction, ...]]) -> str:
    reach = max((f.rc for many in functions.values() for f in many), default=0.0)
    bohr = units.LENGTHS["Bohr"]
    return (
        f"{folder} does not tell its units, as the files of RuNNer and n2p2 carry none; say what one unit of length "
        f'and of energy is: get_calculator("hdnnp", model="{folder}", length_unit="Bohr", energy_unit="Ha"), or '
        f'"Angstrom" and "eV" (the largest cutoff, {reach:g}, is {reach * bohr:.4g} A if it is in Bohr); on the '
        "command line: -o length_unit=Bohr -o energy_unit=Ha"
    )


def _facts(params: HdnnpParams, card: Card | None) -> dict[str, Any]:
    """Facts of the card, where there is one, with the checksums of the files that were read."""
    own = params.facts
    extra = {
        "length_unit": units.length_name(params.length_unit),
        "energy_unit": units.energy_name(params.energy_unit),
    }
    if card is None:
        return {**own, "extra": extra}
    drop = ("name", "family", "elements", "cutoff", "outputs", "files", "extra")
    facts: dict[str, Any] = {k: getattr(card, k) for k in Card.__dataclass_fields__ if k not in drop}
    kept = {k: v for k, v in card.extra.items() if k not in params.card().extra}
    return {**facts, **own, "extra": {**kept, **extra}}


# -- the parts of a potential --------------------------------------------------------------------------------


class _Reader:
    """Reads the files of one folder."""

    def __init__(self, folder: Path, settings: Settings, given: dict[str, Any]):
        self.folder, self.settings, self.given = folder, settings, given
        self.files: dict[str, str] = {}
        self.generation = given.get("generation") or read_generation(settings)
        self.functions = read_functions(settings)
        for symbol, many in self.functions.items():
            if not many:
                settings.fail(None, f"has no symmetry function of {symbol}", "'symfunction_short' of each element")
        if self.generation > 2:
            self._same_functions()

    def _same_functions(self) -> None:
        """Charges by their own functions (RuNNer) are only known where they are those of the short range."""
        s = self.settings
        own = read_functions(s, "electrostatic")
        if any(own.values()) and own != self.functions:
            entry = next(e for e in s.entries if "symfunction_electrostatic" in e.key)
            what = "symmetry functions of the charges differ from those of the short range"
            s.fail(entry, what, "the same functions for both networks")

    def open(self, name: str, expected: str) -> DataFile:
        file = open_file(self.folder, name, expected)
        self.files[file.path.name] = file.digest
        return file

    def params(self, unit_length: float, unit_energy: float) -> HdnnpParams:
        s = self.settings
        cutoff_type, alpha = read_cutoff(s, all(map(compact, self.functions.values())))
        mode = read_scaling_mode(s)
        scaling = self.scaling(mode)
        short = self.networks("short", "weights", self.given.get("nodes"), self.generation == 4)
        charge: dict[str, Network] = {}
        if self.generation > 2:
            charge = self.networks("electrostatic", "weightse", self.given.get("nodes_charge"), False)
        energies = s.per_element("atom_energy", "the energy of the free atom")
        widths = s.per_element("fixed_gausswidth", "the width") if self.generation > 2 else {}
        hardness = self.hardness() if self.generation == 4 else {}
        try:
            models = [
                ElementModel(
                    functions=self.functions[e],
                    scaling=scaling[k],
                    short=short[e],
                    charge=charge.get(e),
                    hardness=hardness.get(e, 0.0),
                    width=widths.get(e, 0.0),
                    energy=energies.get(e, 0.0),
                )
                for k, e in enumerate(s.elements)
            ]
            return HdnnpParams(
                elements=s.elements,
                models=tuple(models),
                generation=self.generation,
                cutoff_type=cutoff_type,
                cutoff_alpha=alpha,
                scaling=mode,
                smin=s.number("scale_min_short", 0.0),
                smax=s.number("scale_max_short", 1.0),
                **read_normalisation(s),
                electrostatics=read_electrostatics(s) if self.generation > 2 else None,
                length_unit=unit_length,
                energy_unit=unit_energy,
                name=f"hdnnp:{self.folder.resolve().name}",
                facts={"files": self.files},
            )
        except OptionError as error:
            raise PotentialFileError(s.path, None, str(error), "a consistent potential") from error

    def scaling(self, mode: str) -> list[np.ndarray]:
        """Ranges of the functions; without scaling.data zeros, where nothing is scaled."""
        symbols, counts = self.settings.elements, [len(f) for f in self.functions.values()]
        if mode == "none" and find(self.folder, "scaling.data") is None:
            return [np.zeros((k, 4)) for k in counts]
        expected = "the ranges of the symmetry functions, which training or nnp-scaling writes"
        file = self.open("scaling.data", expected)
        tables = read_scaling(file, symbols, counts, mode == "sigma")
        check_ranges(file, tables, symbols, mode)
        if self.generation == 3 and find(self.folder, "scalinge.data") is not None:
            other = self.open("scalinge.data", expected)
            charges = read_scaling(other, symbols, counts, mode == "sigma")
            if any(not np.array_equal(a[:, :3], b[:, :3]) for a, b in zip(tables, charges, strict=True)):
                what = "the ranges differ from those of scaling.data"
                raise PotentialFileError(other.path, None, what, "the same functions and ranges for both networks")
        return tables

    def networks(self, net: str, stem: str, nodes: tuple[int, ...] | None, charged: bool) -> dict[str, Network]:
        """The network of each element, whose weights must be as many as its topology has."""
        topologies = read_topologies(self.settings, net, nodes)
        what = "short-range network" if net == "short" else "charge network"
        flat: dict[str, tuple[DataFile, np.ndarray]] = {}
        for e in self.settings.elements:
            hint = ""
            if net == "short" and find(self.folder, f"weightse.{number(e):03d}.data") is not None:
                hint = "; a folder with weightse files alone is one whose training has not come to its end"
            file = self.open(f"{stem}.{number(e):03d}.data", f"the weights of the {what} of {e}{hint}")
            flat[e] = (file, read_weights(file))
        sizes = {e: (len(self.functions[e]) + charged, len(values)) for e, (_, values) in flat.items()}
        for e, (file, values) in flat.items():
            if len(values) != topologies[e].count(sizes[e][0]):
                option = "nodes" if net == "short" else "nodes_charge"
                raise _misfit(file, e, topologies[e], sizes, option, charged)
        normalize = self.settings.has("normalize_nodes")
        return {
            e: Network.from_flat(values, sizes[e][0], topologies[e].nodes, topologies[e].activations, normalize)
            for e, (_, values) in flat.items()
        }

    def hardness(self) -> dict[str, float]:
        what = "the atomic hardness"
        return {
            e: read_number(self.open(f"hardness.{number(e):03d}.data", f"{what} of {e}"), what)
            for e in self.settings.elements
        }


def _misfit(
    file: DataFile, symbol: str, topology: Topology, sizes: dict[str, tuple[int, int]], option: str, charged: bool
) -> PotentialFileError:
    """The error of a file whose numbers are not as many as input.nn says, with the layers that would fit."""
    inputs, found = sizes[symbol]
    layers = len(topology.hidden)
    fits = fitting(list(sizes.values()), layers) or fitting([sizes[symbol]], layers)
    what = f"holds {found} numbers, but the network of {symbol} in input.nn, {topology.text(inputs)}, has "
    what += f"{topology.count(inputs)}"
    if charged and count_weights(inputs - 1, topology.hidden) == found:
        what += f" (without the charge as an input it has {found}: a network of generation 2?)"
    expected = f"{topology.count(inputs)} numbers"
    if fits:
        shown = " or ".join(f'"{" ".join(map(str, h))}"' for h in fits[:5])
        call = f'get_calculator("hdnnp", ..., {option}="{" ".join(map(str, fits[0]))}")'
        expected += f"; hidden layers that fit the weights files are {shown}: if input.nn is wrong, say so by {call}"
    return PotentialFileError(file.path, None, what, expected)


def write_folder(params: HdnnpParams, path: str | Path) -> list[Path]:
    """Write all files of a potential; see `write_folder` of folder_write."""
    from .folder_write import write

    return write(params, path)
