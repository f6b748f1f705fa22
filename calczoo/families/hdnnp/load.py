"""From a request to parameters (bundled fits, folders, committees of folders), and from those to a model."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...committee import committee_card
from ...compose import device_of
from ...core.errors import OptionError, PotentialFileError, SpecError
from ...core.model import Model
from ...core.threads import thread_count
from ...files.text import find_file
from ...registry import Committee, Composite, ModelRequest, card_of
from . import FAMILY, OPTIONS
from .formats import INPUT, read_folder
from .params import HdnnpParams
from .repulsion import with_repulsion

MODELS = Path(__file__).parent / "models"
MEMBER = re.compile(r"member_?(\d+)")
"""Folders of a committee's members, as its training names them."""
QEQ = ("auto", "direct", "cg")
TOTALS = ("free", "scaled")
_EXPECTED = "a bundled name, or a folder with input.nn, scaling.data and weights.*.data of RuNNer or n2p2"
_FILES = ("length_unit", "energy_unit", "nodes", "nodes_charge", "generation")
"""Options of reading the files; the others are of the model."""
_CHARGED = {"accuracy": (3, 4), "total_charge": (3,), "qeq": (4,)}
"""Options that belong to some generations only."""


def read(request: ModelRequest) -> HdnnpParams | Composite | Committee:
    """Parameters of a bundled fit or of the files in a folder, with the ZBL term that its card may tell; of several
    folders, or of a folder with member_0, member_1 and so on, those of a committee.

    Raises SpecError without a model, OptionError (units, options, elements), PotentialFileError.
    """
    many = [with_repulsion(params) for params in read_networks(request)]
    if len(many) == 1:
        return many[0]
    one_folder = not isinstance(request.model, tuple)
    name = f"hdnnp:{Path(str(request.model)).name}" if one_folder else ""
    return Committee(tuple(many), committee_card([card_of(p) for p in many], name))


def read_networks(request: ModelRequest) -> list[HdnnpParams]:
    """What the files hold, one potential or the members of a committee. Raises as `read`."""
    request.check_options(OPTIONS)
    if request.args:
        raise OptionError(f"hdnnp takes no arguments in parentheses, but got {request.args}; options are named")
    if request.model is None:
        has = f"a bundled name ({', '.join(FAMILY.bundled)}) or " if FAMILY.bundled else ""
        raise SpecError(
            f"hdnnp needs a model: {has}a folder, as in get_calculator('hdnnp', model='folder', length_unit='Bohr', "
            "energy_unit='Ha')"
        )
    folders = list(request.model) if isinstance(request.model, tuple) else [request.model]
    found = [f for name in folders for f in members(name)]
    many = [_one(folder, request) for folder in found]
    if isinstance(request.model, tuple) and len(many) == 1:
        raise SpecError(f"one folder, {request.model[0]}, is no committee; give it alone, or at least two")
    for params in many:
        check_model_options(params, request.options)
    return many


def _one(folder: Path, request: ModelRequest) -> HdnnpParams:
    given = {k: v for k, v in request.options.items() if k in _FILES and v is not None}
    if given and folder.parent == MODELS:
        raise OptionError(
            f"{next(iter(given))} is of files without a card, and '{folder.name}' is a bundled fit: leave it out, or "
            f"write './{folder.name}' for a folder of that name"
        )
    for key in ("nodes", "nodes_charge"):  # 10-10, as messages write topologies
        if isinstance(given.get(key), str):
            given[key] = given[key].replace("-", " ")
    params = read_folder(folder, **given)
    return params if request.elements is None else params.restricted(request.elements)


def members(model: str | Path) -> list[Path]:
    """The folder of a potential, given it, its input.nn or a bundled name; those of the members of a committee.

    A Path is never a bundled name. One that is also the name of a folder here is told, with a warning."""
    if isinstance(model, str) and model in FAMILY.bundled:
        if _holds(Path(model)):
            warnings.warn(f"hdnnp:{model} is the bundled fit; './{model}' is the folder of that name", stacklevel=2)
        return [MODELS / model]
    folder = _folder(model)
    if _holds(folder):
        return [folder]
    inside = [p for p in _subfolders(folder) if _holds(p)]
    numbered = sorted((int(m[1]), p) for p in inside if (m := MEMBER.fullmatch(p.name)))
    if len(numbered) > 1:
        return [p for _, p in numbered]
    if inside:
        shown = ", ".join(f"'{p}'" for p in inside[:3]) + (", ..." if len(inside) > 3 else "")
        way = f"one of the folders in it that do: {shown}" + (
            "; several, as model=[...], make a committee" if len(inside) > 1 else ""
        )
        raise PotentialFileError(folder / INPUT, None, "does not exist", way)
    raise PotentialFileError(folder / INPUT, None, "does not exist", _EXPECTED)


def _folder(model: str | Path) -> Path:
    """A folder that exists, given it or one of the files of a potential in it."""
    try:
        folder = Path(model).expanduser()
        if folder.is_dir():
            return folder
    except (OSError, ValueError, RuntimeError, TypeError):  # no usable name, which find_file says
        pass
    file = find_file(model, _EXPECTED)
    if file.name.startswith(INPUT):
        return file.parent
    if _holds(file.parent):
        raise PotentialFileError(file, None, "is one file of a potential", f"the whole folder, '{file.parent}'")
    raise PotentialFileError(file, None, "is a file", _EXPECTED)


def _holds(folder: Path) -> bool:
    return any((folder / (INPUT + s)).is_file() for s in ("", ".xz", ".gz"))


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError as error:
        raise PotentialFileError(folder, None, f"cannot be read ({error.strerror})", _EXPECTED) from error


# -- options of the model ------------------------------------------------------------------------------------


def check_model_options(params: HdnnpParams, options: Mapping[str, Any]) -> None:
    """Raise OptionError for a value that is not allowed, and for an option that this generation does not have."""
    for name, generations in _CHARGED.items():
        if options.get(name) is not None and params.generation not in generations:
            raise OptionError(
                f"{name} belongs to generation {' and '.join(map(str, generations))}, and {params.name} is of "
                f"generation {params.generation}"
            )
    for name, allowed in (("qeq", QEQ), ("total_charge", TOTALS), ("extrapolation", ("warn", "ignore"))):
        if (value := options.get(name)) is not None and value not in allowed:
            raise OptionError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
    accuracy = options.get("accuracy")
    number = isinstance(accuracy, (int, float)) and not isinstance(accuracy, bool)
    if accuracy is not None and not (number and 1e-15 <= accuracy <= 1e-3):
        raise OptionError(f"accuracy is {accuracy!r}; it must be a number between 1e-15 and 1e-3")


def build(params: HdnnpParams, request: ModelRequest) -> Model:
    """Model of the asked backend ("auto" is warp), device and dtype."""
    import torch

    device, dtype, threads = device_of(request.device), getattr(torch, request.dtype), thread_count(request.threads)
    backend = "torch" if request.backend == "torch" else "warp"
    model: Any
    if params.generation > 2:
        from .charged import HdnnpCharged

        keys = {"accuracy": "accuracy", "qeq": "qeq", "total_charge": "total"}
        given = {to: request.options[k] for k, to in keys.items() if request.options.get(k) is not None}
        model = HdnnpCharged(params, device, dtype, backend, threads, **given)
    elif backend == "torch":
        from .model import HdnnpTorch

        model = HdnnpTorch(params, device, dtype)
    else:
        from .kernels import HdnnpWarp

        model = HdnnpWarp(params, device, dtype, threads)
    check = getattr(model, "extrapolation", None)
    if check is not None:
        check.enabled = request.options.get("extrapolation") != "ignore"
    return model

