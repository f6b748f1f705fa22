"""Networks of matgl from their folders, or with random weights, without a trace in the process.

The package's own loader imports and calls whatever module and class the files name. Here both files of a folder are
read as data only (torch.load with weights_only=True, arrays of numpy allowed), and the network must be one of the
architectures below: a folder from anywhere can do no more than fail to load, so no trust is needed.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from .models import FILES, RANDOM

CONVENTION = {"M3GNet": 2, "TensorNet": 2, "QET": 1, "CHGNet": 0, "SO3Net": 0}
"""Architecture -> first version of it whose weights are valid. matgl 3 corrected the direction of messages; weights of
before load without an error and give other numbers than they were trained to give."""
_GLOBALS = ("float_th", "float_np", "int_th", "int_np")


@contextmanager
def plain() -> Iterator[None]:
    """matgl's own global types, and torch's default dtype, as they are after import: whatever the user has set, the
    same network is built; afterwards they are the user's again."""
    import matgl
    import numpy as np

    dtype, before = torch.get_default_dtype(), {name: getattr(matgl, name) for name in _GLOBALS}
    try:
        torch.set_default_dtype(torch.float32)
        for name, value in zip(_GLOBALS, (torch.float32, np.float32, torch.int32, np.int32), strict=True):
            setattr(matgl, name, value)
        yield
    finally:
        torch.set_default_dtype(dtype)
        for name, value in before.items():
            setattr(matgl, name, value)


def imported() -> None:
    """Import matgl. Its import adds classes to those that torch.load trusts, makes a folder of its own in the user's
    cache, starts Warp where that is installed, and puts a function of Python in the place of torch.index_select (by way
    of torch_geometric), with which TorchScript of others no longer compiles. All is undone."""
    trusted, select = torch.serialization.get_safe_globals(), torch.index_select
    folder = Path.home() / ".cache" / "matgl"
    there = folder.exists()
    try:
        with _quiet():
            import matgl.apps.pes
            import matgl.models  # noqa: F401
    finally:
        torch.index_select = select
        # only what matgl adds: what torch itself adds when parts of it are first imported must stay
        now = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals([g for g in now if g in trusted or g not in _numpy_kinds()])
        if not there:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Warp prints when it starts."""
    if importlib.util.find_spec("warp") is None:
        yield
        return
    import warp

    before = getattr(warp.config, "log_level", None)
    try:
        if before is not None:
            warp.config.log_level = warp.LOG_ERROR
        yield
    finally:
        if before is not None:
            warp.config.log_level = before


def read_header(folder: Path) -> dict[str, Any]:
    """model.json of a folder: {"architecture", "version", "arguments" of the network, "options" of the potential}.

    Raises FileNotFoundError, ValueError for what is no interatomic potential of this package.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; a model of matgl is a folder of {', '.join(FILES)}")
    try:
        data = json.loads((folder / "model.json").read_text())
        kind, options = data["@class"], dict(data["kwargs"])
        inner = options.pop("model", None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / 'model.json'} is not matgl's: {type(error).__name__}: {error}") from error
    if kind != "Potential":
        raise ValueError(f"{folder} holds a model of class {kind}, not an interatomic potential (class Potential)")
    if not isinstance(inner, dict) or "@class" not in inner:
        raise ValueError(f"{folder / 'model.json'} does not tell the network of the potential")
    header = {
        "architecture": str(inner["@class"]), "version": inner.get("@model_version", 0),
        "arguments": dict(inner.get("init_args") or {}), "options": options,
    }  # fmt: skip
    _check(header, str(folder))
    return header


def _check(header: dict[str, Any], where: str) -> None:
    """Only what adds energies of atoms, with the conventions of today."""
    name, arguments = header["architecture"], header["arguments"]
    if name not in CONVENTION:
        raise ValueError(f"{where} holds a network of class {name}; known are {', '.join(CONVENTION)}")
    if not isinstance(header["version"], int) or header["version"] < CONVENTION[name]:
        raise ValueError(
            f"{where} holds a {name} of version {header['version']}, from before matgl 3, which corrected the "
            f"direction of messages: its weights would load but give wrong numbers. Use weights of version "
            f"{CONVENTION[name]} or later"
        )
    wrong = [
        text
        for bad, text in (
            (arguments.get("is_intensive", name in ("M3GNet", "TensorNet", "SO3Net")), "is intensive"),
            (arguments.get("include_state"), "needs attributes of the state"),
            (arguments.get("ntargets", 1) != 1 or arguments.get("num_targets", 1) != 1, "has several targets"),
            (arguments.get("target_property", "atomwise") != "atomwise", "predicts something else than energies"),
            (arguments.get("readout_field", "atom_feat") != "atom_feat", "reads energies from bonds"),
            (arguments.get("pooling_operation", "sum") != "sum", "takes the mean over atoms"),
            (header["options"].get("calc_repuls"), "adds nuclear repulsion, which matgl 4.1.2 itself cannot evaluate"),
        )
        if bad and not (name == "QET" and text == "is intensive")
    ]
    if wrong:
        raise ValueError(f"{where} cannot be used: its {name} {'; '.join(wrong)}")


def load(folder: Path, warp: bool = False) -> Any:
    """matgl's Potential of a folder, in float32 on the CPU. Raises FileNotFoundError, ValueError."""
    told = read_header(folder)
    imported()
    arguments = _data(folder / "model.pt")
    inner = arguments.pop("model", None)
    if not isinstance(inner, dict) or not isinstance(inner.get("init_args"), dict):
        raise ValueError(f"{folder / 'model.pt'} does not tell the network of the potential")
    header = {
        "architecture": inner.get("@class"), "version": inner.get("@model_version", 0),
        "arguments": inner["init_args"], "options": arguments,
    }  # fmt: skip
    _check(header, str(folder / "model.pt"))
    for key in ("element_types", "cutoff"):
        a, b = told["arguments"].get(key), header["arguments"].get(key)
        if header["architecture"] != told["architecture"] or (list(a or ()) if key[0] == "e" else a) != (
            list(b or ()) if key[0] == "e" else b
        ):
            raise ValueError(f"model.json and model.pt of {folder} are of different models")
    options = {k: v for k, v in arguments.items() if not k.startswith("@")}
    potential = _build(header["architecture"], dict(inner["init_args"]), options, warp)
    _fill(potential, _data(folder / "state.pt"), folder)
    return potential


def random(name: str, elements: list[str], cutoff: float, seed: int, warp: bool = False) -> Any:
    """matgl's Potential of an architecture with random weights, in float32 on the CPU: the same for the same seed."""
    imported()
    recipe = RANDOM[name]
    arguments = {**recipe.arguments, "element_types": tuple(elements), "cutoff": cutoff}
    if recipe.architecture == "M3GNet":
        arguments["threebody_cutoff"] = min(4.0, cutoff)
    if recipe.architecture == "CHGNet":
        arguments["threebody_cutoff"] = min(3.0, cutoff)
    with torch.random.fork_rng(devices=[]), plain():
        torch.manual_seed(seed)
        return _build(recipe.architecture, arguments, dict(recipe.options), warp)


def _build(architecture: str, arguments: dict[str, Any], options: dict[str, Any], warp: bool) -> Any:
    import matgl.models
    from matgl.apps.pes import Potential

    if architecture in ("TensorNet", "QET"):
        arguments["use_warp"] = warp  # the package takes Warp's kernels wherever it can be imported, on CPUs too
        arguments.pop("dtype", None)
    elif warp:
        raise ValueError(f"matgl has no Warp kernels for {architecture}; leave out warp=true")
    options |= {"compile_model": False, "debug_mode": False, "calc_hessian": False}
    with plain():
        network = getattr(matgl.models, architecture)(**arguments)
        return Potential(model=network, **options)


def _data(path: Path) -> dict[str, Any]:
    """Of a file of torch.save, without running anything of it."""
    try:
        with torch.serialization.safe_globals(_numpy_kinds()):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler makes of a wrong file
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} cannot be read as data: {type(error).__name__}: {first}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds {type(data).__name__}; expected a dictionary")
    return dict(data)


def _numpy_kinds() -> list[Any]:
    """What pickled arrays of numpy are made of."""
    import numpy as np
    from numpy._core.multiarray import _reconstruct

    kinds = [np.dtypes.Float32DType, np.dtypes.Float64DType, np.dtypes.Int32DType, np.dtypes.Int64DType]
    return [np.ndarray, np.dtype, _reconstruct, *kinds]


def _fill(potential: Any, state: dict[str, Any], folder: Path) -> None:
    """Put weights into a network; every parameter must have one."""
    known = set(potential.state_dict())
    missing, unexpected = potential.load_state_dict(_as_layout(state, known), strict=False)
    parameters = {name for name, _ in potential.named_parameters()}
    if lost := sorted(parameters & set(missing)):
        raise ValueError(f"{folder / 'state.pt'} lacks {len(lost)} weights of the network, such as {lost[0]}")
    if stale := sorted(k for k in unexpected if not k.endswith(".onehot")):
        warnings.warn(f"{folder / 'state.pt'}: {len(stale)} unknown entries are not used, such as {stale[0]}",
                      stacklevel=2)  # fmt: skip


def _as_layout(state: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """Weights of three projections, which matgl's Warp kernels keep as one, in the form that the network has. The
    package itself cannot read the one into the other, which is what it writes wherever Warp is installed."""
    out = dict(state)
    for key in state:
        head, dot, tail = key.rpartition(".distance_proj.")
        if dot and key not in known:
            for i, part in enumerate(out.pop(key).chunk(3)):
                out[f"{head}.distance_proj{i + 1}.{tail}"] = part
    return out
