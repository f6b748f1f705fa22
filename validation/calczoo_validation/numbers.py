"""How numbers are printed: as many digits as the error bar allows."""

from __future__ import annotations

import math

MOST_DIGITS = {"A": 4, "A^3": 4, "eV": 4, "GPa": 2, "THz": 3, "meV": 2, "kB": 4, "%": 3, "": 4}


def digits(error: float | None, unit: str) -> int:
    """Decimals: one more than the first digit of the error bar, bounded by what makes sense for the unit."""
    most = MOST_DIGITS.get(unit, 4)
    if not error or error <= 0:
        return most
    return int(min(most, max(0, 1 - math.floor(math.log10(error)))))


def show(value: float | None, error: float | None = None, unit: str = "") -> str:
    if value is None:
        return "–"
    text = f"{value:.{digits(error, unit)}f}"
    text = text.lstrip("-") if not text.strip("-0.") else text  # no negative zero
    return text.replace("-", "−")


def show_error(error: float | None, unit: str = "") -> str:
    """Error bar with the digits of its value; below the last of them as a bound."""
    if error is None:
        return ""
    n = digits(error, unit)
    smallest = 10.0**-n
    return f"± {error:.{n}f}" if error >= smallest / 2 else f"< {smallest:.{n}f}"


def show_percent(x: float | None) -> str:
    if x is None:
        return ""
    text = f"{100 * x:+.1f} %"
    return "0.0 %" if text[1:] == "0.0 %" else text.replace("-", "−")
