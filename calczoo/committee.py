"""Committees: several potentials trained for the same thing. Their mean is the answer, their spread its uncertainty.

    E = 1/M sum_k E_k,   F_i = 1/M sum_k F_i,k
    uncertainty      = sqrt(1/M sum_k (E_k - E)^2) / N            eV/atom
    uncertainties_i  = sqrt(1/M sum_k |F_i,k - F_i|^2)            eV/A

Members that agree may still be wrong together; where they differ, none is to be trusted. Source: Schran, Brezina and
Marsalek, J. Chem. Phys. 153, 104105 (2020), doi:10.1063/5.0016004. The model is compose.CommitteeModel; this file is
light, for `import calczoo`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.card import Card
from .core.errors import SpecError

if TYPE_CHECKING:
    from .calculator import ZooCalculator

SHARED = frozenset(
    "energy energies forces stress charges dipole electronegativities extrapolation_grade extrapolation_grades".split()
)
"""Outputs that a committee has where all members do: the largest of the members' grades, means of the others."""


def check_cards(cards: Sequence[Card]) -> None:
    """SpecError for less than two members, members of several families, or without an element in common."""
    if len(cards) < 2:
        raise SpecError(f"a committee needs at least two members, not {len(cards)}")
    if len(families := dict.fromkeys(c.family for c in cards)) > 1:
        raise SpecError(
            f"a committee of {' and '.join(families)}: its members must be of one family and trained for the same "
            "thing, because potentials of several kinds count energies from different zeros"
        )
    if not set.intersection(*(set(c.elements) for c in cards)):
        raise SpecError("the members have no element in common: " + "; ".join(" ".join(c.elements) for c in cards))


def committee_card(cards: Sequence[Card], name: str = "") -> Card:
    """Facts about a committee: what its members have in common, and which they are."""
    check_cards(cards)
    first = cards[0]

    def common(attribute: str) -> Any:
        values = {str(getattr(c, attribute)) for c in cards}
        return getattr(first, attribute) if len(values) == 1 else Card.__dataclass_fields__[attribute].default

    shared = [o for o in first.outputs if o in SHARED and all(o in c.outputs for c in cards)]
    facts = {a: common(a) for a in ("level_of_theory", "training_data", "citation", "doi", "licence")}
    extra = {k: v for k, v in first.extra.items() if all(k in c.extra and c.extra[k] == v for c in cards)}
    return replace(
        first,
        name=name or f"committee of {', '.join(c.name for c in cards)}",
        elements=tuple(e for e in first.elements if all(e in c.elements for c in cards)),
        cutoff=max(c.cutoff for c in cards),
        outputs=(*shared, "uncertainty", "uncertainties"),
        summary=f"committee of {len(cards)}: {first.summary}",
        files={f"{k}: {n}": h for k, c in enumerate(cards) for n, h in c.files.items()},
        errors={},
        extra={**extra, "members": [c.name for c in cards]},
        **facts,
    )


def committee(
    members: Sequence[str | Path | ZooCalculator],
    *,
    skin: float | None = None,
    max_memory_gib: float | None = None,
    **arguments: Any,
) -> ZooCalculator:
    """A calculator whose energy, forces and stress are the means of several potentials', with `uncertainty` (eV/atom,
    standard deviation of the energies) and `uncertainties` (eV/A per atom, of the forces) among its results.

    members: specs, files or folders as in get_calculator, or calculators of the zoo; all of one family. arguments: of
    get_calculator, for all that are not calculators yet (elements, device, dtype, backend, threads, options).
    Raises SpecError for members that do not belong together, and what get_calculator raises.
    """
    from .calculator import ZooCalculator
    from .compose import CommitteeModel
    from .registry import get_calculator

    if isinstance(members, (str, Path)) or not isinstance(members, Sequence):
        raise SpecError(f"a committee is a list of specs, files or calculators, not {members!r}")
    models = [m.model if isinstance(m, ZooCalculator) else get_calculator(m, **arguments).model for m in members]
    return ZooCalculator(CommitteeModel(models), skin=skin, max_memory_gib=max_memory_gib)
