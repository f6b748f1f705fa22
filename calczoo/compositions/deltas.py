"""Delta learning: a correction is trained on what a base leaves of the reference, E_ref - E_base, and added to it.

Source: R. Ramakrishnan, P. O. Dral, M. Rupp and O. A. von Lilienfeld, J. Chem. Theory Comput. 11, 2087 (2015),
doi:10.1021/acs.jctc.5b00099. The card of a correction tells its base (`extra["delta_base"]`): name, spec, files, and
the energies of a few small clusters, by which another base is found out whatever it is called.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms

from ..compose import Sum, combine_cards, unscaled
from ..core.card import Card
from ..core.counting import CORRECTION, check_double_counting, net_weights, weights_of, with_counts
from ..core.errors import CalczooError, DataError, SpecError
from ..core.model import Model

if TYPE_CHECKING:
    from ..calculator import ZooCalculator
    from ..fitting.data import Dataset

RECORD = CORRECTION
"""Of the extra facts of a correction's card."""

DISTANCES = (1.0, 1.6, 2.2, 2.8, 3.6)
"""Shortest distances (A) of the clusters by which a base is recognised."""

TOLERANCE, COARSE = 1e-6, 1e-3
"""Of their energies (eV, relative where they are large), and that of models in single precision or around code of
others, which may be in single precision inside and give other digits on another machine."""


class CorrectionAlone(UserWarning):
    """A correction was loaded without the base that it was trained beside: its numbers alone mean nothing."""


def delta_model(base: Model, correction: Model, force: bool = False, allow: Collection[str] = ()) -> Model:
    """base + correction. Raises SpecError where the correction tells of another base, and DoubleCounting where one that
    tells of none holds what the base holds already (allow: as in Sum); force takes both all the same."""
    told = correction.card.extra.get(RECORD)
    if told and not force and (why := other_base(told, base)):
        raise SpecError(
            f"{correction.card.name} is a correction to {told.get('name')} ({told.get('spec')}), not to "
            f"{base.card.name}: {why}; give that base, or force=True if this is meant"
        )
    check_parts(base.card, correction.card, force, allow)
    held = held_together(base.card, correction.card)
    whole = Sum((base, correction), card=delta_card(base.card, correction.card), counts=held)
    whole.warn_of_missing()
    return whole


def check_parts(base: Card, correction: Card, force: bool = False, allow: Collection[str] = ()) -> None:
    """Raise DoubleCounting for a correction that was not trained as one and holds what the base holds."""
    if not force and RECORD not in correction.extra:
        check_double_counting([base, correction], allow)


def held_together(base: Card, correction: Card) -> dict[str, float]:
    """What both hold. A correction that was trained beside its base has taken into account what that holds already."""
    if RECORD not in correction.extra:
        return net_weights([(1.0, base), (1.0, correction)])
    return {**weights_of(correction), **weights_of(base)}


def delta_card(base: Card, correction: Card) -> Card:
    """Facts about base + correction; the level of theory is what the correction aims at."""
    both = with_counts(combine_cards([(1.0, base), (1.0, correction)]), held_together(base, correction))
    return replace(
        both,
        name=f"delta({base.name}, {correction.name})",
        family="delta",
        summary=f"{correction.name} as a correction to {base.name}",
        level_of_theory=correction.level_of_theory,
        extra={**both.extra, "base": base.name, "correction": correction.name},
    )


def warn_of_corrections(model: Model) -> None:
    """Warn (CorrectionAlone) of a correction that is not beside its base in a sum."""
    if RECORD not in model.card.extra and (not isinstance(model, Sum) or model.card.family == "delta"):
        return
    terms = (model,) if RECORD in model.card.extra else model.models
    for k, one in enumerate(terms):
        if not (told := one.card.extra.get(RECORD)):
            continue
        rest = [m for n, m in enumerate(terms) if n != k]
        factor = unscaled(one)[0]
        if rest and factor == 1.0 and not other_base(told, rest[0] if len(rest) == 1 else Sum(rest, card=model.card)):
            continue
        warnings.warn(
            f"{one.card.name} is a correction, trained on the difference to {told.get('name')}; alone it is no "
            f"potential{_in_part(factor)}: use 'delta({told.get('spec')}, {unscaled(one)[1].card.name})'",
            CorrectionAlone,
            stacklevel=3,
        )


def _in_part(factor: float) -> str:
    return "" if factor == 1.0 else f", and {factor:g} of it corrects in part"


# -- the base, recognised ------------------------------------------------------------------------------------


def base_record(base: ZooCalculator, spec: str, elements: Sequence[str]) -> dict[str, Any]:
    """What the card of a correction tells about its base."""
    return {
        "name": base.card.name,
        "spec": spec,
        "files": dict(base.card.files),
        "elements": list(elements),
        "energies": cluster_energies(base.model, elements),
    }


def other_base(told: dict[str, Any], model: Model) -> str:
    """Why this is not the base of a record; "" where it is."""
    want, elements = told.get("energies"), told.get("elements") or ()
    got = cluster_energies(model, elements) if want else None
    if not want or got is None:
        same = set(told.get("files", {}).values()) == set(model.card.files.values())
        return "" if same and told.get("name") == model.card.name else "it has another name, or other files"
    fine = model.dtype == torch.float64 and all(m.cutoff > 0.0 for m in leaves(model))
    tolerance = TOLERANCE if fine else COARSE
    for r, a, b in zip(DISTANCES, want, got, strict=False):
        if abs(a - b) > tolerance * max(1.0, abs(a)):
            return f"energies of clusters differ (at {r:g} A {b:.8g} eV, not {a:.8g})"
    return ""


def leaves(model: Model) -> list[Model]:
    """The models of a sum of sums and factors."""
    if isinstance(model, Sum):
        return [one for m in model.models for one in leaves(m)]
    inner = unscaled(model)[1]
    return [model] if inner is model else leaves(inner)


def cluster_energies(model: Model, elements: Sequence[str]) -> list[float] | None:
    """eV, of clusters of five atoms of these elements; None for a model that cannot tell."""
    from ..calculator import ZooCalculator

    shape = np.array([[0, 0, 0], [1, 0, 0], [0.1, 1.2, 0], [0.3, 0.2, 1.4], [1.3, 1.1, 0.9]])
    symbols = [elements[k % len(elements)] for k in range(len(shape))] if elements else []
    many = [Atoms(symbols, r * shape) for r in DISTANCES] if symbols else []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of extrapolation: the clusters need not be like any training set
            return [r["energy"] for r in ZooCalculator(model).evaluate(many, ("energy",))] or None
    except CalczooError:  # an element that it lacks, charges that the clusters lack
        return None


# -- training ------------------------------------------------------------------------------------------------


def load_base(
    base: str | Path | ZooCalculator, elements: Sequence[str], given: Sequence[str] | None = None
) -> tuple[ZooCalculator, dict[str, Any]]:
    """The base of a correction for these elements, and its record for the card. given: elements as the user gave them,
    the type map of a base whose file names none."""
    from ..calculator import ZooCalculator
    from ..registry import get_calculator

    calc = base if isinstance(base, ZooCalculator) else get_calculator(base, elements=given)
    spec = calc.card.name if isinstance(base, ZooCalculator) else str(base)
    return calc, base_record(calc, spec, elements)


def difference(data: Dataset, base: ZooCalculator, batch: int = 64) -> Dataset:
    """The data set with energies, forces and stresses of the base subtracted from all reference values.

    Raises DataError for forces or stresses that the base cannot compute, and what the base raises for a structure.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    from ..fitting.data import Dataset

    known = {"forces": any(f is not None for f in data.forces), "stress": any(s is not None for s in data.stresses)}
    names = ["energy", *(name for name, there in known.items() if there)]
    if lacking := [n for n in names if n not in base.implemented_properties]:
        raise DataError(
            f"{base.card.name} has no {' and no '.join(lacking)} to subtract from those of {data.name or 'the data'}; "
            "take a base that has, or leave these values out of the data"
        )
    found = []
    for a in range(0, len(data), batch):
        found += base.evaluate(data.structures[a : a + batch], names)
    structures = []
    for k, (atoms, own) in enumerate(zip(data.structures, found, strict=True)):
        results = dict(atoms.calc.results) if atoms.calc is not None else {}
        for name in ("energy", "free_energy", "energies", "forces", "stress", "stresses"):
            results.pop(name, None)
        if not np.isnan(data.energies[k]):
            results["energy"] = float(data.energies[k] - own["energy"])
        if data.forces[k] is not None:
            results["forces"] = data.forces[k] - own["forces"]
        if data.stresses[k] is not None:
            results["stress"] = data.stresses[k] - own["stress"]
        one = atoms.copy()
        one.calc = SinglePointCalculator(one, **results)
        structures.append(one)
    plain = Dataset.from_atoms([_finite_stress(s) for s in structures], f"{data.name} minus {base.card.name}".strip())
    stresses = tuple(s.calc.results.get("stress") for s in structures)
    return replace(plain, structures=tuple(structures), stresses=stresses, groups=data.groups)


def _finite_stress(atoms: Atoms) -> Atoms:
    """Without a stress some components of which are unknown."""
    stress = atoms.calc.results.get("stress")
    if stress is None or np.isfinite(stress).all():
        return atoms
    one = atoms.copy()
    one.calc = type(atoms.calc)(one, **{k: v for k, v in atoms.calc.results.items() if k != "stress"})
    return one


def corrected_card(card: Card, record: dict[str, Any]) -> Card:
    """The card of a correction: what it is, and to what."""
    return replace(
        card,
        summary=f"correction to {record['name']}: {card.summary}",
        extra={**card.extra, RECORD: record},
    )


def mark_cards(files: Sequence[Path], record: dict[str, Any]) -> None:
    """Write the base into the cards among the files that a fit has written."""
    from ..files.cards import is_card, read_card, write_card

    for path in files:
        if path.suffix == ".json" and is_card(path):
            write_card(corrected_card(read_card(path), record), path)
