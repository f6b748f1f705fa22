"""Chemical symbols and numbers."""

from __future__ import annotations

from collections.abc import Iterable

from ase.data import atomic_numbers, chemical_symbols

from .errors import OptionError

SYMBOLS: tuple[str, ...] = tuple(chemical_symbols)


def is_element(symbol: str) -> bool:
    """True for the symbol of a real element (not ASE's dummy `X`)."""
    return symbol != "X" and symbol in atomic_numbers


def number(symbol: str) -> int:
    """Atomic number of a symbol; `OptionError` for anything else."""
    if not is_element(symbol):
        raise OptionError(f"'{symbol}' is not a chemical element; write symbols as in 'Mo' or 'Si'")
    return atomic_numbers[symbol]


def parse_elements(elements: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """`"Ni,Mo"`, `"Ni Mo"` or `["Ni", "Mo"]` -> `("Ni", "Mo")`; None stays None.

    Raises OptionError for unknown symbols and for a symbol given twice.
    """
    if elements is None:
        return None
    try:
        symbols = elements.replace(",", " ").split() if isinstance(elements, str) else list(elements)
        for s in symbols:
            number(s)
    except TypeError as error:
        raise OptionError(f"elements is {elements!r}; write symbols, as in 'Ni,Mo' or ['Ni', 'Mo']") from error
    if not symbols:
        raise OptionError("elements is empty; leave it out or name at least one element")
    if len(set(symbols)) != len(symbols):
        raise OptionError(f"elements names a symbol twice: {', '.join(symbols)}")
    return tuple(symbols)
