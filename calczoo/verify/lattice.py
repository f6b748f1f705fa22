"""The lattice constant that a model itself prefers: where its fcc (or diamond) crystal has the lowest energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, covalent_radii

_STEP = 1.04
"""Ratio of neighbouring distances in the scan."""
_USUAL = (0.75, 1.6)
"""Nearest-neighbour distances of real crystals, in units of the sum of covalent radii (rare gases lie above)."""


@dataclass(frozen=True)
class Lattice:
    """Nearest-neighbour distance `d` and lattice constant `a` (A); `found` is False where they are only a guess."""

    crystal: str
    d: float
    found: bool
    note: str

    @property
    def a(self) -> float:
        return self.d * (2**0.5 if self.crystal == "fcc" else 4 / 3**0.5)


def covalent_distance(symbols: Sequence[str]) -> float:
    """Mean bond length (A) that the covalent radii of `symbols` suggest."""
    return 2.0 * float(np.mean([covalent_radii[atomic_numbers[s]] for s in symbols]))


def find_lattice(energy: Callable[[float], float], symbols: Sequence[str], crystal: str = "fcc") -> Lattice:
    """Minimise `energy(d)` (eV/atom of the crystal with nearest-neighbour distance d in A; inf where it cannot be had).

    Potentials often have false minima at very short distances, so a minimum at a distance usual for the elements is
    taken first, then any other. Without a minimum the covalent radii decide, and the note says so.
    """
    guess = covalent_distance(symbols)
    usual = _USUAL[0] * guess, _USUAL[1] * guess
    # very dense crystals have many neighbours and cost most: looked at only when nothing else is found
    for low, high in ((usual[0], max(2.5 * guess, 5.5)), (max(0.5, 0.3 * guess), usual[0] * _STEP**2)):
        d = low * _STEP ** np.arange(int(np.log(high / low) / np.log(_STEP)) + 2)
        e = np.array([energy(x) for x in d])
        minima = [i for i in range(1, len(d) - 1) if _is_minimum(e, i)]
        choice = [i for i in minima if d[i] <= usual[1]] or minima
        if choice:
            best = min(choice, key=lambda i: e[i])
            found = round(float(_golden(energy, d[best - 1], d[best + 1])), 4)
            return Lattice(crystal, found, True, f"energy minimum of {crystal}")
    note = f"no energy minimum of {crystal}; distance from covalent radii"
    return Lattice(crystal, round(1.1 * guess, 4), False, note)


def _is_minimum(e: np.ndarray, i: int) -> bool:
    # a dip must be more than rounding
    return bool(np.isfinite(e[i]) and min(e[i - 1], e[i + 1]) - e[i] > 1e-9 * max(1.0, abs(e[i])))


def _golden(energy: Callable[[float], float], a: float, b: float, steps: int = 14) -> float:
    """Golden-section search; 14 steps narrow the bracket to a thousandth."""
    g = (5**0.5 - 1) / 2
    x1, x2 = b - g * (b - a), a + g * (b - a)
    e1, e2 = energy(x1), energy(x2)
    for _ in range(steps):
        if e1 < e2:
            b, x2, e2 = x2, x1, e1
            x1 = b - g * (b - a)
            e1 = energy(x1)
        else:
            a, x1, e1 = x1, x2, e2
            x2 = a + g * (b - a)
            e2 = energy(x2)
    return 0.5 * (a + b)
