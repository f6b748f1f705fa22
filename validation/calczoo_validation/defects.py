"""What all point-defect properties share: supercells, distinct sites and pairs, relaxation, image interaction.

Formation energy of a defect that changes the number of atoms of element X by dn_X, in a supercell of N sites:

    E_f(N) = E(defect, relaxed) - E(perfect, N) - sum_X dn_X mu_X

At fixed cell the defect feels its periodic images (see convergence.py). The residual stress of the fixed cell gives the
elastic dipole P = -V (sigma - sigma_perfect), the relaxation volume dV = -V tr(S : sigma) with the compliance S of the
perfect crystal, and the energy at zero pressure, lower by V sigma : S : sigma / 2 (C. Varvenne et al., Phys. Rev. B 88,
134102, doi:10.1103/PhysRevB.88.134102).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list

from .options import option
from .relax import relax
from .strain import strain_matrix, strained
from .structures import Crystal
from .symmetry import Symmetry

SHELL = 0.06  # neighbours whose distances agree within this share form one shell (hcp: 12 in two halves)
STRAIN = 2e-3  # of the cells that the compliance comes from
RATTLE = 0.1  # A, on the neighbours of a vacancy; a tenth of it elsewhere
INWARD = 0.2  # of their distance, the first move of the neighbours towards the vacancy


@dataclass(frozen=True)
class DefectOptions:
    """Settings of every point-defect property: supercells and force tolerance."""

    lengths: tuple[float, ...] = option(
        (10.5, 13.5), "smallest distance of opposite faces of each supercell", unit="A", smoke=(8.0,),
        full=(10.5, 13.5, 17.5), low=2.0, high=200.0,
    )  # fmt: skip
    counts: tuple[int, ...] = option(
        (0,), "repetitions of the conventional cell for each supercell, instead of lengths; 0: by lengths", low=0,
        high=100,
    )  # fmt: skip
    fmax: float = option(1e-3, "largest force left", unit="eV/A", full=1e-4, low=1e-7, high=0.1)


# -- supercells, sites, pairs ------------------------------------------------------------------------------------------


def supercells(
    crystal: Crystal, lengths: Sequence[float], counts: Sequence[int] = (0,)
) -> list[tuple[Atoms, tuple[int, ...]]]:
    """A supercell for each count, or else for each length, each larger than the one before.

    Two lengths may round to the same cell: the later one is then increased until its cell is larger.
    """
    if any(counts):
        base = crystal.conventional_cell()
        return [(base.repeat((n, n, n)), (n, n, n)) for n in sorted({n for n in counts if n})]
    cells: list[tuple[Atoms, tuple[int, ...]]] = []
    for length in lengths:
        cell = crystal.supercell(length)
        while cells and len(cell[0]) <= len(cells[-1][0]):
            length += 0.5
            cell = crystal.supercell(length)
        cells.append(cell)
    return cells


def locate(cell: Atoms, position: np.ndarray) -> int:
    """Index of the atom nearest to a position."""
    return int(find_mic(cell.positions - position, cell.cell, pbc=True)[1].argmin())


def nearest_distance(atoms: Atoms) -> float:
    """Shortest distance between two atoms of a crystal."""
    cutoff = 1.2 * (atoms.get_volume() / len(atoms)) ** (1 / 3)
    while True:
        distances = neighbor_list("d", atoms, cutoff)
        if len(distances):
            return float(distances.min())
        cutoff *= 1.3


@dataclass(frozen=True)
class Site:
    """One symmetry-distinct atom of the crystal. `tag` names it ("" for the only one)."""

    atom: int
    element: str
    tag: str


def distinct_sites(crystal: Crystal) -> list[Site]:
    """Distinct atoms, tagged "", "_site1" ... in an elemental crystal, "_Ga", "_O1" ... in a compound."""
    atoms, symbols = Symmetry(crystal.atoms).distinct_atoms(), crystal.atoms.get_chemical_symbols()
    if len(crystal.elements) == 1:
        return [Site(a, symbols[a], "" if len(atoms) == 1 else f"_site{k + 1}") for k, a in enumerate(atoms)]
    sites = []
    for a in atoms:
        same = [b for b in atoms if symbols[b] == symbols[a]]
        number = "" if len(same) == 1 else str(same.index(a) + 1)
        sites.append(Site(a, symbols[a], f"_{symbols[a]}{number}"))
    return sites


@dataclass(frozen=True)
class Pair:
    """One symmetry-distinct pair: from atom `first` along `vector` (A) to (an image of) `second`; shells from 1."""

    first: int
    second: int
    vector: tuple[float, float, float]
    distance: float
    shell: int
    label: str


def distinct_pairs(crystal: Crystal, shells: int, same_element: bool = False) -> list[Pair]:
    """Unordered pairs up to the given neighbour shell of each distinct atom, one of each orbit of the space group.

    With `same_element` only pairs of one element count, also for the numbering of the shells. A label is the shell's
    number, with a letter where a shell holds several orbits, and the elements in a compound.
    """
    atoms, symmetry = crystal.atoms, Symmetry(crystal.atoms)
    symbols, found = atoms.get_chemical_symbols(), []
    for first in symmetry.distinct_atoms():
        for shell, second, vector, distance in _neighbour_shells(atoms, first, shells, same_element):
            if not any(_same_pair(symmetry, (first, second, vector), (p[1], p[2], p[3])) for p in found):
                found.append((shell, first, second, vector, distance))
    names = []
    for shell, first, second, *_ in found:
        elements = "-".join(sorted((symbols[first], symbols[second])))
        names.append(str(shell) if len(crystal.elements) == 1 else f"{shell}_{elements}")
    out = []
    for k, (shell, first, second, vector, distance) in enumerate(found):
        letter = chr(ord("a") + names[:k].count(names[k])) if names.count(names[k]) > 1 else ""
        head, _, tail = names[k].partition("_")
        label = f"{head}{letter}_{tail}" if tail else f"{head}{letter}"
        out.append(Pair(first, second, tuple(float(x) for x in vector), distance, shell, label))
    return out


def _neighbour_shells(atoms: Atoms, first: int, shells: int, same_element: bool):
    """(shell, neighbour, vector, distance) of one atom, nearest first."""
    cutoff = 2.0 * nearest_distance(atoms)
    while True:
        i, j, distance, vector = neighbor_list("ijdD", atoms, cutoff)
        mine = i == first
        if same_element:
            mine &= atoms.numbers[j] == atoms.numbers[first]
        order = np.lexsort((*np.round(vector[mine], 6).T, np.round(distance[mine], 6)))
        j, distance, vector = j[mine][order], distance[mine][order], vector[mine][order]
        number, start, out = 0, -np.inf, []
        for second, d, v in zip(j, distance, vector, strict=True):
            if d > start * (1 + SHELL) or number == 0:
                number, start = number + 1, d
            out.append((number, int(second), v, float(d)))
        if number > shells:  # the last one may be cut: only complete shells are handed out
            return [entry for entry in out if entry[0] <= shells]
        cutoff *= 1.3


def _same_pair(symmetry: Symmetry, one, other) -> bool:
    first, second, vector = one
    a, b, target = other
    for rotation, images in zip(symmetry.rotations, symmetry.permutations, strict=True):
        turned = rotation @ vector
        if images[first] == a and images[second] == b and np.abs(turned - target).max() < 1e-3:
            return True
        if images[first] == b and images[second] == a and np.abs(turned + target).max() < 1e-3:
            return True
    return False


# -- perfect crystal ---------------------------------------------------------------------------------------------------


@dataclass
class Host:
    """A perfect supercell with its energy (eV) and stress (eV/A^3)."""

    atoms: Atoms
    counts: tuple[int, ...]
    energy: float = 0.0
    stress: np.ndarray = field(default_factory=lambda: np.zeros(6))

    def __len__(self) -> int:
        return len(self.atoms)


def hosts(ctx, stress: bool = False) -> list[Host]:
    """The supercells that the options ask for, evaluated in one call."""
    cells = supercells(ctx.crystal, ctx.options.lengths, ctx.options.counts)
    wanted = ("energy", "stress") if stress else ("energy",)
    with ctx.progress.step("perfect supercells"):
        got = ctx.evaluator.evaluate([c for c, _ in cells], wanted)
    return [Host(c, n, r["energy"], r.get("stress", np.zeros(6))) for (c, n), r in zip(cells, got, strict=True)]


def compliance(ctx) -> np.ndarray | None:
    """(6, 6) compliance in A^3/eV of the crystal with relaxed ions; None where it is not stable."""
    atoms = ctx.crystal.atoms
    cells = [strained(atoms, strain_matrix(j, sign * STRAIN)) for j in range(6) for sign in (1.0, -1.0)]
    with ctx.progress.step("stiffness of the crystal"):
        done = relax(
            ctx.evaluator, cells, fmax=ctx.general.crystal_fmax, relative=1e-3, floor=1e-7,
            max_steps=ctx.general.max_steps,
        )  # fmt: skip
        got = ctx.evaluator.evaluate([d.atoms for d in done], ("energy", "stress"))
    sigma = np.array([r["stress"] for r in got]).reshape(6, 2, 6)
    stiffness = Symmetry(atoms).elastic(((sigma[:, 0] - sigma[:, 1]) / (2 * STRAIN)).T)
    return np.linalg.inv(stiffness) if np.linalg.eigvalsh(stiffness)[0] > 0 else None


# -- relaxation of many defects ----------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """One relaxed defect; `error` is set, and the rest empty, where the calculator could not evaluate its start."""

    start: Atoms
    atoms: Atoms | None = None
    start_energy: float = np.nan
    energy: float = np.nan
    stress: np.ndarray | None = None
    fmax: float = np.nan
    steps: int = 0
    moved: float = 0.0
    converged: bool = False
    reason: str = ""
    error: str = ""

    def as_data(self) -> dict:
        number = lambda x, n: None if not np.isfinite(x) else round(float(x), n)  # noqa: E731
        return {
            "atoms": len(self.start), "energy": number(self.energy, 8), "start_energy": number(self.start_energy, 8),
            "fmax": number(self.fmax, 8), "steps": self.steps, "moved": round(self.moved, 4),
            "converged": self.converged, "reason": self.reason or self.error,
        }  # fmt: skip


def relax_defects(
    ctx, starts: Sequence[Atoms], text: str, stress: bool = False, free_cell: bool = False
) -> list[Outcome]:
    """Relax all starts in one call. A start that cannot be evaluated is reported in its own outcome."""
    outcomes = [Outcome(a) for a in starts]
    with ctx.progress.step(text, len(starts)):
        first = ctx.evaluator.evaluate(starts, ("energy", "forces"), errors="return")
        for outcome, got in zip(outcomes, first, strict=True):
            if isinstance(got, dict):
                outcome.start_energy = got["energy"]
            else:
                outcome.error = f"the calculator cannot evaluate it: {got}"
        good = [o for o in outcomes if not o.error]
        done = relax(
            ctx.evaluator, [o.start for o in good], cell="full" if free_cell else "fixed",
            fmax=ctx.options.fmax, max_steps=ctx.general.max_steps, on_step=ctx.progress.update,
        )  # fmt: skip
        for outcome, r in zip(good, done, strict=True):
            outcome.atoms, outcome.energy, outcome.fmax, outcome.steps = r.atoms, r.energy, r.fmax, r.steps
            outcome.converged, outcome.reason = r.converged, r.reason
            outcome.moved = displacement(outcome.start, r.atoms)
        if stress and not free_cell and good:
            got = ctx.evaluator.evaluate([o.atoms for o in good], ("energy", "stress"), errors="return")
            for outcome, r in zip(good, got, strict=True):
                outcome.stress = r["stress"] if isinstance(r, dict) else None
    return outcomes


def carry_over(
    small: Atoms, small_centre: np.ndarray, moves: np.ndarray, large: Atoms, large_centre: np.ndarray
) -> np.ndarray:
    """Positions of `large` with the displacements of a relaxed defect in a smaller supercell.

    small, large: supercells of one crystal, with the same sites taken out around their centres; moves: (n, 3) for the
    atoms of `small`. Atoms of `large` without a counterpart stay.
    """
    home = find_mic(small.positions - small_centre, small.cell, pbc=True)[0]
    places = find_mic(large.positions - large_centre, large.cell, pbc=True)[0]
    out = large.positions.copy()
    for target, move in zip(home, moves, strict=True):
        gap = np.linalg.norm(places - target, axis=1)
        if gap.min() < 0.1:
            out[gap.argmin()] += move
    return out


def displaced(plain: Atoms, centres: Sequence[np.ndarray], seed: int) -> Atoms:
    """A start of lower symmetry: the neighbours of the vacancies moved towards them, everything kicked at random."""
    out, near = plain.copy(), np.zeros(len(plain), dtype=bool)
    for centre in centres:
        vectors, away = find_mic(plain.positions - centre, plain.cell, pbc=True)
        around = away < 1.2 * away.min()
        out.positions[around] -= INWARD * vectors[around]
        near |= around
    kicks = np.random.default_rng(seed).normal(scale=RATTLE, size=(len(out), 3))
    out.positions += kicks * np.where(near, 1.0, 0.1)[:, None]
    return out


def displacement(before: Atoms, after: Atoms) -> float:
    """Largest move of an atom (A), that of the cell taken out."""
    scaled = after.get_scaled_positions(wrap=False) - before.get_scaled_positions(wrap=False)
    scaled -= np.round(scaled)
    return float(np.linalg.norm(scaled @ before.cell.array, axis=1).max(initial=0.0))


def formation(
    outcome: Outcome, host: Host, changes: dict[str, int], mu: dict[str, float], start: bool = False
) -> float:
    """E_f = E(defect) - E(perfect) - sum_X dn_X mu_X in eV; with `start`, of the structure before its relaxation."""
    energy = outcome.start_energy if start else outcome.energy
    return energy - host.energy - sum(n * mu[x] for x, n in changes.items())


def relaxation_volume(outcome: Outcome, host: Host, s: np.ndarray | None) -> tuple[float, float] | None:
    """(dV in A^3, energy gained at zero pressure in eV) from the stress left in the fixed cell; None without it."""
    if outcome.stress is None or s is None:
        return None
    sigma, volume = outcome.stress - host.stress, host.atoms.get_volume()
    strain = -s @ sigma
    return float(volume * strain[:3].sum()), float(volume * sigma @ s @ sigma / 2)
