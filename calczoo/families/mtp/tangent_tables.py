"""Index tables of the training kernels: which products and basic moments each derivative touches.

A basis function depends on few basic moments (6 % of them at level 20), so dB_s/dm_b is walked over the products that
make B_s alone, and kept as a sparse list. A change of one radial function mu touches the products that hold it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .params import Moments


@dataclass(frozen=True)
class TangentTables:
    """Places of every list in one array of integers.

    integers (n,): all lists one after the other; places: name -> where it begins, or a count. Lists with the suffix
    `_at` hold where the lists of each basis function (or radial function) begin.
    """

    integers: np.ndarray
    places: dict[str, int]

    @classmethod
    def of(cls, moments: Moments, n_radial: int) -> TangentTables:
        """Tables of a list of moments with `n_radial` radial functions."""
        powers = sorted({tuple(row[1:]) for row in moments.basic.tolist()}, key=lambda v: (sum(v), v))
        at = {power: k for k, power in enumerate(powers)}
        dependence = dependencies(moments)
        scalars = moments.scalars.tolist()
        makers = [_makers(moments, s) for s in scalars]
        lists = {
            "i_mono": np.array(powers),
            "i_basic": np.array([[row[0], at[tuple(row[1:])]] for row in moments.basic.tolist()]),
            "i_times": moments.times,
            "i_scalars": moments.scalars,
            **_ragged("i_dep", [sorted(dependence[s]) for s in scalars]),
            **_ragged("i_rev", [moments.times[e[::-1]] for e in makers], 4),
            **_ragged("i_touch", [_touched(moments, e, [s]) for e, s in zip(makers, scalars, strict=True)]),
        }
        tangents = [_tangent_entries(moments, mu) for mu in range(n_radial)]
        lists |= _ragged("i_fwd", [moments.times[f] for f, _ in tangents], 4)
        lists |= _ragged("i_bwd", [moments.times[b] for _, b in tangents], 4)
        everywhere = range(len(moments.basic))
        lists |= _ragged("i_zero", [_touched(moments, [*f, *b], everywhere) for f, b in tangents])
        places = {
            "n_basic": len(moments.basic),
            "n_mono": len(powers),
            "n_times": len(moments.times),
            "n_moments": moments.count,
            "n_scalars": len(scalars),
            "n_dep": sum(len(dependence[s]) for s in scalars),
            "n_radial": n_radial,
            "max_power": moments.max_power,
        }
        start, flat = 0, []
        for name, values in lists.items():
            places[name] = start
            flat.append(np.asarray(values, dtype=np.int32).ravel())
            start += flat[-1].size
        return cls(np.concatenate(flat), places)


def dependencies(moments: Moments) -> list[set[int]]:
    """The basic moments that each moment depends on."""
    found: list[set[int]] = [{k} if k < len(moments.basic) else set() for k in range(moments.count)]
    for i, j, _, k in moments.times.tolist():
        found[k] |= found[i] | found[j]
    return found


def _makers(moments: Moments, scalar: int) -> np.ndarray:
    """Entries of the list of products that make one moment, in the order of the list."""
    wanted, chosen = {scalar}, []
    for entry in range(len(moments.times) - 1, -1, -1):
        i, j, _, k = moments.times[entry].tolist()
        if k in wanted:
            wanted |= {i, j}
            chosen.append(entry)
    return np.array(chosen[::-1], dtype=int)


def _touched(moments: Moments, entries: Iterable[int], others: Iterable[int]) -> list[int]:
    rows = moments.times[np.asarray(list(entries), dtype=int)]
    return sorted(set(rows[:, [0, 1, 3]].ravel().tolist()) | set(others))


def _tangent_entries(moments: Moments, mu: int) -> tuple[list[int], list[int]]:
    """Products that change with the basic moments of mu, and, backwards, those through which the adjoints change."""
    changed = set(np.flatnonzero(moments.basic[:, 0] == mu).tolist())
    times = moments.times.tolist()
    forward = []
    for entry, (i, j, _, k) in enumerate(times):
        if i in changed or j in changed:
            forward.append(entry)
            changed.add(k)
    adjoint: set[int] = set()
    backward = []
    for entry in range(len(times) - 1, -1, -1):
        i, j, _, k = times[entry]
        if k in adjoint or i in changed or j in changed:
            backward.append(entry)
            if k in adjoint or j in changed:
                adjoint.add(i)
            if k in adjoint or i in changed:
                adjoint.add(j)
    return forward, backward


def _ragged(name: str, rows: list, width: int = 1) -> dict[str, np.ndarray]:
    """A list of lists as one, and where each begins."""
    edges = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    parts = [np.asarray(row, dtype=np.int32).reshape(-1, width) for row in rows]
    return {name: np.concatenate(parts) if parts else np.zeros((0, width)), f"{name}_at": edges}
