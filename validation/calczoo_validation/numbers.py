"""How numbers are printed: as many digits as the error bar allows."""

from __future__ import annotations

import math
import re
from typing import Any

MOST_DIGITS = {
    "A": 4, "A^2": 3, "A^3": 4, "eV": 4, "meV": 2, "GPa": 2, "THz": 3, "kB": 4, "%": 3, "": 4, "J/m^2": 4, "eV/A": 4,
    "eV/A^2": 5, "meV/A^2": 2, "meV/atom": 2, "K": 1, "ps": 3, "g/cm^3": 4, "A^2/ps": 4, "W/m/K": 2,
    "mJ/m^2": 1, "1/TPa": 4, "eV/atom/ps": 8, "km/s": 3, "1e-6/K": 3,
}  # fmt: skip
SUPERSCRIPTS = {"2": "²", "3": "³"}


def digits(error: float | None, unit: str) -> int:
    """Decimals: one more than the first digit of the error bar, bounded by what makes sense for the unit."""
    most = MOST_DIGITS.get(unit, 4)
    if not error or error <= 0:
        return most
    return int(min(most, max(0, 1 - math.floor(math.log10(error)))))


def show(value: float | None, error: float | None = None, unit: str = "") -> str:
    if value is None:
        return "–"
    if unit == "" and not error and float(value).is_integer():
        return f"{value:.0f}".replace("-", "−")
    text = f"{value:.{digits(error, unit)}f}"
    if not text.strip("-0."):
        # A small number without an error bar above it keeps two digits; otherwise zero, without a sign.
        most = 10.0 ** -MOST_DIGITS.get(unit, 4)
        small = abs(value) > 1e-3 * most and (error is None or error < abs(value))
        text = f"{value:.1e}" if small else text.lstrip("-")
    return text.replace("-", "−")


def show_reference(reference: dict[str, Any]) -> str:
    """A reference value: as it was published, or with the digits that it has where it was computed here."""
    if reference["kind"] == "reference" and reference.get("error") is not None:
        return show(reference["value"], reference["error"], reference["unit"])
    return f"{reference['value']:.6g}".replace("-", "−")


def show_error(error: float | None, unit: str = "") -> str:
    """Error bar with the digits of its value; below the last of them as a bound."""
    if error is None:
        return ""
    if error == 0:
        return "exact"
    n = digits(error, unit)
    smallest = 10.0**-n
    return f"± {error:.{n}f}" if error >= smallest / 2 else f"< {smallest:.{n}f}"


def show_percent(x: float | None) -> str:
    if x is None:
        return ""
    text = f"{100 * x:+.1f} %"
    return "0.0 %" if text[1:] == "0.0 %" else text.replace("-", "−")


def show_unit(unit: str) -> str:
    """The unit as people write it: Å³ for A^3, eV/Å for eV/A."""
    text = re.sub(r"(?<![A-Za-z])A(?![A-Za-z])", "Å", unit)
    return re.sub(r"\^([23])", lambda m: SUPERSCRIPTS[m[1]], text)


def times(count: int, noun: str) -> str:
    """ "1 structure", "3 structures"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
