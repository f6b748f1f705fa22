"""Between MLIP-2's `.mtp` and MLIP-3's `.almtp`; an active set for the latter is kept, or made from a training set."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.elements import SYMBOLS
from ...core.errors import OptionError
from ...family import Converted
from ...files.compressed import bare_name, read_bytes
from . import FAMILY
from .load import MODES, read_file, with_active_set
from .params import MtpParams


def convert(
    source: Path,
    target: Path,
    elements: tuple[str, ...] | None = None,
    training: str | Path | None = None,
    progress: Callable[[str, float], None] | None = None,
    **options: Any,
) -> Converted:
    """Write a potential in the format that the target's suffix tells.

    elements: species order; needed where a training set names elements and the potential does not. Options: grade,
    neighbourhood (default) or configuration, what the active set made from `training` is for.
    Raises OptionError, PotentialFileError, DataError.
    """
    kind = _kind(target)
    mode = _mode(options, training)
    if training is not None and kind != ".almtp":
        raise OptionError(f"{target.name} cannot hold an active set, which training= makes; write an .almtp file")
    params, named = _read(source, elements, training)
    notes = [f"species: {', '.join(f'type {k} = {e}' for k, e in enumerate(params.elements))}"] if named else []
    if training is not None:
        params = with_active_set(params, training, mode, progress)
        notes.append(f"active set of {params.n_coefficients} rows for the grade of a {mode}")
    elif params.active is not None and kind == ".mtp":
        notes.append(f"{source.name} holds an active set, which a .mtp cannot: {target.name} gives no grades by itself")
    elif params.active is None and kind == ".almtp":
        notes.append("no active set: for extrapolation grades give the training set with --training")
    if kind == ".almtp":
        from .almtp import write_almtp

        write_almtp(params, target)
    else:
        from .text_mtp import write_mtp

        write_mtp(replace(params, active=None), target)
    return Converted((target,), tuple(notes))


def _kind(target: Path) -> str:
    name = bare_name(target).lower()
    for kind in (".almtp", ".mtp"):
        if name.endswith(kind):
            return kind
    raise OptionError(f"{target.name} is no name for a moment tensor potential; write a .mtp or an .almtp file")


def _mode(options: dict[str, Any], training: object) -> str:
    mode = options.pop("grade", None)
    if options:
        raise OptionError(f"mtp's conversion has no option '{next(iter(options))}' (its options: grade)")
    if mode is not None and mode not in MODES:
        raise OptionError(f"grade is {mode!r}; allowed are {', '.join(MODES)}")
    if mode is not None and training is None:
        raise OptionError("grade= says what an active set is for that is made from a training set: give --training")
    return mode or MODES[0]


def _read(source: Path, elements: tuple[str, ...] | None, training: str | Path | None) -> tuple[MtpParams, bool]:
    """The potential, and whether its elements mean something: neither format names them, so that without them any
    symbols do, as long as no training set names others."""
    try:
        return read_file(source, elements), True
    except OptionError:
        if elements is not None or (training is not None and not bare_name(training).endswith(FAMILY.data_suffixes)):
            raise
    raw, _ = read_bytes(source)
    found = re.search(rb"species_count\s*=\s*(\d{1,3})\b", raw)  # read before, so it is there and small enough
    return read_file(source, SYMBOLS[1 : int(found[1]) + 1] if found else None), False
