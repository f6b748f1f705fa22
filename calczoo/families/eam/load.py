"""From a request to EamParams, and from those to a model."""

from __future__ import annotations

from ...compose import device_of
from ...core.errors import OptionError, PotentialFileError, SpecError
from ...core.model import Model
from ...core.threads import thread_count
from ...files.text import find_file, sha256
from ...registry import ModelRequest
from . import FAMILY
from .formats import read_file
from .params import EamParams, Funcfl, TableError, combine_funcfl

_EXPECTED = "a setfl or funcfl file, such as Cu_mishin1.eam.alloy, Fe_mm.eam.fs, Ni.adp or Cu_u3.eam"


def read(request: ModelRequest) -> EamParams:
    """`eam:FILE`, or model=("Cu_u3.eam", "Ni_u3.eam") for several funcfl files; `elements` picks a subset and order.

    Raises SpecError without a model, OptionError for elements the potential lacks, PotentialFileError.
    """
    request.check_options(FAMILY.options)
    if request.args:
        raise OptionError(f"eam takes no arguments in parentheses, but got {request.args}")
    if request.model is None or request.model == ():
        raise SpecError(f"eam needs a model: {_EXPECTED}")
    names = request.model if isinstance(request.model, tuple) else (request.model,)
    paths = [find_file(name, _EXPECTED) for name in names]
    style = request.options.get("style")
    parts = [read_file(path, style) for path in paths]
    if isinstance(parts[0], EamParams) and len(parts) == 1:
        return parts[0].select(request.elements)
    sources = []
    for path, part in zip(paths, parts, strict=True):
        if not isinstance(part, Funcfl):
            raise PotentialFileError(path, None, "is a setfl file", "funcfl files only, when several are given")
        sources.append(part)
    files = {path.name: sha256(path) for path in paths}
    try:
        return combine_funcfl(tuple(sources), ",".join(path.name for path in paths), files).select(request.elements)
    except TableError as error:
        expected = "tables that define a potential"
        raise PotentialFileError(", ".join(map(str, paths)), None, str(error), expected) from error


def build(params: EamParams, request: ModelRequest) -> Model:
    """Model of the asked backend ("auto" is warp), device and dtype."""
    import torch

    device, dtype = device_of(request.device), getattr(torch, request.dtype)
    if request.backend == "torch":
        from .model import EamTorch

        return EamTorch(params, device, dtype)
    if params.style == "adp":
        from .angular import AdpWarp as Fast
    else:
        from .kernels import EamWarp as Fast
    return Fast(params, device, dtype, thread_count(request.threads))
