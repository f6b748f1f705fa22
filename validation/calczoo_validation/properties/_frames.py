"""A user's own reference calculations, sorted: which frames are volumes of one crystal, which are small strains of it.

A frame is an ASE Atoms whose calculator holds stored results (SinglePointCalculator); frames without an energy are left
out. Nothing is guessed: what is missing is said by PropertyFailure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa

from ..results import PropertyFailure, Status
from ..strain import from_voigt
from ..symmetry import Symmetry

SAME_SITE = 0.02  # scaled positions of one crystal at different volumes
SAME_SHAPE = 0.06  # of the cell's metric at equal volume, where the shape was relaxed
ISOTROPIC = 1e-3
SAME_VOLUME = 5e-4
RELAXED_FORCE = 0.05  # eV/A, larger forces are not those of a relaxed frame
SHEARED = 0.05, 0.03  # GPa, and of the pressure: deviatoric stress of a frame whose shape was relaxed
LEAST_VOLUMES = 5
WIDEST = 0.25  # of V/V0 - 1


@dataclass
class Frame:
    """One reference calculation; `stress` (6,) eV/A^3 and `forces` are None where the frame has none."""

    atoms: Atoms
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None

    @property
    def volume(self) -> float:
        return self.atoms.get_volume() / len(self.atoms)

    @property
    def fmax(self) -> float:
        return 0.0 if self.forces is None else float(np.linalg.norm(self.forces, axis=1).max(initial=0.0))


def read_frames(frames: Sequence[Atoms]) -> list[Frame]:
    """Periodic frames that have an energy, with what else they hold."""
    out = []
    for atoms in frames:
        stored = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
        if stored.get("energy") is None or not atoms.pbc.all() or abs(atoms.cell.volume) < 1e-6:
            continue
        stress = stored.get("stress")
        if stress is not None and np.shape(stress) == (3, 3):
            stress = full_3x3_to_voigt_6_stress(np.array(stress, dtype=float))
        forces = stored.get("forces")
        out.append(
            Frame(
                atoms,
                float(stored["energy"]),
                None if forces is None else np.array(forces, dtype=float),
                None if stress is None else np.array(stress, dtype=float),
            )  # fmt: skip
        )
    if not out:
        raise PropertyFailure(
            f"none of the {len(frames)} reference frames is a periodic crystal with an energy", Status.UNSUPPORTED
        )
    return out


def site_shift(a: Atoms, b: Atoms) -> float:
    """Largest difference of scaled positions, apart from a rigid shift; infinite for other elements or numbers."""
    if len(a) != len(b) or (a.numbers != b.numbers).any():
        return np.inf
    delta = a.get_scaled_positions(wrap=False) - b.get_scaled_positions(wrap=False)
    delta -= delta[0]
    delta -= np.round(delta)
    delta -= delta.mean(axis=0)
    return float(np.abs(delta).max())


def shape_difference(a: Atoms, b: Atoms) -> float:
    """Largest difference of the metric tensors, both brought to volume 1, relative to the larger edge."""
    ga, gb = (x.cell.array @ x.cell.array.T / abs(x.cell.volume) ** (2 / 3) for x in (a, b))
    return float(np.abs(ga - gb).max() / max(np.diag(ga).max(), np.diag(gb).max()))


def of_crystal(frames: list[Frame], crystal) -> list[Frame]:
    """Frames with the composition of the crystal under test (all of them where there is none)."""
    if crystal is None:
        return frames
    formula = crystal.label_formula()
    fitting = [f for f in frames if f.atoms.get_chemical_formula("hill", empirical=True) == formula]
    if not fitting:
        have = sorted({f.atoms.get_chemical_formula("hill", empirical=True) for f in frames})
        raise PropertyFailure(
            f"no reference frame of {formula} (the frames are of {', '.join(have[:8])})", Status.UNSUPPORTED
        )
    return fitting


def crystals(frames: list[Frame], crystal) -> list[list[Frame]]:
    """Frames grouped by crystal (same sites, similar shape), that of the crystal under test first, then by size."""
    groups: list[list[Frame]] = []
    for frame in sorted(frames, key=lambda f: f.energy / len(f.atoms)):
        for group in groups:
            leader = group[0].atoms
            if site_shift(frame.atoms, leader) < SAME_SITE and shape_difference(frame.atoms, leader) < SAME_SHAPE:
                group.append(frame)
                break
        else:
            groups.append([frame])
    number = None if crystal is None else Symmetry(crystal.atoms).number

    def rank(group: list[Frame]) -> tuple[bool, int]:
        return number is not None and Symmetry(group[0].atoms, 1e-3).number == number, len(group)

    return sorted(groups, key=rank, reverse=True)


def volume_series(frames: Sequence[Atoms], crystal) -> tuple[list[Frame], str]:
    """Frames of one crystal at different volumes, by volume, and a note on what was left out."""
    fitting = of_crystal(read_frames(frames), crystal)
    best: list[Frame] = []
    groups = crystals(fitting, crystal)
    for group in groups:
        series = _series(group)
        if len(series) >= LEAST_VOLUMES:
            best = series
            break
        best = max(best, series, key=len)
    if len(best) < LEAST_VOLUMES:
        shown = ", ".join(f"{f.volume:.2f}" for f in best)
        raise PropertyFailure(
            f"an equation of state needs at least {LEAST_VOLUMES} volumes of one crystal, scaled or with relaxed shape "
            f"and ions (forces below {RELAXED_FORCE} eV/A); the {len(fitting)} fitting reference frames hold "
            f"{len(best)} ({shown} A^3/atom)",
            Status.UNSUPPORTED,
        )
    return best, f"{len(best)} of {len(frames)} reference frames are volumes of this crystal; the others were not used."


def _series(group: list[Frame]) -> list[Frame]:
    """One frame per volume, the lowest; frames that are sheared or not relaxed do not count."""
    leader = group[0].atoms
    good: list[Frame] = []
    for frame in group:  # in the order of energy
        isotropic = shape_difference(frame.atoms, leader) < ISOTROPIC
        if (isotropic or _hydrostatic(frame)) and frame.fmax < RELAXED_FORCE:
            same = any(abs(frame.volume / other.volume - 1) < SAME_VOLUME for other in good)
            if not same and abs(frame.volume / group[0].volume - 1) < WIDEST:
                good.append(frame)
    return sorted(good, key=lambda f: f.volume)


def _hydrostatic(frame: Frame) -> bool:
    if frame.stress is None:
        return False
    tensor = from_voigt(frame.stress)
    pressure = np.trace(tensor) / 3
    return np.abs(tensor - pressure * np.eye(3)).max() < SHEARED[0] * GPa + SHEARED[1] * abs(pressure)
