"""Tables of the symmetry functions for the kernels: what functions share is computed once.

A function is a product of parts. For a triplet i; j, k with the angle theta at i

    G = m R_c(r_ij) R_c(r_ik) [J_c(r_jk)] A_b(theta),   R_c(r) = W(r) exp(-eta (r - rs)^2)

c is a channel (window W, eta, rs), b an angular part: (1 + lambda cos theta)^zeta or a compact core of theta; m holds
2^(1 - zeta) and, for weighted functions, the product of atomic numbers. W is a cutoff function or a compact core; the
latter have eta = 0. A group is all that a pair of neighbour elements has to give; within it subgroups share W(r_jk).
Weighted functions, which sum over all elements, become one term for each pair of elements.

Streams of numbers, read in order by the kernels (w, a window: its shape among the integers, four reals):

    radial of (z, e)    n {w n {s}}          reals  w {eta rs m}
    channels of (z, e)  n {w row n {row}}    reals  w {eta rs}
    groups of z         n {e1 e2 plain powers angles channels classes gaussian subs entries length reals
                           {row} {row} {b} {w jk class n {c power n {part}}}}
                                             reals  reach {rs} {b} {w rs {eta}}
    entries of z        {s}                  reals  {m}

z element of the centre, e of a neighbour, s function; an entry is one (channel, part, function) of a group; length and
reals are what a group takes of the two streams after its head; plain: some subgroup has no r_jk, whose range then
limits nothing; gaussian: classes with some eta, which come first. A class is a (window, rs) of a group: with the sums
over its channels of terms h and eta h of dU,

    dU/dr_j = (W'/W)(r_j) sum h - 2 (r_j - rs) sum eta h

so that gradients need no derivative of each channel. A subgroup is a (class, jk); c counts the channels of the group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from math import inf, pi, tanh

from ...core.elements import number
from .params import ANGULAR, COMPACT, WEIGHTED, WITH_JK, HdnnpParams, SymmetryFunction

CORES = ("hard", "tanh", "c", "e", "p1", "p2", "p3", "p4")
"""Shapes of windows and angular cores; the kernel knows them by position."""
ONE_SIDED, ASYMMETRIC = 16, 32
"""Flags of a shape: u = max(x, 0) in place of |x|; (2 - u) u in place of u."""
LARGEST_POWER = 1024
LARGEST_RATIO = 32
"""exp(-n x) is made as a power of exp(-x) up to this n."""
_CUTOFF_CORES = {0: "hard", 1: "c", 2: "tanh", 3: "tanh", 4: "e", 5: "p1", 6: "p2", 7: "p3", 8: "p4"}


@dataclass(frozen=True, order=True)
class Window:
    """A function of one distance (or angle): scale core(u), u from x = (r - centre) / half; zero from `end` on."""

    shape: int
    centre: float
    half: float
    end: float
    scale: float = 1.0

    @property
    def reals(self) -> tuple[float, float, float, float]:
        return self.centre, 1.0 / self.half, self.end, self.scale


def radial_window(params: HdnnpParams, f: SymmetryFunction) -> Window:
    """The cutoff function or the compact radial core of a symmetry function, in A."""
    unit = params.length_unit
    if f.kind in COMPACT:
        asymmetric = f.core.endswith("a")
        shape = CORES.index(f.core.removesuffix("a")) + ASYMMETRIC * asymmetric
        return Window(shape, 0.5 * (f.rl + f.rc) * unit, 0.5 * (f.rc - f.rl) * unit, f.rc * unit)
    kind, rc = params.cutoff_type, f.rc * unit
    inner = params.cutoff_alpha * rc if kind not in (0, 2, 3) else 0.0
    scale = tanh(1.0) ** -3 if kind == 3 else 1.0
    return Window(CORES.index(_CUTOFF_CORES[kind]) + ONE_SIDED, inner, rc - inner, rc, scale)


def angular_window(f: SymmetryFunction) -> Window:
    """The compact core of the angle, in radians; never asymmetric."""
    shape = CORES.index(f.core.removesuffix("a"))
    return Window(shape, 0.5 * (f.al + f.ar) * pi / 180.0, 0.5 * (f.ar - f.al) * pi / 180.0, inf)


@dataclass
class Stream:
    """Integers and reals in the order in which a kernel reads them."""

    integers: list[int] = field(default_factory=list)
    reals: list[float] = field(default_factory=list)

    def add(self, integers: Iterable[int] = (), reals: Iterable[float] = ()) -> None:
        self.integers += integers
        self.reals += reals

    def join(self, other: Stream) -> None:
        self.add(other.integers, other.reals)


@dataclass
class CentreTables:
    """Streams of one central element: radial and channels, one per neighbour element; numbers of things; reach in A."""

    radial: list[Stream]
    channels: list[Stream]
    groups: Stream
    entries: Stream
    n_functions: int
    n_channels: int
    n_entries: int
    n_windows: int
    most_parts: int
    most_channels: int
    most_classes: int
    reach: float


Channel = tuple[Window, float, float]
Part = tuple[bool, int, tuple[float, float, float, float]]
"""Compact or a power; shape or, if it is whole, exponent; four reals."""


def _channel(params: HdnnpParams, f: SymmetryFunction) -> Channel:
    if f.kind in COMPACT:
        return radial_window(params, f), 0.0, 0.0
    return radial_window(params, f), f.eta / params.length_unit**2, f.rs * params.length_unit


def _part(f: SymmetryFunction) -> Part:
    if f.kind in COMPACT:
        window = angular_window(f)
        centre, slope, _, scale = window.reals
        return True, window.shape, (centre, slope, 10.0, scale)  # 10: no angle is beyond
    whole = f.zeta == int(f.zeta) and f.zeta <= LARGEST_POWER
    return False, int(f.zeta) if whole else 0, (f.lam, f.zeta, 0.0, 0.0)


def _by_window(members: list[tuple[Channel, int, float]]) -> dict[Window, list[tuple[Channel, int, float]]]:
    found: dict[Window, list] = {}
    for member in sorted(members):
        found.setdefault(member[0][0], []).append(member)
    return found


def _radial_stream(members: list[tuple[Channel, int, float]]) -> Stream:
    """members: (channel, function, m)."""
    windows, out = _by_window(members), Stream()
    out.add([len(windows)])
    for window, inside in windows.items():
        out.add([window.shape, len(inside), *(s for _, s, _ in inside)], window.reals)
        for (_, eta, rs), _, m in inside:
            out.add(reals=(eta, rs, m))
    return out


def exponential_powers(etas: list[float]) -> dict[float, int]:
    """How the exponential of each eta comes about: -1, it is one; 0, by exponentiation; n, as the n-th power of the
    last one, in ascending order, that was made by exponentiation."""
    found, base = {}, 0.0
    for eta in sorted(etas):
        n = round(eta / base) if base else 0
        if eta == 0.0:
            found[eta] = -1
        elif 1 <= n <= LARGEST_RATIO and abs(eta / base - n) < 1e-14 * n:
            found[eta] = n
        else:
            found[eta], base = 0, eta
    return found


class _Centre:
    """Sorts the functions of one central element."""

    def __init__(self, params: HdnnpParams, functions: tuple[SymmetryFunction, ...]):
        self.params, self.functions = params, functions
        self.z = [float(number(e)) for e in params.elements]
        self.channels: dict[Channel, int] = {}
        self.used: list[set[Channel]] = [set() for _ in params.elements]
        self.radial: list[list[tuple[Channel, int, float]]] = [[] for _ in params.elements]
        # (e1, e2) -> (window, rs, jk) -> channel -> [(part, function, m)]
        self.angular: dict[tuple[int, int], dict] = {}
        for s, f in enumerate(functions):
            (self._add_angular if f.kind in ANGULAR else self._add_radial)(s, f)

    def _add_radial(self, s: int, f: SymmetryFunction) -> None:
        channel, index = _channel(self.params, f), self.params.elements.index
        for e in range(len(self.z)) if f.kind in WEIGHTED else [index(f.neighbours[0])]:
            self.radial[e].append((channel, s, self.z[e] if f.kind in WEIGHTED else 1.0))

    def _add_angular(self, s: int, f: SymmetryFunction) -> None:
        channel, index = _channel(self.params, f), self.params.elements.index
        self.channels.setdefault(channel, len(self.channels))
        norm = 1.0 if f.kind in COMPACT else 2.0 ** (1.0 - f.zeta)
        weighted = f.kind in WEIGHTED
        every = combinations_with_replacement(range(len(self.z)), 2)
        for e1, e2 in every if weighted else [tuple(sorted(map(index, f.neighbours)))]:
            self.used[e1].add(channel)
            self.used[e2].add(channel)
            subs = self.angular.setdefault((e1, e2), {})
            entries = subs.setdefault((channel[0], channel[2], f.kind in WITH_JK), {}).setdefault(channel, [])
            entries.append((_part(f), s, norm * self.z[e1] * self.z[e2] if weighted else norm))

    def tables(self) -> CentreTables:
        windows = sorted({channel[0] for channel in self.channels})
        self.log_rows = {w: len(self.channels) + k for k, w in enumerate(windows)}
        groups, entries, most = Stream([len(self.angular)]), Stream(), (0, 0, 0)
        for elements, subs in sorted(self.angular.items()):
            body, sizes = self._group(elements, subs, entries)
            most = tuple(map(max, most, sizes))
            groups.join(body)
        return CentreTables(
            radial=[_radial_stream(members) for members in self.radial],
            channels=[self._channel_stream(used) for used in self.used],
            groups=groups,
            entries=entries,
            n_functions=len(self.functions),
            n_channels=len(self.channels),
            n_entries=len(entries.integers),
            n_windows=len(windows),
            most_parts=most[0],
            most_channels=most[1],
            most_classes=most[2],
            reach=self.params.length_unit * max(f.rc for f in self.functions),
        )

    def _channel_stream(self, used: set[Channel]) -> Stream:
        windows, out = _by_window([(channel, self.channels[channel], 0.0) for channel in used]), Stream()
        out.add([len(windows)])
        for window, inside in windows.items():
            out.add([window.shape, self.log_rows[window], len(inside), *(c for _, c, _ in inside)], window.reals)
            for (_, eta, rs), _, _ in inside:
                out.add(reals=(eta, rs))
        return out

    def _group(self, elements: tuple[int, int], subs: dict, entries: Stream) -> tuple[Stream, tuple[int, int, int]]:
        parts = sorted({p for s in subs.values() for members in s.values() for p, *_ in members})
        channels = sorted({channel for s in subs.values() for channel in s})
        smooth = {(window, rs) for (window, rs, _), inside in subs.items() if any(eta for _, eta, _ in inside)}
        classes = sorted(smooth) + sorted({(window, rs) for window, rs, _ in subs} - smooth)
        body, before = Stream([self.channels[c] for c in channels]), len(entries.integers)
        body.add([self.log_rows[window] for window, _ in classes], [rs for _, rs in classes])
        for _, shape, reals in parts:
            body.add([shape], reals)
        for (window, rs, jk), inside in sorted(subs.items()):
            body.add([window.shape, int(jk), classes.index((window, rs)), len(inside)], [*window.reals, rs])
            powers = exponential_powers([eta for _, eta, _ in inside])
            for channel, members in sorted(inside.items()):
                members, eta = sorted(members), channel[1]
                names = [parts.index(p) for p, *_ in members]
                body.add([channels.index(channel), powers[eta] if jk else -1, len(members), *names], [eta])
                entries.add([s for _, s, _ in members], [m for *_, m in members])
        plain = int(any(not jk for *_, jk in subs))
        reach = max(window.end for window, *_ in subs)
        angles = sum(compact for compact, *_ in parts)
        head = [*elements, plain, len(parts) - angles, angles, len(channels), len(classes)]
        head += [len(smooth), len(subs), len(entries.integers) - before]
        out = Stream([*head, len(body.integers), len(body.reals)], [reach])
        out.join(body)
        return out, (len(parts), len(channels), len(classes))


def centre_tables(params: HdnnpParams) -> list[CentreTables]:
    """The streams of every element."""
    return [_Centre(params, m.functions).tables() for m in params.models]
