"""Frames of a user's own reference calculations: do energies, forces and stresses belong together?

Energy differences of neighbouring frames are held against what forces and stresses predict,

    E_2 - E_1 = -sum (F_1 + F_2)/2 . dr         at equal cells,
    E_2 - E_1 = V tr[(sigma_1 + sigma_2)/2 eps]  at equal fractional positions,

which finds wrong signs, wrong units and mixed settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import get_distances
from ase.stress import voigt_6_to_full_3x3_stress
from scipy.linalg import logm

SAME = 1e-4  # A, or fraction: the same structure
JUMP = 1e-3  # eV/atom between copies of one structure
NET_FORCE = 5e-3  # eV/A per atom
LARGE_FORCE = 50.0  # eV/A
SMALL_MOVE, SMALL_STRAIN = 0.15, 0.08
OUTLIER = 12.0  # robust standard deviations
LEVEL_KEYS = ("level_of_theory", "theory", "functional", "xc")


def lint_frames(frames: Sequence[Atoms], where: str = "frames") -> list[Any]:
    """Findings (lint.Finding) on frames with reference results."""
    from .lint import Finding

    if not frames:
        return [Finding("error", where, "no frames")]
    data = [_results(a) for a in frames]
    out = [Finding(s, where, t) for s, t in _presence(frames, data)]
    out += [Finding(s, where, t) for s, t in _levels(frames)]
    out += [Finding(s, where, t) for s, t in _each(frames, data)]
    out += [Finding(s, where, t) for s, t in _copies(frames, data)]
    out += [Finding(s, where, t) for s, t in _derivatives(frames, data)]
    out += [Finding(s, where, t) for s, t in _energies(frames, data)]
    return out


def _results(atoms: Atoms) -> dict[str, Any]:
    """energy, forces, stress (3, 3) of a frame, as far as it has them."""
    got = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    out = {k: got[k] for k in ("energy", "forces") if got.get(k) is not None}
    if got.get("stress") is not None:
        stress = np.asarray(got["stress"], dtype=float)
        out["stress"] = voigt_6_to_full_3x3_stress(stress) if stress.shape == (6,) else stress.reshape(3, 3)
    return out


def level_of(atoms: Atoms) -> str:
    """Level of theory that a frame states, "" where it states none."""
    return next((str(atoms.info[k]) for k in LEVEL_KEYS if atoms.info.get(k)), "")


def _some(indices: Sequence[int]) -> str:
    head = ", ".join(str(k) for k in list(indices)[:5])
    return f"{head} and {len(indices) - 5} more" if len(indices) > 5 else head


def _presence(frames, data):
    for key in ("energy", "forces", "stress"):
        lack = [k for k, d in enumerate(data) if key not in d]
        if key == "stress":
            lack = [k for k in lack if frames[k].pbc.all()]
        if lack:
            severity = "error" if key == "energy" else "note"
            yield severity, f"{len(lack)} of {len(frames)} frames have no {key} (frame {_some(lack)})"
        bad = [k for k, d in enumerate(data) if key in d and not np.isfinite(d[key]).all()]
        if bad:
            yield "error", f"{key} is not finite in frame {_some(bad)}"


def _levels(frames):
    levels = [level_of(a) for a in frames]
    named = sorted({x for x in levels if x})
    if not named:
        yield "warning", "no level of theory is stated (info key level_of_theory): comparisons have nothing to refer to"
    elif len(named) > 1:
        yield "error", f"mixed levels of theory: {'; '.join(named[:4])}{' ...' if len(named) > 4 else ''}"
    elif "" in levels:
        yield "warning", f"{levels.count('')} of {len(frames)} frames state no level of theory, the others {named[0]}"


def _each(frames, data):
    sums = {k: np.abs(np.mean(d["forces"], axis=0)).max() for k, d in enumerate(data) if len(d.get("forces", ()))}
    net = [k for k, x in sums.items() if x > NET_FORCE]
    if net:
        worst = max(sums[k] for k in net)
        yield "warning", f"forces do not sum to zero in frame {_some(net)} (up to {worst:.3f} eV/A per atom)"
    large = [k for k, d in enumerate(data) if "forces" in d and np.abs(d["forces"]).max(initial=0.0) > LARGE_FORCE]
    if large:
        yield "warning", f"forces above {LARGE_FORCE:g} eV/A in frame {_some(large)}"
    close = [k for k, a in enumerate(frames) if len(a) <= 300 and _closest(a) < 0.5]
    if close:
        yield "warning", f"atoms closer than half the sum of their covalent radii in frame {_some(close)}"


def _closest(atoms: Atoms) -> float:
    """Smallest distance over the sum of covalent radii, nearest images."""
    if len(atoms) < 2:
        return np.inf
    d = get_distances(atoms.positions, cell=atoms.cell, pbc=atoms.pbc)[1]
    np.fill_diagonal(d, np.inf)
    radii = covalent_radii[atoms.numbers]
    return float((d / (radii[:, None] + radii[None, :])).min())


def _key(atoms: Atoms, digits: int = 3) -> tuple:
    cell = np.round(atoms.cell.array, digits) + 0.0
    fractions = np.round(atoms.get_scaled_positions(), digits) % 1.0
    return (tuple(atoms.numbers), tuple(atoms.pbc), cell.tobytes(), np.round(fractions, digits).tobytes())


def _copies(frames, data):
    groups: dict[tuple, list[int]] = {}
    for k, a in enumerate(frames):
        if "energy" in data[k]:
            groups.setdefault(_key(a), []).append(k)
    jumps, same = [], 0
    for members in groups.values():
        if len(members) < 2:
            continue
        first = [k for k in members[1:] if _distance(frames[members[0]], frames[k]) < SAME]
        gaps = [abs(data[k]["energy"] - data[members[0]]["energy"]) / max(1, len(frames[k])) for k in first]
        if first and max(gaps) > JUMP:
            jumps.append((members[0], first[int(np.argmax(gaps))], max(gaps)))
        same += len(first)
    if jumps:
        a, b, gap = max(jumps, key=lambda j: j[2])
        yield (
            "error",
            (
                f"the same structure has different energies in {len(jumps)} case(s): frames {a} and {b} differ by "
                f"{1e3 * gap:.1f} meV/atom. Mixed settings or an unfinished calculation"
            ),
        )
    elif same:
        yield "note", f"{same} of {len(frames)} frames are copies of earlier ones"


def _distance(a: Atoms, b: Atoms) -> float:
    gap = a.get_scaled_positions() - b.get_scaled_positions()
    gap -= np.rint(gap)
    return float(max(np.abs(gap @ a.cell.array).max(initial=0.0), np.abs(a.cell.array - b.cell.array).max()))


def _derivatives(frames, data):
    """Slopes of actual over predicted energy differences, for moves at equal cell and strains at equal fractions."""
    moves, strains = [], []
    last: dict[tuple, int] = {}
    for k, a in enumerate(frames):
        key = (tuple(a.numbers), tuple(a.pbc))
        j = last.get(key)
        last[key] = k
        if j is None or "energy" not in data[k] or "energy" not in data[j]:
            continue
        b = frames[j]
        gap = a.get_scaled_positions(wrap=False) - b.get_scaled_positions(wrap=False) if a.pbc.all() else None
        actual = data[k]["energy"] - data[j]["energy"]
        if gap is not None and np.abs(gap - np.rint(gap)).max() < SAME and "stress" in data[k] and "stress" in data[j]:
            deformation = np.linalg.solve(b.cell.array, a.cell.array)
            strain = np.real(logm(deformation))
            if SAME < np.abs(strain).max() < SMALL_STRAIN:
                mean = (data[k]["stress"] * a.get_volume() + data[j]["stress"] * b.get_volume()) / 2
                predicted = float(np.sum(mean * (strain + strain.T) / 2))
                # Cells that symmetry makes equal, as strains along x and along y, differ by next to nothing.
                if abs(predicted) > 0.1 * np.linalg.norm(mean) * np.linalg.norm((strain + strain.T) / 2):
                    strains.append((predicted, actual))
        elif np.abs(a.cell.array - b.cell.array).max() < SAME and "forces" in data[k] and "forces" in data[j]:
            move = a.positions - b.positions
            if a.pbc.all():
                move = (gap - np.rint(gap)) @ a.cell.array
            if SAME < np.abs(move).max() < SMALL_MOVE:
                moves.append((float(-np.sum((data[k]["forces"] + data[j]["forces"]) / 2 * move)), actual))
    yield from _slope(moves, "forces", "eV/A")
    yield from _slope(strains, "stresses", "eV/A^3, positive under tension")


def _slope(pairs, name: str, convention: str):
    """Judge the slope of actual over predicted differences; it should be 1."""
    if len(pairs) < 2:
        return
    x, y = np.array(pairs).T
    if not (x @ x > 0 and y @ y > 0):
        return
    slope, correlation = x @ y / (x @ x), x @ y / np.sqrt((x @ x) * (y @ y))
    text = f"energy differences of {len(pairs)} neighbouring frames are {slope:.3g} times what the {name} predict"
    if correlation < -0.9:
        yield "error", f"{text}: the sign of the {name} is wrong (expected {convention})"
    elif correlation > 0.9 and not 0.5 < slope < 2:
        yield "error", f"{text}: the {name} are in another unit (expected {convention})"
    elif correlation > 0.9 and not 0.9 < slope < 1.1:
        yield "warning", f"{text}: energies and {name} do not belong together (mixed settings, too small a basis)"
    elif correlation < 0.5 and len(pairs) >= 5:
        yield "warning", f"{text} (correlation {correlation:.2f}): energies and {name} do not belong together"


def _energies(frames, data):
    """Isolated outliers of the energy per atom, after the best reference energy of each element."""
    have = [k for k, d in enumerate(data) if "energy" in d and np.isfinite(d["energy"]) and len(frames[k])]
    if len(have) < 10:
        return
    species = sorted({z for k in have for z in frames[k].numbers})
    share = np.array([[np.mean(frames[k].numbers == z) for z in species] for k in have])
    energy = np.array([data[k]["energy"] / len(frames[k]) for k in have])
    rest = energy - share @ np.linalg.lstsq(share, energy, rcond=None)[0]
    rest = rest - np.median(rest)
    spread = max(1.4826 * np.median(np.abs(rest)), 2e-3)
    far = [have[k] for k in np.flatnonzero(np.abs(rest) > OUTLIER * spread)]
    if far:
        largest = float(np.abs(rest).max())
        yield "warning", f"isolated energies: frame {_some(far)}, up to {largest:.2f} eV/atom from the others' median"
