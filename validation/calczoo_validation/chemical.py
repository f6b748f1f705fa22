"""Chemical potentials for defects, all from the model itself.

An element's reference is its lowest phase among fcc, bcc, hcp and diamond (for carbon graphite too and, where it is a
gas, the molecule X2), each relaxed with the same model. In a compound with n_X atoms of X per cell of energy E,
equilibrium demands

    sum_X n_X mu_X = E,    mu_X <= mu_X(element),

and the corners of that range are reported: in each of them every element but one has its elemental value. For AB the
corner where B follows from the compound is "A_rich"; with more elements it is named "B_poor".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from .relax import relax
from .strain import scaled
from .structures import Crystal, parse_proto
from .symmetry import Symmetry

PHASES = ("fcc", "bcc", "hcp", "diamond")
GASES = ("H", "N", "O", "F", "Cl", "Br", "I")
SCALES = np.linspace(0.78, 1.34, 29)
BONDS = np.linspace(0.62, 1.74, 29)  # molecules: the bond of N2 is 0.77 of two covalent radii, that of H2 1.2
BOX = 14.0  # A, around a molecule


@dataclass
class Element:
    """Reference of one element: energy per atom in eV, the phase it belongs to, or the reason why there is none."""

    energy: float | None = None
    phase: str = ""
    reason: str = ""
    tried: dict[str, float | None] = field(default_factory=dict)

    def as_data(self) -> dict:
        tried = {k: None if v is None else round(v, 8) for k, v in self.tried.items()}
        return {"energy": self.energy, "phase": self.phase, "reason": self.reason, "tried": tried}


def elemental_references(ctx, elements: Sequence[str]) -> dict[str, Element]:
    """The lowest phase of each element: one call for all volume scans, one for all relaxations."""
    crystals = {(x, p): parse_proto(f"{x}:{p}").atoms for x in elements for p in PHASES}
    crystals |= {(x, "graphite"): _graphite() for x in elements if x == "C"}
    crystals |= {(x, "molecule"): _molecule(x, 1.0) for x in elements if x in GASES}
    trials = [
        _molecule(key[0], s) if key[1] == "molecule" else scaled(atoms, s)
        for key, atoms in crystals.items() for s in _scales(key)
    ]  # fmt: skip
    with ctx.progress.step("phases of the elements", len(trials)):
        got = ctx.evaluator.evaluate(trials, ("energy",), errors="return")
    energies = np.array([r["energy"] if isinstance(r, dict) else np.nan for r in got]).reshape(len(crystals), -1)
    problems = {key: next((str(r) for r in got[k * len(SCALES) : (k + 1) * len(SCALES)] if not isinstance(r, dict)), "")
                for k, key in enumerate(crystals)}  # fmt: skip
    starts = {}
    for key, energy in zip(crystals, energies, strict=True):
        scale = _minimum(energy, _scales(key))
        if scale is not None:
            starts[key] = _molecule(key[0], scale) if key[1] == "molecule" else scaled(crystals[key], scale)
    lowest = _relaxed(ctx, starts)
    out = {}
    for x in elements:
        tried = {p: lowest.get((x, p)) for y, p in crystals if y == x}
        good = {p: e for p, e in tried.items() if e is not None}
        if not good:
            why = next((problems[k] for k in crystals if k[0] == x and problems[k]), "no energy minimum in any phase")
            out[x] = Element(None, "", f"no elemental phase of {x} in this model: {why}", tried)
        elif max(abs(e) for e in good.values()) < 1e-6:
            out[x] = Element(None, "", f"pure {x} has no cohesion in this model", tried)
        else:
            phase = min(good, key=lambda p: good[p])
            out[x] = Element(good[phase], phase, "", tried)
    return out


def _molecule(element: str, scale: float) -> Atoms:
    bond = 2 * covalent_radii[atomic_numbers[element]] * scale
    return Atoms([element] * 2, [(0, 0, 0), (0, 0, bond)], cell=[BOX] * 3, pbc=True)


def _graphite() -> Atoms:
    """AB stacking with the measured lengths; a model without forces between layers keeps them as they are."""
    shape = 2.461 * np.array([[1, 0, 0], [-0.5, 3**0.5 / 2, 0], [0, 0, 2.725]])
    places = [[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    return Atoms("C4", scaled_positions=places, cell=shape, pbc=True)


def _scales(key: tuple[str, str]) -> np.ndarray:
    return BONDS if key[1] == "molecule" else SCALES


def _minimum(energy: np.ndarray, scales: np.ndarray) -> float | None:
    """Scale of the energy minimum next to the first guess; None without one."""
    inner = [
        k for k in range(1, len(scales) - 1)
        if np.isfinite(energy[k - 1 : k + 2]).all() and energy[k] < energy[k - 1] and energy[k] <= energy[k + 1]
    ]  # fmt: skip
    if not inner:
        return None
    best = min(inner, key=lambda k: abs(np.log(scales[k])))
    left, mid, right = energy[best - 1 : best + 2]
    return float(scales[best] + 0.5 * (left - right) / (left - 2 * mid + right) * (scales[1] - scales[0]))


def _relaxed(ctx, starts: dict) -> dict:
    """Energy per atom of each start that relaxes; crystals keep their space group, molecules their box."""
    out = {}
    kinds = {
        "full": [k for k in starts if k[1] != "molecule"], "fixed": [k for k in starts if k[1] == "molecule"]
    }  # fmt: skip
    with ctx.progress.step("relaxing the elements", len(starts)):
        for cell, keys in kinds.items():
            if not keys:
                continue
            done = relax(
                ctx.evaluator, [starts[k] for k in keys], cell=cell, fmax=ctx.general.crystal_fmax,
                smax=1e-6, symmetric=cell == "full", max_steps=ctx.general.max_steps,
            )  # fmt: skip
            for key, r in zip(keys, done, strict=True):
                out[key] = r.energy / len(r.atoms) if r.converged else None
    return out


@dataclass
class Potentials:
    """Chemical potentials in each limit, {limit: {element: eV}}; empty with the reason where there are none.

    An elemental crystal has the one limit "". `enthalpy` is that of the compound, eV per atom.
    """

    limits: dict[str, dict[str, float]]
    energy: float
    reason: str = ""
    warning: str = ""
    enthalpy: float | None = None
    elements: dict[str, Element] = field(default_factory=dict)

    def as_data(self) -> dict:
        return {
            "limits": self.limits, "reason": self.reason, "enthalpy_eV_atom": self.enthalpy,
            "elements": {x: e.as_data() for x, e in self.elements.items()},
        }  # fmt: skip


def chemical_potentials(ctx, energy: float, extra: Sequence[str] = ()) -> Potentials:
    """The limits of the crystal whose cell ctx.crystal has the given energy (eV).

    `extra` elements, not in the crystal, always have their elemental values; one without makes the limits unusable.
    """
    crystal: Crystal = ctx.crystal
    symbols = crystal.atoms.get_chemical_symbols()
    own = crystal.elements
    wanted = [*(own if len(own) > 1 else []), *extra]
    elements = elemental_references(ctx, wanted) if wanted else {}
    outside = {x: elements[x].energy for x in extra if elements[x].energy is not None}
    if len(own) == 1:
        return Potentials({"": {own[0]: energy / len(symbols), **outside}}, energy, elements=elements)
    missing = [elements[x].reason for x in own if elements[x].energy is None]
    if missing:
        return Potentials({}, energy, "; ".join(missing), elements=elements)
    pure = {x: float(elements[x].energy) for x in own}
    count = {x: symbols.count(x) for x in own}
    gain = energy - sum(count[x] * pure[x] for x in own)
    limits = {}
    for poor in own:
        name = f"{next(x for x in own if x != poor)}_rich" if len(own) == 2 else f"{poor}_poor"
        limits[name] = {**pure, poor: pure[poor] + gain / count[poor], **outside}
    out = Potentials(dict(sorted(limits.items())), energy, "", "", gain / len(symbols), elements)
    if gain > 0:
        out.warning = (
            f"the compound is {1e3 * gain / len(symbols):.0f} meV/atom above its elements in this model: the limits "
            "of the chemical potentials exclude each other"
        )
    return out


def formula_units(crystal: Crystal) -> tuple[dict[str, int], int]:
    """Atoms of each element in one formula unit, and formula units in the cell."""
    symbols = crystal.atoms.get_chemical_symbols()
    count = {x: symbols.count(x) for x in crystal.elements}
    units = int(np.gcd.reduce(list(count.values())))
    return {x: n // units for x, n in count.items()}, units


def same_as_elemental(crystal: Crystal, element: Element) -> bool:
    """Whether an elemental crystal is the phase that the model puts lowest."""
    numbers = {"fcc": 225, "bcc": 229, "hcp": 194, "diamond": 227}
    return numbers.get(element.phase) == Symmetry(crystal.atoms).number
