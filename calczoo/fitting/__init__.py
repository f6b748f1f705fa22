"""Fitting: data sets, linear least squares, error tables. What is fitted is in each family's `fit.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import FitReport, Progress

__all__ = ["run_fit"]


def run_fit(
    family: str,
    train: str | Path,
    test: str | Path | None = None,
    elements: str | Iterable[str] | None = None,
    out: str | Path = "fitted",
    quadratic: bool = False,
    options: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> FitReport:
    """Fit a model of `family` to a data file and write it.

    train, test: extended XYZ files, or files of a family's own format such as .cfg; elements: default those of the
    training set; out: path without suffix of the files to write (a family's suffix is cut off); options: the family's
    own, see its `fit`.

    Raises UnknownCalculator, OptionError (the family cannot be trained, unknown option), DataError, FitError.
    """
    import time

    from ..core.elements import parse_elements
    from ..core.errors import OptionError
    from ..registry import get_family, load_object
    from .data import read_dataset
    from .report import FitReport

    start = time.perf_counter()
    found = get_family(family)
    if not found.fit:
        raise OptionError(f"'{family}' cannot be trained here; families that can: calczoo list --can fit")
    symbols = parse_elements(elements)
    stem = _stem(out, found.suffixes)
    data = read_dataset(train, symbols)
    held = None if test is None else read_dataset(test, symbols)
    result = load_object(found.fit)(data, held, symbols, quadratic=quadratic, progress=progress, **(options or {}))
    files = tuple(result.write(stem))
    return FitReport(family, result, files, time.perf_counter() - start)


def _stem(out: str | Path, suffixes: tuple[str, ...]) -> Path:
    """The name of the files to write, without suffix. Raises OptionError now, not after the fit, when its folder cannot
    be written to."""
    import tempfile

    from ..core.errors import OptionError

    stem = Path(out).expanduser()
    if stem.suffix in (*suffixes, ".json"):
        stem = stem.with_suffix("")
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=stem.parent):
            pass
    except OSError as error:
        raise OptionError(f"out is {str(out)!r}: nothing can be written to {stem.parent} ({error.strerror})") from error
    return stem
