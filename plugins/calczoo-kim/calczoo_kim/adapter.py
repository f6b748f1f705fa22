"""From a request to a model of calczoo: what `read` and `build` of the family do."""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import dataclass
from typing import Any

from calczoo import Card, ModelRequest
from calczoo.core.errors import BackendUnavailable, ForeignError, OptionError, UnknownCalculator
from calczoo.foreign import AseModel, Make, guarded

from . import FAMILY

SIMULATORS = ("kimmodel", "lammpslib", "lammpsrun", "asap")
WAY_OUT = (
    "kimpy and the KIM API are not installed here: conda install -c conda-forge kim-api kimpy, or the KIM API of the "
    "system (Debian: apt install libkim-api-dev openkim-models) and then pip install kimpy; models are installed with "
    "'kim-api-collections-management install user MODEL'. Another environment that has them: "
    "isolated='/path/to/python'"
)
_ID = re.compile(r"(?:^|__)((?:MO|SM)_\d{12}(?:_\d{3})?)$")


@dataclass(frozen=True)
class Params:
    """What `build` needs: the card, the model's name, and the options of worker.make."""

    card: Card
    model: str
    options: dict[str, Any]


def read(request: ModelRequest) -> Params:
    """`kim:NAME`. Where kimpy is here, the model must be installed and tells its elements; in another environment it
    is asked there, at first use.

    Raises OptionError, UnknownCalculator (no such model), BackendUnavailable (no kimpy, with the way to get it).
    """
    request.check_options(FAMILY.options)
    name = request.model
    if request.args or not isinstance(name, str) or not re.fullmatch(r"\w+", name):
        raise OptionError(f"kim takes the name of an installed KIM model, as in {FAMILY.example}; not {name!r}")
    options = _options(request)
    here = importlib.util.find_spec("kimpy") is not None
    if not here and not request.isolated:
        raise BackendUnavailable(f"kim:{name}: {WAY_OUT}")
    known = species_of(name) if here and not request.isolated else ()
    if known and request.elements and (missing := [e for e in request.elements if e not in known]):
        raise OptionError(f"{name} has no {', '.join(missing)} (its elements: {', '.join(known)})")
    return Params(_card(name, request.elements or known), name, options)


def build(params: Params, request: ModelRequest) -> AseModel:
    """The model, around the calculator of worker.py, which is made at its first use."""
    make = Make("calczoo_kim.worker", params.model, request.device, request.dtype, params.options)
    outputs = ("energy", "forces", "virial")
    return AseModel(params.card, None, make, outputs, dtype=request.dtype, device=request.device)


def species_of(name: str) -> tuple[str, ...]:
    """Elements of an installed model. Raises UnknownCalculator where there is none of that name."""
    from .worker import known_species, quiet

    with guarded():
        try:
            quiet()
            return known_species(name)
        except Exception as error:  # what ASE and the KIM API raise for a model that is not there or broken
            if type(error).__name__ == "KIMModelNotFound":
                raise UnknownCalculator(
                    f"no KIM model is called '{name}' here; see kim-api-collections-management list, and install it "
                    f"with kim-api-collections-management install user {name}"
                ) from error
            raise ForeignError(f"kim:{name} cannot be read: {type(error).__name__}: {error}") from error


def _options(request: ModelRequest) -> dict[str, Any]:
    simulator, skin = request.options.get("simulator"), request.options.get("neigh_skin_ratio")
    if simulator is not None and simulator not in SIMULATORS:
        raise OptionError(f"simulator is {simulator!r}; allowed are {', '.join(SIMULATORS)}")
    if skin is not None:
        good = isinstance(skin, (int, float)) and not isinstance(skin, bool) and math.isfinite(skin) and skin >= 0.0
        if not good or simulator not in (None, "kimmodel"):
            raise OptionError(f"neigh_skin_ratio is {skin!r}; a number of at least 0, for simulator kimmodel only")
    return {"simulator": simulator, "neigh_skin_ratio": skin}


def _card(name: str, elements: tuple[str, ...]) -> Card:
    found = _ID.search(name)
    page = f"https://openkim.org/id/{found[1]}" if found else "https://openkim.org"
    return Card(
        name=f"kim:{name}",
        family=FAMILY.name,
        elements=tuple(elements),
        cutoff=0.0,
        outputs=FAMILY.outputs,
        summary="simulator model of OpenKIM" if found and found[1].startswith("SM") else "portable model of OpenKIM",
        citation=f"of the model: {page}; {FAMILY.citation}",
        doi=FAMILY.doi,
        licence=f"of the model: see {page}",
        extra={"KIM ID": found[1] if found else "none in the name", "page": page},
    )
