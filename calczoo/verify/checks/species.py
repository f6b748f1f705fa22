"""Species supported as stated: small random clusters over all combinations of the stated species."""

from __future__ import annotations

from itertools import combinations

from ..base import Check, Outcome
from ..context import Context, name_of
from ..lattice import covalent_distance
from ..report import FAIL, PASS
from ..structures import choose_species, random_cluster

_MOST = 200
"""More combinations than this are sampled at random."""


def _combinations(ctx: Context) -> tuple[list[tuple[str, ...]], str]:
    """All combinations of up to three species; every species alone stays in when there are too many."""
    singles = [(e,) for e in ctx.elements]
    more = [c for size in (2, 3) for c in combinations(ctx.elements, size)] if len(ctx.elements) < 30 else []
    if len(ctx.elements) >= 30:
        more = list(combinations(ctx.elements, 2))
    most = _MOST // 4 if ctx.quick else _MOST
    if len(more) <= most:
        return singles + more, ""
    chosen = sorted(ctx.rng("species").permutation(len(more))[:most])
    return singles + [more[k] for k in chosen], f"{most} of {len(more)} mixed combinations, at random"


def run(ctx: Context) -> Outcome:
    cases, note = _combinations(ctx)
    seen: set[str] = set()
    errors: dict[str, str] = {}
    for species in cases:
        rng = ctx.rng("species", species)
        symbols = choose_species(species, max(4, len(species) + 1), rng)
        atoms = ctx.save(name_of(species), random_cluster(symbols, 1.1 * covalent_distance(species), rng))
        try:
            ctx.compute(atoms, ("energy", "forces"))
            seen |= set(species)
        except Exception as error:  # hides: one failed evaluation, reported; others must succeed
            errors[name_of(species)] = f"{type(error).__name__}: {error}"
            ctx.forget()
    missing = [e for e in ctx.elements if e not in seen]
    details = {"combinations": len(cases), "failed": errors}
    if missing:
        first = errors.get(missing[0], "")
        reason = f"no successful evaluation of {', '.join(missing)}: {first}"
        return Outcome(FAIL, len(missing), "species", 0, reason, details=details)
    if errors:
        note = "; ".join(x for x in (f"{len(errors)} of {len(cases)} combinations failed", note) if x)
    return Outcome(PASS, 0, "species", 0, note, details=details)


CHECK = Check("species", "species supported as stated", run, order=10)
