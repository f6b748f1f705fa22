"""From a request to D3Params, and from those to a model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ...compose import device_of
from ...core.errors import OptionError
from ...core.model import Model
from ...core.threads import thread_count
from ...dispersion.library import check_functional, interface, table
from ...dispersion.params import ELEMENTS, take_apart
from ...registry import ModelRequest
from . import tables
from .params import CUTOFFS, DAMPINGS, LAST, OWN, D3Params


def read(request: ModelRequest) -> D3Params:
    """`d3(pbe, damping=zero, atm=true)`, or `d3(s8=0.7875, a1=0.4289, a2=4.4407)`.

    Raises OptionError, UnsupportedElement, and BackendUnavailable where dftd3 is needed and not installed: it knows the
    functionals, so that nvalchemi does without it if parameters are given.
    """
    asked = take_apart(request, OWN, ("damping", "atm", "force", "engine", "tables"))
    cutoffs = replace(CUTOFFS, **asked.cutoffs)
    params = D3Params(asked.functional, own=asked.own, cutoffs=cutoffs, elements=request.elements, **asked.rest)
    if params.engine == "nvalchemi":
        if asked.cutoffs.get("cn", cutoffs.disp2) != cutoffs.disp2:
            raise OptionError("d3: engine=nvalchemi counts neighbours up to disp2, so that cn cannot differ from it")
        params = replace(params, cutoffs=replace(cutoffs, cn=cutoffs.disp2))
    if params.functional is not None:
        make = partial(getattr(interface("dftd3"), DAMPINGS[params.damping].cls), atm=params.atm)
        what = f"d3 with {params.damping} damping"
        check_functional(what, "dftd3", params.functional, lambda name: make(method=name))
    elif params.engine != "nvalchemi":
        interface("dftd3")
    return params


def build(params: D3Params, request: ModelRequest) -> Model:
    """The model, whose numbers go to the asked device and dtype.

    engine=auto is nvalchemi-toolkit-ops for single precision on CUDA, where it is installed with tables of C6 and can
    do what is asked for, and dftd3 in all other cases, double precision above all.
    """
    import torch

    device, dtype = device_of(request.device), getattr(torch, request.dtype)
    if params.engine == "auto" and device.type == "cuda" and dtype == torch.float32 and _fits(params):
        params = replace(params, engine="nvalchemi", cutoffs=replace(params.cutoffs, cn=params.cutoffs.disp2))
    if params.engine == "nvalchemi":
        from .nvalchemi import D3Nvalchemi

        return D3Nvalchemi(params, parameters(params), device, dtype)
    from .model import D3

    return D3(params, device, dtype, thread_count(request.threads))


def _fits(params: D3Params) -> bool:
    """Whether nvalchemi-toolkit-ops is there and can compute this."""
    from .nvalchemi import available

    named = params.functional is None or params.functional.lower() in table("dftd3").get("parameter", {})
    known = {*(params.elements or ())} <= {*ELEMENTS[: LAST["nvalchemi"]]}
    return not params.unfit() and known and named and available() and tables.available(params.tables)


def parameters(params: D3Params) -> dict[str, float]:
    """Parameters of the damping by name, those of a functional from the table that comes with dftd3.

    Raises OptionError for an alias, which that table does not list.
    """
    if params.functional is None:
        return params.values
    every = table("dftd3")
    found = every.get("parameter", {}).get(params.functional.lower(), {}).get("d3", {}).get(params.damping)
    if found is None:
        raise OptionError(
            f"d3: the table of dftd3 does not list '{params.functional}' with {params.damping} damping, which "
            f"engine=nvalchemi needs; give {', '.join(DAMPINGS[params.damping].needed)}, or use engine=dftd3"
        )
    return {**DAMPINGS[params.damping].defaults, **{k: v for k, v in found.items() if isinstance(v, float)}}
