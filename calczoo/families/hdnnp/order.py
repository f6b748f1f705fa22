"""The order of symmetry functions: that of the networks' inputs and of the rows of scaling.data.

Files list the functions of an element in any order; n2p2 and RuNNer sort them, and everything else follows that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .params import ANGULAR, COMPACT, SymmetryFunction


def sort_key(function: SymmetryFunction, elements: Sequence[str]) -> tuple:
    """Ascending: kind; then cutoff, eta, shift, exponent, lambda, neighbours; compact kinds by core, neighbours,
    cutoff, inner radius and angles. elements: in the order of atomic numbers, which is the order among neighbours."""
    f = function
    places = tuple(elements.index(e) for e in f.neighbours)
    if f.kind in COMPACT:
        angles = (f.al, f.ar) if f.kind in ANGULAR else ()
        return (f.kind, f.core, *places, f.rc, f.rl, *angles)
    angular = (f.zeta, f.lam) if f.kind in ANGULAR else ()
    return (f.kind, f.rc, f.eta, f.rs, *angular, *places)


def sort_functions(functions: Iterable[SymmetryFunction], elements: Sequence[str]) -> tuple[SymmetryFunction, ...]:
    """The functions of one element in the order of its network's inputs."""
    return tuple(sorted(functions, key=lambda f: sort_key(f, elements)))


def is_sorted(functions: Sequence[SymmetryFunction], elements: Sequence[str]) -> bool:
    """True where the functions are in the order in which they would be read again."""
    keys = [sort_key(f, elements) for f in functions]
    return keys == sorted(keys)
