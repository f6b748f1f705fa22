"""From a request to parameters (bundled sets, files, folders), and from those to a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...compose import device_of
from ...core.card import Card
from ...core.errors import OptionError, PotentialFileError, SpecError
from ...core.model import Model
from ...core.threads import thread_count
from ...files.cards import is_card, read_card
from ...files.text import find_file
from ...registry import Composite, ModelRequest
from . import DEFAULTS, FAMILY
from .formats import choose, find_companion, read_mliap, read_snap, refuse_network
from .include import read_include
from .params import SnapParams

MODELS = Path(__file__).parent / "models"
_EXPECTED = "a bundled name, a folder, or a file .snapcoeff, .snapparam, .snap, .mliap, .mliap.model, .mliap.descriptor"


def read(request: ModelRequest) -> SnapParams | Composite:
    """Parameters of a bundled model or of LAMMPS' files.

    Raises SpecError without a model, OptionError for elements the potential lacks, PotentialFileError.
    """
    request.check_options(())
    if request.args:
        raise OptionError(f"snap takes no arguments in parentheses, but got {request.args}")
    if request.model is None:
        raise SpecError(f"snap needs a model: a bundled name ({', '.join(FAMILY.bundled)}) or a file, as 'snap:W.snap'")
    if isinstance(request.model, tuple):
        params: SnapParams | Composite = _two_files(request.model)
    elif str(request.model) in FAMILY.bundled:
        return _restricted(read_bundled(str(request.model)), request.elements)
    else:
        params = read_file(_resolve(request.model), request.elements)
    return _restricted(params, request.elements)


def read_bundled(name: str) -> SnapParams | Composite:
    """A model that this project has fitted, with the facts of its card file."""
    stem = DEFAULTS.get(name, name)
    return with_card(read_include(MODELS / f"{stem}.snap", None), MODELS / f"{stem}.json", name)


def with_card(params: SnapParams | Composite, path: Path, name: str = "") -> SnapParams | Composite:
    """The facts of a card file take the place of those read from the parameter files; elements, cutoff, outputs and
    checksums stay those of the files."""
    card = read_card(path)
    own = params.card() if isinstance(params, SnapParams) else params.card
    card = replace(
        card,
        name=f"snap:{name}" if name else own.name,
        elements=own.elements,
        cutoff=own.cutoff,
        outputs=own.outputs,
        files=own.files,
        extra={**own.extra, **card.extra},
    )
    if isinstance(params, Composite):
        return replace(params, card=card)
    drop = ("name", "family", "elements", "cutoff", "outputs")
    facts = {k: getattr(card, k) for k in Card.__dataclass_fields__ if k not in drop}
    return replace(params, name=card.name, facts=facts)


def _resolve(model: str | Path) -> Path:
    """An existing file; a folder stands for the only potential in it."""
    path = Path(model).expanduser()
    try:
        folder = path.is_dir()
    except (OSError, ValueError):  # a name that no file system takes; find_file says so
        folder = False
    if not folder:
        return find_file(path, _EXPECTED)
    for suffix in (".snap", ".mliap", ".snapcoeff", ".mliap.model"):
        found = sorted(path.glob(f"*{suffix}"))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(p.name for p in found[:8])
            raise PotentialFileError(path, None, f"holds {len(found)} {suffix} files ({names})", "the name of one")
    raise PotentialFileError(path, None, "is a folder without a SNAP potential", _EXPECTED)


def read_file(path: Path, elements: tuple[str, ...] | None = None) -> SnapParams | Composite:
    """Parameters from one file, whose companions are looked for beside it."""
    name = path.name
    if name.endswith(".snapcoeff"):
        return read_snap(path, find_companion(path, ".snapparam", ".snapcoeff"))
    if name.endswith(".snapparam"):
        return read_snap(find_companion(path, ".snapcoeff", ".snapparam"), path)
    if name.endswith(".mliap.model"):
        refuse_network(path)
        return read_mliap(path, find_companion(path, ".mliap.descriptor", ".mliap.model"))
    if name.endswith(".mliap.descriptor"):
        return read_mliap(find_companion(path, ".mliap.model", ".mliap.descriptor"), path)
    if name.endswith((".snap", ".mliap")):
        params = read_include(path, elements)
        card = path.with_suffix(".json")
        own = is_card(card) and read_card(card).family.startswith(FAMILY.name)  # not that of another family's fit
        return with_card(params, card) if own else params
    raise PotentialFileError(path, None, f"has the unknown suffix '{path.suffix}'", _EXPECTED)


def _two_files(model: tuple[str | Path, ...]) -> SnapParams:
    paths = [find_file(p, _EXPECTED) for p in model]
    for first, second in ((".snapcoeff", ".snapparam"), (".mliap.model", ".mliap.descriptor")):
        by = {s: p for p in paths for s in (first, second) if p.name.endswith(s)}
        if len(paths) == 2 and len(by) == 2:
            return (read_snap if first == ".snapcoeff" else read_mliap)(by[first], by[second])
    names = ", ".join(p.name for p in paths)
    raise PotentialFileError(paths[0], None, f"got the files {names}", "a .snapcoeff with its .snapparam")


def _restricted(params: SnapParams | Composite, elements: tuple[str, ...] | None) -> Any:
    """Only the chosen elements, all of which must be there."""
    if elements is None:
        return params
    whole = params.elements if isinstance(params, SnapParams) else params.card.elements
    if missing := [e for e in elements if e not in whole]:
        name = params.name if isinstance(params, SnapParams) else params.card.name
        raise OptionError(f"{name} has no {', '.join(missing)} (its elements: {', '.join(whole)})")
    if isinstance(params, SnapParams):
        return choose(params, elements)
    first = choose(params.terms[0][1], elements)
    card = replace(params.card, elements=first.elements)
    return Composite((("snap", first), *params.terms[1:]), card)


def build(params: SnapParams, request: ModelRequest) -> Model:
    """Model of the asked backend ("auto" is warp), device and dtype."""
    import torch

    device, dtype = device_of(request.device), getattr(torch, request.dtype)
    if request.backend == "torch":
        from .model import SnapTorch

        return SnapTorch(params, device, dtype)
    from .kernels import SnapWarp

    return SnapWarp(params, device, dtype, thread_count(request.threads))
