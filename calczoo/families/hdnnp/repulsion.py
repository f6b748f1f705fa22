"""Potentials that come with the universal repulsion of nuclei, which their networks were trained beside.

Symmetry functions stay finite where atoms meet, and so does what a network makes of them. A fit may therefore take the
ZBL term off its reference values; the card of such a potential tells its two cutoffs (A), and reading gives the sum.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.errors import OptionError
from ...registry import Composite, ModelRequest, get_family, load_object
from .params import HdnnpParams

KEY = "zbl"
"""Of the extra facts of a card: [inner, outer]."""


def zbl_term(inner: float, outer: float) -> Any:
    """Parameters of the ZBL add-on; None without an outer cutoff. Raises OptionError."""
    if not outer:
        return None
    return load_object(get_family("zbl").read)(ModelRequest("zbl", args=(inner, outer)))


def with_repulsion(params: HdnnpParams) -> HdnnpParams | Composite:
    """The potential with the ZBL term that its card tells, if any. Raises OptionError."""
    told = params.facts.get("extra", {}).get(KEY)
    if not told:
        return params
    if not isinstance(told, (list, tuple)) or len(told) != 2 or not all(isinstance(x, (int, float)) for x in told):
        raise OptionError(f"the card of {params.name} tells zbl = {told!r}; expected are two cutoffs in A")
    zbl = zbl_term(float(told[0]), float(told[1]))
    own = params.card()
    terms = f"{params.name} + {zbl.card().name}"
    card = replace(own, cutoff=max(own.cutoff, float(told[1])), extra={**own.extra, "terms": terms})
    return Composite((("hdnnp", params), ("zbl", zbl)), card)
