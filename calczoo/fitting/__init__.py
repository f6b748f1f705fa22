"""Fitting: data sets, linear least squares, error tables. What is fitted is in each family's `fit.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..calculator import ZooCalculator
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
    delta_base: str | Path | ZooCalculator | None = None,
) -> FitReport:
    """Fit a model of `family` to a data file and write it.

    train, test: extended XYZ files, or files of a family's own format such as .cfg; elements: default those of the
    training set; out: path without suffix of the files to write (a family's suffix is cut off); options: the family's
    own, see its `fit`, and those of files of structures that name no units (length_unit, energy_unit). delta_base: spec
    or calculator of a model that is subtracted from all reference values, so that the fit is a correction to it (see
    calczoo.delta); the card of the fit tells.

    Raises UnknownCalculator, OptionError (the family cannot be trained, unknown option), DataError, FitError.
    """
    import time

    from ..core.elements import parse_elements
    from ..core.errors import OptionError
    from ..registry import get_family, load_object
    from .data import read_dataset
    from .report import FitReport, as_correction

    start = time.perf_counter()
    found = get_family(family)
    if not found.fit:
        raise OptionError(f"'{family}' cannot be trained here; families that can: calczoo list --can fit")
    symbols = parse_elements(elements)
    stem = _stem(out, found.suffixes)
    given = dict(options or {})
    units = _data_options((train, test), given)
    data = read_dataset(train, symbols, **units.get(str(train), {}))
    held = None if test is None else read_dataset(test, symbols, **units.get(str(test), {}))
    record = None
    if delta_base is not None:
        from ..compositions.deltas import difference, load_base

        base, record = load_base(delta_base, symbols or data.elements, symbols)
        data, held = difference(data, base), None if held is None else difference(held, base)
    result = load_object(found.fit)(data, held, symbols, quadratic=quadratic, progress=progress, **given)
    result = result if record is None else as_correction(result, record)
    files = tuple(result.write(stem))
    return FitReport(family, result, files, time.perf_counter() - start)


def _data_options(paths: tuple[str | Path | None, ...], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{path: what reading it must be told}, taken out of the options of the fit."""
    from ..exchange import data_family

    found = {str(p): data_family(p) for p in paths if p is not None}
    out = {p: {k: options[k] for k in family.data_options if k in options} for p, family in found.items() if family}
    for key in {k for known in out.values() for k in known}:
        del options[key]
    return out


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
