"""The contraction tree of a level, from the definition of the level.

A basic moment M_(mu, nu) (a symmetric tensor of rank nu) has the level 2 + 4 mu + nu; a product has the sum of the
levels of its factors. The basis functions of level L are all full contractions of up to four moments whose level is at
most L. A contraction is a multigraph: its nodes are the moments, its a_ij edges are the indices that i and j share, and
node i has nu_i = sum_j a_ij. Graphs that differ in the order of their nodes are one function.

Order, which makes the lists those of MLIP's own untrained files 02.mtp to 28.mtp: a graph is written with its nodes
ordered by mu and, within equal mu, so that the rows (nu_1, a_12, a_13, ...), (nu_2, a_23, ...), ... are smallest;
graphs are sorted by number of nodes, then by the list of mu, then by these rows.

Evaluation: each graph is cut once, into the two parts with the fewest shared indices (then the smaller first part, then
the first nodes), and both parts are open graphs that are evaluated in the same way; index values with the same sum of
products share one moment.
Source: Shapeev, Multiscale Model. Simul. 14, 1153 (2016), doi:10.1137/15M1054183; Novikov et al., Mach. Learn.: Sci.
Technol. 2, 025002 (2021), doi:10.1088/2632-2153/abc9fe.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ...core.elements import parse_elements
from ...core.errors import OptionError
from .params import Moments, MtpParams

LEVELS = tuple(range(2, 30, 2))
MAX_FACTORS = 4
MAX_RADIAL = 6
MAX_RANK = 10
"""Limits of MLIP's lists, mu = 0 to 5 and nu = 0 to 10, which leave out something at levels 26 and 28 only."""

Index = tuple[int, int, int]
"""A set of equal indices: how many are x, y and z."""


@cache
def multi_indices(rank: int) -> tuple[Index, ...]:
    """Index sets of a symmetric tensor: xx, xy, xz, yy, yz, zz for rank 2."""
    return tuple((p, q, rank - p - q) for p in range(rank, -1, -1) for q in range(rank - p, -1, -1))


def _ways(index: Index) -> int:
    """Orders of the indices of a set."""
    return math.factorial(sum(index)) // math.prod(map(math.factorial, index))


@dataclass(frozen=True)
class Graph:
    """mu and nu of the nodes; edges a_ij of all pairs i < j in the order 12, 13, ..., 23, ... Free indices are those of
    nu that no edge uses."""

    mu: tuple[int, ...]
    nu: tuple[int, ...]
    edges: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.mu)

    def edge(self, i: int, j: int) -> int:
        i, j, n = min(i, j), max(i, j), len(self.mu)
        return self.edges[i * n - i * (i + 1) // 2 + j - i - 1] if i != j else 0

    def free(self, i: int) -> int:
        return self.nu[i] - sum(self.edge(i, j) for j in range(self.size))

    def part(self, nodes: Sequence[int]) -> Graph:
        """The graph of some nodes, in that order; their other edges become free."""
        edges = tuple(self.edge(i, j) for i, j in itertools.combinations(nodes, 2))
        return Graph(tuple(self.mu[i] for i in nodes), tuple(self.nu[i] for i in nodes), edges)

    @property
    def key(self) -> tuple:
        """mu, then the rows."""
        n, at, rows = self.size, 0, []
        for i in range(n):
            rows += [self.nu[i], *self.edges[at : at + n - 1 - i]]
            at += n - 1 - i
        return self.mu, tuple(rows)


@cache
def canonical(graph: Graph) -> tuple[Graph, tuple[int, ...]]:
    """The graph in its smallest order, and the nodes in that order."""
    best = None
    for order in itertools.permutations(range(graph.size)):
        if any(graph.mu[a] > graph.mu[b] for a, b in itertools.pairwise(order)):
            continue
        turned = graph.part(order)
        if best is None or turned.key < best[0].key:
            best = turned, order
    assert best is not None
    return best


# -- the graphs of a level -----------------------------------------------------------------------------------


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All tuples of `parts` numbers with a sum of at most `total`."""
    if parts == 0:
        yield ()
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, parts - 1):
            yield first, *rest


def scalar_graphs(level: int, max_radial: int = MAX_RADIAL) -> list[Graph]:
    """Graphs without free indices whose level is at most `level`, in order."""
    found = set()
    for n in range(1, MAX_FACTORS + 1):
        for mu in itertools.combinations_with_replacement(range(max_radial), n):
            left = level - 2 * n - 4 * sum(mu)
            if left < 0:
                continue
            for edges in _compositions(left // 2, n * (n - 1) // 2):
                bare = Graph(mu, (0,) * n, edges)
                nu = tuple(sum(bare.edge(i, j) for j in range(n)) for i in range(n))
                if max(nu) <= MAX_RANK:
                    found.add(canonical(Graph(mu, nu, edges))[0])
    return sorted(found, key=lambda g: (g.size, g.key))


@cache
def cut(graph: Graph) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The two sets of nodes into which a graph is cut."""
    nodes = range(graph.size)
    choices = [s for size in range(1, graph.size // 2 + 1) for s in itertools.combinations(nodes, size)]
    first = min(choices, key=lambda s: sum(graph.edge(i, j) for i in s for j in nodes if j not in s))
    return first, tuple(j for j in nodes if j not in first)


def needed_graphs(scalars: Sequence[Graph]) -> list[Graph]:
    """The graphs themselves and all parts that their evaluation needs, in the order of evaluation."""
    found: set[Graph] = set()
    stack = list(scalars)
    while stack:
        graph = stack.pop()
        if graph not in found:
            found.add(graph)
            if graph.size > 1:
                stack += [canonical(graph.part(nodes))[0] for nodes in cut(graph)]
    # cuts in the middle come before cuts of one node
    return sorted(found, key=lambda g: (g.size, -len(cut(g)[0]) if g.size > 1 else 0, g.key))


# -- moments and products ------------------------------------------------------------------------------------


class _Builder:
    """Numbers the components of the graphs: places[graph][indices of each node] is the moment."""

    def __init__(self) -> None:
        self.places: dict[Graph, dict[tuple[Index, ...], int]] = {}
        self.basic: list[tuple[int, int, int, int]] = []
        self.times: list[tuple[int, int, int, int]] = []
        self.count = 0

    def add_node(self, graph: Graph) -> None:
        self.places[graph] = {}
        for index in multi_indices(graph.nu[0]):
            self.places[graph][(index,)] = self.count
            self.basic.append((graph.mu[0], *index))
            self.count += 1

    def add_product(self, graph: Graph) -> None:
        """All components of a graph from its two parts; the part that was numbered first is the left factor."""
        parts = []
        for nodes in cut(graph):
            part, order = canonical(graph.part(nodes))
            parts.append((self.places[part], [nodes[k] for k in order]))
        (left, a), (right, b) = sorted(parts, key=lambda p: min(p[0].values()))
        bonds = [(i, j, graph.edge(i, j)) for i in a for j in b if graph.edge(i, j)]
        known: dict[tuple, int] = {}
        self.places[graph] = {}
        for values in itertools.product(*(multi_indices(graph.free(i)) for i in range(graph.size))):
            free = dict(enumerate(values))
            terms = self._terms(bonds, free, (left, a), (right, b))
            if terms not in known:
                known[terms] = self.count
                self.times += [(i, j, mult, self.count) for i, j, mult in terms]
                self.count += 1
            self.places[graph][values] = known[terms]

    @staticmethod
    def _terms(bonds: list, free: dict[int, Index], *parts: tuple) -> tuple[tuple[int, int, int], ...]:
        """Sum over the shared indices: (i, j, how often), sorted."""
        sums: dict[tuple[int, int], int] = {}
        for values in itertools.product(*(multi_indices(k) for _, _, k in bonds)):
            full, mult = {i: list(index) for i, index in free.items()}, 1
            for (i, j, _), value in zip(bonds, values, strict=True):
                mult *= _ways(value)
                for x in range(3):
                    full[i][x] += value[x]
                    full[j][x] += value[x]
            pair = [places[tuple(tuple(full[i]) for i in nodes)] for places, nodes in parts]
            pair = (min(pair), max(pair))
            sums[pair] = sums.get(pair, 0) + mult
        return tuple((i, j, mult) for (i, j), mult in sorted(sums.items()))


def _check_level(level: object) -> int:
    if isinstance(level, bool) or not isinstance(level, (int, np.integer)) or level not in LEVELS:
        raise OptionError(f"level is {level!r}; there are the even levels {LEVELS[0]} to {LEVELS[-1]}")
    return int(level)


@cache
def _generate(level: int, max_radial: int) -> Moments:
    scalars = scalar_graphs(level, max_radial)
    graphs = needed_graphs(scalars)
    builder = _Builder()
    for graph in graphs:
        if graph.size == 1:
            builder.add_node(graph)
        else:
            builder.add_product(graph)
    mapping = [next(iter(builder.places[g].values())) for g in scalars]
    return Moments(np.array(builder.basic), np.array(builder.times).reshape(-1, 4), builder.count, np.array(mapping))


def generate(level: int, max_radial: int = MAX_RADIAL) -> Moments:
    """The moments, products and basis functions of an even level from 2 to 28, as MLIP's untrained file has them.

    max_radial: limit of the radial functions. Raises OptionError for a level that does not exist.
    """
    if isinstance(max_radial, bool) or not isinstance(max_radial, int) or not 1 <= max_radial <= 8:
        raise OptionError(f"max_radial is {max_radial!r}; give 1 to 8")
    return _generate(_check_level(level), max_radial)


def radial_funcs(level: int) -> int:
    """Radial functions of a level: one more than the largest mu with 2 + 4 mu <= level."""
    return min(MAX_RADIAL, (_check_level(level) - 2) // 4 + 1)


_SIGNATURES = dict(zip((
    "2c34ce1df23b838c", "0a68ebba7a08bef7", "26871471a4496fd7", "1bd4516c7e5b7e6a", "accca4c302b573f4",
    "9487b5de13c1b536", "685b28643bbeeee7", "f1afdaec12fae6ed", "5d711e5b29d78b49", "904e329f4a11f85b",
    "fe180933c8194716", "d432af5c4cd1af68", "b3c68d429c585bad", "23d783691c2f7f37",
), LEVELS, strict=True))  # fmt: skip


def signature(moments: Moments) -> str:
    """First digits of the checksum of a list's numbers: a level is known without making its list again."""
    digest = hashlib.sha256()
    for name in ("basic", "times", "scalars"):
        digest.update(np.ascontiguousarray(getattr(moments, name), dtype="<i8").tobytes())
    return digest.hexdigest()[:16]


def level_of(moments: Moments) -> int | None:
    """The level whose list this is, number for number; None for any other list."""
    return _SIGNATURES.get(signature(moments))


def untrained(
    level: int,
    elements: str | Sequence[str],
    min_dist: float,
    max_dist: float,
    radial_basis_size: int = 8,
    seed: int = 0,
) -> MtpParams:
    """A potential of that level to start training from; it gives zero energy, as all e and w are zero.

    Radial functions: for each pair of elements rows of a random matrix made orthonormal (QR), whose mu-th row leans
    towards the mu-th polynomial: standard normal numbers times 0.3 plus 1 at n = mu. More rows than polynomials are
    normalised only. scaling = 1 / (max_dist - min_dist)^2, so that the first polynomial is 1 at min_dist. Equal
    arguments give equal numbers. Distances in A. Raises OptionError.
    """
    symbols = parse_elements(elements) or ()
    moments, funcs = generate(level), radial_funcs(level)
    size = radial_basis_size
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 1 <= size <= 100:
        raise OptionError(f"radial_basis_size is {size!r}; give 1 to 100")
    if not (math.isfinite(min_dist) and math.isfinite(max_dist) and 0 <= min_dist < max_dist):
        raise OptionError(f"min_dist {min_dist!r} A and max_dist {max_dist!r} A; needed is 0 <= min_dist < max_dist")
    c = len(symbols)
    rows = 0.3 * np.random.default_rng(seed).standard_normal((c, c, funcs, size)) + np.eye(funcs, size)
    for block in rows.reshape(-1, funcs, size):
        block[:] = _orthonormal(block) if funcs <= size else block / np.linalg.norm(block, axis=1, keepdims=True)
    return MtpParams(
        elements=symbols,
        radial=rows,
        moments=moments,
        species=np.zeros(c),
        weights=np.zeros(len(moments.scalars)),
        min_dist=float(min_dist),
        max_dist=float(max_dist),
        scaling=1 / (float(max_dist) - float(min_dist)) ** 2,
        name=f"mtp:level {level}",
    )


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    """Gram-Schmidt of the rows, keeping their directions."""
    q, r = np.linalg.qr(rows.T)
    return (q * np.sign(np.diag(r))).T
