"""What training of generations 3 and 4 asks of the data besides energies and forces, and of its settings.

Reference charges are those of the attached (single-point) calculator, `charges`, as the column `charges:R:1` of
extended XYZ and the charges of input.data become; where there is none, arrays `charges` or `initial_charges` of the
structure. They must add up to the structure's total charge (info["charge"], else the sum of initial charges, else
zero), because that is what the trained model will keep.

Gaussian charges have the covalent radii of their elements as widths, as in Ko et al., Nat. Commun. 12, 398 (2021),
doi:10.1038/s41467-020-20427-2; the radii are those of Cordero et al., Dalton Trans. 2832 (2008), doi:10.1039/B801115J.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from ...core.elements import number
from ...core.errors import DataError, OptionError
from ...core.system import total_charge
from ...fitting.data import Dataset, charges_of

TOTAL_TOLERANCE = 0.02
"""e: charges of a structure may miss its total charge by this much."""
_WAY_OUT = (
    "training of generation 3 and 4 needs a charge of every atom: the column charges:R:1 of extended XYZ, the charges "
    "of input.data, or atoms.arrays['charges']; without charges, train generation 2"
)


def reference_charges(data: Dataset) -> list[np.ndarray]:
    """(n,) e of each structure. Raises DataError that names the first structure without charges, with the wrong number
    of them, or whose charges do not add up to its total charge."""
    out = []
    for k, atoms in enumerate(data.structures):
        where = f"structure {k} of {data.name or 'the data'} ({atoms.get_chemical_formula()})"
        q = charges_of(atoms)
        if q is None:
            raise DataError(f"{where} has no atomic charges; {_WAY_OUT}")
        if q.shape != (len(atoms),) or not np.isfinite(q).all():
            raise DataError(f"{where}: charges have shape {q.shape} or are not finite; needed are {len(atoms)} numbers")
        total = total_charge(atoms)
        if abs(q.sum() - total) > TOTAL_TOLERANCE:
            raise DataError(
                f"{where}: its charges add up to {q.sum():.4f} e, but its total charge is {total:g} e; set "
                "atoms.info['charge'] (charge= in extended XYZ, the line 'charge' in input.data) or correct the charges"
            )
        out.append(q)
    return out


def gaussian_widths(elements: Sequence[str], given: Mapping[str, float] | None) -> dict[str, float]:
    """A, of every element: those given, else covalent radii. Raises OptionError."""
    unknown = [e for e in given or {} if e not in elements]
    if unknown:
        raise OptionError(f"widths name {unknown[0]}, which is not among the elements {', '.join(elements)} of the fit")
    widths = {e: float((given or {}).get(e, covalent_radii[number(e)])) for e in elements}
    for e, w in widths.items():
        if not 0.05 <= w <= 10.0:
            raise OptionError(f"the width of {e} is {w:g} A; it must be between 0.05 and 10 A")
    return widths


def screening_range(given: Sequence[float] | None, cutoff: float) -> tuple[float, float]:
    """(r_inner, r_outer) A of the screening, by default 0.6 and 1 times the cutoff of the symmetry functions; (0, 0)
    switches it off. Raises OptionError."""
    if given is None:
        return 0.6 * cutoff, cutoff
    values = [float(v) for v in np.atleast_1d(np.asarray(given, dtype=float))]
    if values in ([0.0], [0.0, 0.0]):
        return 0.0, 0.0
    if len(values) != 2 or not 0 <= values[0] < values[1]:
        raise OptionError(f"screening is {given!r}; give the inner and outer radius in A, as '2.5, 4.2', or 0 for none")
    return values[0], values[1]


def describe_charges(charges: Sequence[np.ndarray], structures: Sequence[Atoms]) -> str:
    """One line for cards: the range of charges by element, and total charges."""
    every = np.concatenate(list(charges))
    symbols = np.concatenate([a.get_chemical_symbols() for a in structures])
    ranges = []
    for e in dict.fromkeys(symbols.tolist()):
        mine = every[symbols == e]
        ranges.append(f"{e} {mine.min():+.2f} to {mine.max():+.2f}")
    totals = sorted({round(total_charge(a), 6) for a in structures})
    return f"charges (e): {', '.join(ranges)}; total charges {', '.join(f'{t + 0.0:g}' for t in totals)}"
