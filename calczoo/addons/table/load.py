"""From a request to TableParams, and from those to a model."""

from __future__ import annotations

import itertools
from typing import Any

from ...compose import device_of
from ...core.elements import parse_elements
from ...core.errors import OptionError
from ...core.model import Model
from ...core.threads import thread_count
from ...registry import ModelRequest
from .formats import read_table
from .params import TableParams

OPTIONS = ("pair", "keyword", "style", "n", "cut")


def read(request: ModelRequest) -> TableParams:
    """`table:FILE(pair=W-He, keyword=WHe, style=spline, n=10000)`; several files by model=(FILE, FILE).

    Without `pair`, one file needs one or two `elements`. Raises OptionError, PotentialFileError.
    """
    request.check_options(OPTIONS)
    options = dict(request.options)
    if request.args:
        raise OptionError(f"table: arguments are named ({', '.join(OPTIONS)}), not {request.args}")
    if request.model is None:
        raise OptionError("table: name a file, as in 'table:W_He_JW2013.table(pair=W-He)'")
    files = request.model if isinstance(request.model, tuple) else (request.model,)
    pairs = _pairs(options.get("pair"), request.elements, len(files))
    keywords = _words("keyword", options.get("keyword"), len(files))
    cut = options.get("cut")
    if cut is not None and (isinstance(cut, bool) or not isinstance(cut, (int, float))):
        raise OptionError(f"table: cut is {cut!r}; it must be a length in A")
    entries = {}
    for pair, file, keyword in zip(pairs, files, keywords, strict=True):
        if tuple(sorted(pair)) in entries:
            raise OptionError(f"table: pair {'-'.join(pair)} is given twice")
        entries[tuple(sorted(pair))] = read_table(file, keyword, cut)
    n = options.get("n", 10000)
    if isinstance(n, bool) or not isinstance(n, int):
        raise OptionError(f"table: n is {n!r}; it must be a whole number")
    return TableParams(entries, str(options.get("style", "spline")), n, request.elements)


def _words(name: str, value: Any, count: int) -> list[str | None]:
    """A comma-separated option with one word per file."""
    if value is None:
        return [None] * count
    words = [w.strip() for w in value.split(",")] if isinstance(value, str) else [str(w) for w in value]
    if len(words) != count:
        raise OptionError(f"table: {name} names {len(words)} for {count} file(s): {value!r}")
    return list(words)


def _pairs(value: Any, elements: tuple[str, ...] | None, count: int) -> list[tuple[str, str]]:
    """The pair of elements of each file."""
    if value is None:
        if count == 1 and elements and len(elements) <= 2:
            return [(elements[0], elements[-1])]
        raise OptionError("table: say which pair of elements each file is for, as in pair='W-He' or 'He-He,W-He'")
    out = []
    for word in itertools.chain.from_iterable([w] if w else [] for w in _words("pair", value, count)):
        symbols = word.split("-")
        if len(symbols) != 2:
            raise OptionError(f"table: pair is {word!r}; write two symbols, as in 'W-He'")
        for symbol in symbols:
            parse_elements([symbol])
        out.append((symbols[0], symbols[1]))
    return out


def build(params: TableParams, request: ModelRequest) -> Model:
    """Model of the asked backend, device and dtype."""
    import torch

    device, dtype = device_of(request.device), getattr(torch, request.dtype)
    if request.backend == "torch":
        from .model import TableTorch

        return TableTorch(params, device, dtype)
    from .kernels import TableWarp

    return TableWarp(params, device, dtype, thread_count(request.threads))
