"""Writes a potential as a folder that n2p2 reads and that read_folder gives back bit by bit.

n2p2 knows networks that differ between elements in their nodes only; other differences are written with RuNNer's
keywords. Ewald keywords are those of the file that was read.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...core.elements import number
from ...core.errors import OptionError
from ...files.cards import write_card
from ...files.compressed import SUFFIXES
from ...files.text import write_atomic
from . import units
from .data_files import format_number, format_scaling, format_weights
from .formats import CARD, INPUT
from .function_lines import format_function
from .order import is_sorted
from .params import Electrostatics, HdnnpParams, Network


def write(params: HdnnpParams, path: str | Path) -> list[Path]:
    """Write input.nn, scaling.data, weights (weightse, hardness) and a card with the units into a folder, which is made
    where it is not there. Every file is written as a whole, input.nn after the numbers and the card last. Returns the
    files.

    Raises OptionError for functions that are not in the order of the format, or a file where the folder should be.
    """
    folder = Path(path).expanduser()
    texts = format_folder(params)
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file; a potential of this kind is a folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name in reversed(texts):  # of an older potential: without its input.nn nothing reads a mixture of both
        for suffix in ("", *SUFFIXES):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    out = [write_atomic(folder / name, text) for name, text in texts.items()]
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    card = params.card()
    told = {
        "length_unit": units.length_name(params.length_unit),
        "energy_unit": units.energy_name(params.energy_unit),
    }
    out.append(write_card(replace(card, files=digests, extra={**card.extra, **told}), folder / CARD))
    return out


def remove(folder: Path) -> None:
    """Delete the files of a potential, input.nn first, and the folder where nothing else is in it."""
    names = (INPUT, CARD, "scaling.data", "weights.*.data", "weightse.*.data", "hardness.*.data")
    for name in names:
        for path in [p for suffix in ("", *SUFFIXES) for p in folder.glob(f"{name}{suffix}")]:
            path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def format_folder(params: HdnnpParams) -> dict[str, str]:
    """{file name: text} of all files but the card, input.nn last."""
    for symbol, model in zip(params.elements, params.models, strict=True):
        if not is_sorted(model.functions, params.elements):
            raise OptionError(f"the symmetry functions of {symbol} are not in order; order.sort_functions sorts them")
    texts = {"scaling.data": format_scaling([m.scaling for m in params.models])}
    for symbol, model in zip(params.elements, params.models, strict=True):
        z = f"{number(symbol):03d}"
        texts[f"weights.{z}.data"] = format_weights(model.short)
        if model.charge is not None:
            texts[f"weightse.{z}.data"] = format_weights(model.charge)
        if params.generation == 4:
            texts[f"hardness.{z}.data"] = format_number(model.hardness)
    texts[INPUT] = format_input(params)
    return texts


def format_input(params: HdnnpParams) -> str:
    """Text of input.nn."""
    p = params
    lines = [f"# High-dimensional neural network potential {p.name}, generation {p.generation}"]
    length, energy = units.length_name(p.length_unit), units.energy_name(p.energy_unit)
    lines += [f"# Lengths in {length if isinstance(length, str) else f'{length!r} A'}, energies in "
              f"{energy if isinstance(energy, str) else f'{energy!r} eV'}"]  # fmt: skip
    if (p.mean_energy, p.conv_energy, p.conv_length) != (0.0, 1.0, 1.0):
        lines += [f"{k} {getattr(p, k):.17g}" for k in ("mean_energy", "conv_energy", "conv_length")]
    if p.conv_charge != 1.0:
        lines.append(f"conv_charge {p.conv_charge:.17g}")
    lines += _generation(p)
    lines += [f"number_of_elements {len(p.elements)}", f"elements {' '.join(p.elements)}"]
    lines += [f"atom_energy {e} {m.energy!r}" for e, m in zip(p.elements, p.models, strict=True) if m.energy]
    lines.append(f"cutoff_type {p.cutoff_type} {p.cutoff_alpha!r}")
    lines += {
        "none": [],
        "scale": ["scale_symmetry_functions"],
        "center": ["center_symmetry_functions"],
        "scale+center": ["scale_symmetry_functions", "center_symmetry_functions"],
        "sigma": ["scale_symmetry_functions_sigma"],
    }[p.scaling]
    lines += [f"scale_min_short {p.smin!r}", f"scale_max_short {p.smax!r}"]
    lines += _networks(p, "short", [m.short for m in p.models])
    if p.generation > 2:
        lines += _networks(p, "electrostatic", [m.charge for m in p.models if m.charge is not None])
        lines += _electrostatics(p)
    for symbol, model in zip(p.elements, p.models, strict=True):
        lines += [format_function(symbol, f) for f in model.functions]
    return "\n".join(lines) + "\n"


def _generation(p: HdnnpParams) -> list[str]:
    """As n2p2 (4) and RuNNer (3) tell it."""
    if p.generation == 4:
        return ["nnp_generation 4", "use_short_forces"]
    return ["nnp_gen 3", "use_short_nn", "use_electrostatics", "electrostatic_type 1"] if p.generation == 3 else []


def _networks(p: HdnnpParams, net: str, networks: list[Network]) -> list[str]:
    """Common layers, and lines for the elements that have others."""
    if len({n.normalize_nodes for m in p.models for n in (m.short, m.charge) if n is not None}) > 1:
        raise OptionError("the networks differ in normalize_nodes, which is one for all in the format")
    for symbol, network in zip(p.elements, networks, strict=True):
        if network.activations[-1] != "l" or network.nodes[-1] != 1:
            raise OptionError(f"a network of {symbol} has no linear output of one number; the format knows no other")
    deepest = max(networks, key=lambda n: len(n.nodes))
    depth, letters = len(deepest.nodes) - 1, deepest.activations
    nodes = [max(n.nodes[k] for n in networks if len(n.nodes) - 1 > k) for k in range(depth)]
    lines = [f"global_hidden_layers_{net} {depth}"]
    lines += [f"global_nodes_{net} {' '.join(map(str, nodes))}"] if depth else []
    lines += [f"global_activation_{net} {' '.join(letters)}"]
    if net == "short" and networks[0].normalize_nodes:
        lines.append("normalize_nodes")
    for symbol, network in zip(p.elements, networks, strict=True):
        hidden = network.nodes[:-1]
        if len(hidden) != depth:
            lines.append(f"element_hidden_layers_{net} {symbol} {len(hidden)}")
        lines += [f"element_nodes_{net} {symbol} {k} {n}" for k, n in enumerate(hidden, 1) if n != nodes[k - 1]]
        lines += [
            f"element_activation_{net} {symbol} {k} {node} {own}"
            for k, (n, own) in enumerate(zip(hidden, network.activations, strict=False), 1)
            if own != letters[k - 1]
            for node in range(1, n + 1)
        ]
    return lines


def _electrostatics(p: HdnnpParams) -> list[str]:
    """Widths, screening, Coulomb constant and the keywords of Ewald sums."""
    if p.electrostatics is None:
        return []
    e = p.electrostatics
    pairs = zip(p.elements, p.models, strict=True)
    lines = [f"fixed_gausswidth {symbol} {m.width!r}" for symbol, m in pairs if m.width]
    lines += [f"{key} {value}".rstrip() for key, value in e.keywords if key != "four_pi_epsilon"]
    if (epsilon := _epsilon(e)) is not None:
        lines.append(f"four_pi_epsilon {epsilon}")
    if e.r_outer > 0:
        lines.append(f"screen_electrostatics {e.r_inner!r} {e.r_outer!r} {e.core}")
    return lines


def _epsilon(e: Electrostatics) -> str | None:
    """Text of four_pi_epsilon = 1 / coulomb: that of the file it came from where it still holds; None for none."""
    kept = dict(e.keywords).get("four_pi_epsilon")
    if kept is not None:
        # keywords of a potential that was made, not read from a file, may hold any text
        with suppress(ValueError, ZeroDivisionError):
            if 1.0 / float(kept) == e.coulomb:
                return kept
    if e.coulomb == 1.0:
        return None
    inverse = 1.0 / e.coulomb
    near = (inverse, math.nextafter(inverse, 0.0), math.nextafter(inverse, math.inf))
    return repr(next((x for x in near if 1.0 / x == e.coulomb), inverse))
