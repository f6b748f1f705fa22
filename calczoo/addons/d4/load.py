"""From a request to D4Params, and from those to a model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ...compose import device_of
from ...core.model import Model
from ...core.threads import thread_count
from ...dispersion.library import check_functional, interface
from ...dispersion.params import take_apart
from ...registry import ModelRequest
from .params import CUTOFFS, OWN, D4Params


def read(request: ModelRequest) -> D4Params:
    """`d4(pbe)`, `d4(pbe, atm=false, charge=1)`, or `d4(s8=0.959, a1=0.386, a2=4.807)`.

    Raises OptionError, UnsupportedElement, and BackendUnavailable where dftd4 is not installed.
    """
    asked = take_apart(request, OWN, ("atm", "variant", "charge", "force"))
    cutoffs = replace(CUTOFFS, **asked.cutoffs)
    params = D4Params(asked.functional, own=asked.own, cutoffs=cutoffs, elements=request.elements, **asked.rest)
    library = interface("dftd4")
    if params.functional is not None:
        make = partial(library.DampingParam, atm=params.atm)
        check_functional("d4", "dftd4", params.functional, lambda name: make(method=name))
    return params


def build(params: D4Params, request: ModelRequest) -> Model:
    """The model, whose numbers go to the asked device and dtype."""
    import torch

    from .model import D4

    return D4(params, device_of(request.device), getattr(torch, request.dtype), thread_count(request.threads))
