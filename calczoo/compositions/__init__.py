"""Models made of models, from Python: add, scale, delta, by_region, switch.

Every part is a spec or file as in get_calculator, a calculator of the zoo, or its model. Specs have words for some of
it: "a + 0.5*b", "delta(base, correction)", "switch(short, long, 1.2, 1.8)". This file is light, for `import calczoo`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import OptionError
from .regions import Cylinder, Slab, Sphere, is_length

if TYPE_CHECKING:
    from ase import Atoms

    from ..calculator import ZooCalculator
    from ..core.model import Model
    from .weights import SiteWeights

    Part = str | Path | ZooCalculator | Model

__all__ = ["Cylinder", "Slab", "Sphere", "add", "by_region", "delta", "energy_shift", "scale", "switch"]


def add(
    *terms: Part,
    allow: Collection[str] = (),
    skin: float | None = None,
    max_memory_gib: float | None = None,
    **arguments: Any,
) -> ZooCalculator:
    """The sum of models: energies, forces and stress are added, other outputs come from the one term that has them.

    allow: kinds of physics that terms may hold twice, such as "dispersion"; arguments: of get_calculator, for parts
    that are not calculators yet. Raises SpecError (nothing in common), DoubleCounting, OptionError (device or dtype).
    """
    from ..compose import Sum
    from .deltas import warn_of_corrections

    whole = Sum(_models(terms, {"allow": allow}, arguments), allow=allow)
    warn_of_corrections(whole)
    return _calculator(whole, skin, max_memory_gib)


def scale(
    part: Part,
    factor: float,
    *,
    skin: float | None = None,
    max_memory_gib: float | None = None,
    **arguments: Any,
) -> ZooCalculator:
    """factor * model: energies with all their derivatives."""
    from ..compose import Scale

    if not is_length(factor):
        raise OptionError(f"factor is {factor!r}; it must be a finite number")
    return _calculator(Scale(*_alone([part], arguments), factor), skin, max_memory_gib)


def delta(
    base: Part,
    correction: Part,
    *,
    force: bool = False,
    allow: Collection[str] = (),
    skin: float | None = None,
    max_memory_gib: float | None = None,
    **arguments: Any,
) -> ZooCalculator:
    """base + correction, where the correction was trained on the difference between a reference and the base, as by
    `calczoo fit FAMILY --base BASE`.

    Raises SpecError when the correction's card tells of another base, and DoubleCounting when it tells of none and both
    hold the same physics (allow: kinds that both may hold); force=True takes both all the same.
    """
    from .deltas import delta_model

    first, second = _models([base, correction], {"allow": allow}, arguments)
    return _calculator(delta_model(first, second, force=force, allow=allow), skin, max_memory_gib)


def by_region(
    inside: Part,
    outside: Part,
    region: Sphere | Cylinder | Slab | Sequence[bool] | Sequence[float],
    width: float | None = None,
    *,
    shift: Mapping[str, float] | None = None,
    skin: float | None = None,
    max_memory_gib: float | None = None,
    **arguments: Any,
) -> ZooCalculator:
    """E = sum_i [w_i (U_i^inside + c_i) + (1 - w_i) U_i^outside]: two local models, each for its own atoms.

    The energy is conserved. Both models know all elements of the structure.

    region: a weight (or True and False) for every atom of the structure, for instance `atoms.get_tags() == 1`, which
    stays with the atom wherever it goes; or a Sphere, Cylinder or Slab, at whose border the weight falls from 1 to 0
    over `width` (A), with the forces that follow from it, which push towards the model with the lower energy. shift: eV
    per atom of an element added to the inside, so that both models count from the same zero; see energy_shift. A region
    that is fixed in space gives no stress; one that moves with the cell (scaled=True) does.

    Raises OptionError for models that are not local (without "energies" and "pair_gradients") and for regions that make
    no sense; InvalidStructure, when a structure is evaluated, for one with another number of atoms than weights.
    """
    from .mixing import mixed_model
    from .weights import RegionWeights

    models = _alone([inside, outside], arguments)
    if isinstance(region, (Sphere, Cylinder, Slab)):
        if not is_length(width) or not width > 0.0:  # type: ignore[operator]
            raise OptionError(f"width is {width!r}; the weights of a region fall to zero over a length in A above 0")
        weights: SiteWeights = RegionWeights(region, width)  # type: ignore[arg-type]
    else:
        if width is not None:
            raise OptionError("width belongs to regions of space (Sphere, Cylinder, Slab); weights of atoms have none")
        weights = fixed_weights(region)
    return _calculator(mixed_model("by_region", models, weights, shift), skin, max_memory_gib)


def switch(
    short: Part,
    long: Part,
    r_on: float,
    r_off: float,
    *,
    shift: Mapping[str, float] | None = None,
    skin: float | None = None,
    max_memory_gib: float | None = None,
    **arguments: Any,
) -> ZooCalculator:
    """E = sum_i [w_i (U_i^short + c_i) + (1 - w_i) U_i^long]: two local models, chosen by the distance of neighbours.

    The first is for atoms with a neighbour nearer than r_on (A), the second for those that have none nearer than r_off,
    both in between; for instance the repulsion of nuclei inside a machine-learned potential that has never seen atoms
    so close. The weight is smooth in all distances (see weights.py) and its derivatives are exact, in forces and
    stress. shift: as in by_region.

    Raises OptionError for models that are not local and for distances that make no sense.
    """
    from .mixing import close_weights, mixed_model

    weights = close_weights(r_on, r_off)
    return _calculator(mixed_model("switch", _alone([short, long], arguments), weights, shift), skin, max_memory_gib)


def energy_shift(first: Part, second: Part, structures: Sequence[Atoms] | Atoms, **arguments: Any) -> dict[str, float]:
    """{element: eV per atom} to be added to the first model so that its energies of these structures are the second's,
    by least squares: the `shift` of by_region and switch. Elements that the structures do not tell apart (a compound of
    one composition) get the smallest numbers that do."""
    import numpy as np
    from ase import Atoms

    many = [structures] if isinstance(structures, Atoms) else list(structures)
    if not sum(map(len, many)):
        raise OptionError("energy_shift needs at least one structure with atoms")
    elements = sorted({s for a in many for s in a.get_chemical_symbols()})
    counts = np.array([[a.get_chemical_symbols().count(e) for e in elements] for a in many], dtype=float)
    calcs = [_calculator(model) for model in _alone([first, second], arguments)]
    one, two = (np.array([r["energy"] for r in c.evaluate(many, ("energy",))]) for c in calcs)
    found = np.linalg.lstsq(counts, two - one, rcond=None)[0]
    return {e: float(x) for e, x in zip(elements, found, strict=True)}


# -- inside --------------------------------------------------------------------------------------------------


def fixed_weights(values: Sequence[bool] | Sequence[float]) -> SiteWeights:
    """Weights from what a user gives. Raises OptionError."""
    import numpy as np

    from .weights import FixedWeights

    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        array = np.zeros((0, 0))
    if array.ndim != 1 or not ((array >= 0.0) & (array <= 1.0)).all():
        raise OptionError(
            f"region is {values!r}; expected is a Sphere, Cylinder or Slab, or a weight between 0 and 1 (True, False) "
            "for every atom"
        )
    return FixedWeights(array)


def _models(parts: Sequence[Part], own: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[Model]:
    """The models of parts that belong together. own: arguments of get_calculator that the composition takes as well.
    Raises OptionError for arguments that no part takes."""
    import warnings

    from ..calculator import ZooCalculator
    from ..registry import get_calculator
    from .deltas import CorrectionAlone

    if arguments and parts and not any(isinstance(part, (str, Path)) for part in parts):
        raise OptionError(
            f"{', '.join(arguments)}: arguments of get_calculator are for parts that are specs or files, and all parts "
            "are calculators already"
        )
    out = []
    for part in parts:
        if isinstance(part, ZooCalculator):
            out.append(part.model)
        elif isinstance(part, (str, Path)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CorrectionAlone)  # its base may be among the other parts
                out.append(get_calculator(part, **own, **arguments).model)
        elif hasattr(part, "compute") and hasattr(part, "card"):
            out.append(part)
        else:
            raise OptionError(
                f"{part!r} is no part of a composition; expected is a spec, a file, or a calculator of the zoo"
            )
    return out


def _alone(parts: Sequence[Part], arguments: Mapping[str, Any]) -> list[Model]:
    """The models of parts each of which must be a potential by itself."""
    from .deltas import warn_of_corrections

    models = _models(parts, {}, arguments)
    for model in models:
        warn_of_corrections(model)
    return models


def _calculator(model: Model, skin: float | None = None, max_memory_gib: float | None = None) -> ZooCalculator:
    from ..calculator import ZooCalculator

    return ZooCalculator(model, skin=skin, max_memory_gib=max_memory_gib)
