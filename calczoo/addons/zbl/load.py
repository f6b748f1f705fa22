"""From a request to ZblParams, and from those to a model."""

from __future__ import annotations

from ...compose import device_of
from ...core.errors import OptionError
from ...core.model import Model
from ...core.threads import thread_count
from ...registry import ModelRequest
from .formats import read_commands
from .params import ZblParams


def read(request: ModelRequest) -> ZblParams:
    """`zbl(inner, outer)`, or `zbl:FILE` with LAMMPS commands and `elements` as its type map.

    Raises OptionError, PotentialFileError.
    """
    request.check_options({"inner": "", "outer": ""})
    if request.model is not None:
        if request.args or request.options:
            raise OptionError("zbl: give either a file or the cutoffs, not both")
        if isinstance(request.model, tuple) or not request.elements:
            raise OptionError("zbl: a file of LAMMPS commands numbers its types; name them, as in elements=['W', 'Be']")
        return read_commands(request.model, request.elements)
    given = dict(zip(("inner", "outer"), request.args, strict=False))
    if len(request.args) > 2 or set(given) & set(request.options):
        raise OptionError(f"zbl: takes inner and outer once each, not {(*request.args, *request.options.items())}")
    given |= request.options
    if missing := [name for name in ("inner", "outer") if name not in given]:
        raise OptionError(f"zbl: {' and '.join(missing)} missing; write for example 'zbl(4.0, 4.8)' (A)")
    return ZblParams(given["inner"], given["outer"], elements=request.elements)


def build(params: ZblParams, request: ModelRequest) -> Model:
    """Model of the asked backend, device and dtype."""
    import torch

    device, dtype = device_of(request.device), getattr(torch, request.dtype)
    if request.backend == "torch":
        from .model import ZblTorch

        return ZblTorch(params, device, dtype)
    from .kernels import ZblWarp

    return ZblWarp(params, device, dtype, thread_count(request.threads))
