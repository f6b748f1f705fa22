"""From a request to EwaldParams, and from those to a model."""

from __future__ import annotations

from ...compose import device_of
from ...core.elements import is_element
from ...core.errors import OptionError
from ...core.model import Model
from ...core.threads import thread_count
from ...registry import ModelRequest
from .params import EwaldParams


def read(request: ModelRequest) -> EwaldParams:
    """`ewald(Na=1, Cl=-1, accuracy=1e-10)`, or `ewald()` for the atoms' initial charges.

    Raises OptionError.
    """
    if request.model is not None or request.args:
        raise OptionError("ewald: takes charges of elements and options by name only, as in 'ewald(Na=1, Cl=-1)'")
    charges = {key: value for key, value in request.options.items() if is_element(key)}
    rest = {key: value for key, value in request.options.items() if key not in charges}
    unknown = [key for key in rest if key not in ("accuracy", "method")]
    if unknown:
        raise OptionError(
            f"ewald has no option '{unknown[0]}' (its options: accuracy, method, and charges of elements such as Na=1)"
        )
    return EwaldParams(charges or None, request.elements, **rest)


def build(params: EwaldParams, request: ModelRequest) -> Model:
    """Model of the asked backend, device and dtype."""
    import torch

    from .model import EwaldTorch, EwaldWarp

    kind = EwaldTorch if request.backend == "torch" else EwaldWarp
    return kind(params, device_of(request.device), getattr(torch, request.dtype), thread_count(request.threads))
