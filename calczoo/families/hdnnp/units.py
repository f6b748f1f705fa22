"""Units of files that name none: Bohr, Hartree and their like in A and eV, with the constants of ase.units."""

from __future__ import annotations

import math

from ase import units

from ...core.errors import OptionError

LENGTHS = {"Bohr": units.Bohr, "Angstrom": 1.0, "nm": 10.0}
ENERGIES = {
    "Hartree": units.Hartree,
    "eV": 1.0,
    "Rydberg": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
}
_OTHER_NAMES = {
    "a0": "Bohr", "a": "Angstrom", "å": "Angstrom", "ang": "Angstrom", "angstroem": "Angstrom", "ångström": "Angstrom",
    "angstroms": "Angstrom", "ha": "Hartree", "eh": "Hartree", "ry": "Rydberg",
}  # fmt: skip


def length(unit: str | float) -> float:
    """One unit of length in A. Raises OptionError for an unknown name or a number that is not positive."""
    return _value(unit, LENGTHS, "length_unit", "A")


def energy(unit: str | float) -> float:
    """One unit of energy in eV. Raises OptionError for an unknown name or a number that is not positive."""
    return _value(unit, ENERGIES, "energy_unit", "eV")


def length_name(value: float) -> str | float:
    """The name of a unit of that many A; the number itself where it has none."""
    return next((name for name, known in LENGTHS.items() if known == value), value)


def energy_name(value: float) -> str | float:
    """The name of a unit of that many eV; the number itself where it has none."""
    return next((name for name, known in ENERGIES.items() if known == value), value)


def _value(unit: str | float, known: dict[str, float], option: str, base: str) -> float:
    allowed = f"one of {', '.join(known)}, or a number from 1e-10 to 1e10, the unit in {base}"
    if isinstance(unit, str):
        text = unit.strip()
        name = _OTHER_NAMES.get(text.lower(), text)
        found = {k.lower(): v for k, v in known.items()}.get(name.lower())
        if found is not None:
            return found
    try:
        value = float(unit)
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(unit, bool) or not 1e-10 <= value <= 1e10:  # nor NaN
        raise OptionError(f"{option} is {unit!r}; allowed is {allowed}")
    return value
