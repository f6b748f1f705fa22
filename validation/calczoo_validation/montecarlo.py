"""Monte-Carlo swaps of unlike atoms on a fixed lattice, many chains at once: one batched evaluation per step.

A step of one chain proposes to swap two atoms of different elements and accepts with min(1, exp(-dE/kT)) (Metropolis).
The first atom is drawn from all, the second from those of other elements: the probability of a pair depends on the
composition only, so the proposal is symmetric. Chains of one ladder may exchange their arrangements (parallel
tempering) with min(1, exp((1/kT_a - 1/kT_b) (E_a - E_b))). Energies are those of whole cells, so any model will do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.units import kB

from .dynamics import Sessions
from .dynamics_analysis import neighbours
from .engine import Evaluator


@dataclass
class Chain:
    """One chain: its arrangement, energy (eV) and temperature (K), and what was recorded."""

    atoms: Atoms
    temperature: float
    ladder: int = 0
    label: str = ""
    energy: float = float("nan")
    energies: list[float] = field(default_factory=list)
    samples: list[np.ndarray] = field(default_factory=list)
    proposed: int = 0
    accepted: int = 0
    reason: str = ""

    @property
    def alive(self) -> bool:
        return not self.reason


class SwapMonteCarlo:
    """Chains that are moved together. seed: of all random numbers; each chain has a generator of its own."""

    def __init__(self, evaluator: Evaluator, chains: Sequence[Chain], seed: tuple[int, ...] | int = 0):
        self.chains = list(chains)
        seed = seed if isinstance(seed, tuple) else (seed,)
        self._rng = [np.random.default_rng((*seed, k)) for k in range(len(self.chains))]
        self._exchange_rng = np.random.default_rng((*seed, 10**6))
        self._sessions = Sessions(evaluator)
        self.exchanges = [0, 0]  # tried, accepted
        self._swaps = 0

    def run(
        self,
        steps: int,
        every: int = 10,
        measure: Callable[[np.ndarray], np.ndarray] | None = None,
        exchange_every: int = 0,
        on_step: Callable[[int, int], None] | None = None,
    ) -> list[Chain]:
        """`steps` swaps proposed in every chain; each `every` steps the energy and measure(numbers) are recorded."""
        if any(np.isnan(c.energy) for c in self.chains if c.alive):
            self._begin()
        for k in range(1, steps + 1):
            self._step()
            if exchange_every and k % exchange_every == 0:
                self._exchange()
            if k % every == 0:
                for c in self.chains:
                    if c.alive:
                        c.energies.append(c.energy)
                        if measure:
                            c.samples.append(measure(c.atoms.numbers))
            if on_step and (k % 10 == 0 or k == steps):
                on_step(k, steps)
            if not any(c.alive for c in self.chains):
                break
        return self.chains

    def clear(self) -> None:
        """Forget what was recorded."""
        for c in self.chains:
            c.energies, c.samples, c.proposed, c.accepted = [], [], 0, 0
        self.exchanges = [0, 0]

    def _begin(self) -> None:
        results = self._sessions.evaluate([c.atoms for c in self.chains], ("energy",))
        for c, r in zip(self.chains, results, strict=True):
            if isinstance(r, dict):
                c.energy = r["energy"]
            else:
                c.reason = f"the evaluation failed: {str(r)[:200]}"

    def _step(self) -> None:
        moving, trials = [], []
        for c, rng in zip(self.chains, self._rng, strict=True):
            if not c.alive:
                continue
            numbers = c.atoms.numbers
            i = int(rng.integers(len(numbers)))
            others = np.flatnonzero(numbers != numbers[i])
            if not len(others):
                c.reason = "all atoms are of one element: there is nothing to swap"
                continue
            j = int(others[rng.integers(len(others))])
            trial = c.atoms.copy()
            trial.numbers[[i, j]] = numbers[[j, i]]
            moving.append((c, rng.random()))
            trials.append(trial)
        results = self._sessions.evaluate(trials, ("energy",)) if trials else []
        for (c, dice), trial, r in zip(moving, trials, results, strict=True):
            if not isinstance(r, dict):  # leaving such arrangements out would bias the averages
                c.reason = f"the evaluation of an arrangement failed: {str(r)[:200]}"
                continue
            c.proposed += 1
            rise = r["energy"] - c.energy
            if rise <= 0 or dice < np.exp(-rise / (kB * c.temperature)):
                c.atoms, c.energy = trial, r["energy"]
                c.accepted += 1

    def _exchange(self) -> None:
        """Neighbouring temperatures of each ladder, even and odd pairs in turn."""
        self._swaps += 1
        for ladder in sorted({c.ladder for c in self.chains}):
            rungs = sorted((c for c in self.chains if c.ladder == ladder), key=lambda c: c.temperature)
            for a, b in zip(rungs[self._swaps % 2 :: 2], rungs[self._swaps % 2 + 1 :: 2], strict=False):
                dice = self._exchange_rng.random()
                if not (a.alive and b.alive):
                    continue
                self.exchanges[0] += 1
                gain = (1 / a.temperature - 1 / b.temperature) * (a.energy - b.energy) / kB
                if gain >= 0 or dice < np.exp(gain):
                    a.atoms, b.atoms, a.energy, b.energy = b.atoms, a.atoms, b.energy, a.energy
                    self.exchanges[1] += 1


def shuffled(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """A copy with the elements in random order over the sites."""
    out = atoms.copy()
    out.numbers = rng.permutation(atoms.numbers)
    return out


@dataclass(frozen=True)
class Shells:
    """Pairs (i, j) of each neighbour shell of a lattice, with its distance (A) and mean number of neighbours."""

    distances: tuple[float, ...]
    pairs: tuple[tuple[np.ndarray, np.ndarray], ...]
    counts: tuple[float, ...]

    @classmethod
    def of(cls, atoms: Atoms, count: int, tolerance: float = 0.03) -> Shells:
        """The first `count` shells; distances within `tolerance` (relative) belong to one shell."""
        reach = 1.6 * (atoms.get_volume() / len(atoms)) ** (1 / 3)
        while True:
            i, j, d = neighbours(atoms.positions, atoms.cell.array, reach, "ijd")
            order = np.sort(d)
            edges = np.flatnonzero(np.diff(order) > tolerance * order[:-1]) if len(order) else np.zeros(0, int)
            if len(edges) >= count:
                break
            reach *= 1.25
        bounds = [0.0, *((order[e] + order[e + 1]) / 2 for e in edges[:count])]
        other = i != j  # an atom's own images say nothing about order
        groups = [(d > a) & (d <= b) & other for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        return cls(
            tuple(float(d[g].mean()) for g in groups), tuple((i[g], j[g]) for g in groups),
            tuple(float(g.sum() / len(atoms)) for g in groups),
        )  # fmt: skip


def warren_cowley(numbers: np.ndarray, shells: Shells, elements: Sequence[tuple[int, int]]) -> np.ndarray:
    """alpha (pairs of elements, shells) = 1 - P_ab / c_b: 0 without order, negative where a prefers b as neighbour.

    P_ab: share of b among the neighbours of a atoms in the shell. c_b is counted without the a atom itself, n_b/(N - 1)
    or (n_a - 1)/(N - 1), so that the mean over all arrangements of a finite cell is 0.
    Source: J. M. Cowley, doi:10.1103/PhysRev.77.669.
    """
    n = len(numbers)
    out = np.zeros((len(elements), len(shells.pairs)))
    for s, (i, j) in enumerate(shells.pairs):
        for e, (a, b) in enumerate(elements):
            of_a = numbers[i] == a
            share = float((numbers[j][of_a] == b).mean())
            out[e, s] = 1 - share * (n - 1) / (int((numbers == b).sum()) - (a == b))
    return out
