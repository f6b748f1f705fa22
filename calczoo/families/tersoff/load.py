"""From a request to TersoffParams, and from those to a model."""

from __future__ import annotations

from ...compose import device_of
from ...core.errors import OptionError
from ...core.model import Model
from ...core.threads import thread_count
from ...files.lammps import parse_labels
from ...registry import ModelRequest
from .formats import read_tersoff
from .params import TersoffParams


def read(request: ModelRequest) -> TersoffParams:
    """`tersoff:FILE`; `elements` picks a subset of the file's, option `labels` names them as the file does.

    Raises OptionError, PotentialFileError.
    """
    request.check_options(("labels",))
    if request.args or request.model is None or isinstance(request.model, tuple):
        raise OptionError("tersoff: takes one file and nothing else, as in 'tersoff:Si.tersoff'")
    labels = parse_labels(request.options.get("labels"))
    return read_tersoff(request.model, request.elements, labels)


def build(params: TersoffParams, request: ModelRequest) -> Model:
    """Model of the asked backend, device and dtype."""
    import torch

    device, dtype = device_of(request.device), getattr(torch, request.dtype)
    if request.backend == "torch":
        from .model import TersoffTorch

        return TersoffTorch(params, device, dtype)
    from .kernels import TersoffWarp

    return TersoffWarp(params, device, dtype, thread_count(request.threads))
