"""What a family tells about itself, and what it is asked for: light records without any heavy import."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .core.card import Card
from .core.errors import OptionError


@dataclass(frozen=True)
class ModelRequest:
    """What was asked for, as a family's `read` and `build` get it.

    model: bundled name, file or folder (a tuple where a family takes several files); args: positional arguments of the
    spec; elements: chosen subset or type map; device, dtype, backend ("auto", "torch", "warp"), threads (None = all);
    isolated: whether a process of its own is asked for, or which environment's (None: what the family does by default);
    allow: kinds of physics that a sum may hold twice (see core/counting.py), for families made of other models.
    """

    family: str
    model: str | Path | tuple[str | Path, ...] | None = None
    args: tuple[Any, ...] = ()
    elements: tuple[str, ...] | None = None
    device: str = "auto"
    dtype: str = "float64"
    backend: str = "auto"
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    isolated: bool | str | None = None
    allow: frozenset[str] = frozenset()

    def check_options(self, allowed: Mapping[str, str] | Iterable[str]) -> None:
        """Raise OptionError for an option that the family does not have."""
        names = list(allowed)
        for key in self.options:
            if key not in names:
                has = ", ".join(names) if names else "none"
                raise OptionError(f"{self.family} has no option '{key}' (its options: {has}){close_match(key, names)}")


@dataclass(frozen=True)
class Composite:
    """What `read` returns for a file that stands for a sum of families (a LAMMPS include file with hybrid/overlay).

    terms: (family name, its params); `card` describes the whole.
    """

    terms: tuple[tuple[str, Any], ...]
    card: Card


@dataclass(frozen=True)
class Committee:
    """What `read` returns for several potentials that were trained for the same thing: a committee, whose mean is the
    answer and whose spread its uncertainty. members: what `read` returns for each."""

    members: tuple[Any, ...]
    card: Card


@dataclass(frozen=True)
class Family:
    """A family of potentials: light facts, and dotted names of the code that does the work, imported on first use.

    read:  "module:function"  (ModelRequest) -> params, an object with an attribute or method `card`, or a Composite
    build: "module:function"  (params, ModelRequest) -> Model
    fit:   "module:function"  or "" when the family cannot be trained here
    bundled: name -> one line each; elements: () means it depends on the file
    kind: "potential", "addon" (made to be added to a potential) or "composition" (made of other models)
    suffixes: file names that end so need no family name: get_calculator("Ta06A.snap")
    folder: name of the file that tells a folder of this family, whose models are folders, or "" for single files
    data_suffixes: of files of structures in the family's own format, which `read_frames` and `write_frames` handle;
    data_begin: first word of such files, whatever they are called, where that tells; data_options: name -> one line,
    what reading and writing them may be told (units)

    Entries that a family may have, "" otherwise (calczoo convert, calczoo select):
    convert:      (source, target, elements, training, progress, **options) -> Converted: potential files into others
    select:       (request, candidates, training, threshold, limit, progress, **options) -> Selected
    read_frames:  (path, elements, **data options) -> list of Atoms with reference values attached
    write_frames: (frames, path, elements, **data options) -> path

    For families around another package (calczoo.foreign), whose `build` returns an AseModel with a Make:
    worker: "module" of the plug-in with make(model, device, dtype, **options) -> ASE calculator, which may run in a
    process of its own; environment: requirements of that process's environment, pinned (calczoo env create);
    package: import name of the other package; isolated: True where that package cannot share an environment with
    others, so that a process of its own is the default where it is not importable here
    """

    name: str
    summary: str
    read: str
    build: str
    kind: str = "potential"
    citation: str = ""
    doi: str = ""
    formats: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    folder: str = ""
    outputs: tuple[str, ...] = ("energy", "energies", "forces", "stress")
    backends: tuple[str, ...] = ("torch", "warp")
    options: Mapping[str, str] = field(default_factory=dict)
    bundled: Mapping[str, str] = field(default_factory=dict)
    bundled_elements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    elements: tuple[str, ...] = ()
    fit: str = ""
    convert: str = ""
    select: str = ""
    read_frames: str = ""
    write_frames: str = ""
    data_suffixes: tuple[str, ...] = ()
    data_begin: str = ""
    data_options: Mapping[str, str] = field(default_factory=dict)
    example: str = ""
    worker: str = ""
    environment: tuple[str, ...] = ()
    package: str = ""
    isolated: bool = False
    origin: str = "calczoo"

    def __post_init__(self) -> None:
        """Raise OptionError for a field of the wrong type or form: a plug-in's mistake is told where it is made."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not _FITS.get(str(entry.type), lambda value: True)(value):
                self._refuse(entry.name, f"a {entry.type}")
        if not re.fullmatch(r"[A-Za-z][\w-]*", self.name):
            self._refuse("name", "a letter, then letters, digits, '_' or '-'")
        if self.kind not in ("potential", "addon", "composition"):
            self._refuse("kind", "'potential', 'addon' or 'composition'")
        for name in ("read", "build", *_CODE):
            value = getattr(self, name)
            if (value or name in ("read", "build")) and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
                self._refuse(name, "'module:function'")

    def _refuse(self, name: str, expected: str) -> None:
        raise OptionError(f"Family {self.name!r}: {name} is {getattr(self, name)!r}; expected {expected}")


def _strings(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, str) for v in value)


def _texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(x, str) for pair in value.items() for x in pair)


_FITS = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "tuple[str, ...]": _strings,
    "Mapping[str, str]": _texts,
    "Mapping[str, tuple[str, ...]]": lambda value: (
        isinstance(value, Mapping) and all(isinstance(k, str) and _strings(v) for k, v in value.items())
    ),
}
"""Type of a field of Family, as it is written there -> whether a value is of it."""

_CODE = ("fit", "convert", "select", "read_frames", "write_frames")


@dataclass(frozen=True)
class Converted:
    """What a family's `convert` did: files written, and what a reader must know about them."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selected:
    """What a family's `select` chose among candidates: their positions in the list, and the grade of every candidate
    before anything was selected; `covered`: largest grade of the candidates left out, with the selected ones added."""

    indices: tuple[int, ...]
    grades: tuple[float, ...]
    covered: float | None = None
    notes: tuple[str, ...] = ()


def close_match(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, 1)
    return f"; did you mean '{near[0]}'?" if near else ""
